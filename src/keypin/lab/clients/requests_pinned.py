"""requests, pinned by keypin run: URL SECOND_URL CAFILE [CLIENT_CERTIFICATE]."""

import sys

import requests


def main(url: str, second_url: str, cafile: str, *client_certificate: str) -> bool:
    """Call both addresses, the second one also if the first has failed; return whether one has."""
    failed = False
    with requests.Session() as session:
        session.verify = cafile
        session.cert = client_certificate[0] if client_certificate else None
        session.headers["Authorization"] = "Bearer what only the pinned server may learn"
        for address in (url, second_url):
            try:
                session.get(address, timeout=4).raise_for_status()
            except (OSError, ValueError) as error:
                sys.stderr.write(f"{type(error).__name__}: {error}".splitlines()[0] + "\n")
                failed = True
    return failed


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
