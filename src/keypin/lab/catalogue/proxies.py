"""Proxies for the CONNECT method: honest, intercepting, answering instead of tunnelling."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ..cast import NAMES, Unsuitable
from ..scenario import Scenario
from ..servers.proxy import ConnectProxy
from ..servers.server import Server

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..authority import Credential
    from ..scenario import Expected
    from ..servers.applications import Application
    from ..servers.contexts import TlsVersion
    from ..servers.streams import Channel
    from ..stage import Stage

__all__ = ["SCENARIOS"]

HEAD_LIMIT = 64 * 1024
LURE = b"<html><title>Your session has expired</title><form action='/'>Password</form></html>"


def _use(stage: Stage, proxy: Server) -> None:
    """Let the client use a proxy, and doubt that it was tested if it did not."""
    stage.proxy = proxy.url
    stage.doubt_also(lambda: [] if proxy.connections else ["the client did not use the proxy"])


def _tunnelling(stage: Stage, target: Server, credential: Credential | None = None) -> None:
    """Use a proxy that relays to this server, whatever it is asked for."""
    routes = {stage.host: target.address}
    _use(stage, stage.helper(ConnectProxy(credential, routes=routes)))


def _honest(stage: Stage) -> None:
    _tunnelling(stage, stage.honest(stage.serving(stage.cast.pinned)))


def _honest_inside_tls(stage: Stage) -> None:
    # Pinned itself: a client that pins every host pins its proxy, too.
    _tunnelling(stage, stage.honest(stage.serving(stage.cast.pinned)), stage.cast.backup)


def _attacker_behind(
    stage: Stage, shown: Credential, proxy_credential: Credential | None = None
) -> None:
    """The client asks for the honest server's address, and is led to an attacker."""
    stage.honest(stage.serving(stage.cast.pinned))
    _tunnelling(stage, stage.attacker(stage.serving(shown)), proxy_credential)


def _intercepting(stage: Stage) -> None:
    _attacker_behind(stage, stage.cast.impostor)


def _intercepting_inside_tls(stage: Stage) -> None:
    _attacker_behind(stage, stage.cast.impostor, stage.cast.backup)


def _elsewhere(stage: Stage) -> None:
    _attacker_behind(stage, stage.cast.issuing.issue(*stage.cast.names, key=stage.key))


def _own_certificate(stage: Stage) -> None:
    own = stage.cast.root.issue(*stage.cast.names, key=stage.key)
    _attacker_behind(stage, own, own)


def _answer(answer: bytes) -> Application:
    """A proxy that answers every CONNECT request with these bytes, and then takes what comes."""

    def serve(channel: Channel) -> None:
        head = bytearray()
        while b"\r\n\r\n" not in head and len(head) < HEAD_LIMIT:
            data = channel.recv()
            if not data:
                return
            head += data
        channel.sendall(answer)

    return serve


def _answering(stage: Stage, status: str, *headers: str) -> None:
    stage.honest(stage.serving(stage.cast.pinned))
    plain, wrong = stage.attacker(Server(None)), stage.attacker(stage.serving(stage.cast.impostor))
    lines = [f"HTTP/1.1 {status}", *headers, "Content-Type: text/html"]
    head = "\r\n".join([*lines, f"Content-Length: {len(LURE)}", "", ""])
    head = head.format(plain=plain.url_for(stage.host, "/"), wrong=wrong.url_for(stage.host, "/"))
    answer = head.encode("ascii") + LURE
    _use(stage, stage.attacker(Server(None, application=_answer(answer))))


def _mitmproxy(stage: Stage) -> None:
    from ..servers.mitmproxy import Mitmproxy

    if stage.cast.names != NAMES:
        raise Unsuitable("mitmproxy finds servers by this machine's names, and leads anywhere")
    stage.honest(stage.serving(stage.cast.pinned))
    interceptor = stage.attacker(
        Mitmproxy(
            stage.folder / "mitmproxy",
            stage.cast.impostor,
            trusted=stage.cast.trusted,
            tls=stage.tls,
        )
    )
    stage.proxy = interceptor.url


def _scenario(
    identifier: str,
    story: str,
    expected: Expected,
    source: str,
    build: Callable[[Stage], None],
    *claims: str,
    tls: tuple[TlsVersion, ...] = ("1.3",),
    must_arrive: bool = True,
) -> Scenario:
    return Scenario(
        identifier,
        "proxies",
        story,
        expected,
        source,
        build,
        tls=tls,
        needs=frozenset({"proxy"}),
        claims=frozenset({"proxies", *claims}),
        must_arrive=must_arrive,
    )


SCENARIOS = (
    _scenario(
        "proxy-honest",
        "A proxy tunnels to the honest server.",
        "accept",
        "RFC 9110, section 9.3.6",
        _honest,
        tls=("1.2", "1.3"),
    ),
    _scenario(
        "tls-proxy-honest",
        "A proxy that is itself reached through TLS tunnels to the honest server: TLS in TLS.",
        "accept",
        "RFC 9110, section 9.3.6",
        _honest_inside_tls,
        "tls-proxies",
        "backup-pins",
        tls=("1.2", "1.3"),
    ),
    _scenario(
        "proxy-intercepting",
        "A proxy ends TLS itself, with a certificate for the host from another trusted CA.",
        "reject",
        "OWASP MASTG-TEST-0022",
        _intercepting,
        tls=("1.2", "1.3"),
    ),
    _scenario(
        "mitmproxy",
        "The real mitmproxy intercepts, with a certificate for the host from another trusted CA.",
        "reject",
        "OWASP MASTG-TEST-0022",
        _mitmproxy,
    ),
    _scenario(
        "tls-proxy-intercepting",
        "A proxy with a pinned key of its own, reached through TLS, shows inside the tunnel a"
        " certificate for the host from another trusted CA.",
        "reject",
        "RFC 9110, section 4.3.4",
        _intercepting_inside_tls,
        "tls-proxies",
        "backup-pins",
        tls=("1.2", "1.3"),
    ),
    _scenario(
        "tls-proxy-own-certificate",
        "A proxy that is reached through TLS shows inside the tunnel its own certificate again,"
        " which is valid for the host, too.",
        "reject",
        "RFC 9110, section 4.3.4",
        _own_certificate,
        "tls-proxies",
        tls=("1.2", "1.3"),
        must_arrive=False,
    ),
    _scenario(
        "proxy-to-another-server",
        "A proxy tunnels to another server than it was asked for, with a certificate for the same"
        " host from the same CA.",
        "reject",
        "RFC 9110, section 9.3.6",
        _elsewhere,
    ),
    _scenario(
        "proxy-answers-200",
        "A proxy answers the CONNECT request with a page instead of a tunnel.",
        "reject",
        "RFC 9110, section 9.3.6",
        partial(_answering, status="200 OK"),
    ),
    _scenario(
        "proxy-answers-302-http",
        "A proxy answers the CONNECT request with a redirect to an attacker's plain http.",
        "reject",
        "CVE-2009-1836",
        lambda stage: _answering(stage, "302 Found", "Location: {plain}"),
    ),
    _scenario(
        "proxy-answers-302-https",
        "A proxy answers the CONNECT request with a redirect to an attacker of the same host.",
        "reject",
        "CVE-2009-1836",
        lambda stage: _answering(stage, "302 Found", "Location: {wrong}"),
    ),
    _scenario(
        "proxy-answers-407",
        "A proxy asks for a password, with a page that asks the user.",
        "reject",
        "RFC 9110, section 11.7.1",
        lambda stage: _answering(
            stage,
            "407 Proxy Authentication Required",
            'Proxy-Authenticate: Basic realm="the origin"',
            "Set-Cookie: session=of-the-attacker; Path=/",
        ),
    ),
    _scenario(
        "proxy-answers-500",
        "A proxy answers the CONNECT request with an error whose page leads elsewhere.",
        "reject",
        "CVE-2009-1836",
        lambda stage: _answering(stage, "500 Internal Server Error", "Refresh: 0; url={plain}"),
    ),
)
