"""The app's server, and what the app says to it. Nothing here knows of screens."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

from keypin import PinMismatch
from keypin.client import AuthorizationRefused, Client, RequestFailed

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

__all__ = ["BASE_URL", "CERTIFICATE", "Server"]

BASE_URL = "https://people.example.com/api"
CERTIFICATE = "server.cer"
RESOURCES = files("people") / "resources"


class Server:
    """The server of this app, pinned from the first request on.

    Args:
        base_url: its address.
        resources: the folder with certificates/server.cer, the server's certificate (DER), and
            authorities.pem, the authorities to trust (PEM).
    """

    def __init__(self, base_url: str = BASE_URL, resources: Traversable = RESOURCES) -> None:
        # OpenSSL knows no certificate authorities on Android and iOS: the app brings its own.
        self._client = Client(
            base_url,
            certificates=resources / "certificates",
            cafile=resources / "authorities.pem",
        )
        self._client.pin_trusted_certificate_public_key(CERTIFICATE)

    def welcome(self) -> str:
        """What the server says, or what to tell the user instead."""
        try:
            response = self._client.resource_request("/welcome", "GET", timeout=20.0).send()
            response.raise_for_status()
        except PinMismatch:
            # Nothing was sent. The details are for the app's log, not for its screen.
            return "This network does not lead to our server. Nothing was sent. Try another one."
        except AuthorizationRefused:
            return "The server does not let this app in. Update the app."
        except RequestFailed as failure:
            return f"The server cannot be reached now: {failure}"
        return str(response.json["message"])

    def close(self) -> None:
        """Close the connections."""
        self._client.close()
