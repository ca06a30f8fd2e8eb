"""Pinner: the pin set in force, applied to TLS contexts and to the connections they made."""

from __future__ import annotations

import ssl
import threading
from functools import cache
from typing import TYPE_CHECKING, Any

from ._context import guard_context
from ._hangup import hang_up
from .errors import PinMismatch, PinSetError, ProtectionError
from .pinset import PinSet, Rule, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable
    from logging import Logger
    from os import PathLike

    from ._guard import Guard

__all__ = ["Pinner"]


class Pinner:
    """Holds the pin set in force and enforces it on TLS client connections.

    Args:
        pins: the set in force from now on.
        on_verdict: called with every `Verdict`, good and bad, once per connection and again when
            `replace` turns an open connection away; in the thread of the connection, between its
            handshake and its first byte, so it should be quick. What it raises is logged and goes
            no further.

    Every method may be called from any thread.
    """

    def __init__(
        self, pins: PinSet, *, on_verdict: Callable[[Verdict], object] | None = None
    ) -> None:
        self._pins = _pin_set(pins)
        self._on_verdict = on_verdict
        self._lock = threading.RLock()  # re-entrant: signal handlers call replace(), too
        # by the identity of the socket or object: programs' own classes may define equality
        self._guards: dict[int, Guard] = {}
        self._expiry_told: set[Rule] = set()

    @property
    def pins(self) -> PinSet:
        """The pin set in force."""
        return self._pins

    def create_context(
        self,
        cafile: str | PathLike[str] | None = None,
        capath: str | PathLike[str] | None = None,
        cadata: str | bytes | None = None,
    ) -> ssl.SSLContext:
        """Make a guarded context: `ssl.create_default_context` for a client, plus the pins.

        Args:
            cafile: PEM file of the certificate authorities to trust; the system's if all are None.
            capath: directory of such files, named by OpenSSL's hash.
            cadata: the authorities themselves, PEM text or DER bytes.
        """
        context = ssl.create_default_context(cafile=cafile, capath=capath, cadata=cadata)
        guard_context(context, self, may_hold_client_certificate=False)
        return context

    def protect(self, context: ssl.SSLContext) -> ssl.SSLContext:
        """Guard an existing client context in place, and return it.

        From then on it also refuses renegotiation and ignores the common name of certificates.
        Connections that it has made already stay as they were.

        Raises:
            ProtectionError: a context that cannot be guarded: a server's, another pinner's, or one
                of another TLS stack (pyOpenSSL).
        """
        # truststore's context is a shell: connections are made by the one inside
        inner = getattr(context, "_ctx", None)
        if isinstance(inner, ssl.SSLContext):
            guard_context(inner, self, may_hold_client_certificate=True)
            return context
        if not isinstance(context, ssl.SSLContext):
            raise ProtectionError(f"not an ssl.SSLContext: {context!r}")
        guard_context(context, self, may_hold_client_certificate=True)
        return context

    def replace(self, new_pins: PinSet) -> None:
        """Put another pin set in force, at once and for open connections too.

        When this returns, every open connection whose server does not satisfy `new_pins` is shut
        down, so that connection pools drop it; the others go on undisturbed.
        """
        new_pins = _pin_set(new_pins)
        with self._lock:
            self._pins = new_pins
            self._expiry_told = set()
            guards = self._guards.copy().values()
            try:
                refused = [guard for guard in guards if guard.recheck(new_pins)]
            except BaseException:  # a signal handler's, say: undecided is not approved
                for guard in guards:
                    guard.refuse_undecided()
                raise
        hang_up([guard.owner for guard in refused])
        for guard in refused:
            if isinstance(guard.refusal, PinMismatch):
                self._tell(guard.refusal.verdict)

    def __repr__(self) -> str:
        return f"<Pinner {self._pins!r}>"

    # For the guards

    def _guard_of(self, owner: Any) -> Guard | None:
        return self._guards.get(id(owner))

    def _tell(self, verdict: Verdict) -> None:
        if not verdict.matched or verdict.expired:
            self._log(verdict)
        if self._on_verdict is not None:
            try:
                self._on_verdict(verdict)
            except Exception:  # noqa: BLE001 - an observer must not break a connection
                _logger().exception("on_verdict raised; the connection is not affected")

    def _log(self, verdict: Verdict) -> None:
        if not verdict.matched:
            # the error tells the rest
            log = _logger().warning if verdict.accepted else _logger().info
            log("%s", verdict.report(), extra=_fields(verdict))
        rule = verdict.rule
        if verdict.expired and rule is not None and rule not in self._expiry_told:
            self._expiry_told.add(rule)
            _logger().error(
                "the pins for %s expired on %s; they are still %s",
                rule.host or "every host",
                rule.expires,
                "enforced" if rule.on_expiry == "enforce" else "known, but not enforced",
                extra=_fields(verdict),
            )


@cache
def _logger() -> Logger:
    import logging  # only here: there is nothing to say in most programs

    return logging.getLogger("keypin")


def _pin_set(pins: PinSet) -> PinSet:
    if not isinstance(pins, PinSet):
        raise PinSetError(f"a keypin.PinSet is needed, not {pins!r}")
    return pins


def _fields(verdict: Verdict) -> dict[str, object]:
    rule = verdict.rule
    return {
        "keypin_host": verdict.host,
        "keypin_port": verdict.port,
        "keypin_reason": verdict.reason.name,
        "keypin_accepted": verdict.accepted,
        "keypin_mode": rule.mode if rule else None,
        "keypin_rule": rule.host if rule else None,
        "keypin_served": [(str(pin), subject) for pin, subject in verdict.served],
        "keypin_expected": [str(pin) for pin in verdict.expected],
    }
