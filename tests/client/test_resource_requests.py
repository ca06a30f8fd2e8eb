"""Resource requests: what is sent, what comes back, and how challenges for a token are answered."""

from __future__ import annotations

import copy
import gzip
import pickle
import threading
import traceback
from contextlib import contextmanager
from http.cookiejar import CookieJar

import pytest
from oauth_scene import CLIENT_ID, SECRET, Api, Fields, bearer
from scene import HOST, VERSIONS, pinned, unpinned

from keypin import NotPinned, PinMismatch, PlainHTTPRefused
from keypin.client import AnswerTooLarge, AuthorizationRefused, ServerError, Unreachable
from keypin.lab import Http, Response, Server

BASE = "/mfp/api"


@pytest.fixture
def api(version):
    """An API behind TLS, pinned."""
    api = Api()
    with Server(pinned(), tls=[version], application=Http(answer=api)) as server:
        api.server = server
        yield api


@pytest.fixture
def client(api, make):
    return connected(make, api.server)


def connected(make, server, **options):
    """A pinned client with credentials."""
    options = {"client_id": CLIENT_ID, "client_secret": SECRET, **options}
    client = make(base_url=server.url_for(HOST, BASE), **options)
    client.pin_trusted_certificate_public_key(["pinned.cer"])
    return client


@contextmanager
def another(key, version, answer=None):
    """A server of another origin: another port."""
    with Server(key, tls=[version], application=Http(answer=answer or Api())) as server:
        yield server


def values_of(echoed, name):
    return [value for key, value in echoed["headers"] if key.lower() == name.lower()]


# What is sent


def test_a_request_has_its_method_query_headers_and_body(client):
    request = client.resource_request("/adapters/people/all?sort=up&page=1", "put")
    request.set_query_parameter("page", 2)
    request.set_query_parameter("name", "a&b=c d/é")
    request.set_header("x-a", "0")
    request.set_header("X-A", "1")
    request.add_header("x-a", "2")
    request.add_header("X-B", "")
    told = request.send("grüße").json
    assert told["method"] == "PUT"
    path, _, query = told["target"].partition("?")
    assert path == BASE + "/adapters/people/all"
    assert set(query.split("&")) == {"sort=up", "page=2", "name=a%26b%3Dc+d%2F%C3%A9"}
    assert values_of(told, "X-A") == ["1", "2"]
    assert values_of(told, "X-B") == [""]
    assert values_of(told, "Content-Type") == ["text/plain; charset=utf-8"]
    assert told["body"] == "grüße"


def test_all_parameters_and_all_headers_are_set_at_once(client):
    request = client.resource_request("/a")
    request.set_query_parameter("old", "1")
    request.set_header("X-Old", "1")
    request.set_query_parameters({"a": "1", "b": 1.5})
    request.set_headers({"X-A": "1", "x-a": "2", "Accept": "text/html"})
    told = request.send().json
    assert told["target"] == BASE + "/a?a=1&b=1.5"
    assert values_of(told, "X-Old") == []
    assert values_of(told, "X-A") == ["2"]
    assert values_of(told, "Accept") == ["text/html"]


@pytest.mark.parametrize(
    ("body", "kind", "sent"),
    [
        ("text", "text/plain; charset=utf-8", "text"),
        (b"\x00bytes", "application/octet-stream", "\x00bytes"),
        ({"a": "é"}, "application/json", '{"a": "é"}'),
        ([1, None], "application/json", "[1, null]"),
    ],
)
def test_a_body_is_text_bytes_or_json(client, body, kind, sent):
    told = client.resource_request("/a", "POST").send(body).json
    assert (values_of(told, "Content-Type"), told["body"]) == ([kind], sent)
    request = client.resource_request("/a", "POST")
    request.set_header("Content-Type", "application/x-own")
    assert values_of(request.send(body).json, "Content-Type") == ["application/x-own"]


def test_a_form_is_encoded(client):
    told = client.resource_request("/a", "POST").send_form({"a b": "c&d=é", "n": 1}).json
    assert values_of(told, "Content-Type") == ["application/x-www-form-urlencoded"]
    assert told["body"] == "a+b=c%26d%3D%C3%A9&n=1"


def test_other_bodies_are_refused(client):
    request = client.resource_request("/a", "POST")
    for body in (1, object(), ("a",)):
        with pytest.raises(TypeError, match="a body is"):
            request.send(body)
    with pytest.raises(ValueError, match="JSON"):
        request.send({"a": float("nan")})
    for fields in ({"a": True}, {"a": None}, {1: [1]}):
        with pytest.raises(TypeError, match="a str or a number"):
            request.send_form(fields)
        with pytest.raises(TypeError, match="a str or a number"):
            request.set_query_parameters(fields)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-A", "1\r\nX-B: 2"),
        ("X-A", "1\n"),
        ("X-A", "1\x00"),
        ("X-A", " 1"),
        ("X-A", "é"),
        ("X-A: 1\r\nX-B", "2"),
        ("X A", "1"),
        ("", "1"),
        ("Host", "evil.example.com"),
        ("content-length", "0"),
        ("Transfer-Encoding", "chunked"),
        ("Connection", "close"),
        ("Upgrade", "h2c"),
    ],
)
def test_headers_that_would_be_read_as_something_else_are_refused(client, name, value):
    request = client.resource_request("/a")
    for refuses in (
        lambda: request.set_header(name, value),
        lambda: request.add_header(name, value),
        lambda: request.set_headers({"X-C": "1", name: value}),
    ):
        with pytest.raises(ValueError, match=r"header|value|client"):
            refuses()
    assert request._headers == []


@pytest.mark.parametrize("method", ["", "GET /", "G\r\nT", "CONNECT", "trace"])
def test_methods_that_are_none_are_refused(client, method):
    with pytest.raises(ValueError, match="method"):
        client.resource_request("/a", method)


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), 1e10, 10**400])
def test_a_timeout_is_a_positive_number(client, timeout):
    with pytest.raises(ValueError, match="above 0"):
        client.resource_request("/a", timeout=timeout)
    with pytest.raises(TypeError, match="number of seconds"):
        client.resource_request("/a", timeout="30")
    with pytest.raises(ValueError, match="above 0"):
        client.obtain_access_token("a", timeout=timeout)


def test_the_longest_timeout_there_is(api, client):
    longest = threading.TIMEOUT_MAX
    assert client.resource_request("/a", timeout=longest, scope="a").send().ok


def test_what_the_client_sends_by_default_goes_to_its_own_origin_only(make, version):
    options = {
        "headers": {"X-Api-Key": "k3y", "User-Agent": "mine"},
        "cookies": {"session": "c00kie"},
        "params": {"key": "p4ram"},
        "auth": ("me", "passw0rd"),
    }
    api = Api()
    with another(pinned(), version, api) as home, another(pinned(), version, api) as other:
        client = connected(make, home, **options)
        told = client.resource_request("/a?b=c").send().json
        assert told["target"] == BASE + "/a?key=p4ram&b=c"
        assert values_of(told, "X-Api-Key") == ["k3y"]
        assert values_of(told, "Cookie") == ["session=c00kie"]
        assert values_of(told, "Authorization")[0].startswith("Basic ")
        text = client.resource_request(other.url_for(HOST, "/a")).send().text
        assert "mine" in text
        for secret in ("k3y", "c00kie", "p4ram", "Basic"):
            assert secret not in text


def test_a_token_takes_the_place_of_the_clients_own_auth(api, make):
    api.paths[BASE + "/a"] = "one"
    client = connected(make, api.server, auth=("me", "passw0rd"))
    assert client.resource_request("/a", scope="one").send().ok
    assert api.sent == [("GET", BASE + "/a", "token0~one")]


# What comes back


def test_a_response_has_status_text_json_and_headers_in_any_case(api, client):
    headers = Fields(
        ("X-Several", "1"), ("x-several", "2"), ("Content-Type", "a/b; charset=latin1")
    )
    api.paths[BASE + "/a"] = Response('"é"'.encode("latin-1"), 201, headers)
    response = client.resource_request("/a").send()
    assert (response.status, response.ok, response.text) == (201, True, '"é"')
    assert response.content == '"é"'.encode("latin-1")
    assert response.headers.get_list("x-SEVERAL") == ["1", "2"]
    assert repr(response) == "<ResourceResponse 201, 3 bytes>"
    response.raise_for_status()


NONSENSE = ["x", "base64", "rot13", "idna", "undefined", "punycode", "unicode_escape", "'", ""]


@pytest.mark.parametrize("charset", NONSENSE)
def test_the_charset_of_nonsense_is_utf_8(api, client, charset):
    kind = f"a/b; charset={charset}"
    api.paths[BASE + "/a"] = Response(b"\\d\xc3\xa9\xff", headers={"Content-Type": kind})
    assert client.resource_request("/a").send().text == "\\dé\ufffd"


@pytest.mark.parametrize("parameter", ["charset*=utf-8''%00", f"charset*{'9' * 5000}=a"])
def test_so_is_one_that_cannot_be_read(api, client, parameter):
    kind = f"a/b; {parameter}"
    api.paths[BASE + "/a"] = Response(b"\xc3\xa9", headers={"Content-Type": kind})
    assert client.resource_request("/a").send().text == "é"


@pytest.mark.parametrize("status", [200, 302])
def test_cookies_that_are_not_in_ascii_are_dropped_and_break_nothing(api, make, status):
    fields = [("Set-Cookie", f"{name}=1") for name in ("b\u00e9", "c\xff")]
    fields += [("Set-Cookie", "d=\u00e9"), ("Set-Cookie", "e=2"), ("Location", BASE + "/b")]
    client = connected(make, api.server, cookies={"a": "1"})
    api.paths[BASE + "/a"] = Response(b"", status, Fields(*fields))
    assert client.resource_request("/a").send().ok
    (cookie,) = values_of(client.resource_request("/b").send().json, "cookie")
    assert sorted(cookie.split("; ")) == ["a=1", "e=2"]


def test_a_jar_of_the_programs_own_is_used_as_it_is(api, make):
    """Then a cookie that cannot be sent is an error that does not tell it."""
    jar = CookieJar()
    client = connected(make, api.server, cookies=jar)
    api.paths[BASE + "/a"] = Response(b"", headers={"Set-Cookie": "a=s3cret\u00e9"})
    assert client.resource_request("/a").send().ok
    assert [cookie.name for cookie in jar] == ["a"]
    with pytest.raises(Unreachable, match="cannot be written") as caught:
        client.resource_request("/b").send()
    assert "s3cret" not in "".join(traceback.format_exception(caught.value))


@contextmanager
def answering_in_http_2(*answers):
    """A server of HTTP/2 that sends any headers; yields it and the headers of the requests."""
    h2 = pytest.importorskip("h2.connection")
    config = pytest.importorskip("h2.config").H2Configuration
    loose = {"validate_outbound_headers": False, "normalize_outbound_headers": False}
    seen, left = [], list(answers)

    def serve(channel):
        connection = h2.H2Connection(config(client_side=False, **loose))
        connection.initiate_connection()
        channel.sendall(connection.data_to_send())
        while data := channel.recv():
            for event in connection.receive_data(data):
                if type(event).__name__ == "RequestReceived":
                    seen.append(event.headers)
                    connection.send_headers(event.stream_id, left.pop(0), end_stream=True)
            channel.sendall(connection.data_to_send())

    with Server(pinned(), application=serve, alpn=["h2"]) as server:
        yield server, seen


@pytest.mark.parametrize("status", ["abc", "", "9" * 5000])
def test_a_status_in_http_2_that_is_none_is_no_answer(make, status):
    with answering_in_http_2([(":status", status)]) as (server, _):
        client = connected(make, server, http2=True)
        with pytest.raises(Unreachable, match="not be read"):
            client.resource_request("/a").send()


def test_a_cookie_in_http_2_that_has_line_ends_is_dropped(make):
    fine = (":status", "200")
    cookies = [("set-cookie", "a=1\r\nX-Evil: 1"), ("set-cookie", "b=2\0"), ("set-cookie", "c=3")]
    with answering_in_http_2([fine, *cookies], [fine]) as (server, seen):
        client = connected(make, server, http2=True)
        for _ in range(2):
            assert client.resource_request("/a").send().ok
        assert [value for name, value in seen[1] if name == b"cookie"] == [b"c=3"]


@pytest.mark.parametrize("body", [b"<html>", b"", b"\xff", b"[" * 100_000])
def test_a_body_that_is_not_json_says_so(api, client, body):
    api.paths[BASE + "/a"] = Response(body, headers={"Content-Type": "text/html"})
    response = client.resource_request("/a").send()
    with pytest.raises(ServerError, match=r"not JSON \(text/html") as caught:
        response.json  # noqa: B018 - a property that raises
    assert (caught.value.status, caught.value.body) == (200, response.text)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 500, 503])
def test_other_answers_than_2xx_are_returned(api, client, status):
    api.paths[BASE + "/a"] = Response(b"sorry", status)
    response = client.resource_request("/a").send()
    assert (response.status, response.ok, response.text) == (status, False, "sorry")
    with pytest.raises(ServerError, match=str(status)) as caught:
        response.raise_for_status()
    assert (caught.value.status, caught.value.body) == (status, "sorry")
    assert len(api.seen) == 1


def test_a_response_can_be_kept(api, client):
    api.paths[BASE + "/a"] = "one"
    kept = pickle.dumps(client.resource_request("/a").send())
    assert pickle.loads(kept).headers["Content-Type"] == "application/json"
    assert b"Bearer" not in kept.replace(b'"Authorization", "Bearer', b"")  # the echo in the body


# Pins


@pytest.mark.parametrize("version", VERSIONS)
def test_another_key_fails_the_request_and_is_never_retried(make, version):
    with another(unpinned(), version) as wrong:
        client = connected(make, wrong)
        for fails in (
            lambda: client.resource_request("/a", scope="one").send(),
            lambda: client.resource_request("/a", "POST").send("secret"),
            lambda: client.obtain_access_token("one"),
        ):
            before = len(wrong.connections)
            with pytest.raises(PinMismatch):
                fails()
            wrong.settle()
            assert len(wrong.connections) == before + 1
        assert wrong.application_bytes == 0


@pytest.mark.parametrize("version", VERSIONS)
def test_a_token_endpoint_with_another_key_gets_nothing(api, make, version):
    with another(unpinned(), version) as wrong:
        client = connected(make, api.server, token_url=wrong.url_for(HOST, "/token"))
        api.paths[BASE + "/a"] = "one"
        for fails in (
            lambda: client.obtain_access_token("one"),
            lambda: client.resource_request("/a").send(),
        ):
            with pytest.raises(PinMismatch):
                fails()
        wrong.settle()
        assert wrong.application_bytes == 0


def test_a_client_that_was_not_pinned_sends_nothing(api, make):
    client = make(
        base_url=api.server.url_for(HOST, BASE), client_id=CLIENT_ID, client_secret=SECRET
    )
    for fails in (
        lambda: client.resource_request("/a").send(),
        lambda: client.obtain_access_token("one"),
    ):
        with pytest.raises(NotPinned):
            fails()
    assert api.server.connections == []


def test_without_a_server_it_is_unreachable(make):
    with Server(pinned()) as server:
        client = connected(make, server)
    with pytest.raises(Unreachable, match="no answer"):
        client.resource_request("/a").send()
    with pytest.raises(Unreachable, match="no answer"):
        client.obtain_access_token("a")


def test_plain_http_is_refused_whether_pinned_or_not(make):
    with Server(None) as plain:
        client = make(base_url=plain.url_for(HOST), require_pin=False)
        with pytest.raises(PlainHTTPRefused):
            client.resource_request("/a")
        with pytest.raises(PlainHTTPRefused):
            make(base_url=plain.url_for(HOST), client_id=CLIENT_ID, client_secret=SECRET)
        with pytest.raises(PlainHTTPRefused):
            make(client_id=CLIENT_ID, client_secret=SECRET, token_url=plain.url_for(HOST))
        assert plain.connections == []


# Challenges (RFC 6750, section 3)


def test_a_challenge_brings_a_token_for_its_scope_and_the_body_again(api, client):
    api.paths[BASE + "/a"] = "two one"
    response = client.resource_request("/a", "POST").send({"a": 1})
    assert response.json["body"] == '{"a": 1}'
    assert api.sent == [("POST", BASE + "/a", None), ("POST", BASE + "/a", "token0~one+two")]
    assert client.resource_request("/a").send().ok
    assert api.scopes == ["one two"]


def test_a_request_with_a_scope_has_its_token_at_once(api, client):
    api.paths[BASE + "/a"] = "one"
    assert client.resource_request("/a", scope=" two  one one").send().ok
    assert api.sent == [("GET", BASE + "/a", "token0~one+two")]


def test_a_challenge_without_a_scope_brings_a_token_for_the_default_scope(api, client):
    answers = [bearer(), Api.echo]
    api.paths[BASE + "/a"] = lambda request: _next(answers, request)
    assert client.resource_request("/a").send().ok
    assert api.scopes == [""]


def _next(answers, request):
    answer = answers.pop(0) if len(answers) > 1 else answers[0]
    return answer(request) if callable(answer) else answer


def test_the_scope_of_the_request_comes_before_that_of_the_challenge(api, client):
    api.paths[BASE + "/a"] = lambda r: Api.echo(r) if r.headers["Authorization"] else bearer()
    assert client.resource_request("/a", scope="mine").send().ok
    assert api.scopes == ["mine"]
    answers = [bearer('scope="theirs"'), Api.echo]
    api.paths[BASE + "/a"] = lambda request: _next(answers, request)
    assert client.resource_request("/a", scope="mine").send().ok
    assert api.scopes == ["mine", "mine"]


def test_a_token_that_is_no_longer_valid_is_replaced_once(api, client):
    api.paths[BASE + "/a"] = "one"
    assert client.resource_request("/a", scope="one").send().ok
    api.revoked.add("token0~one")
    assert client.resource_request("/a", "POST", scope="one").send(b"again").json["body"] == "again"
    assert [token for *_, token in api.sent] == ["token0~one", "token0~one", "token1~one"]
    assert client.obtain_access_token("one").value == "token1~one"


def test_a_second_invalid_token_is_the_end(api, client):
    api.paths[BASE + "/a"] = bearer('error="invalid_token"', 'error_description="no, no"')
    with pytest.raises(AuthorizationRefused, match="second") as caught:
        client.resource_request("/a", scope="one").send()
    refused = caught.value
    assert (refused.error, refused.error_description, refused.status) == (
        "invalid_token",
        "no, no",
        401,
    )
    assert len(api.seen) == 2
    assert len(api.issued) == 2


def test_an_insufficient_scope_is_asked_for_together_with_the_old_one(api, client):
    api.paths[BASE + "/a"] = "two"
    assert client.resource_request("/a", "POST", scope="one").send("body").json["body"] == "body"
    assert api.scopes == ["one", "one two"]


def test_an_insufficient_scope_that_is_not_named_is_refused(api, client):
    api.paths[BASE + "/a"] = bearer('error="insufficient_scope"', status=403)
    with pytest.raises(AuthorizationRefused, match="does not say which") as caught:
        client.resource_request("/a", scope="one").send()
    assert (caught.value.error, caught.value.status) == ("insufficient_scope", 403)
    assert len(api.seen) == 1


def test_a_scope_that_was_asked_for_already_is_not_asked_for_again(api, client):
    api.paths[BASE + "/a"] = bearer('error="insufficient_scope"', 'scope="one"', status=403)
    with pytest.raises(AuthorizationRefused, match="its own token") as caught:
        client.resource_request("/a", scope="two one").send()
    assert caught.value.scope == "one"
    assert len(api.seen) == 1


def test_there_are_four_requests_at_most(api, client):
    """Whatever the server says, for example that it wants another scope each time."""
    numbers = iter(range(100))

    def more(request):
        error = 'error="insufficient_scope"'
        return bearer(error, f'scope="scope{next(numbers)}"', status=403)

    api.paths[BASE + "/a"] = more
    with pytest.raises(AuthorizationRefused, match="after 4 requests"):
        client.resource_request("/a").send()
    assert len(api.seen) == 4
    assert api.scopes[-1] == "scope0 scope1 scope2"


def test_all_three_kinds_of_challenges_fit_into_one_request(api, client):
    answers = [
        bearer('scope="one"'),
        bearer('error="invalid_token"'),
        bearer('error="insufficient_scope"', 'scope="two"', status=403),
        Api.echo,
    ]
    api.paths[BASE + "/a"] = lambda request: _next(answers, request)
    assert client.resource_request("/a").send().ok
    assert [token for *_, token in api.sent] == [
        None,
        "token0~one",
        "token1~one",
        "token2~one+two",
    ]


@pytest.mark.parametrize(
    "response",
    [
        Response(b"", 401),
        Response(b"", 401, {"WWW-Authenticate": 'Basic realm="Bearer error=invalid_token"'}),
        Response(b"", 403, {"WWW-Authenticate": "Bearer"}),
        Response(b"", 403, {"WWW-Authenticate": 'Bearer error="invalid_token"'}),
        Response(b"", 403, {"WWW-Authenticate": "Bearer error="}),
        Response(b"", 400, {"WWW-Authenticate": 'Bearer error="invalid_request"'}),
        Response(b"", 200, {"WWW-Authenticate": "Bearer"}),
    ],
    ids=range(7),
)
def test_an_answer_that_wants_no_token_is_returned(api, client, response):
    api.paths[BASE + "/a"] = response
    assert client.resource_request("/a").send().status == response.status
    assert len(api.seen) == 1


def test_a_challenge_may_be_one_of_several_and_in_a_field_of_its_own(api, client):
    fields = Fields(
        ("WWW-Authenticate", 'Basic realm="a, Bearer scope=evil", , Negotiate abc=='),
        ("www-authenticate", 'bEARER realm="\\"x", SCOPE="one"'),
    )
    answers = [Response(b"", 401, fields), Api.echo]
    api.paths[BASE + "/a"] = lambda request: _next(answers, request)
    assert client.resource_request("/a").send().ok
    assert api.scopes == ["one"]


@pytest.mark.parametrize("realm", ["é", "日本"])
def test_a_challenge_may_have_any_characters_in_quotes(api, client, realm):
    """To its grammar they are opaque bytes (RFC 9110, section 5.5)."""
    value = f'Basic realm="{realm}"'.encode().decode("latin-1")
    api.paths[BASE + "/basic"] = Response(b"", 401, {"WWW-Authenticate": value})
    assert client.resource_request("/basic").send().status == 401
    answers = [Response(b"", 401, {"WWW-Authenticate": f"{value}, Bearer scope=one"}), Api.echo]
    api.paths[BASE + "/a"] = lambda request: _next(answers, request)
    assert client.resource_request("/a").send().ok
    assert api.scopes == ["one"]


@pytest.mark.parametrize(
    "value", ['Bearer scope="one', "Bearer scope=one scope=two", 'Bearer scope="\\"', "Bearer a=1;"]
)
def test_a_challenge_that_cannot_be_read_is_refused(api, client, value):
    api.paths[BASE + "/a"] = Response(b"", 401, {"WWW-Authenticate": value})
    with pytest.raises(AuthorizationRefused, match="cannot be read"):
        client.resource_request("/a").send()
    assert api.issued == []


def test_a_challenge_whose_scope_is_none_is_refused(api, client):
    api.paths[BASE + "/a"] = bearer(r'scope="one \"two\""')
    with pytest.raises(AuthorizationRefused, match="a scope that is none"):
        client.resource_request("/a").send()
    assert api.issued == []


def test_another_error_of_a_challenge_is_refused(api, client):
    api.paths[BASE + "/a"] = bearer('error="invalid_request"')
    with pytest.raises(AuthorizationRefused, match="invalid_request"):
        client.resource_request("/a", scope="one").send()
    assert len(api.seen) == 1


def test_without_credentials_a_challenge_is_refused(api, make):
    api.paths[BASE + "/a"] = "one"
    client = connected(make, api.server, client_id=None, client_secret=None)
    for scope in (None, "one"):
        with pytest.raises(AuthorizationRefused, match="client_id") as caught:
            client.resource_request("/a", scope=scope).send()
        assert caught.value.scope == "one"
        assert caught.value.error is None
    with pytest.raises(AuthorizationRefused, match="client_id"):
        client.obtain_access_token()
    assert api.issued == []


@pytest.mark.parametrize("where", ["request", "client"])
def test_an_authorization_of_the_programs_own_is_left_alone(api, make, where):
    api.paths[BASE + "/a"] = "one"
    headers = {"Authorization": "Bearer mine"}
    client = connected(make, api.server, headers=headers if where == "client" else {})
    request, other = client.resource_request("/a"), client.resource_request("/a", scope="one")
    if where == "request":
        request.set_headers(headers)
        other.set_headers(headers)
    assert request.send().status == 401
    assert api.sent == [("GET", BASE + "/a", "mine")]
    with pytest.raises(ValueError, match="not both"):
        other.send()
    assert api.issued == []


@pytest.mark.parametrize("version", VERSIONS)
def test_another_origin_gets_no_token(api, client, version):
    """Not even one that holds a pinned key, and asks for one as the API does."""
    greedy = Api(paths={"/a": "one"})
    with another(pinned(), version, greedy) as other:
        assert client.resource_request("/a", scope="one").send().ok
        for scope in (None, "one"):
            with pytest.raises(AuthorizationRefused, match="only") as caught:
                client.resource_request(other.url_for(HOST, "/a"), scope=scope).send()
            assert caught.value.scope == "one"
        assert [token for *_, token in greedy.sent] == [None]
        assert client.resource_request(other.url_for(HOST, "/free")).send().ok
    assert api.scopes == ["one"]


def test_an_absolute_url_of_the_clients_own_origin_gets_one(api, client):
    api.paths["/elsewhere"] = "one"
    url = api.server.url_for(HOST, "/elsewhere").replace(HOST, HOST.upper())
    assert client.resource_request(url).send().ok
    assert api.scopes == ["one"]


def test_the_errors_travel_between_processes():
    refused = AuthorizationRefused("text", "invalid_scope", "words", 400, "one")
    for error in (
        refused,
        ServerError(503, "body"),
        ServerError(200, "", "text"),
        Unreachable("x"),
    ):
        for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
            assert type(again) is type(error)
            assert str(again) == str(error)
            assert vars(again) == vars(error)


# An answer's length


@pytest.mark.parametrize("coding", ["identity", "gzip"])
def test_an_answer_longer_than_its_limit_is_refused(client, api, coding):
    for size in (1000, 1001):
        body = b"a" * size
        packed = gzip.compress(body) if coding == "gzip" else body
        api.paths[f"{BASE}/{size}"] = Response(packed, headers={"Content-Encoding": coding})
    assert len(client.resource_request("/1000", limit=1000).send().content) == 1000
    with pytest.raises(AnswerTooLarge, match="longer than 1000 bytes") as caught:
        client.resource_request("/1001", limit=1000).send()
    assert isinstance(caught.value, ServerError)
    assert (caught.value.status, caught.value.body) == (200, "")
    assert len(client.resource_request("/1001").send().content) == 1001


def test_an_answer_without_end_is_not_read_to_its_end(make, version):
    sent = []

    def endless(channel):
        channel.recv()
        channel.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            channel.sendall(bytes(64 * 1024))
            sent.append(64 * 1024)

    with Server(pinned(), tls=[version], application=endless) as server:
        request = connected(make, server).resource_request("/x", limit=1_000_000, timeout=None)
        with pytest.raises(AnswerTooLarge):
            request.send()
        server.settle()
    assert sum(sent) < 50_000_000  # what buffers hold


def test_a_limit_is_no_less_than_nothing(client):
    with pytest.raises(ValueError, match="a limit is a number of bytes"):
        client.resource_request("/x", limit=-1)
