"""Property lists of Apple's systems, read strictly.

plistlib refuses entities, and reads XML and binary lists; it is told to refuse what it would drop.
"""

from __future__ import annotations

import plistlib
from typing import TYPE_CHECKING, Any
from xml.parsers.expat import ExpatError

from ..pin import Pin
from ._conversion import FormatError, located

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["Table", "dump", "load"]


# what plistlib raises over files that are none: LookupError for an encoding that is not known
NOT_A_LIST = (
    plistlib.InvalidFileException,
    ValueError,
    LookupError,
    OverflowError,
    RecursionError,
)


class _Unique(dict[str, Any]):
    """A dictionary that takes each key once."""

    def __setitem__(self, key: str, value: Any) -> None:
        if key in self:
            raise ValueError(f"the key {key!r} is there twice")
        super().__setitem__(key, value)


class Table:
    """A dictionary of a list, and where it stands.

    Args:
        value: what stands there.
        file: in which file.
        path: the keys that lead to it.
    """

    def __init__(self, value: object, file: str, path: str = "") -> None:
        self.file = file
        self.path = path
        if not isinstance(value, dict):
            raise self.refuse("not a dictionary")
        self.values = value

    def refuse(self, text: str, key: str | None = None) -> FormatError:
        """Make the error that this is not as it should be."""
        where = self.path if key is None else self._below(key)
        return FormatError(f"{where}: {text}" if where else text, self.file)

    def expect(self, keys: Collection[str]) -> None:
        """Refuse keys that are not among these."""
        for key in self.values:
            if key not in keys:
                raise self.refuse("unknown key", key)

    def table(self, key: str) -> Table | None:
        """Return the dictionary under a key; None if it is not there."""
        value = self.values.get(key)
        return None if value is None else Table(value, self.file, self._below(key))

    def tables(self) -> list[tuple[str, Table]]:
        """Return the dictionaries under all keys."""
        return [(key, Table(self.values[key], self.file, self._below(key))) for key in self.values]

    def _below(self, key: str) -> str:
        return f"{self.path} > {key}" if self.path else key

    def boolean(self, key: str, default: bool) -> bool:
        """Return what is true or false."""
        value = self.values.get(key, default)
        if not isinstance(value, bool):
            raise self.refuse("neither true nor false", key)
        return value

    def strings(self, key: str) -> list[str]:
        """Return a list of strings; an empty one if it is not there."""
        value = self.values.get(key, [])
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise self.refuse("not an array of strings", key)
        return value

    def pin(self, text: object, key: str) -> Pin:
        """Read a pin, which here is base64 alone."""
        if not isinstance(text, str):
            raise self.refuse("a pin is a string", key)
        with located(self.file):
            return Pin("sha256/" + text)


def load(file: str, content: bytes) -> Table:
    """Read a list, XML or binary, whose outermost value is a dictionary.

    Raises:
        FormatError: it is none, or has a key twice.
    """
    try:
        return Table(plistlib.loads(content, dict_type=_Unique), file)
    except ExpatError as error:
        raise FormatError(f"not XML: {error}", file, error.lineno) from None
    except NOT_A_LIST as error:
        raise FormatError(f"not a property list: {str(error) or 'not readable'}", file) from None


def dump(value: dict[str, Any]) -> bytes:
    """Write a list as XML, in the order given."""
    return plistlib.dumps(value, sort_keys=False)
