"""keypin demo keeps what it promises, and would say so if it did not."""

from __future__ import annotations

import subprocess
import sys

import pytest

from keypin import Verdict
from keypin.cli import ExitCode, main


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_every_step_comes_out_as_promised(version):
    done = subprocess.run(
        [sys.executable, "-m", "keypin", "demo", "--tls", version],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("promise  kept") == 9
    assert "BROKEN" not in done.stdout
    assert "\x1b" not in done.stdout
    assert done.stderr == ""


def test_a_guard_that_lets_everything_pass_is_found_out(monkeypatch, capsys):
    """The demo judges by what the servers received, not by what the client says."""
    monkeypatch.setattr(Verdict, "accepted", property(lambda self: True))
    assert main(["demo"]) == ExitCode.DEMO_FAILED
    told = capsys.readouterr()
    assert told.out.count("promise  BROKEN") == 5
    assert "5 of 9 steps" in told.err
