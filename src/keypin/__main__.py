"""The command line: `python -m keypin`."""

from __future__ import annotations

import sys

from .errors import MissingExtra

EX_UNAVAILABLE = 69


def main() -> int:
    """Run the command line; without its extra, say in one line which to install."""
    try:
        from .cli import main as command_line
    except MissingExtra as error:
        sys.stderr.write(f"{error}\n")
        return EX_UNAVAILABLE
    return command_line()


if __name__ == "__main__":
    sys.exit(main())
