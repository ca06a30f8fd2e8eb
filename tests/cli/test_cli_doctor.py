"""`keypin doctor`: its verdict on programs of every kind, each a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from keypin.cli import ExitCode

if TYPE_CHECKING:
    from collections.abc import Callable

SECRET = "s3cr3t-t0ken"
CURL = shutil.which("curl")
PYTHON = sys.executable

ORDINARY = f"""
import sys, urllib.request
headers = {{"Authorization": "Bearer {SECRET}"}}
request = urllib.request.Request(sys.argv[1] + "/account?token={SECRET}", headers=headers)
print(urllib.request.urlopen(request).status)
"""

PINS_OF_ITS_OWN = """
schema = 1
version = 1
[[host]]
name = "api.example.com"
pins = ["sha256/k3XnEYQCK79AtL9GYnT/nyhsabas03V+bhRQYHQbpXU="]
"""

# A check of its own, behind the handshake, by the documented hook of SSLContext; eventlet's patch
# of the standard library skips it.
CHECKING_SOCKETS = """
import sys
if sys.argv[1] == "eventlet":
    import eventlet
    eventlet.monkey_patch()
import http.client, ssl
from pathlib import Path

host, port, certificate = sys.argv[2:]

class Checking(ssl.SSLSocket):
    def do_handshake(self, block=False):
        super().do_handshake(block)
        if self.getpeercert(True) != Path(certificate).read_bytes():
            raise ssl.SSLCertVerificationError("not the pinned certificate")

context = ssl.create_default_context()
context.sslsocket_class = Checking
connection = http.client.HTTPSConnection(host, int(port), context=context)
connection.request("GET", "/account")
connection.getresponse().read()
"""

# The same for memory BIOs; aiofastnet skips it.
CHECKING_OBJECTS = """
import asyncio, ssl, sys
from pathlib import Path

library, host, port, certificate = sys.argv[1:]

class Checking(ssl.SSLObject):
    def do_handshake(self):
        super().do_handshake()
        if self.getpeercert(True) != Path(certificate).read_bytes():
            raise ssl.SSLCertVerificationError("not the pinned certificate")

context = ssl.create_default_context()
context.sslobject_class = Checking

async def main():
    if library == "aiofastnet":
        import aiofastnet
        loop = asyncio.get_running_loop()
        reader, writer = await aiofastnet.open_connection(loop, host, int(port), ssl=context)
    else:
        reader, writer = await asyncio.open_connection(host, int(port), ssl=context)
    writer.write(b"GET /account HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n")
    await reader.readline()

asyncio.run(main())
"""


@pytest.fixture
def doctor(keypin: Callable[..., object], tmp_path: Path) -> Callable[..., object]:
    """Run `keypin doctor` on a Python program."""

    def run(program: str, *words: str, options: tuple[str, ...] = ()) -> object:
        file = tmp_path / "program.py"
        file.write_text(program, "utf-8")
        return keypin("doctor", *options, "--", PYTHON, file, *words or ("{url}",))

    return run


# Pinned, or not


def test_an_ordinary_program_can_be_pinned_as_by_keypin_run(doctor, tls):
    ended = doctor(ORDINARY, options=("--inject", "--tls", tls))
    assert (ended.code, ended.error) == (0, "")
    verdict, by_whom, _, *runs = ended.lines
    assert "keypin doctor pinned it for that (--inject)" in by_whom
    assert verdict.startswith("CAN BE PINNED: the server with the pinned key was reached")
    assert [run.partition(" key ")[0] for run in runs] == ["another", "pinned"] * 2
    assert [("and sent nothing; its exit code was 1" in run) for run in runs[::2]] == [True] * 2
    assert [("bytes; its exit code was 0" in run) for run in runs[1::2]] == [True] * 2
    assert "200" not in ended.lines  # what the program writes is its own business


def test_without_pins_it_is_not(doctor, tls):
    ended = doctor(ORDINARY, options=("--tls", tls))
    assert (ended.code, ended.error) == (ExitCode.BYPASSED, "")
    assert ended.lines[0] == "NOT PINNED: a server without the pinned key received"
    assert "beginning 'GET /account?… HTTP/1.1', with the header Authorization" in ended.lines[1]
    assert SECRET not in ended.text


SKIPPED_CHECKS = {
    "eventlet": (CHECKING_SOCKETS, "http.client"),
    "aiofastnet": (CHECKING_OBJECTS, "asyncio"),
}


@pytest.mark.parametrize("library", SKIPPED_CHECKS)
def test_a_check_of_ones_own_that_a_library_skips_is_found_out(doctor, monkeypatch, library):
    # its DNS is not wanted here, and breaks where trio is installed
    monkeypatch.setenv("EVENTLET_NO_GREENDNS", "yes")
    program, heeding = SKIPPED_CHECKS[library]
    words = ("{host}", "{port}", "{certificate}")
    assert doctor(program, heeding, *words).code == 0
    ended = doctor(program, library, *words)
    assert ended.code == ExitCode.BYPASSED
    assert "beginning 'GET /account HTTP/1.1'" in ended.text
    assert "is skipped by eventlet, aiofastnet" in ended.text
    # and keypin is not
    assert doctor(program, library, *words, options=("--inject",)).code == 0


def test_another_tls_stack_is_found_out_with_the_way_to_pin_it(doctor):
    program = """
import pycurl, sys
curl = pycurl.Curl()
curl.setopt(pycurl.URL, sys.argv[1])
curl.setopt(pycurl.CAINFO, sys.argv[2])
if len(sys.argv) > 3:
    curl.setopt(pycurl.PINNEDPUBLICKEY, sys.argv[3].replace("sha256/", "sha256//", 1))
curl.perform()
"""
    ended = doctor(program, "{url}", "{cafile}", options=("--inject",))
    assert ended.code == ExitCode.BYPASSED
    assert "keypin run covers what uses Python's ssl" in ended.text
    assert "pycurl is not covered by keypin" in ended.text
    assert "PINNEDPUBLICKEY" in ended.text
    assert doctor(program, "{url}", "{cafile}", "{pin}").code == 0


@pytest.mark.skipif(CURL is None, reason="needs curl (make system-deps)")
def test_a_program_that_is_not_python(keypin):
    assert keypin("doctor", CURL, "-s", "{url}").code == ExitCode.BYPASSED
    # curl writes pins with two slashes
    script = f"pin={{pin}}; {CURL} -s --pinnedpubkey sha256//${{pin#sha256/}} {{url}}"
    assert keypin("doctor", "--", "sh", "-c", script).code == 0


def test_a_program_that_is_told_no_pin_of_the_test_learns_how_to_tell_it(doctor, tmp_path):
    """Also one with pins of its own, which are for another host."""
    tmp_path.joinpath("pins.toml").write_text(PINS_OF_ITS_OWN)
    ended = doctor("import keypin\nkeypin.install('pins.toml')\n" + ORDINARY)
    assert ended.code == ExitCode.BYPASSED
    assert "pins for other hosts do not hold for localhost" in ended.text
    assert "keypin run --pins {pins} --" in ended.text
    assert "keypin doctor --inject" in ended.text


def test_keypin_run_in_the_command_pins_it(doctor, keypin, tmp_path):
    tmp_path.joinpath("program.py").write_text(ORDINARY)
    run = [PYTHON, "-m", "keypin", "run", "--pins"]
    ended = keypin("doctor", "--", *run, "{pins}", "--", PYTHON, "program.py", "{url}")
    assert (ended.code, ended.lines[0][:7]) == (0, "PINNED:")
    # with a file of its own it is not pinned to the test's key
    tmp_path.joinpath("pins.toml").write_text(PINS_OF_ITS_OWN)
    ended = keypin("doctor", "--", *run, "pins.toml", "--", PYTHON, "program.py", "{url}")
    assert ended.code == ExitCode.BYPASSED


def test_the_environment_of_a_command_pins_it(keypin, tmp_path):
    tmp_path.joinpath("program.py").write_text(ORDINARY)
    command = ["env", "KEYPIN_PINS={pins}", PYTHON, "program.py", "{url}"]
    assert keypin("doctor", "--", *command).code == 0


def test_an_environment_that_pins_is_part_of_the_program_as_it_is(doctor, tmp_path, monkeypatch):
    own = tmp_path / "own.toml"
    own.write_text(PINS_OF_ITS_OWN)
    monkeypatch.setenv("KEYPIN_PINS", str(own))
    ended = doctor(ORDINARY)
    assert (ended.code, ended.lines[0][:7]) == (0, "PINNED:")
    assert "KEYPIN_PINS in the environment of keypin doctor" in ended.lines[1]
    # and what it pins besides stays pinned
    program = """
import keypin, sys
[pinner] = keypin.installed()
print(sorted(rule.host for rule in pinner.pins.rules))
"""
    found = doctor(program + ORDINARY, options=("--json",)).json
    assert "['127.0.0.1', 'api.example.com', 'localhost']" in found["runs"][1]["output"]
    own.write_text("schema = 1")
    assert doctor(ORDINARY).code == ExitCode.BAD_FILE


@pytest.mark.parametrize("how", ["mode", "defaults", "report:"])
def test_an_environment_that_only_reports_pins_nothing(how, doctor, tmp_path, monkeypatch):
    own = tmp_path / "own.toml"
    text = {
        "mode": PINS_OF_ITS_OWN + 'mode = "report"\n',
        "defaults": PINS_OF_ITS_OWN.replace("[[host]]", '[defaults]\nmode="report"\n[[host]]', 1),
        "report:": PINS_OF_ITS_OWN,
    }[how]
    own.write_text(text)
    monkeypatch.setenv("KEYPIN_PINS", f"report:{own}" if how == "report:" else str(own))
    ended = doctor(ORDINARY)
    assert (ended.code, ended.lines[0][:11]) == (ExitCode.BYPASSED, "NOT PINNED:")


def test_a_program_that_fails_every_other_time_is_not_called_pinned(doctor):
    """It knows no pin that it could fail by."""
    program = """
import os, pathlib, socket, ssl, sys, urllib.parse, urllib.request
count = pathlib.Path("count")
count.write_text(count.read_text() + "." if count.exists() else ".")
if len(count.read_text()) % 2:
    address = urllib.parse.urlsplit(sys.argv[1])
    plain = socket.create_connection((address.hostname, address.port))
    ssl.create_default_context().wrap_socket(plain, server_hostname="localhost").close()
    sys.exit("no luck")
urllib.request.urlopen(sys.argv[1]).read()
"""
    ended = doctor(program)
    assert ended.code == ExitCode.INCONCLUSIVE
    assert "was told no pin of the test's" in " ".join(ended.lines)


def test_a_key_that_is_checked_on_another_connection_is_no_pin(doctor):
    program = """
import socket, ssl, sys, urllib.parse, urllib.request
import keypin
address = urllib.parse.urlsplit(sys.argv[1])
context = ssl.create_default_context()
plain = socket.create_connection((address.hostname, address.port))
with context.wrap_socket(plain, server_hostname=address.hostname) as probe:
    found = keypin.Pin.from_certificate(probe.getpeercert(True))
if str(found) != sys.argv[2]:
    sys.exit("another key")
urllib.request.urlopen(sys.argv[1]).read()
"""
    ended = doctor(program, "{url}", "{pin}")
    assert ended.code == ExitCode.INCONCLUSIVE
    assert "sends over another connection" in " ".join(ended.lines)


def test_inject_and_own_pins_are_two_questions(doctor):
    assert doctor(ORDINARY, options=("--inject", "--own-pins")).code == ExitCode.USAGE


def test_pins_of_a_programs_own_by_a_pin_file(doctor):
    program = (
        """
import sys, keypin
keypin.install(sys.argv[2])
"""
        + ORDINARY
    )
    assert doctor(program, "{url}", "{pins}").code == 0


def test_trust_on_first_use_is_no_pinning_however_long_it_is_remembered(doctor, tmp_path):
    program = """
import http.client, ssl, sys
from pathlib import Path
connection = http.client.HTTPSConnection(sys.argv[1], int(sys.argv[2]))
connection.connect()
served, known = connection.sock.getpeercert(True), Path("known.cer")
if known.exists() and known.read_bytes() != served:
    sys.exit("another certificate than the first time")
known.write_bytes(served)
connection.request("GET", "/")
connection.getresponse().read()
"""
    assert doctor(program, "{host}", "{port}").code == ExitCode.BYPASSED


def test_a_program_that_does_not_mind_being_refused_is_asked_whether_it_noticed(doctor):
    program = f"""
try:
{"".join(f"    {line}" for line in ORDINARY.splitlines(keepends=True))}
except OSError:
    pass
"""
    ended = doctor(program, options=("--inject",))
    assert ended.code == 0
    assert "its exit code was 0 all the same: does it notice that?" in ended.text


# Inconclusive


def test_a_program_that_does_not_connect_proves_nothing_and_its_output_is_shown(doctor):
    program = 'import sys; print("\\x1b[31mhello"); sys.exit("no such option")  # {url}'
    ended = doctor(program)
    assert (ended.code, ended.error) == (ExitCode.INCONCLUSIVE, "")
    assert ended.lines[0].startswith("INCONCLUSIVE: the command does not get through to the server")
    assert "it made no connection to https://localhost:" in ended.lines[1]
    assert ended.lines[-2:] == ["\\1b[31mhello", "no such option"]


def test_a_program_that_does_not_trust_the_authority_proves_nothing(doctor):
    program = "import os; del os.environ['SSL_CERT_FILE']\n" + ORDINARY
    ended = doctor(program)
    assert ended.code == ExitCode.INCONCLUSIVE
    assert "It does not trust the authority of the servers." in ended.text


def test_a_program_that_hangs_is_ended_with_all_that_it_started(doctor, tmp_path):
    program = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
with open("pids", "a") as file:
    print(child.pid, file=file)
time.sleep(600)
"""
    ended = doctor(program, options=("--timeout", "1"))
    assert ended.code == ExitCode.INCONCLUSIVE
    assert "it was still running after 1.0 s (--timeout)" in ended.text
    pids = tmp_path.joinpath("pids").read_text().split()
    assert len(pids) == 2
    for pid in map(int, pids):
        # it is killed and may take its time to die; nobody may be left to collect it
        with contextlib.suppress(ProcessLookupError):
            process = os.pidfd_open(pid)
            ready, _, _ = select.select([process], [], [], 20)
            os.close(process)
            assert ready


def test_a_refusal_in_which_the_program_is_killed_proves_nothing(doctor):
    program = """
import os, signal, sys
try:
    exec(sys.argv[2])
except OSError:
    os.kill(os.getpid(), signal.SIGSEGV)
"""
    ended = doctor(program, "{url}", ORDINARY, options=("--inject",))
    assert ended.code == ExitCode.INCONCLUSIVE
    assert "it was ended by signal 11" in ended.text


# The command


def test_all_that_can_be_filled_in(doctor, tmp_path):
    program = (
        """
import json, sys
from pathlib import Path
Path("words.json").write_text(json.dumps([*sys.argv[1:], Path(sys.argv[5]).read_text()]))
"""
        + ORDINARY
    )
    places = ["{url}", "{host}:{port}", "{cafile}", "{certificate}", "{pins}", "{pin}", "{other}"]
    assert doctor(program, *places, options=("--inject",)).code == 0
    url, address, cafile, certificate, pins, pin, *rest = json.loads(
        tmp_path.joinpath("words.json").read_text()
    )
    assert url == f"https://{address}"
    assert address.startswith("localhost:")
    assert [Path(cafile).name, Path(certificate).name] == ["ca.pem", "pinned.cer"]
    assert pin.startswith("sha256/")
    other, file = rest
    assert other == "{other}"
    assert pin in file
    assert Path(pins).name == "pins.toml"
    assert not os.path.exists(cafile)


def test_json(doctor):
    found = doctor(ORDINARY, options=("--json", "--inject")).json
    assert (found["version"], found["verdict"]) == (1, "can be pinned")
    assert [run["pinned_key"] for run in found["runs"]] == [False, True] * 2
    assert [run["application_bytes"] > 0 for run in found["runs"]] == [False, True] * 2
    assert [run["exit_code"] for run in found["runs"]] == [1, 0] * 2
    assert all(run["connections"] == run["handshakes"] == 1 for run in found["runs"])
    assert found["runs"][1]["output"] == ["200"]
    ended = doctor(ORDINARY, options=("--json",))
    assert ended.code == ExitCode.BYPASSED
    assert ended.json["verdict"] == "not pinned"
    assert len(ended.json["runs"]) == 1


def test_the_command_has_to_be_told_where_to_connect(keypin):
    ended = keypin("doctor", "--", PYTHON, "check.py")
    assert (ended.code, ended.output) == (64, b"")
    assert "put {url}, or {host} and {port}, into it" in ended.error


def test_a_program_that_cannot_be_run(keypin, tmp_path):
    ended = keypin("doctor", "--", "./nothing", "{url}")
    assert (ended.code, ended.output) == (ExitCode.NO_COMMAND, b"")
    assert ended.error == "keypin: no such program: ./nothing\n"
    tmp_path.joinpath("text").write_text("hello")
    assert keypin("doctor", "--", "./text", "{url}").code == ExitCode.CANNOT_RUN


def test_an_interpreter_that_would_escape_is_not_run(keypin):
    ended = keypin("doctor", "--inject", "--", PYTHON, "-S", "-c", ORDINARY, "{url}")
    assert (ended.code, ended.output) == (ExitCode.NOT_PINNED, b"")
    assert "not run, it would not be pinned" in ended.error


def test_the_version_of_tls_is_that_of_the_servers(doctor):
    program = "import ssl\n" + ORDINARY.replace(
        "urlopen(request)", "urlopen(request, context=context)"
    ).replace(
        "print(",
        "context = ssl.create_default_context()\n"
        "context.minimum_version = ssl.TLSVersion.TLSv1_3\nprint(",
    )
    assert doctor(program, options=("--inject", "--tls", "1.3")).code == 0
    assert doctor(program, options=("--inject", "--tls", "1.2")).code == ExitCode.INCONCLUSIVE
