"""`keypin init, add, remove, promote, retire`: the pin file edited, or left alone and why."""

from __future__ import annotations

import os
import re
import stat
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from keypin import Pin, PinFileError, PinSet
from keypin.cli import pin_file_edits
from keypin.cli.exit_codes import CommandError
from keypin.editing.changes import add_pin
from keypin.pinfile import PinEntry, PinFile

if TYPE_CHECKING:
    from pathlib import Path

A, B, C, D = (str(Pin.from_digest(bytes([number]) * 32)) for number in range(4))
HOST = "api.example.com"
FILE = f"""\
# what our apps accept
schema = 1
version = 7  # raised with every change

[[host]]
name = "{HOST}"  # the one that matters
expires = 2999-06-01
pins = [
  {{ pin = "{A}", role = "active", key = "2026" }},  # in service
  {{ pin = "{B}", role = "backup", key = "2027" }},
  # of old
]
deny = ["{D}"]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A pin file of two keys."""
    path = tmp_path / "pins.toml"
    path.write_text(FILE)
    return path


def roles(path: Path, host: int = 0) -> dict[str, str]:
    entries = PinFile.load(path).hosts[host].pins
    return {entry.key or str(entry.pin): entry.role for entry in entries}


def refused(ended, path: Path, code: int, *said: str) -> None:
    """It ended with an error that says this, and the file is as it was."""
    assert (ended.code, ended.output) == (code, b""), ended.error
    for text in said:
        assert text in ended.error
    assert path.read_text() == FILE
    assert os.listdir(path.parent) == [path.name]


def tomorrow(days: int = 1) -> str:
    return f"{datetime.now(UTC) + timedelta(days):%Y-%m-%d}"


# init


def test_a_new_file_gets_its_first_host_and_keeps_its_comments(keypin, tmp_path):
    ended = keypin("init")
    assert (ended.code, ended.error) == (0, "")
    path = tmp_path / "pins.toml"
    template = path.read_text()
    with pytest.raises(PinFileError, match="host: missing"):
        PinSet.load(path)
    ended = keypin("add", HOST, "--from", A, "--key", "2026", "--expires", "2999-06-01")
    assert ended.code == 0
    assert ended.lines == [
        "pins.toml is now version 2:",
        f"{HOST}: a new host",
        f"{HOST}: added 2026 (active)",
    ]
    section = f"""
[[host]]
name = "{HOST}"
expires = 2999-06-01
pins = [
  {{ pin = "{A}", role = "active", key = "2026" }},
]
"""
    assert path.read_text() == template.replace("version = 1", "version = 2") + section
    assert PinFile.load(path).hosts[0].pins == (PinEntry(A, "active", "2026"),)


def test_the_defaults_of_a_new_file_are_those_of_every_file(keypin, tmp_path):
    keypin("init", "new.toml")
    keypin("add", HOST, "--from", A, "--pins", "new.toml")
    found = PinFile.load(tmp_path / "new.toml")
    assert found.defaults == PinFile(found.hosts).defaults


@pytest.mark.parametrize("there", ["file", "link", "folder"])
def test_init_overwrites_nothing(keypin, tmp_path, there):
    path = tmp_path / "pins.toml"
    if there == "file":
        path.write_text("precious")
    elif there == "link":
        path.symlink_to("nowhere")
    else:
        path.mkdir()
    ended = keypin("init")
    assert (ended.code, ended.output) == (73, b"")
    assert ended.error == "keypin: pins.toml exists already; it was left as it is\n"
    assert os.listdir(tmp_path) == ["pins.toml"]
    assert there != "file" or path.read_text() == "precious"


def test_init_makes_toml_only(keypin, tmp_path):
    assert keypin("init", "pins.json").code == 64
    assert os.listdir(tmp_path) == []


# add


def test_a_pin_is_added_behind_the_others(keypin, file):
    ended = keypin("add", HOST, "--from", C, "--role", "planned", "--not-before", "2998-01-01")
    assert (ended.code, ended.error) == (0, "")
    entry = f'  {{ pin = "{C}", role = "planned", not_before = 2998-01-01 }},\n'
    added = FILE.replace("version = 7", "version = 8").replace(
        "  # of old\n", entry + "  # of old\n"
    )
    assert file.read_text() == added


def test_a_dry_run_shows_the_difference_and_writes_nothing(keypin, file):
    before = file.stat()
    ended = keypin("add", HOST, "--from", C, "--key", "2028", "--dry-run")
    assert (ended.code, ended.error) == (0, "")
    text = ended.text
    assert text.startswith("--- pins.toml\n+++ pins.toml\n")
    changed = [line for line in text.splitlines() if line[:1] in "+-" and line[1:2] not in "+-"]
    assert changed == [
        "-version = 7  # raised with every change",
        "+version = 8  # raised with every change",
        f'+  {{ pin = "{C}", role = "active", key = "2028" }},',
    ]
    assert "Nothing was written (--dry-run); pins.toml would be version 8:" in text
    assert file.read_text() == FILE
    after = file.stat()
    # not the time of access: reading the file may change it
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_the_expiry_of_a_host_can_be_put_off_with_a_new_pin(keypin, file):
    ended = keypin("add", HOST, "--from", C, "--expires", "2999-12-01T12:00:00+02:00")
    assert f"{HOST}: its pins now expire on 2999-12-01 10:00 UTC" in ended.lines
    assert "expires = 2999-12-01T10:00:00Z\n" in file.read_text()


def test_a_host_is_found_in_every_spelling(keypin, file):
    assert keypin("add", "API.Example.COM.", "--from", C).code == 0
    assert len(PinFile.load(file).hosts) == 1


def test_a_lonely_pin_is_warned_of(keypin, file):
    ended = keypin("add", "new.example", "--from", C)
    assert ended.code == 0
    assert f"keypin: warning: new.example accepts one key only: {C}." in ended.error
    assert "api.example.com" not in ended.error


@pytest.mark.parametrize("role", ["planned", "backup"])
def test_a_host_of_which_no_key_is_in_service_is_warned_of(keypin, file, role):
    ended = keypin("add", "new.example", "--from", C, "--role", role)
    assert ended.code == 0
    assert "new.example has no key in service (active or retiring)" in ended.error
    file.write_text(FILE.replace('"backup"', f'"{role}"'))
    ended = keypin("remove", HOST, "2026", "--in-service")
    assert ended.code == 0
    assert f"{HOST} has no key in service (active or retiring)" in ended.error


def test_a_new_host_that_takes_over_from_a_wider_one_is_warned_of(keypin, file):
    keypin("add", "**.example.com", "--from", C)
    ended = keypin("add", "www.example.com", "--from", C, "--role", "planned")
    assert "until now **.example.com decided on www.example.com. An entry inherits" in ended.error
    assert "its 1 pins no longer hold there" in ended.error
    file.write_text(FILE.replace(HOST, "**.example.com"))
    ended = keypin("add", "*.example.com", "--from", C)
    assert "its 2 pins and its denied keys no longer hold there" in ended.error
    file.write_text(
        FILE
        + '[[host]]\nname = "**.api.example.com"\nexclude = true\n'.replace("**.api", "**.a")
        + f'[[host]]\nname = "**.example.com"\npins = ["{A}"]\n'
    )
    ended = keypin("add", "b.a.example.com", "--from", C)
    assert "until now **.a.example.com excluded b.a.example.com from pinning" in ended.error


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([HOST, "--from", A], 64, f"{HOST} has this pin already: 2026 (active); to change"),
        ([HOST, "--from", C, "--key", "2027"], 64, f"another key of this name: {B}"),
        ([HOST, "--from", D], 77, f"{D} is denied for {HOST}"),
        (["*", "--from", C], 64, "a wildcard is"),
        ([f"{HOST}:https", "--from", C], 64, "not a port"),
        ([HOST, "--from", "sha256/short="], 64, "not a pin: sha256/short="),
        ([HOST, "--from", C, "--role", "activ"], 64, "did you mean 'active'?"),
        ([HOST, "--from", C, "--key", " "], 64, "a key's name is not empty"),
        ([HOST, "--from", C, "--not-before", "soon"], 64, "a date (2027-06-01)"),
        (
            [HOST, "--from", C, "--not-before", "2999-06-01"],
            64,
            "the key would never be in service",
        ),
        ([HOST, "--from", C, "--expires", "2026-01-01"], 64, "is not in the future"),
        ([HOST, "--from", C, "--expires", "2999-01-01T00:00:00"], 64, "a time without offset"),
        ([HOST, "--from", C, "--cafile", "ca.pem"], 64, "are for --from live"),
        ([HOST, "--from", C, "--depth", "0", "--ca"], 64, "give one of them"),
        ([HOST, "--from", C, "--confirm", D], 90, f"is {C}, not {D}"),
        ([HOST, "--from", C, "--confirm", "x"], 64, "not a pin"),
        ([HOST, "--from", "missing.pem"], 66, "no such file: missing.pem"),
        (["new.example", "--from", C, "--role", "revoked"], 64, "no server could be accepted"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_makes_no_sense_is_not_added(keypin, file, arguments, code, said):
    refused(keypin("add", *arguments), file, code, said)


def test_where_the_key_is_has_to_be_said(keypin, file):
    refused(keypin("add", HOST), file, 64, "--from")


def test_an_excluded_host_is_not_pinned_by_the_way(keypin, file):
    text = FILE + '[[host]]\nname = "x.api.example.com"\nexclude = true\n'
    file.write_text(text.replace(HOST, f"**.{HOST}").replace("x.**", "x"))
    before = file.read_text()
    ended = keypin("add", "x.api.example.com", "--from", C)
    assert (ended.code, ended.output) == (64, b"")
    assert "is excluded from pinning; to pin it, remove that first" in ended.error
    assert file.read_text() == before
    assert keypin("remove", "x.api.example.com").code == 0


# remove


def test_a_pin_is_removed_by_the_name_of_its_key_or_by_itself(keypin, file):
    ended = keypin("remove", HOST, "2026", "--in-service")
    assert ended.lines == ["pins.toml is now version 8:", f"{HOST}: removed 2026 (active)"]
    assert f"warning: {HOST} accepts one key only: {B}" in ended.error
    assert "# in service" not in file.read_text()
    assert "# of old" in file.read_text()
    file.write_text(FILE)
    assert keypin("remove", HOST, B.replace("sha256/", "sha256//")).code == 0
    assert roles(file) == {"2026": "active"}


@pytest.mark.parametrize("others", ["backup", "planned", "retiring"])
def test_the_only_active_key_stays_unless_that_is_meant(keypin, file, others):
    text = FILE.replace('"backup"', f'"{others}"')
    file.write_text(text)
    ended = keypin("remove", HOST, "2026")
    assert (ended.code, ended.output) == (77, b"")
    assert f"2026 (active) is the only active key of {HOST}" in ended.error
    assert "If no server has this one any more: --in-service" in ended.error
    assert file.read_text() == text
    assert keypin("remove", HOST, "2026", "--in-service").code == 0
    assert roles(file) == {"2027": others}


def test_the_last_key_in_service_stays_and_one_of_two_does_not(keypin, file):
    file.write_text(FILE.replace('"active"', '"retiring"'))
    ended = keypin("remove", HOST, "2026")
    assert (ended.code, "is the last key in service of" in ended.error) == (77, True)
    file.write_text(FILE.replace('"active"', '"retiring"').replace('"backup"', '"active"'))
    assert keypin("remove", HOST, "2026").code == 0
    file.write_text(FILE.replace('"backup"', '"active"'))
    assert keypin("remove", HOST, "2026").code == 0
    file.write_text(FILE)
    assert keypin("retire", HOST, "2026").code == 0
    assert keypin("remove", HOST, "--in-service").code == 64


def test_the_last_accepted_pin_stays(keypin, file):
    text = FILE.replace('"backup"', '"revoked"')
    file.write_text(text)
    ended = keypin("remove", HOST, "2026")
    assert (ended.code, ended.output) == (77, b"")
    assert f"{HOST} would have no pin left that is accepted" in ended.error
    assert file.read_text() == text


@pytest.mark.parametrize("which", ["2027", B, D])
def test_a_refused_key_is_let_in_again_only_on_demand(keypin, file, which):
    text = FILE.replace('"backup"', '"revoked"')
    file.write_text(text)
    ended = keypin("remove", HOST, which)
    assert (ended.code, ended.output) == (77, b"")
    assert "If that is meant: --revoked" in ended.error
    assert file.read_text() == text
    assert keypin("remove", HOST, which, "--revoked").code == 0
    assert which not in file.read_text()


def test_a_host_is_removed_with_all_its_pins_and_what_decides_then_is_told(keypin, file):
    keypin("add", "**.example.com", "--from", C)
    keypin("add", "www.example.com", "--from", C)
    ended = keypin("remove", HOST)
    assert ended.code == 0
    assert f"{HOST} is no longer pinned by an entry of its own: **.example.com" in ended.error
    assert f"with it went what is never accepted there: {D}" in ended.error
    assert file.read_text().startswith("# what our apps accept\n")
    ended = keypin("remove", "**.example.com")
    assert "it gets ordinary TLS, like every unlisted host" in ended.error
    file.write_text(file.read_text() + '[defaults]\nunlisted = "refuse"\n')
    keypin("add", "a.example.com", "--from", C)
    assert "its connections are refused" in keypin("remove", "a.example.com").error


def test_the_only_host_stays(keypin, file):
    refused(keypin("remove", HOST), file, 77, "is the only host")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["www.example.com"], "no entry for www.example.com in the file: it gets ordinary TLS"),
        ([HOST, "2028"], f"no key '2028' of {HOST}; there is: 2026 (active), 2027 (backup)"),
        ([HOST, "--revoked"], "--revoked is for one KEY or PIN"),
    ],
    ids=["host", "key", "option"],
)
def test_what_is_not_there_is_not_removed(keypin, file, arguments, said):
    refused(keypin("remove", *arguments), file, 64, said)


def test_an_exclusion_that_would_lose_its_effect_stays_in_the_way(keypin, file):
    text = FILE.replace(HOST, "**.example.com") + (
        '[[host]]\nname = "x.example.com"\nexclude = true\n'
        f'[[host]]\nname = "example.net"\npins = ["{A}"]\n'
    )
    file.write_text(text)
    ended = keypin("remove", "**.example.com")
    assert ended.code == 64
    assert "has no effect: without this entry, 'x.example.com' would not be pinned" in ended.error
    assert file.read_text() == text


# promote


def test_a_promoted_key_is_active_and_the_one_before_it_retiring(keypin, file):
    ended = keypin("promote", HOST, "2027", "--older-pins", "pins.toml")
    assert ended.code == 0
    assert ended.lines == [
        "pins.toml is now version 8:",
        f"{HOST}: 2027 (backup) is now active",
        f"{HOST}: 2026 (active) is now retiring",
    ]
    assert ended.error == (
        f"keypin: warning: {HOST} has no backup left; make one: keypin backup-key\n"
    )
    changed = FILE.replace("version = 7", "version = 8").replace('"active"', '"retiring"')
    assert file.read_text() == changed.replace('"backup"', '"active"')


def test_a_bare_pin_can_be_promoted_away_from(keypin, file):
    bare = FILE.replace(f'{{ pin = "{A}", role = "active", key = "2026" }}', f'"{A}"')
    file.write_text(bare)
    assert keypin("promote", HOST, "2027").code == 0
    assert f'  {{ pin = "{A}", role = "retiring" }},  # in service\n' in file.read_text()


def test_a_key_is_not_promoted_before_its_time(keypin, file):
    early, late = tomorrow(), tomorrow(0)
    text = FILE.replace('role = "backup"', f'role = "planned", not_before = {early}')
    file.write_text(text)
    ended = keypin("promote", HOST, "2027")
    assert (ended.code, ended.output) == (77, b"")
    assert f"2027 (planned) of {HOST} is not to go into service before {early}" in ended.error
    assert file.read_text() == text
    file.write_text(text.replace(early, late))
    assert keypin("promote", HOST, "2027").code == 0
    assert f"not_before = {late}" in file.read_text()


def test_that_nobody_knows_what_clients_have_is_said(keypin, file):
    ended = keypin("promote", HOST, "2027")
    assert ended.code == 0
    assert "a pin file does not tell when a pin was published" in ended.error
    assert f"those that do not have {B} yet will refuse the new key" in ended.error


def other(path: Path, text: str) -> str:
    path.with_name("old.toml").write_text("schema = 1\nversion = 6\n" + text)
    return "old.toml"


CARRIED = {
    "the pin": f'[[host]]\nname = "{HOST}"\npins = ["{A}", "{B}"]',
    "the pin for all below": f'[[host]]\nname = "**.example.com"\npins = ["{B}"]',
    "no pins of it": f'[[host]]\nname = "example.net"\npins = ["{A}"]',
    "an exclusion": f'[[host]]\nname = "**.example.com"\npins = ["{A}"]\n'
    f'[[host]]\nname = "{HOST}"\nexclude = true',
}
NOT_CARRIED = {
    "other pins": f'[[host]]\nname = "{HOST}"\npins = ["{A}"]',
    "it as revoked": f'[[host]]\nname = "{HOST}"\npins = ["{A}", '
    f'{{ pin = "{B}", role = "revoked" }}]',
    "other pins for all below": f'[[host]]\nname = "*.example.com"\npins = ["{A}"]',
    "nothing, and refuses that": f'[defaults]\nunlisted = "refuse"\n[[host]]\nname = "b.example"\n'
    f'pins = ["{A}"]',
}


@pytest.mark.parametrize("carried", CARRIED)
def test_clients_that_have_the_pin_already_are_no_hindrance(keypin, file, carried):
    old = other(file, CARRIED[carried])
    ended = keypin("promote", HOST, "2027", "--older-pins", old)
    assert ended.code == 0, ended.error
    assert "does not tell" not in ended.error


@pytest.mark.parametrize("carried", NOT_CARRIED)
def test_clients_that_would_be_locked_out_are_a_reason_to_wait(keypin, file, carried):
    old = other(file, NOT_CARRIED[carried])
    ended = keypin("promote", HOST, "2027", "--older-pins", "pins.toml", "--older-pins", old)
    assert (ended.code, ended.output) == (77, b"")
    assert "clients that carry old.toml would be locked out: " in ended.error
    assert file.read_text() == FILE


def test_hosts_below_a_pattern_that_clients_have_entries_for_count(keypin, file):
    file.write_text(FILE.replace(HOST, "**.example.com"))
    entries = '[[host]]\nname = "{}"\npins = ["' + A + '"]\n'
    whole = f'[[host]]\nname = "**.example.com"\npins = ["{A}", "{B}"]\n'
    for name in ("a.example.com", "example.com", "*.a.example.com"):
        old = other(file, whole + entries.format(name))
        ended = keypin("promote", "**.example.com", "2027", "--older-pins", old)
        assert ended.code == 77
        assert f"the entry for {name} does not have {B}" in ended.error
    old = other(file, whole + entries.format("a.example.org"))
    assert keypin("promote", "**.example.com", "2027", "--older-pins", old).code == 0


def test_a_file_to_compare_with_has_to_be_one(keypin, file):
    assert keypin("promote", HOST, "2027", "--older-pins", "gone.toml").code == 66
    old = other(file, "")
    ended = keypin("promote", HOST, "2027", "--older-pins", old)
    assert ended.code == 65
    assert "old.toml: host: missing (--older-pins)" in ended.error
    assert file.read_text() == FILE


def test_which_of_several_active_keys_retires_has_to_be_said(keypin, file):
    keypin("add", HOST, "--from", C, "--key", "2026 RSA")
    before = file.read_text()
    ended = keypin("promote", HOST, "2027")
    assert (ended.code, ended.output) == (64, b"")
    assert "has several active keys: 2026 (active), 2026 RSA (active)" in ended.error
    assert keypin("promote", HOST, "2027", "--beside", "--replaces", "2026").code == 64
    assert keypin("promote", HOST, "2027", "--replaces", "2027").code == 64
    assert file.read_text() == before
    assert keypin("promote", HOST, "2027", "--replaces", C).code == 0
    assert roles(file) == {"2026": "active", "2027": "active", "2026 RSA": "retiring"}
    file.write_text(before)
    assert keypin("promote", HOST, "2027", "--beside").code == 0
    assert roles(file) == {"2026": "active", "2027": "active", "2026 RSA": "active"}


@pytest.mark.parametrize("role", ["active", "retiring", "revoked"])
def test_only_a_planned_or_backup_key_is_promoted(keypin, file, role):
    text = FILE.replace('"backup"', f'"{role}"')
    file.write_text(text)
    ended = keypin("promote", HOST, "2027")
    assert (ended.code, ended.output) == (64, b"")
    assert f"2027 ({role}) of {HOST} cannot be promoted" in ended.error
    assert file.read_text() == text


# retire


def test_a_key_retires_and_is_revoked(keypin, file):
    keypin("promote", HOST, "2027", "--beside")
    ended = keypin("retire", HOST, "2026")
    assert (ended.code, ended.error) == (0, "")
    assert roles(file) == {"2026": "retiring", "2027": "active"}
    assert A in map(str, PinSet.load(file).rules[0].pins)
    ended = keypin("retire", HOST, "2026")
    assert ended.code == 64
    assert "it is retiring already; once no server has it: keypin remove" in ended.error
    ended = keypin("retire", HOST, "2026", "--revoke")
    assert ended.code == 0
    assert f"warning: {HOST} accepts one key only: {B}" in ended.error
    assert A in map(str, PinSet.load(file).rules[0].deny)
    assert keypin("retire", HOST, "2026", "--revoke").code == 64
    assert PinFile.load(file).version == 10


def test_a_host_without_an_active_key_is_warned_of(keypin, file):
    ended = keypin("retire", HOST, "2026")
    assert ended.code == 0
    assert ended.error == f"keypin: warning: {HOST} has no active key: keypin promote\n"


@pytest.mark.parametrize("role", ["planned", "backup"])
def test_a_key_that_was_never_in_service_does_not_retire_but_can_be_revoked(keypin, file, role):
    text = FILE.replace('"backup"', f'"{role}"')
    file.write_text(text)
    ended = keypin("retire", HOST, "2027")
    assert (ended.code, ended.output) == (64, b"")
    assert "to give it up: keypin remove" in ended.error
    assert file.read_text() == text
    assert keypin("retire", HOST, "2027", "--revoke").code == 0
    assert roles(file) == {"2026": "active", "2027": "revoked"}


def test_the_last_accepted_key_is_not_revoked(keypin, file):
    assert keypin("retire", HOST, "2027", "--revoke").code == 0
    before = file.read_text()
    ended = keypin("retire", HOST, "2026", "--revoke")
    assert (ended.code, ended.output) == (77, b"")
    assert f"{HOST} would have no pin left that is accepted" in ended.error
    assert file.read_text() == before


def test_other_hosts_that_accept_a_revoked_key_are_named(keypin, file):
    keypin("add", "www.example.com", "--from", A)
    keypin("add", "old.example.com", "--from", A, "--role", "retiring")
    keypin("add", "b.example.com", "--from", B)
    ended = keypin("retire", HOST, "2026", "--revoke")
    assert ended.code == 0
    for other_host in ("www.example.com", "old.example.com"):
        assert f"keypin retire {other_host} {A} --revoke" in ended.error
    assert "retire b.example.com" not in ended.error


# The file


EDITS = [
    ["add", HOST, "--from", C],
    ["remove", HOST, "2027"],
    ["promote", HOST, "2027"],
    ["retire", HOST, "2026"],
]


@pytest.mark.parametrize("arguments", EDITS, ids=lambda arguments: arguments[0])
def test_every_edit_raises_the_version_by_one_and_a_dry_run_none(keypin, file, arguments):
    assert keypin(*arguments, "--dry-run").code == 0
    assert file.read_text() == FILE
    assert keypin(*arguments).code == 0
    assert PinFile.load(file).version == 8


@pytest.mark.parametrize("arguments", EDITS, ids=lambda arguments: arguments[0])
def test_no_edit_is_made_of_a_file_that_is_not_right(keypin, file, arguments):
    text = FILE + "expiry = 2027-01-01\n"
    file.write_text(text)
    ended = keypin(*arguments)
    assert (ended.code, ended.output) == (65, b"")
    assert "pins.toml, line 14: host[0].expiry: unknown key" in ended.error
    assert file.read_text() == text


@pytest.mark.parametrize("arguments", EDITS, ids=lambda arguments: arguments[0])
def test_json_is_edited_too_and_said_to_be_written_anew(keypin, file, arguments):
    path = file.with_name("pins.json")
    PinFile.load(file).dump(path)
    ended = keypin(*arguments, "--pins", "pins.json")
    assert ended.code == 0
    assert ended.lines[0] == "pins.json is now version 8:"
    assert "As JSON it is written anew, in its own order and indentation." in ended.lines
    keypin(*arguments)
    assert PinFile.load(path) == PinFile.load(file)


def test_a_version_that_cannot_be_raised_is_an_error(keypin, file):
    file.write_text(FILE.replace("version = 7", f"version = {2**53 - 1}"))
    ended = keypin("retire", HOST, "2026")
    assert (ended.code, ended.output) == (64, b"")
    assert "version is a whole number" in ended.error


@pytest.mark.parametrize(
    ("name", "content", "code", "said"),
    [
        ("gone.toml", None, 66, "no such file: gone.toml; make one: keypin init gone.toml"),
        ("pins.yaml", b"", 65, "ends in .toml or .json"),
        ("folder.toml", "folder", 66, "cannot read folder.toml: Is a directory"),
        ("latin.toml", b"# \xe4", 65, "latin.toml is not UTF-8"),
        ("empty.toml", b"", 65, "empty.toml: empty"),
    ],
)
def test_a_file_that_is_none_is_an_error(keypin, tmp_path, name, content, code, said):
    path = tmp_path / name
    if content == "folder":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    ended = keypin("remove", HOST, "--pins", name)
    assert (ended.code, ended.output) == (code, b"")
    assert said in ended.error


def test_a_file_keeps_its_permissions_and_its_link(keypin, file):
    file.chmod(0o640)
    real = file.with_name("real.toml")
    file.rename(real)
    file.symlink_to("real.toml")
    assert keypin("retire", HOST, "2026").code == 0
    assert file.is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    assert PinFile.load(real).version == 8
    assert sorted(os.listdir(file.parent)) == ["pins.toml", "real.toml"]


def test_what_another_wrote_meanwhile_is_not_overwritten(keypin, file, monkeypatch):
    rewrite = pin_file_edits.rewrite

    def slowly(*arguments):
        file.write_text(FILE + "# another's\n")
        return rewrite(*arguments)

    monkeypatch.setattr(pin_file_edits, "rewrite", slowly)
    ended = keypin("retire", HOST, "2026")
    assert (ended.code, ended.output) == (73, b"")
    assert ended.error == "keypin: pins.toml was changed meanwhile: try again\n"
    assert file.read_text() == FILE + "# another's\n"


@pytest.mark.skipif(os.name != "posix", reason="needs locks of folders")
def test_of_two_edits_at_once_none_is_lost(file, monkeypatch):
    def edit(key: str) -> pin_file_edits.Edit:
        return pin_file_edits.prepare_edit(
            file, lambda draft: add_pin(draft, HOST, PinEntry(Pin(C), "active", key))
        )

    write = pin_file_edits.written_atomically
    writing, errors = threading.Event(), []

    @contextmanager
    def slowly(path):
        with write(path) as opened:
            yield opened
            writing.set()
            second.join(0.5)  # which waits, in the meantime

    def write_second():
        writing.wait(10)
        try:
            pin_file_edits.write_edit(edits[1])
        except CommandError as error:
            errors.append(error)

    edits = edit("first"), edit("second")
    monkeypatch.setattr(pin_file_edits, "written_atomically", slowly)
    second = threading.Thread(target=write_second)
    second.start()
    pin_file_edits.write_edit(edits[0])
    second.join(10)
    assert [str(error) for error in errors] == [f"{file} was changed meanwhile: try again"]
    assert "first" in roles(file)


def test_a_file_that_cannot_be_written_stays_whole(keypin, file, monkeypatch):
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    refused(keypin("retire", HOST, "2026"), file, 73, "cannot write pins.toml: No space left")


# Keys of authorities


@pytest.mark.parametrize("form", ["toml", "json"])
def test_a_key_of_an_authority_is_marked_and_the_file_says_schema_2(keypin, file, form):
    path = file.with_suffix(f".{form}")
    PinFile.load(file).dump(path)
    edit = ["--pins", path]
    ended = keypin("add", HOST, "--from", C, "--role", "backup", "--authority", "own", *edit)
    assert ended.code == 0, ended.error
    assert re.search(r'schema"?(: | = )2\b', path.read_text())
    assert keypin("promote", HOST, C, *edit).code == 0
    entry = PinFile.load(path).hosts[0].pins[-1]
    assert (str(entry.pin), entry.role, entry.authority) == (C, "active", "own")
    assert keypin("retire", HOST, C, "--revoke", *edit).code == 0
    assert PinFile.load(path).hosts[0].pins[-1].authority == "own"
    assert keypin("remove", HOST, C, "--revoked", *edit).code == 0
    assert PinFile.load(path).pin_set() == PinSet.load(path)


def test_whose_authority_it_is_has_two_answers(keypin, file):
    ended = keypin("add", HOST, "--from", C, "--authority", "public", "--pins", file)
    refused(ended, file, 64, "authority is one of 'own', 'other'")
