"""Runs of other people's programs: with a time limit, with all that they start, output kept."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["Commands", "Ended", "Stopped", "fill", "places_in"]

# {{name}} is {name} as it stands; of %{name} and ${name} curl and shells make something themselves.
PLACE = re.compile(r"\{(\{\w+\})\}|(?<![%$])\{(\w+)\}")
KEPT_LINES = 20
KEPT_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run of a command ended."""

    exit_code: int | None
    """None where it had to be ended; negative for a signal"""
    seconds: float
    output: list[str]
    """the last lines"""

    def __str__(self) -> str:
        if self.exit_code is None:
            return f"it was still running after {self.seconds:.1f} s (--timeout)"
        if self.exit_code < 0:
            return f"it was ended by signal {-self.exit_code}"
        return f"its exit code was {self.exit_code}"


class Stopped(Exception):
    """Commands are no longer run."""


class Commands:
    """Runs commands, from any number of threads, and can end all of them."""

    def __init__(self) -> None:
        self._changing = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._stopped = False

    def run(self, words: Sequence[str], environment: Mapping[str, str], timeout: float) -> Ended:
        """Run a command to its end, and then end what it has left running.

        Args:
            words: the program and its arguments.
            environment: all of it.
            timeout: in seconds.

        Raises:
            OSError: it cannot be run.
            Stopped: by `stop`, before or meanwhile.
        """
        with tempfile.TemporaryFile() as output:
            began = time.monotonic()
            process = self._start(words, environment, output)
            try:
                exit_code: int | None = process.wait(timeout)
            except subprocess.TimeoutExpired:
                exit_code = None
            finally:
                self._end(process)
            if self._stopped:
                raise Stopped
            return Ended(exit_code, time.monotonic() - began, _last_lines(output))

    def stop(self) -> None:
        """End all commands, and run no more."""
        with self._changing:
            self._stopped = True
            for process in self._running:
                _kill(process)

    def _start(
        self, words: Sequence[str], environment: Mapping[str, str], output: IO[bytes]
    ) -> subprocess.Popen[bytes]:
        with self._changing:
            if self._stopped:
                raise Stopped
            process = subprocess.Popen(  # noqa: S603 - what the user said
                words,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # so that what it starts can be ended with it
            )
            self._running.add(process)
            return process

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        with self._changing:
            _kill(process)
            process.wait()
            self._running.discard(process)


def fill(words: Iterable[str], places: Mapping[str, str]) -> list[str]:
    """The words of a command with what stands for each `{place}`, and `{name}` for `{{name}}`.

    Unknown places stay.
    """
    return [
        PLACE.sub(lambda found: found[1] or places.get(found[2], found[0]), word) for word in words
    ]


def places_in(words: Iterable[str]) -> set[str]:
    """The names of all places in a command."""
    return {found[2] for word in words for found in PLACE.finditer(word) if found[2]}


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a process, and those that it has started and that are still running."""
    if sys.platform != "win32":
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    elif process.poll() is None:
        process.kill()


def _last_lines(output: IO[bytes]) -> list[str]:
    size = output.seek(0, os.SEEK_END)
    output.seek(max(0, size - KEPT_BYTES))
    return output.read().decode(errors="replace").splitlines()[-KEPT_LINES:]
