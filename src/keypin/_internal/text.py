"""Text for errors and logs: one line for what may hold anything, and never long."""

from __future__ import annotations

__all__ = ["LONGEST_TEXT", "and_more", "cut", "shown"]

LONGEST_TEXT = 10_000  # characters of an error or a log line, whatever a server sent
LONGEST_VALUE = 200


def cut(text: str, room: int) -> str:
    """A text with room for so many characters, or its beginning, which is then seen to be that."""
    if len(text) <= room:
        return text
    mark = f"… ({len(text):,} characters)"
    return text[: max(0, room - len(mark))] + mark


def shown(value: object) -> str:
    """A value that a program or a file gave, as Python writes it; a long one is not read whole."""
    if isinstance(value, str):
        return repr(value if len(value) <= LONGEST_VALUE else value[:LONGEST_VALUE] + "…")
    import reprlib

    writer = reprlib.Repr()
    writer.maxstring = writer.maxother = LONGEST_VALUE
    return writer.repr(value)


def and_more(number: int, what: str) -> list[str]:
    """The line that says how many things are left out; none if none are."""
    return [f"    … and {number:,} more {what}"] if number > 0 else []
