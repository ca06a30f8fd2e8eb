"""Keeps tokens and cookies out of the logs of hpack, the library that encodes HTTP/2's headers."""

from __future__ import annotations

import logging

__all__ = ["silence_header_logs"]

LOGGERS = ("hpack.hpack", "hpack.table")


def silence_header_logs() -> None:
    """Let hpack log nothing in this process.

    At DEBUG it logs every header, as text and as encoded, and nothing else. A filter, for a level
    would be overridden by a program that sets its own.
    """
    for name in LOGGERS:
        logging.getLogger(name).addFilter(_nothing)


def _nothing(_record: logging.LogRecord) -> bool:
    return False
