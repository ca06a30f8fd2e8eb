"""Which servers a pin file speaks of, as far as they can be connected to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .starttls import PORTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..pinfile import HostEntry, PinFile

__all__ = ["HTTPS", "ConnectOptions", "Target", "targets_of"]

HTTPS = 443

HostAndPort = tuple[str, int | None]


@dataclass(frozen=True, slots=True)
class Target:
    """A server to look at.

    Args:
        host: in normal form.
        port: its TCP port.
        starttls: the protocol in which TLS is asked for; None where TLS comes first.
        addresses: where to connect to instead of the addresses of the name; a port of None is
            the target's.
        implied: nobody named the host: it is the domain of a pattern such as `**.example.com`.
    """

    host: str
    port: int
    starttls: str | None = None
    addresses: tuple[HostAndPort, ...] = ()
    implied: bool = False


@dataclass(frozen=True, slots=True)
class ConnectOptions:
    """How to connect, for all hosts (None) or by host, in place of what the pin file says.

    Args:
        ports: TCP ports.
        starttls: protocols of `starttls.PORTS`.
        addresses: see `Target`; not for all hosts.
    """

    ports: Mapping[str | None, int] = field(default_factory=dict)
    starttls: Mapping[str | None, str] = field(default_factory=dict)
    addresses: Mapping[str, Sequence[HostAndPort]] = field(default_factory=dict)

    def target(
        self, host: str, port: int | None, entry: HostEntry | None = None, *, implied: bool = False
    ) -> Target:
        """The server of a host.

        Args:
            host: in normal form.
            port: where its server is, if it was named with one.
            entry: what the pin file says of it.
            implied: see `Target`.
        """
        port = port or self.ports.get(host, self.ports.get(None))
        starttls = self.starttls.get(host, self.starttls.get(None))
        if entry is not None:
            if starttls is None and port in (None, _port_of(entry)):
                starttls = entry.starttls  # the file tells of that port, not of others
            port = port or entry.port
        return Target(
            host,
            port or _usual_port(starttls),
            starttls,
            tuple(self.addresses.get(host, ())),
            implied,
        )


def targets_of(
    file: PinFile, where: ConnectOptions, hosts: Sequence[HostAndPort], also: Sequence[HostAndPort]
) -> list[Target]:
    """Choose the servers to look at.

    Args:
        file: what is checked.
        where: how to connect.
        hosts: only these, with their ports; all hosts of the file if empty.
        also: and these.
    """
    entries = {host.name: host for host in file.hosts}
    pins = file.pin_set()

    def entry_of(host: str) -> HostEntry | None:
        rule = pins.rule_for(host)
        return None if rule is None else entries.get(rule.host or "")

    named = [where.target(host, port, entry_of(host)) for host, port in (*hosts, *also)]
    implied = [] if hosts else list(_in_file(file, where))
    # Of two for one server, the one that was named: it may not be left out.
    chosen = {(target.host, target.port): target for target in (*implied, *named)}
    return list(chosen.values())


def _in_file(file: PinFile, where: ConnectOptions) -> Iterator[Target]:
    names = {host.name for host in file.hosts}
    for host in file.hosts:
        stars, _, domain = host.name.rpartition("*.")
        if host.exclude:
            continue
        if host.name == domain:
            yield where.target(domain, None, host)
        elif stars and domain not in names:
            yield where.target(domain, None, host, implied=True)


def _port_of(entry: HostEntry) -> int:
    return entry.port or _usual_port(entry.starttls)


def _usual_port(starttls: str | None) -> int:
    return HTTPS if starttls is None else PORTS[starttls]
