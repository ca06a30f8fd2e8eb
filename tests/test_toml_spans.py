"""Where keys and values stand in TOML: wherever `tomllib` finds them, in any spelling."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keypin.pinfile.toml_spans import CannotFollow, Node, read_spans

TABLES = {"section", "dotted", "inline"}


def check(text: str) -> None:
    """What stands at each place is what `tomllib` read from there, and nothing is left out."""
    waiting: list[tuple[Any, Node]] = [(tomllib.loads(text), read_spans(text))]
    while waiting:
        value, node = waiting.pop()
        if isinstance(value, dict):
            assert node.kind in TABLES
            assert set(node.children) == set(value)
            waiting += [(value[name], node.children[name]) for name in value]
        elif isinstance(value, list):
            assert node.kind in {"array", "sections"}
            assert list(node.children) == list(range(len(value)))
            waiting += [(each, node.children[index]) for index, each in enumerate(value)]
        else:
            assert node.kind == "scalar"
        if node.kind in {"array", "inline", "scalar"}:
            written = text[node.start : node.end]
            assert repr(tomllib.loads(f"x = {written}")["x"]) == repr(value), written
            before = text[node.key : node.start].rstrip(" \t")
            assert not before or before.endswith("="), before


SPACE = st.sampled_from(["", " ", "\t", "  \t"])
LINES = st.sampled_from(
    ["", " ", "\n", "\r\n\t", " # ]}, \"'''\n", "\n\n  # x = [1]\r\n", "#\n#\n"]
)
WORDS = ["a", "b-c", "1", "é", "x.y", 'q"', "host", "#", "\\", "", " ", "]", "=", "2026-10-01"]
SCALARS = st.sampled_from(
    [
        *("1", "-0", "0xf", "1_000", "1e5", "-1.5", "inf", "-nan", "true", "false"),
        *("2026-10-01", "2026-10-01T12:00:00Z", "2026-10-01 12:00:00.5+02:00", "12:00:00"),
        *('""', "''", '"#]},="', "'\"#]'", r'"\"\\"', r'"\u00e9\n"', "'\\'", '"\\\\"'),
        *('""""""', "''''''", '"""a""b"""', '"""""a"""', '"""a"""""', "'''a''''", "''''a'''"),
        *('"""\n# x = [\r\n"""', '"""\\\n   a\\"""" """', "'''\n[[host]]\nname = 1\n'''"),
    ]
)


@st.composite
def keys(draw: st.DrawFn, word: str) -> str:
    """Any way to write a key."""
    if "\\" not in word and '"' not in word:
        written = [f"'{word}'", f'"{word}"']
    else:
        escaped = word.replace("\\", "\\\\").replace('"', '\\"')
        written = [f"'{word}'", f'"{escaped}"']
    written.append('"' + "".join(f"\\u{ord(each):04x}" for each in word) + '"')
    if word and all(each.isascii() and (each.isalnum() or each in "-_") for each in word):
        written += [word] * 4
    return draw(st.sampled_from(written))


@st.composite
def values(draw: st.DrawFn, depth: int = 0) -> str:
    kind = draw(st.sampled_from(["scalar"] * 4 + ["array", "inline"] * (depth < 3)))
    if kind == "scalar":
        return draw(SCALARS)
    if kind == "array":
        elements = [
            draw(LINES) + draw(values(depth + 1)) + draw(LINES)
            for _ in range(draw(st.integers(0, 3)))
        ]
        comma = "," + draw(LINES) if elements and draw(st.booleans()) else draw(LINES)
        return f"[{','.join(elements)}{comma}]"
    members = [
        draw(SPACE) + draw(fields(word, depth + 1)) + draw(SPACE)
        for word in draw(st.lists(st.sampled_from(WORDS), unique=True, max_size=3))
    ]
    return f"{{{','.join(members) or draw(SPACE)}}}"


@st.composite
def names(draw: st.DrawFn, word: str) -> str:
    """A key, or several with dots between."""
    more = draw(st.lists(st.sampled_from(WORDS), max_size=2))
    dots = [f"{draw(SPACE)}.{draw(SPACE)}{draw(keys(each))}" for each in more]
    return draw(keys(word)) + "".join(dots)


@st.composite
def fields(draw: st.DrawFn, word: str, depth: int) -> str:
    return f"{draw(names(word))}{draw(SPACE)}={draw(SPACE)}{draw(values(depth))}"


@st.composite
def texts(draw: st.DrawFn) -> str:
    """TOML, or nearly so: a table may be defined twice."""
    lines = []
    for _ in range(draw(st.integers(0, 6))):
        word = draw(st.sampled_from(WORDS))
        kind = draw(st.sampled_from(["field", "field", "section", "sections"]))
        if kind == "field":
            line = draw(fields(word, 0))
        else:
            opening, closing = ("[", "]") if kind == "section" else ("[[", "]]")
            line = opening + draw(SPACE) + draw(names(word)) + draw(SPACE) + closing
        rest = draw(st.sampled_from(["", " ", "  # [[x]] = '\"'"]))
        lines.append(draw(LINES) + draw(SPACE) + line + rest)
    return draw(st.sampled_from(["\n", "\r\n"])).join(lines) + draw(LINES)


@given(texts())
@settings(max_examples=300)
def test_any_toml_is_followed(text: str) -> None:
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    check(text)


@given(st.lists(st.sampled_from([*"[]{}=\"'#,.\n\r\\ ax1", "[[", '"""', "'''"]), max_size=30))
def test_of_what_is_no_toml_comes_a_plain_error(pieces: list[str]) -> None:
    text = "".join(pieces)
    try:
        read_spans(text)
    except CannotFollow:
        with pytest.raises(tomllib.TOMLDecodeError):
            tomllib.loads(text)


def test_sections_end_where_the_last_of_their_values_does() -> None:
    text = "[[a]]\nx = 1 # y\n\n[[a.b]]  # z\n[[a]]\ny = [\n1,\n]\n"
    first, second = (read_spans(text).children["a"].children[index] for index in (0, 1))
    assert text[first.key : first.end] == "[[a]]\nx = 1"
    inner = first.children["b"].children[0]
    assert text[inner.key : inner.end] == "[[a.b]]"
    assert text[second.key : second.end] == "[[a]]\ny = [\n1,\n]"


def test_inline_tables_of_several_lines_are_followed() -> None:
    """As TOML 1.1 has them, which `tomllib` reads from Python 3.15 on."""
    text = "x = { # one\n  a = 1,\n  b = [2], # two\n}\n"
    node = read_spans(text).children["x"]
    assert [text[each.key : each.end] for each in node.children.values()] == ["a = 1", "b = [2]"]
    assert text[node.start : node.end] == text[4:-1]


@pytest.mark.parametrize(
    "text",
    [
        "[" + ".".join("a" * 100_000) + "]\n",
        ".".join("a" * 100_000) + " = 1\n",
        "a = " + "[" * 100_000 + "]" * 100_000,
        "a = " + "{a = " * 100_000 + "1" + "}" * 100_000,
        "a = '''" + "'' \"\"\\" * 1_000_000 + "'''",
        'a = """' + '\\"""\'' * 1_000_000 + '"""',
        'a = "' + "\\\\" * 2_000_000 + '"',
        "a = " + "1" * 5_000_000,
        "a = [" + "# \n\r \t" * 1_000_000 + "]",
        "a = [\n" + "1 # x\n, " * 300_000 + "]",
    ],
    ids=lambda text: f"{text[:8]} of {len(text)}",
)
def test_a_long_text_is_read_once(text: str) -> None:
    """Were the time quadratic, each of these would take hours."""
    assert list(read_spans(text).children) == ["a"]
