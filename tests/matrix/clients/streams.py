"""Byte streams of asyncio, uvloop, anyio, trio and gevent; the HTTP is written by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from keypin.lab import Http

from ..client import TIMEOUT, Client, Endpoint, Request, event_loop

if TYPE_CHECKING:
    import ssl

    import anyio.abc
    import trio

    from keypin.lab import Channel

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
END = b"\r\n\r\n"
START = b"STARTTLS\r\n"


def connect_request(endpoint: Endpoint) -> bytes:
    """What is said to a proxy."""
    target = f"{endpoint.host}:{endpoint.port}"
    return f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode()


def greet(channel: Channel) -> bool:
    """The server's words before STARTTLS."""
    channel.sendall(b"220 ready\r\n")
    if channel.recv() != START:
        return False
    channel.sendall(b"220 go ahead\r\n")
    return True


async def receive_head(receive: Callable[[], Awaitable[bytes]]) -> bytes:
    """Receive the head of an HTTP response."""
    head = b""
    while not head.endswith(END):
        data = await receive()
        if not data:
            raise EOFError("the answer is cut short")
        head += data
    return head


# asyncio and uvloop

Pair = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def open_tls(endpoint: Endpoint, context: ssl.SSLContext) -> Pair:
    """TLS from the beginning, or in the tunnel of a proxy."""
    if not endpoint.proxy:
        return await asyncio.open_connection(endpoint.host, endpoint.port, ssl=context)
    reader, writer = await asyncio.open_connection(*endpoint.proxy_address)
    writer.write(connect_request(endpoint))
    await reader.readuntil(END)
    return await upgrade(endpoint, context, reader, writer)


async def open_start_tls(endpoint: Endpoint, context: ssl.SSLContext) -> Pair:
    """TLS after words in the clear."""
    reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
    await reader.readline()
    writer.write(START)
    await reader.readline()
    return await upgrade(endpoint, context, reader, writer)


async def upgrade(
    endpoint: Endpoint,
    context: ssl.SSLContext,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> Pair:
    """Begin TLS on an open connection."""
    try:
        await writer.start_tls(context, server_hostname=endpoint.host)
    except BaseException:
        writer.close()
        raise
    return reader, writer


@contextmanager
def by_asyncio(
    endpoint: Endpoint,
    begin: Callable[[Endpoint, ssl.SSLContext], Awaitable[Pair]] = open_tls,
    **options: object,
) -> Iterator[Request]:
    """A pair of streams."""
    context = endpoint.new_context()
    opened: list[Pair] = []

    async def request() -> bytes:
        async with asyncio.timeout(TIMEOUT):
            if not opened:
                opened.append(await begin(endpoint, context))
            reader, writer = opened[0]
            writer.write(GET)
            await writer.drain()
            return await reader.readuntil(END)

    async def close() -> None:
        for _, writer in opened:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    with event_loop(**options) as portal:
        try:
            yield lambda: portal.call(request)
        finally:
            portal.call(close)


@contextmanager
def by_uvloop(endpoint: Endpoint, **options: Any) -> Iterator[Request]:
    """The same on another event loop, which has a TLS protocol of its own."""
    import uvloop

    with by_asyncio(endpoint, loop_factory=uvloop.new_event_loop, **options) as request:
        yield request


# anyio


@contextmanager
def by_anyio(backend: str, endpoint: Endpoint) -> Iterator[Request]:
    """Anyio's TLS stream."""
    import anyio
    from anyio.streams.tls import TLSStream

    context = endpoint.new_context()
    opened: list[anyio.abc.ByteStream] = []

    async def open_stream() -> anyio.abc.ByteStream:
        if not endpoint.proxy:
            return await anyio.connect_tcp(
                endpoint.host,
                endpoint.port,
                ssl_context=context,
                tls_standard_compatible=False,
            )
        stream = await anyio.connect_tcp(*endpoint.proxy_address)
        try:
            await stream.send(connect_request(endpoint))
            await receive_head(stream.receive)
            return await TLSStream.wrap(
                stream, hostname=endpoint.host, ssl_context=context, standard_compatible=False
            )
        except BaseException:
            await anyio.aclose_forcefully(stream)
            raise

    async def request() -> bytes:
        with anyio.fail_after(TIMEOUT):
            if not opened:
                opened.append(await open_stream())
            await opened[0].send(GET)
            return await receive_head(opened[0].receive)

    async def close() -> None:
        for stream in opened:
            await anyio.aclose_forcefully(stream)

    with event_loop(backend) as portal:
        try:
            yield lambda: portal.call(request)
        finally:
            portal.call(close)


# trio


@contextmanager
def by_trio(endpoint: Endpoint) -> Iterator[Request]:
    """Trio's TLS stream."""
    import trio

    context = endpoint.new_context()
    opened: list[trio.SSLStream] = []

    async def open_stream() -> trio.SSLStream:
        if not endpoint.proxy:
            return await trio.open_ssl_over_tcp_stream(
                endpoint.host, endpoint.port, ssl_context=context, https_compatible=True
            )
        stream = await trio.open_tcp_stream(*endpoint.proxy_address)
        await stream.send_all(connect_request(endpoint))
        await receive_head(stream.receive_some)
        return trio.SSLStream(stream, context, server_hostname=endpoint.host, https_compatible=True)

    async def request() -> bytes:
        with trio.fail_after(TIMEOUT):
            if not opened:
                opened.append(await open_stream())
            await opened[0].send_all(GET)
            return await receive_head(opened[0].receive_some)

    async def close() -> None:
        for stream in opened:
            await trio.aclose_forcefully(stream)

    with event_loop("trio") as portal:
        try:
            yield lambda: portal.call(request)
        finally:
            portal.call(close)


# gevent


@contextmanager
def by_gevent(endpoint: Endpoint) -> Iterator[Request]:
    """Gevent's sockets, nothing patched."""
    import gevent.ssl
    from gevent import socket

    context = gevent.ssl.create_default_context(cafile=endpoint.cafile)
    if endpoint.client_certificate:
        context.load_cert_chain(endpoint.client_certificate)
    opened: list[gevent.ssl.SSLSocket] = []

    def open_socket() -> gevent.ssl.SSLSocket:
        address = endpoint.proxy_address if endpoint.proxy else (endpoint.host, endpoint.port)
        tcp = socket.create_connection(address, timeout=TIMEOUT)
        try:
            if endpoint.proxy:
                tcp.sendall(connect_request(endpoint))
                receive_from(tcp)
            return context.wrap_socket(tcp, server_hostname=endpoint.host)
        except BaseException:
            tcp.close()
            raise

    def receive_from(sock: socket.socket) -> bytes:
        head = b""
        while not head.endswith(END):
            data = sock.recv(4096)
            if not data:
                raise EOFError("the answer is cut short")
            head += data
        return head

    def request() -> bytes:
        if not opened:
            opened.append(open_socket())
        opened[0].sendall(GET)
        return receive_from(opened[0])

    try:
        yield request
    finally:
        for sock in opened:
            sock.close()


# Their whole answer is its head.
PLAIN = {"application": Http(answer=b"")}
ASYNCIO = {**PLAIN, "explains_a_cut": False}
START_TLS = {**ASYNCIO, "before_tls": greet, "proxy": False}
CLIENTS = [
    Client("asyncio streams", by_asyncio, **ASYNCIO),
    Client("asyncio start_tls", partial(by_asyncio, begin=open_start_tls), **START_TLS),
    Client("uvloop streams", by_uvloop, ("uvloop", "anyio"), **ASYNCIO),
    Client(
        "uvloop start_tls",
        partial(by_uvloop, begin=open_start_tls),
        ("uvloop", "anyio"),
        **START_TLS,
    ),
    Client("anyio, asyncio", partial(by_anyio, "asyncio"), ("anyio",), **PLAIN),
    Client("anyio, trio", partial(by_anyio, "trio"), ("anyio", "trio"), **PLAIN),
    Client("trio", by_trio, ("trio", "anyio"), **PLAIN),
    Client("gevent", by_gevent, ("gevent",), **PLAIN),
]
