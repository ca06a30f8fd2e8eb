"""The pin file: what it means, what is wrong with it and on which line, and how it is written."""

from __future__ import annotations

import bisect
import importlib.resources
import json
import os
import pickle
import re
import stat
import tomllib
from copy import deepcopy
from datetime import UTC, date, datetime, time, timedelta, timezone
from itertools import product
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import keypin.pinfile
from keypin import HostnameError, Pin, PinFileError, PinFormatError, PinSet, PinSetError, Rule
from keypin.pinfile import Defaults, HostEntry, PinEntry, PinFile

FIRST = "sha256/k3XnEYQCK79AtL9GYnT/nyhsabas03V+bhRQYHQbpXU="
SECOND = "sha256/afwiKY3RxoMmLkuRW1l7QsPZTJPwDS2pdDROQjXw8ig="
THIRD = "sha256/YhKJKSzoTt2b5FP18fvpHo7fJYqQCjAa3HWY3tvRMwE="
HEAD = "schema = 1\nversion = 7\n"

# What issue 5 of a team that pins would write, with every field
EXAMPLE = f"""
schema = 1
version = 7

[defaults]
mode = "report"             # or "enforce"
match = "leaf"              # or "chain"
on_expiry = "allow"         # or "enforce"
unlisted = "refuse"         # or "allow"

[[host]]
name = "**.example.com"
expires = 2027-06-01
pins = [
  {{ pin = "{FIRST}", role = "active", key = "api 2026", not_before = 2026-10-01 }},
  {{ pin = "{SECOND}", role = "backup", key = "api 2027, offline" }},
]
deny = ["{THIRD}"]

[[host]]
name = "pay.example.com"
mode = "enforce"
match = "chain"
on_expiry = "enforce"
expires = 2027-06-01T12:00:00+02:00
pins = ["{FIRST}", {{ pin = "{SECOND}", role = "revoked" }}]

[[host]]
name = "status.example.com"
exclude = true
"""
EXAMPLE_RULES = PinSet(
    [
        Rule(
            "**.example.com",
            [FIRST, SECOND],
            match="leaf",
            mode="report",
            on_expiry="allow",
            expires=date(2027, 6, 1),
            deny=[THIRD],
        ),
        Rule(
            "pay.example.com",
            [FIRST],
            expires=datetime(2027, 6, 1, 10, tzinfo=UTC),
            deny=[SECOND],
        ),
        Rule("status.example.com", exclude=True),
    ],
    unlisted="refuse",
)


def host(*lines: str) -> str:
    """A file of one host with these lines, of which the first is line 6."""
    return "\n".join([HEAD, "[[host]]", 'name = "api.example.com"', *lines, ""])


def as_json(text: str, indent: int | str | None = 2) -> str:
    return json.dumps(tomllib.loads(text), indent=indent, default=lambda value: value.isoformat())


def errors(text: str, format: str = "toml") -> list[tuple[int | None, str | None, str]]:
    with pytest.raises(PinFileError) as caught:
        PinSet.loads(text, format)  # type: ignore[arg-type]
    return [tuple(problem) for problem in caught.value.problems]


def error(text: str, format: str = "toml") -> tuple[int | None, str | None, str]:
    (only,) = errors(text, format)
    return only


# What a file means


def test_a_file_says_what_its_rules_would_say_in_python() -> None:
    assert PinSet.loads(EXAMPLE) == EXAMPLE_RULES


@pytest.mark.parametrize("indent", [2, "\t", None])
def test_json_of_the_same_shape_means_the_same(indent: int | str | None) -> None:
    assert PinSet.loads(as_json(EXAMPLE, indent), "json") == EXAMPLE_RULES


def test_what_is_not_said_is_as_in_rule_and_pin_set() -> None:
    pins = PinSet.loads(host(f'pins = ["{FIRST}"]'))
    assert pins == PinSet([Rule("api.example.com", [FIRST])])


@pytest.mark.parametrize("role", ["planned", "active", "retiring", "backup"])
def test_a_key_of_every_role_but_revoked_is_accepted(role: str) -> None:
    pins = PinSet.loads(host(f'pins = [{{ pin = "{FIRST}", role = "{role}" }}]'))
    assert pins == PinSet([Rule("api.example.com", [FIRST])])


def test_a_revoked_key_is_denied() -> None:
    pins = PinSet.loads(host(f'pins = [{{ pin = "{FIRST}", role = "revoked" }}, "{SECOND}"]'))
    assert pins == PinSet([Rule("api.example.com", [SECOND], deny=[FIRST])])


def test_a_key_that_is_not_in_service_yet_is_accepted_already() -> None:
    pins = PinSet.loads(host(f'pins = [{{ pin = "{FIRST}", not_before = 2999-01-01 }}]'))
    assert pins == PinSet([Rule("api.example.com", [FIRST])])


def test_the_file_keeps_what_rules_do_not_need() -> None:
    file = PinFile.loads(EXAMPLE)
    assert file.version == 7
    assert file.hosts[0].pins == (
        PinEntry(FIRST, "active", "api 2026", date(2026, 10, 1)),
        PinEntry(SECOND, "backup", "api 2027, offline"),
    )
    assert file.hosts[1].pins == (PinEntry(FIRST), PinEntry(SECOND, "revoked"))
    assert file.defaults == Defaults("report", "leaf", "allow", "refuse")
    assert file.hosts[2].mode is None


@pytest.mark.parametrize(
    "text", [FIRST, FIRST.replace("/", "//", 1), f'pin-sha256="{FIRST.removeprefix("sha256/")}"']
)
def test_a_pin_is_written_in_any_form_that_pin_reads(text: str) -> None:
    assert PinSet.loads(host(f"pins = ['{text}']")) == PinSet({"api.example.com": [FIRST]})


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("2027-06-01", datetime(2027, 6, 1, tzinfo=UTC)),
        ("2027-06-01T12:30:00Z", datetime(2027, 6, 1, 12, 30, tzinfo=UTC)),
        ("2027-06-01T00:30:00.5-01:00", datetime(2027, 6, 1, 1, 30, 0, 500000, tzinfo=UTC)),
    ],
)
def test_an_expiry_is_a_date_or_a_time_with_offset_quoted_or_not(
    written: str, meant: datetime
) -> None:
    for expires in (written, f'"{written}"'):
        pins = PinSet.loads(host(f"expires = {expires}", f'pins = ["{FIRST}"]'))
        assert pins.rules[0].expires == meant


def test_tables_may_be_spelled_in_every_way_of_toml() -> None:
    pins = PinSet.loads(f"""
schema = 1
version = 7
defaults.mode = "report"
host = [ {{ name = "a.example.com", pins = ["{FIRST}"] }}, {{ name = "b.example.com", pins = [
  "{SECOND}" ] }} ]
""")
    again = PinSet.loads(f"""
schema = 1
version = 7
[[host]]
name = 'a.example.com'
[[host.pins]]
pin = '''{FIRST}'''
[[host]]
"name" = "b.ex\\u0061mple.com"
[[host.pins]]
pin = \"\"\"
{SECOND}\"\"\"
[defaults]
mode = "report"
""")
    assert pins == again
    assert pins.rules == (
        Rule("a.example.com", [FIRST], mode="report"),
        Rule("b.example.com", [SECOND], mode="report"),
    )


def test_a_file_that_has_expired_is_still_read() -> None:
    assert PinSet.loads(host("expires = 2001-01-01", f'pins = ["{FIRST}"]')).rules[0].expires


def test_a_subclass_of_pin_set_loads_itself(tmp_path: Path) -> None:
    class Ours(PinSet):
        pass

    (tmp_path / "pins.toml").write_text(EXAMPLE, encoding="utf-8")
    assert type(Ours.load(tmp_path / "pins.toml")) is Ours
    assert type(Ours.loads(EXAMPLE)) is Ours


# What is wrong: every problem on the line marked with "# !", in the order of the file

WRONG = {
    "misspelt words": f"""
schema = 1
version = 7
[defaults]
mod = "report"  # ! defaults.mod: unknown key; .*did you mean 'mode'
match = "leaves"  # ! defaults.match: match is one of 'chain', 'leaf', not 'leaves'.*'leaf'
[[host]]
name = "api.example.com"
on_expiry = "Allow"  # ! host\\[0\\].on_expiry: .* did you mean 'allow'
expiry = 2027-01-01  # ! host\\[0\\].expiry: unknown key; the keys here are name, .*'expires'
pins = [
  "{FIRST}",
  {{ pin = "{SECOND}", role = "retired" }},  # ! host\\[0\\].pins\\[1\\].role: .*did you mean 'reti
  {{ pin = "{THIRD}", nam = "x" }},  # ! host\\[0\\].pins\\[2\\].nam: unknown key; .* pin, role, key
]
""",
    "keys in the wrong place": f"""
schema = 1
mode = "report"  # ! mode: unknown key.*it belongs in \\[defaults\\]
[[host]]
name = "api.example.com"
unlisted = "refuse"  # ! host\\[0\\].unlisted: unknown key.*it belongs in \\[defaults\\]
pins = ["{FIRST}"]
version = 7  # ! host\\[0\\].version: unknown key.*at the top of the file
""",
    "types": f"""
schema = 1
version = true  # ! version: version is a whole number from 1 .*not true
[[host]]
name = 5  # ! host\\[0\\].name: a host is a string, not 5
pins = "{FIRST}"  # ! host\\[0\\].pins: a list, not 'sha256
[[host]]
name = ["a.example.com"]  # ! host\\[1\\].name: a host is a string, not a list
exclude = "true"  # ! host\\[1\\].exclude: true or false, not 'true'
[[host]]
name = "b.example.com"
pins = [
  5,  # ! host\\[2\\].pins\\[0\\]: a pin is a string or a table, not 5
  ["{FIRST}"],  # ! host\\[2\\].pins\\[1\\]: a pin is a string or a table, not a list
  {{ pin = ["{FIRST}"] }},  # ! host\\[2\\].pins\\[2\\].pin: a pin is a string, .*not a list
  {{ pin = "{FIRST}", key = 2026 }},  # ! host\\[2\\].pins\\[3\\].key: .*a string, not 2026
  {{ pin = "{SECOND}", role = true }},  # ! host\\[2\\].pins\\[4\\].role: .*not true
  {{ pin = "{THIRD}", not_before = 2026 }},  # ! host\\[2\\].pins\\[5\\].not_before: a date
]
deny = "{THIRD}"  # ! host\\[2\\].deny: a list
mode = ["report"]  # ! host\\[2\\].mode: .*not a list
""",
    "pins": f"""
schema = 1
version = 1
[[host]]
name = "b.example.com"
pins = [
  "{FIRST[:-2]}=",  # ! host\\[0\\].pins\\[0\\]: not base64|has 32 bytes
  "sha1/abc",  # ! host\\[0\\].pins\\[1\\]: not a pin: 'sha1/abc'; a pin is written sha256/BASE64
  {{ pin = "", role = "revoked" }},  # ! host\\[0\\].pins\\[2\\].pin: not a pin
  {{ role = "active" }},  # ! host\\[0\\].pins\\[3\\].pin: missing
]
deny = [
  "x",  # ! host\\[0\\].deny\\[0\\]: not a pin
  {{ pin = "{FIRST}" }},  # ! host\\[0\\].deny\\[1\\]: .* stands in pins, with role = "revoked"
]
""",
    "hosts": f"""
schema = 1
version = 1
[[host]]
name = "*.com"  # ! host\\[0\\].name: a wildcard needs a domain of two labels
pins = ["{FIRST}"]
[[host]]
name = "https://api.example.com/"  # ! host\\[1\\].name: not a host name: .*without scheme
pins = ["{FIRST}"]
[[host]]
name = ""  # ! host\\[2\\].name: not a host name
pins = ["{FIRST}"]
[[host]]  # ! host\\[3\\].name: missing
pins = ["{FIRST}"]
[[host]]  # ! host\\[4\\].pins: a host needs pins.*exclude = true
name = "a.example.com"
[[host]]
name = "b.example.com"
pins = []  # ! host\\[5\\].pins: a host needs pins
[[host]]
name = "d.example.com"
pins = [{{ pin = "{FIRST}", role = "revoked" }}]  # ! host\\[6\\].pins: all of them are revoked
""",
    "dates": f"""
schema = 1
version = 1
[[host]]
name = "a.example.com"
expires = 2027-01-01T12:00:00  # ! host\\[0\\].expires: a time without offset.*2027-01-01T12:00:00Z
pins = ["{FIRST}"]
[[host]]
name = "b.example.com"
expires = 12:00:00  # ! host\\[1\\].expires: a date .*, not the time 12:00:00
pins = ["{FIRST}"]
[[host]]
name = "c.example.com"
expires = "2027-02-30"  # ! host\\[2\\].expires: no such date or time
pins = ["{FIRST}"]
[[host]]
name = "d.example.com"
expires = "1 June 2027"  # ! host\\[3\\].expires: a date .*, not '1 June 2027'
pins = ["{FIRST}"]
[[host]]
name = "e.example.com"
expires = 0001-01-01T00:00:00+01:00  # ! host\\[4\\].expires: no such date in UTC
pins = ["{FIRST}"]
[[host]]
name = "f.example.com"
expires = 2027-01-01
pins = [
  {{ pin = "{FIRST}", not_before = 2026-12-31T23:59:59Z }},
  {{ pin = "{SECOND}", not_before = 2027-01-01 }}, # ! host\\[5\\].pins\\[1\\].not_before: not bef
  {{ pin = "{THIRD}", role = "planned", not_before = "2027-01-01T00:00:00" }}, # ! .*without offset
]
""",
    "duplicates": f"""
schema = 1
version = 1
[[host]]
name = "bücher.example"
pins = [
  {{ pin = "{FIRST}", key = "one" }},
  {{ pin = "{SECOND}", key = "one" }},  # ! host\\[0\\].pins\\[1\\].key: .*the name of pins\\[0\\]
  {{ pin = "{FIRST.replace("/", "//", 1)}", role = "backup" }}, # ! .*\\[2\\]: the same pin
]
deny = [
  "{THIRD}",
  "{SECOND}",  # ! host\\[0\\].deny\\[1\\]: the same pin as pins\\[1\\]
  "{THIRD}",  # ! host\\[0\\].deny\\[2\\]: the same pin as deny\\[0\\]
]
[[host]]
name = "XN--bcher-kva.example."  # ! host\\[1\\].name: .*the same host as host\\[0\\]
pins = ["{FIRST}"]
""",
    "exclusion": f"""
schema = 1
version = 1
[[host]]
name = "**.example.com"
pins = ["{FIRST}"]
[[host]]
name = "a.example.com"
exclude = true
pins = ["{FIRST}"]  # ! host\\[1\\].pins: an excluded host is not pinned
expires = 2027-01-01  # ! host\\[1\\].expires: an excluded host is not pinned
[[host]]
name = "a.example.org"
exclude = true  # ! host\\[2\\].exclude: has no effect
[[host]]
name = "b.a.example.com"
exclude = true
[[host]]
name = "**.b.example.com"
exclude = true
[[host]]
name = "c.b.example.com"
exclude = true  # ! host\\[5\\].exclude: has no effect
""",
}
MARK = re.compile(r"# ! (.*)$", re.MULTILINE)


def marked(text: str) -> list[tuple[int, str]]:
    return [(text.count("\n", 0, mark.start()) + 1, mark[1]) for mark in MARK.finditer(text)]


@pytest.mark.parametrize("text", WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("newline", ["\n", "\r\n"], ids=["LF", "CRLF"])
def test_everything_that_is_wrong_is_told_with_its_line_and_key(text: str, newline: str) -> None:
    found = errors(text.replace("\n", newline))
    expected = [
        *[(None, "version: missing") for _ in range("version = " not in text.partition("[[")[0])],
        *marked(text),
    ]
    assert [line for line, _, _ in found] == [line for line, _ in expected]
    for (_, key, said), (_, pattern) in zip(found, expected, strict=True):
        assert re.match(pattern.rstrip(), f"{key}: {said}"), f"{key}: {said}"


@pytest.mark.parametrize("text", WRONG.values(), ids=WRONG)
def test_json_tells_the_same_of_the_same_file(text: str) -> None:
    try:
        written = json.dumps(tomllib.loads(text), indent=1, default=lambda value: value.isoformat())
    except TypeError:
        pytest.fail("not JSON")
    lines = written.split("\n")
    expected = sorted(str(key) for _, key, _ in errors(text))
    found = errors(written, "json")
    assert sorted(str(key) for _, key, _ in found) == expected
    for line, key, said in found:
        assert line is not None
        if said == "missing" or said.startswith("a host needs pins; "):
            continue
        last = str(key).rpartition(".")[2]
        if not last.endswith("]"):
            assert lines[line - 1].strip().startswith(f'"{last}":')


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", (None, None, "empty; a pin file begins with schema = 1")),
        (" \n\t\n", (None, None, "empty; a pin file begins with schema = 1")),
        ("\ufeff" + EXAMPLE, (1, None, "begins with a byte order mark: save it as UTF-8 without")),
        (HEAD, (None, "host", "missing")),
        (HEAD + "host = []", (3, "host", "no host: the file would pin nothing")),
        (
            HEAD + "[host]\nname = 'a.b'",
            (3, "host", "a list of tables, each headed [[host]], not a table"),
        ),
        ("version = 1\nhost = 5", None),
        (HEAD + "host = [5]", (3, "host[0]", "a table, not 5")),
        (
            HEAD + f"defaults = 5\n[[host]]\nname='a.b'\npins=['{FIRST}']",
            (3, "defaults", "a table, not 5"),
        ),
    ],
)
def test_a_file_without_the_shape_of_one(text: str, problem: tuple[Any, ...] | None) -> None:
    if problem is None:
        assert [key for _, key, _ in errors(text)] == ["schema", "host"]
    else:
        assert error(text) == problem


@pytest.mark.parametrize("number", ["0", "3", "-1", "99999999999999999999999", "0x" + "f" * 5000])
def test_another_schema_is_all_that_is_told_of_such_a_file(number: str) -> None:
    line, key, said = error(f'version = "new"\nschema = {number}\n[[server]]\n')
    assert (line, key) == (2, "schema")
    assert said.startswith("this keypin reads schema 1 and 2, not ")
    assert said.endswith("upgrade") == (not number.startswith(("0", "-")) or "x" in number)


@pytest.mark.parametrize("value", ['"1"', "1.0", "true", "[1]", "nan"])
def test_the_schema_is_a_whole_number(value: str) -> None:
    line, key, said = error(EXAMPLE.replace("schema = 1", f"schema = {value}"))
    assert (line, key) == (2, "schema")
    assert said.startswith("schema is 1 or 2, not ")


@pytest.mark.parametrize("value", ["0", "-1", "1.5", '"7"', "true", "inf", "9007199254740992"])
def test_the_version_is_a_whole_number_from_one(value: str) -> None:
    line, key, said = error(EXAMPLE.replace("version = 7", f"version = {value}"))
    assert (line, key) == (3, "version")
    assert said.startswith("version is a whole number from 1 to 2**53 - 1, not ")


@pytest.mark.parametrize(
    "name",
    ["", " ", "a\tb", "a\nb", "\x7f", "\x85", "a\u2028b", "evil\u202egpj", "\u2066", "\u200f"],
)
def test_the_name_of_a_key_is_one_line_of_plain_text(name: str) -> None:
    line, key, said = error(
        host(f'pins = [{{ pin = "{FIRST}", key = {json.dumps(name)} }}]').replace("\x7f", "\\u007f")
    )
    assert (line, key) == (6, "host[0].pins[0].key")
    assert said.startswith("a key's name is ")
    assert said.isprintable()


def test_half_a_surrogate_pair_is_no_name() -> None:
    text = as_json(EXAMPLE).replace("api 2026", "\\ud800")
    assert error(text, "json")[1] == "host[0].pins[0].key"


def test_what_cannot_be_parsed_is_told_with_line_and_column() -> None:
    assert error(HEAD + "[[host]\n") == (
        3,
        None,
        "not TOML: Expected ']]' at the end of an array declaration, column 7",
    )
    line, key, said = error(HEAD + "[[host]]\npins = [\n  'x',\n\n")
    assert (line, key) == (5, None)
    assert said.startswith("not TOML: ")
    assert error('{\n  "schema": 1,\n}', "json")[:2] == (
        3 if "property name" in error('{\n  "schema": 1,\n}', "json")[2] else 2,
        None,
    )


def test_a_key_given_twice_is_an_error_in_toml_and_in_json() -> None:
    line, _, said = error(HEAD + "version = 8\n")
    assert (line, said.partition(",")[0]) == (3, "not TOML: Cannot overwrite a value")
    text = as_json(EXAMPLE).replace('"exclude": true', '"exclude": false,\n      "exclude": true')
    line, key, said = error(text, "json")
    assert (key, said) == ("host[2].exclude", "given more than once")
    assert line == text.count("\n", 0, text.index('"exclude": true')) + 1


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e400"])
def test_what_json_has_no_number_for_is_no_version(value: str) -> None:
    line, key, _ = error(as_json(EXAMPLE).replace('"version": 7', f'"version": {value}'), "json")
    assert (line, key) == (3, "version")


@pytest.mark.parametrize("value", ["[]", "5", '"schema"', "null", "true"])
def test_json_that_is_no_object_is_told_to_be_a_table(value: str) -> None:
    assert error(value, "json")[:2] == (1, None)


@pytest.mark.parametrize(("format", "opening"), [("toml", "a = "), ("json", '{"a": ')])
def test_deep_nesting_is_refused(format: str, opening: str) -> None:
    line, _, said = error(opening + "[" * 100_000 + "]" * 100_000, format)
    assert (line, said) == (None, "nested too deeply")


@pytest.mark.parametrize("format", ["toml", "json"])
def test_any_depth_that_can_be_parsed_ends_in_a_plain_error(format: str) -> None:
    for depth in (10, 100, 300, 500, 1000, 1500):
        value = "[\n" * depth + "]" * depth
        text = f'{{"a": {value}}}' if format == "json" else f"a = {value}\n{EXAMPLE}"
        found = errors(text, format)
        assert ((1, "a") in [problem[:2] for problem in found]) or found[0][
            2
        ] == "nested too deeply"


def test_lines_near_the_limit_of_nesting_are_right_or_missing() -> None:
    def text(depth: int) -> str:
        return f"a = {'[' * depth}\n{']' * depth}\n[defaults]\nx = 5"

    def is_parsed(depth: int) -> bool:
        return errors(text(depth))[0][2] != "nested too deeply"

    deepest = bisect.bisect_left(range(10_000), True, key=lambda depth: not is_parsed(depth)) - 1
    assert deepest > 50
    for depth in range(deepest - 5, deepest):
        lines = {key: line for line, key, _ in errors(text(depth))}
        assert lines["a"] in (1, None)
        assert lines["defaults.x"] in (4, None)


@pytest.mark.parametrize("format", ["toml", "json"])
def test_a_number_of_thousands_of_digits_is_refused(format: str) -> None:
    digits = "1" * 5000
    text = f'{{"schema": {digits}}}' if format == "json" else f"schema = {digits}"
    assert error(text, format)[2].startswith(f"not {format.upper()}: ")


def test_no_more_than_a_hundred_problems_are_told() -> None:
    text = HEAD + "".join(f"[[host]]\nname = '*.{i}'\n" for i in range(5000))
    assert len(errors(text)) == 100


def test_long_values_are_cut_in_messages() -> None:
    long = "x" * 100_000
    text = f"""
schema = 1
version = "{long}"
{long} = 5
[[host]]
name = "{long}"
mode = "{long}"
pins = ["{long}", {{ pin = "{FIRST}", key = 5, {long} = 5 }}]
"""
    with pytest.raises(PinFileError) as caught:
        PinSet.loads(text)
    assert len(caught.value.problems) == 7
    assert len(str(caught.value)) < 3000
    assert len(error(f"a = {{ {long} = 1, {long} = 2 }}")[2]) < 300


def test_a_message_names_file_line_and_key_of_one_problem() -> None:
    with pytest.raises(PinFileError) as caught:
        PinSet.loads(EXAMPLE.replace("= 2027-06-01\n", "= 2027\n"), name="conf/pins.toml")
    assert str(caught.value) == (
        "conf/pins.toml, line 13: host[0].expires: a date (2027-06-01) or a date and time with"
        " offset (2027-06-01T12:00:00Z), not 2027"
    )
    assert (caught.value.name, caught.value.line, caught.value.key) == (
        "conf/pins.toml",
        13,
        "host[0].expires",
    )


def test_a_message_lists_several_problems_one_a_line() -> None:
    with pytest.raises(PinFileError) as caught:
        PinSet.loads(EXAMPLE.replace("exclude = true", "exclude = 1").replace('"leaf"', '"lea"'))
    assert str(caught.value) == (
        "pin file: 2 problems\n"
        "  line 7: defaults.match: match is one of 'chain', 'leaf', not 'lea';"
        " did you mean 'leaf'?\n"
        "  line 30: host[2].exclude: true or false, not 1"
    )


def test_the_error_is_a_pin_set_error_and_survives_pickling() -> None:
    with pytest.raises(PinSetError) as caught:
        PinSet.loads("schema = 3", name="pins.toml")
    again = pickle.loads(pickle.dumps(caught.value))
    assert type(again) is PinFileError
    assert str(again) == str(caught.value)
    assert vars(again) == vars(caught.value)


@pytest.mark.parametrize("text", [b"schema = 1", None, 5])
def test_the_text_is_a_str(text: object) -> None:
    with pytest.raises(PinFileError, match=r"the text of a pin file is a str, not "):
        PinSet.loads(text)  # type: ignore[arg-type]


def test_the_format_is_toml_or_json() -> None:
    with pytest.raises(PinSetError, match="format is one of 'toml', 'json', not 'yaml'"):
        PinSet.loads(EXAMPLE, "yaml")  # type: ignore[arg-type]
    with pytest.raises(PinSetError, match="format is one of"):
        PinFile.loads(EXAMPLE).dumps("yaml")  # type: ignore[arg-type]


# Lines: in a text that is as hard to follow as TOML allows, every key is misspelt once

HARD = f'''# [[host]]
# name = "in a comment"
schema = 1  # ["]
version = 7

[defaults]  # name
"mode" = "report"   # mode = "enforce"
'match' = "leaf"
[[ host ]]
name = "a.example.com" # ]]]
pins = [   # [[host]]
  # {{ pin = "{FIRST}" }}
  "{FIRST}", {{ pin = "{SECOND}", role = "backup", key = "\\" ]}} # [", not_before = 2026-01-01 }}
  , # comma

  {{ pin = \'\'\'
{THIRD}\'\'\', key = 'no # comment ["' }}
]
expires = 2027-01-01

  [["host"]]
pins = ["{FIRST}", "{SECOND}"]
name = """\\
   b.example.com"""
deny = [

    "{THIRD}"

    ]
[[host]]
name = """\\
    c\\
.example.com"""  # name
[[host.pins]]
pin = "{FIRST}"
role = "planned"
[[host.pins]]
pin = "{SECOND}"
role = "retiring"
'''
KEYS = (
    "schema version defaults mode match host name port starttls pins pin role key not_before"
    " expires deny authority"
)


def with_one_key_misspelt(text: str) -> list[tuple[int, str]]:
    """Every text that has one more letter in one key, and the line of that key."""
    spots = re.finditer(rf"\b({'|'.join(KEYS.split())})\b(?=[\"']?\s*[=\]:])", text)
    return [
        (text.count("\n", 0, spot.start()) + 1, f"{text[: spot.end()]}x{text[spot.end() :]}")
        for spot in spots
    ]


HARD_JSON = [as_json(HARD, 2), as_json(HARD, "\t"), as_json(HARD, None)]


@pytest.mark.parametrize("newline", ["\n", "\r\n"], ids=["LF", "CRLF"])
def test_a_misspelt_key_is_told_with_its_line_wherever_it_stands(newline: str) -> None:
    whole = PinSet.loads(HARD)
    told = 0
    for line, text in with_one_key_misspelt(HARD):
        text = text.replace("\n", newline)
        try:
            if PinSet.loads(text) == whole:
                continue  # it stood in a comment
        except PinFileError as error:
            found = {problem.key: problem.line for problem in error.problems}
        if None in found:
            continue  # no TOML any more: [[host.pins]] would follow [[hostx]]
        unknown = [at for key, at in found.items() if str(key).endswith("x")]
        assert unknown == [line], text
        told += 1
    assert told > 20


@pytest.mark.parametrize("text", HARD_JSON, ids=["indented", "tabs", "one line"])
def test_a_misspelt_name_in_json_is_told_with_its_line(text: str) -> None:
    spots = [match.end() for match in re.finditer(r'"\w+(?=": )', text)]
    assert len(spots) > 20
    for spot in spots:
        line = text.count("\n", 0, spot) + 1
        found = errors(f"{text[:spot]}x{text[spot:]}", "json")
        assert [at for at, key, _ in found if str(key).endswith("x")] == [line]


@pytest.mark.parametrize("newline", ["\n", "\r\n"], ids=["LF", "CRLF"])
def test_a_wrong_element_is_told_with_its_line_wherever_it_stands(newline: str) -> None:
    spots = [spot.start() for spot in re.finditer("sha256/", HARD)]
    told = 0
    for spot in spots:
        text = f"{HARD[:spot]}sha1/{HARD[spot + 7 :]}".replace("\n", newline)
        line = HARD.count("\n", 0, spot) + 1
        if HARD[:spot].endswith("'\n"):
            line -= 1  # a multi-line string begins where its quotes are
        if HARD[:spot].rpartition("\n")[2].strip().startswith("#"):
            assert PinSet.loads(text)
            continue
        assert [at for at, _, _ in errors(text)] == [line]
        told += 1
    assert told == len(spots) - 1


def test_headers_in_strings_do_not_move_the_lines() -> None:
    text = host(
        f'pins = ["{FIRST}"]',
        "[[host]]",
        "name = '''",
        "[[host]]",
        "name = 5'''",
        "[[host]]",
        "name = 'c.example.com'",
        "pins = [5]",
    )
    assert [line for line, _, _ in errors(text)] == [7, 8, 13]


def test_a_list_of_hosts_on_many_lines_is_followed() -> None:
    text = (
        HEAD
        + f"""host = [
  {{ name = "a.example.com", pins = [
      "{FIRST}",
      "{SECOND}x" ] }},
  {{ name = "b.example.com", pins = ["{FIRST}"], deny = [

      {{ pin = "{FIRST}" }},
  ], exclude = 5 }},
]
defaults = {{ mode = "x" }}
"""
    )
    assert [(line, key) for line, key, _ in errors(text)] == [
        (6, "host[0].pins[1]"),
        (9, "host[1].deny[0]"),
        (10, "host[1].exclude"),
        (12, "defaults.mode"),
    ]


def test_the_line_of_an_error_among_many_hosts_is_found_soon() -> None:
    hosts = [
        f'[[host]]\nname = "h{i}.example.com"\npins = [\n  "{FIRST}",\n]' for i in range(20000)
    ]
    hosts[19_000] = hosts[19_000].replace('="', '"')
    text = HEAD + "\n".join(hosts)
    assert error(text)[:2] == (2 + 19_000 * 5 + 4, "host[19000].pins[0]")
    assert error(HEAD + "wrong = 5\n" + text[len(HEAD) :].replace(FIRST[:-1] + '"', FIRST + '"'))[
        :2
    ] == (3, "wrong")


@pytest.mark.parametrize("format", ["toml", "json"])
def test_a_wrong_file_is_read_by_the_library_once(
    format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much is wrong with it: the lines are told without asking the library again."""
    if format == "toml":
        text = HEAD + "".join(f"a{i}.b = 1\n" for i in range(8000))
    else:
        text = json.dumps({"schema": 1, "version": 1} | {f"a{i}": {"b": 1} for i in range(8000)})
    module = tomllib if format == "toml" else json
    loads, read = module.loads, []

    def counted(text: str, **options: Any) -> object:
        read.append(len(text))
        return loads(text, **options)

    monkeypatch.setattr(module, "loads", counted)
    found = errors(text, format)
    assert len(found) == 100
    assert sum(read) == len(text)
    if format == "toml":
        assert [line for line, _, _ in found] == list(range(3, 103))


SMALL = "schema = 1\nversion = 1\n"
HOSTILE = {
    "a header of many parts": ("toml", "[" + ".".join("a" * 2000) + "]\n"),
    "a key of many parts": ("toml", ".".join("a" * 2000) + " = 1\n"),
    "a key of many parts in a table": ("toml", "x = { " + ".".join("a" * 2000) + " = 1 }\n"),
    "tables in tables": ("toml", "a = " + "{ a = " * 5000 + "1" + " }" * 5000),
    "lists in lists": ("toml", "a = " + "[" * 5000 + "]" * 5000),
    "a host of many parts": ("toml", f"{SMALL}[[host]]\n{'.'.join('a' * 2000)} = 1\n"),
    "tables as pins": ("toml", f"{SMALL}[[host]]\nname = 'a.b'\npins.{'.'.join('a' * 900)} = 1"),
    "a huge number": ("toml", f"{SMALL}x = 0x{'f' * 1_000_000}\n"),
    "a huge version": ("toml", f"schema = 1\nversion = 0b{'1' * 1_000_000}\n"),
    "a huge schema": ("toml", f"schema = 0o{'7' * 1_000_000}\nversion = 1\n"),
    "no numbers": ("toml", "schema = nan\nversion = inf\n"),
    "wrong keys": ("toml", SMALL + "".join(f"a{i}.b = 1\n" for i in range(20_000))),
    "wrong hosts": ("toml", SMALL + "".join(f"[[host]]\nname = {i}\n" for i in range(20_000))),
    "wrong pins": ("toml", f"{SMALL}[[host]]\nname = 'a.b'\npins = [{'5, ' * 50_000}]\n"),
    "NUL": ("toml", f"{SMALL}x = '\0'\n"),
    "a surrogate": ("toml", f"{SMALL}'\udc80' = '\ud800'\n"),
    "objects in objects": ("json", '{"a":' * 100_000 + "1" + "}" * 100_000),
    "arrays in arrays": ("json", '{"a":' + "[" * 100_000 + "]" * 100_000 + "}"),
    "names again and again": ("json", "{" + '"version": 1, ' * 50_000 + '"schema": 1}'),
    "no numbers in JSON": ("json", '{"schema": 1, "version": NaN, "host": [-Infinity, 1e999]}'),
    "empty objects": ("json", '{"schema": 1, "version": 1, "host": [' + "{}, " * 50_000 + "{}]}"),
    "surrogates in JSON": (
        "json",
        '{"schema": 1, "\\ud800": "\\udfff", "host": [{"name": "\\ud800"}]}',
    ),
}


@pytest.mark.parametrize(("format", "text"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_file_is_refused_like_any_other(tmp_path: Path, format: str, text: str) -> None:
    """With an error of the ordinary kind, and in the time that the library takes to read it."""
    assert error_of(text, format)
    path = tmp_path / f"pins.{format}"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(PinFileError):
        PinSet.load(path)


def error_of(text: str, format: str) -> PinFileError:
    with pytest.raises(PinFileError) as caught:
        PinSet.loads(text, format)  # type: ignore[arg-type]
    return caught.value


@pytest.mark.parametrize("format", ["toml", "json"])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "utf-8-sig"])
def test_other_encodings_are_refused(tmp_path: Path, format: str, encoding: str) -> None:
    path = tmp_path / f"pins.{format}"
    path.write_bytes((EXAMPLE if format == "toml" else as_json(EXAMPLE)).encode(encoding))
    with pytest.raises(PinFileError, match=r"not UTF-8|byte order mark|not TOML|not JSON"):
        PinSet.load(path)


# Entries without effect


@pytest.mark.parametrize(
    ("pinned", "excluded"),
    [
        (["**.example.com"], "a.example.com"),
        (["**.example.com"], "*.example.com"),
        (["**.example.com"], "**.a.example.com"),
        (["*.example.com"], "a.example.com"),
        (["*.example.com"], "**.a.example.com"),
        (["a.example.com", "**.example.com"], "**.a.example.com"),
    ],
)
def test_an_exclusion_from_a_wider_rule_has_an_effect(pinned: list[str], excluded: str) -> None:
    rules = [Rule(name, [FIRST]) for name in pinned]
    pins = PinSet([*rules, Rule(excluded, exclude=True)])
    assert PinSet.loads(PinFile.from_pin_set(pins).dumps()) == pins


@pytest.mark.parametrize(
    ("pinned", "excluded"),
    [
        (["b.example.com"], "a.example.com"),
        (["*.example.com"], "example.com"),
        (["*.example.com"], "a.b.example.com"),
        (["a.example.com"], "*.example.com"),
        (["a.example.com"], "**.example.com"),
        (["a.example.com", "*.example.com"], "**.a.example.com"),
    ],
)
def test_an_exclusion_from_nothing_is_an_error_unless_unlisted_hosts_are_refused(
    pinned: list[str], excluded: str
) -> None:
    rules = [*(Rule(name, [FIRST]) for name in pinned), Rule(excluded, exclude=True)]
    with pytest.raises(PinFileError, match="has no effect"):
        PinFile.from_pin_set(PinSet(rules))
    assert PinFile.from_pin_set(PinSet(rules, unlisted="refuse")).pin_set().rules == tuple(rules)


def test_nothing_is_said_of_an_effect_that_depends_on_what_is_wrong() -> None:
    for wrong in ('name = "**.com"', 'nam = "**.example.com"'):
        text = f"""
schema = 1
version = 1
[[host]]
{wrong}
pins = ["{FIRST}"]
[[host]]
name = "a.example.com"
exclude = true
"""
        assert not any("effect" in said for _, _, said in errors(text))
    for wrong in ('unlisted = "refused"', "unlisted = 5"):
        text = f"""
schema = 1
version = 1
[defaults]
{wrong}
[[host]]
name = "a.example.com"
exclude = true
"""
        assert not any("effect" in said for _, _, said in errors(text))


LONGEST = ".".join(["a" * 63] * 3 + ["b" * 61])  # 253 characters


@pytest.mark.parametrize(
    ("names", "unreachable"),
    [
        ([f"*.{LONGEST}"], f"*.{LONGEST}"),
        ([f"*.{LONGEST[1:]}"], f"*.{LONGEST[1:]}"),
        ([f"*.{LONGEST[2:]}"], None),
        ([f"**.{LONGEST}"], None),
        ([LONGEST], None),
        ([f"**.{LONGEST}", LONGEST], f"**.{LONGEST}"),
        ([f"**.{LONGEST[2:]}", LONGEST[2:]], None),
        ([f"**.{LONGEST[3:]}", LONGEST[3:], f"*.{LONGEST[3:]}"], f"**.{LONGEST[3:]}"),
        ([f"**.{LONGEST[4:]}", LONGEST[4:], f"*.{LONGEST[4:]}"], None),
    ],
)
def test_a_pattern_that_no_host_can_reach_is_an_error(
    names: list[str], unreachable: str | None
) -> None:
    pins = PinSet([Rule(name, [FIRST]) for name in names])
    if unreachable is None:
        assert PinFile.from_pin_set(pins).pin_set() == pins
    else:
        with pytest.raises(PinFileError) as caught:
            PinFile.from_pin_set(pins)
        assert caught.value.key == f"host[{names.index(unreachable)}].name"


# Properties

PINS = [Pin.from_digest(bytes([number]) * 32) for number in range(9)]
DOMAINS = ["example.com", "b.example.com", "a.b.example.com", "example.org"]
NAMES = [stars + domain for domain, stars in product(DOMAINS, ("", "*.", "**."))]
ADDRESSES = ["192.0.2.1", "2001:db8::1", "localhost", "xn--bcher-kva.example"]
OFFSETS = st.builds(timezone, st.timedeltas(timedelta(hours=-14), timedelta(hours=14))).map(
    lambda zone: timezone(timedelta(minutes=zone.utcoffset(None).total_seconds() // 60))
)
MOMENTS = st.one_of(
    st.dates(),
    st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1), timezones=OFFSETS),  # noqa: DTZ001
    st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)).map(  # noqa: DTZ001
        lambda moment: moment.replace(microsecond=0)
    ),
)


@st.composite
def rules(draw: st.DrawFn, name: str | None) -> Rule:
    if draw(st.integers(0, 3)) == 0:
        return Rule(name, exclude=True, mode=draw(st.sampled_from(["enforce"] * 9 + ["report"])))
    pins = draw(st.lists(st.sampled_from(PINS), min_size=1, max_size=5, unique=True))
    denied = draw(st.integers(0, len(pins) - 1))
    return Rule(
        name,
        pins[denied:],
        match=draw(st.sampled_from(["chain", "leaf"])),
        mode=draw(st.sampled_from(["enforce", "report"])),
        expires=draw(st.none() | MOMENTS),
        on_expiry=draw(st.sampled_from(["enforce", "allow"])),
        deny=pins[:denied],
    )


@st.composite
def pin_sets(draw: st.DrawFn) -> PinSet:
    names = draw(st.lists(st.sampled_from(NAMES + ADDRESSES), max_size=8, unique=True))
    if draw(st.integers(0, 20)) == 0:
        names.append(None)
    return PinSet(
        [draw(rules(name)) for name in names], unlisted=draw(st.sampled_from(["allow", "refuse"]))
    )


def has_effect(rule: Rule, pins: PinSet) -> bool:
    """Whether leaving out an exclusion changes what any host gets: tried on hosts of each kind."""
    domain = str(rule.host).rpartition("*.")[2]
    others = PinSet([other for other in pins.rules if other is not rule], unlisted=pins.unlisted)
    for name in [domain] if domain in ADDRESSES else [domain, f"zz.{domain}", f"yy.zz.{domain}"]:
        if pins.rule_for(name) is rule:
            other = others.rule_for(name)
            if not (other.exclude if other else pins.unlisted == "allow"):
                return True
    return False


def can_be_written(pins: PinSet) -> bool:
    return bool(pins.rules) and all(
        rule.host is not None
        and (not rule.exclude or (rule.mode == "enforce" and has_effect(rule, pins)))
        for rule in pins.rules
    )


@given(pin_sets())
@settings(max_examples=400)
def test_every_pin_set_that_can_be_written_comes_back_from_both_formats(pins: PinSet) -> None:
    if not can_be_written(pins):
        with pytest.raises(PinFileError):
            PinFile.from_pin_set(pins)
        return
    file = PinFile.from_pin_set(pins, version=3)
    for format in ("toml", "json"):
        text = file.dumps(format)
        assert PinSet.loads(text, format) == pins
        assert PinFile.loads(text, format) == file
        assert is_valid(shape_of(text, format))


KEY_NAMES = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Cf", "Zl", "Zp"]), min_size=1, max_size=12
).filter(str.strip)


@st.composite
def host_entries(draw: st.DrawFn, name: str) -> HostEntry:
    pins = draw(st.lists(st.sampled_from(PINS), min_size=1, max_size=6, unique=True))
    names = draw(st.lists(KEY_NAMES, min_size=6, max_size=6, unique=True))
    denied = draw(st.integers(0, len(pins) - 1))
    roles = st.sampled_from(["planned", "active", "retiring", "revoked", "backup"])
    entries = [
        PinEntry(
            pin,
            "active" if index == 0 else draw(roles),
            draw(st.sampled_from([None, names[index]])),
            draw(st.none() | MOMENTS),
            draw(st.sampled_from([None, None, "own", "other"])),
        )
        for index, pin in enumerate(pins[denied:])
    ]
    expires = draw(st.none() | MOMENTS)
    if expires is not None:
        moments = [entry.not_before for entry in entries if entry.not_before]
        assume(all(moment < PinEntry(FIRST, not_before=expires).not_before for moment in moments))
    return HostEntry(
        name,
        entries,
        pins[:denied],
        expires,
        draw(st.sampled_from([None, "enforce", "report"])),
        draw(st.sampled_from([None, "chain", "leaf"])),
        draw(st.sampled_from([None, "enforce", "allow"])),
    )


DEFAULTS = st.builds(
    Defaults,
    st.sampled_from(["enforce", "report"]),
    st.sampled_from(["chain", "leaf"]),
    st.sampled_from(["enforce", "allow"]),
    st.sampled_from(["allow", "refuse"]),
)


@st.composite
def pin_files(draw: st.DrawFn) -> PinFile:
    names = draw(st.lists(st.sampled_from(NAMES + ADDRESSES), min_size=1, max_size=4, unique=True))
    return PinFile(
        [draw(host_entries(name)) for name in names],
        version=draw(st.integers(1, 2**53 - 1)),
        defaults=draw(DEFAULTS),
    )


@given(pin_files())
@settings(max_examples=150)
def test_every_file_comes_back_with_all_that_people_wrote_in_it(file: PinFile) -> None:
    for format in ("toml", "json"):
        text = file.dumps(format)
        assert PinFile.loads(text, format) == file
        assert PinSet.loads(text, format) == file.pin_set()
        assert is_valid(shape_of(text, format))


# The schema

SCHEMA = json.loads(
    importlib.resources.files("keypin").joinpath("pins.schema.json").read_text(encoding="utf-8")
)
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def is_valid(document: object) -> bool:
    return bool(VALIDATOR.is_valid(document))


def shape_of(text: str, format: str = "toml") -> Any:
    """What a schema sees of a file: dates are text in JSON."""
    if format == "json":
        return json.loads(text)

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: plain(field) for name, field in value.items()}
        if isinstance(value, list):
            return [plain(element) for element in value]
        return value.isoformat() if isinstance(value, date | time) else value

    return plain(tomllib.loads(text))


def loads(document: object) -> bool:
    try:
        PinSet.loads(json.dumps(document), "json")
    except PinFileError:
        return False
    return True


PORTS = f"""
schema = 2
version = 1

[[host]]
name = "api.example.com"
port = 8443
pins = ["{FIRST}"]

[[host]]
name = "mail.example.com"
port = 587
starttls = "smtp"
pins = ["{FIRST}", "{SECOND}"]
"""


@pytest.mark.parametrize("format", ["toml", "json"])
def test_a_file_may_tell_where_its_servers_are(format: str) -> None:
    file = PinFile.loads(PORTS)
    assert [(host.port, host.starttls) for host in file.hosts] == [(8443, None), (587, "smtp")]
    written = file.dumps(format)
    assert PinFile.loads(written, format) == file
    assert shape_of(written, format)["schema"] == 2
    assert is_valid(shape_of(written, format))


def test_a_port_changes_nothing_of_what_is_pinned() -> None:
    without = re.sub("(?m)^(port|starttls).*$", "", PORTS)
    assert PinSet.loads(PORTS) == PinSet.loads(without)
    assert PinSet.loads(without.replace("schema = 2", "schema = 1")) == PinSet.loads(PORTS)


def test_only_a_file_that_needs_the_second_schema_says_so() -> None:
    file = PinFile.loads(EXAMPLE.replace("schema = 1", "schema = 2"))
    assert file == PinFile.loads(EXAMPLE)
    assert file.dumps().startswith("schema = 1\n")


@pytest.mark.parametrize("key", ["port = 8443", 'starttls = "imap"'])
def test_a_key_of_the_second_schema_is_not_read_in_the_first(key: str) -> None:
    text = f'{HEAD}[[host]]\nname = "a.example"\n{key}\npins = ["{FIRST}"]\n'
    assert error(text) == (
        5,
        f"host[0].{key.partition(' ')[0]}",
        "belongs to schema 2: say schema = 2",
    )
    assert PinSet.loads(text.replace("schema = 1", "schema = 2"))


@pytest.mark.parametrize("value", ["0", "65536", "-1", '"8443"', "true", "8443.0", "[8443]"])
def test_a_port_is_a_number_of_tcp(value: str) -> None:
    _, key, said = error(PORTS.replace("8443", value))
    assert key == "host[0].port"
    assert said.startswith("port is a whole number from 1 to 65535, not ")


def test_an_excluded_host_has_no_port() -> None:
    more = '[[host]]\nname = "**.example.com"\nexclude = true\nport = 8443\n'
    assert [key for _, key, _ in errors(PORTS.replace("api.", "**.") + more)][-1] == "host[2].port"


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("text", [EXAMPLE, HARD], ids=["example", "hard"])
def test_the_schema_accepts_what_keypin_reads(text: str) -> None:
    VALIDATOR.validate(shape_of(text))


def test_the_schema_names_every_key_and_word_that_keypin_reads() -> None:
    fields = keypin.pinfile.fields
    definitions = SCHEMA["$defs"]
    assert list(SCHEMA["properties"]) == list(fields.FILE)
    assert list(SCHEMA["properties"]["defaults"]["properties"]) == list(fields.DEFAULTS)
    assert list(definitions["host"]["properties"]) == list(fields.HOST)
    entry = definitions["entry"]["anyOf"][1]["properties"]
    assert list(entry) == list(fields.PIN)
    words = {
        **{name: definitions[name] for name in ("mode", "match", "on_expiry")},
        "unlisted": SCHEMA["properties"]["defaults"]["properties"]["unlisted"],
        "role": entry["role"],
        "authority": entry["authority"],
        "starttls": definitions["host"]["properties"]["starttls"],
    }
    for name, definition in words.items():
        listed = ", ".join(map(repr, definition["enum"]))
        with pytest.raises(PinSetError, match=re.escape(f"{name} is one of {listed}, not")):
            getattr(fields, f"read_{name}")("")
    assert Defaults() == Defaults(
        *(words[name]["default"] for name in ("mode", "match", "on_expiry", "unlisted"))
    )


AUTHORITIES = f"""schema = 2
version = 7
[[host]]
name = "a.example.com"
pins = [
  {{ pin = "{FIRST}", authority = "own" }}, {{ pin = "{SECOND}", authority = "other" }}, "{THIRD}",
]
"""


@pytest.mark.parametrize("format", ["toml", "json"])
def test_a_key_of_an_authority_is_kept_and_needs_schema_2(format: str) -> None:
    file = PinFile.loads(AUTHORITIES)
    assert [entry.authority for entry in file.hosts[0].pins] == ["own", "other", None]
    written = file.dumps(format)
    assert shape_of(written, format)["schema"] == 2
    assert PinFile.loads(written, format) == file
    assert is_valid(shape_of(written, format))
    assert file.pin_set() == PinSet({"a.example.com": [FIRST, SECOND, THIRD]})


def test_a_file_without_authorities_says_schema_1_so_that_older_keypins_read_it() -> None:
    file = PinFile.loads(EXAMPLE.replace("schema = 1", "schema = 2"))
    assert file == PinFile.loads(EXAMPLE)
    assert shape_of(file.dumps())["schema"] == 1


def test_schema_1_has_no_authorities_and_the_error_says_what_to_do() -> None:
    told = errors(AUTHORITIES.replace("schema = 2", "schema = 1"))
    assert [each[:2] for each in told] == [
        (6, "host[0].pins[0].authority"),
        (6, "host[0].pins[1].authority"),
    ]
    assert told[0][2] == "belongs to schema 2: say schema = 2"
    assert not is_valid(shape_of(AUTHORITIES) | {"schema": 1})
    line, key, said = error(AUTHORITIES.replace('"own"', '"ours"'))
    assert (line, key) == (6, "host[0].pins[0].authority")
    assert said.startswith("authority is one of 'own', 'other', not 'ours'")


# Where in EXAMPLE, and what instead; None deletes
STRUCTURAL = [
    (("schema",), [None, 0, 3, "1", True]),
    (("version",), [None, 0, -1, 1.5, "7", True, 2**53]),
    (("defaults",), [5, [], "x", {"mode": "warn"}, {"x": 1}]),
    (("defaults", "mode"), ["Enforce", "", 5, None.__class__.__name__, True]),
    (("defaults", "match"), ["root", 1]),
    (("defaults", "on_expiry"), ["report"]),
    (("defaults", "unlisted"), ["deny", False]),
    (("host",), [None, [], {}, 5, "x", [5]]),
    (("host", 0, "name"), [None, 5, "", "*", "a b", "a.*.b", "https://a.b/"]),
    (("host", 0, "expires"), ["", "tomorrow", 5, "2027-13-01", "2027-06-01T12:00:00", "12:00:00Z"]),
    (("host", 0, "pins"), [None, [], {}, FIRST, 5, [5], [FIRST, FIRST], [[FIRST]]]),
    (("host", 0, "pins"), [[{"pin": FIRST, "role": "revoked"}]]),
    (("host", 0, "pins", 0), [{}, {"key": "x"}, "sha1/x", FIRST[:-1], FIRST + "=", True]),
    (("host", 0, "pins", 0, "role"), ["Active", "", 5, True]),
    (("host", 0, "pins", 0, "key"), [5, "", "\t", "a\nb", "\u202e"]),
    (("host", 0, "pins", 0, "not_before"), [5, "soon", "2026-10-01T00:00:00"]),
    (("host", 0, "pins", 0, "expires"), ["2027-01-01"]),
    (("host", 0, "pins", 0, "authority"), ["own", "other", "mine", True]),
    (("host", 0, "deny"), [5, "x", [5], [{"pin": THIRD}], [THIRD, THIRD]]),
    (("host", 0, "exclude"), [True, 1, "true"]),
    (("host", 2, "exclude"), [False, None, 1]),
    (("host", 2, "mode"), ["report"]),
    (("host", 0, "unlisted"), ["allow"]),
    (("host", 0, "port"), [8443, None.__class__.__name__, 0]),
    (("host", 0, "starttls"), ["smtp", 5]),
    (("hosts",), [[]]),
]


@pytest.mark.parametrize(
    ("path", "value"),
    [(path, value) for path, values in STRUCTURAL for value in values],
)
def test_schema_and_keypin_refuse_the_same_shapes(path: tuple[Any, ...], value: object) -> None:
    document = shape_of(EXAMPLE)
    place: Any = document
    for step in path[:-1]:
        place = place[step]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    assert not loads(document)
    assert not is_valid(document)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 2**54)
    | st.floats(allow_nan=False).filter(lambda number: not number.is_integer())
    | st.sampled_from([FIRST, SECOND, "2027-01-01", "a.example.com", "active", "report", "allow"])
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*KEYS.split(), "exclude"]) | st.text(max_size=3), inner)
    ),
    max_leaves=4,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if not isinstance(value, dict | list):
        return []
    items = value.items() if isinstance(value, dict) else enumerate(value)
    return [
        found for step, inner in items for found in [(*path, step), *places(inner, (*path, step))]
    ]


@st.composite
def documents(draw: st.DrawFn) -> Any:
    """A file with a few values changed for others."""
    document = draw(st.sampled_from([shape_of(EXAMPLE), shape_of(HARD)]))
    document = deepcopy(document)
    for _ in range(draw(st.integers(1, 3))):
        *parents, last = draw(st.sampled_from(places(document)))
        place = document
        for step in parents:
            place = place[step]
        action = draw(st.sampled_from(["replace", "replace", "delete", "add"]))
        if action == "delete" and len(place) > 1:
            del place[last]
        elif action == "add" and isinstance(place, dict):
            place[draw(st.sampled_from([*KEYS.split(), "exclude"]))] = draw(VALUES)
        elif action == "add":
            place.append(draw(VALUES))
        else:
            place[last] = draw(VALUES)
    return document


@given(documents())
@settings(max_examples=300)
def test_what_keypin_reads_is_valid_under_the_schema(document: Any) -> None:
    if loads(document):
        VALIDATOR.validate(document)


# Fuzzing

PIECES = st.sampled_from(
    [
        *("[]{}=\"'#,.\n\r\t \\:\x00\ufeffé\U0001f512"),
        *("[[", "]]", '"""', "'''", "\\u", "true", "null", "nan", "1e9", "0x1"),
        *("2027-01-01", "12:00:00", FIRST, *KEYS.split()),
    ]
)


@st.composite
def mutilated(draw: st.DrawFn) -> tuple[str, str]:
    """A valid file with pieces cut out, doubled, put in, or moved."""
    format, text = draw(
        st.sampled_from(
            [("toml", EXAMPLE), ("toml", HARD), ("json", as_json(EXAMPLE)), ("json", as_json(HARD))]
        )
    )
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 80)))
        text = draw(
            st.sampled_from(
                [
                    text[:start] + text[end:],
                    text[:end] + text[start:end] + text[end:],
                    text[start:end] + text[:start] + text[end:],
                    text[:start] + "".join(draw(st.lists(PIECES, max_size=3))) + text[end:],
                    text[:start],
                ]
            )
        )
    return format, text


@given(mutilated())
@settings(max_examples=400)
def test_of_no_text_comes_anything_but_rules_or_a_readable_error(made: tuple[str, str]) -> None:
    format, text = made
    try:
        pins = PinSet.loads(text, format)  # type: ignore[arg-type]
    except PinFileError as raised:
        error = raised
    else:
        assert can_be_written(pins)
        return
    lines = text.count("\n") + 1
    for problem in error.problems:
        assert problem.line is None or 1 <= problem.line <= lines
        assert str(problem).isprintable()
        assert len(str(problem)) < 1500
    assert len(str(error).splitlines()) == len(error.problems) + (len(error.problems) > 1)


# Files


@pytest.fixture
def pins() -> PinSet:
    return EXAMPLE_RULES


def plain_rules() -> PinSet:
    """Rules that need no other defaults."""
    return PinSet({"**.example.com": [FIRST, SECOND]})


@pytest.mark.parametrize("name", ["pins.toml", "pins.json", "PINS.TOML", "pins.v2.Json"])
def test_what_was_dumped_is_loaded(tmp_path: Path, name: str, pins: PinSet) -> None:
    pins.dump(tmp_path / name, version=8)
    assert PinSet.load(tmp_path / name) == pins
    assert PinSet.load(str(tmp_path / name)) == pins
    assert PinFile.load(tmp_path / name).version == 8


def test_a_file_is_written_so_that_people_can_read_it(tmp_path: Path) -> None:
    PinFile.loads(EXAMPLE).dump(tmp_path / "pins.toml")
    assert (
        (tmp_path / "pins.toml").read_text("utf-8")
        == f"""\
schema = 1
version = 7

[defaults]
mode = "report"
match = "leaf"
on_expiry = "allow"
unlisted = "refuse"

[[host]]
name = "**.example.com"
expires = 2027-06-01
pins = [
  {{ pin = "{FIRST}", role = "active", key = "api 2026", not_before = 2026-10-01 }},
  {{ pin = "{SECOND}", role = "backup", key = "api 2027, offline" }},
]
deny = [
  "{THIRD}",
]

[[host]]
name = "pay.example.com"
expires = 2027-06-01T10:00:00Z
mode = "enforce"
match = "chain"
on_expiry = "enforce"
pins = [
  "{FIRST}",
  {{ pin = "{SECOND}", role = "revoked" }},
]

[[host]]
name = "status.example.com"
exclude = true
"""
    )


@pytest.mark.parametrize("name", ["pins", "pins.yaml", "pins.toml.bak", ".toml", "pins.toml "])
def test_a_name_that_does_not_say_toml_or_json_is_an_error(
    tmp_path: Path, name: str, pins: PinSet
) -> None:
    (tmp_path / name).write_text(EXAMPLE)
    for action in (PinSet.load, pins.dump):
        with pytest.raises(PinFileError, match=r"a pin file's name ends in \.toml or \.json, not "):
            action(tmp_path / name)
    assert (tmp_path / name).read_text() == EXAMPLE


def test_a_file_that_cannot_be_read_is_an_error_that_says_why(tmp_path: Path) -> None:
    def why(path: object) -> str:
        with pytest.raises(PinFileError) as caught:
            PinSet.load(path)  # type: ignore[arg-type]
        assert caught.value.name == os.fspath(path)  # type: ignore[call-overload]
        assert str(caught.value).startswith(f"{path}: cannot be read: ")
        return str(caught.value).removeprefix(f"{path}: cannot be read: ")

    (tmp_path / "folder.toml").mkdir()
    os.mkfifo(tmp_path / "pipe.toml")
    with (tmp_path / "huge.toml").open("wb") as file:
        file.truncate(2**40)
    assert why(tmp_path / "none.toml") == "No such file or directory"
    assert why(tmp_path / "folder.toml") == "a directory"
    assert why(tmp_path / "pipe.toml") == "a device or pipe, not a file"
    assert why(tmp_path / "huge.toml") == "larger than 512 MiB"
    assert "null" in why("a\0b.toml")


def test_a_file_that_grows_while_it_is_read_is_not_read_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "pins.toml"
    path.write_text(EXAMPLE)
    before = os.stat(path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", lambda name: before)
        path.write_text(EXAMPLE + "# more\n")
        with pytest.raises(PinFileError, match="it changed while it was read"):
            PinSet.load(path)


def test_a_file_that_is_too_large_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "pins.toml"
    path.write_text(EXAMPLE)
    monkeypatch.setattr(keypin.pinfile.file, "LARGEST_FILE", len(EXAMPLE) - 1)
    with pytest.raises(PinFileError, match="larger than"):
        PinSet.load(path)


@pytest.mark.parametrize(
    ("data", "line", "said"),
    [
        (EXAMPLE.encode("utf-8-sig"), 1, "begins with a byte order mark"),
        (EXAMPLE.encode("utf-16"), 1, "not UTF-8"),
        (EXAMPLE.replace("api 2026", "clé").encode("latin-1"), 15, "not UTF-8"),
        (b"", None, "empty"),
        (EXAMPLE.replace("api 2026", "\0").encode(), 15, "not TOML"),
    ],
)
def test_a_file_that_is_not_plain_utf_8_is_an_error(
    tmp_path: Path, data: bytes, line: int | None, said: str
) -> None:
    path = tmp_path / "pins.toml"
    path.write_bytes(data)
    with pytest.raises(PinFileError) as caught:
        PinSet.load(path)
    assert (caught.value.name, caught.value.line) == (str(path), line)
    assert said in str(caught.value)


def test_an_error_in_a_file_names_its_path(tmp_path: Path) -> None:
    path = tmp_path / "pins.json"
    path.write_text('{"schema": 1,\n "version": 0, "host": [5]}')
    with pytest.raises(PinFileError, match=re.escape(str(path))) as caught:
        PinSet.load(path)
    assert [problem[:2] for problem in caught.value.problems] == [(2, "version"), (2, "host[0]")]


@pytest.mark.parametrize(
    ("pins", "said"),
    [
        (PinSet.for_every_host([FIRST]), r"host\[0\]: .*no rule for every host"),
        (PinSet({}), "host: no host: the file would pin nothing"),
        (PinSet({}, unlisted="refuse"), "host: no host: the file would pin nothing"),
        (
            PinSet([Rule("a.b", [FIRST]), Rule("c.a.b", exclude=True)]),
            r"host\[1\].exclude: has no effect",
        ),
        (
            PinSet([Rule("**.a.b", [FIRST]), Rule("c.a.b", exclude=True, mode="report")]),
            r"host\[1\]: 'c.a.b' is excluded, so no mode",
        ),
    ],
)
def test_rules_that_no_file_can_say_are_not_written(
    tmp_path: Path, pins: PinSet, said: str
) -> None:
    path = tmp_path / "pins.toml"
    path.write_text(EXAMPLE)
    with pytest.raises(PinFileError, match=said):
        pins.dump(path)
    assert path.read_text() == EXAMPLE


@pytest.mark.parametrize("version", [0, True, "7", 2**53])
def test_the_version_that_is_written_is_one(tmp_path: Path, version: Any) -> None:
    with pytest.raises(PinSetError, match="version is a whole number"):
        plain_rules().dump(tmp_path / "pins.toml", version=version)
    assert not list(tmp_path.iterdir())


def test_a_file_that_cannot_be_written_is_an_error_that_says_why(
    tmp_path: Path, pins: PinSet
) -> None:
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(PinFileError, match=r"folder\.toml: cannot be written: Is a directory"):
        pins.dump(tmp_path / "folder.toml")
    with pytest.raises(PinFileError, match="cannot be written: No such file or directory"):
        pins.dump(tmp_path / "none" / "pins.toml")
    with pytest.raises(PinFileError, match=r"cannot be written: .*null"):
        pins.dump("a\0b.toml")


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pins: PinSet
) -> None:
    path = tmp_path / "pins.toml"
    path.write_text("old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(PinFileError, match="cannot be written: No space left on device"):
        pins.dump(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_reader_sees_the_old_file_or_the_new_one(tmp_path: Path, pins: PinSet) -> None:
    path = tmp_path / "pins.toml"
    path.write_text("old")
    with path.open() as reader:
        pins.dump(path)
        assert reader.read() == "old"
    assert PinSet.load(path) == pins


def test_permissions_of_a_file_that_is_replaced_are_kept(tmp_path: Path, pins: PinSet) -> None:
    path = tmp_path / "pins.toml"
    path.write_text("old")
    path.chmod(0o640)
    pins.dump(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_symbolic_link_is_followed(tmp_path: Path, pins: PinSet) -> None:
    target = tmp_path / "there" / "pins.toml"
    target.parent.mkdir()
    (tmp_path / "pins.toml").symlink_to(target)
    pins.dump(tmp_path / "pins.toml")
    assert (tmp_path / "pins.toml").is_symlink()
    assert PinSet.load(target) == pins


def test_a_pipe_is_written_to_and_stays_one(tmp_path: Path, pins: PinSet) -> None:
    path = tmp_path / "pins.toml"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        pins.dump(path)
        assert PinSet.loads(os.read(reader, 65536).decode()) == pins
    finally:
        os.close(reader)
    assert stat.S_ISFIFO(path.stat().st_mode)


# The file as values


def test_the_values_are_checked_when_they_are_made() -> None:
    entry = PinEntry(FIRST, "backup", "2027", date(2027, 1, 1))
    for make, raised in [
        (lambda: PinEntry("x"), PinFormatError),
        (lambda: PinEntry(5), PinFormatError),
        (lambda: PinEntry(FIRST, "spare"), PinSetError),
        (lambda: PinEntry(FIRST, authority="public"), PinSetError),
        (lambda: PinEntry(FIRST, key=""), PinSetError),
        (lambda: PinEntry(FIRST, not_before=datetime(2027, 1, 1)), PinSetError),  # noqa: DTZ001
        (lambda: Defaults(mode="off"), PinSetError),
        (lambda: HostEntry("*.com", [entry]), HostnameError),
        (lambda: HostEntry("a.b", FIRST), PinSetError),
        (lambda: HostEntry("a.b", [entry], deny=5), PinSetError),
        (lambda: HostEntry("a.b"), PinFileError),
        (lambda: HostEntry("a.b", [entry, FIRST]), PinFileError),
        (lambda: HostEntry("a.b", [entry], expires=date(2026, 1, 1)), PinFileError),
        (lambda: HostEntry("a.b", [entry], exclude=True), PinFileError),
        (lambda: HostEntry("a.b", [entry], exclude=1), PinSetError),
        (lambda: PinFile([]), PinFileError),
        (lambda: PinFile([HostEntry("a.b", [entry])] * 2), PinFileError),
        (lambda: PinFile([HostEntry("a.b", [entry])], version=0), PinSetError),
        (lambda: PinFile([Rule("a.b", [FIRST])]), PinSetError),
    ]:
        with pytest.raises(raised):
            make()  # type: ignore[no-untyped-call]


def test_a_contradiction_between_values_names_the_field() -> None:
    with pytest.raises(PinFileError) as caught:
        HostEntry("a.b", [FIRST, SECOND], deny=[FIRST])
    assert str(caught.value) == "pin file: deny[0]: the same pin as pins[0]"
    assert (caught.value.name, caught.value.line, caught.value.key) == (None, None, "deny[0]")


def test_the_values_are_plain_and_cannot_be_changed() -> None:
    file = PinFile.loads(EXAMPLE)
    assert pickle.loads(pickle.dumps(file)) == file
    assert hash(file) == hash(PinFile.loads(EXAMPLE))
    assert "api 2026" in repr(file)
    with pytest.raises(AttributeError):
        file.version = 8


# The guide


def test_the_examples_of_the_guide_are_files_and_its_errors_are_what_is_said() -> None:
    guide = Path(__file__).parent.parent.joinpath("docs", "pin-file.md").read_text("utf-8")
    toml, authorities = re.findall(r"^```toml\n(.*?)^```", guide, re.MULTILINE | re.DOTALL)
    (as_objects,) = re.findall(r"^```json\n(.*?)^```", guide, re.MULTILINE | re.DOTALL)
    assert PinSet.loads(toml).rule_for("status.example.com")
    assert PinFile.loads(authorities).hosts[0].pins[0].authority == "own"
    assert PinSet.loads(as_objects, "json").rule_for("status.example.com")
    for right, wrong in [('"chain" ', '"leaves" '), ("expires", "expiry"), ('"active"', '"activ"')]:
        toml = toml.replace(right, wrong)
    with pytest.raises(PinFileError) as caught:
        PinSet.loads(toml, name="pins.toml")
    assert f"```\n{caught.value}\n```" in guide
    assert SCHEMA["$id"] in guide
