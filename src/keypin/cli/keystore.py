"""`keypin keystore`: a server's key and certificates in the store that Java servers read."""

from __future__ import annotations

import os
import re
import secrets
import stat
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ..checking.paths import TrustStore
from ..errors import CertificateFormatError
from .certificate_files import read_certificates
from .certificates import summarise
from .exit_codes import CommandError, ExitCode
from .files import refuse_other_name, refuse_to_overwrite
from .listing import list_certificates
from .new_key_files import Secrecy, held_interruptions, others_may_read, removed_on_failure
from .options import Force
from .output import Page, complain
from .passphrases import new_passphrase
from .pkcs12 import make_store
from .private_keys import read_private_key
from .server_chains import NAMELESS, ServerChain, faults, order, unverified, warnings_about
from .server_elements import SERVERS

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.serialization.pkcs12 import PKCS12PrivateKeyTypes

__all__ = ["EXAMPLES", "keystore"]

EXAMPLES = """
keypin keystore --key key.pem --chain chain.pem -o server.p12
keypin keystore --key privkey.pem --chain fullchain.pem -o server.p12 --force
keypin keystore --key key.pem --chain chain.pem -o api.p12 --cafile root.pem
"""

ALIAS = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


def keystore(
    key: Annotated[
        Path,
        typer.Option("--key", metavar="FILE", help="The private key (PEM), encrypted or not."),
    ],
    chain: Annotated[
        Path,
        typer.Option(
            "--chain",
            metavar="FILE",
            help="The server's certificate and its intermediates (PEM), such as certbot's"
            " fullchain.pem.",
        ),
    ],
    store: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The store to write.")
    ],
    alias: Annotated[
        str, typer.Option("--alias", metavar="NAME", help="The entry's name in the store.")
    ] = "server",
    passphrase_file: Annotated[
        Path | None,
        typer.Option(
            "--passphrase-file",
            metavar="FILE",
            help="The store's passphrase is the only line of this file. Else it is"
            " KEYPIN_PASSPHRASE in the environment, or is asked for.",
        ),
    ] = None,
    key_passphrase_file: Annotated[
        Path | None,
        typer.Option(
            "--key-passphrase-file",
            metavar="FILE",
            help="The same for the passphrase that an encrypted key has now; else"
            " KEYPIN_KEY_PASSPHRASE.",
        ),
    ] = None,
    cafile: Annotated[
        Path | None,
        typer.Option(
            "--cafile",
            metavar="FILE",
            help="Write nothing unless clients that trust these authorities (PEM) would accept"
            " the server.",
        ),
    ] = None,
    force: Force = False,
) -> ExitCode:
    """Make a PKCS #12 store for Tomcat, Liberty or WebSphere.

    Checks first that the key is the certificate's, puts the chain in order, and refuses what no
    client would accept. Then prints the pin, and what each server's configuration is to say.
    """
    location = _location(store)
    if not ALIAS.fullmatch(alias):
        raise CommandError(
            ExitCode.USAGE,
            f"--alias: {alias!r} is not made of a to z, 0 to 9 and . _ - (Java ignores case)",
        )
    refuse_other_name(store, "a PKCS #12 store", "--output")
    _refuse_to_replace(store, force=force)
    private = read_private_key(key, key_passphrase_file)
    now = datetime.now(UTC)
    checked = _checked(chain, key, private, cafile, now)
    try:
        content = make_store(
            alias, private, checked.certificates, _store_passphrase(passphrase_file)
        )
    except ValueError as error:
        raise CommandError(ExitCode.CANNOT_WRITE, f"no store can be made: {error}") from None
    _write(store, content, force=force)
    _tell(store, location, alias, checked, now)
    return ExitCode.OK


def _location(store: Path) -> str:
    """The store as servers are to find it, from wherever they run."""
    location = os.path.abspath(store)
    if not location.isprintable() or "${" in location:
        raise CommandError(
            ExitCode.USAGE,
            f"{store}: servers take ${{ for a variable, and their files have no such characters",
        )
    return location


# The certificates


def _checked(
    path: Path, key: Path, private: PKCS12PrivateKeyTypes, cafile: Path | None, now: datetime
) -> ServerChain:
    """Read the certificates, put them in order, and refuse what no client would accept.

    Raises:
        CommandError: they are not the key's, incomplete, or of no use to a server.
    """
    file = read_certificates(path)
    anchors = None if cafile is None else read_certificates(cafile).certificates
    spki = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    try:
        found = order(file.certificates, spki)
        wrong = faults(found.certificates, now)
        doubtful = warnings_about(found.certificates, now)
    except CertificateFormatError as error:
        raise CommandError(ExitCode.BAD_FILE, f"{path}, with the key {key}: {error}") from None
    if anchors is not None:
        why = unverified(found.certificates, TrustStore(str(cafile), anchors), now)
        wrong += [f"clients that trust {cafile} refuse it: {why}"] if why else []
    elif not summarise(found.certificates[0]).self_signed:
        why = unverified(found.certificates, TrustStore.system(), now)
        doubtful += [_not_verified(found.certificates, why)] if why else []
    if wrong:
        raise CommandError(ExitCode.BAD_FILE, f"{path}: " + "\n".join(wrong))
    for doubt in doubtful:
        complain(f"warning: {path}: {doubt}")
    return found


def _not_verified(chain: tuple[bytes, ...], why: str) -> str:
    if why == NAMELESS:
        return why
    if len(chain) == 1:
        return (
            f"{why}; it holds the server's own certificate alone: unless clients trust"
            f" {summarise(chain[0]).issuer} itself, its certificate is missing"
            " (--cafile FILE tells for sure)"
        )
    return f"no authority of this system verifies it: {why} (--cafile FILE: that of a private CA)"


# The store


def _store_passphrase(file: Path | None) -> str:
    """Get a passphrase that Java can read from its configuration, and decrypt with."""
    passphrase = new_passphrase(file, "store")
    if not (passphrase.isascii() and passphrase.isprintable()):
        raise CommandError(
            ExitCode.USAGE, "the passphrase has other characters than ASCII, which Java refuses"
        )
    if passphrase != passphrase.strip() or "${" in passphrase or passphrase[0] == "{":
        raise CommandError(
            ExitCode.USAGE,
            "the passphrase begins or ends with a space, begins with {, or has ${ in it, which"
            " servers' configuration takes for something else",
        )
    return passphrase


def _write(store: Path, content: bytes, *, force: bool) -> None:
    """Give the store its name when all of it is there.

    A new one is for its owner only. One that replaces another is for whom that was for, such as
    the server's own user and group, but never for all.
    """
    target = Path(os.path.realpath(store))
    part = target.with_name(f".{target.name}.{secrets.token_hex(8)}.part")
    with (
        held_interruptions() as let_through,
        removed_on_failure(part, content, Secrecy.WISHED, lambda: False),
    ):
        try:
            _keep_access(target, part)
            let_through()
            _refuse_to_replace(store, force=force)  # the passphrase may have taken a while
            part.replace(target)
        except OSError as error:
            raise CommandError(
                ExitCode.CANNOT_WRITE, f"cannot write {store}: {error.strerror}"
            ) from None
    if others_may_read(target) and target.stat().st_mode & 0o007:
        complain(
            f"warning: everybody can read {store}, and try passphrases: its disk has no permissions"
        )


def _refuse_to_replace(store: Path, *, force: bool) -> None:
    refuse_to_overwrite(store, force=force)
    if store.exists() and not store.is_file():
        raise CommandError(ExitCode.CANNOT_WRITE, f"{store} is no file; it was left as it is")


def _keep_access(target: Path, part: Path) -> None:
    try:
        before = target.stat()
    except FileNotFoundError:
        return
    own = part.stat()
    if sys.platform != "win32" and (before.st_uid, before.st_gid) != (own.st_uid, own.st_gid):
        os.chown(part, before.st_uid, before.st_gid)
    part.chmod(stat.S_IMODE(before.st_mode) & 0o660 | 0o600)


def _tell(store: Path, location: str, alias: str, chain: ServerChain, now: datetime) -> None:
    page = Page()
    page.line(f"Wrote {store}: private key and certificates, encrypted, as {alias!r}")
    summaries = [summarise(certificate) for certificate in chain.certificates]
    list_certificates(page, summaries, [""] * len(summaries), now)
    if chain.reordered:
        page.line()
        page.line("They were in another order; servers send them in this one.")
    if chain.left_out:
        page.line()
        page.line("Left out:")
        for left_out in chain.left_out:
            page.line(left_out, indent=2)
    for element in (make(location, alias) for make in SERVERS):
        page.line()
        page.line((element.server, "bold"), f": {element.where}")
        page.verbatim(*element.lines, indent=2)
        page.line(f"The passphrase: {element.passphrase}", indent=2)
