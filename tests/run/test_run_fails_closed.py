"""Where a process cannot be pinned, it ends before its program begins, and says why."""

from __future__ import annotations

import ast

import pytest
from programs import BOOTSTRAP, Scene, interpreters

BAD_FILES = {
    "missing": (None, "No such file"),
    "empty": ("", "schema"),
    "not TOML": ("[[[", "line 1"),
    "a bad pin": ("schema = 1\nversion = 1\n[[host]]\nname = 'a.example'\npins = ['x']", "line"),
}


def spoil(scene: Scene, text: str | None) -> None:
    if text is None:
        scene.pins.unlink()
    else:
        scene.pins.write_text(text)


@pytest.mark.parametrize(("text", "said"), BAD_FILES.values(), ids=BAD_FILES)
def test_with_a_bad_pin_file(scene, bare, text, said):
    spoil(scene, text)
    done = scene.start(bare, "-c", scene.marking)
    scene.assert_not_run(done, said, str(scene.pins), "KEYPIN_PINS")


@pytest.mark.parametrize(("text", "said"), BAD_FILES.values(), ids=BAD_FILES)
def test_with_a_bad_pin_file_where_keypin_is_installed(scene, hooked, text, said):
    spoil(scene, text)
    environment = scene.environment | {"KEYPIN_PINS": str(scene.pins)}
    done = scene.start(hooked, "-c", scene.marking, environment=environment)
    scene.assert_not_run(done, said, str(scene.pins), "KEYPIN_PINS")


@pytest.mark.parametrize("name", [None, "", "."])
def test_without_the_name_of_a_pin_file(scene, bare, hooked, name):
    environment = scene.pinning
    if name is None:
        del environment["KEYPIN_PINS"]
    else:
        environment["KEYPIN_PINS"] = name
    done = scene.start(bare, "-c", scene.marking, environment=environment)
    scene.assert_not_run(done, "KEYPIN_PINS")
    if name is not None:
        environment = scene.environment | {"KEYPIN_PINS": name}
        done = scene.start(hooked, "-c", scene.marking, environment=environment)
        scene.assert_not_run(done, "KEYPIN_PINS")


def test_with_a_pin_file_spoilt_between_a_process_and_the_next(scene, bare):
    code = f"""
import subprocess, sys
open({str(scene.pins)!r}, "w").write("spoilt")
print(subprocess.run([sys.executable, "-c", {scene.marking!r}]).returncode)
"""
    done = scene.start(bare, "-c", code)
    assert done.stdout == "78\n"
    assert "pins.toml" in done.stderr
    assert not scene.mark.exists()


@pytest.mark.parametrize("folders", [None, "", "/nowhere"])
def test_without_keypin(scene, bare, folders):
    environment = scene.pinning
    if folders is None:
        del environment["KEYPIN_PACKAGES"]
    else:
        environment["KEYPIN_PACKAGES"] = folders
    done = scene.start(bare, "-c", scene.marking, environment=environment)
    scene.assert_not_run(done, "KEYPIN_PACKAGES", str(bare))


OWN_KEYPINS = {
    "too old": "__version__ = '0.0.1'",
    "broken": "1 / 0",
    "one that leaves": "raise SystemExit(0)",
    "one that is interrupted": "raise KeyboardInterrupt",
}


@pytest.mark.parametrize("text", OWN_KEYPINS.values(), ids=OWN_KEYPINS)
def test_with_a_keypin_of_its_own_that_cannot(scene, bare, text):
    file = scene.write("own/keypin/__init__.py", text)
    environment = scene.pinning
    environment["PYTHONPATH"] += f":{scene.folder / 'own'}"
    done = scene.start(bare, "-c", scene.marking, environment=environment)
    scene.assert_not_run(done, "why: ")
    if "version" in text:
        assert str(file) in done.stderr


@pytest.mark.parametrize("text", OWN_KEYPINS.values(), ids=OWN_KEYPINS)
def test_where_an_installed_keypin_cannot(scene, hooked, text):
    scene.write("own/keypin/__init__.py", text)
    environment = scene.environment | {"PYTHONPATH": "own", "KEYPIN_PINS": str(scene.pins)}
    done = scene.start(hooked, "-c", scene.marking, environment=environment)
    scene.assert_not_run(done, "install keypin anew")


@pytest.mark.parametrize("kind", ["bare", "hooked"])
def test_where_nothing_can_be_said(scene, request, kind):
    """Without a standard error, writing the reason is an error of its own."""
    scene.pins.unlink()
    python = request.getfixturevalue(kind)
    environment = scene.pinning
    if kind == "hooked":
        environment["PYTHONPATH"] = ""
    command = f"'{python}' -c \"$1\" 2>&-"
    done = scene.start("sh", "-c", command, "sh", scene.marking, environment=environment)
    assert (done.returncode, done.stdout, done.stderr) == (78, "", "")
    assert not scene.mark.exists()


def test_in_a_multiprocessing_child(scene, bare):
    text = f"""
import multiprocessing

def mark():
    {scene.marking}

if __name__ == "__main__":
    open({str(scene.pins)!r}, "w").write("spoilt")
    process = multiprocessing.get_context("spawn").Process(target=mark)
    process.start()
    process.join()
    print(process.exitcode)
"""
    scene.write("main.py", text)
    done = scene.start(bare, "main.py")
    assert "\n".join(done.stdout.splitlines()) == "78", done.stderr
    assert not scene.mark.exists()


# Old interpreters


def test_every_python_understands_what_it_runs_first():
    text = BOOTSTRAP.joinpath("sitecustomize.py").read_text()
    ast.parse(text, feature_version=(3, 4))
    assert "f'" not in text
    assert 'f"' not in text


def test_on_a_python_that_is_too_old(scene):
    old = [python for version, python in interpreters().items() if version < (3, 11)]
    for python in old:
        environment = scene.pinning | {"PYTHONDONTWRITEBYTECODE": "1"}
        done = scene.start(python, "-c", scene.marking, environment=environment)
        scene.assert_not_run(done, "needs CPython 3.11 or later", str(python))


def test_on_a_python_that_says_it_is_too_old(scene, bare):
    """What the test above does, where no such interpreter is at hand."""
    code = f"""
import runpy, sys
sys.version_info = (3, 10, 13, "final", 0)
runpy.run_path({str(BOOTSTRAP / "sitecustomize.py")!r}, run_name="sitecustomize")
{scene.marking}
"""
    done = scene.start(bare, "-c", code, environment=scene.environment)
    scene.assert_not_run(done, "needs CPython 3.11 or later", str(bare))


def test_the_folder_that_is_put_on_the_path_holds_nothing_else():
    names = {path.name for path in BOOTSTRAP.iterdir()} - {"__pycache__"}
    assert names == {"sitecustomize.py"}


def test_the_exit_code_is_the_documented_one():
    from keypin import _start
    from keypin.cli import ExitCode

    assert ExitCode.NOT_PINNED == _start.NOT_PINNED == 78
