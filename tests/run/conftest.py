"""A right and a wrong server, and virtual environments without keypin and with it."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest
from programs import HOOK, PROGRAM, Scene, make_environment, site_packages
from scene import HOST, authority, pinned, pins_for, unpinned

from keypin.lab import Http, Server
from keypin.startup import inheritance as _inheritance

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def right() -> Iterator[Server]:
    with Server(pinned(), application=Http(b"right")) as server:
        yield server


@pytest.fixture(scope="session")
def wrong() -> Iterator[Server]:
    with Server(unpinned(), application=Http(b"wrong")) as server:
        yield server


@pytest.fixture
def scene(tmp_path: Path, right: Server, wrong: Server) -> Scene:
    right.settle()
    wrong.settle()
    right.connections.clear()
    wrong.connections.clear()
    tmp_path.joinpath("ca.pem").write_text(authority().pem)
    tmp_path.joinpath("program.py").write_text(PROGRAM)
    pins_for(pinned()).dump(tmp_path / "pins.toml")
    ours = {"KEYPIN_PINS", "KEYPIN_PACKAGES", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    environment |= {
        "SSL_CERT_FILE": str(tmp_path / "ca.pem"),
        "RIGHT": right.url_for(HOST),
        "WRONG": wrong.url_for(HOST),
    }
    return Scene(tmp_path, right, wrong, environment)


@pytest.fixture(scope="session")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a virtual environment that has no keypin; nobody changes it."""
    return make_environment(tmp_path_factory.mktemp("bare") / "venv")


@pytest.fixture(scope="session")
def hooked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of one that keypin is installed in, with its hook."""
    python = make_environment(tmp_path_factory.mktemp("hooked") / "venv")
    folders = _inheritance._packages().split(os.pathsep)
    # as an editable install names its file
    site_packages(python).joinpath("_keypin.pth").write_text("\n".join(folders))
    for name in ("keypin.pth", "_keypin_start.start", "_keypin_start.py"):
        shutil.copy(HOOK.with_name(name), site_packages(python))
    return python
