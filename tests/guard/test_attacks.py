"""The catalogue of attacks against keypin's own clients, and the checks that are no scenarios."""

from __future__ import annotations

import contextlib
import socket
import ssl
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx2
import pytest
from scene import (
    HOST,
    NAMES,
    REQUEST,
    authority,
    connect,
    exchange,
    issuing,
    pinned,
    pinner_for,
    trusting,
    unpinned,
)

from keypin import PinMismatch, Pinner, PinSet, Rule, find_error
from keypin.client import Client
from keypin.lab import Authority, ConnectProxy, Server, scenarios

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from keypin.lab import Case, Judgement, Stage

NOW = datetime.now(UTC)
DAY = timedelta(days=1)

# Those of TLS itself; what goes on around it is tried in the tests of the clients that do it.
GROUPS = (
    "accepted",
    "chains",
    "certificates",
    "untrusted",
    "faults",
    "names",
    "keys",
    "client-certificates",
    "sessions",
)
PLAYED = [scenario for group in GROUPS for scenario in scenarios(group)]
CASES = [case for scenario in PLAYED for case in scenario.cases()]
# Whose key it is makes no difference to how a context came by its guard.
FEWER_CASES = [
    case
    for case in CASES
    if case.key == ("p-256" if "p-256" in case.scenario.keys else case.scenario.keys[0])
]

# Where the verification of certificates, names and handshakes stands in the way, beside the pin.
NOT_THE_PIN_ALONE = {
    "wrong-host",
    "wrong-host-pinned-ca",
    "longer-names",
    "common-name-only",
    "wildcard-two-labels",
    "wildcard-in-label",
    "wildcard-alone",
    "wildcard-top-level",
    "wildcard-address",
    "nul-in-name",
    "address-as-name",
    "other-address",
    "without-private-key",
    "outdated-tls",
    "anonymous-cipher",
    "client-certificate-wrong-host",
    "client-certificate-untrusted",
    "client-certificate-without-private-key",
    "client-certificate-in-rsa-key-exchange",
    "client-certificate-in-renegotiation-to-another-key",
    *(scenario.identifier for scenario in PLAYED if scenario.group in ("untrusted", "faults")),
}
THE_PIN_ALONE = [
    scenario
    for scenario in PLAYED
    if scenario.expected == "reject" and scenario.identifier not in NOT_THE_PIN_ALONE
]

# Which the client takes no part in, so that it has nothing to decide.
RENEGOTIATION = {"renegotiation", "client-certificate-in-renegotiation-to-another-key"}

# What a client cannot do that knows nothing but the certificates of its server.
BEYOND_CERTIFICATES = {"ca-pins", "expiry", "denied-pins", "unlisted-hosts"}


def visits(stage: Stage) -> list[str]:
    twice = "second_url" in stage.case.scenario.needs
    return [stage.url, stage.second_url] if twice else [stage.url]


def visit(
    stage: Stage, context: ssl.SSLContext, url: str, session: ssl.SSLSession | None
) -> tuple[ssl.SSLSession, bool]:
    """Send a request and read the answer, on one connection.

    Returns:
        Its session, and whether that was the one given.
    """
    host, _, port = urlsplit(url).netloc.rpartition(":")
    address = (stage.address[0], int(port))
    with socket.create_connection(address, timeout=20) as tcp:
        with context.wrap_socket(tcp, server_hostname=host, session=session) as connection:
            connection.sendall(REQUEST)
            if not connection.recv(4096):
                raise ConnectionError("the server did not answer")
            if stage.case.scenario.identifier in RENEGOTIATION:
                connection.sendall(b"what must not arrive")
            return connection.session, connection.session_reused


def play(stage: Stage, context: ssl.SSLContext) -> list[OSError]:
    """Do what a client is told to, whatever comes of it; return the errors."""
    errors = []
    session = None
    for url in visits(stage):
        try:
            session, _ = visit(stage, context, url, session)
        except OSError as error:
            errors.append(error)
    return errors


def judge(stage: Stage, errors: list[OSError]) -> Judgement:
    return stage.judge("failed" if errors else "succeeded", str(errors or ""))


def present_client_certificate(stage: Stage, context: ssl.SSLContext) -> None:
    if "client_certificate" in stage.case.scenario.needs:
        context.load_cert_chain(stage.client_certificate)
        allow_what_servers_may_ask_for(context)


def allow_what_servers_may_ask_for(context: ssl.SSLContext) -> None:
    """Of a certificate after the handshake, and of RSA key exchange, as many clients do."""
    context.post_handshake_auth = True
    context.set_ciphers("DEFAULT")


@contextlib.contextmanager
def created(stage: Stage) -> Iterator[ssl.SSLContext]:
    """A guarded context."""
    context = Pinner(stage.pinset).create_context(cadata=stage.trusted)
    present_client_certificate(stage, context)
    yield context


@contextlib.contextmanager
def installed(stage: Stage) -> Iterator[ssl.SSLContext]:
    """An ordinary context under installed pins, always with a client certificate."""
    with Pinner(PinSet.load(stage.pin_file)).installed():
        context = ssl.create_default_context(cadata=stage.trusted)
        context.load_cert_chain(stage.client_certificate)
        allow_what_servers_may_ask_for(context)
        yield context


@contextlib.contextmanager
def unguarded(stage: Stage) -> Iterator[ssl.SSLContext]:
    """What any program has without keypin."""
    context = ssl.create_default_context(cadata=stage.trusted)
    context.options |= getattr(ssl, "OP_LEGACY_SERVER_CONNECT", 4)
    present_client_certificate(stage, context)
    yield context


@pytest.mark.parametrize(
    ("case", "way"),
    [
        *(pytest.param(case, created, id=f"{case}-created") for case in CASES),
        *(pytest.param(case, installed, id=f"{case}-installed") for case in FEWER_CASES),
    ],
)
def test_what_must_not_arrive_does_not_and_what_must_does(
    case: Case, way: Callable[[Stage], Iterator[ssl.SSLContext]]
):
    with case.stage() as stage, way(stage) as context:
        errors = play(stage, context)
        judgement = judge(stage, errors)
        assert judgement.outcome == "right", f"{judgement}\n{errors}"
        if case.scenario.identifier in RENEGOTIATION:
            return
        by_pin = [error for error in errors if isinstance(error, PinMismatch)]
        assert bool(by_pin) == (case.scenario in THE_PIN_ALONE)
        by_tls = case.scenario.identifier.endswith("-without-private-key")
        if case.scenario.group not in ("keys", "sessions") and not by_tls:
            assert all(isinstance(error, ssl.SSLCertVerificationError) for error in errors)


@pytest.mark.parametrize(
    "case",
    [
        next(scenario.cases(tls=version, key="p-256"))
        for scenario in THE_PIN_ALONE
        for version in scenario.tls
    ],
    ids=str,
)
def test_only_the_pin_stands_against_these(case: Case):
    """The control: without keypin, the attacker gets what it is after."""
    with case.stage() as stage, unguarded(stage) as context:
        judgement = judge(stage, play(stage, context))
    assert judgement.outcome == "wrong", str(judgement)


@pytest.mark.parametrize(
    "case",
    [case for case in FEWER_CASES if not case.scenario.claims & BEYOND_CERTIFICATES],
    ids=str,
)
def test_the_client_of_keypin_is_right_in_what_certificates_can_say(case: Case):
    with case.stage() as stage:
        with Client(
            certificates=stage.certificates,
            cafile=stage.cafile,
            client_certificate=stage.client_certificate,
            proxy=stage.proxy,
            trust_env=False,
        ) as client:
            names = ["other.cer"] if case.scenario.identifier == "both-algorithms-pinned" else []
            client.pin_trusted_certificate_public_key(["pinned.cer", "backup.cer", *names])
            errors = []
            for url in visits(stage):
                try:
                    client.get(url)
                except (httpx2.HTTPError, OSError) as error:
                    errors.append(error)
        judgement = judge(stage, errors)
    assert judgement.outcome == "right", f"{judgement}\n{errors}"


@pytest.mark.parametrize(
    "case",
    [case for case in FEWER_CASES if case.scenario.identifier.startswith("resumption-")],
    ids=str,
)
@pytest.mark.parametrize("way", [created, installed], ids=["created", "installed"])
def test_the_client_that_comes_again_does_resume_its_session(
    case: Case, way: Callable[[Stage], Iterator[ssl.SSLContext]]
):
    """If it did not, the scenarios of sessions would prove nothing."""
    with case.stage() as stage, way(stage) as context:
        session, _ = visit(stage, context, stage.url, None)
        _, resumed = visit(stage, context, stage.second_url, session)
        assert resumed


# What is no scenario: how the program set its TLS up, what it installs, and what it is told


@pytest.mark.parametrize("old", ["1.0", "1.1"])
def test_tls_before_1_2_is_refused_though_the_program_allows_it(old):
    context = trusting(pinner_for(pinned()))
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.minimum_version = ssl.TLSVersion.TLSv1
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with Server(pinned(), tls=[old], ciphers="DEFAULT:@SECLEVEL=0") as server:
        with pytest.raises(PinMismatch):
            connect(context, server)
        (record,) = server.settle()
    assert record.application_bytes == 0


def test_a_cipher_without_certificates_is_refused_though_the_program_allows_it():
    context = trusting(pinner_for(pinned()))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("aNULL:@SECLEVEL=0")
    with Server(pinned(), tls=["1.2"], ciphers="aNULL:@SECLEVEL=0") as server:
        with pytest.raises(PinMismatch):
            connect(context, server)
        (record,) = server.settle()
    assert record.application_bytes == 0


@pytest.mark.parametrize(
    ("served", "pinner", "said"),
    [
        (unpinned, lambda: pinner_for(pinned(), expires=NOW - DAY), "expired"),
        (pinned, lambda: pinner_for(issuing(), deny=[pinned().pin]), "denied"),
        (pinned, lambda: pinner_for(pinned(), match="leaf", deny=[issuing().pin]), "denied"),
        (
            pinned,
            lambda: Pinner(PinSet({"other.example": [pinned().pin]}, unlisted="refuse")),
            "unlisted",
        ),
    ],
    ids=["expired", "denied", "issuer denied", "unlisted"],
)
def test_the_error_says_why(served, pinner, said, version):
    with Server(served(), tls=[version]) as server:
        with pytest.raises(PinMismatch, match=said) as caught:
            connect(trusting(pinner()), server)
    assert isinstance(caught.value, ssl.SSLCertVerificationError)


def test_a_host_excluded_from_a_rule_for_every_host_is_accepted(version):
    """A pin file cannot say that, so it is no scenario."""
    pins = PinSet([Rule(None, [pinned().pin]), Rule(HOST, exclude=True)], unlisted="refuse")
    with Server(unpinned(), tls=[version]) as server:
        with connect(trusting(Pinner(pins)), server) as connection:
            assert exchange(connection).startswith(b"HTTP/1.1 200")


def test_of_a_cross_signed_path_the_verified_one_counts(version):
    """The root that the client does not trust is pinned: nothing below the other one matches."""
    other = Authority("other trusted root")
    crossed = other.cross_sign(issuing())
    leaf = pinned().with_chain(pinned().certificate, crossed.certificate)
    with Server(leaf, tls=[version]) as server:
        with pytest.raises(PinMismatch):
            connect(trusting(pinner_for(authority()), other), server)
        (record,) = server.settle()
    assert record.application_bytes == 0


def test_the_second_connection_gets_the_same_answer(version):
    """Certificates are remembered; verdicts are not."""
    right, wrong = trusting(pinner_for(pinned())), trusting(pinner_for(unpinned()))
    with Server(pinned(), tls=[version]) as server:
        for _ in range(3):
            with connect(right, server) as connection:
                assert exchange(connection).startswith(b"HTTP/1.1 200")
            with pytest.raises(PinMismatch):
                connect(wrong, server)


# Proxies, as the libraries use them that open tunnels themselves


def other_trusted() -> Authority:
    return Authority("other trusted root")


def test_an_intercepting_proxy_receives_nothing(version):
    """The proxy's CA is trusted by the client's machine, as on a managed laptop."""
    import http.client

    other = other_trusted()
    context = trusting(pinner_for(pinned()), authority(), other)
    with ConnectProxy(intercept=other.issue(*NAMES)) as proxy:
        client = http.client.HTTPSConnection(*proxy.address, context=context, timeout=20)
        client.set_tunnel(HOST, 443)
        with pytest.raises(PinMismatch):
            client.request("GET", "/secret")
        client.close()
        assert proxy.interceptor is not None
        (record,) = proxy.interceptor.settle()
    assert record.application_bytes == 0


def test_an_honest_proxy_is_passed_through(version):
    import http.client

    context = trusting(pinner_for(pinned()))
    with Server(pinned(), tls=[version]) as server, ConnectProxy() as proxy:
        client = http.client.HTTPSConnection(*proxy.address, context=context, timeout=20)
        client.set_tunnel(HOST, server.port)
        client.request("GET", "/")
        assert client.getresponse().status == 200
        client.close()


def test_the_proxys_own_certificate_does_not_pass_for_the_origins(version):
    """An https proxy whose own certificate is genuine presents it for the origin, too."""
    import urllib3

    other = other_trusted()
    own = other.issue("127.0.0.1", "proxy.example")
    context = trusting(pinner_for(pinned()), authority(), other)
    proxy_context = ssl.create_default_context(cadata=other.pem)
    with ConnectProxy(own, intercept=own) as proxy:
        manager = urllib3.ProxyManager(
            proxy.url, ssl_context=context, proxy_ssl_context=proxy_context, retries=False
        )
        with pytest.raises(urllib3.exceptions.SSLError):
            manager.request("GET", f"https://{HOST}/secret", timeout=20)
        manager.clear()
        assert proxy.interceptor is not None
        (record,) = proxy.interceptor.settle()
    assert record.application_bytes == 0


def test_tls_in_tls_is_pinned_inside(version):
    import urllib3

    other = other_trusted()
    own = other.issue("127.0.0.1")
    context = trusting(pinner_for(pinned()), authority(), other)
    proxy_context = ssl.create_default_context(cadata=other.pem)
    for credential, fails in ((pinned(), False), (unpinned(), True)):
        with Server(credential, tls=[version]) as server, ConnectProxy(own) as proxy:
            manager = urllib3.ProxyManager(
                proxy.url, ssl_context=context, proxy_ssl_context=proxy_context, retries=False
            )
            if fails:
                with pytest.raises(urllib3.exceptions.SSLError) as caught:
                    manager.request("GET", server.url_for(HOST), timeout=20)
                assert find_error(caught.value)
            else:
                assert manager.request("GET", server.url_for(HOST), timeout=20).status == 200
            manager.clear()
            server.settle()
            assert (server.application_bytes == 0) == fails
