"""Checks an environment that holds keypin's wheel and idna, and nothing else.

Run it with that environment's interpreter and -I, so that nothing of the source tree is seen.
"""

import sys

before = set(sys.modules)

import keypin  # noqa: E402 (what is loaded before it must be known)

loaded = {name.partition(".")[0] for name in set(sys.modules) - before}

import importlib  # noqa: E402
from importlib.metadata import distribution  # noqa: E402
from pathlib import Path  # noqa: E402


def check(holds: bool, otherwise: str) -> None:
    """End with this message unless the condition holds."""
    if not holds:
        sys.exit(f"check_wheel: {otherwise}")


def missing_extra(module: str) -> str:
    """Return what the import of a module whose packages are not installed says."""
    try:
        importlib.import_module(module)
    except ImportError as error:
        return str(error)
    return "no error"


here = Path(keypin.__file__).parent
check(Path(sys.prefix) in here.parents, f"keypin was imported from {here}, not from the wheel")
check((here / "py.typed").is_file(), "py.typed is not in the wheel")

for name in ("keypin.pth", "_keypin_start.start", "_keypin_start.py"):
    check((here.parent / name).is_file(), f"{name} is not in the wheel")
check((here / "_bootstrap" / "sitecustomize.py").is_file(), "_bootstrap is not in the wheel")

foreign = loaded - sys.stdlib_module_names - {"keypin", "idna"}
check(not foreign, f"import keypin loads {sorted(foreign)}")

version = distribution("keypin").version
check(version == keypin.__version__, f"version {version} in the wheel, {keypin.__version__} in it")

for extra in ("adapters", "client", "lab", "testing", "cli"):
    said = missing_extra(f"keypin.{extra}")
    check(f"keypin[{extra}]" in said, f"import keypin.{extra} does not name its extra: {said}")

print(f"keypin {version}: the wheel imports on its own")
