"""HTTP/2, and what it lets a server say of other hosts, ports and connections."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ...pinset import PinSet, Rule
from ..scenario import Scenario
from ..servers.applications import PREFACE, Response
from ..servers.http2 import ALPN, Http2, origin_frame
from ..servers.paths import Detour

if TYPE_CHECKING:
    from ..servers.listener import Listener
    from ..servers.server import Server
    from ..stage import Stage

__all__ = ["SCENARIOS"]

SPEAKS_HTTP2 = frozenset({"http2"})
TWO_REQUESTS = frozenset({"second_url"})


def _honest(stage: Stage) -> None:
    server = stage.honest(stage.serving(stage.cast.pinned, application=Http2(), alpn=ALPN))
    stage.doubt_also(lambda: _spoken(server))


def _spoken(server: Server) -> list[str]:
    if any(each.application_data.startswith(PREFACE) for each in server.connections):
        return []
    return ["the client did not speak HTTP/2"]


def _wrong_key(stage: Stage) -> None:
    stage.attacker(stage.serving(stage.cast.impostor, application=Http2(), alpn=ALPN))


def _coalescing(stage: Stage) -> None:
    server = stage.honest(stage.serving(stage.cast.pinned, alpn=ALPN))
    name, address = stage.cast.name, stage.cast.address
    origins = [server.url_for(name), server.url_for(address)]
    server.application = Http2(first=origin_frame(*origins))
    stage.second_url = server.url_for(address, "/second")
    own, other = Rule(name, [stage.cast.pinned.pin]), Rule(address, [stage.cast.backup.pin])
    stage.pinset = PinSet([own, other])
    stage.judge_also(lambda: _misled(server, address))
    stage.doubt_also(lambda: [] if server.requests else ["the first request did not arrive"])


def _misled(server: Server, host: str) -> list[str]:
    called = [urlsplit(f"//{request.headers.get('Host', '')}") for request in server.requests]
    if any(each.hostname == host for each in called):
        return ["a request came to a server whose key is pinned for another host only"]
    return []


def _attacker_on_the_next_connection(stage: Stage, application: Http2) -> None:
    honest = stage.honest(stage.serving(stage.cast.pinned, application=application, alpn=ALPN))
    attacker = stage.serving(stage.cast.impostor, application=Http2(), alpn=ALPN)
    path = stage.helper(Detour([honest, stage.attacker(attacker)]))
    stage.address = path.address
    stage.doubt_also(lambda: [] if honest.requests else ["the first request did not arrive"])


def _goes_away(stage: Stage) -> None:
    _attacker_on_the_next_connection(stage, Http2(goes_away=True))


def _misdirected(stage: Stage) -> None:
    answer = Http2(lambda request: Response(b"not here", 421), goes_away=True)
    _attacker_on_the_next_connection(stage, answer)


def _alternative(stage: Stage) -> None:
    attacker = stage.attacker(stage.serving(stage.cast.impostor, application=Http2(), alpn=ALPN))
    # http/1.1 is percent-encoded (RFC 7838, section 3)
    _naming(stage, attacker, "h2", "http%2F1.1")


def _alternative_http3(stage: Stage) -> None:
    from ..servers.http3 import Http3Server

    _naming(stage, stage.attacker(Http3Server(stage.cast.impostor)), "h3")


def _naming(stage: Stage, attacker: Listener, *protocols: str) -> None:
    """The honest server names the attacker's port as an alternative for these protocols."""
    told = ", ".join(f'{name}=":{attacker.port}"; ma=86400' for name in protocols)
    leading = Http2(lambda request: Response(headers={"Alt-Svc": told}))
    honest = stage.honest(stage.serving(stage.cast.pinned, application=leading, alpn=ALPN))
    stage.address = honest.address
    stage.doubt_also(lambda: [] if honest.requests else ["the first request did not arrive"])


SCENARIOS = (
    Scenario(
        "http2-honest",
        "http2",
        "The honest server, with HTTP/2.",
        "accept",
        "RFC 9113, section 3.2",
        _honest,
        claims=SPEAKS_HTTP2,
    ),
    Scenario(
        "http2-other-ca",
        "http2",
        "An attacker with a certificate of another trusted CA speaks HTTP/2.",
        "reject",
        "RFC 9113, section 3.2",
        _wrong_key,
    ),
    Scenario(
        "http2-coalescing",
        "http2",
        "One certificate is valid for two hosts, for each of which another key is pinned; the"
        " server claims both (ORIGIN), and the client calls first the one whose key it has.",
        "reject",
        "RFC 9113, section 9.1.1; RFC 8336, section 2.4",
        _coalescing,
        tls=("1.3",),
        needs=TWO_REQUESTS,
        claims=frozenset({"pins-per-host"}),
        must_arrive=False,
    ),
    Scenario(
        "http2-goaway",
        "http2",
        "The honest server sends the client away after its first request; the connection for the"
        " second one is an attacker's.",
        "reject",
        "RFC 9113, section 6.8",
        _goes_away,
        tls=("1.3",),
        needs=TWO_REQUESTS,
    ),
    Scenario(
        "http2-misdirected",
        "http2",
        "The honest server answers 421, after which a client may ask again on another connection;"
        " that is an attacker's.",
        "reject",
        "RFC 9110, section 15.5.20",
        _misdirected,
        tls=("1.3",),
        must_arrive=False,
    ),
    Scenario(
        "alternative-service",
        "http2",
        "The honest server names an attacker's port as an alternative for later requests (Alt-Svc),"
        " where the certificate is of another trusted CA.",
        "reject",
        "RFC 7838, section 2.1",
        _alternative,
        tls=("1.3",),
        needs=TWO_REQUESTS,
        claims=frozenset({"alternative-services"}),
        must_arrive=False,
    ),
    Scenario(
        "alternative-http3",
        "http2",
        "The honest server names an attacker's port as its alternative with HTTP/3, where the"
        " certificate is of another trusted CA.",
        "reject",
        "RFC 9114, section 3.1.1; RFC 7838, section 2.1",
        _alternative_http3,
        tls=("1.3",),
        needs=TWO_REQUESTS,
        claims=frozenset({"alternative-services"}),
        must_arrive=False,
    ),
)
