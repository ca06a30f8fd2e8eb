"""A laboratory for pinning: authorities, servers of every kind, honest and not, on loopback.

    authority      Authority, Credential: certificates with or without faults
    certificates   what a certificate says
    keys           Key, new_key
    server         Server: TLS or plain; records what it receives
    connection     Connection, Request: those records
    applications   what a server does inside TLS: Http, Echo, Silent
    proxy          ConnectProxy: tunnels, or intercepts
    misbehaving    MisbehavingServer: shows certificates without holding their key
    renegotiation  RenegotiatingServer: changes its certificate in mid-connection
    listener       what all servers have in common
    streams        the bytes inside and outside TLS
    contexts       TLS settings, and the view into the handshake

It needs the extra `keypin[lab]`. None of its keys is worth protecting: they are written to disk.
"""

from __future__ import annotations

try:
    import cryptography  # noqa: F401
except ImportError as error:
    raise ImportError("keypin.lab needs cryptography: pip install 'keypin[lab]'") from error

from .applications import Application, Echo, Http, Preamble, Response, Silent, stall
from .authority import Authority, Credential, CredentialFiles, self_signed
from .certificates import NameConstraints
from .connection import Connection, Request
from .keys import KEY_KINDS, Key, KeyKind, new_key
from .listener import Listener
from .misbehaving import MisbehavingServer
from .proxy import ConnectProxy, Tunnel
from .renegotiation import RenegotiatingServer
from .server import Server
from .streams import Channel, Disconnected

__all__ = [
    "KEY_KINDS",
    "Application",
    "Authority",
    "Channel",
    "ConnectProxy",
    "Connection",
    "Credential",
    "CredentialFiles",
    "Disconnected",
    "Echo",
    "Http",
    "Key",
    "KeyKind",
    "Listener",
    "MisbehavingServer",
    "NameConstraints",
    "Preamble",
    "RenegotiatingServer",
    "Request",
    "Response",
    "Server",
    "Silent",
    "Tunnel",
    "new_key",
    "self_signed",
    "stall",
]
