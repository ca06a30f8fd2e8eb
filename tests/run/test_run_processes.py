"""Processes that a pinned program starts are pinned, whatever they are started with."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys

import pytest
from programs import PINNED, UNPINNED, Scene

# Ways to start a process; each has to end in the requests that the parent waits for

MULTIPROCESSING = """
import multiprocessing, program

def show():
    print(program.requests(), flush=True)

if __name__ == "__main__":
    process = multiprocessing.get_context({method!r}).Process(target=show)
    process.start()
    process.join()
"""
EXECUTOR = """
import concurrent.futures, multiprocessing, program

if __name__ == "__main__":
    context = multiprocessing.get_context({method!r})
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as executor:
        print(executor.submit(program.requests).result(), flush=True)
"""
FORK = """
import os, program
child = os.fork()
if child == 0:
    print(program.requests(), flush=True)
    os._exit(0)
os.waitpid(child, 0)
"""
ASYNCIO = """
import asyncio, sys

async def main():
    process = await asyncio.create_subprocess_exec(sys.executable, "program.py")
    await process.wait()

asyncio.run(main())
"""
COMMAND = "[sys.executable, 'program.py']"
PROCESSES = {
    **{f"multiprocessing {m}": MULTIPROCESSING.format(method=m) for m in
       ("spawn", "forkserver", "fork")},
    "executor": EXECUTOR.format(method="spawn"),
    "os.fork": FORK,
    "asyncio": ASYNCIO,
    "subprocess": f"import subprocess, sys; subprocess.run({COMMAND})",
    "posix_spawn of subprocess":
        f"import subprocess, sys; subprocess.run({COMMAND}, close_fds=False)",
    "os.posix_spawn": f"""
import os, sys
child = os.posix_spawn(sys.executable, {COMMAND}, os.environ)
os.waitpid(child, 0)
""",
    "os.posix_spawnp": f"""
import os, sys
child = os.posix_spawnp(sys.executable, {COMMAND}, os.environ, setpgroup=0)
os.waitpid(child, 0)
""",
    "os.spawnv": f"import os, sys; os.spawnv(os.P_WAIT, sys.executable, {COMMAND})",
    "os.execv": f"import os, sys; os.execv(sys.executable, {COMMAND})",
    "os.execlp": "import os, sys; os.execlp('sh', 'sh', '-c', sys.executable + ' program.py')",
    "os.system": "import os, sys; os.system(sys.executable + ' program.py')",
    "os.popen": "import os, sys; print(os.popen(sys.executable + ' program.py').read(), end='')",
}  # fmt: skip


@pytest.mark.parametrize("text", PROCESSES.values(), ids=PROCESSES)
def test_a_process_that_a_pinned_program_starts_is_pinned(scene: Scene, bare, text):
    scene.write("main.py", text)
    scene.assert_pinned(scene.start(bare, "main.py"))


# Environments that have lost the pins, or would

KEEP = """
import os, subprocess, sys
keep = {name: os.environ[name] for name in ("SSL_CERT_FILE", "RIGHT", "WRONG")}
command = [sys.executable, "program.py"]
line = " ".join(command)
"""
LOST = {
    "none for a process": "subprocess.run(command, env=keep); assert len(keep) == 3",
    "bytes": "subprocess.run(command, env={os.fsencode(n): keep[n] for n in keep})",
    "none for a shell": "subprocess.run(line, shell=True, env=keep)",
    "none for os.execve": "os.execve(command[0], command, keep)",
    "none for os.execvpe": "os.execvpe('env', ['env', *command], {**keep, 'PATH': os.defpath})",
    "none for an open file": "os.execve(os.open('/bin/sh', 0), ['sh', '-c', line], keep)",
    "none for os.posix_spawn": "os.waitpid(os.posix_spawn(command[0], command, keep), 0)",
    "no pins": "subprocess.run(command, env=os.environ | {'KEYPIN_PACKAGES': ''})",
    "another path": "subprocess.run(command, env=os.environ | {'PYTHONPATH': '/nowhere'})",
    "a folder before": """
path = "custom:" + os.environ["PYTHONPATH"]
os.mkdir("custom")
open("custom/sitecustomize.py", "w").write("import sys; sys.stderr.write('custom')")
done = subprocess.run(command, env=os.environ | {"PYTHONPATH": path}, stderr=subprocess.PIPE)
assert done.stderr == b"custom"
""",
    "removed, and subprocess": "os.environ.clear(); os.environ |= keep; subprocess.run(command)",
    "removed, and os.system": "os.environ.clear(); os.environ |= keep; os.system(line)",
    "removed, and multiprocessing": """
import multiprocessing, program

def show():
    print(program.requests(), flush=True)

if __name__ == "__main__":
    os.environ.clear()
    os.environ |= keep
    process = multiprocessing.get_context("spawn").Process(target=show)
    process.start()
    process.join()
""",
}  # fmt: skip


@pytest.mark.parametrize("text", LOST.values(), ids=LOST)
def test_an_environment_without_the_pins_gets_them_back(scene: Scene, bare, text):
    scene.write("main.py", KEEP + text)
    scene.assert_pinned(scene.start(bare, "main.py"))


def test_a_program_may_name_another_pin_file(scene: Scene, bare):
    scene.write("other.toml", scene.pins.read_text().replace("localhost", "other.example"))
    text = "subprocess.run(command, env=os.environ | {'KEYPIN_PINS': 'other.toml'})"
    done = scene.start(bare, "-c", KEEP + text)
    assert done.stdout == f"{UNPINNED}\n"


# Interpreters that would escape

REFUSED = """
import os, subprocess, sys
own = sys.executable
mark = ["-c", {marking!r}]
try:
    {start}
except PermissionError as error:
    print(type(error).__name__, error)
"""
ESCAPES = {
    "-I": "subprocess.run([own, '-I', *mark])",
    "-E": "subprocess.run([own, '-E', *mark])",
    "-S": "subprocess.run([own, '-S', *mark])",
    "among other options": "subprocess.run([own, '-W', 'error', '-bsEu', *mark])",
    "under another name": "subprocess.run(['me', '-I', *mark], executable=own)",
    "on PATH": "subprocess.run(['python', '-I', *mark], env={'PATH': os.path.dirname(own)})",
    "posix_spawn of subprocess": "subprocess.run([own, '-I', *mark], close_fds=False)",
    "os.execv": "os.execv(own, [own, '-I', *mark])",
    "os.execve": "os.execve(own, [own, '-I', *mark], {})",
    "os.execvp": "os.execvp(own, [own, '-I', *mark])",
    "os.posix_spawn": "os.posix_spawn(own, [own, '-I', *mark], os.environ)",
    "os.posix_spawnp": "os.posix_spawnp(own, [own, '-I', *mark], os.environ)",
    "a script": "subprocess.run(['./isolated'])",
    "a script in another folder": "subprocess.run(['./isolated'], cwd='folder')",
    "env -i": "subprocess.run(['env', '-i', own, *mark])",
    "a program of another user": """
    open("become", "w").write("#!/bin/sh")
    os.chmod("become", 0o4755)
    subprocess.run(['./become', '-n', own, *mark])""",
    "a program that starts it": "subprocess.run(['xargs', own, '-I', *mark], input=b'')",
    "a shell": "subprocess.run(own + ' -I -c 1', shell=True)",
    "os.system": "os.system(own + ' -I -c 1')",
    "a copy of it": """
    import shutil
    shutil.copy(os.path.realpath(own), 'renamed')
    subprocess.run(['./renamed', '-I', *mark])""",
    "multiprocessing": """
    import multiprocessing, multiprocessing.util
    multiprocessing.util.spawnv_passfds(own, [own, '-I', *mark], [])""",
}


@pytest.mark.parametrize("start", ESCAPES.values(), ids=ESCAPES)
def test_an_interpreter_that_would_escape_is_not_started(scene: Scene, bare, start):
    for name in ("isolated", "folder/isolated"):
        scene.script(name, scene.marking, f"{bare} -Es")
    done = scene.start(bare, "-c", REFUSED.format(start=start, marking=scene.marking))
    assert done.stdout.startswith("ProcessRefused [Errno 13] keypin does not start"), done.stderr
    assert not scene.mark.exists()


def test_the_mark_of_these_tests_is_left_where_an_interpreter_is_started(scene: Scene, bare):
    done = scene.start(
        bare, "-c", REFUSED.format(start="os.execv(own, [own, *mark])", marking=scene.marking)
    )
    assert done.returncode == 0, done.stderr
    assert scene.mark.exists()


def test_a_refused_fork_and_exec_looks_like_a_program_that_cannot_be_run(scene: Scene, bare):
    start = "print(os.spawnv(os.P_WAIT, own, [own, '-I', *mark]))"
    done = scene.start(bare, "-c", REFUSED.format(start=start, marking=scene.marking))
    assert done.stdout == "127\n"
    assert not scene.mark.exists()


@pytest.mark.parametrize(
    ("start", "error"),
    [
        ("subprocess.run(['nothing-of-the-kind'])", "FileNotFoundError"),
        ("subprocess.run([])", "IndexError"),
        ("subprocess.run(['true'], env={'a': 1})", "TypeError"),
        ("subprocess.run(['true'], env={'a=b': '1'})", "ValueError"),
        ("subprocess.run(['true'], cwd='nowhere')", "FileNotFoundError"),
        ("os.execv('/nowhere', ['x'])", "FileNotFoundError"),
        ("os.execv('/nowhere', [])", "ValueError"),
        ("os.execve('/nowhere', 'x', {})", "TypeError"),
        ("os.execve('/nowhere', ['x'], {1: 'x'})", "TypeError"),
        ("os.posix_spawn('/nowhere', ['x'], {})", "FileNotFoundError"),
        ("os.system(1)", "TypeError"),
    ],
)
def test_errors_of_what_starts_processes_stay_what_they_are(scene: Scene, bare, start, error):
    code = f"""
import os, subprocess
try:
    {start}
except Exception as error:
    print(type(error).__name__)
"""
    for environment in (scene.environment, scene.pinning):
        done = scene.start(bare, "-c", code, environment=environment)
        assert done.stdout == f"{error}\n", done.stderr


# A server with workers

APPLICATION = """
import os, program

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{os.getpid()} {program.requests()}".encode()]
"""


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a socket that is a file."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=20)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(20)
        self.sock.connect(self.path)


def answer_of(path: str) -> tuple[int, str]:
    """The worker's process number, and what it says of its requests."""
    connection = UnixConnection(path)
    try:
        connection.request("GET", "/")
        worker, _, result = connection.getresponse().read().decode().partition(" ")
    finally:
        connection.close()
    return int(worker), result


def test_the_workers_of_gunicorn_are_pinned(scene: Scene):
    pytest.importorskip("gunicorn")
    scene.write("application.py", APPLICATION)
    scene.write("gunicorn.conf.py", CONFIGURATION)
    path = os.path.relpath(scene.folder / "socket")
    command = [sys.executable, "-m", "gunicorn", "application", "--bind", "unix:socket"]
    with subprocess.Popen(
        command, cwd=scene.folder, env=scene.pinning, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            assert process.stdout.readline() == b"ready\n"
            worker, result = answer_of(path)
            assert result == PINNED
            assert worker != process.pid
            # the next one is forked from the same parent
            os.kill(worker, signal.SIGKILL)
            assert process.stdout.readline() == b"ready\n"
            another, result = answer_of(path)
            assert result == PINNED
            assert another not in (worker, process.pid)
        finally:
            process.terminate()
            _, said = process.communicate(timeout=20)
    assert process.returncode == 0, said
    right, wrong = scene.settled_bytes()
    assert right > 0
    assert wrong == 0


CONFIGURATION = """
workers = 1

def post_worker_init(worker):
    print("ready", flush=True)
"""
