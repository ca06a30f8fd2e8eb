"""Certificates that no trusted authority has signed, or not in a way that can be trusted.

Most hold the pinned key, so that the pin alone would let them pass: it comes on top of that check.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from ..authority import Authority, Credential, self_signed
from ..cast import Cast, cast_of
from ..keys import KEY_KINDS, Key
from ._attackers import CA_PINS, ENOUGH_KEYS, ca_pinned, in_group, name_of, presenting

if TYPE_CHECKING:
    from ..stage import Stage

__all__ = ["SCENARIOS"]

PATH_VALIDATION = "RFC 5280, section 6.1"
SHORT = 1024  # bits
EVEN_WEAK = "DEFAULT:@SECLEVEL=0"  # the server's own OpenSSL would not load these certificates


# Whom nobody trusts


def _self_signed(cast: Cast) -> Credential:
    return self_signed(*cast.names, key=cast.impostor.key)


def _self_signed_pinned_key(cast: Cast) -> Credential:
    return self_signed(*cast.names, key=cast.pinned.key)


def _untrusted(cast: Cast) -> Credential:
    return Authority("keypin lab: unknown root").issue(*cast.names, key=cast.impostor.key)


def _untrusted_pinned_key(cast: Cast) -> Credential:
    return Authority("keypin lab: unknown root").issue(*cast.names, key=cast.pinned.key)


def _untrusted_same_name(cast: Cast) -> Credential:
    return Authority(name_of(cast.root)).issue(*cast.names, key=cast.impostor.key)


def _untrusted_sent_along(cast: Cast) -> Credential:
    unknown = Authority(name_of(cast.root))
    leaf = unknown.issue(*cast.names, key=cast.pinned.key)
    return leaf.with_chain(leaf.certificate, unknown.certificate)


def _forged_issuer(cast: Cast) -> Credential:
    genuine = x509.load_der_x509_certificate(cast.issuing.certificate)
    identifier = genuine.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    forger = Authority(name_of(cast.issuing), subject_key_identifier=identifier.digest)
    leaf = forger.issue(*cast.names, key=cast.impostor.key)
    return leaf.with_chain(leaf.certificate, *cast.issuing.chain)


def _altered_signature(cast: Cast) -> Credential:
    certificate = cast.pinned.renew().certificate
    altered = certificate[:-1] + bytes([certificate[-1] ^ 1])
    return cast.pinned.with_chain(altered, *cast.pinned.chain[1:])


# What can be forged by computation


@cache
def _short_rsa_key() -> Key:
    private = rsa.generate_private_key(public_exponent=65537, key_size=SHORT)
    return Key("rsa-2048", private)


def _sha1(cast: Cast) -> Credential:
    return cast.issuing.issue(*cast.names, key=cast.pinned.key, signature_hash="sha1")


def _sha1_of_ca(cast: Cast) -> Credential:
    careless = cast.root.intermediate("signed with SHA-1", signature_hash="sha1")
    return careless.issue(*cast.names, key=cast.pinned.key)


def _md5(cast: Cast) -> Credential:
    careless = cast.root.intermediate("RSA CA", key=cast_of("rsa-2048").backup.key)
    return careless.issue(*cast.names, key=cast.pinned.key, signature_hash="md5")


def _short_key(cast: Cast) -> Credential:
    return cast.issuing.issue(*cast.names, key=_short_rsa_key())


def _short_key_of_ca(cast: Cast) -> Credential:
    careless = cast.root.intermediate("CA with a short key", key=_short_rsa_key())
    return careless.issue(*cast.names, key=cast.pinned.key)


def _short_key_pinned(stage: Stage) -> None:
    credential = _short_key(stage.cast)
    stage.pins = [credential.pin]
    stage.attacker(stage.serving(credential, ciphers=EVEN_WEAK))


_untrusted_chain = in_group("untrusted", "reject")


SCENARIOS = (
    _untrusted_chain(
        "self-signed",
        "A certificate that has signed itself.",
        PATH_VALIDATION,
        presenting(_self_signed),
        keys=KEY_KINDS,
    ),
    _untrusted_chain(
        "self-signed-pinned-key",
        "A certificate that has signed itself, with the pinned key.",
        PATH_VALIDATION,
        presenting(_self_signed_pinned_key),
        keys=KEY_KINDS,
    ),
    _untrusted_chain(
        "untrusted-root",
        "A certificate below a root that the client does not trust.",
        PATH_VALIDATION,
        presenting(_untrusted),
        keys=KEY_KINDS,
    ),
    _untrusted_chain(
        "untrusted-root-pinned-key",
        "A certificate for the pinned key below a root that the client does not trust.",
        PATH_VALIDATION,
        presenting(_untrusted_pinned_key),
        keys=KEY_KINDS,
    ),
    _untrusted_chain(
        "untrusted-root-same-name",
        "A certificate below an untrusted root with the name of the pinned root.",
        PATH_VALIDATION,
        ca_pinned(_untrusted_same_name, lambda cast: cast.root),
        keys=KEY_KINDS,
        claims=CA_PINS,
    ),
    _untrusted_chain(
        "untrusted-root-sent-along",
        "The pinned key, certified by an untrusted root with the name of the trusted one, which"
        " is sent along.",
        PATH_VALIDATION,
        presenting(_untrusted_sent_along),
    ),
    _untrusted_chain(
        "forged-issuer",
        "A certificate that names the pinned intermediate, sent behind it, as its issuer, and was"
        " signed by somebody else.",
        "RFC 5280, section 6.1.3 (a)(1)",
        ca_pinned(_forged_issuer, lambda cast: cast.issuing),
        keys=ENOUGH_KEYS,
        claims=CA_PINS,
    ),
    _untrusted_chain(
        "altered-signature",
        "A certificate for the pinned key in whose signature one bit was changed.",
        "RFC 5280, section 6.1.3 (a)(1)",
        presenting(_altered_signature),
    ),
    _untrusted_chain(
        "md5-signature",
        "A certificate for the pinned key, signed with MD5, for which collisions can be had.",
        "RFC 8446, section 4.4.2.4; CVE-2004-2761",
        presenting(_md5, ciphers=EVEN_WEAK),
        keys=ENOUGH_KEYS,
    ),
    _untrusted_chain(
        "sha1-signature",
        "A certificate for the pinned key, signed with SHA-1.",
        "RFC 8446, section 4.4.2.4",
        presenting(_sha1, ciphers=EVEN_WEAK),
        keys=ENOUGH_KEYS,
    ),
    _untrusted_chain(
        "sha1-signature-of-ca",
        "A certificate for the pinned key from an intermediate that was signed with SHA-1.",
        "RFC 8446, section 4.4.2.4",
        presenting(_sha1_of_ca, ciphers=EVEN_WEAK),
    ),
    _untrusted_chain(
        "short-key",
        "The pinned key is RSA with 1024 bits, which may have been computed by others.",
        "CA/Browser Forum Baseline Requirements, section 6.1.5",
        _short_key_pinned,
        keys=("rsa-2048",),
    ),
    _untrusted_chain(
        "short-key-of-ca",
        "A certificate for the pinned key from an intermediate with 1024 bits of RSA.",
        "CA/Browser Forum Baseline Requirements, section 6.1.5",
        presenting(_short_key_of_ca, ciphers=EVEN_WEAK),
        keys=ENOUGH_KEYS,
    ),
)
