"""TLS public-key pinning for Python: a server must hold a key that the program carries.

>>> import keypin
>>> pin = "sha256/k3XnEYQCK79AtL9GYnT/nyhsabas03V+bhRQYHQbpXU="
>>> pins = keypin.PinSet({"api.example.com": [pin]})
>>> context = keypin.Pinner(pins).create_context()

The context goes wherever a Python library takes an `ssl.SSLContext`. A program whose every
request goes to its own servers uses `keypin.client.Client` (extra `keypin[client]`).
"""

from .errors import (
    CertificateFormatError,
    CertificateNotFound,
    HostnameError,
    KeypinError,
    MissingExtra,
    NoServerName,
    NotPinned,
    PinFormatError,
    PinMismatch,
    PinSetError,
    PlainHTTPRefused,
    ProtectionError,
    UnverifiedConnection,
    find_error,
)
from .pin import Pin
from .pinner import Pinner
from .pinset import PinSet, Reason, Rule, Verdict

__all__ = [
    "CertificateFormatError",
    "CertificateNotFound",
    "HostnameError",
    "KeypinError",
    "MissingExtra",
    "NoServerName",
    "NotPinned",
    "Pin",
    "PinFormatError",
    "PinMismatch",
    "PinSet",
    "PinSetError",
    "Pinner",
    "PlainHTTPRefused",
    "ProtectionError",
    "Reason",
    "Rule",
    "UnverifiedConnection",
    "Verdict",
    "find_error",
]

__version__ = "0.1.0"
