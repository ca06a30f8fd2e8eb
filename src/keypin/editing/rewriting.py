"""A pin file's text, and the same with another content: what is not different stays as it is.

An edit of TOML leaves comments, order and formatting byte for byte. JSON is written anew, in its
own order and indentation.
"""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING

from ..errors import KeypinError, PinFileError
from ..pinfile import PinFile
from ..pinfile.file import needed_schema
from ._json_text import JsonText
from ._toml_text import LayoutError, TomlText
from .changes import Draft

if TYPE_CHECKING:
    from ..pinfile import Format, HostEntry, PinEntry

__all__ = ["CannotRewrite", "read_draft", "rewrite"]

# What is read in place of the hosts that a file has not got yet
A_HOST = f"""
[[host]]
name = "host.invalid"
pins = ["sha256/{"A" * 43}="]
"""


class CannotRewrite(KeypinError):
    """A pin file that is laid out in a way that no edit can follow."""


def read_draft(text: str, format: Format, name: str) -> Draft:
    """Read a pin file that is to be edited; in TOML it may be one without hosts.

    Args:
        text: what it says.
        format: `"toml"` or `"json"`.
        name: what error messages call it.

    Raises:
        PinFileError: it does not say what a pin file says.
    """
    try:
        file = PinFile.loads(text, format, name)
    except PinFileError as error:
        if format != "toml" or [problem.key for problem in error.problems] != ["host"]:
            raise
        if "host" in tomllib.loads(text):
            raise
        file = PinFile.loads(text + A_HOST, format, name)
        return Draft(file.version, file.defaults, ())
    return Draft(file.version, file.defaults, file.hosts)


def rewrite(text: str, format: Format, name: str, new: Draft) -> str:
    """Write a pin file's new content into its text.

    Args:
        text: the old content.
        format: `"toml"` or `"json"`.
        name: what error messages call it.
        new: what it has to say. Hosts and pins of hosts may be added behind those that there are,
            or removed; of those that stay, `expires`, `port`, `starttls` and what is known of keys
            may differ.

    Returns:
        A text that was read again, and says exactly what `new` says.

    Raises:
        PinFileError: a pin file cannot say that.
        CannotRewrite: the text is laid out in a way that cannot be followed.
    """
    try:
        wanted = PinFile(new.hosts, version=new.version, defaults=new.defaults)
    except PinFileError as error:
        raise PinFileError(name, error.problems) from None
    try:
        edited = JsonText(text) if format == "json" else TomlText(text)
        _edit(edited, read_draft(text, format, name), new)
        written = edited.text
    except LayoutError as error:
        raise CannotRewrite(f"{name} has to be edited by hand: {error}") from None
    if PinFile.loads(written, format, name) != wanted:
        raise CannotRewrite(f"{name} has to be edited by hand: its layout cannot be followed")
    return written


def _edit(text: TomlText | JsonText, old: Draft, new: Draft) -> None:
    if new.version != old.version:
        text.set_version(new.version)
    if (schema := needed_schema(new.hosts)) > needed_schema(old.hosts):
        text.set_schema(schema)
    names = [host.name for host in old.hosts]
    kept = {host.name: host for host in new.hosts}
    for index in reversed(range(len(names))):
        if names[index] in kept:
            _edit_host(text, index, old.hosts[index], kept[names[index]])
        else:
            text.remove_host(index)
    for host in new.hosts:
        if host.name not in names:
            text.add_host(host)


def _edit_host(text: TomlText | JsonText, host: int, old: HostEntry, new: HostEntry) -> None:
    pins = [entry.pin for entry in old.pins]
    kept = {entry.pin: entry for entry in new.pins}
    for index, pin in enumerate(pins):
        if pin in kept:
            _edit_pin(text, host, index, old.pins[index], kept[pin])
    for entry in new.pins:
        if entry.pin not in pins:
            text.add_pin(host, entry)
    for index in reversed(range(len(pins))):
        if pins[index] not in kept:
            text.remove_pin(host, index)
    for index in reversed(range(len(old.deny))):
        if old.deny[index] not in new.deny:
            text.remove_denied(host, index)
    for name in ("expires", "port", "starttls"):
        value = getattr(new, name)
        if value is not None and value != getattr(old, name):
            text.set_host_field(host, name, value)


def _edit_pin(text: TomlText | JsonText, host: int, pin: int, old: PinEntry, new: PinEntry) -> None:
    for name in ("role", "key", "not_before", "authority"):
        value = getattr(new, name)
        if value is not None and value != getattr(old, name):
            text.set_pin_field(host, pin, name, value)
