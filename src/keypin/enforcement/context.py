"""The guarded TLS context: every connection that it makes for a client gets a `Guard`."""

from __future__ import annotations

import ssl
import sys
import weakref
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ..errors import ProtectionError
from ..hostnames import certificate_names
from . import private_ssl
from .guard import FINISHED, LOCK, WATCHED, Guard, verification_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..pinner import Pinner
    from .guard import Approval

__all__ = [
    "ContextState",
    "guard_context",
    "guarded_connection",
    "hook_certificate_loader",
    "load_credentials",
    "loader_was_taken",
    "state_of",
]

Key = TypeVar("Key")
Value = TypeVar("Value")

HANDSHAKE = 22  # TLS ContentType, RFC 8446, appendix B.3
REMEMBERED, REMEMBERED_BYTES = 1024, 4_000_000  # verified chains, per context
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
    if isinstance(context, GuardedContext) and context._keypin_pinner is not None:
        if context._keypin_pinner is not pinner:
            raise ProtectionError("the context is already protected by another Pinner")
        return
    if context.protocol == ssl.PROTOCOL_TLS_SERVER:
        raise ProtectionError("the context is for servers; pins are for clients")
    state = state_of(context)
    plain: Any = type(context)
    if not _keep_apart(context):
        raise ProtectionError(f"a {plain.__qualname__} cannot be guarded in place")
    state.may_hold_client_certificate = False
    if may_hold_client_certificate or _loader_was_taken:
        state.expect_client_certificate()
    context._keypin_pinner = pinner  # type: ignore[attr-defined]
    context.options = context.options  # the guarded setter adds what every connection needs
    # aiofastnet hands the SSL_CTX to its own C code, unless told that it must not
    context._aiofastnet_force_fallback_ssl = True  # type: ignore[attr-defined]
    _try_out(context, plain)


def load_credentials(
    context: ssl.SSLContext, certfile: Any, keyfile: Any = None, password: Any = None
) -> None:
    """`load_cert_chain` for a context whose connections get the certificate from keypin.

    The certificate is loaded where only a connection whose server was approved gets at it. A
    context that may be a server's as well has to have it for itself: what it is then, is looked at
    in each handshake.
    """
    if context.protocol == ssl.PROTOCOL_TLS_CLIENT and _keep_apart(context):
        need_message_callback()
        state_of(context).load_credentials(context, certfile, keyfile, password)
        return
    if context.protocol != ssl.PROTOCOL_TLS_SERVER:
        state_of(context).expect_client_certificate()
    private_ssl.C_CONTEXT_CLASS.load_cert_chain(context, certfile, keyfile, password)


def _keep_apart(context: ssl.SSLContext) -> bool:
    """Make a context one that gives credentials to its connections; False if that cannot be."""
    if not isinstance(context, GuardedContext):
        hook_certificate_loader()
        plain: Any = type(context)
        try:
            # class assignment is how a context is changed in place; the subclass adds no C fields
            context.__class__ = _guarded_class(plain)
        except TypeError:
            return False
    return True


def hook_certificate_loader() -> None:
    """Let `ssl.SSLContext.load_cert_chain` know of guarded contexts, for good.

    A method of theirs is not enough: `ssl.SSLContext.load_cert_chain(context, ...)` goes past it.
    """
    global _loader_was_taken
    for kind in private_ssl.context_classes():
        if "load_cert_chain" not in vars(kind):
            # somebody who keeps the method of C can load unseen
            _loader_was_taken |= private_ssl.certificate_loader_was_taken()
            kind.load_cert_chain = load_cert_chain


_loader_was_taken = False


def loader_was_taken() -> bool:
    """Whether somebody can load a certificate into any context without it being noticed."""
    return _loader_was_taken


def load_cert_chain(
    context: ssl.SSLContext, certfile: Any, keyfile: Any = None, password: Any = None
) -> None:
    """`SSLContext.load_cert_chain`, from the first guarded context on."""
    if isinstance(context, GuardedContext):
        load_credentials(context, certfile, keyfile, password)
    else:
        private_ssl.C_CONTEXT_CLASS.load_cert_chain(context, certfile, keyfile, password)


def _try_out(context: ssl.SSLContext, plain: type) -> None:
    """Refuse a context whose connections do not come past `GuardedContext`."""
    connection = context.wrap_bio(
        ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="keypin.invalid"
    )
    if not isinstance(private_ssl.connection_of(connection), Guard):
        raise ProtectionError(
            f"{plain.__qualname__} makes its connections where keypin cannot"
            " guard them; use Pinner.create_context()"
        )


class ContextState:
    """What is known of a context whose connections are guarded, by one pinner or several.

    Args:
        may_hold_client_certificate: whether the context itself holds one, as far as can be known:
            it was loaded before keypin could keep it apart.
        installation: the one under which this was last known, for contexts that are guarded only
            by what is installed for the process.

    Attributes:
        credentials: a context in C with the client's certificate and key, and nothing else that
            matters; None if there are none.
        nothing: one without, for refused connections; None where no certificate is known of.
    """

    __slots__ = (
        "_chains",
        "_named",
        "_pending",
        "_their_callback",
        "approvals",
        "credentials",
        "installation",
        "may_hold_client_certificate",
        "nothing",
    )

    def __init__(self, *, may_hold_client_certificate: bool, installation: object = None) -> None:
        self.installation = installation
        self.may_hold_client_certificate = may_hold_client_certificate
        self.credentials: Any = None
        self.nothing: Any = None
        self._their_callback: Any = None
        # by the identity of the socket or object; a guard that nobody else holds is dropped
        self._pending: dict[int, weakref.ref[Guard]] = {}
        self._chains: Memory[bytes, tuple[bytes, ...]] = Memory()
        self._named: Memory[tuple[str, bytes], bool] = Memory()
        # by the host, whether OpenSSL checks that the certificate is for it, and the pin set
        self.approvals: Memory[tuple[str | None, bool, int], Approval] = Memory()

    def approve(self, host: str | None, checks_name: bool, approval: Approval) -> None:
        """Keep an approval, if it is one and does not depend on the time."""
        verdict = approval.verdict
        if verdict.matched and (verdict.rule is None or verdict.rule.expires is None):
            key = host, checks_name, id(approval.pins)
            self.approvals.keep(key, approval, sum(map(len, approval.chain)))

    def remember(self, chain: tuple[bytes, ...]) -> tuple[bytes, ...]:
        """Keep a verified chain for the sessions that begin with it.

        Returns:
            An equal chain: the bytes that were kept before, whose hashes are known, where it can.
        """
        known = self._chains.get(chain[0]) if chain else None
        if known == chain:
            return known
        if chain:
            self._chains.keep(chain[0], chain, sum(map(len, chain)))
        return chain

    def recall(self, leaf: bytes) -> tuple[bytes, ...] | None:
        """The chain that was verified for this leaf, in this context; None if none was."""
        return self._chains.get(leaf)

    def check_name(self, host: str, leaf: bytes, fields: Callable[[], dict[str, Any]]) -> None:
        """Check that a verified leaf is for a host, whatever OpenSSL was told to check.

        `check_hostname` is switched off on resumed sessions, by urllib3 for its own assertions,
        and can be switched at any time by another thread.
        """
        if self._named.get((host, leaf)):
            return
        if not certificate_names(host, fields()):
            raise verification_error(
                HOSTNAME_MISMATCH, f"Hostname mismatch, certificate is not valid for '{host}'."
            )
        self._named.keep((host, leaf), True, len(leaf))

    # The client's certificate

    def load_credentials(
        self, context: ssl.SSLContext, certfile: Any, keyfile: Any, password: Any
    ) -> None:
        """Load a client certificate where only approved connections get at it.

        Raises what `SSLContext.load_cert_chain` does, and asks for a passphrase as that does.
        """
        credentials = self.credentials
        if credentials is None:
            credentials = private_ssl.bare_context()
            # The messages that follow, for a callback of the program's own, and to take the
            # credentials back when a server has asked for them after the handshake
            private_ssl.MESSAGE_CALLBACK.__set__(credentials, self._on_message)
            # A certificate alone in its file is sent with the issuers that the context knows.
            known = context.get_ca_certs(binary_form=True)
            if known:
                credentials.load_verify_locations(None, None, b"".join(known))
            self._match_security_level(context, credentials)
        self._make_ready()
        credentials.load_cert_chain(certfile, keyfile, password)
        self.credentials = credentials

    def prepare_credentials(self, context: ssl.SSLContext) -> None:
        """Let what a connection does with the credentials be as it is in its own context."""
        credentials = self.credentials
        self._match_security_level(context, credentials)
        if credentials.keylog_filename != context.keylog_filename:
            credentials.keylog_filename = context.keylog_filename

    @staticmethod
    def _match_security_level(context: ssl.SSLContext, credentials: Any) -> None:
        if credentials.security_level != context.security_level:
            credentials.set_ciphers(f"DEFAULT:@SECLEVEL={context.security_level}")

    def expect_client_certificate(self) -> None:
        """One may be in the context itself, or is about to be loaded into it."""
        need_message_callback()
        self._make_ready()
        with LOCK:
            self.may_hold_client_certificate = True

    def _make_ready(self) -> None:
        """Have what a refusal needs before one has to be made."""
        private_ssl.signed_cipher_suites()
        if self.nothing is None:
            self.nothing = private_ssl.bare_context()

    @property
    def watches(self) -> bool:
        """Whether handshakes have to be looked into."""
        return self.credentials is not None or self.may_hold_client_certificate

    # The look into handshakes. OpenSSL calls back for every message, also of approved connections,
    # so it is on only while handshakes are pending. All this under the lock.

    def enable_callback(self, context: ssl.SSLContext) -> None:
        """Hear of the TLS messages of the connections that the context makes from now on."""
        if not self.is_enabled(context):
            self._their_callback = private_ssl.MESSAGE_CALLBACK.__get__(context)
            private_ssl.MESSAGE_CALLBACK.__set__(context, self._on_message)

    def is_enabled(self, context: ssl.SSLContext) -> bool:
        """Whether our message callback is in the place of the program's."""
        return bool(private_ssl.MESSAGE_CALLBACK.__get__(context) == self._on_message)

    def watch(self, guard: Guard) -> None:
        """Let a guard hear of the messages of its handshake."""
        key = id(guard.owner)
        # called with the reference, which is the default of `pop`: the key may be gone already
        self._pending[key] = weakref.ref(guard, partial(self._pending.pop, key))

    def end_watch(self, guard: Guard) -> bool:
        """A guard has decided; its connection gets back its own context.

        Returns:
            Whether it goes on hearing, because the server may yet ask for a client certificate.
        """
        with LOCK:
            return self._end_watch(guard, guard.connection, guard.context)

    def _end_watch(self, guard: Guard, connection: Any, context: ssl.SSLContext) -> bool:
        is_open = connection is not None and guard.refusal is None
        # a certificate in the program's own context is withheld by cutting a socket
        watches = self.watches if guard.is_carried else self.credentials is not None
        goes_on = is_open and watches and self._may_ask(guard, connection)
        if not goes_on:
            self._forget(guard)
            if not self._pending and self.is_enabled(context):
                private_ssl.MESSAGE_CALLBACK.__set__(context, self._their_callback)
        if is_open:
            # its own again, and OpenSSL calls back or not, as that says now
            connection.context = context
        if self._pending:  # one that a signal handler began
            self.enable_callback(context)
        return goes_on

    @staticmethod
    def _may_ask(guard: Guard, connection: Any) -> bool:
        """Whether a server may ask for a client certificate after the handshake."""
        if connection.version() == "TLSv1.3":
            return bool(guard.context.post_handshake_auth)
        return guard.may_renegotiate

    def _forget(self, guard: Guard) -> None:
        key = id(guard.owner)
        known = self._pending.get(key)
        if known is not None and known() is guard:
            del self._pending[key]

    def chain_callback(self, context: ssl.SSLContext, callback: Any) -> bool:
        """Take a message callback of the program's own behind ours, if that is on."""
        if not self.is_enabled(context):
            return False
        # let `ssl` wrap it on a context of its own, so that ours is never off
        scratch: Any = private_ssl.plain_class_of(type(context))(ssl.PROTOCOL_TLS_CLIENT)
        scratch._msg_callback = callback
        self._their_callback = private_ssl.MESSAGE_CALLBACK.__get__(scratch)
        return True

    @property
    def their_callback(self) -> Any:
        """The program's own message callback, as given to `ssl`, while ours is in its place."""
        return self._their_callback and self._their_callback.user_function

    def _on_message(
        self, owner: Any, direction: str, version: int, kind: int, message: int, data: bytes
    ) -> None:
        known = self._pending.get(id(owner)) if kind == HANDSHAKE and owner is not None else None
        guard = None if known is None else known()
        if guard is not None:
            if direction == "write":
                if message == FINISHED:
                    guard.credentials_sent()
                guard = None  # OpenSSL is at its answer already
            elif message in WATCHED:
                guard.message_received(version, message, data)
        try:
            if self._their_callback is not None:
                self._their_callback(owner, direction, version, kind, message, data)
        finally:
            if guard is not None:
                guard.before_answer()


class Memory(Generic[Key, Value]):
    """What is remembered of certificates, whose size the servers choose.

    Bounded by number and by bytes; the oldest goes first.
    """

    __slots__ = ("_entries", "_size")

    def __init__(self) -> None:
        self._entries: dict[Key, tuple[Value, int]] = {}
        self._size = 0

    def get(self, key: Key) -> Value | None:
        """What was kept; None if nothing was, or it had to go."""
        entry = self._entries.get(key)
        return None if entry is None else entry[0]

    def keep(self, key: Key, value: Value, size: int) -> None:
        """Keep a value of this many bytes, if it leaves room for others."""
        if size > REMEMBERED_BYTES // 8:
            return
        with LOCK:
            self._make_room(key, size)
            self._entries[key] = value, size
            self._size += size

    def _make_room(self, key: Key, size: int) -> None:
        entries = self._entries
        if key in entries:
            self._size -= entries.pop(key)[1]
        while entries and (len(entries) >= REMEMBERED or self._size + size > REMEMBERED_BYTES):
            self._size -= entries.pop(next(iter(entries)))[1]


def state_of(context: ssl.SSLContext) -> ContextState:
    """What is known of a context; a client certificate may be in one that is seen first here."""
    attributes = vars(context)
    with LOCK:
        state = attributes.get("_keypin")
        if state is None:
            state = attributes["_keypin"] = ContextState(may_hold_client_certificate=True)
            state._make_ready()
    return state


def need_message_callback() -> None:
    """Refuse to go on where Python has no message callback."""
    if private_ssl.MESSAGE_CALLBACK is None:
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
    host: str | None,
) -> Any:
    """Make a connection of a client, behind a guard.

    Args:
        context: that makes the connection.
        pinners: those who must approve; none if the guard is only to give the credentials.
        make: makes it, as the context would have without keypin; it may have a guard already.
        owner: the Python object that gets it.
        outgoing: for an `SSLObject`, the BIO whose content the caller will send.
        host: the server name, if any.
    """
    if owner is None:
        raise ProtectionError(
            "this client makes its TLS connection before there is a socket to put it on, where"
            " keypin cannot guard it: let it connect first, and wrap the connected socket"
        )
    pinners = tuple(pinners)
    state = vars(context).get("_keypin") or state_of(context)
    for name in CTYPES_LOADERS:
        if name in sys.modules:
            state.expect_client_certificate()
    with LOCK:
        guard, verifies, checks_name = _made(context, state, make, may_renegotiate=not pinners)
        if not isinstance(guard, Guard):
            connection = guard
            guard = Guard(connection, context, owner, outgoing, state, host, verifies, checks_name)
            if state.watches:
                # Pending first, and then on, whatever a signal handler did meanwhile; the
                # connection asks its context for the callback when it is made or gets the context
                # anew.
                need_message_callback()
                guard.begin_watch()
                state.enable_callback(context)
                connection.context = context
        for pinner in pinners:
            guard.join(pinner)
    return guard


def _made(
    context: ssl.SSLContext, state: ContextState, make: Callable[[], Any], *, may_renegotiate: bool
) -> tuple[Any, bool, bool]:
    """Make a connection; it, whether it verifies its server, and whether its server's name.

    It takes its certificate, options, verify_mode and check_hostname from the context at that
    moment. The lock keeps most threads from changing them meanwhile; those that go round it are
    noticed.
    """
    for _ in range(ATTEMPTS):
        watches = state.watches
        if watches:
            state.enable_callback(context)
        verified_before = private_ssl.VERIFY_MODE.__get__(context) != ssl.CERT_NONE
        named_before = private_ssl.CHECK_HOSTNAME.__get__(context)
        options = private_ssl.OPTIONS.__get__(context)
        if may_renegotiate or options & NO_RENEGOTIATION:
            connection = make()
            renegotiates = not private_ssl.OPTIONS.__get__(context) & NO_RENEGOTIATION
        else:
            private_ssl.OPTIONS.__set__(context, options | NO_RENEGOTIATION)
            try:
                connection = make()
            finally:  # to other hosts the context may renegotiate as before
                options = private_ssl.OPTIONS.__get__(context)
                private_ssl.OPTIONS.__set__(context, options & ~NO_RENEGOTIATION)
            renegotiates = not options & NO_RENEGOTIATION
        if (may_renegotiate or not renegotiates) and watches == state.watches:
            verified_after = private_ssl.VERIFY_MODE.__get__(context) != ssl.CERT_NONE
            named_after = private_ssl.CHECK_HOSTNAME.__get__(context)
            return connection, verified_before and verified_after, named_before and named_after
    raise ProtectionError("another thread keeps changing the TLS context of this connection")


IN_C = {"verify_mode": private_ssl.VERIFY_MODE, "options": private_ssl.OPTIONS}


AContext: Any = object  # in the end, the class that the context had


class GuardedContext(AContext):  # type: ignore[misc]
    """The changes to a context's class; `_guarded_class` mixes them into the class it had."""

    _keypin: ContextState
    _keypin_pinner: Pinner | None = None
    """None where only the client's certificate is kept apart"""

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
        return guarded_connection(self, _pinners_of(self), make, owner, None, server_hostname)

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
        return guarded_connection(self, _pinners_of(self), make, owner, outgoing, server_hostname)

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
        if self._keypin_pinner is not None:
            value |= ssl.OP_NO_RENEGOTIATION
        _set_inherited(self, "options", value)

    @property
    def _msg_callback(self) -> Any:
        state = self._keypin
        return state.their_callback if state.is_enabled(self) else super()._msg_callback

    @_msg_callback.setter
    def _msg_callback(self, callback: Any) -> None:
        with LOCK:
            if not self._keypin.chain_callback(self, callback):
                _set_inherited(self, "_msg_callback", callback)


def _pinners_of(context: GuardedContext) -> tuple[Pinner, ...]:
    return () if context._keypin_pinner is None else (context._keypin_pinner,)


def _set_inherited(context: GuardedContext, name: str, value: object) -> None:
    """Set a property as the context's class before it was guarded would have."""
    inherited = getattr(super(GuardedContext, type(context)), name)
    if inherited is vars(private_ssl.plain_class_of(type(context)))[name] and name in IN_C:
        # what that does, but for `ssl.SSLContext` by name, which recurses where truststore is there
        inherited = IN_C[name]
    inherited.__set__(context, value)


@cache
def _guarded_class(base: Any) -> type[ssl.SSLContext]:
    return type(f"Guarded{base.__name__}", (GuardedContext, base), {"__doc__": base.__doc__})
