"""assert_pinned: whether a function of the program sends anything to a server without the key."""

from __future__ import annotations

import asyncio
import inspect
import sys
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..enforcement.process import installed
from ..enforcement.uncovered import HELD_TO, UNCOVERED
from ..errors import UncoveredClient
from ..mismatch import PinMismatch, find_error
from ..pinner import Pinner
from .servers import HOST
from .trial import OWN_CHECK_PASSED, Bypassed, Inconclusive, bypass_report, new_trial, trusted

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence
    from typing import Unpack

    from ..lab import Application, Preamble
    from ..lab.servers.contexts import TlsVersion
    from ..pinset import Verdict
    from .servers import Conversation, LocalServer
    from .trial import Opening, Trial, Visit

    Refusal = type[BaseException] | tuple[type[BaseException], ...]

__all__ = ["assert_pinned", "assert_pinned_async"]


def assert_pinned(
    check: Callable[[LocalServer], object],
    *,
    install: bool = False,
    refusal: Refusal = PinMismatch,
    tls: Sequence[TlsVersion] = ("1.2", "1.3"),
    application: Application | None = None,
    before_tls: Preamble | None = None,
) -> None:
    """Assert that a client gets through to a server with the pinned key, and to no other.

    `check` is called four times, with servers on loopback whose certificates are of one authority
    and for one name: with a wrong key, with the pinned one, with a wrong one that also asks for the
    client's certificate, and with the pinned one again. It connects to `server.url`, or to `host`
    and `port`, sends something, and lets out whatever is raised. What the servers received is what
    counts, and then the error.

    The client is tested as it is: it has to pin by itself, to `server.pins`, `server.pin` or
    `server.certificate`, in the way in which it pins its own servers. Pins for other hosts, and no
    pins, let the servers without the key receive everything.

    The client has to trust the authority. `SSL_CERT_FILE`, `REQUESTS_CA_BUNDLE` and the like name
    it during the calls, for contexts that are made then; others are given `server.cafile`.

    Args:
        check: a function of one `LocalServer`; one with `async def` is run by asyncio.
        install: answer another question, whether keypin *can* pin the client: pin the name of the
            servers, localhost, by `Pinner.install` during the calls. What else the process
            connects to by that name is refused meanwhile.
        refusal: what a refused call raises. A `PinMismatch` is looked for inside of other errors,
            too (`find_error`). Any other class is for clients that pin without keypin, or that lose
            the cause, and has to be that of the error itself; name the narrowest.
        tls: the versions that the servers speak.
        application: what the servers do with a connection (see `keypin.lab`); HTTP/1.1 if None.
            What the client makes of their answer does not matter.
        before_tls: a conversation in the clear that comes first (STARTTLS).

    Raises:
        Bypassed: application data, or a client certificate, has reached a server without the
            pinned key.
        Inconclusive: nothing has, which proves nothing, because the client did not get through to
            the pinned server either, or failed for another reason than the key.

    >>> import keypin, urllib.request
    >>> def check(server):
    ...     context = keypin.Pinner(server.pins).create_context(cafile=server.cafile)
    ...     urllib.request.urlopen(server.url, context=context).read()
    >>> assert_pinned(check)
    """
    __tracebackhide__ = True
    conversation: Conversation = {
        "tls": tls,
        "application": application,
        "before_tls": before_tls,
    }
    if inspect.iscoroutinefunction(check):
        _refuse_running_loop()
        asyncio.run(assert_pinned_async(check, install=install, refusal=refusal, **conversation))
        return
    with _proceedings(install, refusal, **conversation) as judge:
        for server in judge.trial.calls:
            opening = judge.trial.begin(server)
            error = _attempt(check, server)
            judge.hear(opening, error)


async def assert_pinned_async(
    check: Callable[[LocalServer], Awaitable[object]],
    *,
    install: bool = False,
    refusal: Refusal = PinMismatch,
    tls: Sequence[TlsVersion] = ("1.2", "1.3"),
    application: Application | None = None,
    before_tls: Preamble | None = None,
) -> None:
    """The same as `assert_pinned`, for tests that run in asyncio's event loop themselves."""
    __tracebackhide__ = True
    conversation: Conversation = {
        "tls": tls,
        "application": application,
        "before_tls": before_tls,
    }
    with _proceedings(install, refusal, **conversation) as judge:
        for server in judge.trial.calls:
            # waiting is for threads: the loop has connections to close meanwhile
            opening = await asyncio.to_thread(judge.trial.begin, server)
            error = await _attempt_async(check, server)
            await asyncio.to_thread(judge.hear, opening, error)


@contextmanager
def _proceedings(
    install: bool, refusal: Refusal, **conversation: Unpack[Conversation]
) -> Iterator[Judge]:
    with new_trial(**conversation) as trial, trusted(trial.bench):
        if not install:
            yield Judge(trial, refusal, None)
            return
        verdicts: list[Verdict] = []
        # Whether a library that keypin cannot reach is the client is about to be seen.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UncoveredClient)
            with Pinner(trial.bench.pins, on_verdict=verdicts.append).installed():
                verdicts.clear()  # those on connections to localhost that were open before
                yield Judge(trial, refusal, verdicts)


def _refuse_running_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError("an event loop is running: await assert_pinned_async(...) instead")


def _attempt(check: Callable[[LocalServer], object], server: LocalServer) -> BaseException | None:
    try:
        result = check(server)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever it is, it is looked at
        return error
    if inspect.iscoroutine(result):
        result.close()
        raise TypeError(f"{check!r} returned a coroutine: give the async function itself")
    return None


async def _attempt_async(
    check: Callable[[LocalServer], Awaitable[object]], server: LocalServer
) -> BaseException | None:
    try:
        await check(server)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever it is, it is looked at
        return error
    return None


class Judge:
    """Hears of each call what came of it, and raises what follows.

    Args:
        trial: the servers.
        refusal: what the client raises at a server without the pinned key.
        verdicts: where keypin puts its own on the trial's connections; None if it is not installed.
    """

    def __init__(self, trial: Trial, refusal: Refusal, verdicts: list[Verdict] | None) -> None:
        self.trial = trial
        self._refusal = refusal
        self._verdicts = verdicts
        self._to_be_judged: list[tuple[Visit, BaseException | None]] = []

    def hear(self, opening: Opening, error: BaseException | None) -> None:
        """Judge a call by what the servers saw and by what it raised.

        Raises:
            Bypassed: something has reached a server without the pinned key.
            Inconclusive: see `assert_pinned`.
        """
        arrivals = self.trial.arrivals()
        if arrivals:
            lines = [*bypass_report(arrivals), *self._how_it_came()]
            raise Bypassed("the client is not pinned: " + "\n  ".join(lines)) from error
        visit = self.trial.end(opening)
        if visit.called not in self.trial.pinned:
            # Judged when it is known that the client reaches any server at all.
            self._to_be_judged.append((visit, error))
            return
        self._check_admitted(visit, error)
        for refused in self._to_be_judged:
            self._check_refused(*refused)
        self._to_be_judged.clear()

    def _check_admitted(self, visit: Visit, error: BaseException | None) -> None:
        if not visit.application_bytes:
            advice = "Its call has to make a connection to server.url and to send something."
            mismatch = find_error(error)
            if mismatch is not None:
                advice = f"keypin said:\n{mismatch}"
            elif visit.is_distrusted or _speaks_of_distrust(error):
                advice = (
                    "It does not trust the authority of the servers: give it server.cafile, or let"
                    " it make its TLS context in the call."
                )
            raise inconclusive(
                "the client did not get through to the server with the pinned key either",
                _sentence(visit.story),
                _what_came_of(error),
                advice,
            ) from error
        if self._is_refusal(error, visit):
            raise inconclusive(
                "the client raised the same at the server with the pinned key",
                _sentence(visit.story),
                _what_came_of(error),
                "Name by `refusal` an error that means nothing else.",
            ) from error

    def _check_refused(self, visit: Visit, error: BaseException | None) -> None:
        if visit.handshakes and self._is_refusal(error, visit):
            return
        what = "nothing reached the server without the pinned key, but not because of its key"
        if not visit.handshakes:
            advice = "Its call has to make a connection to the server that it is given."
        elif error is None:
            what = "nothing reached the server without the pinned key, but the call raised nothing"
            advice = "Let the error out: a program has to notice that it was refused."
        else:
            what = "nothing reached the server without the pinned key, but the error is another"
            advice = (
                f"If the client refuses a wrong key by that: refusal={type(error).__qualname__}."
            )
            if self._keypin_refused_one:
                advice = "keypin refused the connection, and its error was lost. " + advice
        raise inconclusive(what, _sentence(visit.story), _what_came_of(error), advice) from error

    def _is_refusal(self, error: BaseException | None, visit: Visit) -> bool:
        found = find_error(error)
        if found is None:
            return isinstance(error, self._refusal)
        called = visit.called
        if found.host not in called.names or found.port not in (called.port, None):
            return False
        return isinstance(found, self._refusal) or isinstance(error, self._refusal)

    @property
    def _keypin_refused_one(self) -> bool:
        return any(not verdict.accepted for verdict in self._verdicts or ())

    def _how_it_came(self) -> Iterator[str]:
        if self._verdicts is None:
            yield from _how_it_passed_its_own_pins()
            return
        if self._keypin_refused_one:
            yield "keypin was installed and refused a connection; what arrived came by another one."
        else:
            yield "keypin was installed, and was not asked about the connection."
        yield "It covers what uses Python's ssl in this process. Other clients are pinned by their"
        yield "own settings, and tested without install=True."
        yield from _uncovered()


def _how_it_passed_its_own_pins() -> Iterator[str]:
    """Why a client that was tested as it is may have sent something."""
    pinners = installed()
    if not pinners:
        yield from OWN_CHECK_PASSED
        yield "Whether keypin can pin it is told by assert_pinned(..., install=True)."
    elif any(pinner.pins.rule_for(HOST) is not None for pinner in pinners):
        yield f"keypin is installed in this process, with pins for {HOST}, and let it pass."
        yield from _uncovered()
    else:
        yield f"keypin is installed in this process, with pins for other hosts than {HOST}:"
        yield f"  {', '.join(map(repr, pinners))}"
        yield "Let the program pin server.pins for the test, in the way in which it pins its own."


def _uncovered() -> Iterator[str]:
    """The libraries in this process that have a TLS of their own."""
    for library in UNCOVERED:
        if any(module in sys.modules for module in library.modules):
            yield f"{library.name} is loaded here. {HELD_TO[library.pins]}: {library.instead}"


def inconclusive(what: str, *lines: str) -> Inconclusive:
    """The error for a test that proves nothing, and why."""
    indented = (f"  {part}" for line in lines for part in line.splitlines())
    return Inconclusive("\n".join([what, *indented]))


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _what_came_of(error: BaseException | None) -> str:
    if error is None:
        return "The call raised nothing."
    first = (str(error).splitlines() or [""])[0]
    return f"The call raised {type(error).__qualname__}: {first}"


def _speaks_of_distrust(error: BaseException | None) -> bool:
    while error is not None:
        if "certificate_verify_failed" in str(error).lower().replace(" ", "_"):
            return True
        error = error.__cause__ or error.__context__
    return False
