"""The package itself: what importing it costs others, how its layers stack, what it is built as."""

import ast
import importlib.metadata
import importlib.resources
import json
import os
import pydoc
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import keypin

PACKAGE = Path(keypin.__file__).parent
ROOT = Path(__file__).parent.parent
EXTRAS = {
    "adapters": "requests",
    "client": "httpx2",
    "lab": "cryptography",
    "testing": "cryptography",
    "editing": "cryptography",
    "cli": "typer",
}
CORE = [
    path
    for folder in (".", "_internal", "enforcement", "pinfile", "startup")
    for path in sorted(PACKAGE.joinpath(folder).glob("*.py"))
    if path.stem not in {*EXTRAS, "__main__"}
]
# These decide, and only decide; asyncio, ssl and the rest belong to the modules that ask them.
PURE = ["_internal/der", "hostnames", "pin", "pinset"]
OUTSIDE_WORLD = {"asyncio", "io", "logging", "os", "pathlib", "socket", "ssl", "subprocess"}


def run_isolated(code: str) -> str:
    """Run code in a new interpreter that sees only what is installed; return what it prints."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_time_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Walk a module without what only a type checker sees."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            continue
        yield node
        yield from run_time_nodes(node)


def imported(path: Path) -> set[str]:
    """Return the absolute names of the modules, and names in them, that a core file imports."""
    names: set[str] = set()
    for node in run_time_nodes(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = ["keypin", *path.relative_to(PACKAGE).parent.parts]
            assert node.level <= len(package), f"{path.name} reaches out of the package"
            above = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join(filter(None, [*above, node.module]))
            names.update({module, *(f"{module}.{alias.name}" for alias in node.names)})
    return names


def test_importing_keypin_loads_no_third_party_module_but_idna() -> None:
    loaded = run_isolated(
        "import json, sys\n"
        "before = set(sys.modules)\n"
        "import keypin\n"
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    packages = {name.partition(".")[0] for name in json.loads(loaded)}
    assert "keypin" in packages
    assert packages - sys.stdlib_module_names <= {"keypin", "idna"}


@pytest.mark.parametrize("path", CORE, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_the_core_depends_on_the_standard_library_and_idna_only(path: Path) -> None:
    packages = {name.partition(".")[0] for name in imported(path)}
    assert packages - sys.stdlib_module_names <= {"keypin", "idna"}


@pytest.mark.parametrize("path", CORE, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_the_core_imports_no_extra(path: Path) -> None:
    subpackages = {folder.parent.name for folder in PACKAGE.glob("*/__init__.py")}
    own = {path.parent.name for path in CORE}
    extras = {f"keypin.{name}" for name in (subpackages - own) | set(EXTRAS)}
    assert not {".".join(name.split(".")[:2]) for name in imported(path)} & extras


@pytest.mark.parametrize("module", PURE)
def test_a_module_that_decides_does_no_input_or_output(module: str) -> None:
    packages = {name.partition(".")[0] for name in imported(PACKAGE / f"{module}.py")}
    assert not packages & OUTSIDE_WORLD


def test_importing_keypin_leaves_what_reads_pin_files_for_later() -> None:
    loaded = run_isolated(
        "import sys; before = set(sys.modules); import keypin; print(*(set(sys.modules) - before))"
    ).split()
    assert "keypin" in loaded
    assert not {"keypin.pinfile", "tomllib", "datetime"} & set(loaded)


@pytest.mark.parametrize("extra", EXTRAS)
def test_an_extra_that_is_missing_says_which_to_install(extra: str) -> None:
    said = run_isolated(
        "import sys\n"
        f"sys.modules[{EXTRAS[extra]!r}] = None\n"
        "try:\n"
        f"    import keypin.{extra}\n"
        "except ImportError as error:\n"
        "    print(error)"
    )
    assert f"keypin[{'cli' if extra == 'editing' else extra}]" in said


def test_the_version_is_the_one_that_was_installed() -> None:
    assert keypin.__version__ == importlib.metadata.version("keypin")


def test_the_package_says_that_it_is_typed() -> None:
    assert importlib.resources.files("keypin").joinpath("py.typed").is_file()


def test_the_command_is_installed() -> None:
    (command,) = importlib.metadata.entry_points(group="console_scripts", name="keypin")
    assert callable(command.load())


def run_tests(
    folder: Path, tests: dict[str, str], *options: str, no_skips: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run files of tests, beside one that passes, under this suite's conftest.py."""
    conftest = Path(__file__).with_name("conftest.py").read_text(encoding="utf-8")
    folder.joinpath("conftest.py").write_text(conftest, encoding="utf-8")
    folder.joinpath("pytest.ini").write_text("[pytest]\nmarkers = alone\n", encoding="utf-8")
    for name, test in {**tests, "last": "def test_last():\n    pass"}.items():
        text = f"import pytest\n\n{test}\n"
        folder.joinpath(f"test_{name}.py").write_text(text, encoding="utf-8")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-ra", "-p", "xdist", "--rootdir", folder, *options],
        cwd=folder,
        env={**os.environ, "KEYPIN_NO_SKIPS": no_skips, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )


SKIPPING_TESTS = {
    "marked": '@pytest.mark.skip(reason="no nginx")\ndef test_one():\n    pass',
    "called": 'def test_one():\n    pytest.skip("no haproxy")',
    "module": 'pytest.skip("no stunnel", allow_module_level=True)',
}
with_and_without_workers = pytest.mark.parametrize("workers", ["-n0", "-n2"])


@with_and_without_workers
def test_a_skip_passes_and_gives_its_reason(tmp_path: Path, workers: str) -> None:
    done = run_tests(tmp_path, SKIPPING_TESTS, workers)
    assert done.returncode == 0, done.stdout
    assert "1 passed, 3 skipped" in done.stdout
    for reason in ("no nginx", "no haproxy", "no stunnel"):
        assert reason in done.stdout


@with_and_without_workers
@pytest.mark.parametrize(
    ("skipping", "outcome"),
    [(["marked", "called"], "1 failed, 1 passed, 1 error in"), (["module"], "1 error in")],
)
def test_a_skip_fails_where_nothing_may_be_skipped(
    tmp_path: Path, skipping: list[str], outcome: str, workers: str
) -> None:
    tests = {name: SKIPPING_TESTS[name] for name in skipping}
    done = run_tests(tmp_path, tests, workers, no_skips="1")
    assert done.returncode != 0, done.stdout
    assert outcome in done.stdout
    for test in tests.values():
        assert test.split('"')[1] in done.stdout
    assert done.stdout.count("KEYPIN_NO_SKIPS") >= len(tests)


def test_every_dependency_has_a_version_that_make_and_ci_install() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    extras = project["project"]["optional-dependencies"].values()
    wanted = [*project["build-system"]["requires"], *project["project"]["dependencies"]]
    wanted += [text for extra in extras for text in extra]
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    held = [Requirement(line) for line in lines if not line.startswith("#")]
    for requirement in map(Requirement, wanted):
        name = canonicalize_name(requirement.name)
        if name != "keypin":
            versions = [it.specifier for it in held if canonicalize_name(it.name) == name]
            assert versions, f"{name} is not in constraints.txt: make upgrade"
            for version in versions:
                (only,) = version
                assert only.operator == "=="
                assert requirement.specifier.contains(only.version), f"{name} {only}: make upgrade"


MEETING_TESTS = """
from pathlib import Path
from time import monotonic

def meets(own, other):
    Path(own).touch()
    end = monotonic() + 1
    met = False
    while not met and monotonic() < end:
        met = Path(other).exists()
    Path(own).unlink()
    return met

def test_one():
    assert not meets("one", "another")

@pytest.mark.alone
def test_another():
    assert not meets("another", "one")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no test is alone on Windows")
def test_a_test_that_is_to_be_alone_is_alone(tmp_path: Path) -> None:
    done = run_tests(tmp_path, {"one": MEETING_TESTS}, "-n2")
    assert done.returncode == 0, done.stdout


def test_an_expected_failure_is_not_a_skip(tmp_path: Path) -> None:
    test = "@pytest.mark.xfail(reason='known')\ndef test_one():\n    assert False"
    done = run_tests(tmp_path, {"one": test}, no_skips="1")
    assert done.returncode == 0, done.stdout
    assert "1 passed, 1 xfailed" in done.stdout


def test_help_shows_what_is_public_and_nothing_else() -> None:
    """But for the names of modules, which pydoc lists whatever they are."""
    text = pydoc.plain(pydoc.render_doc(keypin))
    description, _, rest = text.partition("PACKAGE CONTENTS")
    assert "PYTEST" not in text
    assert "Pinner(pins).create_context()" in description
    shown = set(re.findall(r"(?m)^ \|  (_[a-z]\w*)", rest))
    of_named_tuples = {"_asdict", "_make", "_replace", "_fields", "_field_defaults"}
    assert shown <= of_named_tuples  # which are public there
    functions = set(re.findall(r"(?m)^    (\w+)\(.*\) -> ", rest[rest.index("FUNCTIONS") :]))
    assert functions == {"find_error", "install", "installed"}


def test_pytest_is_told_to_rewrite_nothing() -> None:
    assert "PYTEST_DONT_REWRITE" in (keypin.__doc__ or "")
    assert "create_context" in (keypin.__doc__ or "")
    assert "something else" not in (keypin.__doc__ or "")
