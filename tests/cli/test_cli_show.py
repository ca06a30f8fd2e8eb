"""`keypin show`: what it tells of servers and files, and that it marks what does not verify."""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import subprocess
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from keypin import Pin, inspection
from keypin.lab import KEY_KINDS, Authority, Credential, Server, self_signed, stall

if TYPE_CHECKING:
    from collections.abc import Callable

openssl = shutil.which("openssl")

LONG_AGO = datetime.now(UTC) - timedelta(days=3)
SOON = datetime.now(UTC) + timedelta(days=3, hours=1)

CERTIFICATE_KEYS = {
    "pin",
    "subject",
    "issuer",
    "self_signed",
    "key",
    "names",
    "not_before",
    "not_after",
    "days_left",
    "is_ca",
    "serial_number",
    "sha256",
    "sent",
}


def pins(certificates: list[dict[str, Any]]) -> list[str]:
    return [certificate["pin"] for certificate in certificates]


def listed_pins(text: str) -> list[str]:
    return [line.split()[1] for line in text.splitlines() if line.split()[:1] == ["pin"]]


# Servers that verify


def test_the_verified_chain_is_shown_up_to_the_root_that_was_not_sent(
    keypin, server, cafile, credential, issuing, root
):
    shown = keypin("show", f"localhost:{server.port}", "--cafile", cafile)
    assert (shown.code, shown.error) == (0, "")
    assert shown.lines[0].startswith(f"localhost:{server.port}  verified  TLSv1.")
    assert listed_pins(shown.text) == [str(it.pin) for it in (credential, issuing, root)]
    assert "0  CN=localhost" in shown.lines
    assert "1  CN=issuing CA" in shown.lines
    assert "2  CN=trusted root  (trust anchor, not sent)" in shown.lines
    assert "names    localhost, 127.0.0.1, ::1" in shown.lines
    assert "key      EC P-256" in shown.lines


def test_the_same_in_json(keypin, server, cafile, credential, issuing, root):
    shown = keypin("show", f"localhost:{server.port}", "--cafile", cafile, "--json")
    assert (shown.code, shown.error) == (0, "")
    assert shown.json.keys() == {"version", "results"}
    assert shown.json["version"] == 1
    result = shown.result
    assert result["target"] == f"localhost:{server.port}"
    assert (result["verified"], result["reason"], result["error"]) == (True, None, None)
    assert pins(result["chain"]) == [str(it.pin) for it in (credential, issuing, root)]
    assert [it["sent"] for it in result["chain"]] == [True, True, False]
    assert pins(result["sent"]) == [str(it.pin) for it in (credential, issuing)]
    [connection] = server.settle()
    assert result["server"] == {
        "host": "localhost",
        "port": server.port,
        "server_name": "localhost",
        "tls_version": connection.tls_version,
        "broken_off": None,
    }


def test_every_fact_of_a_certificate_is_in_the_json(keypin, tmp_path, credential):
    certificate = credential.write(tmp_path).certificate
    [said] = keypin("show", certificate, "--json").result["chain"]
    assert said.keys() == CERTIFICATE_KEYS
    assert said["pin"] == str(credential.pin)
    assert said["subject"] == "CN=localhost"
    assert said["issuer"] == "CN=issuing CA"
    assert said["self_signed"] is said["is_ca"] is False
    assert said["key"] == {"algorithm": "EC", "bits": 256, "curve": "P-256"}
    assert said["names"][:2] == [
        {"kind": "DNS", "value": "localhost"},
        {"kind": "IP", "value": "127.0.0.1"},
    ]
    assert datetime.fromisoformat(said["not_before"]) < datetime.now(UTC)
    left = datetime.fromisoformat(said["not_after"]) - datetime.now(UTC)
    assert said["days_left"] == left.days == 89
    assert int(said["serial_number"], 16) > 0
    assert len(bytes.fromhex(said["sha256"])) == 32
    assert said["sent"] is None


def test_nothing_but_the_handshake_is_sent_to_a_server(keypin, server, cafile):
    keypin("show", f"localhost:{server.port}", "--cafile", cafile)
    [connection] = server.settle()
    assert connection.handshake_completed
    assert connection.application_bytes == 0


def test_what_was_sent_is_shown_where_it_differs(keypin, cafile, credential, issuing, root):
    stranger = Authority("stranger")
    sent = [credential, stranger, issuing, root]
    odd = credential.with_chain(*(it.certificate for it in sent))
    with Server(odd) as server:
        shown = keypin("show", f"localhost:{server.port}", "--cafile", cafile)
        in_json = keypin("show", f"localhost:{server.port}", "--cafile", cafile, "--json").result
    assert shown.code == 0
    verified, _, other = shown.text.partition("The server sent something else")
    assert listed_pins(verified) == [str(it.pin) for it in (credential, issuing, root)]
    assert listed_pins(other) == pins(in_json["sent"]) == [str(it.pin) for it in sent]
    assert "CN=stranger  (plays no part in the verification)" in other
    assert "CN=issuing CA  (1 above)" in other
    assert [it["sent"] for it in in_json["chain"]] == [True, True, True]


def test_a_root_that_was_sent_along_is_no_difference(keypin, cafile, credential, root):
    whole = credential.with_chain(*credential.chain, root.certificate)
    with Server(whole) as server:
        shown = keypin("show", f"localhost:{server.port}", "--cafile", cafile)
    assert "2  CN=trusted root  (trust anchor)" in shown.lines
    assert "something else" not in shown.text


def test_ipv6(keypin, cafile, credential):
    with Server(credential, host="::1") as server:
        target = f"[::1]:{server.port}"
        shown = keypin("show", target, "--cafile", cafile)
        [connection] = server.settle()
    assert shown.code == 0
    assert shown.lines[0].startswith(f"{target}  verified")
    assert connection.server_name is None  # RFC 6066, section 3: an address is no server name


def test_another_server_name_is_asked_for_and_verified(keypin, cafile, issuing):
    with Server(issuing.issue("api.example.com")) as server:
        address = f"127.0.0.1:{server.port}"
        shown = keypin("show", address, "--cafile", cafile, "--servername", "API.example.com")
        [connection] = server.settle()
        without = keypin("show", address, "--cafile", cafile)
    assert shown.code == 0
    assert shown.lines[0].startswith(f"{address}  as api.example.com  verified")
    assert connection.server_name == "api.example.com"
    assert without.code == 60


@pytest.mark.skipif(openssl is None, reason="needs openssl (make system-deps)")
def test_a_folder_of_authorities(keypin, tmp_path, server, cafile):
    folder = tmp_path / "authorities"
    folder.mkdir()
    shutil.copy(cafile, folder)
    subprocess.run([openssl, "rehash", folder], check=True, capture_output=True)
    assert keypin("show", f"localhost:{server.port}", "--capath", folder).code == 0


def test_a_server_that_wants_a_client_certificate_is_shown(keypin, tls, cafile, credential):
    ca = Authority("CA of the clients").certificate
    with Server(credential, tls=[tls], client_ca=ca, require_client_certificate=True) as server:
        target = f"localhost:{server.port}"
        shown = keypin("show", target, "--cafile", cafile)
        in_json = keypin("show", target, "--cafile", cafile, "--json")
    assert shown.code == in_json.code == 0
    assert listed_pins(shown.text)[0] == str(credential.pin)
    assert in_json.result["verified"] is True
    # in TLS 1.3 the server complains only after the client's end of the handshake
    broken_off = tls == "1.2"
    assert ("it may want a client certificate" in shown.text) is broken_off
    assert bool(in_json.result["server"]["broken_off"]) is broken_off


@pytest.mark.parametrize("kind", KEY_KINDS)
def test_kinds_of_keys(keypin, tmp_path, issuing, kind):
    expected = {
        "rsa-2048": ("RSA, 2048 bits", {"algorithm": "RSA", "bits": 2048, "curve": None}),
        "rsa-pss": ("RSA-PSS, 2048 bits", {"algorithm": "RSA-PSS", "bits": 2048, "curve": None}),
        "p-256": ("EC P-256", {"algorithm": "EC", "bits": 256, "curve": "P-256"}),
        "p-384": ("EC P-384", {"algorithm": "EC", "bits": 384, "curve": "P-384"}),
        "ed25519": ("Ed25519", {"algorithm": "Ed25519", "bits": None, "curve": None}),
    }
    credential = issuing.issue("localhost", key=kind)
    file = credential.write(tmp_path).certificate
    assert f"key      {expected[kind][0]}" in keypin("show", file).lines
    [said] = keypin("show", file, "--json").result["chain"]
    assert said["key"] == expected[kind][1]
    assert said["pin"] == str(credential.pin)


# Servers that do not verify


def common_name_only(issuing: Authority) -> Credential:
    return issuing.issue(common_name="localhost")


CLOCK = " or the system clock is incorrect" if ssl.OPENSSL_VERSION_INFO >= (3, 6) else ""
UNVERIFIED: dict[str, tuple[Callable[[Authority], Credential], str]] = {
    "another authority": (
        lambda _: Authority("stranger").issue("localhost"),
        "unable to get local issuer certificate",
    ),
    "self-signed": (lambda _: self_signed("localhost"), "self-signed certificate"),
    "expired": (
        lambda issuing: issuing.issue("localhost", not_after=LONG_AGO),
        "certificate has expired",
    ),
    "not yet valid": (
        lambda issuing: issuing.issue("localhost", not_before=SOON),
        f"certificate is not yet valid{CLOCK}",
    ),
    "another name": (
        lambda issuing: issuing.issue("example.com"),
        "Hostname mismatch, certificate is not valid for 'localhost'.",
    ),
    # a guarded context does not look at it either
    "name in CN only": (
        common_name_only,
        "Hostname mismatch, certificate is not valid for 'localhost'.",
    ),
}


@pytest.mark.parametrize("case", UNVERIFIED)
def test_what_does_not_verify_is_shown_and_marked(keypin, cafile, issuing, case, tls):
    make, reason = UNVERIFIED[case]
    credential = make(issuing)
    with Server(credential, tls=[tls]) as server:
        target = f"localhost:{server.port}"
        shown = keypin("show", target, "--cafile", cafile)
        [connection] = server.settle()
        in_json = keypin("show", target, "--cafile", cafile, "--json")
    assert shown.code == in_json.code == 60
    assert shown.lines[:2] == [f"{target}  NOT VERIFIED", reason]
    assert "0  " + _subject(case) + "  (not verified)" in shown.lines
    assert listed_pins(shown.text) == [str(Pin.from_certificate(der)) for der in credential.chain]
    assert connection.application_bytes == 0
    result = in_json.result
    assert (result["verified"], result["reason"]) == (False, reason)
    # what a script takes from "chain" is never unverified
    assert result["chain"] == []
    assert pins(result["sent"]) == listed_pins(shown.text)


def _subject(case: str) -> str:
    return "CN=example.com" if case == "another name" else "CN=localhost"


@pytest.fixture
def forgetful_openssl(monkeypatch):
    """OpenSSL 1.1.1 forgets what was sent on a connection that failed."""
    remembered = inspection.sent_chain

    def forgetful(connection: Any) -> tuple[bytes, ...]:
        failed = connection.context.verify_mode != ssl.CERT_NONE
        return () if failed else remembered(connection)

    monkeypatch.setattr(inspection, "sent_chain", forgetful)


@pytest.mark.usefixtures("forgetful_openssl")
def test_what_was_sent_is_asked_for_again_where_openssl_has_forgotten_it(keypin, issuing):
    credential = issuing.issue("localhost")
    with Server(credential) as server:
        shown = keypin("show", f"localhost:{server.port}")
        connections = server.settle()
    assert shown.code == 60
    assert listed_pins(shown.text) == [str(credential.pin), str(issuing.pin)]
    assert len(connections) == 2
    assert server.application_bytes == 0


@pytest.mark.usefixtures("forgetful_openssl")
def test_a_server_that_answers_only_once_is_not_verified_all_the_same(keypin, issuing):
    answers = iter([True])
    once = Server(issuing.issue("localhost"), before_tls=lambda channel: next(answers, False))
    with once as server:
        shown = keypin("show", f"localhost:{server.port}")
    assert shown.code == 60
    assert shown.lines[-1] == "What the server sent cannot be told."


def test_a_certificate_that_expires_soon_says_when(keypin, tmp_path, issuing):
    file = issuing.issue("localhost", not_after=SOON).write(tmp_path).certificate
    assert f"expires  {SOON:%Y-%m-%d}  3 days left" in keypin("show", file).lines
    file = issuing.issue("localhost", not_after=LONG_AGO).write(tmp_path).certificate
    assert f"expires  {LONG_AGO:%Y-%m-%d}  expired" in keypin("show", file).lines
    assert keypin("show", file, "--json").result["chain"][0]["days_left"] < 0
    file = issuing.issue("localhost", not_before=SOON).write(tmp_path).certificate
    assert f"not valid before {SOON:%Y-%m-%d %H:%M} UTC" in keypin("show", file).text


# Servers that cannot be asked


@pytest.fixture
def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]


def test_a_port_where_nobody_listens(keypin, closed_port):
    ended = keypin("show", f"127.0.0.1:{closed_port}")
    assert ended.code == 7
    assert ended.output == b""
    assert ended.error == f"keypin: cannot connect to 127.0.0.1:{closed_port}: Connection refused\n"


def test_a_server_without_tls(keypin):
    with Server(None) as server:
        ended = keypin("show", f"127.0.0.1:{server.port}")
    assert ended.code == 7
    assert "it does not speak TLS" in ended.error


def test_a_server_that_hangs_up(keypin, credential):
    with Server(credential, before_tls=lambda channel: False) as server:
        ended = keypin("show", f"127.0.0.1:{server.port}")
    assert ended.code == 7
    assert ended.error.endswith("it closed the connection\n")


def test_a_server_that_never_answers(keypin, credential):
    with Server(credential, before_tls=stall) as server:
        target = f"127.0.0.1:{server.port}"
        ended = keypin("show", target, "--timeout", "0.1")
    assert ended.code == 28
    assert ended.error == f"keypin: {target} did not answer in time (--timeout)\n"


# Files


def test_a_file_in_der(keypin, tmp_path, credential):
    credential.write(tmp_path)
    shown = keypin("show", "certificate.cer")
    assert shown.code == 0
    assert shown.lines[0] == "certificate.cer  a certificate in DER"
    assert "issuer   CN=issuing CA" in shown.lines
    assert listed_pins(shown.text) == [str(credential.pin)]


def test_a_file_of_several_certificates_in_pem(keypin, tmp_path, credential, issuing):
    credential.write(tmp_path)
    shown = keypin("show", "chain.pem")
    assert shown.lines[0] == "chain.pem  2 certificates in PEM"
    assert listed_pins(shown.text) == [str(credential.pin), str(issuing.pin)]
    result = keypin("show", "chain.pem", "--json").result
    assert (result["verified"], result["reason"], result["sent"]) == (None, None, None)
    assert result["server"] is None


def test_text_around_pem_is_passed_over_and_what_else_is_there_is_named(
    keypin, tmp_path, credential
):
    file = tmp_path / "all.pem"
    file.write_bytes(
        b"\xef\xbb\xbf0 s:CN = localhost\r\n"
        + credential.chain_pem.replace(b"\n", b"\r\n")
        + b"more\n"
        + credential.key_pem
    )
    shown = keypin("show", file)
    assert shown.code == 0
    assert shown.lines[0].endswith("2 certificates in PEM")
    assert shown.lines[1] == "not shown: a private key"
    assert credential.key_pem.split(b"\n")[1] not in shown.output


NO_CERTIFICATES = {
    "nothing": (b"", "an empty file"),
    "text": (b"hello", "not a certificate in DER or PEM (Certificate: expected tag 0x30"),
    "half a PEM": (
        b"-----BEGIN CERTIFICATE-----\nAAAA\n",
        "PEM text (CERTIFICATE) without its end",
    ),
    "no base64": (
        b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----",
        "certificate 1 is not base64",
    ),
    "PEM of something else": (
        b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----",
        "certificate 1 is not a certificate in DER (tbsCertificate: missing or cut off)",
    ),
    "public key": (
        b"-----BEGIN PUBLIC KEY-----\nMAA=\n-----END PUBLIC KEY-----",
        "a public key, not a certificate",
    ),
    "request": (
        b"-----BEGIN CERTIFICATE REQUEST-----\nMAA=\n-----END CERTIFICATE REQUEST-----",
        "a certificate request, not a certificate",
    ),
    "encrypted key": (
        b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----",
        "a private key, not a certificate",
    ),
    "unheard of": (b"-----BEGIN X-----\nMAA=\n-----END X-----", "PEM text (X), not a certificate"),
}


@pytest.mark.parametrize("case", NO_CERTIFICATES)
def test_a_file_without_certificates_is_said_to_be_what_it_is(keypin, tmp_path, case):
    content, expected = NO_CERTIFICATES[case]
    tmp_path.joinpath("file.cer").write_bytes(content)
    ended = keypin("show", "file.cer")
    assert ended.code == 65
    assert ended.output == b""
    assert ended.error.startswith("keypin: file.cer: ")
    assert expected in ended.error


def test_a_file_that_is_cut_off(keypin, tmp_path, credential):
    tmp_path.joinpath("file.cer").write_bytes(credential.certificate[:-1])
    assert "a file cut off before its end" in keypin("show", "file.cer").error


def test_a_file_that_is_not_there_and_one_that_is_a_folder(keypin, tmp_path):
    ended = keypin("show", "nothing.cer")
    assert (ended.code, ended.error) == (66, "keypin: no such file: nothing.cer\n")
    tmp_path.joinpath("folder.cer").mkdir()
    assert keypin("show", "folder.cer").code == 66


# Several targets


def test_a_target_that_fails_does_not_stop_the_others(keypin, tmp_path, credential, closed_port):
    credential.write(tmp_path)
    targets = ["chain.pem", "nothing.cer", f"127.0.0.1:{closed_port}", "certificate.cer"]
    shown = keypin("show", *targets)
    assert shown.code == 66  # that of the first failure
    assert len(shown.error.splitlines()) == 2
    assert listed_pins(shown.text).count(str(credential.pin)) == 2
    in_json = keypin("show", *targets, "--json")
    assert in_json.code == 66
    assert in_json.error == ""
    results = in_json.json["results"]
    assert [result["target"] for result in results] == targets
    assert [result["error"] and result["error"]["exit_code"] for result in results] == [
        None,
        66,
        7,
        None,
    ]
    assert {frozenset(result) for result in results} == {
        frozenset(
            {"target", "verified", "reason", "cause", "advice", "chain", "sent", "server", "error"}
        )
    }


# Usage


@pytest.mark.parametrize("option", ["--cafile", "--capath", "--servername"])
def test_options_for_servers_need_one(keypin, tmp_path, credential, option):
    credential.write(tmp_path)
    ended = keypin("show", "certificate.cer", option, ".")
    assert ended.code == 64
    assert "none is given" in ended.error


def test_a_mistake_in_one_target_stops_everything_before_it_begins(keypin, server, tmp_path):
    ended = keypin("show", f"localhost:{server.port}", "no host", "chain.pem")
    assert (ended.code, ended.output) == (64, b"")
    assert server.settle() == []


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--cafile", "nothing.pem"], 66),
        (["--cafile", "."], 66),
        (["--cafile", "certificate.cer"], 65),
        (["--cafile", "key.pem"], 65),
        (["--capath", "nothing"], 66),
        (["--servername", "no name"], 64),
        (["--timeout", "0"], 64),
        (["--timeout", "nan"], 64),
        (["--timeout", "soon"], 64),
    ],
    ids=str,
)
def test_options_that_mean_nothing(keypin, tmp_path, credential, server, arguments, code):
    credential.write(tmp_path)
    ended = keypin("show", f"localhost:{server.port}", *arguments)
    assert (ended.code, ended.output) == (code, b"")
    assert arguments[0] in ended.error
    assert server.settle() == []


# As a program


def test_as_a_program(keypin_process, cafile, credential):
    with Server(credential) as server:
        shown = keypin_process("show", f"localhost:{server.port}", "--cafile", cafile)
        unverified = keypin_process("show", f"localhost:{server.port}")
    assert (shown.code, shown.error) == (0, "")
    assert listed_pins(shown.text)[0] == str(credential.pin)
    assert (unverified.code, unverified.error) == (60, "")
    assert json.loads(keypin_process("show", cafile, "--json").output)["version"] == 1


def test_ctrl_c_leaves_what_was_shown(keypin, tmp_path, credential, monkeypatch):
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    (tmp_path / "own.cer").write_bytes(credential.certificate)
    monkeypatch.setattr("keypin.cli.findings.inspect_server", interrupted)
    ended = keypin("show", "own.cer", "localhost", "--json")
    assert ended.code == 130
    assert [each["target"] for each in json.loads(ended.output)["results"]] == ["own.cer"]
