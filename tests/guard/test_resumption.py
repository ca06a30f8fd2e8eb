"""A resumed session brings no chain and no verification: it is judged by what began it."""

from __future__ import annotations

import contextlib
import ssl
from datetime import UTC, datetime, timedelta

import pytest
from scene import (
    HOST,
    authority,
    connect,
    exchange,
    issuing,
    pinned,
    pinner_for,
    pins_for,
    trusting,
    unpinned,
)

from keypin import PinMismatch, Pinner, PinSet, Reason, UnverifiedConnection
from keypin.enforcement import context as _context
from keypin.enforcement import guard as _guard
from keypin.lab import Authority, Server


def session_of(context, server, **more):
    """A session that can be resumed, from a full handshake and one exchange (TLS 1.3 tickets)."""
    with connect(context, server, **more) as connection:
        exchange(connection)
        assert not connection.session_reused
        session = connection.session
        with contextlib.suppress(OSError):
            connection.unwrap()  # a server forgets a session that did not end in order
        return session


@pytest.mark.parametrize("resumption", ["tickets", "session-ids"])
@pytest.mark.parametrize(
    "pin_and_match",
    [(pinned, "leaf"), (pinned, "chain"), (issuing, "chain"), (authority, "chain")],
    ids=["leaf pin, leaf", "leaf pin, chain", "intermediate pin", "root pin"],
)
def test_a_session_that_began_pinned_is_resumed(pin_and_match, version, resumption):
    pin, match = pin_and_match
    context = trusting(pinner_for(pin(), match=match))
    with Server(pinned(), tls=[version], resumption=resumption) as server:
        session = session_of(context, server)
        with connect(context, server, session=session) as connection:
            assert connection.session_reused
            assert exchange(connection).startswith(b"HTTP/1.1 200")


def test_a_session_is_not_resumed_after_its_pin_was_removed(version):
    for pin, match in ((pinned(), "leaf"), (issuing(), "chain")):
        pinner = pinner_for(pin, match=match)
        context = trusting(pinner)
        with Server(pinned(), tls=[version]) as server:
            session = session_of(context, server)
            received = server.application_bytes
            pinner.replace(pins_for(unpinned(), match=match))
            with pytest.raises(PinMismatch) as caught:
                connect(context, server, session=session)
            assert caught.value.served[0][0] == pinned().pin
            server.settle()
            assert server.connections[-1].session_resumed
            assert server.application_bytes == received


def test_a_ticket_of_another_server_of_the_same_ca_does_not_bring_its_pins_along(version):
    """Two servers share their ticket keys; the client holds a session with the pinned one."""
    context = trusting(Pinner(PinSet({HOST: [pinned().pin], "b.example": [unpinned().pin]})))
    b = issuing().issue("b.example", key=unpinned().key)
    with Server(b, tls=[version]) as of_b, of_b.sibling(pinned()) as of_host:
        session = session_of(context, of_b, server_hostname="b.example")
        with pytest.raises(ssl.SSLCertVerificationError) as caught:
            connect(context, of_host, session=session)  # by the name localhost
        assert "Hostname mismatch" in str(caught.value)
        of_host.settle()
        assert of_host.connections[-1].session_resumed
        assert of_host.application_bytes == 0


def test_a_ticket_of_a_server_with_both_names_is_judged_by_the_pins_of_the_host(version):
    context = trusting(Pinner(PinSet({HOST: [pinned().pin], "b.example": [unpinned().pin]})))
    both = issuing().issue("b.example", *("localhost",), key=unpinned().key)
    with Server(both, tls=[version]) as of_both, of_both.sibling(pinned()) as of_host:
        session = session_of(context, of_both, server_hostname="b.example")
        with pytest.raises(PinMismatch) as caught:
            connect(context, of_host, session=session)
        assert caught.value.reason is Reason.NO_MATCH
        of_host.settle()
        assert of_host.application_bytes == 0


def test_a_session_that_began_without_verification_is_refused(version):
    """Its server showed a forged certificate with the right names; nobody looked."""
    forged = Authority("attacker").issue(HOST)
    pinner = Pinner(PinSet({}))
    context = trusting(pinner)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with Server(forged, tls=[version]) as server:
        session = session_of(context, server)
        received = server.application_bytes
        context.verify_mode = ssl.CERT_REQUIRED
        context.check_hostname = True
        pinner.replace(PinSet({HOST: [forged.pin]}))
        with pytest.raises(UnverifiedConnection) as caught:
            connect(context, server, session=session)
        assert caught.value.reason is Reason.UNKNOWN_SESSION
        server.settle()
        assert server.application_bytes == received


def test_a_session_that_began_before_the_host_was_listed_is_refused(version):
    pinner = Pinner(PinSet({}))
    context = trusting(pinner)
    with Server(pinned(), tls=[version]) as server:
        session = session_of(context, server)
        pinner.replace(pins_for(pinned()))
        with pytest.raises(UnverifiedConnection, match="connect anew"):
            connect(context, server, session=session)
        session = session_of(context, server)  # a full handshake is welcome
        with connect(context, server, session=session) as connection:
            assert connection.session_reused


def test_a_session_set_on_the_socket_is_judged_as_well(version):
    pinner = pinner_for(pinned())
    context = trusting(pinner)
    with Server(pinned(), tls=[version]) as server:
        session = session_of(context, server)
        received = server.application_bytes
        pinner.replace(pins_for(unpinned()))
        with connect(context, server, do_handshake_on_connect=False) as connection:
            connection.session = session
            with pytest.raises(PinMismatch):
                exchange(connection)
        server.settle()
        assert server.connections[-1].session_resumed
        assert server.application_bytes == received


def test_a_session_does_not_outlive_the_certificate_that_began_it(version, monkeypatch):
    context = trusting(pinner_for(pinned()))
    with Server(pinned(), tls=[version]) as server:
        session = session_of(context, server)
        received = server.application_bytes
        later = datetime.now(UTC) + timedelta(days=100)
        monkeypatch.setattr(_guard.time, "time", later.timestamp)
        with pytest.raises(ssl.SSLCertVerificationError, match="expired") as caught:
            connect(context, server, session=session)
        assert not isinstance(caught.value, PinMismatch)
        server.settle()
        assert server.application_bytes == received


def test_the_memory_for_sessions_is_bounded_and_forgetting_means_refusing(version, monkeypatch):
    monkeypatch.setattr(_context, "REMEMBERED", 2)
    a, b, c = (issuing().issue(HOST) for _ in range(3))
    context = trusting(pinner_for(issuing()))
    with Server(a, tls=[version]) as server:
        first = session_of(context, server)
        for credential in (b, c):
            server.serve(credential)
            last = session_of(context, server)
        with pytest.raises(UnverifiedConnection):
            connect(context, server, session=first)
        connect(context, server, session=last).close()


def test_the_guard_does_not_let_renegotiation_be_switched_on_again():
    context = trusting(pinner_for(pinned()))
    context.options &= ~ssl.OP_NO_RENEGOTIATION
    assert context.options & ssl.OP_NO_RENEGOTIATION
    context.options = ssl.OP_ALL
    assert context.options & ssl.OP_NO_RENEGOTIATION


@pytest.mark.parametrize("resumption", ["tickets", "session-ids"])
def test_a_client_with_a_certificate_resumes_too(version, resumption, clients, me, tmp_path):
    """OpenSSL can tell whose session it is only when the handshake is over."""
    files = me.write(tmp_path / "me")
    pinner = pinner_for(pinned())
    context = trusting(pinner)
    context.load_cert_chain(files.chain, files.key)
    with Server(
        pinned(), tls=[version], resumption=resumption, client_ca=clients.certificate
    ) as server:
        session = session_of(context, server)
        with connect(context, server, session=session) as connection:
            assert connection.session_reused
            assert exchange(connection).startswith(b"HTTP/1.1 200")
        received = server.application_bytes
        pinner.replace(pins_for(unpinned()))
        with pytest.raises(PinMismatch):
            connect(context, server, session=session)
        assert [record.client_certificate_seen for record in server.settle()][1:] == [False, False]
        assert server.application_bytes == received
