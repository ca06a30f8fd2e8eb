"""`keypin fetch`: it saves what a program can pin, and nothing else."""

from __future__ import annotations

import os
import stat
import textwrap
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from keypin import PinMismatch
from keypin.cli import ExitCode
from keypin.cli.exit_codes import CommandError
from keypin.cli.fetch import python_lines, trusted_certificate
from keypin.cli.targets import Server as Target
from keypin.client import Client
from keypin.inspection import Inspection
from keypin.lab import Authority, Server, self_signed, stall

if TYPE_CHECKING:
    from collections.abc import Callable

    from keypin.lab import Credential


def test_the_certificate_is_saved_in_der_with_its_pin(keypin, tmp_path, server, cafile, credential):
    target = f"localhost:{server.port}"
    ended = keypin("fetch", target, "-o", "myCertificate.cer", "--cafile", cafile)
    assert (ended.code, ended.error) == (0, "")
    assert tmp_path.joinpath("myCertificate.cer").read_bytes() == credential.certificate
    size = len(credential.certificate)
    saved = f"Saved the certificate of {target} in myCertificate.cer (DER, {size} bytes)"
    assert ended.lines[0] == saved
    assert f"pin      {credential.pin}" in ended.lines
    assert os.listdir(tmp_path) == ["myCertificate.cer"]
    [connection] = server.settle()
    assert connection.application_bytes == 0


@pytest.mark.parametrize("output", ["myCertificate.cer", 'certificates/b "ü".cer'])
def test_the_lines_of_python_that_it_prints_pin_the_server(
    keypin, tmp_path, server, cafile, issuing, output
):
    tmp_path.joinpath("certificates").mkdir()
    ended = keypin("fetch", f"localhost:{server.port}", "-o", output, "--cafile", cafile)
    _, _, program = ended.text.partition("To pin it in a program:\n\n")
    names = execute(program)
    assert names["response"].json()["path"] == "/"
    server.serve(issuing.issue("localhost"))
    with pytest.raises(PinMismatch):
        execute(program)


def execute(program: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    try:
        exec(textwrap.dedent(program), names)
    finally:
        assert isinstance(names["client"], Client)
        names["client"].close()
    return names


def test_the_lines_name_the_server_by_its_name(keypin, cafile, issuing):
    with Server(issuing.issue("api.example.com"), host="::1") as server:
        port = server.port
        ended = keypin(
            "fetch", f"[::1]:{port}", "-o", "my.cer", "--cafile", cafile,
            "--servername", "api.example.com",
        )  # fmt: skip
    assert f'base_url="https://api.example.com:{port}",' in ended.lines


def test_a_short_call_is_one_line():
    assert python_lines(Path("my.cer"), Target("::1"), None)[2:] == [
        'client = Client(base_url="https://[::1]", certificates=".")',
        'client.pin_trusted_certificate_public_key("my.cer")',
        'response = client.get("/")',
    ]


def test_a_call_is_as_strict_as_the_fetch_was():
    lines = python_lines(Path("my.cer"), Target("::1"), None, strict_x509=False)
    assert "    strict_x509=False," in lines


REFUSED: dict[str, tuple[Callable[[Authority], Credential], str]] = {
    "another authority": (
        lambda _: Authority("stranger").issue("localhost"),
        "unable to get local issuer certificate\nthe server sent its own certificate only",
    ),
    "self-signed": (
        lambda _: self_signed("localhost"),
        "self-signed certificate\nCN=localhost signed its own certificate",
    ),
    "expired": (
        lambda root: root.issue("localhost", not_after=datetime.now(UTC) - timedelta(days=1)),
        "certificate has expired",
    ),
    "another name": (lambda root: root.issue("example.com"), "Hostname mismatch"),
    "name in CN only": (lambda root: root.issue(common_name="localhost"), "Hostname mismatch"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_nothing_is_saved_unless_it_verifies(keypin, tmp_path, cafile, root, case):
    make, reason = REFUSED[case]
    with Server(make(root)) as server:
        target = f"localhost:{server.port}"
        ended = keypin("fetch", target, "-o", "my.cer", "--cafile", cafile)
    assert (ended.code, ended.output) == (60, b"")
    assert ended.error.startswith(f"keypin: {target} is not verified: ")
    assert reason in ended.error
    assert ended.error.endswith(f"Nothing was saved. See it with: keypin show {target}\n")
    assert os.listdir(tmp_path) == []


def test_a_self_signed_certificate_is_refused_even_where_it_is_trusted(keypin, tmp_path):
    credential = self_signed("localhost")
    tmp_path.joinpath("trusted.pem").write_bytes(credential.chain_pem)
    with Server(credential) as server:
        target = f"localhost:{server.port}"
        assert keypin("show", target, "--cafile", "trusted.pem").code == 0
        ended = keypin("fetch", target, "-o", "my.cer", "--cafile", "trusted.pem")
    assert (ended.code, ended.output) == (60, b"")
    assert "self-signed certificate" in ended.error
    assert os.listdir(tmp_path) == ["trusted.pem"]


def test_a_certificate_that_openssl_takes_and_a_pinned_client_would_not_is_refused():
    odd = Inspection("localhost", 443, "localhost", sent=(b"0\0",), verified=(b"0\0",))
    with pytest.raises(CommandError, match="localhost:443: not a certificate in DER") as raised:
        trusted_certificate(Target("localhost"), odd, None, None)
    assert raised.value.code == ExitCode.BAD_FILE


def test_a_file_that_exists_is_kept_and_the_server_not_even_asked(
    keypin, tmp_path, server, cafile, credential
):
    file = tmp_path / "my.cer"
    file.write_bytes(b"precious")
    arguments = ["fetch", f"localhost:{server.port}", "-o", "my.cer", "--cafile", cafile]
    ended = keypin(*arguments)
    assert (ended.code, ended.output) == (73, b"")
    assert ended.error == "keypin: my.cer exists already; --force replaces what is in it\n"
    assert file.read_bytes() == b"precious"
    assert server.settle() == []
    assert keypin(*arguments, "--force").code == 0
    assert file.read_bytes() == credential.certificate
    assert os.listdir(tmp_path) == ["my.cer"]


def test_a_broken_link_is_a_file_that_exists(keypin, tmp_path, server):
    tmp_path.joinpath("my.cer").symlink_to("nowhere")
    assert keypin("fetch", f"localhost:{server.port}", "-o", "my.cer").code == 73


def test_the_file_is_as_readable_as_the_user_wants_new_files_to_be(
    keypin, tmp_path, server, cafile
):
    before = os.umask(0o027)
    try:
        keypin("fetch", f"localhost:{server.port}", "-o", "my.cer", "--cafile", cafile)
    finally:
        os.umask(before)
    assert stat.S_IMODE(tmp_path.joinpath("my.cer").stat().st_mode) == 0o640


def test_a_file_that_cannot_be_written(keypin, tmp_path, server, cafile):
    arguments = ["fetch", f"localhost:{server.port}", "--cafile", cafile, "--force", "-o"]
    ended = keypin(*arguments, "nowhere/my.cer")
    assert (ended.code, ended.output) == (73, b"")
    assert ended.error == "keypin: cannot write nowhere/my.cer: No such file or directory\n"
    tmp_path.joinpath("folder").mkdir()
    assert keypin(*arguments, "folder").code == 73
    assert os.listdir(tmp_path) == ["folder"]


def test_a_server_that_never_answers(keypin, credential):
    with Server(credential, before_tls=stall) as server:
        ended = keypin("fetch", f"localhost:{server.port}", "-o", "my.cer", "--timeout", "0.1")
    assert ended.code == 28


def test_what_to_write_has_to_be_said(keypin):
    ended = keypin("fetch", "localhost")
    assert ended.code == 64
    assert "--output" in ended.error


@pytest.mark.parametrize("server", ["no host", "http://localhost/", "localhost:0"])
def test_a_server_is_a_host_and_a_port(keypin, server):
    assert keypin("fetch", server, "-o", "my.cer").code == 64


def test_as_a_program(keypin_process, tmp_path, cafile, credential):
    with Server(credential) as server:
        target = f"localhost:{server.port}"
        ended = keypin_process("fetch", target, "-o", "my.cer", "--cafile", cafile)
        refused = keypin_process("fetch", target, "-o", "other.cer")
    assert (ended.code, ended.error) == (0, "")
    assert tmp_path.joinpath("my.cer").read_bytes() == credential.certificate
    assert (refused.code, refused.output) == (60, b"")
    assert "Traceback" not in refused.error
