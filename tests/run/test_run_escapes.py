"""Which commands would start an interpreter that the pins do not reach."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from keypin import ProtectionError
from keypin.startup import inheritance as _inheritance
from keypin.startup.commands import why_unpinned
from keypin.startup.inheritance import BOOTSTRAP, PATH, PINS, propagate_pins, refusing_folder

PYTHON = "/nowhere/bin/python"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """What a pinned process gives to those that it starts, with a folder of programs."""
    programs = {
        "app": f"#!{PYTHON}\n",
        "isolated": f"#! {PYTHON} -Es \n",
        "two-options": f"#!{PYTHON} -s -E\n",
        "of-env": "#!/usr/bin/env -S python3 -I\n",
        "of-env-only": "#!/usr/bin/env python3\n",
        "of-a-script": f"#!{tmp_path}/isolated\n",
        "of-itself": f"#!{tmp_path}/of-itself\n",
        "shell": "#!/bin/sh\npython3 -I\n",
        "binary": "\x7fELF",
        "tool": "#!/bin/sh\n",
        "env": "\x7fELF",
        "sudo": "\x7fELF",
        "folder/inside": f"#!{PYTHON} -E\n",
        "renamed": "\x7fELF...\0Py_BytesMain\0...",
        "jail/usr/bin/python3": "\x7fELF",
        "notes-on-python": "python -I",
        "python3.12": "\x7fELF",
    }
    for name, text in programs.items():
        tmp_path.joinpath(name).parent.mkdir(parents=True, exist_ok=True)
        tmp_path.joinpath(name).write_text(text)
        tmp_path.joinpath(name).chmod(0o4755 if name == "sudo" else 0o755)
    tmp_path.joinpath("my-interpreter").symlink_to(tmp_path / "python3.12")
    environment = {"PATH": str(tmp_path), "HOME": str(tmp_path)}
    propagate_pins(environment, "/pins.toml")
    return environment


def words_of(command: str) -> list[str]:
    r"""Split it at blanks; `\\` is one inside of a word."""
    return [word.replace("\\", " ") for word in command.split()]


STAY = [
    "python app.py",
    "python -m app -I",
    "python -mapp -I",
    "python -c code -I",
    "python -ccode -I",
    "python app.py -I -E -S",
    "python -- -I",
    "python - -I",
    "python -W -I app.py",
    "python -WI app.py",
    "python -X -E app.py",
    "python -XE app.py",
    "python -bBdhiOPqRstuvVx app.py",
    "python --check-hash-based-pycs -I app.py",
    "python --version -",
    "python",
    "app -I",
    "of-env-only",
    "shell",
    "binary -I",
    "nothing-of-the-kind -I",
    "env MODE=1 python app.py",
    "env -u MODE -C / python app.py",
    "env --unset=MODE -- python app.py",
    "env",
    "env -i tool",
    "of-itself",
    "nice -n 5 python app.py",
    "timeout 5 app -I",
    "nice tool python app.py -I",
    "git grep -I python",
    "git grep -I python -- src",
    "nice cat notes-on-python -I",
    "sh -c cd\\src;python\\app.py\\-I",
    f"sh -c {PATH}=src:${PATH}\\python\\app.py",
    f"sh -c {PATH}=src:${{{PATH}}}\\python\\app.py",
    "sudo tool",
    "",
]


@pytest.mark.parametrize("command", STAY)
def test_a_command_that_is_reached(environment, command):
    assert why_unpinned(words_of(command), environment, environment["PATH"]) is None


ESCAPE = {
    "python -I app.py": "-I",
    "python -E -m app": "-E",
    "python -S": "-S",
    "python -uIc code": "-I",
    "python -sES app.py": "-S",
    "python -W error -I app.py": "-I",
    "python -Werror -X dev -Xutf8 -E app.py": "-E",
    "python --check-hash-based-pycs always -I app.py": "-I",
    "python3 -I": "-I",
    "python3.13t -I": "-I",
    "python3.11-dbg -I": "-I",
    "Python.exe -I": "-I",
    "pypy3 -S": "-S",
    "py -3.12 -I app.py": "-I",
    "my-interpreter -I": "-I",
    "isolated": "-E",
    "two-options": "-E",
    "of-env": "-I",
    "of-a-script": "-E",
    "env --nonsense python -I": "-I",
    "nice tool python -I": "-I",
    "flock lock python -I app.py": "-I",
    "choom -n 0 -- python -I app.py": "-I",
    "prlimit --nofile=64 python -E app.py": "-E",
    "chroot / python -I app.py": "-I",
    "find . -exec python -I {} ;": "-I",
    "find . -exec isolated {} ;": "-E",
    "xargs isolated": "-E",
    "start --exec=isolated": "-E",
    "start --chdir=folder ./inside": "-E",
    "script -c python\\-I\\app.py": "-I",
    "sh -c cd\\/;exec\\python\\-I": "-I",
    "sh -c cd\\folder&&./inside": "-E",
    "sh -c (isolated|cat)": "-E",
    'sh -c "python"\\-I': "-I",
    "sh -c echo\\x;env\\-i\\python\\app.py": PINS,
    f"sh -c {PATH}=src\\python\\app.py": PATH,
    f"sh -c export\\{PATH}=src;python\\app.py": PATH,
    f"sh -c unset\\{PINS};python\\app.py": PINS,
    'perl -e exec\\"python",\\"-I"': "-I",
    "env -C folder ./inside": "-E",
    "env --chdir=folder nice ./inside": "-E",
    "renamed -I": "-I",
    "nice renamed -I": "-I",
    "timeout 5 sudo -n python app.py": PINS,
    "setpriv --reset-env python app.py": PINS,
    "bwrap --clearenv python app.py": PINS,
    "sh -c sudo\\python\\app.py": PINS,
    "chroot jail /usr/bin/python3 app.py": "root folder",
    "unshare --root=jail python3 app.py": "root folder",
    " ".join(["env"] * 12): "more than",
    "env python -I": "-I",
    "env MODE=1 python -I": "-I",
    "env -i python app.py": PINS,
    "env - python app.py": PINS,
    "env -vi0 python app.py": PINS,
    "env --ignore-environment python app.py": PINS,
    f"env -u {PINS} python app.py": PINS,
    f"env --unset={PINS} python app.py": PINS,
    f"env -u{PATH} python app.py": PATH,
    f"env {PATH}=src python app.py": PATH,
    f"env {PINS}= python app.py": PINS,
    "nice -n 5 python -I": "-I",
    "nice env -i python": PINS,
    "timeout 5 isolated": "-E",
    "uv run --no-project python -I": "-I",
    "sudo python app.py": PINS,
    "sudo -u root app": PINS,
}


@pytest.mark.parametrize(("command", "why"), ESCAPE.items())
def test_a_command_that_escapes(environment, command, why):
    assert why in why_unpinned(words_of(command), environment, environment["PATH"])


@pytest.mark.parametrize(
    ("option", "more"), [(["-S"], ""), (["-iS"], ""), (["-vS"], "-I"), (["--split-string"], "-I")]
)
def test_the_words_that_env_splits(environment, option, more):
    escapes = bool(more) or "-iS" in option
    found = why_unpinned(["env", *option, f"MODE='a b' python {more}", "app.py"], environment)
    assert (found is not None) is escapes


def test_a_program_is_looked_for_in_its_own_folder(environment, tmp_path):
    assert why_unpinned(["./isolated"], environment, str(tmp_path))
    assert why_unpinned(["./isolated"], environment, "/") is None


def test_this_interpreter_is_known_under_any_name(environment, tmp_path):
    alias = tmp_path / "runtime"
    alias.symlink_to(sys.executable)
    assert "-S" in why_unpinned([str(alias), "-S"], environment)


def test_what_cannot_be_read_is_no_script(environment, tmp_path):
    os.mkfifo(tmp_path / "pipe", 0o755)
    for name in ("pipe", "folder"):
        assert why_unpinned([str(tmp_path / name), "-I"], environment) is None


def test_handing_on_keeps_what_is_there_and_comes_first():
    environment = {PATH: f"a:{BOOTSTRAP}::b", PINS: "other.toml", "MODE": "1"}
    propagate_pins(environment, "/pins.toml")
    assert environment[PATH].split(":") == [BOOTSTRAP, refusing_folder(), "a", "", "b"]
    assert environment[PINS] == "other.toml"
    assert environment["MODE"] == "1"
    again = environment.copy()
    propagate_pins(again, "/pins.toml")
    assert again == environment


def test_an_empty_path_stays_empty():
    """An empty PYTHONPATH is none; an empty entry would be the current folder."""
    environment = {PATH: ""}
    propagate_pins(environment, "/pins.toml")
    assert environment[PATH].split(":") == [BOOTSTRAP, refusing_folder()]


def test_a_folder_that_pythonpath_cannot_name_is_refused(monkeypatch):
    monkeypatch.setattr(_inheritance, "HOME", "/a:b/keypin")
    with pytest.raises(ProtectionError, match="a:b"):
        _inheritance._packages.__wrapped__()
