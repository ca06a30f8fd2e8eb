"""Every command that edits a pin file, over every pin file that the documentation shows."""

from __future__ import annotations

import re
from difflib import SequenceMatcher
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from keypin import Pin
from keypin.cli.init import TEMPLATE
from keypin.pinfile import PinFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from keypin.pinfile import HostEntry

ROOT = Path(__file__).parent.parent.parent
NEW = Pin.from_digest(b"\xee" * 32)
# from the first line of a pin file to the end of the block or string that it stands in
TOML = re.compile(
    r"^(?:#[^\n]*\n|\n)*schema = [0-9]+\n.*?(?=^```|^\"{3}|^'{3}|\Z)", re.MULTILINE | re.DOTALL
)
JSON = re.compile(r'^\{\n +"schema".*?^\}\n', re.MULTILINE | re.DOTALL)


def samples() -> Iterator[object]:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    for page in [*pages, *sorted((ROOT / "examples").rglob("*.toml"))]:
        text = re.sub(r"^(?:>>>|\.\.\.) ?", "", page.read_text("utf-8"), flags=re.MULTILINE)
        for form, pattern in (("toml", TOML), ("json", JSON)):
            for number, found in enumerate(pattern.findall(text)):
                yield pytest.param(form, found, id=f"{page.name}-{form}-{number}")


SAMPLES = [
    *samples(),
    pytest.param(
        "toml",
        f'{TEMPLATE}\n[[host]]\nname = "api.example.com"\npins = [\n'
        f'  {{ pin = "{Pin.from_digest(b"1" * 32)}", key = "2026", not_before = 2026-10-01 }},\n'
        f'  {{ pin = "{Pin.from_digest(b"2" * 32)}", role = "planned", key = "2027" }},\n]\n',
        id="init",
    ),
]


def edits(file: PinFile) -> Iterator[tuple[str, ...]]:
    """Every edit that makes sense, each of every host and key."""
    far, name = ("--not-before", "2026-11-01", "--expires", "2999-06-01"), ("--key", "new, ]")
    yield ("add", "new.example.org", "--from", str(NEW), "--role", "backup", *name, *far)
    for host in file.hosts:
        if host.exclude:
            continue
        yield ("add", host.name, "--from", str(NEW), "--role", "planned", *name, *far)
        yield ("add", host.name, "--from", str(NEW))
        yield ("backup-key", "new key", "--host", host.name)
        for entry in host.pins:
            for which in filter(None, (entry.key, str(entry.pin))):
                if entry.role in ("planned", "backup"):
                    yield ("promote", host.name, which)
                    yield ("promote", host.name, which, "--beside")
                if entry.role == "active":
                    yield ("retire", host.name, which)
                yield ("retire", host.name, which, "--revoke")
                yield ("remove", host.name, which, "--in-service")
        for pin in host.deny:
            yield ("remove", host.name, str(pin), "--revoked")
    # an exception with nothing that it is from would have no effect
    exceptions = [host for host in file.hosts if host.exclude]
    if len(file.hosts) > 1:
        yield from (("remove", host.name) for host in exceptions or file.hosts)


def accepted(host: HostEntry) -> set[Pin]:
    return {entry.pin for entry in host.pins if entry.role != "revoked"}


def lost_lines(old: str, new: str) -> int:
    matcher = SequenceMatcher(None, old.splitlines(), new.splitlines(), autojunk=False)
    return len(old.splitlines()) - sum(block.size for block in matcher.get_matching_blocks())


def test_the_documentation_has_samples() -> None:
    assert sum("pin-file.md" in str(sample.id) for sample in SAMPLES) >= 3


@pytest.mark.parametrize(("form", "text"), SAMPLES)
def test_every_edit_of_every_sample_is_made(
    form: str, text: str, keypin: Callable[..., object], tmp_path: Path, monkeypatch
) -> None:
    """None says "by hand", and none loses more lines than it has to."""
    monkeypatch.setenv("KEYPIN_PASSPHRASE", "correct horse battery")
    path = tmp_path / f"pins.{form}"
    before = PinFile.loads(text, form)
    made = set()
    for edit in edits(before):
        path.write_text(text, encoding="utf-8")
        for made_by_command in tmp_path.glob("new-key*"):
            made_by_command.unlink()
        ended = keypin(*edit, "--pins", path)
        assert ended.code == 0 or only_key_is_at_stake(edit, before), (edit, ended.error)
        if ended.code:
            assert ended.code == 77, (edit, ended.error)
            assert path.read_text("utf-8") == text
            continue
        made |= {edit[0], f"{edit[0]} {edit[-1]}"}
        after = PinFile.load(path)
        assert after.version == before.version + 1
        if form == "toml" and edit[0] != "remove":
            # that of the version, of a pin or its role, and of an active key that is retiring now
            assert lost_lines(text, path.read_text("utf-8")) <= 3, edit
        others = [host for host in before.hosts if host.name != edit[1]]
        if edit[0] != "backup-key":
            assert [host for host in after.hosts if host.name != edit[1]] == others
    assert made >= {"add", "backup-key", "retire"}
    if any(len(host.pins) > 1 for host in before.hosts):
        assert "retire --revoke" in made


def only_key_is_at_stake(edit: tuple[str, ...], file: PinFile) -> bool:
    [host] = [host for host in file.hosts if host.name == edit[1]] or [None]
    return edit[0] in ("retire", "remove") and host is not None and len(accepted(host)) == 1
