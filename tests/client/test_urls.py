"""Where a request goes is what its URL seems to say, or it is refused."""

from __future__ import annotations

import httpx2
import pytest

from keypin import PlainHTTPRefused
from keypin.client._urls import Origin, base_of, origin_of, read_absolute, resolve

BASE = httpx2.Client(base_url="https://api.example.com:9443/mfp/api").base_url


@pytest.mark.parametrize(
    ("url", "resolved"),
    [
        ("/adapters/people/all", "/adapters/people/all"),
        ("adapters/people", "/adapters/people"),
        ("/a?b=c/../d&e=http://f", "/a?b=c/../d&e=http://f"),
        ("?b=c", "/?b=c"),
        ("", "/"),
        ("/", "/"),
        ("a#b", "/a"),
        ("/...", "/..."),
        ("/.hidden/a..b", "/.hidden/a..b"),
        ("/a:b", "/a:b"),
        ("/é", "/%C3%A9"),
        ("/a%2Fb", "/a%2Fb"),
        ("/@other", "/@other"),
    ],
)
def test_a_relative_url_keeps_the_path_of_the_base(url, resolved):
    assert str(resolve(BASE, url)) == "https://api.example.com:9443/mfp/api" + resolved


@pytest.mark.parametrize(
    "url",
    [
        "//evil.example.com/",
        "///evil.example.com/",
        "/\\evil.example.com/",
        "\\\\evil.example.com/",
        "a\\..\\b",
        "/\t/evil.example.com/",
        "/a\r\nHost: evil",
        "/a b",
        "\x00",
        "..",
        "../x",
        "/a/../../x",
        "/./x",
        "/%2e%2e/x",
        "/%2E./x",
        "/a/.%2e",
        "/a%2f..%2fx",
        "/a%2f%2e%2e",
        "/a%5c..%5cx",
        "/..;/x",
        "/..;a=b/x",
        "/..%3b/x",
        "/%2e%2e%3ba/x",
    ],
)
def test_what_could_leave_the_base_is_refused(url):
    with pytest.raises(ValueError, match=r"URL|origin"):
        resolve(BASE, url)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://api.example.com/",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "data:text/plain,x",
        "wss://api.example.com/",
        "https:",
        "https:/api.example.com/",
        "https:api.example.com",
        "https://",
        "https:///a",
        "https://:443/",
        "https://user@api.example.com/",
        "https://user:secret@api.example.com/",
        "https://@api.example.com/",
        "https://api.example.com\\@evil.example.com/",
        "https://evil.example.com\\.api.example.com/",
        "https://api.example.com /",
        "https://api.example.com:x/",
        "https://api.example.com:99999/",
        "https://api.example.com:0/",
        "https://a..b/",
        "https://[::1/",
        "people:all",
    ],
)
def test_what_is_no_plain_https_url_is_refused(url):
    with pytest.raises(ValueError, match=r"URL|host|port") as caught:
        resolve(BASE, url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://api.example.com:9443/", "HTTP://api.example.com"])
def test_http_is_refused(url):
    with pytest.raises(PlainHTTPRefused, match="without TLS"):
        resolve(BASE, url)


@pytest.mark.parametrize(
    "url",
    [
        "https://api.example.com:9443/",
        "HTTPS://API.example.COM:9443",
        "https://api.example.com.:9443/x",
        "https://api.example.com:09443/a/../b",
    ],
)
def test_one_server_has_one_origin(url):
    assert origin_of(resolve(BASE, url)) == Origin("https", "api.example.com", 9443)


@pytest.mark.parametrize(
    "url",
    [
        "https://api.example.com/",
        "https://api.example.com:443/",
        "https://example.com:9443/",
        "https://api.example.com.evil.example.com:9443/",
        "https://api.example.com%2eevil.example.com:9443/",
        "https://xn--pi-fka.example.com:9443/",
        "https://127.0.0.1:9443/",
    ],
)
def test_another_server_has_another_origin(url):
    try:
        origin = origin_of(resolve(BASE, url))
    except ValueError:
        return
    assert origin != origin_of(BASE)


def test_the_default_port_and_addresses_have_one_form():
    assert origin_of(read_absolute("https://a.example")) == Origin("https", "a.example", 443)
    one, other = (origin_of(read_absolute(f"https://{a}/")) for a in ("[::1]", "[0:0::0:1]"))
    assert one == other
    assert str(one) == "https://[::1]:443"


@pytest.mark.parametrize(
    ("base", "error"),
    [
        ("", ValueError),
        ("/relative", ValueError),
        ("http://api.example.com", PlainHTTPRefused),
        ("https://user:secret@api.example.com/", ValueError),
        ("https://api.example.com/?a=b", ValueError),
    ],
)
def test_a_base_url_is_checked(base, error):
    with pytest.raises(error) as caught:
        base_of(httpx2.URL(base))
    assert "secret" not in str(caught.value)
