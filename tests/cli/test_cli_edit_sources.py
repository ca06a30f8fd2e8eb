"""`keypin add --from`: the pin of any file is OpenSSL's; a server's key has to be confirmed."""

from __future__ import annotations

import base64
import hashlib
import os
import pty
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from keypin.lab import Authority, Server, new_key, self_signed
from keypin.pinfile import PinFile

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HOST = "localhost"
OTHER = f"sha256/{'A' * 43}="

needs_openssl = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="needs openssl (make system-deps)"
)


@pytest.fixture
def pins(tmp_path: Path) -> Path:
    """A pin file that the host is to be added to."""
    path = tmp_path / "pins.toml"
    path.write_text(f'schema = 1\nversion = 1\n[[host]]\nname = "a.example"\npins = ["{OTHER}"]\n')
    return path


def pinned(path: Path, host: str = HOST) -> list[str]:
    hosts = {each.name: each for each in PinFile.load(path).hosts}
    return [str(entry.pin) for entry in hosts[host].pins] if host in hosts else []


# Files


def openssl(*arguments: str, input: bytes = b"", folder: Path) -> bytes:
    done = subprocess.run(
        ["openssl", *arguments], cwd=folder, input=input, capture_output=True, timeout=30
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


KEYS = {
    "P-256": ["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
    "P-256 SEC 1": ["ecparam", "-name", "prime256v1", "-genkey"],
    "explicit P-256": ["ecparam", "-name", "prime256v1", "-genkey", "-param_enc", "explicit"],
    "RSA": ["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
    "RSA PKCS #1": ["genrsa", "-traditional", "2048"],
    "RSA-PSS": ["genpkey", "-algorithm", "RSA-PSS", "-pkeyopt", "rsa_keygen_bits:2048"],
    "Ed25519": ["genpkey", "-algorithm", "ED25519"],
}
# Of which the private key does not say how a certificate carries it
UNUSUAL = {"explicit P-256", "RSA-PSS"}


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of each kind of key: the private and public key, request and certificate, PEM and DER."""
    folder = tmp_path_factory.mktemp("keys")
    for kind, making in KEYS.items():
        stem = kind.replace(" ", "-").replace("#", "")
        private = f"{stem}.key.pem"
        folder.joinpath(private).write_bytes(openssl(*making, folder=folder))
        subject = ["-key", private, "-subj", "/CN=localhost"]
        openssl("req", "-new", *subject, "-out", f"{stem}.csr.pem", folder=folder)
        openssl("req", "-new", "-x509", *subject, "-out", f"{stem}.cer.pem", folder=folder)
        openssl("pkey", "-in", private, "-pubout", "-out", f"{stem}.pub.pem", folder=folder)
        for end, command in (("key", "pkey"), ("csr", "req"), ("cer", "x509"), ("pub", "pkey")):
            more = ["-pubin"] if end == "pub" else []
            names = ["-in", f"{stem}.{end}.pem", "-out", f"{stem}.{end}.der"]
            openssl(command, *more, *names, "-outform", "der", folder=folder)
    return folder


def openssl_pin(keys: Path, stem: str) -> str:
    spki = openssl("pkey", "-pubin", "-in", f"{stem}.pub.pem", "-outform", "der", folder=keys)
    digest = openssl("dgst", "-sha256", "-binary", input=spki, folder=keys)
    return f"sha256/{base64.b64encode(digest).decode()}"


@needs_openssl
@pytest.mark.parametrize("form", ["pem", "der"])
@pytest.mark.parametrize("kind", KEYS)
def test_the_pin_of_every_kind_of_file_is_that_of_openssl(keypin, keys, pins, kind, form):
    stem = kind.replace(" ", "-").replace("#", "")
    wanted = openssl_pin(keys, stem)
    for number, end in enumerate(("cer", "csr", "pub", "key")):
        source = keys / f"{stem}.{end}.{form}"
        ended = keypin("add", f"{number}.example", "--from", source)
        if end == "key" and kind in UNUSUAL:
            assert ended.code == 65
            assert "a private key of a kind that certificates carry in more than one" in ended.error
            assert pinned(pins, f"{number}.example") == []
            rehearsed = keypin("check", "--candidate", source)
            assert (rehearsed.code, "a pin of its own" in rehearsed.error) == (65, True)
        else:
            assert ended.code == 0, ended.error
            assert pinned(pins, f"{number}.example") == [wanted]
            assert f"pin      {wanted}" in ended.lines


@needs_openssl
def test_an_old_form_of_public_key_has_the_same_pin(keypin, keys, pins):
    old = keys / "old.pem"
    openssl("rsa", "-in", "RSA.key.pem", "-RSAPublicKey_out", "-out", old.name, folder=keys)
    assert keypin("add", HOST, "--from", old).code == 0
    assert pinned(pins) == [openssl_pin(keys, "RSA")]


@needs_openssl
@pytest.mark.parametrize("form", ["PKCS #8", "PKCS #8 DER", "traditional"])
def test_an_encrypted_private_key_is_refused_and_the_way_out_told(keypin, keys, pins, form):
    source = keys / "encrypted"
    passphrase = ["-passout", "pass:a passphrase"]
    if form == "traditional":
        openssl("rsa", "-in", "RSA.key.pem", "-aes256", "-traditional", *passphrase,
                "-out", source.name, folder=keys)  # fmt: skip
    else:
        outform = "DER" if form.endswith("DER") else "PEM"
        openssl("pkcs8", "-topk8", "-in", "P-256.key.pem", *passphrase, "-outform", outform,
                "-out", source.name, folder=keys)  # fmt: skip
    ended = keypin("add", HOST, "--from", source)
    assert (ended.code, ended.output) == (65, b"")
    assert f"{source}: an encrypted private key; name its certificate" in ended.error
    assert f"(openssl pkey -in {source} -pubout)" in ended.error
    assert pinned(pins) == []


def test_of_a_chain_the_first_certificate_is_taken_or_the_one_at_a_depth(
    keypin, pins, tmp_path, credential, issuing, root
):
    chain = tmp_path / "chain.pem"
    chain.write_bytes(credential.chain_pem + root.pem.encode())
    for arguments, wanted in (
        ([], credential.pin),
        (["--depth", "0"], credential.pin),
        (["--ca"], issuing.pin),
        (["--depth", "2"], root.pin),
    ):
        ended = keypin("add", HOST, "--from", chain, *arguments)
        assert ended.code == 0
        is_ca = wanted != credential.pin
        assert ("it is the key of a CA: whatever this CA issues" in ended.error) == is_ca
        assert pinned(pins) == [str(wanted)] or pinned(pins)[-1] == str(wanted)
        keypin("remove", HOST)
    ended = keypin("add", HOST, "--from", chain, "--depth", "3")
    assert (ended.code, ended.output) == (64, b"")
    assert "holds 3 certificates: none at depth 3" in ended.error


def test_a_certificate_for_other_hosts_is_warned_of(keypin, pins, tmp_path, issuing):
    file = tmp_path / "other.pem"
    file.write_bytes(issuing.issue("*.example.org", "127.0.0.1").chain_pem)
    fitting = ["a.example.org", "*.example.org", "**.example.org", "127.0.0.1"]
    others = ["a.b.example.org", "**.example.com", "127.0.0.2"]
    for host in fitting + others:
        ended = keypin("add", host, "--from", file)
        assert ended.code == 0
        assert (f"the certificate is not for {host}" in ended.error) == (host in others)


def test_a_ca_is_not_pinned_where_only_the_servers_own_key_counts(
    keypin, pins, tmp_path, credential
):
    tmp_path.joinpath("chain.pem").write_bytes(credential.chain_pem)
    before = pins.read_text() + '[defaults]\nmatch = "leaf"\n'
    pins.write_text(before)
    ended = keypin("add", HOST, "--from", "chain.pem", "--ca")
    assert (ended.code, ended.output) == (77, b"")
    assert 'only the server\'s own key counts (match = "leaf")' in ended.error
    assert pins.read_text() == before
    assert keypin("add", HOST, "--from", "chain.pem").code == 0


def test_only_the_key_of_a_ca_is_marked_as_an_authoritys(keypin, pins, tmp_path, credential):
    tmp_path.joinpath("chain.pem").write_bytes(credential.chain_pem)
    before = pins.read_text()
    ended = keypin("add", HOST, "--from", "chain.pem", "--authority", "own")
    assert (ended.code, ended.output) == (77, b"")
    assert "the certificate is not a CA's" in ended.error
    assert pins.read_text() == before
    ended = keypin("add", HOST, "--from", "chain.pem", "--ca", "--authority", "own")
    assert (ended.code, "whatever this CA issues" in ended.error) == (0, False), ended.error
    ended = keypin("add", "b.example", "--from", "chain.pem", "--ca", "--authority", "other")
    assert (ended.code, "whatever this CA issues" in ended.error) == (0, True), ended.error
    marks = [entry.authority for host in PinFile.load(pins).hosts for entry in host.pins]
    assert marks == [None, "own", "other"]


def test_a_request_that_was_tampered_with_is_refused(keypin, keys, pins, tmp_path):
    der = keys.joinpath("P-256.csr.der").read_bytes()
    tmp_path.joinpath("bad.csr").write_bytes(der.replace(b"localhost", b"otherhost"))
    ended = keypin("add", HOST, "--from", "bad.csr")
    assert (ended.code, ended.output) == (65, b"")
    assert "whose signature is not by its own key" in ended.error


def test_a_file_of_several_keys_is_refused(keypin, pins, tmp_path):
    several = new_key().pem + new_key().pem
    tmp_path.joinpath("several.pem").write_bytes(several)
    ended = keypin("add", HOST, "--from", "several.pem")
    assert (ended.code, ended.output) == (65, b"")
    assert "several keys; put the one to pin in a file of its own" in ended.error
    key = new_key()
    tmp_path.joinpath("twice.pem").write_bytes(key.pem + key.pem)
    assert keypin("add", HOST, "--from", "twice.pem").code == 0
    assert pinned(pins) == [
        f"sha256/{base64.b64encode(hashlib.sha256(key.spki).digest()).decode()}"
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "an empty file"),
        (b"hello", "neither a certificate nor a request nor a key"),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "PUBLIC KEY"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "cannot be read"),
        (b"-----BEGIN CERTIFICATE REQUEST-----\n!\n-----END CERTIFICATE REQUEST-----", "REQUEST"),
        (b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n", "neither a certificate"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "certificate 1"),
    ],
)
def test_a_file_that_is_no_key_is_refused(keypin, pins, tmp_path, content, said):
    tmp_path.joinpath("file").write_bytes(content)
    ended = keypin("add", HOST, "--from", "file")
    assert (ended.code, ended.output) == (65, b"")
    assert said in ended.error
    assert pinned(pins) == []


def test_a_key_has_no_depth(keypin, pins, tmp_path):
    tmp_path.joinpath("key.pem").write_bytes(new_key().pem)
    ended = keypin("add", HOST, "--from", "key.pem", "--depth", "1")
    assert (ended.code, ended.output) == (64, b"")


# Servers


@pytest.fixture
def tls() -> str:
    """One version of TLS is enough here: keypin show is tested with each."""
    return "1.3"


@pytest.fixture
def on_a_terminal(tmp_path: Path, clean_environment: dict[str, str]) -> Callable[..., tuple]:
    """Run a command on a terminal and answer its question; return its exit code and text."""

    def run(answer: bytes, *arguments: object) -> tuple[int, str]:
        ours, theirs = pty.openpty()
        with subprocess.Popen(
            [sys.executable, "-m", "keypin", *map(str, arguments)],
            cwd=tmp_path,
            env={**clean_environment, "NO_COLOR": "1"},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        ) as process:
            os.close(theirs)
            written = b""
            try:
                while piece := os.read(ours, 65536):
                    written += piece
                    if b"? [y/N]" in written and answer:
                        os.write(ours, answer)
                        answer = b""
            except OSError:  # how Linux says that the other end is closed
                pass
            finally:
                os.close(ours)
        return process.returncode, written.decode()

    return run


def test_a_live_key_is_shown_and_pinned_once_it_is_confirmed(
    on_a_terminal, pins, server, cafile, credential
):
    arguments = ["add", HOST, "--from", "live", "--connect", f"127.0.0.1:{server.port}",
                 "--cafile", cafile]  # fmt: skip
    code, text = on_a_terminal(b"n\n", *arguments)
    assert code == 77
    assert f"Pin {credential.pin} for {HOST}? [y/N]" in text
    assert "CN=issuing CA" in text
    assert "nothing was changed" in text
    assert pinned(pins) == []
    code, text = on_a_terminal(b"y\n", *arguments)
    assert code == 0
    assert "(to be pinned)" in text
    assert pinned(pins) == [str(credential.pin)]
    for connection in server.settle():
        assert connection.application_bytes == 0


def test_without_a_terminal_the_key_has_to_be_known(keypin, pins, server, cafile, credential):
    arguments = ["add", HOST, "--from", "live", "--connect", f"{HOST}:{server.port}",
                 "--cafile", cafile]  # fmt: skip
    before = pins.read_text()
    ended = keypin(*arguments)
    assert ended.code == 64
    assert (
        "there is nobody to ask whether this is the right key. If its owner says so: --confirm"
        in ended.error
    )
    assert f"pin      {credential.pin}" in ended.lines
    ended = keypin(*arguments, "--confirm", OTHER)
    assert (ended.code, ended.output) == (90, b"")
    assert f"is {credential.pin}, not {OTHER}" in ended.error
    assert pins.read_text() == before
    ended = keypin(*arguments, "--dry-run")
    assert ended.code == 0
    assert pins.read_text() == before
    assert keypin(*arguments, "--confirm", credential.pin).code == 0
    assert pinned(pins) == [str(credential.pin)]


def test_the_key_of_a_live_servers_ca_is_one_depth_up(keypin, pins, server, cafile, issuing, root):
    arguments = ["add", HOST, "--from", "live", "--connect", f"{HOST}:{server.port}",
                 "--cafile", cafile]  # fmt: skip
    ended = keypin(*arguments, "--ca", "--confirm", issuing.pin)
    assert ended.code == 0
    assert "it is the key of a CA" in ended.error
    assert keypin(*arguments, "--depth", "2", "--confirm", root.pin).code == 0
    assert pinned(pins) == [str(issuing.pin), str(root.pin)]
    ended = keypin(*arguments, "--depth", "3")
    assert (ended.code, ended.output) == (64, b"")
    assert "ends at depth 2, before 3" in ended.error


@pytest.mark.parametrize("case", ["another authority", "self-signed", "another name"])
def test_what_does_not_verify_is_not_even_shown(keypin, pins, cafile, root, case):
    credential = {
        "another authority": lambda: Authority("stranger").issue(HOST),
        "self-signed": lambda: self_signed(HOST),
        "another name": lambda: root.issue("example.com"),
    }[case]()
    before = pins.read_text()
    with Server(credential) as server:
        target = f"{HOST}:{server.port}"
        ended = keypin(
            "add", HOST, "--from", "live", "--connect", target,
            "--cafile", cafile, "--confirm", credential.pin,
        )  # fmt: skip
    assert (ended.code, ended.output) == (60, b"")
    assert f"{target} is not verified: " in ended.error
    assert pins.read_text() == before


def test_a_pattern_is_verified_by_the_name_of_one_of_its_hosts(keypin, pins, cafile, issuing):
    credential = issuing.issue("api.example.com")
    name = "**.example.com"
    arguments = ["add", name, "--from", "live", "--cafile", cafile]
    with Server(credential) as server:
        ended = keypin(*arguments)
        assert (ended.code, ended.output) == (64, b"")
        assert "stands for many hosts: which one to ask? --connect" in ended.error
        arguments += ["--connect", f"127.0.0.1:{server.port}"]
        for more, asked in ([], "127.0.0.1"), (["--servername", "example.org"], "example.org"):
            ended = keypin(*arguments, *more)
            assert (ended.code, ended.output) == (64, b"")
            assert f"{asked} is no host of {name}" in ended.error
        assert server.settle() == []
        arguments += ["--servername", "api.example.com", "--confirm", credential.pin]
        assert keypin(*arguments).code == 0
    assert pinned(pins, name) == [str(credential.pin)]


def test_an_edit_that_makes_no_sense_is_refused_before_the_question(
    on_a_terminal, pins, server, cafile, credential
):
    pins.write_text(pins.read_text().replace("a.example", HOST) + f'deny = ["{credential.pin}"]\n')
    code, text = on_a_terminal(
        b"y\n", "add", HOST, "--from", "live", "--connect", f"{HOST}:{server.port}",
        "--cafile", cafile,
    )  # fmt: skip
    assert code == 77
    assert f"{credential.pin} is denied for {HOST}" in text
    assert "[y/N]" not in text


def test_a_server_that_is_not_there(keypin, pins):
    with Server(self_signed(HOST)) as server:
        port = server.port
    ended = keypin("add", HOST, "--from", "live", "--connect", f"127.0.0.1:{port}")
    assert (ended.code, ended.output) == (7, b"")
