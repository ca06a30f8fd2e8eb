"""The fixtures for pytest: `pinned_server` and `mispinned_server`, and `lab_stage` of the lab.

pytest imports this in every run of an environment that has keypin. It is no part of the package
because that loads `ssl`, which gevent and eventlet want to patch before anybody has; and what
pytest loads before a program's tests begin is missing from their coverage.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keypin.lab import Stage
    from keypin.testing import Bench, LocalServer


@pytest.fixture(scope="session")
def _keypin_bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    from keypin.testing import Bench

    return Bench(tmp_path_factory.mktemp("keypin"))


@pytest.fixture
def pinned_server(_keypin_bench: Bench) -> Iterator[LocalServer]:
    """A server on this machine that holds the pinned key: a `keypin.testing.LocalServer`.

    The client has to trust `pinned_server.cafile`, and to pin `pinned_server.pin`.
    """
    with _keypin_bench.pinned_server() as server:
        yield server


@pytest.fixture
def mispinned_server(_keypin_bench: Bench) -> Iterator[LocalServer]:
    """The same as `pinned_server` but for its key, which is not `mispinned_server.pin`.

    Its certificate is of the same authority and for the same name. A pinned client raises an error
    in which `keypin.find_error` finds a `PinMismatch`, and `mispinned_server.received` stays empty.
    """
    with _keypin_bench.mispinned_server() as server:
        yield server


@pytest.fixture
def lab_stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    """The servers of the `keypin.lab.Scenario`, or Case, that is the test's argument `scenario`.

    `lab_stage.check(lambda: my_client(lab_stage.url, ...))` asserts that the client came out right.
    """
    from keypin.lab import Case, Scenario

    scenario = request.getfixturevalue("scenario")
    if not isinstance(scenario, Scenario | Case):
        raise TypeError(f"lab_stage takes a Scenario or a Case as `scenario`, not {scenario!r}")
    stage = scenario.stage()
    try:
        stage.__enter__()
    except ImportError as error:
        pytest.skip(f"{scenario}: {error}")
    try:
        yield stage
    finally:
        stage.__exit__(None, None, None)
