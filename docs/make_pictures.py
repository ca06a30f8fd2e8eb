"""Make the pictures of the demo and of the lab's page: python docs/make_pictures.py.

The others in docs/pictures are drawn by hand, or by `keypin plan --svg`. The lab's page is shown
by the browser of PyQt6-WebEngine, which needs no display.
"""

from __future__ import annotations

import io
import json
import os
import re
import ssl
import subprocess
import sys
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.console import CONSOLE_SVG_FORMAT, Console
from rich.text import Text

import keypin

PICTURES = Path(__file__).parent / "pictures"
KEYPIN = (sys.executable, "-m", "keypin")
COLUMNS = 112
STEPS = ("2", "5")  # of the demo
UNPINNED = ("other-ca", "same-issuer")  # scenarios that a client without pins is put to
SIZE = (1000, 760)


def demo() -> None:
    """Two steps of `keypin demo`, as a terminal shows them."""
    colours = os.environ | {"FORCE_COLOR": "1", "COLUMNS": str(COLUMNS), "TERM": "xterm-256color"}
    done = subprocess.run(
        [*KEYPIN, "demo"], env=colours, capture_output=True, text=True, check=True
    )
    console = Console(record=True, width=COLUMNS, file=io.StringIO())
    steps = re.split(r"\n\n(?=\x1b\[1m\d)", done.stdout)
    shown = [step for step in steps if re.match(rf"\x1b\[1m({'|'.join(STEPS)})  ", step)]
    console.print(Text.from_ansi("$ keypin demo\n...\n" + "\n...\n".join(shown) + "\n..."))
    # nothing is fetched to show it
    form = re.sub(r"@font-face \{\{.*?\}\}\n", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    form = form.replace("Fira Code, monospace", "ui-monospace, Menlo, Consolas, monospace")
    picture = console.export_svg(title="keypin demo", code_format=form, unique_id="demo")
    lines = [line.rstrip() for line in picture.splitlines()]
    (PICTURES / "demo.svg").write_text("\n".join(lines) + "\n", "utf-8")


def lab_page() -> None:
    """The page of `keypin lab serve`, after a client that is pinned, and twice is not."""
    command = [*KEYPIN, "lab", "serve", "--json", "--group", "certificates"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as lab:
        assert lab.stdout is not None
        try:
            serving = json.loads(lab.stdout.readline())
            for case in serving["cases"][:12]:
                call(case, pinned=case["scenario"] not in UNPINNED)
            grab(serving["page"], PICTURES / "lab.png")
        finally:
            lab.terminate()


def call(case: dict[str, Any], *, pinned: bool) -> None:
    """Make a request to the server of a scenario."""
    authorities = fetch(case["authorities"]).decode()
    context = ssl.create_default_context(cadata=authorities)
    if pinned:
        pins = keypin.PinSet.loads(fetch(case["pin_file"]).decode())
        keypin.Pinner(pins).protect(context)
    with suppress(OSError):
        urllib.request.urlopen(case["url"], context=context, timeout=10).close()


def fetch(url: str) -> bytes:
    """What the lab's own page offers."""
    with urllib.request.urlopen(url, timeout=10) as response:
        content: bytes = response.read()
        return content


def grab(url: str, target: Path) -> None:
    """Have a browser show a page, and save what it shows."""
    os.environ["QT_QPA_PLATFORM"] = "offscreen"
    os.environ["QTWEBENGINE_CHROMIUM_FLAGS"] = "--no-sandbox --disable-gpu"
    from PyQt6.QtCore import QTimer, QUrl
    from PyQt6.QtWebEngineWidgets import QWebEngineView
    from PyQt6.QtWidgets import QApplication

    application = QApplication([sys.argv[0]])
    view = QWebEngineView()
    view.resize(*SIZE)

    def save() -> None:
        view.grab().save(str(target))
        application.quit()

    # the page asks for the results once it is there
    view.loadFinished.connect(lambda _: QTimer.singleShot(2000, save))
    view.load(QUrl(url))
    view.show()
    application.exec()


if __name__ == "__main__":
    demo()
    lab_page()
