"""Servers of protocols that go line by line: a greeting, and an answer to each command."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from keypin.lab import Channel, Preamble

__all__ = ["Dialogue"]


@dataclass(frozen=True, slots=True)
class Dialogue:
    """What a server says; an Application.

    Args:
        greeting: said first; may be nothing.
        answer: makes the answer, which may be nothing, to a line without its end.
    """

    greeting: bytes
    answer: Callable[[bytes], bytes]

    def __call__(self, channel: Channel) -> None:
        """Serve a connection."""
        self._serve(channel, self.greeting, None)

    def after_tls(self, channel: Channel) -> None:
        """Go on without another greeting; the Application behind `before_tls`."""
        self._serve(channel, b"", None)

    def before_tls(self, command: bytes) -> Preamble:
        """Begin in the clear, until a line with this command (in upper case) is answered."""
        return lambda channel: self._serve(channel, self.greeting, command)

    def _serve(self, channel: Channel, greeting: bytes, last: bytes | None) -> bool:
        if greeting:
            channel.sendall(greeting)
        for line in channel.reader():
            if answer := self.answer(line.rstrip(b"\r\n")):
                channel.sendall(answer)
            if last is not None and last in line.upper():
                return True
        return False
