"""Claims about a watched file: it is read again when it has changed, and no more often."""

import os
import time

import pytest

from ppmproxy.credentials.lookup import SourceBroken
from ppmproxy.credentials.watched_file import MAX_FILE_SIZE, UnreadableError, WatchedFile


@pytest.fixture
def token_file(tmp_path):
    return tmp_path / "token"


async def in_place(path, token):
    path.write_text(token)


async def in_place_with_the_old_times(path, token):
    before = path.stat()
    path.write_text(token)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


async def replaced_with_the_old_times(path, token):
    before = path.stat()
    path.with_name("new").write_text(token)
    os.utime(path.with_name("new"), ns=(before.st_atime_ns, before.st_mtime_ns))
    path.with_name("new").replace(path)


@pytest.mark.parametrize("rewrite", [in_place, in_place_with_the_old_times, replaced_with_the_old_times])
@pytest.mark.parametrize("age", [0.0, 3600.0], ids=["just read", "old"])
async def test_a_file_that_is_rewritten_with_the_same_size_is_read_again(token_file, rewrite, age):
    later = time.time() + age
    token_file.write_text("token-1")
    file = WatchedFile(token_file, now=lambda: later)

    before = await file.text()
    await rewrite(token_file, "token-2")

    assert (before, await file.text()) == ("token-1", "token-2")


async def test_a_file_that_has_not_changed_for_long_is_not_read_again(token_file, monkeypatch):
    token_file.write_text("token-1")
    file = WatchedFile(token_file, now=lambda: time.time() + 3600)
    await file.text()

    token_file_is_open = []
    monkeypatch.setattr("builtins.open", lambda *_, **__: token_file_is_open.append(1))

    assert await file.text() == "token-1"
    assert token_file_is_open == []


async def test_a_file_is_parsed_once_for_each_change(token_file):
    said = []
    file = WatchedFile(token_file)

    def parse(_text):
        said.append(SourceBroken("a file", token_file.read_text()))
        return said[-1]

    token_file.write_text("broken")
    first = [await file.found(parse) for _ in range(3)]
    token_file.write_text("broken in another way")
    second = [await file.found(parse) for _ in range(3)]

    assert first == [SourceBroken("a file", "broken")] * 3
    assert second == [SourceBroken("a file", "broken in another way")] * 3
    assert len(said) == 2


@pytest.mark.parametrize("more", [0, 1])
async def test_no_file_is_cut_at_the_limit_of_its_size(token_file, more):
    token_file.write_bytes(b"a" * (MAX_FILE_SIZE + more))
    file = WatchedFile(token_file)

    if more:
        with pytest.raises(UnreadableError, match="is larger than 1 MiB"):
            await file.text()
    else:
        assert len(await file.text()) == MAX_FILE_SIZE
