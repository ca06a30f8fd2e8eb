"""A file is not called what it is not."""

from __future__ import annotations

import os
import threading

import pytest

from keypin import Pin
from keypin.lab import Authority
from keypin.pinfile import HostEntry, PinFile


@pytest.fixture
def files(tmp_path):
    PinFile([HostEntry("api.example.com", [Pin.from_digest(bytes(range(32)))])]).dump(
        tmp_path / "pins.toml"
    )
    credential = Authority().issue("api.example.com")
    credential.write(tmp_path / "own")
    (tmp_path / "own.pem").write_bytes(credential.chain_pem)
    (tmp_path / "own.cer").write_bytes(credential.certificate)
    return tmp_path


@pytest.mark.parametrize(
    ("command", "right"),
    [
        ("check --lint --junit out.json", ".xml"),
        ("check --lint --junit pins.toml", ".xml"),
        ("check --lint --prometheus out.txt", ".prom"),
        ("check --lint --prometheus out", ".prom"),
        ("check --lint --prometheus out.prom.xml", ".prom"),
        ("plan --refresh 1d --svg out.png", ".svg"),
        ("plan --refresh 1d --svg out.PDF", ".svg"),
        ("export android -o out.json", ".xml"),
        ("export ios -o out.json", ".plist or .xml"),
        ("export okhttp -o Pins.java", ".kt or .kts"),
        ("export python -o out.toml", ".py"),
        ("fetch localhost:1 -o out.pem", ".der or .cer or .crt"),
        ("lab run --junit out.md -- true {url}", ".xml"),
        ("lab run --markdown out.xml -- true {url}", ".md or .markdown"),
        ("keystore --key own.pem --chain own.pem -o out.jks", ".p12 or .pfx"),
    ],
)
def test_a_name_of_something_else_is_refused_before_anything_is_done(keypin, files, command, right):
    before = {path: path.read_bytes() for path in files.iterdir() if path.is_file()}
    ended = keypin(*command.split())
    assert (ended.code, ended.output) == (64, b"")
    assert f"its name ends in {right}" in ended.error
    assert {path: path.read_bytes() for path in files.iterdir() if path.is_file()} == before


@pytest.mark.parametrize(
    "command",
    [
        "check --lint --junit out.xml --prometheus out.prom",
        "check --lint --junit report",
        "check --lint --quiet --prometheus /dev/null",
        "plan --refresh 1d --svg out.SVG",
        "plan --refresh 1d --svg picture",
        "export android -o out.xml",
        "export tlsa -o zone.txt --allow ca-not-checked",
    ],
)
def test_its_own_names_and_those_that_say_nothing_are_taken(keypin, files, command):
    assert keypin(*command.split()).code in (0, 1)


def test_a_pipe_is_called_anything(keypin, files):
    os.mkfifo(files / "pipe.txt")
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append((files / "pipe.txt").read_bytes()))
    reader.start()
    assert keypin("check", "--lint", "--prometheus", "pipe.txt").code == 1
    reader.join(20)
    assert b"keypin_check_hosts" in read[0]
