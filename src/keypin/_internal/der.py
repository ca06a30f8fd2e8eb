"""The few fields of a DER certificate that pinning needs, read strictly.

DER is X.690, clauses 10 and 11: lengths are definite and in their shortest form, nothing is in
pieces, and there is one way to write each integer, boolean and bit string. That is asked of every
element that the certificate's layout has down to the key and its algorithm (RFC 5280, section 4.1),
so that a key has one hash to every reader, and of a name when it is written as text. Names and
extensions are else stepped over as wholes, and nothing is guessed: whatever deviates is a
`DerError` that names the ASN.1 field. What signatures, extensions and dates say is not looked at;
OpenSSL has verified them before a certificate gets this far.
"""

from __future__ import annotations

import codecs
import re
from typing import NamedTuple

__all__ = ["CertificateFields", "DerError", "name_text", "read_certificate", "read_public_key"]

BOOLEAN = 0x01
INTEGER = 0x02
BIT_STRING = 0x03
NULL = 0x05
OBJECT_IDENTIFIER = 0x06
ENUMERATED = 0x0A
SEQUENCE = 0x30
SET = 0x31
VERSION = 0xA0  # [0] EXPLICIT
ISSUER_UNIQUE_ID = 0x81  # [1] IMPLICIT
SUBJECT_UNIQUE_ID = 0x82  # [2] IMPLICIT
EXTENSIONS = 0xA3  # [3] EXPLICIT

VERSIONS = (bytes.fromhex("a003020102"), bytes.fromhex("a003020101"))
# RFC 5280, section 4.1.2.5: UTCTime or GeneralizedTime, with seconds, in UTC
VALIDITY = re.compile(rb"0[\x1e-\x22](?:\x17\x0d[0-9]{12}Z|\x18\x0f[0-9]{14}Z){2}")

CONSTRUCTED = 0x20
SEVERAL_OCTETS = 0x1F  # of a tag whose number stands behind it

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
NOT_PLAIN = re.compile(r'[,+"\\<>;=#]|\A | \Z')

LONGEST_NAME = 400  # characters that are shown of a name
MOST_PARTS = 50  # of a name, that are read of one with more
LONGEST_ENCODED = 4  # octets of a character


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


def _check_elements(data: bytes, start: int, end: int, field: str) -> None:
    """Check that nothing but strict DER stands between two positions, down to the last element.

    One loop, in which nothing calls itself: what is nested deeply ends it no sooner.
    """
    position = start
    ends: list[int] = []
    while True:
        while position == end:
            if not ends:
                return
            end = ends.pop()
        if position + 2 > end:
            raise DerError(f"{field}: an element is cut off")
        tag = data[position]
        length = data[position + 1]
        position += 2
        if length >= 0x80:
            position, content_end = _content(data, position - 2, end, tag, field)
        else:
            content_end = position + length
            if content_end > end:
                raise DerError(f"{field}: an element is longer than what surrounds it")
        if tag & CONSTRUCTED:
            if tag < 0x40 and tag not in (SEQUENCE, SET):
                raise DerError(f"{field}: a value in pieces (tag 0x{tag:02x})")
            if tag & SEVERAL_OCTETS == SEVERAL_OCTETS:
                raise DerError(f"{field}: a tag of several octets")
            ends.append(end)
            end = content_end
        else:
            check = CHECKS.get(tag)
            if check is not None:
                check(data, position, content_end, field)
            elif tag & SEVERAL_OCTETS == SEVERAL_OCTETS:
                raise DerError(f"{field}: a tag of several octets")
            position = content_end


def _check_integer(data: bytes, start: int, end: int, field: str) -> None:
    if start == end:
        raise DerError(f"{field}: an integer without octets")
    # X.690, clause 8.3.2: the first nine bits are not all alike
    if end - start > 1 and data[start] in (0x00, 0xFF) and data[start] >> 7 == data[start + 1] >> 7:
        raise DerError(f"{field}: an integer is not in its shortest form")


def _check_boolean(data: bytes, start: int, end: int, field: str) -> None:
    if end - start != 1 or data[start] not in (0x00, 0xFF):
        raise DerError(f"{field}: a boolean is neither true nor false")


def _check_bits(data: bytes, start: int, end: int, field: str) -> None:
    unused = data[start] if start < end else 8
    if unused > 7 or (unused and (end - start == 1 or data[end - 1] & ((1 << unused) - 1))):
        raise DerError(f"{field}: a bit string with stray bits at its end")


def _check_null(data: bytes, start: int, end: int, field: str) -> None:
    if start != end:
        raise DerError(f"{field}: a null with content")


def _check_identifier(data: bytes, start: int, end: int, field: str) -> None:
    if start == end or data[end - 1] >= 0x80:
        raise DerError(f"{field}: an object identifier is cut off")
    # X.690, clause 8.19.2: no part begins with an octet that says nothing
    if data[start] == 0x80 or STRAY_ZERO.search(data, start, end):
        raise DerError(f"{field}: an object identifier is not in its shortest form")


def _check_nothing(data: bytes, start: int, end: int, field: str) -> None:
    raise DerError(f"{field}: a value that DER does not have")


STRAY_ZERO = re.compile(rb"[\x00-\x7f]\x80")
CHECKS = {
    0x00: _check_nothing,  # the end of an indefinite length
    BOOLEAN: _check_boolean,
    INTEGER: _check_integer,
    BIT_STRING: _check_bits,
    NULL: _check_null,
    OBJECT_IDENTIFIER: _check_identifier,
    ENUMERATED: _check_integer,
    SEQUENCE & ~CONSTRUCTED: _check_nothing,
    SET & ~CONSTRUCTED: _check_nothing,
}


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
        _, version_end = _content(der, position, tbs_end, VERSION, "version")
        if der[position:version_end] not in VERSIONS:
            raise DerError("version: neither 1 (which is left out), 2 nor 3")
        position = version_end
    position = _check_number(der, position, tbs_end, "serialNumber")
    signature = position
    position = signature_end = _check_algorithm(der, position, tbs_end, "signature")
    issuer = position
    _, position = _content(der, issuer, tbs_end, SEQUENCE, "issuer")
    issuer_end = position
    validity = position
    _, subject = _content(der, validity, tbs_end, SEQUENCE, "validity")
    if not VALIDITY.fullmatch(der, validity, subject):
        raise DerError("validity: not two times in the form of RFC 5280")
    _, public_key = _content(der, subject, tbs_end, SEQUENCE, "subject")
    position = public_key_end = _find_public_key(der, public_key, tbs_end)
    for tag, field in (
        (ISSUER_UNIQUE_ID, "issuerUniqueID"),
        (SUBJECT_UNIQUE_ID, "subjectUniqueID"),
        (EXTENSIONS, "extensions"),
    ):
        if position < tbs_end and der[position] == tag:
            _, position = _content(der, position, tbs_end, tag, field)
    _nothing_after(position, tbs_end, "tbsCertificate")
    position = tbs_end + signature_end - signature
    if der[tbs_end:position] != der[signature:signature_end]:  # which it has to be a copy of
        position = _check_algorithm(der, tbs_end, end, "signatureAlgorithm")
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
    end = len(der)
    _nothing_after(_find_public_key(der, 0, end), end, "subjectPublicKeyInfo")
    return der


def _find_public_key(der: bytes, start: int, end: int) -> int:
    begin, end = _content(der, start, end, SEQUENCE, "subjectPublicKeyInfo")
    position = _check_algorithm(der, begin, end, "algorithm")
    position = _octets(der, position, end, "subjectPublicKey")
    _nothing_after(position, end, "subjectPublicKeyInfo")
    return end


def _check_algorithm(der: bytes, start: int, end: int, field: str) -> int:
    """Where an AlgorithmIdentifier ends: an identifier, and one element of parameters at most."""
    begin, end = _content(der, start, end, SEQUENCE, field)
    _, position = _content(der, begin, end, OBJECT_IDENTIFIER, "algorithm identifier")
    if position < end:
        _, position = _content(der, position, end, der[position], "algorithm parameters")
    _nothing_after(position, end, field)
    _check_elements(der, begin, end, field)
    return end


def _check_number(der: bytes, start: int, end: int, field: str) -> int:
    """Where an INTEGER ends."""
    begin, end = _content(der, start, end, INTEGER, field)
    _check_integer(der, begin, end, field)
    return end


def name_text(name: bytes, longest: int = LONGEST_NAME) -> str:
    """Write a distinguished name for people to read, in the manner of RFC 4514.

    Control characters are escaped: the text goes into logs and terminals, and the server chose it.
    Only as much of a long name is read as is shown; the text ends with an ellipsis then.

    Args:
        name: a Name in DER.
        longest: how many characters are shown, the ellipsis not among them.

    Raises:
        DerError: not a Name (RFC 5280, section 4.1.2.4).
    """
    position, end = _content(name, 0, len(name), SEQUENCE, "Name")
    _nothing_after(end, len(name), "Name")
    parts: list[tuple[int, int]] = []
    while position < end and len(parts) < MOST_PARTS:
        inner, position = _content(name, position, end, SET, "RelativeDistinguishedName")
        if inner == position:
            raise DerError("RelativeDistinguishedName: empty")
        parts.append((inner, position))
    text = _BoundedText(longest)
    if not _write_parts(text, name, parts[::-1]) or position < end:
        text.parts.append("…")
    return "".join(text.parts)


class _Full(Exception):
    """No more is shown."""


class _BoundedText:
    def __init__(self, room: int) -> None:
        self.room = room
        self.parts: list[str] = []

    def write(self, text: str) -> None:
        if len(text) > self.room:
            raise _Full
        self.room -= len(text)
        self.parts.append(text)


def _write_parts(text: _BoundedText, name: bytes, parts: list[tuple[int, int]]) -> bool:
    """Write RelativeDistinguishedNames; False if there was no room for all."""
    try:
        for index, (start, stop) in enumerate(parts):
            text.write("," * bool(index))
            _write_part(text, name, start, stop)
    except _Full:
        return False
    return True


def _write_part(text: _BoundedText, name: bytes, position: int, end: int) -> None:
    """Write a RelativeDistinguishedName."""
    plus = ""
    while position < end:
        begin, position = _content(name, position, end, SEQUENCE, "AttributeTypeAndValue")
        text.write(plus)
        _write_attribute(text, name, begin, position)
        plus = "+"


def _write_attribute(text: _BoundedText, name: bytes, start: int, end: int) -> None:
    begin, value = _content(name, start, end, OBJECT_IDENTIFIER, "AttributeType")
    identifier = name[begin:value]
    if value >= end:
        raise DerError("AttributeValue: missing")
    tag = name[value]
    begin, value_end = _content(name, value, end, tag, "AttributeValue")
    _nothing_after(value_end, end, "AttributeTypeAndValue")
    label = ATTRIBUTE_NAMES.get(identifier)
    if label is None:
        text.write("oid.")
        _write_hexadecimal(text, identifier)
    else:
        text.write(label)
    shown = _decoded(name, begin, value_end, STRING_ENCODINGS.get(tag), text.room)
    if shown is None:
        text.write("=#")
        _write_hexadecimal(text, name[value:value_end])
    else:
        text.write("=")
        _write_escaped(text, shown)


def _decoded(name: bytes, start: int, end: int, encoding: str | None, room: int) -> str | None:
    """The text of a value, or as much of its beginning as there is room for; None if it is none."""
    if encoding is None:
        return None
    shown = min(end, start + LONGEST_ENCODED * (room + 1))
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        return decoder.decode(name[start:shown], final=shown == end)
    except UnicodeDecodeError:
        return None


def _write_hexadecimal(text: _BoundedText, octets: bytes) -> None:
    room = text.room // 2
    text.write(octets[:room].hex())
    if len(octets) > room:
        raise _Full


def _write_escaped(text: _BoundedText, value: str) -> None:
    if len(value) <= text.room and value.isprintable() and not NOT_PLAIN.search(value):
        text.write(value)
        return
    last = len(value) - 1
    for index, character in enumerate(value):
        is_edge = character == " " and index in (0, last)
        text.write("\\ " if is_edge else _escaped_character(character))


def _escaped_character(character: str) -> str:
    if character in SPECIAL:
        return "\\" + character
    if character.isprintable():
        return character
    return "".join(f"\\{octet:02x}" for octet in character.encode("utf-8"))
