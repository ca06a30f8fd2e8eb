"""Which windows and pages get a bridge; windows that are not shown."""

from __future__ import annotations

import inspect
import json
import queue
import shutil
import subprocess
import sys
import threading

import pytest
import webview
from webview.util import js_bridge_call, load_js_files

import keypin.webview
from keypin.client import Client
from keypin.webview._pages import Pages, page_prefix, prefix_of_first_page

node = shutil.which("node")


@pytest.fixture
def client():
    with Client("https://localhost:9/") as client:
        yield client


@pytest.fixture
def make():
    """Make a window that is never shown."""
    before = list(webview.windows)

    def make(url="index.html", **more):
        return webview.create_window("window", url, **more)

    yield make
    webview.windows[:] = before


def test_without_pywebview_the_import_says_what_to_install():
    program = "import sys; sys.modules['webview'] = None; import keypin.webview"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "keypin.webview needs pywebview: pip install 'keypin[webview]'" in done.stderr


def exposed(window):
    return list(window._functions)


def test_a_window_several_and_an_app_with_windows_are_exposed(make, client):
    one, two, three = make(), make(), make()
    keypin.webview.expose(one, client)
    assert [exposed(window) for window in (one, two, three)] == [["keypin_call"], [], []]
    keypin.webview.expose((one, two), client)
    assert [exposed(window) for window in (one, two, three)] == [["keypin_call"]] * 2 + [[]]
    keypin.webview.expose(webview, client)
    assert [exposed(window) for window in (one, two, three)] == [["keypin_call"]] * 3


@pytest.mark.parametrize("nothing", [None, 7, "window", object(), [None], ["window"]])
def test_what_is_no_window_is_refused(client, nothing):
    with pytest.raises(TypeError, match=r"(?i)window"):
        keypin.webview.expose(nothing, client)


def test_an_app_without_windows_is_refused(client):
    with pytest.raises(ValueError, match="create_window"):
        keypin.webview.expose([], client)


def test_a_window_with_a_js_api_is_refused_and_so_are_those_beside_it(make, client):
    """By its attributes a page would reach the program's global variables."""

    class Api:
        def method(self):
            return 1

    good, bad = make(), make(js_api=Api())
    with pytest.raises(ValueError, match="js_api"):
        keypin.webview.expose([good, bad], client)
    assert exposed(good) == []


def test_a_page_without_an_address_is_refused_unless_the_app_says_what_its_pages_are(make, client):
    for window in (make(None, html="<p>a"), make(None)):
        with pytest.raises(ValueError, match="pages="):
            keypin.webview.expose(window, client)
        keypin.webview.expose(window, client, pages=["https://app.example/"])


def test_a_string_in_the_place_of_several_is_refused(make, client):
    for name in ("pages", "hosts"):
        with pytest.raises(TypeError, match=f"{name} is a list"):
            keypin.webview.expose(make(), client, **{name: "https://app.example/"})


def test_an_app_without_pages_is_refused(make, client):
    with pytest.raises(ValueError, match="leaves no page"):
        keypin.webview.expose(make(), client, pages=[])


def test_a_second_call_takes_the_place_of_the_first(make, client):
    window = make()
    before = len(window.events.loaded), len(window.events.closed)
    for _ in range(3):
        keypin.webview.expose(window, client)
    assert (len(window.events.loaded), len(window.events.closed)) == (before[0] + 1, before[1] + 1)


def test_a_function_of_keypin_tells_a_page_no_parameters(make, client):
    """Pywebview shows a page the parameters of what is exposed."""
    window = make()
    keypin.webview.expose(window, client)
    assert inspect.getfullargspec(window._functions["keypin_call"]).args == []


class Engine:
    """Notes what pywebview has a window do."""

    renderer = "none"

    def __init__(self):
        self.scripts = []

    def evaluate_js(self, script, *more):
        self.scripts.append(script)

    def get_current_url(self, uid):
        return "file:///opt/app/index.html"


def test_a_page_does_not_get_a_script_into_the_next_one(make, client, monkeypatch, capfd):
    """By the number of its call, which pywebview puts into the script that answers."""
    monkeypatch.setattr(threading, "excepthook", threading.__excepthook__)  # not pytest's
    window = make()
    keypin.webview.expose(window, client)
    window.expose(lambda: None)  # what an app would have beside it
    window.gui = engine = Engine()
    window.events._pywebviewready.set()
    number = 'x"]; evil(); ["'
    for function in ("keypin_call", "<lambda>"):
        before = set(threading.enumerate())
        js_bridge_call(window, function, [], number)
        for thread in set(threading.enumerate()) - before:
            thread.join(20)
    assert [script.count("evil()") for script in engine.scripts] == [1]  # that of the other one
    assert capfd.readouterr() == ("", "")


def test_a_page_finds_no_function_that_nobody_has_exposed(make, client):
    """Where a window has no js_api, pywebview looks for the function in None."""
    names = [
        "__class__.__name__.__mul__",
        "__class__.__base__.__subclasses__",
        "__init__.__objclass__.__format__",
        "__dir__",
        "__getattribute__",
        "__doc__",
    ]
    heard = []
    for window in (make(), make()):
        if heard:
            keypin.webview.expose(window, client)
        window.gui = engine = Engine()
        window.events._pywebviewready.set()
        window.js_api_endpoint = None
        for name in names:
            before = set(threading.enumerate())
            js_bridge_call(window, name, [3], "1")
            for thread in set(threading.enumerate()) - before:
                thread.join(20)
        heard.append(len(engine.scripts))
    assert heard[0] > 3
    assert heard[1] == 0


def test_a_page_does_not_write_the_state_of_the_next_one(make, client):
    """Pywebview would put it into each page's script, in quotation marks that it can end."""
    window = make("file:///opt/app/index.html")
    window.js_api_endpoint = None
    window.gui = Engine()
    for event in (window.events.shown, window.events.before_load, window.events.loaded):
        event.set()
    window.state.before = 1
    noticed = queue.SimpleQueue()
    window.state += lambda kind, key, value: noticed.put((str(kind), key, value))
    for _ in range(2):
        keypin.webview.expose(window, client)
        for key in ("before", "x", "_State__window"):
            update = {"key": key, "value": "'; evil(); '"}
            js_bridge_call(window, "pywebviewStateUpdate", update, "1")
        js_bridge_call(window, "pywebviewStateDelete", "before", "1")
        assert "evil" not in load_js_files(window, "qtwebengine")[0]
        assert dict(window.state) == {"before": 1}
    window.state.after = 2
    assert noticed.get(timeout=20) == ("change", "after", 2)
    del window.state.before
    assert noticed.get(timeout=20) == ("delete", "before", 1)
    assert dict(window.state) == {"after": 2}


def test_calls_that_are_refused_do_not_pile_up_threads(make, client):
    """Any page can make them, a foreign one too, and faster than the window hears the answers."""
    window = make("file:///opt/app/index.html")
    keypin.webview.expose(window, client)
    greeted, release, deaf = threading.Event(), threading.Event(), Engine()

    def hear_late(script, *more):
        greeted.set()
        release.wait(20)
        deaf.scripts.append(script)

    deaf.evaluate_js = hear_late
    window.gui = deaf
    for event in (window.events.shown, window.events.before_load, window.events.loaded):
        event.set()
    assert greeted.wait(20)

    def ours():
        return [one for one in threading.enumerate() if one.name.startswith("keypin.webview")]

    calls = [f"{number:032x}" for number in range(300)]
    for call in calls:
        window._functions["keypin_call"]("no key", call, "send", "{}")
    assert len(ours()) <= 3  # one that greets; one that answers, and perhaps one more since
    release.set()
    for thread in ours():
        thread.join(20)
    said = "".join(deaf.scripts)
    assert [call for call in calls if call not in said] == []


@pytest.mark.parametrize(
    "sent",
    [
        (),
        ("a",),
        ("a", "b", "c", "d", "e"),
        (1, 2, 3, 4),
        (None, "0" * 32, "send", "{}"),
        ("", "0" * 32, ["send"], "{}"),
        ("", 'x"]; alert(1); ["', "send", "{}"),
        ("\ud800", "0" * 32, "send", "{}"),
        ("", "0" * 32, "\ud800", "{}"),
    ],
)
def test_nothing_that_a_page_sends_raises(make, client, sent):
    """Pywebview would show it the traceback."""
    window = make()
    keypin.webview.expose(window, client)
    assert window._functions["keypin_call"](*sent) is None


@pytest.mark.parametrize(
    ("given", "prefix"),
    [
        ("https://app.example/", "https://app.example/"),
        ("https://APP.example:443/", "https://app.example/"),
        ("https://app.example:8443/", "https://app.example:8443/"),
        ("https://bücher.example/", "https://xn--bcher-kva.example/"),
        ("http://localhost:5173/", "http://localhost:5173/"),
        ("http://127.0.0.1:80/", "http://127.0.0.1/"),
        ("http://[::1]:8000/", "http://[::1]:8000/"),
        ("file:///opt/my äpp/", "file:///opt/my%20%C3%A4pp/"),
        ("file:///C:/app/", "file:///C:/app/"),
    ],
)
def test_the_beginning_of_pages_addresses_is_spelled_as_browsers_do(given, prefix):
    assert page_prefix(given) == prefix


@pytest.mark.parametrize(
    "given",
    [
        "https://app.example",
        "https://app.example/index.html",
        "https://app.example/folder/",
        "http://app.example/",
        "http://127.0.0.1.app.example/",
        "https://user@app.example/",
        "https://app.example/?a/",
        "https://app.example/#/",
        "https://app.example/a/../",
        "https:///",
        "https:\\\\app.example/",
        "file://server/share/",
        "about:blank",
        "data:text/html,/",
        "*",
        "",
        "/",
    ],
)
def test_what_would_let_in_more_than_it_says_is_refused(given):
    with pytest.raises(ValueError, match=r"."):
        page_prefix(given)


@pytest.mark.parametrize(
    ("given", "resolved", "prefix"),
    [
        ("www/index.html", "http://127.0.0.1:4711/index.html", "http://127.0.0.1:4711/"),
        ("https://app.example/a/b.html", None, "https://app.example/"),
        ("file:///opt/app/a b.html", None, "file:///opt/app/"),
        (len, "http://127.0.0.1:4711/", "http://127.0.0.1:4711/"),
    ],
)
def test_the_apps_pages_are_those_of_the_first_ones_server_or_folder(given, resolved, prefix):
    assert prefix_of_first_page(given, resolved) == prefix


def test_a_local_page_that_has_become_a_foreign_one_says_nothing_of_the_apps_pages():
    with pytest.raises(ValueError, match="pages="):
        prefix_of_first_page("index.html", "https://elsewhere.example/")


PAGES = Pages(["https://app.example/", "file:///opt/my%20app/"])
OWN = [
    "https://app.example/",
    "https://app.example/a/b?c#d",
    "https://app.example/\uffff",
    "file:///opt/my%20app/index.html",
]
FOREIGN = [
    "https://app.example",
    "https://app.example.org/",
    "https://app.example:8443/",
    "https://app.example0/",
    "https://user@app.example/",
    "https://app.example%2F@elsewhere.example/",
    "https://app.example%2f.elsewhere.example/",
    "https://[app.example/",
    "http://app.example/",
    "https://aaa.example/",
    "https://zzz.example/",
    "file:///opt/my%20app",
    "file:///opt/my%20app0/",
    "file:///tmp/a.html",
    "about:blank",
    "data:text/html,https://app.example/",
    "",
]


def test_which_addresses_are_the_apps_own():
    assert [address for address in OWN + FOREIGN if address in PAGES] == OWN
    assert "file:///opt/my app/a" in PAGES  # as Qt spells it
    assert "https://bücher.example/a" in Pages([page_prefix("https://bücher.example/")])


@pytest.mark.skipif(node is None, reason="needs node (make system-deps)")
def test_a_script_runs_in_the_apps_own_pages_only_whatever_a_page_has_replaced():
    page = """
        for (const name of Object.getOwnPropertyNames(String.prototype)) {
          try { String.prototype[name] = () => { console.log('called'); }; } catch (e) {}
        }
        String.prototype[Symbol.toPrimitive] = () => { console.log('called'); };
    """
    script = PAGES.only_there("here.push(location.href)")
    program = (
        f"const here = []; let location; {page} for (const href of {json.dumps(OWN + FOREIGN)}) {{"
    )
    program += f" location = {{ href }}; {script} }} console.log(JSON.stringify(here));"
    said = subprocess.run(
        [node, "-e", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        encoding="utf-8",
    )
    assert json.loads(said.stdout) == OWN
