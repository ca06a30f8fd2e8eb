"""Every option that takes a time reads it alike."""

from __future__ import annotations

from datetime import timedelta

import pytest
import typer

from keypin import Pin
from keypin.cli.durations import days, duration, seconds, some_days
from keypin.pinfile import HostEntry, PinFile

WRONG = ["", "d", "-1d", "+1", "1e3", "inf", "nan", "6m", "1mo", "1d2h", " 1d", "1 d", "٣", "1D"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("30", timedelta(days=30)),
        ("30d", timedelta(days=30)),
        ("2w", timedelta(days=14)),
        ("48h", timedelta(days=2)),
        ("1y", timedelta(days=365)),
        ("15min", timedelta(minutes=15)),
        ("90s", timedelta(seconds=90)),
        ("1.5h", timedelta(minutes=90)),
        ("0", timedelta()),
    ],
)
def test_a_number_alone_counts_days_where_days_are_meant(text, expected):
    assert duration(text) == expected


def test_and_seconds_where_seconds_are():
    read = [seconds(text) for text in ("10", "0.5", 10.0, "500ms", "2min", "1h")]
    assert read == [10, 0.5, 10, 0.5, 120, 3600]
    with pytest.raises(typer.BadParameter, match="is no time"):
        seconds("0")


@pytest.mark.parametrize("text", [*WRONG, "101y", "99999999"])
@pytest.mark.parametrize("read", [duration, seconds, days, some_days])
def test_what_is_no_time_is_refused(read, text):
    with pytest.raises(typer.BadParameter, match=r"is not a time|more than 100y|is no time"):
        read(text)


def test_days_are_whole():
    assert [days("48h"), days("0"), some_days("1440min")] == [2, 0, 1]
    for text in ("36h", "90s", "1.5d"):
        with pytest.raises(typer.BadParameter, match="whole days"):
            days(text)


@pytest.mark.parametrize("text", ["30", "30d", "720h"])
def test_options_of_several_commands_take_the_same(keypin, tmp_path, text):
    entry = HostEntry("api.example.com", [Pin.from_digest(bytes(32))])
    PinFile([entry]).dump(tmp_path / "pins.toml")
    assert keypin("plan", "--adoption", text, "--refresh", text, "--lifetime", "200").code == 0
    assert keypin("check", "--lint", "--expires-within", text, "--timeout", "2min").code == 1
