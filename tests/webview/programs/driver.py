"""driver.py PROGRAM ARGUMENT...: run a program with a window, as standard input says.

Each line is `[operation, argument]` in JSON; each answer is a line, too.
"""

import json
import runpy
import sys
import threading
import time
from pathlib import Path

import webview


def serve():
    for line in sys.stdin:
        operation, argument = json.loads(line)
        try:
            answer = {"value": OPERATIONS[operation](argument)}
        except Exception as error:  # noqa: BLE001 - whatever it is, the test is told
            answer = {"error": f"{type(error).__name__}: {error}"}
        if operation != "destroy":  # then the program may be about to end
            sys.stdout.write(f"answer: {json.dumps(answer)}\n")
            sys.stdout.flush()


def js(script):
    return window().run_js(script)


def load_url(url):
    window().load_url(url)


def destroy(_):
    window().destroy()


def idle(_):
    """Wait until everything that pages have asked for so far is answered."""
    while any(thread.name.startswith("keypin.webview") for thread in threading.enumerate()):
        time.sleep(0.01)


def expose(_):
    """What the program itself calls to expose its client."""
    sys.modules["__main__"].expose()


def window():
    if not webview.windows:
        raise RuntimeError("there is no window")
    return webview.windows[0]


OPERATIONS = {"js": js, "load_url": load_url, "destroy": destroy, "expose": expose, "idle": idle}


def start_when_shown():
    """Listen once the first window has come up."""
    create = webview.create_window

    def create_window(*arguments, **more):
        made = create(*arguments, **more)
        threading.Thread(target=lambda: (made.events.loaded.wait(60), serve()), daemon=True).start()
        return made

    webview.create_window = create_window


if __name__ == "__main__":
    program = Path(sys.argv[1])
    sys.argv = sys.argv[1:]
    sys.path[0] = str(program.parent)
    start_when_shown()
    runpy.run_path(str(program), run_name="__main__", init_globals=None)
