"""XML, read strictly: elements with their lines, and no document type.

A document type is refused where it begins, so that no entity is ever declared, let alone expanded.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, NoReturn
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from ._conversion import FormatError

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["Element", "escape", "parse", "quoteattr"]

DEEPEST = 50
LIKELY_MEANT = 0.75
# as Android's build tools spell them
BOOLEANS = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
NUMBERS = {"1": True, "0": False}


@dataclass(slots=True)
class Element:
    """An element, with its text put together and stripped; `padded` tells that it was not."""

    name: str
    attributes: dict[str, str]
    line: int
    file: str
    children: list[Element] = field(default_factory=list)
    text: str = ""
    padded: bool = False
    has_comment: bool = False
    ignored: list[str] = field(default_factory=list)

    def refuse(self, text: str) -> FormatError:
        """Make the error that this element is not as it should be."""
        return FormatError(f"<{self.name}>: {text}", self.file, self.line)

    def expect(
        self, attributes: Collection[str] = (), children: Collection[str] = (), text: bool = False
    ) -> None:
        """Refuse everything that is not one of these.

        Attributes of other namespaces (`tools:...`, read by build tools) are none of the format's.
        Its readers pass over others, too: these are noted in `ignored`, unless they are one of the
        known ones misspelt.
        """
        for name in self.attributes:
            if name in attributes or ":" in name:
                continue
            lower = {known.lower(): known for known in attributes}
            if near := get_close_matches(name.lower(), lower, n=1, cutoff=LIKELY_MEANT):
                raise self.refuse(f"unknown attribute {name!r}; did you mean {lower[near[0]]!r}?")
            self.ignored.append(name)
        for child in self.children:
            if child.name not in children:
                raise child.refuse(f"not known inside <{self.name}>")
        if self.text and not text:
            raise self.refuse(f"text that means nothing: {self.text[:40]!r}")

    def single_text(self) -> str:
        """Return a text that a comment would break in two, which readers of pieces refuse."""
        if self.has_comment:
            raise self.refuse("a comment inside: put it before or behind the element")
        return self.text

    def boolean(self, name: str, *, numbers: bool = False) -> bool | None:
        """Return an attribute that is true or false; None if it is not there.

        Args:
            name: of the attribute.
            numbers: whether 0 and 1 are false and true, too.
        """
        value = self.attributes.get(name)
        known = {**BOOLEANS, **NUMBERS} if numbers else BOOLEANS
        if value is not None and value not in known:
            raise self.refuse(f"{name} is true or false, not {value[:40]!r}")
        return None if value is None else known[value]


def parse(content: bytes, file: str) -> Element:
    """Read a document and return its outermost element.

    Raises:
        FormatError: it is not well-formed, has a document type, or is nested too deeply.
    """
    parser = expat.ParserCreate()
    parser.buffer_text = True
    root = Element("", {}, 0, file)
    open_elements = [root]

    def refuse(text: str) -> NoReturn:
        raise FormatError(text, file, parser.CurrentLineNumber)

    def start(name: str, attributes: dict[str, str]) -> None:
        if len(open_elements) > DEEPEST:
            refuse("nested too deeply")
        element = Element(name, attributes, parser.CurrentLineNumber, file)
        open_elements[-1].children.append(element)
        open_elements.append(element)

    def end(_: str) -> None:
        element = open_elements.pop()
        plain = element.text.strip()
        element.padded, element.text = plain != element.text, plain

    def characters(text: str) -> None:
        open_elements[-1].text += text

    def comment(_: str) -> None:
        open_elements[-1].has_comment = True

    def document_type(*_: object) -> None:
        refuse("a document type (<!DOCTYPE>), which this format does not have")

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = characters
    parser.CommentHandler = comment
    parser.StartDoctypeDeclHandler = document_type
    try:
        parser.Parse(content, True)
    except expat.ExpatError as error:
        raise FormatError(f"not XML: {expat.ErrorString(error.code)}", file, error.lineno) from None
    except FormatError:
        raise
    except (LookupError, ValueError) as error:  # an encoding that is not known, or not to expat
        raise FormatError(f"not XML that can be read: {error}", file, 1) from None
    return root.children[0]
