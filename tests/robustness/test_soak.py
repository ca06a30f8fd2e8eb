"""Thousands of handshakes of every kind leave nothing behind."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest


def test_memory_files_and_objects_stay_as_they_are(benchmarks):
    """100,000 of them are in docs/robustness.md."""
    command = [sys.executable, benchmarks / "soak.py", "--handshakes", "2000", "--trace"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.stdout.endswith("\nflat\n"), done.stdout + done.stderr
    assert done.returncode == 0
    assert done.stderr == ""


LEAKS = {
    "memory": (64, "adds 64.0 bytes"),
    "objects": (1 / 100, "objects more"),
    "files": (1 / 1000, "files"),
    "guards": (1 / 1000, "guards"),
    "connections": (1 / 1000, "connections"),
}


def samples(soak, **leaks):
    """Of 100,000 handshakes, of which so many lose one of something."""
    begin = {"memory": 0, "files": 11, "guards": 0, "connections": 0, "objects": 30_000}
    return [
        soak.Sample(
            count, **{name: begin[name] + int(leaks.get(name, 0) * count) for name in begin}
        )
        for count in range(2500, 100_001, 2500)
    ]


@pytest.mark.parametrize("name", LEAKS)
def test_what_is_not_flat_is_told(name, benchmarks):
    soak = import_module("soak")
    assert list(soak.growth(samples(soak), soak.NOISE)) == []
    each, said = LEAKS[name]
    (told,) = soak.growth(samples(soak, **{name: each}), soak.NOISE)
    assert said in told


def test_what_is_only_taken_at_the_beginning_is_not_told(benchmarks):
    soak = import_module("soak")
    warm = [
        soak.Sample(count, 50_000_000 if count > 5 else 0, 11, 0, 0, 30_000) for count in range(40)
    ]
    assert list(soak.growth(warm, soak.NOISE)) == []
