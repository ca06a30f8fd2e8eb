"""`keypin export` and `keypin import`: what is written, what is refused, and what is told."""

from __future__ import annotations

import json
import os
import ssl

import pytest

from keypin import Pin
from keypin.formats import FORMATS
from keypin.pinfile import HostEntry, PinFile

FIRST = Pin("sha256/k3XnEYQCK79AtL9GYnT/nyhsabas03V+bhRQYHQbpXU=")
SECOND = Pin("sha256/afwiKY3RxoMmLkuRW1l7QsPZTJPwDS2pdDROQjXw8ig=")


@pytest.fixture
def pins(tmp_path):
    """Write pins.toml of these hosts; two pins for one host unless they are given."""

    def write(*hosts: HostEntry, name: str = "pins.toml") -> PinFile:
        file = PinFile(hosts or [HostEntry("**.example.com", [FIRST, SECOND])])
        file.dump(tmp_path / name)
        return file

    return write


def test_the_file_goes_to_standard_output_and_the_report_to_standard_error(keypin, pins):
    pins(HostEntry("*.example.com", [FIRST]))
    ended = keypin("export", "android")
    assert ended.code == 0
    assert ended.text.startswith("<?xml ")
    assert ended.error == (
        "stricter     newly-pinned\n"
        "             Android pins example.com, hosts two or more labels below example.com, the pin"
        " file does not\n"
    )


def test_nothing_is_reported_where_nothing_is_lost(keypin, pins):
    pins()
    assert keypin("export", "android", "--strict").error == ""


def test_what_makes_the_result_less_safe_is_written_only_if_it_is_allowed_by_name(
    keypin, pins, tmp_path
):
    pins(HostEntry("**.example.com", [FIRST], match="leaf"))
    ended = keypin("export", "ios", "-o", "Info.plist")
    assert (ended.code, ended.output) == (77, b"")
    report, error = ended.error.rsplit("keypin: ", 1)
    assert report.startswith("less-safe    host-unpinned  **.example.com\n")
    assert error == (
        "nothing written: the result would be less safe. If that is accepted: --allow host-unpinned"
        "\n"
    )
    assert os.listdir(tmp_path) == ["pins.toml"]
    assert keypin("export", "ios", "-o", "Info.plist", "--allow", "leaf-becomes-chain").code == 77
    ended = keypin("export", "ios", "-o", "Info.plist", "--allow", "host-unpinned")
    assert (ended.code, ended.output) == (0, b"")
    assert ended.error == report
    assert b"NSPinnedLeafIdentities" in (tmp_path / "Info.plist").read_bytes()


def test_all_that_is_less_safe_has_to_be_allowed(keypin, pins):
    pins(HostEntry("**.example.com", [FIRST], deny=[SECOND], match="leaf"))
    one = ("--allow", "deny-not-carried")
    ended = keypin("export", "okhttp", *one)
    assert ended.code == 77
    assert ended.error.endswith("accepted: --allow leaf-becomes-chain\n")
    assert keypin("export", "okhttp", *one, "--allow", "leaf-becomes-chain").code == 0


def test_strict_refuses_any_loss_allowed_or_not(keypin, pins):
    pins(HostEntry("*.example.com", [FIRST]))
    ended = keypin("export", "android", "--strict")
    assert (ended.code, ended.output) == (77, b"")
    assert ended.error.endswith("nothing written (--strict), because of: newly-pinned\n")


@pytest.mark.parametrize("name", ["newly-pinned", "everything", ""])
def test_only_what_makes_less_safe_can_be_allowed(keypin, pins, name):
    pins()
    ended = keypin("export", "android", "--allow", name)
    assert ended.code == 64
    assert "is nothing to allow" in ended.error


def test_the_report_as_json(keypin, pins):
    pins(HostEntry("*.example.com", [FIRST], mode="report", match="leaf"))
    ended = keypin("export", "android", "--json", "--allow", "leaf-becomes-chain")
    assert ended.code == 0
    report = json.loads(ended.error)
    assert report["version"] == 1
    assert [(each["name"], each["direction"]) for each in report["losses"]] == [
        ("leaf-becomes-chain", "less-safe"),
        ("newly-pinned", "stricter"),
        ("report-enforced", "stricter"),
    ]
    assert set(report["losses"][0]) == {"name", "direction", "host", "text", "refused"}
    assert not any(each["refused"] for each in report["losses"])


def test_a_report_as_json_says_itself_what_is_refused(keypin, pins):
    pins(HostEntry("*.example.com", [FIRST], match="leaf"))
    ended = keypin("export", "android", "--json")
    assert (ended.code, ended.output) == (77, b"")
    refused = {each["name"]: each["refused"] for each in json.loads(ended.error)["losses"]}
    assert refused == {"leaf-becomes-chain": True, "newly-pinned": False}


def test_another_pin_file_is_named_with_pins(keypin, pins):
    pins(HostEntry("a.example", [FIRST]), name="other.json")
    ended = keypin("export", "curl", "--pins", "other.json")
    assert "https://a.example/" in ended.text
    missing = keypin("export", "curl")
    assert (missing.code, missing.error) == (66, "keypin: no such file: pins.toml\n")


def test_a_pin_file_that_is_wrong_is_refused(keypin, tmp_path):
    (tmp_path / "pins.toml").write_text("schema = 3\n")
    ended = keypin("export", "android")
    assert ended.code == 65
    assert "pins.toml, line 1: schema" in ended.error


def test_what_a_format_cannot_say_at_all_is_refused(keypin, pins):
    pins(HostEntry("a.example", [FIRST]))
    ended = keypin("export", "hpkp")
    assert ended.code == 65
    assert ended.error.startswith("keypin: pins.toml cannot be written as hpkp: a.example has one")


def test_a_file_that_exists_is_kept_unless_forced(keypin, pins, tmp_path):
    pins()
    (tmp_path / "pins.xml").write_text("precious")
    assert keypin("export", "android", "-o", "pins.xml").code == 73
    assert (tmp_path / "pins.xml").read_text() == "precious"
    assert keypin("export", "android", "-o", "pins.xml", "--force").code == 0
    assert (tmp_path / "pins.xml").read_text().startswith("<?xml")


@pytest.mark.parametrize("name", [name for name in FORMATS if FORMATS[name].is_folder])
def test_several_files_need_a_folder(keypin, pins, name):
    pins()
    ended = keypin("export", name)
    assert ended.code == 64
    assert "-o FOLDER" in ended.error


@pytest.mark.parametrize("command", ["export", "import"])
def test_an_unknown_format_is_refused_with_those_that_there_are(keypin, command):
    ended = keypin(command, "iso", *["x"] * (command == "import"))
    assert ended.code == 64
    assert "no such format: iso; there are android, ios," in ended.error


@pytest.mark.parametrize("command", ["export", "import"])
def test_the_help_names_every_format(keypin, command):
    words = keypin(command, "--help").text.replace(",", " ").replace("(", " ").split()
    assert set(FORMATS) <= {word.rstrip(".") for word in words}


# Certificates


def test_certificates_are_found_by_their_keys(keypin, pins, tmp_path, credential, issuing, root):
    pins(HostEntry("api.example.com", [credential.pin], match="leaf"))
    folder = tmp_path / "certificates"
    folder.mkdir()
    (folder / "api 2026 (new).pem").write_bytes(credential.chain_pem)
    (folder / "root.CER").write_bytes(root.certificate)
    (folder / "notes.txt").write_text("not read")
    ended = keypin("export", "mobilefirst", "--certificates", "certificates", "-o", "out/pinning")
    assert ended.code == 0, ended.error
    written = tmp_path / "out" / "pinning" / "certificates"
    assert os.listdir(written) == ["api-2026-new.cer"]
    assert (written / "api-2026-new.cer").read_bytes() == credential.certificate
    again = keypin("export", "mobilefirst", "--certificates", "certificates", "-o", "out/pinning")
    assert again.code == 73


def test_an_app_is_not_left_with_certificates_of_an_earlier_export(
    keypin, pins, tmp_path, credential
):
    pins(HostEntry("api.example.com", [credential.pin], match="leaf"))
    (tmp_path / "certificates").mkdir()
    (tmp_path / "certificates" / "new.cer").write_bytes(credential.certificate)
    folder = tmp_path / "out" / "www" / "certificates"
    folder.mkdir(parents=True)
    (folder / "old.CER").write_bytes(b"revoked since")
    less_safe = ("other-pins-accepted", "leaf-becomes-chain", "certificate-becomes-anchor")
    allowed = [word for name in less_safe for word in ("--allow", name)]
    export = ["export", "cordova", "--certificates", "certificates", "-o", "out", "--force"]
    ended = keypin(*export, *allowed)
    assert ended.code == 73
    assert "holds other files that would count, too: old.CER. Remove them first" in ended.error
    assert os.listdir(folder) == ["old.CER"]
    (folder / "old.CER").unlink()
    assert keypin(*export, *allowed).code == 0
    assert keypin(*export, *allowed).code == 0
    assert os.listdir(folder) == ["new.cer"]


def test_a_folder_that_cannot_be_made_is_named(keypin, pins, tmp_path, credential):
    pins(HostEntry("a.example", [credential.pin], match="leaf"))
    (tmp_path / "leaf.cer").write_bytes(credential.certificate)
    (tmp_path / "out").write_text("a file")
    ended = keypin("export", "mobilefirst", "--certificates", ".", "-o", "out")
    assert ended.code == 73
    assert "cannot make out/" in ended.error


def test_certificates_tell_keys_of_cas_from_servers(keypin, pins, tmp_path, credential, issuing):
    pins(HostEntry("a.example", [credential.pin, issuing.pin]))
    (tmp_path / "chain.pem").write_bytes(credential.chain_pem)
    ended = keypin("export", "tlsa", "--certificates", ".", "--allow", "ca-not-checked")
    assert ended.code == 0, ended.error
    records = [line.split()[3:] for line in ended.lines[1:]]
    assert records == [
        ["3", "1", "1", credential.pin.digest.hex()],
        ["2", "1", "1", issuing.pin.digest.hex()],
    ]


def test_certificates_of_one_name_are_kept_apart(keypin, pins, tmp_path, issuing):
    some = [issuing.issue("localhost") for _ in range(2)]
    pins(HostEntry("a.example", [each.pin for each in some], match="leaf"))
    text = "".join(ssl.DER_cert_to_PEM_cert(each.certificate) for each in some)
    (tmp_path / "both.pem").write_text(text)
    ended = keypin("export", "mobilefirst", "--certificates", ".", "-o", "out")
    assert ended.code == 0, ended.error
    folder = tmp_path / "out" / "certificates"
    assert sorted(os.listdir(folder)) == ["both-2.cer", "both.cer"]


def test_a_folder_of_certificates_that_is_not_there(keypin, pins):
    pins()
    ended = keypin("export", "cordova", "--certificates", "nowhere", "-o", "out")
    assert (ended.code, ended.error) == (66, "keypin: no such folder: nowhere (--certificates)\n")


def test_a_certificate_that_is_none_is_named(keypin, pins, tmp_path):
    pins()
    folder = tmp_path / "certificates"
    folder.mkdir()
    (folder / "a.cer").write_text("hello")
    ended = keypin("export", "ios", "--certificates", "certificates")
    assert ended.code == 65
    assert "a.cer: not a certificate" in ended.error


# Import


def test_what_was_exported_is_imported(keypin, pins, tmp_path):
    file = pins()
    (tmp_path / "nsc.xml").write_bytes(keypin("export", "android").output)
    ended = keypin("import", "android", "nsc.xml", "-o", "again.toml")
    assert (ended.code, ended.output, ended.error) == (0, b"", "")
    assert PinFile.load(tmp_path / "again.toml").pin_set() == file.pin_set()
    ended = keypin("import", "android", "nsc.xml")
    assert PinFile.loads(ended.text).pin_set() == file.pin_set()
    assert keypin("import", "android", "nsc.xml", "-o", "again.json").code == 0
    assert PinFile.load(tmp_path / "again.json").pin_set() == file.pin_set()


def test_an_import_that_is_less_safe_is_written_only_if_allowed(keypin, tmp_path):
    text = f"""<network-security-config><domain-config>
    <domain>a.example</domain><trust-anchors><certificates src="@raw/ca" /></trust-anchors>
    <pin-set><pin digest="SHA-256">{str(FIRST)[7:]}</pin></pin-set>
    </domain-config></network-security-config>"""
    (tmp_path / "nsc.xml").write_text(text)
    ended = keypin("import", "android", "nsc.xml", "-o", "pins.toml")
    assert ended.code == 77
    assert os.listdir(tmp_path) == ["nsc.xml"]
    allow = ("--allow", "trust-anchors-restricted")
    assert keypin("import", "android", "nsc.xml", "-o", "pins.toml", *allow).code == 0
    assert PinFile.load(tmp_path / "pins.toml").hosts[0].name == "a.example"


def test_a_pin_file_that_exists_is_kept_unless_forced(keypin, pins, tmp_path):
    pins(HostEntry("a.example", [FIRST], match="leaf"))
    (tmp_path / "pins.sh").write_bytes(keypin("export", "curl").output)
    assert keypin("import", "curl", "pins.sh", "-o", "pins.toml").code == 73
    assert keypin("import", "curl", "pins.sh", "-o", "pins.toml", "--force").code == 0


def test_what_is_not_understood_is_refused_with_its_line(keypin, tmp_path):
    (tmp_path / "pins.sh").write_text("#!/bin/sh\nwget https://a.example/\n")
    ended = keypin("import", "curl", "pins.sh")
    assert (ended.code, ended.output) == (65, b"")
    assert ended.error == "keypin: pins.sh, line 2: not a curl command: 'wget'\n"


def test_a_folder_of_certificates_becomes_a_pin_file_for_named_hosts(keypin, tmp_path, credential):
    folder = tmp_path / "www" / "certificates"
    folder.mkdir(parents=True)
    (folder / "active.cer").write_bytes(credential.certificate)
    assert "--host NAME" in keypin("import", "mobilefirst", "www").error
    ended = keypin("import", "mobilefirst", "www", "--host", "a.example", "--host", "b.example")
    assert ended.code == 0
    pins = PinFile.loads(ended.text)
    assert [host.name for host in pins.hosts] == ["a.example", "b.example"]
    assert pins.hosts[0].pins[0].pin == credential.pin


def test_a_folder_is_refused_where_a_file_is_read(keypin, tmp_path):
    (tmp_path / "folder").mkdir()
    ended = keypin("import", "android", "folder")
    assert (ended.code, ended.error) == (64, "keypin: android is one file, folder is a folder\n")


def test_a_folder_that_holds_far_too_much_is_refused(keypin, tmp_path):
    (tmp_path / "all").mkdir()
    for number in range(1001):
        (tmp_path / "all" / str(number)).touch()
    ended = keypin("import", "cordova", "all", "--host", "a.example")
    assert ended.code == 65
    assert "name the right folder" in ended.error


@pytest.mark.parametrize("name", ["pins.txt", "pins"])
def test_a_pin_file_has_a_name_that_says_what_it_is(keypin, name):
    ended = keypin("import", "android", "nsc.xml", "-o", name)
    assert ended.code == 64
    assert "ends in .toml or .json" in ended.error


def test_a_file_that_is_not_there(keypin):
    ended = keypin("import", "android", "nsc.xml")
    assert (ended.code, ended.error) == (66, "keypin: no such file: nsc.xml\n")


def test_as_programs(keypin_process, pins, tmp_path):
    file = pins()
    ended = keypin_process("export", "trustkit-ios", "--strict")
    assert (ended.code, ended.error) == (0, "")
    (tmp_path / "Info.plist").write_bytes(ended.output)
    ended = keypin_process("import", "trustkit-ios", "Info.plist")
    assert (ended.code, ended.error) == (0, "")
    assert PinFile.loads(ended.text).pin_set() == file.pin_set()
