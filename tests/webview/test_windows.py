"""Real windows: the desktop example through clicks, and pages that are not the app's own."""

from __future__ import annotations

import http.server
import json
import subprocess
import threading
from functools import partial
from pathlib import Path
from urllib.parse import quote

import pytest
from scene import HOST, pinned
from windows import App, Display, missing

from keypin.lab import Http, Response, Server

pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))

HERE = Path(__file__).parent
EXAMPLES = HERE.parents[1] / "examples"
PIN = "WL.Client.pinTrustedCertificatePublicKey('pinned.cer')"


def get(url):
    request = f"new WLResourceRequest({json.dumps(url)}, WLResourceRequest.GET)"
    return f"{request}.send().then((response) => response.responseText)"


@pytest.fixture(scope="module")
def display():
    display = Display()
    yield display
    display.close()


@pytest.fixture
def start(display):
    """Start a program with a window."""
    started = []

    def start(*arguments, **more):
        started.append(App(display, *arguments, **more))
        return started[-1]

    yield start
    for app in started:
        app.close()


@pytest.fixture
def foreign():
    """A web server of somebody else."""
    requests = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *said):
            requests.append(self.path)

    handler = partial(Handler, directory=str(HERE / "pages" / "foreign"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def people(tmp_path, monkeypatch):
    """The servers of the examples."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    from people_server import people_servers

    with people_servers(tmp_path / "people") as servers:
        (servers.certificates / "broken.cer").write_text("this is not a certificate")
        yield servers


def colours(picture):
    """Every colour of a picture."""
    histogram = subprocess.run(
        ["convert", str(picture), "-depth", "8", "-format", "%c", "histogram:info:"],
        capture_output=True,
        text=True,
        check=True,
    )
    return histogram.stdout


def test_the_desktop_example_through_clicks(start, display, people, tmp_path):
    """The pinned request shows its data, the mispinned one its failure, with nothing sent."""
    from people_server import CLIENT_ID, CLIENT_SECRET

    app = start(
        EXAMPLES / "desktop" / "app.py",
        people.base_url,
        "--certificates",
        people.certificates,
        "--cafile",
        people.cafile,
        "--impostor-url",
        people.impostor_url,
        PEOPLE_CLIENT_ID=CLIENT_ID,
        PEOPLE_CLIENT_SECRET=CLIENT_SECRET,
    )
    app.until("document.getElementById('state').textContent === 'connected to the app'")

    def click(button):
        before = app.js("document.querySelectorAll('article').length")
        app.click(f"#{button}")
        return app.until(
            f"document.querySelectorAll('article').length > {before}"
            " && [document.querySelector('article').className]"
            ".concat(Array.from(document.querySelectorAll('article:first-of-type p'),"
            " (line) => line.textContent))"
        )

    assert click("request")[:2] == ["failure", "NOT_PINNED"]
    people.server.settle()
    assert people.server.connections == []
    assert click("missing")[:2] == ["failure", "CERTIFICATE_NOT_FOUND"]
    assert click("broken")[:2] == ["failure", "CERTIFICATE_FORMAT"]
    assert click("pin")[0] == "success"
    names = ["Ada Lovelace, born 1815", "Emmy Noether, born 1882", "Alan Turing, born 1912"]
    assert click("request") == ["success", *names]
    token = click("token")
    assert token[0] == "success"
    assert token[2] == "its text stays in the app"
    assert click("elsewhere")[:2] == ["failure", "HOST_NOT_ALLOWED"]
    assert click("impostor")[:2] == ["failure", "PIN_MISMATCH"]
    people.impostor.settle()
    assert len(people.impostor.connections) == 1
    assert people.impostor.application_bytes == 0

    picture = tmp_path / "window.png"
    display.photograph(picture)
    seen = colours(picture)
    assert "#16324F" in seen  # the header
    assert "#B3261E" in seen  # a failure's edge
    assert "#1A7F4B" in seen  # a success's edge

    assert app.shut() == 0


def test_the_example_runs_with_one_command(start):
    app = start(EXAMPLES / "desktop" / "app.py", "--demo")
    app.until("document.getElementById('state').textContent === 'connected to the app'")
    for button, expected in (("pin", "success"), ("impostor", "failure")):
        app.click(f"#{button}")
        app.until(f"(document.querySelector('article') || {{}}).className === '{expected}'")
    assert app.shut() == 0
    assert "The impostor received 0 bytes of the app.\n" in app.output


@pytest.fixture
def certificates(tmp_path):
    from scene import authority

    folder = tmp_path / "certificates"
    folder.mkdir()
    (folder / "pinned.cer").write_bytes(pinned().certificate)
    (tmp_path / "ca.pem").write_text(authority().pem)
    return folder


class Paths:
    """`/slow` is answered when `release` is set."""

    def __init__(self):
        self.release = threading.Event()
        self.arrived = threading.Event()

    def __call__(self, request):
        if request.target.startswith("/slow"):
            self.arrived.set()
            self.release.wait(60)
        return Response(b"xyzzy-answer")


@pytest.fixture
def paths():
    paths = Paths()
    yield paths
    paths.release.set()


@pytest.fixture
def server(paths):
    with Server(pinned(), application=Http(paths)) as server:
        yield server
        paths.release.set()


@pytest.fixture
def app(start, server, certificates):
    """The app for tests, connected."""
    page = HERE / "pages" / "app" / "index.html"
    app = start(HERE / "programs" / "app.py", server.url_for(HOST), certificates.parent, page)
    app.until("window.ready")
    return app


def test_a_page_reaches_one_function_of_python_and_nothing_behind_it(app):
    assert app.js("Object.keys(pywebview.api)") == ["keypin_call"]
    assert app.js("Object.keys(keypinBridge).sort()") == ["answer", "connect", "protocol", "refuse"]
    names = [
        "keypin_call.__globals__.get",
        "keypin_call.__globals__",
        "keypin_call.__closure__",
        "keypin_call.__code__.co_consts.index",
        "keypin_call.__self__._bridge._client",
        "keypin_call.__builtins__.get",
        "keypin_call.__class__.__base__.__subclasses__",
        "__class__.__base__.__subclasses__",
        "__globals__.get",
        "__init__.__globals__.get",
        "__self__",
        "_client._flows._credentials.client_secret.strip",
        "client",
    ]
    app.tell(
        "js",
        f"""window.told = [];
        {json.dumps(names)}.forEach((name, number) => {{
          const id = String(number);
          pywebview._returnValuesCallbacks[name] = {{}};
          pywebview._returnValuesCallbacks[name][id] = (answer) => told.push([name, answer.value]);
          pywebview._jsApiCallback(name, ['XYZZY'].slice(0, number), id);
        }}); 0""",
    )
    assert app.outcome(PIN)[0] == "value"  # by then the calls before it have been looked at
    told = app.js("told")
    assert not [name for name, _ in told if name.startswith("keypin_call")]
    assert "xyzzy" not in json.dumps(told)
    assert str(HERE) not in json.dumps(told)


def test_a_page_cannot_call_without_its_key(app, server):
    request = {
        "url": "/x",
        "method": "GET",
        "timeout": 9000,
        "scope": "",
        "query": [],
        "headers": [],
        "body": {"kind": "none"},
    }
    assert app.outcome(PIN)[0] == "value"
    text = json.dumps(json.dumps(request))
    for key in ("''", "'0'", "null", "undefined", "[]", "{}", "true", "'\\ud800'"):
        call = f"pywebview.api.keypin_call({key}, '{'0' * 32}', 'send', {text})"
        app.tell("js", f"{call}.then(() => 0, () => 0); 0")
    assert app.outcome(get("/mine")) == ["value", "xyzzy-answer"]
    assert [one.target for one in server.requests] == ["/mine"]


def test_a_slow_request_holds_up_nothing_and_the_window_closes_all_the_same(app, server, paths):
    assert app.outcome(PIN)[0] == "value"
    app.tell("js", f"{get('/slow')}; 0")
    assert paths.arrived.wait(20)
    assert app.outcome(get("/fast")) == ["value", "xyzzy-answer"]
    assert not paths.release.is_set()
    assert app.shut() == 0
    assert "the program ends\n" in app.output
    assert "Traceback" not in "".join(app.output)


def test_so_many_calls_are_under_way_and_no_more(app, paths):
    assert app.outcome(PIN)[0] == "value"
    app.tell(
        "js",
        f"""window.came = []; for (let number = 0; number < 66; number += 1) {{
          {get("/slow")}.then(() => came.push('OK'), (failure) => came.push(failure.errorCode));
        }} 0""",
    )
    assert app.until("came.length === 2 && came") == ["TOO_MANY_CALLS"] * 2
    paths.release.set()
    assert app.until("came.length === 66 && came")[2:] == ["OK"] * 64
    assert app.js("Object.keys(pywebview._returnValuesCallbacks.keypin_call)") == []


def test_answers_do_not_reach_a_foreign_page_and_it_ends_the_bridge(app, server, paths, foreign):
    own = app.js("location.href")
    assert app.outcome(PIN)[0] == "value"
    app.tell("js", f"{get('/slow/1')}; 0")
    assert paths.arrived.wait(20)
    app.tell("js", f"location.href = '{foreign}/index.html?{quote(own, safe='')}'; 0")
    app.until(
        "document.title === 'foreign page' && window.pywebview && 'keypin_call' in pywebview.api"
    )
    paths.release.set()
    app.tell(
        "js",
        "for (const key of ['', 'a'])"
        f" pywebview.api.keypin_call(key, '{'0' * 32}', 'pin', '{{}}'); 0",
    )
    # what pywebview would write into the next page, between quotation marks
    planted = {"key": "x", "value": "'; window.planted = true; '"}
    app.tell(
        "js", f"pywebview._jsApiCallback('pywebviewStateUpdate', {json.dumps(planted)}, '1'); 0"
    )
    app.tell("idle")
    caught = json.dumps(app.js("window.caught"))
    assert "xyzzy" not in caught
    assert app.js("caught.filter((one) => one[0] !== 'parse')") == []

    app.tell("js", f"location.href = '{own}'; 0")
    app.until("document.title === 'app for tests' && window.WL")
    assert app.outcome(PIN) == ["failure", "BRIDGE_MISSING"]
    assert app.js("[typeof window.planted, typeof pywebview.state]") == ["undefined", "object"]
    app.tell("expose")
    app.until("window.ready")
    assert app.outcome(get("/again")) == ["value", "xyzzy-answer"]
    assert [one.target for one in server.requests] == ["/slow/1", "/again"]


def test_a_reloaded_page_is_connected_again(app, server):
    assert app.outcome(PIN)[0] == "value"
    for _ in range(2):
        app.tell("js", "location.reload(); 0")
        app.until("window.ready && !window.outcome")
        assert app.outcome(get("/x")) == ["value", "xyzzy-answer"]
    app.tell("js", "window.ready = 0; 0")
    app.tell("expose")  # counts its greetings on
    app.until("window.ready")
    assert app.outcome(get("/x")) == ["value", "xyzzy-answer"]


def test_a_foreign_frame_finds_no_way_to_the_app(app, server, foreign):
    assert app.outcome(PIN)[0] == "value"
    app.tell(
        "js",
        f"""window.heard = null;
        window.addEventListener('message', (event) => {{ window.heard = event.data; }});
        const frame = document.createElement('iframe');
        frame.src = '{foreign}/frame.html';
        document.body.appendChild(frame); 0""",
    )
    heard = app.until("window.heard")
    assert heard["parents"] == "SecurityError"
    assert "keypinBridge" not in heard["found"]
    assert app.outcome(get("/x")) == ["value", "xyzzy-answer"]
    assert [one.target for one in server.requests] == ["/x"]


def test_the_script_as_a_file_takes_calls_before_the_app_is_there(
    start, server, certificates, tmp_path
):
    from keypin.webview import script

    site = tmp_path / "my site"
    site.mkdir()
    (site / "keypin.js").write_text(script(), "utf-8")
    (site / "index.html").write_text(
        "<!doctype html><title>app for tests</title><script src='keypin.js'></script><script>"
        f"{PIN}.then(() => {get('/early')}).then((text) => {{ window.early = text; }},"
        " (failure) => { window.early = failure.errorCode; })</script>"
    )
    for page in (site / "index.html", (site / "index.html").as_uri()):
        app = start(HERE / "programs" / "app.py", server.url_for(HOST), certificates.parent, page)
        assert app.until("window.early") == "xyzzy-answer"
        assert app.shut() == 0
