"""requests, pinned by keypin: a context in an adapter, or the whole process."""

import requests
from calls import HEADERS, TIMEOUT, call_both, load_own, parse
from requests.adapters import HTTPAdapter

import keypin


class PinnedAdapter(HTTPAdapter):
    """All connections of this adapter are made with one context."""

    def __init__(self, context):
        self.context = context
        super().__init__()

    def init_poolmanager(self, *arguments, **more):
        super().init_poolmanager(*arguments, ssl_context=self.context, **more)

    def proxy_manager_for(self, proxy, **more):
        return super().proxy_manager_for(proxy, ssl_context=self.context, **more)


class NoPlainHTTP(HTTPAdapter):
    """Pins hold inside TLS only, so nothing is sent outside of it."""

    def send(self, request, **more):
        raise requests.exceptions.InvalidSchema("plain http is refused")


arguments = parse("context", "installed")
session = requests.Session()
session.verify = arguments.cafile
session.headers.update(HEADERS)
if arguments.mode == "context":
    pinner = keypin.Pinner(keypin.PinSet.load(arguments.pins))
    context = load_own(pinner.create_context(cafile=arguments.cafile), arguments)
    session.mount("https://", PinnedAdapter(context))
else:
    keypin.install(arguments.pins)
    session.cert = arguments.client_certificate
session.mount("http://", NoPlainHTTP())
call_both(lambda url: session.get(url, timeout=TIMEOUT).raise_for_status(), arguments)
