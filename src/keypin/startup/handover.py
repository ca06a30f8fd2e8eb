"""Pins handed to another Python interpreter: as source code, which needs the standard library only.

An interpreter that is started without the environment of this one, or beside it in this process,
knows neither the pins nor where keypin is. What it executes first tells it both.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final

from ..enforcement import process

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..pinner import Pinner
    from ..pinset import PinSet

__all__ = ["at_once", "before_tls", "current", "receive"]

NOT_PINNED: Final = 78  # EX_CONFIG; cli.ExitCode.NOT_PINNED

# Executed with `folders`, `pins`, `names` and `exit_code` as its globals
RECEIVE: Final = """
import sys

def receive():
    if pins or "keypin.startup.handover" in sys.modules:
        # last: what the interpreter has itself goes first
        sys.path.extend(folder for folder in folders if folder not in sys.path)
        from keypin.startup import handover
        from keypin.pinner import Pinner
        handover.receive(pins, Pinner)
"""
# A new process: it ends where it cannot be pinned
AT_ONCE: Final = (
    RECEIVE
    + """
try:
    receive()
except BaseException as error:
    import os
    try:
        sys.stderr.write(
            "keypin: this process was not started, because the pins of the one that starts it do"
            " not reach it: %s: %s\\n" % (type(error).__name__, error)
        )
        sys.stderr.flush()
    finally:
        os._exit(exit_code)
"""
)
# An interpreter in this process: nothing is imported there before it wants one of these names
BEFORE_TLS: Final = (
    RECEIVE
    + """
from _thread import get_ident

importing = set()

class Loader:
    def __init__(self, loader):
        self._loader = loader

    def create_module(self, spec):
        return self._loader.create_module(spec)

    def exec_module(self, module):
        for owner, name in ((module.__spec__, "loader"), (module, "__loader__")):
            if getattr(owner, name, None) is self:
                setattr(owner, name, self._loader)
        importing.add(get_ident())
        try:
            self._loader.exec_module(module)
            receive()
        finally:
            importing.discard(get_ident())

    def __getattr__(self, name):
        return getattr(self.__dict__.get("_loader"), name)


class Finder:
    keypin_handover = True

    def find_spec(self, name, path=None, target=None):
        # what such a module imports is seen when that one is complete
        if name not in names or get_ident() in importing:
            return None
        for finder in sys.meta_path.copy():
            if not hasattr(finder, "keypin_handover") and hasattr(finder, "find_spec"):
                spec = finder.find_spec(name, path, target)
                if spec is not None:
                    if not hasattr(spec.loader, "exec_module"):
                        raise ImportError("keypin cannot see %s being imported" % name)
                    spec.loader = Loader(spec.loader)
                    return spec


sys.meta_path[:] = [f for f in sys.meta_path if not hasattr(f, "keypin_handover")]
if any(name in sys.modules for name in names):
    receive()
elif pins:
    sys.meta_path.insert(0, Finder())
"""
)

# What was handed to this interpreter, and is in force
_received: list[Pinner] = []
# what `current` last answered, and for which pin sets
_last: tuple[tuple[PinSet, ...], bytes] = ((), b"")


def current() -> bytes:
    """The pin sets in force in this interpreter, to be handed on; empty if there are none."""
    global _last
    sets = tuple(dict.fromkeys(pinner.pins for pinner in process.installed()))
    known, pickled = _last
    if len(known) != len(sets) or any(a is not b for a, b in zip(known, sets, strict=True)):
        import pickle  # only here: most programs start no interpreter

        pickled = pickle.dumps(sets) if sets else b""
        _last = (sets, pickled)
    return pickled


def at_once() -> tuple[str, dict[str, object]]:
    """For a new process: source that puts the current pins in force or ends it, and its globals."""
    return AT_ONCE, _globals(current(), ())


def before_tls(pins: bytes, names: Iterable[str]) -> str:
    """For a subinterpreter: source that puts pins in force when the first of these is imported.

    It leaves no name behind, and may be executed again with other pins.
    """
    return f"exec({BEFORE_TLS!r}, {_globals(pins, tuple(names))!r})"


def _globals(pins: bytes, names: tuple[str, ...]) -> dict[str, object]:
    folders = []
    for name in ("keypin", "idna"):
        # a module may have no file, in a frozen program; there it is found without
        file = getattr(sys.modules.get(name), "__file__", None)
        if file is None and name == "idna":
            from importlib.util import find_spec

            spec = find_spec(name)
            file = spec.origin if spec is not None else None
        if file is not None:
            folders.append(os.path.dirname(os.path.dirname(os.path.abspath(file))))
    return {
        "__name__": "keypin",
        "pins": pins,
        "folders": list(dict.fromkeys(folders)),
        "names": names,
        "exit_code": NOT_PINNED,
    }


def receive(pins: bytes, make: type[Pinner]) -> None:
    """Put the pins in force that another interpreter has handed over, in place of earlier ones.

    Those that hold here by themselves are not installed twice.
    """
    import pickle

    given: tuple[PinSet, ...] = pickle.loads(pins) if pins else ()  # noqa: S301 - our parent's
    own = {p.pins for p in process.installed() if not any(p is other for other in _received)}
    wanted = [pin_set for pin_set in given if pin_set not in own]
    for pinner, pin_set in zip(_received, wanted, strict=False):
        if pinner.pins != pin_set:
            pinner.replace(pin_set)
    for pin_set in wanted[len(_received) :]:
        pinner = make(pin_set, name="the pins of the parent process")
        pinner.install()
        _received.append(pinner)
    while len(_received) > len(wanted):
        _received.pop().uninstall()
