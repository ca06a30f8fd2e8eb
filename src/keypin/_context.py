"""The guarded TLS context: every connection that it makes for a client gets a `Guard`."""

from __future__ import annotations

import ssl
import sys
from functools import cache
from typing import TYPE_CHECKING, Any, NoReturn

from . import _private_ssl
from ._guard import CERTIFICATE_REQUEST, LOCK, TLS_1_2, Guard, error_for, verification_error
from .errors import ProtectionError
from .hostnames import certificate_names
from .pinset import Reason, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ._guard import Approval
    from .pinner import Pinner

__all__ = [
    "ContextState",
    "guard_context",
    "guarded_connection",
    "refuse_nameless",
    "state_of",
]

HANDSHAKE = 22  # TLS ContentType, RFC 8446, appendix B.3
# The handshake messages after which OpenSSL has verified the server's Certificate and before which
# it has written nothing of the client's answer: CertificateVerify and Finished (TLS 1.3),
# ServerKeyExchange and ServerHelloDone (TLS 1.2). Two of each, so that an interrupted look at the
# first is made good at the second.
AFTER_CERTIFICATE = frozenset({15, 20, 12, 14})
REMEMBERED = 1024  # verified chains, per context
# A renegotiated TLS 1.2 handshake could bring another certificate, unseen.
NO_RENEGOTIATION = int(ssl.OP_NO_RENEGOTIATION)  # operations on the enumeration are slow
ATTEMPTS = 100
# They load client certificates from memory into OpenSSL's own context, past `load_cert_chain`.
CTYPES_LOADERS = ("urllib3.contrib.imcc", "urllib3_future.contrib.imcc")
HOSTNAME_MISMATCH = 62  # X509_V_ERR_HOSTNAME_MISMATCH


def guard_context(
    context: ssl.SSLContext, pinner: Pinner, *, may_hold_client_certificate: bool
) -> None:
    """Make every client connection of a context ask `pinner`; see `Pinner.protect`."""
    if isinstance(context, GuardedContext):
        if context._keypin_pinner is not pinner:
            raise ProtectionError("the context is already protected by another Pinner")
        return
    if context.protocol == ssl.PROTOCOL_TLS_SERVER:
        raise ProtectionError("the context is for servers; pins are for clients")
    state = state_of(context)
    state.may_hold_client_certificate = may_hold_client_certificate
    if may_hold_client_certificate:
        need_message_callback()
    # class assignment is how a context is changed in place; the subclass adds no C-level fields
    plain: Any = type(context)
    context.__class__ = _guarded_class(plain)
    context._keypin_pinner = pinner  # type: ignore[attr-defined]
    context.options = context.options  # the guarded setter adds what every connection needs
    context.hostname_checks_common_name = False
    # aiofastnet hands the SSL_CTX to its own C code, unless told that it must not
    context._aiofastnet_force_fallback_ssl = True  # type: ignore[attr-defined]
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


class ContextState:
    """What is known of a context whose connections are guarded, by one pinner or several.

    Args:
        may_hold_client_certificate: whether one has been loaded, as far as can be known. It costs
            a look into each handshake.
        installation: the one under which this was last known, for contexts that are guarded only
            by what is installed for the process.
    """

    __slots__ = (
        "_chains",
        "_named",
        "_pending",
        "_their_callback",
        "approvals",
        "installation",
        "may_hold_client_certificate",
    )

    def __init__(self, *, may_hold_client_certificate: bool, installation: object = None) -> None:
        self.installation = installation
        self.may_hold_client_certificate = may_hold_client_certificate
        self._their_callback: Any = None
        # by the identity of the socket or object
        self._pending: dict[int, Guard] = {}
        self._chains: dict[bytes, tuple[bytes, ...]] = {}
        self._named: dict[tuple[str, bytes], None] = {}
        self.approvals: dict[str, Approval] = {}

    def approve(self, host: str, approval: Approval) -> None:
        """Keep an approval, if it is one and does not depend on the time."""
        verdict = approval.verdict
        if verdict.matched and (verdict.rule is None or verdict.rule.expires is None):
            _keep(self.approvals, host, approval)

    def remember(self, chain: tuple[bytes, ...]) -> tuple[bytes, ...]:
        """Keep a verified chain for the sessions that begin with it.

        Returns:
            An equal chain: the bytes that were kept before, whose hashes are known, where it can.
        """
        known = self._chains.get(chain[0]) if chain else None
        if known == chain:
            return known
        if chain:
            _keep(self._chains, chain[0], chain)
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
            raise verification_error(
                HOSTNAME_MISMATCH, f"Hostname mismatch, certificate is not valid for '{host}'."
            )
        _keep(self._named, (host, leaf), None)

    def expect_client_certificate(self) -> None:
        """One is about to be loaded."""
        with LOCK:
            self.may_hold_client_certificate = True

    # The look at the server's chain before the client's certificate is written. OpenSSL calls back
    # for every message, also of approved connections, so this is on only while handshakes are
    # pending. All this under the lock.

    def look_in(self, context: ssl.SSLContext) -> None:
        """Hear of the TLS messages of the connections that the context makes from now on."""
        need_message_callback()
        if not self.looks_into(context):
            self._their_callback = _private_ssl.MESSAGE_CALLBACK.__get__(context)
            _private_ssl.MESSAGE_CALLBACK.__set__(context, self._on_message)

    def looks_into(self, context: ssl.SSLContext) -> bool:
        """Whether our message callback is in the place of the program's."""
        return bool(_private_ssl.MESSAGE_CALLBACK.__get__(context) == self._on_message)

    def watch(self, guard: Guard) -> None:
        """Let a guard decide when the server's certificate is there."""
        guard.watch(self._pending)

    def look_away(self, guard: Guard) -> None:
        """A guard has decided for good."""
        with LOCK:
            if self._pending.get(id(guard.owner)) is guard:
                del self._pending[id(guard.owner)]
            connection = guard.connection
            if self._pending or connection is None or not self.looks_into(connection.context):
                return
            _private_ssl.MESSAGE_CALLBACK.__set__(connection.context, self._their_callback)
            # the connection, too, has OpenSSL call back until it gets its context again
            connection.context = connection.context
            if self._pending:  # one that a signal handler began
                self.look_in(connection.context)

    def chain_callback(self, context: ssl.SSLContext, callback: Any) -> bool:
        """Take a message callback of the program's own behind ours, if that is on."""
        if not self.looks_into(context):
            return False
        # let `ssl` wrap it on a context of its own, so that ours is never off
        scratch: Any = _private_ssl.context_class()(ssl.PROTOCOL_TLS_CLIENT)
        scratch._msg_callback = callback
        self._their_callback = _private_ssl.MESSAGE_CALLBACK.__get__(scratch)
        return True

    @property
    def their_callback(self) -> Any:
        """The program's own message callback, as given to `ssl`, while ours is in its place."""
        return self._their_callback and self._their_callback.user_function

    def _on_message(
        self, owner: Any, direction: str, version: int, kind: int, message: int, data: bytes
    ) -> None:
        if kind == HANDSHAKE and direction == "read":
            asked = message == CERTIFICATE_REQUEST and version <= TLS_1_2
            if asked or message in AFTER_CERTIFICATE:
                guard = self._pending.get(id(owner))
                if guard is not None:
                    guard.certificate_received(version, message)
        if self._their_callback is not None:
            self._their_callback(owner, direction, version, kind, message, data)


def state_of(context: ssl.SSLContext) -> ContextState:
    """What is known of a context; a client certificate may be in one that is seen first here."""
    attributes = vars(context)
    with LOCK:
        state = attributes.get("_keypin")
        if state is None:
            state = attributes["_keypin"] = ContextState(may_hold_client_certificate=True)
    return state


def need_message_callback() -> None:
    """Refuse to go on where Python has no message callback."""
    if _private_ssl.MESSAGE_CALLBACK is None:
        raise ProtectionError(
            "this Python cannot look into a TLS handshake, so a client certificate would be"
            " shown to any server: keypin refuses to load one, and to protect a context that"
            " may hold one (Pinner.create_context() makes one without)"
        )


def guarded_connection(
    context: ssl.SSLContext,
    pinners: Iterable[Pinner],
    make: Callable[[], Any],
    owner: Any,
    outgoing: ssl.MemoryBIO | None,
    host: Any,
) -> Any:
    """Make a connection of a client, behind one guard for each pinner.

    Args:
        context: that makes the connection.
        pinners: those who must approve.
        make: makes it, as the context would have without keypin.
        owner: the Python object that gets it.
        outgoing: for an `SSLObject`, the BIO whose content the caller will send.
        host: the server name, if any.
    """
    if host is None:
        for pinner in pinners:
            refuse_nameless(pinner)
    if owner is None:
        raise ProtectionError(
            "this client makes its TLS connection before there is a socket to put it on, where"
            " keypin cannot guard it: let it connect first, and wrap the connected socket"
        )
    state = vars(context).get("_keypin") or state_of(context)
    for name in CTYPES_LOADERS:
        if name in sys.modules:
            state.expect_client_certificate()
    with LOCK:
        raw, verifies = _made(context, state, make)
        guard = raw
        for pinner in pinners:
            guard = Guard(guard, owner, outgoing, state, pinner, host, verifies)
        if state.may_hold_client_certificate:
            # Pending first, and then on, whatever a signal handler did meanwhile; the connection
            # asks its context for the callback when it is made or gets the context anew.
            state.watch(guard)
            state.look_in(context)
            while isinstance(raw, Guard):
                raw = raw.connection
            raw.context = context
    return guard


def _made(
    context: ssl.SSLContext, state: ContextState, make: Callable[[], Any]
) -> tuple[Any, bool]:
    """Make a connection; it and whether it verifies its server.

    It takes its certificate, options and verify_mode from the context at that moment. The lock
    keeps most threads from changing them meanwhile; those that go round it are noticed.
    """
    for _ in range(ATTEMPTS):
        may_hold_client_certificate = state.may_hold_client_certificate
        if may_hold_client_certificate:
            state.look_in(context)
        verified_before = _private_ssl.VERIFY_MODE.__get__(context) != ssl.CERT_NONE
        options = _private_ssl.OPTIONS.__get__(context)
        if options & NO_RENEGOTIATION:
            connection = make()
            renegotiates = not _private_ssl.OPTIONS.__get__(context) & NO_RENEGOTIATION
        else:
            _private_ssl.OPTIONS.__set__(context, options | NO_RENEGOTIATION)
            try:
                connection = make()
            finally:  # to other hosts the context may renegotiate as before
                options = _private_ssl.OPTIONS.__get__(context)
                _private_ssl.OPTIONS.__set__(context, options & ~NO_RENEGOTIATION)
            renegotiates = not options & NO_RENEGOTIATION
        if not renegotiates and may_hold_client_certificate == state.may_hold_client_certificate:
            verified_after = _private_ssl.VERIFY_MODE.__get__(context) != ssl.CERT_NONE
            return connection, verified_before and verified_after
    raise ProtectionError("another thread keeps changing the TLS context of this connection")


def refuse_nameless(pinner: Pinner) -> NoReturn:
    """Refuse a connection for which no rule can be looked up."""
    verdict = Verdict(None, Reason.NO_SERVER_NAME)
    pinner._tell(verdict)
    raise error_for(verdict)


IN_C = {"verify_mode": _private_ssl.VERIFY_MODE, "options": _private_ssl.OPTIONS}


AContext: Any = object  # in the end, the class that the context had


class GuardedContext(AContext):  # type: ignore[misc]
    """The changes to a context's class; `_guarded_class` mixes them into the class it had."""

    _keypin: ContextState
    _keypin_pinner: Pinner

    def _wrap_socket(
        self,
        sock: Any,
        server_side: bool,
        server_hostname: str | None = None,
        *,
        owner: Any = None,
        **more: Any,
    ) -> Any:
        def make() -> Any:
            # looked up only when it is called, under the lock: `install` may have hooked it by then
            inherited: Any = super(GuardedContext, self)._wrap_socket
            return inherited(sock, server_side, server_hostname, owner=owner, **more)

        if server_side:
            return make()
        return guarded_connection(self, (self._keypin_pinner,), make, owner, None, server_hostname)

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
        def make() -> Any:
            inherited: Any = super(GuardedContext, self)._wrap_bio
            return inherited(incoming, outgoing, server_side, server_hostname, owner=owner, **more)

        if server_side:
            return make()
        pinners = (self._keypin_pinner,)
        return guarded_connection(self, pinners, make, owner, outgoing, server_hostname)

    @property
    def verify_mode(self) -> ssl.VerifyMode:
        return super().verify_mode  # type: ignore[no-any-return]

    @verify_mode.setter
    def verify_mode(self, value: ssl.VerifyMode) -> None:
        with LOCK:
            _set_inherited(self, "verify_mode", value)

    @property
    def options(self) -> ssl.Options:
        return super().options  # type: ignore[no-any-return]

    @options.setter
    def options(self, value: ssl.Options) -> None:
        _set_inherited(self, "options", value | ssl.OP_NO_RENEGOTIATION)

    def load_cert_chain(self, *arguments: Any, **more: Any) -> None:
        need_message_callback()
        self._keypin.expect_client_certificate()
        super().load_cert_chain(*arguments, **more)

    @property
    def _msg_callback(self) -> Any:
        state = self._keypin
        return state.their_callback if state.looks_into(self) else super()._msg_callback

    @_msg_callback.setter
    def _msg_callback(self, callback: Any) -> None:
        with LOCK:
            if not self._keypin.chain_callback(self, callback):
                _set_inherited(self, "_msg_callback", callback)


def _keep(memory: dict[Any, Any], key: Any, value: Any) -> None:
    with LOCK:
        while len(memory) >= REMEMBERED:
            del memory[next(iter(memory))]
        memory[key] = value


def _set_inherited(context: GuardedContext, name: str, value: object) -> None:
    """Set a property as the context's class before it was guarded would have."""
    inherited = getattr(super(GuardedContext, type(context)), name)
    if inherited is vars(_private_ssl.context_class())[name] and name in IN_C:
        # what that does, but for `ssl.SSLContext` by name, which recurses where truststore is there
        inherited = IN_C[name]
    inherited.__set__(context, value)


@cache
def _guarded_class(base: Any) -> type[ssl.SSLContext]:
    return type(f"Guarded{base.__name__}", (GuardedContext, base), {"__doc__": base.__doc__})
