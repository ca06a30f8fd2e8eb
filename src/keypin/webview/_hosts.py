"""Which servers a page may reach through the client: by its own URLs, and by redirects."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from ..client._urls import Origin, base_of, origin_of, read_absolute
from ._failures import HostNotAllowed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import httpx2

    from ..client import Client

__all__ = ["Reach", "origins_of"]

_limits: ContextVar[Reach | None] = ContextVar("keypin_webview_limits", default=None)


class Reach:
    """The servers that pages reach through a client.

    Args:
        client: its requests are looked at, those of pages only.
        hosts: as `origins_of` takes them; None for that of the client's base URL.

    Raises:
        ValueError: a client without a base URL, or hosts that are none.
    """

    def __init__(self, client: Client, hosts: Iterable[str] | None) -> None:
        flows = client._flows
        home = origin_of(base_of(flows.base_url))
        self._pages = frozenset([home]) if hosts is None else origins_of(hosts)
        self._flows = flows
        if _within_limits not in client._admissions:
            client._admissions.append(_within_limits)

    def check(self, url: httpx2.URL) -> None:
        """Let a page ask for a URL.

        Raises:
            HostNotAllowed: of a server that it may not reach.
        """
        if origin_of(url) not in self._pages:
            raise HostNotAllowed(f"the app does not let its pages reach {origin_of(url)}")

    def check_request(self, request: httpx2.Request) -> None:
        """Let a request leave that a page has brought about.

        A page's request makes the client ask for a token where the app says, wherever that is. A
        page cannot set the credentials by which that is known: the server is not open to it in any
        other way.

        Raises:
            HostNotAllowed: of a request to a server that pages may not reach.
        """
        if not self._flows.is_token_request(request):
            self.check(request.url)

    @contextmanager
    def limits(self) -> Iterator[None]:
        """In this block, no request of this thread leaves for any other server."""
        before = _limits.set(self)
        try:
            yield
        finally:
            _limits.reset(before)


def _within_limits(request: httpx2.Request) -> None:
    """Stand before every request of a client, each hop of a redirect among them."""
    reach = _limits.get()
    if reach is not None:
        reach.check_request(request)


def origins_of(hosts: Iterable[str]) -> frozenset[Origin]:
    """The origins that an app names.

    Args:
        hosts: `api.example`, `api.example:8443` or `https://api.example:8443`; https and port 443
            where nothing else is said.

    Raises:
        TypeError: a single string in the place of several.
        ValueError: what is no host, or says more than that.
    """
    if isinstance(hosts, str):
        raise TypeError(f"hosts is a list: hosts=[{hosts!r}]")
    return frozenset(map(_origin, hosts))


def _origin(host: str) -> Origin:
    url = read_absolute(host if "://" in host else f"https://{host}")
    if url.raw_path != b"/" or "*" in url.host:
        raise ValueError(f"a page is allowed whole hosts, one by one; no path and no *: {host}")
    return origin_of(url)
