"""DER elements put together and taken apart by hand: tag, length, value (X.690, clause 8.1)."""

SEQUENCE = 0x30
SET = 0x31
INTEGER = 0x02
BIT_STRING = 0x03
OCTET_STRING = 0x04
NULL = 0x05
OBJECT_IDENTIFIER = 0x06
UTF8_STRING = 0x0C
PRINTABLE_STRING = 0x13
UTC_TIME = 0x17


def tlv(tag: int, *contents: bytes) -> bytes:
    """Write one element, its length in the shortest form."""
    content = b"".join(contents)
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(octets)]) + octets + content


def content_of(element: bytes) -> bytes:
    """What stands behind the header of an element."""
    return element[_header_size(element) :]


def children(element: bytes) -> list[bytes]:
    """The elements directly inside a constructed one, whatever their tags."""
    content = content_of(element)
    found = []
    while content:
        octets = content[1] & 0x7F if content[1] >= 0x80 else 0
        size = int.from_bytes(content[2 : 2 + octets] if octets else content[1:2], "big")
        end = _header_size(content) + size
        found.append(content[:end])
        content = content[end:]
    return found


def _header_size(element: bytes) -> int:
    return 2 + (element[1] & 0x7F if element[1] >= 0x80 else 0)
