"""Errors: what a refusal looks like to a TLS client, and how it is found again in another error."""

import copy
import json
import pickle
import ssl
import urllib.error
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
import requests
import urllib3
from aiohttp import ClientConnectorCertificateError

import keypin
from keypin import (
    CertificateFormatError,
    CertificateNotFound,
    HostnameError,
    KeypinError,
    MissingExtra,
    NoServerName,
    NotPinned,
    Pin,
    PinFormatError,
    PinMismatch,
    PinSet,
    PinSetError,
    PlainHTTPRefused,
    ProtectionError,
    Reason,
    Rule,
    UnverifiedConnection,
    Verdict,
    find_error,
)
from keypin.client import AnswerTooLarge, AuthorizationRefused, ServerError
from keypin.formats import FormatError

PINNED = Pin.from_digest(b"\1" * 32)
CERTIFICATE = Path(__file__).parent.joinpath("corpus", "certificates", "p-256.der").read_bytes()
VERDICT = PinSet({"**.example.com": [PINNED]}).check("www.example.com", [CERTIFICATE])


class OwnMismatch(PinMismatch):
    """What a program may derive."""


MISMATCHES = [PinMismatch, NoServerName, UnverifiedConnection, OwnMismatch]
every_mismatch = pytest.mark.parametrize("kind", MISMATCHES)


# What it is


@every_mismatch
def test_a_mismatch_is_a_failed_certificate_verification(kind: type[PinMismatch]) -> None:
    """So every TLS client treats it as one: no retry, no crash."""
    error = kind(VERDICT)
    for parent in (KeypinError, ssl.SSLCertVerificationError, ssl.SSLError, OSError, ValueError):
        assert isinstance(error, parent)
    assert error.errno == ssl.SSLErrorNumber.SSL_ERROR_SSL
    assert error.verify_code == 50  # X509_V_ERR_APPLICATION_VERIFICATION
    assert error.verify_message == "no pinned key in the verified chain"
    assert error.library == "keypin"
    assert error.reason is Reason.NO_MATCH


@every_mismatch
def test_a_mismatch_reads_like_a_report(kind: type[PinMismatch]) -> None:
    error = kind(VERDICT)
    assert str(error) == VERDICT.report()
    assert error.strerror == VERDICT.report()
    assert "www.example.com" in str(error)
    assert str(PINNED) in str(error)
    assert f"{Pin.from_certificate(CERTIFICATE)}  CN=p-256" in str(error)


@every_mismatch
def test_a_mismatch_holds_the_decision(kind: type[PinMismatch]) -> None:
    error = kind(VERDICT)
    assert error.verdict == VERDICT
    assert error.host == "www.example.com"
    assert error.port is None
    assert error.served == [(Pin.from_certificate(CERTIFICATE), "CN=p-256")]
    assert error.expected == [PINNED]


def test_a_mismatch_without_a_name_or_a_rule() -> None:
    error = NoServerName(PinSet([]).check(None, []))
    assert (error.host, error.served, error.expected) == (None, [], [])
    assert error.reason is Reason.NO_SERVER_NAME


def test_the_port_is_that_of_the_verdict() -> None:
    assert PinMismatch(Verdict("www.example.com", Reason.NO_MATCH, port=8443)).port == 8443


@pytest.mark.parametrize(
    ("kind", "parent"),
    [
        (PinFormatError, ValueError),
        (HostnameError, ValueError),
        (PinSetError, ValueError),
        (CertificateFormatError, ValueError),
        (CertificateNotFound, FileNotFoundError),
        (MissingExtra, ImportError),
        (ProtectionError, Exception),
        (NotPinned, Exception),
        (PlainHTTPRefused, Exception),
    ],
)
def test_a_mistake_of_the_program_is_no_refusal_of_a_server(
    kind: type[KeypinError], parent: type[Exception]
) -> None:
    """Two branches: what handles a failed verification must not swallow a bad configuration."""
    error = kind("what is wrong")
    assert isinstance(error, KeypinError)
    assert isinstance(error, parent)
    assert not isinstance(error, ssl.SSLError)
    assert not isinstance(error, PinMismatch)
    assert str(error) == "what is wrong"


def test_every_public_error_is_a_keypin_error() -> None:
    public = (getattr(keypin, name) for name in keypin.__all__)
    found = [item for item in public if isinstance(item, type) and issubclass(item, Exception)]
    assert {PinMismatch, NotPinned, CertificateNotFound} <= set(found)
    assert all(issubclass(item, KeypinError) for item in found)


# Pickling and copying


@every_mismatch
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_mismatch_survives_pickling(kind: type[PinMismatch], protocol: int) -> None:
    """So it can come from another process."""
    check_same(pickle.loads(pickle.dumps(kind(VERDICT), protocol)), kind)


@every_mismatch
@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_a_mismatch_survives_copying(
    kind: type[PinMismatch], copied: Callable[[Any], PinMismatch]
) -> None:
    check_same(copied(kind(VERDICT)), kind)


def check_same(error: PinMismatch, kind: type[PinMismatch]) -> None:
    original = kind(VERDICT)
    assert type(error) is kind
    assert vars(error) == vars(original)
    assert error.args == original.args
    assert str(error) == str(original)
    assert error.verify_code == 50


@pytest.mark.parametrize(
    "kind", [PinFormatError, HostnameError, CertificateNotFound, CertificateFormatError, NotPinned]
)
def test_other_errors_survive_pickling(kind: type[KeypinError]) -> None:
    error = pickle.loads(pickle.dumps(kind("what is wrong")))
    assert type(error) is kind
    assert str(error) == "what is wrong"


# find_error


MISMATCH = PinMismatch(VERDICT)


def caused(error: BaseException) -> BaseException:
    outer = RuntimeError("outer")
    outer.__cause__ = error
    return outer


def in_context(error: BaseException) -> BaseException:
    outer = RuntimeError("outer")
    outer.__context__ = error
    return outer


def suppressed(error: BaseException) -> BaseException:
    outer = in_context(error)
    outer.__suppress_context__ = True
    return outer


def in_attribute(error: object) -> BaseException:
    outer = RuntimeError("outer")
    outer.original = error  # type: ignore[attr-defined]
    return outer


POOL = urllib3.HTTPSConnectionPool("www.example.com")
KEY: Any = type("ConnectionKey", (), {"host": "h", "port": 1, "ssl": True, "is_ssl": True})()

WRAPPERS: dict[str, Callable[[Any], BaseException]] = {
    "nothing": lambda error: error,
    "a cause": caused,
    "a context": in_context,
    "a suppressed context": suppressed,
    "an argument": lambda error: RuntimeError("outer", 5, error),
    "an attribute": in_attribute,
    "a list in an argument": lambda error: RuntimeError("outer", [ValueError(), error]),
    "a tuple in an attribute": lambda error: in_attribute((ValueError(), error)),
    "urllib": urllib.error.URLError,
    "urllib3": lambda error: urllib3.exceptions.MaxRetryError(POOL, "/", error),
    "urllib3's own error": urllib3.exceptions.SSLError,
    "requests": lambda error: requests.exceptions.SSLError(
        urllib3.exceptions.MaxRetryError(POOL, "/", urllib3.exceptions.SSLError(error))
    ),
    "aiohttp": lambda error: ClientConnectorCertificateError(KEY, error),
    "httpx2": lambda error: caused_by(httpx2.ConnectError("outer"), error),
    "a group": lambda error: ExceptionGroup("several", [ValueError(), error]),
    "a group of another sequence": lambda error: ExceptionGroup(
        "several",
        deque([ValueError(), error]),  # type: ignore[arg-type]
    ),
    "a group in a group": lambda error: ExceptionGroup(
        "outer", [OSError(), ExceptionGroup("inner", [KeyError(), error])]
    ),
    "a group with an interrupt": lambda error: BaseExceptionGroup(
        "several", [KeyboardInterrupt(), error]
    ),
    "a group as a cause": lambda error: caused(ExceptionGroup("several", [error])),
    "a group of causes": lambda error: ExceptionGroup("several", [caused(error)]),  # type: ignore[list-item]
    "an interrupt": lambda error: caused_by(KeyboardInterrupt(), error),
}


def caused_by(outer: BaseException, error: BaseException) -> BaseException:
    outer.__cause__ = error
    return outer


@pytest.mark.parametrize("outer", WRAPPERS.values(), ids=WRAPPERS)
def test_a_mismatch_is_found_in_whatever_was_raised_around_it(outer: Callable[[Any], Any]) -> None:
    """Each around each."""
    for name, inner in WRAPPERS.items():
        try:
            error = outer(inner(MISMATCH))
        except TypeError:  # an ExceptionGroup holds no BaseException
            error = outer(caused(inner(MISMATCH)))
        assert find_error(error) is MISMATCH, name


@pytest.mark.parametrize("outer", WRAPPERS.values(), ids=WRAPPERS)
def test_there_is_no_mismatch_in_other_errors(outer: Callable[[Any], BaseException]) -> None:
    assert find_error(outer(ssl.SSLCertVerificationError(1, "expired"))) is None


def test_there_is_no_mismatch_in_nothing() -> None:
    assert find_error(None) is None


@every_mismatch
def test_every_kind_of_mismatch_is_found(kind: type[PinMismatch]) -> None:
    error = kind(VERDICT)
    assert find_error(caused(error)) is error


def test_a_circle_has_an_end() -> None:
    first, second = RuntimeError("first"), RuntimeError("second")
    first.__context__, second.__cause__ = second, first
    second.args = (second, first)
    first.itself = first  # type: ignore[attr-defined]
    assert find_error(first) is None
    second.original = MISMATCH  # type: ignore[attr-defined]
    assert find_error(first) is MISMATCH


def test_a_long_chain_is_followed_to_its_end() -> None:
    error: BaseException = MISMATCH
    for _ in range(5000):
        error = caused(error)
    assert find_error(error) is MISMATCH


def test_the_nearest_mismatch_is_found() -> None:
    nearer = NoServerName(VERDICT)
    nearer.__context__ = MISMATCH
    assert find_error(caused(nearer)) is nearer


SOMETHING = pytest.param(object(), id="object()")  # its repr is another in each process


@pytest.mark.parametrize("value", [None, 5, "text", [1], SOMETHING, ValueError], ids=repr)
def test_an_attribute_that_looks_like_a_group_is_none(value: object) -> None:
    """Other people's exceptions may use any name for anything."""
    error = RuntimeError("outer")
    error.exceptions = value  # type: ignore[attr-defined]
    error.reason = value  # type: ignore[attr-defined]
    assert find_error(error) is None
    error.__cause__ = MISMATCH
    assert find_error(error) is MISMATCH


def test_a_rule_in_report_mode_still_makes_an_error_of_its_verdict() -> None:
    """The log line of report mode and the error of enforce mode tell the same."""
    reporting = Rule("www.example.com", [PINNED], mode="report")
    decided = reporting.check("www.example.com", [CERTIFICATE])
    enforced = Rule("www.example.com", [PINNED]).check("www.example.com", [CERTIFICATE])
    told = str(PinMismatch(decided)).splitlines()
    assert "report mode" in told[0]
    assert "report mode" in told[-1]
    assert told[1:-1] == str(PinMismatch(enforced)).splitlines()[1:]


@every_mismatch
@pytest.mark.parametrize("rounds", [1, 3])
def test_a_mismatch_made_anew_of_its_arguments_is_of_the_same_kind(kind, rounds) -> None:
    """As Celery, multiprocessing and others rebuild errors that come from another process."""
    error = original = kind(VERDICT)
    for _ in range(rounds):
        error = type(error)(*json.loads(json.dumps(error.args)))
    assert type(error) is kind
    assert error.args == original.args
    assert str(error) == str(original)
    assert (error.errno, error.verify_code) == (original.errno, original.verify_code)
    assert error.reason is Reason.ONLY_TEXT
    outer = RuntimeError("a task failed")
    outer.__cause__ = error
    assert find_error(outer) is error


@every_mismatch
@pytest.mark.parametrize("args", [(), ("a text",), (1, "before it: ", "more")])
def test_a_mismatch_whose_arguments_a_library_has_changed_can_be_pickled(kind, args) -> None:
    error = kind(VERDICT)
    error.args = args
    for again in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert type(again) is kind
        assert again.verdict == VERDICT


@every_mismatch
def test_a_mismatch_is_shown_in_one_line(kind) -> None:
    """Libraries put the representation of an error into texts of their own."""
    error = kind(VERDICT)
    first = "keypin refused www.example.com: no pinned key in the verified chain"
    assert repr(error) == f"{kind.__name__}({first!r})"
    assert repr(error) in str(urllib3.exceptions.MaxRetryError(None, "/", error))


def test_the_reason_is_of_one_type() -> None:
    assert PinMismatch.__annotations__["reason"] == "Reason"
    for error in (PinMismatch(VERDICT), PinMismatch(str(PinMismatch(VERDICT)))):
        assert isinstance(error.reason, Reason)
        assert isinstance(error.reason, str)


PROBLEMS = [keypin.PinFileProblem(3, "host[0]", "wrong"), keypin.PinFileProblem(4, None, "too")]


@pytest.mark.parametrize(
    "error",
    [
        keypin.PinFileError("pins.toml", PROBLEMS),
        keypin.PinFileError(None, PROBLEMS[:1]),
        AuthorizationRefused("no token", "invalid_client", "who?", 401, "read"),
        ServerError(503, "later"),
        AnswerTooLarge(200, "", "too long"),
        FormatError("not known", "pins.xml", 7),
        *(
            kind("a text")
            for kind in vars(keypin).values()
            if isinstance(kind, type)
            and issubclass(kind, KeypinError)
            and kind is not keypin.PinFileError
        ),
    ],
    ids=lambda error: type(error).__name__,
)
def test_every_error_can_be_made_anew_of_its_arguments(error) -> None:
    for again in (
        type(error)(*error.args),
        copy.copy(error),
        copy.deepcopy(error),
        pickle.loads(pickle.dumps(error)),
        type(error)(*json.loads(json.dumps(error.args))),
    ):
        assert type(again) is type(error)
        assert str(again) == str(error)
        if not isinstance(error, FormatError | PinMismatch):
            assert vars(again) == vars(error)


def test_a_pinner_cannot_be_copied() -> None:
    """A copy would not be told of the connections, and its pins not be theirs."""
    pinner = keypin.Pinner(PinSet({"www.example.com": [PINNED]}))
    for make in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match=r"cannot be copied or pickled.*Pinner\(pinner\.pins\)"):
            make(pinner)
        with pytest.raises(TypeError, match="cannot be copied"):
            make({"app": [pinner]} if make is not copy.copy else pinner)


def test_a_copy_that_a_library_makes_of_the_text_is_still_a_mismatch_with_that_text() -> None:
    """As ldap3 does with every error of a socket."""
    error = PinMismatch(Verdict("localhost", Reason.NO_MATCH))
    remade = type(error)(str(error))
    assert str(remade) == str(error)
    assert remade.verdict == Verdict(None, Reason.ONLY_TEXT)
    assert not remade.verdict.accepted
    assert find_error(remade) is remade
