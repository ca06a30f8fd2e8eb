"""keypin.testing: a client that is pinned passes, and nothing else does."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import http.client
import importlib
import importlib.metadata
import os
import re
import smtplib
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.request
import warnings
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiofastnet
import aiohttp
import httpx
import pytest
import requests
import urllib3

import keypin
from keypin.client import Client
from keypin.lab import Authority, Echo
from keypin.testing import Bench, Bypassed, Inconclusive, assert_pinned, assert_pinned_async

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from keypin.lab import Channel
    from keypin.testing import LocalServer

SECRET = "s3cr3t-t0ken"
SRC = Path(keypin.__file__).parents[1]


def context_for(server: LocalServer) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=server.cafile)


def get(server: LocalServer, context: ssl.SSLContext | None = None) -> None:
    """What Python offers by itself, unpinned unless somebody pins it."""
    request = urllib.request.Request(
        f"{server.url}/v1/account/k3XnEYQCK79A/0123456789?token={SECRET}",
        headers={"Authorization": f"Bearer {SECRET}", "Cookie": f"id={SECRET}"},
    )
    with urllib.request.urlopen(request, context=context or context_for(server)) as response:
        response.read()


@contextlib.contextmanager
def connected(
    server: LocalServer, context: ssl.SSLContext | None = None
) -> Iterator[ssl.SSLSocket]:
    context = context or context_for(server)
    with (
        socket.create_connection((server.host, server.port), timeout=20) as tcp,
        context.wrap_socket(tcp, server_hostname=server.host) as tls,
    ):
        yield tls


def pinned_certificate(server: LocalServer) -> bytes:
    return Path(server.certificate).read_bytes()


def get_by_tlslite(server: LocalServer) -> None:
    """By a TLS implementation that is not Python's ssl."""
    with socket.create_connection((server.host, server.port), timeout=20) as tcp:
        connection = tlslite().TLSConnection(tcp)
        connection.ignoreAbruptClose = True
        connection.handshakeClientCert(serverName=server.host)
        connection.sendall(b"GET /account HTTP/1.0\r\n\r\n")
        assert connection.read(max=9)


@cache
def tlslite() -> Any:
    with warnings.catch_warnings():  # it uses what is deprecated
        warnings.simplefilter("ignore")
        return importlib.import_module("tlslite.api")


async def get_by_aiohttp(server: LocalServer, verify: object = None) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.get(server.url, ssl=verify or context_for(server)) as response,
    ):
        await response.read()


def report_of(error: pytest.ExceptionInfo[AssertionError]) -> str:
    text = str(error.value)
    assert SECRET not in text
    assert not [line for line in text.splitlines() if line != line.rstrip()]
    return text


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        # its DNS is not wanted here, and breaks where trio is installed
        env={**os.environ, "EVENTLET_NO_GREENDNS": "yes"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# Clients that are pinned


def test_a_client_that_keypin_pins_passes(version):
    assert_pinned(get, tls=[version], install=True)


def test_requests_trusts_the_authority_by_the_environment():
    assert_pinned(lambda server: requests.get(server.url), install=True)
    with requests.Session() as session:  # keeps its connections
        assert_pinned(lambda server: session.get(server.url), install=True)


def test_an_async_function_is_run_by_asyncio():
    assert_pinned(get_by_aiohttp, install=True)
    with pytest.raises(Bypassed):
        assert_pinned(get_by_aiohttp)


def test_in_a_running_event_loop_it_is_awaited():
    async def test() -> None:
        with pytest.raises(RuntimeError, match="await assert_pinned_async"):
            assert_pinned(get_by_aiohttp, install=True)
        await assert_pinned_async(get_by_aiohttp, install=True)
        with pytest.raises(Bypassed):
            await assert_pinned_async(get_by_aiohttp)

    asyncio.run(test())


def test_one_session_may_serve_all_calls_of_an_async_function():
    async def test() -> None:
        async with aiohttp.ClientSession() as session:

            async def check(server: LocalServer) -> None:
                async with session.get(server.url, ssl=context_for(server)) as response:
                    await response.read()

            await assert_pinned_async(check, install=True)

    asyncio.run(test())


def test_a_function_that_returns_a_coroutine_is_told_what_to_give():
    with pytest.raises(TypeError, match="give the async function itself"):
        assert_pinned(lambda server: get_by_aiohttp(server), install=True)


def get_by_client(server: LocalServer) -> None:
    file = Path(server.certificate)
    with Client(server.url, file.parent, server.cafile) as client:
        client.pin_trusted_certificate_public_key(file.name)
        client.get("/account")


def get_by_urllib3(server: LocalServer) -> None:
    fingerprint = hashlib.sha256(pinned_certificate(server)).hexdigest()
    with urllib3.HTTPSConnectionPool(
        server.host, server.port, assert_fingerprint=fingerprint, ca_certs=server.cafile
    ) as pool:
        pool.request("GET", "/account", retries=False)


OWN_PINS = {
    "keypin.client": (get_by_client, keypin.PinMismatch),
    "Pinner": (
        lambda server: get(server, keypin.Pinner(server.pins).create_context(cafile=server.cafile)),
        keypin.PinMismatch,
    ),
    "urllib3": (get_by_urllib3, urllib3.exceptions.SSLError),
}


@pytest.mark.parametrize(("check", "refusal"), OWN_PINS.values(), ids=OWN_PINS)
def test_a_client_that_pins_by_itself_passes(check, refusal, version):
    assert_pinned(check, refusal=refusal, tls=[version])


def test_a_fingerprint_of_aiohttp_passes():
    async def check(server: LocalServer) -> None:
        certificate = pinned_certificate(server)
        await get_by_aiohttp(server, aiohttp.Fingerprint(hashlib.sha256(certificate).digest()))

    assert_pinned(check, refusal=aiohttp.ServerFingerprintMismatch)


def test_what_the_client_makes_of_the_answer_does_not_matter():
    def check(server: LocalServer) -> None:
        get(server)
        raise ValueError("not the answer that I know")

    assert_pinned(check, install=True)


def test_an_exit_is_an_error_like_any_other():
    def check(server: LocalServer) -> None:
        try:
            get(server)
        except OSError:
            sys.exit("cannot connect")

    assert_pinned(check, install=True)


def test_a_server_that_talks_first():
    def check(server: LocalServer) -> None:
        context = context_for(server)
        with smtplib.SMTP_SSL(server.host, server.port, context=context, timeout=10) as client:
            client.noop()

    assert_pinned(check, application=Echo(b"220 mail\r\n"), install=True)


def start_tls_first(channel: Channel) -> bool:
    channel.sendall(b"220 mail\r\n")
    for answer in (b"250-mail\r\n250 STARTTLS\r\n", b"220 go ahead\r\n"):
        channel.recv()
        channel.sendall(answer)
    return True


@pytest.mark.parametrize("install", [True, False])
def test_tls_that_begins_in_mid_conversation(install):
    def check(server: LocalServer) -> None:
        with smtplib.SMTP(server.host, server.port, timeout=10) as client:
            client.starttls(context=context_for(server))
            client.putcmd("noop")
            client.getreply()

    if install:
        assert_pinned(check, before_tls=start_tls_first, application=Echo(), install=True)
    else:
        with pytest.raises(Bypassed, match=r"bytes, beginning 'noop …'"):
            assert_pinned(check, before_tls=start_tls_first, application=Echo())


# Clients that are not


def test_an_ordinary_client_is_not_pinned(version):
    with pytest.raises(Bypassed) as caught:
        assert_pinned(get, tls=[version])
    report = report_of(caught)
    first, arrived, meaning, *_ = report.splitlines()
    assert first == "the client is not pinned: a server without the pinned key received"
    assert re.fullmatch(
        r" +\d+ bytes, beginning 'GET /v1/account/…/…\?… HTTP/1.1',"
        r" with the headers Authorization and Cookie",
        arrived,
    )
    assert "of the trusted authority and for localhost; only its key is another" in meaning


def test_a_program_without_pins_is_not_pinned_though_keypin_could_pin_it():
    with pytest.raises(Bypassed) as caught:
        assert_pinned(lambda server: requests.get(server.url))
    assert "is told by assert_pinned(..., install=True)" in report_of(caught)


def test_a_program_that_installs_the_pins_is_tested_as_it_is():
    def check(server: LocalServer) -> None:
        with keypin.Pinner(server.pins).installed():
            requests.get(server.url)

    assert_pinned(check)


def test_pins_for_other_hosts_do_not_pin_the_test_servers_and_that_is_said():
    pins = keypin.PinSet(
        {"api.example.com": ["sha256/k3XnEYQCK79AtL9GYnT/nyhsabas03V+bhRQYHQbpXU="]}
    )
    with keypin.Pinner(pins).installed(), pytest.raises(Bypassed) as caught:
        assert_pinned(lambda server: requests.get(server.url))
    report = report_of(caught)
    assert "with pins for other hosts than localhost" in report
    assert "<PinSet api.example.com" in report
    assert "install=True" not in report


def test_the_pair_of_the_guide_holds_for_errors_that_are_no_oserror(servers):
    pinned, mispinned = servers
    with keypin.Pinner(pinned.pins).installed():
        httpx.get(pinned.url, verify=context_for(pinned))
        with pytest.raises(Exception) as caught:
            httpx.get(mispinned.url, verify=context_for(mispinned))
    assert not isinstance(caught.value, OSError)
    assert keypin.find_error(caught.value)
    assert mispinned.connections
    assert mispinned.received == b""


def test_another_tls_stack_is_found_out(servers):
    """And that keypin refuses what was open before it was installed does not count."""
    with connected(servers[0]), pytest.raises(Bypassed) as caught:
        assert_pinned(get_by_tlslite, install=True)
    report = report_of(caught)
    assert "keypin was installed, and was not asked about the connection" in report


def test_a_library_with_tls_of_its_own_is_named_with_its_way_to_pin():
    """Warnings are errors here, and UncoveredClient must not keep the client from its test."""
    code = """
import pycurl
from keypin.testing import Bypassed, assert_pinned

def get(server, pin=None):
    curl = pycurl.Curl()
    curl.setopt(pycurl.URL, server.url)
    curl.setopt(pycurl.CAINFO, server.cafile)
    curl.setopt(pycurl.WRITEFUNCTION, len)
    if pin:
        curl.setopt(pycurl.PINNEDPUBLICKEY, str(pin).replace("sha256/", "sha256//", 1))
    curl.perform()

try:
    assert_pinned(get, install=True)
except Bypassed as error:
    print(error)
assert_pinned(lambda server: get(server, server.pin), refusal=pycurl.error)
"""
    report = run(code)
    assert "pycurl is loaded here" in report
    assert "PINNEDPUBLICKEY" in report


def test_a_retry_by_another_way_is_found_out():
    def check(server: LocalServer) -> None:
        try:
            get(server)
        except OSError:
            get_by_tlslite(server)
            raise

    with pytest.raises(Bypassed) as caught:
        assert_pinned(check, install=True)
    assert "keypin was installed and refused a connection" in report_of(caught)


class Checking(ssl.SSLObject):
    """A user's own check behind the handshake, by the documented hook of `SSLContext`."""

    pinned = b""

    def do_handshake(self) -> None:
        super().do_handshake()
        if self.getpeercert(binary_form=True) != self.pinned:
            raise ssl.SSLCertVerificationError("not the pinned certificate")


def checking_client(connect: Callable[..., object]) -> Callable[[LocalServer], object]:
    async def check(server: LocalServer) -> None:
        context = context_for(server)
        certificate = pinned_certificate(server)
        context.sslobject_class = type("Checking", (Checking,), {"pinned": certificate})
        reader, writer = await connect(server.host, server.port, ssl=context)
        try:
            writer.write(b"GET /account HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await reader.readline()
        finally:
            writer.close()

    return check


def connect_by_aiofastnet(*arguments: object, **more: object) -> object:
    return aiofastnet.open_connection(asyncio.get_running_loop(), *arguments, **more)


def test_a_check_that_asyncio_heeds_and_aiofastnet_skips(version):
    own_check = {"refusal": ssl.SSLCertVerificationError, "tls": [version]}
    assert_pinned(checking_client(asyncio.open_connection), **own_check)
    with pytest.raises(Bypassed) as caught:
        assert_pinned(checking_client(connect_by_aiofastnet), **own_check)
    report = report_of(caught)
    assert "beginning 'GET /account HTTP/1.1'" in report
    assert "skipped by eventlet, aiofastnet" in report


def test_keypin_pins_what_aiofastnet_sends(version):
    assert_pinned(checking_client(connect_by_aiofastnet), tls=[version], install=True)


@pytest.fixture
def client_certificate(tmp_path: Path) -> Path:
    me = Authority("CA of clients").issue(common_name="me", extended_key_usage=["clientAuth"])
    file = tmp_path / "me.pem"
    file.write_bytes(me.key_pem + me.chain_pem)
    return file


def test_a_client_certificate_that_is_shown_is_found_out(client_certificate, version):
    def check(server: LocalServer) -> None:
        context = context_for(server)
        context.load_cert_chain(client_certificate)
        with connected(server, context) as tls:
            if tls.getpeercert(binary_form=True) != pinned_certificate(server):
                raise LookupError("not the pinned certificate")
            tls.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            tls.recv(100)

    with pytest.raises(Bypassed, match=r"received\n +the client's certificate\n"):
        assert_pinned(check, refusal=LookupError, tls=[version])
    assert_pinned(check, tls=[version], install=True)


def test_trust_on_first_use_is_no_pinning():
    known: dict[str, bytes] = {}

    def check(server: LocalServer) -> None:
        with connected(server) as tls:
            certificate = tls.getpeercert(binary_form=True)
            if known.setdefault(server.host, certificate) != certificate:
                raise LookupError("another certificate than the first time")
            tls.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            tls.recv(100)

    with pytest.raises(Bypassed):
        assert_pinned(check, refusal=LookupError)


def test_a_client_that_is_pinned_the_first_time_only_is_not_pinned():
    calls: list[LocalServer] = []

    def check(server: LocalServer) -> None:
        calls.append(server)
        pinner = keypin.Pinner(server.pins)
        get(server, pinner.create_context(cafile=server.cafile) if len(calls) < 3 else None)

    with pytest.raises(Bypassed):
        assert_pinned(check)
    assert len(calls) == 3


def test_a_request_in_the_clear_arrived_as_well():
    def check(server: LocalServer) -> None:
        try:
            get(server)
        except OSError:
            urllib.request.urlopen(f"http://{server.host}:{server.port}/account", timeout=10)

    with pytest.raises(Bypassed, match=r"\d+ bytes in the clear, without TLS, beginning 'GET /acc"):
        assert_pinned(check, install=True)


def test_what_arrives_later_counts():
    """A queue that is emptied when its next request goes out."""
    undelivered: list[LocalServer] = []

    def check(server: LocalServer) -> None:
        for other in undelivered:
            get_by_tlslite(other)
        undelivered.append(server)
        get(server)

    with pytest.raises(Bypassed):
        assert_pinned(check, install=True)
    assert len(undelivered) == 2


# Tests that prove nothing


def test_a_client_that_does_not_connect_proves_nothing():
    with pytest.raises(Inconclusive) as caught:
        assert_pinned(lambda server: None, install=True)
    first, *rest = report_of(caught).splitlines()
    assert first == "the client did not get through to the server with the pinned key either"
    assert "It made no connection to https://localhost:" in rest[0]


def test_the_error_that_kept_the_client_from_connecting_is_told():
    with pytest.raises(Inconclusive, match="ZeroDivisionError: division by zero") as caught:
        assert_pinned(lambda server: 1 / 0, install=True)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_client_that_calls_another_server_proves_nothing():
    first: list[LocalServer] = []

    def check(server: LocalServer) -> None:
        first.append(server)
        get(first[0])

    with pytest.raises(Inconclusive, match="it made 1 to other ports"):
        assert_pinned(check, install=True)


def test_a_client_that_does_not_trust_the_authority_proves_nothing(tmp_path):
    file = tmp_path / "another-ca.pem"
    file.write_text(Authority("another CA").pem)

    def by_urllib(server: LocalServer) -> None:
        get(server, ssl.create_default_context(cafile=file))

    def by_requests(server: LocalServer) -> None:
        requests.get(server.url, verify=str(file))

    async def by_aiohttp(server: LocalServer) -> None:
        await get_by_aiohttp(server, ssl.create_default_context(cafile=file))

    for check in (by_urllib, by_requests, by_aiohttp):
        with pytest.raises(Inconclusive, match="does not trust the authority of the servers: give"):
            assert_pinned(check, install=True)


def test_a_client_that_does_not_verify_is_told_what_keypin_says():
    def check(server: LocalServer) -> None:
        get(server, ssl._create_unverified_context())

    with pytest.raises(Inconclusive, match="the TLS context does not verify certificates"):
        assert_pinned(check, install=True)


def test_an_error_that_is_swallowed_proves_nothing():
    def check(server: LocalServer) -> None:
        with contextlib.suppress(OSError):
            get(server)

    with pytest.raises(Inconclusive, match="the call raised nothing") as caught:
        assert_pinned(check, install=True)
    assert "Let the error out" in report_of(caught)


def lose_the_cause(server: LocalServer) -> None:
    failed = False
    try:
        get(server)
    except OSError:
        failed = True
    if failed:
        raise RuntimeError("service unavailable")


def test_an_error_without_the_mismatch_has_to_be_named():
    with pytest.raises(Inconclusive) as caught:
        assert_pinned(lose_the_cause, install=True)
    report = report_of(caught)
    assert "the error is another" in report
    assert "keypin refused the connection, and its error was lost" in report
    assert "refusal=RuntimeError" in report
    assert_pinned(lose_the_cause, refusal=RuntimeError, install=True)


def test_an_error_that_the_pinned_server_gets_too_is_no_refusal():
    def check(server: LocalServer) -> None:
        lose_the_cause(server)
        raise RuntimeError("not the answer that I know")

    with pytest.raises(Inconclusive, match="raised the same at the server with the pinned key"):
        assert_pinned(check, refusal=RuntimeError, install=True)


def test_a_mismatch_of_another_server_is_no_refusal(servers):
    """The client hangs up on the server of the test, and is refused by one with the same name."""
    elsewhere, _ = servers

    def check(server: LocalServer) -> None:
        try:
            get(server, keypin.Pinner(server.pins).create_context(cafile=server.cafile))
        except keypin.PinMismatch:
            pass
        except OSError:
            get(elsewhere, keypin.Pinner(server.pins).create_context(cafile=elsewhere.cafile))

    with pytest.raises(Inconclusive, match="the error is another"):
        assert_pinned(check)


def test_a_client_that_refuses_before_it_sees_the_key_proves_nothing():
    calls: list[LocalServer] = []

    def check(server: LocalServer) -> None:
        calls.append(server)
        if len(calls) == 1:
            with socket.create_connection((server.host, server.port)):
                raise LookupError
        get(server)

    with pytest.raises(Inconclusive, match="It connected, and did not begin TLS"):
        assert_pinned(check, refusal=LookupError)


def test_a_client_that_works_only_once_proves_nothing():
    calls: list[LocalServer] = []

    def check(server: LocalServer) -> None:
        calls.append(server)
        if len(calls) > 2:
            with connected(server):
                raise LookupError("used up")
        get_by_client(server)

    with pytest.raises(Inconclusive, match="did not get through"):
        assert_pinned(check, refusal=(LookupError, keypin.PinMismatch))
    assert len(calls) == 4


# What surrounds the calls


def test_every_call_has_a_server_of_its_own_and_the_wrong_keys_come_between():
    calls: list[tuple[int, bool]] = []

    def check(server: LocalServer) -> None:
        served = ssl.get_server_certificate((server.host, server.port), ca_certs=server.cafile)
        pinned = ssl.PEM_cert_to_DER_cert(served) == pinned_certificate(server)
        calls.append((server.port, pinned))
        get(server, keypin.Pinner(server.pins).create_context(cafile=server.cafile))

    assert_pinned(check)
    assert [pinned for _, pinned in calls] == [False, True, False, True]
    assert len({port for port, _ in calls}) == 4


def test_the_environment_is_as_before_and_proxies_are_not_asked(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{nobody.getsockname()[1]}")
        monkeypatch.setenv("NO_PROXY", "example.com")
        monkeypatch.setenv("CURL_CA_BUNDLE", "mine.pem")
        before = os.environ.copy()
        assert_pinned(lambda server: requests.get(server.url, timeout=10), install=True)
        assert os.environ == before


def test_nothing_stays_installed():
    assert_pinned(get, install=True)
    with Bench() as bench, bench.mispinned_server() as server:
        get(server)
        assert server.application_bytes > 0
    assert not os.path.exists(server.cafile)


PATCHED = {
    "truststore": "import truststore; truststore.inject_into_ssl()",
    "gevent": "import gevent.monkey; gevent.monkey.patch_all()",
}
BODY = """
import requests
from keypin.testing import Bypassed, assert_pinned
assert_pinned(lambda server: requests.get(server.url), install=True)
try:
    assert_pinned(lambda server: requests.get(server.url))
except Bypassed:
    print("bypassed")
"""


@pytest.mark.parametrize("patch", PATCHED.values(), ids=PATCHED)
def test_servers_run_beside_clients_that_have_patched_ssl(patch):
    assert run(patch + BODY) == "bypassed\n"


def test_a_process_that_eventlet_has_patched_is_told_what_to_do():
    code = """
import warnings
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import eventlet
    eventlet.monkey_patch()
from keypin.testing import assert_pinned
try:
    assert_pinned(print, install=True)
except RuntimeError as error:
    print(error)
"""
    assert "`keypin doctor -- python CHECK.py {url}`" in run(code)


# The servers


@pytest.fixture
def servers() -> Iterator[tuple[LocalServer, LocalServer]]:
    with Bench() as bench, bench.pinned_server() as pinned, bench.mispinned_server() as mispinned:
        yield pinned, mispinned


def test_two_servers_of_one_authority_and_one_name_that_differ_in_their_keys(servers):
    pins = []
    for server in servers:
        address = (server.host, server.port)
        served = ssl.get_server_certificate(address, ca_certs=server.cafile)
        pins.append(keypin.Pin.from_certificate(ssl.PEM_cert_to_DER_cert(served)))
    pinned, mispinned = servers
    assert pins[0] == pinned.pin == mispinned.pin
    assert pins[1] != pinned.pin
    assert (
        pinned.pins
        == mispinned.pins
        == keypin.PinSet({"localhost": [pinned.pin], "127.0.0.1": [pinned.pin]})
    )
    assert Path(pinned.certificate) == Path(mispinned.certificate)
    assert keypin.Pin.from_certificate(Path(pinned.certificate).read_bytes()) == pinned.pin


def test_what_a_server_tells_is_complete_while_connections_are_open(servers):
    """It is asked without a pause behind each send, and the connection is kept."""
    server, _ = servers
    with connected(server) as tls:
        sent = 0
        tls.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n")
        before = server.application_bytes
        for size in range(1, 200):
            tls.sendall(b"x" * size)
            sent += size
            assert server.application_bytes == before + sent
    assert server.received.endswith(b"x" * sent)
    [connection] = server.connections
    assert connection.handshake_completed
    assert server.client_certificates == []


def test_a_connection_that_has_brought_nothing_yet_is_given_a_moment(servers):
    """A system may hold back a small segment until the one before it is acknowledged."""
    server, _ = servers
    with connected(server):
        began = time.monotonic()
        assert server.received == b""
        assert time.monotonic() - began > 0.2


def test_what_a_server_received_can_be_asked_for_when_it_is_closed():
    with Bench() as bench:
        with bench.pinned_server() as server:
            get(server)
        assert server.received.startswith(b"GET /v1/account/")
        assert server.url.endswith(f":{server.port}")


def test_a_client_certificate_is_asked_for_on_demand(client_certificate):
    with Bench() as bench, bench.mispinned_server(asks_for_client_certificate=True) as server:
        context = context_for(server)
        context.load_cert_chain(client_certificate)
        with (
            pytest.raises(OSError),
            contextlib.closing(
                http.client.HTTPSConnection(server.host, server.port, context=context)
            ) as connection,
        ):
            connection.request("GET", "/")
            connection.getresponse()
        assert len(server.client_certificates) == 1


def test_a_client_that_never_stops_sending_does_not_hold_up_the_verdict():
    """The wait ends at the first byte that proves the bypass."""
    stop = threading.Event()
    threads = []

    def check(server: LocalServer) -> None:
        tls = context_for(server).wrap_socket(
            socket.create_connection((server.host, server.port)), server_hostname="localhost"
        )

        def send() -> None:
            with tls, contextlib.suppress(OSError):
                tls.sendall(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
                while not stop.is_set():
                    tls.sendall(b"1\r\nx\r\n")

        threads.append(threading.Thread(target=send))
        threads[-1].start()

    try:
        with pytest.raises(Bypassed):
            assert_pinned(check)
    finally:
        stop.set()
        for thread in threads:
            thread.join()


# The plugin


def run_pytest(folder: Path, test: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    folder.joinpath("test_it.py").write_text(test, "utf-8")
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(SRC)}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "_keypin_pytestplugin",
         "--rootdir", folder, *arguments],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def test_pytest_loads_nothing_of_keypin_until_a_test_asks_for_it(tmp_path):
    test = """
import sys

def test_it():
    assert not {"keypin", "cryptography"} & set(sys.modules)
"""
    done = run_pytest(tmp_path, test)
    assert "1 passed" in done.stdout, done.stdout


def test_the_fixtures(tmp_path):
    test = """
import ssl, urllib.request
import keypin, pytest

def get(server):
    context = keypin.Pinner(server.pins).create_context(cafile=server.cafile)
    urllib.request.urlopen(server.url, context=context).close()

def test_both(pinned_server, mispinned_server):
    get(pinned_server)
    assert pinned_server.received.startswith(b"GET / ")
    with pytest.raises(OSError) as caught:
        get(mispinned_server)
    assert keypin.find_error(caught.value)
    assert len(mispinned_server.connections) == 1
    assert mispinned_server.received == b""

def test_each_test_has_servers_of_its_own(pinned_server):
    assert pinned_server.connections == []

def test_the_environment_names_the_authority(pinned_server, monkeypatch):
    for name, value in pinned_server.environment.items():
        monkeypatch.setenv(name, value)
    urllib.request.urlopen(pinned_server.url, context=ssl.create_default_context()).close()

def test_a_bypass_is_a_failure(mispinned_server):
    context = ssl.create_default_context(cafile=mispinned_server.cafile)
    urllib.request.urlopen(mispinned_server.url, context=context).close()
    assert mispinned_server.received == b""
"""
    done = run_pytest(tmp_path, test)
    assert "1 failed, 3 passed" in done.stdout, done.stdout
    assert "FAILED test_it.py::test_a_bypass_is_a_failure" in done.stdout


APP = """
import keypin

class ApiClient:
    def __init__(self, url, *, cafile, pins):
        self.url = f"{url}/account"
        self.context = keypin.Pinner(pins).create_context(cafile=cafile)

    def account(self):
        self.get(self.url, self.context)
"""
GETTERS = {
    "urllib": """
import urllib.request

def get(self, url, context):
    urllib.request.urlopen(url, context=context).close()
""",
    "urllib3": """
import urllib3

def get(self, url, context):
    with urllib3.PoolManager(ssl_context=context, retries=False) as pool:
        pool.request("GET", url)
""",
    "urllib3 with retries": """
import urllib3

def get(self, url, context):
    with urllib3.PoolManager(ssl_context=context, retries=urllib3.Retry(1)) as pool:
        pool.request("GET", url)
""",
    "requests": """
import requests

class Adapter(requests.adapters.HTTPAdapter):
    def __init__(self, context):
        self.context = context
        super().__init__()

    def init_poolmanager(self, *arguments, **more):
        super().init_poolmanager(*arguments, **more, ssl_context=self.context)

def get(self, url, context):
    with requests.Session() as session:
        session.mount("https://", Adapter(context))
        session.get(url)
""",
    "httpx": """
import httpx

def get(self, url, context):
    with httpx.Client(verify=context) as client:
        client.get(url)
""",
    "httpx, asynchronous": """
import asyncio, httpx

def get(self, url, context):
    async def ask():
        async with httpx.AsyncClient(verify=context) as client:
            await client.get(url)
    asyncio.run(ask())
""",
    "httpx2": """
import httpx2

def get(self, url, context):
    with httpx2.Client(verify=context) as client:
        client.get(url)
""",
    "aiohttp": """
import asyncio, aiohttp

def get(self, url, context):
    async def ask():
        async with aiohttp.ClientSession() as session:
            async with session.get(url, ssl=context) as response:
                await response.read()
    asyncio.run(ask())
""",
    "does not trust the authority": """
import ssl, urllib.request

def get(self, url, context):
    urllib.request.urlopen(url, context=ssl.create_default_context()).close()
""",
    "unpinned": """
import ssl, urllib.request

def get(self, url, context):
    context = ssl.create_default_context(cafile=context.cafile)
    urllib.request.urlopen(url, context=context).close()
""",
}
OTHERS = {"does not trust the authority": "2 failed", "unpinned": "1 failed, 1 passed"}


def documented_pair() -> str:
    page = Path(__file__).parents[1].joinpath("docs", "self-test.md").read_text("utf-8")
    [pair] = [block for block in re.findall(r"(?s)```py\n(.*?)```", page) if "myapp" in block]
    return pair


@pytest.mark.parametrize("library", GETTERS)
def test_the_documented_pair_of_tests_holds_with_every_library(tmp_path, library):
    """As it stands in the page; it fails for one that is not pinned, or does not work."""
    get = GETTERS[library]
    module = library.split()[0].strip(",")
    if module in ("urllib3", "requests", "httpx", "httpx2", "aiohttp"):
        pytest.importorskip(module)
    app = APP.replace("(cafile=cafile)", "(cafile=cafile); self.context.cafile = cafile")
    tmp_path.joinpath("myapp.py").write_text(f"{app}\n{get}\nApiClient.get = get\n")
    done = run_pytest(tmp_path, documented_pair())
    assert OTHERS.get(library, "2 passed") in done.stdout, done.stdout


def test_a_failure_shows_the_report_and_not_the_inside_of_keypin(tmp_path):
    test = """
import ssl, urllib.request
from keypin.testing import assert_pinned

def test_client():
    assert_pinned(
        lambda server: urllib.request.urlopen(
            server.url, context=ssl.create_default_context(cafile=server.cafile)
        ).close(),
    )
"""
    done = run_pytest(tmp_path, test)
    assert "Bypassed: the client is not pinned" in done.stdout
    assert "def assert_pinned" not in done.stdout


def test_a_fixture_without_its_extra_says_what_to_install(tmp_path):
    tmp_path.joinpath("conftest.py").write_text("import sys\nsys.modules['cryptography'] = None\n")
    done = run_pytest(tmp_path, "def test_it(pinned_server):\n    pass\n")
    assert "pip install 'keypin[testing]'" in done.stdout


def test_pytest_finds_the_plugin():
    (plugin,) = importlib.metadata.entry_points(group="pytest11", name="keypin")
    assert plugin.load().pinned_server
