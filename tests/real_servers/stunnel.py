"""The configuration of stunnel, which has a plain server behind it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from .frontends import PlacedFrontend
from .programs import find

__all__ = ["command", "configuration", "stunnel"]

stunnel = find("stunnel4")


def command(file: Path) -> list[str | Path]:
    """Run it in the foreground."""
    return [stunnel, file]


def configuration(
    frontends: Iterable[PlacedFrontend], folder: Path, log: Path, backend: int | None
) -> str:
    """Hand everything on to a plain server on the port `backend`."""
    return f"""
foreground = yes
pid =
debug = info
output = {folder}/stunnel.log
{"".join(_services(each, backend) for each in frontends)}
"""


def _services(placed: PlacedFrontend, backend: int | None) -> str:
    frontend = placed.frontend
    services = []
    for number, (host, (shown,)) in enumerate(placed.sites.items()):
        to = f"accept = 127.0.0.1:{placed.port}" if number == 0 else f"sni = {placed.name}:{host}"
        lines = [
            f"[{placed.name}]" if number == 0 else f"[{placed.name}-{number}]",
            to,
            f"connect = 127.0.0.1:{backend}",
            f"cert = {shown.chain}",
            f"key = {shown.key}",
            f"sslVersion = TLSv{frontend.version}",
        ]
        if not frontend.tickets:
            lines.append("options = NO_TICKET")
        if placed.clients:
            lines += [f"CAfile = {placed.clients}", "verifyChain = yes", "requireCert = yes"]
        services += lines
    return "\n".join(services) + "\n"
