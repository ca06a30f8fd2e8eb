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
    from collections.abc import Iterator, Sequence

    from ..pinfile import PinFile
    from ._conversion import Certificates, Files, Loss
    from ._domains import Domain

__all__ = ["TITLE", "export", "read"]

TITLE = "HPKP"
FILE = "public-key-pins.txt"
BACKSLASH = "\\"
MAX_AGE = 30 * 24 * 60 * 60
HEADER, REPORT_ONLY = "public-key-pins", "public-key-pins-report-only"
NAME = r"(?P<quote>[\"']?)(?P<name>Public-Key-Pins(?:-Report-Only)?)(?P=quote)"
VALUE = r"""(?P<value>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')"""
# What a line is: a header, as curl -I and -v show it, or a directive of nginx or Apache
HEADER_LINE = re.compile(r"(?:<\s*)?(?P<name>[\w-]+)\s*:(?P<value>.*)", re.DOTALL)
NGINX = re.compile(rf"add_header\s+{NAME}\s+{VALUE}(?:\s+always)?\s*;?", re.IGNORECASE)
APACHE = re.compile(
    rf"Header\s+(?:(?:always|onsuccess)\s+)?(?:set|add|append|merge|setifempty)\s+{NAME}\s+{VALUE}",
    re.IGNORECASE,
)
CUT_OFF = re.compile(
    rf"""(?:add_header|Header)\s.*?{NAME}\s*("(?:[^"\\]|\\.)*|'(?:[^'\\]|\\.)*)?""",
    re.IGNORECASE | re.DOTALL,
)
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
    """Read headers, from configurations as well; `hosts` are those that no `# host:` above names.

    Lines that say nothing of pins, such as other headers, are left out.
    """
    name, text = text_of(files)
    found: list[HostEntry] = []
    losses: list[Loss] = []
    above: list[str] = []
    for number, line in _lines(text):
        if comment := HOST.fullmatch(line):
            above = [comment[1]]
        elif not line.startswith("#"):
            with located(name, number):
                header = _header(line)
            if header is None:
                continue
            named = above or list(hosts)
            if not named:
                raise FormatError(
                    "names no host: give it with --host NAME, or as # host: NAME in a line above",
                    name,
                    number,
                )
            for host in named:
                with located(name, number, host=host):
                    found.append(_host(host, *header, losses))
            above = []
    return Reading(pin_file(found), tuple(losses))


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield lines without the blanks around them; a directive with all lines that it goes on in."""
    number, lines = 0, text.splitlines()
    while number < len(lines):
        start, line = number + 1, lines[number].strip()
        number += 1
        while number < len(lines) and (line.endswith(BACKSLASH) or CUT_OFF.fullmatch(line)):
            line = f"{line.removesuffix(BACKSLASH)} {lines[number].strip()}"
            number += 1
        if line:
            yield start, line


def _header(line: str) -> tuple[str, str] | None:
    """Return name and value of a header with pins; None for a line that has nothing to do with any.

    Raises:
        FormatError: it has to do with pins, but is no such header.
    """
    if found := NGINX.fullmatch(line) or APACHE.fullmatch(line):
        return found["name"].lower(), re.sub(r"\\(.)", r"\1", found["value"][1:-1])
    header = HEADER_LINE.fullmatch(line)
    if header and header["name"].lower() in (HEADER, REPORT_ONLY):
        return header["name"].lower(), header["value"]
    if "pin-sha" in line.lower() or HEADER in line.lower():
        raise FormatError(
            f"not a Public-Key-Pins header, nor a directive of nginx or Apache that sets one:"
            f" {line[:60]!r}"
        )
    return None


def _host(host: str, header: str, value: str, losses: list[Loss]) -> HostEntry:
    without_wildcard(host, "; a header holds for the host that sent it")
    pins: list[Pin] = []
    others: dict[str, str] = {}
    for directive, argument in _directives(value):
        if directive == "pin-sha256":
            pins.append(Pin(f'pin-sha256="{argument}"'))
        elif directive in others or directive not in ("max-age", "includesubdomains", "report-uri"):
            raise FormatError(f"{host}: the directive {directive} is not known, or there twice")
        else:
            others[directive] = argument
    if header == HEADER and not others.get("max-age", "").isdecimal():
        raise FormatError(f"{host}: max-age is missing, or not a number of seconds")
    if others.get("max-age", "1").strip("0") == "":
        raise FormatError(f"{host}: max-age=0 tells browsers to forget the pins")
    losses.append(loss("max-age-not-carried", host))
    if len(set(pins)) == 1:
        losses.append(loss("single-pin-ignored", host))
    if "report-uri" in others:
        losses.append(loss("report-uri-not-carried", host))
    return HostEntry(
        f"**.{host}" if "includesubdomains" in others else host,
        dict.fromkeys(pins),
        mode="report" if header == REPORT_ONLY else None,
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
