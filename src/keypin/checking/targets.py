"""Which servers a pin file speaks of, as far as they can be connected to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .starttls import PORTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..pinfile import PinFile

__all__ = ["HTTPS", "Target", "Where", "targets_of"]

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
class Where:
    """How to connect, for all hosts (None) or by host.

    Args:
        ports: TCP ports.
        starttls: protocols of `starttls.PORTS`.
        addresses: see `Target`; not for all hosts.
    """

    ports: Mapping[str | None, int] = field(default_factory=dict)
    starttls: Mapping[str | None, str] = field(default_factory=dict)
    addresses: Mapping[str, Sequence[HostAndPort]] = field(default_factory=dict)

    def target(self, host: str, port: int | None, *, implied: bool = False) -> Target:
        """The server of a host."""
        starttls = self.starttls.get(host, self.starttls.get(None))
        usual = self.ports.get(None, HTTPS if starttls is None else PORTS[starttls])
        return Target(
            host,
            port or self.ports.get(host, usual),
            starttls,
            tuple(self.addresses.get(host, ())),
            implied,
        )


def targets_of(
    file: PinFile, where: Where, hosts: Sequence[HostAndPort], also: Sequence[HostAndPort]
) -> list[Target]:
    """Choose the servers to look at.

    Args:
        file: what is checked.
        where: how to connect.
        hosts: only these, with their ports; all hosts of the file if empty.
        also: and these.
    """
    named = [where.target(host, port) for host, port in (*hosts, *also)]
    implied = [] if hosts else list(_in_file(file, where))
    # Of two for one server, the one that was named: it may not be left out.
    chosen = {(target.host, target.port): target for target in (*implied, *named)}
    return list(chosen.values())


def _in_file(file: PinFile, where: Where) -> Iterator[Target]:
    names = {host.name for host in file.hosts}
    for host in file.hosts:
        stars, _, domain = host.name.rpartition("*.")
        if host.exclude:
            continue
        if host.name == domain:
            yield where.target(domain, None)
        elif stars and domain not in names:
            yield where.target(domain, None, implied=True)
