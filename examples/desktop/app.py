"""Show the people that a server knows: a desktop app whose server's public key is pinned.

PEOPLE_CLIENT_SECRET=... python app.py https://people.example.com/api --certificates FOLDER
python app.py --demo: the same against servers on this machine, and against an impostor
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

import webview

import keypin.webview
from keypin.client import Client

PAGE = Path(__file__).with_name("pages") / "index.html"


def main() -> None:
    """Open the window for the server that the command line names."""
    arguments = parse_arguments()
    if arguments.demo:
        demonstrate(arguments.gui)
        return
    with Client(
        arguments.base_url,
        arguments.certificates,
        arguments.cafile,
        client_id=os.environ.get("PEOPLE_CLIENT_ID", "people-app"),
        client_secret=os.environ.get("PEOPLE_CLIENT_SECRET", ""),
    ) as client:
        show_window(client, arguments.base_url, arguments.impostor_url, arguments.gui)


def show_window(client: Client, base_url: str, impostor_url: str | None, gui: str | None) -> None:
    """Show the window until it is closed.

    Args:
        client: what sends the page's requests.
        base_url: the client's.
        impostor_url: a server without the pinned key, to be tried in vain; None for none.
        gui: as `webview.start` takes it.
    """
    window = webview.create_window("keypin desktop", str(PAGE), width=900, height=700)
    hosts = [origin(url) for url in (base_url, impostor_url) if url]
    keypin.webview.expose(window, client, hosts=hosts)

    # A function of the app's own: exposed like this, and not as a js_api.
    def other_server() -> str | None:
        return impostor_url

    window.expose(other_server)
    webview.start(gui=gui)


def origin(url: str) -> str:
    """Cut a URL's path off."""
    return "/".join(url.split("/", 3)[:3])


def demonstrate(gui: str | None) -> None:
    """Start the servers of the examples, and show the window for them."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from people_server import CLIENT_ID, CLIENT_SECRET, people_servers

    with tempfile.TemporaryDirectory() as folder, people_servers(Path(folder)) as servers:
        (servers.certificates / "broken.cer").write_text("this is not a certificate")
        with Client(
            servers.base_url,
            servers.certificates,
            servers.cafile,
            client_id=CLIENT_ID,
            client_secret=CLIENT_SECRET,
            trust_env=False,
        ) as client:
            show_window(client, servers.base_url, servers.impostor_url, gui)
        servers.impostor.settle()
        print(f"The impostor received {servers.impostor.application_bytes} bytes of the app.")


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("base_url", nargs="?", help="where the server's API begins")
    parser.add_argument("--certificates", help="the folder with server.cer, the pinned certificate")
    parser.add_argument("--cafile", help="the server's authority, if it is a private one (PEM)")
    parser.add_argument("--impostor-url", help="a server with another key, to be tried in vain")
    parser.add_argument("--gui", choices=["qt", "gtk", "edgechromium"], help="instead of the usual")
    parser.add_argument("--demo", action="store_true", help="use servers on this machine")
    arguments = parser.parse_args()
    if not arguments.demo and not (arguments.base_url and arguments.certificates):
        parser.error("give a base_url and --certificates, or --demo")
    return arguments


if __name__ == "__main__":
    main()
