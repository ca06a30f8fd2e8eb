"""What every test gets: a clean environment, patience, its turn, and no silent skips in CI."""

import os
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from hypothesis import settings

# Proxies and trust stores of the machine must not reach the loopback servers' clients.
for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
    os.environ.pop(name, None)
    os.environ.pop(name.lower(), None)
for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
    os.environ.pop(name, None)
for name in ("SSLKEYLOGFILE", "KEYPIN_PINS", "KEYPIN_PACKAGES"):
    os.environ.pop(name, None)

# Examples that make keys or connections are slow by nature; a deadline would only make them flaky.
settings.register_profile("keypin", deadline=None, print_blob=True)
settings.load_profile("keypin")


@pytest.fixture(params=["1.2", "1.3"])
def version(request: pytest.FixtureRequest) -> str:
    """Run a test on both versions of TLS."""
    return str(request.param)


@contextmanager
def _locked(path: Path, *, exclusive: bool) -> Iterator[None]:
    """Hold a lock on a file or folder, which other processes may share unless it is exclusive."""
    import fcntl

    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
        yield
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)  # closing is not enough if a child has it, too
        os.close(descriptor)


IN_FRESH_PROCESS = "KEYPIN_TESTS_FRESH" in os.environ


@pytest.fixture(autouse=True)
def turn(request: pytest.FixtureRequest) -> Iterator[None]:
    """Run a test that is marked `alone` while no other does, in any worker of pytest-xdist."""
    if IN_FRESH_PROCESS or sys.platform == "win32":  # where nobody runs them with workers
        yield
        return
    alone = request.node.get_closest_marker("alone") is not None
    with ExitStack() as stack:
        # Who waits to be alone holds the first lock, so that nobody overtakes it.
        with _locked(Path(__file__).parent, exclusive=True):
            stack.enter_context(_locked(Path(__file__), exclusive=alone))
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave fixtures to the process in which the test will run."""
    for item in items:
        if isinstance(item, pytest.Function) and _needs_fresh_process(item):
            item.fixturenames = ["turn"]


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test that is marked `fresh_process` in a pytest of its own."""
    if not _needs_fresh_process(pyfuncitem):
        return None
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", pyfuncitem.nodeid],
        cwd=pyfuncitem.config.rootpath,
        env={**os.environ, "KEYPIN_TESTS_FRESH": "1"},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return True


def _needs_fresh_process(item: pytest.Item) -> bool:
    return not IN_FRESH_PROCESS and item.get_closest_marker("fresh_process") is not None


SKIPS_FAIL = os.environ.get("KEYPIN_NO_SKIPS") == "1"


def _fail_if_skipped(report: pytest.TestReport | pytest.CollectReport) -> None:
    if SKIPS_FAIL and report.skipped and not hasattr(report, "wasxfail"):
        why = report.longrepr[-1] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{why}\nKEYPIN_NO_SKIPS=1: nothing may be skipped here"


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _fail_if_skipped(report)
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _fail_if_skipped(report)
    return report
