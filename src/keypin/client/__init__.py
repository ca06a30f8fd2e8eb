"""The pinned HTTP client: one method pins, and every request goes through it.

>>> from keypin.client import Client
>>> client = Client(base_url="https://api.example.com", certificates="www/certificates")
>>> client.get("/path")  # not pinned yet, so nothing leaves
Traceback (most recent call last):
    ...
keypin.errors.NotPinned: this client has no pin yet: call pin_trusted_certificate_public_key() ...

What it is made of, each part importing only from those above it:

    failures         what a resource request fails with
    _challenges      WWW-Authenticate, read as RFC 9110 says                   no I/O
    _urls            where a URL leads; origins                                no I/O
    _tokens          AccessToken; the cache that callers share                 no I/O
    _exchange        one request and its answer: the steps of a flow           no I/O
    _redirects       where a redirect leads, and what may go there             no I/O
    _token_endpoint  the request for a token, and its answer, by oauthlib      no I/O
    _flows           what happens from a request to its result, as steps       no I/O
    _cookies         which of them a client keeps
    _header_logs     keeps tokens out of the logs of HTTP/2's library
    _pinning         what both clients share: their pins, and who may leave
    _deadline        an end to a blocking request as a whole
    _running         takes the steps of a flow: in a thread, or in a task
    _response, _resource  ResourceResponse; ResourceRequest, which is built up piece by piece
    _sync, _async    Client; AsyncClient
"""

from ..errors import MissingExtra

try:
    import httpx2 as _httpx2  # noqa: F401
except ImportError as _error:
    raise MissingExtra(
        "keypin.client needs httpx2: pip install 'keypin[client]'", name="httpx2"
    ) from _error

from ._async import AsyncClient
from ._resource import AsyncResourceRequest, ResourceRequest
from ._response import ResourceResponse
from ._sync import Client
from ._tokens import AccessToken
from .failures import (
    AnswerTooLarge,
    AuthorizationRefused,
    RequestFailed,
    RequestTimeout,
    ServerError,
    Unreachable,
)

__all__ = [
    "AccessToken",
    "AnswerTooLarge",
    "AsyncClient",
    "AsyncResourceRequest",
    "AuthorizationRefused",
    "Client",
    "RequestFailed",
    "RequestTimeout",
    "ResourceRequest",
    "ResourceResponse",
    "ServerError",
    "Unreachable",
]
