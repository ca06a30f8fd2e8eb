"""What finders at the head of `sys.meta_path` share, which see certain modules being imported."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

__all__ = ["WrappedLoader", "find_behind"]


def find_behind(
    finder: object, name: str, path: Sequence[str] | None, target: ModuleType | None
) -> ModuleSpec | None:
    """What the other finders of `sys.meta_path` find."""
    for other in sys.meta_path.copy():
        if other is not finder and hasattr(other, "find_spec"):
            spec = other.find_spec(name, path, target)
            if spec is not None:
                return spec
    return None


class WrappedLoader:
    """Stands in for the loader of a module until that is executed.

    To look for a module is not to import it, so the loader has to tell, and not the finder.
    """

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Make the module, as its loader does."""
        module: ModuleType | None = self._loader.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Execute the module; it and its users see the loader that is theirs."""
        for owner, name in ((module.__spec__, "loader"), (module, "__loader__")):
            if getattr(owner, name, None) is self:
                setattr(owner, name, self._loader)
        self.execute(module)

    def execute(self, module: ModuleType) -> None:
        """Execute the module, as its loader does."""
        self._loader.exec_module(module)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__.get("_loader"), name)
