"""What `install()` puts in force holds in the processes of multiprocessing, however they begin."""

from __future__ import annotations

import subprocess
import sys

import pytest
from programs import PINNED, UNPINNED, Scene, with_keypin

METHODS = ("fork", "forkserver", "spawn")

# `install` stands where a process that is not forked does not come by
MAIN = """
import concurrent.futures, multiprocessing, sys
import keypin, program

def show():
    print(program.requests(), flush=True)

def hosts():
    return sorted(rule.host for pinner in keypin.installed() for rule in pinner.pins.rules)

PIN = "sha256/k3XnEYQCK79AtL9GYnT/nyhsabas03V+bhRQYHQbpXU="

def pins(*hosts):
    return keypin.PinSet({host: [PIN] for host in hosts})

def run(function=show):
    process = context.Process(target=function)
    process.start()
    process.join()

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
"""


def run(scene: Scene, method: str, body: str, before: str = ""):
    lines = "".join(f"    {line}\n" for line in body.strip().splitlines())
    scene.write("main.py", before + MAIN + lines)
    return scene.start(sys.executable, "main.py", method, environment=with_keypin(scene))


WAYS = {
    "Process": "run()",
    "Pool": "with context.Pool(1) as pool:\n    print(pool.apply(program.requests))",
    "executor": (
        "with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as executor:\n"
        "    print(executor.submit(program.requests).result())"
    ),
    "a process of a process": "run(below)",
}
BELOW = """
def below():
    import multiprocessing
    process = multiprocessing.get_context().Process(target=show)
    process.start()
    process.join()
"""


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_process_is_pinned(scene, method, way):
    body = f"keypin.install('pins.toml')\nmultiprocessing.set_start_method({method!r})\n{way}"
    scene.assert_pinned(run(scene, method, body, before=BELOW))


def test_a_fork_server_that_was_there_before(scene):
    done = run(scene, "forkserver", "run()\nkeypin.install('pins.toml')\nrun()")
    assert done.stdout.splitlines() == [UNPINNED, PINNED], done.stderr


def test_what_a_fork_server_imports_is_pinned(scene):
    scene.write("early.py", "import program; program.wanted and print(program.requests())")
    scene.write("program.py", scene.program.read_text() + "\nwanted = __name__ != '__main__'\n")
    body = (
        "multiprocessing.set_forkserver_preload(['early'])\nkeypin.install('pins.toml')\nrun(int)"
    )
    done = run(scene, "forkserver", body)
    assert (done.stdout, done.returncode) == (f"{PINNED}\n", 0), done.stderr
    assert scene.settled_bytes()[1] == 0


def test_what_the_main_module_does_on_import_is_pinned(scene):
    before = "import program\nif __name__ != '__main__': print(program.requests())\n"
    done = run(scene, "spawn", "keypin.install('pins.toml')\nrun(int)", before)
    assert (done.stdout, done.returncode) == (f"{PINNED}\n", 0), done.stderr


@pytest.mark.parametrize("method", METHODS)
def test_the_pins_are_those_in_force_when_the_process_begins(scene, method):
    body = """
def see():
    with context.Pool(1) as pool:
        print(*pool.apply(hosts))
see()
first = keypin.install(pins("a.example"))
second = keypin.Pinner(pins("b.example", "c.example"))
second.install()
see()
first.replace(pins("d.example"))
see()
second.uninstall()
see()
first.uninstall()
see()
"""
    done = run(scene, method, body)
    assert done.stdout.splitlines() == [
        "", "a.example b.example c.example", "b.example c.example d.example", "d.example", ""
    ], done.stderr  # fmt: skip


def test_pins_that_a_process_has_by_itself_are_not_installed_twice(scene, hooked):
    scene.write("main.py", MAIN + "    with context.Pool(1) as pool: print(*pool.apply(hosts))\n")
    environment = scene.environment | {"KEYPIN_PINS": str(scene.pins)}
    for method in METHODS:
        done = scene.start(hooked, "main.py", method, environment=environment)
        assert done.stdout.split() == ["localhost"], done.stderr


def test_an_observer_stays_behind(scene):
    """It may be a method of anything; the pins matter."""
    body = "keypin.Pinner(keypin.PinSet.load('pins.toml'), on_verdict=lambda v: 0).install()\nrun()"
    scene.assert_pinned(run(scene, "spawn", body))


# what the parent sends is spoilt: the child finds no keypin, or cannot read the pins
SPOILT = {
    "no keypin": "_handover.RECEIVE.replace('keypin', 'no_keypin')",
    "other pins": "_handover.RECEIVE.replace('receive(pins', 'receive(pins[1:]')",
}


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
@pytest.mark.parametrize("text", SPOILT.values(), ids=SPOILT)
def test_a_process_that_the_pins_do_not_reach_does_not_run(scene, method, text):
    before = f"def mark():\n    open({str(scene.mark)!r}, 'w')\n"
    body = f"""
run(int)
keypin.install('pins.toml')
from keypin.startup import handover as _handover
_handover.AT_ONCE = {text} + _handover.AT_ONCE.removeprefix(_handover.RECEIVE)
process = context.Process(target=mark)
process.start()
process.join()
print(process.exitcode)
"""
    done = run(scene, method, body, before)
    assert done.stdout == "78\n", done.stderr
    assert "keypin: this process was not started" in done.stderr
    assert not scene.mark.exists()


def test_multiprocessing_is_hooked_whenever_it_is_imported(scene):
    text = """
import program

if __name__ == "__main__":
    import keypin, sys
    keypin.install("pins.toml")
    assert "multiprocessing" not in sys.modules
    import multiprocessing
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.apply(program.requests))
"""
    scene.write("main.py", text)
    scene.assert_pinned(scene.start(sys.executable, "main.py", environment=with_keypin(scene)))


def test_install_imports_nothing_of_multiprocessing():
    code = """
import sys, keypin
pin = "sha256/k3XnEYQCK79AtL9GYnT/nyhsabas03V+bhRQYHQbpXU="
keypin.install({"a.example": [pin]}).uninstall()
print([name for name in sys.modules if name.split(".")[0] in ("multiprocessing", "pickle")])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "[]\n", done.stderr
