"""One spelling per host, the patterns that rules use, and which certificate names a host.

No look-ups happen here: a name is text. Host names follow RFC 1123 and UTS 46, the certificate
check RFC 9525 (the subject's common name is never looked at).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ._internal.text import shown
from .errors import HostnameError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["certificate_names", "normalise", "normalise_pattern"]

LABEL = re.compile(r"[a-z0-9_-]{1,63}")  # underscores are not host names, but servers have them
ENDS_IN_A_NUMBER = re.compile(r"(?:^|\.)(?:[0-9]+|0x[0-9a-f]*)$")  # WHATWG URL: such a host is IPv4
LONGEST_NAME = 253
LONGEST_TEXT = 4 * LONGEST_NAME  # of a name, before what IDNA leaves out


@lru_cache(maxsize=4096)
def normalise(host: str) -> str:
    """Write a host the one way that rules and connections are compared in.

    Lower case, A-labels (UTS 46, nontransitional), no trailing dot; an IP address in its canonical
    form, without brackets.

    Raises:
        HostnameError: no host name and no IP address, or with a zone, port, path or wildcard.

    >>> normalise("API.Example.com."), normalise("bücher.example"), normalise("[::0001]")
    ('api.example.com', 'xn--bcher-kva.example', '::1')
    """
    if not isinstance(host, str):
        raise HostnameError(f"a host is a str, not {shown(host)}")
    if len(host) > LONGEST_TEXT:
        raise HostnameError(f"not a host name: {shown(host)} is too long")
    address = _ip_address(host[1:-1] if host.startswith("[") and host.endswith("]") else host)
    if address is not None:
        return address
    name = _a_labels(host).removesuffix(".")
    if len(name) > LONGEST_NAME or not all(map(LABEL.fullmatch, name.split("."))):
        raise HostnameError(
            f"not a host name: {shown(host)}; give it without scheme, port and path"
        )
    if ENDS_IN_A_NUMBER.search(name):
        raise HostnameError(f"not a host name: {shown(host)} looks like an IP address but is none")
    return name


def _a_labels(host: str) -> str:
    if host.isascii():
        return host.lower()
    import idna  # only here: most programs never meet a host outside ASCII

    try:
        return idna.encode(host, uts46=True, std3_rules=True).decode("ascii").lower()
    except UnicodeError as error:  # idna's own errors are UnicodeErrors
        raise HostnameError(f"not a host name: {shown(host)}: {error}") from None


def normalise_pattern(pattern: str) -> str:
    """Write a rule's host pattern the one way that `PinSet` looks it up in.

    `api.example.com` is that host; `*.example.com` is every host exactly one label below;
    `**.example.com` is the host itself and every host below it.

    Raises:
        HostnameError: any other use of `*`, a wildcard over a top-level domain or an IP address, a
            name that Python's `ssl` reads as another one, or what `normalise` refuses.

    >>> normalise_pattern("**.Example.com.")
    '**.example.com'
    """
    if not isinstance(pattern, str):
        raise HostnameError(f"a host pattern is a str, not {shown(pattern)}")
    stars, dot, base = pattern.partition(".")
    if not dot or stars not in {"*", "**"}:
        if "*" in pattern:
            raise HostnameError(
                f"a wildcard is '*.' or '**.' before a domain, nothing else: {shown(pattern)}"
            )
        return _unambiguous(pattern)
    domain = _unambiguous(base)
    if "." not in domain or _ip_address(domain) is not None:
        raise HostnameError(
            f"a wildcard needs a domain of two labels or more below: {shown(pattern)}"
        )
    return f"{stars}.{domain}"


def _unambiguous(host: str) -> str:
    """Normalise a host that a rule is for; refuse one that `ssl` would connect elsewhere with.

    Python's `ssl` and `socket` still encode names by IDNA 2003: to them, faß.de is fass.de. A rule
    for one of the two would silently not hold for the other.
    """
    name = normalise(host)
    if not host.isascii():
        try:
            python = normalise(host.encode("idna").decode("ascii"))
        except UnicodeError:
            return name  # this spelling leads Python nowhere
        if python != name:
            raise HostnameError(
                f"{shown(host)} is {name} to browsers and {python} to Python: write the"
                " one you mean"
            )
    return name


def certificate_names(host: str, certificate: Mapping[str, Any]) -> bool:
    """Whether a certificate was issued for a host (RFC 9525, sections 6.3 to 6.5).

    Args:
        host: in normal form.
        certificate: its fields as `ssl.SSLSocket.getpeercert()` gives them.
    """
    names = certificate.get("subjectAltName", ())
    if _ip_address(host) is not None:
        is_same = host.__eq__ if ":" not in host else lambda name: _ip_address(name) == host
        return any(kind == "IP Address" and is_same(name.strip()) for kind, name in names)
    wanted = {host}
    _, _, parent = host.partition(".")
    if "." in parent:
        wanted.add(f"*.{parent}")
    # outside ASCII, lower() makes different names equal
    return any(kind == "DNS" and name.lower() in wanted and name.isascii() for kind, name in names)


def _ip_address(text: str) -> str | None:
    """The canonical form of an IP address, or None for anything else."""
    if (":" not in text and not text[-1:].isdigit()) or "%" in text:
        return None  # a zone (RFC 4007) is this machine's, no part of the server's name
    import ipaddress  # only here: most hosts are names, and its import is not cheap

    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return None
