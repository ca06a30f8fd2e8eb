"""Paths to trust anchors, against real handshakes and against the program openssl."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
from datetime import UTC, datetime, timedelta

import pytest
from scene import HOST, NAMES, authority, issuing

from keypin import CertificateFormatError
from keypin.checking.paths import TrustStore, VerifierProfile, authority_paths, server_paths
from keypin.lab import KEY_KINDS, Authority, NameConstraints, Server, new_key, self_signed
from keypin.lab._der import pem

NOW = datetime.now(UTC)
LENIENT, STRICT = VerifierProfile.LENIENT, VerifierProfile.STRICT
DAY = timedelta(days=1)
openssl = shutil.which("openssl")


def store(*authorities: Authority) -> TrustStore:
    return TrustStore("test", tuple(each.certificate for each in authorities))


def paths(credential, *roots: Authority, kind=STRICT, host=HOST, at=NOW):
    return server_paths(credential.chain, store(*roots or (authority(),)), kind, host, at)


@pytest.mark.parametrize("key", KEY_KINDS)
@pytest.mark.parametrize("kind", VerifierProfile)
def test_the_path_of_an_ordinary_chain(key, kind):
    leaf = issuing().issue(*NAMES, "*.example.com", key=key)
    expected = (*leaf.chain, authority().certificate)
    for host in (HOST, "127.0.0.1", "any.example.com"):
        assert paths(leaf, kind=kind, host=host).verified == (expected,)
    assert not paths(leaf, kind=kind, host="a.any.example.com").verified


def faulty_credentials():
    root, ca = authority(), issuing()
    stranger = Authority("stranger")
    other_names = NameConstraints(permitted=("example.org",))
    leaf = ca.issue(*NAMES)
    return {
        "nothing wrong": leaf,
        "another authority": stranger.issue(*NAMES),
        "an authority of the same name": Authority("trusted root").issue(*NAMES),
        "without its intermediate": leaf.with_chain(leaf.certificate),
        "in any order, with others": leaf.with_chain(
            leaf.certificate, stranger.certificate, root.certificate, ca.certificate
        ),
        "signed itself": self_signed(*NAMES),
        "another host": ca.issue("example.org"),
        "common name only": ca.issue(common_name=HOST),
        "a client's": ca.issue(*NAMES, extended_key_usage=["clientAuth"]),
        "key usage": ca.issue(*NAMES, key_usage=["cRLSign"]),
        "an authority below the lowest": ca.intermediate("too low").issue(*NAMES),
        "a leaf as authority": leaf.as_authority().issue(*NAMES),
        "names": root.intermediate("constrained", name_constraints=other_names).issue(*NAMES),
        "without the CA flag": root.intermediate("no CA", ca=False, path_length=None).issue(*NAMES),
        "no key usage of a CA": root.intermediate("no use", key_usage=()).issue(*NAMES),
        "expired": ca.issue(*NAMES, not_after=NOW - DAY),
        "not yet valid": ca.issue(*NAMES, not_before=NOW + DAY),
        "an expired intermediate": root.intermediate("old", not_after=NOW - DAY).issue(*NAMES),
    }


FAULTS = faulty_credentials()


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("kind", VerifierProfile)
def test_what_verifies_is_what_a_handshake_with_the_real_key_accepts(fault, kind):
    credential = FAULTS[fault]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=authority().pem)
    context.hostname_checks_common_name = False
    context.verify_flags = ssl.VerifyFlags(kind.flags())
    with Server(credential) as server, socket.create_connection(server.address, 20) as plain:
        try:
            with context.wrap_socket(plain, server_hostname=HOST) as connection:
                connection.sendall(b"hello")
                failure = None
        except ssl.SSLCertVerificationError as error:
            failure = error.verify_message
    found = paths(credential, kind=kind)
    assert bool(found.verified) == (failure is None), (found, failure)
    if failure is not None:
        assert found.failure


@pytest.mark.skipif(openssl is None, reason="needs openssl (make system-deps)")
@pytest.mark.parametrize("days", [-40, 0, 40])
@pytest.mark.parametrize("fault", FAULTS)
def test_what_verifies_on_another_day_is_what_openssl_verifies_for_that_day(fault, days, tmp_path):
    credential, at = FAULTS[fault], NOW + days * DAY
    files = credential.write(tmp_path)
    root = tmp_path / "root.pem"
    root.write_text(authority().pem)
    leaf = tmp_path / "leaf.pem"
    leaf.write_bytes(pem("CERTIFICATE", credential.certificate))
    command = [openssl, "verify", "-no-CApath", "-no-CAstore", "-purpose", "sslserver"]
    command += ["-x509_strict", "-partial_chain", "-verify_hostname", HOST]
    command += ["-attime", str(int(at.timestamp()))]
    command += ["-CAfile", root, "-untrusted", files.chain, leaf]
    done = subprocess.run(command, capture_output=True, timeout=30)
    # this program would take the common name for the host's
    expected = done.returncode == 0 and fault != "common name only"
    assert bool(paths(credential, at=at).verified) == expected, done.stderr


def test_every_path_is_found_where_an_authority_is_certified_twice():
    new, old = Authority("new root"), Authority("old root")
    leaf = new.intermediate("issuing").issue(*NAMES)
    across = old.cross_sign(new).certificate
    sent = leaf.with_chain(*leaf.chain, across)
    assert set(paths(sent, new, old).verified) == {
        (*leaf.chain, new.certificate),
        (*leaf.chain, across, old.certificate),
    }
    assert paths(sent, new).verified == ((*leaf.chain, new.certificate),)
    assert paths(sent, old).verified == ((*leaf.chain, across, old.certificate),)
    assert not paths(leaf, old).verified


def test_every_certificate_of_an_intermediate_makes_a_path():
    root = Authority("root")
    ca = root.intermediate("issuing", not_after=NOW + 30 * DAY)
    again = ca.credential.renew(root).certificate
    leaf = ca.issue(*NAMES)
    sent = leaf.with_chain(*leaf.chain, again)
    for kind in VerifierProfile:
        assert set(paths(sent, root, kind=kind).verified) == {
            (*leaf.chain, root.certificate),
            (leaf.certificate, again, root.certificate),
        }
        late = paths(sent, root, kind=kind, at=NOW + 31 * DAY)
        assert late.verified == ((leaf.certificate, again, root.certificate),)


def test_paths_of_which_a_certificate_is_out_of_date_are_none():
    new, old = Authority("new root"), Authority("old root", not_after=NOW + 30 * DAY)
    leaf = new.intermediate("issuing").issue(*NAMES)
    sent = leaf.with_chain(*leaf.chain, old.cross_sign(new).certificate)
    assert len(paths(sent, new, old).verified) == 2
    assert len(paths(sent, new, old, at=NOW + 31 * DAY).verified) == 1
    late = paths(sent, old, at=NOW + 31 * DAY)
    assert (late.verified, late.failure[:25]) == ((), "CN=old root expires on 20")


def test_an_intermediate_that_is_trusted_ends_a_path_for_some_clients_only():
    leaf = issuing().issue(*NAMES)
    assert paths(leaf, issuing()).verified == (leaf.chain,)
    assert not paths(leaf, issuing(), kind=LENIENT).verified
    # where the root is trusted as well, they go on to it
    both = paths(leaf, issuing(), authority(), kind=LENIENT)
    assert both.verified == ((*leaf.chain, authority().certificate),)


def test_certificates_signed_for_each_other_come_to_an_end():
    one, two = Authority("one"), Authority("two")
    leaf = one.issue(*NAMES)
    sent = leaf.with_chain(
        leaf.certificate, two.cross_sign(one).certificate, one.cross_sign(two).certificate
    )
    assert set(paths(sent, one, two).verified) == {
        (leaf.certificate, one.certificate),
        (leaf.certificate, sent.chain[1], two.certificate),
    }


def test_too_many_paths_are_an_error():
    twins = [Authority("many of one name") for _ in range(300)]
    leaf = twins[0].issue(*NAMES)
    with pytest.raises(CertificateFormatError, match="more than 256 paths"):
        paths(leaf, *twins)


def test_a_chain_too_long_for_one_record():
    leaf = issuing().issue(*NAMES, *(f"{n:060}.example.com" for n in range(400)))
    assert len(leaf.certificate) > 2**14
    assert len(paths(leaf).verified) == 1


def test_without_any_authority_nothing_verifies():
    assert not paths(issuing().issue(*NAMES), self_signed("nobody").as_authority()).verified
    assert not server_paths(
        issuing().issue(*NAMES).chain, TrustStore("none", ()), LENIENT, HOST, NOW
    ).verified


# Paths of authorities


def test_paths_of_an_authority_end_at_every_anchor():
    new, old = Authority("new root"), Authority("old root")
    ca = new.intermediate("issuing")
    across = old.cross_sign(new).certificate
    sent = (ca.certificate, across)
    assert set(authority_paths(sent, store(new, old), NOW)) == {
        (ca.certificate, new.certificate),
        (ca.certificate, across, old.certificate),
    }
    assert authority_paths(sent, store(old), NOW) == ((ca.certificate, across, old.certificate),)
    assert authority_paths((new.certificate,), store(new), NOW) == ((new.certificate,),)
    assert authority_paths(sent[:1], store(old), NOW) == ()


def test_an_authority_with_a_false_signature_a_wrong_date_or_without_the_flag_has_no_path():
    root = Authority("root")
    impostor = Authority("root").intermediate("issuing")
    assert authority_paths((impostor.certificate,), store(root), NOW) == ()
    ca = root.intermediate("issuing", not_after=NOW + DAY)
    assert authority_paths((ca.certificate,), store(root), NOW + 2 * DAY) == ()
    below = root.issue(common_name="no CA", key=new_key()).as_authority().intermediate("below")
    assert authority_paths(below.chain, store(root), NOW) == ()


# The trust of this machine


def test_the_systems_authorities_are_those_of_a_default_context(tmp_path, monkeypatch):
    root, other = Authority("in a file"), Authority("in a folder")
    tmp_path.joinpath("ca.pem").write_text(root.pem)
    folder = tmp_path / "hashed"
    folder.mkdir()
    folder.joinpath("0123abcd.0").write_text(other.pem)
    folder.joinpath("README").write_text("nothing")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(folder))
    found = TrustStore.system()
    assert (found.name, set(found.anchors)) == ("", {root.certificate, other.certificate})
