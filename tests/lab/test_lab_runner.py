"""Cases played with commands: places, time limits, controls, and the reports."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path

import pytest
from junitparser import JUnitXml

from keypin.lab import Case, Judgement, Scenario, Stage
from keypin.lab.assessment import Played
from keypin.lab.command import Commands, Ended, Stopped, fill, places_in
from keypin.lab.reports import json_report, junit_report, markdown_report
from keypin.lab.runner import Report, controls_for, play, unmet_needs

PYTHON = sys.executable

CLIENT = """
import ssl, sys, urllib.request
url, pinned = sys.argv[1:]
if pinned:
    import keypin
    context = keypin.Pinner(keypin.PinSet.load(pinned)).create_context(
        cafile=ssl.get_default_verify_paths().cafile)
else:
    context = ssl.create_default_context()
urllib.request.urlopen(url, context=context).close()
"""
PINNED = [PYTHON, "-c", CLIENT, "{url}", "{pins}"]
ORDINARY = [PYTHON, "-c", CLIENT, "{url}", ""]


def honest(stage: Stage) -> None:
    stage.honest(stage.serving(stage.cast.pinned))


def impostor(stage: Stage) -> None:
    stage.attacker(stage.serving(stage.cast.impostor))


def unavailable(stage: Stage) -> None:
    raise ImportError("needs a thing")


def scenario(identifier: str, expected: str, build: object, **more: object) -> Scenario:
    return Scenario(identifier, "samples", f"{identifier} | <b>.", expected, "none", build, **more)


CONTROL = scenario("control", "accept", honest, control=True)
OTHER_CA = scenario("other-ca", "reject", impostor)
BOTH = [*CONTROL.cases("1.3"), *OTHER_CA.cases("1.3")]


def outcomes(report: Report) -> dict[str, str]:
    return {str(it.case.scenario): it.outcome for it in report.played}


# Cases


def test_a_pinned_command_and_another():
    told: list[tuple[int, int]] = []
    report = play(BOTH, PINNED, progress=lambda *numbers: told.append(numbers))
    assert outcomes(report) == {"control": "right", "other-ca": "right"}
    assert (report.verdict, told) == ("right", [(0, 2), (1, 2), (2, 2)])
    assert [it.runs[0].exit_code for it in report.played] == [0, 1]
    report = play(BOTH, ORDINARY)
    assert outcomes(report) == {"control": "right", "other-ca": "wrong"}
    assert report.verdict == "bypassed"


def test_cases_are_played_side_by_side(tmp_path):
    # each waits until the other one runs
    program = f"""
import pathlib, sys, time
folder = pathlib.Path({str(tmp_path)!r})
folder.joinpath(sys.argv[1].rpartition(":")[2]).touch()
while len(list(folder.iterdir())) < 2:
    time.sleep(0.01)
"""
    began = [*CONTROL.cases()]
    report = play(began, [PYTHON, "-c", program, "{url}"], jobs=2, timeout=20)
    assert [it.runs[0].exit_code for it in report.played] == [0, 0]
    assert [it.case for it in report.played] == began


def test_the_places_of_a_command():
    command = ["--url={url}{path}", "{port}", "%{http_code}", "{{pin}}", "${url}", "{{{pin}}}"]
    assert places_in(command) == {"url", "path", "port"}
    filled = fill(command, {"url": "{port}", "port": "1", "pin": "p"})
    assert filled == ["--url={port}{path}", "1", "%{http_code}", "{pin}", "${url}", "{{pin}}"]


def test_what_a_scenario_needs_of_a_command():
    needing = scenario("two", "reject", impostor, needs=frozenset({"second_url", "proxy"}))
    assert unmet_needs(needing, ["curl", "{url}"]) == ["proxy", "second_url"]
    assert unmet_needs(needing, ["x", "{second_url}"], {"proxy"}) == []


def test_a_command_is_run_as_often_as_the_scenario_says():
    def build(stage: Stage) -> None:
        honest(stage)
        stage.rounds = 3

    (played,) = play([*scenario("thrice", "accept", build).cases("1.3")], ORDINARY).played
    assert (played.outcome, len(played.runs), played.judgement.attempts) == ("right", 3, 3)


def test_the_environment_names_the_proxy_or_none(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "example.org")

    def build(stage: Stage) -> None:
        honest(stage)
        stage.proxy = "http://127.0.0.1:9"

    program = "import os; print(os.environ.get('https_proxy'), os.environ['NO_PROXY'])"
    command = [PYTHON, "-c", program, "{url}"]
    cases = [*scenario("by-proxy", "accept", build).cases("1.3"), *CONTROL.cases("1.3")]
    by_proxy, direct = play([cases[1], cases[0]], [*command]).played[::-1]
    assert direct.runs[0].output == ["None example.org,localhost,127.0.0.1"]
    assert by_proxy.runs == ()  # the control failed
    (by_proxy,) = play(cases[:1], command).played
    assert by_proxy.runs[0].output == ["http://127.0.0.1:9 "]


# Controls


def test_the_controls_of_cases_are_those_that_are_missing_among_them():
    mail = scenario("mail", "accept", honest, control=True, protocol="smtp")
    keyed = scenario("keyed", "reject", impostor, keys=("p-256", "ed25519"))
    wide = scenario("wide", "accept", honest, control=True, keys=("ed25519", "rsa-2048"))
    catalogue = [CONTROL, mail, OTHER_CA, wide]
    assert list(map(str, controls_for([*keyed.cases("1.2")], catalogue))) == [
        "control-tls1.2-p-256",
        "wide-tls1.2-ed25519",
    ]
    assert controls_for(BOTH, catalogue) == []
    assert controls_for([*CONTROL.cases()], catalogue) == []


def test_without_a_control_that_comes_out_right_nothing_else_is_played():
    report = play(BOTH, [PYTHON, "-c", "import sys; sys.exit('no such option')", "{url}"])
    assert outcomes(report) == {"control": "inconclusive", "other-ca": "inconclusive"}
    assert report.verdict == "inconclusive"
    control, other = report.played
    assert control.runs[0].output == ["no such option"]
    assert other.runs == ()
    assert "not played" in other.judgement.reasons[0]


def test_a_rejection_where_the_control_failed_proves_nothing():
    # speaks TLS 1.3 only
    client = CLIENT.replace(
        "urllib.request.urlopen(",
        "context.minimum_version = ssl.TLSVersion.TLSv1_3\nurllib.request.urlopen(",
    )
    report = play([*CONTROL.cases(), *OTHER_CA.cases()], [PYTHON, "-c", client, "{url}", "{pins}"])
    found = {str(it.case): it.outcome for it in report.played}
    assert found == {
        "control-tls1.2-p-256": "wrong",
        "control-tls1.3-p-256": "right",
        "other-ca-tls1.2-p-256": "inconclusive",
        "other-ca-tls1.3-p-256": "right",
    }
    assert report.verdict == "inconclusive"
    assert "(control-tls1.2-p-256)" in report.played[2].judgement.reasons[-1]


def test_what_is_not_available_is_inconclusive():
    report = play([*scenario("odd", "reject", unavailable).cases("1.3")], PINNED)
    assert outcomes(report) == {"odd": "inconclusive"}
    assert report.played[0].judgement.reasons == ("not played: not available here: needs a thing",)


# Verdicts


def played(expected: str, outcome: str, *, control: bool = False, claimed: bool = True) -> Played:
    it = scenario(f"{expected}-{outcome}", expected, honest, control=control)
    run = Ended(0, 0.5, ["said \x1b"])
    judgement = Judgement(Case(it, "1.3", "p-256"), outcome, ("because | of",), 1, 0, 0)
    return Played(judgement, (run,), claimed)


def report_of(*some: Played, **more: object) -> Report:
    now = datetime.now(UTC)
    return Report(("curl", "{url}"), now, now + timedelta(seconds=2), list(some), **more)


RIGHT, BYPASSED = played("reject", "right"), played("reject", "wrong")
REFUSED, OPEN = played("accept", "wrong"), played("reject", "inconclusive")
NO_CONTROL = played("accept", "wrong", control=True)
UNCLAIMED = played("reject", "wrong", claimed=False)


@pytest.mark.parametrize(
    ("some", "verdict"),
    [
        ([RIGHT], "right"),
        ([RIGHT, UNCLAIMED], "right"),
        ([RIGHT, OPEN], "inconclusive"),
        ([RIGHT, OPEN, REFUSED], "refused"),
        ([RIGHT, REFUSED, NO_CONTROL], "inconclusive"),
        ([RIGHT, REFUSED, NO_CONTROL, OPEN, BYPASSED], "bypassed"),
        ([UNCLAIMED], "inconclusive"),
        ([], "inconclusive"),
    ],
)
def test_the_verdict_is_the_worst_that_counts(some, verdict):
    assert report_of(*some).verdict == verdict


def test_a_claim_that_is_not_made_does_not_count():
    claiming = scenario("claiming", "reject", impostor, claims=frozenset({"ca-pins"}))
    cases = [*CONTROL.cases("1.3"), *claiming.cases("1.3")]
    assert play(cases, ORDINARY).verdict == "bypassed"
    report = play(cases, ORDINARY, unclaimed=["ca-pins"])
    assert report.verdict == "right"
    assert report.counts == {"right": 1, "not claimed": 1}


# Reports

NEEDING = scenario("needing", "reject", impostor, needs=frozenset({"proxy"}))
FULL = report_of(RIGHT, BYPASSED, OPEN, UNCLAIMED, inapplicable={NEEDING: ["proxy"]})


def test_json():
    found = json.loads(json_report(FULL))
    assert (found["version"], found["verdict"]) == (1, "bypassed")
    counts = {name: number for name, number in found["counts"].items() if number}
    assert counts == {"right": 1, "not claimed": 1, "inconclusive": 1, "wrong": 1}
    assert found["not_applicable"] == [{"scenario": "needing", "lacks": ["proxy"]}]
    assert [case["outcome"] for case in found["cases"]] == [
        "right", "wrong", "inconclusive", "wrong"
    ]  # fmt: skip
    assert found["cases"][1]["output"] == ["said \x1b"]
    assert found["command"] == ["curl", "{url}"]


def test_junit():
    suites = JUnitXml.fromroot(JUnitXml.fromstring(junit_report(FULL))._elem)
    (suite,) = suites
    assert (suite.name, suite.tests, suite.failures, suite.errors, suite.skipped) == (
        "keypin lab", 5, 1, 1, 2
    )  # fmt: skip
    assert JUnitXml.fromfile(BytesIO(junit_report(FULL))).time == 2
    first, second, third, fourth, fifth = suite
    assert first.is_passed
    assert second.result[0].message == "because | of"
    assert r"said \x1b" in second.result[0].text
    assert second.classname == "samples"
    assert third.result[0].type == "inconclusive"
    assert fourth.result[0].message == "not claimed: because | of"
    assert fifth.result[0].message == "not applicable: the command has no {proxy}"


def test_markdown():
    lines = markdown_report(FULL).splitlines()
    assert [len(line.replace(r"\|", "").split("|")) for line in lines[:7]] == [7] * 7
    assert r"| `reject-wrong` | reject | wrong | 1 | reject-wrong \| \<b\>. |" in lines
    assert "4 cases: 1 wrong, 1 inconclusive, 1 not claimed, 1 right." in lines
    assert r"- `reject-wrong-tls1.3-p-256`: wrong. because \| of" in lines


# Commands


def run(program: str, timeout: float = 20.0) -> Ended:
    return Commands().run([PYTHON, "-c", program], os.environ, timeout)


def is_gone(pid: int) -> bool:
    state = Path(f"/proc/{pid}/stat")
    # nobody may be left to collect it
    return not state.exists() or state.read_text().split()[2] == "Z"


def wait_gone(pid: int) -> None:
    end = time.monotonic() + 20
    while not is_gone(pid):
        assert time.monotonic() < end, f"{pid} is still running"
        time.sleep(0.01)


LEAVING = """
import subprocess, sys
print(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]).pid, flush=True)
"""


def test_what_a_command_leaves_running_is_ended():
    ended = run(LEAVING)
    assert ended.exit_code == 0
    wait_gone(int(ended.output[0]))


def test_a_command_that_hangs_is_ended_with_all_that_it_started():
    ended = run(LEAVING + "import time; time.sleep(600)", timeout=1)
    assert ended.exit_code is None
    assert "still running after 1." in str(ended)
    wait_gone(int(ended.output[0]))


def test_the_end_of_the_output_is_kept():
    ended = run("for n in range(100_000): print('line', n)\nraise SystemExit(3)")
    assert (len(ended.output), ended.output[-1]) == (20, "line 99999")
    assert str(ended) == "its exit code was 3"
    assert str(run("import os; os.kill(os.getpid(), 9)")) == "it was ended by signal 9"


def test_a_command_that_cannot_be_run_ends_everything():
    with pytest.raises(FileNotFoundError):
        play(BOTH, ["./nothing-of-the-kind", "{url}"], jobs=2)


def test_all_commands_can_be_ended_from_another_thread(tmp_path):
    commands, caught = Commands(), []
    begun = tmp_path / "begun"
    program = f"import pathlib, time; pathlib.Path({str(begun)!r}).touch(); time.sleep(600)"

    def client() -> None:
        try:
            commands.run([PYTHON, "-c", program], os.environ, 60)
        except Stopped as error:
            caught.append(error)

    thread = threading.Thread(target=client)
    thread.start()
    while not begun.exists():
        time.sleep(0.01)
    commands.stop()
    thread.join(20)
    assert len(caught) == 1
    with pytest.raises(Stopped):
        commands.run([PYTHON, "-c", "pass"], os.environ, 60)
