"""`keypin import`: a pin file from what another system has."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..formats import FORMATS, FormatError, import_from
from .conversions import All, Allow, ForeignFormat, Json, Strict, report
from .exit_codes import CommandError, ExitCode
from .files import new_file, read_file
from .options import Force

if TYPE_CHECKING:
    from ..pinfile import Format

__all__ = ["EXAMPLES", "import_"]

EXAMPLES = """
keypin import android res/xml/network_security_config.xml -o pins.toml
keypin import okhttp src/main/kotlin/Network.kt
keypin import mobilefirst www/certificates --host api.example.com
"""

MOST_FILES = 1000
SUFFIXES: dict[str, Format] = {".toml": "toml", ".json": "json"}


def import_(
    format: ForeignFormat,
    file: Annotated[Path, typer.Argument(metavar="FILE|FOLDER", hidden=True)],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="The pin file to write, .toml or .json, instead of standard output.",
        ),
    ] = None,
    hosts: Annotated[
        list[str] | None,
        typer.Option(
            "--host",
            metavar="NAME",
            help="A host or pattern to pin, for formats that name none: cordova, mobilefirst,"
            " hpkp. Repeatable.",
        ),
    ] = None,
    allow: Allow = None,
    strict: Strict = False,
    json_: Json = False,
    all_: All = False,
    force: Force = False,
) -> ExitCode:
    """Make a pin file of what another system has.

    FORMAT is android, ios, trustkit-ios, trustkit-android, okhttp (Kotlin or Java), okhttp-java
    (the same), cordova, curl, hpkp, tlsa, chromium, python (what keypin export wrote) or
    mobilefirst.

    What is not understood is an error. Standard error tells what a pin file cannot say; if that
    makes it less safe than FILE, nothing is written, unless it is allowed by name.
    """
    form = "toml" if output is None else SUFFIXES.get(output.suffix.lower())
    if form is None:
        raise CommandError(ExitCode.USAGE, f"a pin file's name ends in .toml or .json: {output}")
    files = _read_folder(file) if file.is_dir() else {str(file): read_file(file)}
    if file.is_dir() and not FORMATS[format].is_folder:
        raise CommandError(ExitCode.USAGE, f"{format} is one file, {file} is a folder")
    try:
        result = import_from(format, files, hosts or ())
    except FormatError as error:
        place = "" if error.file else f"{file}: "
        raise CommandError(ExitCode.BAD_FILE, f"{place}{error}") from None
    report(result.losses, allow, strict=strict, as_json=json_, all_=all_)
    text = result.pins.dumps(form)
    if output is None:
        sys.stdout.write(text)
    else:
        new_file(output, text.encode(), force=force)
    return ExitCode.OK


def _read_folder(folder: Path) -> dict[str, bytes]:
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    if len(paths) > MOST_FILES:
        raise CommandError(
            ExitCode.BAD_FILE, f"{folder} holds more than {MOST_FILES} files: name the right folder"
        )
    return {path.relative_to(folder).as_posix(): read_file(path) for path in paths}
