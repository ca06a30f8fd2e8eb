"""Where each key and value stands in a TOML text that `tomllib` has read.

`tomllib` does not tell, and what other libraries write is not always what they read. So the text is
read a second time, once and from its beginning to its end, only to follow its brackets, strings and
commas: what is TOML was decided before. Nothing here calls itself, so no text is nested too deeply.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    Step = str | int
    Kind = Literal["section", "sections", "dotted", "inline", "array", "scalar"]

__all__ = ["CannotFollow", "Node", "Path", "read_spans"]

Path = tuple[str | int, ...]
"""The keys and indices that lead to a value: `("host", 2, "name")`."""

# Possessive, so that the time is linear in the text whatever it holds
SPACE = re.compile(r"[ \t]*+")
SPACE_LINES_COMMENTS = re.compile(r"(?:[ \t\r\n]++|#[^\n]*+)*+")
STRING = re.compile(
    r'"""(?:[^"\\]++|\\.|"{1,2}(?!"))*+""""{0,2}'
    r"|'''(?:[^']++|'{1,2}(?!'))*+''''{0,2}"
    r'|"(?:[^"\\\n]++|\\.)*+"'
    r"|'[^'\n]*+'",
    re.DOTALL,
)
BARE_KEY = re.compile(r"[^\s\"'.=\[\]{},#]++")
SCALAR = re.compile(r"[^,\]}#\r\n]++")


class CannotFollow(ValueError):
    """A text that is no TOML, or of a later version than this module knows."""


class Node:
    """A table, an array or another value of the text.

    Attributes:
        kind: how it is written. "section": under headers of its own, or only in the names of those;
            "sections": an array of them, `[[...]]`; "dotted": in the names of keys; "inline": a
            table in braces; "array": in brackets; "scalar": any other value.
        key: where its key begins; for an element of an array, where that does; for a section, its
            header.
        start: where its value begins; as `key` for what has no value of its own.
        end: where its value ends; for a section, where its header does, or the last of the values
            under it. Of dotted tables and arrays of sections it says nothing.
        children: by key or index.
    """

    __slots__ = ("children", "end", "key", "kind", "start")

    def __init__(self, kind: Kind, key: int, end: int) -> None:
        self.kind = kind
        self.key = self.start = key
        self.end = end
        self.children: dict[Step, Node] = {}

    def at(self, path: Path) -> Node | None:
        """The node that a path leads to from here."""
        node: Node | None = self
        for step in path:
            node = None if node is None else node.children.get(step)
        return node

    def child(self, step: Step, kind: Kind, key: int, end: int) -> Node:
        """The child of this name, which is made if it is not there yet."""
        node = self.children.get(step)
        if node is None:
            node = self.children[step] = Node(kind, key, end)
        return node


def read_spans(text: str) -> Node:
    """Read where the keys and values of a text stand.

    Args:
        text: which `tomllib` has read; positions are those of this text, line ends as they are.

    Raises:
        CannotFollow: it is not TOML as this module knows it.
    """
    return _Reader(text).read()


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.root = Node("section", 0, 0)

    def read(self) -> Node:
        table = self.root
        position = self._skip(0)
        while position < len(self.text):
            if self.text[position] == "[":
                table, position = self._header(position)
            else:
                position = self._key_and_value(table, position)
            position = self._skip(position)
        return self.root

    def _skip(self, position: int) -> int:
        match = SPACE_LINES_COMMENTS.match(self.text, position)
        return position if match is None else match.end()

    def _space(self, position: int) -> int:
        match = SPACE.match(self.text, position)
        return position if match is None else match.end()

    def _expect(self, mark: str, position: int) -> int:
        if not self.text.startswith(mark, position):
            raise CannotFollow(f"no {mark} at {position}")
        return position + len(mark)

    # Headers

    def _header(self, start: int) -> tuple[Node, int]:
        """Return the table that a header leads to, and where the header ends."""
        double = self.text.startswith("[[", start)
        names, position = self._names(self._space(start + 1 + double))
        position = self._expect("]]" if double else "]", position)
        table = self.root
        for index, name in enumerate(names):
            is_element = double and index == len(names) - 1
            table = table.child(name, "sections" if is_element else "section", start, position)
            if is_element:
                table.children[len(table.children)] = Node("section", start, position)
            if table.kind == "sections":
                table = table.children[len(table.children) - 1]
        table.end = position
        return table, position

    def _names(self, position: int) -> tuple[list[str], int]:
        """Read the parts of a dotted key, and the space behind."""
        names = []
        while True:
            name, position = self._name(position)
            names.append(name)
            position = self._space(position)
            if not self.text.startswith(".", position):
                return names, position
            position = self._space(position + 1)

    def _name(self, start: int) -> tuple[str, int]:
        match = STRING.match(self.text, start) or BARE_KEY.match(self.text, start)
        if match is None:
            raise CannotFollow(f"no key at {start}")
        name = match[0]
        if name[0] not in "\"'":
            return name, match.end()
        if "\\" not in name or name[0] == "'":
            return name[1:-1], match.end()
        import tomllib

        try:
            return tomllib.loads(f"name = {name}")["name"], match.end()
        except tomllib.TOMLDecodeError as error:
            raise CannotFollow(f"no key at {start}: {error}") from None

    # Keys and values

    def _key_and_value(self, table: Node, start: int) -> int:
        node, position = self._key(table, start)
        table.end = self._value(node, position)
        return table.end

    def _key(self, table: Node, start: int) -> tuple[Node, int]:
        """Read a key and its equals sign; return the node of its value, and where that begins."""
        names, position = self._names(start)
        position = self._space(self._expect("=", position))
        for name in names[:-1]:
            table = table.child(name, "dotted", start, start)
        node = table.child(names[-1], "scalar", start, start)
        node.start = position
        return node, position

    def _value(self, node: Node, start: int) -> int:
        """Read a value and all that is in it; return where it ends."""
        open_: list[Node] = []
        position = self._begin(node, start, open_)
        while open_:
            container = open_[-1]
            position = self._skip(position)
            if self.text[position : position + 1] in ("]", "}"):
                position += 1
                open_.pop().end = position
            elif self.text.startswith(",", position):
                position += 1
            elif container.kind == "array":
                element = container.child(len(container.children), "scalar", position, position)
                position = self._begin(element, position, open_)
            else:
                member, position = self._key(container, position)
                position = self._begin(member, position, open_)
        return position

    def _begin(self, node: Node, start: int, open_: list[Node]) -> int:
        """Read a scalar, or the bracket that opens a container; return where that ends."""
        opening = self.text[start : start + 1]
        if opening in ("[", "{"):
            node.kind = "array" if opening == "[" else "inline"
            open_.append(node)
            return start + 1
        match = STRING.match(self.text, start) or SCALAR.match(self.text, start)
        if match is None:
            raise CannotFollow(f"no value at {start}")
        node.end = start + len(match[0].rstrip(" \t"))
        return node.end
