"""`keypin plan`: verdict, exit code, events, JSON and picture."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
import xml.etree.ElementTree as ET
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

DOCUMENT = Path(__file__).parents[2] / "docs" / "plan.md"
rsvg_convert = shutil.which("rsvg-convert")

FIRST = "sha256/k3XnEYQCK79AtL9GYnT/nyhsabas03V+bhRQYHQbpXU="
SECOND = "sha256/afwiKY3RxoMmLkuRW1l7QsPZTJPwDS2pdDROQjXw8ig="
THIRD = "sha256/YhKJKSzoTt2b5FP18fvpHo7fJYqQCjAa3HWY3tvRMwE="
PINS = f"""
schema = 1
version = 7

[[host]]
name = "**.example.com"
pins = [
  {{ pin = "{FIRST}", key = "api 2026", not_before = 2026-10-01 }},
  {{ pin = "{SECOND}", key = "api 2027", role = "planned", not_before = 2026-12-15 }},
  {{ pin = "{THIRD}", key = "offline", role = "backup" }},
]
"""
OLDER = f"""
schema = 1
version = 6

[[host]]
name = "**.example.com"
pins = ["{FIRST}", "{THIRD}"]
"""
ISSUE = ("--adoption", "30d", "--refresh", "7d", "--lifetime", "47d")
START = ("--start", "2026-11-21")


@pytest.fixture
def plan(keypin, tmp_path):
    (tmp_path / "pins.toml").write_text(PINS)
    (tmp_path / "pins-6.toml").write_text(OLDER)

    def run(*arguments):
        return keypin("plan", *START, *arguments)

    return run


def test_a_way_that_breaks_nobody_ends_with_0(plan):
    ended = plan(*ISSUE, "--rotate-every", "1y")
    assert (ended.code, ended.error) == (0, "")
    assert ended.lines[0] == "Keys, certificates and pin files, 2026-11-21 to 2028-11-20"
    assert "after 37 days (30 to install it, 7 to look for it)" in ended.lines[1]
    assert "2027-11-21  key 2 goes into service, key 1 out of it" in ended.lines
    assert "2027-11-22  pin file version 2: with key 4, without key 1" in ended.lines
    assert "- make key 4; publish version 2" in ended.lines
    assert ended.lines[-1] == "No client that updates breaks before 2028-11-21."


def test_one_that_breaks_clients_ends_with_2_and_says_when_which_and_what_else_to_do(plan):
    ended = plan(*ISSUE, "--new-key-each-renewal")
    assert (ended.code, ended.error) == (2, "")
    verdict = ended.lines.index(
        "Clients with version 1 break on 2026-12-23: they refuse key 2, whose pin is published on"
        " 2026-12-23 and with all clients from 2027-01-29 on."
    )
    assert ended.lines[verdict + 1] == "Nobody breaks if you"
    assert [line.rpartition(": ")[2] for line in ended.lines[verdict + 2 :]] == [
        "--reuse-key",
        "--keys-ahead 3",
        "--renew-before 38d --hold 37d",
    ]


@pytest.mark.parametrize(
    "way", ["--reuse-key", "--new-key-each-renewal --keys-ahead 3",
            "--new-key-each-renewal --renew-before 38d --hold 37d"]
)  # fmt: skip
def test_what_it_advises_works(plan, way):
    assert plan(*ISSUE, *way.split()).code == 0


def test_the_impossible_ends_with_64_and_the_reason(plan):
    ended = plan("--adoption", "60d", "--lifetime", "47d", "--new-key-each-renewal")
    assert (ended.code, ended.output) == (64, b"")
    assert ended.error.startswith(
        "keypin: impossible: with a new key at each renewal, and certificates of 47 days made for"
        " it then, the pin file can never be everywhere before the key is served: that takes 60"
        " days, and by then the certificate has expired\nNobody breaks if you\n"
    )
    assert "--reuse-key" in ended.error


def test_the_pin_file_of_a_host(plan):
    ended = plan("--pins", "pins.toml", "--host", "api.example.com", *ISSUE)
    assert ended.code == 0
    assert ended.lines[0].startswith("api.example.com, ")
    assert "2026-12-15  api 2027 goes into service, api 2026 out of it" in ended.lines
    assert "2026-12-16  pin file version 8: without api 2026" in ended.lines


def test_a_pin_file_published_too_late_for_its_dates_breaks_clients(plan):
    late = ("--pins", "pins.toml", *ISSUE, "--published", "2026-11-20")
    for arguments, who in (
        (late, "an older version"),
        ((*late, "--older-pins", "pins-6.toml"), "version 6"),
    ):
        ended = plan(*arguments)
        assert ended.code == 2
        assert f"Clients with {who} break on 2026-12-15: they refuse api 2027" in ended.text
        assert ended.lines[-1] == (
            "- let the pin file's keys go into service later: api 2027 on 2026-12-27 (not_before)"
        )
    assert plan(*late[:-1], "2026-11-08").code == 0


def test_clients_that_never_update_are_told_of_and_count_if_told_to(plan):
    arguments = (*ISSUE, "--rotate-every", "90d")
    ended = plan(*arguments)
    assert ended.code == 0
    assert "with version 1 break on 2027-08-18: they refuse key 4" in ended.lines
    assert plan(*arguments, "--count-left-behind").code == 2
    assert plan(*ISSUE, "--reuse-key", "--count-left-behind").code == 0


def test_a_lifetime_that_public_authorities_do_not_issue_is_warned_of(plan):
    arguments = ("--refresh", "7d", "--lifetime", "398d")
    ended = plan(*arguments)
    assert ended.code == 0
    assert "Public authorities do not issue certificates of 398 days: one issued on 2026-11-21" in (
        ended.text
    )
    assert "note" not in plan(*arguments, "--private-ca").text


def test_json_has_all_of_it(plan):
    ended = plan(*ISSUE, "--new-key-each-renewal", "--json")
    assert ended.code == 2
    result = ended.json
    assert (result["version"], result["breaks"], result["reach_days"]) == (1, True, 37)
    assert (result["first"], result["last"]) == ("2026-11-21", "2028-11-20")
    assert result["refusals"][0] == {
        "pin_file": "version 1", "key": "key 2", "first": "2026-12-23", "last": "2027-01-24"
    }  # fmt: skip
    assert result["verdict"].startswith("Clients with version 1 break on 2026-12-23")
    assert {event["kind"] for event in result["events"]} == {
        "start", "publish", "everywhere", "serve", "break"
    }  # fmt: skip
    assert result["pin_files"][1] == {
        "name": "version 2", "published": "2026-12-23", "keys": ["key 1", "key 2"], "expires": None
    }  # fmt: skip
    assert result["certificates"][0]["expires"] == "2027-01-07"
    assert result["services"][0] == {"key": "key 1", "first": "2026-11-21", "last": "2026-12-23"}
    assert result["alternatives"][0]["options"] == "--reuse-key"
    assert result["left_behind"]
    assert result["without_spare"] == [{"first": "2026-11-21", "last": "2028-11-20"}]
    assert result["notes"]
    assert result["expired"] == []


def test_the_picture_says_the_verdict_and_is_not_written_over(plan, tmp_path):
    arguments = (*ISSUE, "--new-key-each-renewal", "--svg", "plan.svg")
    assert plan(*arguments).code == 2
    svg = ET.parse(tmp_path / "plan.svg").getroot()
    described = svg.find("{http://www.w3.org/2000/svg}desc").text
    assert described.startswith("Clients with version 1 break on 2026-12-23")
    assert plan(*arguments).code == 73
    assert plan(*arguments, "--force").code == 2


@pytest.mark.skipif(rsvg_convert is None, reason="needs rsvg-convert (make system-deps)")
def test_a_renderer_that_is_not_ours_draws_the_picture(plan, tmp_path):
    plan(*ISSUE, "--new-key-each-renewal", "--svg", "plan.svg")
    done = subprocess.run(
        [rsvg_convert, "plan.svg"], cwd=tmp_path, capture_output=True, check=True, timeout=60
    )
    assert done.stderr == b""
    assert done.stdout.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", done.stdout[16:24])
    assert width == 1120
    assert 300 < height < 800
    assert len(done.stdout) > 10_000  # far more than an empty sheet takes


def test_the_first_day_is_today_and_the_last_two_years_later(keypin):
    before = datetime.now(UTC).date()
    result = keypin("plan", "--refresh", "1d", "--json").json
    assert result["first"] in {str(before), str(datetime.now(UTC).date())}
    first = datetime.fromisoformat(result["first"])
    assert datetime.fromisoformat(result["last"]) == first + timedelta(days=730)


@pytest.mark.parametrize(
    ("text", "number"), [("0d", 0), ("1d", 1), ("6w", 42), ("2y", 730), ("30d", 30)]
)
def test_a_time_is_a_number_of_days_weeks_or_years(plan, text, number):
    assert plan("--refresh", text, "--json").json["reach_days"] == number


@pytest.mark.parametrize(
    "text", ["", "d", "-1d", "1.5d", "12h", "36h", "6m", "1y2w", " 1d", "٣d", "101y", "9999999"]
)
def test_another_time_is_refused_with_what_is_allowed(plan, text):
    ended = plan(f"--refresh={text}")
    assert (ended.code, ended.output) == (64, b"")
    assert re.search("whole days: 30d, 6w|more than 100y", ended.error)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ("", "--adoption TIME, --refresh TIME, or both"),
        ("--refresh 1d --reuse-key --new-key-each-renewal", "which?"),
        ("--refresh 1d --rotate-every 1y --reuse-key", "which?"),
        ("--refresh 1d --until 2027-01-01 --horizon 1y", "--until or --horizon"),
        ("--refresh 1d --until 2026-11-21", "the last day is up to ten years later"),
        ("--refresh 1d --horizon 11y", "the last day is up to ten years later"),
        ("--refresh 1d --host other.example", "does not pin other.example"),
        ("--refresh 1d --lifetime 0d", "1d is the least"),
        ("--refresh 1d --overlap 0d", "1d is the least"),
        ("--refresh 1d --until 2027-02-29", "is not a date"),
        ("--refresh 1d --until 20270301", "is not a date"),
        ("--refresh 1d --issued 2026-12-01", "behind the first day"),
        ("--refresh 1d --lifetime 30d --issued 2026-09-01", "has expired on 2026-10-01"),
        ("--refresh 1d --keys-ahead 0", "without a key ahead"),
        ("--refresh 1d --pins pins.toml --host other.org", "does not pin other.org"),
        ("--refresh 1d --pins pins.toml --host a/b", "--host"),
        ("--refresh 1d --pins pins.toml --published 2027-01-01", "behind the first day"),
        ("--refresh 1d --pins pins.toml --older-pins pins.toml", "versions have to ascend"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_reason(plan, arguments, why):
    ended = plan(*arguments.split())
    assert (ended.code, ended.output) == (64, b"")
    assert why in ended.error


@pytest.mark.parametrize(("name", "code"), [("nothing.toml", 66), ("bad.toml", 65)])
@pytest.mark.parametrize("option", ["--pins", "--older-pins"])
def test_a_pin_file_that_is_not_there_or_wrong(plan, tmp_path, name, code, option):
    (tmp_path / "bad.toml").write_text("schema = 1\n")
    ended = plan("--refresh", "1d", "--pins", "pins.toml", option, name)
    assert (ended.code, ended.output) == (code, b"")
    assert name in ended.error


def test_as_a_program(keypin_process):
    ended = keypin_process("plan", *START, *ISSUE, "--new-key-each-renewal")
    assert (ended.code, ended.error) == (2, "")


def commands_that_draw():
    text = DOCUMENT.read_text(encoding="utf-8")
    return re.findall(r"^\$ (keypin plan .*--svg docs/(pictures/\S+))$", text, re.MULTILINE)


@pytest.mark.parametrize(("command", "picture"), commands_that_draw())
def test_the_pictures_of_the_document_are_what_its_commands_draw(
    keypin, tmp_path, command, picture
):
    (tmp_path / "docs" / "pictures").mkdir(parents=True)
    assert keypin(*command.split()[1:]).code in {0, 2}
    drawn = (tmp_path / "docs" / picture).read_text(encoding="utf-8")
    assert drawn == (DOCUMENT.parent / picture).read_text(encoding="utf-8")


def test_the_document_has_pictures():
    assert len(commands_that_draw()) == 2


def test_the_example_of_the_document_is_what_the_command_says(keypin):
    text = DOCUMENT.read_text(encoding="utf-8")
    examples = re.findall(r"^```\n\$ (keypin plan .*)\n((?:.*\n)*?)```$", text, re.MULTILINE)
    assert len(examples) >= 3
    for command, said in examples:
        ended = keypin(*command.split()[1:])
        assert (ended.text + ended.error).strip() == said.strip()
