"""AsyncClient: the same client for asyncio and trio."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Self

import anyio
import httpx2

from ._deadline import seconds
from ._pinning import PinnedClient, pin_errors
from ._resource import TIMEOUT, AsyncResourceRequest
from ._running import run_async
from ._tokens import normalised_scope

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from ._tokens import AccessToken

__all__ = ["AsyncClient"]


class AsyncClient(PinnedClient):
    __doc__ = PinnedClient.__doc__

    _http: httpx2.AsyncClient
    _new_event = staticmethod(anyio.Event)

    def _open(self, options: dict[str, Any]) -> None:
        async def admit(request: httpx2.Request) -> None:
            self._admit(request)

        self._http = httpx2.AsyncClient(**options, event_hooks={"request": [admit]})

    async def pin_trusted_certificate_public_key(self, names: str | Iterable[str]) -> None:
        """As `Client.pin_trusted_certificate_public_key`."""
        self._pin(names)

    async def request(self, method: str, url: str, **more: Any) -> httpx2.Response:
        """Send a request; `more` is what `httpx2.AsyncClient.request` takes."""
        with pin_errors():
            return await self._http.request(method, url, **more)

    @asynccontextmanager
    async def stream(self, method: str, url: str, **more: Any) -> AsyncIterator[httpx2.Response]:
        """Send a request and leave the response's body to be read piece by piece."""
        with pin_errors():
            async with self._http.stream(method, url, **more) as response:
                yield response

    async def get(self, url: str, **more: Any) -> httpx2.Response:
        """Send a GET request."""
        return await self.request("GET", url, **more)

    async def head(self, url: str, **more: Any) -> httpx2.Response:
        """Send a HEAD request."""
        return await self.request("HEAD", url, **more)

    async def options(self, url: str, **more: Any) -> httpx2.Response:
        """Send an OPTIONS request."""
        return await self.request("OPTIONS", url, **more)

    async def post(self, url: str, **more: Any) -> httpx2.Response:
        """Send a POST request."""
        return await self.request("POST", url, **more)

    async def put(self, url: str, **more: Any) -> httpx2.Response:
        """Send a PUT request."""
        return await self.request("PUT", url, **more)

    async def patch(self, url: str, **more: Any) -> httpx2.Response:
        """Send a PATCH request."""
        return await self.request("PATCH", url, **more)

    async def delete(self, url: str, **more: Any) -> httpx2.Response:
        """Send a DELETE request."""
        return await self.request("DELETE", url, **more)

    def resource_request(
        self,
        url: str,
        method: str = "GET",
        *,
        timeout: float | None = TIMEOUT,
        scope: str | None = None,
        limit: int | None = None,
    ) -> AsyncResourceRequest:
        """As `Client.resource_request`; what is awaited is the request's `send`."""
        return AsyncResourceRequest(self._http, self._flows, url, method, timeout, scope, limit)

    async def obtain_access_token(
        self,
        scope: str = "",
        *,
        timeout: float | None = TIMEOUT,  # noqa: ASYNC109 - as Client has it
    ) -> AccessToken:
        """As `Client.obtain_access_token`."""
        flow = self._flows.obtain(normalised_scope(scope))
        return await run_async(flow, self._http, seconds(timeout))

    async def clear_access_token(self, token: AccessToken) -> None:
        """As `Client.clear_access_token`."""
        self._flows.tokens.drop(token.value)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(self, *exception: Any) -> None:
        await self._http.__aexit__(*exception)
