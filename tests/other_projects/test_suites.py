"""The tests of other projects have the same outcomes where pins are in force for another host.

They are run twice in environments of their own, without pins and with those of a host that no test
uses, put in force by KEYPIN_PINS. What such a test depends on (a network, a tool, time) is the same
in both runs, so it may fail, if it does in both. A test of Python's that connects without a server
name may fail with pins: that is refused by design.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

pytestmark = pytest.mark.release

ROOT = Path(__file__).parents[2]
RUN_UNITTESTS = Path(__file__).with_name("run_unittests.py")
PINS = """
schema = 1
version = 1
[[host]]
name = "pinned.invalid"
pins = [
    "sha256/k3XnEYQCK79AtL9GYnT/nyhsabas03V+bhRQYHQbpXU=",
    "sha256/afwiKY3RxoMmLkuRW1l7QsPZTJPwDS2pdDROQjXw8ig=",
]
"""
PLUGINS = ("pytest==9.0.2", "pytest-timeout==2.4.0", "pytest-xdist==3.8.0")
LONGEST = 900  # seconds that one run may take

NAMELESS = "failed, nameless"  # by run_unittests.py

Outcomes = dict[str, str]


@dataclass(frozen=True, slots=True)
class Suite:
    """A part of a project's tests that has to do with TLS.

    Args:
        project: with the version whose tests are run.
        folders: of its source archive, in the order of use; the tests come first.
        tests: files, and whatever else pytest is told.
        needs: what the tests need beside the project.
    """

    project: str
    folders: tuple[str, ...]
    tests: tuple[str, ...]
    needs: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The project, without its version."""
        return self.project.partition("==")[0]


SUITES = [
    Suite(
        "urllib3==2.8.0",
        ("test", "dummyserver"),
        (
            "test/test_ssl.py",
            "test/test_ssltransport.py",
            "test/with_dummyserver/test_socketlevel.py",
        ),
        (
            "h2",
            "httpx",
            "hypercorn==0.17.3",
            "PySocks",
            "pytest-socket",
            "quart",
            "quart-trio",
            "trio",
            "trustme",
        ),
    ),
    Suite(
        "requests==2.34.2",
        ("tests",),
        (
            "tests/test_lowlevel.py",
            "tests/test_adapters.py",
            "tests/test_requests.py",
            "-k",
            "https or ssl or cert or verify or proxy or lowlevel or adapters or pickle or tls",
        ),
        ("PySocks", "pytest-httpbin==2.1.0", "pytest-mock", "trustme"),
    ),
    Suite(
        "aiohttp==3.14.5",
        ("tests",),
        (
            "tests/test_client_fingerprint.py",
            "tests/test_client_functional.py",
            "tests/test_connector.py",
            "tests/test_proxy_functional.py",
            "-k",
            "ssl or tls or https or proxy or fingerprint or connector",
            "-p",
            "aiohttp.pytest_plugin",
        ),
        ("freezegun", "proxy.py", "pytest-mock", "re-assert", "trustme"),
    ),
    Suite(
        "truststore==0.10.5",
        ("tests",),
        ("tests", "-m", "not internet", "--ignore=tests/test_threading.py"),
        (
            "aiohttp",
            "flaky",
            "httpx",
            "pytest-asyncio",
            "pytest-httpserver",
            "requests",
            "trustme",
            "urllib3",
        ),
    ),
]
OF_PYTHON = (
    "test.test_ssl",
    "test.test_httplib",
    "test.test_urllib2_localnet",
    "test.test_poplib",
    "test.test_ftplib",
    "test.test_asyncio.test_ssl",
    "test.test_asyncio.test_sslproto",
)


def compare(
    run: Callable[[Path, Mapping[str, str]], Outcomes], python: str | Path, folder: Path
) -> None:
    """Run tests without pins and with them; what is not the same is run once more with them."""
    pins = folder / "pins.toml"
    pins.write_text(PINS, "utf-8")
    assert_pinned(python, pins)
    plain = run(folder / "without", {})
    assert list(plain.values()).count("passed") >= 10
    pinned = run(folder / "with", {"KEYPIN_PINS": str(pins)})
    if pinned != plain:
        pinned |= run(folder / "again", {"KEYPIN_PINS": str(pins)})
    worse = {
        test: pinned.get(test, "not run")
        for test, outcome in plain.items()
        if outcome != "failed" and pinned.get(test) not in (outcome, NAMELESS)
    }
    assert not worse, f"with pins, in {folder / 'again.log'}: {worse}"


def assert_pinned(python: str | Path, pins: Path) -> None:
    """Or the run with pins would prove nothing."""
    command = [python, "-c", "import keypin; print(keypin.installed())"]
    environment = {"KEYPIN_PINS": str(pins)}
    said = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    assert "pinned.invalid" in said.stdout


def run_and_log(command: list[str], log: Path, folder: Path, more: Mapping[str, str]) -> None:
    """Run tests to their end, whatever their outcomes are."""
    environment = {name: os.environ[name] for name in os.environ.keys() & {"PATH", "HOME", "LANG"}}
    with log.open("w") as output:
        subprocess.run(
            command,
            cwd=folder,
            env=environment | more,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=LONGEST,
            check=False,
        )


# Python


@pytest.mark.skipif(
    importlib.util.find_spec("test.test_ssl") is None,
    reason="needs Python's own tests (Debian: libpython3-testsuite; pyenv's Pythons have them)",
)
@pytest.mark.parametrize("name", OF_PYTHON)
def test_those_of_python(name: str, tmp_path: Path) -> None:
    def run(result: Path, more: Mapping[str, str]) -> Outcomes:
        told = result.with_suffix(".json")
        command = [sys.executable, str(RUN_UNITTESTS), str(told), name]
        run_and_log(command, result.with_suffix(".log"), tmp_path, more)
        return json.loads(told.read_text("utf-8"))

    compare(run, sys.executable, tmp_path)


# Projects on PyPI


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
def test_those_of_a_project(suite: Suite, tmp_path: Path, pytestconfig: pytest.Config) -> None:
    python = environment_for(suite, pytestconfig.cache.mkdir("other-projects"))
    unpack(suite, python.parents[2] / "source", tmp_path)
    ini = tmp_path / "own.ini"  # not theirs, which also asks for coverage and the like
    ini.write_text("[pytest]\nasyncio_default_fixture_loop_scope = function\n", "utf-8")

    def run(result: Path, more: Mapping[str, str]) -> Outcomes:
        told = result.with_suffix(".xml")
        command = [str(python), "-m", "pytest", "-q", "-c", str(ini), f"--rootdir={tmp_path}"]
        command += ["-p", "no:cacheprovider", "-n", "2", "--timeout=60", f"--junitxml={told}"]
        run_and_log([*command, *suite.tests], result.with_suffix(".log"), tmp_path, more)
        assert told.exists(), result.with_suffix(".log").read_text("utf-8")[-2000:]
        return dict(map(outcome_of, ElementTree.parse(told).iter("testcase")))

    compare(run, python, tmp_path)


def outcome_of(case: ElementTree.Element) -> tuple[str, str]:
    """A test's name and its outcome, from the report of pytest."""
    name = f"{case.get('classname')}.{case.get('name')}"
    if case.find("failure") is not None or case.find("error") is not None:
        return name, "failed"
    return name, "passed" if case.find("skipped") is None else "skipped"


def environment_for(suite: Suite, cache: Path) -> Path:
    """Make an environment with keypin, the project, what its tests need, and its source archive.

    It is kept in pytest's cache (`pytest --cache-clear` ends it).

    Returns:
        Its interpreter.
    """
    folder = cache / f"{suite.project}-{sys.version_info[0]}.{sys.version_info[1]}"
    python = folder / "environment" / "bin" / "python"
    ready = folder / "ready"
    wanted = " ".join((suite.project, *suite.needs, *PLUGINS))
    if ready.exists() and ready.read_text("utf-8") == wanted:
        return python
    ready.unlink(missing_ok=True)
    command = [sys.executable, "-m", "venv", "--clear", folder / "environment"]
    subprocess.run(command, check=True, timeout=300)
    archive = [f"--no-binary={suite.name}", "--no-deps", f"--dest={folder / 'source'}"]
    pip(python, "download", *archive, suite.project)
    pip(python, "install", suite.project, *suite.needs, *PLUGINS)
    # no reason to skip: there is an index
    ours = [python, "-m", "pip", "install", "--quiet", "--editable", ROOT]
    subprocess.run(ours, check=True, timeout=LONGEST)
    ready.write_text(wanted, "utf-8")
    return python


def pip(python: Path, *arguments: str) -> None:
    """Run pip, or skip the test where it cannot have what it wants."""
    command = [python, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST, check=False)
    if done.returncode != 0:
        last = (done.stderr.strip() or "pip failed").splitlines()[-1]
        pytest.skip(f"needs a package index that has {arguments[-1]}: {last}")


def unpack(suite: Suite, source: Path, folder: Path) -> None:
    """Put the tests into a folder that has nothing else of the project, so that it is installed."""
    (archive,) = source.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        opened.extractall(folder / "source", filter="data")
    (root,) = (folder / "source").iterdir()
    for name in suite.folders:
        (root / name).rename(folder / name)
