"""Clients that are put to the scenarios: real ones pinned by keypin, and the same without pins.

A client is a function of a stage. What it raises is not looked at: the servers' records are.
"""

from __future__ import annotations

import asyncio
import http.client
import imaplib
import re
import shutil
import smtplib
import socket
import ssl
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urljoin, urlsplit

import aioquic.asyncio
import aiosmtplib
import httpx2
import pytest
import requests
import urllib3
import websocket
import websockets
import websockets.asyncio.client
from aioquic.h3.connection import H3Connection
from aioquic.quic.configuration import QuicConfiguration

from keypin import Pinner
from keypin.client import Client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from keypin.lab.judge import Judgement
    from keypin.lab.scenario import Case
    from keypin.lab.stage import Stage

TIMEOUT = 5
MESSAGE = "Subject: hello\r\n\r\nA secret.\r\n"


def play(
    case: Case,
    client: Callable[[Stage], None],
    pins: Callable[[Stage], AbstractContextManager[object]] | None = None,
) -> Judgement:
    """Let a client play a case, pinned for the whole process or, without `pins`, by itself."""
    if case.scenario.identifier == "mitmproxy" and shutil.which("mitmdump") is None:
        pytest.skip("mitmproxy is not installed")
    with case.stage() as stage:
        ending, told = "succeeded", ""
        try:
            with (pins or unpinned)(stage):
                client(stage)
        except Exception as error:  # noqa: BLE001 (every library has its own)
            ending, told = "failed", repr(error)
        return stage.judge(ending, told)


def installed(stage: Stage) -> AbstractContextManager[object]:
    """Pins for the whole process."""
    return Pinner(stage.pinset).installed()


def unpinned(stage: Stage) -> AbstractContextManager[object]:
    """No pins."""
    return nullcontext()


def trusting(stage: Stage, *, certificate: bool = True) -> ssl.SSLContext:
    """A context that trusts both authorities, and is pinned only where pins are installed."""
    context = ssl.create_default_context(cafile=stage.cafile)
    if certificate:
        context.load_cert_chain(stage.client_certificate)
    return context


def guarded(stage: Stage) -> ssl.SSLContext:
    """A context that is pinned itself."""
    context = Pinner(stage.pinset).create_context(cafile=stage.cafile)
    context.load_cert_chain(stage.client_certificate)
    return context


def each_url(stage: Stage, call: Callable[[str], object]) -> None:
    """Call one or two URLs; also the second one where the first one failed."""
    failed = None
    for url in [stage.url] + [stage.second_url] * ("second_url" in stage.case.scenario.needs):
        try:
            call(url)
        except Exception as error:  # noqa: BLE001 (every library has its own)
            failed = error
    if failed is not None:
        raise failed


# HTTP


def over_ssl(stage: Stage, context: ssl.SSLContext | None = None) -> None:
    """A request over plain ssl, with a guarded context."""
    context = context or guarded(stage)

    def call(url: str) -> None:
        parts = urlsplit(url)
        with (
            socket.create_connection(("127.0.0.1", parts.port), TIMEOUT) as sock,
            context.wrap_socket(sock, server_hostname=parts.hostname) as tls,
        ):
            host = f"{parts.hostname}:{parts.port}"
            tls.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            assert tls.recv(100)

    each_url(stage, call)


def dropping_tls(stage: Stage, context: ssl.SSLContext | None = None) -> None:
    """Gives up TLS where it fails or takes too long, and goes on over the same connection."""
    context = context or guarded(stage)
    with (
        socket.create_connection(stage.address, TIMEOUT) as sock,
        context.wrap_socket(sock, server_hostname=stage.host, do_handshake_on_connect=False) as tls,
    ):
        go_on_without_tls(tls, b"POST / HTTP/1.1\r\nContent-Length: 6\r\n\r\nsecret")


def go_on_without_tls(tls: ssl.SSLSocket, request: bytes) -> None:
    """Send a request inside TLS, and if it is not answered again without."""
    # or it would wait for the acknowledgement of an alert, and be gone when the socket is closed
    tls.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with suppress(OSError):
        tls.do_handshake()
        tls.sendall(request)
        if tls.recv(100):
            return
    tls.shutdown(socket.SHUT_RD)  # so drops an SSLSocket its TLS
    tls.sendall(request)


def with_keypin_client(stage: Stage) -> None:
    """The Client, pinned to the files of the folder."""
    with Client(
        certificates=stage.certificates,
        cafile=stage.cafile,
        client_certificate=stage.client_certificate,
        proxy=proxy(stage),
        follow_redirects=True,
        http2=stage.case.scenario.group == "http2",
        trust_env=False,
        timeout=TIMEOUT,
    ) as client:
        client.pin_trusted_certificate_public_key(["pinned.cer", "backup.cer"])
        each_url(
            stage, lambda url: client.request("POST", url, content=b"secret").raise_for_status()
        )


def with_httpx2(stage: Stage) -> None:
    """With HTTP/2 where the scenario is about that."""
    with httpx2.Client(
        verify=trusting(stage),
        proxy=proxy(stage),
        follow_redirects=True,
        max_redirects=20,
        http2=stage.case.scenario.group == "http2",
        trust_env=False,
        timeout=TIMEOUT,
    ) as client:
        each_url(stage, lambda url: client.post(url, content=b"secret").raise_for_status())


def proxy(stage: Stage) -> httpx2.Proxy | None:
    """A proxy that httpx2 verifies, too."""
    if stage.proxy is None:
        return None
    context = trusting(stage) if stage.proxy.startswith("https") else None
    return httpx2.Proxy(stage.proxy, ssl_context=context)


def with_requests(stage: Stage) -> None:
    """A session, which also keeps cookies."""
    with requests.Session() as session:
        session.trust_env = False
        session.verify = stage.cafile
        session.cert = stage.client_certificate
        session.proxies = {} if stage.proxy is None else {"https": stage.proxy}
        each_url(
            stage,
            lambda url: session.post(url, data=b"secret", timeout=TIMEOUT).raise_for_status(),
        )


def with_urllib3(stage: Stage) -> None:
    """One connection pool manager for all requests."""
    more = {"ca_certs": stage.cafile, "cert_file": stage.client_certificate, "timeout": TIMEOUT}
    pools = (
        urllib3.PoolManager(**more)
        if stage.proxy is None
        else urllib3.ProxyManager(
            stage.proxy, proxy_ssl_context=trusting(stage, certificate=False), **more
        )
    )

    def call(url: str) -> None:
        answer = pools.request("POST", url, body=b"secret", retries=urllib3.Retry(5))
        assert answer.status < 400

    with pools:
        each_url(stage, call)


def careless(stage: Stage) -> None:
    """Goes wherever it is led to, without pins, and sends along all that it has."""
    url = stage.url if stage.proxy is None else from_proxy(stage)
    for _ in range(150):
        parts = urlsplit(url)
        answer = get(stage, parts)
        lead = answer.getheader("Location") or refreshed(answer.getheader("Refresh"))
        alternative = re.search(r'":(\d+)"', answer.getheader("Alt-Svc", ""))
        if alternative is not None:
            url = f"https://{parts.hostname}:{alternative[1]}/"
        elif lead is not None:
            url = urljoin(url, lead)
        elif answer.status != 421:
            return


class DeafProtocol(aioquic.asyncio.QuicConnectionProtocol):
    """Does not care for what the server says."""

    def quic_event_received(self, event: object) -> None:
        """Not this, either; the base class would open a stream for it."""


def over_http3(stage: Stage) -> None:
    """A request by HTTP/1.1, and another one by the HTTP/3 that its answer names."""
    named = get(stage, urlsplit(stage.url)).getheader("Alt-Svc", "")
    configuration = QuicConfiguration(is_client=True, alpn_protocols=["h3"], server_name=stage.host)
    configuration.load_verify_locations(stage.cafile)

    async def call(port: int) -> None:
        async with (
            asyncio.timeout(TIMEOUT),
            aioquic.asyncio.connect(
                "127.0.0.1", port, configuration=configuration, create_protocol=DeafProtocol
            ) as connection,
        ):
            http = H3Connection(connection._quic)
            stream = connection._quic.get_next_available_stream_id()
            pseudo = {"method": "GET", "scheme": "https", "authority": stage.host, "path": "/"}
            headers = [(f":{name}".encode(), value.encode()) for name, value in pseudo.items()]
            http.send_headers(stream, headers, end_stream=True)
            connection.transmit()
            await connection.ping()

    asyncio.run(call(int(re.search(r'h3=":(\d+)"', named)[1])))


def refreshed(header: str | None) -> str | None:
    """Where a Refresh header leads."""
    return None if header is None else header.partition("url=")[2]


def get(stage: Stage, parts: SplitResult) -> http.client.HTTPResponse:
    """A request with a password and a cookie, to whomever."""
    connection = (
        http.client.HTTPConnection(parts.hostname, parts.port, timeout=TIMEOUT)
        if parts.scheme == "http"
        else http.client.HTTPSConnection(
            parts.hostname, parts.port, timeout=TIMEOUT, context=trusting(stage)
        )
    )
    headers = {"Authorization": "Basic dXNlcjpzZWNyZXQ=", "Cookie": "session=secret"}
    with closing(connection):
        connection.request("GET", parts.path or "/", headers=headers)
        answer = connection.getresponse()
        answer.read()
        return answer


def from_proxy(stage: Stage) -> str:
    """Take a proxy's answer for that of the origin; where it leads nowhere, ask the proxy on."""
    parts = urlsplit(stage.proxy)
    with socket.create_connection((parts.hostname, parts.port), TIMEOUT) as sock:
        sock.sendall(f"CONNECT {stage.host}:{stage.port} HTTP/1.1\r\n\r\n".encode())
        with closing(http.client.HTTPResponse(sock)) as answer:
            answer.begin()
            lead = answer.getheader("Location") or refreshed(answer.getheader("Refresh"))
        if lead is None:
            sock.sendall(b"POST / HTTP/1.1\r\nContent-Length: 6\r\n\r\nsecret")
    return lead or stage.url


# Mail


def with_smtplib(stage: Stage, context: ssl.SSLContext | None = None) -> None:
    """Insists on STARTTLS, logs in and sends a message."""
    with smtplib.SMTP(*stage.address, timeout=TIMEOUT) as smtp:
        smtp._host = stage.host
        smtp.starttls(context=context or guarded(stage))
        smtp.login("user", "secret")
        smtp.sendmail("from@mail.example", "to@mail.example", MESSAGE)


def with_smtplib_and_installed_pins(stage: Stage) -> None:
    """The same with a context that knows nothing of pins."""
    with installed(stage):
        with_smtplib(stage, trusting(stage))


def with_aiosmtplib(stage: Stage) -> None:
    """The same with asyncio."""

    async def send() -> None:
        smtp = aiosmtplib.SMTP(
            hostname=stage.host,
            port=stage.address[1],
            start_tls=True,
            tls_context=guarded(stage),
            timeout=TIMEOUT,
        )
        async with smtp:
            await smtp.login("user", "secret")
            await smtp.sendmail("from@mail.example", "to@mail.example", MESSAGE)

    asyncio.run(send())


@contextmanager
def imap_to(stage: Stage) -> Iterator[imaplib.IMAP4]:
    """A connection; imaplib itself leaves it open where it cannot say goodbye."""
    imap = imaplib.IMAP4(stage.host, stage.address[1], timeout=TIMEOUT)
    try:
        yield imap
    finally:
        with suppress(OSError, imaplib.IMAP4.error):
            imap.logout()
        with suppress(OSError):
            imap.shutdown()


def with_imaplib(stage: Stage, context: ssl.SSLContext | None = None) -> None:
    """Insists on STARTTLS, and logs in."""
    with imap_to(stage) as imap:
        imap.starttls(context or guarded(stage))
        imap.login("user", "secret")
        imap.select()


def with_imaplib_and_installed_pins(stage: Stage) -> None:
    """The same with a context that knows nothing of pins."""
    with installed(stage):
        with_imaplib(stage, trusting(stage))


def opportunistic_smtplib(stage: Stage) -> None:
    """Takes TLS where it gets it, from whomever: the unpinned control."""
    with smtplib.SMTP(*stage.address, timeout=TIMEOUT) as smtp:
        smtp._host = stage.host
        smtp.ehlo()
        if smtp.has_extn("starttls") and smtp.docmd("STARTTLS")[0] == 220:
            smtp.sock = trusting(stage).wrap_socket(smtp.sock, server_hostname=stage.host)
            smtp.file = None
        smtp.login("user", "secret")


def opportunistic_imaplib(stage: Stage) -> None:
    """Takes TLS where it gets it, from whomever: the unpinned control."""
    with imap_to(stage) as imap:
        if imap.state != "AUTH":
            with suppress(imaplib.IMAP4.error):
                imap.starttls(trusting(stage))
            imap.login("user", "secret")
        imap.select()


def mail_client_dropping_tls(stage: Stage, context: ssl.SSLContext | None = None) -> None:
    """Asks for STARTTLS, and goes on without where that fails or takes too long."""
    smtp = stage.case.scenario.protocol == "smtp"
    hello = [b"EHLO client", b"STARTTLS"] if smtp else [b"A1 CAPABILITY", b"A2 STARTTLS"]
    login = b"AUTH PLAIN AHVzZXIAc2VjcmV0\r\n" if smtp else b"A3 LOGIN user secret\r\n"
    context = context or guarded(stage)
    with socket.create_connection(stage.address, TIMEOUT) as sock:
        reader = Lines(sock)
        reader.answer(None if smtp else b"*")
        for command in hello:
            sock.sendall(command + b"\r\n")
            reader.answer(None if smtp else command.split()[0])
        with context.wrap_socket(
            sock, server_hostname=stage.host, do_handshake_on_connect=False
        ) as tls:
            go_on_without_tls(tls, login)


def credulous_mail_client(stage: Stage) -> None:
    """Keeps what came before TLS, and takes it for answers inside TLS (CVE-2021-22947)."""
    smtp = stage.case.scenario.protocol == "smtp"
    hello = [b"EHLO client", b"STARTTLS"] if smtp else [b"A1 CAPABILITY", b"A2 STARTTLS"]
    inside = (
        [b"EHLO client", b"AUTH PLAIN AHVzZXIAc2VjcmV0"]
        if smtp
        else [b"A3 CAPABILITY", b"A4 LOGIN user secret"]
    )
    with socket.create_connection(stage.address, TIMEOUT) as sock:
        reader = Lines(sock)
        reader.answer(None if smtp else b"*")
        for command in hello:
            sock.sendall(command + b"\r\n")
            reader.answer(None if smtp else command.split()[0])
        with trusting(stage).wrap_socket(sock, server_hostname=stage.host) as tls:
            reader.sock = tls
            for command in inside:
                tls.sendall(command + b"\r\n")
                reader.answer(None if smtp else command.split()[0])


def hasty_imap_client(stage: Stage) -> None:
    """Takes an answer that is there already for a sign that TLS has begun (CVE-2026-42246)."""
    with socket.create_connection(stage.address, TIMEOUT) as sock:
        reader = Lines(sock)
        reader.answer(b"*")
        sock.sendall(b"A1 CAPABILITY\r\n")
        reader.answer(b"A1")
        reader.answer(b"A2")
        sock.sendall(b"A2 STARTTLS\r\nA3 LOGIN user secret\r\n")
        reader.answer(b"A3")


class Lines:
    """Lines from a socket, with what was read ahead of it."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.ahead = b""

    def answer(self, tag: bytes | None) -> None:
        """Read to the end of an answer of SMTP, or that of IMAP with this tag."""
        while True:
            while b"\r\n" not in self.ahead:
                data = self.sock.recv(4096)
                assert data
                self.ahead += data
            line, _, self.ahead = self.ahead.partition(b"\r\n")
            if line[3:4] == b" " if tag is None else line.split()[0] == tag:
                return


# WebSocket


def with_websockets(stage: Stage, context: ssl.SSLContext | None = None) -> None:
    """Follows redirects."""

    async def talk() -> None:
        ssl_context = context or guarded(stage)
        async with asyncio.timeout(TIMEOUT):
            async with websockets.asyncio.client.connect(
                stage.url, ssl=ssl_context, proxy=None
            ) as connection:
                await connection.send("secret")
                assert await connection.recv() == "secret"

    asyncio.run(talk())


def with_websocket_client(stage: Stage, context: ssl.SSLContext | None = None) -> None:
    """Follows redirects."""
    connection = websocket.create_connection(
        stage.url, timeout=TIMEOUT, sslopt={"context": context or guarded(stage)}
    )
    try:
        connection.send("secret")
        assert connection.recv() == "secret"
    finally:
        connection.close()
