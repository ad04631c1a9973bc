"""An S3 server that fails on demand: it keeps objects, checks no signature, and answers each method as it is told."""

import asyncio

from aiohttp import web
from storages import Storage, s3_variables

_ERROR = '<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>m</Message></Error>'
_LIST = """<?xml version="1.0" encoding="UTF-8"?><ListBucketResult><Name>wheels</Name><KeyCount>0</KeyCount>
<MaxKeys>1</MaxKeys><IsTruncated>false</IsTruncated></ListBucketResult>"""


def s3_error(status, code):
    """An answer as S3 words it."""

    async def answer(_request):
        return web.Response(status=status, text=_ERROR.format(code=code), content_type="application/xml")

    return answer


async def hang(_request):
    await asyncio.Event().wait()


async def html(_request):
    return web.Response(text="<html><form>Sign in</form></html>", content_type="text/html")


async def redirect_to_html(request):
    if request.path == "/sign-in":
        return await html(request)
    raise web.HTTPFound("/sign-in")


async def cut(request):
    """Half of a body, and the end of the connection."""
    response = web.StreamResponse(headers={"Content-Length": "102400"})
    await response.prepare(request)
    await response.write(b"x" * 50_000)
    request.transport.abort()
    return response


async def stop_in_the_middle(request):
    response = web.StreamResponse(headers={"Content-Length": "102400"})
    await response.prepare(request)
    await response.write(b"x" * 50_000)
    await asyncio.Event().wait()


async def trickle(request):
    response = web.StreamResponse(headers={"Content-Length": "10000000"})
    await response.prepare(request)
    while True:
        await response.write(b"x")
        await asyncio.sleep(0.02)


class FaultyStorage:
    """`faults["GET"] = hang`; `asked` has the method and key of each request, `clients` the ends of connections."""

    def __init__(self, tls=None):
        self.tls = tls
        self.objects = {}
        self.faults = {}
        self.asked = []
        self.clients = set()
        self._runner = None
        self._answering = set()

    async def __aenter__(self):
        self._server = web.Server(self._answer)
        self._runner = web.ServerRunner(self._server, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self.tls)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_):
        await self.vanish()

    async def vanish(self):
        """Nobody listens any more, and connections are closed."""
        if self._runner is not None:
            for task in self._answering:
                task.cancel()
            for connection in self._server.connections:
                if connection.transport is not None:
                    connection.transport.abort()
            await self._runner.cleanup()
            self._runner = None
            for _ in range(5):
                await asyncio.sleep(0)  # transports close in the loop's next turns

    @property
    def storage(self):
        environ = s3_variables(self.port)
        if self.tls:
            environ["AWS_ENDPOINT_URL"] = f"https://localhost:{self.port}"
        return Storage("faulty", "s3://wheels", environ)

    async def _answer(self, request):
        task = asyncio.current_task()
        self._answering.add(task)
        try:
            return await self._answered(request)
        finally:
            self._answering.discard(task)

    async def _answered(self, request):
        key = request.path.removeprefix("/wheels/")
        self.asked.append((request.method, key))
        self.clients.add(request.transport.get_extra_info("peername"))
        if fault := self.faults.get(request.method):
            return await fault(request)
        if request.method == "PUT":
            self.objects[key] = await request.read()
            return web.Response(headers={"ETag": '"e"'})
        if "list-type" in request.query:
            return web.Response(text=_LIST, content_type="application/xml")
        if key not in self.objects:
            return await s3_error(404, "NoSuchKey")(request)
        headers = {"ETag": '"e"', "Last-Modified": "Thu, 26 Nov 2026 10:00:00 GMT"}
        return web.Response(body=self.objects[key], headers=headers)

    def did(self, method):
        return [key for done, key in self.asked if done == method]
