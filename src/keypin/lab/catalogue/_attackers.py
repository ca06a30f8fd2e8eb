"""What most scenarios with an attacker's server have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..scenario import Scenario

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...pinset import Match
    from ..authority import Authority, Credential
    from ..cast import Cast
    from ..keys import KeyKind
    from ..scenario import Expected
    from ..servers.listener import Listener
    from ..stage import Stage

    Make = Callable[[Cast], Credential]

__all__ = [
    "CA_PINS",
    "ENOUGH_KEYS",
    "KEY_PINS",
    "ca_pinned",
    "doubt_unless_sent",
    "in_group",
    "name_of",
    "presenting",
]

CA_PINS = frozenset({"ca-pins"})
KEY_PINS = frozenset({"key-pins"})  # another certificate for the pinned key must do
ENOUGH_KEYS: tuple[KeyKind, ...] = ("p-256", "rsa-2048", "ed25519")
"""the kinds of key in use, for what does not depend on the details of one"""


def in_group(group: str, expected: Expected, **usual: Any) -> Callable[..., Scenario]:
    """Make scenarios of a group, from identifier, story, source and build.

    Args:
        group: the part of the catalogue.
        expected: of all of them.
        usual: further fields of `Scenario`; a scenario may say something else.
    """

    def make(
        identifier: str, story: str, source: str, build: Callable[[Stage], None], **more: Any
    ) -> Scenario:
        return Scenario(identifier, group, story, expected, source, build, **{**usual, **more})

    return make


def presenting(make: Make, *, match: Match = "leaf", **settings: Any) -> Callable[[Stage], None]:
    """Build one attacker's server, which presents what `make` makes.

    Args:
        make: called when the stage is entered.
        match: where in the chain the pins count.
        settings: of the server.
    """

    def build(stage: Stage) -> None:
        stage.match = match
        stage.attacker(stage.serving(make(stage.cast), **settings))

    return build


def ca_pinned(
    make: Make, pinned: Callable[[Cast], Authority], **settings: Any
) -> Callable[[Stage], None]:
    """Build the same where not the server's key is pinned, but the one of an authority."""
    present = presenting(make, match="chain", **settings)

    def build(stage: Stage) -> None:
        stage.pins = [pinned(stage.cast).pin]
        present(stage)

    return build


def doubt_unless_sent(stage: Stage, server: Listener) -> None:
    """Doubt that a client was tested that sent nothing which this server could interrupt."""

    def doubt() -> list[str]:
        sent = any(connection.application_bytes for connection in server.connections)
        return [] if sent else ["the client sent nothing that the server could interrupt"]

    stage.doubt_also(doubt)


def name_of(authority: Authority) -> str:
    """An authority's common name, for another one that imitates it."""
    return authority.credential.profile.common_name or ""
