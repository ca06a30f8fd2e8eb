"""Makes the certificates of the corpus; see README.md beside this file."""

import subprocess
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tlv import (
    BIT_STRING,
    INTEGER,
    OBJECT_IDENTIFIER,
    OCTET_STRING,
    PRINTABLE_STRING,
    SEQUENCE,
    SET,
    UTC_TIME,
    UTF8_STRING,
    tlv,
)

FOLDER = Path(__file__).parent / "certificates"

KEYS = {
    "rsa-2048": "-algorithm RSA -pkeyopt rsa_keygen_bits:2048",
    "rsa-pss": "-algorithm RSA-PSS -pkeyopt rsa_keygen_bits:2048",
    "rsa-pss-parameters": "-algorithm RSA-PSS -pkeyopt rsa_keygen_bits:2048"
    " -pkeyopt rsa_pss_keygen_md:sha256 -pkeyopt rsa_pss_keygen_mgf1_md:sha256"
    " -pkeyopt rsa_pss_keygen_saltlen:32",
    "p-256": "-algorithm EC -pkeyopt ec_paramgen_curve:P-256",
    "p-256-explicit": "-algorithm EC -pkeyopt ec_paramgen_curve:P-256"
    " -pkeyopt ec_param_enc:explicit",
    "p-384": "-algorithm EC -pkeyopt ec_paramgen_curve:P-384",
    "p-521": "-algorithm EC -pkeyopt ec_paramgen_curve:P-521",
    "ed25519": "-algorithm ED25519",
    "ed448": "-algorithm ED448",
    "x25519": "-algorithm X25519",
}

COMMON_NAME = "550403"
VERSION_3 = tlv(0xA0, tlv(INTEGER, b"\x02"))
ECDSA_WITH_SHA256 = tlv(SEQUENCE, tlv(OBJECT_IDENTIFIER, bytes.fromhex("2a8648ce3d040302")))
SUBJECT_ALT_NAME = tlv(
    SEQUENCE,
    tlv(OBJECT_IDENTIFIER, bytes.fromhex("551d11")),
    tlv(OCTET_STRING, tlv(SEQUENCE, tlv(0x82, b"www.example.com"))),
)
EXTENSIONS = tlv(0xA3, tlv(SEQUENCE, SUBJECT_ALT_NAME))
VALIDITY = tlv(SEQUENCE, tlv(UTC_TIME, b"250101000000Z"), tlv(UTC_TIME, b"491231235959Z"))

AUTHORITY_KEY = ec.generate_private_key(ec.SECP256R1())


def attribute(identifier: str, value: bytes) -> bytes:
    """Write an AttributeTypeAndValue (RFC 5280, section 4.1.2.4)."""
    return tlv(SEQUENCE, tlv(OBJECT_IDENTIFIER, bytes.fromhex(identifier)), value)


def common_name(text: str) -> bytes:
    """Write a Name that has only this."""
    return tlv(SEQUENCE, tlv(SET, attribute(COMMON_NAME, tlv(UTF8_STRING, text.encode()))))


AUTHORITY = common_name("keypin corpus")


def certificate(
    public_key: bytes,
    subject: bytes,
    *,
    version: bytes = VERSION_3,
    unique_identifiers: bytes = b"",
    extensions: bytes = EXTENSIONS,
) -> bytes:
    """Write a certificate (RFC 5280, section 4.1), signed by the corpus's authority."""
    serial_number = tlv(INTEGER, b"\x11" * 16)
    tbs = tlv(
        SEQUENCE,
        *(version, serial_number, ECDSA_WITH_SHA256, AUTHORITY, VALIDITY, subject, public_key),
        *(unique_identifiers, extensions),
    )
    signature = AUTHORITY_KEY.sign(tbs, ec.ECDSA(SHA256()))
    return tlv(SEQUENCE, tbs, ECDSA_WITH_SHA256, tlv(BIT_STRING, b"\0", signature))


def openssl(arguments: str, given: bytes = b"") -> bytes:
    """Run an openssl command; return what it prints."""
    command = ["openssl", *arguments.split()]
    return subprocess.run(command, input=given, capture_output=True, check=True).stdout


def names() -> bytes:
    """Write a subject that is hard to print."""
    return tlv(
        SEQUENCE,
        tlv(SET, attribute("550406", tlv(PRINTABLE_STRING, b"CH"))),
        tlv(SET, attribute("550408", tlv(0x14, "Zürich".encode("latin-1")))),  # TeletexString
        tlv(SET, attribute("550407", tlv(0x1C, "Zürich".encode("utf-32-be")))),  # UniversalString
        tlv(SET, attribute("55040a", tlv(0x1E, "Bücher".encode("utf-16-be")))),  # BMPString
        tlv(SET, attribute("55040b", tlv(UTF8_STRING, b'#1, "A"+B; <C>=\\ '))),
        tlv(SET, attribute("55040b", tlv(UTF8_STRING, b"\x1b[2J\r\n\0\xe2\x80\xae"))),
        tlv(SET, attribute("2a03", tlv(UTF8_STRING, b"x"))),  # an OID without a name
        tlv(
            SET,
            attribute(COMMON_NAME, tlv(UTF8_STRING, "Büro".encode())),
            attribute("2a864886f70d010901", tlv(0x16, b"a@example.com")),  # IA5String
        ),
    )


def main() -> None:
    """Make every certificate anew."""
    keys = {
        name: openssl("pkey -pubout -outform DER", openssl(f"genpkey {options}"))
        for name, options in KEYS.items()
    }
    keys["p-256-compressed"] = openssl(
        "ec -pubout -conv_form compressed -outform DER", openssl(f"genpkey {KEYS['p-256']}")
    )
    key = keys["p-256"]
    made = {name: certificate(key, common_name(name)) for name, key in keys.items()}
    made["version-1"] = certificate(key, common_name("version-1"), version=b"", extensions=b"")
    made["unique-identifiers"] = certificate(
        key,
        common_name("unique-identifiers"),
        unique_identifiers=tlv(0x81, b"\0issuer") + tlv(0x82, b"\0subject"),
    )
    made["self-signed"] = certificate(
        AUTHORITY_KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        AUTHORITY,
    )
    made["empty-subject"] = certificate(key, tlv(SEQUENCE))
    made["names"] = certificate(key, names())
    for name, der in made.items():
        FOLDER.joinpath(f"{name}.der").write_bytes(der)


if __name__ == "__main__":
    main()
