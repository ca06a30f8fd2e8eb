"""What outcomes count for: harms, one fault in many cases, keys that a client does not support."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest
from junitparser import JUnitXml

from keypin.errors import MissingExtra
from keypin.lab import Case, Judgement, Scenario, Stage, scenarios
from keypin.lab.assessment import Played, count_once
from keypin.lab.catalogue import GROUPS
from keypin.lab.judge import HARMS
from keypin.lab.reports import HARM_WORDS, json_report, junit_report, markdown_report
from keypin.lab.runner import play

if TYPE_CHECKING:
    from keypin.lab.runner import Report

# Trusts both authorities; looks at the key when the handshake is over, or never; shows its
# certificate, if it is told one, to whoever asks; and refuses keys with the OID that it is told.
PROGRAM = """
import http.client, ssl, sys, urllib.parse
url, pinned, refused, *own = sys.argv[1:]
import keypin
context = ssl.create_default_context()
if own:
    context.load_cert_chain(own[0])
parts = urllib.parse.urlsplit(url)
connection = http.client.HTTPSConnection(parts.hostname, parts.port, context=context, timeout=20)
connection.connect()
certificate = connection.sock.getpeercert(binary_form=True)
if refused:
    from cryptography import x509
    kind = x509.load_der_x509_certificate(certificate).public_key_algorithm_oid
    if kind.dotted_string == refused:
        sys.exit("what is that?")
if pinned:
    pins = keypin.PinSet.load(pinned)
    if keypin.Pin.from_certificate(certificate) not in pins.rules[0].pins:
        sys.exit("not the pinned key")
connection.request("GET", "/")
connection.getresponse().read()
"""
PINNED = [sys.executable, "-c", PROGRAM, "{url}", "{pins}", ""]
UNPINNED = [sys.executable, "-c", PROGRAM, "{url}", "", ""]
SHOWING = [*PINNED, "{client_certificate}"]


def chosen(*identifiers: str, key: str = "p-256", tls: str = "1.3") -> list[Case]:
    return [
        case
        for scenario in scenarios()
        if scenario.identifier in identifiers
        for case in scenario.cases(tls, key)
    ]


def states(report: Report) -> dict[str, str]:
    return {it.case.scenario.identifier: it.state for it in report.played}


# Harms


def test_every_harm_has_words():
    assert set(HARM_WORDS) == set(HARMS)


@pytest.mark.parametrize(
    ("command", "scenario", "harm"),
    [
        (UNPINNED, "other-ca", "application-bytes"),
        (SHOWING, "client-certificate-other-ca", "client-certificate"),
        ([*PINNED[:2], PROGRAM.replace("sys.exit(", "sys.exit(not "), *PINNED[3:]],
         "other-ca", "success-reported"),
        (PINNED, "root-pinned", "honest-server-refused"),
        ([*PINNED[:2], f"{PROGRAM}\nsys.exit('lost')", *PINNED[3:]],
         "renewed-certificate", "failure-reported"),
    ],
)  # fmt: skip
def test_what_a_client_did_wrong(command, scenario, harm):
    (played,) = play(chosen(scenario), command).played
    assert played.harm == harm, str(played.judgement)
    assert played.outcome == ("right" if harm == "success-reported" else "wrong")


def test_a_client_that_hangs():
    program = "import sys, time\ntime.sleep(600)"
    (played,) = play(
        chosen("other-ca"), [sys.executable, "-c", program, "{url}"], timeout=0.5
    ).played
    assert (played.outcome, played.harm) == ("wrong", "hung")


def test_all_reports_tell_the_harms():
    report = play(chosen("pinned-key", "other-ca", "same-issuer", "root-pinned"), UNPINNED)
    assert report.verdict == "bypassed"
    assert {harm: len(some) for harm, some in report.harms.items()} == {"application-bytes": 2}
    found = json.loads(json_report(report))
    assert found["harms"] == {
        "application-bytes": {"cases": 2, "scenarios": ["other-ca", "same-issuer"]}
    }
    assert [case["harm"] for case in found["cases"]] == [None, None, *["application-bytes"] * 2]
    (suite,) = JUnitXml.fromroot(JUnitXml.fromstring(junit_report(report))._elem)
    assert {it.name: it.value for it in suite.properties()} == {"application-bytes": "2"}
    assert [it.result[0].type for it in suite if it.result] == ["application-bytes"] * 2
    assert (
        "- an attacker received application bytes: 2 cases of 2 scenarios"
        in markdown_report(report).splitlines()
    )


# A certificate that is shown too early


def test_a_certificate_that_is_shown_to_everybody_counts_once():
    names = ("pinned-key", "other-ca", "same-issuer", "client-certificate-other-ca")
    report = play(chosen(*names), SHOWING)
    assert states(report) == {
        "pinned-key": "right",
        "other-ca": "same fault",
        "same-issuer": "same fault",
        "client-certificate-other-ca": "wrong",
    }
    assert report.verdict == "bypassed"
    assert {harm: len(some) for harm, some in report.harms.items()} == {"client-certificate": 1}
    cases = {case["scenario"]: case for case in json.loads(json_report(report))["cases"]}
    assert cases["other-ca"]["counted_in"] == "client-certificate-other-ca"
    assert (cases["other-ca"]["outcome"], cases["other-ca"]["state"]) == ("wrong", "same fault")
    assert "`other-ca-tls1.3-p-256`: same fault" in markdown_report(report)


def test_without_that_scenario_it_counts_in_the_first_one():
    report = play(chosen("pinned-key", "other-ca", "same-issuer"), SHOWING)
    assert states(report) == {
        "pinned-key": "right", "other-ca": "wrong", "same-issuer": "same fault"
    }  # fmt: skip


def test_bytes_count_wherever_they_arrive():
    names = ("pinned-key", "other-ca", "client-certificate-other-ca")
    report = play(chosen(*names), [*UNPINNED, "{client_certificate}"])
    assert states(report)["other-ca"] == "wrong"
    assert len(report.harms["application-bytes"]) == 2


def judged(scenario: str, outcome: str, certificates: int) -> Played:
    (case,) = chosen(scenario)
    harm = "client-certificate" if outcome == "wrong" else None
    return Played(Judgement(case, outcome, ("because",), 1, 0, certificates, harm))


def test_what_the_plain_scenario_does_not_show_is_a_fault_of_its_own():
    some = [judged("other-ca", "wrong", 1), judged("client-certificate-other-ca", "right", 0)]
    assert [it.state for it in count_once(some)] == ["wrong", "right"]


def test_other_checks_that_come_too_late_are_other_faults():
    some = [
        judged("client-certificate-other-ca", "wrong", 1),
        judged("client-certificate-untrusted", "wrong", 1),
        judged("self-signed", "wrong", 1),
    ]
    assert [it.counted_in for it in count_once(some)] == [
        None, None, "client-certificate-untrusted"
    ]  # fmt: skip


# Kinds of key


def refusing(kind: str) -> list[str]:
    """A client that cannot tell what a key of this kind is."""
    return [sys.executable, "-c", PROGRAM, "{url}", "{pins}", kind]


ED25519, RSA = "1.3.101.112", "1.2.840.113549.1.1.1"
BOTH_KINDS = [
    *chosen("pinned-key"),
    *chosen("pinned-key", key="ed25519"),
    *chosen("other-ca"),
    *chosen("other-ca", key="ed25519"),
]


def by_kind(report: Report) -> dict[tuple[str, str], str]:
    return {(it.case.scenario.identifier, it.case.key): it.state for it in report.played}


def test_a_kind_of_key_that_the_client_does_not_support_is_a_result_of_its_own():
    report = play(BOTH_KINDS, refusing(ED25519))
    assert by_kind(report) == {
        ("pinned-key", "p-256"): "right",
        ("pinned-key", "ed25519"): "unsupported",
        ("other-ca", "p-256"): "right",
        ("other-ca", "ed25519"): "unsupported",
    }
    assert (report.verdict, report.harms) == ("right", {})
    assert "does not support keys of the kind ed25519" in report.played[1].judgement.reasons[0]
    (suite,) = JUnitXml.fromroot(JUnitXml.fromstring(junit_report(report))._elem)
    assert (suite.failures, suite.errors, suite.skipped) == (0, 0, 2)


def test_one_that_was_asked_for_alone_is_compared_with_a_usual_one_and_proves_nothing():
    report = play(chosen("pinned-key", "other-ca", key="ed25519"), refusing(ED25519))
    assert by_kind(report) == {
        ("pinned-key", "p-256"): "right",
        ("pinned-key", "ed25519"): "unsupported",
        ("other-ca", "ed25519"): "unsupported",
    }
    assert report.verdict == "inconclusive"


def test_an_attacker_with_such_a_key_counts_all_the_same():
    command = refusing(ED25519)
    command[2] = command[2].replace(
        'sys.exit("what is that?")',
        """
        connection.request("GET", "/") if b"other trusted" in certificate else sys.exit("what?")
""".strip(),
    )
    report = play(BOTH_KINDS, command)
    assert by_kind(report)["other-ca", "ed25519"] == "wrong"
    assert report.verdict == "bypassed"


def test_every_client_is_expected_to_support_rsa():
    cases = [*chosen("pinned-key"), *chosen("pinned-key", key="rsa-2048")]
    report = play(cases, refusing(RSA))
    assert by_kind(report)["pinned-key", "rsa-2048"] == "wrong"
    assert report.verdict == "inconclusive"


# What cannot be played, proxies, Ctrl-C


def without_library(stage: Stage) -> None:
    raise MissingExtra(f"{stage.case.scenario} needs a-library", name="a-library")


def odd(identifier: str, build: object, **more: object) -> Scenario:
    return Scenario(identifier, GROUPS[0], "Odd.", "reject", "none", build, **more)


def test_what_one_extra_mends_is_told_in_the_same_words():
    cases = [case for name in ("one", "two") for case in odd(name, without_library).cases("1.3")]
    report = play([*chosen("pinned-key"), *cases], PINNED)
    reasons = {it.judgement.reasons for it in report.played if it.state == "not played"}
    assert len(reasons) == 1
    (reason,) = reasons.pop()
    assert "pip install 'keypin[attacks]'" in reason
    assert report.verdict == "inconclusive"
    assert markdown_report(report).count("pip install") == 1


def test_a_client_that_takes_no_proxy_from_the_environment_for_localhost():
    cases = chosen("pinned-key", "other-ca", "proxy-honest", "proxy-intercepting")
    report = play(cases, PINNED)  # http.client takes none at all
    assert states(report) == {
        "pinned-key": "right",
        "other-ca": "right",
        "proxy-honest": "unsupported",
        "proxy-intercepting": "unsupported",
    }
    assert "Go's clients" in report.played[-1].judgement.reasons[0]
    # told by a place, it has no excuse
    report = play(cases, [*PINNED[:-1], "{proxy}"])
    assert states(report)["proxy-honest"] == "inconclusive"


def test_scenarios_are_told_as_they_come_and_in_order():
    told = []
    cases = chosen("pinned-key", "other-ca", "same-issuer", "client-certificate-other-ca")
    report = play(cases, PINNED, jobs=3, tell=lambda some: told.extend(some))
    assert told == report.played


def test_ctrl_c_leaves_what_was_played():
    def interrupt(some: list[Played]) -> None:
        if some[0].case.scenario.identifier == "other-ca":
            raise KeyboardInterrupt

    cases = chosen("pinned-key", "other-ca", "same-issuer")
    report = play(cases, PINNED, tell=interrupt)
    assert report.played[0].state == "right"
    assert "other-ca" in states(report)
    assert (len(report.played), report.interrupted) == (2, 1)
    assert report.verdict == "inconclusive"
    found = json.loads(json_report(report))
    assert (found["interrupted"], found["left"]) == (True, report.interrupted)
    (suite,) = JUnitXml.fromroot(JUnitXml.fromstring(junit_report(report))._elem)
    assert suite.errors == 1
    assert f"interrupted before {report.interrupted} more" in markdown_report(report)
