"""A stage: the servers of one case while they run, and what the client is told of them."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar
from urllib.parse import urlsplit

from ..pinset import Match, PinSet, Rule
from .assertion import check, check_async
from .cast import Cast, cast_of
from .environment import proxy_environment, trust_environment
from .judge import Check, Ending, Harm, Judgement, Part, judge
from .servers.proxy import ConnectProxy
from .servers.server import Server

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from typing import Self

    from ..pin import Pin
    from .authority import Credential
    from .keys import KeyKind
    from .scenario import Case
    from .servers.contexts import TlsVersion
    from .servers.listener import Listener

__all__ = ["PLACES", "Stage"]

# HTTP/2 for clients that speak nothing else, such as gRPC's
HTTP_ALPN = ("http/1.1", "h2")

AnyListener = TypeVar("AnyListener", bound="Listener")
Role = Literal["attacker", "honest", "helper"]

PLACES = {
    "url": "what to call",
    "second_url": "what to call afterwards, in the same process",
    "host": "the name in the URL",
    "port": "the port in it",
    "address": "IP address and port to connect to",
    "cafile": "the authorities to trust (PEM)",
    "certificate": "the certificate of the pinned key (DER)",
    "certificates": "a folder with that of every pinned key (DER)",
    "pin": "the pinned key",
    "pins": "a pin file with every pinned key",
    "curl_pins": "every pinned key, as curl's --pinnedpubkey takes them",
    "proxy": "the URL of a proxy to use, or nothing",
    "client_certificate": "a certificate of the client's own, with its key (PEM)",
}
"""What a command is told, by the names of the places in it."""


class Stage:
    """The servers of one case, and what its client is told: a context manager.

    What a scenario's `build` may set (its defaults in brackets):

    Attributes:
        url: what the client is to call [the first attacker or honest server that was started]
        second_url: what it is to call afterwards, in the same process [`url`]
        host: the name in the URL [the cast's, which is "localhost" unless a test says otherwise]
        address: IP address and port of the first server, for clients that are told both
        proxy: URL of a proxy that the client is to use [None]
        pins: the keys that the client pins [the pinned server's and its backup key's]
        match: where in the chain they count ["leaf"]
        pinset: what the pin file says [`pins` for `host`]
        trusted: the authorities that the client trusts, in PEM [the two of the cast]
        rounds: how often a client is to be run, one run after the other [1]
    """

    cast: Cast
    """who appears in it"""
    folder: Path
    """for files"""
    parts: list[Part]
    """the servers, each with whose side it is on"""

    def __init__(self, case: Case, folder: Path | None = None, cast: Cast | None = None) -> None:
        self.case = case
        self.cast = cast or cast_of(case.key)
        self.host: str = self.cast.host
        self.address: tuple[str, int] = (self.cast.address, 0)
        self.proxy: str | None = None
        self.pins: Sequence[Pin] = (self.cast.pinned.pin, self.cast.backup.pin)
        self.match: Match = "leaf"
        self.trusted: str = self.cast.trusted
        self.rounds = 1
        self._url: str | None = None
        self._second_url: str | None = None
        self._pinset: PinSet | None = None
        self._folder = folder
        self.parts = []
        self._checks: list[Check] = []
        self._doubts: list[Callable[[], list[str]]] = []
        self._beginnings: list[Callable[[], object]] = []
        self._running = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as running:
            if self._folder is None:
                temporary = tempfile.TemporaryDirectory(prefix="keypin-lab-")
                self.folder = Path(running.enter_context(temporary))
            else:
                self.folder = self._folder
            self._running = running
            self.case.scenario.build(self)
            self._write_files()
            self._running = running.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._running.close()

    def __repr__(self) -> str:
        return f"<Stage of {self.case}>"

    # For scenarios

    @property
    def tls(self) -> TlsVersion:
        """The TLS version of the case."""
        return self.case.tls

    @property
    def key(self) -> KeyKind:
        """The kind of the servers' keys."""
        return self.case.key

    def attacker(self, listener: AnyListener) -> AnyListener:
        """Start a server to which nothing of the client may come.

        Every application byte and every client certificate that it receives counts against the
        client. Of a proxy that intercepts that is what the interceptor receives: a CONNECT request
        does not count.
        """
        return self._start(listener, "attacker")

    def honest(self, listener: AnyListener) -> AnyListener:
        """Start a server that holds a pinned key.

        Where the client has to be accepted, something must arrive at each of these.
        """
        return self._start(listener, "honest")

    def helper(self, listener: AnyListener) -> AnyListener:
        """Start what is not judged: a proxy that tunnels honestly, for example."""
        return self._start(listener, "helper")

    def serving(self, credential: Credential | Sequence[Credential], **settings: Any) -> Server:
        """Make a server of the case's TLS version that asks for a client certificate.

        For https it speaks HTTP/2 with clients that offer nothing else.

        Args:
            credential: what to present.
            settings: see `Server`; they go before what is said here.
        """
        usual: dict[str, Any] = {"tls": [self.tls], "client_ca": self.cast.root.certificate}
        if self.case.scenario.protocol == "https":
            usual["alpn"] = HTTP_ALPN if find_spec("h2") else HTTP_ALPN[:1]
        return Server(credential, **{**usual, **settings})

    def judge_also(self, check: Callable[[], list[str]], harm: Harm = "application-bytes") -> None:
        """Let a check give further reasons against the client, when it has ended.

        Args:
            check: gives the reasons.
            harm: what the client has done if there are any, see `Judgement.harm`.
        """
        self._checks.append(Check(check, harm))

    def doubt_also(self, check: Callable[[], list[str]]) -> None:
        """Let a check give reasons for which the client was not put to the test."""
        self._doubts.append(check)

    def begin_with(self, action: Callable[[], object]) -> None:
        """Let this be done when the stage begins anew, where a server has changed meanwhile."""
        self._beginnings.append(action)

    # For clients

    @property
    def port(self) -> int:
        """The port in the URL."""
        return urlsplit(self.url).port or self.address[1]

    @property
    def url(self) -> str:
        """What the client is to call; without a path, unless the scenario needs one."""
        if self._url is not None:
            return self._url
        name = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.case.scenario.protocol}://{name}:{self.address[1]}"

    @url.setter
    def url(self, url: str) -> None:
        self._url = url

    @property
    def second_url(self) -> str:
        """What it is to call afterwards, in the same process."""
        return self.url if self._second_url is None else self._second_url

    @second_url.setter
    def second_url(self, url: str) -> None:
        self._second_url = url

    @property
    def pin(self) -> Pin:
        """The first of the pinned keys."""
        return self.pins[0]

    @property
    def pinset(self) -> PinSet:
        """What a client of keypin is to install."""
        if self._pinset is not None:
            return self._pinset
        return PinSet([Rule(self.host, self.pins, match=self.match)])

    @pinset.setter
    def pinset(self, pins: PinSet) -> None:
        self._pinset = pins

    @property
    def cafile(self) -> str:
        """Path of the authorities to trust, PEM."""
        return str(self.folder / "ca.pem")

    @property
    def certificate(self) -> str:
        """Path of the pinned server's certificate, DER."""
        return str(self.folder / "certificates" / "pinned.cer")

    @property
    def certificates(self) -> str:
        """Path of a folder with that certificate, and the one of the backup key."""
        return str(self.folder / "certificates")

    @property
    def pin_file(self) -> str:
        """Path of a pin file with `pinset`."""
        return str(self.folder / "pins.toml")

    @property
    def client_certificate(self) -> str:
        """Path of a certificate of the client's own, with its key, PEM."""
        return str(self.folder / "client.pem")

    @property
    def places(self) -> dict[str, str]:
        """What stands for each of `PLACES`."""
        return {
            "url": self.url,
            "second_url": self.second_url,
            "host": self.host,
            "port": str(self.port),
            "address": "{}:{}".format(*self.address),
            "cafile": self.cafile,
            "certificate": self.certificate,
            "certificates": self.certificates,
            "pin": str(self.pin),
            "pins": self.pin_file,
            "curl_pins": ";".join(str(pin).replace("/", "//", 1) for pin in self.pins),
            "proxy": self.proxy or "",
            "client_certificate": self.client_certificate,
        }

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables by which most clients trust the authorities and find the proxy."""
        trust = trust_environment(self.cafile, *dict.fromkeys((*self.cast.names, self.host)))
        return trust if self.proxy is None else trust | proxy_environment(self.proxy)

    # What came of it

    def judge(self, ending: Ending = "succeeded", told: str = "") -> Judgement:
        """Judge the client, when it has ended, by what the servers received.

        It may have ended as a process, or as a function of this process that keeps connections
        open: what it has sent by now is waited for.

        Args:
            ending: "succeeded", "failed" by its own account, "hung" if it had to be ended, or
                "crashed". Where it has to be rejected, it does not matter whether it says so.
            told: how it ended in words, such as "its exit code was 60".
        """
        return judge(self.case, self.parts, self._checks, self._doubts, ending, told)

    def standing(self) -> Judgement:
        """What would be the judgement by what has come so far, without waiting for more."""
        ending: Ending = "failed" if self.case.scenario.expected == "reject" else "succeeded"
        return judge(self.case, self.parts, self._checks, self._doubts, ending, wait=False)

    def forget(self) -> None:
        """Begin anew with what the servers have received, and drop their open connections."""
        for part in self.parts:
            part.listener.forget()
        for action in self._beginnings:
            action()

    def check(self, client: Callable[[], object]) -> Judgement:
        """Let a function of this process be the client, and assert that it came out right.

        What it raises does not matter where it has to be rejected. While it runs, the environment
        names the authorities and the proxy; for the rest it is told by the stage's attributes.

        Args:
            client: called `rounds` times.

        Raises:
            AssertionError: "wrong" or "inconclusive", and why.
        """
        __tracebackhide__ = True
        return check(self, client)

    async def check_async(self, client: Callable[[], Awaitable[object]]) -> Judgement:
        """The same as `check` for an async function, in the event loop that is running."""
        __tracebackhide__ = True
        return await check_async(self, client)

    def _start(self, listener: AnyListener, role: Role) -> AnyListener:
        listener.host = self.cast.address
        if isinstance(listener, ConnectProxy) and not self.cast.is_local:
            listener.is_open = False
        listener.start()
        self._running.callback(listener.close)
        is_server = role != "helper" and not isinstance(listener, ConnectProxy)
        if is_server and not self.address[1]:
            self.address = listener.address
        self.parts.append(Part(listener, role))
        return listener

    def _write_files(self) -> None:
        Path(self.certificates).mkdir(parents=True, exist_ok=True)
        Path(self.cafile).write_text(self.trusted, "ascii")
        Path(self.certificate).write_bytes(self.cast.pinned.certificate)
        Path(self.certificates, "backup.cer").write_bytes(self.cast.backup.certificate)
        self.pinset.dump(self.pin_file)
        own = Path(self.client_certificate)
        own.touch(mode=0o600)
        own.write_bytes(self.cast.client.chain_pem + self.cast.client.key_pem)
