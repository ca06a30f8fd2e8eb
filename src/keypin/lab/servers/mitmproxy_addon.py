"""An addon for mitmproxy (`mitmdump --scripts`): tells its standard output what it sees, in JSON.

It is read by mitmproxy's own interpreter, in which nothing of keypin's is installed.
"""

from __future__ import annotations

import json
import sys
from typing import Any


def tell(event: str, client: Any, **more: object) -> None:
    """Write one line."""
    told = {"event": event, "port": client.peername[1], **more}
    sys.stdout.write(f"keypin {json.dumps(told)}\n")
    sys.stdout.flush()


def client_disconnected(client: Any) -> None:
    """A client is gone, and nothing more will be seen of it."""
    tell("disconnected", client)


def tls_established_client(data: Any) -> None:
    """A client has accepted the certificate."""
    tell("established", data.context.client, version=data.context.client.tls_version)


def requestheaders(flow: Any) -> None:
    """The head of a request has arrived; a CONNECT request comes by another hook."""
    request, client = flow.request, flow.client_conn
    line = f"{request.method} {request.url} {request.http_version}"
    tell("request", client, line=line, plain=not client.tls_established)


def next_layer(layer: Any) -> None:
    """Something has arrived inside TLS: the first bytes, whatever they are."""
    data = layer.data_client()
    if layer.context.client.tls_established and data:
        tell("bytes", layer.context.client, data=data.hex())
