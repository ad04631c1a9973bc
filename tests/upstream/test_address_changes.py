"""Claims about the machine's addresses: a change is reported, and ends the use of idle connections."""

import shutil
import subprocess
import sys
import textwrap

import pytest
from downloads import skip_or_fail
from processes import plain_environment, run_program

CHANGING = """
import asyncio, fcntl, socket, struct, subprocess

from ppmproxy.config.model import Settings, Upstream
from ppmproxy.environment import Environment
from ppmproxy.server.daemon import Daemon
from ppmproxy.config.local_address import TcpAddress
from pathlib import Path
import sys, urllib.request

connections = []


async def serve(reader, writer):
    connections.append(writer)
    while await reader.readuntil(b"\\r\\n\\r\\n"):
        writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Type: text/plain\\r\\nContent-Length: 2\\r\\n\\r\\nok")


async def main():
    with socket.socket() as any_socket:  # the loopback of a new namespace is down: SIOCSIFFLAGS, IFF_UP
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh22x", b"lo", 1))
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    upstream = Upstream(url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", configured=True)
    settings = Settings(upstreams=(upstream,), listen=(TcpAddress("127.0.0.1", 0),))
    daemon = await Daemon.start(settings, Environment({}, Path(sys.argv[1])))

    async def connections_after_a_request():
        await asyncio.to_thread(lambda: urllib.request.urlopen(f"{daemon.url}/file.txt").read())
        return len(connections)

    counts = [await connections_after_a_request(), await connections_after_a_request()]
    await asyncio.to_thread(subprocess.run, ["ip", "address", "add", "127.1.2.3/32", "dev", "lo"], check=True)
    await asyncio.sleep(0)  # the change has been received before
    counts.append(await connections_after_a_request())
    await daemon.stop()
    print(counts)


asyncio.run(main())
"""


@pytest.mark.real
async def test_no_connection_that_was_idle_at_a_change_is_used_again(tmp_path):
    if sys.platform != "linux" or shutil.which("ip") is None:
        skip_or_fail("changes of addresses are reported by Linux", "on Debian: apt-get install iproute2")
    if shutil.which("unshare") is None or subprocess.run(["unshare", "--net", "true"], check=False).returncode:
        skip_or_fail("no network namespace can be made", "run the tests as root, with util-linux")
    command = ["unshare", "--net", sys.executable, "-c", textwrap.dedent(CHANGING), str(tmp_path)]

    end = await run_program(command, plain_environment(tmp_path), tmp_path)

    assert (end.code, end.output.split("\n")[-2]) == (0, "[1, 1, 2]"), end.output
