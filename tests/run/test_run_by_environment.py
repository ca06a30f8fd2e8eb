"""KEYPIN_PINS alone, where keypin is installed: keypin.pth pins the process."""

from __future__ import annotations

import ast
import importlib.metadata
import shutil
import sys
from pathlib import Path

import pytest
from programs import (
    BOOTSTRAP,
    HOOK,
    PINNED,
    UNPINNED,
    Scene,
    make_environment,
    site_packages,
)

from keypin.startup import inheritance as _inheritance


@pytest.fixture
def naming(scene: Scene) -> dict[str, str]:
    """An environment that names the pin file, and no more."""
    return scene.environment | {"KEYPIN_PINS": str(scene.pins)}


@pytest.mark.parametrize("options", [[], ["-I"], ["-E"], ["-Es"]], ids=" ".join)
def test_a_program_is_pinned(scene, hooked, naming, options):
    scene.assert_pinned(scene.start(hooked, *options, scene.program, environment=naming))


def test_without_the_variable_keypin_is_not_even_imported(scene, hooked):
    code = "import sys; print(*(name in sys.modules for name in ('keypin', 'idna', 'ssl')))"
    done = scene.start(hooked, "-c", code, environment=scene.environment)
    assert (done.stdout, done.stderr) == ("False False False\n", "")
    done = scene.start(hooked, scene.program, environment=scene.environment)
    assert done.stdout == f"{UNPINNED}\n"


def test_a_relative_name_is_made_absolute_for_the_processes_below(scene, hooked):
    environment = scene.environment | {"KEYPIN_PINS": "pins.toml"}
    code = """
import os, subprocess, sys
os.chdir("/")
print(os.environ["KEYPIN_PINS"], flush=True)
subprocess.run([sys.executable, sys.argv[1]])
"""
    done = scene.start(hooked, "-c", code, scene.program, environment=environment)
    assert done.stdout == f"{scene.pins}\n{PINNED}\n", done.stderr


def test_a_process_of_an_environment_without_keypin_is_pinned(scene, hooked, bare, naming):
    code = "import subprocess, sys; subprocess.run(sys.argv[1:])"
    done = scene.start(hooked, "-c", code, bare, scene.program, environment=naming)
    scene.assert_pinned(done)


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_multiprocessing_hands_on_what_ignores_the_environment(scene, hooked, naming, method):
    scene.write("main.py", ISOLATED.format(method=method, folder=str(scene.folder)))
    scene.assert_pinned(scene.start(hooked, "-I", "main.py", environment=naming))


ISOLATED = """
import multiprocessing, sys

def show():
    sys.path.append({folder!r})
    import program
    print(program.requests(), flush=True)

if __name__ == "__main__":
    process = multiprocessing.get_context({method!r}).Process(target=show)
    process.start()
    process.join()
"""


def test_its_own_interpreter_may_ignore_the_environment_and_no_other(scene, hooked, bare, naming):
    code = """
import subprocess, sys
for command in ([sys.executable, "-I"], [sys.argv[2], "-I"], [sys.executable, "-S"]):
    try:
        subprocess.run([*command, sys.argv[1]])
    except PermissionError as error:
        print(type(error).__name__)
"""
    done = scene.start(hooked, "-uc", code, scene.program, bare, environment=naming)
    assert done.stdout.splitlines() == [PINNED, "ProcessRefused", "ProcessRefused"], done.stderr


def test_both_ways_together_pin_once(scene, hooked):
    code = "import keypin, sys; print(len(keypin.installed()), *sys.path, sep='\\n')"
    done = scene.start(hooked, "-c", code)
    count, *path = done.stdout.splitlines()
    assert count == "1"
    assert str(BOOTSTRAP) not in path
    scene.assert_pinned(scene.start(hooked, scene.program))


def test_the_hook_is_one_line_that_python_runs():
    [line] = HOOK.read_text().splitlines()
    assert line.startswith("import ")


@pytest.mark.parametrize("name", ["keypin.pth", "_keypin_start.start", "_keypin_start.py"])
def test_what_starts_the_pins_is_installed_with_keypin(name):
    """In site-packages itself, where Python looks; editable installs, too."""
    files = importlib.metadata.files("keypin")
    [hook] = [file for file in files or () if file.name == name]
    assert str(hook.parent) == "."
    assert hook.read_text() == HOOK.with_name(name).read_text()


def test_the_start_file_names_a_module_of_its_own():
    """Python goes on when what it names is broken (PEP 829), so it needs nothing of keypin."""
    assert HOOK.with_name("_keypin_start.start").read_text() == "_keypin_start:start\n"
    tree = ast.parse(HOOK.with_name("_keypin_start.py").read_text())
    imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert [ast.unparse(node) for node in imports] == ["import os"]


@pytest.mark.parametrize("by", ["keypin.pth", "_keypin_start.start"])
def test_each_of_both_starts_the_pins_where_it_counts(scene, naming, tmp_path, by):
    python = make_environment(tmp_path / "venv")
    packages = site_packages(python)
    packages.joinpath("_keypin.pth").write_text("\n".join(_inheritance._packages().split(":")))
    names = ["keypin.pth"] if by == "keypin.pth" else ["_keypin_start.start", "_keypin_start.py"]
    for name in names:
        shutil.copy(HOOK.with_name(name), packages)
    done = scene.start(python, "-I", scene.program, environment=naming)
    if by == "_keypin_start.start" and sys.version_info < (3, 15):
        assert done.stdout == f"{UNPINNED}\n"
    else:
        scene.assert_pinned(done)


@pytest.mark.parametrize("lost", ["keypin.pth", "_keypin_start.start", "_keypin_start.py"])
def test_from_3_15_on_each_stands_in_for_the_other(scene, naming, tmp_path, lost):
    python = make_environment(tmp_path / "venv")
    packages = site_packages(python)
    # alone in its folder: what is lost must not be found beside the package
    for folder in _inheritance._packages().split(":"):
        for name in ("keypin", "idna"):
            if Path(folder, name).is_dir():
                shutil.copytree(Path(folder, name), packages / name, dirs_exist_ok=True)
    for name in {"keypin.pth", "_keypin_start.start", "_keypin_start.py"} - {lost}:
        shutil.copy(HOOK.with_name(name), packages)
    done = scene.start(python, "-I", scene.program, environment=naming)
    if lost == "keypin.pth" and sys.version_info < (3, 15):  # before, only that one counts
        assert done.stdout == f"{UNPINNED}\n"
    else:
        scene.assert_pinned(done)


BROKEN = {
    "no package": "shutil.rmtree",
    "an error": "1 / 0",
    "an exit": "raise SystemExit(0)",
    "no module of it": None,
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_a_broken_keypin_ends_the_process(scene, naming, tmp_path, text):
    python = make_environment(tmp_path / "venv")
    packages = site_packages(python)
    for folder in _inheritance._packages().split(":"):
        for name in ("keypin", "idna"):
            if Path(folder, name).is_dir():
                shutil.copytree(Path(folder, name), packages / name)
    for name in ("keypin.pth", "_keypin_start.start", "_keypin_start.py"):
        shutil.copy(HOOK.with_name(name), packages)
    scene.assert_pinned(scene.start(python, "-I", scene.program, environment=naming))
    if text == "shutil.rmtree":
        shutil.rmtree(packages / "keypin")
    elif text is None:
        packages.joinpath("keypin", "_start.py").unlink()
    else:
        packages.joinpath("keypin", "__init__.py").write_text(text)
    done = scene.start(python, "-I", "-c", scene.marking, environment=naming)
    scene.assert_not_run(done, "install keypin anew")
