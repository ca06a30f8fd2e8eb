"""Ways into a program that pywebview opens to every page, foreign ones too: closed."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable

    from webview import Window

__all__ = ["Nothing", "close_other_ways", "state_script"]

LOG = logging.getLogger("keypin.webview")
FROM_A_PAGE = "__pywebviewHaltUpdate__"  # pywebview puts it before the name of what a page deletes
ANSWER = "window.pywebview._returnValuesCallbacks["  # how pywebview's own answers begin


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
    """Beside pywebview's `State`: pages read a window's state, and the program writes it."""

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


def close_other_ways(window: Window, say: Callable[[str], None]) -> None:
    """Leave the pages of a window no way to Python but the functions that are exposed to them.

    Args:
        window: the window.
        say: runs a script in it, if it shows one of the app's own pages.
    """
    window._js_api = Nothing()
    state = window.state
    if isinstance(state, ReadOnlyForPages):
        return

    # pywebview's own runs in whatever page is shown
    def update(self: Any, key: str, value: Any) -> None:
        say(state_script({key: value}))

    kind = type("State", (ReadOnlyForPages, type(state)), {"_State__update_js": update})
    object.__setattr__(state, "__class__", kind)  # it keeps its values and handlers
    window.evaluate_js = _without_answers(window.evaluate_js)  # type: ignore[method-assign] # of this one


def state_script(values: dict[str, Any]) -> str:
    """A script by which a page learns of a window's state, whatever is in it."""
    text = json.dumps(json.dumps(values))
    return (
        f"for (const [key, value] of Object.entries(JSON.parse({text})))"
        f" {{ window.pywebview.state[{json.dumps(FROM_A_PAGE)} + key] = value; }}"
    )


def _without_answers(evaluate_js: Callable[..., Any]) -> Callable[..., Any]:
    """Leave out answers of pywebview's own, to calls that pages have made before.

    They hold a number that a page has chosen, and come to whatever page is shown by now.
    """

    def evaluate(script: str, callback: Callable[..., Any] | None = None) -> Any:
        if script.startswith(ANSWER):
            LOG.warning("an answer to a page is left out, which asked before expose() was called")
            return None
        return evaluate_js(script, callback)

    return evaluate
