"""What terminals and pipes get to see, also of certificates that were made to deceive them."""

from __future__ import annotations

import ipaddress
import os
import re
import ssl
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keypin import Pin
from keypin.cli.certificates import PublicKey, summarise
from keypin.cli.output import printable
from keypin.lab import KEY_KINDS, Authority, Server, new_key

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from keypin.lab import Credential

COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture
def on_a_terminal(tmp_path: Path, clean_environment: dict[str, str]) -> Callable[..., str]:
    """Run a command on a terminal of 80 columns; return what it writes."""
    import pty

    def run(*arguments: object, **environment: str) -> str:
        ours, theirs = pty.openpty()
        with subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "keypin", *map(str, arguments)],
            cwd=tmp_path,
            env={**clean_environment, "TERM": "xterm", "COLUMNS": "80", **environment},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        ):
            os.close(theirs)
            written = b""
            try:
                while piece := os.read(ours, 65536):
                    written += piece
            except OSError:  # how Linux says that the other end is closed
                pass
            finally:
                os.close(ours)
        return written.decode().replace("\r\n", "\n")

    return run


@pytest.fixture
def long(tmp_path: Path, issuing: Authority) -> Credential:
    credential = issuing.issue("localhost", *(f"host-number-{n}.example.com" for n in range(9)))
    credential.write(tmp_path)
    return credential


def test_on_a_terminal_there_is_colour_and_no_line_is_too_long(on_a_terminal, long):
    shown = on_a_terminal("show", "chain.pem")
    assert COLOUR.search(shown)
    plain = COLOUR.sub("", shown)
    assert max(map(len, plain.splitlines())) <= 80
    # wrapped below its own beginning
    assert "     names    localhost, host-number-0" in plain
    assert re.search(r"\n {14}host-number-\d", plain)


def test_a_pin_is_never_broken_for_it_is_copied(on_a_terminal, long):
    shown = on_a_terminal("show", "certificate.cer", COLUMNS="40")
    assert str(long.pin) in shown


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=str)
def test_no_colour_where_none_is_wanted(on_a_terminal, long, environment):
    shown = on_a_terminal("show", "chain.pem", "nothing.cer", **environment)
    assert str(long.pin) in shown
    colours = {code for found in COLOUR.findall(shown) for code in re.findall(r"\d+", found)}
    assert not {code for code in colours if int(code) >= 30}


def test_in_a_pipe_there_is_no_colour_and_a_fact_is_one_line(keypin_process, long):
    shown = keypin_process("show", "chain.pem", "nothing.cer")
    assert "\x1b" not in shown.text + shown.error
    [names] = [line for line in shown.lines if line.startswith("names ")]
    assert names.endswith("host-number-8.example.com")
    assert not [line for line in shown.text.splitlines() if line != line.rstrip()]


def test_an_error_is_marked_on_a_terminal(on_a_terminal):
    shown = on_a_terminal("show", "nothing.cer")
    assert COLOUR.sub("", shown) == "keypin: no such file: nothing.cer\n"
    assert COLOUR.match(shown)


# Hostile certificates


HOSTILE = "\x1b[31m\x1b]0;title\x07\x9b31m[bold]\u202e:smile:\nCN=trusted.example"


@pytest.fixture
def hostile(issuing: Authority) -> Credential:
    names = ("localhost", "\x1b]0;title\x07.example.com", "[red]", "\nverified")
    return issuing.issue(*names, common_name=HOSTILE)


def test_a_certificate_cannot_command_the_terminal(keypin, on_a_terminal, cafile, hostile):
    with Server(hostile) as server:
        for target in ("localhost", "127.0.0.1"):  # verified, and not
            arguments = ["show", f"{target}:{server.port}", "--cafile", cafile]
            piped = keypin(*arguments).text
            seen = on_a_terminal(*arguments)
            for text in (piped, COLOUR.sub("", seen)):
                assert not [c for c in text if not c.isprintable() and c != "\n"]
                assert "\\1b[31m" in text
                assert "[bold]" in text  # and not taken for rich's markup
                assert ":smile:" in text
                assert "[red]" in text
            assert "\\0averified" in piped
            assert not re.search(r"^\s*(CN=trusted|verified)", piped, re.MULTILINE)
        reported = keypin(
            "get",
            server.url_for("localhost"),
            "--cafile",
            cafile,
            "--pin",
            Pin.from_public_key(new_key().spki),
        )
        assert reported.code == 90
        assert "\\1b[31m" in reported.error
        assert b"\x1b" not in keypin(*arguments, "--json").output


@given(st.text())
def test_printable_text_is_printable_and_keeps_what_already_was(text):
    made = printable(text)
    assert made.isprintable()
    assert printable(made) == made
    if text.isprintable():
        assert made == text


def test_letters_that_the_encoding_lacks_are_escaped(keypin_process, tmp_path, issuing):
    issuing.issue("localhost", common_name="grün").write(tmp_path)
    shown = keypin_process("show", "certificate.cer", PYTHONIOENCODING="ascii")
    assert shown.code == 0
    assert r"CN=gr\xfcn" in shown.text


# Certificates that are not as they should be


def test_a_certificate_that_only_keypin_can_read_is_shown_with_pin_and_names(
    keypin, tmp_path, credential
):
    # a BOOLEAN in an extension that is neither false nor DER's true (X.690, section 11.1)
    odd = credential.certificate.replace(bytes.fromhex("0101ff"), bytes.fromhex("010101"))
    with pytest.raises(ValueError, match="asn1"):
        x509.load_der_x509_certificate(odd)
    tmp_path.joinpath("odd.cer").write_bytes(odd)
    shown = keypin("show", "odd.cer")
    assert (shown.code, shown.error) == (0, "")
    assert "0  CN=localhost" in shown.lines
    assert f"pin      {credential.pin}" in shown.lines
    assert "key      EC P-256" in shown.lines
    assert "expires  unknown" in shown.lines
    [said] = keypin("show", "odd.cer", "--json").result["chain"]
    assert said["pin"] == str(credential.pin)
    assert said["not_after"] is said["days_left"] is said["is_ca"] is None


def test_a_certificate_that_nobody_can_read_is_named_as_such():
    summary = summarise(b"0\x00")
    assert summary.pin is None
    assert summary.subject == "(unreadable certificate)"


@pytest.mark.parametrize(
    ("algorithm", "expected"),
    [
        # P-256's identifier for a key of a kind that is not known here, and for one that is
        ("06072a8648ce3d0263", "1.2.840.10045.2.99"),
        ("06072a8648ce3d0201", "EC P-256"),
        ("06078837000000000f", "2.999.0.0.0.0.15"),
    ],
)
def test_a_key_of_an_unknown_kind_is_named_by_its_object_identifier(
    credential, algorithm, expected
):
    known = bytes.fromhex("06072a8648ce3d0201")
    odd = credential.certificate.replace(known, bytes.fromhex(algorithm), 1)
    assert str(summarise(odd).key) == expected


@pytest.mark.parametrize("kind", KEY_KINDS)
def test_kinds_of_keys_have_a_name(kind):
    expected = {
        "rsa-2048": PublicKey("RSA", 2048),
        "rsa-pss": PublicKey("RSA-PSS", 2048),
        "p-256": PublicKey("EC", 256, "P-256"),
        "p-384": PublicKey("EC", 384, "P-384"),
        "ed25519": PublicKey("Ed25519"),
    }
    der = Authority("any").issue("localhost", key=kind).certificate
    assert summarise(der).key == expected[kind]


def test_every_kind_of_name_is_shown(keypin, tmp_path):
    key = new_key().private
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "any")])
    kinds = {
        ("DNS", "a.example"): x509.DNSName("a.example"),
        ("IP", "::1"): x509.IPAddress(ipaddress.ip_address("::1")),
        ("URI", "https://a.example/"): x509.UniformResourceIdentifier("https://a.example/"),
        ("email", "a@a.example"): x509.RFC822Name("a@a.example"),
        ("other", "CN=any"): x509.DirectoryName(name),
        ("other", "1.2.3"): x509.RegisteredID(x509.ObjectIdentifier("1.2.3")),
        ("other", "0c0161"): x509.OtherName(x509.ObjectIdentifier("1.2.3"), b"\x0c\x01a"),
    }
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName(kinds.values()), critical=False)
        .sign(key, SHA256())
    )
    tmp_path.joinpath("odd.cer").write_bytes(certificate.public_bytes(Encoding.DER))
    [said] = keypin("show", "odd.cer", "--json").result["chain"]
    assert [(it["kind"], it["value"]) for it in said["names"]] == list(kinds)
    assert said["is_ca"] is False  # no basicConstraints
    shown = keypin("show", "odd.cer")
    assert "names    a.example, ::1, URI:https://a.example/, email:a@a.example" in shown.text
    assert f"expires  {now + timedelta(days=2):%Y-%m-%d}  1 day left" in shown.lines


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_something_can_be_said_of_any_bytes(data, credential):
    der = bytearray(credential.certificate)
    for _ in range(data.draw(st.integers(0, 8))):
        der[data.draw(st.integers(0, len(der) - 1))] = data.draw(st.integers(0, 255))
    summary = summarise(bytes(der))
    text = f"{summary.subject}{summary.issuer}{summary.key}{summary.names}"
    assert text.isprintable()


def test_pem_is_as_the_standard_library_writes_it(credential):
    from keypin.cli.certificate_files import pem

    assert pem(credential.certificate).decode() == ssl.DER_cert_to_PEM_cert(credential.certificate)
