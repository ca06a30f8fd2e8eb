"""The private names of Python's `ssl` module that keypin calls, and the check that they are there.

Beside them stand those that it defines anew: `_wrap_socket` and `_wrap_bio` (`context`), `_sslobj`
(`guard`). They are the same in CPython 3.11 to 3.15; an interpreter without them is refused
at import.
"""

from __future__ import annotations

import ssl
import sys
from functools import cache
from typing import Any, Final

__all__ = [
    "CHECK_HOSTNAME",
    "CONNECTION_CLASS",
    "C_CONTEXT_CLASS",
    "MESSAGE_CALLBACK",
    "OPTIONS",
    "VERIFY_MODE",
    "bare_context",
    "certificate_loader_was_taken",
    "connection_of",
    "context_class",
    "context_classes",
    "leaf_fields",
    "plain_class_of",
    "sent_chain",
    "signed_cipher_suites",
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

CHECK_HOSTNAME: Any = _ssl._SSLContext.check_hostname
"""the descriptor of `SSLContext.check_hostname`"""

MESSAGE_CALLBACK: Any = getattr(_ssl._SSLContext, "_msg_callback", None)
"""the descriptor of `SSLContext._msg_callback`, below the enumerations that `ssl` wraps it in and
that cost more than the message; None where Python cannot look into a handshake"""


# The key exchanges of TLS 1.2 and older in which the server signs what it sends, and so proves that
# it holds the key of its certificate, before the client answers; by the names of `get_ciphers`.
SIGNED_KEY_EXCHANGES: Final = frozenset({"kx-dhe", "kx-ecdhe"})
SIGNATURES: Final = frozenset({"auth-dss", "auth-ecdsa", "auth-rsa"})


def context_classes() -> list[Any]:
    """`ssl.SSLContext` as Python made it, and those of each other time that `ssl` was loaded.

    Not `ssl.SSLContext` itself: truststore and gevent put subclasses in its place. Not kept in a
    module: gevent takes that for a program that it patches too late.
    """
    return list(C_CONTEXT_CLASS.__subclasses__())


def context_class() -> Any:
    """`ssl.SSLContext` as Python made it."""
    return plain_class_of(ssl.SSLContext)


def plain_class_of(kind: Any) -> Any:
    """The `ssl.SSLContext`, as Python made it, that a class of contexts is or comes from."""
    mro = kind.__mro__
    return mro[mro.index(C_CONTEXT_CLASS) - 1]


def bare_context() -> Any:
    """A new context in C for TLS clients, with nothing in it."""
    return C_CONTEXT_CLASS(ssl.PROTOCOL_TLS_CLIENT)


@cache
def signed_cipher_suites() -> frozenset[int]:
    """The numbers of the suites of TLS 1.2 whose ServerKeyExchange the server's key has signed.

    By the key exchange, not by whether there is such a message: that of PSK suites has no signature
    (RFC 4279, section 4), nor has that of anonymous ones, and RSA key exchange has no message.
    """
    context = bare_context()
    context.set_ciphers("ALL:COMPLEMENTOFALL:@SECLEVEL=0")
    return frozenset(
        suite["id"] & 0xFFFF
        for suite in context.get_ciphers()
        if suite.get("kea") in SIGNED_KEY_EXCHANGES and suite.get("auth") in SIGNATURES
    )


def certificate_loader_was_taken() -> bool:
    """Whether somebody keeps `load_cert_chain` as C has it, where nothing sees it being called.

    Told by how many refer to it, beside those who refer to any such method.
    """
    counts = {
        name: sys.getrefcount(method)
        for name, method in vars(C_CONTEXT_CLASS).items()
        if name in ("load_cert_chain", "load_dh_params", "set_ecdh_curve", "session_stats")
    }
    return counts.pop("load_cert_chain") > min(counts.values())


def connection_of(owner: Any) -> Any:
    """The connection in C (`_ssl._SSLSocket`) of an `SSLSocket` or `SSLObject`, or None."""
    return owner._sslobj


def verified_chain(connection: Any) -> tuple[bytes, ...]:
    """The chain that OpenSSL verified up to a trust anchor, DER, leaf first.

    `SSLSocket.get_verified_chain` is public from Python 3.13 on. () on a resumed session.
    """
    return _der(connection.get_verified_chain())


def leaf_fields(connection: Any) -> dict[str, Any]:
    """The fields of the server's verified certificate, as `SSLSocket.getpeercert()` gives them.

    Also of a resumed session, and whether or not the connection verifies.
    """
    chain = connection.get_verified_chain()
    fields: dict[str, Any] = chain[0].get_info() if chain else connection.getpeercert() or {}
    return fields


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
