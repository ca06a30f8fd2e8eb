"""What machines read: every form, by a parser that is not ours."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from check_scene import HOST, NOW, at

from keypin.checking import judgement, lint, rehearsal
from keypin.checking.findings import Finding, Severity, exit_code, worst
from keypin.checking.reports import Report, junit_report, prometheus_report
from keypin.lab import Server
from keypin.pinfile import HostEntry, PinEntry

if TYPE_CHECKING:
    from collections.abc import Callable

DOCUMENT = Path(__file__).parents[2] / "docs" / "check.md"


@pytest.fixture
def mixed(keypin_check: Callable[..., tuple[int, str, str]], credential, issuing, backup, folder):
    """A check that found something of everything; the folder has its reports."""
    entries = [
        HostEntry(HOST, [credential.pin, backup], expires=datetime(2099, 1, 1, tzinfo=UTC)),
        HostEntry("bad.example.test", [credential.pin, backup]),
        HostEntry("gone.invalid", [PinEntry(credential.pin)]),
    ]
    bad = issuing.issue("bad.example.test")
    with Server(credential) as good, Server(bad) as other:
        code, _, _ = keypin_check(
            entries,
            *at(good),
            *at(other, host="bad.example.test"),
            *["--junit", "report.xml", "--prometheus", "keypin.prom"],
        )
    assert code == 2
    return folder


def test_the_exit_code_is_that_of_the_worst_and_nothing_is_unknown():
    def found(*severities: Severity) -> list[Finding]:
        return [Finding(severity, "code", "host", "text") for severity in severities]

    ok, warning, unknown, critical = Severity
    assert [worst(found(*some)) for some in ([], [ok], [ok, warning], [warning, unknown],
            [unknown, critical])] == [unknown, ok, warning, unknown, critical]  # fmt: skip
    codes = {
        fail_on: [exit_code(found(severity), fail_on) for severity in Severity]
        for fail_on in (warning, critical)
    }
    assert codes == {warning: [0, 1, 3, 2], critical: [0, 0, 3, 2]}
    assert exit_code([]) == 3


def test_junit_is_read_by_junitparser(mixed):
    junitparser = pytest.importorskip("junitparser")
    [suite] = junitparser.JUnitXml.fromfile(str(mixed / "report.xml"))
    outcomes = {case.name: [type(each).__name__ for each in case.result] for case in suite}
    assert outcomes == {HOST: [], "bad.example.test": ["Failure"], "gone.invalid": ["Error"]}
    assert (suite.tests, suite.failures, suite.errors, suite.skipped) == (3, 1, 1, 0)
    [failure] = next(case for case in suite if case.name == "bad.example.test").result
    assert failure.type == "pin-mismatch"
    assert re.match(r"127\.0\.0\.1:\d+, ECDSA: no pinned key", failure.message)


def test_every_form_counts_hosts_and_counts_them_alike(keypin_check, credential, backup, folder):
    """A host that fails in several ways, at several addresses, is one host."""
    parser = pytest.importorskip("prometheus_client.parser")
    names = [f"h{number}.example.test" for number in range(20)]
    entries = [HostEntry(name, [PinEntry(credential.pin)]) for name in names]
    with Server(None) as first, Server(None, host="127.0.0.2") as second:
        there = [option for name in names for option in at(first, second, host=name)]
        there += ["--timeout", "5", "--junit", "report.xml", "--prometheus", "keypin.prom"]
        _, text, _ = keypin_check(entries, *there)
        _, shown, _ = keypin_check(entries, *there, "--json")
        _, lines, _ = keypin_check(entries, *there, "--jsonl")
    expected = {"ok": 0, "warning": 0, "unknown": 20, "critical": 0}
    assert text.splitlines()[-1] == "20 hosts: 20 unknown"
    assert json.loads(shown)["hosts"] == json.loads(lines.splitlines()[-1])["hosts"] == expected
    junit = (folder / "report.xml").read_text(encoding="utf-8")
    assert 'tests="20" failures="0" errors="20"' in junit
    metrics = (folder / "keypin.prom").read_text(encoding="utf-8")
    [hosts] = [
        family
        for family in parser.text_string_to_metric_families(metrics)
        if family.name == "keypin_check_hosts"
    ]
    assert {each.labels["severity"]: each.value for each in hosts.samples} == expected


def test_what_passes_by_choice_passes_in_junit_too():
    findings = [Finding(Severity.WARNING, "code", "host", "text")]
    for fail_on, failures in ((Severity.WARNING, b'failures="1"'), (Severity.CRITICAL, b'="0"')):
        assert failures in junit_report(Report(NOW, NOW, findings, fail_on))


def test_junit_holds_whatever_a_certificate_says():
    junitparser = pytest.importorskip("junitparser")
    nasty = "CN=<&\"']]>\x00\x1b[31m\x85\ud800\uffff\U0001f510"
    finding = Finding(Severity.CRITICAL, "code", nasty, nasty, nasty)
    written = junit_report(Report(NOW, NOW + timedelta(seconds=1.5), [finding]))
    [suite] = junitparser.JUnitXml.fromstring(written)
    [case] = suite
    expected = "CN=<&\"']]>\\x00\\x1b[31m\x85\\xd800\\xffff\U0001f510"
    assert (case.name, case.result[0].message) == (expected, f"{expected}: {expected}")
    assert suite.time == 1.5


def test_metrics_are_read_by_prometheus_own_parser(mixed, credential, backup):
    parser = pytest.importorskip("prometheus_client.parser")
    text = (mixed / "keypin.prom").read_text(encoding="utf-8")
    families = {each.name: each for each in parser.text_string_to_metric_families(text)}
    assert all(each.type == "gauge" and each.documentation for each in families.values())

    def samples(name: str, *labels: str) -> dict[tuple[str, ...], float]:
        return {
            tuple(sample.labels[label] for label in labels): sample.value
            for sample in families[name].samples
        }

    assert samples("keypin_check_host_status", "host") == {
        (HOST,): 0,
        ("bad.example.test",): 2,
        ("gone.invalid",): 3,
    }
    counts = samples("keypin_check_hosts", "severity")
    assert counts == {("ok",): 1, ("warning",): 0, ("unknown",): 1, ("critical",): 1}
    assert samples("keypin_check_exit_code") == {(): 2}
    age = datetime.now(UTC).timestamp() - samples("keypin_check_timestamp_seconds")[()]
    assert 0 <= age < 3600  # seconds, in UTC
    seen = samples("keypin_pin_seen", "host", "pin", "role")
    assert seen[HOST, str(credential.pin), "active"] == 1
    assert seen[HOST, str(backup.pin), "backup"] == 0
    assert seen["bad.example.test", str(credential.pin), "active"] == 0
    ends = samples("keypin_certificate_expiry_timestamp_seconds", "host", "address", "key")
    from cryptography import x509

    end = x509.load_der_x509_certificate(credential.certificate).not_valid_after_utc
    assert ends[HOST, "127.0.0.1", "ECDSA"] == end.timestamp()
    assert samples("keypin_pins_expiry_timestamp_seconds", "host") == {
        (HOST,): datetime(2099, 1, 1, tzinfo=UTC).timestamp()
    }


def test_labels_are_escaped():
    parser = pytest.importorskip("prometheus_client.parser")
    nasty = 'a"b\\c\nd'
    text = prometheus_report(Report(NOW, NOW, [Finding(Severity.OK, "code", nasty, "text")]))
    hosts = [
        sample.labels["host"]
        for family in parser.text_string_to_metric_families(text)
        for sample in family.samples
        if "host" in sample.labels
    ]
    assert hosts == [nasty]


def test_reports_appear_whole_and_replace_the_ones_before(mixed):
    names = {path.name for path in mixed.iterdir()}
    assert names == {"ca.pem", "pins.toml", "report.xml", "keypin.prom"}


def test_a_report_that_cannot_be_written_is_an_error(keypin_check, credential, backup):
    hosts = [HostEntry("a.example.test", [credential.pin, backup])]
    code, _, error = keypin_check(hosts, "--lint", "--junit", "nowhere/report.xml")
    assert code == 73
    assert "nowhere/report.xml" in error


def test_json_has_findings_and_servers(check, credential, backup):
    with Server(credential) as server:
        checked = check([HostEntry(HOST, [credential.pin, backup])], *at(server))
    assert set(checked.found[0]) == {"severity", "code", "host", "where", "text", "advice", "pin"}
    [shown] = checked.servers
    assert shown["chain"][0]["subject"] == f"CN={HOST}"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", shown["chain"][0]["not_after"])


# Usage


@pytest.mark.parametrize(
    "arguments",
    [
        ["--json", "--jsonl"],
        ["-4", "-6"],
        ["--at", "2027-01-01"],
        ["--older-pins", "pins.toml"],
        ["--candidate", "x.pem", "--lint"],
        ["--candidate", "x.pem", "--at", "soon"],
        ["--candidate", "x.pem", "--at", "2027-01-01T10:00"],
        ["--port", "0"],
        ["--port", "two words=1"],
        ["--starttls", "xmpp"],
        ["--connect-to", "127.0.0.1"],
        ["--connect-to", "another.example.test=127.0.0.1"],
        ["--starttls", "another.example.test=smtp"],
        ["--port", "another.example.test=465"],
        ["--candidate", "chain.pem", "--capath", "."],
        ["--extra-host", "http://api.example.test"],
        ["--expires-within", "soon"],
        ["--workers", "0"],
        ["--fail-on", "unknown"],
        ["two words"],
    ],
    ids=" ".join,
)
def test_arguments_without_meaning_are_a_mistake(keypin_check, credential, arguments):
    code, output, error = keypin_check([HostEntry(HOST, [credential.pin])], *arguments)
    assert (code, output) == (64, "")
    assert error.startswith("keypin: ")


def test_a_pin_file_that_is_not_there_or_not_right_is_named(keypin_check, folder, credential):
    hosts = [HostEntry(HOST, [credential.pin])]
    assert keypin_check(hosts, "--pins", "other.toml")[0] == 66
    (folder / "bad.toml").write_text("schema = 3\n")
    code, _, error = keypin_check(hosts, "--pins", "bad.toml")
    assert code == 65
    assert "bad.toml" in error
    code, _, error = keypin_check(hosts, "--cafile", "nothing.pem")
    assert (code, "nothing.pem (--cafile)" in error) == (66, True)


def test_a_candidate_is_rehearsed_without_any_network(
    check, credential, backup, folder, monkeypatch
):
    import socket

    monkeypatch.delattr(socket, "create_connection")
    files = credential.write(folder / "candidate")
    hosts = [HostEntry(HOST, [credential.pin, backup])]
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).date()
    accepted = check(hosts, "--candidate", files.chain, "--at", tomorrow, "--fail-on", "critical")
    assert (accepted.code, accepted.servers) == (0, [])
    hosts = [HostEntry(HOST, [backup, PinEntry(backup.pin.from_digest(bytes(32)))])]
    assert check(hosts, "--candidate", files.chain).code == 2


# The document


def test_every_code_is_documented():
    text = DOCUMENT.read_text(encoding="utf-8")
    documented = re.findall(r"^\| `([a-z-]+)` \|", text, re.MULTILINE)
    assert set(documented) >= {*judgement.Code, *lint.Code, *rehearsal.Code}
    assert len(documented) == len(set(documented))


def test_every_metric_is_documented():
    text = DOCUMENT.read_text(encoding="utf-8")
    report = prometheus_report(Report(NOW, NOW, []))
    metrics = re.findall(r"^# TYPE (\w+) gauge$", report, re.MULTILINE)
    assert len(metrics) == 8
    assert not [metric for metric in metrics if f"`{metric}" not in text]


def test_the_json_example_of_the_document_has_the_fields_of_the_real_one(check, credential, backup):
    [example] = re.findall(r"```json\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    shown = json.loads(example)
    with Server(credential) as server:
        checked = check([HostEntry(HOST, [credential.pin, backup])], *at(server))
    assert shown["findings"][0].keys() == checked.found[0].keys()
    assert shown["servers"][0].keys() == checked.servers[0].keys()
