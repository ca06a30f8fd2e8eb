"""A test of whether a client is pinned, judged by what servers on loopback receive.

    assertion      assert_pinned, assert_pinned_async: a function of the program is the client
    trial          the calls of one test, and what the servers saw of each
    servers        LocalServer, Bench: a server with the pinned key, others of the same CA without

The pytest fixtures `pinned_server` and `mispinned_server` are in `_keypin_pytestplugin`, outside of
this package, so that pytest loads neither keypin nor ssl until a test asks for one.

It needs the extra `keypin[testing]`.
"""

from __future__ import annotations

from ..errors import MissingExtra

try:
    import cryptography  # noqa: F401
except ImportError as _error:
    raise MissingExtra(
        "keypin.testing needs cryptography: pip install 'keypin[testing]'", name="cryptography"
    ) from _error

from .assertion import assert_pinned, assert_pinned_async
from .servers import Bench, LocalServer
from .trial import Bypassed, Inconclusive

__all__ = [
    "Bench",
    "Bypassed",
    "Inconclusive",
    "LocalServer",
    "assert_pinned",
    "assert_pinned_async",
]
