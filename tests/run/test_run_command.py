"""`keypin run`: what it refuses, and that the command is as it would be without it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from programs import BOOTSTRAP, PINNED, UNPINNED, Scene
from scene import unpinned

from keypin.cli import main
from keypin.cli import run as command_module
from keypin.startup.inheritance import refusing_folder

if TYPE_CHECKING:
    from collections.abc import Callable

KEYPIN = (sys.executable, "-m", "keypin", "run")


def run(scene: Scene, *command: object, **more: object) -> subprocess.CompletedProcess[str]:
    """`keypin run`, without pins in its own environment."""
    more.setdefault("environment", scene.environment)
    return scene.start(*KEYPIN, "--pins", "pins.toml", "--", *command, **more)


def test_a_program_of_another_environment_is_pinned(scene, bare):
    scene.assert_pinned(run(scene, bare, scene.program))


def test_a_program_of_keypins_own_environment_is_pinned(scene):
    scene.assert_pinned(run(scene, sys.executable, scene.program))


def test_it_changes_the_environment_in_three_variables(scene):
    environment = scene.environment | {"PYTHONPATH": "own:/another"}
    seen, before = (
        dict(entry.split("=", 1) for entry in start.stdout.split("\0") if entry)
        for start in (
            run(scene, "env", "-0", environment=environment),
            scene.start("env", "-0", environment=environment),
        )
    )
    assert seen.pop("KEYPIN_PINS") == str(scene.pins)
    assert str(BOOTSTRAP.parents[1]) in seen.pop("KEYPIN_PACKAGES").split(":")
    ours = [str(BOOTSTRAP), refusing_folder()]
    assert seen.pop("PYTHONPATH").split(":") == [*ours, "own", "/another"]
    del before["PYTHONPATH"]
    assert seen == before


def test_the_pin_file_may_be_named_by_the_environment(scene, bare):
    environment = scene.environment | {"KEYPIN_PINS": "pins.toml"}
    done = scene.start(*KEYPIN, bare, scene.program, environment=environment)
    scene.assert_pinned(done)


def test_a_run_inside_a_run_has_the_inner_pins(scene, bare):
    scene.write("other.toml", scene.pins.read_text().replace("localhost", "other.example"))
    outer = scene.start(
        *(*KEYPIN, "--pins", "other.toml"), *(*KEYPIN, "--pins", "pins.toml"),
        *(bare, "-c", "import os, program; print(program.requests(), os.environ['PYTHONPATH'])"),
        environment=scene.environment,
    )  # fmt: skip
    assert outer.stdout == f"{PINNED} {BOOTSTRAP}:{refusing_folder()}\n", outer.stderr


def test_the_pin_file_is_pins_toml_unless_another_is_named(scene, bare):
    done = scene.start(*KEYPIN, "--", bare, scene.program, environment=scene.environment)
    scene.assert_pinned(done)
    scene.pins.unlink()
    done = scene.start(*KEYPIN, "--", bare, "-c", scene.marking, environment=scene.environment)
    assert (done.returncode, done.stdout) == (66, "")
    assert "no such file: pins.toml. Make it: keypin add" in done.stderr
    assert not scene.mark.exists()


def test_in_report_mode_mismatches_pass_and_are_told_of(scene, bare):
    logging = "import logging, program; logging.basicConfig(); print(program.requests())"
    done = scene.start(
        *(*KEYPIN, "--report", "--", bare, "-c", logging), environment=scene.environment
    )
    assert done.stdout == f"{UNPINNED}\n"
    assert "in report mode, let localhost" in done.stderr
    assert str(unpinned().pin) in done.stderr
    # a process below it, and a run inside, are in that mode, too
    below = """
import os, subprocess, sys
subprocess.run([sys.executable, "program.py"], env={"RIGHT": os.environ["RIGHT"],
    "WRONG": os.environ["WRONG"], "SSL_CERT_FILE": os.environ["SSL_CERT_FILE"]})
"""
    for command in ([bare, "-c", below], [*KEYPIN, "--", bare, scene.program]):
        done = scene.start(*KEYPIN, "--report", "--", *command, environment=scene.environment)
        assert done.stdout == f"{UNPINNED}\n", done.stderr


def test_a_run_inside_a_run_may_ask_for_report_mode_itself(scene, bare):
    inner = [*KEYPIN, "--report", "--", bare, scene.program]
    done = run(scene, *inner)
    assert done.stdout == f"{UNPINNED}\n", done.stderr
    done = scene.start(*inner, environment=scene.pinning)
    assert done.stdout == f"{UNPINNED}\n", done.stderr


def test_a_denied_key_is_refused_in_report_mode(scene, bare):
    deny = f'deny = ["{unpinned().pin}"]\n'
    scene.pins.write_text(scene.pins.read_text() + deny)
    done = scene.start(
        *(*KEYPIN, "--report", "--", bare, scene.program), environment=scene.environment
    )
    assert done.stdout == f"{PINNED}\n", done.stderr


def test_a_keypin_that_knows_no_report_mode_refuses_what_names_it(scene, bare):
    """The value names no file to it, and so nothing runs unpinned."""
    assert not (scene.folder / "report:pins.toml").exists()
    environment = scene.pinning | {"KEYPIN_PINS": "report:"}
    scene.assert_not_run(scene.start(bare, "-c", "", environment=environment), "names no file")


# Commands without Python

CURL = shutil.which("curl")


@pytest.mark.skipif(CURL is None, reason="needs curl (make system-deps)")
@pytest.mark.parametrize(
    "before",
    [[], ["env", "A=b"], ["timeout", "9"], ["nice", "-n", "1", "env", "-u", "A"], ["/usr/bin/env"]],
    ids=" ".join,
)
def test_a_client_that_is_no_python_is_refused(scene, before):
    done = run(scene, *before, "curl", "-ks", scene.environment["RIGHT"])
    scene.assert_not_run(done, "curl is no Python", "--allow-unpinned")
    assert scene.settled_bytes() == (0, 0)
    word = [*KEYPIN, "--allow-unpinned", "--", *before, "curl", "-ks", scene.environment["RIGHT"]]
    done = scene.start(*word, environment=scene.environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert scene.settled_bytes()[0] > 0


def test_a_go_program_is_refused_if_it_can_start_nothing(scene):
    for functions, code in ((b"net/http.Get", 78), (b"os.StartProcess", 126)):
        client = scene.write("client", "")
        client.write_bytes(b"\x7fELF\x02 not quite \xff Go buildinf: " + functions)
        client.chmod(0o755)
        done = run(scene, "./client")
        assert done.returncode == code, done.stderr
        assert ("client is no Python" in done.stderr) is (code == 78)


@pytest.mark.parametrize(
    "command",
    [["true"], ["env", "true"], ["./other.sh"], ["sh", "other.sh"], ["sh", "-c", "true || curl x"]],
    ids=" ".join,
)
def test_a_program_that_may_start_python_runs_and_is_spoken_of(scene, command):
    scene.script("other.sh", "true || curl https://a.example/", "/bin/sh")
    done = run(scene, *command)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("keypin: warning: no Python is seen in this command.")
    done = scene.start(*KEYPIN, "--allow-unpinned", "--", *command, environment=scene.environment)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_script_without_a_client_of_its_own_is_not_spoken_of(scene, bare):
    scene.script("start.sh", f'exec "{bare}" program.py', "/bin/sh")
    for command in (["./start.sh"], ["sh", "start.sh"]):
        done = run(scene, *command)
        assert (done.stdout, done.stderr) == (f"{PINNED}\n", "")
    scene.script("app", "import program; print(program.requests())", str(bare))
    done = run(scene, "./app")
    assert (done.stdout, done.stderr) == (f"{PINNED}\n", "")


# What it refuses


@pytest.fixture
def here(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`keypin run` in this process, where no command may begin."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        monkeypatch.setattr(command_module, "_execute", pytest.fail)
        words = ["run", *map(str, arguments)]
        return subprocess.CompletedProcess(words, main(words), *capfd.readouterr())

    monkeypatch.chdir(scene.folder)
    return run


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--pins", "pins.toml"], 64, "Try: keypin run --help"),
        (["--pins", "pins.toml", "--"], 64, "Try: keypin run --help"),
        (["--pins", "nowhere.toml", "true"], 66, "no such file"),
        (["--pins", ".", "true"], 66, "cannot read"),
        (["--pins", "program.py", "true"], 65, "program.py"),
        (["--pins", "bad.toml", "true"], 65, "bad.toml"),
    ],
)
def test_a_mistake_ends_it_before_anything_runs(scene, here, arguments, code, said):
    scene.write("bad.toml", "schema = 1")
    done = here(*arguments)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert said in done.stderr


@pytest.mark.parametrize(("option", "flag"), [("-I", "-I"), ("-S", "-S"), ("-sEP", "-E")])
def test_an_interpreter_that_would_escape_is_refused(scene, bare, here, option, flag):
    done = here("--pins", "pins.toml", "--", bare, option, "-c", scene.marking)
    scene.assert_not_run(done, f"would not be pinned: {bare} {flag}")


@pytest.mark.parametrize(
    ("program", "code", "said"),
    [
        ("nothing-of-the-kind", 127, "no such program: nothing-of-the-kind"),
        ("./nothing-of-the-kind", 127, "no such program: ./nothing-of-the-kind"),
        ("./ca.pem", 126, "cannot run ./ca.pem: Permission denied"),
        ("./no-format", 126, "cannot run ./no-format: Exec format error"),
        ("./no-interpreter", 126, "cannot run ./no-interpreter: the interpreter"),
    ],
)
def test_a_command_that_cannot_be_run(scene, program, code, said):
    scene.write("no-format", "\x7f").chmod(0o755)
    scene.script("no-interpreter", "", "/nowhere/python")
    done = run(scene, program)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert done.stderr.startswith(f"keypin: {said}")
    assert "Traceback" not in done.stderr


# The command is as it would be without it


def test_the_exit_code_is_the_commands(scene, bare):
    assert run(scene, bare, "-c", "raise SystemExit(7)").returncode == 7


def test_the_process_is_the_same(scene):
    with subprocess.Popen(
        [*KEYPIN, "--pins", scene.pins, "sh", "-c", "echo $$"],
        env=scene.environment,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.communicate(timeout=60)[0] == f"{process.pid}\n".encode()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_command(scene, bare, number):
    code = "import time; print('up', flush=True); time.sleep(60)"
    with subprocess.Popen(
        [*KEYPIN, "--pins", scene.pins, bare, "-c", code],
        env=scene.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdout.readline() == b"up\n"
        process.send_signal(number)
        assert process.wait(20) == -number


def test_a_signal_can_be_handled_by_the_command(scene, bare):
    code = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(9))
print("up", flush=True)
while True:
    time.sleep(0.1)  # a signal just before signal.pause() would be handled after the next one
"""
    with subprocess.Popen(
        [*KEYPIN, "--pins", scene.pins, bare, "-c", code],
        env=scene.environment,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout.readline() == b"up\n"
        process.terminate()
        assert process.wait(20) == 9


@pytest.mark.parametrize("number", [signal.SIGPIPE, signal.SIGXFSZ])
def test_no_signal_is_ignored_because_python_does(scene, number):
    assert run(scene, "sh", "-c", f"kill -{int(number)} $$").returncode == -number


def test_signals_that_were_ignored_stay_so(scene):
    command = ["sh", "-c", 'trap "" INT; exec "$@"', "sh", *KEYPIN, "--pins", "pins.toml"]
    kill = ["sh", "-c", "kill -INT $$; echo alive"]
    assert scene.start(*command, *kill, environment=scene.environment).stdout == "alive\n"


def test_streams_arguments_and_open_files_are_passed_on(scene):
    data = bytes(range(256)) * 4096
    arguments = [b"\xff", b"", b"--pins", b"*", b"a b", b"--", b"-h"]
    program = 'for i; do printf "%s\\0" "$i"; done >"/dev/fd/$OPEN"; cat; echo told >&2'
    reading, writing = os.pipe()
    try:
        done = subprocess.run(
            [*KEYPIN, "--pins", scene.pins, "sh", "-c", program, "sh", *arguments],
            env=scene.environment | {"OPEN": str(writing)},
            pass_fds=[writing],
            input=data,
            capture_output=True,
            timeout=60,
        )
        os.close(writing)
        with os.fdopen(reading, "rb", closefd=False) as received:
            assert received.read().split(b"\0")[:-1] == arguments
    finally:
        os.close(reading)
    assert (done.returncode, done.stderr) == (0, b"told\n")
    assert done.stdout == data


# Where a process cannot become another (Windows), the command is waited for


def test_a_command_that_is_waited_for_gives_its_exit_code(scene):
    command = [sys.executable, "-c", "raise SystemExit(7)"]
    assert command_module._wait_for(command, scene.environment) == 7


def test_ctrl_c_is_left_to_a_command_that_is_waited_for(monkeypatch):
    class Interrupted(subprocess.Popen):
        interruptions = 2

        def wait(self, timeout=None):
            if self.interruptions:
                self.interruptions -= 1
                raise KeyboardInterrupt
            return super().wait(timeout)

    monkeypatch.setattr(subprocess, "Popen", Interrupted)
    assert command_module._wait_for([sys.executable, "-c", "raise SystemExit(5)"], {}) == 5
