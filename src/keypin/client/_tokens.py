"""Access tokens, and the cache in which those who need the same one wait for one request."""

from __future__ import annotations

import re
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, Self
from urllib.parse import urlencode

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["AccessToken", "Event", "Flight", "Grant", "TokenCache", "normalised_scope"]

SCOPE_TOKEN = re.compile(r"[\x21\x23-\x5B\x5D-\x7E]+")  # RFC 6749, section 3.3
EARLY = 60.0  # seconds before its expiry that a token is no longer used, or
EARLY_SHARE = 0.1  # this part of its life, if that is less
SCOPES = 256  # kept at most


@dataclass(frozen=True, slots=True)
class AccessToken:
    """An access token; its text shows in no repr, and it cannot be pickled.

    Attributes:
        value: what the server reads.
        scope: what it is good for: scope tokens with a space between, in alphabetical order; "" for
            the server's default scope, which it has not named.
        expires_at: when it ends, in UTC; None if the server did not say.
    """

    value: str = field(repr=False)
    scope: str
    expires_at: datetime | None

    @property
    def as_authorization_header(self) -> str:
        """The value of an `Authorization` header (RFC 6750, section 2.1)."""
        return f"Bearer {self.value}"

    @property
    def as_form_parameter(self) -> str:
        """The parameter of a form-encoded body (RFC 6750, section 2.2)."""
        return urlencode({"access_token": self.value})

    def __reduce__(self) -> NoReturn:
        raise TypeError("an access token is not pickled: it is a secret")

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self


def normalised_scope(scope: str) -> str:
    """Write a scope in its one form: each scope token once, in alphabetical order.

    Raises:
        ValueError: characters that a scope cannot have (RFC 6749, section 3.3).
    """
    if not isinstance(scope, str):
        raise TypeError(f"a scope is a str, not {type(scope).__name__}")
    tokens = sorted(set(scope.split()))
    for token in tokens:
        if SCOPE_TOKEN.fullmatch(token) is None:
            raise ValueError(
                f"no scope token: {token!r} (RFC 6749, section 3.3: visible ASCII characters"
                " without quotation mark and backslash)"
            )
    return " ".join(tokens)


class Event(Protocol):
    """That of `threading` or of anyio."""

    def set(self) -> Any:
        """Wake those who wait."""


class Grant:
    """A token as the server has just given it.

    Args:
        token: the token.
        asked_at: `time.monotonic()` before the request for it.
        lifetime: in seconds; None if the server did not say.
    """

    __slots__ = ("_early", "_until", "token")

    def __init__(self, token: AccessToken, asked_at: float, lifetime: float | None) -> None:
        self.token: AccessToken = token
        self._until: float | None = None
        if lifetime is not None:
            self._early = min(EARLY, lifetime * EARLY_SHARE)
            self._until = asked_at + lifetime - self._early

    @property
    def fresh(self) -> bool:
        """Whether the token is still good to be sent.

        Both clocks must say so: one stands still while the machine sleeps, the other can be set.
        """
        if self._until is None or self.token.expires_at is None:
            return True
        left = (self.token.expires_at - datetime.now(UTC)).total_seconds()
        return time.monotonic() < self._until and left > self._early


class Flight:
    """A request for a token that is under way: one makes it, the others wait.

    Attributes:
        scope: normalised.
        event: set when it has ended.
        outcome: the token; the failure, which is shared; None if it was given up, so that
            whoever still needs the token asks again.
    """

    __slots__ = ("event", "outcome", "scope")

    def __init__(self, scope: str, event: Event) -> None:
        self.scope: str = scope
        self.event: Event = event
        self.outcome: AccessToken | Exception | None = None


class TokenCache:
    """Tokens by scope, for as long as the same pins are in force.

    Args:
        epoch: returns the pin set in force. A token is forgotten with the pins under which it was
            obtained: its server may be one that is pinned no more.
        new_event: makes what to wait on.
    """

    def __init__(self, epoch: Callable[[], object], new_event: Callable[[], Event]) -> None:
        self._now = epoch
        self._new_event = new_event
        # Never held while waiting. Reentrant: the garbage collector may end a flow, which lands its
        # flight, in a thread that holds it.
        self._lock = threading.RLock()
        self._epoch = epoch()
        self._grants: dict[str, Grant] = {}
        self._flights: dict[str, Flight] = {}

    def flight(self, scope: str) -> Flight:
        """A flight that nobody knows of yet: the caller's own, for a normalised scope."""
        return Flight(scope, self._new_event())

    def board(self, own: Flight) -> AccessToken | Flight:
        """The token for the scope of one's own flight, or the flight that brings it.

        If that is `own`, the caller is the one to make the request. It must `land` whatever
        happens, an exception in here included: others may be waiting for it.
        """
        scope = own.scope
        with self._lock:
            self._forget_older_pins()
            grant = self._grants.get(scope)
            if grant is not None and grant.fresh:
                return grant.token
            return self._flights.setdefault(scope, own)

    def land(self, flight: Flight, outcome: Grant | Exception | None) -> AccessToken | None:
        """End a flight, and wake those who wait for it; nothing more if it has ended already.

        Returns:
            The token; None if there is none, or the pins have been replaced since it was asked for.
        """
        token = None
        with self._lock:
            self._forget_older_pins()
            if self._flights.get(flight.scope) is flight:
                if isinstance(outcome, Grant):
                    self._keep(flight.scope, outcome)
                    token = outcome.token
                flight.outcome = token or outcome  # type: ignore[assignment] # no Grant then
                del self._flights[flight.scope]
        flight.event.set()
        return token

    def drop(self, value: str) -> None:
        """Forget a token, for every scope that it was obtained for."""
        with self._lock:
            for scope in [s for s, grant in self._grants.items() if grant.token.value == value]:
                del self._grants[scope]

    def _keep(self, scope: str, grant: Grant) -> None:
        self._grants.pop(scope, None)
        if len(self._grants) >= SCOPES:
            del self._grants[next(iter(self._grants))]
        self._grants[scope] = grant

    def _forget_older_pins(self) -> None:
        if (epoch := self._now()) is not self._epoch:
            self._epoch = epoch
            self._grants.clear()
            self._flights.clear()
