"""Certificates that nobody vouches for, or that break RFC 5280: pins come on top of that check.

Most hold the pinned key, or come from the pinned authority, so that the pin alone would let pass.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cryptography import x509

from ..authority import Credential
from ..certificates import NameConstraints, general_name
from ..keys import KEY_KINDS
from ..servers.misbehaving import MisbehavingServer
from ._attackers import CA_PINS, ENOUGH_KEYS, ca_pinned, in_group, presenting

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Unpack

    from ..cast import Cast
    from ..certificates import CertificateFields
    from ..stage import Stage

__all__ = ["SCENARIOS"]

DAY = timedelta(days=1)
PATH_VALIDATION = "RFC 5280, section 6.1"
UNKNOWN_EXTENSION = x509.UnrecognizedExtension(
    x509.ObjectIdentifier("1.3.6.1.4.1.32473.2"),  # RFC 5612: an arc for documentation
    b"\x05\0",
)
EVEN_WEAK = "DEFAULT:@SECLEVEL=0"  # the server's own OpenSSL would not load these certificates


def _dates(past: bool) -> CertificateFields:
    now = datetime.now(UTC)
    if past:
        return {"not_before": now - 9 * DAY, "not_after": now - DAY}
    return {"not_before": now + DAY, "not_after": now + 9 * DAY}


# What the certificate itself says wrongly


def _with_pinned_key(
    *names: str, **fields: Unpack[CertificateFields]
) -> Callable[[Cast], Credential]:
    return lambda cast: cast.issuing.issue(*(names or cast.names), key=cast.pinned.key, **fields)


def _expired(cast: Cast) -> Credential:
    return cast.pinned.renew(**_dates(past=True))


def _not_yet_valid(cast: Cast) -> Credential:
    return cast.pinned.renew(**_dates(past=False))


def _carelessly(make: Callable[[Cast], Credential]) -> Callable[[Stage], None]:
    """Present what OpenSSL would not load into a server, or not use."""

    def build(stage: Stage) -> None:
        credential = make(stage.cast)
        stage.attacker(MisbehavingServer(credential, credential.key, tls=[stage.tls]))

    return build


def _two_lists_of_names(cast: Cast) -> Credential:
    second = x509.SubjectAlternativeName([general_name(cast.host)])
    make = _with_pinned_key("attacker.example", further_extensions=[(second, False)])
    return make(cast)


# What its authority may not do


def _below(name: str, **fields: Unpack[CertificateFields]) -> Callable[[Cast], Credential]:
    def make(cast: Cast) -> Credential:
        return cast.root.intermediate(name, **fields).issue(*cast.names, key=cast.pinned.key)

    return make


def _expired_intermediate(cast: Cast) -> Credential:
    return _below("expired CA", **_dates(past=True))(cast)


def _name_not_permitted(cast: Cast) -> Credential:
    constraints = NameConstraints(permitted=("example.org", cast.neighbour))
    return _below("constrained", name_constraints=constraints)(cast)


def _name_excluded(cast: Cast) -> Credential:
    constraints = NameConstraints(excluded=(cast.host,))
    return _below("constrained", name_constraints=constraints)(cast)


def _leaf_as_ca(cast: Cast) -> Credential:
    own = cast.issuing.issue("attacker.example", ca=False)
    return own.as_authority().issue(*cast.names, key=cast.impostor.key)


def _too_deep(cast: Cast) -> Credential:
    return cast.issuing.intermediate("below path length 0").issue(
        *cast.names, key=cast.impostor.key
    )


_fault = in_group("faults", "reject")


SCENARIOS = (
    _fault(
        "expired",
        "A certificate for the pinned key that expired yesterday.",
        "RFC 5280, section 6.1.3 (a)(2)",
        presenting(_expired),
        keys=KEY_KINDS,
    ),
    _fault(
        "not-yet-valid",
        "A certificate for the pinned key that will be valid tomorrow.",
        "RFC 5280, section 6.1.3 (a)(2)",
        presenting(_not_yet_valid),
        keys=KEY_KINDS,
    ),
    _fault(
        "expired-intermediate",
        "A certificate for the pinned key from an intermediate that expired yesterday.",
        "RFC 5280, section 6.1.3 (a)(2)",
        presenting(_expired_intermediate),
        keys=KEY_KINDS,
    ),
    _fault(
        "leaf-as-ca",
        "The attacker has an ordinary certificate from the pinned intermediate, and issues with"
        " it.",
        "RFC 5280, section 4.2.1.9; CVE-2002-0862",
        ca_pinned(_leaf_as_ca, lambda cast: cast.issuing),
        keys=KEY_KINDS,
        claims=CA_PINS,
    ),
    _fault(
        "version-1-ca",
        "A certificate for the pinned key from an intermediate of X.509 version 1, which cannot"
        " say that it is one.",
        "RFC 5280, section 6.1.4 (k)",
        presenting(_below("version 1 CA", version_1=True)),
        keys=ENOUGH_KEYS,
    ),
    _fault(
        "ca-may-not-certify",
        "A certificate for the pinned key from an intermediate without keyCertSign.",
        "RFC 5280, section 4.2.1.3",
        presenting(_below("CA without keyCertSign", key_usage=("cRLSign",))),
        keys=ENOUGH_KEYS,
    ),
    _fault(
        "path-too-long",
        "An intermediate below the pinned one, whose path length is 0.",
        "RFC 5280, section 4.2.1.9",
        ca_pinned(_too_deep, lambda cast: cast.issuing),
        keys=KEY_KINDS,
        claims=CA_PINS,
    ),
    _fault(
        "name-not-permitted",
        "A certificate for the pinned key from an authority that may issue for other names only.",
        "RFC 5280, section 4.2.1.10",
        presenting(_name_not_permitted),
        keys=KEY_KINDS,
    ),
    _fault(
        "name-excluded",
        "A certificate for the pinned key from an authority that may not issue for this name.",
        "RFC 5280, section 4.2.1.10",
        presenting(_name_excluded),
        keys=KEY_KINDS,
    ),
    _fault(
        "wrong-purpose",
        "A certificate for the pinned key that is for clients only.",
        "RFC 5280, section 4.2.1.12",
        presenting(_with_pinned_key(extended_key_usage=["clientAuth"])),
        keys=KEY_KINDS,
    ),
    _fault(
        "wrong-purpose-of-ca",
        "A certificate for the pinned key from an intermediate for signing code only.",
        "CA/Browser Forum Baseline Requirements, section 7.1.2.10.6",
        presenting(_below("CA for code", extended_key_usage=["codeSigning"])),
        keys=ENOUGH_KEYS,
    ),
    _fault(
        "wrong-key-usage",
        "A certificate whose key, the pinned one, may not sign handshakes.",
        "RFC 5280, section 4.2.1.3",
        _carelessly(_with_pinned_key(key_usage=("cRLSign",))),
        keys=("p-256", "rsa-2048"),
    ),
    _fault(
        "critical-extension",
        "A certificate for the pinned key with a critical extension that nobody knows.",
        "RFC 5280, section 4.2",
        presenting(_with_pinned_key(further_extensions=[(UNKNOWN_EXTENSION, True)])),
        keys=ENOUGH_KEYS,
    ),
    _fault(
        "critical-extension-of-ca",
        "A certificate for the pinned key from an intermediate with such an extension.",
        "RFC 5280, section 4.2",
        presenting(_below("extended", further_extensions=[(UNKNOWN_EXTENSION, True)])),
    ),
    _fault(
        "duplicated-extension",
        "A certificate for the pinned key with two lists of names: the right one and another.",
        "RFC 5280, section 4.2",
        _carelessly(_two_lists_of_names),
        keys=("p-256", "rsa-2048"),
    ),
)
