"""The start of a process that the environment variable KEYPIN_PINS pins.

`keypin.pth`, `_keypin_start.start` and `_bootstrap/sitecustomize.py` call it before the program
begins. It has no way to fail but to end the process.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from .errors import KeypinError, ProtectionError
from .pinner import Pinner
from .pinset import PinSet
from .startup.handover import NOT_PINNED
from .startup.inheritance import PINS, SentPackages, named_pin_file, propagate_pins

__all__ = ["start"]

# the value of KEYPIN_PINS, its path absolute, once the pins are in force
_pins: str | None = None


def start() -> None:
    """Install the pins of KEYPIN_PINS in this process and, by environment, in those it starts.

    Once; further calls do nothing. If anything goes wrong, the process ends.
    """
    global _pins
    if _pins is not None:
        return
    try:
        mode, file = _pin_file()
        own = PinSet.load(file)
        pins = os.environ[PINS] = mode + file
        # beside those that the program installs, which replace only each other
        Pinner(own.in_report_mode() if mode else own, name=f"{PINS} ({pins})").install()
        sys.meta_path.append(SentPackages)
        propagate_pins(os.environ, pins)
        if os.name == "posix":
            from .startup import process_starts

            process_starts.watch(pins)
        _pins = pins
    except BaseException as error:  # noqa: BLE001 - Python would go on without pins
        _end(error)


def _pin_file() -> tuple[str, str]:
    value = os.environ.get(PINS)
    mode, name = named_pin_file(value or "")
    if not name:
        raise ProtectionError(f"{PINS} {'names no file' if value else 'is empty or not set'}")
    return mode, os.path.abspath(name)


def _end(error: BaseException) -> NoReturn:
    try:
        told = isinstance(error, KeypinError | OSError)
        sys.stderr.write(
            "keypin: the program was not started, because it could not be pinned\n"
            f"  why: {error if told else f'{type(error).__name__}: {error}'}\n"
            f"  {PINS}: {os.environ.get(PINS, 'not set')}\n"
            f"Name a pin file in {PINS}, or start the program without keypin.\n"
        )
        sys.stderr.flush()
    finally:
        os._exit(NOT_PINNED)
