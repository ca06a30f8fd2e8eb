"""Whose a host is: public suffixes, and services that renew their certificates as they please.

The list of public suffixes is Mozilla's (publicsuffix.org) as the package `publicsuffixlist` brings
it along; nothing is fetched.
"""

from __future__ import annotations

import ipaddress
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from publicsuffixlist import PublicSuffixList

__all__ = ["PROVIDERS", "provider_of", "registry_suffix", "shared_suffix"]

PROVIDERS = {
    # what the lists of public suffixes leave out, as far as the provider itself advises against
    # pinning its certificates: where that is written
    "amazonaws.com": "docs.aws.amazon.com/acm/latest/userguide/acm-bestpractices.html",
    "amazonaws.com.cn": "docs.amazonaws.cn/en_us/acm/latest/userguide/acm-bestpractices.html",
    "azure.com": "learn.microsoft.com/azure/security/fundamentals/certificate-pinning",
    "azure.net": "learn.microsoft.com/azure/security/fundamentals/certificate-pinning",
    "microsoftonline.com": "learn.microsoft.com/azure/security/fundamentals/certificate-pinning",
    "stripe.com": "docs.stripe.com/tls-certificates",
    "windows.net": "learn.microsoft.com/azure/security/fundamentals/certificate-pinning",
}


def registry_suffix(domain: str) -> bool:
    """Whether a domain is one below which a registry lets anybody register, such as co.uk."""
    if _is_address(domain) or "." not in domain:
        return False
    return bool(_icann().publicsuffix(domain) == domain)


def shared_suffix(host: str) -> str | None:
    """The domain of a service below which strangers have hosts, if a host is such or is below it.

    >>> shared_suffix("shop.github.io")
    'github.io'
    """
    if _is_address(host):
        return None
    suffix: str | None = _all().publicsuffix(host)
    if suffix is None or suffix == _icann().publicsuffix(host):
        return None
    return suffix


def provider_of(host: str) -> str | None:
    """Which of the `PROVIDERS` a host belongs to."""
    domain = host
    while domain:
        if domain in PROVIDERS:
            return domain
        _, _, domain = domain.partition(".")
    return None


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


@cache
def _all() -> PublicSuffixList:
    from publicsuffixlist import PublicSuffixList

    return PublicSuffixList()


@cache
def _icann() -> PublicSuffixList:
    from publicsuffixlist import PublicSuffixList

    return PublicSuffixList(only_icann=True)
