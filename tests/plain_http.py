"""A plain HTTP server of one test on loopback, where a fake Package Manager would be too much."""

import contextlib

from aiohttp import web


@contextlib.asynccontextmanager
async def serving_http(handler):
    runner = web.ServerRunner(web.Server(handler, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
