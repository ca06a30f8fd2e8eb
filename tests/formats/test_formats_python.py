"""The Python module that needs no keypin: run by a Python that has none, against real servers."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from scene import HOST, NAMES, authority, issuing, pinned, unpinned
from some_pins import FIRST, SECOND, host, pin_file, pin_files

from keypin.formats import FormatError, export_to, import_from
from keypin.lab import Authority, ConnectProxy, Server

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = """
import http.client, ssl, sys, urllib.request
from pinned_https import PinMismatch, PinnedConnection, PinnedHandler
assert "keypin" not in sys.modules
url, proxy, cafile, certificate = sys.argv[1:]
context = ssl.create_default_context(cafile=cafile)
if certificate:
    context.load_cert_chain(certificate)
proxies = urllib.request.ProxyHandler({"https": proxy} if proxy else {})
opener = urllib.request.build_opener(PinnedHandler(context), proxies)
try:
    print(opener.open(url, timeout=20).status)
except urllib.error.URLError as error:
    print(type(error.reason).__name__, error.reason)
"""


def request(
    folder: Path,
    file: Any,
    url: str,
    *,
    proxy: str = "",
    certificate: str = "",
    root: Authority | None = None,
) -> str:
    """Make a request with the module, in an interpreter without site-packages."""
    [(name, content)] = export_to("python", file).files.items()
    (folder / name).write_bytes(content)
    (folder / "program.py").write_text(PROGRAM)
    (folder / "ca.pem").write_text((root or authority()).pem)
    done = subprocess.run(
        [sys.executable, "-S", "-W", "error", "program.py", url, proxy, "ca.pem", certificate],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("match", ["leaf", "chain"])
def test_the_pinned_server_is_reached_and_another_gets_no_byte(tmp_path, version, match):
    file = pin_file(host(HOST, FIRST, pinned().pin, match=match))
    with Server(pinned(), tls=[version]) as right, Server(unpinned(), tls=[version]) as wrong:
        assert request(tmp_path, file, right.url_for(HOST)) == "200"
        said = request(tmp_path, file, wrong.url_for(HOST))
        assert said.startswith("PinMismatch localhost holds no pinned key, its chain has: ")
        assert str(unpinned().pin) in said
        assert (len(right.requests), wrong.requests) == (1, [])
        assert sum(connection.application_bytes for connection in wrong.connections) == 0
        # the control: a host in no rule is reached
        assert request(tmp_path, pin_file(host("other.example")), wrong.url_for(HOST)) == "200"


def test_a_pin_of_a_ca_matches_with_the_chain_only(tmp_path):
    with Server(pinned()) as server:
        for match, said in (("chain", "200"), ("leaf", "PinMismatch")):
            file = pin_file(host("127.0.0.1", issuing().pin, match=match))
            assert request(tmp_path, file, server.url).startswith(said)
        # the trust anchor, which is not sent, counts, too
        file = pin_file(host("127.0.0.1", authority().pin))
        assert request(tmp_path, file, server.url) == "200"


def test_a_pinned_certificate_that_is_merely_sent_along_does_not_count(tmp_path):
    attacker = unpinned().with_chain(*unpinned().chain, pinned().certificate)
    with Server(attacker) as server:
        file = pin_file(host(HOST, pinned().pin))
        assert request(tmp_path, file, server.url_for(HOST)).startswith("PinMismatch")
        assert server.requests == []


def test_a_denied_key_is_refused_whatever_else_matches(tmp_path):
    with Server(pinned()) as server:
        file = pin_file(host(HOST, pinned().pin, deny=[issuing().pin]))
        assert request(tmp_path, file, server.url_for(HOST)).startswith("PinMismatch")


def test_hosts_in_no_rule_are_refused_if_the_pin_file_says_so(tmp_path):
    with Server(pinned()) as server:
        file = pin_file(host("other.example"), unlisted="refuse")
        said = request(tmp_path, file, server.url_for(HOST))
        assert said == "PinMismatch no rule for localhost"
        assert server.requests == []


def test_a_server_that_no_ca_vouches_for_is_refused_though_its_key_is_pinned(tmp_path):
    with Server(pinned()) as server:
        file = pin_file(host(HOST, pinned().pin))
        said = request(tmp_path, file, server.url_for(HOST), root=Authority("another"))
        assert said.startswith("SSLCertVerificationError")
        assert server.requests == []


def test_behind_a_proxy_the_key_is_that_of_the_host_and_not_of_the_proxy(tmp_path):
    file = pin_file(host(HOST, pinned().pin))
    with Server(pinned()) as right, Server(unpinned()) as wrong, ConnectProxy() as proxy:
        assert request(tmp_path, file, right.url_for(HOST), proxy=proxy.url) == "200"
        assert request(tmp_path, file, wrong.url_for(HOST), proxy=proxy.url).startswith("PinMis")
        assert wrong.requests == []


def test_a_client_certificate_is_shown_to_a_mispinned_server_as_the_report_says(tmp_path, version):
    clients = Authority("CA of the clients")
    me = clients.issue(common_name="me", extended_key_usage=["clientAuth"])
    (tmp_path / "me.pem").write_bytes(me.chain_pem + me.key_pem)
    file = pin_file(host(HOST, pinned().pin))
    assert "client-certificate-shown" in {each.name for each in export_to("python", file).losses}
    with Server(unpinned(), tls=[version], client_ca=clients.certificate) as server:
        said = request(tmp_path, file, server.url_for(HOST), certificate="me.pem")
        assert said.startswith("PinMismatch")
    assert server.requests == []
    assert server.connections[0].client_certificate == me.certificate


def module(folder: Path, file: Any) -> Any:
    [(name, content)] = export_to("python", file).files.items()
    path = folder / name
    path.write_bytes(content)
    spec = importlib.util.spec_from_file_location("pinned_https_under_test", path)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


@settings(max_examples=40)
@given(file=pin_files(exclude=True, deny=True, matches=("chain", "leaf")))
def test_it_finds_the_same_rule_for_every_host_as_keypin(tmp_path_factory, file):
    loaded = module(tmp_path_factory.mktemp("module"), file)
    pins = file.pin_set()
    for name in ("example.com", "example.org", "a.example.com", "b.a.example.com", "other.invalid"):
        for prefix in ("", "q.", "r.q.", "x."):
            rule = pins.rule_for(prefix + name)
            assert loaded.pattern_for(prefix + name) == (rule.host if rule else None)


@pytest.mark.parametrize("spelling", ["LOCALHOST", "localhost.", "::0001", "bücher.example"])
def test_hosts_are_spelled_as_in_the_rules(tmp_path, spelling):
    file = pin_file(host("localhost"), host("::1"), host("bücher.example"))
    loaded = module(tmp_path, file)
    assert loaded.pattern_for(loaded.canonical(spelling)) is not None


@pytest.mark.parametrize("kind", ["rsa-2048", "p-256", "p-384", "ed25519", "rsa-pss"])
def test_its_pins_are_keypins(tmp_path, kind):
    loaded = module(tmp_path, pin_file(host()))
    credential = issuing().issue(*NAMES, key=kind)
    assert loaded.pin(credential.certificate) == str(credential.pin)


@pytest.mark.parametrize("change", [b"\x30\x80", b"\x30\x85", b"\x30\x84\xff\xff\xff\xff"])
def test_a_certificate_that_is_not_der_has_no_pin(tmp_path, change):
    loaded = module(tmp_path, pin_file(host()))
    with pytest.raises(loaded.PinMismatch):
        loaded.pin(change + pinned().certificate[4:])


def test_a_context_that_does_not_verify_is_refused(tmp_path):
    import ssl

    loaded = module(tmp_path, pin_file(host(HOST, pinned().pin)))
    context = ssl.create_default_context(cadata=authority().pem)
    context.check_hostname = False
    with Server(pinned()) as server:
        connection = loaded.PinnedConnection(HOST, server.port, context=context)
        with pytest.raises(loaded.PinMismatch, match="verifies certificates and names"):
            connection.request("GET", "/")
        assert connection.sock is None
        assert server.requests == []


def test_a_module_that_was_changed_is_not_read():
    file = pin_file(host("a.example"))
    [(name, content)] = export_to("python", file).files.items()
    assert import_from("python", {name: content}).pins.pin_set() == file.pin_set()
    for old, new, why in (
        (b"rule is None", b"rule is not None", "changed beyond its pins"),
        (b'"chain"', b'"both"', "match is one of"),
        (b'"allow"', b'"perhaps"', "UNLISTED is"),
        (str(FIRST).encode(), b"sha256/AAAA", "32 bytes, this one 3"),
        (f'"{SECOND}"'.encode(), b"print()", "not two plain values"),
        (b'"deny"', b'"denied"', "has match, pins and deny"),
        (b'"a.example"', b'"*.com"', "wildcard"),
    ):
        assert old in content
        with pytest.raises(FormatError, match=why):
            import_from("python", {name: content.replace(old, new, 1)})
