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

from ._conversion import Draft, Reading, only_file, pin_file
from ._domains import domains
from ._losses import loss
from ._network_security_config import document, domain_config, read_document
from ._trustkit import FEWEST, is_known, refuse_a_single_pin, unknown, without_unknown
from .android import FILE, entries, local_midnights

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..pinfile import HostEntry, PinFile
    from ._conversion import Certificates, Files, FormatError, Loss
    from ._domains import Domain
    from ._network_security_config import Config

__all__ = ["TITLE", "export", "read"]

TITLE = "TrustKit for Android"
ONE_DOMAIN = "several <domain>: of these, TrustKit takes the last only; give each its own"


def export(pins: PinFile, certificates: Certificates) -> Draft:
    """Write the configuration."""
    wanted, left_out = without_unknown(domains(pins.rules()), "android", TITLE)
    refuse_a_single_pin(wanted)
    configs = [domain_config(domain, _settings(domain)) for domain in wanted]
    files = {FILE: document(configs)}
    reported = [domain for domain in wanted if domain.pins and not domain.enforce]
    return Draft(
        files,
        read(files, ()).pins.pin_set(),
        (
            *left_out,
            *(loss("system-enforces", domain.name, target=TITLE) for domain in reported),
            *local_midnights(wanted, TITLE),
        ),
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
    unclear: dict[str, FormatError | None] = {}
    for config in configs:
        enforces = _enforces(config, losses)
        _refuse_what_throws(config, enforces)
        _refuse_what_is_read_in_two_ways(config)
        made = list(entries(config, losses, None if enforces else "report"))
        losses += _of_names(config, enforces)
        unclear.update((entry.name, _unclear(config, entry.name)) for entry in made)
        found += made
    pins = pin_file(found)
    for entry in pins.hosts:
        error = unclear[entry.name]
        if entry.exclude and error is not None:
            raise error
    return Reading(pins, tuple(losses))


def _refuse(config: Config, text: str) -> FormatError:
    return config.element.refuse(f"{config.domains[-1].text}: {text}")


def _unclear(config: Config, name: str) -> FormatError | None:
    """Tell why only Android would exempt a domain from wider ones."""
    if not config.has_pin_set:
        return _refuse(
            config,
            "has no <pin-set>: Android exempts the domain from wider ones, TrustKit does not; write"
            " an empty <pin-set> for the first",
        )
    if name.rpartition("*.")[2] != config.domains[-1].text:
        return _refuse(config, ONE_DOMAIN)
    return None


def _refuse_what_throws(config: Config, enforces: bool) -> None:
    """Refuse what TrustKit throws over when the app starts."""
    if config.has_pin_set and enforces and len(config.pins) < FEWEST:
        raise _refuse(
            config,
            "TrustKit refuses to start with fewer than two pins where"
            ' they are enforced: add a backup; or enforcePinning="false" where there is none',
        )


def _refuse_what_is_read_in_two_ways(config: Config) -> None:
    if not config.pins:
        return
    for name in config.domains:
        if name.element.attributes.get("includeSubdomains") in ("0", "1"):
            raise name.element.refuse(
                "includeSubdomains is a number: 1 is true for Android, not for TrustKit; write it"
            )
    if len(config.domains) > 1:
        raise _refuse(config, ONE_DOMAIN)
    [name] = config.domains
    if name.element.padded:
        raise name.element.refuse(
            f"white space around {name.text}: Android takes it away, TrustKit throws when the app"
            " starts"
        )
    if name.text != name.element.text:
        raise name.element.refuse(
            f"{name.element.text!r:.80} is compared with case by TrustKit: write {name.text}"
        )
    wider = config.parent
    while wider is not None:
        if config.domains[0].subdomains is None and wider.domains[-1].subdomains:
            raise _refuse(
                config,
                "<domain> without includeSubdomains inside one that has it true: Android takes it"
                " for false, TrustKit for true; write it",
            )
        if config.expires is None and wider.expires is not None:
            raise _refuse(
                config,
                "<pin-set> without expiration inside one that has it: Android takes it for none,"
                " TrustKit for that of the outer one; give the domain a domain-config of its own",
            )
        wider = wider.parent


def _of_names(config: Config, enforces: bool) -> list[Loss]:
    if not config.pins:
        return []
    name = config.domains[0]
    losses = []
    if not enforces:
        losses.append(loss("enforcement-not-carried", name.text, target=TITLE))
    if not is_known(name.text, bool(name.subdomains), "android"):
        losses.append(unknown(name.text, TITLE, "read all the same"))
    return losses


def _enforces(config: Config, losses: list[Loss]) -> bool:
    """Whether TrustKit enforces: the nearest element that says so counts."""
    own = config.trustkit
    if own is not None and own.children and config.pins:
        losses.append(loss("report-uri-not-carried", config.domains[0].text))
    nearest: Config | None = config
    while nearest is not None and nearest.trustkit is not None:
        said = nearest.trustkit.boolean("enforcePinning")
        if said is not None:
            return said
        nearest = nearest.parent
    return False
