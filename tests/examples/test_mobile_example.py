"""The skeleton for Android and iOS: its server code over TLS, its button on Toga's dummy backend.

The server and its impostor come from conftest.py.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2] / "examples" / "mobile"

# An app and its event loop are one to a process.
PRESS = """
import asyncio
from people.app import PeopleApp

async def main():
    app = PeopleApp("People", "com.example.people")
    await app.ask(app.button)
    assert app.button.enabled
    print(app.answer.value)
    app.server.close()

asyncio.run(main())
"""


@pytest.fixture
def app(servers, tmp_path):
    """The app as its README says to make one: with the address, the certificate, the authority."""
    shutil.copytree(PROJECT / "src" / "people", tmp_path / "people")
    resources = tmp_path / "people" / "resources"
    shutil.copytree(servers.certificates, resources / "certificates", dirs_exist_ok=True)
    shutil.copy(servers.cafile, resources / "authorities.pem")
    return tmp_path


def press(app, base_url):
    code = app / "people" / "server.py"
    text, found = re.subn(
        r'^BASE_URL = ".*"$', f'BASE_URL = "{base_url}"', code.read_text("utf-8"), flags=re.M
    )
    assert found == 1
    code.write_text(text, "utf-8")
    return subprocess.run(
        [sys.executable, "-c", PRESS],
        env={**os.environ, "PYTHONPATH": str(app), "TOGA_BACKEND": "toga_dummy"},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_button_shows_what_the_pinned_server_says(app, servers):
    ended = press(app, servers.base_url)
    assert ended.stdout == "Welcome. 3 people are known here.\n", ended.stderr


def test_the_button_shows_that_this_is_another_server(app, servers):
    ended = press(app, servers.impostor_url)
    assert ended.stdout.startswith("This network does not lead to our server. Nothing was sent.")
    servers.impostor.settle()
    assert servers.impostor.application_bytes == 0


def test_an_app_without_its_certificate_does_not_start(app, servers):
    (app / "people" / "resources" / "certificates" / "server.cer").unlink()
    ended = press(app, servers.base_url)
    assert ended.returncode != 0
    assert "CertificateNotFound" in ended.stderr


def test_it_requires_keypins_client_and_its_platforms_toga_only():
    settings = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))["tool"]["briefcase"]
    app = settings["app"]["people"]
    assert app["requires"] == ["keypin[client]"]
    assert app["sources"] == ["src/people"]
    for platform in ("android", "iOS"):
        for requirement in app[platform]["requires"]:
            assert requirement.startswith(("toga-", "std-nslog"))


def test_its_code_imports_nothing_else():
    code = "\n".join(path.read_text("utf-8") for path in (PROJECT / "src").rglob("*.py"))
    imported = set(re.findall(r"^(?:from|import) (\w+)", code, re.M))
    assert imported - sys.stdlib_module_names == {"keypin", "people", "toga"}
