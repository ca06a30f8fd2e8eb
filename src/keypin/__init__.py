"""TLS public-key pinning for Python: a server must hold a key that the program carries.

>>> import keypin
>>> pin = "sha256/k3XnEYQCK79AtL9GYnT/nyhsabas03V+bhRQYHQbpXU="
>>> pins = keypin.PinSet({"api.example.com": [pin]})
>>> context = keypin.Pinner(pins).create_context()

The context goes wherever a Python library takes an `ssl.SSLContext`. A program whose every
request goes to its own servers uses `keypin.client.Client` (extra `keypin[client]`). All clients of
the process are pinned by `keypin.install`.
"""

from .enforcement.process import installed
from .errors import (
    CertificateFormatError,
    CertificateNotFound,
    HostnameError,
    KeypinError,
    MissingExtra,
    NotPinned,
    PinFileError,
    PinFileProblem,
    PinFormatError,
    PinSetError,
    PlainHTTPRefused,
    ProcessRefused,
    ProtectionError,
    UncoveredClient,
)
from .mismatch import NoServerName, PinMismatch, UnverifiedConnection, find_error
from .pin import Pin
from .pinner import Pinner, install
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
    "PinFileError",
    "PinFileProblem",
    "PinFormatError",
    "PinMismatch",
    "PinSet",
    "PinSetError",
    "Pinner",
    "PlainHTTPRefused",
    "ProcessRefused",
    "ProtectionError",
    "Reason",
    "Rule",
    "UncoveredClient",
    "UnverifiedConnection",
    "Verdict",
    "find_error",
    "install",
    "installed",
]


class _Docstring(str):
    """Tells pytest, which looks there, that there is nothing to rewrite for it in this package.

    keypin is loaded before pytest where pins are in force as Python starts. What people read says
    nothing of it.
    """

    __slots__ = ()

    def __contains__(self, text: str) -> bool:  # type: ignore[override]
        return text == "PYTEST_DONT_REWRITE" or super().__contains__(text)


__doc__ = _Docstring(__doc__ or "")

__version__ = "0.1.0"
