"""Claims about `ppmproxy run`: what ends it, with which exit code, and what it finishes before."""

import asyncio
import contextlib
import json
import signal
import socket
import sys
import threading
from pathlib import Path

import pytest
from free_ports import free_port
from processes import START_DEADLINE, plain_environment, run_program, running_server
from proxy_client import DEADLINE, request_head, wait_until

from ppmproxy.testing.package_manager import NoAnswer, wheel

INDEX = "/pypi/latest/simple/hello/"


@pytest.fixture
async def server(package_manager):
    server = await package_manager()
    server.add(wheel("hello"))
    return server


@pytest.fixture
def environ(server, tmp_path):
    """A daemon's environment: on a port of its own, with a folder for its word to other commands."""
    (tmp_path / "runtime").mkdir(mode=0o700)
    listen = f"127.0.0.1:{free_port()}"
    return plain_environment(
        tmp_path,
        XDG_RUNTIME_DIR=str(tmp_path / "runtime"),
        PPMPROXY_LISTEN=listen,
        PPMPROXY_UPSTREAM=server.url,
        PPMPROXY_TOKEN=server.token,
        PPMPROXY_CA_FILE=str(server.write_ca(tmp_path / "ca.pem")),
    )


def command(*arguments):
    return [sys.executable, "-m", "ppmproxy", *arguments]


@contextlib.asynccontextmanager
async def daemon(environ, folder, *arguments):
    async with running_server(command("run", *arguments), environ, folder) as running:
        await asyncio.wait_for(running.line_with('"event": "daemon_listening"'), START_DEADLINE)
        yield running


async def code_of(running):
    return await asyncio.wait_for(running.process.wait(), DEADLINE)


def why(running):
    return [json.loads(line)["why"] for line in running.lines if '"event": "daemon_stopping"' in line]


async def asked(environ, *lines, target=INDEX, method="GET"):
    """The answer to one request, whole."""
    host, _, port = environ["PPMPROXY_LISTEN"].rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request_head(target, *lines, method=method))
    answer = await asyncio.wait_for(reader.read(), DEADLINE)
    writer.close()
    return answer


def header_for(environ):
    port = environ["PPMPROXY_LISTEN"].rpartition(":")[2]
    return (Path(environ["XDG_RUNTIME_DIR"]) / "ppmproxy" / f"shutdown-{port}.header").read_text().strip()


# --- idle ---


@pytest.mark.parametrize("given", ["flag", "environment"])
async def test_it_ends_in_order_when_nothing_was_asked_for(tmp_path, environ, given):
    arguments, more = ("--exit-when-idle", "0.3"), {}
    if given == "environment":
        arguments, more = (), {"PPMPROXY_EXIT_WHEN_IDLE": "300ms"}

    end = await run_program(command("run", *arguments), environ | more, tmp_path)

    assert end.code == 0
    assert '"why": "idle"' in end.output


async def test_its_own_pages_do_not_keep_it(tmp_path, environ):
    async with daemon(environ, tmp_path, "--exit-when-idle=0.5") as running:
        with contextlib.suppress(OSError):
            while running.process.returncode is None:
                await asked(environ, target="/-/ready")

        assert await code_of(running) == 0
    assert why(running) == ["idle"]


async def test_a_request_that_takes_long_keeps_it(tmp_path, environ, server):
    server.add_fault("*", NoAnswer())
    async with daemon(environ, tmp_path, "--exit-when-idle=8") as running:
        waiting = asyncio.create_task(asked(environ))
        await wait_until(lambda: server.requests)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(running.process.wait(), 9.0)
        server.clear_faults()

        assert b" 200 OK" in await waiting
        assert await code_of(running) == 0


# --- told to ---


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGTERM to catch")
async def test_sigterm_ends_it_with_0_once_it_has_answered(tmp_path, environ, server):
    server.add_fault("*", NoAnswer())
    async with daemon(environ, tmp_path) as running:
        waiting = asyncio.create_task(asked(environ))
        await wait_until(lambda: server.requests)
        running.process.send_signal(signal.SIGTERM)
        await running.line_with('"event": "daemon_stopping"')
        server.clear_faults()

        assert b" 200 OK" in await waiting
        assert await code_of(running) == 0
    assert why(running) == ["SIGTERM"]


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGTERM to catch")
async def test_a_second_sigterm_ends_it_at_once_and_leaves_nothing_open(tmp_path, environ, server):
    server.add_fault("*", NoAnswer())
    async with daemon(environ, tmp_path, "--drain-timeout=600s") as running:
        waiting = [asyncio.create_task(asked(environ)) for _ in range(3)]
        await wait_until(lambda: server.requests)
        running.process.send_signal(signal.SIGTERM)
        await running.line_with('"event": "daemon_stopping"')
        running.process.send_signal(signal.SIGTERM)

        assert await code_of(running) == 128 + signal.SIGTERM
        await asyncio.gather(*waiting, return_exceptions=True)

    assert "Unclosed" not in running.log
    assert "Traceback" not in running.log


async def test_a_post_with_the_secret_ends_it_with_0_once_it_has_answered(tmp_path, environ, server):
    server.add_fault("*", NoAnswer())
    async with daemon(environ, tmp_path) as running:
        waiting = asyncio.create_task(asked(environ))
        await wait_until(lambda: server.requests)
        told = await asked(environ, header_for(environ), target="/-/shutdown", method="POST")
        await running.line_with('"event": "daemon_stopping"')
        server.clear_faults()

        assert told.startswith(b"HTTP/1.1 202 ")
        assert b" 200 OK" in await waiting
        assert await code_of(running) == 0
    assert why(running) == ["shutdown"]


async def test_without_the_secret_it_goes_on(tmp_path, environ):
    async with daemon(environ, tmp_path) as running:
        answers = [
            await asked(environ, *lines, target="/-/shutdown", method=method)
            for method, *lines in [
                ("POST",),
                ("POST", "X-Ppmproxy-Secret: " + "0" * 64),
                ("POST", header_for(environ), "Origin: http://127.0.0.1"),
                ("GET", header_for(environ)),
            ]
        ]

        assert [answer.split()[1] for answer in answers] == [b"403", b"403", b"403", b"405"]
        assert b"X-Ppmproxy-Error: forbidden-client" in answers[0]
        assert running.process.returncode is None


# --- ppmproxy shutdown ---


async def test_the_command_ends_the_daemon_and_comes_back_when_it_has_ended(tmp_path, environ):
    async with daemon(environ, tmp_path) as running:
        end = await run_program(command("shutdown"), environ, tmp_path)

        assert (end.code, end.output) == (0, "")
        assert await code_of(running) == 0
        assert list((tmp_path / "runtime" / "ppmproxy").iterdir()) == []


async def test_the_command_does_not_wait_for_a_daemon_that_is_killed_meanwhile(tmp_path, environ, server):
    server.add_fault("*", NoAnswer())
    async with daemon(environ, tmp_path, "--drain-timeout", "600s") as running:
        waiting = asyncio.create_task(asked(environ))
        await wait_until(lambda: server.requests)
        ending = asyncio.create_task(run_program(command("shutdown"), environ, tmp_path))
        await running.line_with('"event": "daemon_stopping"')

        running.process.kill()

        assert (await ending).code == 0
        with contextlib.suppress(ConnectionError):
            await waiting


async def test_where_there_is_none_there_is_nothing_to_end(tmp_path, environ):
    end = await run_program(command("shutdown"), environ, tmp_path)

    assert end.code == 0
    assert "nothing to end" in end.output


async def test_another_program_on_the_port_is_not_sent_the_secret(tmp_path, environ):
    async with daemon(environ, tmp_path) as running:
        end = await run_program(command("shutdown"), environ | {"XDG_RUNTIME_DIR": ""}, tmp_path)

        assert end.code == 1
        assert len(end.output.splitlines()) == 2
        assert "XDG_RUNTIME_DIR" in end.output
        assert running.process.returncode is None


@pytest.mark.parametrize("asking", [["shutdown"], ["status"], ["wait", "--timeout", "0"]])
async def test_a_daemon_that_hangs_is_reported_as_one_and_not_waited_for(tmp_path, environ, asking):
    async with daemon(environ, tmp_path) as running:
        running.process.send_signal(signal.SIGSTOP)
        try:
            end = await run_program(command(*asking), environ, tmp_path, deadline=30)
        finally:
            running.process.send_signal(signal.SIGCONT)

    assert end.code == 1
    assert len(end.output.splitlines()) == 2
    assert "a process that does not answer" in end.output
    assert "end that process with `kill`" in end.output


async def test_a_stranger_who_never_comes_to_an_end_is_not_waited_for(tmp_path, environ):
    over = threading.Event()

    def drip(listener):
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError):
            while not over.wait(0.1):  # well within the time limit for one step
                connection.sendall(b"H")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        dripping = threading.Thread(target=drip, args=[listener])
        dripping.start()
        listen = f"127.0.0.1:{listener.getsockname()[1]}"

        end = await run_program(command("shutdown"), environ | {"PPMPROXY_LISTEN": listen}, tmp_path)

        over.set()
        await asyncio.to_thread(dripping.join)

    assert end.code == 1
    assert "another program" in end.output or "a process that does not answer" in end.output  # where this one is slow


# --- waiting for less than ready ---


@pytest.mark.parametrize(("page", "code"), [("live", 0), ("startup", 0), ("ready", 1)])
async def test_a_daemon_whose_token_was_refused_is_alive_and_not_ready(tmp_path, environ, page, code):
    environ["PPMPROXY_TOKEN"] = "of-another-server"
    async with daemon(environ, tmp_path):
        await asked(environ)
        end = await run_program(command("wait", "--for", page, "--timeout", "0"), environ, tmp_path)

    assert end.code == code, end.output
    assert ("was refused" in end.output) == bool(code)
