"""What the two clients share: their pins, the requests that may leave, and the errors."""

from __future__ import annotations

import ssl
from abc import ABC, abstractmethod
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2

from .._internal.other_formats import mend, recognise
from .._internal.pem_files import load_client_certificate
from ..certificate_file import pins_from_files
from ..errors import CertificateFormatError, CertificateNotFound, NotPinned, PlainHTTPRefused
from ..mismatch import find_error
from ..pinner import Pinner
from ..pinset import PinSet
from ._cookies import sendable_cookies
from ._flows import Flows
from ._header_logs import silence_header_logs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from importlib.resources.abc import Traversable

    from ..pinset import Verdict
    from ._tokens import Event

__all__ = ["PinnedClient", "pin_errors"]

ENCRYPTED = frozenset({"https", "wss"})
# What of httpx2's clients a program may set. The rest (verify, transport, mounts, event_hooks)
# would go round the pins.
OPTIONS = frozenset(
    {
        "auth",
        "cookies",
        "default_encoding",
        "follow_redirects",
        "headers",
        "http1",
        "http2",
        "limits",
        "max_redirects",
        "params",
        "proxy",
        "timeout",
        "trust_env",
    }
)


class PinnedClient(ABC):
    """An HTTP client (httpx2) that is pinned by one method.

    Args:
        base_url: what relative URLs are joined to.
        certificates: the folder of the program's certificate files: a path, or an
            `importlib.resources` Traversable such as `files("myapp") / "certificates"`.
        cafile: PEM file of the certificate authorities to trust, for a private CA, a path or a
            Traversable; the system's authorities if None.
        require_pin: True: until it is pinned, every request is refused with `NotPinned`. False:
            ordinary verified TLS until then.
        client_certificate: PEM file of the client's own certificate and key, or a tuple
            (certificate, key) or (certificate, key, password). It is shown to pinned servers only.
        on_verdict: see `keypin.Pinner`.
        client_id: this program's name at an OAuth 2.0 server, if it obtains access tokens: as a
            confidential client, with the client credentials grant (RFC 6749, section 4.4).
        client_secret: its password there.
        token_url: the server's token endpoint, an https URL; `az/v1/token` below the base URL if
            None. It must hold a pinned key, as every server.
        strict_x509: False accepts certificates that only Python 3.13 and later refuse, as those of
            older private CAs; True refuses them everywhere. See `Pinner.create_context`.
        options: `auth`, `cookies`, `default_encoding`, `follow_redirects` (False), `headers`,
            `http1`, `http2`, `limits`, `max_redirects`, `params`, `proxy`, `timeout` (5 seconds
            for each step) and `trust_env`, as httpx2's clients take them.

    Requests raise `keypin.PinMismatch` for a server without a pinned key, `keypin.NotPinned`,
    `keypin.PlainHTTPRefused`, and otherwise what httpx2 raises.
    """

    def __init__(
        self,
        base_url: str = "",
        certificates: str | PathLike[str] | Traversable | None = None,
        cafile: str | PathLike[str] | Traversable | None = None,
        require_pin: bool = True,
        *,
        client_certificate: str | PathLike[str] | tuple[Any, ...] | None = None,
        on_verdict: Callable[[Verdict], object] | None = None,
        client_id: str | None = None,
        client_secret: str | None = None,
        token_url: str | None = None,
        strict_x509: bool | None = None,
        **options: Any,
    ) -> None:
        if unknown := options.keys() - OPTIONS:
            raise TypeError(
                f"{type(self).__name__} has no option {', '.join(sorted(unknown))}; what would go"
                " round the pins (verify, transport, mounts, event_hooks) cannot be set"
            )
        self._certificates = _folder(certificates)
        self._pin_required = require_pin
        self._pinned = False
        # what else a request must pass, for those that lend the client to others
        self._admissions: list[Callable[[httpx2.Request], None]] = []
        self._pinner = Pinner(
            PinSet([], unlisted="refuse" if require_pin else "allow"), on_verdict=on_verdict
        )
        context = self._pinner.create_context(**_authorities(cafile), strict_x509=strict_x509)
        if isinstance(client_certificate, tuple):
            load_client_certificate(context, *client_certificate)
        elif client_certificate is not None:
            load_client_certificate(context, client_certificate)
        if options.get("http2"):
            silence_header_logs()
        options["cookies"] = sendable_cookies(options.get("cookies"))
        self._open({"base_url": base_url, "verify": context, **options})
        self._flows = Flows(
            self._http.base_url,
            client_id,
            client_secret,
            token_url,
            lambda: self._pinner.pins,
            self._new_event,
        )

    _http: httpx2.Client | httpx2.AsyncClient

    @staticmethod
    @abstractmethod
    def _new_event() -> Event:
        """Make what this client's callers wait on."""

    @abstractmethod
    def _open(self, options: dict[str, Any]) -> None:
        """Make the httpx2 client, with `_admit` as its hook on every request."""

    @property
    def pinner(self) -> Pinner:
        """The pinner of this client's connections."""
        return self._pinner

    def _pin(self, names: str | Iterable[str]) -> None:
        """Pin to the files of these names; every one is read before anything changes."""
        if self._certificates is None:
            raise CertificateNotFound(
                "the client has no certificates: make it with certificates=FOLDER, or with"
                " importlib.resources.files(PACKAGE) / FOLDER"
            )
        pins = pins_from_files(self._certificates, names)
        pin_set = PinSet.for_every_host(pins, match="leaf")
        self._pinned = True  # first, so that no plain request slips out in between
        self._pinner.replace(pin_set)

    def _admit(self, request: httpx2.Request) -> None:
        """Let a request leave, or raise; asked for every hop of a redirect."""
        if self._pin_required and not self._pinned:
            raise NotPinned(
                "this client has no pin yet: call pin_trusted_certificate_public_key() first"
                " (require_pin=False allows ordinary TLS until then)"
            )
        if self._pinned and request.url.scheme not in ENCRYPTED:
            raise PlainHTTPRefused(
                "a pinned client sends nothing without TLS:"
                f" {request.url.scheme}://{request.url.host} is refused"
            )
        for admit in self._admissions:
            admit(request)


def _folder(
    certificates: str | PathLike[str] | Traversable | None,
) -> Path | Traversable | None:
    if isinstance(certificates, str | PathLike):
        # a relative folder is the one of now, wherever the program changes to later
        return Path(certificates).absolute()
    return certificates


def _authorities(cafile: str | PathLike[str] | Traversable | None) -> dict[str, Any]:
    """The authorities to trust, as a context takes them: an app's resources may be no files."""
    if cafile is None or isinstance(cafile, str | PathLike):
        return {"cafile": cafile}
    data = cafile.read_bytes()
    text = data.decode("ascii", "ignore")  # comments may be in any letters
    if "-----BEGIN " not in text:  # and none at all would stand for the system's
        found = recognise(data)
        what = "" if found is None else f": {found.what}"
        said = [f"{cafile.name}: no certificate authorities in PEM{what}"]
        said += filter(None, [mend(found, "PEM", cafile.name)])
        raise CertificateFormatError(". ".join(said))
    return {"cadata": text}


@contextmanager
def pin_errors() -> Iterator[None]:
    """Raise the `PinMismatch` itself, with what the HTTP library made of it as its cause."""
    try:
        yield
    except httpx2.HTTPError as error:
        found = find_error(error)
        if found is None:
            if _refused_to_renegotiate(error):
                error.add_note(RENEGOTIATION)
            raise
        raise found from error


RENEGOTIATION = (
    "Perhaps the server asked for a second handshake (renegotiation in TLS 1.2), as some do to get"
    " a client certificate. keypin refuses that, because another key could be shown in it. Let the"
    " server ask in the first handshake, or speak TLS 1.3"
)


def _refused_to_renegotiate(error: BaseException) -> bool:
    """Whether a server has sent the alert that answers a refusal, on an open connection."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(error, httpx2.ConnectError):
        if isinstance(cause, ssl.SSLError) and "HANDSHAKE_FAILURE" in str(cause.reason):
            return True
        cause = cause.__cause__ or cause.__context__
    return False
