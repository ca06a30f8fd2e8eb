"""What the CertificatePinners of a source file pin, as far as the file itself says.

The file is gone through in the order in which it stands: constants, lists and maps have their
values, loops over them are run. Whatever else a host or a pin comes from (parameters, other files,
conditions) is refused with its line, as are calls that may be made or not, and builders that are
handed to other code.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields, is_dataclass
from typing import TYPE_CHECKING, NamedTuple

from ._conversion import FormatError
from ._source_tree import (
    WORD,
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
    parse,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ._source_tree import Source, Tree

__all__ = ["Added", "builders"]

PINNER = "CertificatePinner"
PINNERS = {f"{package}.{PINNER}" for package in ("okhttp3", "com.squareup.okhttp")}
LISTS = {"listOf", "setOf", "arrayOf", "emptyList", "emptySet", "emptyArray", "mapOf"}
JAVA_LISTS = {
    "Arrays.asList", "List.of", "Set.of", "Collections.singletonList", "Collections.singleton",
    "ImmutableList.of", "ImmutableSet.of",
}  # fmt: skip
SAME_LIST = {"toTypedArray", "toList", "toSet", "toArray", "asList", "entries", "entrySet"}
# What makes a URL of a text, and what gives its host
URLS = {"URL", "URI", "Uri.parse", "URI.create", "HttpUrl.get", "HttpUrl.parse"}
OF_TEXT = {"toHttpUrl", "toHttpUrlOrNull", "toUri"}
URL = re.compile(r"https?://(?P<host>[A-Za-z0-9.-]+)(?::[0-9]+)?(?:/[!-~]*)?")
SCOPES = {"apply", "also", "run", "let"}
JUMP = re.compile(r"(?:break|continue|return)\b")
MOST_ROUNDS = 100_000


class Text(NamedTuple):
    """A string that is known, and where it stands."""

    text: str
    line: int


class Added(NamedTuple):
    """A pin that a builder was given."""

    pattern: Text
    pin: Text


class _Unknown(NamedTuple):
    why: str


class _Entry(NamedTuple):
    key: _Value
    value: _Value


class _Url(NamedTuple):
    host: Text


class _Object(NamedTuple):
    """What a class of the file was made with."""

    fields: dict[str, _Value]


class _Items(NamedTuple):
    values: tuple[_Value, ...]


@dataclass(slots=True, eq=False)
class _Builder:
    line: int
    context: object
    added: list[Added] = field(default_factory=list)
    is_built: bool = False


@dataclass(slots=True, eq=False)
class _Binding:
    """A name that gets its value when it is asked for."""

    declared: Declare
    frame: _Frame
    value: _Value | None = None
    is_asked: bool = False


@dataclass(slots=True, eq=False)
class _Frame:
    """The names that hold somewhere; code with another context may run or not."""

    parent: _Frame | None
    context: object
    names: dict[str, _Binding | _Value] = field(default_factory=dict)
    this: _Value | None = None
    supers: tuple[str, ...] = ()

    def inner(self, *, certain: bool = True) -> _Frame:
        return _Frame(self, self.context if certain else object())


class _Scope(NamedTuple):
    frame: _Frame
    companion: _Frame
    parameters: tuple[str, ...]


_Value = Text | _Unknown | _Entry | _Url | _Object | _Items | _Builder | _Scope
COMPUTED = _Unknown("it is computed when the app runs")


def builders(text: str, file: str) -> list[list[Added]]:
    """Return what each builder of a source file pins, in the order in which they stand.

    Raises:
        FormatError: it cannot be known from the file, or the file has no builder.
    """
    source = parse(text, file)
    try:
        reader = _Reader(source, file)
        reader.run()
    except RecursionError:
        raise FormatError("nested too deeply", file) from None
    if not reader.builders:
        raise FormatError(f"no {PINNER}.Builder()", file)
    for builder in reader.builders:
        if not builder.is_built and builder.added:
            raise FormatError(f"a {PINNER}.Builder that nothing builds", file, builder.line)
    return [builder.added for builder in reader.builders]


class _Reader:
    """Goes through a file."""

    def __init__(self, source: Source, file: str) -> None:
        self.source = source
        self.file = file
        self.builders: list[_Builder] = []
        self.rounds = 0
        self.assigned = set(_assigned(source.body))
        self.imported = imported = dict(source.imports)
        self.pinner_names = {name for name, path in source.imports if path in PINNERS}
        self.builder_names = {
            name for name, path in source.imports if path.removesuffix(".Builder") in PINNERS
        } - self.pinner_names
        if PINNER not in imported:
            self.pinner_names.add(PINNER)
        self.foreign = imported.get(PINNER) if PINNER not in self.pinner_names else None

    def refuse(self, text: str, line: int) -> FormatError:
        return FormatError(text, self.file, line)

    def run(self) -> None:
        for line, words in self.source.broken:
            if (words & self.pinner_names and "Builder" in words) or words & self.builder_names:
                raise self.refuse(f"a {PINNER} in a statement that cannot be parsed", line)
        frame = _Frame(None, object())
        self._hoist(self.source.body, frame)
        self._all(self.source.body, frame)

    # names

    def _hoist(self, body: Iterable[Tree], frame: _Frame) -> None:
        """Make known what is known in the whole of a file or class, before and after its line."""
        for node in body:
            if isinstance(node, Block) and not node.own:
                self._hoist(node.body, frame)
            elif isinstance(node, Declare):
                frame.names[node.name] = _Binding(node, frame)
            elif isinstance(node, Class) and node.name:
                frame.names[node.name] = self._scope(node, frame)

    def _scope(self, node: Class, frame: _Frame) -> _Scope:
        around = frame.inner(certain=False)
        members = around.inner(certain=False)
        scope = _Scope(members, around, node.parameters)
        for part in node.body:
            if isinstance(part, Class) and part.companion:
                inside = self._scope(part, around)
                around.names.update(inside.frame.names)
                around.names[part.name or ""] = inside
        self._hoist([p for p in node.body if not (isinstance(p, Class) and p.companion)], members)
        members.this, members.supers = scope, node.supers
        return scope

    def _named(self, name: str, frame: _Frame) -> _Value:
        for line, words in self.source.broken:
            if name in words:
                return _Unknown(f"{name} stands in line {line}, too, which cannot be parsed")
        at: _Frame | None = frame
        while at is not None:
            if name == "this" and at.this is not None:
                return at.this
            if at.parent is None and name in self.imported:
                return _Unknown(f"{name} is imported, and not in this file")
            if name in at.names:
                found = at.names[name]
                return self._bound(found) if isinstance(found, _Binding) else found
            if (inherited := self._inherited(name, at)) is not None:
                return inherited
            at = at.parent
        return _Unknown(f"{name} is not in this file")

    def _inherited(self, name: str, frame: _Frame) -> _Value | None:
        """Look a name up in the classes of this file that a class inherits from."""
        waiting, seen = [frame], {id(frame)}
        while waiting and name != "this":
            at = waiting.pop(0)
            for each in at.supers if at.parent else ():
                scope = _own(each, at.parent)
                if not isinstance(scope, _Scope) or id(scope.frame) in seen:
                    continue
                for inside in (scope.frame, scope.companion):
                    if name in inside.names:
                        return self._named(name, inside)
                seen.add(id(scope.frame))
                waiting.append(scope.frame)
        return None

    def _bound(self, binding: _Binding) -> _Value:
        declared = binding.declared
        if binding.value is None and binding.is_asked:
            return _Unknown(f"{declared.name} is defined by itself")
        if binding.value is None:
            binding.is_asked = True
            binding.value = (
                _Unknown(f"{declared.name} {declared.why}")
                if declared.value is None
                else self._value(declared.value, binding.frame)
            )
        if isinstance(binding.value, _Builder):
            return binding.value
        if declared.changeable == "anybody":
            return _Unknown(f"{declared.name} can be changed elsewhere: it is not final or private")
        fixed = declared.changeable == "nobody" and isinstance(binding.value, Text)
        if declared.name in self.assigned and not fixed:
            return _Unknown(f"{declared.name} is given another value in this file")
        return binding.value

    # statements

    def _all(self, body: Iterable[Tree], frame: _Frame) -> _Value:
        """Go through statements and return the value of the last one."""
        last: _Value = COMPUTED
        for node in body:
            last = self._value(node, frame)
        return last

    def _value(self, node: Tree, frame: _Frame) -> _Value:
        match node:
            case Constant():
                return Text(node.text, node.line)
            case Name():
                return self._named(node.name, frame)
            case Join():
                return _joined([self._value(part, frame) for part in node.parts], node.line)
            case Items():
                return _Items(tuple(self._kept(part, frame) for part in node.parts))
            case Chain():
                return self._chain(node, frame)
            case Lambda():
                return self._uncertain_lambda(node, frame)
        return self._statement(node, frame)

    def _statement(self, node: Tree, frame: _Frame) -> _Value:
        match node:
            case Declare():
                self._declare(node, frame)
            case Assign():
                self._assign(node, frame)
            case Loop():
                over = self._value(node.over, frame)
                self._loop(over, [node.names], (node.body,), frame)
            case Block():
                self._all(node.body, frame.inner() if node.own else frame)
            case Function():
                inside = frame.inner(certain=False)
                for parameter in node.parameters:
                    inside.names[parameter.name] = _Binding(parameter, inside)
                self._all(node.body, inside)
            case Class():
                self._class(node, frame)
            case Return():
                self._kept(node.value, frame)
            case Other():
                inside = frame.inner(certain=False)
                for part in node.parts:
                    self._kept(part, inside)
                return _Unknown(f"{' '.join(node.text.split()):.60} is computed when the app runs")
        return COMPUTED

    def _declare(self, node: Declare, frame: _Frame) -> None:
        known = frame.names.get(node.name)
        if not isinstance(known, _Binding) or known.declared is not node:
            known = frame.names[node.name] = _Binding(node, frame)
        self._bound(known)

    def _assign(self, node: Assign, frame: _Frame) -> None:
        target, value = self._value(node.target, frame), self._value(node.value, frame)
        if isinstance(target, _Builder) and value is target:
            return  # builder = builder.add(...)
        if isinstance(target, _Builder):
            raise self.refuse(f"the {PINNER}.Builder is replaced by another", node.line)
        self._refuse_builder(value, node.line)

    def _class(self, node: Class, frame: _Frame) -> None:
        known = frame.names.get(node.name or "")
        scope = known if isinstance(known, _Scope) else self._scope(node, frame)
        for part in node.body:
            if isinstance(part, Class) and part.companion:
                inside = scope.companion.names[part.name or ""]
                if isinstance(inside, _Scope):
                    self._all(part.body, inside.frame)
            else:
                self._value(part, scope.frame)

    def _kept(self, node: Tree, frame: _Frame) -> _Value:
        """Return a value that goes where it cannot be followed, which no builder may."""
        value = self._value(node, frame)
        self._refuse_builder(value, node.line)
        return value

    def _refuse_builder(self, value: _Value, line: int) -> None:
        if isinstance(value, _Builder):
            raise self.refuse(
                f"the {PINNER}.Builder is handed to other code, which may add to it", line
            )

    def _uncertain_lambda(self, node: Lambda, frame: _Frame) -> _Value:
        inside = frame.inner(certain=False)
        for names in node.names or ("it",):
            for name in (names,) if isinstance(names, str) else names:
                inside.names[name] = _Unknown(f"{name} is a parameter")
        self._refuse_builder(self._all(node.body, inside), node.line)
        return COMPUTED

    def _loop(
        self,
        over: _Value,
        names: Sequence[str | tuple[str, ...]],
        body: Sequence[Tree],
        frame: _Frame,
    ) -> None:
        """Run a body for each value: one name takes it, several take it apart."""
        parts = names[0] if len(names) == 1 else tuple(str(name) for name in names)
        if isinstance(parts, tuple) and len(parts) == 1:
            parts = parts[0]
        known = over.values if isinstance(over, _Items) else [COMPUTED]
        certain = isinstance(over, _Items) and not _may_skip(body)
        for value in known:
            self.rounds += 1
            if self.rounds > MOST_ROUNDS:
                raise self.refuse("loops that take too long to follow", body[0].line if body else 1)
            inside = frame.inner(certain=certain)
            if isinstance(parts, str):
                inside.names[parts] = value if isinstance(over, _Items) else _why(over)
            else:
                apart = value if isinstance(value, _Entry) else (_why(over), _why(over))
                inside.names.update(zip(parts, apart, strict=False))
            self._all(body, inside)

    # calls

    def _chain(self, node: Chain, frame: _Frame) -> _Value:
        steps = list(node.steps)
        if self._begins_builder(node, frame):
            while steps and steps[0].arguments is None:
                del steps[0]
            value = self._new_builder(steps.pop(0), frame)
        elif node.base is None:
            value = self._called(steps.pop(0), frame)
        else:
            made = self._java_list(node, frame)
            value = self._value(node.base, frame) if made is None else made
            steps = steps if made is None else steps[1:]
        for step in steps:
            value = self._step(value, step, frame)
        return value

    def _begins_builder(self, node: Chain, frame: _Frame) -> bool:
        path = [node.base.name] if isinstance(node.base, Name) else []
        if node.base is not None and not path:
            return False
        for step in node.steps:
            path.append(step.name)
            if step.arguments is not None:
                break
        else:
            return False
        of, _, last = ".".join(path).rpartition(".")
        if self.foreign and of == PINNER and last == "Builder":
            raise self.refuse(f"{PINNER} is {self.foreign} here, not OkHttp's", node.line)
        if last == "Builder" and of in self.pinner_names and _own(of, frame) is not None:
            return of != PINNER or any(name == PINNER for name, _ in self.source.imports)
        return (last == "Builder" and of in self.pinner_names | PINNERS) or (
            not of and last in self.builder_names
        )

    def _new_builder(self, step: Step, frame: _Frame) -> _Value:
        builder = _Builder(step.line, frame.context)
        self.builders.append(builder)
        if step.arguments or step.block:
            raise self.refuse(f"{PINNER}.Builder with arguments", step.line)
        return builder

    def _java_list(self, node: Chain, frame: _Frame) -> _Value | None:
        first = node.steps[0] if node.steps else None
        if not isinstance(node.base, Name) or first is None or first.arguments is None:
            return None
        called = f"{node.base.name}.{first.name}"
        if called in JAVA_LISTS and _own(node.base.name, frame) is None:
            return _flat(self._arguments(first, frame))
        if called in URLS and _own(node.base.name, frame) is None:
            return _url(self._arguments(first, frame))
        if called == "Map.of" and _own("Map", frame) is None:
            values = self._arguments(first, frame)
            return _Items(tuple(map(_Entry, values[::2], values[1::2])))
        if called == "Map.entry" and len(first.arguments) == 2:
            return _Entry(*self._arguments(first, frame))
        return None

    def _called(self, step: Step, frame: _Frame) -> _Value:
        """Call a function by its name alone: one that makes a list, or a builder's in `apply`."""
        this = self._named("this", frame)
        if isinstance(this, _Builder) and step.name in ("add", "build"):
            return self._step(this, step, frame)
        if step.name in LISTS and not step.block:
            return _Items(tuple(self._arguments(step, frame)))
        if step.name in ("to", "Pair") and len(step.arguments or ()) == 2:
            return _Entry(*self._arguments(step, frame))
        if step.name in URLS and _own(step.name, frame) is None:
            return _url(self._arguments(step, frame))
        scope = self._named(step.name, frame)
        if isinstance(scope, _Scope) and scope.parameters and not step.block:
            return self._object(scope, step, frame)
        if step.name == "with" and len(step.arguments or ()) == 1 and step.block:
            receiver = self._value((step.arguments or ())[0].value, frame)
            return self._step(receiver, Step(step.line, "run", (), step.block), frame)
        return self._elsewhere(
            _Unknown(f"{step.name}() is computed when the app runs"), step, frame
        )

    def _object(self, scope: _Scope, step: Step, frame: _Frame) -> _Value:
        """Make what a class of the file is called with; fields that are not given are not known."""
        values = self._arguments(step, frame)
        given = step.arguments or ()
        fields = {
            each.name or scope.parameters[place]: value
            for place, (each, value) in enumerate(zip(given, values, strict=True))
            if each.name or place < len(scope.parameters)
        }
        return _Object(fields)

    def _arguments(self, step: Step, frame: _Frame) -> list[_Value]:
        return [self._kept(each.value, frame) for each in step.arguments or ()]

    def _step(self, value: _Value, step: Step, frame: _Frame) -> _Value:
        if step.block is not None and isinstance(value, Text | _Entry | _Url | _Object):
            value = COMPUTED if step.name not in SCOPES else value
        if step.name == "forEach" and (block := _block(step)) and not isinstance(value, _Builder):
            self._loop(value, block.names or ("it",), block.body, frame)
            return COMPUTED
        if step.name in SCOPES and (block := _block(step)):
            return self._with_block(value, step.name, block, frame)
        match value:
            case _Builder():
                return self._of_builder(value, step, frame)
            case _Scope() if step.arguments is None:
                for inside in (value.frame, value.companion):
                    if step.name in inside.names:
                        return self._named(step.name, inside)
                return _Unknown(f"{step.name} is not in this file")
            case Text():
                return self._of_text(value, step, frame)
            case _Url() if step.name in ("host", "getHost"):
                return value.host
            case _Object() if not step.arguments and step.name in value.fields:
                return value.fields[step.name]
            case _Items() if step.name in SAME_LIST:
                self._arguments(step, frame)
                return value
            case _Entry() if step.name in ("key", "getKey", "first"):
                return value.key
            case _Entry() if step.name in ("value", "getValue", "second"):
                return value.value
        return self._elsewhere(_why(value), step, frame)

    def _with_block(self, value: _Value, name: str, block: Lambda, frame: _Frame) -> _Value:
        certain = not isinstance(value, _Unknown) and not _may_skip(block.body)
        inside = frame.inner(certain=certain)
        if name in ("apply", "run"):
            inside.this = value
        else:
            names = block.names or ("it",)
            inside.names.update({each: value for each in names if isinstance(each, str)})
        last = self._all(block.body, inside)
        return value if name in ("apply", "also") else last

    def _of_builder(self, builder: _Builder, step: Step, frame: _Frame) -> _Value:
        if step.name == "build" and step.arguments == () and not step.block:
            builder.is_built = True
            return _Unknown(f"a {PINNER} is no text")
        if step.name != "add" or step.arguments is None or step.block:
            raise self.refuse(
                f"{step.name} is no call that is read of a {PINNER}.Builder", step.line
            )
        if frame.context is not builder.context:
            raise self.refuse(
                "whether this call of add is made is not known: it stands under a condition, after"
                " a jump, or in another function than the builder",
                step.line,
            )
        if builder.is_built:
            raise self.refuse("add after build()", step.line)
        pattern, *pins = self._add_arguments(step, frame)
        if not isinstance(pattern, Text):
            raise self.refuse(f"the host is not known: {_why(pattern).why}", step.line)
        for pin in _flat(pins).values:
            if not isinstance(pin, Text):
                raise self.refuse(
                    f"a pin of {pattern.text:.80} is not known: {_why(pin).why}", step.line
                )
            builder.added.append(Added(pattern, pin))
        return builder

    def _add_arguments(self, step: Step, frame: _Frame) -> list[_Value]:
        named = {each.name: each for each in step.arguments or () if each.name}
        if not step.arguments or named.keys() - {"pattern", "pins"}:
            raise self.refuse("add takes a host and its pins", step.line)
        rest = [each for each in step.arguments if not each.name]
        first = named.get("pattern") or (rest.pop(0) if rest else None)
        if first is None:
            raise self.refuse("add takes a host and its pins", step.line)
        rest += [named["pins"]] if "pins" in named else []
        return [self._kept(each.value, frame) for each in (first, *rest)]

    def _of_text(self, value: Text, step: Step, frame: _Frame) -> _Value:
        """What the methods of strings give that stand around hosts and pins."""
        given = self._arguments(step, frame)
        texts = [each.text for each in given if isinstance(each, Text)]
        called = step.name, len(texts)
        if len(texts) == len(given) and step.arguments is not None and not step.block:
            match called:
                case ("removePrefix", 1):
                    return Text(value.text.removeprefix(texts[0]), value.line)
                case ("removeSuffix", 1):
                    return Text(value.text.removesuffix(texts[0]), value.line)
                case ("replace", 2) if texts[0]:
                    return Text(value.text.replace(texts[0], texts[1]), value.line)
                case (name, 0) if name in OF_TEXT:
                    return _url([value])
                case ("concat" | "plus", 1):
                    return Text(value.text + texts[0], value.line)
                case ("trim" | "strip", 0):
                    return Text(value.text.strip(" \t\r\n"), value.line)
                case ("lowercase" | "toLowerCase", 0) if value.text.isascii():
                    return Text(value.text.lower(), value.line)
        return _Unknown(f"{step.name} of a text is computed when the app runs")

    def _elsewhere(self, value: _Unknown, step: Step, frame: _Frame) -> _Value:
        """Go through a call of code that is not known."""
        given = self._arguments(step, frame)
        texts = [each.text for each in _flat(given).values if isinstance(each, Text)]
        pins = [text for text in texts if text.startswith(("sha256/", "sha1/"))]
        if step.name == "add" and len(given) > 1 and pins:
            raise self.refuse(f"adds pins to what is no {PINNER}.Builder() of this file", step.line)
        if step.block is not None:
            self._uncertain_lambda(step.block, frame)
        return value


def _block(step: Step) -> Lambda | None:
    """The lambda of a call: after its parentheses, or alone in them."""
    if step.block is not None:
        return step.block if not step.arguments else None
    match step.arguments:
        case (Argument(None, Lambda() as block),):
            return block
    return None


def _url(values: Sequence[_Value]) -> _Value:
    match values:
        case [Text() as text] if found := URL.fullmatch(text.text):
            return _Url(Text(found["host"], text.line))
        case [_Unknown() as unknown]:
            return unknown
    return COMPUTED


def _why(value: _Value) -> _Unknown:
    if isinstance(value, _Unknown):
        return value
    return _Unknown("it is no text" if isinstance(value, _Entry | _Scope) else COMPUTED.why)


def _own(name: str, frame: _Frame | None) -> _Binding | _Value | None:
    """What the file itself declares of a name, without what is inherited."""
    while frame is not None:
        if name in frame.names:
            return frame.names[name]
        frame = frame.parent
    return None


def _joined(values: Sequence[_Value], line: int) -> _Value:
    unknown = [value for value in values if isinstance(value, _Unknown)]
    texts = [value for value in values if isinstance(value, Text)]
    if len(texts) == len(values):
        return Text("".join(each.text for each in texts), line)
    if all(isinstance(value, _Items) for value in values):
        return _flat(values)
    return unknown[0] if unknown else _Unknown("it is no text")


def _flat(values: Iterable[_Value]) -> _Items:
    found: list[_Value] = []
    for value in values:
        found += value.values if isinstance(value, _Items) else [value]
    return _Items(tuple(found))


def _assigned(body: object) -> Iterator[str]:
    """Find all names that anything in a file is assigned to."""
    for node in _every(body):
        if isinstance(node, Assign):
            yield from _words(node.target)


def _may_skip(body: Sequence[Tree]) -> bool:
    """Whether statements jump, so that those after them may not run; the last may return."""
    last = body[-1] if body else None
    parts = (*body[:-1], last.value) if isinstance(last, Return) else body
    return any(
        isinstance(node, Return)
        or (isinstance(node, Name) and JUMP.fullmatch(node.name))
        or (isinstance(node, Other) and JUMP.match(node.text))
        for node in _every(parts)
    )


def _every(body: object) -> Iterator[object]:
    """Go through all of a tree, in any order."""
    waiting: list[object] = [body]
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, tuple):
            waiting += node
        elif is_dataclass(node):
            waiting += [getattr(node, each.name) for each in fields(node)]


def _words(target: Tree) -> list[str]:
    match target:
        case Name():
            return [target.name]
        case Chain():
            return [step.name for step in target.steps]
        case Other():
            return WORD.findall(target.text)
    return []
