"""requests, pinned by keypin: its adapter, or the whole process."""

import requests
from calls import HEADERS, TIMEOUT, call_both, parse
from requests.adapters import HTTPAdapter

import keypin
from keypin.adapters import PinningAdapter


class NoPlainHTTP(HTTPAdapter):
    """Pins hold inside TLS only, so nothing is sent outside of it."""

    def send(self, request, **more):
        raise requests.exceptions.InvalidSchema("plain http is refused")


arguments = parse("context", "installed")
session = requests.Session()
session.verify = arguments.cafile
session.cert = arguments.client_certificate
session.headers.update(HEADERS)
if arguments.mode == "context":
    adapter = PinningAdapter(arguments.pins, cafile=arguments.cafile)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
else:
    keypin.install(arguments.pins)
    session.mount("http://", NoPlainHTTP())
call_both(lambda url: session.get(url, timeout=TIMEOUT).raise_for_status(), arguments)
