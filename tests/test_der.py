"""The DER reader: strict about every field that it passes, and the same key as others see."""

import re
import shutil
import ssl
import subprocess
import warnings
from collections.abc import Callable
from pathlib import Path

import certifi
import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tlv import (
    BIT_STRING,
    INTEGER,
    NULL,
    OBJECT_IDENTIFIER,
    OCTET_STRING,
    PRINTABLE_STRING,
    SEQUENCE,
    SET,
    UTC_TIME,
    UTF8_STRING,
    children,
    content_of,
    tlv,
)

from keypin import CertificateFormatError, Pin, PinFormatError
from keypin._internal.der import DerError, name_text, read_certificate, read_public_key

CORPUS = {
    path.stem: path.read_bytes()
    for path in sorted(Path(__file__).parent.joinpath("corpus", "certificates").glob("*.der"))
}
corpus = pytest.mark.parametrize("certificate", CORPUS.values(), ids=CORPUS)

openssl = shutil.which("openssl")
needs_openssl = pytest.mark.skipif(openssl is None, reason="needs openssl (make system-deps)")

# One certificate (RFC 5280, section 4.1) field by field, so that any of them can be wrong. The
# values mean nothing.

ALGORITHM = tlv(SEQUENCE, tlv(OBJECT_IDENTIFIER, b"\x2b\x65\x70"))


def name(*values: bytes, identifier: bytes = b"\x55\x04\x03") -> bytes:
    """Write a Name with one attribute in each of its parts."""
    attributes = (tlv(SEQUENCE, tlv(OBJECT_IDENTIFIER, identifier), value) for value in values)
    return tlv(SEQUENCE, *(tlv(SET, attribute) for attribute in attributes))


def organization(value: bytes) -> bytes:
    return name(value, identifier=b"\x55\x04\x0a")


TBS = {
    "version": tlv(0xA0, tlv(INTEGER, b"\x02")),
    "serialNumber": tlv(INTEGER, b"\x01"),
    "signature": ALGORITHM,
    "issuer": name(tlv(UTF8_STRING, b"issuer")),
    "validity": tlv(SEQUENCE, tlv(UTC_TIME, b"250101000000Z"), tlv(UTC_TIME, b"491231235959Z")),
    "subject": name(tlv(UTF8_STRING, b"subject")),
    "subjectPublicKeyInfo": tlv(SEQUENCE, ALGORITHM, tlv(BIT_STRING, b"\0" + bytes(32))),
    "issuerUniqueID": tlv(0x81, b"\0\1"),
    "subjectUniqueID": tlv(0x82, b"\0\2"),
    "extensions": tlv(0xA3, tlv(SEQUENCE)),
}
REST = {
    "signatureAlgorithm": ALGORITHM,
    "signatureValue": tlv(BIT_STRING, b"\0" + bytes(64)),
}
OPTIONAL = {"version", "issuerUniqueID", "subjectUniqueID", "extensions"}
FIELDS = {**TBS, **REST}
REQUIRED = FIELDS.keys() - OPTIONAL


def certificate_with(**changes: bytes) -> bytes:
    """Write the certificate with some fields changed; b"" leaves one out."""
    fields = {**FIELDS, **changes}
    assert fields.keys() == FIELDS.keys()
    tbs = tlv(SEQUENCE, *(fields[field] for field in TBS))
    return tlv(SEQUENCE, tbs, *(fields[field] for field in REST))


def key_with(algorithm: bytes = ALGORITHM, key: bytes = tlv(BIT_STRING, b"\0key")) -> bytes:
    return tlv(SEQUENCE, algorithm, key)


def with_longer_length(element: bytes) -> bytes:
    """Write the length of an element with one octet more than it needs."""
    size = len(content_of(element))
    octets = 1 if size < 0x80 else element[1] - 0x80 + 1
    return bytes([element[0], 0x80 | octets]) + size.to_bytes(octets, "big") + content_of(element)


def with_indefinite_length(element: bytes) -> bytes:
    return bytes([element[0], 0x80]) + content_of(element) + b"\0\0"


def test_the_certificate_that_the_tests_change_is_sound() -> None:
    fields = read_certificate(certificate_with())
    assert fields.issuer == FIELDS["issuer"]
    assert fields.subject == FIELDS["subject"]
    assert fields.public_key == FIELDS["subjectPublicKeyInfo"]


@corpus
def test_the_fields_are_the_raw_bytes_of_the_certificate(certificate: bytes) -> None:
    tbs = children(children(certificate)[0])
    if tbs[0][0] != 0xA0:
        tbs.insert(0, b"")
    assert read_certificate(certificate) == (tbs[3], tbs[5], tbs[6])


@needs_openssl
@corpus
def test_openssl_finds_the_public_key_in_the_same_place(certificate: bytes) -> None:
    listing = subprocess.run(
        [str(openssl), "asn1parse", "-inform", "DER"],
        input=certificate,
        capture_output=True,
        check=True,
    ).stdout.decode("latin-1")
    lines = re.findall(r"^ *(\d+):d=(\d+) +hl=(\d+) +l= *(\d+) (\w+)", listing, re.MULTILINE)
    tbs = [
        (int(offset), int(header) + int(length), kind)
        for offset, depth, header, length, kind in lines
        if depth == "2"
    ]
    has_version = certificate[tbs[0][0]] == 0xA0
    offset, size, _ = tbs[6 if has_version else 5]
    assert read_certificate(certificate).public_key == certificate[offset : offset + size]


# Strictness


@pytest.mark.parametrize("field", sorted(OPTIONAL))
def test_an_optional_field_may_be_missing(field: str) -> None:
    key = FIELDS["subjectPublicKeyInfo"]
    assert read_certificate(certificate_with(**{field: b""})).public_key == key


def test_all_optional_fields_may_be_missing() -> None:
    certificate = certificate_with(**dict.fromkeys(OPTIONAL, b""))
    assert read_certificate(certificate).public_key == FIELDS["subjectPublicKeyInfo"]


@pytest.mark.parametrize("field", sorted(REQUIRED))
def test_a_required_field_must_be_there(field: str) -> None:
    with pytest.raises(DerError):
        read_certificate(certificate_with(**{field: b""}))


@pytest.mark.parametrize("field", sorted(REQUIRED))
def test_a_field_with_a_wrong_tag_is_named(field: str) -> None:
    wrong = tlv(OCTET_STRING, content_of(FIELDS[field]))
    with pytest.raises(DerError, match=rf"^{field}: expected tag .*found 0x04"):
        read_certificate(certificate_with(**{field: wrong}))


@pytest.mark.parametrize("field", sorted(OPTIONAL))
def test_an_optional_field_with_a_wrong_tag_is_an_error(field: str) -> None:
    wrong = tlv(OCTET_STRING, content_of(FIELDS[field]))
    with pytest.raises(DerError):
        read_certificate(certificate_with(**{field: wrong}))


@pytest.mark.parametrize(
    "tag",
    [0x10, 0x31, 0x70, 0xB0, 0x3F],
    ids=["primitive", "SET", "application", "context", "long form"],
)
def test_a_sequence_has_one_tag_only(tag: int) -> None:
    certificate = certificate_with()
    tbs, *rest = children(certificate)
    for wrong in (
        bytes([tag]) + certificate[1:],
        tlv(SEQUENCE, bytes([tag]) + tbs[1:], *rest),
        certificate_with(subjectPublicKeyInfo=bytes([tag]) + FIELDS["subjectPublicKeyInfo"][1:]),
    ):
        with pytest.raises(DerError):
            read_certificate(wrong)


@pytest.mark.parametrize("again", ["issuerUniqueID", "subjectUniqueID", "extensions"])
def test_a_field_comes_once(again: str) -> None:
    with pytest.raises(DerError, match="tbsCertificate"):
        read_certificate(certificate_with(**{again: FIELDS[again] * 2}))


def test_optional_fields_come_in_order() -> None:
    swapped = {
        "issuerUniqueID": FIELDS["subjectUniqueID"],
        "subjectUniqueID": FIELDS["issuerUniqueID"],
    }
    with pytest.raises(DerError, match="tbsCertificate"):
        read_certificate(certificate_with(**swapped))


def test_nothing_is_looked_for_behind_the_end() -> None:
    tbs, *_ = children(certificate_with(issuerUniqueID=b"", subjectUniqueID=b"", extensions=b""))
    for fields in range(len(children(tbs)) + 1):
        shorter = tlv(SEQUENCE, *children(tbs)[:fields])
        with pytest.raises(DerError, match="missing or cut off"):
            read_certificate(tlv(SEQUENCE, shorter))


def test_a_second_public_key_is_not_skipped() -> None:
    """What a lax reader passes over must not decide which key is pinned."""
    key = FIELDS["subjectPublicKeyInfo"]
    with pytest.raises(DerError, match="tbsCertificate"):
        read_certificate(certificate_with(subjectPublicKeyInfo=key + key_with()))


@pytest.mark.parametrize("spoil", [with_longer_length, with_indefinite_length])
@pytest.mark.parametrize("field", FIELDS)
def test_each_field_has_a_definite_length_in_its_shortest_form(
    field: str, spoil: Callable[[bytes], bytes]
) -> None:
    with pytest.raises(DerError, match=rf"^{field}: .*length"):
        read_certificate(certificate_with(**{field: spoil(FIELDS[field])}))


@pytest.mark.parametrize("spoil", [with_longer_length, with_indefinite_length])
def test_the_outer_lengths_are_definite_and_in_their_shortest_form(
    spoil: Callable[[bytes], bytes],
) -> None:
    certificate = certificate_with()
    tbs, *rest = children(certificate)
    with pytest.raises(DerError, match=r"^Certificate: .*length"):
        read_certificate(spoil(certificate))
    with pytest.raises(DerError, match=r"^tbsCertificate: .*length"):
        read_certificate(tlv(SEQUENCE, spoil(tbs), *rest))


@pytest.mark.parametrize("spoil", [with_longer_length, with_indefinite_length])
def test_the_lengths_inside_a_public_key_are_definite_and_in_their_shortest_form(
    spoil: Callable[[bytes], bytes],
) -> None:
    key = tlv(BIT_STRING, b"\0key")
    identifier = tlv(SEQUENCE, spoil(content_of(ALGORITHM)))
    for wrong in (
        spoil(key_with()),
        key_with(algorithm=spoil(ALGORITHM)),
        key_with(algorithm=identifier),
        key_with(key=spoil(key)),
    ):
        with pytest.raises(DerError, match="length"):
            read_public_key(wrong)


OID = tlv(OBJECT_IDENTIFIER, b"\x2b\x65\x70")
# Parameters of an algorithm, as curves and RSASSA-PSS have them: any of DER, but nothing else
PARAMETERS = {
    "none": b"",
    "null": tlv(NULL),
    "a named curve": OID,
    "numbers": tlv(
        SEQUENCE, tlv(INTEGER, b"\0\x80"), tlv(INTEGER, b"\xff\x7f"), tlv(INTEGER, b"\0")
    ),
    "tables in tables": tlv(0xA0, tlv(SEQUENCE, OID, tlv(0xA1, tlv(SET, tlv(0x01, b"\xff"))))),
    "bits": tlv(SEQUENCE, tlv(BIT_STRING, b"\x03\xf8"), tlv(BIT_STRING, b"\0"), tlv(0x80, b"\1")),
}
NO_PARAMETERS = {
    "null, long length": b"\x05\x81\x00",
    "null, indefinite": b"\x05\x80\x00\x00",
    "null with content": tlv(NULL, b"\0"),
    "two of them": tlv(NULL) * 2,
    "half of one": b"\x05",
    "long length inside": tlv(SEQUENCE, tlv(0xA0, b"\x04\x81\x01x")),
    "five octets of length": tlv(SEQUENCE, b"\x04\x85\0\0\0\0\x01x"),
    "longer than what surrounds it": tlv(SEQUENCE, b"\x04\x02x"),
    "cut off inside": tlv(SEQUENCE, b"\x04"),
    "cut off inside its length": tlv(SEQUENCE, b"\x04\x82\x01"),
    "end of contents": tlv(SEQUENCE, b"\0\0"),
    "integer, leading zeros": tlv(SEQUENCE, tlv(INTEGER, b"\0\x7f")),
    "integer, leading ones": tlv(SEQUENCE, tlv(INTEGER, b"\xff\x80")),
    "integer, empty": tlv(SEQUENCE, tlv(INTEGER)),
    "enumerated, leading zeros": tlv(SEQUENCE, tlv(0x0A, b"\0\0")),
    "boolean, neither": tlv(SEQUENCE, tlv(0x01, b"\x01")),
    "boolean, two": tlv(SEQUENCE, tlv(0x01, b"\xff\xff")),
    "bits, empty": tlv(SEQUENCE, tlv(BIT_STRING)),
    "bits, eight unused": tlv(SEQUENCE, tlv(BIT_STRING, b"\x08\0")),
    "bits, unused but set": tlv(SEQUENCE, tlv(BIT_STRING, b"\x03\xff")),
    "bits, unused of none": tlv(SEQUENCE, tlv(BIT_STRING, b"\x01")),
    "bits in pieces": tlv(BIT_STRING | 0x20, tlv(BIT_STRING, b"\0x")),
    "octets in pieces": tlv(OCTET_STRING | 0x20, tlv(OCTET_STRING, b"x")),
    "text in pieces": tlv(UTF8_STRING | 0x20, tlv(OCTET_STRING, b"x")),
    "identifier, empty": tlv(OBJECT_IDENTIFIER),
    "identifier, cut off": tlv(OBJECT_IDENTIFIER, b"\x2b\x80"),
    "identifier, stray zero": tlv(OBJECT_IDENTIFIER, b"\x2b\x80\x01"),
    "identifier, stray zero in front": tlv(OBJECT_IDENTIFIER, b"\x80\x2b"),
    "sequence, not constructed": tlv(SEQUENCE & ~0x20),
    "set, not constructed": tlv(SET & ~0x20),
    "tag of several octets": tlv(SEQUENCE, b"\x1f\x1f\0"),
    "constructed tag of several octets": tlv(SEQUENCE, b"\xbf\x1f\0"),
}
IN_WHICH = {
    "signature": lambda algorithm: certificate_with(signature=algorithm),
    "signatureAlgorithm": lambda algorithm: certificate_with(signatureAlgorithm=algorithm),
    "both": lambda each: certificate_with(signature=each, signatureAlgorithm=each),
    "key": lambda each: certificate_with(subjectPublicKeyInfo=key_with(algorithm=each)),
}
in_each_algorithm = pytest.mark.parametrize("make", IN_WHICH.values(), ids=IN_WHICH)


@in_each_algorithm
@pytest.mark.parametrize("parameters", PARAMETERS.values(), ids=PARAMETERS)
def test_any_parameters_of_an_algorithm_are_read(
    make: Callable[[bytes], bytes], parameters: bytes
) -> None:
    assert read_certificate(make(tlv(SEQUENCE, OID, parameters)))


@in_each_algorithm
@pytest.mark.parametrize("parameters", NO_PARAMETERS.values(), ids=NO_PARAMETERS)
def test_parameters_of_an_algorithm_that_are_not_strict_der_are_refused(
    make: Callable[[bytes], bytes], parameters: bytes
) -> None:
    algorithm = tlv(SEQUENCE, OID, parameters)
    with pytest.raises(DerError):
        read_certificate(make(algorithm))
    with pytest.raises(DerError):
        read_public_key(key_with(algorithm=algorithm))


def test_parameters_may_be_nested_deeply() -> None:
    nested = b""
    for _ in range(5000):
        nested = tlv(SEQUENCE, nested)
    assert read_public_key(key_with(algorithm=tlv(SEQUENCE, OID, nested)))


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("version", tlv(0xA0, tlv(INTEGER, b"\0"))),  # the default, which DER leaves out
        ("version", tlv(0xA0, tlv(INTEGER, b"\x03"))),
        ("version", tlv(0xA0, tlv(INTEGER, b"\0\x02"))),
        ("version", tlv(0xA0, tlv(INTEGER, b"\x02"), tlv(NULL))),
        ("version", tlv(0xA0)),
        ("serialNumber", tlv(INTEGER)),
        ("serialNumber", tlv(INTEGER, b"\0\x01")),
        ("serialNumber", tlv(INTEGER, b"\xff\xff")),
        ("validity", tlv(SEQUENCE)),
        ("validity", tlv(SEQUENCE, tlv(UTC_TIME, b"250101000000Z"))),
        ("validity", tlv(SEQUENCE, *[tlv(UTC_TIME, b"250101000000Z")] * 3)),
        ("validity", tlv(SEQUENCE, *[tlv(UTC_TIME, b"2501010000Z")] * 2)),
        ("validity", tlv(SEQUENCE, *[tlv(UTC_TIME, b"250101000000+0000")] * 2)),
        ("validity", tlv(SEQUENCE, *[tlv(0x18, b"20250101000000.5Z")] * 2)),
        ("validity", tlv(SEQUENCE, *[with_longer_length(tlv(UTC_TIME, b"250101000000Z"))] * 2)),
    ],
)
def test_numbers_and_times_are_written_in_the_one_way(field: str, wrong: bytes) -> None:
    with pytest.raises(DerError, match=field):
        read_certificate(certificate_with(**{field: wrong}))


def test_late_times_are_read() -> None:
    late = tlv(SEQUENCE, tlv(UTC_TIME, b"491231235959Z"), tlv(0x18, b"20500101000000Z"))
    assert read_certificate(certificate_with(validity=late))
    assert read_certificate(certificate_with(version=tlv(0xA0, tlv(INTEGER, b"\x01"))))
    assert read_certificate(certificate_with(serialNumber=tlv(INTEGER, b"\0\xff")))


@pytest.mark.parametrize("size", [0x7F, 0x80, 0xFF, 0x100, 0xFFFF, 0x10000, 0x123456])
def test_lengths_of_every_size_are_read(size: int) -> None:
    key = key_with(key=tlv(BIT_STRING, b"\0", bytes(size)))
    certificate = certificate_with(subjectPublicKeyInfo=key)
    assert read_certificate(certificate).public_key == key
    assert read_public_key(key) == key


@pytest.mark.parametrize(
    "header", [b"\x30\x85\0\0\0\0\x01", b"\x30\xff", b"\x30\xfe" + b"\xff" * 126, b"\x30\x80"]
)
def test_lengths_of_more_than_four_octets_are_refused(header: bytes) -> None:
    with pytest.raises(DerError, match="indefinite or oversized"):
        read_certificate(header + bytes(200))


@pytest.mark.parametrize("header", [b"\x30\x81", b"\x30\x82\x01", b"\x30\x84\x01\x01\x01"])
def test_a_length_cut_off_is_refused(header: bytes) -> None:
    with pytest.raises(DerError, match="cut off inside its length"):
        read_certificate(header)


@pytest.mark.parametrize("field", FIELDS)
def test_no_field_reaches_beyond_what_surrounds_it(field: str) -> None:
    """A length that is one too large takes in the next field, or ends outside."""
    element = FIELDS[field]
    assert element[1] < 0x7F
    longer = bytes([element[0], element[1] + 1]) + element[2:]
    with pytest.raises(DerError):
        read_certificate(certificate_with(**{field: longer}))
    beyond = bytes([element[0], 0x84]) + b"\xff" * 4 + element[2:]
    with pytest.raises(DerError, match=f"^{field}: longer than"):
        read_certificate(certificate_with(**{field: beyond}))


def test_nothing_follows_a_certificate() -> None:
    for more in (b"\0", b"\0\0", certificate_with()):
        with pytest.raises(DerError, match=f"^Certificate: {len(more)} bytes too many"):
            read_certificate(certificate_with() + more)


def test_nothing_follows_the_last_field_at_any_level() -> None:
    more = tlv(NULL)
    tbs, *rest = children(certificate_with())
    longer_tbs = tlv(SEQUENCE, content_of(tbs), more)
    longer_key = tlv(SEQUENCE, content_of(FIELDS["subjectPublicKeyInfo"]), more)
    for wrong in (
        tlv(SEQUENCE, tbs, *rest, more),
        tlv(SEQUENCE, longer_tbs, *rest),
        certificate_with(subjectPublicKeyInfo=longer_key),
    ):
        with pytest.raises(DerError, match="2 bytes too many"):
            read_certificate(wrong)


def test_nothing_follows_a_public_key() -> None:
    with pytest.raises(DerError, match=r"^subjectPublicKeyInfo: 1 bytes too many"):
        read_public_key(key_with() + b"\0")


@corpus
def test_a_certificate_cut_off_anywhere_is_refused(certificate: bytes) -> None:
    for size in range(len(certificate)):
        with pytest.raises(DerError):
            read_certificate(certificate[:size])


@corpus
def test_a_public_key_cut_off_anywhere_is_refused(certificate: bytes) -> None:
    key = read_certificate(certificate).public_key
    assert read_public_key(key) == key
    for size in range(len(key)):
        with pytest.raises(DerError):
            read_public_key(key[:size])


@corpus
def test_a_certificate_without_its_first_bytes_is_refused(certificate: bytes) -> None:
    for start in range(1, len(certificate)):
        with pytest.raises(DerError):
            read_certificate(certificate[start:])


@pytest.mark.parametrize(
    "bits", [b"", b"\x01\xfe", b"\x07\x80", b"\x08\x00", b"\xff\x00"], ids=bytes.hex
)
def test_keys_and_signatures_are_whole_octets(bits: bytes) -> None:
    """A BIT STRING says first how many of its last bits are unused (X.690, clause 8.6.2)."""
    with pytest.raises(DerError, match=r"^subjectPublicKey: not a whole"):
        read_public_key(key_with(key=tlv(BIT_STRING, bits)))
    with pytest.raises(DerError, match=r"^signatureValue: not a whole"):
        read_certificate(certificate_with(signatureValue=tlv(BIT_STRING, bits)))


def test_a_bit_string_in_pieces_is_refused() -> None:
    pieces = tlv(BIT_STRING | 0x20, tlv(BIT_STRING, b"\0ke"), tlv(BIT_STRING, b"\0y"))
    with pytest.raises(DerError, match=r"^subjectPublicKey: expected tag 0x03, found 0x23"):
        read_public_key(key_with(key=pieces))


def test_a_public_key_names_its_algorithm() -> None:
    for algorithm in (tlv(SEQUENCE), tlv(SEQUENCE, tlv(NULL)), tlv(OBJECT_IDENTIFIER, b"\x2a")):
        with pytest.raises(DerError, match=r"^algorithm"):
            read_public_key(key_with(algorithm=algorithm))


@pytest.mark.parametrize("value", ["text", bytearray(100), None, [0x30]], ids=repr)
def test_only_bytes_are_read(value: object) -> None:
    for read in (read_certificate, read_public_key):
        with pytest.raises(DerError, match="bytes are needed"):
            read(value)  # type: ignore[operator]


# Names


def test_a_name_is_written_last_part_first() -> None:
    """RFC 4514, section 2.1."""
    country = tlv(SEQUENCE, tlv(OBJECT_IDENTIFIER, b"\x55\x04\x06"), tlv(PRINTABLE_STRING, b"CH"))
    common = tlv(SEQUENCE, tlv(OBJECT_IDENTIFIER, b"\x55\x04\x03"), tlv(UTF8_STRING, b"www"))
    assert name_text(tlv(SEQUENCE, tlv(SET, country), tlv(SET, common))) == "CN=www,C=CH"
    assert name_text(tlv(SEQUENCE, tlv(SET, country, common))) == "C=CH+CN=www"


def test_an_empty_name_is_an_empty_text() -> None:
    assert name_text(tlv(SEQUENCE)) == ""


def test_the_names_of_the_corpus_are_readable() -> None:
    assert name_text(read_certificate(CORPUS["p-256"]).subject) == "CN=p-256"
    assert name_text(read_certificate(CORPUS["empty-subject"]).subject) == ""
    assert name_text(read_certificate(CORPUS["names"]).subject) == (
        "CN=Büro+emailAddress=a@example.com"
        ",oid.2a03=x"
        r",OU=\1b[2J\0d\0a\00\e2\80\ae"
        r",OU=\#1\, \"A\"\+B\; \<C\>\=\\\ "
        ",O=Bücher,L=Zürich,ST=Zürich,C=CH"
    )


@pytest.mark.parametrize(
    ("identifier", "label"),
    [
        ("550403", "CN"),
        ("550407", "L"),
        ("550408", "ST"),
        ("55040a", "O"),
        ("55040b", "OU"),
        ("550406", "C"),
        ("550409", "STREET"),
        ("0992268993f22c640119", "DC"),
        ("0992268993f22c640101", "UID"),
    ],
)
def test_the_attribute_names_are_those_of_rfc_4514(identifier: str, label: str) -> None:
    """RFC 4514, section 3."""
    subject = name(tlv(UTF8_STRING, b"x"), identifier=bytes.fromhex(identifier))
    assert name_text(subject) == f"{label}=x"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (tlv(0x0C, "Zoë".encode()), "Zoë"),
        (tlv(0x12, b"0 1"), "0 1"),
        (tlv(0x13, b"Zoe"), "Zoe"),
        (tlv(0x14, b"Zo\xeb"), "Zoë"),
        (tlv(0x16, b"Zoe"), "Zoe"),
        (tlv(0x1C, "Zoë".encode("utf-32-be")), "Zoë"),
        (tlv(0x1E, "Zoë".encode("utf-16-be")), "Zoë"),
        (tlv(0x1E, "\U0001f511".encode("utf-16-be")), "\U0001f511"),
    ],
)
def test_each_string_type_is_decoded(value: bytes, text: str) -> None:
    assert name_text(organization(value)) == f"O={text}"


@pytest.mark.parametrize(
    "value",
    [
        tlv(0x0C, b"\xff"),
        tlv(0x0C, b"\xc0\x80"),
        tlv(0x0C, b"\xed\xa0\x80"),
        tlv(0x13, b"Zo\xeb"),
        tlv(0x16, b"\x80"),
        tlv(0x1C, b"\0\0\0"),
        tlv(0x1C, b"\0\x11\0\0"),
        tlv(0x1E, b"\0"),
        tlv(0x1E, b"\xd8\x00"),
        tlv(INTEGER, b"\x05"),
        tlv(OCTET_STRING, b"\x1b[2J"),
        tlv(SEQUENCE, tlv(UTF8_STRING, b"inside")),
    ],
    ids=bytes.hex,
)
def test_a_value_that_is_no_text_is_written_in_hexadecimal(value: bytes) -> None:
    """RFC 4514, section 2.4: a number sign, and the value's encoding with its tag and length."""
    assert name_text(organization(value)) == f"O=#{value.hex()}"


def test_a_text_cannot_pass_for_a_value_in_hexadecimal() -> None:
    assert name_text(organization(tlv(UTF8_STRING, b"#0500"))) == r"O=\#0500"


@pytest.mark.parametrize(
    ("text", "written"),
    [
        (" a", r"\ a"),
        ("a ", r"a\ "),
        ("a b", "a b"),
        (" ", r"\ "),
        ("  ", r"\ \ "),
        ("a,CN=b", r"a\,CN\=b"),
        ('"+;<>\\', r"\"\+\;\<\>\\"),
        ("\0", r"\00"),
        ("\n", r"\0a"),
        ("\x1b[31m", r"\1b[31m"),
        ("\x7f", r"\7f"),
        ("\x9b", r"\c2\9b"),
        ("\u202e", r"\e2\80\ae"),
        ("\u2028", r"\e2\80\a8"),
        ("\ufeff", r"\ef\bb\bf"),
        ("\u00a0", r"\c2\a0"),
    ],
)
def test_what_means_something_to_a_reader_or_a_terminal_is_escaped(text: str, written: str) -> None:
    assert name_text(organization(tlv(UTF8_STRING, text.encode()))) == f"O={written}"


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
@example(" ")
@example("\\ ")
@example("#\\,")
def test_a_text_can_be_read_back(text: str) -> None:
    """Nothing is lost, and no text looks like two attributes: cryptography reads the same."""
    written = name_text(organization(tlv(UTF8_STRING, text.encode())))
    assert written.isprintable()
    (part,) = x509.Name.from_rfc4514_string(written)
    assert (part.oid, part.value) == (NameOID.ORGANIZATION_NAME, text)


VALUE = tlv(UTF8_STRING, b"x")
IDENTIFIER = tlv(OBJECT_IDENTIFIER, b"\x2a\x03")


NO_NAMES = {
    "nothing": b"",
    "a SET": tlv(SET),
    "bytes after": tlv(SEQUENCE) + b"\0",
    "no SET inside": tlv(SEQUENCE, tlv(SEQUENCE)),
    "an empty part": tlv(SEQUENCE, tlv(SET)),
    "no attribute": tlv(SEQUENCE, tlv(SET, VALUE)),
    "an empty attribute": tlv(SEQUENCE, tlv(SET, tlv(SEQUENCE))),
    "no type": tlv(SEQUENCE, tlv(SET, tlv(SEQUENCE, VALUE))),
    "no value": tlv(SEQUENCE, tlv(SET, tlv(SEQUENCE, IDENTIFIER))),
    "two values": tlv(SEQUENCE, tlv(SET, tlv(SEQUENCE, IDENTIFIER, VALUE, VALUE))),
    "half a value": tlv(SEQUENCE, tlv(SET, tlv(SEQUENCE, IDENTIFIER, b"\x0c"))),
    "a long value": tlv(SEQUENCE, tlv(SET, tlv(SEQUENCE, IDENTIFIER, b"\x0c\x05x"))),
}


@pytest.mark.parametrize("wrong", NO_NAMES.values(), ids=NO_NAMES)
def test_what_is_no_name_is_an_error(wrong: bytes) -> None:
    with pytest.raises(DerError):
        name_text(wrong)


# Mutations. A finding becomes an @example, or a file of the corpus.


Mutation = tuple[str, int, bytes]

MUTATIONS = st.lists(
    st.tuples(
        st.sampled_from(["replace", "insert", "delete", "repeat"]),
        st.integers(0, 2**16),
        st.binary(min_size=1, max_size=4)
        | st.sampled_from([b"\x00", b"\x80", b"\xff", b"\x30", b"\x03", b"\xa0", b"\x81", b"\x1f"]),
    ),
    max_size=4,
)


def mutated(certificate: bytes, mutations: list[Mutation]) -> bytes:
    for kind, where, data in mutations:
        position = where % (len(certificate) or 1)
        after = {
            "replace": certificate[position + len(data) :],
            "insert": certificate[position:],
            "delete": certificate[position + len(data) :],
            "repeat": certificate[max(position - len(data), 0) :],
        }[kind]
        inserted = b"" if kind in {"delete", "repeat"} else data
        certificate = certificate[:position] + inserted + after
    return certificate


def rebuilt(certificate: bytes, field: int, mutations: list[Mutation]) -> bytes:
    """Mutate one field of the tbsCertificate and mend the lengths around it."""
    tbs, *rest = children(certificate)
    fields = children(tbs)
    field %= len(fields)
    fields[field] = mutated(fields[field], mutations)
    return tlv(SEQUENCE, tlv(SEQUENCE, *fields), *rest)


CERTIFICATES = st.sampled_from(list(CORPUS.values()))
MUTANTS = st.builds(mutated, CERTIFICATES, MUTATIONS) | st.builds(
    rebuilt, CERTIFICATES, st.integers(0, 9), MUTATIONS
)


def check_reader(der: bytes) -> None:
    """Read: either fields that are in the certificate and can be printed, or a DerError."""
    try:
        fields = read_certificate(der)
    except DerError:
        with pytest.raises(CertificateFormatError):
            Pin.from_certificate(der)
        return
    tbs = children(children(der)[0])
    assert fields.public_key == tbs[6 if tbs[0][0] == 0xA0 else 5]
    assert Pin.from_certificate(der) == Pin.from_public_key(fields.public_key)
    for text in (fields.issuer, fields.subject):
        try:
            assert name_text(text).isprintable()
        except DerError:
            continue


@settings(max_examples=2000)
@given(MUTANTS)
@example(b"")
@example(b"\x30")
@example(b"\x30\x80")
@example(b"\x30\x84")
def test_a_mutated_certificate_is_read_or_refused(der: bytes) -> None:
    check_reader(der)


@given(st.binary())
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    check_reader(data)


@settings(max_examples=1000)
@given(
    st.builds(mutated, CERTIFICATES.map(lambda der: read_certificate(der).public_key), MUTATIONS)
)
def test_a_mutated_public_key_is_read_or_refused(der: bytes) -> None:
    try:
        assert read_public_key(der) == der
    except DerError:
        with pytest.raises(PinFormatError):
            Pin.from_public_key(der)


@settings(max_examples=1000)
@given(
    st.builds(mutated, CERTIFICATES.map(lambda der: read_certificate(der).subject), MUTATIONS)
    | st.builds(tlv, st.just(SEQUENCE), st.binary())
)
def test_a_mutated_name_is_printable_or_refused(der: bytes) -> None:
    try:
        assert name_text(der).isprintable()
    except DerError:
        return


def parsed_by_cryptography(der: bytes) -> x509.Certificate | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about serial numbers and the like
        try:
            return x509.load_der_x509_certificate(der)
        except (ValueError, x509.InvalidVersion):
            return None


def check_against_cryptography(der: bytes) -> bool:
    """Where both accept, both must see the same key; return whether both did."""
    other = parsed_by_cryptography(der)
    try:
        key = read_certificate(der).public_key
    except DerError:
        return False
    if other is None:
        return False
    tbs = children(other.tbs_certificate_bytes)
    assert key == tbs[5 if other.version is x509.Version.v1 and tbs[0][0] != 0xA0 else 6]
    return True


@settings(max_examples=2000)
@given(MUTANTS)
def test_a_certificate_that_others_read_too_has_the_same_key(der: bytes) -> None:
    check_against_cryptography(der)


@corpus
def test_every_octet_may_be_wrong(certificate: bytes) -> None:
    """A sweep through all octets, each with the values that matter in DER, and its bits flipped."""
    both = 0
    for position, octet in enumerate(certificate):
        values = {octet ^ (1 << bit) for bit in range(8)} | {0x00, 0x30, 0x80, 0x81, 0xA0, 0xFF}
        for value in values - {octet}:
            der = certificate[:position] + bytes([value]) + certificate[position + 1 :]
            both += check_against_cryptography(der)
    assert both > len(certificate)  # else the comparison compares little


def test_what_others_read_strictly_is_read() -> None:
    """The reader refuses no certificate of the corpus, and cryptography agrees about each."""
    assert len(CORPUS) >= 16
    assert all(map(check_against_cryptography, CORPUS.values()))


def test_the_authorities_of_this_system_are_read() -> None:
    """Certificates as they are found in the wild."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    authorities = context.get_ca_certs(binary_form=True)
    assert len(authorities) > 100
    assert all(map(check_against_cryptography, authorities))


LAX = {
    "a long length around the key": lambda: certificate_with(
        subjectPublicKeyInfo=with_longer_length(FIELDS["subjectPublicKeyInfo"])
    ),
    "a key in pieces": lambda: certificate_with(
        subjectPublicKeyInfo=key_with(
            key=tlv(BIT_STRING | 0x20, tlv(BIT_STRING, b"\0" + bytes(32)))
        )
    ),
}


def as_openssl_hands_it_out(certificate: bytes) -> bytes:
    """Read with OpenSSL's lax parser and write again, as happens to every certificate received."""
    done = subprocess.run(
        [str(openssl), "x509", "-inform", "DER", "-outform", "DER"],
        input=certificate,
        capture_output=True,
        check=True,
    )
    return done.stdout


@needs_openssl
@pytest.mark.parametrize("make", LAX.values(), ids=LAX)
def test_a_certificate_that_only_openssl_reads_has_no_pin(make: Callable[[], bytes]) -> None:
    """OpenSSL accepts more than DER; such a key must not get a pin that depends on the reader."""
    with pytest.raises(CertificateFormatError):
        Pin.from_certificate(as_openssl_hands_it_out(make()))
