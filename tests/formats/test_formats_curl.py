"""curl: the command that is written, run with the real curl; and commands that are read."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from scene import HOST, authority, issuing, pinned, unpinned
from some_pins import FIRST, SECOND, THIRD, host, pin_file

from keypin.formats import FormatError, export_to, import_from
from keypin.lab import Server

curl = shutil.which("curl")
MISMATCH = 90  # CURLE_SSL_PINNEDPUBKEYNOTMATCH
LIST = ";".join(str(pin).replace("/", "//", 1) for pin in (FIRST, SECOND))


@pytest.mark.skipif(curl is None, reason="needs curl (make system-deps)")
def test_the_command_reaches_a_pinned_server_and_sends_nothing_to_another(tmp_path, version):
    (tmp_path / "ca.pem").write_text(authority().pem)
    file = pin_file(host(HOST, FIRST, pinned().pin), host("other.example", SECOND))
    [content] = export_to("curl", file).files.values()
    with Server(pinned(), tls=[version]) as right, Server(unpinned(), tls=[version]) as wrong:
        for server, code in ((right, 0), (wrong, MISMATCH)):
            to = f"--connect-to ::{server.address[0]}:{server.port} --cacert ca.pem --silent"
            [line] = [each for each in content.decode().splitlines() if HOST in each]
            done = subprocess.run(["sh", "-c", f"{line} {to}"], cwd=tmp_path, timeout=30)
            assert done.returncode == code
        assert [len(server.requests) for server in (right, wrong)] == [1, 0]
        # the control: without pins the second server is as good as the first
        command = [curl, "--silent", "--cacert", "ca.pem", wrong.url_for(HOST)]
        assert subprocess.run(command, cwd=tmp_path, timeout=30).returncode == 0


@pytest.mark.skipif(curl is None, reason="needs curl (make system-deps)")
def test_the_command_does_not_go_without_tls(tmp_path):
    [content] = export_to("curl", pin_file(host(HOST))).files.values()
    command = content.decode().splitlines()[-1].replace("https://", "http://")
    with Server(None) as server:
        to = f"--connect-to ::{server.address[0]}:{server.port} --silent"
        done = subprocess.run(["sh", "-c", f"{command} {to}"], timeout=30)
        assert done.returncode != 0
        assert server.requests == []


@pytest.mark.skipif(curl is None, reason="needs curl (make system-deps)")
def test_a_pin_of_a_ca_matches_no_server_as_the_report_says(tmp_path):
    (tmp_path / "ca.pem").write_text(authority().pem)
    export = export_to("curl", pin_file(host(HOST, issuing().pin)))
    assert "leaf-only" in {each.name for each in export.losses}
    [content] = export.files.values()
    with Server(pinned()) as server:
        to = f"--connect-to ::{server.address[0]}:{server.port} --cacert ca.pem --silent"
        command = f"{content.decode().splitlines()[-1]} {to}"
        assert subprocess.run(["sh", "-c", command], cwd=tmp_path).returncode == MISMATCH


def test_the_shell_gets_one_word_for_the_pins_and_one_for_the_url():
    [content] = export_to("curl", pin_file(host("::1"))).files.values()
    line = content.decode().splitlines()[-1]
    assert line == f"curl --proto '=https' --pinnedpubkey '{LIST}' 'https://[::1]/'"


def test_hosts_of_a_pattern_are_unpinned_but_for_the_one_that_it_names():
    file = pin_file(
        host("**.example.com", match="leaf"),
        host("*.example.org", match="leaf"),
        host("status.example.com", exclude=True),
    )
    export = export_to("curl", file)
    [content] = export.files.values()
    assert content.count(b"\ncurl ") == 1
    assert b"https://example.com/" in content
    assert {(each.name, each.host) for each in export.losses if each.direction == "less-safe"} == {
        ("host-unpinned", "**.example.com"),
        ("host-unpinned", "*.example.org"),
    }


def read(text: str) -> dict[str, object]:
    imported = import_from("curl", {"fetch.sh": text.encode()})
    return {entry.name: entry for entry in imported.pins.hosts}


def test_commands_as_people_write_them_are_read():
    entries = read(f"""#!/bin/sh
# the nightly job
curl -sS -f -o out.json -H 'Accept: text/plain' --pinnedpubkey "{LIST}" https://API.example.com:8443/x?y

curl --pinnedpubkey '{str(THIRD).replace("/", "//", 1)}' --url https://b.example  # another
""")
    assert list(entries) == ["api.example.com", "b.example"]
    assert [each.pin for each in entries["api.example.com"].pins] == [FIRST, SECOND]
    assert entries["b.example"].match == "leaf"


SINGLE = str(FIRST).replace("/", "//", 1)


@pytest.mark.parametrize(
    "command",
    [
        "curl -sSf --tlsv1.2 {pin} https://a.example/",
        "curl -sSfo out.json {pin} https://a.example/",
        "curl -sooutput {pin} https://a.example/",
        "curl -XPOST -d @- {pin} https://a.example/ < body.json > answer.json 2>&1",
        "/usr/bin/curl --proto '=https' --tls-max 1.3 {pin} 'https://a.example/?a=b#c'",
        "curl {pin} https://a.example/x#fragment",
        "curl -s {pin} https://a.example/ | jq .",
        "curl \\\n  --silent \\\n  {pin} \\\n  https://a.example/",
        "curl \\\r\n  {pin} \\\r\n  https://a.example/\r\n",
        "# a comment with 'one quote\ncurl {pin} https://a.example/ # it's another",
        'curl -H \'A: b # c\' -H "D: \\"e" {pin} https://a.example/',
    ],
)
def test_what_curl_takes_is_read(command):
    assert list(read(command.format(pin=f"--pinnedpubkey '{SINGLE}'"))) == ["a.example"]


def test_the_line_is_that_in_which_the_command_begins():
    text = f"# pins\n\n{PINNED} \\\n https://ok.example/\n\n  curl \\\n  -s -k \\\n https://a.example\n"
    with pytest.raises(FormatError, match="-k switches") as caught:
        read(text)
    assert caught.value.line == 6


def test_a_private_ca_is_mentioned():
    text = f"curl --cacert ca.pem --pinnedpubkey '{LIST}' https://a.example/"
    [found] = import_from("curl", {"x": text.encode()}).losses
    assert found.name == "trust-anchors-not-carried"


PINNED = f"curl --pinnedpubkey '{LIST}'"


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (f"{PINNED} -k https://a.example/", "-k switches the checks off"),
        (f"{PINNED} --insecure https://a.example/", "--insecure switches the checks off"),
        (f"{PINNED} -sSk https://a.example/", "-k switches the checks off"),
        (f"{PINNED} -sSLo x https://a.example/", "-L leads to other hosts"),
        (f"{PINNED} https://a.example/#x -k", "-k switches the checks off"),
        (f"{PINNED} -sQ https://a.example/", "-Q is not an option"),
        (f"{PINNED} --tlsv1.4 https://a.example/", "--tlsv1.4 is not an option"),
        (f"{PINNED} https://a.example/ && rm x", "&&: write each command"),
        (f"{PINNED} https://a.example/ --next https://b.example/", "--next begins another"),
        (f"{PINNED} -L https://a.example/", "-L leads to other hosts"),
        (f"{PINNED} -K more https://a.example/", "-K reads options"),
        (f"{PINNED} --resolve a:b:c https://a.example/", "--resolve is not an option"),
        (f"{PINNED} --proto all https://a.example/", "--proto is not an option"),
        (f"{PINNED} --pinnedpubkey x https://a.example/", "is not an option that is read"),
        (f"{PINNED} http://a.example/", "not an https URL"),
        (f"{PINNED} a.example", "not an https URL"),
        (f"{PINNED} https://a.example/ https://b.example/", "one URL is read, not 2"),
        (f"{PINNED} 'https://[::1'", "not a URL"),
        (f"{PINNED} https://*.example.com/", "a wildcard"),
        (f"{PINNED}", "one URL is read, not 0"),
        (f"{PINNED} -o", "nothing follows"),
        ("curl https://a.example/", "no --pinnedpubkey"),
        ("curl --pinnedpubkey key.pem https://a.example/", "write its pin"),
        (f"curl --pinnedpubkey '{LIST};{THIRD}' https://a.example/", "not a pin to curl"),
        (f"curl --pinnedpubkey '{LIST};pin-{THIRD}' https://a.example/", "not a pin to curl"),
        (
            "curl --pinnedpubkey 'sha256//AAAA' https://a.example/",
            "a.example: .*32 bytes, this one 3",
        ),
        ("wget https://a.example/", "not a curl command"),
        ("curl 'https://a.example/", "not a command"),
        (
            f"curl --pinnedpubkey '{str(THIRD).replace('/', '//', 1)}' https://ok.example/",
            "other pins for ok.example",
        ),
    ],
)
def test_a_command_that_is_not_understood_is_refused_with_its_line(line, why):
    with pytest.raises(FormatError, match=why) as caught:
        read(f"{PINNED} https://ok.example/\n{line}\n")
    assert (caught.value.file, caught.value.line) == ("fetch.sh", 2)


def test_text_that_is_not_utf_8_is_refused_with_its_line():
    with pytest.raises(FormatError, match="line 2: not UTF-8"):
        import_from("curl", {"x": b"# ok\n\xff"})


def test_the_same_host_twice_with_the_same_pins_is_one_host():
    assert len(read(f"{PINNED} https://a.example/1\n{PINNED} https://a.example/2\n")) == 1
