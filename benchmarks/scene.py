"""A server in another process, and the client contexts, pinned and not, that talk to it."""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import server

from keypin import Pin, Pinner, PinSet, Rule
from keypin.lab import Authority, Credential, KeyKind, new_key

__all__ = ["HOST", "Scene", "Version", "connect", "scene"]

HOST = "localhost"
Version = Literal["1.2", "1.3"]
VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
# A run opens more connections than there are ports, so none may linger when it is closed.
NO_LINGERING = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class Scene:
    """What there is to connect to, and with.

    Args:
        address: of the server.
        credential: the server's: its own certificate and that of the authority that issued it.
        root: whom clients trust.
        client_file: a client's certificate and key, in PEM.
        root_file: the root's certificate, in PEM.
    """

    address: tuple[str, int]
    credential: Credential
    root: Authority
    client_file: Path
    root_file: Path

    def plain(self, version: Version | None = None) -> ssl.SSLContext:
        """A context without pins, for one TLS version or all."""
        return _limited(ssl.create_default_context(cadata=self.root.pem), version)

    def pinned(
        self,
        version: Version | None = None,
        *,
        match: Literal["leaf", "chain"] = "leaf",
        host: str = HOST,
    ) -> ssl.SSLContext:
        """The same with pins for `host`: on the server's key, or on that of its authority."""
        context = Pinner(self.pins(match, host)).create_context(cadata=self.root.pem)
        return _limited(context, version)

    def protected(self, version: Version | None = None) -> ssl.SSLContext:
        """A context that got its pins later: it may hold a client certificate."""
        return self.protect(self.plain(version))

    def protect(self, context: ssl.SSLContext) -> ssl.SSLContext:
        """Guard a context that is there."""
        return Pinner(self.pins()).protect(context)

    def with_client_certificate(self, context: ssl.SSLContext) -> ssl.SSLContext:
        """Load one."""
        context.load_cert_chain(self.client_file)
        return context

    def pins(self, match: Literal["leaf", "chain"] = "leaf", host: str = HOST) -> PinSet:
        """A key that the server has, and a backup."""
        pinned = self.credential.chain[0 if match == "leaf" else 1]
        backup = Pin.from_public_key(new_key("ed25519").spki)
        return PinSet([Rule(host, [backup, Pin.from_certificate(pinned)], match=match)])


@contextmanager
def scene(key: KeyKind = "p-256", *, ask_clients: bool = False) -> Iterator[Scene]:
    """Set up a scene.

    Args:
        key: what kind of key all its certificates have.
        ask_clients: the server demands a certificate.
    """
    root = Authority(key=key)
    issuing = root.intermediate("issuing", key=key)
    credential = issuing.issue(HOST, "127.0.0.1", key=key)
    client = issuing.issue("client", key=key, extended_key_usage=["clientAuth"])
    with TemporaryDirectory() as folder:
        server_file, client_file, root_file = (
            Path(folder, name) for name in ("server.pem", "client.pem", "root.pem")
        )
        server_file.write_bytes(credential.key_pem + credential.chain_pem)
        client_file.write_bytes(client.key_pem + client.chain_pem)
        root_file.write_text(root.pem)
        files = [server_file, root_file] if ask_clients else [server_file]
        with server.running(*files) as address:
            yield Scene(address, credential, root, client_file, root_file)


def connect(context: ssl.SSLContext, address: tuple[str, int], host: str = HOST) -> ssl.SSLSocket:
    """Open a TLS connection."""
    tcp = socket.create_connection(address)
    tcp.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGERING)
    tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return context.wrap_socket(tcp, server_hostname=host)


def _limited(context: ssl.SSLContext, version: Version | None) -> ssl.SSLContext:
    if version is not None:
        context.minimum_version = context.maximum_version = VERSIONS[version]
    return context
