"""Honest servers, which a client must not take for attackers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from ...pinset import PinSet, Rule
from ..cast import cast_of
from ..keys import KEY_KINDS
from ._attackers import CA_PINS, ENOUGH_KEYS, KEY_PINS, in_group
from .names import A_LABEL, PROXY, U_LABEL, call_by_name

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..authority import Authority, Credential
    from ..cast import Cast
    from ..keys import KeyKind
    from ..stage import Stage

__all__ = ["SCENARIOS"]

SAME_KEY = "RFC 7469, section 2.4"
CHAINS = "RFC 8446, section 4.4.2"
UNPINNED_HOSTS = frozenset({"unlisted-hosts"})
MANY = 500
LONG = 8


def _presenting(
    make: Callable[[Cast], Credential | Sequence[Credential]],
) -> Callable[[Stage], None]:
    def build(stage: Stage) -> None:
        stage.honest(stage.serving(make(stage.cast)))

    return build


def _pinned(cast: Cast) -> Credential:
    return cast.pinned


def _backup(cast: Cast) -> Credential:
    return cast.backup


def _renewed(cast: Cast) -> Credential:
    return cast.pinned.renew()


def _renewed_elsewhere(cast: Cast) -> Credential:
    return cast.pinned.renew(cast.other_root)


def _many_names(cast: Cast) -> Credential:
    names = [f"host-{number}.example.com" for number in range(MANY)]
    return cast.issuing.issue(*names, *cast.names, key=cast.pinned.key)


def _pinned_ca(pinned: Callable[[Cast], Authority]) -> Callable[[Stage], None]:
    def build(stage: Stage) -> None:
        stage.honest(stage.serving(stage.cast.pinned))
        stage.pins = [pinned(stage.cast).pin]
        stage.match = "chain"

    return build


def _any_of_chain(make: Callable[[Cast], Credential]) -> Callable[[Stage], None]:
    def build(stage: Stage) -> None:
        stage.match = "chain"
        stage.honest(stage.serving(make(stage.cast)))

    return build


def _both_algorithms(stage: Stage) -> None:
    kind: KeyKind = "p-256" if stage.key == "rsa-2048" else "rsa-2048"
    other = stage.cast.issuing.issue(*stage.cast.names, key=cast_of(kind).pinned.key)
    stage.pins = [stage.cast.pinned.pin, other.pin]
    Path(stage.certificates).mkdir(parents=True, exist_ok=True)
    Path(stage.certificates, "other.cer").write_bytes(other.certificate)
    stage.honest(stage.serving([stage.cast.pinned, other]))


# Hosts by other names, and hosts that are not pinned


def _by_address(stage: Stage) -> None:
    stage.honest(stage.serving(stage.cast.pinned))
    stage.host = stage.cast.address


def _upper_case(stage: Stage) -> None:
    stage.honest(stage.serving(stage.cast.pinned))
    stage.host = stage.cast.name.upper()
    stage.pinset = PinSet({stage.cast.name: stage.pins})


def _called(host: str, *names: str, pattern: str | None = None) -> Callable[[Stage], None]:
    def build(stage: Stage) -> None:
        own = stage.cast.issuing.issue(*names, key=stage.cast.pinned.key)
        stage.honest(stage.serving(own))
        call_by_name(stage, host, *names)
        stage.pinset = PinSet([Rule(pattern or host, stage.pins)])

    return build


def _unlisted(stage: Stage) -> None:
    stage.honest(stage.serving(stage.cast.impostor))
    stage.pinset = PinSet({"other.example": stage.pins})


def _excluded(stage: Stage) -> None:
    own = stage.cast.other_root.issue("www.example.com", key=stage.cast.impostor.key)
    stage.honest(stage.serving(own))
    call_by_name(stage, "www.example.com")
    wide, narrow = Rule("**.example.com", stage.pins), Rule("www.example.com", exclude=True)
    stage.pinset = PinSet([wide, narrow], unlisted="refuse")


def _expired_pins(stage: Stage) -> None:
    stage.honest(stage.serving(stage.cast.pinned))
    yesterday = datetime.now(UTC) - timedelta(days=1)
    stage.pinset = PinSet([Rule(stage.cast.host, stage.pins, expires=yesterday)])


_accept = in_group("accepted", "accept")


SCENARIOS = (
    _accept(
        "pinned-key",
        "The honest server, with its certificate and the pinned key.",
        "RFC 7469, section 2.6",
        _presenting(_pinned),
        keys=KEY_KINDS,
        control=True,
    ),
    _accept(
        "pinned-key-chain",
        "The same, where any key of the verified chain may be the pinned one.",
        "RFC 7469, section 2.6",
        _any_of_chain(_pinned),
        keys=KEY_KINDS,
    ),
    _accept(
        "backup-key",
        "The honest server has changed to its backup key, which is pinned, too.",
        "RFC 7469, section 2.5",
        _presenting(_backup),
        keys=KEY_KINDS,
        claims=frozenset({"backup-pins"}),
    ),
    _accept(
        "backup-key-chain",
        "The same, where any key of the verified chain may be the pinned one.",
        "RFC 7469, section 2.5",
        _any_of_chain(_backup),
        keys=KEY_KINDS,
        claims=frozenset({"backup-pins"}),
    ),
    _accept(
        "renewed-certificate",
        "The certificate is another than the one that was known, with the same key.",
        SAME_KEY,
        _presenting(_renewed),
        keys=KEY_KINDS,
        claims=KEY_PINS,
    ),
    _accept(
        "other-issuer",
        "Another authority that the client trusts has certified the pinned key.",
        SAME_KEY,
        _presenting(_renewed_elsewhere),
        keys=KEY_KINDS,
        claims=KEY_PINS,
    ),
    _accept(
        "both-algorithms-pinned",
        "Certificates for keys of two kinds, both pinned: the client may choose.",
        "RFC 8446, section 4.4.2.2",
        _both_algorithms,
        keys=("p-256", "rsa-2048"),
        claims=frozenset({"backup-pins"}),
    ),
    _accept(
        "intermediate-pinned",
        "Not the server's key is pinned, but the one of its authority.",
        "RFC 7469, section 2.6",
        _pinned_ca(lambda cast: cast.issuing),
        keys=ENOUGH_KEYS,
        claims=CA_PINS,
    ),
    _accept(
        "root-pinned",
        "The key of the root is pinned, which is not sent.",
        "RFC 7469, section 2.6",
        _pinned_ca(lambda cast: cast.root),
        keys=ENOUGH_KEYS,
        claims=CA_PINS,
    ),
    _accept(
        "many-names",
        "The certificate has 500 further names.",
        "RFC 5280, section 4.2.1.6",
        _presenting(_many_names),
        claims=KEY_PINS,
    ),
    _accept(
        "by-address",
        "The client calls an IP address, and so sends no server name.",
        "RFC 6066, section 3; RFC 9110, section 4.3.5",
        _by_address,
        keys=ENOUGH_KEYS,
    ),
    _accept(
        "called-in-upper-case",
        "The client calls the host in upper case.",
        "RFC 4343, section 3",
        _upper_case,
    ),
    _accept(
        "called-in-unicode",
        "The client calls the host by its name in Unicode.",
        "RFC 5890, section 2.3.2.1; UTS 46",
        _called(U_LABEL, A_LABEL),
        needs=PROXY,
        claims=KEY_PINS,
    ),
    _accept(
        "wildcard",
        "The pinned key in a certificate for *.example.com; the host is www.example.com.",
        "RFC 9525, section 6.3",
        _called("www.example.com", "*.example.com"),
        needs=PROXY,
        claims=KEY_PINS,
    ),
    _accept(
        "below-pinned-domain",
        "A host below a pinned domain, with a pinned key.",
        "RFC 7469, section 2.1.3",
        _called("a.b.example.com", "a.b.example.com", pattern="**.example.com"),
        needs=PROXY,
        claims=frozenset({"sub-domains"}),
    ),
    _accept(
        "unlisted-host",
        "The host is in no rule.",
        "RFC 7469, section 2.6",
        _unlisted,
        keys=ENOUGH_KEYS,
        claims=UNPINNED_HOSTS,
    ),
    _accept(
        "excluded-host",
        "The host is excluded from the rule for its domain.",
        "RFC 7469, section 2.6",
        _excluded,
        needs=PROXY,
        claims=UNPINNED_HOSTS,
    ),
    _accept(
        "expired-pins-pinned-key",
        "The pins expired yesterday, and the server has the pinned key all the same.",
        "CVE-2016-5284",
        _expired_pins,
        claims=frozenset({"expiry"}),
    ),
)
