"""The private names of Python's `ssl` module that keypin calls, and the check that they are there.

Beside them stand those that it defines anew: `_wrap_socket` and `_wrap_bio` (`_context`), `_sslobj`
(`_guard`). They are the same in CPython 3.11, 3.12 and 3.13; an interpreter without them is refused
at import.
"""

from __future__ import annotations

import ssl
from typing import Any, Final

__all__ = [
    "CONNECTION_CLASS",
    "C_CONTEXT_CLASS",
    "MESSAGE_CALLBACK",
    "OPTIONS",
    "VERIFY_MODE",
    "connection_of",
    "context_class",
    "sent_chain",
    "verified_chain",
]

_ssl: Any = ssl._ssl  # type: ignore[attr-defined]
DER: Final = _ssl.ENCODING_DER

C_CONTEXT_CLASS: Any = _ssl._SSLContext
CONNECTION_CLASS: Any = _ssl._SSLSocket

OPTIONS: Any = _ssl._SSLContext.options
"""the descriptor of `SSLContext.options`, below its enumeration"""

VERIFY_MODE: Any = _ssl._SSLContext.verify_mode
"""the descriptor of `SSLContext.verify_mode`, below its enumeration"""

MESSAGE_CALLBACK: Any = getattr(_ssl._SSLContext, "_msg_callback", None)
"""the descriptor of `SSLContext._msg_callback`, below the enumerations that `ssl` wraps it in and
that cost more than the message; None where Python cannot look into a handshake"""


def context_class() -> Any:
    """`ssl.SSLContext` as Python made it: truststore and gevent put subclasses in its place.

    Not kept in a module: gevent takes that for a program that it patches too late.
    """
    mro = ssl.SSLContext.__mro__
    return mro[mro.index(C_CONTEXT_CLASS) - 1]


def connection_of(owner: Any) -> Any:
    """The connection in C (`_ssl._SSLSocket`) of an `SSLSocket` or `SSLObject`, or None."""
    return owner._sslobj


def verified_chain(connection: Any) -> tuple[bytes, ...]:
    """The chain that OpenSSL verified up to a trust anchor, DER, leaf first.

    `SSLSocket.get_verified_chain` is public from Python 3.13 on. () on a resumed session.
    """
    return _der(connection.get_verified_chain())


def sent_chain(connection: Any) -> tuple[bytes, ...]:
    """The certificates that the server sent, DER, in its order."""
    return _der(connection.get_unverified_chain())


def _der(certificates: Any) -> tuple[bytes, ...]:
    return tuple([certificate.public_bytes(DER) for certificate in certificates or ()])


def _check_interpreter() -> None:
    needed = {
        "_SSLSocket": ("get_verified_chain", "get_unverified_chain", "session_reused"),
        "_SSLContext": ("_wrap_bio", "_wrap_socket"),
    }
    for kind, names in needed.items():
        if not all(hasattr(getattr(_ssl, kind, None), name) for name in names):
            raise ImportError("keypin needs the ssl module of CPython 3.11 or later")


_check_interpreter()
