"""The real mitmproxy as an interceptor, with the records of a server of the lab."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .listener import Listener
from .proxy import CONNECT_TIMEOUT
from .streams import SocketStream, copy

if TYPE_CHECKING:
    from ..authority import Credential
    from .connection import Connection
    from .contexts import TlsVersion

__all__ = ["Mitmproxy"]

ADDON = Path(__file__).with_name("mitmproxy_addon.py")
PATIENCE = 30.0  # seconds; it is slow to start


class Mitmproxy(Listener):
    """A running mitmdump behind a relay; records hold what it read, inside TLS and in the clear.

    Args:
        folder: for its configuration; made if it is not there.
        shown: what it presents for every host. mitmproxy can make certificates itself, but those of
            version 8 lack what Python 3.13 asks for.
        trusted: the authorities that it trusts itself, in PEM.
        tls: the version that it speaks with clients.

    Raises:
        RuntimeError: mitmproxy is not installed.
    """

    request_lines: list[str]
    """of the requests that it understood"""

    def __init__(
        self, folder: Path, shown: Credential, *, trusted: str, tls: TlsVersion = "1.3"
    ) -> None:
        super().__init__()
        self.request_lines = []
        program = shutil.which("mitmdump")
        if program is None:
            raise RuntimeError("it needs mitmproxy, whose mitmdump is not on the path")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "shown.pem").write_bytes(shown.key_pem + shown.chain_pem)
        (folder / "trusted.pem").write_text(trusted, "ascii")
        self._command = [program, "--scripts", str(ADDON), *_settings(folder, tls)]
        self._output: list[str] = []
        self._clients: dict[int, Connection] = {}
        self._gone: set[int] = set()

    def start(self) -> None:
        """Start mitmdump, and listen once it does.

        Raises:
            RuntimeError: it does not come up.
        """
        self._process = subprocess.Popen(  # noqa: S603
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, name="mitmproxy reader", daemon=True)
        self._reader.start()
        try:
            self.wait_until(lambda: bool(self._ports()) or self._has_ended(), PATIENCE)
            (port,) = self._ports()
        except (TimeoutError, ValueError) as error:
            self._end_process()
            raise RuntimeError("mitmproxy does not listen:\n" + "\n".join(self._output)) from error
        self._onward = ("127.0.0.1", int(port))
        super().start()

    @property
    def url(self) -> str:
        """Its address as clients take that of a proxy."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    def forget(self) -> None:
        """Begin anew with the records."""
        super().forget()
        self.request_lines.clear()

    def close(self) -> None:
        """Stop listening, and end mitmdump."""
        # It first: threads that relay then find their connections closed.
        self._end_process()
        super().close()

    def _end_process(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _handle(self, connection: Connection, sock: socket.socket) -> None:
        with socket.socket() as onward:
            # The port, by which mitmproxy's events name the client, is known before it connects.
            onward.bind(("127.0.0.1", 0))
            port = onward.getsockname()[1]
            with self._changed:
                self._clients[port] = connection
            onward.settimeout(CONNECT_TIMEOUT)
            try:
                onward.connect(self._onward)
            except OSError:
                return
            onward.settimeout(None)
            client, proxy = SocketStream(sock), SocketStream(onward)
            back = self._start_thread(copy, proxy.recv, client.sendall, client.finish)
            copy(client.recv, proxy.sendall, proxy.finish)
            # It goes on waiting for the server's end, also where the client has gone for good.
            with suppress(OSError):
                onward.shutdown(socket.SHUT_RDWR)
            back.join()
        with suppress(TimeoutError):
            self.wait_until(lambda: port in self._gone or self._has_ended())

    def _has_ended(self) -> bool:
        return self._process.poll() is not None

    def _ports(self) -> list[str]:
        return re.findall(r"listening at .*:(\d+)", "\n".join(self._output))

    def _read(self) -> None:
        for line in self._process.stdout or ():
            with self._changed:
                if line.startswith("keypin "):
                    self._note(json.loads(line.removeprefix("keypin ")))
                else:
                    self._output.append(line.rstrip())
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()

    def _note(self, event: dict[str, Any]) -> None:
        connection = self._clients.get(event["port"])
        if connection is None:
            return
        match event["event"]:
            case "established":
                connection.note(
                    handshake_completed=True, client_finished=True, tls_version=event["version"]
                )
            case "bytes":
                # Told with each attempt to recognize the protocol: all that has come so far.
                connection.received(bytes.fromhex(event["data"])[connection.application_bytes :])
            case "request":
                self.request_lines.append(event["line"])
                if event["plain"]:
                    connection.received(event["line"].encode())
            case "disconnected":
                self._gone.add(event["port"])


def _settings(folder: Path, tls: TlsVersion) -> list[str]:
    protocol = "TLS" + tls.replace(".", "_")
    options = {
        "confdir": folder,
        "certs": folder / "shown.pem",
        "ssl_verify_upstream_trusted_ca": folder / "trusted.pem",
        "tls_version_client_min": protocol,
        "tls_version_client_max": protocol,
        "termlog_verbosity": "info",
        "flow_detail": 0,
        "listen_host": "127.0.0.1",
        "listen_port": 0,
    }
    return [part for name, value in options.items() for part in ("--set", f"{name}={value}")]
