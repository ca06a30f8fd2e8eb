"""A chain that does not verify: which certificate is at fault, and what would mend it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from check_scene import HOST, at
from cryptography import x509
from cryptography.x509.oid import AuthorityInformationAccessOID

from keypin import Pin
from keypin.checking.paths import TrustStore
from keypin.checking.unverified import Unverified, explain
from keypin.lab import Authority, Credential, Server, self_signed
from keypin.pinfile import HostEntry, PinEntry

if TYPE_CHECKING:
    from collections.abc import Callable

YESTERDAY = datetime.now(UTC) - timedelta(days=1)
ON_LENIENT = sys.version_info < (3, 13)
LENIENT, STRICT = "Python 3.11 and 3.12", "Python 3.13 and later"


def issuer_at(url: str) -> dict[str, Any]:
    """The fields of a certificate that says where its issuer's is."""
    location = x509.UniformResourceIdentifier(url)
    access = x509.AccessDescription(AuthorityInformationAccessOID.CA_ISSUERS, location)
    return {"further_extensions": [(x509.AuthorityInformationAccess([access]), False)]}


@pytest.fixture
def trusting(folder) -> Callable[..., None]:
    """Put these authorities into the ca.pem that the checks are given."""

    def write(*authorities: Authority) -> None:
        pems = "".join(authority.pem for authority in authorities)
        folder.joinpath("ca.pem").write_text(pems)

    return write


@pytest.fixture
def refused(check, backup) -> Callable[..., tuple[str, str]]:
    """The text and the advice of a check of a server that shows this."""

    def run(credential: Credential, *arguments: str) -> tuple[str, str]:
        pins = [PinEntry(credential.pin), backup]
        with Server(credential) as server:
            checked = check([HostEntry(HOST, pins)], *at(server), "--one-key", *arguments)
            assert server.application_bytes == 0
        assert checked.code == 2
        found = checked.one("not-verified")
        return found["text"], found["advice"] or ""

    return run


# No path to an authority that is trusted


def test_a_server_that_sends_its_own_certificate_only(refused, issuing):
    own = issuing.issue(HOST)
    text, advice = refused(own.with_chain(own.certificate))
    assert "sent its own certificate only; that of its issuer, CN=issuing CA, is missing" in text
    assert "not trusted by ca.pem, which has CN=trusted root" in text
    assert "let the server send its certificate behind its own" in advice
    assert "--cafile" not in advice


def test_it_says_where_the_missing_issuer_is_and_does_not_go_there(refused, issuing, monkeypatch):
    with Server(None) as elsewhere:
        url = f"http://127.0.0.1:{elsewhere.port}/issuing.der"
        own = issuing.issue(HOST, **issuer_at(url))
        _, advice = refused(own.with_chain(own.certificate))
        assert elsewhere.connections == []
    assert f"CN={HOST} says that it is at {url}" in advice


@pytest.mark.parametrize(
    "url", ["ldap://example.com/cn=CA", "javascript:alert(1)", "http://" + "a" * 300, "http://a b/"]
)
def test_what_is_no_address_of_the_web_is_not_shown(refused, issuing, url):
    own = issuing.issue(HOST, **issuer_at(url))
    text, advice = refused(own.with_chain(own.certificate))
    assert url not in text + advice


def test_a_root_that_is_missing_from_the_file(refused, trusting, credential):
    trusting(Authority("another root"))
    text, advice = refused(credential)
    assert "end with CN=issuing CA; the certificate of its issuer, CN=trusted root, is" in text
    assert "not trusted by ca.pem, which has CN=another root, and was not sent" in text
    assert "If CN=trusted root is a root: add its certificate to ca.pem" in advice


def test_a_root_that_is_missing_from_the_system_is_named_with_the_option(issuing, root):
    """As `check` does without --cafile, for which no authority of this system may be needed."""
    sent = issuing.issue(HOST).chain
    case = Unverified(sent, HOST, 20, TrustStore("", ()), datetime.now(UTC))
    cause, advice = explain(case)
    assert "CN=trusted root, is missing: it is not trusted by this system" in cause
    assert "name its certificate by --cafile FILE" in advice


def test_a_root_that_is_sent_and_not_trusted(refused, trusting, credential, root):
    trusting(Authority("another root"))
    text, advice = refused(credential.with_chain(*credential.chain, root.certificate))
    assert "ends with the root CN=trusted root, which is not trusted by ca.pem" in text
    assert "If you know CN=trusted root for your own authority: add its certificate" in advice


def test_an_authority_that_was_made_anew(refused, trusting, credential):
    trusting(Authority("trusted root"))
    text, advice = refused(credential)
    assert "named CN=trusted root is trusted by ca.pem" in text
    assert "with another key than the one that signed CN=issuing CA" in text
    assert "the one that is in use now" in advice


def test_an_intermediate_that_was_made_anew(refused, root, credential):
    namesake = root.intermediate("issuing CA")
    text, _ = refused(credential.with_chain(credential.certificate, namesake.certificate))
    assert "CN=issuing CA, was sent with another key than the one that signed it" in text


def test_an_intermediate_of_something_else(refused, root, credential):
    other = root.intermediate("another CA")
    text, _ = refused(credential.with_chain(credential.certificate, other.certificate))
    assert "others that did not issue it (CN=another CA)" in text


@pytest.mark.skipif(not ON_LENIENT, reason="accepted from 3.13 on")
def test_an_intermediate_without_its_root_is_enough_for_some(refused, trusting, issuing):
    trusting(issuing)
    text, advice = refused(issuing.issue(HOST))
    assert "CN=issuing CA is trusted by ca.pem, which has CN=issuing CA, but is no root" in text
    assert text.endswith(f"{STRICT} would accept it")
    assert advice == "Add the certificate of CN=trusted root to ca.pem, too."


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_a_folder_of_authorities_is_searched_like_a_file(
    keypin_check, folder, root, credential, backup
):
    authorities = folder / "authorities"
    authorities.mkdir()
    authorities.joinpath("other.pem").write_text(Authority("another root").pem)
    subprocess.run(["openssl", "rehash", str(authorities)], check=True, timeout=20)
    authorities.joinpath("0badc0de.0").write_text("no certificate")
    with Server(credential) as server:
        there = [*at(server), "--capath", "authorities", "--one-key"]
        code, text, _ = keypin_check([HostEntry(HOST, [credential.pin, backup])], *there)
        assert code == 0  # by ca.pem, which --cafile names
        folder.joinpath("ca.pem").write_text(Authority("a third root").pem)
        code, text, _ = keypin_check([HostEntry(HOST, [credential.pin, backup])], *there)
    assert code == 2
    trusted = "ca.pem and authorities, which has CN=a third root, CN=another root"
    assert f"not trusted by {trusted}" in text


# One certificate is at fault


def test_which_certificate_has_expired(refused, root, issuing):
    text, advice = refused(issuing.issue(HOST, not_after=YESTERDAY))
    assert f"CN={HOST} expires on {YESTERDAY:%Y-%m-%d}" in text
    assert advice == "Renew the server's certificate."
    past = root.intermediate("past CA", not_after=YESTERDAY)
    text, advice = refused(past.issue(HOST))
    assert f"CN=past CA expires on {YESTERDAY:%Y-%m-%d}" in text
    assert f"CN={HOST}" not in text
    assert "send the certificate of CN=past CA that is valid now" in advice


def test_a_root_that_has_expired(refused, trusting):
    past = Authority("past root", not_after=YESTERDAY)
    trusting(past)
    text, advice = refused(past.issue(HOST))
    assert "CN=past root expires on" in text
    assert advice == "Add the certificate of CN=past root to ca.pem that has taken its place."


def test_a_certificate_from_the_future_raises_doubts_of_the_clock(refused, issuing):
    _, advice = refused(issuing.issue(HOST, not_before=datetime.now(UTC) + timedelta(days=1)))
    assert "This machine's clock says" in advice


def test_the_names_that_it_is_for(refused, issuing):
    text, advice = refused(issuing.issue("a.example.test", "b.example.test"))
    assert f"it is for a.example.test, b.example.test, not for {HOST}" in text
    assert "connect to it by that" in advice
    text, _ = refused(issuing.issue(common_name=HOST))
    assert "it names no host in subjectAltName" in text


def test_a_self_signed_one(refused):
    text, advice = refused(self_signed(HOST))
    assert f"CN={HOST} signed its own certificate" in text
    assert "cannot replace it" in advice


def test_a_certificate_that_is_not_for_servers(refused, issuing):
    text, _ = refused(issuing.issue(HOST, extended_key_usage=["clientAuth"]))
    assert f"CN={HOST} is not for servers" in text


def test_an_issuer_that_is_no_authority(refused, issuing):
    below = issuing.issue("not-an-authority").as_authority()
    text, _ = refused(below.issue(HOST))
    assert "CN=not-an-authority" in text


@pytest.mark.parametrize("sent", [(b"",), (b"0\0",), (b"\x30\x82\xff\xff",), ()])
def test_anything_may_be_sent(sent):
    for code in range(100):
        case = Unverified(sent, HOST, code, TrustStore("ca.pem", ()), datetime.now(UTC))
        assert len(explain(case)) == 2


# What verifies, though not for everybody


def test_certificates_that_are_sent_out_of_order(check, trusting, backup):
    root = Authority("a root", path_length=5)
    middle = root.intermediate("the middle", path_length=4)
    credential = middle.intermediate("the last").issue(HOST)
    trusting(root)
    own, last, above = credential.chain
    hosts = [HostEntry(HOST, [credential.pin, backup])]
    with Server(credential.with_chain(own, above, last)) as server:
        checked = check(hosts, *at(server), "--one-key")
    assert checked.trouble == {("warning", "chain-order")}
    order = f"CN={HOST}, CN=the middle, CN=the last"
    assert order in checked.one("chain-order")["text"]
    with Server(credential) as server:
        assert check(hosts, *at(server), "--one-key").trouble == set()


def test_an_intermediate_that_only_the_file_has(check, trusting, root, issuing, backup):
    trusting(root, issuing)
    own = issuing.issue(HOST)
    hosts = [HostEntry(HOST, [own.pin, backup])]
    with Server(own.with_chain(own.certificate)) as server:
        checked = check(hosts, *at(server), "--one-key")
    if ON_LENIENT:
        assert checked.trouble == {("warning", "intermediate-not-sent")}
        assert "CN=issuing CA" in checked.one("intermediate-not-sent")["text"]
    else:  # there the chain ends at it
        assert checked.trouble == set()


# Other versions of Python


@pytest.fixture
def careless(trusting) -> Authority:
    """A trusted authority whose certificate lacks what RFC 5280 asks for."""
    authority = Authority("careless root", key_usage=())
    trusting(authority)
    return authority


def test_what_other_versions_of_python_would_refuse(check, careless, backup):
    credential = careless.issue(HOST)
    hosts = [HostEntry(HOST, [credential.pin, backup])]
    with Server(credential) as server:
        checked = check(hosts, *at(server), "--one-key")
        relaxed = check(hosts, *at(server), "--one-key", "--no-strict-x509")
        strict = check(hosts, *at(server), "--one-key", "--strict-x509")
        assert server.application_bytes == 0
    assert relaxed.trouble == set()
    assert strict.trouble == {("critical", "not-verified")}
    assert "the strict rules of RFC 5280" in strict.one("not-verified")["text"]
    assert "--no-strict-x509" in strict.one("not-verified")["advice"]
    if ON_LENIENT:
        assert checked.trouble == {("warning", "refused-by-some")}
        text = checked.one("refused-by-some")["text"]
        assert text.startswith(f"{STRICT} would refuse this chain because ")
        assert "strict_x509=False" in checked.one("refused-by-some")["advice"]
    else:
        assert checked.trouble == {("critical", "not-verified")}
        assert f"{LENIENT} would accept it" in checked.one("not-verified")["text"]


@pytest.mark.skipif(not ON_LENIENT, reason="there it is the mismatch itself")
def test_a_pin_above_a_trusted_intermediate_is_out_of_sight_of_some(
    check, trusting, root, issuing, backup
):
    trusting(root, issuing)
    with Server(issuing.issue(HOST)) as server:
        entry = HostEntry(HOST, [Pin.from_certificate(root.certificate), backup])
        checked = check([entry], *at(server), "--one-key")
    text = checked.one("refused-by-some")["text"]
    assert f"{STRICT} would refuse this chain because its chain ends at CN=issuing CA" in text


def test_a_rehearsal_is_for_clients_that_were_told_so(check, careless, backup, folder):
    credential = careless.issue(HOST)
    files = credential.write(folder / "candidate")
    hosts = [HostEntry(HOST, [credential.pin, backup])]
    told = {
        option: check(hosts, "--candidate", files.chain, *option).kinds
        for option in ((), ("--no-strict-x509",), ("--strict-x509",))
    }
    accepted = ("ok", "candidate-accepted")
    assert told == {
        (): {accepted, ("warning", "candidate-not-verified-by-some")},
        ("--no-strict-x509",): {accepted},
        ("--strict-x509",): {("critical", "candidate-not-verified")},
    }
