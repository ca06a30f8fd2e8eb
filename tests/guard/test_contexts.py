"""Which contexts can be guarded, what guarding changes about them, and what it refuses."""

from __future__ import annotations

import gc
import ssl
import subprocess
import sys
import weakref

import pytest
import truststore
import urllib3
from scene import (
    HOST,
    authority,
    connect,
    exchange,
    pinned,
    pinner_for,
    pins_for,
    trusting,
    unpinned,
)

from keypin import PinMismatch, Pinner, PinSet, PinSetError, ProtectionError, find_error
from keypin.lab import Server


@pytest.fixture
def servers(version):
    with Server(pinned(), tls=[version]) as right, Server(unpinned(), tls=[version]) as wrong:
        yield right, wrong


def assert_guarded(context, servers):
    right, wrong = servers
    received = wrong.application_bytes
    with connect(context, right) as connection:
        assert exchange(connection).startswith(b"HTTP/1.1 200")
    with pytest.raises(PinMismatch):
        connect(context, wrong)
    wrong.settle()
    assert wrong.application_bytes == received


def default_context() -> ssl.SSLContext:
    return ssl.create_default_context(cadata=authority().pem)


def test_protect_guards_in_place_and_returns_the_context(servers):
    context = default_context()
    assert pinner_for(pinned()).protect(context) is context
    assert isinstance(context, ssl.SSLContext)
    assert_guarded(context, servers)


def test_a_created_context_is_an_ordinary_default_context_beside_the_guard():
    created, default = trusting(pinner_for(pinned())), default_context()
    for name in ("verify_mode", "check_hostname", "verify_flags", "minimum_version", "protocol"):
        assert getattr(created, name) == getattr(default, name)
    assert created.options == default.options | ssl.OP_NO_RENEGOTIATION


@pytest.mark.parametrize("given", ["cafile", "capath", "cadata text", "cadata bytes"])
def test_authorities_can_be_given_in_every_way_of_create_default_context(given, servers, tmp_path):
    file = tmp_path / "ca.pem"
    file.write_text(authority().pem)
    if given == "capath":
        subprocess.run(["openssl", "rehash", tmp_path], check=True, timeout=60)
    arguments = {
        "cafile": {"cafile": file},
        "capath": {"capath": tmp_path},
        "cadata text": {"cadata": authority().pem},
        "cadata bytes": {"cadata": authority().certificate},
    }[given]
    assert_guarded(pinner_for(pinned()).create_context(**arguments), servers)


def test_a_subclass_keeps_its_own_behaviour(servers):
    class Own(ssl.SSLContext):
        """Counts, and sees what is set."""

        made = 0

        def wrap_socket(self, *arguments, **more):
            self.made += 1
            return super().wrap_socket(*arguments, **more)

    context = Own(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=authority().pem)
    pinner_for(pinned()).protect(context)
    assert isinstance(context, Own)
    assert_guarded(context, servers)
    assert context.made == 2


def test_a_socket_class_of_the_programs_own_is_guarded(servers):
    class OwnSocket(ssl.SSLSocket):
        def send(self, data, flags=0):
            return self._sslobj.write(data)  # as gevent does

        def do_handshake(self, block=False):
            """Skip it."""

    context = default_context()
    context.sslsocket_class = OwnSocket
    pinner_for(pinned()).protect(context)
    right, wrong = servers
    with connect(context, right) as connection:
        assert isinstance(connection, OwnSocket)
        assert connection.send(b"GET / HTTP/1.1\r\n\r\n")
        assert connection.recv(4) == b"HTTP"
    with connect(context, wrong) as connection, pytest.raises(PinMismatch):
        connection.send(b"GET / HTTP/1.1\r\n\r\n")
    wrong.settle()
    assert wrong.application_bytes == 0


def test_a_truststore_context_is_guarded_where_its_connections_are_made(servers, tmp_path):
    """Its outer context is a shell; class attributes set on that are ignored."""
    file = tmp_path / "ca.pem"
    file.write_text(authority().pem)
    context = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cafile=file)
    assert pinner_for(pinned()).protect(context) is context
    assert_guarded(context, servers)


def test_a_context_that_makes_its_connections_elsewhere_is_refused():
    class Elsewhere(ssl.SSLContext):
        def wrap_bio(self, *arguments, **more):
            return default_context().wrap_bio(*arguments, **more)

    with pytest.raises(ProtectionError, match="Elsewhere"):
        pinner_for(pinned()).protect(Elsewhere(ssl.PROTOCOL_TLS_CLIENT))


@pytest.mark.parametrize(
    "thing", [None, True, "context", object(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)]
)
def test_what_is_not_a_client_context_is_refused(thing):
    with pytest.raises(ProtectionError):
        pinner_for(pinned()).protect(thing)


def test_protecting_twice_is_once_and_by_two_pinners_is_refused(servers):
    pinner = pinner_for(pinned())
    context = pinner.protect(default_context())
    kind = type(context)
    assert type(pinner.protect(context)) is kind
    with pytest.raises(ProtectionError, match="another Pinner"):
        pinner_for(unpinned()).protect(context)
    assert_guarded(context, servers)


def test_a_pinner_needs_a_pin_set():
    for thing in (None, {}, [], {"a.example": ["sha256/x"]}):
        with pytest.raises(PinSetError):
            Pinner(thing)
        with pytest.raises(PinSetError):
            pinner_for(pinned()).replace(thing)


def test_a_refused_replacement_changes_nothing():
    pinner = pinner_for(pinned())
    with pytest.raises(PinSetError):
        pinner.replace(None)
    assert pinner.pins == pins_for(pinned())


def test_one_pinner_serves_many_contexts(servers):
    pinner = pinner_for(pinned())
    contexts = [trusting(pinner), pinner.protect(default_context())]
    for context in contexts:
        assert_guarded(context, servers)
    pinner.replace(pins_for(unpinned()))
    for context in contexts:
        assert_guarded(context, servers[::-1])


@pytest.mark.parametrize("assertion", ["assert_hostname", "assert_fingerprint"])
def test_urllib3_that_switches_the_host_name_check_off_does_not_switch_ours_off(assertion, version):
    """It sets check_hostname=False on the caller's context, for good."""
    import hashlib

    context = trusting(pinner_for(pinned()))
    value = {
        "assert_hostname": "elsewhere.example",
        "assert_fingerprint": hashlib.sha256(pinned().certificate).hexdigest(),
    }[assertion]
    elsewhere = authority().issue("elsewhere.example", key=pinned().key)
    with Server(pinned(), tls=[version]) as right, Server(elsewhere, tls=[version]) as wrong:
        pool = urllib3.PoolManager(ssl_context=context, retries=False, **{assertion: value})
        if assertion == "assert_fingerprint":
            assert pool.request("GET", right.url_for(HOST), timeout=20).status == 200
        else:
            with pytest.raises(urllib3.exceptions.SSLError):
                pool.request("GET", wrong.url_for(HOST), timeout=20)
        pool.clear()
        assert context.check_hostname is False
        assert_guarded_names(context, wrong)


def assert_guarded_names(context, wrong):
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        connect(context, wrong)
    wrong.settle()
    assert wrong.application_bytes == 0


def test_cert_reqs_none_in_urllib3_does_not_get_past_the_pins(servers):
    context = trusting(pinner_for(pinned()))
    context.check_hostname = False
    pool = urllib3.PoolManager(
        ssl_context=context, cert_reqs="CERT_NONE", assert_hostname=False, retries=False
    )
    with pytest.raises(urllib3.exceptions.SSLError) as caught:
        pool.request("GET", servers[0].url_for(HOST), timeout=20)
    assert find_error(caught.value) is not None
    pool.clear()
    servers[0].settle()
    assert servers[0].application_bytes == 0


def test_a_context_is_collected_with_its_pinner():
    pinner = pinner_for(pinned())
    context = trusting(pinner)
    alive = [weakref.ref(pinner), weakref.ref(context)]
    del pinner, context
    gc.collect()
    assert [reference() for reference in alive] == [None, None]


def test_the_tls_context_of_a_guarded_connection_cannot_be_changed(servers):
    """Another context could bring a client certificate that the handshake is not watched for."""
    context = trusting(pinner_for(pinned()))
    with connect(context, servers[0], do_handshake_on_connect=False) as connection:
        with pytest.raises(ProtectionError):
            connection.context = default_context()


def test_nothing_is_left_open_by_a_refused_connection():
    """No ResourceWarning, in a process of its own with everything switched on."""
    code = f"""
import gc, ssl, sys
sys.path.insert(0, {str(sys.path[0])!r}); sys.path[:0] = {[p for p in sys.path if "tests" in p]!r}
from scene import *
from keypin import PinMismatch
from keypin.lab import Server
with Server(unpinned()) as server:
    context = trusting(pinner_for(pinned()))
    for _ in range(3):
        try:
            connect(context, server)
        except PinMismatch:
            pass
    del context
    gc.collect()
print("clean")
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-X", "dev", "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == "clean\n"
    assert "Warning" not in done.stderr


def test_a_pin_set_without_rules_is_plain_tls(servers):
    for server in servers:
        with connect(trusting(Pinner(PinSet({}))), server) as connection:
            assert exchange(connection).startswith(b"HTTP/1.1 200")
