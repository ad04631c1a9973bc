"""A person who runs commands under `ppmproxy exec`."""

import asyncio
import contextlib
import json
import sys
from dataclasses import dataclass

from forked_command import forked_ppmproxy
from proxy_client import DEADLINE

ASK = (
    "import json, os, sys, urllib.request\n"
    "url = os.environ['PIP_INDEX_URL']\n"
    "with urllib.request.urlopen(url + 'hello/') as answer:\n"
    "    print(json.dumps({'status': answer.status, 'url': url, 'environ': dict(os.environ)}))\n"
)


@dataclass
class Person:
    """Somebody who runs `ppmproxy exec` in a folder of their own."""

    folder: object
    environ: dict

    def command(self, *arguments):
        return [sys.executable, "-m", "ppmproxy", "exec", *arguments]

    async def runs(self, *arguments, **environ):
        """Exit code and everything that was said."""
        end = await forked_ppmproxy(["exec", *arguments], {**self.environ, **environ}, self.folder)
        assert "Traceback" not in end.output
        return end

    @contextlib.asynccontextmanager
    async def running(self, *arguments, **environ):
        """The command under way, with pipes to and from it."""
        process = await asyncio.create_subprocess_exec(
            *self.command(*arguments),
            env={**self.environ, **environ},
            cwd=self.folder,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await asyncio.wait_for(process.communicate(), DEADLINE)


def python(program):
    return ("--", sys.executable, "-c", program)


def answer_in(output):
    """What `ASK` printed."""
    return json.loads(next(line for line in output.splitlines() if line.startswith("{")))


async def ready(process):
    assert await asyncio.wait_for(process.stdout.readline(), DEADLINE) == b"ready\n"


def tuple_of(listen):
    host, _, port = listen.partition(":")
    return host, int(port)
