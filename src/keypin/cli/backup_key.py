"""`keypin backup-key`: a key for the day on which the active one is lost."""

from __future__ import annotations

import os
import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..editing.backup_keys import certificate_names_of, new_backup_key, pin_of_private_key
from ..editing.changes import Change, EditError, add_pin, find_host, too_few
from ..errors import HostnameError, PinSetError
from ..hostnames import normalise_pattern
from ..pinfile import PinEntry
from ..pinfile.fields import read_key_name
from .exit_codes import CommandError, ExitCode
from .new_key_files import Secrecy, held_interruptions, others_may_read, removed_on_failure
from .output import PASTED, Page, complain
from .passphrases import new_passphrase
from .pin_file_edits import DryRun, Pins, prepare_edit, report_edit, write_edit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..editing.backup_keys import BackupKey
    from ..editing.changes import Draft
    from ..pin import Pin

__all__ = ["EXAMPLES", "backup_key"]

EXAMPLES = """
keypin backup-key "api 2027"
keypin backup-key "api 2027" --host api.example.com -o /media/offline
keypin backup-key "api 2027 RSA" --rsa --passphrase-file passphrase.txt
"""

UNUSUAL = re.compile(r"[^A-Za-z0-9._]+")


def backup_key(
    name: Annotated[str, typer.Argument(metavar="NAME", hidden=True)],
    hosts: Annotated[
        list[str] | None,
        typer.Option(
            "--host",
            metavar="HOST",
            help="A host of the pin file that the key is for; its only one unless given."
            " Repeatable.",
        ),
    ] = None,
    folder: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="FOLDER",
            help="Where key and request go, if not here.",
            show_default=False,
        ),
    ] = Path(),
    rsa: Annotated[bool, typer.Option("--rsa", help="An RSA key, not one on P-256.")] = False,
    passphrase_file: Annotated[
        Path | None,
        typer.Option(
            "--passphrase-file",
            metavar="FILE",
            help="The passphrase is the only line of this file. Else it is KEYPIN_PASSPHRASE in"
            " the environment, or is asked for.",
        ),
    ] = None,
    unencrypted: Annotated[
        bool, typer.Option("--unencrypted", help="Write the private key for all to use who get it.")
    ] = False,
    pins: Pins = Path("pins.toml"),
    dry_run: DryRun = False,
) -> ExitCode:
    """Make a key to fall back on, and pin it as a backup.

    Two files are written: NAME.key.pem, the private key, encrypted (PKCS #8), readable by you
    only; and NAME.csr.pem, its certificate request. No file is overwritten, and the pin is added
    last, once the key has been read again from its file.
    """
    if unencrypted and passphrase_file:
        raise CommandError(ExitCode.USAGE, "--unencrypted or --passphrase-file: which?")
    new_backup(
        name,
        hosts or (),
        None,
        pins,
        dry_run=dry_run,
        folder=folder,
        rsa=rsa,
        passphrase_of=lambda: None if unencrypted else new_passphrase(passphrase_file),
    )
    return ExitCode.OK


def new_backup(
    name: str,
    hosts: Sequence[str],
    first: Callable[[Draft], Change] | None,
    pins: Path,
    *,
    dry_run: bool,
    template: str | None = None,
    folder: Path = Path(),
    rsa: bool = False,
    passphrase_of: Callable[[], str | None] = lambda: new_passphrase(None),
) -> None:
    """Make a key and its request, and pin it; nothing is left if a part of that fails.

    Args:
        name: of the key.
        hosts: those that it is for; the file's only one if there are none.
        first: another change of the pin file, in the same edit.
        pins: the pin file.
        dry_run: show the difference, and write nothing.
        template: see `prepare_edit`.
        folder: where key and request go.
        rsa: the kind of key.
        passphrase_of: gets what the key is encrypted with, None for no encryption.

    Raises:
        CommandError: it cannot be done.
    """
    key_file, request_file = _names(folder, name)
    key = new_backup_key(use_rsa=rsa)
    meant = _Meant(name, key.pin, hosts, first)
    edit = prepare_edit(pins, meant.change, template)
    if dry_run:
        report_edit(edit, dry_run=True)
        Page().line("The key shown was made for this only, and is gone.", indent=2)
        return
    passphrase = passphrase_of()
    private = key.unencrypted() if passphrase is None else key.encrypted(passphrase)
    request = key.request(meant.certificate_names)
    secrecy = Secrecy.NEEDED if passphrase is None else Secrecy.WISHED
    published = partial(_is_published, key.pin, pins)
    with (
        held_interruptions() as let_through,
        removed_on_failure(key_file, private, secrecy, published),
        removed_on_failure(request_file, request, Secrecy.NONE, published),
    ):
        _read_again(key_file, passphrase, key.pin)
        let_through()
        edit = prepare_edit(pins, meant.change, template)  # the passphrase may have taken a while
        write_edit(edit)
    report_edit(edit, dry_run=False)
    _tell(key_file, request_file, key, encrypted=passphrase is not None)


class _Meant:
    """The edit, and the hosts that it came to be for."""

    def __init__(
        self,
        name: str,
        pin: Pin,
        hosts: Sequence[str],
        first: Callable[[Draft], Change] | None,
    ) -> None:
        try:
            self.entry = PinEntry(pin, "backup", read_key_name(name))
        except PinSetError as error:
            raise CommandError(ExitCode.USAGE, str(error)) from None
        self.asked = hosts
        self.first = first
        self.certificate_names: list[str] = []

    def change(self, draft: Draft) -> Change:
        made = Change(draft, (), ()) if self.first is None else self.first(draft)
        hosts = self._hosts(made.draft)
        mended = {each for host in hosts for each in too_few(find_host(made.draft, host))}
        made = made._replace(warnings=tuple(each for each in made.warnings if each not in mended))
        for host in hosts:
            one = add_pin(made.draft, host, self.entry)
            made = Change(one.draft, made.done + one.done, made.warnings + one.warnings)
        self.certificate_names = list(
            dict.fromkeys(name for host in hosts for name in certificate_names_of(host))
        )
        return made._replace(draft=made.draft._replace(version=draft.version + 1))

    def _hosts(self, draft: Draft) -> list[str]:
        if self.asked:
            return list(dict.fromkeys(find_host(draft, host).name for host in self.asked))
        pinned = [host.name for host in draft.hosts if not host.exclude]
        if self._pattern in pinned:
            return [self._pattern]
        if len(pinned) == 1:
            return pinned
        if not pinned:
            raise EditError("the file has no hosts yet: keypin add HOST first")
        raise EditError(f"which host is the key for? --host, one of: {', '.join(pinned)}")

    @property
    def _pattern(self) -> str:
        """The key's name, where that is a host's."""
        try:
            return normalise_pattern(self.entry.key or "")
        except HostnameError:
            return ""


def _names(folder: Path, name: str) -> tuple[Path, Path]:
    """Where private key and request go; neither may be there."""
    stem = UNUSUAL.sub("-", name).strip("-.")
    if not stem:
        raise CommandError(
            ExitCode.USAGE, f"no file can be named after {name!r}: use letters A to Z, or digits"
        )
    files = folder / f"{stem}.key.pem", folder / f"{stem}.csr.pem"
    for file in files:
        if os.path.lexists(file):
            raise CommandError(
                ExitCode.CANNOT_WRITE, f"{file} exists already; it was left as it is"
            )
    return files


def _read_again(file: Path, passphrase: str | None, pin: Pin) -> None:
    """Make sure that what was written is the key, before anybody relies on it."""
    try:
        if pin_of_private_key(file.read_bytes(), passphrase) == pin:
            return
        why = "it holds another key"
    except (OSError, ValueError) as error:
        why = str(error)
    raise CommandError(ExitCode.CANNOT_WRITE, f"{file} could not be read again: {why}")


def _is_published(pin: Pin, pins: Path) -> bool:
    """Whether clients may get to know of the key, which then must not be lost."""
    try:
        return str(pin).encode() in pins.read_bytes()
    except OSError:
        return True  # cannot be told


def _tell(key_file: Path, request_file: Path, key: BackupKey, *, encrypted: bool) -> None:
    page = Page()
    page.line()
    page.line(f"Wrote {key_file}: the private key, {'encrypted' if encrypted else 'NOT encrypted'}")
    page.line(f"Wrote {request_file}: its certificate request")
    page.field("pin", (str(key.pin), PASTED), indent=2)
    page.line()
    page.line(
        "Keep the private key where the active one is not: offline, in two places, its passphrase"
        " in a third. The request is for the day on which the key is needed."
    )
    if not encrypted:
        complain(f"warning: whoever can read {key_file} has the key (--unencrypted)")
    elif others_may_read(key_file):
        complain(
            f"warning: others can read {key_file}, and try passphrases: its disk has no permissions"
        )
