"""What the tests of the guard share beside scene.py."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from scene import authority, foreign

from keypin import Pinner, PinSet
from keypin.lab import Authority, Credential, Server


@pytest.fixture(scope="session")
def clients() -> Authority:
    """The authority that certifies clients."""
    return Authority("CA of the clients")


@pytest.fixture(scope="session")
def me(clients: Authority) -> Credential:
    """A client's certificate."""
    return clients.issue(common_name="me", extended_key_usage=["clientAuth"])


@pytest.fixture(scope="session", autouse=True)
def hooked_loader() -> None:
    """From the first guarded context on, `ssl.SSLContext` has one method of keypin's for good."""
    Pinner(PinSet([])).create_context()


@pytest.fixture
def foreign_server(version: str) -> Iterator[Server]:
    """A server whose certificate is for another host."""
    with Server(foreign(), tls=[version]) as server:
        yield server


@pytest.fixture(params=["protected", "installed"])
def context_of(request: pytest.FixtureRequest) -> Iterator[Callable[..., ssl.SSLContext]]:
    """Make the context, which checks no name, of a program that a pinner governs in some way."""
    with ExitStack() as stack:

        def make(pinner: Pinner, *, verify: bool = True) -> ssl.SSLContext:
            context = ssl.create_default_context(cadata=authority().pem)
            context.check_hostname = False
            if not verify:
                context.verify_mode = ssl.CERT_NONE
            if request.param == "protected":
                return pinner.protect(context)
            stack.enter_context(pinner.installed())
            return context

        yield make
