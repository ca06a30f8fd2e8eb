"""Run a web server, read its log, and have it reload."""

from __future__ import annotations

import itertools
import os
import re
import signal
import socket
import ssl
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from scene import HOST, authority

from keypin.lab import Authority

from . import apache, haproxy, nginx, stunnel
from .frontends import Frontend, PlacedFrontend
from .programs import PATIENCE, free_port, free_ports, process, soon

__all__ = ["PROGRAMS", "Place", "Program", "RealServer", "get", "serving"]

REQUEST = re.compile(r"/\?([\w-]+)")


@dataclass(frozen=True, slots=True)
class Program:
    """A server program.

    Args:
        name: its own; also what it answers.
        found: where it is; None if it is not on this machine.
        command: how to run a configuration file.
        configuration: writes it: frontends, folder, log of requests, port of the plain server.
        reload: the signal that has it read its files again.
        http2: whether it speaks that.
        side_by_side: whether one port can have an RSA and an ECDSA certificate.
        behind: whether it hands requests on to a plain server, whose log it is then.
        logs_to_output: whether the log of requests is what it writes to its standard output.
    """

    name: str
    found: str | None
    command: Callable[[Path], list[str | Path]]
    configuration: Callable[[Iterable[PlacedFrontend], Path, Path, int | None], str]
    reload: signal.Signals
    http2: bool = True
    side_by_side: bool = True
    behind: bool = False
    logs_to_output: bool = False


PROGRAMS = (
    Program("nginx", nginx.nginx, nginx.command, nginx.configuration, signal.SIGHUP),
    Program("apache", apache.apache, apache.command, apache.configuration, signal.SIGUSR1),
    Program(
        "haproxy",
        haproxy.haproxy,
        haproxy.command,
        haproxy.configuration,
        signal.SIGUSR2,
        logs_to_output=True,
    ),
    Program(
        "stunnel",
        stunnel.stunnel,
        stunnel.command,
        stunnel.configuration,
        signal.SIGHUP,
        http2=False,
        side_by_side=False,
        behind=True,
    ),
)


class Place(NamedTuple):
    """Where a frontend is."""

    address: tuple[str, int]

    def url(self, word: str) -> str:
        """Of the host that is pinned, and with a word by which to find the request in the log."""
        return f"https://{HOST}:{self.address[1]}/?{word}"


class RealServer:
    """A running server. What it received is told by its own log."""

    def __init__(
        self,
        program: Program,
        folder: Path,
        log: Path,
        frontends: Mapping[str, Frontend],
        backend: int | None,
    ) -> None:
        self.program = program
        self.ports = dict(zip(frontends, free_ports(len(frontends)), strict=True))
        self._folder = folder
        self._log = log
        self._frontends = dict(frontends)
        self._backend = backend
        self._pid = 0
        self._controls = itertools.count()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run until the block ends."""
        command = self.program.command(self._configure())
        said = self._log if self.program.logs_to_output else self._folder / "said.log"
        with process(command, self.ports.values(), said) as server:
            self._pid = server.pid
            assert all(self._shows(name) for name in self.ports), "others use its ports"
            yield

    def at(self, frontend: str) -> Place:
        """Where a frontend is."""
        return Place(("127.0.0.1", self.ports[frontend]))

    def requests(self, frontend: str) -> list[str]:
        """The words of all requests so far, those of the control requests left out.

        A control request is made to the frontend first, by a client that pins nothing: once it is
        logged, what came before it is, too.

        Raises:
            AssertionError: it is not logged.
        """
        word = f"control-{next(self._controls)}"
        with self._control_connection(frontend) as connection:
            assert get(connection, word) == self.program.name
        assert soon(lambda: word in self._words())
        return [word for word in self._words() if not word.startswith("control-")]

    def said(self) -> str:
        """All that it has logged, of requests and of handshakes."""
        return "".join(log.read_text(errors="replace") for log in self._folder.glob("*.log"))

    def reload(self, **frontends: Frontend) -> None:
        """Change frontends, without a restart, and wait until nobody is served by the old ones.

        Raises:
            AssertionError: that does not come to pass.
        """
        before = self._workers()
        self._frontends |= frontends
        self._configure()
        os.kill(self._pid, self.program.reload)
        assert soon(lambda: not before & self._workers()), self.said()
        # a server without workers is its own successor
        assert soon(lambda: all(self._shows(name) for name in frontends)), self.said()

    def _configure(self) -> Path:
        placed = []
        for name, frontend in self._frontends.items():
            files = self._folder / "frontends" / name
            placed.append(PlacedFrontend.place(name, self.ports[name], frontend, files))
        file = self._folder / "server.conf"
        configuration = self.program.configuration
        file.write_text(configuration(placed, self._folder, self._log, self._backend))
        return file

    def _words(self) -> list[str]:
        return REQUEST.findall(self._log.read_text(errors="replace"))

    def _workers(self) -> set[str]:
        return set(Path(f"/proc/{self._pid}/task/{self._pid}/children").read_text().split())

    def _shows(self, name: str) -> bool:
        credentials = self._frontends[name].sites[HOST]
        try:
            with self._control_connection(name) as connection:
                shown = connection.getpeercert(binary_form=True)
        except OSError:
            return False  # stunnel does not listen for a moment
        return shown in [credential.certificate for credential in credentials]

    @contextmanager
    def _control_connection(self, name: str) -> Iterator[ssl.SSLSocket]:
        context = ssl.create_default_context(cadata=authority().pem)
        clients = self._frontends[name].clients
        if clients is not None:
            _load(context, clients)
        with (
            socket.create_connection(self.at(name).address, PATIENCE) as plain,
            context.wrap_socket(plain, server_hostname=HOST) as connection,
        ):
            yield connection


def get(connection: ssl.SSLSocket, word: str, host: str = HOST) -> str:
    """Make a request, the last on a connection, and return the answer's body."""
    request = f"GET /?{word} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    connection.sendall(request.encode())
    answer = b"".join(iter(lambda: connection.recv(4096), b""))
    return answer.decode().partition("\r\n\r\n")[2]


@contextmanager
def serving(program: Program, **frontends: Frontend) -> Iterator[RealServer]:
    """Run a server until the block ends.

    Args:
        program: what to run.
        frontends: by a name for each.
    """
    # not pytest's folder, which nobody but the user who runs the tests can enter
    with tempfile.TemporaryDirectory(prefix="keypin-") as name, ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)
        log = folder / "requests.log"
        log.touch()
        backend = stack.enter_context(_plain_server(folder, log)) if program.behind else None
        server = RealServer(program, folder, log, frontends, backend)
        with server.running():
            yield server


@contextmanager
def _plain_server(folder: Path, log: Path) -> Iterator[int]:
    """Python's own, which logs requests to what becomes the log."""
    pages = folder / "pages"
    pages.mkdir()
    (pages / "index.html").write_text("stunnel")
    port = free_port()
    command = [sys.executable, "-u", "-m", "http.server", "--protocol", "HTTP/1.1"]
    options = ["--bind", "127.0.0.1", "--directory", pages, str(port)]
    with process([*command, *options], [port], log):
        yield port


def _load(context: ssl.SSLContext, clients: Authority) -> None:
    me = clients.issue(common_name="control", extended_key_usage=["clientAuth"])
    with tempfile.TemporaryDirectory(prefix="keypin-") as folder:
        files = me.write(Path(folder))
        context.load_cert_chain(files.chain, files.key)
