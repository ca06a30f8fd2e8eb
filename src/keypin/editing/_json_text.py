"""The text of a pin file in JSON, edited by writing it anew in its own order and indentation."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from ..pinfile.file import date_text, host_shape, pin_shape

if TYPE_CHECKING:
    from ..pinfile import HostEntry, PinEntry

__all__ = ["JsonText"]

FIRST_INDENT = re.compile(r"\{\r?\n(?P<indent>[ \t]+)")


class JsonText:
    """A text, and what it says; the same methods as those of `TomlText`.

    Args:
        text: a valid pin file.
    """

    def __init__(self, text: str) -> None:
        self._before = text
        self.document: dict[str, Any] = json.loads(text)

    @property
    def text(self) -> str:
        """The document, with as much white space as it had before."""
        before = self._before
        indent = FIRST_INDENT.match(before.lstrip())
        separators = None if indent or '": ' in before else (",", ":")
        text = json.dumps(
            self.document,
            indent=indent and indent["indent"],
            separators=separators,
            ensure_ascii="\\u" in before,
            default=date_text,
        )
        if indent and "\r\n" in indent[0]:
            text = text.replace("\n", "\r\n")
        return text + before[len(before.rstrip()) :]

    def set_version(self, version: int) -> None:
        """Write another version."""
        self.document["version"] = version

    def set_schema(self, schema: int) -> None:
        """Write another number of the format."""
        self.document["schema"] = schema

    def set_host_field(self, host: int, name: str, value: object) -> None:
        """Give a host a field, or the field another value."""
        self.document["host"][host][name] = value

    def set_pin_field(self, host: int, pin: int, name: str, value: object) -> None:
        """Give a pin of a host a field, or the field another value."""
        pins = self.document["host"][host]["pins"]
        if isinstance(pins[pin], str):
            pins[pin] = {"pin": pins[pin]}
        pins[pin][name] = value

    def add_host(self, host: HostEntry) -> None:
        """Add a host behind all others."""
        self.document["host"].append(host_shape(host))

    def add_pin(self, host: int, pin: PinEntry) -> None:
        """Add a pin behind the others of a host."""
        self.document["host"][host]["pins"].append(pin_shape(pin))

    def remove_host(self, host: int) -> None:
        """Remove a host."""
        del self.document["host"][host]

    def remove_pin(self, host: int, pin: int) -> None:
        """Remove a pin of a host."""
        del self.document["host"][host]["pins"][pin]

    def remove_denied(self, host: int, index: int) -> None:
        """Remove an element of `deny`."""
        del self.document["host"][host]["deny"][index]
