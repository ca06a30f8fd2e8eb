"""Pinned connections for a `requests.Session`: an adapter that is mounted.

>>> import requests
>>> from keypin.adapters import PinningAdapter
>>> pins = {"api.example.com": ["sha256/k3XnEYQCK79AtL9GYnT/nyhsabas03V+bhRQYHQbpXU="]}
>>> adapter = PinningAdapter(pins)
>>> session = requests.Session()
>>> session.mount("https://", adapter)
>>> session.mount("http://", adapter)  # refuses plain http to pinned hosts

httpx, httpx2, aiohttp and urllib3 need no adapter: each takes the context of
`Pinner.create_context`.
"""

from __future__ import annotations

import logging
import os
import ssl
from collections.abc import Mapping
from threading import Lock
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from .errors import HostnameError, MissingExtra, PlainHTTPRefused, ProtectionError
from .pinner import Pinner, pin_set_of
from .pinset import PinSet

try:
    import requests
    import urllib3
    from requests.adapters import HTTPAdapter
except ImportError as error:
    raise MissingExtra(
        "keypin.adapters needs requests: pip install 'keypin[adapters]'", name="requests"
    ) from error

if not hasattr(HTTPAdapter, "build_connection_pool_key_attributes"):
    # it would ask for a connection in a way that this adapter does not see
    raise MissingExtra(
        "keypin.adapters needs requests 2.32.3 or newer: pip install 'keypin[adapters]'",
        name="requests",
    )

if TYPE_CHECKING:
    from collections.abc import Iterable
    from os import PathLike
    from typing import Self

    from .pin import Pin

__all__ = ["PinningAdapter"]

REMEMBERED = 100  # contexts
# The authorities that requests puts in the place of its own, for a session that names none.
ENVIRONMENT = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
STATE = "_keypin"  # in a pickle, beside what the adapter of requests writes
PROXY_CONFIG = "_proxy_config"  # urllib3's name, private, for what TLS to a proxy is made with

logger = logging.getLogger("keypin")


class Authorities(NamedTuple):
    """The authorities that an adapter trusts, as `Pinner.create_context` takes them."""

    cafile: str | PathLike[str] | None = None
    capath: str | PathLike[str] | None = None
    cadata: str | bytes | None = None

    def check(self) -> None:
        """Refuse what `ssl` would take for nothing at all, and trust the system's instead."""
        for path in self.cafile, self.capath:
            if path is not None:
                os.stat(path)  # names the file that is not there
        if self.cadata is not None and not self.cadata:
            raise ValueError("cadata is empty: it holds no authority to trust")

    @property
    def given(self) -> bool:
        """Whether there are any."""
        return any(value is not None for value in self)


class PinningAdapter(HTTPAdapter):
    """Sends the requests of a session, to servers that satisfy the pins.

    All its connections are made with guarded contexts, also those through proxies and those to
    https proxies. requests raises its `SSLError` for a server that is refused, and
    `keypin.find_error` finds the `PinMismatch` in it. Hosts that no rule governs are ordinary TLS.

    A session trusts what it would without this adapter: certifi's authorities, or those of
    `verify` and `REQUESTS_CA_BUNDLE`. If `cafile`, `capath` or `cadata` is given, these
    authorities are trusted and no others: the environment is ignored then, and a request with
    another `verify` path is refused. `verify=False` is refused for hosts that are pinned.

    Mounted for `http://`, it refuses plain http to hosts that a rule governs, in report mode it
    warns of it, and lets the rest pass.

    It is pickled, as sessions are, with the pins in force at that moment. What it becomes then has
    a pinner of its own; a copy within the process shares this one's.

    Args:
        pins: what `keypin.install` takes (the path of a pin file, a `PinSet`, a mapping of host
            patterns to pins), or a `Pinner`, to share it or to hear its verdicts.
        cafile: PEM file of the certificate authorities to trust, and no others.
        capath: directory of such files, named by OpenSSL's hash.
        cadata: the authorities themselves, PEM text or DER bytes.
        options: of `requests.adapters.HTTPAdapter`, such as `max_retries`.

    Raises:
        PinFileError: the pin file is not there or not right.
        PinSetError: the pins are not right.
        OSError: the authorities cannot be read.
        ValueError: `cadata` is empty.

    Attributes:
        pinner: the `Pinner`, to replace the pins.
    """

    def __init__(
        self,
        pins: Pinner | PinSet | str | PathLike[str] | Mapping[str, Iterable[Pin | str]],
        *,
        cafile: str | PathLike[str] | None = None,
        capath: str | PathLike[str] | None = None,
        cadata: str | bytes | None = None,
        **options: Any,
    ) -> None:
        pinner = pins if isinstance(pins, Pinner) else Pinner(pin_set_of(pins))
        self._begin(pinner, Authorities(cafile, capath, cadata))
        super().__init__(**options)

    def _begin(self, pinner: Pinner, authorities: Authorities) -> None:
        authorities.check()
        self._pinner = pinner
        self._authorities = authorities
        self._contexts: dict[tuple[object, ...], ssl.SSLContext] = {}
        self._lock = Lock()

    @property
    def pinner(self) -> Pinner:
        """The one that all its contexts ask; another cannot take its place."""
        return self._pinner

    # Pickles and copies

    def __getstate__(self) -> dict[str, Any]:
        ours = (self.pinner.pins, tuple(self._authorities))
        return {**super().__getstate__(), STATE: ours}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._restore(state, Pinner(state[STATE][0]))

    def __copy__(self) -> Self:
        copied = type(self).__new__(type(self))
        copied._restore(self.__getstate__(), self.pinner)
        return copied

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self.__copy__()

    def _restore(self, state: dict[str, Any], pinner: Pinner) -> None:
        _, authorities = state[STATE]
        self._begin(pinner, Authorities(*authorities))
        super().__setstate__({name: state[name] for name in state if name != STATE})

    # What requests asks of an adapter

    def send(self, request: requests.PreparedRequest, *arguments: Any, **more: Any) -> Any:
        """Send a request, or refuse it; as `requests.adapters.HTTPAdapter.send`.

        Raises:
            requests.exceptions.SSLError: the server was refused.
            PlainHTTPRefused: an http URL of a pinned host; also a
                `requests.exceptions.InvalidSchema`.
            ProtectionError: `verify` names other authorities than the adapter's; also a
                `requests.exceptions.SSLError`.
        """
        address = urlsplit(request.url or "")
        if address.scheme != "https":
            self._refuse_plain_http(address.hostname)
        return super().send(request, *arguments, **more)

    def init_poolmanager(self, *arguments: Any, **more: Any) -> None:
        """Make the pools; also those that nobody asks `build_connection_pool_key_attributes`."""
        super().init_poolmanager(*arguments, **more)
        # no argument, which other adapters that set up pools, and are mixed in, do not take
        self.poolmanager.connection_pool_kw |= {
            "ssl_context": self._context_for(True),
            **_no_http3(),
        }

    def proxy_manager_for(self, proxy: str, **more: Any) -> Any:
        """Make the pools of a proxy, likewise."""
        more |= {"ssl_context": self._context_for(True), **_no_http3()}
        if not proxy.lower().startswith("socks"):
            more["proxy_ssl_context"] = more["ssl_context"]
        return super().proxy_manager_for(proxy, **more)

    def build_connection_pool_key_attributes(
        self, request: requests.PreparedRequest, verify: Any, cert: Any = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Say which pool a request goes by: that of the context for these settings."""
        host, _ = super().build_connection_pool_key_attributes(request, verify, cert)
        try:
            context = to_proxy = self._context_for(verify)
            if cert and host["scheme"] == "https":  # else TLS ends at a proxy
                context = self._context_for(verify, cert)
        except ssl.SSLError as error:  # a client certificate or authorities that are none
            raise requests.exceptions.SSLError(error, request=request) from error
        proxy_config = _PROXY_CONFIG._replace(ssl_context=to_proxy)
        return host, {"ssl_context": context, PROXY_CONFIG: proxy_config}

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Refuse a pool whose context is not guarded, as a class that is mixed in may make it.

        Nothing is set: urllib3 would load authorities and certificates into a context, which says
        itself how to verify.

        Raises:
            ProtectionError: see above; also a `requests.exceptions.SSLError`.
        """
        if url.lower().startswith("https:"):
            context = conn.conn_kw.get("ssl_context")
            if getattr(context, "_keypin_pinner", None) is not self.pinner:
                raise Unguarded(
                    "another TLS context has taken the place of the adapter's, by a class that is"
                    " mixed in or a subclass: leave that out, or protect it"
                    " (adapter.pinner.protect)"
                )

    # Contexts

    def _context_for(self, verify: Any, cert: Any = None) -> ssl.SSLContext:
        """The guarded context for a request's settings; a file that has changed is read anew."""
        settings = self._settings(verify, cert)
        files = (settings.ca_certs, settings.ca_cert_dir, settings.cert_file, settings.key_file)
        key = (bool(verify), *((file, _state_of(file)) for file in files if file))
        with self._lock:
            context = self._contexts.get(key)
            if context is None:
                if len(self._contexts) >= REMEMBERED:
                    self._contexts.clear()
                context = self._contexts[key] = self._new_context(settings, bool(verify))
        return context

    def _new_context(self, settings: SimpleNamespace, verifies: bool) -> ssl.SSLContext:
        if self._authorities.given:
            context = self.pinner.create_context(*self._authorities)
        else:
            context = self.pinner.create_context(settings.ca_certs, settings.ca_cert_dir)
        if not verifies:  # the guard refuses that for pinned hosts
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if settings.cert_file:
            context.load_cert_chain(settings.cert_file, settings.key_file, _no_passphrase)
        return context

    def _settings(self, verify: Any, cert: Any) -> SimpleNamespace:
        """What requests makes of `verify` and `cert`, once it has checked that they are there."""
        if self._authorities.given:
            if verify and verify is not True:
                self._refuse_other_authorities(verify)
            verify = False  # nothing to look for
        elif verify is True:  # some versions of requests take that for what is loaded already
            verify = requests.adapters.DEFAULT_CA_BUNDLE_PATH  # type: ignore[attr-defined] # it is
        settings = SimpleNamespace(
            ca_certs=None, ca_cert_dir=None, cert_file=None, key_file=None, cert_reqs=None
        )
        super().cert_verify(settings, "https://", verify, cert)
        return settings

    def _refuse_other_authorities(self, verify: Any) -> None:
        allowed = [*self._authorities[:2], *(os.environ.get(name) for name in ENVIRONMENT)]
        if os.path.realpath(verify) in {os.path.realpath(path) for path in allowed if path}:
            return
        raise OtherAuthorities(
            f"verify={os.fspath(verify)!r} names other authorities than the adapter's own"
            " (cafile, capath, cadata): leave it True, or make the adapter without its own"
        )

    def _refuse_plain_http(self, host: str | None) -> None:
        if not host or not self.pinner._governs(host):
            return
        try:
            rule = self.pinner.pins.rule_for(host)
        except HostnameError:
            rule = None
        if rule is None or rule.mode == "enforce":
            raise PlainHTTP(f"{host} is pinned, and plain http is not: use https")
        logger.warning(
            "report mode: a request to %s goes by plain http; pins that are enforced refuse it",
            host,
            extra={"keypin_host": host, "keypin_mode": rule.mode},
        )


class PlainHTTP(PlainHTTPRefused, requests.exceptions.InvalidSchema):
    """A `PlainHTTPRefused` that programs which use requests expect."""


class OtherAuthorities(ProtectionError, requests.exceptions.SSLError):
    """A `ProtectionError` that programs which use requests expect."""


class Unguarded(ProtectionError, requests.exceptions.SSLError):
    """A `ProtectionError` that programs which use requests expect."""


def _no_http3() -> dict[str, Any]:
    """What keeps urllib3-future, which may be in urllib3's place, from TLS without a context."""
    if not hasattr(urllib3, "HttpVersion"):
        return {}
    return {"disabled_svn": {urllib3.HttpVersion.h3}}


# what TLS to a proxy is made with; made by urllib3, because its versions differ in the fields
_PROXY_CONFIG: Any = urllib3.ProxyManager("http://proxy.invalid").proxy_config


def _state_of(file: str | PathLike[str]) -> tuple[int, int, int]:
    """What changes when a file does."""
    found = os.stat(file)
    return found.st_ino, found.st_mtime_ns, found.st_size


def _no_passphrase() -> str:
    """OpenSSL would ask for it at the terminal."""
    raise ssl.SSLError("the client's private key is encrypted: requests takes no passphrase")
