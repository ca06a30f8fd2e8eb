"""Which pages are the app's own: what Python says to a window is run in those only."""

from __future__ import annotations

import ipaddress
import json
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

import httpx2

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Pages", "page_prefix", "prefix_of_first_page"]

# What browsers leave as it stands in a path.
UNCHANGED = "/%:@!$&'()*+,;=~-._"


def page_prefix(text: str) -> str:
    """The beginning of the addresses of an app's pages, spelled as a page's `location.href` is.

    Args:
        text: an https, file or (of this machine only) http URL that ends in a slash. Of files it
            names the folder. Of a server it has no path, since none would hold: each page of a
            server can take the address of any other (`history.pushState`).

    Raises:
        ValueError: another URL, or one that would say more than it seems to.
    """
    parts = urlsplit(text)
    if parts.query or parts.fragment or parts.username or parts.password or "\\" in text:
        raise ValueError(f"the beginning of pages' addresses has a path only: {text}")
    if not parts.path.endswith("/") or "/.." in parts.path or "/./" in parts.path:
        raise ValueError(
            f"{text} does not say where the name ends: write the folder, with a slash behind it,"
            " as https://app.example/ or file:///opt/app/pages/"
        )
    path = quote(parts.path, safe=UNCHANGED)
    if parts.scheme == "file":
        if parts.netloc:
            raise ValueError(f"a file of another machine is not the app's own: {text}")
        return f"file://{path}"
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"pages come from https, file or (of this machine) http URLs: {text}")
    if path != "/":
        raise ValueError(
            "the pages of one server cannot be told apart, for each can take the address of another"
            f" (history.pushState): write {parts.scheme}://{parts.netloc}/"
        )
    if parts.scheme == "http" and not _is_this_machine(parts.hostname):
        raise ValueError(f"{text} can be changed on its way: pages need https")
    try:
        url = httpx2.URL(f"{parts.scheme}://{parts.netloc}")
    except httpx2.InvalidURL as error:
        raise ValueError(f"no URL: {text}: {error}") from None
    # httpx2 leaves out a scheme's own port, as browsers do, and spells names in their ASCII form
    return f"{url.scheme}://{url.netloc.decode('ascii')}/"


def prefix_of_first_page(given: object, resolved: str | None) -> str:
    """What the pages have in common with the one that a window was made with.

    A file's pages are those of its folder, served ones those of their origin.

    Args:
        given: the window's `original_url`.
        resolved: its `real_url`, that of pywebview's server for local files and applications.

    Raises:
        ValueError: a page that has no address of its own.
    """
    absolute = isinstance(given, str) and given.startswith(("http://", "https://", "file://"))
    address = given if absolute else resolved
    if given is None or not isinstance(address, str):
        raise ValueError(
            "a page given as html= has no address by which to tell it from a foreign page: put it"
            " into a file and give its name as url=, or say pages=[...]"
        )
    parts = urlsplit(address)
    if not absolute and not (parts.hostname and _is_this_machine(parts.hostname)):
        raise ValueError("the window shows another page than it was made with: say pages=[...]")
    if parts.scheme == "file":
        return page_prefix(f"file://{parts.netloc}{parts.path.rpartition('/')[0]}/")
    return page_prefix(f"{parts.scheme}://{parts.netloc}/")


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Pages:
    """The app's own pages.

    Args:
        prefixes: as `page_prefix` makes them.
    """

    def __init__(self, prefixes: Iterable[str]) -> None:
        self._prefixes = tuple(prefixes)

    def __len__(self) -> int:
        return len(self._prefixes)

    def __contains__(self, address: str) -> bool:
        # Engines differ in what they leave encoded, and in how they write a host in other letters;
        # where it counts, the page itself is asked.
        try:
            parts = urlsplit(address)
            host = parts.netloc and httpx2.URL(f"{parts.scheme}://{parts.netloc}").netloc.decode()
        except (ValueError, httpx2.InvalidURL):
            return False
        if "@" in parts.netloc or "\\" in parts.netloc:
            return False
        spelled = f"{parts.scheme}://{host}{unquote(parts.path)}"
        return spelled.startswith(tuple(map(unquote, self._prefixes)))

    def only_there(self, script: str) -> str:
        """A script that does nothing in other pages, not even call what a page has defined.

        `location` cannot be replaced by a page, and comparisons of strings call nothing. Between
        `.../` and `...0` in order are all the texts that begin with `.../`.
        """
        conditions = " || ".join(
            f"(location.href >= {json.dumps(prefix)} && location.href < {json.dumps(end)})"
            for prefix, end in ((prefix, f"{prefix[:-1]}0") for prefix in self._prefixes)
        )
        return f"if ({conditions}) {{ {script} }}"
