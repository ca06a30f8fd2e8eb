"""Commands, run inside the test and as programs of their own, and the authority that they trust."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from keypin.cli import main
from keypin.lab import Authority, Credential, Server

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NAMES = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Ended:
    """A command that ended."""

    code: int
    output: bytes
    error: str

    @property
    def text(self) -> str:
        assert b"\x1b" not in self.output
        return self.output.decode()

    @property
    def lines(self) -> list[str]:
        return [line.strip() for line in self.text.splitlines()]

    @property
    def json(self) -> Any:
        return json.loads(self.output)

    @property
    def result(self) -> Any:
        """The only result of `show --json`."""
        [result] = self.json["results"]
        return result


@pytest.fixture
def keypin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> Callable[..., Ended]:
    """Run a command in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> Ended:
        capsysbinary.readouterr()
        code = main([str(argument) for argument in arguments])
        output, error = capsysbinary.readouterr()
        assert b"\x1b" not in error
        return Ended(code, output, error.decode())

    return run


@pytest.fixture
def clean_environment() -> dict[str, str]:
    """This process's environment, without what changes the look of text."""
    changing = {"COLUMNS", "FORCE_COLOR", "GITHUB_ACTIONS", "NO_COLOR", "PY_COLORS", "TERM"}
    return {name: value for name, value in os.environ.items() if name not in changing}


@pytest.fixture
def keypin_process(tmp_path: Path, clean_environment: dict[str, str]) -> Callable[..., Ended]:
    """Run a command as `python -m keypin`, with warnings as errors."""

    def run(*arguments: object, input: bytes = b"", **environment: str) -> Ended:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-m", "keypin", *map(str, arguments)],
            cwd=tmp_path,
            env={**clean_environment, **environment},
            input=input,
            capture_output=True,
            timeout=60,
        )
        return Ended(done.returncode, done.stdout, done.stderr.decode())

    return run


@pytest.fixture(scope="session")
def root() -> Authority:
    return Authority("trusted root")


@pytest.fixture(scope="session")
def issuing(root: Authority) -> Authority:
    return root.intermediate("issuing CA")


@pytest.fixture(scope="session")
def credential(issuing: Authority) -> Credential:
    return issuing.issue(*NAMES)


@pytest.fixture(scope="session")
def cafile(root: Authority, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("authority") / "ca.pem"
    file.write_text(root.pem)
    return file


@pytest.fixture(params=["1.2", "1.3"])
def tls(request: pytest.FixtureRequest) -> Any:
    """Each version of TLS."""
    return request.param


@pytest.fixture
def server(credential: Credential, tls: Any) -> Any:
    """A server that the authority vouches for."""
    with Server(credential, tls=[tls]) as server:
        yield server
