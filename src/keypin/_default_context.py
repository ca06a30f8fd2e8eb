"""`ssl.create_default_context` for a client, with or without the strict rules for certificates."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from os import PathLike

__all__ = ["default_context"]


def default_context(
    cafile: str | PathLike[str] | None = None,
    capath: str | PathLike[str] | None = None,
    cadata: str | bytes | None = None,
    *,
    strict_x509: bool | None = None,
) -> ssl.SSLContext:
    """Make a client's context.

    Args:
        cafile: PEM file of the certificate authorities to trust; the system's if all are None.
        capath: directory of such files, named by OpenSSL's hash.
        cadata: the authorities themselves, PEM text or DER bytes.
        strict_x509: whether `ssl.VERIFY_X509_STRICT` is set; as in this version of Python if None.

    Raises:
        TypeError: `strict_x509` is something else, which should not pass for no wish at all.
    """
    if not (strict_x509 is None or isinstance(strict_x509, bool)):
        raise TypeError(f"strict_x509 is True, False or None, not {strict_x509!r}")
    context = ssl.create_default_context(cafile=cafile, capath=capath, cadata=cadata)
    if strict_x509 is True:
        context.verify_flags |= ssl.VERIFY_X509_STRICT
    elif strict_x509 is False:
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context
