"""Connections that fail: why, in words, and with which exit code."""

from __future__ import annotations

import ssl

from ..inspection import why_not_connected
from .exit_codes import CommandError, ExitCode

__all__ = ["connection_error", "verification_error"]

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
    return CommandError(ExitCode.NOT_VERIFIED, "\n".join([message, *advice(code)]))


def advice(code: int) -> list[str]:
    """What to do about a certificate that does not verify; lines, or none."""
    if code == SELF_SIGNED_LEAF:
        return [
            "Pins add to the verification by a certificate authority and cannot replace it:",
            "have a certificate issued, by a private CA for instance.",
        ]
    if code in UNTRUSTED:
        return ["If it is from a private CA, name that CA's certificate: --cafile FILE"]
    if code in {HOSTNAME_MISMATCH, IP_ADDRESS_MISMATCH}:
        return ["If the server goes by another name, connect to it by that name."]
    return []
