"""Where a redirect leads, and what may go there."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ..errors import PlainHTTPRefused
from ._urls import join, origin_of
from .failures import ServerError

if TYPE_CHECKING:
    from ._exchange import Answer, Exchange

__all__ = ["HARMLESS", "follow"]

REDIRECTS = frozenset({301, 302, 303, 307, 308})
# What another origin gets of the headers: whatever else a program sets may be a credential.
HARMLESS = frozenset({"accept", "accept-encoding", "accept-language", "user-agent"})
OF_THE_BODY = frozenset(
    {"content-encoding", "content-language", "content-location", "content-type"}
)


def follow(exchange: Exchange, answer: Answer) -> Exchange | None:
    """The request that a redirect asks for; None if the answer is none, or is not followed.

    Methods change as in browsers (Fetch standard, "HTTP-redirect fetch"): 303 makes a GET, 301 and
    302 do of a POST. A body goes to no other origin: such a redirect is not followed.

    Raises:
        PlainHTTPRefused: a redirect to http.
        ServerError: a redirect to what is no https URL.
    """
    locations = answer.headers.get_list("location")
    if answer.status not in REDIRECTS or not locations:
        return None
    following = _with_method(exchange, answer.status)
    try:
        if len(set(locations)) > 1:
            raise ValueError("several different locations")
        url = join(exchange.url, locations[0])
    except PlainHTTPRefused:
        raise
    except ValueError as error:
        text = f"the server redirects to where nothing is sent: {error}"
        raise ServerError(answer.status, answer.text, text) from None
    if origin_of(url) == origin_of(exchange.url):
        return replace(following, url=url)
    if following.content is not None:
        return None
    headers = tuple(pair for pair in following.headers if pair[0].lower() in HARMLESS)
    return replace(following, url=url, headers=headers, at_home=False)


def _with_method(exchange: Exchange, status: int) -> Exchange:
    becomes_get = (status == 303 and exchange.method not in ("GET", "HEAD")) or (
        status in (301, 302) and exchange.method == "POST"
    )
    if not becomes_get:
        return exchange
    headers = tuple(pair for pair in exchange.headers if pair[0].lower() not in OF_THE_BODY)
    return replace(exchange, method="GET", headers=headers, content=None)
