"""Claims about the certificates that are encoded here: `cryptography` and OpenSSL read in them what was meant."""

import datetime as dt

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ppmproxy.server.intercept.authority import RunAuthority
from ppmproxy.server.intercept.certificate import OCTET_STRING, Certificate, SigningKey, encoded, integer, object_id

NOW = dt.datetime(2026, 11, 26, 12, 30, 59, tzinfo=dt.timezone.utc)


def signed(key, *, not_after=NOW):
    body = Certificate("issuer", "subject", key.public, NOW, not_after, ())
    return x509.load_pem_x509_certificate(body.signed_by(key).encode())


def test_a_certificate_is_read_as_it_was_meant():
    key = SigningKey()

    certificate = signed(key)

    assert certificate.version is x509.Version.v3
    assert certificate.issuer.rfc4514_string() == "CN=issuer"
    assert certificate.subject.rfc4514_string() == "CN=subject"
    assert certificate.not_valid_before_utc == NOW
    assert certificate.signature_algorithm_oid == x509.SignatureAlgorithmOID.ECDSA_WITH_SHA256
    certificate.public_key().verify(
        certificate.signature, certificate.tbs_certificate_bytes, ec.ECDSA(certificate.signature_hash_algorithm)
    )


@pytest.mark.parametrize("year", [2026, 2049, 2050])
def test_a_year_is_read_as_it_was_meant(year):
    until = NOW.replace(year=year)

    assert signed(SigningKey(), not_after=until).not_valid_after_utc == until


@pytest.mark.parametrize(("size", "head"), [(0, "0400"), (127, "047f"), (128, "048180"), (300, "0482012c")])
def test_sizes_have_their_shortest_form(size, head):
    assert encoded(OCTET_STRING, bytes(size)) == bytes.fromhex(head) + bytes(size)


def test_serial_numbers_are_positive_and_not_too_long():
    numbers = {signed(SigningKey()).serial_number for _ in range(20)}

    assert len(numbers) == 20
    assert all(0 < number < 1 << 159 for number in numbers)  # RFC 5280 section 4.1.2.2


def test_a_private_key_is_read_as_one_of_the_curve_with_its_public_key():
    key = SigningKey()

    read = serialization.load_pem_private_key(key.pem.encode(), None)

    assert isinstance(read.curve, ec.SECP256R1)
    assert key.public == read.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


@pytest.mark.parametrize("host", ["pm.example.com", "127.0.0.1", "::1"])
def test_every_extension_of_a_run_is_encoded_as_cryptography_encodes_it(host):
    authority = RunAuthority([host])
    leaf = authority._leaf(host, SigningKey())

    for pem in (authority.pem, leaf):
        certificate = x509.load_pem_x509_certificate(pem.encode())
        for one in certificate.extensions:
            assert encoded(OCTET_STRING, one.value.public_bytes()) in certificate.tbs_certificate_bytes


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, "020100"), (127, "02017f"), (128, "02020080"), (256, "02020100"), (65535, "020300ffff")],
)
def test_integers_are_never_negative(value, expected):
    assert integer(value).hex() == expected


@pytest.mark.parametrize(
    ("dotted", "expected"),
    [("2.5.4.3", "0603550403"), ("1.2.840.10045.3.1.7", "06082a8648ce3d030107"), ("2.999.3", "0603883703")],
)
def test_object_identifiers_are_encoded_as_their_standard_shows(dotted, expected):
    assert object_id(dotted).hex() == expected
