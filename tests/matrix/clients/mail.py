"""Mail: smtplib, imaplib, poplib and aiosmtplib, with implicit TLS and STARTTLS."""

from __future__ import annotations

import imaplib
import poplib
import smtplib
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial

from ..client import TIMEOUT, Client, Endpoint, Request, event_loop
from ..dialogue import Dialogue
from ..kept import abort, kept

ME, YOU = "me@localhost", "you@localhost"
MESSAGE = f"From: {ME}\r\nTo: {YOU}\r\nSubject: Hello\r\n\r\nHello\r\n"

# What the servers say

SMTP_ANSWERS = {
    b"EHLO": b"250-localhost\r\n250 STARTTLS\r\n",
    b"STARTTLS": b"220 go ahead\r\n",
    b"MAIL": b"250 ok\r\n",
    b"RCPT": b"250 ok\r\n",
    b"DATA": b"354 go ahead\r\n",
    b".": b"250 ok\r\n",
    b"QUIT": b"221 bye\r\n",
}


def smtp_answer(line: bytes) -> bytes:
    """Answer a command; the lines of a message get no answer (RFC 5321)."""
    return SMTP_ANSWERS.get(line.partition(b" ")[0].upper(), b"")


def imap_answer(line: bytes) -> bytes:
    """Answer a command (RFC 9051)."""
    tag, _, command = line.partition(b" ")
    capabilities = b"* CAPABILITY IMAP4REV1 STARTTLS\r\n"
    return (capabilities if command.upper() == b"CAPABILITY" else b"") + tag + b" OK done\r\n"


def pop_answer(line: bytes) -> bytes:
    """Answer a command (RFC 1939)."""
    return b"+OK\r\nSTLS\r\n.\r\n" if line.upper() == b"CAPA" else b"+OK\r\n"


# The drivers


def by_smtplib(endpoint: Endpoint, starttls: bool = False) -> AbstractContextManager[Request]:
    """Send a message, and another one."""
    context, address = endpoint.new_context(), (endpoint.host, endpoint.port)

    def connect(opened: ExitStack) -> smtplib.SMTP:
        if not starttls:
            connection = smtplib.SMTP_SSL(*address, context=context, timeout=TIMEOUT)
            opened.callback(connection.close)
            return connection
        plain = smtplib.SMTP(*address, timeout=TIMEOUT)
        opened.callback(plain.close)
        plain.starttls(context=context)
        return plain

    return kept(connect, lambda connection: connection.sendmail(ME, YOU, MESSAGE))


def by_imaplib(endpoint: Endpoint, starttls: bool = False) -> AbstractContextManager[Request]:
    """Log in once, and ask for news."""
    context, address = endpoint.new_context(), (endpoint.host, endpoint.port)

    def connect(opened: ExitStack) -> imaplib.IMAP4:
        if starttls:
            connection = imaplib.IMAP4(*address, timeout=TIMEOUT)
            opened.callback(connection.shutdown)
            connection.starttls(context)
        else:
            connection = imaplib.IMAP4_SSL(*address, ssl_context=context, timeout=TIMEOUT)
            opened.callback(connection.shutdown)
        connection.login("me", "secret")
        return connection

    return kept(connect, lambda connection: connection.noop())


def by_poplib(endpoint: Endpoint, stls: bool = False) -> AbstractContextManager[Request]:
    """Log in once, and ask for the mailbox's size."""
    context, address = endpoint.new_context(), (endpoint.host, endpoint.port)

    def connect(opened: ExitStack) -> poplib.POP3:
        if stls:
            connection = poplib.POP3(*address, timeout=TIMEOUT)
            opened.callback(connection.close)
            connection.stls(context)
        else:
            connection = poplib.POP3_SSL(*address, context=context, timeout=TIMEOUT)
            opened.callback(connection.close)
        connection.user("me")
        connection.pass_("secret")
        return connection

    return kept(connect, lambda connection: connection.noop())


@contextmanager
def by_aiosmtplib(endpoint: Endpoint, starttls: bool = False) -> Iterator[Request]:
    """Send a message, and another one; connect again where the connection is lost."""
    import aiosmtplib

    client = aiosmtplib.SMTP(
        hostname=endpoint.host,
        port=endpoint.port,
        use_tls=not starttls,
        start_tls=starttls,
        tls_context=endpoint.new_context(),
        timeout=TIMEOUT,
    )

    async def request() -> object:
        if not client.is_connected:
            await client.connect()
        return await client.sendmail(ME, YOU, MESSAGE)

    async def close() -> None:
        transport = client.transport
        client.close()
        if transport is not None:
            await abort(transport)

    with event_loop() as portal:
        yield lambda: portal.call(request)
        portal.call(close)


SMTP = Dialogue(b"220 localhost ESMTP\r\n", smtp_answer)
IMAP = Dialogue(b"* OK ready\r\n", imap_answer)
POP = Dialogue(b"+OK ready\r\n", pop_answer)


CONTEXT = "with a context; without one it does not verify, and is refused"


def implicit(dialogue: Dialogue, notes: str = CONTEXT) -> dict[str, object]:
    """What a client with implicit TLS is given."""
    return {"application": dialogue, "proxy": False, "notes": notes}


def upgraded(dialogue: Dialogue, command: bytes, notes: str = CONTEXT) -> dict[str, object]:
    """What a client that begins TLS by a command is given."""
    return {
        "application": dialogue.after_tls,
        "before_tls": dialogue.before_tls(command),
        "proxy": False,
        "notes": notes,
    }


AIOSMTPLIB = ("aiosmtplib", "anyio")
CLIENTS = [
    Client("smtplib SMTP_SSL", by_smtplib, (), "smtps", **implicit(SMTP)),
    Client(
        "smtplib starttls",
        partial(by_smtplib, starttls=True),
        (),
        "smtp",
        **upgraded(SMTP, b"STARTTLS"),
    ),
    Client("imaplib IMAP4_SSL", by_imaplib, (), "imaps", **implicit(IMAP)),
    Client(
        "imaplib starttls",
        partial(by_imaplib, starttls=True),
        (),
        "imap",
        **upgraded(IMAP, b"STARTTLS"),
    ),
    Client("poplib POP3_SSL", by_poplib, (), "pop3s", **implicit(POP)),
    Client("poplib stls", partial(by_poplib, stls=True), (), "pop3", **upgraded(POP, b"STLS")),
    Client("aiosmtplib", by_aiosmtplib, AIOSMTPLIB, "smtps", **implicit(SMTP, "")),
    Client(
        "aiosmtplib starttls",
        partial(by_aiosmtplib, starttls=True),
        AIOSMTPLIB,
        "smtp",
        **upgraded(
            SMTP,
            b"STARTTLS",
            "with `start_tls=True`; by default it goes on in the clear if none is offered",
        ),
    ),
]
