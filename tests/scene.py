"""The people of most tests: an authority that the client trusts, its servers, and pins for them."""

from __future__ import annotations

import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from functools import cache, wraps
from typing import TYPE_CHECKING

from keypin import Pinner, PinSet, Rule
from keypin.lab import Authority, Credential, Server

if TYPE_CHECKING:
    from keypin import Pin

HOST = "localhost"
NAMES = (HOST, "127.0.0.1")
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
VERSIONS = ("1.2", "1.3")


@cache
def authority() -> Authority:
    """The one root that the client trusts."""
    return Authority("trusted root")


@cache
def issuing() -> Authority:
    """The intermediate that issues below it."""
    return authority().intermediate("issuing CA")


@cache
def pinned() -> Credential:
    """A server whose key is pinned."""
    return issuing().issue(*NAMES)


@cache
def unpinned() -> Credential:
    """Another server of the same name, from the same CA, with another key."""
    return issuing().issue(*NAMES)


@cache
def foreign() -> Credential:
    """Of a server whose certificate is for another host."""
    return issuing().issue("other.example")


def pinner_for(*pins: Pin | Credential | Authority, **rule: object) -> Pinner:
    """A pinner with one rule for the host."""
    return Pinner(pins_for(*pins, **rule))


def pins_for(*pins: Pin | Credential | Authority, **rule: object) -> PinSet:
    """A pin set with one rule for the host."""
    return PinSet([Rule(HOST, [getattr(pin, "pin", pin) for pin in pins], **rule)])


def trusting(pinner: Pinner, *roots: Authority) -> ssl.SSLContext:
    """A guarded context that trusts the authority, or these."""
    return pinner.create_context(cadata="".join(root.pem for root in roots or (authority(),)))


def connect(context: ssl.SSLContext, server: Server, **more: object) -> ssl.SSLSocket:
    """A TLS connection by the pinned name, or `server_hostname`."""
    more.setdefault("server_hostname", HOST)
    tcp = socket.create_connection(server.address, timeout=20)
    try:
        return context.wrap_socket(tcp, **more)
    except BaseException:
        tcp.close()
        raise


def exchange(connection: ssl.SSLSocket) -> bytes:
    """Send a request and read the beginning of the answer."""
    connection.sendall(REQUEST)
    return connection.recv(4096)


def in_a_thread_of_its_own(test):
    """Run a test where a tracer may raise: that can leave a thread with an exception as handled.

    Exceptions that come after it in that thread lose their contexts.
    """

    @wraps(test)
    def run(*arguments, **more):
        with ThreadPoolExecutor(1) as pool:
            pool.submit(test, *arguments, **more).result()

    return run
