"""Android: `res/xml/network_security_config.xml`.

https://developer.android.com/privacy-and-security/security-config and, for what that leaves open,
the Android Open Source Project (frameworks/base, android.security.net.config): a domain counts
once, whether subdomains are included or not; the exact name decides, then the longest; subdomains
are those of any depth; a pin may be anywhere in the chain up to the trust anchor; `expiration` is
midnight in the device's time zone, and nothing is pinned from then on. A domain-config without
pins (and inside none that has some) exempts its domain from wider ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..pinfile import HostEntry
from ._conversion import Draft, Reading, located, only_file, pin_file
from ._domains import domains
from ._losses import loss
from ._network_security_config import document, domain_config, read_document

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..pinfile import PinFile
    from ..pinset import Mode
    from ._conversion import Certificates, Files, Loss
    from ._network_security_config import Config

__all__ = ["FILE", "TITLE", "entries", "export", "read"]

TITLE = "Android"
FILE = "network_security_config.xml"


def export(pins: PinFile, certificates: Certificates) -> Draft:
    """Write the configuration; how the system spells IPv6 addresses is not documented."""
    wanted = (domain for domain in domains(pins.rules()) if ":" not in domain.name)
    configs = [domain_config(domain) for domain in wanted]
    files = {FILE: document(configs)}
    return Draft(files, read(files, ()).pins.pin_set())


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
    for name, subdomains in config.domains:
        with located(config.element.file, config.element.line):
            yield HostEntry(
                f"**.{name}" if subdomains else name,
                config.pins,
                expires=config.expires if config.pins else None,
                mode=mode if config.pins else None,
                on_expiry="allow" if config.pins and config.expires else None,
                exclude=not config.pins,
            )
        if config.pins and config.expires:
            losses += [loss("expiry-fails-open", name), loss("expiry-time-zone", name)]
