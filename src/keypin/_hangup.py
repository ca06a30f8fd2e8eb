"""Close the connection behind an `SSLObject` at once, so that connection pools drop it.

A socket whose server no longer satisfies the pins is shut down, and every pool notices. An
`SSLObject` has no socket: its guard lets nothing through any more, but a pool of asyncio or trio
would learn that only by writing the next request, which would fail. So what carries the
`SSLObject` is looked up (the garbage collector knows what refers to it) and told to hang up.

Nothing here guards anything: where no carrier is recognised, a connection remains that only raises.
"""

from __future__ import annotations

import contextlib
import gc
import socket
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["hang_up"]


def hang_up(owners: Iterable[Any]) -> None:
    """Close what carries these `SSLObject`s; does nothing for sockets and unknown carriers.

    The search goes twice through all objects that the garbage collector knows, for all owners
    together: about a tenth of a second in a program of a million objects.
    """
    objects = [owner for owner in owners if not isinstance(owner, socket.socket)]
    if not objects:
        return
    for carrier in _carriers(objects):
        # a carrier may be closing already, or belong to a loop that has ended
        with contextlib.suppress(Exception):
            if hasattr(carrier, "_get_app_transport"):
                _abort_transport(carrier)
            else:
                _shut_socket_down(carrier)


def _carriers(objects: list[Any]) -> Iterator[Any]:
    referrers = gc.get_referrers(*objects)
    dictionaries = [referrer for referrer in referrers if type(referrer) is dict]
    yield from (referrer for referrer in referrers if type(referrer) is not dict)
    # an object whose attributes live in a dictionary of their own
    for holder in gc.get_referrers(*dictionaries) if dictionaries else ():
        if any(getattr(holder, "__dict__", None) is attributes for attributes in dictionaries):
            yield holder


def _abort_transport(protocol: Any) -> None:
    """Abort the transport of asyncio's or uvloop's SSLProtocol, in its own loop."""
    asyncio: Any = sys.modules["asyncio"]
    loop = getattr(protocol, "_loop", None) or next(
        value
        for value in gc.get_referents(protocol)  # uvloop's attributes are C fields
        if isinstance(value, asyncio.AbstractEventLoop)
    )
    abort = protocol._get_app_transport().abort
    if asyncio._get_running_loop() is loop:
        abort()
    else:
        loop.call_soon_threadsafe(abort)


def _shut_socket_down(stream: Any) -> None:
    """Shut down the socket below a stream of anyio, trio, urllib3 or httpcore."""
    anyio = sys.modules.get("anyio")
    if anyio is not None and isinstance(stream, anyio.abc.ByteStream):
        below = stream.extra(anyio.abc.SocketAttribute.raw_socket)  # noqa: S610 - not Django
    elif hasattr(stream, "transport_stream"):  # trio.SSLStream
        below = stream.transport_stream.socket
    else:  # TLS in TLS: urllib3's SSLTransport, httpcore's stream
        below = getattr(stream, "socket", None) or stream._sock
    # by its number: the sockets of event loops are wrappers that do not let this be done to them
    with socket.fromfd(below.fileno(), below.family, below.type) as same:
        same.shutdown(socket.SHUT_RDWR)
