"""`keypin backup-key`: OpenSSL reads what it writes, and no pin is published of a lost key."""

from __future__ import annotations

import base64
import os
import pty
import re
import shutil
import signal
import stat
import subprocess
import sys
import warnings
from functools import partial
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from keypin.cli import backup_key
from keypin.editing.backup_keys import certificate_names_of, new_backup_key, pin_of_private_key
from keypin.pinfile import PinEntry, PinFile

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from keypin import Pin

HOST = "api.example.com"
PASSPHRASE = "correct horse battery staple"
ACTIVE = f"sha256/{'A' * 43}="
FILE = f'schema = 1\nversion = 4\n[[host]]\nname = "{HOST}"\npins = [\n  "{ACTIVE}", # 2026\n]\n'
MORE = f'[[host]]\nname = "**.example.org"\npins = ["{ACTIVE}"]\n'

needs_openssl = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="needs openssl (make system-deps)"
)


@pytest.fixture
def pins(tmp_path: Path) -> Path:
    path = tmp_path / "pins.toml"
    path.write_text(FILE)
    return path


@pytest.fixture
def passphrase(monkeypatch: pytest.MonkeyPatch) -> str:
    """A passphrase in the environment."""
    monkeypatch.setenv("KEYPIN_PASSPHRASE", PASSPHRASE)
    return PASSPHRASE


def published(path: Path, host: int = 0) -> PinEntry:
    """The pin that was added last."""
    return PinFile.load(path).hosts[host].pins[-1]


def left(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def openssl(*arguments: str, folder: Path, input: bytes = b"") -> bytes:
    done = subprocess.run(
        ["openssl", *arguments], cwd=folder, input=input, capture_output=True, timeout=30
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def openssl_pin(spki_pem: bytes, folder: Path) -> str:
    spki = openssl("pkey", "-pubin", "-outform", "der", input=spki_pem, folder=folder)
    digest = openssl("dgst", "-sha256", "-binary", input=spki, folder=folder)
    return f"sha256/{base64.b64encode(digest).decode()}"


# What is written


@needs_openssl
@pytest.mark.parametrize("kind", ["P-256", "RSA"])
def test_openssl_reads_key_and_request_and_computes_the_same_pin(
    keypin, pins, tmp_path, passphrase, kind
):
    ended = keypin("backup-key", "api 2027", *(["--rsa"] if kind == "RSA" else []))
    assert ended.code == 0
    entry = published(pins)
    assert (entry.role, entry.key) == ("backup", "api 2027")
    assert PinFile.load(pins).version == 5
    assert "# 2026" in pins.read_text()
    decrypted = ["-in", "api-2027.key.pem", "-passin", f"pass:{passphrase}"]
    public = openssl("pkey", *decrypted, "-pubout", folder=tmp_path)
    assert openssl_pin(public, tmp_path) == str(entry.pin)
    text = openssl("pkey", *decrypted, "-noout", "-text_pub", folder=tmp_path)
    assert (b"3072 bit" if kind == "RSA" else b"NIST CURVE: P-256") in text
    request = ["req", "-in", "api-2027.csr.pem", "-noout"]
    openssl(*request, "-verify", folder=tmp_path)
    assert openssl_pin(openssl(*request, "-pubkey", folder=tmp_path), tmp_path) == str(entry.pin)
    text = openssl(*request, "-text", folder=tmp_path)
    assert f"DNS:{HOST}".encode() in text
    assert f"pin      {entry.pin}" in ended.lines


@needs_openssl
def test_the_key_is_encrypted_in_a_way_that_is_slow_to_guess_at(keypin, pins, tmp_path, passphrase):
    keypin("backup-key", "spare")
    data = tmp_path.joinpath("spare.key.pem").read_bytes()
    assert data.startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n")
    parsed = openssl("asn1parse", "-in", "spare.key.pem", folder=tmp_path).decode()
    assert ":PBES2" in parsed
    assert ":scrypt" in parsed
    assert ":aes-256-cbc" in parsed
    numbers = [line.rpartition(":")[2] for line in parsed.splitlines() if "INTEGER" in line]
    assert [int(number, 16) for number in numbers] == [2**14, 8, 5, 32]
    key = load_pem_private_key(data, passphrase.encode())
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    with pytest.raises(ValueError):
        pin_of_private_key(data, "wrong horse battery staple")


def test_no_two_keys_are_encrypted_alike():
    key = new_backup_key()
    assert key.encrypted(PASSPHRASE) != key.encrypted(PASSPHRASE)
    assert new_backup_key().pin != key.pin
    rsa_key = new_backup_key(use_rsa=True)
    assert isinstance(rsa_key.private, rsa.RSAPrivateKey)
    assert pin_of_private_key(rsa_key.encrypted("ü" * 12), "ü" * 12) == rsa_key.pin


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
def test_only_its_owner_may_read_the_private_key(keypin, pins, tmp_path, passphrase, umask):
    before = os.umask(umask)
    try:
        ended = keypin("backup-key", "spare")
    finally:
        os.umask(before)
    assert ended.code == 0, ended.error
    mode = tmp_path.joinpath("spare.key.pem").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600
    mode = tmp_path.joinpath("spare.csr.pem").stat().st_mode
    assert stat.S_IMODE(mode) == 0o666 & ~umask


def test_an_unencrypted_key_is_written_only_on_demand(keypin, pins, tmp_path, monkeypatch):
    monkeypatch.delenv("KEYPIN_PASSPHRASE", raising=False)
    ended = keypin("backup-key", "spare", "--unencrypted")
    assert ended.code == 0
    assert "whoever can read spare.key.pem has the key (--unencrypted)" in ended.error
    data = tmp_path.joinpath("spare.key.pem").read_bytes()
    assert pin_of_private_key(data, None) == published(pins).pin
    assert stat.S_IMODE(tmp_path.joinpath("spare.key.pem").stat().st_mode) == 0o600
    ended = keypin("backup-key", "b", "--unencrypted", "--passphrase-file", "file")
    assert (ended.code, ended.output) == (64, b"")


@pytest.mark.parametrize("refuses", [False, True])
def test_an_unencrypted_key_needs_a_disk_that_keeps_it_from_others(
    keypin, pins, tmp_path, passphrase, monkeypatch, refuses
):
    change_mode = os.fchmod

    def as_on_fat(descriptor: int, _: int) -> None:
        change_mode(descriptor, 0o644)
        if refuses:
            raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "fchmod", as_on_fat)
    ended = keypin("backup-key", "spare", "--unencrypted")
    assert (ended.code, ended.output) == (73, b"")
    assert "spare.key.pem: its disk does not keep others from reading it" in ended.error
    assert (left(tmp_path), pins.read_text()) == (["pins.toml"], FILE)
    ended = keypin("backup-key", "spare")
    assert ended.code == 0
    assert "warning: others can read spare.key.pem, and try passphrases" in ended.error


# Which hosts


@pytest.mark.parametrize(
    ("arguments", "hosts", "names"),
    [
        (["spare", "--host", "**.example.org"], [1], ["example.org", "*.example.org"]),
        (["spare", "--host", HOST, "--host", "**.example.org", "--host", HOST], [0, 1],
         [HOST, "example.org", "*.example.org"]),
        ([HOST], [0], [HOST]),
    ],
    ids=["one", "two", "the key's name"],
)  # fmt: skip
def test_the_key_is_for_the_hosts_that_are_named(
    keypin, pins, tmp_path, passphrase, arguments, hosts, names
):
    pins.write_text(FILE + MORE)
    assert keypin("backup-key", *arguments).code == 0
    file = PinFile.load(pins)
    assert file.version == 5
    roles = [[entry.role for entry in host.pins] for host in file.hosts]
    assert roles == [["active", "backup"] if index in hosts else ["active"] for index in range(2)]
    [request] = tmp_path.glob("*.csr.pem")
    parsed = x509.load_pem_x509_csr(request.read_bytes())
    extension = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert extension.value.get_values_for_type(x509.DNSName) == names


def test_a_request_names_addresses_and_long_hosts():
    assert certificate_names_of("*.example.com") == ["*.example.com"]
    long = ".".join(["a" * 40] * 3)
    parsed = x509.load_pem_x509_csr(new_backup_key().request([long, "192.0.2.1"]))
    extension = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert list(map(str, extension.value.get_values_for_type(x509.IPAddress))) == ["192.0.2.1"]
    assert extension.value.get_values_for_type(x509.DNSName) == [long]
    parsed = x509.load_pem_x509_csr(new_backup_key().request([long]))
    extension = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert (list(parsed.subject), extension.critical) == ([], True)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["spare"], 64, f"which host is the key for? --host, one of: {HOST}, **.example.org"),
        (["spare", "--host", "www.example.com"], 64, "no entry for www.example.com in the file"),
        (["spare", "--host", "*"], 64, "a wildcard is"),
        (["///", "--host", HOST], 64, "no file can be named after '///'"),
        (["a\nb", "--host", HOST], 64, "one line of plain text"),
        (["2026", "--host", HOST], 64, f"another key of this name: {ACTIVE}"),
        (["spare", "--host", HOST, "--pins", "gone.toml"], 66, "no such file: gone.toml"),
        (["spare", "--host", HOST, "-o", "gone"], 73, "cannot write gone/spare.key.pem: No such"),
    ],
)
def test_what_makes_no_sense_makes_no_key(
    keypin, pins, tmp_path, passphrase, arguments, code, said
):
    text = (FILE + MORE).replace(f'"{ACTIVE}", #', f'{{ pin = "{ACTIVE}", key = "2026" }}, #')
    pins.write_text(text)
    ended = keypin("backup-key", *arguments)
    assert (ended.code, ended.output) == (code, b"")
    assert said in ended.error
    assert (left(tmp_path), pins.read_text()) == (["pins.toml"], text)


def test_a_file_without_hosts_has_nothing_to_back_up(keypin, tmp_path, passphrase):
    keypin("init")
    ended = keypin("backup-key", "spare")
    assert ended.code == 64
    assert "the file has no hosts yet: keypin add HOST first" in ended.error
    assert left(tmp_path) == ["pins.toml"]


@pytest.mark.parametrize("name", ["spare.key.pem", "spare.csr.pem"])
@pytest.mark.parametrize("kind", ["file", "link"])
def test_nothing_is_overwritten(keypin, pins, tmp_path, passphrase, name, kind):
    path = tmp_path / name
    if kind == "file":
        path.write_text("precious")
    else:
        path.symlink_to("elsewhere")
    ended = keypin("backup-key", "spare")
    assert (ended.code, ended.output) == (73, b"")
    assert ended.error == f"keypin: {name} exists already; it was left as it is\n"
    assert left(tmp_path) == sorted(["pins.toml", name])
    assert pins.read_text() == FILE
    assert kind == "link" or path.read_text() == "precious"


@pytest.mark.parametrize("name", ["spare.key.pem", "spare.csr.pem"])
def test_nothing_that_appears_meanwhile_is_overwritten(
    keypin, pins, tmp_path, passphrase, name, monkeypatch
):
    def ask(_: object) -> str:
        tmp_path.joinpath(name).write_text("another's")
        return passphrase

    monkeypatch.setattr(backup_key, "new_passphrase", ask)
    ended = keypin("backup-key", "spare")
    assert (ended.code, ended.output) == (73, b"")
    assert tmp_path.joinpath(name).read_text() == "another's"
    assert left(tmp_path) == sorted(["pins.toml", name])
    assert pins.read_text() == FILE


def test_a_dry_run_writes_nothing_and_asks_for_nothing(keypin, pins, tmp_path, monkeypatch):
    monkeypatch.delenv("KEYPIN_PASSPHRASE", raising=False)
    ended = keypin("backup-key", "spare", "--dry-run")
    assert ended.code == 0
    assert 'role = "backup", key = "spare" },' in ended.text
    assert "The key shown was made for this only, and is gone." in ended.lines
    assert (left(tmp_path), pins.read_text()) == (["pins.toml"], FILE)


# The passphrase


def test_the_passphrase_may_be_the_line_of_a_file(keypin, pins, tmp_path, passphrase):
    tmp_path.joinpath("file").write_text("another passphrase\n")
    assert keypin("backup-key", "spare", "--passphrase-file", "file").code == 0
    data = tmp_path.joinpath("spare.key.pem").read_bytes()
    assert pin_of_private_key(data, "another passphrase") == published(pins).pin


@pytest.mark.parametrize(
    ("content", "code", "said"),
    [
        (b"", 65, "file has 0 lines"),
        (b"one of two lines\nthe other line\n", 65, "file has 2 lines; a passphrase is one line"),
        (b"elevenchars\n", 64, "file: shorter than 12 characters"),
        (b"\xff" * 20, 65, "file is not UTF-8"),
        (None, 66, "no such file: file"),
    ],
)
def test_a_passphrase_that_is_none_is_refused(keypin, pins, tmp_path, content, code, said):
    if content is not None:
        tmp_path.joinpath("file").write_bytes(content)
    ended = keypin("backup-key", "spare", "--passphrase-file", "file")
    assert (ended.code, ended.output) == (code, b"")
    assert said in ended.error
    assert not list(tmp_path.glob("spare*"))
    assert pins.read_text() == FILE


def test_a_short_passphrase_in_the_environment_is_refused(keypin, pins, tmp_path, monkeypatch):
    monkeypatch.setenv("KEYPIN_PASSPHRASE", "")
    ended = keypin("backup-key", "spare")
    assert ended.code == 64
    assert "KEYPIN_PASSPHRASE: shorter than 12 characters" in ended.error
    assert left(tmp_path) == ["pins.toml"]


def test_a_passphrase_that_is_not_text_is_refused(keypin, pins, tmp_path, monkeypatch):
    monkeypatch.setenv("KEYPIN_PASSPHRASE", "\udcff" * 20)  # as Python reads bytes that are none
    ended = keypin("backup-key", "spare")
    assert ended.code == 64
    assert "KEYPIN_PASSPHRASE: not UTF-8" in ended.error
    assert left(tmp_path) == ["pins.toml"]


def test_without_a_terminal_the_key_is_not_written_unencrypted(pins, tmp_path, clean_environment):
    clean_environment.pop("KEYPIN_PASSPHRASE", None)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "keypin", "backup-key", "spare"],
        cwd=tmp_path,
        env=clean_environment,
        input=f"{PASSPHRASE}\n{PASSPHRASE}\n".encode(),
        capture_output=True,
        start_new_session=True,  # without a controlling terminal
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (64, b"")
    assert b"there is no terminal to ask for a passphrase on: --passphrase-file" in done.stderr
    assert (left(tmp_path), pins.read_text()) == (["pins.toml"], FILE)


@pytest.fixture
def typing(tmp_path: Path, clean_environment: dict[str, str]) -> Callable[..., tuple[int, str]]:
    """Run the command on a terminal, type lines as it asks; return exit code and what is seen."""

    def run(*typed: bytes) -> tuple[int, str]:
        clean_environment.pop("KEYPIN_PASSPHRASE", None)
        with warnings.catch_warnings():
            # of threads that other tests have left; the child becomes another program at once
            warnings.simplefilter("ignore", DeprecationWarning)
            child, terminal = pty.fork()
        if child == 0:  # the terminal is this process's own
            os.chdir(tmp_path)
            command = [sys.executable, "-m", "keypin", "backup-key", "spare"]
            os.execve(sys.executable, command, {**clean_environment, "NO_COLOR": "1"})
        written, lines = b"", list(typed)
        try:
            while piece := os.read(terminal, 65536):
                written += piece
                asked = len(re.findall(rb"(?:characters|again): ", written))
                if lines and asked > len(typed) - len(lines):
                    os.write(terminal, lines.pop(0))
        except OSError:  # how Linux says that the other end is closed
            pass
        finally:
            os.close(terminal)
        _, status = os.waitpid(child, 0)
        return os.waitstatus_to_exitcode(status), written.decode()

    return run


def test_the_passphrase_is_asked_for_twice_and_never_seen(typing, pins, tmp_path):
    line = f"{PASSPHRASE}\n".encode()
    code, seen = typing(line, line)
    assert code == 0, seen
    assert "Passphrase of the new key, at least 12 characters: " in seen
    assert "The same again: " in seen
    assert PASSPHRASE not in seen
    data = tmp_path.joinpath("spare.key.pem").read_bytes()
    assert pin_of_private_key(data, PASSPHRASE) == published(pins).pin


RIGHT, ANOTHER = f"{PASSPHRASE}\n".encode(), b"correct horse battery stable\n"


def test_a_passphrase_that_will_not_do_is_asked_for_again(typing, pins, tmp_path):
    code, seen = typing(b"short\n", RIGHT, ANOTHER, RIGHT, RIGHT)
    assert code == 0, seen
    assert "keypin: the passphrase: shorter than 12 characters" in seen
    assert "keypin: the two passphrases differ" in seen
    data = tmp_path.joinpath("spare.key.pem").read_bytes()
    assert pin_of_private_key(data, PASSPHRASE) == published(pins).pin


@pytest.mark.parametrize(
    ("typed", "code"),
    [
        ([RIGHT, ANOTHER] * 3, 64),
        ([b"short\n"] * 3, 64),
        ([b"\x04"], 64),
        ([b"short\n", b"\x04"], 64),
        ([b"\x03"], 130),
        ([RIGHT, b"\x03"], 130),
    ],
    ids=["differ", "short", "end of file", "and then it", "Ctrl-C", "Ctrl-C at the second"],
)
def test_a_passphrase_that_is_not_given_leaves_nothing(typing, pins, tmp_path, typed, code):
    ended, seen = typing(*typed)
    assert ended == code, seen
    assert (left(tmp_path), pins.read_text()) == (["pins.toml"], FILE)


# No pin without its key


def usable(folder: Path, pin: Pin) -> bool:
    """Whether the key of a pin is there and can be used."""
    return pin_of_private_key(folder.joinpath("spare.key.pem").read_bytes(), None) == pin


CHANGES = ("open", "fchmod", "fsync", "replace")


def act_at(
    number: int, act: Callable[[], None], when: str, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """Act when the nth change is asked for of the operating system; return all that are."""
    seen: list[str] = []

    def change(
        name: str, real: Callable[..., object], *arguments: object, **more: object
    ) -> object:
        seen.append(name)
        now = len(seen) == number
        if now and when == "before":
            act()
        result = real(*arguments, **more)
        if now and when == "after":
            act()
        return result

    for name in CHANGES:
        monkeypatch.setattr(os, name, partial(change, name, getattr(os, name)))
    return seen


def fail() -> None:
    raise OSError(28, "No space left on device")


ACTS = {
    "an error": fail,
    "SIGINT": partial(signal.raise_signal, signal.SIGINT),
    "SIGTERM": partial(signal.raise_signal, signal.SIGTERM),
    "SIGHUP": partial(signal.raise_signal, signal.SIGHUP),
}


@pytest.mark.parametrize(
    ("act", "when"),
    [(act, "before") for act in ACTS] + [("an error", "after"), ("SIGINT", "after")],
)
def test_whatever_happens_there_is_all_of_it_or_nothing(
    keypin, pins, tmp_path, monkeypatch, act, when
):
    outcomes = set()
    seen: list[str] = []
    while len(seen) >= len(outcomes):
        number = len(outcomes) + 1
        with monkeypatch.context() as context:
            seen = act_at(number, ACTS[act], when, context)
            ended = keypin("backup-key", "spare", "--unencrypted")
        entry = published(pins)
        if entry.key == "spare":
            assert usable(tmp_path, entry.pin)
            assert left(tmp_path) == ["pins.toml", "spare.csr.pem", "spare.key.pem"]
        elif (act, when, seen[-1]) != ("an error", "after", "open"):  # open never fails so late
            assert ended.code == (73 if act == "an error" else 130)
            assert left(tmp_path) == ["pins.toml"], (number, seen)
            assert pins.read_text() == FILE
        outcomes.add((number, entry.key, ended.code))
        for file in tmp_path.glob("spare*"):
            file.unlink()
        pins.write_text(FILE)
    assert [seen.count(name) for name in CHANGES] == [5, 1, 5, 1]
    assert {key for _, key, _ in outcomes} == {None, "spare"}


KILLED_AFTER = f"""
import os, sys
from functools import partial
from keypin.cli import main
left = int(sys.argv.pop(1))
def change(real, *arguments, **more):
    global left
    result = real(*arguments, **more)
    left -= 1
    if not left:
        os._exit(9)
    return result
for name in {CHANGES}:
    setattr(os, name, partial(change, getattr(os, name)))
main(sys.argv[1:])
"""


@pytest.mark.parametrize(("changes", "is_published"), [(1, False), (11, False), (12, True)])
def test_a_program_that_is_killed_has_published_no_pin_without_its_key(
    pins, tmp_path, clean_environment, changes, is_published
):
    command = [sys.executable, "-c", KILLED_AFTER, str(changes), "backup-key", "spare"]
    done = subprocess.run(
        [*command, "--unencrypted"],
        cwd=tmp_path,
        env=clean_environment,
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 9, done.stderr
    assert (published(pins).key == "spare") == is_published
    assert not is_published or usable(tmp_path, published(pins).pin)
    assert is_published or pins.read_text() == FILE


def test_a_key_that_cannot_be_read_again_is_not_published(
    keypin, pins, tmp_path, passphrase, monkeypatch
):
    monkeypatch.setattr(backup_key, "pin_of_private_key", lambda *_: None)
    ended = keypin("backup-key", "spare")
    assert (ended.code, ended.output) == (73, b"")
    assert "spare.key.pem could not be read again: it holds another key" in ended.error
    assert (left(tmp_path), pins.read_text()) == (["pins.toml"], FILE)


def test_a_pin_file_that_became_wrong_meanwhile_gets_no_pin_and_leaves_no_key(
    keypin, pins, tmp_path, passphrase, monkeypatch
):
    def ask(_: object) -> str:
        pins.write_text("wrong")
        return passphrase

    monkeypatch.setattr(backup_key, "new_passphrase", ask)
    ended = keypin("backup-key", "spare")
    assert (ended.code, ended.output) == (65, b"")
    assert (left(tmp_path), pins.read_text()) == (["pins.toml"], "wrong")


def test_a_report_that_nobody_reads_costs_no_key(pins, tmp_path, clean_environment):
    with subprocess.Popen(
        [sys.executable, "-m", "keypin", "backup-key", "spare", "--unencrypted"],
        cwd=tmp_path,
        env=clean_environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
    entry = published(pins)
    assert entry.key == "spare"
    assert usable(tmp_path, entry.pin)
