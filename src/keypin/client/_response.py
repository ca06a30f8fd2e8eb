"""The answer to a resource request, as the program gets it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ._exchange import decoded
from .failures import ServerError

if TYPE_CHECKING:
    import httpx2

    from ._exchange import Answer

__all__ = ["ResourceResponse"]


class ResourceResponse:
    """A server's answer to a resource request, read to its end.

    Attributes:
        status: the status code.
        headers: by name, in any case; `headers.get_list(name)` for all values of one.
        content: the body, in bytes.
    """

    def __init__(self, answer: Answer) -> None:
        self.status: int = answer.status
        self.headers: httpx2.Headers = answer.headers
        self.content: bytes = answer.content
        self._encoding = answer.encoding

    @property
    def ok(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.status <= 299

    @property
    def text(self) -> str:
        """The body as text, in the charset of its Content-Type, else UTF-8."""
        return decoded(self.content, self._encoding)

    @property
    def json(self) -> Any:
        """The body's JSON value.

        Raises:
            ServerError: the body is not JSON.
        """
        try:
            return json.loads(self.content)
        except (ValueError, RecursionError) as error:
            kind = self.headers.get("content-type", "no Content-Type")
            text = f"the answer's body is not JSON ({kind}, {len(self.content)} bytes)"
            if isinstance(error, json.JSONDecodeError):
                text += f": {error}"
            raise ServerError(self.status, self.text, text) from None

    def raise_for_status(self) -> None:
        """Do nothing if the answer is `ok`.

        Raises:
            ServerError: it is not.
        """
        if not self.ok:
            raise ServerError(self.status, self.text)

    def __repr__(self) -> str:
        return f"<ResourceResponse {self.status}, {len(self.content)} bytes>"
