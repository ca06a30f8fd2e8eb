"""`keypin convert`: PEM to DER and back, one certificate, nothing else."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess

import pytest

from keypin.lab import Authority, new_key, self_signed

openssl = shutil.which("openssl")


def test_pem_becomes_der(keypin, tmp_path, credential):
    tmp_path.joinpath("in.pem").write_text(ssl.DER_cert_to_PEM_cert(credential.certificate))
    ended = keypin("convert", "in.pem", "out.cer")
    assert (ended.code, ended.error) == (0, "")
    assert tmp_path.joinpath("out.cer").read_bytes() == credential.certificate
    assert ended.lines[0] == "Wrote out.cer in DER"
    assert f"pin      {credential.pin}" in ended.lines
    assert sorted(os.listdir(tmp_path)) == ["in.pem", "out.cer"]


def test_der_becomes_pem(keypin, tmp_path, credential):
    tmp_path.joinpath("in.cer").write_bytes(credential.certificate)
    ended = keypin("convert", "in.cer", "out.pem")
    assert (ended.code, ended.error) == (0, "")
    written = tmp_path.joinpath("out.pem").read_text()
    assert written == ssl.DER_cert_to_PEM_cert(credential.certificate)
    assert ended.lines[0] == "Wrote out.pem in PEM"


@pytest.mark.skipif(openssl is None, reason="needs openssl (make system-deps)")
def test_openssl_reads_what_is_written(keypin, tmp_path, credential):
    tmp_path.joinpath("in.cer").write_bytes(credential.certificate)
    keypin("convert", "in.cer", "out.pem")
    keypin("convert", "out.pem", "again.cer")
    command = [openssl, "x509", "-in", "out.pem", "-outform", "der"]
    done = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    assert done.stdout == credential.certificate == tmp_path.joinpath("again.cer").read_bytes()


def test_the_direction_depends_on_the_content_and_not_on_the_names(keypin, tmp_path, credential):
    tmp_path.joinpath("in.pem").write_bytes(credential.certificate)
    ended = keypin("convert", "in.pem", "out.der")
    assert ended.lines[0] == "Wrote out.der in PEM"


def test_of_several_certificates_the_first_is_taken_and_that_is_said(keypin, tmp_path, credential):
    tmp_path.joinpath("fullchain.pem").write_bytes(credential.chain_pem)
    ended = keypin("convert", "fullchain.pem", "out.cer")
    assert ended.code == 0
    assert tmp_path.joinpath("out.cer").read_bytes() == credential.certificate
    *_, note, left_out = ended.lines
    assert note == "fullchain.pem holds 2 certificates, DER only one. Left out:"
    assert left_out == "CN=issuing CA"


def test_a_private_key_beside_the_certificate_stays_where_it_is(keypin, tmp_path, credential):
    certificate = ssl.DER_cert_to_PEM_cert(credential.certificate).encode()
    tmp_path.joinpath("server.pem").write_bytes(credential.key_pem + certificate)
    ended = keypin("convert", "server.pem", "out.cer")
    assert tmp_path.joinpath("out.cer").read_bytes() == credential.certificate
    assert ended.lines[-1] == "Also in server.pem, and left out: a private key"


def test_a_certificate_that_cannot_be_pinned_is_converted_with_a_warning(keypin, tmp_path):
    tmp_path.joinpath("server.pem").write_bytes(self_signed("localhost").chain_pem)
    tmp_path.joinpath("ca.pem").write_text(Authority().pem)
    warning = "It is self-signed: pin_trusted_certificate_public_key() will refuse it."
    assert keypin("convert", "server.pem", "server.cer").lines[-1] == warning
    assert warning not in keypin("convert", "ca.pem", "ca.cer").text


@pytest.mark.parametrize("form", ["PEM", "DER"])
def test_a_key_is_refused(keypin, tmp_path, form):
    pem = new_key().pem
    content = (
        pem
        if form == "PEM"
        else ssl.PEM_cert_to_DER_cert(pem.decode().replace("PRIVATE KEY", "CERTIFICATE"))
    )
    tmp_path.joinpath("key").write_bytes(content)
    ended = keypin("convert", "key", "out")
    assert (ended.code, ended.output) == (65, b"")
    assert ended.error.startswith("keypin: key: a private key")
    assert os.listdir(tmp_path) == ["key"]


def test_a_file_that_is_not_there(keypin):
    ended = keypin("convert", "in.pem", "out.cer")
    assert (ended.code, ended.error) == (66, "keypin: no such file: in.pem\n")


def test_a_file_that_exists_is_kept_unless_forced(keypin, tmp_path, credential):
    tmp_path.joinpath("in.pem").write_bytes(credential.chain_pem)
    tmp_path.joinpath("out.cer").write_bytes(b"precious")
    assert keypin("convert", "in.pem", "out.cer").code == 73
    assert tmp_path.joinpath("out.cer").read_bytes() == b"precious"
    assert keypin("convert", "in.pem", "out.cer", "--force").code == 0
    assert tmp_path.joinpath("out.cer").read_bytes() == credential.certificate


def test_a_file_can_be_converted_in_its_place(keypin, tmp_path, credential):
    tmp_path.joinpath("my.cer").write_bytes(credential.chain_pem)
    assert keypin("convert", "my.cer", "my.cer").code == 73
    assert keypin("convert", "my.cer", "my.cer", "--force").code == 0
    assert tmp_path.joinpath("my.cer").read_bytes() == credential.certificate


def test_as_a_program(keypin_process, tmp_path, credential):
    tmp_path.joinpath("in.pem").write_bytes(credential.chain_pem)
    ended = keypin_process("convert", "in.pem", "out.cer")
    assert (ended.code, ended.error) == (0, "")
    assert tmp_path.joinpath("out.cer").read_bytes() == credential.certificate
    assert keypin_process("convert", "in.pem", "out.cer").code == 73
