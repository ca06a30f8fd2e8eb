"""keypin.lab.ConnectProxy: honest tunnels, and interception."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from keypin.lab import Authority, ConnectProxy, Credential, Echo, Server

if TYPE_CHECKING:
    from conftest import Client


def ask(sock: socket.socket, target: str) -> bytes:
    """Send a CONNECT request; return the head of the answer."""
    sock.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += sock.recv(1)
    return head


def echoed(client: Client, tunnel: socket.socket, data: bytes) -> bytes | None:
    """Send data through TLS in a tunnel and back; return the certificate that was presented."""
    context = client.context()
    with context.wrap_socket(tunnel, server_hostname="localhost") as tls:
        tls.sendall(data)
        with tls.makefile("rb") as reader:
            assert reader.read(len(data)) == data
        return tls.getpeercert(binary_form=True)


def test_a_tunnel_is_honest_and_counted(leaf: Credential, client: Client) -> None:
    with Server(leaf, application=Echo()) as server:
        with ConnectProxy(routes={"localhost": server.address}) as proxy:
            sock = client.connect_plain(proxy)
            assert ask(sock, "localhost:443") == b"HTTP/1.1 200 Connection established\r\n\r\n"
            assert echoed(client, sock, b"hello") == leaf.certificate
            (connection,) = proxy.settle()
        (received,) = server.settle()
    assert received.application_data == b"hello"
    assert [request.method for request in connection.requests] == ["CONNECT"]
    assert connection.requests[0].target == "localhost:443"
    assert connection.application_data.startswith(b"CONNECT localhost:443 HTTP/1.1\r\n")
    assert connection.application_data.endswith(b"\r\n\r\n")
    (tunnel,) = proxy.tunnels
    assert tunnel.target == "localhost:443"
    assert tunnel.sent > len(b"hello")
    assert tunnel.received > len(b"hello")


def test_a_tunnel_counts_exactly(client: Client) -> None:
    with Server(None, application=Echo()) as server, ConnectProxy() as proxy:
        sock = client.connect_plain(proxy)
        # the first bytes for the target travel together with the request
        sock.sendall(f"CONNECT 127.0.0.1:{server.port} HTTP/1.1\r\n\r\nearly".encode())
        with sock.makefile("rb") as reader:
            while reader.readline() != b"\r\n":
                pass
            assert reader.read(5) == b"early"
            sender = threading.Thread(target=sock.sendall, args=(bytes(1_000_000),))
            sender.start()
            assert reader.read(1_000_000) == bytes(1_000_000)
            sender.join()
        sock.close()
        proxy.settle()
        assert server.settle()[0].application_bytes == 1_000_005
        assert proxy.tunnels[0].received == 1_000_005


def test_an_interceptor_reads_what_the_client_sends(
    authority: Authority, leaf: Credential, client: Client
) -> None:
    rogue = authority.issue("localhost")
    with Server(leaf) as server:
        with ConnectProxy(
            intercept=rogue, application=Echo(), routes={"localhost": server.address}
        ) as proxy:
            sock = client.connect_plain(proxy)
            ask(sock, "localhost:443")
            assert echoed(client, sock, b"secret") == rogue.certificate
            assert proxy.interceptor is not None
            (connection,) = proxy.interceptor.settle()
        assert server.settle() == []
    assert connection.application_data == b"secret"
    assert connection.server_name == "localhost"


def test_an_interceptor_that_is_not_trusted_reads_nothing(client: Client) -> None:
    with ConnectProxy(intercept=Authority("rogue").issue("localhost")) as proxy:
        sock = client.connect_plain(proxy)
        ask(sock, "localhost:443")
        with pytest.raises(ssl.SSLCertVerificationError):
            client.context().wrap_socket(sock, server_hostname="localhost")
        assert proxy.interceptor is not None
        assert proxy.interceptor.settle()[0].application_bytes == 0


def inside(outer: ssl.SSLSocket, context: ssl.SSLContext, data: bytes) -> bytes:
    """Speak TLS in TLS, which wrap_socket cannot; send data, and return as much."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    back = b""
    steps: list[Callable[[], object]] = [tls.do_handshake, lambda: tls.write(data)]
    while len(back) < len(data):
        try:
            if steps:
                steps[0]()
                del steps[0]
            else:
                back += tls.read(65536)
        except ssl.SSLWantReadError:
            outer.sendall(outgoing.read())
            incoming.write(outer.recv(65536))
    return back


@pytest.mark.parametrize("size", [5, 100_000])
def test_a_proxy_is_reached_through_tls_of_its_own(
    size: int, version: str, authority: Authority, leaf: Credential, client: Client
) -> None:
    own = authority.issue("127.0.0.1")
    data = bytes(size)
    context = client.context(version)
    with Server(leaf, application=Echo()) as server:
        with ConnectProxy(own, routes={"localhost": server.address}) as proxy:
            outer = client.connect(proxy, context, name="127.0.0.1")
            assert outer.getpeercert(binary_form=True) == own.certificate
            ask(outer, "localhost:443")
            assert inside(outer, context, data) == data
            outer.close()
            assert proxy.settle()[0].tls_version == f"TLSv{version}"
        assert server.settle()[0].application_bytes == size


def test_an_unreachable_target_is_an_error_of_the_gateway(client: Client) -> None:
    with Server(None) as gone:
        address = f"127.0.0.1:{gone.port}"
    with ConnectProxy() as proxy:
        assert ask(client.connect_plain(proxy), address).startswith(b"HTTP/1.1 502 ")
        assert proxy.tunnels[0].sent == 0


def test_only_connect_is_served(client: Client) -> None:
    with ConnectProxy() as proxy:
        sock = client.connect_plain(proxy)
        sock.sendall(b"GET http://a.test/ HTTP/1.1\r\n\r\n")
        assert sock.recv(100).startswith(b"HTTP/1.1 501 ")
        sock.close()
        assert proxy.settle()[0].application_bytes == 31


def test_closing_a_proxy_ends_its_tunnels(client: Client) -> None:
    with Server(None, application=Echo()) as server:
        with ConnectProxy(routes={"a.test": server.address}) as proxy:
            sock = client.connect_plain(proxy)
            ask(sock, "a.test:1")
            sock.sendall(b"x")
            assert sock.recv(1) == b"x"
        assert sock.recv(1) == b""
        server.settle()
