"""HTTP in the standard library."""

from __future__ import annotations

import http.client
import urllib.request
import xmlrpc.client
from collections.abc import Iterator
from contextlib import contextmanager

from keypin.lab import Http, Response

from ..client import TIMEOUT, Client, Endpoint, Request

ANSWER = xmlrpc.client.dumps(("hello",), methodresponse=True).encode()


@contextmanager
def by_http_client(endpoint: Endpoint) -> Iterator[Request]:
    """One connection object, used again."""
    host, port = endpoint.proxy_address if endpoint.proxy else (endpoint.host, endpoint.port)
    connection = http.client.HTTPSConnection(
        host, port, context=endpoint.new_context(), timeout=TIMEOUT
    )
    if endpoint.proxy:
        connection.set_tunnel(endpoint.host, endpoint.port)

    def request() -> bytes:
        connection.request("GET", "/")
        return connection.getresponse().read()

    try:
        yield request
    finally:
        connection.close()


@contextmanager
def by_urllib_request(endpoint: Endpoint) -> Iterator[Request]:
    """An opener with a context, and a connection for each request."""
    opener = urllib.request.build_opener(
        urllib.request.HTTPSHandler(context=endpoint.new_context()),
        urllib.request.ProxyHandler({"https": endpoint.proxy} if endpoint.proxy else {}),
    )

    def request() -> bytes:
        with opener.open(endpoint.url, timeout=TIMEOUT) as response:
            return response.read()

    yield request


@contextmanager
def by_xmlrpc(endpoint: Endpoint) -> Iterator[Request]:
    """A server proxy, which keeps its connection."""
    with xmlrpc.client.ServerProxy(endpoint.url, context=endpoint.new_context()) as server:
        yield lambda: server.greet()


CLIENTS = [
    Client("http.client", by_http_client),
    Client("urllib.request", by_urllib_request, keeps_alive=False),
    Client(
        "xmlrpc.client",
        by_xmlrpc,
        application=Http(lambda request: Response(ANSWER, headers={"Content-Type": "text/xml"})),
        proxy=False,
    ),
]
