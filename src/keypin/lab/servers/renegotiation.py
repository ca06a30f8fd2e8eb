"""A TLS 1.2 server that renegotiates in mid-connection, and then presents another certificate."""

from __future__ import annotations

import ctypes
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ._libssl import MessageCallback, VerifyCallback, error_text, load
from .certificate_messages import first_certificate
from .listener import Listener
from .tap import HANDSHAKE

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from ..authority import Credential
    from .connection import Connection

__all__ = ["RenegotiatingServer"]

# OpenSSL's include/openssl/ssl.h
SSL_FILETYPE_PEM = 1
SSL_CTRL_CLEAR_MODE = 78
SSL_CTRL_SET_MAX_PROTO_VERSION = 124
SSL_MODE_AUTO_RETRY = 0x4
SSL_OP_IGNORE_UNEXPECTED_EOF = 1 << 7
SSL_OP_NO_TICKET = 1 << 14
SSL_OP_NO_SESSION_RESUMPTION_ON_RENEGOTIATION = 1 << 16
SSL_VERIFY_PEER = 1
SSL_ERROR_WANT_READ = 2
SSL_ERROR_ZERO_RETURN = 6
TLS1_2_VERSION = 0x0303

# A resumed session would come without a certificate.
OPTIONS = (
    SSL_OP_IGNORE_UNEXPECTED_EOF | SSL_OP_NO_TICKET | SSL_OP_NO_SESSION_RESUMPTION_ON_RENEGOTIATION
)

CHUNK = 64 * 1024
FINISHED_SIZE = 64


class RenegotiatingServer(Listener):
    """Presents one credential, then asks for a renegotiation and presents another one in it.

    When the client has gone through with it, the server sends `answer` and goes on receiving.

    Args:
        first: what the first handshake presents.
        second: what the renegotiation presents.
        answer: what to send after the renegotiation.
        ask_client_certificate: ask clients for a certificate in the renegotiation, of whatever
            authority.
        at_once: begin it when the first handshake is over, and not after the first data.
        host: the IP address to listen on.

    Raises:
        RuntimeError: OpenSSL's library, which this calls directly, was not found.
    """

    renegotiated: list[Connection]
    """the connections whose client went through with it"""
    bytes_afterwards: int
    """application bytes, of all connections, that came after a renegotiation"""

    def __init__(
        self,
        first: Credential,
        second: Credential,
        *,
        answer: bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        ask_client_certificate: bool = False,
        at_once: bool = False,
        host: str = "127.0.0.1",
    ) -> None:
        super().__init__(host)
        self._asks = ask_client_certificate
        self._at_once = at_once
        self._first = first
        self._second = second
        self._answer = answer
        self.renegotiated = []
        self.bytes_afterwards = 0
        load()

    def forget(self) -> None:
        """Drop all open connections, and begin anew with the records."""
        super().forget()
        self.renegotiated.clear()
        self.bytes_afterwards = 0

    def _handle(self, connection: Connection, sock: socket.socket) -> None:
        with _context(self._first) as first, _context(self._second) as second:
            try:
                with _session(first, sock.fileno()) as session:
                    self._converse(connection, session, second)
            except _TlsError as error:
                connection.note(error=str(error))

    def _converse(self, connection: Connection, session: _Session, second: int) -> None:
        session.accept(connection)
        connection.note(handshake_completed=True, client_finished=True, tls_version="TLSv1.2")
        first_finished = session.peer_finished()
        data = None if self._at_once else session.read()
        if data:
            connection.received(data)
        elif not self._at_once:
            return
        session.renegotiate(second, ask_client_certificate=self._asks)
        renegotiated = False
        while data != b"":
            data = session.read()
            if not renegotiated and session.peer_finished() != first_finished:
                renegotiated = True
                self._note_renegotiation(connection)
                session.write(self._answer)
            if data:
                self._note_data(connection, data, renegotiated)

    def _note_renegotiation(self, connection: Connection) -> None:
        with self._changed:
            self.renegotiated.append(connection)
            self._changed.notify_all()

    def _note_data(self, connection: Connection, data: bytes, renegotiated: bool) -> None:
        with self._changed:
            if renegotiated:
                self.bytes_afterwards += len(data)
            connection.received(data)


class _TlsError(Exception):
    """OpenSSL's error queue says more."""


_accept_any = VerifyCallback(lambda verified, store: 1)


class _Session:
    """An SSL object of OpenSSL, on a blocking socket."""

    def __init__(self, context: int, descriptor: int) -> None:
        self._library = load()
        self._ssl = _made(self._library.SSL_new(context))
        self._library.SSL_set_fd(self._ssl, descriptor)

    def free(self) -> None:
        self._library.SSL_free(self._ssl)

    def accept(self, connection: Connection) -> None:
        """Shake hands, and record the certificate that the client shows, now or later."""

        def note(
            sent: int, version: int, kind: int, data: int, size: int, ssl: int, more: int
        ) -> None:
            if kind == HANDSHAKE and not sent:
                message = ctypes.string_at(data, size)
                if certificate := first_certificate(message, tls13=False):
                    connection.note(client_certificate=certificate)

        self._callback = MessageCallback(note)  # as long as OpenSSL may call it
        self._library.SSL_set_msg_callback(self._ssl, self._callback)
        self._check(self._library.SSL_accept(self._ssl))

    def renegotiate(self, context: int, *, ask_client_certificate: bool) -> None:
        """Send a HelloRequest; the handshake itself takes place inside the next reads."""
        if ask_client_certificate:
            self._library.SSL_set_verify(self._ssl, SSL_VERIFY_PEER, _accept_any)
        self._library.SSL_set_SSL_CTX(self._ssl, context)
        self._check(self._library.SSL_renegotiate(self._ssl))
        self._check(self._library.SSL_do_handshake(self._ssl))

    def peer_finished(self) -> bytes:
        """The client's latest Finished message, which tells one handshake from another."""
        message = ctypes.create_string_buffer(FINISHED_SIZE)
        size = self._library.SSL_get_peer_finished(self._ssl, message, FINISHED_SIZE)
        return message.raw[:size]

    def read(self) -> bytes | None:
        """Receive: data, nothing at the end, or None where only the handshake went on."""
        data = ctypes.create_string_buffer(CHUNK)
        self._library.ERR_clear_error()
        size = self._library.SSL_read(self._ssl, data, CHUNK)
        if size > 0:
            return data.raw[:size]
        reason = self._library.SSL_get_error(self._ssl, size)
        if reason == SSL_ERROR_WANT_READ:
            return None
        if reason == SSL_ERROR_ZERO_RETURN:
            return b""
        raise _TlsError(error_text())

    def write(self, data: bytes) -> None:
        self._check(self._library.SSL_write(self._ssl, data, len(data)))

    def _check(self, result: int) -> None:
        if result <= 0:
            raise _TlsError(error_text())


@contextmanager
def _session(context: int, descriptor: int) -> Iterator[_Session]:
    session = _Session(context, descriptor)
    try:
        yield session
    finally:
        session.free()


@contextmanager
def _context(credential: Credential) -> Iterator[int]:
    """An SSL_CTX of OpenSSL that presents a credential in TLS 1.2."""
    library = load()
    context = _made(library.SSL_CTX_new(library.TLS_server_method()))
    try:
        library.SSL_CTX_ctrl(context, SSL_CTRL_SET_MAX_PROTO_VERSION, TLS1_2_VERSION, None)
        # so that a read returns once it has moved the handshake on
        library.SSL_CTX_ctrl(context, SSL_CTRL_CLEAR_MODE, SSL_MODE_AUTO_RETRY, None)
        library.SSL_CTX_set_options(context, OPTIONS)
        with tempfile.TemporaryDirectory(prefix="keypin-lab-") as folder:
            files = credential.write(Path(folder))
            chain, key = os.fsencode(files.chain), os.fsencode(files.key)
            library.SSL_CTX_use_certificate_chain_file(context, chain)
            library.SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM)
        yield context
    finally:
        library.SSL_CTX_free(context)


def _made(pointer: int | None) -> int:
    if not pointer:
        raise _TlsError(error_text())
    return pointer
