"""keypin deploy: what is served changes as a whole, or not at all."""

from __future__ import annotations

import os
import shlex
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from keypin import PinSet, Rule
from keypin.cli.served_folder import ServedFiles, ServedFolder
from keypin.lab import Credential, new_key

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs symbolic links")

HOST = "api.example.com"


class Workplace:
    """Files of a renewal, pins and the folder that is served, and how often a reload was asked."""

    def __init__(self, folder: Path, keypin, cafile: Path, first: Credential) -> None:
        self.folder = folder
        self.cafile = cafile
        self.keypin = keypin
        self.to = folder / "tls" / "api"
        self.pins = folder / "pins.toml"
        self.log = folder / "reloads"
        folder.mkdir(exist_ok=True)
        self.pin(first)

    def pin(self, *credentials: Credential, path: Path | None = None) -> Path:
        path = path or self.pins
        PinSet([Rule(HOST, [each.pin for each in credentials], match="leaf")]).dump(path)
        return path

    def reload(self, code: int = 0, seconds: float = 0) -> str:
        """A command that notes what is served when it is run."""
        program = (
            "import pathlib, sys, time;"
            f"served = pathlib.Path({str(self.to / 'current' / 'fullchain.pem')!r});"
            "text = served.read_text() if served.exists() else 'nothing';"
            f"log = pathlib.Path({str(self.log)!r}).open('a');"
            "log.write(str(hash(text)) + '\\n'); log.close();"
            f"time.sleep({seconds}); sys.exit({code})"
        )
        return shlex.join([sys.executable, "-c", program])

    @property
    def reloads(self) -> int:
        return len(self.log.read_text().splitlines()) if self.log.exists() else 0

    def write(self, credential: Credential) -> tuple[Path, Path]:
        files = credential.write(self.folder / "renewed")
        chain = self.folder / "renewed" / "fullchain.pem"
        chain.write_bytes(credential.chain_pem)
        key = self.folder / "renewed" / "privkey.pem"
        key.write_bytes(files.key.read_bytes())
        return chain, key

    def deploy(self, credential: Credential, *more: object, reload: str | None = None):
        chain, key = self.write(credential)
        return self.keypin(
            "deploy", "--candidate", chain, "--key", key, "--to", self.to, "--pins", self.pins,
            "--cafile", self.cafile, "--reload", reload or self.reload(), *more,
        )  # fmt: skip

    @property
    def versions(self) -> set[str]:
        return {path.name for path in self.to.iterdir() if path.is_dir() and not path.is_symlink()}

    def serves(self, credential: Credential) -> bool:
        current = self.to / "current"
        return (current / "fullchain.pem").read_bytes() == credential.chain_pem and (
            current / "privkey.pem"
        ).read_bytes() == credential.key_pem


@pytest.fixture(scope="module")
def first(issuing):
    return issuing.issue(HOST)


@pytest.fixture
def work(tmp_path, keypin, cafile, first):
    return Workplace(tmp_path, keypin, cafile, first)


def test_what_the_pins_accept_is_served_and_the_server_told(work, first):
    ended = work.deploy(first)
    assert (ended.code, ended.error) == (0, "")
    assert "accepted" in ended.text
    assert str(first.pin) in ended.text
    assert work.serves(first)
    assert work.reloads == 1
    renewed = first.renew()
    assert work.deploy(renewed).code == 0
    assert work.serves(renewed)
    assert work.reloads == 2


def test_what_they_refuse_changes_nothing(work, first, issuing):
    other = issuing.issue(HOST)
    ended = work.deploy(other)
    assert ended.code == 2
    assert "not deployed" in ended.error
    assert "candidate-refused" in ended.text
    assert "certbot" not in ended.error
    assert not work.to.exists()
    work.deploy(first)
    before = (work.to / "current").readlink()
    assert work.deploy(other).code == 2
    assert ((work.to / "current").readlink(), work.reloads) == (before, 1)
    assert work.serves(first)


def test_an_old_pin_file_that_refuses_is_enough(work, first, issuing, tmp_path):
    new = issuing.issue(HOST)
    old = work.pin(first, path=tmp_path / "old.toml")
    work.pin(first, new)
    assert work.deploy(new, "--older-pins", old).code == 2
    assert not work.to.exists()
    assert work.deploy(new).code == 0


def test_what_cannot_be_told_is_not_served(work, issuing):
    elsewhere = issuing.issue("other.example.com")
    ended = work.deploy(elsewhere)
    assert ended.code == 3
    assert "nothing was rehearsed" in ended.text
    assert not work.to.exists()


def test_a_warning_is_shown_and_does_not_stop_it(work, root):
    # an intermediate without a key usage, which Python 3.13 does not verify
    leaf = root.intermediate("no use", key_usage=()).issue(HOST)
    work.pin(leaf)
    ended = work.deploy(leaf)
    assert ended.code == 0
    assert "candidate-not-verified-by-some" in ended.text
    assert work.serves(leaf)


def test_the_same_again_is_no_reason_to_reload(work, first):
    work.deploy(first)
    before = (work.to / "current").readlink()
    ended = work.deploy(first)
    assert ended.code == 0
    assert "has it already" in ended.text
    assert ((work.to / "current").readlink(), work.reloads) == (before, 1)


def test_the_same_again_is_looked_at_by_the_pins_all_the_same(work, first, issuing):
    work.deploy(first)
    work.pin(issuing.issue(HOST))
    assert work.deploy(first).code == 2
    assert work.serves(first)


def test_a_server_that_was_never_told_is_told_by_the_next_run(work, first):
    work.deploy(first)
    (work.to / "current" / ".served").unlink()
    assert work.deploy(first).code == 0
    assert work.reloads == 2


@pytest.mark.parametrize("is_first", [True, False])
def test_a_reload_that_fails_brings_the_old_files_back(work, first, is_first):
    renewed = first.renew()
    if not is_first:
        work.deploy(first)
    before = work.reloads
    ended = work.deploy(renewed, reload=work.reload(code=3))
    assert ended.code == 71
    assert "ended with 3" in ended.error
    assert "is back at what it was" in ended.error
    assert "could not be told of that either" in ended.error
    assert work.reloads == before + 2
    if is_first:
        assert not (work.to / "current").is_symlink()
        assert work.versions == set()
    else:
        assert work.serves(first)
        assert len(work.versions) == 1


def test_after_a_reload_that_failed_the_server_is_told_of_the_old_files(work, first):
    work.deploy(first)
    fails_once = f"sh -c 'if [ ! -e {work.folder}/x ]; then touch {work.folder}/x; exit 1; fi'"
    ended = work.deploy(first.renew(), reload=fails_once)
    assert ended.code == 71
    assert "and the server was told" in ended.error
    assert work.serves(first)


def test_a_reload_that_cannot_be_run_or_takes_too_long_has_failed(work, first):
    ended = work.deploy(first, reload="/nonexistent/program now")
    assert (ended.code, "cannot run /nonexistent/program" in ended.error) == (71, True)
    ended = work.deploy(first, "--timeout", "0.5", reload=work.reload(seconds=30))
    assert (ended.code, "within 0.5 s" in ended.error) == (71, True)
    assert not (work.to / "current").is_symlink()


def test_ctrl_c_during_a_reload_brings_the_old_files_back(work, first, monkeypatch):
    work.deploy(first)

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "run", interrupted)
    assert work.deploy(first.renew()).code == 130
    assert work.serves(first)
    assert len(work.versions) == 1


def test_killed_anywhere_it_leaves_what_is_served_and_the_next_one_returns_to_that(tmp_path):
    """Killed at each change of the disk and at the reload; then a reload that fails."""
    program = Path(__file__).with_name("deployments.py")
    done = subprocess.run(
        [sys.executable, program, tmp_path], capture_output=True, text=True, timeout=300
    )
    assert (done.returncode, done.stderr) == (0, "")
    times = list(map(int, done.stdout.split()))
    assert len(times) == 8
    assert min(times) > 5
    assert max(times) > 20


def test_a_run_that_was_killed_before_the_server_was_told_is_not_returned_to(work, first):
    work.deploy(first)
    work.deploy(first.renew())
    served = (work.to / "current").readlink()
    killed = "sh -c 'kill -9 $PPID'"
    chain, key = work.write(first.renew())
    subprocess.run(
        [sys.executable, "-m", "keypin", "deploy", "--candidate", chain, "--key", key, "--to",
         work.to, "--pins", work.pins, "--cafile", work.cafile, "--reload", killed],
        timeout=60,
    )  # fmt: skip
    assert (work.to / "current").readlink() != served
    ended = work.deploy(first.renew(), reload=work.reload(code=3))
    assert (ended.code, "is back at what it was" in ended.error) == (71, True)
    assert (work.to / "current").readlink() == served
    assert work.deploy(first.renew()).code == 0
    assert len(work.versions) == 2
    assert served.name in work.versions


def test_without_a_command_only_the_files_change(work, first, tmp_path):
    chain, key = work.write(first)
    ended = work.keypin(
        "deploy", "--candidate", chain, "--key", key, "--to", work.to, "--pins", work.pins,
        "--cafile", work.cafile,
    )  # fmt: skip
    assert ended.code == 0
    assert work.serves(first)


def test_certbots_lineage_is_taken_from_the_environment(work, first, issuing, monkeypatch):
    arguments = ["deploy", "--to", work.to, "--pins", work.pins, "--cafile", work.cafile]
    ended = work.keypin(*arguments)
    assert (ended.code, "RENEWED_LINEAGE" in ended.error) == (64, True)
    monkeypatch.setenv("RENEWED_LINEAGE", str(work.write(first)[0].parent))
    assert work.keypin(*arguments).code == 0
    assert work.serves(first)
    work.write(issuing.issue(HOST))
    ended = work.keypin(*arguments)
    assert (ended.code, "--reuse-key" in ended.error) == (2, True)


def test_a_host_can_be_named(work, first):
    assert work.deploy(first, "--host", HOST).code == 0
    assert work.deploy(first, "--host", "other.example.com").code == 2
    assert work.deploy(first, "--host", "https://x").code == 64


# Files


def test_the_private_key_is_the_owners_alone_and_then_as_it_was_before(work, first):
    work.deploy(first)
    key = work.to / "current" / "privkey.pem"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    key.chmod(0o640)
    work.deploy(first.renew())
    assert stat.S_IMODE(key.stat().st_mode) == 0o640


def test_the_version_before_is_kept_and_older_ones_are_not(work, first):
    for credential in (first, first.renew(), first.renew()):
        previous = (work.to / "current").resolve().name
        assert work.deploy(credential).code == 0
    work.to.joinpath("notes").mkdir()
    assert work.deploy(first.renew()).code == 0
    assert len(work.versions) == 3
    assert previous not in work.versions
    assert "notes" in work.versions


def test_a_key_of_another_certificate_is_refused(work, first, issuing):
    chain, key = work.write(first)
    for content, message in (
        (new_key().pem, "is not the key of the certificate"),
        (b"hello", "not a private key in PEM"),
        (chain.read_bytes(), "not a private key in PEM"),
    ):
        key.write_bytes(content)
        ended = work.keypin(
            "deploy", "--candidate", chain, "--key", key, "--to", work.to, "--pins", work.pins
        )
        assert (ended.code, message in ended.error) == (65, True)
    assert not work.to.exists()


def test_only_a_servers_chain_is_deployed(work, first, issuing):
    _, key = work.write(first)
    for other in (key, work.cafile):
        ended = work.keypin(
            "deploy", "--candidate", other, "--key", key, "--to", work.to, "--pins", work.pins
        )
        assert (ended.code, "what a server shows is needed" in ended.error) == (65, True)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--candidate", "a"], 64),
        (["--key", "a"], 64),
        (["--candidate", "a", "--key", "b"], 66),
        (["--reload", "'"], 64),
        (["--timeout", "0"], 64),
    ],
)
def test_arguments_that_make_no_sense(work, arguments, code, monkeypatch):
    monkeypatch.delenv("RENEWED_LINEAGE", raising=False)
    given = arguments if "--candidate" in arguments or "--key" in arguments else []
    rest = [] if given else [*arguments, "--candidate", "a", "--key", "b"]
    ended = work.keypin("deploy", "--to", work.to, "--pins", work.pins, *given, *rest)
    assert ended.code == code


def test_a_folder_that_is_not_keypins_is_left_alone(work, first):
    work.to.mkdir(parents=True)
    current = work.to / "current"
    current.mkdir()
    ended = work.deploy(first)
    assert (ended.code, "not a symbolic link" in ended.error) == (73, True)
    assert list(current.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_an_error(work, first):
    work.to.parent.write_text("a file")
    ended = work.deploy(first)
    assert (ended.code, "cannot write" in ended.error) == (73, True)


def test_a_reader_never_finds_one_files_new_and_the_others_old(tmp_path):
    folder = ServedFolder(tmp_path / "served")
    pairs = [ServedFiles(b"%d" % n, b"%d" % n) for n in range(2)]
    with folder.locked():
        names = [folder.add(pair) for pair in pairs]
        folder.switch(names[0])
    mixed, done = [], threading.Event()

    def read() -> None:
        while not done.is_set():
            version = folder.link.resolve(strict=True)
            if (version / "fullchain.pem").read_bytes() != (version / "privkey.pem").read_bytes():
                mixed.append(version)

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(200):
        folder.switch(names[number % 2])
    done.set()
    reader.join()
    assert mixed == []


def test_two_deployments_at_once_wait_for_each_other(work, first, clean_environment):
    chain, key = work.write(first)
    second = Workplace(work.folder / "second", work.keypin, work.cafile, first)
    renewed_chain, renewed_key = second.write(first.renew())
    log = work.folder / "order"
    begins_and_ends = f"sh -c 'echo begin >> {log}; sleep 0.5; echo end >> {log}'"
    command = [
        sys.executable, "-m", "keypin", "deploy", "--to", work.to, "--pins", work.pins,
        "--cafile", work.cafile, "--reload", begins_and_ends,
    ]  # fmt: skip
    running = [
        subprocess.Popen(
            list(map(str, [*command, "--candidate", a, "--key", b])),
            env=clean_environment,
            stdout=subprocess.DEVNULL,
        )
        for a, b in ((chain, key), (renewed_chain, renewed_key))
    ]
    assert [process.wait(60) for process in running] == [0, 0]
    assert log.read_text().split() == ["begin", "end"] * 2
    assert len(work.versions) == 2
