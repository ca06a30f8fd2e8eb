"""An ACME server (pebble), its client (certbot), and a site: nginx serves what was deployed."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import socket
import ssl
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from real_servers import nginx
from real_servers.frontends import Frontend, PlacedFrontend, Shown
from real_servers.programs import PATIENCE, find, free_port, free_ports, process, soon

from keypin.lab import Authority

PROGRAMS = {name: find(name) for name in ("pebble", "certbot", "nginx")}
MISSING = [name for name, path in PROGRAMS.items() if path is None]
needs_acme = pytest.mark.skipif(
    bool(MISSING), reason=f"needs {', '.join(MISSING)} (make system-deps)"
)

HOST = "api.example.com"


class Acme(NamedTuple):
    """A running ACME server, and a folder for certbot."""

    directory: str
    management: str
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
        """Have a certificate issued."""
        done = self.certbot(
            "certonly", *arguments, "--standalone", "--http-01-port", free_port(),
            "--agree-tos", "--register-unsafely-without-email",
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr

    def issue_for_request(self, request: Path, folder: Path) -> Path:
        """Have a certificate issued for a certificate request; return the file of its chain."""
        fullchain = folder / "fullchain.pem"
        self.issue(
            "--csr", request, "--fullchain-path", fullchain,
            "--cert-path", folder / "cert.pem", "--chain-path", folder / "chain.pem",
        )  # fmt: skip
        return fullchain

    def renew(self, name: str, hook: list[object], *arguments: object) -> str:
        """Renew, and return what certbot wrote of its hooks."""
        done = self.certbot(
            "renew", "--cert-name", name, "--force-renewal", "--no-random-sleep-on-renew",
            "--deploy-hook", shlex.join(map(str, hook)), *arguments,
        )  # fmt: skip
        return done.stdout + done.stderr

    def lineage(self, name: str) -> Path:
        """Where certbot has the newest files of a certificate."""
        return self.folder / "config" / "live" / name

    def manage(self, path: str) -> bytes:
        """Ask what pebble tells to those who test with it: its keys, what it revoked."""
        return _get(f"{self.management}/{path}", self.own_ca)


@contextlib.contextmanager
def running_acme(folder: Path):
    """Run pebble until the block ends; it takes every host name for proved."""
    authority = Authority("CA of the ACME server itself")
    own = authority.issue("localhost", "127.0.0.1").write(folder / "own")
    own_ca = folder / "own-ca.pem"
    own_ca.write_text(authority.pem)
    port, management = free_ports(2)
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
        "PEBBLE_AUTHZREUSE": "100",
        "PEBBLE_VA_ALWAYS_VALID": "1",
        "PEBBLE_VA_NOSLEEP": "1",
        "PEBBLE_WFE_NONCEREJECT": "0",
    }
    command = [PROGRAMS["pebble"], "-config", configuration]
    with process(command, [port, management], folder / "pebble.log", environment=patient):
        ca = folder / "issuing-ca.pem"
        acme = Acme(
            f"https://127.0.0.1:{port}/dir",
            f"https://127.0.0.1:{management}",
            own_ca,
            ca,
            folder,
        )
        ca.write_bytes(acme.manage("roots/0"))
        yield acme


class Site:
    """A site, its certificate, and nginx, which serves what was deployed."""

    def __init__(self, acme: Acme, folder: Path) -> None:
        self.acme = acme
        self.name = folder.name
        self.folder = folder
        self.served = folder / "served"
        self.port = free_port()
        self.pins = folder / "pins.toml"
        self.requests = folder / "requests.log"
        self._configuration = folder / "nginx.conf"

    @property
    def lineage(self) -> Path:
        """Where certbot has the newest files."""
        return self.acme.lineage(self.name)

    def issue(self) -> None:
        """Have the first certificate issued."""
        self.acme.issue("-d", HOST, "--cert-name", self.name, "--key-type", "ecdsa")

    def issued(self) -> bytes:
        """The certificate that certbot has now."""
        return first_certificate(self.lineage / "fullchain.pem")

    @property
    def deploy_unseen(self) -> list[object]:
        """The command, without what it deploys, while nginx does not run."""
        return [
            sys.executable, "-W", "error", "-m", "keypin", "deploy",
            "--to", self.served, "--pins", self.pins, "--cafile", self.acme.ca,
        ]  # fmt: skip

    @property
    def deploy(self) -> list[object]:
        """The command, without what it deploys."""
        reload = [
            *nginx.command(self._configuration)[:-1],
            self.folder / "error.log",
            "-s",
            "reload",
        ]
        return [*self.deploy_unseen, "--reload", shlex.join(map(str, reload))]

    def deploy_by_hand(
        self, chain: Path, key: Path, command: list[object]
    ) -> subprocess.CompletedProcess[str]:
        """Deploy what certbot does not renew."""
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
        """Run nginx until the block ends."""
        current = self.served / "current"
        shown = Shown(current / "fullchain.pem", current / "privkey.pem", current)
        frontend = Frontend("1.3", {})
        placed = PlacedFrontend("it", self.port, frontend, {HOST: [shown]}, None, None)
        self._configuration.write_text(
            nginx.configuration([placed], self.folder, self.requests, None)
        )
        said = self.folder / "nginx.log"
        with process(nginx.command(self._configuration), [self.port], said):
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


def first_certificate(path: Path) -> bytes:
    """The first certificate of a file, in DER."""
    return x509.load_pem_x509_certificates(path.read_bytes())[0].public_bytes(Encoding.DER)


def _get(url: str, cafile: Path) -> bytes:
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}),
        urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=cafile)),
    )
    with opener.open(url, timeout=PATIENCE) as answer:
        return answer.read()
