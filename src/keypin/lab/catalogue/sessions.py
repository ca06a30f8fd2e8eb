"""Clients that come again: sessions resumed, keys changed between two visits or within one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...pinset import PinSet
from ..scenario import Scenario
from ..servers.applications import Http, Response, answer_json
from ..servers.renegotiation import RenegotiatingServer
from ..servers.server import Server
from ._attackers import ENOUGH_KEYS, doubt_unless_sent

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..authority import Credential
    from ..servers.connection import Request
    from ..servers.contexts import Resumption
    from ..stage import Stage

__all__ = ["SCENARIOS"]

TWICE = frozenset({"second_url"})
RESUMPTION = "RFC 8446, section 2.2; RFC 5246, section 7.3; RFC 5077, section 3.1"
SAME_NAME = "RFC 8446, section 4.6.1; RFC 6066, section 3"
ONE_VISIT = {"Connection": "close"}


def _ending_connections(request: Request) -> Response:
    """Answer, and end the connection, so that a client that comes again has to shake hands."""
    return Response(answer_json(request).body, headers=ONE_VISIT)


def _came_twice(stage: Stage, *servers: Server) -> None:
    def check() -> list[str]:
        count = sum(len(server.requests) for server in servers)
        return [] if count > 1 else [f"{count} of its two requests arrived"]

    stage.judge_also(check, "honest-server-refused")


def _resumed(resumption: Resumption) -> Callable[[Stage], None]:
    def build(stage: Stage) -> None:
        server = stage.honest(
            stage.serving(
                stage.cast.pinned, resumption=resumption, application=Http(_ending_connections)
            )
        )
        _came_twice(stage, server)

    return build


def _changing_key(stage: Stage, credential: Credential, **settings: Resumption) -> Server:
    """A server with the pinned key until the first request, and with another one from then on."""

    def answer(request: Request) -> Response:
        server.serve(credential)
        return _ending_connections(request)

    server = stage.serving(stage.cast.pinned, application=Http(answer), **settings)
    stage.begin_with(lambda: server.serve(stage.cast.pinned))
    return stage.honest(server)


def _rotated(stage: Stage) -> None:
    _came_twice(stage, _changing_key(stage, stage.cast.backup))


def _taken_over(stage: Stage) -> None:
    server = _changing_key(stage, stage.cast.impostor, resumption="off")

    def check() -> list[str]:
        late = sum(connection.application_bytes for connection in server.connections[1:])
        return [f"{late} bytes came after the key had changed"] if late else []

    def doubt() -> list[str]:
        shown = len([it for it in server.connections if server.was_shown(it)])
        return [] if shown > 1 else ["the client did not come twice"]

    stage.judge_also(check)
    stage.doubt_also(doubt)


def _first_honest(stage: Stage) -> None:
    stage.honest(stage.serving(stage.cast.pinned, application=Http(_ending_connections)))
    attacker = stage.attacker(stage.serving(stage.cast.impostor))
    stage.second_url = attacker.url_for(stage.cast.host)


def _attacker_twice(stage: Stage) -> None:
    stage.attacker(stage.serving(stage.cast.impostor))


def _ticket_of_another_host(resumption: Resumption) -> Callable[[Stage], None]:
    def build(stage: Stage) -> None:
        own = stage.cast.other_root.issue(stage.cast.address, key=stage.cast.impostor.key)
        minting = stage.helper(
            stage.serving(own, resumption=resumption, application=Http(_ending_connections))
        )
        honouring = stage.attacker(minting.sibling(stage.cast.impostor))
        stage.url = minting.url_for(stage.cast.address)
        stage.second_url = honouring.url_for(stage.cast.name)
        stage.pinset = PinSet({stage.cast.name: stage.pins})

    return build


def _ticket_under_both_names(stage: Stage) -> None:
    minting = stage.helper(
        stage.serving(stage.cast.impostor, application=Http(_ending_connections))
    )
    honouring = stage.attacker(minting.sibling(stage.cast.impostor))
    stage.url = minting.url_for(stage.cast.address)
    stage.second_url = honouring.url_for(stage.cast.name)
    stage.pinset = PinSet({stage.cast.name: stage.pins})


def _renegotiating(stage: Stage) -> None:
    server = stage.honest(RenegotiatingServer(stage.cast.pinned, stage.cast.impostor))

    def check() -> list[str]:
        if not server.renegotiated:
            return []
        late = server.bytes_afterwards
        return [f"it let the server change its certificate, and then sent {late} bytes"]

    stage.judge_also(check)
    doubt_unless_sent(stage, server)


def _session(
    identifier: str,
    story: str,
    source: str,
    build: Callable[[Stage], None],
    *,
    claims: frozenset[str] = frozenset(),
) -> Scenario:
    return Scenario(
        identifier,
        "sessions",
        story,
        "reject",
        source,
        build,
        keys=ENOUGH_KEYS,
        needs=TWICE,
        claims=claims,
    )


SCENARIOS = (
    Scenario(
        "resumption-tickets",
        "sessions",
        "The client comes again, and may resume its session with a ticket.",
        "accept",
        RESUMPTION,
        _resumed("tickets"),
        keys=ENOUGH_KEYS,
        needs=TWICE,
    ),
    Scenario(
        "resumption-session-ids",
        "sessions",
        "The client comes again, and may resume a session that the server has kept.",
        "accept",
        RESUMPTION,
        _resumed("session-ids"),
        keys=ENOUGH_KEYS,
        needs=TWICE,
    ),
    Scenario(
        "resumption-after-rotation",
        "sessions",
        "The client comes again, after the server has changed to its backup key; sessions of the"
        " first key are still honoured.",
        "accept",
        RESUMPTION,
        _rotated,
        keys=ENOUGH_KEYS,
        needs=TWICE,
        claims=frozenset({"backup-pins"}),
    ),
    _session(
        "honest-then-impostor",
        "The first server is honest; the second, of the same name, has another key.",
        "RFC 7469, section 2.6",
        _first_honest,
    ),
    Scenario(
        "taken-over-between-visits",
        "sessions",
        "The server has the pinned key at the first visit, and another one at the second.",
        "reject",
        "RFC 7469, section 2.6",
        _taken_over,
        keys=ENOUGH_KEYS,
        needs=TWICE,
        must_arrive=False,
    ),
    _session(
        "impostor-twice",
        "The client comes again to a server with another key.",
        "RFC 7469, section 2.6",
        _attacker_twice,
    ),
    _session(
        "ticket-of-other-host",
        "A server for an address, in no rule, mints a ticket; an attacker under the pinned name"
        " honours it.",
        SAME_NAME,
        _ticket_of_another_host("tickets"),
        claims=frozenset({"unlisted-hosts"}),
    ),
    _session(
        "session-id-of-other-host",
        "The same with sessions that the servers keep.",
        SAME_NAME,
        _ticket_of_another_host("session-ids"),
        claims=frozenset({"unlisted-hosts"}),
    ),
    _session(
        "ticket-under-both-names",
        "The same with a certificate that is good for the address and for the pinned name.",
        SAME_NAME,
        _ticket_under_both_names,
        claims=frozenset({"unlisted-hosts"}),
    ),
    Scenario(
        "renegotiation",
        "sessions",
        "When the request has come, the server renegotiates, and shows a certificate with another"
        " key.",
        "reject",
        "RFC 5246, section 7.4.1.1; CVE-2014-1295",
        _renegotiating,
        tls=("1.2",),
        keys=ENOUGH_KEYS,
        must_arrive=False,
    ),
)
