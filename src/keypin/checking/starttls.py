"""The conversation in the clear before TLS begins (STARTTLS), by the standard library's clients.

Each of them says what its protocol wants and waits for the answer; when it would begin TLS, its
connection is taken from it.
"""

from __future__ import annotations

import ftplib
import imaplib
import poplib
import smtplib
import socket
import ssl
import time
from typing import TYPE_CHECKING, Any, NoReturn

from ..pinfile.fields import STARTTLS_PORTS as PORTS

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["PORTS", "TlsNotOffered", "begin_tls"]

NOT_ITS_PROTOCOL = (
    smtplib.SMTPException,
    imaplib.IMAP4.error,
    poplib.error_proto,
    ftplib.Error,
    ValueError,  # answers that are not text
)

MOMENT = 0.001
"""seconds; a timeout of 0 would mean another thing"""

POSTGRES_SSL_REQUEST = bytes.fromhex("0000000804d2162f")


class TlsNotOffered(OSError):
    """The server does not begin TLS, or does not speak the protocol."""


def begin_tls(plain: socket.socket, protocol: str, timeout: float) -> socket.socket:
    """Bring a connection to where TLS begins.

    Args:
        plain: a new connection; it must not be used afterwards.
        protocol: one of `PORTS`.
        timeout: for all of the conversation, in seconds.

    Returns:
        The connection, with `timeout` for each operation.

    Raises:
        TimeoutError: it took too long.
        TlsNotOffered: the server refused.
        OSError: the connection broke.
    """
    limited = _LimitedSocket(plain, time.monotonic() + timeout)
    try:
        CONVERSATIONS[protocol](limited)
    except _TlsBegins:
        limited.settimeout(timeout)
        return limited
    except NOT_ITS_PROTOCOL as error:
        limited.close()
        if limited.expired:  # smtplib makes an error of its own of it
            raise TimeoutError("timed out") from error
        raise TlsNotOffered(f"it does not begin TLS by {protocol}: {_said(error)}") from error
    except EOFError:  # of ftplib
        limited.close()
        raise ConnectionResetError("it closed the connection") from None
    except BaseException:
        limited.close()
        raise
    limited.close()
    raise TlsNotOffered(f"it does not begin TLS by {protocol}")


class _TlsBegins(Exception):
    """The client has reached the point where the server expects TLS."""


class _InPlaceOfAContext:
    """What the clients take for an `ssl.SSLContext`."""

    protocol = ssl.PROTOCOL_TLS_CLIENT  # ftplib looks at it

    def wrap_socket(self, *_: object, **__: object) -> NoReturn:
        raise _TlsBegins


class _LimitedSocket(socket.socket):
    """A socket whose reading ends at a moment, however the bytes trickle in."""

    def __init__(self, plain: socket.socket, until: float) -> None:
        super().__init__(fileno=plain.detach())
        self._until = until

    @property
    def expired(self) -> bool:
        return time.monotonic() >= self._until

    def recv(self, *arguments: Any) -> bytes:  # imaplib, from Python 3.14 on
        self._limit()
        return super().recv(*arguments)

    def recv_into(self, *arguments: Any) -> int:
        self._limit()
        return super().recv_into(*arguments)

    def _limit(self) -> None:
        if self.expired:
            raise TimeoutError("timed out")
        self.settimeout(max(self._until - time.monotonic(), MOMENT))


HAND_OVER: Any = _InPlaceOfAContext()


def _smtp(plain: socket.socket) -> None:
    """RFC 3207."""

    class Client(smtplib.SMTP):
        def _get_socket(self, *_: object) -> socket.socket:
            return plain

    client = Client("server", local_hostname=_address_literal(plain))
    client.starttls(context=HAND_OVER)


def _imap(plain: socket.socket) -> None:
    """RFC 9051, section 6.2.1."""

    class Client(imaplib.IMAP4):
        def _create_socket(self, timeout: float | None) -> socket.socket:
            return plain

    Client().starttls(HAND_OVER)


def _pop3(plain: socket.socket) -> None:
    """RFC 2595, section 4."""

    class Client(poplib.POP3):
        def _create_socket(self, timeout: float | None) -> socket.socket:
            return plain

    Client("").stls(HAND_OVER)


def _ftp(plain: socket.socket) -> None:
    """RFC 4217."""
    client = ftplib.FTP_TLS(context=HAND_OVER)  # noqa: S321 - what checks FTP has to speak it
    client.sock = plain
    client.af = plain.family
    client.file = plain.makefile("r", encoding=client.encoding)
    client.getresp()
    client.auth()


def _postgres(plain: socket.socket) -> None:
    """PostgreSQL's message SSLRequest."""
    plain.sendall(POSTGRES_SSL_REQUEST)
    answer = bytearray(1)
    if plain.recv_into(answer) and answer == b"S":
        raise _TlsBegins


CONVERSATIONS: dict[str, Callable[[socket.socket], None]] = {
    "smtp": _smtp,
    "imap": _imap,
    "pop3": _pop3,
    "ftp": _ftp,
    "postgres": _postgres,
}


def _address_literal(plain: socket.socket) -> str:
    """What a client without a name of its own calls itself (RFC 5321, section 4.1.3)."""
    address: str = plain.getsockname()[0].partition("%")[0]
    return f"[IPv6:{address}]" if ":" in address else f"[{address}]"


def _said(error: Exception) -> str:
    if isinstance(error, smtplib.SMTPResponseException):
        text = error.smtp_error
        said = text.decode("ascii", "backslashreplace") if isinstance(text, bytes) else text
        return f"{error.smtp_code} {said}"
    said = error.args[0] if error.args else str(error)
    return said.decode("ascii", "backslashreplace") if isinstance(said, bytes) else str(said)
