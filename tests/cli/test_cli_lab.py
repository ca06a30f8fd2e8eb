"""`keypin lab`: other people's programs against the catalogue, and what is reported."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from junitparser import JUnitXml

from keypin.cli import ExitCode
from keypin.lab import scenarios
from keypin.lab.presets import PRESETS
from keypin.lab.stage import PLACES

CURL = shutil.which("curl")
PYTHON = sys.executable
needs_curl = pytest.mark.skipif(CURL is None, reason="needs curl (make system-deps)")
FEW = ("--scenario", "pinned-key", "--scenario", "other-ca", "--key", "ecdsa")

KEYPIN_GET = """
import ssl, sys, urllib.request
import keypin
context = keypin.Pinner(keypin.PinSet.load(sys.argv[2])).create_context(
    cafile=ssl.get_default_verify_paths().cafile)
urllib.request.urlopen(sys.argv[1], context=context).close()
"""


# The list


def test_the_list_of_all_scenarios(keypin):
    ended = keypin("lab", "list")
    assert (ended.code, ended.error) == (0, "")
    for scenario in scenarios():
        assert scenario.group in ended.lines
        (line,) = [it for it in ended.lines if it.startswith(f"{scenario.identifier} ")]
        assert f" {scenario.expected} " in line
        assert scenario.story in line
        assert line.endswith(f"[{scenario.source}]")


def test_the_list_can_be_narrowed_down_and_is_json(keypin):
    found = keypin("lab", "list", "--group", "accepted", "--protocol", "https", "--json").json
    assert found["version"] == 1
    assert found["scenarios"][0]["scenario"] == "pinned-key"
    assert {it["group"] for it in found["scenarios"]} == {"accepted"}
    assert set(found["scenarios"][0]) == {
        *("scenario", "group", "story", "expected", "source", "protocol", "tls", "keys"),
        *("needs", "claims", "control"),
    }


def test_without_a_command_it_shows_its_help_and_that_is_a_mistake(keypin):
    ended = keypin("lab")
    assert ended.code == 64
    assert ended.output == keypin("lab", "--help").output


# Clients


@needs_curl
def test_curl_with_a_pin_and_without(keypin):
    command = ("--", CURL, "-sS", "{url}")
    ended = keypin("lab", "run", *FEW, *command, "--pinnedpubkey", "{curl_pins}")
    assert (ended.code, ended.error) == (0, "")
    assert ended.lines[-1].startswith("RIGHT: ")
    assert "an attacker received" not in ended.text
    ended = keypin("lab", "run", *FEW, *command)
    assert (ended.code, ended.error) == (ExitCode.BYPASSED, "")
    (wrong,) = (line.split()[2] for line in ended.lines if line.startswith("GOT BYTES "))
    assert wrong == "other-ca:"
    assert "an attacker received application bytes: 4 cases of 1 scenario" in ended.lines
    assert "in all cases: an attacker received" in ended.text
    assert "beginning 'GET / HTTP/1.1'" in ended.text


@needs_curl
def test_a_client_that_retries_and_one_that_does_not(keypin):
    pinned = (CURL, "-s", "--pinnedpubkey", "{curl_pins}", "{url}")
    options = ("--scenario", "other-ca", "--tls", "1.3", "--key", "ed25519", "--json", "--")
    once = keypin("lab", "run", *options, *pinned)
    thrice = keypin("lab", "run", *options, *pinned, "--retry", "2", "--retry-all-errors",
                    "--retry-delay", "1")  # fmt: skip
    attempts = [
        [case["attempts"] for case in ended.json["cases"] if case["scenario"] == "other-ca"]
        for ended in (once, thrice)
    ]
    assert (once.code, thrice.code, attempts) == (0, 0, [[1], [3]])


def test_a_python_client_and_all_reports(keypin, tmp_path):
    command = (PYTHON, "-c", KEYPIN_GET, "{url}", "{pins}")
    ended = keypin("lab", "run", *FEW, "--tls", "1.2", "--json", "--junit", "lab.xml",
                   "--markdown", "lab.md", "--", *command)  # fmt: skip
    assert (ended.code, ended.error) == (0, "")
    found = ended.json
    assert (found["version"], found["verdict"]) == (1, "right")
    assert {case["tls"] for case in found["cases"]} == {"1.2"}
    assert {case["key"] for case in found["cases"]} <= {"p-256", "p-384"}
    refused = [case for case in found["cases"] if case["scenario"] == "other-ca"]
    assert all((case["exit_code"], case["attempts"]) == (1, 1) for case in refused)
    assert "may be a man in the middle" in refused[0]["output"][-1]
    (suite,) = JUnitXml.fromfile(str(tmp_path / "lab.xml"))
    assert (suite.tests, suite.failures, suite.errors) == (len(found["cases"]), 0, 0)
    assert "| `other-ca` | reject | right |" in tmp_path.joinpath("lab.md").read_text()


def test_a_rejection_brings_its_control_along(keypin):
    command = ("--json", "--", PYTHON, "-c", KEYPIN_GET, "{url}", "{pins}")
    found = keypin("lab", "run", "--scenario", "other-ca", "--key", "ed25519", *command).json
    assert [(it["scenario"], it["key"], it["control"]) for it in found["cases"]] == [
        ("pinned-key", "ed25519", True),
        ("pinned-key", "ed25519", True),
        ("other-ca", "ed25519", False),
        ("other-ca", "ed25519", False),
    ]


def test_a_client_that_reaches_nobody_is_told_what_it_has_to_do(keypin):
    command = (PYTHON, "-c", "import sys; sys.exit('no such option')", "{url}")
    ended = keypin("lab", "run", "--scenario", "other-ca", *command)
    assert (ended.code, ended.error) == (ExitCode.INCONCLUSIVE, "")
    assert "The client could not even reach the honest server" in ended.text
    assert "no such option" in ended.lines
    assert "no case with an ordinary honest server came out right, see there" in ended.lines
    assert ended.text.count("other-ca") == 1


def test_a_client_that_reaches_only_some_is_told_which(keypin):
    # speaks TLS 1.3 only
    program = KEYPIN_GET.replace(
        "urllib.request.urlopen(",
        "context.minimum_version = ssl.TLSVersion.TLSv1_3\nurllib.request.urlopen(",
    )
    command = ("--", PYTHON, "-c", program, "{url}", "{pins}")
    ended = keypin("lab", "run", "--scenario", "other-ca", "--key", "p-256", *command)
    assert ended.code == ExitCode.INCONCLUSIVE
    assert "could not even reach" not in ended.text
    told = "does not get through to an honest server in pinned-key-tls1.2-p-256: what it rejects"
    assert told in ended.text


def test_a_client_that_refuses_an_honest_server(keypin):
    # to which a trusted authority has issued a certificate for the backup key
    program = """
import pathlib, ssl, sys
host, port, certificate = sys.argv[1:]
if ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate((host, int(port)))) != (
        pathlib.Path(certificate).read_bytes()):
    sys.exit("not the certificate that I know")
import urllib.request
urllib.request.urlopen(f"https://{host}:{port}").close()
"""
    command = ("--", PYTHON, "-c", program, "{host}", "{port}", "{certificate}")
    both = ("--scenario", "pinned-key", "--scenario", "backup-key", "--tls", "1.3")
    ended = keypin("lab", "run", *both, "--key", "ed25519", *command)
    assert ended.code == ExitCode.CRITICAL
    assert "The client refuses an honest server" in ended.text
    claims = {claim for it in scenarios() if it.identifier == "backup-key" for claim in it.claims}
    unclaimed = [word for claim in claims for word in ("--without-claim", claim)]
    assert keypin("lab", "run", *both, "--key", "ed25519", *unclaimed, *command).code == 0


def test_a_command_that_hangs_is_wrong(keypin):
    program = KEYPIN_GET.replace(
        "urllib.request.urlopen(sys.argv[1], context=context).close()",
        """
try:
    urllib.request.urlopen(sys.argv[1], context=context).close()
except OSError:
    import time
    time.sleep(600)
""",
    )
    options = ("--scenario", "other-ca", "--tls", "1.3", "--key", "ed25519", "--timeout", "2")
    ended = keypin("lab", "run", *options, "--", PYTHON, "-c", program, "{url}", "{pins}")
    assert ended.code == ExitCode.BYPASSED
    assert "it was still running after 2." in ended.text


# Common clients


@needs_curl
def test_a_common_client(keypin):
    ended = keypin("lab", "run", *FEW, "--client", "curl")
    assert (ended.code, ended.error, ended.lines[-1]) == (0, "", "RIGHT: 8 cases: 8 right")


@needs_curl
def test_what_a_common_client_does_not_claim_does_not_count(keypin):
    ended = keypin("lab", "run", "--client", "curl", "--scenario", "root-pinned", "--key", "p-256")
    assert (ended.code, ended.lines[-1]) == (75, "INCONCLUSIVE: 2 cases: 2 not claimed")


def test_the_list_of_common_clients(keypin):
    ended = keypin("lab", "run", "--list-clients")
    assert (ended.code, ended.error) == (0, "")
    found = keypin("lab", "run", "--list-clients", "--json").json
    assert [it["client"] for it in found["clients"]] == list(PRESETS)
    for name in ("curl", "node", "okhttp", "openssl", "go", "java", "wget", "requests"):
        assert [line for line in ended.lines if line.startswith(f"{name} ")]
    assert [line for line in ended.lines if line.startswith("go build -o ")]


def test_a_client_or_a_command(keypin):
    ended = keypin("lab", "run", "--client", "curll")
    assert (ended.code, ended.output) == (64, b"")
    assert f"no such client: 'curll' (--client); there are {', '.join(PRESETS)}" in ended.error
    for both_or_none in (("--client", "curl", "--", "curl", "{url}"), ()):
        ended = keypin("lab", "run", *both_or_none)
        assert (ended.code, ended.output) == (64, b"")
        assert "One of: --client NAME, or -- COMMAND..." in ended.error


def test_a_common_client_that_is_not_here(keypin, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    ended = keypin("lab", "run", "--client", "wget")
    assert (ended.code, ended.error) == (126, "keypin: --client wget needs wget\n")


# Kinds of key


def test_kinds_of_key_are_chosen_and_left_out_one_by_one(keypin):
    command = ("--json", "--", PYTHON, "-c", "raise SystemExit(1)", "{url}")

    def kinds(*options):
        found = keypin("lab", "run", "--scenario", "pinned-key", *options, *command).json
        return {case["key"] for case in found["cases"]}

    assert kinds("--key", "rsa-pss", "--key", "ed25519") == {"rsa-pss", "ed25519"}
    assert kinds("--without-key", "rsa-pss") == {"rsa-2048", "p-256", "p-384", "ed25519"}
    assert kinds("--key", "rsa", "--without-key", "rsa-pss") == {"rsa-2048"}
    ended = keypin("lab", "run", "--key", "ecdsa", "--without-key", "ecdsa", *command)
    assert (ended.code, ended.output) == (64, b"")
    assert "leave no kind of key" in ended.error
    ended = keypin("lab", "run", "--without-key", "dsa", *command)
    assert "no such kind of key: 'dsa' (--without-key); there are rsa, ecdsa" in ended.error


# Mistakes


def test_a_scenario_that_is_not_there(keypin):
    ended = keypin("lab", "run", "--scenario", "other-caa", "--", "curl", "{url}")
    assert (ended.code, ended.output) == (64, b"")
    assert "no such scenario: 'other-caa' (--scenario); did you mean other-ca" in ended.error
    ended = keypin("lab", "run", "--skip", "zzz", "--", "curl", "{url}")
    assert "no such scenario: 'zzz' (--skip); see keypin lab list" in ended.error
    ended = keypin("lab", "list", "--group", "acepted")
    assert "no such group: 'acepted' (--group); did you mean accepted?" in ended.error
    ended = keypin("lab", "run", "--without-claim", "miracles", "--", "curl", "{url}")
    assert "no such claim: 'miracles'" in ended.error


def test_options_that_leave_nothing(keypin):
    options = ("--scenario", "other-ca", "--skip", "other-ca")
    ended = keypin("lab", "run", *options, "--", PYTHON, "{url}")
    assert (ended.code, ended.output) == (64, b"")
    assert "no scenario fits all of these options" in ended.error
    needing = next(it for it in scenarios() if "proxy" in it.needs)
    ended = keypin("lab", "run", "--scenario", needing.identifier, "--", PYTHON, "{url}")
    assert (ended.code, ended.output) == (64, b"")
    assert "the command has no {proxy}" in ended.error


def test_a_command_that_is_not_told_where_to_connect(keypin):
    ended = keypin("lab", "run", "--", PYTHON, "check.py", "{pins}")
    assert (ended.code, ended.output) == (64, b"")
    assert "put {url}, or {host} and {port}, into it" in ended.error
    ended = keypin("lab", "run", "--", PYTHON, "{url}", "{certficate}")
    assert "the command has {certficate}, which is no place. Did you mean {certificate}?" in (
        ended.error
    )


@pytest.mark.parametrize("word", ["{hosst}", "--pin={sha256}", "{URL}", "pins {a_file} here"])
def test_a_place_that_there_is_not_is_refused_with_the_list(keypin, word):
    ended = keypin("lab", "run", *FEW, "--", PYTHON, "-c", "pass", "{url}", word)
    assert (ended.code, ended.output) == (64, b"")
    for place in PLACES:
        assert f"{{{place}}}" in ended.error


def test_braces_that_are_no_places(keypin):
    program = "import sys; sys.exit('|'.join(sys.argv[2:]))"
    words = ("%{http_code}", "${HOME}", "{{hosst}}", '{"a": 1}')
    ended = keypin("lab", "run", *FEW, "--", PYTHON, "-c", program, "{url}", *words)
    assert """%{http_code}|${HOME}|{hosst}|{"a": 1}""" in ended.lines


def test_a_program_that_cannot_be_run_is_told_once(keypin, tmp_path):
    ended = keypin("lab", "run", *FEW, "--", "./nothing", "{url}")
    assert (ended.code, ended.output) == (ExitCode.NO_COMMAND, b"")
    assert ended.error == "keypin: no such program: ./nothing\n"
    tmp_path.joinpath("text").write_text("hello")
    ended = keypin("lab", "run", *FEW, "--", "./text", "{url}")
    assert (ended.code, ended.error.count("\n")) == (ExitCode.CANNOT_RUN, 1)


def test_ctrl_c_ends_all_commands(clean_environment, tmp_path):
    program = """
import os, pathlib, sys, time
pathlib.Path(sys.argv[2], f"{os.getpid()}.pid").touch()
time.sleep(600)
"""
    command = [
        *(PYTHON, "-m", "keypin", "lab", "run", *FEW, "--jobs", "2", "--"),
        *(PYTHON, "-c", program, "{url}", str(tmp_path)),
    ]
    with subprocess.Popen(
        command, env=clean_environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        while len(pids := list(tmp_path.glob("*.pid"))) < 2:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        output, error = process.communicate(timeout=30)
    assert (process.returncode, output) == (
        130,
        b"INTERRUPTED: 0 cases: nothing; interrupted before 8 more\n",
    )
    assert b"Traceback" not in error
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid.stem), 0)


def test_results_are_told_as_they_come_and_ctrl_c_leaves_them(clean_environment, tmp_path):
    # the third scenario does not end
    program = KEYPIN_GET.replace(
        "import keypin",
        f"""import keypin, pathlib, time
if len(list(pathlib.Path({str(tmp_path)!r}).glob("run-*"))) == 2:
    time.sleep(600)
pathlib.Path({str(tmp_path)!r}, f"run-{{os.getpid()}}").touch()
""",
    ).replace("import ssl", "import os, ssl")
    options = ("--key", "p-256", "--tls", "1.3", "--jobs", "1", "--timeout", "900")
    names = [
        word for name in ("pinned-key", "other-ca", "same-issuer") for word in ("--scenario", name)
    ]
    command = [
        *(PYTHON, "-m", "keypin", "lab", "run", *names, *options),
        *("--junit", "lab.xml", "--markdown", "lab.md"),
        *("--", PYTHON, "-c", program, "{url}", "{pins}"),
    ]
    with subprocess.Popen(
        command, env=clean_environment, cwd=tmp_path, stdout=subprocess.PIPE, text=True,
        stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        for line in process.stdout:
            if "other-ca: must reject" in line:
                break
        process.send_signal(signal.SIGINT)
        output, error = process.communicate(timeout=30)
    assert (process.returncode, error) == (130, "")
    assert output == "\nINTERRUPTED: 2 cases: 2 right; interrupted before 1 more\n"
    (suite,) = JUnitXml.fromfile(str(tmp_path / "lab.xml"))
    assert (suite.tests, suite.errors) == (3, 1)
    assert "2 cases: 2 right; interrupted before 1 more." in tmp_path.joinpath("lab.md").read_text()


def test_a_missing_extra_is_told_once(clean_environment, tmp_path):
    (tmp_path / "tlslite").mkdir()
    (tmp_path / "tlslite" / "__init__.py").write_text("raise ImportError('not here')")
    names = ("pinned-key", "without-private-key", "wrong-key-usage")
    chosen = [word for name in names for word in ("--scenario", name)]
    command = [PYTHON, "-c", KEYPIN_GET, "{url}", "{pins}"]
    ended = subprocess.run(
        [PYTHON, "-m", "keypin", "lab", "run", *chosen, "--key", "p-256", "--", *command],
        env={**clean_environment, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == ExitCode.INCONCLUSIVE
    assert ended.stdout.count("pip install 'keypin[attacks]'") == 1
    assert "    wrong-key-usage, without-private-key\n" in ended.stdout
    assert "INCONCLUSIVE: 6 cases: 4 not played, 2 right" in ended.stdout


def test_json_is_all_that_is_written(keypin):
    command = (PYTHON, "-c", KEYPIN_GET, "{url}", "{pins}")
    ended = keypin("lab", "run", *FEW, "--tls", "1.3", "--json", "--", *command)
    assert json.loads(ended.output)
