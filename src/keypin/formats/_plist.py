"""Property lists of Apple's systems, read strictly.

plistlib refuses entities, and reads XML and binary lists; it is told to refuse what it would drop.
"""

from __future__ import annotations

import plistlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from xml.parsers import expat

from ..errors import HostnameError, PinFormatError, PinSetError
from ..pin import Pin
from ._base64 import refuse_placeholder
from ._conversion import FormatError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    Path = tuple[str | int, ...]

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
        content: of that file.
        path: the keys that lead to it.
    """

    def __init__(self, value: object, file: str, content: bytes, path: Path = ()) -> None:
        self.file = file
        self.path = path
        self._content = content
        if not isinstance(value, dict):
            raise self.refuse("not a dictionary")
        self.values = value

    def refuse(self, text: str, *below: str | int) -> FormatError:
        """Make the error that this, or what is below it, is not as it should be."""
        path = (*self.path, *below)
        where = " > ".join(step for step in path if isinstance(step, str))
        line = line_of(self._content, path)
        return FormatError(f"{where}: {text}" if where else text, self.file, line)

    @contextmanager
    def located(self, *below: str | int) -> Iterator[None]:
        """Say of a wrong pin or host where it stands."""
        try:
            yield
        except FormatError as error:
            raise self.refuse(error.text, *below) from None
        except (HostnameError, PinFormatError, PinSetError) as error:
            raise self.refuse(str(error), *below) from None

    def expect(self, keys: Collection[str]) -> None:
        """Refuse keys that are not among these."""
        for key in self.values:
            if key not in keys:
                raise self.refuse("unknown key", key)

    def table(self, key: str) -> Table | None:
        """Return the dictionary under a key; None if it is not there."""
        value = self.values.get(key)
        return None if value is None else self._table(value, key)

    def tables(self) -> list[tuple[str, Table]]:
        """Return the dictionaries under all keys."""
        return [(key, self._table(self.values[key], key)) for key in self.values]

    def _table(self, value: object, key: str) -> Table:
        return Table(value, self.file, self._content, (*self.path, key))

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

    def pin(self, text: object, *below: str | int) -> Pin:
        """Read a pin, which here is base64 alone, with padding."""
        if not isinstance(text, str):
            raise self.refuse("a pin is a string", *below)
        with self.located(*below):
            refuse_placeholder(text)
            return Pin("sha256/" + text)


def line_of(content: bytes, path: Path) -> int | None:
    """Tell on which line of a list in XML a value's key stands, or the value in an array.

    Args:
        content: what plistlib has read.
        path: keys, and numbers in arrays; of a path that leads further than the list, the last step
            that is there counts.

    Returns:
        None for a binary list, which has no lines, and where no step is there.
    """
    if content.startswith(b"bplist") or not path:
        return None
    lines: dict[Path, int] = {}
    place: list[str | int] = []  # of the value that comes next
    open_elements: list[str] = []
    text: list[str] = []
    parser = expat.ParserCreate()

    def start(name: str, _: object) -> None:
        if name == "key" or (open_elements and open_elements[-1] == "array"):
            text.clear()
        if name != "key" and open_elements and open_elements[-1] == "array":
            place[-1] = int(place[-1]) + 1
            lines.setdefault(tuple(place), parser.CurrentLineNumber)
        if name in ("dict", "array"):
            place.append("" if name == "dict" else -1)
        open_elements.append(name)

    def end(name: str) -> None:
        open_elements.pop()
        if name in ("dict", "array"):
            place.pop()
        elif name == "key" and place:
            place[-1] = "".join(text)
            lines.setdefault(tuple(place), parser.CurrentLineNumber)

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text.append
    try:
        parser.Parse(content, True)
    except expat.ExpatError:
        return None
    reached = (path[:length] for length in range(len(path), 0, -1))
    return next((lines[step] for step in reached if step in lines), None)


def load(file: str, content: bytes) -> Table:
    """Read a list, XML or binary, whose outermost value is a dictionary.

    Raises:
        FormatError: it is none, or has a key twice.
    """
    try:
        return Table(plistlib.loads(content, dict_type=_Unique), file, content)
    except expat.ExpatError as error:
        raise FormatError(f"not XML: {error}", file, error.lineno) from None
    except NOT_A_LIST as error:
        raise FormatError(f"not a property list: {str(error) or 'not readable'}", file) from None


def dump(value: dict[str, Any]) -> bytes:
    """Write a list as XML, in the order given."""
    return plistlib.dumps(value, sort_keys=False)
