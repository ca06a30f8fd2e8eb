"""Who appears in the scenarios: two trusted authorities, and the servers below them."""

from __future__ import annotations

import threading
from functools import cache, cached_property
from ipaddress import IPv4Address, ip_address
from typing import TypeVar

from ..hostnames import normalise
from .authority import Authority, Credential
from .keys import KeyKind

__all__ = ["ADDRESS", "HOST", "NAMES", "Cast", "Unsuitable", "cast_of", "is_address"]

HOST = "localhost"
ADDRESS = "127.0.0.1"
NAMES = (HOST, ADDRESS)
TAKEN = ("attacker.example", "other.example", "example.com", "example.org")
"""domains of others in the scenarios"""

Value = TypeVar("Value")
_making = threading.RLock()


class once(cached_property[Value]):
    """A property that is made once, also where several cases begin at the same time."""

    def __get__(self, instance: object, owner: type | None = None) -> Value:  # type: ignore[override]
        with _making:
            value: Value = super().__get__(instance, owner)
            return value


class Unsuitable(RuntimeError):
    """A scenario that cannot be played where, or by the name by which, the servers are called."""


class Cast:
    """Authorities and credentials, made when they are first asked for.

    Args:
        kind: of the servers' keys.
        host: the name by which clients call the servers, or their IP address.
        address: the IP address at which the servers listen.

    Raises:
        HostnameError: that is no host.
        ValueError: that is no address of one machine, or the host is somebody else's in the
            scenarios.
    """

    kind: KeyKind
    host: str
    address: str

    def __init__(self, kind: KeyKind, host: str = HOST, address: str = ADDRESS) -> None:
        self.kind = kind
        self.host = normalise(host)
        found = ip_address(address)
        if found.is_unspecified or found.is_multicast or "%" in address:
            raise ValueError(f"not the address of one machine: {address}")
        self.address = str(found)
        if any(self.host == name or self.host.endswith(f".{name}") for name in TAKEN):
            raise ValueError(f"{self.host} is somebody else in the scenarios; take another name")
        if is_address(self.host) and self.host != self.address:
            raise ValueError(f"the servers listen at {self.address}, not at {self.host}")

    @property
    def names(self) -> tuple[str, ...]:
        """What the servers' certificates are for."""
        return tuple(dict.fromkeys((self.host, self.address)))

    @property
    def name(self) -> str:
        """The host, for scenarios that need one with a name.

        Raises:
            Unsuitable: it is called by its address.
        """
        if is_address(self.host):
            raise Unsuitable("it needs a server with a name besides the address")
        return self.host

    @property
    def neighbour(self) -> str:
        """Another IP address, at which these servers do not listen."""
        found = ip_address(self.address)
        return str(type(found)(int(found) ^ 3))  # of 127.0.0.1: 127.0.0.2

    @property
    def ipv4(self) -> IPv4Address:
        """The address, for scenarios that take it apart.

        Raises:
            Unsuitable: it is one of IPv6.
        """
        found = ip_address(self.address)
        if not isinstance(found, IPv4Address):
            raise Unsuitable("it needs an address of IPv4")
        return found

    @property
    def is_local(self) -> bool:
        """Whether only programs on this machine can call the servers."""
        return ip_address(self.address).is_loopback

    @once
    def root(self) -> Authority:
        """The authority that the honest server's operator uses."""
        return Authority("keypin lab: trusted root")

    @once
    def issuing(self) -> Authority:
        """The intermediate that issues below it."""
        return self.root.intermediate("keypin lab: issuing CA")

    @once
    def other_root(self) -> Authority:
        """Another authority that the client trusts: a bought, coerced or careless one."""
        return Authority("keypin lab: other trusted root")

    @once
    def pinned(self) -> Credential:
        """The honest server, whose key is pinned."""
        return self.issuing.issue(*self.names, key=self.kind)

    @once
    def backup(self) -> Credential:
        """The same server with its backup key, which is pinned, too."""
        return self.issuing.issue(*self.names, key=self.kind)

    @once
    def impostor(self) -> Credential:
        """An attacker's certificate for the server's names, from the other trusted authority."""
        return self.other_root.issue(*self.names, key=self.kind)

    @once
    def client(self) -> Credential:
        """The client's own certificate and key."""
        return self.root.issue(
            common_name="keypin lab: client", key="p-256", extended_key_usage=["clientAuth"]
        )

    @property
    def trusted(self) -> str:
        """The authorities that the client trusts, in PEM."""
        return self.root.pem + self.other_root.pem


def is_address(host: str) -> bool:
    """Whether a host is an IP address, and no name."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def cast_of(kind: KeyKind) -> Cast:
    """The cast at localhost whose servers have keys of this kind; the same one at each call."""
    with _making:
        return _cast(kind)


@cache
def _cast(kind: KeyKind) -> Cast:
    return Cast(kind)
