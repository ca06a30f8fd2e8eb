"""Pins a process whose environment names a pin file in KEYPIN_PINS, or ends it.

`_keypin_start.start` names this for Python 3.15 and later (PEP 829), as `keypin.pth` has a line for
those before 3.18; whichever comes second finds it done. Python goes on if what it calls here, or
imports for it, raises an error; so this is no part of the package, and needs nothing that may be
missing or broken.

PYTEST_DONT_REWRITE: pytest, whose plugin keypin is, finds it imported already.
"""

import os

__all__ = ["start"]


def start() -> None:
    """Put the pins of KEYPIN_PINS in force before the program begins; without it, do nothing."""
    if "KEYPIN_PINS" not in os.environ:
        return
    try:
        from keypin._start import start as pin

        pin()
    except BaseException as error:  # noqa: BLE001 - Python would go on without pins
        try:
            import sys

            sys.stderr.write(
                f"keypin: not pinned, so this program was not started: {error!r}\n"
                "KEYPIN_PINS is set: install keypin anew in this environment, or unset it.\n"
            )
        finally:
            os._exit(78)  # keypin.cli.ExitCode.NOT_PINNED
