"""Which scenarios of the catalogue a command is about."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ..lab import scenarios
from .exit_codes import CommandError, ExitCode

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from ..lab import Case, KeyKind, Scenario
    from ..lab.scenario import Protocol as ProtocolName

__all__ = [
    "Group",
    "Key",
    "Named",
    "Protocol",
    "Skipped",
    "Tls",
    "cases_of",
    "refuse_unknown_claims",
    "select",
]

KEYS: dict[str, tuple[KeyKind, ...]] = {
    "rsa": ("rsa-2048", "rsa-pss"),
    "ecdsa": ("p-256", "p-384"),
    "ed25519": ("ed25519",),
}

Named = Annotated[
    list[str] | None,
    typer.Option("--scenario", metavar="ID", help="Only this scenario. Repeatable."),
]
Skipped = Annotated[
    list[str] | None, typer.Option("--skip", metavar="ID", help="Not this one. Repeatable.")
]
Group = Annotated[
    str | None, typer.Option("--group", metavar="NAME", help="Only this part of the catalogue.")
]
Protocol = Annotated[
    Literal["https", "wss", "smtp", "imap"] | None,
    typer.Option("--protocol", help="Only what is spoken by this one."),
]
Tls = Annotated[
    Literal["1.2", "1.3"] | None,
    typer.Option("--tls", help="Only in this TLS version; in both unless given."),
]
Key = Annotated[
    Literal["rsa", "ecdsa", "ed25519"] | None,
    typer.Option("--key", help="Only with servers' keys of this kind."),
]


def select(
    named: Sequence[str] | None = None,
    skipped: Sequence[str] | None = None,
    group: str | None = None,
    protocol: ProtocolName | None = None,
) -> list[Scenario]:
    """The scenarios that options name, in the order of the catalogue.

    Raises:
        CommandError: there is no such scenario or group, or none that fits all of them.
    """
    catalogue = scenarios()
    identifiers = [scenario.identifier for scenario in catalogue]
    for option, words in (("--scenario", named), ("--skip", skipped)):
        for word in words or ():
            _refuse_unknown("scenario", word, identifiers, option)
    if group is not None:
        _refuse_unknown(
            "group", group, list(dict.fromkeys(it.group for it in catalogue)), "--group"
        )
    found = [
        scenario
        for scenario in scenarios(group, protocol)
        if (not named or scenario.identifier in named)
        and scenario.identifier not in (skipped or ())
    ]
    if not found:
        raise CommandError(ExitCode.USAGE, "no scenario fits all of these options: keypin lab list")
    return found


def cases_of(
    chosen: Sequence[Scenario], tls: Literal["1.2", "1.3"] | None, key: str | None
) -> list[Case]:
    """The cases of scenarios in the TLS version and with the kind of key that options name.

    Raises:
        CommandError: there are none.
    """
    kinds = (None,) if key is None else KEYS[key]
    found = [case for scenario in chosen for kind in kinds for case in scenario.cases(tls, kind)]
    if not found:
        raise CommandError(
            ExitCode.USAGE,
            "none of these scenarios comes in that TLS version with that kind of key:"
            " keypin lab list --json",
        )
    return found


def refuse_unknown_claims(words: Sequence[str]) -> None:
    """Let no claim pass that no scenario asks for.

    Raises:
        CommandError: there is one.
    """
    known = sorted({claim for scenario in scenarios() for claim in scenario.claims})
    for word in words:
        _refuse_unknown("claim", word, known, "--disclaim")


def _refuse_unknown(what: str, word: str, known: Collection[str], option: str) -> None:
    if word in known:
        return
    close = difflib.get_close_matches(word.lower(), known, n=3)
    hint = f"; did you mean {' or '.join(close)}?" if close else "; see keypin lab list"
    raise CommandError(ExitCode.USAGE, f"no such {what}: {word!r} ({option}){hint}")
