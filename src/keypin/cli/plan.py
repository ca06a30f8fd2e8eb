"""`keypin plan`: does every client survive the way in which certificates and keys are renewed?"""

from __future__ import annotations

import json
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import HostnameError
from ..planning import Impossible, Plan, Policy, Start, make_plan
from ..planning.advice import alternatives
from ..planning.clients import days
from ..planning.picture import draw
from ..planning.start import start_of
from ..planning.story import first_break, notes, settings, tell
from . import durations
from .exit_codes import CommandError, ExitCode
from .files import SVG, new_file, read_pin_file, refuse_other_name, refuse_to_overwrite
from .options import Force
from .output import Page
from .pin_file_edits import DEFAULT

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ..planning.advice import Way
    from ..planning.clients import Refusal

__all__ = ["CLIENTS_BREAK", "EXAMPLES", "plan"]

EXAMPLES = """
keypin plan --adoption 30d --refresh 7d --lifetime 47d --rotate-every 1y
keypin plan --adoption 30d --lifetime 47d --new-key-each-renewal
keypin plan --pins pins.toml --host api.example.com --adoption 6w
keypin plan --older-pins pins-6.toml --refresh 7d --svg plan.svg
"""

CLIENTS_BREAK = 2
JSON_VERSION = 1
BEHIND_THE_DATE = 12
MOST_LEFT_BEHIND = 3
USUAL_HORIZON = 2 * 365
LONGEST_HORIZON = 10 * 366
YEARS = range(1990, 2201)


def _date(text: str) -> date:
    try:
        day = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).date()
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a date such as 2027-06-01") from None
    if day.year not in YEARS:
        raise typer.BadParameter(f"{text!r} is not between {YEARS[0]} and {YEARS[-1]}")
    return day


def _time(help: str, *names: str, least: int = 1) -> Any:
    read = durations.some_days if least else durations.days
    return typer.Option(*names, metavar="TIME", parser=read, help=help)


def _day(help: str, *names: str) -> Any:
    return typer.Option(*names, metavar="DATE", parser=_date, help=help)


def plan(
    adoption: Annotated[
        int | None,
        _time(
            "How long it takes until practically every client has installed a release.",
            "--adoption",
            least=0,
        ),
    ] = None,
    refresh: Annotated[
        int | None,
        _time(
            "How often a running client fetches new pins; for those that get them over the air.",
            "--refresh",
            least=0,
        ),
    ] = None,
    lifetime: Annotated[
        int | None,
        _time(
            "How long certificates are valid; unless given, as long as public CAs issue on the"
            " day.",
            "--lifetime",
        ),
    ] = None,
    renew_before: Annotated[
        int | None,
        _time(
            "Renew when so much of the lifetime is left; a third unless given.",
            "--renew-before",
        ),
    ] = None,
    reuse_key: Annotated[
        bool, typer.Option("--reuse-key", help="Renewals keep the key; this is the default.")
    ] = False,
    new_key_each_renewal: Annotated[
        bool,
        typer.Option(
            "--new-key-each-renewal", help="Each renewal makes a new key, as ACME clients do."
        ),
    ] = False,
    rotate_every: Annotated[
        int | None,
        _time(
            "Renewals keep the key, and after so long in service the next one takes its place.",
            "--rotate-every",
        ),
    ] = None,
    keys_ahead: Annotated[
        int | None,
        typer.Option(
            "--keys-ahead",
            metavar="N",
            min=0,
            max=1000,
            help="Make keys before they are needed, and have the pins of the next N in the pin"
            " file; as many as it takes unless given, but none with --new-key-each-renewal.",
        ),
    ] = None,
    hold: Annotated[
        int | None,
        _time(
            "With --new-key-each-renewal: publish the new pin at once, and let servers show the new"
            " certificate so much later.",
            "--hold",
            least=0,
        ),
    ] = None,
    overlap: Annotated[
        int | None,
        _time(
            "How long some server may still show the old key after a change; 1d unless given.",
            "--overlap",
        ),
    ] = None,
    pins_expire: Annotated[
        int | None,
        _time(
            "Write an expiry into every pin file, so long after it is published; unless given, new"
            " ones have that of the first.",
            "--pins-expire",
        ),
    ] = None,
    private_ca: Annotated[
        bool,
        typer.Option(
            "--private-ca",
            help="The certificates are from a private CA, which no limit of public CAs binds.",
        ),
    ] = False,
    pins: Annotated[
        Path | None,
        typer.Option(
            "--pins",
            metavar="FILE",
            help="Begin with this pin file, the newest; pins.toml with --host, --published or"
            " --older-pins. Else: with two keys whose pins all clients have.",
        ),
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(
            "--host", metavar="HOST", help="The host that it is about, where the file has several."
        ),
    ] = None,
    published: Annotated[
        date | None,
        _day(
            "When the file of --pins was published. Unless given: on the first day, if there is"
            " --older-pins; else so long ago that all clients have it.",
            "--published",
        ),
    ] = None,
    against: Annotated[
        list[Path] | None,
        typer.Option(
            "--older-pins",
            metavar="FILE",
            help="An older pin file, which clients still carry. Repeatable.",
        ),
    ] = None,
    issued: Annotated[
        date | None,
        _day("When the certificate in service was issued; the first day unless given.", "--issued"),
    ] = None,
    start: Annotated[date | None, _day("The first day; today unless given.", "--start")] = None,
    until: Annotated[date | None, _day("The last day; instead of --horizon.", "--until")] = None,
    horizon: Annotated[
        int | None, _time("How long the plan is; 2y unless given.", "--horizon")
    ] = None,
    left_behind: Annotated[
        bool,
        typer.Option(
            "--count-left-behind", help="Clients that never update count, too: exit with 2."
        ),
    ] = False,
    svg: Annotated[
        Path | None, typer.Option("--svg", metavar="FILE", help="Draw the plan, as SVG (.svg).")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
    force: Force = False,
) -> int:
    """Show when keys and pins change, and which clients break.

    A new pin file is with all clients that update after --adoption and --refresh together; only
    then may a key that it brought go into service. TIME is 30d, 6w, 2y or 48h; 30 is 30d.

    Exits with 0 if no client breaks, 2 if some do, 64 if it is impossible, and says why.
    """
    if adoption is None and refresh is None:
        raise CommandError(
            ExitCode.USAGE,
            "how do new pins reach the clients? --adoption TIME, --refresh TIME, or both",
        )
    if sum((reuse_key, new_key_each_renewal, rotate_every is not None)) > 1:
        raise CommandError(
            ExitCode.USAGE, "--reuse-key, --new-key-each-renewal or --rotate-every: which?"
        )
    if until is not None and horizon is not None:
        raise CommandError(ExitCode.USAGE, "--until or --horizon: which?")
    if pins is None and (host or published or against):
        pins = DEFAULT
    first = start or datetime.now(UTC).date()
    last = until or first + days(horizon or USUAL_HORIZON)
    if not 0 < (last - first).days <= LONGEST_HORIZON:
        raise CommandError(
            ExitCode.USAGE, f"from {first} to {last}: the last day is up to ten years later"
        )
    if svg is not None:
        refuse_other_name(svg, SVG, "--svg")
        refuse_to_overwrite(svg, force=force)
    policy = Policy(
        adoption=adoption or 0,
        refresh=refresh or 0,
        lifetime=lifetime,
        renew_before=renew_before,
        rotate="renewal" if new_key_each_renewal else rotate_every or "never",
        keys_ahead=0 if new_key_each_renewal and keys_ahead is None else keys_ahead,
        hold=hold or 0,
        overlap=overlap or 1,
        expire_after=pins_expire,
        public=not private_ca,
    )
    begin = _start(policy, first, issued, pins, host, published, against or ())
    try:
        made = make_plan(policy, begin, last)
    except Impossible as error:
        raise CommandError(
            ExitCode.USAGE, _impossible(str(error), alternatives(policy, begin, last))
        ) from None
    who = host or "Keys, certificates and pin files" + ("" if pins is None else f" of {pins}")
    about = f"{who}, {first} to {last}"
    breaking = first_break(made)
    verdict = breaking or f"No client that updates breaks before {last + days(1)}."
    ways = alternatives(policy, begin, last) if breaking else ()
    if svg is not None:
        new_file(svg, draw(made, about, verdict).encode(), force=force)
    if json_:
        sys.stdout.write(json.dumps(_as_json(made, verdict, ways), indent=2) + "\n")
    else:
        _write(made, about, verdict, ways)
    broken = made.refusals or (left_behind and made.left_behind)
    return CLIENTS_BREAK if broken else ExitCode.OK


def _start(
    policy: Policy,
    first: date,
    issued: date | None,
    pins: Path | None,
    host: str | None,
    published: date | None,
    against: Sequence[Path],
) -> Start:
    if issued is not None and issued > first:
        raise CommandError(ExitCode.USAGE, f"--issued {issued} is behind the first day, {first}")
    if pins is None:
        return Start.anew(first, issued)
    file, older = read_pin_file(pins), [read_pin_file(path) for path in against]
    try:
        return start_of(
            file,
            host,
            first,
            issued=issued,
            published=published,
            older=older,
            reach=policy.reach,
        )
    except HostnameError as error:
        raise CommandError(ExitCode.USAGE, f"{error} (--host)") from None
    except Impossible as error:
        raise CommandError(ExitCode.USAGE, f"{pins}: {error}") from None


def _impossible(why: str, ways: Iterable[Way]) -> str:
    lines = [f"impossible: {why}"]
    if listed := [f"  {_way(way)}" for way in ways]:
        lines += ["Nobody breaks if you", *listed]
    return "\n".join(lines)


def _way(way: Way) -> str:
    return f"{way.what}: {way.options}" if way.options else way.what


def _write(plan: Plan, about: str, verdict: str, ways: Iterable[Way]) -> None:
    page = Page()
    page.line((about, "bold"))
    for label, text in settings(plan):
        page.field(label, text, indent=2)
    page.line()
    events = tell(plan)
    shown = events
    if plan.refusals:
        shown = tuple(event for event in events if event.day <= plan.refusals[0].first)
    for event in shown:
        style = "bold red" if event.kind == "break" else ""
        page.line((event.what, style), head=f"{event.day}  ")
        if event.do:
            page.line(event.do, indent=BEHIND_THE_DATE, head="- ")
    if more := len(events) - len(shown):
        page.line(f"{more} more events, up to {plan.last}: --json has them", indent=BEHIND_THE_DATE)
    page.line()
    if plan.left_behind:
        page.line("Clients that never update")
        for one in plan.left_behind[:MOST_LEFT_BEHIND]:
            page.line(f"with {one.version} break on {one.first}: they refuse {one.key}", indent=2)
        if (more := len(plan.left_behind) - MOST_LEFT_BEHIND) > 0:
            page.line(f"and so on, with {more} later versions", indent=2)
        page.line()
    for note in notes(plan):
        page.field("note", note)
        page.line()
    page.line((verdict, "bold red" if plan.refusals else "bold green"))
    if listed := list(ways):
        page.line("Nobody breaks if you")
        for way in listed:
            page.line(_way(way), indent=2, head="- ")


def _as_json(plan: Plan, verdict: str, ways: Iterable[Way]) -> dict[str, Any]:
    """The plan in the shape that docs/plan.md promises."""
    policy = plan.policy
    return {
        "version": JSON_VERSION,
        "breaks": bool(plan.refusals),
        "verdict": verdict,
        "first": _text(plan.start.day),
        "last": _text(plan.last),
        "reach_days": policy.reach,
        "keys_ahead": plan.keys_ahead,
        "events": [
            {"date": _text(event.day), "kind": event.kind, "what": event.what, "do": event.do}
            for event in tell(plan)
        ],
        "refusals": [_refusal(one) for one in plan.refusals],
        "left_behind": [_refusal(one) for one in plan.left_behind],
        "without_spare": [
            {"first": _text(gap.first), "last": _text(gap.last)} for gap in plan.unspared
        ],
        "expired": [
            {"pin_file": gap.version, "first": _text(gap.first), "last": _text(gap.last)}
            for gap in plan.expired
        ],
        "pin_files": [
            {
                "name": one.name,
                "published": _text(one.published),
                "keys": None if one.keys is None else sorted(one.keys),
                "expires": None if one.expires is None else _text(one.expires),
            }
            for one in plan.versions
        ],
        "certificates": [
            {
                "keys": list(one.keys),
                "issued": _text(one.issued),
                "expires": _text(one.expires),
                "first": _text(one.first),
                "last": _text(one.last),
            }
            for one in plan.certificates
        ],
        "services": [
            {"key": one.key, "first": _text(one.first), "last": _text(one.last)}
            for one in plan.services
        ],
        "notes": list(notes(plan)),
        "alternatives": [{"what": way.what, "options": way.options} for way in ways],
    }


def _refusal(one: Refusal) -> dict[str, str]:
    return {
        "pin_file": one.version,
        "key": one.key,
        "first": _text(one.first),
        "last": _text(one.last),
    }


def _text(day: date) -> str:
    return day.isoformat()
