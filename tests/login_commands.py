"""Running `ppmproxy` commands, and what they have said so far."""

import asyncio
import re

from proxy_client import DEADLINE

from ppmproxy.errors import EXIT_OK


class Command:
    """A running `ppmproxy` command, and what it has said so far."""

    def __init__(self, process):
        self.process = process
        self.said = ""

    async def says(self, pattern):
        """What fits the pattern, as soon as it was said on stderr."""
        while not (found := re.search(pattern, self.said)):
            chunk = await asyncio.wait_for(self.process.stderr.read(4096), DEADLINE)
            assert chunk, f"it ended without saying {pattern!r}:\n{self.said}"
            self.said += chunk.decode()
        return found

    async def ended(self):
        """Exit code and everything it said; nothing is said on stdout."""
        out, rest = await asyncio.wait_for(self.process.communicate(), DEADLINE)
        self.said += rest.decode()
        assert out == b""
        assert "Traceback" not in self.said
        return self.process.returncode


async def signed_in(scene, *arguments, **environ):
    login = await scene.command("login", *arguments, **environ)
    await login.says(r"waiting for your confirmation")
    scene.server.approve()
    assert await login.ended() == EXIT_OK
    return login
