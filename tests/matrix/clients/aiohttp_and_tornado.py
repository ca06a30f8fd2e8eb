"""aiohttp, also on uvloop, and tornado's client."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..client import TIMEOUT, Client, Endpoint, Request, event_loop


@contextmanager
def by_aiohttp(endpoint: Endpoint, **options: object) -> Iterator[Request]:
    """A session whose connector has a context."""
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=TIMEOUT)

    async def open_session() -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(ssl=endpoint.new_context())
        return aiohttp.ClientSession(connector=connector, timeout=timeout)

    with event_loop(**options) as portal:
        session = portal.call(open_session)

        async def request() -> bytes:
            async with session.get(endpoint.url, proxy=endpoint.proxy) as response:
                return await response.read()

        try:
            yield lambda: portal.call(request)
        finally:
            portal.call(session.close)


@contextmanager
def by_aiohttp_on_uvloop(endpoint: Endpoint) -> Iterator[Request]:
    """The same on another event loop, which has a TLS protocol of its own."""
    import uvloop

    with by_aiohttp(endpoint, loop_factory=uvloop.new_event_loop) as request:
        yield request


@contextmanager
def by_tornado(endpoint: Endpoint) -> Iterator[Request]:
    """Tornado's own client."""
    from tornado.httpclient import HTTPRequest
    from tornado.simple_httpclient import SimpleAsyncHTTPClient

    context = endpoint.new_context()

    async def open_client() -> SimpleAsyncHTTPClient:
        return SimpleAsyncHTTPClient(force_instance=True)

    with event_loop() as portal:
        client = portal.call(open_client)

        async def request() -> bytes:
            fetched = HTTPRequest(endpoint.url, ssl_options=context, request_timeout=TIMEOUT)
            return (await client.fetch(fetched)).body

        try:
            yield lambda: portal.call(request)
        finally:
            portal.call(client.close)


CLIENTS = [
    Client("aiohttp", by_aiohttp, ("aiohttp", "anyio")),
    Client("aiohttp, uvloop", by_aiohttp_on_uvloop, ("aiohttp", "uvloop", "anyio")),
    Client("tornado", by_tornado, ("tornado", "anyio"), proxy=False, keeps_alive=False),
]
