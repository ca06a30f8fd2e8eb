"""What the commands that edit a pin file share: their options, reading, writing, and the report."""

from __future__ import annotations

import difflib
import os
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from .._internal.atomic_file import written_atomically
from ..editing.changes import EditRefused
from ..editing.rewriting import CannotRewrite, read_draft, rewrite
from ..errors import KeypinError, PinFileError, PinSetError
from ..pinfile.fields import read_moment
from .exit_codes import CommandError, ExitCode
from .files import read_file
from .output import Page, complain, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from ..editing.changes import Change, Draft
    from ..pinfile import Format

__all__ = [
    "DryRun",
    "Edit",
    "Pins",
    "edit_pin_file",
    "moment",
    "prepare_edit",
    "read_editable",
    "report_edit",
    "write_edit",
]

DEFAULT = Path("pins.toml")
FORMATS: dict[str, Format] = {".toml": "toml", ".json": "json"}

Pins = Annotated[
    Path,
    typer.Option(
        "--pins", metavar="FILE", help="The pin file; pins.toml unless given.", show_default=False
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Show the difference it would make; write nothing.")
]


def moment(text: str | None) -> datetime | None:
    """Read an option that is a date or a time, as the pin file reads it.

    Raises:
        BadParameter: it is neither.
    """
    try:
        return None if text is None else read_moment(text)
    except PinSetError as error:
        raise typer.BadParameter(str(error)) from None


class Editable(NamedTuple):
    """A pin file that is right, or only lacks hosts."""

    data: bytes | None
    """None if it is not there yet"""
    text: str
    form: Format
    draft: Draft


class Edit(NamedTuple):
    """A pin file as it is, and as it is to be."""

    path: Path
    old: bytes | None
    """None if there is no such file yet"""
    new: bytes
    change: Change


def read_editable(path: Path, template: str | None = None) -> Editable:
    """Read a pin file, TOML or JSON by its name; in TOML it may be one without hosts.

    Args:
        path: the file.
        template: what `pins.toml` has to begin with where that is meant and is not there; None to
            refuse.

    Raises:
        CommandError: it is not there, cannot be read, or is not right.
    """
    is_new = template is not None and path == DEFAULT and not os.path.lexists(path)
    if not is_new and not path.exists():
        raise CommandError(ExitCode.NO_FILE, f"no such file: {path}; make one: keypin init {path}")
    form = FORMATS.get(path.suffix.lower())
    if form is None:
        raise CommandError(ExitCode.BAD_FILE, f"a pin file's name ends in .toml or .json: {path}")
    if not is_new and not path.is_file() and not path.is_dir():
        raise CommandError(ExitCode.BAD_FILE, f"{path} is not a file")
    data = None if is_new else read_file(path)
    try:
        text = (template or "") if data is None else data.decode("utf-8")
        return Editable(data, text, form, read_draft(text, form, str(path)))
    except UnicodeDecodeError:
        raise CommandError(ExitCode.BAD_FILE, f"{path} is not UTF-8") from None
    except PinFileError as error:
        raise CommandError(ExitCode.BAD_FILE, str(error)) from None


def prepare_edit(
    path: Path, change: Callable[[Draft], Change], template: str | None = None
) -> Edit:
    """Read a pin file and change it in memory.

    Args:
        path: the file, TOML or JSON by its name.
        change: what to make of its content.
        template: what `pins.toml` has to begin with where that is meant and is not there; None to
            refuse.

    Raises:
        CommandError: see `read_editable`; or the edit makes no sense.
    """
    data, text, form, draft = read_editable(path, template)
    try:
        made = change(draft)
        written = rewrite(text, form, str(path), made.draft)
    except EditRefused as error:
        raise CommandError(ExitCode.NOT_ALLOWED, f"{path} stays as it is: {error}") from None
    except CannotRewrite as error:
        raise CommandError(ExitCode.BAD_FILE, str(error)) from None
    except KeypinError as error:
        raise CommandError(ExitCode.USAGE, f"{path} stays as it is: {error}") from None
    return Edit(path, data, written.encode("utf-8"), made)


def _read(path: Path) -> bytes:
    if not path.exists():
        raise CommandError(ExitCode.NO_FILE, f"no such file: {path}; make one: keypin init {path}")
    if not path.is_file():
        raise CommandError(ExitCode.BAD_FILE, f"{path} is not a file")
    return read_file(path)


def write_edit(edit: Edit) -> None:
    """Replace the file by what it is to be, whole or not at all.

    Raises:
        CommandError: it cannot be written, or is no longer what was read.
    """
    with _no_other_edit(edit.path):
        # the user, or another command, may have been quicker
        now = read_file(edit.path) if os.path.lexists(edit.path) else None
        if now != edit.old:
            raise CommandError(
                ExitCode.CANNOT_WRITE, f"{edit.path} was changed meanwhile: try again"
            )
        try:
            with written_atomically(edit.path) as file:
                file.write(edit.new)
        except OSError as error:
            raise CommandError(
                ExitCode.CANNOT_WRITE, f"cannot write {edit.path}: {error.strerror or error}"
            ) from None


@contextmanager
def _no_other_edit(path: Path) -> Iterator[None]:
    """Let other commands that would write this file wait, where the system has locks for that.

    The folder is locked: the file itself is another one after each edit.
    """
    if sys.platform == "win32":
        yield
        return
    import fcntl

    try:
        folder = os.open(Path(os.path.realpath(path)).parent, os.O_RDONLY)
    except OSError:
        folder = None
    try:
        if folder is not None:
            with suppress(OSError):  # a disk without locks
                fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        if folder is not None:
            os.close(folder)


def report_edit(edit: Edit, *, dry_run: bool) -> None:
    """Tell what was changed; of a dry run, with the difference."""
    page = Page()
    version = edit.change.draft.version
    if dry_run:
        _show_difference(edit)
        page.line()
        page.line(f"Nothing was written (--dry-run); {edit.path} would be version {version}:")
    elif edit.old is None:
        page.line(f"Made {edit.path}, version {version}:")
    else:
        page.line(f"{edit.path} is now version {version}:")
    for done in edit.change.done:
        page.line(done, indent=2)
    if edit.path.suffix.lower() == ".json":
        page.line("As JSON it is written anew, in its own order and indentation.", indent=2)
    for warning in edit.change.warnings:
        complain(f"warning: {warning}")


def edit_pin_file(
    path: Path,
    change: Callable[[Draft], Change],
    *,
    dry_run: bool,
    template: str | None = None,
) -> None:
    """Read, change and write a pin file, and tell what became of it.

    Raises:
        CommandError: see `prepare_edit` and `write_edit`.
    """
    edit = prepare_edit(path, change, template)
    if not dry_run:
        write_edit(edit)
    report_edit(edit, dry_run=dry_run)


def _show_difference(edit: Edit) -> None:
    old, new = (data.decode("utf-8").splitlines() for data in (edit.old or b"", edit.new))
    name = str(edit.path)
    for line in difflib.unified_diff(old, new, name, name, lineterm=""):
        sys.stdout.write("\t".join(map(printable, line.split("\t"))) + "\n")
