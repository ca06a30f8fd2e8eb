"""A pywebview window: what its pages send comes in, and answers go out to the app's own pages."""

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
from ._closing import close_other_ways
from ._failures import failure
from ._pages import Pages, prefix_of_first_page
from ._script import script

if TYPE_CHECKING:
    from collections.abc import Callable

    from webview import Window

    from ._bridge import Bridge

__all__ = ["Connection", "connect"]

LOG = logging.getLogger("keypin.webview")
PROTOCOL = 1  # of keypin.js
MOST_CALLS = 64  # of one window at a time
MOST_REPLIES = 10_000  # that wait until the window hears them
CALL_ID = re.compile(r"[0-9a-f]{32}")
NO_KEY = "this page is not connected to the app (any more)"
STRANGER_SEEN = (
    "the window has shown a page that is not the app's own, and such a page can leave a script"
    " behind for the next one: the app must call keypin.webview.expose() again"
)

_connections: dict[Window, Connection] = {}
_greetings = count(1)  # of all windows: a page goes by the latest, also of several connections


def connect(window: Window, bridge: Bridge, pages: Pages | None) -> None:
    """Give the pages of a window their bridge, in the place of any that they had before."""
    if (before := _connections.pop(window, None)) is not None:
        before.close()
    _connections[window] = Connection(window, bridge, pages)


class Connection:
    """Between the pages of one window and a bridge.

    Each page that is loaded gets a key, in a script that does nothing in a foreign page; calls
    without the key of the current page are not heard. Answers go out the same way.

    Args:
        window: the window.
        bridge: what answers.
        pages: the app's own; None for those of the address that the window was made with.
    """

    def __init__(self, window: Window, bridge: Bridge, pages: Pages | None) -> None:
        self._window = window
        self._bridge = bridge
        self._pages = pages
        self._lock = threading.Lock()  # never held while the window is asked for anything
        self._key: str | None = None
        self._stranger_seen = False
        self._closed = False
        self._slots = threading.BoundedSemaphore(MOST_CALLS)
        self._replies: deque[tuple[str, dict[str, Any]]] = deque()
        self._replying = False
        close_other_ways(window)
        # pywebview tells a function's parameters to the page, and the function's name
        entry = self._entry()
        window.expose(entry)
        window.events.loaded += self._on_loaded
        window.events.closed += self._on_closed
        if window.events.loaded.is_set():
            self._on_loaded()

    def close(self) -> None:
        """Answer nothing any more, and leave the window."""
        self._closed = True
        self._window.events.loaded -= self._on_loaded
        self._window.events.closed -= self._on_closed

    def _on_closed(self) -> None:
        self._closed = True
        _connections.pop(self._window, None)

    def _entry(self) -> Callable[..., None]:
        """The one function that pages can call.

        It is called in a thread that pywebview has made for it, and ends that thread. Otherwise
        pywebview would bring the result to the window by a script, part of which the page has
        chosen, whichever page is there by now. Where the window is being closed it would wait for
        that for ever, and the program with it.
        """

        def keypin_call(*arguments: object) -> None:
            self._take(arguments)
            if threading.current_thread() is not threading.main_thread():
                raise SystemExit

        return keypin_call

    def _take(self, arguments: tuple[object, ...]) -> None:
        """Take a call, and let a thread of its own answer it.

        pywebview waits for its own threads when the program ends, and shows a page the traceback
        of what a function raises. So nothing is raised here, and these threads are daemons.
        """
        texts = [argument for argument in arguments if isinstance(argument, str)]
        if self._closed or len(texts) != 4 or len(arguments) != 4:
            return
        key, call, operation, text = texts
        if not CALL_ID.fullmatch(call):
            return
        if not self._is_current(key):
            self._reply(call, failure("BRIDGE_MISSING", NO_KEY))
        elif operation == "hello":
            self._reply(call, {"ok": True, "value": None})
        elif len(text) > LONGEST:
            answer = failure("BAD_ARGUMENT", f"a call brings at most {LONGEST} characters")
            self._reply(call, answer)
        elif not self._slots.acquire(blocking=False):
            answer = failure("TOO_MANY_CALLS", f"at most {MOST_CALLS} calls at a time")
            self._reply(call, answer)
        elif not self._in_background(self._perform, call, operation, text):
            self._slots.release()

    def _reply(self, call: str, answer: dict[str, Any]) -> None:
        """Answer at once, in one thread for all: any page can make any number of such calls."""
        with self._lock:
            if len(self._replies) >= MOST_REPLIES:
                return
            self._replies.append((call, answer))
            if self._replying:
                return
            self._replying = True
        if not self._in_background(self._say_replies):
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
        return own is not None and hmac.compare_digest(key.encode("utf-8", "replace"), own.encode())

    def _perform(self, call: str, operation: str, text: str) -> None:
        try:
            answer = self._bridge.perform(operation, text)
        finally:
            self._slots.release()
        self._answer(call, answer)

    def _answer(self, call: str, answer: dict[str, Any]) -> None:
        # Twice JSON: a text, which the page parses, is never taken for a script.
        text = json.dumps(json.dumps(answer))
        self._say(f"window.keypinBridge.answer({json.dumps(call)}, JSON.parse({text}))")

    def _on_loaded(self) -> None:
        self._in_background(self._greet)

    def _greet(self) -> None:
        """Give the page that has just been loaded its key, if it is one of the app's."""
        try:
            if self._pages is None:
                window = self._window
                first = prefix_of_first_page(window.original_url, window.real_url)
                self._pages = Pages([first])
            address = self._window.get_current_url()
        except Exception:
            LOG.exception("a window's pages get no bridge")
            return
        with self._lock:
            if address is not None and str(address) not in self._pages:
                self._stranger_seen = True
            self._key = key = None if self._stranger_seen else secrets.token_urlsafe(32)
            number = next(_greetings)
            self._replying = False  # whoever does may wait for a page that is no more
        if key is None:
            LOG.warning("a window shows, or has shown, a foreign page: its pages get no bridge")
            self._say(f"{_script_once()} window.keypinBridge.refuse({json.dumps(STRANGER_SEEN)})")
        else:
            arguments = f"{json.dumps(key)}, {number}, {PROTOCOL}"
            self._say(f"{_script_once()} window.keypinBridge.connect({arguments})")

    def _say(self, script: str) -> None:
        """Run a script in the window, if it shows one of the app's own pages."""
        if self._closed or self._pages is None:
            return
        try:
            self._window.run_js(self._pages.only_there(script))
        except Exception as error:  # noqa: BLE001 - the window is going, in one of many ways
            LOG.info("a window did not hear: %s", type(error).__name__)

    def _in_background(self, work: Callable[..., None], *arguments: object) -> bool:
        name = f"keypin.webview {work.__name__.strip('_')}"
        try:
            threading.Thread(target=work, args=arguments, daemon=True, name=name).start()
        except RuntimeError as error:  # the machine has no more; the page's own timer ends its call
            LOG.error("a page's call is dropped: %s", error)
            return False
        return True


def _script_once() -> str:
    return f"if (!window.keypinBridge) {{ {script()} }}"
