"""Certificates with keys of the curve P-256, encoded here (RFC 5280; DER, ITU-T X.690).

`cryptography` makes the keys and signs. Its own package for certificates takes 30 ms to import, for which every command
under `exec --intercept` would wait, and the form of the two certificates of a run never changes.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import os
from dataclasses import dataclass

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

INTEGER, BIT_STRING, OCTET_STRING, SEQUENCE = 0x02, 0x03, 0x04, 0x30
TRUE = b"\x01\x01\xff"

_OBJECT_ID, _UTF8_STRING, _UTC_TIME, _GENERALIZED_TIME, _SET = 0x06, 0x0C, 0x17, 0x18, 0x31
_LONG_SIZE = 0x80  # from here on the size says first how many bytes it has
_LAST_OF_UTC_TIME = 2049  # RFC 5280 section 4.1.2.5
_COORDINATE_BYTES = 32
_SERIAL_BYTES = 16
_KEY_ID_BYTES = 20
_PEM_LINE = 64

_COMMON_NAME = "2.5.4.3"
_EC_PUBLIC_KEY, _P_256 = "1.2.840.10045.2.1", "1.2.840.10045.3.1.7"
_ECDSA_WITH_SHA_256 = "1.2.840.10045.4.3.2"


class SigningKey:
    """A private key, made here."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        numbers = self._key.public_key().public_numbers()
        self._point = b"\x04" + b"".join(one.to_bytes(_COORDINATE_BYTES, "big") for one in (numbers.x, numbers.y))

    @property
    def public(self) -> bytes:
        """The public key (RFC 5480)."""
        algorithm = encoded(SEQUENCE, object_id(_EC_PUBLIC_KEY), object_id(_P_256))
        return encoded(SEQUENCE, algorithm, encoded(BIT_STRING, b"\0", self._point))

    @property
    def identifier(self) -> bytes:
        """The key's name in certificates (RFC 7093 section 2)."""
        return hashlib.sha256(self._point).digest()[:_KEY_ID_BYTES]

    @property
    def pem(self) -> str:
        """The private key itself (RFC 5915)."""
        secret = self._key.private_numbers().private_value.to_bytes(_COORDINATE_BYTES, "big")
        public = tagged(1, encoded(BIT_STRING, b"\0", self._point))
        parts = (integer(1), encoded(OCTET_STRING, secret), tagged(0, object_id(_P_256)), public)
        return pem("EC PRIVATE KEY", encoded(SEQUENCE, *parts))

    def sign(self, content: bytes) -> bytes:
        """An ECDSA signature with SHA-256."""
        return self._key.sign(content, ec.ECDSA(hashes.SHA256()))


@dataclass(frozen=True, slots=True)
class Certificate:
    """The content of a certificate; issuer and subject have a common name each."""

    issuer: str
    subject: str
    public_key: bytes
    not_before: dt.datetime
    not_after: dt.datetime
    extensions: tuple[bytes, ...]

    def signed_by(self, key: SigningKey) -> str:
        """The certificate in PEM."""
        algorithm = encoded(SEQUENCE, object_id(_ECDSA_WITH_SHA_256))
        content = encoded(
            SEQUENCE,
            tagged(0, integer(2)),  # version 3
            integer(int.from_bytes(os.urandom(_SERIAL_BYTES), "big")),
            algorithm,
            _name(self.issuer),
            encoded(SEQUENCE, _time(self.not_before), _time(self.not_after)),
            _name(self.subject),
            self.public_key,
            tagged(3, encoded(SEQUENCE, *self.extensions)),
        )
        return pem("CERTIFICATE", encoded(SEQUENCE, content, algorithm, encoded(BIT_STRING, b"\0", key.sign(content))))


def extension(dotted: str, value: bytes, *, is_critical: bool = False) -> bytes:
    """An extension of a certificate."""
    return encoded(SEQUENCE, object_id(dotted), TRUE if is_critical else b"", encoded(OCTET_STRING, value))


# --- DER ---


def encoded(tag: int, *parts: bytes) -> bytes:
    """A value: its tag, its size, its parts."""
    content = b"".join(parts)
    size = len(content)
    if size < _LONG_SIZE:
        return bytes((tag, size)) + content
    digits = _unsigned(size)
    return bytes((tag, _LONG_SIZE | len(digits))) + digits + content


def tagged(number: int, *parts: bytes) -> bytes:
    """A constructed value with a tag of its context."""
    return encoded(0xA0 | number, *parts)


def integer(value: int) -> bytes:
    """An integer that is not negative."""
    digits = _unsigned(value)
    return encoded(INTEGER, b"\0" if digits[0] & 0x80 else b"", digits)


def object_id(dotted: str) -> bytes:
    """An object identifier, given as in specifications."""
    first, second, *others = map(int, dotted.split("."))
    return encoded(_OBJECT_ID, *map(_base_128, (40 * first + second, *others)))


def pem(label: str, der: bytes) -> str:
    """The textual form (RFC 7468)."""
    text = base64.b64encode(der).decode()
    lines = (text[start : start + _PEM_LINE] for start in range(0, len(text), _PEM_LINE))
    return "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""])


def _name(text: str) -> bytes:
    attribute = encoded(SEQUENCE, object_id(_COMMON_NAME), encoded(_UTF8_STRING, text.encode()))
    return encoded(SEQUENCE, encoded(_SET, attribute))


def _time(moment: dt.datetime) -> bytes:
    text = moment.astimezone(dt.timezone.utc).strftime("%Y%m%d%H%M%SZ").encode()
    return encoded(_UTC_TIME, text[2:]) if moment.year <= _LAST_OF_UTC_TIME else encoded(_GENERALIZED_TIME, text)


def _unsigned(value: int) -> bytes:
    return value.to_bytes(max(1, (value.bit_length() + 7) // 8), "big")


def _base_128(value: int) -> bytes:
    digits = [value & 0x7F]
    while value := value >> 7:
        digits.append(0x80 | value & 0x7F)
    return bytes(reversed(digits))
