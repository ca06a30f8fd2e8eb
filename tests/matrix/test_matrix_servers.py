"""The same drivers against servers that nobody here wrote."""

from __future__ import annotations

import socket
import ssl
from contextlib import ExitStack
from functools import cache

import pytest
from scene import HOST, authority, pinned, pins_for, unpinned

from keypin import Pinner

from .client import Endpoint
from .clients import all_clients
from .servers import PROGRAMS

# of aiosmtpd, on Python 3.15
pytestmark = pytest.mark.filterwarnings("ignore:.*ByteString.*:DeprecationWarning")

IMPLICIT_TLS = {"rediss", "imaps", "pop3s", "smtps", "mqtts", "ftps", "ldaps"}


def everybody():
    """Parametrise over the servers, the clients that speak with them, and the versions of TLS."""
    cases = [
        pytest.param(
            program,
            client,
            version,
            id=f"{client.name}, {program.name}, TLS {version}",
            marks=skips(program, client),
        )
        for program in PROGRAMS
        for version in program.versions
        for client in all_clients()
        if client.protocol in program.protocols
    ]
    return pytest.mark.parametrize(("program", "client", "version"), cases)


def skips(program, client):
    """Skip what is not on this machine, and say so."""
    reason = (
        client.available() if all(program.found) else f"needs {program.name} (make system-deps)"
    )
    return [pytest.mark.skip(reason=reason)] if reason else []


@pytest.fixture(scope="module")
def ports_of():
    """Start a server, once for all tests, with the key that is pinned; return its ports."""
    with ExitStack() as running:

        @cache
        def ports_of(run, version):
            ports = running.enter_context(run(pinned(), version))
            for protocol in IMPLICIT_TLS & ports.keys():
                assert version_spoken(ports[protocol]) == f"TLSv{version}"
            return ports

        yield ports_of


def version_spoken(port):
    context = ssl.create_default_context(cadata=authority().pem)
    with (
        socket.create_connection(("127.0.0.1", port), 10) as tcp,
        context.wrap_socket(tcp, server_hostname=HOST) as connection,
    ):
        return connection.version()


@pytest.fixture(scope="module")
def cafile(tmp_path_factory):
    file = tmp_path_factory.mktemp("servers") / "roots.pem"
    file.write_text(authority().pem)
    return str(file)


@everybody()
def test_a_real_server_is_reached_until_the_pins_are_replaced(
    program, client, version, ports_of, cafile
):
    port = ports_of(program.run, version)[client.protocol]
    endpoint = Endpoint(client.protocol, port, cafile)
    verdicts = []
    pinner = Pinner(pins_for(pinned()), on_verdict=verdicts.append)
    with pinner.installed():
        # asyncio's connections of the test before, closed but not collected yet, are refused
        verdicts.clear()
        with client.session(endpoint) as request:
            request()
            request()
            assert all(verdict.accepted for verdict in verdicts)
            verdicts.clear()
            pinner.replace(pins_for(unpinned()))
            refused(request, verdicts)
        verdicts.clear()
        with client.session(endpoint) as request:
            refused(request, verdicts)
    # the control: it was the pins that refused it
    with client.session(endpoint) as request:
        request()


def refused(request, verdicts):
    with pytest.raises(Exception):  # noqa: B017 - of whatever class, test_matrix looks at it
        request()
    assert verdicts
    assert not any(verdict.accepted for verdict in verdicts)
