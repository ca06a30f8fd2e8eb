"""Every loss by its name, and the comparison of two meanings that finds most of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ..errors import HostnameError
from ..hostnames import normalise
from ._conversion import Direction, Loss

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime

    from ..pin import Pin
    from ..pinset import PinSet, Rule

__all__ = ["LOSSES", "LossGroup", "differences", "group_losses", "loss"]

LESS_SAFE, STRICTER, INFORMATION = Direction
FEW = 3

# {target} is what reads the result
LOSSES = {
    # found by comparing what the pin file and the target do
    "host-unpinned": (LESS_SAFE, "{target} does not pin {where}"),
    "other-pins-accepted": (LESS_SAFE, "{target} accepts other keys here, too: {pins}"),
    "leaf-becomes-chain": (
        LESS_SAFE,
        '{target} takes a pinned key anywhere in the chain, match = "leaf" cannot be said; that'
        " makes no difference as long as none of the pinned keys is a CA's",
    ),
    "deny-not-carried": (
        LESS_SAFE,
        "{target} has no denied keys: a chain with one of these is accepted if a pinned key is in"
        " it, too: {pins}",
    ),
    "mismatch-passes": (LESS_SAFE, "{target} lets mismatches pass here, and tells at most"),
    "fails-open": (
        LESS_SAFE,
        "{target} stops pinning on {target_date}, the pin file {source_date}",
    ),
    "unlisted-allowed": (
        LESS_SAFE,
        'unlisted = "refuse" cannot be said: {target} {how}',
    ),
    "pins-missing": (STRICTER, "{target} does not accept these keys here: {pins}"),
    "leaf-only": (
        STRICTER,
        "{target} compares the server's own key only: a pin of a CA's key matches no server",
    ),
    "report-enforced": (STRICTER, "{target} refuses on a mismatch, it has no report mode"),
    "fails-open-later": (
        STRICTER,
        "{target} {target_date}, the pin file lets mismatches pass from {source_date} on",
    ),
    "newly-pinned": (STRICTER, "{target} pins {where}, the pin file does not"),
    "exclusion-not-carried": (STRICTER, "{target} pins {where}, which the pin file excludes"),
    "expiry-left-out": (
        INFORMATION,
        "the expiry is not written, because {target} would stop pinning on that day or has none;"
        " the pin file goes on enforcing after it. Nothing will remind of {source_date}",
    ),
    # of exports
    "notes-not-carried": (
        INFORMATION,
        "roles, names and dates of keys, and whose authorities' they are, are not written: they"
        " stay in the pin file only",
    ),
    "client-certificate-shown": (
        INFORMATION,
        "{target} compares keys after the handshake: a server without a pinned key gets no"
        " request, but it sees the client certificate where one is used",
    ),
    "certificate-missing": (
        STRICTER,
        "{target} needs certificates, and no file in --certificates has the key of: {pins}",
    ),
    "one-list-for-all-hosts": (
        INFORMATION,
        "{target} has one list of certificates, which holds for every host",
    ),
    "overlap-undocumented": (
        LESS_SAFE,
        "{target} has an entry for {where}, too, with other pins, and which one decides is"
        " documented nowhere",
    ),
    "local-anchors-exempt": (
        LESS_SAFE,
        "{target} does not enforce pins on chains that end in a CA added on the device",
    ),
    "pins-lapse": (LESS_SAFE, "{target} stops enforcing 70 days after the list's timestamp"),
    "trust-on-first-use": (
        LESS_SAFE,
        "{target} learns pins from its first connection, which nothing pins, and forgets them"
        " {days} days after the last one",
    ),
    "ca-not-checked": (
        LESS_SAFE,
        "{target} does not check the CA where a record matches, and for 3 1 1 neither dates nor"
        " names: the pin, secured by DNSSEC, replaces that check where keypin adds to it",
    ),
    "certificate-becomes-anchor": (
        LESS_SAFE,
        "on Android, {target} takes the files as its only CAs: what is above them in the chain"
        " is not checked, where keypin checks the chain to a CA of the system as well",
    ),
    "whole-certificate": (
        STRICTER,
        "on iOS, {target} compares whole certificates: one renewed with the same key is refused",
    ),
    "usage-unknown": (
        INFORMATION,
        "a pin file does not tell a server's key from a CA's, and no file in --certificates does"
        " for these: written for a server's own key ({how}): {pins}",
    ),
    "port-443-only": (
        INFORMATION,
        "records are written for one port of TCP for each host: the pin file's, else 443",
    ),
    "port-left-out": (
        INFORMATION,
        "{target} names no port, and pins hold at every port there, as in the pin file: left out is"
        " where its tools look, port {port}",
    ),
    "needs-okhttp-4.3": (
        INFORMATION,
        '{target} knows "**." from version 4.3 on; the code checks that when it starts, and throws'
        " otherwise",
    ),
    "expires-at-local-midnight": (
        INFORMATION,
        "{target} stops pinning when {date} begins on the device, which is up to 26 hours before it"
        " has begun everywhere, as the pin file has it",
    ),
    "system-enforces": (
        STRICTER,
        "Android enforces the same file for connections that do not go through {target}, report"
        " mode or not",
    ),
    # of imports
    "expiry-fails-open": (
        INFORMATION,
        'the source stops pinning when it expires: carried over as on_expiry = "allow"; "enforce"'
        " would be safer",
    ),
    "expiry-time-zone": (
        STRICTER,
        "the source expires at midnight in the device's time zone: taken as the last of these"
        " midnights, 12:00 UTC",
    ),
    "debug-overrides-not-carried": (INFORMATION, "settings for debug builds are left out"),
    "cleartext-not-carried": (
        INFORMATION,
        "settings for traffic without TLS are left out: pins say nothing about it",
    ),
    "trust-anchors-not-carried": (
        INFORMATION,
        "trust anchors are left out: give them where the client is made (cafile)",
    ),
    "anchor-overrides-pins": (
        STRICTER,
        "the source does not compare keys in chains that end in a CA of {sources}, for these have"
        " overridePins: a rule exempts none",
    ),
    "attribute-without-meaning": (
        INFORMATION,
        "the source passes over attributes that mean nothing where they stand: {names}",
    ),
    "enforcement-not-carried": (
        LESS_SAFE,
        "{target} only reports here, but from Android 7 on the system itself enforces the same"
        " <pin-set> for all connections that do not go through {target}: taken as report mode",
    ),
    "name-unknown-to-target": (
        INFORMATION,
        "{target} does not know what this name ends in, or takes it for that of a registry, and"
        " throws when the app starts: {how}",
    ),
    "trust-anchors-restricted": (
        LESS_SAFE,
        "the source trusts some CAs only, which a pin file cannot say: any CA that the client"
        " trusts will do, with a pinned key in the chain",
    ),
    "transparency-not-carried": (
        LESS_SAFE,
        "the source demands Certificate Transparency, which a pin file cannot say",
    ),
    "report-uri-not-carried": (
        INFORMATION,
        "addresses for reports are left out: a pin file has none",
    ),
    "ca-or-leaf": (
        INFORMATION,
        "the source looks for these keys among the CAs of the chain, keypin in the whole chain;"
        " only who owns the CA's key could show it as a server's",
    ),
    "ca-list-not-carried": (
        LESS_SAFE,
        "the source demands a pinned server's key and a pinned CA's, a rule one of its pins: taken"
        " are the servers' keys",
    ),
    "pinners-differ": (
        LESS_SAFE,
        "the source has several pinners with different pins here: any of their pins will do",
    ),
    "pinners-together": (
        STRICTER,
        "the source has several pinners, each for some of the hosts: a pin file pins all of them,"
        " for every client",
    ),
    "max-age-not-carried": (INFORMATION, "the pins do not lapse as the source's max-age has it"),
    "ca-checked": (
        STRICTER,
        "the source does without a CA of the system: keypin checks the whole chain as well, up to"
        " a CA that the client trusts (cafile)",
    ),
    "top-level-domain-left-out": (
        LESS_SAFE,
        "the source pins a whole top-level domain, for which a pin file has no rule: left out",
    ),
    "single-pin-ignored": (
        STRICTER,
        "browsers ignored a header with a single pin, because RFC 7469 (section 2.5) wants a"
        " backup: they pinned nothing, a pin file pins the key",
    ),
    "ports-not-carried": (
        STRICTER,
        "the source has keys for {services} only: a rule holds for every port of the host, over"
        " TCP",
    ),
    "keys-compared": (
        INFORMATION,
        "the source has certificates, a rule their keys: a certificate renewed with the same key"
        " is accepted, too",
    ),
}


def loss(name: str, host: str | None = None, **values: object) -> Loss:
    """Make a loss of the table.

    Args:
        name: its name.
        host: whose rule it is; None for the whole file.
        values: what its text names; several pins or places are joined.
    """
    direction, text = LOSSES[name]
    return Loss(name, direction, host, text.format_map({k: _said(v) for k, v in values.items()}))


def _said(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


class LossGroup(NamedTuple):
    """All losses of one name.

    Attributes:
        name: theirs.
        direction: theirs.
        losses: in their order.
    """

    name: str
    direction: Direction
    losses: tuple[Loss, ...]


def group_losses(losses: Iterable[Loss]) -> list[LossGroup]:
    """Put losses of the same name together, each group where its first one stood."""
    found: dict[tuple[str, Direction], list[Loss]] = {}
    for each in losses:
        found.setdefault((each.name, each.direction), []).append(each)
    return [LossGroup(*kind, tuple(some)) for kind, some in found.items()]


class _Witness(NamedTuple):
    """A host that stands for all those that no rule tells from it."""

    host: str
    words: str
    domain: str


def differences(source: PinSet, target: PinSet, title: str) -> list[Loss]:
    """Compare what two sets of rules do, host by host, and tell what the second does differently.

    Rules tell hosts apart by nothing but the longest name that they end in and by how many labels
    they have before it (none, one, more), so that few hosts stand for all.

    Args:
        source: the rules of the pin file.
        target: the rules that the target goes by.
        title: the target, in words.
    """
    found: dict[tuple[str, str | None, tuple[tuple[str, object], ...]], list[_Witness]] = {}
    for witness in _witnesses([*source.rules, *target.rules]):
        rule, theirs = source.rule_for(witness.host), target.rule_for(witness.host)
        for name, values in _at_one_host(source, target, rule, theirs):
            host = None if rule is None else rule.host
            key = (name, host, tuple(values.items()))
            found.setdefault(key, []).append(witness)
    losses = (
        loss(name, host, target=title, where=[each.words for each in where], **dict(values))
        for (name, host, values), witnesses in found.items()
        for where in _of_few_domains(witnesses)
    )
    return list(dict.fromkeys(losses))


def _of_few_domains(witnesses: Sequence[_Witness]) -> Iterable[list[_Witness]]:
    """Put hosts of few domains together; of many, whose names no text holds, each by itself."""
    by_domain: dict[str, list[_Witness]] = {}
    for each in witnesses:
        by_domain.setdefault(each.domain, []).append(each)
    return [list(witnesses)] if len(by_domain) <= FEW else by_domain.values()


def _witnesses(rules: Iterable[Rule]) -> Iterator[_Witness]:
    bases = dict.fromkeys(rule.host.rpartition("*.")[2] for rule in rules if rule.host)
    taken = {base.partition(".")[0] for base in bases}
    label = "x"
    while label in taken:
        label += "x"
    for base in bases:
        for host, words in (
            (base, base),
            (f"{label}.{base}", f"hosts one label below {base}"),
            (f"{label}.{label}.{base}", f"hosts two or more labels below {base}"),
        ):
            try:
                yield _Witness(normalise(host), words, base)
            except HostnameError:
                break  # nothing is below an IP address, or a name of full length
    yield _Witness(f"{label}.{label}.invalid", "every other host", "")


Found = tuple[str, dict[str, object]]


def _at_one_host(
    source: PinSet, target: PinSet, rule: Rule | None, theirs: Rule | None
) -> Iterator[Found]:
    pinned = None if rule is None or rule.exclude else rule
    theirs_pinned = None if theirs is None or theirs.exclude else theirs
    if rule is None and source.unlisted == "refuse":
        if theirs_pinned:
            yield "unlisted-allowed", {"how": "accepts hosts in no rule with a key of others"}
        elif theirs or target.unlisted == "allow":
            yield "unlisted-allowed", {"how": "lets hosts in no rule pass"}
    elif pinned and theirs_pinned:
        yield from _between(pinned, theirs_pinned)
    elif pinned:
        yield "host-unpinned", {}
    elif theirs_pinned:
        yield ("newly-pinned" if rule is None else "exclusion-not-carried"), {}


def _between(rule: Rule, theirs: Rule) -> Iterator[Found]:
    if more := _without(theirs.pins, rule.pins):
        yield "other-pins-accepted", {"pins": more}
    if fewer := _without(rule.pins, theirs.pins):
        yield "pins-missing", {"pins": fewer}
    if rule.match != theirs.match:
        yield ("leaf-becomes-chain" if theirs.match == "chain" else "leaf-only"), {}
    if denied := _without(rule.deny, theirs.deny):
        yield "deny-not-carried", {"pins": denied}
    if rule.mode != theirs.mode:
        yield ("report-enforced" if theirs.mode == "enforce" else "mismatch-passes"), {}
    yield from _expiry(rule, theirs)


def _expiry(rule: Rule, theirs: Rule) -> Iterator[Found]:
    ours, their = _fails_open(rule), _fails_open(theirs)
    if their is not None and (ours is None or their < ours):
        never = "never does" if ours is None else f"on {_date(ours)}"
        yield "fails-open", {"target_date": _date(their), "source_date": never}
    elif ours is not None and their != ours:
        later = "never does" if their is None else f"lets them pass from {_date(their)} on"
        yield "fails-open-later", {"target_date": later, "source_date": _date(ours)}
    elif rule.expires is not None and theirs.expires is None:
        yield "expiry-left-out", {"source_date": _date(rule.expires)}


def _fails_open(rule: Rule) -> datetime | None:
    return rule.expires if rule.on_expiry == "allow" else None


def _date(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _without(pins: Iterable[Pin], others: Iterable[Pin]) -> tuple[Pin, ...]:
    known = set(others)
    return tuple(pin for pin in pins if pin not in known)
