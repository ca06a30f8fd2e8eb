"""The request for an access token, and what its answer says (RFC 6749, client credentials).

oauthlib forms the body and reads the answer. It is lenient where this is not: it would take an
answer in form encoding, a token of any type or none, and an expiry in strange numbers, and some of
it depends on environment variables. So an answer is checked before oauthlib sees it.
"""

from __future__ import annotations

import base64
import json
import re
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import quote_plus

from ..errors import MissingExtra
from ._exchange import Exchange
from ._tokens import AccessToken, Grant, normalised_scope
from .failures import AuthorizationRefused, ServerError, servers_words

if TYPE_CHECKING:
    import httpx2

    from ._exchange import Answer

__all__ = ["Credentials", "read_grant", "token_request"]

ANSWER_LIMIT = 256 * 1024
B68TOKEN = re.compile(r"[0-9A-Za-z\-._~+/]+=*")  # RFC 6750, section 2.1
LONGEST = 2**31 - 1  # seconds, 68 years: "never", without leaving what a datetime can hold
DIGITS = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a confidential client authenticates with; the secret shows in no repr, nor in a pickle.

    Args:
        client_id: its name.
        client_secret: its password.
    """

    client_id: str
    client_secret: str = field(repr=False)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a client secret is not pickled")

    @property
    def basic(self) -> str:
        """The `Authorization` header's value (RFC 6749, section 2.3.1: form-encoded first)."""
        pair = f"{quote_plus(self.client_id)}:{quote_plus(self.client_secret)}"
        return "Basic " + base64.b64encode(pair.encode("ascii")).decode("ascii")

    def hide(self, text: str) -> str:
        """Take the secret out of what a server sends back."""
        basic = self.basic.removeprefix("Basic ")
        for secret in (basic, self.client_secret, quote_plus(self.client_secret)):
            text = text.replace(secret, "[hidden]")
        return text


def token_request(url: httpx2.URL, credentials: Credentials, scope: str) -> Exchange:
    """The request for a token.

    Args:
        url: the token endpoint's.
        credentials: the client's.
        scope: in its normalised form; "" leaves it to the server.
    """
    body = _oauth_client(credentials).prepare_request_body(scope=scope or None)
    return Exchange(
        "POST",
        url,
        (
            ("Accept", "application/json"),
            ("Authorization", credentials.basic),
            ("Content-Type", "application/x-www-form-urlencoded"),
        ),
        body.encode("ascii"),
        limit=ANSWER_LIMIT,
    )


def read_grant(answer: Answer, credentials: Credentials, scope: str, asked_at: float) -> Grant:
    """Read a token endpoint's answer.

    Args:
        answer: it.
        credentials: those that it answers; what it repeats of them is not told on.
        scope: that which was asked for, normalised.
        asked_at: `time.monotonic()` before the request.

    Raises:
        AuthorizationRefused: the server's refusal (section 5.2), or 401 or 403 without its reason,
            as some servers answer to a wrong secret.
        ServerError: anything else that is no token; a redirect, too, which would take the
            credentials elsewhere.
    """
    status = answer.status
    fields = _object_in(answer)
    if status in (401, 403) or (400 <= status < 500 and isinstance(fields.get("error"), str)):
        _refuse(status, fields, credentials, scope)
    if status != 200:
        what = "redirects, and credentials do not follow" if 300 <= status < 400 else "failed"
        text = f"the token endpoint {what}: status {status}"
        # there may be a token in it, whatever its status
        body = "" if "access_token" in answer.text else credentials.hide(answer.text)
        raise ServerError(status, body, text)
    problem = _problem(fields)
    if problem:
        # without the body: there may be a token in it
        raise ServerError(status, "", f"the token endpoint's answer {problem}")
    parsed = _oauth_client(credentials).parse_request_body_response(
        json.dumps({name: fields[name] for name in GRANT_FIELDS if fields.get(name) is not None})
    )
    granted = normalised_scope(" ".join(parsed.scopes)) if "scope" in parsed else scope
    lifetime = parsed.get("expires_in")
    if lifetime is None and fields.get("expires_in") is not None:
        lifetime = 0  # which oauthlib takes for none
    expires_at = None
    if lifetime is not None:
        since = time.monotonic() - asked_at
        expires_at = datetime.now(UTC) + timedelta(seconds=lifetime - since)
    return Grant(AccessToken(parsed["access_token"], granted, expires_at), asked_at, lifetime)


GRANT_FIELDS = ("access_token", "token_type", "expires_in", "scope")


def _problem(fields: dict[str, Any]) -> str:
    """What is wrong with a successful answer (section 5.1); "" if nothing is."""
    token, kind, scope = fields.get("access_token"), fields.get("token_type"), fields.get("scope")
    if not isinstance(token, str) or B68TOKEN.fullmatch(token) is None:
        return "has no access_token that can stand in a header (RFC 6750, section 2.1)"
    if not isinstance(kind, str) or kind.lower() != "bearer":
        return "is not of the token_type Bearer"
    if scope is not None:
        try:
            normalised_scope(scope)
        except (TypeError, ValueError):
            return "has a scope that is none (RFC 6749, section 3.3)"
    lifetime = fields.get("expires_in")
    if isinstance(lifetime, str) and DIGITS.fullmatch(lifetime):
        lifetime = int(lifetime)
    if lifetime is not None:
        # not a bool, which is an int; NaN compares as False
        if type(lifetime) not in (int, float) or not 0 <= lifetime < float("inf"):
            return "has an expires_in that is no number of seconds"
        fields["expires_in"] = min(int(lifetime), LONGEST)
    return ""


def _refuse(status: int, fields: dict[str, Any], credentials: Credentials, scope: str) -> NoReturn:
    error, description = (
        servers_words(credentials.hide(words)) if isinstance(words, str) else None
        for words in (fields.get("error"), fields.get("error_description"))
    )
    asked = f"the scope {servers_words(scope)!r}" if scope else "the default scope"
    text = f"the token endpoint refuses a token for {asked}: {error or f'status {status}'}"
    if description:
        text += f": {description}"
    raise AuthorizationRefused(text, error, description, status, scope)


def _object_in(answer: Answer) -> dict[str, Any]:
    try:
        value = json.loads(answer.content)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _oauth_client(credentials: Credentials) -> Any:
    try:
        # here, because it takes a while. type: it has no types of its own
        from oauthlib.oauth2 import BackendApplicationClient  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingExtra(
            "access tokens need oauthlib: pip install 'keypin[client]'", name="oauthlib"
        ) from error
    return BackendApplicationClient(credentials.client_id)
