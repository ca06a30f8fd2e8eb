"""Glewlwyd, an OAuth 2.0 server, as Debian packages it; set up over its own REST interface.

It has a client that may have the scopes `people.read` and `people.write` by client credentials (RFC
6749, section 4.4), and one that may ask what a token is good for (RFC 7662).
"""

from __future__ import annotations

import re
import sqlite3
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from real_servers.programs import find, free_port
from scene import HOST, authority
from tls_programs import started

from keypin.lab import new_key

if TYPE_CHECKING:
    from typing import Self

    from real_servers.programs import Ports

    from keypin.lab import Credential

CLIENT_ID, SECRET = "inventory", "s3cr3t-of-the-inventory"
ASKING_ID, ASKING_SECRET = "people-server", "s3cr3t-of-the-server"
SCOPES = ("people.read", "people.write", "introspect")
NAME = "oauth"
"""of the instance of its plugin"""

MODULES = Path("/usr/lib/glewlwyd")
TABLES = Path("/usr/share/dbconfig-common/data/glewlwyd/install/sqlite3")
ADMIN = {"username": "admin", "password": "password"}  # which TABLES brings
EVENT = re.compile(r"(Access token (?:generated|jti) .*|Authorization invalid for client_id .*)")

CONFIGURATION = """
port={port}
bind_address="127.0.0.1"
external_url="https://{host}:{port}"
login_url="login.html"
api_prefix="api"
cookie_domain="{host}"
cookie_secure=1
session_key="session"
admin_scope="g_admin"
profile_scope="g_profile"
log_mode="file"
log_level="DEBUG"
log_file="{folder}/glewlwyd.log"
user_module_path="{modules}/user"
user_middleware_module_path="{modules}/user_middleware"
client_module_path="{modules}/client"
user_auth_scheme_module_path="{modules}/scheme"
plugin_module_path="{modules}/plugin"
hash_algorithm="SHA512"
use_secure_connection=true
secure_connection_key_file="{folder}/key.pem"
secure_connection_pem_file="{folder}/chain.pem"
secure_connection_ca_file="{folder}/ca.pem"
database={{ type="sqlite3" path="{folder}/glewlwyd.db" }};
"""

glewlwyd = find("glewlwyd")
needs_glewlwyd = pytest.mark.skipif(
    not (glewlwyd and TABLES.exists()), reason="needs glewlwyd (make system-deps)"
)


class Glewlwyd:
    """A server on a free port of loopback, a context manager.

    Args:
        folder: which it may fill.
        credential: what it presents; issued below the scene's authority.
    """

    def __init__(self, folder: Path, credential: Credential) -> None:
        self.credential = credential
        self._folder = folder

    @property
    def url(self) -> str:
        """Where its interface begins."""
        return f"https://{HOST}:{self.port}/api"

    @property
    def token_url(self) -> str:
        """Its token endpoint."""
        return f"{self.url}/{NAME}/token"

    @property
    def introspection_url(self) -> str:
        """Its endpoint for questions about tokens."""
        return f"{self.url}/{NAME}/introspect"

    def revoke(self, token: str) -> None:
        """Make a token of the client's invalid (RFC 7009)."""
        with self._client() as client:
            form, me = {"token": token}, (CLIENT_ID, SECRET)
            answer = client.post(f"/{NAME}/revoke", data=form, auth=me)
        assert answer.status_code == 200

    def is_active(self, token: str) -> bool:
        """Whether a token is valid."""
        with self._client() as client:
            bearer = {"Authorization": f"Bearer {self.asking_token}"}
            answer = client.post(f"/{NAME}/introspect", data={"token": token}, headers=bearer)
        assert answer.status_code == 200
        return answer.json()["active"] is True

    def events(self) -> list[str]:
        """The tokens that it gave, revoked and refused to clients whose secret is wrong.

        It logs them before it answers.
        """
        return EVENT.findall((self._folder / "glewlwyd.log").read_text())

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True)
        self.credential.write(self._folder)
        (self._folder / "ca.pem").write_text(authority().pem)
        database = sqlite3.connect(self._folder / "glewlwyd.db")
        database.executescript(TABLES.read_text())
        database.close()
        self._running = started(self._attempt)
        try:
            self._set_up()
            self.asking_token = self._asking_token()
        except BaseException:
            self._running.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._running.close()

    def _attempt(self) -> tuple[list[str | Path], Ports]:
        self.port = free_port()
        file = self._folder / "glewlwyd.conf"
        values: dict[str, Any] = {"folder": self._folder, "modules": MODULES, "host": HOST}
        file.write_text(CONFIGURATION.format(port=self.port, **values))
        return [glewlwyd, f"--config-file={file}"], {"https": self.port}

    def _client(self) -> httpx2.Client:
        context = ssl.create_default_context(cadata=authority().pem)
        return httpx2.Client(base_url=self.url, verify=context, trust_env=False, timeout=10)

    def _set_up(self) -> None:
        with self._client() as client:
            session = client.post("/auth/", json=ADMIN).cookies["session"]
            client.cookies.clear()  # which would not send it back: its domain is ".localhost"
            client.headers["Cookie"] = f"session={session}"

            def add(path: str, **fields: object) -> None:
                answer = client.post(path, json=fields)
                assert answer.status_code == 200, (path, answer.text)

            for scope in SCOPES:
                add("/scope/", name=scope, display_name=scope, password_required=False)
            for name, secret, scopes in (
                (CLIENT_ID, SECRET, SCOPES[:2]),
                (ASKING_ID, ASKING_SECRET, SCOPES[2:]),
            ):
                add(
                    "/client/",
                    client_id=name,
                    name=name,
                    client_secret=secret,
                    scope=list(scopes),
                    confidential=True,
                    enabled=True,
                    authorization_type=["client_credentials"],
                    token_endpoint_auth_method=["client_secret_basic"],
                    redirect_uri=[],
                )
            add(
                "/mod/plugin/",
                module="oidc",
                name=NAME,
                display_name=NAME,
                order_rank=0,
                readonly=False,
                parameters=self._parameters(),
            )

    def _parameters(self) -> dict[str, object]:
        key = new_key("p-256")
        public = key.private.public_key()
        return {
            "iss": f"{self.url}/{NAME}",
            "jwt-type": "ecdsa",
            "jwt-key-size": "256",
            "key": key.pem.decode(),
            "cert": public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(),
            "access-token-duration": 3600,
            "refresh-token-duration": 3600,
            "code-duration": 600,
            "allow-non-oidc": True,
            "auth-type-client-enabled": True,
            "auth-type-code-enabled": False,
            "auth-type-token-enabled": False,
            "auth-type-id-token-enabled": False,
            "auth-type-password-enabled": False,
            "auth-type-refresh-enabled": False,
            "introspection-revocation-allowed": True,
            "introspection-revocation-allow-target-client": True,
            "introspection-revocation-auth-scope": ["introspect"],
        }

    def _asking_token(self) -> str:
        form = {"grant_type": "client_credentials", "scope": "introspect"}
        with self._client() as client:
            answer = client.post(f"/{NAME}/token", data=form, auth=(ASKING_ID, ASKING_SECRET))
        assert answer.status_code == 200
        token: str = answer.json()["access_token"]
        return token
