"""httpx2, pinned by keypin: its context, or the whole process."""

import httpx2
from calls import HEADERS, TIMEOUT, call_both, parse, pinned_context

arguments = parse("context", "installed")
context = pinned_context(arguments)


def https_only(request):
    """Pins hold inside TLS only, so nothing is sent outside of it; asked for each redirect, too."""
    if request.url.scheme != "https":
        raise httpx2.UnsupportedProtocol("plain http is refused")


client = httpx2.Client(
    verify=context,
    http2=True,
    headers=HEADERS,
    timeout=TIMEOUT,
    follow_redirects=True,
    event_hooks={"request": [https_only]},
)
call_both(lambda url: client.get(url).raise_for_status(), arguments)
