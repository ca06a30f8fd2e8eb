"""The catalogue of scenarios: one module for each group, with its `SCENARIOS`.

A new module is added to `GROUPS`, in the order in which the catalogue is read.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..scenario import Expected, Protocol, Scenario

__all__ = ["GROUPS", "scenarios"]

# The modules of this package. What is unusual in them is imported when a stage is built.
GROUPS = (
    "accepted",
    "chains",
    "certificates",
    "untrusted",
    "faults",
    "names",
    "keys",
    "client_certificates",
    "sessions",
    "handshakes",
    "plain_text",
    "malformed",
    "redirects",
    "proxies",
    "http2",
    "starttls",
    "websocket",
)


def scenarios(
    group: str | None = None,
    protocol: Protocol | None = None,
    expected: Expected | None = None,
) -> list[Scenario]:
    """The scenarios in the order of the catalogue: all, or those to which all that is given fits.

    Args:
        group: the part of the catalogue.
        protocol: what the client speaks inside TLS.
        expected: "reject" or "accept".
    """
    return [
        scenario
        for scenario in _all()
        if group in (None, scenario.group)
        and protocol in (None, scenario.protocol)
        and expected in (None, scenario.expected)
    ]


@cache
def _all() -> tuple[Scenario, ...]:
    found: dict[str, Scenario] = {}
    for name in GROUPS:
        for scenario in import_module(f"{__name__}.{name}").SCENARIOS:
            if scenario.identifier in found:
                raise ValueError(f"two scenarios are called {scenario.identifier!r}")
            found[scenario.identifier] = scenario
    return tuple(found.values())
