"""The page of a `LiveLab`: a small web server that shows what every case has received.

It hands out the files that clients need, too: authorities, pins, the pinned certificate. Pages of
other sites can neither read it by a name that leads here (DNS rebinding) nor change anything.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import sys
import threading
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from importlib.resources import files
from pathlib import Path
from socketserver import TCPServer, ThreadingMixIn
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from ..errors import HostnameError
from ..hostnames import normalise

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Self

    from .live import LiveLab

__all__ = ["StatusPage"]

PATIENCE = 30  # seconds with a browser that opens a connection and asks for nothing
GLANCE = 0.1  # seconds between two looks at whether it has ended
PEM, DER, TOML = "application/x-pem-file", "application/pkix-cert", "application/toml"
POLICY = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self';"
    " connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


class StatusPage:
    """A web server without TLS, at the address of the lab's servers: a context manager.

    Args:
        lab: what to show; it must be running.
        left_out: scenarios that are not played, and why.
        port: 0 for a free one.
    """

    def __init__(
        self, lab: LiveLab, left_out: Mapping[str, str] | None = None, port: int = 0
    ) -> None:
        self._lab = lab
        self._left_out = dict(left_out or {})
        self._port = port

    @property
    def url(self) -> str:
        """Where it is to be seen."""
        host, port = self._server.server_address[:2]
        name = f"[{host!s}]" if ":" in str(host) else str(host)
        return f"http://{name}:{port}/"

    def file_url(self, name: str, case: str | None = None) -> str:
        """Where one of the files is."""
        return f"{self.url}{name if case is None else f'cases/{case}/{name}'}"

    def __enter__(self) -> Self:
        address = self._lab.cast.address, self._port
        self._server = _Server(address, self._lab, self._left_out)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(GLANCE,), name="keypin lab page"
        )
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingMixIn, TCPServer):
    allow_reuse_address = os.name == "posix"
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], lab: LiveLab, left_out: Mapping[str, str]) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.lab = lab
        self.left_out = left_out
        self.identity = secrets.token_hex(8)
        self.names = {*lab.cast.names, "localhost"}
        self.content = dict(_content(lab))
        self._open: set[Any] = set()
        super().__init__(address, _Handler)

    def state(self) -> dict[str, Any]:
        cast = self.lab.cast
        return {
            "lab": self.identity,
            "host": cast.host,
            "address": cast.address,
            "pins": [str(cast.pinned.pin), str(cast.backup.pin)],
            "cases": self.lab.state(),
            "summary": self.lab.summary,
            "left_out": dict(self.left_out),
        }

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        """End, also with browsers that keep a connection and ask for nothing."""
        for sock in list(self._open):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        super().server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a browser that is gone."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


def _content(lab: LiveLab) -> Iterator[tuple[str, tuple[str, bytes]]]:
    """What is at each path, with its media type."""
    here = files(__package__)
    yield "/", ("text/html; charset=utf-8", here.joinpath("live.html").read_bytes())
    yield "/live.css", ("text/css; charset=utf-8", here.joinpath("live.css").read_bytes())
    yield "/live.js", ("text/javascript; charset=utf-8", here.joinpath("live.js").read_bytes())
    cast = lab.cast
    yield "/authorities.pem", (PEM, cast.trusted.encode("ascii"))
    # phones take one certificate at a time
    yield "/authority.cer", (DER, cast.root.certificate)
    yield "/other-authority.cer", (DER, cast.other_root.certificate)
    yield "/pinned.cer", (DER, cast.pinned.certificate)
    yield "/backup.cer", (DER, cast.backup.certificate)
    yield "/client.pem", (PEM, cast.client.chain_pem + cast.client.key_pem)
    yield "/pins.toml", (TOML, (lab.folder / "pins.toml").read_bytes())
    for case, stage in lab.stages.items():
        yield f"/cases/{case}/authorities.pem", (PEM, stage.trusted.encode("ascii"))
        yield f"/cases/{case}/pins.toml", (TOML, Path(stage.pin_file).read_bytes())


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version = "keypin-lab"
    sys_version = ""
    timeout = PATIENCE

    def do_GET(self) -> None:
        """Serve the page, what it shows, and the files that a client needs."""
        if not self._is_meant():
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST)
        elif self.path == "/state.json":
            self._send("application/json", json.dumps(self.server.state()).encode())
        elif self.path in self.server.content:
            self._send(*self.server.content[self.path])
        else:
            self.send_error(HTTPStatus.NOT_FOUND)

    def do_POST(self) -> None:
        """Forget what a case's servers have received."""
        if not self._is_meant():
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST)
            return
        # a browser says whose page it is that sends; no other site's may
        if self.headers.get_all("Origin") != [f"http://{self.headers['Host']}"]:
            self.send_error(HTTPStatus.FORBIDDEN, "only this lab's own page may do that")
            return
        case = unquote(self.path.removeprefix("/forget/"))
        if not self.path.startswith("/forget/") or case not in self.server.lab.stages:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        self.server.lab.forget(case)
        self._send("text/plain", b"")

    def _is_meant(self) -> bool:
        """Whether the request names this server, and not by a stranger's name that leads here."""
        named = self.headers.get_all("Host") or []
        try:
            return len(named) == 1 and normalise(urlsplit(f"//{named[0]}").hostname or "") in (
                self.server.names
            )
        except (ValueError, HostnameError):
            return False

    def _send(self, kind: str, content: bytes) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def end_headers(self) -> None:
        """Say on every answer what browsers may do with it."""
        for name, value in POLICY.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Keep standard error clean."""
