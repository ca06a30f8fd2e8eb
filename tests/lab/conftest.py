"""An authority, a server's credential, and a client that is nothing but the ssl module."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from keypin.lab import Authority, Credential, Listener

VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
TIMEOUT = 10


@dataclass
class Client:
    """Connects as any program does that uses ssl with its defaults."""

    authority: Authority
    folder: Path
    _open: ExitStack = field(default_factory=ExitStack)

    def context(
        self,
        version: str | None = None,
        *,
        trust: Authority | None = None,
        certificate: Credential | None = None,
    ) -> ssl.SSLContext:
        context = ssl.create_default_context(cadata=(trust or self.authority).pem)
        if version is not None:
            context.minimum_version = context.maximum_version = VERSIONS[version]
        if certificate is not None:
            files = certificate.write(self.folder)
            context.load_cert_chain(files.chain, files.key)
        return context

    def connect_plain(self, server: Listener) -> socket.socket:
        return self._open.enter_context(socket.create_connection(server.address, TIMEOUT))

    def connect(
        self,
        server: Listener,
        context: ssl.SSLContext | None = None,
        *,
        name: str = "localhost",
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLSocket:
        context = context or self.context()
        sock = self.connect_plain(server)
        tls = context.wrap_socket(sock, server_hostname=name, session=session)
        return self._open.enter_context(tls)

    def close(self) -> None:
        self._open.close()


@pytest.fixture(scope="session")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="session")
def leaf(authority: Authority) -> Credential:
    return authority.issue("localhost", "127.0.0.1", "::1")


@pytest.fixture
def client(authority: Authority, tmp_path: Path) -> Iterator[Client]:
    client = Client(authority, tmp_path)
    yield client
    client.close()


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    """A version of TLS."""
    return str(request.param)


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before
