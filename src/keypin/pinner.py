"""Pinner: the pin set in force, for TLS contexts or the whole process, and their connections."""

from __future__ import annotations

import os
import ssl
import weakref
from collections.abc import Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, cast

from ._internal.pem_files import trusting_context
from .enforcement import private_ssl, process, uncovered
from .enforcement.context import guard_context
from .enforcement.guard import LOCK, find_revived, take_copies, wait_for_threads
from .enforcement.hangup import hang_up
from .enforcement.verdict_log import (
    log_approval,
    log_expired_pins,
    log_mismatch,
    log_observer_error,
    logs_approvals,
)
from .errors import HostnameError, PinSetError, ProtectionError
from .hostnames import normalise
from .mismatch import PinMismatch
from .pinset import PinSet, Rule

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from os import PathLike
    from typing import NoReturn, Self

    from .enforcement.guard import Guard
    from .pin import Pin
    from .pinset import Reason, Verdict

__all__ = ["Pinner", "install"]

REMEMBERED = 4096  # hosts


class Pinner:
    """Holds the pin set in force and enforces it on TLS client connections.

    Args:
        pins: the set in force from now on.
        name: what errors and the log call this pinner, where several have to approve.
        on_verdict: called with every `Verdict`, good and bad, once per connection and again when
            `replace` turns an open connection away; in the thread of the connection, between its
            handshake and its first byte, so it should be quick. What it raises is logged and goes
            no further. It is not told of connections that it makes itself, or in asyncio's tasks
            that it starts.

    Every method may be called from any thread. A pinner cannot be copied or pickled: its pin set
    can.
    """

    def __init__(
        self,
        pins: PinSet,
        *,
        on_verdict: Callable[[Verdict], object] | None = None,
        name: str | None = None,
    ) -> None:
        self._pins = _pin_set(pins)
        self._name = name
        self._on_verdict = on_verdict
        # by their own identity, for as long as they are needed
        self._guards: dict[int, weakref.ref[Guard]] = {}
        self._expiry_told: set[Rule] = set()
        # under which all connections without a guard were last found to be to hosts not governed
        self._searched: PinSet | None = None
        # whether a host is governed, with the set that says so
        self._known_hosts: dict[str | None, tuple[PinSet, bool]] = {}

    @property
    def pins(self) -> PinSet:
        """The pin set in force."""
        return self._pins

    @property
    def name(self) -> str:
        """As it was given; else, what the pin set looks like."""
        return repr(self._pins) if self._name is None else self._name

    def create_context(
        self,
        cafile: str | PathLike[str] | None = None,
        capath: str | PathLike[str] | None = None,
        cadata: str | bytes | None = None,
        *,
        strict_x509: bool | None = None,
    ) -> ssl.SSLContext:
        """Make a guarded context: `ssl.create_default_context` for a client, plus the pins.

        Args:
            cafile: PEM file of the certificate authorities to trust; the system's if all are None.
            capath: directory of such files, named by OpenSSL's hash.
            cadata: the authorities themselves, PEM text or DER bytes.
            strict_x509: whether certificates must follow RFC 5280 closely
                (`ssl.VERIFY_X509_STRICT`); if None, they must from Python 3.13 on, as
                `ssl.create_default_context` has it. False accepts the certificates of older
                private CAs there; authority, dates, host name and pins are checked as ever.

        Raises:
            OSError: `cafile` cannot be read; the error names it. `ssl.SSLError`, which is one, says
                what the file is if it holds no certificates in PEM.
        """
        context = trusting_context(cafile, capath, cadata, strict_x509=strict_x509)
        guard_context(_working(context), self, may_hold_client_certificate=False)
        return context

    def protect(self, context: ssl.SSLContext) -> ssl.SSLContext:
        """Guard an existing client context in place, and return it.

        From then on it also refuses renegotiation, and pinned hosts need certificates with their
        name as a subjectAltName: the common name does not count (RFC 9525).
        Connections that it has made already stay as they were.

        Raises:
            ProtectionError: a context that cannot be guarded: a server's, another pinner's, or one
                of another TLS stack (pyOpenSSL).
        """
        guard_context(_working(context), self, may_hold_client_certificate=True)
        return context

    def install(self) -> None:
        """Put the pins in force for every client of the process that uses Python's `ssl`.

        That is for all TLS contexts, whenever they were made, and whatever made them; server-side
        connections and hosts that no rule governs are left alone. Connections to pinned hosts that
        are open already are shut down, because nobody saw how they began.

        Several pinners may be installed, and all of them must approve then, beside the one that a
        context is protected by. To install a pinner once more counts: as many calls of `uninstall`
        take it back. Libraries that bring a TLS implementation of their own cannot be reached; they
        are named in an `UncoveredClient` warning when they are imported.

        Raises:
            ProtectionError: another library has replaced the methods that this rests on; nothing
                is installed then.
            UncoveredClient: likewise, where the program turns that warning into an error.
        """
        from .startup import interpreters  # only here: `import keypin` stays as fast as it is

        interpreters.hook_already_imported()
        with LOCK:
            again = self in process.installed()
            interpreters.watch()
            try:
                found = process.install(self)
            finally:
                interpreters.unwatch_if_idle()
            if not again:  # else nothing was searched
                self._searched = None if found.tolerated else self._pins
        try:
            self._settle_open_connections(found)
            uncovered.warn_already_imported()
            interpreters.hook_already_imported()  # for what was imported meanwhile
        except BaseException:
            self.uninstall()
            raise

    def uninstall(self) -> None:
        """Take back one `install`; connections that were made meanwhile stay governed.

        Raises:
            ProtectionError: not installed.
        """
        from .startup import interpreters

        with LOCK:
            process.uninstall(self)
            interpreters.unwatch_if_idle()

    @contextmanager
    def installed(self) -> Iterator[Self]:
        """Install for the duration of a `with` block."""
        self.install()
        try:
            yield self
        finally:
            self.uninstall()

    def replace(self, new_pins: PinSet) -> None:
        """Put another pin set in force, at once and for open connections too.

        When this returns, every open connection whose server does not satisfy `new_pins` is shut
        down, so that connection pools drop it; the others go on undisturbed.
        """
        new_pins = _pin_set(new_pins)
        with LOCK:
            before, self._pins = self._pins, new_pins
            self._expiry_told = set()
            find_revived()
            guards = self._living_guards()
            try:
                refused = [guard for guard in guards if guard.recheck()]
                take_copies([guard for guard in refused if isinstance(guard.owner, ssl.SSLObject)])
                found = self._search(before)
            except BaseException:  # a signal handler's, say: undecided is not approved
                for guard in guards:
                    guard.refuse_undecided()
                self._search(None)
                raise
        found = process.UnguardedConnections(refused + found.refused, found.tolerated)
        wait_for_threads(found.refused)
        self._settle_open_connections(found)

    def __repr__(self) -> str:
        name = "" if self._name is None else f"{self._name} "
        return f"<Pinner {name}{self._pins!r}>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(
            "a Pinner cannot be copied or pickled: the connections that it guards would not be"
            " those of the copy. Make another one of its pin set: Pinner(pinner.pins)"
        )

    def _search(self, before: PinSet | None) -> process.UnguardedConnections:
        """Refuse connections that got past without a guard and are governed now, if there can be.

        Args:
            before: the pins that were in force; None if that is not known.
        """
        if self not in process.installed():
            return process.UnguardedConnections([], [])
        searched, self._searched = self._searched, None
        found = process.UnguardedConnections([], [])
        if before is None or searched is not before or not _governs_the_same(before, self._pins):
            found = process.search(self)
        if not found.tolerated:
            self._searched = self._pins
        return found

    def _settle_open_connections(self, found: process.UnguardedConnections) -> None:
        # without the lock: observers and loggers may have locks of their own
        hang_up([guard.owner for guard in found.refused])
        for guard in found.refused:
            if isinstance(guard.refusal, PinMismatch):
                self._tell(guard.refusal.verdict)
        for verdict in found.tolerated:
            self._tell(verdict)

    # For the hooks of the process, and the guards

    def _living_guards(self) -> list[Guard]:
        """The guards of all connections that this pinner has a say in."""
        guards = (reference() for reference in self._guards.copy().values())
        return [guard for guard in guards if guard is not None]

    def _governs(self, host: str | None) -> bool:
        """Whether a connection to a host has to be looked at; None is one without a name."""
        pins = self._pins
        known = self._known_hosts.get(host)
        if known is None or known[0] is not pins:
            known = (pins, _governs(pins, host))
            if len(self._known_hosts) >= REMEMBERED:
                self._known_hosts.clear()
            self._known_hosts[host] = known
        return known[1]

    def _verdict_on_unseen(self, host: str | None, reason: Reason) -> Verdict:
        """The verdict on a connection to a host that is governed, of which no more is known."""
        if host is None:
            return self._pins.nameless_verdict(None)
        try:
            name, rule = normalise(host), self._pins.rule_for(host)
        except HostnameError:
            return self._pins.nameless_verdict(host)
        if rule is None:
            return self._pins.unlisted_verdict(name)
        return rule.refusal(name, reason)

    def _hears_all(self) -> bool:
        """Whether somebody wants to hear of approvals, too."""
        return self._on_verdict is not None or logs_approvals()

    def _tell(self, verdict: Verdict) -> None:
        self._log(verdict)
        observing = _observing.get()
        if self._on_verdict is not None and self not in observing:
            token = _observing.set((*observing, self))
            try:
                self._on_verdict(verdict)
            except Exception:  # noqa: BLE001 - an observer must not break a connection
                log_observer_error(verdict)
            finally:
                _observing.reset(token)

    def _log(self, verdict: Verdict) -> None:
        if not verdict.matched:
            log_mismatch(verdict)
        elif logs_approvals():
            log_approval(verdict)
        if verdict.expired and verdict.rule is not None and verdict.rule not in self._expiry_told:
            self._expiry_told.add(verdict.rule)
            log_expired_pins(verdict)


_observing: ContextVar[tuple[Pinner, ...]] = ContextVar("keypin_observing", default=())
"""Whose `on_verdict` is being called; asyncio's tasks have this from who made them."""

_installed_here: Pinner | None = None
"""What `install` has installed last."""


def install(
    pins: str | PathLike[str] | PinSet | Mapping[str, Iterable[Pin | str]],
) -> Pinner:
    """Put pins in force for every TLS client of the process; see `Pinner.install`.

    A second call replaces the pins of the first, at once and for open connections too, as
    `Pinner.replace` does. What pinners of your own or KEYPIN_PINS have installed stays in force
    beside them.

    Args:
        pins: the path of a pin file, a `PinSet`, or a mapping of host patterns to pins.

    Returns:
        The pinner, to replace the pins or to uninstall it; the same as before, while that is
        installed.

    Raises:
        PinFileError: the file is not there or not right; nothing has changed.
        PinSetError: the pins are not right; nothing has changed.
        ProtectionError: see `Pinner.install`.
    """
    global _installed_here
    pins = pin_set_of(pins)
    while True:
        first = _installed_here
        if first is not None and first in process.installed():
            first.replace(pins)
            if first in process.installed():  # else another thread has uninstalled it meanwhile
                return first
        else:
            pinner = Pinner(pins, name="keypin.install()")
            pinner.install()
            with LOCK:
                if _installed_here is first:
                    _installed_here = pinner
                    return pinner
            pinner.uninstall()  # another thread was faster, whose pinner gets the pins


def pin_set_of(pins: str | PathLike[str] | PinSet | Mapping[str, Iterable[Pin | str]]) -> PinSet:
    """The pin set that a path, a mapping or itself stands for; see `install`."""
    if isinstance(pins, str | os.PathLike):
        return PinSet.load(pins)
    return PinSet(pins) if isinstance(pins, Mapping) else _pin_set(pins)


def _governs(pins: PinSet, host: str | None) -> bool:
    if host is None:
        return pins.unlisted == "refuse" or any(not rule.exclude for rule in pins.rules)
    try:
        rule = pins.rule_for(host)
    except HostnameError:
        return True  # to be refused
    return pins.unlisted == "refuse" if rule is None else not rule.exclude


def _governs_the_same(before: PinSet, after: PinSet) -> bool:
    """Whether what one set passed over cannot be governed, or refused, by the other."""
    return before.unlisted == after.unlisted and _what_they_do(before) == _what_they_do(after)


def _what_they_do(pins: PinSet) -> dict[str | None, tuple[bool, str, bool]]:
    return {rule.host: (rule.exclude, rule.mode, bool(rule.deny)) for rule in pins.rules}


def _working(context: ssl.SSLContext) -> ssl.SSLContext:
    """The context that makes the connections: truststore's is a shell around it."""
    inner = getattr(context, "_ctx", None)
    if isinstance(inner, private_ssl.C_CONTEXT_CLASS):
        return cast("ssl.SSLContext", inner)
    if not isinstance(context, ssl.SSLContext):
        raise ProtectionError(f"not an ssl.SSLContext: {context!r}")
    return context


def _pin_set(pins: PinSet) -> PinSet:
    if not isinstance(pins, PinSet):
        raise PinSetError(f"a keypin.PinSet is needed, not {pins!r}")
    return pins
