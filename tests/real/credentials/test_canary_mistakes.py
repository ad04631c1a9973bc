"""Claims that our own mistakes show no token."""

import re
import sys

import pytest
from client_environments import shows_token
from planted_tokens import canary
from processes import plain_environment, run_program
from proxy_client import UV, head_of, leaked_forms

from ppmproxy.testing.package_manager import (
    wheel,
)

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]


if sys.platform != "linux":
    pytest.skip("what other users see of a process is looked up in /proc", allow_module_level=True)


class Malformed:
    """A part of the daemon's state that is not what it should be, and says so with all it knows."""

    def __init__(self, token):
        self.token = token

    def __hash__(self):
        msg = f"lost {self.token}"
        raise LookupError(msg)


async def test_an_unforeseen_error_shows_no_token_in_the_log_nor_to_the_client(package_manager, proxy, logs):
    server = await package_manager()
    server.add(wheel("hello"))
    running = await proxy(server)
    await running.get("/pypi/latest/simple/hello/", {"User-Agent": UV})
    services = running.daemon.services
    services.sessions["default"].schemes.record_accepted("pypi", Malformed(server.token))

    reply = await running.get("/pypi/latest/simple/hello/", {"User-Agent": UV})

    assert (reply.status, reply.code) == (500, "internal")
    assert "lost ****" in logs.text
    assert leaked_forms(server.token, logs.text + head_of(reply) + reply.text()) == []


async def test_an_exception_that_nobody_catches_shows_no_token(tmp_path):
    """The very way in which the daemon sets up its log, and then an exception on the main thread and on another."""
    token = canary()
    program = (
        "import os, sys, threading\n"
        "from ppmproxy.auth.credential import Secret\n"
        "from ppmproxy.server.logs import Redactor, set_up_logs\n"
        "from ppmproxy.config.model import LogFormat, LogLevel\n"
        "redactor = Redactor()\n"
        "set_up_logs(redactor, LogLevel.DEBUG, LogFormat.JSON, sys.stdout)\n"
        "token = os.environ['PPMPROXY_TOKEN']\n"
        "redactor.add(Secret(token))\n"
        "def fail():\n"
        "    raise LookupError(f'lost {token}')\n"
        "thread = threading.Thread(target=fail)\n"
        "thread.start()\n"
        "thread.join()\n"
        "fail()\n"
    )

    end = await run_program(
        [sys.executable, "-c", program], plain_environment(tmp_path, PPMPROXY_TOKEN=token), tmp_path
    )

    assert end.code == 1
    assert len(re.findall(r"lost \*\*\*\*", end.output)) >= 2
    assert not shows_token(token, end.output)
