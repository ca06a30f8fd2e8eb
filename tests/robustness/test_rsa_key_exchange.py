"""In RSA key exchange (TLS 1.2) a server is asked for no signature, so its chain proves nothing.

Whoever has the pinned server's certificates, which are public, gets as far as to ask for the
client's. Python on Debian and others still offers these ciphers by default.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl

import pytest
from scene import HOST, authority, connect, exchange, issuing, trusting

from keypin import Pinner, PinSet, Rule
from keypin.lab import Server, new_key
from keypin.lab.servers.fuzzing import MutatingServer

CIPHER = "AES256-GCM-SHA384"  # TLS_RSA_WITH_AES_256_GCM_SHA384
SAYS = "asks for a client certificate before it has proved"


@pytest.fixture(scope="module")
def credential():
    return issuing().issue(HOST, key="rsa-2048")


@pytest.fixture(scope="module")
def my_file(me, tmp_path_factory):
    file = tmp_path_factory.mktemp("client") / "me.pem"
    file.write_bytes(me.key_pem + me.chain_pem)
    return file


@pytest.fixture
def impostor(credential):
    """Shows the pinned certificates, and has another key."""
    with MutatingServer(credential, new_key("rsa-2048"), tls=["1.2"]) as server:
        server._settings.keyExchangeNames = ["rsa"]
        yield server


def plain():
    return ssl.create_default_context(cadata=authority().pem)


def prepared(context, my_file=None):
    context.set_ciphers(CIPHER)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    if my_file is not None:
        context.load_cert_chain(my_file)
    return context


def pinner_of(credential, **rule):
    return Pinner(PinSet([Rule(HOST, [credential.pin], **rule)]))


@pytest.mark.parametrize("way", ["create_context", "protect", "install", "both"])
def test_an_impostor_does_not_get_the_client_certificate(way, credential, impostor, my_file):
    pinner, other = pinner_of(credential), pinner_of(credential)
    context = trusting(pinner) if way in ("create_context", "both") else plain()
    prepared(context, my_file)
    if way == "protect":
        pinner.protect(context)
    with other.installed() if way in ("install", "both") else contextlib.nullcontext():
        with pytest.raises(ssl.SSLCertVerificationError, match=SAYS):
            connect(context, impostor)
    (record,) = impostor.settle()
    assert not record.client_certificate_seen
    assert record.application_bytes == 0


def test_an_impostor_does_not_get_it_by_asyncio(credential, impostor, my_file):
    context = prepared(trusting(pinner_of(credential)), my_file)
    with pytest.raises(ssl.SSLCertVerificationError, match=SAYS):
        asyncio.run(asyncio.open_connection(*impostor.address, ssl=context, server_hostname=HOST))
    (record,) = impostor.settle()
    assert not record.client_certificate_seen


def test_without_keypin_or_in_report_mode_it_does(credential, impostor, my_file, me):
    """So the attack is real; a rule that only reports lets pass what it would let pass."""
    for context in (plain(), trusting(pinner_of(credential, mode="report"))):
        with pytest.raises(ssl.SSLError):
            connect(prepared(context, my_file), impostor)
    assert [one.client_certificate for one in impostor.settle()] == [me.certificate] * 2


@pytest.fixture
def serve(clients):
    def serve(credential, **more):
        return Server(credential, tls=["1.2"], ciphers=CIPHER, **more)

    return serve


def test_the_pinned_server_is_reached_as_long_as_it_does_not_ask(credential, serve, my_file):
    for context in (
        prepared(trusting(pinner_of(credential)), my_file),
        prepared(trusting(pinner_of(credential))),
        pinner_of(credential).protect(prepared(plain())),
    ):
        with serve(credential) as server, connect(context, server) as connection:
            assert connection.cipher()[0] == CIPHER
            assert exchange(connection).startswith(b"HTTP/1.1 200")


def test_the_pinned_server_is_refused_if_it_asks(credential, serve, my_file, clients):
    with serve(credential, client_ca=clients.certificate) as server:
        with pytest.raises(ssl.SSLCertVerificationError, match=SAYS):
            connect(prepared(trusting(pinner_of(credential)), my_file), server)
        (record,) = server.settle()
    assert not record.client_certificate_seen


def test_an_unlisted_server_that_asks_gets_what_it_always_got(
    credential, serve, my_file, clients, me
):
    pinner = Pinner(PinSet({"other.example": [credential.pin]}))
    with serve(credential, client_ca=clients.certificate) as server:
        with connect(prepared(trusting(pinner), my_file), server) as connection:
            exchange(connection)
        (record,) = server.settle()
    assert record.client_certificate == me.certificate


def test_with_ephemeral_key_exchange_a_pinned_server_may_ask(credential, my_file, clients, me):
    context = trusting(pinner_of(credential))
    context.load_cert_chain(my_file)
    with Server(credential, tls=["1.2"], client_ca=clients.certificate) as server:
        with connect(context, server) as connection:
            assert connection.cipher()[0].startswith("ECDHE")
            exchange(connection)
        (record,) = server.settle()
    assert record.client_certificate == me.certificate


def test_a_host_that_becomes_listed_after_it_was_asked_is_refused(credential, impostor, my_file):
    """The pins are replaced between the server's CertificateRequest and its ServerHelloDone."""
    pinner = Pinner(PinSet({"other.example": [credential.pin]}))
    context = prepared(trusting(pinner), my_file)

    def replace_after_the_request(_, direction, version, kind, message, data):
        if direction == "read" and kind == 22 and message == 13:
            pinner.replace(PinSet({HOST: [credential.pin]}))

    context._msg_callback = replace_after_the_request
    with pytest.raises(ssl.SSLCertVerificationError, match=SAYS):
        connect(context, impostor)
    (record,) = impostor.settle()
    assert not record.client_certificate_seen
