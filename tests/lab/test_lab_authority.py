"""keypin.lab: keys and certificates, judged by the openssl command and by ssl's own clients."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keypin import Pin
from keypin.lab import (
    KEY_KINDS,
    Authority,
    Credential,
    KeyKind,
    NameConstraints,
    Server,
    new_key,
    self_signed,
)

if TYPE_CHECKING:
    from conftest import Client

needs_openssl = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="needs openssl (make system-deps)"
)

NOW = datetime.now(UTC)
DAY = timedelta(days=1)


def openssl(*arguments: str, data: bytes) -> bytes:
    done = subprocess.run(["openssl", *arguments], input=data, capture_output=True, check=True)
    return done.stdout


def accepted(
    client: Client,
    credential: Credential,
    name: str,
    trust: Authority | None = None,
    *,
    strict: bool = True,
) -> bool:
    """Whether a client accepts a server by that name; raises where it does not."""
    context = client.context(trust=trust)
    context.hostname_checks_common_name = False
    if strict:
        context.verify_flags |= ssl.VERIFY_X509_STRICT
    with Server(credential) as server, client.connect(server, context, name=name) as tls:
        return tls.getpeercert(binary_form=True) == credential.certificate


@pytest.mark.parametrize("kind", KEY_KINDS)
@needs_openssl
def test_a_key_is_written_as_openssl_writes_it(kind: KeyKind) -> None:
    key = new_key(kind)
    assert openssl("pkey", "-pubout", "-outform", "DER", data=key.pem) == key.spki
    assert openssl("pkey", data=key.pem) == key.pem


@needs_openssl
def test_an_rsa_pss_certificate_names_its_key_rsassa_pss(authority: Authority) -> None:
    credential = authority.issue("localhost", key="rsa-pss")
    text = openssl("x509", "-inform", "DER", "-noout", "-text", data=credential.certificate)
    assert b"Public Key Algorithm: rsassaPss" in text
    assert credential.key.spki in credential.certificate
    parsed = x509.load_der_x509_certificate(credential.certificate).public_key()
    reencoded = parsed.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert reencoded != credential.key.spki


def test_an_unknown_kind_of_key_is_an_error() -> None:
    with pytest.raises(ValueError, match="rsa-2048, rsa-pss, p-256, p-384, ed25519"):
        new_key("rsa-512")  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KEY_KINDS)
@needs_openssl
def test_openssl_verifies_a_chain_of_any_kind_strictly(kind: KeyKind, tmp_path: Path) -> None:
    root = Authority("root", key=kind)
    credential = root.intermediate("intermediate", key=kind).issue("a.test", key=kind)
    files = credential.write(tmp_path)
    anchor = tmp_path / "root.pem"
    anchor.write_text(root.pem)
    verified = openssl(
        *("verify", "-x509_strict", "-purpose", "sslserver", "-verify_hostname", "a.test"),
        *("-CAfile", str(anchor), "-untrusted", str(files.chain), str(files.chain)),
        data=b"",
    )
    assert verified.endswith(b": OK\n")


@pytest.mark.parametrize("kind", KEY_KINDS)
def test_a_client_accepts_a_chain_of_any_kind(kind: KeyKind, client: Client) -> None:
    root = Authority("root", key=kind)
    issuing = root.intermediate("issuing", key=kind)
    assert accepted(client, issuing.issue("localhost", key=kind), "localhost", root)


@pytest.mark.parametrize("kind", KEY_KINDS)
def test_an_authority_of_any_kind_certifies_an_rsa_pss_key(kind: KeyKind, client: Client) -> None:
    root = Authority("root", key=kind)
    credential = root.issue("localhost", key="rsa-pss")
    assert credential.key.spki in credential.certificate
    assert accepted(client, credential, "localhost", root)


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("name", ["a.test", "www.example.test", "127.0.0.1", "::1"])
def test_a_client_accepts_every_name_of_a_good_certificate(
    authority: Authority, client: Client, name: str, strict: bool
) -> None:
    credential = authority.issue("a.test", "*.example.test", "127.0.0.1", "::1")
    assert accepted(client, credential, name, strict=strict)


def test_a_long_name_stands_in_the_subject_alternative_name_only(
    authority: Authority, client: Client
) -> None:
    name = f"{'a' * 60}.{'b' * 60}.test"
    assert accepted(client, authority.issue(name), name)


@pytest.mark.parametrize("kind", KEY_KINDS)
def test_a_renewed_certificate_has_the_same_key(
    kind: KeyKind, authority: Authority, client: Client
) -> None:
    expired = authority.issue("localhost", key=kind, not_after=NOW - DAY)
    renewed = expired.renew()
    old, new = map(x509.load_der_x509_certificate, (expired.certificate, renewed.certificate))
    assert renewed.key is expired.key
    assert renewed.pin == expired.pin
    assert new.serial_number != old.serial_number
    assert new.not_valid_after_utc > NOW > old.not_valid_after_utc
    assert accepted(client, renewed, "localhost")


def test_a_certificate_renewed_elsewhere_has_the_other_issuer(client: Client) -> None:
    credential = Authority("first").issue("localhost")
    second = Authority("second")
    assert accepted(client, credential.renew(second), "localhost", second)


def test_a_self_signed_certificate_renews_itself() -> None:
    credential = self_signed("localhost")
    certificate = x509.load_der_x509_certificate(credential.renew().certificate)
    assert certificate.issuer == certificate.subject
    assert credential.renew().pin == credential.pin


def test_a_cross_signed_authority_is_the_same_one_on_another_path(client: Client) -> None:
    old, new = Authority("old"), Authority("new")
    credential = new.issue("localhost")
    cross = old.cross_sign(new)
    assert cross.pin == new.pin
    alternate = credential.with_chain(credential.certificate, *cross.chain)
    assert accepted(client, alternate, "localhost", old)
    assert accepted(client, alternate, "localhost", new)


def test_a_chain_can_be_reversed_and_carry_the_root_and_strangers(
    authority: Authority, client: Client
) -> None:
    credential = (
        authority.intermediate("upper", path_length=1).intermediate("lower").issue("a.test")
    )
    leaf, lower, upper = credential.chain
    stranger = Authority("stranger")
    for chain in (
        (leaf, upper, lower),
        (leaf, lower, upper, authority.certificate),
        (leaf, stranger.certificate, lower, upper),
    ):
        assert accepted(client, credential.with_chain(*chain), "a.test")


def test_another_authority_can_have_the_same_name(authority: Authority, client: Client) -> None:
    first, second = authority.intermediate("twin"), authority.intermediate("twin")
    certificates = [x509.load_der_x509_certificate(twin.certificate) for twin in (first, second)]
    assert certificates[0].subject == certificates[1].subject
    assert first.pin != second.pin
    assert accepted(client, second.issue("localhost"), "localhost")


def test_an_imitator_can_copy_the_key_identifier(authority: Authority, client: Client) -> None:
    twin = authority.intermediate("twin")
    identifier = (
        x509.load_der_x509_certificate(twin.certificate)
        .extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
        .value.digest
    )
    rogue = Authority("rogue").intermediate("twin", subject_key_identifier=identifier)
    credential = rogue.issue("localhost")
    with pytest.raises(ssl.SSLCertVerificationError, match="unable to get local issuer"):
        accepted(client, credential, "localhost")
    with pytest.raises(ssl.SSLCertVerificationError, match="signature failure"):
        accepted(client, credential.with_chain(credential.certificate, *twin.chain), "localhost")


def leaf_as_authority(authority: Authority) -> Credential:
    return authority.issue("a.test").as_authority().issue("localhost")


def too_long_a_path(authority: Authority) -> Credential:
    return authority.intermediate("upper").intermediate("lower").issue("localhost")


def outside_the_permitted_names(authority: Authority) -> Credential:
    constraints = NameConstraints(permitted=("good.test", "10.0.0.0/8"))
    return authority.intermediate("constrained", name_constraints=constraints).issue("localhost")


def an_excluded_name(authority: Authority) -> Credential:
    constraints = NameConstraints(excluded=("localhost",))
    return authority.intermediate("constrained", name_constraints=constraints).issue("localhost")


def an_authority_for_clients(authority: Authority) -> Credential:
    clients = authority.intermediate("clients", extended_key_usage=("clientAuth",))
    return clients.issue("localhost")


def an_expired_intermediate(authority: Authority) -> Credential:
    return authority.intermediate("expired", not_after=NOW - DAY).issue("localhost")


FAULTS: dict[str, tuple[Callable[[Authority], Credential], str]] = {
    "untrusted root": (lambda _: Authority("other").issue("localhost"), "local issuer"),
    "same root name, other key": (
        lambda _: Authority().issue("localhost"),
        "unable to get local issuer|signature failure",
    ),
    "self-signed": (lambda _: self_signed("localhost"), "self-signed certificate"),
    "expired": (lambda root: root.issue("localhost", not_after=NOW - DAY), "has expired"),
    "not yet valid": (lambda root: root.issue("localhost", not_before=NOW + DAY), "not yet valid"),
    "expired intermediate": (an_expired_intermediate, "has expired"),
    "another name": (lambda root: root.issue("a.test"), "not valid for 'localhost'"),
    "common name only": (lambda root: root.issue(common_name="localhost"), "not valid for"),
    "leaf acting as a CA": (leaf_as_authority, "invalid CA certificate"),
    "path length": (too_long_a_path, "path length constraint exceeded"),
    "name not permitted": (outside_the_permitted_names, "permitted subtree violation"),
    "name excluded": (an_excluded_name, "excluded subtree violation"),
    "client certificate": (
        lambda root: root.issue("localhost", extended_key_usage=("clientAuth",)),
        "certificate purpose",
    ),
    "CA for clients": (an_authority_for_clients, "certificate purpose|invalid CA"),
}


def test_a_common_name_alone_is_a_name_to_ssl_unless_it_is_told_otherwise(
    authority: Authority, client: Client
) -> None:
    credential = authority.issue(common_name="localhost")
    context = client.context()
    assert context.hostname_checks_common_name
    with Server(credential) as server, client.connect(server, context) as tls:
        assert tls.getpeercert(binary_form=True) == credential.certificate


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_client_rejects_each_fault(
    fault: str, strict: bool, authority: Authority, client: Client
) -> None:
    make, message = FAULTS[fault]
    with pytest.raises(ssl.SSLCertVerificationError, match=message):
        accepted(client, make(authority), "localhost", strict=strict)


@pytest.mark.parametrize(
    ("certified", "asked"),
    [
        ("*", "localhost"),
        ("*.com", "example.com"),
        ("w*.example.com", "www.example.com"),
        ("*w.example.com", "www.example.com"),
        ("*.example.com", "a.b.example.com"),
        ("*.example.com", "example.com"),
        ("www.*.com", "www.example.com"),
        ("good.test\0.evil.test", "good.test"),
    ],
)
def test_a_client_rejects_misused_wildcards_and_nul(
    certified: str, asked: str, authority: Authority, client: Client
) -> None:
    credential = authority.issue(certified)
    assert certified.encode() in credential.certificate
    with pytest.raises(ssl.SSLCertVerificationError, match=f"not valid for '{asked}'"):
        accepted(client, credential, asked)


def test_a_self_signed_certificate_can_have_another_ones_key(leaf: Credential) -> None:
    forged = self_signed("localhost", key=leaf.key)
    assert forged.pin == leaf.pin
    assert forged.certificate != leaf.certificate


def test_dates_key_usage_and_serial_are_as_asked(authority: Authority) -> None:
    credential = authority.issue(
        "a.test",
        not_before=NOW - DAY,
        not_after=NOW + DAY,
        key_usage=("keyAgreement", "cRLSign"),
        extended_key_usage=(),
    )
    certificate = x509.load_der_x509_certificate(credential.certificate)
    assert certificate.not_valid_before_utc == (NOW - DAY).replace(microsecond=0)
    assert certificate.not_valid_after_utc == (NOW + DAY).replace(microsecond=0)
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.key_agreement
    assert usage.crl_sign
    assert not usage.digital_signature
    with pytest.raises(x509.ExtensionNotFound):
        certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage)


def test_a_certificate_can_do_without_a_key_usage(authority: Authority, client: Client) -> None:
    credential = authority.issue("localhost", key_usage=())
    extensions = x509.load_der_x509_certificate(credential.certificate).extensions
    with pytest.raises(x509.ExtensionNotFound):
        extensions.get_extension_for_class(x509.KeyUsage)
    assert accepted(client, credential, "localhost")


def test_a_pin_is_of_the_first_certificate(authority: Authority) -> None:
    credential = authority.intermediate("issuing").issue("a.test")
    assert credential.pin == Pin.from_certificate(credential.chain[0])
    assert credential.pin == Pin.from_public_key(credential.key.spki)


@needs_openssl
def test_written_files_are_what_openssl_reads(authority: Authority, tmp_path: Path) -> None:
    credential = authority.intermediate("issuing").issue("a.test")
    files = credential.write(tmp_path / "new" / "folder")
    assert files.certificate.read_bytes() == credential.certificate
    assert files.chain.read_bytes().count(b"BEGIN CERTIFICATE") == 2
    assert (
        openssl("x509", "-outform", "DER", data=files.chain.read_bytes()) == credential.certificate
    )
    assert openssl("pkey", data=files.key.read_bytes()) == credential.key_pem
    assert files.key.stat().st_mode & 0o077 == 0
