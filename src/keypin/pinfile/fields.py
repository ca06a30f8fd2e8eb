"""What each field of a pin file may hold: the value, or an error that says what is allowed."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING, Any, Literal, get_args

from ..errors import HostnameError, PinFormatError, PinSetError
from ..hostnames import LONGEST_NAME, normalise_pattern
from ..pin import Pin
from ..pinset import Match, Mode, OnExpiry, Unlisted

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    Readers = Mapping[str, Callable[[object], Any]]

Format = Literal["toml", "json"]
Role = Literal["planned", "active", "retiring", "revoked", "backup"]
Authority = Literal["own", "other"]

SCHEMA = 1
NEWEST_SCHEMA = 2
SCHEMA_2_KEYS = ("authority", "port", "starttls")
"""what only a file of schema 2 may have, in whatever table; without it files stay at 1"""
STARTTLS_PORTS = {"smtp": 25, "imap": 143, "pop3": 110, "ftp": 21, "postgres": 5432}
"""the protocols in which TLS can be asked for, each with its usual port"""
LARGEST_VERSION = 2**53 - 1  # what every reader of JSON keeps exactly (RFC 8259, section 6)
SHOWN = 60  # characters of a wrong value

# Control characters, surrogates, and what makes a terminal show text in another order
UNFIT_FOR_A_NAME = re.compile(
    "[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
RFC_3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"(?P<time>T(?:[01][0-9]|2[0-3]):[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?"
    r"(?:Z|[+-][0-9]{2}:[0-9]{2})?)?"
)
A_MOMENT = "a date (2027-06-01) or a date and time with offset (2027-06-01T12:00:00Z)"


def one_of(what: str, words: tuple[str, ...]) -> Callable[[object], Any]:
    """Make a reader of certain words."""

    def read(value: object) -> str:
        if isinstance(value, str) and value in words:
            return value
        listed = ", ".join(map(repr, words))
        raise PinSetError(f"{what} is one of {listed}, not {show(value)}{meant(value, words)}")

    return read


read_format = one_of("format", get_args(Format))
read_mode = one_of("mode", get_args(Mode))
read_match = one_of("match", get_args(Match))
read_on_expiry = one_of("on_expiry", get_args(OnExpiry))
read_unlisted = one_of("unlisted", get_args(Unlisted))
read_role = one_of("role", get_args(Role))
read_authority = one_of("authority", get_args(Authority))
read_starttls = one_of("starttls", tuple(STARTTLS_PORTS))


def read_schema(value: object) -> int:
    """Read the number of the format."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise PinSetError(f"schema is {SCHEMA} or {NEWEST_SCHEMA}, not {show(value)}")
    if not SCHEMA <= value <= NEWEST_SCHEMA:
        newer = "; the file is for a newer keypin than this one: upgrade" if value > SCHEMA else ""
        raise PinSetError(
            f"this keypin reads schema {SCHEMA} and {NEWEST_SCHEMA}, not {show(value)}{newer}"
        )
    return value


def read_version(value: object) -> int:
    """Read the number that a file's owner raises."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= LARGEST_VERSION:
        raise PinSetError(f"version is a whole number from 1 to 2**53 - 1, not {show(value)}")
    return value


def read_host_name(value: object) -> str:
    """Read a host pattern, and write it the one way."""
    if not isinstance(value, str):
        raise HostnameError(f"a host is a string, not {show(value)}")
    return normalise_pattern(value if len(value) <= 4 * LONGEST_NAME else value[:SHOWN] + "…")


def read_pin(value: object) -> Pin:
    """Read a pin."""
    if isinstance(value, Pin):
        return value
    if not isinstance(value, str):
        raise PinFormatError(f"a pin is a string, sha256/BASE64, not {show(value)}")
    return Pin(value if len(value) <= 2 * SHOWN else value[:SHOWN] + "…")


def read_denied_pin(value: object) -> Pin:
    """Read an element of `deny`."""
    if isinstance(value, dict):
        raise PinFormatError(
            "deny lists bare pins, as strings; a key of which more is known stands in pins, with"
            ' role = "revoked"'
        )
    return read_pin(value)


def read_key_name(value: object) -> str:
    """Read what people call a key."""
    if not isinstance(value, str):
        raise PinSetError(f"a key's name is a string, not {show(value)}")
    if not value.strip():
        raise PinSetError("a key's name is not empty; leave it out if there is none")
    if unfit := UNFIT_FOR_A_NAME.search(value):
        raise PinSetError(f"a key's name is one line of plain text, without {unfit[0]!a}")
    return value


def read_moment(value: object) -> datetime:
    """Read a date, as its first moment in UTC, or a time with offset, as that moment in UTC."""
    if isinstance(value, str):
        value = _moment_of_text(value)
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise PinSetError(
                "a time without offset means another moment on every machine; for UTC:"
                f" {value.isoformat()}Z"
            )
        try:
            return value.astimezone(UTC)
        except OverflowError:
            raise PinSetError(f"no such date in UTC: {value}") from None
    if isinstance(value, date):
        return datetime.combine(value, time.min, UTC)
    raise PinSetError(f"{A_MOMENT}, not {show(value)}")


def _moment_of_text(value: str) -> date | datetime:
    """Read RFC 3339, section 5.6, which is how JSON has dates."""
    match = RFC_3339.fullmatch(value)
    if match is None:
        raise PinSetError(f"{A_MOMENT}, not {show(value)}")
    try:
        return datetime.fromisoformat(value) if match["time"] else date.fromisoformat(value)
    except ValueError as error:
        raise PinSetError(f"no such date or time: {show(value)} ({error})") from None


def read_port(value: object) -> int:
    """Read a TCP port."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 2**16:
        raise PinSetError(f"port is a whole number from 1 to 65535, not {show(value)}")
    return value


def read_boolean(value: object) -> bool:
    """Read true or false."""
    if not isinstance(value, bool):
        raise PinSetError(f"true or false, not {show(value)}")
    return value


def read_table(value: object) -> dict[str, Any]:
    """Read a table, an object in JSON."""
    if not isinstance(value, dict):
        raise PinSetError(f"a table, not {show(value)}")
    return value


def read_list(value: object) -> list[object]:
    """Read a list."""
    if not isinstance(value, list):
        raise PinSetError(f"a list, not {show(value)}")
    return value


def read_tables(value: object) -> list[object]:
    """Read the list of hosts."""
    if not isinstance(value, list):
        raise PinSetError(f"a list of tables, each headed [[host]], not {show(value)}")
    return value


FILE: Readers = {
    "schema": read_schema,
    "version": read_version,
    "defaults": read_table,
    "host": read_tables,
}
DEFAULTS: Readers = {
    "mode": read_mode,
    "match": read_match,
    "on_expiry": read_on_expiry,
    "unlisted": read_unlisted,
}
HOST: Readers = {
    "name": read_host_name,
    "port": read_port,
    "starttls": read_starttls,
    "expires": read_moment,
    "mode": read_mode,
    "match": read_match,
    "on_expiry": read_on_expiry,
    "pins": read_list,
    "deny": read_list,
    "exclude": read_boolean,
}
PIN: Readers = {
    "pin": read_pin,
    "role": read_role,
    "key": read_key_name,
    "not_before": read_moment,
    "authority": read_authority,
}


def unknown_key(name: str, known: Collection[str]) -> str:
    """Say what is wrong with a key that a table does not have."""
    advice = meant(name, known)
    if not advice and name in DEFAULTS:
        advice = "; it belongs in [defaults]"
    elif not advice and name in FILE:
        advice = "; it belongs at the top of the file, above the first table"
    return f"unknown key; the keys here are {', '.join(known)}{advice}"


def meant(value: object, words: Collection[str]) -> str:
    """Ask whether one of the words was meant; nothing if none is near."""
    import difflib

    if not isinstance(value, str) or len(value) > SHOWN:
        return ""
    close = difflib.get_close_matches(value.lower(), words, n=2)
    return f"; did you mean {' or '.join(map(repr, close))}?" if close else ""


def show(value: object) -> str:
    """Show a wrong value in an error message: never long, never more than one line."""
    if isinstance(value, str):
        return repr(value) if len(value) <= SHOWN else f"{value[:SHOWN]!r}…"
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "null"
    if isinstance(value, int):
        return str(value) if abs(value) < 10**SHOWN else "a huge number"
    if isinstance(value, float):
        return str(value)
    if isinstance(value, date | time):
        return f"the {'time' if isinstance(value, time) else 'date'} {value}"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    return "a table" if isinstance(value, dict) else f"a {type(value).__name__}"
