"""Pins for every TLS context of the process; see `Pinner.install`.

While pins are installed, some attributes of `ssl.SSLContext` are replaced. All contexts, whenever
they were made and of whatever subclass, make their connections through two of them. A connection
to a host that installed pins govern gets a guard; any other is made as before.
"""

from __future__ import annotations

import _socket
import _thread
import os
import ssl
import sys
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ..errors import ProtectionError
from ..pinset import Reason, strictest
from . import private_ssl, uncovered
from .context import (
    ContextState,
    GuardedContext,
    guarded_connection,
    hook_certificate_loader,
    load_credentials,
    loader_was_taken,
    state_of,
)
from .guard import LOCK, Guard, guard_of, take_copies
from .heap import client_connections, holders_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import FrameType

    from ..pinner import Pinner
    from ..pinset import Verdict

__all__ = [
    "UnguardedConnections",
    "in_main_interpreter",
    "install",
    "installed",
    "search",
    "uninstall",
]

# The methods of a context that make a connection
MAKERS: Final = frozenset({"_wrap_bio", "_wrap_socket"})

# As often as each was installed, in that order; and each once
_installed: tuple[Pinner, ...] = ()
_pinners: tuple[Pinner, ...] = ()
# Changes whenever the hooks come back after they were gone
_installation: object = None
# By the `ssl.SSLContext` that they are in, perhaps below others'
_hooks: dict[type, Hooks] = {}


def installed() -> tuple[Pinner, ...]:
    """The pinners whose pins hold for the whole process, each once."""
    return _pinners


def install(pinner: Pinner) -> UnguardedConnections:
    """Put a pinner's pins in force for the process.

    Returns:
        What was open already; nothing if the pinner had been installed before.

    Raises:
        ProtectionError: that cannot be done safely; nothing has changed.
    """
    with LOCK:
        if pinner in _installed:
            _set_installed((*_installed, pinner))
            return UnguardedConnections([], [])
        try:
            _attach()
            _set_installed((*_installed, pinner))
            uncovered.watch(_judge_unguarded)
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
        uncovered.unwatch()
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


def _hooks_over(below: dict[str, Any]) -> dict[str, Any]:
    """The hooks, by the names of what they replace.

    Args:
        below: what was there before, by the same names.
    """

    def wrap_socket(
        context: ssl.SSLContext,
        sock: Any,
        server_side: bool,
        server_hostname: str | None = None,
        *,
        owner: Any = None,
        **more: Any,
    ) -> Any:
        make = partial(
            below["_wrap_socket"], context, sock, server_side, server_hostname, owner=owner, **more
        )
        return make() if server_side else _connection(context, make, owner, None, server_hostname)

    def wrap_bio(
        context: ssl.SSLContext,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool,
        server_hostname: str | None = None,
        *,
        owner: Any = None,
        **more: Any,
    ) -> Any:
        make = partial(
            below["_wrap_bio"],
            *(context, incoming, outgoing, server_side, server_hostname),
            owner=owner,
            **more,
        )
        if server_side:
            return make()
        return _connection(context, make, owner, outgoing, server_hostname)

    def init(context: ssl.SSLContext, *arguments: object, **more: object) -> None:
        """A context that is new holds no client certificate yet; of others one cannot know."""
        if below["__init__"] is not object.__init__:  # which would refuse the arguments
            below["__init__"](context, *arguments, **more)
        # a class with its own way to load one may go round the hook
        if type(context).load_cert_chain is load_cert_chain and not loader_was_taken():
            state = ContextState(may_hold_client_certificate=False, installation=_installation)
            vars(context).setdefault("_keypin", state)

    def load_cert_chain(
        context: ssl.SSLContext, certfile: Any, keyfile: Any = None, password: Any = None
    ) -> None:
        load_credentials(context, certfile, keyfile, password)

    def get_verify_mode(context: ssl.SSLContext) -> Any:
        return below["verify_mode"].__get__(context)

    def set_verify_mode(context: ssl.SSLContext, value: Any) -> None:
        with LOCK:
            below["verify_mode"].__set__(context, value)

    def get_message_callback(context: ssl.SSLContext) -> Any:
        state = state_of(context)
        if state.is_enabled(context):
            return state.their_callback
        return below["_msg_callback"].__get__(context)

    def set_message_callback(context: ssl.SSLContext, callback: Any) -> None:
        with LOCK:
            if not state_of(context).chain_callback(context, callback):
                below["_msg_callback"].__set__(context, callback)

    return {
        "_wrap_socket": wrap_socket,
        "_wrap_bio": wrap_bio,
        "__init__": init,
        "load_cert_chain": load_cert_chain,
        "verify_mode": property(get_verify_mode, set_verify_mode),
        "_msg_callback": property(get_message_callback, set_message_callback),
        # aiofastnet hands the SSL_CTX to its own C code, unless told that it must not
        "_aiofastnet_force_fallback_ssl": True,
    }


class Hooks:
    """Those of one `ssl.SSLContext`.

    Attributes:
        below: what lies below each of them, of the class itself or of its base. It stays when they
            are removed, because another thread may be inside of one.
        attached: which of them are there, perhaps below another library's.
    """

    __slots__ = ("_kind", "attached", "below", "own")

    def __init__(self, kind: Any) -> None:
        self._kind = kind
        self.below: dict[str, Any] = {}
        self.attached: set[str] = set()
        self.own = _hooks_over(self.below)

    @property
    def are_there(self) -> bool:
        """Whether the last of them is in place."""
        return vars(self._kind).get("_wrap_bio") is self.own["_wrap_bio"]

    def attach(self) -> None:
        """Put them in place.

        It may be interrupted anywhere: what is there is told by the class itself, and `attached` is
        written after it.
        """
        for name, hook in self.own.items():
            if vars(self._kind).get(name) is not hook:
                if name in self.attached:
                    raise ProtectionError(
                        f"something else has replaced ssl.SSLContext.{name} after keypin did:"
                        " uninstall that first, or install keypin after it"
                    )
                self.below[name] = getattr(self._kind, name, None)
                setattr(self._kind, name, hook)
            self.attached.add(name)

    def detach(self) -> None:
        """Remove them, but for those that somebody else has put a hook over: they do nothing."""
        for name, hook in self.own.items():
            if vars(self._kind).get(name) is hook:
                self.attached.discard(name)
                if self.below[name] is getattr(private_ssl.C_CONTEXT_CLASS, name, None):
                    delattr(self._kind, name)  # it was inherited
                else:
                    setattr(self._kind, name, self.below[name])


def _attach() -> None:
    """Put the hooks in place; it may be interrupted anywhere, and is repeated then."""
    global _installation
    hook_certificate_loader()
    for kind in private_ssl.context_classes():
        hooks = _hooks.get(kind)
        if hooks is None:
            hooks = _hooks[kind] = Hooks(kind)
        if not hooks.are_there:
            _installation = object()
        hooks.attach()
    _wait_for_makers()


def _detach() -> None:
    for hooks in _hooks.values():
        hooks.detach()


def _wait_for_makers(seconds: float = 10.0) -> None:
    """Wait for the threads that are making a connection by what stood in the place of the hooks.

    They do so without Python's global lock, and what they make is found by nobody before it is
    made to the end.
    """
    if _is_making(sys._getframe()):
        raise ProtectionError(
            "this thread is in the middle of making a TLS connection (a signal handler, a finalizer"
            " or a trace function installs pins), so that cannot be guarded"
        )
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


def _is_making(innermost: FrameType | None) -> bool:
    """Whether a thread is in a function that makes a connection, and has not made it yet.

    However far below the innermost frame: a trace function, a profiler or a subclass's own method
    may stand between that and the call. If it is in a hook, the connection will have a guard.
    """
    frame = innermost
    while frame is not None and frame.f_code not in _guarding_code:
        code = frame.f_code
        # of the standard library, gevent or eventlet
        if (
            os.path.basename(code.co_filename) == "ssl.py"
            and MAKERS.intersection(code.co_names)
            and getattr(frame.f_locals.get("self"), "_sslobj", None) is None
        ):
            return True
        frame = frame.f_back
    return False


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


# That of what gives a guard to what it makes, under the lock
_guarding_code: Final = {
    *(GuardedContext._wrap_socket.__code__, GuardedContext._wrap_bio.__code__),
    *(_hooks_over({})[name].__code__ for name in ("_wrap_socket", "_wrap_bio")),
}


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
            # as `_governs` does, but without a call; Python code is dear at this point (`guard`)
            known = pinner._known_hosts.get(host)
            if known is None or known[0] is not pinner._pins:
                if pinner._governs(host):
                    asking.append(pinner)
            elif known[1]:
                asking.append(pinner)
        if not private_ssl.CHECK_HOSTNAME.__get__(context):
            # The program may check another name than this one, which nobody knows of.
            asking = [pinner for pinner in _pinners if pinner in asking or pinner._pins.rules]
        if not asking:
            return make()
        _assume_client_certificate(context)
        return guarded_connection(context, asking, make, owner, outgoing, host)


def _assume_client_certificate(context: ssl.SSLContext) -> None:
    """One may be loaded, unless the context was made, and kept under our eyes, since the hooks."""
    state = vars(context).get("_keypin") or state_of(context)
    if state.installation is not _installation and not isinstance(context, GuardedContext):
        state.expect_client_certificate()


# Connections that are open already


class UnguardedConnections(NamedTuple):
    """Open connections to hosts that a pinner governs and that it has not seen begin."""

    refused: list[Guard]
    """what carries them is still to hang up"""
    tolerated: list[Verdict]
    """on those that are let pass, because their rule only reports"""


def search(pinner: Pinner) -> UnguardedConnections:
    """Refuse the open connections to hosts that a pinner governs and that it has not seen begin.

    Nobody knows how such a connection was verified, so its server's key proves nothing.
    """
    found = UnguardedConnections([], [])
    seen = {id(guard.connection) for guard in pinner._living_guards()}
    for connection, owner in _with_owners(client_connections()):
        if id(connection) in seen or _is_closed(owner):
            continue
        host = connection.server_hostname
        guard = guard_of(connection, owner)  # another pinner's, or only for the credentials
        context = connection.context if guard is None else guard.context
        try:
            verdict = _verdict_on_open(pinner, connection, context)
        except ValueError:
            verdict = None
        else:
            if verdict is None:
                continue
            if verdict.accepted:
                found.tolerated.append(verdict)
                continue
        if guard is None:
            guard = Guard(connection, context, owner, None, state_of(context), host, False, False)
        guard.join(pinner)
        guard.refuse(verdict, pinner)
        found.refused.append(guard)
    take_copies(found.refused)
    return found


def _with_owners(connections: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
    """Connections in C, each with the Python object that has it; without those that none has."""
    orphans = []
    for connection in connections:
        if (owner := connection.owner) is not None:
            yield connection, owner
        else:
            orphans.append(connection)
    # that was found dead: it is gone, or was revived by a finalizer
    by_identity = {id(orphan): orphan for orphan in orphans}
    for holder in holders_of(orphans) if orphans else ():
        orphan = by_identity.pop(id(getattr(holder, "__dict__", {}).get("_sslobj")), None)
        if orphan is not None:
            yield orphan, holder


def _verdict_on_open(pinner: Pinner, connection: Any, context: Any) -> Verdict | None:
    """The verdict on a connection that a pinner has not seen begin; None if it is not governed.

    It is governed by its server name, and, where OpenSSL was not to check that, by those that the
    server's certificate bears.

    Raises:
        ValueError: there is no certificate yet, and it may be one to be refused.
    """
    host = connection.server_hostname
    names = [host] if pinner._governs(host) else []
    verdicts = [pinner._verdict_on_unseen(name, Reason.OPENED_BEFORE) for name in names]
    if not context.check_hostname and all(verdict.accepted for verdict in verdicts):
        try:
            names = list(pinner.pins.rules_for_certificate(private_ssl.leaf_fields(connection)))
        except ValueError:  # the handshake is not over
            if _may_refuse_by_name(pinner, context):
                raise
            names = []
        verdicts += [pinner._verdict_on_unseen(name, Reason.OPENED_BEFORE) for name in names]
    return strictest(verdicts)


def _may_refuse_by_name(pinner: Pinner, context: Any) -> bool:
    """Whether a certificate that is still to come may bear a name whose pins refuse it."""
    return context.verify_mode != ssl.CERT_NONE and any(
        rule.deny or (rule.mode == "enforce" and not rule.exclude) for rule in pinner.pins.rules
    )


def _is_closed(owner: Any) -> bool:
    # a socket that was detached has no number any more either, but its TLS goes on
    return (
        isinstance(owner, _socket.socket)
        and owner.fileno() == -1
        and getattr(owner, "_sslobj", None) is None
    )
