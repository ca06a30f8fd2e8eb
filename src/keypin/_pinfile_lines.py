"""On which line of a TOML or JSON text something stands: asked only when it is wrong.

Neither `tomllib` nor `json` tells where a value was. They are asked again, with parts of a text
that they have accepted before, and everything about their syntax is left to them.
"""

from __future__ import annotations

import re
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Path", "json_lines", "toml_lines"]

Path = tuple[str | int, ...]
"""The keys and indices that lead to a value: `("host", 2, "name")`."""

# A line that may begin a section of its own; a multi-line string can hold a line like it.
SECTION = re.compile(r"^[ \t]*\[{1,2}[ \t]*[\"']?(?P<name>host|defaults)[\"']?[ \t]*\]", re.M)
SPACE = re.compile(r"[ \t\n\r]*")
# Characters to parse again, at most, in search of lines: some seconds, however big the file.
BUDGET = 64 * 1024 * 1024

ABSENT = object()
UNFINISHED = object()


def toml_lines(text: str, document: object) -> Callable[[Path], int | None]:
    """Tell the lines of a TOML text.

    Args:
        text: what `tomllib` has read.
        document: what it made of it.

    Returns:
        A function from a path to the line, from 1, of the key or element that it leads to, or of
        the innermost one of its containers that is there; None if there is none, or the search
        takes too long.
    """
    return _TomlLines(text, document).line


class _TomlLines:
    """The shortest beginning of a text that holds a path ends with the line of that path.

    A beginning is cut at the end of a line and its open strings and brackets are closed. So that
    not all of a long file is read again for each path, it is first cut into its sections, which
    are read alone; a section counts only if it then says what it said in the file.
    """

    def __init__(self, text: str, document: object) -> None:
        self.document = document
        self.budget = BUDGET
        text = text.replace("\r\n", "\n")
        found = list(SECTION.finditer(text))
        cuts = [0, *(match.start() for match in found), len(text)]
        self.parts = [text[start:end] for start, end in pairwise(cuts)]
        self.before = list(accumulate((part.count("\n") for part in self.parts), initial=0))
        self.hosts = [i for i, match in enumerate(found, 1) if match["name"] == "host"]
        self.text = text
        self.keys: dict[int, frozenset[str]] = {}

    def line(self, path: Path) -> int | None:
        path = _present(self.document, path)
        if not path:
            return None
        if path[0] == "host" and len(path) > 1:
            index = path[1]
            if isinstance(index, int) and index < len(self.hosts):
                part = self.hosts[index]
                line = self._line_in(part, ("host", 0, *path[2:]), 2, _at(self.document, path[:2]))
                if line is not None:
                    return line
        else:
            for part in range(len(self.parts)):
                if path[0] not in self._keys(part):
                    continue
                line = self._line_in(part, path, 1, _at(self.document, path[:1]))
                if line is not None:
                    return line
        return self._first_line(self.text, path)

    def _keys(self, part: int) -> frozenset[str]:
        """The top-level keys of a part."""
        if part not in self.keys:
            parsed = self._parse(self.parts[part])
            self.keys[part] = frozenset(parsed if isinstance(parsed, dict) else ())
        return self.keys[part]

    def _line_in(self, part: int, path: Path, depth: int, expected: object) -> int | None:
        if _at(self._parse(self.parts[part]), path[:depth]) != expected:
            return None
        line = self._first_line(self.parts[part], path)
        return None if line is None else self.before[part] + line

    def _first_line(self, text: str, path: Path) -> int | None:
        """Search by halves for the first line that the path needs."""
        ends = [match.end() for match in re.finditer(r"\n|\Z", text)]
        below, found = -1, len(ends) - 1
        while found - below > 1:
            middle = (below + found) // 2
            if _at(self._parse_beginning(text[: ends[middle]]), path) is ABSENT:
                below = middle
            else:
                found = middle
        return found + 1 if self.budget > 0 else None

    def _parse_beginning(self, text: str) -> object:
        """What a text says that ends at the end of any line; None if that is not to be found."""
        for quotes in ("", '"""', "'''"):
            document = self._parse_closed(text + quotes)
            if document is not None:
                return document
        return None

    def _parse_closed(self, text: str) -> object:
        """What a text says when its brackets are closed; None if it ends inside a string."""
        document = self._parse(text)
        while document is UNFINISHED:
            fitting = {
                bracket: document
                for bracket in "]}"
                if (document := self._parse(text + bracket)) is not None
            }
            if len(fitting) != 1:
                return None  # inside a string, any bracket fits
            ((bracket, document),) = fitting.items()
            text += bracket
        return document

    def _parse(self, text: str) -> object:
        """What the text says; `UNFINISHED` if more has to follow; None if it is wrong."""
        import tomllib

        self.budget -= len(text)
        if self.budget < 0:
            return None
        try:
            return tomllib.loads(text)
        except ValueError as error:
            return UNFINISHED if "at end of document" in str(error) else None
        except RecursionError:  # nearer to the limit than the first reading was: no line, then
            self.budget = -1
            return None


def json_lines(text: str) -> Callable[[Path], int | None]:
    """Tell the lines of a JSON text; see `toml_lines`.

    Of a name that an object has twice, the second is meant.
    """
    return _JsonLines(text).line


class _JsonLines:
    """Steps from value to value with `JSONDecoder.raw_decode`."""

    def __init__(self, text: str) -> None:
        from json import JSONDecoder

        self.text = text
        self.decode = JSONDecoder().raw_decode
        self.seen: dict[int, dict[str | int, tuple[int, int]]] = {}

    def line(self, path: Path) -> int | None:
        key = value = self._skip_space(0)
        for step in path:
            if value not in self.seen:
                self.seen[value] = self._children(value)
            if step not in self.seen[value]:
                break
            key, value = self.seen[value][step]
        return self.text.count("\n", 0, key) + 1

    def _skip_space(self, position: int) -> int:
        match = SPACE.match(self.text, position)
        return position if match is None else match.end()

    def _children(self, position: int) -> dict[str | int, tuple[int, int]]:
        """Where each member of an object or array begins, and where its value does."""
        children: dict[str | int, tuple[int, int]] = {}
        opened = self.text[position]
        if opened not in "{[":
            return children
        position = self._skip_space(position + 1)
        while self.text[position] not in "}]":
            start, step = position, len(children)
            if opened == "{":
                step, position = self.decode(self.text, position)
                position = self._skip_space(self._skip_space(position) + 1)  # the colon
            children[step] = start, position
            _, position = self.decode(self.text, position)
            position = self._skip_space(position)
            if self.text[position] == ",":
                position = self._skip_space(position + 1)
        return children


def _at(document: object, path: Path) -> object:
    """The value that a path leads to, or `ABSENT`."""
    for step in path:
        if isinstance(document, dict):
            document = document.get(step, ABSENT)
        elif isinstance(document, list) and isinstance(step, int) and step < len(document):
            document = document[step]
        else:
            return ABSENT
    return document


def _present(document: object, path: Path) -> Path:
    """As much of a path as leads somewhere."""
    while path and _at(document, path) is ABSENT:
        path = path[:-1]
    return path
