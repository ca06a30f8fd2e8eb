"""What `keypin check --lint` says of a file, without any network."""

from __future__ import annotations

import socket
from datetime import timedelta

import pytest
from check_scene import NOW

from keypin import Pin
from keypin.checking.lint import Code, lint
from keypin.checking.ownership import PROVIDERS, provider_of, registry_suffix, shared_suffix
from keypin.pinfile import Defaults, HostEntry, PinEntry, PinFile

ONE, TWO, THREE = (Pin.from_digest(bytes([number]) * 32) for number in (1, 2, 3))
GOOD = (ONE, PinEntry(TWO, "backup"))
MONTH = timedelta(days=30)


def kinds(*hosts: HostEntry, defaults: Defaults | None = None) -> dict[str, set[str]]:
    """The kinds of findings for each entry, as "severity code"."""
    found: dict[str, set[str]] = {}
    for finding in lint(PinFile(hosts, defaults=defaults), NOW, MONTH):
        assert finding.host is not None
        found.setdefault(finding.host, set()).add(f"{finding.severity} {finding.code}")
    return found


def of(host: HostEntry) -> set[str]:
    """The same for a file of one entry."""
    [found] = kinds(host).values()
    return found


def test_two_pins_one_of_them_a_backup_are_sound():
    assert of(HostEntry("api.example.com", GOOD)) == {"ok sound"}
    planned = [ONE, PinEntry(TWO, "planned")]
    assert of(HostEntry("**.example.com", planned)) == {"ok sound"}


def test_one_pin_is_a_warning_and_a_revoked_one_does_not_count():
    assert of(HostEntry("a.example.com", [ONE])) == {"warning few-pins"}
    revoked = [ONE, PinEntry(TWO, "revoked")]
    assert of(HostEntry("a.example.com", revoked)) == {"warning few-pins"}


def test_an_authoritys_key_can_match_nothing_where_only_servers_keys_count():
    own = PinEntry(THREE, authority="own")
    leaf = Defaults(match="leaf")
    [found] = kinds(HostEntry("a.example.com", [*GOOD, own]), defaults=leaf).values()
    assert found == {"warning pin-without-effect"}
    [found] = kinds(HostEntry("a.example.com", [own], match="leaf")).values()
    assert found == {"warning few-pins", "critical pin-without-effect"}
    revoked = PinEntry(THREE, "revoked", authority="own")
    assert of(HostEntry("a.example.com", [*GOOD, revoked], match="leaf")) == {"ok sound"}


def test_authorities_alone_are_a_warning_unless_one_is_the_teams_own():
    def pins(*authorities):
        return [
            PinEntry(pin, role, authority=authority)
            for pin, role, authority in zip(
                (ONE, TWO), ("active", "backup"), authorities, strict=True
            )
        ]

    host = "a.example.com"
    assert of(HostEntry(host, pins("other", "other"))) == {"warning authorities-only"}
    for authorities in (("other", "own"), ("own", "own"), ("other", None)):
        assert of(HostEntry(host, pins(*authorities))) == {"ok sound"}


def test_pins_without_a_backup_are_a_warning_unless_servers_leave_one_unused():
    host = HostEntry("a.example.com", [ONE, TWO])
    assert of(host) == {"warning no-backup"}
    file = PinFile([host])
    for seen, expected in (({ONE, TWO}, Code.NO_BACKUP), ({ONE}, Code.SOUND)):
        [found] = lint(file, NOW, MONTH, seen=lambda entry, seen=seen: frozenset(seen))
        assert found.code == expected


@pytest.mark.parametrize(
    ("days", "on_expiry", "expected"),
    [
        (31, "enforce", "ok sound"),
        (29, "enforce", "warning pins-expire"),
        (29, "allow", "warning pins-expire"),
        (-1, "enforce", "warning pins-expired"),
        (-1, "allow", "critical pins-expired"),
    ],
)
def test_pins_near_or_past_their_expiry(days, on_expiry, expected):
    expires = NOW + timedelta(days=days)
    written = HostEntry("a.example.com", GOOD, expires=expires, on_expiry=on_expiry)
    inherited = HostEntry("a.example.com", GOOD, expires=expires)
    assert of(written) == {expected}
    [found] = kinds(inherited, defaults=Defaults(on_expiry=on_expiry)).values()
    assert found == {expected}


def test_a_key_that_is_revoked_for_one_host_and_accepted_for_another_is_critical():
    lost = HostEntry("a.example.com", [*GOOD, PinEntry(THREE, "revoked")])
    found = kinds(lost, HostEntry("b.example.com", [ONE, PinEntry(THREE, "backup")]))
    assert found["b.example.com"] == {"critical revoked-elsewhere"}
    assert found["a.example.com"] == {"ok sound"}
    # an authority that is denied for one host may be another's
    denied = HostEntry("a.example.com", GOOD, [THREE])
    found = kinds(denied, HostEntry("b.example.com", [ONE, PinEntry(THREE, "backup")]))
    assert found["b.example.com"] == {"ok sound"}


@pytest.mark.parametrize(
    ("wide", "narrow"),
    [
        ("**.example.com", "api.example.com"),
        ("*.example.com", "api.example.com"),
        ("**.example.com", "example.com"),
        ("**.example.com", "*.example.com"),
        ("**.example.com", "**.api.example.com"),
        ("**.example.com", "*.a.api.example.com"),
    ],
)
def test_an_entry_that_takes_hosts_from_a_stricter_one_is_a_warning(wide, narrow):
    strict = HostEntry(wide, GOOD, [THREE], match="leaf")
    for weaker in (
        HostEntry(narrow, GOOD, match="leaf"),
        HostEntry(narrow, GOOD, [THREE], match="leaf", mode="report"),
        HostEntry(narrow, GOOD, [THREE], match="leaf", on_expiry="allow"),
        HostEntry(narrow, GOOD, [THREE], match="chain"),
    ):
        found = kinds(strict, weaker)
        assert found == {wide: {"ok sound"}, narrow: {"warning rule-shadowed"}}
    other_keys = HostEntry(narrow, [ONE, PinEntry(Pin.from_digest(bytes(32)), "backup")], [THREE],
                           match="leaf")  # fmt: skip
    assert kinds(strict, other_keys)[narrow] == {"ok sound"}
    assert kinds(strict, HostEntry(narrow, exclude=True)) == {wide: {"ok sound"}}


def test_the_nearest_wider_entry_counts():
    outer = HostEntry("**.example.com", GOOD, [THREE])
    hole = HostEntry("**.open.example.com", exclude=True)
    inner = HostEntry("api.open.example.com", GOOD)
    assert kinds(outer, hole, inner)["api.open.example.com"] == {"ok sound"}


def test_an_entry_that_says_the_same_as_a_wider_one_is_a_warning():
    wide = HostEntry("**.example.com", GOOD)
    assert kinds(wide, HostEntry("a.example.com", reversed(GOOD)))["a.example.com"] == {
        "warning rule-redundant"
    }
    assert kinds(wide, HostEntry("a.example.org", GOOD))["a.example.org"] == {"ok sound"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("**.co.uk", "critical wildcard-too-wide"),
        ("*.github.io", "warning wildcard-too-wide"),
        ("shop.github.io", "warning host-not-yours"),
        ("**.shop.github.io", "warning host-not-yours"),
        ("d111111abcdef8.cloudfront.net", "warning host-not-yours"),
        ("shop.azurewebsites.net", "warning host-not-yours"),
        ("api.stripe.com", "warning host-not-yours"),
        ("**.database.windows.net", "warning host-not-yours"),
        ("example.co.uk", "ok sound"),
        ("**.example.co.uk", "ok sound"),
        ("notstripe.com", "ok sound"),
        ("api.corp.internal", "ok sound"),
        ("**.corp.internal", "ok sound"),
        ("localhost", "ok sound"),
        ("192.0.2.1", "ok sound"),
        ("2001:db8::1", "ok sound"),
    ],
)
def test_hosts_and_patterns_of_which_others_dispose(name, expected):
    assert of(HostEntry(name, GOOD)) == {expected}


def test_the_list_of_providers_has_sources_and_nothing_that_the_public_suffixes_know():
    for domain, source in PROVIDERS.items():
        assert provider_of(f"a.b.{domain}") == domain
        assert "/" in source
        assert shared_suffix(f"some-name.{domain}") is None
        assert not registry_suffix(domain)


def test_lint_uses_no_network(keypin_check, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("lint connects")

    for name in ("getaddrinfo", "create_connection"):
        monkeypatch.setattr(socket, name, refuse)
    code, output, _ = keypin_check([HostEntry("api.example.com", GOOD)], "--lint")
    assert (code, output.splitlines()[-1]) == (0, "1 host: 1 ok")


def test_lint_can_be_asked_about_some_hosts_only(check):
    hosts = [HostEntry("**.example.com", GOOD), HostEntry("api.example.org", [ONE])]
    assert check(hosts, "--lint").code == 1
    some = check(hosts, "--lint", "www.example.com")
    assert (some.code, [finding["host"] for finding in some.found]) == (0, ["**.example.com"])
    none = check(hosts, "--lint", "www.example.net")
    assert (none.code, none.found) == (3, [])


def test_what_lint_finds_is_part_of_every_check(check):
    checked = check([HostEntry("nowhere.invalid", [ONE])])
    assert checked.trouble == {("unknown", "no-address"), ("warning", "few-pins")}
