"""Claims about leaks: a token is recognised in pieces and in every usual encoding, and nothing else is taken for it."""

import base64
import json
import re
import time
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppmproxy.auth.leaks import MAX_ROUNDS, RUN_LENGTH, KnownRuns, runs_of
from ppmproxy.testing.package_manager import jwt

JWT = jwt({"sub": "kim@example.com", "scopes": ["repos:read"]})
TOKENS = [JWT, "pa/ss+w0rd=of~another&qjzkvwxyhg", "0123456789abcdef0123456789abcdef01234567"]


def hexdump(token, *, width=16):
    rows = [token.encode()[at : at + width] for at in range(0, len(token), width)]
    return "\n".join(f"{at * width:08x}  {row.hex(' ')}" for at, row in enumerate(rows))


def words(token, size, form, order="little"):
    """A dump of words as od and hexdump print it, sixteen bytes in a line, with the address at its beginning."""
    data = token.encode() + b"\0" * (-len(token) % size)
    numbers = [int.from_bytes(data[at : at + size], order) for at in range(0, len(data), size)]
    in_line = 16 // size
    lines = [numbers[at : at + in_line] for at in range(0, len(numbers), in_line)]
    return "\n".join(f"{at * 16:07o} {' '.join(form.format(one) for one in line)}" for at, line in enumerate(lines))


def percent(token):
    return "".join(f"%{ord(char):02X}" for char in token)


BODIES = {
    "raw": str,
    "another case": str.swapcase,
    "lines": lambda token: "\n".join(token[at : at + 3] for at in range(0, len(token), 3)),
    "spaced": " ".join,
    "dashed": "-".join,
    "zero-width space": "\u200b".join,
    "soft hyphen": "\u00ad".join,
    "combining mark": "\u0301".join,
    "filler that counts as a letter": "\u3164".join,
    "full width": lambda token: "".join(chr(ord(char) + 0xFEE0) if char.isalnum() else char for char in token),
    "percent": percent,
    "percent twice": lambda token: quote(percent(token)),
    "percent thrice": lambda token: quote(quote(percent(token))),
    "decimal references": lambda token: "".join(f"&#{ord(char)};" for char in token),
    "padded references": lambda token: "".join(f"&#{ord(char):09};" for char in token),
    "hexadecimal references": lambda token: "".join(f"&#x{ord(char):X};" for char in token),
    "references without end": lambda token: " ".join(f"&#{ord(char)}" for char in token),
    "JSON": lambda token: json.dumps({"token": token}),
    "JSON in escapes": lambda token: "".join(f"\\u{ord(char):04x}" for char in token),
    "JavaScript in braces": lambda token: "".join(f"\\u{{{ord(char):04x}}}" for char in token),
    "JavaScript in braces, short": lambda token: "".join(f"\\u{{{ord(char):x}}}" for char in token),
    "JavaScript's escape()": lambda token: "".join(f"%u{ord(char):04x}" for char in token),
    "JSON in some escapes": lambda token: "".join(
        char if at % 2 else f"\\u{ord(char):04X}" for at, char in enumerate(token)
    ),
    "Perl in braces": lambda token: "".join(f"\\x{{{ord(char):x}}}" for char in token),
    "Perl in octal": lambda token: "".join(f"\\o{{{ord(char):o}}}" for char in token),
    "CSS": lambda token: "".join(f"\\{ord(char):x} " for char in token),
    "CSS, padded": lambda token: "".join(f"\\{ord(char):06X}" for char in token),
    "C in octal, short": lambda token: "".join(f"\\{ord(char):o}" for char in token),
    "C in hexadecimal": lambda token: "".join(f"\\x{ord(char):02x}" for char in token),
    "C in octal": lambda token: "".join(f"\\{ord(char):03o}" for char in token),
    "percent in references": lambda token: "".join(f"&#37;{ord(char):02x}" for char in token),
    "references in JSON": lambda token: json.dumps("".join(f"&#{ord(char)};" for char in token)).replace(
        "&", "\\u0026"
    ),
    "tags": lambda token: "".join(f"<b>{char}</b>" for char in token),
    "tags with words": lambda token: "".join(f'<span class="a>b">{char}</span >' for char in token),
    "comments": "<!-- <b> and -->".join,
    "base64": lambda token: base64.b64encode(token.encode()).decode(),
    "base64 in lines": lambda token: base64.encodebytes(f"x{token}".encode()).decode(),
    "base64 for URLs": lambda token: base64.urlsafe_b64encode(f"xy{token}".encode()).decode().rstrip("="),
    "base64 in percent": lambda token: percent(base64.b64encode(token.encode()).decode()),
    "hexadecimal": lambda token: token.encode().hex(),
    "hexadecimal with colons": lambda token: token.encode().hex(":").upper(),
    "hexdump": hexdump,
    "hexdump of eight": lambda token: hexdump(token, width=8),
    "od -x": lambda token: words(token, 2, "{:04x}"),
    "od -x without addresses": lambda token: re.sub(r"(?m)^[0-7]+ ", "", words(token, 2, "{:04x}")),
    "od -x behind hexadecimal letters": lambda token: "denied: " + words(token, 2, "{:04x}")[8:],
    "od -tx4": lambda token: words(token, 4, "{:08x}"),
    "od -tx8": lambda token: words(token, 8, "{:016x}"),
    "od -tx4 --endian=big": lambda token: words(token, 4, "{:08x}", "big"),
    "od": lambda token: words(token, 2, "{:06o}"),
    "od -to4": lambda token: words(token, 4, "{:011o}"),
    "od -b": lambda token: words(token, 1, "{:03o}"),
    "od -tu4": lambda token: words(token, 4, "{:10d}"),
    "od -td8": lambda token: words(token, 8, "{:20d}"),
    "od -d --endian=big": lambda token: words(token, 2, "{:5d}", "big"),
    "hexdump -d": lambda token: words(token, 2, "  {:05d}") + "          ",
    "words in 0x": lambda token: re.sub(r"(\b[0-9a-f]{8}\b)", r"0x\1,", words(token, 4, "{:08x}")),
    "hexadecimal numbers": lambda token: ", ".join(f"0x{ord(char):02X}" for char in token),
    "decimal numbers": lambda token: str(list(token.encode())),
    "octal numbers": lambda token: " ".join(f"{ord(char):03o}" for char in token),
    "a part": lambda token: token[5:-5],
    "its end": lambda token: token[-RUN_LENGTH - 2 :],
}
PARTS = {"a part", "its end"}
# In a head a token is looked for in percent-escapes, references and backslash-escapes, whole.
HEADS = [name for name in BODIES if name.startswith(("percent", "JSON", "JavaScript", "Perl", "CSS", "C in"))]
HEADS += [name for name in BODIES if "references" in name]


@pytest.mark.parametrize("token", TOKENS)
@pytest.mark.parametrize("written", BODIES.values(), ids=BODIES)
def test_a_token_is_recognised_in_a_body(token, written):
    runs = KnownRuns([runs_of("another-token-of-no-interest"), runs_of(token)])

    assert runs.are_in_body(f"<p>debug: {written(token)} (end)</p>")


@pytest.mark.parametrize("token", TOKENS)
@pytest.mark.parametrize("name", HEADS)
def test_a_token_is_recognised_in_a_head(token, name):
    assert KnownRuns([runs_of(token)]).are_in(f"no: {BODIES[name](token)} (end)")


def is_like_a_token(text):
    """Not all zeros, which are in the addresses of every dump; not of three parts, of which a JWT's are longer."""
    return len(runs_of(text)) > 4 and len(set(text)) > 7 and text.count(".") != 2


@given(
    st.text("abcdefghXYZ0123456789-._~+/=", min_size=20, max_size=40).filter(is_like_a_token),
    st.sampled_from([written for name, written in BODIES.items() if name not in PARTS]),
    st.text(max_size=20),
)
@settings(max_examples=200)
def test_any_token_is_recognised_in_any_surrounding_text(token, written, around):
    assert KnownRuns([runs_of(token)]).are_in_body(f"{around}\n\n{written(token)}\n\n{around}")


@pytest.mark.parametrize(
    "text",
    [
        "there is no such package: hello",
        "<html><head><title>404 Not Found</title></head><body><h1>Not Found</h1></body></html>",
        json.dumps({"error": "package not found", "code": 17, "request": "5f1d7a84-6b8e-4a0c-9a51-9f0c1c1f2c77"}),
        "pa/ss word of no other",
        "A" * 5000,
        "",
    ],
)
def test_nothing_else_is_taken_for_a_token(text):
    runs = KnownRuns(map(runs_of, TOKENS))

    assert not runs.are_in(text)
    assert not runs.are_in_body(text)


@given(st.text(max_size=300))
def test_any_text_can_be_searched(text):
    assert KnownRuns(map(runs_of, TOKENS)).are_in_body(text) in {True, False}


@pytest.mark.parametrize("token", ["", "abc", "a-b-c-d", "abc.def.g"])
def test_a_token_with_few_letters_and_digits_has_no_runs(token):
    assert runs_of(token) == frozenset()


@pytest.mark.parametrize(
    "text",
    [
        *("%25" * 20_000, "&#" * 30_000, "\\" * 60_000, "<" * 60_000, "<a '" * 15_000, "1 " * 30_000, "ab" * 30_000),
        *("12 " * 20_000, "99999999999999999999 " * 3_000, "cafe " * 12_000, "\\6f " * 12_000, "%u0025" * 10_000),
    ],
)
def test_no_text_of_the_longest_size_takes_long(text):
    runs = KnownRuns(map(runs_of, TOKENS))
    started = time.process_time()

    runs.are_in_body(text)

    assert time.process_time() - started < 1.0


@pytest.mark.parametrize("digits", ["9" * 5000, "x" + "f" * 5000, "0" * 5000 + "65", "1114112", "xD800"])
def test_a_character_reference_may_have_any_number(digits):
    assert not KnownRuns(map(runs_of, TOKENS)).are_in_body(f"a &#{digits}; b")


def test_an_encoding_deeper_than_anybody_writes_is_not_undone_without_end():
    text = "%41"
    for _ in range(3 * MAX_ROUNDS):
        text = quote(text)

    assert not KnownRuns(map(runs_of, TOKENS)).are_in_body(text)
