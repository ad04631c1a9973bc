import string
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ppmproxy.auth.secret import Secret
from ppmproxy.credentials.tokens_toml import TokenEntry, TokensText, is_same_place
from ppmproxy.errors import TokenFileError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

OURS = TokenEntry("https://pm.example.com/rspm", Secret("eyJ.new.token"))
BLOCK = '[[connections]]\naddress = "https://pm.example.com/rspm"\ntoken = "eyJ.new.token"\nauth_type = "sso"\n'
THEIRS = '[[connections]]\naddress = "https://other.example.com"\ntoken = "theirs"\nauth_type = "sso"\n'


def tokens(text):
    return TokensText(text, "tokens.toml")


def addresses(text):
    return [table["address"] for table in tomllib.loads(text).get("connections", [])]


# Reading


def test_entries_are_read_in_their_order():
    entries = tokens(THEIRS + BLOCK).entries

    assert entries == (TokenEntry("https://other.example.com", Secret("theirs"), "sso"), OURS)


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "connections = []\n", "[other]\nkey = 1\n", "\ufeff"])
def test_a_file_without_entries_has_none(text):
    assert tokens(text).entries == ()
    assert tokens(text).find(OURS.address) is None


def test_a_byte_order_mark_in_the_token_file_is_ignored():
    assert tokens("\ufeff" + BLOCK).find(OURS.address) == OURS


def test_entries_in_an_inline_list_are_read():
    text = 'connections = [{ address = "https://pm.example.com/rspm", token = "t", auth_type = "sso" }]'

    assert tokens(text).find(OURS.address).token == Secret("t")


@pytest.mark.parametrize(
    "entry", ['address = "https://pm.example.com/rspm"', 'address = "https://pm.example.com/rspm"\ntoken = 5', "x = 1"]
)
def test_an_entry_without_address_or_token_is_skipped(entry):
    text = f"[[connections]]\n{entry}\n\n{THEIRS}"

    assert [found.address for found in tokens(text).entries] == ["https://other.example.com"]


def test_no_token_is_shown_by_a_repr():
    assert "eyJ" not in repr(tokens(BLOCK))
    assert "eyJ" not in repr(tokens(BLOCK).entries)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("https://pm.example.com", "https://pm.example.com/", True),
        ("https://pm.example.com", "https://PM.example.com:443", True),
        ("https://pm.example.com/rspm", "https://pm.example.com/rspm/", True),
        ("https://pm.example.com/rspm", "https://pm.example.com", False),
        ("https://pm.example.com/rspm", "https://pm.example.com/RSPM", False),
        ("https://pm.example.com", "http://pm.example.com", False),
        ("https://pm.example.com", "https://pm.example.com:8443", False),
        ("https://pm.example.com", "https://user@pm.example.com", False),
        ("https://pm.example.com", "https://pm.example.com?x", False),
        ("https://pm.example.com", "https://pm.example.com.evil.example", False),
        ("pm.example.com", "pm.example.com/", False),
        ("https://[", "https://]", False),
    ],
)
def test_a_token_is_found_by_scheme_host_port_and_path(one, other, same):
    assert is_same_place(one, other) is is_same_place(other, one) is same


def test_the_exact_address_wins_over_an_equivalent_one():
    with_slash = BLOCK.replace("/rspm", "/rspm/").replace("eyJ.new.token", "slash")

    assert tokens(with_slash).find(OURS.address).token == Secret("slash")
    assert tokens(with_slash + BLOCK).find(OURS.address) == OURS


# Broken files


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[[connections]\n", "line 1"),
        (THEIRS + "token = eyJhbGciOi.secret\n", "line 5"),
        (THEIRS + 'x = """\nnever\nclosed', "line 7"),
        (THEIRS + 'token = "again"\n', "line 5"),
        ("x = " + "[" * 5000, "nested too deeply"),
        ("connections = 5\n", "not a list of entries"),
        ("connections = [5]\n", "not a list of entries"),
        ('[connections]\naddress = "a"\n', "not a list of entries"),
    ],
)
def test_a_broken_file_is_an_error_with_the_line_and_without_content(text, line):
    for use in (
        lambda: tokens(text).entries,
        lambda: tokens(text).with_entry(OURS),
        lambda: tokens(text).without(OURS.address),
    ):
        with pytest.raises(TokenFileError) as caught:
            use()

        assert str(caught.value).startswith("tokens.toml: ")
        assert line in str(caught.value)
        assert "secret" not in caught.value.detail
        assert "ppmproxy login" in caught.value.hint


# Writing


def test_exactly_three_keys_are_written():
    assert tokens("").with_entry(OURS) == BLOCK


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (THEIRS, THEIRS + "\n" + BLOCK),
        (THEIRS + "\n", THEIRS + "\n" + BLOCK + "\n"),
        ("# mine", "# mine\n\n" + BLOCK),
        ("connections = []\n", BLOCK),
        ("# mine\nconnections = [\n]\n[other]\nx = 1\n", "# mine\n[other]\nx = 1\n\n" + BLOCK),
        ("[other]\r\nx = 1\r\n", ("[other]\nx = 1\n\n" + BLOCK).replace("\n", "\r\n")),
    ],
)
def test_a_new_entry_goes_to_the_end(before, after):
    assert tokens(before).with_entry(OURS) == after


OLD_FORMS = {
    "as we write it": BLOCK.replace("new", "old"),
    "in another order": (
        '[[connections]]\nauth_type = "classic"\ntoken = "old"\naddress = "https://pm.example.com/rspm"\n'
    ),
    "with a key that nobody knows": BLOCK.replace("new", "old") + 'extra = """\n[[connections]]\n"""\n',
    "with a table of its own": BLOCK.replace("new", "old") + "\n[connections.extra]\nx = 1\n",
    "without a token": '[[connections]]\naddress = "https://pm.example.com/rspm"\n',
    "spelled differently": (
        "  [[ 'connections' ]] # why\n\taddress = 'https://pm.example.com/rspm'\n\"token\" = '''\nold'''\n"
    ),
}


@pytest.mark.parametrize("old", OLD_FORMS.values(), ids=OLD_FORMS)
def test_an_entry_of_the_same_address_is_replaced_where_it_stands(old):
    text = f"# before\n{THEIRS}\n{old}\n# behind\n{THEIRS}"

    assert tokens(text).with_entry(OURS) == f"# before\n{THEIRS}\n{BLOCK}\n# behind\n{THEIRS}"


@pytest.mark.parametrize("old", OLD_FORMS.values(), ids=OLD_FORMS)
def test_an_entry_goes_with_all_that_is_its_own(old):
    text = f"# before\n{THEIRS}\n{old}\n# behind\n{THEIRS}"

    assert tokens(text).without(OURS.address) == f"# before\n{THEIRS}\n# behind\n{THEIRS}"


def test_comments_in_a_replaced_entry_are_kept():
    old = BLOCK.replace("token =", "# ask Kim for it\ntoken =")

    assert tokens(old).with_entry(OURS) == BLOCK + "# ask Kim for it\n"


def test_with_entry_keeps_an_equivalent_address_and_without_removes_it():
    with_slash = BLOCK.replace("/rspm", "/rspm/")

    both = tokens(with_slash).with_entry(OURS)

    assert addresses(both) == ["https://pm.example.com/rspm/", "https://pm.example.com/rspm"]
    assert tokens(both).without(OURS.address) == ""


def test_without_an_entry_nothing_changes():
    assert tokens("\ufeff" + THEIRS).without(OURS.address) == "\ufeff" + THEIRS


def test_entries_in_an_inline_list_are_not_changed():
    text = 'connections = [{ address = "https://other.example.com", token = "t", auth_type = "sso" }]'

    with pytest.raises(TokenFileError, match="one list in brackets"):
        tokens(text).with_entry(OURS)


def test_incomplete_entries_are_named_by_their_lines():
    text = "# one\n" + THEIRS + "\n" + BLOCK + 'extra = 1\n\n[[connections]]\naddress = "x"\n'

    assert tokens(text).incomplete_lines == (7, 13)
    assert tokens(THEIRS + BLOCK).incomplete_lines == ()


# Other content of the file

LETTERS = string.ascii_letters + string.digits + " .:/#'[]=\\\"\t\x7f\u00e9\u2028\U0001f511"
WORDS = st.text(st.sampled_from(LETTERS), max_size=12)


def quoted(word):
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("\t", "\\t").replace("\x7f", "\\u007f")
    return f'"{escaped}"'


VALUES = st.one_of(
    WORDS.map(quoted),
    st.integers(0, 9).map(str),
    st.just('"""\n[[connections]]\naddress = "https://pm.example.com/rspm"\n"""'),
    st.just("'''\n# no comment\n'''"),
    st.just('[\n  "a", # b\n  [1],\n\n]'),
    st.just('{ address = "x", deeper = [1, 2] }'),
    st.just('"""five quotes end it""""" # here'),
)
NOTHING = st.sampled_from(["\n", "  \n", "# a comment\n", "\t# [[connections]]\n", "# \u00e9\u2028 \n"])
OTHER_ENTRY = st.builds(
    lambda token, kind, more: (
        f'[[connections]] # {kind}\ntoken = {token}\naddress = "https://{kind}.example.com"\nauth_type = "sso"\n{more}'
    ),
    VALUES,
    st.sampled_from("abc"),
    st.one_of(st.just(""), VALUES.map(lambda value: f"more = {value}\n"), st.just("[connections.sub]\nx = 1\n")),
)


@st.composite
def files(draw):
    """The text of a file by another author."""
    top = [f"top{n} = {value}\n" for n, value in enumerate(draw(st.lists(VALUES, max_size=2)))]
    tables = [f"[ 'table {n}' ]\nkey = {value}\n" for n, value in enumerate(draw(st.lists(VALUES, max_size=2)))]
    entries = draw(st.lists(OTHER_ENTRY, max_size=3))
    pieces = []
    for statement in [*top, *draw(st.permutations([*tables, *entries]))]:
        pieces += [*draw(st.lists(NOTHING, max_size=2)), statement]
    text = "".join([*pieces, *draw(st.lists(NOTHING, max_size=2))])
    if draw(st.booleans()):
        text = text.removesuffix("\n")
    return text.replace("\n", "\r\n") if draw(st.booleans()) else text


@given(files())
@example("# no line end")
@example("\n\n")
def test_everything_else_survives_add_and_remove_byte_for_byte(text):
    added = tokens(text).with_entry(OURS)

    ended = text if text.endswith("\n") or not text else text + ("\r\n" if "\r\n" in text else "\n")
    assert added.startswith(ended)
    assert addresses(added) == [*addresses(text), OURS.address]
    assert tokens(added).without(OURS.address) == ended


@given(files(), files())
def test_replacing_changes_nothing_but_the_entry(before, behind):
    behind = behind if behind.lstrip().startswith("[") else ""
    try:
        text = tokens(before).with_entry(TokenEntry(OURS.address, Secret("old"))) + "\n" + behind
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return  # a table of the same name in both

    changed = tokens(text).with_entry(OURS)

    assert changed == text.replace('token = "old"', 'token = "eyJ.new.token"')


@given(WORDS, WORDS)
def test_any_token_and_address_are_read_as_they_were_written(address, token):
    text = tokens("").with_entry(TokenEntry(address, Secret(token)))

    assert tokens(text).entries == (TokenEntry(address, Secret(token)),)
