"""Which scenarios of the catalogue a command is about."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ..lab import KEY_KINDS, scenarios
from .exit_codes import CommandError, ExitCode

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from ..lab import Case, KeyKind, Scenario
    from ..lab.scenario import Protocol as ProtocolName

__all__ = [
    "Group",
    "KeyName",
    "Keys",
    "Named",
    "Protocol",
    "Skipped",
    "Tls",
    "WithoutKeys",
    "cases_of",
    "kinds_of",
    "refuse_unknown_claims",
    "select",
]

KeyName = Literal["rsa", "ecdsa", "rsa-2048", "rsa-pss", "p-256", "p-384", "ed25519"]
KEYS: dict[KeyName, tuple[KeyKind, ...]] = {
    "rsa": ("rsa-2048", "rsa-pss"),
    "ecdsa": ("p-256", "p-384"),
    **{kind: (kind,) for kind in KEY_KINDS},
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
Keys = Annotated[
    list[str] | None,
    typer.Option(
        "--key",
        metavar="KIND",
        help=f"Only with servers' keys of this kind: {', '.join(KEYS)}. Repeatable.",
    ),
]
WithoutKeys = Annotated[
    list[str] | None,
    typer.Option("--without-key", metavar="KIND", help="Not with keys of this kind. Repeatable."),
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


def kinds_of(
    keys: Sequence[str] | None = None, without: Sequence[str] | None = None
) -> list[KeyKind]:
    """The kinds of key that options name.

    Raises:
        CommandError: there is no such kind, or none left.
    """
    for option, words in (("--key", keys), ("--without-key", without)):
        for word in words or ():
            if word not in KEYS:
                raise CommandError(
                    ExitCode.USAGE,
                    f"no such kind of key: {word!r} ({option}); there are {', '.join(KEYS)}",
                )
    left = [kind for kind in KEY_KINDS if not keys or _is_any_of(kind, keys)]
    left = [kind for kind in left if not _is_any_of(kind, without or ())]
    if not left:
        raise CommandError(
            ExitCode.USAGE, "--key and --without-key leave no kind of key to play with"
        )
    return left


def _is_any_of(kind: KeyKind, words: Sequence[str]) -> bool:
    return any(kind in kinds for name, kinds in KEYS.items() if name in words)


def cases_of(
    chosen: Sequence[Scenario], tls: Literal["1.2", "1.3"] | None, kinds: Collection[KeyKind]
) -> list[Case]:
    """The cases of scenarios in the TLS version that options name, with these kinds of key.

    Raises:
        CommandError: there are none.
    """
    found = [case for scenario in chosen for case in scenario.cases(tls) if case.key in kinds]
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
        _refuse_unknown("claim", word, known, "--without-claim")


def _refuse_unknown(what: str, word: str, known: Collection[str], option: str) -> None:
    if word in known:
        return
    close = difflib.get_close_matches(word.lower(), known, n=3)
    hint = f"; did you mean {' or '.join(close)}?" if close else "; see keypin lab list"
    raise CommandError(ExitCode.USAGE, f"no such {what}: {word!r} ({option}){hint}")
