"""Android's network_security_config.xml, which TrustKit for Android extends: read and written.

Elements and attributes: https://developer.android.com/privacy-and-security/security-config, and
XmlConfigSource.java of the Android Open Source Project, which reads them.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING, NamedTuple

from ..errors import HostnameError, PinFormatError
from ..hostnames import normalise
from ._base64 import read_pin
from ._conversion import FormatError
from ._domains import first_date_after
from ._losses import loss
from ._xml import escape, parse, quoteattr

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ..pin import Pin
    from ._conversion import Loss
    from ._domains import Domain
    from ._xml import Element

__all__ = ["Config", "Name", "document", "domain_config", "is_matched", "read_document"]

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
# SimpleDateFormat("yyyy-MM-dd"), not lenient: any number of digits, and nothing behind is looked at
A_DATE = re.compile(r"([0-9]+)-([0-9]+)-([0-9]+)")


class Name(NamedTuple):
    """A <domain>.

    Attributes:
        text: as Android compares it.
        subdomains: None where nothing is said.
        element: where it stands.
    """

    text: str
    subdomains: bool | None
    element: Element


class Config(NamedTuple):
    """What a domain-config says, with what it inherits.

    Attributes:
        element: where it stands.
        domains: at least one.
        has_pin_set: whether it has a pin-set, be it empty, or inherits one.
        pins: empty for none.
        expires: in UTC, the last midnight of that date anywhere.
        trustkit: the nearest trustkit-config.
        parent: the domain-config around it.
        anchors: the trust-anchors that hold for it.
        transparency: the certificateTransparency that holds for it.
    """

    element: Element
    domains: tuple[Name, ...]
    has_pin_set: bool
    pins: tuple[Pin, ...]
    expires: datetime | None
    trustkit: Element | None
    parent: Config | None
    anchors: Element | None
    transparency: Element | None


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
    for name in ("base-config", "debug-overrides"):
        for second in _all(root, name)[1:]:
            raise second.refuse("a second one")
    losses: list[Loss] = []
    base, debug = _one(root, "base-config"), _one(root, "debug-overrides")
    if base is not None:
        base.expect(CONFIG_ATTRIBUTES, ("trust-anchors", "certificateTransparency"))
        losses += _cleartext(base, None)
    if debug is not None:
        losses.append(loss("debug-overrides-not-carried"))
    configs: list[Config] = []
    names: dict[str, int] = {}
    for child in _all(root, "domain-config"):
        _read_config(child, None, base, configs, names)
    for config in configs:
        losses += _settings(config, base)
    return configs, losses


def _read_config(
    element: Element,
    parent: Config | None,
    base: Element | None,
    configs: list[Config],
    names: dict[str, int],
) -> None:
    element.expect(CONFIG_ATTRIBUTES, CONFIG_CHILDREN)
    domains = tuple(_read_domain(child, names) for child in _all(element, "domain"))
    if not domains:
        raise element.refuse("names no <domain>")
    pin_set, trustkit = _one(element, "pin-set"), _one(element, "trustkit-config")
    if trustkit is not None:
        trustkit.expect(("enforcePinning", "disableDefaultReportUri"), ("report-uri",))
    if pin_set is not None:
        pins, expires = _read_pin_set(pin_set, domains[0].text)
    else:
        pins, expires = (parent.pins, parent.expires) if parent else ((), None)
    if trustkit is None and parent is not None:
        trustkit = parent.trustkit
    config = Config(
        element,
        domains,
        pin_set is not None or (parent is not None and parent.has_pin_set),
        pins,
        expires,
        trustkit,
        parent,
        _nearest("trust-anchors", element, parent and parent.anchors, base),
        _nearest("certificateTransparency", element, parent and parent.transparency, base),
    )
    configs.append(config)
    for child in _all(element, "domain-config"):
        _read_config(child, config, base, configs, names)


def _nearest(
    name: str, element: Element, inherited: Element | None, base: Element | None
) -> Element | None:
    own = _one(element, name)
    return own or inherited or (base and _one(base, name))


def _all(element: Element, name: str) -> list[Element]:
    return [child for child in element.children if child.name == name]


def _one(element: Element, name: str) -> Element | None:
    found = _all(element, name)
    if len(found) > 1:
        raise found[1].refuse(f"a second one in this <{element.name}>")
    return found[0] if found else None


def _read_domain(element: Element, names: dict[str, int]) -> Name:
    element.expect(("includeSubdomains",), text=True)
    name = element.single_text().lower()
    if not name:
        raise element.refuse("not a host name: it is empty")
    if name in names:
        raise element.refuse(
            f"{name!r:.80} stands on line {names[name]} already, and Android refuses a file that"
            " has a domain twice, whatever includeSubdomains says"
        )
    names[name] = element.line
    return Name(name, element.boolean("includeSubdomains", numbers=True), element)


def is_matched(name: str) -> bool:
    """Whether Android ever finds a host for a <domain>: it compares the text, without a dot behind.

    Hosts come in ASCII there, and without a wildcard.
    """
    try:
        return normalise(name) == name
    except HostnameError:
        return False


def _read_pin_set(element: Element, host: str) -> tuple[tuple[Pin, ...], datetime | None]:
    element.expect(("expiration",), ("pin",))
    pins = []
    for child in element.children:
        child.expect(("digest",), text=True)
        if child.attributes.get("digest", "").lower() != "sha-256":
            raise child.refuse(f'{host}: digest is "SHA-256", the only one that there is')
        try:
            pins.append(read_pin(child.single_text()))
        except PinFormatError as error:
            raise FormatError(f"{host}: {error}", child.file, child.line) from None
    text = element.attributes.get("expiration")
    if text is None:
        return tuple(dict.fromkeys(pins)), None
    try:
        match = A_DATE.match(text)
        day = date(*map(int, match.groups() if match else ()))
    except (TypeError, ValueError, OverflowError):
        raise element.refuse(
            f"{host}: expiration is a date, 2027-06-01, not {text[:40]!r}"
        ) from None
    return tuple(dict.fromkeys(pins)), datetime.combine(day, time(12), UTC)


def _cleartext(element: Element, host: str | None) -> Iterator[Loss]:
    if element.attributes.keys() & set(CONFIG_ATTRIBUTES):
        yield loss("cleartext-not-carried", host)


def _settings(config: Config, base: Element | None) -> Iterator[Loss]:
    """What is set beside the pins; of no account where there are none."""
    if not config.pins:
        return
    host = config.domains[0].text
    yield from _cleartext(config.element, host)
    if ignored := list(_ignored(config.element)):
        yield loss("attribute-without-meaning", host, names=ignored)
    if config.anchors is not None:
        where = None if _is_of(base, config.anchors) else host
        yield from _anchors(config.anchors, where)
    if config.transparency is not None:
        config.transparency.expect(("enabled",))
        if config.transparency.boolean("enabled", numbers=True):
            where = None if _is_of(base, config.transparency) else host
            yield loss("transparency-not-carried", where)


def _ignored(element: Element) -> Iterator[str]:
    """The attributes of a domain-config, and of what is in it, that mean nothing."""
    for name in element.ignored:
        yield f"{name} of <{element.name}>"
    for child in element.children:
        if child.name != "domain-config":
            yield from _ignored(child)


def _is_of(base: Element | None, element: Element) -> bool:
    return base is not None and any(child is element for child in base.children)


def _anchors(element: Element, host: str | None) -> Iterator[Loss]:
    element.expect((), ("certificates",))
    sources = [child.attributes.get("src", "") for child in element.children]
    restricted = "system" not in sources
    yield loss("trust-anchors-restricted" if restricted else "trust-anchors-not-carried", host)
    exempt = [
        source
        for source, child in zip(sources, element.children, strict=True)
        if child.boolean("overridePins", numbers=True)
    ]
    if exempt:
        yield loss("anchor-overrides-pins", host, sources=exempt)
