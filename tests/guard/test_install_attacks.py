"""Moments at which an installation could be gone round: each was a way past it once."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import ssl
import sys
import threading
import time
import types

import pytest
from scene import (
    HOST,
    REQUEST,
    authority,
    connect,
    exchange,
    in_a_thread_of_its_own,
    pinned,
    pinner_for,
    pins_for,
    trusting,
    unpinned,
)

from keypin import PinMismatch, Pinner, PinSet, ProtectionError, UnverifiedConnection
from keypin.enforcement import context as _context
from keypin.enforcement import guard as _guard
from keypin.enforcement import process as _process
from keypin.lab import RenegotiatingServer, Server

ELSEWHERE = "127.0.0.1"


class Interrupted(BaseException):
    """As a signal handler raises it."""


def default_context() -> ssl.SSLContext:
    return ssl.create_default_context(cadata=authority().pem)


@pytest.fixture
def wrong(version, clients):
    with Server(unpinned(), tls=[version], client_ca=clients.certificate) as server:
        yield server


@pytest.fixture
def my_files(me, tmp_path):
    return me.write(tmp_path / "me")


def shown_to(server) -> bool:
    return any(record.client_certificate_seen for record in server.settle())


@contextlib.contextmanager
def at_each_line_of(function, act):
    """Call `act` with a count before each line of a function of keypin."""
    count = [0]

    def trace(frame, event, argument):
        if frame.f_code is not function.__code__:
            return None
        if event == "line":
            count[0] += 1
            act(count[0])
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield count
    finally:
        sys.settrace(before)
        while _guard.LOCK._is_owned():  # see test_interruptions
            _guard.LOCK.release()


class Memory:
    """A client over memory BIOs, by hand."""

    def __init__(self, context, server) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname=HOST)
        self.address = server.address

    def talk(self) -> None:
        with socket.create_connection(self.address, timeout=20) as tcp:
            try:
                while True:
                    try:
                        self.tls.do_handshake()
                        break
                    except ssl.SSLWantReadError:
                        tcp.sendall(self.outgoing.read())
                        self.incoming.write(tcp.recv(65536))
                self.tls.write(REQUEST)
            finally:
                tcp.sendall(self.outgoing.read())


# Installing while others connect


def test_what_other_threads_are_making_when_pins_are_installed_is_found(wrong):
    """OpenSSL makes a connection without Python's lock, and nobody finds it before it is made."""
    context, pinner = default_context(), pinner_for(pinned())
    for _ in range(25):
        stop, outcomes = threading.Event(), []

        def make_many(stop=stop, outcomes=outcomes):
            while not stop.is_set():
                made = context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname=HOST)
            outcomes.append(isinstance(made._sslobj, _guard.Guard))

        threads = [threading.Thread(target=make_many) for _ in range(2)]
        for thread in threads:
            thread.start()
        time.sleep(0.003)
        with pinner.installed():
            stop.set()
            for thread in threads:
                thread.join(20)
        assert outcomes == [True, True]


def test_a_thread_that_never_ends_making_a_connection_makes_the_installation_fail(monkeypatch):
    monkeypatch.setattr(_process._wait_for_makers, "__defaults__", (0.05,))
    code = compile("def _create(self, gate): gate._wrap_socket()", "ssl.py", "exec")
    # the innermost frame has to be that of the maker, so it must not wait in Python code
    gate = threading.Lock()
    gate.acquire()
    namespace = {}
    exec(code, namespace)
    waiting = types.SimpleNamespace(_wrap_socket=gate.acquire)
    thread = threading.Thread(
        target=namespace["_create"], args=(types.SimpleNamespace(), waiting), daemon=True
    )
    thread.start()
    before = dict(vars(ssl.SSLContext))
    try:
        with pytest.raises(ProtectionError, match="before the program connects"):
            pinner_for(pinned()).install()
        assert dict(vars(ssl.SSLContext)) == before
    finally:
        gate.release()
        thread.join(20)


def test_a_protected_context_that_waits_while_pins_are_installed_obeys_them(wrong):
    context = trusting(pinner_for(pinned(), unpinned()))
    outcome = []

    def talk():
        try:
            with connect(context, wrong) as connection:
                exchange(connection)
        except PinMismatch as error:
            outcome.append(error)

    pinner = pinner_for(pinned())
    with _guard.LOCK:
        thread = threading.Thread(target=talk)
        thread.start()
        time.sleep(0.2)  # until it waits for the lock
        pinner.install()
    thread.join(20)
    pinner.uninstall()
    assert len(outcome) == 1
    wrong.settle()
    assert wrong.application_bytes == 0


@pytest.mark.fresh_process
@in_a_thread_of_its_own
def test_an_interrupted_installation_changes_nothing_and_can_be_repeated(wrong):
    before = dict(vars(ssl.SSLContext))
    attaching = _process._attach, _process.Hooks.attach
    for function in *attaching, _process.Hooks.detach:
        lines = 0
        with at_each_line_of(function, lambda count: None) as counted:
            with pinner_for(pinned()).installed():
                pass
        for stop in range(1, counted[0] + 1):
            pinner = pinner_for(pinned())

            def interrupt(count, stop=stop):
                if count == stop:
                    raise Interrupted

            if function not in attaching:
                pinner.install()
            with at_each_line_of(function, interrupt), contextlib.suppress(Interrupted):
                if function in attaching:
                    pinner.install()
                else:
                    pinner.uninstall()
            with pinner_for(pinned()).installed():
                with pytest.raises(PinMismatch):
                    connect(default_context(), wrong)
                connect(default_context(), wrong, server_hostname=ELSEWHERE).close()
            with contextlib.suppress(ProtectionError):
                while True:
                    pinner.uninstall()
            assert dict(vars(ssl.SSLContext)) == before
            lines += 1
        assert lines > 5


# Client certificates


def test_a_certificate_loaded_between_two_installations_is_not_forgotten(wrong, my_files):
    with pinner_for(pinned()).installed():
        context = default_context()
    context.load_cert_chain(my_files.chain, my_files.key)
    with pinner_for(pinned()).installed(), pytest.raises(PinMismatch):
        connect(context, wrong)
    assert not shown_to(wrong)


def test_a_class_that_loads_certificates_its_own_way_is_doubted(wrong, my_files):
    load = ssl.SSLContext.load_cert_chain

    class Own(ssl.SSLContext):
        def load_cert_chain(self, *arguments):
            load(self, *arguments)

    with pinner_for(pinned()).installed():
        context = Own(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=authority().pem)
        context.load_cert_chain(my_files.chain, my_files.key)
        with pytest.raises(PinMismatch):
            connect(context, wrong)
    assert not shown_to(wrong)


def test_a_library_that_loads_them_through_ctypes_is_doubted(wrong, my_files, monkeypatch):
    load = ssl.SSLContext.load_cert_chain
    monkeypatch.setitem(sys.modules, "urllib3.contrib.imcc", types.ModuleType("imcc"))
    with pinner_for(pinned()).installed():
        context = default_context()
        load(context, my_files.chain, my_files.key)
        with pytest.raises(PinMismatch):
            connect(context, wrong)
    assert not shown_to(wrong)


@pytest.mark.parametrize("way", ["install", "protect"])
def test_a_message_callback_of_the_programs_own_never_puts_ours_off(way, wrong, my_files):
    pinner, context = pinner_for(pinned()), default_context()
    context.load_cert_chain(my_files.chain, my_files.key)
    stop = threading.Event()

    def set_often():
        while not stop.is_set():
            context._msg_callback = None

    with pinner.installed() if way == "install" else contextlib.nullcontext():
        if way == "protect":
            pinner.protect(context)
        thread = threading.Thread(target=set_often)
        thread.start()
        try:
            for _ in range(60):
                with pytest.raises(PinMismatch):
                    connect(context, wrong)
        finally:
            stop.set()
            thread.join(20)
    assert not shown_to(wrong)


@pytest.mark.parametrize(
    "function", [_context.guarded_connection, _context._made, _context.ContextState._end_watch]
)
def test_a_handshake_inside_the_making_of_another_shows_nothing(function, version, wrong, my_files):
    """As a signal handler or a finalizer may begin and end one, at any line."""
    with Server(pinned(), tls=[version]) as right, pinner_for(pinned()).installed():
        stop = total = 0
        while stop <= total:
            context = default_context()
            context.load_cert_chain(my_files.chain, my_files.key)
            begun, busy = [], []

            def act(count, stop=stop, begun=begun, busy=busy, context=context):
                if count == stop and not busy:
                    busy.append(True)
                    if function is _context.ContextState._end_watch:
                        begun.append(connect(context, wrong, do_handshake_on_connect=False))
                    else:
                        connect(context, right).close()

            aim = right if function is _context.ContextState._end_watch else wrong
            with at_each_line_of(function, act) as counted, contextlib.suppress(PinMismatch):
                connect(context, aim).close()
            for connection in begun:
                with connection, pytest.raises(PinMismatch):
                    connection.do_handshake()
            total = total or counted[0]
            stop += 1
        assert total > 5
    assert not shown_to(wrong)


def test_an_object_that_a_finalizer_revives_is_refused(wrong, my_files):
    """Nothing finds its guard any more, so nothing would look into its handshake."""
    context = default_context()
    context.load_cert_chain(my_files.chain, my_files.key)
    with pinner_for(pinned()).installed():
        revived = []

        class Holder:
            def __del__(self):
                revived.append(self.client)

        holder = Holder()
        holder.client = Memory(context, wrong)
        holder.itself = holder
        del holder
        import gc

        gc.collect()
        with pytest.raises(ssl.SSLCertVerificationError):
            revived.pop().talk()
    assert not shown_to(wrong)


# What changes while a connection is made


def pausing_at(function, text):
    """Trace a thread to a line of a function, where it says so and waits."""
    import inspect

    source, first = inspect.getsourcelines(function)
    lines = {first + number for number, line in enumerate(source) if text in line}
    reached, go_on = threading.Event(), threading.Event()

    def trace(frame, event, argument):
        if frame.f_code is not function.__code__:
            return None
        if event == "line" and frame.f_lineno in lines and not reached.is_set():
            reached.set()
            go_on.wait(20)
        return trace

    return trace, reached, go_on


def test_verification_that_is_switched_on_too_late_counts_as_off(version):
    """Setting check_hostname raises verify_mode in C, where no hook sees it."""
    context = default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    trace, reached, go_on = pausing_at(_context._made, "verified_after =")
    outcome = []
    with Server(pinned(), tls=[version]) as server, pinner_for(pinned()).installed():

        def talk():
            sys.settrace(trace)
            try:
                connect(context, server)
            except OSError as error:
                outcome.append(error)
            finally:
                sys.settrace(None)

        thread = threading.Thread(target=talk)
        thread.start()
        assert reached.wait(20)
        context.check_hostname = True
        go_on.set()
        thread.join(20)
    assert isinstance(outcome[0], UnverifiedConnection)


def test_options_that_are_set_back_meanwhile_do_not_let_a_server_renegotiate():
    context = default_context()
    context.options |= 4  # SSL_OP_LEGACY_SERVER_CONNECT: the lab's server is of the old kind
    options = context.options
    trace, reached, go_on = pausing_at(_context._made, "connection = make()")
    with RenegotiatingServer(pinned(), unpinned()) as server, pinner_for(pinned()).installed():

        def talk():
            sys.settrace(trace)
            with contextlib.suppress(OSError), connect(context, server) as connection:
                sys.settrace(None)
                exchange(connection)
                connection.sendall(b"what must not arrive")
            sys.settrace(None)

        thread = threading.Thread(target=talk)
        thread.start()
        assert reached.wait(20)
        context.options = options
        go_on.set()
        thread.join(20)
        server.settle()
        assert not server.bytes_afterwards


# Open connections, found late


@pytest.mark.parametrize("times", [1, 2])
def test_what_report_mode_let_pass_is_refused_when_it_ends(times, wrong):
    pinner = Pinner(pins_for(pinned(), mode="report"))
    with contextlib.ExitStack() as stack:
        connection = stack.enter_context(connect(default_context(), wrong))
        for _ in range(times):
            stack.enter_context(pinner.installed())
        exchange(connection)
        pinner.replace(pins_for(pinned()))
        with pytest.raises(UnverifiedConnection):
            connection.sendall(REQUEST)


def test_an_interrupted_search_refuses_all_the_same(wrong):
    searching = _process.search

    def interrupted(pinner, calls=[]):  # noqa: B006
        calls.append(pinner)
        if len(calls) == 1:
            raise Interrupted
        return searching(pinner)

    pinner = Pinner(PinSet({"example.org": [pinned().pin]}))
    with connect(default_context(), wrong) as connection, pinner.installed():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_process, "search", interrupted)
            with pytest.raises(Interrupted):
                pinner.replace(pins_for(pinned()))
        with pytest.raises(UnverifiedConnection):
            connection.sendall(REQUEST)


def test_an_object_that_is_refused_before_it_is_made_stays_refused(wrong):
    """A signal handler replaces the pins between the making of a connection and its assignment."""
    pinner = Pinner(PinSet({"example.org": [pinned().pin]}))
    replaced, makers = [], _process._guarding_code

    def profile(frame, event, argument):
        if not replaced and event == "return" and frame.f_code in makers:
            replaced.append(True)
            os.kill(os.getpid(), signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, lambda *_: pinner.replace(pins_for(pinned())))
    try:
        with pinner.installed():
            sys.setprofile(profile)
            try:
                client = Memory(default_context(), wrong)
            finally:
                sys.setprofile(None)
            assert replaced
            with pytest.raises(UnverifiedConnection):
                client.talk()
    finally:
        signal.signal(signal.SIGUSR1, before)
    wrong.settle()
    assert wrong.application_bytes == 0


def test_a_logger_that_speaks_tls_itself_does_not_wait_for_the_search(wrong):
    entered, errors = threading.Event(), []

    class Shipper(logging.Handler):
        def emit(self, record):
            entered.set()
            time.sleep(0.2)
            connect(default_context(), wrong, server_hostname=ELSEWHERE).close()

    logger, handler = logging.getLogger(), Shipper()
    logger.addHandler(handler)
    pinner = Pinner(pins_for(pinned(), mode="report"))
    try:
        with connect(default_context(), wrong):
            threads = [
                threading.Thread(target=lambda: logger.warning("hello"), daemon=True),
                threading.Thread(target=pinner.install, daemon=True),
            ]
            threads[0].start()
            assert entered.wait(20)
            threads[1].start()
            for thread in threads:
                thread.join(20)
                errors += [thread] * thread.is_alive()
    finally:
        logger.removeHandler(handler)
    assert not errors
    pinner.uninstall()


def test_a_connection_without_an_owner_is_refused_with_the_reason():
    with (
        socket.socket() as plain,
        pinner_for(pinned()).installed(),
        pytest.raises(ProtectionError, match="connect first"),
    ):
        default_context()._wrap_socket(plain, False, HOST)
