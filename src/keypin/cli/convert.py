"""`keypin convert`: a certificate from PEM to DER, and back."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from .certificate_files import pem, read_certificates
from .certificates import summarise
from .exit_codes import ExitCode
from .files import new_file
from .listing import list_details
from .options import Force
from .output import Page

__all__ = ["EXAMPLES", "convert"]

EXAMPLES = """
keypin convert fullchain.pem myCertificate.cer
keypin convert myCertificate.cer myCertificate.pem
"""


def convert(
    source: Annotated[Path, typer.Argument(metavar="IN", hidden=True)],
    result: Annotated[Path, typer.Argument(metavar="OUT", hidden=True)],
    force: Force = False,
) -> ExitCode:
    """Convert a certificate from PEM to DER, or from DER to PEM.

    The direction is decided by what IN is. A DER file holds one certificate: of several in PEM,
    the first is taken, which in a server's chain is the server's own.
    """
    file = read_certificates(source)
    der = file.certificates[0]
    to_der = file.form == "PEM"
    new_file(result, der if to_der else pem(der), force=force)
    page, certificate = Page(), summarise(der)
    page.line(f"Wrote {result} in {'DER' if to_der else 'PEM'}")
    page.line()
    page.field("subject", (certificate.subject, "bold"), indent=2)
    list_details(page, certificate, datetime.now(UTC), indent=2)
    if more := file.certificates[1:]:
        page.line()
        page.line(f"{source} holds {len(more) + 1} certificates, DER only one. Left out:")
        for left_out in more:
            page.line(summarise(left_out).subject, indent=2)
    if file.others:
        page.line()
        page.line(f"Also in {source}, and left out: {', '.join(file.others)}")
    if certificate.self_signed and not certificate.is_ca:
        page.line()
        page.line("It is self-signed: pin_trusted_certificate_public_key() will refuse it.")
    return ExitCode.OK
