"""keypin.lab.Server speaks HTTP well enough for the client libraries, and for curl."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path

import aiohttp
import httpx2
import pytest
import requests
import urllib3

from keypin.lab import Authority, ConnectProxy, Credential, Http, Server

BODY = b"0123456789" * 1000
SIZE = 300_000
Exchange = Callable[[str, str], tuple[int, int, int]]
"""Takes base URL and file of roots; returns status and sizes of what came back."""


def by_requests(url: str, roots: str) -> tuple[int, int, int]:
    with requests.Session() as session:
        session.trust_env = False
        session.verify = roots
        uploaded = session.post(f"{url}/up", data=iter([BODY, BODY])).json()["length"]
        redirected = session.get(f"{url}/go")
        return redirected.status_code, uploaded, len(redirected.content)


def by_urllib3(url: str, roots: str) -> tuple[int, int, int]:
    with urllib3.PoolManager(ca_certs=roots) as pool:
        uploaded = pool.request("POST", f"{url}/up", body=BODY * 2).json()["length"]
        redirected = pool.request("GET", f"{url}/go")
        return redirected.status, uploaded, len(redirected.data)


def by_httpx2(url: str, roots: str) -> tuple[int, int, int]:
    context = ssl.create_default_context(cafile=roots)
    with httpx2.Client(verify=context, follow_redirects=True, trust_env=False) as client:
        uploaded = client.post(f"{url}/up", content=iter([BODY, BODY])).json()["length"]
        redirected = client.get(f"{url}/go")
        return redirected.status_code, uploaded, len(redirected.content)


def by_aiohttp(url: str, roots: str) -> tuple[int, int, int]:
    async def exchange() -> tuple[int, int, int]:
        connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=roots))
        async with aiohttp.ClientSession(connector=connector) as session:
            async with session.post(f"{url}/up", data=BODY * 2) as response:
                uploaded = (await response.json())["length"]
            async with session.get(f"{url}/go") as response:
                return response.status, uploaded, len(await response.read())

    return asyncio.run(exchange())


def by_curl(url: str, roots: str) -> tuple[int, int, int]:
    def curl(*arguments: str) -> str:
        command = ["curl", "--silent", "--show-error", "--noproxy", "*", "--cacert", roots]
        done = subprocess.run(
            [*command, *arguments],
            capture_output=True,
            check=True,
            input=(BODY * 2).decode(),
            text=True,
        )
        return done.stdout

    uploaded = curl("--data-binary", "@-", f"{url}/up")
    told = "%{http_code} %{size_download}"
    status, size = curl("--location", "--output", "/dev/null", "-w", told, f"{url}/go").split()
    return int(status), uploaded.count('"length": 20000') * 20000, int(size)


needs_curl = pytest.mark.skipif(
    shutil.which("curl") is None, reason="needs curl (make system-deps)"
)
CLIENTS = [by_requests, by_urllib3, by_httpx2, by_aiohttp, pytest.param(by_curl, marks=needs_curl)]


@pytest.fixture
def roots(authority: Authority, tmp_path: Path) -> str:
    file = tmp_path / "roots.pem"
    file.write_text(authority.pem)
    return str(file)


@pytest.mark.parametrize("exchange", CLIENTS)
def test_a_client_uploads_follows_a_redirect_and_downloads(
    exchange: Exchange, leaf: Credential, roots: str
) -> None:
    with Server(leaf, application=Http(redirects={"/go": f"/bytes/{SIZE}"})) as server:
        answer = exchange(server.url_for("localhost"), roots)
        connections = server.settle()
        targets = [request.target for request in server.requests]
    assert answer == (200, 2 * len(BODY), SIZE)
    assert targets == ["/up", "/go", f"/bytes/{SIZE}"]
    assert server.application_bytes > 2 * len(BODY)
    assert all(connection.error is None for connection in connections)
    if exchange is not by_curl:
        assert len(connections) == 1


@pytest.mark.parametrize("exchange", CLIENTS)
def test_a_client_speaks_to_a_server_without_tls(exchange: Exchange, roots: str) -> None:
    with Server(None, application=Http(redirects={"/go": f"/bytes/{SIZE}"})) as server:
        assert exchange(server.url, roots) == (200, 2 * len(BODY), SIZE)
        server.settle()


@pytest.mark.parametrize("own_tls", [True, False])
def test_a_client_goes_through_a_proxy(
    own_tls: bool, leaf: Credential, authority: Authority, roots: str
) -> None:
    own = authority.issue("127.0.0.1") if own_tls else None
    with Server(leaf) as server:
        with ConnectProxy(own, routes={"localhost": server.address}) as proxy:
            with urllib3.ProxyManager(proxy.url, ca_certs=roots) as pool:
                # no variable for the response: it would keep the pool's connections open
                path = pool.request("GET", "https://localhost/x", retries=False).json()["path"]
            proxy.settle()
        assert path == "/x"
        assert server.requests[0].target == "/x"
    assert proxy.tunnels[0].target == "localhost:443"
