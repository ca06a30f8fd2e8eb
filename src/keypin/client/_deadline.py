"""An end to a blocking request as a whole; httpx2's own timeouts are for each of its steps.

A server that sends one byte at a time never lets a step take long. So every read, write and
connection attempt of a blocking client goes through a `DeadlineBackend`, which cuts its timeout to
what is left. (An AsyncClient is simply cancelled.)
"""

from __future__ import annotations

import socket
import threading
import time
from contextvars import ContextVar, copy_context
from typing import TYPE_CHECKING, Any

import httpcore2
import httpx2

from ..errors import MissingExtra

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable
    from typing import TypeVar

    Result = TypeVar("Result")

__all__ = ["DeadlineBackend", "remaining", "seconds", "watch", "within"]

PIECE = 64 * 1024
KNOWN = "httpx2==2.16.*"  # whose private attributes `watch` rests on

_deadline: ContextVar[float | None] = ContextVar("keypin_client_deadline", default=None)


def seconds(timeout: float | None) -> float | None:
    """Check a timeout: a positive number of seconds that Python can wait, or None for no end.

    Raises:
        TypeError, ValueError: anything else.
    """
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, int | float):
        raise TypeError(f"a timeout is a number of seconds, not {type(timeout).__name__}")
    if not 0 < timeout <= threading.TIMEOUT_MAX:  # what Python can wait for; NaN is not
        raise ValueError(
            f"a timeout is a number of seconds above 0 and at most {threading.TIMEOUT_MAX:.0f};"
            " None is for no end"
        )
    return float(timeout)


def within(timeout: float | None, work: Callable[[], Result]) -> Result:
    """Do some work in this thread; end what it does with an HTTP client after so many seconds."""
    outer = _deadline.get()
    own = None if timeout is None else time.monotonic() + timeout
    both = [end for end in (outer, own) if end is not None]
    context = copy_context()  # which is gone afterwards, even if Ctrl-C comes at the worst moment
    context.run(_deadline.set, min(both, default=None))
    return context.run(work)


def remaining() -> float | None:
    """How many seconds are left, 0 if none are; None where there is no end."""
    end = _deadline.get()
    return None if end is None else max(0.0, end - time.monotonic())


def watch(client: httpx2.Client) -> None:
    """Let a client's connections obey `within`.

    httpx2 has no setting for the network backend of httpcore2, which is a documented one.

    Raises:
        MissingExtra: an httpx2 that is built otherwise.
    """
    try:
        transports: list[Any] = [client._transport, *client._mounts.values()]
        pools = [transport._pool for transport in transports if transport is not None]
        backends = [pool._network_backend for pool in pools]
    except AttributeError as error:
        raise _built_otherwise() from error
    if not all(isinstance(backend, httpcore2.NetworkBackend) for backend in backends):
        raise _built_otherwise()
    for pool, backend in zip(pools, backends, strict=True):
        pool._network_backend = DeadlineBackend(backend)


def _built_otherwise() -> MissingExtra:
    return MissingExtra(
        f"a Client cannot end its requests in time with httpx2 {httpx2.__version__}, which is built"
        f" otherwise than those known to keypin: install {KNOWN!r}, or use AsyncClient, which does"
        " without",
        name="httpx2",
    )


def _left(timeout: float | None, error: type[Exception]) -> float | None:
    """What a step may take: its own timeout or what is left, whichever is less."""
    left = remaining()
    if left is None:
        return timeout
    if left <= 0:
        raise error("the time for the whole request is over")
    return left if timeout is None else min(timeout, left)


class DeadlineStream(httpcore2.NetworkStream):
    """A stream that ends with the request.

    Args:
        stream: what does the work.
    """

    def __init__(self, stream: httpcore2.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Read what is there, or wait for it."""
        return self._stream.read(max_bytes, _left(timeout, httpcore2.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Write everything."""
        # piece by piece: the stream below takes its timeout for each of them
        size = PIECE if remaining() is not None else len(buffer) or 1
        for start in range(0, len(buffer), size):
            left = _left(timeout, httpcore2.WriteTimeout)
            self._stream.write(buffer[start : start + size], left)

    def close(self) -> None:
        """Close the connection."""
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore2.NetworkStream:
        """Shake hands; Python's ssl holds its timeout over a whole handshake."""
        left = _left(timeout, httpcore2.ConnectTimeout)
        return DeadlineStream(self._stream.start_tls(ssl_context, server_hostname, left))

    def get_extra_info(self, info: str) -> Any:
        """What is known of the connection."""
        return self._stream.get_extra_info(info)


class DeadlineBackend(httpcore2.NetworkBackend):
    """Makes connections that end with the request.

    Args:
        backend: what does the work.
    """

    def __init__(self, backend: httpcore2.NetworkBackend) -> None:
        self._backend = backend

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.NetworkStream:
        """Connect to the first address of a host that answers.

        Python gives each address the whole timeout. Here they share it, so that one that never
        answers leaves time for the next. The look-up itself cannot be cut short.
        """
        more = (local_address, socket_options)
        if remaining() is None:
            return DeadlineStream(self._backend.connect_tcp(host, port, timeout, *more))
        failure: Exception = httpcore2.ConnectError("the host has no address")
        addresses = _addresses(host, port)
        for number, address in enumerate(addresses):
            left = _left(timeout, httpcore2.ConnectTimeout)
            share = None if left is None else left / (len(addresses) - number)
            try:
                return DeadlineStream(self._backend.connect_tcp(address, port, share, *more))
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
        raise failure

    def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.NetworkStream:
        """Connect to a socket in the file system."""
        left = _left(timeout, httpcore2.ConnectTimeout)
        return DeadlineStream(self._backend.connect_unix_socket(path, left, socket_options))

    def sleep(self, seconds: float) -> None:
        """Wait."""
        self._backend.sleep(seconds)


def _addresses(host: str, port: int) -> list[str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise httpcore2.ConnectError(str(error)) from error
    return [str(address[0]) for *_, address in found]
