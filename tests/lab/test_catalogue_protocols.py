"""The catalogue's redirects, proxies, HTTP/2, STARTTLS and WebSocket, with real clients.

Each scenario comes out right with clients that keypin pins, and wrong with one that it does not:
otherwise it would test nothing.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import urllib.request
from importlib import import_module
from typing import TYPE_CHECKING

import catalogue_clients as clients
import pytest

from keypin.lab import Server
from keypin.lab.servers.http2 import Http2, origin_frame
from keypin.lab.servers.http3 import Http3Server
from keypin.lab.servers.mail import beyond_clear
from keypin.lab.servers.mitmproxy import Mitmproxy
from keypin.lab.servers.websocket import WebSocketEcho

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from keypin.lab import Credential
    from keypin.lab.scenario import Case, Scenario
    from keypin.lab.stage import Stage

# CPython's imaplib keeps what it has read ahead of STARTTLS, and takes it for answers inside TLS.
# No pin is in question: the server behind is the pinned one.
IMAPLIB_READS_ON = sys.version_info >= (3, 14)
GROUPS = ("redirects", "proxies", "http2", "starttls", "websocket")
SCENARIOS: list[Scenario] = [
    scenario
    for group in GROUPS
    for scenario in import_module(f"keypin.lab.catalogue.{group}").SCENARIOS
]
ATTACKS = [scenario for scenario in SCENARIOS if scenario.expected == "reject"]
ANY_HTTP = frozenset({"redirects", "proxies", "http2"})

# name: how it calls, how it is pinned, the groups, and what it does not claim
PINNED: dict[str, tuple[Callable, Callable, frozenset[str], frozenset[str]]] = {
    "ssl": (
        clients.over_ssl,
        clients.unpinned,  # but for its context
        frozenset({"http2"}),
        frozenset({"http2"}),
    ),
    # pins every host
    "Client": (
        clients.with_keypin_client,
        clients.unpinned,
        ANY_HTTP,
        frozenset({"pins-per-host"}),
    ),
    # what pins ssl does not see what is sent without it
    "requests": (
        clients.with_requests,
        clients.installed,
        ANY_HTTP,
        frozenset({"https-only", "http2"}),
    ),
    "httpx2": (clients.with_httpx2, clients.installed, ANY_HTTP, frozenset({"https-only"})),
    "urllib3": (
        clients.with_urllib3,
        clients.installed,
        ANY_HTTP,
        frozenset({"https-only", "http2", "passwords-in-urls"}),
    ),
    "smtplib": (clients.with_smtplib, clients.unpinned, frozenset({"smtp"}), frozenset()),
    "smtplib-installed": (
        clients.with_smtplib_and_installed_pins,
        clients.unpinned,
        frozenset({"smtp"}),
        frozenset(),
    ),
    "aiosmtplib": (clients.with_aiosmtplib, clients.unpinned, frozenset({"smtp"}), frozenset()),
    "imaplib": (clients.with_imaplib, clients.unpinned, frozenset({"imap"}), frozenset()),
    "imaplib-installed": (
        clients.with_imaplib_and_installed_pins,
        clients.unpinned,
        frozenset({"imap"}),
        frozenset(),
    ),
    "websockets": (clients.with_websockets, clients.unpinned, frozenset({"wss"}), frozenset()),
    "websocket-client": (
        clients.with_websocket_client,
        clients.unpinned,
        frozenset({"wss"}),
        frozenset({"https-only"}),
    ),
}


def players(scenario: Scenario) -> list[str]:
    """The clients that claim to be up to a scenario."""
    if scenario.identifier == "mitmproxy":  # it takes a second to start
        return ["Client", "requests"]
    return [
        name
        for name, (_, _, groups, lacks) in PINNED.items()
        if {scenario.group, scenario.protocol} & groups and not scenario.claims & lacks
    ]


def played() -> Iterator[object]:
    """Every case with every one of them."""
    for scenario in SCENARIOS:
        for name in players(scenario):
            client, pins, _, _ = PINNED[name]
            for case in scenario.cases():
                yield pytest.param(case, client, pins, id=f"{case}-{name}")


def control_for(scenario: Scenario) -> Callable[[Stage], None]:
    """A client without pins, of the sort that the scenario is a danger to."""
    if scenario.identifier.endswith("-starttls-stalled"):
        return lambda stage: clients.mail_client_dropping_tls(stage, clients.trusting(stage))
    if scenario.protocol == "smtp":
        injection = "injection" in scenario.identifier
        return clients.credulous_mail_client if injection else clients.opportunistic_smtplib
    if scenario.identifier == "imap-starttls-answered-early":
        return clients.hasty_imap_client
    if scenario.protocol == "imap":
        injection = "injection" in scenario.identifier
        return clients.credulous_mail_client if injection else clients.opportunistic_imaplib
    if scenario.protocol == "wss":
        # websockets itself refuses to be led from wss to ws
        return lambda stage: clients.with_websocket_client(stage, clients.trusting(stage))
    if scenario.identifier == "alternative-http3":
        return clients.over_http3
    if scenario.identifier in CARELESS:
        return clients.careless
    return clients.with_httpx2


# What sound clients do not fall for, pinned or not.
CARELESS = {
    "refresh-header",
    "redirect-loop",
    "redirect-keeps-cookie",
    "redirect-keeps-password",
    "proxy-answers-200",
    "proxy-answers-302-http",
    "proxy-answers-302-https",
    "proxy-answers-407",
    "proxy-answers-500",
    "http2-misdirected",
    "alternative-service",
}


@pytest.fixture(autouse=True)
def little_patience(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let clients wait for servers that never answer only as long as it takes."""
    played = request.node.callspec.params if hasattr(request.node, "callspec") else {}
    scenario = played["case"].scenario if "case" in played else played.get("scenario")
    if scenario is not None and "timeouts" in scenario.claims:
        monkeypatch.setattr(clients, "TIMEOUT", 0.5)


@pytest.mark.parametrize(("case", "client", "pins"), list(played()))
def test_a_pinned_client_comes_out_right(case: Case, client: Callable, pins: Callable) -> None:
    judgement = clients.play(case, client, pins)
    defect = case.scenario.identifier == "imap-response-injection" and IMAPLIB_READS_ON
    expected = "wrong" if defect and "imaplib" in client.__name__ else "right"
    assert judgement.outcome == expected, str(judgement)


@pytest.mark.parametrize(
    "scenario", [it for it in ATTACKS if it.identifier.endswith("-starttls-stalled")], ids=str
)
def test_a_pinned_client_that_drops_tls_comes_out_right(scenario: Scenario) -> None:
    judgement = clients.play(next(scenario.cases()), clients.mail_client_dropping_tls)
    assert judgement.outcome == "right", str(judgement)


@pytest.mark.parametrize("scenario", ATTACKS, ids=str)
def test_a_client_without_pins_comes_out_wrong(scenario: Scenario) -> None:
    judgement = clients.play(next(scenario.cases()), control_for(scenario))
    assert judgement.outcome == "wrong", str(judgement)
    assert not any("secret" in reason for reason in judgement.reasons)


@pytest.mark.parametrize("scenario", ATTACKS, ids=str)
def test_a_client_that_does_nothing_has_been_put_to_no_test(scenario: Scenario) -> None:
    judgement = clients.play(next(scenario.cases()), lambda stage: None)
    # who refuses plain http as such does just that
    expected = "right" if scenario.identifier == "plain-http" else "inconclusive"
    assert judgement.outcome == expected, str(judgement)


def test_each_scenario_is_told_apart_and_played_by_two_clients_at_least() -> None:
    assert len({scenario.identifier for scenario in SCENARIOS}) == len(SCENARIOS)
    assert {scenario.group for scenario in SCENARIOS} == set(GROUPS)
    for scenario in SCENARIOS:
        alone = scenario.claims & {"https-only"}
        assert len(players(scenario)) >= (1 if alone else 2), scenario.identifier


def test_http3_is_refused_where_pins_are_installed() -> None:
    (scenario,) = (it for it in SCENARIOS if it.identifier == "alternative-http3")
    judgement = clients.play(next(scenario.cases()), clients.over_http3, clients.installed)
    assert (judgement.outcome, judgement.attempts) == ("right", 0), str(judgement)


@pytest.mark.parametrize("pinned", [True, False])
def test_curl_follows_alternative_services(pinned: bool, tmp_path) -> None:
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("curl is not installed")
    (scenario,) = (it for it in SCENARIOS if it.identifier == "alternative-service")

    def call(stage: Stage) -> None:
        options = ["--alt-svc", str(tmp_path / "known"), "--cacert", stage.cafile]
        if pinned:
            options += ["--pinnedpubkey", stage.places["curl_pins"]]
        again = ["--next", "--silent", *options, stage.second_url]
        subprocess.run([curl, "--silent", *options, stage.url, *again], check=True, timeout=20)

    judgement = clients.play(next(scenario.cases()), call)
    assert judgement.outcome == ("right" if pinned else "wrong"), str(judgement)
    assert judgement.attempts


def test_an_origin_frame_is_written_as_rfc_8336_says() -> None:
    origins = b"\0\x09https://a" + b"\0\x0bhttps://b:2"
    head = len(origins).to_bytes(3, "big") + b"\x0c\0" + bytes(4)
    assert origin_frame("https://a", "https://b:2") == head + origins


@pytest.mark.parametrize(
    ("data", "beyond"),
    [
        (b"EHLO me\r\nSTARTTLS\r\nQUIT\r\n", []),
        (b"helo me\r\nAUTH PLAIN eA==\r\n", [b"AUTH"]),
        (b"a1 capability\r\na2 StartTLS\r\na3 LOGOUT\r\n", []),
        (b"a1 CAPABILITY\r\na2 LOGIN user secret\r\n", [b"LOGIN"]),
        (b"EHLO me\r\nMAIL FROM:<a@b>\r\n", [b"MAIL"]),
        (b"a1 STARTTLS\r\n\x16\x03\x01\x02\0\x01LOGIN\r\n", []),
        (b"a1 LOGIN user \x16\x03\r\n", [b"LOGIN"]),
        (b"", []),
    ],
)
def test_what_only_tls_may_carry(data: bytes, beyond: list[bytes]) -> None:
    assert beyond_clear(data) == beyond


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("h2", lambda leaf: Http2()),
        ("websockets", lambda leaf: WebSocketEcho()),
        ("aioquic", Http3Server),
    ],
    ids=["h2", "websockets", "aioquic"],
)
def test_without_its_library_a_server_says_what_to_install(
    name: str,
    make: Callable[[Credential], object],
    leaf: Credential,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in [module for module in sys.modules if module.partition(".")[0] == name]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=f"needs {name}"):
        make(leaf)


def test_without_mitmproxy_its_interceptor_says_so(
    leaf: Credential, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match="needs mitmproxy"):
        Mitmproxy(tmp_path / "home", leaf, trusted="")


@pytest.mark.skipif(shutil.which("mitmdump") is None, reason="needs mitmproxy (make system-deps)")
def test_mitmproxy_records_what_comes_in_the_clear(leaf: Credential, tmp_path) -> None:
    with Server(None) as origin, Mitmproxy(tmp_path, leaf, trusted="") as proxy:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({"http": proxy.url}))
        with opener.open(origin.url_for("127.0.0.1", "/secret"), timeout=20) as answer:
            assert answer.status == 200
        proxy.settle()
        assert proxy.application_bytes > 0
        assert ["/secret " in line for line in proxy.request_lines] == [True]
        proxy.forget()
        assert (proxy.application_bytes, proxy.request_lines) == (0, [])
