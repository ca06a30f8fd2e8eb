"""Pins as foreign files have them: base64 alone, perhaps without padding, perhaps a placeholder."""

from __future__ import annotations

import binascii
import re

from .._text import shown
from ..errors import PinFormatError
from ..pin import Pin

__all__ = ["read_pin", "refuse_placeholder"]

SPACE = re.compile(r"\s+")
UNPADDED, PADDED = 43, 44
BASE64 = re.compile(r"[A-Za-z0-9+/]{43}=?")
# what people write in short where a pin is to be put, and in long
WORDS = re.compile(
    r"(?i:your|placeholder|replace|insert|change.?me|todo|example|xxx|hash|pin|backup|key|base.?64)"
)
BRACKETS = re.compile(r"[<{$…]|\.\.\.")
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
    plain = text.strip()
    repeated = len(plain) >= SHORTEST and len(set(plain[: UNPADDED - 1].rstrip("="))) == 1
    written = BRACKETS.search(plain) or (len(plain) < UNPADDED - 2 and WORDS.search(plain))
    if repeated or written:
        raise PinFormatError(
            f"a placeholder, and not the pin of a key: {shown(text)}; put in that of a key, of a"
            " backup for instance, or take it out"
        )
