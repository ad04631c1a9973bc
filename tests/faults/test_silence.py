"""Claims about networks that drop packets silently, as without the VPN: clients get an error in time.

In network and mount namespaces of their own, which nobody else is in.
"""

import json
import math
import shutil
import subprocess
import sys
import textwrap

import pytest
from downloads import skip_or_fail
from processes import plain_environment, run_program
from proxy_client import UV

CONNECT_TIMEOUT = 2.1  # seconds; by default there are ten, and pip listens for 15
PATIENCE = 14.0  # seconds; pip gives up after 15, and connections are tried for ten
TRIES = 4  # a machine that stalls only adds to what is measured: the shortest time is the proxy's own

HOSTS = ("unheard.example.com", "full.example.com")

IN_SILENCE = """
    import contextlib, fcntl, json, pathlib, re, socket, struct, subprocess, sys, time, urllib.error, urllib.request

    folder, user_agent, connect_timeout, *hosts = pathlib.Path(sys.argv[1]), *sys.argv[2:]
    with socket.socket() as any_socket:  # the loopback of a new namespace is down: SIOCSIFFLAGS, IFF_UP
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh22x", b"lo", 1))
    with contextlib.ExitStack() as stack:
        for address in ("127.0.0.53", "127.0.0.54"):  # name servers
            server = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            server.bind((address, 53))
        for address in ("127.0.0.20", "127.0.0.21", "127.0.0.22"):  # a host whose queues are full: more is dropped
            listener = stack.enter_context(socket.socket())
            listener.bind((address, 443))
            listener.listen(0)
            for _ in range(4):
                client = stack.enter_context(socket.socket())
                client.setblocking(False)
                client.connect_ex((address, 443))
        (folder / "resolv.conf").write_text("nameserver 127.0.0.53\\nnameserver 127.0.0.54\\n")
        (folder / "hosts").write_text("".join(f"127.0.0.{n} full.example.com\\n" for n in (20, 21, 22)))
        for name in ("resolv.conf", "hosts"):
            subprocess.run(["mount", "--bind", folder / name, f"/etc/{name}"], check=True)
        for host in hosts:
            command = [sys.executable, "-m", "ppmproxy", "run", "--upstream", f"https://{host}",
                       "--listen", "127.0.0.1:0", "--connect-timeout", f"{connect_timeout}s"]
            proxy = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            port = next(int(said[1]) for line in proxy.stdout if (said := re.search(r"http://[0-9.]+:([0-9]+)", line)))
            began = time.monotonic()
            url = f"http://127.0.0.1:{port}/pypi/latest/simple/six/"
            try:
                urllib.request.urlopen(urllib.request.Request(url, headers={"User-Agent": user_agent}))
            except urllib.error.HTTPError as error:
                told, reason = time.monotonic() - began, error.reason
            proxy.terminate()
            proxy.communicate()
            print(json.dumps([reason, told, time.monotonic() - began - told]))
"""


@pytest.mark.real
@pytest.mark.timeout(900)
async def test_a_silent_network_delays_neither_the_error_nor_the_end_of_the_proxy(tmp_path):
    kinds = ("unshare", "--net", "--mount")
    if shutil.which("unshare") is None or subprocess.run([*kinds, "true"], check=False).returncode:
        skip_or_fail("no new namespaces can be made", "run the tests as root, with util-linux")
    environ = plain_environment(tmp_path, PPMPROXY_TOKEN="a-token")

    arguments = [str(tmp_path), UV, str(CONNECT_TIMEOUT)]
    shortest = dict.fromkeys(HOSTS, (math.inf, math.inf))
    for _ in range(TRIES):
        command = [*kinds, sys.executable, "-c", textwrap.dedent(IN_SILENCE), *arguments, *HOSTS]
        end = await run_program(command, environ, tmp_path, deadline=240.0)
        assert end.code == 0, end.output
        for host, (reason, told, stopped) in zip(HOSTS, map(json.loads, end.output.splitlines()), strict=True):
            assert f"cannot connect to https://{host}: timed out" in reason
            shortest[host] = min(shortest[host][0], told), min(shortest[host][1], stopped)
        if max(map(max, shortest.values())) < PATIENCE:
            break

    assert max(map(max, shortest.values())) < PATIENCE, shortest
