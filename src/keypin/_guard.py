"""What stands between a program and a TLS connection until its server has been approved.

CPython's `SSLSocket` and `SSLObject` do all their work through one attribute, `_sslobj`, the
connection in C, which they get from their context's `_wrap_socket` and `_wrap_bio`. A guarded
context gives them a `Guard` instead. It passes a handshake through, then asks the pinner; only
when the server is approved does it step aside and leave the real object in its place, so that an
approved connection runs the code that it would have run without keypin. A refused connection
keeps its guard, whose every operation raises. This covers any method of any socket class, whether
it shakes hands first or not, and whatever the caller does with the error.

Which private names of `ssl` this rests on, and what was checked of them, is in `_private_ssl`.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
import weakref
from contextlib import suppress
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any, NoReturn

from . import _private_ssl
from .errors import (
    APPLICATION_VERIFICATION,
    HostnameError,
    NoServerName,
    PinMismatch,
    ProtectionError,
    UnverifiedConnection,
)
from .hostnames import certificate_names, normalise
from .pinset import Reason, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from .pinner import Pinner
    from .pinset import PinSet, Rule

__all__ = ["error_for", "guard_context"]

HANDSHAKE = 22  # TLS ContentType, RFC 8446, appendix B.3
# The handshake messages after which OpenSSL has verified the server's Certificate and before which
# it has written nothing of the client's answer: CertificateVerify (TLS 1.3), ServerKeyExchange and
# ServerHelloDone (TLS 1.2)
AFTER_CERTIFICATE = frozenset({15, 12, 14})
TLS_1_2 = 0x0303

WOULD_BLOCK = (ssl.SSLWantReadError, ssl.SSLWantWriteError)

REMEMBERED_SESSIONS = 1024
HOSTNAME_MISMATCH, CERTIFICATE_EXPIRED = 62, 10  # X509_V_ERR_*

ERROR_CLASSES = {
    Reason.NO_SERVER_NAME: NoServerName,
    Reason.NOT_VERIFIED: UnverifiedConnection,
    Reason.UNKNOWN_SESSION: UnverifiedConnection,
    Reason.NO_CERTIFICATE: UnverifiedConnection,
}


def error_for(verdict: Verdict) -> PinMismatch:
    """The exception that a refusing verdict is raised as."""
    return ERROR_CLASSES.get(verdict.reason, PinMismatch)(verdict)


def guard_context(
    context: ssl.SSLContext, pinner: Pinner, *, may_hold_client_certificate: bool
) -> None:
    """Make every client connection of a context ask `pinner`; see `Pinner.protect`."""
    if isinstance(context, GuardedContext):
        if context._keypin.pinner is not pinner:
            raise ProtectionError("the context is already protected by another Pinner")
        return
    if context.protocol == ssl.PROTOCOL_TLS_SERVER:
        raise ProtectionError("the context is for servers; pins are for clients")
    settings = ContextSettings(pinner)
    # class assignment is how a context is changed in place; the subclass adds no C-level fields
    plain: Any = type(context)
    context.__class__ = _guarded_class(plain)
    context._keypin = settings  # type: ignore[attr-defined]
    context.options = context.options  # the guarded setter adds what every connection needs
    context.hostname_checks_common_name = False
    # aiofastnet hands the SSL_CTX to its own C code, unless told that it must not
    context._aiofastnet_force_fallback_ssl = True  # type: ignore[attr-defined]
    if may_hold_client_certificate:
        settings.watch_handshakes(context)
    _try_out(context, plain)


def _try_out(context: ssl.SSLContext, plain: type) -> None:
    """Refuse a context whose connections do not come past `GuardedContext`."""
    connection = context.wrap_bio(
        ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="keypin.invalid"
    )
    if not isinstance(_private_ssl.connection_of(connection), Guard):
        raise ProtectionError(
            f"{plain.__qualname__} makes its connections where keypin cannot"
            " guard them; use Pinner.create_context()"
        )


class ContextSettings:
    """What a guarded context knows beside its pinner."""

    def __init__(self, pinner: Pinner) -> None:
        self.pinner = pinner
        # A connection takes its verify_mode from the context when it is made. The lock keeps
        # another thread from changing it between that and our reading it.
        self.lock = threading.RLock()
        self._watching = False
        self._verified: dict[bytes, tuple[bytes, ...]] = {}

    def remember(self, chain: tuple[bytes, ...]) -> None:
        """Keep a verified chain for the sessions that began with it."""
        if chain and chain[0] not in self._verified:
            while len(self._verified) >= REMEMBERED_SESSIONS:
                self._verified.pop(next(iter(self._verified)), None)
        if chain:
            self._verified[chain[0]] = chain

    def recall(self, leaf: bytes) -> tuple[bytes, ...] | None:
        """The chain that was verified for this leaf, in this context; None if none was."""
        return self._verified.get(leaf)

    def watch_handshakes(self, context: ssl.SSLContext, *, again: bool = False) -> None:
        """Look at the server's chain before the client's certificate is written.

        The callback costs something on every message, so it is on only where a client certificate
        is loaded, or may be.
        """
        if self._watching and not again:
            return
        if _private_ssl.MESSAGE_CALLBACK is None:
            raise ProtectionError(
                "this Python cannot look into a TLS handshake, so a client certificate would be"
                " shown to any server: keypin refuses to load one, and to protect a context that"
                " may hold one (Pinner.create_context() makes one without)"
            )
        self._watching = True
        connections, theirs = (
            self.pinner._connections,
            _private_ssl.MESSAGE_CALLBACK.__get__(context),
        )

        def on_message(
            owner: Any, direction: str, version: int, kind: int, message: int, data: bytes
        ) -> None:
            if kind == HANDSHAKE and message in AFTER_CERTIFICATE and direction == "read":
                guard = connections.get(owner)
                if guard is not None:
                    guard.certificate_received(version)
            if theirs is not None:
                theirs(owner, direction, version, kind, message, data)

        on_message.user_function = getattr(theirs, "user_function", None)  # type: ignore[attr-defined]
        _private_ssl.MESSAGE_CALLBACK.__set__(context, on_message)

    @property
    def watching(self) -> bool:
        return self._watching


class GuardedContext(ssl.SSLContext):
    """The changes to a context's class; `_guarded_class` mixes them into the class it had."""

    _keypin: ContextSettings

    def _wrap_socket(
        self, sock: Any, server_side: bool, server_hostname: str | None = None, **more: Any
    ) -> Any:
        make: Any = super()._wrap_socket  # type: ignore[misc]
        if server_side:
            return make(sock, server_side, server_hostname, **more)
        return self._guard(
            lambda: make(sock, server_side, server_hostname, **more), server_hostname, **more
        )

    def _wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool,
        server_hostname: str | None = None,
        **more: Any,
    ) -> Any:
        make: Any = super()._wrap_bio  # type: ignore[misc]
        if server_side:
            return make(incoming, outgoing, server_side, server_hostname, **more)
        return self._guard(
            lambda: make(incoming, outgoing, server_side, server_hostname, **more),
            server_hostname,
            outgoing=outgoing,
            **more,
        )

    def _guard(
        self,
        make: Callable[[], Any],
        server_hostname: str | None,
        *,
        owner: Any,
        outgoing: ssl.MemoryBIO | None = None,
        session: object = None,
    ) -> Guard:
        if server_hostname is None:
            self._keypin.pinner._refused(Verdict(None, Reason.NO_SERVER_NAME))
        with self._keypin.lock:
            connection = make()
            verifies = self.verify_mode != ssl.CERT_NONE
            names_checked = self.check_hostname and not self.hostname_checks_common_name
        guard = Guard(connection, owner, outgoing, self._keypin, str(server_hostname))
        guard.verifies, guard.names_checked = verifies, names_checked
        self._keypin.pinner._register(owner, guard)
        return guard

    @property  # type: ignore[override]
    def verify_mode(self) -> ssl.VerifyMode:
        return super().verify_mode

    @verify_mode.setter
    def verify_mode(self, value: ssl.VerifyMode) -> None:
        with self._keypin.lock:
            _set_inherited(self, "verify_mode", value)

    @property
    def check_hostname(self) -> bool:
        return super().check_hostname

    @check_hostname.setter
    def check_hostname(self, value: bool) -> None:
        with self._keypin.lock:
            _set_inherited(self, "check_hostname", value)

    @property  # type: ignore[override]
    def options(self) -> ssl.Options:
        return super().options

    @options.setter
    def options(self, value: ssl.Options) -> None:
        # a renegotiated TLS 1.2 handshake could bring another certificate, unseen
        _set_inherited(self, "options", value | ssl.OP_NO_RENEGOTIATION)

    def load_cert_chain(self, *arguments: Any, **more: Any) -> None:
        self._keypin.watch_handshakes(self)
        super().load_cert_chain(*arguments, **more)

    @property
    def _msg_callback(self) -> Any:
        callback = _private_ssl.MESSAGE_CALLBACK.__get__(self)
        return callback and callback.user_function

    @_msg_callback.setter
    def _msg_callback(self, callback: Any) -> None:
        _set_inherited(self, "_msg_callback", callback)
        if self._keypin.watching:
            self._keypin.watch_handshakes(self, again=True)


def _set_inherited(context: GuardedContext, name: str, value: object) -> None:
    """Set a property as the context's class before it was guarded would have."""
    getattr(super(GuardedContext, type(context)), name).__set__(context, value)


@cache
def _guarded_class(base: Any) -> type[ssl.SSLContext]:
    return type(f"Guarded{base.__name__}", (GuardedContext, base), {"__doc__": base.__doc__})


class Guard:
    """Stands in for the C connection of one `SSLSocket` or `SSLObject`, its owner.

    Args:
        connection: the `_ssl._SSLSocket`.
        owner: the Python object that calls it `_sslobj`.
        outgoing: for an `SSLObject`, the BIO whose content the caller will send.
        settings: those of the context that made it.
        host: the server name that TLS verifies, as the caller gave it, in ASCII.
    """

    __slots__ = (
        "__weakref__",
        "_chain",
        "_connection",
        "_outgoing",
        "_owner",
        "_settings",
        "approved",
        "host",
        "names_checked",
        "refusal",
        "verifies",
    )

    verifies: bool
    """whether OpenSSL verifies this connection's certificates"""
    names_checked: bool
    """whether OpenSSL checks this connection's host name, in subjectAltName only"""

    def __init__(
        self,
        connection: Any,
        owner: Any,
        outgoing: ssl.MemoryBIO | None,
        settings: ContextSettings,
        host: str,
    ) -> None:
        self._connection = connection
        self._owner = weakref.ref(owner)
        self._outgoing = outgoing
        self._settings = settings
        self._chain: tuple[bytes, ...] | None = None
        self.refusal: ssl.SSLCertVerificationError | None = None
        self.approved = False
        self.host = host

    # What SSLSocket and SSLObject call

    def do_handshake(self) -> None:
        """Shake hands, then decide; the only way through."""
        if self.approved:
            self._real().do_handshake()
        elif self.refusal is None:
            self._shake_hands()
        if self.refusal is not None:
            self._discard_output()
            raise self._error()

    def read(self, *arguments: Any) -> Any:
        """Read, after a handshake and an approval."""
        return self._approved_connection().read(*arguments)

    def write(self, data: Any) -> Any:
        """Write, after a handshake and an approval."""
        return self._approved_connection().write(data)

    def shutdown(self) -> Any:
        """Close the TLS layer; on a refused connection there is none to close."""
        if self.refusal is not None:
            raise self._error()
        return self._real().shutdown()

    @property
    def session(self) -> Any:
        """The TLS session; set before a handshake to resume one."""
        return self._real().session

    @session.setter
    def session(self, session: Any) -> None:
        self._real().session = session

    @property
    def owner(self) -> Any:
        """The Python object that this connection belongs to."""
        return self._owner()

    @owner.setter
    def owner(self, owner: Any) -> None:
        self._real().owner = owner

    @property
    def context(self) -> Any:
        """The context of the connection; a client's cannot be changed."""
        return self._real().context

    @context.setter
    def context(self, context: Any) -> NoReturn:
        raise ProtectionError("the TLS context of a guarded connection cannot be changed")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real(), name)

    # Inside the handshake, after it, and when the pins change

    def certificate_received(self, version: int) -> None:
        """Decide in the middle of the handshake, before a client certificate is written.

        An error raised here would surface only after the handshake. So the connection is cut, and
        `do_handshake` raises.
        """
        if self.refusal is None and not self.approved:
            self._decide(self._settings.pinner.pins, version)

    def recheck(self, pins: PinSet) -> bool:
        """Decide again on an approved connection; True if it is refused from now on."""
        owner = self._owner()
        if not self.approved or owner is None or _is_closed(owner):
            return False
        self._decide(pins)
        return self.refusal is not None

    def _shake_hands(self) -> None:
        accepted = None
        try:
            self._real().do_handshake()
        except WOULD_BLOCK:
            if self.refusal is None:
                raise
        except Exception as error:
            # a refusal in the middle of the handshake breaks it: the refusal is what counts
            if self.refusal is None:
                self._failed(error)
                raise
        else:
            if self.refusal is None:
                accepted = self._settle()
        if accepted is not None:
            self._settings.pinner._tell(self._with_port(accepted))
        elif isinstance(self.refusal, PinMismatch):
            self._settings.pinner._tell(self.refusal.verdict)

    def _failed(self, error: Exception) -> None:
        """Leave nothing open that a caller could take for a connection.

        After a failed handshake, `SSLSocket.connect` makes the socket a plain one; whoever swallows
        the error and goes on would send in the clear. A handshake that timed out can be tried
        again, unless it was made by `connect`.
        """
        owner: Any = self._owner()
        if not isinstance(error, TimeoutError) or getattr(owner, "do_handshake_on_connect", False):
            self._cut()

    def _settle(self) -> Verdict | None:
        """Decide after the handshake, under the pins in force when it is over."""
        pinner = self._settings.pinner
        while (verdict := self._decide(pins := pinner.pins)) is not None:
            with pinner._lock:
                self._step_aside()
                if pinner.pins is pins:
                    return verdict
                # replaced since: by another thread before the lock, or by a signal handler in it
                self._step_in()
                if self.refusal is not None:
                    return verdict
        return None

    def _decide(self, pins: PinSet, version: int | None = None) -> Verdict | None:
        """The verdict if it accepts; else the connection is refused, whatever went wrong."""
        try:
            verdict = self._verdict(pins, version)
            if verdict.accepted:
                return verdict
            self._refuse(error_for(self._with_port(verdict)))
        except ssl.SSLCertVerificationError as error:
            self._refuse(error)
        except Exception as error:  # noqa: BLE001 - in doubt, refuse
            self._refuse(
                _verification_error(APPLICATION_VERIFICATION, f"keypin could not decide: {error!r}")
            )
        return None

    def _verdict(self, pins: PinSet, version: int | None = None) -> Verdict:
        try:
            host = normalise(self.host)
        except HostnameError:
            return Verdict(self.host, Reason.BAD_HOST)
        rule = pins.rule_for(host)
        if rule is None:
            return pins.unlisted_verdict(host)
        if rule.exclude:
            return rule.check(host, ())
        if not self.verifies:
            return rule.refusal(host, Reason.NOT_VERIFIED)
        if self._chain is None:
            refusal = self._gather(host, rule, version)
            if refusal is not None:
                return refusal
        return rule.check(host, self._chain or ())

    def _gather(self, host: str, rule: Rule, version: int | None) -> Verdict | None:
        """Get the verified chain, or the reason why there is none to be had."""
        connection = self._real()
        if connection is None:
            return rule.refusal(host, Reason.NO_CERTIFICATE)
        if version is None:
            modern = connection.version() in {"TLSv1.2", "TLSv1.3"}
        else:
            modern = version >= TLS_1_2
        if not modern:
            return rule.refusal(host, Reason.OLD_PROTOCOL)
        if connection.session_reused:
            leaf = connection.getpeercert(True)
            chain = self._settings.recall(leaf) if leaf else None
            if chain is None:
                return rule.refusal(host, Reason.UNKNOWN_SESSION)
            fields = connection.getpeercert()
            _check_name(host, fields)
            _check_date(fields)
        else:
            chain = _private_ssl.verified_chain(connection)
            if chain and not self.names_checked:
                _check_name(host, connection.get_verified_chain()[0].get_info())
            self._settings.remember(chain)
        self._chain = chain
        return None

    # The states: in the way at first, then aside or closed

    def _approved_connection(self) -> Any:
        if not self.approved or self.refusal is not None:
            self.do_handshake()
        return self._real()

    def _real(self) -> Any:
        if self._connection is not None:
            return self._connection
        return getattr(self._owner(), "_sslobj", None)

    def _step_aside(self) -> None:
        self.approved = True
        owner: Any = self._owner()
        if getattr(owner, "_sslobj", None) is self:
            # and let go, so that closing the owner frees the connection
            connection, self._connection = self._connection, None
            owner._sslobj = connection

    def _step_in(self) -> None:
        self.approved = False
        owner = self._owner()
        if self._connection is None:
            self._connection = getattr(owner, "_sslobj", None)
            if owner is not None:
                owner._sslobj = self

    def _refuse(self, error: ssl.SSLCertVerificationError) -> None:
        self.refusal = error
        self._step_in()
        self._cut()

    def _cut(self) -> None:
        owner = self._owner()
        if isinstance(owner, socket.socket):
            with suppress(OSError):  # never connected, or gone already
                # not SSLSocket.shutdown(), which would leave a plain socket behind
                socket.socket.shutdown(owner, socket.SHUT_RDWR)
        self._discard_output()

    def _discard_output(self) -> None:
        """What OpenSSL has written for the caller to send must not be sent."""
        if self._outgoing is not None:
            self._outgoing.read()

    def _error(self) -> ssl.SSLCertVerificationError:
        """The refusal, made anew: an error raised twice would drag its first traceback along."""
        if isinstance(self.refusal, PinMismatch):
            return type(self.refusal)(self.refusal.verdict)
        refusal: Any = self.refusal
        return _verification_error(refusal.verify_code, refusal.verify_message)

    def _with_port(self, verdict: Verdict) -> Verdict:
        owner: Any = self._owner()
        try:
            peer = owner.getpeername()
        except (AttributeError, OSError):
            return verdict
        return replace(verdict, port=peer[1]) if isinstance(peer, tuple) else verdict


def _is_closed(owner: Any) -> bool:
    return isinstance(owner, socket.socket) and owner.fileno() == -1


def _check_name(host: str, fields: dict[str, Any]) -> None:
    if not certificate_names(host, fields):
        raise _verification_error(
            HOSTNAME_MISMATCH, f"Hostname mismatch, certificate is not valid for '{host}'."
        )


def _check_date(fields: dict[str, Any]) -> None:
    if ssl.cert_time_to_seconds(fields["notAfter"]) < time.time():
        raise _verification_error(CERTIFICATE_EXPIRED, "certificate has expired")


def _verification_error(code: int, message: str) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(
        ssl.SSLErrorNumber.SSL_ERROR_SSL,
        f"[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: {message}",
    )
    error.library, error.reason = "SSL", "CERTIFICATE_VERIFY_FAILED"
    error.verify_code, error.verify_message = code, message
    return error
