"""The data connections of FTP, which are TLS connections of their own (RFC 4217)."""

from __future__ import annotations

import ftplib
import io
import ssl
from contextlib import contextmanager

import pytest
from scene import HOST, authority, pinned, pinner_for, pins_for, unpinned

from keypin import PinMismatch
from keypin.lab import Server, Silent

from .client import TIMEOUT
from .clients.ftp import FTP, answer
from .dialogue import Dialogue
from .servers import others

UPLOAD = b"all that I know\r\n"


class Resuming(ftplib.FTP_TLS):
    """The recipe for servers that want the control connection's session on data connections."""

    def ntransfercmd(self, cmd, rest=None):
        connection, size = ftplib.FTP.ntransfercmd(self, cmd, rest)
        if self._prot_p:
            connection = self.context.wrap_socket(
                connection, server_hostname=self.host, session=self.sock.session
            )
        return connection, size


@contextmanager
def ftp_server(control, data, version):
    """A server with one key on its control connection and another one on its data connections."""
    with Server(data, tls=[version], application=Silent()) as receiving:

        def answer_transfers(line):
            if line == b"PASV":
                high, low = divmod(receiving.port, 256)
                return b"227 passive (127,0,0,1,%d,%d)\r\n" % (high, low)
            if line.startswith(b"STOR"):
                return b"150 go ahead\r\n226 thanks\r\n"
            return b"200 ok\r\n" if line.startswith(b"TYPE") else answer(line)

        dialogue = Dialogue(FTP.greeting, answer_transfers)
        with Server(
            control,
            tls=[version],
            application=dialogue.after_tls,
            before_tls=dialogue.before_tls(b"AUTH"),
        ) as controlling:
            yield controlling, receiving


@contextmanager
def logged_in(kind, port):
    context = ssl.create_default_context(cadata=authority().pem)
    client = kind(context=context, timeout=TIMEOUT)
    try:
        client.connect(HOST, port)
        client.login()
        client.prot_p()
        yield client
    finally:
        client.close()


@pytest.mark.parametrize("kind", [ftplib.FTP_TLS, Resuming])
def test_an_upload_does_not_reach_another_key_behind_the_pinned_one(kind, version):
    with ftp_server(pinned(), unpinned(), version) as (controlling, receiving):
        with logged_in(kind, controlling.port) as client:
            client.storbinary("STOR file", io.BytesIO(UPLOAD))
        receiving.settle()
        assert receiving.application_bytes == len(UPLOAD)
        with pinner_for(pinned()).installed(), logged_in(kind, controlling.port) as client:
            with pytest.raises(PinMismatch):
                client.storbinary("STOR file", io.BytesIO(UPLOAD))
        receiving.settle()
        assert receiving.application_bytes == len(UPLOAD)


@pytest.mark.parametrize("kind", [ftplib.FTP_TLS, Resuming])
def test_an_upload_to_the_pinned_key_arrives_until_the_pins_are_replaced(kind, version):
    pinner = pinner_for(pinned())
    with ftp_server(pinned(), pinned(), version) as (controlling, receiving):
        with pinner.installed(), logged_in(kind, controlling.port) as client:
            client.storbinary("STOR file", io.BytesIO(UPLOAD))
            receiving.settle()
            assert receiving.application_bytes == len(UPLOAD)
            pinner.replace(pins_for(unpinned()))
            with pytest.raises(PinMismatch):
                client.storbinary("STOR file", io.BytesIO(UPLOAD))
        receiving.settle()
        assert receiving.application_bytes == len(UPLOAD)


@pytest.mark.skipif(others.vsftpd is None, reason="needs vsftpd (make system-deps)")
def test_vsftpd_lists_on_a_data_connection_that_resumes_the_session(version):
    with others.running_vsftpd(pinned(), version) as ports:
        with pinner_for(pinned()).installed(), logged_in(Resuming, ports["ftp"]) as client:
            connection, _ = client.ntransfercmd("LIST")
            with connection:
                assert connection.recv(4096) == b""
                assert connection.session_reused
            client.voidresp()
