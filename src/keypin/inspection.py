"""What a TLS server shows: the chain that it sends, and the one that verifies, or why none does.

This only looks: it sends no application byte and applies no pins.
"""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ._internal.pem_files import trusting_context
from .enforcement.private_ssl import connection_of, sent_chain, verified_chain
from .hostnames import normalise

if TYPE_CHECKING:
    from os import PathLike

__all__ = [
    "Inspection",
    "inspect_connection",
    "inspect_server",
    "verifying_context",
    "why_not_connected",
]

# what OpenSSL says of an answer that is not TLS, such as HTTP in the clear
NO_TLS = frozenset(
    {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG", "HTTP_REQUEST"}
)


@dataclass(frozen=True, slots=True)
class Inspection:
    """What one connection to a server brought to light; certificates are DER, leaf first."""

    host: str
    """in normal form"""
    port: int
    server_name: str
    """the name that was asked for (SNI) and that the certificate has to be for"""
    sent: tuple[bytes, ...]
    """what the server sent, in its order; () where OpenSSL does not tell"""
    verified: tuple[bytes, ...] = ()
    """the path to a trust anchor, the anchor included; () if there is none, or the leaf is not for
    `server_name`"""
    failure: str | None = None
    """why the certificates do not verify, in OpenSSL's words"""
    failure_code: int = 0
    """the same as X509_V_ERR_*"""
    tls_version: str | None = None
    """ "TLSv1.3" and so on; None if the handshake was not completed"""
    broken_off: str | None = None
    """why a handshake failed after the certificates had been verified; most often the server wants
    a client certificate"""

    @property
    def is_verified(self) -> bool:
        """Whether a certificate authority vouches for the server's certificate and name."""
        return self.failure is None

    @property
    def sent_as_verified(self) -> bool:
        """Whether the server sent the verified chain and nothing else, with or without its end."""
        return self.sent == self.verified[: len(self.sent)]


def verifying_context(
    cafile: str | PathLike[str] | None = None,
    capath: str | PathLike[str] | None = None,
    *,
    strict_x509: bool | None = None,
) -> ssl.SSLContext:
    """Make a context that verifies as `Pinner.create_context` does, without pins.

    Args:
        cafile: PEM file of the certificate authorities to trust; the system's if both are None.
        capath: directory of such files, named by OpenSSL's hash.
        strict_x509: see `Pinner.create_context`.

    Raises:
        OSError: `cafile` cannot be read, or (`ssl.SSLError`) is not PEM; the error says what it is.
    """
    context = trusting_context(cafile, capath, strict_x509=strict_x509)
    context.hostname_checks_common_name = False
    return context


def inspect_server(
    host: str,
    port: int = 443,
    *,
    context: ssl.SSLContext,
    server_name: str | None = None,
    timeout: float = 10.0,
) -> Inspection:
    """Shake hands with a server and tell what it showed, verified or not.

    Args:
        host: a name or IP address.
        port: its TCP port.
        context: whose certificate authorities count; see `verifying_context`.
        server_name: what to ask for and to verify instead of `host`.
        timeout: in seconds, for connecting and again for the handshake.

    Raises:
        HostnameError: not a host, or not a server name.
        TimeoutError: the server did not answer in time.
        OSError: it could not be reached; `ssl.SSLError`: it showed no certificate.
    """
    host = normalise(host)
    name = host if server_name is None else normalise(server_name)
    plain = socket.create_connection((host, port), timeout)
    return inspect_connection(plain, (host, port), context=context, server_name=name)


def inspect_connection(
    plain: socket.socket, server: tuple[str, int], *, context: ssl.SSLContext, server_name: str
) -> Inspection:
    """Shake hands over a connection on which TLS is to begin now, and tell what the server showed.

    Args:
        plain: it is closed afterwards; its timeout is that of the handshake.
        server: host and port, in normal form.
        context: whose certificate authorities count; see `verifying_context`.
        server_name: what to ask for and to verify, in normal form.

    Raises:
        OSError: as `inspect_server`.
    """
    timeout = plain.gettimeout()
    with (
        plain,
        context.wrap_socket(
            plain, server_hostname=server_name, do_handshake_on_connect=False
        ) as tls,
    ):
        try:
            tls.do_handshake()
        except ssl.SSLCertVerificationError as error:
            # the connection that failed still knows what was sent on it, except in OpenSSL 1.1.1
            sent = sent_chain(connection_of(tls)) or _sent_to_anybody(tls, server_name, timeout)
            return Inspection(
                *server,
                server_name,
                sent,
                failure=error.verify_message,
                failure_code=error.verify_code,
            )
        except ssl.SSLError as error:
            verified = verified_chain(connection_of(tls))
            if not verified:
                raise
            sent = sent_chain(connection_of(tls))
            return Inspection(*server, server_name, sent, verified, broken_off=_reason(error))
        return Inspection(
            *server,
            server_name,
            sent_chain(connection_of(tls)),
            verified_chain(connection_of(tls)),
            tls_version=tls.version(),
        )


def why_not_connected(error: OSError) -> str:
    """Say in words why there was no connection, or no TLS; certificates aside."""
    if isinstance(error, ssl.SSLEOFError | ConnectionResetError | BrokenPipeError):
        return "it closed the connection"
    if not isinstance(error, ssl.SSLError):
        return error.strerror or str(error)
    words = (error.reason or str(error)).replace("_", " ").lower()
    if error.reason in NO_TLS:
        return f"it does not speak TLS ({words})"
    return f"the TLS handshake failed: {words}"


def _sent_to_anybody(failed: ssl.SSLSocket, name: str, timeout: float | None) -> tuple[bytes, ...]:
    """Ask the same address again, without verification; () if that leads nowhere either."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with (
        suppress(OSError),
        socket.create_connection(failed.getpeername()[:2], timeout) as plain,
        context.wrap_socket(plain, server_hostname=name) as tls,
    ):
        return sent_chain(connection_of(tls))
    return ()


def _reason(error: ssl.SSLError) -> str:
    return (error.reason or "unknown reason").replace("_", " ").lower()
