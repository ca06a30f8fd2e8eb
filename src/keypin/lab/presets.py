"""Common clients as the lab knows them: their commands, and what they do not claim to do.

Those that are no programs by themselves have a small source in clients/, which is set up as their
own documentation says, and compiled before it is run.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from .command import fill

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "BESIDES",
    "CLIENTS",
    "LEAF_KEY",
    "NO_HTTP2",
    "NO_PIN_FILE",
    "NO_REDIRECTS",
    "ONE_PIN_FOR_ALL",
    "PRESETS",
    "Preset",
    "PresetError",
]

CLIENTS = Path(__file__).parent / "clients"
BUILD_TIMEOUT = 300  # seconds

# What a client may claim beyond comparing the leaf's key with one pin, in the scenarios' words.
# None but keypin has files of pins, with their dates, denied keys and hosts in no rule.
NO_PIN_FILE = frozenset({"denied-pins", "expiry", "unlisted-hosts"})
# What is not about pins.
BESIDES = frozenset(
    {"alternative-services", "https-only", "passwords-in-urls", "public-suffixes", "tls-proxies"}
)
ONE_PIN_FOR_ALL = frozenset({"ca-pins", "pins-per-host", "sub-domains"})
LEAF_KEY = NO_PIN_FILE | BESIDES | ONE_PIN_FOR_ALL | {"client-certificates"}
NO_HTTP2 = frozenset({"http2"})
NO_REDIRECTS = frozenset({"redirects"})

JAVA_JARS = Path("/usr/share/java")
OKHTTP_JARS = ("okhttp.jar", "okio.jar", "kotlin-stdlib.jar")
OKHTTP_HINT = (
    "the jars of okhttp, okio and kotlin-stdlib in CLASSPATH"
    " (or, on Debian, the package libokhttp-java)"
)
TOLD = ("{url}", "{second_url}", "{cafile}", "{curl_pins}")


class PresetError(Exception):
    """A preset cannot be used on this machine."""


@dataclass(frozen=True, slots=True)
class Preset:
    """A client, and how it is called.

    Attributes:
        name: for the command line.
        about: what it is.
        compares: what it does with the pins, in a few words.
        command: with the places of the lab.
        with_certificate: further words of it in the scenarios that need a certificate of its own.
        takes_proxy: whether it takes the proxy that the environment names.
        unclaimed: what it does not claim to do, in the words of the scenarios.
        build: the command that compiles its source first; of this and of the others `{folder}` is
            where that goes.
        needs: finds what it needs and this machine has not; nothing if it can be run.
    """

    name: str
    about: str
    compares: str
    command: tuple[str, ...]
    with_certificate: tuple[str, ...] = ()
    takes_proxy: bool = True
    unclaimed: frozenset[str] = frozenset()
    build: tuple[str, ...] = ()
    needs: Callable[[], str | None] = lambda: None

    def lines(self) -> list[str]:
        """What is run, for a shell."""
        return [shlex.join(words) for words in (self.build, self.command) if words]

    def prepared(self, folder: Path) -> Preset:
        """The same, ready to be run.

        Args:
            folder: where what has to be compiled is put, as long as it is run.

        Raises:
            PresetError: it cannot be, and why.
        """
        if lacking := self.needs():
            raise PresetError(f"--client {self.name} needs {lacking}")
        places = {"folder": str(folder), "classpath": _okhttp_jars() or ""}
        if self.build:
            _compile(fill(self.build, places))
        return replace(self, command=tuple(fill(self.command, places)), build=())


def _compile(words: list[str]) -> None:
    try:
        done = subprocess.run(  # noqa: S603 - one of those below
            words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=BUILD_TIMEOUT
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PresetError(f"{shlex.join(words)}: {error}") from None
    if done.returncode:
        raise PresetError(f"{shlex.join(words)}: exit code {done.returncode}\n{done.stderr}")


def _programs(*names: str) -> Callable[[], str | None]:
    """What of these programs is not there."""

    def needs() -> str | None:
        missing = [name for name in names if shutil.which(name) is None]
        return " and ".join(missing) or None

    return needs


def _requests() -> str | None:
    return None if find_spec("requests") else "requests: pip install requests"


def _okhttp() -> str | None:
    return _programs("javac", "java")() or (None if _okhttp_jars() else OKHTTP_HINT)


def _okhttp_jars() -> str | None:
    """A path of classes with OkHttp, or None if there is none."""
    given = os.environ.get("CLASSPATH", "")
    if "okhttp" in given:
        return given
    jars = [JAVA_JARS / jar for jar in OKHTTP_JARS]
    return os.pathsep.join(map(str, jars)) if all(jar.exists() for jar in jars) else None


# to start a virtual machine of Java that runs for a second
JAVA = ("java", "-XX:TieredStopAtLevel=1", "-Xshare:auto")

PRESETS = {
    preset.name: preset
    for preset in (
        Preset(
            "curl",
            "curl --pinnedpubkey",
            "the leaf's key, of one call",
            (
                *("curl", "--silent", "--show-error", "--fail", "--max-time", "4"),
                *("--cacert", "{cafile}", "--pinnedpubkey", "{curl_pins}"),
                *("--header", "Authorization: Bearer what only the pinned server may learn"),
                *("--output", os.devnull, "--output", os.devnull, "{url}", "{second_url}"),
            ),
            ("--cert", "{client_certificate}"),
            unclaimed=LEAF_KEY | NO_REDIRECTS,
            needs=_programs("curl"),
        ),
        Preset(
            "wget",
            "GNU Wget --pinnedpubkey",
            "the leaf's key",
            (
                *("wget", "--no-config", "--no-hsts", "--quiet", "--tries=1", "--timeout=4"),
                *("--ca-certificate={cafile}", "--pinnedpubkey={curl_pins}"),
                "--header=Authorization: Bearer what only the pinned server may learn",
                *(f"--output-document={os.devnull}", "{url}", "{second_url}"),
            ),
            ("--certificate={client_certificate}", "--private-key={client_certificate}"),
            unclaimed=LEAF_KEY | NO_HTTP2,
            needs=_programs("wget"),
        ),
        Preset(
            "openssl",
            "openssl s_client",
            "nothing: authority and name only",
            ("sh", str(CLIENTS / "s_client.sh"), "{host}", "{port}", "{cafile}"),
            takes_proxy=False,
            unclaimed=NO_REDIRECTS | NO_HTTP2,
            needs=_programs("sh", "openssl", "timeout", "grep"),
        ),
        Preset(
            "node",
            "Node's https with checkServerIdentity",
            "the leaf's key, in the example of its documentation",
            ("node", str(CLIENTS / "node_pinned.js"), *TOLD),
            ("{client_certificate}",),
            takes_proxy=False,
            unclaimed=LEAF_KEY | NO_REDIRECTS | NO_HTTP2,
            needs=_programs("node"),
        ),
        Preset(
            "go",
            "Go's net/http with VerifyConnection",
            "the leaf's key",
            ("{folder}/pinned", *TOLD, "{proxy}"),
            ("{client_certificate}",),
            unclaimed=LEAF_KEY,
            build=("go", "build", "-o", "{folder}/pinned", str(CLIENTS / "pinned.go")),
            needs=_programs("go"),
        ),
        Preset(
            "java",
            "Java's HttpClient (11 and later) with a trust manager of its own",
            "the leaf's key",
            (*JAVA, "-cp", "{folder}", "PinnedClient", *TOLD),
            unclaimed=LEAF_KEY,
            build=("javac", "-d", "{folder}", str(CLIENTS / "PinnedClient.java")),
            needs=_programs("javac", "java"),
        ),
        Preset(
            "okhttp",
            "OkHttp's CertificatePinner",
            "a key of the chain that it has cleaned",
            (*JAVA, "-cp", f"{{folder}}{os.pathsep}{{classpath}}", "OkHttpPinned", *TOLD),
            # it has pins for each host, but this client is told those of one host only
            unclaimed=NO_PIN_FILE | BESIDES | {"client-certificates", "pins-per-host"},
            build=(
                *("javac", "-cp", "{classpath}", "-d", "{folder}"),
                str(CLIENTS / "OkHttpPinned.java"),
            ),
            needs=_okhttp,
        ),
        Preset(
            "requests",
            "requests in Python, pinned by keypin run",
            "what the pin file says",
            (
                *(sys.executable, "-m", "keypin", "run", "--pins", "{pins}", "--"),
                *(sys.executable, str(CLIENTS / "requests_pinned.py")),
                *("{url}", "{second_url}", "{cafile}"),
            ),
            ("{client_certificate}",),
            unclaimed=NO_HTTP2 | {"https-only"},
            needs=_requests,
        ),
    )
}
"""By their names."""
