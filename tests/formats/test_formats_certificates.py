"""Systems that take certificate files: cordova-plugin-advanced-http and MobileFirst."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest
from scene import authority, issuing, pinned, unpinned
from some_pins import FIRST, host, pin_file

from keypin import Pin
from keypin.formats import Certificate, FormatError, export_to, import_from
from keypin.lab import self_signed

openssl = shutil.which("openssl")
node = shutil.which("node")
javac = shutil.which("javac")
BOTH = pytest.mark.parametrize("name", ["cordova", "mobilefirst"])


def known(**holders) -> dict[Pin, Certificate]:
    return {
        holder.pin: Certificate(f"{name}.cer", holder.certificate, name.startswith("ca"))
        for name, holder in holders.items()
    }


def two_servers() -> tuple[object, dict[Pin, Certificate]]:
    file = pin_file(host("api.example.com", pinned().pin, unpinned().pin, match="leaf"))
    return file, known(active=pinned(), backup=unpinned())


def certificates(files) -> dict[str, bytes]:
    return {name: content for name, content in files.items() if name.endswith(".cer")}


@pytest.mark.skipif(openssl is None, reason="needs openssl (make system-deps)")
@BOTH
def test_openssl_finds_the_pinned_keys_in_the_files(name):
    file, known_ones = two_servers()
    found = certificates(export_to(name, file, known_ones).files)
    folder = {"cordova": "www/certificates", "mobilefirst": "certificates"}[name]
    assert list(found) == [f"{folder}/active.cer", f"{folder}/backup.cer"]
    for content, holder in zip(found.values(), (pinned(), unpinned()), strict=True):
        public = subprocess.run(
            [openssl, "x509", "-inform", "der", "-pubkey", "-noout"],
            input=content,
            capture_output=True,
            check=True,
        ).stdout
        command = [openssl, "pkey", "-pubin", "-outform", "der"]
        spki = subprocess.run(command, input=public, capture_output=True, check=True).stdout
        assert Pin.from_public_key(spki) == holder.pin


@pytest.mark.skipif(node is None, reason="needs node (make system-deps)")
@pytest.mark.parametrize(
    ("name", "script", "harness", "said"),
    [
        (
            "cordova",
            "www/js/pinning.js",
            """global.cordova = {plugin: {http: {setServerTrustMode: (...all) => {
                console.log(all[0]); all[1](); }}}};""",
            "pinned\nready",
        ),
        (
            "mobilefirst",
            "cordova/pinning.js",
            """global.WL = {Client: {pinTrustedCertificatePublicKey: async (names) => {
                console.log(names.join()); }}};""",
            "active.cer,backup.cer\nready",
        ),
    ],
)
def test_the_javascript_makes_the_call(name, script, harness, said):
    file, known_ones = two_servers()
    code = export_to(name, file, known_ones).files[script].decode()
    call = "pinServers(() => console.log('ready'), () => console.log('failed'));"
    done = subprocess.run(
        [node, "-e", "\n".join((harness, code, call))], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == said


@pytest.mark.skipif(javac is None, reason="needs javac (make system-deps)")
def test_the_java_makes_the_call(tmp_path):
    file, known_ones = two_servers()
    code = export_to("mobilefirst", file, known_ones).files["android/Pinning.java"]
    (tmp_path / "Pinning.java").write_bytes(code)
    stub = tmp_path / "com" / "worklight" / "wlclient" / "api" / "WLClient.java"
    stub.parent.mkdir(parents=True)
    stub.write_text("""package com.worklight.wlclient.api;
        public class WLClient {
            public static WLClient getInstance() { return new WLClient(); }
            public void pinTrustedCertificatePublicKey(String name) { throw new Error(); }
            public void pinTrustedCertificatePublicKey(String[] names) {
                System.out.println(String.join(",", names));
            }
        }""")
    (tmp_path / "Main.java").write_text(
        "class Main { public static void main(String[] a) { Pinning.pin(); } }"
    )
    environment = {**os.environ, "JAVA_TOOL_OPTIONS": ""}
    for command in (["javac", "Main.java"], ["java", "Main"]):
        done = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, env=environment, timeout=120
        )
        assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "active.cer,backup.cer"


def test_the_calls_for_ios_name_all_files():
    """No compiler for these is in Debian: this is their text, as MobileFirst documents the call."""
    file, known_ones = two_servers()
    files = export_to("mobilefirst", file, known_ones).files
    assert b'NSArray *certificates = @[@"active.cer", @"backup.cer"];' in files["ios/Pinning.m"]
    assert b"pinTrustedCertificatePublicKeyFromFiles:certificates]" in files["ios/Pinning.m"]
    assert b'let certificates: [Any] = ["active.cer", "backup.cer"]' in files["ios/Pinning.swift"]
    assert b"pinTrustedCertificatePublicKey(fromFiles: certificates)" in files["ios/Pinning.swift"]


@BOTH
def test_every_host_is_held_to_the_one_list(name):
    file = pin_file(
        host("a.example", pinned().pin, match="leaf"),
        host("b.example", unpinned().pin, match="leaf"),
        host("c.example", exclude=True),
        unlisted="refuse",
    )
    losses = export_to(name, file, known(a=pinned(), b=unpinned())).losses
    assert {("other-pins-accepted", "a.example"), ("other-pins-accepted", "b.example")} <= {
        (each.name, each.host) for each in losses if each.direction == "less-safe"
    }
    assert {"unlisted-allowed", "exclusion-not-carried", "one-list-for-all-hosts"} <= {
        each.name for each in losses
    }


@BOTH
def test_a_host_without_any_certificate_cannot_be_written(name):
    file = pin_file(host("a.example", pinned().pin), host("b.example", FIRST))
    with pytest.raises(FormatError, match=r"any pin of b\.example: put them in a folder"):
        export_to(name, file, known(a=pinned()))


@BOTH
def test_a_pin_without_its_certificate_is_a_loss(name):
    file = pin_file(host("a.example", pinned().pin, FIRST, match="leaf"))
    losses = export_to(name, file, known(a=pinned())).losses
    [found] = [each for each in losses if each.name == "certificate-missing"]
    assert (found.host, found.direction) == ("a.example", "stricter")
    assert found.text.endswith(str(FIRST))


def test_mobilefirst_takes_certificates_of_servers_only():
    file = pin_file(host("a.example", pinned().pin, issuing().pin))
    export = export_to("mobilefirst", file, known(a=pinned(), ca=issuing()))
    assert list(certificates(export.files)) == ["certificates/a.cer"]
    assert {"certificate-missing", "leaf-only"} <= {each.name for each in export.losses}
    with pytest.raises(FormatError, match="servers' certificates"):
        file = pin_file(host("a.example", issuing().pin))
        export_to("mobilefirst", file, known(ca=issuing()))


def test_mobilefirst_takes_no_self_signed_certificate():
    alone = self_signed("a.example")
    with pytest.raises(FormatError, match="self-signed"):
        export_to("mobilefirst", pin_file(host("a.example", alone.pin)), known(a=alone))


def test_that_cordova_takes_the_files_for_its_only_cas_is_less_safe():
    file = pin_file(host("a.example", authority().pin))
    losses = export_to("cordova", file, known(ca=authority())).losses
    assert [(each.name, each.direction) for each in losses] == [
        ("certificate-becomes-anchor", "less-safe"),
        ("newly-pinned", "stricter"),
        ("whole-certificate", "stricter"),
        ("one-list-for-all-hosts", "information"),
    ]


@BOTH
def test_certificates_are_read_for_the_hosts_that_are_named(name):
    files = {
        "a.cer": pinned().certificate,
        "more/b.cer": unpinned().certificate,
        "app.js": b"pinServers()",
    }
    imported = import_from(name, files, ["api.example.com", "**.example.org"])
    assert [entry.name for entry in imported.pins.hosts] == ["api.example.com", "**.example.org"]
    for entry in imported.pins.hosts:
        assert [each.pin for each in entry.pins] == [pinned().pin, unpinned().pin]
        assert entry.match == {"cordova": None, "mobilefirst": "leaf"}[name]
    assert imported.pins.defaults.unlisted == "refuse"
    expected = {"cordova": ["ca-checked", "keys-compared"], "mobilefirst": ["keys-compared"]}
    assert [each.name for each in imported.losses] == expected[name]


@BOTH
def test_a_folder_of_pem_files_is_told_how_to_make_them_der(name):
    """As people have them from a browser or a certificate authority."""
    with pytest.raises(FormatError, match=r"b\.pem is PEM .*To mend it: .*b\.pem"):
        import_from(name, {"b.pem": pinned().chain_pem}, ["a.example"])


@BOTH
@pytest.mark.parametrize(
    ("files", "hosts", "why"),
    [
        ({"a.pem": b""}, ["a.example"], "no .cer files"),
        ({}, ["a.example"], "no .cer files"),
        ({"a.cer": b"-----BEGIN CERTIFICATE-----"}, ["a.example"], "a.cer: PEM text"),
        ({"b.pem": b"-----BEGIN CERTIFICATE-----"}, ["a.example"], "b.pem is PEM text"),
        ({"a.cer": b"hello"}, ["a.example"], "a.cer: not an X.509 certificate in DER"),
        ({"a.cer": None}, [], "give each with --host"),
        ({"a.cer": None}, ["a b"], "--host: not a host name"),
    ],
)
def test_folders_that_do_not_serve_are_refused(name, files, hosts, why):
    files = {file: content or pinned().certificate for file, content in files.items()}
    if "a.pem" in files:
        files["a.pem"] = b""
    with pytest.raises(FormatError, match=why):
        import_from(name, files, hosts)
