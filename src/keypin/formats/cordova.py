"""Cordova: DER files in www/certificates for cordova-plugin-advanced-http, and the call.

https://github.com/silkimen/cordova-plugin-advanced-http, README (setServerTrustMode),
CordovaServerTrust.java and SM_AFSecurityPolicy.m: in the mode "pinned" every `.cer` file in
www/certificates counts, for every host. On Android these become the only CAs, in the place of the
system's; on iOS the chain must verify and hold one of the certificates, compared as a whole. A
mismatch is refused, always.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._certificate_list import chosen, meaning, read_certificates
from ._conversion import Draft, Reading
from ._losses import loss

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..pinfile import PinFile
    from ._conversion import Certificates, Files

__all__ = ["TITLE", "export", "read"]

TITLE = "the Cordova plugin"
FOLDER = "www/certificates"
SCRIPT = "www/js/pinning.js"
CODE = """// Written by keypin export cordova: change the pin file instead.
// Pins hold from the first onPinned() on: make no request before it, and none after onFailure().

function pinServers(onPinned, onFailure) {
  cordova.plugin.http.setServerTrustMode('pinned', onPinned, onFailure);
}
"""


def export(pins: PinFile, certificates: Certificates) -> Draft:
    """Write the certificates, and the call that puts them in force."""
    found, losses = chosen(pins, certificates, TITLE, leaves_only=False)
    files = {f"{FOLDER}/{each.name}": each.der for each in found}
    losses += [
        loss("one-list-for-all-hosts", target=TITLE),
        loss("certificate-becomes-anchor", target=TITLE),
        loss("whole-certificate", target=TITLE),
    ]
    return Draft({**files, SCRIPT: CODE.encode()}, meaning(found, "chain"), tuple(losses))


def read(files: Files, hosts: Sequence[str]) -> Reading:
    """Read a folder of certificates; `hosts` say what they are for."""
    reading = read_certificates(files, hosts, None)
    return Reading(reading.pins, (*reading.losses, loss("ca-checked")))
