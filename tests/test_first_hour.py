"""README.md, docs/start.md and the start pages as a newcomer walks them: in an empty folder.

Commands and code run word for word, one after the other, with api.example.com as a server on this
machine. Then an attacker takes its place.
"""

from __future__ import annotations

import os
import pty
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from scene import authority, issuing

from keypin.lab import Http, Server

ROOT = Path(__file__).parent.parent
HOST = "api.example.com"
IN_USE = "sha256/k3XnEYQCK79AtL9GYnT/nyhsabas03V+bhRQYHQbpXU="
BACKUP = "sha256/afwiKY3RxoMmLkuRW1l7QsPZTJPwDS2pdDROQjXw8ig="
YOURS = ("pip ", "make ", "keypin lab run -- ./client ")
PAGES = sorted((ROOT / "docs" / "start").glob("*.md"))
LIBRARIES = ["aiohttp", "asyncio", "httpx", "httpx2", "requests", "ssl", "urllib3"]
BLOCK = re.compile(r"^```(console|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)
SITE = """
import socket
look_up = socket.getaddrinfo
def getaddrinfo(host, port, *arguments, **more):
    if host in ("api.example.com", b"api.example.com"):
        host = "127.0.0.1"
    return look_up(host, port, *arguments, **more)
socket.getaddrinfo = getaddrinfo
"""
MODE = 'mode = "report"\n'


@pytest.fixture(scope="module")
def credentials():
    return issuing().issue(HOST), issuing().issue(HOST)


class Newcomer:
    """An empty folder, and a terminal."""

    def __init__(self, folder: Path, outside: Path) -> None:
        self.folder = folder
        outside.joinpath("ca.pem").write_text(authority().pem)
        site = outside / "site"
        site.mkdir()
        site.joinpath("sitecustomize.py").write_text(SITE)
        bin_folder = outside / "bin"
        bin_folder.mkdir()
        for name, module in (("python", ""), ("keypin", " -m keypin")):
            command = bin_folder / name
            command.write_text(f'#!/bin/sh\nexec "{sys.executable}"{module} "$@"\n')
            command.chmod(0o755)
        self.environment = {
            "PATH": f"{bin_folder}{os.pathsep}{os.defpath}",
            "HOME": str(outside),
            "PYTHONPATH": str(site),
            "SSL_CERT_FILE": str(outside / "ca.pem"),
            "REQUESTS_CA_BUNDLE": str(outside / "ca.pem"),
            "KEYPIN_PASSPHRASE": "correct horse battery staple",
        }

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command, whose question is answered with yes."""
        terminal, slave = pty.openpty()
        os.write(terminal, b"y\n")
        try:
            return subprocess.run(
                command,
                cwd=self.folder,
                env=self.environment,
                stdin=slave,
                capture_output=True,
                text=True,
                timeout=60,
            )
        finally:
            os.close(terminal)
            os.close(slave)


@pytest.fixture
def newcomer(tmp_path_factory):
    return Newcomer(tmp_path_factory.mktemp("empty"), tmp_path_factory.mktemp("outside"))


def located(text: str, port: int) -> str:
    """A command or code, with the port of the server on this machine."""
    text = text.replace(f'"{HOST}", 443', f'"{HOST}", {port}')
    return re.sub(rf"(https://|(?<= )){HOST}(?=[/ \n\"]|$)", rf"\g<1>{HOST}:{port}", text)


def walk(newcomer, text, port):
    """Do what a page says; give its Python."""
    codes = []
    for kind, content in BLOCK.findall(text):
        if kind == "python":
            codes.append(content)
            newcomer.folder.joinpath("app.py").write_text(located(content, port))
            continue
        for line in content.splitlines():
            command = line.removeprefix("$ ").partition("  #")[0]
            if not line.startswith("$ ") or command.startswith(YOURS):
                continue
            done = newcomer.run(*shlex.split(located(command, port)))
            assert done.returncode == 0, (command, done.stdout, done.stderr)
    return codes


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_start_page_leads_to_a_pinned_program(page, newcomer, credentials):
    right, wrong = credentials
    with Server(right, application=Http()) as server:
        codes = walk(newcomer, page.read_text("utf-8"), server.port)
        server.settle()
        assert server.application_bytes > 0
    pins = newcomer.folder / "pins.toml"
    text = pins.read_text()
    assert MODE in text
    with Server(wrong, application=Http()) as attacker:
        done = newcomer.run("python", "-c", located(codes[0], attacker.port))
        assert (done.returncode, HOST in done.stderr) == (0, True), done.stderr
        assert str(wrong.pin) in done.stderr
    pins.write_text(text.replace(MODE, ""))
    for code in codes:
        with Server(right, application=Http()) as again:
            assert newcomer.run("python", "-c", located(code, again.port)).returncode == 0
            again.settle()
            assert again.application_bytes > 0
        with Server(wrong, application=Http()) as attacker:
            done = newcomer.run("python", "-c", located(code, attacker.port))
            assert done.returncode != 0
            assert f"keypin refused {HOST}" in done.stderr
            # the log tells of it, too
            told = [line for line in done.stderr.splitlines() if line.startswith("not sent: ")]
            assert bool(told) is ("not sent: " in code)
            attacker.settle()
            assert attacker.connections
            assert attacker.application_bytes == 0


@pytest.mark.parametrize("name", ["README.md", "docs/start.md"])
def test_a_page_needs_no_file_that_it_has_not_made(name, newcomer, credentials):
    """Its code runs in the folder that its commands have made of an empty one."""
    text = ROOT.joinpath(name).read_text("utf-8")
    for example, credential in ((IN_USE, credentials[0]), (BACKUP, credentials[1])):
        text = text.replace(example, str(credential.pin))
    with Server(credentials[0], application=Http()) as server:
        for code in walk(newcomer, text, server.port):
            done = newcomer.run("python", "-c", located(code, server.port))
            assert done.returncode == 0, (code, done.stderr)
        server.settle()
        assert server.application_bytes > 0


def test_each_library_has_its_page():
    assert [page.stem for page in PAGES] == LIBRARIES
    start = (ROOT / "docs" / "start.md").read_text("utf-8")
    for library in LIBRARIES:
        assert f"(start/{library}.md)" in start
