"""`keypin fetch`: a server's certificate, to be carried by a program that pins it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..certificate_file import read_server_certificate
from ..errors import CertificateFormatError
from ..inspection import verifying_context
from .certificates import summarise
from .connections import SELF_SIGNED_LEAF, unverified_error, verification_error
from .exit_codes import CommandError, ExitCode
from .files import new_file, refuse_other_name, refuse_to_overwrite
from .findings import ask
from .listing import list_details
from .options import (
    Cafile,
    Force,
    ServerName,
    StrictX509,
    Timeout,
    authority_errors,
    server_name,
    trust_store,
)
from .output import Page
from .targets import HTTPS, Server

if TYPE_CHECKING:
    from ..inspection import Inspection

__all__ = ["EXAMPLES", "fetch", "python_lines", "trusted_certificate"]

EXAMPLES = """
keypin fetch api.example.com -o myCertificate.cer
keypin fetch localhost:8443 -o myCertificate.cer --cafile private-ca.pem
"""

LINE_LENGTH = 76


def fetch(
    server: Annotated[
        str,
        typer.Argument(metavar="HOST[:PORT]", hidden=True),
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FILE", help="The file to write, in DER."),
    ],
    cafile: Cafile = None,
    strict_x509: StrictX509 = None,
    servername: ServerName = None,
    timeout: Timeout = 10.0,
    force: Force = False,
) -> ExitCode:
    """Save a server's certificate in DER, for a program to pin.

    It is saved only if it verifies: a trusted authority has issued it for this host, and it has
    not expired. A self-signed certificate is refused. The port is 443 unless another is given.
    """
    target = Server.parse(server)
    name = server_name(servername)
    refuse_other_name(output, "a certificate in DER", "--output")
    refuse_to_overwrite(output, force=force)
    with authority_errors(cafile, None):
        context = verifying_context(cafile, strict_x509=strict_x509)
    found = ask(target, context, name, timeout)
    der = trusted_certificate(target, found, cafile, strict_x509)
    new_file(output, der, force=force)
    page = Page()
    page.line(f"Saved the certificate of {target} in {output} (DER, {len(der)} bytes)")
    page.line()
    certificate = summarise(der)
    page.field("subject", (certificate.subject, "bold"), indent=2)
    list_details(page, certificate, datetime.now(UTC), indent=2)
    if target.starttls is None:
        lines = python_lines(
            output, Server(found.server_name, found.port), cafile, strict_x509=strict_x509
        )
        page.line()
        page.line("To pin it in a program:")
        page.line()
        page.verbatim(*lines, indent=2)
    return ExitCode.OK


def trusted_certificate(
    server: Server, found: Inspection, cafile: Path | None, strict_x509: bool | None
) -> bytes:
    """The certificate that a program may pin.

    Args:
        server: where it is.
        found: what it showed.
        cafile: the authorities that were trusted.
        strict_x509: see `Pinner.create_context`.

    Raises:
        CommandError: it is none.
    """
    try:
        if found.failure is not None:
            raise unverified_error(str(server), found, trust_store(cafile), strict_x509)
        der = found.verified[0]
        if summarise(der).self_signed:
            raise verification_error(str(server), "self-signed certificate", SELF_SIGNED_LEAF)
        return read_server_certificate(der, str(server))
    except CommandError as error:
        raise CommandError(
            error.code, f"{error.message}\nNothing was saved. See it with: keypin show {server}"
        ) from None
    except CertificateFormatError as error:
        raise CommandError(ExitCode.BAD_FILE, str(error)) from None


def python_lines(
    file: Path, server: Server, cafile: Path | None, *, strict_x509: bool | None = None
) -> list[str]:
    """Write the lines of a program that pins the file and talks to the server."""
    port = "" if server.port == HTTPS else f":{server.port}"
    host = f"[{server.host}]" if ":" in server.host else server.host
    arguments = [
        f"base_url={_quoted(f'https://{host}{port}')}",
        f"certificates={_quoted(file.parent)}",
        *([] if cafile is None else [f"cafile={_quoted(cafile)}"]),
        *([] if strict_x509 is None else [f"strict_x509={strict_x509}"]),
    ]
    call = f"client = Client({', '.join(arguments)})"
    calls = [call]
    if len(call) > LINE_LENGTH:
        calls = ["client = Client(", *(f"    {argument}," for argument in arguments), ")"]
    return [
        "from keypin.client import Client",
        "",
        *calls,
        f"client.pin_trusted_certificate_public_key({_quoted(file.name)})",
        'response = client.get("/")',
    ]


def _quoted(value: object) -> str:
    # a JSON string of printable text is a Python string, too
    return json.dumps(str(value), ensure_ascii=False)
