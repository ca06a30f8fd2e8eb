"""Pages and frames that are not the app's own, against real engines."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path
from urllib.parse import quote

import pytest
from scene import HOST
from windows import HERE, SYSTEM_PYTHON, missing, missing_webkit

QT = pytest.mark.skipif(missing() is not None, reason=str(missing()))
WEBKIT = pytest.mark.skipif(missing_webkit() is not None, reason=str(missing_webkit()))
PIN = "WL.Client.pinTrustedCertificatePublicKey('pinned.cer')"
# An id that ends the quotation marks which pywebview would put it into.
PLANTED = 'x"]; window.planted = 1; ["'


def get(url):
    request = f"new WLResourceRequest({json.dumps(url)}, WLResourceRequest.GET)"
    return f"{request}.send().then((response) => response.responseText)"


def python_of(gui):
    """The interpreter that has an engine, with this one's packages, which are pure Python."""
    if gui == "qt":
        return {}
    folders = {
        str(Path(importlib.util.find_spec(name).origin).parents[1])
        for name in ("keypin", "webview", "httpx2", "oauthlib", "idna")
    }
    return {"python": SYSTEM_PYTHON, "PYTHONPATH": os.pathsep.join(sorted(folders))}


@pytest.fixture(params=[pytest.param("qt", marks=QT), pytest.param("gtk", marks=WEBKIT)])
def gui(request):
    return request.param


@pytest.fixture
def app(gui, start, server, certificates):
    """The app for tests, connected."""
    return connected(gui, start, server, certificates)


def connected(gui, start, server, certificates, *more):
    page = HERE / "pages" / "app" / "index.html"
    arguments = (server.url_for(HOST), certificates.parent, page, *more)
    app = start(HERE / "programs" / "app.py", *arguments, gui=gui, **python_of(gui))
    app.until("window.ready")
    assert app.outcome(PIN)[0] == "value"
    return app


def posting(foreign, **told):
    """The address of a foreign page that does what it is told."""
    return f"{foreign}/post.html#{quote(json.dumps(told), safe='')}"


def framed(app, address):
    """Put a foreign frame into the app's page, and wait until it has sent its messages."""
    app.tell(
        "js",
        f"""window.sent = null;
        window.addEventListener('message', (event) => {{ window.sent = event.data; }});
        const frame = document.createElement('iframe');
        frame.src = {json.dumps(address)};
        document.body.appendChild(frame); 0""",
    )
    app.until("window.sent")


def test_a_foreign_frame_plants_no_script_and_calls_nothing(app, server, foreign):
    """In WebKitGTK it can send messages, as every frame can."""
    parameters = [5, {}, None, [], [1, 2], ["hello", ""], ["send", "{}"], "x"]
    messages = [
        [name, one, ticket]
        for name in ("keypin_call", "add", "pywebviewStateUpdate", "_pywebviewAlert", PLANTED)
        for one in parameters
        for ticket in (PLANTED, f".{PLANTED}", ".1", "1", 1)
    ]
    framed(app, posting(foreign, messages=messages))
    assert app.outcome(get("/mine")) == ["value", "xyzzy-answer"]
    app.tell("idle")
    assert app.js("window.planted === undefined")
    assert app.outcome("pywebview.api.add(1, 2)") == ["value", 3]
    assert app.output.count("add was called\n") == 1
    assert [one.target for one in server.requests] == ["/mine"]


def test_a_foreign_page_that_is_left_early_plants_no_script(app, foreign):
    """What it asks for is answered when the app's page is there."""
    own = app.js("location.href")
    messages = [["keypin_call", 5, PLANTED], ["add", [1, 2], PLANTED]] * 5
    for turn in range(12):
        address = posting(foreign, messages=messages, then=f"{own}?{turn}")
        app.tell("load_url", address)
        app.until(f"location.search === '?{turn}' && document.readyState === 'complete'")
        app.tell("idle")
        assert app.js("window.planted === undefined")
    assert "add was called\n" not in app.output


def test_after_a_foreign_page_a_page_needs_expose_and_to_be_newly_loaded(app, server, foreign):
    """Also after one that has moved on before it was loaded, and whatever else is loaded since."""
    own = app.js("location.href")
    address = posting(foreign, then=f"{own}?again")
    app.tell("js", f"location.href = {json.dumps(address)}; 0")
    app.until("location.search === '?again' && Boolean(window.WL)")
    assert app.outcome(PIN) == ["failure", "BRIDGE_MISSING"]
    app.tell("expose")
    app.tell("idle")
    # nothing comes of this load, and the page stays; pywebview takes it for a new one
    app.tell("js", f"pywebview.old = 1; location.href = '{foreign}/nothing'; 0")
    app.until("window.pywebview && !pywebview.old")
    app.tell("js", "location.hash = 'a'; history.pushState(0, '', '?pushed'); 0")
    app.tell("idle")
    assert app.js("location.search") == "?pushed"
    assert app.outcome(PIN) == ["failure", "BRIDGE_MISSING"]
    app.tell("js", "window.old = 1; location.href = 'second.html'; 0")
    app.until("document.title === 'second page' && window.ready")
    assert app.outcome(get("/second")) == ["value", "xyzzy-answer"]
    app.tell("js", "history.back(); 0")  # to the page from before, which has to be a new one
    app.until("document.title === 'app for tests' && window.ready")
    assert app.js("window.old === undefined")
    assert app.outcome(get("/back")) == ["value", "xyzzy-answer"]
    assert [one.target for one in server.requests] == ["/second", "/back"]


def channel_call(*arguments, **more):
    """A message of Qt's web channel."""
    message = {"type": 6, "id": 1, "object": "external", "method": "call", "args": list(arguments)}
    return json.dumps(message | more)


# the page that sends them makes DEEP and LONG as long as the names say
MALFORMED = {
    "gtk": [
        *("", "x", "5", "null", "[]", "{}", '"x"', "LONG", "DEEP"),
        *('{"funcName": 5}', '{"funcName": "add"}', '{"funcName": ["add"], "params": 1, "id": {}}'),
        '{"funcName": "add", "params": DEEP',
        '{"funcName": "_pywebviewAlert", "params": {}, "id": "alert"}',
    ],
    "qt": [
        *("", "x", "5", "{}", '{"type": 6}', "DEEP"),
        *(channel_call("add", text, "1") for text in ("not JSON", "", "DEEP", "LONG")),
        *(channel_call(kind, kind, kind) for kind in (5, None, {}, [], "\ud800")),
        *(channel_call(*"abcde"[:count]) for count in range(6)),
        *(channel_call("add", "[1, 2]", "1", method=number) for number in (-1, 0, 4, 10**9)),
        *(channel_call("add", "[1, 2]", "1", args=arguments) for arguments in ("x", {"a": 1}, 7)),
        *(channel_call("pywebviewMoveWindow", text, "1") for text in ('"x"', "[1]", "null")),
        *(channel_call("pywebviewEventHandler", text, "1") for text in ("{}", "null", "[]")),
        *(channel_call("pywebviewAsyncCallback", text, "x") for text in ("{}", '"{"')),
        *(channel_call("pywebviewStateDelete", text, "1") for text in ("{}", "7", '"x"')),
        channel_call("_pywebviewAlert", '"<b>hello"', "alert"),
    ],
}
DELETE = channel_call(method="deleteLater")


def test_messages_that_mean_nothing_end_nothing(app, gui, server, foreign):
    """A frame sends them, the app's page, and a foreign one. Under Qt they ended the program."""
    framed(app, posting(foreign, raw=MALFORMED[gui]))
    ways = {
        "gtk": "webkit.messageHandlers.jsBridge.postMessage",
        "qt": "qt.webChannelTransport.send",
    }
    app.tell("js", f"{json.dumps(MALFORMED[gui])}.forEach((text) => {ways[gui]}(text)); 0")
    assert app.outcome(get("/still")) == ["value", "xyzzy-answer"]
    assert app.outcome("pywebview.api.add(1, 2)") == ["value", 3]
    assert "Traceback" not in "".join(app.output)
    own = app.js("location.href")
    raw = [*MALFORMED[gui], DELETE]
    cookie = "a,b=1; path=/"  # Python's http.cookies raises
    app.tell("js", f"location.href = {json.dumps(posting(foreign, raw=raw, cookie=cookie))}; 0")
    app.until("document.title === 'foreign page' && Boolean(window.pywebview)")
    app.tell("js", f"location.href = {json.dumps(own)}; 0")
    app.until("Boolean(window.WL)")
    app.tell("expose")
    app.tell("js", "location.reload(); 0")
    app.until("window.ready")
    assert app.outcome(get("/again")) == ["value", "xyzzy-answer"]
    assert app.output.count("add was called\n") == 1
    assert app.shut() == 0


PROBING = """
  window.told = {};
  window.addEventListener('message', (event) => { told[event.data.kind] = event.data.found; });
  const frame = (kind, more) => document.body.appendChild(
    Object.assign(document.createElement('iframe'), more(PROBE.replace('KIND', kind))));
  const blob = (text) => URL.createObjectURL(new Blob([text], { type: 'text/html' }));
  frame('srcdoc', (text) => ({ srcdoc: text }));
  frame('sandboxed', (text) => ({ srcdoc: text, sandbox: 'allow-scripts' }));
  frame('data', (text) => ({ src: 'data:text/html,' + encodeURIComponent(text) }));
  frame('blob', (text) => ({ src: blob(text) }));
  told.popups = [];
  const seen = (popup) => ['pywebview', 'qt', 'keypinBridge'].filter((name) => popup[name]);
  for (const address of ['', 'javascript:opener.planted = 1', 'index.html', 'FOREIGN/post.html']) {
    const popup = window.open(address, '_blank');
    if (popup) {
      told.popups.push(seen(popup));
    }
  }
  const workers = navigator.serviceWorker;
  workers.addEventListener('message', (event) => { told.worker = event.data; });
  workers.register('worker.js').then(() => workers.ready).then(
    (registered) => registered.active.postMessage('what do you see?'),
    (refused) => { told.worker = String(refused); });
  0
"""


def test_popups_workers_and_frames_of_any_kind_find_no_way_to_the_app(app, server, foreign):
    probe = (
        "<script>const names = ['pywebview', 'keypinBridge', 'WL', 'qt'];"
        "parent.postMessage({kind: 'KIND', found: names.filter((name) => window[name])}, '*');"
        "</script>"
    )
    app.tell("js", PROBING.replace("PROBE", json.dumps(probe)).replace("FOREIGN", foreign))
    kinds = "['srcdoc', 'sandboxed', 'data', 'blob', 'worker']"
    told = app.until(f"{kinds}.every((kind) => told[kind]) && told")
    popups = told.pop("popups")
    assert [found for found in popups if found] == []
    assert told == {"srcdoc": [], "sandboxed": [], "data": [], "blob": [], "worker": []}
    # a page that the worker controls is connected as ever
    app.tell("js", "location.reload(); 0")
    app.until("window.ready && navigator.serviceWorker.controller && !window.told")
    assert app.outcome(get("/mine")) == ["value", "xyzzy-answer"]
    assert app.js("window.planted === undefined")


def test_answers_are_data_and_come_to_the_page_that_asked_only(app, paths):
    """Reloaded, left, and come back to from the history."""
    text = '</script>\u2028\'"`${window.planted = 1}"); window.planted = 1; ("\\'
    assert app.outcome(get(f"/echo?{quote(text)}")) == ["value", text]
    app.tell("js", f"window.old = 1; {get('/slow/1')}.then(() => {{ window.planted = 1; }}); 0")
    assert paths.arrived.wait(20)
    app.tell("js", "location.reload(); 0")
    app.until("window.ready && !window.old")
    app.tell("js", f"{get('/slow/2')}.then(() => {{ window.planted = 1; }}); 0")
    app.tell("js", "location.href = 'second.html'; 0")
    app.until("document.title === 'second page' && window.ready")
    # what an answer to another page would come by
    app.tell("js", "window.planted = undefined; JSON.parse = () => { window.planted = 1; }; 0")
    paths.release.set()
    app.tell("idle")
    assert app.js("window.planted === undefined")
    app.tell("js", "history.back(); 0")
    app.until("document.title === 'app for tests' && window.ready")
    assert app.outcome(get("/back")) == ["value", "xyzzy-answer"]
    assert app.js("window.planted === undefined")


def test_a_link_of_a_foreign_frame_runs_no_script_in_the_apps_page(
    gui, start, server, certificates, foreign
):
    """Where the program lets links open in its window: pywebview gives their addresses to it."""
    app = connected(gui, start, server, certificates, "--links-in-the-window")
    app.tell(
        "js",
        f"""window.addEventListener('message', (event) => {{ window.heard = event.data; }});
        const frame = document.createElement('iframe');
        frame.onload = () => {{ window.heard = 'loaded'; }};
        frame.src = '{foreign}/link.html';
        document.body.appendChild(frame); 0""",
    )
    app.until("window.heard === 'loaded'")
    app.click("iframe")
    app.until("window.heard === 'clicked'")
    for _ in range(3):
        assert app.outcome(get("/mine")) == ["value", "xyzzy-answer"]
    assert app.js("window.planted === undefined")
