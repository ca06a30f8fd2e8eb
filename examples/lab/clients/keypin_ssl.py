"""The standard library's http.client, pinned by keypin: its context, or the whole process."""

import http.client
from urllib.parse import urlsplit

from calls import HEADERS, TIMEOUT, call_both, parse, pinned_context, proxy_for

arguments = parse("context", "installed")
context = pinned_context(arguments)


def call(url):
    parts = urlsplit(url)
    if parts.scheme != "https":
        raise OSError("plain http is refused")
    host, proxy = parts.hostname.encode("idna").decode("ascii"), proxy_for(url)
    called = urlsplit(proxy) if proxy else parts
    address = (called.hostname if proxy else host), called.port
    connection = http.client.HTTPSConnection(*address, context=context, timeout=TIMEOUT)
    if proxy:
        connection.set_tunnel(host, parts.port or 443)
    try:
        connection.request("GET", parts.path or "/", headers=HEADERS)
        if connection.getresponse().status >= 400:
            raise OSError("the server answered with an error")
    finally:
        connection.close()


call_both(call, arguments)
