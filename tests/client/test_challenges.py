"""WWW-Authenticate is read as RFC 9110, section 11.6.1, says, and nothing else is."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keypin.client._challenges import Challenge, ChallengeError, parse_challenges

BASIC = Challenge("basic", {"realm": "simple"})


@pytest.mark.parametrize(
    ("field", "challenges"),
    [
        ("", []),
        (" , ,,\t", []),
        ("Bearer", [Challenge("bearer", {})]),
        ("bEaReR REALM=x", [Challenge("bearer", {"realm": "x"})]),
        ('Basic realm="simple"', [BASIC]),
        (
            # the example of section 11.6.1
            'Basic realm="simple", Newauth realm="apps", type=1, title="Login to \\"apps\\""',
            [
                BASIC,
                Challenge("newauth", {"realm": "apps", "type": "1", "title": 'Login to "apps"'}),
            ],
        ),
        (
            'Bearer realm="a, Basic b=c", error="invalid_token"',
            [Challenge("bearer", {"realm": "a, Basic b=c", "error": "invalid_token"})],
        ),
        ("A, B, C", [Challenge("a", {}), Challenge("b", {}), Challenge("c", {})]),
        ("Negotiate YII=, Bearer", [Challenge("negotiate", {}, "YII="), Challenge("bearer", {})]),
        ("Negotiate a+/~==", [Challenge("negotiate", {}, "a+/~==")]),
        ("Bearer a\t = \t1 ,, b=2,", [Challenge("bearer", {"a": "1", "b": "2"})]),
        ("Bearer   , a=1", [Challenge("bearer", {"a": "1"})]),
        (',Bearer a="",B', [Challenge("bearer", {"a": ""}), Challenge("b", {})]),
        (r'Bearer a="\\\"\,é"', [Challenge("bearer", {"a": '\\",é'})]),
        ("Bearer a=", [Challenge("bearer", {}, "a=")]),
        ("Bearer realm", [Challenge("bearer", {}, "realm")]),
    ],
)
def test_what_follows_the_grammar(field, challenges):
    assert parse_challenges([field]) == tuple(challenges)


def test_several_fields_are_one_list():
    assert parse_challenges(["Bearer a=1", "", BASIC.scheme + ' realm="simple"']) == (
        Challenge("bearer", {"a": "1"}),
        BASIC,
    )


@pytest.mark.parametrize(
    "field",
    [
        'Bearer a="x',
        'Bearer a="x\\"',
        'Bearer a="x"b=2',
        'Bearer a="x" b=2',
        "Bearer a=1 b=2",
        "Bearer a=1 Basic",
        "Bearer a=1, A=2",
        "Bearer a=b=c",
        "Bearer a=ü",
        "Bearer =x",
        "Bearer\ta=1",
        "Bearer\tBasic",
        "A B C",
        "a=1",
        '"Bearer"',
        "Bearer a=1; b=2",
        "Bearer a=1,\x00",
        "Bearer\r\na=1",
        'Bearer a="\x07"',
        "Ünknown",
    ],
)
def test_anything_else_is_an_error(field):
    with pytest.raises(ChallengeError, match="WWW-Authenticate"):
        parse_challenges([field])


TOKENS = st.text(string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~", min_size=1, max_size=9)
VALUES = st.text([chr(c) for c in (9, *range(32, 127), *range(128, 256))], max_size=12)
PARAMETERS = st.dictionaries(TOKENS.map(str.lower), VALUES, max_size=4)
TOKEN68 = st.from_regex(r"\A[0-9A-Za-z\-._~+/]+=*\Z")
CHALLENGES = st.one_of(
    st.builds(Challenge, TOKENS.map(str.lower), PARAMETERS),
    st.builds(Challenge, TOKENS.map(str.lower), st.just({}), TOKEN68),
)
COMMAS = st.sampled_from([",", ", ", " ,", ",,", " , ,\t"])
SPACES = st.sampled_from(["", " ", "\t", " \t "])


@st.composite
def written(draw):
    """Challenges, and one of the ways to write them."""
    challenges = draw(st.lists(CHALLENGES, max_size=4))
    parts = [draw(_written(challenge)) for challenge in challenges]
    field = draw(SPACES)
    for part in parts:
        field += part + draw(COMMAS)
    return challenges, field


@st.composite
def _written(draw, challenge):
    if challenge.token68 is not None:
        return f"{challenge.scheme} {challenge.token68}"
    text = challenge.scheme
    for number, (name, value) in enumerate(challenge.parameters.items()):
        text += " " if number == 0 else draw(COMMAS)
        text += f"{name}{draw(SPACES)}={draw(SPACES)}"
        if value and all(c in string.ascii_letters for c in value) and draw(st.booleans()):
            text += value
        else:
            text += '"' + value.replace("\\", r"\\").replace('"', r"\"") + '"'
    return text


@given(written())
def test_what_is_written_is_read(pair):
    challenges, field = pair
    assert parse_challenges([field]) == tuple(challenges)


@given(st.text(st.sampled_from('aB1=", \\\t~;ü'), max_size=40))
def test_no_text_is_read_with_less_or_more_than_it_says(field):
    """What is read, written plainly, is read as the same again; what is refused, is refused."""
    try:
        challenges = parse_challenges([field])
    except ChallengeError:
        return
    again = []
    for one in challenges:
        parameters = ", ".join(
            '{}="{}"'.format(name, value.replace("\\", r"\\").replace('"', r"\""))
            for name, value in one.parameters.items()
        )
        again.append(f"{one.scheme} {one.token68 or parameters}".strip())
    assert parse_challenges([", ".join(again)]) == challenges
    assert sum(field.lower().count(one.scheme) > 0 for one in challenges) == len(challenges)


@pytest.mark.parametrize(
    "field",
    [
        "Bearer " + "a" * 300_000 + "!",
        "Bearer " + " " * 300_000 + "a b",
        'Bearer a="' + "\\\\" * 150_000,
        "Bearer a=1" + " " * 300_000 + "b",
        "a" * 300_000 + "\x00",
        ", " * 150_000 + "=",
        "Bearer a" + " " * 300_000 + "b",
        "Bearer " + "a=1, " * 2 + "b" * 300_000 + " \x00",
    ],
)
def test_the_time_is_linear(field):
    """A quadratic reading of these would take minutes, and the run would be ended."""
    with pytest.raises(ChallengeError):
        parse_challenges([field])
