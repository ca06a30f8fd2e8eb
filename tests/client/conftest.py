"""Clients of both kinds for the same tests, with the certificates that they pin."""

from __future__ import annotations

import asyncio
import inspect

import pytest
from scene import HOST, authority, pinned, unpinned

from keypin.client import AsyncClient, Client
from keypin.lab import Server, self_signed


class Blocking:
    """An asynchronous object used as if it were a blocking one, so that both pass the same tests.

    So is what its methods return.
    """

    def __init__(self, runner, wrapped):
        self._run = runner
        self._wrapped = wrapped

    def __getattr__(self, name):
        value = getattr(self._wrapped, name)
        if inspect.iscoroutinefunction(value):
            return lambda *arguments, **more: self._run(lambda: value(*arguments, **more))
        if name == "resource_request":
            return lambda *arguments, **more: Blocking(self._run, value(*arguments, **more))
        return value

    def __repr__(self):
        return repr(self._wrapped)

    def close(self):
        self._run(self._wrapped.aclose)


@pytest.fixture
def version():
    """What HTTP means is tried in one version of TLS; what is about connections says so."""
    return "1.3"


@pytest.fixture
def folder(tmp_path):
    """The folder of the certificates, beside the file ca.pem."""
    folder = tmp_path / "certificates"
    folder.mkdir()
    (folder / "pinned.cer").write_bytes(pinned().certificate)
    (folder / "unpinned.cer").write_bytes(unpinned().certificate)
    (folder / "pem.cer").write_bytes(pinned().chain_pem)
    (folder / "self-signed.cer").write_bytes(self_signed(HOST).certificate)
    (tmp_path / "ca.pem").write_text(authority().pem)
    return folder


@pytest.fixture(params=["Client", "AsyncClient"])
def make(request, tmp_path, folder):
    """Make a client."""
    cafile = tmp_path / "ca.pem"
    made = []
    with asyncio.Runner() as runner:

        def make(server=None, **options):
            options = {"cafile": cafile, "certificates": folder, "trust_env": False, **options}
            if server is not None:
                options.setdefault("base_url", server.url_for(HOST))
            if request.param == "Client":
                client = Client(**options)
            else:
                client = Blocking(lambda work: runner.run(work()), AsyncClient(**options))
            made.append(client)
            return client

        yield make
        for client in made:
            client.close()


@pytest.fixture
def right(version):
    with Server(pinned(), tls=[version]) as server:
        yield server


@pytest.fixture
def wrong(version):
    with Server(unpinned(), tls=[version]) as server:
        yield server
