"""Attackers whose certificates are in order: nothing but the pin tells them from the server."""

from __future__ import annotations

from cryptography import x509

from ..authority import Authority, Credential
from ..cast import Cast
from ..keys import KEY_KINDS
from ..scenario import Scenario
from ._attackers import CA_PINS, ca_pinned, name_of, presenting

__all__ = ["SCENARIOS"]

PIN_VALIDATION = "RFC 7469, section 2.6"
UNVERIFIED_CHAIN = "CVE-2016-2402"
FOR_DOCUMENTATION = x509.ObjectIdentifier("1.3.6.1.4.1.32473.1")  # RFC 5612


def _issuing(cast: Cast) -> Authority:
    return cast.issuing


def _root(cast: Cast) -> Authority:
    return cast.root


def _impostor(cast: Cast) -> Credential:
    return cast.impostor


def _other_key(cast: Cast) -> Credential:
    return cast.issuing.issue(*cast.names, key=cast.impostor.key)


def _followed_by(credential: Credential, *certificates: bytes) -> Credential:
    return credential.with_chain(*credential.chain, *certificates)


def _pinned_leaf_appended(cast: Cast) -> Credential:
    return _followed_by(_other_key(cast), cast.pinned.certificate)


def _pinned_chain_appended(cast: Cast) -> Credential:
    return _followed_by(cast.impostor, *cast.pinned.chain)


def _pinned_intermediate_appended(cast: Cast) -> Credential:
    return _followed_by(cast.impostor, cast.issuing.certificate)


def _pinned_root_appended(cast: Cast) -> Credential:
    return _followed_by(cast.impostor, cast.root.certificate)


def _twin(cast: Cast) -> Credential:
    twin = cast.other_root.intermediate(name_of(cast.issuing))
    return twin.issue(*cast.names, key=cast.impostor.key)


def _twin_with_key_identifier(cast: Cast) -> Credential:
    genuine = x509.load_der_x509_certificate(cast.issuing.certificate)
    identifier = genuine.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    twin = cast.other_root.intermediate(
        name_of(cast.issuing), subject_key_identifier=identifier.digest
    )
    return _followed_by(twin.issue(*cast.names, key=cast.impostor.key), cast.issuing.certificate)


def _imitated_key_identifier(cast: Cast) -> Credential:
    public_key = cast.pinned.key.private.public_key()
    return cast.other_root.issue(
        *cast.names,
        key=cast.impostor.key,
        subject_key_identifier=x509.SubjectKeyIdentifier.from_public_key(public_key).digest,
    )


def _pinned_key_in_an_extension(cast: Cast) -> Credential:
    carried = x509.UnrecognizedExtension(FOR_DOCUMENTATION, cast.pinned.key.spki)
    return cast.other_root.issue(
        *cast.names, key=cast.impostor.key, further_extensions=[(carried, False)]
    )


SCENARIOS = (
    Scenario(
        "other-ca",
        "certificates",
        "A certificate for the same name, from another authority that the client trusts.",
        "reject",
        PIN_VALIDATION,
        presenting(_impostor),
        keys=KEY_KINDS,
    ),
    Scenario(
        "other-ca-chain",
        "certificates",
        "The same, where any key of the verified chain may be the pinned one.",
        "reject",
        PIN_VALIDATION,
        presenting(_impostor, match="chain"),
        keys=KEY_KINDS,
    ),
    Scenario(
        "other-ca-intermediate-pinned",
        "certificates",
        "A certificate for the same name, from another authority than the pinned intermediate.",
        "reject",
        PIN_VALIDATION,
        ca_pinned(_impostor, _issuing),
        claims=CA_PINS,
    ),
    Scenario(
        "other-ca-root-pinned",
        "certificates",
        "A certificate for the same name, below another root than the pinned one.",
        "reject",
        PIN_VALIDATION,
        ca_pinned(_impostor, _root),
        claims=CA_PINS,
    ),
    Scenario(
        "same-issuer",
        "certificates",
        "A certificate for the same name and from the same authority, for another key.",
        "reject",
        PIN_VALIDATION,
        presenting(_other_key),
        keys=KEY_KINDS,
    ),
    Scenario(
        "same-issuer-chain",
        "certificates",
        "The same, where any key of the verified chain may be the pinned one.",
        "reject",
        PIN_VALIDATION,
        presenting(_other_key, match="chain"),
        keys=KEY_KINDS,
    ),
    Scenario(
        "pinned-leaf-appended",
        "certificates",
        "The server's own certificate is sent behind the attacker's chain, as if it belonged to"
        " it.",
        "reject",
        UNVERIFIED_CHAIN,
        presenting(_pinned_leaf_appended, match="chain"),
        keys=KEY_KINDS,
    ),
    Scenario(
        "pinned-chain-appended",
        "certificates",
        "The server's whole chain is sent behind a certificate from another trusted authority.",
        "reject",
        UNVERIFIED_CHAIN,
        presenting(_pinned_chain_appended, match="chain"),
        keys=KEY_KINDS,
    ),
    Scenario(
        "pinned-intermediate-appended",
        "certificates",
        "The pinned intermediate is sent behind a certificate from another trusted authority.",
        "reject",
        UNVERIFIED_CHAIN,
        ca_pinned(_pinned_intermediate_appended, _issuing),
        keys=KEY_KINDS,
        claims=CA_PINS,
    ),
    Scenario(
        "pinned-root-appended",
        "certificates",
        "The pinned root is sent behind a certificate from another trusted authority.",
        "reject",
        UNVERIFIED_CHAIN,
        ca_pinned(_pinned_root_appended, _root),
        keys=KEY_KINDS,
        claims=CA_PINS,
    ),
    Scenario(
        "twin-intermediate",
        "certificates",
        "An intermediate with the name of the pinned one and another key, below another trusted"
        " root.",
        "reject",
        PIN_VALIDATION,
        ca_pinned(_twin, _issuing),
        keys=KEY_KINDS,
        claims=CA_PINS,
    ),
    Scenario(
        "twin-intermediate-and-genuine",
        "certificates",
        "The same with the key identifier of the pinned intermediate, which is sent behind it.",
        "reject",
        f"{UNVERIFIED_CHAIN}; RFC 5280, section 4.2.1.2",
        ca_pinned(_twin_with_key_identifier, _issuing),
        claims=CA_PINS,
    ),
    Scenario(
        "imitated-key-identifier",
        "certificates",
        "The certificate claims the key identifier of the pinned key for another key.",
        "reject",
        "RFC 5280, section 4.2.1.2; RFC 7469, section 2.4",
        presenting(_imitated_key_identifier),
    ),
    Scenario(
        "pinned-key-in-extension",
        "certificates",
        "The certificate carries the bytes of the pinned key, but in an extension.",
        "reject",
        "RFC 7469, section 2.4",
        presenting(_pinned_key_in_an_extension),
    ),
)
