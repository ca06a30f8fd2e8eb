"""keypin demo: the main job on real TLS, and attacks on it, judged by what the servers received."""

from __future__ import annotations

import http.client
import ssl
import tempfile
import urllib.request
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..client import Client
from ..errors import KeypinError
from ..lab import Authority, Credential, Server
from ..mismatch import find_error
from ..pinner import Pinner
from ..pinset import PinSet
from .exit_codes import CommandError, ExitCode
from .output import PASTED, Page

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["EXAMPLES", "demo"]

EXAMPLES = """
keypin demo
keypin demo --tls 1.2
"""

HOST = "localhost"
GOOD, BAD = "bold green", "bold red"


class TlsVersion(StrEnum):
    """The versions to choose from."""

    TLS_1_2 = "1.2"
    TLS_1_3 = "1.3"


@dataclass
class Step:
    """One scene: what happens, what the program did, and what the server received."""

    title: str
    code: list[str]
    """what the program does, as Python"""
    client: str
    """what came of it"""
    server: str
    kept: bool
    """whether that is what keypin promises"""
    ordinary: str = ""
    """what the same server receives from a client that trusts the CA and nothing more"""
    report: str = ""


def demo(
    tls: Annotated[TlsVersion, typer.Option(help="The TLS version to speak.")] = TlsVersion.TLS_1_3,
) -> None:
    """Show pinning at work, on real TLS on this machine.

    A certificate authority and its servers are set up on loopback. A client pins, the certificate
    is renewed, the key rotated; then the client is attacked. What counts is what each server
    received. Exits with 1 if anything came out differently than promised.
    """
    page = Page()
    page.line(("keypin demo", "bold"), f" on TLS {tls}, with servers on this machine only")
    broken = 0
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="keypin-demo-")))
        stage = Stage(folder, tls, stack)
        for number, scene in enumerate(SCENES, start=1):
            step = scene(stage)
            _show(page, number, step)
            broken += not step.kept
    page.line()
    if broken:
        raise CommandError(ExitCode.DEMO_FAILED, f"{broken} of {len(SCENES)} steps broke a promise")
    page.line((f"All {len(SCENES)} steps came out as promised.", GOOD))
    page.line("Next, with a server of your own:")
    page.verbatim("keypin fetch HOST -o myCertificate.cer", indent=2)
    page.verbatim("keypin get https://HOST/ --certificate myCertificate.cer", indent=2)


def _show(page: Page, number: int, step: Step) -> None:
    page.line()
    page.line((f"{number}  {step.title}", "bold"))
    for line in step.code:
        page.line((line, PASTED), indent=5)
    if step.ordinary:
        page.field("without", step.ordinary, indent=3)
    page.field("client", step.client, indent=3)
    page.field("server", step.server, indent=3)
    for line in step.report.splitlines():
        page.line((line.strip(), "dim"), indent=5 + len(line) - len(line.lstrip()))
    page.field("promise", ("kept", GOOD) if step.kept else ("BROKEN", BAD), indent=3)


class Stage:
    """The authority, the servers and the client of all steps."""

    def __init__(self, folder: Path, tls: TlsVersion, stack: ExitStack) -> None:
        self.folder = folder
        self.tls: TlsVersion = tls
        self.stack = stack
        self.authority: Authority = Authority("Demo CA")
        self.issuing: Authority = self.authority.intermediate("Demo issuing CA")
        self.primary: Credential = self.issuing.issue(HOST)
        self.backup: Credential = self.issuing.issue(HOST)
        self.cafile: Path = folder / "ca.pem"
        self.cafile.write_text(self.authority.pem)
        (folder / "myCertificate.cer").write_bytes(self.primary.certificate)
        (folder / "backup.cer").write_bytes(self.backup.certificate)
        self.server: Server = self.serve(self.primary)
        self.client: Client = stack.enter_context(self.new_client())

    def serve(self, credential: Credential, *, client_ca: bytes | None = None) -> Server:
        """Start a server."""
        return self.stack.enter_context(
            Server(credential, tls=[self.tls.value], client_ca=client_ca)
        )

    def new_client(self, client_certificate: Path | None = None) -> Client:
        """A client that trusts the authority."""
        return Client(
            self.server.url_for(HOST),
            self.folder,
            self.cafile,
            client_certificate=client_certificate,
            trust_env=False,
        )

    def ordinary_context(self) -> ssl.SSLContext:
        """What Python's clients use: the authority is trusted, nothing is pinned."""
        return ssl.create_default_context(cafile=self.cafile)


def _attempt(request: Callable[[], int]) -> tuple[str, bool, str]:
    """What a request came to: in words, whether it was refused by keypin, and the report."""
    try:
        status = request()
    except (OSError, KeypinError) as error:
        mismatch = find_error(error)
        if mismatch is not None:
            return f"PinMismatch: {mismatch.reason}", True, str(mismatch)
        return f"{type(error).__name__}: {error}", isinstance(error, KeypinError), ""
    return f"HTTP {status}", False, ""


def _bytes(count: int) -> str:
    return f"received {count} application bytes"


def _ordinary(context: ssl.SSLContext, server: Server) -> str:
    """Let an ordinary client send a request, and say what the server received."""
    before = server.application_bytes
    connection = http.client.HTTPSConnection(HOST, server.port, context=context, timeout=10)
    connection.connect()
    connection.request("GET", "/account")
    connection.getresponse().read()
    connection.close()
    server.settle()
    return f"an unpinned client: the server {_bytes(server.application_bytes - before)}"


def _before_the_first_pin(stage: Stage) -> Step:
    outcome, refused, _ = _attempt(lambda: stage.client.get("/account").status_code)
    return Step(
        "Before the first pin, nothing leaves",
        [
            f'client = Client("{stage.server.url_for(HOST)}", certificates="www/certificates")',
            'client.get("/account")',
        ],
        outcome,
        f"saw {len(stage.server.connections)} connections",
        refused and not stage.server.connections,
    )


def _pinned(stage: Stage) -> Step:
    stage.client.pin_trusted_certificate_public_key("myCertificate.cer")
    outcome, refused, _ = _attempt(lambda: stage.client.get("/account").status_code)
    return Step(
        "Pin the server's key, and request",
        [
            'client.pin_trusted_certificate_public_key("myCertificate.cer")',
            'client.get("/account")',
        ],
        f"{outcome} from {stage.primary.pin}",
        _bytes(stage.server.application_bytes),
        not refused and stage.server.application_bytes > 0,
    )


def _renewed(stage: Stage) -> Step:
    renewed = stage.primary.renew()
    return _served_anew(
        stage,
        "The certificate is renewed with the same key: nobody notices",
        renewed,
        [],
        renewed.certificate != stage.primary.certificate and renewed.pin == stage.primary.pin,
    )


def _rotated(stage: Stage) -> Step:
    stage.client.pin_trusted_certificate_public_key(["myCertificate.cer", "backup.cer"])
    return _served_anew(
        stage,
        "The server rotates to the backup key, which was pinned beforehand",
        stage.backup,
        ['client.pin_trusted_certificate_public_key(["myCertificate.cer", "backup.cer"])'],
        stage.backup.pin != stage.primary.pin,
    )


def _served_anew(
    stage: Stage, title: str, credential: Credential, code: list[str], premise: bool
) -> Step:
    before = stage.server.application_bytes
    stage.server.serve(credential)
    stage.server.drop_connections()
    stage.server.settle()
    outcome, refused, _ = _attempt(lambda: stage.client.get("/account").status_code)
    received = stage.server.application_bytes - before
    return Step(
        title,
        [*code, 'client.get("/account")'],
        f"{outcome} from {credential.pin}",
        _bytes(received),
        premise and not refused and received > 0,
    )


def _attacked(stage: Stage, title: str, attacker: Credential, *, in_full: bool = False) -> Step:
    server = stage.serve(attacker)
    ordinary = _ordinary(stage.ordinary_context(), server)
    fooled = server.application_bytes
    with stage.new_client() as client:
        client.pin_trusted_certificate_public_key(["myCertificate.cer", "backup.cer"])
        outcome, refused, report = _attempt(
            lambda: client.get(server.url_for(HOST, "/account")).status_code
        )
    server.settle()
    received = server.application_bytes - fooled
    return Step(
        title,
        ['client.get("/account")'],
        outcome,
        _bytes(received),
        refused and received == 0 and fooled > 0,
        ordinary=ordinary,
        report=report if in_full else "",
    )


def _same_authority(stage: Stage) -> Step:
    return _attacked(
        stage,
        "Attack: a genuine certificate for the same name, from the same authority",
        stage.issuing.issue(HOST),
        in_full=True,
    )


def _appended(stage: Stage) -> Step:
    attacker = stage.issuing.issue(HOST)
    return _attacked(
        stage,
        "Attack: the pinned certificate appended to the attacker's own chain",
        attacker.with_chain(*attacker.chain, stage.primary.certificate),
    )


def _replaced(stage: Stage) -> Step:
    server = stage.serve(stage.primary)
    url = server.url_for(HOST, "/account")
    with stage.new_client() as client:
        client.pin_trusted_certificate_public_key(["myCertificate.cer", "backup.cer"])
        first, _, _ = _attempt(lambda: client.get(url).status_code)
        before = server.application_bytes
        client.pin_trusted_certificate_public_key("backup.cer")
        outcome, refused, _ = _attempt(lambda: client.get(url).status_code)
    server.settle()
    received = server.application_bytes - before
    return Step(
        "Attack: the key was stolen; its pin is dropped while a connection is open",
        [
            'client.get("/account")',
            'client.pin_trusted_certificate_public_key("backup.cer")',
            'client.get("/account")',
        ],
        f"{first}, then {outcome}",
        f"{_bytes(before)} before, {received} after",
        first == "HTTP 200" and refused and received == 0,
    )


def _mutual(stage: Stage) -> Step:
    customers = Authority("Demo CA of customers")
    me = customers.issue(common_name="a customer", extended_key_usage=["clientAuth"])
    file = stage.folder / "customer.pem"
    file.write_bytes(me.key_pem + me.chain_pem)
    right = stage.serve(stage.primary, client_ca=customers.certificate)
    wrong = stage.serve(stage.issuing.issue(HOST), client_ca=customers.certificate)
    unpinned = stage.ordinary_context()
    unpinned.load_cert_chain(file)
    _ordinary(unpinned, wrong)
    shown_by_unpinned = wrong.connections[-1].client_certificate_seen
    with stage.new_client(client_certificate=file) as client:
        client.pin_trusted_certificate_public_key("myCertificate.cer")
        genuine, _, _ = _attempt(lambda: client.get(right.url_for(HOST)).status_code)
        outcome, refused, _ = _attempt(lambda: client.get(wrong.url_for(HOST)).status_code)
    record = wrong.settle()[-1]
    return Step(
        "Attack: a server that asks who the client is (mutual TLS)",
        ['client = Client(..., client_certificate="customer.pem")', 'client.get("/")'],
        f"{genuine} from the pinned server; {outcome}",
        f"the attacker {_bytes(record.application_bytes)} and"
        f" {'a' if record.client_certificate_seen else 'no'} client certificate",
        refused
        and genuine == "HTTP 200"
        and right.connections[-1].client_certificate == me.certificate
        and not record.client_certificate_seen
        and record.application_bytes == 0,
        ordinary="an unpinned client: the attacker sees"
        f" {'the' if shown_by_unpinned else 'no'} client certificate",
    )


def _any_library(stage: Stage) -> Step:
    right, wrong = stage.serve(stage.primary), stage.serve(stage.issuing.issue(HOST))
    context = Pinner(PinSet({HOST: [stage.primary.pin]})).create_context(cafile=stage.cafile)

    def request(server: Server) -> int:
        url = server.url_for(HOST)
        with urllib.request.urlopen(url, context=context, timeout=10) as response:  # noqa: S310
            return int(response.status)

    genuine, _, _ = _attempt(lambda: request(right))
    outcome, refused, _ = _attempt(lambda: request(wrong))
    wrong.settle()
    return Step(
        "The same pins in any library that takes an ssl.SSLContext, here urllib",
        [
            'pins = keypin.PinSet({"localhost": ["sha256/..."]})',
            "context = keypin.Pinner(pins).create_context()",
            "urllib.request.urlopen(url, context=context)",
        ],
        f"{genuine} from the pinned server; {outcome}",
        f"the attacker {_bytes(wrong.application_bytes)}",
        genuine == "HTTP 200" and refused and wrong.application_bytes == 0,
    )


SCENES: tuple[Callable[[Stage], Step], ...] = (
    _before_the_first_pin,
    _pinned,
    _renewed,
    _rotated,
    _same_authority,
    _appended,
    _replaced,
    _mutual,
    _any_library,
)
