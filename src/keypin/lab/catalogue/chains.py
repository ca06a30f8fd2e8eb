"""Honest servers whose chain is out of the ordinary."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..cast import Cast
from ..scenario import Scenario
from ._attackers import CA_PINS, KEY_PINS, in_group

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..authority import Authority, Credential
    from ..stage import Stage

__all__ = ["SCENARIOS"]

CHAINS = "RFC 8446, section 4.4.2"
CROSS_SIGNED = "RFC 5280, section 3.2"
LONG = 8


def _presenting(make: Callable[[Cast], Credential]) -> Callable[[Stage], None]:
    def build(stage: Stage) -> None:
        stage.honest(stage.serving(make(stage.cast)))

    return build


def _extra_certificates(cast: Cast) -> Credential:
    strangers = cast.impostor.certificate, cast.other_root.certificate, cast.client.certificate
    return cast.pinned.with_chain(*cast.pinned.chain, *strangers)


# A chain of four, sent in several ways; each of its keys may be the pinned one.


def _deep(cast: Cast) -> tuple[Authority, Credential]:
    lower = cast.root.intermediate("upper CA", path_length=1).intermediate("lower CA")
    return lower, lower.issue(*cast.names, key=cast.pinned.key)


def _order_as_usual(cast: Cast, leaf: bytes, lower: bytes, upper: bytes) -> tuple[bytes, ...]:
    return leaf, lower, upper


def _root_sent(cast: Cast, leaf: bytes, lower: bytes, upper: bytes) -> tuple[bytes, ...]:
    return leaf, lower, upper, cast.root.certificate


def _reversed(cast: Cast, leaf: bytes, lower: bytes, upper: bytes) -> tuple[bytes, ...]:
    return leaf, upper, lower


def _stranger_sent(cast: Cast, leaf: bytes, lower: bytes, upper: bytes) -> tuple[bytes, ...]:
    return leaf, lower, upper, cast.impostor.certificate


def _chained(
    identifier: str, story: str, source: str, arrange: Callable[..., tuple[bytes, ...]]
) -> list[Scenario]:
    """The scenario with the server's key pinned, the one of its issuer, and that of the root."""

    def scenario(suffix: str, whose: str, claims: frozenset[str]) -> Scenario:
        def build(stage: Stage) -> None:
            lower, leaf = _deep(stage.cast)
            stage.honest(stage.serving(leaf.with_chain(*arrange(stage.cast, *leaf.chain))))
            if suffix == "-issuer-pinned":
                stage.pins = [lower.pin]
            elif suffix == "-root-pinned":
                stage.pins = [stage.cast.root.pin]
            stage.match = "chain"

        return Scenario(
            identifier + suffix,
            "chains",
            f"{story}; pinned is the key of {whose}.",
            "accept",
            source,
            build,
            claims=claims,
        )

    return [
        scenario("", "the server", KEY_PINS),
        scenario("-issuer-pinned", "its issuer", CA_PINS),
        scenario("-root-pinned", "the root", CA_PINS),
    ]


def _long_chain(cast: Cast) -> Credential:
    authority = cast.root
    for depth in reversed(range(LONG)):
        authority = authority.intermediate(f"CA {depth}", path_length=depth)
    return authority.issue(*cast.names, key=cast.pinned.key)


# The issuing CA, below two roots: which one is in the verified chain depends on the client.


def _cross_signed(cast: Cast) -> Credential:
    crossed = cast.other_root.cross_sign(cast.issuing)
    return cast.pinned.with_chain(cast.pinned.certificate, crossed.certificate)


def _both_paths(cast: Cast) -> Credential:
    return cast.pinned.with_chain(*_cross_signed(cast).chain, cast.issuing.certificate)


def _only_the_other_root(pinned: Callable[[Cast], Authority] | None) -> Callable[[Stage], None]:
    def build(stage: Stage) -> None:
        stage.honest(stage.serving(_cross_signed(stage.cast)))
        stage.trusted = stage.cast.other_root.pem
        stage.match = "chain"
        if pinned is not None:
            stage.pins = [pinned(stage.cast).pin]

    return build


_chain = in_group("chains", "accept")


SCENARIOS = (
    *_chained(
        "two-intermediates",
        "The chain has two intermediates",
        CHAINS,
        _order_as_usual,
    ),
    *_chained(
        "root-sent",
        "The root is sent along",
        "RFC 5246, section 7.4.2",
        _root_sent,
    ),
    *_chained(
        "chain-reversed",
        "The intermediates are sent in the wrong order",
        CHAINS,
        _reversed,
    ),
    *_chained(
        "stranger-sent",
        "A certificate is sent along that does not belong to the chain",
        CHAINS,
        _stranger_sent,
    ),
    _chain(
        "extra-certificates",
        "Three certificates are sent along that do not belong to the chain.",
        CHAINS,
        _presenting(_extra_certificates),
    ),
    _chain(
        "long-chain",
        "The chain has eight intermediates.",
        CHAINS,
        _presenting(_long_chain),
        claims=KEY_PINS,
    ),
    _chain(
        "cross-signed",
        "The issuing authority is sent in a certificate from another trusted root.",
        CROSS_SIGNED,
        _presenting(_cross_signed),
    ),
    _chain(
        "cross-signed-both-sent",
        "The issuing authority is sent in two certificates, from two trusted roots.",
        CROSS_SIGNED,
        _presenting(_both_paths),
    ),
    _chain(
        "cross-signed-other-root",
        "The client trusts only the other of the two roots.",
        CROSS_SIGNED,
        _only_the_other_root(None),
    ),
    _chain(
        "cross-signed-intermediate-pinned",
        "The same; pinned is the key of the issuing authority.",
        CROSS_SIGNED,
        _only_the_other_root(lambda cast: cast.issuing),
        claims=CA_PINS,
    ),
    _chain(
        "cross-signed-root-pinned",
        "The same; pinned is the key of that other root.",
        CROSS_SIGNED,
        _only_the_other_root(lambda cast: cast.other_root),
        claims=CA_PINS,
    ),
)
