"""Keys that are not there, not the right ones, or no longer good, and TLS that shows none."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from ...pinset import PinSet, Rule
from ..cast import cast_of
from ..keys import KEY_KINDS
from ..scenario import Scenario
from ..servers.misbehaving import MisbehavingServer
from ._attackers import ENOUGH_KEYS, presenting

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...pinset import Match
    from ..authority import Credential
    from ..cast import Cast
    from ..keys import Key
    from ..stage import Stage

__all__ = ["SCENARIOS"]

DENIED = frozenset({"denied-pins"})
EXPIRY = frozenset({"expiry"})
CHROMIUM_DENIED = "Chromium, transport_security_state_static.json: bad_static_spki_hashes"


def _without_private_key(stage: Stage) -> None:
    pinned = stage.cast.pinned
    stage.attacker(MisbehavingServer(pinned, stage.cast.impostor.key, tls=[stage.tls]))


def _pinned(cast: Cast) -> Credential:
    return cast.pinned


def _key_of_other_kind(stage: Stage) -> Key:
    return cast_of("p-384" if stage.key == "rsa-2048" else "rsa-2048").impostor.key


def _other_algorithm(stage: Stage) -> None:
    own = stage.cast.issuing.issue(*stage.cast.names, key=_key_of_other_kind(stage))
    stage.attacker(stage.serving(own))


def _both_algorithms(stage: Stage) -> None:
    own = stage.cast.other_root.issue(*stage.cast.names, key=_key_of_other_kind(stage))
    stage.attacker(stage.serving([own, stage.cast.impostor]))


def _expired_pins(match: Match) -> Callable[[Stage], None]:
    def build(stage: Stage) -> None:
        stage.attacker(stage.serving(stage.cast.impostor))
        yesterday = datetime.now(UTC) - timedelta(days=1)
        stage.pinset = PinSet([Rule(stage.cast.host, stage.pins, match=match, expires=yesterday)])

    return build


def _denied_key(stage: Stage) -> None:
    stage.attacker(stage.serving(stage.cast.pinned))
    stage.pins = [stage.cast.issuing.pin]
    stage.pinset = PinSet([Rule(stage.cast.host, stage.pins, deny=[stage.cast.pinned.pin])])


def _denied_intermediate(stage: Stage) -> None:
    stage.attacker(stage.serving(stage.cast.pinned))
    stage.pinset = PinSet(
        [Rule(stage.cast.host, stage.pins, match="leaf", deny=[stage.cast.issuing.pin])]
    )


def _unlisted_host(stage: Stage) -> None:
    stage.attacker(stage.serving(stage.cast.pinned))
    stage.pinset = PinSet({"other.example": stage.pins}, unlisted="refuse")


SCENARIOS = (
    Scenario(
        "without-private-key",
        "keys",
        "The pinned certificate is shown; the handshake is signed with another key.",
        "reject",
        "RFC 8446, section 4.4.3; RFC 5246, section 7.4.3; CVE-2014-1266",
        _without_private_key,
        keys=("p-256", "rsa-2048", "p-384"),
    ),
    Scenario(
        "other-algorithm",
        "keys",
        "A certificate from the same authority for a key of another kind than the pinned one.",
        "reject",
        "RFC 7469, section 2.6",
        _other_algorithm,
        keys=ENOUGH_KEYS,
    ),
    Scenario(
        "both-algorithms",
        "keys",
        "Certificates for keys of two kinds, of which neither is pinned: the client may choose.",
        "reject",
        "RFC 8446, section 4.4.2.2",
        _both_algorithms,
        keys=("p-256", "rsa-2048"),
    ),
    Scenario(
        "outdated-tls",
        "keys",
        "The server speaks no TLS that is newer than 1.1.",
        "reject",
        "RFC 8996, sections 4 and 5",
        presenting(_pinned, ciphers="DEFAULT:@SECLEVEL=0"),
        tls=("1.0", "1.1"),
        keys=("p-256", "rsa-2048"),
    ),
    Scenario(
        "anonymous-cipher",
        "keys",
        "The server agrees only to cipher suites without certificates.",
        "reject",
        "RFC 5246, appendix A.5",
        presenting(_pinned, ciphers="aNULL:@SECLEVEL=0"),
        tls=("1.2",),
    ),
    Scenario(
        "expired-pins",
        "keys",
        "The pins expired yesterday, and another trusted authority has certified another key.",
        "reject",
        "CVE-2016-5284",
        _expired_pins("leaf"),
        keys=ENOUGH_KEYS,
        claims=EXPIRY,
    ),
    Scenario(
        "expired-pins-chain",
        "keys",
        "The same, where any key of the verified chain may be the pinned one.",
        "reject",
        "CVE-2016-5284",
        _expired_pins("chain"),
        claims=EXPIRY,
    ),
    Scenario(
        "denied-key",
        "keys",
        "The authority is pinned, but the server's own key is denied, because it was stolen.",
        "reject",
        CHROMIUM_DENIED,
        _denied_key,
        keys=KEY_KINDS,
        claims=DENIED | {"ca-pins"},
    ),
    Scenario(
        "denied-intermediate",
        "keys",
        "The server's own key is pinned, but its authority is denied.",
        "reject",
        CHROMIUM_DENIED,
        _denied_intermediate,
        claims=DENIED,
    ),
    Scenario(
        "unlisted-host-refused",
        "keys",
        "The host is in no rule, and hosts without one are to be refused.",
        "reject",
        "OWASP MASVS-NETWORK-2",
        _unlisted_host,
        claims=frozenset({"unlisted-hosts"}),
    ),
)
