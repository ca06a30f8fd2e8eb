"""Results of tests as JUnit's XML, for the tools that read it."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal
from xml.etree import ElementTree

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

__all__ = ["JUnitCase", "JUnitOutcome", "junit_suite"]

JUnitOutcome = Literal["passed", "failure", "error", "skipped"]

NOT_IN_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class JUnitCase:
    """A test case.

    Attributes:
        group: JUnit's classname.
        name: of the case.
        outcome: "failure" is a test that says no, "error" one that could not say.
        text: all that is to be said of it.
        kind: of failure, a short word.
        message: its first line.
        seconds: how long it took.
    """

    group: str
    name: str
    outcome: JUnitOutcome
    text: str
    kind: str = ""
    message: str = ""
    seconds: float = 0


def junit_suite(
    name: str,
    started: datetime,
    finished: datetime,
    cases: Sequence[JUnitCase],
    properties: Mapping[str, str] | None = None,
) -> bytes:
    """Write one suite.

    Args:
        name: of the suite.
        started: with a time zone.
        finished: the same.
        cases: in their order.
        properties: further facts about the whole suite.
    """
    outcomes = Counter(case.outcome for case in cases)
    counts = {
        "name": name,
        "tests": str(len(cases)),
        "failures": str(outcomes["failure"]),
        "errors": str(outcomes["error"]),
        "time": f"{(finished - started).total_seconds():.3f}",
    }
    suites = ElementTree.Element("testsuites", counts)
    more = {"skipped": str(outcomes["skipped"]), "timestamp": f"{started:%Y-%m-%dT%H:%M:%S}"}
    suite = ElementTree.SubElement(suites, "testsuite", {**counts, **more})
    if properties:
        element = ElementTree.SubElement(suite, "properties")
        for key, value in properties.items():
            ElementTree.SubElement(element, "property", {"name": key, "value": value})
    for case in cases:
        suite.append(_element(case))
    ElementTree.indent(suites)
    written: bytes = ElementTree.tostring(suites, "utf-8", xml_declaration=True)
    return written + b"\n"


def _element(case: JUnitCase) -> ElementTree.Element:
    seconds = f"{case.seconds:.3f}" if case.seconds else "0"
    said = {"classname": _xml(case.group), "name": _xml(case.name), "time": seconds}
    element = ElementTree.Element("testcase", said)
    if case.outcome == "passed":
        ElementTree.SubElement(element, "system-out").text = _xml(case.text)
        return element
    details = {"message": _xml(case.message)}
    if case.outcome != "skipped":
        details = {"type": _xml(case.kind), **details}
    ElementTree.SubElement(element, case.outcome, details).text = _xml(case.text)
    return element


def _xml(text: str) -> str:
    """Escape the characters that XML 1.0 has no way to write."""
    return NOT_IN_XML.sub(lambda match: f"\\x{ord(match[0]):02x}", text)
