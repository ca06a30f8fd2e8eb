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
import ssl
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .heap import holders_of

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["hang_up"]


def hang_up(owners: Iterable[Any]) -> None:
    """Close what carries these `SSLObject`s; does nothing for sockets and unknown carriers.

    The search goes twice through all objects that the garbage collector knows, once for all owners
    together, and only where a replacement of the pins has turned one of them away.
    """
    objects = [owner for owner in owners if isinstance(owner, ssl.SSLObject)]
    # To abort asyncio's transport in the middle of a handshake would tell the program that it has
    # succeeded; when the socket ends, it is told that it has not.
    pending = [owner for owner in objects if owner.version() is None]
    _hang_up([owner for owner in objects if owner not in pending], abort=True)
    _hang_up(pending, abort=False)


def _hang_up(objects: list[ssl.SSLObject], *, abort: bool) -> None:
    if not objects:
        return
    socket_of = {kind: find for name, find in CARRIERS.items() if (kind := _imported(name))}
    for carrier in holders_of(objects):
        if type(carrier) in socket_of:
            # a carrier may be closing already, or belong to a loop that has ended
            with contextlib.suppress(Exception):
                _shut_down(socket_of[type(carrier)](carrier))
            if abort and hasattr(carrier, "_get_app_transport"):
                with contextlib.suppress(Exception):
                    _abort_transport(carrier)


def _of_asyncio(protocol: Any) -> Any:
    transport = getattr(protocol, "_transport", None) or protocol._get_app_transport()
    return transport.get_extra_info("socket")


def _of_anyio(stream: Any) -> Any:
    raw_socket: Any = sys.modules["anyio.abc"].SocketAttribute.raw_socket
    return stream.extra(raw_socket)  # noqa: S610 - not Django


# The classes that carry an SSLObject, and how each is asked for its socket
CARRIERS: dict[str, Callable[[Any], Any]] = {
    "asyncio.sslproto.SSLProtocol": _of_asyncio,
    "uvloop.loop.SSLProtocol": _of_asyncio,
    "anyio.streams.tls.TLSStream": _of_anyio,
    "trio.SSLStream": lambda stream: stream.transport_stream.socket,
    "urllib3.util.ssltransport.SSLTransport": lambda transport: transport.socket,
    "httpcore._backends.sync.TLSinTLSStream": lambda stream: stream._sock,
    "httpcore2._backends.sync.TLSinTLSStream": lambda stream: stream._sock,
}


def _imported(name: str) -> Any:
    module, _, kind = name.rpartition(".")
    return getattr(sys.modules.get(module), kind, None)


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


def _shut_down(below: Any) -> None:
    # by its number: the sockets of event loops are wrappers that do not let this be done to them
    with socket.fromfd(below.fileno(), below.family, below.type) as same:
        same.shutdown(socket.SHUT_RDWR)
