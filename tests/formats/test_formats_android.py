"""Android's network security configuration, and TrustKit's for Android."""

from __future__ import annotations

import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from some_pins import FIRST, SECOND, THIRD, host, pin_file, pin_files

from keypin.formats import FormatError, export_to, import_from

xmllint = shutil.which("xmllint")
SCHEMA = Path(__file__).with_name("network_security_config.xsd")
needs_xmllint = pytest.mark.skipif(xmllint is None, reason="needs xmllint (make system-deps)")
BOTH = pytest.mark.parametrize("form", ["android", "trustkit-android"])

PIN = str(FIRST).removeprefix("sha256/")
BACKUP = str(SECOND).removeprefix("sha256/")
PIN_SET = f"""<pin-set><pin digest="SHA-256">{PIN}</pin>
<pin digest="SHA-256"> {BACKUP} </pin></pin-set>"""


def document(text: str) -> dict[str, bytes]:
    content = f"<network-security-config>\n{text}\n</network-security-config>"
    return {"network_security_config.xml": content.encode()}


def config(domain: str, more: str = PIN_SET) -> str:
    return f"<domain-config>{domain}{more}</domain-config>"


def domain(name: str, flag: str = "true") -> str:
    return f'<domain includeSubdomains="{flag}">{name}</domain>'


def validated(content: bytes) -> subprocess.CompletedProcess[bytes]:
    command = [xmllint, "--nonet", "--noout", "--schema", SCHEMA, "-"]
    return subprocess.run(command, input=content, capture_output=True, timeout=60)


@needs_xmllint
@BOTH
@settings(max_examples=15)
@given(
    file=pin_files(
        exclude=True, deny=True, fewest_pins=2, modes=("enforce", "report"), fail_open=True
    )
)
def test_what_is_written_is_valid_by_a_schema_of_the_documentation(form, file):
    [content] = export_to(form, file).files.values()
    done = validated(content)
    assert done.returncode == 0, done.stderr.decode()


@needs_xmllint
@pytest.mark.parametrize(
    "wrong",
    [
        b"<network-security-config><domain-config/></network-security-config>",
        document(config(domain("*.example.com")))["network_security_config.xml"],
        document(config(domain("a.example")) + config(domain("a.example", "false")))[
            "network_security_config.xml"
        ],
        document(config(domain("a.example"), '<pin-set expiration="soon"/>'))[
            "network_security_config.xml"
        ],
    ],
)
def test_the_schema_itself_refuses_what_android_does(wrong):
    assert validated(wrong).returncode != 0


def test_a_configuration_with_everything_is_read():
    files = document(f"""
    <base-config cleartextTrafficPermitted="false">
      <trust-anchors><certificates src="system" /></trust-anchors>
    </base-config>
    <domain-config>
      {domain(" Example.com ")}{domain("example.org", "false")}
      <pin-set expiration="2027-06-01"><pin digest="SHA-256">{PIN}</pin></pin-set>
      <domain-config>
        {domain("pay.example.com", "false")}
        <pin-set><pin digest="SHA-256">{BACKUP}</pin></pin-set>
      </domain-config>
      <domain-config>{domain("inherits.example.com")}</domain-config>
      <domain-config>{domain("status.example.com", "false")}<pin-set /></domain-config>
    </domain-config>
    <domain-config>{domain("plain.example.com", "false")}</domain-config>
    <domain-config>{domain("elsewhere.example")}</domain-config>
    <debug-overrides>
      <trust-anchors><certificates src="@raw/debug_ca" overridePins="true" /></trust-anchors>
    </debug-overrides>
    """)
    imported = import_from("android", files)
    entries = {entry.name: entry for entry in imported.pins.hosts}
    assert list(entries) == [
        "**.example.com",
        "example.org",
        "pay.example.com",
        "**.inherits.example.com",
        "status.example.com",
        "plain.example.com",
    ]
    lapses = datetime(2027, 6, 1, 12, tzinfo=UTC)
    for name in ("**.example.com", "example.org", "**.inherits.example.com"):
        assert [entry.pin for entry in entries[name].pins] == [FIRST]
        assert (entries[name].expires, entries[name].on_expiry) == (lapses, "allow")
    assert [entry.pin for entry in entries["pay.example.com"].pins] == [SECOND]
    assert entries["pay.example.com"].expires is None
    assert entries["status.example.com"].exclude
    assert entries["plain.example.com"].exclude  # its own config has no pins, and counts
    names = {each.name for each in imported.losses}
    assert names == {
        "cleartext-not-carried",
        "trust-anchors-not-carried",
        "debug-overrides-not-carried",
        "expiry-fails-open",
        "expiry-time-zone",
    }


@pytest.mark.parametrize(
    ("more", "name"),
    [
        (
            '<trust-anchors><certificates src="@raw/ca"/></trust-anchors>',
            "trust-anchors-restricted",
        ),
        ('<certificateTransparency enabled="true"/>', "transparency-not-carried"),
    ],
)
def test_what_a_pin_file_cannot_demand_is_a_loss_towards_less_safety(more, name):
    losses = import_from("android", document(config(domain("a.example"), PIN_SET + more))).losses
    assert [(each.name, each.direction, each.host) for each in losses] == [
        (name, "less-safe", "a.example")
    ]


def test_certificate_transparency_that_is_not_demanded_is_no_loss():
    more = '<certificateTransparency enabled="false"/>'
    assert (
        import_from("android", document(config(domain("a.example"), PIN_SET + more))).losses == ()
    )


DOCTYPE = b"""<?xml version="1.0"?>
<!DOCTYPE network-security-config [<!ENTITY a "aaaaaaaaaa">
<!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>
<network-security-config>&b;</network-security-config>"""


@BOTH
@pytest.mark.parametrize(
    ("content", "line", "why"),
    [
        (DOCTYPE, 2, "a document type"),
        (b"<network-security-config>", 1, "not XML: no element found"),
        (b'<?xml version="1.0" encoding="TF-8"?><a/>', 1, "unknown encoding"),
        (b'<?xml version="1.0" encoding="shift_jis"?><a/>', 1, "multi-byte"),
        (b"<manifest/>", 1, "not an Android network security configuration"),
        (b"<network-security-config>\xff</network-security-config>", 1, "not XML"),
        (b"<a>" * 100, 1, "nested too deeply"),
        (b"<network-security-config>\n<pins/></network-security-config>", 2, "not known inside"),
        (b"<network-security-config>hello</network-security-config>", 1, "means nothing"),
        (b"<network-security-config/>", None, "no host with pins"),
    ],
)
def test_a_document_that_is_none_is_refused_with_its_line(form, content, line, why):
    with pytest.raises(FormatError, match=why) as caught:
        import_from(form, {"nsc.xml": content})
    assert caught.value.line == line


@BOTH
@pytest.mark.parametrize(
    ("text", "why"),
    [
        (config(""), "names no <domain>"),
        (config(domain("*.example.com")), "a wildcard"),
        (config(domain("example.com", "yes")), "true or false, not 'yes'"),
        (config('<domain includesubdomains="true">a.example</domain>'), "unknown attribute"),
        (config(domain("")), "not a host name"),
        (config(domain("a.example"), PIN_SET + PIN_SET), "a second one"),
        (config(domain("a.example")) + config(domain("a.example")), "stands on line 2 already"),
        (
            config(domain("a.example"), '<pin-set><pin digest="SHA-1">x</pin></pin-set>'),
            "the only one that there is",
        ),
        (
            config(domain("a.example"), '<pin-set><pin digest="SHA-256">AAAA</pin></pin-set>'),
            "32 bytes, this one 3",
        ),
        (
            config(domain("a.example"), PIN_SET.replace("<pin-set", '<pin-set expiration="2027"')),
            "expiration is a date",
        ),
        (
            config(
                domain("a.example"), PIN_SET.replace("<pin-set", '<pin-set expiration="2027-02-30"')
            ),
            "expiration is a date",
        ),
        ("<base-config/><base-config/>", "a second one"),
        (f"<base-config>{PIN_SET}</base-config>", "not known inside"),
        (config(domain("a.example"), PIN_SET + "<pinset/>"), "not known inside"),
    ],
)
def test_what_means_nothing_is_refused(form, text, why):
    with pytest.raises(FormatError, match=why):
        import_from(form, document(text))


def test_attributes_of_build_tools_are_no_ones_business():
    content = f"""<network-security-config xmlns:tools="http://schemas.android.com/tools">
    <domain-config tools:ignore="MissingBackupPin">{domain("a.example")}{PIN_SET}</domain-config>
    </network-security-config>"""
    assert import_from("android", {"nsc.xml": content.encode()}).losses == ()


UNMATCHED = ["*", "*.example.com", "example.org.", "b\u00fccher.example", "a b", "1.2.3", "x" * 300]


@pytest.mark.parametrize("name", ["localhost", "10.0.2.2", "::1", "com", *UNMATCHED])
@pytest.mark.parametrize("flag", ["true", "false"])
@BOTH
def test_what_is_not_pinned_stops_nothing_that_is(name, form, flag):
    anchors = '<trust-anchors><certificates src="@raw/dev"/></trust-anchors>'
    more = PIN_SET + trustkit("true") * (form == "trustkit-android")
    text = config(domain(name, flag), anchors) + config(domain("a.example.com"), more)
    imported = import_from(form, document(text))
    assert [entry.name for entry in imported.pins.hosts] == ["**.a.example.com"]
    assert imported.losses == ()


def test_a_name_that_android_never_matches_exempts_nothing():
    """What is written in Unicode or with a dot is compared with no host, so the wider pins hold."""
    unmatched = domain("b\u00fccher.example.com") + domain("dot.example.com.")
    text = config(domain("example.com")) + config(unmatched, "<pin-set/>")
    assert len(import_from("android", document(text)).pins.hosts) == 1


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("b\u00fccher.example", "never matches a host on Android: write xn--bcher-kva.example"),
        ("a.example.", "never matches a host on Android: write a.example"),
        ("*", "a wildcard"),
        ("a b", "not a host name"),
    ],
)
def test_a_pinned_name_that_android_never_matches_is_refused(name, why):
    with pytest.raises(FormatError, match=why) as caught:
        import_from("android", document(f"\n\n{config(domain(name))}"))
    assert caught.value.line == 4


def test_pinned_addresses_and_single_labels_with_subdomains_are_read():
    text = config(domain("10.0.2.2") + domain("localhost") + domain("::1"))
    imported = import_from("android", document(text))
    assert [entry.name for entry in imported.pins.hosts] == ["10.0.2.2", "localhost", "::1"]
    assert [(each.name, each.host) for each in imported.losses] == [("host-unpinned", "localhost")]
    assert "a pin file does not pin hosts below localhost" in imported.losses[0].text


@BOTH
@pytest.mark.parametrize(
    "text",
    [
        f"{config(domain('a.example'))}\n{config(domain('A.example ', 'false'), '')}",
        config(f"{domain('a.example')}\n{domain('a.example', 'false')}", ""),
        config(domain("a.example") + domain("a.example")),
        f"""<domain-config>{domain("a.example")}{PIN_SET}
        <domain-config>{domain("a.example", "false")}</domain-config></domain-config>""",
    ],
)
def test_a_domain_that_is_there_twice_is_refused_as_android_does(form, text):
    with pytest.raises(FormatError, match="stands on line 2 already, and Android refuses"):
        import_from(form, document(text))


@pytest.mark.parametrize("digest", ["sha-256", "SHA-256", "Sha-256"])
@pytest.mark.parametrize(
    "pin", [PIN.rstrip("="), f" {PIN[:20]}\n  {PIN[20:]} ", PIN, PIN[:42] + chr(ord(PIN[42]) + 1)]
)
def test_digests_and_pins_are_read_as_android_does_and_written_one_way(digest, pin):
    pin_set = f'<pin-set><pin digest="{digest}">{pin}</pin></pin-set>'
    file = import_from("android", document(config(domain("a.example"), pin_set))).pins
    assert [entry.pin for entry in file.hosts[0].pins] == [FIRST]
    [written] = export_to("android", file).files.values()
    assert f'<pin digest="SHA-256">{PIN}</pin>' in written.decode()


@BOTH
@pytest.mark.parametrize(
    "pin",
    [
        *("B" * 43 + "=", "A" * 43 + "=", "A" * 43, "x" * 44, "D" * 41 + "=", "sha256/" + "X" * 38),
        *("YOUR_PIN_HERE", "base64==", "{{ backup_pin }}", "...", "&lt;pin>", "replace-me"),
        *(
            "AAAAAAAAAAAAAAAA...",
            "[PLACEHOLDER-hash]",
            "GANTI_DENGAN_PIN",
            "\u2026\u516c\u94a5\u2026",
        ),
    ],
)
def test_placeholders_are_called_so_with_line_and_host(form, pin):
    pin_set = f'<pin-set>\n<pin digest="SHA-256">{pin}</pin></pin-set>'
    with pytest.raises(FormatError, match=r"a\.example: a placeholder, and not the pin") as caught:
        import_from(form, document(config(domain("a.example"), pin_set)))
    assert caught.value.line == 3


@pytest.mark.parametrize("flag", ["true", "TRUE", "1"])
def test_an_anchor_that_overrides_pins_is_told(flag):
    anchors = f'''<trust-anchors><certificates src="system"/>
    <certificates src="user" overridePins="{flag}"/></trust-anchors>'''
    own = config(domain("a.example"), PIN_SET + anchors)
    [found] = [
        each
        for each in import_from("android", document(own)).losses
        if each.name == "anchor-overrides-pins"
    ]
    assert (found.direction, found.host) == ("stricter", "a.example")
    assert "end in a CA of user," in found.text
    plain = config(domain("a.example")) + config(domain("b.example"))
    inherited = import_from("android", document(f"<base-config>{anchors}</base-config>{plain}"))
    assert [(each.name, each.host) for each in inherited.losses] == [
        ("anchor-overrides-pins", None),
        ("trust-anchors-not-carried", None),
    ]
    system = '<trust-anchors><certificates src="system"/></trust-anchors>'
    replaced = (
        f"<base-config>{anchors}</base-config>{config(domain('a.example'), PIN_SET + system)}"
    )
    names = [each.name for each in import_from("android", document(replaced)).losses]
    assert names == ["trust-anchors-not-carried"]


@pytest.mark.parametrize(
    ("written", "day"),
    [
        ("2027-6-1", "2027-06-01"),
        ("2027-06-01T10:00:00Z", "2027-06-01"),
        ("27-06-01", "0027-06-01"),
    ],
)
def test_dates_are_read_as_android_does_and_written_one_way(written, day):
    dated = PIN_SET.replace("<pin-set", f'<pin-set expiration="{written}"')
    file = import_from("android", document(config(domain("a.example"), dated))).pins
    [again] = export_to("android", file).files.values()
    assert f'expiration="{day}"' in again.decode()


@pytest.mark.parametrize("inside", ["domain", "pin"])
def test_a_comment_inside_a_text_is_refused_as_android_does(inside):
    text = config(domain("a.example")).replace(f"</{inside}>", f"<!-- x --></{inside}>", 1)
    with pytest.raises(FormatError, match="a comment inside"):
        import_from("android", document(text))


# TrustKit


ONE = f'<pin-set><pin digest="SHA-256">{PIN}</pin></pin-set>'
DATED = PIN_SET.replace("<pin-set", '<pin-set expiration="2027-06-01"')


def trustkit(flag: str, more: str = "") -> str:
    return f'<trustkit-config enforcePinning="{flag}">{more}</trustkit-config>'


def test_trustkit_does_not_enforce_unless_told():
    uri = "<report-uri>https://reports.example/</report-uri>"
    files = document(
        config(domain("a.example.com"))
        + config(domain("b.example.com"), PIN_SET + trustkit("true"))
        + config(domain("c.example.com"), PIN_SET + trustkit("false", uri))
    )
    imported = import_from("trustkit-android", files)
    assert [entry.mode for entry in imported.pins.hosts] == ["report", None, "report"]
    names = [(each.name, each.host) for each in imported.losses]
    assert names == [
        ("enforcement-not-carried", "a.example.com"),
        ("enforcement-not-carried", "c.example.com"),
        ("report-uri-not-carried", "c.example.com"),
    ]
    assert imported.losses[0].direction == "less-safe"
    assert "from Android 7 on the system itself enforces" in imported.losses[0].text


def test_android_refuses_to_ignore_what_is_trustkits():
    files = document(config(domain("a.example"), PIN_SET + trustkit("true")))
    with pytest.raises(FormatError, match="import it as trustkit-android"):
        import_from("android", files)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (config(domain("a.example") + domain("b.example")), "takes the last only"),
        (
            config(domain("a.example"))
            + config(domain("b.a.example", "false") + domain("c.example"), "<pin-set/>"),
            "takes the last only",
        ),
        (config('<domain includeSubdomains="1">a.example</domain>'), "is a number"),
        (config(domain("A.example")), "is compared with case by TrustKit: write a.example"),
        (config(domain(" a.example")), "TrustKit throws when the app"),
        (
            f"""<domain-config>{domain("a.example")}{DATED}<domain-config>
            {domain("b.a.example")}{PIN_SET}</domain-config></domain-config>""",
            "without expiration inside one that has it",
        ),
        (
            f"""<domain-config>{domain("a.example")}{PIN_SET}
            <domain-config><domain>b.a.example</domain></domain-config></domain-config>""",
            "TrustKit for true",
        ),
        (
            config(domain("a.example")) + config(domain("b.a.example"), ""),
            "write an empty <pin-set>",
        ),
    ],
)
def test_what_android_and_trustkit_read_in_two_ways_is_refused(text, why):
    with pytest.raises(FormatError, match=why):
        import_from("trustkit-android", document(text))


def test_subdomains_that_are_not_inherited_are_read_in_one_way():
    text = f"""<domain-config>{domain("a.example", "false")}{PIN_SET}
    <domain-config><domain>b.a.example</domain></domain-config></domain-config>"""
    names = [entry.name for entry in import_from("trustkit-android", document(text)).pins.hosts]
    assert names == ["a.example", "b.a.example"]


def test_domains_of_a_config_without_pins_are_no_business_of_trustkit():
    exempt = domain("10.0.2.2") + domain("localhost") + domain("dev.example.org")
    files = document(config(exempt, "") + config(domain("a.example.com")))
    [entry] = import_from("trustkit-android", files).pins.hosts
    assert entry.name == "**.a.example.com"


def test_what_trustkit_passes_over_is_told():
    text = config(domain("a.example.com")).replace("-config>", '-config enforcePinning="true">', 1)
    imported = import_from("trustkit-android", document(text))
    assert imported.pins.hosts[0].mode == "report"
    [told] = [each for each in imported.losses if each.name == "attribute-without-meaning"]
    assert "enforcePinning of <domain-config>" in told.text


@BOTH
def test_attributes_that_mean_nothing_are_told_and_misspelt_ones_refused(form):
    more = PIN_SET.replace("<pin-set", '<pin-set enforcePinning="true"')
    text = config(domain("a.example.com"), more).replace("<domain ", '<domain comment="x" ')
    [told] = [
        each
        for each in import_from(form, document(text)).losses
        if each.name == "attribute-without-meaning"
    ]
    assert "comment of <domain>, enforcePinning of <pin-set>" in told.text
    misspelt = PIN_SET.replace("<pin-set", '<pin-set expirationDate="2027-06-01"')
    with pytest.raises(FormatError, match="did you mean 'expiration'"):
        import_from(form, document(config(domain("a.example.com"), misspelt)))


@pytest.mark.parametrize(
    "text",
    [
        config(domain("a.example.com"), f"{ONE}{trustkit('true')}"),
        config(domain("a.example.com"), f"<pin-set/>{trustkit('true')}"),
        f"""<domain-config>{domain("example.com")}{PIN_SET}{trustkit("true")}
        {config(domain("a.example.com"), "<pin-set/>")}</domain-config>""",
    ],
)
def test_what_trustkit_throws_over_when_the_app_starts_is_refused(text):
    with pytest.raises(FormatError, match="refuses to start with fewer than two pins") as caught:
        import_from("trustkit-android", document(text))
    assert caught.value.line
    assert "a.example.com" in str(caught.value)


def test_enforcement_is_inherited_by_a_config_that_does_not_speak_of_it():
    text = f"""<domain-config>{domain("example.com", "false")}{PIN_SET}{trustkit("true")}
    {config(domain("a.example.com"), f"{PIN_SET}<trustkit-config disableDefaultReportUri='true'/>")}
    </domain-config>"""
    assert [each.mode for each in import_from("trustkit-android", document(text)).pins.hosts] == [
        None, None
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "system"),
    [
        ("api.corp.internal", "trustkit-android"),
        ("api.corp.internal", "trustkit-ios"),
        ("nas.local", "trustkit-ios"),
        ("x.test", "trustkit-android"),
        ("under_score.example.net", "trustkit-android"),
        ("shop.blog", "trustkit-android"),
        ("**.co.uk", "trustkit-ios"),
        ("**.github.io", "trustkit-ios"),
    ],
)
def test_a_name_over_which_trustkit_throws_is_left_out_and_told(name, system):
    export = export_to(system, pin_file(host("a.example.com"), host(name)))
    plain = name.removeprefix("**.")
    assert plain.encode() not in b"".join(export.files.values())
    found = [(each.name, each.direction, each.host) for each in export.losses]
    assert found[0] == ("host-unpinned", "less-safe", name)
    assert ("name-unknown-to-target", "information", plain) in found


@pytest.mark.parametrize(
    ("name", "system"),
    [
        ("under_score.example.net", "trustkit-ios"),
        ("shop.blog", "trustkit-ios"),
        ("**.example.co.uk", "trustkit-ios"),
        ("shop.co.uk", "trustkit-ios"),
        ("xn--bcher-kva.com", "trustkit-android"),
    ],
)
def test_a_name_that_trustkit_knows_is_written(name, system):
    export = export_to(system, pin_file(host(name)))
    assert export.losses == ()


def test_a_name_over_which_trustkit_throws_is_told_when_read():
    files = document(config(domain("api.corp.internal"), PIN_SET + trustkit("true")))
    [told] = import_from("trustkit-android", files).losses
    assert (told.name, told.host) == ("name-unknown-to-target", "api.corp.internal")


def test_an_unpinned_domain_that_nothing_wider_covers_is_no_problem():
    files = document(config(domain("a.example")) + config(domain("other.example"), ""))
    assert len(import_from("trustkit-android", files).pins.hosts) == 1


@pytest.mark.parametrize("name", ["trustkit-android", "trustkit-ios"])
def test_one_pin_is_refused_as_trustkit_would_when_the_app_starts(name):
    with pytest.raises(FormatError, match="add a backup"):
        export_to(name, pin_file(host("a.example.com", FIRST)))
    reported = export_to(name, pin_file(host("a.example.com", FIRST, mode="report")))
    assert reported.files


@pytest.mark.parametrize("name", ["trustkit-android", "trustkit-ios", "hpkp", "tlsa", "chromium"])
@pytest.mark.parametrize("unsaid", ["127.0.0.1", "::1", "localhost"])
def test_a_host_that_a_system_cannot_pin_is_a_loss_towards_less_safety(name, unsaid):
    file = pin_file(host("a.example.com"), host(unsaid))
    [found] = [each for each in export_to(name, file).losses if each.name == "host-unpinned"]
    assert (found.host, found.direction) == (unsaid, "less-safe")
    with pytest.raises(FormatError, match=r"none of the hosts|no host with pins"):
        export_to(name, pin_file(host(unsaid)))


def test_an_ipv6_address_is_left_out_on_android():
    file = pin_file(host("a.example"), host("::1"), host("127.0.0.1"))
    [found] = export_to("android", file).losses
    assert (found.name, found.host) == ("host-unpinned", "::1")


def test_two_rules_for_one_domain_are_put_together_and_that_is_told():
    file = pin_file(host("example.com", FIRST), host("**.example.com", SECOND, THIRD))
    losses = export_to("android", file).losses
    assert [(each.name, each.host) for each in losses] == [
        ("other-pins-accepted", "example.com"),
        ("other-pins-accepted", "**.example.com"),
    ]
