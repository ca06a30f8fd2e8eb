"""Programs that know nothing of keypin, started with pins, against a right and a wrong server.

`program.py` prints what became of a request to each: `PINNED` is what it prints where the pins
hold, `UNPINNED` where they do not.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import keypin
from keypin.startup import inheritance as _inheritance

if TYPE_CHECKING:
    from keypin.lab import Server

PINNED = "200 PinMismatch"
UNPINNED = "200 200"
BOOTSTRAP = Path(keypin.__file__).parent / "_bootstrap"
HOOK = Path(__file__).parents[2] / "src" / "keypin.pth"

PROGRAM = """
import logging, os, urllib.error, urllib.request

# refusals would be told of on standard error
logging.getLogger("keypin").addHandler(logging.NullHandler())

def request(name):
    try:
        with urllib.request.urlopen(os.environ[name], timeout=20) as response:
            return str(response.status)
    except urllib.error.URLError as error:
        return type(error.reason).__name__

def requests():
    return request("RIGHT") + " " + request("WRONG")

if __name__ == "__main__":
    print(requests(), flush=True)
"""


@dataclass(frozen=True)
class Scene:
    """A folder with the program and the pin file, the servers, and an environment to begin with."""

    folder: Path
    right: Server
    wrong: Server
    environment: dict[str, str]

    @property
    def pins(self) -> Path:
        return self.folder / "pins.toml"

    @property
    def program(self) -> Path:
        return self.folder / "program.py"

    @property
    def mark(self) -> Path:
        """What a program makes that must not run."""
        return self.folder / "it-ran"

    @property
    def pinning(self) -> dict[str, str]:
        """The environment that `keypin run` makes."""
        environment = self.environment.copy()
        _inheritance.propagate_pins(environment, str(self.pins))
        return environment

    def write(self, name: str, text: str) -> Path:
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def script(self, name: str, text: str, interpreter: str) -> Path:
        """A file that can be run."""
        file = self.write(name, f"#!{interpreter}\n{text}")
        file.chmod(0o755)
        return file

    def start(
        self, *command: object, environment: dict[str, str] | None = None, **more: object
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the environment that `keypin run` makes, or in this one."""
        words = [os.fspath(word) if isinstance(word, Path) else str(word) for word in command]
        text = more.pop("input", None)
        with subprocess.Popen(
            words,
            cwd=self.folder,
            env=self.pinning if environment is None else environment,
            stdin=None if text is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            **more,
        ) as process:
            try:
                said = process.communicate(text, timeout=60)
            except BaseException:
                # those it started, too: one that hangs would keep the pipes open
                os.killpg(process.pid, signal.SIGKILL)
                raise
        return subprocess.CompletedProcess(words, process.returncode, *said)

    def settled_bytes(self) -> tuple[int, int]:
        """What the servers received, once all connections have ended."""
        self.right.settle()
        self.wrong.settle()
        return self.right.application_bytes, self.wrong.application_bytes

    def assert_pinned(self, done: subprocess.CompletedProcess[str], times: int = 1) -> None:
        """The right server was asked, so many times, and the wrong one tried and told nothing."""
        assert (done.stdout.splitlines(), done.returncode) == ([PINNED] * times, 0), done.stderr
        right, wrong = self.settled_bytes()
        assert right > 0
        assert len(self.wrong.connections) == times
        assert wrong == 0

    def assert_not_run(self, done: subprocess.CompletedProcess[str], *said: str) -> None:
        """The process ended before its program began, and said why."""
        assert done.returncode == 78, (done.stdout, done.stderr)
        assert done.stdout == ""
        assert done.stderr.startswith("keypin: "), done.stderr
        for part in said:
            assert part in done.stderr
        assert not self.mark.exists()

    @property
    def marking(self) -> str:
        """A program that leaves the mark."""
        return f"open({str(self.mark)!r}, 'w')"


def with_keypin(scene: Scene) -> dict[str, str]:
    """The environment to begin with, for an interpreter that finds keypin, and no pins."""
    return scene.environment | {"PYTHONPATH": _inheritance._packages()}


def make_environment(folder: Path) -> Path:
    """Make a virtual environment without any package; return its interpreter."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True, timeout=60)
    return folder / "bin" / "python"


def site_packages(python: Path) -> Path:
    [folder] = python.parents[1].glob("lib/python*/site-packages")
    return folder


@cache
def interpreters() -> dict[tuple[int, ...], Path]:
    """The Pythons of this machine, this one included, one of each version."""
    home = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    candidates = [*home.glob("versions/*/bin/python"), Path(sys.executable)]
    candidates += [Path(path) for name in ("python2", "python3") if (path := shutil.which(name))]
    found = {}
    for candidate in candidates:
        ask = [candidate, "-c", "import sys; print('%d %d' % sys.version_info[:2])"]
        answer = subprocess.run(ask, capture_output=True, text=True, timeout=60)
        if answer.returncode == 0:  # pyenv's shims may have nothing behind them
            found[tuple(map(int, answer.stdout.split()))] = candidate
    return found
