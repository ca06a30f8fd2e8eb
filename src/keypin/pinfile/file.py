"""The pin file: pins.toml, or the same in JSON; read strictly, written whole.

What a file says never depends on the clock: one that was read yesterday is read today.
"""

from __future__ import annotations

import os
import re
import stat
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime, time
from typing import TYPE_CHECKING

from .._internal.atomic_file import written_atomically
from .._internal.immutable import Immutable
from ..errors import HostnameError, PinFileError, PinFileProblem, PinFormatError, PinSetError
from ..hostnames import normalise_pattern
from ..pinset import PinSet, Rule
from . import fields as field
from .checks import file_problems, host_problems
from .fields import NEWEST_SCHEMA, SCHEMA, SCHEMA_2_KEYS, Authority, Format, Role, show

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import date
    from typing import Any, Self

    from ..pin import Pin
    from ..pinset import Match, Mode, OnExpiry, Unlisted
    from .toml_spans import Path

__all__ = ["Authority", "Defaults", "Format", "HostEntry", "PinEntry", "PinFile", "Role"]

LARGEST_FILE = 512 * 1024 * 1024
MOST_PROBLEMS = 100
LONGEST_MESSAGE = 240  # of tomllib, which may repeat what it read

AT_LINE = re.compile(r" \(at line ([0-9]+), column ([0-9]+)\)\Z")  # how tomllib's errors end
BARE_KEY = re.compile(r"[A-Za-z0-9_-]{1,60}")
MIDNIGHT = time(tzinfo=UTC)


class PinEntry(Immutable):
    """One pin of a host, with what its owner knows of the key.

    Args:
        pin: a `Pin` or its text.
        role: `"planned"`, `"active"`, `"retiring"` and `"backup"` are all accepted from a server;
            they tell people and tools where the key is in its life. `"revoked"` is never accepted.
        key: a name for the key, for people.
        not_before: when the key goes into service: a date or a datetime with a time zone. It does
            not change what is accepted: a pin has to be known before its key is served.
        authority: whose certificate authority the key belongs to, if it is one's: `"own"`, one that
            the owner of the servers runs, so that it changes when he wants it to; `"other"`, any
            other, or not known whose. None: a server's key, or not known whether it is. It does
            not change what is accepted.

    Raises:
        PinFormatError: a text that is not a pin.
        PinSetError: another field that means nothing.
    """

    __slots__ = ("authority", "key", "not_before", "pin", "role")

    pin: Pin
    role: Role
    key: str | None
    not_before: datetime | None
    authority: Authority | None

    def __init__(
        self,
        pin: Pin | str,
        role: Role = "active",
        key: str | None = None,
        not_before: date | datetime | None = None,
        authority: Authority | None = None,
    ) -> None:
        """See the class."""
        self._set(
            pin=field.read_pin(pin),
            role=field.read_role(role),
            key=_given(field.read_key_name, key),
            not_before=_given(field.read_moment, not_before),
            authority=_given(field.read_authority, authority),
        )


class Defaults(Immutable):
    """What holds for the hosts that do not say otherwise, and for hosts in no rule.

    Args:
        mode: see `Rule`.
        match: see `Rule`.
        on_expiry: see `Rule`.
        unlisted: see `PinSet`.

    Raises:
        PinSetError: an unknown word.
    """

    __slots__ = ("match", "mode", "on_expiry", "unlisted")

    mode: Mode
    match: Match
    on_expiry: OnExpiry
    unlisted: Unlisted

    def __init__(
        self,
        mode: Mode = "enforce",
        match: Match = "chain",
        on_expiry: OnExpiry = "enforce",
        unlisted: Unlisted = "allow",
    ) -> None:
        """See the class."""
        self._set(
            mode=field.read_mode(mode),
            match=field.read_match(match),
            on_expiry=field.read_on_expiry(on_expiry),
            unlisted=field.read_unlisted(unlisted),
        )


class HostEntry(Immutable):
    """One `[[host]]` of a pin file.

    Args:
        name: a host pattern; see `Rule`.
        pins: `PinEntry`s, or `Pin`s or their texts for active keys of which no more is known.
        deny: pins never accepted, of keys of which no more is known; `PinSet` sees those with
            role `"revoked"` the same way.
        expires: see `Rule`.
        mode: as `Rule`; None for that of the file's `Defaults`.
        match: as `Rule`; None for that of the file's `Defaults`.
        on_expiry: as `Rule`; None for that of the file's `Defaults`.
        exclude: True: the host is not pinned, though a wider rule would match it. It has no other
            field then.
        port: the TCP port at which tools look at the host's server; None for 443, or the usual one
            of `starttls`. Pins hold for the host at every port, whatever stands here.
        starttls: the protocol in which tools ask that server for TLS, `"smtp"`, `"imap"`, `"pop3"`,
            `"ftp"` or `"postgres"`; None where TLS comes first.

    Raises:
        HostnameError: a host pattern that means nothing.
        PinFormatError: a text that is not a pin.
        PinSetError: another field that means nothing.
        PinFileError: fields that contradict each other.
    """

    __slots__ = (
        *("deny", "exclude", "expires", "match", "mode", "name", "on_expiry", "pins", "port"),
        "starttls",
    )

    name: str
    pins: tuple[PinEntry, ...]
    deny: tuple[Pin, ...]
    expires: datetime | None
    mode: Mode | None
    match: Match | None
    on_expiry: OnExpiry | None
    exclude: bool
    port: int | None
    starttls: str | None

    def __init__(
        self,
        name: str,
        pins: Iterable[PinEntry | Pin | str] = (),
        deny: Iterable[Pin | str] = (),
        expires: date | datetime | None = None,
        mode: Mode | None = None,
        match: Match | None = None,
        on_expiry: OnExpiry | None = None,
        exclude: bool = False,
        port: int | None = None,
        starttls: str | None = None,
    ) -> None:
        """See the class."""
        fields = {
            "name": normalise_pattern(name),
            "pins": tuple(
                pin if isinstance(pin, PinEntry) else PinEntry(pin) for pin in _several(pins)
            ),
            "deny": tuple(map(field.read_pin, _several(deny))),
            "expires": _given(field.read_moment, expires),
            "mode": _given(field.read_mode, mode),
            "match": _given(field.read_match, match),
            "on_expiry": _given(field.read_on_expiry, on_expiry),
            "exclude": field.read_boolean(exclude),
            "port": _given(field.read_port, port),
            "starttls": _given(field.read_starttls, starttls),
        }
        self._set(**fields)
        given = {name for name, value in fields.items() if value not in (None, (), False)}
        _refuse(host_problems(given, self.pins, self.deny, self.expires, self.exclude))

    def rule(self, defaults: Defaults) -> Rule:
        """The rule that this makes under a file's defaults."""
        if self.exclude:
            return Rule(self.name, exclude=True)
        revoked = [entry.pin for entry in self.pins if entry.role == "revoked"]
        return Rule(
            self.name,
            [entry.pin for entry in self.pins if entry.role != "revoked"],
            match=self.match or defaults.match,
            mode=self.mode or defaults.mode,
            expires=self.expires,
            on_expiry=self.on_expiry or defaults.on_expiry,
            deny=[*revoked, *self.deny],
        )


class PinFile(Immutable):
    """What a pin file says; immutable.

    Args:
        hosts: `HostEntry`s, at least one.
        version: a whole number from 1 on, which its owner raises with every change.
        defaults: what holds for hosts that do not say otherwise.

    Raises:
        PinSetError: a field that means nothing.
        PinFileError: no hosts, two entries for one host, or one that can have no effect.

    >>> file = PinFile.loads('''
    ... schema = 1
    ... version = 7
    ...
    ... [[host]]
    ... name = "**.example.com"
    ... pins = [
    ...   { pin = "sha256/k3XnEYQCK79AtL9GYnT/nyhsabas03V+bhRQYHQbpXU=", key = "2026" },
    ...   { pin = "sha256/afwiKY3RxoMmLkuRW1l7QsPZTJPwDS2pdDROQjXw8ig=", role = "backup" },
    ... ]
    ... ''')
    >>> file.version, file.hosts[0].pins[0].key
    (7, '2026')
    >>> file.pin_set()
    <PinSet **.example.com, unlisted='allow'>
    """

    __slots__ = ("defaults", "hosts", "version")

    version: int
    defaults: Defaults
    hosts: tuple[HostEntry, ...]

    def __init__(
        self, hosts: Iterable[HostEntry], *, version: int = 1, defaults: Defaults | None = None
    ) -> None:
        """See the class."""
        self._set(
            version=field.read_version(version),
            defaults=defaults or Defaults(),
            hosts=tuple(_several(hosts)),
        )
        for host in self.hosts:
            if not isinstance(host, HostEntry):
                raise PinSetError(f"not a HostEntry: {show(host)}")
        names = [host.name for host in self.hosts]
        excluded = [host.exclude for host in self.hosts]
        _refuse(file_problems(names, excluded, self.defaults.unlisted))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a pin file.

        Args:
            path: its name ends in `.toml` or `.json`, and that says what it is.

        Raises:
            PinFileError: it cannot be read, or does not say what a pin file says.
        """
        name = os.fsdecode(path)
        form = _format_of(name)
        return cls.loads(_read(name), form, name)

    @classmethod
    def loads(cls, text: str, format: Format = "toml", name: str | None = None) -> Self:
        """Read the text of a pin file.

        Args:
            text: without a byte order mark.
            format: `"toml"` or `"json"`.
            name: what error messages call it.

        Raises:
            PinFileError: it does not say what a pin file says.
        """
        form: Format = field.read_format(format)
        if not isinstance(text, str):
            raise _failure(name, f"the text of a pin file is a str, not {type(text).__name__}")
        if text.startswith("\ufeff"):
            raise _failure(name, "begins with a byte order mark: save it as UTF-8 without", 1)
        if not text.strip():
            raise _failure(name, f"empty; a pin file begins with schema = {SCHEMA}")
        document = _parsed(text, form, name)
        reader = _Reader()
        found: dict[str, object] = {}
        with suppress(_TooManyProblems):
            found = reader.read(document)
        if reader.problems:
            raise PinFileError(name, _with_lines(reader.problems, text, form))
        return cls._restore(found)

    @classmethod
    def from_pin_set(cls, pins: PinSet, *, version: int = 1) -> Self:
        """The pin file that says what a pin set does.

        Raises:
            PinFileError: a pin file cannot say it, and why.
        """
        hosts = []
        for index, rule in enumerate(pins.rules):
            try:
                hosts.append(_host_entry(rule))
            except PinFileError as error:
                where = _key(("host", index))
                raise PinFileError(
                    None, [PinFileProblem(None, where, problem.text) for problem in error.problems]
                ) from None
        return cls(hosts, version=version, defaults=Defaults(unlisted=pins.unlisted))

    def pin_set(self) -> PinSet:
        """The rules that clients go by."""
        return PinSet(self.rules(), unlisted=self.defaults.unlisted)

    def rules(self) -> Iterator[Rule]:
        """The rule of each host."""
        return (host.rule(self.defaults) for host in self.hosts)

    def dump(self, path: str | os.PathLike[str]) -> None:
        """Write a pin file; one that is there is replaced only when all is written.

        Comments of a file that was read are not kept.

        Args:
            path: ends in `.toml` or `.json`.

        Raises:
            PinFileError: it cannot be written.
        """
        name = os.fsdecode(path)
        data = self.dumps(_format_of(name)).encode("utf-8")
        try:
            with written_atomically(name) as file:
                file.write(data)
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or str(error)
            raise _failure(name, f"cannot be written: {why}") from error

    def dumps(self, format: Format = "toml") -> str:
        """Write the text of a pin file.

        Args:
            format: `"toml"` or `"json"`.
        """
        return _json(self) if field.read_format(format) == "json" else _toml(self)


# Reading a whole file.


class _TooManyProblems(Exception):
    """More of them would help nobody."""


class _Reader:
    """Makes the fields of a `PinFile` of what a text says, and collects all that is wrong."""

    def __init__(self) -> None:
        self.problems: list[tuple[Path, str]] = []
        self.schema = NEWEST_SCHEMA
        self.entries: dict[str, PinEntry] = {}

    def read(self, document: object) -> dict[str, object]:
        """Return the fields; they are good only if there are no problems."""
        if isinstance(document, dict) and "schema" in document:
            self._table({"schema": document["schema"]}, (), field.FILE)
            if self.problems:
                return {}  # what the rest means is not known
            self.schema = document["schema"]
        found = self._table(document, (), field.FILE, ("schema", "version", "host"))
        defaults = self._table(found.get("defaults", {}), ("defaults",), field.DEFAULTS)
        hosts = [self._host(host, ("host", i)) for i, host in enumerate(found.get("host", ()))]
        if "host" in found:
            sure = not any(path[0] == "defaults" for path, _ in self.problems)
            self._wrong_in(
                (),
                file_problems(
                    [host["name"] for host in hosts],
                    [host["exclude"] for host in hosts],
                    {**DEFAULTS, **defaults}["unlisted"] if sure else None,
                ),
            )
        return {
            "version": found.get("version"),
            "defaults": Defaults._restore({**DEFAULTS, **defaults}),
            "hosts": tuple(map(HostEntry._restore, hosts)),
        }

    def _host(self, value: object, path: Path) -> dict[str, Any]:
        found = self._table(value, path, field.HOST, ("name",))
        host = {**NO_HOST, **found}
        if not isinstance(value, dict):
            return host
        pins = [
            self._entry(pin, (*path, "pins", index))
            for index, pin in enumerate(found.get("pins", ()))
        ]
        deny = [
            self._element(field.read_denied_pin, pin, (*path, "deny", index))
            for index, pin in enumerate(found.get("deny", ()))
        ]
        if not pins and any(name in value and name not in found for name in ("pins", "exclude")):
            pins = [None]  # what was meant is not known
        host["pins"], host["deny"] = tuple(pins), tuple(deny)
        self._wrong_in(path, host_problems(value, pins, deny, host["expires"], host["exclude"]))
        return host

    def _entry(self, value: object, path: Path) -> PinEntry | None:
        if isinstance(value, dict):
            found = self._table(value, path, field.PIN, ("pin",))
            return PinEntry._restore({**NO_PIN, **found}) if "pin" in found else None
        if not isinstance(value, str):
            self._wrong(path, f"a pin is a string or a table, not {show(value)}")
            return None
        entry = self.entries.get(value)  # hosts that share their keys share the memory for them
        if entry is None and (pin := self._element(field.read_pin, value, path)):
            entry = self.entries[value] = PinEntry._restore({**NO_PIN, "pin": pin})
        return entry

    def _element(self, read: Callable[[object], Pin], value: object, path: Path) -> Pin | None:
        try:
            return read(value)
        except PROBLEMS as error:
            self._wrong(path, str(error))
            return None

    def _table(
        self,
        value: object,
        path: Path,
        readers: Mapping[str, Callable[[object], Any]],
        required: Sequence[str] = (),
    ) -> dict[str, Any]:
        """Read the fields that are there and right."""
        if not isinstance(value, dict):
            self._wrong(path, f"a table, not {show(value)}")
            return {}
        found: dict[str, Any] = {}
        for name, given in value.items():
            read = readers.get(name)
            if read is None:
                self._wrong((*path, name), field.unknown_key(name, readers))
                continue
            if name in SCHEMA_2_KEYS and self.schema < NEWEST_SCHEMA:
                self._wrong((*path, name), f"belongs to schema {NEWEST_SCHEMA}: say schema = 2")
                continue
            try:
                found[name] = read(given)
            except PROBLEMS as error:
                self._wrong((*path, name), str(error))
        for name in required:
            if name not in value:
                self._wrong((*path, name), "missing")
        if isinstance(value, _WithRepetitions):
            for name in value.repeated:
                self._wrong((*path, name), "given more than once")
        return found

    def _wrong_in(self, path: Path, problems: Iterable[tuple[Path, str]]) -> None:
        for where, text in problems:
            self._wrong((*path, *where), text)

    def _wrong(self, path: Path, text: str) -> None:
        self.problems.append((path, text))
        if len(self.problems) == MOST_PROBLEMS:
            raise _TooManyProblems


PROBLEMS = (HostnameError, PinFormatError, PinSetError)
DEFAULTS = Defaults()._values()
NO_HOST: dict[str, Any] = {
    **dict.fromkeys(field.HOST, None),
    "pins": (),
    "deny": (),
    "exclude": False,
}
NO_PIN: dict[str, Any] = {**dict.fromkeys(field.PIN, None), "role": "active"}


class _WithRepetitions(dict[str, object]):
    """A JSON object in which a name stood more than once."""

    repeated: tuple[str, ...]


def _json_object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    made = dict(pairs)
    if len(made) == len(pairs):
        return made
    made = _WithRepetitions(pairs)
    made.repeated = tuple(
        name for name, times in Counter(name for name, _ in pairs).items() if times > 1
    )
    return made


# Between a text and what it says.


def _parsed(text: str, form: Format, name: str | None) -> object:
    import json
    import tomllib

    try:
        if form == "json":
            return json.loads(text, object_pairs_hook=_json_object)
        return tomllib.loads(text)
    except json.JSONDecodeError as error:
        raise _failure(name, f"not JSON: {error.msg}, column {error.colno}", error.lineno) from None
    except tomllib.TOMLDecodeError as error:
        raise _not_toml(str(error), text, name) from None
    except RecursionError:
        raise _failure(name, "nested too deeply") from None
    except ValueError as error:  # a number of thousands of digits
        raise _failure(name, f"not {form.upper()}: {error}") from None


def _not_toml(said: str, text: str, name: str | None) -> PinFileError:
    where = AT_LINE.search(said)
    if where is None:
        return _failure(name, f"not TOML: {said[:LONGEST_MESSAGE]}", text.rstrip().count("\n") + 1)
    said = said[: where.start()][:LONGEST_MESSAGE]
    return _failure(name, f"not TOML: {said}, column {where[2]}", int(where[1]))


def _with_lines(
    problems: Iterable[tuple[Path, str]], text: str, form: Format
) -> list[PinFileProblem]:
    from .lines import json_lines, toml_lines

    line_of = json_lines(text) if form == "json" else toml_lines(text)
    found = [PinFileProblem(line_of(path), _key(path), text) for path, text in problems]
    return sorted(found, key=lambda problem: problem.line or 0)


def _key(path: Path) -> str | None:
    """Write a path as `host[2].pins[0].role`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += "." * bool(text) + (step if BARE_KEY.fullmatch(step) else show(step))
    return text or None


def _failure(name: str | None, text: str, line: int | None = None) -> PinFileError:
    return PinFileError(name, [PinFileProblem(line, None, text)])


def _given(read: Callable[[object], Any], value: object) -> Any:
    return None if value is None else read(value)


def _several(values: Iterable[object]) -> Iterable[Any]:
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise PinSetError(f"a list, not {show(values)}")
    return values


def _refuse(problems: Iterable[tuple[Path, str]]) -> None:
    """Raise an error if there are problems with what a program made."""
    found = [PinFileProblem(None, _key(path), text) for path, text in problems]
    if found:
        raise PinFileError(None, found[:MOST_PROBLEMS])


def _format_of(name: str) -> Format:
    suffix = os.path.splitext(name)[1].lower()
    if suffix == ".toml":
        return "toml"
    if suffix == ".json":
        return "json"
    raise _failure(name, f"a pin file's name ends in .toml or .json, not {show(suffix)}")


def _read(name: str) -> str:
    try:
        data = _bytes(name)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise _failure(name, f"cannot be read: {why}") from error
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _failure(name, "not UTF-8", line) from None


def _bytes(name: str) -> bytes:
    status = os.stat(name)
    if stat.S_ISDIR(status.st_mode):
        raise ValueError("a directory")
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("a device or pipe, not a file")
    with open(name, "rb") as file:
        # one byte more, to see whether it grows; not all that is allowed, which would be allocated
        data = file.read(status.st_size + 1) if status.st_size <= LARGEST_FILE else None
    if data is None:
        raise ValueError(f"larger than {LARGEST_FILE // 1024**2} MiB")
    if len(data) > status.st_size:
        raise ValueError("it changed while it was read")
    return data


def _host_entry(rule: Rule) -> HostEntry:
    if rule.host is None:
        raise _failure(
            None,
            "a pin file names its hosts and has no rule for every host (Rule(None, ...)); to"
            " refuse all others: unlisted='refuse'",
        )
    if rule.exclude:
        if rule != Rule(rule.host, exclude=True):
            raise _failure(
                None,
                f"{rule.host!r} is excluded, so no mode, match or expiry can be written for it",
            )
        return HostEntry(rule.host, exclude=True)
    return HostEntry(
        rule.host,
        rule.pins,
        rule.deny,
        rule.expires,
        # Written out for each host, so that no host added by hand inherits a weakness.
        mode=None if rule.mode == DEFAULTS["mode"] else rule.mode,
        match=None if rule.match == DEFAULTS["match"] else rule.match,
        on_expiry=None if rule.on_expiry == DEFAULTS["on_expiry"] else rule.on_expiry,
    )


# Writing.


def _shape(file: PinFile) -> dict[str, object]:
    return {
        "schema": needed_schema(file.hosts),
        "version": file.version,
        "defaults": {name: getattr(file.defaults, name) for name in field.DEFAULTS},
        "host": [host_shape(host) for host in file.hosts],
    }


def needed_schema(hosts: Iterable[HostEntry]) -> int:
    """The lowest schema in which a pin file can say these hosts, so that most can read it."""
    for host in hosts:
        for table in (host, *host.pins):
            if any(getattr(table, name, None) not in (None, False) for name in SCHEMA_2_KEYS):
                return NEWEST_SCHEMA
    return SCHEMA


def host_shape(host: HostEntry) -> dict[str, object]:
    shape = {name: getattr(host, name) for name in field.HOST}
    shape["pins"] = [pin_shape(entry) for entry in host.pins]
    shape["deny"] = [str(pin) for pin in host.deny]
    return {name: value for name, value in shape.items() if value not in (None, [], False)}


def pin_shape(entry: PinEntry) -> str | dict[str, object]:
    shape = {name: getattr(entry, name) for name in field.PIN}
    if shape == {**NO_PIN, "pin": entry.pin}:
        return str(entry.pin)
    shape["pin"] = str(entry.pin)
    return {name: value for name, value in shape.items() if value is not None}


def _json(file: PinFile) -> str:
    import json

    return json.dumps(_shape(file), indent=2, ensure_ascii=False, default=date_text) + "\n"


def _toml(file: PinFile) -> str:
    shape: dict[str, Any] = _shape(file)
    tables = [
        *toml_lines({"schema": shape["schema"], "version": file.version}),
        "",
        "[defaults]",
        *toml_lines(shape["defaults"]),
    ]
    for host in shape["host"]:
        tables += ["", "[[host]]", *toml_lines(host)]
    return "\n".join(tables) + "\n"


def toml_lines(table: Mapping[str, object]) -> Iterator[str]:
    for name, value in table.items():
        if isinstance(value, list):
            yield f"{name} = ["
            yield from (f"  {toml_value(element)}," for element in value)
            yield "]"
        else:
            yield f"{name} = {toml_value(value)}"


def toml_value(value: object) -> str:
    if isinstance(value, datetime):
        return date_text(value)
    if isinstance(value, dict):
        fields = ", ".join(f"{name} = {toml_value(field)}" for name, field in value.items())
        return f"{{ {fields} }}"
    import json

    # Without control characters, which no name has, TOML's strings are JSON's, and so are the rest.
    return json.dumps(value, ensure_ascii=False)


def date_text(moment: datetime) -> str:
    """A moment in UTC as RFC 3339; the first of a day as a date."""
    if moment.timetz() == MIDNIGHT:
        return moment.date().isoformat()
    return moment.isoformat().replace("+00:00", "Z")
