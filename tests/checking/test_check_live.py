"""`keypin check` against real servers: what it finds, and that they get nothing but handshakes."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import pty
import queue
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from check_scene import HOST, NOW, at

from keypin import Pin
from keypin.checking.judgement import FileChecker
from keypin.checking.live import ScanResult
from keypin.checking.reports import Report, json_report
from keypin.checking.targets import Target
from keypin.inspection import Inspection
from keypin.lab import Authority, Listener, MisbehavingServer, Server, new_key, stall
from keypin.pinfile import Defaults, HostEntry, PinEntry, PinFile

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keypin.lab import Credential

HOSTS_SOUND = {("ok", "pin-matched"), ("ok", "sound")}


@pytest.fixture
def entry(credential, backup) -> HostEntry:
    """The server's key, and one kept offline."""
    return HostEntry(HOST, [PinEntry(credential.pin, "active", "2026"), backup])


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


# What matches


def test_it_says_which_pin_matched_at_what_depth_and_exits_with_0(check, credential, entry):
    with Server(credential) as server:
        checked = check([entry], *at(server))
        assert server.application_bytes == 0
    assert (checked.code, checked.kinds, checked.error) == (0, HOSTS_SOUND, "")
    found = checked.one("pin-matched")
    assert found["pin"] == str(credential.pin)
    assert "active pin '2026' matched at depth 0, the server's own key" in found["text"]
    [shown] = checked.servers
    assert (shown["verified"], shown["other_key"], shown["key"]) == (True, "not-offered", "ECDSA")
    assert shown["chain"][0]["pin"] == str(credential.pin)


def test_an_authoritys_pin_is_found_where_it_is(check, credential, issuing, backup):
    with Server(credential) as server:
        checked = check([HostEntry(HOST, [issuing.pin, backup])], *at(server))
    assert "at depth 1, CN=issuing CA" in checked.one("pin-matched")["text"]


def test_every_address_is_looked_at(check, credential, issuing, entry):
    other = issuing.issue(HOST)
    with (
        Server(credential) as first,
        Server(credential, host="127.0.0.2") as second,
        Server(other, host="::1") as third,
    ):
        checked = check([entry], *at(first, second, third))
        assert third.application_bytes == 0
    assert checked.code == 2
    assert [shown["address"] for shown in checked.servers] == ["127.0.0.1", "127.0.0.2", "::1"]
    assert checked.one("pin-mismatch")["where"].startswith("[::1]:")
    assert len(checked.of("pin-matched")) == 2


def test_every_address_of_the_name_is_looked_at_or_those_of_one_family(
    check, credential, entry, monkeypatch
):
    with contextlib.ExitStack() as stack:
        servers = on_one_port(stack, credential, "127.0.0.1", "127.0.0.2", "::1")
        resolve(monkeypatch, "127.0.0.1", "127.0.0.2", "::1")
        port = servers[0].port
        for options, addresses in (
            ([], ["127.0.0.1", "127.0.0.2", "::1"]),
            (["-4"], ["127.0.0.1", "127.0.0.2"]),
            (["--ipv6"], ["::1"]),
        ):
            checked = check([entry], "--port", port, *options)
            assert sorted(shown["address"] for shown in checked.servers) == addresses
            assert checked.kinds == HOSTS_SOUND


def on_one_port(stack, credential, *addresses) -> list[Server]:
    """Servers at the same port of several addresses."""
    create = socket.create_server
    first = stack.enter_context(Server(credential, host=addresses[0]))

    def create_there(address: tuple[str, int], **more: Any) -> socket.socket:
        return create((address[0], first.port), **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "create_server", create_there)
        return [first, *(stack.enter_context(Server(credential, host=h)) for h in addresses[1:])]


def resolve(monkeypatch, *addresses: str) -> None:
    """Give every name these addresses."""
    real = socket.getaddrinfo

    def answer(host: str, port: int, family: int = 0, *more: int) -> list[Any]:
        if host != HOST:
            return real(host, port, family, *more)
        families = [socket.AF_INET6 if ":" in each else socket.AF_INET for each in addresses]
        return [
            found
            for each, its in zip(addresses, families, strict=True)
            if family in (0, its)
            for found in real(each, port, its, *more)
        ]

    monkeypatch.setattr(socket, "getaddrinfo", answer)


def test_both_types_of_key_are_asked_for(check, credential, rsa, entry):
    with Server([credential, rsa]) as server:
        checked = check([entry], *at(server))
        alone = check([entry], *at(server), "--one-key")
        assert server.application_bytes == 0
    assert checked.code == 2
    assert [shown["key"] for shown in checked.servers] == ["ECDSA", "RSA"]
    assert checked.servers[0]["other_key"] == "shown"
    assert checked.one("pin-mismatch")["where"].endswith(", RSA")
    assert alone.kinds == HOSTS_SOUND
    assert [shown["other_key"] for shown in alone.servers] == ["not-asked"]


@pytest.mark.parametrize("kind", ["rsa-2048", "ed25519", "p-384"])
def test_a_key_of_another_type_that_is_not_there_is_not_missed(check, issuing, backup, kind):
    credential = issuing.issue(HOST, key=kind)
    with Server(credential) as server:
        checked = check([HostEntry(HOST, [credential.pin, backup])], *at(server))
    assert checked.kinds == HOSTS_SOUND
    assert [shown["other_key"] for shown in checked.servers] == ["not-offered"]


@pytest.mark.parametrize(
    ("oldest", "told"),
    [(ssl.TLSVersion.TLSv1_2, "not-offered"), (ssl.TLSVersion.TLSv1_3, "cannot-be-asked")],
)
def test_a_server_that_hangs_up_instead_of_an_alert_is_understood(
    check, credential, entry, folder, oldest, told
):
    """As asyncio's servers do."""
    files = credential.write(folder / "server")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = oldest
    context.load_cert_chain(files.chain, files.key)
    ports: queue.SimpleQueue[int] = queue.SimpleQueue()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        server = await asyncio.start_server(
            lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context
        )
        ports.put(server.sockets[0].getsockname()[1])
        async with server:
            await over.wait()

    over = asyncio.Event()
    loop.set_exception_handler(lambda *_: None)
    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        there = ["--connect-to", f"{HOST}=127.0.0.1:{ports.get(timeout=20)}"]
        checked = check([entry], *there)
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()
        loop.close()
    assert checked.kinds == HOSTS_SOUND
    assert [shown["other_key"] for shown in checked.servers] == [told]


def test_of_a_server_of_tls_1_3_alone_it_says_what_cannot_be_asked(check, credential, rsa, entry):
    with Server([credential, rsa], tls=["1.3"]) as server:
        checked = check([entry], *at(server))
    assert [shown["other_key"] for shown in checked.servers] == ["cannot-be-asked"]
    assert "TLS 1.3 only" in checked.one("pin-matched")["text"]


# Several servers behind one address


class Balancer(Listener):
    """Leads each connection to the next of some servers."""

    def __init__(self, *servers: Listener) -> None:
        super().__init__()
        self._next = itertools.cycle(servers)

    def _handle(self, connection, sock):
        next(self._next)._handle(connection, sock)


@pytest.fixture
def rotation(credential, issuing) -> Iterator[tuple[Balancer, Credential]]:
    """A load balancer in mid-rotation, and the server with the new key."""
    new = issuing.issue(HOST)
    with Server(credential) as old, Server(new) as changed, Balancer(old, changed) as balancer:
        yield balancer, new


def test_a_second_server_behind_an_address_is_met(check, rotation, credential, entry):
    balancer, new = rotation
    checked = check([entry], *at(balancer), "--one-key")
    assert checked.code == 2
    mismatch = checked.one("pin-mismatch")
    assert mismatch["where"] == f"127.0.0.1:{balancer.port}, ECDSA, 1 of 3 connections"
    assert str(new.pin) in mismatch["text"]
    assert checked.one("pin-matched")["where"].endswith("2 of 3 connections")
    several = checked.one("several-servers")
    assert "3 connections showed 2 keys" in several["text"]
    assert f"{credential.pin} in 2, {new.pin} in 1" in several["text"]
    assert "--repeat" in several["advice"]
    assert [(each["shown_in"], each["connections"]) for each in checked.servers] == [(2, 3), (1, 3)]
    assert all(each.application_bytes == 0 for each in balancer.connections)


def test_several_servers_with_pinned_keys_are_no_fault(check, rotation, credential, backup):
    balancer, new = rotation
    pins = [PinEntry(credential.pin), PinEntry(new.pin), backup]
    checked = check([HostEntry(HOST, pins)], *at(balancer))
    assert (checked.code, checked.trouble) == (0, set())
    assert len(checked.of("pin-matched")) == 2


def test_how_often_to_connect_is_an_option(check, rotation, entry):
    balancer, _ = rotation
    once = check([entry], *at(balancer), "--one-key", "--repeat", "1")
    assert (once.code, len(balancer.connections)) == (0, 1)
    often = check([entry], *at(balancer), "--one-key", "--repeat", "7")
    assert (often.code, len(balancer.connections)) == (2, 8)


def test_a_certificate_that_only_some_servers_have_renewed(check, credential, issuing, entry):
    renewed = credential.renew()
    with Server(credential) as old, Server(renewed) as new, Balancer(old, new) as balancer:
        checked = check([entry], *at(balancer), "--one-key")
    assert checked.code == 0
    assert "2 chains for one key" in checked.one("several-servers")["text"]


def test_a_server_that_fails_behind_a_good_one_is_unknown(check, credential, entry, folder):
    with Server(credential) as good, Server(None) as bad, Balancer(good, bad) as balancer:
        options = [*at(balancer), "--one-key", "--timeout", "5", "--prometheus", "keypin.prom"]
        checked = check([entry], *options)
        assert len(balancer.connections) == 2
    assert (checked.code, checked.trouble) == (3, {("unknown", "no-tls")})
    assert checked.one("no-tls")["where"].endswith("1 of 2 connections")


def test_each_type_of_key_is_asked_for_several_times(check, credential, rsa, issuing, entry):
    other = issuing.issue(HOST, key="rsa-2048")
    pins = [*entry.pins, rsa.pin]
    with (
        Server([credential, rsa]) as old,
        Server([credential, other]) as new,
        Balancer(old, new) as balancer,
    ):
        checked = check([HostEntry(HOST, pins)], *at(balancer))
    assert str(other.pin) in checked.one("pin-mismatch")["text"]
    assert ", RSA, " in checked.one("pin-mismatch")["where"]


# What does not


def test_another_key_is_critical(check, credential, issuing, entry):
    other = issuing.issue(HOST)
    with Server(other) as server:
        checked = check([entry], *at(server))
        assert server.application_bytes == 0
    assert (checked.code, checked.trouble) == (2, {("critical", "pin-mismatch")})
    assert str(other.pin) in checked.one("pin-mismatch")["text"]


def test_another_key_in_report_mode_is_a_warning(check, credential, issuing, backup):
    entry = HostEntry(HOST, [credential.pin, backup], mode="report")
    with Server(issuing.issue(HOST)) as server:
        checked = check([entry], *at(server))
        passing = check([entry], *at(server), "--fail-on", "critical")
    assert checked.code == 1
    assert ("warning", "pin-mismatch") in checked.trouble
    assert passing.code == 0


def test_another_key_after_an_expiry_that_allows_it_is_critical(check, credential, issuing, backup):
    entry = HostEntry(
        HOST, [credential.pin, backup], on_expiry="allow", expires=datetime(2026, 1, 1, tzinfo=UTC)
    )
    with Server(issuing.issue(HOST)) as server:
        checked = check([entry], *at(server))
    assert checked.trouble == {("critical", "pin-mismatch"), ("critical", "pins-expired")}


def test_a_denied_key_is_critical_though_another_is_pinned(check, credential, issuing, backup):
    entry = HostEntry(HOST, [credential.pin, backup], [issuing.pin], mode="report")
    with Server(credential) as server:
        checked = check([entry], *at(server))
    assert ("critical", "key-denied") in checked.trouble
    assert checked.one("key-denied")["pin"] == str(issuing.pin)


def test_what_does_not_verify_is_critical_whatever_is_pinned(check, issuing, backup):
    yesterday = datetime.now(UTC) - timedelta(days=1)
    faults = {
        "certificate has expired": issuing.issue(HOST, not_after=yesterday),
        "Hostname mismatch": issuing.issue("other.example.test"),
        "unable to get local issuer": Authority("unknown").intermediate("issuing").issue(HOST),
    }
    for reason, credential in faults.items():
        with Server(credential) as server:
            checked = check([HostEntry(HOST, [credential.pin, backup])], *at(server))
            assert server.application_bytes == 0
        assert (checked.code, checked.trouble) == (2, {("critical", "not-verified")})
        assert reason in checked.one("not-verified")["text"]


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_a_server_without_the_key_of_its_certificate_is_never_ok(check, credential, entry, version):
    pytest.importorskip("tlslite")
    with MisbehavingServer(credential, new_key(), tls=[version]) as server:
        checked = check([entry], *at(server), "--timeout", "5")
        assert server.application_bytes == 0
    assert (checked.code, checked.of("pin-matched")) == (3, [])
    assert checked.trouble <= {("unknown", "not-proven"), ("unknown", "no-tls")}


def test_a_client_certificate_that_is_demanded_early_leaves_the_proof_open(
    check, credential, entry, root
):
    with Server(
        credential, tls=["1.2"], client_ca=root.certificate, require_client_certificate=True
    ) as server:
        checked = check([entry], *at(server))
    assert (checked.code, checked.trouble) == (3, {("unknown", "not-proven")})


def test_a_client_certificate_that_is_demanded_late_is_no_obstacle(check, credential, entry, root):
    with Server(credential, client_ca=root.certificate, require_client_certificate=True) as server:
        checked = check([entry], *at(server))
    assert checked.kinds == HOSTS_SOUND


# What cannot be found out


def test_what_is_not_there_is_unknown_and_never_ok(check, entry):
    for fail_on in ("warning", "critical"):
        arguments = ["--connect-to", f"{HOST}=127.0.0.1:{closed_port()}", "--fail-on", fail_on]
        checked = check([entry], *arguments)
        assert (checked.code, checked.trouble) == (3, {("unknown", "unreachable")})
        assert "refused" in checked.one("unreachable")["text"]


def test_one_address_that_is_not_there_is_enough(check, credential, entry):
    with Server(credential) as server:
        missing = ["--connect-to", f"{HOST}=127.0.0.2:{closed_port()}"]
        checked = check([entry], *at(server), *missing)
    assert (checked.code, checked.trouble) == (3, {("unknown", "unreachable")})
    assert ("ok", "pin-matched") in checked.kinds


def test_a_server_that_stalls_is_given_up(check, credential, entry):
    with Server(credential, before_tls=stall) as server:
        checked = check([entry], *at(server), "--timeout", "0.3")
    assert (checked.code, checked.trouble) == (3, {("unknown", "unreachable")})
    assert "did not answer in time" in checked.one("unreachable")["text"]


def test_a_server_without_tls_is_unknown(check, entry):
    with Server(None) as server:
        checked = check([entry], *at(server), "--timeout", "2")
    assert (checked.code, checked.trouble) == (3, {("unknown", "no-tls")})


def test_a_name_without_addresses_is_unknown(check, backup, credential):
    checked = check([HostEntry("nowhere.invalid", [credential.pin, backup])])
    assert (checked.code, checked.trouble) == (3, {("unknown", "no-address")})


def test_a_failure_of_the_second_handshake_is_unknown(check, credential, entry):
    class SecondCut(Server):
        def _handle(self, connection, sock):
            if len(self.connections) > 1:
                return
            super()._handle(connection, sock)

    with SecondCut(credential) as server:
        checked = check([entry], *at(server))
    assert (checked.code, checked.trouble) == (3, {("unknown", "unreachable")})
    assert "key of the type RSA" in checked.one("unreachable")["text"]
    assert checked.servers[0]["other_key"] == "unknown"


# Which hosts


def test_a_pattern_is_checked_at_its_domain_and_at_the_hosts_that_are_named(
    check, credential, issuing, backup
):
    below = issuing.issue("www.example.test", "example.test")
    entries = [HostEntry("**.example.test", [below.pin, backup])]
    with Server(below) as server:
        both = (*at(server, host="example.test"), *at(server, host="www.example.test"))
        checked = check(entries, *both)
        more = check(entries, *both, "--extra-host", "www.example.test")
        only = check(entries, *both, "www.example.test")
    assert {shown["host"] for shown in checked.servers} == {"example.test"}
    assert {shown["host"] for shown in more.servers} == {"example.test", "www.example.test"}
    assert {shown["host"] for shown in only.servers} == {"www.example.test"}
    assert checked.code == more.code == only.code == 0


def test_a_pattern_of_which_no_host_was_looked_at_is_unknown(check, credential, backup):
    for pattern in ("*.example.invalid", "**.example.invalid"):
        checked = check([HostEntry(pattern, [credential.pin, backup])])
        assert checked.code == 3
        assert checked.one("not-checked")["host"] == pattern
        assert "--extra-host" in checked.one("not-checked")["advice"]


def test_the_domain_of_a_pattern_need_not_be_a_server_if_another_host_was_named(
    check, issuing, backup
):
    below = issuing.issue("www.example.invalid")
    entries = [HostEntry("**.example.invalid", [below.pin, backup])]
    with Server(below) as server:
        options = at(server, host="www.example.invalid")
        checked = check(entries, *options, "--extra-host", "www.example.invalid")
        named = check(entries, *options, "--extra-host", "example.invalid")
    assert (checked.code, checked.one("no-address")["severity"]) == (0, "ok")
    assert (named.code, named.one("no-address")["severity"]) == (3, "unknown")


def test_a_host_in_no_entry_or_excluded_is_not_connected_to(check, entry):
    class Untouched(Listener):
        def _handle(self, connection, sock):
            raise AssertionError

    wide, hole = HostEntry("**.example.test", entry.pins), HostEntry("a.example.test", exclude=True)
    with Untouched() as server:
        unlisted = check([entry], "www.example.org", *at(server, host="www.example.org"))
        excluded = check([wide, hole], "a.example.test", *at(server, host="a.example.test"))
        refused = check([entry], "www.example.org", defaults=Defaults(unlisted="refuse"))
        assert server.connections == []
    assert (unlisted.code, unlisted.trouble) == (2, {("critical", "no-rule")})
    assert (excluded.code, excluded.kinds) == (0, {("ok", "excluded")})
    assert "clients refuse it" in refused.one("no-rule")["text"]


def test_ports_are_given_with_the_host_for_one_host_or_for_all(check, credential, entry):
    with Server(credential) as server:
        there = ["--connect-to", f"{HOST}=127.0.0.1"]
        for options in ([f"{HOST}:{server.port}"], ["--port", server.port],
                        ["--port", f"{HOST}={server.port}", "--port", "1"]):  # fmt: skip
            assert check([entry], *there, *options).kinds == HOSTS_SOUND


# What all of them together mean


def test_a_backup_that_is_served_is_none(check, credential, issuing):
    pins = [PinEntry(credential.pin, "active"), PinEntry(issuing.pin, "backup", "the CA")]
    with Server(credential) as server:
        checked = check([HostEntry(HOST, pins)], *at(server))
    assert (checked.code, checked.trouble) == (1, {("warning", "backup-served")})
    found = checked.one("backup-served")
    assert (found["pin"], "'the CA' is served, at depth 1" in found["text"]) == (
        str(issuing.pin),
        True,
    )


def test_pins_that_no_server_shows_are_named_by_their_roles(check, credential, issuing, backup):
    gone = [issuing.issue(HOST).pin for _ in range(4)]
    long_ago, far_off = datetime(2026, 1, 1, tzinfo=UTC), datetime(2099, 1, 1, tzinfo=UTC)
    pins = [
        PinEntry(credential.pin, "active"),
        PinEntry(gone[0], "active", "forgotten"),
        PinEntry(gone[1], "retiring", "going"),
        PinEntry(gone[2], "planned", "late", long_ago),
        PinEntry(gone[3], "planned", "to come", far_off),
        backup,
    ]
    with Server(credential) as server:
        checked = check([HostEntry(HOST, pins)], *at(server))
    found = {finding["pin"]: finding["severity"] for finding in checked.of("pin-not-seen")}
    assert found == {str(gone[0]): "warning", str(gone[1]): "ok", str(gone[2]): "warning"}


def test_pins_are_not_called_unseen_while_a_server_is_missing(check, credential, issuing, backup):
    pins = [credential.pin, issuing.issue(HOST).pin, backup]
    with Server(credential) as server:
        missing = ["--connect-to", f"{HOST}=127.0.0.2:{closed_port()}"]
        checked = check([HostEntry(HOST, pins)], *at(server), *missing)
    assert checked.of("pin-not-seen") == []


def test_pins_of_one_authority_alone_are_a_warning(check, credential, issuing, root, backup):
    with Server(credential) as server:
        one = check([HostEntry(HOST, [issuing.pin, root.pin])], *at(server))
        spare = check([HostEntry(HOST, [issuing.pin, root.pin, backup])], *at(server))
    assert one.trouble == {("warning", "one-authority"), ("warning", "no-backup")}
    assert "CN=issuing CA, CN=trusted root" in one.one("one-authority")["text"]
    assert spare.trouble == set()


def test_leaf_keys_alone_of_certificates_renewed_often_are_a_warning(
    check, credential, rsa, issuing, backup
):
    long = issuing.issue(HOST, not_after=datetime.now(UTC) + timedelta(days=380))
    with Server([credential, rsa]) as server:
        often = check([HostEntry(HOST, [credential.pin, rsa.pin])], *at(server))
        spare = check([HostEntry(HOST, [credential.pin, rsa.pin, backup])], *at(server))
    with Server([long, rsa.renew(not_after=datetime.now(UTC) + timedelta(days=380))]) as server:
        rarely = check([HostEntry(HOST, [long.pin, rsa.pin])], *at(server))
    assert often.trouble == {("warning", "leaf-renewal"), ("warning", "no-backup")}
    assert spare.trouble == set()
    assert rarely.trouble == {("warning", "no-backup")}


def test_a_pin_of_an_intermediate_breaks_when_the_authority_changes_it(
    check, credential, issuing, backup
):
    """The server's own authority is given by --cafile, which says nothing of who changes it."""
    with Server(credential) as server:
        checked = check([HostEntry(HOST, [PinEntry(issuing.pin, key="CA"), backup])], *at(server))
    assert checked.trouble == {("warning", "intermediate-pinned")}
    found = checked.one("intermediate-pinned")
    assert found["pin"] == str(issuing.pin)
    assert "the active pin 'CA' is of an intermediate, CN=issuing CA, and breaks" in found["text"]
    assert 'authority = "own"' in found["advice"]


@pytest.mark.parametrize("authority", ["own", "other"])
def test_an_intermediate_of_the_teams_own_is_sound(check, credential, issuing, backup, authority):
    marked = PinEntry(issuing.pin, authority=authority)
    with Server(credential) as server:
        checked = check([HostEntry(HOST, [marked, backup])], *at(server))
    expected = set() if authority == "own" else {("warning", "intermediate-pinned")}
    assert checked.trouble == expected


def test_pins_of_the_teams_own_authority_alone_need_no_other(check, credential, issuing, root):
    pins = [PinEntry(issuing.pin, authority="own"), PinEntry(root.pin, "backup", authority="own")]
    with Server(credential) as server:
        checked = check([HostEntry(HOST, pins)], *at(server))
    assert checked.of("one-authority") == checked.of("intermediate-pinned") == []


def test_a_servers_own_key_that_is_marked_as_an_authoritys_is_a_warning(
    check, credential, issuing, backup
):
    wrong = PinEntry(credential.pin, key="2026", authority="own")
    with Server(credential) as server:
        checked = check([HostEntry(HOST, [wrong, backup])], *at(server))
        right = check([HostEntry(HOST, [credential.pin, backup])], *at(server))
    assert checked.trouble == {("warning", "not-an-authority")}
    assert "the active pin '2026' is marked" in checked.one("not-an-authority")["text"]
    assert right.trouble == set()


@pytest.mark.parametrize("also", ["credential", "root"])
def test_an_intermediate_that_nothing_depends_on_is_no_trouble(
    check, credential, issuing, root, backup, also
):
    pin = {"credential": credential.pin, "root": root.pin}[also]
    with Server(credential) as server:
        checked = check([HostEntry(HOST, [issuing.pin, pin, backup])], *at(server))
    assert checked.of("intermediate-pinned") == []


def test_a_pin_that_cannot_match_the_leaf_is_a_warning(check, credential, issuing, backup):
    entry = HostEntry(HOST, [credential.pin, issuing.pin, backup], match="leaf")
    with Server(credential) as server:
        checked = check([entry], *at(server))
    assert checked.trouble == {("warning", "pin-without-effect")}
    assert checked.one("pin-without-effect")["pin"] == str(issuing.pin)


@pytest.mark.parametrize(
    ("lifetime", "left", "option", "warned"),
    [
        (90, 20, "30d", True),
        (90, 25, "30d", False),
        (400, 25, "30d", True),
        (400, 25, "20d", False),
    ],
)
def test_a_certificate_near_its_end_is_a_warning(
    check, issuing, backup, lifetime, left, option, warned
):
    end = datetime.now(UTC) + timedelta(days=left, hours=1)
    credential = issuing.issue(HOST, not_before=end - timedelta(days=lifetime), not_after=end)
    with Server(credential) as server:
        checked = check(
            [HostEntry(HOST, [credential.pin, backup])], *at(server), "--expires-within", option
        )
    assert checked.trouble == ({("warning", "certificate-expires")} if warned else set())
    if warned:
        assert f"{left} days from now" in checked.one("certificate-expires")["text"]


# Many side by side


def test_servers_that_stall_do_not_hold_up_the_others(check, credential, entry):
    release = threading.Event()
    arrived = threading.Semaphore(0)

    def stall_until_all_are_there(channel) -> bool:
        arrived.release()
        release.wait(20)
        return True

    count = 8
    with Server(credential, before_tls=stall_until_all_are_there) as server:
        opener = threading.Thread(
            target=lambda: ([arrived.acquire(timeout=20) for _ in range(count)], release.set())
        )
        opener.start()
        checked = check([entry], *at(*[server] * count), "--one-key", "--workers", count)
        opener.join()
    # one after the other, the first would have waited for the others for ever
    assert (checked.code, len(checked.of("pin-matched"))) == (0, count)


def test_ctrl_c_ends_it_at_once(keypin_check, entry, monkeypatch):
    from keypin.checking import live

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(live, "_scan", interrupted)
    code, output, _ = keypin_check([entry], "--connect-to", f"{HOST}=127.0.0.1:1")
    assert (code, output.splitlines()[-1]) == (130, "1 host: 1 unknown")


@pytest.mark.parametrize("form", [(), ("--json",), ("--jsonl",)])
def test_what_is_known_when_ctrl_c_ends_it_is_told(
    keypin_check, folder, credential, issuing, entry, form
):
    """One host has answered, one has two addresses of which one stalls, one has not begun."""
    stalled = threading.Event()

    def stall_and_tell(channel) -> bool:
        stalled.set()
        return stall(channel)

    half, late = "half.example.test", "late.example.test"
    pins = [PinEntry(credential.pin), *entry.pins[1:]]
    entries = [entry, HostEntry(half, pins), HostEntry(late, pins)]
    own = issuing.issue(HOST, half, late, key=credential.key)
    command = [sys.executable, "-m", "keypin", "check", "--cafile", "ca.pem", "--one-key", *form]
    command += ["--repeat", "1", "--workers", "1", "--timeout", "600", "--junit", "report.xml"]
    with Server(own) as good, Server(own, before_tls=stall_and_tell, host="127.0.0.2") as bad:
        keypin_check(entries, "--lint")
        there = [*at(good), *at(good, bad, host=half), *at(bad, host=late)]
        with subprocess.Popen(
            [*command, *there], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            assert stalled.wait(30)
            process.send_signal(signal.SIGINT)
            output, error = (text.decode() for text in process.communicate(timeout=30))
    assert process.returncode == 130
    assert error == "keypin: interrupted; not written: report.xml\n"
    assert not (folder / "report.xml").exists()
    if form == ("--json",):
        report = json.loads(output)
        assert (report["exit_code"], report["severity"]) == (130, "unknown")
        assert report["hosts"] == {"ok": 1, "warning": 0, "unknown": 2, "critical": 0}
        assert {shown["host"] for shown in report["servers"]} == {HOST, half}
    elif form == ("--jsonl",):
        assert json.loads(output.splitlines()[-1])["hosts"]["unknown"] == 2
    else:
        assert output.splitlines()[-1] == "3 hosts: 2 unknown, 1 ok"
        assert output.count("was interrupted before all addresses") == 2


# Terminals and pipes


def test_a_terminal_sees_how_far_it_has_got_and_a_pipe_does_not(
    keypin_check, folder, credential, entry
):
    command = [sys.executable, "-m", "keypin", "check", "--cafile", "ca.pem"]
    with Server(credential) as server:
        code, _, error = keypin_check([entry], *at(server))
        assert (code, error) == (0, "")
        leader, follower = pty.openpty()
        with subprocess.Popen(
            [*command, *at(server)], cwd=folder, stdout=subprocess.PIPE, stderr=follower,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "80"},
        ) as process:  # fmt: skip
            os.close(follower)
            shown = b""
            with contextlib.suppress(OSError):  # what a terminal without programs says
                while data := os.read(leader, 4096):
                    shown += data
            assert process.stdout is not None
            output = process.stdout.read()
        os.close(leader)
    assert process.returncode == 0
    assert b"hosts" in shown
    assert b"1/1" in shown
    assert b"\x1b" not in output


def test_json_lines_come_one_by_one_and_end_in_a_summary(keypin_check, credential, entry):
    with Server(credential) as server:
        code, output, _ = keypin_check([entry], *at(server), "--jsonl")
    lines = [json.loads(line) for line in output.splitlines()]
    assert [line["kind"] for line in lines] == ["server", "finding", "finding", "summary"]
    assert (code, lines[-1]["severity"], lines[-1]["hosts"]["ok"]) == (0, "ok", 1)


def test_a_reader_that_leaves_is_not_blamed_on_another_file(
    folder, keypin_check, credential, entry
):
    with Server(credential) as server:
        keypin_check([entry], *at(server))
        command = [sys.executable, "-m", "keypin", "check", "--jsonl", "--cafile", "ca.pem"]
        process = subprocess.Popen(
            [*command, *at(server)], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        with process:
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.close()
            assert b"cafile" not in process.stderr.read()


def test_text_lists_hosts_with_what_was_found_and_quiet_leaves_out_what_is_ok(
    keypin_check, credential, issuing, entry
):
    with Server(credential) as good, Server(issuing.issue(HOST), host="127.0.0.2") as bad:
        code, text, _ = keypin_check([entry], *at(good, bad))
        _, short, _ = keypin_check([entry], *at(good, bad), "--quiet")
        shown = f"  ok        127.0.0.1:{good.port}, ECDSA: ", f"  critical  127.0.0.2:{bad.port}, "
    assert code == 2
    assert text.splitlines()[0] == HOST
    assert all(each in text for each in shown)
    assert text.splitlines()[-1] == short.splitlines()[-1] == "1 host: 1 critical"
    assert "  ok  " not in short


# The oracle


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_openssl_sees_the_same_two_keys(check, credential, rsa, entry):
    with Server([credential, rsa]) as server:
        checked = check([entry], *at(server))
        for algorithms, shown in zip(
            ("ECDSA+SHA256", "RSA-PSS+SHA256"), checked.servers, strict=True
        ):
            done = subprocess.run(
                ["openssl", "s_client", "-connect", f"127.0.0.1:{server.port}", "-servername", HOST,
                 "-sigalgs", algorithms],
                input=b"", capture_output=True, timeout=20,
            )  # fmt: skip
            begin, end = b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"
            pem = begin + done.stdout.partition(begin)[2].partition(end)[0] + end
            der = ssl.PEM_cert_to_DER_cert(pem.decode())
            assert str(Pin.from_certificate(der)) == shown["chain"][0]["pin"]


def test_a_certificate_that_is_not_strict_der_is_a_mismatch_and_no_crash(credential, issuing):
    """OpenSSL verifies encodings that pinning does not read."""
    odd = b"\x30\x80" + credential.certificate[4:] + b"\0\0"
    inspection = Inspection(HOST, 443, HOST, (odd,), (odd, issuing.certificate))
    judge = FileChecker(PinFile([HostEntry(HOST, [issuing.pin])]), NOW, timedelta(days=30))
    result = ScanResult(Target(HOST, 443), "192.0.2.1", 443, inspection)
    [found] = judge.judge(result)
    assert (found.severity, found.code) == ("critical", "pin-mismatch")
    assert "not strict DER" in found.text
    report = Report(NOW, NOW, [found], results=[result])
    [shown] = json.loads(json_report(report))["servers"]
    assert [each["pin"] for each in shown["chain"]] == [None, str(issuing.pin)]
    assert [each.code for each in judge.summing_up(whole_file=True)] == ["one-authority"]
