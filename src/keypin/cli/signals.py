"""What is done at Ctrl-C, and at SIGTERM, while a command must not be interrupted anywhere."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

__all__ = ["signals_handled_by"]


@contextmanager
def signals_handled_by(handler: Callable[[int, FrameType | None], Any]) -> Iterator[None]:
    """Let this be done at Ctrl-C, and at SIGTERM."""
    before = {each: signal.signal(each, handler) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for each, handled in before.items():
            signal.signal(each, handled)
