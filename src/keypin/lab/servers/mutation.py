"""Mutations of TLS records, handshake messages and certificates: at random, but repeatable."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from .._der import bit_string, elements, sequence
from .certificate_messages import first_certificate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..keys import Key

__all__ = [
    "CERTIFICATE",
    "HANDSHAKE",
    "HEADER",
    "Mutator",
    "mutated_certificate",
]

CHANGE_CIPHER_SPEC, ALERT, HANDSHAKE, APPLICATION_DATA = 20, 21, 22, 23  # RFC 8446, appendix B.1
# Handshake messages of a server in TLS 1.2 and 1.3, and some that it must not send
MESSAGES = (0, 1, 2, 4, 5, 8, 11, 12, 13, 14, 15, 16, 20, 22, 24, 25, 254)
CERTIFICATE = 11
MAXIMUM = 2**14
GIANT = 2**20
HEADER = 5  # bytes before the content of a record
# Which records and messages of a server are altered, by their number; its Certificate is message 1
# in TLS 1.2 and 3 in TLS 1.3, if it asks for a client's.
RECORDS = (0, 1, 2, 3, 4, 5, 6)
FLIGHT = (0, 1, 1, 1, 2, 3, 3, 3, 4, 5)


class Mutator:
    """What is done to one connection; the same for the same seed and the same bytes.

    Args:
        seed: of the random choices.
        foreign: records of other connections, to be played back in this one.
        certificates: in DER, a chain to present instead, or to mix into the server's own.
    """

    done: list[str]
    """what has been done, in words"""
    cut: bool
    """whether nothing more is to be sent"""

    def __init__(
        self,
        seed: str | int,
        *,
        foreign: Sequence[bytes] = (),
        certificates: Sequence[bytes] = (),
    ) -> None:
        self.seed = seed
        self.done = []
        self.cut = False
        self._random = random.Random(seed)  # noqa: S311 - nothing here is secret
        self._foreign = foreign
        self._certificates = certificates
        self._held = b""
        self._count = 0
        count = self._random.choice((1, 1, 1, 2, 3))
        self._records = {self._random.choice(RECORDS) for _ in range(count)}
        self._messages = {self._random.choice(FLIGHT) for _ in range(count)}

    def __repr__(self) -> str:
        return f"<Mutator {self.seed!r}: {', '.join(self.done) or 'nothing done'}>"

    # On the wire

    def record(self, record: bytes) -> list[bytes]:
        """Alter a TLS record, or let it pass; what to send instead, piece by piece."""
        number, self._count = self._count, self._count + 1
        held, self._held = self._held, b""
        if number not in self._records:
            return [record, held] if held else [record]
        way = self._random.choice(RECORD_MUTATIONS)
        self.done.append(f"record {number} of type {record[0]}: {way.__name__.strip('_')}")
        return [*way(self, record), held]

    def _flip_bits(self, record: bytes) -> list[bytes]:
        return [self._flipped(record)]

    def _flip_content(self, record: bytes) -> list[bytes]:
        return [record[:HEADER] + self._flipped(record[HEADER:])]

    def _overwrite(self, record: bytes) -> list[bytes]:
        start = self._random.randrange(len(record))
        run = self._random.randbytes(self._random.randrange(1, 64))
        return [(record[:start] + run + record[start + len(run) :])[: len(record)]]

    def _truncate(self, record: bytes) -> list[bytes]:
        self.cut = True
        return [record[: self._random.randrange(len(record))]]

    def _shorten(self, record: bytes) -> list[bytes]:
        return [
            _record(record[0], record[HEADER : self._random.randrange(HEADER, len(record) + 1)])
        ]

    def _drop(self, record: bytes) -> list[bytes]:
        return []

    def _duplicate(self, record: bytes) -> list[bytes]:
        return [record] * self._random.choice((2, 2, 3, 50))

    def _swap(self, record: bytes) -> list[bytes]:
        self._held = record
        return []

    def _retype(self, record: bytes) -> list[bytes]:
        kind = self._random.choice((0, 20, 21, 22, 23, 24, 128, 255))
        return [bytes([kind]) + record[1:]]

    def _change_version(self, record: bytes) -> list[bytes]:
        version = self._random.choice((0, 0x0002, 0x0300, 0x0301, 0x0302, 0x0303, 0x0304, 0xFFFF))
        return [record[:1] + version.to_bytes(2, "big") + record[3:]]

    def _change_length(self, record: bytes) -> list[bytes]:
        length = len(record) - HEADER
        wrong = self._random.choice((0, length - 1, length + 1, MAXIMUM, MAXIMUM + 257, 0xFFFF))
        return [record[:3] + max(0, wrong).to_bytes(2, "big") + record[HEADER:]]

    def _change_message_length(self, record: bytes) -> list[bytes]:
        wrong = self._random.choice((0, 1, len(record), 2**17, 2**24 - 1))
        start = HEADER + 1
        return [record[:start] + wrong.to_bytes(3, "big") + record[start + 3 :]]

    def _fragment(self, record: bytes) -> list[bytes]:
        size = self._random.choice((1, 2, 3, 7, 100))
        body = record[HEADER:]
        return [
            _record(record[0], body[start : start + size]) for start in range(0, len(body), size)
        ]

    def _deliver_slowly(self, record: bytes) -> list[bytes]:
        return [record[start : start + 1] for start in range(len(record))]

    def _insert_alert(self, record: bytes) -> list[bytes]:
        alert = bytes([self._random.choice((1, 2, 0)), self._random.randrange(130)])
        return [_record(ALERT, alert), record]

    def _insert_message(self, record: bytes) -> list[bytes]:
        body = self._random.randbytes(self._random.choice((0, 0, 1, 4, 32, 300)))
        return [_record(HANDSHAKE, _message(self._random.choice(MESSAGES), body)), record]

    def _insert_other(self, record: bytes) -> list[bytes]:
        other = self._random.choice(
            (
                _record(CHANGE_CIPHER_SPEC, b"\x01"),
                _record(CHANGE_CIPHER_SPEC, b"\x01\x01"),
                _record(APPLICATION_DATA, b"HTTP/1.1 200 OK\r\n\r\n"),
                _record(HANDSHAKE, b""),
                _record(APPLICATION_DATA, b"") * 40,
                b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
                b"\x80\x2e\x01\x00\x02",
                b"\0" * 20,
            )
        )
        return [other, record]

    def _insert_giant(self, record: bytes) -> list[bytes]:
        kind = self._random.choice((CERTIFICATE, CERTIFICATE, *MESSAGES))
        giant = _message(kind, bytes(self._random.choice((MAXIMUM * 4, GIANT))))
        pieces = range(0, len(giant), MAXIMUM)
        return [*(_record(HANDSHAKE, giant[start : start + MAXIMUM]) for start in pieces), record]

    def _enlarge(self, record: bytes) -> list[bytes]:
        return [_record(record[0], record[HEADER:] + bytes(MAXIMUM + 300))]

    def _replay(self, record: bytes) -> list[bytes]:
        return [self._random.choice(self._foreign) if self._foreign else record]

    def _replay_before(self, record: bytes) -> list[bytes]:
        return [*self._replay(record), record]

    # Before encryption

    def message(self, message: bytes) -> list[bytes]:
        """Alter a handshake message, or let it pass; what to send instead."""
        number, self._count = self._count, self._count + 1
        if number not in self._messages:
            return [message]
        ways = MESSAGE_MUTATIONS + CERTIFICATE_MUTATIONS * 4 * (message[0] == CERTIFICATE)
        way = self._random.choice(ways)
        self.done.append(f"message {number} of type {message[0]}: {way.__name__.strip('_')}")
        return way(self, message)

    def _flip_in_message(self, message: bytes) -> list[bytes]:
        return [message[:4] + self._flipped(message[4:])]

    def _cut_message(self, message: bytes) -> list[bytes]:
        body = message[4:]
        return [_message(message[0], body[: self._random.randrange(len(body) + 1)])]

    def _lengthen_message(self, message: bytes) -> list[bytes]:
        more = self._random.randbytes(self._random.choice((1, 2, 16, 5000)))
        return [_message(message[0], message[4:] + more)]

    def _misstate_length(self, message: bytes) -> list[bytes]:
        wrong = self._random.choice((0, 1, len(message) - 5, len(message), 2**24 - 1))
        return [message[:1] + max(0, wrong).to_bytes(3, "big") + message[4:]]

    def _retype_message(self, message: bytes) -> list[bytes]:
        return [bytes([self._random.choice(MESSAGES)]) + message[1:]]

    def _drop_message(self, message: bytes) -> list[bytes]:
        return []

    def _repeat_message(self, message: bytes) -> list[bytes]:
        return [message] * self._random.choice((2, 3))

    def _precede_message(self, message: bytes) -> list[bytes]:
        body = self._random.randbytes(self._random.choice((0, 1, 4, 32)))
        return [_message(self._random.choice(MESSAGES), body), message]

    def _change_list_length(self, message: bytes) -> list[bytes]:
        start = self._random.randrange(4, min(len(message), 12))
        wrong = self._random.choice((b"\0\0", b"\xff\xff", b"\x7f\xff", b"\0\1"))
        return [message[:start] + wrong + message[start + 2 :]]

    def _other_certificates(self, message: bytes) -> list[bytes]:
        """A list of other certificates, which may begin with another's, or hold very many."""
        own = _own_certificate(message)
        pool = [own, *self._certificates]
        count = self._random.choice((0, 1, 1, 2, 2, 3, 4, 9, 200))
        chosen = [self._random.choice(pool) for _ in range(count)]
        if self._random.random() < 0.5:
            chosen.insert(0, own)
        return [_certificate_message(chosen, _is_tls_1_3(message))]

    def _present_chain(self, message: bytes) -> list[bytes]:
        return [_certificate_message(self._certificates, _is_tls_1_3(message))]

    def _flip_certificate(self, message: bytes) -> list[bytes]:
        own = _own_certificate(message)
        chain = [self._flipped(own), *self._certificates[:1]]
        return [_certificate_message(chain, _is_tls_1_3(message))]

    def _empty_certificate(self, message: bytes) -> list[bytes]:
        own = _own_certificate(message)
        chain = self._random.choice(([b""], [b"", own], [own, b""], [own[:-1]], [own + b"\0"]))
        return [_certificate_message(chain, _is_tls_1_3(message))]

    def _giant_certificate(self, message: bytes) -> list[bytes]:
        own = _own_certificate(message)
        giant = sequence(bytes(self._random.choice((50_000, 200_000, GIANT))))
        return [_certificate_message([own, giant], _is_tls_1_3(message))]

    def _flipped(self, data: bytes) -> bytes:
        flipped = bytearray(data)
        for _ in range(self._random.choice((1, 1, 2, 8)) if data else 0):
            flipped[self._random.randrange(len(flipped))] ^= 1 << self._random.randrange(8)
        return bytes(flipped)


RECORD_MUTATIONS = (
    Mutator._flip_bits,
    Mutator._flip_content,
    Mutator._overwrite,
    Mutator._truncate,
    Mutator._shorten,
    Mutator._drop,
    Mutator._duplicate,
    Mutator._swap,
    Mutator._retype,
    Mutator._change_version,
    Mutator._change_length,
    Mutator._change_message_length,
    Mutator._fragment,
    Mutator._deliver_slowly,
    Mutator._insert_alert,
    Mutator._insert_message,
    Mutator._insert_other,
    Mutator._insert_giant,
    Mutator._enlarge,
    Mutator._replay,
    Mutator._replay_before,
)
MESSAGE_MUTATIONS = (
    Mutator._flip_in_message,
    Mutator._cut_message,
    Mutator._lengthen_message,
    Mutator._misstate_length,
    Mutator._retype_message,
    Mutator._drop_message,
    Mutator._repeat_message,
    Mutator._precede_message,
    Mutator._change_list_length,
)
CERTIFICATE_MUTATIONS = (
    Mutator._present_chain,
    Mutator._present_chain,
    Mutator._other_certificates,
    Mutator._flip_certificate,
    Mutator._empty_certificate,
    Mutator._giant_certificate,
)


def mutated_certificate(certificate: bytes, issuer: Key, seed: str | int) -> bytes:
    """Flip bits in what a certificate says, and sign it again.

    Args:
        certificate: in DER.
        issuer: the key of who issued it.
        seed: of the random choices.
    """
    said, algorithm, _ = elements(certificate)
    altered = Mutator(seed)._flipped(said)
    return sequence(altered + algorithm + bit_string(issuer.sign(altered)))


def _own_certificate(message: bytes) -> bytes:
    return first_certificate(message, tls13=_is_tls_1_3(message))


def _record(kind: int, body: bytes) -> bytes:
    return bytes([kind, 3, 3]) + (len(body) & 0xFFFF).to_bytes(2, "big") + body


def _message(kind: int, body: bytes) -> bytes:
    return bytes([kind]) + len(body).to_bytes(3, "big") + body


def _is_tls_1_3(message: bytes) -> bool:
    """Whether a Certificate message begins with a context, which a server's leaves empty."""
    return int.from_bytes(message[4:7], "big") != len(message) - 7


def _certificate_message(certificates: Sequence[bytes], tls_1_3: bool) -> bytes:
    """A Certificate message (RFC 5246, section 7.4.2; RFC 8446, section 4.4.2)."""
    more = b"\0\0" if tls_1_3 else b""  # no extensions
    entries = b"".join(_vector(certificate) + more for certificate in certificates)
    return _message(CERTIFICATE, (b"\0" if tls_1_3 else b"") + _vector(entries))


def _vector(data: bytes) -> bytes:
    return len(data).to_bytes(3, "big") + data
