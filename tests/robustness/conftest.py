"""The programs in benchmarks/ are tested here as well."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from keypin.lab import Authority, Credential

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder, from which modules can be imported meanwhile."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(BENCHMARKS)
    yield BENCHMARKS
    for name in set(sys.modules) - before:
        file = getattr(sys.modules[name], "__file__", None)
        if file and Path(file).parent == BENCHMARKS:  # they bear names like scene
            del sys.modules[name]


@pytest.fixture(scope="session")
def clients() -> Authority:
    """The authority that certifies clients."""
    return Authority("CA of the clients")


@pytest.fixture(scope="session")
def me(clients: Authority) -> Credential:
    """A client's certificate."""
    return clients.issue(common_name="me", extended_key_usage=["clientAuth"])
