"""What happens between the sending of a request and its result, without any I/O.

A flow is a generator: it yields the next step (an `Exchange`, or a `Wait`), is sent the step's
result, and returns what was asked for. Both clients run the same flows; see `_running`.
"""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NoReturn

from ._challenges import ChallengeError, parse_challenges
from ._exchange import Wait
from ._redirects import follow
from ._token_endpoint import Credentials, read_grant, token_request
from ._tokens import AccessToken, Flight, TokenCache, normalised_scope
from ._urls import base_of, origin_of, read_absolute
from .failures import AuthorizationRefused, RequestTimeout, ServerError, servers_words

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx2

    from ._exchange import Answer, Exchange, Flow
    from ._tokens import Event

__all__ = ["Flows"]

SENDS = 4  # of one resource request, redirects apart
REDIRECTS = 20  # as browsers and OkHttp
TOKEN_PATH = "az/v1/token"  # noqa: S105 - below the base URL, as MobileFirst has it


class Flows:
    """The requests of one client.

    Args:
        base_url: the client's; tokens go to its origin only.
        client_id: the client's name at the token endpoint, None if it obtains no tokens.
        client_secret: its password there.
        token_url: the token endpoint's; None for the one below the base URL.
        epoch: returns the pin set in force.
        new_event: makes what the client's callers wait on.

    Raises:
        ValueError: a client_id without a client_secret, or the other way round, or one that is no
            Unicode; a token_url that is no https URL.
    """

    def __init__(
        self,
        base_url: httpx2.URL,
        client_id: str | None,
        client_secret: str | None,
        token_url: str | None,
        epoch: Callable[[], object],
        new_event: Callable[[], Event],
    ) -> None:
        if (client_id is None) != (client_secret is None) or "" in (client_id, client_secret):
            raise ValueError("client_id and client_secret belong together, and are not empty")
        if not all(_in_unicode(text) for text in (client_id or "", client_secret or "")):
            raise ValueError("client_id or client_secret has a lone surrogate: it is no Unicode")
        if token_url is not None and client_id is None:
            raise ValueError("a token_url is of no use without a client_id and a client_secret")
        self.base_url = base_url
        self.tokens: TokenCache = TokenCache(epoch, new_event)
        self._credentials: Credentials | None = None
        if client_id is not None and client_secret is not None:
            self._credentials = Credentials(client_id, client_secret)
            self._token_url = (
                read_absolute(str(base_of(base_url).join(TOKEN_PATH)))
                if token_url is None
                else read_absolute(token_url)
            )

    def is_home(self, url: httpx2.URL) -> bool:
        """Whether a URL is of the origin that tokens go to."""
        return origin_of(url) == origin_of(self.base_url)

    def is_token_request(self, request: httpx2.Request) -> bool:
        """Whether a request is this client's own for a token.

        It is known by the client's credentials, which no redirect carries.
        """
        own = self._credentials
        return (
            own is not None
            and request.url == self._token_url
            and request.headers.get("authorization") == own.basic
        )

    def obtain(self, scope: str) -> Flow[AccessToken]:
        """Obtain a token for a normalised scope: from the cache, or together with others."""
        if self._credentials is None:
            raise AuthorizationRefused(
                "no access token without credentials: make the client with client_id and"
                " client_secret",
                scope=scope,
            )
        while True:
            asked_at = time.monotonic()
            own = self.tokens.flight(scope)
            try:
                found: AccessToken | Flight | None = self.tokens.board(own)
                if found is own:
                    answer = yield token_request(self._token_url, self._credentials, scope)
                    grant = read_grant(answer, self._credentials, scope, asked_at)
                    found = self.tokens.land(own, grant)
            except BaseException as error:
                # whoever runs out of time, or is cancelled, does so alone
                shared = isinstance(error, Exception) and not isinstance(error, RequestTimeout)
                self.tokens.land(own, error if shared else None)  # type: ignore[arg-type]
                raise
            if isinstance(found, Flight):
                yield Wait(found.event)
                if isinstance(found.outcome, Exception):
                    raise copy.copy(found.outcome) from found.outcome
                found = found.outcome
            if found is not None:
                return found

    def send(self, exchange: Exchange, scope: str | None, *, negotiate: bool) -> Flow[Answer]:
        """Send a resource request, follow redirects and answer challenges for a token.

        Args:
            exchange: its first request, without a token.
            scope: normalised; None to wait for the server's challenge.
            negotiate: False if the program brought its own `Authorization`.
        """
        state = Authorization(set((scope or "").split()))
        token: AccessToken | None = None
        if scope is not None:
            self._check_origin(exchange, scope)
            token = yield from self.obtain(scope)
        redirects, sends = 0, 1
        while True:
            answer: Answer = yield exchange if token is None else _with_token(exchange, token)
            following = follow(exchange, answer)
            if following is not None:
                redirects += 1
                if redirects > REDIRECTS:
                    text = f"the server redirected more than {REDIRECTS} times"
                    raise ServerError(answer.status, answer.text, text)
                exchange = following
                if not exchange.at_home:
                    token = None
                continue
            challenge = _bearer_challenge(answer, token) if negotiate else None
            if challenge is None:
                return answer
            self._check_origin(exchange, challenge.scope)
            if sends == SENDS:
                challenge.refuse(f"the server still refuses after {SENDS} requests")
            wanted = state.next_scope(token, challenge)
            if token is not None and challenge.error != "insufficient_scope":
                self.tokens.drop(token.value)
            token = yield from self.obtain(wanted)
            sends += 1

    def _check_origin(self, exchange: Exchange, scope: str | None) -> None:
        if not exchange.at_home:
            raise AuthorizationRefused(
                f"{exchange.url.host} wants an access token; those of this client go to"
                f" {origin_of(self.base_url)} only, and to nowhere that another server redirects",
                scope=scope,
            )


@dataclass(frozen=True, slots=True)
class BearerChallenge:
    """What a server says of the token that it wants (RFC 6750, section 3)."""

    status: int
    error: str | None
    description: str | None
    scope: str | None

    def refuse(self, why: str) -> NoReturn:
        """Give up."""
        said = "".join(f", {part}" for part in (self.error, self.description) if part)
        text = f"{why} (status {self.status}{said})"
        raise AuthorizationRefused(text, self.error, self.description, self.status, self.scope)


class Authorization:
    """What one resource request has tried so far.

    Args:
        scope: the scope tokens that the program asked for.
    """

    def __init__(self, scope: set[str]) -> None:
        self._scope = scope
        self._renewed = False

    def next_scope(self, token: AccessToken | None, challenge: BearerChallenge) -> str:
        """The scope to obtain a token for.

        Raises:
            AuthorizationRefused: there is no use in another token.
        """
        demanded = set((challenge.scope or "").split())
        if challenge.error == "insufficient_scope":
            if not demanded:
                challenge.refuse("the server wants another scope and does not say which")
            if token is not None and demanded <= self._scope:
                challenge.refuse("the server wants a scope that its own token was obtained for")
            self._scope = self._scope | demanded
        elif challenge.error not in (None, "invalid_token"):
            challenge.refuse("the server refuses the request")
        elif token is not None:
            if self._renewed:
                challenge.refuse("the server refuses a second, new access token, too")
            self._renewed = True
        self._scope = self._scope or demanded
        return normalised_scope(" ".join(self._scope))


def _bearer_challenge(answer: Answer, token: AccessToken | None) -> BearerChallenge | None:
    """The challenge that a token could answer, if there is one."""
    if answer.status not in (401, 403):
        return None
    try:
        challenges = parse_challenges(_fields(answer, b"www-authenticate"))
    except ChallengeError as error:
        if answer.status == 403:
            return None
        text = f"the server's challenge cannot be read: {error}"
        raise AuthorizationRefused(text, status=401) from None
    for challenge in challenges:
        if challenge.scheme == "bearer":
            break
    else:
        return None
    told = challenge.parameters
    if answer.status == 403 and told.get("error") != "insufficient_scope":
        return None
    secrets = () if token is None else (token.value,)
    words = {name: servers_words(value, *secrets) for name, value in told.items()}
    found = BearerChallenge(
        answer.status, words.get("error"), words.get("error_description"), told.get("scope")
    )
    try:
        return replace(found, scope=normalised_scope(found.scope or "") or None)
    except ValueError:
        found.refuse("the server's challenge names a scope that is none")


def _in_unicode(text: str) -> bool:
    # not by trying to encode it: that error would hold the text, which is a secret
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _fields(answer: Answer, name: bytes) -> list[str]:
    """A header's values, a character for each byte: other than ASCII is opaque (RFC 9110, 5.5)."""
    return [value.decode("latin-1") for key, value in answer.headers.raw if key.lower() == name]


def _with_token(exchange: Exchange, token: AccessToken) -> Exchange:
    header = ("Authorization", token.as_authorization_header)
    return replace(exchange, headers=(*exchange.headers, header))
