"""Report mode, the log and the observer: they tell everything and change nothing."""

from __future__ import annotations

import asyncio
import logging
import ssl
from datetime import UTC, datetime, timedelta

import pytest
from scene import (
    HOST,
    connect,
    exchange,
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
    told, refused = (record.getMessage() for record in log.records)
    assert refused == str(caught.value)
    assert told == str(caught.value).replace("keypin refused", "keypin accepted")


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


def test_a_match_is_not_logged(right_server, log):
    with connect(trusting(pinner_for(pinned(), mode="report")), right_server) as connection:
        exchange(connection)
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
    assert not log.records
    monkeypatch.setattr(pinset, "_now", lambda: tomorrow)
    connect(context, right_server).close()
    assert [record.levelno for record in log.records] == [logging.ERROR]


def test_failing_open_on_expiry_is_a_choice_and_is_logged(wrong_server, log):
    context = trusting(pinner_for(pinned(), expires=YESTERDAY, on_expiry="allow"))
    with connect(context, wrong_server) as connection:
        assert exchange(connection).startswith(b"HTTP/1.1 200")
    assert [record.levelno for record in log.records] == [logging.ERROR]
