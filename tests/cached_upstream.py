"""A daemon with a cache in front of a fake Package Manager, and the file and token that tests ask with."""

import functools
import hashlib
import os
import tempfile
from dataclasses import dataclass

from proxy_client import DEADLINE, JSON, PAGE, UV, wait_until

from ppmproxy.testing.package_manager import wheel

ACCEPT = {"Accept": JSON, "User-Agent": UV}


@dataclass(repr=False)  # asyncio prints what a fixture returned, megabytes too
class Cached:
    """Both, a file, and the token that is in use."""

    server: object
    running: object
    file: object
    folder: object
    token_file: object

    @property
    def path(self):
        return f"/pypi/latest/packages/{self.file.id}/{self.file.filename}"

    @property
    def cache(self):
        """The cache of the daemon's upstream."""
        return self.running.daemon.services.sessions["default"].cache

    async def page(self, **headers):
        return await self.running.get(PAGE, {**ACCEPT, **headers})

    async def get(self, **headers):
        return await self.running.get(self.path, headers)

    async def fill(self):
        """Have the page and the file in the cache; forget the requests."""
        page, file = await self.page(), await self.get()
        assert (page.status, file.status, file.body) == (200, 200, self.file.data)
        self.server.clear()

    @property
    def blob(self):
        """Where the file's blob is."""
        digest = hashlib.sha256(self.file.data).hexdigest()
        return self.folder / "blobs" / digest[:1] / digest[1:]

    async def stored(self):
        """The file's blob, once it is in its place."""
        await self.fill()
        await wait_until(lambda: len(self.cache.files.downloads) == 0 and self.blob.is_file())
        await wait_until(lambda: _would_be_newer_than(self.blob))
        return self.blob

    def wait_for_answers(self):
        """Let no answer of the upstream be too late on a busy machine, where something usable is here."""
        self.cache.state.outage.record_slow(DEADLINE)

    def use(self, token):
        """Have the daemon find another token from now on."""
        self.token_file.write_text(token)

    async def seen(self, *, page=False):
        """Status, the word of the cache, and the number of requests for the next request."""
        before = len(self.server.requests)
        reply = await (self.page() if page else self.get())
        if reply.status == 200 and not page:
            assert reply.body == self.file.data
        return reply.status, word(reply), len(self.server.requests) - before


def _would_be_newer_than(path):
    """Whether what is written now gets another time: the clock of a file system ticks every few milliseconds."""
    with tempfile.NamedTemporaryFile(dir=path.parent) as probe:
        return os.fstat(probe.fileno()).st_ctime_ns > path.stat().st_ctime_ns


def word(reply):
    """What the cache says that it did."""
    return reply.headers.get("Cache-Status", "").removeprefix("ppmproxy; ")


def cached_starter(package_manager, proxy, tmp_path, read_timeout):
    """Starts both: `it = await cached(cache_recheck=0)`. Further ones share server, folder and token."""
    made = []

    async def start(server=None, payload=bytes(range(256)) * 400, settings=None, options=None, **upstream):
        first = made[0] if made else None
        server = server or (first.server if first else await package_manager(**(options or {})))
        file = first.file if first else server.add(_file(payload))
        token_file = tmp_path / "token"
        if not token_file.exists():
            token_file.write_text(server.token)
        settings = {"cache_dir": tmp_path / "cache", **(settings or {})}
        running = await proxy(
            server,
            environ={"PPMPROXY_TOKEN_FILE": str(token_file)},
            settings=settings,
            **{"cache": True, "read_timeout": read_timeout, **upstream},
        )
        made.append(Cached(server, running, file, settings["cache_dir"], token_file))
        return made[-1]

    return start


@functools.lru_cache(maxsize=3)
def _file(payload):
    """The wheel with a payload; packing and hashing a large one takes a second."""
    return wheel("hello", payload=payload)
