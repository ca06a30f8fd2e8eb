"""The servers of these tests, each started once, and the words by which requests are found."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import pytest
from scene import HOST, NAMES, VERSIONS, authority, issuing, pinned, unpinned

from keypin.lab import KEY_KINDS, Authority, Credential

from .frontends import Frontend
from .serving import PROGRAMS, Program, RealServer, serving

SECOND_HOST = "b.example"
SIDE_BY_SIDE = "rsa-and-ecdsa"
KINDS = (*KEY_KINDS, SIDE_BY_SIDE)


@cache
def shown(kind: str) -> tuple[Credential, ...]:
    """What the frontend for a kind of key presents."""
    kinds = ("rsa-2048", "p-256") if kind == SIDE_BY_SIDE else (kind,)
    return tuple(issuing().issue(*NAMES, key=each) for each in kinds)


@cache
def clients_authority() -> Authority:
    """The authority that certifies clients."""
    return Authority("CA of the clients")


def skip_unless_found(program: Program) -> list[pytest.MarkDecorator]:
    """Skip what is not on this machine, and say so."""
    reason = f"needs {program.name} (make system-deps)"
    return [pytest.mark.skipif(program.found is None, reason=reason)]


def programs(only: Callable[[Program], bool] = lambda program: True) -> list[object]:
    """Those that can take part."""
    return [
        pytest.param(each, id=each.name, marks=skip_unless_found(each))
        for each in PROGRAMS
        if only(each)
    ]


def programs_and_kinds() -> list[object]:
    """The programs, each with the kinds of keys that it can present."""
    return [
        pytest.param(program, kind, id=f"{program.name}-{kind}", marks=skip_unless_found(program))
        for program in PROGRAMS
        for kind in KINDS
        if kind != SIDE_BY_SIDE or program.side_by_side
    ]


@pytest.fixture(params=programs())
def program(request: pytest.FixtureRequest) -> Program:
    """Each server program."""
    return request.param


@pytest.fixture(scope="session")
def running() -> Iterator[Callable[[Program], RealServer]]:
    """Start a program once for all tests; at the end none of them has received what it must not."""
    with ExitStack() as stack:
        servers = []

        @cache
        def running(program: Program) -> RealServer:
            server = stack.enter_context(serving(program, **frontends(program)))
            servers.append(server)
            return server

        yield running
        for server in servers:
            said = server.said()
            assert "refused-" not in said
            assert "withheld" not in said


def frontends(program: Program) -> dict[str, Frontend]:
    """All that the tests need of a program, by what it is for and the version of TLS."""
    made = {}
    for version in VERSIONS:
        for kind in KINDS:
            if kind != SIDE_BY_SIDE or program.side_by_side:
                made[f"{kind}-{version}"] = Frontend(version, {HOST: shown(kind)})
        one = {HOST: [pinned()]}
        two = {HOST: [pinned()], SECOND_HOST: [second()]}
        made[f"tickets-{version}"] = Frontend(version, one)
        made[f"remembers-{version}"] = Frontend(version, one, tickets=False)
        made[f"clients-{version}"] = Frontend(version, one, clients=clients_authority())
        made[f"names-{version}"] = Frontend(version, two)
        if program.http2:
            made[f"http2-{version}"] = Frontend(version, one, http2=True)
    return made


@cache
def second() -> Credential:
    """The certificate of another host, with the key that is not pinned for the first."""
    return issuing().issue(SECOND_HOST, key=unpinned().key)


@pytest.fixture
def server(program: Program, running: Callable[[Program], RealServer]) -> RealServer:
    """The running server of a program."""
    return running(program)


@pytest.fixture(scope="session")
def cafile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the clients trust."""
    file = tmp_path_factory.mktemp("roots") / "roots.pem"
    file.write_text(authority().pem)
    return file


@pytest.fixture(scope="session")
def word() -> Callable[[str], str]:
    """Make a word that no other request has, such as refused-7; the servers' logs hold it."""
    numbers = itertools.count()
    return lambda fate: f"{fate}-{next(numbers)}"
