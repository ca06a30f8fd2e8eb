"""Rules, pin sets and the decision: (host, verified chain, now) -> Verdict. Pure, no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from ._internal.der import DerError, name_text, read_certificate
from ._internal.immutable import Immutable
from ._internal.text import and_more, cut, shown
from .errors import CertificateFormatError, HostnameError, PinSetError
from .hostnames import normalise, normalise_pattern
from .pin import Pin, pin_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import date, datetime
    from os import PathLike
    from typing import Self

__all__ = ["PinSet", "Reason", "Rule", "Verdict", "strictest"]

Match = Literal["chain", "leaf"]
Mode = Literal["enforce", "report"]
OnExpiry = Literal["enforce", "allow"]
Unlisted = Literal["allow", "refuse"]


class Reason(StrEnum):
    """Why a verdict came out as it did."""

    MATCHED = "a pinned key was served"
    UNLISTED = "no rule for this host"
    EXCLUDED = "the rule excludes this host from pinning"
    EXPIRED = "no pinned key was served, but the rule has expired and allows that"
    NO_MATCH = "no pinned key in the verified chain"
    NO_MATCH_LEAF = "the server's own key is not pinned"
    DENIED = "the chain holds a denied key"
    UNLISTED_REFUSED = "no rule for this host, and unlisted hosts are refused"
    NO_CERTIFICATE = "the server showed no certificate"
    UNREADABLE_CERTIFICATE = "a certificate of the chain is not strict DER"
    BAD_HOST = "the server name is not a host name"
    NO_SERVER_NAME = "the connection has no server name"
    NOT_VERIFIED = "the TLS context does not verify certificates"
    OLD_PROTOCOL = "TLS older than 1.2"
    ONLY_TEXT = "a library made this error anew, and kept its text only"
    OPENED_BEFORE = "the connection was open before these pins were in force"
    UNGUARDED = "the connection does not use Python's ssl, where keypin could guard it"
    UNKNOWN_SESSION = "the session resumed began unverified or unpinned"
    WRONG_NAME = "the certificate is not for this host, and the TLS context does not check that"
    EXPIRED_CERTIFICATE = "the certificate has expired since the resumed session began"


ACCEPTING = frozenset({Reason.MATCHED, Reason.UNLISTED, Reason.EXCLUDED, Reason.EXPIRED})
# Decided by the keys: the whole chain was read, and held no denied one.
MISMATCHES = frozenset({Reason.NO_MATCH, Reason.NO_MATCH_LEAF})
READ = MISMATCHES | {Reason.WRONG_NAME, Reason.EXPIRED_CERTIFICATE}

ADVICE = {
    Reason.NO_SERVER_NAME: "Give the TLS library a server name (server_hostname=...).",
    Reason.NOT_VERIFIED: "Pins add to certificate verification: leave verify_mode at CERT_REQUIRED"
    " (verify=True) and name a private CA with cafile.",
    Reason.UNLISTED_REFUSED: "Add a rule for the host, or set unlisted='allow'.",
    Reason.OPENED_BEFORE: "Put the pins in force before the program connects, or connect anew.",
    Reason.UNGUARDED: "Switch HTTP/3 off (niquests: disable_http3=True), so that TCP and"
    " Python's ssl are used.",
    Reason.UNKNOWN_SESSION: "Drop the saved session and connect anew.",
    Reason.OLD_PROTOCOL: "Let the server speak TLS 1.2 or 1.3.",
    Reason.WRONG_NAME: "Leave check_hostname on, and connect by a name that the certificate bears.",
    Reason.EXPIRED_CERTIFICATE: "Drop the saved session and connect anew.",
}
DEFAULT_ADVICE = """If the key was changed on purpose, check it with the server's owner and pin it.
  If not, this may be a man in the middle."""
REPORT_MODE = "This is report mode: a client that enforces these pins would have refused."


# What a report shows, so that it stays below 10,000 characters
MOST_CERTIFICATES = 8
MOST_NOTED = 2
MOST_PINS = 40
LONGEST_SUBJECT = 420
LONGEST_HOST = 300


class Rule(Immutable):
    """Which keys hold for which hosts.

    Args:
        host: `api.example.com`, `*.example.com` (one label below), `**.example.com` (the host and
            all below), or None for every host that no other rule names.
        pins: `Pin`s or their texts; any one of them will do.
        match: `"chain"`: any certificate of the verified chain; `"leaf"`: the server's own only.
        mode: `"enforce"` refuses on a mismatch; `"report"` lets pass and logs.
        expires: when the pins were meant to be replaced: a date (from its first moment on, UTC)
            or a datetime with a time zone.
        on_expiry: `"enforce"` keeps refusing after that, with a loud log line; `"allow"` lets
            mismatches pass then.
        deny: pins never accepted anywhere in the chain, whatever else matches, in both modes.
        exclude: True: the host is not pinned at all, even if a wider rule would match it.

    Raises:
        HostnameError: a host pattern that means nothing.
        PinFormatError: a text that is not a pin.
        PinSetError: no pins, contradictory fields, or an unknown word.
    """

    __slots__ = ("deny", "exclude", "expires", "host", "match", "mode", "on_expiry", "pins")

    host: str | None
    pins: tuple[Pin, ...]
    match: Match
    mode: Mode
    expires: datetime | None
    on_expiry: OnExpiry
    deny: tuple[Pin, ...]
    exclude: bool

    def __init__(
        self,
        host: str | None,
        pins: Iterable[Pin | str] = (),
        match: Match = "chain",
        mode: Mode = "enforce",
        expires: date | datetime | None = None,
        on_expiry: OnExpiry = "enforce",
        deny: Iterable[Pin | str] = (),
        exclude: bool = False,
    ) -> None:
        """See the class."""
        where = "every host" if host is None else shown(host)
        _one_of("match", match, ("chain", "leaf"))
        _one_of("mode", mode, ("enforce", "report"))
        _one_of("on_expiry", on_expiry, ("enforce", "allow"))
        if not isinstance(exclude, bool):
            raise PinSetError(f"exclude is True or False, not {shown(exclude)}")
        self._set(
            host=None if host is None else normalise_pattern(host),
            pins=_pins(pins, f"pins of {where}"),
            match=match,
            mode=mode,
            expires=_moment(expires),
            on_expiry=on_expiry,
            deny=_pins(deny, f"deny of {where}"),
            exclude=exclude,
        )
        if self.exclude and (self.pins or self.deny):
            raise PinSetError(f"the rule for {where} excludes it and pins it: which?")
        if not self.exclude and not self.pins:
            raise PinSetError(f"the rule for {where} has no pins (to leave it out: exclude=True)")
        if both := set(self.pins) & set(self.deny):
            first = ", ".join(map(str, sorted(both)[:3]))
            more = f" and {len(both) - 3:,} more" if len(both) > 3 else ""
            raise PinSetError(f"pinned and denied for {where}: {first}{more}")

    def check(self, host: str, chain: Sequence[bytes], *, now: datetime | None = None) -> Verdict:
        """Decide on a host that this rule is for; see `PinSet.check`."""
        if now is not None and now.tzinfo is None:
            raise PinSetError(f"now needs a time zone: {now!r}")
        if self.exclude:
            return Verdict(host, Reason.EXCLUDED, self)
        if not chain:
            return self.refusal(host, Reason.NO_CERTIFICATE)
        served = _pins_of(chain)
        if served is None:
            return self.refusal(host, Reason.UNREADABLE_CERTIFICATE)
        expired = self.expires is not None and (now or _now()) >= self.expires
        for pin in self.deny:
            if pin in served:
                return self.refusal(host, Reason.DENIED, chain, expired=expired)
        for depth, pin in enumerate(served[:1] if self.match == "leaf" else served):
            if pin in self.pins:
                return Verdict(host, Reason.MATCHED, self, pin=pin, depth=depth, expired=expired)
        if expired and self.on_expiry == "allow":
            return Verdict(host, Reason.EXPIRED, self, served=_subjects(chain), expired=True)
        reason = Reason.NO_MATCH_LEAF if self.match == "leaf" else Reason.NO_MATCH
        return self.refusal(host, reason, chain, expired=expired)

    def refusal(
        self,
        host: str | None,
        reason: Reason,
        chain: Sequence[bytes] = (),
        *,
        expired: bool = False,
    ) -> Verdict:
        """A verdict of this rule against a server, with the certificates that it served."""
        return Verdict(host, reason, self, served=_subjects(chain), expired=expired)


class Verdict(NamedTuple):
    """What the pins in force say of one connection.

    Attributes:
        host: the server name in normal form; None if there was none.
        reason: why.
        rule: the rule that decided; None for a host in no rule.
        pin: the pin that matched.
        depth: where in the verified chain, 0 for the leaf.
        served: (pin, subject) of each certificate, leaf first; only where nothing matched. A
            subject of more than 400 characters is cut, and ends with an ellipsis then.
        expired: the rule is past its `expires`.
        port: the peer's port, where known.
        tolerated: a connection for which no rule can be looked up, under pins that only report.
        pinner: the name of the pinner that decided, where several have to approve.
        pinners: how many have to.
    """

    host: str | None
    reason: Reason
    rule: Rule | None = None
    pin: Pin | None = None
    depth: int | None = None
    served: tuple[tuple[Pin, str], ...] = ()
    expired: bool = False
    port: int | None = None
    tolerated: bool = False
    pinner: str | None = None
    pinners: int = 1

    @property
    def matched(self) -> bool:
        """Whether the server satisfied the pins, or none are asked of it."""
        return self.reason in ACCEPTING

    @property
    def accepted(self) -> bool:
        """Whether the connection may go on; in report mode a mismatch may.

        A denied key never may, nor a chain that was not read and so may hold one.
        """
        if self.matched or self.tolerated:
            return True
        if self.rule is None or self.rule.mode != "report" or self.reason is Reason.DENIED:
            return False
        return not self.rule.deny or self.reason in READ

    @property
    def expected(self) -> tuple[Pin, ...]:
        """The pins of the rule."""
        return self.rule.pins if self.rule else ()

    def report(self) -> str:
        """The text of the error and of the log line: host, served chain, pins, what to do.

        At most 10,000 characters, whatever the certificates and the rule are; what is left out is
        said to be.
        """
        host = self.host or "a server without a name"
        if self.reason is Reason.BAD_HOST:
            # it may hold anything, and goes to logs and terminals
            host = cut(ascii(host[:LONGEST_HOST]), LONGEST_HOST)
        where = host if self.port is None else f"{host}:{self.port}"
        lines = [f"{_decision(self, where)}: {self.reason}"]
        if self.served:
            lines.append("  served, leaf first:")
            lines += _served_lines(self)
        if self.rule is not None and not self.rule.exclude:
            pattern = "every host" if self.rule.host is None else self.rule.host
            lines.append(f"  pinned for {pattern}, any one of ({self.rule.match}):")
            pins = self.rule.pins
            lines += [f"    {pin}" for pin in pins[:MOST_PINS]]
            lines += and_more(len(pins) - MOST_PINS, "pins")
            if self.expired and self.rule.expires is not None:
                lines.append(f"  these pins expired on {self.rule.expires:%Y-%m-%d %H:%M %Z}")
        if self.pinners > 1:
            name = cut(self.pinner or "a pinner", LONGEST_SUBJECT)
            lines.append(f"  decided by {name}, one of {self.pinners} that have to approve")
        if not self.matched:
            lines.append("  " + ADVICE.get(self.reason, DEFAULT_ADVICE))
            if self.accepted:
                lines.append("  " + REPORT_MODE)
        return "\n".join(lines)


def _decision(verdict: Verdict, where: str) -> str:
    if verdict.accepted and not verdict.matched:
        return f"keypin, in report mode, let {where} pass"
    return f"keypin {'accepted' if verdict.accepted else 'refused'} {where}"


def _served_lines(verdict: Verdict) -> Iterator[str]:
    left_out = 0
    shown = 0
    for pin, subject in verdict.served:
        note = _note(verdict, pin)
        # of a long chain the first, and those that explain the decision
        if shown < MOST_CERTIFICATES or (note and shown < MOST_CERTIFICATES + MOST_NOTED):
            shown += 1
            yield f"    {pin}  {cut(subject, LONGEST_SUBJECT)}{note}"
        else:
            left_out += 1
    yield from and_more(left_out, "certificates")


def _note(verdict: Verdict, pin: Pin) -> str:
    if verdict.rule is not None and pin in verdict.rule.deny:
        return "  <- denied"
    if verdict.reason is Reason.NO_MATCH_LEAF and pin in verdict.expected:
        return "  <- pinned, but only the leaf counts here"
    return ""


class PinSet(Immutable):
    """Rules for hosts; immutable, and replaced by another only as a whole.

    When several rules match a host, the most specific one decides: the exact name, then the
    longest pattern, then the rule for every host (`Rule(None, ...)`).

    Args:
        rules: `Rule`s, or a mapping of host patterns to pins.
        unlisted: what a host in no rule gets: `"allow"` (ordinary TLS) or `"refuse"`.

    Raises:
        HostnameError: a host pattern that means nothing.
        PinFormatError: a text that is not a pin.
        PinSetError: two rules for one pattern, or something that is not a rule.

    >>> pins = PinSet({"**.example.com": ["sha256/k3XnEYQCK79AtL9GYnT/nyhsabas03V+bhRQYHQbpXU="]})
    >>> pins.rule_for("API.example.com.").host
    '**.example.com'
    >>> pins.rule_for("example.org") is None
    True
    """

    __slots__ = ("_by_pattern", "_denying", "only_reports", "rules", "unlisted")

    rules: tuple[Rule, ...]
    unlisted: Unlisted
    only_reports: bool
    """Whether there are rules, all in report mode, and hosts in none are allowed."""
    _by_pattern: dict[str | None, Rule]
    _denying: tuple[Rule, ...]

    def __init__(
        self,
        rules: Mapping[str, Iterable[Pin | str]] | Iterable[Rule],
        *,
        unlisted: Unlisted = "allow",
    ) -> None:
        _one_of("unlisted", unlisted, ("allow", "refuse"))
        rules = _rules(rules)
        by_pattern: dict[str | None, Rule] = {}
        for rule in rules:
            if rule.host in by_pattern:
                raise PinSetError(f"two rules for {rule.host or 'every host'}")
            by_pattern[rule.host] = rule
        self._set(
            rules=rules,
            unlisted=unlisted,
            only_reports=unlisted == "allow"
            and {rule.mode for rule in rules if not rule.exclude} == {"report"},
            _by_pattern=by_pattern,
            _denying=tuple(rule for rule in rules if rule.deny),
        )

    @classmethod
    def for_every_host(cls, pins: Iterable[Pin | str], *, match: Match = "leaf") -> Self:
        """One rule for whatever host the program talks to: any one of `pins` must match."""
        return cls([Rule(None, pins, match=match)], unlisted="refuse")

    def in_report_mode(self) -> Self:
        """The same rules, of which none refuses anything but denied keys."""
        rules = [Rule._restore({**rule._values(), "mode": "report"}) for rule in self.rules]
        return type(self)(rules, unlisted=self.unlisted)

    # The pin file is above this module, and few programs have one: imported where it is used.

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Self:
        """Read a pin file: `pins.toml`, or the same in JSON.

        Args:
            path: its name ends in `.toml` or `.json`.

        Raises:
            PinFileError: it cannot be read, or anything in it is not right.
        """
        from .pinfile import PinFile

        file = PinFile.load(path)
        return cls(file.rules(), unlisted=file.defaults.unlisted)

    @classmethod
    def loads(
        cls, text: str, format: Literal["toml", "json"] = "toml", name: str | None = None
    ) -> Self:
        """Read the text of a pin file.

        Args:
            text: what the file says.
            format: `"toml"` or `"json"`.
            name: what error messages call it.

        Raises:
            PinFileError: anything in it is not right.
        """
        from .pinfile import PinFile

        file = PinFile.loads(text, format, name)
        return cls(file.rules(), unlisted=file.defaults.unlisted)

    def dump(self, path: str | PathLike[str], *, version: int = 1) -> None:
        """Write a pin file of these rules, which replaces one that is there at once and whole.

        To change a file that people keep, with its comments and the names of its keys, edit that.

        Args:
            path: its name ends in `.toml` or `.json`.
            version: the file's own, a whole number from 1 on.

        Raises:
            PinFileError: it cannot be written, or a pin file cannot say what these rules do.
        """
        from .pinfile import PinFile

        PinFile.from_pin_set(self, version=version).dump(path)

    def rule_for(self, host: str) -> Rule | None:
        """The rule that decides on a host, or None if it is in no rule.

        Raises:
            HostnameError: not a host.
        """
        name = normalise(host)
        rules = self._by_pattern
        found = rules.get(name) or rules.get("**." + name)
        if found is not None:
            return found
        stars = "*."
        _, dot, rest = name.partition(".")
        while dot:
            found = rules.get(stars + rest) or rules.get("**." + rest)
            if found is not None:
                return found
            stars = "**."
            _, dot, rest = rest.partition(".")
        return rules.get(None)

    def rules_for_certificate(self, fields: Mapping[str, Any]) -> dict[str, Rule]:
        """The rules for the names that a certificate bears, by those names.

        Args:
            fields: of the certificate, as `ssl.SSLSocket.getpeercert()` gives them.

        A wildcard in the certificate stands for each host of a rule that it covers (RFC 9525,
        section 6.3). Excluded hosts are left out.
        """
        found: dict[str, Rule] = {}
        for kind, text in fields.get("subjectAltName", ()):
            if kind not in ("DNS", "IP Address"):
                continue
            names = [text.strip()]
            if text.startswith("*."):
                names = [*self._hosts_below(text[2:].lower()), "keypin-any" + text[1:]]
            for name in names:
                try:
                    rule = self.rule_for(name)
                except HostnameError:
                    continue  # no client connects to it
                if rule is not None and not rule.exclude:
                    found.setdefault(name, rule)
        return found

    def _hosts_below(self, parent: str) -> Iterator[str]:
        """The hosts one label below a domain that a rule names."""
        for pattern in self._by_pattern:
            if pattern is not None:
                host = pattern.removeprefix("**.")
                if host.partition(".")[2] == parent and not host.startswith("*"):
                    yield host

    def check(
        self, host: str | None, chain: Sequence[bytes], *, now: datetime | None = None
    ) -> Verdict:
        """Decide on a server. Pure: no connection, no clock if `now` is given.

        Args:
            host: the name that TLS verified the server against, in any spelling.
            chain: the *verified* chain, DER, leaf first; never what was merely sent.
            now: a datetime with a time zone; the present if None.
        """
        if host is None:
            return self.nameless_verdict(None, chain)
        try:
            name, rule = normalise(host), self.rule_for(host)
        except HostnameError:
            return self.nameless_verdict(host, chain)
        if rule is None:
            return self.unlisted_verdict(name)
        return rule.check(name, chain, now=now)

    def nameless_verdict(self, host: str | None, chain: Sequence[bytes] = ()) -> Verdict:
        """The verdict on a connection for which no rule can be looked up.

        Any rule might be for it. So it is refused, unless all of them only report, and a key that
        one of them denies is not in its chain.

        Args:
            host: what was given as its server name; None if nothing was.
            chain: the verified chain; empty if there is none.
        """
        reason = Reason.NO_SERVER_NAME if host is None else Reason.BAD_HOST
        if self._denying and self.only_reports:
            served = set(_pins_of(chain) or ())
            for rule in self._denying:
                if not served.isdisjoint(rule.deny):
                    return rule.refusal(host, Reason.DENIED, chain)
            return Verdict(host, reason, tolerated=bool(served))
        return Verdict(host, reason, tolerated=self.only_reports)

    @property
    def denies(self) -> bool:
        """Whether any rule denies a key."""
        return bool(self._denying)

    def unlisted_verdict(self, host: str) -> Verdict:
        """The verdict on a host in no rule."""
        allowed = self.unlisted == "allow"
        return Verdict(host, Reason.UNLISTED if allowed else Reason.UNLISTED_REFUSED)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PinSet):
            return NotImplemented
        return self.unlisted == other.unlisted and self._by_pattern == other._by_pattern

    def __hash__(self) -> int:
        return hash((self.unlisted, frozenset(self.rules)))

    def __len__(self) -> int:
        return len(self.rules)

    def __repr__(self) -> str:
        hosts = [rule.host or "every host" for rule in self.rules[:3]]
        more = f" and {len(self) - 3} more" if len(self) > 3 else ""
        return f"<PinSet {', '.join(hosts) or 'empty'}{more}, unlisted={self.unlisted!r}>"


def strictest(verdicts: Iterable[Verdict]) -> Verdict | None:
    """The first that refuses, else the first that only reports, else the first; None of none."""
    return min(verdicts, key=lambda verdict: (verdict.accepted, verdict.matched), default=None)


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise PinSetError(f"{name} is one of {', '.join(map(repr, allowed))}, not {shown(value)}")


def _rules(values: object) -> tuple[Rule, ...]:
    if isinstance(values, Mapping):
        return tuple(Rule(host, pins) for host, pins in values.items())
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise PinSetError(f"a list of Rules or a mapping of hosts to pins, not {shown(values)}")
    rules = tuple(values)
    for rule in rules:
        if not isinstance(rule, Rule):
            raise PinSetError(f"not a Rule: {shown(rule)}")
    return rules


def _pins(values: Iterable[Pin | str], where: str) -> tuple[Pin, ...]:
    if isinstance(values, str | bytes | Pin) or not isinstance(values, Iterable):
        raise PinSetError(f"{where}: a list of pins, not {shown(values)}")
    pins = (value if isinstance(value, Pin) else Pin(value) for value in values)
    return tuple(dict.fromkeys(pins))


# `datetime` is imported where a rule expires: most have no date, and its import is not cheap.


def _now() -> datetime:
    from datetime import UTC, datetime

    return datetime.now(UTC)


def _moment(expires: date | datetime | None) -> datetime | None:
    if expires is None:
        return None
    from datetime import UTC, date, datetime, time

    if isinstance(expires, datetime):
        if expires.tzinfo is None:
            raise PinSetError(f"expires needs a time zone: {expires!r}")
        try:
            return expires.astimezone(UTC)
        except OverflowError:
            raise PinSetError(f"no such date in UTC: {expires}") from None
    if isinstance(expires, date):
        return datetime.combine(expires, time.min, UTC)
    raise PinSetError(f"expires is a date or a datetime with a time zone, not {shown(expires)}")


def _pins_of(chain: Sequence[bytes]) -> list[Pin] | None:
    """The pins of certificates; None if one of them cannot be read."""
    try:
        return [pin_of(certificate) for certificate in chain]
    except CertificateFormatError:
        return None


def _subjects(chain: Sequence[bytes]) -> tuple[tuple[Pin, str], ...]:
    return tuple((pin_of(certificate), subject_of(certificate)) for certificate in chain)


def subject_of(certificate: bytes) -> str:
    """A certificate's subject for people to read; what cannot be read is said to be so."""
    try:
        return name_text(read_certificate(certificate).subject) or "(no subject)"
    except DerError:
        return "(unreadable subject)"
