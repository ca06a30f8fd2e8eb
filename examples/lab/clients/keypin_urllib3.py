"""urllib3, pinned by keypin: its context, or the whole process."""

import ssl

import urllib3
from calls import HEADERS, TIMEOUT, call_both, parse, pinned_context, proxy_for

arguments = parse("context", "installed")
context = pinned_context(arguments)
proxy = proxy_for(arguments.url)
options = {"ssl_context": context, "timeout": TIMEOUT, "headers": HEADERS}
if proxy:
    verifying = ssl.create_default_context(cafile=arguments.cafile)
    manager = urllib3.ProxyManager(proxy, proxy_ssl_context=verifying, **options)
else:
    manager = urllib3.PoolManager(**options)
# Pins hold inside TLS only, so nothing is sent outside of it; redirects come by here, too.
manager.pool_classes_by_scheme = {"https": urllib3.HTTPSConnectionPool}


def call(url):
    if manager.request("GET", url).status >= 400:
        raise OSError("the server answered with an error")


call_both(call, arguments)
