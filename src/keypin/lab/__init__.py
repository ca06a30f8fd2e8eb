"""A laboratory for pinning: authorities, servers of every kind, honest and not, on loopback.

    authority      Authority, Credential: certificates with or without faults
    certificates   what a certificate says
    keys           Key, new_key
    servers/       what listens: honest servers, attackers, proxies, all with records

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
    assessment     what an outcome counts for, in the light of the others
    presets        common clients: their commands; clients/: sources of those that are no programs
    reports        what came of them: JSON, JUnit, Markdown
    live           LiveLab: many stages at once, for clients that are no commands
    live_page      the page that shows it (live.html, live.css, live.js)

It needs the extra `keypin[lab]`; all scenarios can be played with `keypin[attacks]`. None of its
keys is worth protecting: they are written to disk.
"""

from __future__ import annotations

try:
    import cryptography  # noqa: F401
except ImportError as _error:
    raise ImportError("keypin.lab needs cryptography: pip install 'keypin[lab]'") from _error

from .authority import Authority, Credential, CredentialFiles, self_signed
from .cast import Cast
from .catalogue import scenarios
from .certificates import NameConstraints
from .judge import Judgement
from .keys import KEY_KINDS, Key, KeyKind, new_key
from .scenario import Case, Scenario
from .servers.applications import Application, Echo, Http, Preamble, Response, Silent, stall
from .servers.connection import Connection, Request
from .servers.fuzzing import FuzzingProxy, MutatingServer
from .servers.listener import Listener
from .servers.misbehaving import MisbehavingServer
from .servers.mutation import Mutator
from .servers.proxy import ConnectProxy, Tunnel
from .servers.renegotiation import RenegotiatingServer
from .servers.server import Server
from .servers.streams import Channel, Disconnected
from .stage import Stage

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
