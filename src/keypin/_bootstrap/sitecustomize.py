"""Pins a process that `keypin run` started, or ends it; then runs the program's own sitecustomize.

Python imports this module while it starts, before anything of the program, because its folder
stands first in PYTHONPATH. After an error here Python would go on: whatever goes wrong has to end
the process. Every version of Python has to understand it, to be told that it is too old.
"""

import os
import sys

try:
    if sys.version_info < (3, 11):  # noqa: UP036 - the program's Python is not that of keypin
        raise RuntimeError("keypin needs CPython 3.11 or later")

    from importlib.machinery import PathFinder
    from importlib.util import find_spec, module_from_spec

    spec = find_spec("keypin")
    if spec is None or spec.origin is None:  # none here, or just a folder that is called so
        folders = os.environ["KEYPIN_PACKAGES"].split(os.pathsep)
        spec = PathFinder.find_spec("keypin", [folder for folder in folders if folder])
        if spec is None or spec.loader is None:
            raise ImportError("no keypin in KEYPIN_PACKAGES, " + repr(folders))
        sys.modules["keypin"] = module_from_spec(spec)
        spec.loader.exec_module(sys.modules["keypin"])

    from keypin._start import start

    start()
except BaseException as error:  # noqa: BLE001 - Python would go on without pins
    try:
        sys.stderr.write(
            "keypin: the program was not started, because it could not be pinned\n"
            "  why: {}: {}\n"
            "  Python: {}, {}\n"
            "  keypin: {}\n"
            "Run it with CPython 3.11 or later and bring the keypin that it found up to date, or\n"
            "start the program without keypin.\n".format(
                type(error).__name__,
                error,
                sys.version.split()[0],
                sys.executable,
                getattr(sys.modules.get("keypin"), "__file__", "not imported"),
            )
        )
        sys.stderr.flush()
    finally:
        os._exit(78)  # keypin.cli.ExitCode.NOT_PINNED

# Now what would have run if keypin were not there. That it raises an error, or does not exist, is
# for Python to handle, as ever.
folder = os.path.dirname(os.path.abspath(__file__))
sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) != folder]
del sys.modules[__name__]
__import__(__name__)
