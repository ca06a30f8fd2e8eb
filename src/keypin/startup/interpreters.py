"""Interpreters that a program with installed pins makes: multiprocessing's, and subinterpreters.

They know nothing of what was installed by a call. Here every one gets the pins that are in force
when it begins to work: a process of multiprocessing before anything of the program, a
subinterpreter each time that code is about to run in it. Where that fails, they do not run.
"""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING, Any, Final

from .._internal.imports import WrappedLoader, find_behind
from ..enforcement import uncovered
from ..enforcement.process import in_main_interpreter, installed
from ..errors import ProtectionError
from . import handover

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

__all__ = ["hook_already_imported", "unwatch_if_idle", "watch"]

FORKSERVER: Final = ".forkserver import main; "
# marks what stands in the place of a function
ORIGINAL: Final = "_keypin_original"


def hook_already_imported() -> None:
    """Hook what was imported before `watch`.

    Not to be called with a lock held: it waits for imports that other threads are in the midst of.

    Raises:
        ProtectionError: a subinterpreter is at work, where pins cannot be put in force.
    """
    _refuse_at_work()
    for name in WATCHED:
        if sys.modules.get(name) is not None:
            import importlib

            _hook(importlib.import_module(name))


def watch() -> None:
    """See imports from now on. To be called with `LOCK` held."""
    if FINDER not in sys.meta_path:
        sys.meta_path.insert(0, FINDER)


def unwatch_if_idle() -> None:
    """See no more imports if no pins are installed. To be called with `LOCK` held.

    The hooks stay, as some interpreter may have pins to be taken back.
    """
    if not installed() and FINDER in sys.meta_path:
        sys.meta_path.remove(FINDER)


# multiprocessing, and those that have a copy of it


class Pins:
    """What unpickles by putting the pins in force that hold when it is pickled."""

    def __reduce__(self) -> tuple[Callable[..., None], tuple[str, dict[str, object]]]:
        return exec, handover.at_once()


def _get_preparation_data(original: Any, /, *arguments: Any, **more: Any) -> dict[str, Any]:
    """What a new process unpickles first, before the program's main module."""
    return {"keypin": Pins(), **original(*arguments, **more)}


def _spawnv_passfds(original: Any, path: Any, args: Sequence[Any], passfds: Any) -> Any:
    """The fork server imports modules of the program before it has a process to start."""
    command = next((n for n, word in enumerate(args) if FORKSERVER in str(word)), None)
    if command is None or not installed():
        return original(path, args, passfds)
    import tempfile

    source, names = handover.at_once()
    text = f"exec({source!r}, {names!r})".encode()
    with tempfile.TemporaryFile() as file:  # an argument must not be that long
        file.write(text)
        file.seek(0)
        # behind the import, by which frozen programs know what they are started for
        read = f"import os; exec(os.read({file.fileno()}, {len(text)}), {{}})"
        line = args[command].replace(FORKSERVER, f"{FORKSERVER}{read}; os.close({file.fileno()}); ")
        args = [*args[:command], line, *args[command + 1 :]]
        return original(path, args, [*passfds, file.fileno()])


# Subinterpreters

# by their number: what they were last given
_given: dict[int, bytes] = {}


def _run(original: Any, /, *arguments: Any, **more: Any) -> Any:
    """Run code in a subinterpreter, once it has the pins that are in force now."""
    interpreter = arguments[0] if arguments else more.get("id")
    _give_pins(interpreter)
    return original(*arguments, **more)


def _give_pins(interpreter: Any) -> None:
    module: Any = sys.modules.get("_interpreters") or sys.modules.get("_xxsubinterpreters")
    try:
        number = int(interpreter)
    except (TypeError, ValueError):
        return  # the error is for the function itself to raise
    pins = handover.current()
    if _given.get(number, b"") == pins or number == int(_main(module)):
        return
    run = getattr(module.run_string, ORIGINAL, module.run_string)
    failure = run(interpreter, handover.before_tls(pins, _telling_names()))
    if failure is not None:  # before 3.13 it is raised
        raise ProtectionError(f"the pins do not reach subinterpreter {number}: {failure}")
    _given[number] = pins


def _refuse_at_work() -> None:
    module: Any = sys.modules.get("_interpreters") or sys.modules.get("_xxsubinterpreters")
    if module is None or installed() or not in_main_interpreter():
        return
    for entry in module.list_all():  # (number, whence) from 3.13 on
        interpreter = entry[0] if type(entry) is tuple else entry
        if interpreter != _main(module) and module.is_running(interpreter):
            raise ProtectionError(
                f"subinterpreter {int(interpreter)} is running code, where the pins would not hold:"
                " install them before, or when it has come to its end"
            )


def _main(module: Any) -> Any:
    main = module.get_main()
    return main[0] if type(main) is tuple else main


def _run_new(original: Any, /, code: Any, *arguments: Any, **more: Any) -> Any:
    """Run code in a subinterpreter that is made for it, and ends with it."""
    if isinstance(code, str) and installed():
        code = f"{handover.before_tls(handover.current(), _telling_names())}\n{code}"
    return original(code, *arguments, **more)


def _telling_names() -> list[str]:
    """The modules by whose import an interpreter begins to need pins."""
    return ["ssl", "keypin", *WATCHED, *uncovered.WATCHED]


# The hooks

MULTIPROCESSING: Final = {"get_preparation_data": _get_preparation_data}
# the last one unpickles there, so it runs code, too
RUNNING: Final = ("exec", "run_string", "run_func", "call", "set___main___attrs")
SUBINTERPRETERS: Final = dict.fromkeys(RUNNING, _run)
WATCHED: Final[dict[str, dict[str, Any]]] = {
    "multiprocessing.spawn": MULTIPROCESSING,
    "multiprocessing.util": {"spawnv_passfds": _spawnv_passfds},
    "billiard.spawn": MULTIPROCESSING,
    "joblib.externals.loky.backend.spawn": MULTIPROCESSING,
    "loky.backend.spawn": MULTIPROCESSING,
    "multiprocess.spawn": MULTIPROCESSING,
    "multiprocess.util": {"spawnv_passfds": _spawnv_passfds},
    "_interpreters": SUBINTERPRETERS,
    "_xxsubinterpreters": SUBINTERPRETERS,
    "_testcapi": {"run_in_subinterp": _run_new},
    "_testinternalcapi": {"run_in_subinterp_with_config": _run_new},
}


def _hook(module: ModuleType) -> None:
    for name, hook in WATCHED[module.__name__].items():
        original = getattr(module, name, None)
        if original is not None and not hasattr(original, ORIGINAL):
            # like a built-in function, and unlike a def, it does not become a method in a class
            replacement = functools.update_wrapper(functools.partial(hook, original), original)
            setattr(replacement, ORIGINAL, original)
            setattr(module, name, replacement)


class InterpreterFinder:
    """Stands first in `sys.meta_path`; finds what the finders behind it find, and no more."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Let the loader of a watched module hook it; None for any other."""
        if name not in WATCHED:
            return None
        spec = find_behind(self, name, path, target)
        if spec is not None and hasattr(spec.loader, "exec_module"):
            spec.loader = Loader(spec.loader)  # type: ignore[assignment]
        return spec


FINDER: Final[Any] = InterpreterFinder()


class Loader(WrappedLoader):
    """Executes a watched module, and hooks it."""

    def execute(self, module: ModuleType) -> None:
        """See the class."""
        super().execute(module)
        _hook(module)
