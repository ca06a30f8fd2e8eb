"""What servers showed, held against the pin file. Pure: no connections, no clock."""

from __future__ import annotations

from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from ..errors import CertificateFormatError
from ..pinset import subject_of
from .certificates import facts_of, pins_of
from .findings import Finding, Severity
from .paths import UNREADABLE, VerifierProfile, server_paths
from .unverified import Explanation, Unverified, explain

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime

    from ..inspection import Inspection
    from ..pin import Pin
    from ..pinfile import HostEntry, PinEntry, PinFile
    from ..pinset import PinSet, Verdict
    from .live import ScanResult
    from .paths import Paths, TrustStore
    from .targets import Target

__all__ = ["Code", "FileChecker", "accepted_pins", "called"]

RENEWED_OFTEN = timedelta(days=100)
"""lifetimes of certificates that a program renews, and not a person"""
OWN_PART = 4
"""a certificate that has this part of its lifetime left should have been renewed"""


class Code(StrEnum):
    """What can be found out from servers."""

    PIN_MATCHED = "pin-matched"
    PIN_MISMATCH = "pin-mismatch"
    SEVERAL_SERVERS = "several-servers"
    KEY_DENIED = "key-denied"
    NOT_VERIFIED = "not-verified"
    REFUSED_BY_SOME = "refused-by-some"
    CHAIN_ORDER = "chain-order"
    INTERMEDIATE_NOT_SENT = "intermediate-not-sent"
    NOT_PROVEN = "not-proven"
    NO_ADDRESS = "no-address"
    UNREACHABLE = "unreachable"
    NO_TLS = "no-tls"
    NO_RULE = "no-rule"
    EXCLUDED = "excluded"
    NOT_CHECKED = "not-checked"
    CERTIFICATE_EXPIRES = "certificate-expires"
    BACKUP_SERVED = "backup-served"
    PIN_NOT_SEEN = "pin-not-seen"
    PIN_WITHOUT_EFFECT = "pin-without-effect"
    INTERMEDIATE_PINNED = "intermediate-pinned"
    NOT_AN_AUTHORITY = "not-an-authority"
    ONE_AUTHORITY = "one-authority"
    LEAF_RENEWAL = "leaf-renewal"


class Seen(NamedTuple):
    """Where a pin was seen."""

    depth: int | None
    """in the verified chain, 0 for the server's own key; None: sent, but not in it"""
    subject: str
    anchor: Pin | None
    """the trust anchor above it; None if it is not in the verified chain"""
    lifetime: timedelta | None
    """of the certificate"""


@dataclass(slots=True)
class _Record:
    """What is known of one entry of the pin file after all connections."""

    answers: int = 0
    """servers that were seen, and held the key that they showed"""
    gaps: int = 0
    """servers that were not, or are not what was pinned"""
    seen: defaultdict[Pin, set[Seen]] = field(default_factory=lambda: defaultdict(set))
    intermediates: defaultdict[Pin, set[str]] = field(default_factory=lambda: defaultdict(set))
    """the subjects of authorities that a server depended on, for they stood between it and the
    trust anchor, and no other key of its chain is pinned"""


class FileChecker:
    """Says of each server what it means, and at the end of each entry what all of them mean.

    Args:
        file: the pin file.
        now: a datetime with a time zone.
        expires_within: certificates that expire sooner are worth a warning.
        store: whom the clients trust; None: what does not verify is not explained, and nothing is
            said of other versions of Python.
        strict_x509: what the clients were told; see `Pinner.create_context`.
    """

    def __init__(
        self,
        file: PinFile,
        now: datetime,
        expires_within: timedelta,
        store: TrustStore | None = None,
        strict_x509: bool | None = None,
    ) -> None:
        self.file = file
        self.pins: PinSet = file.pin_set()
        self._now = now
        self._soon = expires_within
        self._store = store
        self._strict_x509 = strict_x509
        self._entries = {host.name: host for host in file.hosts}
        self._records: defaultdict[str, _Record] = defaultdict(_Record)
        self._certificates: set[tuple[str, bytes]] = set()
        # many hosts may have one certificate
        self._paths: dict[
            tuple[tuple[bytes, ...], str, bool | None], dict[VerifierProfile, Paths]
        ] = {}

    def seen(self, entry: HostEntry) -> frozenset[Pin] | None:
        """The pins of an entry that servers showed; None if no server was seen for it."""
        record = self._records.get(entry.name)
        return frozenset(record.seen) if record and record.answers else None

    def entry_of(self, host: str) -> HostEntry | None:
        """The entry of the file that decides on a host."""
        rule = self.pins.rule_for(host)
        return None if rule is None or rule.host is None else self._entries[rule.host]

    def judge(self, result: ScanResult) -> list[Finding]:
        """What one handshake means."""
        target = result.target
        entry = self.entry_of(target.host)
        if result.inspection is None:
            return [self._missing(result, entry)]
        findings = [self._verdict(result, result.inspection)]
        if result.inspection.is_verified:
            findings += self._on_other_pythons(result, result.inspection)
            findings += _badly_sent(result, result.inspection)
            findings += self._expiries(result, result.inspection)
            if entry is not None and result.inspection.broken_off is None:
                findings += self._backups(result, result.inspection, entry)
        return findings

    def compare(self, results: Sequence[ScanResult]) -> list[Finding]:
        """What it means that an address showed several things, one after the other."""
        findings = []
        for key in dict.fromkeys(each.key for each in results):
            alike = [each for each in results if each.key == key and each.inspection is not None]
            if len(alike) > 1:
                findings.append(_several(alike))
        return findings

    def summing_up(self, *, whole_file: bool) -> list[Finding]:
        """What all that was seen means for each entry; to be asked at the end.

        Args:
            whole_file: also say which entries no server was looked at for.
        """
        findings: list[Finding] = []
        for entry in self.file.hosts:
            if entry.exclude:
                continue
            record = self._records.get(entry.name)
            if record is not None and record.answers:
                findings += self._of_entry(entry, record)
            elif record is None and whole_file:
                findings.append(_not_checked(entry))
        return findings

    def unnecessary(self, target: Target) -> Finding | None:
        """Why a server need not be looked at; None if it has to be."""
        entry = self.entry_of(target.host)
        if entry is not None and entry.exclude:
            text = "excluded from pinning by the file, so not checked"
            return Finding(Severity.OK, Code.EXCLUDED, target.host, text)
        if entry is None and self.file.defaults.unlisted == "refuse":
            text = 'in no entry of the file, and unlisted = "refuse": clients refuse it'
            return Finding(Severity.CRITICAL, Code.NO_RULE, target.host, text)
        if entry is None:
            text = "in no entry of the file: clients talk to it unpinned"
            return Finding(
                Severity.CRITICAL,
                Code.NO_RULE,
                target.host,
                text,
                advice="Add it to the file, or leave it out of the check.",
            )
        return None

    def _missing(self, result: ScanResult, entry: HostEntry | None) -> Finding:
        target = result.target
        error = result.error or ""
        if result.failure == "no-address" and target.implied:
            # the domain of a pattern need not be a server; nobody said that it is one
            text = f"{error}, so not checked; hosts below it are named by --extra-host"
            return Finding(Severity.OK, Code.NO_ADDRESS, target.host, text, result.where)
        if entry is not None:
            self._records[entry.name].gaps += 1
        code = {"no-address": Code.NO_ADDRESS, "no-tls": Code.NO_TLS}.get(
            result.failure or "", Code.UNREACHABLE
        )
        return Finding(
            Severity.UNKNOWN,
            code,
            target.host,
            f"nothing could be found out: {error}",
            result.where,
        )

    def _verdict(self, result: ScanResult, inspection: Inspection) -> Finding:
        host, where = result.target.host, result.where
        entry = self.entry_of(host)
        record = _Record() if entry is None else self._records[entry.name]
        if not inspection.is_verified:
            record.gaps += 1
            return self._not_verified(result, inspection)
        verdict = self.pins.check(host, inspection.verified, now=self._now)
        if verdict.pin is None or inspection.broken_off is not None:
            record.gaps += 1
        if entry is not None and inspection.broken_off is None:
            _note(record, entry, inspection)
        if verdict.pin is None:
            return _mismatch(verdict, where)
        text = f"{_name_of(verdict.pin, entry)} matched at depth {verdict.depth}"
        text += f", {_place(verdict.depth, subject_of(inspection.verified[verdict.depth or 0]))}"
        pin = str(verdict.pin)
        if inspection.broken_off is not None:
            text += f", but the server broke off ({inspection.broken_off}) before it had proved"
            text += " that it holds the key"
            advice = "If it wants a client certificate, allow TLS 1.3, where that comes later."
            return Finding(Severity.UNKNOWN, Code.NOT_PROVEN, host, text, where, advice, pin)
        if result.other_key == "cannot-be-asked":
            text += "; speaks TLS 1.3 only, so whether it has another type of key is not known"
        return Finding(Severity.OK, Code.PIN_MATCHED, host, text, where, pin=pin)

    def _not_verified(self, result: ScanResult, inspection: Inspection) -> Finding:
        host, text = result.target.host, "clients refuse it, whatever is pinned: the certificate"
        text += f" does not verify: {(inspection.failure or '').rstrip('.')}"
        why = self._explain(inspection)
        if why.cause:
            text += f": {why.cause}"
        if others := [
            kind.value for kind, paths in self._elsewhere(inspection).items() if paths.verified
        ]:
            text += f"; {_listed(others)} would accept it"
        return Finding(Severity.CRITICAL, Code.NOT_VERIFIED, host, text, result.where, why.advice)

    def _explain(self, inspection: Inspection) -> Explanation:
        if self._store is None:
            return Explanation()
        return explain(
            Unverified(
                inspection.sent,
                inspection.server_name,
                inspection.failure_code,
                self._store,
                self._now,
                self._strict_x509,
            )
        )

    def _elsewhere(
        self, inspection: Inspection, *, strict_x509: bool | None = None
    ) -> dict[VerifierProfile, Paths]:
        """What clients on other versions of Python make of what was sent."""
        strict = self._strict_x509 if strict_x509 is None else strict_x509
        # that the certificate is for the host is no question where that was verified
        asked = "" if inspection.is_verified else inspection.server_name
        known = self._paths.get((inspection.sent, asked, strict))
        if known is not None:
            return known
        found: dict[VerifierProfile, Paths] = {}
        if self._store is None or not inspection.sent:
            return found
        sent, name = inspection.sent, inspection.server_name
        for kind in VerifierProfile:
            if kind is not VerifierProfile.here():
                with suppress(CertificateFormatError, *UNREADABLE):  # strangers send anything
                    found[kind] = server_paths(sent, self._store, kind, name, self._now, strict)
        self._paths[sent, asked, strict] = found
        return found

    def _on_other_pythons(self, result: ScanResult, inspection: Inspection) -> Iterator[Finding]:
        """Clients on other versions of Python that refuse what is accepted here."""
        host = result.target.host
        accepted = self.pins.check(host, inspection.verified, now=self._now).accepted
        for kind, paths in self._elsewhere(inspection).items():
            advice = ""
            if not paths.verified:
                why = paths.failure
                relaxed = self._elsewhere(inspection, strict_x509=False).get(kind)
                if self._strict_x509 is not False and relaxed is not None and relaxed.verified:
                    advice = (
                        "Have the certificate issued anew as RFC 5280 has it. Until then, a program"
                        " there can say strict_x509=False, and a command --no-strict-x509."
                    )
            else:
                verdicts = [self.pins.check(host, path, now=self._now) for path in paths.verified]
                if not accepted or any(verdict.accepted for verdict in verdicts):
                    continue
                end = subject_of(paths.verified[0][-1])
                why = f"its chain ends at {end}, which is trusted itself, and {verdicts[0].reason}"
            yield Finding(
                Severity.WARNING,
                Code.REFUSED_BY_SOME,
                host,
                f"{kind.value} would refuse this chain because {why}",
                result.where,
                advice,
            )

    def _expiries(self, result: ScanResult, inspection: Inspection) -> Iterator[Finding]:
        """Certificates that are near their end; each once for each host."""
        host = result.target.host
        for depth, der in enumerate(inspection.verified):
            facts = facts_of(der)
            if facts.not_after is None or facts.not_before is None:
                continue
            left = facts.not_after - self._now
            soon = min(self._soon, (facts.not_after - facts.not_before) / OWN_PART)
            if left >= soon or (host, der) in self._certificates:
                continue
            self._certificates.add((host, der))
            text = f"the certificate of {_place(depth, subject_of(der))} expires on"
            text += f" {facts.not_after:%Y-%m-%d %H:%M} UTC, {_days(left)} from now"
            yield Finding(
                Severity.WARNING, Code.CERTIFICATE_EXPIRES, host, text, result.where, "Renew it."
            )

    def _backups(
        self, result: ScanResult, inspection: Inspection, entry: HostEntry
    ) -> Iterator[Finding]:
        served = {
            pin: f"at depth {depth}, {subject_of(inspection.verified[depth])}"
            for depth, pin in enumerate(pins_of(inspection.verified))
        }
        for each in entry.pins:
            if each.role == "backup" and each.pin in served:
                yield Finding(
                    Severity.WARNING,
                    Code.BACKUP_SERVED,
                    result.target.host,
                    f"{called(each)} is served, {served[each.pin]}: what may be lost with the"
                    " server is no backup",
                    result.where,
                    "Make a new backup key, kept offline, and give this one the role active.",
                    str(each.pin),
                )

    def _of_entry(self, entry: HostEntry, record: _Record) -> Iterator[Finding]:
        if not record.gaps:
            yield from self._unseen(entry, record)
        if (entry.match or self.file.defaults.match) == "leaf":
            yield from _deeper_than_the_leaf(entry, record)
        else:
            yield from _intermediates(entry, record)
        yield from _wrongly_marked(entry, record)
        seen = [record.seen.get(pin, set()) for pin in accepted_pins(entry)]
        if not all(seen):
            return  # a pin that nobody serves may be of any key
        places = set().union(*seen)
        depths = {place.depth for place in places}
        if depths == {0}:
            lifetimes = [place.lifetime for place in places if place.lifetime is not None]
            if lifetimes and min(lifetimes) <= RENEWED_OFTEN:
                yield Finding(
                    Severity.WARNING,
                    Code.LEAF_RENEWAL,
                    entry.name,
                    "only keys of servers' own certificates are pinned, which are good for"
                    f" {min(lifetimes).days} days: a renewal that makes a new key locks clients"
                    " out",
                    advice="Renew with the same key (certbot --reuse-key), and pin a backup key.",
                )
        elif (
            0 not in depths
            and len({place.anchor for place in places}) == 1
            and not all(each.authority == "own" for each in entry.pins if each.role != "revoked")
        ):
            yield Finding(
                Severity.WARNING,
                Code.ONE_AUTHORITY,
                entry.name,
                f"all pins are of one certificate authority: {_subjects(places)}",
                advice="Pin a key of your own, or of a second authority, as a backup.",
            )

    def _unseen(self, entry: HostEntry, record: _Record) -> Iterator[Finding]:
        for each in entry.pins:
            if each.pin in record.seen or each.role in ("backup", "revoked"):
                continue
            text = f"{called(each)} is served by none of the servers that were looked at"
            severity, advice = Severity.WARNING, ""
            if each.not_before is not None and each.not_before > self._now:
                continue
            if each.role == "planned":
                if each.not_before is None:
                    continue
                text += f", and was to go into service on {each.not_before:%Y-%m-%d}"
            elif each.role == "retiring":
                severity, advice = Severity.OK, "It can be removed when nothing needs it any more."
            else:
                advice = "If its key is kept for later, say so: role backup. If not, remove it."
            yield Finding(
                severity,
                Code.PIN_NOT_SEEN,
                entry.name,
                text,
                advice=advice,
                pin=str(each.pin),
            )


def _several(alike: Sequence[ScanResult]) -> Finding:
    """One address that showed several certificates for a type of key."""
    keys: defaultdict[str, int] = defaultdict(int)
    for each in alike:
        if each.inspection is None:
            continue
        for pin in pins_of((each.inspection.verified or each.inspection.sent)[:1]):
            keys[str(pin or "a key that cannot be read")] += each.shown_in
    what = f"{len(keys)} keys" if len(keys) > 1 else f"{len(alike)} chains for one key"
    shown = _listed(f"{key} in {count}" for key, count in keys.items())
    first = replace(alike[0], shown_in=alike[0].connections)
    return Finding(
        Severity.OK,
        Code.SEVERAL_SERVERS,
        first.target.host,
        f"several servers behind one address: {first.connections} connections showed {what}"
        f" ({shown})",
        first.where,
        "There may be more that were not met: --repeat connects more often, --connect-to leads to"
        " one of them.",
    )


def _badly_sent(result: ScanResult, inspection: Inspection) -> Iterator[Finding]:
    """A chain that verifies here, and not for all clients, by the way in which it is sent."""
    host, where = result.target.host, result.where
    if not inspection.sent:
        return
    missing = [each for each in inspection.verified[:-1] if each not in inspection.sent]
    if missing:
        yield Finding(
            Severity.WARNING,
            Code.INTERMEDIATE_NOT_SENT,
            host,
            f"the server does not send {_listed(map(subject_of, missing))}, which is found only"
            " because it lies among the authorities that are trusted here",
            where,
            "Let the server send it behind its own certificate (fullchain.pem in place of"
            " cert.pem): other clients refuse the chain.",
        )
    sent = [each for each in dict.fromkeys(inspection.sent) if each in inspection.verified]
    if sent != [each for each in inspection.verified if each in sent]:
        yield Finding(
            Severity.WARNING,
            Code.CHAIN_ORDER,
            host,
            f"the certificates are sent out of order: {_listed(map(subject_of, sent))}",
            where,
            "Some clients refuse that. Put them in order in the server's file: its own first, and"
            " behind each that of its issuer (RFC 8446, section 4.4.2).",
        )


def _note(record: _Record, entry: HostEntry, inspection: Inspection) -> None:
    """Remember which of an entry's pins were served."""
    record.answers += 1
    pins = {each.pin for each in entry.pins}
    verified = list(pins_of(inspection.verified))
    for depth, (der, pin) in enumerate(zip(inspection.verified, verified, strict=True)):
        if pin in pins:
            place = Seen(depth, subject_of(der), verified[-1], _lifetime(der))
            record.seen[pin].add(place)
    for der, pin in zip(inspection.sent, pins_of(inspection.sent), strict=True):
        if pin in pins and der not in inspection.verified:
            record.seen[pin].add(Seen(None, subject_of(der), None, _lifetime(der)))
    accepted = {each.pin: each for each in entry.pins if each.role != "revoked"}
    matched = [depth for depth, pin in enumerate(verified) if pin in accepted]
    if all(0 < depth < len(verified) - 1 for depth in matched):
        for depth in matched:
            pin = verified[depth]
            if pin is not None:
                record.intermediates[pin].add(subject_of(inspection.verified[depth]))


def _intermediates(entry: HostEntry, record: _Record) -> Iterator[Finding]:
    """Pins that break when an authority changes the keys that it issues with."""
    marked = {each.pin: each for each in entry.pins}
    for pin, subjects in record.intermediates.items():
        if marked[pin].authority != "own":
            yield Finding(
                Severity.WARNING,
                Code.INTERMEDIATE_PINNED,
                entry.name,
                f"{called(marked[pin])} is of an intermediate, {_listed(sorted(subjects))}, and"
                " breaks when the authority changes its intermediates, as public ones do without"
                " notice",
                advice="Pin the server's own key and a backup, or the root's key. If the authority"
                ' is your own: authority = "own".',
                pin=str(pin),
            )


def _wrongly_marked(entry: HostEntry, record: _Record) -> Iterator[Finding]:
    """Servers' own keys that the file calls authorities'.

    A server's certificate that is its own authority is none of them.
    """
    for each in entry.pins:
        places = record.seen.get(each.pin, set())
        own = [place for place in places if place.depth == 0 and place.anchor != each.pin]
        if each.authority is not None and own:
            yield Finding(
                Severity.WARNING,
                Code.NOT_AN_AUTHORITY,
                entry.name,
                f"{called(each)} is marked as an authority's, and a server shows it as its own key",
                advice="Take out authority: keypin export ios would refuse this server.",
                pin=str(each.pin),
            )


def _deeper_than_the_leaf(entry: HostEntry, record: _Record) -> Iterator[Finding]:
    for each in entry.pins:
        places = record.seen.get(each.pin)
        if each.authority is not None:
            continue  # lint tells of them, seen or not
        if places and each.role != "revoked" and all(place.depth != 0 for place in places):
            yield Finding(
                Severity.WARNING,
                Code.PIN_WITHOUT_EFFECT,
                entry.name,
                f'{called(each)} is of {_subjects(places)}, and with match = "leaf" only the'
                " server's own key counts",
                advice="Remove it, or match the chain.",
                pin=str(each.pin),
            )


def accepted_pins(entry: HostEntry) -> list[Pin]:
    """The pins of an entry that a client accepts."""
    return [each.pin for each in entry.pins if each.role != "revoked"]


def called(entry: PinEntry) -> str:
    """A pin in a sentence: its role, and the name of its key or else the pin itself."""
    return f"the {entry.role} pin {entry.key!r}" if entry.key else f"the {entry.role} {entry.pin}"


def _name_of(pin: Pin, entry: HostEntry | None) -> str:
    return next((called(each) for each in entry.pins if each.pin == pin), str(pin)) if entry else ""


def _place(depth: int | None, subject: str) -> str:
    return "the server's own key" if depth == 0 else subject


def _mismatch(verdict: Verdict, where: str) -> Finding:
    host = verdict.host
    served = _listed(f"{pin} ({subject})" for pin, subject in verdict.served)
    text = f"{verdict.reason}; served: {served}" if served else str(verdict.reason)
    advice = "If the key was changed on purpose, pin it; if not, this may be a man in the middle."
    if verdict.matched:  # by a rule that has expired and allows anything
        text = f"clients are not protected: {text}"
        return Finding(Severity.CRITICAL, Code.PIN_MISMATCH, host, text, where, advice)
    denied = [pin for pin, _ in verdict.served if verdict.rule and pin in verdict.rule.deny]
    if denied:
        return Finding(
            Severity.CRITICAL, Code.KEY_DENIED, host, text, where, advice, str(denied[0])
        )
    if verdict.accepted:
        text = f"clients only report it: {text}"
        return Finding(Severity.WARNING, Code.PIN_MISMATCH, host, text, where, advice)
    return Finding(Severity.CRITICAL, Code.PIN_MISMATCH, host, text, where, advice)


def _not_checked(entry: HostEntry) -> Finding:
    below = entry.name.rpartition("*.")[2]
    return Finding(
        Severity.UNKNOWN,
        Code.NOT_CHECKED,
        entry.name,
        "no server was looked at: a pattern does not say which hosts there are",
        advice=f"Name some: --extra-host HOST.{below}",
    )


def _subjects(places: Iterable[Seen]) -> str:
    named = sorted(
        {(-1 if place.depth is None else place.depth, place.subject) for place in places}
    )
    return _listed(subject for _, subject in named)


def _lifetime(der: bytes) -> timedelta | None:
    facts = facts_of(der)
    if facts.not_after is None or facts.not_before is None:
        return None
    return facts.not_after - facts.not_before


def _days(left: timedelta) -> str:
    return "1 day" if left.days == 1 else f"{left.days} days"


def _listed(texts: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(texts))
