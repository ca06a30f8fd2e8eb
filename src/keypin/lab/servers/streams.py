"""Byte streams over a socket: plain, inside TLS, and recorded."""

from __future__ import annotations

import io
import socket
import ssl
import threading
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from _typeshed import WriteableBuffer

    from .connection import Connection

__all__ = ["Channel", "Disconnected", "SocketStream", "Stream", "TlsStream", "copy"]

CHUNK = 256 * 1024

Result = TypeVar("Result")


class Disconnected(Exception):
    """The peer takes no more data."""


class Stream(Protocol):
    """A connection's bytes, both ways. One thread may receive while another one sends."""

    def recv(self, size: int = CHUNK, /) -> bytes:
        """Wait for at most `size` bytes; none means that the peer sends no more."""

    def sendall(self, data: bytes, /) -> None:
        """Send everything, or raise Disconnected."""

    def finish(self) -> None:
        """Tell the peer that no more will be sent; receiving goes on."""


class SocketStream:
    """The bytes of a connected socket, which remains the caller's to close."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    def recv(self, size: int = CHUNK, /) -> bytes:
        """See Stream."""
        try:
            return self._socket.recv(size)
        except OSError:
            return b""

    def sendall(self, data: bytes, /) -> None:
        """See Stream."""
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise Disconnected from error

    def finish(self) -> None:
        """See Stream."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)


class TlsStream:
    """The bytes inside TLS over another stream.

    Memory BIOs and not an SSLSocket: TLS can then run over any stream, also over TLS, data can be
    received after close_notify was sent, and dropping a connection from another thread leaves no
    SSLSocket behind that takes ciphertext for plain data.
    """

    def __init__(
        self,
        carrier: Stream,
        wrap: Callable[[ssl.MemoryBIO, ssl.MemoryBIO], ssl.SSLObject],
    ) -> None:
        self._carrier = carrier
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self.tls: ssl.SSLObject = wrap(self._incoming, self._outgoing)
        self._received_ahead = bytearray()
        self._finished = False
        # An SSL object and its BIOs belong to one thread at a time; records must leave in order.
        self._state = threading.Lock()
        self._sending = threading.Lock()

    def do_handshake(self) -> None:
        """Shake hands.

        Raises:
            ssl.SSLError: the handshake failed.
        """
        self._run(self.tls.do_handshake)
        with suppress(Disconnected):
            self._flush()

    def ask_for_certificate(self) -> None:
        """Ask the client for its certificate now, as a server of TLS 1.3 (RFC 8446, section 4.6.2).

        A client that does not allow that is not asked; a certificate comes with what is received.
        """
        with suppress(ssl.SSLError):
            self._run(self.tls.verify_client_post_handshake)
            self._run(self.tls.do_handshake)
        with suppress(Disconnected):
            self._flush()

    def recv(self, size: int = CHUNK, /) -> bytes:
        """See Stream.

        Raises:
            ssl.SSLError: what came is not TLS, or an alert.
        """
        try:
            data = self._run(lambda: self._read(size))
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            data = b""
        with suppress(Disconnected):
            self._flush()
        if not data and self._finished:
            self._keep_session()
        return data

    def sendall(self, data: bytes, /) -> None:
        """See Stream."""
        view = memoryview(data)
        while view:
            piece = view[:CHUNK]
            try:
                sent = self._run(partial(self.tls.write, piece))
            except ssl.SSLError as error:
                raise Disconnected from error
            self._flush()
            view = view[sent:]

    def finish(self) -> None:
        """See Stream."""
        with self._state:
            # SSL_shutdown also reads, and fails for good when it comes upon application data.
            with suppress(ssl.SSLError):
                while data := self.tls.read(CHUNK):
                    self._received_ahead += data
            with suppress(ssl.SSLError):
                self.tls.unwrap()
            self._finished = True
        with suppress(Disconnected):
            self._flush()

    def _keep_session(self) -> None:
        # A peer that goes without close_notify makes OpenSSL believe that it sent none itself, for
        # which it would forget the session. A second one is not for the peer.
        with self._state:
            with suppress(ssl.SSLError):
                self.tls.unwrap()
            self._outgoing.read()

    def _read(self, size: int) -> bytes:
        if not self._received_ahead:
            return self.tls.read(size)
        data = bytes(self._received_ahead[:size])
        del self._received_ahead[:size]
        return data

    def _run(self, step: Callable[[], Result]) -> Result:
        """Take a step of the TLS engine, receiving as often as it asks for more."""
        while True:
            try:
                with self._state:
                    return step()
            except ssl.SSLWantReadError:
                # A peer that takes no more may have sent something before it went.
                with suppress(Disconnected):
                    self._flush()
                self._feed()
            except ssl.SSLError:
                # the alert, to a peer that may be gone
                with suppress(Disconnected):
                    self._flush()
                raise

    def _feed(self) -> None:
        data = self._carrier.recv()
        with self._state:
            if data:
                self._incoming.write(data)
            else:
                self._incoming.write_eof()

    def _flush(self) -> None:
        with self._sending:
            with self._state:
                data = self._outgoing.read()
            if data:
                self._carrier.sendall(data)


class Channel:
    """A connection as an application sees it: a stream whose received bytes are all recorded.

    Args:
        stream: where the bytes come from.
        connection: the record of the connection.
        received: what notes them in the record.
    """

    def __init__(
        self, stream: Stream, connection: Connection, received: Callable[[bytes], None]
    ) -> None:
        self.connection = connection
        self.received = received
        self._stream = stream

    def recv(self, size: int = CHUNK, /) -> bytes:
        """Wait for at most `size` bytes; none means that the client sends no more."""
        try:
            data = self._stream.recv(size)
        except ssl.SSLError as error:
            self.connection.note(error=str(error))
            return b""
        if data:
            self.received(data)
        return data

    def sendall(self, data: bytes, /) -> None:
        """Send everything.

        Raises:
            Disconnected: the client is gone.
        """
        self._stream.sendall(data)

    def finish(self) -> None:
        """Tell the client that no more will be sent."""
        self._stream.finish()

    def drain(self) -> None:
        """Receive until the client ends the connection."""
        while self.recv():
            pass

    def reader(self) -> io.BufferedReader:
        """Read as from a file; whatever this reads ahead is recorded as received."""
        return io.BufferedReader(_Reader(self))

    def writer(self) -> io.BufferedIOBase:
        """Write as to a file, unbuffered."""
        return _Writer(self)


class _Reader(io.RawIOBase):
    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer)
        data = self._channel.recv(len(view))
        view[: len(data)] = data
        return len(data)


class _Writer(io.BufferedIOBase):
    # No io.BufferedWriter: when it is collected it sends what is left, to a client that is gone.
    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def write(self, data: bytes, /) -> int:  # type: ignore[override]
        self._channel.sendall(data)
        return len(data)


def copy(
    receive: Callable[[], bytes], send: Callable[[bytes], None], finish: Callable[[], None]
) -> None:
    """Pass on what comes, until one of both ends is gone; then tell the receiving one."""
    with suppress(Disconnected):
        while data := receive():
            send(data)
    finish()
