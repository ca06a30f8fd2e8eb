"""What clients will make of a certificate, key or authority that no server shows yet.

The question is put to each pin file that a client may still carry, for each host and each path to a
trust anchor; the answer is `PinSet.check`'s, as in a connection. No network.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from ..errors import HostnameError
from ..hostnames import certificate_names, normalise
from ..pin import pin_of
from ..pinset import MISMATCHES, Reason, subject_of
from .candidate import Kind, certificate_for
from .findings import Finding, Severity
from .paths import VerifierProfile, authority_paths, outdated, server_paths

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from ..pin import Pin
    from ..pinset import PinSet, Rule, Verdict
    from .candidate import Candidate
    from .paths import Paths, TrustStore

__all__ = ["Code", "rehearse"]

Chain = tuple[bytes, ...]

HOW_TO_GIVE_A_CHAIN = (
    "Give the chain as servers will send it, intermediates included; what is trusted beside the"
    " system's authorities is named by --cafile."
)


class Code(StrEnum):
    """The kinds of findings of a rehearsal."""

    ACCEPTED = "candidate-accepted"
    REPORTED = "candidate-reported"
    """accepted, but only because the pins are not enforced"""
    PINS_EXPIRED = "candidate-pins-expired"
    """accepted, by pins that have expired"""
    NOT_PINNED = "candidate-not-pinned"
    """accepted, because the file does not pin this host"""
    REFUSED = "candidate-refused"
    DEPENDS_ON_PATH = "candidate-depends-on-path"
    """accepted on one path to a trust anchor, refused on another"""
    NOT_VERIFIED = "candidate-not-verified"
    """clients refuse it whatever they have pinned"""
    NOT_VERIFIED_BY_SOME = "candidate-not-verified-by-some"
    OUTDATED_SENT = "candidate-outdated-sent"
    """a certificate that is sent along has expired, or is not valid yet"""
    UNDECIDED = "candidate-undecided"
    """it depends on what the candidate does not tell"""
    PIN_LOST = "candidate-pin-lost"
    """a pinned authority is left for another"""
    NOTHING_PINNED = "candidate-nothing-pinned"
    """no pin file has any of the hosts"""


def rehearse(
    candidate: Candidate,
    pins: Mapping[str, PinSet],
    stores: Sequence[TrustStore],
    hosts: Sequence[str] = (),
    at: datetime | None = None,
    strict_x509: bool | None = None,
) -> list[Finding]:
    """Tell whether clients with these pins would accept a server that shows the candidate.

    Args:
        candidate: what the server shows.
        pins: what is pinned, by the name of the pin file that clients carry.
        stores: what the clients trust; each is asked about alone.
        hosts: the servers that it is meant for; unless given, those of its names that are pinned,
            and for an authority or a bare key every host that is.
        at: when, with a time zone; now if None.
        strict_x509: what the clients were told, on any version of Python; see
            `Pinner.create_context`.

    Returns:
        What was found, the good included; `CRITICAL` where some client would refuse.

    Raises:
        HostnameError: something else than a host among `hosts`.
        CertificateFormatError: a certificate that cannot be read, or too many paths.
    """
    at = at or datetime.now(UTC)
    named = [normalise(host) for host in hosts]
    questions = _questions(candidate, pins, named)
    if candidate.kind is Kind.CHAIN:
        findings = [
            *_of_sent(candidate, at),
            *_of_chain(candidate, questions, stores, at, strict_x509),
        ]
        if not candidate.names:
            findings.append(_nameless(candidate))
    elif candidate.kind is Kind.AUTHORITY:
        findings = list(_of_authority(candidate, questions, stores, at))
    else:
        findings = list(_of_key(candidate, questions, at, hosts_known=bool(named)))
    if not any(question.rule for question in questions):
        findings.append(_nothing_pinned(named or candidate.names))
    return findings


# Who is asked


@dataclass(frozen=True, slots=True)
class Question:
    """A pin file, and a host that its clients connect to."""

    file: str
    pins: PinSet
    rule: Rule | None
    """None for a host that the file does not have"""
    host: str
    """for people: a host or a pattern"""
    example: str
    """a host that it stands for"""

    def verdict(self, path: Chain, at: datetime) -> Verdict:
        """What these clients make of a verified path."""
        if self.rule is None:
            return self.pins.unlisted_verdict(self.example)
        return self.rule.check(self.example, path, now=at)


def _questions(
    candidate: Candidate, pins: Mapping[str, PinSet], named: Sequence[str]
) -> list[Question]:
    if named or candidate.names or candidate.kind is Kind.CHAIN:
        examples = {name: name for name in named} or _examples(candidate.names, pins.values())
        questions = [
            Question(file, each, each.rule_for(example), host, example)
            for host, example in examples.items()
            for file, each in pins.items()
        ]
        return [
            question
            for question in questions
            if question.rule or question.pins.unlisted == "refuse" or named
        ]
    return [
        Question(file, each, rule, rule.host or "every host", rule.host or "every host")
        for file, each in pins.items()
        for rule in each.rules
        if not rule.exclude
    ]


def _examples(names: Iterable[str], pins: Iterable[PinSet]) -> dict[str, str]:
    """What a certificate's names are called, and a host that each stands for.

    A wildcard stands for a host that no rule has a name for, and besides for those that rules do.
    """
    domains = {
        rule.host.lstrip("*").lstrip(".") for each in pins for rule in each.rules if rule.host
    }
    examples: dict[str, str] = {}
    for name in map(str.lower, names):
        if not name.startswith("*."):
            with suppress(HostnameError):  # a certificate can have names that no host has
                examples[normalise(name)] = normalise(name)
            continue
        wildcard: dict[str, object] = {"subjectAltName": (("DNS", name),)}
        examples |= {host: host for host in sorted(domains) if certificate_names(host, wildcard)}
        parent = name[1:]
        unused = (f"any-host-{number}{parent}" for number in range(len(domains) + 1))
        with suppress(HostnameError):
            examples[name] = next(host for host in map(normalise, unused) if host not in domains)
    return examples


def _nothing_pinned(hosts: Sequence[str]) -> Finding:
    asked = ", ".join(hosts) or "any host"
    return Finding(
        Severity.UNKNOWN,
        Code.NOTHING_PINNED,
        None,
        f"no pin file has pins for {asked}: nothing was rehearsed",
        advice="Give the pin files that clients of this server carry.",
    )


# A certificate chain


def _of_chain(
    candidate: Candidate,
    questions: Sequence[Question],
    stores: Sequence[TrustStore],
    at: datetime,
    strict_x509: bool | None,
) -> Iterator[Finding]:
    by_host: dict[tuple[str, str], list[Question]] = {}
    for question in questions:
        by_host.setdefault((question.host, question.example), []).append(question)
    for (host, example), asked in by_host.items():
        paths: dict[Chain, None] = {}
        for store in stores:
            found = {
                kind: server_paths(candidate.certificates, store, kind, example, at, strict_x509)
                for kind in VerifierProfile
            }
            yield from _not_verified(host, store, found)
            paths |= dict.fromkeys(path for each in found.values() for path in each.verified)
        if paths:
            for question in asked:
                yield _judged(question, {path: question.verdict(path, at) for path in paths})


def _not_verified(
    host: str, store: TrustStore, found: Mapping[VerifierProfile, Paths]
) -> Iterator[Finding]:
    """Clients that find no path at all."""
    trusting = f" that trust {store.name}" if store.name else ""
    failures = {kind: paths.failure for kind, paths in found.items() if not paths.verified}
    if len(failures) == len(found):
        why = "; ".join(dict.fromkeys(failures.values()))
        text = f"clients{trusting} refuse it, whatever they have pinned: {why}"
        advice = HOW_TO_GIVE_A_CHAIN if "issuer" in why or "self-signed" in why else ""
        yield Finding(Severity.CRITICAL, Code.NOT_VERIFIED, host, text, advice=advice)
        return
    for kind, why in failures.items():
        text = f"clients{trusting}, on {kind.value}, refuse it, whatever they have pinned: {why}"
        yield Finding(Severity.WARNING, Code.NOT_VERIFIED_BY_SOME, host, text)


def _nameless(candidate: Candidate) -> Finding:
    return Finding(
        Severity.CRITICAL,
        Code.NOT_VERIFIED,
        None,
        f"{subject_of(candidate.certificates[0])} has no names (subjectAltName): clients take it"
        " for no server",
    )


def _of_sent(candidate: Candidate, at: datetime) -> Iterator[Finding]:
    """Certificates sent along that are out of date, at which some clients give up."""
    for certificate in candidate.certificates[1:]:
        why = outdated(certificate, at)
        if why:
            text = f"a certificate that is sent along is out of date: {why}"
            yield Finding(
                Severity.WARNING,
                Code.OUTDATED_SENT,
                None,
                text,
                advice="Leave it out: some clients look no further once they have found it.",
            )


# A certificate authority


def _of_authority(
    candidate: Candidate, questions: Sequence[Question], stores: Sequence[TrustStore], at: datetime
) -> Iterator[Finding]:
    # in the place of the server's own certificate, which is not there, one that nobody has pinned
    stand_in = certificate_for()
    paths: dict[Chain, None] = {}
    for store in stores:
        found = authority_paths(candidate.certificates, store, at)
        if not found:
            yield _untrusted(candidate, store, at)
        paths |= dict.fromkeys((stand_in, *path) for path in found)
    if not paths:
        return
    served = {pin_of(certificate) for path in paths for certificate in path}
    others = {pin_of(anchor): subject_of(anchor) for store in stores for anchor in store.anchors}
    others = {pin: subject for pin, subject in others.items() if pin not in served}
    for question in questions:
        verdicts = {path: question.verdict(path, at) for path in paths}
        if any(each.accepted or each.reason not in MISMATCHES for each in verdicts.values()):
            yield _judged(question, verdicts)
        else:
            yield _without_authority(question, others)
        yield from _lost(question, served, others)


def _untrusted(candidate: Candidate, store: TrustStore, at: datetime) -> Finding:
    return Finding(
        Severity.CRITICAL,
        Code.NOT_VERIFIED,
        None,
        f"no valid path leads from {subject_of(candidate.certificates[0])} to"
        f" {store.name or 'an authority that this system trusts'} on {at:%Y-%m-%d}",
        advice=HOW_TO_GIVE_A_CHAIN,
    )


def _without_authority(question: Question, others: Mapping[Pin, str]) -> Finding:
    """No key of the authority's paths is pinned: it all depends on the server's own key."""
    rule = question.rule
    pins = () if rule is None else rule.pins
    own = [pin for pin in pins if pin not in others]
    if rule is not None and rule.match == "leaf":
        severity, code = Severity.OK, Code.ACCEPTED
        text = "nothing changes: only the server's own key counts, whoever certifies it"
    elif own:
        severity, code = Severity.UNKNOWN, Code.UNDECIDED
        text = f"accepted only if the server's own key is one of {_listed(own)}"
    else:
        severity, code = Severity.CRITICAL, Code.REFUSED
        text = "refused: all pins are of other authorities"
    advice = "" if severity is Severity.OK else "Rehearse a certificate chain that it has issued."
    return Finding(severity, code, question.host, text, question.file, advice)


def _lost(
    question: Question, served: Collection[Pin], others: Mapping[Pin, str]
) -> Iterator[Finding]:
    """The pins that will match nothing any more."""
    if question.rule is None or question.rule.match == "leaf":
        return
    for pin in question.rule.pins:
        if pin in others:
            text = f"lost: {pin} is of {others[pin]}, which is on none of its paths"
            yield Finding(
                Severity.OK, Code.PIN_LOST, question.host, text, question.file, pin=str(pin)
            )


# A bare key


def _of_key(
    candidate: Candidate, questions: Sequence[Question], at: datetime, *, hosts_known: bool
) -> Iterator[Finding]:
    verdicts = {question: question.verdict(candidate.certificates, at) for question in questions}
    for file in dict.fromkeys(question.file for question in questions):
        asked = {each: verdict for each, verdict in verdicts.items() if each.file == file}
        if not (hosts_known or candidate.names) and any(
            verdict.reason is Reason.MATCHED for verdict in asked.values()
        ):
            # it is some server's, then, and need not be good for all the others
            without = [each for each, verdict in asked.items() if verdict.reason in MISMATCHES]
            asked = {each: asked[each] for each in asked if each not in without}
            if without:
                hosts = ", ".join(each.host for each in without)
                text = f"not pinned for {hosts}; if it is for one of these, name the host"
                yield Finding(Severity.OK, Code.NOT_PINNED, None, text, file)
        for question, verdict in asked.items():
            if verdict.reason is Reason.NO_MATCH and not verdict.accepted:
                yield _undecided(question)
            else:
                yield _judged(question, {candidate.certificates: verdict})


def _undecided(question: Question) -> Finding:
    return Finding(
        Severity.UNKNOWN,
        Code.UNDECIDED,
        question.host,
        "the key is not pinned; an authority above it may be, which only a certificate can tell",
        question.file,
        "Pin the key, or rehearse the certificate chain.",
    )


# What the verdicts say


def _judged(question: Question, verdicts: Mapping[Chain, Verdict]) -> Finding:
    """What clients with one pin file do for one host, by the verdict on each path."""
    accepted = {path: verdict for path, verdict in verdicts.items() if verdict.accepted}
    refused = {path: verdict for path, verdict in verdicts.items() if not verdict.accepted}
    if not refused:
        return _accepted(question, accepted)
    why = "; ".join(_distinct(refused, lambda _, verdict: str(verdict.reason)))
    advice = "Clients with these pins would be locked out: do not deploy it."
    if not accepted:
        code, text = Code.REFUSED, f"refused: {why}"
    else:
        code = Code.DEPENDS_ON_PATH
        text = (
            f"depends on the path that a client takes: accepted by way of {_ways(accepted)};"
            f" refused by way of {_ways(refused)}: {why}"
        )
    pinned = question.rule.pins if question.rule else ()
    if pinned and any(verdict.reason in MISMATCHES for verdict in refused.values()):
        text += f" (pinned: {_listed(pinned)})"
    return Finding(Severity.CRITICAL, code, question.host, text, question.file, advice)


def _accepted(question: Question, verdicts: Mapping[Chain, Verdict]) -> Finding:
    reasons = {verdict.reason for verdict in verdicts.values()}
    pins = _distinct(verdicts, lambda _, verdict: str(verdict.pin or ""))
    severity, code = Severity.OK, Code.ACCEPTED
    if reasons <= {Reason.UNLISTED, Reason.EXCLUDED}:
        code, text = Code.NOT_PINNED, "accepted: not pinned in this file"
    elif Reason.EXPIRED in reasons:
        severity, code = Severity.WARNING, Code.PINS_EXPIRED
        text = "accepted, but only because the pins have expired, and allow any key then"
    elif reasons != {Reason.MATCHED}:
        why = "; ".join(str(reason) for reason in sorted(reasons) if reason is not Reason.MATCHED)
        severity, code = Severity.WARNING, Code.REPORTED
        text = f"accepted, but only because the pins are not enforced (mode report): {why}"
    else:
        keys = "; or ".join(_distinct(verdicts, _key))
        text = f"accepted: {keys}" + (f", on {len(verdicts)} paths" if len(verdicts) > 1 else "")
        rule = question.rule
        if rule and rule.expires and any(verdict.expired for verdict in verdicts.values()):
            severity, code = Severity.WARNING, Code.PINS_EXPIRED
            text += f"; but these pins expired on {rule.expires:%Y-%m-%d}"
    pin = pins[0] if len(pins) == 1 and pins[0] else None
    return Finding(severity, code, question.host, text, question.file, pin=pin)


def _key(path: Chain, verdict: Verdict) -> str:
    """Which key was matched, and whose it is."""
    owner = f"of {subject_of(path[verdict.depth])}" if verdict.depth else "the server's own key"
    return f"{verdict.pin}, {owner}"


def _ways(paths: Iterable[Chain]) -> str:
    """The paths, each by the authorities on it."""
    return " or of ".join(" > ".join(map(subject_of, path[1:])) for path in paths)


def _distinct(
    verdicts: Mapping[Chain, Verdict], text: Callable[[Chain, Verdict], str]
) -> list[str]:
    return list(dict.fromkeys(text(path, verdict) for path, verdict in verdicts.items()))


def _listed(pins: Iterable[Pin]) -> str:
    return ", ".join(map(str, pins))
