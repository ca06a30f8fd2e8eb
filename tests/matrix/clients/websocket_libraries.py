"""WebSocket clients (RFC 6455): websockets and websocket-client."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..client import TIMEOUT, Client, Endpoint, Request, event_loop

if TYPE_CHECKING:
    from keypin.lab import Channel

HELLO = "hello"


def echo_messages(channel: Channel) -> None:
    """Accept a WebSocket, and send every message back."""
    from websockets.frames import Opcode
    from websockets.http11 import Request as Handshake
    from websockets.server import ServerProtocol

    protocol = ServerProtocol()
    while not protocol.close_expected():
        data = channel.recv()
        if not data:
            return
        protocol.receive_data(data)
        for event in protocol.events_received():
            if isinstance(event, Handshake):
                protocol.send_response(protocol.accept(event))
            elif event.opcode is Opcode.TEXT:
                protocol.send_text(event.data)
        for piece in protocol.data_to_send():
            channel.sendall(piece)


@contextmanager
def by_websockets(endpoint: Endpoint) -> Iterator[Request]:
    """websockets, with a thread that reads."""
    from websockets.sync.client import ClientConnection, connect

    context = endpoint.new_context()
    opened: list[ClientConnection] = []

    def request() -> str | bytes:
        if not opened:
            connecting = connect(
                endpoint.url, ssl=context, proxy=endpoint.proxy, open_timeout=TIMEOUT
            )
            opened.append(stack.enter_context(connecting))
        opened[0].send(HELLO)
        return opened[0].recv(TIMEOUT)

    with ExitStack() as stack:
        yield request


@contextmanager
def by_websockets_async(backend: str, endpoint: Endpoint) -> Iterator[Request]:
    """Websockets on asyncio or trio."""
    import anyio

    library = import_module(f"websockets.{backend}.client")
    context = endpoint.new_context()
    opened: list[Any] = []

    async def exchange() -> str | bytes:
        with anyio.fail_after(TIMEOUT):
            await opened[0].send(HELLO)
            return await opened[0].recv()

    def request() -> str | bytes:
        if not opened:
            connecting = library.connect(endpoint.url, ssl=context, proxy=endpoint.proxy)
            # trio's has a nursery, and so must be entered and left in one task
            entering = portal.wrap_async_context_manager(connecting)
            opened.append(stack.enter_context(entering))
        return portal.call(exchange)

    with event_loop(backend) as portal, ExitStack() as stack:
        yield request


@contextmanager
def by_websocket_client(endpoint: Endpoint) -> Iterator[Request]:
    """websocket-client."""
    import websocket

    settings: dict[str, Any] = {"sslopt": {"context": endpoint.new_context()}}
    if endpoint.proxy:
        host, port = endpoint.proxy_address
        settings |= {"http_proxy_host": host, "http_proxy_port": port, "proxy_type": "http"}
    opened: list[websocket.WebSocket] = []

    def request() -> str | bytes:
        if not opened:
            opened.append(websocket.create_connection(endpoint.url, timeout=TIMEOUT, **settings))
        opened[0].send(HELLO)
        return opened[0].recv()

    try:
        yield request
    finally:
        for connection in opened:
            connection.close()


SERVED = {"protocol": "wss", "application": echo_messages}
CLIENTS = [
    # A ticket wakes its thread for receiving, which then reads, in OpenSSL, while the other thread
    # writes. Tried with websockets alone: one connection in 200 loses its request.
    Client(
        "websockets, sync",
        by_websockets,
        ("websockets",),
        session_tickets=False,
        notes="servers that send session tickets (TLS 1.3) break it now and then, pins or no pins",
        **SERVED,
    ),
    Client(
        "websockets, asyncio",
        partial(by_websockets_async, "asyncio"),
        ("websockets", "anyio"),
        explains_a_cut=False,
        **SERVED,
    ),
    Client(
        "websockets, trio",
        partial(by_websockets_async, "trio"),
        ("websockets", "anyio", "trio"),
        explains_a_cut=False,
        **SERVED,
    ),
    Client("websocket-client", by_websocket_client, ("websocket-client", "websockets"), **SERVED),
]
