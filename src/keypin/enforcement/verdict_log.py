"""Verdicts as log records: what is logged, at which level, and with which fields.

Refusals and mismatches that report mode lets pass are warnings, expired pins an error, approvals
of pinned hosts are for debugging.
"""

from __future__ import annotations

import sys
from contextvars import ContextVar
from functools import cache
from typing import TYPE_CHECKING, Any

from ..pinset import MOST_PINS, Reason

if TYPE_CHECKING:
    from logging import Logger
    from types import FrameType

    from ..pinset import Verdict

__all__ = [
    "log_approval",
    "log_expired_pins",
    "log_mismatch",
    "log_observer_error",
    "logs_approvals",
]

NAME = "keypin"
DEBUG = 10  # logging.DEBUG

# Asyncio's tasks have the context of who made them, so that one that a handler makes is known.
_is_logging: ContextVar[bool] = ContextVar("keypin_is_logging", default=False)


@cache
def logger() -> Logger:
    """The logger of keypin."""
    import logging  # only here: there is nothing to say in most programs

    return logging.getLogger(NAME)


def logs_approvals() -> bool:
    """Whether anybody has asked for debug records."""
    return "logging" in sys.modules and logger().isEnabledFor(DEBUG)


def log_mismatch(verdict: Verdict) -> None:
    """Tell of a connection that was refused, or is let pass in report mode."""
    _log(logger().warning, verdict, verdict.report())


def log_approval(verdict: Verdict) -> None:
    """Tell of a connection to a pinned host that was approved."""
    if verdict.reason is Reason.MATCHED:
        where = verdict.host if verdict.port is None else f"{verdict.host}:{verdict.port}"
        text = f"keypin accepted {where}: {verdict.reason}, {verdict.pin} at depth {verdict.depth}"
        _log(logger().debug, verdict, text)


def log_expired_pins(verdict: Verdict) -> None:
    """Tell that the pins of a rule should have been replaced by now."""
    rule = verdict.rule
    if rule is not None:
        still = "enforced" if rule.on_expiry == "enforce" else "known, but not enforced"
        host = rule.host or "every host"
        text = f"the pins for {host} expired on {rule.expires}; they are still {still}"
        _log(logger().error, verdict, text)


def log_observer_error(verdict: Verdict) -> None:
    """Tell of the exception that an observer has raised, in its handler."""
    _log(logger().exception, verdict, "on_verdict raised; the connection is not affected")


def _log(log: Any, verdict: Verdict, text: str) -> None:
    """Log a verdict; handlers and filters that raise change nothing for the connection."""
    if _is_logging.get() or _is_handling_own_record():
        return
    token = _is_logging.set(True)
    try:
        log("%s", text, extra=_fields(verdict))
    except Exception:  # noqa: BLE001 - whatever the program's own handlers raise
        _show_error()
    finally:
        _is_logging.reset(token)


def _show_error() -> None:
    """Print what a handler has raised, as `logging.Handler.handleError` does."""
    import logging
    import traceback

    if logging.raiseExceptions and sys.stderr is not None:
        traceback.print_exc()


def _is_handling_own_record() -> bool:
    """Whether this thread is handling a record of keypin later, and has connected to do so.

    A handler that sends over TLS would make a record for each record, without end. Whatever its
    class, `logging` calls it: where the record is made, or when a buffer is full, or in the thread
    of a queue's listener.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_globals.get("__name__") in ("logging", "logging.handlers"):
            record = frame.f_locals.get("record")
            if getattr(record, "name", None) == NAME and hasattr(record, "keypin_reason"):
                return True
        frame = frame.f_back
    return False


def _fields(verdict: Verdict) -> dict[str, object]:
    rule = verdict.rule
    return {
        "keypin_host": verdict.host,
        "keypin_port": verdict.port,
        "keypin_reason": verdict.reason.name,
        "keypin_accepted": verdict.accepted,
        "keypin_mode": rule.mode if rule else None,
        "keypin_rule": rule.host if rule else None,
        "keypin_pinner": verdict.pinner,
        "keypin_served": [(str(pin), subject) for pin, subject in verdict.served[:MOST_PINS]],
        "keypin_expected": [str(pin) for pin in verdict.expected[:MOST_PINS]],
    }
