"""OkHttp: a CertificatePinner in Kotlin.

https://square.github.io/okhttp/5.x/okhttp/okhttp3/-certificate-pinner/ and CertificatePinner.kt:
`*.` is exactly one label, `**.` any number of labels or none; if several patterns match a host,
the pins of any of them will do, so that nothing can be excluded; a pin may be anywhere in the
cleaned chain; there is no expiry and no report mode. A name with a dot at its end is another one,
though it leads to the same server, so that both are written. `**.` came with 4.3 (changelog_4x.md);
earlier versions take it for a name that no host has, and pin nothing: the code checks that when it
starts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._internal.text import shown
from ..errors import PinFormatError
from ..hostnames import normalise_pattern
from ..pinfile import HostEntry
from ._base64 import read_pin
from ._conversion import (
    Draft,
    FormatError,
    Reading,
    located,
    pin_file,
    text_of,
)
from ._losses import differences, loss
from ._okhttp_builders import builders
from ._union import most_specific

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ..pin import Pin
    from ..pinfile import PinFile
    from ..pinset import PinSet, Rule
    from ._conversion import Certificates, Files, Loss
    from ._okhttp_builders import Added

__all__ = ["TITLE", "draft", "export", "read", "url_host"]

TITLE = "OkHttp"
FILE = "CertificatePins.kt"
KOTLIN = """// Written by keypin export okhttp: change the pin file instead.
// OkHttpClient.Builder().certificatePinner(CertificatePins.certificatePinner)

import okhttp3.CertificatePinner
import java.security.cert.Certificate
import javax.net.ssl.SSLPeerUnverifiedException

object CertificatePins {{
    // The name with a dot at its end is another one to OkHttp, and leads to the same host.
    @JvmField
    val certificatePinner: CertificatePinner = CertificatePinner.Builder().apply {{
{calls}
    }}.build()
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
    return draft(pins, FILE, _kotlin, "add({})")


def _kotlin(calls: str, host: str | None) -> str:
    check = "" if host is None else KOTLIN_CHECK.format(host=host)
    return KOTLIN.format(calls=calls, check=check)


def draft(
    pins: PinFile, file: str, code: Callable[[str, str | None], str], statement: str
) -> Draft:
    """Write the code in a language.

    Args:
        pins: the pin file.
        file: the name of the source file.
        code: writes it around the calls, with a check that a host is pinned.
        statement: a call, `{}` for its arguments. A chain of some hundred calls would be too much
            for the compilers.
    """
    rules = [rule for rule in pins.rules() if rule.host and not rule.exclude]
    names = [(name, rule) for rule in rules for name in _spellings(rule.host or "")]
    calls = "\n".join(_call(name, rule, statement) for name, rule in names)
    deep = next((rule.host[3:] for rule in rules if rule.host and rule.host[:2] == "**"), None)
    losses = [loss("client-certificate-shown", target=TITLE)]
    if deep is not None:
        losses.append(loss("needs-okhttp-4.3", target=TITLE))
    files = {file: code(calls, deep).encode()}
    meaning = _pin_file({rule.host or "": list(rule.pins) for rule in rules}).pin_set()
    return Draft(files, meaning, tuple(losses))


def url_host(host: str) -> str:
    """Write a host as in a URL: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host


def _spellings(host: str) -> list[str]:
    """Write a pattern as each of the names that OkHttp takes for different ones."""
    is_address = ":" in host or host[-1:].isdigit()
    return [url_host(host)] if is_address else [host, f"{host}."]


def _call(name: str, rule: Rule, statement: str) -> str:
    arguments = ",".join(f'\n            "{each}"' for each in (name, *rule.pins))
    return f"        {statement.format(arguments + chr(10) + ' ' * 8)}"


def read(files: Files, hosts: Sequence[str]) -> Reading:
    """Read what the builders of a Kotlin or Java file are given, as far as the file itself says."""
    name, text = text_of(files)
    pinners = [pins for added in builders(text, name) if (pins := _by_pattern(added, name))]
    if not pinners:
        raise FormatError("no host with pins: nothing would be pinned", name)
    together: dict[str, list[Pin]] = {}
    for pinner in pinners:
        for pattern, more in pinner.items():
            together.setdefault(pattern, []).extend(more)
    file = _pin_file(together)
    changes = _of_several(pinners, file.pin_set()) if len(pinners) > 1 else ()
    return Reading(file, tuple(changes))


def _by_pattern(added: Sequence[Added], file: str) -> dict[str, list[Pin]]:
    """Return the pins of each pattern of one builder."""
    found: dict[str, list[Pin]] = {}
    with_dot: dict[str, tuple[list[Pin], int]] = {}
    for pattern, text in added:
        with located(file, pattern.line):
            key = normalise_pattern(pattern.text)
        with located(file, text.line, host=key):
            pin = _pin(text.text)
        if pattern.text.endswith("."):
            with_dot.setdefault(key, ([], pattern.line))[0].append(pin)
        else:
            found.setdefault(key, []).append(pin)
    for key, (pins, line) in with_dot.items():
        # to OkHttp, the name with a dot at its end is another one
        if set(found.get(key, ())) != set(pins):
            raise FormatError(
                f"{key}. has pins that {key} has not; a rule holds for both: pin {key} alike",
                file,
                line,
            )
    return found


def _pin(text: str) -> Pin:
    """Read a pin as OkHttp does, by okio's base64, which needs no padding."""
    kind, slash, encoded = text.partition("/")
    if (kind, slash) != ("sha256", "/"):
        raise PinFormatError(f"not a SHA-256 pin, sha256/BASE64: {shown(text)}")
    return read_pin(encoded)


def _of_several(pinners: Sequence[dict[str, list[Pin]]], together: PinSet) -> Iterator[Loss]:
    """Tell what it changes that the hosts of several pinners are in one pin file."""
    found = {}
    for pinner in pinners:
        for each in differences(_pin_file(pinner).pin_set(), together, "a pin file"):
            name = "pinners-differ" if each.name == "other-pins-accepted" else "pinners-together"
            host = each.host if name == "pinners-differ" else None
            found[name, host] = loss(name, host)
    yield from found.values()


def _pin_file(pins_of: dict[str, list[Pin]]) -> PinFile:
    return pin_file([HostEntry(host, pins) for host, pins in most_specific(pins_of).items()])
