"""An addon for mitmproxy (`mitmdump --scripts`): tells its standard output what it sees, in JSON.

It is read by mitmproxy's own interpreter, in which nothing of keypin's is installed.
"""

import json


def tell(event, client):
    """Write one line."""
    print("keypin", json.dumps({"event": event, "port": client.peername[1]}), flush=True)


def client_connected(client):
    """A client has connected."""
    tell("connected", client)


def client_disconnected(client):
    """A client is gone, and nothing more will be seen of it."""
    tell("disconnected", client)


def requestheaders(flow):
    """The head of a request has arrived; a CONNECT request comes by another hook."""
    tell("request", flow.client_conn)


def next_layer(layer):
    """Something has arrived inside TLS: the first bytes, whatever they are."""
    if layer.context.client.tls_established and layer.data_client():
        tell("bytes", layer.context.client)
