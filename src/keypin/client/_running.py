"""The two runners of flows: for threads, and for asyncio and trio."""

from __future__ import annotations

from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import anyio
import httpx2

from ..errors import KeypinError
from ._deadline import remaining, within
from ._exchange import Answer, Exchange, encoding_of
from ._pinning import pin_errors
from .failures import AnswerTooLarge, RequestTimeout, Unreachable, servers_words

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TypeVar

    from ._exchange import Flow, Step

    Result = TypeVar("Result")

__all__ = ["run", "run_async"]


def run(flow: Flow[Result], http: httpx2.Client, timeout: float | None) -> Result:
    """Run a flow in this thread.

    Args:
        flow: it.
        http: what sends its requests.
        timeout: in seconds, for all of it; None for no end.
    """
    with closing(flow):
        return within(timeout, lambda: _run(flow, http, timeout))


def _run(flow: Flow[Result], http: httpx2.Client, timeout: float | None) -> Result:
    try:
        step = next(flow)
        while True:
            try:
                with _failures(timeout):
                    outcome = _take(step, http)
            except BaseException as error:
                flow.throw(error)  # it tells those who wait for it, and raises it again
                raise
            step = flow.send(outcome)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return] # typeshed does not say of which generator


async def run_async(flow: Flow[Result], http: httpx2.AsyncClient, limit: float | None) -> Result:
    """Run a flow in this task; see `run`."""
    try:
        with closing(flow), anyio.move_on_after(limit):
            step = next(flow)
            while True:
                try:
                    with _failures(limit):
                        outcome = await _take_async(step, http)
                except BaseException as error:  # cancellation, too
                    flow.throw(error)
                    raise
                step = flow.send(outcome)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return] # see above
    raise _timeout(limit)


def _take(step: Step, http: httpx2.Client) -> Answer | None:
    if not isinstance(step, Exchange):
        if not step.event.wait(remaining()):  # type: ignore[attr-defined]
            raise httpx2.PoolTimeout("waiting for a token that another thread asked for")
        return None
    request = step.request(http.cookies, remaining())
    response = http.send(request, auth=step.auth, follow_redirects=False, stream=True)
    try:
        reader = _Reader(response, step.limit)
        for piece in response.iter_bytes():
            reader.take(piece)
        return reader.answer()
    finally:
        response.close()


async def _take_async(step: Step, http: httpx2.AsyncClient) -> Answer | None:
    if not isinstance(step, Exchange):
        await step.event.wait()  # type: ignore[attr-defined]
        return None
    request = step.request(http.cookies, None, trace=_Closing())
    response = await http.send(request, auth=step.auth, follow_redirects=False, stream=True)
    try:
        reader = _Reader(response, step.limit)
        async for piece in response.aiter_bytes():
            reader.take(piece)
        return reader.answer()
    finally:
        await response.aclose()


class _Closing:
    """Closes a connection whose TLS handshake is cancelled, which httpcore2 leaves open.

    It is told of a request's steps, by what httpx2 calls the trace extension.
    """

    def __init__(self) -> None:
        self._carrier: Any = None

    async def __call__(self, event: str, info: dict[str, Any]) -> None:
        if event.endswith(("connect_tcp.complete", "start_tls.complete")):
            self._carrier = info["return_value"]
        elif event.endswith("start_tls.failed") and self._carrier is not None:
            with anyio.CancelScope(shield=True):
                await self._carrier.aclose()


class _Reader:
    """Puts an answer together, up to a limit in bytes."""

    def __init__(self, response: httpx2.Response, limit: int | None) -> None:
        self._response = response
        self._limit = limit
        self._content = bytearray()

    def take(self, piece: bytes) -> None:
        self._content += piece
        if self._limit is not None and len(self._content) > self._limit:
            text = f"the answer is longer than {self._limit} bytes"
            raise AnswerTooLarge(self._response.status_code, "", text)

    def answer(self) -> Answer:
        response = self._response
        content = bytes(self._content)
        return Answer(response.status_code, response.headers, content, encoding_of(response))


@contextmanager
def _failures(timeout: float | None) -> Iterator[None]:
    """Raise what an HTTP library raises as what this one promises."""
    try:
        with pin_errors():
            yield
    except httpx2.TimeoutException as error:
        raise _timeout(timeout) from error
    except KeypinError:
        raise
    except (httpx2.LocalProtocolError, ValueError):
        # they quote the header that is wrong, which may be a secret
        text = "the request cannot be written in HTTP, or its answer not be read"
        raise Unreachable(text) from None
    except httpx2.RequestError as error:
        words = servers_words(str(error)) or type(error).__name__  # it may quote the answer
        notes = getattr(error, "__notes__", [])
        raise Unreachable(". ".join([f"no answer: {words}", *notes])) from error


def _timeout(timeout: float | None) -> RequestTimeout:
    return RequestTimeout(f"no answer within {timeout} seconds")
