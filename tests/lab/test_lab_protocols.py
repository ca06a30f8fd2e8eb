"""The lab's servers of mail, WebSocket and HTTP/2, spoken to by hand and by libraries."""

from __future__ import annotations

import imaplib
import smtplib
import ssl
from typing import TYPE_CHECKING

import h2.config
import h2.connection
import h2.events
import pytest
import websockets.sync.client

from keypin.lab import Server
from keypin.lab.servers.http2 import ALPN, Http2
from keypin.lab.servers.http3 import Http3Server
from keypin.lab.servers.mail import Imap, Smtp
from keypin.lab.servers.websocket import WebSocketEcho

if TYPE_CHECKING:
    from conftest import Client

    from keypin.lab import Credential

TIMEOUT = 10


@pytest.mark.parametrize("initial_response", [True, False])
@pytest.mark.parametrize("mechanism", ["plain", "login"])
def test_smtp_takes_a_login_and_a_message(
    mechanism: str, initial_response: bool, leaf: Credential, client: Client
) -> None:
    mail = Smtp()
    with Server(leaf, application=mail, before_tls=mail.before_tls) as server:
        with smtplib.SMTP(*server.address, timeout=TIMEOUT) as smtp:
            smtp._host = "localhost"
            smtp.starttls(context=client.context())
            smtp.ehlo()
            smtp.user, smtp.password = "user", "secret"
            login = getattr(smtp, f"auth_{mechanism}")
            assert smtp.auth(mechanism, login, initial_response_ok=initial_response)[0] == 235
            assert smtp.sendmail("a@mail.example", ["b@mail.example"], "Subject: x\r\n\r\ny") == {}
            assert smtp.noop()[0] == 250
        (connection,) = server.settle()
    assert b"Subject: x" in connection.application_data
    assert connection.plain_data.splitlines()[-1] == b"STARTTLS"


def test_smtp_without_starttls_does_not_know_it(leaf: Credential) -> None:
    mail = Smtp(starttls=None)
    with Server(leaf, application=mail, before_tls=mail.before_tls) as server:
        with smtplib.SMTP(*server.address, timeout=TIMEOUT) as smtp:
            assert smtp.docmd("STARTTLS")[0] == 502
        (connection,) = server.settle()
    assert connection.application_bytes == 0


def test_imap_takes_a_login_and_a_message(leaf: Credential, client: Client) -> None:
    mail = Imap()
    with Server(leaf, application=mail, before_tls=mail.before_tls) as server:
        with imaplib.IMAP4("localhost", server.port, timeout=TIMEOUT) as imap:
            imap.starttls(client.context())
            imap.authenticate("PLAIN", lambda challenge: b"\0user\0secret")
            assert imap.select() == ("OK", [b"0"])
            assert imap.list() == ("OK", [b'() "/" INBOX'])
            assert imap.append("INBOX", None, None, b"Subject: x\r\n\r\n{9}")[0] == "OK"
            assert imap.noop()[0] == "OK"
        (connection,) = server.settle()
    assert b"Subject: x" in connection.application_data


def test_imap_without_starttls_does_not_know_it(leaf: Credential) -> None:
    mail = Imap(starttls=None)
    with Server(leaf, application=mail, before_tls=mail.before_tls) as server:
        with imaplib.IMAP4("localhost", server.port, timeout=TIMEOUT) as imap:
            assert "STARTTLS" not in imap.capabilities
            with pytest.raises(imaplib.IMAP4.error, match="not known"):
                imap._simple_command("STARTTLS")


@pytest.mark.parametrize("mail", [Smtp(), Imap()])
def test_mail_servers_bear_a_client_that_goes(
    mail: Smtp | Imap, leaf: Credential, client: Client
) -> None:
    with Server(leaf, application=mail, before_tls=mail.before_tls) as server:
        for beginning in (
            b"",
            b"a1 NO",
            b"a1 APPEND x {100}\r\nabc",
            b"AUTH LOGIN\r\n",
            b"DATA\r\nx",
        ):
            with client.connect_plain(server) as sock:
                sock.sendall(beginning)
        assert len(server.settle()) == 5


def test_websocket_echoes_text_bytes_and_pieces(leaf: Credential, client: Client) -> None:
    with Server(leaf, application=WebSocketEcho()) as server:
        url = f"wss://localhost:{server.port}/path"
        with websockets.sync.client.connect(url, ssl=client.context(), proxy=None) as connection:
            for message in ("text", b"bytes"):
                connection.send(message)
                assert connection.recv(TIMEOUT) == message
            connection.send(["one ", "two ", "three"])
            assert connection.recv(TIMEOUT) == "one two three"
        server.settle()
        (request,) = server.requests
    assert request.target == "/path"
    assert request.headers["Upgrade"].lower() == "websocket"


def test_websocket_refuses_what_is_no_upgrade(leaf: Credential, client: Client) -> None:
    with Server(leaf, application=WebSocketEcho()) as server:
        with client.connect(server) as tls:
            tls.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert tls.recv(100).startswith(b"HTTP/1.1 426 ")


def http2_over(tls: ssl.SSLSocket) -> h2.connection.H2Connection:
    connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    connection.initiate_connection()
    tls.sendall(connection.data_to_send())
    return connection


def test_http2_takes_bodies_and_answers(leaf: Credential, client: Client) -> None:
    context = client.context()
    context.set_alpn_protocols(["h2"])
    with Server(leaf, application=Http2(), alpn=ALPN) as server:
        with client.connect(server, context) as tls:
            connection = http2_over(tls)
            pseudo = {"method": "POST", "scheme": "https", "authority": "a.example", "path": "/x"}
            headers = [(f":{name}", value) for name, value in pseudo.items()]
            # one that is given up, and one that is not
            connection.send_headers(1, headers)
            connection.reset_stream(1)
            connection.send_headers(3, [*headers, ("authorization", "Bearer x")])
            connection.send_data(3, b"body", end_stream=True)
            tls.sendall(connection.data_to_send())
            events = []
            while not any(isinstance(event, h2.events.StreamEnded) for event in events):
                events += connection.receive_data(tls.recv(4096))
        server.settle()
        (request,) = server.requests
    assert (request.method, request.target, request.body) == ("POST", "/x", b"body")
    assert request.headers["Host"] == "a.example"
    assert request.headers["Authorization"] == "Bearer x"


def test_http2_ends_a_connection_that_breaks_its_rules(leaf: Credential, client: Client) -> None:
    with Server(leaf, application=Http2(), alpn=ALPN) as server:
        with client.connect(server) as tls:
            http2_over(tls)
            tls.sendall(b"\0\0\1\0\0\0\0\0\1x")  # DATA on a stream that nobody has opened
            while tls.recv(4096):
                pass
        (connection,) = server.settle()
    assert connection.error is not None
    assert server.requests == []


def test_http3_counts_what_comes_by_tcp_too(leaf: Credential, client: Client) -> None:
    with Http3Server(leaf) as server:
        client.connect_plain(server).sendall(b"hello")
        server.wait_until(lambda: server.application_bytes == 5)
        client.close()
        assert [each.application_data for each in server.quiet()] == [b"hello"]
    server.close()
