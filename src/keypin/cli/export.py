"""`keypin export`: the pin file in the form of another system."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..formats import FORMATS, Certificate, FormatError, export_to
from ..pin import Pin
from .certificate_files import read_certificates
from .certificates import summarise
from .conversions import All, Allow, ForeignFormat, Json, Strict, report
from .exit_codes import CommandError, ExitCode
from .files import new_file, read_pin_file, refuse_other_name, refuse_to_overwrite
from .options import Force
from .targets import CERTIFICATE_SUFFIXES

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from ..formats import Format

__all__ = ["EXAMPLES", "export"]

EXAMPLES = """
keypin export android -o app/src/main/res/xml/network_security_config.xml
keypin export okhttp --pins pins.toml > CertificatePins.kt
keypin export mobilefirst --certificates certificates -o build/pinning
keypin export tlsa --certificates certificates --allow ca-not-checked
"""

UNUSUAL = re.compile(r"[^A-Za-z0-9._-]+")


def export(
    format: ForeignFormat,
    pins: Annotated[
        Path, typer.Option("--pins", metavar="FILE", help="The pin file; pins.toml unless given.")
    ] = Path("pins.toml"),
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE|FOLDER",
            help="Where to write, instead of standard output; a folder for several files.",
        ),
    ] = None,
    certificates: Annotated[
        Path | None,
        typer.Option(
            "--certificates",
            metavar="FOLDER",
            help="Certificates of pinned keys, DER or PEM: cordova and mobilefirst consist of"
            " them, ios and tlsa see from them which keys are CAs'.",
        ),
    ] = None,
    allow: Allow = None,
    strict: Strict = False,
    json_: Json = False,
    all_: All = False,
    force: Force = False,
) -> ExitCode:
    """Write the pin file in the form of another system.

    FORMAT is android, ios, trustkit-ios, trustkit-android, okhttp (Kotlin), okhttp-java, cordova,
    curl, hpkp, tlsa, chromium, python or mobilefirst.

    Standard error tells what that system cannot say, and what it will do instead. If that makes
    it less safe than the pin file, nothing is written, unless it is allowed by name.
    """
    if FORMATS[format].is_folder and output is None:
        raise CommandError(
            ExitCode.USAGE, f"{format} is several files: name a folder for them with -o FOLDER"
        )
    if output is not None:
        refuse_other_name(output, format, "--output")
    file = read_pin_file(pins)
    known = {} if certificates is None else _certificates(certificates)
    try:
        result = export_to(format, file, known)
    except FormatError as error:
        raise CommandError(
            ExitCode.BAD_FILE, f"{pins} cannot be written as {format}: {error}"
        ) from None
    report(result.losses, allow, strict=strict, as_json=json_, all_=all_)
    if output is None:
        [content] = result.files.values()
        sys.stdout.write(content.decode())
    else:
        _write(result.files, output, FORMATS[format], force=force)
    return ExitCode.OK


def _certificates(folder: Path) -> Mapping[Pin, Certificate]:
    """Read the certificates of a folder; of two for one key, the first by name counts."""
    if not folder.is_dir():
        raise CommandError(ExitCode.NO_FILE, f"no such folder: {folder} (--certificates)")
    found: dict[Pin, Certificate] = {}
    names: set[str] = set()
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in CERTIFICATE_SUFFIXES or not path.is_file():
            continue
        for der in read_certificates(path).certificates:
            pin = Pin.from_certificate(der)
            if pin not in found:
                name = _new_name(path.stem, names)
                found[pin] = Certificate(name, der, bool(summarise(der).is_ca))
    return found


def _new_name(stem: str, names: set[str]) -> str:
    plain = UNUSUAL.sub("-", stem).strip(".-") or "certificate"
    name, number = f"{plain}.cer", 1
    while name.lower() in names:
        number += 1
        name = f"{plain}-{number}.cer"
    names.add(name.lower())
    return name


def _write(files: Mapping[str, bytes], output: Path, format: Format, *, force: bool) -> None:
    if not format.is_folder:
        [content] = files.values()
        new_file(output, content, force=force)
        return
    paths = {output / name: content for name, content in files.items()}
    for path in paths:
        refuse_to_overwrite(path, force=force)
    if format.takes_all is not None:
        _refuse_others(paths, format.takes_all)
    for path, content in paths.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CommandError(
                ExitCode.CANNOT_WRITE, f"cannot make {path.parent}: {error.strerror}"
            ) from None
        new_file(path, content, force=force)


def _refuse_others(paths: Collection[Path], ending: str) -> None:
    """Refuse to write beside files of an earlier export, which would still count.

    Raises:
        CommandError: there are some.
    """
    for folder in {path.parent for path in paths if path.suffix == ending}:
        there = folder.iterdir() if folder.is_dir() else ()
        others = [path.name for path in there if path.name.lower().endswith(ending)]
        if left := sorted(set(others) - {path.name for path in paths}):
            raise CommandError(
                ExitCode.CANNOT_WRITE,
                f"{folder} holds other files that would count, too: {', '.join(left)}. Remove them"
                " first",
            )
