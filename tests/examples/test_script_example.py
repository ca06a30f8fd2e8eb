"""The script among the examples, run as its users would."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "examples" / "script" / "people.py"


def run(*arguments, **environment):
    return subprocess.run(
        [sys.executable, SCRIPT, *map(str, arguments)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def ask(servers, base_url, secret=None, certificates=None):
    from people_server import CLIENT_SECRET

    return run(
        base_url,
        "--certificates",
        certificates or servers.certificates,
        "--cafile",
        servers.cafile,
        PEOPLE_CLIENT_SECRET=secret or CLIENT_SECRET,
    )


def test_the_demonstration_shows_an_answer_and_a_refusal():
    ended = run("--demo")
    assert ended.returncode == 0, ended.stderr
    assert "Ada Lovelace, born 1815" in ended.stdout
    assert "The impostor received 0 bytes." in ended.stdout
    assert "not our server" in ended.stderr


def test_it_prints_what_the_pinned_server_answers(servers):
    ended = ask(servers, servers.base_url)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[-1] == "Alan Turing, born 1912"


def test_an_impostor_receives_nothing(servers):
    ended = ask(servers, servers.impostor_url)
    assert ended.returncode == 76
    servers.impostor.settle()
    assert servers.impostor.application_bytes == 0


def test_a_wrong_secret_is_told_and_not_shown(servers):
    ended = ask(servers, servers.base_url, secret="open sesame")
    assert ended.returncode == 1
    assert "invalid_client" in ended.stderr
    assert "sesame" not in ended.stderr


def test_a_server_that_is_away_is_told(servers):
    ended = ask(servers, "https://localhost:1/api")
    assert ended.returncode == 69, ended.stderr


def test_a_missing_certificate_is_told(servers, tmp_path):
    ended = ask(servers, servers.base_url, certificates=tmp_path)
    assert ended.returncode == 78
    assert "server.cer" in ended.stderr
