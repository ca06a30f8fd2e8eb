"""DANE: TLSA records in zone files (RFC 1035, section 5, as BIND writes them) and from dig.

RFC 6698 and RFC 7671: usage 3 (DANE-EE) is the server's own key, for which neither dates nor names
nor CA are checked; usage 2 (DANE-TA) is a CA's key, to which the chain must lead and whose
certificate the server must send; selector 1 is the public key, matching type 1 its SHA-256, so that
the data of a record are a pin's digest. One record that matches will do. A name has records for
each port; there are no patterns but DNS's own, which cannot stand below _443._tcp.

What a record needs and a pin file need not say is whether a key is a server's or a CA's. A pin
with `match = "leaf"` can only be a server's, one marked `authority` a CA's. Others are looked up in
--certificates; where that does not tell, 3 1 1 is written, which never accepts more than the pin.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple, TypedDict

from ..pin import Pin
from ..pinfile import HostEntry, PinEntry
from ..pinfile.fields import STARTTLS_PORTS
from ..pinset import PinSet, Rule
from ._conversion import Draft, FormatError, Reading, located, pin_file, text_of, without_wildcard
from ._domains import exact_hosts, is_public_name
from ._losses import loss

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from ..pinfile import PinFile
    from ..pinset import Match
    from ._conversion import Certificates, Files, Loss

__all__ = ["TITLE", "export", "read"]

TITLE = "DANE"
FILE = "tlsa.zone"
HTTPS_PORT = 443
HEAD = "; Written by keypin export tlsa: change the pin file instead.\n"
# strings, comments, ends of lines, parentheses, and what is between them
TOKEN = re.compile(r'"(?:[^"\\\n]|\\.)*"|;[^\n]*|\n|[()]|(?:[^"();\n\\]|\\.)+|.', re.DOTALL)
SERVICE = re.compile(r"(?:_(?P<port>[0-9]{1,5})|\*)\._(?P<protocol>[a-z0-9-]+)\.(?P<host>.+)")
HTTPS, EVERY_PORT = "port 443 of tcp", "every port of tcp"
# how dnspython and Python say that the data of a record are not 32 bytes in hex
NOT_HEX = ("data length", "Odd-length", "Odd number")
# RFC 6698, section 2.1.1; RFC 7218 has their names
LEAF_USAGES, CA_USAGES = {1, 3}, {0, 2}
SERVER, AUTHORITY = "3 1 1", "2 1 1"


def export(pins: PinFile, certificates: Certificates) -> Draft:
    """Write the records for the port of each host."""
    lines, rules = [], []
    losses = [loss("port-443-only")]
    cas = {pin for pin, certificate in certificates.items() if certificate.is_ca}
    marked = {
        host.name: {entry.pin for entry in host.pins if entry.authority} for host in pins.hosts
    }
    for host, rule in exact_hosts(pins).items():
        if is_public_name(host):
            authorities = cas | marked[rule.host or ""]
            records = _records(host, rule, certificates, authorities, losses)
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
        return HTTPS_PORT
    return entry.port or STARTTLS_PORTS.get(entry.starttls or "", HTTPS_PORT)


def _records(
    host: str, rule: Rule, certificates: Certificates, authorities: set[Pin], losses: list[Loss]
) -> list[str]:
    usages = dict.fromkeys(rule.pins, SERVER)
    if rule.match == "chain":
        unknown = [pin for pin in rule.pins if pin not in certificates and pin not in authorities]
        for pin in authorities.intersection(rule.pins):
            usages[pin] = AUTHORITY
        if unknown:
            losses.append(loss("usage-unknown", host, pins=unknown, how=SERVER))
    return [f"{usage} {pin.digest.hex()}" for pin, usage in usages.items()]


class _Record(NamedTuple):
    """A TLSA record, or a name that stands for another one."""

    name: str
    line: int
    target: str | None
    fields: tuple[int, int, int] = (0, 0, 0)
    data: bytes = b""


def read(files: Files, hosts: Sequence[str]) -> Reading:
    """Read a zone file, or what dig prints; records of other types say nothing here."""
    name, text = text_of(files)
    found: dict[str, dict[str, dict[Pin, bool]]] = {}
    lines: dict[tuple[str, str], int] = {}
    for host, service, record in _with_services(_zone(text, name), name):
        with located(name, record.line):
            pin = _pin(record)
            known = found.setdefault(without_wildcard(host), {}).setdefault(service, {})
        is_leaf = record.fields[0] in LEAF_USAGES
        known[pin] = is_leaf and known.get(pin, True)
        lines.setdefault((host, service), record.line)
    losses: list[Loss] = []
    entries = []
    for host, services in found.items():
        pins, *others = services.values()
        if any(other.keys() != pins.keys() for other in others):
            last = max(services, key=lambda service: lines[host, service])
            raise FormatError(
                f"{', '.join(services)} of {host} have different keys, a rule holds for all ports:"
                " leave in the records of one",
                name,
                lines[host, last],
            )
        are_leaves = {pin: all(each[pin] for each in services.values()) for pin in pins}
        with located(name, lines[host, next(iter(services))]):
            match: Match | None = "leaf" if all(are_leaves.values()) else None
            marked = [
                PinEntry(pin, authority=None if is_leaf else "other")
                for pin, is_leaf in are_leaves.items()
            ]
            entries.append(HostEntry(host, marked, match=match, **_where(services)))
        is_leaf_somewhere = any(each[pin] for each in services.values() for pin in pins)
        losses += _of_import(host, list(are_leaves.values()), is_leaf_somewhere)
        if not services.keys() & {HTTPS, EVERY_PORT}:
            losses.append(loss("ports-not-carried", host, services=list(services)))
    return Reading(pin_file(entries), tuple(losses))


def _zone(text: str, file: str) -> Iterator[_Record]:
    """Yield the TLSA and CNAME records of a zone file with the lines that they begin in."""
    origin, owner = None, None
    for line, content in _logical_lines(text, file):
        words = content.split()
        with located(file, line):
            if words[0].upper() == "$ORIGIN" and len(words) == 2:
                origin = _absolute(words[1], origin)
            elif words[0].upper() != "$TTL":
                if words[0].startswith("$"):
                    raise FormatError(f"{words[0]:.20} is not read: write out what it stands for")
                if content[0].isspace() and owner is None:
                    raise FormatError("a record without a name, and none above it has one")
                if not content[0].isspace():
                    owner, content = words[0], content[len(words[0]) :]
                yield from _parsed(f"{owner} {content}", origin, line)


def _logical_lines(text: str, file: str) -> Iterator[tuple[int, str]]:
    """Yield records, each on one line: without comments and parentheses."""
    line, start, depth, parts = 1, 1, 0, list[str]()
    for part in [*TOKEN.findall(text), "\n"]:
        if part == "\n" and depth == 0:
            content = "".join(parts).rstrip()
            if content:
                yield start, content
            start, parts = line + 1, []
        elif part in ("(", ")"):
            depth += 1 if part == "(" else -1
        elif not part.startswith(";"):
            parts.append(" " if part == "\n" else part)
        line += part.count("\n")
        if depth not in (0, 1):
            raise FormatError("not a TLSA record: parentheses do not match", file, start)
    if depth:
        raise FormatError("not a TLSA record: a parenthesis is not closed", file, start)


def _parsed(content: str, origin: str | None, line: int) -> Iterator[_Record]:
    try:
        from dns import exception, rdatatype, zonefile
    except ImportError:
        raise FormatError(
            "zone files are read with dnspython: pip install 'keypin[formats]'"
        ) from None
    try:
        sets = zonefile.read_rrsets(
            content, origin=origin or ".", rdclass=None, default_ttl=0, relativize=False
        )
    except exception.DNSException as error:
        reason = str(error).removeprefix("<input>:1: ")
        if any(said in reason for said in NOT_HEX):
            reason = "not 32 bytes in hex"
        raise FormatError(f"not a TLSA record, nor another: {reason:.200}: {content:.80}") from None
    except ValueError as error:
        raise FormatError(f"not a TLSA record, nor another: {error}: {content:.80}") from None
    for each in sets:
        if each.rdtype not in (rdatatype.TLSA, rdatatype.CNAME):
            continue
        if origin is None and not content.split()[0].endswith("."):
            raise FormatError(
                "not with its full name, which ends in a dot: _443._tcp.api.example.com. IN TLSA …"
            )
        name = each.name.to_text(omit_final_dot=True).lower()
        for data in each:
            if each.rdtype == rdatatype.CNAME:
                yield _Record(name, line, data.target.to_text(omit_final_dot=True).lower())
            else:
                fields = (data.usage, data.selector, data.mtype)
                yield _Record(name, line, None, fields, data.cert)


def _absolute(name: str, origin: str | None) -> str:
    if not name.endswith(".") and origin is None:
        raise FormatError(f"$ORIGIN {name:.80} does not end in a dot")
    return name if name.endswith(".") else f"{name}.{origin}".rstrip(".") + "."


def _with_services(records: Iterable[_Record], file: str) -> Iterator[tuple[str, str, _Record]]:
    """Yield host and service of each TLSA record; an alias has those of what it stands for."""
    known = list(records)
    targets = {each.name: each.target for each in known if each.target is not None}
    there = {each.name for each in known if each.target is None}
    aliases: dict[str, list[str]] = {}
    for record in known:
        if record.target is not None and SERVICE.fullmatch(record.name):
            aliases.setdefault(_followed(record, targets, there, file), []).append(record.name)
    for record in known:
        if record.target is not None:
            continue
        own = [record.name] if SERVICE.fullmatch(record.name) else []
        names = [*own, *aliases.get(record.name, ())]
        if not names:
            raise FormatError(
                f"not a TLSA record with its full name, _443._tcp.api.example.com: {record.name} is"
                " no service, and none is an alias of it",
                file,
                record.line,
            )
        for name in names:
            if service := SERVICE.fullmatch(name):
                port = f"port {int(service['port'])}" if service["port"] else "every port"
                yield service["host"], f"{port} of {service['protocol']}", record


def _followed(record: _Record, targets: Mapping[str, str], there: set[str], file: str) -> str:
    """The name of the TLSA records that an alias stands for, perhaps by way of others."""
    name = record.name
    for _ in range(len(targets)):
        name = targets[name]
        if name in there:
            return name
        if name not in targets:
            break
    raise FormatError(
        f"{record.name} is an alias of records that are not in this file ({name}): add them",
        file,
        record.line,
    )


class _Where(TypedDict, total=False):
    """Where the server of a host is, if that is not port 443."""

    port: int
    starttls: str


def _where(services: Collection[str]) -> _Where:
    """What the only port for which there are records says of the server; nothing of several."""
    if len(services) != 1:
        return {}
    [service] = services
    found = re.fullmatch(r"port (\d+) of tcp", service)
    port = HTTPS_PORT if found is None else int(found[1])
    for protocol, usual in STARTTLS_PORTS.items():
        if port == usual:
            return {"starttls": protocol}
    return {} if port == HTTPS_PORT else {"port": port}


def _of_import(host: str, are_leaves: list[bool], is_leaf_somewhere: bool) -> Iterator[Loss]:
    """Args: whether each pin is of servers' own keys only; whether one is, at one port at least."""
    yield loss("ca-checked", host)
    if is_leaf_somewhere and not all(are_leaves):
        yield loss("leaf-becomes-chain", host, target="a rule")
    elif not any(are_leaves):
        yield loss("ca-or-leaf", host)


def _pin(record: _Record) -> Pin:
    usage, selector, matching = record.fields
    if usage not in LEAF_USAGES | CA_USAGES or (selector, matching) != (1, 1):
        raise FormatError(
            f"{record.name}: {usage} {selector} {matching} is not a pin: a pin is the SHA-256 of a"
            " public key, which is 3 1 1, 2 1 1, 1 1 1 or 0 1 1"
        )
    return Pin.from_digest(record.data)
