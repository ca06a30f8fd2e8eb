"""`keypin lab serve` as a program of its own, with clients beside it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from keypin.cli import ExitCode

CURL = shutil.which("curl")
needs_curl = pytest.mark.skipif(CURL is None, reason="needs curl (make system-deps)")
posix = pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
pytestmark = posix
PATIENCE = 30
FEW = ("--scenario", "pinned-key", "--scenario", "other-ca", "--scenario", "honest-then-impostor")


class Lab:
    """A running `keypin lab serve`."""

    def __init__(self, environment, *arguments):
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-X", "dev", "-m", "keypin", "lab", "serve",
             *arguments],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.said = []

    def until(self, pattern):
        """Read on to a line with this in it; the match."""
        for line in self.process.stdout:
            self.said.append(line)
            found = re.search(pattern, line)
            if found:
                return found
        raise AssertionError(f"never said {pattern}: {self.said} {self.process.stderr.read()}")

    def event(self):
        return json.loads(self.process.stdout.readline())

    def end(self, by=signal.SIGINT):
        """End it; the exit code, and what it has said since."""
        self.process.send_signal(by)
        code = self.process.wait(PATIENCE)
        assert self.process.stderr.read() == ""
        return code, self.process.stdout.read()


@pytest.fixture
def serve(clean_environment):
    started = []

    def serve(*arguments):
        started.append(Lab(clean_environment, *arguments))
        return started[-1]

    yield serve
    for lab in started:
        if lab.process.poll() is None:
            lab.process.kill()
        lab.process.wait(PATIENCE)
        lab.process.stdout.close()
        lab.process.stderr.close()


def get(url, cafile, *options):
    """Let curl call a URL; its exit code."""
    command = [CURL, "-sS", "-o", os.devnull, "--cacert", cafile, *options, url]
    return subprocess.run(command, stderr=subprocess.DEVNULL, timeout=PATIENCE).returncode


def download(url, path):
    with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
        path.write_bytes(answer.read())
    return path


# What it says


@needs_curl
def test_what_comes_is_told_line_by_line(serve, tmp_path):
    lab = serve(*FEW)
    page = lab.until(r"^page +(\S+)$")[1]
    cafile = download(lab.until(r"^trust +(\S+)$")[1], tmp_path / "ca.pem")
    pin = lab.until(r"^pin +(sha256/\S+)$")[1].replace("/", "//", 1)
    honest = lab.until(r"^  (https://localhost:\d+)  pinned-key  must be accepted$")[1]
    attacker = lab.until(r"^  (https://localhost:\d+)  other-ca  must be rejected$")[1]
    lab.until(r"^  https://localhost:\d+  honest-then-impostor  must be rejected$")
    lab.until(r"^      then https://localhost:\d+$")
    lab.until(r"Ctrl-C ends it\.$")
    pinned = ("--pinnedpubkey", pin)
    assert get(honest, cafile, *pinned) == 0
    lab.until(r"^\d\d:\d\d:\d\d  right +pinned-key: must accept; the request arrived")
    assert get(attacker, cafile, *pinned) == 90
    lab.until(r"right +other-ca: must reject; no attacker received anything  \(1 attempt\)$")
    assert get(attacker + "/secret-4711?token=x", cafile, "-H", "Authorization: Basic x") == 0
    line = lab.until(r"GOT BYTES +other-ca: must reject; an attacker received (.*)$")[1]
    assert line.endswith("with the header Authorization  (2 attempts)")
    assert "4711" not in line
    state = json.loads(download(page + "state.json", tmp_path / "state.json").read_bytes())
    assert {it["scenario"]: it["outcome"] for it in state["cases"]} == {
        "pinned-key": "right",
        "other-ca": "wrong",
        "honest-then-impostor": "not called",
    }
    assert lab.end() == (
        ExitCode.BYPASSED,
        "BYPASSED: 2 cases: 1 wrong, 1 right, 1 not called\n"
        "  an attacker received application bytes: 1 case of 1 scenario\n",
    )


@needs_curl
def test_json_is_an_object_in_each_line(serve, tmp_path):
    lab = serve("--json", "--group", "keys", "--key", "ed25519", "--tls", "1.2")
    begun = lab.event()
    assert (begun["event"], begun["version"]) == ("serving", 1)
    assert (begun["host"], begun["address"]) == ("localhost", "127.0.0.1")
    cases = {it["scenario"]: it for it in begun["cases"]}
    # the control comes along
    assert cases["pinned-key"]["case"] == "pinned-key-tls1.2-ed25519"
    assert {it["key"] for it in begun["cases"]} == {"ed25519"}
    assert begun["left_out"]
    assert set(begun["left_out"].values()) == {"not with keys of the kind ed25519"}
    cafile = download(begun["authorities"], tmp_path / "ca.pem")
    assert get(cases["pinned-key"]["url"], cafile) == 0
    came = lab.event()
    assert (came["event"], came["scenario"], came["outcome"]) == ("came", "pinned-key", "right")
    assert came["harm"] is None
    code, output = lab.end(signal.SIGTERM)
    ended = json.loads(output)
    assert (code, ended["event"], ended["verdict"]) == (0, "ended", "right")
    assert ended["counts"] == {"right": 1, "not called": len(cases) - 1}
    assert ended["harms"] == {}


@needs_curl
def test_a_client_that_reaches_nobody(serve, tmp_path):
    lab = serve(*FEW)
    attacker = lab.until(r"(https://localhost:\d+)  other-ca ")[1]
    lab.until("Ctrl-C")
    assert get(attacker, download(lab_file(lab, "pinned.cer"), tmp_path / "no.pem")) != 0
    lab.until("right +other-ca")
    code, output = lab.end()
    assert code == ExitCode.INCONCLUSIVE
    assert output.startswith(
        "INCONCLUSIVE: 1 case: 1 right, 2 not called\n  No honest server was called"
    )


@needs_curl
def test_a_client_that_refuses_an_honest_server(serve, tmp_path):
    lab = serve("--scenario", "by-address", "--scenario", "pinned-key")
    honest = lab.until(r"(https://localhost:\d+)  pinned-key ")[1]
    other = lab.until(r"(https://127\.0\.0\.1:\d+)  by-address ")[1]
    lab.until("Ctrl-C")
    cafile = download(lab_file(lab, "authorities.pem"), tmp_path / "ca.pem")
    assert get(honest, cafile) == 0
    lab.until("right +pinned-key")
    assert get(other, cafile, "--pinnedpubkey", "sha256//" + 43 * "A" + "=") == 90
    lab.until("REFUSED HONEST +by-address: must accept; the honest server received no request")
    assert lab.end()[0] == ExitCode.CRITICAL


def lab_file(lab, name):
    page = next(line.split()[1] for line in lab.said if line.startswith("page "))
    return page + name


# Where it listens


@needs_curl
def test_another_host_at_another_address(serve, tmp_path):
    try:
        socket.create_server(("127.0.0.5", 0)).close()
    except OSError:
        pytest.skip("needs a second loopback address, 127.0.0.5")
    with socket.create_server(("127.0.0.5", 0)) as free:
        port = free.getsockname()[1]
    options = ("--host", "Lab.Example", "--address", "127.0.0.5", "--page-port", str(port))
    lab = serve(*FEW, "--scenario", "mitmproxy", *options)
    assert lab.until(r"^page +(\S+)$")[1] == f"http://127.0.0.5:{port}/"
    honest = lab.until(r"(https://lab\.example:\d+)  pinned-key ")[1]
    lab.until(r"^  mitmproxy: .+")
    lab.until("Ctrl-C")
    cafile = download(lab_file(lab, "authorities.pem"), tmp_path / "ca.pem")
    resolved = f"lab.example:{urlsplit(honest).port}:127.0.0.5"
    assert get(honest, cafile, "--resolve", resolved) == 0
    lab.until("right +pinned-key")
    assert lab.end()[0] == 0


def own_address():
    """An address of this machine that others can reach; None if there is none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            return None
        return sock.getsockname()[0]


@pytest.mark.skipif(own_address() in (None, "127.0.0.1"), reason="needs a network")
def test_listening_for_the_network_is_told(serve):
    lab = serve(*FEW, "--host", own_address())
    lab.until(rf"^Everybody who reaches {re.escape(own_address())} can call these servers")
    assert lab.end() == (0, "What comes is told here and on the page. Ctrl-C ends it.\n"
                            "Nothing was called.\n")  # fmt: skip


def test_on_loopback_nothing_is_said_of_a_network(serve):
    lab = serve(*FEW)
    lab.until("Ctrl-C")
    assert not [line for line in lab.said if "Everybody" in line]
    assert lab.end() == (0, "Nothing was called.\n")


# How it ends


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
def test_nothing_is_left_behind(serve, tmp_path, by, clean_environment):
    clean_environment["TMPDIR"] = str(tmp_path)
    lab = serve("--group", "redirects")
    page = lab.until(r"^page +(\S+)$")[1]
    lab.until("Ctrl-C")
    assert list(tmp_path.glob("keypin-lab-*"))
    assert lab.end(by)[0] == 0
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(page, timeout=PATIENCE)


def test_ctrl_c_before_it_is_ready(serve, tmp_path, clean_environment):
    clean_environment["TMPDIR"] = str(tmp_path)
    lab = serve("--key", "rsa")  # whose keys take their time
    while not list(tmp_path.glob("keypin-lab-*/*")):
        assert lab.process.poll() is None
    assert lab.end() == (ExitCode.INTERRUPTED, "")
    assert list(tmp_path.iterdir()) == []


def test_a_reader_that_is_gone_ends_it(serve):
    lab = serve(*FEW, "--json")
    url = lab.event()["cases"][1]["url"]
    lab.process.stdout.close()
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), PATIENCE) as sock:
        sock.sendall(b"no TLS")
    assert lab.process.wait(PATIENCE) == 1
    assert "Traceback" not in lab.process.stderr.read()


# Mistakes


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--host", "lab.example"], "--host lab.example needs --address"),
        (["--address", "0.0.0.0"], "not the address of one machine"),
        (["--host", "lab.example", "--address", "nowhere"], "does not appear to be an IPv4"),
        (["--host", "a b", "--address", "127.0.0.1"], "not a host name"),
        (["--host", "10.0.0.1", "--address", "127.0.0.1"], "listen at 127.0.0.1, not at 10.0.0.1"),
        (["--host", "attacker.example", "--address", "127.0.0.1"], "somebody else"),
        (["--address", "192.0.2.1"], "cannot listen at 192.0.2.1: "),
        (["--scenario", "short-key"], "short-key: not with keys of the kind p-256"),
        (["--scenario", "renegotiation", "--tls", "1.3"], "renegotiation: not in TLS 1.3"),
        (["--scenario", "other-caa"], "did you mean other-ca"),
        (["--page-port", "65536"], "--page-port"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_options_that_make_no_sense(keypin, options, told):
    ended = keypin("lab", "serve", *options)
    assert (ended.code, ended.output) == (64, b"")
    assert told in ended.error


def test_a_port_that_is_taken(keypin):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ended = keypin("lab", "serve", *FEW, "--page-port", taken.getsockname()[1])
    assert (ended.code, ended.output) == (64, b"")
    assert "the port of the page must be free" in ended.error


def test_the_page_is_in_the_package():
    import keypin.lab

    folder = Path(keypin.lab.__file__).parent
    assert {it.name for it in folder.glob("live.*")} == {
        *("live.py", "live.html", "live.css", "live.js"),
    }
