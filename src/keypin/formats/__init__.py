"""Pins in the forms of other systems: written from a pin file, and read into one.

    FORMATS        every format by name: one module each, with `TITLE`, `export` and `read`
    export_to      a pin file to the files of a format, with the report of what is lost
    import_from    the files of a format to a pin file, likewise
    group_losses   what is lost, those of the same kind together

A format to add is a module and a line in `FORMATS`.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

from ..pinfile.fields import STARTTLS_PORTS
from ._conversion import Certificate, Direction, Draft, FormatError, Loss, Reading
from ._losses import LOSSES, LossGroup, differences, group_losses, loss

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..pinfile import PinEntry, PinFile
    from ._conversion import Certificates, Files

__all__ = [
    "FORMATS",
    "LOSSES",
    "Certificate",
    "Direction",
    "Export",
    "Format",
    "FormatError",
    "Import",
    "Loss",
    "LossGroup",
    "export_to",
    "group_losses",
    "import_from",
]


class _Module(Protocol):
    """What the module of a format has."""

    TITLE: str

    def export(self, pins: PinFile, certificates: Certificates) -> Draft:
        """Write a pin file."""
        ...

    def read(self, files: Files, hosts: Sequence[str]) -> Reading:
        """Read the files of the format."""
        ...


@dataclass(frozen=True, slots=True)
class Format:
    """A format.

    Args:
        module: which of this package writes and reads it.
        words: what it is, for lists.
        is_folder: whether it is several files.
        takes_all: the ending of files that count if they are beside those that were written, too.
        says_ports: whether it tells the port of a host's server.
    """

    module: str
    words: str
    is_folder: bool = False
    takes_all: str | None = None
    says_ports: bool = False


FORMATS = {
    "android": Format("android", "Android's res/xml/network_security_config.xml"),
    "ios": Format("ios", "Apple's NSPinnedDomains in Info.plist"),
    "trustkit-ios": Format("trustkit_ios", "TrustKit for iOS, in Info.plist"),
    "trustkit-android": Format("trustkit_android", "TrustKit for Android, in the same as android"),
    "okhttp": Format("okhttp", "OkHttp's CertificatePinner, in Kotlin"),
    "okhttp-java": Format("okhttp_java", "OkHttp's CertificatePinner, in Java"),
    "cordova": Format(
        "cordova", "certificate files for Cordova's advanced-http", is_folder=True, takes_all=".cer"
    ),
    "curl": Format("curl", "curl --pinnedpubkey, a command for each host"),
    "hpkp": Format("hpkp", "the header Public-Key-Pins (RFC 7469), one for each host"),
    "tlsa": Format("tlsa", "DANE's TLSA records (RFC 6698), for zone files", says_ports=True),
    "chromium": Format("chromium", "Chromium's static pins and their keys", is_folder=True),
    "python": Format("python", "a Python module that needs no keypin"),
    "mobilefirst": Format("mobilefirst", "certificate files and calls", is_folder=True),
}


@dataclass(frozen=True, slots=True)
class Export:
    """What is to be written, if the losses are accepted.

    Attributes:
        files: contents by name; names are relative, with `/` between their parts.
        losses: those towards less safety first.
    """

    files: Mapping[str, bytes]
    losses: tuple[Loss, ...]


@dataclass(frozen=True, slots=True)
class Import:
    """The pin file that was read, if the losses are accepted.

    Attributes:
        pins: what it says.
        losses: those towards less safety first.
    """

    pins: PinFile
    losses: tuple[Loss, ...]


def export_to(name: str, pins: PinFile, certificates: Certificates | None = None) -> Export:
    """Write a pin file in a format.

    The report is made by comparing the rules of the pin file with those that the target goes by,
    for each kind of host that any of these rules can tell from others.

    Args:
        name: one of `FORMATS`.
        pins: the pin file.
        certificates: by their pins; cordova and mobilefirst consist of them, and ios and tlsa learn
            from them which keys are CAs'.

    Raises:
        FormatError: the format cannot say this at all.
    """
    module = _module(name)
    draft = module.export(pins, certificates or {})
    if not any(rule.pins for rule in draft.meaning.rules):
        raise FormatError("none of the hosts can be written in this format")
    losses = [*differences(pins.pin_set(), draft.meaning, module.TITLE), *draft.losses]
    if any(_is_noted(entry, name) for host in pins.hosts for entry in host.pins):
        losses.append(loss("notes-not-carried"))
    if not FORMATS[name].says_ports:
        losses += [
            loss("port-left-out", host.name, target=module.TITLE, port=port)
            for host in pins.hosts
            if (port := host.port or STARTTLS_PORTS.get(host.starttls or ""))
        ]
    return Export(draft.files, _in_order(losses))


def import_from(name: str, files: Files, hosts: Sequence[str] = ()) -> Import:
    """Read the files of a format.

    Args:
        name: one of `FORMATS`.
        files: contents by name; one, or those of a folder if `Format.is_folder`.
        hosts: patterns of the hosts to pin, for formats that name none: cordova, mobilefirst, hpkp.

    Raises:
        FormatError: they say something that is not known, or not what the format says.
    """
    reading = _module(name).read(files, hosts)
    return Import(reading.pins, _in_order(reading.losses))


def _module(name: str) -> _Module:
    if name not in FORMATS:
        raise FormatError(f"no such format: {name!r}; there are {', '.join(FORMATS)}")
    return cast("_Module", import_module(f".{FORMATS[name].module}", __name__))


def _is_noted(entry: PinEntry, name: str) -> bool:
    """Whether more is known of a key than a format keeps."""
    if entry.key or entry.not_before or entry.role != "active":
        return True
    return entry.authority == "own" or (entry.authority is not None and name not in ("ios", "tlsa"))


def _in_order(losses: Sequence[Loss]) -> tuple[Loss, ...]:
    order = list(Direction)
    return tuple(sorted(dict.fromkeys(losses), key=lambda each: order.index(each.direction)))
