"""Redirects: within https and the pins, and to another origin without anything that is secret."""

from __future__ import annotations

import pytest
from oauth_scene import CLIENT_ID, SECRET, Api, Fields, bearer
from scene import HOST, VERSIONS, pinned, unpinned

from keypin import PinMismatch, PlainHTTPRefused
from keypin.client import AuthorizationRefused, ServerError
from keypin.lab import Http, Response, Server

BASE = "/mfp/api"


@pytest.fixture
def servers(version):
    """The API, and a server of another origin that holds the pinned key, too."""
    api, other = Api(), Api()
    with (
        Server(pinned(), tls=[version], application=Http(answer=api)) as home,
        Server(pinned(), tls=[version], application=Http(answer=other)) as away,
    ):
        api.server, other.server = home, away
        yield api, other


@pytest.fixture
def client(servers, make):
    client = make(
        base_url=servers[0].server.url_for(HOST, BASE),
        client_id=CLIENT_ID,
        client_secret=SECRET,
        headers={"X-Api-Key": "k3y"},
        cookies={"session": "c00kie"},
    )
    client.pin_trusted_certificate_public_key("pinned.cer")
    return client


def to(*locations, status=302):
    return Response(b"", status, Fields(*(("Location", location) for location in locations)))


def there(server, path="/there"):
    return server.server.url_for(HOST, path)


def test_within_the_origin_everything_goes_along(servers, client):
    api, _ = servers
    api.paths |= {BASE + "/a": to("../there?c=d"), "/mfp/there": "one"}
    request = client.resource_request("/a?b=c", scope="one")
    request.set_header("X-Own", "1")
    told = request.send().json
    assert told["target"] == "/mfp/there?c=d"
    headers = {name.lower(): value for name, value in told["headers"]}
    assert headers["authorization"] == "Bearer token0~one"
    assert headers["x-api-key"] == "k3y"
    assert headers["x-own"] == "1"
    assert headers["cookie"] == "session=c00kie"


def test_a_challenge_after_a_redirect_is_answered_there(servers, client):
    api, _ = servers
    api.paths |= {BASE + "/a": to("/there", status=307), "/there": "one"}
    response = client.resource_request("/a", "POST").send("body")
    assert (response.json["method"], response.json["body"]) == ("POST", "body")
    assert api.sent == [
        ("POST", BASE + "/a", None),
        ("POST", "/there", None),
        ("POST", "/there", "token0~one"),
    ]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_another_origin_gets_nothing_that_may_be_secret(servers, client, status):
    api, other = servers
    api.paths[BASE + "/a"] = to(there(other, "/there?c=d"), status=status)
    request = client.resource_request("/a", scope="one")
    request.set_headers(
        {
            "Cookie": "own=c00kie",
            "Proxy-Authorization": "Basic s3cret",
            "X-Own-Key": "s3cret",
            "Accept": "text/plain",
        }
    )
    told = request.send().json
    assert told["target"] == "/there?c=d"
    names = {name.lower() for name, _ in told["headers"]}
    assert names == {"host", "accept", "accept-encoding", "user-agent"}


def test_an_authorization_of_the_programs_own_does_not_go_along_either(servers, client):
    api, other = servers
    api.paths[BASE + "/a"] = to(there(other))
    request = client.resource_request("/a")
    request.set_header("aUTHORIZATION", "Basic s3cret")
    assert "s3cret" not in request.send().text
    assert api.sent[0][2] == "Basic s3cret"


def test_what_asks_for_a_token_after_a_redirect_elsewhere_gets_none(servers, client):
    api, other = servers
    api.paths[BASE + "/a"] = to(there(other))
    other.paths["/there"] = "one"
    for scope in (None, "one"):
        with pytest.raises(AuthorizationRefused, match="only"):
            client.resource_request("/a", scope=scope).send()
    assert [token for *_, token in other.sent] == [None, None]


def test_nor_does_one_that_comes_back_from_there(servers, client):
    """Else another server could choose what is asked for with this program's token."""
    api, other = servers
    api.paths |= {BASE + "/a": to(there(other)), "/delete": "one", "/look": Api.echo}
    other.paths["/there"] = to(there(api, "/delete"))
    with pytest.raises(AuthorizationRefused, match="redirects"):
        client.resource_request("/a", scope="one").send()
    other.paths["/there"] = to(there(api, "/look"))
    told = client.resource_request("/a", scope="one").send().json
    names = {name.lower() for name, _ in told["headers"]}
    assert names == {"host", "accept", "accept-encoding", "user-agent"}


@pytest.mark.parametrize(
    ("status", "method", "becomes"),
    [
        (301, "POST", "GET"),
        (302, "POST", "GET"),
        (303, "POST", "GET"),
        (303, "PUT", "GET"),
        (303, "HEAD", "HEAD"),
        (307, "POST", "POST"),
        (308, "POST", "POST"),
        (301, "PUT", "PUT"),
        (302, "DELETE", "DELETE"),
        (302, "HEAD", "HEAD"),
    ],
)
def test_methods_change_as_in_browsers(servers, client, status, method, becomes):
    api, _ = servers
    api.paths |= {BASE + "/a": to("/there", status=status)}
    assert client.resource_request("/a", method).send(None if method == "HEAD" else "body").ok
    there = api.seen[1]
    assert there.method == becomes
    kept = becomes == method and method != "HEAD"
    assert there.body == (b"body" if kept else b"")
    assert ("Content-Type" in there.headers) == kept


@pytest.mark.parametrize("status", [301, 307, 308])
def test_a_body_goes_to_no_other_origin(servers, client, status):
    """The answer is the redirect itself."""
    api, other = servers
    api.paths[BASE + "/a"] = to(there(other), status=status)
    response = client.resource_request("/a", "PUT").send("secret")
    assert (response.status, response.ok) == (status, False)
    assert response.headers["Location"] == there(other)
    assert other.server.connections == []


def test_the_body_of_a_post_that_becomes_a_get_stays_here(servers, client):
    api, other = servers
    api.paths[BASE + "/a"] = to(there(other), status=302)
    told = client.resource_request("/a", "POST").send("secret").json
    assert (told["method"], told["body"]) == ("GET", "")


@pytest.mark.parametrize("version", VERSIONS)
def test_to_another_key_nothing_is_sent(servers, client, version):
    api, _ = servers
    with Server(unpinned(), tls=[version]) as wrong:
        api.paths[BASE + "/a"] = to(wrong.url_for(HOST, "/there"))
        with pytest.raises(PinMismatch):
            client.resource_request("/a", scope="one").send()
        wrong.settle()
        assert wrong.application_bytes == 0
        assert len(wrong.connections) == 1


def test_to_http_is_refused_also_without_pins(servers, make):
    api, _ = servers
    with Server(None) as plain:
        api.paths[BASE + "/a"] = to(plain.url_for(HOST, "/there"))
        for pins in (True, False):
            client = make(base_url=api.server.url_for(HOST, BASE), require_pin=False)
            if pins:
                client.pin_trusted_certificate_public_key("pinned.cer")
            with pytest.raises(PlainHTTPRefused):
                client.resource_request("/a").send()
        assert plain.connections == []


@pytest.mark.parametrize(
    "location",
    [
        "ftp://localhost/",
        "javascript:alert(1)",
        "https://user:passw0rd@localhost/",
        "https://",
        "//",
        "https:///there",
        "https://localhost:port/",
        "\\\\localhost\\there",
        "/a b",
        "https://a..b/",
        "https://[/",
        "//\t/localhost/",
    ],
)
def test_to_what_is_no_https_url_is_an_error(servers, client, location):
    api, other = servers
    api.paths[BASE + "/a"] = to(location)
    with pytest.raises(ServerError, match="redirects to where") as caught:
        client.resource_request("/a").send()
    assert caught.value.status == 302
    assert "passw0rd" not in str(caught.value)
    assert len(api.seen) == 1
    assert other.server.connections == []


def test_a_location_may_be_relative_in_every_way_and_in_utf_8(servers, client):
    api, other = servers
    host = there(other).removeprefix("https:")
    for location, target in (
        ("?b", BASE + "/a?b"),
        ("#b", BASE + "/a"),
        ("./b/../c", BASE + "/c"),
        ("../../../x", "/x"),
        (host, "/there"),
        ("/\u00e9", "/%C3%A9"),
    ):
        answers = [to(location), Api.echo]
        api.paths[BASE + "/a"] = lambda request, answers=answers: (
            answers.pop(0) if len(answers) > 1 else answers[0](request)
        )
        assert client.resource_request("/a").send().json["target"] == target


def test_to_several_places_is_an_error(servers, client):
    api, _ = servers
    api.paths[BASE + "/a"] = to("/one", "/two")
    with pytest.raises(ServerError, match="several"):
        client.resource_request("/a").send()


@pytest.mark.parametrize(
    "response", [to(), to("/there", status=300), to("/there", status=304), to("/there", status=201)]
)
def test_what_is_no_redirect_is_returned(servers, client, response):
    api, _ = servers
    api.paths[BASE + "/a"] = response
    assert client.resource_request("/a").send().status == response.status
    assert len(api.seen) == 1


def test_their_number_is_bounded(servers, client):
    api, _ = servers
    api.paths[BASE + "/a"] = to("a")
    with pytest.raises(ServerError, match="more than 20") as caught:
        client.resource_request("/a").send()
    assert caught.value.status == 302
    assert len(api.seen) == 21


def test_redirects_and_challenges_in_turn_are_bounded_too(servers, client):
    """A challenge is answered where it came, which redirects to where the next one comes."""
    api, _ = servers
    api.paths[BASE + "/a"] = lambda request: (
        to("/b") if request.headers["Authorization"] else bearer('error="invalid_token"')
    )
    api.paths["/b"] = bearer('error="invalid_token"')
    with pytest.raises(AuthorizationRefused):
        client.resource_request("/a").send()
    assert len(api.seen) == 4


def test_the_token_endpoint_is_not_followed_elsewhere(servers, client):
    """Its redirect would have the client's secret sent to whom it names."""
    api, other = servers
    for status in (302, 307, 308):
        api.give = lambda api, scope, status=status: to(there(other), status=status)
        with pytest.raises(ServerError, match="redirects, and credentials") as caught:
            client.obtain_access_token("one")
        assert caught.value.status == status
        api.give = lambda api, scope, status=status: to("/token", status=status)
        with pytest.raises(ServerError, match="redirects"):
            client.obtain_access_token("one")
    assert api.seen == []
    assert other.server.connections == []


def test_the_clients_own_setting_changes_nothing(servers, make):
    """`follow_redirects` is for `get` and its like."""
    api, other = servers
    client = make(
        base_url=api.server.url_for(HOST, BASE),
        client_id=CLIENT_ID,
        client_secret=SECRET,
        follow_redirects=True,
    )
    client.pin_trusted_certificate_public_key("pinned.cer")
    api.paths[BASE + "/a"] = to(there(other), status=307)
    assert client.resource_request("/a", "POST").send("secret").status == 307
    api.give = lambda api, scope: to(there(other), status=307)
    with pytest.raises(ServerError, match="redirects"):
        client.obtain_access_token("one")
    assert other.server.connections == []
