"""Server-side TLS contexts that record what a client shows during the handshake."""

from __future__ import annotations

import ssl
import tempfile
import warnings
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from ...enforcement.private_ssl import C_CONTEXT_CLASS, OPTIONS, context_class
from .certificate_messages import FINISHED, first_certificate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..authority import Credential
    from .connection import Connection
    from .key_log import KeyLog

__all__ = ["RecordedTls", "Resumption", "TlsSettings", "TlsVersion", "new_context", "wrap"]

TlsVersion = Literal["1.0", "1.1", "1.2", "1.3"]
Resumption = Literal["tickets", "session-ids", "off"]

VERSIONS: dict[TlsVersion, ssl.TLSVersion] = {
    "1.0": ssl.TLSVersion.TLSv1,
    "1.1": ssl.TLSVersion.TLSv1_1,
    "1.2": ssl.TLSVersion.TLSv1_2,
    "1.3": ssl.TLSVersion.TLSv1_3,
}
# OpenSSL 3 counts SHA-1, which TLS 1.0 and 1.1 sign with, as no security at all.
LEGACY_CIPHERS = "DEFAULT:@SECLEVEL=0"

HANDSHAKE_RECORD = 22


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """How a server speaks TLS, apart from the certificates that it presents."""

    tls: tuple[TlsVersion, ...] = ("1.2", "1.3")
    client_ca: bytes | None = None
    require_client_certificate: bool = False
    resumption: Resumption = "tickets"
    ciphers: str | None = None
    alpn: tuple[str, ...] = ()
    post_handshake: bool = False


class RecordedTls(ssl.SSLObject):
    """The server's end of a handshake, and where it notes what the client shows."""

    connection: Connection
    presented: ssl.SSLContext


def new_context(
    settings: TlsSettings, credentials: Sequence[Credential], key_log: KeyLog
) -> ssl.SSLContext:
    """Make a context that presents these credentials; the client's abilities choose among them.

    Args:
        settings: how it speaks TLS.
        credentials: what it presents.
        key_log: where OpenSSL writes their secrets, if clients are asked for a certificate.

    Raises:
        ValueError: a credential's key is not that of its first certificate.
    """
    context: ssl.SSLContext = context_class()(ssl.PROTOCOL_TLS_SERVER)
    context.sslobject_class = RecordedTls
    _set_versions(context, settings)
    if settings.alpn:
        context.set_alpn_protocols(list(settings.alpn))
    if settings.client_ca is not None:
        context.load_verify_locations(cadata=settings.client_ca)
        required = settings.require_client_certificate
        _set(context, "verify_mode", ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL)
        context.keylog_filename = key_log.path
    if settings.post_handshake:
        context.post_handshake_auth = True
    # Many clients end without close_notify, for which OpenSSL would forget their session.
    _add_option(context, ssl.OP_IGNORE_UNEXPECTED_EOF)
    if settings.resumption != "tickets":
        _add_option(context, ssl.OP_NO_TICKET)
    if settings.resumption == "off":
        context.num_tickets = 0
    for credential in credentials:
        _load(context, credential)
    context.sni_callback = _choose_presented
    _observe_handshakes(context)
    return context


def wrap(
    session_context: ssl.SSLContext, presented: ssl.SSLContext, connection: Connection
) -> Callable[[ssl.MemoryBIO, ssl.MemoryBIO], RecordedTls]:
    """Prepare a handshake.

    Args:
        session_context: whose tickets and sessions are minted and honoured.
        presented: whose certificates a full handshake presents.
        connection: the record.
    """

    def wrap_bio(incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> RecordedTls:
        tls = cast(RecordedTls, session_context.wrap_bio(incoming, outgoing, server_side=True))
        tls.connection = connection
        tls.presented = presented
        return tls

    return wrap_bio


def _set(context: ssl.SSLContext, name: str, value: object) -> None:
    # Below the properties of ssl.SSLContext, which look that class up by its name: they recur for
    # ever where truststore or gevent has put a subclass in its place, and clients in this process
    # may be theirs.
    getattr(C_CONTEXT_CLASS, name).__set__(context, value)


def _add_option(context: ssl.SSLContext, option: ssl.Options) -> None:
    _set(context, "options", OPTIONS.__get__(context) | option)


def _set_versions(context: ssl.SSLContext, settings: TlsSettings) -> None:
    versions = [VERSIONS[version] for version in settings.tls]
    outdated = min(versions) < ssl.TLSVersion.TLSv1_2
    # ssl warns of outdated versions; here they were asked for by name
    with warnings.catch_warnings() if outdated else nullcontext():
        if outdated:
            warnings.simplefilter("ignore", DeprecationWarning)
            context.set_ciphers(LEGACY_CIPHERS)
        _set(context, "minimum_version", min(versions))
        _set(context, "maximum_version", max(versions))
    if settings.ciphers is not None:
        context.set_ciphers(settings.ciphers)


def _load(context: ssl.SSLContext, credential: Credential) -> None:
    # ssl reads private keys from files only
    with tempfile.TemporaryDirectory(prefix="keypin-lab-") as folder:
        file = Path(folder, "credential.pem")
        file.write_bytes(credential.key_pem + credential.chain_pem)
        try:
            context.load_cert_chain(file)
        except ssl.SSLError as error:
            raise ValueError(
                "ssl refuses the credential; one whose key is not that of its first certificate"
                f" takes a MisbehavingServer: {error}"
            ) from error


def _choose_presented(
    tls: ssl.SSLObject, server_name: str | None, _context: ssl.SSLContext
) -> None:
    # Called in every handshake, also in those without a server name. Sessions and tickets remain
    # those of the context that the handshake began with.
    recorded = cast(RecordedTls, tls)
    recorded.connection.note(server_name=server_name)
    recorded.context = recorded.presented


def _observe_handshakes(context: ssl.SSLContext) -> None:
    # Nothing public shows whether a client's Finished came, nor what comes after the handshake and
    # fails; during it a Tap sees more.
    _set(context, "_msg_callback", _observe)


def _observe(
    tls: RecordedTls,
    direction: str,
    version: int,
    content_type: int,
    message_type: int,
    message: bytes,
) -> None:
    if direction != "read" or content_type != HANDSHAKE_RECORD:
        return
    if message_type == FINISHED:
        tls.connection.note(client_finished=True)
    elif certificate := first_certificate(message, tls13=version == ssl.TLSVersion.TLSv1_3):
        tls.connection.note(client_certificate=certificate)
