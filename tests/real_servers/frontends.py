"""What a server is told of a port: the certificates that it presents there, and how it speaks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from keypin.lab import Authority, Credential

__all__ = ["Frontend", "PlacedFrontend", "Shown"]


@dataclass(frozen=True, slots=True)
class Frontend:
    """What a server does at one port.

    Args:
        version: the one version of TLS that it speaks.
        sites: host name -> credentials, RSA and ECDSA side by side; the first site is also for
            those who ask for another name, or for none.
        clients: whose certificates clients must have; None asks for none.
        clients_below: the path that this is for; below another than "/" Apache asks in a second
            handshake, when it has read the request.
        tickets: whether sessions are resumed by tickets of RFC 5077 and RFC 8446, which only the
            client keeps; otherwise by what the server remembers.
        http2: whether HTTP/2 is offered beside HTTP/1.1.
        stapled: an OCSP response in DER to staple.
    """

    version: str
    sites: Mapping[str, Sequence[Credential]]
    clients: Authority | None = None
    clients_below: str = "/"
    tickets: bool = True
    http2: bool = False
    stapled: bytes | None = None


class Shown(NamedTuple):
    """The files of one credential."""

    chain: Path
    key: Path
    both: Path


@dataclass(frozen=True, slots=True)
class PlacedFrontend:
    """A frontend at its port, with its files written."""

    name: str
    port: int
    frontend: Frontend
    sites: Mapping[str, Sequence[Shown]]
    clients: Path | None
    stapled: Path | None

    @classmethod
    def place(cls, name: str, port: int, frontend: Frontend, folder: Path) -> PlacedFrontend:
        """Write the files of a frontend into a folder of its own."""
        sites = {}
        for host, credentials in frontend.sites.items():
            sites[host] = [
                _write(credential, folder / f"{host}-{number}")
                for number, credential in enumerate(credentials)
            ]
        clients = stapled = None
        if frontend.clients is not None:
            clients = folder / "clients.pem"
            clients.write_text(frontend.clients.pem)
        if frontend.stapled is not None:
            stapled = folder / "stapled.der"
            stapled.write_bytes(frontend.stapled)
        return cls(name, port, frontend, sites, clients, stapled)


def _write(credential: Credential, folder: Path) -> Shown:
    files = credential.write(folder)
    both = folder / "both.pem"
    both.write_bytes(credential.chain_pem + credential.key_pem)
    return Shown(files.chain, files.key, both)
