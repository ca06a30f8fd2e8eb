"""The documents about the attack lab say what the program says."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from keypin.cli.lab_run import HARMFUL
from keypin.lab import scenarios
from keypin.lab.presets import PRESETS
from keypin.lab.runner import unmet_needs
from keypin.lab.stage import PLACES

DOCS = Path(__file__).parents[2] / "docs"
LAB = DOCS.joinpath("attack-lab.md").read_text("utf-8")
COMMANDS = DOCS.joinpath("command-line.md").read_text("utf-8")
EXAMPLE = re.compile(r"^```\n\$ (keypin lab run .*)\n((?:(?!```).*\n)+)^```", re.MULTILINE)


def examples():
    return [pytest.param(*found.groups(), id=f"{name}-{number}")
            for name, text in (("attack-lab", LAB), ("command-line", COMMANDS))
            for number, found in enumerate(EXAMPLE.finditer(text))]  # fmt: skip


def test_there_are_examples():
    assert len(examples()) == 2


@pytest.mark.parametrize(("command", "output"), examples())
def test_an_example_comes_out_as_it_stands_there(keypin, command, output):
    if shutil.which("curl") is None:
        pytest.skip("needs curl (make system-deps)")
    version = subprocess.run(["curl", "--version"], capture_output=True, text=True, check=True)
    if "OpenSSL/3" not in version.stdout:
        pytest.skip("the examples are of a curl with OpenSSL 3")
    _, *words = shlex.split(command)
    assert keypin(*words).text == output


def test_the_numbers_of_scenarios_and_cases():
    said = re.search(
        r"all that is for https: (\d+) scenarios in (\d+) cases,.* put to (\d+)\.", LAB
    )
    everything = scenarios(protocol="https")
    cases = [case for scenario in everything for case in scenario.cases()]
    possible = [case for case in cases if not unmet_needs(case.scenario, ["{url}"])]
    assert [int(it) for it in said.groups()] == [len(everything), len(cases), len(possible)]


def test_places_words_and_clients_are_all_there():
    for place in PLACES:
        assert f"`{{{place}}}`" in LAB
    for harm, word in HARMFUL.items():
        assert f"| `{word}` |" in LAB
        assert f"`{harm}`" in COMMANDS
    listed = ", ".join(f"`{name}`" for name in PRESETS)
    assert listed in LAB
    assert listed in COMMANDS
