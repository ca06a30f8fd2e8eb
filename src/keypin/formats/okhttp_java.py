"""OkHttp: a CertificatePinner in Java. See `okhttp`, which this differs from in nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .okhttp import TITLE, draft, read

if TYPE_CHECKING:
    from ..pinfile import PinFile
    from ._conversion import Certificates, Draft

__all__ = ["TITLE", "export", "read"]

FILE = "CertificatePins.java"
JAVA = """// Written by keypin export okhttp-java: change the pin file instead.
// new OkHttpClient.Builder().certificatePinner(CertificatePins.CERTIFICATE_PINNER)

import java.security.cert.Certificate;
import java.util.Collections;
import javax.net.ssl.SSLPeerUnverifiedException;
import okhttp3.CertificatePinner;

public final class CertificatePins {{
    public static final CertificatePinner CERTIFICATE_PINNER = certificatePinner();
{check}
    // The name with a dot at its end is another one to OkHttp, and leads to the same host.
    private static CertificatePinner certificatePinner() {{
        CertificatePinner.Builder builder = new CertificatePinner.Builder();
{calls}
        return builder.build();
    }}

    private CertificatePins() {{
    }}
}}
"""
JAVA_CHECK = """
    static {{
        // Before version 4.3, OkHttp knows no "**." and would pin nothing.
        boolean pinned = false;
        try {{
            CERTIFICATE_PINNER.check("{host}", Collections.<Certificate>emptyList());
        }} catch (SSLPeerUnverifiedException expected) {{
            pinned = true;
        }}
        if (!pinned) {{
            throw new IllegalStateException(
                "This OkHttp does not know \\"**.\\": it has to be 4.3 or later.");
        }}
    }}
"""


def export(pins: PinFile, certificates: Certificates) -> Draft:
    """Write the code."""
    return draft(pins, FILE, _java, "builder.add({});")


def _java(calls: str, host: str | None) -> str:
    check = "" if host is None else JAVA_CHECK.format(host=host)
    return JAVA.format(calls=calls, check=check)
