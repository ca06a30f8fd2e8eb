"""A pinned client for the pages of pywebview windows: hybrid apps.

`expose` gives a window's pages `WL.Client`, `WLAuthorizationManager` and `WLResourceRequest`, which
answer with promises; the requests are made here, by a `keypin.client.Client`, behind its pins.

    client = Client(base_url="https://api.example.com", certificates="www/certificates")
    window = webview.create_window("App", "www/index.html")
    keypin.webview.expose(window, client)
    webview.start()

A page is taken to be under an attacker's control: what it can and cannot do is in
docs/hybrid-apps.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import MissingExtra

try:
    from webview import Window
except ImportError as _error:
    raise MissingExtra(
        "keypin.webview needs pywebview: pip install 'keypin[webview]'", name="webview"
    ) from _error

from ..client import Client
from ._bridge import Bridge
from ._closing import Nothing
from ._pages import Pages, page_prefix
from ._script import declarations, script
from ._windows import connect

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Protocol

    class App(Protocol):
        """What has windows, as the module `webview` itself."""

        windows: list[Window]


__all__ = ["declarations", "expose", "script"]


def expose(
    window_or_app: Window | App | Iterable[Window],
    client: Client,
    *,
    hosts: Iterable[str] | None = None,
    pages: Iterable[str] | None = None,
    tokens: bool = False,
    pinning: bool = True,
) -> None:
    """Let the app's own pages send requests through a pinned client.

    Called again for the same window, it replaces what the first call said. It also closes what
    pywebview leaves open to every page and frame: only the app's own pages call functions that are
    exposed, and `window.state` is read by them and written by none. A page that was there before
    the first call, or after a foreign one, has to be loaded anew.

    Args:
        window_or_app: a `webview.Window`; several; or what has `windows`, as the module `webview`.
            A window that is made later needs a call of its own.
        client: a blocking client with a base URL. Pages cannot read anything of it.
        hosts: the servers that pages may reach, as `api.example` or `https://api.example:8443`;
            that of the client's base URL only, if None.
        pages: how the addresses of the app's own pages begin, as `https://app.example/` or
            `file:///opt/app/pages/`, a whole server or a folder; other pages get no bridge. If
            None, those of the address that a window was made with: its origin, or its folder of
            files.
        tokens: whether pages see the text of access tokens. Without it they can still obtain and
            clear them, and their requests are authorized.
        pinning: whether pages choose which of the app's certificate files the client is pinned
            to; False if the app has pinned it itself.

    Raises:
        TypeError: an object of another kind.
        ValueError: a window that has a `js_api`, a window or a page without an address of its own,
            hosts or pages that are none, a client without a base URL.
        keypin.PlainHTTPRefused: http hosts, or an http base URL.
    """
    if not isinstance(client, Client):
        raise TypeError(f"a keypin.client.Client is needed, not {type(client).__name__}")
    windows = _several(window_or_app)
    own = None
    if pages is not None:
        if isinstance(pages, str):
            raise TypeError(f"pages is a list: pages=[{pages!r}]")
        own = Pages([page_prefix(page) for page in pages])
        if not own:
            raise ValueError("pages=[] leaves no page that could have a bridge")
    bridge = Bridge(client, hosts, tokens, pinning)
    for window in windows:
        _check(window, own)
    for window in windows:
        connect(window, bridge, own)


def _several(given: Any) -> list[Window]:
    if isinstance(given, Window):
        windows = [given]
    else:
        try:
            windows = list(getattr(given, "windows", given))
        except TypeError:
            kind = type(given).__name__
            raise TypeError(f"no window, and nothing with windows: {kind}") from None
    for window in windows:
        if not isinstance(window, Window):
            raise TypeError(f"no webview.Window: {type(window).__name__}")
    if not windows:
        raise ValueError("there is no window yet: call webview.create_window() first")
    return windows


def _check(window: Window, pages: Pages | None) -> None:
    if not isinstance(getattr(window, "_js_api", None), Nothing | None):
        raise ValueError(
            "this window has a js_api, and pywebview lets a page follow its attributes anywhere,"
            " into the program's global variables, too: give the functions themselves to"
            " window.expose(), and leave js_api out"
        )
    if pages is None and window.original_url is None:
        raise ValueError(
            "a page given as html= has no address by which to tell it from a foreign page: put it"
            " into a file and give its name as url=, or say pages=[...]"
        )
