"""The cookies of a client."""

from __future__ import annotations

from http.cookiejar import CookieJar
from typing import TYPE_CHECKING, Any

import httpx2

if TYPE_CHECKING:
    from http.cookiejar import Cookie

__all__ = ["sendable_cookies"]


def sendable_cookies(cookies: Any) -> CookieJar:
    """What httpx2 is to keep its cookies in; a program's own jar as it is.

    Args:
        cookies: as httpx2's clients take them.
    """
    if isinstance(cookies, CookieJar):
        return cookies
    jar = SendableCookies()
    for cookie in httpx2.Cookies(cookies).jar:
        jar.set_cookie(cookie)
    return jar


class SendableCookies(CookieJar):
    """Drops cookies that are not printable ASCII (RFC 6265, section 4.1.1).

    httpx2 could not send them, and no other request to their server either; but over HTTP/2 it
    would, with the line ends that they may have there.
    """

    def set_cookie(self, cookie: Cookie) -> None:
        """Keep a cookie."""
        pair = f"{cookie.name}{cookie.value}"
        if pair.isascii() and pair.isprintable():
            super().set_cookie(cookie)
