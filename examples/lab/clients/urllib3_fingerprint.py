"""urllib3's own assert_fingerprint: the SHA-256 of the whole certificate."""

import hashlib
from pathlib import Path

import urllib3
from calls import HEADERS, TIMEOUT, call_both, parse, proxy_for

arguments = parse()
fingerprint = hashlib.sha256(Path(arguments.certificate).read_bytes()).hexdigest()
options = {
    "ca_certs": arguments.cafile,
    "cert_reqs": "CERT_REQUIRED",
    "assert_fingerprint": fingerprint,
    "cert_file": arguments.client_certificate,
    "timeout": TIMEOUT,
    "headers": HEADERS,
}
proxy = proxy_for(arguments.url)
manager = urllib3.ProxyManager(proxy, **options) if proxy else urllib3.PoolManager(**options)


def call(url):
    if manager.request("GET", url).status >= 400:
        raise OSError("the server answered with an error")


call_both(call, arguments)
