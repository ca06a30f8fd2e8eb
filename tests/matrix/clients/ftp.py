"""ftplib, with AUTH TLS and with implicit TLS; its data connections are in test_ftp_data.py."""

from __future__ import annotations

import ftplib
import ssl
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from typing import Any

from ..client import TIMEOUT, Client, Endpoint, Request
from ..dialogue import Dialogue
from ..kept import kept

ANSWERS = {
    b"AUTH": b"234 go ahead\r\n",
    b"USER": b"230 welcome\r\n",
    b"PBSZ": b"200 ok\r\n",
    b"PROT": b"200 ok\r\n",
    b"PWD": b'257 "/"\r\n',
}


def answer(line: bytes) -> bytes:
    """Answer a command (RFC 959, RFC 4217)."""
    return ANSWERS.get(line.partition(b" ")[0].upper(), b"502 what?\r\n")


class Implicit(ftplib.FTP_TLS):
    """The recipe that goes round for implicit TLS, which ftplib does not have."""

    _sock: ssl.SSLSocket | None = None

    @property
    def sock(self) -> Any:
        return self._sock

    @sock.setter
    def sock(self, sock: Any) -> None:
        if sock is not None and not isinstance(sock, ssl.SSLSocket):
            sock = self.context.wrap_socket(sock, server_hostname=self.host)
        self._sock = sock


def by_ftplib(
    endpoint: Endpoint, kind: type[ftplib.FTP_TLS] = ftplib.FTP_TLS
) -> AbstractContextManager[Request]:
    """Log in once, and ask where one is."""
    context = endpoint.new_context()

    def connect(opened: ExitStack) -> ftplib.FTP_TLS:
        connection = kind(context=context, timeout=TIMEOUT)
        opened.callback(connection.close)
        connection.connect(endpoint.host, endpoint.port)
        connection.login()
        connection.prot_p()
        return connection

    return kept(connect, lambda connection: connection.pwd())


FTP = Dialogue(b"220 ready\r\n", answer)
CLIENTS = [
    Client(
        "ftplib FTP_TLS",
        by_ftplib,
        protocol="ftp",
        application=FTP.after_tls,
        before_tls=FTP.before_tls(b"AUTH"),
        proxy=False,
        notes="data connections, too",
    ),
    Client(
        "ftplib, implicit TLS",
        partial(by_ftplib, kind=Implicit),
        protocol="ftps",
        application=FTP,
        proxy=False,
        notes="by the usual subclass, which must pass `server_hostname`",
    ),
]
