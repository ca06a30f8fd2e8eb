"""`keypin init`: the beginning of a pin file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .exit_codes import CommandError, ExitCode
from .files import new_file
from .output import Page
from .pin_file_edits import DEFAULT

__all__ = ["EXAMPLES", "TEMPLATE", "init"]

EXAMPLES = """
keypin init
keypin init config/pins.toml
"""

TEMPLATE = """\
# Which public keys hold for which TLS servers. Read by keypin; edited by people, and by
# keypin add, remove, promote, retire and backup-key, which keep comments and order.
# Whoever can change this file decides which servers are accepted.

schema = 1
version = 1                 # raised with every change

[defaults]                  # for the hosts that do not say otherwise
mode = "enforce"            # or "report": let a mismatch pass, and tell
match = "chain"             # or "leaf": only the server's own key counts
on_expiry = "enforce"       # or "allow": let mismatches pass once the pins have expired
unlisted = "allow"          # or "refuse" connections to hosts that are not listed here

# One [[host]] for each: api.example.com, or *.example.com (one label below), or
# **.example.com (the host and all below it). Until there is one, the file pins nothing,
# and programs refuse to load it.
#
# [[host]]
# name = "api.example.com"
# expires = 2027-06-01      # when the pins were meant to be replaced
# pins = [                  # any one of them will do; have at least two, one of them a backup
#   { pin = "sha256/...", role = "active", key = "api 2026" },
#   { pin = "sha256/...", role = "backup", key = "api 2027, offline" },
# ]
"""


def init(
    file: Annotated[Path, typer.Argument(metavar="[FILE]", hidden=True)] = Path("pins.toml"),
) -> ExitCode:
    """Make a pin file with comments, to which hosts can be added.

    FILE is pins.toml unless given, which keypin add makes, too. A file that exists is left as it
    is.
    """
    if file.suffix.lower() != ".toml":
        raise CommandError(
            ExitCode.USAGE, f"its name has to end in .toml, for JSON has no comments: {file}"
        )
    if file.exists() or file.is_symlink():
        raise CommandError(ExitCode.CANNOT_WRITE, f"{file} exists already; it was left as it is")
    new_file(file, TEMPLATE.encode(), force=False)
    page = Page()
    page.line(f"Wrote {file}. It has no hosts yet; the next step:")
    page.line()
    where = "" if file == DEFAULT else f" --pins {file}"
    page.verbatim(f"keypin add HOST --from live --backup{where}", indent=2)
    return ExitCode.OK
