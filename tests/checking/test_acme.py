"""`keypin deploy` as the deploy hook of certbot, with certificates of the ACME server pebble.

They are served by nginx. Names of keys: the one in use, a new one, a backup.
"""

from __future__ import annotations

import os
import shlex
import subprocess

import pytest
from acme_scene import HOST, Site, first_certificate, needs_acme, running_acme
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from keypin import Pin, PinSet, Rule
from keypin.lab import new_key

pytestmark = needs_acme


@pytest.fixture(scope="module")
def acme(tmp_path_factory):
    with running_acme(tmp_path_factory.mktemp("acme")) as acme:
        yield acme


class PinnedSite(Site):
    """A site whose key in use is pinned, and a backup key."""

    def __init__(self, acme, folder):
        super().__init__(acme, folder)
        self.backup = new_key()
        self.issue()
        self.first = self.issued()
        rule = Rule(HOST, [Pin.from_certificate(self.first), self.backup_pin], match="leaf")
        PinSet([rule]).dump(self.pins)

    @property
    def backup_pin(self):
        return Pin.from_public_key(self.backup.spki)


@pytest.fixture
def site(acme, tmp_path):
    site = PinnedSite(acme, tmp_path)
    lineage = site.lineage
    site.deploy_by_hand(lineage / "fullchain.pem", lineage / "privkey.pem", site.deploy_unseen)
    with site.running():
        assert site.shown() == site.first
        yield site


def test_a_renewal_with_the_key_in_use_is_served(site):
    output = site.acme.renew(site.name, site.deploy, "--reuse-key")
    assert "error" not in output
    renewed = site.issued()
    assert renewed != site.first
    assert Pin.from_certificate(renewed) == Pin.from_certificate(site.first)
    assert site.comes_to_show(renewed)


def test_a_renewal_with_a_new_key_is_stopped_before_it_is_served(site):
    # a failing --pre-hook would not have stopped it, either
    output = site.acme.renew(site.name, site.deploy, "--pre-hook", "false")
    assert Pin.from_certificate(site.issued()) != Pin.from_certificate(site.first)
    assert "deploy-hook' reported error code 2" in output
    assert "candidate-refused" in output
    assert "not deployed: what is served from" in output
    assert "--reuse-key" in output
    assert first_certificate(site.served / "current" / "fullchain.pem") == site.first
    assert site.shown() == site.first
    # not even when nginx is told to read its files
    subprocess.run(shlex.split(str(site.deploy[-1])), check=True, timeout=60)
    assert site.has_reloaded()
    assert site.shown() == site.first


def test_a_certificate_for_the_backup_key_is_served(site):
    request = site.folder / "backup.csr"
    names = x509.SubjectAlternativeName([x509.DNSName(HOST)])
    builder = x509.CertificateSigningRequestBuilder(x509.Name([])).add_extension(names, False)
    request.write_bytes(builder.sign(site.backup.private, SHA256()).public_bytes(Encoding.PEM))
    key = site.folder / "backup.pem"
    key.write_bytes(site.backup.pem)
    fullchain = site.acme.issue_for_request(request, site.folder)
    done = site.deploy_by_hand(fullchain, key, site.deploy)
    assert str(site.backup_pin) in done.stdout
    certificate = first_certificate(fullchain)
    assert Pin.from_certificate(certificate) == site.backup_pin
    assert site.comes_to_show(certificate)


def test_what_was_stopped_is_served_once_the_pins_allow_it(site):
    site.acme.renew(site.name, site.deploy)
    assert site.shown() == site.first
    renewed = site.issued()
    rule = Rule(HOST, [Pin.from_certificate(site.first), Pin.from_certificate(renewed)])
    PinSet([rule]).dump(site.pins)
    done = subprocess.run(
        list(map(str, site.deploy)),
        env={**os.environ, "RENEWED_LINEAGE": str(site.lineage)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert site.comes_to_show(renewed)
