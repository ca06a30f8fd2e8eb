"""A TLS server that presents certificates whose private key it does not hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..keys import Key
from ._libraries import load
from .listener import Listener

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from ..authority import Credential
    from .connection import Connection
    from .contexts import TlsVersion

__all__ = ["MisbehavingServer"]

VERSIONS: dict[TlsVersion, tuple[int, int]] = {
    "1.0": (3, 1),
    "1.1": (3, 2),
    "1.2": (3, 3),
    "1.3": (3, 4),
}
CHUNK = 64 * 1024


class MisbehavingServer(Listener):
    """Presents a credential's certificates and signs the handshake with another key.

    Its records tell no `server_name` and no `client_certificate`.

    Args:
        presented: the certificates of the server that is imitated.
        key: what signs CertificateVerify (TLS 1.3) or ServerKeyExchange (TLS 1.2); an RSA key or
            one on P-256 or P-384, as the presented certificate's.
        tls: the versions to speak, all those between the lowest and the highest one given.
        host: the IP address to listen on.

    Raises:
        ImportError: tlslite-ng is not installed.
        ValueError: no such signature can be made with a key of this kind.
    """

    def __init__(
        self,
        presented: Credential,
        key: Key,
        *,
        tls: Sequence[TlsVersion] = ("1.2", "1.3"),
        host: str = "127.0.0.1",
    ) -> None:
        super().__init__(host)
        if key.kind != presented.key.kind or key.kind not in ("rsa-2048", "p-256", "p-384"):
            raise ValueError(
                f"a certificate for a {presented.key.kind} key, a signature by a {key.kind} key"
            )
        self._tlslite = load("a MisbehavingServer", "tlslite-ng", "tlslite.api")
        self._certificates = self._read_certificates(presented)
        self._key = self._tlslite.parsePEMKey(key.pem.decode("ascii"), private=True)
        self._settings = self._tlslite.HandshakeSettings()
        self._settings.minVersion = min(VERSIONS[version] for version in tls)
        self._settings.maxVersion = max(VERSIONS[version] for version in tls)

    def _read_certificates(self, presented: Credential) -> Any:
        certificates = []
        for der in presented.chain:
            certificate = self._tlslite.X509()
            certificate.parseBinary(bytearray(der))
            certificates.append(certificate)
        return self._tlslite.X509CertChain(certificates)

    def _handle(self, connection: Connection, sock: socket.socket) -> None:
        tls = self._tlslite.TLSConnection(sock)
        tls.ignoreAbruptClose = True
        failures = (self._tlslite.TLSError, OSError)
        try:
            tls.handshakeServer(
                certChain=self._certificates,
                privateKey=self._key,
                settings=self._settings,
                # without it tlslite fails at clients that offer protocols in TLS 1.3
                alpn=[bytearray(b"http/1.1")],
            )
        except failures as error:
            connection.note(error=str(error) or type(error).__name__)
            return
        connection.note(
            handshake_completed=True,
            client_finished=True,
            tls_version="TLSv1." + str(tls.version[1] - 1),
        )
        try:
            while data := tls.recv(CHUNK):
                connection.received(bytes(data))
        except failures as error:
            connection.note(error=str(error) or type(error).__name__)
