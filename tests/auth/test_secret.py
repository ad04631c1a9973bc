"""Claims about secrets: they are not shown by accident, and every form of them is known."""

import base64
import copy
import io
import json
import pickle
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppmproxy.auth.credential import Credential
from ppmproxy.auth.secret import MASK, Secret, encoded_forms
from ppmproxy.testing.package_manager import jwt

TOKEN = "s3cr3t-Token_value~42"
TOKENS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=8, max_size=40)


# --- Secret -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shown",
    [
        str(Secret(TOKEN)),
        repr(Secret(TOKEN)),
        f"{Secret(TOKEN)}",
        f"{Secret(TOKEN):>40}",
        f"{Secret(TOKEN)!r}",
        "%s %r" % (Secret(TOKEN), Secret(TOKEN)),  # noqa: UP031 - it is what logging does
        "{0} {0!r}".format(Secret(TOKEN)),
        str([Secret(TOKEN)]),
        repr({"token": Secret(TOKEN)}),
        repr(Credential.of_secret(Secret(TOKEN), "a test")),
        str(ValueError(Secret(TOKEN))),
    ],
)
def test_a_secret_is_never_shown(shown):
    assert MASK in shown
    assert TOKEN not in shown


@pytest.mark.parametrize("write", [pickle.dumps, copy.copy, copy.deepcopy, json.dumps, bytes, io.StringIO().write])
def test_a_secret_is_not_written_or_copied_by_accident(write):
    with pytest.raises(TypeError):
        write(Secret(TOKEN))


def test_a_secret_has_its_value_nowhere_but_behind_reveal():
    assert Secret(TOKEN).reveal() == TOKEN
    assert not hasattr(Secret(TOKEN), "__dict__")


def test_secrets_are_equal_by_value_and_never_to_a_string():
    assert Secret(TOKEN) == Secret(TOKEN)
    assert hash(Secret(TOKEN)) == hash(Secret(TOKEN))
    assert Secret(TOKEN) != Secret("another")
    assert Secret(TOKEN) != TOKEN


# --- the forms in which a token shows up ------------------------------------------------------------------------------


@given(token=TOKENS, user=st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=8))
def test_every_usual_form_of_a_token_is_known(token, user):
    forms = encoded_forms(token, user)

    assert token in forms
    assert {quote(token), quote(token, safe="")} <= forms
    for text in (token, f"{user}:{token}", f"__token__:{token}"):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            encoded = encode(text.encode()).decode()
            assert {encoded, encoded.rstrip("="), quote(encoded, safe=""), quote(encoded, safe="").lower()} & forms
            assert {encoded, encoded.rstrip("=")} <= forms


@given(token=TOKENS, before=st.binary(max_size=7), after=st.binary(max_size=7))
def test_a_token_within_base64_is_found_in_every_alignment(token, before, after):
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        text = encode(before + token.encode() + after).decode()

        assert any(form in text for form in encoded_forms(token))


def test_escapes_are_known_in_either_case():
    forms = encoded_forms("abc/def+ghi=")

    assert {"abc%2Fdef%2Bghi%3D", "abc%2fdef%2bghi%3d", "abc/def%2Bghi%3D", "abc/def%2bghi%3d"} <= forms


def test_the_parts_of_a_jwt_that_are_secret_are_known_and_its_header_is_not():
    header, payload, signature = jwt({"sub": "somebody"}).split(".")

    forms = encoded_forms(f"{header}.{payload}.{signature}")

    assert {payload, signature} <= forms
    assert header not in forms


@given(TOKENS)
def test_no_form_is_shorter_than_a_word(token):
    assert min(map(len, encoded_forms(token))) >= min(8, len(token))
