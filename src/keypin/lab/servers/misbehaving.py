"""A TLS server that presents certificates whose private key it does not hold."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ..keys import Key
from ._libraries import load
from .applications import PREFACE
from .certificate_messages import HandshakeMessages
from .listener import Listener
from .tap import HANDSHAKE, Tap, TappedSocket

if TYPE_CHECKING:
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
# to a client that speaks HTTP/2: empty SETTINGS, and a GOAWAY that says INTERNAL_ERROR, and to ask
# for nothing again (RFC 9113, sections 6.5 and 6.8)
HTTP2_ANSWER = bytes.fromhex("000000 04 00 00000000 000008 07 00 00000000 7fffffff 00000002")
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class MisbehavingServer(Listener):
    """Presents a credential's certificates and signs the handshake with another key.

    It answers the first data that it receives, and goes on receiving. Its records tell no
    `server_name`.

    Args:
        presented: the certificates of the server that is imitated.
        key: what signs CertificateVerify (TLS 1.3) or ServerKeyExchange (TLS 1.2); an RSA key or
            one on P-256 or P-384, as the presented certificate's. In RSA key exchange, where
            nothing is signed, it decrypts the client's secret.
        ask_client_certificate: ask clients for a certificate, of whatever authority; compressed
            ones are welcome (RFC 8879).
        key_exchanges: names of those in TLS 1.2 that tlslite-ng may agree to; None for its own
            choice.
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
        ask_client_certificate: bool = False,
        key_exchanges: Sequence[str] | None = None,
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
        self._asks = ask_client_certificate
        if key_exchanges is not None:
            self._settings.keyExchangeNames = list(key_exchanges)

    def _read_certificates(self, presented: Credential) -> Any:
        certificates = []
        for der in presented.chain:
            certificate = self._tlslite.X509()
            certificate.parseBinary(bytearray(der))
            certificates.append(certificate)
        return self._tlslite.X509CertChain(certificates)

    def _handle(self, connection: Connection, sock: socket.socket) -> None:
        tapped = TappedSocket(sock, Tap(connection))
        tls = self._new_connection(connection, tapped)
        tls.closeSocket = False  # the listener does
        tls.ignoreAbruptClose = True
        try:
            self._converse(connection, tls)
        except Exception as error:  # noqa: BLE001 - tlslite-ng has all kinds for what it cannot read
            connection.note(error=str(error) or type(error).__name__)
        # Where TLS has failed or ended, a client may go on in the clear.
        with suppress(OSError):
            sock.shutdown(socket.SHUT_WR)
            while tapped.recv(CHUNK):
                pass

    def _new_connection(self, connection: Connection, sock: TappedSocket) -> Any:
        return _recording(self._connection_class())(sock, HandshakeMessages(connection))

    def _connection_class(self) -> Any:
        return self._tlslite.TLSConnection

    def _converse(self, connection: Connection, tls: Any) -> None:
        tls.handshakeServer(
            certChain=self._certificates,
            privateKey=self._key,
            settings=self._settings,
            reqCert=self._asks,
            # without it tlslite fails at clients that offer protocols in TLS 1.3
            alpn=[bytearray(b"http/1.1"), bytearray(b"h2")],
        )
        connection.note(
            handshake_completed=True,
            client_finished=True,
            tls_version="TLSv1." + str(tls.version[1] - 1),
        )
        answered = False
        with suppress(ConnectionError):  # of a client that goes without having read it
            while data := tls.recv(CHUNK):
                connection.received(bytes(data))
                if not answered:
                    tls.send(HTTP2_ANSWER if PREFACE.startswith(bytes(data[:3])) else ANSWER)
                    answered = True


def _recording(base: Any) -> Any:
    """A class of connections that record the client's certificate, also an encrypted one."""

    class RecordingConnection(base):  # type: ignore[misc]
        def __init__(self, sock: TappedSocket, messages: HandshakeMessages) -> None:
            super().__init__(sock)
            self._client_messages = messages

        def _getNextRecordFromSocket(self) -> Any:
            for result in super()._getNextRecordFromSocket():
                if result not in (0, 1):
                    header, parser = result
                    if header.type == HANDSHAKE:
                        self._client_messages.feed(
                            bytes(parser.bytes), tls13=self.version > VERSIONS["1.2"]
                        )
                yield result

    return RecordingConnection
