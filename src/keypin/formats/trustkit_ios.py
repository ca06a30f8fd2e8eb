"""TrustKit for iOS: TSKConfiguration in Info.plist.

https://github.com/datatheorem/TrustKit, parse_configuration.m, configuration_utils.m and
TSKPinningValidator.m: the exact name decides, then the longest that includes subdomains, of any
depth; pinning is enforced unless TSKEnforcePinning is false; it ends, in UTC, with
TSKExpirationDate; fewer than two pins are refused when the app starts, if they are enforced, and
so are names that are not below a public suffix, and public suffixes with TSKIncludeSubdomains.
kSKExcludeSubdomainFromParentPolicy, which the documentation spells with a T in front and the source
does not, exempts one name, not what is below it, and may stand only where a wider entry includes
it. Reports go to the maker of TrustKit
unless TSKDisableDefaultReportUri is true. On macOS, CAs that the user added are exempt unless
TSKIgnorePinningForUserDefinedTrustAnchors is false.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ..hostnames import normalise
from ..pinfile import HostEntry
from ._conversion import Draft, FormatError, Reading, only_file, pin_file, without_wildcard
from ._domains import domains, first_date_after
from ._losses import loss
from ._plist import dump, load
from ._trustkit import is_known, refuse_a_single_pin, unknown, without_unknown

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ..pinfile import PinFile
    from ._conversion import Certificates, Files, Loss
    from ._domains import Domain
    from ._plist import Table

__all__ = ["TITLE", "export", "read"]

TITLE = "TrustKit for iOS"
FILE = "Info.plist"
EXCLUDE = "kSKExcludeSubdomainFromParentPolicy"
DOCUMENTED_EXCLUDE = "TSKExcludeSubdomainFromParentPolicy"
SUBDOMAINS, ENFORCE, PINS = "TSKIncludeSubdomains", "TSKEnforcePinning", "TSKPublicKeyHashes"
EXPIRES, REPORT_URIS = "TSKExpirationDate", "TSKReportUris"
NO_DEFAULT_REPORT = "TSKDisableDefaultReportUri"
SWIZZLE, USER_ANCHORS = "TSKSwizzleNetworkDelegates", "TSKIgnorePinningForUserDefinedTrustAnchors"
# TSKPublicKeyAlgorithms is of versions before 1.6 and has no meaning left
KEYS = (
    SUBDOMAINS,
    ENFORCE,
    PINS,
    EXPIRES,
    REPORT_URIS,
    NO_DEFAULT_REPORT,
    "TSKPublicKeyAlgorithms",
)


def export(pins: PinFile, certificates: Certificates) -> Draft:
    """Write the part of Info.plist that pins."""
    wanted, left_out = without_unknown(domains(pins.rules()), "ios", TITLE)
    refuse_a_single_pin(wanted)
    pinned = {
        domain.name: _entry(domain)
        for domain in wanted
        if domain.pins or _is_included(domain.name, wanted)
    }
    configuration = {SWIZZLE: False, USER_ANCHORS: False, "TSKPinnedDomains": pinned}
    files = {FILE: dump({"TSKConfiguration": configuration})}
    return Draft(files, read(files, ()).pins.pin_set(), tuple(left_out))


def _is_included(name: str, wanted: Iterable[Domain]) -> bool:
    return any(
        wider.pins and wider.subdomains and name.endswith("." + wider.name) for wider in wanted
    )


def _entry(domain: Domain) -> dict[str, Any]:
    if not domain.pins:
        return {EXCLUDE: True}
    entry: dict[str, Any] = {
        SUBDOMAINS: domain.subdomains,
        ENFORCE: domain.enforce,
        NO_DEFAULT_REPORT: True,
        PINS: [str(pin).removeprefix("sha256/") for pin in domain.pins],
    }
    if domain.fails_open is not None:
        expires = first_date_after(domain.fails_open, device_time=False)
        if expires is not None:
            entry[EXPIRES] = expires.isoformat()
    return entry


def read(files: Files, hosts: Sequence[str]) -> Reading:
    """Read an Info.plist, or a part of one that has TSKPinnedDomains in it."""
    root = load(*only_file(files))
    configuration = root.table("TSKConfiguration") or root
    pinned = configuration.table("TSKPinnedDomains")
    if pinned is None:
        raise root.refuse("no TSKConfiguration > TSKPinnedDomains")
    if configuration is not root:
        configuration.expect((SWIZZLE, USER_ANCHORS, "TSKPinnedDomains"))
    losses: list[Loss] = []
    found = [_host(name, entry, losses) for name, entry in pinned.tables()]
    return Reading(pin_file(found), tuple(losses))


def _host(name: str, entry: Table, losses: list[Loss]) -> HostEntry:
    with entry.located():
        without_wildcard(name, f"; {SUBDOMAINS} is for that")
        if (plain := normalise(name)) != name:
            raise FormatError(f"{TITLE} compares names letter by letter: write {plain}")
    if DOCUMENTED_EXCLUDE in entry.values:
        raise entry.refuse(
            f"TrustKit does not know it, whatever its documentation says: the constant in its"
            f" source is {EXCLUDE}",
            DOCUMENTED_EXCLUDE,
        )
    subdomains = entry.boolean(SUBDOMAINS, False)
    if not is_known(name, subdomains, "ios"):
        losses.append(unknown(name, TITLE, "read all the same"))
    if entry.boolean(EXCLUDE, False):
        entry.expect((EXCLUDE,))
        with entry.located():
            return HostEntry(name, exclude=True)
    entry.expect((*KEYS, EXCLUDE))
    expires = _expires(entry)
    if expires is not None:
        losses.append(loss("expiry-fails-open", name))
    if entry.strings(REPORT_URIS):
        losses.append(loss("report-uri-not-carried", name))
    pins = [entry.pin(text, PINS, index) for index, text in enumerate(entry.strings(PINS))]
    with entry.located():
        return HostEntry(
            f"**.{name}" if subdomains else name,
            dict.fromkeys(pins),
            expires=expires,
            on_expiry=None if expires is None else "allow",
            mode=None if entry.boolean(ENFORCE, True) else "report",
        )


def _expires(entry: Table) -> datetime | None:
    text = entry.values.get(EXPIRES)
    if text is None:
        return None
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except (TypeError, ValueError):
        raise entry.refuse(f"a date, 2027-06-01, not {text!r:.40}", EXPIRES) from None
