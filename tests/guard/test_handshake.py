"""No byte leaves before the server is approved, by whatever method and after whatever error."""

from __future__ import annotations

import contextlib
import io
import select
import socket
import ssl
import threading

import pytest
from scene import (
    HOST,
    REQUEST,
    authority,
    connect,
    exchange,
    issuing,
    pinned,
    pinner_for,
    pins_for,
    trusting,
    unpinned,
)

from keypin import NoServerName, PinMismatch, Pinner, PinSet, Reason, UnverifiedConnection
from keypin.lab import Server, Silent

SOCKET_CALLS = {
    "send": lambda s: s.send(REQUEST),
    "sendall": lambda s: s.sendall(REQUEST),
    "write": lambda s: s.write(REQUEST),
    "recv": lambda s: s.recv(10),
    "recv_into": lambda s: s.recv_into(bytearray(10)),
    "read": lambda s: s.read(10),
    "read into": lambda s: s.read(10, bytearray(10)),
    "makefile read": lambda s: s.makefile("rb").read(10),
    "makefile write": lambda s: s.makefile("wb", buffering=0).write(REQUEST),
    "sendfile": lambda s: s.sendfile(io.BytesIO(REQUEST)),
    "do_handshake": lambda s: s.do_handshake(),
}
OBJECT_CALLS = {
    "read": lambda o: o.read(10),
    "read into": lambda o: o.read(10, bytearray(10)),
    "write": lambda o: o.write(REQUEST),
    "do_handshake": lambda o: o.do_handshake(),
}


@pytest.fixture
def wrong_server(version):
    """A trusted server without a pinned key, which greets so that reading would succeed, too."""
    with Server(unpinned(), tls=[version], application=Silent(b"hello from the server")) as server:
        yield server


@pytest.fixture
def right_server(version):
    with Server(pinned(), tls=[version]) as server:
        yield server


def pump(tls, incoming, outgoing, tcp, call):
    """Run a call of an SSLObject to its end, carrying its bytes over a socket."""
    while True:
        try:
            result = call(tls)
        except ssl.SSLWantReadError:
            tcp.sendall(outgoing.read())
            data = tcp.recv(65536)
            incoming.write(data) if data else incoming.write_eof()
        else:
            tcp.sendall(outgoing.read())
            return result


def make_object(context, server, **more):
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tcp = socket.create_connection(server.address, timeout=20)
    tls = context.wrap_bio(incoming, outgoing, **{"server_hostname": HOST, **more})
    return tls, incoming, outgoing, tcp


def test_the_pinned_server_is_reached_and_the_connection_is_an_ordinary_one(right_server):
    with connect(trusting(pinner_for(pinned())), right_server) as connection:
        assert exchange(connection).startswith(b"HTTP/1.1 200")
        assert type(connection) is ssl.SSLSocket
        assert type(connection._sslobj) is ssl._ssl._SSLSocket


def test_a_connection_made_by_connect_is_checked_as_well(right_server, wrong_server):
    for server, fails in ((right_server, False), (wrong_server, True)):
        context = trusting(pinner_for(pinned()))
        with context.wrap_socket(socket.socket(), server_hostname=HOST) as connection:
            connection.settimeout(20)
            if fails:
                with pytest.raises(PinMismatch):
                    connection.connect(server.address)
            else:
                connection.connect(server.address)
                assert exchange(connection).startswith(b"HTTP/1.1 200")
    wrong_server.settle()
    assert wrong_server.application_bytes == 0


def test_a_mismatch_names_host_port_chain_and_pins(wrong_server):
    with pytest.raises(PinMismatch) as caught:
        connect(trusting(pinner_for(pinned())), wrong_server)
    error = caught.value
    assert isinstance(error, ssl.SSLCertVerificationError)
    assert (error.host, error.port) == (HOST, wrong_server.port)
    assert error.reason is Reason.NO_MATCH
    assert error.expected == [pinned().pin]
    assert error.served[0][0] == unpinned().pin
    assert [subject for _, subject in error.served] == [
        "CN=localhost",
        "CN=issuing CA",
        "CN=trusted root",
    ]
    assert error.verify_code == 50
    assert str(pinned().pin) in str(error)
    assert str(unpinned().pin) in str(error)
    wrong_server.settle()
    assert wrong_server.application_bytes == 0


@pytest.mark.parametrize("call", SOCKET_CALLS.values(), ids=SOCKET_CALLS)
def test_an_implicit_handshake_on_a_socket_is_checked_first(call, wrong_server):
    context = trusting(pinner_for(pinned()))
    with connect(context, wrong_server, do_handshake_on_connect=False) as connection:
        with pytest.raises(PinMismatch):
            call(connection)
    wrong_server.settle()
    assert wrong_server.application_bytes == 0


@pytest.mark.parametrize("call", SOCKET_CALLS.values(), ids=SOCKET_CALLS)
def test_an_implicit_handshake_with_the_pinned_server_works(call, version):
    with Server(pinned(), tls=[version], application=Silent(b"0123456789")) as server:
        context = trusting(pinner_for(pinned()))
        with connect(context, server, do_handshake_on_connect=False) as connection:
            call(connection)
            assert connection.version() == f"TLSv{version}"


@pytest.mark.parametrize("call", OBJECT_CALLS.values(), ids=OBJECT_CALLS)
def test_an_implicit_handshake_on_an_object_is_checked_first(call, wrong_server):
    tls, incoming, outgoing, tcp = make_object(trusting(pinner_for(pinned())), wrong_server)
    with tcp, pytest.raises(PinMismatch):
        pump(tls, incoming, outgoing, tcp, call)
    assert outgoing.read() == b""
    wrong_server.settle()
    assert wrong_server.application_bytes == 0


@pytest.mark.parametrize("call", OBJECT_CALLS.values(), ids=OBJECT_CALLS)
def test_an_implicit_handshake_on_an_object_with_the_pinned_server_works(call, version):
    with Server(pinned(), tls=[version], application=Silent(b"0123456789")) as server:
        tls, incoming, outgoing, tcp = make_object(trusting(pinner_for(pinned())), server)
        with tcp:
            pump(tls, incoming, outgoing, tcp, call)
            assert type(tls._sslobj) is ssl._ssl._SSLSocket


@pytest.mark.parametrize("call", SOCKET_CALLS.values(), ids=SOCKET_CALLS)
def test_a_caller_that_swallows_the_error_and_goes_on_sends_nothing(call, wrong_server):
    context = trusting(pinner_for(pinned()))
    with connect(context, wrong_server, do_handshake_on_connect=False) as connection:
        with pytest.raises(PinMismatch):
            connection.do_handshake()
        for _ in range(3):
            with pytest.raises(PinMismatch):
                call(connection)
        with pytest.raises(PinMismatch):
            connection.unwrap()
    wrong_server.settle()
    assert wrong_server.application_bytes == 0


def test_a_caller_that_swallows_the_error_and_drops_tls_sends_nothing(wrong_server):
    """`SSLSocket.shutdown()` turns the object into a plain socket; that one is dead, too."""
    context = trusting(pinner_for(pinned()))
    with connect(context, wrong_server, do_handshake_on_connect=False) as connection:
        with pytest.raises(PinMismatch):
            connection.do_handshake()
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RD)
        with pytest.raises(ConnectionError):
            connection.send(REQUEST)
    wrong_server.settle()
    assert wrong_server.application_bytes == 0


@pytest.mark.parametrize("greeting", [b"220 this is not TLS\r\n", b""], ids=["no TLS", "silence"])
def test_a_connect_whose_handshake_fails_leaves_no_plain_socket_behind(greeting):
    """`SSLSocket.connect` drops TLS when its handshake fails; who goes on would be in the clear.

    The control is the unguarded context, with which the request does arrive.
    """
    for context, arrives in (
        (trusting(pinner_for(pinned())), False),
        (ssl.create_default_context(cadata=authority().pem), True),
    ):
        with Server(None, application=Silent(greeting)) as server:
            with context.wrap_socket(socket.socket(), server_hostname=HOST) as connection:
                connection.settimeout(0.2)
                with pytest.raises(OSError):
                    connection.connect(server.address)
                with contextlib.suppress(OSError):
                    connection.sendall(REQUEST)
            (record,) = server.settle()
            assert (REQUEST in record.application_data) is arrives


def test_a_handshake_that_timed_out_can_be_tried_again(version):
    """As long as nobody has dropped TLS."""
    may_answer = threading.Event()

    def wait(channel):
        return may_answer.wait(20)

    with Server(pinned(), tls=[version], before_tls=wait) as server:
        context = trusting(pinner_for(pinned()))
        with connect(context, server, do_handshake_on_connect=False) as connection:
            connection.settimeout(0.1)
            for call in (connection.do_handshake, lambda: connection.send(REQUEST)):
                with pytest.raises(TimeoutError):
                    call()
            may_answer.set()
            connection.settimeout(20)
            assert exchange(connection).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("call", OBJECT_CALLS.values(), ids=OBJECT_CALLS)
def test_an_object_whose_error_was_swallowed_has_nothing_to_send(call, wrong_server):
    tls, incoming, outgoing, tcp = make_object(trusting(pinner_for(pinned())), wrong_server)
    with tcp:
        with pytest.raises(PinMismatch):
            pump(tls, incoming, outgoing, tcp, lambda tls: tls.do_handshake())
        for _ in range(3):
            with pytest.raises(PinMismatch):
                call(tls)
            assert outgoing.read() == b""
        with pytest.raises(PinMismatch):
            tls.unwrap()
        assert outgoing.read() == b""
    wrong_server.settle()
    assert wrong_server.application_bytes == 0


def test_a_method_that_was_looked_up_before_the_handshake_stays_guarded(wrong_server):
    """Uvloop keeps `sslobject.read` and `.write` from before the handshake on."""
    context = trusting(pinner_for(pinned()))
    with connect(context, wrong_server, do_handshake_on_connect=False) as connection:
        send, inner_write = connection.send, connection._sslobj.write
        for write in (send, inner_write, send, inner_write):
            with pytest.raises(PinMismatch):
                write(REQUEST)
    wrong_server.settle()
    assert wrong_server.application_bytes == 0


def test_a_method_that_was_looked_up_while_approved_is_closed_by_replace(right_server):
    pinner = pinner_for(pinned())
    context = trusting(pinner)
    with connect(context, right_server, do_handshake_on_connect=False) as connection:
        inner_write = connection._sslobj.write  # the guard's
        exchange(connection)
        send = connection.send
        received = right_server.application_bytes
        pinner.replace(pins_for(unpinned()))
        for write in (send, inner_write):
            with pytest.raises(PinMismatch):
                write(REQUEST)
    right_server.settle()
    assert right_server.application_bytes == received


def test_a_nonblocking_handshake_is_checked_at_its_end(right_server, wrong_server):
    for server, fails in ((right_server, False), (wrong_server, True)):
        tcp = socket.create_connection(server.address)
        tcp.setblocking(False)
        context = trusting(pinner_for(pinned()))
        with context.wrap_socket(
            tcp, server_hostname=HOST, do_handshake_on_connect=False
        ) as connection:
            while True:
                try:
                    connection.send(REQUEST)
                    assert not fails
                    break
                except ssl.SSLWantReadError:
                    select.select([connection], [], [], 20)
                except PinMismatch:
                    assert fails
                    break
    wrong_server.settle()
    assert wrong_server.application_bytes == 0


@pytest.mark.parametrize("match", ["chain", "leaf"])
def test_a_context_that_does_not_verify_may_not_talk_to_a_pinned_host(match, right_server):
    """Under CERT_NONE the "verified" chain can be forged; even the right server is refused."""
    context = trusting(pinner_for(pinned(), match=match))
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with pytest.raises(UnverifiedConnection) as caught:
        connect(context, right_server)
    assert caught.value.reason is Reason.NOT_VERIFIED
    right_server.settle()
    assert right_server.application_bytes == 0


def test_a_context_that_verifies_only_after_the_connection_was_made_does_not_count(right_server):
    """A connection keeps the verify_mode that its context had when it was made."""
    context = trusting(pinner_for(pinned()))
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with connect(context, right_server, do_handshake_on_connect=False) as connection:
        context.verify_mode = ssl.CERT_REQUIRED
        context.check_hostname = True
        with pytest.raises(UnverifiedConnection):
            connection.sendall(REQUEST)
    right_server.settle()
    assert right_server.application_bytes == 0


def test_an_unlisted_host_may_be_talked_to_without_verification(right_server):
    context = trusting(Pinner(PinSet({"other.example": [pinned().pin]})))
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with connect(context, right_server) as connection:
        assert exchange(connection).startswith(b"HTTP/1.1 200")


def test_an_optional_certificate_is_a_required_one(right_server, wrong_server):
    context = trusting(pinner_for(pinned()))
    context.verify_mode = ssl.CERT_OPTIONAL
    with connect(context, right_server) as connection:
        exchange(connection)
    with pytest.raises(PinMismatch):
        connect(context, wrong_server)


@pytest.mark.parametrize("wrap", ["socket", "object"])
def test_a_connection_without_a_server_name_is_refused_before_anything_is_sent(wrap, right_server):
    context = trusting(pinner_for(pinned()))
    context.check_hostname = False
    with pytest.raises(NoServerName) as caught:
        if wrap == "socket":
            connect(context, right_server, server_hostname=None)
        else:
            outgoing = ssl.MemoryBIO()
            context.wrap_bio(ssl.MemoryBIO(), outgoing).do_handshake()
    if wrap == "object":
        assert not outgoing.pending
    assert caught.value.reason is Reason.NO_SERVER_NAME


def test_the_host_name_is_checked_even_if_the_context_no_longer_does(version):
    """urllib3's assert_fingerprint and assert_hostname switch check_hostname off for good."""
    elsewhere = issuing().issue("elsewhere.example", key=pinned().key)
    context = trusting(pinner_for(pinned()))
    context.check_hostname = False
    with Server(elsewhere, tls=[version]) as server:
        with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch") as caught:
            connect(context, server)
        assert not isinstance(caught.value, PinMismatch)
        assert caught.value.verify_code == 62
        server.settle()
        assert server.application_bytes == 0


def test_a_host_name_in_the_common_name_only_is_not_looked_at(version):
    credential = issuing().issue(common_name=HOST, key=pinned().key)
    for loosen in (False, True):
        context = trusting(pinner_for(pinned()))
        if loosen:
            context.hostname_checks_common_name = True
        with Server(credential, tls=[version]) as server:
            with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
                connect(context, server)
            server.settle()
            assert server.application_bytes == 0


@pytest.mark.parametrize("spelling", ["LOCALHOST", "localhost.", "LocalHost."])
def test_every_spelling_of_a_host_is_the_host(spelling, wrong_server):
    """OkHttp #9724: a trailing dot went past the pins. Here it may fail, but never pass."""
    context = trusting(pinner_for(pinned()))
    context.check_hostname = False
    with pytest.raises(PinMismatch):
        connect(context, wrong_server, server_hostname=spelling)
    wrong_server.settle()
    assert wrong_server.application_bytes == 0


def test_ip_addresses_are_pinned_in_every_spelling(version):
    six = issuing().issue("::1")
    with Server(six, tls=[version], host="::1") as server:
        for pin, fails in ((six.pin, False), (unpinned().pin, True)):
            context = trusting(Pinner(PinSet({"0:0:0:0:0:0:0:1": [pin]})))
            if fails:
                with pytest.raises(PinMismatch):
                    connect(context, server, server_hostname="::1")
            else:
                connect(context, server, server_hostname="::1").close()


def test_a_server_side_object_of_a_protected_context_is_left_alone(tmp_path):
    with pytest.warns(DeprecationWarning, match="PROTOCOL_TLS"):
        both_ways = ssl.SSLContext(ssl.PROTOCOL_TLS)
    pinner_for(pinned()).protect(both_ways)
    files = pinned().write(tmp_path)
    both_ways.load_cert_chain(files.chain, files.key)
    client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client_context.load_verify_locations(cadata=authority().pem)
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = both_ways.wrap_bio(there, back, server_side=True)
    client = client_context.wrap_bio(back, there, server_hostname=HOST)
    for side in (client, server, client, server):
        with contextlib.suppress(ssl.SSLWantReadError):
            side.do_handshake()
    client.write(b"x")
    assert server.read(1) == b"x"
