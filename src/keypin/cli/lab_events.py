"""What `keypin lab serve` says: what there is to call, what comes, and what came of it."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from ipaddress import ip_address
from itertools import groupby
from typing import TYPE_CHECKING, Any, Protocol

from ..lab.reports import harm_lines, harms_json, totals
from .lab_run import HARMFUL, STATE_WIDTH, STYLES, VERDICTS
from .output import PASTED, Page

if TYPE_CHECKING:
    from ..lab.live import LiveLab, Standing
    from ..lab.live_page import StatusPage
    from ..lab.runner import Report, Verdict
    from .output import Part

__all__ = ["Events", "JsonEvents", "TextEvents"]

JSON_VERSION = 1
LABEL_WIDTH = 14
FILES = {
    "authorities": "authorities.pem",
    "certificate": "pinned.cer",
    "pin_file": "pins.toml",
    "client_certificate": "client.pem",
}


class Events(Protocol):
    """Where it is said."""

    def begin(self, lab: LiveLab, page: StatusPage, left_out: dict[str, str]) -> None:
        """Say what there is."""

    def event(self, lab: LiveLab, case: str, standing: Standing) -> None:
        """Say that something has come, or that a case was begun anew."""

    def end(self, lab: LiveLab, verdict: Verdict, report: Report) -> None:
        """Say what has come of all."""


class TextEvents:
    """For people."""

    def __init__(self) -> None:
        self._page = Page()

    def begin(self, lab: LiveLab, page: StatusPage, left_out: dict[str, str]) -> None:
        """See Events."""
        line, field = self._page.line, self._field
        cast = lab.cast
        field("page", (page.url, PASTED))
        field("trust", (page.file_url("authorities.pem"), PASTED))
        field("pin", (str(cast.pinned.pin), PASTED))
        field("and backup", (str(cast.backup.pin), PASTED))
        field("pin file", (page.file_url("pins.toml"), PASTED))
        field("certificate", (page.file_url("pinned.cer"), PASTED))
        field("client's own", (page.file_url("client.pem"), PASTED))
        told = [lab.told(case) for case in lab.stages]
        for group, members in groupby(told, lambda it: it["group"]):
            line()
            line((group, "bold"))
            for case in members:
                self._case(page, case)
        if left_out:
            line()
            line(("left out", "bold"))
            for why, names in groupby(sorted(left_out, key=lambda it: left_out[it]), left_out.get):
                line(f"{', '.join(names)}: {why}", indent=2)
        line()
        if not ip_address(cast.address).is_loopback:
            line(
                ("Everybody who reaches ", "bold yellow"),
                (cast.address, "bold yellow"),
                (" can call these servers and see the page.", "bold yellow"),
            )
        line("What comes is told here and on the page. Ctrl-C ends it.")

    def event(self, lab: LiveLab, case: str, standing: Standing) -> None:
        """See Events."""
        scenario = lab.stages[case].case.scenario
        clock = datetime.now().astimezone().strftime("%H:%M:%S")
        if standing.outcome == "not called":
            self._page.line((f"{'begun anew':<{STATE_WIDTH}}", "dim"), scenario.identifier,
                            head=f"{clock}  ")  # fmt: skip
            return
        judgement = standing.judgement
        harm = judgement.harm if standing.outcome == "wrong" else None
        word = standing.outcome if harm is None else HARMFUL[harm]
        attempts = f"{judgement.attempts} attempt{'s' * (judgement.attempts != 1)}"
        self._page.line(
            (f"{word:<{STATE_WIDTH}}", STYLES[standing.outcome]),
            f"{scenario.identifier}: must {scenario.expected}; {'; '.join(judgement.reasons)}  ",
            (f"({attempts})", "dim"),
            head=f"{clock}  ",
        )

    def end(self, lab: LiveLab, verdict: Verdict, report: Report) -> None:
        """See Events."""
        called = len(report.played)
        uncalled = len(lab.stages) - called
        if not called:
            self._page.line("Nothing was called.")
            return
        word, _, style = VERDICTS[verdict]
        not_called = f", {uncalled} not called" if uncalled else ""
        self._page.line((word.upper(), style), f": {totals(report)}{not_called}")
        for told in harm_lines(report):
            self._page.line(told, indent=2)
        if verdict == "inconclusive" and set(report.counts) == {"right"}:
            self._page.line(
                "No honest server was called: a client that reaches nobody is refused everywhere,"
                " too.",
                indent=2,
            )

    def _field(self, label: str, *parts: Part) -> None:
        self._page.line(*parts, head=f"{label:<{LABEL_WIDTH}}")

    def _case(self, page: StatusPage, case: dict[str, Any]) -> None:
        line = self._page.line
        line(
            (case["url"], PASTED),
            f"  {case['scenario']}  ",
            (f"must be {case['expected']}ed", "dim"),
            indent=2,
        )
        if case["second_url"] == case["url"]:
            line("and once more, in the same process", indent=6)
        elif case["second_url"]:
            line("then ", (case["second_url"], PASTED), indent=6)
        if case["proxy"]:
            line("through the proxy ", (case["proxy"], PASTED), indent=6)
        if case["own_pins"]:
            line("pins of its own: ", (page.file_url("pins.toml", case["case"]), PASTED), indent=6)
        if case["own_authorities"]:
            url = page.file_url("authorities.pem", case["case"])
            line("trusts only ", (url, PASTED), indent=6)


class JsonEvents:
    """For machines: an object in each line."""

    def begin(self, lab: LiveLab, page: StatusPage, left_out: dict[str, str]) -> None:
        """See Events."""
        cast = lab.cast
        cases = [lab.told(case) for case in lab.stages]
        for case in cases:
            for what, name in (("pins", "pins.toml"), ("authorities", "authorities.pem")):
                own = case.pop(f"own_{what}")
                field = "pin_file" if what == "pins" else what
                case[field] = page.file_url(name, case["case"] if own else None)
        self._write(
            "serving",
            version=JSON_VERSION,
            page=page.url,
            host=cast.host,
            address=cast.address,
            pins=[str(cast.pinned.pin), str(cast.backup.pin)],
            **{field: page.file_url(name) for field, name in FILES.items()},
            cases=cases,
            left_out=left_out,
        )

    def event(self, lab: LiveLab, case: str, standing: Standing) -> None:
        """See Events."""
        now = datetime.now().astimezone().isoformat(timespec="seconds")
        scenario = lab.stages[case].case.scenario.identifier
        self._write("came", time=now, case=case, scenario=scenario, **standing.as_json())

    def end(self, lab: LiveLab, verdict: Verdict, report: Report) -> None:
        """See Events."""
        counts = {
            **{str(state): number for state, number in report.counts.items()},
            "not called": len(lab.stages) - len(report.played),
        }
        self._write("ended", verdict=verdict, counts=counts, harms=harms_json(report))

    def _write(self, event: str, **fields: Any) -> None:
        sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
        sys.stdout.flush()
