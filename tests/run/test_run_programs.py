"""However a Python program begins, and whatever its environment holds: it is pinned."""

from __future__ import annotations

import shutil
import sys
import zipapp
from pathlib import Path

import pytest
from programs import BOOTSTRAP, PINNED, PROGRAM, UNPINNED, interpreters


def test_without_pins_the_program_reaches_both_servers(scene, bare):
    done = scene.start(bare, scene.program, environment=scene.environment)
    assert (done.stdout, done.returncode) == (f"{UNPINNED}\n", 0), done.stderr
    assert min(scene.settled_bytes()) > 0


# Ways to begin


def script(scene, python):
    return [python, scene.program]


def module(scene, python):
    return [python, "-m", "program"]


def code(scene, python):
    return [python, "-c", PROGRAM]


def with_options(scene, python):
    return [python, "-W", "error", "-bb", "-OOPsX", "dev", scene.program]


def zip_file(scene, python):
    source = scene.folder / "source"
    source.mkdir()
    shutil.copy(scene.program, source / "__main__.py")
    zipapp.create_archive(source, scene.folder / "app.pyz", interpreter=str(python))
    return [scene.folder / "app.pyz"]


def console_script(scene, python):
    return [scene.script("bin/app", PROGRAM, str(python))]


def script_of_env(scene, python):
    return [scene.script("app", PROGRAM, f"/usr/bin/env -S {python} -u")]


def by_env(scene, python):
    return ["env", "MODE=test", python, scene.program]


def by_shell(scene, python):
    return ["sh", "-c", f"cd / && '{python}' '{scene.program}'"]


WAYS = [
    script, module, code, with_options, zip_file, console_script, script_of_env, by_env, by_shell
]  # fmt: skip


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_a_program_of_an_environment_without_keypin_is_pinned(scene, bare, way):
    scene.assert_pinned(scene.start(*way(scene, bare)))


def test_a_program_read_from_standard_input_is_pinned(scene, bare):
    scene.assert_pinned(scene.start(bare, "-", input=PROGRAM))


def test_a_program_is_pinned_by_every_python_that_keypin_supports(scene):
    supported = [python for version, python in interpreters().items() if version >= (3, 11)]
    assert supported
    for python in supported:
        scene.wrong.connections.clear()
        scene.assert_pinned(scene.start(python, scene.program))


def test_a_program_patched_by_gevent_is_pinned(scene):
    program = f"import gevent.monkey\ngevent.monkey.patch_all()\n{PROGRAM}"
    scene.assert_pinned(scene.start(sys.executable, "-c", program))


SUBINTERPRETER = """
try:
    import _interpreters as interpreters
except ImportError:  # before Python 3.13
    import _xxsubinterpreters as interpreters
code = "import program; print(program.requests(), flush=True)"
interpreters.run_string(interpreters.create(), code)
import os
os._exit(0)  # Python 3.12.1 crashes while it ends, if a subinterpreter has imported ssl
"""


def test_subinterpreters_are_pinned(scene, bare):
    scene.write("main.py", SUBINTERPRETER)
    environment = scene.pinning
    environment["PYTHONPATH"] += f":{scene.folder}"
    done = scene.start(bare, "-W", "ignore", "main.py", environment=environment)
    scene.assert_pinned(done)


# What the program sees


def test_only_keypin_and_idna_are_lent_to_the_program(scene, bare):
    code = """
import sys, keypin, idna
for name in ("pytest", "typer", "rich", "cryptography"):
    try:
        __import__(name)
    except ImportError as error:
        assert error.name == name
        print(name)
print(*sys.path, sep="\\n")
"""
    lent = scene.start(bare, "-c", code).stdout.splitlines()
    assert lent[:4] == ["pytest", "typer", "rich", "cryptography"]
    own = "import sys; print(*sys.path, sep='\\n')"
    alone = scene.start(bare, "-c", own, environment=scene.environment)
    assert lent[4:] == alone.stdout.splitlines()
    assert len(lent) > 6


def test_the_programs_own_keypin_and_idna_win(scene, bare):
    shutil.copytree(BOOTSTRAP.parent, scene.folder / "own" / "keypin")
    scene.write("own/idna/__init__.py", "")
    environment = scene.pinning
    environment["PYTHONPATH"] += f":{scene.folder / 'own'}"
    code = f"{PROGRAM}\nimport keypin, idna; print(keypin.__file__, idna.__file__, sep='\\n')"
    done = scene.start(bare, "-c", code, environment=environment)
    result, *files = done.stdout.splitlines()
    assert result == PINNED
    assert [Path(file).parents[1] for file in files] == [scene.folder / "own"] * 2


def test_a_folder_called_keypin_is_not_taken_for_keypin(scene, bare):
    (scene.folder / "projects" / "keypin" / "docs").mkdir(parents=True)
    environment = scene.pinning
    environment["PYTHONPATH"] += f":{scene.folder / 'projects'}"
    scene.assert_pinned(scene.start(bare, scene.program, environment=environment))


# Its own sitecustomize


def customised(scene, python, text, pinned):
    """Start a program with this as its sitecustomize, with pins and without."""
    scene.write("custom/sitecustomize.py", text)
    environment = scene.pinning if pinned else scene.environment | {"PYTHONPATH": ""}
    folders = [*environment["PYTHONPATH"].split(":"), str(scene.folder / "custom")]
    environment["PYTHONPATH"] = ":".join(filter(None, folders))
    program = (
        "import sys; own = sys.modules.get('sitecustomize');"
        " print(own and (own.__file__, own.__name__, own.__spec__.origin), getattr(own, 'ran', 0))"
    )
    return scene.start(python, "-c", program, environment=environment)


def test_an_existing_sitecustomize_runs_as_it_would_have(scene, bare):
    text = "import sys, sitecustomize\nran = sitecustomize.__name__, *sys.path[1:]\n"
    with_pins, without = (customised(scene, bare, text, pinned) for pinned in (True, False))
    assert with_pins.stdout == without.stdout
    assert str(scene.folder / "custom" / "sitecustomize.py") in with_pins.stdout
    assert (with_pins.returncode, with_pins.stderr) == (0, "")


@pytest.mark.parametrize(
    "text", ["1 / 0", "import nothing_of_the_kind", "raise ImportError('no')", "syntax error"]
)
def test_an_error_in_an_existing_sitecustomize_is_told_as_before(scene, bare, text):
    with_pins, without = (customised(scene, bare, text, pinned) for pinned in (True, False))
    assert with_pins.stderr == without.stderr != ""
    assert (with_pins.stdout, with_pins.returncode) == (without.stdout, without.returncode)


def test_an_existing_sitecustomize_that_ends_the_process_still_does(scene, bare):
    text = "raise SystemExit(3)"
    with_pins, without = (customised(scene, bare, text, pinned) for pinned in (True, False))
    assert with_pins.returncode == without.returncode != 0
    assert with_pins.stdout == without.stdout == ""


def test_an_existing_sitecustomize_makes_its_connections_with_pins(scene, bare):
    environment = scene.pinning
    scene.write("custom/sitecustomize.py", PROGRAM + "\nprint(requests())")
    environment["PYTHONPATH"] += f":{scene.folder / 'custom'}"
    scene.assert_pinned(scene.start(bare, "-c", "", environment=environment))


def test_without_a_sitecustomize_there_is_none(scene, bare):
    code = "import sys; print('sitecustomize' in sys.modules)"
    done = scene.start(bare, "-c", code)
    assert (done.stdout, done.stderr, done.returncode) == ("False\n", "", 0)


def test_usercustomize_runs_as_before(scene):
    scene.write("custom/usercustomize.py", "print('usercustomize')")
    environment = scene.pinning
    environment["PYTHONPATH"] += f":{scene.folder / 'custom'}"
    done = scene.start(sys._base_executable, "-c", "print('program')", environment=environment)
    assert done.stdout == "usercustomize\nprogram\n", done.stderr


def test_several_keypins_around_one_another_pin_once(scene, bare):
    """The folder of another installation behind ours, as by `keypin run keypin run`."""
    shutil.copytree(BOOTSTRAP.parent, scene.folder / "other" / "keypin")
    environment = scene.pinning
    environment["PYTHONPATH"] += f":{scene.folder / 'other' / 'keypin' / '_bootstrap'}"
    code = "import sys, keypin; print(len(keypin.installed()), *sys.path, sep='\\n')"
    done = scene.start(bare, "-c", code, environment=environment)
    count, *path = done.stdout.splitlines()
    assert count == "1"
    assert not [entry for entry in path if "_bootstrap" in entry]


def test_starting_with_pins_is_silent(scene, bare):
    done = scene.start(bare, "-W", "error", "-X", "dev", "-c", "")
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)
