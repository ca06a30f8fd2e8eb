"""What looking at one file or server brought, and the same as JSON."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..checking.starttls import begin_tls
from ..checking.unverified import Explanation
from ..inspection import Inspection, inspect_connection, inspect_server
from .certificate_files import CertificateFile, read_certificates
from .certificates import summarise
from .connections import connection_error
from .exit_codes import CommandError, ExitCode

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable
    from datetime import datetime

    from .targets import Server

__all__ = ["Finding", "as_json", "scan"]

JSON_VERSION = 1
NOTHING_TO_EXPLAIN = Explanation()


@dataclass(frozen=True, slots=True)
class Finding:
    """One target, and what became of it: exactly one of file, server and error is not None."""

    target: str
    """as the user gave it"""
    file: CertificateFile | None = None
    server: Inspection | None = None
    error: CommandError | None = None
    explanation: Explanation = NOTHING_TO_EXPLAIN
    """why the server's certificates do not verify"""

    @property
    def exit_code(self) -> ExitCode:
        """What a command that showed this alone would exit with."""
        if self.error is not None:
            return self.error.code
        verified = self.server is None or self.server.is_verified
        return ExitCode.OK if verified else ExitCode.NOT_VERIFIED

    @property
    def chain(self) -> tuple[bytes, ...]:
        """The file's certificates, or the server's verified chain."""
        if self.file is not None:
            return self.file.certificates
        return self.server.verified if self.server is not None else ()


def scan(
    text: str,
    target: Path | Server,
    context: ssl.SSLContext,
    server_name: str | None,
    timeout: float,
) -> Finding:
    """Read a file, or ask a server; what goes wrong is part of the finding.

    Args:
        text: what the user called the target.
        target: what that is.
        context: whose authorities servers are verified by.
        server_name: what to verify servers as instead of their host.
        timeout: in seconds.
    """
    try:
        if isinstance(target, Path):
            return Finding(text, file=read_certificates(target))
        return Finding(text, server=ask(target, context, server_name, timeout))
    except CommandError as error:
        return Finding(text, error=error)


def ask(
    server: Server, context: ssl.SSLContext, server_name: str | None, timeout: float
) -> Inspection:
    """Look at a server.

    Raises:
        CommandError: there is no connection.
    """
    try:
        if server.starttls is None:
            return inspect_server(
                server.host, server.port, context=context, server_name=server_name, timeout=timeout
            )
        where = (server.host, server.port)
        plain = begin_tls(socket.create_connection(where, timeout), server.starttls, timeout)
        name = server_name or server.host
        return inspect_connection(plain, where, context=context, server_name=name)
    except OSError as error:
        raise connection_error(str(server), error) from None


def as_json(findings: Iterable[Finding], now: datetime) -> dict[str, Any]:
    """The findings in the shape that docs/command-line.md promises."""
    return {"version": JSON_VERSION, "results": [_result(finding, now) for finding in findings]}


def _result(finding: Finding, now: datetime) -> dict[str, Any]:
    server, error = finding.server, finding.error
    sent = None if server is None else server.sent
    return {
        "target": finding.target,
        "verified": None if server is None else server.is_verified,
        "reason": None if server is None else server.failure,
        "cause": finding.explanation.cause or None,
        "advice": finding.explanation.advice or None,
        "chain": [_certificate(der, sent, now) for der in finding.chain],
        "sent": None if sent is None else [_certificate(der, sent, now) for der in sent],
        "server": server and _connection(server),
        "error": error and {"exit_code": int(error.code), "message": error.message},
    }


def _connection(server: Inspection) -> dict[str, Any]:
    return {
        "host": server.host,
        "port": server.port,
        "server_name": server.server_name,
        "tls_version": server.tls_version,
        "broken_off": server.broken_off,
    }


def _certificate(der: bytes, sent: tuple[bytes, ...] | None, now: datetime) -> dict[str, Any]:
    summary = summarise(der)
    return {
        "pin": None if summary.pin is None else str(summary.pin),
        "subject": summary.subject,
        "issuer": summary.issuer,
        "self_signed": summary.self_signed,
        "key": summary.key and summary.key._asdict(),
        "names": [name._asdict() for name in summary.names],
        "not_before": _moment(summary.not_before),
        "not_after": _moment(summary.not_after),
        "days_left": summary.days_left(now),
        "is_ca": summary.is_ca,
        "serial_number": _hex(summary.serial_number),
        "sha256": summary.sha256,
        "sent": None if sent is None else der in sent,
    }


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def _hex(number: int | None) -> str | None:
    return None if number is None else f"{number:x}"
