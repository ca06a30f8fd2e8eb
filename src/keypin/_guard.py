"""What stands between a program and a TLS connection until its server has been approved.

CPython's `SSLSocket` and `SSLObject` do all their work through one attribute, `_sslobj`, the
connection in C, which they get from their context. A guarded context (`_context`) gives them a
`Guard` instead. It passes a handshake through, then asks the pinner; only
when the server is approved does it step aside and leave the real object in its place, so that an
approved connection runs the code that it would have run without keypin. A refused connection
keeps its guard, whose every operation raises. This covers any method of any socket class, whether
it shakes hands first or not, and whatever the caller does with the error.

Which private names of `ssl` this rests on, and what was checked of them, is in `_private_ssl`.
"""

from __future__ import annotations

import _socket
import os
import socket
import ssl
import threading
import time
import weakref
from contextlib import suppress
from functools import cache, partial
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
from .hostnames import normalise
from .pinset import Reason, Verdict

if TYPE_CHECKING:
    from ._context import ContextState
    from .pinner import Pinner
    from .pinset import PinSet, Rule

__all__ = [
    "CERTIFICATE_REQUEST",
    "LOCK",
    "TLS_1_2",
    "Approval",
    "Guard",
    "error_for",
    "verification_error",
]

# One lock for all pinners and contexts. It is held for a decision and for making a connection,
# never while waiting for anything. A signal handler that calls `replace()` may take it anywhere, so
# it is re-entrant, and a second lock beside it would have no order in which to be taken.
LOCK = threading.RLock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=LOCK.acquire, after_in_parent=LOCK.release, after_in_child=LOCK.release
    )

TLS_1_2 = 0x0303
# Handshake messages of TLS 1.2, RFC 5246, section 7.4
SERVER_KEY_EXCHANGE, CERTIFICATE_REQUEST = 12, 13
MODERN = frozenset({"TLSv1.2", "TLSv1.3"})

CERTIFICATE_EXPIRED = 10  # X509_V_ERR_CERT_HAS_EXPIRED

# Verdicts that only an observer wants to hear of
QUIET = frozenset({Reason.MATCHED, Reason.UNLISTED, Reason.EXCLUDED})

ERROR_CLASSES = {
    Reason.NO_SERVER_NAME: NoServerName,
    Reason.NOT_VERIFIED: UnverifiedConnection,
    Reason.OPENED_BEFORE: UnverifiedConnection,
    Reason.UNGUARDED: UnverifiedConnection,
    Reason.UNKNOWN_SESSION: UnverifiedConnection,
    Reason.NO_CERTIFICATE: UnverifiedConnection,
}


def error_for(verdict: Verdict) -> PinMismatch:
    """The exception that a refusing verdict is raised as."""
    return ERROR_CLASSES.get(verdict.reason, PinMismatch)(verdict)


class Approval(NamedTuple):
    """A decision that holds as long as nothing that it was made on changes."""

    pins: PinSet
    certificates: Any
    """the verified chain as OpenSSL has it; None if the host may be talked to whatever it serves"""
    chain: tuple[bytes, ...]
    """the same in DER"""
    verdict: Verdict


class Waiting:
    """Mixed into the class of a socket or object until its server is approved.

    To drop TLS is to hang up: `SSLSocket.shutdown()`, and `connect()` whose handshake fails or does
    not end, set `_sslobj` to None and leave a connected plain socket behind, which would send what
    it is given in the clear. And what was refused before it was made to the end stays refused.
    """

    __slots__ = ()

    @property
    def _sslobj(self) -> Any:
        try:
            return self.__dict__["_sslobj"]
        except KeyError:
            raise AttributeError("_sslobj") from None

    @_sslobj.setter
    def _sslobj(self, connection: Any) -> None:
        if not _is_refused(self.__dict__.get("_sslobj")) or connection is None:
            self.__dict__["_sslobj"] = connection
        if connection is None:
            _shut_down(self)


@cache
def _waiting_class(base: Any) -> Any:
    if issubclass(base, Waiting):
        return base
    own = {"__slots__": (), "__doc__": base.__doc__, "__module__": base.__module__}
    # the base first: its layout is what lets an object change its class
    own |= {"_sslobj": Waiting._sslobj, "_approved_class": base}
    return type(base)(base.__name__, (base, Waiting), own)


def _let_wait(owner: Any) -> None:
    kind: Any = type(owner)
    if issubclass(kind, (ssl.SSLSocket, ssl.SSLObject)):
        owner.__class__ = _waiting_class(kind)


def _is_refused(connection: Any) -> bool:
    return isinstance(connection, Guard) and connection.refusal is not None


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
        state: what is known of the context that made it.
        pinner: whose pins must hold.
        host: the server name that TLS verifies, as the caller gave it, in ASCII.
        verifies: whether OpenSSL verifies this connection's certificates.
    """

    __slots__ = (
        "_asked",
        "_chain",
        "_connection",
        "_interruption",
        "_outgoing",
        "_owner",
        "_pinner",
        "_signed",
        "_state",
        "_watched",
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
        state: ContextState,
        pinner: Pinner,
        host: str,
        verifies: bool,
    ) -> None:
        guards, key = pinner._guards, id(owner)
        self._connection = connection
        self._owner = weakref.ref(owner, partial(guards.pop, key))  # no Python code to interrupt
        self._outgoing = outgoing
        self._state = state
        self._pinner = pinner
        self._chain: tuple[bytes, ...] | None = None
        self._interruption: BaseException | None = None
        self._watched: weakref.ref[Any] | None = None
        self._asked = False  # for a client certificate, in TLS 1.2
        self._signed = False  # by the server, in TLS 1.2
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
    def connection(self) -> Any:
        """The C connection, behind however many guards; None if it is gone."""
        connection = self._real()
        return connection.connection if isinstance(connection, Guard) else connection

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

    def watch(self, pending: dict[int, Guard]) -> None:
        """Be told when the server's certificate is there; `certificate_received`.

        Args:
            pending: where the guards that wait for it are found by the identity of their owner.
        """
        owner = self._owner()
        key = id(owner)
        self._watched = weakref.ref(owner, partial(pending.pop, key))
        pending[key] = self

    def certificate_received(self, version: int, message: int) -> None:
        """Decide in the middle of the handshake, before a client certificate is written.

        By then the server has signed with its key, and OpenSSL checks that before it goes on. But
        not so in TLS 1.2 with RSA key exchange, where anybody can show the pinned certificates and
        ask for the client's: only its Finished would prove that the server has the key.

        OpenSSL would go on with the handshake whatever is raised here, and the error surface only
        afterwards. So the connection is cut, also where the decision was interrupted, because
        undecided is not approved; then `do_handshake` raises.
        """
        if self._connection is not None and self._connection.session_reused:
            return  # no certificate is asked for; decided when OpenSSL can tell whose session it is
        try:
            self._signed |= message == SERVER_KEY_EXCHANGE
            self._asked |= message == CERTIFICATE_REQUEST
            if self.refusal is None and not self.approved:
                verdict = self._decide(self._pinner.pins, version)
                if self._asked and not self._signed and _enforces(verdict):
                    self._refuse(UNPROVED)
        except BaseException as interruption:  # noqa: BLE001 - a signal handler's, say
            self._interruption = interruption
            self.refuse_undecided()
        if self.refusal is not None:
            self.cut()
        if isinstance(self._connection, Guard):  # another pinner's, whose pins must hold as well
            self._connection.certificate_received(version, message)

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

    def refuse(self, verdict: Verdict) -> None:
        """Refuse, whatever the server holds, also what another is just about to give its owner."""
        owner: Any = self._owner()
        if isinstance(owner, ssl.SSLSocket | ssl.SSLObject):
            _let_wait(owner)
            if getattr(owner, "_sslobj", None) is None:
                owner.__dict__["_sslobj"] = self
        self._refuse(error_for(self._with_port(verdict)))

    # Every call of Python code costs a new connection dearly: it finds the processor's caches full
    # of cryptography. So what every connection goes through, from here to `_step_aside`, is in few
    # functions, and ends early where the same was approved before.

    def _shake_hands(self) -> None:
        pinner, accepted = self._pinner, None
        if self._owner() is None:  # a finalizer keeps alive what is not found by its owner any more
            self.refuse_undecided()
            return
        if self._watched is not None:
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
            with LOCK:
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
            known = self._state.approvals.get(self.host)
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
                verification_error(APPLICATION_VERIFICATION, f"keypin could not decide: {error!r}")
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
            self._state.approve(self.host, Approval(pins, None, (), verdict))
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
            self._state.approve(self.host, Approval(pins, certificates, chain, verdict))
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
            chain = self._state.recall(leaf) if leaf else None
            if chain is None:
                return rule.refusal(host, Reason.UNKNOWN_SESSION)
            self._state.check_name(host, chain[0], connection.getpeercert)
            _check_date(connection.getpeercert())
        else:
            chain = self._state.remember(_private_ssl.verified_chain(connection))
            if chain:
                leaf_fields = connection.get_verified_chain()[0].get_info
                self._state.check_name(host, chain[0], leaf_fields)
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
        connection = getattr(self._owner(), "_sslobj", None)
        return None if connection is self else connection

    def _step_aside(self) -> None:
        self.approved = True
        self._look_away()
        owner: Any = self._owner()
        if getattr(owner, "_sslobj", None) is self:
            connection = owner._sslobj = self._connection
            if isinstance(connection, Guard):
                connection._follow()
            elif isinstance(owner, Waiting):
                owner.__class__ = owner._approved_class  # type: ignore[attr-defined]
            # let go, so that closing the owner frees the connection
            self._connection = None

    def _follow(self) -> None:
        """Step aside after the guard before this one, if this one's pinner has approved."""
        if self.approved:
            self._step_aside()
            if self.refusal is not None:  # by a signal handler that ran here
                self._step_in()

    def _look_away(self) -> None:
        if self._watched is not None:
            self._state.look_away(self)
            self._watched = None

    def _step_in(self) -> None:
        self.approved = False
        owner: Any = self._owner()
        current = getattr(owner, "_sslobj", None)
        if current is self or not hasattr(owner, "_sslobj"):
            return
        if self._connection is None:
            self._connection = current
        # another guard that has not approved stays, unless this one refuses and that one does not
        undecided = isinstance(current, Guard) and not current.approved
        if undecided and (self.refusal is None or _is_refused(current)):
            return
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
        self._look_away()
        self._discard_output()
        if self._interruption is not None:
            interruption, self._interruption = self._interruption, None
            raise interruption
        if isinstance(self.refusal, PinMismatch):
            raise type(self.refusal)(self.refusal.verdict)
        refusal: Any = self.refusal
        raise verification_error(refusal.verify_code, refusal.verify_message)

    def _with_port(self, verdict: Verdict) -> Verdict:
        owner: Any = self._owner()
        try:
            peer = owner.getpeername()
        except (AttributeError, OSError):
            return verdict
        return verdict._replace(port=peer[1]) if isinstance(peer, tuple) else verdict


def _enforces(verdict: Verdict | None) -> bool:
    """Whether an accepting verdict could have refused, had the key been another."""
    rule = verdict.rule if verdict is not None and verdict.reason is Reason.MATCHED else None
    return rule is not None and rule.mode == "enforce"


def _need_stack(frames: int = 64) -> None:
    """Raise RecursionError now rather than inside the handshake, where it would go unnoticed."""
    if frames:
        _need_stack(frames - 1)


def _check_date(fields: dict[str, Any]) -> None:
    if ssl.cert_time_to_seconds(fields["notAfter"]) < time.time():
        raise verification_error(CERTIFICATE_EXPIRED, "certificate has expired")


def verification_error(code: int, message: str) -> ssl.SSLCertVerificationError:
    """An ordinary failure of certificate verification, as OpenSSL would report it.

    Args:
        code: one of OpenSSL's X509_V_ERR_*.
        message: in OpenSSL's words.
    """
    error = ssl.SSLCertVerificationError(
        ssl.SSLErrorNumber.SSL_ERROR_SSL,
        f"[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: {message}",
    )
    error.library, error.reason = "SSL", "CERTIFICATE_VERIFY_FAILED"
    error.verify_code, error.verify_message = code, message
    return error


UNPROVED: Final = verification_error(
    APPLICATION_VERIFICATION,
    "the server asks for a client certificate before it has proved that it holds its own key (RSA"
    " key exchange): let it use ECDHE, or load no client certificate",
)
UNDECIDED: Final = verification_error(APPLICATION_VERIFICATION, "keypin was interrupted")
