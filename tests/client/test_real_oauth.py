"""Tokens of Glewlwyd for a protected application on Tomcat: both real, both behind their pins."""

from __future__ import annotations

import ssl

import httpx2
import pytest
from glewlwyd_scene import CLIENT_ID, SECRET, Glewlwyd, needs_glewlwyd
from scene import HOST, NAMES, authority, issuing
from tomcat_scene import Introspection, Tomcat, connector, needs_tomcat

from keypin import PinMismatch
from keypin.client import AuthorizationRefused

pytestmark = [needs_glewlwyd, needs_tomcat]

READ, BOTH = "people.read", "people.read people.write"


@pytest.fixture(scope="module")
def oauth(tmp_path_factory):
    with Glewlwyd(tmp_path_factory.mktemp("oauth") / "g", issuing().issue(*NAMES)) as oauth:
        yield oauth


@pytest.fixture(scope="module")
def tomcat(tmp_path_factory, oauth):
    folder = tmp_path_factory.mktemp("tomcat")
    made = connector(folder / "store", issuing().issue(*NAMES))
    asked = Introspection(oauth.introspection_url, oauth.asking_token)
    with Tomcat(folder / "base", {"api": made}, asked) as tomcat:
        yield tomcat


@pytest.fixture
def client_of(make, folder, tomcat, oauth):
    """Make a client with credentials, pinned to the keys of both servers unless told otherwise."""
    (folder / "oauth.cer").write_bytes(oauth.credential.certificate)
    files = list(tomcat.base.parent.glob("store/certificate.cer"))
    (folder / "tomcat.cer").write_bytes(files[0].read_bytes())
    (folder / "other.cer").write_bytes(issuing().issue(*NAMES).certificate)

    def client_of(*names, **options):
        defaults = {"client_id": CLIENT_ID, "client_secret": SECRET, "token_url": oauth.token_url}
        client = make(base_url=tomcat.url("api"), **{**defaults, **options})
        client.pin_trusted_certificate_public_key(names or ["tomcat.cer", "oauth.cer"])
        return client

    return client_of


@pytest.fixture
def requests(tomcat):
    """What Tomcat was asked since the test began."""
    before = len(tomcat.requests("api", 0))
    return lambda count: tomcat.requests("api", before + count)[before:]


@pytest.fixture
def events(oauth):
    """What Glewlwyd did since the test began."""
    before = len(oauth.events())
    return lambda: oauth.events()[before:]


def test_a_token_is_obtained_and_opens_the_resource(client_of, oauth, requests, events):
    client = client_of()
    token = client.obtain_access_token(READ)
    assert token.scope == READ
    assert token.expires_at is not None
    assert token.value not in repr(token)
    assert oauth.is_active(token.value)
    assert client.obtain_access_token(READ) is token
    request = client.resource_request("/people", scope=READ)
    request.set_query_parameter("page", "2")
    request.set_header("X-A", "1")
    answer = request.send()
    assert (answer.status, answer.ok) == (200, True)
    assert answer.json["people"] == ["Ada", "Grace"]
    assert (answer.json["query"], answer.json["header"]) == ("page=2", "1")
    assert requests(1) == ["GET /people 200"]
    assert len(events()) == 1
    client.clear_access_token(token)
    assert client.obtain_access_token(READ).value != token.value


def test_a_challenge_is_answered_and_the_token_kept(client_of, requests, events):
    client = client_of()
    answer = client.resource_request("/people/new", "POST").send({"name": "Grace"})
    assert answer.json["method"] == "POST"
    assert answer.json["body"] == '{"name": "Grace"}'
    assert requests(2) == ["POST /people/new 401", "POST /people/new 200"]
    [event] = events()
    assert f"for client '{CLIENT_ID}' with scope list '{BOTH}'" in event
    assert client.resource_request("/people/new", "PUT", scope=BOTH).send().ok
    assert len(events()) == 1


def test_a_token_of_too_little_scope_is_replaced_by_one_of_enough(client_of, requests, events):
    client = client_of()
    answer = client.resource_request("/people/new", "POST", scope=READ).send_form({"a": "b c"})
    assert answer.json["body"] == "a=b+c"
    assert requests(2) == ["POST /people/new 403", "POST /people/new 200"]
    assert [event.partition("scope list ")[2].split(",")[0] for event in events()] == [
        f"'{READ}'",
        f"'{BOTH}'",
    ]


def test_a_server_that_wants_more_and_does_not_say_what_ends_in_an_error(client_of, requests):
    with pytest.raises(AuthorizationRefused, match="does not say which") as caught:
        client_of().resource_request("/quiet", scope=READ).send()
    assert (caught.value.error, caught.value.status) == ("insufficient_scope", 403)
    assert requests(1) == ["GET /quiet 403"]


def test_a_token_that_was_revoked_is_replaced_once(client_of, oauth, requests, events):
    client = client_of()
    token = client.obtain_access_token(READ)
    oauth.revoke(token.value)
    assert not oauth.is_active(token.value)
    assert client.resource_request("/people", scope=READ).send().ok
    assert requests(2) == ["GET /people 401", "GET /people 200"]
    generated, revoked, again = events()
    assert "generated" in generated
    assert "revoked" in revoked
    assert "generated" in again
    assert client.obtain_access_token(READ).value != token.value


def test_a_token_that_the_program_brings_itself_is_not_replaced(client_of, requests, events):
    request = client_of().resource_request("/people")
    request.set_header("Authorization", "Bearer forged")
    answer = request.send()
    assert (answer.status, answer.ok) == (401, False)
    assert requests(1) == ["GET /people 401"]
    assert events() == []


def test_a_wrong_secret_is_told_as_a_refusal_and_shows_nowhere(client_of, requests, events):
    """Glewlwyd refuses with 403 and no body, against RFC 6749, section 5.2."""
    wrong = "wr0ng-s3cr3t"
    client = client_of(client_secret=wrong)
    for attempt in (
        lambda: client.obtain_access_token(READ),
        lambda: client.resource_request("/people").send(),
    ):
        with pytest.raises(AuthorizationRefused) as caught:
            attempt()
        assert (caught.value.status, caught.value.scope) == (403, READ)
        assert wrong not in f"{caught.value}{caught.value!r}{caught.value.__dict__}"
    assert requests(1) == ["GET /people 401"]
    refusal = f"Authorization invalid for client_id {CLIENT_ID} at IP Address 127.0.0.1"
    assert events() == [refusal] * 2
    assert wrong not in repr(client)


def test_a_scope_that_the_server_does_not_give_is_told_with_its_error(client_of, events):
    client = client_of()
    for scope in ("nonsense", "introspect"):
        with pytest.raises(AuthorizationRefused, match="scope_invalid") as caught:
            client.obtain_access_token(scope)
        assert (caught.value.error, caught.value.status) == ("scope_invalid", 400)
        assert caught.value.scope == scope
        assert SECRET not in str(caught.value)
    assert events() == []


def test_less_than_was_asked_for_is_seen_in_the_token(client_of):
    assert client_of().obtain_access_token(f"{READ} nonsense").scope == READ


@pytest.mark.parametrize("names", [["tomcat.cer"], ["other.cer"]], ids=["one", "neither"])
def test_a_token_endpoint_without_a_pinned_key_sees_nothing(client_of, oauth, events, names):
    client = client_of(*names)
    with pytest.raises(PinMismatch) as caught:
        client.obtain_access_token(READ)
    assert caught.value.host == HOST
    with pytest.raises(PinMismatch):
        client.resource_request("/people", scope=READ).send()
    # the control: it does log a request of a client that pins nothing
    context = ssl.create_default_context(cadata=authority().pem)
    form = {"grant_type": "client_credentials", "scope": READ}
    httpx2.post(oauth.token_url, data=form, auth=("control", "x"), verify=context, trust_env=False)
    [event] = events()
    assert "client_id control" in event


def test_a_resource_server_without_a_pinned_key_gets_no_token(client_of, requests, events):
    client = client_of("oauth.cer")
    token = client.obtain_access_token(READ)
    for scope in (None, READ):
        with pytest.raises(PinMismatch):
            client.resource_request("/people", scope=scope).send()
    assert len(events()) == 1
    # the control, by which what came before is logged, too; the token itself was good
    client.pin_trusted_certificate_public_key(["tomcat.cer", "oauth.cer"])
    request = client.resource_request("/people", "PUT")
    request.set_header("Authorization", token.as_authorization_header)
    assert request.send().ok
    assert requests(1) == ["PUT /people 200"]
