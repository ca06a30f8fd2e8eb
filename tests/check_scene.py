"""The host of the tests of `keypin check`, and how it is led to lab servers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from keypin.lab import Listener

HOST = "api.example.test"
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def at(*servers: Listener, host: str = HOST) -> list[str]:
    """The options that lead a host to servers."""
    options = []
    for server in servers:
        address = f"[{server.host}]" if ":" in server.host else server.host
        options += ["--connect-to", f"{host}={address}:{server.port}"]
    return options
