"""The first hour: `keypin add` with an address as it is pasted, in an empty folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from keypin import Pin, PinSet
from keypin.lab import Server
from keypin.pinfile import PinFile

if TYPE_CHECKING:
    from pathlib import Path

PASSPHRASE = "correct horse battery staple"
PIN = str(Pin.from_digest(bytes(32)))
OTHER = str(Pin.from_digest(bytes([1]) * 32))


@pytest.fixture
def trusting(cafile: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(cafile))
    monkeypatch.setenv("KEYPIN_PASSPHRASE", PASSPHRASE)


def hosts(path: Path) -> list[tuple[str, int | None, str | None]]:
    return [(host.name, host.port, host.starttls) for host in PinFile.load(path).hosts]


def test_one_command_makes_a_file_that_checks_and_runs(
    keypin, server, credential, tmp_path, trusting
):
    url = f"https://LOCALHOST:{server.port}/v1/account?x=y#z"
    ended = keypin(
        "add", url, "--from", "live", "--report", "--backup", "--confirm", credential.pin
    )
    assert (ended.code, ended.error) == (0, "")
    assert "Made pins.toml, version 2:" in ended.lines
    text = (tmp_path / "pins.toml").read_text()
    assert "schema = 2\n" in text
    assert "# Which public keys hold" in text
    [host] = PinFile.load(tmp_path / "pins.toml").hosts
    assert (host.name, host.port, host.mode) == ("localhost", server.port, "report")
    assert [entry.role for entry in host.pins] == ["active", "backup"]
    assert host.pins[0].pin == credential.pin
    assert (tmp_path / "localhost-backup.key.pem").read_text().startswith("-----BEGIN ENCRYPTED")
    assert (tmp_path / "localhost-backup.csr.pem").exists()
    # the port is known to the tools that look at the server, and to those that add to the file
    assert keypin("check", "--one-key", "-4").code == 0
    again = keypin("add", "localhost", "--from", "live", "--confirm", OTHER)
    assert f"the key of localhost:{server.port} is {credential.pin}, not" in again.error


def test_without_a_passphrase_nothing_is_made(
    keypin, credential, server, tmp_path, trusting, monkeypatch
):
    monkeypatch.delenv("KEYPIN_PASSPHRASE")
    url = f"https://localhost:{server.port}"
    ended = keypin("add", url, "--from", "live", "--backup", "--confirm", credential.pin)
    assert ended.code == 64
    assert "KEYPIN_PASSPHRASE" in ended.error
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_writes_nothing(keypin, tmp_path):
    ended = keypin("add", "https://a.example:8443/", "--from", PIN, "--backup", "--dry-run")
    assert ended.code == 0
    assert "+port = 8443" in ended.lines
    assert list(tmp_path.iterdir()) == []


ADDRESSES = {
    "a.example": ("a.example", None, None),
    "https://a.example/": ("a.example", None, None),
    "https://a.example:443/": ("a.example", None, None),
    "a.example:8443": ("a.example", 8443, None),
    "A.Example.:8443": ("a.example", 8443, None),
    "https://me:pw@a.example:8443/x?y#z": ("a.example", 8443, None),
    "bücher.example:8443": ("xn--bcher-kva.example", 8443, None),
    "[2001:db8::1]:8443": ("2001:db8::1", 8443, None),
    "2001:db8::1": ("2001:db8::1", None, None),
    "wss://a.example:9443/socket": ("a.example", 9443, None),
    "smtp://mail.example": ("mail.example", None, "smtp"),
    "smtp://mail.example:25": ("mail.example", None, "smtp"),
    "smtp://mail.example:587": ("mail.example", 587, "smtp"),
    "imaps://mail.example": ("mail.example", 993, None),
    "postgresql://u:p@db.example/x": ("db.example", None, "postgres"),
    "**.a.example:8443": ("**.a.example", 8443, None),
    "https://*.a.example:8443/": ("*.a.example", 8443, None),
}


@pytest.mark.parametrize(("address", "found"), ADDRESSES.items(), ids=ADDRESSES)
def test_an_address_is_taken_as_it_is_pasted(keypin, tmp_path, address, found):
    ended = keypin("add", address, "--from", PIN)
    assert ended.code == 0, ended.error
    assert hosts(tmp_path / "pins.toml") == [found]
    schema = 1 if found[1:] == (None, None) else 2
    assert f"schema = {schema}\n" in (tmp_path / "pins.toml").read_text()


@pytest.mark.parametrize("address", ["http://a.example", "https://", "a.example:x", "ssh://a.b"])
def test_what_is_no_address_of_a_tls_server_makes_no_file(keypin, tmp_path, address):
    assert keypin("add", address, "--from", PIN).code == 64
    assert list(tmp_path.iterdir()) == []


def test_only_the_usual_file_is_made(keypin, tmp_path):
    ended = keypin("add", "a.example", "--from", PIN, "--pins", "pinz.toml")
    assert ended.code == 66
    assert "keypin init pinz.toml" in ended.error


def test_mail_is_asked_by_its_protocol(keypin, credential, tmp_path, trusting):
    def talk(channel):
        for line, answer in (
            (b"", b"220 mail\r\n"),
            (b"ehlo", b"250-mail\r\n250 STARTTLS\r\n"),
            (b"", b"220 go\r\n"),
        ):
            if answer != b"220 mail\r\n":
                assert line in channel.recv().lower()
            channel.sendall(answer)
        return True

    with Server(credential, before_tls=talk) as server:
        url = f"smtp://localhost:{server.port}"
        ended = keypin("add", url, "--from", "live", "--confirm", credential.pin)
        assert (ended.code, url in ended.text) == (0, True), ended.error
        assert hosts(tmp_path / "pins.toml") == [("localhost", server.port, "smtp")]
        shown = keypin("show", url, "--json").result
        assert shown["verified"]
        checked = keypin("check", "-4", "--json", "--one-key", "--fail-on", "critical")
    assert (checked.code, checked.json["servers"][0]["starttls"]) == (0, "smtp")


def test_a_port_is_added_to_a_host_that_has_none(keypin, tmp_path):
    path = tmp_path / "pins.toml"
    path.write_text(
        f'schema = 1 # old\nversion = 1\n[[host]]\nname = "a.example" # one\npins = ["{PIN}"]\n'
    )
    ended = keypin("add", "a.example:8443", "--from", OTHER)
    assert "a.example: tools look for it at port 8443; its pins hold at every port" in ended.lines
    assert path.read_text() == (
        'schema = 2 # old\nversion = 2\n[[host]]\nname = "a.example" # one\nport = 8443\n'
        f'pins = ["{PIN}", "{OTHER}"]\n'
    )


def test_another_port_of_a_host_stays_beside_the_one_that_the_file_has(keypin, tmp_path):
    assert keypin("add", "a.example:8443", "--from", PIN).code == 0
    ended = keypin("add", "a.example:9443", "--from", OTHER)
    assert ended.code == 0
    assert "tools go on looking for a.example at port 8443" in ended.error
    assert hosts(tmp_path / "pins.toml") == [("a.example", 8443, None)]


@pytest.mark.parametrize("wider", ["**.example.com", "*.example.com"])
def test_report_mode_takes_no_host_from_an_enforced_pattern(keypin, tmp_path, wider):
    assert keypin("add", wider, "--from", PIN).code == 0
    before = (tmp_path / "pins.toml").read_bytes()
    ended = keypin("add", "api.example.com:8443", "--from", OTHER, "--report")
    assert ended.code == 64
    assert f"enforced already by the entry for {wider}" in ended.error
    assert (tmp_path / "pins.toml").read_bytes() == before
    # nor by a narrower pattern, while a host beside it is nobody's
    assert keypin("add", "**.api.example.com", "--from", OTHER, "--report").code == 64
    assert keypin("add", "api.example.org", "--from", OTHER, "--report").code == 0


def test_a_host_that_is_enforced_is_not_put_into_report_mode(keypin, tmp_path):
    assert keypin("add", "a.example", "--from", PIN).code == 0
    before = (tmp_path / "pins.toml").read_bytes()
    ended = keypin("add", "a.example", "--from", OTHER, "--report")
    assert ended.code == 64
    assert "a.example is enforced already" in ended.error
    assert (tmp_path / "pins.toml").read_bytes() == before
    assert PinSet.load(tmp_path / "pins.toml").rule_for("a.example").mode == "enforce"


def test_report_mode_opens_no_host_that_is_refused(keypin, tmp_path):
    """As hosts in no entry are where unlisted ones are refused."""
    file = tmp_path / "pins.toml"
    text = f"""schema = 1
version = 1
[defaults]
unlisted = "refuse"
[[host]]
name = "a.example"
pins = ["{PIN}"]
"""
    file.write_text(text)
    ended = keypin("add", "b.example", "--from", OTHER, "--report")
    assert ended.code == 64
    assert "report mode would let all pass" in ended.error
    assert file.read_text() == text
    assert keypin("add", "b.example", "--from", OTHER).code == 0


@pytest.mark.parametrize("how", ["deny", "revoked"])
@pytest.mark.parametrize("name", ["api.example.com", "**.api.example.com"])
def test_a_key_that_a_wider_entry_denies_is_not_pinned(keypin, tmp_path, how, name):
    file = tmp_path / "pins.toml"
    pins = f'pins = ["{PIN}"]\ndeny = ["{OTHER}"]\n'
    if how == "revoked":
        pins = f'pins = ["{PIN}", {{ pin = "{OTHER}", role = "revoked" }}]\n'
    file.write_text(f'schema = 1\nversion = 1\n[[host]]\nname = "**.example.com"\n{pins}')
    before = file.read_text()
    ended = keypin("add", name, "--from", OTHER)
    assert ended.code == 77
    assert f"{OTHER} must never be accepted for **.example.com" in ended.error
    assert file.read_text() == before
    assert keypin("add", name, "--from", PIN).code == 0
