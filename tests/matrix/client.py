"""What the matrix knows of a client library, and what a driver is given and gives.

A driver is a module in `clients/`, and a client is an entry in its `CLIENTS`. Its `session` is a
context manager over an endpoint:

    with client.session(endpoint) as request:
        request()

- Entering makes whatever the library's users make once (a client, a session, a context), and does
  not connect. The test may install pins before or after that.
- `request()` makes one exchange, with answer, through the library's public API, and connects first
  where there is no connection. It fails as it fails for the library's users. Where the library
  keeps connections alive, the second call uses the first one's connection.
- CA file, client certificate and proxy are passed the way the library's documentation says.
- Nothing of keypin is used: the pins are in force for the process, or not at all. The exceptions
  are keypin's own adapters for other libraries, which take them from the endpoint.
- Waiting ends after `TIMEOUT` seconds, wherever the library takes a timeout.
- Leaving closes everything, quietly: a connection may have been cut, or never been made.

Asynchronous libraries run in `event_loop`, so that a test can do something between two requests.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from typing import TYPE_CHECKING

from keypin.lab import Http

if TYPE_CHECKING:
    from anyio.from_thread import BlockingPortal

    from keypin import Pinner
    from keypin.lab import Application, Preamble

__all__ = ["TIMEOUT", "Client", "Endpoint", "Request", "event_loop"]

TIMEOUT = 10
"""how long a driver waits for an answer, in seconds"""

Request = Callable[[], object]
Session = Callable[["Endpoint"], AbstractContextManager[Request]]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a client goes, and what it is given for the way."""

    protocol: str
    """the scheme of the URL, as the client gives it: https, wss, rediss, ..."""
    port: int
    cafile: str
    """PEM file of the roots to trust"""
    client_certificate: str | None = None
    """PEM file of a certificate chain and its private key (unencrypted), to be loaded"""
    proxy: str | None = None
    """URL of an HTTP proxy that is to be used"""
    host: str = "localhost"
    pinner: Pinner | None = None
    """what is in force, for clients that take it"""

    @property
    def url(self) -> str:
        """Protocol, host and port, without a path."""
        return f"{self.protocol}://{self.host}:{self.port}"

    @property
    def proxy_address(self) -> tuple[str, int]:
        """Host and port of the proxy, for libraries that take no URL."""
        host, _, port = (self.proxy or "").rpartition("/")[2].partition(":")
        return host, int(port)

    def new_context(self) -> ssl.SSLContext:
        """Make a context as the documentation of ssl says, for libraries that take one."""
        context = ssl.create_default_context(cafile=self.cafile)
        if self.client_certificate:
            context.load_cert_chain(self.client_certificate)
        return context


@dataclass(frozen=True, slots=True)
class Client:
    """A client library, in one of the ways that it is used.

    Args:
        name: as in the table of docs/clients.md; unique.
        session: the driver; a generator function made a context manager.
        distributions: what must be installed, as PyPI calls it, the library itself first; none for
            the standard library.
        protocol: the scheme of the endpoint's URL.
        application: what the server does inside TLS (see keypin.lab.servers.applications).
        before_tls: what the server says before TLS begins (STARTTLS); None for implicit TLS.
        client_certificate: whether the library takes one, and `session` passes it.
        proxy: whether the library takes an HTTP proxy (CONNECT), and `session` passes it.
        keeps_alive: whether the second request goes over the first one's connection.
        explains: whether the exception that its users see leads to the PinMismatch, by
            `keypin.find_error`; where not, the notes say what it tells.
        explains_a_cut: whether the failure of a connection that was cut between two requests leads
            to the PinMismatch; a stream that is held may only know that it is lost.
        talks_by_itself: whether it sends something (heartbeats) without being asked to.
        takes_pins: whether `session` gives it the endpoint's pinner, so that none is installed.
        session_tickets: whether it stands those of TLS 1.3, which come after the handshake.
        excuse: why this cannot run here, or None; asked beside the distributions.
        notes: for the table; one line of Markdown.
    """

    name: str
    session: Session
    distributions: tuple[str, ...] = ()
    protocol: str = "https"
    application: Application = field(default_factory=Http)
    before_tls: Preamble | None = None
    client_certificate: bool = True
    proxy: bool = True
    keeps_alive: bool = True
    explains: bool = True
    explains_a_cut: bool = True
    talks_by_itself: bool = False
    takes_pins: bool = False
    session_tickets: bool = True
    excuse: Callable[[], str | None] | None = None
    notes: str = ""

    def available(self) -> str | None:
        """Say why this client cannot run here; None where it can."""
        for distribution in self.distributions:
            try:
                metadata.version(distribution)
            except metadata.PackageNotFoundError:
                return f"needs {distribution} (pip install 'keypin[test]')"
        return self.excuse() if self.excuse else None

    @property
    def versions(self) -> str:
        """The distributions with their versions, but for anyio where it only runs the loop."""
        others = (name for name in self.distributions[1:] if name != "anyio")
        named = (*self.distributions[:1], *others)
        return ", ".join(f"{name} {metadata.version(name)}" for name in named)


@contextmanager
def event_loop(backend: str = "asyncio", **options: object) -> Iterator[BlockingPortal]:
    """Run an event loop in a thread of its own, also between the calls into it.

    Args:
        backend: "asyncio" or "trio".
        options: of anyio's backend, such as asyncio's `loop_factory`.

    Yields:
        `portal.call(function, *arguments)` runs a function or coroutine function in the loop and
        returns, or raises, what it does.
    """
    from anyio.from_thread import start_blocking_portal

    with start_blocking_portal(backend, options) as portal:
        yield portal
