"""Claims about the key of a daemon: each secret that is derived from it is good for one thing."""

import pytest

from ppmproxy.access.daemon_record import DaemonRecord
from ppmproxy.access.identity_key import IdentityKey, endpoint_of, nonce_of_query
from ppmproxy.auth.secret import Secret

NONCE = "ab" * 32


def test_who_may_act(key):
    assert key.is_authorized(key.admin_secret)
    for wrong in (None, "", "é", "\udc80", key.admin_secret[:-1], key.admin_secret.upper(), key.proof(NONCE, "")):
        assert not key.is_authorized(wrong)
    assert not IdentityKey.generate().is_authorized(key.admin_secret)


def test_the_secrets_are_not_shown(key):
    assert key.secret.hex() not in repr(key)
    assert str(key.secret) not in repr(DaemonRecord(1, (), key))


def test_a_token_fingerprint_differs_by_token_and_authorizes_nothing(key):
    marks = {key.token_fingerprint(Secret(token)) for token in ("a-token", "another", "not-\udcff-text")}

    assert len(marks) == 3
    assert key.token_fingerprint(Secret("a-token")) in marks
    assert IdentityKey.generate().token_fingerprint(Secret("a-token")) not in marks
    assert not {key.admin_secret, key.proof("a-token", ""), key.proof("token", "a-token")} & marks


def test_each_place_and_nonce_has_its_own_proof(key):
    proofs = {
        key.proof(nonce, place) for nonce in (NONCE, "cd" * 32) for place in ("127.0.0.1 1", "127.0.0.1 2", "::1 1")
    }

    assert len(proofs) == 6


@pytest.mark.parametrize(
    ("query", "nonce"),
    [
        (f"nonce={NONCE}", NONCE),
        ("nonce=" + "ab" * 15, None),
        ("nonce=" + "AB" * 32, None),
        ("nonce=" + "ab" * 65, None),
        (f"nonce={NONCE}&more=1", None),
        (f"{NONCE}", None),
        ("", None),
    ],
)
def test_only_a_well_formed_nonce_is_taken(query, nonce):
    assert nonce_of_query(query) == nonce


@pytest.mark.parametrize(
    ("name", "place"),
    [
        (("127.0.0.1", 7760), "127.0.0.1 7760"),
        (("::ffff:127.0.0.1", 7760, 0, 0), "127.0.0.1 7760"),
        (("::1", 7760, 0, 0), "::1 7760"),
        (("fe80::1%lo", 7760, 0, 1), "fe80::1 7760"),
        ("/run/user/1/ppmproxy.sock", "/run/user/1/ppmproxy.sock"),
        (b"/run/x", "/run/x"),
        (None, "None"),
    ],
)
def test_both_ends_name_an_endpoint_alike(name, place):
    assert endpoint_of(name) == place
