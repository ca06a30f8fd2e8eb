"""List the people that a server knows: a script whose server's public key is pinned.

PEOPLE_CLIENT_SECRET=... python people.py https://people.example.com/api --certificates FOLDER
python people.py --demo: the same against servers on this machine, and against an impostor
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from keypin import KeypinError, PinMismatch
from keypin.client import AuthorizationRefused, Client, RequestFailed, RequestTimeout, Unreachable

CERTIFICATE = "server.cer"
REFUSED, UNREACHABLE, FAILED, MISCONFIGURED = 76, 69, 1, 78


def main() -> int:
    """Ask the server that the command line names."""
    arguments = parse_arguments()
    if arguments.demo:
        return demonstrate()
    return list_people(
        arguments.base_url,
        arguments.certificates,
        arguments.cafile,
        os.environ.get("PEOPLE_CLIENT_ID", "people-app"),
        os.environ.get("PEOPLE_CLIENT_SECRET", ""),
    )


def list_people(
    base_url: str, certificates: Path, cafile: Path | None, client_id: str, client_secret: str
) -> int:
    """Pin, obtain a token, ask, and print; or tell what went wrong. Returns the exit code."""
    try:
        with Client(
            base_url, certificates, cafile, client_id=client_id, client_secret=client_secret
        ) as client:
            client.pin_trusted_certificate_public_key(CERTIFICATE)
            response = client.resource_request("/people", "GET", timeout=20.0).send()
            response.raise_for_status()
            for person in response.json:
                print(f"{person['name']}, born {person['born']}")
            return 0
    except PinMismatch as error:
        print(f"not our server, so nothing was sent to it.\n{error}", file=sys.stderr)
        return REFUSED
    except AuthorizationRefused as error:
        print(f"the server does not let us in: {error}", file=sys.stderr)
        return FAILED
    except (Unreachable, RequestTimeout) as error:
        print(f"no answer, try again later: {error}", file=sys.stderr)
        return UNREACHABLE
    except RequestFailed as error:
        print(f"the server failed: {error}", file=sys.stderr)
        return FAILED
    except KeypinError as error:  # the certificate file is missing, or is something else
        print(f"this program is not set up: {error}", file=sys.stderr)
        return MISCONFIGURED


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="List the people that a pinned server knows.")
    parser.add_argument("base_url", nargs="?", help="address of the server's API")
    parser.add_argument(
        "--certificates", type=Path, default=Path("certificates"), help=f"folder with {CERTIFICATE}"
    )
    parser.add_argument("--cafile", type=Path, help="PEM file of a private authority")
    parser.add_argument("--demo", action="store_true", help="talk to servers on this machine")
    arguments = parser.parse_args()
    if not arguments.demo and arguments.base_url is None:
        parser.error("give the address of the server, or --demo")
    return arguments


def demonstrate() -> int:
    """Ask the genuine server of the examples, then its impostor; return 0 if all went right."""
    import tempfile

    sys.path.insert(0, str(Path(__file__).parent.parent))
    from people_server import CLIENT_ID, CLIENT_SECRET, people_servers

    with (
        tempfile.TemporaryDirectory() as folder,
        people_servers(Path(folder)) as servers,
    ):
        files = (servers.certificates, servers.cafile, CLIENT_ID, CLIENT_SECRET)
        print(f"The server with the pinned key, {servers.base_url}:", flush=True)
        genuine = list_people(servers.base_url, *files)
        print(f"\nAn impostor with a valid certificate, {servers.impostor_url}:", flush=True)
        impostor = list_people(servers.impostor_url, *files)
        servers.impostor.settle()
        print(f"The impostor received {servers.impostor.application_bytes} bytes.")
        return int((genuine, impostor, servers.impostor.application_bytes) != (0, REFUSED, 0))


if __name__ == "__main__":
    sys.exit(main())
