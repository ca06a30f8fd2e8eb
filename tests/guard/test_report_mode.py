"""Report mode, the log and the observer: they tell everything and change nothing."""

from __future__ import annotations

import asyncio
import gc
import logging
import logging.handlers
import queue
import ssl
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from textwrap import dedent

import pytest
from scene import (
    HOST,
    authority,
    connect,
    exchange,
    foreign,
    issuing,
    pinned,
    pinner_for,
    pins_for,
    trusting,
    unpinned,
)

from keypin import PinMismatch, Pinner, PinSet, Reason, Rule, pinset
from keypin.lab import Server

YESTERDAY = datetime.now(UTC) - timedelta(days=1)


@pytest.fixture
def wrong_server(version):
    with Server(unpinned(), tls=[version]) as server:
        yield server


@pytest.fixture
def right_server(version):
    with Server(pinned(), tls=[version]) as server:
        yield server


@pytest.fixture
def log(caplog):
    gc.collect()  # connections that other tests left behind are found, and told of, as well
    caplog.set_level(logging.DEBUG, logger="keypin")
    return caplog


def test_report_mode_lets_pass_and_logs_once_per_connection(wrong_server, log):
    context = trusting(pinner_for(pinned(), mode="report"))
    for count in (1, 2):
        with connect(context, wrong_server) as connection:
            assert exchange(connection).startswith(b"HTTP/1.1 200")
            assert exchange(connection)
        assert len(log.records) == count
    record = log.records[0]
    assert record.name == "keypin"
    assert record.levelno == logging.WARNING


def test_the_log_tells_what_the_error_would_have_told(wrong_server, log):
    with connect(trusting(pinner_for(pinned(), mode="report")), wrong_server):
        pass
    with pytest.raises(PinMismatch) as caught:
        connect(trusting(pinner_for(pinned())), wrong_server)
    told, refused = (record.getMessage().splitlines() for record in log.records)
    assert refused == str(caught.value).splitlines()
    assert told[0].startswith(f"keypin, in report mode, let {HOST}:{wrong_server.port} pass: ")
    assert told[1:-1] == refused[1:]
    assert "a client that enforces these pins would have refused" in told[-1]
    assert [record.levelno for record in log.records] == [logging.WARNING] * 2


@pytest.mark.parametrize("mode", ["enforce", "report"])
def test_a_refusal_is_heard_of_where_the_program_swallows_the_error(mode, wrong_server):
    """Without any configuration: Python prints warnings to standard error."""
    code = f"""
        import contextlib, socket, ssl, keypin
        pins = keypin.PinSet([keypin.Rule("{HOST}", ["{pinned().pin}"], mode="{mode}")])
        context = keypin.Pinner(pins).create_context(cadata={authority().pem!r})
        with contextlib.suppress(OSError):
            context.wrap_socket(
                socket.create_connection({wrong_server.address!r}), server_hostname="{HOST}"
            ).close()
    """
    done = subprocess.run(
        [sys.executable, "-c", dedent(code)], capture_output=True, text=True, timeout=60
    )
    word = "refused" if mode == "enforce" else "in report mode"
    assert word in done.stderr.splitlines()[0]
    assert str(unpinned().pin) in done.stderr


def test_the_log_has_fields_for_machines(wrong_server, log):
    with connect(trusting(pinner_for(pinned(), mode="report")), wrong_server):
        pass
    record = log.records[0]
    assert record.keypin_host == HOST
    assert record.keypin_port == wrong_server.port
    assert record.keypin_reason == "NO_MATCH"
    assert record.keypin_accepted is True
    assert record.keypin_mode == "report"
    assert record.keypin_rule == HOST
    assert record.keypin_served[0] == (str(unpinned().pin), "CN=localhost")
    assert record.keypin_expected == [str(pinned().pin)]


def test_a_match_is_logged_for_those_who_debug(right_server, log):
    context = trusting(pinner_for(pinned(), mode="report"))
    for level, count in ((logging.DEBUG, 1), (logging.INFO, 0)):
        log.clear()
        log.set_level(level, logger="keypin")
        with connect(context, right_server) as connection:
            exchange(connection)
        assert [record.levelno for record in log.records] == [logging.DEBUG] * count
        for record in log.records:
            where = f"keypin accepted {HOST}:{right_server.port}: a pinned key was served"
            assert record.getMessage() == f"{where}, {pinned().pin} at depth 0"


def test_hosts_in_no_rule_are_not_logged(right_server, log):
    connect(trusting(Pinner(PinSet({"other.example": [pinned().pin]}))), right_server).close()
    assert not log.records


def test_report_mode_does_not_let_a_denied_key_pass(wrong_server):
    context = trusting(pinner_for(pinned(), mode="report", deny=[unpinned().pin]))
    with pytest.raises(PinMismatch, match="denied"):
        connect(context, wrong_server)
    wrong_server.settle()
    assert wrong_server.application_bytes == 0


def test_report_mode_does_not_replace_ordinary_verification(version):
    from keypin.lab import self_signed

    with Server(self_signed(HOST), tls=[version]) as server:
        with pytest.raises(ssl.SSLCertVerificationError):
            connect(trusting(pinner_for(pinned(), mode="report")), server)
        server.settle()
        assert server.application_bytes == 0


def test_the_observer_hears_every_verdict_once(right_server, wrong_server):
    heard = []
    pins = PinSet(
        [Rule(HOST, [pinned().pin]), Rule("report.example", [pinned().pin], mode="report")]
    )
    pinner = Pinner(pins, on_verdict=heard.append)
    context = trusting(pinner)
    with connect(context, right_server) as connection:
        exchange(connection)
    with pytest.raises(PinMismatch):
        connect(context, wrong_server)
    with connect(context, wrong_server, do_handshake_on_connect=False) as connection:
        for _ in range(3):
            with pytest.raises(PinMismatch):
                connection.send(b"x")
    assert [verdict.accepted for verdict in heard] == [True, False, False]
    assert heard[0].reason is Reason.MATCHED
    assert (heard[0].pin, heard[0].depth) == (pinned().pin, 0)
    assert heard[0].port == right_server.port
    assert heard[1].reason is Reason.NO_MATCH
    assert heard[1].served[0][0] == unpinned().pin


def test_the_observer_hears_at_what_depth_a_pin_matched(right_server):
    heard = []
    pinner = Pinner(pins_for(issuing()), on_verdict=heard.append)
    connect(trusting(pinner), right_server).close()
    assert [(verdict.pin, verdict.depth) for verdict in heard] == [(issuing().pin, 1)]


def test_the_observer_hears_of_unlisted_hosts_and_missing_names(right_server):
    heard = []
    context = trusting(Pinner(PinSet({}), on_verdict=heard.append))
    connect(context, right_server).close()
    context.check_hostname = False
    with pytest.raises(PinMismatch):
        connect(context, right_server, server_hostname=None)
    assert [verdict.reason for verdict in heard] == [Reason.UNLISTED, Reason.NO_SERVER_NAME]


def test_the_observer_hears_what_replace_turned_away(right_server):
    heard = []
    pinner = Pinner(pins_for(pinned()), on_verdict=heard.append)
    with connect(trusting(pinner), right_server) as connection:
        exchange(connection)
        pinner.replace(pins_for(unpinned()))
        with pytest.raises(PinMismatch):
            connection.send(b"x")
    assert [verdict.accepted for verdict in heard] == [True, False]


def test_the_observer_hears_of_a_refusal_inside_the_handshake_once(wrong_server, tmp_path):
    heard = []
    pinner = Pinner(pins_for(pinned()), on_verdict=heard.append)
    context = trusting(pinner)
    files = pinned().write(tmp_path)
    context.load_cert_chain(files.chain, files.key)
    with connect(context, wrong_server, do_handshake_on_connect=False) as connection:
        for _ in range(2):
            with pytest.raises(PinMismatch):
                connection.do_handshake()
    assert [verdict.accepted for verdict in heard] == [False]


@pytest.mark.parametrize("fails", [False, True])
def test_an_observer_that_raises_breaks_nothing(fails, right_server, wrong_server, log):
    def observer(verdict):
        raise RuntimeError("the observer's own trouble")

    context = trusting(Pinner(pins_for(pinned()), on_verdict=observer))
    if fails:
        with pytest.raises(PinMismatch):
            connect(context, wrong_server)
    else:
        with connect(context, right_server) as connection:
            assert exchange(connection).startswith(b"HTTP/1.1 200")
    assert any("on_verdict raised" in record.getMessage() for record in log.records)


def test_asyncio_reports_and_observes_as_well(wrong_server, log):
    heard = []
    pinner = Pinner(pins_for(pinned(), mode="report"), on_verdict=heard.append)

    async def talk():
        reader, writer = await asyncio.open_connection(
            *wrong_server.address, ssl=trusting(pinner), server_hostname=HOST
        )
        writer.write(b"GET / HTTP/1.0\r\n\r\n")
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        return answer

    assert b"200" in asyncio.run(talk())
    assert [verdict.matched for verdict in heard] == [False]
    assert len(log.records) == 1


def test_expired_pins_are_enforced_and_the_log_is_loud_about_it(right_server, wrong_server, log):
    context = trusting(pinner_for(pinned(), expires=YESTERDAY))
    for _ in range(3):
        connect(context, right_server).close()
    with pytest.raises(PinMismatch, match="expired on"):
        connect(context, wrong_server)
    errors = [record for record in log.records if record.levelno == logging.ERROR]
    assert len(errors) == 1
    assert "expired" in errors[0].getMessage()
    assert "enforced" in errors[0].getMessage()


def test_pins_that_expire_between_two_connections_are_told_of(right_server, log, monkeypatch):
    """An approval is kept only where it does not depend on the time."""
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    context = trusting(pinner_for(pinned(), expires=tomorrow))
    connect(context, right_server).close()
    assert [record.levelno for record in log.records] == [logging.DEBUG]
    log.clear()
    monkeypatch.setattr(pinset, "_now", lambda: tomorrow)
    connect(context, right_server).close()
    assert [record.levelno for record in log.records] == [logging.DEBUG, logging.ERROR]


def test_failing_open_on_expiry_is_a_choice_and_is_logged(wrong_server, log):
    context = trusting(pinner_for(pinned(), expires=YESTERDAY, on_expiry="allow"))
    with connect(context, wrong_server) as connection:
        assert exchange(connection).startswith(b"HTTP/1.1 200")
    assert [record.levelno for record in log.records] == [logging.ERROR]


# It refuses nothing but denied keys


def only_reporting(**more):
    return Pinner(PinSet([Rule(HOST, [pinned().pin], mode="report", **more)]))


def test_a_name_that_the_program_does_not_check_is_told_of_only(foreign_server, log, context_of):
    with connect(context_of(only_reporting()), foreign_server) as connection:
        assert exchange(connection).startswith(b"HTTP/1.1 200")
    assert [record.keypin_reason for record in log.records] == ["WRONG_NAME"]
    assert log.records[0].keypin_accepted


def test_a_name_that_the_program_does_not_check_is_no_way_round_a_denied_key(
    foreign_server, context_of
):
    denied = only_reporting(deny=[foreign().pin])
    with pytest.raises(PinMismatch, match="denied"):
        connect(context_of(denied), foreign_server)
    foreign_server.settle()
    assert foreign_server.application_bytes == 0


def test_a_name_that_is_in_the_common_name_only_is_told_of_only(version, log):
    """OpenSSL takes it, where a program does not switch that off."""
    context = only_reporting().protect(ssl.create_default_context(cadata=authority().pem))
    context.hostname_checks_common_name = True
    with Server(issuing().issue(common_name=HOST), tls=[version]) as server:
        with connect(context, server) as connection:
            assert exchange(connection).startswith(b"HTTP/1.1 200")
    assert [record.keypin_reason for record in log.records] == ["WRONG_NAME"]


def test_enforced_pins_refuse_that_name(foreign_server, context_of):
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        connect(context_of(pinner_for(pinned())), foreign_server)


def test_a_connection_that_is_let_pass_is_refused_when_the_pins_are_enforced(
    foreign_server, context_of
):
    pinner = only_reporting()
    with connect(context_of(pinner), foreign_server) as connection:
        exchange(connection)
        pinner.replace(pins_for(foreign()))
        with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
            connection.send(b"x")


@pytest.mark.parametrize("name", [None, "127.1"], ids=["no name", "no host"])
@pytest.mark.parametrize("verify", [True, False], ids=["verified", "unverified"])
def test_a_connection_without_a_usable_name_is_told_of_only(
    name, verify, wrong_server, log, context_of
):
    context = context_of(only_reporting(), verify=verify)
    with connect(context, wrong_server, server_hostname=name) as connection:
        assert exchange(connection).startswith(b"HTTP/1.1 200")
    reason = "NO_SERVER_NAME" if name is None else "BAD_HOST"
    assert [record.keypin_reason for record in log.records] == [reason]
    assert log.records[0].getMessage().startswith("keypin, in report mode, let ")


@pytest.mark.parametrize("verify", [True, False], ids=["verified", "unverified"])
def test_no_name_is_no_way_round_a_denied_key(verify, wrong_server, right_server, context_of):
    context = context_of(only_reporting(deny=[unpinned().pin]), verify=verify)
    with pytest.raises(PinMismatch):
        connect(context, wrong_server, server_hostname=None)
    wrong_server.settle()
    assert wrong_server.application_bytes == 0
    if verify:
        with connect(context, right_server, server_hostname=None) as connection:
            assert exchange(connection)


def test_no_name_is_refused_where_any_rule_is_enforced(wrong_server, context_of):
    rules = [
        Rule(HOST, [pinned().pin], mode="report"),
        Rule("enforced.example", [pinned().pin]),
    ]
    with pytest.raises(PinMismatch, match="no server name"):
        connect(context_of(Pinner(PinSet(rules))), wrong_server, server_hostname=None)
    wrong_server.settle()
    assert wrong_server.application_bytes == 0


def test_a_nameless_connection_that_is_let_pass_is_refused_when_pins_are_enforced(
    wrong_server, context_of
):
    pinner = only_reporting()
    with connect(context_of(pinner), wrong_server, server_hostname=None) as connection:
        exchange(connection)
        pinner.replace(pins_for(pinned()))
        with pytest.raises(PinMismatch, match="no server name"):
            connection.send(b"x")


def test_two_pinners_one_of_which_only_reports(wrong_server):
    denying = only_reporting(deny=[unpinned().pin])
    context = ssl.create_default_context(cadata=authority().pem)
    context.check_hostname = False
    with denying.installed(), pinner_for(pinned()).installed():
        with pytest.raises(PinMismatch, match="no server name"):
            connect(context, wrong_server, server_hostname=None)


def test_an_open_connection_without_a_name_is_told_of_only(wrong_server, log):
    context = ssl.create_default_context(cadata=authority().pem)
    context.check_hostname = False
    with connect(context, wrong_server, server_hostname=None) as connection:
        exchange(connection)
        with only_reporting().installed():
            assert exchange(connection)
    assert [record.keypin_reason for record in log.records] == ["NO_SERVER_NAME"]


# Those that listen, and connect themselves


class Sending(logging.Handler):
    """Sends each record over TLS."""

    def __init__(self, context, server):
        super().__init__()
        self.context, self.server = context, server
        self.sent = 0

    def emit(self, record):
        self.sent += 1
        assert self.sent < 50, "without end"
        with suppress(OSError), connect(self.context, self.server) as connection:
            exchange(connection)


def by_itself(handler):
    return handler, lambda: None


def by_memory(handler):
    return logging.handlers.MemoryHandler(1, target=handler), lambda: None


def by_queue(handler):
    records = queue.SimpleQueue()
    listener = logging.handlers.QueueListener(records, handler)
    listener.start()
    return logging.handlers.QueueHandler(records), listener.stop


@pytest.mark.parametrize("way", [by_itself, by_memory, by_queue])
@pytest.mark.parametrize("mode", ["enforce", "report"])
@pytest.mark.parametrize("level", [logging.DEBUG, logging.WARNING], ids=["debug", "warning"])
def test_a_handler_that_sends_its_records_to_a_pinned_host_ends(
    way, mode, level, wrong_server, right_server
):
    logger = logging.getLogger("keypin")
    context = trusting(pinner_for(pinned(), mode=mode))
    for server, count in ((wrong_server, 1), (right_server, level == logging.DEBUG)):
        sending = Sending(context, server)
        handler, end = way(sending)
        logger.addHandler(handler)
        before = logger.level
        logger.setLevel(level)
        try:
            with suppress(PinMismatch):
                connect(context, server).close()
        finally:
            end()
            logger.removeHandler(handler)
            logger.setLevel(before)
        assert sending.sent == count


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_http_handler_over_tls_ends(wrong_server):
    """The standard library's own, which does not close its connections."""
    context = trusting(pinner_for(pinned(), mode="report"))
    host = f"{HOST}:{wrong_server.port}"
    handler = logging.handlers.HTTPHandler(host, "/", secure=True, context=context)
    logger = logging.getLogger("keypin")
    logger.addHandler(handler)
    try:
        connect(context, wrong_server).close()
    finally:
        logger.removeHandler(handler)
    wrong_server.settle()
    assert len(wrong_server.connections) == 2


def test_other_records_are_told_of_while_one_is_sent(wrong_server, log):
    """Only what a handler does with a record of keypin is kept out of the log."""
    context = trusting(pinner_for(pinned(), mode="report"))
    logger = logging.getLogger("a program")
    sending = Sending(context, wrong_server)
    logger.addHandler(sending)
    try:
        logger.warning("something")
    finally:
        logger.removeHandler(sending)
    assert [record.name for record in log.records if record.name == "keypin"] == ["keypin"]


@pytest.mark.parametrize("mode", ["enforce", "report"])
def test_an_observer_that_connects_to_a_pinned_host_is_not_told_of_that(mode, wrong_server):
    heard = []

    def observe(verdict):
        heard.append(verdict)
        assert len(heard) < 50, "without end"
        with suppress(PinMismatch):
            connect(context, wrong_server).close()

    pinner = Pinner(pins_for(pinned(), mode=mode), on_verdict=observe)
    context = trusting(pinner)
    for count in (1, 2):
        with suppress(PinMismatch):
            connect(context, wrong_server).close()
        assert len(heard) == count


# Handlers and observers of other kinds


def raising(_):
    raise ValueError("the handler's own trouble")


@pytest.fixture(params=["handler", "filter"])
def raising_log(request):
    logger = logging.getLogger("keypin")
    handler = logging.Handler()
    handler.emit = raising
    if request.param == "filter":
        handler.addFilter(raising)
    logger.addHandler(handler)
    yield
    logger.removeHandler(handler)


def test_a_handler_that_raises_changes_nothing(raising_log, wrong_server, capsys):
    with connect(trusting(pinner_for(pinned(), mode="report")), wrong_server) as connection:
        assert exchange(connection).startswith(b"HTTP/1.1 200")
    assert "the handler's own trouble" in capsys.readouterr().err
    with pytest.raises(PinMismatch):
        connect(trusting(pinner_for(pinned())), wrong_server)


def test_a_handler_that_raises_keeps_no_pins_from_coming_into_force(raising_log, wrong_server):
    plain = ssl.create_default_context(cadata=authority().pem)
    with connect(plain, wrong_server), pinner_for(pinned()).installed() as pinner:
        pinner.replace(pins_for(issuing()))
        with connect(plain, wrong_server) as connection:
            pinner.replace(pins_for(pinned()))
            with pytest.raises(PinMismatch):
                connection.send(b"x")


def test_a_handler_that_raises_hides_no_verdict_from_observers(raising_log, wrong_server):
    heard = []
    pinner = Pinner(pins_for(pinned(), mode="report"), on_verdict=heard.append)
    connect(trusting(pinner), wrong_server).close()
    assert [verdict.reason for verdict in heard] == [Reason.NO_MATCH]


@pytest.mark.parametrize("listener", ["handler", "observer"])
@pytest.mark.parametrize("mode", ["enforce", "report"])
def test_a_task_of_asyncio_that_a_listener_makes_to_connect_ends(listener, mode, wrong_server):
    told = []

    async def send():
        with suppress(PinMismatch):
            _, writer = await asyncio.open_connection(
                *wrong_server.address, ssl=context, server_hostname=HOST
            )
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    def tell(what):
        told.append(asyncio.get_running_loop().create_task(send()))
        assert len(told) < 50, "without end"

    async def talk():
        await send()
        done = 0
        while done < len(told):
            await told[done]
            done += 1

    handler = logging.NullHandler()
    handler.handle = tell
    pinner = Pinner(pins_for(pinned(), mode=mode), on_verdict=tell)
    if listener == "handler":
        pinner = pinner_for(pinned(), mode=mode)
        logging.getLogger("keypin").addHandler(handler)
    context = trusting(pinner)
    try:
        asyncio.run(talk())
    finally:
        logging.getLogger("keypin").removeHandler(handler)
    assert len(told) == 1


def test_an_observer_that_raises_beside_a_queue_that_sends_ends(wrong_server):
    context = trusting(Pinner(pins_for(pinned(), mode="report"), on_verdict=raising))
    sending = Sending(context, wrong_server)
    handler, end = by_queue(sending)
    logger = logging.getLogger("keypin")
    logger.addHandler(handler)
    try:
        connect(context, wrong_server).close()
    finally:
        end()
        logger.removeHandler(handler)
    assert sending.sent == 2


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit, asyncio.CancelledError])
def test_an_observer_that_stops_the_program_approves_nothing(stop, wrong_server):
    def observe(verdict):
        raise stop

    context = trusting(Pinner(pins_for(pinned()), on_verdict=observe))
    with connect(context, wrong_server, do_handshake_on_connect=False) as connection:
        with pytest.raises(stop):
            connection.do_handshake()
        with pytest.raises(PinMismatch):
            connection.send(b"x")
    wrong_server.settle()
    assert wrong_server.application_bytes == 0


# Servers that no pins can be held to


def lenient(*, check_name):
    """A program's context that takes old and anonymous servers."""
    context = ssl.create_default_context(cadata=authority().pem)
    context.check_hostname = check_name
    context.minimum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:aNULL:@SECLEVEL=0")
    return context


ODD_SERVERS = pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"tls": ["1.1"]}, "OLD_PROTOCOL"),
        ({"tls": ["1.2"], "ciphers": "aNULL:@SECLEVEL=0"}, "NO_CERTIFICATE"),
    ],
    ids=["old", "anonymous"],
)


@ODD_SERVERS
@pytest.mark.parametrize("check_name", [True, False], ids=["name checked", "not checked"])
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1:DeprecationWarning")
def test_a_server_without_a_usable_chain_is_told_of_only(settings, reason, check_name, log):
    context = only_reporting().protect(lenient(check_name=check_name))
    with Server(unpinned(), **settings) as server:
        with connect(context, server) as connection:
            assert exchange(connection).startswith(b"HTTP/1.1 200")
    assert [record.keypin_reason for record in log.records] == [reason]


@ODD_SERVERS
@pytest.mark.parametrize("host", [HOST, None])
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1:DeprecationWarning")
def test_such_a_server_is_no_way_round_a_denied_key(settings, reason, host):
    context = only_reporting(deny=[foreign().pin]).protect(lenient(check_name=False))
    with Server(unpinned(), **settings) as server:
        with pytest.raises(PinMismatch):
            connect(context, server, server_hostname=host)
        server.settle()
        assert server.application_bytes == 0
