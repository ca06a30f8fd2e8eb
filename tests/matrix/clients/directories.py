"""Directories: ldap3, with implicit TLS and StartTLS."""

from __future__ import annotations

import ssl
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING

from ..client import TIMEOUT, Client, Endpoint, Request
from ..kept import kept

if TYPE_CHECKING:
    import ldap3

    from keypin.lab import Channel

# The tags of requests, and of the answers to them (RFC 4511)
ANSWERS = {0x60: 0x61, 0x63: 0x65, 0x77: 0x78}
STARTTLS = 0x77
SUCCESS = bytes.fromhex("0a0100 0400 0400")


def serve(channel: Channel, last: int | None = None) -> bool:
    """Let everybody in, and find nothing; end after an answer to `last`."""
    reader = channel.reader()
    while header := reader.read(5):
        # no message of this client is as long as 128 bytes, and there are not so many
        message = reader.read(header[1] - 3)
        if answer := ANSWERS.get(message[0]):
            content = bytes([2, 1, header[4], answer, len(SUCCESS)]) + SUCCESS
            channel.sendall(bytes([0x30, len(content)]) + content)
        if message[0] == last:
            return True
    return False


def ldap_server(channel: Channel) -> None:
    """Serve a connection."""
    serve(channel)


def ldap_before_tls(channel: Channel) -> bool:
    """Serve a connection until StartTLS."""
    return serve(channel, STARTTLS)


@contextmanager
def by_ldap3(endpoint: Endpoint, starttls: bool = False) -> Iterator[Request]:
    """Bind once, and search."""
    with warnings.catch_warnings():
        # ldap3 uses what Python 3.11 and pyasn1 call deprecated
        warnings.simplefilter("ignore", DeprecationWarning)
        import ldap3

    tls = ldap3.Tls(
        endpoint.client_certificate,
        endpoint.client_certificate,
        validate=ssl.CERT_REQUIRED,
        ca_certs_file=endpoint.cafile,
        sni=endpoint.host,
    )
    server = ldap3.Server(
        endpoint.host,
        endpoint.port,
        use_ssl=not starttls,
        tls=tls,
        get_info=ldap3.NONE,
        connect_timeout=TIMEOUT,
    )

    def connect(opened: ExitStack) -> ldap3.Connection:
        connection = ldap3.Connection(
            server, "cn=me", "secret", raise_exceptions=True, receive_timeout=TIMEOUT
        )
        opened.callback(connection.strategy.close)
        if starttls:
            connection.start_tls()
        connection.bind()
        return connection

    def search(connection: ldap3.Connection) -> object:
        return connection.search("", "(objectClass=*)", ldap3.BASE)

    with warnings.catch_warnings(), kept(connect, search) as request:
        warnings.simplefilter("ignore", DeprecationWarning)
        yield request


NOTES = "with `Tls(validate=ssl.CERT_REQUIRED, sni=host)`; else it does not verify, and is refused"
CLIENTS = [
    Client("ldap3", by_ldap3, ("ldap3",), "ldaps", ldap_server, proxy=False, notes=NOTES),
    Client(
        "ldap3 start_tls",
        partial(by_ldap3, starttls=True),
        ("ldap3",),
        "ldap",
        ldap_server,
        ldap_before_tls,
        proxy=False,
        notes=NOTES,
    ),
]
