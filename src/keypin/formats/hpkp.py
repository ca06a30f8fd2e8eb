"""HPKP: the header Public-Key-Pins of RFC 7469, one for each host.

A header is the host's own, so that its name stands in a comment above. Browsers learn the pins from
a connection that nothing pins (trust on first use), and forget them after max-age seconds; they
take no pins without a backup, and exempt CAs that were added on the device if they like
(sections 2.3 to 2.6). includeSubDomains covers any depth; a name's own pins come before those of
its parents. Report-only is a header of its own name. No browser obeys the headers any more;
programs that still read them are few.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ..pin import Pin
from ..pinfile import HostEntry
from ._conversion import Draft, FormatError, Reading, located, pin_file, text_of, without_wildcard
from ._domains import domains, is_public_name
from ._losses import loss

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..pinfile import PinFile
    from ._conversion import Certificates, Files, Loss
    from ._domains import Domain

__all__ = ["TITLE", "export", "read"]

TITLE = "HPKP"
FILE = "public-key-pins.txt"
MAX_AGE = 30 * 24 * 60 * 60
HEADER, REPORT_ONLY = "public-key-pins", "public-key-pins-report-only"
HOST = re.compile(r"#\s*host:\s*(\S+)\s*", re.IGNORECASE)
DIRECTIVE = re.compile(r'\s*([A-Za-z0-9-]+)\s*(?:=\s*(?:"([^"]*)"|([^\s";=]+))\s*)?(?:;|$)')


def export(pins: PinFile, certificates: Certificates) -> Draft:
    """Write the headers."""
    blocks = []
    losses = []
    for domain in domains(pins.rules()):
        if domain.pins and is_public_name(domain.name):
            blocks.append(_block(domain))
            days = MAX_AGE // (24 * 60 * 60)
            losses.append(loss("trust-on-first-use", domain.name, target=TITLE, days=days))
    if blocks:
        losses.append(loss("local-anchors-exempt", target=TITLE))
    files = {FILE: "\n".join(blocks).encode()}
    return Draft(files, read(files, ()).pins.pin_set(), tuple(losses))


def _block(domain: Domain) -> str:
    if len(domain.pins) < 2:
        raise FormatError(
            f"{domain.name} has one pin, and RFC 7469 (section 2.5) takes none without a backup:"
            " add one"
        )
    pins = "".join(f' pin-sha256="{str(pin).removeprefix("sha256/")}";' for pin in domain.pins)
    name = "Public-Key-Pins" if domain.enforce else "Public-Key-Pins-Report-Only"
    more = "; includeSubDomains" if domain.subdomains else ""
    return f"# host: {domain.name}\n{name}:{pins} max-age={MAX_AGE}{more}\n"


def read(files: Files, hosts: Sequence[str]) -> Reading:
    """Read headers; `hosts` name those that no comment `# host: NAME` above them names."""
    name, text = text_of(files)
    found: list[HostEntry] = []
    losses: list[Loss] = []
    above: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        if comment := HOST.fullmatch(line.strip()):
            above = [comment[1]]
        elif line.strip() and not line.lstrip().startswith("#"):
            named = above or list(hosts)
            if not named:
                raise FormatError("names no host: give it with --host NAME", name, number)
            for host in named:
                with located(name, number):
                    found.append(_host(host, line, losses))
            above = []
    return Reading(pin_file(found), tuple(losses))


def _host(host: str, line: str, losses: list[Loss]) -> HostEntry:
    without_wildcard(host, "; a header holds for the host that sent it")
    header, colon, value = line.strip().partition(":")
    if not colon or header.lower() not in (HEADER, REPORT_ONLY):
        raise FormatError(f"not a Public-Key-Pins header: {line.strip()[:60]!r}")
    pins: list[Pin] = []
    others: dict[str, str] = {}
    for directive, argument in _directives(value):
        if directive == "pin-sha256":
            pins.append(Pin(f'pin-sha256="{argument}"'))
        elif directive in others or directive not in ("max-age", "includesubdomains", "report-uri"):
            raise FormatError(f"the directive {directive} is not known, or there twice")
        else:
            others[directive] = argument
    if header.lower() == HEADER and not others.get("max-age", "").isdecimal():
        raise FormatError("max-age is missing, or not a number of seconds")
    if others.get("max-age", "1").strip("0") == "":
        raise FormatError("max-age=0 tells browsers to forget the pins")
    losses.append(loss("max-age-not-carried", host))
    if "report-uri" in others:
        losses.append(loss("report-uri-not-carried", host))
    return HostEntry(
        f"**.{host}" if "includesubdomains" in others else host,
        dict.fromkeys(pins),
        mode="report" if header.lower() == REPORT_ONLY else None,
    )


def _directives(value: str) -> list[tuple[str, str]]:
    found, position = [], 0
    while position < len(value.rstrip()):
        match = DIRECTIVE.match(value, position)
        if match is None:
            raise FormatError(f"not directives as in RFC 7469: {value[position:].strip()[:40]!r}")
        found.append((match[1].lower(), match[2] or match[3] or ""))
        position = match.end()
    return found
