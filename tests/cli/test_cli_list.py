"""`keypin list`: what a pin file says, on one screen."""

from __future__ import annotations

import json
import shlex
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from keypin import Pin
from keypin.pinfile import Defaults, HostEntry, PinEntry, PinFile

if TYPE_CHECKING:
    from pathlib import Path

A, B, C, D = (Pin.from_digest(bytes([number]) * 32) for number in range(4))
NOW = datetime.now(UTC).replace(microsecond=0)
MIDNIGHT = NOW.replace(hour=0, minute=0, second=0)
FAR = MIDNIGHT + timedelta(days=400)
PAST = datetime(2020, 1, 1, tzinfo=UTC)
SOON = MIDNIGHT + timedelta(days=11)


def days_left(moment: datetime) -> int:
    return (moment - datetime.now(UTC)).days


def listed(keypin, tmp_path: Path, *hosts: HostEntry, defaults: Defaults | None = None) -> str:
    PinFile(hosts, version=7, defaults=defaults or Defaults()).dump(tmp_path / "pins.toml")
    ended = keypin("list")
    assert (ended.code, ended.error) == (0, "")
    return ended.text


def test_a_file_in_order_is_shown_without_a_word_too_much(keypin, tmp_path):
    pins = [PinEntry(A, "active", "api 2026"), PinEntry(B, "backup", "api 2027, offline")]
    text = listed(
        keypin,
        tmp_path,
        HostEntry("**.example.com", pins, deny=[D], expires=FAR),
        HostEntry("status.example.com", exclude=True),
    )
    assert text == (
        "pins.toml  version 7  2 hosts  other hosts: ordinary TLS\n"
        "\n"
        f"**.example.com  enforced, chain  expires {FAR:%Y-%m-%d}, {days_left(FAR)} days left\n"
        f"  active   {A}  api 2026\n"
        f"  backup   {B}  api 2027, offline\n"
        f"  denied   {D}\n"
        "\n"
        "status.example.com  not pinned (exclude)\n"
    )


def test_a_port_and_the_marks_of_authorities_are_shown(keypin, tmp_path):
    pins = [PinEntry(A, key="our CA", authority="own"), PinEntry(B, authority="other")]
    text = listed(
        keypin,
        tmp_path,
        HostEntry("api.example.com", pins, port=8443),
        HostEntry("mail.example.com", [A, B], port=2525, starttls="smtp"),
    )
    assert "api.example.com:8443  enforced" in text
    assert f"{A}  our CA  own CA" in text
    assert f"{B}  another's CA" in text
    assert "mail.example.com:2525 (smtp)  enforced" in text
    first, second = keypin("list", "--json").json["hosts"]
    assert (first["port"], first["starttls"], second["starttls"]) == (8443, None, "smtp")
    assert [pin["authority"] for pin in first["pins"]] == ["own", "other"]


def test_defaults_hold_where_a_host_says_nothing(keypin, tmp_path):
    defaults = Defaults("report", "leaf", unlisted="refuse")
    text = listed(
        keypin,
        tmp_path,
        HostEntry("a.example.com", [A, PinEntry(B, "backup")]),
        HostEntry("b.example.com", [A, PinEntry(C, "backup")], mode="enforce", match="chain"),
        defaults=defaults,
    )
    assert "other hosts: refused" in text
    assert "a.example.com  report only, leaf only  no expiry\n" in text
    assert "b.example.com  enforced, chain  no expiry\n" in text


@pytest.mark.parametrize(
    ("host", "said"),
    [
        (HostEntry("a.example.com", [A]), "! one pin"),
        (HostEntry("a.example.com", [A, B]), "! no backup"),
        (
            HostEntry("a.example.com", [A, PinEntry(B, "backup")], expires=SOON),
            f"! the pins expire on {SOON:%Y-%m-%d}",
        ),
        (
            HostEntry("a.example.com", [A, PinEntry(B, "backup")], expires=PAST),
            "! the pins expired on 2020-01-01",
        ),
        (
            HostEntry("a.example.com", [PinEntry(A, "backup"), PinEntry(B, "planned")]),
            "! no key is in service",
        ),
        (
            HostEntry("*.example.com", [A, PinEntry(B, "planned", "api 27", SOON)]),
            f"! api 27 (planned) goes into service on {SOON:%Y-%m-%d}",
        ),
        (
            HostEntry("a.example.com", [A, PinEntry(B, "planned", "api 27", PAST)]),
            "! api 27 (planned) was to go into service on 2020-01-01",
        ),
    ],
)  # fmt: skip
def test_what_is_due_and_what_is_missing_is_marked(keypin, tmp_path, host, said):
    text = listed(keypin, tmp_path, host)
    assert text.count("  ! ") == 1
    assert said in text
    [note] = keypin("list", "--json").json["hosts"][0]["notes"]
    assert said == f"! {note['text']}" or note["text"].startswith(said[2:])
    assert note["severity"] == "warning"


def test_a_key_that_is_due_comes_with_the_command_that_does_it(keypin, tmp_path):
    entry = PinEntry(B, "planned", "it's due", PAST)
    text = listed(keypin, tmp_path, HostEntry("*.example.com", [A, entry]))
    [line] = [line for line in text.splitlines() if "On that day: " in line]
    program, *arguments = shlex.split(line.partition("On that day: ")[2])
    assert program == "keypin"
    assert keypin(*arguments).code == 0
    assert f"  active   {B}  it's due\n" in keypin("list").text


def test_as_json_it_says_all_of_it(keypin, tmp_path):
    pins = [PinEntry(A, "active", "2026", FAR), PinEntry(B, "backup")]
    host = HostEntry(
        "a.example.com", pins, [D], FAR + timedelta(hours=1), "report", "leaf", "allow"
    )
    listed(keypin, tmp_path, host, HostEntry("*.example.com", [A, PinEntry(C, "backup")]))
    found = keypin("list", "--json").json
    assert {name: found[name] for name in ("version", "file", "file_version", "unlisted")} == {
        "version": 1,
        "file": "pins.toml",
        "file_version": 7,
        "unlisted": "allow",
    }
    first = found["hosts"][0]
    assert {name: first[name] for name in first if name != "notes"} == {
        "name": "a.example.com",
        "port": None,
        "starttls": None,
        "exclude": False,
        "mode": "report",
        "match": "leaf",
        "on_expiry": "allow",
        "expires": f"{FAR:%Y-%m-%d}T01:00:00Z",
        "days_left": days_left(FAR + timedelta(hours=1)),
        "pins": [
            {
                "pin": str(A),
                "role": "active",
                "key": "2026",
                "not_before": f"{FAR:%Y-%m-%d}T00:00:00Z",
                "authority": None,
            },
            {"pin": str(B), "role": "backup", "key": None, "not_before": None, "authority": None},
        ],
        "deny": [str(D)],
    }


def test_a_new_file_is_shown_with_the_next_step(keypin, tmp_path):
    keypin("init")
    ended = keypin("list")
    assert ended.code == 0
    assert "pins.toml  version 1  0 hosts" in ended.text
    assert "keypin add HOST --from live --pins pins.toml" in ended.text
    assert keypin("list", "--json").json["hosts"] == []


def test_json_files_are_read_too(keypin, tmp_path):
    PinFile([HostEntry("a.example.com", [A, PinEntry(B, "backup")])]).dump(tmp_path / "p.json")
    assert f"  active   {A}" in keypin("list", "--pins", "p.json").text


def test_a_file_that_is_wrong_is_an_error_with_its_line(keypin, tmp_path):
    tmp_path.joinpath("pins.toml").write_text('schema = 1\nversion = 1\n[[host]]\nname = "x y"\n')
    ended = keypin("list")
    assert (ended.code, ended.output) == (65, b"")
    assert "line 4" in ended.error
    assert "line 4" in keypin("list", "--json").error


def test_show_names_the_command_if_it_is_given_a_pin_file(keypin, tmp_path):
    listed(keypin, tmp_path, HostEntry("a.example.com", [A, PinEntry(B, "backup")]))
    ended = keypin("show", "pins.toml")
    assert ended.code == 65
    assert "keypin list --pins pins.toml" in ended.error


def test_it_is_read_again_by_whoever_reads_json(keypin, tmp_path):
    listed(keypin, tmp_path, HostEntry("a.example.com", [PinEntry(A, "active", "clé"), B]))
    assert json.loads(keypin("list", "--json").output)["hosts"][0]["pins"][0]["key"] == "clé"
