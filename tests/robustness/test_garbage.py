"""What keypin looks at in the process, it leaves to the garbage collector."""

from __future__ import annotations

import ssl
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

from keypin import Pinner, PinSet
from keypin.enforcement import process as _process

SEARCHES = """
import gc, weakref
import keypin

class Cycle:
    def __init__(self):
        self.itself = self

PIN = "sha256/" + "A" * 43 + "="
garbage = Cycle()
alive = weakref.ref(garbage)
frozen = gc.get_freeze_count()
with keypin.install({"a.example": [PIN]}).installed() as pinner:
    pinner.replace(keypin.PinSet({"a.example": [PIN], "b.example": [PIN]}))
del garbage
gc.collect()
print(alive() is None, gc.get_freeze_count() <= frozen)
"""


def test_a_search_for_open_connections_freezes_nothing():
    """CPython 3.12 starts with frozen objects; to freeze again would freeze the whole program."""
    done = subprocess.run(
        [sys.executable, "-c", SEARCHES], capture_output=True, text=True, timeout=60
    )
    assert (done.stdout, done.stderr) == ("True True\n", "")


def test_what_the_program_froze_itself_stays_frozen():
    text = SEARCHES.replace("frozen = ", "gc.freeze(); frozen = ").replace("<=", ">=")
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("False True\n", "")


def test_a_search_does_not_disturb_a_tuple_that_another_thread_is_making(monkeypatch):
    """CPython raises SystemError where somebody else holds a tuple that is not finished."""
    begun, found, made = threading.Event(), threading.Event(), threading.Event()

    def items():
        yield 1
        begun.set()
        found.wait(20)
        yield 2

    def make():
        try:
            return tuple(items())
        finally:
            made.set()

    def is_closed(owner):  # asked of each connection that was found, while the search is under way
        found.set()
        made.wait(20)
        return True

    monkeypatch.setattr(_process, "_is_closed", is_closed)
    context = ssl.create_default_context()
    open_connection = context.wrap_bio(
        ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="a.example"
    )
    with ThreadPoolExecutor(1) as pool:
        making = pool.submit(make)
        begun.wait(20)
        with Pinner(PinSet({"a.example": ["sha256/" + "A" * 43 + "="]})).installed():
            assert made.is_set()
        assert making.result(20) == (1, 2)
    assert open_connection.server_hostname == "a.example"
