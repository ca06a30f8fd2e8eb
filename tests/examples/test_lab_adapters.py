"""The clients of the published table: each gets through to the pinned server.

That they are refused elsewhere, or are not, is what `make lab` measures.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from keypin.lab import scenarios
from keypin.lab.runner import play

LAB = Path(__file__).parents[2] / "examples" / "lab"


@pytest.fixture(scope="module")
def modules():
    sys.path.insert(0, str(LAB))
    try:
        import adapters
        import table
    finally:
        sys.path.remove(str(LAB))
    return adapters, table


@pytest.fixture(scope="module")
def adapters(tmp_path_factory, modules):
    adapters = modules[0].adapters
    return {adapter.name: adapter for adapter in adapters(tmp_path_factory.mktemp("adapters"))}


NAMES = (
    "keypin Client",
    "keypin, requests, context",
    "keypin, requests, installed",
    "keypin, httpx2, context",
    "keypin, httpx2, installed",
    "keypin, aiohttp, context",
    "keypin, aiohttp, installed",
    "keypin, urllib3, context",
    "keypin, urllib3, installed",
    "keypin, http.client, context",
    "keypin, http.client, installed",
    "urllib3 assert_fingerprint",
    "requests-toolbelt FingerprintAdapter",
    "aiohttp Fingerprint",
    "pycurl PINNEDPUBLICKEY",
    "curl --pinnedpubkey",
    "Node checkServerIdentity",
    "OkHttp CertificatePinner",
    "openssl s_client (control)",
)


def test_all_are_listed_here(adapters):
    assert tuple(adapters) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_it_talks_to_the_pinned_server_and_not_to_another(name, adapters):
    adapter = adapters[name]
    if adapter.lacking:
        pytest.skip(f"needs {adapter.lacking} (make system-deps)")
    chosen = [it for it in scenarios() if it.identifier in ("pinned-key", "other-ca")]
    cases = [next(it for it in scenario.cases("1.3", "p-256")) for scenario in chosen]
    report = play(cases, adapter.command, timeout=60.0)
    accepted, rejected = report.played
    assert accepted.outcome == "right", accepted
    # only the unpinned one is taken in
    wanted = "wrong" if adapter.name.startswith("openssl") else "right"
    assert rejected.outcome == wanted, rejected


def test_the_page_tells_the_harms_apart(adapters, modules):
    adapter = adapters["openssl s_client (control)"]
    if adapter.lacking:
        pytest.skip(f"needs {adapter.lacking}")
    names = ("pinned-key", "other-ca", "root-pinned")
    chosen = [it for it in scenarios() if it.identifier in names]
    cases = [next(scenario.cases("1.3", "p-256")) for scenario in chosen]
    column = modules[1].Column(adapter, play(cases, adapter.command).played, {})
    assert column.summary == "2 right, 1 wrong (1 **B**)"
    text = modules[1].page([column], chosen, datetime.now(UTC), "versions")
    assert "| `other-ca` | **B** |" in text
    assert "pinned-key" not in text  # where nothing is wrong, the data tell
    data = json.loads(modules[1].data([column], chosen, datetime.now(UTC), "versions"))
    (client,) = data["clients"]
    assert client["results"]["pinned-key"] == {"state": "right", "harm": None}
    assert client["results"]["other-ca"] == {"state": "wrong", "harm": "application-bytes"}
    assert sorted(data["scenarios"]) == sorted(names)
    assert "**B** an attacker received application bytes" in text
