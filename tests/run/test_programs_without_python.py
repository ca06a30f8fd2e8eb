"""What `keypin run` makes of commands that start what nothing pins."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from keypin.cli import programs_without_python
from keypin.cli.programs_without_python import Unpinned, unpinned_program

if TYPE_CHECKING:
    from pathlib import Path

ELF = b"\x7fELF\x02\x01\x01\x00"
PROGRAMS = {
    "curl": ELF,
    "clientgo": ELF + b"\xff Go buildinf:go1.25 net/http.(*Client).Get",
    "runnergo": ELF + b"\xff Go buildinf:go1.25 syscall.forkExec",
    "native": ELF + b"SSL_connect\0",
    "windows": b"MZ\x90\0 native",
    "packed": ELF + b"_PYI_APPLICATION_HOME_DIR\0Py_Initialize\0",
    "onefile": ELF + b"NUITKA_ONEFILE_PARENT\0",
    "docker": ELF + b"\xff Go buildinf:go1.25 syscall.forkExec",
    "ssh": ELF,
    "batch": b"#!/usr/bin/python3\nimport app\n",
    "remote": b'#!/bin/sh\nssh host "cd /app && ./app"\n',
    "node-start": b"#!/bin/sh\nexport PORT=8080\nexec node server.js\n",
    "git-free": b"#!/bin/sh\ngit=x at=y ./digit legit.sh\n# look at node\necho at once ssh\n",
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
    "windows": ("windows", False),
    "packed": ("packed", True),
    "timeout 5 onefile": ("onefile", True),
    "docker run image python app.py": ("docker", True),
    "env A=b ssh host python app.py": ("ssh", True),
    "batch": None,
    "remote": ("ssh", False),
    "node-start": ("node", False),
    "git-free": None,
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


@pytest.mark.parametrize("command", ["curl -o python x", "ssh host python", "docker run a python"])
def test_a_word_that_is_called_like_python_makes_no_python_of_a_client(folder, command):
    found = unpinned_program(command.split(), {"PATH": str(folder)}, starts_python=True)
    assert found == (command.split()[0], True)
    found = unpinned_program(["native", "python"], {"PATH": str(folder)}, starts_python=True)
    assert found is None


def test_what_may_not_be_read_is_spoken_of(folder, monkeypatch):
    folder.joinpath("native").chmod(0o111)
    if os.geteuid() == 0:  # who reads everything

        def refuse(*_):
            raise PermissionError

        monkeypatch.setattr(programs_without_python, "open", refuse, raising=False)
    assert unpinned_program(["native"], {"PATH": str(folder)}) == ("native", False)


@pytest.mark.parametrize(
    "text",
    ["ssh h true", "cd x && ssh h", "exec /usr/bin/ssh h", "A=b C=d ssh h", "if x; then ssh h; fi"],
)
def test_where_a_command_begins(folder, text):
    assert unpinned_program(["/bin/sh", "-c", text], {"PATH": str(folder)}) == ("ssh", False)


def test_a_pipe_is_left_to_the_command(folder):
    os.mkfifo(folder / "pipe")
    assert unpinned_program(["/bin/sh", str(folder / "pipe")], {"PATH": str(folder)}) is None


def test_a_text_for_a_shell_is_read(folder):
    shell = ["/bin/sh", "-c"]
    environment = {"PATH": str(folder)}
    assert unpinned_program([*shell, "cd / && curl x"], environment) == ("curl", False)
    assert unpinned_program([*shell, "echo hello"], environment) is None
    assert unpinned_program(["/bin/sh", str(folder / "fetching")], environment) == ("curl", False)
