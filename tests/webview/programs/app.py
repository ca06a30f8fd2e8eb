"""An app for tests: app.py BASE_URL FOLDER PAGE [--gui GUI] [--links-in-the-window]."""

import argparse
import logging
import sys
from pathlib import Path

import webview

import keypin.webview
from keypin.client import Client

parser = argparse.ArgumentParser()
parser.add_argument("base_url")
parser.add_argument("folder", type=Path)
parser.add_argument("page")
parser.add_argument("--gui")
parser.add_argument("--links-in-the-window", action="store_true")
arguments = parser.parse_args()

webview.settings["OPEN_EXTERNAL_LINKS_IN_BROWSER"] = not arguments.links_in_the_window
logging.getLogger("keypin.webview").addHandler(logging.StreamHandler())
client = Client(
    arguments.base_url,
    arguments.folder / "certificates",
    arguments.folder / "ca.pem",
    client_id="app",
    client_secret="xyzzy-client-secret",
    trust_env=False,
)
# what a page must not get hold of, from wherever it begins
XYZZY = "xyzzy-global"
window = webview.create_window("app for tests", arguments.page)


def add(one, other):
    sys.stdout.write("add was called\n")  # whole, as the driver's answers are
    sys.stdout.flush()
    return one + other


def expose():
    keypin.webview.expose(window, client)


sys.modules["__main__"].expose = expose
expose()
window.expose(add)  # a function of the app's own beside it
webview.start(gui=arguments.gui)
client.close()
print("the program ends")
