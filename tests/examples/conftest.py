"""The servers of the examples, which are no package: for the time of an import they are one."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="package")
def servers(tmp_path_factory):
    """The genuine server of the examples and its impostor."""
    sys.path.insert(0, str(EXAMPLES))
    try:
        from people_server import people_servers
    finally:
        sys.path.remove(str(EXAMPLES))
    with people_servers(tmp_path_factory.mktemp("people")) as servers:
        yield servers
