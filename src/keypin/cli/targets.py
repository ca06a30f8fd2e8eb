"""CERT|HOST[:PORT]|URL: which of these an argument is, and its parts."""

from __future__ import annotations

import ipaddress
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..errors import HostnameError
from ..hostnames import normalise
from ..pinfile.fields import STARTTLS_PORTS
from .exit_codes import CommandError, ExitCode

if TYPE_CHECKING:
    from typing import Self

__all__ = ["HTTPS", "Address", "Server", "file_or_server"]

HTTPS = 443
CERTIFICATE_SUFFIXES = (".cer", ".crt", ".der", ".pem")

# where TLS comes first, with the usual ports
TLS_SCHEMES = {
    **dict.fromkeys(("https", "wss", "grpcs"), HTTPS),
    "smtps": 465,
    "imaps": 993,
    "pop3s": 995,
    "ftps": 990,
    "ldaps": 636,
    "mqtts": 8883,
    "amqps": 5671,
    "rediss": 6379,
    "ircs": 6697,
}
# and where it is asked for
STARTTLS_SCHEMES = {
    **dict(zip(STARTTLS_PORTS, STARTTLS_PORTS, strict=True)),
    "pop": "pop3",
    "postgresql": "postgres",
}
IMPLICIT_TLS = {TLS_SCHEMES[f"{protocol}s"] for protocol in ("smtp", "imap", "pop3", "ftp")}
WITHOUT_TLS = {"http": "https", "ws": "wss", "redis": "rediss", "mqtt": "mqtts", "amqp": "amqps"}
END_OF_AUTHORITY = re.compile(r"[/?#]")


class Address(NamedTuple):
    """An address as people paste it, taken apart; the host is not looked at yet.

    Attributes:
        host: as it was written.
        port: None if neither a port was given nor a scheme that has one of its own.
        starttls: the protocol in which TLS is asked for; None where it comes first.
    """

    host: str
    port: int | None = None
    starttls: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read HOST, HOST:PORT, [IPV6]:PORT, a bare IPv6 address or a URL.

        User, path and query of a URL say nothing of the server and are left out.

        Raises:
            CommandError: it is none of these, or its scheme is without TLS.
        """
        scheme, separator, rest = text.strip().rpartition("://")
        if "://" in scheme or "\\" in text:  # programs differ about what that means
            raise CommandError(ExitCode.USAGE, "not an address: '\\' or a second '://' in it")
        authority = END_OF_AUTHORITY.split(rest.removeprefix("//"), maxsplit=1)[0]
        authority = authority.rpartition("@")[2]  # a password may be there, and is not repeated
        port, starttls = _of_scheme(scheme.lower(), authority) if separator else (None, None)
        host, given = _split(authority, empty_port=bool(separator))
        port = given or port
        if port in IMPLICIT_TLS:
            starttls = None
        return cls(host, port, starttls)

    @property
    def usual_port(self) -> int:
        """The port if none is given."""
        return STARTTLS_PORTS.get(self.starttls or "", HTTPS)


@dataclass(frozen=True, slots=True)
class Server:
    """A host, in normal form, a port, and the protocol in which it is asked for TLS, if any."""

    host: str
    port: int = HTTPS
    starttls: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what `Address.parse` reads.

        Raises:
            CommandError: it is none of that.
        """
        address = Address.parse(text)
        try:
            host = normalise(address.host)
        except HostnameError as error:
            raise CommandError(ExitCode.USAGE, str(error)) from None
        return cls(host, address.port or address.usual_port, address.starttls)

    def __str__(self) -> str:
        place = f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
        return place if self.starttls is None else f"{self.starttls}://{place}"


def file_or_server(text: str) -> Path | Server:
    """Tell a certificate file from a server.

    A file is what exists by this name, has a path separator in it or is named like a certificate.

    Raises:
        CommandError: neither.
    """
    if "://" not in text:
        separated = any(separator in text for separator in (os.sep, os.altsep) if separator)
        if separated or text.lower().endswith(CERTIFICATE_SUFFIXES) or os.path.exists(text):
            return Path(text)
    return Server.parse(text)


def _of_scheme(scheme: str, authority: str) -> tuple[int | None, str | None]:
    """The port of a URL's scheme, if it is another than 443, and its protocol for STARTTLS."""
    if scheme in STARTTLS_SCHEMES:
        return None, STARTTLS_SCHEMES[scheme]
    if scheme in TLS_SCHEMES:
        port = TLS_SCHEMES[scheme]
        return (None if port == HTTPS else port), None
    if scheme in WITHOUT_TLS:
        raise CommandError(
            ExitCode.USAGE,
            f"{scheme}:// is without TLS; does {WITHOUT_TLS[scheme]}://{authority} answer?",
        )
    known = ", ".join([*TLS_SCHEMES, *STARTTLS_SCHEMES])
    raise CommandError(
        ExitCode.USAGE,
        f"{scheme}:// is not known; give HOST or HOST:PORT, or one of the schemes {known}",
    )


def _split(authority: str, *, empty_port: bool) -> tuple[str, int | None]:
    if _is_ip_address(authority) or authority.endswith("]"):
        return authority, None
    host, colon, port = authority.rpartition(":")
    if not colon or (empty_port and not port):
        return host or port, None
    if port.isascii() and port.isdecimal() and 0 < int(port[:6]) < 2**16:
        return host, int(port)
    raise CommandError(ExitCode.USAGE, f"not a port: {port!r} in {authority!r}")


def _is_ip_address(text: str) -> bool:
    with suppress(ValueError):
        ipaddress.ip_address(text)
        return True
    return False
