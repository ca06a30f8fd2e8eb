"""Certificates on a page: a number, the subject, and labelled lines below."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .output import PASTED

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from .certificates import Summary
    from .output import Page, Part

__all__ = ["list_certificates", "list_details"]

INDENT = 2
NUMBER_WIDTH = 3
SOON = 30
"""days before a certificate expires from which on that is marked"""


def list_certificates(
    page: Page, certificates: Sequence[Summary], notes: Iterable[str], now: datetime
) -> None:
    """Write certificates, leaf first, each with a note behind its subject.

    Args:
        page: where to.
        certificates: in their order.
        notes: as many; "" for none.
        now: what the time left is counted from.
    """
    issuers = [certificate.subject for certificate in certificates[1:]]
    for number, (certificate, note) in enumerate(zip(certificates, notes, strict=True)):
        page.line()
        page.line(
            (certificate.subject, "bold"),
            f"  ({note})" if note else "",
            indent=INDENT,
            head=f"{number:<{NUMBER_WIDTH}}",
        )
        next_is_issuer = issuers[number : number + 1] == [certificate.issuer]
        list_details(
            page, certificate, now, indent=INDENT + NUMBER_WIDTH, with_issuer=not next_is_issuer
        )


def list_details(
    page: Page, certificate: Summary, now: datetime, *, indent: int, with_issuer: bool = True
) -> None:
    """Write the pin of a certificate, and what is worth knowing beside it."""
    if certificate.pin is not None:
        page.field("pin", (str(certificate.pin), PASTED), indent=indent)
    if certificate.key is not None:
        page.field("key", str(certificate.key), indent=indent)
    if certificate.names:
        page.field("names", ", ".join(map(str, certificate.names)), indent=indent)
    if certificate.self_signed:
        page.field("issuer", "itself (self-signed)", indent=indent)
    elif with_issuer:
        page.field("issuer", certificate.issuer, indent=indent)
    page.field("expires", *_expiry(certificate, now), indent=indent)


def _expiry(certificate: Summary, now: datetime) -> tuple[Part, ...]:
    days, end, begin = certificate.days_left(now), certificate.not_after, certificate.not_before
    if days is None or end is None:
        return ("unknown",)
    day = f"{end:%Y-%m-%d}"
    if begin is not None and begin > now:
        return (day, (f"  not valid before {begin:%Y-%m-%d %H:%M} UTC", "bold red"))
    if days < 0:
        return (day, ("  expired", "bold red"))
    left = "  1 day left" if days == 1 else f"  {days} days left"
    return (day, (left, "yellow" if days < SOON else ""))
