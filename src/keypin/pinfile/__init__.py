"""The pin file: pins.toml, or the same in JSON; read strictly, written whole.

What a file says never depends on the clock: one that was read yesterday is read today.
"""

from .file import Authority, Defaults, Format, HostEntry, PinEntry, PinFile, Role

__all__ = ["Authority", "Defaults", "Format", "HostEntry", "PinEntry", "PinFile", "Role"]
