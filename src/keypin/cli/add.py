"""`keypin add`: one more pin in the pin file, of a key that a person has confirmed."""

from __future__ import annotations

import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..checking.targets import ConnectOptions, targets_of
from ..editing.changes import EditRefused, add_pin, find_host
from ..errors import HostnameError, KeypinError, PinFormatError, PinSetError
from ..hostnames import certificate_names, normalise_pattern
from ..inspection import verifying_context
from ..pin import Pin
from ..pinfile import PinEntry, PinFile
from ..pinfile.fields import read_authority, read_role
from ..pinset import PinSet, Rule
from .backup_key import new_backup
from .certificates import summarise
from .exit_codes import CommandError, ExitCode
from .fetch import trusted_certificate
from .findings import ask
from .init import TEMPLATE
from .key_files import FoundKey, read_key
from .listing import list_certificates, list_details
from .options import Cafile, ServerName, StrictX509, Timeout, authority_errors, server_name
from .output import PASTED, Page
from .pin_file_edits import DryRun, Pins, edit_pin_file, moment, prepare_edit
from .targets import Address, Server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..editing.changes import Change, Draft
    from ..pinfile import Authority, Role
    from ..pinset import Match

__all__ = ["EXAMPLES", "add"]

EXAMPLES = """
keypin add https://api.example.com:8443/ --from live --report --backup
keypin add api.example.com --from live --key "api 2026"
keypin add api.example.com --from next.csr --role planned --key "api 2027"
keypin add '**.example.com' --from live --connect api.example.com --ca
keypin add api.example.com --from sha256/... --role backup
keypin add intranet.example.com --from our-ca.pem --authority own
"""

LIVE = "live"
ANY_PIN = Pin.from_digest(bytes(32))  # of a rule that is only asked for its host


def _role(text: str) -> Role:
    try:
        role: Role = read_role(text)
    except PinSetError as error:
        raise typer.BadParameter(str(error)) from None
    return role


def _authority(text: str | None) -> Authority | None:
    try:
        return None if text is None else read_authority(text)
    except PinSetError as error:
        raise typer.BadParameter(str(error)) from None


def _pin(text: str | None) -> Pin | None:
    try:
        return None if text is None else Pin(text)
    except PinFormatError as error:
        raise typer.BadParameter(str(error)) from None


def add(
    host: Annotated[str, typer.Argument(metavar="HOST[:PORT]|URL", hidden=True)],
    source: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="FILE|live|PIN",
            help="ConnectOptions the key is: in a file, at the server, or a pin as it is.",
        ),
    ],
    role: Annotated[
        str,
        typer.Option(
            "--role",
            metavar="ROLE",
            help="planned, active, retiring, backup or revoked.",
        ),
    ] = "active",
    key: Annotated[
        str | None, typer.Option("--key", metavar="NAME", help="What people call the key.")
    ] = None,
    not_before: Annotated[
        str | None,
        typer.Option("--not-before", metavar="DATE", help="When the key goes into service."),
    ] = None,
    authority: Annotated[
        str | None,
        typer.Option(
            "--authority",
            metavar="WHOSE",
            help="The key is a CA's: own, one that you run yourself, or other. Keypins that know"
            " schema 1 only cannot read the file then.",
        ),
    ] = None,
    expires: Annotated[
        str | None,
        typer.Option(
            "--expires", metavar="DATE", help="When all pins of the host were meant to be replaced."
        ),
    ] = None,
    depth: Annotated[
        int | None,
        typer.Option(
            "--depth",
            metavar="N",
            help="Which certificate of a chain: 0, the server's own, unless given.",
            min=0,
        ),
    ] = None,
    ca: Annotated[
        bool, typer.Option("--ca", help="The key of the CA that issued it: --depth 1.")
    ] = False,
    report: Annotated[
        bool,
        typer.Option(
            "--report", help="A new host in report mode: mismatches pass, and are told of."
        ),
    ] = False,
    backup: Annotated[
        bool,
        typer.Option(
            "--backup",
            help="Make a backup key as well, and pin it, as keypin backup-key does.",
        ),
    ] = False,
    confirm: Annotated[
        str | None,
        typer.Option(
            "--confirm",
            metavar="PIN",
            help="Do not ask: this is the key, known from elsewhere. Any other is refused.",
        ),
    ] = None,
    connect: Annotated[
        str | None,
        typer.Option(
            "--connect",
            metavar="HOST[:PORT]",
            help="The server for --from live, if it is not the host itself.",
        ),
    ] = None,
    cafile: Cafile = None,
    strict_x509: StrictX509 = None,
    servername: ServerName = None,
    timeout: Timeout = 10.0,
    pins: Pins = Path("pins.toml"),
    dry_run: DryRun = False,
) -> ExitCode:
    """Add a pin to a host, and the host if it is not there.

    The host may be given as people paste it, as a URL, say; a port goes into the file, for tools
    to look there. The pins hold at every port. pins.toml is made if it is not there.

    FILE is a certificate or a chain, a certificate request, a public key or an unencrypted private
    key, in DER or PEM. With 'live' the server is asked; its certificate must verify, and you are
    asked whether the key is the right one: compare it with what its owner says.
    """
    entry_role, confirmed, whose = _role(role), _pin(confirm), _authority(authority)
    begins, ends, now = moment(not_before), moment(expires), datetime.now(UTC)
    address = Address.parse(host)
    name = _pattern(address.host)
    port = None if address.port == address.usual_port else address.port
    if ends is not None and ends <= now:
        raise CommandError(ExitCode.USAGE, f"--expires {expires} is not in the future")
    if ca and depth is not None:
        raise CommandError(ExitCode.USAGE, "--ca is --depth 1: give one of them")
    depth = 1 if ca else depth or 0
    chain: tuple[bytes, ...] = ()
    if source == LIVE:
        server = _server(name, address, connect, pins)
        source, chain = _ask_server(name, server, servername, cafile, timeout, strict_x509)
        found = _certificate_at(depth, chain, source)
    elif connect or cafile or servername or strict_x509 is not None:
        raise CommandError(
            ExitCode.USAGE,
            "--connect, --cafile, --servername and --strict-x509 are for --from live",
        )
    else:
        found = _in_file_or_text(source, depth)
    if confirmed is not None and found.pin != confirmed:
        raise CommandError(
            ExitCode.PIN_MISMATCH, f"the key of {source} is {found.pin}, not {confirmed}"
        )

    def change(draft: Draft) -> Change:
        entry = PinEntry(found.pin, entry_role, key, begins, whose)
        made = add_pin(
            draft,
            name,
            entry,
            expires=ends,
            port=port,
            starttls=address.starttls,
            report=report,
        )
        if whose is not None and found.chain and not _is_ca(found):
            raise EditRefused("the certificate is not a CA's (basicConstraints): no --authority")
        if (whose is not None or _is_ca(found)) and _match(made.draft, name) == "leaf":
            raise EditRefused(
                f"the key is a CA's, and for {name} only the server's own key counts"
                ' (match = "leaf"): no server could match'
            )
        return made._replace(warnings=(*_doubts(name, found, whose), *made.warnings))

    prepare_edit(pins, change, TEMPLATE)
    _show(source, found, chain, now)
    if chain and confirmed is None and not dry_run:
        _ask_whether_to_pin(found.pin, name)
    if backup:
        new_backup(f"{name} backup", [name], change, pins, dry_run=dry_run, template=TEMPLATE)
    else:
        edit_pin_file(pins, change, dry_run=dry_run, template=TEMPLATE)
    return ExitCode.OK


def _pattern(host: str) -> str:
    try:
        return normalise_pattern(host)
    except HostnameError as error:
        raise CommandError(ExitCode.USAGE, str(error)) from None


# ConnectOptions the key is.


def _server(name: str, address: Address, connect: str | None, pins: Path) -> Server:
    """The server to ask: where the user says, or where the pin file says that it is.

    Raises:
        CommandError: that is not known.
    """
    if connect is not None:
        return Server.parse(connect)
    if "*" in name:
        raise CommandError(
            ExitCode.USAGE, f"{name} stands for many hosts: which one to ask? --connect HOST[:PORT]"
        )
    if address.port is None and address.starttls is None:
        with suppress(KeypinError):  # of no use yet
            file = PinFile.load(pins)
            target = targets_of(file, ConnectOptions(), [(name, None)], [])[0]
            return Server(name, target.port, target.starttls)
    return Server(name, address.port or address.usual_port, address.starttls)


def _ask_server(
    name: str,
    server: Server,
    servername: str | None,
    cafile: Path | None,
    timeout: float,
    strict_x509: bool | None,
) -> tuple[str, tuple[bytes, ...]]:
    """The server, for people, and its chain, verified as one that the rule would be for.

    Raises:
        CommandError: there is no such chain.
    """
    asked = server_name(servername) or (server.host if "*" in name else name)
    if not _governs(name, asked):
        raise CommandError(
            ExitCode.USAGE,
            f"{asked} is no host of {name}; the name to verify is given by --servername",
        )
    with authority_errors(cafile, None):
        context = verifying_context(cafile, strict_x509=strict_x509)
    inspection = ask(server, context, asked, timeout)
    trusted_certificate(server, inspection, cafile, strict_x509)
    return str(server), inspection.verified


def _in_file_or_text(source: str, depth: int) -> FoundKey:
    with suppress(PinFormatError):
        return FoundKey(Pin(source), "as given")
    if not Path(source).exists() and source.startswith(("sha256/", "pin-sha256=")):
        raise CommandError(ExitCode.USAGE, f"not a pin: {source}")
    return read_key(Path(source), depth)


def _certificate_at(depth: int, chain: tuple[bytes, ...], where: str) -> FoundKey:
    if depth >= len(chain):
        raise CommandError(
            ExitCode.USAGE, f"the chain of {where} ends at depth {len(chain) - 1}, before {depth}"
        )
    return FoundKey(Pin.from_certificate(chain[depth]), "a certificate", chain[depth:])


# What a person should know of it.


def _show(source: str, found: FoundKey, chain: tuple[bytes, ...], now: datetime) -> None:
    page = Page()
    if chain:
        page.line((source, "bold"), "  ", ("verified", "bold green"))
        depth = len(chain) - len(found.chain)
        notes = ["to be pinned" if at == depth else "" for at in range(len(chain))]
        list_certificates(page, [summarise(der) for der in chain], notes, now)
    elif found.chain:
        certificate = summarise(found.chain[0])
        page.line((source, "bold"), f"  {found.what}")
        page.field("subject", (certificate.subject, "bold"), indent=2)
        list_details(page, certificate, now, indent=2)
    elif source != str(found.pin):
        page.line((source, "bold"), f"  {found.what}")
        page.field("pin", (str(found.pin), PASTED), indent=2)
    else:
        return
    page.line()


def _ask_whether_to_pin(pin: Pin, name: str) -> None:
    if not sys.stdin.isatty():
        raise CommandError(
            ExitCode.USAGE,
            "there is nobody to ask whether this is the right key. If its owner says so:"
            f" --confirm {pin}",
        )
    if not typer.confirm(f"Pin {pin} for {name}?", err=True):
        raise CommandError(ExitCode.NOT_ALLOWED, "nothing was changed")


def _doubts(name: str, found: FoundKey, whose: Authority | None) -> Iterator[str]:
    if whose != "own" and (whose is not None or _is_ca(found)):
        yield (
            f"it is the key of a CA: whatever this CA issues for {name}, to whomever, is accepted."
            " Have a backup that does not depend on this CA"
        )
    elif found.chain and not _is_ca(found) and not _names(found.chain[0], name):
        yield f"the certificate is not for {name}"


def _is_ca(found: FoundKey) -> bool:
    return bool(found.chain) and summarise(found.chain[0]).is_ca is True


def _names(der: bytes, name: str) -> bool:
    """Whether a certificate is for a host, or for one of a pattern's."""
    names = summarise(der).names
    if "*" in name:
        return any(_governs(name, each.value.replace("*", "any-host", 1)) for each in names)
    kinds = {"DNS": "DNS", "IP": "IP Address"}  # as ssl calls them
    fields = [(kinds.get(each.kind, each.kind), each.value) for each in names]
    return certificate_names(name, {"subjectAltName": fields})


def _governs(name: str, host: str) -> bool:
    """Whether a pattern is for a host."""
    try:
        return PinSet([Rule(name, [ANY_PIN])]).rule_for(host) is not None
    except HostnameError:
        return False


def _match(draft: Draft, name: str) -> Match:
    return find_host(draft, name).match or draft.defaults.match
