"""`keypin keystore`: Java loads what it writes, and what would fail is refused before."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)

from keypin.cli import keystore
from keypin.cli.pkcs12 import ROUNDS
from keypin.cli.server_elements import SERVERS
from keypin.lab import Authority, new_key, self_signed

if TYPE_CHECKING:
    from pathlib import Path

    from keypin.lab import Credential

PASSPHRASE = 'correct "horse" <battery> & staple'
NOW = datetime.now(UTC)
DAY = timedelta(days=1)
KINDS = ("rsa-2048", "p-256", "p-384", "ed25519")

keytool = shutil.which("keytool")
needs_java = pytest.mark.skipif(
    not (keytool and shutil.which("javac")), reason="needs keytool and javac (make system-deps)"
)

# Loads stores as a server does, and shows that key and certificate belong together.
LOAD = """
import java.io.*;
import java.nio.file.*;
import java.security.*;
import java.security.cert.*;
import java.util.*;

public class Load {
    public static void main(String[] files) throws Exception {
        char[] passphrase = System.getenv("PASSPHRASE").toCharArray();
        for (String file : files) {
            KeyStore store = KeyStore.getInstance("PKCS12");
            try (InputStream in = Files.newInputStream(Paths.get(file))) {
                store.load(in, passphrase);
            }
            for (String alias : Collections.list(store.aliases())) {
                PrivateKey key = (PrivateKey) store.getKey(alias, passphrase);
                java.security.cert.Certificate[] chain = store.getCertificateChain(alias);
                String name = ((X509Certificate) chain[0]).getPublicKey().getAlgorithm();
                Signature signature = Signature.getInstance(
                    name.equals("RSA") ? "SHA256withRSA"
                    : name.equals("EC") ? "SHA256withECDSA" : "Ed25519");
                signature.initSign(key);
                signature.update(new byte[] {1});
                byte[] signed = signature.sign();
                signature.initVerify(chain[0]);
                signature.update(new byte[] {1});
                System.out.print(alias + " " + signature.verify(signed));
                for (java.security.cert.Certificate each : chain) {
                    System.out.print(" " + HexFormat.of().formatHex(each.getEncoded()));
                }
                System.out.println();
            }
        }
    }
}
"""


@pytest.fixture
def passphrase(monkeypatch: pytest.MonkeyPatch) -> str:
    """A passphrase in the environment, and few rounds, so that the tests are quick."""
    monkeypatch.setattr("keypin.cli.pkcs12.ROUNDS", 1000)
    monkeypatch.setenv("KEYPIN_PASSPHRASE", PASSPHRASE)
    monkeypatch.delenv("KEYPIN_KEY_PASSPHRASE", raising=False)
    return PASSPHRASE


@pytest.fixture
def make(keypin, tmp_path, passphrase, cafile):
    """Run the command on a credential, and give what it ended with."""

    def make(credential: Credential, *more: object, root: object = cafile):
        files = credential.write(tmp_path)
        arguments = ["--key", files.key, "--chain", files.chain, "-o", "server.p12"]
        return keypin("keystore", *arguments, *(["--cafile", root] if root else []), *more)

    return make


def loaded(path: Path, passphrase: str = PASSPHRASE) -> pkcs12.PKCS12KeyAndCertificates:
    return pkcs12.load_pkcs12(path.read_bytes(), passphrase.encode())


def chain_of(path: Path) -> list[bytes]:
    found = loaded(path)
    certificates = [found.cert, *found.additional_certs]
    return [each.certificate.public_bytes(Encoding.DER) for each in certificates]


def refused(ended, tmp_path, code: int, said: str) -> None:
    """The command said why, and wrote nothing."""
    assert said in ended.error
    assert (ended.code, ended.output) == (code, b"")
    assert not list(tmp_path.glob("*server.p12*"))
    assert PASSPHRASE not in ended.error


def java(*command: object) -> str:
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C", "PASSPHRASE": PASSPHRASE}
    done = subprocess.run(
        list(map(str, command)), env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# What is written


@needs_java
def test_java_loads_key_and_chain_of_every_kind(
    keypin, tmp_path, passphrase, issuing, cafile, monkeypatch
):
    credentials = [issuing.issue("localhost", key=kind) for kind in KINDS]
    for kind, credential in zip(KINDS, credentials, strict=True):
        files = credential.write(tmp_path / kind)
        given = ["--key", files.key, "--chain", files.chain, "--cafile", cafile]
        with monkeypatch.context() as patch:
            if kind == "p-256":
                patch.setattr("keypin.cli.pkcs12.ROUNDS", ROUNDS)
            ended = keypin("keystore", *given, "-o", f"{kind}.p12", "--alias", f"my-{kind}")
        assert (ended.code, ended.error) == (0, "")
        assert f"pin      {credential.pin}" in ended.lines
    tmp_path.joinpath("Load.java").write_text(LOAD)
    java("javac", "-d", tmp_path, tmp_path / "Load.java")
    lines = java("java", "-cp", tmp_path, "Load", *(tmp_path / f"{kind}.p12" for kind in KINDS))
    for kind, credential, line in zip(KINDS, credentials, lines.splitlines(), strict=True):
        alias, fits, *chain = line.split()
        assert (alias, fits) == (f"my-{kind}", "true")
        assert tuple(map(bytes.fromhex, chain)) == credential.chain


@needs_java
def test_keytool_lists_one_private_key_with_its_chain(make, tmp_path, credential):
    assert make(credential).code == 0
    listed = java(keytool, "-list", "-v", "-storetype", "PKCS12", "-storepass:env", "PASSPHRASE",
                  "-keystore", tmp_path / "server.p12")  # fmt: skip
    assert "Your keystore contains 1 entry" in listed
    assert "Alias name: server" in listed
    assert "Entry type: PrivateKeyEntry" in listed
    assert "Certificate chain length: 2" in listed
    assert listed.index("Owner: CN=localhost") < listed.index("Owner: CN=issuing CA")
    assert "Warning" not in listed


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl (make system-deps)")
def test_every_part_is_as_slow_to_guess_at_as_the_others(make, tmp_path, credential, monkeypatch):
    monkeypatch.setattr("keypin.cli.pkcs12.ROUNDS", ROUNDS)
    assert make(credential).code == 0
    done = subprocess.run(
        ["openssl", "pkcs12", "-in", "server.p12", "-info", "-noout", "-passin", "env:PASSPHRASE"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PASSPHRASE": PASSPHRASE},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    scheme = "PBES2, PBKDF2, AES-256-CBC, Iteration 600000, PRF hmacWithSHA256"
    assert "MAC: sha256, Iteration 600000" in done.stderr
    assert f"PKCS7 Encrypted data: {scheme}" in done.stderr
    assert f"Shrouded Keybag: {scheme}" in done.stderr


def test_no_two_stores_are_alike_and_a_changed_octet_is_noticed(make, tmp_path, credential):
    stores = []
    for _ in range(2):
        assert make(credential, "--force").code == 0
        stores.append((tmp_path / "server.p12").read_bytes())
    assert stores[0] != stores[1]
    with pytest.raises(ValueError):
        pkcs12.load_pkcs12(stores[0], b"another passphrase")
    for place in (60, len(stores[0]) // 2, len(stores[0]) - 40):
        changed = bytearray(stores[0])
        changed[place] ^= 1
        with pytest.raises(ValueError):
            pkcs12.load_pkcs12(bytes(changed), PASSPHRASE.encode())


# The certificates


def test_a_chain_in_another_order_is_put_in_order_and_a_root_is_left_out(
    make, tmp_path, root, credential
):
    given = credential.with_chain(root.certificate, *reversed(credential.chain))
    ended = make(given)
    assert ended.code == 0
    assert chain_of(tmp_path / "server.p12") == list(credential.chain)
    assert "They were in another order; servers send them in this one." in ended.lines
    assert "CN=trusted root: a root, which clients have or do not trust" in ended.lines
    ended = make(credential.with_chain(*credential.chain, *credential.chain), "--force")
    assert (ended.code, "another order" in ended.text) == (0, False)


def test_of_a_cross_signed_authority_the_first_certificate_is_taken(make, tmp_path, root):
    old = Authority("old root")
    crossed = old.cross_sign(root)
    leaf = root.issue("localhost")
    sent = [leaf.certificate, crossed.certificate, root.certificate]
    ended = make(leaf.with_chain(*sent), root=None)
    assert ended.code == 0
    assert chain_of(tmp_path / "server.p12") == sent[:2]
    assert "CN=trusted root: the same key is certified on the path" in ended.lines


def test_the_key_of_another_certificate_is_refused(make, tmp_path, credential, issuing):
    other = issuing.issue("localhost")
    ended = make(other.with_chain(*credential.chain))
    refused(
        ended, tmp_path, 65, f"no certificate of the key is in it: the key's pin is {other.pin}"
    )
    assert str(credential.pin) in ended.error


def test_a_missing_intermediate_is_refused_where_it_can_be_told(make, tmp_path, root, credential):
    leaf = credential.certificate
    ended = make(credential.with_chain(leaf))
    refused(ended, tmp_path, 65, "refuse it: unable to get local issuer certificate")
    ended = make(credential.with_chain(leaf, root.certificate), root=None)
    refused(ended, tmp_path, 65, "CN=trusted root is on no path from CN=localhost: that ends with")
    assert "issued by CN=issuing CA, whose own is missing" in ended.error
    ended = make(credential.with_chain(leaf), root=None)
    assert ended.code == 0
    assert "unless clients trust CN=issuing CA itself, its certificate is missing" in ended.error


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"not_after": NOW - DAY}, "CN=localhost expires on"),
        ({"extended_key_usage": ["clientAuth"]}, "CN=localhost is not for servers: its extended"),
        ({"ca": True}, "CN=localhost is a certificate authority's, not a server's"),
    ],
    ids=["expired", "a client's", "an authority's"],
)
def test_a_certificate_that_no_client_accepts_is_refused(make, tmp_path, issuing, fields, said):
    for root in ({}, {"root": None}):
        refused(make(issuing.issue("localhost", **fields), **root), tmp_path, 65, said)


def test_an_expired_intermediate_is_refused(make, tmp_path, root):
    stale = root.intermediate("stale CA", not_before=NOW - 9 * DAY, not_after=NOW - DAY)
    refused(make(stale.issue("localhost"), root=None), tmp_path, 65, "CN=stale CA expires on")


def test_two_certificates_of_one_key_are_refused(make, tmp_path, issuing):
    first = issuing.issue("localhost")
    second = first.renew()
    both = second.with_chain(second.certificate, *first.chain)
    refused(make(both), tmp_path, 65, "2 certificates of the key; leave in it the one to serve")


def test_two_certificates_of_one_name_on_the_path_are_refused(make, tmp_path, root):
    """Java puts a chain together by names, and would drop one of them."""
    older = root.intermediate("one name", path_length=None)
    newer = older.intermediate("one name", key="p-384")
    refused(make(newer.issue("localhost")), tmp_path, 65, "two certificates of one subject")


def test_a_key_that_java_would_take_for_another_kind_is_refused(make, tmp_path, issuing):
    ended = make(issuing.issue("localhost", key="rsa-pss"))
    refused(ended, tmp_path, 65, "in a way that Java may not take it for, such as RSA-PSS")


def test_what_may_be_meant_is_warned_of(make, tmp_path, issuing):
    ended = make(issuing.issue("localhost", not_before=NOW + DAY))
    assert (ended.code, "CN=localhost is not valid before" in ended.error) == (0, True)
    ended = make(issuing.issue(common_name="localhost"), "--force", root=None)
    assert (ended.code, "names no host in subjectAltName" in ended.error) == (0, True)
    ended = make(self_signed("localhost"), "--force", root=None)
    assert (ended.code, "it is self-signed" in ended.error) == (0, True)
    ended = make(issuing.issue("localhost"), "--force", root=None)
    assert (ended.code, "no authority of this system verifies it" in ended.error) == (0, True)


def test_with_cafile_a_certificate_has_to_name_a_host(make, tmp_path, issuing):
    refused(make(issuing.issue(common_name="localhost")), tmp_path, 65, "names no host in subject")


def test_with_cafile_a_self_signed_certificate_has_to_be_in_it(make, tmp_path):
    mine = self_signed("localhost")
    refused(make(mine), tmp_path, 65, "self-signed certificate")
    assert make(mine, root="chain.pem").code == 0
    assert chain_of(tmp_path / "server.p12") == [mine.certificate]


def test_with_cafile_names_of_another_authority_do_not_help(make, tmp_path, issuing):
    impostor = Authority("trusted root").intermediate("issuing CA").issue("localhost")
    ended = make(impostor)
    assert (ended.code, ended.output) == (65, b"")
    assert "refuse it: " in ended.error
    assert not (tmp_path / "server.p12").exists()


# The key


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
@pytest.mark.parametrize("source", ["file", "environment"])
def test_an_encrypted_key_is_read_with_its_own_passphrase(
    make, tmp_path, credential, monkeypatch, form, source
):
    text = credential.key.private.private_bytes(
        Encoding.PEM, form, BestAvailableEncryption(b"old secret")
    )
    tmp_path.joinpath("old.pem").write_bytes(text)
    arguments = ["--key", "old.pem"]
    if source == "file":
        tmp_path.joinpath("secret").write_text("old secret\n")
        arguments += ["--key-passphrase-file", "secret"]
    else:
        monkeypatch.setenv("KEYPIN_KEY_PASSPHRASE", "old secret")
    assert make(credential, *arguments).code == 0
    found = loaded(tmp_path / "server.p12").key
    assert found.public_key() == credential.key.private.public_key()
    monkeypatch.setenv("KEYPIN_KEY_PASSPHRASE", "wrong\udcff")
    tmp_path.joinpath("secret").write_text("wrong")
    tmp_path.joinpath("server.p12").unlink()
    refused(make(credential, *arguments), tmp_path, 65, "cannot be read: not with this passphrase")


def test_on_a_terminal_both_passphrases_are_asked_for(make, tmp_path, credential, monkeypatch):
    encrypted = BestAvailableEncryption(b"old secret")
    text = credential.key.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encrypted)
    tmp_path.joinpath("old.pem").write_bytes(text)
    monkeypatch.delenv("KEYPIN_PASSPHRASE")
    answers = iter(["wrong", "old secret", "short", PASSPHRASE, "another", PASSPHRASE, PASSPHRASE])
    asked = []

    def ask(prompt: str) -> str:
        asked.append(prompt)
        return next(answers)

    monkeypatch.setattr("getpass.getpass", ask)
    ended = make(credential, "--key", "old.pem")
    assert ended.code == 0
    assert asked[:2] == ["Passphrase of old.pem: "] * 2
    assert asked[2] == "Passphrase of the new store, at least 12 characters: "
    assert len(asked) == 7
    for said in ("not with this passphrase", "shorter than 12 characters", "passphrases differ"):
        assert said in ended.error
    assert chain_of(tmp_path / "server.p12") == list(credential.chain)


def test_without_a_terminal_the_options_for_passphrases_are_named(
    keypin_process, tmp_path, credential
):
    files = credential.write(tmp_path)
    arguments = ["keystore", "--key", files.key, "--chain", files.chain, "-o", "server.p12"]
    ended = keypin_process(*arguments, KEYPIN_PASSPHRASE="")
    refused(ended, tmp_path, 64, "KEYPIN_PASSPHRASE: shorter than 12 characters")
    encrypted = BestAvailableEncryption(b"old secret")
    files.key.write_bytes(
        credential.key.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encrypted)
    )
    environment = {"KEYPIN_PASSPHRASE": PASSPHRASE}
    done = subprocess.run(
        [sys.executable, "-m", "keypin", *map(str, arguments)],
        cwd=tmp_path,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        start_new_session=True,  # without a terminal: getpass asks that, not standard input
    )
    assert done.returncode == 64
    assert b"--key-passphrase-file FILE, or KEYPIN_KEY_PASSPHRASE" in done.stderr


@pytest.mark.parametrize(
    ("content", "code", "said"),
    [
        (b"garbage", 65, "no private key in PEM; of one in DER, openssl pkey"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", 65, "cannot be read"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n", 65, "no private key in PEM"),
        (new_key().pem + new_key().pem, 65, "2 private keys; leave the server's in it"),
        (None, 66, "no such file"),
    ],
    ids=["garbage", "an empty block", "cut off", "two", "none"],
)
def test_a_key_file_that_is_none_is_refused(make, tmp_path, credential, content, code, said):
    if content is not None:
        tmp_path.joinpath("other.pem").write_bytes(content)
    refused(make(credential, "--key", "other.pem"), tmp_path, code, said)


def test_a_chain_file_that_is_none_is_refused(make, tmp_path, credential):
    tmp_path.joinpath("other.pem").write_bytes(b"-----BEGIN CERTIFICATE-----\n!\n-----END CERT")
    refused(
        make(credential, "--chain", "other.pem"),
        tmp_path,
        65,
        "PEM text (CERTIFICATE) without its end",
    )
    tmp_path.joinpath("other.pem").write_bytes(credential.key_pem)
    refused(make(credential, "--chain", "other.pem"), tmp_path, 65, "a private key, not a certif")
    refused(make(credential, "--chain", "none.pem"), tmp_path, 66, "no such file: none.pem")


def test_a_key_of_a_curve_that_java_dropped_is_refused(make, tmp_path, credential):
    key = ec.generate_private_key(ec.SECP256K1())
    text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    tmp_path.joinpath("other.pem").write_bytes(text)
    ended = make(credential, "--key", "other.pem")
    refused(ended, tmp_path, 65, "not a key that Java's servers use")


# Passphrase and options


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "shorter than 12 characters"),
        ("elevenchars", "shorter than 12 characters"),
        ("korrekt-pferd-ü", "other characters than ASCII"),
        ("with\x07a bell in it", "other characters than ASCII"),
        (" twelve characters", "begins or ends with a space"),
        ("{xor}MzY8LCgwLTs=", "begins with {"),
        ("twelve${character}s", "has ${ in it"),
    ],
)
def test_a_passphrase_that_java_or_its_configuration_loses_is_refused(
    make, tmp_path, credential, monkeypatch, text, said
):
    monkeypatch.setenv("KEYPIN_PASSPHRASE", text)
    refused(make(credential), tmp_path, 64, said)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--alias", "my server"], "'my server' is not made of a to z"),
        (["--alias", "Server"], "Java ignores case"),
        (["--alias", ""], "'' is not made of"),
        (["-o", "${home}.p12"], "servers take ${ for a variable"),
        (["-o", "a\nb.p12"], "servers take ${ for a variable"),
        (["--key-passphrase-file", "key.pem"], "is not encrypted"),
    ],
)
def test_what_servers_cannot_be_told_is_refused(make, tmp_path, credential, arguments, said):
    refused(make(credential, *arguments), tmp_path, 64, said)


def test_the_passphrase_is_printed_nowhere(make, credential):
    ended = make(credential)
    assert ended.code == 0
    for shown in (ended.text, ended.error):
        assert PASSPHRASE not in shown
        assert "horse" not in shown


# The file


def test_an_existing_file_is_replaced_only_with_force(make, tmp_path, credential):
    store = tmp_path / "server.p12"
    store.write_text("precious")
    ended = make(credential)
    assert (ended.code, ended.output) == (73, b"")
    assert ended.error == "keypin: server.p12 exists already; --force replaces what is in it\n"
    assert store.read_text() == "precious"
    assert make(credential, "--force").code == 0
    assert chain_of(store) == list(credential.chain)


def test_a_renewal_that_keeps_the_key_keeps_the_pin(make, tmp_path, credential):
    assert make(credential).code == 0
    renewed = credential.renew()
    ended = make(renewed, "--force")
    assert f"pin      {credential.pin}" in ended.lines
    assert chain_of(tmp_path / "server.p12") == list(renewed.chain)
    assert renewed.certificate != credential.certificate


def test_a_file_that_appears_meanwhile_is_left(make, tmp_path, credential, monkeypatch):
    store = tmp_path / "server.p12"

    def ask(*_: object) -> str:
        store.write_text("another's")
        return PASSPHRASE

    monkeypatch.setattr(keystore, "new_passphrase", ask)
    assert make(credential).code == 73
    assert store.read_text() == "another's"
    assert not list(tmp_path.glob(".*part"))


@pytest.mark.parametrize("umask", [0o000, 0o777])
def test_a_new_store_is_for_its_owner_only(make, tmp_path, credential, umask):
    files = credential.write(tmp_path)
    before = os.umask(umask)
    try:
        ended = make(credential)
    finally:
        os.umask(before)
    assert ended.code == 0, ended.error
    assert stat.S_IMODE((tmp_path / "server.p12").stat().st_mode) == 0o600
    assert files.key.exists()


def test_on_a_disk_without_permissions_it_is_warned_of(make, tmp_path, credential, monkeypatch):
    change_mode = os.fchmod
    monkeypatch.setattr(os, "fchmod", lambda descriptor, _: change_mode(descriptor, 0o644))
    ended = make(credential)
    assert ended.code == 0
    assert "warning: everybody can read server.p12, and try passphrases" in ended.error


@pytest.mark.parametrize(("before", "after"), [(0o640, 0o640), (0o644, 0o640), (0o400, 0o600)])
def test_one_that_replaces_another_is_for_the_same_group_but_never_for_all(
    make, tmp_path, credential, before, after
):
    store = tmp_path / "real.p12"
    store.write_text("old")
    store.chmod(before)
    groups = os.getgroups() if os.geteuid() else [12345]
    os.chown(store, -1, groups[-1] if groups else -1)
    group = store.stat().st_gid
    (tmp_path / "server.p12").symlink_to(store)
    assert make(credential, "--force").code == 0
    assert (tmp_path / "server.p12").is_symlink()
    assert chain_of(store) == list(credential.chain)
    assert stat.S_IMODE(store.stat().st_mode) == after
    assert store.stat().st_gid == group


def test_what_is_no_file_is_left_as_it_is(make, tmp_path, credential):
    (tmp_path / "folder").mkdir()
    ended = make(credential, "-o", "folder", "--force")
    refused(ended, tmp_path, 73, "folder is no file; it was left as it is")
    refused(make(credential, "-o", "gone/server.p12"), tmp_path, 73, "cannot write")
    os.mkfifo(tmp_path / "pipe")
    refused(make(credential, "-o", "pipe", "--force"), tmp_path, 73, "pipe is no file")


# What servers are told


def test_the_elements_are_xml_whatever_the_file_is_called(make, tmp_path, credential):
    folder = tmp_path / "a \"b\" & <c> 'd' é"
    folder.mkdir()
    ended = make(credential, "-o", folder / "server.p12")
    assert ended.code == 0
    text = ended.output.decode()
    connector = text[text.index("  <Connector") : text.index("</Connector>") + len("</Connector>")]
    [certificate] = ElementTree.fromstring(connector).iter("Certificate")
    assert certificate.get("certificateKeystoreFile") == str(folder / "server.p12")
    assert certificate.get("certificateKeystorePassword") == "${keystore.password}"
    liberty = text[text.index("  <featureManager>") : text.index("</httpEndpoint>")]
    server = ElementTree.fromstring(f"<server>{liberty}</httpEndpoint></server>")
    assert server.find("keyStore").get("location") == str(folder / "server.p12")
    assert server.find("keyStore").get("type") == "PKCS12"
    assert server.find("ssl").get("keyStoreRef") == server.find("keyStore").get("id")
    options = server.find("httpEndpoint").find("sslOptions")
    assert options.get("sslRef") == server.find("ssl").get("id")


def test_the_script_for_websphere_passes_what_it_should():
    [element] = [each for each in (make("/it's/x.p12", "a") for make in SERVERS)
                 if each.server.startswith("WebSphere")]  # fmt: skip
    calls: dict[str, list[str]] = {}

    class Recorder:
        def __getattr__(self, name):
            return lambda words=(): calls.setdefault(name, list(words))

    lines = [line for line in element.lines if not line.startswith("from java")]
    system = type("System", (), {"getenv": staticmethod(lambda name: f"value of {name}")})
    task = Recorder()
    exec("\n".join(lines), {"System": system, "AdminTask": task, "AdminConfig": task})
    created = dict(zip(calls["createKeyStore"][::2], calls["createKeyStore"][1::2], strict=True))
    assert created["-keyStoreLocation"] == "/it's/x.p12"
    assert created["-keyStorePassword"] == "value of KEYSTORE_PASSWORD"
    assert created["-keyStorePasswordVerify"] == created["-keyStorePassword"]
    changed = dict(zip(calls["modifySSLConfig"][::2], calls["modifySSLConfig"][1::2], strict=True))
    assert changed["-keyStoreName"] == created["-keyStoreName"]
    assert changed["-serverKeyAlias"] == "a"
    assert "save" in calls
