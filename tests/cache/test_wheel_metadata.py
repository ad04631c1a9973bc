"""Claims about metadata that is taken out of a wheel which is here."""

import io
import zipfile

import pytest
from cached_upstream import word

from ppmproxy.cache.wheel_metadata import LARGEST_METADATA, metadata_of
from ppmproxy.testing.package_manager import Status, wheel


def zipped(**members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name.replace("__", "/"), data)
    buffer.seek(0)
    return buffer


def test_metadata_is_what_the_wheel_has():
    hello = wheel("hello")

    assert metadata_of(io.BytesIO(hello.data)) == hello.metadata


@pytest.mark.parametrize(
    "broken",
    [
        io.BytesIO(b"no archive"),
        io.BytesIO(wheel("hello").data[:-40]),
        zipped(other__METADATA=b""),
        zipped(**{"a.dist-info__METADATA": b"", "b.dist-info__METADATA": b""}),
        zipped(**{"in__a.dist-info__METADATA": b""}),
        zipped(**{"a.dist-info__METADATA": bytes(LARGEST_METADATA + 1)}),
    ],
)
def test_a_wheel_without_clear_metadata_has_none(broken):
    assert metadata_of(broken) is None


def flipped(data):
    found = io.BytesIO(data)
    with zipfile.ZipFile(found) as archive:
        at = archive.getinfo("hello-1.0.dist-info/METADATA").header_offset + 70
    return data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]


def test_a_damaged_member_is_no_metadata():
    assert metadata_of(io.BytesIO(flipped(wheel("hello").data))) is None


async def test_the_metadata_of_a_wheel_that_is_here_is_not_asked_for(cached):
    it = await cached()
    await it.fill()
    await it.get()  # returns once it is kept

    replies = [await it.running.get(f"{it.path}.metadata") for _ in range(2)]

    assert [(reply.body, word(reply)) for reply in replies] == [(it.file.metadata, "hit")] * 2
    assert it.server.requests == []


async def test_metadata_that_the_wheel_has_otherwise_is_asked_for(cached):
    it = await cached()
    other = it.server.add(wheel("other"))
    it.server.add(type(other)(other.filename, other.data, metadata=b"Name: another\n"))
    path = f"/pypi/latest/packages/{other.id}/{other.filename}"
    await it.running.get("/pypi/latest/simple/other/")
    await it.running.get(path)

    reply = await it.running.get(f"{path}.metadata")

    assert word(reply) != "hit"


async def test_metadata_of_a_wheel_needs_a_right_of_this_token(cached):
    it = await cached()
    await it.fill()
    await it.get()
    it.server.add_fault("*", Status(403))
    it.use("another-token")

    reply = await it.running.get(f"{it.path}.metadata")

    assert reply.status >= 400
    assert it.server.requests != []
