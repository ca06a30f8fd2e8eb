"""What all these clients have in common: their arguments, and the calls that they make."""

from __future__ import annotations

import argparse
import asyncio
import sys
import urllib.request
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable

__all__ = [
    "HEADERS",
    "TIMEOUT",
    "call_both",
    "call_both_async",
    "load_own",
    "parse",
    "pinned_context",
    "proxy_for",
]

HEADERS = {"Authorization": "Bearer what only the pinned server may learn"}
TIMEOUT = 4.0  # seconds; some clients try three times more


def parse(*modes: str) -> argparse.Namespace:
    """Read the command line: what the lab tells a client."""
    parser = argparse.ArgumentParser()
    if modes:
        parser.add_argument("mode", choices=modes)
    parser.add_argument("url")
    parser.add_argument("second_url")
    parser.add_argument("--cafile")
    parser.add_argument("--pins", help="a pin file")
    parser.add_argument("--curl-pins", help="the pins as curl takes them")
    parser.add_argument("--certificate", help="the pinned certificate, DER")
    parser.add_argument("--certificates", help="a folder of pinned certificates, DER")
    parser.add_argument("--client-certificate", help="certificate and key, PEM")
    return parser.parse_args()


def call_both(call: Callable[[str], object], arguments: argparse.Namespace) -> None:
    """Call both addresses, the second one also if the first has failed, and end the program."""
    failed = False
    for url in (arguments.url, arguments.second_url):
        try:
            call(url)
        except Exception as error:  # noqa: BLE001 - whatever it is, the client goes on
            _tell(error)
            failed = True
    sys.exit(failed)


def call_both_async(
    call: Callable[[str], Awaitable[object]], arguments: argparse.Namespace
) -> Callable[[], Awaitable[bool]]:
    """The same as a coroutine function that returns whether a call failed."""

    async def calls() -> bool:
        failed = False
        for url in (arguments.url, arguments.second_url):
            try:
                await asyncio.wait_for(call(url), 2 * TIMEOUT)
            except Exception as error:  # noqa: BLE001 - as above
                _tell(error)
                failed = True
        return failed

    return calls


def proxy_for(url: str) -> str | None:
    """The URL of the proxy that the environment names for an address."""
    proxy = urllib.request.getproxies().get("https")
    if not proxy or urllib.request.proxy_bypass(urlsplit(url).hostname or ""):
        return None
    return proxy


def _tell(error: Exception) -> None:
    print(f"{type(error).__name__}: {error}".splitlines()[0], file=sys.stderr)


def pinned_context(arguments: argparse.Namespace) -> ssl.SSLContext:
    """A context of keypin, or in the mode "installed" an ordinary one in a pinned process."""
    import ssl

    import keypin

    if arguments.mode == "context":
        pinner = keypin.Pinner(keypin.PinSet.load(arguments.pins))
        return load_own(pinner.create_context(cafile=arguments.cafile), arguments)
    keypin.install(arguments.pins)
    return load_own(ssl.create_default_context(cafile=arguments.cafile), arguments)


def load_own(context: ssl.SSLContext, arguments: argparse.Namespace) -> ssl.SSLContext:
    """Load the client's own certificate, if there is one."""
    if arguments.client_certificate:
        context.load_cert_chain(arguments.client_certificate)
    return context
