"""A client certificate is shown to a server that satisfies the pins, and to no other."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import urllib.request

import pytest
from scene import (
    HOST,
    VERSIONS,
    authority,
    connect,
    exchange,
    pinned,
    pinner_for,
    trusting,
    unpinned,
)

from keypin import PinMismatch, Pinner, PinSet, ProtectionError, find_error
from keypin.enforcement import private_ssl as _private_ssl
from keypin.lab import Server


@pytest.fixture(scope="module")
def my_files(me, tmp_path_factory):
    return me.write(tmp_path_factory.mktemp("client"))


@pytest.fixture(params=VERSIONS)
def serve(request, clients):
    """Make a server that asks for a client certificate."""

    def make(credential, **more):
        return Server(credential, tls=[request.param], client_ca=clients.certificate, **more)

    return make


def created(my_files):
    context = trusting(pinner_for(pinned()))
    context.load_cert_chain(my_files.chain, my_files.key)
    return context


def protected_after_loading(my_files):
    context = ssl.create_default_context(cadata=authority().pem)
    context.load_cert_chain(my_files.chain, my_files.key)
    return pinner_for(pinned()).protect(context)


def protected_before_loading(my_files):
    context = pinner_for(pinned()).protect(ssl.create_default_context(cadata=authority().pem))
    context.load_cert_chain(my_files.chain, my_files.key)
    return context


def with_a_callback_of_the_programs_own(my_files):
    context = created(my_files)
    context._msg_callback = lambda *message: None
    return context


WAYS = [
    created,
    protected_after_loading,
    protected_before_loading,
    with_a_callback_of_the_programs_own,
]
ways = pytest.mark.parametrize("make_context", WAYS, ids=[way.__name__ for way in WAYS])


@ways
def test_the_pinned_server_gets_it(make_context, serve, my_files, me):
    with serve(pinned(), require_client_certificate=True) as server:
        with connect(make_context(my_files), server) as connection:
            assert exchange(connection).startswith(b"HTTP/1.1 200")
        (record,) = server.settle()
    assert record.client_certificate == me.certificate


@ways
def test_a_mismatching_server_gets_neither_it_nor_a_finished_handshake(
    make_context, serve, my_files
):
    with serve(unpinned()) as server:
        with pytest.raises(PinMismatch):
            connect(make_context(my_files), server)
        (record,) = server.settle()
    assert not record.client_certificate_seen
    assert not record.client_finished
    assert record.application_bytes == 0


@ways
def test_asyncio_does_not_show_it_either(make_context, serve, my_files, me):
    async def talk(server):
        reader, writer = await asyncio.open_connection(
            *server.address, ssl=make_context(my_files), server_hostname=HOST
        )
        writer.write(b"GET / HTTP/1.0\r\n\r\n")
        answer = await reader.read()
        writer.close()
        with contextlib.suppress(ssl.SSLError, ConnectionError):
            await writer.wait_closed()
        return answer

    with serve(pinned(), require_client_certificate=True) as server:
        assert b"200" in asyncio.run(talk(server))
        (record,) = server.settle()
    assert record.client_certificate == me.certificate

    with serve(unpinned()) as server:
        with pytest.raises(PinMismatch):
            asyncio.run(talk(server))
        (record,) = server.settle()
    assert not record.client_certificate_seen
    assert not record.client_finished
    assert record.application_bytes == 0


def test_the_control_without_keypin_does_show_it(serve, my_files, me):
    """If this fails, the tests above prove nothing."""
    context = ssl.create_default_context(cadata=authority().pem)
    context.load_cert_chain(my_files.chain, my_files.key)
    with serve(unpinned()) as server:
        connect(context, server).close()
        (record,) = server.settle()
    assert record.client_certificate == me.certificate


def test_it_is_not_shown_where_the_context_does_not_verify(serve, my_files):
    context = created(my_files)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with serve(pinned()) as server:
        with pytest.raises(PinMismatch):
            connect(context, server)
        (record,) = server.settle()
    assert not record.client_certificate_seen


def test_it_is_not_shown_where_the_host_name_is_wrong_and_the_context_does_not_check(
    serve, my_files
):
    context = created(my_files)
    context.check_hostname = False
    elsewhere = authority().issue("elsewhere.example", key=pinned().key)
    with serve(elsewhere) as server:
        with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
            connect(context, server)
        (record,) = server.settle()
    assert not record.client_certificate_seen


def test_it_is_shown_to_unlisted_hosts_as_before(serve, my_files, me):
    context = trusting(Pinner(PinSet({"other.example": [pinned().pin]})))
    context.load_cert_chain(my_files.chain, my_files.key)
    with serve(unpinned()) as server:
        connect(context, server).close()
        (record,) = server.settle()
    assert record.client_certificate == me.certificate


def test_urllib_does_not_show_it(serve, my_files):
    with serve(unpinned()) as server:
        with pytest.raises(OSError) as caught:
            urllib.request.urlopen(server.url_for(HOST), context=created(my_files), timeout=20)
        assert find_error(caught.value) is not None
        (record,) = server.settle()
    assert not record.client_certificate_seen
    assert record.application_bytes == 0


def test_where_the_handshake_cannot_be_watched_client_certificates_are_refused(
    monkeypatch, my_files
):
    """`SSLContext._msg_callback` is private to CPython; without it, keypin must not leak."""
    monkeypatch.setattr(_private_ssl, "MESSAGE_CALLBACK", None)
    context = trusting(pinner_for(pinned()))
    with pytest.raises(ProtectionError, match="client certificate"):
        context.load_cert_chain(my_files.chain, my_files.key)
    with pytest.raises(ProtectionError, match="client certificate"):
        pinner_for(pinned()).protect(ssl.create_default_context())


def test_a_callback_of_the_programs_own_still_hears_every_message(serve, my_files):
    heard = []
    context = created(my_files)
    context._msg_callback = lambda *message: heard.append(message)
    assert context._msg_callback is not None
    with serve(pinned()) as server:
        connect(context, server).close()
    assert {direction for _, direction, *_ in heard} == {"read", "write"}
    context._msg_callback = None
    heard.clear()
    with serve(unpinned()) as server:
        with pytest.raises(PinMismatch):
            connect(context, server)
        (record,) = server.settle()
    assert not heard
    assert not record.client_certificate_seen
