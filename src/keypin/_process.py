"""Pins for every TLS context of the process; see `Pinner.install`.

While pins are installed, some attributes of `ssl.SSLContext` are replaced. All contexts, whenever
they were made and of whatever subclass, make their connections through two of them. A connection
to a host that installed pins govern gets a guard; any other is made as before.
"""

from __future__ import annotations

import _socket
import _thread
import gc
import os
import ssl
import sys
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from . import _private_ssl, _uncovered
from ._context import (
    ContextState,
    GuardedContext,
    guarded_connection,
    refuse_nameless,
    state_of,
)
from ._guard import LOCK, Guard
from .errors import ProtectionError
from .pinset import Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from .pinner import Pinner
    from .pinset import Verdict

__all__ = ["Found", "in_main_interpreter", "install", "installed", "search", "uninstall"]

# CPython 3.12 starts with some hundreds of frozen objects; a program freezes thousands.
FROZEN_AT_START: Final = 1000
# Where the standard library, or gevent, makes a connection and gives it to its owner, `self`
MAKERS: Final = {"_create", "_real_connect", "__create_sslobj"}

# As often as each was installed, in that order; and each once
_installed: tuple[Pinner, ...] = ()
_pinners: tuple[Pinner, ...] = ()
# Changes whenever the hooks come back after they were gone
_installation: object = None
# Which hooks are there now, perhaps below others
_attached: set[str] = set()
# What lies below them: of the class itself, or of its base. It stays when they are removed, because
# another thread may be inside of one.
_below: dict[str, Any] = {}


def installed() -> tuple[Pinner, ...]:
    """The pinners whose pins hold for the whole process, each once."""
    return _pinners


def install(pinner: Pinner) -> Found:
    """Put a pinner's pins in force for the process.

    Returns:
        What was open already; nothing if the pinner had been installed before.

    Raises:
        ProtectionError: that cannot be done safely; nothing has changed.
    """
    with LOCK:
        if pinner in _installed:
            _set_installed((*_installed, pinner))
            return Found([], [])
        try:
            _attach()
            _set_installed((*_installed, pinner))
            _uncovered.watch(_judge_unguarded)
            return search(pinner)
        except BaseException:  # a signal handler's, say
            _set_installed(tuple(other for other in _installed if other is not pinner))
            raise
        finally:
            _detach_if_idle()


def uninstall(pinner: Pinner) -> None:
    """Take back one installation of a pinner.

    Raises:
        ProtectionError: it is not installed.
    """
    with LOCK:
        if pinner not in _installed:
            raise ProtectionError("this Pinner is not installed, or was uninstalled already")
        last = len(_installed) - 1 - _installed[::-1].index(pinner)
        _set_installed(_installed[:last] + _installed[last + 1 :])
        _detach_if_idle()


def _detach_if_idle() -> None:
    if not _installed:
        _uncovered.unwatch()
        _detach()


def _judge_unguarded(host: str | None) -> Iterator[tuple[Pinner, Verdict]]:
    """The pinners that govern a host, and their verdicts on a connection without a guard."""
    for pinner in _pinners:
        if pinner._governs(host):
            yield pinner, pinner._verdict_on_unseen(host, Reason.UNGUARDED)


def _set_installed(pinners: tuple[Pinner, ...]) -> None:
    global _installed, _pinners
    _installed, _pinners = pinners, tuple(dict.fromkeys(pinners))


# The hooks


def _attach() -> None:
    """Put the hooks in place.

    It may be interrupted anywhere: what is there is told by the class itself, and `_attached`,
    which tells whether ours is somewhere below another library's hook, is written after it.
    """
    global _installation
    kind = _private_ssl.context_class()
    own = vars(kind)
    if own.get("_wrap_bio") is not _wrap_bio:
        _installation = object()
    for name, hook in HOOKS.items():
        if own.get(name) is not hook:
            if name in _attached:
                raise ProtectionError(
                    f"something else has replaced ssl.SSLContext.{name} after keypin did:"
                    " uninstall that first, or install keypin after it"
                )
            _below[name] = getattr(kind, name, None)
            setattr(kind, name, hook)
        _attached.add(name)
    _wait_for_makers()


def _detach() -> None:
    kind = _private_ssl.context_class()
    for name, hook in HOOKS.items():
        # where somebody else has put a hook over ours, ours stays below it and does nothing
        if vars(kind).get(name) is hook:
            _attached.discard(name)
            if _below[name] is getattr(_private_ssl.C_CONTEXT_CLASS, name, None):  # inherited
                delattr(kind, name)
            else:
                setattr(kind, name, _below[name])


def _wait_for_makers(seconds: float = 10.0) -> None:
    """Wait for the threads that are making a connection by what stood in the place of the hooks.

    They do so without Python's global lock, and what they make is found by nobody before it is
    made to the end.
    """
    if not in_main_interpreter():
        return  # it would also get the frames of other interpreters, which only those may free
    end = time.monotonic() + seconds
    this_thread = threading.get_ident()
    while any(
        _is_making(frame)
        for thread, frame in sys._current_frames().items()
        if thread != this_thread
    ):
        if time.monotonic() > end:
            raise ProtectionError(
                "another thread does not come to the end of making a TLS connection, so it cannot"
                " be guarded: install before the program connects"
            )
        time.sleep(0.0005)


def in_main_interpreter() -> bool:
    """Whether this is the interpreter that the process began with."""
    if hasattr(_thread, "_is_main_interpreter"):  # from Python 3.13 on
        return bool(_thread._is_main_interpreter())
    import importlib

    try:
        interpreters = importlib.import_module("_xxsubinterpreters")
    except ImportError:
        return True
    return bool(interpreters.get_current() == interpreters.get_main())


def _is_making(frame: FrameType) -> bool:
    code = frame.f_code
    if code.co_name not in MAKERS or os.path.basename(code.co_filename) != "ssl.py":
        return False
    return getattr(frame.f_locals.get("self"), "_sslobj", None) is None


def _wrap_socket(
    context: ssl.SSLContext,
    sock: Any,
    server_side: bool,
    server_hostname: str | None = None,
    *,
    owner: Any = None,
    **more: Any,
) -> Any:
    make = partial(
        _below["_wrap_socket"], context, sock, server_side, server_hostname, owner=owner, **more
    )
    return make() if server_side else _connection(context, make, owner, None, server_hostname)


def _wrap_bio(
    context: ssl.SSLContext,
    incoming: ssl.MemoryBIO,
    outgoing: ssl.MemoryBIO,
    server_side: bool,
    server_hostname: str | None = None,
    *,
    owner: Any = None,
    **more: Any,
) -> Any:
    arguments = (context, incoming, outgoing, server_side, server_hostname)
    make = partial(_below["_wrap_bio"], *arguments, owner=owner, **more)
    return make() if server_side else _connection(context, make, owner, outgoing, server_hostname)


def _connection(
    context: ssl.SSLContext,
    make: Callable[[], Any],
    owner: Any,
    outgoing: ssl.MemoryBIO | None,
    host: str | None,
) -> Any:
    # Under the lock, so that a connection is either made by rules or found by those who change them
    with LOCK:
        asking = []
        for pinner in _pinners:
            # as `_governs` does, but without a call; Python code is dear at this point (`_guard`)
            known = pinner._known_hosts.get(host)
            if known is None or known[0] is not pinner._pins:
                if pinner._governs(host):
                    asking.append(pinner)
            elif known[1]:
                asking.append(pinner)
        if not asking:
            return make()
        if host is not None:
            _doubt_client_certificate(context)
            return guarded_connection(context, asking, make, owner, outgoing, host)
    refuse_nameless(asking[0])


def _doubt_client_certificate(context: ssl.SSLContext) -> None:
    """One may be loaded, unless the context was made, and kept under our eyes, since the hooks."""
    state = vars(context).get("_keypin") or state_of(context)
    if state.installation is not _installation and not isinstance(context, GuardedContext):
        state.may_hold_client_certificate = True


def _init(context: ssl.SSLContext, *arguments: object, **more: object) -> None:
    """A context that is new holds no client certificate yet; of others one cannot know."""
    below = _below["__init__"]
    if below is not object.__init__:  # which would refuse the arguments
        below(context, *arguments, **more)
    # a class with its own way to load one may go round the hook
    if type(context).load_cert_chain is _load_cert_chain:
        state = ContextState(may_hold_client_certificate=False, installation=_installation)
        vars(context).setdefault("_keypin", state)


def _load_cert_chain(context: ssl.SSLContext, *arguments: Any, **more: Any) -> None:
    state_of(context).expect_client_certificate()
    _below["load_cert_chain"](context, *arguments, **more)


def _get_verify_mode(context: ssl.SSLContext) -> Any:
    return _below["verify_mode"].__get__(context)


def _set_verify_mode(context: ssl.SSLContext, value: Any) -> None:
    with LOCK:
        _below["verify_mode"].__set__(context, value)


def _get_message_callback(context: ssl.SSLContext) -> Any:
    state = state_of(context)
    if state.looks_into(context):
        return state.their_callback
    return _below["_msg_callback"].__get__(context)


def _set_message_callback(context: ssl.SSLContext, callback: Any) -> None:
    with LOCK:
        if not state_of(context).chain_callback(context, callback):
            _below["_msg_callback"].__set__(context, callback)


HOOKS: Final[dict[str, Any]] = {
    "_wrap_socket": _wrap_socket,
    "_wrap_bio": _wrap_bio,
    "__init__": _init,
    "load_cert_chain": _load_cert_chain,
    "verify_mode": property(_get_verify_mode, _set_verify_mode),
    "_msg_callback": property(_get_message_callback, _set_message_callback),
    # aiofastnet hands the SSL_CTX to its own C code, unless told that it must not
    "_aiofastnet_force_fallback_ssl": True,
}

# Connections that are open already


class Found(NamedTuple):
    """Open connections to hosts that a pinner governs and that it has not seen begin."""

    refused: list[Guard]
    """what carries them is still to hang up"""
    left: list[Verdict]
    """on those that are let pass, because their rule only reports"""


def search(pinner: Pinner) -> Found:
    """Refuse the open connections to hosts that a pinner governs and that it has not seen begin.

    Nobody knows how such a connection was verified, so its server's key proves nothing.
    """
    found = Found([], [])
    for connection in _open_connections():
        owner, host = connection.owner, connection.server_hostname
        if owner is None or _is_closed(owner) or not pinner._governs(host):
            continue
        known = pinner._guards.get(id(owner))
        if known is not None and known.owner is owner and known.connection is connection:
            continue
        verdict = pinner._verdict_on_unseen(host, Reason.OPENED_BEFORE)
        if verdict.accepted:
            found.left.append(verdict)
            continue
        guard = Guard(connection, owner, None, state_of(connection.context), pinner, host, False)
        guard.refuse(verdict)
        found.refused.append(guard)
    return found


def _open_connections() -> Iterator[Any]:
    """The C connections of all clients in the process."""
    frozen = gc.get_freeze_count()
    if frozen:  # programs that fork freeze what they have, and so hide it from the next line
        gc.unfreeze()
    # They refer to their class. Not gc.get_objects(): whoever holds all objects holds the tuples,
    # too, that other threads are just making, and CPython makes those fail then (SystemError).
    referrers = gc.get_referrers(_private_ssl.CONNECTION_CLASS)
    # Whatever is frozen is never collected, so only for a program that has done so itself.
    if frozen > FROZEN_AT_START:
        gc.freeze()
    for found in referrers:
        if type(found) is _private_ssl.CONNECTION_CLASS and not found.server_side:
            yield found


def _is_closed(owner: Any) -> bool:
    # a socket that was detached has no number any more either, but its TLS goes on
    return (
        isinstance(owner, _socket.socket)
        and owner.fileno() == -1
        and getattr(owner, "_sslobj", None) is None
    )
