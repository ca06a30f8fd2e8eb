"""`keypin get`: a request that only a server with a pinned key gets to see."""

from __future__ import annotations

import os
import re
import ssl
import sys
from contextlib import contextmanager, suppress
from enum import StrEnum
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import httpx2
import typer

from .. import __version__
from .._internal.pem_files import load_client_certificate
from ..certificate_file import read_server_certificate
from ..errors import CertificateFormatError, HostnameError, PinFormatError, PlainHTTPRefused
from ..hostnames import normalise
from ..mismatch import find_error
from ..pin import Pin
from ..pinner import Pinner
from ..pinset import PinSet
from .connections import connection_error
from .exit_codes import CommandError, ExitCode
from .files import read_file, written_atomically
from .options import Cafile, StrictX509, Timeout, authority_errors
from .output import printable
from .targets import HTTPS, Server

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["EXAMPLES", "get"]

EXAMPLES = """
keypin get https://api.example.com/ --certificate myCertificate.cer
keypin get https://api.example.com/items --pin sha256/... --pin sha256/...
keypin get https://api.example.com/items --certificate myCertificate.cer \\
    --data @item.json -H 'Content-Type: application/json'
"""

TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.6.2
FRAMING = frozenset({"content-length", "transfer-encoding"})
REDIRECT_LIMIT = 20
FORM = b"application/x-www-form-urlencoded"


class Match(StrEnum):
    """Where in the verified chain a pinned key counts."""

    LEAF = "leaf"
    CHAIN = "chain"


def get(
    url: Annotated[str, typer.Argument(metavar="URL", hidden=True)],
    certificate: Annotated[
        list[Path] | None,
        typer.Option(
            "--certificate",
            metavar="FILE",
            help="Pin the public key of this certificate (DER, as keypin fetch saves it).",
        ),
    ] = None,
    pin: Annotated[
        list[str] | None,
        typer.Option("--pin", metavar="sha256/...", help="Pin this public key."),
    ] = None,
    match: Annotated[
        Match,
        typer.Option(
            "--match",
            help="Where the key has to be: the server's own, or anywhere in the verified chain"
            " (for --pin only).",
        ),
    ] = Match.LEAF,
    cafile: Cafile = None,
    strict_x509: StrictX509 = None,
    client_certificate: Annotated[
        Path | None,
        typer.Option(
            "--client-certificate",
            metavar="FILE",
            help="Show this certificate (PEM) to a server that holds a pinned key.",
        ),
    ] = None,
    client_key: Annotated[
        Path | None,
        typer.Option(
            "--client-key",
            metavar="FILE",
            help="Its private key (PEM), if that is in another file.",
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            "--method", "-X", metavar="METHOD", help="GET unless given; POST with --data."
        ),
    ] = None,
    header: Annotated[
        list[str] | None,
        typer.Option("--header", "-H", metavar="'NAME: VALUE'", help="Send this header."),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            "--data", "-d", metavar="TEXT|@FILE", help="Send this body; @- is standard input."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write the body to this file."),
    ] = None,
    include: Annotated[
        bool, typer.Option("--include", "-i", help="Write the response's headers, too.")
    ] = False,
    location: Annotated[
        bool,
        typer.Option("--location", "-L", help="Follow redirects; the pins hold for each of them."),
    ] = False,
    fail: Annotated[
        bool, typer.Option("--fail", "-f", help="Exit with 22 if the status is 400 or above.")
    ] = False,
    timeout: Timeout = 30.0,
) -> ExitCode:
    """Make a request that only a server holding a pinned key gets.

    The certificate has to verify as usual, and its public key has to be one of those pinned;
    otherwise nothing is sent, and the exit code is 90. The response's body goes to standard
    output as it comes. --certificate, --pin and --header may be given several times.
    """
    address = _address(url)
    pins = _pins(certificate or [], pin or [], match)
    headers = [_header(text) for text in header or []]
    body = None if data is None else _body(data)
    if body is not None and not any(name.lower() == b"content-type" for name, _ in headers):
        headers.append((b"Content-Type", FORM))
    verb = _method(method, body)
    context = _context(pins, match, cafile, client_certificate, client_key, strict_x509)
    with (
        _request_errors(address),
        _client(context, timeout, follow_redirects=location) as client,
        client.stream(verb, address, headers=headers, content=body) as response,
    ):
        if fail and response.status_code >= HTTPStatus.BAD_REQUEST:
            raise CommandError(
                ExitCode.HTTP_ERROR,
                f"the server answered {response.status_code} {response.reason_phrase}",
            )
        _deliver(response, output, include=include)
    return ExitCode.OK


def _address(text: str) -> httpx2.URL:
    try:
        url = httpx2.URL(text)
    except httpx2.InvalidURL as error:
        raise CommandError(ExitCode.USAGE, f"not a URL: {text!r}: {error}") from None
    if url.scheme != "https" or not url.host:
        raise CommandError(
            ExitCode.USAGE, f"not an https URL: {text!r}; pins hold for TLS only: https://HOST/PATH"
        )
    problem = _problem(url)
    if problem is not None:
        raise CommandError(ExitCode.USAGE, f"not a URL: {text!r}: {problem}")
    return url


def _problem(url: httpx2.URL) -> str | None:
    """Why no server can be at a URL; None if one can."""
    try:
        normalise(url.raw_host.decode("ascii"))
    except HostnameError as error:
        return str(error)
    return None if url.port is None or 0 < url.port < 2**16 else f"no such port: {url.port}"


def _pins(certificates: list[Path], texts: list[str], match: Match) -> list[Pin]:
    if not certificates and not texts:
        raise CommandError(
            ExitCode.USAGE,
            "nothing is pinned: give --certificate FILE or --pin sha256/...\n"
            "keypin show HOST shows a server's pins, keypin fetch HOST saves its certificate.",
        )
    if certificates and match is not Match.LEAF:
        raise CommandError(
            ExitCode.USAGE, "--match chain is for --pin; --certificate pins the server's own key"
        )
    try:
        return [*map(_certificate_pin, certificates), *map(Pin, texts)]
    except PinFormatError as error:
        raise CommandError(ExitCode.USAGE, str(error)) from None


def _certificate_pin(path: Path) -> Pin:
    data = read_file(path)
    try:
        return Pin.from_certificate(read_server_certificate(data, str(path)))
    except CertificateFormatError as error:
        message = str(error)
        if b"-----BEGIN CERTIFICATE-----" in data:
            message = f"{path}: PEM, not DER; convert it: keypin convert {path} OUT.cer"
        raise CommandError(ExitCode.BAD_FILE, message) from None


def _header(text: str) -> tuple[bytes, bytes]:
    name, colon, value = text.partition(":")
    if not colon or not TOKEN.fullmatch(name) or not value.replace("\t", " ").isprintable():
        raise CommandError(ExitCode.USAGE, f"not a header: {text!r}; it is written 'NAME: VALUE'")
    if name.lower() in FRAMING:
        raise CommandError(ExitCode.USAGE, f"{name} belongs to the body and follows from --data")
    return name.encode(), value.strip().encode()


def _method(text: str | None, body: bytes | None) -> str:
    if text is None:
        return "GET" if body is None else "POST"
    if not TOKEN.fullmatch(text):
        raise CommandError(ExitCode.USAGE, f"not a method: {text!r}")
    return text


def _body(data: str) -> bytes:
    if data == "@-":
        return sys.stdin.buffer.read()
    if data.startswith("@"):
        return read_file(Path(data[1:]))
    return os.fsencode(data)


def _context(
    pins: list[Pin],
    match: Match,
    cafile: Path | None,
    certificate: Path | None,
    key: Path | None,
    strict_x509: bool | None,
) -> ssl.SSLContext:
    pinner = Pinner(PinSet.for_every_host(pins, match=match.value))
    with authority_errors(cafile, None):
        context = pinner.create_context(cafile=cafile, strict_x509=strict_x509)
    if certificate is not None:
        _load_client_certificate(context, certificate, key)
    elif key is not None:
        raise CommandError(ExitCode.USAGE, "--client-key needs --client-certificate")
    return context


def _load_client_certificate(context: ssl.SSLContext, certificate: Path, key: Path | None) -> None:
    for file in (certificate, key):
        if file is not None:
            read_file(file)  # for its errors, which name the file
    try:
        load_client_certificate(context, certificate, key)
    except ssl.SSLError as error:
        raise CommandError(ExitCode.BAD_FILE, f"client certificate {error}") from None


def _client(context: ssl.SSLContext, timeout: float, *, follow_redirects: bool) -> httpx2.Client:
    return httpx2.Client(
        verify=context,
        timeout=timeout,
        follow_redirects=follow_redirects,
        max_redirects=REDIRECT_LIMIT,
        event_hooks={"request": [_admit]},
        # the body is passed on as it comes, so none is asked for in an encoding
        headers={"User-Agent": f"keypin/{__version__}", "Accept-Encoding": "identity"},
    )


def _admit(request: httpx2.Request) -> None:
    """Let a request leave, or raise; asked for every hop of a redirect."""
    if request.url.scheme != "https":
        raise PlainHTTPRefused(
            f"redirected to {request.url.scheme}://{request.url.host}, where no server can show a"
            " pinned key: not followed"
        )
    problem = _problem(request.url)
    if problem is not None:
        raise httpx2.RemoteProtocolError(f"redirected to nowhere: {problem}")


def _deliver(response: httpx2.Response, output: Path | None, *, include: bool) -> None:
    with _destination(output) as file:
        if include:
            for answer in (*response.history, response):
                file.write(_head(answer))
        for piece in response.iter_raw():
            file.write(piece)
            file.flush()


@contextmanager
def _destination(output: Path | None) -> Iterator[BinaryIO]:
    if output is None or str(output) == "-":
        sys.stdout.flush()
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    else:
        with written_atomically(output) as file:
            yield file


def _head(response: httpx2.Response) -> bytes:
    lines = [f"{response.http_version} {response.status_code} {response.reason_phrase}"]
    lines += [
        f"{name.decode('latin-1')}: {value.decode('utf-8', 'backslashreplace')}"
        for name, value in response.headers.raw
    ]
    return "".join(f"{printable(line)}\r\n" for line in [*lines, ""]).encode()


@contextmanager
def _request_errors(url: httpx2.URL) -> Iterator[None]:
    """Turn what httpx2 raises into errors with an exit code."""
    try:
        yield
    except PlainHTTPRefused as error:
        raise CommandError(ExitCode.PIN_MISMATCH, str(error)) from None
    except httpx2.LocalProtocolError as error:
        raise CommandError(ExitCode.USAGE, f"not a valid request: {error}") from None
    except httpx2.TooManyRedirects:
        raise CommandError(ExitCode.HTTP_ERROR, f"more than {REDIRECT_LIMIT} redirects") from None
    except httpx2.HTTPError as error:
        raise _explained(url, error) from None


def _explained(url: httpx2.URL, error: httpx2.HTTPError) -> CommandError:
    mismatch = find_error(error)
    if mismatch is not None:
        return CommandError(ExitCode.PIN_MISMATCH, str(mismatch))
    with suppress(RuntimeError):  # where it belongs to no request
        url = error.request.url
    where = str(Server(url.raw_host.decode("ascii"), url.port or HTTPS))
    cause = _os_error(error)
    if cause is not None:
        return connection_error(where, cause)
    return CommandError(ExitCode.UNREACHABLE, f"{where}: {error}")


def _os_error(error: BaseException | None) -> OSError | None:
    """What the operating system or OpenSSL said, below the HTTP library's own errors."""
    while error is not None:
        if isinstance(error, OSError):
            return error
        error = error.__cause__ or error.__context__
    return None
