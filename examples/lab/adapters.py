"""The clients that the attack lab is run against, each set up as its own documentation says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

__all__ = ["Adapter", "adapters"]

CLIENTS = Path(__file__).parent / "clients"
JAVA = Path("/usr/share/java")
OKHTTP_JARS = ("okhttp.jar", "okio.jar", "kotlin-stdlib.jar")
OWN_CERTIFICATE = ("--client-certificate", "{client_certificate}")

# What a client may claim beyond comparing the leaf's key with one pin, in the scenarios' words.
# None but keypin has files of pins, with their dates, denied keys and hosts in no rule.
NO_PIN_FILE = frozenset({"denied-pins", "expiry", "unlisted-hosts"})
# What is not about pins.
BESIDES = frozenset(
    {"alternative-services", "https-only", "passwords-in-urls", "public-suffixes", "tls-proxies"}
)
ONE_PIN_FOR_ALL = frozenset({"ca-pins", "pins-per-host", "sub-domains"})
LEAF_KEY = NO_PIN_FILE | BESIDES | ONE_PIN_FOR_ALL | {"client-certificates"}
WHOLE_CERTIFICATE = LEAF_KEY | {"backup-pins", "key-pins"}
NO_HTTP2 = frozenset({"http2"})
NO_REDIRECTS = frozenset({"redirects"})
# What libraries that keypin pins cannot do
LACKS = {
    "requests": NO_HTTP2,
    "httpx2": frozenset[str](),
    "aiohttp": NO_HTTP2 | {"passwords-in-urls", "tls-proxies"},
    "urllib3": NO_HTTP2,
    "ssl": NO_HTTP2 | NO_REDIRECTS | {"tls-proxies"},
}


@dataclass(frozen=True)
class Adapter:
    """A client, and how it is called.

    Attributes:
        name: for the table.
        version: of the library or the program that is measured.
        about: what it compares, in a few words.
        command: with the places that the lab fills in.
        own_certificate: more words of the command, for a client with a certificate of its own.
        has_own_certificate: whether it has that in every scenario, and not only in those about it.
        uses_proxy: whether it takes the proxy that the environment names.
        disclaims: what it does not claim to do, in the words of the scenarios.
        lacking: what it needs and this machine has not; None if it can be run.
    """

    name: str
    version: str
    about: str
    command: tuple[str, ...]
    own_certificate: tuple[str, ...] = OWN_CERTIFICATE
    has_own_certificate: bool = False
    uses_proxy: bool = True
    disclaims: frozenset[str] = frozenset()
    lacking: str | None = None


def adapters(folder: Path) -> list[Adapter]:
    """All of them, keypin's first.

    Args:
        folder: where a client is compiled that has to be.
    """
    return [
        *_of_keypin(),
        *_of_python(),
        _curl(),
        _node(),
        _okhttp(folder),
        _s_client(),
    ]


def _python(script: str, *words: str) -> tuple[str, ...]:
    calls = ("{url}", "{second_url}", "--cafile", "{cafile}")
    return (sys.executable, str(CLIENTS / script), *words[:1], *calls, *words[1:])


def _of_keypin() -> list[Adapter]:
    from keypin import __version__

    found = [
        Adapter(
            "keypin Client",
            __version__,
            "the leaf's key; the one-method API",
            (
                sys.executable,
                str(CLIENTS / "keypin_client.py"),
                *("{url}", "{second_url}", "--cafile", "{cafile}"),
                *("--certificates", "{certificates}"),
            ),
            has_own_certificate=True,
            disclaims=NO_PIN_FILE | ONE_PIN_FOR_ALL,
        )
    ]
    for library in ("requests", "httpx2", "aiohttp", "urllib3", "ssl"):
        for mode in ("context", "installed"):
            name = "http.client" if library == "ssl" else library
            number = "" if library == "ssl" else f" {version(library)}"
            how = "a context of a Pinner" if mode == "context" else "keypin.install()"
            found.append(
                Adapter(
                    f"keypin, {name}, {mode}",
                    f"{__version__}{number}",
                    f"keys of the verified chain; {how}",
                    _python(f"keypin_{library}.py", mode, "--pins", "{pins}"),
                    has_own_certificate=True,
                    disclaims=LACKS[library],
                )
            )
    return found


def _of_python() -> list[Adapter]:
    certificate = ("--certificate", "{certificate}")
    return [
        Adapter(
            "urllib3 assert_fingerprint",
            version("urllib3"),
            "the whole certificate",
            (*_python("urllib3_fingerprint.py"), *certificate),
            disclaims=WHOLE_CERTIFICATE | NO_HTTP2,
        ),
        Adapter(
            "requests-toolbelt FingerprintAdapter",
            version("requests-toolbelt"),
            "the whole certificate",
            (*_python("requests_toolbelt_fingerprint.py"), *certificate),
            disclaims=WHOLE_CERTIFICATE | NO_HTTP2,
        ),
        Adapter(
            "aiohttp Fingerprint",
            version("aiohttp"),
            "the whole certificate, in place of its verification",
            (*_python("aiohttp_fingerprint.py"), *certificate),
            own_certificate=(),
            disclaims=WHOLE_CERTIFICATE | NO_HTTP2,
        ),
        Adapter(
            "pycurl PINNEDPUBLICKEY",
            version("pycurl"),
            "the leaf's key, of one handle",
            (*_python("pycurl_pinned.py"), "--curl-pins", "{curl_pins}"),
            disclaims=LEAF_KEY | NO_REDIRECTS,
        ),
    ]


def _curl() -> Adapter:
    return Adapter(
        "curl --pinnedpubkey",
        _first_version("curl", "--version"),
        "the leaf's key, of one call",
        (
            *("curl", "--silent", "--show-error", "--fail", "--max-time", "4"),
            *("--cacert", "{cafile}", "--pinnedpubkey", "{curl_pins}"),
            *("--header", "Authorization: Bearer what only the pinned server may learn"),
            *("--output", os.devnull, "--output", os.devnull, "{url}", "{second_url}"),
        ),
        own_certificate=("--cert", "{client_certificate}"),
        disclaims=LEAF_KEY | NO_REDIRECTS,
        lacking=_missing("curl"),
    )


def _node() -> Adapter:
    return Adapter(
        "Node checkServerIdentity",
        _first_version("node", "--version"),
        "the leaf's key, in the example of its documentation",
        (
            *("node", str(CLIENTS / "node_pinned.js")),
            *("{url}", "{second_url}", "{cafile}", "{curl_pins}"),
        ),
        own_certificate=("{client_certificate}",),
        uses_proxy=False,
        disclaims=LEAF_KEY | NO_REDIRECTS | NO_HTTP2,
        lacking=_missing("node"),
    )


def _okhttp(folder: Path) -> Adapter:
    jars = os.pathsep.join([str(folder), *(str(JAVA / jar) for jar in OKHTTP_JARS)])
    lacking = _missing("javac") or _missing("java")
    if not lacking and not (JAVA / "okhttp.jar").exists():
        lacking = "libokhttp-java"
    if not lacking:
        source = CLIENTS / "OkHttpPinned.java"
        subprocess.run(["javac", "-cp", jars, "-d", folder, source], check=True, timeout=120)
    found = re.search(r"okhttp-([\d.]+)\.jar", " ".join(map(str, JAVA.glob("okhttp-*.jar"))))
    return Adapter(
        "OkHttp CertificatePinner",
        found[1] if found else "",
        "a key of the chain that it has cleaned",
        (
            # the start of a machine that runs for a second
            *("java", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-cp", jars, "OkHttpPinned"),
            *("{url}", "{second_url}", "{cafile}", "{curl_pins}"),
        ),
        own_certificate=(),
        # it has pins for each host, but this client is told those of one host only
        disclaims=NO_PIN_FILE | BESIDES | {"client-certificates", "pins-per-host"},
        lacking=lacking,
    )


def _s_client() -> Adapter:
    return Adapter(
        "openssl s_client (control)",
        _first_version("openssl", "version"),
        "nothing: authority and name only",
        ("sh", str(CLIENTS / "s_client.sh"), "{host}", "{port}", "{cafile}"),
        own_certificate=(),
        uses_proxy=False,
        disclaims=NO_REDIRECTS | NO_HTTP2,
        lacking=_missing("openssl"),
    )


def _missing(program: str) -> str | None:
    return None if shutil.which(program) else program


@cache
def _first_version(*command: str) -> str:
    if _missing(command[0]):
        return ""
    told = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
    found = re.search(r"\d+(?:\.\d+)+\w*", told)
    return found[0] if found else ""
