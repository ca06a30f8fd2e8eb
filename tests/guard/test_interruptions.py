"""What is interrupted, half done or oddly owned is not approved."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import ssl
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from scene import (
    HOST,
    REQUEST,
    authority,
    connect,
    exchange,
    in_a_thread_of_its_own,
    pinned,
    pinner_for,
    pins_for,
    trusting,
    unpinned,
)

import keypin
from keypin import PinMismatch
from keypin.enforcement import guard as _guard
from keypin.enforcement import hangup as _hangup
from keypin.lab import Echo, Server


@pytest.fixture
def with_client_certificate(me, tmp_path):
    files = me.write(tmp_path / "me")
    context = trusting(pinner_for(pinned()))
    context.load_cert_chain(files.chain, files.key)
    return context


class Interrupted(BaseException):
    """As a signal handler raises it."""


def is_in_finalizer(frame):
    """Whether what is raised goes nowhere: below a finalizer, or the callback of a reference."""
    while frame is not None and frame.f_code.co_name not in ("__del__", "lose"):
        frame = frame.f_back
    return frame is not None


@contextlib.contextmanager
def interrupted_before_every_line_in_turn(count):
    """Raise at the `count`-th line of keypin's own code that runs in here, if there is one."""
    lines = [0]
    folder = os.path.dirname(keypin.__file__)

    def trace(frame, event, argument):
        code = frame.f_code
        if not code.co_filename.startswith(folder) or is_in_finalizer(frame):
            return None
        if event == "line" and "/lab/" not in frame.f_code.co_filename:
            lines[0] += 1
            if lines[0] == count:
                raise Interrupted
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield lines
    finally:
        sys.settrace(before)
        # A tracer raises also between the body of a `with` and the exit of it, where Python runs no
        # signal handler. It would leave the lock behind.
        while _guard.LOCK._is_owned():
            _guard.LOCK.release()


def lines_of_a_refusal(context, server):
    with (
        connect(context, server, do_handshake_on_connect=False) as connection,
        interrupted_before_every_line_in_turn(-1) as lines,
        contextlib.suppress(PinMismatch),
    ):
        connection.do_handshake()
    return lines[0]


@in_a_thread_of_its_own
def test_an_interruption_anywhere_in_the_handshake_shows_no_client_certificate(
    version, with_client_certificate, clients
):
    """OpenSSL goes on with the handshake whatever is raised in its message callback."""
    context = with_client_certificate
    with Server(unpinned(), tls=[version], client_ca=clients.certificate) as server:
        total = lines_of_a_refusal(context, server)
        assert total > 100
        for count in range(1, total, 3):
            with connect(context, server, do_handshake_on_connect=False) as connection:
                with (
                    contextlib.suppress(Interrupted, OSError),
                    interrupted_before_every_line_in_turn(count),
                ):
                    connection.do_handshake()
                with contextlib.suppress(OSError):
                    connection.send(REQUEST)
        records = server.settle()
    assert len(records) > total / 3
    assert sum(record.application_bytes for record in records) == 0
    assert sum(record.client_certificate_seen for record in records) == 0


@in_a_thread_of_its_own
def test_an_interruption_leaves_nothing_to_flush_for_an_object(
    version, with_client_certificate, clients
):
    context = with_client_certificate
    with Server(unpinned(), tls=[version], client_ca=clients.certificate) as server:
        total = lines_of_a_refusal(context, server)
        for count in range(1, total, 3):
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            tls = context.wrap_bio(incoming, outgoing, server_hostname=HOST)
            with socket.create_connection(server.address, timeout=20) as tcp:
                with contextlib.suppress(Interrupted, OSError):
                    while True:
                        try:
                            with interrupted_before_every_line_in_turn(count):
                                tls.do_handshake()
                        except ssl.SSLWantReadError:
                            tcp.sendall(outgoing.read())
                            incoming.write(tcp.recv(65536))
                tcp.sendall(outgoing.read())  # a caller that flushes, whatever happened
        records = server.settle()
    assert sum(record.client_certificate_seen for record in records) == 0
    assert sum(record.client_finished for record in records) == 0


def test_a_stack_that_is_almost_full_shows_no_client_certificate(
    version, with_client_certificate, clients
):
    def deep(frames, call):
        return deep(frames - 1, call) if frames else call()

    frame, depth = sys._getframe(), 0
    while frame:
        frame, depth = frame.f_back, depth + 1
    failed = 0
    with Server(unpinned(), tls=[version], client_ca=clients.certificate) as server:
        for room in range(4, 120, 2):
            with connect(
                with_client_certificate, server, do_handshake_on_connect=False
            ) as connection:
                try:
                    deep(sys.getrecursionlimit() - depth - room, connection.do_handshake)
                except RecursionError:
                    failed += 1
                except PinMismatch:
                    pass
        records = server.settle()
    assert failed > 10
    assert sum(record.client_certificate_seen for record in records) == 0


def test_a_replacement_that_is_interrupted_refuses_what_it_had_not_asked_yet(version, monkeypatch):
    with Server(pinned(), tls=[version], application=Echo()) as server:
        pinner = pinner_for(pinned())
        context = trusting(pinner)
        connections = [connect(context, server) for _ in range(5)]
        asked = []
        decide = _guard.Guard._decide

        def interrupted(guard, *arguments):
            asked.append(guard)
            if len(asked) == 3:
                raise Interrupted
            return decide(guard, *arguments)

        monkeypatch.setattr(_guard.Guard, "_decide", interrupted)
        with pytest.raises(Interrupted):
            pinner.replace(pins_for(unpinned()))
        assert pinner.pins == pins_for(unpinned())
        for connection in connections:
            with connection, pytest.raises(ssl.SSLCertVerificationError):
                connection.sendall(b"more")
        server.settle()
        assert server.application_bytes == 0


def test_a_signal_handler_may_replace_pins_inside_a_handshake(version):
    """Between any two lines of an approval: it counts, or the approval comes after it."""
    with Server(pinned(), tls=[version], application=Echo()) as server:
        for delay in range(60):
            pinner = pinner_for(pinned())
            context = trusting(pinner)
            lines = [0]

            def trace(frame, event, argument, pinner=pinner, lines=lines, delay=delay):
                if frame.f_code.co_filename != _guard.__file__:
                    return None
                if event == "line":
                    lines[0] += 1
                    if lines[0] == delay:
                        sys.settrace(None)
                        pinner.replace(pins_for(unpinned()))
                return trace

            with connect(context, server, do_handshake_on_connect=False) as connection:
                before = sys.gettrace()
                sys.settrace(trace)
                try:
                    with contextlib.suppress(PinMismatch):
                        connection.do_handshake()
                finally:
                    sys.settrace(before)
                if lines[0] >= delay > 0:
                    with pytest.raises(PinMismatch):
                        connection.sendall(b"more")
        server.settle()
        assert server.application_bytes == 0


def test_a_detached_socket_is_still_governed(version):
    """`detach` gives the number away; OpenSSL keeps it, and the object goes on sending."""
    with Server(pinned(), tls=[version], application=Echo()) as server:
        pinner = pinner_for(pinned())
        connection = connect(trusting(pinner), server)
        connection.settimeout(None)
        connection.sendall(b"before")
        assert connection.recv(6) == b"before"
        number = connection.detach()
        pinner.replace(pins_for(unpinned()))
        with pytest.raises(PinMismatch):
            connection.sendall(b"after")
        os.close(number)
        (record,) = server.settle()
    assert record.application_data == b"before"


def test_a_file_that_outlives_its_socket_is_still_governed(version):
    with Server(pinned(), tls=[version], application=Echo()) as server:
        pinner = pinner_for(pinned())
        connection = connect(trusting(pinner), server)
        file = connection.makefile("rwb", buffering=0)
        connection.close()
        file.write(b"before")
        server.wait_until(lambda: server.application_bytes == 6)
        pinner.replace(pins_for(unpinned()))
        with pytest.raises(PinMismatch):
            file.write(b"after")
        file.close()
        (record,) = server.settle()
    assert record.application_data == b"before"


def test_sockets_that_compare_equal_are_governed_each_for_itself(version):
    class Equal(ssl.SSLSocket):
        def __eq__(self, other):
            return isinstance(other, Equal)

        def __hash__(self):
            return 1

    with Server(pinned(), tls=[version], application=Echo()) as server:
        pinner = pinner_for(pinned())
        context = trusting(pinner)
        context.sslsocket_class = Equal
        connections = [connect(context, server) for _ in range(3)]
        pinner.replace(pins_for(unpinned()))
        for connection in connections:
            with connection, pytest.raises(PinMismatch):
                connection.send(b"more")
        server.settle()
        assert server.application_bytes == 0


def test_dropping_tls_before_the_handshake_hangs_up():
    """`SSLSocket.shutdown` leaves a plain socket, which sends in the clear; see the control."""
    for context, arrives in (
        (trusting(pinner_for(pinned())), False),
        (ssl.create_default_context(cadata=authority().pem), True),
    ):
        with Server(None, application=Echo()) as server:
            with connect(context, server, do_handshake_on_connect=False) as connection:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RD)
                with contextlib.suppress(OSError):
                    connection.sendall(REQUEST)
            (record,) = server.settle()
        assert (REQUEST in record.application_data) is arrives


def test_hanging_up_touches_nothing_but_what_carries_the_connection():
    """An object of the program's own may refer to an SSLObject and to an unrelated socket."""

    class Session:
        def __init__(self, tls, control):
            self.tls, self.socket, self._sock, self.transport_stream = tls, control, control, self

    pinner = pinner_for(pinned())
    here, there = socket.socketpair()
    with here, there, Server(pinned()) as server:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = trusting(pinner).wrap_bio(incoming, outgoing, server_hostname=HOST)
        session = Session(tls, here)
        with socket.create_connection(server.address) as tcp:
            while True:
                try:
                    tls.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    tcp.sendall(outgoing.read())
                    incoming.write(tcp.recv(65536))
            pinner.replace(pins_for(unpinned()))
            _hangup.hang_up([tls])
        with pytest.raises(PinMismatch):
            session.tls.write(b"more")
        session.socket.sendall(b"still open")
        assert there.recv(100) == b"still open"


GEVENT = """
    import sys
    from pathlib import Path
    PATCH
    import gevent.socket, gevent.ssl, ssl
    from keypin import PinMismatch, Pinner, PinSet

    host, port, pin, folder = sys.argv[1:]
    context = gevent.ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(Path(folder, "ca.pem"))
    Pinner(PinSet({host: [pin]})).protect(context)
    context.load_cert_chain(Path(folder, "chain.pem"), Path(folder, "key.pem"))
    tcp = gevent.socket.create_connection(("127.0.0.1", int(port)))
    try:
        with context.wrap_socket(tcp, server_hostname=host) as tls:
            tls.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
            print("answered" if tls.recv(4) == b"HTTP" else "silent")
    except PinMismatch:
        tcp.close()
        print("refused")
"""


@pytest.mark.parametrize(
    "patch", ["", "import gevent.monkey; gevent.monkey.patch_all()"], ids=["plain", "patched"]
)
def test_gevents_own_sockets_are_guarded(version, patch, clients, me, tmp_path):
    """They hand another object to OpenSSL than the one that the program holds."""
    me.write(tmp_path)
    Path(tmp_path, "ca.pem").write_text(authority().pem)
    for credential, outcome in ((pinned(), "answered"), (unpinned(), "refused")):
        with Server(credential, tls=[version], client_ca=clients.certificate) as server:
            code = textwrap.dedent(GEVENT).replace("PATCH", patch)
            arguments = [HOST, str(server.port), str(pinned().pin), str(tmp_path)]
            done = subprocess.run(
                [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60
            )
            assert done.stdout.strip() == outcome, done.stderr
            (record,) = server.settle()
            assert record.client_certificate_seen == (credential is pinned())
            assert (record.application_bytes > 0) == (credential is pinned())


SIGNALS = """
    import contextlib, signal, ssl, sys
    from keypin.lab import Authority, Server
    from scene import connect, pinned, pinner_for, trusting, unpinned

    class Interrupted(BaseException):
        pass

    def handler(number, frame):
        raise Interrupted

    version, folder = sys.argv[1:]
    clients = Authority("CA of the clients")
    me = clients.issue(common_name="me", extended_key_usage=["clientAuth"])
    with open(folder + "/me.pem", "wb") as file:
        file.write(me.key_pem + me.chain_pem)
    context = trusting(pinner_for(pinned()))
    context.load_cert_chain(folder + "/me.pem")
    with Server(unpinned(), tls=[version], client_ca=clients.certificate) as server:
        # once in peace: what `logging` looks up for the first time, it looks up under a lock
        with contextlib.suppress(ssl.SSLCertVerificationError):
            connect(context, server)
        signal.signal(signal.SIGALRM, handler)
        interrupted = 0
        for attempt in range(300):
            connection = connect(context, server, do_handshake_on_connect=False)
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.0002 + attempt * 0.00001)
                with contextlib.suppress(ssl.SSLCertVerificationError):
                    connection.do_handshake()
                signal.setitimer(signal.ITIMER_REAL, 0)
            except Interrupted:
                interrupted += 1
            connection.close()
        records = server.settle()
    print(interrupted > 0, sum(record.client_certificate_seen for record in records))
"""


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no interval timers on this system")
def test_signals_that_raise_in_the_middle_of_a_handshake_show_no_client_certificate(
    version, tmp_path
):
    """In a process of its own: an interrupted lock of `logging` or of a tracer would stay held."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")
    }
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SIGNALS), version, str(tmp_path)],
        env={**environment, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout == "True 0\n", done.stderr


def test_an_exchange_after_all_this_still_works(version):
    with Server(pinned(), tls=[version]) as server:
        with connect(trusting(pinner_for(pinned())), server) as connection:
            assert exchange(connection).startswith(b"HTTP/1.1 200")
