"""Pins for the whole process: whose connections they reach, whose not, and when."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import http.client
import os
import socket
import ssl
import subprocess
import sys
import textwrap
import threading
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import aiohttp
import gevent.ssl
import httpx2
import pytest
import requests
import truststore
import urllib3
import urllib3.util.ssl_
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

import keypin
from keypin import (
    PinMismatch,
    Pinner,
    PinSet,
    PinSetError,
    ProtectionError,
    Reason,
    Rule,
    UnverifiedConnection,
    find_error,
)
from keypin.enforcement.private_ssl import connection_of, context_class
from keypin.lab import Server

ELSEWHERE = "127.0.0.1"  # a name of the same servers that no rule is for


@pytest.fixture(autouse=True)
def nothing_stays_installed():
    before = dict(vars(context_class()))
    yield
    assert dict(vars(context_class())) == before


@pytest.fixture
def servers(version):
    with Server(pinned(), tls=[version]) as right, Server(unpinned(), tls=[version]) as wrong:
        yield right, wrong


@pytest.fixture(scope="module")
def cafile(tmp_path_factory):
    file = tmp_path_factory.mktemp("trust") / "ca.pem"
    file.write_text(authority().pem)
    return str(file)


def default_context() -> ssl.SSLContext:
    return ssl.create_default_context(cadata=authority().pem)


def is_plain(connection) -> bool:
    """Whether nothing of keypin is left on a connection."""
    return "_approved_class" not in dir(type(connection)) and not isinstance(
        connection_of(connection), keypin.enforcement.guard.Guard
    )


def assert_guarded(context, servers):
    right, wrong = servers
    with connect(context, right) as connection:
        assert exchange(connection).startswith(b"HTTP/1.1 200")
        assert is_plain(connection)
    with pytest.raises(PinMismatch):
        connect(context, wrong)
    wrong.settle()
    assert wrong.application_bytes == 0


# Which contexts


class Subclass(ssl.SSLContext):
    """As programs have them."""


class SubclassWithInit(ssl.SSLContext):
    def __init__(self, protocol):
        self.mine = protocol


CONTEXTS = {
    "default": lambda cafile: ssl.create_default_context(cafile=cafile),
    "bare": lambda cafile: ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
    "subclass": lambda cafile: Subclass(ssl.PROTOCOL_TLS_CLIENT),
    "subclass with __init__": lambda cafile: SubclassWithInit(ssl.PROTOCOL_TLS_CLIENT),
    "urllib3": lambda cafile: urllib3.util.ssl_.create_urllib3_context(),
    "truststore": lambda cafile: truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
}


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("kind", CONTEXTS)
def test_every_context_is_covered_made_before_or_after(kind, when, servers, cafile):
    def make():
        context = CONTEXTS[kind](cafile)
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cafile)
        return context

    context = make() if when == "before" else None
    with pinner_for(pinned()).installed():
        assert_guarded(context or make(), servers)


def test_the_context_that_requests_keeps_for_all_sessions_is_covered(servers, cafile, monkeypatch):
    right, wrong = servers
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", cafile)
    with requests.Session() as session:
        session.get(f"https://{ELSEWHERE}:{right.port}/")
        with pinner_for(pinned()).installed():
            assert session.get(f"https://{HOST}:{right.port}/").status_code == 200
            with pytest.raises(requests.exceptions.SSLError) as caught:
                session.get(f"https://{HOST}:{wrong.port}/")
            assert find_error(caught.value)
            with pytest.raises(requests.exceptions.SSLError) as caught:
                session.get(f"https://{HOST}:{right.port}/", verify=False)
            assert isinstance(find_error(caught.value), UnverifiedConnection)
    wrong.settle()
    assert wrong.application_bytes == 0


def test_contexts_that_do_not_verify_are_refused_for_pinned_hosts(servers):
    right, wrong = servers
    with pinner_for(pinned()).installed():
        for server in servers:
            with pytest.raises(UnverifiedConnection):
                connect(ssl._create_unverified_context(), server)
            with pytest.raises(UnverifiedConnection):
                ssl.get_server_certificate((HOST, server.port))
        assert "BEGIN CERTIFICATE" in ssl.get_server_certificate((ELSEWHERE, right.port))
    assert right.application_bytes == wrong.application_bytes == 0


def test_get_server_certificate_works_where_it_verifies(servers, cafile):
    right, wrong = servers
    with pinner_for(pinned()).installed():
        assert ssl.get_server_certificate((HOST, right.port), ca_certs=cafile)
        with pytest.raises(PinMismatch):
            ssl.get_server_certificate((HOST, wrong.port), ca_certs=cafile)


def test_gevents_context_is_covered(servers):
    right, wrong = servers
    context = gevent.ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=authority().pem)
    with pinner_for(pinned()).installed():
        with gevent.socket.create_connection(right.address, timeout=20) as tcp:
            with context.wrap_socket(tcp, server_hostname=HOST) as connection:
                assert exchange(connection).startswith(b"HTTP/1.1 200")
        with gevent.socket.create_connection(wrong.address, timeout=20) as tcp:
            with pytest.raises(PinMismatch):
                context.wrap_socket(tcp, server_hostname=HOST)
    assert wrong.application_bytes == 0


@pytest.mark.parametrize("when", ["before keypin", "before", "after"])
def test_truststore_injected_is_covered(when, servers, cafile):
    """In a process of its own: the injection replaces ssl.SSLContext."""
    right, wrong = servers
    inject = "import truststore; truststore.inject_into_ssl()"
    program = f"""
        import os, sys, urllib.request
        {inject if when == "before keypin" else ""}
        import keypin
        {inject if when == "before" else ""}
        keypin.install({{"{HOST}": ["{pinned().pin}"]}})
        {inject if when == "after" else ""}
        import ssl
        assert ssl.SSLContext.__module__.startswith("truststore"), ssl.SSLContext
        context = ssl.create_default_context()
        urllib.request.urlopen("https://{HOST}:{right.port}/", context=context).read()
        pinner = keypin.Pinner(keypin.PinSet({{"{HOST}": ["{pinned().pin}"]}}))
        created = pinner.create_context()
        urllib.request.urlopen("https://{HOST}:{right.port}/", context=created).read()
        for context in context, created:
            try:
                urllib.request.urlopen("https://{HOST}:{wrong.port}/", context=context)
            except OSError as error:
                assert keypin.find_error(error), error
            else:
                sys.exit("accepted")
    """
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        check=True,
        timeout=60,
        env={**os.environ, "SSL_CERT_FILE": cafile},
    )
    wrong.settle()
    assert wrong.application_bytes == 0


def test_an_ssl_object_is_covered(servers):
    right, wrong = servers

    async def fetch(server):
        reader, writer = await asyncio.open_connection(
            *server.address, ssl=default_context(), server_hostname=HOST
        )
        writer.write(REQUEST)
        answer = await reader.readline()
        writer.close()
        with contextlib.suppress(ssl.SSLError):  # the rest of the answer
            await writer.wait_closed()
        return answer

    with pinner_for(pinned()).installed():
        assert asyncio.run(fetch(right)).startswith(b"HTTP/1.1 200")
        with pytest.raises(PinMismatch):
            asyncio.run(fetch(wrong))
    assert wrong.application_bytes == 0


def test_the_server_side_is_left_alone(tmp_path):
    server_context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    client_context = default_context()
    with pinner_for(unpinned()).installed():  # its own server would be refused as a client
        left, right = socket.socketpair()
        files = pinned().write(tmp_path / "server")
        server_context.load_cert_chain(files.chain, files.key)
        thread = threading.Thread(
            target=lambda: server_context.wrap_socket(left, server_side=True).close()
        )
        thread.start()
        with client_context.wrap_socket(right, server_hostname=ELSEWHERE) as connection:
            assert connection.version()
        thread.join(20)


# Hosts that no rule governs


def test_a_host_that_is_not_governed_gets_what_it_had(servers, version):
    _right, wrong = servers
    context = default_context()
    options, attributes = context.options, dict(vars(context))
    verdicts = []
    pinner = Pinner(
        PinSet([Rule(HOST, [pinned().pin]), Rule("*.example.org", [pinned().pin])]),
        on_verdict=verdicts.append,
    )
    with pinner.installed():
        with connect(context, wrong, server_hostname=ELSEWHERE) as connection:
            assert is_plain(connection)
            assert exchange(connection).startswith(b"HTTP/1.1 200")
        with ssl.create_default_context(cadata=authority().pem).wrap_socket(
            socket.create_connection(wrong.address), server_hostname=ELSEWHERE
        ) as connection:
            assert is_plain(connection)
        assert type(context) is ssl.SSLContext
        assert context.options == options
        assert vars(context) == attributes
    assert [verdict for verdict in verdicts if verdict.reason is not Reason.OPENED_BEFORE] == []


def test_a_context_used_for_a_pinned_host_stays_as_it_was_for_others(
    servers, clients, me, tmp_path
):
    right, wrong = servers
    files = me.write(tmp_path / "me")
    context = default_context()
    context.load_cert_chain(files.chain, files.key)
    options = context.options
    with pinner_for(pinned()).installed():
        connect(context, right).close()
        with pytest.raises(PinMismatch):
            connect(context, wrong)
        assert context.options == options
        assert context.hostname_checks_common_name
        assert context._msg_callback is None
        assert type(context) is ssl.SSLContext
        gc.collect()
        assert super(ssl.SSLContext, context)._msg_callback is None


def test_an_excluded_host_is_not_governed(servers):
    _, wrong = servers
    pins = PinSet([Rule(HOST, exclude=True)], unlisted="refuse")
    with Pinner(pins).installed(), connect(default_context(), wrong) as connection:
        assert is_plain(connection)


def test_unlisted_hosts_can_be_refused(servers):
    right, _ = servers
    pins = PinSet([Rule(HOST, [pinned().pin])], unlisted="refuse")
    with Pinner(pins).installed(), pytest.raises(PinMismatch) as caught:
        connect(default_context(), right, server_hostname=ELSEWHERE)
    assert caught.value.verdict.reason is Reason.UNLISTED_REFUSED


def test_a_connection_without_a_name_is_refused_while_anything_is_pinned(servers):
    right, _ = servers
    context = ssl._create_unverified_context()
    with Pinner(PinSet({})).installed():
        connect(context, right, server_hostname=None).close()
    with pinner_for(pinned()).installed(), pytest.raises(keypin.NoServerName):
        connect(context, right, server_hostname=None)


@pytest.mark.parametrize("name", ["LOCALHOST", "localhost.", "\uff4cocalhost"])
def test_another_spelling_of_a_pinned_host_is_governed(name, servers):
    _, wrong = servers
    with pinner_for(pinned()).installed(), pytest.raises(ssl.SSLCertVerificationError):
        connect(default_context(), wrong, server_hostname=name)
    wrong.settle()
    assert wrong.application_bytes == 0


# Client certificates


@pytest.mark.parametrize("when", ["loaded before", "made before", "after"])
def test_a_client_certificate_is_shown_to_nobody_but_a_pinned_server(
    when, version, clients, me, tmp_path
):
    files = me.write(tmp_path / "me")
    context = default_context()
    if when == "loaded before":
        context.load_cert_chain(files.chain, files.key)
    with (
        Server(pinned(), tls=[version], client_ca=clients.certificate) as right,
        Server(unpinned(), tls=[version], client_ca=clients.certificate) as wrong,
        pinner_for(pinned()).installed(),
    ):
        if when == "after":
            context = default_context()
        if when != "loaded before":
            context.load_cert_chain(files.chain, files.key)
        for _ in range(2):
            with connect(context, right) as connection:
                exchange(connection)
            with pytest.raises(PinMismatch):
                connect(context, wrong)
            with connect(context, wrong, server_hostname=ELSEWHERE) as connection:
                exchange(connection)
        named = [record.client_certificate_seen for record in wrong.settle()]
        assert named == [False, True, False, True]
        assert all(record.client_certificate_seen for record in right.settle())


def test_many_handshakes_at_once_show_no_client_certificate(version, clients, me, tmp_path):
    """The view into handshakes is off when none is pending, and must never be so too early."""
    files = me.write(tmp_path / "me")
    context = default_context()
    context.load_cert_chain(files.chain, files.key)
    with (
        Server(pinned(), tls=[version], client_ca=clients.certificate) as right,
        Server(unpinned(), tls=[version], client_ca=clients.certificate) as wrong,
        pinner_for(pinned()).installed(),
    ):
        refused = []

        def connect_often():
            for count in range(12):
                if count % 2:
                    connect(context, right).close()
                else:
                    with pytest.raises(PinMismatch):
                        connect(context, wrong)
                    refused.append(count)

        threads = [threading.Thread(target=connect_often) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert len(refused) == 48
        assert not any(record.client_certificate_seen for record in wrong.settle())
        assert super(ssl.SSLContext, context)._msg_callback is None


# Installing and uninstalling


def test_installing_counts(servers):
    _, wrong = servers
    pinner = pinner_for(pinned())
    pinner.install()
    pinner.install()
    with pinner.installed():
        pass
    pinner.uninstall()
    with pytest.raises(PinMismatch):
        connect(default_context(), wrong)
    pinner.uninstall()
    connect(default_context(), wrong).close()
    with pytest.raises(ProtectionError, match="not installed"):
        pinner.uninstall()


@pytest.mark.parametrize("first_out", [0, 1])
def test_of_several_pinners_all_must_approve_in_whatever_order_they_leave(first_out, servers):
    right, wrong = servers
    context = default_context()
    pinners = [pinner_for(pinned()), pinner_for(pinned(), unpinned())]
    for pinner in pinners:
        pinner.install()
    with connect(context, right) as connection:
        assert is_plain(connection)
        exchange(connection)
    with pytest.raises(PinMismatch):
        connect(context, wrong)
    pinners.pop(first_out).uninstall()
    if first_out == 0:
        connect(context, wrong).close()
    else:
        with pytest.raises(PinMismatch):
            connect(context, wrong)
    pinners.pop().uninstall()
    connect(context, wrong).close()


def test_a_protected_context_asks_both_pinners(servers):
    right, wrong = servers
    mine = trusting(pinner_for(pinned(), unpinned()))
    with pinner_for(pinned()).installed() as pinner:
        assert_guarded(mine, servers)
        with connect(mine, right) as connection:
            exchange(connection)
            pinner.replace(pins_for(unpinned()))
            with pytest.raises(PinMismatch):
                connection.sendall(REQUEST)
    with connect(mine, wrong) as connection:
        exchange(connection)


def test_a_client_certificate_is_kept_from_what_either_of_two_pinners_refuses(
    version, clients, me, tmp_path
):
    files = me.write(tmp_path / "me")
    with Server(unpinned(), tls=[version], client_ca=clients.certificate) as wrong:
        for mine, theirs in ([pinned(), unpinned()], [pinned()]), ([pinned()], [unpinned()]):
            context = trusting(pinner_for(*mine))
            context.load_cert_chain(files.chain, files.key)
            with pinner_for(*theirs).installed(), pytest.raises(PinMismatch):
                connect(context, wrong)
        assert not any(record.client_certificate_seen for record in wrong.settle())


@pytest.mark.fresh_process
def test_threads_may_install_and_uninstall_while_others_connect(servers):
    right, wrong = servers
    always = pinner_for(pinned())
    errors = []

    def install_often():
        try:
            for _ in range(10):
                with keypin.Pinner(PinSet({"example.org": [pinned().pin]})).installed():
                    pass
        except Exception as error:  # noqa: BLE001 - shown below
            errors.append(error)

    with always.installed():
        threads = [threading.Thread(target=install_often) for _ in range(4)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            with pytest.raises(PinMismatch):
                connect(default_context(), wrong)
            connect(default_context(), right).close()
        for thread in threads:
            thread.join()
    assert errors == []
    wrong.settle()
    assert wrong.application_bytes == 0


def test_a_hook_of_somebody_else_below_ours_is_called_and_comes_back(servers, monkeypatch):
    right, _ = servers
    seen = []

    def theirs(context, *arguments, **more):
        seen.append(arguments)
        return super(ssl.SSLContext, context)._wrap_socket(*arguments, **more)

    monkeypatch.setattr(ssl.SSLContext, "_wrap_socket", theirs, raising=False)
    with pinner_for(pinned()).installed():
        connect(default_context(), right).close()
    assert len(seen) == 1
    assert ssl.SSLContext._wrap_socket is theirs


def test_a_hook_of_somebody_else_over_ours_is_not_removed(servers):
    _right, wrong = servers
    pinner = pinner_for(pinned())
    pinner.install()
    ours = ssl.SSLContext._wrap_socket

    def theirs(*arguments, **more):
        return ours(*arguments, **more)

    ssl.SSLContext._wrap_socket = theirs
    try:
        with pytest.raises(PinMismatch):
            connect(default_context(), wrong)
        pinner.uninstall()
        connect(default_context(), wrong).close()
        with pytest.raises(ProtectionError, match="replaced"):
            pinner.install()
        connect(default_context(), wrong).close()
    finally:
        ssl.SSLContext._wrap_socket = ours
        pinner.install()
        pinner.uninstall()


def test_the_one_liner_takes_a_file_a_set_or_a_mapping(servers, tmp_path):
    _, wrong = servers
    file = tmp_path / "pins.toml"
    file.write_text(
        f'schema = 1\nversion = 1\n[[host]]\nname = "{HOST}"\npins = ["{pinned().pin}"]\n'
    )
    for pins in str(file), file, pins_for(pinned()), {HOST: [pinned().pin]}:
        pinner = keypin.install(pins)
        try:
            with pytest.raises(PinMismatch):
                connect(default_context(), wrong)
        finally:
            pinner.uninstall()


def test_a_second_call_of_the_one_liner_replaces_the_pins_of_the_first(servers):
    right, wrong = servers
    context = default_context()
    pinner = keypin.install({HOST: [unpinned().pin]})
    try:
        with connect(context, wrong) as kept:
            exchange(kept)
            assert keypin.install({HOST: [pinned().pin]}) is pinner
            with pytest.raises(PinMismatch):
                kept.send(b"x")
        with pytest.raises(PinMismatch):
            connect(context, wrong)
        with connect(context, right) as kept:
            assert exchange(kept)
            with pytest.raises(PinSetError):
                keypin.install({HOST: []})
            assert exchange(kept)
        assert keypin.installed() == (pinner,)
        keypin.install({"other.example": [pinned().pin]})
        connect(context, wrong).close()
    finally:
        pinner.uninstall()
    connect(context, wrong).close()
    again = keypin.install({HOST: [pinned().pin]})
    again.uninstall()
    assert again is not pinner
    assert keypin.installed() == ()


def test_the_one_liner_leaves_pinners_of_the_programs_own_in_force(servers):
    right, wrong = servers
    with pinner_for(pinned()).installed() as own:
        pinner = keypin.install({HOST: [unpinned().pin]})
        try:
            keypin.install({HOST: [unpinned().pin, pinned().pin]})
            assert keypin.installed() == (own, pinner)
            connect(default_context(), right).close()
            with pytest.raises(PinMismatch):
                connect(default_context(), wrong)
        finally:
            pinner.uninstall()


def test_threads_that_call_it_together_get_one_pinner(servers):
    _, wrong = servers
    start = threading.Barrier(8)

    def install(number):
        start.wait()
        return keypin.install({HOST: [pinned().pin], f"host-{number}.example": [pinned().pin]})

    with ThreadPoolExecutor(8) as pool:
        pinners = set(pool.map(install, range(8)))
    (pinner,) = keypin.installed()
    assert pinners == {pinner}
    try:
        with pytest.raises(PinMismatch):
            connect(default_context(), wrong)
    finally:
        pinner.uninstall()
    assert keypin.installed() == ()


def test_the_error_says_which_pinner_has_refused_and_how_many_there_are(servers):
    _, wrong = servers
    stale = Pinner(pins_for(pinned()), name="the pins of the plug-in")
    with pinner_for(unpinned()).installed(), stale.installed():
        with pytest.raises(PinMismatch) as caught:
            connect(default_context(), wrong)
    verdict = caught.value.verdict
    assert (verdict.pinner, verdict.pinners) == ("the pins of the plug-in", 2)
    assert "  decided by the pins of the plug-in, one of 2 that have to approve" in str(
        caught.value
    )
    with pinner_for(pinned()).installed():
        with pytest.raises(PinMismatch) as caught:
            connect(default_context(), wrong)
    assert (caught.value.verdict.pinner, caught.value.verdict.pinners) == (None, 1)
    assert "decided by" not in str(caught.value)


def test_the_one_liner_refuses_what_is_no_pin_set(tmp_path):
    for thing in None, 7, [HOST], tmp_path / "absent.toml", {HOST: []}:
        with pytest.raises(PinSetError):
            keypin.install(thing)


# The threads that Python warns of are the servers'; the child needs none of them.
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_forked_child_is_covered(servers):
    right, wrong = servers
    with pinner_for(pinned()).installed():
        child = os.fork()
        if child == 0:
            code = 1
            try:
                connect(default_context(), right).close()
                connect(default_context(), wrong)
            except PinMismatch:
                code = 7
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


# Connections that are open already


def test_an_open_connection_to_a_pinned_host_is_shut_down(servers):
    _right, _wrong = servers
    for server in servers:
        received = server.application_bytes
        with connect(default_context(), server) as connection:
            exchange(connection)
            with pinner_for(pinned()).installed():
                with pytest.raises(UnverifiedConnection) as caught:
                    connection.sendall(REQUEST)
                assert caught.value.verdict.reason is Reason.OPENED_BEFORE
        server.settle()
        assert server.application_bytes == received + len(REQUEST)


def test_a_connection_whose_handshake_is_to_come_is_refused_too(servers):
    for server in servers:
        with connect(default_context(), server, do_handshake_on_connect=False) as connection:
            with pinner_for(pinned()).installed():
                with pytest.raises(UnverifiedConnection):
                    connection.do_handshake()
                with pytest.raises(UnverifiedConnection):
                    connection.sendall(REQUEST)
        server.settle()
        assert server.application_bytes == 0


def test_open_connections_hidden_by_gc_freeze_are_found(servers):
    right, _ = servers
    with connect(default_context(), right) as connection:
        gc.freeze()
        try:
            with pinner_for(pinned()).installed(), pytest.raises(UnverifiedConnection):
                connection.sendall(REQUEST)
            assert gc.get_freeze_count()
        finally:
            gc.unfreeze()


def test_open_connections_to_other_hosts_go_on(servers):
    right, _ = servers
    with connect(default_context(), right, server_hostname=ELSEWHERE) as connection:
        with pinner_for(pinned()).installed():
            exchange(connection)
            assert is_plain(connection)


def test_in_report_mode_an_open_connection_is_told_and_left(servers):
    right, _ = servers
    verdicts = []
    pinner = Pinner(pins_for(pinned(), mode="report"), on_verdict=verdicts.append)
    with connect(default_context(), right) as connection, pinner.installed():
        exchange(connection)
        assert is_plain(connection)
    assert {verdict.reason for verdict in verdicts} == {Reason.OPENED_BEFORE}


def test_pools_drop_the_connections_that_were_open(servers):
    right, _ = servers
    url = f"https://{HOST}:{right.port}/"
    with urllib3.PoolManager(ssl_context=default_context()) as pool:
        for _ in range(2):
            assert pool.request("GET", url).status == 200
        with pinner_for(pinned()).installed():
            assert pool.request("GET", url).status == 200
    assert len(right.settle()) == 2


def test_asynchronous_pools_drop_them_too(servers):
    right, _ = servers
    url = f"https://{HOST}:{right.port}/"

    async def twice():
        async with (
            aiohttp.ClientSession() as session,
            httpx2.AsyncClient(verify=default_context()) as client,
        ):
            context = default_context()

            async def both():
                async with session.get(url, ssl=context) as answer:
                    assert answer.status == 200
                assert (await client.get(url)).status_code == 200

            await both()
            with pinner_for(pinned()).installed():
                await asyncio.sleep(0.05)
                await both()

    asyncio.run(twice())
    assert len(right.settle()) == 4


def test_pins_replaced_reach_open_connections_to_hosts_that_were_not_governed(servers):
    right, _ = servers
    with Pinner(PinSet({"example.org": [pinned().pin]})).installed() as pinner:
        with connect(default_context(), right) as connection:
            exchange(connection)
            assert is_plain(connection)
            pinner.replace(pins_for(pinned()))
            with pytest.raises(UnverifiedConnection):
                connection.sendall(REQUEST)
        assert_guarded(default_context(), (right, servers[1]))


def test_pins_replaced_by_others_for_the_same_hosts_disturb_no_good_connection(servers):
    right, _ = servers
    with (
        pinner_for(pinned()).installed() as pinner,
        connect(default_context(), right) as connection,
    ):
        exchange(connection)
        pinner.replace(pins_for(unpinned(), pinned()))
        exchange(connection)
        pinner.replace(pins_for(unpinned()))
        with pytest.raises(PinMismatch):
            connection.sendall(REQUEST)


@pytest.mark.fresh_process
def test_connections_made_while_pins_are_replaced_are_all_governed(version):
    """A host becomes governed while threads connect to it: nothing slips between the two."""
    with Server(unpinned(), tls=[version]) as wrong:
        for _ in range(30):
            with Pinner(PinSet({"example.org": [pinned().pin]})).installed() as pinner:
                barrier, done, leaks = threading.Barrier(3), threading.Event(), []

                def talk(barrier=barrier, done=done, leaks=leaks):
                    context = default_context()
                    barrier.wait(20)
                    with contextlib.suppress(OSError), connect(context, wrong) as connection:
                        while not leaks:
                            replaced = done.is_set()
                            connection.sendall(b"x")
                            if replaced:
                                leaks.append(1)

                threads = [threading.Thread(target=talk) for _ in range(2)]
                for thread in threads:
                    thread.start()
                barrier.wait(20)
                pinner.replace(pins_for(pinned()))
                done.set()
                for thread in threads:
                    thread.join(20)
                assert leaks == []


# Clients that open one connection for another


def test_the_standard_librarys_http_clients_are_covered(servers):
    right, wrong = servers
    with pinner_for(pinned()).installed():
        connection = http.client.HTTPSConnection(HOST, right.port, context=default_context())
        connection.request("GET", "/")
        assert connection.getresponse().status == 200
        connection.close()
        with pytest.raises(urllib.error.URLError) as caught:
            urllib.request.urlopen(f"https://{HOST}:{wrong.port}/", context=default_context())
        assert find_error(caught.value)
    assert wrong.application_bytes == 0
