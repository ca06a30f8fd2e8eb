"""Certificate files: CA-issued X.509 in DER, from the program's own folder, and nothing else."""

import importlib
import importlib.resources
import sys
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib.resources.abc import Traversable
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    pkcs7,
    pkcs12,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from tlv import SEQUENCE, children, content_of, tlv

from keypin import CertificateFormatError, CertificateNotFound, Pin
from keypin.certificate_file import pins_from_files, read_server_certificate
from keypin.lab import Authority, new_key, self_signed

AUTHORITY = Authority()
LEAF = AUTHORITY.issue("www.example.com")
OTHER = AUTHORITY.issue("www.example.org", key="rsa-2048")
CERTIFICATE = LEAF.certificate


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The certificates of a program, beside files that are none of its business."""
    inside = tmp_path / "certificates"
    inside.joinpath("more").mkdir(parents=True)
    inside.joinpath("a.cer").write_bytes(CERTIFICATE)
    inside.joinpath("more", "b.cer").write_bytes(OTHER.certificate)
    inside.joinpath("bad.cer").write_bytes(b"not a certificate")
    tmp_path.joinpath("outside.cer").write_bytes(CERTIFICATE)
    return inside


# What is read


def test_a_certificate_file_is_pinned_by_its_key(folder: Path) -> None:
    assert pins_from_files(folder, "a.cer") == [LEAF.pin]
    assert LEAF.pin == Pin.from_public_key(LEAF.key.spki)


def test_several_files_are_pinned_in_order(folder: Path) -> None:
    names = ["more/b.cer", "a.cer", "more/b.cer"]
    assert pins_from_files(folder, names) == [OTHER.pin, LEAF.pin, OTHER.pin]
    assert pins_from_files(folder, iter(names)) == [OTHER.pin, LEAF.pin, OTHER.pin]
    assert pins_from_files(folder, []) == []


def test_the_bytes_are_returned_as_they_were() -> None:
    assert read_server_certificate(CERTIFICATE, "a.cer") == CERTIFICATE


def test_an_intermediate_authority_is_a_certificate_like_any_other() -> None:
    certificate = AUTHORITY.intermediate("intermediate").certificate
    assert read_server_certificate(certificate, "ca.cer") == certificate


# What is not


def private_key(
    kind: Any, form: PrivateFormat, encryption: KeySerializationEncryption | None = None
) -> bytes:
    key = new_key(kind).private
    return key.private_bytes(Encoding.DER, form, encryption or NoEncryption())


def public_key(kind: Any, form: PublicFormat) -> bytes:
    return new_key(kind).private.public_key().public_bytes(Encoding.DER, form)


def parsed(certificate: bytes) -> x509.Certificate:
    return x509.load_der_x509_certificate(certificate)


def request() -> bytes:
    builder = x509.CertificateSigningRequestBuilder(parsed(CERTIFICATE).subject)
    return builder.sign(new_key().private, hashes.SHA256()).public_bytes(Encoding.DER)


def revocation_list() -> bytes:
    now = datetime.now(UTC)
    builder = x509.CertificateRevocationListBuilder(
        parsed(CERTIFICATE).subject, now, now + timedelta(days=1)
    )
    return builder.sign(AUTHORITY.key.private, hashes.SHA256()).public_bytes(Encoding.DER)


def store(encryption: KeySerializationEncryption) -> bytes:
    key: Any = LEAF.key.private
    return pkcs12.serialize_key_and_certificates(
        b"name", key, parsed(CERTIFICATE), None, encryption
    )


def bundle(encoding: Encoding) -> bytes:
    certificates = [parsed(CERTIFICATE), parsed(AUTHORITY.certificate)]
    return pkcs7.serialize_certificates(certificates, encoding)


def indefinite(element: bytes) -> bytes:
    return bytes([element[0], 0x80]) + content_of(element) + b"\0\0"


def lengthened(certificate: bytes) -> bytes:
    """Write a certificate with a length that is not in its shortest form."""
    tbs, *rest = children(certificate)
    size = len(content_of(tbs)).to_bytes(4, "big")
    return tlv(SEQUENCE, b"\x30\x84" + size + content_of(tbs), *rest)


PASSWORD = BestAvailableEncryption(b"secret")
OLD_CIPHER = (
    PrivateFormat.PKCS12.encryption_builder()
    .key_cert_algorithm(pkcs12.PBES.PBESv1SHA1And3KeyTripleDESCBC)
    .build(b"secret")
)
PEM = LEAF.chain_pem
TEXT_ABOVE = b"subject=CN = www.example.com\nissuer=CN = root\n"

WRONG: dict[str, tuple[bytes, str]] = {
    "PEM": (PEM, r"PEM text \(CERTIFICATE\)"),
    "PEM of OpenSSL": (
        PEM.replace(b" CERTIFICATE", b" TRUSTED CERTIFICATE"),
        r"PEM text \(TRUSTED CERTIFICATE\)",
    ),
    "PEM after white space": (b"\r\n  " + PEM, "PEM text"),
    "PEM after a byte order mark": (b"\xef\xbb\xbf" + PEM, "PEM text"),
    "PEM below other text": (TEXT_ABOVE + PEM, r"PEM text \(CERTIFICATE\)"),
    "PEM as s_client prints it": (b"0 s:CN = www.example.com\n" + PEM, r"PEM text"),
    "PEM key": (LEAF.key_pem, r"PEM text \(PRIVATE KEY\)"),
    "PEM PKCS#7": (bundle(Encoding.PEM), r"PEM text \(PKCS7\)"),
    "PKCS#8 of P-256": (private_key("p-256", PrivateFormat.PKCS8), "private key"),
    "PKCS#8 of RSA": (private_key("rsa-2048", PrivateFormat.PKCS8), "private key"),
    "PKCS#8 of Ed25519": (private_key("ed25519", PrivateFormat.PKCS8), "private key"),
    "PKCS#1": (private_key("rsa-2048", PrivateFormat.TraditionalOpenSSL), "private key"),
    "SEC 1": (private_key("p-256", PrivateFormat.TraditionalOpenSSL), "private key"),
    "encrypted PKCS#8": (
        private_key("p-256", PrivateFormat.PKCS8, PASSWORD),
        r"private key.*\(encrypted\)",
    ),
    "encrypted PKCS#8 with an old cipher": (
        tlv(SEQUENCE, tlv(SEQUENCE, bytes.fromhex("060a2a864886f70d010c0103")), b"\x04\x01\0"),
        r"private key.*\(encrypted\)",
    ),
    "public key": (LEAF.key.spki, "a public key"),
    "public key of PKCS#1": (public_key("rsa-2048", PublicFormat.PKCS1), "a public key"),
    "request": (request(), "certificate request"),
    "revocation list": (revocation_list(), "list of revoked certificates"),
    "PKCS#7": (bundle(Encoding.DER), "PKCS#7"),
    "PKCS#7 of indefinite length": (indefinite(bundle(Encoding.DER)), "PKCS#7"),
    "PKCS#12": (store(PASSWORD), "PKCS#12"),
    "PKCS#12 with an old cipher": (store(OLD_CIPHER), "PKCS#12"),
    "PKCS#12 without a password": (store(NoEncryption()), "PKCS#12"),
    "nothing": (b"", "an empty file"),
    "one octet": (CERTIFICATE[:1], "cut off"),
    "two octets": (CERTIFICATE[:2], "cut off"),
    "a header": (CERTIFICATE[:4], "cut off"),
    "half": (CERTIFICATE[: len(CERTIFICATE) // 2], "cut off"),
    "all but one octet": (CERTIFICATE[:-1], "cut off"),
    "half a key": (LEAF.key.spki[:-1], "cut off"),
    "one octet more": (CERTIFICATE + b"\0", "1 bytes after its end"),
    "a newline more": (CERTIFICATE + b"\r\n", "2 bytes after its end"),
    "two certificates": (CERTIFICATE * 2, f"{len(CERTIFICATE)} bytes after its end"),
    "a public key and more": (LEAF.key.spki + b"\n", "a public key"),
    "text": (b"hello", "not a certificate in DER"),
    "zeros": (bytes(100), "nothing but zeros"),
    "a length that is not in its shortest form": (
        lengthened(CERTIFICATE),
        "tbsCertificate.*length",
    ),
    "an empty sequence": (tlv(SEQUENCE), "tbsCertificate"),
    "self-signed": (self_signed("www.example.com").certificate, "self-signed"),
    "a root": (AUTHORITY.certificate, "self-signed"),
    "self-signed without a name": (self_signed(common_name="").certificate, "self-signed"),
}


@pytest.mark.parametrize(("data", "what"), WRONG.values(), ids=WRONG)
def test_any_other_file_is_an_error_that_says_what_it_is(
    folder: Path, data: bytes, what: str
) -> None:
    """And how to get what is needed."""
    folder.joinpath("wrong.cer").write_bytes(data)
    with pytest.raises(CertificateFormatError, match=rf"^wrong\.cer: .*{what}") as caught:
        pins_from_files(folder, "wrong.cer")
    assert "openssl x509 -outform der" in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_a_certificate_cut_off_anywhere_is_an_error() -> None:
    for size in range(1, len(CERTIFICATE)):
        with pytest.raises(CertificateFormatError, match="cut off"):
            read_server_certificate(CERTIFICATE[:size], "a.cer")


def test_a_private_key_is_no_reason_to_print_it() -> None:
    key = private_key("ed25519", PrivateFormat.PKCS8)
    with pytest.raises(CertificateFormatError) as caught:
        read_server_certificate(key, "a.cer")
    assert key[-8:].hex() not in str(caught.value)
    assert repr(key[-8:]) not in str(caught.value)


@settings(max_examples=1000)
@given(
    st.binary()
    | st.builds(tlv, st.sampled_from([0x30, 0x02, 0x06]), st.binary())
    | st.builds(
        lambda data, position, more: data[:position] + more + data[position + len(more) :],
        st.sampled_from([data for data, _ in WRONG.values()]),
        st.integers(0, 40),
        st.binary(max_size=3),
    )
)
def test_any_bytes_are_a_certificate_or_a_format_error(data: bytes) -> None:
    try:
        assert read_server_certificate(data, "a.cer") == data
    except CertificateFormatError as error:
        message = str(error)
    else:
        return
    assert message.startswith("a.cer: ")
    assert message.isprintable()


# Where it is read


OUTSIDE = [
    "../outside.cer",
    "..",
    ".",
    "./a.cer",
    "more/../a.cer",
    "more/../../outside.cer",
    "...",
    ".. /outside.cer",
    "..\\outside.cer",
    "more\\b.cer",
    "\\a.cer",
    "C:a.cer",
    "C:\\a.cer",
    "C:/a.cer",
    "a.cer:stream",
    "/a.cer",
    "//host/share/a.cer",
    "more//b.cer",
    "a.cer/",
    "/",
    "",
    " ",
    "file:///etc/a.cer",
]


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_name_stays_inside_the_folder(folder: Path, name: str) -> None:
    with pytest.raises(CertificateNotFound, match="not a name inside the folder"):
        pins_from_files(folder, name)


def test_an_absolute_path_is_no_name_even_of_a_file_inside(folder: Path) -> None:
    for path in (folder / "a.cer", folder.parent / "outside.cer"):
        assert path.is_file()
        with pytest.raises(CertificateNotFound):
            pins_from_files(folder, str(path))


MISSING = [
    "missing.cer",
    "A.CER.",
    "a.cer\0",
    "a\0.cer",
    "a.cer ",
    "a.cer\n",
    "more",
    "missing/a.cer",
    "a.cer/b.cer",
    "more/missing.cer",
    "*.cer",
    "~",
    "%2e%2e",
    "x" * 300,
    "\ud800",
]


@pytest.mark.parametrize("name", MISSING, ids=ascii)
def test_a_file_that_is_not_there_is_not_found(folder: Path, name: str) -> None:
    with pytest.raises(CertificateNotFound) as caught:
        pins_from_files(folder, name)
    assert repr(name)[:200] in str(caught.value)
    assert isinstance(caught.value, FileNotFoundError)


def test_a_folder_that_is_not_there_has_no_files(tmp_path: Path) -> None:
    with pytest.raises(CertificateNotFound):
        pins_from_files(tmp_path / "missing", "a.cer")


def test_a_link_in_a_circle_is_not_found(folder: Path) -> None:
    folder.joinpath("circle.cer").symlink_to("circle.cer")
    with pytest.raises(CertificateNotFound):
        pins_from_files(folder, "circle.cer")


def test_the_folder_is_not_searched_for_by_the_current_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    assert Path("outside.cer").is_file()
    with pytest.raises(CertificateNotFound):
        pins_from_files(folder, "outside.cer")


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        ("bad.cer", CertificateFormatError),
        ("missing.cer", CertificateNotFound),
        ("../outside.cer", CertificateNotFound),
        (None, CertificateNotFound),
        (b"a.cer", CertificateNotFound),
    ],
)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_one_bad_name_among_several_is_an_error(
    folder: Path, bad: Any, error: type[Exception], place: int
) -> None:
    names: list[Any] = ["a.cer", "more/b.cer"]
    names.insert(place, bad)
    with pytest.raises(error):
        pins_from_files(folder, names)


# Resources of a package


@pytest.fixture
def package(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Traversable]:
    """An importable package with certificates: in a folder, in a zip file, or without code."""
    files = {
        "certificates/a.cer": CERTIFICATE,
        "certificates/more/b.cer": OTHER.certificate,
        "certificates/bad.cer": PEM,
        "outside.cer": CERTIFICATE,
    }
    name = f"app_{request.param}"
    if request.param != "namespace":
        files["__init__.py"] = b""
    if request.param == "zipped":
        root = tmp_path / "app.zip"
        with zipfile.ZipFile(root, "w") as archive:
            for path, data in files.items():
                archive.writestr(f"{name}/{path}", data)
    else:
        root = tmp_path
        for path, data in files.items():
            tmp_path.joinpath(name, path).parent.mkdir(parents=True, exist_ok=True)
            tmp_path.joinpath(name, path).write_bytes(data)
    monkeypatch.syspath_prepend(root)
    importlib.invalidate_caches()
    importlib.import_module(name)
    yield importlib.resources.files(name)
    del sys.modules[name]


packages = pytest.mark.parametrize("package", ["plain", "zipped", "namespace"], indirect=True)


@packages
def test_resources_of_a_package_are_read(package: Traversable) -> None:
    folder = package / "certificates"
    assert pins_from_files(folder, ["a.cer", "more/b.cer"]) == [LEAF.pin, OTHER.pin]
    assert pins_from_files(package, "certificates/more/b.cer") == [OTHER.pin]


@packages
def test_resources_of_a_package_have_the_same_errors(package: Traversable) -> None:
    folder = package / "certificates"
    with pytest.raises(CertificateFormatError, match=r"^bad\.cer: PEM"):
        pins_from_files(folder, ["a.cer", "bad.cer"])
    for name in (*OUTSIDE, *MISSING, "outside.cer"):
        with pytest.raises(CertificateNotFound):
            pins_from_files(folder, name)


class Resource(Traversable):
    """A resource in memory, with what `Traversable` itself does and no more."""

    def __init__(self, path: PurePosixPath, files: dict[str, bytes]) -> None:
        self.path = path
        self.files = files

    @property
    def name(self) -> str:
        return self.path.name

    def is_file(self) -> bool:
        return str(self.path) in self.files

    def is_dir(self) -> bool:
        return not self.is_file()

    def iterdir(self) -> Iterator["Resource"]:
        below = [path for path in map(PurePosixPath, self.files) if self.path in path.parents]
        names = {path.relative_to(self.path).parts[0] for path in below}
        return (Resource(self.path / name, self.files) for name in names)

    def open(self, mode: str = "r", *arguments: Any, **more: Any) -> Any:
        raise IsADirectoryError(self.path)

    def read_bytes(self) -> bytes:
        if self.is_dir():
            raise IsADirectoryError(self.path)
        return self.files[str(self.path)]

    if sys.version_info < (3, 12):

        def joinpath(self, child: Any) -> "Resource":  # abstract until 3.12
            return Resource(self.path / child, self.files)


def test_any_traversable_will_do() -> None:
    folder = Resource(PurePosixPath("."), {"a.cer": CERTIFICATE, "more/b.cer": OTHER.certificate})
    assert pins_from_files(folder, ["a.cer", "more/b.cer"]) == [LEAF.pin, OTHER.pin]
    for name in ("missing.cer", "more", "more/missing.cer", "../a.cer"):
        with pytest.raises(CertificateNotFound):
            pins_from_files(folder, name)
