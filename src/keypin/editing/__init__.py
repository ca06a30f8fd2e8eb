"""Edit a pin file that people keep: its comments, order and formatting stay.

    changes      what an edit makes of a file's content, or why it is refused. Pure
    rewriting    a file's text -> the text with the new content, otherwise as it was
    backup_keys  a new key, encrypted, with its certificate request and pin

It needs the extra `keypin[cli]`.
"""

from __future__ import annotations

from ..errors import MissingExtra

try:
    import cryptography  # noqa: F401
except ImportError as _error:
    raise MissingExtra(
        f"keypin.editing needs {_error.name}: pip install 'keypin[cli]'", name=_error.name
    ) from _error
