"""Android's network_security_config.xml, which TrustKit for Android extends: read and written.

Elements and attributes: https://developer.android.com/privacy-and-security/security-config, and
XmlConfigSource.java of the Android Open Source Project, which reads them.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING, NamedTuple

from ..pin import Pin
from ._conversion import located, without_wildcard
from ._domains import first_date_after
from ._losses import loss
from ._xml import escape, parse, quoteattr

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ._conversion import Loss
    from ._domains import Domain
    from ._xml import Element

__all__ = ["Config", "document", "domain_config", "read_document"]

# XmlConfigSource reads Android's own attribute, which is documented nowhere, and so do others
CONFIG_ATTRIBUTES = ("cleartextTrafficPermitted", "hstsEnforced")
CONFIG_CHILDREN = (
    "domain",
    "domain-config",
    "pin-set",
    "trust-anchors",
    "certificateTransparency",
    "trustkit-config",
)
ISO_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


class Config(NamedTuple):
    """What a domain-config says, with what it inherits.

    Attributes:
        element: where it stands.
        domains: name, and whether subdomains are included; None where nothing is said.
        has_pin_set: whether it has a pin-set, be it empty, or inherits one.
        pins: empty for none.
        expires: in UTC, the last midnight of that date anywhere.
        trustkit: the nearest trustkit-config.
    """

    element: Element
    domains: tuple[tuple[str, bool | None], ...]
    has_pin_set: bool
    pins: tuple[Pin, ...]
    expires: datetime | None
    trustkit: Element | None
    parent: Config | None


def document(configs: Iterable[str]) -> bytes:
    """Put domain-configs together."""
    lines = "\n".join(configs)
    text = f"""<?xml version="1.0" encoding="utf-8"?>
<!-- Written by keypin export: change the pin file instead. -->
<network-security-config>
{lines}
</network-security-config>
"""
    return text.encode()


def domain_config(domain: Domain, more: str = "") -> str:
    """Write one domain; its pins are left to expire only where the rule has them fail open.

    Args:
        domain: without pins it is exempt from wider ones.
        more: further elements.
    """
    moment = domain.fails_open
    expires = None if moment is None else first_date_after(moment, device_time=True)
    expiration = "" if expires is None else f" expiration={quoteattr(expires.isoformat())}"
    pins = "".join(
        f'\n            <pin digest="SHA-256">{_base64(pin)}</pin>' for pin in domain.pins
    )
    if pins:
        pins += "\n        "
    flag = str(domain.subdomains).lower()
    return f"""    <domain-config>
        <domain includeSubdomains="{flag}">{escape(domain.name)}</domain>
        <pin-set{expiration}>{pins}</pin-set>{more}
    </domain-config>"""


def _base64(pin: Pin) -> str:
    return str(pin).removeprefix("sha256/")


def read_document(content: bytes, file: str) -> tuple[list[Config], list[Loss]]:
    """Read a document.

    Raises:
        FormatError: it says anything that is not known, or that Android refuses.
    """
    root = parse(content, file)
    if root.name != "network-security-config":
        raise root.refuse("not an Android network security configuration")
    root.expect((), ("base-config", "domain-config", "debug-overrides"))
    losses: list[Loss] = []
    configs: list[Config] = []
    for name in ("base-config", "debug-overrides"):
        for second in [child for child in root.children if child.name == name][1:]:
            raise second.refuse("a second one")
    for child in root.children:
        if child.name == "domain-config":
            _read_config(child, None, configs, losses)
        elif child.name == "base-config":
            child.expect(CONFIG_ATTRIBUTES, ("trust-anchors", "certificateTransparency"))
            losses += _settings(child, None)
        else:
            losses.append(loss("debug-overrides-not-carried"))
    return configs, losses


def _read_config(
    element: Element, parent: Config | None, configs: list[Config], losses: list[Loss]
) -> None:
    element.expect(CONFIG_ATTRIBUTES, CONFIG_CHILDREN)
    domains = tuple(_read_domain(child) for child in _all(element, "domain"))
    if not domains:
        raise element.refuse("names no <domain>")
    pin_set, trustkit = _one(element, "pin-set"), _one(element, "trustkit-config")
    if pin_set is not None:
        pins, expires = _read_pin_set(pin_set)
    else:
        pins, expires = (parent.pins, parent.expires) if parent else ((), None)
    if trustkit is None and parent is not None:
        trustkit = parent.trustkit
    has_pin_set = pin_set is not None or (parent is not None and parent.has_pin_set)
    config = Config(element, domains, has_pin_set, pins, expires, trustkit, parent)
    configs.append(config)
    losses += _settings(element, domains[0][0])
    for child in _all(element, "domain-config"):
        _read_config(child, config, configs, losses)


def _all(element: Element, name: str) -> list[Element]:
    return [child for child in element.children if child.name == name]


def _one(element: Element, name: str) -> Element | None:
    found = _all(element, name)
    if len(found) > 1:
        raise found[1].refuse(f"a second one in this <{element.name}>")
    return found[0] if found else None


def _read_domain(element: Element) -> tuple[str, bool | None]:
    element.expect(("includeSubdomains",), text=True)
    with located(element.file, element.line):
        without_wildcard(element.text, "; includeSubdomains is for that")
    return element.text, element.boolean("includeSubdomains")


def _read_pin_set(element: Element) -> tuple[tuple[Pin, ...], datetime | None]:
    element.expect(("expiration",), ("pin",))
    pins = []
    for child in element.children:
        child.expect(("digest",), text=True)
        if child.attributes.get("digest") != "SHA-256":
            raise child.refuse('digest is "SHA-256", the only one that there is')
        with located(child.file, child.line):
            pins.append(Pin("sha256/" + child.text))
    text = element.attributes.get("expiration")
    if text is None:
        return tuple(dict.fromkeys(pins)), None
    try:
        day = date.fromisoformat(text if ISO_DATE.fullmatch(text) else "")
    except ValueError:
        raise element.refuse(f"expiration is a date, 2027-06-01, not {text[:40]!r}") from None
    return tuple(dict.fromkeys(pins)), datetime.combine(day, time(12), UTC)


def _settings(element: Element, host: str | None) -> list[Loss]:
    losses = []
    if element.attributes.keys() & set(CONFIG_ATTRIBUTES):
        losses.append(loss("cleartext-not-carried", host))
    anchors = _one(element, "trust-anchors")
    if anchors is not None:
        anchors.expect((), ("certificates",))
        sources = {child.attributes.get("src") for child in anchors.children}
        restricted = "system" not in sources
        name = "trust-anchors-restricted" if restricted else "trust-anchors-not-carried"
        losses.append(loss(name, host))
    transparency = _one(element, "certificateTransparency")
    if transparency is not None:
        transparency.expect(("enabled",))
        if transparency.boolean("enabled"):
            losses.append(loss("transparency-not-carried", host))
    return losses
