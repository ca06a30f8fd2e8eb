"""The configuration of nginx."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from .frontends import PlacedFrontend, Shown
from .programs import find

__all__ = ["command", "configuration", "nginx"]

nginx = find("nginx")


def command(file: Path) -> list[str | Path]:
    """Run it in the foreground."""
    return [nginx, "-p", file.parent, "-c", file, "-e", "stderr"]


def configuration(
    frontends: Iterable[PlacedFrontend], folder: Path, log: Path, backend: int | None
) -> str:
    """Answer every request with the program's name."""
    return f"""
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log info;
{"user nobody nogroup;" if os.geteuid() == 0 else ""}
worker_processes 1;
events {{ worker_connections 256; }}
http {{
    log_format request 'request $request_uri $server_protocol $ssl_client_s_dn';
    access_log {log} request;
    client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
    uwsgi_temp_path {folder}; scgi_temp_path {folder};
    ssl_session_cache shared:sessions:1m;
    {"".join(text for each in frontends for text in _servers(each, folder))}
}}
"""


def _servers(placed: PlacedFrontend, folder: Path) -> Iterator[str]:
    frontend = placed.frontend
    # what of a client's certificate arrived is told at this level only
    watch = f"error_log {folder}/error.log debug;" if placed.clients else ""
    clients = f"ssl_client_certificate {placed.clients}; ssl_verify_client on;"
    staple = f"ssl_stapling on; ssl_stapling_file {placed.stapled};"
    for host, shown in placed.sites.items():
        yield f"""
    server {{
        listen 127.0.0.1:{placed.port} ssl{" http2" if frontend.http2 else ""};
        server_name {host};
        ssl_protocols TLSv{frontend.version};
        ssl_session_tickets {"on" if frontend.tickets else "off"};
        {_certificates(shown)}
        {clients if placed.clients else ""}
        {staple if placed.stapled else ""}
        {watch}
        location / {{ return 200 "nginx"; }}
    }}
"""


def _certificates(shown: Sequence[Shown]) -> str:
    return "".join(f"ssl_certificate {it.chain}; ssl_certificate_key {it.key};\n" for it in shown)
