"""What `keypin run` makes of commands in which no interpreter was found."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from keypin.cli.programs_without_python import Unpinned, unpinned_program

if TYPE_CHECKING:
    from pathlib import Path

ELF = b"\x7fELF\x02\x01\x01\x00"
PROGRAMS = {
    "curl": ELF,
    "clientgo": ELF + b"\xff Go buildinf:go1.25 net/http.(*Client).Get",
    "runnergo": ELF + b"\xff Go buildinf:go1.25 syscall.forkExec",
    "native": ELF + b"SSL_connect\0",
    "uwsgi": ELF + b"Py_Initialize\0",
    "wrapper": b'#!/bin/sh\nexec /opt/app/bin/python -m app "$@"\n',
    "fetching": b"#!/bin/sh\nset -e\ncurl -fsS https://a.example/ | python -m app\n",
    "by-env": b"#!/usr/bin/env bash\nwget -q https://a.example/\n",
    "curls-nothing": b"#!/bin/sh\nmy-curl x; curlew; ./curl.sh\n",
    "node-script": b"#!/usr/bin/env node\nfetch('https://a.example/')\n",
    "not-a-program": b"hello",
}
EXPECTED = {
    "curl https://a.example": ("curl", True),
    "env A=b curl x": ("curl", True),
    "env -i PATH=$BIN curl x": ("curl", True),
    "timeout 5 nice -n 3 curl x": ("curl", True),
    "clientgo": ("clientgo", True),
    "runnergo": ("runnergo", False),
    "native": ("native", False),
    "uwsgi": None,
    "wrapper": None,
    "fetching": ("curl", False),
    "by-env": ("wget", False),
    "curls-nothing": None,
    "node-script": ("node-script", False),
    "not-a-program": None,
    "not-there": None,
    "env": None,
    "timeout": None,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, content in PROGRAMS.items():
        tmp_path.joinpath(name).write_bytes(content)
        tmp_path.joinpath(name).chmod(0o755)
    for name in ("env", "nice", "timeout"):
        tmp_path.joinpath(name).symlink_to(shutil.which(name) or "")
    return tmp_path


@pytest.mark.parametrize(("command", "expected"), EXPECTED.items(), ids=EXPECTED)
def test_what_a_command_without_python_comes_down_to(folder, command, expected):
    found = unpinned_program(command.replace("$BIN", str(folder)).split(), {"PATH": str(folder)})
    if command == "timeout":
        assert found is not None
        assert not found.is_certain
    else:
        assert found == (expected and Unpinned(*expected))


def test_a_pipe_is_left_to_the_command(folder):
    os.mkfifo(folder / "pipe")
    assert unpinned_program(["/bin/sh", str(folder / "pipe")], {"PATH": str(folder)}) is None


def test_a_text_for_a_shell_is_read(folder):
    shell = ["/bin/sh", "-c"]
    environment = {"PATH": str(folder)}
    assert unpinned_program([*shell, "cd / && curl x"], environment) == ("curl", False)
    assert unpinned_program([*shell, "echo hello"], environment) is None
    assert unpinned_program(["/bin/sh", str(folder / "fetching")], environment) == ("curl", False)
