"""Client: the blocking HTTP client that talks only to servers holding a pinned key."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

import httpx2

from ._deadline import seconds, watch
from ._pinning import PinnedClient, pin_errors
from ._resource import TIMEOUT, ResourceRequest
from ._running import run
from ._tokens import normalised_scope

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ._tokens import AccessToken

__all__ = ["Client"]


class Client(PinnedClient):
    __doc__ = PinnedClient.__doc__

    _http: httpx2.Client
    _new_event = staticmethod(threading.Event)

    def _open(self, options: dict[str, Any]) -> None:
        self._http = httpx2.Client(**options, event_hooks={"request": [self._admit]})
        watch(self._http)

    def pin_trusted_certificate_public_key(self, names: str | Iterable[str]) -> None:
        """From now on, talk only to a server whose certificate holds one of these public keys.

        The keys are compared during every TLS handshake, after the ordinary verification of
        certificate authority and host name; open connections are judged at once, too. A second
        call replaces the first.

        Args:
            names: one certificate file (DER X.509, CA-issued) of the client's folder, or several.

        Raises:
            keypin.CertificateNotFound: a name that is not a file in the folder.
            keypin.CertificateFormatError: a file that is something else.
                In both cases nothing has changed.
        """
        self._pin(names)

    def request(self, method: str, url: str, **more: Any) -> httpx2.Response:
        """Send a request; `more` is what `httpx2.Client.request` takes (`json`, `content`, ...)."""
        with pin_errors():
            return self._http.request(method, url, **more)

    @contextmanager
    def stream(self, method: str, url: str, **more: Any) -> Iterator[httpx2.Response]:
        """Send a request and leave the response's body to be read piece by piece."""
        with pin_errors(), self._http.stream(method, url, **more) as response:
            yield response

    def get(self, url: str, **more: Any) -> httpx2.Response:
        """Send a GET request."""
        return self.request("GET", url, **more)

    def head(self, url: str, **more: Any) -> httpx2.Response:
        """Send a HEAD request."""
        return self.request("HEAD", url, **more)

    def options(self, url: str, **more: Any) -> httpx2.Response:
        """Send an OPTIONS request."""
        return self.request("OPTIONS", url, **more)

    def post(self, url: str, **more: Any) -> httpx2.Response:
        """Send a POST request."""
        return self.request("POST", url, **more)

    def put(self, url: str, **more: Any) -> httpx2.Response:
        """Send a PUT request."""
        return self.request("PUT", url, **more)

    def patch(self, url: str, **more: Any) -> httpx2.Response:
        """Send a PATCH request."""
        return self.request("PATCH", url, **more)

    def delete(self, url: str, **more: Any) -> httpx2.Response:
        """Send a DELETE request."""
        return self.request("DELETE", url, **more)

    def resource_request(
        self,
        url: str,
        method: str = "GET",
        *,
        timeout: float | None = TIMEOUT,
        scope: str | None = None,
        limit: int | None = None,
    ) -> ResourceRequest:
        """Begin a request for a resource, for which an access token is obtained where it must be.

        Args:
            url: of the resource, below the base URL even if it begins with a slash; or an absolute
                https URL. A token goes to the origin of the base URL only.
            method: GET, POST and so on.
            timeout: in seconds, for the whole request with its tokens, retries and redirects; None
                for no end.
            scope: what the token must be good for, if that is known: it is obtained at once then,
                and otherwise when the server asks for it.
            limit: how many bytes of an answer's body to take, unpacked; None for any number.

        Raises:
            ValueError: a URL that may mean something else than it says, a method, timeout or scope
                that is none, a client without a base URL.
            keypin.PlainHTTPRefused: an http URL.
        """
        return ResourceRequest(self._http, self._flows, url, method, timeout, scope, limit)

    def obtain_access_token(
        self, scope: str = "", *, timeout: float | None = TIMEOUT
    ) -> AccessToken:
        """Obtain an access token, or get the one that is still good.

        Args:
            scope: scope tokens with a space between; "" for the server's default scope.
            timeout: in seconds, for all of it; None for no end.

        Raises:
            keypin.client.RequestFailed: one of its kinds.
            keypin.PinMismatch: a token endpoint without a pinned key.
            ValueError: a scope or a timeout that is none.
        """
        flow = self._flows.obtain(normalised_scope(scope))
        return run(flow, self._http, seconds(timeout))

    def clear_access_token(self, token: AccessToken) -> None:
        """Forget a token, for every scope that it was obtained for."""
        self._flows.tokens.drop(token.value)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        self._http.__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._http.__exit__(*exception)
