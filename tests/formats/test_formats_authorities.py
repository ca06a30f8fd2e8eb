"""Whose keys they are: what formats do with pins that are marked as those of authorities."""

from __future__ import annotations

import pytest
from some_pins import FIRST, SECOND, THIRD, host, pin_file

from keypin.formats import FORMATS, FormatError, export_to
from keypin.pinfile import PinEntry

NO_CERTIFICATES = [name for name in FORMATS if name not in ("cordova", "mobilefirst")]


def test_a_marked_key_becomes_a_record_of_a_trust_anchor():
    marked = [PinEntry(FIRST, authority="own"), PinEntry(SECOND, authority="other"), THIRD]
    export = export_to("tlsa", pin_file(host("example.com", *marked), host("b.example.com", FIRST)))
    [content] = export.files.values()
    for host_name, usage, pin in (
        ("example.com", 2, FIRST),
        ("example.com", 2, SECOND),
        ("example.com", 3, THIRD),
        ("b.example.com", 3, FIRST),
    ):
        record = f"_443._tcp.{host_name}. IN TLSA {usage} 1 1 {pin.digest.hex()}"
        assert record in content.decode()
    unknown = [each for each in export.losses if each.name == "usage-unknown"]
    assert [each.host for each in unknown] == ["example.com", "b.example.com"]
    assert str(FIRST) not in unknown[0].text


@pytest.mark.parametrize("name", NO_CERTIFICATES)
def test_the_mark_is_written_or_that_it_is_not_is_told(name):
    pins = [PinEntry(FIRST, authority="other"), PinEntry(SECOND, authority="other")]
    told = [each.name for each in export_to(name, pin_file(host("a.example.com", *pins))).losses]
    assert ("notes-not-carried" in told) == (name not in ("ios", "tlsa"))


def test_a_mark_holds_for_the_hosts_where_it_stands():
    """The same key may be a server's elsewhere, and what is not known there is not guessed."""
    marked = host("a.example.com", PinEntry(FIRST, authority="own"))
    with pytest.raises(FormatError, match=r"b\.example\.com: "):
        export_to("ios", pin_file(marked, host("b.example.com", FIRST)))
