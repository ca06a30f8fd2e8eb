"""A pywebview window: what its pages send comes in, and answers go out to the page that asked."""

from __future__ import annotations

import hmac
import json
import logging
import re
import secrets
import threading
from collections import deque
from itertools import count
from typing import TYPE_CHECKING, Any

from ._arguments import LONGEST
from ._closing import close_other_ways, state_script
from ._engines import TELL_OF_NEW_PAGES, engine_of, show_message
from ._failures import failure
from ._messages import ask_pywebview, listen, stop_listening
from ._pages import Pages, prefix_of_first_page
from ._script import script

if TYPE_CHECKING:
    from collections.abc import Callable

    from webview import Window

    from ._bridge import Bridge

__all__ = ["Connection", "connect"]

LOG = logging.getLogger("keypin.webview")
PROTOCOL = 2  # of keypin.js
MOST_CALLS = 64  # of one window at a time
MOST_REPLIES = 10_000  # that wait until the window hears them
MOST_KEYS = 16  # of pages before, which hear that theirs is not the current one
FARTHEST = 2**15  # pixels that a window is moved to
PATIENCE = 5  # seconds that pywebview waits, before it says that it is ready, for keypin to speak
CALL_ID = re.compile(r"[0-9]{1,40}")
CALLBACK_ID = re.compile(r"[0-9a-f]{32}")
NO_KEY = "this page is not connected to the app (any more)"
STRANGER_SEEN = (
    "the window has shown a page that is not the app's own: the app must call"
    " keypin.webview.expose() again, and then load this page anew"
)
LOADED_BEFORE = (
    "this page was there before the app called keypin.webview.expose(): it must be loaded anew"
)

_connections: dict[Window, Connection] = {}
_greetings = count(1)  # of all windows: a page goes by the latest, also of several connections


def connect(window: Window, bridge: Bridge, pages: Pages | None) -> None:
    """Give the pages of a window their bridge, in the place of any that they had before."""
    before = _connections.pop(window, None)
    if before is not None:
        before.close()
    connection = _connections[window] = Connection(window, bridge, pages, before)
    connection.open(page_is_known=before is not None and before.has_page)


class Connection:
    """Between the pages of one window and a bridge.

    Each page that is loaded gets a key, in a script that does nothing in a foreign page; messages
    without the key of the current page are not heard. Answers go out the same way, each to the page
    that knows its number.

    Args:
        window: the window.
        bridge: what answers.
        pages: the app's own; None for those of the address that the window was made with.
        before: the connection that this one replaces.
    """

    def __init__(
        self, window: Window, bridge: Bridge, pages: Pages | None, before: Connection | None
    ) -> None:
        self._window = window
        self._bridge = bridge
        self._pages = pages
        self._lock = threading.Lock()  # never held while the window is asked for anything
        self._key: str | None = None
        self._former: deque[str] = deque(before.keys if before else (), MOST_KEYS)
        self._stranger_seen = False
        self._page_is_new = True
        self._closed = False
        self._slots = threading.BoundedSemaphore(MOST_CALLS)
        self._replies: deque[tuple[str, dict[str, Any]]] = deque()
        self._replying = False

    def open(self, *, page_is_known: bool) -> None:
        """Hear the window's pages.

        Args:
            page_is_known: whether the page that is shown has been loaded under a connection, with
                no foreign page since. Another one gets no key: what is in it, nobody knows.
        """
        window = self._window
        close_other_ways(window, lambda script: _connections[window]._say(script))
        listen(window, self)
        window.events.closed += self._on_closed
        if page_is_known:
            self._in_background(self._greet)
        elif window.events.before_load.is_set():
            self._page_is_new = engine_of(window) not in TELL_OF_NEW_PAGES
            self._in_background(self._dismiss, LOADED_BEFORE)

    @property
    def has_page(self) -> bool:
        """Whether a page of the app has a key."""
        return self._key is not None

    @property
    def keys(self) -> list[str]:
        """Those that pages have had."""
        return [*self._former, *([self._key] if self._key else [])]

    def close(self) -> None:
        """Answer nothing any more, and leave the window."""
        self._closed = True
        self._window.events.closed -= self._on_closed

    def _on_closed(self) -> None:
        self._closed = True
        _connections.pop(self._window, None)
        stop_listening(self._window)

    def on_message(self, name: object, parameters: object, ticket: object) -> None:
        """Hear a message, from any page or frame: one with the key of the current page, no other.

        Args:
            name: the function that is called.
            parameters: what it is called with.
            ticket: the key and the call's number.
        """
        if self._closed or not isinstance(name, str) or not isinstance(ticket, str):
            return
        key, _, call = ticket.partition(".")
        if not self._is_current(key):
            if CALL_ID.fullmatch(call) and any(_equal(key, former) for former in self._former):
                self._reply(call, failure("BRIDGE_MISSING", NO_KEY))
            return
        if name in _OF_PYWEBVIEW:
            try:
                _OF_PYWEBVIEW[name](self._window, parameters, call)
            except Exception as error:  # noqa: BLE001 - of what means nothing, or of the program's own
                LOG.warning("a page's %s failed: %s", name, type(error).__name__)
        elif CALL_ID.fullmatch(call) and isinstance(parameters, list):
            if name == "keypin_call":
                self._take(key, call, parameters)
            else:
                self._take_function(key, call, name, parameters)

    def on_address(self, address: str) -> None:
        """Learn the address of what the window shows; that of a foreign page ends the bridge.

        This is how one is seen that moves on before it has been loaded.
        """
        # no page can lead a window to data:, and pages without an address never have a key
        if address and not address.startswith(("about:", "data:")):
            self._look_at(address)

    def on_new_page(self) -> None:
        """Learn that the page is gone that was there before this connection."""
        self._page_is_new = True

    def on_injection(self) -> None:
        """Greet a page that is loaded before it hears that pywebview is ready."""
        if self._page_is_new:
            greeting = self._in_background(self._greet)
        else:  # a load that failed, and has left the page there
            greeting = self._in_background(self._dismiss, LOADED_BEFORE)
        if greeting is not None:
            greeting.join(PATIENCE)

    def _take(self, key: str, call: str, parameters: list[object]) -> None:
        """Take a call of the client, and let a thread of its own answer it."""
        texts = [parameter for parameter in parameters if isinstance(parameter, str)]
        if len(texts) != 2 or len(parameters) != 2:
            return
        operation, text = texts
        if operation == "hello":
            self._reply(call, {"ok": True, "value": None})
        elif len(text) > LONGEST:
            answer = failure("BAD_ARGUMENT", f"a call brings at most {LONGEST} characters")
            self._reply(call, answer)
        elif not self._slots.acquire(blocking=False):
            self._reply(call, failure("TOO_MANY_CALLS", TOO_MANY))
        elif self._in_background(self._perform, key, call, operation, text) is None:
            self._slots.release()

    def _take_function(self, key: str, call: str, name: str, parameters: list[object]) -> None:
        """Take a call of a function of the app's own, which a thread of its own runs."""
        function = self._window._functions.get(name)
        if function is None:
            self._reply(call, _raised("AttributeError", "no such function is exposed"))
        elif not self._slots.acquire(blocking=False):
            self._reply(call, _raised("RuntimeError", TOO_MANY))
        # no daemon: as ever with pywebview, the program does not end in the middle of it
        elif not self._in_background(self._call, key, call, function, parameters, daemon=False):
            self._slots.release()

    def _reply(self, call: str, answer: dict[str, Any]) -> None:
        """Answer at once, in one thread for all: a page can make any number of such calls."""
        with self._lock:
            if len(self._replies) >= MOST_REPLIES:
                return
            self._replies.append((call, answer))
            if self._replying:
                return
            self._replying = True
        if self._in_background(self._say_replies) is None:
            self._replying = False

    def _say_replies(self) -> None:
        while True:
            with self._lock:
                if not self._replies:
                    self._replying = False
                    return
                call, answer = self._replies.popleft()
            self._answer(call, answer)

    def _is_current(self, key: str) -> bool:
        own = self._key
        return own is not None and _equal(key, own)

    def _perform(self, key: str, call: str, operation: str, text: str) -> None:
        try:
            answer = self._bridge.perform(operation, text)
        finally:
            self._slots.release()
        self._answer_page(key, call, answer)

    def _call(
        self, key: str, call: str, function: Callable[..., Any], parameters: list[object]
    ) -> None:
        try:
            value = function(*parameters)
            json.dumps(value, allow_nan=False)
            answer = {"ok": True, "value": value}
        except Exception as error:
            LOG.exception("a function of the app's own failed")
            answer = _raised(type(error).__name__, str(error))
        finally:
            self._slots.release()
        # If the function has closed the window, whoever speaks to it may wait for ever.
        self._in_background(self._answer_page, key, call, answer)

    def _answer_page(self, key: str, call: str, answer: dict[str, Any]) -> None:
        """Answer, unless the page that asked is no more."""
        if self._is_current(key):
            self._answer(call, answer)

    def _answer(self, call: str, answer: dict[str, Any]) -> None:
        # Twice JSON: a text, which the page parses, is never taken for a script. No page but the
        # one that asked waits for this number.
        number, text = json.dumps(call), json.dumps(json.dumps(answer))
        bridge = "window.keypinBridge"
        self._say(f"if ({bridge}.awaits({number})) {bridge}.answer({number}, JSON.parse({text}))")

    def _greet(self) -> None:
        """Give the page that has just been loaded its key, if it is one of the app's."""
        try:
            # not window.get_current_url(), which waits until pywebview has said that it is ready
            gui: Any = self._window.gui
            address = gui.get_current_url(self._window.uid)
        except Exception:
            LOG.exception("a window's pages get no bridge")
            return
        if address is not None:
            self._look_at(str(address))
        with self._lock:
            if self._key is not None:
                self._former.append(self._key)
            self._key = key = None if self._stranger_seen else secrets.token_urlsafe(32)
            number = next(_greetings)
            self._replying = False  # whoever does may wait for a page that is no more
        if key is None:
            self._dismiss(STRANGER_SEEN)
            return
        arguments = f"{json.dumps(key)}, {number}, {PROTOCOL}"
        self._say(f"{_script_once()} window.keypinBridge.connect({arguments}); {self._state()}")

    def _dismiss(self, why: str) -> None:
        """Tell the page that is shown, if it is one of the app's, that it gets no answer."""
        self._say(f"{_script_once()} window.keypinBridge.refuse({json.dumps(why)})")

    def _state(self) -> str:
        try:
            return state_script(dict(self._window.state))
        except (TypeError, ValueError, RecursionError):
            LOG.exception("the window's state cannot be written as JSON")
            return ""

    def _look_at(self, address: str) -> None:
        """End the bridge if this is the address of a foreign page."""
        own = self._own_pages()
        if own is None or address in own:
            return
        with self._lock:
            first, self._stranger_seen = not self._stranger_seen, True
            if self._key is not None:
                self._former.append(self._key)
            self._key = None
        if first:
            LOG.warning("the window shows a foreign page: its pages get no bridge any more")

    def _own_pages(self) -> Pages | None:
        if self._pages is None:
            window = self._window
            try:
                first = prefix_of_first_page(window.original_url, window.real_url)
            except ValueError:
                LOG.exception("a window's pages get no bridge")
                return None
            self._pages = Pages([first])
        return self._pages

    def _say(self, script: str) -> None:
        """Run a script in the window, if it shows one of the app's own pages."""
        own = self._own_pages()
        if self._closed or own is None:
            return
        try:
            self._window.run_js(own.only_there(script))
        except Exception as error:  # noqa: BLE001 - the window is going, in one of many ways
            LOG.info("a window did not hear: %s", type(error).__name__)

    def _in_background(
        self, work: Callable[..., None], *arguments: object, daemon: bool = True
    ) -> threading.Thread | None:
        name = f"keypin.webview {work.__name__.strip('_')}"
        thread = threading.Thread(target=work, args=arguments, daemon=daemon, name=name)
        try:
            thread.start()
        except RuntimeError as error:  # the machine has no more; the page's own timer ends its call
            LOG.error("a page's call is dropped: %s", error)
            return None
        return thread


TOO_MANY = f"at most {MOST_CALLS} calls at a time"


def _equal(key: str, own: str) -> bool:
    return hmac.compare_digest(key.encode("utf-8", "replace"), own.encode())


def _raised(name: str, message: str) -> dict[str, Any]:
    """What a page hears of a function of the app's own that has failed; the log has the rest."""
    return {"ok": False, "raised": {"name": name, "message": message}}


def _move(window: Window, parameters: Any, call: str) -> None:
    x, y = (int(place) for place in parameters)
    if max(abs(x), abs(y)) < FARTHEST:
        window.move(x, y)


def _event(window: Window, parameters: Any, call: str) -> None:
    """Of an element that the program listens to; its handlers have threads of their own."""
    ask_pywebview(window, "pywebviewEventHandler", parameters, "0")


def _promise(window: Window, parameters: Any, call: str) -> None:
    """What a promise has come to, that a script of the program's own has returned."""
    if CALLBACK_ID.fullmatch(call) and call in window._callbacks:
        ask_pywebview(window, "pywebviewAsyncCallback", parameters, call)


def _state_refused(window: Window, parameters: Any, call: str) -> None:
    LOG.warning("a page tried to write to the window's state, and pages may not")


def _alert(window: Window, parameters: Any, call: str) -> None:
    show_message(window, str(parameters))


# What pywebview's own script sends beside the calls of functions; none of it is answered.
_OF_PYWEBVIEW: dict[str, Callable[[Window, Any, str], None]] = {
    "pywebviewMoveWindow": _move,
    "pywebviewEventHandler": _event,
    "pywebviewAsyncCallback": _promise,
    "pywebviewStateUpdate": _state_refused,
    "pywebviewStateDelete": _state_refused,
    "_pywebviewAlert": _alert,
}


def _script_once() -> str:
    return f"if (!window.keypinBridge) {{ {script()} }}"
