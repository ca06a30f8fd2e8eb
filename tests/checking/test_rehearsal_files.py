"""Rehearsals with files: what they may be, and what is said of those that are something else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from scene import HOST, authority, issuing, pinned, pins_for, unpinned

from keypin.checking.findings import Severity, worst
from keypin.checking.rehearsal import Code
from keypin.cli.exit_codes import CommandError, ExitCode
from keypin.cli.rehearsals import rehearse_files
from keypin.lab import Authority, new_key
from keypin.lab._der import pem

LEAF_ONLY = {"match": "leaf"}


@pytest.fixture
def pins(tmp_path):
    path = tmp_path / "pins.toml"
    pins_for(pinned(), **LEAF_ONLY).dump(path)
    return path


@pytest.fixture
def cafile(tmp_path):
    path = tmp_path / "ca.pem"
    path.write_text(authority().pem)
    return path


def request(key, *names: str) -> x509.CertificateSigningRequest:
    builder = x509.CertificateSigningRequestBuilder(x509.Name([]))
    if names:
        alternative = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
        builder = builder.add_extension(alternative, False)
    return builder.sign(key.private, SHA256())


def forms(credential) -> dict[str, bytes]:
    """One server's certificate, request and key, in all forms that these come in."""
    private, csr = credential.key.private, request(credential.key, HOST)
    public = private.public_key()
    spki = PublicFormat.SubjectPublicKeyInfo
    old, pkcs8 = PrivateFormat.TraditionalOpenSSL, PrivateFormat.PKCS8
    parameters = pem("EC PARAMETERS", bytes.fromhex("06082a8648ce3d030107"))
    return {
        "chain.pem": b"# the chain\n" + credential.chain_pem,
        "chain and key.pem": credential.key_pem + credential.chain_pem,
        "request.pem": csr.public_bytes(Encoding.PEM),
        "request.der": csr.public_bytes(Encoding.DER),
        "key.pem": credential.key_pem,
        "key.der": private.private_bytes(Encoding.DER, pkcs8, NoEncryption()),
        "old key.pem": parameters + private.private_bytes(Encoding.PEM, old, NoEncryption()),
        "old key.der": private.private_bytes(Encoding.DER, old, NoEncryption()),
        "public key.pem": public.public_bytes(Encoding.PEM, spki),
        "public key.der": public.public_bytes(Encoding.DER, spki),
    }


@pytest.mark.parametrize("form", forms(pinned()))
def test_every_form_of_a_candidate_is_read(form, tmp_path, pins, cafile):
    path = tmp_path / form
    for credential, severity in ((pinned(), Severity.OK), (unpinned(), Severity.CRITICAL)):
        path.write_bytes(forms(credential)[form])
        findings = rehearse_files([path], [pins], cafiles=[cafile])
        assert worst(findings) is severity
        assert [each.where for each in findings] == [str(pins)]


def test_an_authority_and_a_certificate_in_der_are_read(tmp_path, pins, cafile):
    path = tmp_path / "certificate.cer"
    path.write_bytes(issuing().certificate)
    [finding] = rehearse_files([path], [pins], cafiles=[cafile])
    assert (finding.severity, finding.code) == (Severity.OK, Code.ACCEPTED)
    path.write_bytes(authority().issue(HOST, key=pinned().key).certificate)
    assert worst(rehearse_files([path], [pins], cafiles=[cafile])) is Severity.OK


def test_several_candidates_are_told_apart(tmp_path, pins, cafile):
    good, bad = tmp_path / "good.pem", tmp_path / "bad.pem"
    good.write_bytes(pinned().chain_pem)
    bad.write_bytes(unpinned().chain_pem)
    findings = rehearse_files([good, bad], [pins], cafiles=[cafile])
    assert [(each.severity, each.where) for each in findings] == [
        (Severity.OK, f"{pins}, {good}"),
        (Severity.CRITICAL, f"{pins}, {bad}"),
    ]


def test_several_pin_files_trust_stores_a_host_and_a_day(tmp_path, pins, cafile):
    old, other = tmp_path / "old.json", tmp_path / "other.pem"
    pins_for(unpinned(), **LEAF_ONLY).dump(old)
    other.write_text(Authority("another").pem)
    path = tmp_path / "chain.pem"
    path.write_bytes(pinned().chain_pem)
    findings = rehearse_files([path], [pins, old], [HOST], cafiles=[cafile])
    assert [each.severity for each in findings] == [Severity.OK, Severity.CRITICAL]
    codes = [each.code for each in rehearse_files([path], [pins], cafiles=[cafile, other])]
    assert codes == [Code.NOT_VERIFIED, Code.ACCEPTED]
    later = datetime.now(UTC) + timedelta(days=365)
    assert worst(rehearse_files([path], [pins], at=later, cafiles=[cafile])) is Severity.CRITICAL


def test_without_a_cafile_the_authorities_of_the_system_count(tmp_path, pins, monkeypatch, cafile):
    path = tmp_path / "chain.pem"
    path.write_bytes(pinned().chain_pem)
    assert worst(rehearse_files([path], [pins])) is Severity.CRITICAL
    monkeypatch.setenv("SSL_CERT_FILE", str(cafile))
    assert worst(rehearse_files([path], [pins])) is Severity.OK


def encrypted(form: PrivateFormat) -> bytes:
    password = BestAvailableEncryption(b"secret")
    return pinned().key.private.private_bytes(Encoding.PEM, form, password)


def forged_request() -> bytes:
    good = request(pinned().key, HOST).public_bytes(Encoding.DER)
    return good.replace(b"localhost", b"localhosx")


BAD = {
    "nothing": (b"", "an empty file"),
    "text": (b"hello", "not a certificate in DER or PEM"),
    "not base64": (b"-----BEGIN PUBLIC KEY-----\n!\n-----END PUBLIC KEY-----\n", "not base64"),
    "pkcs8": (encrypted(PrivateFormat.PKCS8), "an encrypted private key"),
    "old": (encrypted(PrivateFormat.TraditionalOpenSSL), "encrypted, or not base64"),
    "pss": (new_key("rsa-pss").pem, "a pin of its own"),
    "several": (new_key("p-256").pem + pinned().key.pem, "several keys"),
    "forged": (forged_request(), "not signed with its own key"),
    "crl": (b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n", "a revocation list"),
    "backwards": (
        b"".join(pem("CERTIFICATE", each) for each in pinned().chain[::-1]),
        "a server sends its own before",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_a_candidate_that_is_something_else_is_refused_with_what_it_is(what, tmp_path, pins):
    data, message = BAD[what]
    path = tmp_path / "candidate"
    path.write_bytes(data)
    with pytest.raises(CommandError, match=message) as caught:
        rehearse_files([path], [pins])
    assert caught.value.code is ExitCode.BAD_FILE
    assert str(path) in caught.value.message


def test_files_that_are_not_there_or_not_right_and_hosts_that_are_none(tmp_path, pins, cafile):
    chain, missing = tmp_path / "chain.pem", tmp_path / "missing.toml"
    chain.write_bytes(pinned().chain_pem)
    wrong = tmp_path / "wrong.toml"
    wrong.write_text("schema = 1")
    for arguments, code in (
        (([missing], [pins], [], None, [cafile]), ExitCode.NO_FILE),
        (([chain], [missing], [], None, [cafile]), ExitCode.NO_FILE),
        (([chain], [wrong], [], None, [cafile]), ExitCode.BAD_FILE),
        (([chain], [pins], [], None, [missing]), ExitCode.NO_FILE),
        (([chain], [pins], [], None, [wrong]), ExitCode.BAD_FILE),
        (([chain], [pins], ["a b"], None, [cafile]), ExitCode.USAGE),
    ):
        with pytest.raises(CommandError) as caught:
            rehearse_files(*arguments)
        assert caught.value.code is code
