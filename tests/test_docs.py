"""The examples of README.md and docs/ run as they stand, and hold what they promise.

Each Python block runs in a process of its own, with api.example.com as a server on this machine:
once with the pinned key, once with another key of the same authority.
"""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest
import typer
from scene import authority, issuing

from keypin.cli.app import app
from keypin.lab import Http, Server

ROOT = Path(__file__).parent.parent
HOST = "api.example.com"
IN_USE = "sha256/k3XnEYQCK79AtL9GYnT/nyhsabas03V+bhRQYHQbpXU="
BACKUP = "sha256/afwiKY3RxoMmLkuRW1l7QsPZTJPwDS2pdDROQjXw8ig="

SITE = """
import socket
look_up = socket.getaddrinfo
def getaddrinfo(host, port, *arguments, **more):
    if host in ("api.example.com", b"api.example.com"):
        host = "127.0.0.1"
    return look_up(host, port, *arguments, **more)
socket.getaddrinfo = getaddrinfo
"""


def blocks():
    return list(_blocks())


def _blocks():
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        if page.name == "other-tls-stacks.md":
            continue  # run by test_uncovered.py
        for number, block in enumerate(
            re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
        ):
            yield pytest.param(block, id=f"{page.name}-{number}")


@pytest.fixture(scope="module")
def credentials():
    return issuing().issue(HOST), issuing().issue(HOST), issuing().issue(HOST)


def run(block, server, credentials, folder):
    in_use, backup, _ = credentials
    certificates = folder / "www" / "certificates"
    certificates.mkdir(parents=True, exist_ok=True)
    (certificates / "myCertificate.cer").write_bytes(in_use.certificate)
    (certificates / "backup.cer").write_bytes(backup.certificate)
    (folder / "ca.pem").write_text(authority().pem)
    (folder / "pins.toml").write_text(
        f'schema = 1\nversion = 1\n[[host]]\nname = "{HOST}"\n'
        f'pins = ["{in_use.pin}", "{backup.pin}"]\n'
    )
    code = (
        block.replace(IN_USE, str(in_use.pin))
        .replace(BACKUP, str(backup.pin))
        .replace("https://api.example.com", f"https://api.example.com:{server.port}")
        .replace('"api.example.com", 443', f'"api.example.com", {server.port}')
    )
    return subprocess.run(
        [sys.executable, "-c", SITE + code],
        cwd=folder,
        env={
            "SSL_CERT_FILE": str(folder / "ca.pem"),
            "REQUESTS_CA_BUNDLE": str(folder / "ca.pem"),
            "PYTHONPATH": str(ROOT / "src"),
        },
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("block", blocks())
def test_an_example_reaches_the_pinned_server_and_no_other(block, credentials, tmp_path):
    in_use, backup, other = credentials
    talks = re.search(r"print\(", block) is not None
    for credential in (in_use, backup):
        if credential is backup and not re.search("backup|pins.toml", block):
            continue
        with Server(credential, application=Http()) as server:
            done = run(block, server, credentials, tmp_path)
            assert done.returncode == 0, done.stderr
            server.settle()
            assert (server.application_bytes > 0) == talks
    if talks:
        with Server(other, application=Http()) as server:
            done = run(block, server, credentials, tmp_path)
            assert done.returncode != 0
            assert "keypin refused api.example.com" in done.stderr
            server.settle()
            assert server.connections
            assert server.application_bytes == 0


def test_there_are_examples_for_what_the_start_promises():
    names = {block.id for block in blocks()}
    assert len([name for name in names if name.startswith("start.md")]) >= 8
    assert any(name.startswith("README.md") for name in names)


@pytest.mark.parametrize(
    "page",
    [ROOT / "README.md", ROOT / "ARCHITECTURE.md", *sorted((ROOT / "docs").rglob("*.md"))],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_links_between_the_documents_lead_somewhere(page):
    text = page.read_text("utf-8")
    for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", text):
        assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize(
    "page", sorted((ROOT / "docs" / "reference").glob("*.md")), ids=lambda page: page.stem
)
def test_the_reference_documents_a_module_whose_names_have_docstrings(page):
    """That the built pages have every public name, `make docs` checks."""
    assert f".. automodule:: {page.stem}\n" in page.read_text("utf-8")
    module = importlib.import_module(page.stem)
    exported = [getattr(module, name) for name in module.__all__]
    documented = [one for one in exported if isinstance(one, type | FunctionType)]
    assert documented
    assert not [one for one in documented if not one.__doc__]


def test_the_page_of_commands_has_the_options_and_examples_of_each(tmp_path):
    made = tmp_path / "commands.md"
    application = ROOT / "docs" / "documented_app.py"
    subprocess.run(
        [
            *(sys.executable, "-m", "typer", application),
            *("utils", "docs", "--name", "keypin", "--output", made),
        ],
        check=True,
        capture_output=True,
        timeout=60,
    )
    command: Any = typer.main.get_command(app)
    check_commands(made.read_text("utf-8"), "keypin", command)


def check_commands(text, name, command):
    """See that a page has a section on a command, with all that it takes, and on those below."""
    section = text.partition(f"# `{name}`\n")[2].partition("\n## ")[0]
    options = {
        option for parameter in command.params if not parameter.hidden for option in parameter.opts
    }
    options -= {"--install-completion", "--show-completion"}  # which Typer leaves out itself
    assert not [one for one in options if one.startswith("--") and one not in section]
    example = command.epilog.strip().splitlines()[0]
    assert f"**Examples**:\n\n```console\n$ {example}\n" in section
    for below, subcommand in getattr(command, "commands", {}).items():
        check_commands(text, f"{name} {below}", subcommand)
