"""Hosts: one spelling on both sides, what a pattern may say, and whom a certificate names."""

import re
import ssl
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from keypin import HostnameError, PinSet
from keypin.hostnames import certificate_names, normalise, normalise_pattern
from keypin.lab import Authority

PINS = ["sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="]


def matches(pattern: str, host: str) -> bool:
    """Whether a rule for a pattern is the one for a host."""
    return PinSet({pattern: PINS}).rule_for(host) is not None


# One spelling


@pytest.mark.parametrize(
    ("spelling", "host"),
    [
        ("example.com", "example.com"),
        ("EXAMPLE.Com", "example.com"),
        ("example.com.", "example.com"),
        ("EXAMPLE.COM.", "example.com"),
        ("localhost", "localhost"),
        ("a_b._tcp.example.com", "a_b._tcp.example.com"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.example.", "xn--bcher-kva.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("XN--BCHER-KVA.EXAMPLE", "xn--bcher-kva.example"),
        ("bu\u0308cher.example", "xn--bcher-kva.example"),
        ("\u03c3khttp.com", "xn--khttp-fde.com"),
        ("Σkhttp.com", "xn--khttp-fde.com"),
        ("\uff45xample\uff0ecom", "example.com"),
        ("example。com。", "example.com"),
        ("exam\u00adple.com", "example.com"),
        ("\u212a.example", "k.example"),  # the Kelvin sign
        ("127.0.0.1", "127.0.0.1"),
        ("::1", "::1"),
        ("[::1]", "::1"),
        ("0:0:0:0:0:0:0:1", "::1"),
        ("0000:0000:0000:0000:0000:0000:0000:0001", "::1"),
        ("2001:DB8::A", "2001:db8::a"),
        ("[2001:db8:0:0:0:0:0:a]", "2001:db8::a"),
    ],
)
def test_a_host_has_one_spelling(spelling: str, host: str) -> None:
    assert normalise(spelling) == host
    assert matches(host, spelling)
    assert matches(spelling, host)


AMBIGUOUS = {
    "fa\u00df.example": "xn--fa-hia.example",  # sharp s
    "\u03b2\u03cc\u03bb\u03bf\u03c2.com": "xn--nxasmm1c.com",  # final sigma
    "\u0dc1\u0dca\u200d\u0dbb\u0dd3.com": "xn--10cl1a0b660p.com",  # zero-width joiner
    "\u0646\u0627\u0645\u0647\u200c\u0627\u06cc.com": "xn--mgba3gch31f060k.com",  # non-joiner
}
"""What IDNA 2008 and browsers read otherwise than IDNA 2003 and Python's `ssl` (UTS 46, 1.2)."""


@pytest.mark.parametrize(("spelling", "host"), AMBIGUOUS.items())
def test_a_name_is_read_as_browsers_read_it(spelling: str, host: str) -> None:
    """UTS 46, nontransitional."""
    assert normalise(spelling) == host
    assert matches(host, spelling)


@pytest.mark.parametrize("stars", ["", "*.", "**."])
@pytest.mark.parametrize("spelling", AMBIGUOUS)
def test_a_rule_for_a_name_that_python_reads_otherwise_is_an_error(
    spelling: str, stars: str
) -> None:
    """A connection of `ssl` would ask for the other name, and the rule would not hold for it."""
    with pytest.raises(HostnameError, match="to browsers and"):
        normalise_pattern(f"{stars}www.{spelling}")
    assert normalise_pattern(stars + normalise(spelling)) == stars + normalise(spelling)


def test_a_rule_for_a_name_that_python_cannot_read_is_allowed() -> None:
    """IDNA 2003 has other rules for text from right to left; `ssl` reaches no other host by it."""
    hebrew = "\u05d01.example"
    with pytest.raises(UnicodeError):
        hebrew.encode("idna")
    assert normalise_pattern(f"*.{hebrew}") == "*.xn--1-zhc.example"


def test_an_ipv4_address_inside_ipv6_has_one_spelling() -> None:
    """It is the IPv6 address to TLS, and stays one."""
    assert normalise("::ffff:1.2.3.4") == normalise("[0:0:0:0:0:FFFF:0102:0304]")
    assert normalise("::ffff:1.2.3.4") != normalise("1.2.3.4")


NO_HOSTS = {
    "empty": "",
    "a dot": ".",
    "two dots": "..",
    "an empty label in front": ".example.com",
    "an empty label inside": "a..example.com",
    "two dots at the end": "example.com..",
    "a port": "example.com:443",
    "an IPv4 address with a port": "127.0.0.1:443",
    "an IPv6 address with a port": "[::1]:443",
    "half a bracket": "[::1",
    "the other half": "::1]",
    "the other half behind a letter": "x::1]",
    "brackets in brackets": "[[::1]]",
    "brackets around a name": "[example.com]",
    "a scheme": "https://example.com",
    "a path": "example.com/path",
    "a user": "user@example.com",
    "a query": "example.com?x",
    "a space in front": " example.com",
    "a space at the end": "example.com ",
    "a newline at the end": "example.com\n",
    "a NUL": "example.com\0",
    "a NUL inside": "example.com\0.example.org",
    "percent encoding": "ex%61mple.com",
    "an asterisk": "*",
    "a wildcard": "*.example.com",
    "a full-width asterisk": "\uff0a.example.com",
    "a long label": "a" * 64 + ".example.com",
    "a long name": ".".join(["a" * 49] * 5 + ["abcd"]),
    "127.1": "127.1",
    "127.0.1": "127.0.1",
    "four zeros too many": "127.0.0.0.1",
    "a number": "2130706433",
    "hexadecimal": "0x7f000001",
    "hexadecimal and decimal": "0x7f.1",
    "an empty hexadecimal number": "127.0.0.0x",
    "octal": "0177.0.0.1",
    "leading zeros": "127.000.000.001",
    "more than an octet": "256.0.0.1",
    "an IPv4 address and a dot": "127.0.0.1.",
    "a name that ends in a number": "example.1",
    "full-width digits": "\uff11\uff12\uff17.0.0.1",
    "an IPv6 address that is too long": "1:2:3:4:5:6:7:8:9",
    "an IPv6 address and a dot": "::1.",
    "an IPv6 address with a zone": "fe80::1%eth0",
    "a name in a zone": "::1%.example.com",
    "half a surrogate": "\ud800.example",
    "a joiner": "\u200d.example",
    "an emoji": "\U0001f511.example",
    "right-to-left override": "\u202eexample.com",
}


@pytest.mark.parametrize("host", NO_HOSTS.values(), ids=NO_HOSTS)
def test_what_is_no_host_is_an_error(host: str) -> None:
    with pytest.raises(HostnameError):
        normalise(host)


@pytest.mark.parametrize("host", [None, 5, b"example.com"])
def test_a_host_is_text(host: object) -> None:
    with pytest.raises(HostnameError):
        normalise(host)  # type: ignore[arg-type]
    with pytest.raises(HostnameError):
        normalise_pattern(host)  # type: ignore[arg-type]


def test_names_and_labels_may_be_as_long_as_the_dns_allows() -> None:
    label = "a" * 63
    assert normalise(f"{label}.example") == f"{label}.example"
    name = ".".join(["a" * 49] * 5 + ["abc"])
    assert len(name) == 253
    assert normalise(name + ".") == name


# Patterns


@pytest.mark.parametrize(
    ("spelling", "pattern"),
    [
        ("API.Example.com.", "api.example.com"),
        ("*.Example.com.", "*.example.com"),
        ("**.EXAMPLE.com", "**.example.com"),
        ("*.bücher.example", "*.xn--bcher-kva.example"),
        ("**.a.b.c.example", "**.a.b.c.example"),
        ("localhost", "localhost"),
        ("[::1]", "::1"),
        ("127.0.0.1", "127.0.0.1"),
    ],
)
def test_a_pattern_has_one_spelling(spelling: str, pattern: str) -> None:
    assert normalise_pattern(spelling) == pattern


NO_PATTERNS = {
    "empty": "",
    "a dot": ".",
    "one asterisk": "*",
    "two asterisks": "**",
    "three asterisks": "***",
    "nothing below one": "*.",
    "nothing below two": "**.",
    "dots below": "*..",
    "an empty label": "*..example.com",
    "every name of a top-level domain": "*.com",
    "a whole top-level domain": "**.com",
    "a top-level domain with a dot": "**.com.",
    "localhost": "**.localhost",
    "three asterisks in front": "***.example.com",
    "a wildcard inside": "a.*.com",
    "a wildcard at the end": "example.*",
    "a wildcard for the domain": "www.*",
    "two wildcards": "*.*.com",
    "two deep wildcards": "**.**.com",
    "a wildcard twice": "*.*.example.com",
    "a wildcard of both kinds": "**.*.example.com",
    "part of a label in front": "*a.example.com",
    "part of a label at the end": "a*.example.com",
    "part of a label inside": "a*b.example.com",
    "part of an A-label": "xn--*.example.com",
    "a full-width asterisk": "\uff0a.example.com",
    "an ideographic full stop": "*。example.com",
    "below an IPv4 address": "**.1.2.3.4",
    "one label below an IPv4 address": "*.1.2.3.4",
    "part of an IPv4 address": "*.2.3.4",
    "below an IPv6 address": "**.::1",
    "below an IPv6 address in brackets": "*.[::1]",
    "below an IPv4 address inside IPv6": "**.::ffff:1.2.3.4",
    "a port": "*.example.com:443",
    "a scheme": "https://*.example.com",
    "a space": "*. example.com",
    "a newline": "*.example.com\n",
    "a long name": "*." + NO_HOSTS["a long name"],
}


@pytest.mark.parametrize("pattern", NO_PATTERNS.values(), ids=NO_PATTERNS)
def test_what_is_no_pattern_is_an_error(pattern: str) -> None:
    with pytest.raises(HostnameError):
        normalise_pattern(pattern)


@pytest.mark.parametrize("pattern", ["*", "**", "a.*.com", "*a.example.com", "***.example.com"])
def test_an_error_says_what_a_wildcard_may_be(pattern: str) -> None:
    with pytest.raises(HostnameError, match=r"a wildcard is '\*\.' or '\*\*\.' before a domain"):
        normalise_pattern(pattern)


@pytest.mark.parametrize("case", sorted(NO_HOSTS.keys() - {"a wildcard"}))
def test_a_pattern_is_no_laxer_than_a_host(case: str) -> None:
    with pytest.raises(HostnameError):
        normalise_pattern(NO_HOSTS[case])


@pytest.mark.parametrize(
    ("pattern", "host", "expected"),
    [
        # An exact name is that host.
        ("example.com", "example.com", True),
        ("example.com", "www.example.com", False),
        ("example.com", "com", False),
        ("example.com", "notexample.com", False),
        ("example.com", "example.com.notexample.com", False),
        # OkHttp: one asterisk is exactly one label.
        ("*.example.com", "a.example.com", True),
        ("*.example.com", "example.com", False),
        ("*.example.com", "a.b.example.com", False),
        ("*.example.com", "a.example.com.notexample.com", False),
        ("*.example.com", "notexample.com", False),
        ("*.example.com", "ple.com", False),
        ("*.example.com", "com", False),
        ("*.example.com", "A.EXAMPLE.COM", True),
        ("*.EXAMPLE.com", "a.example.com.", True),
        # Two asterisks are the host and all below.
        ("**.example.com", "example.com", True),
        ("**.example.com", "a.example.com", True),
        ("**.example.com", "a.b.c.example.com", True),
        ("**.example.com", "notexample.com", False),
        ("**.example.com", "a.notexample.com", False),
        ("**.example.com", "example.com.notexample.com", False),
        ("**.example.com", "ple.com", False),
        ("**.example.com", "com", False),
        ("**.\u03c3khttp.com", "a.xn--khttp-fde.com", True),
        # TrustKit: the name of the domain inside that of a host below it.
        ("**.www.good.com", "sub.www.good.com.www.good.com", True),
        ("**.good.com", "good.com.otherdomaingood.com", False),
        ("**.www.good.com", "good.com", False),
        # Addresses are themselves only.
        ("1.2.3.4", "1.2.3.4", True),
        ("1.2.3.4", "1.2.3.5", False),
        ("::1", "[0::1]", True),
    ],
)
def test_a_pattern_matches_as_written(pattern: str, host: str, *, expected: bool) -> None:
    assert matches(pattern, host) is expected


@pytest.mark.parametrize("pattern", ["example.com", "*.example.com", "**.example.com"])
def test_an_empty_label_matches_nothing(pattern: str) -> None:
    """OkHttp's `a..example.com`: it is no host, so it is no host in a rule either."""
    with pytest.raises(HostnameError):
        matches(pattern, "a..example.com")


# Certificates (RFC 9525)


def dns(*names: str) -> dict[str, Any]:
    return {"subjectAltName": tuple(("DNS", name) for name in names)}


def ip(*addresses: str) -> dict[str, Any]:
    return {"subjectAltName": tuple(("IP Address", address) for address in addresses)}


def test_a_certificate_names_its_dns_names() -> None:
    certificate = dns("example.com", "WWW.Example.Com")
    assert certificate_names("example.com", certificate)
    assert certificate_names("www.example.com", certificate)
    assert not certificate_names("com", certificate)
    assert not certificate_names("a.www.example.com", certificate)


@pytest.mark.parametrize(
    ("name", "host", "expected"),
    [
        ("*.example.com", "a.example.com", True),
        ("*.EXAMPLE.com", "a.example.com", True),
        ("*.example.com", "xn--bcher-kva.example.com", True),
        ("*.example.com", "example.com", False),
        ("*.example.com", "a.b.example.com", False),
        ("*.com", "example.com", False),
        ("*", "localhost", False),
        ("*.", "localhost", False),
        ("a*.example.com", "ab.example.com", False),
        ("*b.example.com", "ab.example.com", False),
        ("a*c.example.com", "abc.example.com", False),
        ("xn--*.example.com", "xn--bcher-kva.example.com", False),
        ("a.*.com", "a.example.com", False),
        ("*.*.com", "a.example.com", False),
        ("*.*.example.com", "a.b.example.com", False),
        ("**.example.com", "a.example.com", False),
        (".example.com", "a.example.com", False),
        ("example.com.", "example.com", False),
        ("example.com\0.example.org", "example.com", False),
        ("example.com\0", "example.com", False),
        ("\u212a.example.com", "k.example.com", False),
        ("*.\u212a.example", "a.k.example", False),
        ("", "example.com", False),
    ],
)
def test_a_wildcard_is_one_whole_leftmost_label(name: str, host: str, *, expected: bool) -> None:
    """RFC 9525, section 6.3; nor do names match that only look the same."""
    assert certificate_names(host, dns(name)) is expected


def test_the_common_name_is_not_looked_at() -> None:
    """RFC 9525, section 2."""
    subject = ((("commonName", "example.com"),),)
    assert not certificate_names("example.com", {"subject": subject})
    assert not certificate_names("example.com", {"subject": subject, "subjectAltName": ()})
    assert not certificate_names("example.com", {})


def test_an_ip_address_is_compared_with_ip_addresses_only() -> None:
    """RFC 9525, section 6.5."""
    assert certificate_names("1.2.3.4", ip("1.2.3.4"))
    assert not certificate_names("1.2.3.4", ip("1.2.3.5"))
    assert not certificate_names("1.2.3.4", dns("1.2.3.4"))
    assert not certificate_names("1.2.3.4", dns("*.2.3.4"))
    assert not certificate_names("example.com", ip("example.com"))
    assert certificate_names("::1", ip("0:0:0:0:0:0:0:1"))
    assert certificate_names("2001:db8::a", ip("2001:DB8:0:0:0:0:0:A"))
    assert not certificate_names("::1", dns("::1"))
    assert not certificate_names("::1", ip("<invalid>"))


@pytest.mark.parametrize("kind", ["URI", "email", "DirName", "othername", "Registered ID"])
def test_other_kinds_of_names_do_not_count(kind: str) -> None:
    assert not certificate_names("example.com", {"subjectAltName": ((kind, "example.com"),)})


NAMES = [
    "example.com",
    "*.example.org",
    "example.net\0.evil.example",
    "1.2.3.4",
    "2001:db8::a",
    "::ffff:1.2.3.5",
]


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("example.com", True),
        ("www.example.com", False),
        ("www.example.org", True),
        ("example.org", False),
        ("example.net", False),
        ("1.2.3.4", True),
        ("1.2.3.5", False),
        ("::ffff:1.2.3.5", True),
        ("2001:db8::a", True),
        ("2001:db8::b", False),
        ("common-name.example", False),
    ],
)
def test_the_names_of_a_real_certificate_are_read(
    tmp_path: Path, host: str, *, expected: bool
) -> None:
    """The fields as this Python's `ssl` gives them, with its own spelling of addresses."""
    leaf = Authority().issue(*NAMES, common_name="common-name.example")
    file = tmp_path / "certificate.pem"
    file.write_bytes(leaf.chain_pem)
    fields = ssl._ssl._test_decode_cert(str(file))  # type: ignore[attr-defined]
    assert len(fields["subjectAltName"]) == len(NAMES)
    assert certificate_names(normalise(host), fields) is expected


# Properties


LABELS = st.text(alphabet="abz019-_", min_size=1, max_size=8)
NAMES_OF_HOSTS = st.lists(LABELS, min_size=1, max_size=5).map(".".join)
ADDRESSES = st.ip_addresses().map(str) | st.ip_addresses(v=6).map(lambda ip: f"[{ip.exploded}]")
ODD = st.text(alphabet="aA0159xXfF.。\uff0e:[]%*\uff0a-_ \0\nüßßς\u200d\u0308\uff11éK/@")
TEXTS = st.one_of(
    st.text(), ODD, NAMES_OF_HOSTS, ADDRESSES, st.text(alphabet="0123456789abcdefx.:")
)
PATTERNS = st.one_of(
    TEXTS, st.builds("".join, st.tuples(st.sampled_from(["*", "**", "*.", "**.", "*。"]), TEXTS))
)
NORMAL = re.compile(r"(?:[a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}")


@settings(max_examples=2000)
@given(TEXTS)
@example("1.2.3.4")
@example("::1%1")
@example("xn--a.example")
@example("xn--\u00fc.example")
def test_any_text_is_a_host_in_normal_form_or_an_error(text: str) -> None:
    try:
        host = normalise(text)
    except HostnameError:
        return
    assert normalise(host) == host
    try:
        assert host == str(ip_address(host))
        assert "%" not in host
    except ValueError:
        assert len(host) <= 253
        assert NORMAL.fullmatch(host)
        assert not host.rpartition(".")[2].isdigit()


@settings(max_examples=2000)
@given(PATTERNS)
@example("*.1.2.3.4")
@example("**.xn--a.example")
def test_any_text_is_a_pattern_in_normal_form_or_an_error(text: str) -> None:
    try:
        pattern = normalise_pattern(text)
    except HostnameError:
        return
    assert normalise_pattern(pattern) == pattern
    stars, _, domain = pattern.rpartition("*.")
    assert stars in {"", "*"}
    assert normalise(domain) == domain
    if pattern != domain:
        assert NORMAL.fullmatch(domain)
        assert "." in domain


@settings(max_examples=1000)
@given(st.lists(TEXTS, min_size=2, max_size=2) | TEXTS.map(lambda text: [text, text.swapcase()]))
def test_hosts_match_exactly_if_their_normal_forms_are_equal(texts: list[str]) -> None:
    try:
        first, second = map(normalise, texts)
    except HostnameError:
        return
    assert matches(first, texts[1]) is (first == second)


@given(NAMES_OF_HOSTS)
def test_case_and_a_trailing_dot_make_no_difference(host: str) -> None:
    assume(not host.rpartition(".")[2].isdigit())
    name = normalise(host)
    assert name == host
    for spelling in (host.upper(), host.title(), host + ".", host.upper() + "."):
        assert normalise(spelling) == name


@given(st.ip_addresses())
def test_an_ip_address_has_one_spelling(address: Any) -> None:
    spellings = {str(address), address.exploded, address.exploded.upper(), f"[{address}]"}
    assert {normalise(spelling) for spelling in spellings} == {str(address)}


@given(NAMES_OF_HOSTS | ADDRESSES | TEXTS, TEXTS)
def test_a_certificate_without_wildcards_names_only_the_host_itself(host: str, name: str) -> None:
    """And never raises, whatever names it has."""
    try:
        host = normalise(host)
    except HostnameError:
        return
    assume(not name.startswith("*."))
    assert certificate_names(host, {**dns(name)}) <= (name.lower() == host)
    assert not certificate_names(host, ip(name)) or normalise(name.strip()) == host


@pytest.mark.parametrize(
    "host", ["faß.example.com", "**.faß.example.com", "*.βόλος.example.com", "ẞ.example.com"]
)
def test_a_pattern_that_python_would_connect_elsewhere_with_is_refused(host):
    """`ssl` encodes by IDNA 2003, where faß is fass: the rule would silently not hold."""
    with pytest.raises(HostnameError, match="write the one you mean"):
        normalise_pattern(host)


def test_the_same_host_written_as_an_a_label_means_one_thing():
    assert normalise_pattern("**.xn--fa-hia.example.com") == "**.xn--fa-hia.example.com"
    assert normalise_pattern("bücher.example.com") == "xn--bcher-kva.example.com"
