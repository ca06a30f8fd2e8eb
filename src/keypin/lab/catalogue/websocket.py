"""WebSocket (RFC 6455) over TLS: the upgrade, and where it may lead."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..scenario import Scenario
from ..servers.applications import Http, Response
from ..servers.server import Server
from ..servers.websocket import WebSocketEcho

if TYPE_CHECKING:
    from ..stage import Stage

__all__ = ["SCENARIOS"]


def _honest(stage: Stage) -> None:
    stage.honest(stage.serving(stage.cast.pinned, application=WebSocketEcho()))


def _wrong_key(stage: Stage) -> None:
    stage.attacker(stage.serving(stage.cast.impostor, application=WebSocketEcho()))


def _redirecting(stage: Stage, location: str) -> None:
    leading = Http(lambda request: Response(status=302, headers={"Location": location}))
    honest = stage.honest(stage.serving(stage.cast.pinned, application=leading))
    stage.address = honest.address
    stage.doubt_also(lambda: [] if honest.requests else ["the client did not ask for the upgrade"])


def _web_socket(url: str) -> str:
    return "ws" + url.removeprefix("http")


def _to_wrong_key(stage: Stage) -> None:
    attacker = stage.serving(stage.cast.impostor, application=WebSocketEcho())
    _redirecting(stage, _web_socket(stage.attacker(attacker).url_for(stage.host, "/")))


def _to_plain(stage: Stage) -> None:
    attacker = stage.attacker(Server(None, application=WebSocketEcho()))
    _redirecting(stage, _web_socket(attacker.url_for(stage.host, "/")))


SCENARIOS = (
    Scenario(
        "websocket-honest",
        "websocket",
        "The honest server takes the upgrade, and echoes messages.",
        "accept",
        "RFC 6455, section 4.2.2",
        _honest,
        protocol="wss",
        control=True,
    ),
    Scenario(
        "websocket-other-ca",
        "websocket",
        "An attacker with a certificate of another trusted CA takes the upgrade.",
        "reject",
        "RFC 6455, section 10.6",
        _wrong_key,
        protocol="wss",
    ),
    Scenario(
        "websocket-redirect-to-wrong-key",
        "websocket",
        "The honest server answers the upgrade with a redirect to the same host on another port,"
        " where an attacker has a certificate of another trusted CA.",
        "reject",
        "RFC 6455, section 4.2.2",
        _to_wrong_key,
        tls=("1.3",),
        protocol="wss",
        claims=frozenset({"redirects"}),
        must_arrive=False,
    ),
    Scenario(
        "websocket-redirect-to-ws",
        "websocket",
        "The honest server answers the upgrade with a redirect to a WebSocket without TLS.",
        "reject",
        "RFC 6455, section 10.6",
        _to_plain,
        tls=("1.3",),
        protocol="wss",
        claims=frozenset({"redirects", "https-only"}),
        must_arrive=False,
    ),
)
