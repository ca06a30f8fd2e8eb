"""curl: a command line for each host, with --pinnedpubkey.

https://curl.se/docs/manpage.html and CURLOPT_PINNEDPUBLICKEY(3): the server's own key is compared
with a list of `sha256//` pins, after the handshake; the option holds for all that one command
talks to, so that there are no patterns, exclusions and modes; without --insecure, CA and host name
are checked as well. curl ends with 90 on a mismatch.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ..pin import Pin
from ..pinfile import HostEntry
from ..pinset import PinSet, Rule
from ._conversion import Draft, FormatError, Reading, located, pin_file, text_of, without_wildcard
from ._domains import exact_hosts
from ._losses import loss
from .okhttp import url_host

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..pinfile import PinFile
    from ._conversion import Certificates, Files

__all__ = ["TITLE", "export", "read"]

TITLE = "curl"
FILE = "pins.sh"
HEAD = """# Written by keypin export curl: change the pin file instead.
# The pins hold for all that one command talks to, other hosts that a redirect leads to included.
"""

# what neither takes an argument nor touches the checks
PLAIN_OPTIONS = {"-s", "-S", "-sS", "-f", "-i", "-I", "-v", "--silent", "--show-error", "--fail"}
OPTIONS_WITH_ARGUMENT = {"-o", "--output", "-H", "--header", "-X", "--request", "-d", "--data"}
ONLY_HTTPS = {"=https", "https"}
REFUSED = {
    "-k": "switches the checks off that pins add to",
    "--insecure": "switches the checks off that pins add to",
    "-L": "leads to other hosts, for which the pins hold, too",
    "--location": "leads to other hosts, for which the pins hold, too",
    "-K": "reads options from a file",
    "--config": "reads options from a file",
}


def export(pins: PinFile, certificates: Certificates) -> Draft:
    """Write the commands, one line each."""
    exact = exact_hosts(pins)
    lines = [
        f"curl --proto '=https' --pinnedpubkey '{_list(rule.pins)}' 'https://{url_host(host)}/'\n"
        for host, rule in exact.items()
    ]
    meaning = PinSet([Rule(host, rule.pins, match="leaf") for host, rule in exact.items()])
    files = {FILE: (HEAD + "".join(lines)).encode()}
    return Draft(files, meaning, (loss("client-certificate-shown", target=TITLE),))


def _list(pins: Sequence[Pin]) -> str:
    return ";".join(str(pin).replace("sha256/", "sha256//", 1) for pin in pins)


def read(files: Files, hosts: Sequence[str]) -> Reading:
    """Read command lines, of which each stands on a line of its own."""
    name, text = text_of(files)
    found: dict[str, HostEntry] = {}
    anchors = False
    for number, line in enumerate(text.splitlines(), 1):
        try:
            words = shlex.split(line, comments=True)
        except ValueError as error:
            raise FormatError(f"not a command: {error}", name, number) from None
        if not words:
            continue
        command = _Command(words, name, number)
        anchors |= command.has_anchors
        entry = command.entry()
        if found.setdefault(entry.name, entry) != entry:
            raise FormatError(f"other pins for {entry.name} than above", name, number)
    losses = (loss("trust-anchors-not-carried"),) if anchors else ()
    return Reading(pin_file(found.values()), losses)


class _Command:
    """One command line."""

    def __init__(self, words: Sequence[str], file: str, line: int) -> None:
        self.file = file
        self.line = line
        self.urls: list[str] = []
        self.pins: str | None = None
        self.has_anchors = False
        rest = iter(words)
        if next(rest) != "curl":
            raise self.refuse(f"not a curl command: {words[0]!r:.40}")
        for word in rest:
            self._take(word, rest)

    def refuse(self, text: str) -> FormatError:
        return FormatError(text, self.file, self.line)

    def _take(self, word: str, rest: Iterator[str]) -> None:
        if not word.startswith("-"):
            self.urls.append(word)
        elif word in REFUSED:
            raise self.refuse(f"{word} {REFUSED[word]}: no rule says that")
        elif word not in PLAIN_OPTIONS:
            self._take_with_argument(word, next(rest, None))

    def _take_with_argument(self, word: str, value: str | None) -> None:
        if value is None:
            raise self.refuse(f"{word}: nothing follows, or not an option that is read here")
        if word == "--pinnedpubkey" and self.pins is None:
            self.pins = value
        elif word in ("--cacert", "--capath"):
            self.has_anchors = True
        elif word == "--url":
            self.urls.append(value)
        elif word not in OPTIONS_WITH_ARGUMENT and not (word == "--proto" and value in ONLY_HTTPS):
            raise self.refuse(f"{word} is not an option that is read here")

    def entry(self) -> HostEntry:
        """The host that the command is for."""
        if self.pins is None:
            raise self.refuse("no --pinnedpubkey")
        if len(self.urls) != 1:
            raise self.refuse(f"one URL is read, not {len(self.urls)}")
        try:
            url = urlsplit(self.urls[0])
            host = url.hostname
        except ValueError as error:
            raise self.refuse(f"not a URL: {error}") from None
        if url.scheme != "https" or not host:
            raise self.refuse(f"not an https URL: {self.urls[0]!r:.60}")
        if not self.pins.startswith("sha256//"):
            raise self.refuse("--pinnedpubkey with a key file: write its pin, sha256//BASE64")
        with located(self.file, self.line):
            without_wildcard(host)
            return HostEntry(host, dict.fromkeys(map(Pin, self.pins.split(";"))), match="leaf")
