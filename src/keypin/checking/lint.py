"""What is questionable about a pin file, without a look at any server. Pure: no I/O, no clock.

`PinFile` refuses what is wrong; here is what is allowed and goes wrong in the field.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from .findings import Finding, Severity
from .judgement import accepted_pins, called
from .ownership import PROVIDERS, provider_of, registry_suffix, shared_suffix

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from datetime import datetime, timedelta

    from ..pin import Pin
    from ..pinfile import HostEntry, PinFile
    from ..pinset import Rule

__all__ = ["Code", "lint"]


class Code(StrEnum):
    """What can be found out from the file alone."""

    SOUND = "sound"
    FEW_PINS = "few-pins"
    NO_BACKUP = "no-backup"
    PINS_EXPIRE = "pins-expire"
    PINS_EXPIRED = "pins-expired"
    REVOKED_ELSEWHERE = "revoked-elsewhere"
    RULE_SHADOWED = "rule-shadowed"
    RULE_REDUNDANT = "rule-redundant"
    WILDCARD_TOO_WIDE = "wildcard-too-wide"
    HOST_NOT_YOURS = "host-not-yours"
    PIN_WITHOUT_EFFECT = "pin-without-effect"
    AUTHORITIES_ONLY = "authorities-only"


def _nothing_seen(host: HostEntry) -> None:
    """No server was looked at."""


def lint(
    file: PinFile,
    now: datetime,
    expires_within: timedelta,
    *,
    hosts: Iterable[HostEntry] | None = None,
    seen: Callable[[HostEntry], frozenset[Pin] | None] = _nothing_seen,
) -> list[Finding]:
    """Look for what goes wrong in the field.

    Args:
        file: the pin file.
        now: a datetime with a time zone.
        expires_within: pins that expire sooner are worth a warning.
        hosts: which of its entries; all if None.
        seen: the pins of an entry that servers showed, if that is known; see `FileChecker.seen`.

    Returns:
        At least one finding for each entry that pins: `sound` where there is no other.
    """
    revoked = _revoked(file)
    by_name = {host.name: host for host in file.hosts}
    findings: list[Finding] = []
    for host in file.hosts if hosts is None else hosts:
        if host.exclude:
            continue
        found = [
            *_pins(host, seen(host)),
            *_authorities(host, file),
            *_expiry(host, file, now, expires_within),
            *_revoked_elsewhere(host, revoked),
            *_shadowing(host, file, by_name),
            *_whose(host.name),
        ]
        findings += found or [_sound(host)]
    return findings


def _pins(host: HostEntry, seen: frozenset[Pin] | None) -> Iterator[Finding]:
    accepted = accepted_pins(host)
    if len(accepted) == 1:
        yield Finding(
            Severity.WARNING,
            Code.FEW_PINS,
            host.name,
            "one pin: if its key is lost or has to be changed, every client is locked out",
            advice="Make a backup key, keep it offline, and pin it: keypin backup-key",
            pin=str(accepted[0]),
        )
        return
    spare = any(each.role in ("backup", "planned") for each in host.pins)
    # A pin that no server shows is spare, too, whatever its role.
    if not spare and (seen is None or set(accepted) <= seen):
        known = (
            "none of the pins has the role backup or planned"
            if seen is None
            else ("the keys of all pins are in service, none is spare")
        )
        yield Finding(
            Severity.WARNING,
            Code.NO_BACKUP,
            host.name,
            f"no backup: {known}",
            advice="Give a key that is kept offline the role backup, or make one:"
            " keypin backup-key",
        )


def _authorities(host: HostEntry, file: PinFile) -> Iterator[Finding]:
    """What keys that are marked as authorities' cannot do."""
    accepted = [each for each in host.pins if each.role != "revoked"]
    marked = [each for each in accepted if each.authority is not None]
    if (host.match or file.defaults.match) == "leaf":
        none_left = marked == accepted
        for each in marked:
            text = f"{called(each)} is an authority's, and with match = \"leaf\" only the server's"
            text += " own key counts"
            yield Finding(
                Severity.CRITICAL if none_left else Severity.WARNING,
                Code.PIN_WITHOUT_EFFECT,
                host.name,
                text + "; no other is pinned, so every server is refused" * none_left,
                advice="Remove it, or match the chain.",
                pin=str(each.pin),
            )
    elif all(each.authority == "other" for each in accepted):
        yield Finding(
            Severity.WARNING,
            Code.AUTHORITIES_ONLY,
            host.name,
            "only keys of certificate authorities are pinned, and none of them is the team's own:"
            " whatever these issue for the host is accepted, to whomever, and what another issues"
            " is not",
            advice="Pin a key of your own, at least as a backup: keypin backup-key. If an authority"
            ' is yours: authority = "own".',
        )


def _expiry(
    host: HostEntry, file: PinFile, now: datetime, expires_within: timedelta
) -> Iterator[Finding]:
    if host.expires is None or host.expires - now >= expires_within:
        return
    left = host.expires - now
    moment = f"{host.expires:%Y-%m-%d %H:%M} UTC"
    advice = "Publish pins with a later date."
    if left.total_seconds() > 0:
        text = f"the pins expire on {moment}, {left.days} days from now"
        yield Finding(Severity.WARNING, Code.PINS_EXPIRE, host.name, text, advice=advice)
    elif (host.on_expiry or file.defaults.on_expiry) == "allow":
        text = f"the pins expired on {moment}, so any key is accepted since (on_expiry)"
        yield Finding(Severity.CRITICAL, Code.PINS_EXPIRED, host.name, text, advice=advice)
    else:
        text = f"the pins expired on {moment}; they are still enforced"
        yield Finding(Severity.WARNING, Code.PINS_EXPIRED, host.name, text, advice=advice)


def _revoked(file: PinFile) -> Mapping[Pin, str]:
    """The pins with role revoked, and the first host of each."""
    return {
        each.pin: host.name
        for host in reversed(file.hosts)
        for each in host.pins
        if each.role == "revoked"
    }


def _revoked_elsewhere(host: HostEntry, revoked: Mapping[Pin, str]) -> Iterator[Finding]:
    for each in host.pins:
        if each.role != "revoked" and each.pin in revoked:
            yield Finding(
                Severity.CRITICAL,
                Code.REVOKED_ELSEWHERE,
                host.name,
                f"{called(each)} is accepted here and revoked for {revoked[each.pin]}: a key that"
                " is lost is lost everywhere",
                advice="Give it the role revoked here, too, or deny it there if it is not lost.",
                pin=str(each.pin),
            )


def _shadowing(
    host: HostEntry, file: PinFile, by_name: Mapping[str, HostEntry]
) -> Iterator[Finding]:
    """What gets lost because the most specific entry decides alone."""
    wider = next((by_name[name] for name in _wider(host.name) if name in by_name), None)
    if wider is None or wider.exclude:
        return
    here, there = host.rule(file.defaults), wider.rule(file.defaults)
    losses = []
    if undenied := [pin for pin in there.deny if pin not in here.deny]:
        losses.append(f"does not deny {', '.join(map(str, undenied))}")
    if (here.mode, there.mode) == ("report", "enforce"):
        losses.append("only reports")
    if (here.on_expiry, there.on_expiry) == ("allow", "enforce"):
        losses.append("allows any key after its expiry")
    if here.match == "chain" and there.match == "leaf":
        losses.append("accepts authorities' keys, too")
    if losses:
        yield Finding(
            Severity.WARNING,
            Code.RULE_SHADOWED,
            host.name,
            f"takes its hosts from {wider.name}, of which nothing is inherited, and"
            f" {'; '.join(losses)}",
            advice="Repeat here what shall hold here.",
        )
    elif _same(here, there):
        yield Finding(
            Severity.WARNING,
            Code.RULE_REDUNDANT,
            host.name,
            f"says what {wider.name} says: one of the two will be forgotten at the next change",
            advice="Remove this entry.",
        )


def _same(here: Rule, there: Rule) -> bool:
    return all(
        getattr(here, name) == getattr(there, name)
        for name in ("match", "mode", "expires", "on_expiry")
    ) and all(set(getattr(here, name)) == set(getattr(there, name)) for name in ("pins", "deny"))


def _wider(name: str) -> Iterator[str]:
    """The patterns that would decide on a pattern's hosts without it, the most specific first."""
    stars, _, domain = name.rpartition("*.")
    if name == domain:
        yield "**." + name
        yield "*." + name.partition(".")[2]
    elif not stars:  # *.domain
        yield "**." + domain
    parent = domain.partition(".")[2]
    while parent:
        yield "**." + parent
        parent = parent.partition(".")[2]


def _whose(name: str) -> Iterator[Finding]:
    domain = name.rpartition("*.")[2]
    is_pattern = name != domain
    if is_pattern and registry_suffix(domain):
        yield Finding(
            Severity.CRITICAL,
            Code.WILDCARD_TOO_WIDE,
            name,
            f"anybody can register a name below {domain}, and this is for all of them",
            advice="Name the domain below it that is yours.",
        )
        return
    shared = shared_suffix(domain)
    if shared is not None and is_pattern and shared == domain:
        yield Finding(
            Severity.WARNING,
            Code.WILDCARD_TOO_WIDE,
            name,
            f"{domain} is shared with strangers (publicsuffix.org), and this is for all of them",
            advice="Name your own hosts below it.",
        )
    elif shared is not None:
        yield Finding(
            Severity.WARNING,
            Code.HOST_NOT_YOURS,
            name,
            f"a host of the service {shared}, which changes keys and certificate authorities as it"
            " pleases",
            advice="Pin only servers whose keys you make; give the host a name of your own.",
        )
    elif (provider := provider_of(domain)) is not None:
        yield Finding(
            Severity.WARNING,
            Code.HOST_NOT_YOURS,
            name,
            f"a host of {provider}, whose provider advises against pinning: {PROVIDERS[provider]}",
            advice="Pin only servers whose keys you make.",
        )


def _sound(host: HostEntry) -> Finding:
    roles = [each.role for each in host.pins]
    counted = ", ".join(f"{roles.count(role)} {role}" for role in dict.fromkeys(roles))
    return Finding(Severity.OK, Code.SOUND, host.name, f"pins: {counted}")
