"""A program that gevent has patched is pinned, whichever came first."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from scene import HOST, authority, pinned, unpinned

from keypin.lab import Server

PROGRAM = """
import json, sys
order, cafile, pin, right, wrong = sys.argv[1:]

if order == "gevent, then pins":
    from gevent import monkey
    monkey.patch_all()

import keypin
keypin.install({"localhost": [pin]})

if order == "pins, then gevent":
    from gevent import monkey
    monkey.patch_all()

import http.client, ssl, urllib.request
import gevent, requests, urllib3

def by_http_client(url):
    host = url.removeprefix("https://")
    context = ssl.create_default_context(cafile=cafile)
    connection = http.client.HTTPSConnection(host, context=context, timeout=10)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status
    finally:
        connection.close()

def by_urllib3(url):
    with urllib3.PoolManager(ca_certs=cafile, retries=False, timeout=10) as pool:
        return pool.request("GET", url).status

def by_requests(url):
    return requests.get(url, verify=cafile, timeout=10).status_code

def refused(client):
    try:
        client(wrong)
    except Exception as error:
        return keypin.find_error(error) is not None

clients = [by_http_client, by_urllib3, by_requests]
reached = [gevent.spawn(client, right) for client in clients]
refusals = [gevent.spawn(refused, client) for client in clients]
print(json.dumps({
    "patched": ssl.SSLContext.__module__,
    "reached": [job.get() for job in reached],
    "refused": [job.get() for job in refusals],
}))
"""


@pytest.mark.parametrize("order", ["gevent, then pins", "pins, then gevent"])
def test_a_program_patched_by_gevent_is_pinned(order: str, version: str, tmp_path: Path) -> None:
    pytest.importorskip("gevent")
    (tmp_path / "roots.pem").write_text(authority().pem)
    with Server(pinned(), tls=[version]) as right, Server(unpinned(), tls=[version]) as wrong:
        arguments = [
            *(order, str(tmp_path / "roots.pem"), str(pinned().pin)),
            *(right.url_for(HOST), wrong.url_for(HOST)),
        ]
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", PROGRAM, *arguments],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        wrong.settle()
        assert len(wrong.connections) >= 3
        assert wrong.application_bytes == 0
    assert told == {"patched": "gevent.ssl", "reached": [200] * 3, "refused": [True] * 3}
