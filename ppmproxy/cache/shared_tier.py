"""The tier of the cache that machines share, behind the disk: what is read there is verified here before it is used.

A store that is broken, slow, missing or wrong is a miss. The first failure ends all waiting for it; from then on no
request waits until a check in the background has succeeded. Only blobs are in it, under their SHA-256: who
may have one is for `FileFetcher` to find out, as for any blob of the disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TypeVar

import structlog

from ppmproxy.cache.blobs import PartialFile
from ppmproxy.cache.pause import Pause
from ppmproxy.cache.store import Store
from ppmproxy.cache.stores.protocol import BlobStore, StoredBlob, StoreError, key_of
from ppmproxy.cache.uploads import UploadCounts, Uploads
from ppmproxy.config.model import CacheUrlMode, Settings

T = TypeVar("T")

AT_ONCE = 32  # blobs that are read at one time; uv asks for as many
MISSING_FOR = 30.0  # seconds in which a blob that is not there is not asked for again
MOST_REMEMBERED = 10_000  # blobs that are not there, or wrong
MOST_SECONDS = 10.0  # for a whole blob, as it goes so far; clients wait 15 s for a first byte
LEAST_RATE = 1e6  # bytes/s, below which the store is slow, and not the blob large
MOST_WRONG = 3  # wrong blobs in a row, after which it is the store that is wrong: a page for signing in, say
_TOO_SLOW = 'check the network to it, raise cache_url_timeout, or do without: cache_url = ""'


@dataclass(slots=True)
class ReadCounts:
    """What became of the blobs that were looked for."""

    hits: int = 0
    read_bytes: int = 0
    misses: int = 0
    wrong: int = 0
    failed: int = 0
    late: int = 0  # not to be had in time: too large, or others were first
    skipped: int = 0  # not asked for during a pause


class _TooLargeError(Exception):
    """The Package Manager's first byte is there sooner than the whole of this blob."""


@dataclass(slots=True)
class SharedTier:
    """A store, and what is known of it; `close` it in the end."""

    url: str
    mode: CacheUrlMode
    timeout: float  # seconds
    disk: Store
    store: BlobStore
    clock: Callable[[], float] = time.monotonic
    reads: ReadCounts = field(default_factory=ReadCounts)
    pause: Pause = field(init=False)
    _uploads: Uploads = field(init=False)
    _reading: dict[str, asyncio.Task[bool]] = field(default_factory=dict)
    _missing: dict[str, float] = field(default_factory=dict)  # by digest: until when it is not asked for
    _wrong: dict[str, None] = field(default_factory=dict)
    _wrong_in_a_row: int = 0
    _looking: asyncio.Task[None] | None = None
    _slots: asyncio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        self.pause = Pause(self.clock)
        self._uploads = Uploads(self.disk, self.store, Pause(self.clock))
        self._slots = asyncio.Semaphore(AT_ONCE)

    @classmethod
    def of(cls, settings: Settings, disk: Store, store: BlobStore) -> SharedTier:
        """The tier that the settings describe."""
        return cls(settings.cache_url, settings.cache_url_mode, settings.cache_url_timeout, disk, store)

    @property
    def uploads(self) -> UploadCounts:
        """What became of what was offered."""
        return self._uploads.counts

    @property
    def upload_trouble(self) -> str:
        """Why nothing is uploaded at the moment; "" where something is."""
        return self._uploads.pause.why

    # --- reading ---

    async def bring(self, digest: str) -> bool:
        """Bring a blob to the disk, whole and right; False where it cannot be had soon."""
        if self.pause.is_on:
            self.reads.skipped += 1
            self._look_again(digest)
            return False
        if digest in self._wrong or self._missing.get(digest, 0.0) > self.clock():
            return False
        task = self._reading.get(digest)
        if task is None:
            task = self._reading[digest] = asyncio.create_task(self._bring(digest))
            task.add_done_callback(lambda _: self._reading.pop(digest, None))
        await asyncio.wait([task])  # a client that leaves ends nobody else's
        return not task.cancelled() and task.result()

    async def _bring(self, digest: str) -> bool:
        try:
            waiting = self._slots.acquire()
            await (asyncio.wait_for(waiting, self.timeout) if self._slots.locked() else waiting)
        except asyncio.TimeoutError:
            self.reads.late += 1
            return False
        try:
            return await self._read(digest)
        except _TooLargeError:
            self._remember(self._missing, digest, self.clock() + MISSING_FOR)
            self.reads.late += 1
        except StoreError as error:
            self._fail(error)
        except asyncio.TimeoutError:
            self._fail(StoreError(f"the shared cache {self.url} has not answered in {self.timeout:g} s", _TOO_SLOW))
        except OSError as error:  # of our own disk
            self.disk.trouble.report_full(error)
        finally:
            self._slots.release()
        return False

    async def _read(self, digest: str) -> bool:
        began = self.clock()
        async with AsyncExitStack() as stack:
            opening = stack.enter_async_context(self.store.open(key_of(digest)))
            blob = await asyncio.wait_for(opening, self.timeout)
            if blob is None:
                self._remember(self._missing, digest, self.clock() + MISSING_FOR)
                self.reads.misses += 1
                self.disk.add_to_counts(shared_misses=1)
                return False
            if blob.size > self.disk.max_size:
                raise _TooLargeError
            partial = self.disk.blobs.create()
            try:
                found = await self._copied(blob, partial, began)
                if found != digest:
                    self._record_wrong(digest, partial.written)
                    return False
                return self._kept(partial, digest)
            finally:
                partial.discard()

    async def _copied(self, blob: StoredBlob, partial: PartialFile, began: float) -> str:
        """Copy a blob to the disk; returns its hash. `asyncio.TimeoutError` where that would take too long.

        The first piece is due when the head was due, each other one as long after the one before.
        """
        if blob.whole is not None:  # a timer and a task for each small blob cost more than its bytes
            partial.write(blob.whole)
            return hashlib.sha256(blob.whole).hexdigest()
        found, chunks = hashlib.sha256(), blob.chunks.__aiter__()
        limit = self.timeout - (self.clock() - began)
        while partial.written < blob.size:
            try:
                chunk = await asyncio.wait_for(chunks.__anext__(), limit)
            except StopAsyncIteration:
                break
            found.update(chunk)
            partial.write(chunk)
            limit = self.timeout
            self._check_pace(self.clock() - began, partial.written, blob.size)
        return found.hexdigest()

    def _check_pace(self, passed: float, written: int, size: int) -> None:
        """`_TooLargeError` for a blob that would be here too late; `StoreError` where any blob would."""
        if passed <= self.timeout:
            return
        if written < LEAST_RATE * passed:
            raise StoreError(f"the shared cache {self.url} is slower than {LEAST_RATE / 1e6:g} MB/s", _TOO_SLOW)
        if written * MOST_SECONDS < size * passed:
            raise _TooLargeError

    def _kept(self, partial: PartialFile, digest: str) -> bool:
        self._wrong_in_a_row = 0
        size = partial.written
        if not self.disk.keep_blob(partial, digest):
            return False
        self.reads.hits += 1
        self.reads.read_bytes += size
        self.disk.add_to_counts(shared_hits=1, shared_bytes=size)
        return True

    def _record_wrong(self, digest: str, size: int) -> None:
        """Record that something else has this key: it is not served, nor asked for until it is replaced."""
        self._remember(self._wrong, digest, None)
        self.reads.wrong += 1
        self._wrong_in_a_row += 1
        what = f"{self.url}/{key_of(digest)} has {size} bytes that are not those of its name"
        hint = "find out who may write there; a read-write instance replaces it"
        structlog.get_logger("ppmproxy").warning("shared_blob_wrong", why=what, hint=hint)
        if self._wrong_in_a_row >= MOST_WRONG:
            self._wrong_in_a_row = 0
            self._fail(StoreError(f"the shared cache {self.url} answers with something else", hint))

    def _remember(self, memory: dict[str, T], digest: str, value: T) -> None:
        while len(memory) >= MOST_REMEMBERED:
            del memory[next(iter(memory))]
        memory[digest] = value

    # --- failures ---

    def _fail(self, error: StoreError) -> None:
        """End all waiting for the store."""
        self.reads.failed += 1
        if self.pause.begin(str(error), error.hint):
            structlog.get_logger("ppmproxy").warning("shared_cache_paused", why=str(error), hint=error.hint)
        current = asyncio.current_task()
        for task in [task for task in self._reading.values() if task is not current]:
            task.cancel()

    def _look_again(self, digest: str) -> None:
        """Check in the background whether the store works, where that is due."""
        if self.pause.is_due and (self._looking is None or self._looking.done()):
            self._looking = asyncio.create_task(self._look(digest))

    async def _look(self, digest: str) -> None:
        wrong = self.reads.wrong
        try:
            with contextlib.suppress(_TooLargeError):
                await self._read(digest)
        except StoreError as error:
            self.pause.begin(str(error), error.hint)
        except asyncio.TimeoutError:
            self.pause.begin(self.pause.why, self.pause.hint)
        except OSError as error:  # of our own disk
            self.disk.trouble.report_full(error)
        else:
            if self.reads.wrong > wrong:
                self.pause.begin(self.pause.why, self.pause.hint)
            elif self.pause.end():
                structlog.get_logger("ppmproxy").info("shared_cache_resumed", url=self.url)

    # --- writing ---

    def offer(self, digest: str) -> None:
        """A blob is on the disk, whole and right: upload it, without anybody waiting for that."""
        is_wrong = digest in self._wrong
        self._wrong.pop(digest, None)
        self._missing.pop(digest, None)
        if self.mode is CacheUrlMode.READ_WRITE:
            self._uploads.add(digest, replaces=is_wrong)

    def cut(self) -> None:
        """Give up what is not uploaded yet, also where `close` waits for it."""
        self._uploads.cut()

    async def close(self, deadline: float) -> None:
        """Finish the uploads by a deadline on the clock, at once if the store has failed; end everything else."""
        tasks = [*self._reading.values(), *([self._looking] if self._looking else [])]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=self.timeout)
        await self._uploads.close(lambda: 0.0 if self.pause.is_on else deadline - self.clock())
        await self.store.close()
