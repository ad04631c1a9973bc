"""A daemon with a cache in front of a fake Package Manager."""

import functools

import pytest
from cached_upstream import Cached

from ppmproxy.testing.package_manager import wheel


@pytest.fixture
def cached(package_manager, proxy, tmp_path):
    """Starts both: `it = await cached(cache_recheck=0)`. Further ones share server, folder and token."""
    made = []

    async def start(server=None, payload=bytes(range(256)) * 400, settings=None, options=None, **upstream):
        first = made[0] if made else None
        server = server or (first.server if first else await package_manager(**(options or {})))
        file = first.file if first else server.add(_file(payload))
        token_file = tmp_path / "token"
        if not token_file.exists():
            token_file.write_text(server.token)
        folder = tmp_path / "cache"
        running = await proxy(
            server,
            environ={"PPMPROXY_TOKEN_FILE": str(token_file)},
            settings={"cache_dir": folder, **(settings or {})},
            **{"cache": True, "read_timeout": 1.0, **upstream},
        )
        made.append(Cached(server, running, file, folder, token_file))
        return made[-1]

    return start


@functools.lru_cache(maxsize=3)
def _file(payload):
    """The wheel with a payload; packing and hashing a large one takes a second."""
    return wheel("hello", payload=payload)
