"""Values that cannot be changed after they were made."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

__all__ = ["Immutable"]

# A frozen dataclass would do the same, but importing `dataclasses` takes longer than all of keypin.


class Immutable:
    """Equal, hashed, shown and pickled by its fields, which are its `__slots__`."""

    __slots__: tuple[str, ...] = ()

    def _set(self, **fields: object) -> None:
        """Give the fields their values; once, while the object is made."""
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    def _values(self) -> dict[str, object]:
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def _restore(cls, fields: Mapping[str, object]) -> Self:
        made = cls.__new__(cls)
        made._set(**fields)
        return made

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a {type(self).__name__} cannot be changed: make another one")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a {type(self).__name__} cannot be changed: make another one")

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.__slots__)

    def __hash__(self) -> int:
        return hash(tuple(self._values().values()))

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self._values().items())
        return f"{type(self).__name__}({shown})"

    def __reduce__(self) -> tuple[object, ...]:
        return self._restore, (self._values(),)
