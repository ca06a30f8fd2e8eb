"""The pinned clients and Apache Tomcat 10, whose keys are in stores that `keypin keystore` made."""

from __future__ import annotations

import ssl

import httpx2
import pytest
from scene import HOST, NAMES, VERSIONS, authority, issuing
from tomcat_scene import Tomcat, connector, needs_tomcat

from keypin import PinMismatch
from keypin.inspection import inspect_server
from keypin.lab import Authority

KINDS = ("rsa-2048", "p-256", "p-384", "ed25519")

pytestmark = needs_tomcat


@pytest.fixture(scope="module")
def credentials():
    """A server's, for each kind of key."""
    return {kind: issuing().issue(*NAMES, key=kind) for kind in KINDS}


@pytest.fixture(scope="module")
def tomcat(tmp_path_factory, credentials):
    """One Tomcat, with a connector for each kind of key and each version of TLS."""
    folder = tmp_path_factory.mktemp("tomcat")
    connectors = {
        f"{kind} {version}": connector(folder / f"{kind}-{version}", credentials[kind], version)
        for kind in KINDS
        for version in VERSIONS
    }
    with Tomcat(folder / "base", connectors) as tomcat:
        yield tomcat


@pytest.fixture(params=VERSIONS)
def version(request):
    return request.param


@pytest.fixture
def pinned_to(make, folder, tomcat):
    """Make a client of a connector that is pinned to a credential."""

    def pinned_to(credential, name, **options):
        (folder / "my.cer").write_bytes(credential.certificate)
        client = make(base_url=tomcat.url(name), **options)
        client.pin_trusted_certificate_public_key("my.cer")
        return client

    return pinned_to


@pytest.mark.parametrize("kind", KINDS)
def test_the_pinned_key_is_reached_and_another_gets_no_request(
    tomcat, credentials, pinned_to, kind, version
):
    name = f"{kind} {version}"
    seen = len(tomcat.requests(name, 0))
    client = pinned_to(credentials[kind], name)
    answer = client.get("/public", params={"page": "2"}, headers={"X-A": "1"})
    assert answer.json()["query"] == "page=2"
    assert answer.json()["header"] == "1"
    assert tomcat.requests(name, seen + 1)[seen:] == ["GET /public 200"]
    client = pinned_to(issuing().issue(*NAMES, key=kind), name)
    for method in ("GET", "POST"):
        with pytest.raises(PinMismatch) as caught:
            client.request(method, "/public", headers={"Authorization": "Bearer secret"})
        assert caught.value.host == HOST
    # the control: Tomcat does log the request of a client that pins nothing
    context = ssl.create_default_context(cadata=authority().pem)
    control = httpx2.put(tomcat.url(name, "/public"), verify=context, trust_env=False)
    assert control.status_code == 200
    assert tomcat.requests(name, seen + 2)[seen + 1 :] == ["PUT /public 200"]


@pytest.mark.parametrize("kind", KINDS)
def test_chain_and_version_are_those_meant(tomcat, credentials, kind, version):
    context = ssl.create_default_context(cadata=authority().pem)
    shown = inspect_server(HOST, tomcat.ports[f"{kind} {version}"], context=context)
    assert shown.sent == credentials[kind].chain
    assert (shown.is_verified, shown.tls_version) == (True, f"TLSv{version}")


def test_an_authority_that_is_pinned_does_not_pin_its_servers(pinned_to):
    """The clients compare leaves: the intermediate's key is not the server's."""
    with pytest.raises(PinMismatch):
        pinned_to(issuing().credential, "p-256 1.3").get("/public")


def test_a_pinned_key_below_an_unknown_authority_is_refused(pinned_to, credentials, tmp_path):
    other = tmp_path / "other.pem"
    other.write_text(Authority("another").pem)
    client = pinned_to(credentials["p-256"], "p-256 1.3", cafile=other)
    with pytest.raises(httpx2.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        client.get("/public")


def test_without_an_authorization_server_no_token_is_good(pinned_to, credentials):
    """The application itself refuses as RFC 6750, section 3, says."""
    client = pinned_to(credentials["p-256"], "p-256 1.3")
    for headers in ({}, {"Authorization": "Basic eDp5"}):
        answer = client.get("/people", headers=headers)
        assert answer.status_code == 401
        challenge = 'Bearer realm="people", scope="people.read"'
        assert answer.headers["WWW-Authenticate"] == challenge
        answer = client.get("/quiet", headers=headers)
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="people"'
    answer = client.get("/people", headers={"Authorization": "Bearer forged"})
    assert answer.status_code == 401
    assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]
    assert answer.text == ""
