"""Resource requests, built up piece by piece."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

import httpx2

from ._deadline import seconds
from ._exchange import Exchange
from ._redirects import HARMLESS
from ._response import ResourceResponse
from ._running import run, run_async
from ._tokens import normalised_scope
from ._urls import base_of, origin_of, resolve

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import TypeAlias

    from ._exchange import Answer, Flow
    from ._flows import Flows

    Body: TypeAlias = str | bytes | dict[str, Any] | list[Any] | None

__all__ = ["TIMEOUT", "AsyncResourceRequest", "ResourceRequest"]

TIMEOUT: Final = 30.0
TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110, section 5.6.2
FIELD_VALUE = re.compile(r"(?:[\x21-\x7E](?:[\t\x20-\x7E]*[\x21-\x7E])?)?")  # section 5.5, in ASCII
# What says where a request or its body ends, and to whom it goes, is for the client to say.
NOT_YOURS = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


class RequestBuilder:
    """What both kinds of resource requests are made of."""

    _http: httpx2.Client | httpx2.AsyncClient

    def __init__(
        self,
        http: httpx2.Client | httpx2.AsyncClient,
        flows: Flows,
        url: str,
        method: str,
        timeout: float | None,
        scope: str | None,
        limit: int | None,
    ) -> None:
        if limit is not None and limit < 0:
            raise ValueError(f"a limit is a number of bytes, not {limit}")
        if TOKEN.fullmatch(method) is None or method.upper() in ("CONNECT", "TRACE"):
            raise ValueError(f"no method for a resource: {method!r}")
        self._http = http
        self._flows = flows
        self._url = resolve(base_of(flows.base_url), url)
        self._method = method.upper()
        self._timeout = seconds(timeout)
        self._scope = None if scope is None else normalised_scope(scope)
        self._limit = limit
        self._parameters: dict[str, str] = {}
        self._headers: list[tuple[str, str]] = []

    def set_query_parameter(self, name: str, value: str | int | float) -> None:
        """Set a parameter of the query, in the place of any of this name."""
        self._parameters[_text(name)] = _text(value)

    def set_query_parameters(self, parameters: Mapping[str, str | int | float]) -> None:
        """Set these parameters, and take away those that were set before."""
        self._parameters = {_text(name): _text(value) for name, value in parameters.items()}

    def set_header(self, name: str, value: str) -> None:
        """Set a header, in the place of any of this name, in upper or lower case.

        Raises:
            ValueError: a name or value that HTTP does not allow, or a header that the client alone
                may set, as Host and Content-Length.
        """
        pair = _header(name, value)
        self._headers = [p for p in self._headers if p[0].lower() != name.lower()]
        self._headers.append(pair)

    def set_headers(self, headers: Mapping[str, str]) -> None:
        """Set these headers, and take away those that were set before; see `set_header`."""
        pairs = [_header(name, value) for name, value in headers.items()]
        self._headers = []
        for name, value in pairs:
            self.set_header(name, value)

    def add_header(self, name: str, value: str) -> None:
        """Set one more value for a header; see `set_header`."""
        self._headers.append(_header(name, value))

    def _exchange(self, content: bytes | None, kind: str | None) -> Exchange:
        home = self._flows.is_home(self._url)
        url = self._url
        theirs = self._http.headers.multi_items()
        if not home:
            theirs = [pair for pair in theirs if pair[0].lower() in HARMLESS]
        elif self._http.params:
            url = url.copy_with(params=self._http.params.merge(url.params))
        if self._parameters:
            url = url.copy_merge_params(self._parameters)
        own = list(self._headers)
        if kind is not None and "content-type" not in _names(own):
            own.append(("Content-Type", kind))
        theirs = [pair for pair in theirs if pair[0].lower() not in _names(own)]
        return Exchange(self._method, url, (*theirs, *own), content, home, self._limit)

    def _flow(self, content: bytes | None, kind: str | None) -> Flow[Answer]:
        exchange = self._exchange(content, kind)
        own = "authorization" in _names(exchange.headers)
        if own and self._scope is not None:
            raise ValueError("a request has a scope or its own Authorization header, not both")
        return self._flows.send(exchange, self._scope, negotiate=not own)

    def __repr__(self) -> str:
        # without the query, which may be secret
        return f"<{type(self).__name__} {self._method} {origin_of(self._url)}{self._url.path}>"


class ResourceRequest(RequestBuilder):
    """A request for a resource; `Client.resource_request` makes it. It can be sent repeatedly."""

    _http: httpx2.Client

    def send(self, body: Body = None) -> ResourceResponse:
        """Send the request, and obtain and renew access tokens as its server demands.

        An answer that is not 2xx is returned, too.

        Args:
            body: text, bytes, or what is sent as JSON. It is sent again with each retry.

        Raises:
            keypin.PinMismatch: a server without a pinned key; nothing was sent to it.
            keypin.NotPinned: a client that has no pin yet.
            keypin.PlainHTTPRefused: a redirect to http.
            keypin.client.AuthorizationRefused: there is no access token for the resource.
            keypin.client.RequestTimeout: it took longer than the request's timeout.
            keypin.client.AnswerTooLarge: a body that is longer than the request's limit.
            keypin.client.ServerError: a token endpoint that fails, or endless redirects.
            keypin.client.Unreachable: no answer.
            ValueError: a scope, and an `Authorization` header of the program's own, too.
        """
        return self._send(*_encoded(body))

    def send_form(self, fields: Mapping[str, str | int | float]) -> ResourceResponse:
        """Send the request with a form as its body, and otherwise as `send`."""
        return self._send(*_encoded_form(fields))

    def _send(self, content: bytes | None, kind: str | None) -> ResourceResponse:
        return ResourceResponse(run(self._flow(content, kind), self._http, self._timeout))


class AsyncResourceRequest(RequestBuilder):
    """A request for a resource; `AsyncClient.resource_request` makes it; see `ResourceRequest`."""

    _http: httpx2.AsyncClient

    async def send(self, body: Body = None) -> ResourceResponse:
        """Send the request; see `ResourceRequest.send`."""
        return await self._send(*_encoded(body))

    async def send_form(self, fields: Mapping[str, str | int | float]) -> ResourceResponse:
        """Send the request with a form as its body, and otherwise as `send`."""
        return await self._send(*_encoded_form(fields))

    async def _send(self, content: bytes | None, kind: str | None) -> ResourceResponse:
        answer = await run_async(self._flow(content, kind), self._http, self._timeout)
        return ResourceResponse(answer)


def _names(headers: Iterable[tuple[str, str]]) -> set[str]:
    return {name.lower() for name, _ in headers}


def _encoded(body: object) -> tuple[bytes | None, str | None]:
    if body is None:
        return None, None
    if isinstance(body, str):
        return body.encode(), "text/plain; charset=utf-8"
    if isinstance(body, bytes):
        return body, "application/octet-stream"
    if isinstance(body, dict | list):
        text = json.dumps(body, ensure_ascii=False, allow_nan=False)
        return text.encode(), "application/json"
    raise TypeError(f"a body is a str, bytes, or JSON's dict or list, not {type(body).__name__}")


def _encoded_form(fields: Mapping[str, str | int | float]) -> tuple[bytes, str]:
    pairs = [(_text(name), _text(value)) for name, value in fields.items()]
    return urlencode(pairs).encode("ascii"), "application/x-www-form-urlencoded"


def _text(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise TypeError(f"a str or a number, not {type(value).__name__}")
    return str(value)


def _header(name: str, value: str) -> tuple[str, str]:
    if TOKEN.fullmatch(name) is None:
        raise ValueError(f"no header name: {name!r}")
    if name.lower() in NOT_YOURS:
        raise ValueError(f"the client alone sets the header {name}")
    if FIELD_VALUE.fullmatch(value) is None:
        # without the value, which may be a secret
        raise ValueError(
            f"the value of {name} is not one that HTTP allows: visible ASCII characters, with"
            " spaces and tabs only between them"
        )
    return name, value
