"""The configuration of Apache httpd."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from .frontends import PlacedFrontend
from .programs import find

__all__ = ["apache", "command", "configuration"]

apache = find("apache2")

MODULES = ("mpm_event", "authz_core", "dir", "http2", "socache_shmcb", "ssl")
MODULES_FOLDER = Path("/usr/lib/apache2/modules")


def command(file: Path) -> list[str | Path]:
    """Run it in the foreground."""
    return [apache, "-f", file, "-D", "FOREGROUND"]


def configuration(
    frontends: Iterable[PlacedFrontend], folder: Path, log: Path, backend: int | None
) -> str:
    """Answer every request with the program's name."""
    pages = folder / "pages"
    pages.mkdir(exist_ok=True)
    (pages / "index.txt").write_text("apache")
    placed = list(frontends)
    modules = "".join(f"LoadModule {it}_module {MODULES_FOLDER}/mod_{it}.so\n" for it in MODULES)
    ports = "".join(f"Listen 127.0.0.1:{it.port} https\n" for it in placed)
    return f"""
{modules}
{ports}
ServerName localhost
ServerRoot {folder}
DefaultRuntimeDir {folder}
PidFile {folder}/apache.pid
{"User nobody" if os.geteuid() == 0 else ""}
{"Group nogroup" if os.geteuid() == 0 else ""}
StartServers 1
ServerLimit 4
ThreadsPerChild 8
MaxRequestWorkers 32
MinSpareThreads 1
MaxSpareThreads 32
KeepAliveTimeout 1
ErrorLog {folder}/error.log
LogLevel info
LogFormat "request %r %{{SSL_CLIENT_S_DN}}x" request
GlobalLog {log} request
DocumentRoot {pages}
FallbackResource /index.txt
SSLSessionCache shmcb:{folder}/sessions(512000)
{"".join(text for each in placed for text in _hosts(each))}
"""


def _hosts(placed: PlacedFrontend) -> Iterator[str]:
    frontend = placed.frontend
    certificates = {
        host: "".join(
            f"SSLCertificateFile {it.chain}\n    SSLCertificateKeyFile {it.key}\n    "
            for it in shown
        )
        for host, shown in placed.sites.items()
    }
    must_show = "SSLVerifyClient require"
    if frontend.clients_below != "/":
        must_show = f"<Location {frontend.clients_below}>\n{must_show}\n</Location>"
    # what of a client's certificate arrived is told at this level only
    clients = f"""
    SSLCACertificateFile {placed.clients}
    {must_show}
    LogLevel ssl:debug
"""
    for host, lines in certificates.items():
        yield f"""
<VirtualHost 127.0.0.1:{placed.port}>
    ServerName {host}
    Protocols {"h2 http/1.1" if frontend.http2 else "http/1.1"}
    SSLEngine on
    SSLProtocol -all +TLSv{frontend.version}
    SSLSessionTickets {"on" if frontend.tickets else "off"}
    {lines}
    {clients if placed.clients else ""}
</VirtualHost>
"""
