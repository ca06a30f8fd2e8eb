"""STARTTLS of SMTP and IMAP: other keys, no TLS at all, answers from before TLS."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ..scenario import Scenario
from ..servers.mail import Imap, Smtp, beyond_clear
from ..servers.paths import StallingPath

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Literal

    from ..authority import Credential
    from ..scenario import Expected
    from ..servers.contexts import TlsVersion
    from ..servers.server import Server
    from ..stage import Stage

    MailProtocol = Literal["smtp", "imap"]

__all__ = ["SCENARIOS"]

NO_STARTTLS = "NO STARTTLS (USENIX Security 2021)"
MAIL: dict[MailProtocol, Smtp | Imap] = {"smtp": Smtp(), "imap": Imap()}
BOTH: tuple[TlsVersion, ...] = ("1.2", "1.3")


def _serving(stage: Stage, credential: Credential, mail: Smtp | Imap) -> Server:
    """A mail server; what only TLS may carry counts against the client if it comes before."""
    server = stage.serving(credential, application=mail, before_tls=mail.before_tls)
    stage.judge_also(lambda: _said_in_the_clear(server))
    return server


def _said_in_the_clear(server: Server) -> list[str]:
    said = [verb for each in server.connections for verb in beyond_clear(each.plain_data)]
    if not said:
        return []
    # Not more of it than a word: the rest may be a password.
    known = said[0].decode("ascii", "replace") if said[0].isalpha() else "..."
    return [f"the client sent in the clear what only TLS may carry, beginning with {known[:12]}"]


def _honest(stage: Stage, mail: Smtp | Imap) -> None:
    stage.honest(_serving(stage, stage.cast.pinned, mail))


def _attacker(stage: Stage, mail: Smtp | Imap) -> None:
    stage.attacker(_serving(stage, stage.cast.impostor, mail))


def _stalled(stage: Stage, mail: Smtp | Imap) -> None:
    attacker = stage.attacker(_serving(stage, stage.cast.impostor, mail))
    stage.address = stage.helper(StallingPath(attacker, 0)).address


def _injected(stage: Stage, mail: Smtp | Imap) -> None:
    """The honest server, which hangs up at the first command inside TLS without an answer.

    An attacker in the path has put answers in front of TLS. A client that goes on to a second
    command has taken one of them for the server's.
    """
    server = stage.honest(_serving(stage, stage.cast.pinned, mail))
    stage.judge_also(lambda: _went_on(server))
    stage.doubt_also(lambda: _untried(server))


def _went_on(server: Server) -> list[str]:
    # The first line needs no answer; goodbye is said to a server that is gone.
    later = b"\r\n".join(
        line for each in server.connections for line in each.application_data.splitlines()[1:]
    )
    if beyond_clear(later):
        return ["the client took an answer from before TLS for one of the server inside TLS"]
    return []


def _untried(server: Server) -> list[str]:
    if any(b"STARTTLS" in each.plain_data.upper() for each in server.connections):
        return []
    return ["the client did not ask for STARTTLS"]


def _scenario(
    protocol: MailProtocol,
    name: str,
    story: str,
    expected: Expected,
    source: str,
    build: Callable[[Stage], None],
    *,
    tls: tuple[TlsVersion, ...] = ("1.3",),
    must_arrive: bool = True,
    control: bool = False,
    claims: frozenset[str] = frozenset(),
) -> Scenario:
    return Scenario(
        f"{protocol}-{name}",
        "starttls",
        story,
        expected,
        source,
        build,
        tls=tls,
        protocol=protocol,
        must_arrive=must_arrive,
        control=control,
        claims=claims,
    )


SCENARIOS = (
    _scenario(
        "smtp",
        "starttls-honest",
        "The honest server lets TLS begin after STARTTLS.",
        "accept",
        "RFC 3207, section 4",
        partial(_honest, mail=Smtp()),
        tls=BOTH,
        control=True,
    ),
    _scenario(
        "imap",
        "starttls-honest",
        "The honest server lets TLS begin after STARTTLS.",
        "accept",
        "RFC 9051, section 6.2.1",
        partial(_honest, mail=Imap()),
        tls=BOTH,
        control=True,
    ),
    _scenario(
        "smtp",
        "starttls-other-ca",
        "After STARTTLS an attacker shows a certificate of another trusted CA.",
        "reject",
        "RFC 3207, section 4.1",
        partial(_attacker, mail=Smtp()),
        tls=BOTH,
    ),
    _scenario(
        "imap",
        "starttls-other-ca",
        "After STARTTLS an attacker shows a certificate of another trusted CA.",
        "reject",
        "RFC 9051, section 11.1",
        partial(_attacker, mail=Imap()),
        tls=BOTH,
    ),
    _scenario(
        "smtp",
        "starttls-stripped",
        "An attacker takes STARTTLS out of what the server offers, and takes mail in the clear.",
        "reject",
        "RFC 3207, section 6",
        partial(_attacker, mail=Smtp(starttls=None)),
    ),
    _scenario(
        "imap",
        "starttls-stripped",
        "An attacker takes STARTTLS out of what the server offers, and logins in the clear.",
        "reject",
        "RFC 8314, section 3.2; " + NO_STARTTLS,
        partial(_attacker, mail=Imap(starttls=None)),
    ),
    _scenario(
        "smtp",
        "starttls-refused",
        "An attacker offers STARTTLS, and answers it that TLS is not available.",
        "reject",
        "RFC 3207, section 4",
        partial(_attacker, mail=Smtp(starttls=b"454 4.7.0 TLS not available")),
    ),
    _scenario(
        "imap",
        "starttls-refused",
        "An attacker offers STARTTLS, and answers it with NO.",
        "reject",
        "RFC 9051, section 6.2.1; " + NO_STARTTLS,
        partial(_attacker, mail=Imap(starttls=b"NO TLS not available")),
    ),
    _scenario(
        "imap",
        "starttls-unknown-answer",
        "An attacker answers STARTTLS with a word that the protocol does not know.",
        "reject",
        "CVE-2021-32066",
        partial(_attacker, mail=Imap(starttls=b"XOK begin TLS")),
    ),
    _scenario(
        "imap",
        "starttls-answered-early",
        "An attacker answers STARTTLS before the client has asked, and goes on in the clear.",
        "reject",
        "CVE-2026-42246",
        partial(_attacker, mail=Imap(early=True)),
    ),
    _scenario(
        "smtp",
        "response-injection",
        "An attacker in the path puts an answer to the next command in front of TLS; the honest"
        " server behind it says nothing.",
        "reject",
        "CVE-2021-22947",
        partial(
            _injected,
            mail=Smtp(
                injected=b"250-mail.example\r\n250 AUTH PLAIN LOGIN\r\n" + 3 * b"250 ok\r\n",
                hangs_up=True,
            ),
        ),
        must_arrive=False,
    ),
    _scenario(
        "imap",
        "response-injection",
        "An attacker in the path puts answers to the next commands in front of TLS; the honest"
        " server behind it says nothing.",
        "reject",
        "CVE-2021-22947; CVE-2020-14954",
        partial(_injected, mail=Imap(injected=3, hangs_up=True)),
        must_arrive=False,
    ),
    *(
        _scenario(
            protocol,
            "starttls-stalled",
            "An attacker agrees to STARTTLS, and then does not answer ClientHello; the client may"
            " not go on without TLS.",
            "reject",
            "CWE-319; CWE-636",
            partial(_stalled, mail=mail),
            claims=frozenset({"timeouts"}),
        )
        for protocol, mail in MAIL.items()
    ),
    _scenario(
        "imap",
        "preauth",
        "An attacker greets the client as one that is logged in already, after which STARTTLS is"
        " not allowed any more.",
        "reject",
        "CVE-2020-14093; CVE-2021-22946",
        partial(_attacker, mail=Imap(greeting=b"PREAUTH")),
    ),
)
