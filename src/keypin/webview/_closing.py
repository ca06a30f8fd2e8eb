"""Ways into a program that pywebview opens to every page, foreign ones too: closed."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from webview import Window

__all__ = ["Nothing", "close_other_ways"]

LOG = logging.getLogger("keypin.webview")
FROM_A_PAGE = "__pywebviewHaltUpdate__"  # pywebview puts it before the name of what a page deletes


class Nothing:
    """A `js_api` in which a page finds nothing.

    What a page calls and no program has exposed, pywebview looks up in the window's js_api, name by
    name. In the None that stands for no js_api there is `__class__.__name__.__mul__`, among others;
    the result goes to the window in a script, a part of which the page has chosen.
    """

    def __getattribute__(self, name: str) -> NoReturn:
        raise AttributeError(name)

    def __dir__(self) -> list[str]:
        return []


class ReadOnlyForPages:
    """Beside pywebview's `State`: pages read a window's state, and the program writes it.

    pywebview writes the state into the script that begins each page, in quotation marks that a
    value can end: what one page writes, the next one would run.
    """

    def __setattr__(self, key: str, value: Any, should_update_js: bool = True) -> None:
        if not should_update_js:  # so pywebview says that a page is writing
            LOG.warning("a page tried to write to the window's state, and pages may not")
            return
        super().__setattr__(key, value, should_update_js)  # type: ignore[call-arg] # State's

    def __delattr__(self, key: str) -> None:
        if key.startswith(FROM_A_PAGE):
            LOG.warning("a page tried to delete of the window's state, and pages may not")
            return
        super().__delattr__(key)


def close_other_ways(window: Window) -> None:
    """Leave the pages of a window no way to Python but the functions that are exposed to them."""
    window._js_api = Nothing()
    state = window.state
    if not isinstance(state, ReadOnlyForPages):
        kind = type("State", (ReadOnlyForPages, type(state)), {})
        object.__setattr__(state, "__class__", kind)  # it keeps its values and handlers
