"""An edit of a pin file changes what it says, and nothing else: comments, order, layout stay."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keypin import Pin, PinFileError
from keypin.editing import _toml_text
from keypin.editing.rewriting import CannotRewrite, read_draft, rewrite
from keypin.pinfile import Defaults, HostEntry, PinEntry, PinFile

if TYPE_CHECKING:
    from keypin.editing.changes import Draft

PINS = [Pin.from_digest(bytes([number]) * 32) for number in range(24)]
NEW = PinEntry(Pin.from_digest(b"\xff" * 32), "backup", "new, ] # offline")
NEW_TEXT = f'{{ pin = "{NEW.pin}", role = "backup", key = "new, ] # offline" }}'
EXPIRES = datetime(2031, 5, 4, tzinfo=UTC)


def changed(host: HostEntry, **fields: object) -> HostEntry:
    return HostEntry(**{**host._values(), **fields})


def with_host(draft: Draft, index: int, host: HostEntry | None) -> Draft:
    """The draft with another host in one's place, or none, and the next version."""
    hosts = [*draft.hosts[:index], *([] if host is None else [host]), *draft.hosts[index + 1 :]]
    return draft._replace(version=draft.version + 1, hosts=tuple(hosts))


def edited(text: str, new: Draft, form: str = "toml") -> str:
    written = rewrite(text, form, f"pins.{form}", new)
    file = PinFile.loads(written, form)
    assert (file.version, file.defaults, file.hosts) == new
    return written


# Files as people write them


@dataclass
class Written:
    """A text, what it says, and how its pins and hosts are written."""

    text: str
    draft: Draft
    version: int
    """where the number of the version stands"""
    elements: dict[Pin, str]
    """an element of an array, or the fields of a [[host.pins]]"""
    roles: dict[Pin, str]
    """how a role is written, where it is"""
    in_sections: dict[Pin, str]
    """a [[host.pins]] with its header"""
    expiries: dict[str, str]
    """the field of a host, where there is one"""
    hosts: list[str]
    """from the header to the last field; or an element of the array of hosts"""
    host_sections: bool

    @property
    def before(self) -> str:
        return self.without_version(self.text)

    @property
    def newline(self) -> str:
        """The one of the first line, in which all new ones are written."""
        return "\r\n" if "\r\n" in self.text[: self.text.index("\n") + 1] else "\n"

    def without_version(self, text: str) -> str:
        """The text without its number, which is another one after each edit."""
        head = self.text[: self.version]
        assert text.startswith(head)
        number = re.match(r"[+0-9a-fA-Fxo_]+", text[self.version :])
        assert number is not None
        return head + text[self.version + number.end() :]


LINE = re.compile(r"[^\n]*\n|[^\n]+")
COMMENTS = ['[[host]] "', "pins = [ ], } '", 'name = """', "ü, {", "# [defaults]", ""]


class Writer:
    """Draws how a file is laid out; every comment in it is another one."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.comments = 0
        self.unused = list(PINS)
        self.elements: dict[Pin, str] = {}
        self.roles: dict[Pin, str] = {}
        self.in_sections: dict[Pin, str] = {}
        self.expiries: dict[str, str] = {}
        self.newlines: tuple[str, ...] = self.one_of(("\n",), ("\r\n",), ("\n", "\r\n"))

    def one_of(self, *choices: Any) -> Any:
        return self.draw(st.sampled_from(choices))

    def newline(self) -> str:
        return str(self.one_of(*self.newlines))

    def comment(self) -> str:
        """A comment behind something, or none."""
        if self.one_of(True, False):
            return ""
        self.comments += 1
        space = self.one_of("", " ", "  ", "\t")
        return f"{space}# {self.comments} {self.one_of(*COMMENTS)}"

    def rest(self) -> str:
        """The rest of a line."""
        return self.comment() + self.newline()

    def lines(self) -> str:
        """Lines between others: blank, or comments."""
        return "".join(
            f"{self.one_of('', '  ')}{self.comment().lstrip()}{self.newline()}"
            for _ in range(self.draw(st.integers(0, 2)))
        )

    def equals(self) -> str:
        return str(self.one_of(" = ", "=", "  =\t"))

    def name(self, name: str) -> str:
        """The name of a field, with or without quotes."""
        escaped = f"\\u{ord(name[0]):04x}{name[1:]}"
        return str(self.one_of(name, name, name, f'"{name}"', f"'{name}'", f'"{escaped}"'))

    def string(self, value: str) -> str:
        """A string in any of its forms."""
        end = self.newline()
        return str(
            self.one_of(
                *[f'"{value}"'] * 5,
                f"'{value}'",
                f'"""{value}"""',
                f"'''{value}'''",
                f'"\\U{ord(value[0]):08X}{value[1:]}"',
                f"'''{end}{value}'''",
                f'"""\\{end}  {self.one_of("", end)} {value[:2]}\\{end}{value[2:]}"""',
            )
        )

    def moment(self, day: str, local: str, elsewhere: str) -> str:
        """The first moment of a day; or the date there, where that is two hours ahead or behind."""
        return str(
            self.one_of(
                day,
                day,
                f'"{day}"',
                f"{day}T00:00:00Z",
                f"{day}t00:00:00.000z",
                f"{day} 02:00:00+02:00",
                f"{elsewhere} 22:00:00-02:00",
                f"{elsewhere}T18:30:00.0-05:30",
                f"'{local}'",
            )
        )

    def field(self, name: str, value: str) -> str:
        return f"{self.name(name)}{self.equals()}{value}"

    def entry(self, *, bare: bool = False) -> tuple[PinEntry, list[str]]:
        """A pin and the fields that say it; none if it is bare, which is in `elements` then."""
        pin = self.unused.pop()
        role = self.one_of(None, "active", "planned", "retiring", "backup")
        key = self.one_of(None, f"key {len(self.unused)}, ]")
        not_before = self.one_of(None, None, datetime(2026, 10, 1, tzinfo=UTC))
        written = self.string(str(pin))
        if bare and {role, key, not_before} == {None} and self.one_of(True, False):
            self.elements[pin] = written
            return PinEntry(pin), []
        fields = [self.field("pin", written)]
        if role is not None:
            self.roles[pin] = self.field("role", self.string(role))
            fields.append(self.roles[pin])
        if key is not None:
            fields.append(self.field("key", self.string(key)))
        if not_before is not None:
            moment = self.moment("2026-10-01", "2026-10-01T02:00:00+02:00", "2026-09-30")
            fields.append(self.field("not_before", moment))
        return PinEntry(pin, role or "active", key, not_before), self.draw(st.permutations(fields))

    def element(self) -> tuple[PinEntry, str]:
        entry, fields = self.entry(bare=True)
        if fields:
            space = self.one_of("", " ", "\t")
            comma = self.one_of(", ", ",", " ,\t")
            self.elements[entry.pin] = f"{{{space}{comma.join(fields)}{space}}}"
        return entry, self.elements[entry.pin]

    def joined(self, texts: list[str]) -> str:
        """An array of these elements."""
        style = self.one_of("line", "lines", "pairs", "commas first")
        comma = self.one_of(",", "")
        if style == "line":
            space = self.one_of("", " ")
            return f"[{space}{', '.join(texts)}{space}{comma}]"
        indent = self.one_of("", "  ", "\t")
        if style == "commas first":
            joined = "".join(
                f"{indent}{', ' if index else ''}{text}{self.rest()}"
                for index, text in enumerate(texts)
            )
            return f"[{self.rest()}{joined}]"
        if style == "pairs":
            texts = [", ".join(texts[index : index + 2]) for index in range(0, len(texts), 2)]
        last = len(texts) - 1
        joined = "".join(
            f"{self.lines()}{indent}{text}{',' if index < last else comma}{self.rest()}"
            for index, text in enumerate(texts)
        )
        return f"[{self.rest()}{joined}{self.lines()}{self.one_of('', '  ')}]"

    def array(self) -> tuple[list[PinEntry], str]:
        """The pins of a host."""
        made = [self.element() for _ in range(self.draw(st.integers(1, 4)))]
        return [entry for entry, _ in made], self.joined([text for _, text in made])

    def pin_sections(self, indent: str) -> tuple[list[PinEntry], str]:
        """The pins of a host, each as a section."""
        entries, text = [], ""
        for _ in range(self.draw(st.integers(1, 3))):
            entry, fields = self.entry()
            written = "".join(f"{indent}{field}{self.rest()}" for field in fields)
            entries.append(entry)
            self.elements[entry.pin] = written
            dot = self.one_of(".", ".", " .\t")
            name = f"{self.name('host')}{dot}{self.name('pins')}"
            self.in_sections[entry.pin] = f"{indent}[[{name}]]{self.rest()}{written}"
            text += self.lines() + self.in_sections[entry.pin]
        return entries, text

    def host_fields(self, name: str) -> tuple[HostEntry, list[str], bool]:
        """A host, and its fields; whether its pins are among them."""
        fields = [self.field("name", self.string(name))]
        expires = self.one_of(None, datetime(2030, 1, 1, tzinfo=UTC))
        if expires is not None:
            moment = self.moment("2030-01-01", "2029-12-31T23:00:00-01:00", "2029-12-31")
            self.expiries[name] = self.field("expires", moment)
            fields.append(self.expiries[name])
        mode = self.one_of(None, None, "report")
        if mode is not None:
            fields.append(self.field("mode", self.string(mode)))
        denied = [self.unused.pop()] if self.one_of(True, False) else []
        if denied:
            fields.append(self.field("deny", self.joined([f'"{denied[0]}"'])))
        entries: list[PinEntry] = []
        if with_pins := self.one_of(True, True, False):
            entries, array = self.array()
            fields.append(self.field("pins", array))
        return HostEntry(name, entries or [PINS[0]], denied, expires, mode), fields, with_pins

    def host_section(self, name: str) -> tuple[HostEntry, str, str]:
        """A host, its section, and the lines behind that."""
        indent = str(self.one_of("", "", "  "))
        host, fields, with_pins = self.host_fields(name)
        sections = ""
        if not with_pins:
            entries, sections = self.pin_sections(indent)
            host = changed(host, pins=tuple(entries))
        texts = [f"{indent}{field}{self.rest()}" for field in self.draw(st.permutations(fields))]
        space = self.one_of("", " ")
        head = f"{indent}[[{space}{self.name('host')}{space}]]{self.rest()}"
        text = head + self.lines() + "".join(text + self.lines() for text in texts[:-1])
        return host, text + texts[-1] + sections, self.lines()

    def host_element(self, name: str) -> tuple[HostEntry, str]:
        host, fields, with_pins = self.host_fields(name)
        if not with_pins:
            entries, array = self.array()
            host = changed(host, pins=tuple(entries))
            fields.append(self.field("pins", array))
        return host, f"{{ {', '.join(self.draw(st.permutations(fields)))} }}"

    def defaults(self) -> tuple[Defaults, str, str]:
        """The defaults as a field, or as a section."""
        mode, match = self.one_of(None, "report"), self.one_of(None, "leaf")
        given = {"mode": mode, "match": match}
        fields = [self.field(name, self.string(word)) for name, word in given.items() if word]
        defaults = Defaults(mode or "enforce", match or "chain")
        name = self.name("defaults")
        style = self.one_of("section", "inline", "dotted") if fields else "section"
        if style == "inline":
            return defaults, f"{name}{self.equals()}{{{', '.join(fields)}}}{self.rest()}", ""
        if style == "dotted":
            return defaults, "".join(f"{name} . {field}{self.rest()}" for field in fields), ""
        text = "".join(f"{field}{self.rest()}{self.lines()}" for field in fields)
        return defaults, "", f"[{name}]{self.rest()}{text}" if fields else ""


NAMES = ["a.example.com", "*.example.org", "**.example.net", "127.0.0.1"]


@st.composite
def files(draw: st.DrawFn, fewest: int = 1) -> Written:
    """A pin file with comments, in any spelling."""
    writer = Writer(draw)
    version = draw(st.integers(1, 99))
    number = writer.one_of(str(version), f"+{version}", f"{version:#x}", f"{version:#o}")
    version_field = f"{writer.name('version')}{writer.equals()}\0{number}{writer.rest()}"
    defaults, field, defaults_section = writer.defaults()
    head = [writer.field("schema", "1") + writer.rest(), version_field, field]
    names = NAMES[: draw(st.integers(fewest, len(NAMES)))]
    host_sections = writer.one_of(True, True, True, False)
    hosts: list[HostEntry] = []
    texts: list[str] = []
    sections: list[str] = []
    for name in names:
        if host_sections:
            host, text, behind = writer.host_section(name)
            sections.append(writer.lines() + text + behind)
        else:
            host, text = writer.host_element(name)
        hosts.append(host)
        texts.append(text)
    if not host_sections:
        end = writer.newline()
        joined = f",{end}  ".join(texts)
        array = f"[{end}  {joined}{writer.one_of(',', '')}{writer.rest()}]"
        sections.append(writer.field("host", array) + writer.rest())
    sections.insert(draw(st.integers(not host_sections, len(sections))), defaults_section)
    head = [writer.lines() + field for field in draw(st.permutations(head))]
    text = "".join([*head, *sections, writer.lines()])
    if writer.one_of(True, False, False):
        text = re.sub(r"\r?\n\Z", "", text)
    position = text.index("\0")
    text = text.replace("\0", "")
    draft = read_draft(text, "toml", "pins.toml")
    # the generator's own opinion of what it wrote
    assert draft == (version, defaults, tuple(hosts))

    def as_it_stands(part: str) -> str:
        """The last line may have lost its end."""
        return part if part in text else re.sub(r"\r?\n\Z", "", part)

    return Written(
        text,
        draft,
        position,
        {pin: as_it_stands(part) for pin, part in writer.elements.items()},
        writer.roles,
        {pin: as_it_stands(part) for pin, part in writer.in_sections.items()},
        writer.expiries,
        list(map(as_it_stands, texts)),
        host_sections,
    )


# What may be different


def bones(text: str) -> str:
    """The text without what an array may gain or lose: white space and commas."""
    return re.sub(r"[\s,]", "", text)


def lost_lines(old: str, new: str) -> int:
    """How many lines of the old text are not, in their order, lines of the new one."""
    lines = LINE.findall(old)
    matcher = SequenceMatcher(None, lines, LINE.findall(new), autojunk=False)
    return len(lines) - sum(block.size for block in matcher.get_matching_blocks())


def ends_of_lines_are_of_one_kind(file: Written, written: str) -> bool:
    """Unless they were of two before."""
    return file.text.count("\r") not in (0, file.text.count("\n")) or (
        written.count("\r") in (0, written.count("\n"))
    )


def add_line(text: str, line: str, newline: str) -> str:
    """The text with another line, whose last line has no end if that of the text had none."""
    if LINE.findall(text)[-1].endswith("\n"):
        return text + line + newline
    return text + newline + line


def with_value(field: str, value: str) -> str:
    name, equals, _ = re.split(r"(\s*=\s*)", field, maxsplit=1)
    return name + equals + value


def without_element(text: str, element: str, *, last: bool) -> str:
    """The text without an element of an array, and the comment behind one that has a line."""
    element = re.escape(element)
    comma = ",?" if last else ","
    comment = r"[ \t]*(?:#[^\r\n]*)?"
    own_line = rf"(?m)^[ \t]*{element}[ \t]*{comma}{comment}\r?$"
    pattern = own_line if re.search(own_line, text) else element
    assert re.search(pattern, text)
    return re.sub(pattern, "", text, count=1)


def some_pin(file: Written, data: st.DataObject) -> tuple[int, int]:
    host = data.draw(st.integers(0, len(file.draft.hosts) - 1))
    return host, data.draw(st.integers(0, len(file.draft.hosts[host].pins) - 1))


@given(files(), st.data())
@settings(max_examples=25)
def test_another_role_is_all_that_changes(file: Written, data: st.DataObject) -> None:
    host, index = some_pin(file, data)
    pins = file.draft.hosts[host].pins
    old = pins[index]
    role = "backup" if old.role != "backup" else "active"
    entry = PinEntry(old.pin, role, old.key, old.not_before)
    host_entry = changed(file.draft.hosts[host], pins=(*pins[:index], entry, *pins[index + 1 :]))
    written = edited(file.text, with_host(file.draft, host, host_entry))
    element = file.elements[old.pin]
    if old.pin in file.roles:
        field = file.roles[old.pin]
        wanted = element.replace(field, with_value(field, f'"{role}"'))
    elif old.pin in file.in_sections:
        indent = re.match(" *", element)[0]
        wanted = add_line(element, f'{indent}role = "{role}"', file.newline)
    elif element.startswith("{"):
        wanted = re.sub(r"([ \t]?)\}\Z", rf', role = "{role}"\1}}', element)
    else:
        wanted = f'{{ pin = {element}, role = "{role}" }}'
    assert file.without_version(written) == file.before.replace(element, wanted)


@given(files(), st.data())
@settings(max_examples=25)
def test_a_new_pin_is_all_that_is_added(file: Written, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(file.draft.hosts) - 1))
    host = file.draft.hosts[index]
    new = with_host(file.draft, index, changed(host, pins=(*host.pins, NEW)))
    written = file.without_version(edited(file.text, new))
    added = NEW_TEXT
    if host.pins[0].pin in file.in_sections:
        added = "[[host.pins]]" + NEW_TEXT.strip("{} ")
    assert bones(written).count(bones(added)) == 1
    assert bones(written).replace(bones(added), "") == bones(file.before)
    assert lost_lines(file.before, written) <= 1  # the one that got a comma, or the pin
    assert ends_of_lines_are_of_one_kind(file, written)


@given(files(), st.data())
@settings(max_examples=25)
def test_a_pin_is_all_that_is_removed(file: Written, data: st.DataObject) -> None:
    host, index = some_pin(file, data)
    entry = file.draft.hosts[host]
    if len(entry.pins) == 1:
        return
    pin = entry.pins[index].pin
    pins = tuple(each for each in entry.pins if each.pin != pin)
    written = file.without_version(
        edited(file.text, with_host(file.draft, host, changed(entry, pins=pins)))
    )
    if pin in file.in_sections:
        wanted = file.before.replace(file.in_sections[pin], "")
    else:
        is_last = index == len(entry.pins) - 1
        wanted = without_element(file.before, file.elements[pin], last=is_last)
    assert bones(written) == bones(wanted)
    assert lost_lines(written, file.before) <= 2  # those that lost their pin or comma
    assert ends_of_lines_are_of_one_kind(file, written)


@given(files(fewest=2), st.data())
@settings(max_examples=25)
def test_a_host_is_all_that_is_removed(file: Written, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(file.draft.hosts) - 1))
    written = file.without_version(edited(file.text, with_host(file.draft, index, None)))
    pattern = re.escape(file.hosts[index])
    if not file.host_sections:
        pattern += r"[ \t]*,?[ \t]*(?:#[^\r\n]*)?"
    assert bones(written) == bones(re.sub(pattern, "", file.before, count=1))
    assert lost_lines(written, file.before) <= 1


@given(files())
@settings(max_examples=15)
def test_a_new_host_stands_behind_all_else(file: Written) -> None:
    host = HostEntry("new.example", [NEW], expires=EXPIRES)
    new = file.draft._replace(version=file.draft.version + 1, hosts=(*file.draft.hosts, host))
    written = file.without_version(edited(file.text, new))
    lines = ["", "[[host]]", 'name = "new.example"', "expires = 2031-05-04", "pins = ["]
    if not file.text.endswith("\n"):
        lines.insert(0, "")
    section = file.newline.join([*lines, f"  {NEW_TEXT},", "]", ""])
    if file.host_sections:
        assert written == file.before + section
    else:
        element = f'{{ name = "new.example", expires = 2031-05-04, pins = [{NEW_TEXT}] }}'
        assert bones(written).replace(bones(element), "", 1) == bones(file.before)
        assert lost_lines(file.before, written) <= 1


@given(files(), st.data())
@settings(max_examples=25)
def test_an_expiry_is_all_that_changes(file: Written, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(file.draft.hosts) - 1))
    host = file.draft.hosts[index]
    new = with_host(file.draft, index, changed(host, expires=EXPIRES))
    written = file.without_version(edited(file.text, new))
    if host.expires is not None:
        text, field = file.hosts[index], file.expiries[host.name]
        wanted = with_value(field, "2031-05-04")
        assert written == file.before.replace(text, text.replace(field, wanted))
    else:
        assert lost_lines(file.before, written) == 0 or not file.host_sections
        assert written.count("expires = 2031-05-04") == 1
        lines = len(written.splitlines()) - len(file.before.splitlines())
        assert lines == file.host_sections


@given(files(), st.data())
@settings(max_examples=15)
def test_a_denied_pin_is_all_that_is_removed(file: Written, data: st.DataObject) -> None:
    denying = [index for index, host in enumerate(file.draft.hosts) if host.deny]
    if not denying:
        return
    index = data.draw(st.sampled_from(denying))
    host = file.draft.hosts[index]
    new = with_host(file.draft, index, changed(host, deny=()))
    written = file.without_version(edited(file.text, new))
    wanted = without_element(file.before, f'"{host.deny[0]}"', last=True)
    assert bones(written) == bones(wanted)
    assert lost_lines(written, file.before) <= 1


# Layouts that are easily got wrong


HEAD = '# ours\nschema = 1\nversion = 7 # raise it\n[[host]]\nname = "a.example.com"\n'
A, B = f'"{PINS[0]}"', f'{{ pin = "{PINS[1]}", role = "planned" }}'
ADDED = {
    "two in a line": (
        f"pins = [\n  {A}, {B}, # both\n]\n",
        f"pins = [\n  {A}, {B}, @, # both\n]\n",
    ),
    "comment, no comma": (f"pins = [\n  {A}, {B} # last\n]", f"pins = [\n  {A}, {B}, @ # last\n]"),
    "alone, no comma": (
        f"pins = [\n  {A},\n\t{B} # last\n  # end\n]",
        f"pins = [\n  {A},\n\t{B}, # last\n\t@\n  # end\n]",
    ),
    "comma below": (
        f"pins = [\n  {A},\n  {B} # last\n  , # comma\n]",
        f"pins = [\n  {A},\n  {B} # last\n  , # comma\n  @,\n]",
    ),
    "bracket behind": (f"pins = [\n  {A},\n  {B}]", f"pins = [\n  {A},\n  {B}, @]"),
    "text of more lines": (
        f'pins = [{A}, {{ pin = """\\\n  {PINS[1]}""", role = "planned" }}]',
        f'pins = [{A}, {{ pin = """\\\n  {PINS[1]}""", role = "planned" }}, @]',
    ),
}


@pytest.mark.parametrize("layout", ADDED)
def test_a_pin_is_added_in_the_manner_of_the_others(layout: str) -> None:
    before, after = ADDED[layout]
    draft = read_draft(HEAD + before, "toml", "pins.toml")
    new = with_host(draft, 0, changed(draft.hosts[0], pins=(*draft.hosts[0].pins, NEW)))
    head = HEAD.replace("7", "8")
    assert edited(HEAD + before, new) == head + after.replace("@", NEW_TEXT)


REMOVED = {
    "its line": (f"pins = [\n  # a\n  {A}, # A\n  {B}\n]", f"pins = [\n  # a\n  {B}\n]"),
    "the last": (f"pins = [\n  {B},\n  # a\n  {A} # A\n]", f"pins = [\n  {B},\n  # a\n]"),
    "first in a line": (f"pins = [ {A}, {B} ]", f"pins = [ {B} ]"),
    "last in a line": (f"pins = [ {B}, {A} ]", f"pins = [ {B} ]"),
    "with a comma behind": (f"pins = [{B} , {A} ,]", f"pins = [{B} , ]"),
    "end of a line": (f"pins = [\n  {B}, {A},\n]", f"pins = [\n  {B},\n]"),
    "commas first": (f"pins = [\n  {A}\n, {B}\n]", f"pins = [\n  {B}\n]"),
    "a comment before the comma": (f"pins = [\n  {A} # A\n, {B}]", f"pins = [\n   # A\n {B}]"),
}


@pytest.mark.parametrize("layout", REMOVED)
def test_a_pin_takes_no_more_with_it_than_its_comma_and_the_comment_behind_it(layout: str) -> None:
    before, after = REMOVED[layout]
    draft = read_draft(HEAD + before, "toml", "pins.toml")
    host = draft.hosts[0]
    kept = [entry for entry in host.pins if entry.pin != PINS[0]]
    new = with_host(draft, 0, changed(host, pins=kept))
    assert edited(HEAD + before, new) == HEAD.replace("7", "8") + after


TWO_HOSTS = f"""schema = 1
version = 1
# first
[[host]] # a
# inside
name = "a.example.com"
pins = [{A}] # behind
# after a

# second
[[host]]
name = "b.example.com"
pins = [{A}]
"""


@pytest.mark.parametrize(
    ("index", "after"),
    [
        (0, f"""schema = 1
version = 2
# first
# after a

# second
[[host]]
name = "b.example.com"
pins = [{A}]
"""),
        (1, f"""schema = 1
version = 2
# first
[[host]] # a
# inside
name = "a.example.com"
pins = [{A}] # behind
# after a

# second
"""),
    ],
)  # fmt: skip
def test_comments_around_a_host_stay_and_those_inside_go_with_it(index: int, after: str) -> None:
    draft = read_draft(TWO_HOSTS, "toml", "pins.toml")
    assert edited(TWO_HOSTS, with_host(draft, index, None)) == after


def test_the_blank_lines_before_a_host_go_with_it() -> None:
    section = '[[host]]\nname = "{}.example.com"\npins = [' + A + "]\n"
    text = HEAD.partition("[[")[0] + "\n\n".join(map(section.format, "abc"))
    draft = read_draft(text, "toml", "pins.toml")
    for index, left in enumerate(("bc", "ac", "ab")):
        written = edited(text, with_host(draft, index, None))
        assert written.partition("[[host]]")[2] == "\n\n".join(map(section.format, left))[8:]


def test_what_stands_between_a_host_and_its_pins_stays() -> None:
    section = f'[[host.pins]]\npin = {A}\nrole = "active"\n'
    first = HEAD.replace("a.example.com", "b.example.com") + section
    between = '[defaults] # ours\nmode = "enforce"\n'
    text = f'{first}[[host]]\nname = "a.example.com"\n{between}{section}'
    draft = read_draft(text, "toml", "pins.toml")
    removed = edited(text, with_host(draft, 1, None))
    assert removed == (first + between).replace("= 7", "= 8")
    new = changed(draft.hosts[1], pins=[*draft.hosts[1].pins, NEW])
    assert edited(text, with_host(draft, 1, new)).startswith(text.replace("= 7", "= 8", 1))


@pytest.mark.parametrize("space", ["", " ", "\t "])
def test_a_bare_date_at_the_end_of_an_inline_table_is_no_obstacle(space: str) -> None:
    """As `keypin add --not-before` writes it."""
    text = f"{HEAD}pins = [ {{{space}pin = {A}, not_before = 2026-10-01{space}}} ]\n"
    draft = read_draft(text, "toml", "pins.toml")
    [pin] = draft.hosts[0].pins
    retiring = PinEntry(pin.pin, "retiring", pin.key, pin.not_before)
    new = edited(text, with_host(draft, 0, changed(draft.hosts[0], pins=[retiring])))
    assert f'not_before = 2026-10-01, role = "retiring"{space}}} ]' in new


def test_what_was_written_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    text = HEAD + f"pins = [{A}]\n"
    draft = read_draft(text, "toml", "pins.toml")
    new = with_host(draft, 0, changed(draft.hosts[0], pins=[*draft.hosts[0].pins, NEW]))
    monkeypatch.setattr(_toml_text, "pin_shape", lambda _: str(PINS[5]))
    with pytest.raises(CannotRewrite, match="edited by hand"):
        rewrite(text, "toml", "pins.toml", new)


def test_content_that_no_pin_file_may_have_is_not_written() -> None:
    text = HEAD + f"pins = [{A}]\n"
    draft = read_draft(text, "toml", "pins.toml")
    with pytest.raises(PinFileError, match="the same host"):
        rewrite(text, "toml", "pins.toml", draft._replace(hosts=draft.hosts * 2))


# Files without hosts


WITHOUT_HOSTS = 'schema = 1\nversion = 1 # one\n[defaults]\nmode = "report"'


def test_a_file_may_get_its_first_host() -> None:
    draft = read_draft(WITHOUT_HOSTS, "toml", "pins.toml")
    assert draft == (1, Defaults("report"), ())
    host = HostEntry("a.example.com", [PINS[0]])
    written = edited(WITHOUT_HOSTS, draft._replace(version=2, hosts=(host,)))
    section = f'\n\n[[host]]\nname = "a.example.com"\npins = [\n  "{PINS[0]}",\n]\n'
    assert written == WITHOUT_HOSTS.replace("1 # one", "2 # one") + section


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("schema = 1\nversion = 1\nhost = []", "toml"),
        ("schema = 1\nversion = 0", "toml"),
        ("schema = 1", "toml"),
        ('{"schema": 1, "version": 1}', "json"),
    ],
)
def test_any_other_fault_is_an_error(text: str, form: Any) -> None:
    with pytest.raises(PinFileError):
        read_draft(text, form, f"pins.{form}")


# JSON


@pytest.mark.parametrize("layout", [2, 4, "\t", None, "CRLF"], ids=str)
def test_json_is_written_anew_in_its_own_order_and_indentation(layout: Any) -> None:
    document = {
        "version": 3,
        "host": [
            {"pins": [str(PINS[0]), {"key": "clé", "pin": str(PINS[1])}], "name": "a.example.com"}
        ],
        "schema": 1,
    }
    indent = 2 if layout == "CRLF" else layout

    def dumps() -> str:
        text = json.dumps(document, indent=indent, ensure_ascii=layout == 4) + "\n"
        return text.replace("\n", "\r\n") if layout == "CRLF" else text

    text = dumps()
    draft = read_draft(text, "json", "pins.json")
    host = draft.hosts[0]
    pins = [PinEntry(PINS[0], "retiring"), PinEntry(PINS[1], "active", "clé"), NEW]
    other = HostEntry("b.example.com", [PINS[2]])
    new = with_host(draft, 0, changed(host, pins=pins, expires=EXPIRES))
    written = edited(text, new._replace(hosts=(*new.hosts, other)), "json")
    document["version"] = 4
    (first,) = document["host"]
    first["pins"][0] = {"pin": str(PINS[0]), "role": "retiring"}
    first["pins"].append({"pin": str(NEW.pin), "role": "backup", "key": NEW.key})
    first["expires"] = "2031-05-04"
    document["host"].append({"name": "b.example.com", "pins": [str(PINS[2])]})
    assert written == dumps()
    again = read_draft(written, "json", "pins.json")
    less = again._replace(version=5, hosts=(changed(again.hosts[0], pins=pins[1:]),))
    written = edited(written, less, "json")
    document["version"] = 5
    del first["pins"][0], document["host"][1]
    assert written == dumps()


def test_a_denied_pin_is_removed_from_json() -> None:
    host = {"name": "a.example.com", "pins": [str(PINS[0])], "deny": [str(PINS[1])]}
    text = json.dumps({"schema": 1, "version": 1, "host": [host]}, separators=(",", ":"))
    draft = read_draft(text, "json", "pins.json")
    written = edited(text, with_host(draft, 0, changed(draft.hosts[0], deny=())), "json")
    assert written == text.replace('"version":1', '"version":2').replace(f'"{PINS[1]}"', "")
