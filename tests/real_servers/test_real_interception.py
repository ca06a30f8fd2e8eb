"""Between a client and a real server: mitmproxy, an attacker, or HAProxy, the site's own."""

from __future__ import annotations

import shutil
import ssl
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache

import httpx2
import pytest
import requests
from scene import HOST, NAMES, authority, connect, issuing, pinned, pinner_for, pins_for, trusting

from keypin import PinMismatch, find_error
from keypin.client import Client
from keypin.lab import Authority
from keypin.lab.servers.mitmproxy import Mitmproxy

from .conftest import programs
from .haproxy import haproxy
from .programs import free_port, process, soon
from .serving import get

# Some libraries import others that have a TLS of their own, beside Python's.
pytestmark = pytest.mark.filterwarnings("ignore::keypin.UncoveredClient")

# mitmproxy


@cache
def interceptors_authority() -> Authority:
    """The authority of the intercepting proxy, which the client trusts, too."""
    return Authority("CA of the interceptor")


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    """A trust store in which the attacker's authority is, too."""
    file = tmp_path_factory.mktemp("intercepted") / "roots.pem"
    file.write_text(authority().pem + interceptors_authority().pem)
    return file


@pytest.fixture(scope="module")
def interceptor(tmp_path_factory):
    """A running mitmproxy for each version of TLS."""
    with ExitStack() as stack:

        @cache
        def interceptor(version):
            folder = tmp_path_factory.mktemp("mitmproxy")
            certificate = interceptors_authority().issue(*NAMES)
            proxy = Mitmproxy(folder, certificate, trusted=authority().pem, tls=version)
            return stack.enter_context(proxy)

        yield interceptor


def by_urllib(url, proxy, roots):
    handlers = (
        urllib.request.ProxyHandler({"https": proxy}),
        urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=roots)),
    )
    with urllib.request.build_opener(*handlers).open(url, timeout=20) as answer:
        return answer.read().decode()


def by_requests(url, proxy, roots):
    return requests.get(url, proxies={"https": proxy}, verify=str(roots), timeout=20).text


def by_httpx2(url, proxy, roots):
    context = ssl.create_default_context(cafile=roots)
    return httpx2.get(url, proxy=proxy, verify=context, trust_env=False).text


@pytest.mark.skipif(shutil.which("mitmdump") is None, reason="needs mitmproxy (make system-deps)")
def test_neither_mitmproxy_nor_the_server_behind_it_gets_a_request(
    version, program, server, interceptor, roots, word, tmp_path
):
    name = f"tickets-{version}"
    place, proxy = server.at(name), interceptor(version)
    proxy.settle()
    proxy.forget()
    libraries = (by_urllib, by_requests, by_httpx2)
    with pinner_for(pinned(), issuing(), authority()).installed():
        for library in libraries:
            with pytest.raises(Exception) as caught:
                library(place.url(word("refused")), proxy.url, roots)
            assert isinstance(find_error(caught.value), PinMismatch)
    (tmp_path / "it.cer").write_bytes(pinned().certificate)
    with Client("", tmp_path, roots, proxy=proxy.url, trust_env=False) as client:
        client.pin_trusted_certificate_public_key("it.cer")
        with pytest.raises(PinMismatch) as caught:
            client.get(place.url(word("refused")))
        assert caught.value.served[-1][0] == interceptors_authority().pin
    assert len(proxy.settle()) >= len(libraries) + 1
    assert proxy.request_lines == []
    assert proxy.application_bytes == 0
    # the control: clients that pin nothing do not notice
    read = [word("read") for _ in libraries]
    for library, each in zip(libraries, read, strict=True):
        assert library(place.url(each), proxy.url, roots) == program.name
    proxy.settle()
    assert len(proxy.request_lines) == len(libraries)
    received = server.requests(name)
    assert set(read) <= set(received)
    assert not any(each.startswith("refused") for each in received)


# HAProxy in front of another server

LOG = """
global
    log stdout format raw local0 info
    nbthread 1
defaults
    log global
    timeout client 30s
    timeout server 30s
    timeout connect 10s
"""
PASSED_THROUGH = """
listen through
    mode tcp
    option tcplog
    bind 127.0.0.1:{port}
    log-format "passed %U from the client"
    server origin 127.0.0.1:{origin}
"""
TERMINATED = """
listen ended
    mode http
    bind 127.0.0.1:{port} ssl crt {credential}
    log-format "request %HU"
    default-server ssl verify required ca-file {roots} sni str({host}) verifyhost {host}
    server origin 127.0.0.1:{origin}
"""


@pytest.fixture
def through_haproxy(tmp_path) -> Callable[..., Iterator[tuple[tuple[str, int], Callable[[], str]]]]:
    """Run HAProxy with a configuration; yield an object that has its address, and its log."""

    @contextmanager
    def through_haproxy(configuration: str, **values: object):
        port = free_port()
        file, log = tmp_path / "haproxy.cfg", tmp_path / "haproxy.log"
        file.write_text(LOG + configuration.format(port=port, **values))
        with process([haproxy, "-f", file], [port], log):
            yield Between(port, log)

    return through_haproxy


class Between:
    """HAProxy in front of a server."""

    def __init__(self, port, log):
        self.address = ("127.0.0.1", port)
        self._log = log

    def said(self):
        return self._log.read_text()


needs_haproxy = pytest.mark.skipif(haproxy is None, reason="needs haproxy (make system-deps)")
in_front = pytest.mark.parametrize(
    "program", programs(lambda program: program.name in ("nginx", "apache"))
)


@needs_haproxy
@in_front
def test_behind_a_passthrough_the_key_is_that_of_the_server(
    version, program, server, word, through_haproxy
):
    name = f"tickets-{version}"
    origin = server.ports[name]
    pinner = pinner_for(pinned(), match="leaf")
    context = trusting(pinner)
    accepted = word("accepted")
    with through_haproxy(PASSED_THROUGH, origin=origin) as between:
        with connect(context, between) as connection:
            assert get(connection, accepted) == program.name
        pinner.replace(pins_for(issuing().issue(HOST)))
        with pytest.raises(PinMismatch) as caught:
            get(connect(context, between), word("refused"))
        assert caught.value.served[0][0] == pinned().pin
        # what a passthrough counts is ciphertext, of handshakes, too
        assert soon(lambda: between.said().count("passed") >= 2)
    received = server.requests(name)
    assert accepted in received
    assert not any(each.startswith("refused") for each in received)


@needs_haproxy
@in_front
def test_where_tls_ends_before_the_server_the_key_is_that_of_what_ends_it(
    version, program, server, word, through_haproxy, tmp_path
):
    """Whoever ends TLS reads everything, with whatever care it speaks to the server behind it."""
    name = f"tickets-{version}"
    its_own = issuing().issue(*NAMES)
    credential, roots = tmp_path / "its-own.pem", tmp_path / "roots.pem"
    credential.write_bytes(its_own.chain_pem + its_own.key_pem)
    roots.write_text(authority().pem)
    values = {"origin": server.ports[name], "credential": credential, "roots": roots, "host": HOST}
    accepted = word("accepted")
    with through_haproxy(TERMINATED, **values) as between:
        with pytest.raises(PinMismatch) as caught:
            get(connect(trusting(pinner_for(pinned())), between), word("refused"))
        assert caught.value.served[0][0] == its_own.pin
        with connect(trusting(pinner_for(its_own)), between) as connection:
            assert get(connection, accepted) == program.name
        assert soon(lambda: accepted in between.said())
        assert "refused-" not in between.said()
    received = server.requests(name)
    assert accepted in received
    assert not any(each.startswith("refused") for each in received)
