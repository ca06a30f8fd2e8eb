"""The options that several commands have, and what they mean."""

from __future__ import annotations

import ssl
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..checking.paths import TrustStore
from ..errors import HostnameError
from ..hostnames import normalise
from .certificate_files import read_certificates
from .durations import seconds
from .exit_codes import CommandError, ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "Cafile",
    "Capath",
    "Force",
    "ServerName",
    "StrictX509",
    "Timeout",
    "authority_errors",
    "server_name",
    "trust_store",
]


Cafile = Annotated[
    Path | None,
    typer.Option(
        "--cafile",
        metavar="FILE",
        help="Trust the certificate authorities in this PEM file (a private CA) instead of the"
        " system's.",
    ),
]
Capath = Annotated[
    Path | None,
    typer.Option(
        "--capath", metavar="FOLDER", help="The same for a folder made by 'openssl rehash'."
    ),
]
ServerName = Annotated[
    str | None,
    typer.Option(
        "--servername",
        metavar="NAME",
        help="Ask for and verify this name instead of HOST.",
    ),
]
Timeout = Annotated[
    float,
    typer.Option(
        "--timeout",
        metavar="SECONDS",
        help="Give up when one step (connecting, the handshake, an answer) takes longer.",
        parser=seconds,
    ),
]
StrictX509 = Annotated[
    bool | None,
    typer.Option(
        "--strict-x509/--no-strict-x509",
        help="Whether certificates must follow RFC 5280 closely; unless given, they must from"
        " Python 3.13 on.",
        show_default=False,
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Replace a file that exists.")]


def trust_store(cafile: Path | None, capath: Path | None = None) -> TrustStore:
    """What clients trust by --cafile and --capath; the system's authorities if both are None.

    Raises:
        CommandError: a file without certificates.
    """
    if cafile is None:
        return TrustStore.system() if capath is None else TrustStore.of_folder(capath)
    try:
        anchors = read_certificates(cafile).certificates
    except CommandError:
        anchors = _trusted_certificates(cafile)
        if not anchors:
            raise
    if capath is None:
        return TrustStore(str(cafile), anchors)
    folder = TrustStore.of_folder(capath)
    return TrustStore(f"{cafile} and {capath}", (*anchors, *folder.anchors))


def _trusted_certificates(cafile: Path) -> tuple[bytes, ...]:
    """The authorities of a file in OpenSSL's own form (TRUSTED CERTIFICATE)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with suppress(OSError):
        context.load_verify_locations(cafile)
    return tuple(context.get_ca_certs(binary_form=True))


@contextmanager
def authority_errors(cafile: Path | None, capath: Path | None) -> Iterator[None]:
    """Turn errors over --cafile and --capath into those of commands."""
    if capath is not None and not capath.is_dir():
        raise CommandError(ExitCode.NO_FILE, f"no such folder: {capath} (--capath)")
    try:
        yield
    except ssl.SSLError as error:
        raise CommandError(ExitCode.BAD_FILE, f"--cafile {error}") from None
    except FileNotFoundError:
        raise CommandError(ExitCode.NO_FILE, f"no such file: {cafile} (--cafile)") from None
    except OSError as error:
        raise CommandError(
            ExitCode.NO_FILE, f"cannot read {cafile} (--cafile): {error.strerror}"
        ) from None


def server_name(option: str | None) -> str | None:
    """The --servername in normal form.

    Raises:
        CommandError: not a host.
    """
    try:
        return None if option is None else normalise(option)
    except HostnameError as error:
        raise CommandError(ExitCode.USAGE, f"{error} (--servername)") from None
