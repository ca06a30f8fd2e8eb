"""TrustKit for Android: the same file as Android's own, with `<trustkit-config>`.

https://github.com/datatheorem/TrustKit-Android, TrustKitConfigurationParser, DomainPinningPolicy
and PinningTrustManager: `enforcePinning` is false unless given; fewer than two pins are refused
when the app starts, if they are enforced; of several `<domain>` in one domain-config only the last
counts; a domain is exempt from a wider one by an empty `<pin-set>`; reports go to the maker of
TrustKit unless `disableDefaultReportUri` is true. From Android 7 on the system enforces the same
file as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._conversion import Draft, FormatError, Reading, only_file, pin_file
from ._domains import domains, is_public_name
from ._losses import loss
from ._network_security_config import document, domain_config, read_document
from .android import FILE, entries

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..pinfile import HostEntry, PinFile
    from ._conversion import Certificates, Files, Loss
    from ._domains import Domain
    from ._network_security_config import Config

__all__ = ["TITLE", "export", "read", "refuse_a_single_pin"]

TITLE = "TrustKit for Android"


def export(pins: PinFile, certificates: Certificates) -> Draft:
    """Write the configuration."""
    wanted = [domain for domain in domains(pins.rules()) if is_public_name(domain.name)]
    refuse_a_single_pin(wanted)
    configs = [domain_config(domain, _settings(domain)) for domain in wanted]
    files = {FILE: document(configs)}
    reported = [domain for domain in wanted if domain.pins and not domain.enforce]
    return Draft(
        files,
        read(files, ()).pins.pin_set(),
        tuple(loss("system-enforces", domain.name, target=TITLE) for domain in reported),
    )


def refuse_a_single_pin(wanted: Sequence[Domain]) -> None:
    """Refuse what TrustKit refuses, on both systems, when the app starts.

    Raises:
        FormatError: an enforced host has one pin.
    """
    for domain in wanted:
        if domain.enforce and len(domain.pins) < 2:
            raise FormatError(
                f"{domain.name} has one pin, and TrustKit refuses to start with fewer than two:"
                " add a backup"
            )


def _settings(domain: Domain) -> str:
    enforce = str(domain.enforce).lower()
    return f"""
        <trustkit-config enforcePinning="{enforce}" disableDefaultReportUri="true" />"""


def read(files: Files, hosts: Sequence[str]) -> Reading:
    """Read a configuration."""
    name, content = only_file(files)
    configs, losses = read_document(content, name)
    found: list[HostEntry] = []
    unclear: dict[str, Config] = {}
    for config in configs:
        _refuse_what_is_read_in_two_ways(config)
        made = list(entries(config, losses, None if _enforces(config, losses) else "report"))
        if not config.has_pin_set:
            unclear.update((entry.name, config) for entry in made)
        found += made
    pins = pin_file(found)
    for entry in pins.hosts:
        if entry.exclude and entry.name in unclear:
            raise unclear[entry.name].element.refuse(
                "has no <pin-set>: Android exempts the domain from wider ones, TrustKit does not;"
                " write an empty <pin-set> for the first"
            )
    return Reading(pins, tuple(losses))


def _refuse_what_is_read_in_two_ways(config: Config) -> None:
    if len(config.domains) > 1:
        raise config.element.refuse(
            "several <domain>: of these, TrustKit pins the last only; give each its own"
        )
    wider = config.parent
    while config.domains[0][1] is None and wider is not None:
        if wider.domains[0][1]:
            raise config.element.refuse(
                "<domain> without includeSubdomains inside one that has it true: Android takes it"
                " for false, TrustKit for true; write it"
            )
        wider = wider.parent


def _enforces(config: Config, losses: list[Loss]) -> bool:
    element = config.trustkit
    if element is None:
        return False
    element.expect(("enforcePinning", "disableDefaultReportUri"), ("report-uri",))
    if element.children:
        losses.append(loss("report-uri-not-carried", config.domains[0][0]))
    return element.boolean("enforcePinning") or False
