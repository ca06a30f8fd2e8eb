"""`keypin lab`: the attacks of the catalogue, listed, and played against any client."""

from __future__ import annotations

import json
import sys
from itertools import groupby
from typing import TYPE_CHECKING, Annotated

import typer

from ..lab.reports import as_json
from . import lab_run, lab_serve
from .groups import Command, help_unless_invoked, new_group
from .lab_selection import Group, Protocol, select
from .output import Page

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..lab import Scenario

__all__ = ["lab"]

EXAMPLES = """
keypin lab list
keypin lab run -- curl -sS --pinnedpubkey {curl_pins} {url}
keypin lab serve
"""
LIST_EXAMPLES = """
keypin lab list
keypin lab list --protocol smtp
keypin lab list --json
"""
JSON_VERSION = 1


def list_(
    group: Group = None,
    protocol: Protocol = None,
    json_: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
) -> None:
    """List the scenarios: what is done to a client.

    Each has its identifier, whether the client must reject or accept the server, what the
    server does, what that asks of a client beyond comparing the key of the server, and in
    brackets the standard or advisory behind it.
    """
    chosen = select(group=group, protocol=protocol)
    if json_:
        content = {"version": JSON_VERSION, "scenarios": list(map(as_json, chosen))}
        sys.stdout.write(json.dumps(content, indent=2) + "\n")
    else:
        _show(chosen)


def _show(chosen: Sequence[Scenario]) -> None:
    page = Page()
    width = max(len(scenario.identifier) for scenario in chosen) + 2
    for number, (group, members) in enumerate(groupby(chosen, lambda it: it.group)):
        if number:
            page.line()
        page.line((group, "bold"))
        for scenario in members:
            head = f"{scenario.identifier:<{width}}{scenario.expected}  "
            asks = f" It asks for {', '.join(sorted(scenario.claims))}." if scenario.claims else ""
            page.line(f"{scenario.story}{asks} [{scenario.source}]", indent=2, head=head)


# one line for each command
lab: typer.Typer = new_group(EXAMPLES)
lab.command("list", cls=Command, epilog=LIST_EXAMPLES)(list_)
lab.command("run", cls=Command, epilog=lab_run.EXAMPLES, context_settings=lab_run.SETTINGS)(
    lab_run.run
)
lab.command("serve", cls=Command, epilog=lab_serve.EXAMPLES)(lab_serve.serve)


@lab.callback(invoke_without_command=True)
def group(context: typer.Context) -> None:
    """Attack any client, and see what the attackers receive."""
    help_unless_invoked(context)
