"""Pins replaced while connections are open, idle in pools, or just being made."""

from __future__ import annotations

import asyncio
import gc
import http.client
import socket
import ssl
import threading
import weakref

import aiohttp
import httpx2
import pytest
import requests
import trio
import urllib3
import uvloop
from scene import (
    HOST,
    REQUEST,
    authority,
    connect,
    exchange,
    issuing,
    pinned,
    pinner_for,
    pins_for,
    trusting,
    unpinned,
)

from keypin import PinMismatch, Pinner, PinSet, Rule, find_error
from keypin.enforcement.guard import LOCK
from keypin.lab import Server

REQUESTS = 10_000


@pytest.fixture
def server(version):
    with Server(pinned(), tls=[version]) as server:
        yield server


def whole_exchange(connection: ssl.SSLSocket) -> bytes:
    """Send a request and read all of the answer, so that another can follow."""
    connection.sendall(REQUEST)
    response = http.client.HTTPResponse(connection)
    response.begin()
    response.read()
    return str(response.status).encode()


def test_an_open_connection_that_no_longer_satisfies_is_shut_down(server):
    pinner = pinner_for(pinned())
    with connect(trusting(pinner), server) as connection:
        exchange(connection)
        received = server.application_bytes
        pinner.replace(pins_for(unpinned()))
        for call in (connection.send, connection.sendall, connection.write):
            with pytest.raises(PinMismatch):
                call(b"more")
        with pytest.raises(PinMismatch):
            connection.recv(10)
        server.settle()  # the server has seen the end, though the client has not closed
    assert server.application_bytes == received


def test_an_open_connection_that_still_satisfies_goes_on(server):
    pinner = pinner_for(pinned())
    with connect(trusting(pinner), server) as connection:
        for pins in (pins_for(issuing()), pins_for(unpinned(), pinned()), PinSet({})):
            pinner.replace(pins)
            assert whole_exchange(connection) == b"200"
            assert type(connection._sslobj) is ssl._ssl._SSLSocket
    assert len(server.connections) == 1


def test_a_host_that_becomes_listed_is_judged_by_the_chain_of_its_open_connection(server):
    for pins, fails in ((pins_for(pinned()), False), (pins_for(unpinned()), True)):
        pinner = Pinner(PinSet({}))
        with connect(trusting(pinner), server) as connection:
            exchange(connection)
            pinner.replace(pins)
            if fails:
                with pytest.raises(PinMismatch):
                    connection.send(b"more")
            else:
                exchange(connection)


def test_a_host_that_becomes_listed_is_refused_if_its_open_connection_was_not_verified(server):
    pinner = Pinner(PinSet({}))
    context = trusting(pinner)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with connect(context, server) as connection:
        exchange(connection)
        pinner.replace(pins_for(pinned()))
        with pytest.raises(PinMismatch):
            connection.send(b"more")


def test_a_read_that_waits_while_pins_are_replaced_ends(server):
    """The blocked thread must not hang until its timeout."""
    pinner = pinner_for(pinned())
    with connect(trusting(pinner), server) as connection:
        outcome = []

        def wait() -> None:
            try:
                outcome.append(connection.recv(10))
            except OSError as error:
                outcome.append(error)

        thread = threading.Thread(target=wait)
        thread.start()
        pinner.replace(pins_for(unpinned()))
        thread.join(10)
        assert not thread.is_alive()
        assert outcome[0] == b"" or isinstance(outcome[0], OSError)


def test_a_deny_pin_that_is_added_closes_the_connection(server):
    pinner = pinner_for(pinned())
    with connect(trusting(pinner), server) as connection:
        pinner.replace(pins_for(issuing(), deny=[pinned().pin]))
        with pytest.raises(PinMismatch, match="denied"):
            connection.send(b"more")


def test_pins_replaced_in_the_middle_of_a_handshake_count(server):
    """The decision is made under the set in force when the handshake is over."""
    pinner = pinner_for(pinned())
    with connect(trusting(pinner), server, do_handshake_on_connect=False) as connection:
        pinner.replace(pins_for(unpinned()))
        with pytest.raises(PinMismatch):
            connection.do_handshake()
    server.settle()
    assert server.application_bytes == 0


def test_pins_replaced_between_the_decision_and_the_first_byte_count(server):
    """`on_verdict` runs exactly there; a replace from another thread can, too."""
    pinner = Pinner(
        pins_for(pinned()), on_verdict=lambda verdict: pinner.replace(pins_for(unpinned()))
    )
    with pytest.raises(PinMismatch):
        connect(trusting(pinner), server)
    server.settle()
    assert server.application_bytes == 0


def test_closed_and_forgotten_connections_are_let_go(server):
    pinner = pinner_for(pinned())
    context = trusting(pinner)
    connections = [connect(context, server) for _ in range(20)]
    inner = weakref.ref(connections[0])
    for connection in connections:
        connection.close()
    pinner.replace(pins_for(unpinned()))  # a closed connection is nobody's business
    del connection, connections
    gc.collect()
    assert inner() is None
    connect(trusting(pinner_for(pinned())), server).close()
    assert len(pinner._living_guards()) < 20  # the last ones might have been revived


# Pools: an idle connection that no longer satisfies is dropped, and the next request makes another


class Sync:
    """One request after another through a pool, by name."""

    def __init__(self, send, close):
        self.send, self.close = send, close


def with_urllib3(context):
    pool = urllib3.PoolManager(ssl_context=context, retries=False)
    return Sync(lambda url, method: pool.request(method, url, timeout=20).status, pool.clear)


def with_requests(context):
    class Adapter(requests.adapters.HTTPAdapter):
        def init_poolmanager(self, *arguments, **more):
            super().init_poolmanager(*arguments, **more, ssl_context=context)

    session = requests.Session()
    session.mount("https://", Adapter())
    session.verify = True
    return Sync(
        lambda url, method: session.request(method, url, timeout=20).status_code, session.close
    )


def with_httpx2(context):
    client = httpx2.Client(verify=context, trust_env=False, timeout=20)
    return Sync(lambda url, method: client.request(method, url).status_code, client.close)


@pytest.mark.parametrize("make", [with_urllib3, with_requests, with_httpx2])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_pool_drops_the_idle_connection_and_the_next_request_succeeds(make, method, server):
    pinner = pinner_for(pinned())
    client = make(trusting(pinner))
    url = server.url_for(HOST)
    try:
        assert [client.send(url, method) for _ in range(3)] == [200] * 3
        assert len(server.connections) == 1
        server.serve(unpinned())  # the server changes its key; the open connection has the old one
        pinner.replace(pins_for(unpinned()))
        assert client.send(url, method) == 200
        assert len(server.connections) == 2
        pinner.replace(pins_for(pinned()))
        with pytest.raises(Exception) as caught:
            client.send(url, method)
        assert find_error(caught.value) is not None
    finally:
        client.close()


async def through_aiohttp(context, url, method, change):
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:

        async def send():
            async with session.request(method, url) as response:
                await response.read()
                return response.status

        await change(send)


async def through_httpx2(context, url, method, change):
    async with httpx2.AsyncClient(verify=context, trust_env=False, timeout=20) as client:

        async def send():
            return (await client.request(method, url)).status_code

        await change(send)


def on_asyncio(work):
    return asyncio.run(work())


def on_uvloop(work):
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work())


def on_trio(work):
    return trio.run(work)


@pytest.mark.parametrize(
    ("loop", "through"),
    [
        (on_asyncio, through_aiohttp),
        (on_uvloop, through_aiohttp),
        (on_asyncio, through_httpx2),
        (on_uvloop, through_httpx2),
        (on_trio, through_httpx2),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("where", ["same thread", "other thread"])
def test_an_asynchronous_pool_does_so_too(loop, through, method, where, server):
    pinner = pinner_for(pinned())
    context = trusting(pinner)

    async def replace(pins):
        if where == "same thread":
            pinner.replace(pins)
        elif loop is on_trio:
            await trio.to_thread.run_sync(pinner.replace, pins)
        else:
            await asyncio.to_thread(pinner.replace, pins)

    async def change(send):
        assert [await send() for _ in range(3)] == [200] * 3
        assert len(server.connections) == 1
        server.serve(unpinned())
        await replace(pins_for(unpinned()))
        assert await send() == 200
        assert len(server.connections) == 2
        await replace(pins_for(pinned()))
        with pytest.raises(Exception) as caught:
            await send()
        assert find_error(caught.value) is not None

    loop(lambda: through(context, server.url_for(HOST), method, change))


def test_threads_sending_while_pins_are_replaced(version):
    """10,000 requests; the pins go back and forth between two keys, the server with them.

    A request is under way in some epoch. In an epoch in which the server's key is pinned
    throughout, it must succeed; in one in which it is not, it must not.
    """
    with Server(pinned(), tls=[version]) as right, Server(unpinned(), tls=[version]) as wrong:
        right_only, both = pins_for(pinned()), pins_for(pinned(), unpinned())
        pinner = Pinner(both)
        context = trusting(pinner)
        epoch, sent, failures = [0], [0], []
        lock, done = threading.Lock(), threading.Event()

        def work(server: Server, always: bool) -> None:
            pool = urllib3.PoolManager(ssl_context=context, retries=False)
            url = server.url_for(HOST)
            while not done.is_set():
                before = epoch[0]
                try:
                    ok = pool.request("POST", url, body=b"x", timeout=20).status == 200
                    error = None
                except urllib3.exceptions.HTTPError as caught:
                    ok, error = False, caught
                after = epoch[0]
                with lock:
                    sent[0] += 1
                    if sent[0] >= REQUESTS:
                        done.set()
                # even: both keys hold; odd: a change is under way, or only the right one holds
                if always and not ok:
                    failures.append(f"satisfied the pins and failed: {error!r}")
                if not always and ok and before == after and before % 4 == 2:
                    failures.append("completed under pins that were no longer in force")
                if not always and not ok and before == after and before % 4 == 0:
                    failures.append(f"failed although the pins held: {error!r}")
            pool.clear()

        threads = [
            threading.Thread(target=work, args=arguments)
            for arguments in [(right, True)] * 4 + [(wrong, False)] * 4
        ]
        for thread in threads:
            thread.start()
        while not done.wait(0.01):
            for pins in (right_only, both):
                epoch[0] += 1
                pinner.replace(pins)
                epoch[0] += 1
                done.wait(0.005)
        for thread in threads:
            thread.join(30)
        assert not failures, failures[:5]
        assert sent[0] >= REQUESTS
        assert epoch[0] > 100
        right.settle()
        assert len(right.connections) == 4  # never disturbed


@pytest.mark.fresh_process
def test_tasks_sending_while_pins_are_replaced(version):
    """The same for half as many in asyncio with aiohttp, `replace` in a thread of its own."""

    async def main() -> None:
        stop = threading.Event()
        epoch = [0]

        def replace_forever() -> None:
            while not stop.is_set():
                for pins in (right_only, both):
                    epoch[0] += 1
                    pinner.replace(pins)
                    epoch[0] += 1
                    stop.wait(0.02)

        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:

            async def work(server: Server, always: bool) -> None:
                for _ in range(REQUESTS // 16):
                    before = epoch[0]
                    try:
                        async with session.post(server.url_for(HOST), data=b"x") as response:
                            await response.read()
                        error = None
                    except (aiohttp.ClientError, OSError) as caught:
                        error = caught
                    after = epoch[0]
                    if always and error is not None:
                        failures.append(f"satisfied the pins and failed: {error!r}")
                    if not always and not error and before == after and before % 4 == 2:
                        failures.append("completed under pins that were no longer in force")

            thread = threading.Thread(target=replace_forever)
            thread.start()
            try:
                await asyncio.gather(
                    *(work(right, True) for _ in range(4)), *(work(wrong, False) for _ in range(4))
                )
            finally:
                stop.set()
                thread.join()

    failures: list[str] = []
    with Server(pinned(), tls=[version]) as right, Server(unpinned(), tls=[version]) as wrong:
        right_only, both = pins_for(pinned()), pins_for(pinned(), unpinned())
        pinner = Pinner(both)
        context = trusting(pinner)
        asyncio.run(main())
        assert not failures, failures[:5]


def test_a_rule_for_another_host_leaves_the_connection_alone(server):
    pinner = pinner_for(pinned())
    with connect(trusting(pinner), server) as connection:
        rules = [Rule(HOST, [pinned().pin]), Rule("other.example", [unpinned().pin])]
        pinner.replace(PinSet(rules))
        assert exchange(connection).startswith(b"HTTP/1.1 200")


def test_a_signal_handler_may_replace_pins(server):
    """The lock is taken again by the same thread."""
    pinner = pinner_for(pinned())
    with LOCK:
        pinner.replace(pins_for(unpinned()))
    assert pinner.pins == pins_for(unpinned())
    with pytest.raises(PinMismatch):
        connect(trusting(pinner), server)


def test_a_connection_that_dropped_tls_is_left_alone_where_nothing_is_pinned(server):
    """FTP's CCC goes on in the clear; replacing pins for other hosts must not end it."""
    pinner = Pinner(PinSet({}))
    with connect(trusting(pinner), server) as connection:
        exchange(connection)
        connection.shutdown(socket.SHUT_RD)
        pinner.replace(PinSet({"other.example": [pinned().pin]}))
        assert connection.fileno() != -1
        assert connection._sslobj is None


def test_an_approval_is_not_remembered_across_what_it_was_given_for(server):
    """Pins, chain, host, verification: each alone makes a new decision."""
    pinner = pinner_for(pinned())
    context = trusting(pinner)
    for _ in range(3):
        connect(context, server).close()
    server.serve(unpinned())
    with pytest.raises(PinMismatch):
        connect(context, server)
    server.serve(pinned().renew())  # the same key, another certificate
    connect(context, server).close()
    pinner.replace(pins_for(unpinned()))
    with pytest.raises(PinMismatch):
        connect(context, server)
    pinner.replace(pins_for(pinned()))
    connect(context, server).close()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with pytest.raises(PinMismatch):
        connect(context, server)


def test_an_unconnected_socket_does_not_get_in_the_way():
    pinner = pinner_for(pinned())
    with trusting(pinner).wrap_socket(socket.socket(), server_hostname=HOST):
        pinner.replace(pins_for(unpinned()))
    assert authority() is not None
