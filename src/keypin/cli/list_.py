"""`keypin list`: what a pin file says, on one screen."""

from __future__ import annotations

import json
import shlex
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..checking.findings import Finding, Severity
from ..checking.lint import lint
from ..editing.changes import Draft, describe
from ..pinfile import PinFile
from .exit_codes import ExitCode
from .output import PASTED, Page
from .pin_file_edits import Pins, read_editable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..pinfile import HostEntry, PinEntry
    from .output import Part

__all__ = ["EXAMPLES", "list_"]

EXAMPLES = """
keypin list
keypin list --pins config/pins.toml
keypin list --json | jq -r '.hosts[].name'
"""

SOON = timedelta(days=30)
ROLE_WIDTH = 9
STYLES: dict[str, str] = {
    "active": "green",
    "planned": "blue",
    "backup": "blue",
    "retiring": "yellow",
    "revoked": "red",
    "denied": "red",
    Severity.OK: "",
    Severity.WARNING: "yellow",
    Severity.UNKNOWN: "yellow",
    Severity.CRITICAL: "bold red",
}
MODES: dict[str, Part] = {
    "enforce": "enforced",
    "report": ("report only", "yellow"),
}
MATCHES = {"chain": "chain", "leaf": "leaf only"}
UNLISTED = {"allow": "other hosts: ordinary TLS", "refuse": "other hosts: refused"}


def list_(
    pins: Pins = Path("pins.toml"),
    json_: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
) -> ExitCode:
    """Show what a pin file says: hosts, keys, and what is due.

    Of each host: whether its pins are enforced, when they expire, its keys with role and name, and
    what needs attention within 30 days. No server is asked; that is keypin check.
    """
    now = datetime.now(UTC)
    draft = read_editable(pins).draft
    notes = _notes(draft, now)
    if json_:
        sys.stdout.write(json.dumps(_as_json(pins, draft, notes, now), indent=2) + "\n")
        return ExitCode.OK
    page = Page()
    _write_heading(page, pins, draft)
    for host in draft.hosts:
        page.line()
        _write_host(page, draft, host, notes[host.name], now)
    if not draft.hosts:
        page.line("It has no hosts yet, and programs refuse to load it. The next step:")
        page.line()
        page.verbatim(f"keypin add HOST --from live --pins {pins}", indent=2)
    return ExitCode.OK


# What is due.


def _notes(draft: Draft, now: datetime) -> dict[str, list[Finding]]:
    """What needs attention, by host, in the words of `keypin check --lint`."""
    notes: dict[str, list[Finding]] = {host.name: [] for host in draft.hosts}
    if not draft.hosts:
        return notes
    file = PinFile(draft.hosts, version=draft.version, defaults=draft.defaults)
    for note in lint(file, now, SOON):
        if note.severity is not Severity.OK and note.host is not None:
            notes[note.host].append(note)
    for host in draft.hosts:
        notes[host.name] += _changes_due(host, now)
    return notes


def _changes_due(host: HostEntry, now: datetime) -> Iterator[Finding]:
    for entry in host.pins:
        begins = entry.not_before
        if entry.role not in ("planned", "backup") or begins is None or begins - now >= SOON:
            continue
        which = entry.key or str(entry.pin)
        when = "goes" if begins > now else "was to go"
        yield Finding(
            Severity.WARNING,
            "key-due",
            host.name,
            f"{describe(entry)} {when} into service on {begins:%Y-%m-%d}",
            advice=f"On that day: {shlex.join(['keypin', 'promote', host.name, which])}",
            pin=str(entry.pin),
        )
    if not {entry.role for entry in host.pins} & {"active", "retiring"} and not host.exclude:
        yield Finding(
            Severity.WARNING,
            "none-in-service",
            host.name,
            "no key is in service (active or retiring)",
            advice="keypin promote, or keypin add the one that the servers show",
        )


# Text.


def _write_heading(page: Page, path: Path, draft: Draft) -> None:
    hosts = "1 host" if len(draft.hosts) == 1 else f"{len(draft.hosts)} hosts"
    unlisted = UNLISTED[draft.defaults.unlisted]
    page.line((str(path), "bold"), f"  version {draft.version}  {hosts}  {unlisted}")


def _write_host(
    page: Page, draft: Draft, host: HostEntry, notes: list[Finding], now: datetime
) -> None:
    if host.exclude:
        page.line((host.name, "bold"), "  not pinned (exclude)")
        return
    mode = MODES[host.mode or draft.defaults.mode]
    match = MATCHES[host.match or draft.defaults.match]
    page.line((host.name, "bold"), _where(host), "  ", mode, f", {match}", *_expiry(host, now))
    for entry in host.pins:
        _write_key(page, entry.role, str(entry.pin), _about(entry, now))
    for pin in host.deny:
        _write_key(page, "denied", str(pin), "")
    for note in notes:
        page.line((note.text, STYLES[note.severity]), indent=2, head="! ")
        if note.advice:
            page.line((note.advice, "dim"), indent=4)


def _write_key(page: Page, role: str, pin: str, about: str) -> None:
    parts: list[Part] = [(f"{role:<{ROLE_WIDTH}}", STYLES.get(role, "")), (pin, PASTED)]
    page.line(*parts, f"  {about}" if about else "", indent=2)


def _where(host: HostEntry) -> str:
    """Where tools look for the server, if it is not port 443."""
    port = "" if host.port is None else f":{host.port}"
    return port if host.starttls is None else f"{port} ({host.starttls})"


def _about(entry: PinEntry, now: datetime) -> str:
    told = [entry.key] if entry.key else []
    if entry.authority is not None:
        told.append("own CA" if entry.authority == "own" else "another's CA")
    if entry.not_before is not None and entry.not_before > now:
        told.append(f"from {entry.not_before:%Y-%m-%d}")
    return "  ".join(told)


def _expiry(host: HostEntry, now: datetime) -> tuple[Part, ...]:
    if host.expires is None:
        return ("  no expiry",)
    left = host.expires - now
    day = f"  expires {host.expires:%Y-%m-%d}"
    if left <= timedelta(0):
        return ((f"  expired on {host.expires:%Y-%m-%d}", "bold red"),)
    days = "1 day left" if left.days == 1 else f"{left.days} days left"
    return (day, (f", {days}", "yellow" if left < SOON else ""))


# JSON.


def _as_json(
    path: Path, draft: Draft, notes: dict[str, list[Finding]], now: datetime
) -> dict[str, Any]:
    return {
        "version": 1,
        "file": str(path),
        "file_version": draft.version,
        "unlisted": draft.defaults.unlisted,
        "hosts": [_host_as_json(draft, host, notes[host.name], now) for host in draft.hosts],
    }


def _host_as_json(
    draft: Draft, host: HostEntry, notes: list[Finding], now: datetime
) -> dict[str, Any]:
    if host.exclude:
        return {"name": host.name, "exclude": True}
    rule = host.rule(draft.defaults)
    return {
        "name": host.name,
        "port": host.port,
        "starttls": host.starttls,
        "exclude": False,
        "mode": rule.mode,
        "match": rule.match,
        "on_expiry": rule.on_expiry,
        "expires": _moment(host.expires),
        "days_left": None if host.expires is None else (host.expires - now).days,
        "pins": [
            {
                "pin": str(entry.pin),
                "role": entry.role,
                "key": entry.key,
                "not_before": _moment(entry.not_before),
                "authority": entry.authority,
            }
            for entry in host.pins
        ],
        "deny": [str(pin) for pin in host.deny],
        "notes": [
            {
                "severity": str(note.severity),
                "code": str(note.code),
                "text": note.text,
                "advice": note.advice or None,
                "pin": note.pin,
            }
            for note in notes
        ],
    }


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat().replace("+00:00", "Z")
