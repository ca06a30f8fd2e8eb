"""`keypin get`: what reaches a server, what comes back, and the exit codes."""

from __future__ import annotations

import gzip
import io
import os
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from keypin import Pin
from keypin.lab import Authority, ConnectProxy, Http, Response, Server, new_key, stall

if TYPE_CHECKING:
    from pathlib import Path

    from keypin.lab import Channel, Credential, Request

OTHER_PIN = str(Pin.from_public_key(new_key().spki))


@pytest.fixture
def certificate(tmp_path: Path, credential: Credential) -> Path:
    """The server's certificate in DER, as a program would carry it."""
    return credential.write(tmp_path / "files").certificate


@pytest.fixture
def trusted(cafile: Path) -> tuple[object, ...]:
    return "--cafile", cafile


@pytest.fixture
def pinned(trusted: tuple[object, ...], credential: Credential) -> tuple[object, ...]:
    """Options under which the server satisfies the pins."""
    return *trusted, "--pin", credential.pin


def url(server: Server, path: str = "/") -> str:
    return server.url_for("localhost", path)


# The pins


def test_a_pinned_certificate(keypin, server, trusted, certificate):
    ended = keypin("get", url(server, "/path?query"), *trusted, "--certificate", certificate)
    assert (ended.code, ended.error) == (0, "")
    assert ended.json == {"method": "GET", "path": "/path?query", "length": 0}


@pytest.mark.parametrize("form", ["sha256/{}", "sha256//{}", 'pin-sha256="{}"'])
def test_a_pin_in_each_of_its_forms(keypin, server, trusted, credential, form):
    text = form.format(str(credential.pin).removeprefix("sha256/"))
    assert keypin("get", url(server), *trusted, "--pin", text).code == 0


def test_any_one_of_several_pins_and_certificates_will_do(
    keypin, server, trusted, tmp_path, certificate, issuing
):
    backup = issuing.issue("localhost")
    files = backup.write(tmp_path / "backup")
    arguments = [*trusted, "--pin", OTHER_PIN, "--certificate", files.certificate]
    assert keypin("get", url(server), *arguments).code == 90
    assert keypin("get", url(server), *arguments, "--certificate", certificate).code == 0
    server.serve(backup)
    assert keypin("get", url(server), *arguments).code == 0


def test_a_mismatch_sends_nothing_and_reports_itself(keypin, server, trusted, credential, issuing):
    ended = keypin("get", url(server), *trusted, "--pin", OTHER_PIN, "--data", "secret")
    assert (ended.code, ended.output) == (90, b"")
    first, *rest = ended.error.splitlines()
    assert first == f"keypin refused localhost:{server.port}: the server's own key is not pinned"
    assert [line.split()[0] for line in rest[1:4]] == [
        str(credential.pin),
        str(issuing.pin),
        str(issuing.credential.issuer.pin),
    ]
    assert OTHER_PIN in ended.error
    assert ended.error.count("keypin refused") == 1
    [connection] = server.settle()
    assert connection.application_bytes == 0
    assert not server.requests


def test_another_certificate_of_the_same_authority_does_not_match(
    keypin, server, trusted, tmp_path, issuing
):
    certificate = issuing.issue("localhost").write(tmp_path).certificate
    assert keypin("get", url(server), *trusted, "--certificate", certificate).code == 90
    server.settle()
    assert server.application_bytes == 0


@pytest.mark.parametrize("who", ["issuing", "root"])
def test_the_key_of_an_authority_counts_only_where_the_whole_chain_is_asked_for(
    keypin, server, trusted, request, who
):
    arguments = [*trusted, "--pin", request.getfixturevalue(who).pin]
    assert keypin("get", url(server), *arguments).code == 90
    assert keypin("get", url(server), *arguments, "--match", "leaf").code == 90
    assert keypin("get", url(server), *arguments, "--match", "chain").code == 0


def test_the_whole_chain_is_not_for_certificates(keypin, server, trusted, certificate, pinned):
    arguments = ["--certificate", certificate, "--match", "chain"]
    for more in (trusted, pinned):
        ended = keypin("get", url(server), *more, *arguments)
        assert ended.code == 64
        assert "--match chain is for --pin" in ended.error


def test_without_a_pin_nothing_is_requested(keypin, server, trusted):
    ended = keypin("get", url(server), *trusted)
    assert (ended.code, ended.output) == (64, b"")
    assert "nothing is pinned" in ended.error
    assert server.settle() == []


@pytest.mark.parametrize("pin", ["", "sha256/", "sha1/AAAA", "sha256/AAAA", "md5/AAAA", "x"])
def test_what_is_no_pin_is_a_usage_error(keypin, server, pinned, pin):
    assert keypin("get", url(server), *pinned, "--pin", pin).code == 64
    assert server.settle() == []


def test_a_certificate_in_pem_is_refused_with_the_way_to_convert_it(
    keypin, server, trusted, tmp_path, credential
):
    file = credential.write(tmp_path).chain
    ended = keypin("get", url(server), *trusted, "--certificate", file)
    assert ended.code == 65
    assert f"convert it: keypin convert {file} OUT.cer" in ended.error
    assert server.settle() == []


def test_certificates_that_cannot_be_pinned(keypin, server, trusted, tmp_path, root, pinned):
    tmp_path.joinpath("root.cer").write_bytes(root.certificate)
    tmp_path.joinpath("text.cer").write_text("hello")
    for name, code, why in (
        ("root.cer", 65, "a self-signed certificate"),
        ("text.cer", 65, "not a certificate"),
        ("nothing.cer", 66, "no such file"),
    ):
        # not even where another pin would do
        ended = keypin("get", url(server), *pinned, "--certificate", name)
        assert ended.code == code
        assert why in ended.error
    assert server.settle() == []


# Verification, and connections that fail


def test_pins_do_not_replace_verification(keypin, server, credential, trusted, issuing):
    ended = keypin("get", url(server), "--pin", credential.pin)
    assert (ended.code, ended.output) == (60, b"")
    assert ended.error.splitlines() == [
        f"keypin: localhost:{server.port} is not verified: unable to get local issuer certificate",
        "Either the server does not send the certificates of its intermediates, or its root is"
        " not trusted (--cafile FILE).",
        f"keypin show localhost:{server.port} names the certificate that is missing.",
    ]
    for fields in (
        {"not_after": datetime.now(UTC) - timedelta(days=1)},
        {"names": ("example.com",)},
    ):
        server.serve(credential.renew(issuing, **fields) if "not_after" in fields else
                     issuing.issue("example.com", key=credential.key))  # fmt: skip
        assert keypin("get", url(server), *trusted, "--pin", credential.pin).code == 60
    server.settle()
    assert server.application_bytes == 0


def test_a_server_that_never_answers(keypin, credential, pinned):
    with Server(credential, before_tls=stall) as server:
        ended = keypin("get", url(server), *pinned, "--timeout", "0.1")
        assert (ended.code, ended.output) == (28, b"")
        assert (
            ended.error == f"keypin: localhost:{server.port} did not answer in time (--timeout)\n"
        )


def test_a_server_that_answers_in_tls_only(keypin, credential, pinned):
    with Server(credential, application=lambda channel: channel.drain()) as server:
        assert keypin("get", url(server), *pinned, "--timeout", "0.1").code == 28


def test_a_server_without_tls(keypin, pinned):
    with Server(None) as server:
        ended = keypin("get", f"https://localhost:{server.port}", *pinned)
    assert ended.code == 7
    assert "it does not speak TLS" in ended.error


def test_a_server_that_has_gone(keypin, credential, pinned):
    with Server(credential) as server:
        gone = url(server)
    ended = keypin("get", gone, *pinned)
    assert ended.code == 7
    assert "Connection refused" in ended.error


def test_a_server_that_hangs_up_after_the_handshake(keypin, credential, pinned):
    with Server(credential, application=lambda channel: None) as server:
        ended = keypin("get", url(server), *pinned)
        assert ended.error.startswith("keypin: localhost:")
        assert ended.error.count("\n") == 1
    assert ended.code == 7


@pytest.mark.parametrize("address", ["http://localhost/", "localhost", "ftp://localhost/", "https:///x",
                                     "https://[::1", "https://localhost:99999/", "https://a..b/",
                                     "https://1.2.3/", "https://a b/", ""])  # fmt: skip
def test_only_https(keypin, pinned, address):
    ended = keypin("get", address, *pinned)
    assert (ended.code, ended.output) == (64, b"")
    assert ended.error.startswith("keypin: not a")


# The client's own certificate


@pytest.fixture(scope="module")
def clients() -> Authority:
    return Authority("CA of the clients")


@pytest.fixture(scope="module")
def me(clients: Authority) -> Credential:
    return clients.issue(common_name="me", extended_key_usage=["clientAuth"])


@pytest.fixture
def strict(credential: Credential, clients: Authority, tls: str) -> object:
    """A server that insists on a client certificate."""
    ca = clients.certificate
    with Server(credential, tls=[tls], client_ca=ca, require_client_certificate=True) as server:
        yield server


def test_a_client_certificate_is_shown_to_a_server_that_matches(
    keypin, tmp_path, strict, pinned, me
):
    files = me.write(tmp_path)
    both = tmp_path / "both.pem"
    both.write_bytes(me.chain_pem + me.key_pem)
    separate = ["--client-certificate", files.chain, "--client-key", files.key]
    assert keypin("get", url(strict), *pinned, *separate).code == 0
    assert keypin("get", url(strict), *pinned, "--client-certificate", both).code == 0
    assert [it.client_certificate for it in strict.settle()] == [me.certificate] * 2


def test_a_client_certificate_is_not_shown_to_one_that_does_not(
    keypin, tmp_path, strict, trusted, me
):
    files = me.write(tmp_path)
    separate = ["--client-certificate", files.chain, "--client-key", files.key]
    assert keypin("get", url(strict), *trusted, "--pin", OTHER_PIN, *separate).code == 90
    [connection] = strict.settle()
    assert not connection.client_certificate_seen
    assert connection.application_bytes == 0


def test_a_server_that_misses_a_client_certificate(keypin, strict, pinned):
    ended = keypin("get", url(strict), *pinned)
    assert (ended.code, ended.output) == (7, b"")
    assert ended.error.startswith(f"keypin: cannot connect to localhost:{strict.port}: ")


def test_client_certificates_that_cannot_be_loaded(keypin, tmp_path, server, pinned, me):
    files = me.write(tmp_path)
    other = tmp_path / "other.pem"
    other.write_bytes(new_key().pem)
    for arguments, code in (
        (["--client-key", files.key], 64),
        (["--client-certificate", "nothing.pem"], 66),
        (["--client-certificate", files.chain, "--client-key", "nothing.pem"], 66),
        (["--client-certificate", files.chain], 65),
        (["--client-certificate", files.certificate, "--client-key", files.key], 65),
        (["--client-certificate", files.chain, "--client-key", other], 65),
    ):
        assert keypin("get", url(server), *pinned, *arguments).code == code
    assert server.settle() == []


# The request


def test_the_request_is_a_plain_get(keypin, server, pinned):
    keypin("get", url(server, "/%C3%BC?a=b#c"), *pinned)
    [request] = server.requests
    assert (request.method, request.target, request.body) == ("GET", "/%C3%BC?a=b", b"")
    assert request.headers["User-Agent"].startswith("keypin/")
    assert request.headers["Accept"] == "*/*"
    assert request.headers["Accept-Encoding"] == "identity"


def test_method_headers_and_body(keypin, server, pinned):
    ended = keypin(
        "get", url(server), *pinned, "-X", "PUT", "-d", "grün", "-H", "Content-Type: text/plain",
        "-H", "x-one: 1", "-H", "X-Two:  2: two ", "-H", "x-one: eins", "-H", "User-Agent: me",
    )  # fmt: skip
    assert ended.code == 0
    [request] = server.requests
    assert (request.method, request.body) == ("PUT", "grün".encode())
    assert request.headers.get_all("X-One") == ["1", "eins"]
    assert request.headers["X-Two"] == "2: two"
    assert request.headers.get_all("User-Agent") == ["me"]
    assert request.headers.get_all("Content-Type") == ["text/plain"]


def test_a_body_makes_it_a_post_of_a_form(keypin, server, pinned):
    keypin("get", url(server), *pinned, "--data", "a=b&c=d")
    [request] = server.requests
    assert (request.method, request.body) == ("POST", b"a=b&c=d")
    assert request.headers["Content-Type"] == "application/x-www-form-urlencoded"


def test_a_body_from_a_file_is_sent_as_it_is(keypin, tmp_path, server, pinned):
    content = bytes(range(256)) + b"\r\n"
    tmp_path.joinpath("body").write_bytes(content)
    keypin("get", url(server), *pinned, "--data", "@body")
    [request] = server.requests
    assert request.body == content
    assert keypin("get", url(server), *pinned, "--data", "@nothing").code == 66


def test_a_body_from_standard_input(keypin, monkeypatch, server, pinned):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\0piped\xff")))
    keypin("get", url(server), *pinned, "--data", "@-")
    [request] = server.requests
    assert request.body == b"\0piped\xff"


@pytest.mark.parametrize(
    "arguments", [["-H", "nothing"], ["-H", ": x"], ["-H", "a b: c"], ["-H", "a: b\r\nc: d"],
                  ["-H", "ü: x"], ["-X", "A B"], ["-X", ""], ["--match", "root"]], ids=str
)  # fmt: skip
def test_requests_that_are_not_http(keypin, server, pinned, arguments):
    ended = keypin("get", url(server), *pinned, *arguments)
    assert (ended.code, ended.output) == (64, b"")
    server.settle()
    assert server.application_bytes == 0


@pytest.mark.parametrize("header", ["Content-Length: 1", "transfer-encoding: chunked"])
def test_where_the_body_ends_is_not_for_a_header_to_say(keypin, server, pinned, header):
    ended = keypin("get", url(server), *pinned, "-H", header, "-d", "three")
    assert (ended.code, ended.output) == (64, b"")
    assert "belongs to the body" in ended.error
    assert server.settle() == []


ANSWERS = {
    "no HTTP": b"hello\r\n\r\n",
    "binary": bytes(range(256)),
    "a status of its own": b"HTTP/1.1 999999 X\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
    "half a chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nx",
    "no chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "no URL": b"HTTP/1.1 302 X\r\nLocation: https://a:b/\r\n\r\n",
    "no port": b"HTTP/1.1 302 X\r\nLocation: https://localhost:99999/\r\n\r\n",
    "no host": b"HTTP/1.1 302 X\r\nLocation: https://a..b/\r\n\r\n",
    "an endless header": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1_000_000,
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_answers_that_are_not_http(keypin, credential, pinned, answer):
    def application(channel: Channel) -> None:
        channel.recv()
        channel.sendall(answer)

    with Server(credential, application=application) as server:
        ended = keypin("get", url(server), *pinned, "-L")
        assert ended.code == 7
        assert ended.error.startswith("keypin: localhost:")
        assert ended.error.count("\n") == 1


# The response


def test_the_body_is_passed_on_byte_for_byte(keypin, credential, pinned):
    body = bytes(range(256)) * 5000
    with Server(credential, application=Http(body)) as server:
        ended = keypin("get", url(server), *pinned)
    assert (ended.code, ended.error) == (0, "")
    assert ended.output == body


def test_an_encoded_body_stays_encoded(keypin, credential, pinned):
    def answer(request: Request) -> Response:
        return Response(gzip.compress(b"packed"), headers={"Content-Encoding": "gzip"})

    with Server(credential, application=Http(answer)) as server:
        ended = keypin("get", url(server), *pinned)
    assert gzip.decompress(ended.output) == b"packed"


def test_a_body_comes_piece_by_piece(keypin_process, credential, pinned, tmp_path):
    # the server sends the second half only when the client has passed on the first
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)

    def halves(channel: Channel) -> None:
        channel.recv()
        channel.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst")
        with fifo.open("rb") as read:
            assert read.read(5) == b"first"
            channel.sendall(b"after")
            assert read.read() == b"after"

    with Server(credential, application=halves) as server:
        ended = keypin_process("get", url(server), *pinned, "--output", "fifo")
        server.settle()
    assert (ended.code, ended.error) == (0, "")


def test_the_headers_come_with_the_body_if_asked_for(keypin, credential, pinned):
    with Server(credential, application=Http(lambda _: Response(b"body", 201))) as server:
        ended = keypin("get", url(server), *pinned, "-i")
    head, _, body = ended.output.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 201 Created\r\nServer: ")
    assert b"Content-Length: 4" in head
    assert body == b"body"


def test_headers_cannot_command_the_terminal(keypin, credential, pinned):
    def answer(channel: Channel) -> None:
        channel.recv()
        channel.sendall(
            b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"
            b"X-One: \x1b[31mred\r\nX-Two: \xc2\x9b31m\xff\r\n\r\n"
        )

    with Server(credential, application=answer) as server:
        ended = keypin("get", url(server), *pinned, "-i")
    assert b"X-One: \\1b[31mred\r\nX-Two: \\c2\\9b31m\\xff\r\n" in ended.output
    assert b"\x1b" not in ended.output


def test_an_http_error_is_an_answer_unless_asked_for(keypin, credential, pinned):
    with Server(credential, application=Http(lambda _: Response(b"gone", 410))) as server:
        ended = keypin("get", url(server), *pinned)
        assert (ended.code, ended.output, ended.error) == (0, b"gone", "")
        ended = keypin("get", url(server), *pinned, "--fail", "-o", "file")
        assert (ended.code, ended.output) == (22, b"")
        assert ended.error == "keypin: the server answered 410 Gone\n"
        assert os.listdir() == []


def test_the_body_goes_to_a_file(keypin, tmp_path, server, pinned):
    file = tmp_path / "file"
    file.write_bytes(b"old")
    ended = keypin("get", url(server, "/bytes/100000"), *pinned, "-o", "file")
    assert (ended.code, ended.output, ended.error) == (0, b"", "")
    assert file.read_bytes() == bytes(100000)
    assert os.listdir(tmp_path) == ["file"]
    assert keypin("get", url(server, "/bytes/3"), *pinned, "-o", "-").output == bytes(3)
    assert keypin("get", url(server), *pinned, "-o", "nowhere/file").code == 73


def test_a_body_that_breaks_off_leaves_no_half_file(keypin, tmp_path, credential, pinned):
    def half(channel: Channel) -> None:
        channel.recv()
        channel.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")

    tmp_path.joinpath("file").write_bytes(b"old")
    with Server(credential, application=half) as server:
        ended = keypin("get", url(server), *pinned, "-o", "file")
        assert ended.code == 7
        assert tmp_path.joinpath("file").read_bytes() == b"old"
        assert os.listdir(tmp_path) == ["file"]
        assert keypin("get", url(server), *pinned).output == b"half"


def test_a_device_is_written_to_and_not_replaced(keypin, server, pinned):
    before = os.stat("/dev/null")
    assert keypin("get", url(server), *pinned, "-o", "/dev/null").code == 0
    assert os.path.samestat(before, os.stat("/dev/null"))


# Redirects


def test_a_redirect_is_an_answer_unless_it_is_to_be_followed(keypin, credential, pinned):
    http = Http(redirects={"/old": "/new"})
    with Server(credential, application=http) as server:
        ended = keypin("get", url(server, "/old"), *pinned, "--fail")
        assert (ended.code, ended.output) == (0, b"")
        ended = keypin("get", url(server, "/old"), *pinned, "-L")
        assert ended.json["path"] == "/new"
        ended = keypin("get", url(server, "/old"), *pinned, "-L", "-i")
        heads = ended.output.split(b"\r\n\r\n")
        assert heads[0].startswith(b"HTTP/1.1 302 Found\r\n")
        assert heads[1].startswith(b"HTTP/1.1 200 OK\r\n")


def test_the_pins_hold_for_the_server_that_a_redirect_leads_to(keypin, credential, issuing, pinned):
    other = issuing.issue("localhost")
    with Server(other) as elsewhere:
        http = Http(redirects={"/": url(elsewhere)})
        with Server(credential, application=http) as server:
            ended = keypin("get", url(server), *pinned, "-L")
            assert (ended.code, ended.output) == (90, b"")
            assert f"keypin refused localhost:{elsewhere.port}" in ended.error
            elsewhere.settle()
            assert elsewhere.application_bytes == 0
            assert keypin("get", url(server), *pinned, "-L", "--pin", other.pin).code == 0


def test_a_redirect_to_plain_http_is_refused(keypin, credential, pinned):
    with Server(None) as plain:
        http = Http(redirects={"/": plain.url})
        with Server(credential, application=http) as server:
            ended = keypin("get", url(server), *pinned, "-L")
        assert plain.settle() == []
    assert (ended.code, ended.output) == (90, b"")
    assert ended.error == (
        "keypin: redirected to http://127.0.0.1, where no server can show a pinned key:"
        " not followed\n"
    )


def test_redirects_without_end(keypin, credential, pinned):
    with Server(credential, application=Http(redirects={"/": "/"})) as server:
        ended = keypin("get", url(server), *pinned, "-L")
    assert (ended.code, ended.error) == (22, "keypin: more than 20 redirects\n")


# As a program


def test_as_a_program(keypin_process, trusted, pinned, certificate, credential):
    with Server(credential, application=Http(b"\0\xff")) as server:
        ended = keypin_process("get", url(server), *trusted, "--certificate", certificate)
        mismatch = keypin_process("get", url(server), *trusted, "--pin", OTHER_PIN)
        posted = keypin_process("get", url(server), *pinned, "--data", "@-", input=b"\0piped")
    assert (ended.code, ended.output, ended.error) == (0, b"\0\xff", "")
    assert (mismatch.code, mismatch.output) == (90, b"")
    assert mismatch.error.startswith("keypin refused localhost")
    assert mismatch.error.count("keypin refused") == 1
    assert "Traceback" not in mismatch.error
    assert posted.code == 0
    assert server.requests[-1].body == b"\0piped"


def test_a_proxy_of_the_environment_sees_nothing_but_tls(
    keypin_process, pinned, trusted, credential
):
    with Server(credential) as server, ConnectProxy() as proxy:
        environment = {"HTTPS_PROXY": f"http://127.0.0.1:{proxy.port}"}
        assert keypin_process("get", url(server), *pinned, **environment).code == 0
        refused = keypin_process("get", url(server), *trusted, "--pin", OTHER_PIN, **environment)
        proxied = len(proxy.settle())
    assert refused.code == 90
    assert proxied == 2
    assert len(server.requests) == 1
