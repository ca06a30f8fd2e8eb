"""What libraries do with TLS when nobody says how: not verified is not pinned, and so refused."""

from __future__ import annotations

import asyncio
import ftplib
import imaplib
import poplib
import smtplib

import pytest
from scene import HOST, pinned, pinner_for

from keypin import UnverifiedConnection
from keypin.lab import Server

from .client import TIMEOUT
from .clients import databases
from .clients.ftp import FTP
from .clients.mail import IMAP, POP, SMTP


def login_to_ftp(port):
    client = ftplib.FTP_TLS(timeout=TIMEOUT)
    try:
        client.connect(HOST, port)
        client.login()
    finally:
        client.close()


@pytest.mark.parametrize(
    ("connect", "server"),
    [
        pytest.param(
            lambda port: smtplib.SMTP_SSL(HOST, port, timeout=TIMEOUT),
            {"application": SMTP},
            id="smtplib",
        ),
        pytest.param(
            lambda port: imaplib.IMAP4_SSL(HOST, port, timeout=TIMEOUT),
            {"application": IMAP},
            id="imaplib",
        ),
        pytest.param(
            lambda port: poplib.POP3_SSL(HOST, port, timeout=TIMEOUT),
            {"application": POP},
            id="poplib",
        ),
        pytest.param(
            login_to_ftp,
            {"application": FTP.after_tls, "before_tls": FTP.before_tls(b"AUTH")},
            id="ftplib",
        ),
    ],
)
def test_the_standard_library_without_a_context_is_refused_even_by_the_pinned_server(
    connect, server
):
    with Server(pinned(), **server) as server:
        with pinner_for(pinned()).installed(), pytest.raises(UnverifiedConnection):
            connect(server.port)
        server.settle()
    assert server.application_bytes == 0


def postgres_before_tls(channel):
    """Agree to TLS, and to going on without it."""
    asked = channel.recv()
    if asked == databases.SSL_REQUEST:
        channel.sendall(b"S")
        return True
    channel.sendall(databases.WELCOME)
    channel.drain()
    return False


async def connect_by_asyncpg(port, **more):
    asyncpg = pytest.importorskip("asyncpg")
    connection = await asyncpg.connect(
        host=HOST,
        port=port,
        user="me",
        password="secret",
        database="postgres",
        timeout=TIMEOUT,
        **more,
    )
    connection.terminate()


def test_asyncpg_by_default_goes_on_in_the_clear_where_tls_is_refused():
    # Nothing within TLS can prevent this: it is why the documentation says to pass ssl=.
    with Server(
        pinned(), application=databases.postgres_server, before_tls=postgres_before_tls
    ) as server:
        with pinner_for(pinned()).installed():
            asyncio.run(connect_by_asyncpg(server.port))
            first, second = server.settle()
            assert first.plain_data == databases.SSL_REQUEST
            assert b"user\0me\0" in second.plain_data
            server.connections.clear()
            with pytest.raises(UnverifiedConnection):
                asyncio.run(connect_by_asyncpg(server.port, ssl="require"))
        (only,) = server.settle()
        assert only.plain_data == databases.SSL_REQUEST
    assert server.application_bytes == 0
