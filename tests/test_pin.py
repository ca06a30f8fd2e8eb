"""Pin: the texts it is read from, what it equals, and the bytes that it is the hash of."""

import base64
import copy
import hashlib
import pickle
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tlv import BIT_STRING, SEQUENCE, children, content_of, tlv

import keypin
from keypin import CertificateFormatError, Pin, PinFormatError
from keypin.lab import KEY_KINDS, Authority, KeyKind, new_key, self_signed

DIGEST = bytes(range(32))
BASE64 = base64.b64encode(DIGEST).decode()
SLASH = base64.b64encode(b"\xfc" + DIGEST[1:]).decode()
SLASHES = base64.b64encode(b"\xff\xf0" + DIGEST[2:]).decode()

CORPUS = sorted(Path(__file__).parent.joinpath("corpus", "certificates").glob("*.der"))

openssl = shutil.which("openssl")
needs_openssl = pytest.mark.skipif(openssl is None, reason="needs openssl (make system-deps)")


def openssl_pin(certificate: bytes) -> str:
    """Pin a certificate's key in the way of RFC 7469, appendix A."""
    keys = subprocess.run(
        [str(openssl), "x509", "-inform", "DER", "-pubkey", "-noout"],
        input=certificate,
        capture_output=True,
        check=True,
    )
    spki = subprocess.run(
        [str(openssl), "pkey", "-pubin", "-outform", "DER"],
        input=keys.stdout,
        capture_output=True,
        check=True,
    )
    digest = subprocess.run(
        [str(openssl), "dgst", "-sha256", "-binary"],
        input=spki.stdout,
        capture_output=True,
        check=True,
    )
    return "sha256/" + base64.b64encode(digest.stdout).decode()


# Texts


@pytest.mark.parametrize(
    "text",
    [f"sha256/{BASE64}", f"sha256//{BASE64}", f'pin-sha256="{BASE64}"'],
    ids=["okhttp", "curl", "rfc7469"],
)
def test_each_text_form_is_read_and_written_in_one(text: str) -> None:
    pin = Pin(text)
    assert pin.digest == DIGEST
    assert str(pin) == f"sha256/{BASE64}"
    assert repr(pin) == f"Pin('sha256/{BASE64}')"


@pytest.mark.parametrize("encoded", [BASE64, SLASH, SLASHES])
def test_a_slash_that_belongs_to_the_base64_is_told_from_curls(encoded: str) -> None:
    """`sha256/` and base64 with a leading slash looks like `sha256//` until it is counted."""
    assert encoded[:2] in {"AA", "/A", "//"}
    digest = base64.b64decode(encoded)
    assert Pin(f"sha256/{encoded}").digest == digest
    assert Pin(f"sha256//{encoded}").digest == digest
    assert Pin(f'pin-sha256="{encoded}"').digest == digest


@given(st.binary(min_size=32, max_size=32))
@example(b"\xff" * 32)
@example(b"\xfc" + bytes(31))
def test_a_written_pin_reads_back(digest: bytes) -> None:
    pin = Pin.from_digest(digest)
    encoded = base64.b64encode(digest).decode()
    assert pin.digest == digest
    assert Pin(str(pin)) == pin
    assert Pin(f"sha256//{encoded}") == pin
    assert Pin(f'pin-sha256="{encoded}"') == pin


REJECTED = {
    "empty": "",
    "no base64": "sha256/",
    "no base64, curl": "sha256//",
    "only a quote": 'pin-sha256="',
    "empty quotes": 'pin-sha256=""',
    "bare base64": BASE64,
    "bare hex": DIGEST.hex(),
    "hex": f"sha256/{DIGEST.hex()}",
    "md5": "md5/" + base64.b64encode(bytes(16)).decode(),
    "sha1": "sha1/" + base64.b64encode(bytes(20)).decode(),
    "sha1 with 32 bytes": f"sha1/{BASE64}",
    "sha512": "sha512/" + base64.b64encode(bytes(64)).decode(),
    "sha512 with 32 bytes": f"sha512/{BASE64}",
    "pin-sha1": 'pin-sha1="' + base64.b64encode(bytes(20)).decode() + '"',
    "upper-case algorithm": f"SHA256/{BASE64}",
    "dash": f"sha-256/{BASE64}",
    "three slashes": f"sha256///{BASE64}",
    "no slash": f"sha256{BASE64}",
    "colon": f"sha256:{BASE64}",
    "one letter": "sha256/a",
    "curl's own counter-example": "sha256//ffff",
    "not base64": "sha256/" + "?" * 43 + "=",
    "20 bytes": "sha256/" + base64.b64encode(bytes(20)).decode(),
    "31 bytes": "sha256/" + base64.b64encode(bytes(31)).decode(),
    "33 bytes": "sha256/" + base64.b64encode(bytes(33)).decode(),
    "64 bytes": "sha256/" + base64.b64encode(bytes(64)).decode(),
    "stray bits": f"sha256/{BASE64[:-2]}9=",
    "no padding": f"sha256/{BASE64[:-1]}",
    "no padding, curl": f"sha256//{BASE64[:-1]}",
    "no padding, leading slash": f"sha256/{SLASH[:-1]}",
    "too much padding": f"sha256/{BASE64}=",
    "padding in front": f"sha256/={BASE64[:-1]}",
    "padding inside": f"sha256/{BASE64[:20]}={BASE64[20:-1]}",
    "text after the padding": f"sha256/{BASE64}AAAA",
    "urlsafe alphabet": "sha256/" + base64.urlsafe_b64encode(b"\xff" * 32).decode(),
    "leading space": f" sha256/{BASE64}",
    "trailing space": f"sha256/{BASE64} ",
    "trailing newline": f"sha256/{BASE64}\n",
    "space inside": f"sha256/ {BASE64}",
    "newline inside": f"sha256/{BASE64[:20]}\n{BASE64[20:]}",
    "NUL": f"sha256/{BASE64}\0",
    "not ASCII": f"sha256/é{BASE64[1:]}",
    "full-width": f"sha256/\uff21{BASE64[1:]}",
    "no opening quote": f"pin-sha256={BASE64}",
    "no closing quote": f'pin-sha256="{BASE64}',
    "text after the quote": f'pin-sha256="{BASE64}"; max-age=1',
    "another character for the closing quote": f"pin-sha256=\"{BASE64}'",
    "single quotes": f"pin-sha256='{BASE64}'",
    "two pins": f"sha256/{BASE64};sha256/{BASE64}",
    "two pins of curl": f"sha256//{BASE64};sha256//{BASE64}",
}


@pytest.mark.parametrize("text", REJECTED.values(), ids=REJECTED)
def test_any_other_text_is_an_error(text: str) -> None:
    with pytest.raises(PinFormatError):
        Pin(text)


@pytest.mark.parametrize(
    "value", [None, 5, DIGEST, f"sha256/{BASE64}".encode(), [f"sha256/{BASE64}"], Pin]
)
def test_what_is_no_text_is_an_error(value: object) -> None:
    with pytest.raises(PinFormatError):
        Pin(value)  # type: ignore[arg-type]


def test_an_error_names_the_forms_that_are_read() -> None:
    with pytest.raises(PinFormatError, match="sha256/BASE64"):
        Pin("sha1/abc")


ALMOST_PINS = st.one_of(
    st.text(),
    st.text(alphabet='sha256/-pin="=+AZaz09\n '),
    st.builds(
        "".join,
        st.tuples(
            st.sampled_from(["sha256/", "sha256//", "sha256///", 'pin-sha256="', "md5/", ""]),
            st.binary(min_size=28, max_size=36).map(lambda raw: base64.b64encode(raw).decode()),
            st.sampled_from(["", "", '"', "=", "\n", "A"]),
        ),
    ),
)


@given(ALMOST_PINS)
@example("sha256/" + "=" * 44)
@example("sha256/\ud800" + BASE64[1:])
def test_a_text_is_either_refused_or_holds_exactly_the_pin_that_was_read(text: str) -> None:
    try:
        pin = Pin(text)
    except PinFormatError:
        return
    encoded = base64.b64encode(pin.digest).decode()
    assert len(pin.digest) == 32
    assert text in {f"sha256/{encoded}", f"sha256//{encoded}", f'pin-sha256="{encoded}"'}


# Values


def test_pins_are_equal_by_digest() -> None:
    assert Pin(f"sha256/{BASE64}") == Pin(f"sha256//{BASE64}")
    assert hash(Pin(f"sha256/{BASE64}")) == hash(Pin(f'pin-sha256="{BASE64}"'))
    assert Pin(f"sha256/{BASE64}") != Pin(f"sha256/{SLASH}")


@pytest.mark.parametrize("other", [DIGEST, f"sha256/{BASE64}", None])
def test_a_pin_equals_nothing_but_pins(other: object) -> None:
    assert Pin.from_digest(DIGEST) != other


@given(st.lists(st.binary(min_size=32, max_size=32)))
def test_pins_are_ordered_by_digest(digests: list[bytes]) -> None:
    pins = sorted(map(Pin.from_digest, digests))
    assert [pin.digest for pin in pins] == sorted(digests)
    assert not any(pin < pin or pin > pin for pin in pins)


def test_a_pin_is_not_ordered_against_anything_else() -> None:
    with pytest.raises(TypeError):
        assert Pin.from_digest(DIGEST) < DIGEST  # type: ignore[operator]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pin_survives_pickling(protocol: int) -> None:
    pin = Pin.from_digest(DIGEST)
    assert pickle.loads(pickle.dumps(pin, protocol)) == pin


def test_a_pin_survives_copying() -> None:
    pin = Pin.from_digest(DIGEST)
    assert copy.copy(pin) == pin
    assert copy.deepcopy(pin) == pin


@pytest.mark.parametrize("name", ["digest", "note"])
def test_a_pin_is_immutable(name: str) -> None:
    pin = Pin.from_digest(DIGEST)
    with pytest.raises(AttributeError):
        setattr(pin, name, bytes(32))
    with pytest.raises(AttributeError):
        delattr(pin, name)
    assert pin.digest == DIGEST


@pytest.mark.parametrize(
    "digest", [b"", bytes(31), bytes(33), "0" * 32, [0] * 32, bytearray(32), None], ids=repr
)
def test_only_32_bytes_are_a_digest(digest: object) -> None:
    with pytest.raises(PinFormatError):
        Pin.from_digest(digest)  # type: ignore[arg-type]


def test_pin_is_part_of_the_public_interface() -> None:
    assert keypin.Pin is Pin
    assert issubclass(PinFormatError, ValueError)


# From certificates and keys


@needs_openssl
@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_the_pin_is_the_one_that_openssl_computes(path: Path) -> None:
    certificate = path.read_bytes()
    assert str(Pin.from_certificate(certificate)) == openssl_pin(certificate)


@needs_openssl
@pytest.mark.parametrize("kind", KEY_KINDS)
def test_the_pin_of_a_new_key_is_the_one_that_openssl_computes(kind: KeyKind) -> None:
    leaf = Authority().issue("www.example.com", key=kind)
    assert str(Pin.from_certificate(leaf.certificate)) == openssl_pin(leaf.certificate)


def test_the_corpus_has_every_kind_of_key() -> None:
    wanted = {"rsa-2048", "rsa-pss", "p-256", "p-256-explicit", "p-384", "ed25519", "ed448"}
    assert wanted | {"version-1", "unique-identifiers"} <= {path.stem for path in CORPUS}


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_the_pin_is_the_hash_of_the_bytes_as_served(path: Path) -> None:
    """Raw SPKI: neither the whole certificate is hashed, nor the key, nor a re-encoding."""
    certificate = path.read_bytes()
    tbs = children(children(certificate)[0])
    spki = tbs[6] if tbs[0][0] == 0xA0 else tbs[5]
    assert Pin.from_certificate(certificate).digest == hashlib.sha256(spki).digest()
    assert Pin.from_public_key(spki) == Pin.from_certificate(certificate)


def test_a_key_that_calls_itself_rsa_pss_has_another_pin_than_the_same_numbers_as_rsa() -> None:
    """A parsed and re-encoded RSA-PSS key would be named rsaEncryption, and hash differently."""
    certificate = Path(CORPUS[0].parent, "rsa-pss.der").read_bytes()
    spki = children(children(certificate)[0])[6]
    number = children(spki)[1]
    renamed = tlv(SEQUENCE, bytes.fromhex("300d06092a864886f70d0101010500"), number)
    assert spki != renamed
    assert Pin.from_certificate(certificate) != Pin.from_public_key(renamed)


@pytest.mark.parametrize("kind", KEY_KINDS)
def test_the_same_key_has_the_same_pin_in_every_certificate(kind: KeyKind) -> None:
    root = Authority("root")
    first = root.issue("www.example.com", key=kind)
    pin = Pin.from_certificate(first.certificate)
    others = [
        first.renew(),
        first.renew(Authority("another root")),
        root.issue("elsewhere.example.org", key=first.key),
        self_signed("www.example.com", key=first.key),
    ]
    assert {Pin.from_certificate(other.certificate) for other in others} == {pin}
    assert len({other.certificate for other in [first, *others]}) == 5
    assert Pin.from_public_key(first.key.spki) == pin


def test_another_key_has_another_pin() -> None:
    root = Authority()
    pins = {root.issue("www.example.com", key="p-256").pin for _ in range(3)}
    assert len(pins) == 3


@pytest.mark.parametrize("value", ["x" * 100, "", None, 5, [0x30, 0]], ids=repr)
def test_a_certificate_is_bytes(value: object) -> None:
    """A PEM text handed over by mistake is told so, as any other format is."""
    with pytest.raises(CertificateFormatError, match="bytes are needed"):
        Pin.from_certificate(value)  # type: ignore[arg-type]
    with pytest.raises(PinFormatError, match="bytes are needed"):
        Pin.from_public_key(value)  # type: ignore[arg-type]


def test_only_a_certificate_is_taken_for_one() -> None:
    leaf = Authority().issue("www.example.com")
    for wrong in [b"", leaf.key.spki, leaf.chain_pem, leaf.certificate + b"\0"]:
        with pytest.raises(CertificateFormatError):
            Pin.from_certificate(wrong)


def test_only_a_public_key_is_taken_for_one() -> None:
    key = new_key("p-256")
    point = content_of(children(key.spki)[1])
    for wrong in [b"", key.pem, key.spki + b"\0", point, tlv(BIT_STRING, point)]:
        with pytest.raises(PinFormatError):
            Pin.from_public_key(wrong)
