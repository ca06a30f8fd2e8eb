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

import _socket
import socket
import ssl
import threading
import time
import weakref
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn

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
# it has written nothing of the client's answer: CertificateVerify and Finished (TLS 1.3),
# ServerKeyExchange and ServerHelloDone (TLS 1.2). Two of each, so that an interrupted look at the
# first is made good at the second.
AFTER_CERTIFICATE = frozenset({15, 20, 12, 14})
TLS_1_2 = 0x0303
MODERN = frozenset({"TLSv1.2", "TLSv1.3"})

REMEMBERED = 1024  # verified chains, per context
HOSTNAME_MISMATCH, CERTIFICATE_EXPIRED = 62, 10  # X509_V_ERR_*

# Verdicts that only an observer wants to hear of
QUIET = frozenset({Reason.MATCHED, Reason.UNLISTED, Reason.EXCLUDED})

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


class Approval(NamedTuple):
    """A decision that holds as long as nothing that it was made on changes."""

    pins: PinSet
    certificates: Any
    """the verified chain as OpenSSL has it; None if the host may be talked to whatever it serves"""
    chain: tuple[bytes, ...]
    """the same in DER"""
    verdict: Verdict


class ContextSettings:
    """What a guarded context knows beside its pinner."""

    def __init__(self, pinner: Pinner) -> None:
        self.pinner = pinner
        # A connection takes its verify_mode from the context when it is made. The lock keeps
        # another thread from changing it between that and our reading it.
        self.lock = threading.RLock()
        self.watching = False
        self.their_callback: Any = None
        self._chains: dict[bytes, tuple[bytes, ...]] = {}
        self._named: dict[tuple[str, bytes], None] = {}
        self.approvals: dict[str, Approval] = {}

    def refuse_nameless(self) -> NoReturn:
        """Refuse a connection for which no rule can be looked up, before it is made."""
        verdict = Verdict(None, Reason.NO_SERVER_NAME)
        self.pinner._tell(verdict)
        raise error_for(verdict)

    def approve(self, host: str, approval: Approval) -> None:
        """Keep an approval, if it is one and does not depend on the time."""
        verdict = approval.verdict
        if verdict.matched and (verdict.rule is None or verdict.rule.expires is None):
            self._keep(self.approvals, host, approval)

    def remember(self, chain: tuple[bytes, ...]) -> tuple[bytes, ...]:
        """Keep a verified chain for the sessions that begin with it.

        Returns:
            An equal chain: the bytes that were kept before, whose hashes are known, where it can.
        """
        known = self._chains.get(chain[0]) if chain else None
        if known == chain:
            return known
        if chain:
            self._keep(self._chains, chain[0], chain)
        return chain

    def recall(self, leaf: bytes) -> tuple[bytes, ...] | None:
        """The chain that was verified for this leaf, in this context; None if none was."""
        return self._chains.get(leaf)

    def check_name(self, host: str, leaf: bytes, fields: Callable[[], dict[str, Any]]) -> None:
        """Check that a verified leaf is for a host, whatever OpenSSL was told to check.

        `check_hostname` is switched off on resumed sessions, by urllib3 for its own assertions,
        and can be switched at any time by another thread.
        """
        if (host, leaf) in self._named:
            return
        if not certificate_names(host, fields()):
            raise _verification_error(
                HOSTNAME_MISMATCH, f"Hostname mismatch, certificate is not valid for '{host}'."
            )
        self._keep(self._named, (host, leaf), None)

    def watch_handshakes(self, context: ssl.SSLContext) -> None:
        """Look at the server's chain before the client's certificate is written.

        The callback costs something on every message, so it is on only where a client certificate
        is loaded, or may be.
        """
        if self.watching:
            return
        if _private_ssl.MESSAGE_CALLBACK is None:
            raise ProtectionError(
                "this Python cannot look into a TLS handshake, so a client certificate would be"
                " shown to any server: keypin refuses to load one, and to protect a context that"
                " may hold one (Pinner.create_context() makes one without)"
            )
        self.their_callback = _private_ssl.MESSAGE_CALLBACK.__get__(context)
        _private_ssl.MESSAGE_CALLBACK.__set__(context, self.on_message)
        self.watching = True

    def on_message(
        self, owner: Any, direction: str, version: int, kind: int, message: int, data: bytes
    ) -> None:
        """Hear of a TLS message; `SSLContext._msg_callback` of a context that is watched."""
        if kind == HANDSHAKE and message in AFTER_CERTIFICATE and direction == "read":
            guard = self.pinner._guard_of(owner)
            if guard is not None:
                guard.certificate_received(version)
        if self.their_callback is not None:
            self.their_callback(owner, direction, version, kind, message, data)

    def _keep(self, memory: dict[Any, Any], key: Any, value: Any) -> None:
        with self.lock:
            while len(memory) >= REMEMBERED:
                del memory[next(iter(memory))]
            memory[key] = value


class GuardedContext(ssl.SSLContext):
    """The changes to a context's class; `_guarded_class` mixes them into the class it had."""

    _keypin: ContextSettings

    def _wrap_socket(
        self,
        sock: Any,
        server_side: bool,
        server_hostname: str | None = None,
        *,
        owner: Any = None,
        **more: Any,
    ) -> Any:
        make: Any = super()._wrap_socket  # type: ignore[misc]
        if server_side:
            return make(sock, server_side, server_hostname, owner=owner, **more)
        settings = self._keypin
        if server_hostname is None:
            settings.refuse_nameless()
        with settings.lock:
            connection = make(sock, server_side, server_hostname, owner=owner, **more)
            verifies = _private_ssl.VERIFY_MODE.__get__(self) != ssl.CERT_NONE
        return Guard(connection, owner, None, settings, server_hostname, verifies)

    def _wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool,
        server_hostname: str | None = None,
        *,
        owner: Any = None,
        **more: Any,
    ) -> Any:
        make: Any = super()._wrap_bio  # type: ignore[misc]
        if server_side:
            return make(incoming, outgoing, server_side, server_hostname, owner=owner, **more)
        settings = self._keypin
        if server_hostname is None:
            settings.refuse_nameless()
        with settings.lock:
            connection = make(incoming, outgoing, server_side, server_hostname, owner=owner, **more)
            verifies = _private_ssl.VERIFY_MODE.__get__(self) != ssl.CERT_NONE
        return Guard(connection, owner, outgoing, settings, server_hostname, verifies)

    @property  # type: ignore[override]
    def verify_mode(self) -> ssl.VerifyMode:
        return super().verify_mode

    @verify_mode.setter
    def verify_mode(self, value: ssl.VerifyMode) -> None:
        with self._keypin.lock:
            _set_inherited(self, "verify_mode", value)

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
        theirs = self._keypin.their_callback
        return theirs and theirs.user_function

    @_msg_callback.setter
    def _msg_callback(self, callback: Any) -> None:
        # let `ssl` wrap it on a context of its own, so that ours is never off
        scratch: Any = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        scratch._msg_callback = callback
        self._keypin.watch_handshakes(self)
        self._keypin.their_callback = _private_ssl.MESSAGE_CALLBACK.__get__(scratch)


def _set_inherited(context: GuardedContext, name: str, value: object) -> None:
    """Set a property as the context's class before it was guarded would have."""
    getattr(super(GuardedContext, type(context)), name).__set__(context, value)


@cache
def _guarded_class(base: Any) -> type[ssl.SSLContext]:
    return type(f"Guarded{base.__name__}", (GuardedContext, base), {"__doc__": base.__doc__})


class Waiting:
    """Mixed into a socket's class until its server is approved: to drop TLS is to hang up.

    `SSLSocket.shutdown()`, and `connect()` whose handshake fails or does not end, set `_sslobj` to
    None and leave a connected plain socket behind, which would send what it is given in the clear.
    """

    __slots__ = ()

    @property
    def _sslobj(self) -> Any:
        return self.__dict__["_sslobj"]

    @_sslobj.setter
    def _sslobj(self, connection: Any) -> None:
        self.__dict__["_sslobj"] = connection
        if connection is None:
            _shut_down(self)


@cache
def _waiting_class(base: Any) -> Any:
    if issubclass(base, Waiting):
        return base
    own = {"__slots__": (), "__doc__": base.__doc__, "__module__": base.__module__}
    return type(base)(base.__name__, (Waiting, base), {**own, "_approved_class": base})


def _let_wait(owner: Any) -> None:
    kind: Any = type(owner)
    if issubclass(kind, ssl.SSLSocket):
        owner.__class__ = _waiting_class(kind)


def _shut_down(owner: Any) -> None:
    """Let no byte through any more, if this is a socket, without closing it."""
    if isinstance(owner, _socket.socket):
        with suppress(OSError):  # never connected, or gone already
            # not SSLSocket.shutdown(), which would leave a plain socket behind
            _socket.socket.shutdown(owner, socket.SHUT_RDWR)


class Guard:
    """Stands in for the C connection of one `SSLSocket` or `SSLObject`, its owner.

    Args:
        connection: the `_ssl._SSLSocket`.
        owner: the Python object that calls it `_sslobj`.
        outgoing: for an `SSLObject`, the BIO whose content the caller will send.
        settings: those of the context that made it.
        host: the server name that TLS verifies, as the caller gave it, in ASCII.
        verifies: whether OpenSSL verifies this connection's certificates.
    """

    __slots__ = (
        "_chain",
        "_connection",
        "_interruption",
        "_outgoing",
        "_owner",
        "_settings",
        "approved",
        "host",
        "refusal",
        "verifies",
    )

    def __init__(
        self,
        connection: Any,
        owner: Any,
        outgoing: ssl.MemoryBIO | None,
        settings: ContextSettings,
        host: str,
        verifies: bool,
    ) -> None:
        guards, key = settings.pinner._guards, id(owner)
        self._connection = connection
        self._owner = weakref.ref(owner, lambda _: guards.pop(key, None))
        self._outgoing = outgoing
        self._settings = settings
        self._chain: tuple[bytes, ...] | None = None
        self._interruption: BaseException | None = None
        self.refusal: ssl.SSLCertVerificationError | None = None
        self.approved = False
        self.host = host
        self.verifies = verifies
        if not isinstance(owner, ssl.SSLObject):
            _let_wait(owner)
        guards[key] = self

    # What SSLSocket and SSLObject call

    def do_handshake(self) -> None:
        """Shake hands, then decide; the only way through."""
        try:
            if self.approved:
                self._real().do_handshake()
            elif self.refusal is None:
                self._shake_hands()
            if self.refusal is not None:
                self._raise_refusal()
        except BaseException:
            if self.refusal is not None:
                # once more, for a signal handler that raised before the first time was over
                self._discard_output()
            raise

    def read(self, *arguments: Any) -> Any:
        """Read, after a handshake and an approval."""
        return self._approved_connection().read(*arguments)

    def write(self, data: Any) -> Any:
        """Write, after a handshake and an approval."""
        return self._approved_connection().write(data)

    def shutdown(self) -> Any:
        """Close the TLS layer; on a refused connection there is none to close."""
        if self.refusal is not None:
            self._raise_refusal()
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

        OpenSSL would go on with the handshake whatever is raised here, and the error surface only
        afterwards. So the connection is cut, also where the decision was interrupted, because
        undecided is not approved; then `do_handshake` raises.
        """
        try:
            if self.refusal is None and not self.approved:
                self._decide(self._settings.pinner.pins, version)
        except BaseException as interruption:  # noqa: BLE001 - a signal handler's, say
            self._interruption = interruption
            self.refuse_undecided()
        if self.refusal is not None:
            self.cut()

    def recheck(self, pins: PinSet) -> bool:
        """Decide again on an approved connection; True if it is refused from now on."""
        if not self.approved or self._is_closed():
            return False
        self._decide(pins)
        return self.refusal is not None

    def cut(self) -> None:
        """Let no byte through any more, whatever state this is in."""
        _shut_down(self._owner())
        self._discard_output()

    def refuse_undecided(self) -> None:
        """Refuse, because a decision was interrupted."""
        self._refuse(UNDECIDED)

    # Every call of Python code costs a new connection dearly: it finds the processor's caches full
    # of cryptography. So what every connection goes through, from here to `_step_aside`, is in few
    # functions, and ends early where the same was approved before.

    def _shake_hands(self) -> None:
        pinner, accepted = self._settings.pinner, None
        if self._settings.watching:
            _need_stack()
        try:
            self._connection.do_handshake()
        except Exception:
            # a refusal in the middle of the handshake breaks it: the refusal is what counts
            if self.refusal is None:
                raise
        else:
            if self.refusal is None:
                accepted = self._settle(pinner)
        if accepted is not None:
            if accepted.reason not in QUIET or accepted.expired or pinner._on_verdict is not None:
                pinner._tell(self._with_port(accepted))
        elif isinstance(self.refusal, PinMismatch):
            pinner._tell(self.refusal.verdict)

    def _settle(self, pinner: Pinner) -> Verdict | None:
        """Decide after the handshake, under the pins in force when it is over."""
        while (verdict := self._decide(pins := pinner._pins)) is not None:
            with pinner._lock:
                if pinner._pins is not pins:
                    continue  # replaced by another thread meanwhile
                self._step_aside()
                if pinner._pins is pins:
                    return verdict
                # replaced by a signal handler that ran here
                self._step_in()
                if self.refusal is not None:
                    return verdict
        return None

    def _decide(self, pins: PinSet, version: int | None = None) -> Verdict | None:
        """The verdict if it accepts; else the connection is refused, whatever went wrong."""
        try:
            known = self._settings.approvals.get(self.host)
            if known is not None and known.pins is pins and self._is_as_in(known, version):
                self._chain = known.chain or None
                return known.verdict
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

    def _is_as_in(self, known: Approval, version: int | None) -> bool:
        """Whether this connection has all that an approval was given for."""
        if known.certificates is None:
            return True
        connection = self._connection
        return (
            self.verifies
            and connection is not None
            and not connection.session_reused
            and (connection.version() in MODERN if version is None else version >= TLS_1_2)
            # X509_cmp of each, which is cheaper than getting at their bytes
            and connection.get_verified_chain() == known.certificates
        )

    def _verdict(self, pins: PinSet, version: int | None = None) -> Verdict:
        try:
            host = normalise(self.host)
        except HostnameError:
            return Verdict(self.host, Reason.BAD_HOST)
        rule = pins.rule_for(host)
        if rule is None or rule.exclude:
            verdict = pins.unlisted_verdict(host) if rule is None else rule.check(host, ())
            self._settings.approve(self.host, Approval(pins, None, (), verdict))
            return verdict
        if not self.verifies:
            return rule.refusal(host, Reason.NOT_VERIFIED)
        if self._chain is None:
            refusal = self._gather(host, rule, version)
            if refusal is not None:
                return refusal
        chain = self._chain or ()
        verdict = rule.check(host, chain)
        connection = self._real()
        if connection is not None and (certificates := connection.get_verified_chain()):
            self._settings.approve(self.host, Approval(pins, certificates, chain, verdict))
        return verdict

    def _gather(self, host: str, rule: Rule, version: int | None) -> Verdict | None:
        """Get the verified chain, or the reason why there is none to be had."""
        connection = self._real()
        if connection is None:
            return rule.refusal(host, Reason.NO_CERTIFICATE)
        if not (connection.version() in MODERN if version is None else version >= TLS_1_2):
            return rule.refusal(host, Reason.OLD_PROTOCOL)
        if connection.session_reused:
            leaf = connection.getpeercert(True)
            chain = self._settings.recall(leaf) if leaf else None
            if chain is None:
                return rule.refusal(host, Reason.UNKNOWN_SESSION)
            self._settings.check_name(host, chain[0], connection.getpeercert)
            _check_date(connection.getpeercert())
        else:
            chain = self._settings.remember(_private_ssl.verified_chain(connection))
            if chain:
                leaf_fields = connection.get_verified_chain()[0].get_info
                self._settings.check_name(host, chain[0], leaf_fields)
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
            if isinstance(owner, Waiting):
                owner.__class__ = owner._approved_class  # type: ignore[attr-defined]

    def _step_in(self) -> None:
        self.approved = False
        owner: Any = self._owner()
        if self._connection is None and owner is not None:
            self._connection = owner._sslobj
            owner._sslobj = self
            _let_wait(owner)

    def _refuse(self, error: ssl.SSLCertVerificationError) -> None:
        self.refusal = error
        self._step_in()
        self.cut()

    def _is_closed(self) -> bool:
        # a socket that was detached has no number any more, but its TLS goes on
        owner: Any = self._owner()
        return owner is None or (
            isinstance(owner, _socket.socket) and owner.fileno() == -1 and self._real() is None
        )

    def _discard_output(self) -> None:
        """What OpenSSL has written for the caller to send must not be sent."""
        if self._outgoing is not None:
            self._outgoing.read()

    def _raise_refusal(self) -> NoReturn:
        """Raise the refusal, or what interrupted it.

        It is made anew: an error raised twice would drag its first traceback along.
        """
        self._discard_output()
        if self._interruption is not None:
            interruption, self._interruption = self._interruption, None
            raise interruption
        if isinstance(self.refusal, PinMismatch):
            raise type(self.refusal)(self.refusal.verdict)
        refusal: Any = self.refusal
        raise _verification_error(refusal.verify_code, refusal.verify_message)

    def _with_port(self, verdict: Verdict) -> Verdict:
        owner: Any = self._owner()
        try:
            peer = owner.getpeername()
        except (AttributeError, OSError):
            return verdict
        return verdict._replace(port=peer[1]) if isinstance(peer, tuple) else verdict


def _need_stack(frames: int = 64) -> None:
    """Raise RecursionError now rather than inside the handshake, where it would go unnoticed."""
    if frames:
        _need_stack(frames - 1)


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


UNDECIDED: Final = _verification_error(APPLICATION_VERIFICATION, "keypin was interrupted")
