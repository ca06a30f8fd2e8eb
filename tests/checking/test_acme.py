"""`keypin deploy` as the deploy hook of certbot, with certificates of the ACME server pebble.

They are served by nginx. Names of keys: the one in use, a new one, a backup.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from keypin import Pin, PinSet, Rule
from keypin.lab import Authority, new_key

if TYPE_CHECKING:
    from collections.abc import Callable

SEARCHED = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/usr/local/sbin"
PROGRAMS = {name: shutil.which(name, path=SEARCHED) for name in ("pebble", "certbot", "nginx")}
MISSING = [name for name, path in PROGRAMS.items() if path is None]
pytestmark = pytest.mark.skipif(
    bool(MISSING), reason=f"needs {', '.join(MISSING)} (make system-deps)"
)

HOST = "api.example.com"
PATIENCE = 20

NGINX = """
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log info;
{user}
worker_processes 1;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
    uwsgi_temp_path {folder}; scgi_temp_path {folder};
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {served}/current/fullchain.pem;
        ssl_certificate_key {served}/current/privkey.pem;
        location / {{ return 200 "served"; }}
    }}
}}
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


@contextlib.contextmanager
def running(command: list[object], port: int, log: Path, **environment: str):
    """Run a server program until the end, from when it listens on a port."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            list(map(str, command)),
            stdout=output,
            stderr=output,
            env={**os.environ, **environment},
        )
    try:
        assert soon(lambda: listens(port) or process.poll() is not None)
        assert process.poll() is None, log.read_text()
        yield
    finally:
        process.terminate()
        process.wait(PATIENCE)


class Acme(NamedTuple):
    """A running ACME server, and a folder for certbot."""

    directory: str
    own_ca: Path
    """of the server itself"""
    ca: Path
    """of what it issues"""
    folder: Path

    def certbot(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Run certbot."""
        command = [PROGRAMS["certbot"], *arguments, "--non-interactive", "--server", self.directory]
        for kind in ("config", "work", "logs"):
            command += [f"--{kind}-dir", self.folder / kind]
        return subprocess.run(
            list(map(str, command)),
            env={**os.environ, "REQUESTS_CA_BUNDLE": str(self.own_ca)},
            capture_output=True,
            text=True,
            timeout=120,
        )

    def issue(self, *arguments: object) -> None:
        done = self.certbot(
            "certonly", *arguments, "--standalone", "--http-01-port", free_port(),
            "--agree-tos", "--register-unsafely-without-email",
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr

    def renew(self, name: str, hook: list[object], *arguments: object) -> str:
        """Renew, and return what certbot wrote of its hooks."""
        done = self.certbot(
            "renew", "--cert-name", name, "--force-renewal", "--no-random-sleep-on-renew",
            "--deploy-hook", shlex.join(map(str, hook)), *arguments,
        )  # fmt: skip
        return done.stdout + done.stderr

    def lineage(self, name: str) -> Path:
        return self.folder / "config" / "live" / name


@pytest.fixture(scope="module")
def acme(tmp_path_factory):
    folder = tmp_path_factory.mktemp("acme")
    authority = Authority("CA of the ACME server itself")
    own = authority.issue("localhost", "127.0.0.1").write(folder / "own")
    own_ca = folder / "own-ca.pem"
    own_ca.write_text(authority.pem)
    port, management = free_port(), free_port()
    configuration = folder / "pebble.json"
    options = {
        "listenAddress": f"127.0.0.1:{port}",
        "managementListenAddress": f"127.0.0.1:{management}",
        "certificate": str(own.chain),
        "privateKey": str(own.key),
        "httpPort": 5002,
        "tlsPort": 5001,
    }
    configuration.write_text(json.dumps({"pebble": options}))
    patient = {
        "PEBBLE_VA_ALWAYS_VALID": "1",
        "PEBBLE_VA_NOSLEEP": "1",
        "PEBBLE_WFE_NONCEREJECT": "0",
    }
    command = [PROGRAMS["pebble"], "-config", configuration]
    with running(command, port, folder / "pebble.log", **patient):
        ca = folder / "issuing-ca.pem"
        context = ssl.create_default_context(cafile=own_ca)
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        with opener.open(f"https://127.0.0.1:{management}/roots/0", timeout=PATIENCE) as answer:
            ca.write_bytes(answer.read())
        yield Acme(f"https://127.0.0.1:{port}/dir", own_ca, ca, folder)


class Site:
    """A site with a certificate of its own, and nginx, which serves what was deployed."""

    def __init__(self, acme: Acme, folder: Path) -> None:
        self.acme = acme
        self.name = folder.name
        self.folder = folder
        self.served = folder / "served"
        self.port = free_port()
        self.configuration = folder / "nginx.conf"
        self.backup = new_key()
        acme.issue("-d", HOST, "--cert-name", self.name, "--key-type", "ecdsa")
        self.first = self.issued()
        rule = Rule(HOST, [Pin.from_certificate(self.first), self.backup_pin], match="leaf")
        PinSet([rule]).dump(folder / "pins.toml")

    @property
    def backup_pin(self) -> Pin:
        return Pin.from_public_key(self.backup.spki)

    def issued(self) -> bytes:
        """The certificate that certbot has now."""
        return first_certificate(self.acme.lineage(self.name) / "fullchain.pem")

    @property
    def deploy(self) -> list[object]:
        """The command, without what it deploys."""
        nginx = [PROGRAMS["nginx"], "-p", self.folder, "-c", self.configuration]
        reload = [*nginx, "-e", self.folder / "error.log", "-s", "reload"]
        return [
            sys.executable, "-W", "error", "-m", "keypin", "deploy",
            "--to", self.served, "--pins", self.folder / "pins.toml", "--cafile", self.acme.ca,
            "--reload", shlex.join(map(str, reload)),
        ]  # fmt: skip

    def deploy_by_hand(
        self, chain: Path, key: Path, command: list[object]
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*map(str, command), "--candidate", chain, "--key", key],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    @contextlib.contextmanager
    def running(self):
        user = "user root;" if os.getuid() == 0 else ""
        self.configuration.write_text(
            NGINX.format(folder=self.folder, served=self.served, port=self.port, user=user)
        )
        command = [PROGRAMS["nginx"], "-p", self.folder, "-c", self.configuration, "-e", "stderr"]
        with running(command, self.port, self.folder / "nginx.log"):
            yield

    def shown(self) -> bytes:
        """The certificate that a client sees, which trusts the CA and checks the name."""
        context = ssl.create_default_context(cafile=self.acme.ca)
        with (
            socket.create_connection(("127.0.0.1", self.port), PATIENCE) as plain,
            context.wrap_socket(plain, server_hostname=HOST) as tls,
        ):
            return tls.getpeercert(binary_form=True)

    def comes_to_show(self, certificate: bytes) -> bool:
        """Whether that is shown; nginx reloads in its own time."""
        return soon(lambda: self.shown() == certificate)

    def has_reloaded(self) -> bool:
        """Whether nginx has started a second worker, which has read the files anew."""
        started = re.compile(r"start worker process [0-9]+")
        log = self.folder / "error.log"
        return soon(lambda: len(started.findall(log.read_text())) == 2)


def soon(is_so: Callable[[], bool]) -> bool:
    """Whether something becomes true within a while."""
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def first_certificate(path: Path) -> bytes:
    return x509.load_pem_x509_certificates(path.read_bytes())[0].public_bytes(Encoding.DER)


@pytest.fixture
def site(acme, tmp_path):
    site = Site(acme, tmp_path)
    lineage = acme.lineage(site.name)
    without_reload = site.deploy[: site.deploy.index("--reload")]  # nginx does not run yet
    site.deploy_by_hand(lineage / "fullchain.pem", lineage / "privkey.pem", without_reload)
    with site.running():
        assert site.shown() == site.first
        yield site


def test_a_renewal_with_the_key_in_use_is_served(site):
    output = site.acme.renew(site.name, site.deploy, "--reuse-key")
    assert "error" not in output
    renewed = site.issued()
    assert renewed != site.first
    assert Pin.from_certificate(renewed) == Pin.from_certificate(site.first)
    assert site.comes_to_show(renewed)


def test_a_renewal_with_a_new_key_is_stopped_before_it_is_served(site):
    # a failing --pre-hook would not have stopped it, either
    output = site.acme.renew(site.name, site.deploy, "--pre-hook", "false")
    assert Pin.from_certificate(site.issued()) != Pin.from_certificate(site.first)
    assert "deploy-hook' reported error code 2" in output
    assert "candidate-refused" in output
    assert "not deployed: what is served from" in output
    assert "--reuse-key" in output
    assert first_certificate(site.served / "current" / "fullchain.pem") == site.first
    assert site.shown() == site.first
    # not even when nginx is told to read its files
    subprocess.run(shlex.split(str(site.deploy[-1])), check=True, timeout=60)
    assert site.has_reloaded()
    assert site.shown() == site.first


def test_a_certificate_for_the_backup_key_is_served(site):
    request = site.folder / "backup.csr"
    names = x509.SubjectAlternativeName([x509.DNSName(HOST)])
    builder = x509.CertificateSigningRequestBuilder(x509.Name([])).add_extension(names, False)
    request.write_bytes(builder.sign(site.backup.private, SHA256()).public_bytes(Encoding.PEM))
    key = site.folder / "backup.pem"
    key.write_bytes(site.backup.pem)
    fullchain = site.folder / "fullchain.pem"
    site.acme.issue(
        "--csr", request, "--fullchain-path", fullchain,
        "--cert-path", site.folder / "cert.pem", "--chain-path", site.folder / "chain.pem",
    )  # fmt: skip
    done = site.deploy_by_hand(fullchain, key, site.deploy)
    assert str(site.backup_pin) in done.stdout
    certificate = first_certificate(fullchain)
    assert Pin.from_certificate(certificate) == site.backup_pin
    assert site.comes_to_show(certificate)


def test_what_was_stopped_is_served_once_the_pins_allow_it(site):
    site.acme.renew(site.name, site.deploy)
    assert site.shown() == site.first
    renewed = site.issued()
    rule = Rule(HOST, [Pin.from_certificate(site.first), Pin.from_certificate(renewed)])
    PinSet([rule]).dump(site.folder / "pins.toml")
    done = subprocess.run(
        list(map(str, site.deploy)),
        env={**os.environ, "RENEWED_LINEAGE": str(site.acme.lineage(site.name))},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert site.comes_to_show(renewed)
