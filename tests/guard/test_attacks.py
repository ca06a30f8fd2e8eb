"""The attack list: what each attacker's server received, and which error the client saw."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING

import pytest
from scene import (
    HOST,
    NAMES,
    authority,
    connect,
    exchange,
    issuing,
    pinned,
    pinner_for,
    trusting,
    unpinned,
)

from keypin import PinMismatch, Pinner, PinSet, Rule, find_error
from keypin.lab import (
    KEY_KINDS,
    Authority,
    ConnectProxy,
    MisbehavingServer,
    NameConstraints,
    Server,
    new_key,
    self_signed,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from keypin import Pin
    from keypin.lab import Credential, KeyKind

NOW = datetime.now(UTC)
DAY = timedelta(days=1)


@cache
def other_trusted() -> Authority:
    """Another CA that the client trusts: a bought, coerced or careless one."""
    return Authority("other trusted root")


@cache
def of(kind: KeyKind) -> Credential:
    """The pinned server with a key of this kind."""
    return issuing().issue(*NAMES, key=kind)


def constrained(**constraints: tuple[str, ...]) -> Authority:
    return authority().intermediate("constrained", name_constraints=NameConstraints(**constraints))


def leaf_as_ca() -> Credential:
    """The attacker has an ordinary certificate of his own, and signs with it."""
    own = issuing().issue("attacker.example", ca=False)
    return own.as_authority().issue(*NAMES)


def too_deep() -> Credential:
    return issuing().intermediate("below path length 0").issue(*NAMES)


def twin_of_the_intermediate() -> Authority:
    """The same name as the pinned intermediate, another key, below a root that was broken into."""
    return other_trusted().intermediate("issuing CA")


@dataclass(frozen=True)
class Attack:
    """What an attacker serves and what is pinned; `pin_at_fault`: the chain itself is in order."""

    name: str
    credential: Callable[[KeyKind], Credential]
    pin_at_fault: bool
    pin: Callable[[KeyKind], Pin] = lambda kind: of(kind).pin
    match: str = "chain"
    host: str = HOST


ATTACKS = [
    Attack("another trusted CA, same name", lambda k: other_trusted().issue(*NAMES, key=k), True),
    Attack("same intermediate, other key", lambda k: issuing().issue(*NAMES, key=k), True),
    Attack(
        "same intermediate, other key, leaf pinned",
        lambda k: issuing().issue(*NAMES, key=k),
        True,
        match="leaf",
    ),
    Attack(
        "pinned certificate appended to another chain",
        lambda k: (rogue := unpinned()).with_chain(*rogue.chain, of(k).certificate),
        True,
    ),
    Attack(
        "pinned chain appended to the chain of another CA",
        lambda k: (rogue := other_trusted().issue(*NAMES, key=k)).with_chain(
            *rogue.chain, *of(k).chain
        ),
        True,
    ),
    Attack(
        "pinned intermediate appended to the chain of another CA",
        lambda k: (rogue := other_trusted().issue(*NAMES, key=k)).with_chain(
            *rogue.chain, issuing().certificate
        ),
        True,
        pin=lambda k: issuing().pin,
    ),
    Attack(
        "pinned root appended to the chain of another CA",
        lambda k: (rogue := other_trusted().issue(*NAMES, key=k)).with_chain(
            *rogue.chain, authority().certificate
        ),
        True,
        pin=lambda k: authority().pin,
    ),
    Attack(
        "intermediate of the same name under another root",
        lambda k: twin_of_the_intermediate().issue(*NAMES, key=k),
        True,
        pin=lambda k: issuing().pin,
    ),
    Attack(
        "pinned CA, wrong host",
        lambda k: issuing().issue("attacker.example", key=k),
        False,
        pin=lambda k: issuing().pin,
    ),
    Attack(
        "pinned key, wrong host",
        lambda k: issuing().issue("attacker.example", key=of(k).key),
        False,
    ),
    Attack("self-signed with another key", lambda k: self_signed(*NAMES, key=k), False),
    Attack("self-signed with the pinned key", lambda k: self_signed(*NAMES, key=of(k).key), False),
    Attack("untrusted root", lambda k: Authority("unknown").issue(*NAMES, key=k), False),
    Attack(
        "untrusted root, pinned key",
        lambda k: Authority("unknown").issue(*NAMES, key=of(k).key),
        False,
    ),
    Attack(
        "untrusted root named as the pinned one",
        lambda k: Authority("trusted root").issue(*NAMES, key=k),
        False,
        pin=lambda k: authority().pin,
    ),
    Attack(
        "expired",
        lambda k: of(k).renew(not_before=NOW - 9 * DAY, not_after=NOW - DAY),
        False,
    ),
    Attack(
        "not yet valid",
        lambda k: of(k).renew(not_before=NOW + DAY, not_after=NOW + 9 * DAY),
        False,
    ),
    Attack(
        "expired intermediate",
        lambda k: (
            authority()
            .intermediate("old", not_before=NOW - 9 * DAY, not_after=NOW - DAY)
            .issue(*NAMES, key=of(k).key)
        ),
        False,
    ),
    Attack(
        "common name only",
        lambda k: issuing().issue(common_name=HOST, key=of(k).key),
        False,
    ),
    Attack(
        "wildcard over two labels",
        lambda k: issuing().issue("*.example.com", key=of(k).key),
        False,
        host="a.b.example.com",
    ),
    Attack(
        "wildcard inside a label",
        lambda k: issuing().issue("w*.example.com", key=of(k).key),
        False,
        host="www.example.com",
    ),
    Attack("wildcard alone", lambda k: issuing().issue("*", key=of(k).key), False),
    Attack(
        "wildcard over a top-level domain",
        lambda k: issuing().issue("*.com", key=of(k).key),
        False,
        host="example.com",
    ),
    Attack(
        "NUL in the name",
        lambda k: issuing().issue("localhost\0.attacker.example", key=of(k).key),
        False,
    ),
    Attack("leaf acting as a CA", lambda k: leaf_as_ca(), False, pin=lambda k: issuing().pin),
    Attack(
        "name not permitted to its CA",
        lambda k: constrained(permitted=("example.org",)).issue(HOST, key=of(k).key),
        False,
    ),
    Attack(
        "name excluded for its CA",
        lambda k: constrained(excluded=(HOST,)).issue(HOST, key=of(k).key),
        False,
    ),
    Attack("path length exceeded", lambda k: too_deep(), False, pin=lambda k: issuing().pin),
    Attack(
        "a client's certificate",
        lambda k: issuing().issue(*NAMES, key=of(k).key, extended_key_usage=["clientAuth"]),
        False,
    ),
]


def pinner_against(attack: Attack, kind: KeyKind) -> Pinner:
    pattern = attack.host if attack.host == HOST else "**." + attack.host.split(".", 1)[-1]
    host = pattern if pattern.count(".") > 1 else attack.host
    return Pinner(PinSet([Rule(host, [attack.pin(kind)], match=attack.match)]))


@pytest.mark.parametrize("kind", KEY_KINDS)
@pytest.mark.parametrize("attack", ATTACKS, ids=[attack.name for attack in ATTACKS])
def test_the_attacker_receives_nothing(attack, kind, version):
    context = trusting(pinner_against(attack, kind), authority(), other_trusted())
    with Server(attack.credential(kind), tls=[version]) as server:
        with pytest.raises(ssl.SSLError) as caught:
            with connect(context, server, server_hostname=attack.host) as connection:
                exchange(connection)
        (record,) = server.settle()
    assert record.application_bytes == 0
    assert isinstance(caught.value, PinMismatch) == attack.pin_at_fault
    assert isinstance(caught.value, ssl.SSLCertVerificationError)


@pytest.mark.parametrize("attack", [a for a in ATTACKS if a.pin_at_fault], ids=lambda a: a.name)
def test_only_the_pin_stands_against_these(attack, version):
    """The control: without keypin, the attacker gets the request."""
    context = ssl.create_default_context(cadata=authority().pem + other_trusted().pem)
    with Server(attack.credential("p-256"), tls=[version]) as server:
        with connect(context, server) as connection:
            exchange(connection)
        (record,) = server.settle()
    assert record.application_bytes > 0


@pytest.mark.parametrize("kind", ["rsa-2048", "p-256"])
def test_the_pinned_certificate_without_its_private_key(kind, version):
    context = trusting(pinner_for(of(kind)))
    with MisbehavingServer(of(kind), new_key(kind), tls=[version]) as server:
        with pytest.raises(ssl.SSLError) as caught:
            connect(context, server)
        (record,) = server.settle()
    assert not isinstance(caught.value, PinMismatch)
    assert record.application_bytes == 0


@pytest.mark.parametrize("old", ["1.0", "1.1"])
@pytest.mark.parametrize("willing", [False, True], ids=["as created", "client allows it"])
def test_tls_before_1_2_is_refused(old, willing):
    context = trusting(pinner_for(pinned()))
    if willing:
        with pytest.warns(DeprecationWarning, match="TLSv1"):
            context.minimum_version = ssl.TLSVersion.TLSv1
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with Server(pinned(), tls=[old], ciphers="DEFAULT:@SECLEVEL=0") as server:
        with pytest.raises((ssl.SSLError, ConnectionError)) as caught:
            connect(context, server)
        (record,) = server.settle()
    assert record.application_bytes == 0
    assert isinstance(caught.value, PinMismatch) == willing


def test_a_cipher_without_certificates_is_refused():
    context = trusting(pinner_for(pinned()))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("aNULL:@SECLEVEL=0")
    with Server(pinned(), tls=["1.2"], ciphers="aNULL:@SECLEVEL=0") as server:
        with pytest.raises(PinMismatch):
            connect(context, server)
        (record,) = server.settle()
    assert record.application_bytes == 0


@pytest.mark.parametrize("match", ["chain", "leaf"])
def test_an_attacker_gains_nothing_when_the_pins_have_expired(match, version):
    context = trusting(pinner_for(pinned(), match=match, expires=NOW - DAY))
    with Server(unpinned(), tls=[version]) as server:
        with pytest.raises(PinMismatch, match="expired"):
            connect(context, server)
        (record,) = server.settle()
    assert record.application_bytes == 0


def test_a_denied_key_is_refused_even_if_another_pin_matches(version):
    context = trusting(pinner_for(issuing(), deny=[pinned().pin]))
    with Server(pinned(), tls=[version]) as server:
        with pytest.raises(PinMismatch, match="denied"):
            connect(context, server)
        (record,) = server.settle()
    assert record.application_bytes == 0


def test_a_denied_intermediate_is_refused_even_where_only_the_leaf_is_matched(version):
    context = trusting(pinner_for(pinned(), match="leaf", deny=[issuing().pin]))
    with Server(pinned(), tls=[version]) as server, pytest.raises(PinMismatch, match="denied"):
        connect(context, server)


def test_an_unlisted_host_is_refused_by_policy(version):
    pins = PinSet({"other.example": [pinned().pin]}, unlisted="refuse")
    with Server(pinned(), tls=[version]) as server:
        with pytest.raises(PinMismatch, match="unlisted"):
            connect(trusting(Pinner(pins)), server)
        (record,) = server.settle()
    assert record.application_bytes == 0


def test_an_intercepting_proxy_receives_nothing(version):
    """The proxy's CA is trusted by the client's machine, as on a managed laptop."""
    import http.client

    context = trusting(pinner_for(pinned()), authority(), other_trusted())
    mine = other_trusted().issue(*NAMES)
    with ConnectProxy(intercept=mine) as proxy:
        client = http.client.HTTPSConnection(*proxy.address, context=context, timeout=20)
        client.set_tunnel(HOST, 443)
        with pytest.raises(PinMismatch):
            client.request("GET", "/secret")
        client.close()
        assert proxy.interceptor is not None
        (record,) = proxy.interceptor.settle()
    assert record.application_bytes == 0


def test_an_honest_proxy_is_passed_through(version):
    import http.client

    context = trusting(pinner_for(pinned()))
    with Server(pinned(), tls=[version]) as server, ConnectProxy() as proxy:
        client = http.client.HTTPSConnection(*proxy.address, context=context, timeout=20)
        client.set_tunnel(HOST, server.port)
        client.request("GET", "/")
        assert client.getresponse().status == 200
        client.close()


def test_the_proxys_own_certificate_does_not_pass_for_the_origins(version):
    """An https proxy whose own certificate is genuine presents it for the origin, too."""
    import urllib3

    own = other_trusted().issue("127.0.0.1", "proxy.example")
    context = trusting(pinner_for(pinned()), authority(), other_trusted())
    proxy_context = ssl.create_default_context(cadata=other_trusted().pem)
    with ConnectProxy(own, intercept=own) as proxy:
        manager = urllib3.ProxyManager(
            proxy.url, ssl_context=context, proxy_ssl_context=proxy_context, retries=False
        )
        with pytest.raises(urllib3.exceptions.SSLError):
            manager.request("GET", f"https://{HOST}/secret", timeout=20)
        manager.clear()
        assert proxy.interceptor is not None
        (record,) = proxy.interceptor.settle()
    assert record.application_bytes == 0


def test_tls_in_tls_is_pinned_inside(version):
    import urllib3

    own = other_trusted().issue("127.0.0.1")
    context = trusting(pinner_for(pinned()), authority(), other_trusted())
    proxy_context = ssl.create_default_context(cadata=other_trusted().pem)
    for credential, fails in ((pinned(), False), (unpinned(), True)):
        with Server(credential, tls=[version]) as server, ConnectProxy(own) as proxy:
            manager = urllib3.ProxyManager(
                proxy.url, ssl_context=context, proxy_ssl_context=proxy_context, retries=False
            )
            if fails:
                with pytest.raises(urllib3.exceptions.SSLError) as caught:
                    manager.request("GET", server.url_for(HOST), timeout=20)
                assert find_error(caught.value)
            else:
                assert manager.request("GET", server.url_for(HOST), timeout=20).status == 200
            manager.clear()
            server.settle()
            assert (server.application_bytes == 0) == fails


# What must pass


def accepted(server: Server, context: ssl.SSLContext) -> bool:
    with connect(context, server) as connection:
        return exchange(connection).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("kind", KEY_KINDS)
@pytest.mark.parametrize("match", ["chain", "leaf"])
def test_the_primary_and_the_backup_key_are_accepted(kind, match, version):
    backup = new_key("p-256")
    spare = issuing().issue(*NAMES, key=backup)
    context = trusting(pinner_for(of(kind), spare, match=match))
    with Server(of(kind), tls=[version]) as server:
        assert accepted(server, context)
        server.serve(spare)
        assert accepted(server, context)


@pytest.mark.parametrize("kind", KEY_KINDS)
def test_a_renewed_certificate_with_the_same_key_is_accepted(kind, version):
    context = trusting(pinner_for(of(kind), match="leaf"), authority(), other_trusted())
    for renewed in (of(kind).renew(), of(kind).renew(other_trusted())):
        assert renewed.certificate != of(kind).certificate
        with Server(renewed, tls=[version]) as server:
            assert accepted(server, context)


def test_the_order_and_the_surplus_of_the_chain_do_not_matter(version):
    deep = authority().intermediate("upper", path_length=1).intermediate("lower")
    leaf = deep.issue(*NAMES)
    upper, lower = leaf.chain[2], leaf.chain[1]
    for chain in (
        leaf.chain,
        (leaf.certificate, lower, upper, authority().certificate),  # the root sent along
        (leaf.certificate, upper, lower),  # reversed
        (leaf.certificate, lower, upper, unpinned().certificate),  # extra
    ):
        for pin in (leaf.pin, deep.pin, authority().pin):
            with Server(leaf.with_chain(*chain), tls=[version]) as server:
                assert accepted(server, trusting(pinner_for(pin)))


def test_a_root_that_was_not_sent_can_be_pinned(version):
    with Server(pinned(), tls=[version]) as server:
        assert authority().certificate not in pinned().chain
        assert accepted(server, trusting(pinner_for(authority())))


def test_a_cross_signed_path_is_matched_by_what_was_verified(version):
    """The intermediate exists below two roots; which is in the chain depends on the client."""
    crossed = other_trusted().cross_sign(issuing())
    leaf = pinned().with_chain(pinned().certificate, crossed.certificate)
    with Server(leaf, tls=[version]) as server:
        assert accepted(server, trusting(pinner_for(issuing()), other_trusted()))
        assert accepted(server, trusting(pinner_for(other_trusted()), other_trusted()))
        with pytest.raises(PinMismatch):
            connect(trusting(pinner_for(authority()), other_trusted()), server)


def test_rsa_and_ecdsa_certificates_live_side_by_side(version):
    both = (of("rsa-2048"), of("p-256"))
    with Server(both, tls=[version]) as server:
        assert accepted(server, trusting(pinner_for(*both)))
    for served, pinned_kind in (("rsa-2048", "p-256"), ("p-256", "rsa-2048")):
        with Server(of(served), tls=[version]) as server, pytest.raises(PinMismatch):
            connect(trusting(pinner_for(of(pinned_kind))), server)


def test_an_unlisted_host_is_accepted_without_pins(version):
    with Server(unpinned(), tls=[version]) as server:
        assert accepted(server, trusting(Pinner(PinSet({"other.example": [pinned().pin]}))))


def test_an_excluded_host_is_accepted_without_pins(version):
    pins = PinSet([Rule(None, [pinned().pin]), Rule(HOST, exclude=True)], unlisted="refuse")
    with Server(unpinned(), tls=[version]) as server:
        assert accepted(server, trusting(Pinner(pins)))


def test_the_second_connection_gets_the_same_answer(version):
    """Certificates are remembered; verdicts are not."""
    right, wrong = trusting(pinner_for(pinned())), trusting(pinner_for(unpinned()))
    with Server(pinned(), tls=[version]) as server:
        for _ in range(3):
            assert accepted(server, right)
            with pytest.raises(PinMismatch):
                connect(wrong, server)
