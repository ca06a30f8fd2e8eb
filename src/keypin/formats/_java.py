"""Java's syntax tree (tree-sitter-java) as that of `_source_tree`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ._source_tree import (
    Argument,
    Assign,
    Block,
    Chain,
    Class,
    Constant,
    Declare,
    Function,
    Items,
    Join,
    Lambda,
    Loop,
    Name,
    Other,
    Return,
    Step,
    line_of,
    parts_of,
    text_of_node,
    types_in,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tree_sitter import Node

    from ._source_tree import Changeable, Tree

__all__ = ["translate"]

IMPORT = re.compile(r"import\s+(static\s+)?([\w.]+?)(\.\*)?\s*;")
CLASSES = {
    "class_declaration", "interface_declaration", "enum_declaration", "record_declaration",
    "annotation_type_declaration",
}  # fmt: skip
FUNCTIONS = {"method_declaration", "constructor_declaration", "compact_constructor_declaration"}
DECLARATIONS = {"field_declaration", "local_variable_declaration", "constant_declaration"}
CODE = re.compile(r"\\u+([0-9a-fA-F]{4})")
ESCAPES = {"t": "\t", "b": "\b", "n": "\n", "r": "\r", "f": "\f", "s": " "}


def translate(root: Node) -> tuple[list[Tree], list[tuple[str, str]]]:
    """Return what a file says, and the full names of what it imports."""
    imports = []
    for node in root.children:
        found = IMPORT.fullmatch(text_of_node(node)) if "import" in node.type else None
        if found:
            imports.append((found[2].rpartition(".")[2], found[2] + (found[3] or "")))
    return _all(root), imports


def _all(node: Node) -> list[Tree]:
    kept = [part for part in parts_of(node.children) if part.type != "import_declaration"]
    return [_tree(part) for part in kept]


def _field(node: Node, name: str) -> Node | None:
    return node.child_by_field_name(name)


def _tree(node: Node) -> Tree:
    line, kind = line_of(node), node.type
    parts = parts_of(node.children)
    if node.is_error or node.is_missing:
        return _other(node)
    if kind in ("identifier", "type_identifier", "this", "super"):
        return Name(line, text_of_node(node))
    if kind == "string_literal":
        return _string(node, parts)
    if kind in ("parenthesized_expression", "expression_statement", "cast_expression") and parts:
        return _tree(parts[-1])
    if kind in ("method_invocation", "field_access", "object_creation_expression"):
        return _chain(node)
    if kind == "array_creation_expression" and (value := _field(node, "value")):
        return _tree(value)
    if kind == "array_initializer":
        return Items(line, tuple(map(_tree, parts)))
    if kind == "binary_expression" and _operator(node) == "+":
        return _sum(node)
    if kind == "lambda_expression":
        return _lambda(node)
    return _statement(node, kind, parts, line)


def _statement(node: Node, kind: str, parts: list[Node], line: int) -> Tree:
    left, right = _field(node, "left"), _field(node, "right")
    name, value, body = _field(node, "name"), _field(node, "value"), _field(node, "body")
    if kind in DECLARATIONS:
        return _declarations(node, parts)
    if kind in CLASSES:
        return _class(node)
    if kind in FUNCTIONS:
        return Function(line, tuple(_parameters(node)), (_tree(body),) if body else ())
    if kind in ("block", "constructor_body", "static_initializer"):
        return Block(line, tuple(map(_tree, parts)))
    if kind == "assignment_expression" and left and right:
        return Assign(line, _tree(left), _tree(right))
    if kind == "enhanced_for_statement" and name and value and body:
        return Loop(line, (text_of_node(name),), _tree(value), _tree(body))
    if kind == "return_statement" and parts:
        return Return(line, _tree(parts[0]))
    return _other(node)


def _other(node: Node) -> Other:
    return Other(line_of(node), text_of_node(node), tuple(map(_tree, parts_of(node.children))))


def _operator(node: Node) -> str:
    operator = _field(node, "operator")
    return "" if operator is None else text_of_node(operator)


def _sum(node: Node) -> Tree:
    """Take `a + b + c` apart from its end, however long it is."""
    parts: list[Tree] = []
    rest = node
    while rest.type == "binary_expression" and _operator(rest) == "+":
        left, right = _field(rest, "left"), _field(rest, "right")
        if left is None or right is None:
            return _other(node)
        parts.append(_tree(right))
        rest = left
    return Join(line_of(node), (_tree(rest), *reversed(parts)))


def _string(node: Node, parts: list[Node]) -> Tree:
    pieces = []
    for part in parts:
        text = text_of_node(part)
        if part.type == "string_fragment":
            pieces.append(text)
        elif code := CODE.fullmatch(text):
            pieces.append(chr(int(code[1], 16)))
        elif part.type == "escape_sequence" and text[1:] in {*ESCAPES, '"', "'", "\\"}:
            pieces.append(ESCAPES.get(text[1], text[1]))
        else:  # text blocks, octal and other escapes
            return _other(node)
    return Constant(line_of(node), "".join(pieces))


def _chain(node: Node) -> Tree:
    """Take a chain of calls apart from its end, however long it is."""
    steps: list[Step] = []
    base: Tree | None = None
    rest: Node | None = node
    while rest is not None:
        name, inside = _field(rest, "name"), _field(rest, "object")
        field, arguments = _field(rest, "field"), _field(rest, "arguments")
        if rest.type == "method_invocation" and name and arguments:
            steps.append(Step(line_of(name), text_of_node(name), _arguments(arguments)))
            rest = inside
        elif rest.type == "field_access" and field and inside:
            steps.append(Step(line_of(field), text_of_node(field)))
            rest = inside
        elif rest.type == "object_creation_expression":
            base, new = _new(rest)
            steps += reversed(new)
            rest = None
        else:
            base, rest = _tree(rest), None
    return Chain(line_of(node), base, tuple(reversed(steps)))


def _new(node: Node) -> tuple[Tree | None, list[Step]]:
    """Write `new a.B(c)` as `a.B(c)`; a class of its own after it is one step more."""
    line, of, arguments = line_of(node), _field(node, "type"), _field(node, "arguments")
    path = re.sub(r"<.*>|\s", "", text_of_node(of), flags=re.DOTALL).split(".") if of else [""]
    steps = [Step(line, name) for name in path[1:-1]]
    steps.append(Step(line, path[-1], _arguments(arguments) if arguments else ()))
    for part in parts_of(node.children):
        if part.type == "class_body":
            inside = Argument(None, Class(line_of(part), None, tuple(_all(part))))
            steps.append(Step(line_of(part), "a subclass", (inside,)))
    return Name(line, path[0]) if len(path) > 1 else None, steps


def _arguments(node: Node) -> tuple[Argument, ...]:
    return tuple(Argument(None, _tree(part)) for part in parts_of(node.children))


def _lambda(node: Node) -> Tree:
    parameters, body = _field(node, "parameters"), _field(node, "body")
    if parameters is None or body is None:
        return _other(node)
    names = [each.name for each in _parameters(node)]
    if parameters.type == "identifier":
        names = [text_of_node(parameters)]
    elif parameters.type == "inferred_parameters":
        names = [text_of_node(part) for part in parts_of(parameters.children)]
    return Lambda(line_of(node), tuple(names), (_tree(body),))


def _declarations(node: Node, parts: list[Node]) -> Block:
    words = {word for part in parts if part.type == "modifiers" for word in _words(part)}
    changeable: Changeable = "anybody"
    if "final" in words or node.type == "constant_declaration":
        changeable = "nobody"
    elif "private" in words or node.type == "local_variable_declaration":
        changeable = "this file"
    declares = []
    for part in parts:
        name, value = _field(part, "name"), _field(part, "value")
        if part.type == "variable_declarator" and name:
            known = _tree(value) if value else None
            why = "has no value in this file"
            declares.append(Declare(line_of(part), text_of_node(name), known, why, changeable))
    return Block(line_of(node), tuple(declares), own=False)


def _words(node: Node) -> list[str]:
    return text_of_node(node).split()


def _class(node: Node) -> Class:
    name, body = _field(node, "name"), _field(node, "body")
    members: list[Tree] = list(_parameters(node))
    for part in parts_of(body.children) if body else ():
        members += _all(part) if part.type == "enum_body_declarations" else [_tree(part)]
    named = None if name is None else text_of_node(name)
    fields = [each.name for each in _parameters(node)] if node.type == "record_declaration" else []
    supers = [
        name
        for part in parts_of(node.children)
        if part.type in ("superclass", "super_interfaces", "extends_interfaces")
        for name in types_in(part, "type_identifier")
    ]
    return Class(
        line_of(node), named, tuple(members), parameters=tuple(fields), supers=tuple(supers)
    )


def _parameters(node: Node) -> Iterator[Declare]:
    """Find the parameters of a method, lambda or record; what they are, the file does not say."""
    parameters = _field(node, "parameters")
    for part in parts_of(parameters.children) if parameters else ():
        inner = [each for each in parts_of(part.children) if each.type == "variable_declarator"]
        name = _field(inner[0] if inner else part, "name")
        if name is not None:
            yield Declare(line_of(part), text_of_node(name), None, "is a parameter")
