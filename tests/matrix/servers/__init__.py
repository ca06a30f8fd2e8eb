"""Real servers of the protocols that the matrix speaks.

    programs       how a program is found, started and ended
    databases      redis-server, PostgreSQL, MariaDB
    mail           Dovecot, aiosmtpd
    messaging      Mosquitto, nats-server
    others         vsftpd, slapd

They run from files in a folder of their own, on free ports of 127.0.0.1, as root and as anybody.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from . import databases, mail, messaging, others

if TYPE_CHECKING:
    from real_servers.programs import Ports

    from keypin.lab import Credential

__all__ = ["PROGRAMS", "Program"]


@dataclass(frozen=True, slots=True)
class Program:
    """A server program.

    Args:
        name: its own.
        run: starts it with a credential and one version of TLS, until the block ends; yields the
            port for each protocol.
        protocols: which it speaks, as in `Client.protocol`.
        found: what it takes; None for what is not on this machine.
        versions: of TLS, to which it can be held.
    """

    name: str
    run: Callable[[Credential, str], AbstractContextManager[Ports]]
    protocols: tuple[str, ...]
    found: tuple[object, ...]
    versions: tuple[str, ...] = ("1.2", "1.3")


PROGRAMS = [
    Program("Redis", databases.running_redis, ("rediss",), (databases.redis_server,)),
    Program(
        "PostgreSQL",
        databases.running_postgres,
        ("postgresql",),
        (databases.initdb, databases.postgres),
    ),
    Program(
        "MariaDB",
        databases.running_mariadb,
        ("mysql",),
        (databases.mariadb_install_db, databases.mariadbd),
    ),
    Program("Dovecot", mail.running_dovecot, ("imap", "imaps", "pop3", "pop3s"), (mail.dovecot,)),
    Program("aiosmtpd", mail.running_aiosmtpd, ("smtp", "smtps"), (find_spec("aiosmtpd"),)),
    Program("Mosquitto", messaging.running_mosquitto, ("mqtts",), (messaging.mosquitto,)),
    Program("NATS", messaging.running_nats, ("nats",), (messaging.nats_server,), ("1.3",)),
    Program("vsftpd", others.running_vsftpd, ("ftp", "ftps"), (others.vsftpd,)),
    Program("slapd", others.running_slapd, ("ldap", "ldaps"), (others.slapd,)),
]
