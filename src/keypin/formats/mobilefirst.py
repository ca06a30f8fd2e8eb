"""IBM MobileFirst: certificate files, and the call that pins them, for each platform.

https://mobilefirstplatform.ibmcloud.com/tutorials/en/foundation/8.0/authentication-and-security/certificate-pinning/
and WLClient.h: DER files of CA-issued certificates, in the app's bundle (iOS), in assets (Android)
or in www/certificates (Cordova); the server's key is compared with theirs, for every host, and
others are refused; one call pins all, because a second call replaces the first.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ..certificate_file import read_server_certificate
from ..errors import CertificateFormatError
from ._certificate_list import chosen, meaning, read_certificates
from ._conversion import Draft, FormatError
from ._losses import loss

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..pinfile import PinFile
    from ._conversion import Certificates, Files, Reading

__all__ = ["TITLE", "export", "read"]

TITLE = "MobileFirst"
FOLDER = "certificates"
HEAD = "// Written by keypin export mobilefirst: change the pin file instead.\n"
JAVA = """
import com.worklight.wlclient.api.WLClient;

/** The certificates belong into the folder assets. Call pin() before the first request. */
public final class Pinning {{
    private Pinning() {{
    }}

    public static void pin() {{
        String[] certificates = {{{names}}};
        WLClient.getInstance().pinTrustedCertificatePublicKey(certificates);
    }}
}}
"""
OBJECTIVE_C = """
#import <IBMMobileFirstPlatformFoundation/IBMMobileFirstPlatformFoundation.h>

// The certificates belong into the app's bundle. Call this before the first request.
void PinServers(void) {{
    NSArray *certificates = @[{at_names}];
    [[WLClient sharedInstance] pinTrustedCertificatePublicKeyFromFiles:certificates];
}}
"""
SWIFT = """
import IBMMobileFirstPlatformFoundation

// The certificates belong into the app's bundle. Call this before the first request.
func pinServers() {{
    let certificates: [Any] = [{names}]
    WLClient.sharedInstance().pinTrustedCertificatePublicKey(fromFiles: certificates)
}}
"""
JAVASCRIPT = """
// The certificates belong into www/certificates. Make no request before onPinned(), and none
// after onFailure().
function pinServers(onPinned, onFailure) {{
  WL.Client.pinTrustedCertificatePublicKey([{names}]).then(onPinned, onFailure);
}}
"""
CODE = {
    "android/Pinning.java": JAVA,
    "ios/Pinning.m": OBJECTIVE_C,
    "ios/Pinning.swift": SWIFT,
    "cordova/pinning.js": JAVASCRIPT,
}


def export(pins: PinFile, certificates: Certificates) -> Draft:
    """Write the certificates, and the call for each platform."""
    found, losses = chosen(pins, certificates, TITLE, leaves_only=True)
    for each in found:
        try:
            read_server_certificate(each.der, each.name)
        except CertificateFormatError as error:
            raise FormatError(str(error)) from None
    quoted = [json.dumps(each.name) for each in found]
    names = {"names": ", ".join(quoted), "at_names": ", ".join(f"@{name}" for name in quoted)}
    files = {f"{FOLDER}/{each.name}": each.der for each in found}
    for file, code in CODE.items():
        files[file] = (HEAD + code.format_map(names)).encode()
    losses.append(loss("one-list-for-all-hosts", target=TITLE))
    return Draft(files, meaning(found, "leaf"), tuple(losses))


def read(files: Files, hosts: Sequence[str]) -> Reading:
    """Read a folder of certificates; `hosts` say what they are for."""
    return read_certificates(files, hosts, "leaf")
