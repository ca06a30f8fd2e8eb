"""Why a server's certificates do not verify: which one is at fault, and what mends it.

OpenSSL says in a few words what is wrong, and Python passes on neither which certificate it means
nor which ones were looked for. Both are worked out here, from what was sent and what is trusted.
Nothing is fetched: an address in a certificate that nobody vouches for may be anybody's.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import AuthorityInformationAccessOID

from .._internal.der import name_text, read_certificate
from ..errors import CertificateFormatError
from ..pinset import subject_of
from .candidate import names_of
from .certificates import facts_of
from .paths import (
    LONGEST_PATH,
    UNREADABLE,
    VerifierProfile,
    is_authority,
    is_for_servers,
    issued,
    outdated,
    parse,
    server_paths,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from .paths import TrustStore

__all__ = ["Explanation", "Unverified", "explain"]

# X509_V_ERR_*
SIGNATURE_FAILURE = 7
DATES = frozenset({9, 10})
SELF_SIGNED_LEAF, SELF_SIGNED_ABOVE = 18, 19
NO_ISSUER = frozenset({2, SELF_SIGNED_ABOVE, 20, 21, 27, 30, 31})
INVALID_CA = frozenset({24, 32, 37, 79})
PATH_LENGTH, PURPOSE = 25, frozenset({26, 28})
NAMES = frozenset({62, 64})
WEAK = frozenset({66, 67, 68})

MOST_NAMES = 4
LONGEST_URL = 200
LEAST_RSA_BITS = 2048
WEAK_HASHES = frozenset({"md5", "sha1"})


class Unverified(NamedTuple):
    """A chain that does not verify, for whom, and when."""

    sent: Sequence[bytes]
    """in DER, as the server sent them"""
    host: str
    """what the certificate has to be for"""
    failure_code: int
    """OpenSSL's X509_V_ERR_*"""
    store: TrustStore
    """whom the client trusts"""
    now: datetime
    """with a time zone"""
    strict_x509: bool | None = None
    """what the client was told; see `Pinner.create_context`"""


class Explanation(NamedTuple):
    """Each of them is text for people, or "" where there is no more to be said."""

    cause: str = ""
    advice: str = ""


def explain(case: Unverified) -> Explanation:
    """Say which certificate is at fault, and what mends it."""
    if not case.sent:
        return Explanation()
    try:
        cause, advice = _explain(case)
        return Explanation(cause, advice[:1].upper() + advice[1:])
    except (CertificateFormatError, *UNREADABLE):  # a stranger's certificate, which may be anything
        return Explanation("a certificate of the server cannot be read")


def _explain(case: Unverified) -> Explanation:
    code, path = case.failure_code, _path(case.sent)
    if code == SELF_SIGNED_LEAF:
        return _self_signed_leaf(case)
    if code in NO_ISSUER:
        return _without_issuer(case, path)
    if code == SIGNATURE_FAILURE:
        return _wrong_signature(case, path)
    if code in DATES:
        return _out_of_date(case, path)
    if code in NAMES:
        return _other_names(case)
    if code in PURPOSE or code in INVALID_CA or code == PATH_LENGTH:
        return _not_meant_for_it(case)
    if code in WEAK:
        return _weak(case, path)
    return _too_strict(case)


def _path(sent: Sequence[bytes]) -> list[bytes]:
    """The server's certificate, and behind it each one's issuer, as far as they were sent."""
    path = [sent[0]]
    while len(path) < LONGEST_PATH and not _is_root(path[-1]):
        above = [each for each in sent if each not in path and issued(path[-1], each)]
        if not above:
            break
        path.append(above[0])
    return path


def _is_root(certificate: bytes) -> bool:
    fields = read_certificate(certificate)
    return fields.subject == fields.issuer and issued(certificate, certificate)


# No path to an authority that is trusted


def _without_issuer(case: Unverified, path: Sequence[bytes]) -> Explanation:
    last, store = path[-1], case.store
    if _is_root(last) and last not in store.anchors:
        return _unknown_root(case, last)
    issuer, of_that_name = _issuer(last), store.issuers_of(last)
    if last in store.anchors:
        return _ends_too_early(case, last)
    for anchor in of_that_name:
        if issued(last, anchor):
            return _too_strict(case) if _is_root(anchor) else _ends_too_early(case, anchor)
    if of_that_name:
        return Explanation(
            f"an authority named {issuer} is trusted{_here(store)}, but with another key than the"
            f" one that signed {subject_of(last)}: it was made anew, or is another one",
            f"{_trust(store, issuer)}, the one that is in use now.",
        )
    if len(path) == 1:
        return _own_certificate_only(case, last, issuer)
    return Explanation(
        f"the server's certificates end with {subject_of(last)}; the certificate of its issuer,"
        f" {issuer}, is missing: it is not trusted{_here(store)}, and was not sent",
        f"If {issuer} is a root: {_trust(store)}. If it is an intermediate, let the server"
        f" send it, too{_to_be_had(last)}.",
    )


def _own_certificate_only(case: Unverified, own: bytes, issuer: str) -> Explanation:
    others = [subject_of(each) for each in dict.fromkeys(case.sent[1:]) if each != own]
    sent = f", and others that did not issue it ({_listed(others)})" if others else " only"
    missing = "is missing: it was not sent, and"
    if issuer in others:
        missing = "was sent with another key than the one that signed it, and"
    return Explanation(
        f"the server sent its own certificate{sent}; that of its issuer, {issuer}, {missing} is not"
        f" trusted{_here(case.store)}",
        f"If {issuer} is an intermediate, let the server send its certificate behind its own"
        f" (fullchain.pem in place of cert.pem){_to_be_had(own)}. If it is a root:"
        f" {_trust(case.store)}.",
    )


def _unknown_root(case: Unverified, root: bytes) -> Explanation:
    name = subject_of(root)
    namesakes = [each for each in case.store.issuers_of(root) if each != root]
    other = "; one of that name is, but with another key" if namesakes else ""
    return Explanation(
        f"the chain is whole and ends with the root {name}, which is not"
        f" trusted{_here(case.store)}{other}",
        f"If you know {name} for your own authority: {_trust(case.store)}. If nobody knows"
        " it, something between here and the server may be opening the connections.",
    )


def _ends_too_early(case: Unverified, anchor: bytes) -> Explanation:
    """An intermediate is trusted, its root is not: enough from Python 3.13 on, and not before."""
    issuer = _issuer(anchor)
    return Explanation(
        f"{subject_of(anchor)} is trusted{_here(case.store)}, but is no root, and that of its"
        f" issuer, {issuer}, is missing: {VerifierProfile.LENIENT.value} end at roots only",
        f"{_trust(case.store, issuer)}, too{_to_be_had(anchor)}.",
    )


def _self_signed_leaf(case: Unverified) -> Explanation:
    return Explanation(
        f"{subject_of(case.sent[0])} signed its own certificate, and no authority vouches for it",
        "Pins add to the verification by a certificate authority and cannot replace it: have a"
        " certificate issued, by a private CA for instance.",
    )


def _wrong_signature(case: Unverified, path: Sequence[bytes]) -> Explanation:
    last = path[-1]
    issuer = _issuer(last)
    named = [each for each in case.sent if each != last and subject_of(each) == issuer]
    if not named and not case.store.issuers_of(last):
        return Explanation()
    where = "that was sent" if named else f"that is trusted{_here(case.store)}"
    mend = "Let the server send" if named else "Trust"
    return Explanation(
        f"{subject_of(last)} was not signed by the {issuer} {where}: that has the same name and"
        " another key",
        f"{mend} the certificate of {issuer} that goes with the key in use now{_to_be_had(last)}.",
    )


# Something about one certificate


def _out_of_date(case: Unverified, path: Sequence[bytes]) -> Explanation:
    own, trusted = case.sent[0], case.store.anchors
    on_path = [*path, *(each for each in case.store.issuers_of(path[-1]) if each not in path)]
    wrong = {each: why for each in on_path if (why := outdated(each, case.now))}
    if not wrong:
        return Explanation()
    end = facts_of(next(iter(wrong))).not_after
    if end is not None and case.now < end:
        clock = f"This machine's clock says {case.now:%Y-%m-%d %H:%M} UTC: is that right?"
        return Explanation(_listed(wrong.values()), clock)
    advice = ["Renew the server's certificate."] if own in wrong else []
    for below, each in pairwise(on_path):
        if each in wrong and each in trusted:
            advice.append(f"{_trust(case.store, subject_of(each))} that has taken its place.")
        elif each in wrong:
            advice.append(
                f"Let the server send the certificate of {subject_of(each)} that is valid"
                f" now{_to_be_had(below)}, or have its own issued anew."
            )
    return Explanation(_listed(wrong.values()), " ".join(advice))


def _other_names(case: Unverified) -> Explanation:
    names = names_of(parse(case.sent[0]))
    if not names:
        return Explanation(
            "it names no host in subjectAltName, and clients look nowhere else",
            f"Have a certificate issued with {case.host} in subjectAltName.",
        )
    return Explanation(
        f"it is for {_listed(names)}, not for {case.host}",
        f"If the server goes by one of these names, connect to it by that; if not, have a"
        f" certificate issued for {case.host}, or let the server choose it by the name (SNI).",
    )


def _not_meant_for_it(case: Unverified) -> Explanation:
    own, *above = case.sent
    if not is_for_servers(own):
        return Explanation(
            f"{subject_of(own)} is not for servers: its extended key usage lacks serverAuth",
            "Have one issued for TLS servers.",
        )
    for each in above:
        if not is_authority(each):
            return Explanation(
                f"{subject_of(each)} was sent as an issuer, and is no certificate authority's",
                "Let the server send the certificate of the authority that issued its own"
                f"{_to_be_had(own)}.",
            )
        if not is_for_servers(each):
            return Explanation(
                f"{subject_of(each)} may not issue certificates for servers: its extended key usage"
                " lacks serverAuth",
                "Have the certificate issued by an authority that may.",
            )
    if case.failure_code == PATH_LENGTH:
        return Explanation(
            "an authority on the path allows fewer intermediates below it (pathLenConstraint)",
            "Have the certificate, or the intermediate, issued by an authority that allows it.",
        )
    return _too_strict(case)


def _weak(case: Unverified, path: Sequence[bytes]) -> Explanation:
    weak = [text for each in path if (text := _weakness(each, is_last=_is_root(each)))]
    return Explanation(_listed(weak), "Have it issued anew, with a longer key and SHA-256.")


def _weakness(certificate: bytes, *, is_last: bool) -> str:
    parsed, subject = parse(certificate), subject_of(certificate)
    key, hashed = parsed.public_key(), parsed.signature_hash_algorithm
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < LEAST_RSA_BITS:
        return f"{subject} has an RSA key of {key.key_size} bits"
    if hashed is not None and hashed.name in WEAK_HASHES and not is_last:
        return f"{subject} is signed with {hashed.name.upper()}"
    return ""


def _too_strict(case: Unverified) -> Explanation:
    """What only some versions of Python refuse, and what a program could be told."""
    arguments = case.sent, case.store, VerifierProfile.here(), case.host, case.now
    if case.strict_x509 is False or not server_paths(*arguments, strict_x509=False).verified:
        return Explanation()
    return Explanation(
        "the strict rules of RFC 5280 refuse it, which Python follows from 3.13 on",
        "Have the certificate issued anew as the RFC has it. Until then: --no-strict-x509, in a"
        " program strict_x509=False.",
    )


# Words


def _issuer(certificate: bytes) -> str:
    return name_text(read_certificate(certificate).issuer) or "(no name)"


def _here(store: TrustStore) -> str:
    if not store.name:
        return " by this system"
    if not store.anchors:
        return f" by {store.name}, which has no authority in it"
    return f" by {store.name}, which has {_listed(map(subject_of, store.anchors))}"


def _trust(store: TrustStore, name: str = "") -> str:
    what = f"the certificate of {name}" if name else "its certificate"
    return f"add {what} to {store.name}" if store.name else f"name {what} by --cafile FILE"


def _to_be_had(certificate: bytes) -> str:
    """Where a certificate says that its issuer's is (RFC 5280, section 4.2.2.1)."""
    urls = _issuer_urls(certificate)
    return f"; {subject_of(certificate)} says that it is at {_listed(urls)}" if urls else ""


def _issuer_urls(certificate: bytes) -> list[str]:
    try:
        extensions = parse(certificate).extensions
        access = extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    except (x509.ExtensionNotFound, *UNREADABLE):
        return []
    urls = [
        each.access_location.value
        for each in access
        if each.access_method == AuthorityInformationAccessOID.CA_ISSUERS
        and isinstance(each.access_location, x509.UniformResourceIdentifier)
    ]
    return [url for url in urls if len(url) <= LONGEST_URL and _is_web_address(url)]


def _is_web_address(url: str) -> bool:
    try:
        return urlsplit(url).scheme in {"http", "https"} and url.isprintable() and " " not in url
    except ValueError:
        return False


def _listed(texts: Iterable[str]) -> str:
    named = list(dict.fromkeys(texts))
    more = len(named) - MOST_NAMES
    return ", ".join(named[:MOST_NAMES]) + (f" and {more} more" if more > 0 else "")
