"""Pins as foreign files have them: base64 alone, perhaps without padding, perhaps a placeholder."""

from __future__ import annotations

import binascii
import re

from .._internal.text import shown
from ..errors import PinFormatError
from ..pin import Pin

__all__ = ["read_pin", "refuse_placeholder"]

SPACE = re.compile(r"\s+")
UNPADDED, PADDED = 43, 44
BASE64 = re.compile(r"[A-Za-z0-9+/]{43}=?")
# what people write where a pin is to be put: hash-here, [PIN], {{ pin }}, AAAA..., CERT_FINGERPRINT
SIGNS = re.compile(r"[\[<{$…]|\.\.\.|[^\x00-\x7f]")
WORDS = re.compile(
    r"[_-]|(?i:your|placeholder|replace|insert|change|todo|example|hash|pin|backup|base64)"
)
SHORTEST = 8


def read_pin(text: str) -> Pin:
    """Read a pin as Android and okio do: white space, padding and stray bits do not count.

    Raises:
        PinFormatError: not 32 bytes in base64, or a placeholder.
    """
    refuse_placeholder(text)
    plain = SPACE.sub("", text)
    if len(plain) == UNPADDED:
        plain += "="
    if len(plain) == PADDED and BASE64.fullmatch(plain):
        return Pin.from_digest(binascii.a2b_base64(plain))
    return Pin("sha256/" + plain)  # which says what is wrong with it


def refuse_placeholder(text: str) -> None:
    """Refuse what stands where a pin is to be put.

    Raises:
        PinFormatError: it is such a text.
    """
    plain = text.strip().removeprefix("sha256/").rstrip("=")
    repeated = len(plain) >= SHORTEST and len(set(plain[: UNPADDED - 1])) == 1
    written = SIGNS.search(plain) or (len(plain) != UNPADDED and WORDS.search(plain))
    if repeated or written:
        raise PinFormatError(
            f"a placeholder, and not the pin of a key: {shown(text)}; put in that of a key, of a"
            " backup for instance, or take it out"
        )
