"""Rules that report beside rules that enforce, of one pinner or several; names nobody checks."""

from __future__ import annotations

import socket
import ssl
from contextlib import ExitStack
from functools import cache

import pytest
from scene import (
    HOST,
    authority,
    connect,
    exchange,
    issuing,
    pinned,
    pins_for,
    unpinned,
)

from keypin import PinMismatch, Pinner, PinSet, Rule
from keypin.lab import Server

REPORTED, ENFORCED = "reported.example", "enforced.example"


@cache
def of_both_names():
    return issuing().issue(REPORTED, ENFORCED)


@pytest.fixture
def server(version):
    """One that is reached by another name than its certificate bears."""
    with Server(of_both_names(), tls=[version]) as server:
        yield server


def checking_no_name():
    """The context of a program that checks the name by itself, as urllib3's assert_hostname."""
    context = ssl.create_default_context(cadata=authority().pem)
    context.check_hostname = False
    return context


def reporting(host, credential=None, **more):
    return Rule(host, [(credential or pinned()).pin], mode="report", **more)


def mixed(*rules):
    return Pinner(PinSet(rules))


ENFORCING = [
    pytest.param(lambda: Rule(ENFORCED, [pinned().pin]), id="enforced"),
    pytest.param(lambda: reporting(ENFORCED, deny=[of_both_names().pin]), id="denied"),
]


@pytest.mark.parametrize("rule", ENFORCING)
def test_every_name_of_a_certificate_is_held_to_its_rule(rule, server, context_of):
    """A rule that only reports does not speak for those after it."""
    context = context_of(mixed(reporting(REPORTED), rule()))
    with pytest.raises(PinMismatch):
        connect(context, server)
    server.settle()
    assert server.application_bytes == 0


@pytest.mark.parametrize("rule", ENFORCING)
def test_so_it_is_for_connections_that_were_open(rule, server):
    with connect(checking_no_name(), server) as connection:
        exchange(connection)
        with mixed(reporting(REPORTED), rule()).installed():
            with pytest.raises(PinMismatch):
                connection.send(b"x")


def test_a_host_that_one_pinner_governs_is_no_way_round_another(server):
    """The name that the program checks may be one of those that the other pins."""
    with mixed(reporting(HOST)).installed(), mixed(Rule(ENFORCED, [pinned().pin])).installed():
        with pytest.raises(PinMismatch):
            connect(checking_no_name(), server)
    server.settle()
    assert server.application_bytes == 0


@pytest.mark.parametrize("first", [0, 1])
def test_what_one_pinner_finds_by_other_names_is_no_proof_of_this_name(first, foreign_server):
    by_name = Pinner(pins_for(issuing()))
    by_other_name = mixed(Rule("other.example", [issuing().pin]))
    pinners = [by_name, by_other_name]
    with pinners[first].installed(), pinners[1 - first].installed():
        for _ in range(2):  # the second time by what is remembered
            with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
                connect(checking_no_name(), foreign_server)
    foreign_server.settle()
    assert foreign_server.application_bytes == 0


def test_nor_is_what_the_pins_before_found_by_other_names(foreign_server, context_of):
    pinner = mixed(Rule("other.example", [issuing().pin]))
    with connect(context_of(pinner), foreign_server) as connection:
        exchange(connection)
        pinner.replace(pins_for(issuing()))
        with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
            connection.send(b"x")


def begun(context, server):
    """A connection that has shown nothing of its server yet."""
    tcp = socket.create_connection(server.address, timeout=20)
    return context.wrap_socket(tcp, server_hostname=HOST, do_handshake_on_connect=False)


def test_a_handshake_that_began_before_pins_that_report_is_held_to_those_that_enforce(server):
    with (
        begun(checking_no_name(), server) as connection,
        mixed(reporting(ENFORCED)).installed() as pinner,
    ):
        pinner.replace(PinSet([Rule(ENFORCED, [pinned().pin])]))
        with pytest.raises(ssl.SSLCertVerificationError):
            connection.do_handshake()
            connection.send(b"x")
    server.settle()
    assert server.application_bytes == 0


@pytest.mark.parametrize("at_once", [True, False])
def test_a_handshake_that_began_before_is_no_way_round_a_denied_key(at_once, server):
    denying = reporting(ENFORCED, deny=[of_both_names().pin])
    with begun(checking_no_name(), server) as connection:
        with mixed(denying if at_once else reporting(ENFORCED)).installed() as pinner:
            if not at_once:
                pinner.replace(PinSet([denying]))
            with pytest.raises(ssl.SSLCertVerificationError):
                connection.do_handshake()
                connection.send(b"x")
    server.settle()
    assert server.application_bytes == 0


@pytest.mark.parametrize("rule", ENFORCING)
def test_a_host_that_is_reported_is_no_way_round_the_names_of_its_certificate(
    rule, server, context_of
):
    """Whose certificate the program takes for right is for the program to say."""
    context = context_of(mixed(reporting(HOST), rule()))
    with pytest.raises(PinMismatch):
        connect(context, server)
    server.settle()
    assert server.application_bytes == 0


@pytest.mark.parametrize("rule", ENFORCING)
def test_so_it_is_for_connections_to_it_that_were_open(rule, server):
    with connect(checking_no_name(), server) as connection:
        exchange(connection)
        with mixed(reporting(HOST), rule()).installed():
            with pytest.raises(PinMismatch):
                connection.send(b"x")


@pytest.mark.parametrize("mode", ["enforce", "report"])
def test_a_client_certificate_is_not_given_where_one_of_two_pinners_refuses(
    mode, version, clients, me, tmp_path
):
    """Also when that begins to enforce only while connections are open."""
    files = me.write(tmp_path)
    second = Pinner(pins_for(pinned(), mode=mode))
    with (
        Server(unpinned(), tls=[version], client_ca=clients.certificate) as server,
        second.installed(),
    ):
        context = Pinner(pins_for(pinned(), mode="report")).protect(checking_no_name())
        context.load_cert_chain(files.chain, files.key)
        if mode == "report":
            with connect(context, server) as connection:
                exchange(connection)
            second.replace(pins_for(pinned()))
        with pytest.raises(PinMismatch):
            connect(context, server)
        shown = [record.client_certificate_seen for record in server.settle()]
        assert shown == [True, False][mode == "enforce" :]


@pytest.mark.parametrize("way", ["protected", "installed"])
def test_an_approval_where_the_name_was_checked_is_none_where_it_is_not(way, version):
    """Where it is not, the other names of the same certificate count."""
    credential = issuing().issue(HOST, ENFORCED)
    pinner = mixed(reporting(HOST, credential), Rule(ENFORCED, [pinned().pin]))
    context = ssl.create_default_context(cadata=authority().pem)
    with ExitStack() as stack:
        server = stack.enter_context(Server(credential, tls=[version]))
        if way == "protected":
            pinner.protect(context)
        else:
            stack.enter_context(pinner.installed())
        with connect(context, server) as connection:
            exchange(connection)
        context.check_hostname = False
        with pytest.raises(PinMismatch):
            connect(context, server)
