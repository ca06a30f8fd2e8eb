"""Plans: who survives which way of changing keys, compared with clients that are counted out."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace
from datetime import date, timedelta
from itertools import pairwise

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from keypin import Pin
from keypin.pinfile import Defaults, HostEntry, PinEntry, PinFile
from keypin.planning import Impossible, Policy, Start, make_plan
from keypin.planning.advice import alternatives
from keypin.planning.clients import (
    Service,
    Version,
    carried,
    expired,
    first_refusals,
    refusals,
    without_spare,
)
from keypin.planning.picture import draw
from keypin.planning.schedule import public_limit
from keypin.planning.start import start_of
from keypin.planning.story import first_break, notes, tell
from keypin.planning.story import settings as told_settings

FIRST = date(2026, 11, 21)
LAST = FIRST + timedelta(days=730)
HOST = "api.example.com"
A, B, C, D = (Pin.from_digest(bytes([number]) * 32) for number in range(4))


def day(number):
    return FIRST + timedelta(days=number)


def span(one):
    return {one.first + timedelta(days=n) for n in range((one.last - one.first).days + 1)}


# Who carries what, and refuses whom: every client on every day

KEYS = st.frozensets(st.sampled_from("abcd"))


@st.composite
def histories(draw):
    """Pin files, keys in service, and how long a pin file takes to be with everybody."""
    begins = sorted(draw(st.sets(st.integers(1, 60), max_size=5)))
    versions = [
        Version(
            f"version {number}",
            day(begin),
            draw(st.none() | KEYS),
            draw(st.none() | st.integers(0, 70).map(day)),
            draw(st.booleans()),
        )
        for number, begin in enumerate([0, *begins])
    ]
    services = [
        Service(key, day(begin), day(begin + length))
        for key, begin, length in draw(
            st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 60), st.integers(0, 40)))
        )
    ]
    return versions, services, draw(st.integers(0, 30))


def newest(versions, today):
    return next((v for v in reversed(versions) if v.published <= today), versions[0])


def on_days(services, last):
    return {
        today: {service.key for service in services if service.first <= today <= service.last}
        for today in map(day, range(last + 1))
    }


@given(histories())
@settings(max_examples=150, deadline=None)
def test_the_clients_that_refuse_are_those_found_by_asking_every_client_on_every_day(history):
    versions, services, reach = history
    last = 75
    expected = set()
    for today, served in on_days(services, last).items():
        for lag in range(reach + 1):
            version = newest(versions, today - timedelta(days=lag))
            is_open = version.fails_open and version.expires and today >= version.expires
            for key in served:
                if version.keys is not None and key not in version.keys and not is_open:
                    expected.add((version.name, key, today))
    found = refusals(carried(versions, reach, FIRST, day(last)), services)
    assert {(one.version, one.key, today) for one in found for today in span(one)} == expected
    if found:
        assert found[0].first == min(today for _, _, today in expected)


@given(histories())
@settings(max_examples=100, deadline=None)
def test_clients_that_never_update_keep_any_version_that_was_ever_newest(history):
    versions, services, _ = history
    last = 75
    expected = set()
    for today, served in on_days(services, last).items():
        for version in versions:
            is_open = version.fails_open and version.expires and today >= version.expires
            if version.published <= today and version.keys is not None and not is_open:
                expected |= {(version.name, key, today) for key in served - version.keys}
    clients = carried(versions, None, FIRST, day(last))
    found = refusals(clients, services)
    assert {(one.version, one.key, today) for one in found for today in span(one)} == expected
    firsts = {one.version: one.first for one in first_refusals(clients, services)}
    assert firsts == {
        name: min(today for other, _, today in expected if other == name)
        for name in {name for name, _, _ in expected}
    }


@given(histories())
@settings(max_examples=150, deadline=None)
def test_the_days_without_a_spare_key_are_those_on_which_no_idle_key_suits_all(history):
    versions, services, reach = history
    last = 75
    expected = set()
    for today, served in on_days(services, last).items():
        known = [newest(versions, today - timedelta(days=lag)).keys for lag in range(reach + 1)]
        pinned = [keys for keys in known if keys is not None]
        if pinned and not frozenset.intersection(*pinned) - served:
            expected.add(today)
    gaps = without_spare(carried(versions, reach, FIRST, day(last)), services, day(last))
    assert {today for gap in gaps for today in span(gap)} == expected
    assert all(one.last + timedelta(days=1) < two.first for one, two in pairwise(gaps))


@given(histories())
@settings(max_examples=50, deadline=None)
def test_expired_pins_are_told_for_as_long_as_somebody_carries_them(history):
    versions, _, reach = history
    last = 75
    expected = {
        (version.name, today)
        for today in map(day, range(last + 1))
        for version in {newest(versions, today - timedelta(days=lag)) for lag in range(reach + 1)}
        if version.expires is not None and version.expires <= today
    }
    found = expired(carried(versions, reach, FIRST, day(last)))
    assert {(gap.version, today) for gap in found for today in span(gap)} == expected


# What a team does: played day by day


def play(policy, last):
    """What is served, and what the newest pin file has, on each day; for `Start.anew`."""
    names = ["key 1"] + [f"key {number}" for number in range(2, 3000)]
    issued, key, changed = FIRST, 0, FIRST  # of the newest certificate
    goes_live = [(FIRST, 0)]  # when which key is first shown
    made = [FIRST]  # when the certificate of each key is issued
    ahead = policy.keys_ahead or 0
    served, pinned = {}, {}
    for number in range(last + 1):
        today = day(number)
        lifetime = policy.lifetime
        if policy.public:
            lifetime = min(lifetime, public_limit(issued))
        before = policy.renew_before or max(1, lifetime // 3)
        is_due = today >= issued + timedelta(days=lifetime - before)
        rotates = policy.rotate == "renewal" and is_due
        if isinstance(policy.rotate, int):
            rotates = today >= changed + timedelta(days=policy.rotate)
        if number and (is_due or rotates):
            issued = today
            if rotates:
                key, changed = key + 1, today
                made.append(today)
                goes_live.append((today + timedelta(days=policy.hold), key))
        live = [(since, one) for since, one in goes_live if since <= today]
        overlap = timedelta(days=policy.overlap)
        recent = [one for since, one in live if since + overlap <= today]
        settled = max(recent, default=0)
        served[today] = {names[one] for _, one in live if one >= settled}
        wanted = set(range(settled, settled + ahead + 1))
        if policy.at_renewal:
            wanted |= set(range(settled, len(made)))
        pinned[today] = {names[one] for one in wanted}
    return served, pinned


@st.composite
def policies(draw, public=False):
    lifetime = draw(st.integers(6, 400))
    before = draw(st.integers(2, lifetime - 1))
    overlap = draw(st.integers(1, before - 1))
    rotate = draw(st.sampled_from(["renewal", "never"]) | st.integers(5, 200))
    at_renewal = rotate == "renewal" and draw(st.booleans())
    return Policy(
        adoption=draw(st.integers(0, 40)),
        refresh=draw(st.integers(0, 20)),
        lifetime=lifetime,
        renew_before=before,
        rotate=rotate,
        keys_ahead=0 if at_renewal else draw(st.integers(1, 3)),
        hold=draw(st.integers(0, before - overlap)) if at_renewal else 0,
        overlap=overlap,
        public=public,
    )


@given(policies())
@settings(max_examples=150, deadline=None)
def test_a_plan_is_what_a_team_does_that_is_watched_day_by_day(policy):
    last = 300
    assume(not policy.at_renewal or policy.reach < policy.lifetime)
    served, pinned = play(policy, last)
    if policy.rotate == "never":
        pinned = {today: {"key 1", "key 2"} for today in pinned}
    plan = make_plan(policy, Start.anew(FIRST), day(last))
    assert on_days(plan.services, last) == served
    assert {today: newest(plan.versions, today).keys for today in pinned} == pinned
    # and clients break on just these days
    breaking = set()
    for today, keys in served.items():
        for lag in range(policy.reach + 1):
            known = pinned[max(FIRST, today - timedelta(days=lag))]
            breaking |= {(today, key) for key in keys - known}
    assert {(today, one.key) for one in plan.refusals for today in span(one)} == breaking
    for certificate in plan.certificates:
        assert certificate.last < certificate.expires


@given(policies())
@settings(max_examples=100, deadline=None)
def test_with_as_many_keys_ahead_as_it_takes_no_client_breaks_and_any_key_may_be_lost(policy):
    plan = make_plan(replace(policy, keys_ahead=None, hold=0), Start.anew(FIRST), day(500))
    assert plan.refusals == plan.unspared == ()
    if plan.keys_ahead > 2:
        fewer = replace(policy, keys_ahead=plan.keys_ahead - 2, hold=0)
        assert make_plan(fewer, Start.anew(FIRST), day(500)).refusals


@given(st.integers(2, 100), st.integers(0, 60), st.integers(1, 5))
@settings(max_examples=100, deadline=None)
def test_keys_made_at_renewals_are_possible_just_if_the_pin_outruns_the_certificate(
    lifetime, reach, overlap
):
    """Certificates that are held back until the pin is everywhere: the most that can be done."""
    policy = Policy(
        adoption=reach,
        lifetime=lifetime,
        renew_before=reach + overlap,
        hold=reach,
        overlap=overlap,
        rotate="renewal",
        keys_ahead=0,
        public=False,
    )
    if reach + overlap >= lifetime:
        with pytest.raises(Impossible):
            make_plan(policy, Start.anew(FIRST), day(300))
    else:
        assert make_plan(policy, Start.anew(FIRST), day(300)).refusals == ()


def test_a_key_may_go_into_service_on_the_day_its_pin_is_everywhere_and_no_day_before():
    policy = Policy(adoption=30, refresh=7)
    entry = PinEntry(B, "planned", not_before=day(37))
    file = file_of(PinEntry(A), entry)
    assert plan_of(file, policy, published=FIRST).refusals == ()
    early = plan_of(file, policy, published=day(0), not_before={B: day(36)})
    [refusal] = early.refusals
    assert (refusal.version, refusal.first, refusal.last) == ("an older version", day(36), day(36))


def test_a_pin_is_withdrawn_only_when_no_server_shows_the_key():
    policy = Policy(refresh=1, lifetime=40, rotate=100, overlap=9)
    plan = make_plan(policy, Start.anew(FIRST), LAST)
    first, second = plan.versions[:2]
    assert first.keys - second.keys == {"key 1"}
    [service] = [service for service in plan.services if service.key == "key 1"]
    assert second.published == service.last + timedelta(days=1) == day(109)


# What is impossible, and why


NEW_KEYS = Policy(adoption=30, refresh=7, lifetime=47, rotate="renewal", keys_ahead=0)


@pytest.mark.parametrize(
    ("policy", "why"),
    [
        (replace(NEW_KEYS, adoption=60), "can never be everywhere before the key is served"),
        (replace(NEW_KEYS, adoption=40), "47 days .40 to install it, 7 to look for it."),
        (replace(NEW_KEYS, renew_before=47), "due at once"),
        (replace(NEW_KEYS, hold=15), "the old one would have expired"),
        (replace(NEW_KEYS, keys_ahead=1, hold=5), "keys made ahead have no need of it"),
        (replace(NEW_KEYS, rotate="never", keys_ahead=0), "without a key ahead"),
        (replace(NEW_KEYS, expire_after=37), "have expired before they are with all clients"),
        (Policy(refresh=1, lifetime=1), "due at once"),
        (
            Policy(refresh=1, lifetime=398, renew_before=60),
            "47 days, as public authorities issue on 20(29|30)-.*, cannot be renewed 60 days",
        ),
    ],
)
def test_what_is_impossible_is_refused_with_the_reason(policy, why):
    with pytest.raises(Impossible, match=why):
        make_plan(policy, Start.anew(FIRST), FIRST + timedelta(days=1500))


def test_what_just_works_is_not_refused():
    held = replace(NEW_KEYS, adoption=30, hold=14)
    make_plan(held, Start.anew(FIRST), LAST)
    make_plan(replace(NEW_KEYS, adoption=39), Start.anew(FIRST), LAST)
    make_plan(
        Policy(refresh=1, lifetime=398, renew_before=60, public=False), Start.anew(FIRST), LAST
    )


def test_a_certificate_that_has_expired_is_no_start():
    with pytest.raises(Impossible, match="has expired on 2026-11-21"):
        make_plan(Policy(lifetime=30), Start.anew(FIRST, day(-30)), LAST)
    make_plan(Policy(lifetime=30), Start.anew(FIRST, day(-29)), LAST)


# Other ways


def test_every_way_out_was_tried_and_works():
    ways = alternatives(NEW_KEYS, Start.anew(FIRST), LAST)
    assert [way.options for way in ways] == [
        "--reuse-key", "--keys-ahead 3", "--renew-before 38d --hold 37d"
    ]  # fmt: skip
    assert all(way.plan.refusals == () for way in ways)


def test_a_way_out_that_does_not_work_is_not_offered():
    ways = alternatives(replace(NEW_KEYS, adoption=60), Start.anew(FIRST), LAST)
    assert [way.options for way in ways] == ["--reuse-key", "--keys-ahead 4"]


def test_a_way_out_that_leaves_one_trouble_of_two_is_not_offered():
    policy = Policy(adoption=30, lifetime=47, rotate="renewal", keys_ahead=2)
    plan = plan_of(file_of(OLD, NEXT), policy, older=[file_of(OLD, version=6)])
    assert plan.refusals
    [way] = alternatives(policy, plan.start, LAST)
    assert "later" in way.what


# Public authorities


@pytest.mark.parametrize(
    ("issued", "most"),
    [(date(2026, 3, 14), 398), (date(2026, 3, 15), 200), (date(2027, 3, 14), 200),
     (date(2027, 3, 15), 100), (date(2029, 3, 14), 100), (date(2029, 3, 15), 47),
     (date(2040, 1, 1), 47), (date(2019, 1, 1), 825)],
)  # fmt: skip
def test_how_long_public_authorities_issue_for(issued, most):
    assert public_limit(issued) == most


@given(policies(public=True), st.none() | st.integers(100, 825))
@settings(max_examples=50, deadline=None)
def test_no_certificate_is_planned_that_public_authorities_would_not_issue(policy, lifetime):
    policy = replace(policy, lifetime=lifetime, renew_before=None, overlap=1, hold=0)
    assume(not policy.at_renewal or policy.reach < 47)
    plan = make_plan(policy, Start.anew(FIRST), FIRST + timedelta(days=1100))
    for one in plan.certificates:
        lasts = (one.expires - one.issued).days
        assert lasts == min(lifetime or 825, public_limit(one.issued))
        assert one.limited == (lifetime is not None and lasts < lifetime)


def test_a_lifetime_that_public_authorities_do_not_issue_is_warned_of():
    plan = make_plan(Policy(refresh=1, lifetime=150), Start.anew(FIRST), LAST)
    [warning] = [note for note in notes(plan) if "150 days" in note]
    first = next(one for one in plan.certificates if one.issued >= date(2027, 3, 15))
    assert f"issued on {first.issued} lasts 100 days" in warning
    private = make_plan(Policy(refresh=1, lifetime=150, public=False), Start.anew(FIRST), LAST)
    assert not notes(private)
    assert "limit" in [event.kind for event in tell(plan)]
    assert "limit" not in [event.kind for event in tell(private)]


# From a pin file


def file_of(*pins, version=7, name=HOST, **fields):
    return PinFile([HostEntry(name, pins, **fields)], version=version)


def plan_of(file, policy, *, host=None, not_before=None, last=LAST, **given):
    if not_before:
        [entry] = file.hosts
        pins = [
            PinEntry(one.pin, one.role, one.key, not_before.get(one.pin, one.not_before))
            for one in entry.pins
        ]
        file = file_of(*pins)
    return make_plan(policy, start_of(file, host, FIRST, reach=policy.reach, **given), last)


OLD = PinEntry(A, "active", "old")
NEXT = PinEntry(B, "planned", "next", day(20))
BACKUP = PinEntry(C, "backup", "backup")
WEEK = Policy(refresh=7)


def test_a_planned_key_goes_into_service_on_its_date():
    plan = plan_of(file_of(OLD, NEXT, BACKUP), WEEK)
    assert [(one.key, one.first) for one in plan.services] == [("old", FIRST), ("next", day(20))]
    assert plan.refusals == ()
    assert [sorted(one.keys) for one in plan.versions] == [
        ["backup", "next", "old"], ["backup", "next"]
    ]  # fmt: skip
    assert [one.name for one in plan.versions] == ["version 7", "version 8"]


def test_a_file_published_too_late_for_its_date_breaks_the_clients_with_the_older_one():
    older = file_of(OLD, BACKUP, version=6)
    late = Policy(adoption=30)
    plan = plan_of(file_of(OLD, NEXT, BACKUP), late, older=[older], published=day(-1))
    [refusal] = plan.refusals
    assert (refusal.version, refusal.key) == ("version 6", "next")
    assert (refusal.first, refusal.last) == (day(20), day(28))
    assert first_break(plan).startswith("Clients with version 6 break on 2026-12-11")
    [way] = alternatives(late, plan.start, LAST)
    assert way.what.startswith("let the pin file's keys go into service later: next on 2026-12-20")


def test_an_older_file_with_the_key_breaks_nobody():
    older = file_of(OLD, PinEntry(B, "backup"), version=6)
    plan = plan_of(file_of(OLD, NEXT, BACKUP), Policy(adoption=30), older=[older])
    assert plan.refusals == ()


def test_the_oldest_of_several_files_breaks_too():
    files = [file_of(OLD, PinEntry(D, "backup"), version=number) for number in (4, 5)]
    plan = plan_of(file_of(OLD, NEXT), Policy(adoption=30), older=files)
    assert {one.version for one in plan.refusals} == {"version 4", "version 5"}


def test_without_the_older_files_they_are_taken_to_have_only_the_keys_in_service():
    plan = plan_of(file_of(OLD, NEXT, BACKUP), Policy(adoption=30), published=FIRST)
    assert {one.version for one in plan.refusals} == {"an older version"}
    assert plan_of(file_of(OLD, NEXT, BACKUP), Policy(adoption=30)).refusals == ()


def test_an_older_file_that_did_not_pin_the_host_accepts_any_key():
    other = file_of(PinEntry(D), version=6, name="other.example.com")
    plan = plan_of(file_of(OLD, NEXT), Policy(adoption=30), older=[other])
    assert plan.refusals == ()
    closed = PinFile(other.hosts, version=6, defaults=Defaults(unlisted="refuse"))
    plan = plan_of(file_of(OLD, NEXT), Policy(adoption=30), older=[closed])
    assert plan.refusals[0].first == FIRST
    excluded = PinFile([HostEntry("**.example.com", [D]), HostEntry(HOST, exclude=True)], version=6)
    assert plan_of(file_of(OLD, NEXT), Policy(adoption=30), older=[excluded]).refusals == ()


def test_a_revoked_key_is_not_one_that_clients_accept():
    older = file_of(PinEntry(C), PinEntry(B, "revoked"), version=6)
    plan = plan_of(file_of(PinEntry(C, key="old"), NEXT), Policy(adoption=30), older=[older])
    assert [one.key for one in plan.refusals] == ["next"]


def test_a_backup_stays_in_every_version_and_is_the_spare():
    plan = plan_of(file_of(OLD, BACKUP), Policy(adoption=30, lifetime=47, rotate=90))
    assert plan.keys_ahead == 1
    assert len(plan.versions) > 5
    assert all("backup" in version.keys for version in plan.versions)
    assert plan.refusals == plan.unspared == ()


def test_a_file_without_a_spare_gets_one_at_once():
    plan = plan_of(file_of(OLD), WEEK)
    assert [(one.published, sorted(one.keys)) for one in plan.versions[1:]] == [
        (FIRST, ["new key 1", "old"])
    ]
    [gap] = plan.unspared
    assert (gap.first, gap.last) == (FIRST, day(6))


def test_the_first_rotation_waits_until_the_next_key_is_with_all_clients():
    overdue = PinEntry(A, "active", "old", day(-500))
    plan = plan_of(file_of(overdue, BACKUP), Policy(adoption=30, refresh=7, rotate=365))
    assert plan.refusals == ()
    assert [one.first for one in plan.services][:3] == [FIRST, day(37), day(37 + 365)]


def test_of_several_keys_in_service_the_newest_says_when_the_next_is_due():
    file = file_of(
        PinEntry(A, not_before=day(-300)), PinEntry(B, not_before=day(-30)), PinEntry(C, "planned")
    )
    plan = plan_of(file, Policy(refresh=7, rotate=365))
    assert plan.services[2].first == day(335)


def test_planned_keys_without_a_date_come_before_new_ones():
    file = file_of(OLD, PinEntry(B, "planned", "next"), BACKUP)
    plan = plan_of(file, Policy(refresh=7, lifetime=90, rotate=100))
    assert [one.key for one in plan.services][:3] == ["old", "next", "new key 1"]


def test_a_retiring_key_may_still_be_shown_and_goes_with_the_next_file():
    file = file_of(OLD, PinEntry(D, "retiring", "older"), NEXT)
    plan = plan_of(file, replace(WEEK, overlap=3))
    assert (plan.services[0].key, plan.services[0].last) == ("older", day(2))
    assert "older" in plan.versions[0].keys
    assert "older" not in plan.versions[-1].keys


def test_several_keys_in_service_are_replaced_together():
    file = file_of(PinEntry(A, key="rsa"), PinEntry(D, key="ec"), NEXT)
    plan = plan_of(file, WEEK)
    assert [(one.key, one.first) for one in plan.services] == [
        ("rsa", FIRST), ("ec", FIRST), ("next", day(20))
    ]  # fmt: skip
    assert plan.versions[-1].keys == {"next", "new key 1"}


def test_authorities_keys_are_no_keys_of_servers():
    """No server shows them, none is brought into service, none is a spare for a server's key."""
    marked = [
        PinEntry(D, "active", "CA", authority="own"),
        PinEntry(C, "planned", "next CA", day(3), "other"),
    ]
    plan = plan_of(file_of(OLD, NEXT, *marked), WEEK)
    assert plan == plan_of(file_of(OLD, NEXT), WEEK)
    assert "CA" not in str(plan)


def test_a_host_of_which_only_authorities_are_pinned_cannot_be_planned_for():
    file = file_of(PinEntry(A, authority="other"), BACKUP)
    with pytest.raises(Impossible, match="only authorities' keys are in service"):
        plan_of(file, WEEK)


def test_pins_that_expire_open_let_any_key_pass_and_that_is_said():
    opening = file_of(OLD, BACKUP, version=6, expires=day(10), on_expiry="allow")
    plan = plan_of(file_of(OLD, NEXT, BACKUP), Policy(adoption=300), older=[opening])
    assert plan.refusals == ()
    assert any("clients with version 6 are not protected" in note for note in notes(plan))
    enforced = file_of(OLD, BACKUP, version=6, expires=day(10))
    plan = plan_of(file_of(OLD, NEXT, BACKUP), Policy(adoption=300), older=[enforced])
    assert plan.refusals
    assert "expire" in [event.kind for event in tell(plan)]


def test_pins_with_an_expiry_are_published_anew_before_the_last_client_has_expired_ones():
    policy = Policy(adoption=30, refresh=7, expire_after=90)
    plan = make_plan(policy, Start.anew(FIRST), LAST)
    assert plan.expired == ()
    assert len(plan.versions) > 10
    assert {(b.published - a.published).days for a, b in pairwise(plan.versions)} == {53}
    late = plan_of(file_of(OLD, BACKUP, expires=day(20)), policy)
    assert late.versions[1].published == FIRST
    assert [(gap.version, gap.first) for gap in late.expired] == [("version 7", day(20))]


@pytest.mark.parametrize(
    ("file", "host", "given", "why"),
    [
        (file_of(NEXT, BACKUP), None, {}, "no key of api.example.com is in service"),
        (file_of(OLD), "example.org", {}, "does not pin example.org"),
        (
            PinFile([HostEntry(HOST, [A]), HostEntry("b.example.com", [A])]),
            None,
            {},
            "has 2: api.example.com, b.example.com",
        ),
        (file_of(OLD), None, {"published": day(1)}, "behind the first day"),
        (file_of(OLD), None, {"older": [file_of(OLD)]}, "versions have to ascend"),
        (
            file_of(OLD),
            None,
            {"older": [file_of(OLD, version=6)], "published": day(-7)},
            "no older pin file matters",
        ),
        (
            file_of(OLD, name="*.example.com"),
            None,
            {"older": [file_of(OLD, version=6, name="**.example.com")]},
            "name one host",
        ),
    ],
)
def test_a_pin_file_that_cannot_be_planned_for_is_refused(file, host, given, why):
    with pytest.raises(Impossible, match=why):
        start_of(file, host, FIRST, reach=7, **given)


def test_dates_in_the_pin_file_contradict_keys_made_at_renewals():
    with pytest.raises(Impossible, match="no other key ever does"):
        plan_of(file_of(OLD, NEXT), replace(WEEK, rotate="renewal", keys_ahead=0))


def test_a_host_is_found_below_a_wildcard():
    file = file_of(OLD, NEXT, name="**.example.com")
    assert start_of(file, "a.b.example.com", FIRST).in_service == ("old",)
    older = file_of(PinEntry(D), version=6, name="*.b.example.com")
    begin = start_of(file, "a.b.example.com", FIRST, older=[older], reach=3)
    assert not begin.older[0].accepts("old")


def test_keys_without_names_are_called_by_their_pins():
    [name] = start_of(file_of(PinEntry(A)), None, FIRST).in_service
    assert str(A).startswith(name.rstrip("…"))


def test_a_new_key_gets_no_name_that_is_taken():
    file = file_of(PinEntry(A, key="new key 1"))
    older = file_of(PinEntry(A), PinEntry(B, key="new key 2"), version=6)
    plan = plan_of(file, WEEK, older=[older])
    assert plan.versions[-1].keys == {"new key 1", "new key 2"}
    [way] = [one for one in plan.versions if "new key 2" in one.keys]
    assert plan.everywhere["new key 2"] == way.published + timedelta(days=7)


# Told, and drawn


def test_the_events_are_in_order_and_name_what_to_do():
    plan = plan_of(file_of(OLD, BACKUP), Policy(adoption=30, refresh=7, lifetime=47, rotate=365))
    events = tell(plan)
    assert [event.day for event in events] == sorted(event.day for event in events)
    orders = " ".join(event.do for event in events)
    assert "make new key 1; publish version 8, on 2027-10-15 at the latest" in orders
    assert "let all servers show the certificate for new key 1" in orders
    assert "new key 1 may go into service from now on" in orders


def test_what_a_plan_goes_by_is_told():
    policy = Policy(refresh=7, expire_after=90)
    plan = make_plan(policy, Start.anew(FIRST), LAST)
    told = dict(told_settings(plan))
    assert told["clients"] == "a new pin file is with all that update after 7 days"
    assert told["renewal"] == (
        "certificates as long as public authorities issue them, 200 days at first, renewed 66 days"
        " before they expire"
    )
    published = [event.what for event in tell(plan) if event.kind == "publish"]
    assert published[0] == "pin file version 2: the same pins, to expire on 2027-05-13"


SVG = "{http://www.w3.org/2000/svg}"
DRAWN = [
    NEW_KEYS,
    replace(NEW_KEYS, keys_ahead=None),
    Policy(adoption=30, refresh=7, lifetime=47, rotate=365),
    Policy(refresh=7, lifetime=90, rotate="renewal", keys_ahead=0, hold=7),
    Policy(refresh=0, lifetime=6),
]


@pytest.mark.parametrize("policy", DRAWN)
@pytest.mark.parametrize("length", [2, 40, 730, 3650])
def test_a_picture_is_well_formed_says_what_it_shows_and_stays_within_its_frame(policy, length):
    plan = make_plan(policy, Start.anew(FIRST), day(length))
    title, verdict = "<&> \ufffe\x00 keys", "who & when <on> " * 20
    svg = ET.fromstring(draw(plan, title, verdict))
    assert svg.tag == f"{SVG}svg"
    assert svg.find(f"{SVG}title").text == "<&> \ufffd\ufffd keys"
    assert svg.find(f"{SVG}desc").text == verdict
    width, height = float(svg.get("width")), float(svg.get("height"))
    for box in svg.iter(f"{SVG}rect"):
        assert 0 <= float(box.get("x", 0)) <= width
        assert float(box.get("x", 0)) + float(box.get("width")) <= width + 0.11
        assert float(box.get("y", 0)) <= height
    for text in svg.iter(f"{SVG}text"):
        assert 0 <= float(text.get("x")) <= width
        assert 0 <= float(text.get("y")) <= height
    refused = [box for box in svg.iter(f"{SVG}rect") if box.get("class") == "refuse"]
    assert len(refused) >= len(plan.refusals)
    assert any(box.get("class") == "trouble" for box in svg.iter(f"{SVG}rect")) == bool(
        plan.refusals
    )


def test_a_picture_has_every_key_certificate_and_pin_file():
    plan = make_plan(DRAWN[1], Start.anew(FIRST), LAST)
    notes = [title.text for title in ET.fromstring(draw(plan, "t", "v")).iter(f"{SVG}title")]
    keys = set().union(*(version.keys for version in plan.versions))
    assert len([note for note in notes if "its pin is published" in note]) == len(keys)
    assert len([note for note in notes if note.startswith("a certificate")]) == len(
        plan.certificates
    )
    assert len([note for note in notes if "is with clients" in note]) == len(plan.versions)
