"""Ways past the guard that were found from outside; each showed or sent something once."""

from __future__ import annotations

import contextlib
import copy
import gc
import importlib
import json
import os
import socket
import ssl
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
import requests
import urllib3
from cryptography.x509.oid import NameOID
from requests_toolbelt.adapters.host_header_ssl import HostHeaderSSLAdapter
from scene import (
    HOST,
    REQUEST,
    VERSIONS,
    authority,
    connect,
    exchange,
    in_a_thread_of_its_own,
    issuing,
    pinned,
    pinner_for,
    pins_for,
    trusting,
    unpinned,
)

import keypin
from keypin import PinMismatch, Pinner, PinSet, ProtectionError
from keypin.enforcement import context as _context
from keypin.enforcement import guard as _guard
from keypin.enforcement import private_ssl as _private_ssl
from keypin.lab import Echo, Server

ADDRESS = "127.0.0.1"


def default_context() -> ssl.SSLContext:
    return ssl.create_default_context(cadata=authority().pem)


@pytest.fixture
def my_files(me, tmp_path):
    return me.write(tmp_path / "me")


@pytest.fixture
def wrong(version, clients):
    with Server(unpinned(), tls=[version], client_ca=clients.certificate) as server:
        yield server


@pytest.fixture
def right(version, clients):
    with Server(pinned(), tls=[version], client_ca=clients.certificate) as server:
        yield server


def shown_to(server) -> bool:
    return any(record.client_certificate_seen for record in server.settle())


class Memory:
    """A client over memory BIOs, by hand."""

    def __init__(self, context, server, host=HOST) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname=host)
        self.tcp = socket.create_connection(server.address, timeout=20)

    def shake_hands(self) -> None:
        while True:
            try:
                self.tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self.flush()
                self.incoming.write(self.tcp.recv(65536))
        self.flush()

    def flush(self) -> None:
        self.tcp.sendall(self.outgoing.read())

    def close(self) -> None:
        self.tcp.close()


# The certificate is given, not taken back


def created(my_files):
    context = trusting(pinner_for(pinned()))
    context.load_cert_chain(my_files.chain, my_files.key)
    return contextlib.nullcontext(), context


def protected(my_files):
    context = pinner_for(pinned()).protect(default_context())
    context.load_cert_chain(my_files.chain, my_files.key)
    return contextlib.nullcontext(), context


def installed(my_files):
    pinner = pinner_for(pinned())
    pinner.install()
    context = default_context()
    context.load_cert_chain(my_files.chain, my_files.key)
    closing = contextlib.ExitStack()
    closing.callback(pinner.uninstall)
    return closing, context


ways = pytest.mark.parametrize("way", [created, protected, installed])


@ways
def test_without_the_look_into_the_handshake_no_certificate_is_shown(
    way, wrong, right, my_files, monkeypatch
):
    """Whatever keeps it from running: it fails closed."""
    monkeypatch.setattr(_guard.Guard, "message_received", lambda *arguments: None)
    closing, context = way(my_files)
    with closing:
        with pytest.raises(PinMismatch):
            connect(context, wrong)
        with connect(context, right) as connection:
            assert exchange(connection).startswith(b"HTTP/1.1 200")
    assert not shown_to(wrong)
    assert not shown_to(right)


@ways
def test_a_look_that_ends_in_an_error_shows_no_certificate(way, wrong, my_files, monkeypatch):
    def fail(*arguments):
        raise OSError("no more")

    for name in "_hear", "_decide", "_give_credentials":
        with monkeypatch.context() as patch:
            patch.setattr(_guard.Guard, name, fail)
            closing, context = way(my_files)
            with closing, pytest.raises(OSError):
                connect(context, wrong)
    assert not shown_to(wrong)


@ways
def test_the_context_itself_holds_no_certificate(way, right, my_files):
    """Not even a connection that is made past all of keypin has one."""
    closing, context = way(my_files)
    with closing, socket.create_connection(right.address) as tcp:
        raw = _private_ssl.C_CONTEXT_CLASS._wrap_socket(context, tcp, False, HOST)
        raw.do_handshake()
        del raw
    assert not shown_to(right)


STARVED = """
    import json, socket, ssl, sys, threading
    from keypin import Pinner, PinSet

    way, port, pin, folder = sys.argv[1:]
    pinner = Pinner(PinSet({"localhost": [pin]}))
    if way == "install":
        pinner.install()
        context = ssl.create_default_context(cafile=folder + "/ca.pem")
    else:
        context = pinner.create_context(cafile=folder + "/ca.pem")
    context.load_cert_chain(folder + "/chain.pem", folder + "/key.pem")
    outcomes = []

    def connection():
        tcp = socket.create_connection(("127.0.0.1", int(port)))
        return context.wrap_socket(
            tcp, server_hostname="localhost", do_handshake_on_connect=False
        )

    def without_memory_from(count, tls):
        _testcapi.set_nomemory(count, 0)
        try:
            tls.do_handshake()
        except BaseException as error:
            _testcapi.remove_mem_hooks()
            return type(error).__name__
        _testcapi.remove_mem_hooks()
        return "approved"

    def on_a_full_stack(depth, tls):
        def shake_hands(value):
            if value:
                try:
                    tls.do_handshake()
                except BaseException as error:
                    outcomes.append(type(error).__name__)
                else:
                    outcomes.append("approved")

        try:
            json.loads("[" * depth + '{"x": 1}' + "]" * depth, object_hook=shake_hands)
        except RecursionError:
            outcomes.append("RecursionError")

    def deep():
        for limit in 1000, 1500, 3000, 10000:
            for depth in range(limit - 104, limit, 8):
                with connection() as tls:
                    on_a_full_stack(depth, tls)

    if sys.argv[1] == "stack":
        pass
    threading.stack_size(256 * 1024 * 1024)
    thread = threading.Thread(target=deep)
    thread.start()
    thread.join()
    try:
        import _testcapi
    except ImportError:  # a Python without its own tests
        pass
    else:
        for count in range(0, 150, 7):
            with connection() as tls:
                outcomes.append(without_memory_from(count, tls))
    print(json.dumps(outcomes))
"""


@pytest.mark.parametrize("way", ["create", "install"])
def test_neither_a_full_stack_nor_a_lack_of_memory_shows_a_certificate(
    way, wrong, me, tmp_path, version
):
    """The interpreter's own stack in C, which from Python 3.12 on is no longer that of Python."""
    me.write(tmp_path)
    Path(tmp_path, "ca.pem").write_text(authority().pem)
    arguments = [way, str(wrong.port), str(pinned().pin), str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(STARVED), *arguments],
        capture_output=True,
        text=True,
        timeout=200,
    )
    outcomes = json.loads(done.stdout.splitlines()[-1])
    assert "approved" not in outcomes
    assert "PinMismatch" in outcomes
    assert len(outcomes) > 50
    assert not shown_to(wrong)
    assert wrong.application_bytes == 0


@ways
def test_hosts_in_no_rule_get_the_certificate_as_ever(way, wrong, right, my_files, me):
    """Under `install()`, also after it was taken back."""
    if way is not installed:
        pinner = Pinner(PinSet({"example.org": [pinned().pin]}))
        context = trusting(pinner)
        context.load_cert_chain(my_files.chain, my_files.key)
        closing = contextlib.nullcontext()
    else:
        closing, context = way(my_files)
    with closing:
        connect(context, wrong, server_hostname=ADDRESS).close()
    if way is installed:
        connect(context, wrong).close()
        connect(context, wrong, server_hostname=ADDRESS).close()
    records = wrong.settle()
    assert [record.client_certificate for record in records] == [me.certificate] * len(records)


def test_a_certificate_alone_in_its_file_is_sent_with_the_issuers_that_are_known(
    clients, tmp_path, version
):
    """As OpenSSL does, which looks for them among the authorities of the context."""
    below = clients.intermediate("issuing CA of the clients")
    credential = below.issue(common_name="me", extended_key_usage=["clientAuth"])
    files = credential.write(tmp_path / "me")
    alone = tmp_path / "alone.pem"
    alone.write_text(ssl.DER_cert_to_PEM_cert(credential.certificate))
    pem = authority().pem + below.pem
    for context in (
        ssl.create_default_context(cadata=pem),
        pinner_for(pinned()).create_context(cadata=pem),
    ):
        context.load_cert_chain(alone, files.key)
        with Server(
            pinned(),
            tls=[version],
            client_ca=clients.certificate,
            require_client_certificate=True,
        ) as server:
            with connect(context, server) as connection:
                assert exchange(connection).startswith(b"HTTP/1.1 200")


def test_errors_of_loading_come_at_once_and_leave_the_credentials_as_they_were(
    right, my_files, me, tmp_path
):
    context = trusting(pinner_for(pinned()))
    context.load_cert_chain(my_files.chain, my_files.key)
    with pytest.raises(FileNotFoundError):
        context.load_cert_chain(tmp_path / "missing.pem")
    Path(tmp_path, "nonsense.pem").write_text("nonsense")
    with pytest.raises(ssl.SSLError):
        context.load_cert_chain(tmp_path / "nonsense.pem")
    connect(context, right).close()
    (record,) = right.settle()
    assert record.client_certificate == me.certificate


def test_a_server_that_asks_after_the_handshake_gets_it_while_the_pins_accept_it(
    clients, my_files, me
):
    """Post-handshake authentication, RFC 8446, section 4.6.2."""
    pinner = pinner_for(pinned())
    context = trusting(pinner)
    context.post_handshake_auth = True
    context.load_cert_chain(my_files.chain, my_files.key)
    with Server(
        pinned(), tls=["1.3"], client_ca=clients.certificate, post_handshake=True
    ) as server:
        with connect(context, server) as connection:
            assert exchange(connection).startswith(b"HTTP/1.1 200")
            assert connection._sslobj.context is context
        (record,) = server.settle()
    assert record.client_certificate == me.certificate


# Pins replaced while a handshake is on its way


def at_the_servers_proof(act):
    """A message callback that acts once, where the guard has just let the handshake go on."""
    acted = []

    def callback(owner, direction, version, kind, message, data):
        proof = 13 if version <= ssl.TLSVersion.TLSv1_2 else 15
        if not acted and direction == "read" and int(message) == proof:
            acted.append(True)
            act()

    return callback


@pytest.mark.parametrize("loaded", ["before", "after"])
@pytest.mark.parametrize("kind", ["socket", "object"])
@pytest.mark.parametrize("thread", ["the same", "another"])
def test_a_handshake_that_was_let_go_on_is_cut_by_a_replacement(
    thread, kind, loaded, clients, my_files, version
):
    """It was approved under the old pins, and has not sent its certificate yet."""
    pinner = pinner_for(pinned())
    context = default_context()
    if loaded == "before":
        context.load_cert_chain(my_files.chain, my_files.key)
    pinner.protect(context)
    if loaded == "after":
        context.load_cert_chain(my_files.chain, my_files.key)
    threads = []

    def replace():
        if thread == "the same":
            pinner.replace(pins_for(unpinned()))
        else:
            threads.append(threading.Thread(target=pinner.replace, args=(pins_for(unpinned()),)))
            threads[0].start()
            # for an object, it comes back only when this thread has
            while not any(guard.refusal for guard in pinner._living_guards()):
                pass
            if kind == "socket":
                threads[0].join(20)

    context._msg_callback = at_the_servers_proof(replace)
    with Server(pinned(), tls=[version], client_ca=clients.certificate) as server:
        if kind == "socket":
            with pytest.raises(PinMismatch):
                connect(context, server)
        else:
            client = Memory(context, server)
            with pytest.raises(PinMismatch):
                client.shake_hands()
            client.flush()
            client.close()
        for each in threads:
            each.join(20)
            assert not each.is_alive()
        assert not shown_to(server)


def test_a_pump_in_another_thread_finds_no_certificate_to_send(wrong, my_files):
    """Nothing can cut what carries an `SSLObject`, and somebody else may empty its BIO."""
    early = default_context()
    early.load_cert_chain(my_files.chain, my_files.key)
    pinner = pinner_for(pinned())
    pinner.protect(early)
    late = trusting(pinner)
    late.load_cert_chain(my_files.chain, my_files.key)
    for context in early, late:
        for _ in range(20):
            client, stop = Memory(context, wrong), threading.Event()

            def pump(client=client, stop=stop):
                while not stop.is_set():
                    with contextlib.suppress(OSError):
                        client.flush()

            thread = threading.Thread(target=pump)
            thread.start()
            try:
                with pytest.raises((PinMismatch, OSError)):
                    client.shake_hands()
            finally:
                stop.set()
                thread.join(20)
                client.close()
    assert not shown_to(wrong)


# What is kept, copied or revived


def revived_after(use, *, in_a_cycle):
    """An object that is used, thrown away, and taken back by a finalizer."""
    pool = []

    class Holder:
        def __init__(self, connection):
            self.connection = connection
            if in_a_cycle:
                self.itself = connection.itself = self

        def __del__(self):
            pool.append(self.connection)

    Holder(use)
    del use
    gc.collect()
    return pool


@pytest.mark.parametrize(
    ("kind", "in_a_cycle"), [("socket", False), ("object", False), ("object", True)]
)
@pytest.mark.parametrize("times", [1, 3])
def test_what_a_finalizer_revives_is_still_found(kind, in_a_cycle, times, version):
    """But for a socket in a cycle, which is closed by then."""
    with Server(pinned(), tls=[version], application=Echo()) as server:
        pinner = pinner_for(pinned())
        context = trusting(pinner)
        client = None
        if kind == "socket":
            made = [connect(context, server)]
        else:
            client = Memory(context, server)
            client.shake_hands()
            made = [vars(client).pop("tls")]
        for _ in range(times):
            made = revived_after(made.pop(), in_a_cycle=in_a_cycle)
        (connection,) = made
        pinner.replace(pins_for(unpinned()))
        try:
            with pytest.raises(PinMismatch):
                connection.write(b"more")
        finally:
            if client is not None:
                client.flush()
                client.close()
            else:
                connection.close()
        server.settle()
        assert server.application_bytes == 0


@pytest.mark.parametrize("original", ["kept", "gone"])
@pytest.mark.parametrize("way", ["context", "install"])
def test_a_copy_of_an_object_is_governed_like_the_original(original, way, version):
    pinner = pinner_for(pinned())
    with Server(pinned(), tls=[version], application=Echo()) as server:
        with pinner.installed() if way == "install" else contextlib.nullcontext():
            context = default_context() if way == "install" else trusting(pinner)
            client = Memory(context, server)
            client.shake_hands()
            copied = copy.copy(client.tls)
            if original == "gone":
                client.tls = None
                gc.collect()
            pinner.replace(pins_for(unpinned()))
            with pytest.raises(PinMismatch):
                copied.write(b"more")
            client.flush()
            client.close()
        server.settle()
        assert server.application_bytes == 0


# Method taken early, and the base class


@pytest.mark.parametrize("way", ["created", "installed"])
def test_the_method_of_the_base_class_loads_where_it_is_watched(way, wrong, my_files):
    pinner = pinner_for(pinned())
    with pinner.installed() if way == "installed" else contextlib.nullcontext():
        context = default_context() if way == "installed" else trusting(pinner)
        ssl.SSLContext.load_cert_chain(context, my_files.chain, my_files.key)
        with pytest.raises(PinMismatch):
            connect(context, wrong)
    assert not shown_to(wrong)


TAKEN_EARLY = """
    import socket, ssl, sys
    load = ssl.SSLContext.load_cert_chain
    from keypin import PinMismatch, Pinner, PinSet

    way, port, pin, folder = sys.argv[1:]
    pinner = Pinner(PinSet({"localhost": [pin]}))
    if way == "install":
        pinner.install()
        context = ssl.create_default_context(cafile=folder + "/ca.pem")
    else:
        context = pinner.create_context(cafile=folder + "/ca.pem")
    load(context, folder + "/chain.pem", folder + "/key.pem")
    try:
        context.wrap_socket(
            socket.create_connection(("127.0.0.1", int(port))), server_hostname="localhost"
        )
    except PinMismatch:
        print("refused")
"""


@pytest.mark.parametrize("way", ["create", "install"])
def test_a_method_taken_before_keypin_was_there_is_allowed_for(way, wrong, me, tmp_path):
    me.write(tmp_path)
    Path(tmp_path, "ca.pem").write_text(authority().pem)
    arguments = [way, str(wrong.port), str(pinned().pin), str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(TAKEN_EARLY), *arguments],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.stdout == "refused\n", done.stderr
    assert not shown_to(wrong)


@pytest.mark.parametrize("way", ["reload", "import"])
def test_ssl_loaded_again_is_the_one_with_the_hooks(way, wrong):
    with pinner_for(pinned()).installed():
        if way == "reload":
            again = importlib.reload(ssl)
        else:
            with pytest.MonkeyPatch.context() as patch:
                patch.delitem(sys.modules, "ssl")
                again = importlib.import_module("ssl")
        context = again.create_default_context(cadata=authority().pem)
        with pytest.raises(PinMismatch):
            connect(context, wrong)
    wrong.settle()
    assert wrong.application_bytes == 0
    assert not isinstance(ssl.__spec__.loader, keypin.enforcement.uncovered.SameSsl)


LOADED_AGAIN = """
    import importlib, socket, ssl, sys
    modules = [ssl]
    if sys.argv[4] == "reload":
        importlib.reload(ssl)
    else:
        del sys.modules["ssl"]
        modules.append(importlib.import_module("ssl"))
    from keypin import PinMismatch, Pinner, PinSet
    Pinner(PinSet({"localhost": [sys.argv[2]]})).install()
    for module in modules:
        context = module.create_default_context(cafile=sys.argv[3])
        try:
            tcp = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
            tls = context.wrap_socket(tcp, server_hostname="localhost")
            tls.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
        except PinMismatch:
            print("refused")
"""


@pytest.mark.parametrize("way", ["reload", "import"])
def test_every_ssl_that_was_loaded_before_is_hooked(way, wrong, tmp_path):
    cafile = tmp_path / "ca.pem"
    cafile.write_text(authority().pem)
    arguments = [str(wrong.port), str(pinned().pin), str(cafile), way]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(LOADED_AGAIN), *arguments],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.stdout.split() == ["refused"] * (1 if way == "reload" else 2), done.stderr
    wrong.settle()
    assert wrong.application_bytes == 0


def test_a_guard_hands_out_no_name_that_it_does_not_know():
    """A later CPython's connection may have another way to send: name it in `guard`, then here."""
    known = {name for name in vars(_guard.Guard) if not name.startswith("_")}
    names = {name for name in dir(_private_ssl.CONNECTION_CLASS) if not name.startswith("__")}
    assert names <= known | _guard.READABLE
    context = trusting(pinner_for(pinned()))
    guard = context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname=HOST)._sslobj
    with pytest.raises(AttributeError, match="does not know"):
        _ = guard.send_somehow


def test_sendfile_sends_nothing_undecided(wrong, right, tmp_path):
    """Python 3.15 asks the connection whether the kernel encrypts, and has it send then."""
    file = tmp_path / "file"
    file.write_bytes(b"secret" * 100)
    context = trusting(pinner_for(pinned()))
    with connect(context, wrong, do_handshake_on_connect=False) as connection:
        for name in "uses_ktls_for_send", "sendfile":
            with pytest.raises(PinMismatch):
                getattr(connection._sslobj, name)()
        with file.open("rb") as opened, pytest.raises(PinMismatch):
            connection.sendfile(opened)
    with (
        connect(context, right, do_handshake_on_connect=False) as connection,
        file.open("rb") as opened,
    ):
        assert connection.sendfile(opened) == 600
    wrong.settle()
    assert wrong.application_bytes == 0


# Plain text


@pytest.mark.parametrize("owner", ["SSLSocket", "its base class"])
def test_a_detached_socket_does_not_begin_a_handshake(owner, wrong, my_files):
    """What cannot be cut must not begin."""
    pinner, context = pinner_for(pinned()), default_context()
    context.load_cert_chain(my_files.chain, my_files.key)
    pinner.protect(context)
    connection = connect(context, wrong, do_handshake_on_connect=False)
    number = connection.detach() if owner == "SSLSocket" else socket.socket.detach(connection)
    with pytest.raises(ssl.SSLCertVerificationError, match="detached"):
        connection._sslobj.do_handshake()
    os.close(number)
    assert not shown_to(wrong)


def test_a_guard_that_is_dropped_hangs_up():
    """As by a socket class that keypin's own was not mixed into, like eventlet's."""

    class Foreign(ssl.SSLSocket):
        pass

    for context, arrives in ((trusting(pinner_for(pinned())), False), (default_context(), True)):
        with Server(None, application=Echo()) as server:
            connection = connect(context, server, do_handshake_on_connect=False)
            connection.__class__ = Foreign
            connection._sslobj = None
            with contextlib.suppress(OSError):
                connection.sendall(REQUEST)
            connection.close()
            (record,) = server.settle()
        assert (REQUEST in record.application_data) is arrives


GEVENT = """
    import sys
    PATCH
    import gevent, gevent.socket, gevent.ssl, ssl
    from keypin import Pinner, PinSet

    way, guarded, port, pin = sys.argv[1:]
    context = gevent.ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if guarded == "protect":
        Pinner(PinSet({"localhost": [pin]})).protect(context)
    elif guarded == "install":
        Pinner(PinSet({"localhost": [pin]})).install()
    if way == "connect":
        tls = context.wrap_socket(gevent.socket.socket(), server_hostname="localhost")
        tls.settimeout(0.3)
        try:
            tls.connect(("127.0.0.1", int(port)))
        except OSError as error:
            kept = error
    else:
        tcp = gevent.socket.create_connection(("127.0.0.1", int(port)))
        tls = context.wrap_socket(tcp, server_hostname="localhost", do_handshake_on_connect=False)
        if way == "handshake":
            tls.settimeout(0.3)
            try:
                tls.do_handshake()
            except OSError as error:
                kept = error
        try:
            tls.shutdown(gevent.socket.SHUT_RD)
        except OSError:
            pass
    tls.settimeout(5)
    try:
        tls.sendall(b"in the clear")
    except Exception:
        pass
    tls.close()
"""


@pytest.mark.parametrize("way", ["shutdown", "connect", "handshake"])
@pytest.mark.parametrize(
    "patch", ["", "import gevent.monkey; gevent.monkey.patch_all()"], ids=["plain", "patched"]
)
def test_gevents_sockets_do_not_write_on_in_the_clear(way, patch):
    """What drops TLS there is another object than the one that OpenSSL knows."""
    for guarded in "protect", "install", "not at all":
        with socket.create_server(("127.0.0.1", 0)) as listener:
            received = []

            def collect(listener=listener, received=received):
                peer, _ = listener.accept()
                with peer, contextlib.suppress(OSError):
                    while data := peer.recv(65536):
                        received.append(data)

            thread = threading.Thread(target=collect)
            thread.start()
            code = textwrap.dedent(GEVENT).replace("PATCH", patch)
            port = str(listener.getsockname()[1])
            done = subprocess.run(
                [sys.executable, "-W", "ignore", "-c", code, way, guarded, port, str(pinned().pin)],
                capture_output=True,
                text=True,
                timeout=60,
            )
            thread.join(20)
        assert not done.returncode, done.stderr
        assert (b"in the clear" in b"".join(received)) is (guarded == "not at all")


# Key exchanges that prove nothing


def test_no_psk_or_anonymous_suite_counts_as_signed():
    signed = _private_ssl.signed_cipher_suites()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_ciphers("ALL:COMPLEMENTOFALL:@SECLEVEL=0")
    names = {suite["name"] for suite in context.get_ciphers() if suite["id"] & 0xFFFF in signed}
    assert "ECDHE-RSA-AES128-GCM-SHA256" in names
    assert "DHE-RSA-AES128-GCM-SHA256" in names
    assert not [name for name in names if "PSK" in name or name.startswith(("ADH", "AES", "AECDH"))]


def test_rsa_with_a_psk_proves_nothing_before_the_certificate_is_shown(my_files, clients, tmp_path):
    """Its ServerKeyExchange is not signed (RFC 4279, section 4)."""
    context = trusting(pinner_for(pinned_by_rsa()))
    context.load_cert_chain(my_files.chain, my_files.key)
    if not hasattr(context, "set_psk_client_callback"):  # before Python 3.13 there is no PSK
        assert sys.version_info < (3, 13)
        return
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    files = pinned_by_rsa().write(tmp_path / "server")
    server.load_cert_chain(files.chain, files.key)
    server.load_verify_locations(cadata=clients.certificate)
    server.verify_mode = ssl.CERT_OPTIONAL
    for each in server, context:
        each.set_ciphers("RSA-PSK-AES128-GCM-SHA256:@SECLEVEL=0")
        each.maximum_version = ssl.TLSVersion.TLSv1_2
    server.set_psk_server_callback(lambda identity: b"secret", "hint")
    context.set_psk_client_callback(lambda hint: ("me", b"secret"))
    left, right = socket.socketpair()
    shown = []

    def serve():
        with contextlib.suppress(OSError):
            with server.wrap_socket(left, server_side=True) as tls:
                shown.append(tls.getpeercert(True))

    thread = threading.Thread(target=serve)
    thread.start()
    with right, pytest.raises(ssl.SSLCertVerificationError, match="before it has proved"):
        context.wrap_socket(right, server_hostname=HOST)
    thread.join(20)
    assert not any(shown)


def pinned_by_rsa(made=[]):  # noqa: B006 - made once
    if not made:
        made.append(issuing().issue(HOST, key="rsa-2048"))
    return made[0]


# Which name selects the rule


def by_assert_hostname(server, cafile):
    pool = urllib3.HTTPSConnectionPool(
        ADDRESS, server.port, assert_hostname=HOST, ca_certs=cafile, retries=False
    )
    with pool:
        return pool.request("GET", "/", headers={"Authorization": "Bearer secret"}).status


def by_host_header_adapter(server, cafile):
    with requests.Session() as session:
        session.mount("https://", HostHeaderSSLAdapter())
        session.verify = cafile
        headers = {"Host": HOST, "Authorization": "Bearer secret"}
        return session.get(f"https://{ADDRESS}:{server.port}/", headers=headers).status_code


def by_an_own_check(server, cafile):
    context = ssl.create_default_context(cafile=cafile)
    context.check_hostname = False
    with connect(context, server, server_hostname=ADDRESS) as connection:
        assert (("DNS", HOST)) in connection.getpeercert()["subjectAltName"]
        return int(exchange(connection).split()[1])


@pytest.mark.parametrize("way", [by_assert_hostname, by_host_header_adapter, by_an_own_check])
def test_a_name_that_the_program_checks_itself_is_pinned(way, version, tmp_path):
    """It connects to an address in no rule, and OpenSSL checks no name."""
    cafile = tmp_path / "ca.pem"
    cafile.write_text(authority().pem)
    with Server(pinned(), tls=[version]) as right, Server(unpinned(), tls=[version]) as wrong:
        with pinner_for(pinned()).installed():
            for _ in range(2):
                assert way(right, str(cafile)) == 200
                with pytest.raises((PinMismatch, urllib3.exceptions.HTTPError, OSError)) as caught:
                    way(wrong, str(cafile))
                assert keypin.find_error(caught.value)
        wrong.settle()
        assert wrong.application_bytes == 0
        assert way(wrong, str(cafile)) == 200  # the control


def test_a_certificate_of_no_pinned_name_is_left_alone(version):
    context = default_context()
    context.check_hostname = False
    with Server(issuing().issue("other.example"), tls=[version]) as server:
        with pinner_for(pinned()).installed():
            with connect(context, server, server_hostname=ADDRESS) as connection:
                assert exchange(connection).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("rule", ["api.example.com", "*.example.com", "**.example.com"])
def test_a_wildcard_in_the_certificate_stands_for_the_pinned_names_below_it(rule):
    pins = PinSet({rule: [pinned().pin], "example.org": [pinned().pin]})
    fields = {"subjectAltName": (("DNS", "*.example.com"), ("DNS", "www.example.net"))}
    assert {found.host for found in pins.rules_for_certificate(fields).values()} == {rule}
    assert not pins.rules_for_certificate({"subjectAltName": (("DNS", "*.b.example.net"),)})


# Installing while a connection is being made


@in_a_thread_of_its_own
def test_a_thread_that_a_profiler_holds_up_on_its_way_is_waited_for(wrong):
    """The innermost frame of that thread is the profiler's, not that of what makes connections."""
    context, pinner = default_context(), pinner_for(pinned())
    held, go_on, ended = threading.Event(), threading.Event(), threading.Event()
    outcome = []

    def profile(frame, event, argument):
        if event == "c_call" and argument.__name__ == "_wrap_socket" and not held.is_set():
            held.set()
            go_on.wait(20)

    def talk():
        sys.setprofile(profile)
        try:
            with connect(context, wrong, do_handshake_on_connect=False) as connection:
                sys.setprofile(None)
                assert ended.wait(20)
                with pytest.raises(PinMismatch) as caught:
                    exchange(connection)
            outcome.append(caught.value)
        finally:
            sys.setprofile(None)

    talking, installing = threading.Thread(target=talk), threading.Thread(target=pinner.install)
    talking.start()
    assert held.wait(20)
    installing.start()
    installing.join(0.2)
    assert installing.is_alive()
    go_on.set()
    installing.join(20)
    ended.set()
    talking.join(20)
    pinner.uninstall()
    assert outcome
    wrong.settle()
    assert wrong.application_bytes == 0


@in_a_thread_of_its_own
def test_an_installation_in_the_middle_of_making_a_connection_is_refused(wrong):
    context, pinner, refused = default_context(), pinner_for(pinned()), []

    def profile(frame, event, argument):
        if event == "c_call" and argument.__name__ == "_wrap_socket" and not refused:
            with pytest.raises(ProtectionError, match="in the middle") as caught:
                pinner.install()
            refused.append(caught.value)

    sys.setprofile(profile)
    try:
        connect(context, wrong).close()
    finally:
        sys.setprofile(None)
    assert refused
    assert pinner not in keypin.enforcement.process.installed()


# What is raised in the callback


def test_what_a_callback_raises_comes_out_of_the_handshake(right):
    """With a time limit, Python 3.15 hides it behind an `SSLWantReadError`."""

    class Stop(BaseException):
        pass

    def stop():
        raise Stop

    for context in trusting(pinner_for(pinned())), default_context():
        context._msg_callback = at_the_servers_proof(stop)
        guarded = isinstance(context, _context.GuardedContext)
        with (
            connect(context, right, do_handshake_on_connect=False) as connection,
            pytest.raises(Stop if guarded else (Stop, ssl.SSLError)),
        ):
            connection.do_handshake()


# What certificates may cost


@pytest.mark.parametrize("version", VERSIONS)
def test_huge_certificates_make_neither_long_texts_nor_a_memory_full(version):
    unit = NameOID.ORGANIZATIONAL_UNIT_NAME
    huge = issuing().issue(HOST, ADDRESS, further_subject=[(unit, "x" * 90_000)])
    context = trusting(pinner_for(pinned()))
    with Server(huge, tls=[version]) as server:
        with pytest.raises(PinMismatch) as caught:
            connect(context, server)
    assert len(str(caught.value)) < 10_000
    assert len(repr(caught.value)) < 10_000
    memory = _context.Memory()
    for number in range(2_000):
        memory.keep(number, b"", 90_000)
    assert memory._size <= _context.REMEMBERED_BYTES
    memory.keep("huge", b"", _context.REMEMBERED_BYTES)
    assert memory.get("huge") is None
