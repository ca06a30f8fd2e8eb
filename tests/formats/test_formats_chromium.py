"""Chromium's list of static pins."""

from __future__ import annotations

import json
import shutil
import ssl
import subprocess

import pytest
from scene import pinned
from some_pins import FIRST, SECOND, THIRD, host, pin_file

from keypin import Pin
from keypin.formats import FormatError, export_to, import_from
from keypin.lab import new_key

node = shutil.which("node")
JSON, PINS = "transport_security_state_static_pins.json", "transport_security_state_static.pins"
# What Chromium's generator does with the two files, as far as names lead to keys
RESOLVE = """
const fs = require('fs');
const list = JSON.parse(fs.readFileSync(process.argv[1], 'utf8').replace(/^\\s*\\/\\/.*$/gm, ''));
const lines = fs.readFileSync(process.argv[2], 'utf8').split('\\n');
const keys = {};
let name = null;
for (const line of lines) {
  if (!line || line[0] === '#') continue;
  if (name === null) { name = line; continue; }
  keys[name] = line;
  name = null;
}
const sets = Object.fromEntries(list.pinsets.map((set) => [set.name, set]));
const pins = (names) => (names || []).map((name) => keys[name]);
console.log(JSON.stringify(list.entries.map((entry) => [
  entry.name,
  entry.include_subdomains === true,
  pins(sets[entry.pins].static_spki_hashes),
  pins(sets[entry.pins].bad_static_spki_hashes),
])));
"""


@pytest.mark.skipif(node is None, reason="needs node (make system-deps)")
def test_a_program_in_javascript_finds_the_same_rules_in_both_files(tmp_path):
    file = pin_file(
        host("**.example.com", deny=[THIRD]), host("example.org", FIRST), host("a.example.net")
    )
    export = export_to("chromium", file)
    for name, content in export.files.items():
        (tmp_path / name).write_bytes(content)
    command = [node, "-e", RESOLVE, JSON, PINS]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    first, second, third = str(FIRST), str(SECOND), str(THIRD)
    assert json.loads(done.stdout) == [
        ["example.com", True, [first, second], [third]],
        ["example.org", False, [first], []],
        ["a.example.net", False, [first, second], []],
    ]
    assert not [each for each in export.losses if each.name == "deny-not-carried"]


def test_the_keys_have_names_and_a_timestamp_as_the_generator_demands():
    keys = export_to("chromium", pin_file(host("example.com"))).files[PINS].decode()
    comment, name, stamp, *rest = keys.splitlines()
    assert (comment[0], name) == ("#", "PinsListTimestamp")
    assert stamp.isdecimal()
    names = [line for line in rest if line and not line.startswith("sha256/")]
    assert all(name[0].isupper() and name.replace("_", "").isalnum() for name in names)
    assert len(set(names)) == 2


def test_that_the_list_lapses_and_exempts_local_cas_is_less_safe():
    losses = export_to("chromium", pin_file(host("example.com"))).losses
    assert [(each.name, each.direction) for each in losses] == [
        ("pins-lapse", "less-safe"),
        ("local-anchors-exempt", "less-safe"),
    ]


KEYS = f"# keys\nPinsListTimestamp\n1700000000\n\nGoodKey\n{FIRST}\n\nBadKey\n{SECOND}\n"


def files(entries: str, pinsets: str | None = None, keys: str | None = KEYS) -> dict[str, bytes]:
    sets = (
        pinsets
        or """[{"name": "ours", "static_spki_hashes": ["GoodKey"],
        "bad_static_spki_hashes": ["BadKey"]}]"""
    )
    text = f'// comment: "\n{{"pinsets": {sets},\n  // another\n"entries": {entries}}}'
    found = {JSON: text.encode()}
    return found if keys is None else {**found, PINS: keys.encode()}


OURS = '{"name": "a.example", "pins": "ours"}'


def test_the_form_until_2022_with_hsts_among_the_entries_is_read():
    imported = import_from(
        "chromium",
        files(
            """[
        {"name": "a.example", "policy": "custom", "mode": "force-https",
         "include_subdomains": true, "pins": "ours"},
        {"name": "hsts.example", "policy": "custom", "mode": "force-https"}]"""
        ),
    )
    [entry] = imported.pins.hosts
    assert entry.name == "**.a.example"
    assert ([each.pin for each in entry.pins], entry.deny) == ([FIRST], (SECOND,))


def test_an_entry_for_a_top_level_domain_is_left_out_with_a_loss():
    tld = '{"name": "dev", "include_subdomains": true, "pins": "ours"}'
    imported = import_from("chromium", files(f"[{tld}, {OURS}]"))
    assert [each.name for each in imported.pins.hosts] == ["a.example"]
    [found] = imported.losses
    assert (found.name, found.direction, found.host) == (
        "top-level-domain-left-out",
        "less-safe",
        "dev",
    )


def test_subdomains_may_be_included_for_pinning_alone():
    """As in the entries of the form until 2022, with all that these had beside."""
    entry = """{"name": "a.example", "policy": "custom", "snionly": true,
        "include_subdomains_for_pinning": true, "pins": "ours", "expect_ct": true,
        "expect_ct_report_uri": "https://r.example/", "expect_staple": true}"""
    [found] = import_from("chromium", files(f"[{entry}]")).pins.hosts
    assert found.name == "**.a.example"


def test_the_file_of_keys_may_be_the_older_one_of_certificates():
    content = files(f"[{OURS}]", keys=f"{KEYS}Old\nsha1/AAAAAAAAAAAAAAAAAAAAAAAAAAA=\n")
    content["transport_security_state_static.certs"] = content.pop(PINS)
    assert import_from("chromium", content).pins.hosts[0].pins[0].pin == FIRST
    content[JSON] = content[JSON].replace(b'"GoodKey"', b'"Old"')
    with pytest.raises(FormatError, match="Old is known by its SHA-1 only"):
        import_from("chromium", content)


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_the_last_line_may_have_no_end(end):
    pem = ssl.DER_cert_to_PEM_cert(pinned().certificate).strip()
    for last, pin in ((pem, pinned().pin), (str(THIRD), THIRD)):
        keys = f"{KEYS}\nLast\n{last}".replace("\n", "\r\n" if end == "\r\n" else "\n") + end
        sets = '[{"name": "ours", "static_spki_hashes": ["Last"]}]'
        [entry] = import_from("chromium", files(f"[{OURS}]", sets, keys)).pins.hosts
        assert [each.pin for each in entry.pins] == [pin]


def test_a_wrong_entry_is_refused_with_its_line():
    wrong = '{"name": "b.example", "pins": "theirs"}'
    with pytest.raises(FormatError, match=r"b\.example: no pinset") as caught:
        import_from("chromium", files(f"[{OURS},\n\n{wrong}]"))
    assert (caught.value.file, caught.value.line) == (JSON, 7)


def test_pins_may_stand_in_the_list_itself_and_reports_are_left_out():
    sets = f"""[{{"name": "ours", "static_spki_hashes": ["{FIRST}"],
        "report_uri": "https://r.example/"}}]"""
    imported = import_from("chromium", files(f"[{OURS}]", sets, keys=None))
    assert imported.pins.hosts[0].pins[0].pin == FIRST
    assert [each.name for each in imported.losses] == ["report-uri-not-carried"]


def test_keys_may_be_certificates_and_public_keys():
    pem = ssl.DER_cert_to_PEM_cert(pinned().certificate)
    key = new_key()
    public = ssl.DER_cert_to_PEM_cert(key.spki).replace("CERTIFICATE", "PUBLIC KEY")
    keys = f"{KEYS}\nOurCert\n{pem}\nOurKey\n{public}\nLast\n{THIRD}\n"
    sets = '[{"name": "ours", "static_spki_hashes": ["OurCert", "OurKey", "Last"]}]'
    [entry] = import_from("chromium", files(f"[{OURS}]", sets, keys)).pins.hosts
    assert [each.pin for each in entry.pins] == [pinned().pin, Pin.from_public_key(key.spki), THIRD]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (files("[" + OURS.replace("ours", "theirs") + "]"), "no pinset is called 'theirs'"),
        (files("[" + OURS.replace("pins", "pin") + "]"), "unknown key 'pin'"),
        (files('[{"pins": "ours"}]'), "'name' is missing"),
        (files(f"[{OURS}, {OURS}]"), "is the same host as"),
        (files('[{"name": "*.example.com", "pins": "ours"}]'), "a wildcard"),
        (files('[{"name": 7, "pins": "ours"}]'), "name is a string"),
        (files('[{"name": "a.example", "pins": "ours", "include_subdomains": 1}]'), "true or"),
        (files('[{"name": "a.example", "name": "b.example", "pins": "ours"}]'), "there twice"),
        (files("[7]"), "a list of objects"),
        (files("{}"), "a list of objects"),
        (files(f"[{OURS}]", '[{"name": "ours", "static_spki_hashes": "x"}]'), "list of strings"),
        (files(f"[{OURS}]", '[{"name": "ours", "static_spki_hashes": ["X"]}]'), "no key is called"),
        (files(f"[{OURS}]", '[{"name": "ours"}]'), "allows no key"),
        (files(f"[{OURS}]", '[{"name": "ours"}, {"name": "ours"}]'), "two pinsets"),
        (files(f"[{OURS}]", '[{"name": "ours", "spki": []}]'), "unknown key 'spki'"),
        (files(f"[{OURS}]", keys="good\nsha256/x"), "not the name of a key"),
        (files(f"[{OURS}]", keys=f"{KEYS}GoodKey\n{FIRST}"), "or one that is there"),
        (files(f"[{OURS}]", keys="GoodKey\nmd5/x"), "neither sha256"),
        (files(f"[{OURS}]", keys="GoodKey\nsha256/AAAA"), "32 bytes, this one 3"),
        (
            files(
                f"[{OURS}]",
                keys="GoodKey\n-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----",
            ),
            "not readable",
        ),
        ({JSON: b"{]"}, "not JSON"),
        ({JSON: b"[]"}, "not a JSON object"),
        ({JSON: b"\xff"}, "not JSON"),
        ({JSON: b"[" * 100_000}, "not JSON"),
        ({PINS: b""}, "is read"),
        ({"a.json": b"{}", "b.json": b"{}"}, "is read"),
    ],
)
def test_what_the_generator_would_refuse_is_refused(content, why):
    with pytest.raises(FormatError, match=why):
        import_from("chromium", content)


def test_a_wrong_key_is_refused_with_its_line():
    with pytest.raises(FormatError) as caught:
        import_from("chromium", files(f"[{OURS}]", keys=f"{KEYS}\nother\n{FIRST}\n"))
    assert (caught.value.file, caught.value.line) == (PINS, 11)
