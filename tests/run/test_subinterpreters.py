"""Pins that are installed by a call hold in subinterpreters, too, whenever those were made."""

from __future__ import annotations

import sys

import pytest
from programs import PINNED, UNPINNED, Scene, with_keypin

PROGRAM = """
import os, sys, time
sys.path.insert(0, os.getcwd())
import keypin, program
try:
    import _interpreters as interpreters
except ImportError:  # before Python 3.13
    import _xxsubinterpreters as interpreters

REQUESTS = '''
import sys
sys.path.insert(0, ".")
import program
print(program.requests(), flush=True)
'''
HOSTS = '''
import ssl, sys
keypin = sys.modules.get("keypin")
pinners = keypin.installed() if keypin else ()
print(*sorted(rule.host for pinner in pinners for rule in pinner.pins.rules), flush=True)
'''
PIN = "sha256/k3XnEYQCK79AtL9GYnT/nyhsabas03V+bhRQYHQbpXU="

def pins(*hosts):
    return keypin.PinSet({host: [PIN] for host in hosts})

def run(interpreter, code):
    failure = interpreters.run_string(interpreter, code)
    assert failure is None, failure

%s
sys.stdout.flush()
os._exit(0)  # Python 3.12.1 crashes while it ends, if a subinterpreter has imported ssl
"""


def run(scene: Scene, body: str):
    scene.write("main.py", PROGRAM % body)
    environment = with_keypin(scene)
    return scene.start(sys.executable, "-W", "ignore", "main.py", environment=environment)


def test_one_that_is_made_after_install(scene):
    body = "keypin.install('pins.toml')\nrun(interpreters.create(), REQUESTS)"
    scene.assert_pinned(run(scene, body))


def test_one_that_was_made_before(scene):
    body = """
interpreter = interpreters.create()
run(interpreter, REQUESTS)
keypin.install("pins.toml")
run(interpreter, REQUESTS)
"""
    assert run(scene, body).stdout.splitlines() == [UNPINNED, PINNED]


def test_the_pins_are_those_in_force_when_code_begins_to_run(scene):
    body = """
one, two = interpreters.create(), interpreters.create()
first = keypin.install(pins("a.example"))
run(one, HOSTS)
first.replace(pins("b.example"))
second = keypin.Pinner(pins("c.example"))
second.install()
run(one, HOSTS)
run(two, HOSTS)
first.uninstall()
second.uninstall()
run(one, HOSTS)
run(two, HOSTS)
"""
    done = run(scene, body)
    assert done.stdout.splitlines() == [
        "a.example", "b.example c.example", "b.example c.example", "", ""
    ], done.stderr  # fmt: skip


def test_one_that_makes_no_connection_imports_nothing(scene):
    body = """
keypin.install("pins.toml")
show = "import sys; print('ssl' in sys.modules, 'keypin' in sys.modules, 'Finder' in globals())"
run(interpreters.create(), show)
"""
    assert run(scene, body).stdout == "False False False\n"


def test_one_that_the_pins_do_not_reach_has_no_tls(scene):
    body = """
keypin.install("pins.toml")
from keypin.startup import handover as _handover
_handover.BEFORE_TLS = _handover.BEFORE_TLS.replace("from keypin", "from no_keypin")
run(interpreters.create(), '''
try:
    import ssl
except ImportError as error:
    print(error, flush=True)
''')
"""
    assert "no_keypin" in run(scene, body).stdout


def test_install_is_refused_while_one_is_at_work(scene):
    """Pins would not hold there before its next piece of code."""
    body = """
import threading
interpreter = interpreters.create()
begun, go_on = os.pipe(), os.pipe()
code = f"import os; os.write({begun[1]}, b'x'); os.read({go_on[0]}, 1)"
thread = threading.Thread(target=run, args=(interpreter, code))
thread.start()
os.read(begun[0], 1)
try:
    keypin.install("pins.toml")
except keypin.ProtectionError as error:
    print("running code" in str(error), keypin.installed())
os.write(go_on[1], b"x")
thread.join()
keypin.install("pins.toml")
run(interpreter, REQUESTS)
"""
    assert run(scene, body).stdout.splitlines() == ["True ()", PINNED]


def test_one_that_ends_with_its_code(scene):
    pytest.importorskip("_testcapi")
    body = """
import _testcapi
keypin.install("pins.toml")
_testcapi.run_in_subinterp(REQUESTS)
"""
    scene.assert_pinned(run(scene, body))


POOL = """
from concurrent.futures import InterpreterPoolExecutor
import concurrent.interpreters
keypin.install("pins.toml")
with InterpreterPoolExecutor(1) as executor:
    print(executor.submit(program.requests).result())
interpreter = concurrent.interpreters.create()
interpreter.exec(REQUESTS)
print(interpreter.call(program.requests))
thread = interpreter.call_in_thread(program.show)
thread.join()
"""


def test_pools_of_them(scene):
    if sys.version_info >= (3, 14):
        scene.program.write_text(scene.program.read_text() + SHOW)
        scene.assert_pinned(run(scene, POOL), times=4)
    else:
        with pytest.raises(ImportError):
            from concurrent.futures import InterpreterPoolExecutor  # noqa: F401


SHOW = """
def show():
    print(requests(), flush=True)
"""
