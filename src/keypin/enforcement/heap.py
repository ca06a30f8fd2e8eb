"""What the garbage collector knows: the TLS connections of the process, and what holds them."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any, Final

from . import private_ssl

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["client_connections", "holders_of"]

# CPython 3.12 starts with some hundreds of frozen objects; a program freezes thousands.
FROZEN_AT_START: Final = 1000


def client_connections() -> Iterator[Any]:
    """The C connections (`_ssl._SSLSocket`) of all clients in the process."""
    frozen = gc.get_freeze_count()
    if frozen:  # programs that fork freeze what they have, and so hide it from the next line
        gc.unfreeze()
    # They refer to their class. Not gc.get_objects(): whoever holds all objects holds the tuples,
    # too, that other threads are just making, and CPython makes those fail then (SystemError).
    referrers = gc.get_referrers(private_ssl.CONNECTION_CLASS)
    # Whatever is frozen is never collected, so only for a program that has done so itself.
    if frozen > FROZEN_AT_START:
        gc.freeze()
    for found in referrers:
        if type(found) is private_ssl.CONNECTION_CLASS and not found.server_side:
            yield found


def holders_of(objects: Sequence[Any]) -> Iterator[Any]:
    """Whatever has one of these objects for an attribute; goes twice through all objects."""
    referrers = gc.get_referrers(*objects)
    dictionaries = [referrer for referrer in referrers if type(referrer) is dict]
    yield from (referrer for referrer in referrers if type(referrer) is not dict)
    # an object whose attributes live in a dictionary of their own
    for holder in gc.get_referrers(*dictionaries) if dictionaries else ():
        if any(getattr(holder, "__dict__", None) is attributes for attributes in dictionaries):
            yield holder
