"""A file that is no certificate is called what it is, by its name, with a command that mends it."""

from __future__ import annotations

import gzip
import os
import re
import shutil
import ssl
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs7,
    pkcs12,
)

from keypin import CertificateFormatError, Pinner, PinSet
from keypin._internal.other_formats import mend, recognise
from keypin._internal.pem_files import load_client_certificate
from keypin.certificate_file import read_server_certificate
from keypin.client import AsyncClient, Client
from keypin.inspection import verifying_context
from keypin.lab import Authority, Credential

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

AUTHORITY = Authority()


def issued() -> Credential:
    """One whose certificate, taken for text, is damaged."""
    while True:
        credential = AUTHORITY.issue("www.example.com")
        if b"\n" in credential.certificate and b"\r\n" not in credential.certificate:
            return credential


CREDENTIAL = issued()
OTHER = AUTHORITY.issue("www.example.com")
DER = CREDENTIAL.certificate
PARSED = x509.load_der_x509_certificate(DER)
PEM = PARSED.public_bytes(Encoding.PEM)
IN_LINES = b"".join(PEM.splitlines(keepends=True)[1:-1])
KEY: Any = CREDENTIAL.key.private
REQUEST = x509.CertificateSigningRequestBuilder(PARSED.subject).sign(KEY, hashes.SHA256())

BASE64 = "a certificate, in base64 without the lines BEGIN and END"
# The bytes, what they are said to be, and whether a command makes a certificate of them
KINDS: dict[str, tuple[bytes, str, bool]] = {
    "base64": (IN_LINES, BASE64, True),
    "base64 in one line": (b"".join(IN_LINES.split()), BASE64, True),
    "base64 of Windows": (IN_LINES.replace(b"\n", b"\r\n"), BASE64, True),
    "hexadecimal": (DER.hex().encode(), "a certificate, in hexadecimal digits", True),
    "hexadecimal with colons": (DER.hex(":").upper().encode(), "in hexadecimal digits", True),
    "UTF-16": (PEM.decode().encode("utf-16"), "text in UTF-16, as Windows writes it: PEM", True),
    "UTF-16 without mark": (PEM.decode().encode("utf-16-le"), "text in UTF-16LE", True),
    "UTF-16 of base64": (IN_LINES.decode().encode("utf-16"), "text in UTF-16", True),
    "big-endian": (PEM.decode().encode("utf-16-be"), "text in UTF-16BE", True),
    "byte order mark": (b"\xef\xbb\xbf" + PEM, "a byte order mark: PEM text", True),
    "byte order mark, base64": (b"\xef\xbb\xbf" + IN_LINES, "a byte order mark", True),
    "escaped": (PEM.replace(b"\n", b"\\n"), "line ends are written as \\n: PEM text", True),
    "LF became CR LF": (DER.replace(b"\n", b"\r\n"), "LF became CR LF", True),
    "Latin-1 in UTF-8": (DER.decode("latin-1").encode(), "took it for text in Latin-1", True),
    "lost in UTF-8": (DER.decode(errors="replace").encode(), "damaged for good", False),
    "gzip": (gzip.compress(DER), "packed by gzip", True),
    "zip": (b"PK\x03\x04" + bytes(30), "a zip archive", False),
    "JKS": (bytes.fromhex("feedfeed00000002"), "a Java key store (JKS)", False),
    "JCEKS": (bytes.fromhex("cececece00000002"), "a Java key store (JCEKS)", False),
    "PKCS#12": (
        pkcs12.serialize_key_and_certificates(b"x", KEY, PARSED, None, NoEncryption()),
        "a PKCS#12 store",
        True,
    ),
    "PKCS#7": (pkcs7.serialize_certificates([PARSED], Encoding.DER), "a PKCS#7 bundle", True),
    "PKCS#7 in PEM": (
        pkcs7.serialize_certificates([PARSED], Encoding.PEM),
        "PEM text (PKCS7): a PKCS#7 bundle",
        True,
    ),
    "key": (CREDENTIAL.key_pem, "PEM text (PRIVATE KEY): a private key", False),
    "request": (REQUEST.public_bytes(Encoding.DER), "a certificate request", False),
    "request in PEM": (REQUEST.public_bytes(Encoding.PEM), "a certificate request", False),
    "HTML": (b"\r\n<!DOCTYPE html>\n<html>Sign in</html>", "an HTML or XML page", False),
    "XML": (b'<?xml version="1.0"?><Error/>', "an HTML or XML page", False),
    "Git LFS": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
        "a pointer of Git LFS",
        False,
    ),
    "cut PEM": (PEM[:-10], "PEM text (CERTIFICATE) without its end", False),
    "SSH": (b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI", "a public key of SSH", False),
    "nothing": (b"", "an empty file", False),
    "white space": (b"\n \r\n", "nothing but white space", False),
    "zeros": (bytes(4096), "nothing but zeros", False),
}


def said_of(raised: BaseException, name: str, what: str) -> None:
    text = str(raised)
    assert name in text
    assert what in text
    assert text.isprintable()


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_in_the_place_of_der_is_called_what_it_is(kind: str) -> None:
    data, what, _ = KINDS[kind]
    with pytest.raises(CertificateFormatError) as caught:
        read_server_certificate(data, "a file.cer")
    said_of(caught.value, "a file.cer: ", what)
    command = mend(recognise(data), "DER", "a file.cer")
    assert command in str(caught.value)


# which OpenSSL steps over
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "byte order mark"])
def test_a_cafile_that_is_none_is_called_what_it_is(kind: str, tmp_path: Path) -> None:
    data, what, _ = KINDS[kind]
    file = tmp_path / "ca.pem"
    file.write_bytes(data)
    makers: list[Callable[..., object]] = [
        Pinner(PinSet({})).create_context,
        verifying_context,
        Client,
        AsyncClient,
    ]
    for make in makers:
        for spelling in (file, str(file)):
            with pytest.raises(ssl.SSLError) as caught:
                make(cafile=spelling)
            said_of(caught.value, f"{file}: no certificate in PEM", what)
            assert mend(recognise(data), "PEM", str(file)) in str(caught.value)


def mended(data: bytes, wanted: Any, folder: Path) -> bytes:
    """What the command makes, in the way of a shell."""
    name = "it's a file"
    folder.joinpath(name).write_bytes(data)
    command = mend(recognise(data), wanted, name).removeprefix("To mend it: ")
    for word in ("openssl", "iconv", "perl", "xxd", "base64", "gunzip"):
        if word in command and shutil.which(word) is None:
            pytest.skip(f"no {word}")
    environment = {**os.environ, "LC_ALL": "C"}
    subprocess.run(["sh", "-ec", command], cwd=folder, env=environment, check=True, timeout=30,
                   capture_output=True, stdin=subprocess.DEVNULL)  # fmt: skip
    result = "myCertificate.cer" if wanted == "DER" else "certificates.pem"
    return folder.joinpath(result).read_bytes()


MENDED = {kind: data for kind, (data, _, mends) in KINDS.items() if mends}
MENDED["PEM"] = PEM
MENDED["bytes behind"] = DER + b"\r\n"
MENDED["trusted"] = PEM.replace(b"CERTIFICATE", b"TRUSTED CERTIFICATE")


@pytest.mark.parametrize("kind", MENDED)
def test_the_command_makes_a_certificate_in_der(kind: str, tmp_path: Path) -> None:
    data = MENDED[kind]
    if kind == "PKCS#12":  # asks for the password, which is none
        assert "openssl pkcs12 -in" in mend(recognise(data), "DER", "x")
        return
    assert read_server_certificate(mended(data, "DER", tmp_path), "x") == DER


@pytest.mark.parametrize("kind", [*sorted(MENDED.keys() - {"PEM", "PKCS#12", "gzip"}), "DER"])
def test_the_command_makes_pem_that_contexts_load(kind: str, tmp_path: Path) -> None:
    written = mended({**MENDED, "DER": DER}[kind], "PEM", tmp_path)
    tmp_path.joinpath("made.pem").write_bytes(written)
    context = verifying_context(tmp_path / "made.pem")
    assert context.cert_store_stats()["x509"] == 1


def test_pem_in_one_line_is_told_from_pem(tmp_path: Path) -> None:
    one_line = PEM.replace(b"\n", b" ")
    with pytest.raises(CertificateFormatError, match=r"without line ends.*keypin convert x"):
        read_server_certificate(one_line, "x")
    file = tmp_path / "ca.pem"
    file.write_bytes(one_line)
    with pytest.raises(ssl.SSLError, match=r"ca\.pem: .*without line ends.*keypin convert"):
        verifying_context(file)


# Files that are not there


@pytest.mark.parametrize("missing", ["missing.pem", "missing/ca.pem", "."])
def test_a_cafile_that_cannot_be_read_is_named(missing: str, tmp_path: Path) -> None:
    file = tmp_path / missing
    for make in (Pinner(PinSet({})).create_context, verifying_context, Client, AsyncClient):
        with pytest.raises(OSError, match=re.escape(str(file))) as caught:
            make(cafile=file)
        assert missing == "." or isinstance(caught.value, FileNotFoundError)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    contents = {
        "chain": CREDENTIAL.chain_pem,
        "key": CREDENTIAL.key_pem,
        "both": CREDENTIAL.chain_pem + CREDENTIAL.key_pem,
        "other": OTHER.key_pem,
        "der": DER,
        "text": b"hello",
    }
    for name, content in contents.items():
        tmp_path.joinpath(name).write_bytes(content)
    return {name: str(tmp_path / name) for name in (*contents, "missing")}


CLIENT_CERTIFICATES = {
    "no certificate": (("missing",), FileNotFoundError, "{missing}"),
    "no key": (("chain", "missing"), FileNotFoundError, "{missing}"),
    "no certificate, a key": (("missing", "key"), FileNotFoundError, "{missing}"),
    "DER": (("der", "key"), ssl.SSLError, "{der}: no certificate in PEM: a certificate in DER"),
    "only a key": (("key",), ssl.SSLError, "{key}: no certificate in PEM: PEM text (PRIVATE KEY)"),
    "no key in it": (("chain",), ssl.SSLError, "{chain}: no private key in PEM"),
    "text for a key": (("chain", "text"), ssl.SSLError, "{text}: no private key in PEM"),
    "another's key": (
        ("chain", "other"),
        ssl.SSLError,
        "{other}: its private key is not that of the certificate in {chain}",
    ),
}


@pytest.mark.parametrize("case", CLIENT_CERTIFICATES)
@pytest.mark.parametrize("make", [Client, AsyncClient])
def test_a_client_certificate_that_does_not_do_is_named(
    case: str, make: Any, files: dict[str, str]
) -> None:
    names, error, said = CLIENT_CERTIFICATES[case]
    given = tuple(files[name] for name in names)
    with pytest.raises(error) as caught:
        make(client_certificate=given if len(given) > 1 else given[0])
    assert said.format(**files) in str(caught.value)


def test_a_client_certificate_that_does_is_loaded(files: dict[str, str]) -> None:
    context = Pinner(PinSet({})).create_context()
    load_client_certificate(context, files["both"])
    load_client_certificate(context, files["chain"], files["key"])
    Client(client_certificate=files["both"]).close()


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
def test_a_wrong_password_is_said(form: Any, files: dict[str, str], tmp_path: Path) -> None:
    encrypted = KEY.private_bytes(Encoding.PEM, form, BestAvailableEncryption(b"right"))
    file = tmp_path / "encrypted"
    file.write_bytes(encrypted)
    context = Pinner(PinSet({})).create_context()
    load_client_certificate(context, files["chain"], file, "right")
    with pytest.raises(ssl.SSLError, match="encrypted: a private key that cannot be read, maybe"):
        load_client_certificate(context, files["chain"], file, "wrong")
