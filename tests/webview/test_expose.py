"""Which windows and pages get a bridge; windows that are not shown."""

from __future__ import annotations

import contextlib
import json
import queue
import re
import shutil
import subprocess
import sys
import threading
import time

import pytest
import webview
from webview import util

import keypin.webview
from keypin.client import Client
from keypin.webview import _messages
from keypin.webview._pages import Pages, page_prefix, prefix_of_first_page
from keypin.webview._windows import Connection

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


def is_exposed(window):
    return isinstance(_messages._listeners.get(window), Connection)


def test_a_window_several_and_an_app_with_windows_are_exposed(make, client):
    windows = one, two, _three = make(), make(), make()
    keypin.webview.expose(one, client)
    assert list(map(is_exposed, windows)) == [True, False, False]
    keypin.webview.expose((one, two), client)
    assert list(map(is_exposed, windows)) == [True, True, False]
    keypin.webview.expose(webview, client)
    assert list(map(is_exposed, windows)) == [True, True, True]


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
    assert not is_exposed(good)


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
    before = len(window.events.before_show), len(window.events.closed)
    for _ in range(3):
        keypin.webview.expose(window, client)
    after = len(window.events.before_show), len(window.events.closed)
    assert after == (before[0] + 1, before[1] + 1)


class Engine:
    """Notes what pywebview has a window do."""

    renderer = "none"

    def __init__(self, address="file:///opt/app/index.html"):
        self.scripts = []
        self.moves = []
        self.address = address

    def evaluate_js(self, script, *more):
        self.scripts.append(script)

    def get_current_url(self, uid):
        return self.address

    def move(self, *where):
        self.moves.append(where)

    @property
    def keys(self):
        """Those that pages have been given."""
        return re.findall(r'keypinBridge\.connect\("([^"]+)"', "".join(self.scripts))


def show(window, engine):
    """Let the window's page be loaded, as an engine does."""
    window.gui = engine
    window.js_api_endpoint = None
    window.events.shown.set()
    util.inject_pywebview(engine.renderer, window)
    settle()


def settle():
    """Wait until everything that was asked for is done."""
    names = ("keypin.webview", "(generate_js_object)", "(execute)", "(notify_handlers)")
    while busy := [
        thread for thread in threading.enumerate() if any(name in thread.name for name in names)
    ]:
        for thread in busy:
            with contextlib.suppress(RuntimeError):  # it is only just being started
                thread.join(20)


@pytest.fixture
def window(make):
    return make("file:///opt/app/index.html")


def test_no_message_reaches_pywebview_which_would_write_its_number_into_a_script(window, client):
    """Whatever is called, and with whatever; a window without a bridge shows what is meant."""
    called = []
    window.expose(lambda: called.append(1))
    evil = 'x"]; evil(); ["'
    window.gui = engine = Engine()
    window.events._pywebviewready.set()

    def send_all(ticket):
        before = set(threading.enumerate())
        for name in ("keypin_call", "<lambda>", f'x"]; {evil}', "__class__", ""):
            for parameters in ([], 5, None, "x", {"a": 1}, [[]] * 3, [5, 6], ["hello", ""]):
                util.js_bridge_call(window, name, parameters, ticket)
        for thread in set(threading.enumerate()) - before:
            thread.join(20)

    send_all(evil)
    assert "evil()" in "".join(engine.scripts)
    keypin.webview.expose(window, client)
    show(window, engine)
    [key] = engine.keys
    del called[:], engine.scripts[:]
    tickets = [
        evil,
        f".{evil}",
        f"{key}.{evil}",
        key,
        f"{key}.",
        f"{key}.1.{evil}",
        f"{key}.\u0661",
    ]
    tickets += [
        f"{key[:-1]}.1",
        f"{key}x.1",
        f".{key}",
        "",
        None,
        5,
        [key],
        {},
        "\ud800.1",
        "1" * 10**6,
    ]
    for ticket in tickets:
        send_all(ticket)
    settle()
    for parameters in ({}, "", None, "x", 5):
        util.js_bridge_call(window, "<lambda>", parameters, f"{key}.1")
    settle()
    assert (called, engine.scripts) == ([], [])
    util.js_bridge_call(window, "<lambda>", [], f"{key}.1")
    settle()
    assert called == [1]
    [said] = engine.scripts
    assert 'keypinBridge.answer("1", ' in said
    assert "_returnValuesCallbacks" not in said


@pytest.mark.parametrize(
    "name",
    [
        "pywebviewMoveWindow",
        "pywebviewEventHandler",
        "pywebviewAsyncCallback",
        "pywebviewStateUpdate",
        "pywebviewStateDelete",
        "_pywebviewAlert",
        "_jsApiCallback",
        "console",
        "__init__",
        None,
        7,
        ["keypin_call"],
        {},
    ],
)
def test_nothing_that_a_page_sends_raises_with_its_key_or_without(window, client, name):
    keypin.webview.expose(window, client)
    engine = Engine()
    show(window, engine)
    [key] = engine.keys
    window._callbacks["0" * 32] = None
    del engine.scripts[:]
    event = {"type": "drop", "dataTransfer": {"files": [{}]}}
    for ticket in ("1", f"{key}.1", f"{key}.{'0' * 32}", f"{key}.x"):
        for parameters in (
            None,
            7,
            "x",
            [],
            [1],
            ["a", "b"],
            [1e999, 1],
            [None, {}],
            {},
            {"key": 1, "value": 2},
            {"event": event, "nodeId": []},
            {"event": event, "nodeId": "window"},
            "not JSON",
            "\ud800",
        ):
            util.js_bridge_call(window, name, parameters, ticket)
    settle()
    assert [script for script in engine.scripts if "raised" not in script] == []
    assert dict(window.state) == {}


def test_what_pywebview_sends_for_itself_is_heard_with_the_key_of_the_page_only(window, client):
    keypin.webview.expose(window, client)
    engine = Engine()
    show(window, engine)
    [key] = engine.keys
    handled, resolved = queue.SimpleQueue(), []
    element = type("Element", (), {"_event_handlers": {"click": [handled.put]}})()
    window.dom._elements["window"] = element
    for ticket, number in (("move", "0" * 32), (f"{key}.move", "1" * 32)):
        window._callbacks["0" * 32] = window._callbacks["1" * 32] = resolved.append
        util.js_bridge_call(window, "pywebviewMoveWindow", [3, 4], ticket)
        event = {"event": {"type": "click", "who": number}, "nodeId": "window"}
        util.js_bridge_call(window, "pywebviewEventHandler", event, ticket)
        ticket = f"{key}.{number}" if key in ticket else number
        util.js_bridge_call(window, "pywebviewAsyncCallback", json.dumps(number), ticket)
    for number in ("2" * 32, "0", "x"):  # not of a script that waits
        window._callbacks["0"] = resolved.append
        util.js_bridge_call(window, "pywebviewAsyncCallback", '"x"', f"{key}.{number}")
    util.js_bridge_call(window, "pywebviewMoveWindow", [10**30, 0], f"{key}.move")
    assert [move[:2] for move in engine.moves] == [(3, 4)]
    assert handled.get(timeout=20)["who"] == "1" * 32
    assert handled.empty()
    assert resolved == ["1" * 32]


def test_a_function_of_the_apps_own_answers_with_what_json_can_say_and_without_a_traceback(
    window, client
):
    keypin.webview.expose(window, client)

    def give(value):
        return {"nothing": float("nan"), "object": object(), "text": "a'\u2028</script>"}[value]

    window.expose(give)
    engine = Engine()
    show(window, engine)
    [key] = engine.keys
    answers = []
    for number, parameters in enumerate((["nothing"], ["object"], ["text"], ["?"], [], [1, 2])):
        del engine.scripts[:]
        util.js_bridge_call(window, "give", parameters, f"{key}.{number}")
        settle()
        [said] = engine.scripts
        text = json.loads(re.search(r'JSON\.parse\(("(?:[^"\\]|\\.)*")\)', said)[1])
        answers.append(json.loads(text))
    assert answers.pop(2) == {"ok": True, "value": "a'\u2028</script>"}
    names = ["ValueError", "TypeError", "KeyError", "TypeError", "TypeError"]
    assert [answer["raised"]["name"] for answer in answers] == names
    assert "Traceback" not in json.dumps(answers)


def test_an_answer_does_not_come_to_a_page_that_has_not_asked(window, client):
    """Reloaded, or left, while the answer was under way."""
    keypin.webview.expose(window, client)
    release = threading.Event()
    window.expose(release.wait)
    engine = Engine()
    show(window, engine)
    [key] = engine.keys
    util.js_bridge_call(window, "wait", [20], f"{key}.1")
    util.inject_pywebview(engine.renderer, window)  # the page is loaded anew
    while len(engine.keys) < 2:
        time.sleep(0.01)
    release.set()
    settle()
    assert "keypinBridge.answer(" not in "".join(engine.scripts[2:])
    del engine.scripts[:]
    # a page that has had a key hears that it is not current any more; another one nothing
    util.js_bridge_call(window, "keypin_call", ["send", "{}"], f"{key}.2")
    util.js_bridge_call(window, "keypin_call", ["send", "{}"], f"{key[::-1]}.3")
    util.js_bridge_call(window, "keypin_call", ["send", "{}"], f'{key}.x"]; evil(); ["')
    settle()
    assert [script.count("BRIDGE_MISSING") for script in engine.scripts] == [1]
    assert 'awaits("2")' in engine.scripts[0]


def test_a_page_that_was_there_before_expose_gets_no_key(window, client):
    """Nor does one after a foreign page: what is in it, nobody knows."""
    engine = Engine()
    show(window, engine)
    keypin.webview.expose(window, client)
    settle()
    assert engine.keys == []
    assert "loaded anew" in engine.scripts[-1]
    show(window, engine)
    assert len(engine.keys) == 1
    keypin.webview.expose(window, client)  # in the place of the first
    settle()
    assert len(engine.keys) == 2
    engine.address = "https://elsewhere.example/"
    show(window, engine)
    engine.address = "file:///opt/app/index.html"
    show(window, engine)
    assert len(engine.keys) == 2
    for _ in range(2):
        keypin.webview.expose(window, client)
        settle()
    assert len(engine.keys) == 2
    show(window, engine)
    assert len(engine.keys) == 3


def test_an_answer_of_pywebviews_own_that_comes_after_expose_is_left_out(window, client):
    engine = Engine()
    show(window, engine)
    release = threading.Event()
    window.expose(release.wait)
    before = set(threading.enumerate())
    util.js_bridge_call(window, "wait", [20], 'x"]; evil(); ["')
    keypin.webview.expose(window, client)
    del engine.scripts[:]
    release.set()
    for thread in set(threading.enumerate()) - before:
        thread.join(20)
    assert "evil" not in "".join(engine.scripts)
    window.evaluate_js("1 + 1")
    assert "1 + 1" in engine.scripts[-1]


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
    window = make("file:///opt/app/index.html")
    keypin.webview.expose(window, client)
    engine = Engine()
    show(window, engine)
    [key] = engine.keys
    del engine.scripts[:]
    for name in names:
        util.js_bridge_call(window, name, [3], f"{key}.1")
    settle()
    assert [script.count("no such function") for script in engine.scripts] == [1] * len(names)
    assert [getattr(window._js_api, name, None) for name in ("__doc__", "__class__")] == [None] * 2


def test_the_state_is_read_by_the_apps_pages_written_by_none_and_is_no_script(make, client):
    """Pywebview would put it into each page's script, in quotation marks that it can end."""
    window = make("file:///opt/app/index.html")
    engine = Engine()
    window.gui = engine
    window.events.shown.set()
    window.state.before = "'; evil(); '"
    for _ in range(2):
        keypin.webview.expose(window, client)
        show(window, engine)
        key = engine.keys[-1]
        for ticket in ("1", f"{key}.1"):
            for name in ("before", "x", "_State__window"):
                update = {"key": name, "value": "'; evil(); '"}
                util.js_bridge_call(window, "pywebviewStateUpdate", update, ticket)
            util.js_bridge_call(window, "pywebviewStateDelete", "before", ticket)
        assert dict(window.state) == {"before": "'; evil(); '"}
    with_state = [script for script in engine.scripts if "evil" in script]
    assert with_state  # for the app's own pages, as a text
    for script in with_state:
        assert script.startswith("if ((location.href >=")
        assert json.dumps(json.dumps({"before": "'; evil(); '"})) in script
    noticed = queue.SimpleQueue()
    window.state += lambda kind, key, value: noticed.put((str(kind), key, value))
    del engine.scripts[:]
    window.state.after = "2'"
    assert noticed.get(timeout=20) == ("change", "after", "2'")
    [said] = engine.scripts
    assert said.startswith("if ((location.href >=")
    assert json.dumps(json.dumps({"after": "2'"})) in said
    del window.state.before
    assert noticed.get(timeout=20) == ("delete", "before", "'; evil(); '")
    assert dict(window.state) == {"after": "2'"}


def test_calls_that_are_refused_pile_up_no_threads_and_those_without_a_key_are_not_answered(
    window, client
):
    """Any page can make them, a foreign one too, and faster than the window hears the answers."""
    keypin.webview.expose(window, client)
    engine = Engine()
    show(window, engine)
    [key] = engine.keys
    hears, release = threading.Event(), threading.Event()

    def hear_late(script, *more):
        hears.set()
        release.wait(20)
        engine.scripts.append(script)

    engine.evaluate_js = hear_late

    def ours():
        return [one for one in threading.enumerate() if one.name.startswith("keypin.webview")]

    calls = [f"{number:040d}" for number in range(300)]
    for call in calls:
        util.js_bridge_call(window, "keypin_call", ["send", "{}"], f"no key.{call}")
    assert ours() == []
    for call in calls:
        util.js_bridge_call(window, "keypin_call", ["hello", ""], f"{key}.{call}")
    assert hears.wait(20)
    assert len(ours()) == 1
    release.set()
    settle()
    said = "".join(engine.scripts)
    assert [call for call in calls if call not in said] == []


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
