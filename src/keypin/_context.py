"""The guarded TLS context: every connection that it makes for a client gets a `Guard`."""

from __future__ import annotations

import ssl
import threading
from functools import cache
from typing import TYPE_CHECKING, Any, NoReturn

from . import _private_ssl
from ._guard import Guard, error_for, verification_error
from .errors import ProtectionError
from .hostnames import certificate_names
from .pinset import Reason, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._guard import Approval
    from .pinner import Pinner

__all__ = ["guard_context"]

HANDSHAKE = 22  # TLS ContentType, RFC 8446, appendix B.3
# The handshake messages after which OpenSSL has verified the server's Certificate and before which
# it has written nothing of the client's answer: CertificateVerify and Finished (TLS 1.3),
# ServerKeyExchange and ServerHelloDone (TLS 1.2). Two of each, so that an interrupted look at the
# first is made good at the second.
AFTER_CERTIFICATE = frozenset({15, 20, 12, 14})
REMEMBERED = 1024  # verified chains, per context
HOSTNAME_MISMATCH = 62  # X509_V_ERR_HOSTNAME_MISMATCH


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
            raise verification_error(
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
