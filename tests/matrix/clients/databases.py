"""Databases: redis-py, asyncpg, PyMySQL, aiomysql and pymongo."""

from __future__ import annotations

import asyncio
import io
import struct
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from ..client import TIMEOUT, Client, Endpoint, Request, event_loop
from ..kept import end_transports, kept

if TYPE_CHECKING:
    import aiomysql
    import asyncpg
    import pymysql
    import redis

    from keypin.lab import Channel

# Redis

REDIS_ANSWERS = {b"PING": b"+PONG\r\n", b"HELLO": b"%1\r\n+proto\r\n:3\r\n"}


def redis_server(channel: Channel) -> None:
    """Answer commands in RESP3."""
    reader = channel.reader()
    while header := reader.readline():
        words = []
        for _ in range(int(header[1:])):
            size = int(reader.readline()[1:])
            words.append(reader.read(size + 2)[:-2].upper())
        channel.sendall(REDIS_ANSWERS.get(words[0], b"+OK\r\n"))


def redis_options(endpoint: Endpoint) -> dict[str, Any]:
    """What both of redis-py's clients are given."""
    return {
        "host": endpoint.host,
        "port": endpoint.port,
        "ssl": True,
        "ssl_ca_certs": endpoint.cafile,
        "ssl_certfile": endpoint.client_certificate,
        "ssl_keyfile": endpoint.client_certificate,
        "socket_timeout": TIMEOUT,
    }


def make_impatient(client: redis.Redis | redis.asyncio.Redis) -> None:
    """Let it retry as often as it does by default, without the pauses, which grow to a second."""
    from redis.backoff import NoBackoff

    retry = client.get_retry()
    client.set_retry(type(retry)(NoBackoff(), retry.get_retries()))


@contextmanager
def by_redis(endpoint: Endpoint) -> Iterator[Request]:
    """A client, which has a pool of connections."""
    import redis

    with redis.Redis(**redis_options(endpoint)) as client:
        make_impatient(client)
        yield client.ping


@contextmanager
def by_redis_asyncio(endpoint: Endpoint) -> Iterator[Request]:
    """The same for asyncio."""
    import redis.asyncio

    client = redis.asyncio.Redis(**redis_options(endpoint))
    make_impatient(client)
    with event_loop() as portal:
        yield lambda: portal.call(client.ping)
        portal.call(client.aclose)
        portal.call(end_transports)


# PostgreSQL, protocol 3.0

SSL_REQUEST = struct.pack("!ii", 8, 80877103)


def postgres_message(kind: bytes, content: bytes) -> bytes:
    """A message with its length."""
    return kind + struct.pack("!i", 4 + len(content)) + content


READY = postgres_message(b"Z", b"I")
WELCOME = (
    postgres_message(b"R", struct.pack("!i", 0))
    + postgres_message(b"S", b"server_version\x0017.0\x00")
    + postgres_message(b"S", b"client_encoding\x00UTF8\x00")
    + postgres_message(b"K", struct.pack("!ii", 1, 2))
    + READY
)


def postgres_before_tls(channel: Channel) -> bool:
    """Agree to TLS."""
    if channel.recv() != SSL_REQUEST:
        return False
    channel.sendall(b"S")
    return True


def postgres_server(channel: Channel) -> None:
    """Let everybody in, and find nothing."""
    reader = channel.reader()
    if not _postgres_content(reader):
        return
    channel.sendall(WELCOME)
    while kind := reader.read(1):
        _postgres_content(reader)
        if kind == b"Q":
            channel.sendall(postgres_message(b"C", b"SELECT 0\x00") + READY)


def _postgres_content(reader: io.BufferedReader) -> bytes:
    length = reader.read(4)
    return reader.read(struct.unpack("!i", length)[0] - 4) if len(length) == 4 else b""


@contextmanager
def by_asyncpg(endpoint: Endpoint) -> Iterator[Request]:
    """A connection, and another one where it is lost."""
    import asyncpg

    context = endpoint.new_context()
    opened: list[asyncpg.Connection] = []

    async def request() -> object:
        if not opened or opened[-1].is_closed():
            connection = await asyncpg.connect(
                host=endpoint.host,
                port=endpoint.port,
                user="me",
                password="secret",
                database="postgres",
                ssl=context,
                timeout=TIMEOUT,
            )
            opened.append(connection)
        return await opened[-1].execute("SELECT 1")

    async def close() -> None:
        for connection in opened:
            connection.terminate()
        await end_transports()

    with event_loop() as portal:
        yield lambda: portal.call(request)
        portal.call(close)


# MySQL

CAPABILITIES = 0x8A09  # LONG_PASSWORD, CONNECT_WITH_DB, PROTOCOL_41, SSL, SECURE_CONNECTION
PLUGIN_AUTH = 0x8
MYSQL_GREETING = (
    b"\x0a8.0.0\x00"
    + struct.pack("<I", 1)
    + b"12345678\x00"
    + struct.pack("<HBHHB", CAPABILITIES, 45, 2, PLUGIN_AUTH, 21)
    + bytes(10)
    + b"123456789012\x00mysql_native_password\x00"
)
MYSQL_OK = b"\x00\x00\x00\x02\x00\x00\x00"
SSL_REQUEST_SIZE = 4 + 32
COM_QUIT = 1


def mysql_packet(sequence: int, content: bytes) -> bytes:
    """A packet with its length and number."""
    return struct.pack("<I", len(content))[:3] + bytes([sequence]) + content


def mysql_before_tls(channel: Channel) -> bool:
    """Greet, and wait for the client's wish to begin TLS."""
    channel.sendall(mysql_packet(0, MYSQL_GREETING))
    wish = b""
    # and not a byte more: clients begin TLS without waiting for an answer
    while len(wish) < SSL_REQUEST_SIZE and (data := channel.recv(SSL_REQUEST_SIZE - len(wish))):
        wish += data
    return len(wish) == SSL_REQUEST_SIZE


def mysql_server(channel: Channel) -> None:
    """Let everybody in, and find everything all right."""
    reader = channel.reader()
    while len(header := reader.read(4)) == 4:
        content = reader.read(int.from_bytes(header[:3], "little"))
        if header[3] == 0 and content[0] == COM_QUIT:
            return
        channel.sendall(mysql_packet(header[3] + 1, MYSQL_OK))


def by_pymysql(endpoint: Endpoint) -> AbstractContextManager[Request]:
    """A connection, which reconnects."""
    import pymysql

    def connect(opened: ExitStack) -> pymysql.Connection:
        connection = pymysql.connect(
            host=endpoint.host,
            port=endpoint.port,
            user="me",
            password="secret",
            ssl_ca=endpoint.cafile,
            ssl_cert=endpoint.client_certificate,
            ssl_key=endpoint.client_certificate,
            ssl_verify_cert=True,
            ssl_verify_identity=True,
            connect_timeout=TIMEOUT,
            read_timeout=TIMEOUT,
        )
        opened.callback(connection._force_close)
        return connection

    return kept(connect, lambda connection: connection.ping())


@contextmanager
def by_aiomysql(endpoint: Endpoint) -> Iterator[Request]:
    """A connection, which reconnects."""
    import aiomysql

    context = endpoint.new_context()
    opened: list[aiomysql.Connection] = []

    async def request() -> object:
        if opened:
            return await opened[0].ping()
        connection = await aiomysql.connect(
            host=endpoint.host,
            port=endpoint.port,
            user="me",
            password="secret",
            ssl=context,
            connect_timeout=TIMEOUT,
        )
        opened.append(connection)
        return await connection.ping()

    async def close() -> None:
        for connection in opened:
            connection.close()
        await end_transports()

    with event_loop() as portal:
        yield lambda: portal.call(request)
        portal.call(close)


# MongoDB

OP_REPLY, OP_QUERY, OP_MSG = 1, 2004, 2013


def mongo_server(channel: Channel) -> None:
    """Answer whatever is asked with what a server says of itself."""
    import bson

    answer = bson.encode(
        {
            "ok": 1,
            "ismaster": True,
            "helloOk": True,
            "minWireVersion": 0,
            "maxWireVersion": 21,
            "maxBsonObjectSize": 16 * 1024 * 1024,
            "maxMessageSizeBytes": 48_000_000,
            "maxWriteBatchSize": 100_000,
            "logicalSessionTimeoutMinutes": 30,
            "cursor": {"id": bson.Int64(0), "ns": "me.things", "firstBatch": []},
        }
    )
    reader = channel.reader()
    while len(header := reader.read(16)) == 16:
        length, number, _, kind = struct.unpack("<iiii", header)
        reader.read(length - 16)
        if kind == OP_QUERY:
            kind, content = OP_REPLY, struct.pack("<iqii", 8, 0, 0, 1) + answer
        else:
            content = struct.pack("<ib", 0, 0) + answer
        channel.sendall(struct.pack("<iiii", 16 + len(content), 1, number, kind) + content)


def mongo_options(endpoint: Endpoint) -> dict[str, Any]:
    """What both of pymongo's clients are given."""
    return {
        "host": endpoint.host,
        "port": endpoint.port,
        "tls": True,
        "tlsCAFile": endpoint.cafile,
        "tlsCertificateKeyFile": endpoint.client_certificate,
        # its monitor retries until then; `Listener.awaits_first` says whether that is too early
        "serverSelectionTimeoutMS": 1,
        "connect": False,
    }


def import_pymongo() -> Any:
    """Import it so that its blocking client uses ssl, also where pyOpenSSL is installed."""
    sys.modules.setdefault("pymongo.pyopenssl_context", None)  # type: ignore[arg-type]
    import pymongo

    return pymongo


def heartbeat_listener() -> Any:
    """Tell whether a monitor is looking at its server, which it does twice a second at most."""
    from pymongo.monitoring import ServerHeartbeatListener

    class Listener(ServerHeartbeatListener):
        def __init__(self) -> None:
            self.idle = threading.Event()
            self.idle.set()
            self.successes = self.failures = 0
            self.patience = time.monotonic() + TIMEOUT

        def awaits_first(self) -> bool:
            """Whether the monitor has yet to see its server, on a busy machine."""
            seen = self.successes or self.failures
            return not seen and time.monotonic() < self.patience

        def started(self, event: object) -> None:
            self.idle.clear()

        def succeeded(self, event: object) -> None:
            self.successes += 1
            self.idle.set()

        def failed(self, event: object) -> None:
            self.failures += 1
            self.idle.set()

    return Listener()


@contextmanager
def by_pymongo(endpoint: Endpoint) -> Iterator[Request]:
    """A client, which has a pool of connections and a monitor."""
    pymongo, listener = import_pymongo(), heartbeat_listener()
    options = mongo_options(endpoint)
    with pymongo.MongoClient(**options, event_listeners=[listener]) as client:

        def request() -> object:
            while True:
                try:
                    return client.me.things.find_one()
                except pymongo.errors.ServerSelectionTimeoutError:
                    if not listener.awaits_first():
                        raise

        yield request
        listener.idle.wait(TIMEOUT)
    # closing does not wait for the monitor, which may be about to connect again
    for thread in threading.enumerate():
        if listener.failures and thread.name == "pymongo_server_monitor_thread":
            thread.join(TIMEOUT)


@contextmanager
def by_pymongo_asyncio(endpoint: Endpoint) -> Iterator[Request]:
    """The same for asyncio."""
    pymongo, listener = import_pymongo(), heartbeat_listener()
    client = pymongo.AsyncMongoClient(**mongo_options(endpoint), event_listeners=[listener])

    async def request() -> object:
        while True:
            try:
                return await client.me.things.find_one()
            except pymongo.errors.ServerSelectionTimeoutError:
                if not listener.awaits_first():
                    raise

    async def close() -> None:
        # pymongo leaves a socket open if it is closed while it connects
        await asyncio.to_thread(listener.idle.wait, TIMEOUT)
        await client.close()
        await end_transports()

    with event_loop() as portal:
        try:
            yield lambda: portal.call(request)
        finally:
            portal.call(close)


REDIS = {
    "protocol": "rediss",
    "application": redis_server,
    "proxy": False,
    "notes": "retries ten times, within some seconds",
}
MYSQL = {
    "protocol": "mysql",
    "application": mysql_server,
    "before_tls": mysql_before_tls,
    "proxy": False,
}
MONGO = {
    "protocol": "mongodb",
    "application": mongo_server,
    "proxy": False,
    "explains": False,
    "explains_a_cut": False,
    "talks_by_itself": True,
}
CLIENTS = [
    Client("redis", by_redis, ("redis",), **REDIS),
    Client("redis.asyncio", by_redis_asyncio, ("redis", "anyio"), **REDIS),
    Client(
        "asyncpg",
        by_asyncpg,
        ("asyncpg", "anyio"),
        "postgresql",
        postgres_server,
        postgres_before_tls,
        proxy=False,
        explains_a_cut=False,
        notes="with `ssl=` a context; by default it goes on **in the clear** where TLS is refused",
    ),
    Client(
        "PyMySQL",
        by_pymysql,
        ("PyMySQL",),
        **MYSQL,
        notes="with `ssl_verify_identity=True`; by default it does not verify, and is refused",
    ),
    Client("aiomysql", by_aiomysql, ("aiomysql", "anyio"), **MYSQL),
    Client(
        "pymongo MongoClient",
        by_pymongo,
        ("pymongo",),
        **MONGO,
        notes="**not covered** where pyOpenSSL is installed, which it prefers; tries"
        " again until `serverSelectionTimeoutMS`, and its error tells of the pins in its text only",
    ),
    Client(
        "pymongo AsyncMongoClient",
        by_pymongo_asyncio,
        ("pymongo", "anyio"),
        **MONGO,
        notes="tries again until `serverSelectionTimeoutMS`, and its error tells of the pins in its"
        " text only",
    ),
]
