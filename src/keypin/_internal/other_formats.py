"""What a file is that should be a certificate in DER or PEM, and the command that makes it one."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Literal, NamedTuple

from .der import DerError, read_certificate, read_public_key

__all__ = ["OtherFormat", "mend", "recognise"]


class OtherFormat(NamedTuple):
    """What a file is, in words, with commands; FILE stands for its name in them."""

    what: str
    to_der: str = ""
    """makes a certificate in DER of it; empty if none can"""
    to_pem: str = ""
    """makes PEM of it; empty if none can, or nothing need be done"""


PRIVATE_KEY = "a private key, which must not be in a program, not a certificate"
DER, PEM = "myCertificate.cer", "certificates.pem"
TO_DER = f"openssl x509 -in FILE -outform der -out {DER}"
FROM_DER = f"openssl x509 -inform der -in FILE -out {PEM}"
FIRST_TO_DER = f"openssl x509 -outform der -out {DER}"  # of the certificates of a pipe
FILE = re.compile("(?: -in| <)? FILE")  # what a command leaves out that reads a pipe
READS_A_PIPE = ("openssl ", "base64 ", "tr ", "iconv ", "perl ", "xxd ", "sed ", "printf ")
DOWNLOAD = "curl --fail --location -o FILE URL"

ARMOUR = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,60})-----")  # anywhere: tools write text above it
LONG_LINE = re.compile(rb"[^\r\n]{255}")  # which OpenSSL does not read in PEM
CERTIFICATES = ("CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE")
BASE64 = re.compile(rb"[A-Za-z0-9+/\s]+={0,2}\s*")
HEX = re.compile(rb"(?:[0-9A-Fa-f]{2}[\s:]*)+")
MARKUP = (b"<!doctype", b"<html", b"<head", b"<body", b"<?xml", b"<!--")
UTF_8_MARK = b"\xef\xbb\xbf"
LOST_IN_UTF_8 = b"0\xef\xbf\xbd"  # a SEQUENCE whose length became U+FFFD

PKCS7 = "openssl pkcs7 {}-in FILE -print_certs"
PKCS12 = "openssl pkcs12 -in FILE -nokeys"
KEYTOOL = "keytool -exportcert -keystore FILE -alias ALIAS -file"

# How files begin that are neither DER nor text
MAGIC = (
    (
        b"\xfe\xed\xfe\xed",
        OtherFormat("a Java key store (JKS)", f"{KEYTOOL} {DER}", f"{KEYTOOL} {PEM} -rfc"),
    ),
    (
        b"\xce\xce\xce\xce",
        OtherFormat(
            "a Java key store (JCEKS)",
            f"{KEYTOOL} {DER} -storetype JCEKS",
            f"{KEYTOOL} {PEM} -storetype JCEKS -rfc",
        ),
    ),
    (
        b"\x1f\x8b",
        OtherFormat("packed by gzip", f"gunzip -c FILE > {DER}", f"gunzip -c FILE > {PEM}"),
    ),
    (b"PK\x03\x04", OtherFormat("a zip archive", "unzip FILE", "unzip FILE")),
    (
        b"version https://git-lfs.github.com/spec/",
        OtherFormat("a pointer of Git LFS, not the file itself", "git lfs pull", "git lfs pull"),
    ),
    (
        b"/annex/objects/",
        OtherFormat("a pointer of git-annex", "git annex get FILE", "git annex get FILE"),
    ),
    (b"%PDF-", OtherFormat("a PDF document")),
    (b"ssh-", OtherFormat("a public key of SSH, not a certificate")),
    (b"ecdsa-sha2-", OtherFormat("a public key of SSH, not a certificate")),
)
# How the content of the outermost SEQUENCE begins, and that of a SEQUENCE directly inside it
BEGINNINGS = (
    (
        bytes.fromhex("06092a864886f70d0107"),
        OtherFormat(
            "a PKCS#7 bundle, not a certificate",
            f"{PKCS7.format('-inform der ')} | {FIRST_TO_DER}",
            f"{PKCS7.format('-inform der ')} -out {PEM}",
        ),
    ),
    (
        bytes.fromhex("02010330"),  # version 3
        OtherFormat(
            "a PKCS#12 store, not a certificate",
            f"{PKCS12} -clcerts | {FIRST_TO_DER}",
            f"{PKCS12} -out {PEM}",
        ),
    ),
    (bytes.fromhex("020100"), OtherFormat(PRIVATE_KEY)),  # version 0 of PKCS#8 and PKCS#1
    (bytes.fromhex("020101"), OtherFormat(PRIVATE_KEY)),  # version 1 of PKCS#8 and SEC 1
    (bytes.fromhex("02"), OtherFormat("a public key, not a certificate")),  # PKCS#1: the modulus
)
ENCRYPTED = OtherFormat(f"{PRIVATE_KEY} (encrypted)")
INNER_BEGINNINGS = (
    # version 0, then the subject
    (
        bytes.fromhex("02010030"),
        OtherFormat("a certificate request, not the certificate that the authority makes of it"),
    ),
    # version 1, then the algorithm
    (
        bytes.fromhex("02010130"),
        OtherFormat("a list of revoked certificates, not a certificate"),
    ),
    (bytes.fromhex("06092a864886f70d0105"), ENCRYPTED),  # PKCS#5
    (bytes.fromhex("060a2a864886f70d010c01"), ENCRYPTED),  # PKCS#12
)
LABELS = {
    "PKCS7": OtherFormat(
        "a PKCS#7 bundle", f"{PKCS7.format('')} | {FIRST_TO_DER}", f"{PKCS7.format('')} -out {PEM}"
    ),
    "CERTIFICATE REQUEST": OtherFormat(
        "a certificate request, not the certificate that the authority makes of it"
    ),
    "PUBLIC KEY": OtherFormat("a public key"),
    "RSA PUBLIC KEY": OtherFormat("a public key"),
    "X509 CRL": OtherFormat("a list of revoked certificates"),
}
LABELS["CMS"] = LABELS["PKCS7"]
LABELS["NEW CERTIFICATE REQUEST"] = LABELS["CERTIFICATE REQUEST"]


def recognise(data: bytes) -> OtherFormat | None:
    """What the bytes are, where it can be told; None if it cannot."""
    if not data.strip(b" \t\r\n\0"):
        nothing = "white space and zeros" if data.strip(b"\0") else "zeros"
        return OtherFormat(f"nothing but {nothing}" if data else "an empty file")
    for magic, found in MAGIC:
        if data.startswith(magic):
            return found
    in_der = _in_der(data) if data.startswith(b"\x30") else None
    return in_der or _in_text(data)


def mend(found: OtherFormat | None, wanted: Literal["DER", "PEM"], name: str) -> str:
    """The command that makes a file what is wanted, as a sentence; empty if there is none.

    Args:
        found: what it is.
        wanted: what it should be.
        name: of the file.
    """
    import shlex

    command = "" if found is None else found.to_der if wanted == "DER" else found.to_pem
    return f"To mend it: {command.replace('FILE', shlex.quote(name))}" if command else ""


# DER


def _in_der(data: bytes) -> OtherFormat | None:
    if _is_certificate(data):
        return OtherFormat("a certificate in DER, not PEM", "", FROM_DER)
    if ARMOUR.search(data):  # text above it that begins with a zero, as s_client prints
        return None
    return _damaged(data) or _cut_off(data) or _structure(data)


def _damaged(data: bytes) -> OtherFormat | None:
    """A certificate that some tool took for text."""
    if data.startswith(LOST_IN_UTF_8):
        return OtherFormat(
            "damaged for good by a tool that took it for text in UTF-8: get it anew, as binary"
        )
    if _is_certificate(data.replace(b"\r\n", b"\n")):
        return _behind(
            "perl -pe 's/\\r\\n/\\n/' FILE",
            data.replace(b"\r\n", b"\n"),
            "damaged by a tool that took it for text, so that LF became CR LF (in git,"
            " '*.cer binary' in .gitattributes prevents that)",
        )
    try:
        restored = data.decode("utf-8").encode("latin-1")
    except ValueError:
        return None
    if not _is_certificate(restored):
        return None
    return _behind(
        "iconv -f UTF-8 -t LATIN1 FILE",
        restored,
        "damaged by a tool that took it for text in Latin-1 and wrote it in UTF-8",
    )


def _cut_off(data: bytes) -> OtherFormat | None:
    declared = _size_of_header(data) + _size_of_content(data)
    missing = declared - len(data)
    if missing <= 0:
        return None
    what = "a file cut off before its end"
    if missing <= min(data.count(b"\n"), 16):
        what += ", or one that a tool took for text, so that CR LF in it became LF"
    return OtherFormat(what)


def _structure(data: bytes) -> OtherFormat | None:
    declared = _size_of_header(data) + _size_of_content(data)
    structure = data[:declared]
    if _is_certificate(structure):
        return OtherFormat(
            f"a certificate with {len(data) - declared} bytes after its end",
            f"openssl x509 -inform der -in FILE -outform der -out {DER}",
            FROM_DER,
        )
    try:
        read_public_key(structure)
    except DerError:
        pass
    else:
        return OtherFormat("a public key, not a certificate")
    content = structure[_size_of_header(structure) :]
    for beginning, found in BEGINNINGS:
        if content.startswith(beginning):
            return found
    content = content[_size_of_header(content) :] if content.startswith(b"\x30") else b""
    for beginning, found in INNER_BEGINNINGS:
        if content.startswith(beginning):
            return found
    return None


def _is_certificate(data: bytes) -> bool:
    try:
        read_certificate(data)
    except DerError:
        return False
    return True


def _size_of_header(element: bytes) -> int:
    return 2 + _length_octets(element)


def _size_of_content(element: bytes) -> int:
    octets = _length_octets(element)
    return int.from_bytes(element[2 : 2 + octets] if octets else element[1:2], "big")


def _length_octets(element: bytes) -> int:
    first = element[1] if len(element) > 1 else 0
    return first & 0x7F if first >= 0x80 else 0


# Text


def _in_text(data: bytes) -> OtherFormat | None:
    if encoding := _wide_encoding(data):
        text = data.decode(encoding, "ignore").encode()
        name = encoding.upper()
        return _behind(
            f"iconv -f {name} -t UTF-8 FILE", text, f"text in {name}, as Windows writes it"
        )
    if data.startswith(UTF_8_MARK):
        return _behind(
            "sed '1s/^\\xEF\\xBB\\xBF//' FILE", data[3:], "text that begins with a byte order mark"
        )
    if armour := ARMOUR.search(data):
        return _in_armour(data, armour[1].decode("ascii"))
    if data.lstrip()[:9].lower().startswith(MARKUP):
        return OtherFormat("an HTML or XML page, as servers send for errors", DOWNLOAD, DOWNLOAD)
    if BASE64.fullmatch(data) and (decoded := _from_base64(data)).startswith(b"\x30"):
        command = "tr -d '\\r' < FILE | base64 -d" if b"\r" in data else "base64 -d < FILE"
        return _behind(command, decoded, "in base64 without the lines BEGIN and END")
    if HEX.fullmatch(data) and data.lstrip().startswith(b"30"):
        decoded = bytes.fromhex(data.replace(b":", b"").decode("ascii"))
        return _behind("xxd -r -p FILE", decoded, "in hexadecimal digits")
    return None


def _wide_encoding(data: bytes) -> str | None:
    if data.startswith((b"\xff\xfe\0\0", b"\0\0\xfe\xff")):
        return "utf-32"
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    if data[:4:2] == b"\0\0" and data[1:2].isascii():
        return "utf-16be"
    return "utf-16le" if data[1:4:2] == b"\0\0" and data[:1].isascii() else None


def _in_armour(data: bytes, label: str) -> OtherFormat:
    what = f"PEM text ({label})"
    if f"-----END {label}-----".encode() not in data:
        return OtherFormat(f"{what} without its end")
    if b"-----\\n" in data:
        text = data.replace(b"\\r", b"").replace(b"\\n", b"\n")
        return _behind(
            "printf '%b' \"$(cat FILE)\"", text, "text whose line ends are written as \\n"
        )
    if label in CERTIFICATES:
        if LONG_LINE.search(data):
            convert = f"keypin convert FILE {DER}"
            return OtherFormat(
                f"{what} without line ends", convert, f"{convert} && keypin convert {DER} {PEM}"
            )
        again = f"openssl x509 -in FILE -out {PEM}" if label.startswith("TRUSTED") else ""
        return OtherFormat(f"{what}, not DER", TO_DER, again)
    if label.endswith("PRIVATE KEY"):
        return OtherFormat(f"{what}: {PRIVATE_KEY}")
    found = LABELS.get(label)
    return OtherFormat(what) if found is None else found._replace(what=f"{what}: {found.what}")


def _from_base64(data: bytes) -> bytes:
    try:
        return base64.b64decode(b"".join(data.split()), validate=True)
    except binascii.Error:
        return b""


def _behind(command: str, inner: bytes, what: str) -> OtherFormat:
    """What a file is, of which a command to standard output makes something else."""
    if _is_certificate(inner):
        return OtherFormat(
            f"a certificate, {what}",
            f"{command} > {DER}",
            f"{command} | {FILE.sub('', FROM_DER)}",
        )
    found = recognise(inner)
    if found is None:
        return OtherFormat(what)
    to_der, to_pem = (
        f"{command} | {FILE.sub('', each)}" if each.startswith(READS_A_PIPE) else ""
        for each in (found.to_der, found.to_pem)
    )
    if found.to_der == TO_DER and not found.to_pem:  # PEM as it should be
        to_pem = f"{command} > {PEM}"
    return OtherFormat(f"{what}: {found.what}", to_der, to_pem)
