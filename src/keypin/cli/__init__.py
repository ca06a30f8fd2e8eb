"""The command line.

    app            the commands put together, and their errors
    demo, show, fetch, convert, get, run, doctor, check, deploy, plan, export, import_,
    init, add, remove, promote, retire, backup_key, keystore, lab, lab_run, lab_serve
                   one module for each command
    groups         commands and groups whose help ends in examples
    programs       why a program cannot be run
    progress       a bar, on terminals
    lab_selection  which scenarios a command is about
    lab_events     what lab serve says
    private_keys, server_chains, pkcs12, server_elements
                   what keystore is made of
    findings       what show found, as text and JSON
    listing        a certificate as lines of text
    connections    why a connection failed, as an error with an exit code
    options        the options that several commands have
    targets        CERT|HOST[:PORT]: which of the two, and its parts
    exit_codes     ExitCode, and CommandError, which ends a command with one
    certificates   certificate files; what a certificate says
    files          files written whole or not at all
    output         text for terminals and pipes

It needs the extra `keypin[cli]`.
"""

from __future__ import annotations

from ..errors import MissingExtra

try:
    import cryptography  # noqa: F401
    import httpx2  # noqa: F401
    import publicsuffixlist  # noqa: F401
    import rich  # noqa: F401
    import typer  # noqa: F401
except ImportError as _error:
    raise MissingExtra(
        f"keypin.cli needs {_error.name}: pip install 'keypin[cli]'", name=_error.name
    ) from _error

from .app import main
from .exit_codes import ExitCode

__all__ = ["ExitCode", "main"]
