"""What the tests of the guard share beside scene.py."""

from __future__ import annotations

import pytest

from keypin.lab import Authority, Credential


@pytest.fixture(scope="session")
def clients() -> Authority:
    """The authority that certifies clients."""
    return Authority("CA of the clients")


@pytest.fixture(scope="session")
def me(clients: Authority) -> Credential:
    """A client's certificate."""
    return clients.issue(common_name="me", extended_key_usage=["clientAuth"])
