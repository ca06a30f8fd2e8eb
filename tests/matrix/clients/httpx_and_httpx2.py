"""httpx and httpx2, which have one interface: synchronous, on asyncio, on trio."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module

from ..client import TIMEOUT, Client, Endpoint, Request, event_loop


@contextmanager
def by_client(library: str, endpoint: Endpoint) -> Iterator[Request]:
    """A client."""
    httpx = import_module(library)
    with httpx.Client(
        verify=endpoint.new_context(), proxy=endpoint.proxy, timeout=TIMEOUT
    ) as client:
        yield lambda: client.get(endpoint.url).content


@contextmanager
def by_async_client(library: str, backend: str, endpoint: Endpoint) -> Iterator[Request]:
    """An asynchronous client."""
    httpx = import_module(library)
    client = httpx.AsyncClient(verify=endpoint.new_context(), proxy=endpoint.proxy, timeout=TIMEOUT)

    async def request() -> bytes:
        return (await client.get(endpoint.url)).content

    with event_loop(backend) as portal:
        try:
            yield lambda: portal.call(request)
        finally:
            portal.call(client.aclose)


CLIENTS = [
    entry
    for library in ("httpx", "httpx2")
    for entry in (
        Client(library, partial(by_client, library), (library,)),
        Client(
            f"{library}, asyncio", partial(by_async_client, library, "asyncio"), (library, "anyio")
        ),
        Client(
            f"{library}, trio",
            partial(by_async_client, library, "trio"),
            (library, "anyio", "trio"),
        ),
    )
]
