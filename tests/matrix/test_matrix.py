"""Every client library is pinned by `pinner.installed()` alone, in all that it does with TLS.

keypin's own adapters are pinned by the pinner that they are given.
"""

from __future__ import annotations

import gc
import platform
import shutil
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from scene import NAMES, VERSIONS, authority, pinned, pinner_for, pins_for, unpinned

from keypin import find_error
from keypin.lab import Authority, ConnectProxy, Server
from keypin.lab.servers.mitmproxy import Mitmproxy

from .client import Client, Endpoint
from .clients import all_clients

if TYPE_CHECKING:
    from collections.abc import Callable

    from keypin import Pinner
    from keypin.lab import Credential
    from keypin.lab.servers.contexts import TlsVersion

    from .client import Request

# Some libraries import others that have a TLS of their own, beside Python's.
pytestmark = pytest.mark.filterwarnings("ignore::keypin.UncoveredClient")

FIRST_PINS = "pins, then client"
FIRST_CLIENT = "client, then pins"


@cache
def interceptors_authority() -> Authority:
    """The authority of the intercepting proxy, which the client trusts, too."""
    return Authority("CA of the interceptor")


@cache
def clients_authority() -> Authority:
    """The authority that certifies clients."""
    return Authority("CA of the clients")


def everybody(
    only: Callable[[Client, str], bool] = lambda client, version: True,
) -> pytest.MarkDecorator:
    """Parametrise over the versions of TLS and the clients, or those that can take part."""
    return pytest.mark.parametrize(
        ("version", "client"),
        [
            pytest.param(version, client, id=f"{client.name}, TLS {version}", marks=skips(client))
            for version in VERSIONS
            for client in all_clients()
            if only(client, version)
        ],
    )


def skips(client: Client) -> list[pytest.MarkDecorator]:
    """Skip what cannot run here, and say why."""
    reason = client.available()
    return [pytest.mark.skip(reason=reason)] if reason else []


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the client's files are."""
    folder = tmp_path_factory.mktemp("matrix")
    (folder / "roots.pem").write_text(authority().pem + interceptors_authority().pem)
    me = clients_authority().issue(common_name="me", extended_key_usage=["clientAuth"])
    (folder / "me.pem").write_bytes(me.chain_pem + me.key_pem)
    return folder


@pytest.fixture(autouse=True)
def no_leftovers() -> None:
    """Collect the closed connections of the last test, or `install` looks at them again."""
    gc.collect(1)


@pytest.fixture(scope="session", autouse=True)
def runtime(record_testsuite_property: Callable[[str, object], None]) -> None:
    """Name, for docs/clients.md, what the tests ran on."""
    python = f"{platform.python_implementation()} {platform.python_version()}"
    openssl = " ".join(ssl.OPENSSL_VERSION.split()[:2])
    record_testsuite_property("runtime", f"{python} ({openssl})")


@pytest.fixture(autouse=True)
def tell(request: pytest.FixtureRequest, client: Client) -> Callable[[str, object], None]:
    """Record a property of the client for docs/clients.md, which is made of them."""

    # record_property does the same, and warns of the schema that the report no longer follows
    def tell(name: str, value: object) -> None:
        request.node.user_properties.append((name, value))

    tell("client", client.name)
    tell("versions", client.versions)
    return tell


@pytest.fixture
def pinner() -> Pinner:
    """What is in force: the key of one of the two servers."""
    return pinner_for(pinned())


@pytest.fixture
def serve(client: Client, version: str) -> Iterator[Callable[..., Server]]:
    """Start a server that speaks what the client speaks; the arguments are those of Server."""
    with ExitStack() as servers:

        def serve(credential: Credential, **more: object) -> Server:
            server = Server(
                credential,
                application=client.application,
                before_tls=client.before_tls,
                tls=[version],
                resumption="tickets" if client.session_tickets else "off",
                **more,
            )
            return servers.enter_context(server)

        yield serve


@pytest.fixture
def endpoint(client: Client, folder: Path) -> Callable[..., Endpoint]:
    """Make an endpoint for a server."""

    def endpoint(server: Server, **more: object) -> Endpoint:
        return Endpoint(client.protocol, server.port, str(folder / "roots.pem"), **more)

    return endpoint


@contextmanager
def pinned_session(
    client: Client, endpoint: Endpoint, pinner: Pinner, order: str = FIRST_CLIENT
) -> Iterator[Request]:
    """A session under pins, which are installed before or after its contexts are made.

    They stay until it is closed: some clients go on trying in the background.
    """
    if client.takes_pins:
        with client.session(replace(endpoint, pinner=pinner)) as request:
            yield request
        return
    with ExitStack() as pins:
        if order == FIRST_PINS:
            pins.enter_context(pinner.installed())
        with client.session(endpoint) as request:
            if order == FIRST_CLIENT:
                pins.enter_context(pinner.installed())
            yield request


def refused(client: Client, request: Request) -> Exception:
    """Make a request that must fail for the pins' sake; return what the user sees."""
    with pytest.raises(Exception) as caught:
        request()
    found = find_error(caught.value) is not None
    assert found is client.explains, f"{'a' if found else 'no'} PinMismatch in {caught.value!r}"
    return caught.value


def name_of(error: Exception) -> str:
    """An exception's class, as users know it: by its library, not by the module within."""
    package, name = type(error).__module__.partition(".")[0], type(error).__qualname__
    return name if package == "builtins" else f"{package}.{name}"


@everybody()
def test_without_pins_every_server_of_the_name_is_reached(client, serve, endpoint):
    server = serve(unpinned())
    with client.session(endpoint(server)) as request:
        request()
        received, connections = server.application_bytes, len(server.connections)
        assert received > 0
        request()
        assert server.application_bytes > received
        assert (len(server.connections) == connections) is client.keeps_alive
    server.settle()


@pytest.mark.parametrize("order", [FIRST_PINS, FIRST_CLIENT])
@everybody()
def test_the_pinned_server_is_reached(client, serve, endpoint, pinner, order):
    server = serve(pinned())
    with pinned_session(client, endpoint(server), pinner, order) as request:
        request()
    server.settle()
    assert server.application_bytes > 0


@pytest.mark.parametrize("order", [FIRST_PINS, FIRST_CLIENT])
@everybody()
def test_another_key_is_refused(client, serve, endpoint, pinner, order, version, tell):
    server = serve(unpinned())
    with pinned_session(client, endpoint(server), pinner, order) as request:
        error = refused(client, request)
    attempts = server.settle()
    assert attempts != []
    assert server.application_bytes == 0
    assert {attempt.tls_version for attempt in attempts} <= {None, f"TLSv{version}"}
    tell("error", name_of(error))
    tell("attempts", len(attempts))


@everybody()
def test_pins_replaced_between_two_requests_stop_the_second(client, serve, endpoint, pinner, tell):
    server = serve(pinned())
    with pinned_session(client, endpoint(server), pinner) as request:
        request()
        assert server.application_bytes > 0
        if client.talks_by_itself:
            pinner.replace(pins_for(unpinned()))
            server.settle()
            received = server.application_bytes
        else:
            received = server.application_bytes
            pinner.replace(pins_for(unpinned()))
        with pytest.raises(Exception) as caught:
            request()
    server.settle()
    assert server.application_bytes == received
    if client.explains_a_cut:
        assert (find_error(caught.value) is not None) is client.explains
    tell("error after replace", name_of(caught.value))


@everybody(lambda client, version: client.client_certificate)
def test_a_client_certificate_is_shown_to_the_pinned_server_only(
    client, serve, endpoint, pinner, folder
):
    asking = {"client_ca": clients_authority().certificate}
    mine = {"client_certificate": str(folder / "me.pem")}
    right, wrong = serve(pinned(), **asking), serve(unpinned(), **asking)
    with pinned_session(client, endpoint(right, **mine), pinner) as request:
        request()
    assert any(connection.client_certificate_seen for connection in right.settle())
    with pinned_session(client, endpoint(wrong, **mine), pinner) as request:
        refused(client, request)
    assert not any(connection.client_certificate_seen for connection in wrong.settle())
    assert wrong.application_bytes == 0
    with client.session(endpoint(wrong, **mine)) as request:
        request()
    assert any(connection.client_certificate_seen for connection in wrong.settle())


@everybody(lambda client, version: client.proxy)
def test_servers_behind_a_connect_proxy_are_told_apart(client, serve, endpoint, pinner):
    right, wrong = serve(pinned()), serve(unpinned())
    with ConnectProxy(routes={"localhost": right.address}) as proxy:
        with pinned_session(client, endpoint(right, proxy=proxy.url), pinner) as request:
            request()
        proxy.settle()
        assert [tunnel.target for tunnel in proxy.tunnels] == [f"localhost:{right.port}"]
    assert right.application_bytes > 0
    with ConnectProxy(routes={"localhost": wrong.address}) as proxy:
        with pinned_session(client, endpoint(wrong, proxy=proxy.url), pinner) as request:
            refused(client, request)
        proxy.settle()
        assert {tunnel.target for tunnel in proxy.tunnels} == {f"localhost:{wrong.port}"}
    assert len(wrong.settle()) == len(proxy.tunnels)
    assert wrong.application_bytes == 0


@pytest.fixture(scope="session")
def interceptors(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[[str], Mitmproxy]]:
    """One mitmdump for each version of TLS."""
    with ExitStack() as running:

        @cache
        def interceptor(version: TlsVersion) -> Mitmproxy:
            folder = tmp_path_factory.mktemp("mitmproxy")
            return running.enter_context(
                Mitmproxy(
                    folder,
                    interceptors_authority().issue(*NAMES),
                    trusted=authority().pem,
                    tls=version,
                )
            )

        yield interceptor


@pytest.mark.skipif(shutil.which("mitmdump") is None, reason="needs mitmproxy (make system-deps)")
@everybody(
    # mitmproxy sends tickets
    lambda client, version: client.proxy and (version == "1.2" or client.session_tickets)
)
def test_mitmproxy_with_a_trusted_ca_reads_nothing(
    client, serve, endpoint, pinner, version, interceptors
):
    server = serve(pinned())
    interceptor = interceptors(version)
    intercepted = endpoint(server, proxy=interceptor.url)
    with client.session(intercepted) as request:
        request()
    interceptor.settle()
    assert interceptor.request_lines
    assert interceptor.application_bytes > 0
    interceptor.forget()
    server.settle()
    received = server.application_bytes
    assert received > 0
    with pinned_session(client, intercepted, pinner) as request:
        refused(client, request)
    interceptor.settle()
    assert interceptor.request_lines == []
    assert interceptor.application_bytes == 0
    server.settle()
    assert server.application_bytes == received
