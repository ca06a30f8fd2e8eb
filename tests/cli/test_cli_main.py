"""The command line as a whole: help, versions, exit codes, and a missing extra."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from keypin import MissingExtra, __version__
from keypin.cli import ExitCode, findings
from keypin.cli.app import RENAMED, TASKS, _renamed, app, main
from keypin.lab import Http, Server

DOCUMENT = Path(__file__).parents[2] / "docs" / "command-line.md"
COMMANDS = [
    *("demo", "run", "doctor", "show", "fetch", "convert", "get"),
    *("check", "deploy", "plan", "export", "import"),
    *("init", "list", "add", "remove", "promote", "retire", "backup-key"),
    *("lab list", "lab run", "lab serve"),
]
GROUPS = ["lab"]


def commands(group: str = "") -> dict[str, Any]:
    """The commands by name, or those of a group."""
    found: Any = typer.main.get_command(app)
    for word in group.split():
        found = found.commands[word]
    return dict(found.commands)


def command_named(name: str) -> Any:
    group, _, command = name.rpartition(" ")
    return commands(group)[command]


def by_task(text: str) -> dict[str, list[str]]:
    """The commands that the help lists under each heading."""
    _, *sections = text.partition("\nExamples:")[0].split("\n\n")
    listed = [section.strip("\n").splitlines() for section in sections if ":\n" in section]
    return {lines[0]: lines[1:] for lines in listed if lines[0] != "Options:"}


def test_help_groups_the_commands_by_task(keypin):
    tasks = by_task(keypin("--help").text)
    assert "Commands:" not in tasks  # where what has no task would stand
    assert len(tasks) >= 5
    named = [name for names in TASKS.values() for name in names]
    assert sorted(named) == sorted(commands())
    found = {heading.rstrip(":"): [line.split()[0] for line in tasks[heading]] for heading in tasks}
    assert {task: sorted(names) for task, names in found.items()} == {
        task: sorted(names) for task, names in TASKS.items()
    }


def complete(*words: str, tmp_path: Path) -> list[str]:
    """What bash offers for the last word, by the script that --show-completion prints."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    script = """
        shopt -s expand_aliases
        eval "$(keypin --show-completion)" || exit 3
        complete -p keypin > /dev/null || exit 4
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
        _keypin_completion keypin "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
        printf '%s\\n' "${COMPREPLY[@]}"
    """
    done = subprocess.run(
        ["bash", "-c", script, "bash", "keypin", *words],
        env={**os.environ, "PATH": path}, cwd=tmp_path, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


@pytest.mark.skipif(sys.platform == "win32", reason="there is no bash")
def test_bash_completes_commands_and_options(tmp_path):
    assert complete("p", tmp_path=tmp_path) == ["promote", "plan"]
    assert complete("lab", "s", tmp_path=tmp_path) == ["serve"]
    assert complete("retire", "--rev", tmp_path=tmp_path) == ["--revoke"]
    assert complete("retire", "--nonsense", tmp_path=tmp_path) == []


def test_help_lists_the_commands_and_has_examples(keypin):
    ended = keypin("--help")
    assert (ended.code, ended.error) == (0, "")
    listed = [line for lines in by_task(ended.text).values() for line in lines]
    assert [line.split()[0] for line in listed] == list(commands())
    assert all(line.endswith(".") and not line.endswith("...") for line in listed)
    _, _, examples = ended.text.partition("Examples:\n")
    assert examples.splitlines()
    assert all(line.startswith("  keypin ") for line in examples.splitlines())


@pytest.mark.parametrize("command", [*COMMANDS, *GROUPS])
@pytest.mark.parametrize("option", ["-h", "--help"])
def test_each_command_has_help_with_examples_that_fits_a_terminal(keypin, command, option):
    ended = keypin(*command.split(), option)
    assert (ended.code, ended.error) == (0, "")
    assert ended.text.startswith(f"Usage: keypin {command} [OPTIONS]")
    assert "{" not in ended.lines[0]
    assert f"\nExamples:\n  keypin {command}" in ended.text
    assert max(map(len, ended.text.splitlines())) <= 80


@pytest.mark.parametrize("group", GROUPS)
def test_the_help_of_a_group_lists_its_commands(keypin, group):
    _, _, after = keypin(group, "--help").text.partition("Commands:\n")
    listed = after.partition("\n\n")[0].splitlines()
    assert {line.split()[0] for line in listed} == set(commands(group))
    assert {f"{group} {name}" for name in commands(group)} <= set(COMMANDS)
    assert all(line.endswith(".") and not line.endswith("...") for line in listed)


def test_without_arguments_it_shows_its_help_and_that_is_a_mistake(keypin):
    ended = keypin()
    assert ended.code == 64
    assert ended.output == keypin("--help").output


def test_the_version(keypin):
    ended = keypin("--version")
    assert (ended.code, ended.error) == (0, "")
    assert re.fullmatch(
        rf"keypin {re.escape(__version__)} \(Python 3\..*, OpenSSL .*\)\n", ended.text
    )


@pytest.mark.parametrize(
    "arguments",
    [["shew"], ["--nonsense"], ["show"], ["show", "--nonsense", "x"], ["convert", "a"],
     ["convert", "a", "b", "c"], ["get", "--timeout"], ["lab", "rum"], ["lab", "run"]], ids=" ".join
)  # fmt: skip
def test_a_mistake_in_the_arguments_is_one_block_that_names_the_help(keypin, arguments):
    ended = keypin(*arguments)
    assert (ended.code, ended.output) == (64, b"")
    what, where = ended.error.splitlines()
    assert what.startswith("keypin: ")
    assert re.fullmatch(r"Try: keypin( \w+)* --help", where)


def test_the_commands_run_under_typers_own_runner(credential, cafile):
    with Server(credential, application=Http(b"body")) as server:
        address = server.url_for("localhost")
        arguments = ["get", address, "--cafile", str(cafile), "--pin", str(credential.pin)]
        result = CliRunner().invoke(app, arguments)
    assert (result.exit_code, result.output) == (0, "body")
    result = CliRunner().invoke(app, ["show", "nothing.cer"])
    assert result.exception is None or isinstance(result.exception, SystemExit)


@pytest.mark.parametrize("error", [KeyboardInterrupt, typer.Abort])
def test_ctrl_c_ends_it_quietly(keypin, monkeypatch, error):
    def interrupted(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(findings, "inspect_server", interrupted)
    ended = keypin("show", "localhost")
    assert (ended.code, ended.output) == (130, b"")
    assert "Traceback" not in ended.error


def test_a_reader_that_has_seen_enough_ends_it_quietly(clean_environment, tmp_path, credential):
    tmp_path.joinpath("many.pem").write_bytes(credential.chain_pem * 200)
    command = [sys.executable, "-W", "error", "-m", "keypin", "show", "many.pem"]
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        env=clean_environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


# The extra


def test_the_program_without_its_extra_says_in_one_line_what_to_install(clean_environment):
    code = (
        "import runpy, sys; sys.modules['rich'] = None;"
        " runpy.run_module('keypin', run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=clean_environment, capture_output=True, text=True
    )
    assert done.returncode == ExitCode.MISSING_EXTRA == 69
    assert done.stdout == ""
    assert done.stderr == "keypin.cli needs rich: pip install 'keypin[cli]'\n"


@pytest.mark.parametrize("package", ["typer", "rich", "httpx2", "cryptography", "publicsuffixlist"])
def test_the_package_without_its_extra_raises_an_import_error(monkeypatch, package):
    for name in [name for name in sys.modules if name.startswith("keypin.cli")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtra, match=rf"needs {package}: pip install 'keypin\[cli\]'"):
        import keypin.cli  # noqa: F401


# The document


def test_every_exit_code_is_documented():
    rows = re.findall(
        r"^\| (\d+) \| `(\w+)` \|", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE
    )
    assert rows == [(str(int(code)), code.name) for code in ExitCode]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_and_option_is_documented(command):
    assert f"\n## keypin {command}\n" in DOCUMENT.read_text(encoding="utf-8")
    options = [it for it in command_named(command).params if it.param_type_name == "option"]
    assert not [option.name for option in options if not option.help]


def test_main_takes_the_arguments_of_the_process_by_default(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["keypin", "--version"])
    assert main() == 0
    assert capsys.readouterr().out.startswith("keypin ")


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_options_have_their_old_names_for_a_while(old, new):
    words = ["check", old, "a.example", f"{old}=b", "--", "curl", old]
    assert _renamed(words) == ["check", new, "a.example", f"{new}=b", "--", "curl", old]


def test_an_option_by_its_old_name_does_the_same(keypin):
    new, old = (
        keypin("promote", "localhost", "key", name, "missing.toml")
        for name in ("--older-pins", "--against")
    )
    assert (old.code, old.error) == (new.code, new.error)
    assert new.code == 66
