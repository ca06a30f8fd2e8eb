"""Access tokens: how they are asked for, which answers are none, and how long they are kept."""

from __future__ import annotations

import asyncio
import base64
import gc
import itertools
import json
import sys
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import unquote_plus

import anyio
import httpx2
import pytest
import trio
from oauth_scene import CLIENT_ID, SECRET, TOKEN_PATH, Api, answer_of_the_token_endpoint, bearer
from scene import HOST, VERSIONS, pinned, unpinned

from keypin import MissingExtra, PinMismatch
from keypin.client import (
    AccessToken,
    AsyncClient,
    AuthorizationRefused,
    Client,
    RequestTimeout,
    ServerError,
)
from keypin.client._deadline import remaining
from keypin.client._flows import Flows
from keypin.client._tokens import SCOPES, Grant, TokenCache
from keypin.lab import Http, Response, Server

BASE = "/mfp/api"


@pytest.fixture
def api(version):
    api = Api()
    with Server(pinned(), tls=[version], application=Http(answer=api)) as server:
        api.server = server
        yield api


@pytest.fixture
def client(api, make):
    client = make(
        base_url=api.server.url_for(HOST, BASE), client_id=CLIENT_ID, client_secret=SECRET
    )
    client.pin_trusted_certificate_public_key("pinned.cer")
    return client


# How they are asked for


def test_a_token_is_asked_for_with_client_credentials(api, client):
    before = datetime.now(UTC)
    token = client.obtain_access_token("two  one\tone")
    (request,) = api.server.requests
    assert (request.method, request.target) == ("POST", TOKEN_PATH)
    assert request.body == b"grant_type=client_credentials&scope=one+two"
    assert request.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert request.headers["Accept"] == "application/json"
    name, _, secret = base64.b64decode(api.basic.removeprefix("Basic ")).decode().partition(":")
    assert (unquote_plus(name), unquote_plus(secret)) == (CLIENT_ID, SECRET)
    assert token.value == "token0~one+two"
    assert token.scope == "one two"
    assert token.as_authorization_header == "Bearer token0~one+two"
    assert token.as_form_parameter == "access_token=token0~one%2Btwo"
    assert token.expires_at.utcoffset() == timedelta(0)
    lifetime = token.expires_at - before
    assert timedelta(seconds=3590) < lifetime < timedelta(seconds=3610)


def test_without_a_scope_none_is_sent(api, client):
    assert client.obtain_access_token().scope == ""
    assert api.server.requests[0].body == b"grant_type=client_credentials"


def test_the_token_endpoint_may_be_elsewhere_and_gets_no_cookies_or_headers(api, make):
    with Server(pinned(), application=Http(answer=Api.echo)) as resources:
        client = make(
            base_url=resources.url_for(HOST, "/x"),
            client_id=CLIENT_ID,
            client_secret=SECRET,
            token_url=api.server.url_for(HOST, TOKEN_PATH),
            cookies={"a": "c00kie"},
            headers={"X-Api-Key": "k3y"},
            params={"key": "p4ram"},
        )
        client.pin_trusted_certificate_public_key("pinned.cer")
        told = client.resource_request("/a", scope="one").send().json
        assert ["Authorization", "Bearer token0~one"] in told["headers"]
        (request,) = api.server.requests
        assert request.target == TOKEN_PATH
        names = {name.lower() for name, _ in request.headers.items()}
        assert {"cookie", "x-api-key"}.isdisjoint(names)


@pytest.mark.parametrize(
    "options",
    [
        {"client_id": "a"},
        {"client_secret": "a"},
        {"client_id": "", "client_secret": "a"},
        {"client_id": "a", "client_secret": ""},
        {"client_id": "", "client_secret": ""},
        {"token_url": "https://localhost/"},
        {"client_id": "a", "client_secret": "b"},  # and no base URL
        {"client_id": "a", "client_secret": "b", "token_url": "/token"},
        {"client_id": "\udc80", "client_secret": "b", "token_url": "https://localhost/token"},
        {"client_id": "a", "client_secret": "b", "token_url": "https://a:b@localhost/token"},
    ],
)
def test_half_of_what_is_needed_is_an_error_at_once(make, options):
    with pytest.raises(ValueError, match=r"client_id|base_url|URL"):
        make(**options)


@pytest.mark.parametrize("scope", ["ü", 'a"b', "a\\b", "a\x7fb", "a\x00"])
def test_a_scope_that_is_none_is_an_error(api, client, scope):
    with pytest.raises(ValueError, match="scope"):
        client.obtain_access_token(scope)
    with pytest.raises(ValueError, match="scope"):
        client.resource_request("/a", scope=scope)
    with pytest.raises(TypeError, match="scope"):
        client.obtain_access_token(["a"])
    assert api.server.connections == []


# Answers


@pytest.mark.parametrize(
    ("more", "scope"),
    [
        ({"scope": None}, "one two"),
        ({"scope": "two one"}, "one two"),
        ({"scope": "one"}, "one"),
        ({"scope": "three one"}, "one three"),
        ({"token_type": "bEARER"}, "one two"),
        ({"refresh_token": "r", "expires_at": "1", "other": {}}, "one two"),
    ],
)
def test_what_the_server_grants_is_what_the_token_says(api, client, more, scope):
    api.give = lambda api, asked: answer_of_the_token_endpoint("value", asked, **more)
    token = client.obtain_access_token("one two")
    assert (token.value, token.scope) == ("value", scope)


@pytest.mark.parametrize(
    "more",
    [
        {"access_token": None},
        {"access_token": ""},
        {"access_token": 1},
        {"access_token": "a b"},
        {"access_token": "a\r\nX-Injected: 1"},
        {"access_token": "é"},
        {"access_token": "=a"},
        {"access_token": "a,b"},
        {"token_type": None},
        {"token_type": "mac"},
        {"token_type": ["Bearer"]},
        {"scope": 'a"b'},
        {"scope": ["one"]},
        {"scope": 1},
        {"expires_in": -1},
        {"expires_in": True},
        {"expires_in": "soon"},
        {"expires_in": "١٢"},
        {"expires_in": "-1"},
        {"expires_in": "9" * 5000},
        {"expires_in": float("nan")},
        {"expires_in": float("inf")},
        {"expires_in": []},
        {"error": 1, "access_token": None},
    ],
    ids=str,
)
def test_an_answer_that_is_no_token_is_an_error_and_tells_no_token(api, client, more):
    more = {"access_token": "v4lue", **more}
    api.give = lambda api, scope: answer_of_the_token_endpoint("", scope, **more)
    with pytest.raises(ServerError, match="the token endpoint's answer") as caught:
        client.obtain_access_token("one")
    assert (caught.value.status, caught.value.body) == (200, "")
    assert "v4lue" not in str(caught.value)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"access_token=v4lue&token_type=Bearer",
        b"[]",
        b"null",
        b'"token"',
        b"\xff",
        b"[" * 100_000,
        b'{"access_token": "v4lue", "token_type": "Bearer"',
    ],
)
def test_an_answer_that_is_no_json_object_is_an_error(api, client, body):
    api.give = lambda api, scope: Response(body)
    with pytest.raises(ServerError, match="the token endpoint's answer") as caught:
        client.obtain_access_token("one")
    assert caught.value.body == ""


def test_an_endless_answer_is_not_read_to_its_end(api, client):
    api.give = lambda api, scope: Response(b" " * 50_000_000)
    with pytest.raises(ServerError, match="longer than 262144 bytes"):
        client.obtain_access_token("one")


@pytest.mark.parametrize("status", [400, 401, 403])
def test_the_servers_refusal_is_told(api, client, status):
    body = json.dumps({"error": "invalid_scope", "error_description": "no\r\nsuch scope: é"})
    api.give = lambda api, scope: Response(body.encode(), status)
    for fails in (
        lambda: client.obtain_access_token("b a"),
        lambda: client.resource_request("/a", scope="b a").send(),
    ):
        with pytest.raises(AuthorizationRefused, match="'a b': invalid_scope: no") as caught:
            fails()
        refused = caught.value
        assert (refused.error, refused.status, refused.scope) == ("invalid_scope", status, "a b")
        assert refused.error_description == "no??such scope: ?"
    assert len(api.server.requests) == 2  # refusals are not kept


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, b"broken"),
        (503, b'{"error": "server_error"}'),
        (404, b"where?"),
        (400, b'{"error": 1}'),
    ],
)
def test_other_failures_of_the_token_endpoint_are_the_servers(api, client, status, body):
    api.give = lambda api, scope: Response(body, status)
    with pytest.raises(ServerError, match=f"status {status}") as caught:
        client.obtain_access_token("a")
    assert (caught.value.status, caught.value.body) == (status, body.decode())


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_without_a_reason_is_one(api, client, status):
    """As glewlwyd answers to a wrong secret."""
    api.give = lambda api, scope: Response(b"", status)
    with pytest.raises(AuthorizationRefused, match=f"status {status}") as caught:
        client.obtain_access_token("a")
    assert (caught.value.error, caught.value.status) == (None, status)


def test_environment_variables_of_oauthlib_change_nothing(api, client, monkeypatch):
    for name in ("INSECURE_TRANSPORT", "RELAX_TOKEN_SCOPE", "IGNORE_SCOPE_CHANGE"):
        monkeypatch.setenv(f"OAUTHLIB_{name}", "1")
    monkeypatch.setenv("OAUTHLIB_STRICT_TOKEN_TYPE", "1")
    api.give = lambda api, scope: answer_of_the_token_endpoint("v", "less")
    assert client.obtain_access_token("more less").scope == "less"
    monkeypatch.delenv("OAUTHLIB_STRICT_TOKEN_TYPE")
    api.give = lambda api, scope: answer_of_the_token_endpoint("v", scope, token_type=None)
    with pytest.raises(ServerError, match="token_type"):
        client.obtain_access_token("other")


def test_without_oauthlib_the_extra_is_named(api, client, monkeypatch):
    monkeypatch.setitem(sys.modules, "oauthlib.oauth2", None)
    with pytest.raises(MissingExtra, match=r"keypin\[client\]"):
        client.obtain_access_token("a")


# How long they are kept


def test_a_token_is_kept_by_its_scope_however_that_is_written(api, client):
    tokens = {client.obtain_access_token(s) for s in ("a b", "b a", " a  b a ", "\ta\nb")}
    assert len(tokens) == 1
    assert client.obtain_access_token("a") not in tokens
    assert client.obtain_access_token("A b") not in tokens
    assert api.scopes == ["a b", "a", "A b"]


def test_a_token_that_was_cleared_is_not_used_again(api, client):
    api.give = lambda api, scope: answer_of_the_token_endpoint(
        "same" if len(api.issued) < 2 else "new", api.new(scope) and scope
    )
    token = client.obtain_access_token("a")
    assert client.obtain_access_token("b").value == "same"
    client.clear_access_token(token)
    client.clear_access_token(token)
    assert client.obtain_access_token("a").value == "new"
    assert client.obtain_access_token("b").value == "new"
    client.clear_access_token(token)  # this one is long gone
    assert client.obtain_access_token("b").value == "new"
    assert len(api.issued) == 4


@pytest.mark.parametrize(
    ("expires_in", "kept", "expires"),
    [
        (3600, True, 3600),
        ("3600", True, 3600),
        (3600.9, True, 3600),
        (None, True, None),
        (0, False, 0),
        (10**17, True, 2**31 - 1),
    ],
)
def test_a_token_is_kept_until_it_expires(api, client, expires_in, kept, expires):
    api.give = lambda api, scope: answer_of_the_token_endpoint(
        api.new(scope), scope, expires_in=expires_in
    )
    token = client.obtain_access_token("a")
    assert (client.obtain_access_token("a") is token) == kept
    if expires is None:
        assert token.expires_at is None
    else:
        left = (token.expires_at - datetime.now(UTC)).total_seconds()
        assert expires - 30 < left <= expires


@pytest.mark.parametrize(("lifetime", "early"), [(3600, 60), (600, 60), (100, 10), (10, 1)])
def test_a_token_is_replaced_shortly_before_it_expires(lifetime, early):
    """60 seconds, or a tenth of its life if that is less; whichever clock says so."""
    now, monotonic = datetime.now(UTC), time.monotonic()
    hour = 3600
    for left, fresh in ((early + 5, True), (early - 0.5, False)):
        by_wall = AccessToken("v", "", now + timedelta(seconds=left))
        assert Grant(by_wall, monotonic + hour, lifetime).fresh == fresh
        in_an_hour = AccessToken("v", "", now + timedelta(seconds=left + hour))
        assert Grant(in_an_hour, monotonic - lifetime + left, lifetime).fresh == fresh


def test_the_number_of_tokens_kept_is_bounded():
    cache = TokenCache(lambda: None, threading.Event)
    for number in range(SCOPES + 1):
        flight = cache.flight(str(number))
        assert cache.board(flight) is flight
        cache.land(flight, Grant(AccessToken("v", "", None), 0, None))
    assert isinstance(cache.board(cache.flight(str(SCOPES))), AccessToken)
    assert not isinstance(cache.board(cache.flight("0")), AccessToken)


@pytest.mark.parametrize("version", VERSIONS)
def test_tokens_are_forgotten_with_the_pins_under_which_they_were_obtained(api, client):
    """Their server may be one that is pinned no more."""
    token = client.obtain_access_token("a")
    client.pin_trusted_certificate_public_key(["pinned.cer", "unpinned.cer"])
    api.server.serve(unpinned())
    assert client.obtain_access_token("a") is not token
    client.pin_trusted_certificate_public_key("pinned.cer")
    api.server.drop_connections()
    with pytest.raises(PinMismatch):
        client.obtain_access_token("a")
    api.server.serve(pinned())
    assert client.obtain_access_token("a").value == "token2~a"


# Those who need the same one


class Gate:
    """A token endpoint that answers when it is let."""

    def __init__(self, api, answer=None):
        self.asked = threading.Semaphore(0)
        self._open = threading.Semaphore(0)
        self._answer = answer
        api.give = self

    def __call__(self, api, scope):
        self.asked.release()
        assert self._open.acquire(timeout=20)
        return self._answer or answer_of_the_token_endpoint(api.new(scope), scope)

    def wait(self):
        assert self.asked.acquire(timeout=20)

    def open(self, times=1):
        self._open.release(times)


@pytest.fixture
def options(api, folder, tmp_path):
    return {
        "base_url": api.server.url_for(HOST, BASE),
        "certificates": folder,
        "cafile": tmp_path / "ca.pem",
        "client_id": CLIENT_ID,
        "client_secret": SECRET,
        "trust_env": False,
    }


@pytest.fixture
def blocking(options):
    with Client(**options) as client:
        client.pin_trusted_certificate_public_key("pinned.cer")
        yield client


def waiting(client, number):
    """Return when so many callers wait for others' requests."""
    flights = client._flows.tokens._flights
    while True:
        for flight in list(flights.values()):
            if len(flight.event._cond._waiters) >= number:
                return


def test_threads_share_a_request(api, blocking):
    gate = Gate(api)
    with ThreadPoolExecutor(8) as pool:
        tokens = [pool.submit(blocking.obtain_access_token, "a") for _ in range(8)]
        gate.wait()
        waiting(blocking, 7)
        other = Gate(api)  # another scope does not wait
        other.open()
        assert blocking.obtain_access_token("b").scope == "b"
        gate.open()
        assert len({token.result(20).value for token in tokens}) == 1
    assert sorted(api.scopes) == ["a", "b"]


def test_threads_share_a_refusal_which_is_not_kept(api, blocking):
    refusal = Response(b'{"error": "invalid_client"}', 401)
    gate = Gate(api, refusal)
    with ThreadPoolExecutor(4) as pool:
        failures = [pool.submit(blocking.obtain_access_token, "a") for _ in range(4)]
        gate.wait()
        waiting(blocking, 3)
        gate.open()
        errors = [failure.exception(20) for failure in failures]
    assert {error.error for error in errors} == {"invalid_client"}
    assert len({id(error) for error in errors}) == 4  # each has a traceback of its own
    assert len(api.server.requests) == 1
    Gate(api).open()
    assert blocking.obtain_access_token("a").value == "token0~a"


def test_whoever_runs_out_of_time_does_so_alone(api, blocking):
    gate = Gate(api)
    with ThreadPoolExecutor(3) as pool:
        hasty = pool.submit(blocking.obtain_access_token, "a", timeout=0.3)
        gate.wait()
        patient = [pool.submit(blocking.obtain_access_token, "a") for _ in range(2)]
        assert isinstance(hasty.exception(20), RequestTimeout)
        gate.wait()  # one of the others asks again
        with pytest.raises(RequestTimeout):  # and does not wait for ever
            blocking.obtain_access_token("a", timeout=0.1)
        gate.open(2)
        assert len({token.result(20).value for token in patient}) == 1


@pytest.mark.parametrize("run", [asyncio.run, trio.run], ids=["asyncio", "trio"])
def test_tasks_share_a_request(api, options, run):
    gate = Gate(api)

    async def main():
        tokens = []

        async def obtain(client):
            tokens.append(await client.obtain_access_token("a"))

        async with AsyncClient(**options) as client:
            await client.pin_trusted_certificate_public_key("pinned.cer")
            async with anyio.create_task_group() as tasks:
                for _ in range(8):
                    tasks.start_soon(obtain, client)
                await anyio.to_thread.run_sync(gate.wait)
                gate.open()
        assert len(tokens) == 8
        assert len(set(tokens)) == 1

    run(main) if run is trio.run else run(main())
    assert api.scopes == ["a"]


@pytest.mark.parametrize("run", [asyncio.run, trio.run], ids=["asyncio", "trio"])
def test_a_task_that_is_cancelled_takes_no_other_with_it(api, options, run):
    gate = Gate(api)

    async def main():
        tokens = []

        async def obtain(client):
            tokens.append(await client.obtain_access_token("a"))

        async with AsyncClient(**options) as client:
            await client.pin_trusted_certificate_public_key("pinned.cer")
            hasty = anyio.CancelScope()

            async def obtain_in_haste():
                with hasty:
                    await obtain(client)

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(obtain_in_haste)
                await anyio.to_thread.run_sync(gate.wait)
                tasks.start_soon(obtain, client)
                tasks.start_soon(obtain, client)
                with pytest.raises(RequestTimeout):
                    await client.obtain_access_token("a", timeout=0.1)
                hasty.cancel()
                await anyio.to_thread.run_sync(gate.wait)  # one of the others asks again
                gate.open(2)
        assert len(tokens) == 2
        assert len(set(tokens)) == 1

    run(main) if run is trio.run else run(main())


def test_requests_that_find_a_token_invalid_at_once_replace_it_once(api, blocking):
    ready = threading.Barrier(4)

    def resource(request):
        value = (request.headers["Authorization"] or "").removeprefix("Bearer ")
        if value == "token0~a":
            ready.wait(20)  # all four were sent with it
            return bearer('error="invalid_token"')
        return Api.echo(request)

    api.paths[BASE + "/a"] = resource
    blocking.obtain_access_token("a")
    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(blocking.resource_request("/a", scope="a").send) for _ in range(4)]
        assert all(answer.result(20).ok for answer in answers)
    assert api.scopes == ["a", "a"]


def test_pins_that_are_replaced_while_a_token_is_asked_for(api, options):
    """Neither the one who asks nor those who wait get what came from under the old ones."""
    cache_pins = [object()]
    cache = TokenCache(lambda: cache_pins[0], threading.Event)
    flight = cache.flight("a")
    assert cache.board(flight) is cache.board(cache.flight("a")) is flight
    cache_pins[0] = object()
    newer = cache.flight("a")
    assert cache.board(newer) is newer
    assert cache.land(flight, Grant(AccessToken("old", "a", None), 0, None)) is None
    assert flight.event.is_set()
    assert flight.outcome is None
    assert cache.board(cache.flight("a")) is newer
    new = AccessToken("new", "a", None)
    assert cache.land(newer, Grant(new, 0, None)) is new
    assert cache.board(cache.flight("a")) is new


def test_pins_that_are_replaced_and_come_back_while_a_token_is_asked_for():
    before, between = object(), object()
    cache_pins = [before]
    cache = TokenCache(lambda: cache_pins[0], threading.Event)
    old = cache.flight("a")
    cache.board(old)
    cache_pins[0] = between
    cache.board(cache.flight("b"))
    cache_pins[0] = before
    new = cache.flight("a")
    assert cache.board(new) is new
    grant = Grant(AccessToken("v", "a", None), 0, None)
    assert cache.land(old, grant) is None
    assert cache.board(cache.flight("a")) is new
    assert cache.land(new, grant) is grant.token


class Interrupted(KeyboardInterrupt):
    """As by Ctrl-C, in the thread that runs the tests."""


@contextmanager
def interrupting(step):
    """Interrupt this thread at a line of the flow or its runner."""
    steps = itertools.count()
    outer = sys.gettrace()

    def trace(frame, event, argument):
        if Path(frame.f_code.co_filename).name not in ("_flows.py", "_running.py", "_tokens.py"):
            return None
        if event == "line" and next(steps) == step:
            sys.settrace(outer)
            raise Interrupted
        return trace

    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(outer)


def test_wherever_the_one_who_asks_is_interrupted_nobody_waits_for_ever(blocking):
    """Also while its traceback is still held, which holds its flow."""
    interrupted = []
    for step in itertools.count():
        scope = f"s{step}"
        try:
            with interrupting(step):
                blocking.obtain_access_token(scope)
            break
        except Interrupted as error:
            interrupted.append(error)
        assert blocking._flows.tokens._flights == {}
        assert remaining() is None  # nor is there an end for what this thread does next
    assert step == len(interrupted) > 50


def test_a_flow_that_the_garbage_collector_ends_in_the_middle_of_another(options):
    """It takes the lock of the cache in a thread that holds it."""
    collected = []

    def epoch():
        if collected:
            gc.collect()
        return None

    flows = Flows(httpx2.URL(options["base_url"]), "i", "s", None, epoch, threading.Event)
    abandoned = flows.obtain("a")
    next(abandoned)
    cycle = [abandoned]
    cycle.append(cycle)
    weakref.finalize(abandoned, collected.append, "ended")
    del abandoned, cycle
    collected.append("begun")
    thread = threading.Thread(target=lambda: next(flows.obtain("b")), daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive()
    assert collected == ["begun", "ended"]
    assert "a" not in flows.tokens._flights
