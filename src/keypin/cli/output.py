"""Text for people: coloured and wrapped on a terminal, plain and one line per fact in a pipe."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["PASTED", "Page", "Part", "complain", "printable"]

Part = str | tuple[str, str]
"""a text, or one and its style"""

PASTED = "cyan"
"""the style of what people copy: pins and code"""
LABEL = "dim"
LABEL_WIDTH = 9
NARROWEST = 20


def printable(text: str) -> str:
    """Escape what a terminal could take for a command, line ends included."""
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    return "".join(f"\\{octet:02x}" for octet in character.encode("utf-8", "surrogatepass"))


def _console(*, stderr: bool = False) -> Console:
    # No text is ever read as markup: certificates come from strangers.
    return Console(stderr=stderr, highlight=False, markup=False, emoji=False)


class Page:
    """Standard output."""

    def __init__(self) -> None:
        self._console = _console()

    def line(self, *parts: Part, indent: int = 0, head: str = "") -> None:
        """Write a line; where it is too long, it goes on below its beginning, behind the head."""
        text = Text()
        for part in parts:
            content, style = (part, "") if isinstance(part, str) else part
            text.append(printable(content), style)
        prefix = Text(" " * indent) + Text(head, style=LABEL)
        for line in self._wrapped(text, indent + len(head)):
            self._print(prefix + line)
            prefix = Text(" " * (indent + len(head)))

    def field(self, label: str, *parts: Part, indent: int = 0) -> None:
        """Write a line with a label before it."""
        self.line(*parts, indent=indent, head=f"{label:<{LABEL_WIDTH}}")

    def verbatim(self, *lines: str, indent: int = 0) -> None:
        """Write lines for copying; they are never broken."""
        for line in lines:
            self._print(Text(" " * indent) + Text(printable(line), style=PASTED))

    def _wrapped(self, text: Text, indent: int) -> Iterable[Text]:
        # what has no place to break, such as a pin, is left to the terminal, which copies it whole
        if not self._console.is_terminal or " " not in text.plain:
            return [text]
        return text.wrap(self._console, max(self._console.width - indent, NARROWEST))

    def _print(self, line: Text) -> None:
        line.rstrip()
        self._console.print(line, soft_wrap=True)


def complain(message: str) -> None:
    """Write an error to standard error: one block, its first line marked.

    It begins with the program's name, as the report of a mismatch does of itself.
    """
    if not message.startswith("keypin "):
        message = f"keypin: {message}"
    first, *rest = map(printable, message.splitlines())
    text = Text("\n").join([Text(first, style="bold red"), *map(Text, rest)])
    sys.stdout.flush()
    _console(stderr=True).print(text, soft_wrap=True)
