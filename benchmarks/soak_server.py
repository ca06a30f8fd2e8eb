"""The servers of the soak, in a process of their own, so that their memory is not measured.

    python soak_server.py FOLDER

FOLDER holds `pinned.pem` and `unpinned.pem`, each a key and a chain, and `clients.pem`, who
certifies clients. It prints a port for each of `SERVERS`, and ends when its standard input does;
then it prints how many application bytes the server with the wrong key received.
"""

from __future__ import annotations

import itertools
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import server

__all__ = ["Servers", "running"]

BACKLOG = 1024
CHUNK = 64 * 1024
PATIENCE = 20.0
ANSWERING = "answering"
SERVERS = ("pinned", "keeping", "unpinned", "cutting")
"""pinned: with tickets. keeping: it keeps the sessions itself. cutting: see `Cutting`."""


class Servers:
    """Where they listen, and in the end what the one with the wrong key received.

    Args:
        process: that they run in.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        assert process.stdout is not None
        ports = map(int, process.stdout.readline().split())
        self.addresses = {
            name: ("127.0.0.1", port) for name, port in zip(SERVERS, ports, strict=True)
        }

    def end(self) -> int:
        """End them; returns the bytes that the server with the wrong key received."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        return int(self._process.stdout.readline())


@contextmanager
def running(folder: Path) -> Iterator[Servers]:
    """Run this file as a process."""
    command = [sys.executable, __file__, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            yield Servers(process)
        finally:
            process.terminate()


def main(folder: Path) -> None:
    received = itertools.count()  # atomic, where an addition is not
    pinned, keeping, unpinned = (
        context_for(folder, name) for name in ("pinned", "pinned", "unpinned")
    )
    keeping.options |= ssl.OP_NO_TICKET
    keeping.maximum_version = ssl.TLSVersion.TLSv1_2

    def count(sock: socket.socket) -> None:
        with sock, suppress(OSError):
            sock.settimeout(PATIENCE)
            with unpinned.wrap_socket(sock, server_side=True) as tls:
                while data := tls.recv(CHUNK):
                    for _ in data:
                        next(received)

    answers = (
        lambda sock: serve(sock, pinned),
        lambda sock: serve(sock, keeping),
        count,
        Cutting(pinned, unpinned),
    )
    ports = [listen(answer) for answer in answers]
    print(*ports, flush=True)
    sys.stdin.buffer.read()
    for thread in threading.enumerate():
        if thread.name == ANSWERING:
            thread.join()
    print(next(received), flush=True)


def context_for(folder: Path, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / f"{name}.pem")
    context.load_verify_locations(folder / "clients.pem")
    context.verify_mode = ssl.CERT_OPTIONAL
    return context


def listen(answer: Callable[[socket.socket], None]) -> int:
    """Answer each connection in a thread of its own; returns the port."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)

    def accept() -> None:
        while True:
            sock, _ = listening.accept()
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=answer, args=(sock,), name=ANSWERING, daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    port: int = listening.getsockname()[1]
    return port


def serve(sock: socket.socket, context: ssl.SSLContext) -> None:
    """Answer whatever comes, and end TLS in order, without which no session is kept."""
    with sock, suppress(OSError):
        sock.settimeout(PATIENCE)
        with context.wrap_socket(sock, server_side=True) as tls:
            while tls.recv(CHUNK):
                tls.sendall(server.response_head(0))
            tls.unwrap()


class Cutting:
    """Cuts each connection in the server's first flight, a little later than the one before.

    Args:
        contexts: with which the handshakes are begun, in turn.
    """

    STEP = 61  # bytes; prime, so that it comes to other places each time round

    def __init__(self, *contexts: ssl.SSLContext) -> None:
        self._contexts = itertools.cycle(contexts)
        self._places = itertools.count(0, self.STEP)
        self._lock = threading.Lock()

    def __call__(self, sock: socket.socket) -> None:
        """Send a part of the flight that answers a ClientHello."""
        with self._lock:
            context, place = next(self._contexts), next(self._places)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_side=True)
        with sock, suppress(OSError):
            sock.settimeout(PATIENCE)
            while not outgoing.pending:
                if not (data := sock.recv(CHUNK)):
                    return
                incoming.write(data)
                with suppress(ssl.SSLWantReadError):
                    tls.do_handshake()
            flight = outgoing.read()
            sock.sendall(flight[: place % (len(flight) + 1)])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
