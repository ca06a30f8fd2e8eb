"""What pages may ask of a client, and what they may not: the bridge without a window."""

from __future__ import annotations

import json
import os
import threading

import pytest
from oauth_scene import SECRET
from scene import HOST, pinned

from keypin.client import AsyncClient, Client
from keypin.lab import Http, Response, Server, Silent


def test_a_pinned_page_reaches_the_server(page, right):
    told = page.pin().echoed(
        "/things",
        "POST",
        query=[["page", "2"], ["who", "Müller & Söhne"]],
        headers=[["X-A", "1"], ["X-A", "2"]],
        body={"kind": "text", "text": "grüß dich"},
    )
    assert told["method"] == "POST"
    assert told["target"] == "/mfp/api/things?page=2&who=M%C3%BCller+%26+S%C3%B6hne"
    assert told["body"] == "grüß dich"
    assert [value for name, value in told["headers"] if name == "X-A"] == ["1", "2"]
    assert ["Content-Type", "text/plain; charset=utf-8"] in told["headers"]


@pytest.mark.parametrize(
    ("body", "kind", "arrives"),
    [
        ({"kind": "none"}, None, ""),
        ({"kind": "json", "text": '{"a": [1]}'}, "application/json", '{"a": [1]}'),
        (
            {"kind": "form", "fields": [["a", "1 2"], ["a", "ü&"]]},
            "application/x-www-form-urlencoded",
            "a=1+2&a=%C3%BC%26",
        ),
    ],
)
def test_bodies_arrive_with_their_type(page, body, kind, arrives):
    told = page.pin().echoed("/things", "POST", body=body)
    assert told["body"] == arrives
    assert dict(told["headers"]).get("Content-Type") == kind


def test_the_type_that_a_page_names_stays(page):
    told = page.pin().echoed(
        "/things",
        "POST",
        headers=[["content-type", "application/vnd.api+json"]],
        body={"kind": "json", "text": "{}"},
    )
    kinds = [value for name, value in told["headers"] if name.lower() == "content-type"]
    assert kinds == ["application/vnd.api+json"]


def test_a_mispinned_server_gets_nothing_and_the_page_hears_so(page_of, wrong, right):
    page = page_of([right.url_for(HOST), wrong.url_for(HOST)]).pin()
    secret = [["X-Secret", "xyzzy"]]
    assert page.send_refused(f"{wrong.url_for(HOST)}/", headers=secret) == "PIN_MISMATCH"
    wrong.settle()
    assert wrong.application_bytes == 0


def test_an_unpinned_page_sends_nothing(page, right):
    assert page.send_refused("/things") == "NOT_PINNED"
    assert right.connections == []


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("missing.cer", "CERTIFICATE_NOT_FOUND"),
        ("broken.cer", "CERTIFICATE_FORMAT"),
        ("../outside.cer", "CERTIFICATE_NOT_FOUND"),
        ("..\\outside.cer", "CERTIFICATE_NOT_FOUND"),
        ("pinned.cer/../../outside.cer", "CERTIFICATE_NOT_FOUND"),
        ("C:outside.cer", "CERTIFICATE_NOT_FOUND"),
        ("C:\\outside.cer", "CERTIFICATE_NOT_FOUND"),
        ("\\\\server\\share\\outside.cer", "CERTIFICATE_NOT_FOUND"),
        ("pinned.cer\0", "CERTIFICATE_NOT_FOUND"),
        ("pinned.cer::$DATA", "CERTIFICATE_NOT_FOUND"),
        ("/dev/stdin", "CERTIFICATE_NOT_FOUND"),
        ("file:///etc/passwd", "CERTIFICATE_NOT_FOUND"),
        (".", "CERTIFICATE_NOT_FOUND"),
        ("", "CERTIFICATE_NOT_FOUND"),
        ("a" * 5000, "CERTIFICATE_NOT_FOUND"),
    ],
)
def test_a_page_names_files_of_the_folder_only_and_hears_why(page, name, code):
    answer = page.ask("pin", names=[name])
    assert answer["errorCode"] == code
    assert "certificates/" not in answer["errorMsg"]
    assert page.send_refused("/things") == "NOT_PINNED"


def test_an_absolute_path_into_the_folder_is_refused_too(page, certificates):
    path = str(certificates / "pinned.cer")
    assert page.refused("pin", names=[path]) == "CERTIFICATE_NOT_FOUND"


@pytest.mark.skipif(os.name == "nt", reason="Windows lets few users make links")
def test_a_failure_tells_nothing_of_the_machine(page, certificates, right):
    """Neither paths, nor the client's secret."""
    (certificates / "loop.cer").symlink_to("loop.cer")
    right.close()
    answers = [
        page.ask("pin", names=["missing.cer"]),
        page.ask("pin", names=["broken.cer"]),
        page.ask("pin", names=["loop.cer"]),
        page.pin().send("/things"),
        page.ask("obtain", scope="a"),
    ]
    assert [answer["ok"] for answer in answers] == [False] * 5
    told = json.dumps(answers)
    assert str(certificates.parent) not in told
    assert SECRET not in told
    assert "Traceback" not in told


def test_one_bad_file_of_several_pins_to_none(page):
    assert page.refused("pin", names=["pinned.cer", "missing.cer"]) == "CERTIFICATE_NOT_FOUND"
    assert page.send_refused("/things") == "NOT_PINNED"


def test_a_page_cannot_pin_where_the_app_does(page_of, client):
    page = page_of(pinning=False)
    assert page.refused("pin", names=["pinned.cer"]) == "NOT_ALLOWED"
    assert page.send_refused("/things") == "NOT_PINNED"
    client.pin_trusted_certificate_public_key("pinned.cer")
    assert page.echoed("/things")["method"] == "GET"


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("https://elsewhere.example/", "HOST_NOT_ALLOWED"),
        ("https://localhost/", "HOST_NOT_ALLOWED"),
        ("https://127.0.0.1:{port}/", "HOST_NOT_ALLOWED"),
        ("https://localhost@elsewhere.example/", "BAD_ARGUMENT"),
        ("https://localhost:{port}@elsewhere.example/", "BAD_ARGUMENT"),
        ("https://localhost:{port}\\@elsewhere.example/", "BAD_ARGUMENT"),
        ("//elsewhere.example/", "BAD_ARGUMENT"),
        ("\\\\elsewhere.example/", "BAD_ARGUMENT"),
        ("/\\elsewhere.example/", "BAD_ARGUMENT"),
        ("https:elsewhere.example/", "BAD_ARGUMENT"),
        ("https:///elsewhere.example/", "BAD_ARGUMENT"),
        ("/a b", "BAD_ARGUMENT"),
        ("/a\r\nHost: elsewhere.example", "BAD_ARGUMENT"),
        ("/../../admin", "BAD_ARGUMENT"),
        ("http://localhost:{port}/", "PLAIN_HTTP_REFUSED"),
        ("ftp://localhost:{port}/", "BAD_ARGUMENT"),
        ("file:///etc/passwd", "BAD_ARGUMENT"),
        ("data:text/plain,a", "BAD_ARGUMENT"),
        ("/" + "a" * 9000, "BAD_ARGUMENT"),
    ],
)
def test_a_page_reaches_no_host_that_the_app_did_not_allow(page, right, url, code):
    page.pin()
    assert page.send_refused(url.replace("{port}", str(right.port))) == code
    right.settle()
    assert right.requests == []


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_redirect_leads_to_allowed_hosts_only(page, page_of, right, api, method):
    with Server(pinned(), application=Http(api)) as other:
        location = Response(b"", 302, {"Location": f"{other.url_for(HOST)}/there"})
        api.paths["/mfp/api/elsewhere"] = location
        assert page.pin().send_refused("/elsewhere", method) == "HOST_NOT_ALLOWED"
        other.settle()
        assert other.connections == []
        generous = page_of([right.url_for(HOST), f"localhost:{other.port}"])
        assert generous.echoed("/elsewhere", method)["target"] == "/there"


def test_the_apps_own_requests_are_not_limited_to_the_hosts_of_its_pages(page, client, api):
    with Server(pinned(), application=Http(api)) as other:
        page.pin()
        url = f"{other.url_for(HOST)}/there"
        assert page.send_refused(url) == "HOST_NOT_ALLOWED"
        assert client.get(url).status_code == 200
        assert client.resource_request(url).send().ok


def test_tokens_come_from_where_the_app_says_and_go_to_its_server(
    right, wrong, certificates, api, page
):
    """Their server is out of reach for requests of pages all the same."""
    from keypin.webview._bridge import Bridge

    with (
        Server(pinned(), application=Http(api)) as tokens,
        Client(
            right.url_for(HOST, "/mfp/api"),
            certificates,
            certificates.parent / "ca.pem",
            client_id="a",
            client_secret="b",
            token_url=tokens.url_for(HOST, "/mfp/api/az/v1/token"),
            trust_env=False,
        ) as client,
    ):
        other = type(page)(Bridge(client, None, tokens=False, pinning=True)).pin()
        assert other.echoed("/protected")["method"] == "GET"
        assert len(tokens.requests) == 1
        assert other.send_refused(tokens.url_for(HOST, "/x")) == "HOST_NOT_ALLOWED"
        for status, path in ((302, "/x"), (307, "/x"), (307, "/mfp/api/az/v1/token")):
            location = {"Location": tokens.url_for(HOST, path)}
            api.paths["/mfp/api/away"] = Response(b"", status, location)
            for method in ("GET", "POST"):
                assert other.send_refused("/away", method) == "HOST_NOT_ALLOWED"
        assert len(tokens.requests) == 1


def test_protected_resources_are_authorized_without_the_page_seeing_a_token(page, api):
    answer = page.pin().send("/protected")
    assert answer["ok"]
    assert api.sent[-1][2] == api.issued[-1][0]


def test_a_page_sees_the_text_of_tokens_only_if_the_app_says_so(page, page_of, api):
    token = page.pin().ask("obtain", scope="write read")["value"]
    assert token["scope"] == "read write"
    assert token["expiresAt"] > 1_700_000_000_000
    assert token["value"] is None
    assert token["asAuthorizationRequestHeader"] is None
    assert token["asFormEncodedBodyParameter"] is None
    shown = page_of(tokens=True).ask("obtain", scope="read write")["value"]
    value = api.issued[-1][0]
    assert shown["value"] == value
    assert shown["asAuthorizationRequestHeader"] == f"Bearer {value}"
    assert shown["asFormEncodedBodyParameter"].startswith("access_token=token")


def test_a_token_that_is_cleared_is_obtained_anew(page, api):
    page.pin()
    first = page.ask("obtain", scope="a")["value"]["id"]
    page.ask("obtain", scope="a")
    assert api.scopes == ["a"]
    assert page.ask("clear", id=first)["ok"]
    page.ask("obtain", scope="a")
    assert api.scopes == ["a", "a"]
    assert page.ask("clear", id=first)["ok"]  # a second time; nothing is cleared
    page.ask("obtain", scope="a")
    assert api.scopes == ["a", "a"]


@pytest.mark.parametrize("status", [201, 302, 500])
def test_what_the_token_endpoint_fails_with_is_not_for_pages(page, api, status):
    """There may be a token in it."""
    api.give = lambda api, scope: Response(b'{"access_token": "xyzzy"}', status)
    for answer in (page.pin().ask("obtain", scope="a"), page.send("/protected")):
        assert (answer["errorCode"], answer["status"]) == ("SERVER_ERROR", status)
        assert "xyzzy" not in json.dumps(answer)


def test_a_page_does_not_write_lines_of_the_log(page, caplog):
    caplog.set_level("INFO")
    assert page.refused("x\nERROR forged") == "BAD_ARGUMENT"
    assert "refused" in caplog.text
    assert "forged" not in caplog.text


def test_the_servers_refusal_of_a_token_is_told(page, api):
    api.give = lambda api, scope: Response(b'{"error": "invalid_client"}', 401)
    answer = page.pin().ask("obtain", scope="a")
    assert (answer["errorCode"], answer["status"]) == ("AUTHORIZATION_REFUSED", 401)
    assert "invalid_client" in answer["errorMsg"]


@pytest.mark.parametrize("status", [404, 500, 300, 302])
def test_what_is_not_2xx_fails_with_its_status_and_body(page, api, status):
    api.paths["/mfp/api/x"] = Response(b"alas", status, {"X-Why": "because"})
    answer = page.pin().send("/x")
    assert (answer["errorCode"], answer["status"]) == ("SERVER_ERROR", status)
    assert answer["text"] == "alas"
    assert ["x-why", "because"] in answer["headers"]


def test_cookies_stay_with_the_client(page, api):
    api.paths["/mfp/api/x"] = Response(b"{}", 200, {"Set-Cookie": "session=xyzzy; HttpOnly"})
    answer = page.pin().send("/x")
    assert answer["ok"]
    assert "xyzzy" not in json.dumps(answer)


def test_a_slow_server_ends_in_a_timeout(page_of, right):
    with Server(pinned(), application=Silent()) as slow:
        page = page_of([right.url_for(HOST), slow.url_for(HOST)]).pin()
        assert page.send_refused(f"{slow.url_for(HOST)}/", timeout=150) == "REQUEST_TIMEOUT"


def test_a_server_that_is_not_there_is_unreachable(page, right):
    right.close()
    assert page.pin().send_refused("/x") == "UNREACHABLE"


def test_an_answer_too_large_for_a_page_is_not_passed_on(page, api, monkeypatch):
    monkeypatch.setattr("keypin.webview._bridge.LARGEST_ANSWER", 1000)
    page.pin()
    api.paths["/mfp/api/x"] = Response(b"a" * 1000)
    assert page.send("/x")["ok"]
    api.paths["/mfp/api/x"] = Response(b"a" * 1001)
    assert page.send_refused("/x") == "RESPONSE_TOO_LARGE"


@pytest.mark.parametrize(
    "name",
    [
        "Host",
        "authorization",
        "AUTHORIZATION",
        "Proxy-Authorization",
        "Cookie",
        "Connection",
        "Transfer-Encoding",
        "Content-Length",
        "TE",
        "Upgrade",
        "Expect",
        "Origin",
        "Sec-Fetch-Site",
        "X-Forwarded-For",
        "X A",
        "X:A",
        "",
        "Ä",
        "X\r\nHost",
    ],
)
def test_a_page_cannot_set_headers_that_are_not_its_own(page, right, name):
    page.pin()
    assert page.send_refused("/x", headers=[[name, "a"]]) == "BAD_ARGUMENT"
    assert right.requests == []


@pytest.mark.parametrize("value", ["a\r\nHost: b", "a\nb", "a\0b", "ü", "a\x7f", "a" * 9000, " a"])
def test_a_header_has_a_value_that_http_allows(page, right, value):
    page.pin()
    assert page.send_refused("/x", headers=[["X-A", value]]) == "BAD_ARGUMENT"
    assert right.requests == []


@pytest.mark.parametrize(
    "wrong_thing",
    [
        {"url": None},
        {"url": 7},
        {"url": ["/x"]},
        {"url": "/\ud800"},
        {"method": "CONNECT"},
        {"method": "TRACE"},
        {"method": "get"},
        {"method": "GET / HTTP/1.1\r\nX: "},
        {"method": None},
        {"timeout": 0},
        {"timeout": -1},
        {"timeout": 1e12},
        {"timeout": True},
        {"timeout": "100"},
        {"timeout": None},
        {"scope": None},
        {"scope": 'a"b'},
        {"scope": "ü"},
        {"query": {"a": "b"}},
        {"query": [["a"]]},
        {"query": [["a", 1]]},
        {"query": [["a", "b"]] * 1001},
        {"headers": [["X-A", "b"]] * 1001},
        {"headers": [["X-A", None]]},
        {"headers": "X-A: b"},
        {"body": None},
        {"body": {}},
        {"body": {"kind": "file", "text": "/etc/passwd"}},
        {"body": {"kind": "text"}},
        {"body": {"kind": "text", "text": 7}},
        {"body": {"kind": "text", "text": "a", "more": "b"}},
        {"body": {"kind": "json", "text": "\udfff"}},
        {"body": {"kind": "form", "fields": [["a", ["b"]]]}},
        {"verify": False},
    ],
    ids=str,
)
def test_a_request_is_exactly_what_is_expected(page, right, wrong_thing):
    page.pin()
    assert page.send_refused(**({"url": "/x"} | wrong_thing)) == "BAD_ARGUMENT"
    assert right.requests == []


@pytest.mark.parametrize(
    ("operation", "text"),
    [
        ("pin", "not JSON"),
        ("pin", "null"),
        ("pin", "[]"),
        ("pin", "{}"),
        ("pin", '{"names": "pinned.cer"}'),
        ("pin", '{"names": []}'),
        ("pin", '{"names": [7]}'),
        ("pin", '{"names": ["pinned.cer"], "more": 1}'),
        ("pin", '{"names": %s}' % ("[" * 100_000)),
        ("pin", '{"names": [%s]}' % ("1" * 10_000)),
        ("obtain", '{"scope": NaN}'),
        ("obtain", '{"scope": null}'),
        ("clear", '{"id": 7}'),
        ("__init__", "{}"),
        ("_client", "{}"),
        ("perform", "{}"),
        ("", "{}"),
    ],
)
def test_what_makes_no_sense_is_refused(page, operation, text):
    answer = page.bridge.perform(operation, text)
    assert answer["errorCode"] == "BAD_ARGUMENT"


def test_a_failure_of_the_app_itself_is_logged_and_not_told(page, client, caplog, monkeypatch):
    def broken(names):
        raise ZeroDivisionError("/home/somebody")

    monkeypatch.setattr(client, "pin_trusted_certificate_public_key", broken)
    answer = page.ask("pin", names=["pinned.cer"])
    assert answer["errorCode"] == "INTERNAL_ERROR"
    assert "somebody" not in answer["errorMsg"]
    assert "somebody" in caplog.text


def test_several_requests_are_under_way_at_once(page, api):
    """The server answers none of them before it has got all."""
    page.pin()
    meeting = threading.Barrier(8, timeout=20)

    def wait(request):
        meeting.wait()
        return Response(b"{}")

    api.paths["/mfp/api/meet"] = wait
    api.lock = threading.Semaphore(100)
    answers = []
    threads = [
        threading.Thread(target=lambda: answers.append(page.send("/meet")["ok"])) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [True] * 8


@pytest.mark.parametrize(
    ("hosts", "error"),
    [
        ("api.example", TypeError),
        (["*.example"], ValueError),
        (["api.example/path"], ValueError),
        (["http://api.example"], Exception),
        (["https://user@api.example"], ValueError),
        (["https://api.example?x"], ValueError),
        ([""], ValueError),
        (["api example"], ValueError),
    ],
)
def test_hosts_are_whole_https_origins(page_of, hosts, error):
    with pytest.raises(error):
        page_of(hosts)


def test_an_empty_list_of_hosts_allows_none(page_of, right):
    assert page_of([]).pin().send_refused("/x") == "HOST_NOT_ALLOWED"
    assert right.connections == []


def test_a_client_without_a_base_url_cannot_be_exposed(certificates):
    from keypin.webview._bridge import Bridge

    with Client(certificates=certificates) as client, pytest.raises(ValueError, match="base_url"):
        Bridge(client, None, tokens=False, pinning=True)


def test_an_asynchronous_client_is_refused():
    import keypin.webview

    with pytest.raises(TypeError, match=r"keypin\.client\.Client"):
        keypin.webview.expose([], AsyncClient("https://localhost/"))
