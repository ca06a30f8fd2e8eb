"""CPU time per request of HTTP clients: without pins, with keypin, with their own kind of pins.

Their own kinds are no equals: urllib3 and aiohttp compare the whole certificate, after the
handshake, aiohttp's `Fingerprint` instead of verifying the chain; curl compares the key.
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

import aiohttp
import httpx2
import pycurl
import requests
import urllib3
from measure import Result, Seconds, interleave, stopwatch
from requests.adapters import HTTPAdapter
from scene import Scene, scene

__all__ = ["run"]

TARGET = "at most 1.01"
ROUNDS, QUICK_ROUNDS = 150, 2
NEW_BATCH, KEPT_BATCH = 4, 20
UNPINNED, KEYPIN = "unpinned", "keypin"
HOST = "127.0.0.1"  # no name, so that nobody's resolver is measured
HEADERS = {True: {"Connection": "close"}, False: {}}

Request = Callable[[bool], object]
"""Makes a request, and says whether the connection shall be closed after it."""

Ways = dict[str, Request]


def run(quick: bool) -> Iterator[Result]:
    rounds = QUICK_ROUNDS if quick else ROUNDS
    with scene() as there, ExitStack() as stack:
        for name, library in LIBRARIES.items():
            ways = library(there, stack)
            yield from compare(f"{name}, new connections", ways, on_new_connections, rounds)
            yield from compare(f"{name}, kept connections", ways, on_kept_connection, rounds)


def compare(
    what: str, ways: Ways, measure: Callable[[Request], Seconds], rounds: int
) -> Iterator[Result]:
    done = interleave({name: partial(measure, request) for name, request in ways.items()}, rounds)
    for name in ways:
        if name == UNPINNED:
            yield Result(f"{what}: {name}", done.cpu(name), unit="us")
        else:
            target = TARGET if name == KEYPIN else ""
            yield Result(f"{what}: {name}", done.cpu_ratios(name, UNPINNED), target=target)


def on_new_connections(request: Request) -> Seconds:
    return stopwatch(lambda: request(True), NEW_BATCH)


def on_kept_connection(request: Request) -> Seconds:
    # Another one in each round: how fast a connection is depends on where the system put it.
    request(False)
    spent = stopwatch(lambda: request(False), KEPT_BATCH)
    request(True)
    return spent


def url(there: Scene) -> str:
    return f"https://{HOST}:{there.address[1]}/"


def fingerprint(there: Scene) -> bytes:
    return hashlib.sha256(there.credential.certificate).digest()


def with_urllib3(there: Scene, stack: ExitStack) -> Ways:
    def requesting(**settings: Any) -> Request:
        pool = stack.enter_context(urllib3.PoolManager(**settings))
        return lambda last: pool.request("GET", url(there), headers=HEADERS[last], retries=False)

    return {
        UNPINNED: requesting(ssl_context=there.plain()),
        KEYPIN: requesting(ssl_context=there.pinned(host=HOST)),
        "assert_fingerprint": requesting(
            ssl_context=there.plain(), assert_fingerprint=fingerprint(there).hex()
        ),
    }


class TlsAdapter(HTTPAdapter):
    """Hands settings of TLS through to urllib3."""

    def __init__(self, **settings: Any) -> None:
        self._settings = settings
        super().__init__()

    def init_poolmanager(self, *arguments: Any, **settings: Any) -> None:
        super().init_poolmanager(*arguments, **settings, **self._settings)


def with_requests(there: Scene, stack: ExitStack) -> Ways:
    def requesting(**settings: Any) -> Request:
        session = stack.enter_context(requests.Session())
        session.mount("https://", TlsAdapter(**settings))
        session.verify = str(there.root_file)
        session.trust_env = False
        return lambda last: session.get(url(there), headers=HEADERS[last])

    return {
        UNPINNED: requesting(ssl_context=there.plain()),
        KEYPIN: requesting(ssl_context=there.pinned(host=HOST)),
        "assert_fingerprint": requesting(
            ssl_context=there.plain(), assert_fingerprint=fingerprint(there).hex()
        ),
    }


def with_httpx2(there: Scene, stack: ExitStack) -> Ways:
    def requesting(context: ssl.SSLContext) -> Request:
        client = stack.enter_context(httpx2.Client(verify=context, trust_env=False))
        return lambda last: client.get(url(there), headers=HEADERS[last])

    return {
        UNPINNED: requesting(there.plain()),
        KEYPIN: requesting(there.pinned(host=HOST)),
    }


def with_aiohttp(there: Scene, stack: ExitStack) -> Ways:
    runner = stack.enter_context(asyncio.Runner())

    def requesting(tls: ssl.SSLContext | aiohttp.Fingerprint) -> Request:
        async def start() -> aiohttp.ClientSession:
            return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls))

        async def request(last: bool) -> None:
            async with session.get(url(there), headers=HEADERS[last]) as response:
                await response.read()

        session = runner.run(start())
        stack.callback(lambda: runner.run(session.close()))
        return lambda last: runner.run(request(last))

    return {
        UNPINNED: requesting(there.plain()),
        KEYPIN: requesting(there.pinned(host=HOST)),
        "Fingerprint": requesting(aiohttp.Fingerprint(fingerprint(there))),
    }


def with_pycurl(there: Scene, stack: ExitStack) -> Ways:
    def requesting(**settings: str) -> Request:
        curl = pycurl.Curl()
        stack.callback(curl.close)
        curl.setopt(pycurl.URL, url(there))
        curl.setopt(pycurl.CAINFO, str(there.root_file))
        curl.setopt(pycurl.PROXY, "")
        curl.setopt(pycurl.WRITEFUNCTION, len)
        curl.setopt(pycurl.SSL_SESSIONID_CACHE, False)  # the others do not resume either
        for name, value in settings.items():
            curl.setopt(getattr(pycurl, name), value)

        def request(last: bool) -> None:
            curl.setopt(pycurl.FORBID_REUSE, last)
            curl.perform()

        return request

    pin = str(there.credential.pin).replace("sha256/", "sha256//", 1)
    return {UNPINNED: requesting(), "PINNEDPUBLICKEY": requesting(PINNEDPUBLICKEY=pin)}


LIBRARIES: dict[str, Callable[[Scene, ExitStack], Ways]] = {
    "urllib3": with_urllib3,
    "requests": with_requests,
    "httpx2": with_httpx2,
    "aiohttp": with_aiohttp,
    "pycurl": with_pycurl,
}
