"""The pinned HTTP client: one method pins, and every request goes through it.

>>> from keypin.client import Client
>>> client = Client(base_url="https://api.example.com", certificates="www/certificates")
>>> client.get("/path")  # not pinned yet, so nothing leaves
Traceback (most recent call last):
    ...
keypin.errors.NotPinned: this client has no pin yet: call pin_trusted_certificate_public_key() ...
"""

from ..errors import MissingExtra

try:
    import httpx2 as _httpx2  # noqa: F401
except ImportError as error:
    raise MissingExtra(
        "keypin.client needs httpx2: pip install 'keypin[client]'", name="httpx2"
    ) from error

from ._async import AsyncClient
from ._sync import Client

__all__ = ["AsyncClient", "Client"]
