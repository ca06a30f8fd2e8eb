"""Rewriting DER: what cryptography cannot be told to write."""

from __future__ import annotations

import base64

__all__ = [
    "RSASSA_PSS",
    "RSA_ENCRYPTION",
    "bit_string",
    "content",
    "elements",
    "explicit",
    "pem",
    "sequence",
    "substitute",
]

# AlgorithmIdentifiers (RFC 4055, section 1.2): the first with parameters NULL, the second without
# parameters, that is, without limits on hash and salt.
RSA_ENCRYPTION = bytes.fromhex("300d06092a864886f70d0101010500")
RSASSA_PSS = bytes.fromhex("300b06092a864886f70d01010a")


def sequence(content: bytes) -> bytes:
    """Wrap content as a SEQUENCE."""
    return _element(0x30, content)


def bit_string(octets: bytes) -> bytes:
    """Wrap whole octets as a BIT STRING."""
    return _element(0x03, b"\0" + octets)


def explicit(number: int, element: bytes) -> bytes:
    """Wrap one element in the context-specific tag of this number."""
    return _element(0xA0 | number, element)


def content(element: bytes) -> bytes:
    """What stands behind an element's tag and length."""
    return element[_header_size(element) :]


def elements(structure: bytes) -> list[bytes]:
    """Split what lies directly inside an element."""
    rest, found = content(structure), []
    while rest:
        size = _header_size(rest)
        length = rest[1] if size == 2 else int.from_bytes(rest[2:size], "big")
        found.append(rest[: size + length])
        rest = rest[size + length :]
    return found


def substitute(structure: bytes, old: bytes, new: bytes) -> bytes:
    """Replace one element that lies directly inside a SEQUENCE by another."""
    before = content(structure)
    if before.count(old) != 1:
        raise ValueError("the element to replace is not there exactly once")
    return sequence(before.replace(old, new))


def pem(label: str, der: bytes) -> bytes:
    """Write DER as PEM (RFC 7468)."""
    text = base64.b64encode(der).decode("ascii")
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    return "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""]).encode()


def _header_size(element: bytes) -> int:
    return 2 if element[1] < 0x80 else 2 + (element[1] & 0x7F)


def _element(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(octets)]) + octets + content
