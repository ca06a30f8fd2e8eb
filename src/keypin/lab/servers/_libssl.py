"""The OpenSSL library under Python's ssl module, for the calls that the module does not offer."""

from __future__ import annotations

import ctypes
import ctypes.util
from ctypes import CFUNCTYPE, c_char_p, c_int, c_long, c_size_t, c_uint64, c_ulong, c_void_p
from functools import cache
from typing import Any

__all__ = ["MessageCallback", "VerifyCallback", "error_text", "load"]

MessageCallback = CFUNCTYPE(None, c_int, c_int, c_int, c_void_p, c_size_t, c_void_p, c_void_p)
VerifyCallback = CFUNCTYPE(c_int, c_int, c_void_p)

SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "TLS_server_method": (c_void_p, []),
    "SSL_CTX_new": (c_void_p, [c_void_p]),
    "SSL_CTX_free": (None, [c_void_p]),
    "SSL_CTX_use_certificate_chain_file": (c_int, [c_void_p, c_char_p]),
    "SSL_CTX_use_PrivateKey_file": (c_int, [c_void_p, c_char_p, c_int]),
    "SSL_CTX_set_options": (c_uint64, [c_void_p, c_uint64]),
    "SSL_CTX_ctrl": (c_long, [c_void_p, c_int, c_long, c_void_p]),
    "SSL_new": (c_void_p, [c_void_p]),
    "SSL_free": (None, [c_void_p]),
    "SSL_set_fd": (c_int, [c_void_p, c_int]),
    "SSL_set_SSL_CTX": (c_void_p, [c_void_p, c_void_p]),
    "SSL_set_msg_callback": (None, [c_void_p, MessageCallback]),
    "SSL_set_verify": (None, [c_void_p, c_int, VerifyCallback]),
    "SSL_accept": (c_int, [c_void_p]),
    "SSL_renegotiate": (c_int, [c_void_p]),
    "SSL_do_handshake": (c_int, [c_void_p]),
    "SSL_get_peer_finished": (c_size_t, [c_void_p, c_char_p, c_size_t]),
    "SSL_read": (c_int, [c_void_p, c_char_p, c_int]),
    "SSL_write": (c_int, [c_void_p, c_char_p, c_int]),
    "SSL_shutdown": (c_int, [c_void_p]),
    "SSL_get_error": (c_int, [c_void_p, c_int]),
    "ERR_get_error": (c_ulong, []),
    "ERR_clear_error": (None, []),
    "ERR_error_string_n": (None, [c_ulong, c_char_p, c_size_t]),
}


@cache
def load() -> Any:
    """The library's functions.

    Raises:
        RuntimeError: it cannot be found, for example because Python has it linked in.
    """
    import _ssl

    # Symbols are also looked for in what a library was linked against: this finds the very
    # OpenSSL that ssl uses, and loads no second one.
    for name in (getattr(_ssl, "__file__", None), ctypes.util.find_library("ssl")):
        try:
            library = ctypes.CDLL(name)
            for function, (result, arguments) in SIGNATURES.items():
                getattr(library, function).restype = result
                getattr(library, function).argtypes = arguments
        except (OSError, AttributeError):
            continue
        return library
    raise RuntimeError("OpenSSL's shared library (libssl) was not found")


def error_text() -> str:
    """The latest error of this thread, which is then forgotten."""
    library = load()
    text = ctypes.create_string_buffer(256)
    code = library.ERR_get_error()
    library.ERR_clear_error()
    if not code:
        return "the connection broke"
    library.ERR_error_string_n(code, text, len(text))
    return text.value.decode("ascii", "replace")
