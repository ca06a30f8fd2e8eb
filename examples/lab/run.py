"""Run the attack lab against every client of `adapters.py`, and write what came of it.

python examples/lab/run.py --output docs/lab-results.md    # and lab-results.json: all of it
python examples/lab/run.py --client curl --scenario other-ca    # a part, on standard output

It ends with 1 if a client of keypin does not pass a scenario.
"""

from __future__ import annotations

import argparse
import os
import platform
import ssl
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from adapters import Adapter, adapters
from table import Column, data, page

import keypin
from keypin.lab import Case, Scenario, scenarios
from keypin.lab.assessment import Played
from keypin.lab.runner import play, unmet_needs

KEYS = ("p-256",)


def main() -> int:
    """Run the lab as the command line says."""
    arguments = parse_arguments()
    started = datetime.now(UTC)
    chosen = [it for it in scenarios(protocol="https") if it.identifier in arguments.scenario]
    if not arguments.scenario:
        chosen = scenarios(protocol="https")
    columns = []
    with tempfile.TemporaryDirectory(prefix="keypin-lab-") as folder:
        for adapter in adapters(Path(folder)):
            if arguments.client and not any(it in adapter.name for it in arguments.client):
                continue
            column = run(adapter, chosen, arguments)
            columns.append(column)
            print(f"{adapter.name}: {column.summary}", file=sys.stderr, flush=True)
    text = page(columns, chosen, started, versions())
    if arguments.output:
        arguments.output.write_text(text, "utf-8")
        everything = data(columns, chosen, started, versions())
        arguments.output.with_suffix(".json").write_text(everything, "utf-8")
    else:
        print(text)
    return int(any(column.failures for column in columns if column.is_keypin))


def run(adapter: Adapter, chosen: list[Scenario], arguments: argparse.Namespace) -> Column:
    """Play what can be played with one client."""
    if adapter.lacking:
        return Column(adapter, [], {})
    with_own = (*adapter.command, *adapter.own_certificate)
    inapplicable: dict[Scenario, list[str]] = {}
    plain: list[Case] = []
    certified: list[Case] = []
    for scenario in chosen:
        given = {"proxy"} if adapter.uses_proxy else set()
        lacking = unmet_needs(scenario, with_own, given)
        if lacking:
            inapplicable[scenario] = lacking
            continue
        own = adapter.has_own_certificate or "client_certificate" in scenario.needs
        (certified if own else plain).extend(cases(scenario, arguments))
    played: list[Played] = []
    for command, some in ((adapter.command, plain), (with_own, certified)):
        if some:
            report = play(
                some,
                command,
                jobs=arguments.jobs,
                timeout=arguments.timeout,
                unclaimed=adapter.unclaimed,
            )
            played += report.played
    return Column(adapter, played, inapplicable)


def cases(scenario: Scenario, arguments: argparse.Namespace) -> list[Case]:
    """The variants that are played: all, or those with the first kind of key that it knows."""
    found = list(scenario.cases())
    if arguments.all_keys:
        return found
    usual = [case for case in found if case.key in KEYS]
    return usual or [case for case in found if case.key == scenario.keys[0]]


def versions() -> str:
    """What the lab itself ran on."""
    python = f"CPython {platform.python_version()}"
    return f"keypin {keypin.__version__}, {python}, {ssl.OPENSSL_VERSION.partition('  ')[0]}"


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, help="where to write the page")
    parser.add_argument("--client", action="append", help="only clients with this in their name")
    parser.add_argument("--scenario", action="append", default=[], help="only this scenario")
    parser.add_argument("--all-keys", action="store_true", help="every kind of key, not only one")
    parser.add_argument("--jobs", type=int, default=2 * (os.cpu_count() or 1))
    parser.add_argument("--timeout", type=float, default=60.0, help="for one client, in seconds")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
