"""Which keys of real servers are accepted, and that a server with another gets no request."""

from __future__ import annotations

import re
import ssl
import urllib.request
from contextlib import ExitStack
from importlib.util import find_spec

import httpx2
import pytest
import requests
from scene import (
    HOST,
    authority,
    connect,
    issuing,
    pinned,
    pinner_for,
    pins_for,
    trusting,
    unpinned,
)

from keypin import PinMismatch, Pinner, PinSet, find_error
from keypin.client import Client
from keypin.lab import Authority

from .conftest import SECOND_HOST, SIDE_BY_SIDE, programs, programs_and_kinds, second, shown
from .serving import get

# Some libraries import others that have a TLS of their own, beside Python's.
pytestmark = pytest.mark.filterwarnings("ignore::keypin.UncoveredClient")


def by_urllib(url, cafile):
    context = ssl.create_default_context(cafile=cafile)
    handler = urllib.request.HTTPSHandler(context=context)
    with urllib.request.build_opener(handler).open(url, timeout=20) as answer:
        return answer.read().decode()


def by_requests(url, cafile):
    return requests.get(url, verify=str(cafile), timeout=20).text


def by_httpx2(url, cafile):
    context = ssl.create_default_context(cafile=cafile)
    return httpx2.get(url, verify=context, trust_env=False).text


LIBRARIES = {"urllib": by_urllib, "requests": by_requests, "httpx2": by_httpx2}


@pytest.mark.parametrize(("program", "kind"), programs_and_kinds())
def test_a_pinned_key_is_accepted_wherever_it_is_in_the_verified_chain(
    kind, version, program, server, word
):
    name = f"{kind}-{version}"
    backup = pinner_for(issuing().issue(HOST), *shown(kind), match="leaf")
    accepting = [pinner_for(*shown(kind), match="leaf"), pinner_for(*shown(kind)), backup]
    accepting += [pinner_for(issuing()), pinner_for(authority())]  # the root is not sent
    accepted = [word("accepted") for _ in accepting]
    for pinner, each in zip(accepting, accepted, strict=True):
        with connect(trusting(pinner), server.at(name)) as connection:
            assert connection.version() == f"TLSv{version}"
            assert get(connection, each) == program.name
    others = [issuing().issue(HOST, key=each.key.kind) for each in shown(kind)]
    imitated = authority().intermediate("issuing CA")
    for pinner in (
        pinner_for(*others),
        pinner_for(imitated),
        pinner_for(Authority("trusted root")),
    ):
        with pytest.raises(PinMismatch) as caught:
            get(connect(trusting(pinner), server.at(name)), word("refused"))
        assert [pin for pin, _ in caught.value.served][1:] == [issuing().pin, authority().pin]
    received = server.requests(name)
    assert set(accepted) <= set(received)
    assert not any(each.startswith("refused") for each in received)


@pytest.mark.parametrize("program", programs(lambda program: program.side_by_side))
def test_of_two_certificates_side_by_side_each_needs_its_pin(program, server, word):
    rsa, ecdsa = shown(SIDE_BY_SIDE)
    name = f"{SIDE_BY_SIDE}-1.2"  # where the ciphers say which
    for asked, given, other in (("aRSA", rsa, ecdsa), ("aECDSA", ecdsa, rsa)):
        for pin in (given, other):
            context = trusting(pinner_for(pin, match="leaf"))
            context.set_ciphers(f"ECDHE+AESGCM+{asked}")
            if pin is given:
                with connect(context, server.at(name)) as connection:
                    assert get(connection, word("accepted")) == program.name
            else:
                with pytest.raises(PinMismatch) as caught:
                    get(connect(context, server.at(name)), word("refused"))
                assert caught.value.served[0][0] == given.pin
    assert not any(each.startswith("refused") for each in server.requests(name))


@pytest.mark.parametrize("library", LIBRARIES)
def test_under_install_the_pins_decide_for_every_library(
    library, version, program, server, word, cafile
):
    name, request = f"tickets-{version}", LIBRARIES[library]
    accepted = word("accepted")
    with pinner_for(pinned()).installed() as pinner:
        assert request(server.at(name).url(accepted), cafile) == program.name
        pinner.replace(pins_for(unpinned()))
        with pytest.raises(Exception) as caught:
            request(server.at(name).url(word("refused")), cafile)
        assert isinstance(find_error(caught.value), PinMismatch)
    received = server.requests(name)
    assert accepted in received
    assert not any(each.startswith("refused") for each in received)


def test_the_client_reaches_the_pinned_server_only(
    version, program, server, word, cafile, tmp_path
):
    name = f"tickets-{version}"
    for credential in (pinned(), unpinned()):
        (tmp_path / f"{credential is pinned()}.cer").write_bytes(credential.certificate)
    accepted = word("accepted")
    with Client("", tmp_path, cafile, trust_env=False) as client:
        client.pin_trusted_certificate_public_key("True.cer")
        assert client.get(server.at(name).url(accepted)).text == program.name
        client.pin_trusted_certificate_public_key("False.cer")
        for method in ("GET", "POST"):
            with pytest.raises(PinMismatch):
                client.request(
                    method, server.at(name).url(word("refused")), headers={"Authorization": "x"}
                )
    received = server.requests(name)
    assert accepted in received
    assert not any(each.startswith("refused") for each in received)


@pytest.mark.skipif(find_spec("h2") is None, reason="needs h2 (pip install h2)")
@pytest.mark.parametrize("program", programs(lambda program: program.http2))
@pytest.mark.parametrize("library", ["httpx2", "Client"])
def test_a_connection_of_http2_is_governed_from_its_beginning_to_its_end(
    library, version, program, server, word, cafile, tmp_path
):
    name = f"http2-{version}"
    place, accepted = server.at(name), word("accepted")
    for credential in (pinned(), unpinned()):
        (tmp_path / f"{credential is pinned()}.cer").write_bytes(credential.certificate)
    with ExitStack() as stack:
        if library == "Client":
            client = Client("", tmp_path, cafile, http2=True, trust_env=False)
            client.pin_trusted_certificate_public_key("True.cer")
        else:
            pinner = stack.enter_context(pinner_for(pinned()).installed())
            context = ssl.create_default_context(cafile=cafile)
            client = httpx2.Client(http2=True, verify=context, trust_env=False)
        stack.enter_context(client)
        answer = client.get(place.url(accepted))
        assert (answer.http_version, answer.text) == ("HTTP/2", program.name)
        if library == "Client":
            client.pin_trusted_certificate_public_key("False.cer")
        else:
            pinner.replace(pins_for(unpinned()))
        for _ in range(2):  # on the connection that is open, and on a new one
            with pytest.raises((httpx2.HTTPError, PinMismatch)) as caught:
                client.get(place.url(word("refused")))
            assert isinstance(find_error(caught.value), PinMismatch)
    received = server.requests(name)
    assert accepted in received
    assert re.search(rf"/\?{accepted} HTTP/2", server.said())
    assert not any(each.startswith("refused") for each in received)


def test_two_hosts_on_one_port_are_judged_each_by_its_own_rule(version, program, server, word):
    name = f"names-{version}"
    right = PinSet({HOST: [pinned().pin], SECOND_HOST: [second().pin]})
    swapped = PinSet({HOST: [second().pin], SECOND_HOST: [pinned().pin]})
    pinner = Pinner(right)
    context = trusting(pinner)
    for credential, host in ((pinned(), HOST), (second(), SECOND_HOST)):
        pinner.replace(right)
        with connect(context, server.at(name), server_hostname=host) as connection:
            assert connection.getpeercert(binary_form=True) == credential.certificate
            assert get(connection, word("accepted"), host) == program.name
        pinner.replace(swapped)
        with pytest.raises(PinMismatch) as caught:
            get(connect(context, server.at(name), server_hostname=host), word("refused"))
        assert caught.value.host == host
        assert caught.value.served[0][0] == credential.pin
    assert not any(each.startswith("refused") for each in server.requests(name))
