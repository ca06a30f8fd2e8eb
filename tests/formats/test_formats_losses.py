"""The report: no conversion accepts more than the pin file without saying so."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from some_pins import (
    ALL_KINDS,
    FIRST,
    NAMES,
    PINS,
    SECOND,
    THIRD,
    host,
    need_parser,
    pin_file,
    pin_files,
)

import keypin.formats
from keypin import PinSet, Rule
from keypin.formats import FORMATS, LOSSES, Direction, FormatError, export_to, import_from
from keypin.formats._losses import differences, loss

ANYTHING = pin_files(
    exclude=True,
    deny=True,
    matches=("chain", "leaf"),
    modes=("enforce", "report"),
    fail_open=True,
    unlisted=("allow", "refuse"),
)
# hosts of every depth around the names that rules are made of, and one far away
HOSTS = [
    prefix + name for prefix, name in product(("", "q.", "r.q.", "s.r.q."), (*NAMES, "far.invalid"))
]
NAMING_HOSTS = [name for name in FORMATS if name not in ("cordova", "mobilefirst")]
BEFORE, LATER = datetime(2026, 12, 1, tzinfo=UTC), datetime(2027, 3, 1, tzinfo=UTC)


def chains() -> list[list[str]]:
    """Chains as their pins: each key as leaf and as CA, alone and with another one."""
    return [list(chain) for chain in [*product(PINS), *product(PINS[:3], PINS)]]


def accepts(pins: PinSet, name: str, chain: list[object], now: datetime) -> bool:
    """Decide as the documentation of `Rule` says; chains are lists of pins here."""
    rule = pins.rule_for(name)
    if rule is None:
        return pins.unlisted == "allow"
    if rule.exclude:
        return True
    if any(pin in chain for pin in rule.deny):
        return False
    if any(pin in rule.pins for pin in (chain[:1] if rule.match == "leaf" else chain)):
        return True
    lapsed = rule.expires is not None and now >= rule.expires and rule.on_expiry == "allow"
    return rule.mode == "report" or lapsed


def altered(rule: Rule, draw: st.DataObject) -> Rule | None:
    """Change a rule in one thing, or take it away."""
    what = draw.draw(st.sampled_from(["nothing", "pattern", "gone", "exclude", *CHANGES]))
    if what == "gone":
        return None
    if what == "pattern":
        domain = rule.host.rpartition("*.")[2]
        return Rule(**{**rule._values(), "host": draw.draw(st.sampled_from(ALL_KINDS)) + domain})
    if rule.exclude or what == "nothing":
        return rule
    if what == "exclude":
        return Rule(rule.host, exclude=True)
    return Rule(**{**rule._values(), **CHANGES[what](rule)})


CHANGES = {
    "more": lambda rule: {"pins": (*rule.pins, *(p for p in PINS[:3] if p not in rule.deny))},
    "fewer": lambda rule: {"pins": rule.pins[:1]},
    "match": lambda rule: {"match": "leaf" if rule.match == "chain" else "chain"},
    "mode": lambda rule: {"mode": "report" if rule.mode == "enforce" else "enforce"},
    "deny": lambda rule: {"deny": [pin for pin in PINS[2:] if pin not in rule.pins]},
    "no deny": lambda rule: {"deny": ()},
    "expires": lambda rule: {"expires": LATER, "on_expiry": "allow"},
    "never expires": lambda rule: {"expires": None},
}


@given(ANYTHING, st.data())
@settings(max_examples=150)
def test_a_target_that_accepts_more_is_never_without_a_loss_towards_less_safety(file, draw):
    source = file.pin_set()
    rules = [changed for rule in source.rules if (changed := altered(rule, draw))]
    unlisted = draw.draw(st.sampled_from([source.unlisted, "allow", "refuse"]))
    target = PinSet({rule.host: rule for rule in rules}.values(), unlisted=unlisted)
    if Direction.LESS_SAFE in {each.direction for each in differences(source, target, "it")}:
        return
    for name, chain, now in product(HOSTS, chains(), (BEFORE, LATER)):
        if accepts(target, name, chain, now):
            assert accepts(source, name, chain, now), (name, chain)


@given(ANYTHING)
def test_the_same_rules_differ_in_nothing(file):
    assert differences(file.pin_set(), file.pin_set(), "it") == []


@pytest.mark.parametrize(
    ("source", "target", "names"),
    [
        (Rule("a.example", [FIRST]), None, ["host-unpinned"]),
        (Rule("a.example", [FIRST]), Rule("a.example", [SECOND]), "other-pins-accepted"),
        (Rule("a.example", [FIRST, SECOND]), Rule("a.example", [SECOND]), "pins-missing"),
        (Rule("a.example", [FIRST], "leaf"), Rule("a.example", [FIRST]), "leaf-becomes-chain"),
        (Rule("a.example", [FIRST]), Rule("a.example", [FIRST], "leaf"), "leaf-only"),
        (
            Rule("a.example", [FIRST], deny=[SECOND]),
            Rule("a.example", [FIRST]),
            "deny-not-carried",
        ),
        (Rule("a.example", [FIRST], mode="report"), Rule("a.example", [FIRST]), "report-enforced"),
        (
            Rule("a.example", [FIRST], expires=LATER),
            Rule("a.example", [FIRST], expires=LATER, on_expiry="allow"),
            "fails-open",
        ),
        (
            Rule("a.example", [FIRST], expires=LATER, on_expiry="allow"),
            Rule("a.example", [FIRST], expires=BEFORE, on_expiry="allow"),
            "fails-open",
        ),
        (
            Rule("a.example", [FIRST], expires=LATER, on_expiry="allow"),
            Rule("a.example", [FIRST]),
            "fails-open-later",
        ),
        (
            Rule("a.example", [FIRST], expires=LATER),
            Rule("a.example", [FIRST]),
            "expiry-left-out",
        ),
        (Rule("*.a.example", [FIRST]), Rule("**.a.example", [FIRST]), "newly-pinned"),
        (Rule("**.a.example", [FIRST]), Rule("*.a.example", [FIRST]), "host-unpinned"),
    ],
)
def test_each_difference_has_its_name(source, target, names):
    found = differences(PinSet([source]), PinSet([target] if target else []), "it")
    expected = names if isinstance(names, list) else [names]
    assert {each.name for each in found} >= set(expected)
    assert {each.direction for each in found} <= {Direction(LOSSES[each.name][0]) for each in found}


def test_a_loss_names_its_rule_and_the_hosts():
    source = PinSet([Rule("**.example.com", [FIRST])])
    [found] = differences(source, PinSet([Rule("*.example.com", [FIRST])]), "It")
    assert (found.name, found.host) == ("host-unpinned", "**.example.com")
    assert found.text == ("It does not pin example.com, hosts two or more labels below example.com")


def test_unlisted_hosts_that_would_pass_are_a_loss():
    source = PinSet([Rule("a.example", [FIRST])], unlisted="refuse")
    [found] = differences(source, PinSet([Rule("a.example", [FIRST])]), "it")
    assert (found.name, found.host) == ("unlisted-allowed", None)
    [found] = differences(source, PinSet.for_every_host([FIRST], match="chain"), "it")
    assert found.name == "unlisted-allowed"


def test_an_excluded_host_that_is_pinned_is_a_loss():
    source = PinSet([Rule("**.example.com", [FIRST]), Rule("s.example.com", exclude=True)])
    [found] = differences(source, PinSet([Rule("**.example.com", [FIRST])]), "it")
    assert (found.name, found.direction) == ("exclusion-not-carried", Direction.STRICTER)
    assert found.host == "s.example.com"


@pytest.mark.parametrize("name", NAMING_HOSTS)
@settings(max_examples=50)
@given(file=ANYTHING)
def test_what_a_format_writes_is_read_as_what_the_report_is_about(name, file):
    need_parser(name)
    try:
        export = export_to(name, file)
    except FormatError:
        return  # nothing that could be written
    allowed = {each.name for each in export.losses}
    again = import_from(name, export.files).pins.pin_set()
    for each in differences(file.pin_set(), again, "it"):
        if each.direction is not Direction.INFORMATION:
            assert each.name in allowed


def test_roles_names_and_dates_of_keys_stay_in_the_pin_file():
    from keypin.pinfile import PinEntry

    with_notes = pin_file(host("a.example", PinEntry(FIRST, key="2026"), PinEntry(SECOND)))
    assert "notes-not-carried" in {each.name for each in export_to("android", with_notes).losses}
    without = pin_file(host("a.example"))
    assert export_to("android", without).losses == ()


def test_a_revoked_key_is_a_denied_one():
    from keypin.pinfile import PinEntry

    file = pin_file(host("a.example", FIRST, SECOND, PinEntry(THIRD, "revoked")))
    names = [each.name for each in export_to("android", file).losses]
    assert "deny-not-carried" in names
    carried = export_to("chromium", file)
    assert "deny-not-carried" not in {each.name for each in carried.losses}


def test_losses_towards_less_safety_come_first():
    file = pin_file(host("*.example.com", match="leaf", deny=[THIRD], mode="report", expires=LATER))
    directions = [each.direction for each in export_to("okhttp", file).losses]
    assert directions == sorted(directions, key=list(Direction).index)
    assert set(directions) == set(Direction)


def test_every_loss_is_documented_and_given_somewhere():
    package = Path(keypin.formats.__file__).parent
    code = "".join(path.read_text(encoding="utf-8") for path in package.glob("*.py"))
    docs = Path(__file__).parents[2] / "docs" / "formats.md"
    text = docs.read_text(encoding="utf-8")
    for name, (direction, _) in LOSSES.items():
        assert code.count(f'"{name}"') >= 2, f"{name} is in the table only"
        assert f"| `{name}` | {direction} |" in text
    for name in FORMATS:
        assert f"`{name}`" in text


def test_a_text_without_a_value_that_it_needs_is_a_mistake():
    with pytest.raises(KeyError):
        loss("host-unpinned")


@given(st.data())
def test_an_unknown_format_is_refused_with_those_that_there_are(data):
    name = data.draw(st.text().filter(lambda text: text not in FORMATS))
    with pytest.raises(FormatError, match="there are android, ios"):
        export_to(name, pin_file(host()))
    with pytest.raises(FormatError, match="there are android, ios"):
        import_from(name, {"x": b""})
