"""asyncio in all its ways to begin TLS, on its own loop and on uvloop."""

from __future__ import annotations

import asyncio
import contextlib
import ssl

import anyio
import pytest
import trio
import uvloop
from scene import HOST, REQUEST, pinned, pinner_for, trusting, unpinned

from keypin import PinMismatch, find_error
from keypin.lab import ConnectProxy, Server

LOOPS = [asyncio.new_event_loop, uvloop.new_event_loop]


@pytest.fixture(params=LOOPS, ids=["asyncio", "uvloop"])
def run(request):
    def run(work):
        with asyncio.Runner(loop_factory=request.param) as runner:
            return runner.run(work)

    return run


def greet(channel):
    """The conversation before STARTTLS."""
    channel.sendall(b"220 ready\r\n")
    assert channel.recv(100) == b"STARTTLS\r\n"
    channel.sendall(b"220 go ahead\r\n")
    return True


async def finish(reader, writer):
    writer.write(REQUEST)
    answer = await reader.read(100)
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return answer


async def open_connection(server, context):
    return await asyncio.open_connection(*server.address, ssl=context, server_hostname=HOST)


async def start_tls_of_a_stream(server, context):
    reader, writer = await asyncio.open_connection(*server.address)
    await reader.readline()
    writer.write(b"STARTTLS\r\n")
    await reader.readline()
    await writer.start_tls(context, server_hostname=HOST)
    return reader, writer


WAYS = {"open_connection": (open_connection, None), "start_tls": (start_tls_of_a_stream, greet)}


@pytest.mark.parametrize(("begin", "preamble"), WAYS.values(), ids=WAYS)
def test_tls_is_pinned_however_it_begins(begin, preamble, version, run):
    async def talk(server):
        reader, writer = await begin(server, trusting(pinner_for(pinned())))
        return await finish(reader, writer)

    with Server(pinned(), tls=[version], before_tls=preamble) as server:
        assert run(talk(server)).startswith(b"HTTP/1.1 200")
    with Server(unpinned(), tls=[version], before_tls=preamble) as server:
        with pytest.raises(PinMismatch):
            run(talk(server))
        server.settle()
        assert server.application_bytes == 0


def test_tls_through_a_connect_proxy_is_pinned(version, run):
    async def talk(proxy, port):
        reader, writer = await asyncio.open_connection(*proxy.address)
        writer.write(f"CONNECT localhost:{port} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
        await writer.start_tls(trusting(pinner_for(pinned())), server_hostname=HOST)
        return await finish(reader, writer)

    with Server(pinned(), tls=[version]) as server, ConnectProxy() as proxy:
        assert run(talk(proxy, server.port)).startswith(b"HTTP/1.1 200")
    with Server(unpinned(), tls=[version]) as server, ConnectProxy() as proxy:
        with pytest.raises(PinMismatch):
            run(talk(proxy, server.port))
        server.settle()
        assert server.application_bytes == 0


def test_an_error_that_was_swallowed_leaves_no_way_to_write(version, run):
    async def talk(server):
        with contextlib.suppress(ssl.SSLError):
            reader, writer = await open_connection(server, trusting(pinner_for(pinned())))
            writer.write(REQUEST)
            await reader.read(100)
        reader, writer = await asyncio.open_connection(*server.address)
        with contextlib.suppress(ssl.SSLError):
            await writer.start_tls(trusting(pinner_for(pinned())), server_hostname=HOST)
        with contextlib.suppress(Exception):
            writer.write(REQUEST)
            await writer.drain()
        writer.close()

    with Server(unpinned(), tls=[version]) as server:
        run(talk(server))
        for record in server.settle():
            assert record.application_bytes == 0


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_anyio_streams_are_pinned(version, backend):
    async def talk(server):
        async with await anyio.connect_tcp(
            *server.address,
            tls=True,
            ssl_context=trusting(pinner_for(pinned())),
            tls_hostname=HOST,
            tls_standard_compatible=False,
        ) as stream:
            await stream.send(REQUEST)
            return await stream.receive()

    with Server(pinned(), tls=[version]) as server:
        assert anyio.run(talk, server, backend=backend).startswith(b"HTTP/1.1 200")
    with Server(unpinned(), tls=[version]) as server:
        with pytest.raises(Exception) as caught:
            anyio.run(talk, server, backend=backend)
        assert find_error(caught.value) is not None
        server.settle()
        assert server.application_bytes == 0


def test_trio_streams_are_pinned(version):
    async def talk(server):
        stream = trio.SSLStream(
            await trio.open_tcp_stream(*server.address),
            trusting(pinner_for(pinned())),
            server_hostname=HOST,
        )
        async with stream.transport_stream:
            await stream.send_all(REQUEST)
            return await stream.receive_some(100)

    with Server(pinned(), tls=[version]) as server:
        assert trio.run(talk, server).startswith(b"HTTP/1.1 200")
    with Server(unpinned(), tls=[version]) as server:
        with pytest.raises(trio.BrokenResourceError) as caught:
            trio.run(talk, server)
        assert find_error(caught.value) is not None
        server.settle()
        assert server.application_bytes == 0
