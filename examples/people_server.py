"""The server that the examples talk to: people, for whoever brings an access token.

It is made of keypin's lab, runs on this machine, and has an impostor beside it: a server with a
valid certificate for the same name, from an authority that the client trusts, and another key.
"""

from __future__ import annotations

import json
import secrets
from base64 import b64encode
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote_plus

from keypin.lab import Authority, Http, Request, Response, Server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["CLIENT_ID", "CLIENT_SECRET", "PeopleServers", "people_servers"]

CLIENT_ID = "people-app"
CLIENT_SECRET = "known to everybody: it is an example"
SCOPE = "people.read"
PEOPLE = [
    {"name": "Ada Lovelace", "born": 1815},
    {"name": "Emmy Noether", "born": 1882},
    {"name": "Alan Turing", "born": 1912},
]


class PeopleApi:
    """GET /api/people for bearer tokens (RFC 6750), which POST /api/az/v1/token issues."""

    def __init__(self) -> None:
        self._tokens: set[str] = set()

    def __call__(self, request: Request) -> Response:
        """Answer a request."""
        path = request.target.partition("?")[0]
        if (request.method, path) == ("POST", "/api/az/v1/token"):
            return self._issue_token(request)
        if (request.method, path) == ("GET", "/api/people"):
            return self._list_people(request)
        if (request.method, path) == ("GET", "/api/welcome"):
            return _json({"message": f"Welcome. {len(PEOPLE)} people are known here."})
        return _json({"error": "no such resource"}, 404)

    def _issue_token(self, request: Request) -> Response:
        if request.headers.get("Authorization") != _credentials():
            return _json({"error": "invalid_client"}, 401)
        token = secrets.token_urlsafe()
        self._tokens.add(token)
        return _json(
            {"access_token": token, "token_type": "Bearer", "expires_in": 3600, "scope": SCOPE}
        )

    def _list_people(self, request: Request) -> Response:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or token not in self._tokens:
            challenge = f'Bearer realm="people", scope="{SCOPE}"'
            return Response(status=401, headers={"WWW-Authenticate": challenge})
        return _json(PEOPLE)


def _credentials() -> str:
    # RFC 6749, section 2.3.1: both are form-encoded first
    pair = f"{quote_plus(CLIENT_ID)}:{quote_plus(CLIENT_SECRET)}"
    return "Basic " + b64encode(pair.encode("ascii")).decode("ascii")


def _json(value: object, status: int = 200) -> Response:
    return Response(json.dumps(value).encode(), status, {"Content-Type": "application/json"})


@dataclass(frozen=True)
class PeopleServers:
    """The servers, and the files that a client needs."""

    server: Server
    impostor: Server
    certificates: Path
    """the folder with server.cer, the certificate to pin"""
    cafile: Path

    @property
    def base_url(self) -> str:
        """The address of the genuine server."""
        return self.server.url_for("localhost", "/api")

    @property
    def impostor_url(self) -> str:
        """The address of the other one."""
        return self.impostor.url_for("localhost", "/api")


@contextmanager
def people_servers(folder: Path) -> Iterator[PeopleServers]:
    """Run both servers.

    Args:
        folder: where the certificates are written.
    """
    authority = Authority("authority of the examples")
    certificates, cafile = folder / "certificates", folder / "authorities.pem"
    genuine = authority.issue("localhost", "127.0.0.1")
    certificates.mkdir(parents=True, exist_ok=True)
    (certificates / "server.cer").write_bytes(genuine.certificate)
    cafile.write_text(authority.pem, "ascii")
    application = Http(PeopleApi())
    with (
        Server(genuine, application=application) as server,
        Server(authority.issue("localhost", "127.0.0.1"), application=application) as impostor,
    ):
        yield PeopleServers(server, impostor, certificates, cafile)
