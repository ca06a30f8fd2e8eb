"""What an edit makes of a pin file's content, or why it is refused. Pure: no text, no files.

Every change raises the version by one. None leaves a host without a pin that is accepted.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from ..errors import HostnameError, KeypinError, PinFormatError
from ..hostnames import normalise_pattern
from ..pin import Pin
from ..pinfile import HostEntry, PinEntry
from ..pinfile.fields import STARTTLS_PORTS
from ..pinset import PinSet

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping
    from datetime import datetime

    from ..pinfile import Defaults
    from ..pinset import Mode, Rule

__all__ = [
    "Change",
    "Draft",
    "EditError",
    "EditRefused",
    "add_pin",
    "describe",
    "find_host",
    "promote",
    "remove_host",
    "remove_pin",
    "retire",
    "too_few",
]

A_LABEL = "any-host"  # stands for the hosts of a pattern
IN_SERVICE = ("active", "retiring")
NEXT_STEP = {
    "planned": "it is not in service yet; to give it up: keypin remove, or --revoke if it was lost",
    "backup": "it is not in service; to give it up: keypin remove, or --revoke if it was lost",
    "retiring": "it is retiring already; once no server has it: keypin remove, or --revoke if it"
    " was lost",
}


class EditError(KeypinError, ValueError):
    """An edit that does not fit what is in the file."""


class EditRefused(EditError):
    """An edit after which clients would be locked out, or accept what they must not."""


class Draft(NamedTuple):
    """The content of a pin file that is being edited, which may have no hosts yet."""

    version: int
    defaults: Defaults
    hosts: tuple[HostEntry, ...]

    def pin_set(self) -> PinSet:
        """The rules that clients would go by."""
        rules = [host.rule(self.defaults) for host in self.hosts]
        return PinSet(rules, unlisted=self.defaults.unlisted)


class Change(NamedTuple):
    """What became of a file's content."""

    draft: Draft
    done: tuple[str, ...]
    """what was changed, a sentence each"""
    warnings: tuple[str, ...]
    """what the owner should know, and had better act on"""


# The edits.


def add_pin(
    draft: Draft,
    name: str,
    entry: PinEntry,
    *,
    expires: datetime | None = None,
    port: int | None = None,
    starttls: str | None = None,
    report: bool = False,
) -> Change:
    """Add a pin to a host, which is made if it is new.

    Args:
        draft: the content.
        name: a host pattern.
        entry: the pin, and what is known of its key.
        expires: a new expiry of the host's pins; None leaves that as it is.
        port: where tools look for the host's server; None leaves that as it is.
        starttls: the protocol in which they ask for TLS there.
        report: whether the host, which has to be new or in report mode, is in that mode.

    Raises:
        HostnameError: not a host pattern.
        EditError: the host has the pin, or another key of this name, or is enforced.
        PinFileError: fields that contradict each other.
    """
    name = normalise_pattern(name)
    old = next((host for host in draft.hosts if host.name == name), None)
    if report:
        _refuse_report(draft, name, old)
    if old is None:
        _refuse_denied(draft, name, entry)
        mode: Mode | None = "report" if report else None
        new = HostEntry(name, [entry], expires=expires, mode=mode, port=port, starttls=starttls)
        done = [f"{name}: a new host" + (", in report mode" if report else "")]
        warnings = [*_taken_over(draft, name), *_none_active(new)]
    else:
        _refuse_known(old, entry)
        new = _changed(old, pins=(*old.pins, entry), expires=expires or old.expires)
        done, warnings = [], []
        if old.port is None and old.starttls is None:
            new = _changed(new, port=port, starttls=starttls)
        elif (port, starttls) not in ((None, None), (old.port, old.starttls)):
            warnings.append(f"tools go on looking for {name} {_place(old)}, as its entry says")
    if (new.port, new.starttls) != ((None, None) if old is None else (old.port, old.starttls)):
        done.append(f"{name}: tools look for it {_place(new)}; its pins hold at every port")
    done.append(f"{name}: added {describe(entry)}")
    if old is not None and new.expires != old.expires:
        done.append(f"{name}: its pins now expire on {new.expires:%Y-%m-%d %H:%M} UTC")
    return _change(draft, new, done, [*warnings, *too_few(new)])


def remove_pin(
    draft: Draft, name: str, which: str, *, revoked: bool = False, in_service: bool = False
) -> Change:
    """Remove a pin of a host.

    Args:
        draft: the content.
        name: a host of the file.
        which: the name of its key, or the pin.
        revoked: whether it may be one that is revoked or denied, and would be refused no more.
        in_service: whether it may be the only active key, or the last in service.

    Raises:
        EditError: there is no such host or pin.
        EditRefused: no pin would be left that is accepted, or `revoked` or `in_service` is needed.
    """
    host = find_host(draft, name)
    denied = _denied(host, which)
    warnings: list[str] = []
    if denied is None:
        entry = find_pin(host, which)
        new = _changed_or_refused(host, [pin for pin in host.pins if pin is not entry])
        shown, refusing = describe(entry), entry.role == "revoked"
        if entry.role in IN_SERVICE:
            warnings = list(_none_active(new))
            if not in_service and _is_last_in_service(entry, new):
                only = "only active key" if entry.role == "active" else "last key in service"
                raise EditRefused(
                    f"{shown} is the {only} of {host.name}: without it, clients"
                    " refuse the servers that show it. Put another into service first (keypin"
                    " promote), or add the one that the servers show (keypin add). If no server"
                    " has this one any more: --in-service"
                )
    else:
        new = _changed(host, deny=tuple(pin for pin in host.deny if pin != denied))
        shown, refusing = f"{denied} (denied)", True
    if refusing and not revoked:
        raise EditRefused(
            f"{shown} must never be accepted for {host.name}. Without its entry, a server that"
            " shows this key is accepted wherever another key of its chain is pinned. If that is"
            " meant: --revoked"
        )
    return _change(draft, new, [f"{host.name}: removed {shown}"], [*too_few(new), *warnings])


def remove_host(draft: Draft, name: str) -> Change:
    """Remove a host with all its pins.

    Raises:
        EditError: there is no such host.
        EditRefused: it is the only one.
    """
    host = find_host(draft, name)
    hosts = tuple(each for each in draft.hosts if each is not host)
    if not hosts:
        raise EditRefused(f"{host.name} is the only host: without it the file would pin nothing")
    new = draft._replace(version=draft.version + 1, hosts=hosts)
    warnings = [
        f"{host.name} is no longer pinned by an entry of its own: {decider}"
        for decider in _deciders(new, host.name)
    ]
    if not host.exclude and (refused := _refused(host)):
        warnings.append(f"with it went what is never accepted there: {_listed(refused)}")
    return Change(new, (f"{host.name}: removed",), tuple(warnings))


def promote(
    draft: Draft,
    name: str,
    which: str,
    *,
    now: datetime,
    replaces: Collection[str] = (),
    beside: bool = False,
    against: Mapping[str, PinSet] | None = None,
) -> Change:
    """Put a planned or backup key into service; the one that was active is retiring then.

    Args:
        draft: the content.
        name: a host of the file.
        which: the name of the key, or its pin.
        now: with a time zone.
        replaces: which active keys it takes the place of, where there are several.
        beside: it replaces none.
        against: what clients still carry, by name: each must accept the key already.

    Raises:
        EditError: there is no such host or key, or it is not planned or backup.
        EditRefused: it is too early, or clients would refuse the key.
    """
    host = find_host(draft, name)
    entry = find_pin(host, which)
    if entry.role not in ("planned", "backup"):
        raise EditError(
            f"{describe(entry)} of {host.name} cannot be promoted: a key goes into service from"
            " planned or backup"
        )
    if entry.not_before is not None and entry.not_before > now:
        raise EditRefused(
            f"{describe(entry)} of {host.name} is not to go into service before"
            f" {entry.not_before:%Y-%m-%d %H:%M} UTC (not_before). If the plan has changed, change"
            " that in the file first"
        )
    for file, pins in (against or {}).items():
        for problem in _not_carried(draft, host.name, entry.pin, pins):
            raise EditRefused(
                f"clients that carry {file} would be locked out: {problem}. Wait until they have"
                " the new pins"
            )
    retiring = _replaced(host, entry, replaces, beside)
    roles = {entry.pin: "active", **{each.pin: "retiring" for each in retiring}}
    new = _with_roles(host, roles)
    done = [f"{host.name}: {describe(entry)} is now active"]
    done += [f"{host.name}: {describe(each)} is now retiring" for each in retiring]
    warnings = list(too_few(new))
    if not against:
        warnings.append(
            "a pin file does not tell when a pin was published, nor which clients have it: those"
            f" that do not have {entry.pin} yet will refuse the new key. --older-pins FILE tests"
            " the pin files that clients still carry"
        )
    if not any(each.role == "backup" for each in new.pins):
        warnings.append(f"{host.name} has no backup left; make one: keypin backup-key")
    return _change(draft, new, done, warnings)


def retire(draft: Draft, name: str, which: str, *, revoke: bool = False) -> Change:
    """Take an active key out of service; or revoke a key of any role, so that it is refused.

    Raises:
        EditError: there is no such host or key, or it is not active.
        EditRefused: no pin would be left that is accepted.
    """
    host = find_host(draft, name)
    entry = find_pin(host, which)
    if entry.role == "revoked":
        raise EditError(f"{describe(entry)} of {host.name} is revoked already")
    if entry.role != "active" and not revoke:
        raise EditError(f"{describe(entry)} of {host.name}: {NEXT_STEP[entry.role]}")
    role = "revoked" if revoke else "retiring"
    new = _with_roles(host, {entry.pin: role})
    done = [f"{host.name}: {describe(entry)} is now {role}"]
    warnings = [*too_few(new), *(_none_active(new) if entry.role == "active" else ())]
    if revoke:
        warnings += [
            f"{other.name} still accepts this key; if it was lost:"
            f" keypin retire {other.name} {entry.pin} --revoke"
            for other in draft.hosts
            if other is not host and entry.pin in _accepted(other)
        ]
    return _change(draft, new, done, warnings)


# Finding what is meant.


def find_host(draft: Draft, name: str) -> HostEntry:
    """The host of this name, which has pins.

    Raises:
        EditError: there is none, or it is excluded from pinning.
    """
    name = normalise_pattern(name)
    for host in draft.hosts:
        if host.name == name:
            return host
    deciders = f": {'; '.join(_deciders(draft, name))}" if draft.hosts else ""
    raise EditError(f"no entry for {name} in the file{deciders}")


def _refuse_denied(draft: Draft, name: str, entry: PinEntry) -> None:
    """Refuse a key that was never to be accepted for the hosts of a name, by a wider entry.

    Raises:
        EditRefused: it is such a key.
    """
    for rule in _rules(draft.pin_set(), name):
        if rule is not None and entry.role != "revoked" and entry.pin in rule.deny:
            raise EditRefused(
                f"{entry.pin} must never be accepted for {rule.host}, which decided on {name} until"
                " now: it was lost, or somebody who has it answers"
            )


def _refuse_report(draft: Draft, name: str, old: HostEntry | None) -> None:
    """Refuse report mode for hosts that are enforced, by their entry or a wider one, or refused.

    Raises:
        EditError: some are.
    """
    rules = [old.rule(draft.defaults)] if old else _rules(draft.pin_set(), name)
    for rule in rules:
        if rule is None and draft.defaults.unlisted == "refuse":
            raise EditError(
                f"{name} is refused, as a host in no entry is here; report mode would let all pass"
            )
        if rule is not None and not rule.exclude and rule.mode == "enforce":
            whose = "" if rule.host == name else f" by the entry for {rule.host}"
            raise EditError(f"{name} is enforced already{whose}; report mode would be less safe")


def _place(host: HostEntry) -> str:
    port = host.port or STARTTLS_PORTS.get(host.starttls or "")
    return f"at port {port}" + (f", by {host.starttls}" if host.starttls else "")


def find_pin(host: HostEntry, which: str) -> PinEntry:
    """The pin of a host by its text or by the name of its key.

    Raises:
        EditError: there is none.
    """
    pin = _as_pin(which)
    for entry in host.pins:
        if entry.pin == pin or entry.key == which:
            return entry
    there = _listed(map(describe, host.pins)) if host.pins else "none, it is excluded"
    raise EditError(f"no key {which!r} of {host.name}; there is: {there}")


def describe(entry: PinEntry) -> str:
    """A pin in a sentence: its role, and its key's name or itself."""
    return f"{entry.key or entry.pin} ({entry.role})"


def _as_pin(text: str) -> Pin | None:
    try:
        return Pin(text)
    except PinFormatError:
        return None


def _denied(host: HostEntry, which: str) -> Pin | None:
    pin = _as_pin(which)
    return pin if pin in host.deny else None


def _replaced(
    host: HostEntry, entry: PinEntry, replaces: Collection[str], beside: bool
) -> list[PinEntry]:
    active = [each for each in host.pins if each.role == "active"]
    if beside:
        return []
    if replaces:
        chosen = [find_pin(host, which) for which in replaces]
        for each in chosen:
            if each.role != "active":
                raise EditError(f"{describe(each)} of {host.name} is not active: nothing to retire")
        return chosen
    if len(active) > 1:
        raise EditError(
            f"{host.name} has several active keys: {_listed(map(describe, active))}. Which does"
            f" {describe(entry)} replace? --replaces KEY for each, or --beside for none"
        )
    return active


# What is known of the clients.


def _taken_over(draft: Draft, name: str) -> Iterator[str]:
    """What a new entry takes from wider ones, of which it inherits nothing."""
    for rule in _rules(draft.pin_set(), name):
        if rule is None:
            continue
        if rule.exclude:
            yield f"until now {rule.host} excluded {name} from pinning"
        else:
            denied = " and its denied keys" if rule.deny else ""
            yield (
                f"until now {rule.host} decided on {name}. An entry inherits nothing: its"
                f" {len(rule.pins)} pins{denied} no longer hold there, unless they are added"
            )


def _deciders(draft: Draft, name: str) -> Iterator[str]:
    for rule in _rules(draft.pin_set(), name):
        if rule is not None and rule.exclude:
            yield f"{rule.host} excludes it from pinning"
        elif rule is not None:
            yield f"{rule.host} decides on it"
        elif draft.defaults.unlisted == "refuse":
            yield "its connections are refused, like those to every unlisted host"
        else:
            yield "it gets ordinary TLS, like every unlisted host"


def _not_carried(draft: Draft, name: str, pin: Pin, old: PinSet) -> Iterator[str]:
    """Why clients with an old pin set would not accept a key for the hosts of a name."""
    here = {host.name for host in draft.hosts}
    covering = PinSet({name: [pin]})
    below = [
        rule
        for rule in old.rules
        if rule.host is not None
        and rule.host not in here
        and any(found is not None for found in _rules(covering, rule.host))
    ]
    for rule in (*_rules(old, name), *below):
        if rule is None:
            if old.unlisted == "refuse":
                yield f"there is no entry for {name}, and unlisted hosts are refused"
        elif not rule.exclude and pin not in rule.pins:
            yield f"the entry for {rule.host} does not have {pin}"


def _rules(pins: PinSet, name: str) -> list[Rule | None]:
    """The rules that decide on the hosts of a name; None for hosts in no rule."""
    stars, dot, domain = name.rpartition("*.")
    hosts = [name]
    if dot:
        hosts = [f"{A_LABEL}.{domain}"]
        if stars:
            hosts += [domain, f"{A_LABEL}.{A_LABEL}.{domain}"]
    found: list[Rule | None] = []
    for host in hosts:
        with suppress(HostnameError):  # too long
            rule = pins.rule_for(host)
            if rule not in found:
                found.append(rule)
    return found


# What is left.


def _refuse_known(host: HostEntry, entry: PinEntry) -> None:
    if host.exclude:
        raise EditError(
            f"{host.name} is excluded from pinning; to pin it, remove that first: keypin remove"
            f" {host.name}"
        )
    if entry.pin in host.deny:
        raise EditRefused(f"{entry.pin} is denied for {host.name}")
    for each in host.pins:
        if each.pin == entry.pin:
            how = "" if each.role == "revoked" else "; to change its role: keypin promote, retire"
            raise EditError(f"{host.name} has this pin already: {describe(each)}{how}")
        if each.key is not None and each.key == entry.key:
            raise EditError(f"{host.name} has another key of this name: {each.pin}")


def _changed_or_refused(host: HostEntry, pins: Iterable[PinEntry]) -> HostEntry:
    pins = tuple(pins)
    if all(entry.role == "revoked" for entry in pins):
        raise EditRefused(
            f"{host.name} would have no pin left that is accepted: add another key's first"
            " (keypin add, keypin backup-key)"
        )
    return _changed(host, pins=pins)


def _with_roles(host: HostEntry, roles: Mapping[Pin, str]) -> HostEntry:
    return _changed_or_refused(
        host,
        [
            entry
            if entry.pin not in roles
            else PinEntry(**{**entry._values(), "role": roles[entry.pin]})  # type: ignore[arg-type]
            for entry in host.pins
        ],
    )


def _changed(host: HostEntry, **fields: object) -> HostEntry:
    return HostEntry(**{**host._values(), **fields})  # type: ignore[arg-type]


def _change(draft: Draft, host: HostEntry, done: Iterable[str], warnings: Iterable[str]) -> Change:
    hosts = [host if each.name == host.name else each for each in draft.hosts]
    if host not in hosts:
        hosts.append(host)
    new = draft._replace(version=draft.version + 1, hosts=tuple(hosts))
    return Change(new, tuple(done), tuple(warnings))


def _accepted(host: HostEntry) -> list[Pin]:
    return [entry.pin for entry in host.pins if entry.role != "revoked"]


def _refused(host: HostEntry) -> list[str]:
    revoked = [describe(entry) for entry in host.pins if entry.role == "revoked"]
    return [*revoked, *map(str, host.deny)]


def _is_last_in_service(entry: PinEntry, left: HostEntry) -> bool:
    """Whether servers may show a key, and no other of its kind is left."""
    roles = {each.role for each in left.pins}
    return entry.role not in roles if entry.role == "active" else not roles & set(IN_SERVICE)


def too_few(host: HostEntry) -> Iterator[str]:
    """Warn of a host without anything to fall back on."""
    accepted = _accepted(host)
    if len(accepted) == 1:
        yield (
            f"{host.name} accepts one key only: {accepted[0]}. If it is lost, no client gets in;"
            " add a backup: keypin backup-key"
        )


def _none_active(host: HostEntry) -> Iterator[str]:
    roles = {entry.role for entry in host.pins}
    if not roles.intersection(IN_SERVICE):
        yield (
            f"{host.name} has no key in service (active or retiring): if its servers show another"
            " key, clients with this file refuse them. Add that key too (keypin add), or let the"
            " servers use one of these first (keypin promote)"
        )
    elif "active" not in roles:
        yield f"{host.name} has no active key: keypin promote"


def _listed(texts: Iterable[str]) -> str:
    return ", ".join(texts)
