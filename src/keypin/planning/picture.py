"""A plan as SVG: keys, certificates and pin files over time; light or dark as the reader's screen.

No colour is needed to tell one thing from another: each also has a shape, a pattern or a place.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from itertools import pairwise, takewhile
from textwrap import wrap
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from .clients import ONE_DAY, days

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .clients import Carried, Service
    from .schedule import Plan

__all__ = ["draw"]

# Pixels
WIDTH = 1120
LEFT = 112
RIGHT = 24
TOP = 96
ROW = 28
NAME = 15  # of a row, for the names above the bars
BAR = 9
GAP = 18  # between lanes
APART = 4  # between bars
LEGEND = 58
LINE = 18
CHARACTER = 6.4  # wide for letters of 11
CLOSEST_TICKS = 30

WIDEST = 135  # letters of the verdict in a line
MOST_NAMES = 80  # of a lane; of more none could be read
MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
MEANINGS = (
    ("coming", "pin on its way"),
    ("known", "pin with all clients"),
    ("serving", "key in service"),
    ("shown", "certificate shown"),
    ("valid", "only valid"),
    ("file", "clients have this pin file"),
    ("refuse", "they refuse the key"),
)
NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

STYLE = """
text { font: 11px system-ui, "DejaVu Sans", Arial, sans-serif; fill: #1f2328;
  stroke: #ffffff; stroke-width: 3; stroke-linejoin: round; paint-order: stroke }
.title { font-size: 16px; font-weight: 600 }
.verdict { font-size: 13px }
.lane { font-size: 13px; font-weight: 600 }
.quiet { fill: #59636e }
.paper { fill: #ffffff }
.grid { stroke: #d8dee4; stroke-width: 1 }
.rule { stroke: #8c959f; stroke-width: 1 }
.coming { fill: url(#keypin-coming); stroke: #1a5fb4; stroke-width: 1 }
.known { fill: #c6dcf5; stroke: #1a5fb4; stroke-width: 1 }
.serving { fill: #1a5fb4; stroke: #1a5fb4; stroke-width: 1 }
.stripe { stroke: #1a5fb4; stroke-width: 1.5 }
.shown { fill: #6e7781 }
.valid { fill: none; stroke: #8c959f; stroke-width: 1 }
.file { fill: #d9cbf2; stroke: #6f42c1; stroke-width: 1 }
.refuse { fill: #c01c28 }
.trouble { fill: url(#keypin-trouble) }
.warning { stroke: #c01c28; stroke-width: 1.5 }
.alarm { fill: #a40e26; font-weight: 600 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; stroke: #0d1117 }
  .quiet { fill: #9da7b1 }
  .paper { fill: #0d1117 }
  .grid { stroke: #2a3038 }
  .rule { stroke: #6e7681 }
  .coming, .known { stroke: #79b0f0 }
  .known { fill: #1d3f66 }
  .serving { fill: #79b0f0; stroke: #79b0f0 }
  .stripe { stroke: #79b0f0 }
  .shown { fill: #aab4be }
  .valid { stroke: #6e7681 }
  .file { fill: #3b2a63; stroke: #b392f0 }
  .refuse { fill: #ff7b72 }
  .warning { stroke: #ff7b72 }
  .alarm { fill: #ff9492 }
}
"""
PATTERNS = """
<pattern id="keypin-coming" width="5" height="5" patternUnits="userSpaceOnUse"
 patternTransform="rotate(45)"><line class="stripe" x1="0" y1="0" x2="0" y2="5"/></pattern>
<pattern id="keypin-trouble" width="7" height="7" patternUnits="userSpaceOnUse"
 patternTransform="rotate(-45)"><line class="warning" x1="0" y1="0" x2="0" y2="7"
 opacity="0.3"/></pattern>
"""


@dataclass(frozen=True, slots=True)
class _Scale:
    """From days to pixels."""

    first: date
    end: date
    """the first day behind the last one"""
    top: int
    """in pixels, of what is drawn over the days"""

    def x(self, day: date) -> float:
        """Where a day begins; what is outside is at the edge."""
        part = (min(max(day, self.first), self.end) - self.first) / (self.end - self.first)
        return round(LEFT + part * (WIDTH - LEFT - RIGHT), 1)

    def box(self, style: str, first: date, end: date, y: float, height: float) -> str:
        """A rectangle over some days; nothing if there are none."""
        x, width = self.x(first), round(self.x(end) - self.x(first), 1)
        if width <= 0:
            return ""
        return f'<rect class="{style}" x="{x}" y="{y}" width="{width}" height="{height}"/>'


@dataclass(frozen=True, slots=True)
class _Bar:
    """Something in a row of its lane, with its name above it.

    Args:
        name: may be empty.
        note: what a reader who points at it is told.
        first: its first day.
        end: the first day behind it.
        shapes: SVG, at the height 0.
    """

    name: str
    note: str
    first: date
    end: date
    shapes: str


def draw(plan: Plan, title: str, verdict: str) -> str:
    """Draw a plan.

    Args:
        plan: what happens.
        title: the heading.
        verdict: the sentence below it.

    Returns:
        SVG, a document of its own.
    """
    lines = wrap(verdict, WIDEST)
    top = TOP + (len(lines) - 1) * LINE
    scale = _Scale(plan.start.day, plan.last + ONE_DAY, top)
    lanes: list[str] = []
    y = top
    for name, bars in (
        ("Keys", _keys(plan, scale)),
        ("Certificates", _certificates(plan, scale)),
        ("Pin files", _versions(plan, scale)),
    ):
        drawn, height = _lane(name, list(bars), scale, y)
        lanes.append(drawn)
        y += height + GAP
    bottom = y - GAP
    height = bottom + LEGEND
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}"'
            f' viewBox="0 0 {WIDTH} {height}" role="img"'
            ' aria-labelledby="keypin-title keypin-verdict">',
            f'<title id="keypin-title">{_text(title)}</title>',
            f'<desc id="keypin-verdict">{_text(verdict)}</desc>',
            f"<style>{STYLE}</style>",
            f"<defs>{PATTERNS}</defs>",
            f'<rect class="paper" width="{WIDTH}" height="{height}"/>',
            f'<text class="title" x="16" y="27">{_text(title)}</text>',
            *(
                f'<text class="verdict{" alarm" if plan.refusals else ""}" x="16"'
                f' y="{48 + number * LINE}">{_text(line)}</text>'
                for number, line in enumerate(lines)
            ),
            *_ticks(scale, bottom),
            *_trouble(plan, scale, bottom),
            *lanes,
            *_legend(bottom, MEANINGS if plan.refusals else MEANINGS[:-1]),
            "</svg>\n",
        ]
    )


def _text(text: str) -> str:
    """Escape a text; what XML 1.0 has no way to write is shown as unknown."""
    return escape(NOT_IN_XML.sub("\ufffd", text))


# The lanes.


def _keys(plan: Plan, scale: _Scale) -> Iterator[_Bar]:
    published: dict[str, date] = {}
    withdrawn: dict[str, date] = {}
    for version in plan.versions:
        for key in version.keys or ():
            published.setdefault(key, max(version.published, plan.start.day))
        for key in published:
            if not version.accepts(key):
                withdrawn.setdefault(key, version.published)
    services = {service.key: service for service in plan.services}
    for key, service in services.items():
        published.setdefault(key, service.first)
    for key in sorted(published, key=lambda key: (published[key], _rank(services.get(key)), key)):
        served = services.get(key)
        note = f"{key}: its pin is published on {published[key]}"
        if served is None:
            begin = end = withdrawn.get(key, scale.end)
        else:
            begin, end = served.first, served.last + ONE_DAY
            note += f", in service from {served.first} to {served.last}"
        everywhere = plan.everywhere.get(key, end)
        yield _Bar(
            key,
            note,
            published[key],
            end,
            scale.box("coming", published[key], min(everywhere, begin), 0, BAR)
            + scale.box("known", max(everywhere, published[key]), begin, 0, BAR)
            + scale.box("serving", begin, end, 0, BAR),
        )


def _rank(service: Service | None) -> date:
    return date.max if service is None else service.first


def _certificates(plan: Plan, scale: _Scale) -> Iterator[_Bar]:
    for one in plan.certificates:
        note = (
            f"a certificate for {' and '.join(one.keys)}, issued on {one.issued}, expires"
            f" {one.expires}, shown from {one.first} to {one.last}"
        )
        shapes = scale.box("valid", one.issued, one.expires, 0, BAR) + scale.box(
            "shown", one.first, one.last + ONE_DAY, 0, BAR
        )
        yield _Bar("", note, one.issued, one.expires, shapes)


def _versions(plan: Plan, scale: _Scale) -> Iterator[_Bar]:
    every = [*plan.start.older, *plan.versions]
    replaced = {version.name: later.published for version, later in pairwise(every)}
    for clients in plan.carried:
        version = clients.version
        arriving = None if version is every[0] else version.published
        outline = _outline(plan, scale, clients, arriving, replaced.get(version.name))
        shapes = f'<polygon class="file" points="{outline}"/>' + "".join(
            scale.box("refuse", one.first, one.last + ONE_DAY, BAR + 1, 3)
            for one in plan.refusals
            if one.version == version.name
        )
        note = f"{version.name} is with clients from {clients.first} to {clients.last}"
        yield _Bar(version.name, note, clients.first, clients.last + ONE_DAY, shapes)


def _outline(
    plan: Plan, scale: _Scale, clients: Carried, arriving: date | None, leaving: date | None
) -> str:
    """A version's share of the clients, as if each day as many got a new one."""
    reach = plan.policy.reach

    def part(since: date | None, day: date) -> float:
        if since is None:
            return 0.0
        return min(max((day - since).days / reach, 0.0), 1.0) if reach else float(day >= since)

    first, end = clients.first, clients.last + ONE_DAY
    bends = {first, end}
    for since in (arriving, leaving):
        if since is not None:
            bends |= {day for day in (since, since + days(reach)) if first < day < end}
    points = [(first, float(BAR))]
    for day in sorted(bends):
        share = (1.0 if arriving is None else part(arriving, day)) - part(leaving, day)
        points.append((day, round(BAR * (1 - share), 1)))
    points.append((end, float(BAR)))
    return " ".join(f"{scale.x(day)},{y:g}" for day, y in points)


def _lane(name: str, bars: Sequence[_Bar], scale: _Scale, y: int) -> tuple[str, int]:
    """Put bars into as few rows as hold them side by side; return them and their height."""
    named = 0 < sum(bool(bar.name) for bar in bars) <= MOST_NAMES
    row_height = ROW if named else ROW - NAME
    ends: list[float] = []
    parts = [f'<text class="lane" x="16" y="{y + BAR + (NAME if named else 0)}">{name}</text>']
    for bar in bars:
        x = scale.x(bar.first)
        width = len(bar.name) * CHARACTER if named else 0
        x_name = min(x, WIDTH - RIGHT - width)
        row = next((row for row, end in enumerate(ends) if end <= min(x, x_name)), len(ends))
        ends[row : row + 1] = [max(scale.x(bar.end), x_name + width) + APART]
        top = y + row * row_height
        if named:
            parts.append(f'<text x="{x_name}" y="{top + NAME - 4}">{_text(bar.name)}</text>')
            top += NAME
        parts.append(
            f'<g transform="translate(0 {top})"><title>{_text(bar.note)}</title>{bar.shapes}</g>'
        )
    return "\n".join(parts), max(len(ends), 1) * row_height


# What is behind and below them.


def _ticks(scale: _Scale, bottom: int) -> Iterator[str]:
    months = list(takewhile(lambda month: month < scale.end, _months(scale.first)))
    apart = (WIDTH - LEFT - RIGHT) / max(len(months), 1)
    step = next((step for step in (1, 3, 6, 12) if step * apart >= CLOSEST_TICKS), 60)
    top, year = scale.top - 8, 0
    for month in months:
        if (12 * month.year + month.month - 1) % step:
            continue
        x = scale.x(month)
        yield f'<line class="grid" x1="{x}" y1="{top}" x2="{x}" y2="{bottom}"/>'
        if step < 12:
            yield f'<text class="quiet" x="{x + 3}" y="{top + 2}">{MONTHS[month.month - 1]}</text>'
        if month.year != year:
            year = month.year
            yield f'<text x="{x + 3}" y="{top - 11}">{year}</text>'


def _months(first: date) -> Iterator[date]:
    """The months that begin on a day or later."""
    month = first.replace(day=1)
    while True:
        if month >= first:
            yield month
        month = (month + days(31)).replace(day=1)


def _trouble(plan: Plan, scale: _Scale, bottom: int) -> Iterator[str]:
    """Mark the days on which clients break."""
    if not plan.refusals:
        return
    spans: list[tuple[date, date]] = []
    for one in plan.refusals:
        end = one.last + ONE_DAY
        if spans and one.first <= spans[-1][1]:
            spans[-1] = spans[-1][0], max(end, spans[-1][1])
        else:
            spans.append((one.first, end))
    for first, end in spans:
        yield scale.box("trouble", first, end, scale.top - 4, bottom - scale.top + 4)
    first = spans[0][0]
    x, label = scale.x(first), f"{first}: clients break"
    x_label = min(x, WIDTH - RIGHT - len(label) * CHARACTER)
    yield f'<line class="warning" x1="{x}" y1="{scale.top - 4}" x2="{x}" y2="{bottom + 6}"/>'
    yield f'<text class="alarm" x="{x_label}" y="{bottom + 18}">{label}</text>'


def _legend(bottom: int, meanings: Sequence[tuple[str, str]]) -> Iterator[str]:
    x, y = 16.0, bottom + LEGEND - 18
    for style, meaning in meanings:
        if style == "file":
            shape = (
                f'<polygon class="file" points="{x},{y} {x + 7},{y - BAR} {x + 17},{y - BAR}'
                f' {x + 24},{y}"/>'
            )
        else:
            height = 3 if style == "refuse" else BAR
            shape = f'<rect class="{style}" x="{x}" y="{y - height}" width="24" height="{height}"/>'
        yield f'{shape}<text class="quiet" x="{x + 30}" y="{y}">{meaning}</text>'
        x = round(x + 30 + len(meaning) * CHARACTER + 14, 1)
