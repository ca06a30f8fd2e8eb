"""An app for Android or iOS carries pure Python: nothing has to be compiled for a telephone."""

from __future__ import annotations

from importlib.metadata import distribution

import pytest
from packaging.requirements import Requirement

# where no wheel with compiled code can be had for sure
PLATFORMS = {
    "android": {"sys_platform": "android", "platform_system": "Android", "os_name": "posix"},
    "ios": {"sys_platform": "ios", "platform_system": "iOS", "os_name": "posix"},
}


def needed(requirement: Requirement, environment: dict[str, str]) -> set[str]:
    """The distributions that a requirement brings, those that they need included."""
    found: set[str] = set()
    waiting = [requirement]
    while waiting:
        wanted = waiting.pop()
        if wanted.name in found and not wanted.extras:
            continue
        found.add(wanted.name)
        for extra in {"", *wanted.extras}:
            for text in distribution(wanted.name).requires or ():
                one = Requirement(text)
                marked = one.marker is None or one.marker.evaluate({**environment, "extra": extra})
                if marked and not (one.name in found and not one.extras):
                    waiting.append(one)
    return found


def is_compiled(name: str) -> bool:
    """Whether an installed distribution's wheel was built for one platform (PEP 427)."""
    wheel = distribution(name).read_text("WHEEL")
    assert wheel is not None, name
    tags = [line.partition(": ")[2] for line in wheel.splitlines() if line.startswith("Tag: ")]
    return not tags or not all(tag.endswith("-none-any") for tag in tags)


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize(
    ("requirement", "expected"),
    [("keypin", {"idna"}), ("keypin[client]", {"idna", "httpx2", "httpcore2", "h11", "oauthlib"})],
)
def test_the_core_and_the_client_need_wheels_without_compiled_code_only(
    requirement, expected, platform
):
    found = needed(Requirement(requirement), PLATFORMS[platform])
    assert found >= expected
    assert [name for name in found if is_compiled(name)] == []


def test_compiled_code_would_be_noticed():
    assert is_compiled("cryptography")
    assert "cryptography" in needed(Requirement("keypin[lab]"), PLATFORMS["android"])
