"""curl: a command line for each host, with --pinnedpubkey.

https://curl.se/docs/manpage.html and CURLOPT_PINNEDPUBLICKEY(3): the server's own key is compared
with a list of `sha256//` pins, after the handshake; the option holds for all that one command
talks to, so that there are no patterns, exclusions and modes; without --insecure, CA and host name
are checked as well. curl ends with 90 on a mismatch.
"""

from __future__ import annotations

import re
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

# Options that do not touch the checks: without an argument, and with one
PLAIN_OPTIONS = {
    *(f"-{letter}" for letter in "sSfiIvgGNOJR46#"),
    "--silent", "--show-error", "--fail", "--fail-with-body", "--include", "--head", "--verbose",
    "--globoff", "--get", "--no-buffer", "--remote-name", "--remote-header-name", "--remote-time",
    "--ipv4", "--ipv6", "--progress-bar", "--no-progress-meter", "--compressed", "--create-dirs",
    "--http1.1", "--http2", "--path-as-is", "--ssl-reqd", "--retry-all-errors", "--fail-early",
    "--tlsv1", "--tlsv1.0", "--tlsv1.1", "--tlsv1.2", "--tlsv1.3", "--cert-status",
}  # fmt: skip
OPTIONS_WITH_ARGUMENT = {
    *(f"-{letter}" for letter in "oHXdAbcuemwTFrEx"),
    "--output", "--header", "--request", "--data", "--data-raw", "--data-binary", "--json",
    "--data-urlencode", "--user-agent", "--cookie", "--cookie-jar", "--user", "--referer",
    "--max-time", "--connect-timeout", "--write-out", "--upload-file", "--form", "--range",
    "--cert", "--cert-type", "--key", "--key-type", "--pass", "--proxy", "--noproxy",
    "--retry", "--retry-delay", "--retry-max-time", "--tls-max", "--ciphers", "--tls13-ciphers",
    "--curves", "--oauth2-bearer",
}  # fmt: skip
OWN_OPTIONS = {"--pinnedpubkey", "--cacert", "--capath", "--url", "--proto"}
ONLY_HTTPS = {"=https", "https"}
REFUSED = {
    "-k": "switches the checks off that pins add to",
    "--insecure": "switches the checks off that pins add to",
    "-L": "leads to other hosts, for which the pins hold, too",
    "--location": "leads to other hosts, for which the pins hold, too",
    "--location-trusted": "leads to other hosts, for which the pins hold, too",
    "-K": "reads options from a file",
    "--config": "reads options from a file",
    "-:": "begins another request",
    "--next": "begins another request",
}
# What a shell takes as one: quoted text, an escaped character, a comment, the end of a line.
# Numbers of streams are left out with the comments.
SHELL = re.compile(
    r"""'[^']*'|"(?:[^"\\]|\\.)*"|\\(?P<next>\r?\n)|\\.|(?<![^\s;&|])(?P<left_out>\#[^\n]*|[0-9]?>&[0-9]|[0-9](?=>))|(?P<end>\n)|.""",
    re.DOTALL | re.VERBOSE,
)


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
    """Read command lines; a backslash at its end continues a line."""
    name, text = text_of(files)
    found: dict[str, HostEntry] = {}
    anchors = False
    for number, line in _lines(text):
        try:
            lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
            lexer.whitespace_split, lexer.commenters = True, ""
            words = list(lexer)
        except ValueError as error:
            raise FormatError(f"not a command: {error}", name, number) from None
        command = _Command(words, name, number)
        anchors |= command.has_anchors
        entry = command.entry()
        if found.setdefault(entry.name, entry) != entry:
            raise FormatError(f"other pins for {entry.name} than above", name, number)
    losses = (loss("trust-anchors-not-carried"),) if anchors else ()
    return Reading(pin_file(found.values()), losses)


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield each command without comments, with the line that it begins in."""
    line, start, parts = 1, 1, list[str]()
    for found in SHELL.finditer(text + "\n"):
        if found["end"]:
            if content := "".join(parts).strip():
                yield start, content
            parts = []
        elif not found["next"] and not found["left_out"]:
            if not "".join(parts).strip():
                start = line
            parts.append(found[0])
        line += found[0].count("\n")
    if parts:
        yield start, "".join(parts)


class _Command:
    """One command line."""

    def __init__(self, words: Sequence[str], file: str, line: int) -> None:
        self.file = file
        self.line = line
        self.urls: list[str] = []
        self.pins: str | None = None
        self.has_anchors = False
        rest = iter(words)
        if next(rest).rpartition("/")[2] != "curl":
            raise self.refuse(f"not a curl command: {words[0]!r:.40}")
        for word in rest:
            if word == "|":
                break  # what reads the output
            self._take(word, rest)

    def refuse(self, text: str) -> FormatError:
        return FormatError(text, self.file, self.line)

    def _take(self, word: str, rest: Iterator[str]) -> None:
        if set(word) <= set("|&;<>"):
            if not set(word) <= set("<>"):
                raise self.refuse(f"{word}: write each command on a line of its own")
            next(rest, None)  # a file
        elif word.startswith("--"):
            self._option(word, "", rest)
        elif word.startswith("-") and word != "-":
            self._short_options(word, rest)
        else:
            self.urls.append(word)

    def _short_options(self, word: str, rest: Iterator[str]) -> None:
        """Take `-sSo file` apart: of several letters, the last may have an argument."""
        letters = word[1:]
        while letters:
            letter, letters = letters[0], letters[1:]
            if self._option(f"-{letter}", letters, rest):
                break

    def _option(self, option: str, joined: str, rest: Iterator[str]) -> bool:
        """Take an option, with what is joined to it; return whether it has an argument."""
        if option in REFUSED:
            raise self.refuse(f"{option} {REFUSED[option]}: no rule says that")
        if option in PLAIN_OPTIONS:
            return False
        if option not in OPTIONS_WITH_ARGUMENT | OWN_OPTIONS:
            raise self.refuse(f"{option} is not an option that is read here")
        value = joined or next(rest, None)
        if value is None:
            raise self.refuse(f"{option}: nothing follows")
        if option == "--pinnedpubkey":
            if self.pins is not None:
                raise self.refuse(f"{option} is not an option that is read twice")
            self.pins = value
        elif option in ("--cacert", "--capath"):
            self.has_anchors = True
        elif option == "--url":
            self.urls.append(value)
        elif option == "--proto" and value not in ONLY_HTTPS:
            raise self.refuse(f"{option} is not an option that is read here with {value!r:.40}")
        return True

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
        pins = self.pins.split(";")
        if not pins[0].startswith("sha256//"):
            raise self.refuse("--pinnedpubkey with a key file: write its pin, sha256//BASE64")
        for pin in pins:
            if not pin.startswith("sha256//"):  # to curl it is part of the one before, or nothing
                raise self.refuse(f"not a pin to curl, sha256//BASE64: {pin!r:.80}")
        with located(self.file, self.line, host=host):
            without_wildcard(host)
            return HostEntry(host, dict.fromkeys(map(Pin, pins)), match="leaf")
