"""DANE: TLSA records in the form of zone files (BIND's).

RFC 6698 and RFC 7671: usage 3 (DANE-EE) is the server's own key, for which neither dates nor names
nor CA are checked; usage 2 (DANE-TA) is a CA's key, to which the chain must lead and whose
certificate the server must send; selector 1 is the public key, matching type 1 its SHA-256, so that
the data of a record are a pin's digest. One record that matches will do. A name has records for
each port; there are no patterns but DNS's own, which cannot stand below _443._tcp.

What a record needs and a pin file does not say is whether a key is a server's or a CA's. A pin
with `match = "leaf"` can only be a server's. Others are looked up in --certificates; where that
does not tell, 3 1 1 is written, which never accepts more than the pin does.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypedDict

from .._pinfile_fields import STARTTLS_PORTS
from ..errors import PinFormatError
from ..pin import Pin
from ..pinfile import HostEntry
from ..pinset import PinSet, Rule
from ._conversion import Draft, FormatError, Reading, located, pin_file, text_of, without_wildcard
from ._domains import exact_hosts, is_public_name
from ._losses import loss

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from ..pinfile import PinFile
    from ._conversion import Certificates, Files, Loss

__all__ = ["TITLE", "export", "read"]

TITLE = "DANE"
FILE = "tlsa.zone"
HTTPS = 443
HEAD = "; Written by keypin export tlsa: change the pin file instead.\n"
RECORD = re.compile(
    r"_(?P<port>[0-9]{1,5})\._(?P<protocol>[a-z]+)\.(?P<host>\S+?)\.\s+"
    r"(?:[0-9]+\s+)?(?:IN\s+)?(?:[0-9]+\s+)?TLSA\s+"
    r"(?P<usage>[0-9]+)\s+(?P<selector>[0-9]+)\s+(?P<matching>[0-9]+)\s+"
    r"(?P<data>[0-9a-f]+|\(\s*[0-9a-f\s]+\))",
    re.IGNORECASE,
)
# RFC 6698, section 2.1.1; RFC 7218 has their names
LEAF_USAGES, CA_USAGES = {1, 3}, {0, 2}
SERVER, AUTHORITY = "3 1 1", "2 1 1"


def export(pins: PinFile, certificates: Certificates) -> Draft:
    """Write the records for the port of each host."""
    lines, rules = [], []
    losses = [loss("port-443-only")]
    for host, rule in exact_hosts(pins).items():
        if is_public_name(host):
            records = _records(host, rule, certificates, losses)
            port = _port(pins, host)
            lines += [f"_{port}._tcp.{host}. IN TLSA {each}\n" for each in records]
            is_leaf = all(each.startswith(SERVER) for each in records)
            rules.append(Rule(host, rule.pins, "leaf" if is_leaf else "chain"))
            losses.append(loss("ca-not-checked", host, target=TITLE))
    return Draft({FILE: (HEAD + "".join(lines)).encode()}, PinSet(rules), tuple(losses))


def _port(pins: PinFile, host: str) -> int:
    """Where the server of a host is, which the entry for a pattern may tell, too."""
    entries = {entry.name: entry for entry in pins.hosts}
    entry = entries.get(host) or entries.get(f"**.{host}")
    if entry is None:
        return HTTPS
    return entry.port or STARTTLS_PORTS.get(entry.starttls or "", HTTPS)


def _records(host: str, rule: Rule, certificates: Certificates, losses: list[Loss]) -> list[str]:
    usages = dict.fromkeys(rule.pins, SERVER)
    if rule.match == "chain":
        unknown = [pin for pin in rule.pins if pin not in certificates]
        for pin in rule.pins:
            if pin in certificates and certificates[pin].is_ca:
                usages[pin] = AUTHORITY
        if unknown:
            losses.append(loss("usage-unknown", host, pins=unknown, how=SERVER))
    return [f"{usage} {pin.digest.hex()}" for pin, usage in usages.items()]


def read(files: Files, hosts: Sequence[str]) -> Reading:
    """Read records, each on a line of its own; comments and directives ($TTL) say nothing here."""
    name, text = text_of(files)
    found: dict[str, dict[Pin, bool]] = {}
    services: dict[str, dict[str, set[Pin]]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        content = line.partition(";")[0].strip()
        if content and not content.startswith("$"):
            with located(name, number):
                host, service, pin, is_leaf = _record(content)
            known = found.setdefault(host, {})
            known[pin] = is_leaf and known.get(pin, True)
            services.setdefault(host, {}).setdefault(service, set()).add(pin)
    losses: list[Loss] = []
    entries = []
    for host, pins in found.items():
        if len({frozenset(each) for each in services[host].values()}) > 1:
            raise FormatError(
                f"the ports of {host} have different keys, a rule holds for all ports", name
            )
        with located(name):
            entries.append(
                HostEntry(
                    host,
                    pins,
                    match="leaf" if all(pins.values()) else None,
                    **_where(services[host]),
                )
            )
        losses += _of_import(host, list(pins.values()))
    return Reading(pin_file(entries), tuple(losses))


class _Where(TypedDict, total=False):
    """Where the server of a host is, if that is not port 443."""

    port: int
    starttls: str


def _where(services: Collection[str]) -> _Where:
    """What the only port for which there are records says of the server; nothing of several."""
    by_port = {f"{port} tcp": protocol for protocol, port in STARTTLS_PORTS.items()}
    if len(services) != 1:
        return {}
    [service] = services
    if service in by_port:
        return {"starttls": by_port[service]}
    port, _, protocol = service.partition(" ")
    return {"port": int(port)} if protocol == "tcp" and int(port) != HTTPS else {}


def _of_import(host: str, are_leaves: list[bool]) -> Iterator[Loss]:
    yield loss("ca-checked", host)
    if any(are_leaves) and not all(are_leaves):
        yield loss("leaf-becomes-chain", host, target="a rule")
    elif not any(are_leaves):
        yield loss("ca-or-leaf", host)


def _record(line: str) -> tuple[str, str, Pin, bool]:
    """Return host, port and protocol, pin, and whether it is the server's own."""
    match = RECORD.fullmatch(line)
    if match is None:
        raise FormatError(
            "not a TLSA record with its full name: _443._tcp.api.example.com. IN TLSA 3 1 1 …"
        )
    usage, selector, matching = (int(match[part]) for part in ("usage", "selector", "matching"))
    if usage not in LEAF_USAGES | CA_USAGES or (selector, matching) != (1, 1):
        raise FormatError(
            f"{usage} {selector} {matching} is not a pin: a pin is the SHA-256 of a public key,"
            " which is 3 1 1, 2 1 1, 1 1 1 or 0 1 1"
        )
    try:
        digest = bytes.fromhex("".join(match["data"].strip("()").split()))
        pin = Pin.from_digest(digest)
    except (ValueError, PinFormatError):
        raise FormatError(f"not 32 bytes in hex: {match['data'][:80]}") from None
    return (
        without_wildcard(match["host"].lower()),
        f"{int(match['port'])} {match['protocol'].lower()}",
        pin,
        usage in LEAF_USAGES,
    )
