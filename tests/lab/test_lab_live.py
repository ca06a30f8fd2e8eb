"""`LiveLab` and its page: many cases at once, other names and addresses, and who may ask what."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from keypin import PinSet
from keypin.errors import HostnameError
from keypin.lab import Cast, ConnectProxy, Server, scenarios
from keypin.lab.cast import Unsuitable
from keypin.lab.catalogue import proxies
from keypin.lab.live import Changes, LiveLab
from keypin.lab.live_page import POLICY, StatusPage

sys.path.append(str(Path(__file__).parents[1] / "webview"))
from windows import App, Display, missing

SECOND_ADDRESS = "127.0.0.5"
LAB_HOST = "lab.example"
PATIENCE = 20


def has_second_address():
    # Linux answers at all of 127.0.0.0/8, other systems at what is set up
    try:
        socket.create_server((SECOND_ADDRESS, 0)).close()
    except OSError:
        return False
    return True


needs_second_address = pytest.mark.skipif(
    not has_second_address(), reason=f"needs a second loopback address, {SECOND_ADDRESS}"
)


def cases(*identifiers):
    found = {it.identifier: it for it in scenarios()}
    return [next(found[name].cases(key="p-256")) for name in identifiers]


@pytest.fixture(scope="module")
def cast():
    return Cast("p-256")


@pytest.fixture(scope="module")
def elsewhere():
    """By a name of their own, at another address."""
    return Cast("p-256", LAB_HOST, SECOND_ADDRESS)


@pytest.fixture
def lab(cast):
    chosen = ("pinned-key", "other-ca", "redirect-to-wrong-key", "taken-over-between-visits")
    with LiveLab(cases(*chosen), cast) as lab:
        yield lab


@pytest.fixture
def page(lab):
    with StatusPage(lab, {"mitmproxy": "it is not here"}) as page:
        yield page


def name_of(lab, scenario):
    (name,) = (it for it in lab.stages if it.startswith(f"{scenario}-tls"))
    return name


def call(url, trusted, address=None):
    """A client without pins, which resolves the name by itself; whether it was answered."""
    parts = urlsplit(url)
    context = ssl.create_default_context(cadata=trusted)
    sock = socket.create_connection((address or parts.hostname, parts.port), PATIENCE)
    try:
        with sock, context.wrap_socket(sock, server_hostname=parts.hostname) as tls:
            tls.sendall(b"GET /path?secret HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            return tls.recv(1000).startswith(b"HTTP/1.1 200")
    except ssl.SSLError:
        return False


def outcome(lab, scenario, wanted):
    """Wait until that has come of it, at most."""
    end = time.monotonic() + PATIENCE
    name = name_of(lab, scenario)
    while (found := lab.standing(name)).outcome != wanted:
        assert time.monotonic() < end, found
        time.sleep(0.01)
    return found


def ask(page, path, method="GET", **headers):
    """Ask the page for something; status, headers, content."""
    connection = http.client.HTTPConnection(urlsplit(page.url).netloc, timeout=PATIENCE)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, answer.headers, content


# Cases


def test_what_has_come_is_told_case_by_case(lab):
    assert {lab.standing(name).outcome for name in lab.stages} == {"not called"}
    assert (lab.report().played, lab.verdict(lab.report())) == ([], "right")
    for scenario in ("pinned-key", "other-ca"):
        assert call(lab.stages[name_of(lab, scenario)].url, lab.cast.trusted)
    outcome(lab, "pinned-key", "right")
    found = outcome(lab, "other-ca", "wrong")
    assert found.judgement.attempts == 1
    assert "beginning 'GET /path?… HTTP/1.1'" in found.judgement.reasons[0]
    report = lab.report()
    assert ({it.outcome for it in report.played}, len(report.played)) == ({"right", "wrong"}, 2)
    assert lab.verdict(report) == "bypassed"
    lab.forget(name_of(lab, "other-ca"))
    assert lab.standing(name_of(lab, "other-ca")).outcome == "not called"
    assert lab.verdict(lab.report()) == "right"


def test_a_client_that_trusts_nobody_proves_nothing_by_being_refused(lab):
    stranger = Cast("p-256").trusted
    assert not call(lab.stages[name_of(lab, "other-ca")].url, stranger)
    outcome(lab, "other-ca", "right")
    assert lab.verdict(lab.report()) == "inconclusive"
    assert not call(lab.stages[name_of(lab, "pinned-key")].url, stranger)
    outcome(lab, "pinned-key", "wrong")
    assert lab.verdict(lab.report()) == "inconclusive"
    assert call(lab.stages[name_of(lab, "pinned-key")].url, lab.cast.trusted)
    outcome(lab, "pinned-key", "right")
    assert lab.verdict(lab.report()) == "right"


def test_a_client_that_only_calls_the_first_of_two_servers_counts_as_one_that_called(lab):
    assert not call(lab.stages[name_of(lab, "redirect-to-wrong-key")].url, lab.cast.trusted)
    assert outcome(lab, "redirect-to-wrong-key", "right").judgement.attempts == 0


def test_a_client_that_is_still_talking_has_not_failed(lab):
    stage = lab.stages[name_of(lab, "pinned-key")]
    with socket.create_connection(stage.address, PATIENCE):
        outcome(lab, "pinned-key", "inconclusive")
    outcome(lab, "pinned-key", "wrong")


def test_a_client_that_waits_for_ever_is_not_right_yet(cast):
    with LiveLab(cases("handshake-never-answered"), cast) as lab:
        stage = lab.stages[name_of(lab, "handshake-never-answered")]
        with socket.create_connection(stage.address, PATIENCE) as sock:
            sock.sendall(b"\x16\x03\x01")
            outcome(lab, "handshake-never-answered", "inconclusive")
        outcome(lab, "handshake-never-answered", "right")


def test_a_server_that_has_changed_begins_anew(lab):
    stage = lab.stages[name_of(lab, "taken-over-between-visits")]
    for _ in range(2):
        assert call(stage.url, lab.cast.trusted)
        outcome(lab, "taken-over-between-visits", "inconclusive")  # came once
        assert call(stage.url, lab.cast.trusted)
        found = outcome(lab, "taken-over-between-visits", "wrong")
        assert "after the key had changed" in found.judgement.reasons[0]
        lab.forget(name_of(lab, "taken-over-between-visits"))


def test_a_change_is_told_once_it_has_settled(lab):
    changes = Changes(lab)
    name = name_of(lab, "other-ca")
    assert changes.settled() == []
    call(lab.stages[name].url, lab.cast.trusted)
    found = outcome(lab, "other-ca", "wrong")
    assert changes.settled() == []
    assert changes.settled() == [(name, found)]
    assert changes.settled() == []
    lab.forget(name)
    ((again, standing),) = changes.settled(at_once=True)
    assert (again, standing.called, changes.settled()) == (name, False, [])


def test_all_cases_have_one_kind_of_key(cast):
    other = next(next(it for it in scenarios() if it.control).cases(key="ed25519"))
    with pytest.raises(ValueError, match="keys of the kind p-256"):
        LiveLab([other], cast)


# Other names and addresses


@needs_second_address
def test_servers_elsewhere_by_a_name_that_the_client_resolves(elsewhere):
    chosen = cases("pinned-key", "other-ca", "by-address", "upper-case", "http2-coalescing")
    with LiveLab(chosen, elsewhere) as lab:
        assert lab.unavailable == {}
        for stage in lab.stages.values():
            assert stage.address[0] == SECOND_ADDRESS
            for part in stage.parts:
                assert part.listener.address[0] == SECOND_ADDRESS
                with pytest.raises(ConnectionRefusedError):
                    socket.create_connection(("127.0.0.1", part.listener.port), PATIENCE)
        urls = {it.case.scenario.identifier: urlsplit(it.url) for it in lab.stages.values()}
        assert urls["pinned-key"].hostname == LAB_HOST
        assert urls["by-address"].hostname == SECOND_ADDRESS
        assert urls["upper-case"].netloc.startswith(LAB_HOST.upper())
        for scenario in ("pinned-key", "other-ca", "by-address"):
            url = lab.stages[name_of(lab, scenario)].url
            assert call(url, lab.cast.trusted, SECOND_ADDRESS)
        outcome(lab, "pinned-key", "right")
        outcome(lab, "by-address", "right")
        outcome(lab, "other-ca", "wrong")


@needs_second_address
@pytest.mark.parametrize("host", [LAB_HOST, SECOND_ADDRESS])
def test_every_scenario_can_be_had_elsewhere_or_says_why_not(host):
    cast = Cast("p-256", host, SECOND_ADDRESS)
    chosen = [case for it in scenarios() for case in list(it.cases(key="p-256"))[:1]]
    with LiveLab(chosen, cast) as lab:
        left_out = {case.scenario.identifier: why for case, why in lab.unavailable.items()}
        assert left_out.pop("mitmproxy")
        named = {name for name, why in left_out.items() if "needs a server with a name" in why}
        missing_libraries = {name for name, why in left_out.items() if "pip install" in why}
        assert left_out.keys() == named | missing_libraries
        assert ("upper-case" in named) == (host == SECOND_ADDRESS)
        for stage in lab.stages.values():
            told = json.dumps([stage.url, stage.second_url, stage.proxy])
            assert "localhost" not in told
            assert "127.0.0.1" not in told


def test_what_no_cast_can_be():
    with pytest.raises(HostnameError):
        Cast("p-256", "not a host")
    with pytest.raises(ValueError, match="somebody else"):
        Cast("p-256", "www.attacker.example")
    for address in ("0.0.0.0", "::", "224.0.0.1", "fe80::1%eth0"):
        with pytest.raises(ValueError, match="not the address of one machine"):
            Cast("p-256", LAB_HOST, address)
    with pytest.raises(ValueError, match=r"not at 127\.0\.0\.1"):
        Cast("p-256", "127.0.0.1", SECOND_ADDRESS)
    with pytest.raises(Unsuitable, match="name"):
        _ = Cast("p-256", SECOND_ADDRESS, SECOND_ADDRESS).name
    with pytest.raises(Unsuitable, match="IPv4"):
        _ = Cast("p-256", "::1", "::1").ipv4
    assert Cast("p-256", "::0001", "0::1").names == ("::1",)


def test_a_proxy_leads_strangers_from_the_network_only_to_the_lab(cast, monkeypatch):
    monkeypatch.setattr(Cast, "is_local", False)
    (honest,) = cases("proxy-honest")
    assert "proxy-honest" in {it.identifier for it in proxies.SCENARIOS}
    with Server(None) as private, honest.stage(cast=cast) as stage:
        assert connect(stage.proxy, f"localhost:{stage.port}") == 200
        assert connect(stage.proxy, f"127.0.0.1:{private.port}") == 502
        assert private.connections == []
    with Server(None) as private, ConnectProxy() as usual:
        assert connect(usual.url, f"127.0.0.1:{private.port}") == 200


def connect(proxy, target):
    """The status with which a proxy answers a CONNECT request."""
    parts = urlsplit(proxy)
    with socket.create_connection((parts.hostname, parts.port), PATIENCE) as sock:
        sock.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
        return int(sock.recv(1000).split()[1])


# The page


def test_the_page_hands_out_what_clients_need(lab, page, tmp_path):
    state = json.loads(ask(page, "/state.json")[2])
    assert [it["scenario"] for it in state["cases"]] == [
        it.case.scenario.identifier for it in lab.stages.values()
    ]
    assert state["left_out"] == {"mitmproxy": "it is not here"}
    first = state["cases"][0]
    assert (first["outcome"], first["second_url"], first["own_pins"]) == ("not called", None, False)
    assert state["pins"] == [str(lab.cast.pinned.pin), str(lab.cast.backup.pin)]
    assert ask(page, "/authorities.pem")[2] == lab.cast.trusted.encode()
    assert ask(page, "/pinned.cer")[2] == lab.cast.pinned.certificate
    pins = tmp_path / "pins.toml"
    for path in ("/pins.toml", f"/cases/{first['case']}/pins.toml"):
        pins.write_bytes(ask(page, path)[2])
        assert PinSet.load(pins) == lab.usual_pins
    for path in ("/nothing", "/live.py", "/../live.py", "/cases/x/pins.toml", "/?"):
        assert ask(page, path)[0] == 404


def test_a_case_with_other_pins_or_authorities_says_so(cast):
    with (
        LiveLab(cases("pinned-key", "root-pinned", "cross-signed-other-root"), cast) as lab,
        StatusPage(lab) as page,
    ):
        told = [lab.told(name) for name in lab.stages]
        assert [it["own_pins"] for it in told] == [False, True, True]
        assert [it["own_authorities"] for it in told] == [False, False, True]
        url = page.file_url("authorities.pem", told[2]["case"])
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
            assert answer.read().decode() == cast.other_root.pem


def test_every_answer_forbids_what_browsers_could_do_with_it(page):
    for path in ("/", "/live.js", "/live.css", "/state.json", "/pinned.cer", "/nothing"):
        status, headers, content = ask(page, path)
        assert status == (404 if path == "/nothing" else 200)
        assert {name: headers[name] for name in POLICY} == POLICY
        assert b"http://" not in content or path == "/state.json"
    assert POLICY["Content-Security-Policy"].startswith("default-src 'none'")
    assert "unsafe" not in POLICY["Content-Security-Policy"]


@pytest.mark.parametrize(
    "host",
    ["attacker.example", "attacker.example:80", "localhost.attacker.example", "127.0.0.2", "", "[",
     "localhost@attacker.example", "0.0.0.0"],
)  # fmt: skip
def test_a_strangers_name_that_leads_here_is_not_answered(lab, page, host):
    path = f"/forget/{name_of(lab, 'other-ca')}"
    assert ask(page, "/state.json", Host=host)[0] == 421
    assert ask(page, path, "POST", Host=host, Origin=f"http://{host}")[0] == 421


def test_only_its_own_page_can_make_it_forget(lab, page):
    call(lab.stages[name_of(lab, "other-ca")].url, lab.cast.trusted)
    outcome(lab, "other-ca", "wrong")
    path = f"/forget/{name_of(lab, 'other-ca')}"
    own = page.url.removesuffix("/")
    for origin in ("null", "http://attacker.example", own + "1", own.replace("http", "https"), ""):
        assert ask(page, path, "POST", Origin=origin)[0] == 403
    assert ask(page, path, "POST")[0] == 403
    assert ask(page, path, "GET", Origin=own)[0] == 404
    assert lab.standing(name_of(lab, "other-ca")).outcome == "wrong"
    assert ask(page, "/forget/nothing", "POST", Origin=own)[0] == 404
    by_name = own.replace("127.0.0.1", "localhost")
    found = ask(page, path, "POST", Host=urlsplit(by_name).netloc, Origin=by_name)
    assert found[0] == 200
    assert lab.standing(name_of(lab, "other-ca")).outcome == "not called"


def test_it_ends_at_once_with_browsers_that_ask_for_nothing(lab):
    with StatusPage(lab) as page:
        parts = urlsplit(page.url)
        idle = socket.create_connection((parts.hostname, parts.port), PATIENCE)
        ask(page, "/")
        began = time.monotonic()
    assert time.monotonic() - began < 5
    with idle:
        assert idle.recv(1) == b""
    assert not [it for it in threading.enumerate() if "keypin lab page" in it.name]


def test_its_port_can_be_chosen_and_may_be_taken(lab, page):
    port = urlsplit(page.url).port
    with pytest.raises(OSError, match="in use"), StatusPage(lab, port=port):
        pass
    assert ask(page, "/")[0] == 200


# In a browser

BROWSER = """
import sys
import webview
webview.create_window("keypin lab", sys.argv[1], width=1000, height=740)
webview.start(gui="qt")
"""


@pytest.fixture
def browser(tmp_path):
    """Opens a page in a window of its own."""
    program = tmp_path / "browser.py"
    program.write_text(BROWSER)
    with ExitStack() as opened:
        display = Display()
        opened.callback(display.close)

        def open_(url):
            app = App(display, program, url)
            opened.callback(app.close)
            return app

        yield open_


@pytest.mark.skipif(missing() is not None, reason=str(missing()))
def test_the_page_in_a_real_browser(lab, browser):
    name = name_of(lab, "other-ca")
    row = f"document.getElementById({json.dumps(name)})"
    hostile = {"<img src=x onerror=document.body.remove()>": "<script>document.body.remove()"}
    with StatusPage(lab, hostile) as page:
        app = browser(page.url)
        app.until("document.querySelectorAll('tbody tr').length === 4")
        assert app.js("document.getElementById('pin').textContent") == str(lab.cast.pinned.pin)
        assert "not called" in app.js(f"{row}.innerText")
        assert app.js("document.querySelectorAll('img, #left-out script').length") == 0
        assert "onerror" in app.js("document.getElementById('left-out').textContent")
        # what clients do is seen without loading the page anew
        call(lab.stages[name].url, lab.cast.trusted)
        app.until(f"{row}.querySelector('.wrong') !== null")
        assert "an attacker received" in app.js(f"{row}.innerText")
        assert app.js("document.getElementById('summary').innerText") == (
            "1 case: 1 wrong, 3 not called;"
            " an attacker received application bytes: 1 case of 1 scenario"
        )
        assert app.js("document.getElementById('news').textContent").startswith("other-ca: wrong")
        app.click("#only-called")
        app.until(
            "[...document.querySelectorAll('tbody tr')]"
            ".filter((it) => it.offsetHeight > 0).length === 1"
        )
        app.click("#only-called")
        app.click(f"tr[id='{name}'] button")
        app.until(f"{row}.querySelector('.not-called') !== null")
        assert lab.standing(name).outcome == "not called"
        assert app.js("document.getElementById('gone').hidden")
    app.until("!document.getElementById('gone').hidden")
    assert app.js("document.getElementById('gone').innerText").startswith("The lab has ended")


def test_the_page_takes_nothing_from_elsewhere():
    folder = Path(proxies.__file__).parents[1]
    for name in ("live.html", "live.css", "live.js"):
        text = (folder / name).read_text("utf-8")
        for word in ("http://", "https://", "//cdn", "@import", "innerHTML", "eval(", " style="):
            assert word not in text, (name, word)


def test_the_script_is_one_that_browsers_read():
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs node (make system-deps)")
    script = Path(proxies.__file__).parents[1] / "live.js"
    subprocess.run([node, "--check", str(script)], check=True, timeout=PATIENCE)
