"""Programs with their own event loop start processes: gevent, eventlet, asyncio.

gevent and eventlet put functions of their own in the place of those of `os`, `threading`, `time`,
`select` and `subprocess`; they are imported by the program, so after keypin.
"""

from __future__ import annotations

import sys

import pytest
from programs import PROGRAM, Scene

# eventlet's own look-up of names cannot be imported beside dnspython and trio
EVENTLET = "import os; os.environ['EVENTLET_NO_GREENDNS'] = 'yes'; import eventlet"
PATCHES = {
    "gevent": "import gevent.monkey; gevent.monkey.patch_all()",
    "eventlet": f"{EVENTLET}; eventlet.monkey_patch()",
    "eventlet and builtins": f"{EVENTLET}; eventlet.monkey_patch(builtins=True)",
    "nothing": "",
}
# what they start is another environment's interpreter, which is asked first whether it is pinned
BEGIN = """
import os, subprocess, sys, threading
python, own = sys.argv[1], sys.executable
"""
STARTS = {
    "run": "subprocess.run([python, 'program.py'], timeout=50)",
    "the same interpreter": "subprocess.run([own, 'program.py'])",
    "captured": "print(subprocess.check_output([python, 'program.py'], text=True), end='')",
    "a shell": "subprocess.run(python + ' program.py', shell=True)",
    "os.system": "os.system(python + ' program.py')",
    "without close_fds": "subprocess.run([python, 'program.py'], close_fds=False)",
    "with an environment": """
keep = {name: os.environ[name] for name in ("SSL_CERT_FILE", "RIGHT", "WRONG")}
subprocess.run([python, "program.py"], env=keep)""",
    "posix_spawn": "os.waitpid(os.posix_spawn(python, [python, 'program.py'], os.environ), 0)",
    "spawnv": "os.spawnv(os.P_WAIT, python, [python, 'program.py'])",
    "fork and exec": """
child = os.fork()
if child == 0:
    os.execv(python, [python, "program.py"])
os.waitpid(child, 0)""",
    "a thread": """
thread = threading.Thread(target=subprocess.run, args=[[python, "program.py"]])
thread.start()
thread.join()""",
}


@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS)
@pytest.mark.parametrize("library", [name for name in PATCHES if name != "nothing"])
def test_a_process_that_a_patched_program_starts_is_pinned(scene: Scene, bare, library, start):
    pytest.importorskip(library.split()[0])
    scene.write("main.py", f"{PATCHES[library]}\n{BEGIN}{start}\n")
    scene.assert_pinned(scene.start(sys.executable, "main.py", bare))


PROGRAMS = """
assert subprocess.run(["true"]).returncode == 0
assert subprocess.run(["false"]).returncode == 1
assert subprocess.run(["cat"], input=b"text", stdout=subprocess.PIPE).stdout == b"text"
assert subprocess.check_output(["sh", "-c", "echo $0", "x"]) == b"x\\n"
assert os.system("exit 3") == 3 << 8
codes = []
def start(code):
    codes.append(subprocess.run([python, "-c", f"import sys; sys.exit({code})"]).returncode)
threads = [threading.Thread(target=start, args=[code]) for code in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert sorted(codes) == [0, 1, 2, 3], codes
for command in (["nothing-of-the-kind"], ["/nowhere"]):
    try:
        subprocess.run(command)
    except FileNotFoundError:
        print("FileNotFoundError")
print("ended")
"""


@pytest.mark.parametrize("library", PATCHES)
def test_processes_of_a_patched_program_end_as_they_should(scene: Scene, bare, library):
    if library != "nothing":
        pytest.importorskip(library.split()[0])
    scene.write("main.py", f"{PATCHES[library]}\n{BEGIN}{PROGRAMS}")
    for environment in (scene.environment, scene.pinning):
        done = scene.start(sys.executable, "main.py", bare, environment=environment)
        assert done.stdout.split() == ["FileNotFoundError"] * 2 + ["ended"], done.stderr


REFUSED = """
for start in (
    lambda: subprocess.run([python, "-I", "-c", mark]),
    lambda: subprocess.run(["sh", "-c", f"{python} -I program.py"]),
    lambda: os.posix_spawn(python, [python, "-S", "-c", mark], os.environ),
    lambda: os.system(f"{python} -E program.py"),
):
    try:
        start()
    except PermissionError as error:
        print(type(error).__name__)
"""


@pytest.mark.parametrize("library", PATCHES)
def test_an_interpreter_that_would_escape_is_refused_in_a_patched_program(
    scene: Scene, bare, library
):
    if library != "nothing":
        pytest.importorskip(library.split()[0])
    text = f"{PATCHES[library]}\n{BEGIN}mark = {scene.marking!r}\n{REFUSED}"
    scene.write("main.py", text)
    done = scene.start(sys.executable, "main.py", bare)
    assert done.stdout.split() == ["ProcessRefused"] * 4, done.stderr
    assert not scene.mark.exists()
    assert scene.settled_bytes() == (0, 0)


PUT_IN_THEIR_PLACE = """
import builtins, os, posix, select, subprocess, sys, threading, time

def patched(*arguments, **more):
    raise AssertionError("this lets other greenlets run")

for module, names in {
    os: ["close", "dup", "fdopen", "fork", "open", "pipe", "read", "wait", "waitpid", "write"],
    select: ["epoll", "poll", "select"],
    subprocess: ["Popen", "run"],
    threading: ["Condition", "Event", "Lock", "RLock", "Thread"],
    time: ["sleep"],
    builtins: ["open"],
}.items():
    for name in names:
        setattr(module, name, patched)
posix.waitpid(os.posix_spawn(sys.argv[1], [sys.argv[1], "program.py"], posix.environ), 0)
posix.waitpid(os.posix_spawn("/bin/sh", ["sh", "-c", "./script"], posix.environ), 0)
"""


def test_what_looks_at_a_process_needs_nothing_that_such_libraries_replace(scene: Scene, bare):
    scene.script("script", PROGRAM, bare)
    scene.write("main.py", PUT_IN_THEIR_PLACE)
    scene.assert_pinned(scene.start(sys.executable, "main.py", bare), times=2)


ASYNCIO = """
import asyncio, sys

async def main():
    exec, shell = asyncio.create_subprocess_exec, asyncio.create_subprocess_shell
    pipe = asyncio.subprocess.PIPE
    process = await exec("cat", stdin=pipe, stdout=pipe)
    assert await process.communicate(b"text") == (b"text", None)
    starts = [exec(sys.argv[1], "program.py", stdout=pipe) for _ in range(2)]
    starts.append(shell(sys.argv[1] + " program.py", stdout=pipe))
    processes = await asyncio.gather(*starts)
    for said, _ in await asyncio.gather(*(process.communicate() for process in processes)):
        print(said.decode(), end="")
    try:
        await exec(sys.argv[1], "-I", "program.py")
    except PermissionError as error:
        assert type(error).__name__ == "ProcessRefused"
    else:
        raise AssertionError

asyncio.run(main())
"""


def test_the_processes_of_asyncio_are_pinned(scene: Scene, bare):
    scene.write("main.py", ASYNCIO)
    scene.assert_pinned(scene.start(sys.executable, "main.py", bare), times=3)
