"""Property lists: App Transport Security's pins, and TrustKit's for iOS."""

from __future__ import annotations

import plistlib
import shutil
import subprocess
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scene import authority, issuing, pinned
from some_pins import FIRST, PINS, SECOND, host, pin_file, pin_files

from keypin.formats import Certificate, FormatError, export_to, import_from
from keypin.pinfile import PinEntry

plistutil = shutil.which("plistutil")
needs_plistutil = pytest.mark.skipif(plistutil is None, reason="needs plistutil (make system-deps)")
PIN, BACKUP = (str(pin).removeprefix("sha256/") for pin in (FIRST, SECOND))


def exported(name: str, file: Any, certificates: Any = None) -> Any:
    [content] = export_to(name, file, certificates).files.values()
    return plistlib.loads(content)


@needs_plistutil
@pytest.mark.parametrize("name", ["ios", "trustkit-ios"])
@settings(max_examples=15)
@given(
    file=pin_files(fewest_pins=2, modes=("enforce", "report"), fail_open=True, matches=("leaf",))
)
def test_libplist_reads_what_is_written_as_plistlib_does(name, file):
    [content] = export_to(name, file).files.values()
    command = [plistutil, "-i", "-", "-o", "-", "-f", "bin"]
    done = subprocess.run(command, input=content, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(b"bplist00")
    assert plistlib.loads(done.stdout) == plistlib.loads(content)


@needs_plistutil
def test_a_binary_list_of_libplist_is_read(tmp_path):
    file = pin_file(host("example.com", match="leaf"))
    [content] = export_to("ios", file).files.values()
    (tmp_path / "xml.plist").write_bytes(content)
    command = [plistutil, "-i", "xml.plist", "-o", "binary.plist", "-f", "bin"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=60)
    binary = (tmp_path / "binary.plist").read_bytes()
    assert binary.startswith(b"bplist00")
    assert import_from("ios", {"Info.plist": binary}).pins.pin_set() == file.pin_set()


def test_leaf_pins_are_written_as_apple_documents_them():
    file = pin_file(host("example.com", match="leaf"))
    assert exported("ios", file) == {
        "NSAppTransportSecurity": {
            "NSPinnedDomains": {
                "example.com": {
                    "NSIncludesSubdomains": False,
                    "NSPinnedLeafIdentities": [
                        {"SPKI-SHA256-BASE64": PIN},
                        {"SPKI-SHA256-BASE64": BACKUP},
                    ],
                }
            }
        }
    }


def known(*holders: Any) -> dict[Any, Certificate]:
    return {
        holder.pin: Certificate(f"{number}.cer", holder.certificate, holder is not pinned())
        for number, holder in enumerate(holders)
    }


def test_keys_known_to_be_cas_go_into_the_list_of_cas():
    file = pin_file(host("example.com", issuing().pin, authority().pin))
    export = export_to("ios", file, known(issuing(), authority()))
    assert export.losses == ()
    [entry] = exported("ios", file, known(issuing(), authority()))["NSAppTransportSecurity"][
        "NSPinnedDomains"
    ].values()
    assert "NSPinnedLeafIdentities" not in entry
    assert len(entry["NSPinnedCAIdentities"]) == 2
    imported = import_from("ios", export.files)
    assert imported.pins.pin_set() == file.pin_set()
    assert [each.name for each in imported.losses] == ["ca-or-leaf"]


def test_cas_among_servers_keys_are_left_out_because_apple_would_demand_both():
    file = pin_file(host("example.com", pinned().pin, issuing().pin))
    export = export_to("ios", file, known(pinned(), issuing()))
    assert [each.name for each in export.losses] == ["pins-missing", "leaf-only"]
    assert str(issuing().pin).removeprefix("sha256/").encode() not in export.files["Info.plist"]


def test_keys_in_service_of_which_nothing_is_known_are_in_no_list():
    """In the wrong one, every server would be refused."""
    entry = PinEntry(SECOND, key="2027")
    file = pin_file(
        host("example.com", FIRST, entry), host("a.example.org", match="leaf"), host("b.example")
    )
    with pytest.raises(FormatError, match="in the wrong list") as caught:
        export_to("ios", file)
    for said in (
        f"example.com: {FIRST}, 2027 ({SECOND})",
        "b.example: ",
        "--certificates",
        "authority",
    ):
        assert said in str(caught.value)
    assert "a.example.org" not in str(caught.value)


def test_a_backup_that_no_certificate_explains_is_taken_for_a_servers():
    entry = host("example.com", pinned().pin, PinEntry(SECOND, "backup"))
    export = export_to("ios", pin_file(entry), known(pinned()))
    assert [(each.name, each.direction) for each in export.losses] == [
        ("leaf-only", "stricter"),
        ("usage-unknown", "information"),
        ("notes-not-carried", "information"),
    ]
    assert str(SECOND) in export.losses[1].text


@pytest.mark.parametrize("authority", ["own", "other"])
def test_keys_marked_as_authorities_go_into_the_list_of_cas_and_come_back_marked(authority):
    pins = [PinEntry(pin, authority=authority) for pin in (FIRST, SECOND)]
    export = export_to("ios", pin_file(host("example.com", *pins)))
    assert lists_of(export) == ["NSPinnedCAIdentities"]
    noted = [each.name for each in export.losses]
    assert noted == (["notes-not-carried"] if authority == "own" else [])
    [entry] = import_from("ios", export.files).pins.hosts
    assert [(each.pin, each.authority) for each in entry.pins] == [
        (FIRST, "other"), (SECOND, "other")
    ]  # fmt: skip


def lists_of(export: Any) -> list[str]:
    [content] = export.files.values()
    [entry] = plistlib.loads(content)["NSAppTransportSecurity"]["NSPinnedDomains"].values()
    return [key for key in entry if key.endswith("Identities")]


def test_the_list_is_that_of_the_keys_in_service_and_others_are_told():
    """A server's backup key in the one list would have the servers of today refused."""
    ca, spare = PinEntry(FIRST, authority="own"), PinEntry(SECOND, "backup")
    export = export_to("ios", pin_file(host("example.com", ca, spare)))
    assert lists_of(export) == ["NSPinnedCAIdentities"]
    [missing] = [each for each in export.losses if each.name == "pins-missing"]
    assert str(SECOND) in missing.text
    mixed = pin_file(host("example.com", pinned().pin, PinEntry(SECOND, authority="own")))
    export = export_to("ios", mixed, known(pinned()))
    assert lists_of(export) == ["NSPinnedLeafIdentities"]
    assert "pins-missing" in [each.name for each in export.losses]


def test_an_authoritys_key_is_no_servers_because_only_servers_keys_count():
    entry = host("example.com", PinEntry(FIRST, authority="own"), match="leaf")
    with pytest.raises(FormatError, match="in the wrong list"):
        export_to("ios", pin_file(entry))


def test_authorities_that_android_pins_are_marked_by_their_certificates(tmp_path):
    """Android does not say which of its pins are of authorities; what ATS needs is asked for."""
    android = export_to("android", pin_file(host("example.com", issuing().pin, authority().pin)))
    file = import_from("android", android.files).pins
    with pytest.raises(FormatError, match="--certificates"):
        export_to("ios", file)
    export = export_to("ios", file, known(issuing(), authority()))
    assert lists_of(export) == ["NSPinnedCAIdentities"]


@settings(max_examples=50)
@given(lists=st.dictionaries(
    st.sampled_from(["example.com", "a.example.com", "b.example.org", "xn--bcher-kva.example"]),
    st.tuples(
        st.booleans(),
        st.sampled_from(["NSPinnedLeafIdentities", "NSPinnedCAIdentities"]),
        st.lists(st.sampled_from(PINS), min_size=1, max_size=4, unique=True),
    ),
    min_size=1,
))  # fmt: skip
def test_importing_and_exporting_again_is_the_identity(lists):
    content = plistlib.dumps({"NSAppTransportSecurity": {"NSPinnedDomains": {
        name: {
            "NSIncludesSubdomains": subdomains,
            key: [{"SPKI-SHA256-BASE64": str(pin).removeprefix("sha256/")} for pin in pins],
        }
        for name, (subdomains, key, pins) in lists.items()
    }}}, sort_keys=False)  # fmt: skip
    for _ in range(3):
        [again] = export_to("ios", import_from("ios", {"Info.plist": content}).pins).files.values()
        assert plistlib.loads(again) == plistlib.loads(content)
        content = again


def test_hosts_further_below_than_one_label_are_unpinned_on_ios():
    file = pin_file(host("**.example.com", match="leaf"))
    [found] = export_to("ios", file).losses
    assert (found.name, found.direction) == ("host-unpinned", "less-safe")
    assert "hosts two or more labels below example.com" in found.text


def test_entries_that_overlap_are_a_loss_because_nobody_says_which_decides():
    file = pin_file(
        host("example.com", FIRST, match="leaf"),
        host("*.example.com", FIRST, match="leaf"),
        host("pay.example.com", SECOND, match="leaf"),
    )
    export = export_to("ios", file)
    assert [(each.name, each.host) for each in export.losses] == [
        ("overlap-undocumented", "pay.example.com")
    ]
    assert [each.name for each in import_from("ios", export.files).losses] == [
        "overlap-undocumented"
    ]


def ats(name: str = "example.com", **entry: object) -> dict[str, bytes]:
    value = {"NSAppTransportSecurity": {"NSPinnedDomains": {name: entry}}}
    return {"Info.plist": plistlib.dumps({"CFBundleName": "App", **value})}


LEAVES = {"NSPinnedLeafIdentities": [{"SPKI-SHA256-BASE64": PIN}]}
CAS = {"NSPinnedCAIdentities": [{"SPKI-SHA256-BASE64": BACKUP}]}


def test_both_lists_at_once_cannot_be_carried_over():
    imported = import_from("ios", ats(**LEAVES, **CAS))
    assert [(each.name, each.direction) for each in imported.losses] == [
        ("ca-list-not-carried", "less-safe")
    ]
    [entry] = imported.pins.hosts
    assert (entry.match, [each.pin for each in entry.pins]) == ("leaf", [FIRST])


@pytest.mark.parametrize(
    ("files", "why"),
    [
        (ats(), "neither NSPinnedLeafIdentities nor"),
        (ats("*.example.com", **LEAVES), "a wildcard"),
        (ats("a b", **LEAVES), "not a host name"),
        (ats(**LEAVES, NSIncludesSubdomain=True), "example.com > NSIncludesSubdomain: unknown key"),
        (ats(**LEAVES, NSIncludesSubdomains="yes"), "neither true nor false"),
        (ats(NSPinnedLeafIdentities=[PIN]), "and nothing else"),
        (ats(NSPinnedLeafIdentities=PIN), "not an array"),
        (ats(NSPinnedLeafIdentities=[{"SPKI-SHA256-BASE64": "AAAA"}]), "32 bytes, this one 3"),
        (ats(NSPinnedLeafIdentities=[{"SPKI-SHA256-BASE64": 1}]), "a pin is a string"),
        ({"Info.plist": plistlib.dumps({"NSAppTransportSecurity": {}})}, "NSPinnedDomains"),
        ({"Info.plist": plistlib.dumps([])}, "not a dictionary"),
        ({"Info.plist": b"hello"}, "not a property list"),
        ({"Info.plist": b'<?xml version="1.0" encoding="TF-8"?><plist/>'}, "unknown encoding"),
        ({"Info.plist": b"<plist><dict><key>a</key></plist>"}, "not XML|not a property list"),
    ],
)
def test_what_app_transport_security_would_not_read_is_refused(files, why):
    with pytest.raises(FormatError, match=why):
        import_from("ios", files)


def test_a_key_that_is_there_twice_is_refused():
    [(name, content)] = ats(**LEAVES).items()
    entry = content.partition(b"<key>example.com</key>")[2].partition(b"</dict>\n\t\t</dict>")[0]
    twice = content.replace(
        b"<key>example.com</key>" + entry,
        (b"<key>example.com</key>" + entry + b"</dict>\n<key>example.com</key>" + entry),
    )
    assert twice.count(b"<key>example.com</key>") == 2
    with pytest.raises(FormatError, match="twice"):
        import_from("ios", {name: twice})


def test_entities_are_refused():
    bomb = b"""<?xml version="1.0"?><!DOCTYPE plist [<!ENTITY a "aaaa">]>
    <plist version="1.0"><dict><key>&a;</key><true/></dict></plist>"""
    for name in ("ios", "trustkit-ios"):
        with pytest.raises(FormatError, match="not a property list"):
            import_from(name, {"Info.plist": bomb})


# TrustKit


def test_trustkit_settings_are_written_out_and_send_no_reports_to_its_maker():
    expires = datetime(2027, 6, 1, tzinfo=UTC)
    file = pin_file(
        host("**.example.com"),
        host("example.org", mode="report", expires=expires, on_expiry="allow"),
        host("status.example.com", exclude=True),
    )
    pins = [PIN, BACKUP]
    assert exported("trustkit-ios", file)["TSKConfiguration"] == {
        "TSKSwizzleNetworkDelegates": False,
        "TSKIgnorePinningForUserDefinedTrustAnchors": False,
        "TSKPinnedDomains": {
            "example.com": {
                "TSKIncludeSubdomains": True,
                "TSKEnforcePinning": True,
                "TSKDisableDefaultReportUri": True,
                "TSKPublicKeyHashes": pins,
            },
            "example.org": {
                "TSKIncludeSubdomains": False,
                "TSKEnforcePinning": False,
                "TSKDisableDefaultReportUri": True,
                "TSKPublicKeyHashes": pins,
                "TSKExpirationDate": "2027-06-01",
            },
            "status.example.com": {"kSKExcludeSubdomainFromParentPolicy": True},
        },
    }
    assert export_to("trustkit-ios", file).losses == ()


def test_trustkit_exempts_one_name_and_nothing_below_it():
    file = pin_file(host("**.example.com"), host("**.status.example.com", exclude=True))
    [found] = export_to("trustkit-ios", file).losses
    assert (found.name, found.direction) == ("exclusion-not-carried", "stricter")
    assert found.text.count("below status.example.com") == 2


def test_an_exemption_that_trustkit_would_refuse_is_left_out():
    file = pin_file(host("a.example.com"), host("b.example.com", exclude=True), unlisted="refuse")
    export = export_to("trustkit-ios", file)
    assert b"b.example.com" not in export.files["Info.plist"]
    assert {each.name for each in export.losses} == {"unlisted-allowed"}


def tsk(name: str = "example.com", **entry: object) -> dict[str, bytes]:
    value = {"TSKConfiguration": {"TSKPinnedDomains": {name: entry}}}
    return {"Info.plist": plistlib.dumps(value)}


def test_trustkit_enforces_unless_told_not_to():
    imported = import_from(
        "trustkit-ios",
        tsk(
            TSKPublicKeyHashes=[PIN, BACKUP, PIN],
            TSKReportUris=["https://reports.example/"],
            TSKExpirationDate="2027-06-01",
        ),
    )
    [entry] = imported.pins.hosts
    assert (entry.mode, entry.on_expiry) == (None, "allow")
    assert entry.expires == datetime(2027, 6, 1, tzinfo=UTC)
    assert [each.pin for each in entry.pins] == [FIRST, SECOND]
    assert {each.name for each in imported.losses} == {
        "expiry-fails-open",
        "report-uri-not-carried",
    }
    files = tsk(TSKPublicKeyHashes=[PIN], TSKEnforcePinning=False, TSKIncludeSubdomains=True)
    [entry] = import_from("trustkit-ios", files).pins.hosts
    assert (entry.name, entry.mode) == ("**.example.com", "report")


def test_the_part_of_a_list_below_its_outermost_key_is_read_too():
    value = {"TSKPinnedDomains": {"example.com": {"TSKPublicKeyHashes": [PIN, BACKUP]}}}
    files = {"part.plist": plistlib.dumps(value)}
    assert import_from("trustkit-ios", files).pins.hosts[0].name == "example.com"
    [(name, content)] = ats(**LEAVES).items()
    value = plistlib.loads(content)["NSAppTransportSecurity"]
    assert import_from("ios", {name: plistlib.dumps(value)}).pins.hosts[0].name == "example.com"


@pytest.mark.parametrize(
    ("files", "why"),
    [
        (tsk(), "no host with pins|a host needs pins"),
        (tsk("*.example.com", TSKPublicKeyHashes=[PIN]), "a wildcard"),
        (tsk("API.example.com", TSKPublicKeyHashes=[PIN]), "letter by letter: write api.example"),
        (tsk("b\u00fccher.com", TSKPublicKeyHashes=[PIN]), "write xn--bcher-kva.com"),
        (tsk("example.com.", kSKExcludeSubdomainFromParentPolicy=True), "write example.com"),
        (tsk(TSKPublicKeyHashes=["AAAA"]), "32 bytes, this one 3"),
        (tsk(TSKPublicKeyHashes=[PIN], TSKExpirationDate="soon"), "a date"),
        (tsk(TSKPublicKeyHashes=[PIN], TSKExpirationDate=2027), "a date"),
        (tsk(TSKPublicKeyHashes=[PIN], TSKEnforcePining=True), "unknown key"),
        (tsk(kSKExcludeSubdomainFromParentPolicy=True, TSKPublicKeyHashes=[PIN]), "unknown key"),
        (tsk(TSKExcludeSubdomainFromParentPolicy=True), "in its source is kSKExclude"),
        (tsk(TSKPublicKeyHashes=["A" * 43 + "=", PIN]), "a placeholder"),
        (tsk(TSKPublicKeyHashes=[PIN[:-1]]), "not base64"),
        (tsk(TSKPublicKeyHashes=[1]), "not an array of strings"),
        ({"Info.plist": plistlib.dumps({})}, "TSKPinnedDomains"),
        ({"Info.plist": plistlib.dumps({"TSKConfiguration": {"TSKPins": 1}})}, "TSKPinnedDomains"),
    ],
)
def test_what_trustkit_would_not_read_is_refused(files, why):
    with pytest.raises(FormatError, match=why):
        import_from("trustkit-ios", files)


# Lines


XML = f"""<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
  <key>Other</key>
  <array><dict><key>NSPinnedDomains</key><string/></dict></array>
  <key>NSAppTransportSecurity</key>
  <dict>
    <key>NSPinnedDomains</key>
    <dict>
      <key>a.example.com</key>
      <dict>
        <key>NSPinnedLeafIdentities</key>
        <array>
          <dict><key>SPKI-SHA256-BASE64</key><string>{PIN}</string></dict>
          <dict>
            <key>SPKI-SHA256-BASE64</key>
            <string>{BACKUP}</string>
          </dict>
        </array>
      </dict>
    </dict>
  </dict>
</dict>
</plist>
"""


@pytest.mark.parametrize(
    ("right", "wrong", "line", "said"),
    [
        (BACKUP, BACKUP[:-2], 17, "a.example.com > NSPinnedLeafIdentities > SPKI-SHA256-BASE64: "),
        (PIN, "A" * 43 + "=", 15, "a placeholder"),
        ("a.example.com", "*.example.com", 11, "*.example.com: a wildcard"),
        ("a.example.com", "a b", 11, "not a host name"),
        ("NSPinnedLeafIdentities", "NSPinnedLeaf", 13, "a.example.com > NSPinnedLeaf: unknown key"),
        ("<array>\n", "<array><string/>\n", 14, "and nothing else"),
        ("NSPinnedDomains</key>\n", "X</key>\n", None, "no NSAppTransportSecurity"),
    ],
)
def test_errors_name_the_line_of_a_list_in_xml(right, wrong, line, said):
    assert import_from("ios", {"Info.plist": XML.encode()}).pins
    with pytest.raises(FormatError) as caught:
        import_from("ios", {"Info.plist": XML.replace(right, wrong).encode()})
    assert said in str(caught.value)
    assert caught.value.line == line


def test_errors_in_trustkits_list_name_domain_and_line_and_in_a_binary_one_the_domain():
    [(name, content)] = tsk("a.example.com", TSKPublicKeyHashes=[PIN, "x"]).items()
    with pytest.raises(FormatError, match=r"a\.example\.com > TSKPublicKeyHashes: ") as caught:
        import_from("trustkit-ios", {name: content})
    assert content.splitlines()[caught.value.line - 1].strip() == b"<string>x</string>"
    binary = plistlib.dumps(plistlib.loads(content), fmt=plistlib.FMT_BINARY)
    with pytest.raises(FormatError, match=r"a\.example\.com > TSKPublicKeyHashes: ") as caught:
        import_from("trustkit-ios", {name: binary})
    assert caught.value.line is None
