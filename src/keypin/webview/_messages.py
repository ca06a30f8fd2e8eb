"""What the pages of a window send comes here, and nothing of it to pywebview.

pywebview takes messages from any page and any frame, calls what they name, and answers by a script
into which it writes names and numbers that the page has chosen, run in whatever page is shown by
then. Where a window has a listener, none of that is left: the listener gets every message, and
pywebview's own code none.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakKeyDictionary

from webview import util

from ._engines import attach

if TYPE_CHECKING:
    from webview import Window

__all__ = ["Listener", "ask_pywebview", "listen", "stop_listening"]

LOG = logging.getLogger("keypin.webview")


class Listener(Protocol):
    """Hears the pages of one window. Nothing here may raise, or wait for the window."""

    def on_message(self, name: object, parameters: object, ticket: object) -> None:
        """Hear a message, from any page or frame; each part may be anything that JSON can say."""

    def on_address(self, address: str) -> None:
        """Learn the address of what the window shows, which may not be loaded yet."""

    def on_new_page(self) -> None:
        """Learn that the window shows another page than before, or the same one loaded anew."""

    def on_injection(self) -> None:
        """Speak to a page that is loaded, before it hears that pywebview is ready."""


class Nobody:
    """Hears the pages of a window that is closed."""

    def on_message(self, name: object, parameters: object, ticket: object) -> None:
        pass

    def on_address(self, address: str) -> None:
        pass

    def on_new_page(self) -> None:
        pass

    def on_injection(self) -> None:
        pass


_listeners: WeakKeyDictionary[Window, Listener] = WeakKeyDictionary()
_call = util.js_bridge_call
_inject = util.inject_pywebview


def listen(window: Window, listener: Listener) -> None:
    """Give a window's messages to a listener, in the place of any that had them before."""
    _take_over()
    first = window not in _listeners
    _listeners[window] = listener
    if first:
        attach(window, lambda: _listeners[window])


def stop_listening(window: Window) -> None:
    """Hear nothing more from a window that is closed."""
    _listeners[window] = Nobody()


def ask_pywebview(window: Window, name: str, parameters: Any, ticket: str) -> None:
    """Let pywebview itself handle a message; for those that it does not answer."""
    _call(window, name, parameters, ticket)


def _take_over() -> None:
    """Stand in the place of pywebview's functions, also in those modules that have them already."""
    for name, module in list(sys.modules.items()):
        if name == "webview.util" or name.startswith("webview.platforms."):
            for function in (js_bridge_call, inject_pywebview):
                if hasattr(module, function.__name__):
                    setattr(module, function.__name__, function)


def js_bridge_call(window: Window, func_name: Any, param: Any, value_id: Any) -> None:
    """Stand in the place of pywebview's, to which each engine gives each message."""
    listener = _listeners.get(window)
    if listener is None:
        _call(window, func_name, param, value_id)
    else:
        listener.on_message(func_name, param, value_id)


def inject_pywebview(platform: str, window: Window) -> None:
    """Stand in the place of pywebview's, which each engine calls for each page that is loaded."""
    _inject(platform, window if window not in _listeners else InjectedWindow(window))  # type: ignore[arg-type] # what it uses


class InjectedWindow:
    """A window, as pywebview sees it while it brings its own script into a page.

    Args:
        window: the real one.
    """

    # pywebview writes it, in quotation marks that a value can end, into the script of each page
    state: dict[str, Any] = {}  # noqa: RUF012 - nobody writes to it

    def __init__(self, window: Window) -> None:
        self._real = window
        self._begun = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def run_js(self, script: str) -> Any:
        """Run a script: the first defines `window.pywebview`, the second says that it is there."""
        result = self._real.run_js(script)
        if not self._begun:
            self._begun = True
            _listeners[self._real].on_injection()
        return result
