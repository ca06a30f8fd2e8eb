"""Mosquitto and nats-server."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from real_servers.programs import Ports, find, free_port, home, only, running

if TYPE_CHECKING:
    from keypin.lab import Credential

mosquitto = find("mosquitto")
nats_server = find("nats-server")


@contextmanager
def running_mosquitto(credential: Credential, version: str) -> Iterator[Ports]:
    """A broker for everybody."""
    ports = {"mqtts": free_port()}
    with home(credential) as folder:
        configuration = folder / "mosquitto.conf"
        configuration.write_text(
            f"""
user {getpass.getuser()}
listener {ports["mqtts"]} 127.0.0.1
allow_anonymous true
certfile {folder}/chain.pem
keyfile {folder}/key.pem
"""
        )
        limits = only(version, folder)
        with running([mosquitto, "-c", configuration], ports, environment=limits):
            yield ports


@contextmanager
def running_nats(credential: Credential, version: str) -> Iterator[Ports]:
    """A server for everybody; it cannot be held to one version of TLS."""
    ports = {"nats": free_port()}
    with home(credential) as folder:
        files = [f"--tlscert={folder / 'chain.pem'}", f"--tlskey={folder / 'key.pem'}"]
        address = ["--addr=127.0.0.1", f"--port={ports['nats']}"]
        with running([nats_server, *address, "--tls", *files], ports):
            yield ports
