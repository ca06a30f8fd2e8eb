"""The libraries that bring a TLS of their own: named when imported or used, or refused.

Python's `ssl` is all that keypin can guard. `UNCOVERED` lists the libraries that go past it. While
pins are installed, a finder at the head of `sys.meta_path` sees them being imported, and an
`UncoveredClient` warning names each of them once; pyOpenSSL, which many use for certificates alone,
when it connects.

Those for QUIC (HTTP/3) are written in Python, so more can be done: their connections to hosts that
the installed pins govern are refused. A client would otherwise go over to QUIC on a server's word
alone (Alt-Svc, RFC 7838).
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import ssl
import sys
import warnings
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from .._internal.imports import WrappedLoader, find_behind
from ..errors import ProtectionError, UncoveredClient
from .guard import LOCK, error_for

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import FrameType, ModuleType

    from ..pinner import Pinner
    from ..pinset import Verdict

__all__ = ["UNCOVERED", "Uncovered", "unwatch", "warn_already_imported", "watch"]

Pins = Literal["public key", "certificate", "private CA", "nothing"]
HELD_TO: Final[dict[Pins, str]] = {
    "public key": "Its own settings can pin the key",
    "certificate": "Its own settings can pin the certificate, which breaks with its renewal",
    "private CA": "Its own settings can pin nothing narrower than a private CA",
    "nothing": "Its own settings can pin nothing",
}


class Uncovered(NamedTuple):
    """A library whose TLS connections keypin does not see.

    Attributes:
        name: the library, as its users call it.
        modules: those whose import says that it is going to be used.
        tls: what does its TLS.
        pins: the narrowest thing that its own settings hold a server to.
        instead: how that is set, or what can be used in its place.
        refused: whether its connections to pinned hosts are refused; if not, they go unpinned.
        connection: the class of its connections, where it is used for more than TLS, so that its
            import says nothing yet.
    """

    name: str
    modules: tuple[str, ...]
    tls: str
    pins: Pins
    instead: str
    refused: bool = False
    connection: str | None = None


QT: Final = "compare the key when QNetworkAccessManager.encrypted is emitted; abort() on another"
NIQUESTS: Final = (
    "set URLLIB3_FUTURE_SSL_BACKEND=ssl, so that niquests uses Python's ssl, which keypin covers"
)
LIBPQ: Final = (
    "sslmode=verify-full sslrootcert=...; or use asyncpg with ssl=context, or pg8000, which keypin"
    " covers"
)
COVERED_CLIENT: Final = "use a client that keypin covers (httpx2, requests, aiohttp, urllib3)"

# Each was seen to reach a server with another key while pins were installed, and each setting to
# hold a server to what is said of it here (all of them beside the ordinary verification).
UNCOVERED: Final = (
    Uncovered(
        "grpcio",
        ("grpc",),
        "BoringSSL",
        "certificate",
        "grpc.ssl_channel_credentials(root_certificates=...), given the server's own certificate;"
        " or use grpclib, which keypin covers",
    ),
    Uncovered(
        "pycurl",
        ("pycurl",),
        "libcurl",
        "public key",
        'curl.setopt(pycurl.PINNEDPUBLICKEY, "sha256//...")',
    ),
    Uncovered(
        "curl_cffi",
        ("curl_cffi",),
        "libcurl with BoringSSL",
        "public key",
        'Session(curl_options={CurlOpt.PINNEDPUBLICKEY: "sha256//..."})',
    ),
    Uncovered(
        "pyOpenSSL",
        ("OpenSSL.SSL",),
        "the OpenSSL in cryptography",
        "public key",
        "Context.set_verify with a callback that compares the key",
        connection="Connection",
    ),
    Uncovered(
        "Twisted",
        ("twisted.internet.ssl",),
        "pyOpenSSL",
        "public key",
        "Connection.set_verify with a callback that compares the key, in an"
        " IOpenSSLClientConnectionCreator",
    ),
    Uncovered(
        "M2Crypto",
        ("M2Crypto",),
        "OpenSSL itself",
        "public key",
        "SSL.Context.set_verify with a callback that compares the key",
    ),
    Uncovered("PySide6", ("PySide6.QtNetwork",), "Qt", "public key", QT),
    Uncovered("PyQt6", ("PyQt6.QtNetwork",), "Qt", "public key", QT),
    Uncovered(
        "tls_client",
        ("tls_client",),
        "Go",
        "public key",
        'Session(certificate_pinning={"api.example.com": ["..."]})',
    ),
    Uncovered(
        "awscrt",
        ("awscrt",),
        "s2n-tls",
        "certificate",
        "TlsContextOptions.override_default_trust_store, given the server's own certificate",
    ),
    Uncovered("rtls", ("rtls",), "rustls", "nothing", NIQUESTS),
    Uncovered("utls", ("utls",), "BoringSSL", "nothing", NIQUESTS),
    Uncovered("rnet", ("rnet",), "BoringSSL", "private CA", "Client(verify=...)"),
    Uncovered("wreq", ("wreq",), "BoringSSL", "private CA", "Client(tls_verify=...)"),
    Uncovered("pyqwest", ("pyqwest",), "rustls", "private CA", "HTTPTransport(tls_ca_cert=...)"),
    Uncovered("pyreqwest", ("pyreqwest",), "rustls", "nothing", COVERED_CLIENT),
    Uncovered("primp", ("primp",), "rustls", "nothing", COVERED_CLIENT),
    Uncovered("impit", ("impit",), "rustls", "nothing", COVERED_CLIENT),
    Uncovered("obstore", ("obstore",), "rustls", "nothing", COVERED_CLIENT),
    Uncovered("pygit2", ("pygit2",), "libgit2", "nothing", "use dulwich, which keypin covers"),
    Uncovered("psycopg", ("psycopg",), "libpq", "private CA", LIBPQ),
    Uncovered("psycopg2", ("psycopg2",), "libpq", "private CA", LIBPQ),
    Uncovered(
        "mysqlclient",
        ("MySQLdb",),
        "the client library of MariaDB or MySQL",
        "private CA",
        'ssl={"ca": ...} and ssl_mode="VERIFY_IDENTITY"; or use PyMySQL, which keypin covers',
    ),
    Uncovered(
        "pymongo",
        ("pymongo.pyopenssl_context",),
        "pyOpenSSL",
        "private CA",
        "tlsCAFile=...; or AsyncMongoClient, or MongoClient without pyOpenSSL, which keypin covers",
    ),
    Uncovered(
        "python-ldap",
        ("ldap",),
        "libldap",
        "private CA",
        "OPT_X_TLS_CACERTFILE; or use ldap3 with Tls(sni=...), which keypin covers",
    ),
    Uncovered(
        "confluent-kafka",
        ("confluent_kafka",),
        "librdkafka",
        "private CA",
        '"ssl.ca.location"; or use kafka-python, which keypin covers',
    ),
    Uncovered(
        "qh3",
        ("qh3.quic.connection",),
        "QUIC, with TLS of its own",
        "nothing",
        "switch HTTP/3 off (niquests.Session(disable_http3=True))",
        refused=True,
    ),
    Uncovered(
        "aioquic",
        ("aioquic.quic.connection",),
        "QUIC, with TLS of its own",
        "nothing",
        "use HTTP/1.1 or HTTP/2",
        refused=True,
    ),
)

WATCHED: Final = {module: library for library in UNCOVERED for module in library.modules}

# What a QUIC connection does before a byte of the program can leave; `connect` comes first, the
# others are for connections that were open before the host was pinned.
QUIC_METHODS: Final = ("__init__", "connect", "send_stream_data", "send_datagram_frame")
BEFORE: Final = "_keypin_before"

# Files that stand between a program's line and the warning about it
PASSED_THROUGH: Final = (
    os.path.dirname(os.path.dirname(__file__)) + os.sep,
    contextlib.__file__,
    importlib.__file__,
)

Judge = Callable[[str | None], Iterable[tuple["Pinner", "Verdict"]]]
_judge: Judge | None = None
_named: set[str] = set()


def watch(judge: Judge) -> None:
    """See imports from now on; if that is so already, does nothing but replace the judge.

    Args:
        judge: given the server name of a QUIC connection, or None if it has none: the pinners that
            govern it, and their verdicts on a connection that nobody sees. Asked often.
    """
    global _judge
    with LOCK:
        _judge = judge
        if FINDER not in sys.meta_path:
            sys.meta_path.insert(0, FINDER)


def unwatch() -> None:
    """Take back `watch`: as if it had never been called, but for what was named already."""
    global _judge
    with LOCK:
        _judge = None
        if FINDER in sys.meta_path:
            sys.meta_path.remove(FINDER)
        for name, library in WATCHED.items():
            module = sys.modules.get(name)
            if module is not None and library.refused:
                _take_hooks_back(module, "QuicConnection", QUIC_METHODS)
            elif module is not None and library.connection is not None:
                _take_hooks_back(module, library.connection, ("__init__",))


def warn_already_imported() -> None:
    """Name the libraries that were imported before `watch`, and hold those for QUIC.

    Not to be called with a lock held: it waits for imports that other threads are in the midst of.

    Raises:
        ProtectionError: a library for QUIC that is not as keypin knows it.
        UncoveredClient: where the program turns this warning into an error.
    """
    for name, library in WATCHED.items():
        if sys.modules.get(name) is None:
            continue
        if library.refused:
            _hold_quic(importlib.import_module(name), library)
        elif library.connection is not None:
            _warn_when_it_connects(importlib.import_module(name), library)
        else:
            _warn_of(library)


class Finder:
    """Stands first in `sys.meta_path`; finds what the finders behind it find, and no more."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Let the loader of a watched module tell when it is executed; None for any other."""
        if name not in WATCHED and name != ssl.__name__:
            return None
        spec = find_behind(self, name, path, target)
        if spec is not None and name == ssl.__name__:
            spec.loader = SameSsl(spec.loader)  # type: ignore[assignment]
        elif spec is not None and hasattr(spec.loader, "exec_module"):
            spec.loader = Loader(spec.loader)  # type: ignore[assignment]
        return spec


FINDER: Final[Any] = Finder()


class Loader(WrappedLoader):
    """Executes a watched module; warns before, or holds its connections after."""

    def execute(self, module: ModuleType) -> None:
        """See the class."""
        spec: Any = module.__spec__
        library = WATCHED[spec.name]
        if _judge is not None and not library.refused and library.connection is None:
            _warn_of(library)
        super().execute(module)
        if library.connection is not None:
            _warn_when_it_connects(module, library)
        if library.refused:
            try:
                _hold_quic(module, library)
            except ProtectionError as error:
                # whoever can do without the library goes on without it
                raise ImportError(str(error), name=spec.name) from error


class SameSsl(WrappedLoader):
    """Gives those who load `ssl` again the one that is there, whose classes have the hooks."""

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Give back the module that has the hooks."""
        return ssl

    def execute(self, module: ModuleType) -> None:
        """Leave that as it is."""
        if module is not ssl:
            raise ImportError("keypin: a second ssl module would be unpinned", name=ssl.__name__)


def _warn_of(library: Uncovered) -> None:
    if library.name in _named:
        return
    _named.add(library.name)
    own = HELD_TO[library.pins]
    try:
        warnings.warn(
            f"{library.name} is not covered by keypin: its TLS comes from {library.tls}, not"
            f" from Python's ssl, so it reaches pinned hosts unpinned. {own}: {library.instead}."
            ' See "Other TLS stacks" in the documentation of keypin.',
            UncoveredClient,
            stacklevel=_level_of_program(),
        )
    except UncoveredClient:
        _named.discard(library.name)
        raise


def _warn_when_it_connects(module: ModuleType, library: Uncovered) -> None:
    """Name a library when it makes its first connection, and not when it reads certificates."""
    kind: Any = getattr(module, library.connection or "", None)
    method: Any = vars(kind).get("__init__") if isinstance(kind, type) else None
    if _judge is None or method is None or hasattr(method, BEFORE):
        return

    @functools.wraps(method)
    def init(connection: Any, *arguments: Any, **more: Any) -> None:
        if _judge is not None:
            _warn_of(library)
        method(connection, *arguments, **more)

    setattr(init, BEFORE, method)
    setattr(kind, "__init__", init)  # noqa: B010 - not for an instance


def _level_of_program() -> int:
    """The `stacklevel`, for a warning of the caller's, of the program's own line."""
    frame: FrameType | None = sys._getframe(1)
    level = 0
    while frame is not None:
        file = frame.f_code.co_filename
        # `warnings` does not count these
        if not ("importlib" in file and "_bootstrap" in file):
            level += 1
            if not file.startswith(PASSED_THROUGH):
                break
        frame = frame.f_back
    return level


# QUIC


def _hold_quic(module: ModuleType, library: Uncovered) -> None:
    """Make every client connection of a QUIC library ask before anything is sent."""
    if _judge is None:
        return
    kind: Any = getattr(module, "QuicConnection", None)
    if not isinstance(kind, type) or not all(name in vars(kind) for name in QUIC_METHODS):
        raise ProtectionError(
            f"{library.name} is not as keypin knows it (or is just being imported), so its QUIC"
            f" connections to pinned hosts cannot be refused: {library.instead}, or uninstall it"
        )
    for name in QUIC_METHODS:
        method = vars(kind)[name]
        if not hasattr(method, BEFORE):
            setattr(kind, name, _asking_after(method) if name == "__init__" else _asking(method))


def _take_hooks_back(module: ModuleType, name: str, methods: Iterable[str]) -> None:
    kind: Any = getattr(module, name, None)
    for method in methods:
        hook = vars(kind).get(method) if isinstance(kind, type) else None
        if hasattr(hook, BEFORE):
            setattr(kind, method, getattr(hook, BEFORE))


def _asking(method: Any) -> Any:
    @functools.wraps(method)
    def asking(connection: Any, *arguments: Any, **more: Any) -> Any:
        _refuse_if_pinned(connection)
        return method(connection, *arguments, **more)

    setattr(asking, BEFORE, method)
    return asking


def _asking_after(method: Any) -> Any:
    @functools.wraps(method)
    def asking(connection: Any, *arguments: Any, **more: Any) -> None:
        method(connection, *arguments, **more)
        # some clients fill in the name later, but not later than they connect
        if connection._configuration.server_name is not None:
            _refuse_if_pinned(connection)

    setattr(asking, BEFORE, method)
    return asking


def _refuse_if_pinned(connection: Any) -> None:
    judge, configuration = _judge, connection._configuration
    if judge is None or not configuration.is_client:
        return
    told = vars(connection).setdefault("_keypin_told", set())
    for pinner, verdict in judge(configuration.server_name):
        if (pinner, verdict) not in told:
            told.add((pinner, verdict))
            pinner._tell(verdict)
        if not verdict.accepted:
            raise error_for(verdict)
