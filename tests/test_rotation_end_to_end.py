"""The life of a key with a real CA: issued, pinned, renewed, rotated, revoked.

pebble is the CA, certbot its client, nginx the server, `keypin` the tool; clients have the pin
files as they were released.
"""

from __future__ import annotations

import json
import shutil
import ssl
from datetime import UTC, datetime, timedelta

import httpx2
import pytest
from acme_scene import HOST, Site, first_certificate, needs_acme, running_acme
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from scene import connect

from keypin import Pin, PinMismatch, Pinner, PinSet, Reason, find_error
from keypin.cli import main
from keypin.lab import ConnectProxy, Credential, Key, Server

pytestmark = needs_acme

KEY_USAGES = (
    *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment"),
    *("key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
)
PASSPHRASE = "correct horse battery staple"


@pytest.fixture
def site(tmp_path):
    with running_acme(tmp_path) as acme:
        yield Site(acme, tmp_path)


@pytest.fixture
def keypin(site, monkeypatch, capsys):
    """Run a command in the site's folder, and compare its exit code."""
    monkeypatch.chdir(site.folder)
    monkeypatch.setenv("KEYPIN_PASSPHRASE", PASSPHRASE)

    def run(*arguments, ends=0):
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        said = "".join(capsys.readouterr())
        assert code == ends, said
        return said

    return run


class Clients:
    """Clients, each with a pin file as it was released, and the words of their requests."""

    def __init__(self, site, proxy):
        self._site = site
        self._proxy = proxy
        self.accepted = []

    def reach(self, *released):
        """A request of a client of each release arrives."""
        for pins in released:
            self.accepted.append(f"accepted-{len(self.accepted)}")
            assert self._get(PinSet.load(pins), self.accepted[-1]) == "nginx"

    def is_refused(self, released):
        """A client of this release does not get to make a request."""
        with pytest.raises(httpx2.HTTPError) as caught:
            self._get(PinSet.load(released), "refused")
        assert isinstance(find_error(caught.value), PinMismatch)

    def _get(self, pins, word):
        context = Pinner(pins).create_context(cafile=self._site.acme.ca)
        url = f"https://{HOST}/?{word}"
        return httpx2.get(url, verify=context, proxy=self._proxy.url, trust_env=False).text


def revocation_list(acme, *certificates):
    """A CRL of the CA, which pebble itself does not make, but with its key and its records."""
    issuer = x509.load_pem_x509_certificate(acme.manage("intermediates/0"))
    key = load_pem_private_key(acme.manage("intermediate-keys/0"), None)
    now = datetime.now(UTC)
    builder = x509.CertificateRevocationListBuilder(issuer.subject, now, now + timedelta(days=1))
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
    builder = builder.add_extension(x509.CRLNumber(1), False).add_extension(identifier, False)
    for certificate in certificates:
        if status(acme, certificate) == "Revoked":
            serial = x509.load_der_x509_certificate(certificate).serial_number
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder(serial, now).build()
            )
    return builder.sign(key, SHA256()).public_bytes(Encoding.PEM).decode()


def status(acme, certificate):
    """What the CA says of a certificate."""
    serial = x509.load_der_x509_certificate(certificate).serial_number
    return json.loads(acme.manage(f"cert-status-by-serial/{serial:x}"))["Status"]


def thief(acme, key_file, certificate):
    """Whoever has stolen a key, with the certificate that everybody can see."""
    key = Key("p-256", load_pem_private_key(key_file.read_bytes(), None))
    return Credential((certificate, intermediate_that_signs_lists(acme)), key)


def intermediate_that_signs_lists(acme):
    """Pebble's intermediate as other CAs have theirs: pebble's own may not sign CRLs."""
    root = x509.load_pem_x509_certificate(acme.manage("roots/0"))
    root_key = load_pem_private_key(acme.manage("root-keys/0"), None)
    own = x509.load_pem_x509_certificate(acme.manage("intermediates/0"))
    usage = dict.fromkeys(KEY_USAGES, False) | {"key_cert_sign": True, "crl_sign": True}
    builder = x509.CertificateBuilder(
        root.subject,
        own.subject,
        own.public_key(),
        x509.random_serial_number(),
        own.not_valid_before_utc,
        own.not_valid_after_utc,
        [each for each in own.extensions if not isinstance(each.value, x509.KeyUsage)],
    )
    builder = builder.add_extension(x509.KeyUsage(**usage), critical=True)
    return builder.sign(root_key, SHA256()).public_bytes(Encoding.DER)


def decrypted(file, to):
    """Put the backup key into service: nginx reads it unencrypted."""
    key = load_pem_private_key(file.read_bytes(), PASSPHRASE.encode())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    to.write_bytes(pem)
    return to


def exchange(connection):
    connection.sendall(f"GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
    return connection.recv(4096)


def test_from_the_first_certificate_to_the_revocation_of_a_lost_key(site, keypin):
    acme, folder, pins = site.acme, site.folder, site.pins
    check = ("check", "--pins", pins, "--cafile", acme.ca, "--connect-to")
    check = (*check, f"{HOST}=127.0.0.1:{site.port}")

    def release(name):
        return shutil.copy(pins, folder / f"{name}.toml")

    # Issued, and pinned before anybody is served
    site.issue()
    first = site.issued()
    keypin("init")
    keypin("add", HOST, "--from", site.lineage / "fullchain.pem", "--key", "first")
    without_backup = release("without-backup")
    keypin("backup-key", "spare", "--host", HOST)
    release_1 = release("release-1")
    first_key = shutil.copy(site.lineage / "privkey.pem", folder / "first-key.pem")
    site.deploy_by_hand(site.lineage / "fullchain.pem", first_key, site.deploy_unseen)
    with site.running(), ConnectProxy(routes={HOST: ("127.0.0.1", site.port)}) as proxy:
        clients = Clients(site, proxy)
        clients.reach(without_backup, release_1)
        keypin(*check)

        # Renewed with the same key
        acme.renew(site.name, site.deploy, "--reuse-key")
        renewed = site.issued()
        assert renewed != first
        assert Pin.from_certificate(renewed) == Pin.from_certificate(first)
        assert site.comes_to_show(renewed)
        clients.reach(without_backup, release_1)
        keypin(*check)
        renewed_chain = shutil.copy(site.lineage / "fullchain.pem", folder / "renewed.pem")

        # Rotated to the backup key, which the clients have known from the beginning
        spare_chain = acme.issue_for_request(folder / "spare.csr.pem", folder)
        spare = first_certificate(spare_chain)
        keypin("check", "--pins", pins, "--cafile", acme.ca, "--candidate", spare_chain)
        spare_key = decrypted(folder / "spare.key.pem", folder / "spare-in-service.pem")
        site.deploy_by_hand(spare_chain, spare_key, site.deploy)
        assert site.comes_to_show(spare)
        clients.reach(release_1)
        clients.is_refused(without_backup)
        keypin("promote", HOST, "spare", "--older-pins", release_1)
        keypin("backup-key", "next spare", "--host", HOST)
        release_2 = release("release-2")
        clients.reach(release_1, release_2)
        keypin(*check)

        # The old key was stolen: its certificate is revoked, which pinned clients do not ask for
        assert status(acme, renewed) == "Valid"
        done = acme.certbot(
            "revoke", "--cert-path", renewed_chain, "--key-path", first_key,
            "--reason", "keycompromise", "--no-delete-after-revoke",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert status(acme, renewed) == "Revoked"
        stolen = thief(acme, first_key, renewed)
        with Server(stolen) as server:
            pinner = Pinner(PinSet.load(release_2))
            context = pinner.create_context(cafile=acme.ca)
            with connect(context, server, server_hostname=HOST) as kept:
                assert exchange(kept).startswith(b"HTTP/1.1 200")
                received = server.application_bytes

                # A revocation list does it for who loads one
                asking = Pinner(PinSet.load(release_2)).create_context(cafile=acme.ca)
                asking.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
                crl = folder / "crl.pem"
                crl.write_text(revocation_list(acme, renewed, spare))
                asking.load_verify_locations(crl)
                with pytest.raises(ssl.SSLCertVerificationError, match="revoked") as caught:
                    exchange(connect(asking, server, server_hostname=HOST))
                assert find_error(caught.value) is None

                # The pin file does it for everybody, at once
                keypin("retire", HOST, "first", "--revoke")
                release_3 = release("release-3")
                pinner.replace(PinSet.load(release_3))
                with pytest.raises(PinMismatch):
                    exchange(kept)
            with pytest.raises(PinMismatch) as caught:
                exchange(connect(context, server, server_hostname=HOST))
            assert caught.value.reason is Reason.DENIED
            server.settle()
            assert server.application_bytes == received
        clients.reach(release_1, release_2, release_3)
        said = keypin(
            "check", "--pins", pins, "--cafile", acme.ca, "--candidate", renewed_chain, ends=2
        )
        assert "revoked" in said or "denied" in said
        # by mistake the old one is not deployed again, either
        with pytest.raises(AssertionError, match="not deployed"):
            site.deploy_by_hand(renewed_chain, first_key, site.deploy)
        assert site.shown() == spare
    assert [word for word in clients.accepted if word not in site.requests.read_text()] == []
    assert "refused" not in site.requests.read_text()
