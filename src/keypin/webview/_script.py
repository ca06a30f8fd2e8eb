"""The shipped JavaScript, and its declarations for TypeScript."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

__all__ = ["declarations", "script"]


@cache
def script() -> str:
    """The text of keypin.js, for pages that load it as a file of their own."""
    return (files(__package__) / "keypin.js").read_text("utf-8")


@cache
def declarations() -> str:
    """The text of keypin.d.ts, the types of what keypin.js defines."""
    return (files(__package__) / "keypin.d.ts").read_text("utf-8")
