"""The environment variables by which clients find the authorities to trust, and proxies."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["TRUST_VARIABLES", "in_force", "proxy_environment", "trust_environment"]

# Where OpenSSL and the clients of Python look for the certificate authorities to trust.
TRUST_VARIABLES = (
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "AWS_CA_BUNDLE",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
    "HTTPLIB2_CA_CERTS",
    "WEBSOCKET_CLIENT_CA_BUNDLE",
)
PROXY_VARIABLES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")
DIRECT_VARIABLES = ("NO_PROXY", "no_proxy")


def trust_environment(cafile: str, *direct: str) -> dict[str, str]:
    """The variables by which most clients trust authorities, and use no proxy.

    Args:
        cafile: the authorities.
        direct: hosts to be called without a proxy, with those for which that holds already.
    """
    unproxied = [os.environ.get("NO_PROXY") or os.environ.get("no_proxy"), *direct]
    names = ",".join(filter(None, unproxied))
    return dict.fromkeys(TRUST_VARIABLES, cafile) | dict.fromkeys(DIRECT_VARIABLES, names)


def proxy_environment(proxy: str) -> dict[str, str]:
    """The variables by which most clients use a proxy, for whatever host they call by https."""
    return dict.fromkeys(PROXY_VARIABLES, proxy) | dict.fromkeys(DIRECT_VARIABLES, "")


@contextmanager
def in_force(environment: Mapping[str, str]) -> Iterator[None]:
    """Set variables of this process, for libraries that look there, and set them back."""
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
