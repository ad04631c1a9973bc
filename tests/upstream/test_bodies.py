import gzip
import tracemalloc
import zlib

import pytest

from ppmproxy.upstream.bodies import read_at_most

TEXT = b'{"value": "a token"}'


async def chunks_of(body, size=1 << 16):
    for start in range(0, len(body), size):
        yield body[start : start + size]


@pytest.mark.parametrize(
    ("body", "codings", "expected"),
    [
        (TEXT, (), TEXT),
        (TEXT, ("unknown",), TEXT),
        (gzip.compress(TEXT, mtime=0), ("gzip",), TEXT),
        (gzip.compress(TEXT, mtime=0), ("x-gzip",), TEXT),
        (gzip.compress(gzip.compress(TEXT, mtime=0), mtime=0), ("gzip", "gzip"), TEXT),
        (zlib.compress(TEXT), ("deflate",), TEXT),
        (b"not gzip", ("gzip",), b""),
        (b"", (), b""),
    ],
)
async def test_a_body_is_read_without_its_codings(body, codings, expected):
    assert await read_at_most(1000, chunks_of(body, 7), codings) == expected


@pytest.mark.parametrize("size", [1, 7, 1 << 16])
async def test_not_more_than_the_limit_is_returned(size):
    assert await read_at_most(10, chunks_of(TEXT, size)) == TEXT[:10]


async def test_the_rest_of_a_long_body_is_not_read():
    read = []

    async def endless():
        while True:
            read.append(1)
            yield bytes(100)

    await read_at_most(1000, endless())

    assert len(read) == 10


async def test_a_compressed_body_without_output_is_not_read_for_ever():
    async def empty_members():
        while True:
            yield gzip.compress(b"")

    assert await read_at_most(1000, empty_members(), ("gzip",)) == b""


async def test_a_bomb_of_a_hundred_mebibytes_is_not_inflated():
    bomb = gzip.compress(bytes(100 << 20))
    tracemalloc.start()

    body = await read_at_most(1 << 18, chunks_of(bomb), ("gzip",))

    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(body) == 1 << 18
    assert peak < 2 << 20
