"""What clients with given pins will make of a candidate: each kind of it, each rule, each path."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from scene import HOST, authority, issuing, pinned, unpinned

from keypin import CertificateFormatError, HostnameError, Pin, PinSet, Rule
from keypin.checking.candidate import Candidate, OtherFormat
from keypin.checking.findings import Severity, worst
from keypin.checking.paths import TrustStore
from keypin.checking.rehearsal import Code, rehearse
from keypin.lab import Authority, Credential, new_key, self_signed

NOW = datetime.now(UTC)
DAY = timedelta(days=1)
OK, WARNING, UNKNOWN, CRITICAL = (
    Severity.OK,
    Severity.WARNING,
    Severity.UNKNOWN,
    Severity.CRITICAL,
)


def store(*authorities: Authority, name: str = "") -> TrustStore:
    trusted = authorities or (authority(),)
    return TrustStore(name, tuple(each.certificate for each in trusted))


def rule(host: str | None, *pins: object, **more: object) -> Rule:
    return Rule(host, [getattr(pin, "pin", pin) for pin in pins], **more)


def candidate(shown: object) -> Candidate:
    if isinstance(shown, Credential):
        return Candidate.from_certificates(shown.chain)
    if isinstance(shown, Authority):
        return Candidate.from_certificates((shown.certificate, *shown.chain[1:]))
    return Candidate.from_public_key(shown.spki)


def found(shown, pins, *trusted, hosts=(), at=NOW, unlisted="allow"):
    """The findings, as (severity, code, host, file)."""
    files = pins if isinstance(pins, dict) else {"pins.toml": pins}
    sets = {
        name: PinSet(each if isinstance(each, list) else [each], unlisted=unlisted)
        for name, each in files.items()
    }
    return rehearse(candidate(shown), sets, [store(*trusted)], hosts, at)


def brief(findings):
    return [(each.severity, each.code, each.host, each.where) for each in findings]


# A chain


def test_the_pinned_key_is_accepted_and_another_refused():
    pins = rule(HOST, pinned())
    [good] = found(pinned(), pins)
    assert brief([good]) == [(OK, Code.ACCEPTED, HOST, "pins.toml")]
    assert (good.pin, "the server's own key" in good.text) == (str(pinned().pin), True)
    [bad] = found(unpinned(), pins)
    assert brief([bad]) == [(CRITICAL, Code.REFUSED, HOST, "pins.toml")]
    assert "no pinned key in the verified chain" in bad.text
    assert str(pinned().pin) in bad.text


def test_the_same_key_in_a_renewed_certificate_is_accepted():
    assert brief(found(pinned().renew(), rule(HOST, pinned(), match="leaf")))[0][0] is OK


@pytest.mark.parametrize(("match", "severity"), [("chain", OK), ("leaf", CRITICAL)])
def test_a_pinned_authority_counts_where_the_whole_chain_does(match, severity):
    [finding] = found(unpinned(), rule(HOST, issuing(), match=match))
    assert finding.severity is severity
    assert ("CN=issuing CA" in finding.text) == (match == "chain")


def test_a_denied_key_is_refused_whatever_else_matches():
    [finding] = found(pinned(), rule(HOST, pinned(), deny=[authority().pin], mode="report"))
    assert (finding.severity, finding.code) == (CRITICAL, Code.REFUSED)
    assert "denied" in finding.text


def test_a_mismatch_in_report_mode_is_a_warning():
    [finding] = found(unpinned(), rule(HOST, pinned(), mode="report"))
    assert (finding.severity, finding.code) == (WARNING, Code.REPORTED)


def test_pins_that_expire_are_judged_on_the_day_asked_for():
    expires = NOW + 10 * DAY
    enforced = rule(HOST, pinned(), expires=expires)
    allowing = rule(HOST, pinned(), expires=expires, on_expiry="allow")
    later = NOW + 11 * DAY
    for each in (enforced, allowing):
        assert worst(found(pinned(), each)) is OK
        assert worst(found(unpinned(), each)) is CRITICAL
        [finding] = found(pinned(), each, at=later)
        assert (finding.severity, finding.code) == (WARNING, Code.PINS_EXPIRED)
        assert f"{expires:%Y-%m-%d}" in finding.text
    assert worst(found(unpinned(), enforced, at=later)) is CRITICAL
    [finding] = found(unpinned(), allowing, at=later)
    assert (finding.severity, finding.code) == (WARNING, Code.PINS_EXPIRED)


def test_every_pin_file_is_asked():
    files = {"old.toml": rule(HOST, pinned()), "new.toml": rule(HOST, pinned(), unpinned())}
    assert brief(found(unpinned(), files)) == [
        (CRITICAL, Code.REFUSED, HOST, "old.toml"),
        (OK, Code.ACCEPTED, HOST, "new.toml"),
    ]
    assert {each.severity for each in found(pinned(), files)} == {OK}


def test_a_file_that_does_not_have_the_host_is_no_obstacle_unless_it_refuses_such():
    files = {"first.toml": rule("example.org", pinned()), "now.toml": rule(HOST, pinned())}
    assert brief(found(pinned(), files)) == [(OK, Code.ACCEPTED, HOST, "now.toml")]
    # 127.0.0.1 is a name of this certificate, too
    refused = found(pinned(), files, unlisted="refuse")
    assert [each.code for each in refused].count(Code.REFUSED) == 3


def test_where_nothing_is_pinned_nothing_was_rehearsed():
    elsewhere = rule("example.org", pinned())
    [finding] = found(pinned(), elsewhere)
    assert brief([finding]) == [(UNKNOWN, Code.NOTHING_PINNED, None, None)]
    assert HOST in finding.text
    named = found(pinned(), elsewhere, hosts=[HOST])
    assert worst(named) is UNKNOWN
    assert brief(named)[0] == (OK, Code.NOT_PINNED, HOST, "pins.toml")


def test_a_host_that_is_excluded_is_accepted():
    rules = [rule("**.example.com", pinned()), Rule("open.example.com", exclude=True)]
    leaf = issuing().issue("open.example.com")
    assert brief(found(leaf, rules)) == [(OK, Code.NOT_PINNED, "open.example.com", "pins.toml")]


def test_a_wildcard_is_judged_by_the_rule_of_each_host_that_it_covers():
    leaf, other = issuing().issue("*.Example.com"), issuing().issue("x")
    rules = [
        rule("*.example.com", leaf),
        rule("special.example.com", other),
        rule("**.below.example.com", other),
        rule("deep.below.example.com", other),
        rule("example.com", other),
    ]
    assert {(each.host, each.severity) for each in found(leaf, rules)} == {
        ("*.example.com", OK),
        ("special.example.com", CRITICAL),
        ("below.example.com", CRITICAL),
    }


def test_only_the_hosts_that_are_named_are_judged():
    leaf = issuing().issue("a.example.com", "b.example.com")
    rules = [rule("a.example.com", leaf), rule("b.example.com", pinned())]
    assert worst(found(leaf, rules)) is CRITICAL
    assert brief(found(leaf, rules, hosts=["A.example.com."])) == [
        (OK, Code.ACCEPTED, "a.example.com", "pins.toml")
    ]
    with pytest.raises(HostnameError):
        found(leaf, rules, hosts=["https://a.example.com"])


def test_a_host_that_the_certificate_is_not_for_is_refused():
    [finding] = found(pinned(), rule("**.example.com", pinned()), hosts=["api.example.com"])
    assert (finding.severity, finding.code) == (CRITICAL, Code.NOT_VERIFIED)
    assert "api.example.com" in finding.text


def test_names_that_no_host_has_are_left_out():
    leaf = issuing().issue(HOST, "a b", "f*o.example.com", "*.com")
    assert brief(found(leaf, rule(HOST, leaf))) == [(OK, Code.ACCEPTED, HOST, "pins.toml")]


def test_a_certificate_without_names_is_refused():
    nameless = issuing().issue(common_name=HOST)
    assert worst(found(nameless, rule(HOST, nameless))) is CRITICAL


def test_what_does_not_verify_is_refused_whatever_is_pinned():
    for leaf in (
        Authority("another").issue(HOST),
        issuing().issue(HOST, not_after=NOW - DAY),
        self_signed(HOST),
        issuing().issue(HOST).with_chain(issuing().issue(HOST).certificate),
    ):
        [finding] = found(leaf, rule(HOST, leaf))
        assert (finding.severity, finding.code) == (CRITICAL, Code.NOT_VERIFIED)


def test_what_some_versions_of_python_do_not_verify_is_a_warning():
    # RFC 5280, section 4.2.1.3: a CA's certificate has a key usage
    leaf = authority().intermediate("no use", key_usage=()).issue(HOST)
    findings = found(leaf, rule(HOST, leaf))
    assert [each.code for each in findings] == [Code.NOT_VERIFIED_BY_SOME, Code.ACCEPTED]
    assert "Python 3.13 and later" in findings[0].text
    assert worst(findings) is WARNING


def test_the_certificate_has_to_be_valid_on_the_day_asked_for():
    leaf = issuing().issue(HOST, not_before=NOW + 5 * DAY, not_after=NOW + 50 * DAY)
    pins = rule(HOST, leaf)
    assert worst(found(leaf, pins)) is CRITICAL
    assert worst(found(leaf, pins, at=NOW + 6 * DAY)) is OK
    [late] = found(leaf, pins, at=NOW + 51 * DAY)
    assert "expires on" in late.text


def test_an_outdated_certificate_sent_along_is_a_warning():
    old = Authority("old root", not_after=NOW + 30 * DAY)
    leaf = issuing().issue(HOST)
    shown = leaf.with_chain(
        *leaf.chain, old.cross_sign(authority(), not_after=NOW + 20 * DAY).certificate
    )
    assert worst(found(shown, rule(HOST, leaf))) is OK
    findings = found(shown, rule(HOST, leaf), at=NOW + 21 * DAY)
    assert [each.code for each in findings] == [Code.OUTDATED_SENT, Code.ACCEPTED]
    assert "CN=trusted root" in findings[0].text


# More than one path


@pytest.fixture(scope="module")
def crossing():
    """A server below a new root, which an old root has certified as well."""
    new, old = Authority("new root"), Authority("old root")
    leaf = new.intermediate("issuing").issue(HOST)
    return new, old, leaf.with_chain(*leaf.chain, old.cross_sign(new).certificate)


def test_a_pin_that_only_one_path_has_depends_on_the_path(crossing):
    new, old, leaf = crossing
    [finding] = found(leaf, rule(HOST, old), new, old)
    assert (finding.severity, finding.code) == (CRITICAL, Code.DEPENDS_ON_PATH)
    assert "accepted by way of CN=issuing > CN=new root > CN=old root" in finding.text
    assert "refused by way of CN=issuing > CN=new root: no pinned key" in finding.text


def test_a_pin_that_every_path_has_is_accepted(crossing):
    new, old, leaf = crossing
    for pin in (new.pin, leaf.pin):
        [finding] = found(leaf, rule(HOST, pin), new, old)
        assert finding.severity is OK
        assert "on 2 paths" in finding.text
    [finding] = found(leaf, rule(HOST, new, old), new, old)
    assert finding.severity is OK


def test_each_trust_store_is_asked_about_alone(crossing):
    new, old, leaf = crossing
    stores = [store(new, name="new.pem"), store(old, name="old.pem")]
    pins = {"pins.toml": PinSet([rule(HOST, new)])}
    assert worst(rehearse(candidate(leaf), pins, stores)) is OK
    without_cross = Candidate.from_certificates(leaf.chain[:2])
    findings = rehearse(without_cross, pins, stores)
    assert brief(findings) == [
        (CRITICAL, Code.NOT_VERIFIED, HOST, None),
        (OK, Code.ACCEPTED, HOST, "pins.toml"),
    ]
    assert "old.pem" in findings[0].text


def test_a_denied_authority_on_one_path_depends_on_the_path(crossing):
    new, old, leaf = crossing
    [finding] = found(leaf, rule(HOST, leaf, deny=[old.pin]), new, old)
    assert (finding.severity, finding.code) == (CRITICAL, Code.DEPENDS_ON_PATH)


# An authority


def test_a_pinned_authority_is_accepted_and_tells_which_pins_are_lost():
    left = Authority("left root")
    rules = rule("**.example.com", issuing(), left, pinned())
    findings = found(issuing(), rules, authority(), left)
    assert brief(findings) == [
        (OK, Code.ACCEPTED, "**.example.com", "pins.toml"),
        (OK, Code.PIN_LOST, "**.example.com", "pins.toml"),
    ]
    assert "CN=issuing CA" in findings[0].text
    assert (findings[1].pin, "CN=left root" in findings[1].text) == (str(left.pin), True)


def test_an_authority_that_is_not_pinned_leaves_it_to_the_servers_own_key():
    [finding] = found(issuing(), rule(HOST, pinned()))
    assert (finding.severity, finding.code) == (UNKNOWN, Code.UNDECIDED)
    assert str(pinned().pin) in finding.text


def test_an_authority_where_all_pins_are_of_others_is_refused():
    left = Authority("left root")
    findings = found(issuing(), rule(HOST, left), authority(), left)
    assert [each.code for each in findings] == [Code.REFUSED, Code.PIN_LOST]
    assert worst(findings) is CRITICAL


def test_an_authority_means_nothing_to_those_who_look_at_the_leaf_only():
    for pin in (pinned(), issuing()):
        [finding] = found(issuing(), rule(HOST, pin, match="leaf"))
        assert (finding.severity, finding.code) == (OK, Code.ACCEPTED)
        assert "only the server's own key counts" in finding.text


def test_an_authority_that_is_denied_is_refused():
    [finding] = found(issuing(), rule(HOST, pinned(), deny=[issuing().pin]))
    assert (finding.severity, finding.code) == (CRITICAL, Code.REFUSED)


def test_an_authority_on_several_paths_is_judged_on_each(crossing):
    new, old, leaf = crossing
    shown = Candidate.from_certificates(leaf.chain[1:])
    pins = {"pins.toml": PinSet([rule(HOST, old)])}
    findings = rehearse(shown, pins, [store(new, old)])
    assert (findings[0].severity, findings[0].code) == (CRITICAL, Code.DEPENDS_ON_PATH)


def test_an_authority_that_nobody_trusts_is_refused():
    [finding] = found(Authority("new").intermediate("issuing"), rule(HOST, pinned()))
    assert (finding.severity, finding.code, finding.host) == (CRITICAL, Code.NOT_VERIFIED, None)


def test_an_authority_with_a_mode_that_only_reports_is_a_warning():
    [finding] = found(issuing(), rule(HOST, pinned(), mode="report"))
    assert (finding.severity, finding.code) == (WARNING, Code.REPORTED)


# A key


def test_a_key_is_accepted_where_it_is_pinned_and_denied_where_that_is_said():
    [finding] = found(pinned().key, rule(HOST, pinned(), match="leaf"))
    assert (finding.severity, finding.pin) == (OK, str(pinned().pin))
    [finding] = found(pinned().key, rule(HOST, unpinned(), deny=[pinned().pin]))
    assert finding.severity is CRITICAL


def test_a_key_that_is_not_pinned_is_refused_if_nothing_else_counts():
    [finding] = found(unpinned().key, rule(HOST, pinned(), match="leaf"))
    assert (finding.severity, finding.code) == (CRITICAL, Code.REFUSED)
    [finding] = found(unpinned().key, rule(HOST, pinned()))
    assert (finding.severity, finding.code) == (UNKNOWN, Code.UNDECIDED)


def test_a_key_without_a_host_is_for_those_that_have_it_pinned():
    rules = [rule("a.example.com", pinned()), rule("b.example.com", unpinned(), match="leaf")]
    findings = found(pinned().key, rules)
    assert worst(findings) is OK
    assert "not pinned for b.example.com" in findings[0].text
    assert worst(found(pinned().key, rules, hosts=["b.example.com"])) is CRITICAL
    # but every client needs one
    old = {"new.toml": rules, "old.toml": rule("a.example.com", unpinned(), match="leaf")}
    assert worst(found(pinned().key, old)) is CRITICAL


def test_the_names_of_a_request_are_the_hosts():
    rules = [rule("a.example.com", pinned()), rule("b.example.com", unpinned(), match="leaf")]
    pins = {"pins.toml": PinSet(rules)}
    spki = pinned().key.spki
    assert worst(rehearse(Candidate.from_public_key(spki, ["a.example.com"]), pins, [])) is OK
    both = Candidate.from_public_key(spki, ["*.example.com"])
    assert worst(rehearse(both, pins, [])) is CRITICAL
    other = Candidate.from_public_key(spki, ["example.org"])
    assert worst(rehearse(other, pins, [])) is UNKNOWN


# Candidates


def test_a_certificate_with_the_flag_of_a_ca_and_the_name_of_a_host_is_a_servers():
    server = self_signed(HOST, ca=True, key_usage=["digitalSignature", "keyCertSign"])
    findings = found(server, rule(HOST, server), server.as_authority())
    assert brief(findings) == [(OK, Code.ACCEPTED, HOST, "pins.toml")]


def test_a_chain_in_the_wrong_order_is_an_error():
    with pytest.raises(CertificateFormatError, match="a server sends its own before"):
        Candidate.from_certificates(pinned().chain[::-1])


@pytest.mark.parametrize(
    "read", [Candidate.from_certificates, Candidate.from_request, Candidate.from_private_key]
)
def test_bytes_that_are_something_else_are_an_error(read):
    nothing = b"nothing"
    with pytest.raises(CertificateFormatError):
        read([nothing] if read == Candidate.from_certificates else nothing)
    if read != Candidate.from_certificates:
        with pytest.raises(OtherFormat):
            read(pinned().certificate)


def test_a_key_that_could_have_several_pins_is_an_error():
    with pytest.raises(CertificateFormatError, match="a pin of its own"):
        Candidate.from_public_key(new_key("rsa-pss").spki)


@pytest.mark.parametrize("kind", ["rsa-2048", "p-256", "p-384", "ed25519"])
def test_the_pin_of_a_key_is_that_of_its_certificate(kind):
    credential = issuing().issue(HOST, key=kind)
    pins = {"pins.toml": PinSet([rule(HOST, credential)])}
    [finding] = rehearse(Candidate.from_public_key(credential.key.spki), pins, [])
    assert Pin(finding.pin) == credential.pin
