"""The private key of a Java server, read from PEM, encrypted or not."""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from .certificate_files import PEM_BLOCK
from .exit_codes import CommandError, ExitCode
from .files import read_file
from .output import complain
from .passphrases import TRIES, _asked, _only_line

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
    from cryptography.hazmat.primitives.serialization.pkcs12 import PKCS12PrivateKeyTypes

__all__ = ["read_private_key"]

VARIABLE = "KEYPIN_KEY_PASSPHRASE"
CURVES = ("secp256r1", "secp384r1", "secp521r1")
"""those that Java 16 and later still have"""


def read_private_key(path: Path, passphrase_file: Path | None) -> PKCS12PrivateKeyTypes:
    """Read a private key that Java's servers can use.

    Args:
        path: a PEM file that holds one private key, and maybe more.
        passphrase_file: holds its passphrase as its only line; None: `KEYPIN_KEY_PASSPHRASE`, or
            else the terminal.

    Raises:
        CommandError: the file is not there, holds none or several, or one of another kind.
    """
    blocks = list(PEM_BLOCK.finditer(read_file(path)))
    keys = [block for block in blocks if block[1].endswith(b"PRIVATE KEY")]
    if len(keys) != 1:
        found = f"{len(keys)} private keys; leave the server's in it" if keys else "no private key"
        hint = "" if keys else f" in PEM; of one in DER, openssl pkey -in {path} makes PEM"
        raise CommandError(ExitCode.BAD_FILE, f"{path}: {found}{hint}")
    encrypted = keys[0][1].startswith(b"ENCRYPTED") or b"Proc-Type: 4,ENCRYPTED" in keys[0][2]
    if passphrase_file and not encrypted:
        raise CommandError(
            ExitCode.USAGE, f"{path} is not encrypted: what is --key-passphrase-file for?"
        )
    pem = keys[0][0]
    private = _decrypted(path, pem, passphrase_file) if encrypted else _loaded(path, pem, None)
    if isinstance(private, rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey):
        return private
    if isinstance(private, ec.EllipticCurvePrivateKey) and private.curve.name in CURVES:
        return private
    raise CommandError(
        ExitCode.BAD_FILE,
        f"{path}: not a key that Java's servers use: RSA, EC on P-256, P-384 or P-521, or Ed25519",
    )


def _decrypted(path: Path, pem: bytes, file: Path | None) -> PrivateKeyTypes:
    """Read an encrypted key; a terminal is asked again if its passphrase is another."""
    if file is not None:
        return _loaded(path, pem, _only_line(file))
    if VARIABLE in os.environ:
        return _loaded(path, pem, os.environ[VARIABLE])
    for _ in range(TRIES - 1):
        try:
            return _loaded(path, pem, _asked_for(path))
        except CommandError as error:
            if error.code != ExitCode.BAD_FILE:
                raise
            complain(error.message)
    return _loaded(path, pem, _asked_for(path))


def _loaded(path: Path, pem: bytes, passphrase: str | None) -> PrivateKeyTypes:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of keys that cryptography will refuse one day
            return load_pem_private_key(pem, None if passphrase is None else passphrase.encode())
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        why = str(error) if passphrase is None else "not with this passphrase"
        raise CommandError(
            ExitCode.BAD_FILE, f"{path}: a private key that cannot be read: {why}"
        ) from None


def _asked_for(path: Path) -> str:
    try:
        return _asked(f"Passphrase of {path}: ")
    except CommandError:
        raise CommandError(
            ExitCode.USAGE,
            f"{path} is encrypted, and there is no terminal to ask for its passphrase on:"
            f" --key-passphrase-file FILE, or {VARIABLE} in the environment",
        ) from None
