"""What keypin raises, but for `PinMismatch`: mistakes in what the program gave, raised early."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ._internal.text import LONGEST_TEXT, and_more, cut

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


__all__ = [
    "CertificateFormatError",
    "CertificateNotFound",
    "HostnameError",
    "KeypinError",
    "MissingExtra",
    "NotPinned",
    "PinFileError",
    "PinFileProblem",
    "PinFormatError",
    "PinSetError",
    "PlainHTTPRefused",
    "ProcessRefused",
    "ProtectionError",
    "UncoveredClient",
]

LONGEST_PROBLEM = 1500  # characters that are shown of one with a pin file
LONGEST_FILE_NAME = 1000


class KeypinError(Exception):
    """Everything that keypin raises of its own; no text is longer than 10,000 characters.

    Each can be pickled, copied and made anew, as `type(error)(*error.args)`.
    """

    def __str__(self) -> str:
        return cut(super().__str__(), LONGEST_TEXT)


class PinFormatError(KeypinError, ValueError):
    """A text that is not a SHA-256 pin, or bytes that are not a public key."""


class HostnameError(KeypinError, ValueError):
    """A host name or host pattern that means nothing."""


class PinSetError(KeypinError, ValueError):
    """Rules that contradict themselves or would pin less than they say."""


class PinFileProblem(NamedTuple):
    """One thing that is wrong with a pin file.

    Attributes:
        line: where, counted from 1; None for what is missing altogether, or has no line.
        key: what, as `host[2].pins[0].role`, counted from 0; None for the file as a whole.
        text: what is wrong with it, and what is allowed.
    """

    line: int | None
    key: str | None
    text: str

    def __str__(self) -> str:
        line = None if self.line is None else f"line {self.line}"
        return ": ".join(part for part in (line, self.key, self.text) if part is not None)


class PinFileError(PinSetError):
    """A pin file that cannot be read or written; the message lists the problems found.

    Attributes:
        name: the file, or the name that was given for its text; None if there is none.
        line: that of the first problem.
        key: that of the first problem.
        problems: all of them, each a `PinFileProblem`, in the order of the lines; the first 100
            of a file that has more.
    """

    name: str | None
    line: int | None
    key: str | None
    problems: tuple[PinFileProblem, ...]

    def __init__(self, name: str | None, problems: Iterable[PinFileProblem]) -> None:
        self.name = name
        # JSON, as Celery sends arguments, has lists only
        self.problems = tuple(PinFileProblem(*problem) for problem in problems)
        first = self.problems[0]
        self.line, self.key = first.line, first.key
        super().__init__(name, self.problems)

    def __str__(self) -> str:
        where = "pin file" if self.name is None else cut(self.name, LONGEST_FILE_NAME)
        if len(self.problems) == 1:
            separator = ": " if self.line is None else ", "
            return f"{where}{separator}{cut(str(self.problems[0]), LONGEST_PROBLEM)}"
        head = f"{where}: {len(self.problems)} problems"
        return "\n".join([head, *self._lines(LONGEST_TEXT - len(head) - 100)])

    def _lines(self, room: int) -> Iterator[str]:
        """A line for each problem, as long as there is room, and one for the others."""
        for number, problem in enumerate(self.problems):
            line = "  " + cut(str(problem), LONGEST_PROBLEM)
            room -= len(line) + 1
            if room < 0:
                yield from and_more(len(self.problems) - number, "problems")
                return
            yield line


class ProtectionError(KeypinError):
    """What keypin cannot guard, and therefore refuses to pretend to."""


class UncoveredClient(KeypinError, UserWarning, ImportError):
    """A library was imported whose TLS is not Python's `ssl`, so that no pins reach it.

    Given once per library and process, while pins are installed. Its message begins with the name
    of the library. Turned into an error it refuses the import, as if the library were missing:
    `warnings.simplefilter("error", keypin.UncoveredClient)`.
    """


class ProcessRefused(KeypinError, PermissionError):
    """A process was not started, because it would have gone without the pins of this one.

    To a program it looks like any other that cannot be started.
    """


class CertificateNotFound(KeypinError, FileNotFoundError):
    """A certificate file that is not among the program's certificates."""


class CertificateFormatError(KeypinError, ValueError):
    """A file or bytes that are not one CA-issued X.509 certificate in DER."""


class NotPinned(KeypinError):
    """A request of a client that needs a pin and has none yet."""


class PlainHTTPRefused(KeypinError):
    """A request, or the redirect of one, that would leave a pinned client without TLS."""


class MissingExtra(KeypinError, ImportError):
    """A part of keypin whose optional dependency is not installed."""
