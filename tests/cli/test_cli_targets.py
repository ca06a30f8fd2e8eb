"""CERT|HOST[:PORT]: what is a file, what is a server, and what is neither."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from keypin.cli.exit_codes import CommandError, ExitCode
from keypin.cli.targets import Server, file_or_server

SERVERS = {
    "api.example.com": Server("api.example.com", 443),
    "API.Example.com.": Server("api.example.com", 443),
    "api.example.com:8443": Server("api.example.com", 8443),
    "bücher.example:1": Server("xn--bcher-kva.example", 1),
    "127.0.0.1": Server("127.0.0.1", 443),
    "127.0.0.1:8443": Server("127.0.0.1", 8443),
    "::1": Server("::1", 443),
    "2001:db8::1:8443": Server("2001:db8::1:8443", 443),
    "[::1]": Server("::1", 443),
    "[::1]:443": Server("::1", 443),
    "[2001:DB8::0001]:8443": Server("2001:db8::1", 8443),
    # as people paste them
    "https://api.example.com/path": Server("api.example.com"),
    "HTTPS://API.Example.COM:8443/a/b?c=d:1@e#f": Server("api.example.com", 8443),
    " https://api.example.com.:8443\n": Server("api.example.com", 8443),
    "https://me:secret@api.example.com:8443/": Server("api.example.com", 8443),
    "https://bücher.example:8443": Server("xn--bcher-kva.example", 8443),
    "https://[2001:db8::1]:8443/": Server("2001:db8::1", 8443),
    "https://[::1]/": Server("::1"),
    "https://api.example.com:/": Server("api.example.com"),
    "https://api.example.com?x": Server("api.example.com"),
    "wss://api.example.com/socket": Server("api.example.com"),
    "me@api.example.com:8443": Server("api.example.com", 8443),
    "smtp://mail.example.com": Server("mail.example.com", 25, "smtp"),
    "smtp://mail.example.com:587": Server("mail.example.com", 587, "smtp"),
    "smtp://mail.example.com:465": Server("mail.example.com", 465),
    "smtps://mail.example.com": Server("mail.example.com", 465),
    "imap://me@mail.example.com/INBOX": Server("mail.example.com", 143, "imap"),
    "postgresql://me:pw@db.example.com/name": Server("db.example.com", 5432, "postgres"),
    "ldaps://ldap.example.com/dc=example": Server("ldap.example.com", 636),
}
NEITHER = [
    "",
    ":443",
    "host:",
    "host:0",
    "host:65536",
    "host:443:443",
    "host:https",
    "host:\N{FULLWIDTH DIGIT FOUR}",
    "host:-1",
    "host: 443",
    "[::1",
    "::1]",
    "[::1]443",
    "two words",
    "*.example.com",
    "1.2.3",
    "https://",
    "https:///path",
    "https://host:https/",
    "https://*.example.com/",
    "https://good.example\\@evil.example/",
    "https://https://api.example.com",
    "https://api%2eexample.com",
    "gopher://api.example.com",
]


@pytest.mark.parametrize(("text", "expected"), SERVERS.items(), ids=SERVERS)
def test_a_server_is_a_host_in_normal_form_and_a_port(text: str, expected: Server) -> None:
    assert file_or_server(text) == expected


@pytest.mark.parametrize(
    "server",
    [
        *(Server("api.example.com", 8443), Server("::1", 443)),
        *(Server("a.example", 25, "smtp"), Server("::1", 5432, "postgres")),
    ],
    ids=str,
)
def test_a_server_is_written_the_way_it_is_read(server: Server) -> None:
    assert Server.parse(str(server)) == server


@pytest.mark.parametrize("text", NEITHER)
def test_what_is_neither_is_a_usage_error(text: str) -> None:
    with pytest.raises(CommandError) as raised:
        file_or_server(text)
    assert raised.value.code == ExitCode.USAGE


@pytest.mark.parametrize("text", ["http://api.example.com/path", "ws://api.example.com:443"])
def test_a_url_without_tls_is_refused_with_the_one_that_has_it(text: str) -> None:
    scheme = text.partition(":")[0]
    with pytest.raises(CommandError, match=f"{scheme}:// is without TLS; does {scheme}s://"):
        file_or_server(text)


@pytest.mark.parametrize("text", ["my.cer", "my.CRT", "my.der", "chain.pem", "./host", "a/b"])
def test_a_name_like_a_certificates_is_a_file_whether_it_exists_or_not(text: str) -> None:
    assert file_or_server(text) == Path(text)


def test_a_file_that_exists_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert file_or_server("example") == Server("example")
    tmp_path.joinpath("example").touch()
    assert file_or_server("example") == Path("example")


@given(st.text())
@example("\0")
@example("[]:1")
@example("::1%eth0")
@example("x" * 300)
def test_any_text_is_a_file_a_server_or_a_usage_error(text: str) -> None:
    try:
        target = file_or_server(text)
    except CommandError as error:
        refused = error.code
    else:
        refused = None
        assert isinstance(target, Path) or 0 < target.port < 65536
    assert refused in {None, ExitCode.USAGE}
