"""`keypin show`: the certificates of servers and files, with their pins."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..inspection import verifying_context
from .certificates import summarise
from .connections import explanation
from .exit_codes import CommandError, ExitCode
from .findings import as_json, scan
from .listing import list_certificates
from .options import (
    Cafile,
    Capath,
    ServerName,
    StrictX509,
    Timeout,
    authority_errors,
    server_name,
    trust_store,
)
from .output import PASTED, Page, complain
from .targets import Server, file_or_server

if TYPE_CHECKING:
    from ..checking.unverified import Explanation
    from ..inspection import Inspection
    from .certificate_files import CertificateFile
    from .findings import Finding
    from .output import Part

__all__ = ["EXAMPLES", "show"]

EXAMPLES = """
keypin show api.example.com
keypin show [::1]:8443 --servername api.example.com --cafile private-ca.pem
keypin show myCertificate.cer fullchain.pem
keypin show api.example.com --json | jq -r '.results[0].chain[].pin'
"""


def show(
    targets: Annotated[
        list[str],
        typer.Argument(
            metavar="CERT|HOST[:PORT]...",
            hidden=True,  # the text below explains it
        ),
    ],
    cafile: Cafile = None,
    capath: Capath = None,
    servername: ServerName = None,
    strict_x509: StrictX509 = None,
    timeout: Timeout = 10.0,
    json_: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
) -> ExitCode:
    """Show the certificates of servers and files, with their pins.

    CERT is a file, DER or PEM, and may hold several certificates. HOST is a server, asked at port
    443 unless another is given; an IPv6 address with a port is written [::1]:443.

    Of a server it shows the verified chain up to the trust anchor, and what was sent where that
    differs. A chain that does not verify is shown, too, but marked, and the exit code is 60.
    """
    chosen = [(text, file_or_server(text)) for text in targets]
    if all(isinstance(target, Path) for _, target in chosen) and (cafile or capath or servername):
        raise CommandError(
            ExitCode.USAGE, "--cafile, --capath and --servername are for servers: none is given"
        )
    name = server_name(servername)
    with authority_errors(cafile, capath):
        context = verifying_context(cafile, capath, strict_x509=strict_x509)
    now = datetime.now(UTC)
    findings: list[Finding] = []
    page = Page()
    interrupted = False
    try:
        for text, target in chosen:
            finding = scan(text, target, context, name, timeout)
            if finding.server is not None and not finding.server.is_verified:
                why = explanation(finding.server, trust_store(cafile, capath), strict_x509)
                finding = replace(finding, explanation=why)
            if not json_:
                if finding.error is None and any(before.error is None for before in findings):
                    page.line()
                _write(page, finding, now)
            findings.append(finding)
    except KeyboardInterrupt:  # what is known is told all the same
        interrupted = True
    if json_ and (findings or not interrupted):
        sys.stdout.write(json.dumps(as_json(findings, now), indent=2) + "\n")
    if interrupted:
        return ExitCode.INTERRUPTED
    return next((found.exit_code for found in findings if found.exit_code), ExitCode.OK)


def _write(page: Page, finding: Finding, now: datetime) -> None:
    if finding.file is not None:
        _write_file(page, finding.target, finding.file, now)
    elif finding.server is not None and finding.server.is_verified:
        _write_verified(page, finding.server, now)
    elif finding.server is not None:
        _write_unverified(page, finding.server, finding.explanation, now)
    elif finding.error is not None:
        complain(finding.error.message)


def _write_file(page: Page, name: str, file: CertificateFile, now: datetime) -> None:
    count = len(file.certificates)
    content = f"{count} certificates" if count > 1 else "a certificate"
    page.line((name, "bold"), f"  {content} in {file.form}")
    if file.others:
        page.line(f"not shown: {', '.join(file.others)}", indent=2)
    list_certificates(page, [summarise(der) for der in file.certificates], [""] * count, now)


def _write_verified(page: Page, server: Inspection, now: datetime) -> None:
    _write_heading(page, server, ("verified", "bold green"))
    if server.broken_off is not None:
        page.line(
            f"The server broke off the handshake after that ({server.broken_off});"
            " it may want a client certificate.",
            indent=2,
        )
    last = len(server.verified) - 1
    notes = []
    for number, der in enumerate(server.verified):
        role = ["trust anchor"] if number == last else []
        notes.append(", ".join(role + ([] if der in server.sent else ["not sent"])))
    list_certificates(page, [summarise(der) for der in server.verified], notes, now)
    if not server.sent_as_verified:
        _write_sent(page, server)


def _write_sent(page: Page, server: Inspection) -> None:
    page.line()
    page.line("The server sent something else, in this order:", indent=2)
    for der in server.sent:
        summary = summarise(der)
        page.line()
        if der in server.verified:
            note = f"  ({server.verified.index(der)} above)"
        else:
            note = "  (plays no part in the verification)"
        page.line((summary.subject, "bold"), note, indent=5)
        page.field("pin", (str(summary.pin), PASTED), indent=5)


def _write_unverified(page: Page, server: Inspection, why: Explanation, now: datetime) -> None:
    _write_heading(page, server, ("NOT VERIFIED", "bold red"))
    for line in (server.failure or "", *why):
        if line:
            page.line(line, indent=2)
    if not server.sent:
        page.line("What the server sent cannot be told.", indent=2)
        return
    page.line("Anybody could have sent what follows; do not pin it.", indent=2)
    summaries = [summarise(der) for der in server.sent]
    list_certificates(page, summaries, ["not verified"] * len(summaries), now)


def _write_heading(page: Page, server: Inspection, verdict: Part) -> None:
    name = str(Server(server.host, server.port))
    asked = "" if server.server_name == server.host else f"  as {server.server_name}"
    version = "" if server.tls_version is None else f"  {server.tls_version}"
    page.line((name, "bold"), asked, "  ", verdict, version)
