"""What the tests of the guard share beside scene.py."""

from __future__ import annotations

import pytest

from keypin import Pinner, PinSet
from keypin.lab import Authority, Credential


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
