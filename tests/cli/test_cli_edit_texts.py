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
    return HostEntry(**{**host._fields(), **fields})


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
    elements: dict[Pin, str]
    """an element of an array, or the fields of a [[host.pins]]"""
    in_sections: set[Pin]
    hosts: list[str]
    """from the header to the last field; or an element of the array of hosts"""
    host_sections: bool
    newline: str

    @property
    def before(self) -> str:
        return without_version(self.text)


COMMENTS = ['[[host]] "', "pins = [ ], } '", 'name = """', "ü, {", "# [defaults]", ""]


class Writer:
    """Draws how a file is laid out; every comment in it is another one."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.comments = 0
        self.unused = list(PINS)
        self.elements: dict[Pin, str] = {}
        self.in_sections: set[Pin] = set()

    def one_of(self, *choices: Any) -> Any:
        return self.draw(st.sampled_from(choices))

    def comment(self) -> str:
        """A comment behind something, or none."""
        if self.one_of(True, False):
            return ""
        self.comments += 1
        space = self.one_of("", " ", "  ", "\t")
        return f"{space}# {self.comments} {self.one_of(*COMMENTS)}"

    def lines(self) -> str:
        """Lines between others: blank, or comments."""
        return "".join(
            f"{self.one_of('', '  ')}{self.comment().lstrip()}\n"
            for _ in range(self.draw(st.integers(0, 2)))
        )

    def equals(self) -> str:
        return str(self.one_of(" = ", "=", "  =\t"))

    def name(self, name: str) -> str:
        """The name of a field, with or without quotes."""
        return str(self.one_of(name, name, f'"{name}"', f"'{name}'"))

    def entry(self, *, bare: bool) -> tuple[PinEntry, list[str]]:
        """A pin and the fields that say it; one of which no more is known may be bare."""
        pin = self.unused.pop()
        role = self.one_of(None, "active", "planned", "retiring", "backup")
        key = self.one_of(None, f"key {len(self.unused)}, ]")
        not_before = self.one_of(None, None, datetime(2026, 10, 1, tzinfo=UTC))
        quote = self.one_of('"', "'")
        fields = [f"{self.name('pin')}{self.equals()}{quote}{pin}{quote}"]
        if role is not None:
            fields.append(f'role{self.equals()}"{role}"')
        if key is not None:
            fields.append(f'{self.name("key")}{self.equals()}"{key}"')
        if not_before is not None:
            moment = self.one_of("2026-10-01", "2026-10-01T00:00:00Z", "2026-10-01 02:00:00+02:00")
            fields.append(f"{self.name('not_before')}{self.equals()}{moment}")
        if bare and len(fields) == 1 and self.one_of(True, False):
            return PinEntry(pin), [f"{quote}{pin}{quote}"]
        return PinEntry(pin, role or "active", key, not_before), self.draw(st.permutations(fields))

    def element(self) -> tuple[PinEntry, str]:
        entry, fields = self.entry(bare=True)
        text = fields[0]
        if not text.startswith(('"sha256', "'sha256")):
            space = self.one_of("", " ")
            text = f"{{{space}{', '.join(fields)}{space}}}"
        self.elements[entry.pin] = text
        return entry, text

    def array(self, *, one_line: bool) -> tuple[list[PinEntry], str]:
        """The pins of a host."""
        made = [self.element() for _ in range(self.draw(st.integers(1, 4)))]
        entries, texts = [entry for entry, _ in made], [text for _, text in made]
        style = "line" if one_line else self.one_of("line", "lines", "pairs", "commas first")
        comma = self.one_of(",", "")
        if style == "line":
            space = self.one_of("", " ")
            return entries, f"[{space}{', '.join(texts)}{space}{comma}]"
        indent = self.one_of("", "  ", "\t")
        if style == "commas first":
            joined = "".join(
                f"{indent}{', ' if index else ''}{text}{self.comment()}\n"
                for index, text in enumerate(texts)
            )
            return entries, f"[{self.comment()}\n{joined}]"
        if style == "pairs":
            texts = [", ".join(texts[index : index + 2]) for index in range(0, len(texts), 2)]
        last = len(texts) - 1
        joined = "".join(
            f"{self.lines()}{indent}{text}{',' if index < last else comma}{self.comment()}\n"
            for index, text in enumerate(texts)
        )
        return entries, f"[{self.comment()}\n{joined}{self.lines()}{self.one_of('', '  ')}]"

    def pin_sections(self, indent: str) -> tuple[list[PinEntry], str]:
        """The pins of a host, each as a section."""
        entries, text = [], ""
        for _ in range(self.draw(st.integers(1, 3))):
            entry, fields = self.entry(bare=False)
            written = "".join(f"{indent}{field}{self.comment()}\n" for field in fields)
            entries.append(entry)
            self.elements[entry.pin] = written
            self.in_sections.add(entry.pin)
            name = f"{self.name('host')}.{self.name('pins')}"
            text += f"{self.lines()}{indent}[[{name}]]{self.comment()}\n{written}"
        return entries, text

    def host_section(self, name: str) -> tuple[HostEntry, str, str]:
        """A host, its section, and the lines behind that."""
        indent = str(self.one_of("", "", "  "))
        fields = [f'{self.name("name")}{self.equals()}"{name}"']
        expires = self.one_of(None, datetime(2030, 1, 1, tzinfo=UTC))
        if expires is not None:
            fields.append(f"expires{self.equals()}2030-01-01")
        sections = ""
        if self.one_of(True, True, False):
            entries, array = self.array(one_line=False)
            fields.append(f"{self.name('pins')}{self.equals()}{array}")
        else:
            entries, sections = self.pin_sections(indent)
        denied = [self.unused.pop()] if self.one_of(True, False) else []
        if denied:
            fields.append(f'deny{self.equals()}["{denied[0]}"]')
        texts = [
            f"{indent}{field}{self.comment()}\n" for field in self.draw(st.permutations(fields))
        ]
        space = self.one_of("", " ")
        head = f"{indent}[[{space}{self.name('host')}{space}]]{self.comment()}\n"
        text = head + self.lines() + "".join(text + self.lines() for text in texts[:-1])
        return HostEntry(name, entries, denied, expires), text + texts[-1] + sections, self.lines()

    def host_element(self, name: str) -> tuple[HostEntry, str]:
        entries, text = self.array(one_line=True)
        return HostEntry(name, entries), f'{{ name = "{name}", pins = {text} }}'


NAMES = ["a.example.com", "*.example.org", "**.example.net", "127.0.0.1"]


@st.composite
def files(draw: st.DrawFn, fewest: int = 1) -> Written:
    """A pin file with comments."""
    writer = Writer(draw)
    version = draw(st.integers(1, 99))
    head = f"{writer.lines()}schema = 1\n{writer.lines()}version = {version}{writer.comment()}\n"
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
        joined = ",\n  ".join(texts)
        head += f"host = [\n  {joined}{writer.one_of(',', '')}{writer.comment()}\n]\n"
    mode = writer.one_of(None, "report")
    if mode is not None:
        defaults = f'[defaults]{writer.comment()}\nmode = "{mode}"\n{writer.lines()}'
        sections.insert(draw(st.integers(0, len(sections))), defaults)
    newline = writer.one_of("\n", "\r\n")
    text = (head + "".join(sections) + writer.lines()).replace("\n", newline)
    draft = read_draft(text, "toml", "pins.toml")
    # the generator's own opinion of what it wrote
    assert draft == (version, Defaults(mode or "enforce"), tuple(hosts))
    return Written(
        text,
        draft,
        {pin: text.replace("\n", newline) for pin, text in writer.elements.items()},
        writer.in_sections,
        [text.replace("\n", newline) for text in texts],
        host_sections,
        newline,
    )


# What may be different


def without_version(text: str) -> str:
    """The text without its number, which is another one after each edit."""
    return re.sub(r"(?m)^version = [0-9]+", "version", text, count=1)


def bones(text: str) -> str:
    """The text without what an array may gain or lose: white space and commas."""
    return re.sub(r"[\s,]", "", without_version(text))


def lost_lines(old: str, new: str) -> int:
    """How many lines of the old text are not, in their order, lines of the new one."""
    lines = old.splitlines(keepends=True)
    matcher = SequenceMatcher(None, lines, new.splitlines(keepends=True), autojunk=False)
    return len(lines) - sum(block.size for block in matcher.get_matching_blocks())


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
    if re.search(r"role\s*=", element):
        wanted = re.sub(r'(role\s*=\s*)"\w+"', rf'\1"{role}"', element)
    elif old.pin in file.in_sections:
        indent = re.match(" *", element)[0]
        wanted = f'{element}{indent}role = "{role}"{file.newline}'
    elif element.startswith("{"):
        wanted = re.sub(r"( ?)\}\Z", rf', role = "{role}"\1}}', element)
    else:
        wanted = f'{{ pin = {element}, role = "{role}" }}'
    assert without_version(written) == file.before.replace(element, wanted)


@given(files(), st.data())
@settings(max_examples=25)
def test_a_new_pin_is_all_that_is_added(file: Written, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(file.draft.hosts) - 1))
    host = file.draft.hosts[index]
    new = with_host(file.draft, index, changed(host, pins=(*host.pins, NEW)))
    written = without_version(edited(file.text, new))
    added = NEW_TEXT
    if host.pins[0].pin in file.in_sections:
        added = "[[host.pins]]" + NEW_TEXT.strip("{} ")
    assert bones(written).count(bones(added)) == 1
    assert bones(written).replace(bones(added), "") == bones(file.before)
    assert lost_lines(file.before, written) <= 1  # the one that got a comma, or the pin
    assert written.count("\r") in (0, written.count("\n"))


@given(files(), st.data())
@settings(max_examples=25)
def test_a_pin_is_all_that_is_removed(file: Written, data: st.DataObject) -> None:
    host, index = some_pin(file, data)
    entry = file.draft.hosts[host]
    if len(entry.pins) == 1:
        return
    pin = entry.pins[index].pin
    pins = tuple(each for each in entry.pins if each.pin != pin)
    written = without_version(
        edited(file.text, with_host(file.draft, host, changed(entry, pins=pins)))
    )
    element = re.escape(file.elements[pin])
    comment = r"[ \t]*(?:#[^\r\n]*)?"
    comma = "," if index < len(entry.pins) - 1 else ",?"
    if pin in file.in_sections:
        header = r"\[\[[\"']?host[\"']?\.[\"']?pins[\"']?\]\]"
        pattern = rf"[ \t]*{header}{comment}\r?\n{element}"
    elif re.search(rf"(?m)^[ \t]*{element}[ \t]*{comma}{comment}\r?$", file.before):
        pattern = rf"{element}[ \t]*{comma}{comment}"
    else:
        pattern = element
    assert bones(written) == bones(re.sub(pattern, "", file.before, count=1))
    assert lost_lines(written, file.before) <= 2  # those that lost their pin or comma
    assert written.count("\r") in (0, written.count("\n"))


@given(files(fewest=2), st.data())
@settings(max_examples=25)
def test_a_host_is_all_that_is_removed(file: Written, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(file.draft.hosts) - 1))
    written = without_version(edited(file.text, with_host(file.draft, index, None)))
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
    written = without_version(edited(file.text, new))
    lines = ["", "[[host]]", 'name = "new.example"', "expires = 2031-05-04", "pins = ["]
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
    written = without_version(edited(file.text, new))
    if host.expires is not None:
        text = file.hosts[index]
        assert written == file.before.replace(text, text.replace("2030-01-01", "2031-05-04"))
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
    assert without_version(edited(file.text, new)) == file.before.replace(f'"{host.deny[0]}"', "")


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


def test_a_layout_that_cannot_be_followed_is_an_error() -> None:
    """Between the fields of a host and its pins stands what is to stay."""
    section = f'[[host.pins]]\npin = {A}\nrole = "active"\n'
    first = HEAD.replace("a.example.com", "b.example.com") + section
    text = f'{first}[[host]]\nname = "a.example.com"\n[defaults]\nmode = "enforce"\n{section}'
    draft = read_draft(text, "toml", "pins.toml")
    with pytest.raises(CannotRewrite, match=r"^pins\.toml has to be edited by hand: another sec"):
        rewrite(text, "toml", "pins.toml", with_host(draft, 1, None))
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
    monkeypatch.setattr(_toml_text, "_pin_shape", lambda _: str(PINS[5]))
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
