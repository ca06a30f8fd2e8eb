"""The catalogue's certificates are refused for what their story says, and for nothing else."""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from keypin.lab import Authority, Credential, Http, Response, Server, scenarios

if TYPE_CHECKING:
    from conftest import Client

    from keypin.lab import Case

# What OpenSSL says of each.
SAID = {
    "self-signed": "self-signed certificate",
    "self-signed-pinned-key": "self-signed certificate",
    "untrusted-root": "unable to get local issuer",
    "untrusted-root-pinned-key": "unable to get local issuer",
    "untrusted-root-same-name": "unable to get local issuer",
    "untrusted-root-sent-along": "self-signed certificate in certificate chain",
    "forged-issuer": "certificate signature failure",
    "altered-signature": "certificate signature failure",
    "md5-signature": "digest algorithm too weak",
    "sha1-signature": "digest algorithm too weak",
    "sha1-signature-of-ca": "digest algorithm too weak",
    "short-key": "EE certificate key too weak",
    "short-key-of-ca": "CA certificate key too weak",
    "expired": "has expired",
    "not-yet-valid": "not yet valid",
    "expired-intermediate": "has expired",
    "leaf-as-ca": "invalid CA certificate",
    "version-1-ca": "invalid CA certificate",
    "ca-may-not-certify": "invalid CA certificate",
    "path-too-long": "path length constraint exceeded",
    "name-not-permitted": "permitted subtree violation",
    "name-excluded": "excluded subtree violation",
    "wrong-purpose": "unsuitable certificate purpose",
    "wrong-purpose-of-ca": "unsuitable certificate purpose",
    "wrong-key-usage": "unsuitable certificate purpose",
    "critical-extension": "unhandled critical extension",
    "critical-extension-of-ca": "unhandled critical extension",
    "duplicated-extension": "unable to get local issuer",  # a certificate that it cannot use
    "wrong-host": "Hostname mismatch",
    "wrong-host-pinned-ca": "Hostname mismatch",
    "longer-names": "Hostname mismatch",
    "common-name-only": "Hostname mismatch",
    "wildcard-two-labels": "Hostname mismatch",
    "wildcard-in-label": "Hostname mismatch",
    "wildcard-alone": "Hostname mismatch",
    "wildcard-top-level": "Hostname mismatch",
    "wildcard-address": "IP address mismatch",
    "nul-in-name": "Hostname mismatch",
    "address-as-name": "IP address mismatch",
    "other-address": "IP address mismatch",
}
CASES = [
    case
    for scenario in scenarios()
    if scenario.identifier in SAID
    for case in scenario.cases(tls="1.3")
    if case.key == ("p-256" if "p-256" in scenario.keys else "rsa-2048")
]


def test_no_fault_is_left_out() -> None:
    groups = {"untrusted", "faults"}
    assert {it.identifier for it in scenarios() if it.group in groups} <= SAID.keys()
    assert len(CASES) == len(SAID)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_certificate_is_refused_for_its_fault(case: Case) -> None:
    with case.stage() as stage:
        context = ssl.create_default_context(cadata=stage.trusted)
        context.hostname_checks_common_name = False
        with socket.create_connection(stage.address, timeout=10) as tcp:
            with pytest.raises(ssl.SSLCertVerificationError) as caught:
                context.wrap_socket(tcp, server_hostname=stage.host)
    assert SAID[case.scenario.identifier] in caught.value.verify_message


FOR_DOCUMENTATION = x509.ObjectIdentifier("1.3.6.1.4.1.32473.1")


def read(credential: Credential) -> x509.Certificate:
    return x509.load_der_x509_certificate(credential.certificate)


def test_a_certificate_can_have_any_further_extension(authority: Authority) -> None:
    unknown = x509.UnrecognizedExtension(FOR_DOCUMENTATION, b"\x05\0")
    leaf = authority.issue("localhost", further_extensions=[(unknown, True)])
    (*_, last) = read(leaf).extensions
    assert last.value == unknown
    assert last.critical


def test_a_certificate_can_have_an_extension_twice(authority: Authority) -> None:
    second = x509.SubjectAlternativeName([x509.DNSName("b.example")])
    leaf = authority.issue("a.example", further_extensions=[(second, False)])
    with pytest.raises(x509.DuplicateExtension):
        _ = read(leaf).extensions
    read(leaf).verify_directly_issued_by(x509.load_der_x509_certificate(authority.certificate))


def test_a_certificate_of_version_1_has_no_extension(authority: Authority) -> None:
    old = authority.intermediate("old CA", version_1=True)
    certificate = x509.load_der_x509_certificate(old.certificate)
    assert certificate.version is x509.Version.v1
    assert not list(certificate.extensions)
    issuer = x509.load_der_x509_certificate(authority.certificate)
    certificate.verify_directly_issued_by(issuer)
    read(old.issue("localhost")).verify_directly_issued_by(certificate)


def test_a_certificate_can_have_a_subject_of_any_size(authority: Authority, client: Client) -> None:
    further = [
        (NameOID.ORGANIZATIONAL_UNIT_NAME, "u" * 50_000),
        (NameOID.COMMON_NAME, "c" * 35_000),
        *[(NameOID.ORGANIZATIONAL_UNIT_NAME, f"unit {number}") for number in range(300)],
    ]
    leaf = authority.issue("localhost", further_subject=further)
    assert 90_000 < len(leaf.certificate) < 100_000
    with Server(leaf) as server:  # and OpenSSL takes it
        tls = client.connect(server)
        assert tls.getpeercert(binary_form=True) == leaf.certificate
        assert len(tls.getpeercert()["subject"]) == 303  # type: ignore[index,arg-type]


def test_a_certificate_can_have_names_by_the_thousand(authority: Authority, client: Client) -> None:
    names = [f"host-{number}.example" for number in range(4_000)]
    leaf = authority.issue("localhost", *names)
    assert len(leaf.certificate) > 75_000
    with Server(leaf) as server:
        assert client.connect(server).getpeercert(binary_form=True) == leaf.certificate


@pytest.mark.parametrize(
    ("kind", "weak"),
    [("p-256", "sha1"), ("p-384", "sha1"), ("rsa-2048", "sha1"), ("rsa-2048", "md5")],
)
def test_a_certificate_can_be_signed_weakly(kind: str, weak: str, client: Client) -> None:
    root = Authority(key=kind)  # type: ignore[arg-type]
    leaf = root.issue("localhost", signature_hash=weak)  # type: ignore[typeddict-item]
    algorithm = read(leaf).signature_hash_algorithm
    assert algorithm is not None
    assert algorithm.name == weak
    context = client.context(trust=root)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with Server(leaf, ciphers="DEFAULT:@SECLEVEL=0") as server:
        # The signature is good, if one does not mind its hash.
        assert client.connect(server, context).getpeercert(binary_form=True) == leaf.certificate


@pytest.mark.parametrize(("kind", "weak"), [("p-256", "md5"), ("ed25519", "sha1")])
def test_a_weak_signature_that_does_not_exist_is_an_error(kind: str, weak: str) -> None:
    root = Authority(key=kind)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=f"a {kind} key makes no signature with {weak}"):
        root.issue("localhost", signature_hash=weak)  # type: ignore[typeddict-item]


def test_an_address_can_be_written_as_a_dns_name(authority: Authority) -> None:
    leaf = authority.issue("DNS:127.0.0.1", "127.0.0.2")
    extension = read(leaf).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert extension.value.get_values_for_type(x509.DNSName) == ["127.0.0.1"]
    assert [str(it) for it in extension.value.get_values_for_type(x509.IPAddress)] == ["127.0.0.2"]
    assert read(leaf).subject.rfc4514_string() == "CN=127.0.0.1"


def test_a_session_is_kept_though_the_server_ended_the_connection(
    version: str, leaf: Credential, client: Client
) -> None:
    ending = Http(lambda request: Response(headers={"Connection": "close"}))
    context = client.context(version)
    with Server(leaf, resumption="session-ids", application=ending) as server:
        reused = []
        session = None
        for _ in range(2):
            with client.connect(server, context, session=session) as tls:
                tls.sendall(b"GET / HTTP/1.1\r\n\r\n")
                while tls.recv(100):
                    pass
                reused.append(tls.session_reused)
                session = tls.session
            server.settle()
    assert reused == [False, True]
