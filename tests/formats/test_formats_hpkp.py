"""The header Public-Key-Pins."""

from __future__ import annotations

from email.parser import HeaderParser

import pytest
from some_pins import FIRST, SECOND, host, pin_file

from keypin.formats import FormatError, export_to, import_from

PIN, BACKUP = (f'pin-sha256="{str(pin).removeprefix("sha256/")}"' for pin in (FIRST, SECOND))


VALUE = f"{PIN}; {BACKUP}; max-age=5184000; includeSubDomains"
ON_LINES = VALUE.replace("; ", ";\n     ")
ESCAPED = VALUE.replace('"', '\\"')


def read(text: str, *hosts: str):
    return import_from("hpkp", {"headers": text.encode()}, hosts)


def test_headers_are_written_as_in_the_rfc():
    file = pin_file(host("**.example.com"), host("example.org", mode="report"))
    export = export_to("hpkp", file)
    [content] = export.files.values()
    first, second = content.decode().split("\n\n")
    comment, header = first.splitlines()
    assert comment == "# host: example.com"
    parsed = HeaderParser().parsestr(header)
    assert parsed["public-key-pins"] == f"{PIN}; {BACKUP}; max-age=2592000; includeSubDomains"
    assert "Public-Key-Pins-Report-Only: " in second
    assert "includeSubDomains" not in second


def test_the_examples_of_the_rfc_are_read():
    """RFC 7469, section 2.1.5, with these pins in the place of theirs."""
    text = f"""Public-Key-Pins: max-age=3000; {PIN}; {BACKUP}
Public-Key-Pins: pin-sha256={PIN[11:]}; max-age=2592000; {BACKUP}; includeSubDomains
Public-Key-Pins-Report-Only: max-age=2592000; {PIN}; {BACKUP}; report-uri="https://other.example.net/pkp-report"
public-key-pins: {PIN} ; {BACKUP} ;; max-age="10000"; includesubdomains;
"""
    for number, line in enumerate(text.splitlines()[:3]):
        imported = read(line, "example.com")
        [entry] = imported.pins.hosts
        assert [each.pin for each in entry.pins] == [FIRST, SECOND]
        assert entry.name == ("**.example.com" if number == 1 else "example.com")
        assert entry.mode == ("report" if number == 2 else None)
        names = [each.name for each in imported.losses]
        assert names == ["max-age-not-carried", *["report-uri-not-carried"] * (number == 2)]


def test_comments_name_hosts_and_others_are_named_by_the_user():
    header = f"Public-Key-Pins: max-age=1; {PIN}; {BACKUP}"
    text = f"# written by hand\n#HOST: a.example\n{header}\n{header}; includeSubDomains\n"
    names = [entry.name for entry in read(text, "b.example", "c.example").pins.hosts]
    assert names == ["a.example", "**.b.example", "**.c.example"]
    with pytest.raises(FormatError, match="headers, line 4: names no host: give it with --host"):
        read(text)


@pytest.mark.parametrize(
    ("header", "why"),
    [
        (f"Public-Key-Pin: {PIN}; max-age=1", "not a Public-Key-Pins header"),
        (f"Public-Key-Pins: {PIN}; {BACKUP}", "max-age is missing"),
        (f"Public-Key-Pins: {PIN}; max-age=x", "not a number"),
        (f"Public-Key-Pins: {PIN}; max-age=0", "to forget the pins"),
        (f"Public-Key-Pins: {PIN}; max-age=1; max-age=2", "there twice"),
        (f"Public-Key-Pins: {PIN}; max-age=1; strict", "is not known"),
        (f'Public-Key-Pins: {PIN}; max-age=1; pin-sha1="x"', "is not known"),
        ('Public-Key-Pins: pin-sha256="AAAA"; max-age=1', "32 bytes, this one 3"),
        (f"Public-Key-Pins: {PIN} {BACKUP}; max-age=1", "not directives"),
        ("Public-Key-Pins: max-age=1", "a host needs pins"),
        (f"add_header Public-Key-Pins {PIN};", "nor a directive of nginx"),
        (f"Header unset Public-Key-Pins '{VALUE}'", "nor a directive of nginx"),
        (f"Header set Public-Key-Pins '{VALUE}' env=TLS", "nor a directive of nginx"),
        (f"Public-Key-Pins: {PIN[:30]}; max-age=1", "a.example: not base64|not directives"),
        (f"# host: *.example.com\nPublic-Key-Pins: {PIN}; max-age=1", "a wildcard"),
    ],
)
def test_a_header_that_is_not_understood_is_refused_with_its_line(header, why):
    with pytest.raises(FormatError, match=why) as caught:
        read(f"\n{header}", "a.example")
    assert caught.value.line == 2 + header.count("\n")


@pytest.mark.parametrize(
    "text",
    [
        f"add_header Public-Key-Pins '{VALUE}' always;",
        f'    add_header "Public-Key-Pins" "{ESCAPED}";',
        f"add_header Public-Key-Pins\n    '{ON_LINES}'\n    always;",
        f'Header always set Public-Key-Pins "{ESCAPED}"',
        f"  header set Public-Key-Pins '{VALUE}'",
        f'Header always set \\\n   Public-Key-Pins "{ESCAPED}"',
        f"< public-key-pins: {VALUE}",
        f"HTTP/2 200 \r\nserver: nginx\r\npublic-key-pins: {VALUE}\r\ndate: Tue, 01 Dec 2026\r\n",
        f"server {{\n# add_header Public-Key-Pins 'x';\nadd_header Public-Key-Pins '{VALUE}';\n}}",
    ],
)
def test_headers_in_configurations_and_responses_are_read(text):
    [entry] = read(text, "a.example").pins.hosts
    assert entry.name == "**.a.example"
    assert [each.pin for each in entry.pins] == [FIRST, SECOND]


def test_a_report_only_header_in_a_configuration_reports():
    text = f"add_header Public-Key-Pins-Report-Only '{VALUE}';"
    assert read(text, "a.example").pins.hosts[0].mode == "report"


def test_browsers_ignored_a_header_with_a_single_pin_which_is_said():
    for pins in (PIN, f"{PIN}; {PIN}"):
        imported = read(f"Public-Key-Pins: {pins}; max-age=1", "a.example")
        assert ("single-pin-ignored", "stricter", "a.example") in {
            (each.name, each.direction, each.host) for each in imported.losses
        }
    both = read(f"Public-Key-Pins: {PIN}; {BACKUP}; max-age=1", "a.example").losses
    assert "single-pin-ignored" not in {each.name for each in both}


def test_a_single_pin_is_refused_as_browsers_do():
    with pytest.raises(FormatError, match="without a backup"):
        export_to("hpkp", pin_file(host("a.example", FIRST)))


def test_trust_on_first_use_is_less_safe_for_every_host():
    file = pin_file(host("a.example"), host("b.example"))
    losses = [each for each in export_to("hpkp", file).losses if each.direction == "less-safe"]
    assert {(each.name, each.host) for each in losses} == {
        ("trust-on-first-use", "a.example"),
        ("trust-on-first-use", "b.example"),
        ("local-anchors-exempt", None),
    }
