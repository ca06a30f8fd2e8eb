"""Common clients: each works as it stands where it is installed; and clients of HTTP/2 only."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from keypin.lab import Case, scenarios
from keypin.lab.command import places_in
from keypin.lab.presets import CLIENTS, PRESETS, PresetError
from keypin.lab.runner import play
from keypin.lab.stage import PLACES

if TYPE_CHECKING:
    from pathlib import Path

    from keypin.lab.presets import Preset

BUILT_ON = {"folder", "classpath"}

HTTP2_ONLY = {
    "node": (
        "client.js",
        """
const http2 = require('node:http2');
const [url, cafile] = process.argv.slice(2);
const session = http2.connect(url, { ca: require('node:fs').readFileSync(cafile) });
const failed = (error) => { console.error(String(error)); process.exit(1); };
session.on('error', failed);
const request = session.request({ ':path': '/' });
request.on('error', failed);
request.on('response', (headers) => { process.exitCode = headers[':status'] === 200 ? 0 : 1; });
request.on('end', () => session.close());
request.resume();
request.end();
""",
    ),
    "go": (
        "client.go",
        """
package main

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"os"
)

func main() {
	authorities, _ := os.ReadFile(os.Args[2])
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authorities)
	protocols := new(http.Protocols)
	protocols.SetHTTP2(true)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, Protocols: protocols}
	response, err := (&http.Client{Transport: transport}).Get(os.Args[1])
	if err != nil || response.ProtoMajor != 2 || response.StatusCode != 200 {
		println("failed")
		os.Exit(1)
	}
}
""",
    ),
}
GRPC = """
import sys
import grpc
host, port, cafile = sys.argv[1:]
with open(cafile, "rb") as file:
    credentials = grpc.ssl_channel_credentials(file.read())
with grpc.secure_channel(f"{host}:{port}", credentials) as channel:
    call = channel.unary_unary("/sample.Service/Method")
    assert call(b"hello", timeout=20) == b""
"""


def chosen(*identifiers: str, key: str = "p-256", tls: str = "1.3") -> list[Case]:
    return [
        case
        for scenario in scenarios()
        if scenario.identifier in identifiers
        for case in scenario.cases(tls, key)
    ]


def ready(preset: Preset, folder: Path) -> Preset:
    if lacking := preset.needs():
        pytest.skip(f"needs {lacking}")
    return preset.prepared(folder)


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_its_places_and_claims_are_known(preset: Preset) -> None:
    words = [*preset.command, *preset.with_certificate, *preset.build]
    assert places_in(words) <= PLACES.keys() | BUILT_ON
    assert preset.unclaimed <= {claim for it in scenarios() for claim in it.claims}


def test_every_source_is_a_presets() -> None:
    used = " ".join(line for preset in PRESETS.values() for line in preset.lines())
    for source in CLIENTS.iterdir():
        assert source.name in used or source.name == "__pycache__"


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_it_gets_through_to_the_pinned_server_and_to_no_other(
    preset: Preset, tmp_path: Path
) -> None:
    client = ready(preset, tmp_path)
    report = play(chosen("pinned-key", "backup-key", "other-ca"), client.command)
    found = {it.case.scenario.identifier: it.outcome for it in report.played}
    bypassed = "wrong" if preset.compares.startswith("nothing") else "right"
    assert found == {"pinned-key": "right", "backup-key": "right", "other-ca": bypassed}


@pytest.mark.parametrize("name", ["curl", "wget", "node", "go", "requests"])
def test_it_shows_a_certificate_where_one_is_wanted(name: str, tmp_path: Path) -> None:
    client = ready(PRESETS[name], tmp_path)
    cases = chosen("pinned-key", "client-certificate-accepted")
    report = play(cases, client.command, with_certificate=client.with_certificate)
    assert [it.outcome for it in report.played] == ["right", "right"], report.played[-1]
    assert not any("client_certificate" in word for word in client.command)


def test_go_speaks_no_rsa_pss(tmp_path: Path) -> None:
    client = ready(PRESETS["go"], tmp_path)
    report = play(chosen("pinned-key", "other-ca", key="rsa-pss"), client.command)
    assert [it.state for it in report.played] == ["right", "unsupported", "unsupported"]
    assert "rsa-pss" in report.played[1].judgement.reasons[0]


def test_a_preset_that_is_not_here_says_what_it_needs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PresetError, match="--client go needs go"):
        PRESETS["go"].prepared(tmp_path)


def test_a_source_that_cannot_be_compiled_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "go"
    program.write_text("#!/bin/sh\necho broken >&2\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(PresetError, match="exit code 3\nbroken"):
        PRESETS["go"].prepared(tmp_path)


# Clients that speak HTTP/2 only


@pytest.mark.parametrize("name", HTTP2_ONLY)
@pytest.mark.parametrize("tls", ["1.2", "1.3"])
def test_a_client_that_speaks_http2_only_is_put_to_the_test(
    name: str, tls: str, tmp_path: Path
) -> None:
    if shutil.which(name) is None:
        pytest.skip(f"needs {name}")
    file, source = HTTP2_ONLY[name]
    path = tmp_path / file
    path.write_text(source)
    command = [name, str(path)]
    if name == "go":
        command = [str(tmp_path / "client")]
        subprocess.run(["go", "build", "-o", command[0], path], check=True, timeout=300)
    report = play(
        chosen("pinned-key", "redirect-to-honest", "other-ca", tls=tls),
        [*command, "{url}", "{cafile}"],
    )
    found = {it.case.scenario.identifier: it for it in report.played}
    assert found["pinned-key"].outcome == "right", found["pinned-key"]
    assert found["other-ca"].harm == "application-bytes", found["other-ca"]
    assert "HTTP/2" in found["other-ca"].judgement.reasons[0]


def test_grpc_is_put_to_the_test() -> None:
    pytest.importorskip("grpc")
    command = [sys.executable, "-c", GRPC, "{host}", "{port}", "{cafile}"]
    pinned, other = play(chosen("pinned-key", "other-ca"), command).played
    assert pinned.outcome == "right", pinned
    assert other.harm == "application-bytes", other


def test_clients_that_speak_both_go_on_with_http1() -> None:
    if shutil.which("curl") is None:
        pytest.skip("needs curl")
    command = ["curl", "-sS", "--http2", "--cacert", "{cafile}", "{url}"]
    _, other = play(chosen("pinned-key", "other-ca"), command).played
    assert "beginning 'GET / HTTP/1.1'" in other.judgement.reasons[0]
