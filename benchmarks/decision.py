"""The decision alone: a certificate's first sight and later ones, look-ups among many hosts."""

from __future__ import annotations

import itertools
import random
import tracemalloc
from collections.abc import Iterator

from cryptography.x509 import load_der_x509_certificate
from measure import Action, Result, Seconds, interleave, stopwatch

from keypin import Pin, PinSet
from keypin.lab import Authority, KeyKind

__all__ = ["run"]

ROUNDS, QUICK_ROUNDS = 100, 3
BATCH = 200
HOSTS, QUICK_HOSTS = 1_000_000, 10_000
FEW_HOSTS = 10
LOOK_UPS = 1000
HOST = "api.example.com"

Chain = tuple[bytes, ...]


def run(quick: bool) -> Iterator[Result]:
    rounds = QUICK_ROUNDS if quick else ROUNDS
    yield from decisions("p-256", rounds)
    yield from decisions("rsa-2048", rounds)
    hosts = QUICK_HOSTS if quick else HOSTS
    yield from look_ups(hosts, rounds)
    yield memory(hosts // 10)


def decisions(key: KeyKind, rounds: int) -> Iterator[Result]:
    root = Authority(key=key)
    issuing = root.intermediate("issuing", key=key)
    chain = (*issuing.issue(HOST, key=key).chain, root.certificate)
    actions = {
        "a certificate, first sight": deciding(chain[:1], new=True),
        "a certificate, seen before": deciding(chain[:1], new=False),
        "a chain of 3, first sight": deciding(chain, new=True),
        "a chain of 3, seen before": deciding(chain, new=False),
    }
    done = interleave(actions, rounds)
    for name, target in zip(actions, ("at most 10 us", "at most 2 us", "", ""), strict=True):
        yield Result(f"decision on {name}, {key}", done.cpu(name), unit="us", target=target)


def deciding(chain: Chain, *, new: bool) -> Action:
    """Decide on chains whose last certificate is pinned."""
    pins = PinSet({HOST: [random_pin(), Pin.from_certificate(chain[-1])]})

    def action() -> Seconds:
        if new:
            chains = [tuple(map(with_other_serial_number, chain)) for _ in range(BATCH)]
        else:
            # each connection brings bytes of its own, of which Python has no hash yet
            chains = [tuple(bytes(bytearray(one)) for one in chain) for _ in range(BATCH)]
        coming = iter(chains)
        return stopwatch(lambda: pins.check(HOST, next(coming)), BATCH)

    return action


def with_other_serial_number(certificate: bytes) -> bytes:
    """A certificate of the same key that was never seen; its signature no longer fits."""
    number = load_der_x509_certificate(certificate).serial_number
    size = (number.bit_length() + 7) // 8
    other = number ^ random.getrandbits(number.bit_length() - 1)
    return certificate.replace(number.to_bytes(size, "big"), other.to_bytes(size, "big"), 1)


def look_ups(hosts: int, rounds: int) -> Iterator[Result]:
    listed = [f"www.site-{number}.example" for number in range(hosts)]
    unlisted = [f"www.other-{number}.example" for number in range(LOOK_UPS)]
    pins = [random_pin(), random_pin()]
    many = PinSet(dict.fromkeys(listed, pins))
    few = PinSet(dict.fromkeys(listed[:FEW_HOSTS], pins))
    # The same hosts in both sets: else it is the memory's caches that are compared.
    actions = {
        "listed, many": looking_up(many, listed[:FEW_HOSTS]),
        "listed, few": looking_up(few, listed[:FEW_HOSTS]),
        "unlisted, many": looking_up(many, unlisted[:FEW_HOSTS]),
        "unlisted, few": looking_up(few, unlisted[:FEW_HOSTS]),
        "many different": looking_up(many, random.sample(listed, LOOK_UPS)),
    }
    done = interleave(actions, rounds)
    for what in ("listed", "unlisted"):
        ratios = done.cpu_ratios(f"{what}, many", f"{what}, few")
        name = f"look-up of {what} hosts among {hosts:,} / among {FEW_HOSTS}"
        yield Result(name, ratios, target="at most 1.5")
    name = f"look-up of {LOOK_UPS:,} different hosts among {hosts:,}"
    yield Result(name, done.cpu("many different"), unit="us")


def looking_up(pins: PinSet, hosts: list[str]) -> Action:
    coming = itertools.cycle(hosts)
    return lambda: stopwatch(lambda: pins.rule_for(next(coming)), LOOK_UPS)


def memory(hosts: int) -> Result:
    """Bytes of a rule with two pins of its own."""
    rules = {f"www.site-{number}.example": [random_pin(), random_pin()] for number in range(hosts)}
    texts = {host: list(map(str, pins)) for host, pins in rules.items()}
    tracemalloc.start()
    kept = PinSet(texts)
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return Result("memory of a rule with 2 pins", [size / len(kept)], unit="bytes")


def random_pin() -> Pin:
    return Pin.from_digest(random.randbytes(32))
