"""The drivers, one module for each family of libraries; each lists its clients as `CLIENTS`."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..client import Client


def all_clients() -> list[Client]:
    """Every client of the matrix: a module in this folder is registered by being here."""
    modules = [import_module(f"{__name__}.{module.name}") for module in iter_modules(__path__)]
    return [client for module in modules for client in module.CLIENTS]
