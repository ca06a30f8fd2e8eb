"""No text of an error or a log line is longer than 10,000 characters, whoever chose what is in it.

What is left out is said to be, and what matters most stands.
"""

from __future__ import annotations

import pickle
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tlv import (
    BIT_STRING,
    INTEGER,
    OBJECT_IDENTIFIER,
    PRINTABLE_STRING,
    SEQUENCE,
    SET,
    UTC_TIME,
    UTF8_STRING,
    tlv,
)

import keypin
from keypin import (
    CertificateFormatError,
    CertificateNotFound,
    HostnameError,
    KeypinError,
    Pin,
    PinFileError,
    PinFileProblem,
    PinFormatError,
    PinMismatch,
    PinSet,
    PinSetError,
    Rule,
)
from keypin._internal.der import LONGEST_NAME, name_text
from keypin.certificate_file import pins_from_files, read_server_certificate
from keypin.hostnames import certificate_names, normalise, normalise_pattern
from keypin.pinfile import HostEntry, PinEntry
from keypin.pinset import subject_of

if TYPE_CHECKING:
    from collections.abc import Callable

LONGEST = 10_000
LONG_HOST = ".".join(["a" * 61] * 4) + ".example"[:5]
ALGORITHM = tlv(SEQUENCE, tlv(OBJECT_IDENTIFIER, b"\x2b\x65\x70"))
DATES = tlv(SEQUENCE, *[tlv(UTC_TIME, b"250101000000Z")] * 2)


def named(*attributes: bytes, identifier: bytes = b"\x55\x04\x03") -> bytes:
    """A Name of one attribute in each of its parts."""
    kind = tlv(OBJECT_IDENTIFIER, identifier)
    return tlv(SEQUENCE, *(tlv(SET, tlv(SEQUENCE, kind, each)) for each in attributes))


def certificate(subject: bytes, number: int = 0) -> bytes:
    key = tlv(SEQUENCE, ALGORITHM, tlv(BIT_STRING, b"\0", number.to_bytes(32)))
    serial = tlv(INTEGER, b"\1")
    version = tlv(0xA0, tlv(INTEGER, b"\2"))
    tbs = tlv(SEQUENCE, version, serial, ALGORITHM, tlv(SEQUENCE), DATES, subject, key)
    return tlv(SEQUENCE, tbs, ALGORITHM, tlv(BIT_STRING, bytes(65)))


def pins(number: int, first: int = 1000) -> list[Pin]:
    return [Pin.from_digest((first + index).to_bytes(32)) for index in range(number)]


SUBJECTS = {
    "a long text": named(tlv(UTF8_STRING, b"x" * 90_000)),
    "what is escaped": named(tlv(UTF8_STRING, "\U000e0001".encode() * 22_500)),
    "control characters": named(tlv(PRINTABLE_STRING, b"\x1b[2J\r\n\0" * 15_000)),
    "text of four octets a character": named(tlv(0x1C, "\u202e".encode("utf-32-be") * 22_000)),
    "commas": named(tlv(UTF8_STRING, b"," * 90_000)),
    "spaces": named(tlv(UTF8_STRING, b" " * 90_000)),
    "no text": named(tlv(UTF8_STRING, b"\xff" * 90_000)),
    "wrong at its end": named(tlv(UTF8_STRING, b"x" * 90_000 + b"\xff")),
    "no string": named(tlv(0x04, b"x" * 90_000)),
    "a long type": named(tlv(UTF8_STRING, b"x"), identifier=b"\x2a" * 90_000),
    "many parts": named(*[tlv(UTF8_STRING, b"part")] * 6_000),
    "many attributes in a part": tlv(
        SEQUENCE,
        tlv(
            SET,
            *[tlv(SEQUENCE, tlv(OBJECT_IDENTIFIER, b"\x55\x04\x03"), tlv(UTF8_STRING, b"x"))]
            * 7000,
        ),
    ),
}
by_subject = pytest.mark.parametrize("subject", SUBJECTS.values(), ids=SUBJECTS)


def bounded(text: str) -> bool:
    return len(text) <= LONGEST and all(line.isprintable() for line in text.split("\n"))


@by_subject
def test_only_the_beginning_of_a_long_name_is_shown(subject: bytes) -> None:
    text = name_text(subject)
    assert text.isprintable()
    assert len(text) <= LONGEST_NAME + 1
    assert text.endswith("…") or "=#ffff" in text[:20]
    assert subject_of(certificate(subject)) == text


@by_subject
@pytest.mark.parametrize("length", [1, 10, 100])
def test_the_report_of_any_chain_is_bounded(subject: bytes, length: int) -> None:
    chain = [certificate(subject, number) for number in range(length)]
    rule = Rule(LONG_HOST, pins(5000), match="leaf")
    verdict = rule.check(LONG_HOST, chain)._replace(port=65535)
    report = verdict.report()
    assert bounded(report)
    lines = report.splitlines()
    assert lines[0] == f"keypin refused {LONG_HOST}:65535: the server's own key is not pinned"
    assert lines[2].startswith(f"    {Pin.from_certificate(chain[0])}  ")
    assert f"    {rule.pins[0]}\n    {rule.pins[1]}" in report
    assert "    … and 4,960 more pins" in lines
    assert ("    … and 92 more certificates" in lines) == (length == 100)
    assert "may be a man in the middle" in report
    assert sum(len(text) for _, text in verdict.served) <= length * (LONGEST_NAME + 1)
    error = PinMismatch(verdict)
    for each in (error, pickle.loads(pickle.dumps(error)), PinMismatch(str(error))):
        assert str(each) == report


def test_a_denied_key_deep_in_a_long_chain_is_still_named() -> None:
    chain = [certificate(SUBJECTS["a long text"], number) for number in range(100)]
    denied = Pin.from_certificate(chain[77])
    report = Rule(LONG_HOST, pins(5000), deny=[denied, *pins(5000, 9000)]).check(LONG_HOST, chain)
    assert bounded(report.report())
    [line] = [line for line in report.report().splitlines() if line.endswith("  <- denied")]
    assert line.startswith(f"    {denied}  CN=xxx")


def test_a_chain_of_denied_keys_is_bounded() -> None:
    chain = [certificate(SUBJECTS["what is escaped"], number) for number in range(100)]
    denied = [Pin.from_certificate(each) for each in chain]
    report = Rule(LONG_HOST, pins(5000), deny=denied).check(LONG_HOST, chain).report()
    assert bounded(report)
    assert "    … and 90 more certificates" in report.splitlines()


def test_a_verdict_that_was_made_by_hand_is_bounded() -> None:
    verdict = Rule(LONG_HOST, pins(1)).check(LONG_HOST, [certificate(SUBJECTS["no text"])])
    verdict = verdict._replace(served=tuple((pin, "x" * 1_000_000) for pin in pins(1000)))
    assert bounded(verdict.report())


@given(st.text(min_size=300) | st.integers(1000, 1_000_000).map(lambda size: "\U000e0001" * size))
@settings(max_examples=50)
def test_no_host_name_makes_a_report_long(host: str) -> None:
    assert bounded(PinSet({"example.com": pins(1)}).check(host, []).report())


def test_long_names_are_read_no_further_than_they_are_shown() -> None:
    """Were all of it escaped, this would take some minutes."""
    subject = named(tlv(UTF8_STRING, "\u202e".encode() * 20_000_000))
    leaf = certificate(subject)
    for _ in range(20):
        assert subject_of(leaf).endswith("…")


def test_of_many_parts_only_some_are_read() -> None:
    """Nothing behind them is looked at, not even whether it is a Name."""
    parts = [tlv(SET, b"\x30\0")] * 100_000
    assert subject_of(certificate(tlv(SEQUENCE, *parts))) == "(unreadable subject)"
    good = named(tlv(UTF8_STRING, b"part"))[2:]
    assert name_text(tlv(SEQUENCE, good * 100, b"\x31\x82")).startswith("CN=part,CN=part,")


# Other errors


BIG = 1_000_000
ANY = "\U000e0001" * BIG
MISTAKES: dict[str, Callable[[], object]] = {
    "no pin": lambda: Pin(ANY),
    "no base64": lambda: Pin("sha256/" + "A" * BIG),
    "no text of a pin": lambda: Pin([ANY] * 100),  # type: ignore[arg-type]
    "no digest": lambda: Pin.from_digest(bytes(BIG)),
    "no bytes": lambda: Pin.from_digest(ANY),  # type: ignore[arg-type]
    "no certificate": lambda: Pin.from_certificate(bytes(BIG)),
    "no host": lambda: normalise(ANY),
    "no ASCII host": lambda: normalise("a" * BIG),
    "labels": lambda: normalise("a." * BIG),
    "no host at all": lambda: normalise(bytes(BIG)),  # type: ignore[arg-type]
    "no pattern": lambda: normalise_pattern("*" * BIG),
    "a wildcard": lambda: normalise_pattern("*." + "é." * BIG),
    "no rule": lambda: Rule("*" * BIG, pins(1)),
    "no mode": lambda: Rule("a.b", pins(1), mode=ANY),  # type: ignore[arg-type]
    "no flag": lambda: Rule("a.b", exclude=ANY),  # type: ignore[arg-type]
    "no date": lambda: Rule("a.b", pins(1), expires=ANY),  # type: ignore[arg-type]
    "no list of pins": lambda: Rule("a.b", ANY),
    "pinned and denied": lambda: Rule("a.b", pins(5000), deny=pins(5000)),
    "no rules": lambda: PinSet(ANY),  # type: ignore[arg-type]
    "not a rule": lambda: PinSet([ANY]),  # type: ignore[list-item]
    "a rule among others": lambda: PinSet([[Rule("a.b", pins(5000))]]),  # type: ignore[list-item]
    "no role": lambda: PinEntry(pins(1)[0], ANY),  # type: ignore[arg-type]
    "no name": lambda: PinEntry(pins(1)[0], key="x" * BIG + "\n"),
    "the same name": lambda: HostEntry("a.b", [PinEntry(pin, key="k" * BIG) for pin in pins(200)]),
    "no file name": lambda: PinSet.load("x" * BIG),
    "no suffix": lambda: PinSet.load("x." + "y" * BIG),
    "no such file": lambda: PinSet.load("/nowhere/" + "y" * BIG + ".toml"),
    "no name in memory": lambda: PinSet.loads("x", name=ANY),
    "no TOML": lambda: PinSet.loads("x = " + "y" * BIG),
    "no JSON": lambda: PinSet.loads("[" + "1" * 4000 + "x" * BIG, "json"),
    "no format": lambda: PinSet.loads("", ANY),  # type: ignore[arg-type]
    "no certificate file": lambda: pins_from_files(Path("/"), "x" * BIG),
    "a path": lambda: pins_from_files(Path("/"), "../" * BIG),
    "no DER file": lambda: read_server_certificate(b"-----BEGIN " + b"A" * BIG, ANY),
    "PEM": lambda: read_server_certificate(b"-----BEGIN " + b"A" * BIG + b"-----", "x" * BIG),
    "cut off": lambda: read_server_certificate(b"\x30\xff" + b"\xff" * BIG, "x"),
    "its own issuer": lambda: read_server_certificate(certificate(tlv(SEQUENCE)), ANY),
}
KINDS = (
    *(CertificateFormatError, CertificateNotFound, HostnameError, PinFormatError, PinSetError),
)


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_no_mistake_makes_a_long_error(mistake: Callable[[], object]) -> None:
    with pytest.raises(KINDS) as caught:
        mistake()
    assert 10 < len(str(caught.value)) <= LONGEST


def test_no_error_of_keypin_is_long_whatever_it_is_told() -> None:
    for kind in vars(keypin).values():
        if isinstance(kind, type) and issubclass(kind, KeypinError):
            made: Any = (
                kind("p.toml", [PinFileProblem(1, "k", ANY)]) if kind is PinFileError else kind(ANY)
            )
            assert len(str(made)) <= LONGEST, kind
            assert "characters)" in str(made)


def test_a_file_with_many_problems_names_the_first_and_counts_the_others() -> None:
    long = "\U000e0001" * 60
    text = "schema = 1\nversion = 1\n" + "".join(f"'{long[:-3]}{i:03}' = 1\n" for i in range(200))
    with pytest.raises(PinFileError) as caught:
        PinSet.loads(text, name="conf/pins.toml")
    lines = str(caught.value).splitlines()
    assert lines[0] == "conf/pins.toml: 100 problems"
    assert lines[1].startswith("  line 3: ")
    assert lines[-1] == f"    … and {102 - len(lines)} more problems"
    assert len(str(caught.value)) <= LONGEST
    assert len(caught.value.problems) == 100


def test_ordinary_errors_are_told_whole() -> None:
    host = ".".join(["a" * 63] * 3)
    chain = [certificate(named(tlv(UTF8_STRING, b"x" * 64)), number) for number in range(5)]
    report = Rule(host, pins(10)).check(host, chain).report()
    assert "…" not in report
    for each in (*map(Pin.from_certificate, chain), *pins(10)):
        assert f"    {each}" in report
    problems = [PinFileProblem(index, "host", "wrong") for index in range(100)]
    assert len(str(PinFileError("pins.toml", problems)).splitlines()) == 101


# Names in certificates


def test_a_name_is_found_among_many() -> None:
    names = tuple(("DNS", f"h{index}.example.com") for index in range(5000))
    assert not certificate_names("other.example.org", {"subjectAltName": names})
    assert certificate_names("h4999.example.com", {"subjectAltName": names})
    addresses = tuple(("IP Address", f"10.1.{index // 256}.{index % 256}") for index in range(5000))
    assert not certificate_names("192.0.2.1", {"subjectAltName": addresses})
    assert certificate_names("10.1.19.135", {"subjectAltName": addresses})


def test_the_error_is_one_of_ssl_with_a_bounded_text() -> None:
    verdict = Rule(LONG_HOST, pins(9000)).check(LONG_HOST, [certificate(SUBJECTS["commas"])])
    error = PinMismatch(verdict)
    assert isinstance(error, ssl.SSLCertVerificationError)
    assert bounded(str(error.strerror))
    assert len(repr(error)) < 2 * LONGEST
