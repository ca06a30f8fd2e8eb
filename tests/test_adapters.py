"""`keypin.adapters`: a session of requests is pinned, whatever its requests say of TLS."""

from __future__ import annotations

import copy
import logging
import os
import pickle
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import requests
import urllib3
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from requests_toolbelt.adapters.socket_options import SocketOptionsAdapter
from scene import HOST, NAMES, authority, issuing, pinned, pinner_for, pins_for, unpinned

from keypin import PinMismatch, Pinner, PinSet, PlainHTTPRefused, ProtectionError, find_error
from keypin.adapters import PinningAdapter
from keypin.lab import Authority, ConnectProxy, Http, Response, Server, scenarios

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from keypin.lab import Case
    from keypin.lab.scenario import Scenario

TIMEOUT = 20
SSL_ERROR = requests.exceptions.SSLError
ELSEWHERE = "127.0.0.1"  # of the same servers, and in no rule


@pytest.fixture
def cafile(tmp_path: Path) -> str:
    """The root that the client trusts."""
    path = tmp_path / "roots.pem"
    path.write_text(authority().pem)
    return str(path)


@pytest.fixture
def other() -> Authority:
    """An authority of the public, say."""
    return Authority("other root")


@pytest.fixture
def certifi(other: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """What requests trusts by itself: the other authority only."""
    path = tmp_path / "certifi.pem"
    path.write_text(other.pem)
    monkeypatch.setattr(requests.adapters, "DEFAULT_CA_BUNDLE_PATH", str(path))
    return str(path)


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        yield session


def mount(session: requests.Session, *arguments: object, **more: object) -> PinningAdapter:
    """The adapter, for all that the session sends."""
    adapter = PinningAdapter(*arguments, **more)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return adapter


def get(session: requests.Session, server: Server, host: str = HOST, **more: object) -> int:
    return session.get(server.url_for(host), timeout=TIMEOUT, **more).status_code


def assert_refused(session: requests.Session, server: Server, **more: object) -> PinMismatch:
    """A request fails for the pins' sake, and the server gets nothing of it."""
    with pytest.raises(SSL_ERROR) as caught:
        get(session, server, **more)
    found = find_error(caught.value)
    assert found is not None, repr(caught.value)
    server.settle()
    assert server.connections
    assert server.application_bytes == 0
    assert not any(connection.client_certificate_seen for connection in server.connections)
    return found


# Pins


def given_a_path(pins: PinSet, folder: Path) -> object:
    pins.dump(folder / "pins.toml")
    return folder / "pins.toml"


@pytest.mark.parametrize(
    "given",
    [
        lambda pins, folder: pins,
        lambda pins, folder: Pinner(pins),
        lambda pins, folder: {rule.host: rule.pins for rule in pins.rules},
        lambda pins, folder: {rule.host: [str(pin) for pin in rule.pins] for rule in pins.rules},
        given_a_path,
        lambda pins, folder: str(given_a_path(pins, folder)),
    ],
    ids=["PinSet", "Pinner", "mapping", "mapping of texts", "path", "name of a path"],
)
def test_a_session_reaches_the_pinned_server_and_no_other(
    given, version, session, cafile, tmp_path
):
    mount(session, given(pins_for(pinned()), tmp_path), cafile=cafile)
    with Server(pinned(), tls=[version]) as server:
        assert [get(session, server) for _ in range(3)] == [200] * 3
        assert len(server.connections) == 1
    with Server(unpinned(), tls=[version]) as server:
        assert_refused(session, server)
        assert get(session, server, ELSEWHERE) == 200  # in no rule


@pytest.mark.parametrize("pins", [None, 5, {"localhost": []}, {"localhost": ["sha256/AAAA"]}])
def test_pins_that_are_none_are_an_error_at_once(pins):
    with pytest.raises((ValueError, TypeError)):
        PinningAdapter(pins)


def test_a_pin_file_that_is_not_there_is_an_error_at_once(tmp_path):
    with pytest.raises(ValueError, match=r"missing\.toml"):
        PinningAdapter(tmp_path / "missing.toml")


def test_a_request_that_is_tried_again_is_refused_again(session, cafile):
    again = urllib3.Retry(2, backoff_factor=0)
    mount(session, pinner_for(pinned()), cafile=cafile, max_retries=again)
    with Server(unpinned()) as server:
        assert_refused(session, server)
        assert len(server.connections) == 3


def test_pins_replaced_hold_for_pooled_connections(session, cafile):
    adapter = mount(session, pinner_for(pinned()), cafile=cafile)
    with Server(pinned()) as server:
        assert get(session, server) == 200
        received = server.application_bytes
        adapter.pinner.replace(pins_for(unpinned()))
        with pytest.raises(SSL_ERROR):
            get(session, server)
        server.settle()
        assert server.application_bytes == received


@pytest.mark.parametrize("ways", [["get_connection"], ["poolmanager"]])
@pytest.mark.filterwarnings("ignore:`get_connection`:DeprecationWarning")
def test_pools_that_are_asked_for_past_send_are_pinned(ways, session, certifi, tmp_path):
    Path(certifi).write_text(authority().pem)
    adapter = PinningAdapter(pinner_for(pinned()))
    with Server(unpinned()) as server:
        url = server.url_for(HOST)
        with pytest.raises(urllib3.exceptions.MaxRetryError) as caught:
            if ways == ["get_connection"]:
                adapter.get_connection(url).request("GET", url, retries=0)
            else:
                adapter.poolmanager.request("GET", url, retries=0)
        assert find_error(caught.value)
        server.settle()
        assert server.application_bytes == 0
    adapter.close()


def test_the_adapter_goes_together_with_others_that_set_up_pools(session, cafile):
    class Both(PinningAdapter, SocketOptionsAdapter):
        pass

    adapter = Both(pinner_for(pinned()), cafile=cafile, socket_options=[])
    session.mount("https://", adapter)
    assert adapter.poolmanager.connection_pool_kw["socket_options"] == []
    with Server(unpinned()) as server:
        assert_refused(session, server)
    with Server(pinned()) as server:
        assert get(session, server) == 200


# Authorities


@pytest.mark.parametrize("mode", ["enforce", "report"])
@pytest.mark.parametrize("how", ["cafile", "cadata", "capath", "verify", "session.verify"])
def test_a_private_authority_is_the_only_one(how, mode, session, cafile, certifi, other, tmp_path):
    """A server of the public's authority has the pinned key: only the authority is wrong."""
    given, per_request = {}, {}
    if how == "cadata":
        given["cadata"] = authority().pem
    elif how == "verify":
        per_request["verify"] = cafile
    elif how == "session.verify":
        session.verify = cafile
    elif how == "capath":
        given["capath"] = hashed_folder(tmp_path)
    else:
        given["cafile"] = Path(cafile)
    wrong = other.issue(*NAMES)
    mount(session, pins_for(pinned(), wrong, mode=mode), **given)
    with Server(pinned()) as server:
        assert get(session, server, **per_request) == 200
    for host in (HOST, ELSEWHERE):
        with Server(wrong) as server:
            with pytest.raises(SSL_ERROR, match="unable to get local issuer"):
                get(session, server, host, **per_request)
            server.settle()
            assert server.application_bytes == 0


def hashed_folder(folder: Path) -> Path:
    hashed = folder / "hashed"
    hashed.mkdir()
    (hashed / "root.pem").write_text(authority().pem)
    subprocess.run(["openssl", "rehash", hashed], check=True, timeout=60)
    return hashed


def test_without_authorities_of_its_own_requests_ones_are_trusted(
    session, certifi, other, cafile, monkeypatch
):
    theirs = other.issue(*NAMES)
    mount(session, pins_for(pinned(), theirs))
    with Server(theirs) as server:
        assert get(session, server) == 200
    with Server(pinned()) as server:
        with pytest.raises(SSL_ERROR, match="unable to get local issuer"):
            get(session, server)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", cafile)
        assert get(session, server) == 200


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_the_environment_adds_nothing_to_authorities_of_its_own(
    name, session, cafile, certifi, other, monkeypatch
):
    monkeypatch.setenv(name, certifi)
    theirs = other.issue(*NAMES)
    mount(session, pins_for(pinned(), theirs), cafile=cafile)
    with Server(pinned()) as server:
        assert get(session, server) == 200
    with Server(theirs) as server:
        with pytest.raises(SSL_ERROR, match="unable to get local issuer"):
            get(session, server)


def test_with_authorities_of_its_own_requests_ones_need_not_be_there(session, cafile, certifi):
    """As in an app that was frozen without them."""
    os.unlink(certifi)
    mount(session, pinner_for(pinned()), cafile=cafile)
    with Server(pinned()) as server:
        assert get(session, server) == 200


def test_a_request_that_names_other_authorities_is_refused(session, cafile, certifi):
    mount(session, pinner_for(pinned()), cafile=cafile)
    with Server(pinned()) as server:
        with pytest.raises(SSL_ERROR, match=r"certifi\.pem.* names other authorities") as caught:
            get(session, server, verify=certifi)
        assert isinstance(caught.value, ProtectionError)
        server.settle()
        assert not server.connections
        assert get(session, server, verify=cafile) == 200
        assert get(session, server, verify=os.path.relpath(cafile)) == 200


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"cafile": "missing.pem"}, FileNotFoundError),
        ({"capath": "missing"}, FileNotFoundError),
        ({"cafile": ""}, FileNotFoundError),
        ({"cadata": ""}, ValueError),
        ({"cadata": b""}, ValueError),
        ({"cadata": "no certificate"}, OSError),
    ],
)
def test_authorities_that_are_none_are_an_error_at_once(given, error):
    with pytest.raises(error):
        PinningAdapter(pinner_for(pinned()), **given)


@pytest.mark.parametrize("verify", ["missing.pem", Path("missing")])
def test_authorities_of_a_request_that_are_not_there_are_named(verify, session):
    mount(session, pinner_for(pinned()))
    with Server(pinned()) as server:
        with pytest.raises(OSError, match="missing"):
            get(session, server, verify=verify)
        assert not server.connections


# verify=False


@pytest.mark.parametrize("verify", [False, "", 0])
def test_a_pinned_host_is_not_reached_unverified(verify, session, cafile, version):
    mount(session, pinner_for(pinned()), cafile=cafile)
    with Server(pinned(), tls=[version]) as server:
        error = assert_refused(session, server, verify=verify)
    assert "verify" in str(error)


@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
def test_what_is_not_verified_leaves_other_requests_verified(session, cafile, other):
    mount(session, pinner_for(pinned()), cafile=cafile)
    with Server(other.issue(*NAMES)) as server:
        assert get(session, server, ELSEWHERE, verify=False) == 200
        with pytest.raises(SSL_ERROR, match="unable to get local issuer"):
            get(session, server, ELSEWHERE)


@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
def test_threads_that_verify_and_others_that_do_not_keep_apart(session, cafile, other):
    mount(session, pinner_for(pinned()), cafile=cafile, pool_maxsize=8)
    start = threading.Barrier(8)

    def request(number: int) -> list[bool]:
        outcomes = []
        start.wait(TIMEOUT)
        for _ in range(20):
            verify = number % 2 == 0
            try:
                with session.get(url, verify=verify, stream=True, timeout=TIMEOUT):
                    outcomes.append(True)  # and its connection is closed, unread
            except SSL_ERROR:
                outcomes.append(False)
        return outcomes

    with Server(other.issue(*NAMES)) as server, ThreadPoolExecutor(8) as pool:
        url = server.url_for(ELSEWHERE)
        for number, outcomes in enumerate(pool.map(request, range(8))):
            assert set(outcomes) == {number % 2 == 1}


# Client certificates


@pytest.fixture
def clients() -> Authority:
    return Authority("CA of the clients")


@pytest.fixture
def mine(clients: Authority, tmp_path: Path) -> Path:
    """A client certificate with its key."""
    return written(clients, tmp_path / "me.pem")


def written(clients: Authority, path: Path, name: str = "me") -> Path:
    me = clients.issue(common_name=name, extended_key_usage=["clientAuth"])
    path.write_bytes(me.chain_pem + me.key_pem)
    return path


def test_a_client_certificate_is_shown_to_the_pinned_server_only(
    session, cafile, clients, mine, version, tmp_path
):
    mount(session, pinner_for(pinned()), cafile=cafile)
    asking = {"client_ca": clients.certificate, "tls": [version]}
    with Server(unpinned(), **asking) as server:
        assert_refused(session, server, cert=str(mine))
    with Server(pinned(), **asking) as server:
        assert get(session, server, cert=(str(mine), str(mine))) == 200
        assert get(session, server, cert=str(mine)) == 200
        session.close()
        server.settle()
        assert len(server.connections) == 2
        assert all(connection.client_certificate_seen for connection in server.connections)


def test_a_client_certificate_stays_with_the_requests_that_name_it(session, cafile, clients, mine):
    mount(session, pinner_for(pinned()), cafile=cafile)
    with Server(pinned(), client_ca=clients.certificate) as server:
        assert get(session, server, cert=str(mine)) == 200
        with suppress(requests.RequestException):
            get(session, server)
        session.close()
        server.settle()
        seen = [connection.client_certificate_seen for connection in server.connections]
        assert seen == [True, False]


def test_a_renewed_client_certificate_is_read_anew(session, cafile, clients, mine):
    mount(session, pinner_for(pinned()), cafile=cafile)
    with Server(pinned(), client_ca=clients.certificate) as server:
        for number in range(2):
            assert get(session, server, cert=str(mine)) == 200
            assert len(server.connections) == number + 1
            written(clients, mine, f"me, for the {number}. time renewed")


@pytest.mark.parametrize("what", ["missing", "no certificate", "encrypted"])
def test_a_client_certificate_that_cannot_be_used_is_an_error(
    what, session, cafile, clients, mine, tmp_path
):
    """An encrypted key asks for no passphrase at the terminal."""
    if what == "missing":
        mine.unlink()
    elif what == "no certificate":
        mine.write_text("no certificate")
    else:
        me = clients.issue(common_name="me", extended_key_usage=["clientAuth"])
        key = load_pem_private_key(me.key_pem, None).private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
        )
        mine.write_bytes(me.chain_pem + key)
    mount(session, pinner_for(pinned()), cafile=cafile)
    with Server(pinned(), client_ca=clients.certificate) as server:
        with pytest.raises(OSError, match=r"invalid path|encrypted|PEM") as caught:
            get(session, server, cert=str(mine))
        assert what == "missing" or isinstance(caught.value, SSL_ERROR)
        assert not server.connections


# Proxies


@pytest.mark.parametrize("how", ["argument", "session", "environment"])
@pytest.mark.parametrize("encrypted", [False, True], ids=["http", "https"])
def test_behind_a_proxy_the_pinned_server_is_reached_and_no_other(
    how, encrypted, session, cafile, monkeypatch, version
):
    mount(session, pinner_for(pinned()), cafile=cafile)
    for credential in (pinned(), unpinned()):
        with (
            Server(credential, tls=[version]) as server,
            ConnectProxy(
                issuing().issue(ELSEWHERE) if encrypted else None, routes={HOST: server.address}
            ) as proxy,
        ):
            more = {}
            if how == "argument":
                more = {"proxies": {"https": proxy.url}}
            elif how == "session":
                session.proxies = {"https": proxy.url}
            else:
                monkeypatch.setenv("https_proxy", proxy.url)
            if credential is pinned():
                assert get(session, server, **more) == 200
            else:
                assert_refused(session, server, **more)
            assert proxy.tunnels


def test_an_intercepting_proxy_whose_authority_is_trusted_reads_nothing(
    session, cafile, other, version
):
    Path(cafile).write_text(authority().pem + other.pem)
    mount(session, pinner_for(pinned()), cafile=cafile)
    with ConnectProxy(intercept=other.issue(*NAMES)) as proxy:
        with pytest.raises(SSL_ERROR) as caught:
            session.get("https://localhost/", proxies={"https": proxy.url}, timeout=TIMEOUT)
        assert find_error(caught.value)
        proxy.interceptor.settle()
        assert proxy.interceptor.connections
        assert proxy.interceptor.application_bytes == 0


@pytest.mark.parametrize("scheme", ["https", "http"])
def test_a_proxy_that_is_governed_has_to_satisfy_the_pins(session, cafile, scheme, version):
    """What goes to a proxy is the address, and the password for it."""
    mount(session, pinner_for(pinned()), cafile=cafile)
    for credential in (unpinned(), pinned()):
        with ConnectProxy(credential) as proxy, Server(unpinned()) as server:
            by_name = proxy.url_for(HOST).replace("//", "//me:secret@")
            url = server.url_for(ELSEWHERE).replace("https", scheme)
            error = None
            try:
                session.get(url, proxies={scheme: by_name}, timeout=TIMEOUT)
            except requests.RequestException as raised:
                error = raised
            assert (find_error(error) is not None) is (credential is unpinned())
            session.close()
            proxy.settle()
            assert proxy.connections
            assert (proxy.application_bytes > 0) is (credential is pinned())


def test_a_proxy_is_verified_as_the_request_says(session, certifi, cafile, other):
    """Its authority is the one of the request's `verify`, and none else."""
    mount(session, pinner_for(pinned()))
    for its, fails in ((issuing(), False), (other, True)):
        with Server(pinned()) as server, ConnectProxy(its.issue(ELSEWHERE)) as proxy:
            more = {"verify": cafile, "proxies": {"https": proxy.url}}
            if fails:
                with pytest.raises(requests.exceptions.ConnectionError, match="local issuer"):
                    get(session, server, **more)
            else:
                assert get(session, server, **more) == 200


@pytest.mark.parametrize("scheme", ["https", "http"])
def test_a_proxy_that_asks_for_the_client_certificate_is_shown_none(
    session, cafile, clients, mine, scheme, version
):
    mount(session, pinner_for(pinned()), cafile=cafile)
    asking = {"client_ca": clients.certificate, "tls": [version]}
    with Server(issuing().issue(ELSEWHERE), **asking) as proxy:
        with suppress(requests.RequestException):
            session.get(
                f"{scheme}://other.example/",
                cert=str(mine),
                proxies={scheme: proxy.url},
                timeout=TIMEOUT,
            )
        session.close()
        proxy.settle()
        assert proxy.connections
        assert not any(one.client_certificate_seen for one in proxy.connections)


def test_behind_a_socks_proxy_the_pinned_server_is_reached_and_no_other(session, cafile):
    pytest.importorskip("socks", reason="needs PySocks (pip install 'keypin[test]')")
    adapter = mount(session, pinner_for(pinned()), cafile=cafile)
    with Server(pinned()) as right, Server(unpinned()) as wrong:
        with socks_proxy() as url:
            more = {"proxies": {"https": url}}
            assert get(session, right, **more) == 200
            assert_refused(session, wrong, **more)
            session.close()
    assert url in adapter.proxy_manager


@contextmanager
def socks_proxy() -> Iterator[str]:
    """SOCKS 5 (RFC 1928) without authentication, which leads every name to this machine."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.rfile.read(self.rfile.read(2)[1])
            self.request.sendall(b"\x05\x00")
            kind = self.rfile.read(4)[3]
            self.rfile.read(4 if kind == 1 else self.rfile.read(1)[0])
            port = int.from_bytes(self.rfile.read(2), "big")
            with socket.create_connection(("127.0.0.1", port), TIMEOUT) as target:
                self.request.sendall(b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x00")
                back = threading.Thread(target=relay, args=(target.recv, self.request))
                back.start()
                relay(self.rfile.read1, target)
                back.join()

    def relay(receive: Callable[[int], bytes], to: socket.socket) -> None:
        with suppress(OSError):
            while data := receive(65536):
                to.sendall(data)
        with suppress(OSError):
            to.shutdown(socket.SHUT_WR)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            yield f"socks5h://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()


# Plain http, and redirects


def answering(location: str) -> Http:
    return Http(redirects={"/": location})


def test_plain_http_to_a_pinned_host_is_refused(session, cafile):
    mount(session, pinner_for(pinned()), cafile=cafile)
    with Server(None) as server:
        with pytest.raises(PlainHTTPRefused, match="localhost is pinned") as caught:
            get(session, server)
        assert isinstance(caught.value, requests.RequestException)
        server.settle()
        assert not server.connections
        assert get(session, server, ELSEWHERE) == 200


def test_plain_http_is_refused_where_hosts_in_no_rule_are(session):
    mount(session, PinSet({"other.example": [pinned().pin]}, unlisted="refuse"))
    with Server(None) as server:
        with pytest.raises(PlainHTTPRefused):
            get(session, server)
        assert not server.connections


def test_report_mode_tells_of_plain_http(session, caplog):
    mount(session, pins_for(pinned(), mode="report"))
    with Server(None) as server, caplog.at_level(logging.WARNING, "keypin"):
        assert get(session, server) == 200
    assert "report mode: a request to localhost goes by plain http" in caplog.text


@pytest.mark.parametrize("to", ["plain http", "another key"])
def test_a_redirect_is_no_way_past_the_pins(to, session, cafile):
    mount(session, pinner_for(pinned()), cafile=cafile)
    with Server(None if to == "plain http" else unpinned()) as target:
        with Server(pinned(), application=answering(target.url_for(HOST, "/there"))) as server:
            with pytest.raises((PlainHTTPRefused, SSL_ERROR)):
                get(session, server)
            assert server.application_bytes > 0
        target.settle()
        assert target.application_bytes == 0


# What may stand in the place of the adapter's TLS


class WithContext(requests.adapters.HTTPAdapter):
    """Sets a context where requests lets classes set their settings."""

    def build_connection_pool_key_attributes(self, *arguments, **more):
        host, settings = super().build_connection_pool_key_attributes(*arguments, **more)
        return host, {**settings, "ssl_context": self.own_context}


class WithPool(requests.adapters.HTTPAdapter):
    """Sets it in the pool."""

    def get_connection_with_tls_context(self, *arguments, **more):
        pool = super().get_connection_with_tls_context(*arguments, **more)
        pool.conn_kw["ssl_context"] = self.own_context
        return pool


@pytest.mark.parametrize("other_class", [WithContext, WithPool])
def test_a_context_of_another_class_that_is_mixed_in_sends_nothing(other_class, session, cafile):
    class Mixed(other_class, PinningAdapter):
        own_context = ssl.create_default_context(cafile=cafile)

    adapter = Mixed(pinner_for(pinned()), cafile=cafile)
    session.mount("https://", adapter)
    with Server(pinned()) as server:
        for verify in (True, False):
            with pytest.raises(ProtectionError, match="has taken the place") as caught:
                get(session, server, verify=verify)
            assert isinstance(caught.value, SSL_ERROR)
        assert not server.connections
        Mixed.own_context = adapter.pinner.protect(ssl.create_default_context(cafile=cafile))
        assert get(session, server) == 200
    with Server(unpinned()) as server:
        assert_refused(session, server)


def test_another_pinner_cannot_be_put_into_an_adapter(cafile):
    """It would hold for what is connected later, and only in part."""
    adapter = PinningAdapter(pinner_for(pinned()), cafile=cafile)
    with pytest.raises(AttributeError):
        adapter.pinner = pinner_for(unpinned())


FUTURE = """
import importlib, sys
import urllib3_future
for name in ("connection", "connectionpool", "contrib", "exceptions", "fields", "filepost",
             "poolmanager", "response", "util.retry", "util.ssl_", "util.url"):
    importlib.import_module(f"urllib3_future.{name}")
for name in [name for name in sys.modules if name.split(".")[0] == "urllib3_future"]:
    sys.modules[name.replace("urllib3_future", "urllib3", 1)] = sys.modules[name]

import requests
from keypin.adapters import PinningAdapter
assert requests.adapters.PoolManager is urllib3_future.PoolManager
session = requests.Session()
session.mount("https://", PinningAdapter("pins.toml", cafile="roots.pem"))
print([session.get(sys.argv[1], timeout=20).status_code for _ in range(3)])
"""


@pytest.mark.skipif(
    find_spec("urllib3_future") is None or find_spec("qh3") is None, reason="needs niquests[http3]"
)
def test_urllib3_future_in_urllib3s_place_is_not_invited_to_http3(cafile, tmp_path):
    """Where QUIC would go round the context, and so round the pins."""
    pins_for(pinned()).dump(tmp_path / "pins.toml")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as quic:
        quic.bind(("127.0.0.1", 0))
        quic.setblocking(False)
        invitation = {"Alt-Svc": f'h3=":{quic.getsockname()[1]}"; ma=3600'}
        application = Http(lambda request: Response(b"right", headers=invitation))
        with Server(pinned(), application=application) as server:
            done = subprocess.run(
                [sys.executable, "-c", FUTURE, server.url_for(HOST)],
                cwd=tmp_path,
                capture_output=True,
                text=True,
                timeout=60,
            )
        assert done.stdout.strip() == "[200, 200, 200]", done.stderr
        with pytest.raises(BlockingIOError):
            quic.recv(2048)


# Pickles and copies


def test_a_session_is_pinned_in_the_process_that_unpickles_it(session, cafile, tmp_path):
    adapter = mount(session, pinner_for(unpinned()), cafile=cafile, max_retries=1, pool_maxsize=3)
    adapter.pinner.replace(pins_for(pinned()))
    (tmp_path / "session").write_bytes(pickle.dumps(session))
    program = """
import pathlib, pickle, sys
import keypin
session = pickle.loads(pathlib.Path("session").read_bytes())
adapter = session.get_adapter("https://")
assert adapter.max_retries.total == 1 and adapter._pool_maxsize == 3
print(session.get(sys.argv[1], timeout=20).status_code)
try:
    session.get(sys.argv[2], timeout=20)
except Exception as error:
    print(type(keypin.find_error(error)).__name__)
"""
    with Server(pinned()) as right, Server(unpinned()) as wrong:
        urls = [right.url_for(HOST), wrong.url_for(HOST)]
        done = subprocess.run(
            [sys.executable, "-c", program, *urls],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
        )
        wrong.settle()
        assert wrong.connections
        assert wrong.application_bytes == 0
    assert done.stdout.split() == ["200", "PinMismatch"], done.stderr


def test_an_adapter_is_not_unpickled_where_its_authorities_are_missing(cafile):
    pickled = pickle.dumps(PinningAdapter(pinner_for(pinned()), cafile=cafile))
    os.unlink(cafile)
    with pytest.raises(FileNotFoundError, match=r"roots\.pem"):
        pickle.loads(pickled)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_a_copy_shares_the_pinner(copied: Callable, session, cafile):
    adapter = PinningAdapter(pinner_for(pinned()), cafile=cafile)
    session.mount("https://", copied(adapter))
    with Server(pinned()) as server:
        assert get(session, server) == 200
    adapter.pinner.replace(pins_for(unpinned()))
    with Server(pinned()) as server:
        assert_refused(session, server)


# The catalogue of attacks


def played() -> list[Case]:
    """One case for each version of TLS; whose key it is makes no difference to an adapter."""
    groups = (
        "accepted chains certificates untrusted faults names client-certificates sessions proxies"
        " redirects plain-text"
    )
    return [
        next(scenario.cases(tls=version, key=a_key_of(scenario)))
        for group in groups.split()
        for scenario in scenarios(group)
        if scenario.identifier != "mitmproxy"
        for version in scenario.tls
    ]


def a_key_of(scenario: Scenario) -> str:
    return "p-256" if "p-256" in scenario.keys else scenario.keys[0]


@pytest.mark.parametrize("case", played(), ids=str)
def test_what_must_not_arrive_does_not_and_what_must_does(case: Case, session):
    with case.stage() as stage:
        session.trust_env = False
        mount(session, stage.pinset, cafile=stage.cafile)
        session.cert = stage.client_certificate
        session.proxies = {"https": stage.proxy} if stage.proxy else {}
        errors = []
        twice = "second_url" in case.scenario.needs
        for url in [stage.url, stage.second_url] if twice else [stage.url]:
            try:
                session.post(url, data=b"secret", timeout=5).raise_for_status()
            except requests.RequestException as error:
                errors.append(error)
        judgement = stage.judge("failed" if errors else "succeeded", str(errors or ""))
    assert judgement.outcome == "right", f"{judgement}\n{errors}"
