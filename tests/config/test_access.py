from pathlib import Path

import pytest

from ppmproxy.config.access import ACCESS
from ppmproxy.config.file import inline_value
from ppmproxy.config.location import Layer, Location
from ppmproxy.config.model import Access, AccessRule
from ppmproxy.errors import ConfigError

IN_FILE = Location(Layer.FILE, "config.toml", Path("/home/alice"), ("access",))
IN_VARIABLE = Location(Layer.ENVIRONMENT, "PPMPROXY_ACCESS", Path("/home/alice"))

ANY, SAME_USER = Access(AccessRule.ANY), Access(AccessRule.SAME_USER)


def listed(*names, uids=()):
    return Access(AccessRule.LISTED, names, uids)


@pytest.mark.parametrize(
    ("value", "access"),
    [
        ("same-user", SAME_USER),
        ("any", ANY),
        (["alice", 1001], listed("alice", uids=(1001,))),
        (["any"], listed("any")),
        ([0], listed(uids=(0,))),
    ],
)
def test_access_is_a_word_or_a_list_of_users(value, access):
    assert ACCESS.parse(value, IN_FILE) == access
    assert ACCESS.parse(inline_value(ACCESS.format(access)), IN_FILE) == access


@pytest.mark.parametrize(
    ("text", "access"),
    [
        ("same-user", SAME_USER),
        (" any ", ANY),
        ("alice", listed("alice")),
        ("1001", listed(uids=(1001,))),
        ("alice, 1001,bob", listed("alice", "bob", uids=(1001,))),
        ('["anyone", 1001]', listed("anyone", uids=(1001,))),
    ],
)
def test_access_in_a_variable_may_be_separated_by_commas(text, access):
    assert ACCESS.parse(ACCESS.from_text(text, IN_VARIABLE), IN_VARIABLE) == access


@pytest.mark.parametrize("text", ["", "same_user", "sameuser", "Any", "anyone", "ANY", "same-users"])
def test_a_misspelt_word_never_becomes_a_users_name(text):
    with pytest.raises(ConfigError, match="not same-user or any") as caught:
        ACCESS.parse(ACCESS.from_text(text, IN_VARIABLE), IN_VARIABLE)

    assert '["alice", 1001]' in caught.value.hint


@pytest.mark.parametrize(
    "value", ["alice", "", [], True, 1001, {}, [True], [-1], [2**32], [1.5], [""], ["a\nb"], [["alice"]]]
)
def test_anything_else_is_refused(value):
    with pytest.raises(ConfigError) as caught:
        ACCESS.parse(value, IN_FILE)

    assert caught.value.hint


@pytest.mark.parametrize("text", ["[", "[alice]", "alice,,bob", ",", "[-1]"])
def test_a_list_in_a_variable_that_is_broken_is_refused(text):
    with pytest.raises(ConfigError, match="PPMPROXY_ACCESS"):
        ACCESS.parse(ACCESS.from_text(text, IN_VARIABLE), IN_VARIABLE)
