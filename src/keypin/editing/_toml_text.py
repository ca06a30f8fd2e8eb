"""The text of a pin file in TOML, edited by replacing spans of it.

tomlkit tells where a value stands: the value is replaced by a mark, which is then looked for in
what tomlkit writes. It does not write the result: it brings together sections that stand apart,
and can put a new element behind a comment. All that is outside of the spans stays byte for byte.
"""

from __future__ import annotations

import re
import tomllib
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import AoT, Table

from .._pinfile_lines import SECTION
from ..pinfile import _host_shape, _pin_shape, _toml_lines, _toml_value

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .._pinfile_lines import Path
    from ..pinfile import HostEntry, PinEntry

__all__ = ["LayoutError", "TomlText"]

MARK = "keypin 8f1d6c52-93a7-4e0b-b5a4-2f7c1e60d9b3"

# Behind an element of an array, in which comments and line ends may stand anywhere
COMMA_AFTER = re.compile(r"(?:[ \t\r\n]|#[^\n]*\n)*,")
COMMA_AND_SPACE = re.compile(r"[ \t]*,[ \t]*")
SPACE = re.compile(r"[ \t]*")
REST_OF_LINE = re.compile(r"[ \t]*(?:#[^\r\n]*)?(?=\r?\n|\Z)")
REST_WITH_COMMA = re.compile(r"[ \t]*(?P<comma>,?)[ \t]*(?:#[^\r\n]*)?(?:\r?\n|\Z)")
LINE_END = re.compile(r"\r?\n|\Z")
BLANK_LINES = re.compile(r"(?:[ \t]*\r?\n)+")
BLANK_LINES_BEFORE = re.compile(r"(?:(?<=\n)[ \t]*\r?\n)+\Z")


class LayoutError(ValueError):
    """A text that is right, but laid out in a way that cannot be edited."""


class Part(NamedTuple):
    """A stretch of the text that means alone what it means in the whole."""

    start: int
    text: str
    path: Path
    """where in it stands what is looked for"""


class Span(NamedTuple):
    """Where a value stands."""

    start: int
    end: int


class TomlText:
    """A text, and what it says; each method changes both.

    Args:
        text: a valid pin file, or one that only lacks hosts.

    Raises:
        LayoutError: by every method.
    """

    def __init__(self, text: str) -> None:
        self._say(text)

    def _say(self, text: str) -> None:
        self.text = text
        try:
            self.document: dict[str, Any] = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise LayoutError(f"the edited text would not be TOML: {error}") from None
        found = list(SECTION.finditer(text))
        cuts = [0, *(match.start() for match in found), len(text)]
        spans = [Span(start, end) for start, end in pairwise(cuts)]
        self._head = spans[0]
        self._hosts = [
            span for span, match in zip(spans[1:], found, strict=True) if match["name"] == "host"
        ]
        self._newline = "\r\n" if "\r\n" in text[: text.find("\n") + 1] else "\n"

    def _replace(self, start: int, end: int, new: str) -> None:
        self._say(self.text[:start] + new + self.text[end:])

    # What commands ask for

    def set_version(self, version: int) -> None:
        """Write another version."""
        self._replace(*self._span(("version",)), str(version))

    def set_host_field(self, host: int, name: str, value: object) -> None:
        """Give a host a field, or the field another value."""
        self._set_field(("host", host), name, value, ("host", host, "name"))

    def set_pin_field(self, host: int, pin: int, name: str, value: object) -> None:
        """Give a pin of a host a field, or the field another value."""
        path = ("host", host, "pins", pin)
        if isinstance(_at(self.document, path), str):
            start, end = self._span(path)
            field = f"{name} = {_toml_value(value)}"
            self._replace(start, end, f"{{ pin = {self.text[start:end]}, {field} }}")
        else:
            self._set_field(path, name, value, max(self._leaves(path), key=self._span))

    def add_host(self, host: HostEntry) -> None:
        """Add a host behind all others."""
        shape = _host_shape(host)
        if isinstance(self.document.get("host"), list) and not self._in_sections():
            self._append(("host",), _inline(shape))
            return
        lines = ["", "[[host]]", *_toml_lines(shape), ""]
        if not self.text.endswith("\n"):
            lines.insert(0, "")
        self._say(self.text + self._newline.join(lines))

    def add_pin(self, host: int, pin: PinEntry) -> None:
        """Add a pin behind the others of a host."""
        path = ("host", host, "pins")
        shape = _pin_shape(pin)
        if not isinstance(self._item(path), AoT):
            self._append(path, _toml_value(shape))
            return
        last = (*path, len(_at(self.document, path)) - 1)
        indent = self._indent(self._start(last))
        fields = shape if isinstance(shape, dict) else {"pin": shape}
        lines = ["[[host.pins]]", *_toml_lines(fields)]
        self._insert_below(self._end(last), [indent + line for line in lines])

    def remove_host(self, host: int) -> None:
        """Remove a host, with the comments among its fields and behind them."""
        path = ("host", host)
        if isinstance(self._item(path), Table):
            self._remove_section(path)
        else:
            self._remove_element(("host",), host)

    def remove_pin(self, host: int, pin: int) -> None:
        """Remove a pin of a host, with the comment behind it."""
        path = ("host", host, "pins")
        if isinstance(self._item(path), AoT):
            self._remove_section((*path, pin))
        else:
            self._remove_element(path, pin)

    def remove_denied(self, host: int, index: int) -> None:
        """Remove an element of `deny`, with the comment behind it."""
        self._remove_element(("host", host, "deny"), index)

    # Tables

    def _set_field(self, table: Path, name: str, value: object, anchor: Path) -> None:
        """Give a field another value, or add it behind the field `anchor`."""
        written = _toml_value(value)
        if name in _at(self.document, table):
            self._replace(*self._span((*table, name)), written)
            return
        _, end = self._span(anchor)
        if isinstance(self._item(table), Table):
            start, _ = self._span(anchor)
            self._insert_below(end, [f"{self._indent(start)}{name} = {written}"])
        else:
            self._replace(end, end, f", {name} = {written}")

    def _remove_section(self, path: Path) -> None:
        """Remove `[[host]]` or `[[host.pins]]`, from its header to the last of its fields."""
        start = self._line_start(self._start(path))
        while not self.text[start:].lstrip(" \t").startswith("["):
            if start == 0:
                raise _layout(path)
            start = self._line_start(start - 1)
        rest = _match(REST_OF_LINE, self.text, self._end(path))
        end = _match(LINE_END, self.text, rest.end()).end()
        if end == len(self.text) or BLANK_LINES.match(self.text, end):
            blank = BLANK_LINES_BEFORE.search(self.text, 0, start)
            start = start if blank is None else blank.start()
        self._replace(start, end, "")

    def _leaves(self, table: Path) -> Iterator[Path]:
        """The paths of the values of a table, and of the tables in sections below it."""
        for name, value in _at(self.document, table).items():
            path = (*table, name)
            if isinstance(value, list) and isinstance(self._item(path), AoT):
                for index in range(len(value)):
                    yield from self._leaves((*path, index))
            else:
                yield path

    def _start(self, table: Path) -> int:
        return min(self._span(path).start for path in self._leaves(table))

    def _end(self, table: Path) -> int:
        return max(self._span(path).end for path in self._leaves(table))

    def _in_sections(self) -> bool:
        return isinstance(self._item(("host", 0)), Table)

    # Arrays

    def _append(self, array: Path, new: str) -> None:
        start, end = self._span((*array, len(_at(self.document, array)) - 1))
        comma = COMMA_AFTER.match(self.text, end)
        position = end if comma is None else comma.end()
        before, after = self.text[:position], self.text[position:]
        if comma is None:
            before += ","
        else:
            new += ","
        rest = REST_OF_LINE.match(after) if self._is_first_on_line(start) else None
        if rest is None:
            self._say(f"{before} {new}{after}")
        else:
            line = self._newline + self._indent(start) + new
            self._say(before + rest[0] + line + after[rest.end() :])

    def _remove_element(self, array: Path, index: int) -> None:
        start, end = self._span((*array, index))
        comma = COMMA_AFTER.match(self.text, end)
        rest = REST_WITH_COMMA.match(self.text, end)
        if self._is_first_on_line(start) and rest and (rest["comma"] or not comma):
            self._replace(self._line_start(start), rest.end(), "")
        elif comma is None:
            self._remove_last_in_line(array, index, Span(start, end))
        else:
            self._remove_before_comma(start, end, comma.end())

    def _remove_before_comma(self, start: int, end: int, comma: int) -> None:
        between = self.text[end : comma - 1]
        if between.strip():  # comments
            self._replace(start, comma, between)
            return
        space = _match(SPACE, self.text, comma)
        if LINE_END.match(self.text, space.end()):
            start = len(self.text[:start].rstrip(" \t"))
        self._replace(start, space.end(), "")

    def _remove_last_in_line(self, array: Path, index: int, span: Span) -> None:
        start = span.start
        if index:
            _, before = self._span((*array, index - 1))
            if COMMA_AND_SPACE.fullmatch(self.text, before, start):
                start = before
        self._replace(start, span.end, "")

    # Lines

    def _insert_below(self, position: int, lines: list[str]) -> None:
        """Insert lines below the line on which a value ends."""
        end = _match(REST_OF_LINE, self.text, position).end()
        self._replace(end, end, "".join(self._newline + line for line in lines))

    def _line_start(self, position: int) -> int:
        return self.text.rfind("\n", 0, position) + 1

    def _indent(self, position: int) -> str:
        line = self.text[self._line_start(position) : position]
        return line[: len(line) - len(line.lstrip(" \t"))]

    def _is_first_on_line(self, position: int) -> bool:
        return not self.text[self._line_start(position) : position].strip(" \t")

    # Where a value stands

    def _span(self, path: Path) -> Span:
        for part in self._parts(path):
            span = self._span_in(part, _at(self.document, path))
            if span is not None:
                return Span(part.start + span.start, part.start + span.end)
        raise _layout(path)

    def _span_in(self, part: Part, value: object) -> Span | None:
        try:
            marked = tomlkit.parse(part.text)
            _at(marked, part.path[:-1])[part.path[-1]] = MARK
            before, mark, after = marked.as_string().partition(f'"{MARK}"')
        except TOMLKitError:
            return None
        start, end = len(before), len(part.text) - len(after)
        unchanged = part.text.startswith(before) and part.text.endswith(after)
        if not mark or not unchanged or start >= end or _value(part.text[start:end]) != value:
            return None
        return Span(start, end)

    def _item(self, path: Path) -> object:
        """What tomlkit makes of a value."""
        for part in self._parts(path):
            try:
                return _at(tomlkit.parse(part.text), part.path)
            except TOMLKitError:
                continue
        raise _layout(path)

    def _parts(self, path: Path) -> Iterator[Part]:
        """The section that holds a value, which is soon read, and then the whole text."""
        if path[0] == "host" and len(path) > 1:
            index = path[1]
            if isinstance(index, int) and index < len(self._hosts):
                start, end = self._hosts[index]
                text = self.text[start:end]
                if _document(text).get("host") == [_at(self.document, path[:2])]:
                    yield Part(start, text, ("host", 0, *path[2:]))
        else:
            text = self.text[: self._head.end]
            document = _document(text)
            if path[0] in document and document[path[0]] == self.document[path[0]]:
                yield Part(0, text, path)
        yield Part(0, self.text, path)


def _inline(shape: Mapping[str, Any]) -> str:
    """Write a host as an inline table."""
    fields = []
    for name, value in shape.items():
        written = _toml_value(value)
        if isinstance(value, list):
            written = f"[{', '.join(map(_toml_value, value))}]"
        fields.append(f"{name} = {written}")
    return f"{{ {', '.join(fields)} }}"


def _at(document: Any, path: Path) -> Any:
    for step in path:
        document = document[step]
    return document


def _value(text: str) -> object:
    return _document(f"value = {text}").get("value")


def _document(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return {}


def _match(pattern: re.Pattern[str], text: str, position: int) -> re.Match[str]:
    found = pattern.match(text, position)
    if found is None:
        raise LayoutError("something stands behind a value on its line")
    return found


def _layout(path: Path) -> LayoutError:
    return LayoutError(f"cannot tell where {'.'.join(map(str, path))} stands in the text")
