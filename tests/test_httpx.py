"""httpx and httpx2 need no adapter: all that they connect to is pinned by `verify=context`."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import httpx2
import pytest
from scene import HOST, NAMES, authority, issuing, pinned, pinner_for, pins_for, trusting, unpinned

from keypin import Pinner, find_error
from keypin.lab import Authority, ConnectProxy, Server

if TYPE_CHECKING:
    from types import ModuleType

TIMEOUT = 20
libraries = pytest.mark.parametrize("library", [httpx, httpx2])
ways = pytest.mark.parametrize("way", ["sync", "async"])


def get(library: ModuleType, way: str, server: Server, **settings: Any) -> Exception | None:
    """Make a request with a client of its own; return what went wrong."""
    url = server.url_for(HOST)

    async def ask() -> None:
        async with library.AsyncClient(timeout=TIMEOUT, **settings) as client:
            await client.get(url)

    try:
        if way == "async":
            anyio.run(ask)
        else:
            with library.Client(timeout=TIMEOUT, **settings) as client:
                client.get(url)
    except library.HTTPError as error:
        return error
    return None


def assert_only_the_pinned_server_is_reached(
    library: ModuleType, way: str, right: Server, wrong: Server, **settings: Any
) -> None:
    assert get(library, way, right, **settings) is None
    assert find_error(get(library, way, wrong, **settings)) is not None
    wrong.settle()
    assert wrong.connections
    assert wrong.application_bytes == 0


@ways
@libraries
@pytest.mark.parametrize("http2", [False, True], ids=["HTTP/1.1", "HTTP/1.1 or HTTP/2"])
def test_directly(library, way, http2, version):
    context = trusting(pinner_for(pinned()))
    with Server(pinned(), tls=[version]) as right, Server(unpinned(), tls=[version]) as wrong:
        assert_only_the_pinned_server_is_reached(
            library, way, right, wrong, verify=context, http2=http2
        )


@ways
@libraries
@pytest.mark.parametrize("how", ["proxy", "environment", "https proxy", "mounted transport"])
def test_behind_a_proxy(library, way, how, monkeypatch):
    context = trusting(pinner_for(pinned()))
    credential = issuing().issue("127.0.0.1") if how == "https proxy" else None
    with Server(pinned()) as right, Server(unpinned()) as wrong:
        with ConnectProxy(credential) as proxy:
            settings: dict[str, Any] = {"verify": context}
            if how == "environment":
                monkeypatch.setenv("https_proxy", proxy.url)
            elif how == "mounted transport":
                kind = library.HTTPTransport if way == "sync" else library.AsyncHTTPTransport

                def transport() -> object:
                    return kind(verify=context, proxy=proxy.url)

            else:
                own = context if credential else None
                settings["proxy"] = library.Proxy(proxy.url, ssl_context=own)
            for server in (right, wrong):
                if how == "mounted transport":
                    settings["mounts"] = {"all://": transport()}
                error = get(library, way, server, **settings)
                assert (find_error(error) is None) is (server is right), error
            assert len(proxy.tunnels) == 2
        wrong.settle()
        assert wrong.connections
        assert wrong.application_bytes == 0


@ways
@libraries
@pytest.mark.parametrize("mode", ["enforce", "report"])
def test_no_authority_is_added_to_the_contexts(library, way, mode, monkeypatch, tmp_path):
    other = Authority("other root")
    (tmp_path / "other.pem").write_text(other.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "other.pem"))
    theirs = other.issue(*NAMES)
    context = trusting(Pinner(pins_for(pinned(), theirs, mode=mode)))
    with Server(theirs) as server:
        assert "local issuer" in str(get(library, way, server, verify=context))
        server.settle()
        assert server.application_bytes == 0


@ways
@libraries
@pytest.mark.filterwarnings("ignore:`cert=:DeprecationWarning")
@pytest.mark.parametrize("how", ["context", "cert"])
def test_a_client_certificate_is_shown_to_the_pinned_server_only(library, way, how, tmp_path):
    clients = Authority("CA of the clients")
    me = clients.issue(common_name="me", extended_key_usage=["clientAuth"])
    mine = Path(tmp_path, "me.pem")
    mine.write_bytes(me.chain_pem + me.key_pem)
    asking = {"client_ca": clients.certificate}
    with Server(pinned(), **asking) as right, Server(unpinned(), **asking) as wrong:
        context = trusting(pinner_for(pinned()))
        settings = {"verify": context}
        if how == "context":
            context.load_cert_chain(mine)
        else:
            settings["cert"] = str(mine)
        assert_only_the_pinned_server_is_reached(library, way, right, wrong, **settings)
        assert [one.client_certificate_seen for one in right.settle()] == [True]
        assert not any(one.client_certificate_seen for one in wrong.connections)


@ways
@libraries
def test_a_transport_of_the_programs_own_needs_the_context_itself(library, way):
    """The trap that the guide tells of; the context of `verify` does not reach such a transport."""
    kind = library.HTTPTransport if way == "sync" else library.AsyncHTTPTransport
    context = trusting(pinner_for(pinned()))
    plain = ssl.create_default_context(cadata=authority().pem)
    with Server(unpinned()) as server:
        past = get(library, way, server, verify=context, transport=kind(verify=plain))
        assert past is None
    with Server(pinned()) as right:
        assert get(library, way, right, transport=kind(verify=context)) is None
    with Server(unpinned()) as wrong:
        assert find_error(get(library, way, wrong, transport=kind(verify=context))) is not None
        wrong.settle()
        assert wrong.application_bytes == 0
