"""Claims about every message of the program: short, plain, what happened and what to do."""

import re

import pytest
from messages import GAP, messages, titles

from ppmproxy.config.keys import KEYS
from ppmproxy.errors import LONGEST_MESSAGE

PLACEHOLDER = re.compile(r"\{.*?\}(?=[^}]|$)")
TYPICAL = 20  # characters of a placeholder: a URL, a path, a status
TO_CLIENTS = ("access", "auth", "cache", "credentials", "index", "server", "upstream")
UNPLAIN = (  # riddles, personification and guesses that earlier messages had
    *("maybe", "perhaps", "probably", "looked into", "'s way", "disguise", "nobody who", "is never", "says again"),
    *(
        "could be had",
        "cannot be had",
        "of no use",
        "whatever",
        "says more",
        "who answers",
        "this is for the",
        "to mend",
    ),
    *("in it", "looked at", "pip install '?ppmproxy", "(?<!there )is no", "says what", "tells"),
)


def parts_of(message):
    return [text for text in (message.what, message.hint) if text and text != GAP]


def unplain_words(text):
    return [words for words in UNPLAIN if re.search(rf"(?<!\w){words}(?!\w)", text)]


def shown(texts):
    """Texts as long as they typically are."""
    return "; ".join(PLACEHOLDER.sub("x" * TYPICAL, text) for text in texts)


def test_the_messages_are_found():
    assert len(messages()) > 250
    assert sum(GAP in message.what for message in messages()) < 15


def test_a_message_is_one_sentence_what_happened_and_one_what_to_do():
    texts = [(message.place, text) for message in messages() for text in parts_of(message)]
    without_advice = [message.place for message in messages() if not message.hint]

    assert [each for each in texts if each[1].endswith(".") or re.search(r"[a-z]\. |\n", each[1])] == []
    assert [each for each in texts if each[1] != each[1].strip()] == []
    assert [place for place in without_advice if not place.startswith(("cli/", "server/desktop_bus"))] == []


def test_a_message_fits_into_the_line_that_clients_show():
    lengths = {message.place: len(shown(parts_of(message))) for message in messages()}

    assert {place: length for place, length in lengths.items() if length > LONGEST_MESSAGE} == {}


def test_a_message_is_plain_english():
    found = {message.place: unplain_words(shown(parts_of(message)).lower()) for message in messages()}

    assert {place: words for place, words in found.items() if words} == {}


def test_a_message_to_a_client_is_ascii():
    texts = [text for message in messages() if message.room in TO_CLIENTS for text in parts_of(message)]

    assert [text for text in texts if not text.replace(GAP, "").isascii()] == []


def test_a_title_is_a_short_phrase():
    found = set(titles().values())

    assert [title for title in found if len(title) > 50 or title.endswith(".")] == []
    assert [title for title in found if unplain_words(title)] == []


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.name)
def test_the_help_of_a_setting_is_one_short_ascii_phrase(key):
    assert key.help.isascii()
    assert len(key.help) <= 110
    assert not key.help.endswith(".")
    assert unplain_words(key.help) == []
