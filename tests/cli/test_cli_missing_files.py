"""A file that is not there, or is a folder, ends every command in one way: 66, and its name."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
import typer

from keypin import Pin
from keypin.cli.app import app

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from keypin.lab import Credential

PLAN = ("--adoption", "30d", "--lifetime", "90d")
KEYSTORE = ("keystore", "--key", "key.pem", "--chain", "chain.pem", "-o", "new.p12", "--force")
DEPLOY = ("deploy", "--to", "site", "--candidate", "chain.pem", "--key", "key.pem")
GET = ("get", "https://localhost:1", "--certificate", "one.cer")
ADD = ("add", "localhost", "--from")
# What is missing is written {}; the name of each case is the option, or what an argument is for
CASES: dict[str, tuple[str, ...]] = {
    "show CERT": ("show", "./{}.pem"),
    "show --cafile": ("show", "localhost:1", "--cafile", "{}.pem"),
    "show --capath": ("show", "localhost:1", "--capath", "{}.none"),
    "fetch --cafile": ("fetch", "localhost:1", "-o", "new.cer", "--cafile", "{}.pem"),
    "convert IN": ("convert", "{}.pem", "new.cer"),
    "get --certificate": ("get", "https://localhost:1", "--certificate", "{}.cer"),
    "get --cafile": (*GET, "--cafile", "{}.pem"),
    "get --client-certificate": (*GET, "--client-certificate", "{}.pem"),
    "get --client-key": (*GET, "--client-certificate", "chain.pem", "--client-key", "{}.pem"),
    "get --data": (*GET, "--data", "@{}.json"),
    "check --pins": ("check", "--pins", "{}.toml"),
    "check --lint --pins": ("check", "--lint", "--pins", "{}.toml"),
    "check --cafile": ("check", "--cafile", "{}.pem"),
    "check --capath": ("check", "--capath", "{}.none"),
    "check --candidate": ("check", "--candidate", "{}.pem"),
    "check --candidate --older-pins": (
        "check",
        "--candidate",
        "chain.pem",
        "--older-pins",
        "{}.toml",
    ),
    "check --candidate --cafile": ("check", "--candidate", "chain.pem", "--cafile", "{}.pem"),
    "plan --pins": ("plan", *PLAN, "--pins", "{}.toml"),
    "plan --older-pins": ("plan", *PLAN, "--pins", "pins.toml", "--older-pins", "{}.toml"),
    "list --pins": ("list", "--pins", "{}.toml"),
    "add --from": (*ADD, "{}.csr"),
    "add --cafile": (*ADD, "live", "--cafile", "{}.pem"),
    "add --pins": (*ADD, "one.cer", "--pins", "{}.toml"),
    "remove --pins": ("remove", "localhost", "b", "--pins", "{}.toml"),
    "promote --pins": ("promote", "localhost", "b", "--pins", "{}.toml"),
    "promote --older-pins": ("promote", "localhost", "b", "--older-pins", "{}.toml"),
    "retire --pins": ("retire", "localhost", "a", "--pins", "{}.json"),
    "backup-key --pins": ("backup-key", "new", "--pins", "{}.toml"),
    "backup-key --passphrase-file": ("backup-key", "new", "--passphrase-file", "{}.txt"),
    "export --pins": ("export", "android", "--pins", "{}.toml"),
    "import FILE": ("import", "android", "{}.xml"),
    "deploy --pins": (*DEPLOY, "--pins", "{}.toml"),
    "deploy --older-pins": (*DEPLOY, "--pins", "pins.toml", "--older-pins", "{}.toml"),
    "deploy --cafile": (*DEPLOY, "--pins", "pins.toml", "--cafile", "{}.pem"),
    "deploy --candidate": (*DEPLOY, "--pins", "pins.toml", "--candidate", "{}.pem"),
    "deploy --key": (*DEPLOY, "--pins", "pins.toml", "--key", "{}.pem"),
    "keystore --key": (*KEYSTORE, "--key", "{}.pem"),
    "keystore --chain": (*KEYSTORE, "--chain", "{}.pem"),
    "keystore --cafile": (*KEYSTORE, "--cafile", "{}.pem"),
    "keystore --passphrase-file": (*KEYSTORE, "--passphrase-file", "{}.txt"),
    "keystore --key-passphrase-file": (
        *("keystore", "--key", "locked.pem", "--chain", "chain.pem", "-o", "new.p12"),
        *("--key-passphrase-file", "{}.txt"),
    ),
    "run --pins": ("run", "--pins", "{}.toml", "--", "python", "-c", "1"),
}
# A folder of these is one to read or to write, or a name that is no file's
FOLDERS = ("--capath", "import FILE")
WRITTEN = {"--output", "--junit", "--markdown", "--prometheus", "--svg", "--report", "--body"}


@pytest.fixture(autouse=True)
def files(tmp_path: Path, credential: Credential, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEYPIN_PASSPHRASE", "correct horse battery")
    monkeypatch.delenv("KEYPIN_KEY_PASSPHRASE", raising=False)
    tmp_path.joinpath("chain.pem").write_bytes(credential.chain_pem)
    tmp_path.joinpath("key.pem").write_bytes(credential.key_pem)
    tmp_path.joinpath("locked.pem").write_text(
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n"
    )
    tmp_path.joinpath("one.cer").write_bytes(credential.certificate)
    backup = Pin.from_digest(bytes(32))
    tmp_path.joinpath("pins.toml").write_text(
        'schema = 1\nversion = 1\n[[host]]\nname = "localhost"\npins = [\n'
        f'  {{ pin = "{credential.pin}", key = "a" }},\n'
        f'  {{ pin = "{backup}", role = "backup", key = "b" }},\n]\n'
    )


def contents(folder: Path) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def ends_with_its_name(keypin, tmp_path: Path, case: str, name: str) -> None:
    before = contents(tmp_path)
    ended = keypin(*(argument.replace("{}", name) for argument in CASES[case]))
    assert ended.code == 66, ended.error
    assert ended.output == b""
    assert re.search(rf"\b{name}\.[a-z]+", ended.error), ended.error
    assert "Traceback" not in ended.error
    assert contents(tmp_path) == before


@pytest.mark.parametrize("case", CASES)
def test_a_file_that_is_not_there(keypin, tmp_path, case):
    ends_with_its_name(keypin, tmp_path, case, "missing")


@pytest.mark.parametrize("case", CASES)
def test_a_file_in_a_folder_that_is_not_there(keypin, tmp_path, case):
    ends_with_its_name(keypin, tmp_path, case, "no/missing")


@pytest.mark.parametrize("case", [case for case in CASES if not case.endswith(FOLDERS)])
def test_a_folder_is_no_file(keypin, tmp_path, case):
    for suffix in ("pem", "cer", "csr", "toml", "json", "txt"):
        tmp_path.joinpath(f"folder.{suffix}").mkdir()
    ends_with_its_name(keypin, tmp_path, case, "folder")


def options() -> Iterator[str]:
    """Every option of every command that takes the name of a file."""
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    for name, command in commands.items():
        for option in command.params:
            if option.metavar in ("FILE", "FOLDER") and not WRITTEN.intersection(option.opts):
                yield f"{name} {option.opts[0]}"


def test_every_option_that_names_a_file_is_tried_here():
    tried = {f"{case.split()[0]} {case.split()[-1]}" for case in CASES}
    assert {option for option in options() if option not in tried} <= {
        "deploy --to",  # which is made
        "export --certificates",  # that its own tests try
    }


@pytest.mark.parametrize(
    "command", ["list", "remove", "promote", "retire", "check", "export android"]
)
def test_a_pin_file_is_known_by_its_name_everywhere(keypin, tmp_path, command):
    tmp_path.joinpath("pins.txt").write_bytes(tmp_path.joinpath("pins.toml").read_bytes())
    host = ["localhost", "b"] if command in ("remove", "promote", "retire") else []
    words = [*command.split(), *host]
    ended = keypin(*words, "--pins", "pins.txt")
    assert ended.code == 65
    assert "ends in .toml or .json" in ended.error
    assert keypin(*words, "--pins", "missing.txt").code == 66


def test_a_pin_file_in_the_place_of_a_host_is_no_host(keypin):
    ended = keypin("check", "missing.toml")
    assert (ended.code, "--pins" in ended.error) == (64, True)
