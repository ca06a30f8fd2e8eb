"""CERT|HOST[:PORT]: which of the two an argument is, and its parts."""

from __future__ import annotations

import ipaddress
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import HostnameError
from ..hostnames import normalise
from .exit_codes import CommandError, ExitCode

if TYPE_CHECKING:
    from typing import Self

__all__ = ["HTTPS", "Server", "file_or_server"]

HTTPS = 443
CERTIFICATE_SUFFIXES = (".cer", ".crt", ".der", ".pem")


@dataclass(frozen=True, slots=True)
class Server:
    """A host, in normal form, and a port."""

    host: str
    port: int = HTTPS

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read HOST, HOST:PORT, [IPV6]:PORT or a bare IPv6 address.

        Raises:
            CommandError: it is none of these.
        """
        host, port = text, ""
        if not _is_ip_address(text):
            before, colon, after = text.rpartition(":")
            if colon and not text.endswith("]"):
                host, port = before, after
        try:
            if host == text:
                return cls(normalise(host))
            if port.isascii() and port.isdecimal() and 0 < int(port) < 2**16:
                return cls(normalise(host), int(port))
        except HostnameError as error:
            raise CommandError(ExitCode.USAGE, _hint(text) or str(error)) from None
        raise CommandError(ExitCode.USAGE, _hint(text) or f"not a port: {port!r} in {text!r}")

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


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


def _hint(text: str) -> str | None:
    scheme, separator, rest = text.partition("://")
    if not separator:
        return None
    authority = rest.partition("/")[0]
    return f"a server is given as HOST[:PORT], without {scheme}:// and path: {authority}"


def _is_ip_address(text: str) -> bool:
    with suppress(ValueError):
        ipaddress.ip_address(text)
        return True
    return False
