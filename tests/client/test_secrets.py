"""The client's secret and its tokens appear in no log, error, repr or pickle."""

from __future__ import annotations

import base64
import copy
import logging
import pickle
import traceback
from dataclasses import asdict
from urllib.parse import quote_plus

import pytest
from oauth_scene import CLIENT_ID, SECRET, Api, answer_of_the_token_endpoint, bearer
from scene import HOST, pinned, unpinned

from keypin.client import (
    AccessToken,
    AuthorizationRefused,
    RequestFailed,
    RequestTimeout,
    ServerError,
)
from keypin.client._token_endpoint import Credentials
from keypin.errors import KeypinError
from keypin.lab import Http, Response, Server

BASE = "/mfp/api"
TOKEN = "v4lue~0f~the~t0ken"
HEADER, BODY = "h3ader", "b0dy"  # by these names, for tracebacks show the source
SECRETS = (
    TOKEN,
    SECRET,
    quote_plus(SECRET),
    base64.b64encode(f"{quote_plus(CLIENT_ID)}:{quote_plus(SECRET)}".encode()).decode(),
    HEADER,
    BODY,
)


def assert_hidden(text):
    for secret in SECRETS:
        assert secret not in text


@pytest.fixture
def api():
    api = Api(give=lambda api, scope: answer_of_the_token_endpoint(TOKEN, scope))
    with Server(pinned(), application=Http(answer=api)) as server:
        api.server = server
        yield api


@pytest.fixture
def client(api, make):
    client = make(
        base_url=api.server.url_for(HOST, BASE), client_id=CLIENT_ID, client_secret=SECRET
    )
    client.pin_trusted_certificate_public_key("pinned.cer")
    return client


def request(client, url="/a", **more):
    request = client.resource_request(url, "POST", **more)
    request.set_header("X-Key", HEADER)
    return request


def test_the_logs_of_everything_at_their_most_talkative(api, client, caplog):
    """Also httpx2's, httpcore2's and oauthlib's."""
    caplog.set_level(logging.DEBUG)
    answers = [bearer('scope="a"'), bearer('error="invalid_token"'), Response(b"fine")]
    api.paths[BASE + "/a"] = lambda request: answers.pop(0)
    assert request(client).send(BODY).text == "fine"
    assert TOKEN in api.sent[-1]
    assert any(record.name.startswith("httpcore2") for record in caplog.records)
    for record in caplog.records:
        assert_hidden(record.getMessage() + repr(record.args))


def failures(api, client, make):
    """Requests that fail, each in its way."""
    api.paths |= {
        BASE + "/invalid": bearer('error="invalid_token"', f'error_description="bad {TOKEN}!"'),
        BASE + "/status": Response(b"", 500),
        BASE + "/http": Response(b"", 302, {"Location": "http://localhost/"}),
        BASE + "/nowhere": Response(b"", 302, {"Location": "ftp://localhost/"}),
    }
    with Server(unpinned()) as wrong:
        away = wrong.url_for(HOST)
        yield lambda: request(client, "/invalid", scope="a").send(BODY)
        yield lambda: request(client, "/status", scope="a").send(BODY).raise_for_status()
        yield lambda: request(client, "/http", scope="a").send(BODY)
        yield lambda: request(client, "/nowhere", scope="a").send(BODY)
        yield lambda: request(client, away).send(BODY)
        yield lambda: request(client, scope="a", timeout=1e-9).send(BODY)
    yield lambda: request(client, away).send(BODY)
    for body, status in (
        (f'{{"access_token": "{TOKEN}", "token_type": "mac"}}', 200),
        (f'{{"error": "invalid_client", "error_description": "{SECRET}"}}', 401),
        (f"you sent {SECRET}, that is {quote_plus(SECRET)}, in {SECRETS[3]}", 500),
    ):
        api.give = lambda api, scope, body=body, status=status: Response(body.encode(), status)
        yield lambda: client.obtain_access_token("new")


def test_every_failure(api, client, make, caplog):
    caplog.set_level(logging.DEBUG)
    kinds = set()
    for fails in failures(api, client, make):
        with pytest.raises((KeypinError, RequestFailed)) as caught:
            fails()
        error = caught.value
        kinds.add(type(error).__name__)
        told = traceback.format_exception(error)
        assert_hidden("".join(told))
        assert_hidden(repr(error) + str(vars(error)))
        assert_hidden(repr(pickle.dumps(error)))
    assert kinds == {
        "AuthorizationRefused",
        "PinMismatch",
        "PlainHTTPRefused",
        "RequestTimeout",
        "ServerError",
        "Unreachable",
    }
    # httpcore2 logs the headers that a server sends, as they are: here, a token that it repeats
    theirs = "receive_response_headers.complete"
    logged = [record.getMessage() for record in caplog.records]
    assert any(TOKEN in text for text in logged if text.startswith(theirs))
    for text in logged:
        if not text.startswith(theirs):
            assert_hidden(text)


def test_a_header_that_is_refused(client):
    for value in (HEADER + "\n", HEADER + "\u00e9"):
        with pytest.raises(ValueError, match="X-Key") as caught:
            client.resource_request("/a").set_header("X-Key", value)
        assert_hidden(str(caught.value))


def test_a_header_of_the_clients_options_that_http_does_not_allow(make, api):
    client = make(base_url=api.server.url_for(HOST), headers={"X-Key": HEADER + "\x00"})
    client.pin_trusted_certificate_public_key("pinned.cer")
    with pytest.raises(RequestFailed, match="written") as caught:
        client.resource_request("/a").send()
    assert_hidden("".join(traceback.format_exception(caught.value)))


def test_a_token(client):
    token = client.obtain_access_token("a")
    assert token.value == TOKEN
    assert_hidden(f"{token} {token!r} {[token]}")
    assert "scope='a'" in repr(token)
    with pytest.raises(TypeError, match="pickled"):
        pickle.dumps(token)
    assert copy.copy(token) is copy.deepcopy([token])[0] is token
    assert asdict(token)["value"] == TOKEN  # whoever asks for the field gets it


def test_the_clients_secret(client):
    credentials = Credentials(CLIENT_ID, SECRET)
    assert_hidden(f"{credentials} {client!r} {client._flows!r} {vars(client._flows)}")
    with pytest.raises(TypeError, match="pickled"):
        pickle.dumps(credentials)
    assert_hidden(credentials.hide(" ".join(SECRETS[1:4])))


@pytest.mark.parametrize("name", ["client_id", "client_secret"])
def test_credentials_that_cannot_be_encoded(make, name):
    """As from an environment variable that is not in UTF-8."""
    credentials = {"client_id": CLIENT_ID, "client_secret": SECRET, name: SECRET + "\udcfc"}
    with pytest.raises(ValueError, match="surrogate") as caught:
        make(base_url="https://localhost/", **credentials)
    assert_hidden(repr(caught.value) + "".join(traceback.format_exception(caught.value)))


def test_the_logs_of_http_2s_library(make, caplog):
    """It logs every header at DEBUG, as text and as encoded."""
    hpack = pytest.importorskip("hpack")
    caplog.set_level(logging.DEBUG)
    make(http2=True)
    encoded = hpack.Encoder().encode([("authorization", f"Bearer {TOKEN}")])
    assert hpack.Decoder().decode(encoded)[0][1] == f"Bearer {TOKEN}"
    assert caplog.records == []


def test_a_challenge_that_repeats_the_token_in_the_place_of_a_name(api, client):
    value = f"Bearer {TOKEN}=1, {TOKEN}=2, scope=a"
    api.paths[BASE + "/a"] = Response(b"", 401, {"WWW-Authenticate": value})
    with pytest.raises(AuthorizationRefused, match="twice") as caught:
        request(client, scope="a").send()
    assert_hidden("".join(traceback.format_exception(caught.value)))


def test_a_request_and_its_response(api, client):
    one = request(client, f"/a?key={BODY}", scope="a")
    assert repr(one).endswith(f"POST https://localhost:{api.server.port}/mfp/api/a>")
    api.paths[BASE + "/a"] = Response(b"v4lue")
    response = one.send(BODY)
    assert_hidden(repr(one) + repr(response))
    assert_hidden(repr(pickle.dumps(response)))


def test_the_kinds_of_failures_have_one_base():
    for kind in (AuthorizationRefused, RequestTimeout, ServerError):
        assert issubclass(kind, RequestFailed)
    assert issubclass(RequestFailed, KeypinError)
    assert AccessToken("v", "", None).as_form_parameter == "access_token=v"
