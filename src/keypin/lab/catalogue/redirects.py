"""Redirects by the honest server: to an attacker, to plain http, to another host, for ever."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ...pinset import PinSet, Rule
from ..scenario import Scenario
from ..servers.applications import Http, Response
from ..servers.server import Server

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..servers.applications import Application
    from ..servers.connection import Request
    from ..servers.listener import Listener
    from ..stage import Stage

__all__ = ["SCENARIOS"]

CREDENTIALS = ("Authorization", "Cookie", "Proxy-Authorization")
SECRET = "user:secret"  # noqa: S105
ENOUGH_REDIRECTS = 100  # browsers follow 20 (Fetch standard, HTTP-redirect fetch), curl 50
FOLLOWS = frozenset({"redirects"})


def _redirecting(location: str, status: int = 302, header: str = "Location") -> Application:
    return Http(lambda request: Response(status=status, headers={header: location}))


def _begin_at(stage: Stage, server: Listener) -> None:
    """Let the client call this server first, and doubt that it was tested if it did not."""
    stage.address = server.address
    stage.doubt_also(
        lambda: [] if server.application_bytes else ["the client did not call the first server"]
    )


def _lead(stage: Stage, location: str, status: int = 302, header: str = "Location") -> None:
    """Let the client call the honest server first, which answers with this."""
    leading = _redirecting(location, status, header)
    _begin_at(stage, stage.honest(stage.serving(stage.cast.pinned, application=leading)))


def _attacker(stage: Stage) -> Server:
    return stage.attacker(stage.serving(stage.cast.impostor))


def _to_wrong_key(stage: Stage, status: int = 302) -> None:
    _lead(stage, _attacker(stage).url_for(stage.host, "/"), status)


def _to_other_spelling(stage: Stage) -> None:
    _lead(stage, _attacker(stage).url_for(stage.cast.name.upper(), "/"))


def _without_scheme(stage: Stage) -> None:
    _lead(stage, _attacker(stage).url_for(stage.host, "/").removeprefix("https:"))


def _refresh(stage: Stage) -> None:
    _lead(stage, f"0; url={_attacker(stage).url_for(stage.host, '/')}", 200, "Refresh")


def _to_plain_http(stage: Stage, status: int = 302) -> None:
    _lead(stage, stage.attacker(Server(None)).url_for(stage.host, "/"), status)


def _chain(stage: Stage) -> None:
    location = stage.attacker(stage.serving(stage.cast.impostor)).url_for(stage.host, "/")
    for credential in (stage.cast.backup, stage.cast.pinned, stage.cast.pinned):
        server = stage.honest(stage.serving(credential, application=_redirecting(location)))
        location = server.url_for(stage.host, "/")
    _begin_at(stage, server)


def _chain_over_plain_http(stage: Stage) -> None:
    last = stage.honest(stage.serving(stage.cast.pinned))
    attacker = Server(None, application=_redirecting(last.url_for(stage.host, "/")))
    _lead(stage, stage.attacker(attacker).url_for(stage.host, "/"))


def _loop(stage: Stage) -> None:
    server = stage.serving(stage.cast.pinned)
    stage.honest(server)

    def again(request: Request) -> Response:
        followed = _followed(request)
        if followed > ENOUGH_REDIRECTS:
            return Response(b"you follow for ever")
        location = server.url_for(stage.host, f"/{followed + 1}")
        return Response(status=302, headers={"Location": location})

    def check() -> list[str]:
        if all(_followed(request) <= ENOUGH_REDIRECTS for request in server.requests):
            return []
        return [f"the client followed {ENOUGH_REDIRECTS} redirects, and would have gone on"]

    server.application = Http(again)
    _begin_at(stage, server)
    stage.judge_also(check)


def _followed(request: Request) -> int:
    """How many redirects have led to this request."""
    number = request.target.removeprefix("/")
    return int(number) if number.isdecimal() else 0


def _kept_credentials(first: Server, others: Server) -> list[str]:
    """Tell which credentials that the first server was sent came to the other one, too."""
    sent = {(name, request.headers[name]) for request in first.requests for name in CREDENTIALS}
    came = {(name, request.headers[name]) for request in others.requests for name in CREDENTIALS}
    return [
        f"the client sent its header {name} on to the host that it was redirected to"
        for name, value in sorted(sent & came, key=str)
        if value is not None
    ]


def _to_other_host(stage: Stage, *, with_password: bool) -> None:
    name = stage.cast.name  # besides the address, which is the other host
    other = stage.helper(
        stage.serving(stage.cast.other_root.issue(stage.cast.address, key=stage.key))
    )
    headers = {
        "Location": other.url_for(stage.cast.address, "/"),
        "Set-Cookie": "session=secret; Path=/",
    }
    # Set on the first request and sent with the second one, to which the redirect leads back.
    first = stage.serving(stage.cast.pinned)
    stage.honest(first)

    def lead(request: Request) -> Response:
        if request.target == "/again":
            return Response(status=302, headers=headers)
        back = first.url_for(name, "/again")
        return Response(status=302, headers={**headers, "Location": back})

    first.application = Http(lead)
    _begin_at(stage, first)
    stage.judge_also(lambda: [*_kept_credentials(first, other), *_kept_cookie(other)])
    if with_password:
        stage.url = first.url_for(name, "/").replace("//", f"//{SECRET}@")
        stage.doubt_also(lambda: _unsent(first, "Authorization"))


def _kept_cookie(other: Server) -> list[str]:
    if any("session=secret" in request.headers.get("Cookie", "") for request in other.requests):
        return ["the client sent a cookie to a host that did not set it"]
    return []


def _unsent(server: Server, name: str) -> list[str]:
    if any(name in request.headers for request in server.requests):
        return []
    return [f"the client sent no {name} to the first server, which it could have kept or not"]


def _to_unlisted_host(stage: Stage) -> None:
    attacker = stage.attacker(
        stage.serving(stage.cast.other_root.issue(stage.cast.address, key=stage.key))
    )
    _lead(stage, attacker.url_for(stage.cast.address, "/"))
    stage.pinset = PinSet([Rule(stage.cast.name, stage.pins)], unlisted="refuse")


def _plain_url(stage: Stage) -> None:
    stage.url = stage.attacker(Server(None)).url_for(stage.host, "/")


def _to_honest(stage: Stage) -> None:
    last = stage.honest(stage.serving(stage.cast.pinned))
    leading = _redirecting(last.url_for(stage.host, "/"))
    stage.address = stage.honest(stage.serving(stage.cast.pinned, application=leading)).address


def _rejected(
    identifier: str,
    story: str,
    source: str,
    build: Callable[[Stage], None],
    *claims: str,
) -> Scenario:
    # A client that does not follow cannot fail; the version of TLS has no part in it.
    return Scenario(
        identifier,
        "redirects",
        story,
        "reject",
        source,
        build,
        tls=("1.3",),
        claims=FOLLOWS.union(claims),
        must_arrive=False,
    )


SCENARIOS = (
    Scenario(
        "redirect-to-honest",
        "redirects",
        "The honest server redirects to another port of its own, where it holds the pinned key.",
        "accept",
        "RFC 9110, section 15.4.3",
        _to_honest,
        tls=("1.3",),
        claims=FOLLOWS,
    ),
    _rejected(
        "redirect-to-wrong-key",
        "The honest server redirects to the same host on another port, where an attacker has a"
        " certificate of another trusted CA.",
        "RFC 9110, section 15.4.3",
        _to_wrong_key,
    ),
    _rejected(
        "redirect-with-body",
        "The honest server redirects with status 307, after which clients send the body of their"
        " request again, to an attacker on another port of the same host.",
        "RFC 9110, section 15.4.8",
        partial(_to_wrong_key, status=307),
    ),
    _rejected(
        "redirect-permanent-with-body",
        "The honest server redirects with status 308, body and for good, to an attacker on another"
        " port of the same host.",
        "RFC 9110, section 15.4.9",
        partial(_to_wrong_key, status=308),
    ),
    _rejected(
        "redirect-to-other-spelling",
        "The honest server redirects to its own name in capital letters, on an attacker's port.",
        "RFC 3986, section 3.2.2",
        _to_other_spelling,
    ),
    _rejected(
        "redirect-without-scheme",
        "The honest server redirects to a location without a scheme, which takes that of the"
        " request, on an attacker's port.",
        "RFC 3986, section 4.2",
        _without_scheme,
    ),
    _rejected(
        "redirect-chain",
        "Three honest servers redirect from one to the next, and the last one to the attacker.",
        "RFC 9110, section 15.4",
        _chain,
        "backup-pins",
    ),
    _rejected(
        "refresh-header",
        "The honest server answers with a Refresh header that leads to the attacker.",
        "HTML Standard, the Refresh header",
        _refresh,
    ),
    _rejected(
        "redirect-to-http",
        "The honest server redirects to plain http, where anybody in the path can answer.",
        "CVE-2018-18074",
        _to_plain_http,
        "https-only",
    ),
    _rejected(
        "redirect-with-body-to-http",
        "The honest server redirects with status 307, after which clients send the body of their"
        " request again, to plain http.",
        "RFC 9110, section 15.4.8",
        partial(_to_plain_http, status=307),
        "https-only",
    ),
    _rejected(
        "redirect-over-http",
        "The honest server redirects to plain http, and from there an attacker back to it.",
        "RFC 6797, section 7.2",
        _chain_over_plain_http,
        "https-only",
    ),
    _rejected(
        "redirect-loop",
        "The honest server redirects to itself for ever.",
        "RFC 9110, section 15.4",
        _loop,
    ),
    _rejected(
        "redirect-to-unlisted-host",
        "The honest server redirects to a host that the pins do not list, where policy is to refuse"
        " such hosts.",
        "RFC 9110, section 15.4",
        _to_unlisted_host,
        "unlisted-hosts",
    ),
    _rejected(
        "redirect-keeps-cookie",
        "The honest server sets a cookie, and redirects to another host, which must not see it.",
        "RFC 6265, section 5.4",
        partial(_to_other_host, with_password=False),
    ),
    _rejected(
        "redirect-keeps-password",
        "The client is told a password in the URL; the honest server redirects to another host,"
        " which must not see it.",
        "CVE-2018-1000007",
        partial(_to_other_host, with_password=True),
        "passwords-in-urls",
    ),
    Scenario(
        "plain-http",
        "redirects",
        "The client is told an http URL of the pinned host, where anybody in the path can answer.",
        "reject",
        "RFC 6797, section 2.3.1.1",
        _plain_url,
        tls=("1.3",),
        claims=frozenset({"https-only"}),
        must_arrive=False,
    ),
)
