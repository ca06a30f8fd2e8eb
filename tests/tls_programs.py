"""Server programs that speak TLS, started on ports that nobody else has."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from real_servers.programs import running
from scene import HOST, authority

if TYPE_CHECKING:
    from real_servers.programs import Ports

__all__ = ["started"]

ATTEMPTS = 3


def started(attempt: Callable[[], tuple[list[str | Path], Ports]]) -> ExitStack:
    """Run a server until the stack is closed.

    Args:
        attempt: chooses free ports and writes the configuration; returns the command and the ports.
            It is called again when somebody else has taken one meanwhile.

    Raises:
        RuntimeError: the server did not begin to listen; what it said is in the message.
    """
    for _ in range(ATTEMPTS):
        command, ports = attempt()
        with ExitStack() as stack:
            try:
                stack.enter_context(running(command, ports))
            except RuntimeError as error:
                if not any(text in str(error) for text in ("BindException", "in use")):
                    raise
                continue
            if all(map(_is_ours, ports.values())):
                return stack.pop_all()
    raise RuntimeError(f"{command[0]} got no port of its own in {ATTEMPTS} attempts")


def _is_ours(port: int) -> bool:
    """Whether a server of the authority's is there, and no other program's."""
    context = ssl.create_default_context(cadata=authority().pem)
    try:
        with (
            socket.create_connection(("127.0.0.1", port), 10) as tcp,
            context.wrap_socket(tcp, server_hostname=HOST),
        ):
            return True
    except OSError:
        return False
