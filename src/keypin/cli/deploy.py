"""`keypin deploy`: serve a renewed certificate only if the clients' pins accept it."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from ..checking.candidate import Kind
from ..checking.findings import Severity, exit_code
from ..checking.paths import parse
from ..checking.rehearsal import Code
from .certificate_files import pem
from .durations import seconds
from .exit_codes import CommandError, ExitCode
from .files import read_file
from .finding_lines import list_findings
from .output import Page, complain
from .pin_file_edits import DEFAULT
from .rehearsals import read_candidate, read_surroundings
from .served_folder import ServedFiles, ServedFolder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

    from ..checking.candidate import Candidate
    from ..checking.findings import Finding

__all__ = ["EXAMPLES", "deploy"]

EXAMPLES = """
keypin deploy --to /etc/tls/api --pins pins.toml --reload 'nginx -s reload'
keypin deploy --candidate chain.pem --key key.pem --to tls
"""

LINEAGE = "RENEWED_LINEAGE"
"""in which certbot tells its hooks where the new files are"""


def deploy(
    to: Annotated[
        Path,
        typer.Option(
            "--to",
            metavar="FOLDER",
            help="The folder of this certificate; the server reads fullchain.pem and privkey.pem"
            " in FOLDER/current.",
        ),
    ],
    pins: Annotated[
        Path,
        typer.Option(
            "--pins",
            metavar="FILE",
            help="The pin file that clients carry now; pins.toml unless given.",
            show_default=False,
        ),
    ] = DEFAULT,
    against: Annotated[
        list[Path] | None,
        typer.Option(
            "--older-pins", metavar="FILE", help="A pin file that some still carry. Repeatable."
        ),
    ] = None,
    candidate: Annotated[
        Path | None,
        typer.Option(
            "--candidate",
            metavar="FILE",
            help="The new certificate and its chain (PEM); that of certbot's RENEWED_LINEAGE"
            " unless given.",
        ),
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option("--key", metavar="FILE", help="Its private key (PEM); likewise."),
    ] = None,
    host: Annotated[
        list[str] | None,
        typer.Option(
            "--host",
            metavar="HOST",
            help="A host that it is for; unless given, those of its names that are pinned."
            " Repeatable.",
        ),
    ] = None,
    cafile: Annotated[
        list[Path] | None,
        typer.Option(
            "--cafile",
            metavar="FILE",
            help="What clients trust (PEM) instead of this system's authorities. Repeatable: each"
            " alone must do.",
        ),
    ] = None,
    reload: Annotated[
        str | None,
        typer.Option(
            "--reload",
            metavar="COMMAND",
            help="Run this, without a shell, to have the server read the new files. If it fails,"
            " the old ones come back.",
        ),
    ] = None,
    timeout: Annotated[
        float,
        typer.Option(
            "--timeout",
            metavar="SECONDS",
            help="Take a reload that lasts longer for a failed one.",
            parser=seconds,
        ),
    ] = 60.0,
) -> int:
    """Serve a renewed certificate, if pinned clients accept it.

    Rehearses it as keypin check --candidate does. If any client would refuse, nothing changes and
    the exit code is 2 (3: it cannot be told). If not, FOLDER/current changes to the new
    files in one step, and the server is told. Use it as certbot's --deploy-hook, with a server
    that reads FOLDER/current.
    """
    chain_file, key_file = _sources(candidate, key)
    command = _words(reload)
    surroundings = read_surroundings([pins, *(against or [])], host or [], None, cafile or [])
    chain = read_candidate(chain_file)
    if chain.kind is not Kind.CHAIN:
        raise CommandError(
            ExitCode.BAD_FILE, f"{chain_file}: a {chain.kind}; what a server shows is needed"
        )
    files = ServedFiles(b"".join(map(pem, chain.certificates)), read_file(key_file))
    _check_key(files.key, key_file, chain, chain_file)
    findings = surroundings.rehearse(chain, str(chain_file))
    page = Page()
    list_findings(page, findings)
    code = exit_code(findings, Severity.CRITICAL)
    if code:
        complain(_refusal(findings, to))
        return code
    page.line(_put(files, ServedFolder(to), command, timeout))
    return ExitCode.OK


def _sources(candidate: Path | None, key: Path | None) -> tuple[Path, Path]:
    lineage = os.environ.get(LINEAGE)
    if (candidate is None) != (key is None):
        raise CommandError(ExitCode.USAGE, "--candidate and --key go together")
    if candidate is not None and key is not None:
        return candidate, key
    if not lineage:
        raise CommandError(
            ExitCode.USAGE,
            "which certificate? Give --candidate and --key, or run it as certbot's --deploy-hook,"
            f" which sets {LINEAGE}",
        )
    return Path(lineage) / "fullchain.pem", Path(lineage) / "privkey.pem"


def _words(reload: str | None) -> list[str]:
    try:
        return shlex.split(reload or "")
    except ValueError as error:
        raise CommandError(ExitCode.USAGE, f"--reload: {error}") from None


def _check_key(key: bytes, key_file: Path, chain: Candidate, chain_file: Path) -> None:
    """Refuse a key that is not the certificate's: no server starts with it."""
    try:
        public = load_pem_private_key(key, password=None).public_key()
    except TypeError:
        raise CommandError(
            ExitCode.BAD_FILE, f"{key_file}: encrypted; a server needs it as it is"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise CommandError(ExitCode.BAD_FILE, f"{key_file}: not a private key in PEM") from None
    if _spki(public) != _spki(parse(chain.certificates[0]).public_key()):
        raise CommandError(
            ExitCode.BAD_FILE, f"{key_file} is not the key of the certificate in {chain_file}"
        )


def _spki(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _refusal(findings: Sequence[Finding], to: Path) -> str:
    lines = [f"not deployed: what is served from {ServedFolder(to).link} has not changed"]
    if LINEAGE in os.environ and any(finding.code == Code.REFUSED for finding in findings):
        lines.append(
            "certbot makes a new key at each renewal, unless it is told to keep it: --reuse-key"
        )
    return "\n".join(lines)


def _put(files: ServedFiles, folder: ServedFolder, command: list[str], timeout: float) -> str:
    """Switch to the new files and tell the server; back to the old ones if that fails."""
    with folder.locked():
        if folder.serves(files):
            return f"{folder.link} has it already"
        before = folder.last_served()
        new = folder.add(files)
        try:
            folder.switch(new)
            _reload(command, timeout)
            folder.told()
        except BaseException as error:
            folder.switch(before)
            # only this one: what a run that was killed has left may be what is served
            folder.discard(new)
            if isinstance(error, ReloadFailed):
                raise CommandError(
                    ExitCode.RELOAD_FAILED, _rolled_back(error, folder, command, timeout)
                ) from None
            raise
        folder.forget(before, new)
        return f"{folder.link} has it now"


class ReloadFailed(Exception):
    """The server could not be told."""


def _reload(command: list[str], timeout: float) -> None:
    if not command:
        return
    sys.stdout.flush()
    try:
        done = subprocess.run(command, timeout=timeout, stdin=subprocess.DEVNULL)  # noqa: S603 - what the user said
    except OSError as error:
        raise ReloadFailed(f"cannot run {command[0]}: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise ReloadFailed(f"{command[0]} did not end within {timeout:g} s (--timeout)") from None
    if done.returncode:
        raise ReloadFailed(f"{command[0]} ended with {done.returncode}")


def _rolled_back(
    error: ReloadFailed, folder: ServedFolder, command: list[str], timeout: float
) -> str:
    message = f"{error}: {folder.link} is back at what it was"
    try:
        # it may have got half-way, and left a server with the new files
        _reload(command, timeout)
    except ReloadFailed as again:
        return f"{message}\nThe server could not be told of that either: {again}"
    return f"{message}, and the server was told"
