"""The clients that the attack lab is run against, each set up as its own documentation says."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

from keypin.lab.presets import (
    LEAF_KEY,
    NO_HTTP2,
    NO_PIN_FILE,
    NO_REDIRECTS,
    ONE_PIN_FOR_ALL,
    PRESETS,
    Preset,
)

__all__ = ["Adapter", "adapters"]

CLIENTS = Path(__file__).parent / "clients"
OWN_CERTIFICATE = ("--client-certificate", "{client_certificate}")

WHOLE_CERTIFICATE = LEAF_KEY | {"backup-pins", "key-pins"}
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
        unclaimed: what it does not claim to do, in the words of the scenarios.
        lacking: what it needs and this machine has not; None if it can be run.
    """

    name: str
    version: str
    about: str
    command: tuple[str, ...]
    own_certificate: tuple[str, ...] = OWN_CERTIFICATE
    has_own_certificate: bool = False
    uses_proxy: bool = True
    unclaimed: frozenset[str] = frozenset()
    lacking: str | None = None


def adapters(folder: Path) -> list[Adapter]:
    """All of them, keypin's first.

    Args:
        folder: where a client is compiled that has to be.
    """
    return [
        *_of_keypin(),
        *_of_python(),
        *_of_presets(folder),
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
            unclaimed=NO_PIN_FILE | ONE_PIN_FOR_ALL,
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
                    unclaimed=LACKS[library],
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
            unclaimed=WHOLE_CERTIFICATE | NO_HTTP2,
        ),
        Adapter(
            "requests-toolbelt FingerprintAdapter",
            version("requests-toolbelt"),
            "the whole certificate",
            (*_python("requests_toolbelt_fingerprint.py"), *certificate),
            unclaimed=WHOLE_CERTIFICATE | NO_HTTP2,
        ),
        Adapter(
            "aiohttp Fingerprint",
            version("aiohttp"),
            "the whole certificate, in place of its verification",
            (*_python("aiohttp_fingerprint.py"), *certificate),
            own_certificate=(),
            unclaimed=WHOLE_CERTIFICATE | NO_HTTP2,
        ),
        Adapter(
            "pycurl PINNEDPUBLICKEY",
            version("pycurl"),
            "the leaf's key, of one handle",
            (*_python("pycurl_pinned.py"), "--curl-pins", "{curl_pins}"),
            unclaimed=LEAF_KEY | NO_REDIRECTS,
        ),
    ]


def _of_presets(folder: Path) -> list[Adapter]:
    """The clients that `keypin lab run --client` knows, too."""
    described = {
        "curl": ("curl --pinnedpubkey", _first_version("curl", "--version")),
        "node": ("Node checkServerIdentity", _first_version("node", "--version")),
        "okhttp": ("OkHttp CertificatePinner", _okhttp_version()),
        "openssl": ("openssl s_client (control)", _first_version("openssl", "version")),
    }
    return [_of_preset(PRESETS[name], *told, folder) for name, told in described.items()]


def _of_preset(preset: Preset, name: str, number: str, folder: Path) -> Adapter:
    lacking = preset.needs()
    ready = preset if lacking else preset.prepared(folder)
    return Adapter(
        name,
        number,
        preset.compares,
        ready.command,
        own_certificate=ready.with_certificate,
        uses_proxy=ready.takes_proxy,
        unclaimed=ready.unclaimed,
        lacking=lacking,
    )


def _okhttp_version() -> str:
    jars = Path("/usr/share/java").glob("okhttp-*.jar")
    found = re.search(r"okhttp-([\d.]+)\.jar", " ".join(map(str, jars)))
    return found[1] if found else ""


def _missing(program: str) -> str | None:
    return None if shutil.which(program) else program


@cache
def _first_version(*command: str) -> str:
    if _missing(command[0]):
        return ""
    told = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
    found = re.search(r"\d+(?:\.\d+)+\w*", told)
    return found[0] if found else ""
