"""What pages may ask of a client, and the answers."""

from __future__ import annotations

import logging
import secrets
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from ..client._tokens import normalised_scope
from ..client._urls import base_of, resolve
from ._arguments import BadArgument, read_id, read_names, read_scope, read_send
from ._failures import AnsweredWithError, NotAllowed, told
from ._hosts import Reach

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from ..client import AccessToken, Client
    from ._arguments import Body

__all__ = ["Bridge"]

LOG = logging.getLogger("keypin.webview")
TOKENS = 256  # remembered at most, so that pages can clear them
LARGEST_ANSWER = 16 * 1024 * 1024  # bytes
# Cookies are the client's own business, as they are a browser's.
HIDDEN_HEADERS = frozenset({"set-cookie", "set-cookie2"})


class Bridge:
    """A client, as far as pages get to see it.

    Args:
        client: what sends the requests.
        hosts: that pages may reach; None for that of the client's `base_url`.
        tokens: whether pages see the text of access tokens.
        pinning: whether pages choose what the client is pinned to.
    """

    def __init__(
        self, client: Client, hosts: Iterable[str] | None, tokens: bool, pinning: bool
    ) -> None:
        self._client = client
        self._reach = Reach(client, hosts)
        self._tokens_shown = tokens
        self._pinning = pinning
        self._tokens: dict[str, AccessToken] = {}
        self._lock = threading.Lock()
        self._operations: Mapping[str, Callable[[str], object]] = {
            "pin": self._pin,
            "obtain": self._obtain,
            "clear": self._clear,
            "send": self._send,
        }

    def perform(self, operation: str, text: str) -> dict[str, Any]:
        """Do what a page asks for; nothing is raised.

        Args:
            operation: "pin", "obtain", "clear" or "send".
            text: its arguments, in JSON.
        """
        try:
            run = self._operations.get(operation)
            if run is None:
                raise BadArgument("there is no such operation")
            return {"ok": True, "value": run(text)}
        except Exception as error:
            if operation not in self._operations:
                operation = "unknown"  # rather than what a page would like to see in the log
            answer = told(error)
            if answer["errorCode"] == "INTERNAL_ERROR":
                LOG.exception("a page's call failed (%s)", operation)
            else:
                LOG.info("a page's call was refused or failed (%s): %s", operation, error)
            return answer

    def _pin(self, text: str) -> None:
        names = read_names(text)
        if not self._pinning:
            raise NotAllowed("the app itself says what it is pinned to (pinning=False)")
        self._client.pin_trusted_certificate_public_key(names)

    def _obtain(self, text: str) -> dict[str, Any]:
        with _understood():
            scope = normalised_scope(read_scope(text))
        with self._reach.limits():
            token = self._client.obtain_access_token(scope)
        known_as = secrets.token_urlsafe(16)
        with self._lock:
            self._tokens[known_as] = token
            while len(self._tokens) > TOKENS:
                del self._tokens[next(iter(self._tokens))]
        end = token.expires_at
        shown = self._tokens_shown
        return {
            "id": known_as,
            "scope": token.scope,
            "expiresAt": None if end is None else int(end.timestamp() * 1000),
            "value": token.value if shown else None,
            "asAuthorizationRequestHeader": token.as_authorization_header if shown else None,
            "asFormEncodedBodyParameter": token.as_form_parameter if shown else None,
        }

    def _clear(self, text: str) -> None:
        known_as = read_id(text)
        with self._lock:
            token = self._tokens.pop(known_as, None)
        if token is not None:  # else it has been cleared before
            self._client.clear_access_token(token)

    def _send(self, text: str) -> dict[str, Any]:
        asked = read_send(text)
        with _understood():
            self._reach.check(resolve(base_of(self._client._flows.base_url), asked.url))
            request = self._client.resource_request(
                asked.url,
                asked.method,
                timeout=asked.timeout,
                scope=asked.scope,
                limit=LARGEST_ANSWER,
            )
            for name, value in asked.query:
                request.set_query_parameter(name, value)
            for name, value in asked.headers:
                request.add_header(name, value)
            content, kind = _encoded(asked.body)
            if kind is not None and "content-type" not in {n.lower() for n, _ in asked.headers}:
                request.set_header("Content-Type", kind)
        with self._reach.limits():
            response = request.send(content)
        answer = {
            "status": response.status,
            "text": response.text,
            "headers": [
                [name, value]
                for name, value in response.headers.multi_items()
                if name.lower() not in HIDDEN_HEADERS
            ],
        }
        if not response.ok:
            raise AnsweredWithError(answer)
        return answer


def _encoded(body: Body) -> tuple[bytes | None, str | None]:
    if body.kind == "form":  # not through send_form(), which takes each name once
        return urlencode(body.fields).encode("ascii"), "application/x-www-form-urlencoded"
    if body.kind == "json":
        return body.text.encode(), "application/json"
    if body.kind == "text":
        return body.text.encode(), "text/plain; charset=utf-8"
    return None, None


@contextmanager
def _understood() -> Iterator[None]:
    """Tell a page what the client finds wrong with its arguments."""
    try:
        yield
    except ValueError as error:
        raise BadArgument(str(error)) from None
