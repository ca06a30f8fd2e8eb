"""Pin files for lab servers, and `keypin check` run on them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from check_scene import HOST

from keypin import Pin
from keypin.cli import main
from keypin.lab import Authority, Credential, new_key
from keypin.pinfile import PinEntry, PinFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from keypin.pinfile import HostEntry


@dataclass(frozen=True)
class Checked:
    """What a run of `keypin check --json` found."""

    code: int
    found: list[dict[str, Any]]
    servers: list[dict[str, Any]]
    error: str

    def of(self, code: str) -> list[dict[str, Any]]:
        """The findings of a kind."""
        return [finding for finding in self.found if finding["code"] == code]

    def one(self, code: str) -> dict[str, Any]:
        """The only finding of a kind."""
        [finding] = self.of(code)
        return finding

    @property
    def kinds(self) -> set[tuple[str, str]]:
        """Severity and kind of all findings."""
        return {(finding["severity"], finding["code"]) for finding in self.found}

    @property
    def trouble(self) -> set[tuple[str, str]]:
        """The same without the good ones."""
        return {(severity, code) for severity, code in self.kinds if severity != "ok"}


@pytest.fixture(scope="session")
def root() -> Authority:
    return Authority("trusted root")


@pytest.fixture(scope="session")
def issuing(root: Authority) -> Authority:
    return root.intermediate("issuing CA")


@pytest.fixture(scope="session")
def credential(issuing: Authority) -> Credential:
    return issuing.issue(HOST)


@pytest.fixture(scope="session")
def rsa(issuing: Authority) -> Credential:
    return issuing.issue(HOST, key="rsa-2048")


@pytest.fixture(scope="session")
def backup() -> PinEntry:
    return PinEntry(Pin.from_public_key(new_key().spki), "backup", "offline")


@pytest.fixture
def folder(tmp_path: Path, root: Authority, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with the authority that clients trust."""
    tmp_path.joinpath("ca.pem").write_text(root.pem)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def keypin_check(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Run `keypin check` on the entries of a pin file; exit code and what it wrote."""

    def run(hosts: Iterable[HostEntry], *arguments: object, **more: Any) -> tuple[int, str, str]:
        PinFile(hosts, **more).dump(folder / "pins.toml")
        capsys.readouterr()
        code = main(["check", "--cafile", "ca.pem", *map(str, arguments)])
        output, error = capsys.readouterr()
        return code, output, error

    return run


@pytest.fixture
def check(keypin_check: Callable[..., tuple[int, str, str]]) -> Callable[..., Checked]:
    """Run it, and read its JSON."""

    def run(hosts: Iterable[HostEntry], *arguments: object, **more: Any) -> Checked:
        code, output, error = keypin_check(hosts, *arguments, "--json", **more)
        report = json.loads(output)
        assert report["exit_code"] == code
        return Checked(code, report["findings"], report["servers"], error)

    return run
