"""Under `python -W error -X dev` nothing is complained of, whatever was refused.

A ResourceWarning of a socket that somebody forgot arrives when it is collected, as an "Exception
ignored" on standard error; so do asyncio's complaints. So each program has to keep that clean.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from scene import HOST, authority, pinned, pins_for, unpinned
from strict_programs import ASYNCHRONOUS, BEGIN, BLOCKING

from keypin import Pin
from keypin.lab import Http, Server, new_key

STRICT = ["-W", "error", "-X", "dev"]

PROGRAMS = {
    "blocking": (
        BLOCKING,
        "by_socket implicitly never_shaken by_http_client by_urllib by_urllib3 by_requests"
        " by_httpx2 replaced unverified client",
    ),
    "asynchronous": (
        ASYNCHRONOUS,
        "by_streams by_start_tls by_aiohttp by_httpx2 cancelled replaced client",
    ),
}


@pytest.fixture(scope="module")
def servers(clients):
    with (
        Server(pinned(), application=Http(b"right"), client_ca=clients.certificate) as right,
        Server(unpinned(), application=Http(b"wrong"), client_ca=clients.certificate) as wrong,
    ):
        yield right, wrong


@pytest.fixture
def environment(servers, me, tmp_path):
    right, wrong = servers
    tmp_path.joinpath("ca.pem").write_text(authority().pem)
    tmp_path.joinpath("me.pem").write_bytes(me.key_pem + me.chain_pem)
    tmp_path.joinpath("pinned.cer").write_bytes(pinned().certificate)
    pins_for(pinned()).dump(tmp_path / "pins.toml")
    ours = {"KEYPIN_PINS", "KEYPIN_PACKAGES", "PYTHONPATH", "PYTHONWARNINGS", "PYTHONDEVMODE"}
    return {name: value for name, value in os.environ.items() if name not in ours} | {
        "RIGHT": right.url_for(HOST),
        "WRONG": wrong.url_for(HOST),
        "CA": str(tmp_path / "ca.pem"),
        "ME": str(tmp_path / "me.pem"),
        "FOLDER": str(tmp_path),
        "PIN": str(pinned().pin),
        "BACKUP": str(Pin.from_public_key(new_key().spki)),
    }


def run(*command, environment):
    return subprocess.run(
        [sys.executable, *STRICT, *command],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize(("program", "prints"), PROGRAMS.values(), ids=PROGRAMS)
def test_a_program_that_is_refused_everywhere_has_nothing_to_complain_of(
    program, prints, servers, environment
):
    done = run("-c", BEGIN + program, environment=environment)
    assert done.stderr == ""
    assert done.stdout.split() == prints.split()
    assert done.returncode == 0
    _, wrong = servers
    wrong.settle()
    assert wrong.application_bytes == 0


def test_the_strictness_is_real(environment):
    """What the tests here look for does come to standard error."""
    for forgotten in (
        "socket.create_connection((urlsplit(RIGHT).hostname, urlsplit(RIGHT).port))",
        "plain().wrap_socket(socket.create_connection((urlsplit(RIGHT).hostname,"
        " urlsplit(RIGHT).port)), server_hostname='localhost')",
    ):
        assert "ResourceWarning" in run("-c", BEGIN + forgotten, environment=environment).stderr


COMPLAINTS = ("Warning", "Exception ignored", "Traceback", "Task was destroyed")


@pytest.mark.parametrize(("server", "code"), [(0, 0), (1, 90)], ids=["right", "wrong"])
def test_keypin_get(server, code, servers, environment):
    url, pinned_file = servers[server].url_for(HOST), environment["FOLDER"] + "/pinned.cer"
    options = ("--cafile", environment["CA"], "--certificate", pinned_file)
    done = run("-m", "keypin", "get", url, *options, environment=environment)
    assert done.returncode == code
    assert not [word for word in COMPLAINTS if word in done.stderr], done.stderr
    assert done.stdout == ("right" if code == 0 else "")
    assert bool(done.stderr) is bool(code)


@pytest.mark.parametrize("server", [0, 1], ids=["right", "wrong"])
def test_keypin_check(server, servers, environment):
    host, port = servers[server].address
    options = ("--cafile", environment["CA"], "--connect-to", f"{HOST}={host}:{port}")
    pins = environment["FOLDER"] + "/pins.toml"
    done = run("-m", "keypin", "check", "--pins", pins, *options, environment=environment)
    assert done.stderr == ""
    assert done.returncode == (1 if server == 0 else 2), done.stdout


def test_keypin_run(environment, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        BEGIN
        + """
def attempt(url):
    try:
        with urllib.request.urlopen(url, context=plain(), timeout=20) as response:
            return response.read().decode()
    except OSError as error:
        return is_refused(error) and "refused"

print(attempt(RIGHT), attempt(WRONG))
gc.collect()
"""
    )
    pins = ("--pins", environment["FOLDER"] + "/pins.toml")
    inner = (sys.executable, *STRICT, program)
    done = run("-m", "keypin", "run", *pins, "--", *inner, environment=environment)
    assert (done.stdout, done.stderr) == ("right refused\n", "")
    assert done.returncode == 0
