"""keypin.js alone under Node, and its declarations under the TypeScript compiler."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from keypin.webview import _arguments, _bridge, _failures, _windows, declarations, script

HERE = Path(__file__).parent
node = shutil.which("node")
tsc = shutil.which("tsc")


def run(*command, **environment):
    """The exit code and everything that was said."""
    done = subprocess.run(
        command,
        env={**os.environ, **environment},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout


@pytest.fixture
def files(tmp_path):
    """keypin.js and keypin.d.ts, as an app would write them into its folder."""
    (tmp_path / "keypin.js").write_text(script(), "utf-8")
    (tmp_path / "keypin.d.ts").write_text(declarations(), "utf-8")
    return tmp_path


@pytest.mark.skipif(node is None, reason="needs node (make system-deps)")
def test_the_script_does_what_its_own_tests_say(files):
    tests = HERE / "javascript" / "keypin.test.js"
    command = [node, "--test", "--test-reporter=tap", str(tests)]
    code, said = run(*command, KEYPIN_JS=str(files / "keypin.js"))
    assert code == 0, said
    written = len(re.findall(r"^test\(", tests.read_text("utf-8"), re.MULTILINE))
    assert re.search(rf"^# pass {written}$", said, re.MULTILINE), said


@pytest.mark.skipif(tsc is None, reason="needs tsc of node-typescript (make system-deps)")
def test_the_declarations_accept_right_programs_and_refuse_wrong_ones(files):
    """`@ts-expect-error` lines that hold no error are errors themselves."""
    shutil.copy(HERE / "javascript" / "sample.ts", files)
    options = ["--noEmit", "--strict", "--target", "es2017", "--lib", "es2017,dom"]
    code, said = run(tsc, *options, str(files / "keypin.d.ts"), str(files / "sample.ts"))
    assert (code, said) == (0, "")


def test_the_codes_are_the_same_in_python_javascript_and_the_declarations():
    sources = "".join(
        Path(module.__file__).read_text("utf-8")
        for module in (_arguments, _bridge, _failures, _windows)
    )
    python = set(re.findall(r'"([A-Z]+(?:_[A-Z]+)+)"', sources)) | {"UNREACHABLE"}
    javascript = set(re.findall(r"^    ([A-Z_]+): '\1',$", script(), re.MULTILINE))
    declared = set(re.findall(r"^    \| '([A-Z_]+)'", declarations(), re.MULTILINE))
    assert javascript == declared
    assert python <= javascript
    assert len(javascript) == 16


def test_python_and_javascript_speak_one_protocol():
    assert f"const PROTOCOL = {_windows.PROTOCOL};" in script()
