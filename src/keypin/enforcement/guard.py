"""What stands between a program and a TLS connection until its server has been approved.

CPython's `SSLSocket` and `SSLObject` do all their work through one attribute, `_sslobj`, the
connection in C, which they get from their context. A guarded context (`context`) gives them a
`Guard` instead. It passes a handshake through, then asks the pinner; only
when the server is approved does it step aside and leave the real object in its place, so that an
approved connection runs the code that it would have run without keypin. A refused connection
keeps its guard, whose every operation raises. This covers any method of any socket class, whether
it shakes hands first or not, and whatever the caller does with the error.

Which private names of `ssl` this rests on, and what was checked of them, is in `private_ssl`.
"""

from __future__ import annotations

import _socket
import os
import socket
import ssl
import sys
import threading
import time
import weakref
from contextlib import suppress
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn

from ..errors import HostnameError, ProtectionError
from ..hostnames import normalise
from ..mismatch import APPLICATION_VERIFICATION, NoServerName, PinMismatch, UnverifiedConnection
from ..pinset import Reason, Verdict, strictest
from . import private_ssl
from .heap import holders_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ..pinner import Pinner
    from ..pinset import PinSet, Rule
    from .context import ContextState

__all__ = [
    "FINISHED",
    "LOCK",
    "WATCHED",
    "Approval",
    "Guard",
    "error_for",
    "find_revived",
    "guard_of",
    "take_copies",
    "verification_error",
    "wait_for_threads",
]

# One lock for all pinners and contexts. It is held for a decision and for making a connection, and
# never while waiting for a server. `install` alone waits under it, up to ten seconds, for threads
# that are in the midst of making a connection, which takes them less than a millisecond: nobody
# would find what they make. And it searches the heap under it, as `replace` does where it governs
# more hosts: some 100 ms where a program has five million objects. A signal handler that calls
# `replace()` may take it anywhere, so it is re-entrant, and a second lock beside it would have no
# order in which to be taken.
LOCK = threading.RLock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=LOCK.acquire, after_in_parent=LOCK.release, after_in_child=LOCK.release
    )

TLS_1_2 = 0x0303
# Handshake messages, RFC 8446, section 4
SERVER_HELLO, CERTIFICATE_REQUEST, CERTIFICATE_VERIFY, FINISHED = 2, 13, 15, 20
SERVER_HELLO_DONE = 14  # TLS 1.2, RFC 5246, section 7.4.5
BEFORE_ANSWER = frozenset({SERVER_HELLO_DONE, FINISHED})  # the last ones before the client's
WATCHED = frozenset({SERVER_HELLO, CERTIFICATE_REQUEST, CERTIFICATE_VERIFY, *BEFORE_ANSWER})
# Behind the message's header (4), the version (2) and the server's random (32)
SESSION_ID_LENGTH = 38
MODERN = frozenset({"TLSv1.2", "TLSv1.3"})

CERTIFICATE_EXPIRED = 10  # X509_V_ERR_CERT_HAS_EXPIRED

# Verdicts that only an observer wants to hear of
QUIET = frozenset({Reason.MATCHED, Reason.UNLISTED, Reason.EXCLUDED})

# What a connection in C has that sends nothing, up to Python 3.15
READABLE: Final = frozenset(
    {
        *("cipher", "client_sigalg", "compression", "get_channel_binding", "get_unverified_chain"),
        *("get_verified_chain", "getpeercert", "group", "pending", "selected_alpn_protocol"),
        *("server_hostname", "server_side", "server_sigalg", "session_reused", "shared_ciphers"),
        *("uses_ktls_for_recv", "verify_client_post_handshake", "version"),
    }
)

ERROR_CLASSES = {
    Reason.NO_SERVER_NAME: NoServerName,
    Reason.NOT_VERIFIED: UnverifiedConnection,
    Reason.OPENED_BEFORE: UnverifiedConnection,
    Reason.UNGUARDED: UnverifiedConnection,
    Reason.UNKNOWN_SESSION: UnverifiedConnection,
    Reason.NO_CERTIFICATE: UnverifiedConnection,
    Reason.WRONG_NAME: UnverifiedConnection,
    Reason.EXPIRED_CERTIFICATE: UnverifiedConnection,
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
    name_is_checked: bool = False
    """whether the leaf was found to be for the host"""


class PlaintextBarrier:
    """Mixed into the class of what holds a guard as `_sslobj`, until its server is approved.

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
        current = self.__dict__.get("_sslobj")
        if not _is_refused(current) or connection is None:
            self.__dict__["_sslobj"] = connection
        if connection is None:
            if isinstance(current, Guard):
                current.cut()
            _shut_down(self)


@cache
def _barrier_class(base: Any) -> Any:
    own = {"__slots__": (), "__doc__": base.__doc__, "__module__": base.__module__}
    # the base first: its layout is what lets an object change its class
    own |= {"_sslobj": PlaintextBarrier._sslobj, "_approved_class": base}
    return type(base)(base.__name__, (base, PlaintextBarrier), own)


def _put_barrier(holder: Any) -> None:
    if not isinstance(holder, PlaintextBarrier):
        # one that cannot change its class is watched by the finalizer of its guard
        kind: Any = type(holder)
        with suppress(TypeError):
            holder.__class__ = _barrier_class(kind)


def _is_refused(connection: Any) -> bool:
    return isinstance(connection, Guard) and connection.refusal is not None


def _shut_down(owner: Any) -> None:
    """Let no byte through any more, if this is a socket, without closing it."""
    if isinstance(owner, _socket.socket):
        with suppress(OSError):  # never connected, or gone already
            # not SSLSocket.shutdown(), which would leave a plain socket behind
            _socket.socket.shutdown(owner, socket.SHUT_RDWR)


def _referred_to_elsewhere(
    values: list[Any], *, by: int = 1, count: Callable[[object], int] = sys.getrefcount
) -> list[Any]:
    """Those that more refer to than this list, and so many as are known of."""
    (alone,) = (count(each) for each in [object()])
    return [value for value in values if count(value) > alone + by - 1]


class ApprovedGuards:
    """The guards of approved connections, by what holds the connection.

    Referred to from here, a guard is no garbage where that is, and is still found if a finalizer
    revives that.
    """

    __slots__ = ("_bereaved", "_enough", "_guards")

    def __init__(self) -> None:
        self._guards: dict[int, Guard] = {}
        # Those whose holder was found dead: it is gone, or revived, and refers to its guard then.
        self._bereaved: list[Guard] = []
        self._enough = 4

    def keep(self, holder: object, guard: Guard) -> None:
        """Keep the guard of a holder for as long as that lives, which a weak reference tells."""
        self._guards[id(holder)] = guard

    def lose(
        self, key: int, _: object, select: Callable[[list[Any]], list[Any]] = _referred_to_elsewhere
    ) -> None:
        """The holder of this identity was found dead."""
        guard = self._guards.pop(key, None)
        if guard is not None:
            guard.forget_context()
            if len(self._bereaved) >= self._enough:
                self._bereaved[:] = select(self._bereaved)
                self._enough = 2 * len(self._bereaved) + 4
            self._bereaved.append(guard)

    def find_revived(self) -> None:
        """Find what holds the connections whose holder was found dead, and was not."""
        self._bereaved[:] = _referred_to_elsewhere(self._bereaved)
        if self._bereaved:
            guards = {id(guard): guard for guard in self._bereaved}
            for holder in holders_of(self._bereaved):
                guard = guards.get(id(getattr(holder, "__dict__", {}).get("_keypin_guard")))
                if guard is not None:
                    guard.be_held_by(holder)
                    self.keep(holder, guard)


def find_revived() -> None:
    """Find objects of guarded connections that a finalizer has revived, and copies of dead ones."""
    _approved.find_revived()


# What its method needs is bound to it: holders also die when the interpreter ends, without modules.
_approved = ApprovedGuards()


class Guard:
    """Stands in for the C connection of one `SSLSocket` or `SSLObject`, its owner.

    It is in one of four states. *Pending*: nothing is decided. *Admitted*: the pinners have
    approved in the middle of the handshake, which goes on, with the client's certificate.
    *Approved*: they have approved after it, and the connection itself is in the guard's place.
    *Refused*: for good.

    Args:
        connection: the `_ssl._SSLSocket`.
        context: that it was made by.
        owner: the Python object that it has for its owner.
        outgoing: for an `SSLObject`, the BIO whose content the caller will send.
        state: what is known of the context.
        host: the server name, as the caller gave it, in ASCII; None if there is none.
        verifies: whether OpenSSL verifies this connection's certificates.
        checks_name: whether OpenSSL verifies that they are for this host.
    """

    __slots__ = (
        "__weakref__",
        "_admitted",
        "_chain",
        "_connection",
        "_context",
        "_holder",
        "_interruption",
        "_name_is_checked",
        "_outgoing",
        "_owner",
        "_pinners",
        "_refused_by",
        "_server_hello",
        "_state",
        "_stepping",
        "_version",
        "_watched",
        "approved",
        "checks_name",
        "host",
        "refusal",
        "verifies",
    )

    def __init__(
        self,
        connection: Any,
        context: ssl.SSLContext,
        owner: Any,
        outgoing: ssl.MemoryBIO | None,
        state: ContextState,
        host: str | None,
        verifies: bool,
        checks_name: bool,
    ) -> None:
        self._pinners: tuple[Pinner, ...] = ()
        self.approved = False
        self.refusal: ssl.SSLCertVerificationError | None = None
        self._connection = connection
        self._context: ssl.SSLContext | None = context
        self._outgoing = outgoing
        self._state = state
        self._chain: tuple[bytes, ...] | None = None
        self._name_is_checked = False  # of its leaf, for the host
        self._interruption: BaseException | None = None
        self._watched = False  # for the messages of the handshake
        self._server_hello = b""
        self._version = 0  # of TLS, as on the wire, once the server's messages tell
        self._admitted = False
        self._refused_by: Pinner | None = None
        self._stepping: int | None = None  # the thread that is inside OpenSSL
        self.host = host
        self.verifies = verifies
        self.checks_name = checks_name
        holder = _holder_of(owner)
        self.be_held_by(holder)
        if holder is not owner:
            self._owner = weakref.ref(owner)

    def be_held_by(self, holder: Any) -> None:
        """Know what has this guard's connection for its `_sslobj`."""
        self._holder = self._owner = weakref.ref(holder, partial(_approved.lose, id(holder)))

    def forget_context(self) -> None:
        """Do not keep the context alive any longer than its connections do."""
        self._context = None

    def join(self, pinner: Pinner) -> None:
        """Let one more pinner decide."""
        guards, key = pinner._guards, id(self)
        # called with the reference, which is the default of `pop`: the key may be gone already
        guards[key] = weakref.ref(self, partial(guards.pop, key))
        self._pinners = (pinner, *self._pinners)
        holder = self._holder()
        if not isinstance(holder, ssl.SSLObject):
            _put_barrier(holder)

    def begin_watch(self) -> None:
        """Hear of the messages of the handshake from now on."""
        self._state.watch(self)
        self._watched = True

    @property
    def is_carried(self) -> bool:
        """Whether the caller carries what OpenSSL writes, where nothing cuts it."""
        return self._outgoing is not None

    @property
    def may_renegotiate(self) -> bool:
        """Whether TLS 1.2 may begin another handshake on this connection."""
        return not self._pinners

    def __del__(self) -> None:
        """Hang up if this was dropped by what `PlaintextBarrier` is not mixed into.

        Not if another connection has taken its place.
        """
        if self._pinners and not self.approved:
            holder = self._holder()
            if holder is not None and getattr(holder, "_sslobj", None) is None:
                _shut_down(self._owner())

    # What SSLSocket and SSLObject call

    def do_handshake(self) -> None:
        """Shake hands, then decide; the only way through."""
        try:
            if self.approved:
                self._step(self._real().do_handshake)
            else:
                # before the refusal is asked for: who refuses it waits for this to be over
                self._stepping = threading.get_ident()
                if self.refusal is None:
                    self._shake_hands()
            if self.refusal is not None:
                self._raise_refusal()
        except BaseException:
            if self.refusal is not None:
                # once more, for a signal handler that raised before the first time was over
                self._discard_output()
            raise
        finally:
            self._stepping = None

    def read(self, *arguments: Any) -> Any:
        """Read, after a handshake and an approval."""
        return self._step(self._approved_connection().read, *arguments)

    def write(self, data: Any) -> Any:
        """Write, after a handshake and an approval."""
        return self._step(self._approved_connection().write, data)

    def sendfile(self, *arguments: Any) -> Any:
        """Send a file by kernel TLS (Python 3.15), after a handshake and an approval."""
        return self._approved_connection().sendfile(*arguments)

    def uses_ktls_for_send(self) -> Any:
        """Whether the kernel encrypts (Python 3.15); after a handshake and an approval."""
        return self._approved_connection().uses_ktls_for_send()

    def shutdown(self) -> Any:
        """Close the TLS layer; on a refused connection there is none to close."""
        if self.refusal is not None:
            self._raise_refusal()
        return self._step(self._real().shutdown)

    @property
    def session(self) -> Any:
        """The TLS session; set before a handshake to resume one."""
        return self._real().session

    @session.setter
    def session(self, session: Any) -> None:
        self._real().session = session

    @property
    def connection(self) -> Any:
        """The C connection; None if it is gone."""
        return self._real()

    @property
    def owner(self) -> Any:
        """The Python object that this connection belongs to."""
        return self._owner()

    @owner.setter
    def owner(self, owner: Any) -> None:
        self._real().owner = owner

    @property
    def context(self) -> Any:
        """The context of the connection; a pinned client's cannot be changed."""
        return self._context or self._real().context

    @context.setter
    def context(self, context: Any) -> None:
        if self._pinners:
            raise ProtectionError("the TLS context of a guarded connection cannot be changed")
        self._context = self._real().context = context

    def __getattr__(self, name: str) -> Any:
        # What only tells. Of any other name nobody knows what it would send.
        if name in READABLE:
            return getattr(self._real(), name)
        raise AttributeError(f"keypin does not know what {name!r} does to a TLS connection")

    # Inside the handshake, after it, and when the pins change

    def message_received(self, version: int, message: int, data: bytes) -> None:
        """Decide in the middle of the handshake; give the client's certificate to an approved one.

        When a server asks for it in TLS 1.2 (CertificateRequest), or signs the handshake in TLS 1.3
        (CertificateVerify), OpenSSL has verified its chain and not yet looked for a certificate to
        answer with. There is none in the connection: it comes from the credentials of the context,
        here, after an approval. Whatever keeps this from being called or from coming to an end
        leaves the connection without.

        Where the program's own context holds one all the same, because it was loaded before the
        context was guarded, a refusal gives the connection another context, without any.

        OpenSSL would go on with the handshake whatever is raised here, and the error surface only
        afterwards. So it is kept, also where the decision was interrupted, because undecided is not
        approved; then `do_handshake` raises.

        Args:
            version: of TLS, as on the wire.
            message: its type.
            data: the whole of it.
        """
        if message == SERVER_HELLO:
            self._server_hello = data
            return
        self._version = version
        try:
            if self.approved or not self._admitted:  # else it was let go on, and may have to wait
                self._hear(message)
        except BaseException as interruption:  # noqa: BLE001 - a signal handler's, say
            self._interruption = interruption
            self.refuse_undecided()
        self.before_answer()

    def before_answer(self) -> None:
        """Leave OpenSSL no certificate to answer with, if this is refused.

        Only while OpenSSL calls back for a message of the handshake that it has received. It goes
        on with the certificate that it has begun to answer with, and crashes where the callback is
        gone with the context between its two calls for one record.
        """
        if self.refusal is not None:
            self._take_credentials_away()

    def _hear(self, message: int) -> None:
        version = self._version
        with LOCK:
            if self.approved:
                if message == CERTIFICATE_REQUEST:  # after the handshake
                    self._give_credentials()
            elif self.refusal is None and not self._admitted:
                if message == (CERTIFICATE_REQUEST if version <= TLS_1_2 else CERTIFICATE_VERIFY):
                    self._admit()
                elif message in BEFORE_ANSWER and not self._connection.session_reused:
                    # nothing has been asked for, or the look at it was interrupted
                    self._decide(self._pins_in_force(), version)

    def credentials_sent(self) -> None:
        """The answer to a server that asked after the handshake is written."""
        if self.approved:
            self._real().context = self.context

    def recheck(self) -> bool:
        """Decide again under the pins in force; True if it is refused from now on.

        Not if nothing has been decided yet: that comes, under the same pins.
        """
        if self.refusal is not None or not (self.approved or self._admitted):
            return False
        if self._is_closed():
            return False
        if self.approved:
            self._decide(self._pins_in_force())
        else:
            self._approves_midway(self._pins_in_force())
        self._refused_by = None  # the caller tells
        return self.refusal is not None

    def cut(self) -> None:
        """Let no byte through any more, whatever state this is in."""
        _shut_down(self._owner())
        self._discard_output()

    def refuse_undecided(self) -> None:
        """Refuse, because a decision was interrupted."""
        self._refuse(UNDECIDED)

    def refuse(self, verdict: Verdict | None, by: Pinner) -> None:
        """Refuse, whatever the server holds, also what another is just about to give its owner.

        Args:
            by: whose verdict it is.
            verdict: None if there is no certificate yet that would tell which rule is for it.
        """
        holder: Any = self._holder()
        if holder is not None:
            _put_barrier(holder)
            if getattr(holder, "_sslobj", None) is None and isinstance(holder, PlaintextBarrier):
                holder.__dict__["_sslobj"] = self
        self._refuse(BEGUN if verdict is None else error_for(self._with_details(verdict, by)))

    def may_still_send(self) -> bool:
        """Whether another thread is inside OpenSSL with this connection, where nothing cuts it."""
        stepping, owner = self._stepping, self._owner()
        is_cut = isinstance(owner, _socket.socket) and self._can_be_cut()
        return stepping not in (None, threading.get_ident()) and not is_cut

    # Every call of Python code costs a new connection dearly: it finds the processor's caches full
    # of cryptography. So what every connection goes through, from here to `_detach`, is in few
    # functions, and ends early where the same was approved before. They are small all the same:
    # where no memory is left, CPython does not get out of an error handler that lies more than 256
    # instructions behind the beginning of a function, for want of the number of its line.

    def _shake_hands(self) -> None:
        owner, pinners = self._owner(), self._pinners
        if owner is None:  # a finalizer keeps alive what is not found by its owner any more
            self.refuse_undecided()
            return
        if pinners:
            if not self._can_be_cut() and self._may_have_to_be_refused():
                self._refuse(DETACHED)
                return
            if not isinstance(owner, ssl.SSLObject):
                _put_barrier(self._holder())  # eventlet changes the class of its sockets afterwards
            if self.host is None:
                self._refuse_nameless()
        if self.refusal is not None or not self._has_shaken_hands():
            verdicts = None
        elif (verdicts := self._decide_after_handshake()) is not None:
            self._stepping = None  # nobody has to wait for an observer
            for pinner, verdict in zip(pinners, verdicts, strict=True):
                if verdict.reason not in QUIET or verdict.expired or pinner._hears_all():
                    pinner._tell(self._with_details(verdict, pinner))
        if verdicts is None:
            refused_by, self._refused_by = self._refused_by, None
            if refused_by is not None and isinstance(self.refusal, PinMismatch):
                refused_by._tell(self.refusal.verdict)

    def _refuse_nameless(self) -> None:
        """Refuse a connection without a server name, whatever its server would show."""
        for pinner, pins in zip(self._pinners, self._pins_in_force(), strict=True):
            if not pins.only_reports:
                verdict = pins.nameless_verdict(None)
                self._refuse(error_for(self._with_details(verdict, pinner)), pinner)
                return

    def _has_shaken_hands(self) -> bool:
        """Shake hands; False if the connection was refused meanwhile."""
        handled = sys.exception()
        try:
            self._connection.do_handshake()
        except Exception as error:
            # a refusal in the middle of the handshake breaks it: the refusal is what counts
            if self.refusal is None:
                if self._pinners and isinstance(error, ssl.SSLError) and not _waits(error):
                    _shut_down(self._owner())  # no TLS will come of it, and nothing else shall
                if (cause := _raised_in_callback(error, handled)) is not None:
                    raise cause from cause.__cause__
                raise
        return self.refusal is None

    def _step(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """Let OpenSSL work on a connection that is approved, as long as it is."""
        try:
            self._stepping = threading.get_ident()
            if self.refusal is None:
                result = call(*arguments)
        except Exception:
            if self.refusal is None:
                raise
        finally:
            if self.refusal is not None:
                self._discard_output()
            self._stepping = None
        if self.refusal is not None:
            self._raise_refusal()
        return result

    def _decide_after_handshake(self) -> list[Verdict] | None:
        """Decide after the handshake, under the pins in force when it is over."""
        while (verdicts := self._decide(pins := self._pins_in_force())) is not None:
            with LOCK:
                if not self._are_in_force(pins):
                    continue  # replaced by another thread meanwhile
                self._detach()
                if self._are_in_force(pins):
                    return verdicts
                # replaced by a signal handler that ran here
                self._reattach()
                if self.refusal is not None:
                    return verdicts
        return None

    def _pins_in_force(self) -> list[PinSet]:
        return [pinner._pins for pinner in self._pinners]

    def _are_in_force(self, pins: list[PinSet]) -> bool:
        return all(pinner._pins is one for pinner, one in zip(self._pinners, pins, strict=True))

    def _admit(self) -> None:
        while not self._admitted:
            pins = self._pins_in_force()
            if not self._approves_midway(pins):
                return
            self._admitted = True
            if not self._are_in_force(pins):  # a signal handler replaced them
                self._admitted = False
        self._give_credentials()

    def _approves_midway(self, pins: list[PinSet]) -> bool:
        """Decide where the handshake is not over; else the connection is refused."""
        verdicts = self._decide(pins, self._version)
        if verdicts is None:
            return False
        if self._version <= TLS_1_2 and any(map(_enforces, verdicts)) and not self._is_signed():
            self._refuse(UNPROVED)
        elif not self._can_be_cut() and self._may_have_to_be_refused():
            self._refuse(DETACHED)
        return self.refusal is None

    def _may_have_to_be_refused(self) -> bool:
        """Whether there are pins in force that could refuse this server, whatever it shows."""
        return any(not pins.only_reports or pins.denies for pins in self._pins_in_force())

    def _is_signed(self) -> bool:
        """Whether the server has signed the key exchange of TLS 1.2, which OpenSSL checks first.

        With RSA key exchange, alone or with a PSK, anybody can show the pinned certificates and ask
        for the client's: only its Finished, which comes later, would prove that it has the key.
        """
        hello = self._server_hello  # RFC 5246, section 7.4.1.3, behind a header of four bytes
        if len(hello) <= SESSION_ID_LENGTH:
            return False
        suite = SESSION_ID_LENGTH + 1 + hello[SESSION_ID_LENGTH]
        number = int.from_bytes(hello[suite : suite + 2])
        return number in private_ssl.signed_cipher_suites()

    def _give_credentials(self) -> None:
        credentials = self._state.credentials
        connection = self._real()
        if credentials is not None and connection is not None and self.refusal is None:
            self._state.prepare_credentials(self.context)
            connection.context = credentials
        self.before_answer()  # for a signal handler that replaced the pins

    def _take_credentials_away(self) -> None:
        if self._connection is not None and self._state.nothing is not None:
            self._connection.context = self._state.nothing

    def _decide(self, pins: list[PinSet], version: int | None = None) -> list[Verdict] | None:
        """The verdicts if all accept; else the connection is refused, whatever went wrong."""
        try:
            return self._verdicts(pins, version)
        except ssl.SSLCertVerificationError as error:
            self._refuse(error)
        except (RecursionError, MemoryError):
            raise  # nothing is decided, and it can be tried again with more room
        except Exception as error:  # noqa: BLE001 - in doubt, refuse
            self._refuse(
                verification_error(APPLICATION_VERIFICATION, f"keypin could not decide: {error!r}")
            )
        return None

    def _verdicts(self, pins: list[PinSet], version: int | None) -> list[Verdict] | None:
        verdicts = []
        for pinner, one in zip(self._pinners, pins, strict=True):
            known = self._state.approvals.get((self.host, self.checks_name, id(one)))
            if known is not None and known.pins is one and self._is_as_in(known, version):
                self._chain = known.chain or self._chain
                self._name_is_checked |= known.name_is_checked
                verdict = known.verdict
            else:
                verdict = self._verdict(one, version)
                if not verdict.accepted:
                    self._refuse(error_for(self._with_details(verdict, pinner)), pinner)
                    return None
            verdicts.append(verdict)
        return verdicts

    def _is_as_in(self, known: Approval, version: int | None) -> bool:
        """Whether this connection has all that an approval was given for."""
        if known.certificates is None:
            return self.checks_name or not self.verifies
        connection = self._real()
        return (
            self.verifies
            and connection is not None
            and not connection.session_reused
            and _is_modern(connection, version)
            # X509_cmp of each, which is cheaper than getting at their bytes
            and connection.get_verified_chain() == known.certificates
        )

    def _verdict(self, pins: PinSet, version: int | None = None) -> Verdict:
        host = None if self.host is None else _normal_form(self.host)
        if host is None:
            return pins.nameless_verdict(self.host, self._chain_if_denied(pins, version))
        rule = pins.rule_for(host)
        only_reports = rule is None or (rule.mode == "report" and not rule.exclude)
        if only_reports and self.verifies and not self.checks_name:
            return self._verdict_by_names(pins, host, rule, version)
        if rule is None or rule.exclude:
            verdict = pins.unlisted_verdict(host) if rule is None else rule.check(host, ())
            self._state.approve(self.host, self.checks_name, Approval(pins, None, (), verdict))
            return verdict
        verdict = self._verdict_of(rule, host, version)
        if self.verifies:
            self._remember_approval(pins, verdict)
        return verdict

    def _chain_if_denied(self, pins: PinSet, version: int | None) -> Sequence[bytes]:
        """The verified chain, for pins that deny keys; else, or if there is none, empty."""
        connection = self._real()
        if self._chain is not None or not (self.verifies and pins.denies) or connection is None:
            return self._chain or ()
        if not _is_modern(connection, version):
            return ()
        if connection.session_reused:
            leaf = connection.getpeercert(True)
            return (self._state.recall(leaf) if leaf else None) or ()
        self._chain = self._state.remember(private_ssl.verified_chain(connection))
        return self._chain

    def _verdict_by_names(
        self, pins: PinSet, host: str, rule: Rule | None, version: int | None
    ) -> Verdict:
        """The verdict on a host in no rule or one that reports, if OpenSSL checks no name.

        The program checks it, for another name perhaps: urllib3's `assert_hostname`. So every rule
        for a name in the certificate must accept.
        """
        connection = self._real()
        verdicts = [] if rule is None else [self._verdict_of(rule, host, version)]
        # in the middle of a handshake, a server has no chain where it has no certificate
        if connection is not None and (version is None or connection.get_verified_chain()):
            rules = pins.rules_for_certificate(private_ssl.leaf_fields(connection))
            verdicts += [
                self._verdict_of(each, name, version, check_name=False)
                for name, each in rules.items()
            ]
        verdict = strictest(verdicts) or pins.unlisted_verdict(host)
        if len(verdicts) < 2:
            self._remember_approval(pins, verdict)
        return verdict

    def _verdict_of(
        self, rule: Rule, host: str, version: int | None, *, check_name: bool = True
    ) -> Verdict:
        if not self.verifies:
            return rule.refusal(host, Reason.NOT_VERIFIED)
        if self._chain is None or (check_name and not self._name_is_checked):
            refusal = self._gather(host, rule, version, check_name=check_name)
            if refusal is not None:
                return refusal
        return rule.check(host, self._chain or ())

    def _remember_approval(self, pins: PinSet, verdict: Verdict) -> None:
        connection = self._real()
        if connection is not None and (certificates := connection.get_verified_chain()):
            chain, is_checked = self._chain or (), self._name_is_checked
            approval = Approval(pins, certificates, chain, verdict, is_checked)
            self._state.approve(self.host, self.checks_name, approval)

    def _gather(
        self, host: str, rule: Rule, version: int | None, *, check_name: bool
    ) -> Verdict | None:
        """Get the verified chain, or the reason why there is none to be had."""
        connection = self._real()
        if connection is None:
            return rule.refusal(host, Reason.NO_CERTIFICATE)
        if not _is_modern(connection, version):
            return rule.refusal(host, Reason.OLD_PROTOCOL)
        if connection.session_reused:
            leaf = connection.getpeercert(True)
            chain = self._state.recall(leaf) if leaf else None
            if chain is None:
                return rule.refusal(host, Reason.UNKNOWN_SESSION)
        else:
            chain = self._state.remember(private_ssl.verified_chain(connection))
        try:
            if connection.session_reused:
                _check_date(connection.getpeercert())
            if chain and check_name:
                fields = partial(private_ssl.leaf_fields, connection)
                self._state.check_name(host, chain[0], fields)
        except ssl.SSLCertVerificationError as error:
            if rule.mode == "enforce":
                raise
            verdict = rule.check(host, chain)
            if verdict.reason in (Reason.DENIED, Reason.UNREADABLE_CERTIFICATE):
                return verdict
            is_old = error.verify_code == CERTIFICATE_EXPIRED
            reason = Reason.EXPIRED_CERTIFICATE if is_old else Reason.WRONG_NAME
            return rule.refusal(host, reason, chain, expired=verdict.expired)
        self._chain, self._name_is_checked = chain, check_name
        return None

    # The states: in the way at first, then handed over or refused

    def _approved_connection(self) -> Any:
        if not self.approved or self.refusal is not None:
            self.do_handshake()
        return self._real()

    def _real(self) -> Any:
        if self._connection is not None:
            return self._connection
        connection = getattr(self._holder(), "_sslobj", None)
        return None if connection is self else connection

    def _detach(self) -> None:
        holder: Any = self._holder()
        if holder is not None:
            # found from what it guards, and from elsewhere
            holder.__dict__["_keypin_guard"] = self
            _approved.keep(holder, self)
        self.approved = True
        self._end_watch()
        # What carries an object cannot be cut while OpenSSL answers a server that asks later.
        stays = self._watched and self.is_carried
        if getattr(holder, "_sslobj", None) is self and not stays:
            holder._sslobj = self._connection
            if isinstance(holder, PlaintextBarrier):
                holder.__class__ = holder._approved_class  # type: ignore[attr-defined]
            # let go, so that closing the owner frees the connection
            self._connection = None

    def _end_watch(self) -> None:
        if self._watched:
            self._watched = self._state.end_watch(self)

    def _reattach(self) -> None:
        self.approved = False
        holder: Any = self._holder()
        current = getattr(holder, "_sslobj", None)
        if current is self or not hasattr(holder, "_sslobj"):
            return
        if self._connection is None:
            self._connection = current
        if isinstance(current, Guard) and current.refusal is not None:
            return
        holder._sslobj = self
        _put_barrier(holder)

    def _refuse(self, error: ssl.SSLCertVerificationError, by: Pinner | None = None) -> None:
        self._refused_by = by
        self.refusal = error
        self._reattach()
        self.cut()

    def _can_be_cut(self) -> bool:
        owner: Any = self._owner()
        return not isinstance(owner, _socket.socket) or _socket.socket.fileno(owner) != -1

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
        self._end_watch()
        self._discard_output()
        if self._interruption is not None:
            interruption, self._interruption = self._interruption, None
            raise interruption
        if isinstance(self.refusal, PinMismatch):
            raise type(self.refusal)(self.refusal.verdict)
        refusal: Any = self.refusal
        raise verification_error(refusal.verify_code, refusal.verify_message)

    def _with_details(self, verdict: Verdict, pinner: Pinner | None) -> Verdict:
        """A verdict with the peer's port, and with the pinner, if it is one of several."""
        if pinner is not None and len(self._pinners) > 1:
            verdict = verdict._replace(pinner=pinner.name, pinners=len(self._pinners))
        owner: Any = self._owner()
        try:
            peer = owner.getpeername()
        except (AttributeError, OSError):
            return verdict
        return verdict._replace(port=peer[1]) if isinstance(peer, tuple) else verdict


def _normal_form(host: str) -> str | None:
    try:
        return normalise(host)
    except HostnameError:
        return None


def _holder_of(owner: Any) -> Any:
    """What has the connection of an owner for its `_sslobj`."""
    if isinstance(owner, ssl.SSLSocket | ssl.SSLObject):
        return owner
    # gevent's SSLSocket has an inner socket, which it gives to OpenSSL
    outer = getattr(owner, "_sslsock", None)
    return (outer() if isinstance(outer, weakref.ref) else None) or owner


def guard_of(connection: Any, owner: Any) -> Guard | None:
    """The guard of a connection in C, before it or handed over; None if it has none."""
    holder = _holder_of(owner)
    attributes = getattr(holder, "__dict__", {})
    for guard in attributes.get("_sslobj"), attributes.get("_keypin_guard"):
        if isinstance(guard, Guard) and guard.connection is connection:
            return guard
    return None


def take_copies(guards: Sequence[Guard]) -> None:
    """Let these refused guards stand before the connection of copies of their owners, too.

    `copy.copy` of an `SSLObject` makes a second one for the same connection.
    """
    by_connection = {
        id(guard._connection): guard for guard in guards if guard._connection is not None
    }
    # a search through all objects, so only for what somebody else refers to as well
    connections = _referred_to_elsewhere(
        [guard._connection for guard in by_connection.values()], by=2
    )
    for holder in holders_of(connections) if connections else ():
        attributes = getattr(holder, "__dict__", {})
        guard = by_connection.get(id(attributes.get("_sslobj")))
        if guard is not None:
            attributes["_sslobj"] = guard


def wait_for_threads(guards: Iterable[Guard], seconds: float = 10.0) -> None:
    """Wait for the threads that are inside OpenSSL with a refused connection that nothing can cut.

    What they have written for the server is discarded when they come back. Without the lock, which
    they may need for that.

    Args:
        guards: just refused.
        seconds: the longest wait; a client's signature takes a fraction of one.

    Raises:
        ProtectionError: one has not come back.
    """
    end = time.monotonic() + seconds
    for guard in guards:
        while guard.may_still_send():
            if time.monotonic() > end:
                raise ProtectionError(
                    f"the new pins are in force, but a handshake with {guard.host} that they refuse"
                    " does not come to an end in another thread, and cannot be cut"
                )
            time.sleep(0.0005)


def _enforces(verdict: Verdict | None) -> bool:
    """Whether an accepting verdict could have refused, had the key been another."""
    rule = verdict.rule if verdict is not None and verdict.reason is Reason.MATCHED else None
    return rule is not None and rule.mode == "enforce"


def _raised_in_callback(
    error: BaseException, handled: BaseException | None
) -> BaseException | None:
    """What was raised in the message callback, where it comes out as the context of another.

    So it does on Python 3.15, for a socket with a time limit: it comes as an `SSLWantReadError`.

    Args:
        error: raised by a handshake.
        handled: what was being handled before the handshake, which becomes a context, too.
    """
    cause = error.__context__
    if cause is None or cause is handled:
        return None
    return cause if _waits(error) or not isinstance(cause, Exception) else None


def _waits(error: BaseException) -> bool:
    """Whether a handshake can go on after an error."""
    return isinstance(error, ssl.SSLWantReadError | ssl.SSLWantWriteError | TimeoutError)


def _is_modern(connection: Any, version: int | None) -> bool:
    """Whether a connection speaks TLS 1.2 or newer.

    Args:
        connection: in C.
        version: as on the wire, while the handshake is not over; else None.
    """
    return connection.version() in MODERN if version is None else version >= TLS_1_2


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
    " key exchange, alone or with a PSK): let it use ECDHE, or load no client certificate",
)
DETACHED: Final = verification_error(
    APPLICATION_VERIFICATION,
    "the socket was detached before its server was approved, so keypin could not cut the"
    " connection: shake hands first",
)
BEGUN: Final = verification_error(
    APPLICATION_VERIFICATION,
    "the handshake was on its way when the pins came into force, and the program checks the name of"
    " the server itself, so keypin does not know which pins are for it: connect anew",
)
UNDECIDED: Final = verification_error(APPLICATION_VERIFICATION, "keypin was interrupted")
