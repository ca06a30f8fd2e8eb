"""More ways past the guard: inside OpenSSL after the handshake, and beside it."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import subprocess
import sys
import textwrap
import threading

import pytest
from scene import (
    HOST,
    REQUEST,
    authority,
    connect,
    exchange,
    pinned,
    pinner_for,
    pins_for,
    trusting,
    unpinned,
)

from keypin import PinMismatch, Pinner, PinSet
from keypin.lab import Server


class Memory:
    """A client over memory BIOs, by hand, that flushes whatever happened."""

    def __init__(self, context, server, host=HOST) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname=host)
        self.tcp = socket.create_connection(server.address, timeout=20)

    def call(self, name, *arguments):
        while True:
            try:
                result = getattr(self.tls, name)(*arguments)
            except ssl.SSLWantReadError:
                self.flush()
                self.receive()
            except BaseException:
                self.flush()
                raise
            else:
                self.flush()
                return result

    def receive(self):
        data = self.tcp.recv(65536)
        if data:
            self.incoming.write(data)
        else:
            self.incoming.write_eof()

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self.tcp.sendall(self.outgoing.read())

    def close(self) -> None:
        self.flush()
        self.tcp.close()


def default_context() -> ssl.SSLContext:
    return ssl.create_default_context(cadata=authority().pem)


@pytest.fixture
def my_files(me, tmp_path):
    return me.write(tmp_path / "me")


def when_asked(act, number=13):
    """A message callback that acts once a server asks for a certificate."""
    acted = []

    def callback(owner, direction, version, kind, message, data):
        if not acted and direction == "read" and int(kind) == 22 and int(message) == number:
            acted.append(True)
            act()

    return callback


@pytest.mark.parametrize("loaded", ["before", "after"])
@pytest.mark.parametrize("kind", ["socket", "object"])
@pytest.mark.parametrize("thread", ["the same", "another"])
def test_a_replacement_while_a_server_asks_after_the_handshake(
    thread, kind, loaded, clients, my_files
):
    """It asks in a read, which OpenSSL answers before that returns."""
    pinner = pinner_for(pinned())
    context = default_context()
    context.post_handshake_auth = True
    if loaded == "before":
        context.load_cert_chain(my_files.chain, my_files.key)
    pinner.protect(context)
    if loaded == "after":
        context.load_cert_chain(my_files.chain, my_files.key)
    replaced = []

    def replace():
        pinner.replace(pins_for(unpinned()))
        replaced.append(True)

    threads = []

    def replace_in_another_thread():
        threads.append(threading.Thread(target=replace))
        threads[0].start()
        # for an object, it comes back only when this thread has
        while not any(guard.refusal for guard in pinner._living_guards()):
            pass
        if kind == "socket":
            threads[0].join(20)

    context._msg_callback = when_asked(
        replace if thread == "the same" else replace_in_another_thread
    )
    with Server(
        pinned(), tls=["1.3"], client_ca=clients.certificate, post_handshake=True
    ) as server:
        if kind == "socket":
            with connect(context, server) as connection:
                with contextlib.suppress(OSError):
                    exchange(connection)
        else:
            client = Memory(context, server)
            client.call("do_handshake")
            with contextlib.suppress(OSError):
                client.call("write", REQUEST)
                client.call("read", 100)
            client.close()
        for each in threads:
            each.join(20)
        records = server.settle()
    assert replaced
    assert [record.client_certificate_seen for record in records] == [False]


ANSWERING = """
    import contextlib, ssl, sys
    from scene import HOST, connect, pinned, pinner_for, pins_for, trusting, unpinned
    from test_more_attacks import Memory, default_context
    from keypin.lab import Authority, Server

    version, kind, loaded, folder = sys.argv[1:]
    clients = Authority("CA of the clients")
    me = clients.issue(common_name="me", extended_key_usage=["clientAuth"])
    with open(folder + "/me.pem", "wb") as file:
        file.write(me.key_pem + me.chain_pem)
    refused = 0
    with Server(pinned(), tls=[version], client_ca=clients.certificate) as server:
        for written in (22, 11), (22, 15), (22, 20), (256, 22), (256, 23):
            for _ in range(3):
                pinner = pinner_for(pinned())
                context = default_context()
                if loaded == "before":
                    context.load_cert_chain(folder + "/me.pem")
                pinner.protect(context)
                if loaded == "after":
                    context.load_cert_chain(folder + "/me.pem")
                acted, proved = [], []

                def callback(owner, direction, version, kind, message, data):
                    if direction == "read" and kind == 22 and message in (14, 20):
                        proved.append(True)
                    if proved and direction == "write" and (kind, message) == written:
                        if acted:
                            return
                        acted.append(True)
                        pinner.replace(pins_for(unpinned()))

                context._msg_callback = callback
                try:
                    if kind == "socket":
                        connect(context, server)
                    else:
                        client = Memory(context, server)
                        try:
                            client.call("do_handshake")
                        finally:
                            client.close()
                except ssl.SSLCertVerificationError:
                    refused += len(acted)
        server.settle()
        print(refused, server.application_bytes)
"""


@pytest.mark.parametrize("loaded", ["before", "after"])
@pytest.mark.parametrize("kind", ["socket", "object"])
def test_a_replacement_while_the_client_answers_with_its_certificate(
    kind, loaded, version, tmp_path
):
    """OpenSSL calls back twice for a record, and crashes if the first call switches that off."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(ANSWERING), version, kind, loaded, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert not done.returncode, done.stderr
    refused, application_bytes = done.stdout.split()
    assert int(refused) >= 9
    assert application_bytes == "0"


@pytest.mark.parametrize("kind", ["socket", "object"])
@pytest.mark.parametrize("way", ["install", "replace"])
def test_a_name_that_the_program_checks_itself_is_pinned_in_a_handshake_on_its_way(
    way, kind, version
):
    """What is not over when the pins begin has no certificate yet that could be looked at."""
    for credential in unpinned(), pinned():
        context = default_context()
        context.check_hostname = False
        pinner = pinner_for(pinned()) if way == "install" else Pinner(PinSet([]))
        if way == "replace":
            pinner.install()
        with Server(credential, tls=[version]) as server, contextlib.ExitStack() as closing:
            if kind == "socket":
                connection = connect(
                    context, server, server_hostname="127.0.0.1", do_handshake_on_connect=False
                )
            else:
                connection = Memory(context, server, "127.0.0.1")
                with pytest.raises(ssl.SSLWantReadError):
                    connection.tls.do_handshake()
                connection.flush()
            closing.callback(connection.close)
            if way == "install":
                pinner.install()
            else:
                pinner.replace(pins_for(pinned()))
            closing.callback(pinner.uninstall)
            with pytest.raises(ssl.SSLCertVerificationError, match="connect anew"):
                if kind == "socket":
                    connection.do_handshake()
                    connection.sendall(REQUEST)
                else:
                    connection.call("do_handshake")
                    connection.call("write", REQUEST)
            closing.close()
            server.settle()
        assert server.application_bytes == 0


def test_a_replacement_waits_for_an_object_that_another_thread_shakes_hands_with(
    version, clients, my_files
):
    """What OpenSSL still writes is discarded before it returns, so that no pump gets at it."""
    pinner = pinner_for(pinned())
    context = trusting(pinner)
    context.load_cert_chain(my_files.chain, my_files.key)
    order, replacing = [], []

    def replace():
        pinner.replace(pins_for(unpinned()))
        order.append("replaced")

    def at_the_answer(owner, direction, version, kind, message, data):
        if not replacing and (direction, int(kind), int(message)) == ("write", 22, 20):
            replacing.append(threading.Thread(target=replace))
            replacing[0].start()
            while not any(guard.refusal for guard in pinner._living_guards()):
                pass
            replacing[0].join(0.2)
            order.append("answered")

    context._msg_callback = at_the_answer
    with Server(pinned(), tls=[version], client_ca=clients.certificate) as server:
        client = Memory(context, server)
        with pytest.raises(PinMismatch):
            client.call("do_handshake")
        client.close()
        replacing[0].join(20)
    assert order == ["answered", "replaced"]
