import asyncio
import json
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
from proxy_client import wait_until

from ppmproxy.auth.secret import Secret
from ppmproxy.credentials.sign_in_token import SignInTokenStore
from ppmproxy.credentials.token_file import TokenFile

ADDRESS = "https://pm.example.com/rspm"
OLD, NEW, NEWER = Secret("the-old-token"), Secret("the-new-token"), Secret("the-newer-token")


class Pauses:
    """A sleep that returns when a test allows it, and records the seconds."""

    def __init__(self):
        self.seconds = []
        self.allowed = asyncio.Semaphore(0)
        self.begun = asyncio.Semaphore(0)

    async def sleep(self, seconds):
        self.seconds.append(seconds)
        self.begun.release()
        await self.allowed.acquire()

    async def let_one_pass(self):
        """Let the present sleep end, and wait for the next one."""
        self.allowed.release()
        await asyncio.wait_for(self.begun.acquire(), 10)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "ppm"


@pytest.fixture
def file(folder):
    return TokenFile(folder / "tokens.toml", sleep=lambda _seconds: None)


@pytest.fixture
async def pauses():
    return Pauses()


@pytest.fixture
async def store(pauses):
    store = SignInTokenStore(ADDRESS, pauses.sleep)
    yield store
    await store.close()


def block(folder):
    """Put a file in the folder's place: not even root can write into it."""
    if folder.exists():
        folder.rename(folder.with_name("moved"))
    folder.write_text("")


def unblock(folder):
    folder.unlink()
    if folder.with_name("moved").exists():
        folder.with_name("moved").rename(folder)


async def test_a_token_is_written_to_the_file(store, file):
    await store.save(file, NEW)

    assert (file.find(ADDRESS), store.unsaved, store.warning) == (NEW, None, "")


async def test_a_token_that_cannot_be_written_is_kept_with_the_reason(store, file, folder):
    block(folder)

    await store.save(file, NEW)

    assert store.unsaved.token == NEW
    assert "only in memory" in store.warning
    assert f"{file.path} cannot be written: " in store.warning
    assert NEW.reveal() not in f"{store!r} {store.unsaved!r} {store.warning}"


async def test_it_is_written_as_soon_as_that_is_possible(store, file, folder, pauses):
    block(folder)
    await store.save(file, NEW)

    await asyncio.wait_for(pauses.begun.acquire(), 10)
    await pauses.let_one_pass()
    unblock(folder)
    pauses.allowed.release()
    await wait_until(lambda: store.unsaved is None)

    assert file.find(ADDRESS) == NEW
    assert pauses.seconds == [2, 4]


async def test_the_last_try_is_at_the_end(store, file, folder):
    block(folder)
    await store.save(file, NEW)
    unblock(folder)

    await store.close()

    assert file.find(ADDRESS) == NEW


@pytest.mark.parametrize(
    ("meanwhile", "expected"),
    [
        (lambda _file: None, NEW),
        (lambda file: file.save(ADDRESS, NEWER), NEWER),
        (lambda file: file.remove(ADDRESS), None),
        (lambda file: file.save("https://other.example.com", NEWER), NEW),
    ],
    ids=["nothing", "another sign-in", "a logout", "another server"],
)
async def test_a_change_of_its_entry_meanwhile_is_newer(store, file, folder, meanwhile, expected):
    file.save(ADDRESS, OLD)
    block(folder)
    await store.save(file, NEW)
    store.unsaved = replace(store.unsaved, before=OLD)  # as on a disk that is full or read-only

    unblock(folder)
    meanwhile(file)
    await store.close()

    assert file.find(ADDRESS) == expected


async def test_a_broken_file_is_completed_when_it_has_been_repaired(store, file, folder):
    file.save(ADDRESS, OLD)
    text = file.path.read_text()
    file.path.write_text(text + "broken =\n")
    await store.save(file, NEW)

    file.path.write_text(text)
    await store.close()

    assert file.find(ADDRESS) == NEW


async def test_a_token_that_was_forgotten_meanwhile_is_not_written(store, file, folder, pauses):
    others = asyncio.all_tasks()
    block(folder)
    await store.save(file, NEW)
    await asyncio.wait_for(pauses.begun.acquire(), 10)
    unblock(folder)

    was_signed_in = await store.forget(file)
    pauses.allowed.release()
    await wait_until(lambda: not asyncio.all_tasks() - others)

    assert (was_signed_in, file.find(ADDRESS)) == (True, None)


async def test_a_second_sign_in_replaces_the_token_in_memory(store, file, folder):
    block(folder)
    await store.save(file, NEW)
    await store.save(file, NEWER)

    assert store.unsaved.token == NEWER


MOUNTED = """
import asyncio, json, subprocess, sys
from pathlib import Path
from ppmproxy.auth.secret import Secret
from ppmproxy.credentials.sign_in_token import SignInTokenStore
from ppmproxy.credentials.token_file import TokenFile
from ppmproxy.errors import TokenFileError

folder, address = Path(sys.argv[1]), "https://pm.example.com"

def mount(options):
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)

def check(file):
    try:
        file.check()
    except TokenFileError as error:
        return error.detail
    return ""

async def main():
    mount("size=64k")
    file, store = TokenFile(folder / "tokens.toml"), SignInTokenStore(address, lambda _: asyncio.sleep(0.05))
    file.save(address, Secret("old"))
    if sys.argv[2] == "full":
        filler = folder / "filler"
        try:
            filler.write_bytes(bytes(1 << 20))
        except OSError:
            pass
    else:
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    refused = check(file)
    await store.save(file, Secret("new"))
    warning = store.warning
    if sys.argv[2] == "full":
        filler.unlink()
    else:
        subprocess.run(["mount", "-o", "remount,rw", str(folder)], check=True)
    for _ in range(200):
        if store.unsaved is None:
            break
        await asyncio.sleep(0.05)
    await store.close()
    left = sorted(path.name for path in folder.iterdir())
    print(json.dumps([refused, warning, file.find(address).reveal(), left]))

asyncio.run(main())
"""


def can_mount(folder):
    command = ["unshare", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "tmpfs", str(folder)]
    return bool(shutil.which("unshare")) and subprocess.run(command, check=False, capture_output=True).returncode == 0


@pytest.mark.parametrize(
    ("what", "reason", "remedy"),
    [
        ("full", "no space left on device", "make room on the disk"),
        ("read-only", "read-only file system", "make the file system writable"),
    ],
)
def test_a_full_or_read_only_disk_is_named_and_the_token_is_written_when_that_ends(tmp_path, what, reason, remedy):
    if not can_mount(tmp_path):
        pytest.skip("needs a mount namespace")

    command = ["unshare", "--map-root-user", "--mount", sys.executable, "-c", MOUNTED, str(tmp_path), what]
    result = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    refused, warning, token, left = json.loads(result.stdout.splitlines()[-1])

    assert reason in refused
    assert remedy in refused
    assert reason in warning
    assert token == "new"
    assert left == [".tokens.toml.lock", "tokens.toml"]
