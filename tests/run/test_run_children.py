"""Processes that would not find what pins them, or that lose it on the way: they do not run."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest
from programs import PINNED, Scene, make_environment, site_packages

from keypin.startup import inheritance as _inheritance

START = """
import os, subprocess, sys
own = sys.executable
command = [own, "program.py"]
mark = [own, "-c", {marking!r}]
def start(*words, **more):
    try:
        print(subprocess.run(list(words), **more).returncode, flush=True)
    except Exception as error:
        print(type(error).__name__, error, flush=True)
"""


def run(scene: Scene, python: Path, text: str, **more: object):
    code = START.format(marking=scene.marking) + text
    return scene.start(python, "-c", code, **more)


# The environment that a process gets is the one that was looked at

CHANGES = {
    "os.unsetenv": "for n in names: os.unsetenv(n)\nsubprocess.run(command)",
    "os.putenv": "for n in names: os.putenv(n, '')\nsubprocess.run(command)",
    "os.unsetenv, and a shell": "for n in names: os.unsetenv(n)\nos.system(' '.join(command))",
    "os.unsetenv, and os.execv": "for n in names: os.unsetenv(n)\nos.execv(own, command)",
    "in the new process": "subprocess.run(command, preexec_fn=os.environ.clear)",
    "in the new process, by C": """
def lose():
    for name in names: os.unsetenv(name)
subprocess.run(command, preexec_fn=lose)
""",
    "C itself": """
import ctypes
os.environ.clear()
getenv = ctypes.CDLL(None).getenv
getenv.restype = ctypes.c_char_p
assert getenv(b"HOME") is None
for name in names: assert getenv(name.encode())
os.environ.update(keep)
subprocess.run(command)
""",
}
NAMES = """
names = ("KEYPIN_PINS", "KEYPIN_PACKAGES", "PYTHONPATH")
keep = {name: os.environ[name] for name in ("SSL_CERT_FILE", "RIGHT", "WRONG")}
"""


@pytest.mark.parametrize("text", CHANGES.values(), ids=CHANGES)
def test_a_change_of_the_environment_after_the_look(scene, bare, text):
    done = run(scene, bare, NAMES + text)
    scene.assert_pinned(done)


def test_an_environment_that_another_thread_changes_meanwhile(scene, bare):
    text = (
        NAMES
        + """
import threading, unittest.mock
ask = "import sys; start = sys.modules.get('keypin._start'); print(bool(start and start._pins))"
begun, end = threading.Event(), threading.Event()
def lose():
    while not end.is_set():
        with unittest.mock.patch.dict(os.environ, keep, clear=True):
            begun.set()
thread = threading.Thread(target=lose)
thread.start()
begun.wait()
for _ in range(4):
    print("run", subprocess.run([own, "-c", ask]).returncode, flush=True)
    # 127: C's system() hands on its environment while it is being changed, and execve fails.
    # Without keypin, so did 43 of 300 os.system("true") beside such a thread
    print("system", os.system(f'{own} -c "{ask}"') in (0, 127 << 8), flush=True)
end.set()
thread.join()
"""
    )
    done = run(scene, bare, text)
    lines = done.stdout.splitlines()
    assert set(lines) == {"True", "run 0", "system True"}, (lines, done.stderr)
    assert lines.count("run 0") == lines.count("system True") == 4
    assert lines.count("True") >= 4


def test_what_a_program_does_to_its_environment_is_what_its_processes_see(scene, bare):
    text = """
os.putenv("SEEN", "by C only")
os.environ["TOO"] = "by both"
os.unsetenv("SSL_CERT_FILE")
start("sh", "-c", "echo $SEEN $TOO ${SSL_CERT_FILE-none}")
start("sh", "-c", "echo $SEEN", env={"SEEN": "given"})
"""
    done = run(scene, bare, text)
    assert done.stdout.splitlines() == ["by C only by both none", "0", "given", "0"], done.stderr


def test_an_entry_of_an_environment_that_is_no_variable_is_passed_on(scene, bare):
    text = """
import _posixsubprocess
reading, writing = os.pipe()
def fork_exec(*command, env):
    return _posixsubprocess.fork_exec(
        list(command), [command[0].encode()], False, (), None, env, -1, -1, -1, -1, -1, -1,
        reading, writing, False, False, -1, None, None, None, -1, None, *last)
last = () if sys.version_info >= (3, 14) else (False,)
os.set_inheritable(writing, True)
odd = [b"no-equals", b"=x", b"A=1", b"A=2", b"B=\\xc3\\xa4"]
os.waitpid(fork_exec("/usr/bin/env", env=odd), 0)
"""
    seen = {}
    for environment in (scene.environment, scene.pinning):
        done = run(scene, bare, text, environment=environment)
        assert done.returncode == 0, done.stderr
        ours = ("KEYPIN_", "PYTHONPATH")
        lines = [line for line in done.stdout.splitlines() if not line.startswith(ours)]
        seen[environment is scene.environment] = lines
    assert seen[True] == seen[False]
    assert "no-equals" in seen[True]


def test_what_a_function_can_do_is_still_told(scene, bare):
    text = "print(os.execve in os.supports_fd)"
    for environment in (scene.environment, scene.pinning):
        assert run(scene, bare, text, environment=environment).stdout == "True\n"


# Another name, by which an interpreter finds other packages


def test_the_name_that_an_interpreter_is_given_counts(scene, hooked, bare):
    """`argv[0]` is where it looks for its environment, so keypin.pth need not be there."""
    environment = scene.environment | {"KEYPIN_PINS": str(scene.pins)}
    text = f"""
start({str(bare)!r}, "-I", *mark[1:], executable=own)
start("env", "--argv0={bare}", own, "-I", *mark[1:])
start(own, "-I", "program.py")
"""
    done = run(scene, hooked, text, environment=environment)
    first, second, third, code = done.stdout.splitlines()
    assert first.startswith("ProcessRefused")
    assert second.startswith("ProcessRefused")
    assert (third, code) == (PINNED, "0")
    assert not scene.mark.exists()


def test_the_interpreter_that_will_be_run_is_looked_at_and_no_other(scene, hooked, bare):
    """That of the new process's folder, or of the PATH by which it is looked for."""
    folder, own, other = scene.folder / "folder" / "bin", hooked.parent, bare.parent
    folder.mkdir(parents=True)
    folder.joinpath("python").symlink_to(bare)
    text = f"""
start("python", "-I", *mark[1:], cwd="folder", env={{"PATH": "bin:{own}"}})
start("sh", "-c", "PATH={other}; python -I -c 1")
start("env", "PATH={other}", "python", "-I", *mark[1:])
os.environ["PATH"] = {str(other)!r}
try:
    os.posix_spawnp("python", ["python", "-I", *mark[1:]], {{"PATH": {str(own)!r}}})
except OSError as error:
    print(type(error).__name__)
"""
    environment = scene.environment | {"KEYPIN_PINS": str(scene.pins)}
    done = run(scene, hooked, text, environment=environment)
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["ProcessRefused"] * 4
    assert not scene.mark.exists()


# Another sitecustomize


@pytest.fixture
def shadowing(scene: Scene, tmp_path: Path) -> Path:
    """An environment without keypin that puts a sitecustomize of its own first."""
    python = make_environment(tmp_path / "venv")
    scene.write("first/sitecustomize.py", "")
    line = f"import sys; sys.path.insert(0, {str(scene.folder / 'first')!r})"
    site_packages(python).joinpath("first.pth").write_text(line)
    return python


@pytest.mark.parametrize(
    "start",
    [
        "start(other, *mark[1:])",
        "start('nice', other, *mark[1:])",
        "start('sh', '-c', other + ' ' + 'program.py')",
        "start(other, *mark[1:], env={})",
        "start('./script')",
        "os.execv(other, [other, *mark[1:]])",
    ],
)
def test_an_environment_that_puts_another_sitecustomize_first(scene, bare, shadowing, start):
    scene.script("script", scene.marking, str(shadowing))
    text = (
        f"other = {str(shadowing)!r}\ntry:\n    {start}\nexcept OSError as error:\n    print(error)"
    )
    done = run(scene, bare, text)
    assert "another sitecustomize" in done.stdout, (done.stdout, done.stderr)
    assert not scene.mark.exists()


def test_keypin_run_refuses_such_an_environment(scene, shadowing):
    command = (sys.executable, "-m", "keypin", "run", "--pins", "pins.toml", "--")
    environment = scene.environment | {"PYTHONPATH": _inheritance._packages()}
    done = scene.start(*command, shadowing, "-c", scene.marking, environment=environment)
    scene.assert_not_run(done, "another sitecustomize")


def test_an_environment_is_asked_again_when_it_has_changed(scene, bare, shadowing):
    line = site_packages(shadowing).joinpath("first.pth")
    text = line.read_text()
    line.unlink()
    done = run(
        scene,
        bare,
        f"""
other = {str(shadowing)!r}
start(other, "program.py")
open({str(line)!r}, "w").write({text!r})
start(other, *mark[1:])
""",
    )
    first, code, second = done.stdout.splitlines()
    assert (first, code) == (PINNED, "0")
    assert "another sitecustomize" in second
    assert not scene.mark.exists()


# Where keypin cannot be read


@pytest.fixture
def private(scene: Scene) -> dict[str, str]:
    """The environment of `keypin run`, with a keypin in a folder of its own."""
    home = scene.folder / "private"
    for package in _inheritance._packages().split(os.pathsep):
        for name in ("keypin", "idna"):
            if Path(package, name).is_dir():
                shutil.copytree(Path(package, name), home / name)
    code = (
        "import os, sys; from keypin.startup.inheritance import propagate_pins;"
        " propagate_pins(os.environ, sys.argv[1]);"
        " print(*(os.environ[name] for name in sys.argv[2:]), sep='\\n')"
    )
    names = ("KEYPIN_PINS", "KEYPIN_PACKAGES", "PYTHONPATH")
    environment = {**scene.environment, "PYTHONPATH": str(home)}
    done = scene.start(sys.executable, "-c", code, scene.pins, *names, environment=environment)
    values = done.stdout.splitlines()
    assert values[2].startswith(str(home)), done.stderr
    values[2] = values[2].removesuffix(f":{home}")
    return scene.environment | dict(zip(names, values, strict=True))


def test_a_keypin_that_was_moved_under_a_running_program(scene, bare, private):
    text = f"""
start(*command)
os.rename({str(scene.folder / "private")!r}, "moved")
start(*mark)
start("nice", *mark)
start("sh", "./script")
start("echo", "and others run")
"""
    scene.write("script", f"'{bare}' -c \"{scene.marking}\"\n")
    done = run(scene, bare, text, environment=private)
    lines = done.stdout.splitlines()
    assert lines[:2] == [PINNED, "0"], done.stderr
    assert lines[2].startswith("ProcessRefused")
    assert "private" in lines[2]
    assert lines[3].startswith("ProcessRefused")
    assert lines[4:] == ["78", "and others run", "0"]
    assert not scene.mark.exists()


def test_a_keypin_that_was_moved_with_the_folder_that_refuses(scene, bare, private):
    """Then nobody knows what a shell would start."""
    refusing = private["PYTHONPATH"].split(":")[1]
    text = f"""
from keypin.startup import inheritance as _inheritance
_inheritance._make_refusing_folder = lambda: (_ for _ in ()).throw(OSError())
os.rename({str(scene.folder / "private")!r}, "moved")
_inheritance._refusing = None
start("sh", "./script")
"""
    done = run(scene, bare, text, environment=private)
    assert refusing
    assert done.stdout.startswith("ProcessRefused")


PUBLIC = next(
    (
        path
        for name in ("python3.15", "python3.14", "python3.13", "python3.12", "python3.11")
        if (path := shutil.which(name, path="/usr/bin:/usr/local/bin"))
    ),
    None,
)


@pytest.mark.skipif(PUBLIC is None, reason="needs a system Python (make system-deps)")
@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("start(*mark, user='nobody')", "ProcessRefused"),
        ("start(*mark, group='nogroup', extra_groups=[], user=65534)", "ProcessRefused"),
        ("start(*mark, preexec_fn=lambda: os.setuid(65534))", "SubprocessError"),
        ("start('sh', './script', preexec_fn=lambda: os.setuid(65534))", "78"),
        ("start('nice', *mark, user='nobody')", "ProcessRefused"),
        ("start('setpriv', '--reuid=65534', *mark)", "78"),
        ("start('setpriv', '--reuid=65534', 'sh', './script')", "78"),
        ("start('runuser', '-u', 'nobody', '--', *mark)", "78"),
        ("start('chroot', '--userspec=65534', '/', *mark)", "78"),
        ("os.setuid(65534); start(*mark)", "ProcessRefused"),
        ("os.setuid(65534); start('sh', './script')", "78"),
    ],
)
def test_a_process_of_a_user_who_cannot_read_keypin(scene, private, start, end):
    if os.geteuid() != 0:  # no process of this user becomes another
        private_folder = str(scene.folder / "private")
        start, end = f"os.chmod({private_folder!r}, 0); start(*mark)", "ProcessRefused"
    for folder in (scene.folder, *scene.folder.parents):
        if folder != Path("/") and folder != Path("/tmp"):
            folder.chmod(0o755)
    (scene.folder / "private").chmod(0o700)
    scene.folder.chmod(0o777)
    scene.write("script", f"'{PUBLIC}' -c \"{scene.marking}\"\n")
    done = run(scene, PUBLIC, start, environment=private)
    assert done.stdout.startswith(end), (done.stdout, done.stderr)
    assert not scene.mark.exists()


@pytest.mark.skipif(PUBLIC is None, reason="needs a system Python (make system-deps)")
def test_a_process_of_a_user_who_can_read_keypin_is_pinned(scene, private):
    for folder in (scene.folder, *scene.folder.parents):
        if folder != Path("/") and folder != Path("/tmp"):
            folder.chmod(0o755)
    text = """
subprocess.run(command, user="nobody")
subprocess.run(["setpriv", "--reuid=65534", *command])
"""
    if os.geteuid() != 0:
        text = "subprocess.run(command)\nsubprocess.run(command)"
    scene.assert_pinned(run(scene, PUBLIC, text, environment=private), times=2)


def test_a_process_with_another_root_folder(scene, bare):
    text = "start('sh', '-c', 'exit', preexec_fn=lambda: os.chroot('/var'))"
    assert run(scene, bare, text).stdout.startswith("SubprocessError")


def test_without_pins_the_mark_is_left(scene, bare):
    assert run(scene, bare, "start(*mark)", environment=scene.environment).stdout == "0\n"
    assert scene.mark.exists()


# Report mode is asked for by whoever starts the first process, and by nobody below it

REPORTING = {
    "in its environment": "start(*command, env={**os.environ, **reporting})",
    "as bytes": "start(*command, env={**os.environb, b'KEYPIN_PINS': os.fsencode(value)})",
    "of this process": "os.environ.update(reporting); start(*command)",
    "of C": "os.putenv('KEYPIN_PINS', value); os.execv(own, command)",
    "for a shell": "start('sh', '-c', own + ' program.py', env={**os.environ, **reporting})",
    "in a shell": "start('sh', '-c', f'KEYPIN_PINS={value} {own} program.py')",
    "by env": "start('env', 'KEYPIN_PINS=' + value, *command)",
    "os.system": "os.system(f'KEYPIN_PINS={value} {own} program.py')",
    "spawned": "os.posix_spawn(own, command, {**os.environ, **reporting})",
}


@pytest.mark.parametrize("text", REPORTING.values(), ids=REPORTING)
def test_a_pinned_process_starts_none_in_report_mode(scene, bare, text):
    value = f"value = {'report:' + str(scene.pins)!r}; reporting = dict(KEYPIN_PINS=value)\n"
    done = run(scene, bare, value + text)
    assert "asks for report mode" in done.stdout + done.stderr
    assert scene.settled_bytes() == (0, 0)


def test_what_nobody_looks_at_keeps_the_pins(scene, bare):
    text = f"""
import ctypes
os.environ["KEYPIN_PINS"] = {"report:" + str(scene.pins)!r}
getenv = ctypes.CDLL(None).getenv
getenv.restype = ctypes.c_char_p
print(getenv(b"KEYPIN_PINS").decode())
"""
    done = run(scene, bare, text)
    assert done.stdout == f"{scene.pins}\n", done.stderr


def test_a_folder_that_is_called_like_report_mode(scene, bare):
    """What names two things is neither."""
    scene.write(f"report:{scene.pins}", scene.pins.read_text())
    environment = scene.pinning | {"KEYPIN_PINS": f"report:{scene.pins}"}
    scene.assert_not_run(scene.start(bare, "-c", "", environment=environment), "write ./report:")
