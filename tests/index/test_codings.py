"""Claims about `codings`: a body is decoded in bounded memory and steps, in any pieces, or is refused."""

import gzip
import time
import zlib
from functools import partial
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppmproxy.index.codings import (
    MOST_CODINGS,
    MOST_MEMBERS,
    MOST_WITHOUT_OUTPUT,
    PIECE,
    READABLE,
    STEP,
    BrokenCodingError,
    Decoder,
    codings_of,
    is_plain_text,
    unreadable,
)
from ppmproxy.server.headers import DECODABLE

GZIP = partial(gzip.compress, mtime=0)  # the same at any time, as the names of tests must be
TEXT = b"<a href='x.whl'>x</a>\n" * 50


def raw_deflate(data):
    compressor = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return compressor.compress(data) + compressor.flush()


CODED = {
    "": bytes,
    "identity": bytes,
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "raw deflate": raw_deflate,
}


def decoded(coding, chunks):
    """The whole body; `BrokenCodingError` where it is not one."""
    decoder = Decoder(codings_of([coding.removeprefix("raw ")]))
    pieces = [piece for chunk in chunks for piece in decoder.feed(chunk)]
    decoder.close()
    return b"".join(pieces)


def chunked(data, cuts):
    """The data in pieces, cut at these places."""
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


@settings(max_examples=200)
@given(
    coding=st.sampled_from(sorted(CODED)),
    data=st.one_of(st.binary(max_size=300), st.binary(min_size=1, max_size=5).map(lambda few: few * 1000)),
    cuts=st.lists(st.integers(0, 5000), max_size=8),
)
def test_a_body_is_decoded_whatever_the_pieces_it_comes_in(coding, data, cuts):
    assert decoded(coding, chunked(CODED[coding](data), cuts)) == data


@pytest.mark.parametrize("coding", sorted(CODED))
def test_a_body_is_decoded_that_comes_byte_by_byte(coding):
    coded = CODED[coding](TEXT)

    assert decoded(coding, [coded[at : at + 1] for at in range(len(coded))]) == TEXT


@pytest.mark.parametrize("coding", ["gzip", "deflate", "raw deflate"])
@pytest.mark.parametrize("size", [PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 3 * PIECE - 100, 5 * PIECE + 7])
def test_nothing_is_lost_where_a_small_body_fills_whole_pieces(coding, size):
    coded = CODED[coding](bytes(size))

    assert decoded(coding, [coded]) == bytes(size)
    assert decoded(coding, chunked(coded, range(len(coded)))) == bytes(size)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "raw deflate"])
def test_what_inflates_to_a_huge_body_comes_in_bounded_pieces(coding):
    coded = CODED[coding](bytes(20 * PIECE))

    assert len(coded) < PIECE // 4
    assert max(map(len, Decoder((coding.removeprefix("raw "),)).feed(coded))) <= PIECE


def test_gzip_may_go_on_with_another_member():
    coded = gzip.compress(b"one ") + gzip.compress(b"") + gzip.compress(b"two")

    assert decoded("gzip", [coded]) == b"one two"
    assert decoded("gzip", chunked(coded, range(len(coded)))) == b"one two"


@pytest.mark.parametrize("end", [b"\0", bytes(8), bytes(511)])
def test_zeros_after_a_gzip_member_are_padding(end):
    coded = gzip.compress(TEXT) + end

    assert decoded("gzip", [coded]) == TEXT
    assert decoded("gzip", chunked(coded, range(len(coded)))) == TEXT


FOLLOWING = [
    b"garbage",
    b"\0\0garbage",
    b"\x1f",
    b"\x1f\x8b",
    b"\x1f\x8b\x07" + TEXT,
    b"<",
    bytes(PIECE) + b"x" * PIECE,
]


@pytest.mark.parametrize("rest", FOLLOWING)
@pytest.mark.parametrize("coding", ["gzip", "deflate", "raw deflate"])
def test_what_follows_a_coded_body_is_ignored(coding, rest):
    coded = CODED[coding](TEXT) + rest

    assert decoded(coding, [coded]) == TEXT
    assert decoded(coding, chunked(coded, range(min(len(coded), 1000)))) == TEXT


@pytest.mark.parametrize("rest", [bytes(20), zlib.compress(b"more")])
def test_deflate_does_not_go_on_with_another_stream(rest):
    assert decoded("deflate", [zlib.compress(TEXT) + rest]) == TEXT


@pytest.mark.parametrize(
    ("coding", "rest", "expected"),
    [
        ("gzip", b"", False),
        ("gzip", bytes(20), False),
        ("gzip", gzip.compress(b"more", mtime=0), False),
        ("gzip", b"\x1f\x8b", True),
        ("gzip", bytes(20) + b"token", True),
        ("gzip", gzip.compress(b"more", mtime=0) + b"token", True),
        ("deflate", bytes(20), False),
        ("deflate", b"token", True),
    ],
)
def test_it_is_known_whether_something_was_ignored(coding, rest, expected):
    decoder = Decoder((coding,))

    for byte in CODED[coding](TEXT) + rest:
        list(decoder.feed(bytes([byte])))
    decoder.close()

    assert decoder.has_ignored is expected


@pytest.mark.parametrize(
    ("lines", "codings"),
    [
        ([], ()),
        (["gzip"], ("gzip",)),
        ([" GZip ,deflate"], ("gzip", "deflate")),
        (["gzip", "gzip"], ("gzip", "gzip")),
        (["identity, gzip,, "], ("gzip",)),
        (["aws-chunked,gzip"], ("aws-chunked", "gzip")),
    ],
)
def test_all_lines_of_the_header_are_one_list(lines, codings):
    assert codings_of(lines) == codings


@pytest.mark.parametrize(
    ("codings", "body"),
    [
        (["gzip, gzip"], GZIP(GZIP(TEXT))),
        (["deflate", "gzip"], GZIP(zlib.compress(TEXT))),
        (["gzip,deflate"], zlib.compress(GZIP(TEXT))),
        (["UTF-8"], TEXT),
        (["aws-chunked"], TEXT),
        (["aws-chunked, gzip", "utf-8"], GZIP(TEXT)),
    ],
)
def test_codings_are_undone_last_one_first_and_other_names_are_none(codings, body):
    decoder = Decoder(codings_of(codings))

    assert b"".join(decoder.feed(body)) == TEXT
    decoder.close()


def test_a_body_may_be_compressed_several_times_over_but_not_without_end():
    body = TEXT
    for _ in range(MOST_CODINGS):
        body = gzip.compress(body)

    assert b"".join(Decoder(("gzip",) * MOST_CODINGS).feed(body)) == TEXT
    with pytest.raises(BrokenCodingError, match="too many times"):
        Decoder(("gzip",) * (MOST_CODINGS + 1)).feed(gzip.compress(body))


@pytest.mark.parametrize(
    ("codings", "name"),
    [
        ((), ""),
        (("gzip", "x-gzip", "deflate", "utf-8", "aws-chunked"), ""),
        (("gzip", "br"), "br"),
        (("zstd",), "zstd"),
    ],
)
def test_a_registered_coding_that_nobody_undoes_here_is_named(codings, name):
    assert unreadable(codings) == name


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        (b"", True),
        (b"<!DOCTYPE html>\r\n\t<p>", True),
        ("\ufeff{\u00e9".encode(), True),
        ("{\u00e9".encode()[:-1], True),
        (b"{\xff", False),
        (b"<\x00", False),
        (b"\x0b\x02\x80<", False),
        (b"\x1f\x8b", False),
    ],
)
def test_text_in_no_coding_is_recognised(start, expected):
    assert is_plain_text(start) is expected


# --- work without output ---------------------------------------------------------------------------------------------


def empty_dynamic_blocks(size):
    """So many bytes of raw deflate that are nothing but tables: the slowest input for its size."""
    bits = []

    def put(value, width):
        bits.extend((value >> at) & 1 for at in range(width))

    put(0b100, 3)  # not the last block, dynamic
    put(0, 10)
    put(14, 4)  # lengths for 18 of the code length codes: those of 18, 1 and 0
    for length in (0, 0, 1, 2, *[0] * 13, 2):
        put(length, 3)
    put(0, 1), put(127, 7), put(0, 1), put(107, 7)  # no literal
    put(0b11, 2), put(0b11, 2), put(0, 1)  # the end of a block and a distance; the end of this block
    bits *= 8
    block = bytes(sum(bits[at + bit] << bit for bit in range(8)) for at in range(0, len(bits), 8))
    return (block * (size // len(block) + 1))[:size]


WITHOUT_OUTPUT = {
    "empty members": ("gzip", gzip.compress(b"", mtime=0) * 20_000),
    "one member, then empty ones": ("gzip", gzip.compress(TEXT) + gzip.compress(b"", mtime=0) * 20_000),
    "an endless file name": ("gzip", b"\x1f\x8b\x08\x08" + bytes(6) + b"x" * (1 << 20)),
    "stored blocks": ("deflate", b"\x78\x9c" + b"\x00\x00\x00\xff\xff" * 200_000),
    "tables": ("deflate", b"\x78\x9c" + empty_dynamic_blocks(1 << 20)),
}


@pytest.mark.parametrize("kind", WITHOUT_OUTPUT)
@pytest.mark.parametrize("outer", [[], ["gzip"]])
def test_work_without_output_is_given_up_soon_and_in_short_steps(kind, outer):
    coding, body = WITHOUT_OUTPUT[kind]
    decoder = Decoder((coding, *outer))
    chunks = [gzip.compress(body)] if outer else [body]
    steps = []

    with pytest.raises(BrokenCodingError):
        steps.extend(len(piece) for chunk in chunks for piece in Timed(decoder.feed(chunk)))

    assert len(steps) <= MOST_MEMBERS + len(body) // STEP + 2


class Timed:
    """Goes through an iterator, and fails if one step takes long."""

    def __init__(self, pieces):
        self._pieces = pieces

    def __iter__(self):
        return self

    def __next__(self):
        began = time.process_time()
        piece = next(self._pieces)
        assert time.process_time() - began < 0.05
        return piece


def test_a_body_has_a_thousand_members_at_most():
    member = gzip.compress(b"x")

    assert decoded("gzip", [member * MOST_MEMBERS]) == b"x" * MOST_MEMBERS
    with pytest.raises(BrokenCodingError, match="pieces"):
        decoded("gzip", [member * (MOST_MEMBERS + 1)])


def test_a_long_header_and_empty_blocks_are_read_within_limits():
    block = empty_dynamic_blocks(MOST_WITHOUT_OUTPUT - 100)
    name = b"x" * (MOST_WITHOUT_OUTPUT - 100)

    assert not any(Decoder(("deflate",)).feed(b"\x78\x9c" + block))
    assert decoded("gzip", [b"\x1f\x8b\x08\x08" + bytes(6) + name + b"\0" + gzip.compress(TEXT)[10:]]) == TEXT


@pytest.mark.parametrize("coding", sorted(CODED))
def test_no_body_at_all_is_an_empty_one(coding):
    assert decoded(coding, []) == b""
    assert decoded(coding, [b"", b""]) == b""


@pytest.mark.parametrize("coding", ["gzip", "deflate", "raw deflate"])
def test_a_body_that_is_cut_short_is_noticed_wherever_it_is_cut(coding):
    coded = CODED[coding](TEXT)

    for length in range(1, len(coded)):
        with pytest.raises(BrokenCodingError):
            decoded(coding, [coded[:length]])


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", b"<html>not compressed at all</html>"),
        ("deflate", b"<html>not compressed at all</html>"),
        ("gzip", zlib.compress(TEXT)),
        ("deflate", gzip.compress(TEXT, mtime=0)),
        ("gzip", gzip.compress(TEXT, mtime=0)[:-8] + bytes(8)),
        ("gzip", gzip.compress(TEXT, mtime=0) + b"\x1f\x8b\x08trailing rubbish"),
    ],
)
def test_a_body_that_is_not_in_its_coding_is_noticed(coding, body):
    with pytest.raises(BrokenCodingError):
        decoded(coding, [body])


@given(st.sampled_from(["gzip", "deflate"]), st.lists(st.binary(max_size=50), max_size=5))
def test_no_rubbish_makes_decoding_fail_in_another_way(coding, chunks):
    try:
        body = decoded(coding, chunks)
    except BrokenCodingError:
        return

    assert isinstance(body, bytes)


def test_everything_that_pages_are_asked_for_in_can_be_read():
    assert READABLE.issuperset(DECODABLE)
