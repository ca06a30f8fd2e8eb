"""The decision: which rule is for a host, and what it says of a verified chain."""

import copy
import pickle
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tlv import SEQUENCE, children, content_of, tlv

from keypin import HostnameError, Pin, PinFormatError, PinSet, PinSetError, Reason, Rule, Verdict
from keypin.hostnames import normalise_pattern
from keypin.lab import Authority

HOST = "www.example.com"

ROOT = Authority("root")
INTERMEDIATE = ROOT.intermediate("intermediate")
LEAF = INTERMEDIATE.issue(HOST)
CHAIN = [LEAF.certificate, INTERMEDIATE.certificate, ROOT.certificate]
"""a verified chain; its root is one that no server sends"""

ROGUE_LEAF = ROOT.intermediate("rogue").issue(HOST)
ROGUE = [*ROGUE_LEAF.chain, ROOT.certificate]
"""another chain to the same root"""

LEAF_PIN, INTERMEDIATE_PIN, ROOT_PIN = map(Pin.from_certificate, CHAIN)
OTHER, BACKUP = Pin.from_digest(b"\1" * 32), Pin.from_digest(b"\2" * 32)


def with_long_length(certificate: bytes) -> bytes:
    """Write a certificate with a length that OpenSSL reads and DER forbids."""
    tbs, *rest = children(certificate)
    size = len(content_of(tbs))
    return tlv(SEQUENCE, b"\x30\x84" + size.to_bytes(4, "big") + content_of(tbs), *rest)


UNREADABLE = with_long_length(LEAF.certificate)


def verdict(rule: Rule, chain: list[bytes], **more: Any) -> Verdict:
    """Decide on `HOST`, by a pin set and by the rule alone."""
    decided = PinSet([rule]).check(HOST, chain, **more)
    assert decided == rule.check(HOST, chain, **more)
    return decided


# Which rule


def rule_host(pins: PinSet, host: str) -> str | None:
    """The pattern of the rule for a host; "none" if it is in no rule."""
    rule = pins.rule_for(host)
    return "none" if rule is None else rule.host


def rules(*patterns: str | None) -> PinSet:
    return PinSet([Rule(pattern, [OTHER]) for pattern in patterns])


@pytest.mark.parametrize(
    ("host", "pattern"),
    [
        ("www.api.example.com", "www.api.example.com"),
        ("WWW.api.example.com.", "www.api.example.com"),
        ("a.api.example.com", "*.api.example.com"),
        ("a.b.api.example.com", "**.api.example.com"),
        ("api.example.com", "**.api.example.com"),
        ("a.example.com", "*.example.com"),
        ("a.b.example.com", "**.example.com"),
        ("example.com", "**.example.com"),
        ("example.org", None),
        ("notexample.com", None),
        ("com", None),
        ("1.2.3.4", None),
    ],
)
def test_the_most_specific_rule_decides(host: str, pattern: str | None) -> None:
    """The exact name, then the longest pattern, then the rule for every host."""
    pins = rules(
        None,
        "**.example.com",
        "*.example.com",
        "**.api.example.com",
        "*.api.example.com",
        "www.api.example.com",
    )
    assert rule_host(pins, host) == pattern


def test_one_label_below_is_more_specific_than_any_depth() -> None:
    pins = rules("**.example.com", "*.example.com")
    assert rule_host(pins, "a.example.com") == "*.example.com"
    assert rule_host(pins, "b.a.example.com") == "**.example.com"
    assert rule_host(pins, "example.com") == "**.example.com"


def test_a_longer_name_beats_a_single_label() -> None:
    pins = rules("*.example.com", "**.a.example.com")
    assert rule_host(pins, "a.example.com") == "**.a.example.com"
    assert rule_host(pins, "b.example.com") == "*.example.com"


def test_rules_do_not_add_up() -> None:
    """OkHttp joins the pins of all rules that match; here the most specific stands alone."""
    pins = PinSet({"**.example.com": [LEAF_PIN], HOST: [OTHER]})
    assert pins.check(HOST, CHAIN).reason is Reason.NO_MATCH


def test_the_order_of_rules_makes_no_difference() -> None:
    patterns = [None, "**.example.com", "*.example.com", "a.example.com"]
    forwards, backwards = rules(*patterns), rules(*reversed(patterns))
    for host in ("a.example.com", "b.example.com", "example.com", "c.b.example.com", "com"):
        assert forwards.rule_for(host) == backwards.rule_for(host)


def test_a_host_in_no_rule_has_none() -> None:
    assert rules("example.com").rule_for("example.org") is None
    assert PinSet([]).rule_for("example.com") is None


def test_a_rule_for_what_is_no_host_is_an_error() -> None:
    for host in ("", "a..example.com", "example.com:443", "*.example.com", "127.1"):
        with pytest.raises(HostnameError):
            rules(None, "**.example.com").rule_for(host)


LABELS = st.sampled_from(["a", "b", "c"])
HOSTS = st.lists(LABELS, min_size=1, max_size=5).map(".".join)
BASES = st.lists(LABELS, min_size=2, max_size=4).map(".".join)
PATTERNS = HOSTS | st.builds(str.__add__, st.sampled_from(["*.", "**."]), BASES) | st.none()


def fits(pattern: str | None, host: str) -> bool:
    if pattern is None:
        return True
    if pattern.startswith("**."):
        return host == pattern[3:] or host.endswith(pattern[2:])
    if pattern.startswith("*."):
        return host.endswith(pattern[1:]) and host.count(".") == pattern.count(".")
    return host == pattern


def specificity(pattern: str | None) -> tuple[int, int, bool]:
    if pattern is None:
        return 0, 0, False
    return 1 + ("*" not in pattern), pattern.count("."), not pattern.startswith("**.")


def search(patterns: set[str | None], host: str) -> str | None:
    """Look at every pattern, and take the most specific one that fits."""
    found = [pattern for pattern in patterns if fits(pattern, host)]
    return max(found, key=specificity, default="none")


@settings(max_examples=1000)
@given(st.sets(PATTERNS, max_size=12), HOSTS)
def test_the_look_up_finds_what_a_search_through_all_rules_finds(
    patterns: set[str | None], host: str
) -> None:
    assert rule_host(rules(*patterns), host) == search(patterns, host)


# What it says of a chain


@pytest.mark.parametrize(
    ("pin", "depth"),
    [(LEAF_PIN, 0), (INTERMEDIATE_PIN, 1), (ROOT_PIN, 2)],
    ids=["leaf", "intermediate", "root"],
)
def test_any_certificate_of_the_chain_may_match(pin: Pin, depth: int) -> None:
    """Also a root that was not sent: it is part of the verified chain."""
    decided = verdict(Rule(HOST, [OTHER, pin]), CHAIN)
    assert decided.reason is Reason.MATCHED
    assert decided.accepted
    assert (decided.pin, decided.depth) == (pin, depth)
    assert decided.served == ()


@pytest.mark.parametrize("pin", [INTERMEDIATE_PIN, ROOT_PIN])
def test_a_leaf_rule_looks_at_the_leaf_only(pin: Pin) -> None:
    assert verdict(Rule(HOST, [LEAF_PIN], match="leaf"), CHAIN).accepted
    decided = verdict(Rule(HOST, [pin], match="leaf"), CHAIN)
    assert decided.reason is Reason.NO_MATCH_LEAF
    assert not decided.accepted


def test_one_pin_of_several_is_enough() -> None:
    assert verdict(Rule(HOST, [OTHER, BACKUP, LEAF_PIN]), CHAIN).pin == LEAF_PIN
    assert verdict(Rule(HOST, [LEAF_PIN, INTERMEDIATE_PIN, ROOT_PIN]), CHAIN).depth == 0


def test_a_renewed_certificate_with_the_same_key_matches() -> None:
    renewed = LEAF.renew(Authority("another root"))
    assert verdict(Rule(HOST, [LEAF_PIN], match="leaf"), [*renewed.chain]).accepted


def test_another_key_does_not_match() -> None:
    for match in ("chain", "leaf"):
        for pin in (LEAF_PIN, INTERMEDIATE_PIN):
            decided = verdict(Rule(HOST, [pin], match=match), ROGUE)
            assert not decided.matched
            assert not decided.accepted


def test_a_mismatch_tells_the_whole_chain() -> None:
    decided = verdict(Rule(HOST, [OTHER]), CHAIN)
    assert decided.reason is Reason.NO_MATCH
    assert decided.served == (
        (LEAF_PIN, f"CN={HOST}"),
        (INTERMEDIATE_PIN, "CN=intermediate"),
        (ROOT_PIN, "CN=root"),
    )
    assert decided.expected == (OTHER,)
    assert (decided.pin, decided.depth) == (None, None)


def test_the_answer_is_the_same_the_second_time() -> None:
    rule = Rule(HOST, [LEAF_PIN])
    assert rule.check(HOST, CHAIN) == rule.check(HOST, CHAIN)
    assert rule.check(HOST, ROGUE) == rule.check(HOST, ROGUE)
    assert rule.check(HOST, CHAIN).accepted


def test_an_empty_chain_matches_nothing() -> None:
    decided = verdict(Rule(HOST, [LEAF_PIN]), [])
    assert decided.reason is Reason.NO_CERTIFICATE
    assert not decided.accepted


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("junk", [b"", b"\x30", UNREADABLE, LEAF.chain_pem])
def test_an_unreadable_certificate_matches_nothing(junk: bytes, place: int) -> None:
    """Not even if another certificate of the chain would match: in doubt, refuse."""
    chain = [*CHAIN]
    chain[place] = junk
    decided = verdict(Rule(HOST, [LEAF_PIN, INTERMEDIATE_PIN, ROOT_PIN]), chain)
    assert decided.reason is Reason.UNREADABLE_CERTIFICATE
    assert not decided.accepted


def test_an_unreadable_name_is_no_reason_to_refuse() -> None:
    """Only the key decides; a subject that is no name is said to be so."""
    tbs, *rest = children(LEAF.certificate)
    fields = children(tbs)
    fields[5] = tlv(SEQUENCE, b"\x31\x00")
    strange = tlv(SEQUENCE, tlv(SEQUENCE, *fields), *rest)
    assert verdict(Rule(HOST, [LEAF_PIN]), [strange]).accepted
    assert verdict(Rule(HOST, [OTHER]), [strange]).served == ((LEAF_PIN, "(unreadable subject)"),)


def test_an_empty_subject_is_said_to_be_so() -> None:
    nameless = ROOT.issue(HOST, common_name="")
    decided = verdict(Rule(HOST, [OTHER]), [nameless.certificate])
    assert decided.served == ((nameless.pin, "(no subject)"),)


# Hosts without a rule, and what is no host


def test_an_unlisted_host_is_allowed_unless_said_otherwise() -> None:
    allowing = PinSet({"example.com": [OTHER]})
    decided = allowing.check("example.org", CHAIN)
    assert (decided.reason, decided.accepted) == (Reason.UNLISTED, True)
    refusing = PinSet({"example.com": [OTHER]}, unlisted="refuse")
    decided = refusing.check("example.org", CHAIN)
    assert (decided.reason, decided.accepted) == (Reason.UNLISTED_REFUSED, False)
    assert decided.rule is None
    assert decided.expected == ()
    assert not decided.expired


@pytest.mark.parametrize("unlisted", ["allow", "refuse"])
def test_a_connection_without_a_server_name_is_refused(unlisted: Any) -> None:
    for pins in (PinSet([], unlisted=unlisted), PinSet.for_every_host([LEAF_PIN])):
        decided = pins.check(None, CHAIN)
        assert decided.reason is Reason.NO_SERVER_NAME
        assert not decided.accepted


@pytest.mark.parametrize("host", ["", "a..example.com", "*.example.com", "127.1", "www:443", 5])
def test_what_is_no_host_is_refused(host: Any) -> None:
    """Whatever is unlisted may pass, but not what no rule could ever list."""
    for pins in (PinSet([]), PinSet([Rule(None, [LEAF_PIN])]), PinSet([Rule(None, exclude=True)])):
        decided = pins.check(host, CHAIN)
        assert decided.reason is Reason.BAD_HOST
        assert not decided.accepted


def test_a_verdict_has_the_host_in_normal_form() -> None:
    pins = PinSet({"**.example.com": [LEAF_PIN]})
    assert pins.check("WWW.Example.com.", CHAIN).host == HOST
    assert pins.check("Example.ORG.", CHAIN).host == "example.org"


def test_a_rule_for_every_host() -> None:
    pins = PinSet.for_every_host([LEAF_PIN])
    for host in (HOST, "example.org", "localhost", "127.0.0.1", "::1"):
        assert pins.check(host, CHAIN).accepted
        assert not pins.check(host, ROGUE).accepted
        assert not pins.check(host, CHAIN[1:]).accepted
    assert pins.rules == (Rule(None, [LEAF_PIN], match="leaf"),)
    assert PinSet.for_every_host([ROOT_PIN], match="chain").check(HOST, CHAIN).accepted


def test_a_rule_for_every_host_gives_way_to_any_other() -> None:
    pins = PinSet([Rule(None, [OTHER]), Rule("**.example.com", [LEAF_PIN])])
    assert pins.check(HOST, CHAIN).accepted
    assert not pins.check("example.org", CHAIN).accepted


# Exclusion


def test_an_excluded_host_is_not_pinned() -> None:
    pins = PinSet(
        [
            Rule("**.example.com", [OTHER]),
            Rule("**.free.example.com", exclude=True),
            Rule("pinned.free.example.com", [LEAF_PIN]),
        ],
        unlisted="refuse",
    )
    for host in ("free.example.com", "a.free.example.com", "a.b.free.example.com"):
        decided = pins.check(host, ROGUE)
        assert (decided.reason, decided.accepted) == (Reason.EXCLUDED, True)
    assert not pins.check("example.com", CHAIN).accepted
    assert pins.check("pinned.free.example.com", CHAIN).accepted
    assert not pins.check("pinned.free.example.com", ROGUE).accepted


def test_every_host_but_those_listed_may_be_excluded() -> None:
    pins = PinSet([Rule(None, exclude=True), Rule(HOST, [OTHER])], unlisted="refuse")
    assert pins.check("example.org", CHAIN).accepted
    assert not pins.check(HOST, CHAIN).accepted


# Denial


@pytest.mark.parametrize("denied", [LEAF_PIN, INTERMEDIATE_PIN, ROOT_PIN])
@pytest.mark.parametrize("mode", ["enforce", "report"])
@pytest.mark.parametrize("match", ["chain", "leaf"])
def test_a_denied_key_is_refused_whatever_else_matches(denied: Pin, mode: Any, match: Any) -> None:
    pins = {LEAF_PIN, INTERMEDIATE_PIN, ROOT_PIN} - {denied}
    decided = verdict(Rule(HOST, pins, match=match, mode=mode, deny=[OTHER, denied]), CHAIN)
    assert decided.reason is Reason.DENIED
    assert not decided.accepted
    assert len(decided.served) == 3


def test_a_denied_key_is_refused_after_expiry_too() -> None:
    rule = Rule(HOST, [OTHER], deny=[LEAF_PIN], expires=date(2020, 1, 1), on_expiry="allow")
    assert verdict(rule, CHAIN).reason is Reason.DENIED
    assert verdict(rule, ROGUE).accepted


def test_a_denied_key_that_is_not_served_changes_nothing() -> None:
    assert verdict(Rule(HOST, [LEAF_PIN], deny=[OTHER]), CHAIN).accepted
    assert not verdict(Rule(HOST, [BACKUP], deny=[OTHER]), CHAIN).accepted
    assert verdict(Rule(HOST, [BACKUP], deny=[OTHER], mode="report"), CHAIN).accepted


UNREAD = [
    reason
    for reason in Reason
    if reason
    not in {
        Reason.MATCHED,
        Reason.UNLISTED,
        Reason.EXCLUDED,
        Reason.EXPIRED,
        Reason.NO_MATCH,
        Reason.NO_MATCH_LEAF,
        Reason.WRONG_NAME,
        Reason.EXPIRED_CERTIFICATE,
        Reason.DENIED,
    }
]


@pytest.mark.parametrize("reason", UNREAD)
def test_a_chain_that_was_not_read_may_hold_a_denied_key(reason: Reason) -> None:
    """A report-only rule lets mismatches pass, but its denied keys hold: in doubt, refuse."""
    assert Rule(HOST, [OTHER], mode="report").refusal(HOST, reason).accepted
    assert not Rule(HOST, [OTHER], mode="report", deny=[BACKUP]).refusal(HOST, reason).accepted


@pytest.mark.parametrize("chain", [[UNREADABLE], [UNREADABLE, *CHAIN[1:]], []])
def test_a_denied_key_cannot_hide_in_a_certificate_that_is_not_der(chain: list[bytes]) -> None:
    """OpenSSL would take it: such a certificate verifies, and TLS goes on with its key."""
    rule = Rule(HOST, [OTHER], mode="report", deny=[LEAF_PIN])
    assert not verdict(rule, chain).accepted
    assert verdict(Rule(HOST, [OTHER], mode="report"), chain).accepted


def test_a_denial_stands_whatever_the_rule() -> None:
    assert not Rule(HOST, [OTHER], mode="report").refusal(HOST, Reason.DENIED).accepted


# Report mode


def test_report_mode_lets_a_mismatch_pass_and_tells_it() -> None:
    decided = verdict(Rule(HOST, [OTHER], mode="report"), CHAIN)
    assert decided.reason is Reason.NO_MATCH
    assert decided.accepted
    assert not decided.matched
    assert len(decided.served) == 3


def test_report_mode_changes_nothing_about_a_match() -> None:
    reporting = verdict(Rule(HOST, [LEAF_PIN], mode="report"), CHAIN)
    assert (reporting.reason, reporting.matched) == (Reason.MATCHED, True)


def test_report_mode_is_that_of_the_rule_that_decides() -> None:
    pins = PinSet([Rule("**.example.com", [OTHER], mode="report"), Rule(HOST, [OTHER])])
    assert not pins.check(HOST, CHAIN).accepted
    assert pins.check("example.com", CHAIN).accepted


# Expiry


NEW_YEAR = datetime(2030, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    "expires",
    [
        date(2030, 1, 1),
        NEW_YEAR,
        datetime(2030, 1, 1, 5, tzinfo=timezone(timedelta(hours=5))),
        datetime(2029, 12, 31, 16, tzinfo=timezone(timedelta(hours=-8))),
    ],
)
def test_an_expiry_is_one_moment_everywhere(expires: date) -> None:
    """A date is its first moment in UTC."""
    rule = Rule(HOST, [LEAF_PIN], expires=expires)
    assert rule.expires == NEW_YEAR
    assert not verdict(rule, CHAIN, now=NEW_YEAR - SECOND).expired
    assert verdict(rule, CHAIN, now=NEW_YEAR).expired
    assert verdict(rule, CHAIN, now=NEW_YEAR + SECOND).expired


def test_now_may_be_in_any_time_zone() -> None:
    rule = Rule(HOST, [LEAF_PIN], expires=NEW_YEAR)
    east = timezone(timedelta(hours=5))
    assert verdict(rule, CHAIN, now=datetime(2030, 1, 1, 5, tzinfo=east)).expired
    assert not verdict(rule, CHAIN, now=datetime(2030, 1, 1, 4, tzinfo=east)).expired


def test_expired_pins_are_still_enforced() -> None:
    rule = Rule(HOST, [LEAF_PIN], expires=NEW_YEAR)
    assert verdict(rule, CHAIN, now=NEW_YEAR).accepted
    decided = verdict(rule, ROGUE, now=NEW_YEAR)
    assert decided.reason is Reason.NO_MATCH
    assert decided.expired
    assert not decided.accepted


def test_expired_pins_let_pass_only_where_that_was_written_down() -> None:
    rule = Rule(HOST, [LEAF_PIN], expires=NEW_YEAR, on_expiry="allow")
    assert not verdict(rule, ROGUE, now=NEW_YEAR - SECOND).accepted
    decided = verdict(rule, ROGUE, now=NEW_YEAR)
    assert decided.reason is Reason.EXPIRED
    assert decided.accepted
    assert decided.expired
    assert len(decided.served) == 3
    matching = verdict(rule, CHAIN, now=NEW_YEAR)
    assert (matching.reason, matching.expired) == (Reason.MATCHED, True)


@pytest.mark.parametrize("chain", [[], [b"junk"]])
def test_an_expired_rule_lets_no_unreadable_chain_pass(chain: list[bytes]) -> None:
    rule = Rule(HOST, [LEAF_PIN], expires=NEW_YEAR, on_expiry="allow")
    assert not verdict(rule, chain, now=NEW_YEAR).accepted


def test_pins_without_an_expiry_do_not_expire() -> None:
    far = datetime.max.replace(tzinfo=UTC)
    assert not verdict(Rule(HOST, [LEAF_PIN]), CHAIN, now=far).expired


def test_a_refusal_says_nothing_of_expiry_unless_told() -> None:
    rule = Rule(HOST, [LEAF_PIN], expires=date(2020, 1, 1))
    assert not rule.refusal(HOST, Reason.NOT_VERIFIED).expired
    assert rule.refusal(HOST, Reason.NOT_VERIFIED, expired=True).expired


def test_the_present_is_the_default() -> None:
    assert Rule(HOST, [LEAF_PIN], expires=date(2020, 1, 1)).check(HOST, CHAIN).expired
    later = datetime.now(UTC) + timedelta(days=1)
    assert not Rule(HOST, [LEAF_PIN], expires=later).check(HOST, CHAIN).expired


def test_a_time_without_a_zone_is_an_error() -> None:
    naive = datetime(2030, 1, 1)  # noqa: DTZ001
    with pytest.raises(PinSetError, match="time zone"):
        Rule(HOST, [LEAF_PIN], expires=naive)
    with pytest.raises(PinSetError, match="time zone"):
        PinSet({HOST: [LEAF_PIN]}).check(HOST, CHAIN, now=naive)
    with pytest.raises(PinSetError, match="time zone"):
        Rule(HOST, exclude=True).check(HOST, CHAIN, now=naive)


# Bad arguments, each an error at construction


PIN_TEXT = str(OTHER)

BAD_RULES: dict[str, dict[str, Any]] = {
    "no pins": {"host": HOST},
    "an empty list of pins": {"host": HOST, "pins": []},
    "only denied pins": {"host": HOST, "deny": [OTHER]},
    "one pin instead of a list": {"host": HOST, "pins": OTHER},
    "one text instead of a list": {"host": HOST, "pins": PIN_TEXT},
    "bytes instead of a list": {"host": HOST, "pins": PIN_TEXT.encode()},
    "None instead of a list": {"host": HOST, "pins": None},
    "one denied text instead of a list": {"host": HOST, "pins": [BACKUP], "deny": PIN_TEXT},
    "an unknown match": {"host": HOST, "pins": [OTHER], "match": "root"},
    "no match": {"host": HOST, "pins": [OTHER], "match": None},
    "an unknown mode": {"host": HOST, "pins": [OTHER], "mode": "Enforce"},
    "an unknown on_expiry": {"host": HOST, "pins": [OTHER], "on_expiry": "report"},
    "an expiry in text": {"host": HOST, "pins": [OTHER], "expires": "2030-01-01"},
    "an expiry in seconds": {"host": HOST, "pins": [OTHER], "expires": 1893456000},
    "neither excluded nor not": {"host": HOST, "pins": [OTHER], "exclude": "no"},
    "excluded by a number": {"host": HOST, "exclude": 1},
    "excluded and pinned": {"host": HOST, "pins": [OTHER], "exclude": True},
    "excluded and denied": {"host": HOST, "deny": [OTHER], "exclude": True},
    "pinned and denied": {"host": HOST, "pins": [OTHER], "deny": [PIN_TEXT.replace("/", "//")]},
}


@pytest.mark.parametrize("arguments", BAD_RULES.values(), ids=BAD_RULES)
def test_a_rule_that_contradicts_itself_is_an_error(arguments: dict[str, Any]) -> None:
    with pytest.raises(PinSetError):
        Rule(**arguments)


@pytest.mark.parametrize("pin", ["sha1/abc", "", None, b"x", OTHER.digest])
def test_a_bad_pin_is_an_error_at_construction(pin: Any) -> None:
    for make in (
        lambda: Rule(HOST, [OTHER, pin]),
        lambda: Rule(HOST, [OTHER], deny=[pin]),
        lambda: PinSet({HOST: [pin]}),
        lambda: PinSet.for_every_host([pin]),
    ):
        with pytest.raises(PinFormatError):
            make()


@pytest.mark.parametrize("pattern", ["", "*", "**.com", "a.*.com", "example.com:443", 5, b"a.b"])
def test_a_bad_pattern_is_an_error_at_construction(pattern: Any) -> None:
    with pytest.raises(HostnameError):
        Rule(pattern, [OTHER])
    with pytest.raises(HostnameError):
        PinSet({pattern: [OTHER]})


BAD_SETS: dict[str, Callable[[], object]] = {
    "no pins for a host": lambda: PinSet({HOST: []}),
    "one text for a host": lambda: PinSet({HOST: PIN_TEXT}),
    "one pin for a host": lambda: PinSet({HOST: OTHER}),  # type: ignore[dict-item]
    "a rule for a host": lambda: PinSet({HOST: Rule(HOST, [OTHER])}),  # type: ignore[dict-item]
    "no pins for every host": lambda: PinSet.for_every_host([]),
    "one text for every host": lambda: PinSet.for_every_host(PIN_TEXT),
    "one rule instead of a list": lambda: PinSet(Rule(HOST, [OTHER])),  # type: ignore[arg-type]
    "a list of hosts": lambda: PinSet([HOST]),  # type: ignore[list-item]
    "a text": lambda: PinSet(HOST),  # type: ignore[arg-type]
    "an empty text": lambda: PinSet(""),  # type: ignore[arg-type]
    "None": lambda: PinSet(None),  # type: ignore[arg-type]
    "an unknown unlisted": lambda: PinSet([], unlisted="deny"),  # type: ignore[arg-type]
    "no unlisted": lambda: PinSet([], unlisted=None),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("make", BAD_SETS.values(), ids=BAD_SETS)
def test_a_pin_set_that_pins_less_than_it_says_is_an_error(make: Callable[[], object]) -> None:
    with pytest.raises(PinSetError):
        make()


@pytest.mark.parametrize(
    "spelling", ["EXAMPLE.com", "example.com.", "example。com", "ex\u00adample.com"]
)
def test_two_rules_for_one_host_are_an_error_however_it_is_spelt(spelling: str) -> None:
    with pytest.raises(PinSetError, match=r"two rules for example\.com"):
        PinSet({"example.com": [OTHER], spelling: [BACKUP]})
    with pytest.raises(PinSetError, match="two rules"):
        PinSet([Rule("**.example.com", [OTHER]), Rule(f"**.{spelling}", [BACKUP], mode="report")])


def test_the_same_rule_twice_is_an_error() -> None:
    for rule, host in ((Rule(HOST, [OTHER]), HOST), (Rule(None, [OTHER]), "every host")):
        with pytest.raises(PinSetError, match=f"two rules for {host}"):
            PinSet([rule, rule])


# Values


def test_a_mapping_is_short_for_rules() -> None:
    assert PinSet({HOST: [PIN_TEXT]}) == PinSet([Rule(HOST, [OTHER])])
    assert PinSet({}).rules == ()


def test_pins_may_be_any_iterable_and_count_once() -> None:
    rule = Rule(HOST, (pin for pin in [OTHER, PIN_TEXT, BACKUP, OTHER]), deny={LEAF_PIN})
    assert rule.pins == (OTHER, BACKUP)
    assert rule.deny == (LEAF_PIN,)


def test_rules_may_be_any_iterable() -> None:
    pins = PinSet(Rule(host, [OTHER]) for host in ("a.example.com", "b.example.com"))
    assert [rule.host for rule in pins.rules] == ["a.example.com", "b.example.com"]
    assert len(pins) == 2


def test_a_later_change_of_what_was_given_changes_nothing() -> None:
    given_pins: list[Pin | str] = [OTHER]
    given_rules = {HOST: given_pins}
    pins = PinSet(given_rules)
    given_pins.append(LEAF_PIN)
    given_rules["example.org"] = [OTHER]
    assert not pins.check(HOST, CHAIN).accepted
    assert pins.rule_for("example.org") is None


@pytest.mark.parametrize("name", ["rules", "unlisted", "_by_pattern", "note"])
def test_a_pin_set_is_immutable(name: str) -> None:
    pins = PinSet({HOST: [OTHER]})
    with pytest.raises(AttributeError):
        setattr(pins, name, ())
    with pytest.raises(AttributeError):
        delattr(pins, name)
    assert pins == PinSet({HOST: [OTHER]})


@pytest.mark.parametrize("field", Rule.__slots__)
def test_a_rule_is_immutable(field: str) -> None:
    rule = Rule(HOST, [OTHER])
    with pytest.raises(AttributeError):
        setattr(rule, field, ())
    assert rule == Rule(HOST, [OTHER])


def test_pin_sets_are_equal_by_their_rules_and_what_unlisted_hosts_get() -> None:
    first, second = Rule("a.example.com", [OTHER]), Rule("b.example.com", [OTHER])
    assert PinSet([first, second]) == PinSet([second, first])
    assert hash(PinSet([first, second])) == hash(PinSet([second, first]))
    assert PinSet([first]) != PinSet([first, second])
    assert PinSet([first]) != PinSet([Rule("a.example.com", [BACKUP])])
    assert PinSet([first]) != PinSet([Rule("a.example.com", [OTHER], match="leaf")])
    assert PinSet([first]) != PinSet([first], unlisted="refuse")
    assert PinSet([first]) != [first]


FULL = PinSet(
    [
        Rule(HOST, [OTHER, BACKUP], "leaf", "report", NEW_YEAR, "allow", [LEAF_PIN]),
        Rule("**.example.org", exclude=True),
        Rule(None, [OTHER]),
    ],
    unlisted="refuse",
)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pin_set_survives_pickling(protocol: int) -> None:
    restored = pickle.loads(pickle.dumps(FULL, protocol))
    assert restored == FULL
    assert restored.rules == FULL.rules
    assert restored.check(HOST, CHAIN) == FULL.check(HOST, CHAIN)


def test_a_pin_set_survives_copying() -> None:
    assert copy.copy(FULL) == FULL
    assert copy.deepcopy(FULL) == FULL


def test_a_verdict_survives_pickling() -> None:
    for decided in (FULL.check(HOST, CHAIN), PinSet({HOST: [OTHER]}).check(HOST, CHAIN)):
        assert pickle.loads(pickle.dumps(decided)) == decided


def test_a_verdict_is_immutable() -> None:
    decided = verdict(Rule(HOST, [OTHER]), CHAIN)
    with pytest.raises(AttributeError):
        decided.reason = Reason.MATCHED  # type: ignore[misc]
    assert not decided.accepted


def test_the_representation_names_the_hosts() -> None:
    assert repr(FULL) == ("<PinSet www.example.com, **.example.org, every host, unlisted='refuse'>")
    assert repr(rules("a.b", "a.c", "a.d")) == "<PinSet a.b, a.c, a.d, unlisted='allow'>"
    four = repr(rules("a.b", "a.c", "a.d", "a.e"))
    assert four == "<PinSet a.b, a.c, a.d and 1 more, unlisted='allow'>"
    assert repr(PinSet([])) == "<PinSet empty, unlisted='allow'>"


@given(PATTERNS)
def test_a_rule_keeps_its_pattern_in_normal_form(pattern: str | None) -> None:
    rule = Rule(pattern and pattern.upper(), [OTHER])
    assert rule.host == (None if pattern is None else normalise_pattern(pattern))


# The report


def test_the_report_of_a_mismatch_has_all_that_is_needed() -> None:
    """The host, each certificate with its pin and subject, the pins expected, and what to do."""
    decided = PinSet([Rule("**.example.com", [OTHER, BACKUP])]).check(HOST, CHAIN)
    lines = decided.report().splitlines()
    assert lines[:8] == [
        "keypin refused www.example.com: no pinned key in the verified chain",
        "  served, leaf first:",
        f"    {LEAF_PIN}  CN=www.example.com",
        f"    {INTERMEDIATE_PIN}  CN=intermediate",
        f"    {ROOT_PIN}  CN=root",
        "  pinned for **.example.com, any one of (chain):",
        f"    {OTHER}",
        f"    {BACKUP}",
    ]
    advice = " ".join(lines[8:])
    assert "pin it" in advice
    assert "man in the middle" in advice


def test_the_report_of_a_rule_for_every_host_says_so() -> None:
    report = PinSet.for_every_host([OTHER]).check(HOST, CHAIN).report()
    assert "  pinned for every host, any one of (leaf):" in report
    with pytest.raises(PinSetError, match="the rule for every host has no pins"):
        PinSet.for_every_host([])
    with pytest.raises(PinSetError, match=r"the rule for 'www\.example\.com' has no pins"):
        PinSet({HOST: []})


def test_the_report_of_an_excluded_host_names_no_pins() -> None:
    report = PinSet([Rule(HOST, exclude=True)]).check(HOST, CHAIN).report()
    assert report == "keypin accepted www.example.com: the rule excludes this host from pinning"


def test_the_report_says_which_port() -> None:
    decided = verdict(Rule(HOST, [OTHER]), CHAIN)._replace(port=8443)
    assert decided.report().startswith("keypin refused www.example.com:8443: ")


def test_the_report_says_where_it_is_report_mode() -> None:
    reporting = verdict(Rule(HOST, [OTHER], mode="report"), CHAIN).report()
    enforcing = verdict(Rule(HOST, [OTHER]), CHAIN).report()
    assert reporting.splitlines() == [
        "keypin, in report mode, let www.example.com pass: no pinned key in the verified chain",
        *enforcing.splitlines()[1:],
        "  This is report mode: a client that enforces these pins would have refused.",
    ]


def test_the_report_marks_a_pin_that_does_not_count() -> None:
    report = verdict(Rule(HOST, [ROOT_PIN], match="leaf"), CHAIN).report()
    assert f"{ROOT_PIN}  CN=root  <- pinned, but only the leaf counts here" in report
    assert report.count("<-") == 1


def test_the_report_marks_a_denied_key() -> None:
    report = verdict(Rule(HOST, [LEAF_PIN], deny=[INTERMEDIATE_PIN]), CHAIN).report()
    assert f"{INTERMEDIATE_PIN}  CN=intermediate  <- denied" in report
    assert report.count("<-") == 1


def test_the_report_says_that_pins_have_expired() -> None:
    report = verdict(Rule(HOST, [OTHER], expires=NEW_YEAR), CHAIN, now=NEW_YEAR).report()
    assert "these pins expired on 2030-01-01 00:00 UTC" in report
    earlier = NEW_YEAR - SECOND
    report = verdict(Rule(HOST, [OTHER], expires=NEW_YEAR), CHAIN, now=earlier).report()
    assert "expired" not in report


@pytest.mark.parametrize(
    ("decided", "advice"),
    [
        (PinSet([]).check(None, CHAIN), "server_hostname"),
        (PinSet([], unlisted="refuse").check(HOST, CHAIN), "Add a rule"),
        (Rule(HOST, [OTHER]).refusal(HOST, Reason.NOT_VERIFIED), "CERT_REQUIRED"),
        (Rule(HOST, [OTHER]).refusal(HOST, Reason.UNKNOWN_SESSION), "connect anew"),
        (Rule(HOST, [OTHER]).refusal(HOST, Reason.OLD_PROTOCOL), "TLS 1.2"),
    ],
    ids=lambda value: value.reason.name if isinstance(value, Verdict) else "",
)
def test_the_report_says_what_to_do(decided: Verdict, advice: str) -> None:
    assert advice in decided.report().splitlines()[-1]


def test_the_report_of_a_match_gives_no_advice() -> None:
    report = verdict(Rule(HOST, [LEAF_PIN]), CHAIN).report()
    assert report.startswith("keypin accepted www.example.com: a pinned key was served")
    assert "man in the middle" not in report


def test_a_report_of_no_name_says_so() -> None:
    assert "a server without a name" in PinSet([]).check(None, []).report()


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_makes_a_report(reason: Reason) -> None:
    for decided in (Verdict(HOST, reason), Rule(HOST, [OTHER]).refusal(HOST, reason, CHAIN)):
        first, *_ = decided.report().splitlines()
        assert HOST in first
        assert first.endswith(f": {reason}")


@given(st.text())
def test_no_host_name_can_forge_a_line_of_the_report(host: str) -> None:
    pins = PinSet([Rule(None, exclude=True)])
    lines = pins.check(host, CHAIN).report().split("\n")
    assert all(line.isprintable() for line in lines)
    assert len(lines) <= len(pins.check("*", CHAIN).report().split("\n"))


def test_no_subject_can_forge_a_line_of_the_report() -> None:
    subject = "x\n    sha256/AAAA  CN=forged\x1b[2J  <- denied"
    forged = ROOT.issue(HOST, common_name=subject)
    report = verdict(Rule(HOST, [OTHER]), [forged.certificate]).report()
    honest = verdict(Rule(HOST, [OTHER]), [LEAF.certificate]).report()
    assert len(report.splitlines()) == len(honest.splitlines())
    assert all(line.isprintable() for line in report.splitlines())
    assert "  <- denied" not in report
