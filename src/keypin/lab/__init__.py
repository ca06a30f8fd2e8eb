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
    malformed      MalformedServer: Certificate messages that are none
    mutation       Mutator: what is altered in a handshake; repeatable by its seed
    fuzzing        FuzzingProxy, MutatingServer: handshakes altered on the way, or by the server
    paths          Detour, CutPath, SlowPath: networks that lead elsewhere, cut, or are slow
    mitmproxy      the real mitmproxy, with records
    mail           Smtp, Imap, with and without STARTTLS
    websocket      WebSocketEcho
    http2, http3   Http2, Http3Server
    listener       what all servers have in common
    streams        the bytes inside and outside TLS
    watch          whether all that came has been looked at
    contexts       TLS settings, and the view into the handshake

And on these the attack lab:

    cast           Cast: who appears in the scenarios
    scenario       Scenario, Case: what a server does to a client, and what must come of it
    catalogue/     scenarios(): all of them, one module a group
    stage          Stage: the servers of one case, and what the client is told
    judge          Judgement: what came of it, by what the servers received
    arrivals       that, in words that give no secret away
    assertion      a function as the client, and the assertion that it came out right
    environment    the variables by which clients find authorities and proxies
    command        runs of other people's programs
    runner         cases played with a program, side by side
    reports        what came of them: JSON, JUnit, Markdown
    live           LiveLab: many stages at once, for clients that are no commands
    live_page      the page that shows it (live.html, live.css, live.js)
    live           the servers of many cases at once, for phones and browsers, and a page of them

It needs the extra `keypin[lab]`; all scenarios can be played with `keypin[attacks]`. None of its
keys is worth protecting: they are written to disk.
"""

from __future__ import annotations

try:
    import cryptography  # noqa: F401
except ImportError as error:
    raise ImportError("keypin.lab needs cryptography: pip install 'keypin[lab]'") from error

from .applications import Application, Echo, Http, Preamble, Response, Silent, stall
from .authority import Authority, Credential, CredentialFiles, self_signed
from .cast import Cast
from .catalogue import scenarios
from .certificates import NameConstraints
from .connection import Connection, Request
from .fuzzing import FuzzingProxy, MutatingServer
from .judge import Judgement
from .keys import KEY_KINDS, Key, KeyKind, new_key
from .listener import Listener
from .misbehaving import MisbehavingServer
from .mutation import Mutator
from .proxy import ConnectProxy, Tunnel
from .renegotiation import RenegotiatingServer
from .scenario import Case, Scenario
from .server import Server
from .stage import Stage
from .streams import Channel, Disconnected

__all__ = [
    "KEY_KINDS",
    "Application",
    "Authority",
    "Case",
    "Cast",
    "Channel",
    "ConnectProxy",
    "Connection",
    "Credential",
    "CredentialFiles",
    "Disconnected",
    "Echo",
    "FuzzingProxy",
    "Http",
    "Judgement",
    "Key",
    "KeyKind",
    "Listener",
    "MisbehavingServer",
    "MutatingServer",
    "Mutator",
    "NameConstraints",
    "Preamble",
    "RenegotiatingServer",
    "Request",
    "Response",
    "Scenario",
    "Server",
    "Silent",
    "Stage",
    "Tunnel",
    "new_key",
    "scenarios",
    "self_signed",
    "stall",
]
