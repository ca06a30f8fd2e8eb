"""The text of a pin file in TOML, edited by replacing spans of it.

All that is outside of the spans stays byte for byte: no library writes the text anew.
"""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING, Any

from ..pinfile.file import host_shape, pin_shape, toml_lines, toml_value
from ..pinfile.toml_spans import CannotFollow, Node, Path, read_spans

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..pinfile import HostEntry, PinEntry

__all__ = ["LayoutError", "TomlText"]

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
            tomllib.loads(text)
            self._root = read_spans(text)
        except tomllib.TOMLDecodeError as error:
            raise LayoutError(f"the edited text would not be TOML: {error}") from None
        except CannotFollow as error:
            raise LayoutError(f"it is laid out in a way that is not known: {error}") from None
        self._newline = "\r\n" if "\r\n" in text[: text.find("\n") + 1] else "\n"

    def _replace(self, start: int, end: int, new: str) -> None:
        self._say(self.text[:start] + new + self.text[end:])

    # What commands ask for

    def set_version(self, version: int) -> None:
        """Write another version."""
        node = self._node(("version",))
        self._replace(node.start, node.end, str(version))

    def set_schema(self, schema: int) -> None:
        """Write another number of the format."""
        node = self._node(("schema",))
        self._replace(node.start, node.end, str(schema))

    def set_host_field(self, host: int, name: str, value: object) -> None:
        """Give a host a field, or the field another value."""
        table = self._node(("host", host))
        self._set_field(table, name, value, table.children["name"])

    def set_pin_field(self, host: int, pin: int, name: str, value: object) -> None:
        """Give a pin of a host a field, or the field another value."""
        node = self._node(("host", host, "pins", pin))
        if node.kind == "scalar":
            written = self.text[node.start : node.end]
            field = f"{name} = {toml_value(value)}"
            self._replace(node.start, node.end, f"{{ pin = {written}, {field} }}")
        else:
            self._set_field(node, name, value, _last(node))

    def add_host(self, host: HostEntry) -> None:
        """Add a host behind all others."""
        shape = host_shape(host)
        hosts = self._root.at(("host",))
        if hosts is not None and hosts.kind == "array":
            self._append(hosts, _inline(shape))
            return
        lines = ["", "[[host]]", *toml_lines(shape), ""]
        if not self.text.endswith("\n"):
            lines.insert(0, "")
        self._say(self.text + self._newline.join(lines))

    def add_pin(self, host: int, pin: PinEntry) -> None:
        """Add a pin behind the others of a host."""
        pins = self._node(("host", host, "pins"))
        shape = pin_shape(pin)
        if pins.kind == "array":
            self._append(pins, toml_value(shape))
            return
        last = _last(pins)
        indent = self._indent(min(field.key for field in last.children.values()))
        fields = shape if isinstance(shape, dict) else {"pin": shape}
        lines = ["[[host.pins]]", *toml_lines(fields)]
        self._insert_below(last.end, [indent + line for line in lines])

    def remove_host(self, host: int) -> None:
        """Remove a host, with the comments among its fields and behind them."""
        if self._is_in_pieces(self._node(("host", host))):
            for pin in reversed(self._node(("host", host, "pins")).children):
                self.remove_pin(host, int(pin))
        self._remove(("host",), host)

    def remove_pin(self, host: int, pin: int) -> None:
        """Remove a pin of a host, with the comment behind it."""
        self._remove(("host", host, "pins"), pin)

    def remove_denied(self, host: int, index: int) -> None:
        """Remove an element of `deny`, with the comment behind it."""
        self._remove(("host", host, "deny"), index)

    def _remove(self, path: Path, index: int) -> None:
        array = self._node(path)
        if array.kind == "array":
            self._remove_element(array, index)
        else:
            self._remove_section(array.children[index])

    def _node(self, path: Path) -> Node:
        node = self._root.at(path)
        if node is None:
            raise LayoutError(f"cannot tell where {'.'.join(map(str, path))} stands in the text")
        return node

    # Tables

    def _set_field(self, table: Node, name: str, value: object, anchor: Node) -> None:
        """Give a field another value, or add it behind the field `anchor`."""
        written = toml_value(value)
        field = table.children.get(name)
        if field is not None:
            self._replace(field.start, field.end, written)
        elif table.kind == "section":
            self._insert_below(anchor.end, [f"{self._indent(anchor.key)}{name} = {written}"])
        else:
            self._replace(anchor.end, anchor.end, f", {name} = {written}")

    def _is_in_pieces(self, section: Node) -> bool:
        """Whether something else stands between a section and those below it."""
        others = self._root.children.values()
        return any(section.key < other.key < _end(section) for other in others)

    def _remove_section(self, section: Node) -> None:
        """Remove `[[host]]` or `[[host.pins]]`, from its header to the last of its fields."""
        start = self._line_start(section.key)
        rest = _match(REST_OF_LINE, self.text, _end(section))
        end = _match(LINE_END, self.text, rest.end()).end()
        if end == len(self.text) or BLANK_LINES.match(self.text, end):
            blank = BLANK_LINES_BEFORE.search(self.text, 0, start)
            start = start if blank is None else blank.start()
        self._replace(start, end, "")

    # Arrays

    def _append(self, array: Node, new: str) -> None:
        last = _last(array)
        start, end = last.start, last.end
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
            self._say(before + after)
            self._insert_below(len(before), [self._indent(start) + new])

    def _remove_element(self, array: Node, index: int) -> None:
        element = array.children[index]
        start, end = element.start, element.end
        comma = COMMA_AFTER.match(self.text, end)
        rest = REST_WITH_COMMA.match(self.text, end)
        if self._is_first_on_line(start) and rest and (rest["comma"] or not comma):
            self._replace(self._line_start(start), rest.end(), "")
        elif comma is None:
            self._remove_last_in_line(element, array.children.get(index - 1))
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

    def _remove_last_in_line(self, element: Node, before: Node | None) -> None:
        start = element.start
        if before is not None and COMMA_AND_SPACE.fullmatch(self.text, before.end, start):
            start = before.end
        self._replace(start, element.end, "")

    # Lines

    def _insert_below(self, position: int, lines: list[str]) -> None:
        """Insert lines below the line on which a value ends."""
        rest = _match(REST_OF_LINE, self.text, position).end()
        end = _match(LINE_END, self.text, rest).end()
        if end == rest:  # the last line, which has no end
            self._replace(end, end, "".join(self._newline + line for line in lines))
        else:
            self._replace(end, end, "".join(line + self._newline for line in lines))

    def _line_start(self, position: int) -> int:
        return self.text.rfind("\n", 0, position) + 1

    def _indent(self, position: int) -> str:
        line = self.text[self._line_start(position) : position]
        return line[: len(line) - len(line.lstrip(" \t"))]

    def _is_first_on_line(self, position: int) -> bool:
        return not self.text[self._line_start(position) : position].strip(" \t")


def _inline(shape: Mapping[str, Any]) -> str:
    """Write a host as an inline table."""
    fields = []
    for name, value in shape.items():
        written = toml_value(value)
        if isinstance(value, list):
            written = f"[{', '.join(map(toml_value, value))}]"
        fields.append(f"{name} = {written}")
    return f"{{ {', '.join(fields)} }}"


def _last(container: Node) -> Node:
    """The child that stands behind all others."""
    return max(container.children.values(), key=lambda child: child.end)


def _end(section: Node) -> int:
    """Where a section ends, and all sections below it."""
    below = [
        each.end
        for child in section.children.values()
        if child.kind == "sections"
        for each in child.children.values()
    ]
    return max([section.end, *below])


def _match(pattern: re.Pattern[str], text: str, position: int) -> re.Match[str]:
    found = pattern.match(text, position)
    if found is None:
        raise LayoutError("something stands behind a value on its line")
    return found
