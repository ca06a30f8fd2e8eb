"""The PEM files of a context, loaded with errors that name the file and say what is in it."""

from __future__ import annotations

import os
import re
import ssl
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .text import cut

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    File = str | bytes | os.PathLike[str] | os.PathLike[bytes]
    Password = Callable[[], str | bytes | bytearray] | str | bytes | bytearray

__all__ = ["load_client_certificate", "trusting_context"]

LARGEST = 16 * 1024**2
"""octets that are read of a file to say what it is"""
LONGEST_NAME = 300


def trusting_context(
    cafile: File | None = None,
    capath: File | None = None,
    cadata: str | bytes | None = None,
    *,
    strict_x509: bool | None = None,
) -> ssl.SSLContext:
    """Make a client's context, as `ssl.create_default_context` does.

    Args:
        cafile: PEM file of the certificate authorities to trust; the system's if all are None.
        capath: directory of such files, named by OpenSSL's hash.
        cadata: the authorities themselves, PEM text or DER bytes.
        strict_x509: whether `ssl.VERIFY_X509_STRICT` is set; as in this version of Python if None.

    Raises:
        OSError: `cafile` cannot be read; the error names it. `ssl.SSLError`, which is one, says
            what the file is if it holds no certificates in PEM.
        TypeError: `strict_x509` is something else, which should not pass for no wish at all.
    """
    if not (strict_x509 is None or isinstance(strict_x509, bool)):
        raise TypeError(f"strict_x509 is True, False or None, not {strict_x509!r}")
    with _named(cafile):
        context = ssl.create_default_context(cafile=cafile, capath=capath, cadata=cadata)
    if strict_x509 is True:
        context.verify_flags |= ssl.VERIFY_X509_STRICT
    elif strict_x509 is False:
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def load_client_certificate(
    context: ssl.SSLContext,
    certificate: File,
    key: File | None = None,
    password: Password | None = None,
) -> None:
    """Give a context the certificate that it shows to servers.

    Args:
        context: which is changed.
        certificate: PEM file of it, and of the authorities between it and the root.
        key: PEM file of its private key; in the certificate's file if None.
        password: of the key.

    Raises:
        OSError: a file cannot be read; the error names it. `ssl.SSLError`, which is one, says what
            is wrong with the file, or that the two do not belong together.
    """
    with _named(certificate, certificate if key is None else key):
        context.load_cert_chain(certificate, key, password)


@contextmanager
def _named(certificates: File | None, key: File | None = None) -> Iterator[None]:
    """Name the files in what OpenSSL raises over them."""
    files = [file for file in (certificates, key) if file is not None]
    try:
        yield
    except ssl.SSLError as error:
        if certificates is None:
            raise
        named = type(error)(error.errno, _problem(error, certificates, key))
        named.library, named.reason = error.library, error.reason
        raise named from None
    except OSError:
        for file in files:
            with open(file, "rb"):  # which fails in the same way, with the name
                pass
        raise


def _problem(error: ssl.SSLError, certificates: File, key: File | None) -> str:
    """What is wrong with the files that OpenSSL could not use."""
    from .other_formats import mend, recognise

    data, name = _content(certificates), _shown(certificates)
    reason = (error.reason or str(error)).replace("_", " ").lower()
    found = recognise(data)
    if (found is not None and found.to_pem) or not _holds(data, "CERTIFICATE"):
        what = reason if found is None else found.what
        said = [f"{name}: no certificate in PEM: {what}", mend(found, "PEM", name)]
        return ". ".join(filter(None, said))
    if key is None:
        return f"{name}: a certificate that cannot be read ({reason})"
    if not _holds(_content(key), "PRIVATE KEY"):
        return f"{_shown(key)}: no private key in PEM"
    if error.reason == "KEY_VALUES_MISMATCH":
        return f"{_shown(key)}: its private key is not that of the certificate in {name}"
    return f"{_shown(key)}: a private key that cannot be read, maybe with this password ({reason})"


def _holds(data: bytes, label: str) -> bool:
    """Whether there is a block of PEM whose label ends so."""
    lines = (f"-----{word} [A-Z0-9 ]{{0,40}}{label}-----" for word in ("BEGIN", "END"))
    return all(re.search(line.encode(), data) for line in lines)


def _content(file: File) -> bytes:
    if not os.path.isfile(file):  # a pipe, which has been read
        return b""
    with open(file, "rb") as opened:
        return opened.read(LARGEST)


def _shown(file: File) -> str:
    return cut(os.fsdecode(file), LONGEST_NAME)
