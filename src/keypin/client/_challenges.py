"""`WWW-Authenticate`: the challenges that a server's answer holds (RFC 9110, section 11.6.1).

Strict, and linear in the length of the field: what does not follow the grammar is an error.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

__all__ = ["Challenge", "ChallengeError", "parse_challenges"]

TCHAR = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]"  # RFC 9110, section 5.6.2
QUOTED = r'"(?:[\t \x21\x23-\x5B\x5D-\x7E\x80-\xFF]|\\[\t \x21-\x7E\x80-\xFF])*+"'  # 5.6.4
BETWEEN = re.compile(r"[ \t,]*+")  # a list's commas, with its empty elements: 5.6.1.2
SPACES = re.compile(r"[ \t]*+")
SCHEME = re.compile(rf"({TCHAR}++)(?:( ++)|(?=[ \t,]|$))")
TOKEN68 = re.compile(r"([0-9A-Za-z\-._~+/]++=*+)(?=[ \t]*+(?:,|$))")  # 11.2
PARAMETER = re.compile(rf"({TCHAR}++)[ \t]*+=[ \t]*+(?:({TCHAR}++)|({QUOTED}))")
END = re.compile(r"[ \t]*+(?:,|$)")
ESCAPE = re.compile(r"\\(.)", re.DOTALL)


class ChallengeError(ValueError):
    """A field that does not follow the grammar."""


@dataclass(frozen=True, slots=True)
class Challenge:
    """One challenge.

    Attributes:
        scheme: the authentication scheme, in lower case.
        parameters: by name, in lower case; empty if there is a `token68`.
        token68: what some schemes have in the place of parameters; None if there is none.
    """

    scheme: str
    parameters: Mapping[str, str]
    token68: str | None = None


def parse_challenges(fields: Iterable[str]) -> tuple[Challenge, ...]:
    """The challenges of an answer, in its order.

    Args:
        fields: the values of its `WWW-Authenticate` fields.

    Raises:
        ChallengeError: a field that does not follow the grammar, or gives a parameter twice.
    """
    return tuple(challenge for field in fields for challenge in _in_field(field))


def _in_field(field: str) -> Iterator[Challenge]:
    position = _skip(BETWEEN, field, 0)
    while position < len(field):
        scheme = SCHEME.match(field, position)
        if scheme is None:
            raise _error("no authentication scheme", position)
        position = scheme.end()
        token68 = TOKEN68.match(field, position) if scheme[2] else None
        if token68 is not None:
            position = token68.end()
            yield Challenge(scheme[1].lower(), {}, token68[1])
        else:
            parameters, position = _parameters(field, position, spaced=bool(scheme[2]))
            yield Challenge(scheme[1].lower(), parameters)
        if END.match(field, position) is None:
            raise _error("no comma after a challenge", position)
        position = _skip(BETWEEN, field, position)


def _parameters(field: str, position: int, *, spaced: bool) -> tuple[dict[str, str], int]:
    """Read the parameters of one challenge; the next scheme is no parameter and ends them."""
    parameters: dict[str, str] = {}
    while True:
        start = _skip(BETWEEN, field, position)
        parameter = PARAMETER.match(field, start)
        if parameter is None:
            if spaced and start < len(field) and "," not in field[position:start]:
                raise _error("neither a parameter nor a comma", start)
            return parameters, position
        if not spaced:
            raise _error("a parameter without a scheme", start)
        name = parameter[1].lower()
        if name in parameters:
            raise _error("a parameter twice", start)
        position = parameter.end()
        if END.match(field, position) is None:
            raise _error("no comma after a parameter", position)
        value = parameter[2]
        parameters[name] = ESCAPE.sub(r"\1", parameter[3][1:-1]) if value is None else value


def _skip(what: re.Pattern[str], field: str, position: int) -> int:
    found = what.match(field, position)
    return position if found is None else found.end()


def _error(what: str, position: int) -> ChallengeError:
    return ChallengeError(f"WWW-Authenticate, character {position + 1}: {what}")
