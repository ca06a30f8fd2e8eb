"""STARTTLS: the clear before TLS, with servers that behave and servers that do not."""

from __future__ import annotations

import ssl
import threading
from typing import TYPE_CHECKING

import pytest
from check_scene import HOST, at

from keypin import Pin
from keypin.checking.starttls import PORTS
from keypin.checking.targets import ConnectOptions, targets_of
from keypin.lab import Server
from keypin.pinfile import HostEntry, PinEntry, PinFile

if TYPE_CHECKING:
    from keypin.lab import Channel, Preamble

TALKS: dict[str, list[tuple[bytes, bytes]]] = {
    # what the client says, and the answer; b"" at the beginning is a greeting
    "smtp": [
        (b"", b"220 mail.example.test ESMTP\r\n"),
        (b"ehlo", b"250-mail.example.test\r\n250 STARTTLS\r\n"),
        (b"STARTTLS", b"220 go ahead\r\n"),
    ],
    "imap": [
        (b"", b"* OK ready\r\n"),
        (b"CAPABILITY", b"* CAPABILITY IMAP4rev1 STARTTLS\r\n%s OK done\r\n"),
        (b"STARTTLS", b"%s OK begin TLS\r\n"),
    ],
    "pop3": [
        (b"", b"+OK ready\r\n"),
        (b"CAPA", b"+OK\r\nSTLS\r\n.\r\n"),
        (b"STLS", b"+OK begin TLS\r\n"),
    ],
    "ftp": [(b"", b"220 ready\r\n"), (b"AUTH TLS", b"234 begin TLS\r\n")],
    "postgres": [(b"\x00\x00\x00\x08\x04\xd2\x16\x2f", b"S")],
}


def talk(protocol: str, last: bytes | None = None) -> Preamble:
    """A conversation that leads to TLS, or ends in another last answer."""

    def converse(channel: Channel) -> bool:
        said = TALKS[protocol]
        for number, (wanted, answer) in enumerate(said, 1):
            tag = b""
            if wanted:
                heard = channel.recv()
                assert wanted.lower() in heard.lower()
                tag = heard.split(b" ")[0]
            if number == len(said) and last is not None:
                answer = last
            channel.sendall(answer.replace(b"%s", tag))
        return last is None

    return converse


@pytest.fixture
def entries(credential, backup) -> list[HostEntry]:
    return [HostEntry(HOST, [PinEntry(credential.pin), backup])]


def test_every_protocol_is_tried_here():
    assert set(TALKS) == set(PORTS)


@pytest.mark.parametrize("protocol", PORTS)
def test_tls_begins_where_the_protocol_says_and_nothing_follows(
    check, credential, rsa, entries, protocol
):
    with Server([credential, rsa], before_tls=talk(protocol)) as server:
        checked = check(entries, *at(server), "--starttls", protocol)
        assert server.application_bytes == 0
    assert {(each["key"], each["starttls"]) for each in checked.servers} == {
        ("ECDSA", protocol),
        ("RSA", protocol),
    }
    assert checked.trouble == {("critical", "pin-mismatch")}
    assert checked.one("pin-matched")["severity"] == "ok"


@pytest.mark.parametrize(
    ("protocol", "refusal"),
    [
        ("smtp", b"454 TLS not available\r\n"),
        ("imap", b"%s NO not now\r\n"),
        ("pop3", b"-ERR not now\r\n"),
        ("ftp", b"502 unknown\r\n"),
        ("postgres", b"N"),
    ],
)
def test_a_server_that_refuses_is_unknown(check, credential, entries, protocol, refusal):
    with Server(credential, before_tls=talk(protocol, refusal)) as server:
        checked = check(entries, *at(server), "--starttls", protocol)
        assert server.application_bytes == 0
    assert (checked.code, checked.trouble) == (3, {("unknown", "no-tls")})


@pytest.mark.parametrize("said", [b"SSH-2.0-nonsense\r\n", b"220 \xff\x80\r\n* OK \xff\r\n+OK\r\n"])
@pytest.mark.parametrize("protocol", ["smtp", "imap", "pop3", "ftp"])
def test_a_server_that_speaks_otherwise_is_unknown(check, credential, entries, protocol, said):
    def nonsense(channel: Channel) -> bool:
        channel.sendall(said)
        return False

    with Server(credential, before_tls=nonsense) as server:
        checked = check(entries, *at(server), "--starttls", protocol, "--timeout", "2")
    assert checked.code == 3
    assert {severity for severity, _ in checked.trouble} == {"unknown"}


@pytest.mark.parametrize("protocol", PORTS)
def test_a_server_that_hangs_up_is_unknown(check, credential, entries, protocol):
    with Server(credential, before_tls=lambda channel: False) as server:
        checked = check(entries, *at(server), "--starttls", protocol, "--timeout", "2")
    assert checked.code == 3
    assert {severity for severity, _ in checked.trouble} == {"unknown"}


@pytest.mark.parametrize("protocol", ["smtp", "imap", "pop3", "ftp"])
def test_a_server_that_trickles_is_given_up_in_time(check, credential, entries, protocol):
    over = threading.Event()

    def trickle(channel: Channel) -> bool:
        while not over.wait(0.05):
            channel.sendall(b"2")
        return False

    with Server(credential, before_tls=trickle) as server:
        checked = check(entries, *at(server), "--starttls", protocol, "--timeout", "0.4")
        over.set()
    assert checked.code == 3
    assert "did not answer in time" in checked.one("unreachable")["text"]


def test_one_host_may_begin_in_the_clear_and_others_not(check, credential, issuing, backup):
    mail = issuing.issue("mail.example.test")
    entries = [
        HostEntry(HOST, [credential.pin, backup]),
        HostEntry("mail.example.test", [mail.pin, backup]),
    ]
    with Server(credential) as web, Server(mail, before_tls=talk("smtp")) as smtp:
        both = (*at(web), *at(smtp, host="mail.example.test"))
        checked = check(entries, *both, "--starttls", "mail.example.test=smtp")
    assert checked.code == 0
    assert {each["host"]: each["starttls"] for each in checked.servers} == {
        HOST: None,
        "mail.example.test": "smtp",
    }


def test_each_protocol_has_its_usual_port():
    where = ConnectOptions(starttls={None: "imap", "a.example": "smtp"}, ports={"b.example": 1143})
    ports = [where.target(host, None).port for host in ("a.example", "b.example", "c.example")]
    assert ports == [25, 1143, 143]
    assert where.target("a.example", 587).port == 587


def test_a_real_smtp_server_begins_tls(check, credential, entries, folder):
    aiosmtpd = pytest.importorskip("aiosmtpd.controller")
    from aiosmtpd.handlers import Sink

    files = credential.write(folder / "smtp")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.chain, files.key)
    with Server(None) as free:
        port = free.port
    controller = aiosmtpd.Controller(Sink(), "127.0.0.1", port, tls_context=context)
    controller.start()
    try:
        there = ["--connect-to", f"{HOST}=127.0.0.1:{port}"]
        checked = check(entries, *there, "--starttls", "smtp")
    finally:
        controller.stop()
    assert (checked.code, checked.servers[0]["verified"]) == (0, True)


def test_the_file_tells_where_servers_are_and_how_to_ask(check, issuing, credential, backup):
    mail = issuing.issue("mail.example.test")
    with Server(credential) as web, Server(mail, before_tls=talk("smtp")) as smtp:
        entries = [
            HostEntry(HOST, [credential.pin, backup], port=web.port),
            HostEntry("mail.example.test", [mail.pin, backup], port=smtp.port, starttls="smtp"),
        ]
        here = [
            part
            for name in (HOST, "mail.example.test")
            for part in ("--connect-to", f"{name}=127.0.0.1")
        ]
        checked = check(entries, *here)
        named = check(entries, "mail.example.test", *here)
    assert (checked.code, named.code) == (0, 0)
    assert {each["host"]: each["starttls"] for each in checked.servers} == {
        HOST: None,
        "mail.example.test": "smtp",
    }
    assert [each["starttls"] for each in named.servers] == ["smtp"]


def test_what_is_asked_for_goes_before_what_the_file_tells():
    entry = HostEntry("a.example", [Pin.from_digest(bytes(32))], port=587, starttls="smtp")

    def where(port=None, **more):
        target = ConnectOptions(**more).target("a.example", port, entry)
        return target.port, target.starttls

    assert where() == (587, "smtp")
    assert where(587) == (587, "smtp")
    # of another port the file tells nothing
    assert where(465) == (465, None)
    assert where(ports={None: 465}) == where(ports={"a.example": 465}) == (465, None)
    assert where(starttls={"a.example": "imap"}) == (587, "imap")
    assert where(ports={"a.example": 25}, starttls={None: "smtp"}) == (25, "smtp")
    usual = HostEntry("a.example", [Pin.from_digest(bytes(32))], starttls="imap")
    assert ConnectOptions().target("a.example", None, usual).port == 143


def test_a_pattern_tells_it_for_its_hosts():
    file = PinFile([HostEntry("*.example.com", [Pin.from_digest(bytes(32))], port=8443)])
    [target] = targets_of(file, ConnectOptions(), [("a.example.com", None)], [])
    assert (target.host, target.port) == ("a.example.com", 8443)
    file = PinFile([HostEntry("**.example.com", [Pin.from_digest(bytes(32))], port=8443)])
    [target] = targets_of(file, ConnectOptions(), [], [])
    assert (target.host, target.port, target.implied) == ("example.com", 8443, True)


def test_a_host_may_be_named_by_a_url(check, credential, entries):
    with Server(credential) as server:
        there = ["--connect-to", f"{HOST}=127.0.0.1"]
        checked = check(entries, f"https://{HOST}:{server.port}/path", *there)
        assert (checked.code, checked.servers[0]["port"]) == (0, server.port)
