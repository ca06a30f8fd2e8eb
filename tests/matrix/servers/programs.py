"""How a server program is found, started, and ended."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keypin.lab import Credential

__all__ = ["Ports", "find", "free_port", "home", "only", "run", "running", "unprivileged_user"]

Ports = dict[str, int]
"""protocol -> port of 127.0.0.1"""

PATIENCE = 30
PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin"))


def find(program: str, path: str = PATH) -> str | None:
    """Where a program is, also among those that only root runs."""
    return shutil.which(program, path=path)


def free_port() -> int:
    """A port that nobody uses at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    return port


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
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            **_surroundings(user, environment),
        )
        try:
            deadline = time.monotonic() + PATIENCE
            for port in ports.values():
                while not _listens(port):
                    if process.poll() is not None or time.monotonic() > deadline:
                        output.seek(0)
                        said = output.read().decode(errors="replace")
                        raise RuntimeError(f"{command[0]} does not listen on {port}: {said}")
                    time.sleep(0.02)
            yield ports
        finally:
            process.terminate()
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


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
