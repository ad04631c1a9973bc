import gzip
import zlib
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppmproxy.index.codings import PIECE, READABLE, BrokenCodingError, Decoder
from ppmproxy.server.headers import DECODABLE

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
    decoder = Decoder(coding.removeprefix("raw "))
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
    assert max(map(len, Decoder(coding.removeprefix("raw ")).feed(coded))) <= PIECE


def test_gzip_may_go_on_with_another_member():
    coded = gzip.compress(b"one ") + gzip.compress(b"") + gzip.compress(b"two")

    assert decoded("gzip", [coded]) == b"one two"
    assert decoded("gzip", chunked(coded, range(len(coded)))) == b"one two"


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
        ("gzip", gzip.compress(TEXT, mtime=0) + b"trailing rubbish"),
        ("br", TEXT),
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
    assert set(DECODABLE) <= READABLE
