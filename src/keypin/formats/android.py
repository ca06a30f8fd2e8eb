"""Android: `res/xml/network_security_config.xml`.

https://developer.android.com/privacy-and-security/security-config and, for what that leaves open,
the Android Open Source Project (frameworks/base, android.security.net.config): a domain counts
once, whether subdomains are included or not, and is compared as it is written, so that a name in
Unicode, with a dot behind or with a wildcard never matches; the exact name decides, then the
longest; subdomains are those of any depth; a pin may be anywhere in the chain up to the trust
anchor; `expiration` is midnight in the device's time zone, and nothing is pinned from then on. A
domain-config without pins (and inside none that has some) exempts its domain from wider ones.

A date is taken for the moment at which it has begun in the last time zone, 12:00 UTC, so that
nothing lapses here before it does there; that moment is written as this date again.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from ..errors import HostnameError
from ..hostnames import normalise
from ..pinfile import HostEntry
from ._conversion import Draft, FormatError, Reading, located, only_file, pin_file, without_wildcard
from ._domains import domains, has_begun_everywhere, is_name
from ._losses import loss
from ._network_security_config import document, domain_config, is_matched, read_document

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ..pinfile import PinFile
    from ..pinset import Mode
    from ._conversion import Certificates, Files, Loss
    from ._domains import Domain
    from ._network_security_config import Config, Name

__all__ = ["FILE", "TITLE", "entries", "export", "local_midnights", "read"]

TITLE = "Android"
FILE = "network_security_config.xml"


def export(pins: PinFile, certificates: Certificates) -> Draft:
    """Write the configuration; how the system spells IPv6 addresses is not documented."""
    wanted = [domain for domain in domains(pins.rules()) if ":" not in domain.name]
    configs = [domain_config(domain) for domain in wanted]
    files = {FILE: document(configs)}
    return Draft(files, read(files, ()).pins.pin_set(), tuple(local_midnights(wanted, TITLE)))


def local_midnights(wanted: Iterable[Domain], title: str) -> Iterator[Loss]:
    """Tell which pins lapse before the moment for which their date was taken."""
    for domain in wanted:
        moment = domain.fails_open
        if moment is not None and has_begun_everywhere(moment):
            name = "expires-at-local-midnight"
            yield loss(name, domain.name, target=title, date=moment.date())


def read(files: Files, hosts: Sequence[str]) -> Reading:
    """Read a configuration."""
    name, content = only_file(files)
    configs, losses = read_document(content, name)
    found: list[HostEntry] = []
    for config in configs:
        if config.trustkit is not None:
            raise config.trustkit.refuse("TrustKit's: import it as trustkit-android")
        found += entries(config, losses)
    return Reading(pin_file(found), tuple(losses))


def entries(config: Config, losses: list[Loss], mode: Mode | None = None) -> Iterator[HostEntry]:
    """Make the hosts of a domain-config."""
    for name in config.domains:
        if not config.pins:
            yield from _exempt(name)
            continue
        with located(name.element.file, name.element.line):
            yield HostEntry(
                _pattern(name, losses),
                config.pins,
                expires=config.expires,
                mode=mode,
                on_expiry="allow" if config.expires else None,
            )
        if config.expires:
            losses += [loss("expiry-fails-open", name.text), loss("expiry-time-zone", name.text)]


def _exempt(name: Name) -> Iterator[HostEntry]:
    """Exempt a domain from wider ones, of which names that are no pattern here have none."""
    with suppress(HostnameError):
        if is_matched(name.text):
            yield HostEntry(f"**.{name.text}" if name.subdomains else name.text, exclude=True)


def _pattern(name: Name, losses: list[Loss]) -> str:
    without_wildcard(name.text, "; includeSubdomains is for that")
    if not is_matched(name.text):
        plain = normalise(name.text)
        raise FormatError(f"{name.text!r:.80} never matches a host on Android: write {plain}")
    if not name.subdomains or not is_name(name.text):
        return name.text  # nothing is below an address
    if "." not in name.text:
        where = f"hosts below {name.text}"
        losses.append(loss("host-unpinned", name.text, target="a pin file", where=where))
        return name.text
    return f"**.{name.text}"
