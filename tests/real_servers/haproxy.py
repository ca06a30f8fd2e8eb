"""The configuration of HAProxy."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from .frontends import PlacedFrontend
from .programs import find

__all__ = ["command", "configuration", "haproxy"]

haproxy = find("haproxy")


def command(file: Path) -> list[str | Path]:
    """Run it in the foreground, with a master that can be told to reload."""
    return [haproxy, "-W", "-f", file]


def configuration(
    frontends: Iterable[PlacedFrontend], folder: Path, log: Path, backend: int | None
) -> str:
    """Answer every request with the program's name.

    It logs to its standard output, which is `log`.
    """
    return f"""
global
    log stdout format raw local0 info
    nbthread 1
    maxconn 100
defaults
    mode http
    log global
    timeout client 30s
    timeout server 30s
    timeout connect 10s
    log-format "request %HU %HV %{{+Q}}[ssl_c_s_dn]"
    error-log-format "handshake %[ssl_fc_err] %{{+Q}}[ssl_c_s_dn]"
{"".join(_frontend(each) for each in frontends)}
"""


def _frontend(placed: PlacedFrontend) -> str:
    frontend = placed.frontend
    parts = [f"bind 127.0.0.1:{placed.port} ssl"]
    parts += [f"crt {it.both}" for shown in placed.sites.values() for it in shown]
    parts.append(f"ssl-min-ver TLSv{frontend.version} ssl-max-ver TLSv{frontend.version}")
    parts.append(f"alpn {'h2,' if frontend.http2 else ''}http/1.1")
    if not frontend.tickets:
        parts.append("no-tls-tickets")
    if placed.clients:
        parts.append(f"ca-file {placed.clients} verify required")
    return f"""
frontend {placed.name}
    {" ".join(parts)}
    http-request return status 200 content-type text/plain string haproxy
"""
