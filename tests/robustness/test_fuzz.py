"""However a handshake is mutated: no hang, no wrong server, no strange error.

`python benchmarks/fuzz.py --seconds N` goes on for longer; docs/robustness.md has its numbers.
"""

from __future__ import annotations

import secrets
import ssl
from importlib import import_module
from itertools import islice

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from scene import HOST, REQUEST, authority, connect, exchange, issuing, pinned, unpinned

from keypin.lab import Server
from keypin.lab._der import elements
from keypin.lab.servers.fuzzing import FuzzingProxy, MutatingServer
from keypin.lab.servers.mutation import (
    CERTIFICATE,
    CERTIFICATE_MUTATIONS,
    MESSAGE_MUTATIONS,
    RECORD_MUTATIONS,
    Mutator,
    first_certificate,
    mutated_certificate,
)

ATTEMPTS = 400


@pytest.mark.alone  # an attempt that takes long is a fault
@pytest.mark.parametrize("seed", ["keypin", None], ids=["fixed seed", "seed of chance"])
def test_mutated_handshakes(seed, benchmarks):
    fuzz = import_module("fuzz").fuzz
    findings = fuzz(seed or secrets.token_hex(4), lambda number: number < ATTEMPTS)
    assert not findings.faults, "\n".join(findings.faults[:5])
    assert findings.attempts == ATTEMPTS
    for outcome in (
        ("pinned", "no error"),
        ("pinned", "SSLError"),
        ("other", "PinMismatch"),
        ("altering", "PinMismatch"),
        ("impostor", "SSLError"),
    ):
        assert findings.outcomes[outcome], outcome


def test_the_judge_notices_a_client_without_pins(benchmarks):
    fuzz = import_module("fuzz")
    findings = fuzz.Findings()
    with fuzz.Laboratory(guarded=False) as laboratory:
        for number in range(60):
            laboratory.attempt(f"unpinned/{number}", findings)
    faults = "\n".join(findings.faults)
    assert "accepted a server that does not hold the pinned key" in faults
    assert "it received b'GET / HTTP/1.1" in faults
    assert "it received a client certificate" in faults


# The fuzzer itself


@pytest.fixture(scope="module")
def records():
    """Of a server's part of a handshake."""
    return [bytes([22, 3, 3, 0, 100]) + bytes([kind, 0, 0, 96]) + bytes(96) for kind in range(8)]


@pytest.fixture(scope="module")
def message():
    """A Certificate message of TLS 1.2."""
    entry = len(pinned().certificate).to_bytes(3, "big") + pinned().certificate
    body = len(entry).to_bytes(3, "big") + entry
    return bytes([CERTIFICATE]) + len(body).to_bytes(3, "big") + body


def mutations(made, count=3000):
    """The names of all mutations that were done."""
    return {done.rpartition(": ")[2] for mutator in islice(made, count) for done in mutator.done}


def test_the_same_seed_does_the_same(records, message):
    for seed in range(200):
        one, other = (Mutator(seed, foreign=records[:2]) for _ in range(2))
        assert [one.record(each) for each in records] == [other.record(each) for each in records]
        assert one.message(message) == other.message(message)
        assert one.done == other.done
        assert one.cut == other.cut


def test_every_mutation_of_records_comes_to_pass(records):
    def made():
        for seed in range(3000):
            mutator = Mutator(seed, foreign=records[:2])
            for record in records:
                assert all(isinstance(piece, bytes) for piece in mutator.record(record))
            yield mutator

    assert mutations(made()) == {way.__name__.strip("_") for way in RECORD_MUTATIONS}


def test_every_mutation_of_messages_comes_to_pass(message):
    def made():
        for seed in range(3000):
            mutator = Mutator(seed, certificates=[unpinned().certificate])
            for _ in range(6):
                assert all(isinstance(piece, bytes) for piece in mutator.message(message))
            yield mutator

    ways = MESSAGE_MUTATIONS + CERTIFICATE_MUTATIONS
    assert mutations(made()) == {way.__name__.strip("_") for way in ways}


def test_a_list_of_certificates_is_framed_as_its_version_frames_it(message):
    tls_1_3 = b"\0" + (len(message) - 7 + 2).to_bytes(3, "big") + message[7:] + b"\0\0"
    tls_1_3 = bytes([CERTIFICATE]) + len(tls_1_3).to_bytes(3, "big") + tls_1_3
    for original, tls13 in ((message, False), (tls_1_3, True)):
        assert first_certificate(original, tls13=tls13) == pinned().certificate
        mutator = Mutator(1, certificates=[unpinned().certificate])
        (altered,) = mutator._present_chain(original)
        assert first_certificate(altered, tls13=tls13) == unpinned().certificate
        assert len(altered) - len(original) == len(unpinned().certificate) - len(
            pinned().certificate
        )


def test_a_mutated_certificate_is_signed_all_the_same():
    altered = mutated_certificate(pinned().certificate, issuing().key, seed=1)
    said, _, signature = elements(altered)
    assert said != elements(pinned().certificate)[0]
    issuing().key.private.public_key().verify(signature[3:], said, ec.ECDSA(SHA256()))


def plain_context():
    return ssl.create_default_context(cadata=authority().pem)


def test_a_proxy_without_a_mutator_only_relays(version):
    with Server(pinned(), tls=[version]) as server, FuzzingProxy(server.address) as proxy:
        with connect(plain_context(), proxy) as tls:
            assert exchange(tls).startswith(b"HTTP/1.1 200")
        (record,) = proxy.settle()
        assert server.settle()[0].application_data == REQUEST
    assert {relayed[0] for relayed in proxy.relayed} >= {22, 23}
    assert REQUEST not in record.application_data  # it was encrypted


def test_a_server_without_a_mutator_is_an_ordinary_one(version):
    with MutatingServer(pinned(), pinned().key, tls=[version]) as server:
        with connect(plain_context(), server, server_hostname=HOST) as tls:
            tls.sendall(REQUEST)
            server.wait_until(lambda: server.application_bytes == len(REQUEST))
        server.settle()
