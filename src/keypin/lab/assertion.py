"""A function of this process as the client of a stage, and the assertion that it came out right."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING

from .environment import in_force

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .judge import Judgement
    from .stage import Stage

__all__ = ["check", "check_async"]


def check(stage: Stage, client: Callable[[], object]) -> Judgement:
    """See `Stage.check`."""
    __tracebackhide__ = True
    error: BaseException | None = None
    with in_force(stage.environment):
        for _ in range(stage.rounds):
            try:
                result = client()
            except (Exception, SystemExit) as raised:  # noqa: BLE001 - judged by its effect
                error = raised
                continue
            if inspect.iscoroutine(result):
                result.close()
                raise TypeError(f"{client!r} returned a coroutine: await check_async(...) instead")
    return _asserted(stage, error)


async def check_async(stage: Stage, client: Callable[[], Awaitable[object]]) -> Judgement:
    """See `Stage.check_async`."""
    __tracebackhide__ = True
    error: BaseException | None = None
    with in_force(stage.environment):
        for _ in range(stage.rounds):
            try:
                await client()
            except (Exception, SystemExit) as raised:  # noqa: BLE001 - judged by its effect
                error = raised
    # waiting is for threads: the loop has connections to close meanwhile
    return await asyncio.to_thread(_asserted, stage, error)


def _asserted(stage: Stage, error: BaseException | None) -> Judgement:
    __tracebackhide__ = True
    if error is None:
        judgement = stage.judge()
    else:
        first = (str(error).splitlines() or [""])[0]
        judgement = stage.judge("failed", f"it raised {type(error).__qualname__}: {first}")
    if judgement.outcome != "right":
        raise AssertionError(f"{judgement}\n  {stage.case.scenario.story}") from error
    return judgement
