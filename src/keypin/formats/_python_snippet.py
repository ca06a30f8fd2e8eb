"""HTTPS with pinned keys, by nothing but Python's standard library (CPython 3.11 or later).

    opener = urllib.request.build_opener(PinnedHandler())
    opener.open("https://api.example.com/")

or, in the place of http.client.HTTPSConnection, PinnedConnection("api.example.com").

It compares keys after the TLS handshake and before the request: a server without a pinned key gets
no request, but it does see the client certificate, if the context has one. It pins what goes
through these two classes, over https, and nothing else in the program: a redirect to plain http is
followed as ever. There is no report mode and no expiry. keypin itself has none of these limits.
"""

import base64
import hashlib
import http.client
import ipaddress
import ssl
import sys
import urllib.request
from typing import Any

# The pins. None: not pinned, though a wider pattern matches.
RULES: dict[str, Any] = {}
UNLISTED = "allow"
# The end of the pins.


class PinMismatch(ssl.SSLCertVerificationError):
    """The server holds no pinned key; nothing was sent to it."""

    def __init__(self, text: str) -> None:
        super().__init__(ssl.SSLErrorNumber.SSL_ERROR_SSL, text)


class PinnedConnection(http.client.HTTPSConnection):
    """A connection that is closed before the request where the server holds no pinned key."""

    def connect(self) -> None:
        """Connect, shake hands and compare."""
        super().connect()
        try:
            check(self.sock)
        except BaseException:
            self.close()
            raise


class PinnedHandler(urllib.request.HTTPSHandler):
    """What makes an opener use such connections; give it to urllib.request.build_opener()."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.pinned_context = context or ssl.create_default_context()
        super().__init__(context=self.pinned_context)

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        """Open a URL."""
        return self.do_open(PinnedConnection, req, context=self.pinned_context)


def check(connection: ssl.SSLSocket) -> None:
    """Raise PinMismatch unless the server's chain satisfies the rule for its name."""
    host = canonical(str(connection.server_hostname or ""))
    pattern = pattern_for(host)
    rule = RULES[pattern] if pattern else None
    if rule is None:
        if not host or (pattern is None and UNLISTED == "refuse"):
            raise PinMismatch(f"no rule for {host or 'a connection without a server name'}")
        return
    context = connection.context
    if context.verify_mode != ssl.CERT_REQUIRED or not context.check_hostname:
        raise PinMismatch(f"{host}: pins need a context that verifies certificates and names")
    pins = [pin(certificate) for certificate in verified_chain(connection)]
    wanted = set(rule["pins"])
    matched = wanted.intersection(pins[:1] if rule["match"] == "leaf" else pins)
    if not matched or set(rule["deny"]).intersection(pins):
        raise PinMismatch(f"{host} holds no pinned key, its chain has: {', '.join(pins)}")


def canonical(host: str) -> str:
    """Return a host as RULES spells it."""
    name = host.rstrip(".").lower()
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return name if name.isascii() else name.encode("idna").decode("ascii")


def pattern_for(host: str) -> str | None:
    """Return the most specific pattern in RULES that matches a host."""
    if host in RULES:
        return host
    if "**." + host in RULES:
        return "**." + host
    labels = host.split(".")
    for start in range(1, len(labels)):
        parent = ".".join(labels[start:])
        for pattern in ("*." + parent, "**." + parent) if start == 1 else ("**." + parent,):
            if pattern in RULES:
                return pattern
    return None


def verified_chain(connection: ssl.SSLSocket) -> list[bytes]:
    """Return the certificates up to the trust anchor as OpenSSL verified them, in DER."""
    if sys.version_info >= (3, 13):
        return list(connection.get_verified_chain())
    import _ssl

    found = connection._sslobj.get_verified_chain()  # type: ignore[attr-defined]
    return [certificate.public_bytes(_ssl.ENCODING_DER) for certificate in found]


def pin(certificate: bytes) -> str:
    """Return the SHA-256 of a certificate's SubjectPublicKeyInfo as sha256/BASE64."""
    start, _ = content(certificate, 0)  # Certificate (RFC 5280, section 4.1)
    start, _ = content(certificate, start)  # TBSCertificate
    if certificate[start] == 0xA0:  # version
        start = content(certificate, start)[1]
    for _ in ("serialNumber", "signature", "issuer", "validity", "subject"):
        start = content(certificate, start)[1]
    public_key = certificate[start : content(certificate, start)[1]]
    return "sha256/" + base64.b64encode(hashlib.sha256(public_key).digest()).decode()


def content(der: bytes, start: int) -> tuple[int, int]:
    """Return where the content of the element at `start` begins and ends."""
    length, start = der[start + 1], start + 2
    if length >= 0x80:
        octets = length - 0x80
        if not 1 <= octets <= 4:
            raise PinMismatch("a certificate that is not in DER")
        length, start = int.from_bytes(der[start : start + octets], "big"), start + octets
    if start + length > len(der):
        raise PinMismatch("a certificate that is cut off")
    return start, start + length
