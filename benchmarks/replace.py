"""`Pinner.replace()` while many connections are open."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import ExitStack

from keypin import Pinner
from measure import Result, interleave, stopwatch
from scene import Scene, connect, scene

__all__ = ["run"]

ROUNDS, QUICK_ROUNDS = 50, 3
CONNECTIONS, QUICK_CONNECTIONS = 1000, 20
