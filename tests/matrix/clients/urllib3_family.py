"""urllib3, and what is built on it or on its fork: requests, niquests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..client import TIMEOUT, Client, Endpoint, Request, event_loop


@contextmanager
def by_urllib3(endpoint: Endpoint) -> Iterator[Request]:
    """A pool manager that makes its contexts itself."""
    import urllib3

    settings = {
        "ca_certs": endpoint.cafile,
        "cert_file": endpoint.client_certificate,
        "timeout": TIMEOUT,
    }
    with (
        urllib3.ProxyManager(endpoint.proxy, **settings)
        if endpoint.proxy
        else urllib3.PoolManager(**settings)
    ) as pool:
        yield lambda: pool.request("GET", endpoint.url).data


@contextmanager
def by_urllib3_with_a_context(endpoint: Endpoint) -> Iterator[Request]:
    """A pool manager with a context of the program."""
    import urllib3

    context = endpoint.new_context()
    with (
        urllib3.ProxyManager(endpoint.proxy, ssl_context=context, timeout=TIMEOUT)
        if endpoint.proxy
        else urllib3.PoolManager(ssl_context=context, timeout=TIMEOUT)
    ) as pool:
        yield lambda: pool.request("GET", endpoint.url).data


@contextmanager
def by_requests(endpoint: Endpoint) -> Iterator[Request]:
    """A session."""
    import requests

    with requests.Session() as session:
        session.verify = endpoint.cafile
        session.cert = endpoint.client_certificate
        if endpoint.proxy:
            session.proxies = {"https": endpoint.proxy}
        yield lambda: session.get(endpoint.url, timeout=TIMEOUT).content


@contextmanager
def by_pinning_adapter(endpoint: Endpoint) -> Iterator[Request]:
    """A session with keypin's adapter."""
    import requests

    from keypin import Pinner, PinSet
    from keypin.adapters import PinningAdapter

    with requests.Session() as session:
        pinner = endpoint.pinner or Pinner(PinSet([]))
        session.mount("https://", PinningAdapter(pinner, cafile=endpoint.cafile))
        session.cert = endpoint.client_certificate
        if endpoint.proxy:
            session.proxies = {"https": endpoint.proxy}
        yield lambda: session.get(endpoint.url, timeout=TIMEOUT).content


@contextmanager
def by_requests_get(endpoint: Endpoint) -> Iterator[Request]:
    """`requests.get`: a session, and so a context, for each request."""
    import requests

    yield (
        lambda: (
            requests.get(
                endpoint.url,
                verify=endpoint.cafile,
                cert=endpoint.client_certificate,
                proxies={"https": endpoint.proxy} if endpoint.proxy else None,
                timeout=TIMEOUT,
            ).content
        )
    )


def niquests_settings(endpoint: Endpoint) -> dict[str, object]:
    """What both of niquests' sessions are given; HTTP/3 has no SSLContext."""
    return {
        "disable_http3": True,
        "timeout": TIMEOUT,
        "verify": endpoint.cafile,
        "cert": endpoint.client_certificate,
        "proxies": {"https": endpoint.proxy} if endpoint.proxy else None,
    }


@contextmanager
def by_niquests(endpoint: Endpoint) -> Iterator[Request]:
    """A session."""
    import niquests

    with niquests.Session(**niquests_settings(endpoint)) as session:
        yield lambda: session.get(endpoint.url).content


@contextmanager
def by_niquests_async(endpoint: Endpoint) -> Iterator[Request]:
    """An asynchronous session."""
    import niquests

    with event_loop() as portal:
        session = niquests.AsyncSession(**niquests_settings(endpoint))

        async def request() -> bytes | None:
            return (await session.get(endpoint.url)).content

        try:
            yield lambda: portal.call(request)
        finally:
            portal.call(session.close)


def niquests_excuse() -> str | None:
    """Say so where niquests' fork of urllib3 took the place of urllib3."""
    import urllib3

    if int(urllib3.__version__.rpartition(".")[2]) >= 900:
        return "urllib3-future took the place of urllib3: make test sets up both"
    return None


NIQUESTS = {
    "distributions": ("niquests", "urllib3-future"),
    "excuse": niquests_excuse,
    "notes": "HTTP/3 off (`disable_http3=True`)",
}
CLIENTS = [
    Client("urllib3", by_urllib3, ("urllib3",)),
    Client("urllib3, own context", by_urllib3_with_a_context, ("urllib3",)),
    Client("requests", by_requests, ("requests", "urllib3")),
    Client(
        "requests, PinningAdapter",
        by_pinning_adapter,
        ("requests", "urllib3"),
        takes_pins=True,
        notes="by its own pins: nothing is installed",
    ),
    Client("requests.get", by_requests_get, ("requests", "urllib3"), keeps_alive=False),
    Client("niquests", by_niquests, **NIQUESTS),
    Client("niquests, async", by_niquests_async, **NIQUESTS),
]
