"""redis-server, PostgreSQL and MariaDB."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from real_servers.programs import Ports, find, free_port, home, run, running, unprivileged_user

if TYPE_CHECKING:
    from keypin.lab import Credential

# Debian does not put them on the path
POSTGRES_PATH = os.pathsep.join(map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin"))))

redis_server = find("redis-server")
initdb, postgres = find("initdb", POSTGRES_PATH), find("postgres", POSTGRES_PATH)
mariadb_install_db, mariadbd = find("mariadb-install-db"), find("mariadbd")


@contextmanager
def running_redis(credential: Credential, version: str) -> Iterator[Ports]:
    """A server that keeps nothing on disk."""
    ports = {"rediss": free_port()}
    with home(credential) as folder:
        options = {
            "port": 0,
            "tls-port": ports["rediss"],
            "bind": "127.0.0.1",
            "dir": folder,
            "save": "",
            "tls-cert-file": folder / "chain.pem",
            "tls-key-file": folder / "key.pem",
            "tls-auth-clients": "no",
            "tls-protocols": f"TLSv{version}",
        }
        command = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        with running([redis_server, *command], ports):
            yield ports


@contextmanager
def running_postgres(credential: Credential, version: str) -> Iterator[Ports]:
    """A cluster of its own, into which everybody is let."""
    ports, user = {"postgresql": free_port()}, unprivileged_user()
    with home(credential, user) as folder:
        data = folder / "data"
        trusting = ["--auth=trust", "--username=me"]
        plain = ["--locale=C", "--encoding=UTF8", "--no-sync", "--no-instructions"]
        run([initdb, f"--pgdata={data}", *trusting, *plain], user=user)
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": ports["postgresql"],
            "unix_socket_directories": "",
            "fsync": "off",
            "ssl": "on",
            "ssl_cert_file": folder / "chain.pem",
            "ssl_key_file": folder / "key.pem",
            "ssl_min_protocol_version": f"TLSv{version}",
            "ssl_max_protocol_version": f"TLSv{version}",
        }
        command = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with running([postgres, "-D", data, *command], ports, user=user):
            yield ports


@contextmanager
def running_mariadb(credential: Credential, version: str) -> Iterator[Ports]:
    """A server of its own, with a user who comes in by a password."""
    ports, user = {"mysql": free_port()}, unprivileged_user()
    with home(credential, user) as folder:
        data = f"--datadir={folder / 'data'}"
        run(
            [
                mariadb_install_db,
                "--no-defaults",
                data,
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
            ],
            user=user,
        )
        start = folder / "start.sql"
        start.write_text("CREATE USER me IDENTIFIED BY 'secret';\n")
        command = [
            mariadbd,
            "--no-defaults",
            data,
            "--bind-address=127.0.0.1",
            "--skip-name-resolve",
            f"--port={ports['mysql']}",
            f"--socket={folder / 'socket'}",
            f"--init-file={start}",
            f"--ssl-cert={folder / 'chain.pem'}",
            f"--ssl-key={folder / 'key.pem'}",
            f"--tls-version=TLSv{version}",
        ]
        with running(command, ports, user=user):
            yield ports
