"""mitmproxy as what it is: a proxy that reads what passes, with a certificate that is trusted."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import threading
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from keypin.lab import Authority, Credential

__all__ = ["Interceptor", "mitmdump"]

ADDON = Path(__file__).with_name("mitmproxy_addon.py")
PATIENCE = 20.0

mitmdump = shutil.which("mitmdump")


class Interceptor:
    """A running mitmdump, and the record of what it saw.

    Args:
        folder: an empty one, for its configuration.
        certificate: for the host that clients ask for, from an authority that they trust. mitmproxy
            can make them itself; but those of version 8 lack what Python 3.13 asks for.
        upstream: whom it trusts itself.
        version: the version of TLS that it speaks with clients.
    """

    def __init__(
        self, folder: Path, certificate: Credential, upstream: Authority, version: str
    ) -> None:
        self._folder = folder
        self._changed = threading.Condition()
        self._events: list[dict[str, object]] = []
        self._output: list[str] = []
        (folder / "shown.pem").write_bytes(certificate.key_pem + certificate.chain_pem)
        (folder / "upstream.pem").write_text(upstream.pem)
        self._process = subprocess.Popen(
            self._command(version),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Self:
        self._reader.start()
        try:
            self._wait(self._ports)
        except TimeoutError:
            self.close()
            raise
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        self._reader.join(PATIENCE)
        self._process.wait(PATIENCE)
        self._process.stdout.close()

    @property
    def port(self) -> int:
        """Where it listens, on 127.0.0.1."""
        (port,) = self._ports()
        return int(port)

    @property
    def url(self) -> str:
        """The proxy's URL."""
        return f"http://127.0.0.1:{self.port}"

    def settle(self) -> Counter[str]:
        """Wait until every client so far is gone; return how often each event was seen, and forget.

        Raises:
            TimeoutError: a client is still there.
        """
        # Its output is a line of events: once a last client is there, all before it are.
        with socket.create_connection(("127.0.0.1", self.port), PATIENCE) as last:
            told = {"event": "connected", "port": last.getsockname()[1]}
            self._wait(lambda: told in self._events)
        self._wait(lambda: self._count()["connected"] == self._count()["disconnected"])
        with self._changed:
            counted = self._count()
            self._events.clear()
        return counted

    def _count(self) -> Counter[str]:
        return Counter(str(event["event"]) for event in self._events)

    def _ports(self) -> list[str]:
        return re.findall(r"listening at .*:(\d+)", "\n".join(self._output))

    def _wait(self, condition: Callable[[], object]) -> None:
        with self._changed:
            if not self._changed.wait_for(condition, PATIENCE):
                raise TimeoutError("\n".join(self._output))

    def _read(self) -> None:
        for line in self._process.stdout:
            with self._changed:
                if line.startswith("keypin "):
                    self._events.append(json.loads(line.removeprefix("keypin ")))
                else:
                    self._output.append(line.rstrip())
                self._changed.notify_all()

    def _command(self, version: str) -> list[str]:
        protocol = "TLS" + version.replace(".", "_")
        options = {
            "confdir": self._folder,
            "certs": self._folder / "shown.pem",
            "ssl_verify_upstream_trusted_ca": self._folder / "upstream.pem",
            "tls_version_client_min": protocol,
            "tls_version_client_max": protocol,
            "termlog_verbosity": "info",
            "flow_detail": 0,
            "listen_host": "127.0.0.1",
            "listen_port": 0,
        }
        settings = [
            part for name, value in options.items() for part in ("--set", f"{name}={value}")
        ]
        return [mitmdump, "--scripts", str(ADDON), *settings]
