"""Client: the blocking HTTP client that talks only to servers holding a pinned key."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

import httpx2

from ._pinning import PinnedClient, pin_errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Client"]


class Client(PinnedClient):
    __doc__ = PinnedClient.__doc__

    def _open(self, options: dict[str, Any]) -> None:
        self._http = httpx2.Client(**options, event_hooks={"request": [self._admit]})

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

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        self._http.__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._http.__exit__(*exception)
