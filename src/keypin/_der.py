"""The few fields of a DER certificate that pinning needs, read strictly.

DER is X.690 clause 10 (definite lengths in their shortest form); the certificate's layout is
RFC 5280, section 4.1. Nothing is decoded that is not asked for and nothing is guessed: whatever
deviates is a `DerError` that names the ASN.1 field. There are no signatures, extensions or dates
here; OpenSSL has verified those before a certificate gets this far.
"""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["CertificateFields", "DerError", "name_text", "read_certificate", "read_public_key"]

INTEGER = 0x02
BIT_STRING = 0x03
OBJECT_IDENTIFIER = 0x06
SEQUENCE = 0x30
SET = 0x31
VERSION = 0xA0  # [0] EXPLICIT
ISSUER_UNIQUE_ID = 0x81  # [1] IMPLICIT
SUBJECT_UNIQUE_ID = 0x82  # [2] IMPLICIT
EXTENSIONS = 0xA3  # [3] EXPLICIT

STRING_ENCODINGS = {
    0x0C: "utf-8",  # UTF8String
    0x12: "ascii",  # NumericString
    0x13: "ascii",  # PrintableString
    0x14: "latin-1",  # TeletexString, which everybody reads as Latin-1
    0x16: "ascii",  # IA5String
    0x1C: "utf-32-be",  # UniversalString
    0x1E: "utf-16-be",  # BMPString
}

# RFC 4514, section 3, and what OpenSSL prints beside it
ATTRIBUTE_NAMES = {
    bytes.fromhex("550403"): "CN",
    bytes.fromhex("550405"): "serialNumber",
    bytes.fromhex("550406"): "C",
    bytes.fromhex("550407"): "L",
    bytes.fromhex("550408"): "ST",
    bytes.fromhex("550409"): "STREET",
    bytes.fromhex("55040a"): "O",
    bytes.fromhex("55040b"): "OU",
    bytes.fromhex("0992268993f22c640101"): "UID",
    bytes.fromhex("0992268993f22c640119"): "DC",
    bytes.fromhex("2a864886f70d010901"): "emailAddress",
}

# RFC 4514, section 2.4; "#" only matters in front, but may be escaped anywhere
SPECIAL = frozenset(',+"\\<>;=#')
EDGE_SPACE = re.compile(r"\A | \Z")


class DerError(ValueError):
    """Bytes that are not the DER structure that was asked for."""


class CertificateFields(NamedTuple):
    """Raw DER elements of one certificate, headers included."""

    issuer: bytes
    subject: bytes
    public_key: bytes
    """the SubjectPublicKeyInfo, byte for byte as served"""


def _content(data: bytes, start: int, end: int, tag: int, field: str) -> tuple[int, int]:
    """Where the content of the element at `start` begins and ends; it must lie before `end`."""
    if start + 2 > end:
        raise DerError(f"{field}: missing or cut off")
    if data[start] != tag:
        raise DerError(f"{field}: expected tag 0x{tag:02x}, found 0x{data[start]:02x}")
    length = data[start + 1]
    begin = start + 2
    if length >= 0x80:
        octets = length & 0x7F
        if not 1 <= octets <= 4:
            raise DerError(f"{field}: indefinite or oversized length")
        length_end = begin + octets
        length = int.from_bytes(data[begin:length_end], "big")
        if length_end > end:
            raise DerError(f"{field}: cut off inside its length")
        if length < 0x80 or length >> (8 * (octets - 1)) == 0:
            raise DerError(f"{field}: length is not in its shortest form")
        begin = length_end
    if begin + length > end:
        raise DerError(f"{field}: longer than what surrounds it")
    return begin, begin + length


def _octets(data: bytes, start: int, end: int, field: str) -> int:
    """Where the BIT STRING at `start` ends; keys and signatures are whole numbers of octets."""
    begin, end = _content(data, start, end, BIT_STRING, field)
    if begin == end or data[begin] != 0:
        raise DerError(f"{field}: not a whole number of octets")
    return end


def _nothing_after(position: int, end: int, field: str) -> None:
    if position != end:
        raise DerError(f"{field}: {end - position} bytes too many")


def _check_type(data: bytes) -> None:
    if not isinstance(data, bytes):
        raise DerError(f"bytes are needed, not {type(data).__name__}")


def read_certificate(der: bytes) -> CertificateFields:
    """Take one X.509 certificate (RFC 5280, section 4.1) apart.

    Raises:
        DerError: not exactly one certificate in DER.
    """
    _check_type(der)
    size = len(der)
    tbs_start, end = _content(der, 0, size, SEQUENCE, "Certificate")
    _nothing_after(end, size, "Certificate")
    position, tbs_end = _content(der, tbs_start, end, SEQUENCE, "tbsCertificate")
    if position < tbs_end and der[position] == VERSION:
        _, position = _content(der, position, tbs_end, VERSION, "version")
    _, position = _content(der, position, tbs_end, INTEGER, "serialNumber")
    _, position = _content(der, position, tbs_end, SEQUENCE, "signature")
    issuer = position
    _, position = _content(der, issuer, tbs_end, SEQUENCE, "issuer")
    issuer_end = position
    _, subject = _content(der, position, tbs_end, SEQUENCE, "validity")
    _, public_key = _content(der, subject, tbs_end, SEQUENCE, "subject")
    public_key_end = _check_public_key(der, public_key, tbs_end)
    position = public_key_end
    for tag, field in (
        (ISSUER_UNIQUE_ID, "issuerUniqueID"),
        (SUBJECT_UNIQUE_ID, "subjectUniqueID"),
        (EXTENSIONS, "extensions"),
    ):
        if position < tbs_end and der[position] == tag:
            _, position = _content(der, position, tbs_end, tag, field)
    _nothing_after(position, tbs_end, "tbsCertificate")
    _, position = _content(der, tbs_end, end, SEQUENCE, "signatureAlgorithm")
    position = _octets(der, position, end, "signatureValue")
    _nothing_after(position, end, "Certificate")
    return CertificateFields(
        der[issuer:issuer_end], der[subject:public_key], der[public_key:public_key_end]
    )


def read_public_key(der: bytes) -> bytes:
    """Check that `der` is exactly one SubjectPublicKeyInfo (RFC 5280, section 4.1.2.7).

    Raises:
        DerError: it is something else.
    """
    _check_type(der)
    _nothing_after(_check_public_key(der, 0, len(der)), len(der), "subjectPublicKeyInfo")
    return der


def _check_public_key(der: bytes, start: int, end: int) -> int:
    begin, end = _content(der, start, end, SEQUENCE, "subjectPublicKeyInfo")
    algorithm, position = _content(der, begin, end, SEQUENCE, "algorithm")
    _content(der, algorithm, position, OBJECT_IDENTIFIER, "algorithm identifier")
    position = _octets(der, position, end, "subjectPublicKey")
    _nothing_after(position, end, "subjectPublicKeyInfo")
    return end


def name_text(name: bytes) -> str:
    """Write a distinguished name for people to read, in the manner of RFC 4514.

    Control characters are escaped: the text goes into logs and terminals, and the server chose it.

    Raises:
        DerError: not a Name (RFC 5280, section 4.1.2.4).
    """
    position, end = _content(name, 0, len(name), SEQUENCE, "Name")
    _nothing_after(end, len(name), "Name")
    parts = []
    while position < end:
        inner, position = _content(name, position, end, SET, "RelativeDistinguishedName")
        if inner == position:
            raise DerError("RelativeDistinguishedName: empty")
        attributes = []
        while inner < position:
            begin, inner = _content(name, inner, position, SEQUENCE, "AttributeTypeAndValue")
            attributes.append(_attribute_text(name, begin, inner))
        parts.append("+".join(attributes))
    return ",".join(reversed(parts))


def _attribute_text(name: bytes, start: int, end: int) -> str:
    begin, value = _content(name, start, end, OBJECT_IDENTIFIER, "AttributeType")
    identifier = name[begin:value]
    if value >= end:
        raise DerError("AttributeValue: missing")
    tag = name[value]
    begin, value_end = _content(name, value, end, tag, "AttributeValue")
    _nothing_after(value_end, end, "AttributeTypeAndValue")
    content = name[begin:value_end]
    label = ATTRIBUTE_NAMES.get(identifier) or f"oid.{identifier.hex()}"
    try:
        text = content.decode(STRING_ENCODINGS[tag])
    except (KeyError, UnicodeDecodeError):
        return f"{label}=#{name[value:value_end].hex()}"
    return f"{label}={_escaped(text)}"


def _escaped(text: str) -> str:
    return EDGE_SPACE.sub(r"\\ ", "".join(map(_escaped_character, text)))


def _escaped_character(character: str) -> str:
    if character in SPECIAL:
        return "\\" + character
    if character.isprintable():
        return character
    return "".join(f"\\{octet:02x}" for octet in character.encode("utf-8"))
