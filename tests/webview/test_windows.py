"""Real windows: the desktop example through clicks, and pages that are not the app's own."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from urllib.parse import quote

import pytest
from scene import HOST
from windows import missing

pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))

HERE = Path(__file__).parent
EXAMPLES = HERE.parents[1] / "examples"
PIN = "WL.Client.pinTrustedCertificatePublicKey('pinned.cer')"


def get(url):
    request = f"new WLResourceRequest({json.dumps(url)}, WLResourceRequest.GET)"
    return f"{request}.send().then((response) => response.responseText)"


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
def app(start, server, certificates):
    """The app for tests, connected."""
    page = HERE / "pages" / "app" / "index.html"
    app = start(HERE / "programs" / "app.py", server.url_for(HOST), certificates.parent, page)
    app.until("window.ready")
    return app


def test_a_page_reaches_one_function_of_python_and_nothing_behind_it(app):
    assert app.js("Object.keys(pywebview.api)") == ["add"]  # the app's own
    functions = ["answer", "awaits", "connect", "protocol", "refuse"]
    assert app.js("Object.keys(keypinBridge).sort()") == functions
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
    told = app.until(f"told.length === {len(names)} && told")
    assert {json.loads(value)["message"] for _, value in told} == {"no such function is exposed"}
    assert app.outcome("pywebview.api.add(2, 3)") == ["value", 5]


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
    parameters = json.dumps(json.dumps(["send", json.dumps(request)]))
    for ticket in ("''", "'.1'", "'0.1'", "null", "undefined", "[]", "{}", "true", "'\\ud800.1'"):
        call = f"_QWebChannel.objects.external.call('keypin_call', {parameters}, {ticket})"
        app.tell("js", f"pywebview.{call}; 0")
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


def test_answers_do_not_reach_a_foreign_page_and_it_ends_the_bridge(app, server, paths, foreign):
    own = app.js("location.href")
    assert app.outcome(PIN)[0] == "value"
    app.tell("js", f"{get('/slow/1')}; 0")
    assert paths.arrived.wait(20)
    app.tell("js", f"location.href = '{foreign}/index.html?{quote(own, safe='')}'; 0")
    app.until("document.title === 'foreign page' && window.pywebview && pywebview._QWebChannel")
    paths.release.set()
    app.tell(
        "js",
        "for (const key of ['', 'a'])"
        " pywebview._jsApiCallback('keypin_call', ['pin', '{}'], `${key}.1`);"
        " pywebview.api.add(1, 2).then(caught.push, caught.push); 0",
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
    app.tell("idle")
    assert app.outcome(PIN) == ["failure", "BRIDGE_MISSING"]  # this page was there before
    app.tell("js", "location.reload(); 0")
    app.until("window.ready && !window.outcome")
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
