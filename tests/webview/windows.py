"""Real windows: a display of their own, programs in it, and clicks as a user makes them."""

from __future__ import annotations

import importlib.util
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SYSTEM_PYTHON = "/usr/bin/python3"  # it has the system's gi, which no package index has built
PATIENCE = 60  # seconds for a window to come up on a busy machine


def missing():
    """Why there can be no windows here; None if there can."""
    for program, package in (("Xvfb", "xvfb"), ("xdotool", "xdotool"), ("import", "imagemagick")):
        if shutil.which(program) is None:
            return f"needs {program} of the package {package} (make system-deps)"
    if not all(map(importlib.util.find_spec, ("PyQt6", "qtpy"))) or not importlib.util.find_spec(
        "PyQt6.QtWebEngineWidgets"
    ):
        return "needs Qt: pip install PyQt6 PyQt6-WebEngine qtpy"
    return None


def missing_webkit():
    """Why there can be no windows of WebKitGTK here; None if there can."""
    if (reason := missing()) is not None:
        return reason
    tried = "import gi; gi.require_version('Gtk', '3.0'); gi.require_version('WebKit2', '4.1')"
    if (
        shutil.which(SYSTEM_PYTHON) is None
        or subprocess.run(
            [SYSTEM_PYTHON, "-c", tried], capture_output=True, timeout=60, check=False
        ).returncode
    ):
        return "needs python3-gi and gir1.2-webkit2-4.1 (make system-deps)"
    return None


class Display:
    """An X server without a screen."""

    def __init__(self):
        reading, writing = os.pipe()
        self._server = subprocess.Popen(
            ["Xvfb", "-displayfd", str(writing), "-screen", "0", "1024x768x24", "-nolisten", "tcp"],
            pass_fds=[writing],
            stderr=subprocess.DEVNULL,
        )
        os.close(writing)
        with os.fdopen(reading) as pipe:
            self.name = f":{pipe.readline().strip()}"

    @property
    def environment(self):
        """That of programs in it."""
        return {**os.environ, "DISPLAY": self.name}

    def run(self, *command):
        """Run a program that looks at the display, or acts on it."""
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=60, check=True
        )
        return done.stdout

    def click(self, window, x, y):
        """Move the mouse there, relative to a window, and press it."""
        self.run("xdotool", "mousemove", "--window", window, str(x), str(y), "click", "1")

    def photograph(self, path):
        """Take a picture of everything that is to be seen."""
        self.run("import", "-window", "root", str(path))

    def close(self):
        self._server.terminate()
        self._server.wait(20)


class App:
    """A program with a window, run by driver.py, which does what it is told on its standard input.

    Args:
        display: where the window comes up.
        program: the program's file.
        arguments: its arguments.
    """

    def __init__(
        self, display, program, *arguments, gui="qt", python=sys.executable, **environment
    ):
        self._display = display
        surroundings = display.environment | environment
        surroundings["PYTHONFAULTHANDLER"] = "1"  # where it stands, if it has to be killed
        surroundings |= {"QT_QUICK_BACKEND": "software", "LIBGL_ALWAYS_SOFTWARE": "1"}
        flags = "--disable-gpu"
        if os.geteuid() == 0:  # Chromium has no sandbox for root
            flags += " --no-sandbox"
        surroundings["QTWEBENGINE_CHROMIUM_FLAGS"] = flags
        surroundings["WEBKIT_DISABLE_COMPOSITING_MODE"] = "1"
        self._process = subprocess.Popen(
            [
                python,
                str(HERE / "programs" / "driver.py"),
                str(program),
                *map(str, arguments),
                "--gui",
                gui,
            ],
            env=surroundings,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        self.output = []
        self._answers = queue.Queue()
        self._readers = [
            threading.Thread(target=self._read, args=(self._process.stdout,)),
            threading.Thread(target=self._read, args=(self._process.stderr,)),
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, stream):
        for line in stream:
            if line.startswith("answer: "):
                self._answers.put(json.loads(line.removeprefix("answer: ")))
            else:
                self.output.append(line)
        self._answers.put(None)

    def tell(self, operation, argument=None):
        """Have the driver do something in the program, and wait for the answer."""
        self._process.stdin.write(json.dumps([operation, argument]) + "\n")
        self._process.stdin.flush()
        try:
            answer = self._answers.get(timeout=PATIENCE)
        except queue.Empty:
            self._process.send_signal(signal.SIGABRT)
            self.wait()
            pytest.fail(f"the program did not answer: {''.join(self.output)}")
        assert answer is not None, f"the program has ended: {''.join(self.output)}"
        assert "error" not in answer, answer["error"]
        return answer["value"]

    def shut(self):
        """Close the window, wait for the end of the program; its exit code."""
        self._process.stdin.write('["destroy", null]\n')
        self._process.stdin.flush()
        return self.wait(20)

    def js(self, script):
        """The value of an expression in the page, which JSON can carry."""
        value = self.tell("js", f"JSON.stringify({script})")
        return None if value is None else json.loads(value)

    def until(self, script):
        """Wait until an expression in the page is true; its value."""
        end = time.monotonic() + PATIENCE
        while not (value := self.js(script)):
            assert time.monotonic() < end, f"{script} never came true: {''.join(self.output)}"
            time.sleep(0.05)
        return value

    def outcome(self, promise):
        """What a promise of the page comes to: ["value", ...] or ["failure", code]."""
        self.tell(
            "js",
            f"window.outcome = null; ({promise}).then("
            "(value) => { window.outcome = ['value', value]; },"
            "(failure) => { window.outcome = ['failure', failure.errorCode]; }); 0",
        )
        return self.until("window.outcome")

    def click(self, selector):
        """Click on an element of the page with the mouse."""
        x, y = self.js(
            f"(() => {{ const box = document.querySelector({json.dumps(selector)})"
            ".getBoundingClientRect();"
            " return [box.x + box.width / 2, box.y + box.height / 2].map(Math.round); })()"
        )
        window = self._display.run(
            "xdotool",
            "search",
            "--sync",
            "--onlyvisible",
            "--pid",
            str(self._process.pid),
            "--name",
            self.js("document.title"),
        )
        self._display.click(window.split()[0], x, y)

    def wait(self, timeout=PATIENCE):
        """Wait for the end of the program; its exit code."""
        try:
            code = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.send_signal(signal.SIGABRT)
            self.wait()
            pytest.fail(f"the program did not end: {''.join(self.output)}")
        for reader in self._readers:
            reader.join(20)
        return code

    def close(self):
        """End the program, whatever it does."""
        if self._process.poll() is None:
            self._process.kill()
        self.wait()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            stream.close()
