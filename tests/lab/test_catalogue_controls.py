"""Every attack of the catalogue succeeds against a client that checks nothing."""

from __future__ import annotations

import socket
import ssl
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from keypin.lab import scenarios

if TYPE_CHECKING:
    from keypin.lab import Case, Stage

GROUPS = (
    "certificates",
    "untrusted",
    "faults",
    "names",
    "keys",
    "client-certificates",
    "sessions",
)
# OpenSSL checks these in any case: the signature on the handshake, and in TLS 1.2 whether the
# certificate's elliptic key may make it.
ALWAYS_CHECKED = {
    "without-private-key-tls1.2-p-256",
    "without-private-key-tls1.3-p-256",
    "client-certificate-without-private-key-tls1.2-p-256",
    "client-certificate-without-private-key-tls1.3-p-256",
    "wrong-key-usage-tls1.2-p-256",
    "duplicated-extension-tls1.2-p-256",
}
# In these it happens while the client waits.
WAITS_FOR_AN_ANSWER = {
    "renegotiation",
    "client-certificate-in-renegotiation",
    "client-certificate-in-renegotiation-to-another-key",
    "client-certificate-after-the-handshake",
}
CASES = [
    case
    for group in GROUPS
    for scenario in scenarios(group, expected="reject")
    for case in scenario.cases()
    if case.key == ("p-256" if "p-256" in scenario.keys else "rsa-2048")
]


def careless_context(stage: Stage, *, certificate: bool = True) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.options |= getattr(ssl, "OP_LEGACY_SERVER_CONNECT", 4)
    context.set_ciphers("ALL:aNULL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
    if certificate:
        context.load_cert_chain(stage.client_certificate)
    context.post_handshake_auth = True
    return context


def request(stage: Stage, context: ssl.SSLContext, url: str) -> None:
    host, _, port = urlsplit(url).netloc.rpartition(":")
    with socket.create_connection((stage.address[0], int(port)), timeout=10) as tcp:
        with context.wrap_socket(tcp, server_hostname=host) as tls:
            tls.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            if stage.case.scenario.identifier in WAITS_FOR_AN_ANSWER:
                tls.recv(4096)
            tls.shutdown(socket.SHUT_WR)  # some servers never answer
            while tls.recv(4096):
                pass


@pytest.mark.parametrize("case", [it for it in CASES if str(it) not in ALWAYS_CHECKED], ids=str)
def test_a_client_that_checks_nothing_loses(case: Case) -> None:
    with case.stage() as stage:
        context = careless_context(stage)
        for url in (stage.url, stage.second_url):
            with suppress(OSError):  # of servers that fail after they have seen enough
                request(stage, context, url)
        judgement = stage.judge()
    assert judgement.outcome == "wrong", str(judgement)


# In the others the server cannot finish the handshake, or begins as the pinned one.
WITHOUT_CERTIFICATE = [
    case
    for case in CASES
    if case.scenario.group == "client-certificates"
    and str(case) not in ALWAYS_CHECKED
    and not case.scenario.identifier.endswith(("-in-rsa-key-exchange", "-to-another-key"))
]


@pytest.mark.parametrize("case", WITHOUT_CERTIFICATE, ids=str)
def test_without_a_certificate_it_loses_its_request(case: Case) -> None:
    with case.stage() as stage:
        with suppress(OSError):
            request(stage, careless_context(stage, certificate=False), stage.url)
        judgement = stage.judge()
    assert judgement.outcome == "wrong", str(judgement)
    assert judgement.client_certificates == 0


def test_no_exception_is_outdated() -> None:
    assert set(map(str, CASES)) >= ALWAYS_CHECKED
