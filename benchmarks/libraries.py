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
from requests.adapters import HTTPAdapter

from measure import Result, interleave, stopwatch
from scene import Scene, scene

__all__ = ["run"]

TARGET = "at most 1.01"
ROUNDS, QUICK_ROUNDS = 150, 2
NEW_BATCH, KEPT_BATCH = 4, 20
UNPINNED, KEYPIN = "unpinned", "keypin"
HOST = "127.0.0.1"  # no name, so that nobody's resolver is measured
CLOSE = {"Connection": "close"}

Requests = dict[str, Callable[[], object]]
"""Ways to make one request."""


def run(quick: bool) -> Iterator[Result]:
    rounds = QUICK_ROUNDS if quick else ROUNDS
    with scene() as there:
        for library in (with_urllib3, with_requests, with_httpx2, with_aiohttp, with_pycurl):
            for new in (True, False):
                with ExitStack() as stack:
                    requests = library(there, stack, new)
                    yield from compare(library.__name__[5:], requests, rounds, new)


def compare(library: str, requests: Requests, rounds: int, new: bool) -> Iterator[Result]:
    batch = NEW_BATCH if new else KEPT_BATCH
    connection = "new connections" if new else "kept connection"
    actions = {name: partial(stopwatch, request, batch) for name, request in requests.items()}
    done = interleave(actions, rounds)
    for name in requests:
        if name == UNPINNED:
            yield Result(f"{library}, {connection}: {name}", done.cpu(name), unit="us")
        else:
            target = TARGET if name == KEYPIN else ""
            ratios = done.cpu_ratios(name, UNPINNED)
            yield Result(f"{library}, {connection}: {name}", ratios, target=target)


def url(there: Scene) -> str:
    return f"https://{HOST}:{there.address[1]}/"


def fingerprint(there: Scene) -> bytes:
    return hashlib.sha256(there.credential.certificate).digest()


def with_urllib3(there: Scene, stack: ExitStack, new: bool) -> Requests:
    def requesting(**settings: Any) -> Callable[[], object]:
        pool = stack.enter_context(urllib3.PoolManager(headers=CLOSE if new else None, **settings))
        return lambda: pool.request("GET", url(there), retries=False)

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


def with_requests(there: Scene, stack: ExitStack, new: bool) -> Requests:
    def requesting(**settings: Any) -> Callable[[], object]:
        session = stack.enter_context(requests.Session())
        session.mount("https://", TlsAdapter(**settings))
        session.verify = str(there.root_file)
        session.trust_env = False
        session.headers.update(CLOSE if new else {})
        return lambda: session.get(url(there))

    return {
        UNPINNED: requesting(ssl_context=there.plain()),
        KEYPIN: requesting(ssl_context=there.pinned(host=HOST)),
        "assert_fingerprint": requesting(
            ssl_context=there.plain(), assert_fingerprint=fingerprint(there).hex()
        ),
    }


def with_httpx2(there: Scene, stack: ExitStack, new: bool) -> Requests:
    def requesting(context: ssl.SSLContext) -> Callable[[], object]:
        client = stack.enter_context(
            httpx2.Client(verify=context, trust_env=False, headers=CLOSE if new else None)
        )
        return lambda: client.get(url(there))

    return {
        UNPINNED: requesting(there.plain()),
        KEYPIN: requesting(there.pinned(host=HOST)),
    }


def with_aiohttp(there: Scene, stack: ExitStack, new: bool) -> Requests:
    runner = stack.enter_context(asyncio.Runner())

    def requesting(tls: ssl.SSLContext | aiohttp.Fingerprint) -> Callable[[], object]:
        async def start() -> aiohttp.ClientSession:
            return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls, force_close=new))

        async def request() -> None:
            async with session.get(url(there)) as response:
                await response.read()

        session = runner.run(start())
        stack.callback(lambda: runner.run(session.close()))
        return lambda: runner.run(request())

    return {
        UNPINNED: requesting(there.plain()),
        KEYPIN: requesting(there.pinned(host=HOST)),
        "Fingerprint": requesting(aiohttp.Fingerprint(fingerprint(there))),
    }


def with_pycurl(there: Scene, stack: ExitStack, new: bool) -> Requests:
    def requesting(**settings: str) -> Callable[[], object]:
        curl = pycurl.Curl()
        stack.callback(curl.close)
        curl.setopt(pycurl.URL, url(there))
        curl.setopt(pycurl.CAINFO, str(there.root_file))
        curl.setopt(pycurl.PROXY, "")
        curl.setopt(pycurl.WRITEFUNCTION, len)
        curl.setopt(pycurl.FORBID_REUSE, new)
        curl.setopt(pycurl.SSL_SESSIONID_CACHE, False)  # the others do not resume either
        for name, value in settings.items():
            curl.setopt(getattr(pycurl, name), value)
        return curl.perform

    pin = "sha256//" + str(there.credential.pin).removeprefix("sha256/")
    return {UNPINNED: requesting(), "PINNEDPUBLICKEY": requesting(PINNEDPUBLICKEY=pin)}
