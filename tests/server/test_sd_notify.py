"""Claims about `sd_notify`: sockets passed to real processes are served, and a real socket receives notifications."""

import asyncio
import contextlib
import io
import json
import os
import socket
import subprocess
import sys
import textwrap

import aiohttp
import pytest
from processes import START_DEADLINE, ProgramResult, plain_environment, run_program, running_server

from ppmproxy.config.local_address import TcpAddress
from ppmproxy.config.model import Access, AccessRule, Settings
from ppmproxy.server.sd_notify import Systemd, goes_to_journal, listening_on, passed_sockets

if sys.platform == "win32":
    pytest.skip("there is no systemd on Windows", allow_module_level=True)

DEADLINE = 60.0  # seconds


class Manager:
    """A service manager's end of a real NOTIFY_SOCKET."""

    def __init__(self, address):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(f"\0{address[1:]}" if address.startswith("@") else address)
        self.socket.setblocking(False)
        self.record_success = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    async def hears(self, words, deadline=DEADLINE):
        """The first message, from now on, that has these words."""
        while True:
            message = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self.socket, 65536), deadline)
            self.record_success.append(message.decode())
            if words in message.decode():
                return message.decode()


@pytest.fixture
def notify(tmp_path):
    with Manager(str(tmp_path / "notify")) as manager:
        yield manager


def run(*arguments):
    """`ppmproxy run` as a service manager starts it: LISTEN_PID is known only to the process itself."""
    program = (
        "import os, sys\n"
        "os.environ['LISTEN_PID'] = str(os.getpid())\n"
        f"os.execv(sys.executable, [sys.executable, '-m', 'ppmproxy', 'run', *{list(map(str, arguments))!r}])\n"
    )
    return [sys.executable, "-c", program]


def passing(sockets, command):
    """The same command with sockets as its descriptors from 3 on, as systemd passes them."""
    program = (
        "import fcntl, os, sys\n"
        "numbers = [fcntl.fcntl(int(one), fcntl.F_DUPFD, 100) for one in sys.argv[1].split(',')]\n"
        "kept = [os.dup2(number, 3 + index) for index, number in enumerate(numbers)]\n"
        "os.environ['LISTEN_FDS'] = str(len(kept))\n"
        "os.execvp(sys.argv[2], sys.argv[2:])\n"
    )
    return [sys.executable, "-c", program, ",".join(str(one.fileno()) for one in sockets), *command]


async def answer_from(url, path="/-/live", connector=None):
    async with aiohttp.ClientSession(connector=connector) as session, session.get(f"{url}{path}") as response:
        return response.status


# --- sockets ----------------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def served(folder, sockets, *arguments, **environ):
    command = passing(sockets, run(*arguments))
    numbers = tuple(one.fileno() for one in sockets)
    async with running_server(command, plain_environment(folder, **environ), folder, pass_fds=numbers) as server:
        line = await asyncio.wait_for(server.line_with('"event": "daemon_listening"'), START_DEADLINE)
        yield server, json.loads(line)["urls"]


async def test_passed_sockets_of_both_families_are_served_instead_of_the_settings(tmp_path):
    six = socket.create_server(("::1", 0), family=socket.AF_INET6)
    with six, socket.create_server(("127.0.0.1", 0)) as four:
        async with served(tmp_path, [four, six]) as (server, urls):
            statuses = [await answer_from(url) for url in urls]
            await server.line_with("listen_overruled")

        assert statuses == [200, 200]
        assert {url.rpartition(":")[2] for url in urls} == {str(one.getsockname()[1]) for one in (four, six)}


async def test_a_passed_unix_socket_is_served(tmp_path):
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        async with served(tmp_path, [listener]) as (_, urls):
            status = await answer_from("http://localhost", connector=aiohttp.UnixConnector(path))

    assert urls == [f"unix:{path}"]
    assert status == 200


@pytest.mark.skipif(sys.platform != "linux", reason="abstract names are Linux's")
async def test_a_passed_socket_with_an_abstract_name_is_served(tmp_path):
    name = f"ppmproxy-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"\0{name}")
        listener.listen()
        async with served(tmp_path, [listener]) as (_, urls):
            status = await answer_from("http://localhost", connector=aiohttp.UnixConnector(f"\0{name}"))

    assert urls == [f"unix:@{name}"]
    assert status == 200


async def test_a_connection_queued_in_a_passed_socket_is_answered_after_a_restart(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with served(tmp_path, [listener]) as (_, urls):
            pass
        waiting = asyncio.create_task(answer_from(urls[0]))
        async with served(tmp_path, [listener]):
            assert await waiting == 200


async def test_a_passed_socket_that_other_machines_reach_needs_access_any(tmp_path):
    with socket.create_server(("0.0.0.0", 0)) as listener:
        command = passing([listener], run())
        environ = plain_environment(tmp_path)
        end = await passed_to(command, environ, tmp_path, listener)
        async with served(tmp_path, [listener], "--access", "any") as (server, _):
            await server.line_with("listener_exposed")

    assert end.code == 3
    assert "can be reached from other machines" in end.output
    assert len(end.output.splitlines()) == 2


async def passed_to(command, environ, folder, *sockets):
    """How a program ends that is passed these."""
    for one in sockets:
        one.set_inheritable(True)
    program = [sys.executable, "-c", "import os, sys; os.execvp(sys.argv[1], sys.argv[1:])"]
    with subprocess.Popen(
        [*program, *command],
        env=environ,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        pass_fds=[one.fileno() for one in sockets],
    ) as process:
        output = await asyncio.to_thread(lambda: process.communicate(timeout=120)[0])
    return ProgramResult(process.returncode, output, 0)


async def test_a_datagram_socket_is_refused_by_name(tmp_path):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wrong:
        wrong.bind(("127.0.0.1", 0))
        environ = plain_environment(tmp_path, LISTEN_FDNAMES="ppmproxy.socket")
        end = await passed_to(passing([wrong], run()), environ, tmp_path, wrong)

    assert end.code == 4
    assert "file descriptor 3 (ppmproxy.socket), which is not a stream socket" in end.output
    assert len(end.output.splitlines()) == 2


async def test_a_connection_is_refused_as_a_socket_unit_with_accept_passes_it(tmp_path):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        end = await passed_to(passing([ours], run()), plain_environment(tmp_path), tmp_path, ours)

    assert end.code == 4
    assert "which does not listen" in end.output
    assert "Accept=yes" in end.output


@pytest.mark.parametrize(
    ("count", "words"), [("1000", "which is not a socket"), ("-1", "'-1' instead of"), ("", "'' instead of")]
)
async def test_a_set_that_is_none_is_an_error_in_two_lines(tmp_path, count, words):
    end = await run_program(run(), plain_environment(tmp_path, LISTEN_FDS=count), tmp_path)

    assert end.code == 4
    assert words in end.output
    assert len(end.output.splitlines()) == 2


@pytest.mark.parametrize("pid", ["", "1", "no number"])
def test_sockets_for_another_process_are_none_of_ours(pid):
    assert passed_sockets({"LISTEN_PID": pid, "LISTEN_FDS": "2"}, os.getpid()) == ()


def test_passed_sockets_are_not_inherited_by_children(tmp_path):
    program = """
        import os, socket, subprocess, sys
        listener = socket.create_server(("127.0.0.1", 0))
        os.dup2(listener.fileno(), 3)
        from ppmproxy.server.sd_notify import passed_sockets
        passed_sockets({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}, os.getpid())
        look = "import os; os.fstat(3)"
        sys.exit(subprocess.run([sys.executable, "-c", look], close_fds=False, stderr=subprocess.DEVNULL).returncode)
    """

    assert subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=False, timeout=120).returncode == 1


@pytest.mark.parametrize(("host", "is_refused"), [("127.0.0.1", False), ("0.0.0.0", True)])
def test_the_address_of_the_passed_socket_overrides_the_settings(host, is_refused):
    with socket.create_server((host, 0)) as listener:
        here = TcpAddress(*listener.getsockname())
        with pytest.raises(Exception, match="other machines") if is_refused else contextlib.nullcontext():
            assert listening_on(Settings(), (listener,)).listen == (here,)
        everybody = Settings(access=Access(AccessRule.ANY))
        assert listening_on(everybody, (listener,)).listen == (here,)
    assert listening_on(Settings(), ()) == Settings()


# --- what is told -----------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def told(notify, folder, *arguments, through=(), **environ):
    """`ppmproxy run`, ready by its own word; `through` another command."""
    address = notify.socket.getsockname()
    address = f"@{address[1:].decode()}" if isinstance(address, bytes) else address
    environ = {"PPMPROXY_LISTEN": "127.0.0.1:0", "NOTIFY_SOCKET": address, **environ}
    command = [*through, sys.executable, "-m", "ppmproxy", "run", *arguments]
    async with running_server(command, plain_environment(folder, **environ), folder) as server:
        await notify.hears("READY=1", START_DEADLINE)
        yield server


async def test_it_says_that_it_is_ready_when_it_is_and_how_it_is(tmp_path, notify):
    environ = {"PPMPROXY_UPSTREAM": "https://pm.example.com", "PPMPROXY_TOKEN": "a-secret-token"}
    async with told(notify, tmp_path, **environ) as server:
        assert '"daemon_listening"' in await server.line_with('"daemon_listening"')
        status = await notify.hears("token from")

    assert status == "STATUS=https://pm.example.com: token from environment variable PPMPROXY_TOKEN"
    assert "a-secret-token" not in "".join(notify.record_success)


async def test_an_upstream_that_is_public_is_said_to_need_no_token(tmp_path, notify):
    async with told(notify, tmp_path):
        pass

    assert "STATUS=https://packagemanager.posit.co: public, no token" in notify.record_success


@pytest.mark.skipif(sys.platform != "linux", reason="abstract names are Linux's")
async def test_a_notification_socket_may_have_an_abstract_name(tmp_path):
    with Manager(f"@ppmproxy-notify-{os.getpid()}") as notify:
        async with told(notify, tmp_path):
            pass

    assert "READY=1" in notify.record_success


async def test_it_says_that_it_stops_and_how_long_that_may_take(tmp_path, notify):
    async with told(notify, tmp_path, "--drain-timeout", "90s") as server:
        await server.stop()
        message = await notify.hears("STOPPING=1")

    assert message == "STOPPING=1\nEXTEND_TIMEOUT_USEC=100000000"


async def test_a_sign_of_life_comes_as_often_as_is_expected(tmp_path, notify):
    async with told(notify, tmp_path, WATCHDOG_USEC="400000") as server:
        for _ in range(10):
            await notify.hears("WATCHDOG=1")
        assert server.process.returncode is None


async def test_a_watchdog_is_fed_where_there_is_no_stderr(tmp_path, notify):
    async with told(notify, tmp_path, through=("sh", "-c", 'exec "$@" 2>&-', "sh"), WATCHDOG_USEC="400000"):
        await notify.hears("WATCHDOG=1")


async def test_a_watchdog_for_another_process_is_not_fed(tmp_path, notify):
    assert Systemd.from_environment({"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}, os.getpid()).watchdog == 0
    assert Systemd.from_environment({"WATCHDOG_USEC": "never"}, os.getpid()).watchdog == 0
    assert Systemd.from_environment({"WATCHDOG_USEC": "1500000"}, os.getpid()).watchdog == 1.5


async def test_the_variables_are_for_this_process_and_not_for_the_commands_it_runs(tmp_path, notify):
    shown = tmp_path / "environment"
    show = f"import os; open({str(shown)!r}, 'w').write('\\n'.join(os.environ)); print('a-token')"
    credentials = json.dumps([sys.executable, "-c", show])
    settings = tmp_path / "config.toml"
    settings.write_text(
        f'[upstream.default]\nurl = "https://pm.example.com"\n'
        f'[[upstream.default.credentials]]\nfrom = "command"\nargv = {credentials}\n'
    )
    async with told(notify, tmp_path, "--config", settings, WATCHDOG_USEC="9000000"):
        await notify.hears("token from command")

    names = shown.read_text().split("\n")
    assert "HOME" in names
    assert not set(names) & {"NOTIFY_SOCKET", "WATCHDOG_USEC", "LISTEN_FDS", "LISTEN_PID"}


@pytest.mark.parametrize("address", ["", "vsock:2:1", "/nonexistent/notify", "@nobody-listens-here", "relative"])
def test_a_notification_without_a_receiver_is_dropped(address):
    Systemd(notify_socket=address).ready()


async def test_a_start_that_fails_says_why(tmp_path, notify):
    environ = plain_environment(tmp_path, NOTIFY_SOCKET=notify.socket.getsockname(), PPMPROXY_ACESS="any")

    end = await run_program([sys.executable, "-m", "ppmproxy", "run"], environ, tmp_path)

    assert end.code == 3
    assert "PPMPROXY_ACESS" in await notify.hears("STATUS=")


# --- the journal ------------------------------------------------------------------------------------------------------


def test_a_stream_is_the_journal_s_when_the_variable_names_the_very_same_file(tmp_path):
    with (tmp_path / "log").open("w") as stream, (tmp_path / "other").open("w") as other:
        found = os.fstat(stream.fileno())
        environ = {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}

        assert goes_to_journal(stream, environ)
        assert not goes_to_journal(other, environ)
        assert not goes_to_journal(io.StringIO(), environ)
        assert not goes_to_journal(stream, {})


@pytest.mark.parametrize(
    ("address", "why"),
    [("{folder}/nobody", "no such file or directory"), ("vsock:2:1234", "not the address of a unix socket")],
)
async def test_a_notification_that_is_not_taken_is_one_warning_with_socket_and_error(tmp_path, address, why):
    address = address.format(folder=tmp_path)
    environ = {"PPMPROXY_LISTEN": "127.0.0.1:0", "NOTIFY_SOCKET": address, "WATCHDOG_USEC": "100000"}
    command = [sys.executable, "-m", "ppmproxy", "run"]
    async with running_server(command, plain_environment(tmp_path, **environ), tmp_path) as server:
        await asyncio.wait_for(server.line_with("notification_failed"), START_DEADLINE)
        await server.stop()

    [line] = [json.loads(line) for line in server.log.splitlines() if "notification_failed" in line]
    assert (line["level"], line["socket"], line["why"]) == ("warning", address, why)
