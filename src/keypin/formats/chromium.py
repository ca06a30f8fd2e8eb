"""Chromium: net/http/transport_security_state_static_pins.json and the list of keys beside it.

The comments at the head of that file, and net/tools/transport_security_state_generator: a pinset
names its keys, allowed and forbidden, and transport_security_state_static.pins says what each name
stands for; a chain passes if it holds an allowed key and no forbidden one; include_subdomains is
of any depth, and the longest name decides (preload decoder). The list is ignored 70 days after its
PinsListTimestamp, and chains up to a CA that was added on the device are exempt
(transport_security_state.cc). Until 2022 the entries stood in transport_security_state_static.json,
among those for HSTS, some with include_subdomains_for_pinning; until 2016 the keys stood in a file
.certs, some by their SHA-1. These forms are read as well.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from ..errors import CertificateFormatError, PinFormatError
from ..pin import Pin
from ..pinfile import HostEntry
from ._conversion import Draft, FormatError, Reading, located, pin_file, without_wildcard
from ._domains import domains, is_public_name
from ._losses import loss

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..pinfile import PinFile
    from ._conversion import Certificates, Files, Loss

__all__ = ["TITLE", "export", "read"]

TITLE = "Chromium"
JSON, PINS = "transport_security_state_static_pins.json", "transport_security_state_static.pins"
TIMESTAMP = "PinsListTimestamp"
ALLOWED, FORBIDDEN = "static_spki_hashes", "bad_static_spki_hashes"
HEAD = "Written by keypin export chromium: change the pin file instead."
NAME = re.compile(r"[A-Z][A-Za-z0-9_]*")
# of an entry; the last of them say nothing of pins
SUBDOMAINS = ("include_subdomains", "include_subdomains_for_pinning")
ENTRY = (
    "name", *SUBDOMAINS, "pins", "policy", "mode", "snionly", "expect_ct", "expect_ct_report_uri",
    "expect_staple", "expect_staple_report_uri", "include_subdomains_for_expect_staple",
)  # fmt: skip
PEM = re.compile(r"-----BEGIN (CERTIFICATE|PUBLIC KEY)-----([^-]*)-----END \1-----\n?")


def export(pins: PinFile, certificates: Certificates) -> Draft:
    """Write the list and its keys."""
    wanted = [each for each in domains(pins.rules()) if each.pins and is_public_name(each.name)]
    names = {pin: _name(pin) for each in wanted for pin in (*each.pins, *each.deny)}
    sets = dict.fromkeys((each.pins, each.deny) for each in wanted)
    numbers = {both: f"pinset{number}" for number, both in enumerate(sets, 1)}
    content = {
        "pinsets": [
            {
                "name": numbers[allowed, forbidden],
                ALLOWED: [names[pin] for pin in allowed],
                **({FORBIDDEN: [names[pin] for pin in forbidden]} if forbidden else {}),
            }
            for allowed, forbidden in sets
        ],
        "entries": [
            {
                "name": each.name,
                **({"include_subdomains": True} if each.subdomains else {}),
                "pins": numbers[each.pins, each.deny],
            }
            for each in wanted
        ],
    }
    keys = "".join(f"\n{name}\n{pin}\n" for pin, name in names.items())
    files = {
        JSON: f"// {HEAD}\n{json.dumps(content, indent=2)}\n".encode(),
        PINS: f"# {HEAD}\n{TIMESTAMP}\n{int(time.time())}\n{keys}".encode(),
    }
    losses = (
        loss("pins-lapse", target=TITLE),
        loss("local-anchors-exempt", target=TITLE),
    )
    return Draft(files, read(files, ()).pins.pin_set(), losses)


def _name(pin: Pin) -> str:
    return "Key_" + pin.digest.hex()


def read(files: Files, hosts: Sequence[str]) -> Reading:
    """Read a folder with the list and its keys."""
    lists = [name for name in files if name.endswith(".json")]
    keys = [name for name in files if name.endswith((".pins", ".certs"))]
    if len(lists) != 1 or len(keys) > 1:
        raise FormatError(f"a folder with {JSON} and {PINS} is read, and nothing else like them")
    names = _keys(files[keys[0]], keys[0]) if keys else {}
    file = lists[0]
    content = _json(files[file], file)
    losses: list[Loss] = []
    with located(file):
        known = ("pinsets", "entries", "domain_ids")
        _expect(content, "the file", known, ("pinsets", "entries"))
        pinsets = _pinsets(content["pinsets"], names, losses)
        listed = _list(content, "entries", dict)
    text = files[file].decode("utf-8", "replace")
    entries = []
    for each in listed:
        with located(file, _line_of(text, each.get("name"))):
            entries.append(_host(each, pinsets, losses))
    return Reading(pin_file([entry for entry in entries if entry]), tuple(losses))


def _line_of(text: str, name: object) -> int | None:
    """Find the line in which a name is a value; JSON's parser does not tell."""
    found = re.search(rf'"name"\s*:\s*{re.escape(json.dumps(name))}', text)
    return text.count("\n", 0, found.start()) + 1 if found else None


def _json(content: bytes, file: str) -> dict[str, Any]:
    """Read JSON with lines that are comments, and no name twice in an object."""
    try:
        lines = content.decode("utf-8").split("\n")
        text = "\n".join("" if line.lstrip().startswith("//") else line for line in lines)
        value = json.loads(text, object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        raise FormatError(f"not JSON: {error.msg}", file, error.lineno) from None
    except (ValueError, RecursionError) as error:
        raise FormatError(f"not JSON: {error}", file) from None
    if not isinstance(value, dict):
        raise FormatError("not a JSON object", file)
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    for name, times in Counter(name for name, _ in pairs).items():
        if times > 1:
            raise ValueError(f"{name!r} is there twice in one object")
    return dict(pairs)


def _expect(
    value: Mapping[str, Any], what: str, known: Sequence[str], required: Sequence[str]
) -> None:
    for name in value:
        if name not in known:
            raise FormatError(f"{what}: unknown key {name!r}")
    for name in required:
        if name not in value:
            raise FormatError(f"{what}: {name!r} is missing")


def _list(value: Mapping[str, Any], key: str, kind: type) -> list[Any]:
    listed = value.get(key, [])
    if not isinstance(listed, list) or not all(isinstance(each, kind) for each in listed):
        raise FormatError(f"{key} is a list of {'objects' if kind is dict else 'strings'}")
    return listed


def _pinsets(
    value: object, names: Mapping[str, Pin | None], losses: list[Loss]
) -> dict[str, tuple[list[Pin], list[Pin]]]:
    found: dict[str, tuple[list[Pin], list[Pin]]] = {}
    for each in _list({"pinsets": value}, "pinsets", dict):
        _expect(each, "a pinset", ("name", ALLOWED, FORBIDDEN, "report_uri"), ("name",))
        name = _string(each, "name")
        if name in found:
            raise FormatError(f"two pinsets are called {name!r}")
        found[name] = (
            [_named(key, names) for key in _list(each, ALLOWED, str)],
            [_named(key, names) for key in _list(each, FORBIDDEN, str)],
        )
        if "report_uri" in each:
            losses.append(loss("report-uri-not-carried"))
    return found


def _string(value: Mapping[str, Any], key: str) -> str:
    text = value[key]
    if not isinstance(text, str):
        raise FormatError(f"{key} is a string, not {text!r:.40}")
    return text


def _named(key: str, names: Mapping[str, Pin | None]) -> Pin:
    if key.startswith("sha256/"):
        return Pin(key)
    if key not in names:
        raise FormatError(f"no key is called {key!r}; give the folder that {PINS} is in, too")
    pin = names[key]
    if pin is None:
        raise FormatError(f"{key} is known by its SHA-1 only, which is no pin")
    return pin


def _host(
    entry: Mapping[str, Any],
    pinsets: Mapping[str, tuple[list[Pin], list[Pin]]],
    losses: list[Loss],
) -> HostEntry | None:
    _expect(entry, "an entry", ENTRY, ("name",))
    name = _string(entry, "name")
    for key in SUBDOMAINS:
        if not isinstance(entry.get(key, False), bool):
            raise FormatError(f"{name}: {key} is true or false")
    subdomains = any(entry.get(key) for key in SUBDOMAINS)
    if "pins" not in entry:
        return None  # for HSTS only
    pinset = _string(entry, "pins")
    if pinset not in pinsets:
        raise FormatError(f"{name}: no pinset is called {pinset!r}")
    allowed, forbidden = pinsets[pinset]
    if not allowed:
        raise FormatError(f"{name}: {pinset} allows no key, it only forbids some")
    without_wildcard(name, "; include_subdomains is for that")
    if subdomains and "." not in name:
        losses.append(loss("top-level-domain-left-out", name))
        return None
    pattern = f"**.{name}" if subdomains else name
    return HostEntry(pattern, dict.fromkeys(allowed), dict.fromkeys(forbidden))


def _keys(content: bytes, file: str) -> dict[str, Pin | None]:
    """Read the names of keys: a line with the name, then a pin, a certificate or a public key.

    A key that is given by its SHA-1 is None.
    """
    lines = content.decode("utf-8", "replace").replace("\r\n", "\n").split("\n")
    found: dict[str, Pin | None] = {}
    number = 0
    while number < len(lines):
        name, line = lines[number], number + 1
        number += 1
        if not name or name.startswith("#"):
            continue
        with located(file, line):
            if not NAME.fullmatch(name) or name in found:
                raise FormatError(f"not the name of a key, or one that is there: {name!r:.60}")
            value = "\n".join(lines[number:])
            text = value.partition("\n")[0]
            if name == TIMESTAMP:
                number += 1
            elif text.startswith("sha256/"):
                found[name] = Pin(text)
                number += 1
            elif text.startswith("sha1/"):
                found[name] = None
                number += 1
            elif pem := PEM.match(value):
                found[name] = _of_pem(pem, name)
                number += len(pem[0].splitlines())
            else:
                raise FormatError(f"{name}: neither sha256/… nor PEM follows")
    return found


def _of_pem(pem: re.Match[str], name: str) -> Pin:
    try:
        der = base64.b64decode("".join(pem[2].split()), validate=True)
        is_key = pem[1] == "PUBLIC KEY"
        return Pin.from_public_key(der) if is_key else Pin.from_certificate(der)
    except (binascii.Error, CertificateFormatError, PinFormatError) as error:
        raise FormatError(f"{name}: not readable: {error}") from None
