"""TLSA records: read by DNS software, and compared with those that other tools make."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
import sys

import pytest
from scene import HOST, authority, issuing, pinned, unpinned
from some_pins import FIRST, SECOND, host, pin_file

from keypin.formats import Certificate, FormatError, export_to, import_from
from keypin.lab import Server
from keypin.pinfile import HostEntry, PinFile

SBIN = os.defpath + ":/usr/sbin:/sbin"
danetool = shutil.which("danetool")
openssl = shutil.which("openssl")
ldns_read_zone = shutil.which("ldns-read-zone")
named_checkzone = shutil.which("named-checkzone", path=SBIN)
NAME = "api.example.com"
ZONE = """$ORIGIN example.com.
$TTL 3600
@ IN SOA ns.example.com. hostmaster.example.com. 1 3600 600 86400 3600
@ IN NS ns.example.com.
ns IN A 192.0.2.1
"""


def records(file, certificates=None) -> list[str]:
    [content] = export_to("tlsa", file, certificates).files.values()
    return [line for line in content.decode().splitlines() if not line.startswith(";")]


def known(**holders) -> dict:
    return {
        holder.pin: Certificate(f"{name}.cer", holder.certificate, name.startswith("ca"))
        for name, holder in holders.items()
    }


@pytest.mark.skipif(danetool is None, reason="needs danetool (make system-deps)")
@pytest.mark.parametrize("is_ca", [False, True])
def test_danetool_makes_the_same_record_of_the_certificate(tmp_path, is_ca):
    holder = issuing() if is_ca else pinned()
    pem = ssl.DER_cert_to_PEM_cert(holder.certificate)
    (tmp_path / "certificate.pem").write_text(pem)
    command = [danetool, "--tlsa-rr", "--host", NAME, "--port", "443", "--domain"]
    command += ["--load-certificate", "certificate.pem", *(["--ca"] if is_ca else [])]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    theirs = done.stdout.split("TLSA (")[1].split(")")[0].split()
    [ours] = records(pin_file(host(NAME, holder.pin)), known(**{"ca" if is_ca else "x": holder}))
    assert ours.startswith(f"_443._tcp.{NAME}. IN TLSA ")
    assert [int(part, 16) for part in theirs] == [int(part, 16) for part in ours.split()[3:]]


@pytest.mark.skipif(named_checkzone is None, reason="needs named-checkzone (make system-deps)")
def test_bind_takes_the_records_into_a_zone(tmp_path):
    file = pin_file(host(NAME), host("**.example.com"))
    written = records(file)
    assert len(written) == 4
    (tmp_path / "zone").write_text(ZONE + "\n".join(written) + "\n")
    command = [named_checkzone, "-D", "example.com", "zone"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    dumped = {" ".join(line.split()).lower() for line in done.stdout.splitlines()}
    for line in written:
        name, _, _, *data = line.split()
        assert any(
            each.startswith(f"{name} 3600 in tlsa")
            and each.replace(" ", "").endswith("".join(data))
            for each in dumped
        )


@pytest.mark.skipif(ldns_read_zone is None, reason="needs ldns-read-zone (make system-deps)")
def test_what_ldns_makes_of_a_zone_is_read(tmp_path):
    file = pin_file(host(NAME, match="leaf"))
    (tmp_path / "zone").write_text(ZONE + "\n".join(records(file)) + "\n")
    done = subprocess.run(
        [ldns_read_zone, "zone"], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if "TLSA" in line]
    assert len(lines) == 2
    imported = import_from("tlsa", {"zone": "\n".join(lines).encode()})
    assert imported.pins.pin_set() == file.pin_set()


@pytest.mark.skipif(openssl is None, reason="needs openssl (make system-deps)")
def test_openssl_accepts_the_pinned_server_by_the_records_and_refuses_another(tmp_path):
    (tmp_path / "ca.pem").write_text(authority().pem)
    [content] = export_to("tlsa", pin_file(host("a.example", pinned().pin))).files.values()
    rdata = content.decode().split("TLSA ")[1].strip()
    for credential, accepted in ((pinned(), True), (unpinned(), False)):
        with Server(credential) as server:
            host_and_port = f"{server.address[0]}:{server.port}"
            command = [openssl, "s_client", "-connect", host_and_port, "-CAfile", "ca.pem"]
            command += ["-dane_tlsa_domain", HOST, "-dane_tlsa_rrdata", rdata]
            command += ["-verify_return_error", "-brief"]
            done = subprocess.run(command, cwd=tmp_path, input=b"", capture_output=True, timeout=60)
            assert (done.returncode == 0) is accepted, done.stderr


def test_a_key_is_a_servers_unless_a_certificate_says_that_it_is_a_cas():
    file = pin_file(host(NAME, pinned().pin, issuing().pin, FIRST))
    certificates = known(server=pinned(), ca=issuing())
    export = export_to("tlsa", file, certificates)
    assert [line.split()[3] for line in records(file, certificates)] == ["3", "2", "3"]
    [unknown] = [each for each in export.losses if each.name == "usage-unknown"]
    assert str(FIRST) in unknown.text
    assert str(issuing().pin) not in unknown.text
    assert "leaf-only" not in {each.name for each in export.losses}


def test_without_certificates_a_pin_for_the_whole_chain_becomes_one_for_the_leaf():
    export = export_to("tlsa", pin_file(host(NAME)))
    assert {(each.name, each.direction) for each in export.losses} == {
        ("ca-not-checked", "less-safe"),
        ("leaf-only", "stricter"),
        ("usage-unknown", "information"),
        ("port-443-only", "information"),
    }


def test_a_pin_for_the_leaf_is_never_written_for_a_ca():
    file = pin_file(host(NAME, issuing().pin, match="leaf"))
    [line] = records(file, known(ca=issuing()))
    assert " TLSA 3 1 1 " in line


def read(*lines: str):
    return import_from("tlsa", {"zone": "\n".join(lines).encode()})


HEX, OTHER = FIRST.digest.hex(), SECOND.digest.hex()


def test_records_as_zone_files_have_them_are_read():
    imported = read(
        "; our pins",
        "$TTL 3600",
        f"_443._tcp.a.example. 300 IN TLSA 3 1 1 {HEX.upper()} ; active",
        f"_0443._TCP.A.example. IN 300 TLSA 1 1 1 ( {OTHER[:32]} {OTHER[32:]} )",
        f"_443._tcp.b.example.\tTLSA\t2 1 1 {HEX}",
    )
    first, second = imported.pins.hosts
    assert (first.name, first.match) == ("a.example", "leaf")
    assert [each.pin for each in first.pins] == [FIRST, SECOND]
    assert (second.name, second.match) == ("b.example", None)
    assert [(each.name, each.host) for each in imported.losses] == [
        ("ca-checked", "a.example"),
        ("ca-checked", "b.example"),
        ("ca-or-leaf", "b.example"),
    ]


def test_records_for_servers_and_cas_together_widen_the_servers():
    imported = read(
        f"_443._tcp.a.example. IN TLSA 3 1 1 {HEX}", f"_443._tcp.a.example. IN TLSA 2 1 1 {OTHER}"
    )
    assert imported.pins.hosts[0].match is None
    assert ("leaf-becomes-chain", "less-safe") in {
        (each.name, each.direction) for each in imported.losses
    }


def test_a_servers_key_that_is_an_authoritys_at_another_port_is_widened():
    imported = read(
        f"_443._tcp.a.example. IN TLSA 3 1 1 {HEX}", f"_25._tcp.a.example. IN TLSA 2 1 1 {HEX}"
    )
    assert imported.pins.hosts[0].match is None
    assert ("leaf-becomes-chain", "less-safe") in {
        (each.name, each.direction) for each in imported.losses
    }


def test_an_alias_of_an_alias_is_followed():
    imported = read(
        "_443._tcp.b.example. IN CNAME dane.a.example.",
        "dane.a.example. IN CNAME _443._tcp.a.example.",
        f"_443._tcp.a.example. IN TLSA 3 1 1 {HEX}",
    )
    names = {each.name: [pin.pin for pin in each.pins] for each in imported.pins.hosts}
    assert names == {"a.example": [FIRST], "b.example": [FIRST]}


@pytest.mark.parametrize("target", ["elsewhere.example.", "_443._tcp.b.example."])
def test_an_alias_of_what_is_not_there_is_not_left_out(target):
    """Its host is pinned by DANE, and would not be."""
    with pytest.raises(FormatError, match="is an alias of records that are"):
        read(
            f"_443._tcp.a.example. IN TLSA 3 1 1 {HEX}",
            f"_443._tcp.b.example. IN CNAME {target}",
        )


def test_ports_with_the_same_keys_are_one_host():
    imported = read(*(f"_{port}._tcp.a.example. IN TLSA 3 1 1 {HEX}" for port in (443, 8443, 25)))
    assert len(imported.pins.hosts) == 1


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (f"_443._tcp IN TLSA 3 1 1 {HEX}", "with its full name"),
        (f"a.example. IN TLSA 3 1 1 {HEX}", "with its full name"),
        (f"3 1 1 {HEX}", "not a TLSA record"),
        (f"_443._tcp.a.example. IN TSLA 3 1 1 {HEX}", "unknown rdatatype 'TSLA'"),
        (f"_443._tcp.a.example. IN TLSA 3 1 1 x{HEX[1:]}", "not a TLSA record"),
        ("_443._tcp.a.example. IN TLSA 3 1 1 )", "do not match"),
        (f"_443._tcp.a.example. IN TLSA 3 1 1 (({HEX}))", "do not match"),
        ("$INCLUDE other.zone", "write out"),
        ("$ORIGIN example", "does not end in a dot"),
        ("_443._tcp.a.example. IN CNAME", "not a TLSA record"),
        (f"_443._tcp.a.example. IN TLSA 3 0 1 {HEX}", "3 0 1 is not a pin"),
        (f"_443._tcp.a.example. IN TLSA 3 1 2 {HEX * 2}", "3 1 2 is not a pin"),
        (f"_443._tcp.a.example. IN TLSA 4 1 1 {HEX}", "4 1 1 is not a pin"),
        (f"_443._tcp.a.example. IN TLSA 3 1 1 {HEX[:-2]}", "not 32 bytes"),
        (f"_443._tcp.a.example. IN TLSA 3 1 1 {HEX[:-1]}", "not 32 bytes"),
        (f"_443._tcp.a.example. IN TLSA 3 1 1 ({HEX}", "not closed"),
        (f"_443._tcp.*.example.com. IN TLSA 3 1 1 {HEX}", "a wildcard"),
        (f"_25._tcp.ok.example. IN TLSA 3 1 1 {OTHER}", "have different keys"),
    ],
)
def test_a_record_that_is_not_a_pin_is_refused(line, why):
    with pytest.raises(FormatError, match=why) as caught:
        read(f"_443._tcp.ok.example. IN TLSA 3 1 1 {HEX}", line)
    assert (caught.value.file, caught.value.line) == ("zone", 2)


def test_what_dig_prints_is_read():
    """The hex in pieces, as dig does it; its +multiline with parentheses and comments."""
    pieces = f"{HEX[:56].upper()} {HEX[56:].upper()}"
    imported = read(
        "; <<>> DiG 9.18 <<>> TLSA _443._tcp.a.example",
        ";; QUESTION SECTION:",
        ";_443._tcp.a.example.\t\tIN\tTLSA",
        "",
        ";; ANSWER SECTION:",
        f"_443._tcp.a.example.\t3600\tIN\tTLSA\t3 1 1 {pieces}",
        "_443._tcp.b.example.\t3600 IN TLSA 3 1 1 (",
        f"\t\t\t\t{OTHER[:32]}",
        f"\t\t\t\t{OTHER[32:]} ) ; the next key )",
    )
    assert {each.name: each.pins[0].pin for each in imported.pins.hosts} == {
        "a.example": FIRST,
        "b.example": SECOND,
    }


def test_whole_zone_files_are_read():
    imported = read(
        *ZONE.splitlines(),
        "@ IN MX 10 mail",
        '@ IN TXT "v=spf1; ( -all"',
        f"_443._tcp.api 1h IN TLSA 3 1 1 {HEX}",
        "\t\tIN TLSA ( 3 1 1",
        f"    {OTHER} )",
        "_443._tcp.www IN CNAME _dane",
        f"_dane TLSA 3 1 1 {HEX}",
        f"_25._tcp.mail TYPE52 \\# 35 030101{OTHER}",
        "$ORIGIN sub",
        f"*._tcp.x IN TLSA 2 1 1 {HEX}",
    )
    assert {each.name: [pin.pin for pin in each.pins] for each in imported.pins.hosts} == {
        "api.example.com": [FIRST, SECOND],
        "www.example.com": [FIRST],
        "mail.example.com": [SECOND],
        "x.sub.example.com": [FIRST],
    }
    ports = [(each.host, each.text) for each in imported.losses if each.name == "ports-not-carried"]
    [(name, text)] = ports
    assert name == "mail.example.com"
    assert "port 25 of tcp only" in text


@pytest.mark.parametrize("service", ["_443._udp", "_8443._tcp", "_853._quic"])
def test_other_ports_and_protocols_are_a_loss(service):
    losses = read(f"{service}.a.example. IN TLSA 3 1 1 {HEX}").losses
    assert ("ports-not-carried", "stricter") in {(each.name, each.direction) for each in losses}


def test_ports_with_different_keys_are_refused_with_the_line_of_the_second():
    with pytest.raises(FormatError, match=r"port 443 of tcp, port 25 of tcp of a\.ex") as caught:
        read(
            f"_443._tcp.a.example. IN TLSA 3 1 1 {HEX}",
            "",
            f"_25._tcp.a.example. IN TLSA 3 1 1 {OTHER}",
        )
    assert caught.value.line == 3


def test_a_record_without_a_name_needs_one_above():
    with pytest.raises(FormatError, match="without a name"):
        read(f" IN TLSA 3 1 1 {HEX}")


def test_without_dnspython_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "dns", None)
    with pytest.raises(FormatError, match=r"pip install 'keypin\[formats\]'"):
        read(f"_443._tcp.a.example. IN TLSA 3 1 1 {HEX}")


def test_a_record_has_the_port_of_its_host():
    lines = [
        f"_8443._tcp.a.example.com. IN TLSA 3 1 1 {HEX}",
        f"_25._tcp.mail.example.com. IN TLSA 3 1 1 {HEX}",
        f"_443._tcp.b.example.com. IN TLSA 3 1 1 {HEX}",
    ]
    file = read(*lines).pins
    where = {each.name: (each.port, each.starttls) for each in file.hosts}
    assert where == {
        "a.example.com": (8443, None),
        "mail.example.com": (None, "smtp"),
        "b.example.com": (None, None),
    }
    exported = export_to("tlsa", file).files["tlsa.zone"].decode().splitlines()
    assert sorted(exported[1:]) == sorted(lines)


def test_of_several_ports_none_is_where_the_server_is():
    [found] = read(
        *(f"_{port}._tcp.a.example. IN TLSA 3 1 1 {HEX}" for port in (8443, 9443))
    ).pins.hosts
    assert found.port is None


@pytest.mark.parametrize("format", ["android", "okhttp", "curl", "python"])
def test_formats_without_ports_tell_that_it_is_left_out(format):
    file = PinFile([HostEntry(NAME, [FIRST], port=8443), HostEntry("b.example.com", [FIRST])])
    losses = export_to(format, file).losses
    [left_out] = [each for each in losses if each.name == "port-left-out"]
    assert (left_out.host, left_out.direction) == (NAME, "information")
    assert "port 8443" in left_out.text
