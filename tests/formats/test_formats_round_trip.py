"""What a format can say comes back from it unchanged, and without a loss that changes anything."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from some_pins import FIRST, SECOND, host, need_parser, pin_file, pin_files

from keypin.formats import Direction, FormatError, export_to, import_from

FLAG = ("", "**.")
# by format: what it can say of all that a pin file can
SAYABLE = {
    "android": pin_files(kinds=FLAG, one_kind_a_name=True, exclude=True),
    "trustkit-android": pin_files(kinds=FLAG, one_kind_a_name=True, exclude=True, fewest_pins=2),
    "trustkit-ios": pin_files(
        kinds=FLAG, one_kind_a_name=True, fewest_pins=2, modes=("enforce", "report"), fail_open=True
    ),
    "ios": pin_files(kinds=("",), matches=("leaf",)),
    "okhttp": pin_files(kinds=FLAG, names=("example.com", "example.org"), one_kind_a_name=True),
    "okhttp-java": pin_files(
        kinds=("*.",), names=("example.com", "a.example.com", "example.org"), one_kind_a_name=True
    ),
    "curl": pin_files(kinds=("",), matches=("leaf",)),
    "hpkp": pin_files(kinds=FLAG, one_kind_a_name=True, fewest_pins=2, modes=("enforce", "report")),
    "tlsa": pin_files(kinds=("",), matches=("leaf",)),
    "chromium": pin_files(kinds=FLAG, one_kind_a_name=True, deny=True),
    "python": pin_files(
        exclude=True, deny=True, matches=("chain", "leaf"), unlisted=("allow", "refuse")
    ),
}
# of the system itself, whatever the rules are
ALWAYS = {
    "hpkp": {"trust-on-first-use", "local-anchors-exempt"},
    "tlsa": {"ca-not-checked"},
    "chromium": {"pins-lapse", "local-anchors-exempt"},
}


@pytest.mark.parametrize("name", SAYABLE)
def test_what_a_format_can_say_comes_back_unchanged(name):
    need_parser(name)

    @settings(max_examples=50)
    @given(SAYABLE[name])
    def check(file):
        export = export_to(name, file)
        changing = {
            each.name for each in export.losses if each.direction is not Direction.INFORMATION
        }
        if name == "trustkit-android":
            changing -= {"system-enforces"}
        assert changing <= ALWAYS.get(name, set())
        imported = import_from(name, export.files)
        assert imported.pins.pin_set() == file.pin_set()

    check()


@pytest.mark.parametrize("kind", ["", "*.", "**."])
def test_ios_has_one_label_below_a_domain_as_two_rules(kind):
    file = pin_file(host("example.com", match="leaf"), host("*.example.com", match="leaf"))
    export = export_to("ios", file)
    assert export.losses == ()
    assert import_from("ios", export.files).pins.pin_set() == file.pin_set()


@pytest.mark.parametrize("name", ["android", "trustkit-android"])
@pytest.mark.parametrize("hour", [0, 1, 11, 13, 23])
def test_on_android_pins_never_lapse_before_the_pin_file_lets_them(name, hour):
    """Midnight on the device is 14 hours before that of UTC, or up to 12 hours after it."""
    moment = datetime(2027, 6, 1, hour, tzinfo=UTC)
    file = pin_file(host("example.com", expires=moment, on_expiry="allow"))
    export = export_to(name, file)
    [content] = export.files.values()
    written = content.decode().partition('expiration="')[2][:10]
    midnight_in_utc = datetime.fromisoformat(written).replace(tzinfo=UTC)
    assert moment <= midnight_in_utc - timedelta(hours=14) < moment + timedelta(days=1)
    assert [each.name for each in export.losses] == ["fails-open-later"]
    [again] = import_from(name, export.files).pins.hosts
    assert again.expires == midnight_in_utc + timedelta(hours=12)
    assert again.on_expiry == "allow"


DATES = st.dates(date(1, 1, 2), date(9999, 12, 30))


@pytest.mark.parametrize("name", ["android", "trustkit-android", "trustkit-ios"])
@settings(max_examples=50)
@given(day=DATES, again=st.integers(1, 4))
def test_a_date_stays_the_same_however_often_it_is_imported_and_exported(name, day, again):
    """First out of a pin file, with a moment of its own; from then on nothing moves."""
    moment = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
    if name == "trustkit-ios":
        moment = moment.replace(hour=0)
    file = pin_file(host("**.example.com", expires=moment, on_expiry="allow"))
    export = export_to(name, file)
    assert day.isoformat().encode() in b"".join(export.files.values())
    for _ in range(again):
        imported = import_from(name, export.files)
        assert imported.pins == file
        export = export_to(name, imported.pins)
        assert export.files == export_to(name, file).files
    names = {each.name for each in export.losses}
    assert names == ({"expires-at-local-midnight"} if "android" in name else set())


@pytest.mark.parametrize("name", ["android", "trustkit-android", "trustkit-ios"])
@settings(max_examples=50)
@given(day=DATES, at=st.times(timezones=st.just(UTC)))
def test_any_moment_settles_at_the_first_export(name, day, at):
    moment = datetime.combine(day, at)
    file = pin_file(host("**.example.com", expires=moment, on_expiry="allow"))
    first = export_to(name, file).files
    assert export_to(name, import_from(name, first).pins).files == first


def test_that_pins_lapse_at_midnight_on_the_device_is_told():
    moment = datetime(2027, 6, 1, 12, tzinfo=UTC)
    file = pin_file(host("example.com", expires=moment, on_expiry="allow"))
    [told] = export_to("android", file).losses
    assert "when 2027-06-01 begins on the device" in told.text


@pytest.mark.parametrize(
    "name", ["android", "trustkit-android", "trustkit-ios", "okhttp", "curl", "hpkp", "python"]
)
def test_an_expiry_that_is_enforced_is_left_out_rather_than_made_to_fail_open(name):
    moment = datetime(2027, 6, 1, tzinfo=UTC)
    file = pin_file(host("example.com", FIRST, SECOND, expires=moment))
    export = export_to(name, file)
    assert b"2027" not in b"".join(export.files.values())
    assert "expiry-left-out" in {each.name for each in export.losses}
    assert not {each.name for each in export.losses} & {"fails-open", "fails-open-later"}


def test_trustkit_for_ios_expires_in_utc_and_a_time_of_day_is_rounded_up():
    file = pin_file(
        host("a.example.com", expires=datetime(2027, 6, 1, 0, 1, tzinfo=UTC), on_expiry="allow"),
        host("b.example.com", expires=datetime(2027, 6, 1, tzinfo=UTC), on_expiry="allow"),
    )
    export = export_to("trustkit-ios", file)
    first, second = import_from("trustkit-ios", export.files).pins.hosts
    assert first.expires == datetime(2027, 6, 2, tzinfo=UTC)
    assert second.expires == datetime(2027, 6, 1, tzinfo=UTC)
    assert [each.name for each in export.losses] == ["fails-open-later"]


def test_a_date_after_which_there_is_none_is_left_out():
    last = datetime(9999, 12, 31, 23, tzinfo=UTC)
    file = pin_file(host("example.com", expires=last, on_expiry="allow"))
    for name in ("android", "trustkit-ios"):
        export = export_to(name, file)
        assert [each.name for each in export.losses] == ["fails-open-later"]


@pytest.mark.parametrize("name", SAYABLE)
def test_a_damaged_file_is_refused_or_still_means_something(name):
    """Bytes lost, doubled or changed: a pin file comes out, or a FormatError."""

    @settings(max_examples=50)
    @given(SAYABLE[name], st.data())
    def check(file, data):
        files = dict(export_to(name, file).files)
        damaged = data.draw(st.sampled_from(sorted(files)))
        content = files[damaged]
        start = data.draw(st.integers(0, len(content)))
        end = min(len(content), start + data.draw(st.integers(0, 60)))
        middle = data.draw(st.sampled_from([b"", content[start:end] * 2, b"\xff", b"\0", b'"<>{']))
        files[damaged] = content[:start] + middle + content[end:]
        try:
            imported = import_from(name, files)
        except FormatError:
            return
        assert imported.pins.hosts

    check()
