"""How a server program is found, started, and ended."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keypin.lab import Credential

__all__ = [
    "Ports",
    "find",
    "free_port",
    "free_ports",
    "home",
    "only",
    "process",
    "run",
    "running",
    "soon",
    "unprivileged_user",
]

Ports = dict[str, int]
"""protocol -> port of 127.0.0.1"""

PATIENCE = 30
PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin"))


def find(program: str, path: str = PATH) -> str | None:
    """Where a program is, also among those that only root runs."""
    return shutil.which(program, path=path)


def free_port() -> int:
    """A port that nobody uses at the moment."""
    (port,) = free_ports(1)
    return port


# Below the ports that systems hand to whoever asks for any, so that nobody is given one before its
# server has it; each process (a worker of pytest-xdist, say) goes round a range of its own.
_PORTS_PER_PROCESS = 300
_FIRST_PORT = 10_000 + os.getpid() % 64 * _PORTS_PER_PROCESS
_next_ports = itertools.cycle(range(_FIRST_PORT, _FIRST_PORT + _PORTS_PER_PROCESS))


def free_ports(count: int) -> list[int]:
    """As many ports, each another, that nobody uses at the moment."""
    return list(itertools.islice(filter(_is_free, _next_ports), count))


def _is_free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def soon(is_so: Callable[[], object]) -> bool:
    """Whether something becomes true within a while; for what a program does in its own time."""
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def unprivileged_user() -> str | None:
    """Whom a program that refuses to run as root runs as; None for the user who runs the tests."""
    return "nobody" if os.geteuid() == 0 else None


@contextmanager
def home(credential: Credential, owner: str | None = None) -> Iterator[Path]:
    """A folder for a server, with its chain.pem and key.pem.

    Args:
        credential: what the server presents.
        owner: whom the folder and what is in it belongs to.
    """
    # not pytest's, which nobody but the user who runs the tests can enter
    with tempfile.TemporaryDirectory(prefix="keypin-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        credential.write(folder)
        if owner is not None:
            user = pwd.getpwnam(owner)
            for path in (folder, *folder.iterdir()):
                os.chown(path, user.pw_uid, user.pw_gid)
        yield folder


def only(version: str, folder: Path) -> dict[str, str]:
    """The environment in which programs speak one version of TLS, if they use OpenSSL 3.

    For those that have no setting for the highest version.
    """
    file = folder / "openssl.cnf"
    file.write_text(
        f"""
openssl_conf = start
[start]
ssl_conf = tls
[tls]
system_default = limits
[limits]
MinProtocol = TLSv{version}
MaxProtocol = TLSv{version}
"""
    )
    return {"OPENSSL_CONF": str(file)}


def run(command: Sequence[str | Path], *, user: str | None = None) -> None:
    """Run a program to its end.

    Raises:
        subprocess.CalledProcessError: it failed; what it said is in `output`.
    """
    subprocess.run(
        command,
        check=True,
        timeout=PATIENCE,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        **_surroundings(user),
    )


@contextmanager
def running(
    command: Sequence[str | Path],
    ports: Ports,
    *,
    user: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Ports]:
    """Run a server in the foreground until the block ends.

    Args:
        command: with its arguments.
        ports: on which it will accept connections; the block begins when it does.
        user: whom it runs as.
        environment: of the server, beside PATH and the locale.

    Raises:
        RuntimeError: the server ended, or did not begin to listen; what it said is in the message.
    """
    with (
        tempfile.NamedTemporaryFile() as output,
        process(command, ports.values(), Path(output.name), user=user, environment=environment),
    ):
        yield ports


@contextmanager
def process(
    command: Sequence[str | Path],
    ports: Iterable[int],
    output: Path,
    *,
    user: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server as `running` does, with its process and what it says at hand.

    Args:
        command: with its arguments.
        ports: of 127.0.0.1, on which it will accept connections; the block begins when it does.
        output: the file for what it says.
        user: whom it runs as.
        environment: of the server, beside PATH and the locale.

    Raises:
        RuntimeError: the server ended, or did not begin to listen; what it said is in the message.
    """
    with output.open("wb") as said:
        server = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            **_surroundings(user, environment),
        )
    try:
        deadline = time.monotonic() + PATIENCE
        for port in ports:
            while not _listens(port):
                if server.poll() is not None or time.monotonic() > deadline:
                    text = output.read_text(errors="replace")
                    raise RuntimeError(f"{command[0]} does not listen on {port}: {text}")
                time.sleep(0.02)
        yield server
    finally:
        server.terminate()
        try:
            server.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _surroundings(user: str | None, environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    surroundings: dict[str, Any] = {"env": {"PATH": PATH, "LC_ALL": "C", **(environment or {})}}
    if user is not None:
        group = pwd.getpwnam(user).pw_gid
        surroundings |= {"user": user, "group": group, "extra_groups": []}
    return surroundings


def _listens(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 1):
            return True
    except OSError:
        return False
