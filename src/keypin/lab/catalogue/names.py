"""Certificates for other names than the one called, and other spellings of a pinned host."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...pinset import PinSet, Rule
from ..keys import KEY_KINDS
from ..servers.proxy import ConnectProxy
from ._attackers import CA_PINS, ENOUGH_KEYS, ca_pinned, in_group, presenting

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..authority import Credential
    from ..cast import Cast
    from ..stage import Stage

__all__ = ["SCENARIOS", "call_by_name"]

WILDCARDS = "RFC 9525, section 6.3"
PROXY = frozenset({"proxy"})
U_LABEL, A_LABEL = "bücher.example", "xn--bcher-kva.example"


def call_by_name(stage: Stage, host: str, *spellings: str) -> None:
    """Let the client call the first server by any name, through an honest proxy that knows it.

    Args:
        stage: where the server is running.
        host: what stands in the URL.
        spellings: others by which the client may ask the proxy for it.
    """
    stage.host = host
    stage.proxy = stage.helper(
        ConnectProxy(routes=dict.fromkeys((host, *spellings), stage.address))
    ).url


def _named(*names: str) -> Callable[[Cast], Credential]:
    """The pinned key, certified for these names."""
    return lambda cast: cast.issuing.issue(*names, key=cast.pinned.key)


def _longer_names(cast: Cast) -> Credential:
    return _named(f"{cast.host}.attacker.example", f"attacker-{cast.host}", f"a.{cast.host}")(cast)


def _wildcard_address(cast: Cast) -> Credential:
    _, rest = str(cast.ipv4).split(".", 1)
    return _named(f"DNS:*.{rest}")(cast)


def _nul_in_name(cast: Cast) -> Credential:
    return _named(f"{cast.host}\0.attacker.example")(cast)


def _address_as_name(cast: Cast) -> Credential:
    return _named(f"DNS:{cast.address}")(cast)


def _other_address(cast: Cast) -> Credential:
    return _named(cast.neighbour, cast.name)(cast)


def _common_name_only(cast: Cast) -> Credential:
    return cast.issuing.issue(common_name=cast.host, key=cast.pinned.key)


def _pinned_ca(cast: Cast) -> Credential:
    return cast.issuing.issue("attacker.example", key=cast.impostor.key)


def _called(host: str, *names: str) -> Callable[[Stage], None]:
    """The pinned key, certified for these names, and called by another one."""

    def build(stage: Stage) -> None:
        stage.attacker(stage.serving(_named(*names)(stage.cast)))
        call_by_name(stage, host)

    return build


def _called_by_address(make: Callable[[Cast], Credential]) -> Callable[[Stage], None]:
    def build(stage: Stage) -> None:
        stage.attacker(stage.serving(make(stage.cast)))
        stage.host = stage.cast.address

    return build


def _other_key(stage: Stage, *names: str) -> None:
    stage.attacker(stage.serving(stage.cast.other_root.issue(*names, key=stage.cast.impostor.key)))


def _upper_case(stage: Stage) -> None:
    _other_key(stage, stage.cast.name)
    stage.host = stage.cast.name.upper()
    stage.pinset = PinSet({stage.cast.name: stage.pins})


def _trailing_dot(stage: Stage) -> None:
    _other_key(stage, "www.example.com", "www.example.com.")
    call_by_name(stage, "www.example.com.", "www.example.com")
    stage.pinset = PinSet({"www.example.com": stage.pins})


def _u_label(stage: Stage) -> None:
    _other_key(stage, A_LABEL)
    call_by_name(stage, U_LABEL, A_LABEL)
    stage.pinset = PinSet({A_LABEL: stage.pins})


def _address(stage: Stage) -> None:
    _other_key(stage, stage.cast.address)
    stage.host = stage.cast.address


def _short_address(stage: Stage) -> None:
    first, last = divmod(int(stage.cast.ipv4), 1 << 24)
    stage.host = f"{first}.{last}"
    _other_key(stage, stage.cast.address, f"DNS:{stage.host}")
    stage.pinset = PinSet({stage.cast.address: stage.pins})


def _below_a_pinned_name(stage: Stage) -> None:
    _other_key(stage, "a.b.example.com")
    call_by_name(stage, "a.b.example.com")
    stage.pinset = PinSet([Rule("**.example.com", stage.pins)])


_name = in_group("names", "reject", keys=KEY_KINDS)


SCENARIOS = (
    _name(
        "wrong-host",
        "The pinned key in a certificate for another host.",
        "RFC 9525, section 6",
        presenting(_named("attacker.example")),
    ),
    _name(
        "wrong-host-pinned-ca",
        "Another host's certificate from the pinned intermediate.",
        "RFC 9525, section 6",
        ca_pinned(_pinned_ca, lambda cast: cast.issuing),
        claims=CA_PINS,
    ),
    _name(
        "longer-names",
        "The pinned key in a certificate for names that begin or end with the host's.",
        "RFC 9525, section 6.3",
        presenting(_longer_names),
        keys=("p-256",),
    ),
    _name(
        "common-name-only",
        "The pinned key in a certificate with the host in its common name only.",
        "RFC 9525, section 2; RFC 9110, section 4.3.4",
        presenting(_common_name_only),
    ),
    _name(
        "wildcard-two-labels",
        "The pinned key in a certificate for *.example.com; the host is a.b.example.com.",
        WILDCARDS,
        _called("a.b.example.com", "*.example.com"),
        needs=PROXY,
    ),
    _name(
        "wildcard-in-label",
        "The pinned key in a certificate for w*.example.com; the host is www.example.com.",
        WILDCARDS,
        _called("www.example.com", "w*.example.com"),
        needs=PROXY,
    ),
    _name(
        "wildcard-alone",
        "The pinned key in a certificate for *.",
        WILDCARDS,
        presenting(_named("*")),
    ),
    _name(
        "wildcard-top-level",
        "The pinned key in a certificate for *.com; the host is example.com.",
        "CA/Browser Forum Baseline Requirements, section 3.2.2.6",
        _called("example.com", "*.com"),
        needs=PROXY,
        claims=frozenset({"public-suffixes"}),
    ),
    _name(
        "wildcard-address",
        "The pinned key in a certificate for *.0.0.1, where the address is 127.0.0.1.",
        "RFC 9110, section 4.3.5",
        _called_by_address(_wildcard_address),
        keys=ENOUGH_KEYS,
    ),
    _name(
        "nul-in-name",
        "The pinned key in a certificate for the host, a NUL and .attacker.example.",
        "CVE-2009-2408; CVE-2013-4238",
        presenting(_nul_in_name),
    ),
    _name(
        "address-as-name",
        "The pinned key in a certificate with the IP address as a DNS name.",
        "RFC 9110, section 4.3.5",
        _called_by_address(_address_as_name),
        keys=ENOUGH_KEYS,
    ),
    _name(
        "other-address",
        "The pinned key in a certificate for another IP address.",
        "RFC 9110, section 4.3.5",
        _called_by_address(_other_address),
        keys=("p-256",),
    ),
    _name(
        "upper-case",
        "The client calls the host in upper case, and another trusted authority has certified"
        " another key.",
        "RFC 4343, section 3",
        _upper_case,
        keys=("p-256",),
    ),
    _name(
        "trailing-dot",
        "The client calls www.example.com. with a trailing dot; the key is not the pinned one.",
        "RFC 1034, section 3.1",
        _trailing_dot,
        keys=("p-256",),
        needs=PROXY,
    ),
    _name(
        "u-label",
        "The client calls a pinned host by its name in Unicode; the key is not the pinned one.",
        "RFC 5890, section 2.3.2.1; UTS 46",
        _u_label,
        keys=("p-256",),
        needs=PROXY,
    ),
    _name(
        "address",
        "The client calls a pinned IP address, and so sends no server name; the key is not the"
        " pinned one.",
        "RFC 6066, section 3",
        _address,
        keys=ENOUGH_KEYS,
    ),
    _name(
        "short-address",
        "The client calls the pinned address in short, such as 127.1 for 127.0.0.1; the key is not"
        " the pinned one.",
        "WHATWG URL, section 3.5",
        _short_address,
        keys=("p-256",),
        must_arrive=False,  # many clients refuse such a URL
    ),
    _name(
        "below-pinned-name",
        "The client calls a host below a pinned domain; the key is not the pinned one.",
        "RFC 7469, section 2.1.3",
        _below_a_pinned_name,
        keys=("p-256",),
        needs=PROXY,
        claims=frozenset({"sub-domains"}),
    ),
)
