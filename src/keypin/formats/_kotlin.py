"""Kotlin's syntax tree (tree-sitter-kotlin) as that of `_source_tree`."""

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

IMPORT = re.compile(r"import\s+([\w.`]+?)(\.\*)?(?:\s+as\s+(\w+))?\s*;?\s*")
ALIAS = re.compile(r"(?:\w+\s+)*typealias\s+(\w+)\s*=\s*([\w.]+)\s*;?\s*")
VARIABLE = re.compile(r"\bvar\b")
CLASSES = {"class_declaration", "object_declaration", "companion_object", "object_literal"}
BODIES = {"class_body", "enum_class_body"}
FUNCTIONS = {"function_declaration", "anonymous_function", "secondary_constructor"}
ACCESSORS = {"getter", "setter"}
PARAMETERS = {
    "function_value_parameters", "class_parameters", "parameter", "class_parameter",
    "parameter_with_optional_type",
}  # fmt: skip
# Kotlin's own: https://kotlinlang.org/spec/expressions.html#string-interpolation-expressions
IN_STRING = re.compile(
    r"\\u(?P<code>[0-9a-fA-F]{4})|\\(?P<escape>[tbnr'\"\\$])|\$(?P<name>[A-Za-z_]\w*)|(?P<other>[^\\$]+|.)",
    re.DOTALL,
)
ESCAPES = {"t": "\t", "b": "\b", "n": "\n", "r": "\r"}


def translate(root: Node) -> tuple[list[Tree], list[tuple[str, str]]]:
    """Return what a file says, and the full names of what it imports."""
    imports = []
    for node in root.children:
        found = IMPORT.fullmatch(text_of_node(node)) if node.type == "import" else None
        alias = ALIAS.fullmatch(text_of_node(node)) if node.type == "type_alias" else None
        if found:
            path = found[1].replace("`", "")
            imports.append((found[3] or path.rpartition(".")[2], path + (found[2] or "")))
        elif alias:
            imports.append((alias[1], alias[2]))
    return _all(root), imports


def _all(node: Node) -> list[Tree]:
    return [_tree(part) for part in parts_of(node.children) if part.type != "import"]


def _tree(node: Node) -> Tree:
    line, kind = line_of(node), node.type
    parts = parts_of(node.children)
    if node.is_error or node.is_missing:
        return _other(node)
    if kind == "identifier":
        return Name(line, text_of_node(node).strip("`"))
    if kind == "this_expression":
        return Name(line, text_of_node(node))
    if kind in ("string_literal", "multiline_string_literal"):
        return _string(node)
    if kind == "character_literal":
        return Constant(line, text_of_node(node)[1:-1])
    if kind == "parenthesized_expression" or (kind == "spread_expression" and parts):
        return _tree(parts[0])
    if kind == "unary_expression" and _operator(node) == "!!":
        return _tree(parts[0])
    if kind in ("call_expression", "navigation_expression"):
        return _chain(node)
    if kind == "binary_expression" and _operator(node) == "+":
        return _sum(node)
    if kind == "infix_expression" and len(parts) == 3 and text_of_node(parts[1]) == "to":
        pair = tuple(Argument(None, _tree(part)) for part in (parts[0], parts[2]))
        return Chain(line, None, (Step(line, "to", pair),))
    if kind in ("lambda_literal", "annotated_lambda"):
        return _lambda(node)
    return _statement(node, kind, parts, line)


def _statement(node: Node, kind: str, parts: list[Node], line: int) -> Tree:
    if kind == "property_declaration":
        return _property(node, parts)
    if kind in CLASSES:
        return _class(node, parts)
    if kind in FUNCTIONS or kind in ACCESSORS:
        body = [part for part in parts if part.type in ("function_body", "block")]
        return Function(
            line, tuple(_parameters(node)), (*_defaults(node), *(_tree(part) for part in body))
        )
    if kind == "function_body" and parts:
        inside = _tree(parts[0])
        return inside if isinstance(inside, Block) else Return(line, inside)
    if kind == "block":
        return Block(line, tuple(map(_tree, parts)))
    if kind == "anonymous_initializer":
        return Block(line, tuple(map(_tree, parts)))
    if kind == "assignment" and len(parts) == 2:
        return Assign(line, _tree(parts[0]), _tree(parts[1]))
    if kind == "for_statement" and len(parts) == 3:
        return Loop(line, _names(parts[0]), _tree(parts[1]), _tree(parts[2]))
    if kind == "return_expression" and parts and parts[-1].type != "label":
        return Return(line, _tree(parts[-1]))
    return _other(node)


def _other(node: Node) -> Other:
    return Other(line_of(node), text_of_node(node), tuple(map(_tree, parts_of(node.children))))


def _operator(node: Node) -> str:
    operator = node.child_by_field_name("operator")
    return "" if operator is None else text_of_node(operator)


def _sum(node: Node) -> Join:
    """Take `a + b + c` apart from its end, however long it is."""
    parts: list[Tree] = []
    rest = node
    while rest.type == "binary_expression" and _operator(rest) == "+" and not rest.is_missing:
        left, right = parts_of(rest.children)[0], parts_of(rest.children)[-1]
        parts.append(_tree(right))
        rest = left
    return Join(line_of(node), (_tree(rest), *reversed(parts)))


def _string(node: Node) -> Tree:
    quotes = '"""' if node.type == "multiline_string_literal" else '"'
    text = node.text or b""
    pieces: list[Tree] = []
    position = len(quotes)
    for part in node.children:
        if part.type == "interpolation":
            begin, end = part.start_byte - node.start_byte, part.end_byte - node.start_byte
            pieces += _literal(text[position:begin].decode(), node, quotes)
            inner = parts_of(part.children)
            pieces.append(_tree(inner[0]) if len(inner) == 1 else _other(part))
            position = end
    pieces += _literal(text[position : len(text) - len(quotes)].decode(), node, quotes)
    if all(isinstance(piece, Constant) for piece in pieces):
        return Constant(line_of(node), "".join(p.text for p in pieces if isinstance(p, Constant)))
    return Join(line_of(node), (Constant(line_of(node), ""), *pieces))


def _literal(text: str, node: Node, quotes: str) -> Iterator[Tree]:
    line = line_of(node)
    for found in IN_STRING.finditer(text):
        if found["name"]:
            yield Name(line, found["name"])
        elif quotes == '"""' or found["other"]:
            wrong = found["other"] == "\\" and quotes == '"'
            yield _other(node) if wrong else Constant(line, found[0])
        elif found["code"]:
            yield Constant(line, chr(int(found["code"], 16)))
        else:
            yield Constant(line, ESCAPES.get(found["escape"], found["escape"]))


def _chain(node: Node) -> Tree:
    """Take a chain of calls apart from its end, however long it is."""
    steps: list[Step] = []
    arguments: tuple[Argument, ...] | None = None
    block: Lambda | None = None
    rest = node
    while True:
        parts = parts_of(rest.children)
        line = line_of(parts[-1]) if parts else line_of(rest)
        if rest.type == "call_expression" and parts:
            for part in parts[1:]:
                if part.type == "value_arguments":
                    arguments = _arguments(part)
                elif part.type in ("annotated_lambda", "lambda_literal"):
                    block = _lambda(part)
                    arguments = arguments if arguments is not None else ()
            rest = parts[0]
        elif rest.type == "navigation_expression" and len(parts) == 2 and not _refers(rest):
            steps.append(Step(line, text_of_node(parts[1]).strip("`"), arguments, block))
            arguments = block = None
            rest = parts[0]
        elif rest.type == "unary_expression" and _operator(rest) == "!!" and arguments is None:
            rest = parts[0]
        else:
            break
    base: Tree | None = None
    if arguments is None:
        base = _other(rest) if rest.type == "navigation_expression" else _tree(rest)
    elif rest.type == "identifier":
        steps.append(Step(line_of(rest), text_of_node(rest).strip("`"), arguments, block))
    else:  # what is called is itself computed
        base = _tree(rest)
        steps.append(Step(line_of(rest), "invoke", arguments, block))
    return Chain(line_of(node), base, tuple(reversed(steps)))


def _refers(node: Node) -> bool:
    return any(child.type == "::" for child in node.children)


def _arguments(node: Node) -> tuple[Argument, ...]:
    found = []
    for part in parts_of(node.children):
        inner = parts_of(part.children)
        named = len(inner) == 2 and any(child.type == "=" for child in part.children)
        value = _tree(inner[-1]) if inner and part.type == "value_argument" else _other(part)
        found.append(Argument(text_of_node(inner[0]) if named else None, value))
    return tuple(found)


def _lambda(node: Node) -> Lambda:
    literal = node
    if node.type == "annotated_lambda":
        literal = next((p for p in parts_of(node.children) if p.type == "lambda_literal"), node)
    names: tuple[str | tuple[str, ...], ...] | None = None
    body = []
    for part in parts_of(literal.children):
        if part.type == "lambda_parameters":
            names = tuple(
                _names(each) if each.type == "multi_variable_declaration" else _names(each)[0]
                for each in parts_of(part.children)
            )
        else:
            body.append(_tree(part))
    return Lambda(line_of(node), names, tuple(body))


def _names(node: Node) -> tuple[str, ...]:
    if node.type == "multi_variable_declaration":
        return tuple(name for part in parts_of(node.children) for name in _names(part)[:1])
    if node.type == "identifier":
        return (text_of_node(node).strip("`"),)
    found = [part for part in parts_of(node.children) if part.type == "identifier"]
    return (text_of_node(found[0]).strip("`") if found else text_of_node(node),)


def _property(node: Node, parts: list[Node]) -> Tree:
    line = line_of(node)
    kinds = {part.type for part in parts}
    words = {word for part in parts if part.type == "modifiers" for word in _words(part)}
    names = next(
        (_names(part) for part in parts if part.type.endswith("variable_declaration")), ("",)
    )
    value, extra = None, []
    after = False
    for child in node.children:
        if after and child.is_named and not child.type.endswith("comment"):
            value, after = _tree(child), False
        elif child.type == "=":
            after = True
        elif child.type in ACCESSORS or child.type == "property_delegate":
            extra.append(_tree(child))
    why = "has no value in this file"
    if kinds & {"getter", "property_delegate"} or len(names) > 1:
        why = "is computed when the app runs"
    elif words & {"open", "abstract"}:
        why = "may be another one in a subclass"
    known = value if why == "has no value in this file" else None
    if value is not None and known is None:
        extra.append(value)
    changeable: Changeable = "nobody"
    if any(child.type == "var" for child in node.children):
        changeable = "this file" if "private" in words or _is_local(node) else "anybody"
    declares = tuple(Declare(line, name, known, why, changeable) for name in names)
    return Block(line, (*declares, *extra), own=False)


def _is_local(node: Node) -> bool:
    return node.parent is not None and node.parent.type in ("block", "lambda_literal")


def _words(node: Node) -> list[str]:
    return text_of_node(node).split()


def _class(node: Node, parts: list[Node]) -> Class:
    name = node.child_by_field_name("name")
    body: list[Tree] = []
    supers: tuple[str, ...] = ()
    for part in parts:
        if part.type == "primary_constructor":
            body += [*_parameters(part), *_defaults(part)]
        elif part.type in BODIES:
            body += _all(part)
        elif part.type == "delegation_specifiers":
            body.append(_other(part))
            supers = types_in(part, "user_type")
    named = None if name is None else text_of_node(name)
    if node.type == "companion_object":
        named = named or "Companion"
    is_companion = node.type == "companion_object"
    return Class(line_of(node), named, tuple(body), is_companion, _fields(node, parts), supers)


def _fields(node: Node, parts: list[Node]) -> tuple[str, ...]:
    """Return the fields of a data class, which are its parameters and cannot be changed."""
    words = [word for part in parts if part.type == "modifiers" for word in _words(part)]
    made = [part for part in parts if part.type == "primary_constructor"]
    if "data" not in words or not made or VARIABLE.search(text_of_node(made[0])):
        return ()
    return tuple(each.name for each in _parameters(made[0]))


def _defaults(node: Node) -> Iterator[Tree]:
    """Find the values that parameters have if none are given: code that may run."""
    for part in parts_of(node.children):
        if part.type in PARAMETERS:
            yield from _defaults(part)
        elif node.type in PARAMETERS and part.prev_sibling and part.prev_sibling.type == "=":
            yield _tree(part)


def _parameters(node: Node) -> Iterator[Declare]:
    """Find the parameters of a function or a class; what they are, the file does not say."""
    for part in parts_of(node.children):
        if part.type in ("function_value_parameters", "class_parameters"):
            yield from _parameters(part)
        elif part.type in ("parameter", "class_parameter", "parameter_with_optional_type"):
            yield Declare(line_of(part), _names(part)[0], None, "is a parameter")
