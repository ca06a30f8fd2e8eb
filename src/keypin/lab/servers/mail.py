"""Mail servers that take every password and every message, and forget them: SMTP and IMAP."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .streams import Disconnected

if TYPE_CHECKING:
    import io
    from collections.abc import Iterator

    from .streams import Channel

__all__ = ["CLEAR_COMMANDS", "Imap", "Smtp", "beyond_clear"]

CLEAR_COMMANDS = frozenset(
    {b"EHLO", b"HELO", b"CAPABILITY", b"STARTTLS", b"NOOP", b"QUIT", b"LOGOUT"}
)
"""What a client may say before TLS that insists on it: who it is, what it asks for, and goodbye."""

CAPABILITIES = b"* CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR\r\n"
CLIENT_HELLO = re.compile(rb"^\x16\x03", re.MULTILINE)  # RFC 8446, section 5.1
LINE_LIMIT = 64 * 1024


@dataclass(frozen=True, slots=True)
class Smtp:
    """SMTP submission (RFC 5321, RFC 4954, RFC 3207); an Application, and a Preamble.

    Args:
        starttls: the answer to STARTTLS before TLS; "220" lets TLS begin, and after any other the
            conversation goes on in the clear. None: STARTTLS is neither offered nor known.
        injected: what an attacker in the path appends to that answer.
        hangs_up: say nothing inside TLS, and end at the first command there.
    """

    starttls: bytes | None = b"220 2.0.0 begin TLS"
    injected: bytes = b""
    hangs_up: bool = False

    def before_tls(self, channel: Channel) -> bool:
        """Talk in the clear; return whether TLS shall begin."""
        channel.sendall(b"220 mail.example ESMTP\r\n")
        return self._serve(channel, clear=True)

    def __call__(self, channel: Channel) -> None:
        """Talk inside TLS, where the client begins."""
        self._serve(channel, clear=False)

    def _serve(self, channel: Channel, *, clear: bool) -> bool:
        reader = channel.reader()
        starttls = self.starttls if clear else None
        for line in _lines(reader):
            verb, _, rest = line.strip().partition(b" ")
            verb = verb.upper()
            if verb == b"STARTTLS" and starttls is not None:
                channel.sendall(starttls + b"\r\n" + self.injected)
                if starttls.startswith(b"220"):
                    return True
            elif self.hangs_up and not clear:
                return False
            else:
                channel.sendall(_smtp_answer(verb, rest, reader, channel, starttls))
                if verb == b"QUIT":
                    return False
        return False


def _smtp_answer(
    verb: bytes, rest: bytes, reader: io.BufferedReader, channel: Channel, starttls: bytes | None
) -> bytes:
    match verb:
        case b"EHLO":
            offered = [b"mail.example", b"STARTTLS", b"AUTH PLAIN LOGIN"]
            if starttls is None:
                offered.remove(b"STARTTLS")
            return b"".join(b"250-%s\r\n" % line for line in offered) + b"250 8BITMIME\r\n"
        case b"AUTH":
            mechanism, _, first = rest.partition(b" ")
            # LOGIN asks for the name and the password, PLAIN for both at once
            for _ in range((2 if mechanism.upper() == b"LOGIN" else 1) - bool(first)):
                channel.sendall(b"334 \r\n")
                _line(reader)
            return b"235 2.7.0 welcome\r\n"
        case b"DATA":
            channel.sendall(b"354 go ahead\r\n")
            while _line(reader).rstrip(b"\r\n") != b".":
                pass
            return b"250 2.0.0 taken\r\n"
        case b"QUIT":
            return b"221 2.0.0 bye\r\n"
        case b"STARTTLS":
            return b"502 5.5.1 not known here\r\n"
    return b"250 2.0.0 ok\r\n"


@dataclass(frozen=True, slots=True)
class Imap:
    """IMAP4rev1 (RFC 3501; RFC 9051) with an empty mailbox; an Application, and a Preamble.

    Args:
        starttls: the tagged answer to STARTTLS before TLS; "OK" lets TLS begin, and after any other
            the conversation goes on in the clear. None: STARTTLS is neither offered nor known.
        injected: how many of the commands to come an attacker in the path answers with OK, to the
            tags that it expects, together with that answer.
        early: answer STARTTLS before it is asked, together with the command before it, and then
            not any more; the conversation goes on in the clear.
        greeting: "OK", or "PREAUTH" for a client that has nothing to log in for.
        hangs_up: say nothing inside TLS, and end at the first command there.
    """

    starttls: bytes | None = b"OK begin TLS"
    injected: int = 0
    early: bool = False
    greeting: bytes = b"OK"
    hangs_up: bool = False

    def before_tls(self, channel: Channel) -> bool:
        """Talk in the clear; return whether TLS shall begin."""
        channel.sendall(b"* %s ready\r\n" % self.greeting)
        return self._serve(channel, clear=True)

    def __call__(self, channel: Channel) -> None:
        """Talk inside TLS, where the client begins."""
        self._serve(channel, clear=False)

    def _serve(self, channel: Channel, *, clear: bool) -> bool:
        reader = channel.reader()
        starttls = self.starttls if clear else None
        for line in _lines(reader):
            tag, _, command = line.strip().partition(b" ")
            verb = command.partition(b" ")[0].upper()
            if verb == b"STARTTLS" and starttls is not None:
                if self.early:
                    continue
                injected = b"".join(
                    b"%s%s OK done\r\n" % (CAPABILITIES, expected)
                    for expected in _next_tags(tag, self.injected)
                )
                channel.sendall(b"%s %s\r\n%s" % (tag, starttls, injected))
                if starttls.startswith(b"OK"):
                    return True
            elif self.hangs_up and not clear:
                return False
            else:
                answer = _imap_answer(tag, verb, command, reader, channel, starttls)
                if self.early and starttls is not None:
                    answer += b"".join(b"%s %s\r\n" % (it, starttls) for it in _next_tags(tag, 1))
                channel.sendall(answer)
                if verb == b"LOGOUT":
                    return False
        return False


def _imap_answer(
    tag: bytes,
    verb: bytes,
    command: bytes,
    reader: io.BufferedReader,
    channel: Channel,
    starttls: bytes | None,
) -> bytes:
    # literals (RFC 9051, section 4.3), and what follows each of them
    while literal := re.search(rb"\{(\d{1,9})(\+?)\}$", command):
        if not literal[2]:
            channel.sendall(b"+ go ahead\r\n")
        reader.read(int(literal[1]))
        command = _line(reader).strip()
    untagged = b""
    match verb:
        case b"CAPABILITY":
            untagged = CAPABILITIES
            if starttls is not None:
                untagged = CAPABILITIES.replace(b" AUTH", b" STARTTLS AUTH")
        case b"AUTHENTICATE" if command.count(b" ") == 1:
            channel.sendall(b"+ \r\n")
            _line(reader)
        case b"SELECT" | b"EXAMINE":
            untagged = b"* FLAGS ()\r\n* 0 EXISTS\r\n* 0 RECENT\r\n* OK [UIDVALIDITY 1] ok\r\n"
        case b"LIST":
            untagged = b'* LIST () "/" INBOX\r\n'
        case b"LOGOUT":
            untagged = b"* BYE\r\n"
        case b"STARTTLS":
            return tag + b" BAD not known here\r\n"
    return untagged + tag + b" OK done\r\n"


def beyond_clear(data: bytes) -> list[bytes]:
    """Tell the commands among these lines, until TLS begins, that only TLS may carry.

    Returns:
        The first word of each line, or the second one of IMAP, where a tag comes first.
    """
    said = []
    for line in CLIENT_HELLO.split(data)[0].upper().splitlines():
        words = line.split()
        if words and not CLEAR_COMMANDS.intersection(words[:2]):
            said.append(words[1] if words[0][-1:].isdigit() and len(words) > 1 else words[0])
    return said


def _next_tags(tag: bytes, count: int) -> list[bytes]:
    """The tags of the commands to come, which clients number (RFC 9051, section 2.2.1)."""
    number = re.search(rb"\d+$", tag)
    if number is None:
        return []
    digits = len(number[0])
    return [tag[:-digits] + b"%0*d" % (digits, int(number[0]) + i) for i in range(1, count + 1)]


def _lines(reader: io.BufferedReader) -> Iterator[bytes]:
    """The lines that come, until the client ends or begins TLS without having been asked to."""
    while not CLIENT_HELLO.match(reader.peek(2)):
        line = reader.readline(LINE_LIMIT)
        if not line:
            return
        yield line


def _line(reader: io.BufferedReader) -> bytes:
    line = reader.readline(LINE_LIMIT)
    if not line:
        raise Disconnected
    return line
