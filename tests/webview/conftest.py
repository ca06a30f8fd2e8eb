"""Clients, bridges to them, and windows."""

from __future__ import annotations

import http.server
import json
import threading
from functools import partial
from urllib.parse import unquote

import pytest
import windows
from oauth_scene import CLIENT_ID, SECRET, Api
from scene import HOST, authority, pinned, unpinned

from keypin.client import Client
from keypin.lab import Http, Response, Server
from keypin.webview._bridge import Bridge


@pytest.fixture
def api():
    """What the servers do."""
    return Api({"/mfp/api/protected": "read"})


@pytest.fixture
def right(api):
    with Server(pinned(), application=Http(api)) as server:
        yield server


@pytest.fixture
def wrong(api):
    with Server(unpinned(), application=Http(api)) as server:
        yield server


@pytest.fixture
def certificates(tmp_path):
    """The folder of the certificates, beside the file ca.pem and one more certificate."""
    folder = tmp_path / "certificates"
    folder.mkdir()
    (folder / "pinned.cer").write_bytes(pinned().certificate)
    (folder / "broken.cer").write_text("this is not a certificate")
    (tmp_path / "outside.cer").write_bytes(unpinned().certificate)
    (tmp_path / "ca.pem").write_text(authority().pem)
    return folder


@pytest.fixture
def client(right, certificates):
    with Client(
        right.url_for(HOST, "/mfp/api"),
        certificates,
        certificates.parent / "ca.pem",
        client_id=CLIENT_ID,
        client_secret=SECRET,
        trust_env=False,
    ) as client:
        yield client


class Page:
    """Asks a bridge what a page would, and tells what comes of it."""

    def __init__(self, bridge):
        self.bridge = bridge

    def ask(self, operation, **arguments):
        """What is answered; all of it can be written as JSON."""
        answer = self.bridge.perform(operation, json.dumps(arguments))
        return json.loads(json.dumps(answer))

    def refused(self, operation, **arguments):
        """The code of a failure."""
        answer = self.ask(operation, **arguments)
        assert answer["ok"] is False
        assert isinstance(answer["errorMsg"], str)
        assert answer["errorMsg"]
        return answer["errorCode"]

    def send(self, url, method="GET", **more):
        """Send a request."""
        arguments = {
            "url": url,
            "method": method,
            "timeout": 20000,
            "scope": "",
            "query": [],
            "headers": [],
            "body": {"kind": "none"},
        }
        return self.ask("send", **(arguments | more))

    def echoed(self, url, method="GET", **more):
        """What the server has seen of a request."""
        answer = self.send(url, method, **more)
        assert answer["ok"], answer
        return json.loads(answer["value"]["text"])

    def send_refused(self, url, method="GET", **more):
        """The code of the failure of a request."""
        answer = self.send(url, method, **more)
        assert answer["ok"] is False, answer
        return answer["errorCode"]

    def pin(self):
        """Pin to the right server."""
        assert self.ask("pin", names=["pinned.cer"]) == {"ok": True, "value": None}
        return self


@pytest.fixture
def page(client):
    """A page of an app that says nothing more."""
    return Page(Bridge(client, None, tokens=False, pinning=True))


@pytest.fixture
def page_of(client):
    """Make a page of an app that says more."""

    def page_of(hosts=None, *, tokens=False, pinning=True):
        return Page(Bridge(client, hosts, tokens, pinning))

    return page_of


@pytest.fixture(scope="session")
def display():
    display = windows.Display()
    yield display
    display.close()


@pytest.fixture
def start(display):
    """Start a program with a window."""
    started = []

    def start(*arguments, **more):
        started.append(windows.App(display, *arguments, **more))
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

        def do_GET(self):
            if self.path == "/nothing":
                self.send_response(204)
                self.end_headers()
            else:
                super().do_GET()

    handler = partial(Handler, directory=str(windows.HERE / "pages" / "foreign"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class Paths:
    """`/slow` is answered when `release` is set, `/echo` with its query."""

    def __init__(self):
        self.release = threading.Event()
        self.arrived = threading.Event()

    def __call__(self, request):
        if request.target.startswith("/slow"):
            self.arrived.set()
            self.release.wait(60)
        if request.target.startswith("/echo?"):
            return Response(unquote(request.target.partition("?")[2]).encode())
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
