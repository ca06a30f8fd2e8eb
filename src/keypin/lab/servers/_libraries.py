"""Libraries that some servers of the lab are made of, imported when such a server is made."""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import Any

from ...errors import MissingExtra

__all__ = ["load", "why_unavailable"]

INSTALL = "pip install 'keypin[attacks]'"


def load(server: str, library: str, *modules: str) -> Any:
    """Import what a server is made of.

    Args:
        server: what needs it, for the error.
        library: its name at the package index, likewise.
        modules: to be imported.

    Returns:
        The first of the modules.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        with warnings.catch_warnings():
            # tlslite-ng imports asyncore on Python 3.11
            warnings.simplefilter("ignore", DeprecationWarning)
            first, *_ = [import_module(module) for module in modules]
            return first
    except ImportError as error:
        raise MissingExtra(f"{server} needs {library}: {INSTALL}", name=library) from error


def why_unavailable(error: Exception) -> str:
    """Why a scenario cannot be played here, in the same words for all that one extra mends.

    Args:
        error: raised by its stage.
    """
    if isinstance(error, MissingExtra):
        return f"libraries that the lab's servers are made of are not installed: {INSTALL}"
    return str(error)
