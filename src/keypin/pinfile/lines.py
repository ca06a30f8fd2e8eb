"""On which line of a TOML or JSON text something stands: asked only when it is wrong."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .toml_spans import CannotFollow, read_spans

if TYPE_CHECKING:
    from collections.abc import Callable

    from .toml_spans import Path

__all__ = ["json_lines", "toml_lines"]

SPACE = re.compile(r"[ \t\n\r]*")


def toml_lines(text: str) -> Callable[[Path], int | None]:
    """Tell the lines of a TOML text.

    Args:
        text: what `tomllib` has read.

    Returns:
        A function from a path to the line, from 1, of the key or element that it leads to, or of
        the innermost one of its containers that is there; None if there is none.
    """
    try:
        root = read_spans(text)
    except CannotFollow:  # TOML that is younger than this module
        return lambda path: None

    def line(path: Path) -> int | None:
        node = root
        for step in path:
            if step not in node.children:
                break
            node = node.children[step]
        return None if node is root else text.count("\n", 0, node.key) + 1

    return line


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
        """Tell the line of a path; None where the stack is fuller than at the first reading."""
        try:
            return self._line(path)
        except RecursionError:
            return None

    def _line(self, path: Path) -> int:
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
