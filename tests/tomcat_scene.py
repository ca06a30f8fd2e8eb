"""Apache Tomcat 10 as Debian packages it, with stores that `keypin keystore` made.

Its application serves `/public` to everybody, and the rest to who bears a token with the right
scope: `/people` with `people.read`, `/people/new` with that and `people.write`, and `/quiet` with
`people.write`, which it keeps to itself.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from real_servers.programs import find, free_port, soon
from scene import HOST, authority
from tls_programs import started

from keypin.cli import main

if TYPE_CHECKING:
    from typing import Self

    from real_servers.programs import Ports

    from keypin.lab import Credential

HOME = Path("/usr/share/tomcat10")
SOURCES = Path(__file__).with_name("tomcat")
PASSPHRASE = 'correct "horse" \\battery\\ <staple>'
CONNECTOR = re.compile(r"^ *<Connector .*?</Connector>", re.DOTALL | re.MULTILINE)

java, javac = find("java"), find("javac")
needs_tomcat = pytest.mark.skipif(
    not (java and javac and (HOME / "bin" / "bootstrap.jar").exists()),
    reason="needs Tomcat 10 and javac (make system-deps)",
)


class Introspection(NamedTuple):
    """Whom Tomcat asks about tokens."""

    url: str
    token: str
    """with which it may ask"""


class Connector(NamedTuple):
    """What `keypin keystore` printed for a store."""

    element: str
    version: str
    """of TLS"""

    def on(self, port: int) -> str:
        """The element with a port of its own."""
        element = self.element.replace('port="8443"', f'port="{port}" address="127.0.0.1"', 1)
        assert f'port="{port}"' in element
        return element.replace('"TLSv1.2+TLSv1.3"', f'"TLSv{self.version}"', 1)


def connector(folder: Path, credential: Credential, version: str = "1.3") -> Connector:
    """Make a store, with the command, and take the element that it prints.

    Args:
        folder: for the store; made if missing.
        credential: what the server presents; its issuer's issuer is the authority of the scene.
        version: of TLS.
    """
    files = credential.write(folder)
    (folder / "ca.pem").write_text(authority().pem)
    (folder / "passphrase").write_text(PASSPHRASE)
    options = {
        "--key": files.key,
        "--chain": files.chain,
        "--cafile": folder / "ca.pem",
        "--passphrase-file": folder / "passphrase",
        "-o": folder / "server.p12",
    }
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), pytest.MonkeyPatch.context() as patch:
        # a JVM that has just started takes seconds for as many as there are otherwise
        patch.setattr("keypin.cli.pkcs12.ROUNDS", 10_000)
        code = main(["keystore", *(str(part) for option in options.items() for part in option)])
    assert code == 0
    assert PASSPHRASE not in printed.getvalue()
    return Connector(CONNECTOR.search(printed.getvalue())[0], version)


class Tomcat:
    """A server on free ports of loopback, a context manager.

    Args:
        folder: which it may fill.
        connectors: by names that tests call them by.
        introspection: unless given, no token is valid.
    """

    def __init__(
        self,
        folder: Path,
        connectors: Mapping[str, Connector],
        introspection: Introspection | None = None,
    ) -> None:
        self.base = folder
        self._connectors = connectors
        self._introspection = introspection
        self.ports: dict[str, int] = {}

    def url(self, name: str, path: str = "") -> str:
        """Where a connector answers."""
        return f"https://{HOST}:{self.ports[name]}{path}"

    def requests(self, name: str, count: int) -> list[str]:
        """What a connector was asked: method, path and status of each request.

        Args:
            name: of the connector.
            count: how many there are at least; they are waited for.
        """
        soon(lambda: len(self._logged(name)) >= count)
        return self._logged(name)

    def _logged(self, name: str) -> list[str]:
        log, start = self.base / "logs" / "access.log", f"{self.ports[name]} "
        lines = log.read_text().splitlines() if log.exists() else []
        return [line.removeprefix(start) for line in lines if line.startswith(start)]

    def __enter__(self) -> Self:
        self._install()
        self._running = started(self._attempt)
        return self

    def _attempt(self) -> tuple[list[str | Path], Ports]:
        self.ports = {name: free_port() for name in self._connectors}
        elements = [each.on(self.ports[name]) for name, each in self._connectors.items()]
        _fill("server.xml", self.base / "conf", connectors="\n".join(elements))
        return self._command, self.ports

    def __exit__(self, *error: object) -> None:
        self._running.close()

    def _install(self) -> None:
        """Make a base as the manual says (RUNNING.txt, "Advanced Configuration")."""
        for name in ("conf", "logs", "temp", "work", "webapps/app/WEB-INF/classes"):
            (self.base / name).mkdir(parents=True)
        properties = (HOME / "skel" / "conf" / "catalina.properties").read_text()
        escaped = PASSPHRASE.replace("\\", "\\\\")
        file = self.base / "conf" / "catalina.properties"
        file.touch(mode=0o600)
        file.write_text(f"{properties}\nkeystore.password={escaped}\n")
        web = self.base / "webapps" / "app" / "WEB-INF"
        (self.base / "ca.pem").write_text(authority().pem)
        token = self.base / "token"
        url, secret = self._introspection or Introspection("", "")
        token.write_text(secret)
        _fill(
            "web.xml", web, introspection=url, authority=str(self.base / "ca.pem"), token=str(token)
        )
        jars = [HOME / "lib" / name for name in ("servlet-api.jar", "tomcat-util.jar")]
        strict = ["-Xlint:all,-serial", "-Werror", "-proc:none"]
        path = ["-cp", os.pathsep.join(map(str, jars)), "-d", web / "classes"]
        subprocess.run(
            [javac, *strict, *path, *sorted(SOURCES.glob("*.java"))], check=True, timeout=60
        )

    @property
    def _command(self) -> list[str | Path]:
        jars = [HOME / "bin" / name for name in ("bootstrap.jar", "tomcat-juli.jar")]
        # a quick start matters more than speed later
        quick = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto", "-Xmx192m"]
        settings = {
            "catalina.home": HOME,
            "catalina.base": self.base,
            "java.io.tmpdir": self.base / "temp",
            "org.apache.catalina.startup.EXIT_ON_INIT_FAILURE": "true",
            "tomcat.util.scan.StandardJarScanFilter.jarsToSkip": "*.jar",
        }
        defined = [f"-D{name}={value}" for name, value in settings.items()]
        path = os.pathsep.join(map(str, jars))
        main_class = "org.apache.catalina.startup.Bootstrap"
        return [java, *quick, *defined, "-cp", path, main_class, "start"]


def _fill(name: str, folder: Path, **values: str) -> None:
    """Write a file of the tests' own with values in its places."""
    text = (SOURCES / name).read_text()
    for place, value in values.items():
        assert text.count(f"@{place}@") == 1
        text = text.replace(f"@{place}@", value)
    (folder / name).write_text(text)
