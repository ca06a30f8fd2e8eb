"""docs/clients.md tells of every client in the matrix, and of those that are not covered."""

from __future__ import annotations

import re
from pathlib import Path

from keypin.enforcement.uncovered import UNCOVERED

from .clients import all_clients

PAGE = Path(__file__).parent.parent.parent / "docs" / "clients.md"
AGAIN = "run python docs/make_clients.py again"


def rows(heading: str) -> list[str]:
    """The first cells of the table under a heading."""
    section = PAGE.read_text("utf-8").partition(f"{heading}\n")[2].partition("\n## ")[0]
    cells = re.findall(r"^\| (.*?) \|", section, re.MULTILINE)
    return cells[2:]  # below the head


def test_no_two_clients_have_one_name():
    names = [client.name for client in all_clients()]
    assert sorted(names) == sorted(set(names))


def test_every_client_of_the_matrix_has_its_row():
    names = sorted((client.name for client in all_clients()), key=str.lower)
    assert rows("# Clients") == names, AGAIN


def test_every_client_in_the_table_is_covered():
    table = PAGE.read_text("utf-8").partition("\n## ")[0]
    rows = [line.split(" | ") for line in table.splitlines() if line.startswith("| ")][2:]
    assert {row[2] for row in rows} == {"yes"}, AGAIN


def test_every_uncovered_library_has_its_row():
    assert rows("## Not covered") == [library.name for library in UNCOVERED], AGAIN
