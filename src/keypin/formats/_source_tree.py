"""Kotlin and Java as one small tree: what values, calls and declarations a source file has.

Only what pins can be written with has a kind of its own here; everything else is an `Other` with
its parts, so that whoever walks the tree misses nothing.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from importlib import import_module
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, NamedTuple

from ._conversion import FormatError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tree_sitter import Node

__all__ = [
    "Argument",
    "Assign",
    "Block",
    "Chain",
    "Changeable",
    "Class",
    "Constant",
    "Declare",
    "Function",
    "Items",
    "Join",
    "Lambda",
    "Loop",
    "Name",
    "Other",
    "Return",
    "Source",
    "Step",
    "Tree",
    "line_of",
    "parse",
    "parts_of",
    "text_of_node",
    "types_in",
]


Changeable = Literal["nobody", "this file", "anybody"]


@dataclass(frozen=True, slots=True)
class Constant:
    """A string without anything to fill in."""

    line: int
    text: str


@dataclass(frozen=True, slots=True)
class Join:
    """Values put one after the other: `a + b`, or a string with templates."""

    line: int
    parts: tuple[Tree, ...]


@dataclass(frozen=True, slots=True)
class Items:
    """An array that is written out."""

    line: int
    parts: tuple[Tree, ...]


@dataclass(frozen=True, slots=True)
class Name:
    """A name alone; `this` is one."""

    line: int
    name: str


class Argument(NamedTuple):
    """An argument of a call."""

    name: str | None
    value: Tree


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a chain: `.name`, `.name(arguments)` or `.name(arguments) { block }`."""

    line: int
    name: str
    arguments: tuple[Argument, ...] | None = None
    block: Lambda | None = None


@dataclass(frozen=True, slots=True)
class Chain:
    """`base.step.step`; without a base the first step is called by its name alone."""

    line: int
    base: Tree | None
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Lambda:
    """A lambda; names that are taken apart stand in a tuple; None: the parameter is `it`."""

    line: int
    names: tuple[str | tuple[str, ...], ...] | None
    body: tuple[Tree, ...]


@dataclass(frozen=True, slots=True)
class Declare:
    """A variable, field or parameter.

    Args:
        line: where.
        name: its name.
        value: what it begins with; None if that is not known.
        why: what it is if it has no value that is known.
        changeable: who can give it another value.
    """

    line: int
    name: str
    value: Tree | None
    why: str
    changeable: Changeable = "nobody"


@dataclass(frozen=True, slots=True)
class Assign:
    """Another value for what there is."""

    line: int
    target: Tree
    value: Tree


@dataclass(frozen=True, slots=True)
class Loop:
    """The body once for each value; several names take a value apart."""

    line: int
    names: tuple[str, ...]
    over: Tree
    body: Tree


@dataclass(frozen=True, slots=True)
class Block:
    """Statements that run one after the other; with `own` names declared there end there."""

    line: int
    body: tuple[Tree, ...]
    own: bool = True


@dataclass(frozen=True, slots=True)
class Function:
    """What runs when it is called, if it ever is."""

    line: int
    parameters: tuple[Declare, ...]
    body: tuple[Tree, ...]


@dataclass(frozen=True, slots=True)
class Class:
    """A class, object or interface.

    Args:
        line: where.
        name: its name; None if it has none.
        body: its members.
        companion: whether its members are those of the class around it, too.
        parameters: fields that it is made with, if it is made in no other way.
        supers: names of what it inherits from.
    """

    line: int
    name: str | None
    body: tuple[Tree, ...]
    companion: bool = False
    parameters: tuple[str, ...] = ()
    supers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Return:
    """The end of a function with a value."""

    line: int
    value: Tree


@dataclass(frozen=True, slots=True)
class Other:
    """Anything else: its parts may run or not."""

    line: int
    text: str
    parts: tuple[Tree, ...]


Tree = (
    Constant | Join | Items | Name | Chain | Lambda | Declare | Assign | Loop | Block | Function
    | Class | Return | Other
)  # fmt: skip


class Source(NamedTuple):
    """A source file.

    Attributes:
        body: what stands at its top.
        imports: the full name of each name that is imported; `*` after those of whole packages.
        broken: lines that are no Kotlin or Java, with all words that stand there.
    """

    body: tuple[Tree, ...]
    imports: tuple[tuple[str, str], ...]
    broken: tuple[tuple[int, frozenset[str]], ...]


LANGUAGES = {".kt": "kotlin", ".kts": "kotlin", ".java": "java"}
MOST_REPAIRS = 20
CONTAINERS = {"source_file", "program", "class_body", "block", "lambda_literal", "interface_body"}
# Java replaces them before anything else: these characters may end a comment or a string
ENDING_ESCAPE = re.compile(r"\\u+00(?:0[aAdD]|2[27aAfF]|5[cC])")
WORD = re.compile(r"\w+")


def parse(text: str, file: str) -> Source:
    """Read a source file; its language is told by its name, or by which of the two it can be.

    Raises:
        FormatError: it cannot be read as either, or the extra is not installed.
    """
    suffix = "." + file.rpartition(".")[2].lower()
    names = [LANGUAGES[suffix]] if suffix in LANGUAGES else ["kotlin", "java"]
    parsed = [_parsed(text.encode(), name) for name in names]
    language, content, root, broken = min(parsed, key=_extent)
    if language == "java" and (escape := ENDING_ESCAPE.search(text)):
        line = text.count("\n", 0, escape.start()) + 1
        what = f"{escape[0]} may end a comment or a string: write the character"
        raise FormatError(what, file, line)
    module = import_module(f"._{language}", __package__)
    try:
        body, imports = module.translate(root)
    except RecursionError:
        raise FormatError("nested too deeply", file) from None
    spans = ((content.count(b"\n", 0, start) + 1, content[start:end]) for start, end in broken)
    words = ((line, frozenset(WORD.findall(part.decode()))) for line, part in spans)
    return Source(tuple(body), tuple(imports), tuple(words))


class _Parsed(NamedTuple):
    language: str
    content: bytes
    root: Node
    broken: list[tuple[int, int]]


def _extent(parsed: _Parsed) -> int:
    return sum(end - start for start, end in parsed.broken)


def _parsed(content: bytes, language: str) -> _Parsed:
    root = _root(content, language)
    found = _Parsed(language, content, root, list(_broken(root)))
    for _ in range(MOST_REPAIRS if language == "kotlin" else 0):
        # the grammar misses the end of a declaration that `}` ends on the same line
        ended = _with_ends(content, root)
        if not found.broken or ended == content:
            break
        content, root = ended, _root(ended, language)
        found = min(found, _Parsed(language, content, root, list(_broken(root))), key=_extent)
    return found


def _with_ends(content: bytes, root: Node) -> bytes:
    """Write `;` before each `}` that something stands before on its line; to Kotlin it is one."""
    places, waiting = [], [root]
    while waiting:
        node = waiting.pop()
        waiting += node.children
        if node.type == "}" and node.parent and node.parent.type != "interpolation":
            before = content[: node.start_byte].rpartition(b"\n")[2].strip()
            if before and before[-1:] not in (b"{", b";"):
                places.append(node.start_byte)
    edges = [0, *sorted(places), len(content)]
    return b";".join(content[start:end] for start, end in pairwise(edges))


def _root(content: bytes, language: str) -> Node:
    try:
        from tree_sitter import Language, Parser

        grammar = import_module(f"tree_sitter_{language}")
    except ImportError as error:
        how = (
            "pip install 'keypin[formats]'"
            if sys.version_info < (3, 15)
            else "pip install tree-sitter tree-sitter-java tree-sitter-kotlin, which may need a C"
            " compiler for this Python, or import with an older one"
        )
        raise FormatError(f"Kotlin and Java are read with {error.name}: {how}") from None
    return Parser(Language(grammar.language())).parse(content).root_node


def _broken(root: Node) -> Iterator[tuple[int, int]]:
    """Yield the extent of each statement that is no such language."""
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if not node.has_error:
            continue
        inner = [child for child in node.children if child.has_error or child.is_missing]
        if node.is_error or node.is_missing or not inner:
            statement = node
            while statement.parent and statement.parent.type not in CONTAINERS:
                statement = statement.parent
            yield statement.start_byte, statement.end_byte
        else:
            waiting += inner


def line_of(node: Node) -> int:
    """Return the line that a node begins in."""
    return node.start_point[0] + 1


def types_in(node: Node, kind: str) -> tuple[str, ...]:
    """Return the names of all types below a node, without their packages."""
    found, waiting = [], [node]
    while waiting:
        part = waiting.pop()
        if part.type == kind:
            found.append(WORD.findall(text_of_node(part).partition("<")[0])[-1:])
        else:
            waiting += part.children
    return tuple(name for names in found for name in names)


def text_of_node(node: Node) -> str:
    """Return the source text of a node."""
    return (node.text or b"").decode()


def parts_of(nodes: Iterable[Node]) -> list[Node]:
    """Return the nodes that say something: no comments, no punctuation."""
    return [node for node in nodes if node.is_named and not node.type.endswith("comment")]
