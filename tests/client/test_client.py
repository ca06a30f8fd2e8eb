"""The one method and its promise, blocking and asynchronous alike."""

from __future__ import annotations

import importlib.resources
import ssl
import subprocess
import sys
import zipfile

import httpx2
import pytest
import trio
from scene import HOST, NAMES, VERSIONS, authority, issuing, pinned, unpinned

from keypin import (
    CertificateFormatError,
    CertificateNotFound,
    NotPinned,
    PinMismatch,
    PlainHTTPRefused,
    find_error,
)
from keypin.client import AsyncClient, Client
from keypin.lab import Authority, ConnectProxy, Http, Server


@pytest.fixture(params=VERSIONS)
def version(request):
    return request.param


def pin(client, names="pinned.cer"):
    client.pin_trusted_certificate_public_key(names)
    return client


def test_a_pinned_client_reaches_the_server_with_the_key(make, right):
    client = pin(make(right))
    assert client.get("/path").json()["path"] == "/path"
    answer = client.request("POST", "/path", json={"a": 1})
    assert (answer.status_code, answer.json()["method"]) == (200, "POST")
    for verb in ("head", "options", "post", "put", "patch", "delete"):
        assert getattr(client, verb)("/").status_code == 200


def test_another_key_fails_the_request_and_nothing_was_sent(make, wrong):
    client = pin(make(wrong))
    for method in ("GET", "POST"):
        with pytest.raises(PinMismatch) as caught:
            client.request(method, "/secret", headers={"Authorization": "secret"})
        assert find_error(caught.value) is caught.value
        assert isinstance(caught.value.__cause__, httpx2.ConnectError)
        assert caught.value.host == HOST
    wrong.settle()
    assert wrong.application_bytes == 0


def test_a_client_that_was_not_pinned_sends_nothing(make, right):
    client = make(right)
    for url in ("/", right.url_for(HOST), "http://localhost/"):
        with pytest.raises(NotPinned, match="pin_trusted_certificate_public_key"):
            client.get(url)
    assert right.connections == []


def test_a_client_whose_only_pin_call_failed_sends_nothing(make, right):
    client = make(right)
    with pytest.raises(CertificateNotFound):
        pin(client, "missing.cer")
    with pytest.raises(NotPinned):
        client.get("/")
    assert right.connections == []


def test_until_it_is_pinned_its_pins_refuse_every_host(make, right):
    """Also for whoever gets hold of its pinner."""
    pins = make(right).pinner.pins
    assert not pins.check(HOST, pinned().chain).accepted


def test_without_require_pin_it_speaks_ordinary_verified_tls_until_pinned(make, wrong, version):
    client = make(wrong, require_pin=False)
    assert client.get("/").status_code == 200
    with Server(Authority("unknown").issue(HOST), tls=[version]) as untrusted:
        with pytest.raises(httpx2.ConnectError) as caught:
            client.get(untrusted.url_for(HOST))
        assert find_error(caught.value) is None
    received = wrong.application_bytes
    pin(client)
    with pytest.raises(PinMismatch):
        client.get("/")
    wrong.settle()
    assert wrong.application_bytes == received


@pytest.mark.parametrize(
    ("name", "error", "says"),
    [
        ("missing.cer", CertificateNotFound, "missing.cer"),
        ("../ca.pem", CertificateNotFound, "inside the folder"),
        ("pem.cer", CertificateFormatError, "PEM"),
        ("self-signed.cer", CertificateFormatError, "self-signed"),
    ],
)
def test_the_two_failures_are_told_apart(make, right, name, error, says):
    with pytest.raises(error, match=says):
        pin(make(right), name)


def test_the_errors_are_also_those_that_python_programs_expect(make, right):
    with pytest.raises(FileNotFoundError):
        pin(make(right), "missing.cer")
    with pytest.raises(ValueError, match="PEM"):
        pin(make(right), "pem.cer")


def test_one_bad_file_among_several_changes_nothing(make, right, wrong):
    client = pin(make(right))
    for bad in ("missing.cer", "pem.cer"):
        with pytest.raises((CertificateNotFound, CertificateFormatError)):
            pin(client, ["unpinned.cer", bad])
        assert client.get("/").status_code == 200
        with pytest.raises(PinMismatch):
            client.get(wrong.url_for(HOST))


def test_any_one_of_several_files_will_do(make, right, wrong):
    client = pin(make(), ["pinned.cer", "unpinned.cer"])
    assert client.get(right.url_for(HOST)).status_code == 200
    assert client.get(wrong.url_for(HOST)).status_code == 200


def test_no_file_at_all_is_an_error(make, right):
    client = make(right)
    with pytest.raises(ValueError, match="no pins"):
        pin(client, [])
    with pytest.raises(NotPinned):
        client.get("/")


def test_a_second_call_replaces_the_first_also_for_open_connections(make, right):
    client = pin(make(right))
    assert client.get("/").status_code == 200
    received = right.application_bytes
    pin(client, "unpinned.cer")
    with pytest.raises(PinMismatch):
        client.get("/")
    right.settle()
    assert right.application_bytes == received
    right.serve(unpinned())
    assert client.get("/").status_code == 200


def test_called_late_it_governs_the_connections_already_open(make, right, wrong):
    for server, fails in ((right, False), (wrong, True)):
        client = make(server, require_pin=False)
        assert client.get("/").status_code == 200
        pin(client)
        if fails:
            with pytest.raises(PinMismatch):
                client.get("/")
        else:
            assert client.get("/").status_code == 200
            assert len(server.connections) == 1


def test_it_holds_for_every_host(make, version):
    other = issuing().issue("127.0.0.1", HOST, key=pinned().key)
    with Server(other, tls=[version]) as right, Server(unpinned(), tls=[version]) as wrong:
        client = pin(make())
        assert client.get(right.url_for("127.0.0.1")).status_code == 200
        for host in NAMES:
            with pytest.raises(PinMismatch):
                client.get(wrong.url_for(host))


def test_the_leaf_is_compared_and_the_error_says_where_the_pinned_key_was(make, right, tmp_path):
    (tmp_path / "certificates" / "issuing.cer").write_bytes(issuing().certificate)
    client = pin(make(right), "issuing.cer")
    with pytest.raises(PinMismatch, match="only the leaf counts"):
        client.get("/")


def test_a_renewed_certificate_with_the_same_key_needs_no_new_file(make, right):
    right.serve(pinned().renew())
    assert pin(make(right)).get("/").status_code == 200


def test_a_pinned_client_refuses_plain_http(make):
    with Server(None) as plain:
        client = pin(make())
        with pytest.raises(PlainHTTPRefused, match="without TLS"):
            client.get(plain.url_for(HOST))
        assert plain.connections == []
        assert make(require_pin=False).get(plain.url_for(HOST)).status_code == 200


def redirecting(target):
    return Http(redirects={"/": target})


def test_redirects_are_not_followed_unless_asked_for_and_then_within_the_pins(
    make, right, wrong, version
):
    with Server(None) as plain:
        for target, error in (
            (right.url_for(HOST, "/there"), None),
            (wrong.url_for(HOST, "/there"), PinMismatch),
            (plain.url_for(HOST, "/there"), PlainHTTPRefused),
        ):
            with Server(pinned(), tls=[version], application=redirecting(target)) as server:
                assert pin(make(server)).get("/").status_code == 302
                client = pin(make(server, follow_redirects=True))
                if error is None:
                    assert client.get("/").json()["path"] == "/there"
                else:
                    with pytest.raises(error):
                        client.get("/", headers={"Authorization": "secret"})
        assert plain.connections == []
    wrong.settle()
    assert wrong.application_bytes == 0


def test_a_streamed_response_fails_in_the_middle_when_the_pins_change(right, folder, tmp_path):
    with Client(right.url_for(HOST), folder, tmp_path / "ca.pem", trust_env=False) as client:
        client.pin_trusted_certificate_public_key("pinned.cer")
        with pytest.raises(PinMismatch):
            with client.stream("GET", "/bytes/50000000") as response:
                pieces = response.iter_bytes()
                assert next(pieces)
                client.pin_trusted_certificate_public_key("unpinned.cer")
                for _ in pieces:
                    pass


def test_a_client_certificate_is_shown_to_the_pinned_server_only(make, version, tmp_path):
    clients = Authority("CA of the clients")
    me = clients.issue(common_name="me", extended_key_usage=["clientAuth"])
    files = me.write(tmp_path / "me")
    options = {"tls": [version], "client_ca": clients.certificate}
    with Server(pinned(), **options) as right, Server(unpinned(), **options) as wrong:
        client = pin(make(client_certificate=(files.chain, files.key)))
        assert client.get(right.url_for(HOST)).status_code == 200
        assert right.connections[0].client_certificate == me.certificate
        with pytest.raises(PinMismatch):
            client.get(wrong.url_for(HOST))
        (record,) = wrong.settle()
        assert not record.client_certificate_seen
        assert not record.client_finished


def test_it_works_through_a_proxy_and_not_through_one_that_intercepts(make, right):
    with ConnectProxy() as proxy:
        assert pin(make(right, proxy=proxy.url)).get("/").status_code == 200
        assert len(proxy.tunnels) == 1
    with ConnectProxy(intercept=unpinned()) as proxy:
        with pytest.raises(PinMismatch):
            pin(make(right, proxy=proxy.url)).get("/")
        assert proxy.interceptor is not None
        proxy.interceptor.settle()
        assert proxy.interceptor.application_bytes == 0


def test_it_works_through_a_proxy_that_is_reached_by_tls(make, right, wrong):
    trusting = ssl.create_default_context(cadata=authority().pem)
    with ConnectProxy(unpinned()) as proxy:
        through = httpx2.Proxy(proxy.url_for(HOST), ssl_context=trusting)
        client = pin(make(right, proxy=through))
        assert client.get("/").status_code == 200
        assert client.resource_request("/a", timeout=20).send().ok
        with pytest.raises(PinMismatch):
            client.get(wrong.url_for(HOST))
        client.close()
    wrong.settle()
    assert wrong.application_bytes == 0


@pytest.mark.parametrize("option", ["verify", "transport", "mounts", "event_hooks", "cert", "tyop"])
def test_what_would_go_round_the_pins_cannot_be_given(make, option):
    with pytest.raises(TypeError, match=option):
        make(**{option: None})


def test_an_unreachable_server_is_not_a_mismatch(make):
    with Server(pinned()) as server:
        url = server.url_for(HOST)
    with pytest.raises(httpx2.ConnectError) as caught:
        pin(make()).get(url)
    assert find_error(caught.value) is None


def test_the_observer_hears_the_verdicts(make, right, wrong):
    heard = []
    client = pin(make(on_verdict=heard.append))
    client.get(right.url_for(HOST))
    with pytest.raises(PinMismatch):
        client.get(wrong.url_for(HOST))
    assert [verdict.accepted for verdict in heard] == [True, False]


def test_certificates_without_a_folder(make):
    with pytest.raises(CertificateNotFound, match=r"importlib\.resources"):
        pin(make(certificates=None))


def test_a_relative_folder_is_the_one_of_the_time_of_making(make, right, tmp_path, monkeypatch):
    """An attacker who can choose the working directory later cannot choose the certificates."""
    monkeypatch.chdir(tmp_path)
    client = make(right, certificates="certificates")
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "certificates").mkdir(parents=True)
    (elsewhere / "certificates" / "pinned.cer").write_bytes(unpinned().certificate)
    monkeypatch.chdir(elsewhere)
    assert pin(client).get("/").status_code == 200


def test_certificates_and_authorities_in_a_packages_resources(make, right, tmp_path, monkeypatch):
    archive = tmp_path / "application.zip"
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr("zipped_application/__init__.py", "")
        zipped.writestr("zipped_application/certificates/pinned.cer", pinned().certificate)
        zipped.writestr("zipped_application/ca.pem", "# für uns\n" + authority().pem)
        zipped.writestr("zipped_application/empty.pem", "")
    monkeypatch.syspath_prepend(archive)
    resources = importlib.resources.files("zipped_application")
    folder = resources / "certificates"
    with pytest.raises(CertificateFormatError, match=r"empty\.pem"):
        make(right, certificates=folder, cafile=resources / "empty.pem")
    with pytest.raises(FileNotFoundError):
        make(right, certificates=folder, cafile=resources / "missing.pem")
    client = make(right, certificates=folder, cafile=resources / "ca.pem")
    with pytest.raises(CertificateNotFound):
        pin(client, "missing.cer")
    assert pin(client).get("/").status_code == 200


def test_the_asynchronous_client_works_on_trio(right, wrong, tmp_path):
    (tmp_path / "pinned.cer").write_bytes(pinned().certificate)
    cafile = tmp_path / "ca.pem"
    cafile.write_text(authority().pem)

    async def main():
        async with AsyncClient(right.url_for(HOST), tmp_path, cafile, trust_env=False) as client:
            await client.pin_trusted_certificate_public_key("pinned.cer")
            assert (await client.get("/path")).status_code == 200
            async with client.stream("GET", "/bytes/1000") as response:
                assert len(await response.aread()) == 1000
            with pytest.raises(PinMismatch):
                await client.get(wrong.url_for(HOST))

    trio.run(main)
    wrong.settle()
    assert wrong.application_bytes == 0


def test_without_httpx2_the_extra_is_named():
    code = "import sys; sys.modules['httpx2'] = None\nimport keypin.client"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert "keypin[client]" in done.stderr


def test_ordinary_verification_failures_keep_their_own_error(make, version):
    expired = Authority("unknown").issue(*NAMES, key=pinned().key)
    with Server(expired, tls=[version]) as server, pytest.raises(httpx2.ConnectError) as caught:
        pin(make(server)).get("/")
    assert find_error(caught.value) is None
    assert "unable to get local issuer certificate" in str(caught.value)


# How strictly certificates are read


@pytest.mark.parametrize("strict_x509", [False, True, None])
def test_strictness_is_relaxed_by_name_and_the_pins_hold_as_ever(make, tmp_path, strict_x509):
    """RFC 5280, section 4.2.1.3: the certificate of an authority has a key usage."""
    careless = Authority("careless root", key_usage=())
    (tmp_path / "careless.pem").write_text(careless.pem)
    right, wrong = careless.issue(HOST), careless.issue(HOST)
    (tmp_path / "certificates" / "careless.cer").write_bytes(right.certificate)
    accepted = sys.version_info < (3, 13) if strict_x509 is None else not strict_x509
    for credential in (right, wrong):
        with Server(credential) as server:
            options = {"cafile": tmp_path / "careless.pem", "strict_x509": strict_x509}
            client = pin(make(server, **options), "careless.cer")
            if accepted and credential is right:
                assert client.get("/").status_code == 200
                continue
            with pytest.raises(PinMismatch if accepted else httpx2.ConnectError):
                client.get("/")
            server.settle()
            assert server.application_bytes == 0


def test_a_wish_for_strictness_that_is_none_is_an_error(make):
    for value in ("no", 0, 1):
        with pytest.raises(TypeError, match="strict_x509"):
            make(strict_x509=value)
