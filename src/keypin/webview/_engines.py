"""How the messages of pages arrive in two engines, before pywebview has read them.

pywebview reads a message where the engine delivers it, and what is not as it expects raises there:
under Qt that ends the program. In other engines it is left to pywebview, which catches it.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from webview import Window

    from ._messages import Listener

__all__ = ["TELL_OF_NEW_PAGES", "attach", "engine_of", "show_message"]

LOG = logging.getLogger("keypin.webview")
LONGEST_MESSAGE = 64 * 1024 * 1024  # characters; four times what a call may bring, for its escapes
LONGEST_ALERT = 2000
PATIENCE = 5  # seconds
UNSEEN = re.compile(r"[\x00-\x20]")  # what an address may hold that engines leave out


def attach(window: Window, listener: Callable[[], Listener]) -> None:
    """Take a window's messages where its engine delivers them, now or as soon as it is made.

    Args:
        window: the window.
        listener: that of the moment.
    """

    def attach_now() -> None:
        _ATTACH.get(engine_of(window), _attach_nothing)(window, listener)

    if window.events.before_show.is_set():
        attach_now()
    else:
        window.events.before_show += attach_now


def show_message(window: Window, text: str) -> None:
    """Show what a page says by `alert()`; called where messages arrive."""
    show = _SHOW.get(engine_of(window))
    view = _view(window)
    if show is not None and view is not None:
        show(view, text[:LONGEST_ALERT])


def engine_of(window: Window) -> str:
    """What pywebview calls the engine of a window that has been made."""
    gui: Any = window.gui
    return str(gui.renderer)


def _view(window: Window) -> Any:
    gui: Any = window.gui
    return gui.BrowserView.instances.get(window.uid)


def _attach_nothing(window: Window, listener: Callable[[], Listener]) -> None:
    pass


def _hear(listener: Callable[[], Listener], name: object, text: object, ticket: object) -> None:
    """Hear a message whose parameters are JSON; whatever they are, nothing is raised."""
    try:
        if isinstance(text, str) and len(text) <= LONGEST_MESSAGE:
            listener().on_message(name, json.loads(text), ticket)
    except Exception as error:  # noqa: BLE001 - an engine is no place for it
        LOG.info("a page sent what is no message: %s", type(error).__name__)


def _tell(hear: Callable[..., None], *what: str) -> None:
    try:
        hear(*what)
    except Exception:
        LOG.exception("a page was not looked at")


def _in_its_thread(start: Callable[[Callable[[], None]], object], work: Callable[[], None]) -> None:
    """Do something to a window in the thread that all windows live in, and wait for it.

    Args:
        start: has that thread do something, soon.
        work: what to do.
    """
    if threading.current_thread() is threading.main_thread():
        work()
        return
    done = threading.Event()

    def work_there() -> None:
        try:
            work()
        except Exception:
            LOG.exception("a window's messages are left to pywebview to read")
        finally:
            done.set()

    start(work_there)
    done.wait(PATIENCE)


# ---- QtWebEngine


def _attach_qt(window: Window, listener: Callable[[], Listener]) -> None:
    QtCore: Any = import_module("qtpy.QtCore")

    class Messages(QtCore.QObject):  # type: ignore[misc] # Qt is known at run time
        """What pages call over Qt's web channel: one slot, which raises nothing."""

        def __init__(self) -> None:
            super().__init__()
            self.window = window  # where pywebview looks for it

        @QtCore.Slot(str, QtCore.QJsonValue, str, result=str)  # type: ignore[untyped-decorator] # as before
        def call(self, name: str, parameters: Any, ticket: str) -> str:
            _hear(listener, name, parameters.toString(), ticket)
            return ""

    view = _view(window)

    def on_load_finished(succeeded: bool) -> None:
        if succeeded:  # else the page from before may still be there
            _tell(listener().on_new_page)
        view.on_load_finished()

    def provide() -> None:
        """Have pywebview register such an object for each page that is loaded."""
        view.js_bridge = Messages()
        # Each object of a channel has a slot by which a page can delete it. pywebview would go on
        # with what is left of it, which ends the program.
        view.js_bridge.destroyed.connect(provide_again)

    def provide_again() -> None:
        if _view(window) is view:  # else the window is closed
            LOG.warning("a page has deleted its way to the program; there is a new one")
            provide()

    def attach_there() -> None:
        if sys.excepthook is sys.__excepthook__:
            sys.excepthook = _report
        before = view.js_bridge
        provide()
        if before in view.channel.registeredObjects().values():
            view.channel.deregisterObject(before)
            view.channel.registerObject("external", view.js_bridge)
        view.webview.urlChanged.connect(lambda url: _tell(listener().on_address, url.toString()))
        page = view.webview.page()
        page.loadFinished.disconnect(view.on_load_finished)
        page.loadFinished.connect(on_load_finished)

    _in_its_thread(view.create_window_trigger.emit, attach_there)


def _report(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Report an exception as ever.

    PyQt ends the program where one reaches it, unless `sys.excepthook` has been replaced; and pages
    can bring pywebview to raise in many ways, a cookie with a comma in its name among them.
    """
    sys.__excepthook__(kind, error, trace)


def _show_in_qt(view: Any, text: str) -> None:
    QtCore: Any = import_module("qtpy.QtCore")
    QMessageBox: Any = import_module("qtpy.QtWidgets").QMessageBox
    box = QMessageBox(QMessageBox.Icon.Information, "Message", text, parent=view)
    box.setTextFormat(QtCore.Qt.TextFormat.PlainText)
    box.exec()


# ---- WebKitGTK


def _attach_gtk(window: Window, listener: Callable[[], Listener]) -> None:
    GLib: Any = import_module("gi.repository.GLib")
    WebKit2: Any = import_module("gi.repository.WebKit2")
    view = _view(window)

    def on_message(manager: Any, message: Any) -> None:
        try:
            sent = message.get_js_value().to_string()
            if not isinstance(sent, str) or len(sent) > LONGEST_MESSAGE:
                return
            body = json.loads(sent)
            if isinstance(body, dict):
                listener().on_message(body.get("funcName"), body.get("params"), body.get("id"))
        except Exception as error:  # noqa: BLE001 - an engine is no place for it
            LOG.info("a page sent what is no message: %s", type(error).__name__)

    def on_load_changed(webview: Any, event: Any) -> None:
        if event == WebKit2.LoadEvent.COMMITTED:
            _tell(listener().on_address, webview.get_uri() or "")
            _tell(listener().on_new_page)

    load_url = view.load_url

    def load_what_is_no_script(url: str) -> None:
        # pywebview brings here what a link of any frame says, and the engine runs it in the page
        if UNSEEN.sub("", url).lower().startswith("javascript:"):
            LOG.warning("a link that is a script was not followed")
        else:
            load_url(url)

    def attach_there() -> None:
        view.load_url = load_what_is_no_script
        view.manager.disconnect_by_func(view.on_js_bridge_call)
        view.manager.connect("script-message-received", on_message)
        view.webview.connect("load-changed", on_load_changed)
        # A page that comes back from this cache is an old one that pywebview takes for a new one.
        view.webview.get_settings().set_enable_page_cache(False)

    _in_its_thread(GLib.idle_add, attach_there)


def _show_in_gtk(view: Any, text: str) -> None:
    view.message_box(text)


_ATTACH: dict[str, Callable[[Window, Callable[[], Listener]], None]] = {
    "qtwebengine": _attach_qt,
    "gtkwebkit2": _attach_gtk,
}
_SHOW: dict[str, Callable[[Any, str], None]] = {
    "qtwebengine": _show_in_qt,
    "gtkwebkit2": _show_in_gtk,
}
TELL_OF_NEW_PAGES = frozenset(_ATTACH)
