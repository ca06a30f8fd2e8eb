"""An API that wants access tokens, and the OAuth 2.0 server that gives them, in one application."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import parse_qs

from keypin.lab import Response

TOKEN_PATH = "/mfp/api/az/v1/token"
SECRET = "s3cr:t~%+ü/zwölf"
CLIENT_ID = "my client:ü"


class Fields(dict):
    """Headers of a response, of which several may have one name."""

    def __init__(self, *pairs):
        super().__init__(pairs)
        self._pairs = pairs

    def items(self):
        return self._pairs


def answer_of_the_token_endpoint(value, scope, /, **more):
    fields = {"access_token": value, "token_type": "Bearer", "expires_in": 3600, "scope": scope}
    fields |= more
    return Response(json.dumps({k: v for k, v in fields.items() if v is not None}).encode())


def bearer(*parts, status=401):
    """A challenge."""
    value = "Bearer " + ", ".join(('realm="keypin"', *parts))
    return Response(b"no", status, {"WWW-Authenticate": value})


@dataclass
class Api:
    """Answers a request by what `paths` has for its path, and gives out tokens.

    A path's answer is a scope that it wants, a Response, or a function of the request.
    """

    paths: dict[str, object] = field(default_factory=dict)
    give: Callable = lambda api, scope: answer_of_the_token_endpoint(api.new(scope), scope)
    issued: list = field(default_factory=list)
    revoked: set = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)
    seen: list = field(default_factory=list)

    def new(self, scope):
        """Issue a token; its value tells its number and scope."""
        with self.lock:
            value = f"token{len(self.issued)}~{scope.replace(' ', '+')}"
            self.issued.append((value, scope))
        return value

    @property
    def scopes(self):
        """The scopes of all requests for tokens, in their order."""
        return [scope for _, scope in self.issued]

    @property
    def sent(self):
        """(method, path, value of the token or None) of the requests for resources."""
        return [
            (r.method, r.target, (r.headers["Authorization"] or "").removeprefix("Bearer ") or None)
            for r in self.seen
        ]

    def __call__(self, request):
        if request.target == TOKEN_PATH:
            form = parse_qs(request.body.decode())
            assert form["grant_type"] == ["client_credentials"]
            self.basic = request.headers["Authorization"]
            return self.give(self, form.get("scope", [""])[0])
        self.seen.append(request)
        wanted = self.paths.get(request.target.partition("?")[0], self.echo)
        if isinstance(wanted, str):
            return self._with_scope(wanted, request)
        return wanted(request) if callable(wanted) else wanted

    @staticmethod
    def echo(request):
        """What the request was."""
        told = {
            "method": request.method,
            "target": request.target,
            "headers": request.headers.items(),
            "body": request.body.decode("utf-8", "replace"),
        }
        return Response(json.dumps(told).encode(), headers={"Content-Type": "application/json"})

    def _with_scope(self, wanted, request):
        header = request.headers["Authorization"]
        if header is None:
            return bearer(f'scope="{wanted}"')
        value = header.removeprefix("Bearer ")
        if value in self.revoked:
            return bearer('error="invalid_token"', 'error_description="revoked, alas"')
        scope = dict(self.issued).get(value)
        if scope is None:
            return bearer('error="invalid_token"')
        if not set(wanted.split()) <= set(scope.split()):
            return bearer('error="insufficient_scope"', f'scope="{wanted}"', status=403)
        return self.echo(request)
