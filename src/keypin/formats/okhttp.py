"""OkHttp: a CertificatePinner in Kotlin.

https://square.github.io/okhttp/5.x/okhttp/okhttp3/-certificate-pinner/ and CertificatePinner.kt:
`*.` is exactly one label, `**.` any number of labels or none; if several patterns match a host,
the pins of any of them will do, so that nothing can be excluded; a pin may be anywhere in the
cleaned chain; there is no expiry and no report mode. `**.` came with 4.3 (changelog_4x.md); earlier
versions take it for a name that no host has, and pin nothing: the code checks that when it starts.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from ..hostnames import normalise_pattern
from ..pin import Pin
from ..pinfile import HostEntry
from ._conversion import Draft, FormatError, Reading, located, pin_file, text_of
from ._losses import loss
from ._union import most_specific

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ..pinfile import PinFile
    from ..pinset import Rule
    from ._conversion import Certificates, Files

__all__ = ["TITLE", "draft", "export", "read", "url_host"]

TITLE = "OkHttp"
FILE = "CertificatePins.kt"
KOTLIN = """// Written by keypin export okhttp: change the pin file instead.
// OkHttpClient.Builder().certificatePinner(CertificatePins.certificatePinner)

import okhttp3.CertificatePinner
import java.security.cert.Certificate
import javax.net.ssl.SSLPeerUnverifiedException

object CertificatePins {{
    @JvmField
    val certificatePinner: CertificatePinner = CertificatePinner.Builder()
{calls}
        .build()
{check}}}
"""
KOTLIN_CHECK = """
    init {{
        // Before version 4.3, OkHttp knows no "**." and would pin nothing.
        val pinned = try {{
            certificatePinner.check("{host}", emptyList<Certificate>())
            false
        }} catch (expected: SSLPeerUnverifiedException) {{
            true
        }}
        check(pinned) {{ "This OkHttp does not know \\"**.\\": it has to be 4.3 or later." }}
    }}
"""


def export(pins: PinFile, certificates: Certificates) -> Draft:
    """Write the code."""
    return draft(pins, FILE, _kotlin)


def _kotlin(calls: str, host: str | None) -> str:
    check = "" if host is None else KOTLIN_CHECK.format(host=host)
    return KOTLIN.format(calls=calls, check=check)


def draft(pins: PinFile, file: str, code: Callable[[str, str | None], str]) -> Draft:
    """Write the code in a language.

    Args:
        pins: the pin file.
        file: the name of the source file.
        code: writes it around the calls, with a check that a host is pinned.
    """
    rules = [rule for rule in pins.rules() if rule.host and not rule.exclude]
    calls = "\n".join(map(_call, rules))
    deep = next((rule.host[3:] for rule in rules if rule.host and rule.host[:2] == "**"), None)
    losses = [loss("client-certificate-shown", target=TITLE)]
    if deep is not None:
        losses.append(loss("needs-okhttp-4.3", target=TITLE))
    files = {file: code(calls, deep).encode()}
    return Draft(files, read(files, ()).pins.pin_set(), tuple(losses))


def url_host(host: str) -> str:
    """Write a host as in a URL: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host


def _call(rule: Rule) -> str:
    pins = "".join(f',\n            "{pin}"' for pin in rule.pins)
    return f'        .add(\n            "{url_host(rule.host or "")}"{pins}\n        )'


class _Token(NamedTuple):
    text: str
    line: int


# Strings without escapes and templates are all that is read; comments are dropped.
TOKEN = re.compile(
    r"//[^\n]*|/\*.*?\*/|(?P<string>\"[^\"\\$\n]*\")|(?P<word>\w+)|(?P<other>\S)", re.DOTALL
)
BUILDER = ["CertificatePinner", ".", "Builder", "(", ")"]


def read(files: Files, hosts: Sequence[str]) -> Reading:
    """Read the calls of `add` that follow `CertificatePinner.Builder()`, in Kotlin or Java."""
    name, text = text_of(files)
    tokens = list(_tokens(text))
    texts = [token.text for token in tokens]
    starts = [i for i in range(len(texts)) if texts[i : i + len(BUILDER)] == BUILDER]
    if len(starts) != 1:
        line = tokens[starts[1]].line if starts else None
        found = "a second" if starts else "no"
        raise FormatError(f"{found} CertificatePinner.Builder(): one is read", name, line)
    pins_of: dict[str, list[Pin]] = {}
    for pattern, pin in _added(tokens[starts[0] + len(BUILDER) :], name):
        with located(name, pattern.line):
            key = normalise_pattern(pattern.text)
        with located(name, pin.line):
            pins_of.setdefault(key, []).append(Pin(pin.text))
    entries = [HostEntry(host, pins) for host, pins in most_specific(pins_of).items()]
    return Reading(pin_file(entries))


def _tokens(text: str) -> Iterator[_Token]:
    line, end = 1, 0
    for match in TOKEN.finditer(text):
        line += text.count("\n", end, match.start())
        end = match.start()
        if match.lastgroup:
            yield _Token(match[0], line)


def _added(tokens: Sequence[_Token], name: str) -> Iterator[tuple[_Token, _Token]]:
    """Yield pattern and pin of each call up to `.build()`."""
    rest = iter(tokens)
    last = tokens[0] if tokens else None

    def expect(*allowed: str) -> _Token:
        nonlocal last
        token = next(rest, None)
        if token is None or (token.text not in allowed and not _is_string(token, allowed)):
            found = "the end of the file" if token is None else token.text
            line = token.line if token else last.line if last else None
            wanted = " or ".join(each or "a string" for each in allowed)
            raise FormatError(
                f"{wanted} is read here, not {found:.40}: the builder's calls have to be chained,"
                " with plain strings",
                name,
                line,
            )
        last = token
        return token

    while True:
        expect(".")
        if expect("add", "build").text == "build":
            return
        expect("(")
        pattern = _unquoted(expect(""))
        expect(",")
        while True:
            yield pattern, _unquoted(expect(""))
            if expect(",", ")").text == ")":
                break


def _is_string(token: _Token, allowed: Sequence[str]) -> bool:
    return "" in allowed and token.text.startswith('"') and len(token.text) > 1


def _unquoted(token: _Token) -> _Token:
    return _Token(token.text[1:-1], token.line)
