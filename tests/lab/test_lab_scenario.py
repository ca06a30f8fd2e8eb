"""Stage and judge: what came of a case follows from what servers received."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import ssl
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import pytest

import keypin
from keypin import Pinner, PinSet, Rule
from keypin.lab import (
    Case,
    ConnectProxy,
    Listener,
    Scenario,
    Server,
    Stage,
    scenarios,
    stall,
)
from keypin.lab.cast import Cast, cast_of
from keypin.lab.environment import TRUST_VARIABLES
from keypin.lab.stage import PLACES

SECRET = "s3cr3t-t0ken"
SRC = Path(keypin.__file__).parents[1]


def scenario(build, expected="reject", **more) -> Scenario:
    return Scenario("sample", "samples", "A sample.", expected, "none", build, **more)


def impostor(stage: Stage) -> None:
    stage.attacker(stage.serving(stage.cast.impostor))


def honest(stage: Stage) -> None:
    stage.honest(stage.serving(stage.cast.pinned))


REJECT, ACCEPT = scenario(impostor), scenario(honest, "accept")


def get(stage: Stage, context: ssl.SSLContext | None = None) -> None:
    request = urllib.request.Request(
        f"{stage.url}/account?{SECRET}", headers={"Authorization": f"Bearer {SECRET}"}
    )
    context = context or ssl.create_default_context(cafile=stage.cafile)
    with urllib.request.urlopen(request, context=context, timeout=20) as response:
        response.read()


def pinned_get(stage: Stage) -> None:
    get(stage, Pinner(stage.pinset).create_context(cafile=stage.cafile))


def connect(stage: Stage, context: ssl.SSLContext | None = None) -> ssl.SSLSocket:
    context = context or ssl.create_default_context(cafile=stage.cafile)
    tcp = socket.create_connection(stage.address, timeout=20)
    return context.wrap_socket(tcp, server_hostname=stage.host)


# Rejections


@pytest.mark.parametrize("key", ["p-256", "rsa-2048", "ed25519"])
def test_a_pinned_client_is_right_and_another_wrong(version, key):
    case = Case(REJECT, version, key)
    with case.stage() as stage:
        with pytest.raises(OSError):
            pinned_get(stage)
        judged = stage.judge("failed")
        assert (judged.outcome, judged.attempts, judged.application_bytes) == ("right", 1, 0)
    with case.stage() as stage:
        get(stage)
        judged = stage.judge()
    assert (judged.outcome, judged.case) == ("wrong", case)
    assert judged.application_bytes > 0
    assert "beginning 'GET /account?… HTTP/1.1', with the header Authorization" in str(judged)
    assert SECRET not in str(judged)


def test_every_attempt_is_counted():
    with REJECT.stage() as stage:
        for _ in range(3):
            with pytest.raises(OSError):
                pinned_get(stage)
        assert stage.judge("failed").attempts == 3


def test_a_client_certificate_that_is_shown_counts(version):
    with Case(REJECT, version, "p-256").stage() as stage:
        context = ssl.create_default_context(cafile=stage.cafile)
        context.load_cert_chain(stage.client_certificate)
        with connect(stage, context):
            judged = stage.judge()
        assert (judged.outcome, judged.application_bytes) == ("wrong", 0)
        assert judged.client_certificates == 1
        assert judged.reasons == ("an attacker received the client's certificate",)


def test_what_is_sent_without_tls_counts():
    with REJECT.stage() as stage, socket.create_connection(stage.address) as tcp:
        tcp.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        judged = stage.judge("failed")
    assert judged.outcome == "wrong"
    assert "in the clear, without TLS" in judged.reasons[0]


def test_what_a_pooled_connection_has_sent_is_waited_for():
    with REJECT.stage() as stage, connect(stage) as tls:
        tls.sendall(b"x" * 300_000)
        assert stage.judge().application_bytes == 300_000


def test_a_client_that_hangs_is_wrong_and_one_that_crashed_proves_nothing():
    with REJECT.stage() as stage, connect(stage):
        judged = stage.judge("hung", "it was still running after 5.0 s")
        assert (judged.outcome, judged.reasons) == ("wrong", ("it was still running after 5.0 s",))
        judged = stage.judge("crashed", "it was ended by signal 11")
        assert (judged.outcome, judged.reasons) == ("inconclusive", ("it was ended by signal 11",))


def test_a_client_that_reports_success_where_it_was_refused_is_asked_whether_it_noticed():
    with REJECT.stage() as stage:
        with connect(stage):
            judged = stage.judge()
    assert judged.outcome == "right"
    assert "does it notice that?" in judged.reasons[-1]


def test_a_client_that_does_not_come_proves_nothing():
    with REJECT.stage() as stage:
        judged = stage.judge("failed", "its exit code was 2")
    assert judged.outcome == "inconclusive"
    assert judged.reasons == (
        "the client made no connection to the attacker",
        "its exit code was 2",
    )
    with scenario(impostor, must_arrive=False).stage() as stage:
        assert stage.judge("failed").outcome == "right"


def test_a_client_that_does_not_begin_tls_proves_nothing():
    with REJECT.stage() as stage:
        socket.create_connection(stage.address).close()
        judged = stage.judge("failed")
    assert judged.outcome == "inconclusive"
    assert judged.attempts == 1
    assert "did not begin TLS" in judged.reasons[0] or "EOF" in judged.reasons[0]


def test_an_attacker_that_never_answers_has_been_met_by_a_connection():
    stalling = scenario(
        lambda stage: stage.attacker(stage.serving(stage.cast.pinned, before_tls=stall))
    )
    with stalling.stage() as stage:
        socket.create_connection(stage.address).close()
        assert stage.judge("failed").outcome == "right"


def test_a_connection_to_another_server_is_no_visit_to_the_attacker():
    def build(stage: Stage) -> None:
        honest(stage)
        impostor(stage)

    with scenario(build).stage() as stage:
        get(stage)
        assert stage.judge().outcome == "inconclusive"


def test_further_reasons_and_doubts_of_a_scenario():
    found: dict[str, list[str]] = {"against": [], "doubts": []}

    def build(stage: Stage) -> None:
        impostor(stage)
        stage.judge_also(lambda: found["against"])
        stage.doubt_also(lambda: found["doubts"])

    with scenario(build).stage() as stage:
        with pytest.raises(OSError):
            pinned_get(stage)
        found["doubts"].append("it never asked")
        judged = stage.judge("failed")
        assert (judged.outcome, judged.reasons) == ("inconclusive", ("it never asked",))
        found["against"].append("it told a secret")
        judged = stage.judge("failed")
        assert (judged.outcome, judged.reasons) == ("wrong", ("it told a secret",))


def test_an_honest_server_may_be_made_to_do_the_attackers_work():
    with scenario(honest).stage() as stage:
        assert stage.judge("failed").outcome == "inconclusive"
        get(stage)
        judged = stage.judge()
        assert (judged.outcome, judged.attempts) == ("right", 1)


def test_a_connect_request_to_an_attackers_proxy_does_not_count():
    def build(stage: Stage) -> None:
        honest(stage)
        proxy = stage.attacker(ConnectProxy(intercept=stage.cast.impostor))
        stage.proxy = proxy.url

    def by_proxy(stage: Stage, context: ssl.SSLContext) -> ssl.SSLSocket:
        host, port = stage.proxy.removeprefix("http://").split(":")
        tcp = socket.create_connection((host, int(port)), timeout=20)
        tcp.sendall(f"CONNECT localhost:{stage.port} HTTP/1.1\r\n\r\n".encode())
        assert b" 200 " in tcp.recv(1000)
        try:
            return context.wrap_socket(tcp, server_hostname="localhost")
        except BaseException:
            tcp.close()
            raise

    with scenario(build, needs=frozenset({"proxy"})).stage() as stage:
        with pytest.raises(keypin.PinMismatch):
            by_proxy(stage, Pinner(stage.pinset).create_context(cafile=stage.cafile))
        judged = stage.judge("failed")
        assert (judged.outcome, judged.application_bytes, judged.attempts) == ("right", 0, 1)
        with by_proxy(stage, ssl.create_default_context(cafile=stage.cafile)) as tls:
            tls.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            tls.recv(1000)
            assert stage.judge().outcome == "wrong"


def test_what_is_sent_to_a_proxy_that_answers_itself_counts():
    def build(stage: Stage) -> None:
        stage.attacker(Server(None))

    with scenario(build).stage() as stage, socket.create_connection(stage.address) as tcp:
        tcp.sendall(b"CONNECT localhost:1 HTTP/1.1\r\n\r\n")
        tcp.recv(1000)
        judged = stage.judge("failed")
        assert (judged.outcome, judged.application_bytes) == ("right", 0)
    with scenario(build).stage() as stage, socket.create_connection(stage.address) as tcp:
        tcp.sendall(b"CONNECT localhost:1 HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n")
        judged = stage.judge("failed")
        assert (judged.outcome, judged.application_bytes) == ("wrong", 18)


def test_the_beginning_of_tls_at_a_server_without_it_does_not_count():
    with scenario(lambda stage: stage.attacker(Server(None))).stage() as stage:
        with pytest.raises(OSError):
            connect(stage)
        judged = stage.judge("failed")
        assert (judged.outcome, judged.attempts, judged.application_bytes) == ("right", 1, 0)


class Closing(Listener):
    """A server whose library closes the socket before the handler ends."""

    def _handle(self, connection, sock) -> None:
        sock.close()
        ended.wait(20)


ended = threading.Event()


def test_a_socket_that_a_server_has_closed_by_itself_brings_nothing():
    with scenario(lambda stage: stage.attacker(Closing())).stage() as stage:
        socket.create_connection(stage.address).close()
        assert stage.judge("failed").outcome == "right"
        ended.set()


def test_how_it_stands_can_be_asked_for_meanwhile_and_forgotten():
    for played in (REJECT, ACCEPT):
        with played.stage() as stage:
            assert stage.standing().outcome == "inconclusive"
            get(stage)
            found = stage.judge()
            assert stage.standing() == found
            assert found.outcome == ("wrong" if played is REJECT else "right")
            stage.forget()
            assert stage.standing().attempts == 0
            assert stage.standing().outcome == "inconclusive"
            get(stage)
            assert stage.judge() == found


class Failing(Listener):
    """A server with a mistake in it."""

    def _handle(self, connection, sock) -> None:
        sock.recv(1)
        raise KeyError("mistake")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_server_that_fails_by_itself_proves_nothing():
    with scenario(lambda stage: stage.attacker(Failing())).stage() as stage:
        with socket.create_connection(stage.address) as tcp:
            tcp.sendall(b"x")
            tcp.recv(1)
        judged = stage.judge("failed")
    assert judged.outcome == "inconclusive"
    assert "the lab's own Failing failed: KeyError: 'mistake'" in judged.reasons


class Deaf(Listener):
    """A server of another make, that is slow to look and tells late."""

    def _handle(self, connection, sock) -> None:
        while data := sock.recv(1):
            connection.received(data)


def test_a_listener_of_any_kind_is_waited_for():
    with scenario(lambda stage: stage.attacker(Deaf())).stage() as stage:
        with socket.create_connection(stage.address) as tcp:
            tcp.sendall(b"x" * 3000)
            assert stage.judge("failed").application_bytes == 3000


# Acceptance


def test_the_request_has_to_arrive_and_the_client_to_succeed(version):
    with Case(ACCEPT, version, "p-256").stage() as stage:
        judged = stage.judge("failed", "its exit code was 7")
        assert judged.outcome == "inconclusive"
        assert judged.reasons[-1] == "its exit code was 7"
        with connect(stage):
            pass
        judged = stage.judge("failed", "its exit code was 60")
        assert judged.outcome == "wrong"
        assert "the honest server received no request" in judged.reasons[0]
        pinned_get(stage)
        judged = stage.judge("failed", "its exit code was 1")
        assert judged.outcome == "wrong"
        assert judged.reasons == ("the request arrived, but its exit code was 1",)
        assert stage.judge().outcome == "right"


def test_each_honest_server_has_to_be_reached_and_no_attacker():
    def build(stage: Stage) -> None:
        first = stage.honest(stage.serving(stage.cast.pinned))
        second = stage.honest(stage.serving(stage.cast.backup))
        third = stage.attacker(stage.serving(stage.cast.impostor))
        stage.url = first.url_for("localhost")
        stage.second_url = second.url_for("localhost")
        addresses.append(third.url_for("localhost"))

    addresses: list[str] = []
    with scenario(build, "accept").stage() as stage:
        pinned_get(stage)
        assert stage.judge().outcome == "wrong"
        stage.url = stage.second_url
        pinned_get(stage)
        assert stage.judge().outcome == "right"
        stage.url = addresses[0]
        get(stage)
        assert stage.judge().outcome == "wrong"


# What clients are told


def test_what_a_client_is_told(tmp_path):
    with ACCEPT.stage(tmp_path) as stage:
        host, port = stage.address
        assert stage.url == stage.second_url == f"https://localhost:{port}"
        assert (stage.host, stage.port, stage.proxy) == ("localhost", port, None)
        assert set(stage.places) == set(PLACES)
        assert stage.places["address"] == f"{host}:{port}"
        assert Path(stage.certificate).read_bytes() == stage.cast.pinned.certificate
        assert len(list(Path(stage.certificates).iterdir())) == 2
        assert PinSet.load(stage.pin_file) == stage.pinset
        assert set(stage.pinset.rule_for("localhost").pins) == set(stage.pins)
        assert stage.pin == stage.cast.pinned.pin
        assert stage.places["curl_pins"] == ";".join(
            f"sha256//{str(pin).removeprefix('sha256/')}" for pin in stage.pins
        )
        environment = stage.environment
        assert {environment[name] for name in TRUST_VARIABLES} == {stage.cafile}
        assert environment["NO_PROXY"] == "localhost,127.0.0.1"
        assert "HTTPS_PROXY" not in environment
        assert os.stat(stage.client_certificate).st_mode & 0o077 == 0


def test_a_scenario_says_what_a_client_is_told():
    def build(stage: Stage) -> None:
        honest(stage)
        stage.host = "www.example.com"
        stage.proxy = "http://127.0.0.1:1"
        stage.pins = [stage.cast.root.pin]
        stage.match = "chain"
        stage.trusted = stage.cast.root.pem

    with scenario(build, protocol="wss").stage() as stage:
        assert stage.url == f"wss://www.example.com:{stage.address[1]}"
        assert stage.pinset == PinSet([Rule("www.example.com", stage.pins, match="chain")])
        assert stage.environment["https_proxy"] == "http://127.0.0.1:1"
        assert stage.environment["NO_PROXY"] == ""
        assert Path(stage.cafile).read_text("ascii") == stage.cast.root.pem


def test_nothing_is_left_of_a_stage_that_could_not_be_built():
    started: list[Server] = []

    def build(stage: Stage) -> None:
        started.append(stage.attacker(stage.serving(stage.cast.impostor)))
        raise RuntimeError("no such library")

    stage = scenario(build).stage()
    with pytest.raises(RuntimeError, match="no such library"):
        stage.__enter__()
    with pytest.raises(RuntimeError, match="does not listen"):
        started[0].port  # noqa: B018
    assert not stage.folder.exists()


def test_cases_that_begin_at_the_same_time_have_one_cast():
    found: set[tuple[Cast, bytes]] = set()
    barrier = threading.Barrier(8)

    def begin() -> None:
        barrier.wait()
        cast = cast_of("p-384")
        found.add((cast, cast.pinned.certificate))

    threads = [threading.Thread(target=begin) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 1


# The catalogue


def test_the_catalogue_can_be_narrowed_down():
    everything = scenarios()
    assert len({it.identifier for it in everything}) == len(everything)
    assert {it.expected for it in everything} == {"reject", "accept"}
    accepted = scenarios("accepted", "https", "accept")
    assert "pinned-key" in map(str, accepted)
    assert {(it.group, it.protocol, it.expected) for it in accepted} == {
        ("accepted", "https", "accept")
    }
    assert scenarios("no-such-group") == []


@pytest.mark.parametrize("it", scenarios(), ids=str)
def test_every_scenario_is_well_formed(it):
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", it.identifier)
    assert it.story.endswith(".")
    assert it.source
    assert it.needs <= PLACES.keys()
    assert len({str(case) for case in it.cases()}) == len(it.tls) * len(it.keys) > 0
    assert not it.control or (it.expected == "accept" and not it.needs)


def test_every_rejection_has_a_control_of_its_protocol():
    controls = {(it.protocol, case.key) for it in scenarios() if it.control for case in it.cases()}
    rejections = {(it.protocol, case.key) for it in scenarios(None, None, "reject")
                  for case in it.cases()}  # fmt: skip
    assert rejections <= controls


def test_importing_the_lab_does_not_load_the_catalogue():
    code = "import sys, keypin.lab; print(*(m for m in sys.modules if 'lab.catalogue.' in m))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip()) == (0, "")


# In tests


def test_check_passes_what_is_right():
    with REJECT.stage() as stage:
        assert stage.check(lambda: pinned_get(stage)).outcome == "right"
    with ACCEPT.stage() as stage:
        assert stage.check(lambda: pinned_get(stage)).outcome == "right"


def test_check_raises_what_is_wrong_or_inconclusive():
    with REJECT.stage() as stage:
        with pytest.raises(AssertionError, match="inconclusive\n  the client made no connection"):
            stage.check(lambda: None)
        with pytest.raises(AssertionError, match="wrong\n  an attacker received"):
            stage.check(lambda: get(stage))
    with ACCEPT.stage() as stage, pytest.raises(AssertionError, match="it raised KeyError: 'x'"):
        stage.check(lambda: {}["x"])


def test_check_names_the_authorities_in_the_environment_meanwhile():
    before = dict(os.environ)
    with ACCEPT.stage() as stage:
        stage.check(lambda: get(stage, ssl.create_default_context()))
    assert dict(os.environ) == before


def test_check_of_an_async_client():
    async def client(stage: Stage, context: ssl.SSLContext) -> None:
        reader, writer = await asyncio.open_connection("localhost", stage.port, ssl=context)
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await reader.readline()
        writer.close()

    async def check(played: Scenario, *, pinned: bool) -> None:
        with played.stage() as stage:
            pinner = Pinner(stage.pinset)
            make = pinner.create_context if pinned else ssl.create_default_context
            await stage.check_async(lambda: client(stage, make(cafile=stage.cafile)))

    asyncio.run(check(REJECT, pinned=True))
    asyncio.run(check(ACCEPT, pinned=True))
    with pytest.raises(AssertionError, match="wrong"):
        asyncio.run(check(REJECT, pinned=False))


def test_a_function_that_returns_a_coroutine_is_told_what_to_do():
    async def client() -> None:
        pass

    with REJECT.stage() as stage, pytest.raises(TypeError, match="await check_async"):
        stage.check(lambda: client())


def test_the_pytest_fixture(tmp_path):
    tmp_path.joinpath("test_it.py").write_text(
        """
import ssl, urllib.request
import keypin, pytest
from keypin.lab import Scenario, scenarios

CASES = [case for scenario in scenarios()
         if scenario.identifier in ("pinned-key", "other-ca")
         for case in scenario.cases(key="p-256")]

def get(stage, make):
    urllib.request.urlopen(stage.url, context=make(cafile=stage.cafile)).close()

@pytest.mark.parametrize("scenario", CASES)
def test_pinned(scenario, lab_stage):
    make = keypin.Pinner(lab_stage.pinset).create_context
    lab_stage.check(lambda: get(lab_stage, make))

@pytest.mark.parametrize("scenario", CASES[-1:])
def test_ordinary(scenario, lab_stage):
    lab_stage.check(lambda: get(lab_stage, ssl.create_default_context))

def build(stage):
    raise ImportError("needs a thing")

@pytest.mark.parametrize(
    "scenario", [Scenario("odd", "samples", "A sample.", "reject", "none", build)]
)
def test_unavailable(scenario, lab_stage):
    pass

@pytest.mark.parametrize("scenario", ["other-ca"])
def test_misused(scenario, lab_stage):
    pass
"""
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-v", "-W", "error", "-rs", "-p", "_keypin_pytestplugin",
         "--rootdir", tmp_path],
        cwd=tmp_path,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(SRC)},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert "1 failed, 4 passed, 1 skipped, 1 error" in done.stdout, done.stdout
    assert "test_pinned[other-ca-tls1.3-p-256] PASSED" in done.stdout
    assert "AssertionError: other-ca-tls1.3-p-256: wrong\n" in done.stdout
    assert "an attacker received" in done.stdout
    assert "def check(" not in done.stdout
    assert "needs a thing" in done.stdout
    assert "lab_stage takes a Scenario or a Case" in done.stdout
