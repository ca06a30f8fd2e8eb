"""Write docs/reference.md from the docstrings: python docs/make_reference.py [FILE]."""

from __future__ import annotations

import inspect
import re
import sys
from enum import Enum
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING

import griffe

import keypin
import keypin.adapters
import keypin.client
import keypin.lab
import keypin.pinfile
import keypin.testing
import keypin.webview

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

MODULES = (
    keypin,
    keypin.pinfile,
    keypin.client,
    keypin.adapters,
    keypin.webview,
    keypin.testing,
    keypin.lab,
)
HEAD = """# Reference

Made from the docstrings by `python docs/make_reference.py`; do not edit.
"""
# What a method of another class returns, and no program constructs
MADE_BY_METHODS = {"AsyncResourceRequest", "ResourceRequest", "ResourceResponse"}
KINDS = griffe.DocstringSectionKind


def reference() -> str:
    """The whole page."""
    return "\n".join([HEAD, *(line for module in MODULES for line in of_module(module))])


def of_module(module: ModuleType) -> Iterator[str]:
    """A module's docstring, and everything that it exports."""
    yield f"## {module.__name__}\n"
    yield from of_docstring(module, code=True)
    for name in sorted(module.__all__, key=str.lower):
        exported = getattr(module, name)
        if isinstance(exported, type | FunctionType):
            yield f"### {module.__name__}.{name}\n"
            yield from of_object(name, exported)


def of_object(name: str, exported: type | FunctionType) -> Iterator[str]:
    """A class with its public methods, or a function."""
    if not isinstance(exported, type):
        yield signature(name, exported)
        yield from of_docstring(exported)
        return
    is_enum = issubclass(exported, Enum)
    made_by_program = name not in MADE_BY_METHODS and not is_enum
    if made_by_program and isinstance(exported.__init__, FunctionType):  # not one made in C
        yield signature(name, exported.__init__, "class")
    if bases := [base.__name__ for base in exported.__bases__ if base is not object]:
        yield f"Bases: {', '.join(f'`{base}`' for base in bases)}.\n"
    yield from of_docstring(exported)
    if is_enum:
        yield from (f"- `{member.name}`: {member.value}" for member in exported)
        yield ""
    for method, found in sorted(members_of(exported).items()):
        function = getattr(found, "__func__", found)
        if not method.startswith("_") and isinstance(function, FunctionType | property):
            yield f"#### {name}.{method}\n"
            if isinstance(function, FunctionType):
                yield signature(method, function)
            yield from of_docstring(function)


def members_of(exported: type) -> dict[str, object]:
    """What a class defines, and what it has from bases that are on no page of their own."""
    shown = {getattr(module, name) for module in MODULES for name in module.__all__}
    bases = [base for base in exported.__mro__[1:] if base.__module__.startswith("keypin.")]
    return {
        name: found
        for one in (*reversed(bases), exported)
        if one is exported or one not in shown
        for name, found in vars(one).items()
    }


def signature(name: str, function: FunctionType, word: str = "def") -> str:
    """How it is called."""
    if inspect.iscoroutinefunction(function):
        word = "async def"
    called = inspect.signature(function)
    kept = [
        parameter.replace(annotation=bare(parameter.annotation))
        for parameter in called.parameters.values()
        if parameter.name not in {"self", "cls"}
    ]
    returned = called.empty if word == "class" else bare(called.return_annotation)
    text = str(called.replace(parameters=kept, return_annotation=returned))
    text = re.sub(r"<function (\w+) at \w+>", r"\1", text)
    return f"```py\n{word} {name}{text}\n```\n"


def bare(annotation: object) -> object:
    """An annotation without its quotes, if there is one."""
    return annotation if annotation is inspect.Signature.empty else Bare(annotation)


class Bare(str):
    """An annotation that is shown without quotes."""

    __slots__ = ()
    __repr__ = str.__str__


def of_docstring(documented: object, *, code: bool = False) -> Iterator[str]:
    """A docstring of Google's sections, as Markdown."""
    text = inspect.getdoc(documented) or ""
    with griffe.temporary_visited_module("") as module:
        docstring = griffe.Docstring(text, parent=module)
        sections = docstring.parse("google", warnings=False)
    for section in sections:
        if section.kind is KINDS.text:
            yield fenced(section.value) + "\n"
        elif section.kind is KINDS.examples:
            yield "\n".join(fenced(example) for _, example in section.value) + "\n"
        elif section.kind is KINDS.returns:
            yield "Returns: " + " ".join(item.description for item in section.value) + "\n"
        else:
            yield f"{section.kind.value.replace('_', ' ').capitalize()}:\n"
            for item in section.value:
                name = getattr(item, "name", None) or item.annotation
                yield f"- `{name}`: {' '.join(item.description.split())}"
            yield ""


def fenced(text: str) -> str:
    """Examples and maps (indented by four) as code; the rest as it is."""
    lines, inside = [], False
    for line in text.splitlines():
        is_code = line.startswith((">>>", "...", "    ")) or (inside and bool(line.strip()))
        if is_code is not inside:
            lines.append("```" if inside else "```text")
            inside = is_code
        lines.append(line)
    return "\n".join([*lines, "```"] if inside else lines)


if __name__ == "__main__":
    default = Path(__file__).with_name("reference.md")
    Path(sys.argv[1] if len(sys.argv) > 1 else default).write_text(reference(), "utf-8")
