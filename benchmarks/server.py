"""The server that is measured against, in a process of its own: HTTP/1.1 over TLS, and no more.

    python server.py CREDENTIAL.pem [CLIENT_CA.pem]

It asks clients for a certificate if it has a CA for them, prints its port, and ends when its
standard input does. `/bytes/N` answers N bytes, every other
path two; bodies are taken in. Unlike `keypin.lab.Server` it records nothing, so that it is faster
than the client that is being measured.
"""

from __future__ import annotations

import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["PIECE", "response_head", "running"]

PIECE = 1024 * 1024
BACKLOG = 1024


@contextmanager
def running(*files: Path) -> Iterator[tuple[str, int]]:
    """Run this file as a process, with these arguments; yields its address."""
    command = [sys.executable, __file__, *map(str, files)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield "127.0.0.1", int(process.stdout.readline())
        process.stdin.close()


def response_head(length: int, *, close: bool = False) -> bytes:
    """What comes before a body of so many bytes."""
    connection = "Connection: close\r\n" if close else ""
    return f"HTTP/1.1 200 OK\r\n{connection}Content-Length: {length}\r\n\r\n".encode("ascii")


def main(credential: str, client_ca: str | None = None) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(credential)
    if client_ca is not None:
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    listening = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
    print(listening.getsockname()[1], flush=True)
    threading.Thread(target=accept, args=(listening, context), daemon=True).start()
    sys.stdin.read()


def accept(listening: socket.socket, context: ssl.SSLContext) -> None:
    while True:
        sock, _ = listening.accept()
        threading.Thread(target=serve, args=(sock, context), daemon=True).start()


def serve(sock: socket.socket, context: ssl.SSLContext) -> None:
    with sock, suppress(OSError):  # clients leave as they please
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with context.wrap_socket(sock, server_side=True) as tls, tls.makefile("rb") as stream:
            while request := stream.readline():
                if not answer(tls, stream, request):
                    return


def answer(tls: ssl.SSLSocket, stream: socket.SocketIO, request: bytes) -> bool:
    """Answer one request; True if another may follow."""
    path = request.split()[1]
    length, close = 0, False
    while (line := stream.readline()) not in (b"\r\n", b""):
        name, _, value = line.lower().partition(b":")
        if name == b"content-length":
            length = int(value)
        elif name == b"connection":
            close = value.strip() == b"close"
    piece = bytearray(min(length, PIECE))
    while length:
        length -= stream.readinto(memoryview(piece)[: min(length, PIECE)]) or sys.exit()
    size = int(path.removeprefix(b"/bytes/")) if path.startswith(b"/bytes/") else 2
    tls.sendall(response_head(size, close=close) + bytes(min(size, PIECE)))
    for start in range(PIECE, size, PIECE):
        tls.sendall(bytes(min(size - start, PIECE)))
    return not close


if __name__ == "__main__":
    main(*sys.argv[1:])
