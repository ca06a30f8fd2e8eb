"""A timeout is for the whole request, however slowly its parts go on."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from contextlib import ExitStack, contextmanager

import anyio
import httpx2
import pytest
import trio
from oauth_scene import CLIENT_ID, SECRET, TOKEN_PATH, Api, bearer
from scene import HOST, VERSIONS, pinned

from keypin import MissingExtra
from keypin.client import AsyncClient, Client, RequestFailed, RequestTimeout
from keypin.client._deadline import watch
from keypin.lab import ConnectProxy, Disconnected, Http, Response, Server, stall

BASE = "/mfp/api"
TIMEOUT = 0.2
SOON = 10.0  # half of what the servers here would take; a busy machine takes some seconds by itself
HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.fixture
def ends():
    """What slow servers wait for between their bytes, so that they end with the test."""
    over = threading.Event()
    yield over
    over.set()


def dripping(over, beginning, piece, times=400, gap=0.05):
    """An application that reads a request and answers slowly, piece by piece."""

    def serve(channel):
        channel.recv()
        channel.sendall(beginning)
        for _ in range(times):
            if over.wait(gap):
                return
            channel.sendall(piece)

    return serve


def pinned_client(make, server, **options):
    client = make(
        base_url=server.url_for(HOST, BASE), client_id=CLIENT_ID, client_secret=SECRET, **options
    )
    client.pin_trusted_certificate_public_key("pinned.cer")
    return client


@contextmanager
def in_time():
    """What is in here times out, and soon."""
    began = time.monotonic()
    with pytest.raises(RequestTimeout, match=f"within {TIMEOUT} seconds") as caught:
        yield
    assert isinstance(caught.value, TimeoutError)
    assert isinstance(caught.value, RequestFailed)
    assert TIMEOUT * 0.9 < time.monotonic() - began < SOON


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("beginning", "piece"),
    [
        (b"", b"H"),
        (HEAD, b"X-A: 1\r\n"),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
        (HEAD + b"Content-Length: 100000\r\n\r\n", b"."),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n.\r\n"),
        (HEAD + b"Content-Length: 100000\r\n\r\n", b""),
    ],
    ids=["status", "headers", "hints", "body", "chunks", "silence"],
)
def test_an_answer_that_drips(make, version, ends, beginning, piece):
    application = dripping(ends, beginning, piece)
    with Server(pinned(), tls=[version], application=application) as server:
        client = pinned_client(make, server)
        with in_time():
            client.resource_request("/a", timeout=TIMEOUT).send()
        with in_time():
            client.obtain_access_token("a", timeout=TIMEOUT)
        ends.set()


def test_an_answer_that_takes_its_time_and_comes(make, ends):
    """Longer than httpx2's own timeout for a step would let it."""
    head = HEAD + b"Content-Length: 4\r\nConnection: close\r\n\r\n"
    application = dripping(ends, head, b".", times=4, gap=0.1)
    with Server(pinned(), application=application) as server:
        client = pinned_client(make, server, timeout=0.01)
        for timeout in (20, None):
            assert client.resource_request("/a", timeout=timeout).send().text == "...."


def test_a_server_that_does_not_read(make, ends):
    with Server(pinned(), application=lambda channel: ends.wait(20)) as server:
        client = pinned_client(make, server)
        with in_time():
            client.resource_request("/a", "POST", timeout=TIMEOUT).send(bytes(50_000_000))
        ends.set()


def test_a_server_that_reads_slowly(make, ends):
    def read_slowly(channel):
        while not ends.wait(0.02):
            channel.recv(16384)

    with Server(pinned(), application=read_slowly) as server:
        client = pinned_client(make, server)
        with in_time():
            client.resource_request("/a", "POST", timeout=TIMEOUT).send(bytes(50_000_000))
        ends.set()


def test_a_handshake_that_never_begins(make):
    with Server(pinned(), before_tls=stall) as server:
        client = pinned_client(make, server)
        with in_time():
            client.resource_request("/a", timeout=TIMEOUT).send()


def test_a_handshake_that_drips(make, ends):
    """One byte of a TLS record that is never whole."""

    def drip(channel):
        channel.recv()
        channel.sendall(b"\x16\x03\x03\x40\x00\x02\x00\x3f\xf0")
        while not ends.wait(0.02):
            channel.sendall(b"\x00")
        return False

    with Server(pinned(), before_tls=drip) as server:
        client = pinned_client(make, server)
        with in_time():
            client.resource_request("/a", timeout=TIMEOUT).send()
        ends.set()


def test_a_proxy_that_drips(make, ends):
    with (
        Server(None, application=dripping(ends, HEAD, b"X-A: 1\r\n")) as proxy,
        Server(pinned()) as server,
    ):
        client = pinned_client(make, server, proxy=proxy.url)
        with in_time():
            client.resource_request("/a", timeout=TIMEOUT).send()
        ends.set()
        assert server.connections == []


def test_a_proxy_behind_which_the_answer_drips(make, ends):
    application = dripping(ends, HEAD, b"X-A: 1\r\n")
    with (
        ConnectProxy() as proxy,
        Server(pinned(), application=application) as server,
    ):
        client = pinned_client(make, server, proxy=proxy.url)
        with in_time():
            client.resource_request("/a", timeout=TIMEOUT).send()
        ends.set()


@contextmanager
def nobody(host, port=0):
    """An address that does not answer, as behind a firewall that drops: its queue is full."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server((host, port), backlog=0))
        for _ in range(8):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


def test_an_address_that_does_not_answer(make):
    with nobody("127.0.0.1") as port:
        client = make(base_url=f"https://127.0.0.1:{port}/")
        client.pin_trusted_certificate_public_key("pinned.cer")
        with in_time():
            client.resource_request("/a", timeout=TIMEOUT).send()


def test_an_address_that_does_not_answer_leaves_time_for_the_next(make, monkeypatch):
    look_up = socket.getaddrinfo

    def two_addresses(host, port, *arguments, **more):
        found = look_up(host, port, *arguments, **more)
        if host in (HOST, HOST.encode()):
            return [(*found[0][:4], (silent, port)), *found]
        return found

    silent = "127.0.0.2"
    with Server(pinned()) as server, nobody(silent, server.port):
        monkeypatch.setattr(socket, "getaddrinfo", two_addresses)
        client = pinned_client(make, server)
        assert client.resource_request("/a", timeout=2).send().ok


def test_endless_retries_and_redirects_together(make, ends):
    """Each is quick; it is their sum that counts."""

    def slowly(request):
        ends.wait(0.15)
        if request.target.startswith(TOKEN_PATH):
            return api.give(api, "a")
        return Response(b"", 307, {"Location": "a"})

    api = Api()
    with Server(pinned(), application=Http(answer=slowly)) as server:
        client = pinned_client(make, server)
        with in_time():
            client.resource_request("/a", timeout=TIMEOUT, scope="a").send()


def test_a_token_that_does_not_come(make, ends):
    def answer(request):
        if request.target == TOKEN_PATH:
            ends.wait(20)
        return bearer('scope="one"')

    with Server(pinned(), application=Http(answer=answer)) as server:
        client = pinned_client(make, server)
        with in_time():
            client.resource_request("/a", timeout=TIMEOUT).send()
        ends.set()


def test_after_a_timeout_the_client_goes_on(make, ends):
    api = Api(paths={BASE + "/slow": lambda request: ends.wait(20) and Api.echo(request)})
    with Server(pinned(), application=Http(answer=api)) as server:
        client = pinned_client(make, server)
        with in_time():
            client.resource_request("/slow", timeout=TIMEOUT).send()
        assert client.resource_request("/a", timeout=TIMEOUT * 20).send().ok
        assert client.get("/a").status_code == 200  # which has no end of its own
        ends.set()


def test_no_thread_is_left_behind(folder, tmp_path):
    """An AsyncClient's threads are those of asyncio and trio, which look up names."""
    before = threading.active_count()
    with Server(pinned(), before_tls=stall) as server:
        url, cafile = server.url_for(HOST), tmp_path / "ca.pem"
        with Client(url, folder, cafile, trust_env=False) as client:
            client.pin_trusted_certificate_public_key("pinned.cer")
            with in_time():
                client.resource_request("/a", timeout=TIMEOUT).send()
    assert threading.active_count() == before


@pytest.mark.parametrize("run", [asyncio.run, trio.run], ids=["asyncio", "trio"])
def test_on_asyncio_and_trio_a_callers_own_scope_is_obeyed(folder, tmp_path, ends, run):
    """And a timeout of the request is not taken for it, nor it for a timeout."""

    async def main():
        async with AsyncClient(
            server.url_for(HOST), folder, tmp_path / "ca.pem", trust_env=False
        ) as client:
            await client.pin_trusted_certificate_public_key("pinned.cer")
            with anyio.move_on_after(0.1) as scope:
                await client.resource_request("/a", timeout=20).send()
            assert scope.cancelled_caught
            with pytest.raises(RequestTimeout):
                await client.resource_request("/a", timeout=0.1).send()
            with pytest.raises(RequestTimeout):
                with anyio.fail_after(20):
                    await client.resource_request("/a", timeout=0.1).send()

    with Server(pinned(), application=dripping(ends, HEAD, b"X-A: 1\r\n")) as server:
        run(main) if run is trio.run else run(main())
        ends.set()


def _without_pools(client):
    del client._transport._pool


def _with_another_backend(client):
    client._transport._pool._network_backend = object()


@pytest.mark.parametrize("rebuild", [_without_pools, _with_another_backend])
def test_an_httpx2_that_is_built_otherwise_is_refused(rebuild):
    """It would keep no time."""
    with httpx2.Client() as client:
        pool = client._transport._pool
        rebuild(client)
        with pytest.raises(MissingExtra, match=r"install 'httpx2==.*AsyncClient") as caught:
            watch(client)
        assert caught.value.name == "httpx2"
        client._transport._pool = pool


def test_disconnecting_is_no_timeout(make):
    def hang_up(channel):
        channel.recv()
        channel.sendall(HEAD + b"Content-Length: 100\r\n\r\nhalf")
        raise Disconnected

    with Server(pinned(), application=hang_up) as server:
        client = pinned_client(make, server)
        with pytest.raises(RequestFailed, match="no answer") as caught:
            client.resource_request("/a", timeout=20).send()
        assert not isinstance(caught.value, RequestTimeout)
