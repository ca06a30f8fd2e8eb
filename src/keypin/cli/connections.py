"""Connections that fail: why, in words, and with which exit code."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ..checking.unverified import Explanation, Unverified, explain
from ..inspection import why_not_connected
from .exit_codes import CommandError, ExitCode

if TYPE_CHECKING:
    from ..checking.paths import TrustStore
    from ..inspection import Inspection

__all__ = ["connection_error", "explanation", "unverified_error", "verification_error"]

# X509_V_ERR_*: no path to a trusted authority; a private CA is trusted once it is named
SELF_SIGNED_LEAF = 18
UNTRUSTED = frozenset({2, 19, 20, 21, 27})
HOSTNAME_MISMATCH, IP_ADDRESS_MISMATCH = 62, 64


def connection_error(where: str, error: OSError) -> CommandError:
    """Say why there is no connection to a server.

    Args:
        where: the server, for people.
        error: what `socket` or `ssl` raised.
    """
    if isinstance(error, ssl.SSLCertVerificationError):
        return verification_error(where, error.verify_message, error.verify_code)
    if isinstance(error, TimeoutError):
        return CommandError(ExitCode.TIMEOUT, f"{where} did not answer in time (--timeout)")
    return CommandError(
        ExitCode.UNREACHABLE, f"cannot connect to {where}: {why_not_connected(error)}"
    )


def verification_error(where: str, reason: str, code: int) -> CommandError:
    """Say why a server's certificate is not trusted, and what the user can do.

    Args:
        where: the server, for people.
        reason: in OpenSSL's words.
        code: X509_V_ERR_*.
    """
    message = f"{where} is not verified: {reason}"
    more = advice(code) or [f"keypin show {where} tells more."]
    if code in UNTRUSTED:
        more.append(f"keypin show {where} names the certificate that is missing.")
    return CommandError(ExitCode.NOT_VERIFIED, "\n".join([message, *more]))


def explanation(found: Inspection, store: TrustStore, strict_x509: bool | None) -> Explanation:
    """Why a server's certificates do not verify.

    Args:
        found: what the server showed.
        store: whom to trust.
        strict_x509: see `Pinner.create_context`.
    """
    now = datetime.now(UTC)
    return explain(
        Unverified(found.sent, found.server_name, found.failure_code, store, now, strict_x509)
    )


def unverified_error(
    where: str, found: Inspection, store: TrustStore, strict_x509: bool | None
) -> CommandError:
    """The same as an error; `where` is the server, for people."""
    lines = [f"{where} is not verified: {found.failure}"]
    lines += [line for line in explanation(found, store, strict_x509) if line]
    return CommandError(ExitCode.NOT_VERIFIED, "\n".join(lines))


def advice(code: int) -> list[str]:
    """What to do about a certificate that does not verify; lines, or none."""
    if code == SELF_SIGNED_LEAF:
        return [
            "Pins add to the verification by a certificate authority and cannot replace it:",
            "have a certificate issued, by a private CA for instance.",
        ]
    if code in UNTRUSTED:
        return [
            "Either the server does not send the certificates of its intermediates, or its root is"
            " not trusted (--cafile FILE)."
        ]
    if code in {HOSTNAME_MISMATCH, IP_ADDRESS_MISMATCH}:
        return ["If the server goes by another name, connect to it by that name."]
    return []
