"""Messaging: paho-mqtt, pika, stomp.py and nats-py."""

from __future__ import annotations

import json
import ssl
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Queue
from typing import TYPE_CHECKING

from ..client import TIMEOUT, Client, Endpoint, Request, event_loop
from ..dialogue import Dialogue
from ..kept import end_transports

if TYPE_CHECKING:
    from keypin.lab import Channel

# MQTT 3.1.1

CONNACK, PUBACK, PINGRESP = b"\x20\x02\x00\x00", b"\x40\x02", b"\xd0\x00"


def mqtt_server(channel: Channel) -> None:
    """Accept every message, and deliver none."""
    reader = channel.reader()
    while header := reader.read(2):
        # no packet of this client is as long as 128 bytes
        packet = reader.read(header[1])
        match header[0] >> 4:
            case 1:  # CONNECT
                channel.sendall(CONNACK)
            case 3:  # PUBLISH
                size = int.from_bytes(packet[:2], "big")
                channel.sendall(PUBACK + packet[2 + size : 4 + size])
            case 12:  # PINGREQ
                channel.sendall(PINGRESP)
            case _:
                return


@contextmanager
def leaving_sockets() -> Iterator[None]:
    """paho-mqtt leaves the socket of a failed handshake to the garbage collector."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            yield
        except ssl.SSLError as error:
            traceback.clear_frames(error.__traceback__)
            raise


@contextmanager
def by_paho(endpoint: Endpoint) -> Iterator[Request]:
    """A client whose loop is run by hand, and connected again as its own loop_forever does."""
    from paho.mqtt.client import CallbackAPIVersion, Client, MQTTErrorCode

    client = Client(CallbackAPIVersion.VERSION2)
    client.tls_set(endpoint.cafile, endpoint.client_certificate, endpoint.client_certificate)

    def wait_until(done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + TIMEOUT
        while not done():
            if client.loop() != MQTTErrorCode.MQTT_ERR_SUCCESS:
                client.reconnect()
            if time.monotonic() > deadline:
                raise TimeoutError

    def request() -> None:
        with leaving_sockets():
            if not client.is_connected():
                client.connect(endpoint.host, endpoint.port)
                wait_until(client.is_connected)
            wait_until(client.publish("news", b"hello", qos=1).is_published)

    yield request
    client.disconnect()


# AMQP 0-9-1


def amqp_server(channel: Channel) -> None:
    """Have every queue that is asked for."""
    from pika import frame, spec

    answers = {
        spec.Connection.StartOk: lambda: spec.Connection.Tune(0, 131072, 0),
        spec.Connection.Open: spec.Connection.OpenOk,
        spec.Connection.Close: spec.Connection.CloseOk,
        spec.Channel.Open: spec.Channel.OpenOk,
        spec.Channel.Close: spec.Channel.CloseOk,
        spec.Queue.Declare: lambda: spec.Queue.DeclareOk("things", 0, 0),
    }
    received = channel.recv(8)
    if received == b"AMQP\x00\x00\x09\x01":
        channel.sendall(frame.Method(0, spec.Connection.Start()).marshal())
    received = b""
    while data := channel.recv():
        received += data
        while (decoded := frame.decode_frame(received))[1] is not None:
            size, asked = decoded
            received = received[size:]
            method = getattr(asked, "method", None)
            if type(method) in answers:
                answer = answers[type(method)]()
                channel.sendall(frame.Method(asked.channel_number, answer).marshal())


@contextmanager
def by_pika(endpoint: Endpoint) -> Iterator[Request]:
    """A blocking connection, made again where it is lost, as the documentation shows it."""
    import pika

    parameters = pika.ConnectionParameters(
        endpoint.host,
        endpoint.port,
        ssl_options=pika.SSLOptions(endpoint.new_context(), endpoint.host),
        blocked_connection_timeout=TIMEOUT,
    )
    opened: list[pika.adapters.blocking_connection.BlockingChannel] = []

    def connect() -> None:
        opened.append(pika.BlockingConnection(parameters).channel())

    def request() -> object:
        if not opened:
            connect()
        try:
            return opened[-1].queue_declare("things")
        except pika.exceptions.AMQPConnectionError:
            connect()
            return opened[-1].queue_declare("things")

    yield request
    for channel in opened:
        if channel.connection.is_open:
            channel.connection.close()


# STOMP 1.1


def stomp_server(channel: Channel) -> None:
    """Give a receipt for everything."""
    reader = channel.reader()
    while command := reader.readline():
        headers = {}
        while (line := reader.readline()).strip():
            name, _, value = line.strip().partition(b":")
            headers[name] = value
        while command.strip() and reader.read(1) not in (b"\x00", b""):
            pass
        if command.strip() in (b"CONNECT", b"STOMP"):
            channel.sendall(b"CONNECTED\nversion:1.1\n\n\x00")
        elif b"receipt" in headers:
            channel.sendall(b"RECEIPT\nreceipt-id:" + headers[b"receipt"] + b"\n\n\x00")


@contextmanager
def by_stomp(endpoint: Endpoint) -> Iterator[Request]:
    """A connection, made again where it is lost."""
    import stomp

    address = (endpoint.host, endpoint.port)
    connection = stomp.Connection([address], reconnect_sleep_initial=0.01, timeout=TIMEOUT)
    connection.set_ssl(
        [address],
        ca_certs=endpoint.cafile,
        cert_file=endpoint.client_certificate,
        key_file=endpoint.client_certificate,
    )
    answers: Queue[str | None] = Queue()

    class Listener(stomp.ConnectionListener):
        def on_receipt(self, frame: stomp.utils.Frame) -> None:
            answers.put(frame.headers["receipt-id"])

        def on_disconnected(self) -> None:
            answers.put(None)

    connection.set_listener("answers", Listener())

    def send() -> str | None:
        if not connection.is_connected():
            connection.connect("me", "secret", wait=True)
        connection.send("/queue/things", "hello", receipt="1")
        return answers.get(timeout=TIMEOUT)

    def request() -> None:
        while send() is None:
            pass

    yield request
    if connection.is_connected():
        connection.disconnect()


# NATS

NATS_INFO = {
    "server_id": "S",
    "version": "2.10.0",
    "proto": 1,
    "max_payload": 1024,
    "tls_required": True,
}


def nats_before_tls(channel: Channel) -> bool:
    """Say that TLS is required; the client begins it."""
    channel.sendall(b"INFO " + json.dumps(NATS_INFO).encode() + b"\r\n")
    return True


NATS = Dialogue(b"", lambda line: b"PONG\r\n" if line == b"PING" else b"")


@contextmanager
def by_nats(endpoint: Endpoint) -> Iterator[Request]:
    """A client, and another one where it loses its connection."""
    import nats

    context = endpoint.new_context()
    opened: list[nats.NATS] = []

    async def connect() -> None:
        client = await nats.connect(
            f"tls://{endpoint.host}:{endpoint.port}",
            tls=context,
            allow_reconnect=False,
            connect_timeout=TIMEOUT,
        )
        opened.append(client)

    async def request() -> None:
        if not opened:
            await connect()
        try:
            # one that is waiting when the connection is lost is not told of it
            await opened[-1].flush(timeout=1)
        except nats.errors.Error:
            await connect()
            await opened[-1].flush(TIMEOUT)

    async def close() -> None:
        for client in opened:
            await client.close()
        await end_transports()

    with event_loop() as portal:
        yield lambda: portal.call(request)
        portal.call(close)


CLIENTS = [
    Client(
        "paho-mqtt",
        by_paho,
        ("paho-mqtt",),
        "mqtts",
        mqtt_server,
        proxy=False,
        notes="`loop_start` and `loop_forever` connect again and again, silently",
    ),
    Client("pika", by_pika, ("pika",), "amqps", amqp_server, proxy=False),
    Client(
        "stomp.py",
        by_stomp,
        ("stomp.py",),
        "stomp+ssl",
        stomp_server,
        proxy=False,
        explains=False,
        explains_a_cut=False,
        notes="tries three times; its error tells nothing of the pins, its log does",
    ),
    Client("nats-py", by_nats, ("nats-py", "anyio"), "nats", NATS, nats_before_tls, proxy=False),
]
