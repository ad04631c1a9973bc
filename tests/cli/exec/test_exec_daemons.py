"""Claims about `ppmproxy exec`: which daemon a command gets."""

import asyncio
import contextlib
import json
import socket
import sys

import pytest
from aiohttp import web
from exec_person import ASK, answer_in, python, ready, tuple_of
from processes import ppmproxy_run
from proxy_client import DEADLINE, leaked_forms, wait_until

WAIT = "print('ready', flush=True); import sys; sys.stdin.read()"


async def test_a_running_daemon_for_the_same_upstream_is_used(person, tmp_path):
    environ = {name: value for name, value in person.environ.items() if name.startswith(("PPMPROXY_", "XDG_"))}
    del environ["PPMPROXY_LISTEN"]
    async with ppmproxy_run(tmp_path, **environ) as running:
        await wait_until(
            lambda: [*tmp_path.rglob("daemon-*.json")]
        )  # it leaves word right after it says that it listens
        end = await person.runs(*python(ASK))

    assert answer_in(end.output)["url"] == running.index_url
    assert '"path": "/pypi/latest/simple/hello/"' in running.log


@pytest.mark.parametrize(("token", "is_told"), [(None, False), ("", False), ("another-token-of-mine", True)])
async def test_a_token_that_the_running_daemon_does_not_use_is_reported(person, server, tmp_path, token, is_told):
    environ = {name: value for name, value in person.environ.items() if name.startswith(("PPMPROXY_", "XDG_"))}
    del environ["PPMPROXY_LISTEN"]
    token = server.token if token is None else token
    async with ppmproxy_run(tmp_path, **environ):
        await wait_until(lambda: [*tmp_path.rglob("daemon-*.json")])
        first = await person.runs(*python(ASK))  # from then on the daemon has a token in use
        end = await person.runs(*python(ASK), PPMPROXY_TOKEN=token)

    told = "PPMPROXY_TOKEN is ignored, because your running ppmproxy uses its own token, from environment variable"
    assert (told in end.output) == is_told
    assert told not in first.output
    assert leaked_forms(server.token, end.output) == []


async def test_the_daemon_of_another_exec_is_not_used(person, server):
    """It would end with that one's command, in the middle of this one's."""
    async with person.running(*python(WAIT)) as first:
        await ready(first)
        async with person.running(*python(ASK)) as second:
            out, err = await asyncio.wait_for(second.communicate(), DEADLINE)
        first.stdin.close()
        assert await asyncio.wait_for(first.wait(), DEADLINE) == 0

    said = answer_in(out.decode())
    assert (second.returncode, said["status"]) == (0, 200)
    assert said["url"] != f"http://{person.environ['PPMPROXY_LISTEN']}/pypi/latest/simple/"
    assert b"using a free port" in err


async def test_a_daemon_that_was_started_to_stay_is_not_replaced(person, tmp_path):
    environ = {name: value for name, value in person.environ.items() if name.startswith(("PPMPROXY_", "XDG_"))}
    async with contextlib.AsyncExitStack() as stack:
        running = await stack.enter_async_context(ppmproxy_run(tmp_path, **environ))
        process = await stack.enter_async_context(person.running(*python(WAIT)))
        await ready(process)
        notices = [json.loads(file.read_text()) for file in tmp_path.rglob("daemon-*.json")]
        await running.server.stop()

        with socket.create_server(tuple_of(person.environ["PPMPROXY_LISTEN"])):
            _, err = await asyncio.wait_for(process.communicate(b"\n"), DEADLINE)

    assert (process.returncode, err) == (0, b"")
    assert [notice["for_a_while"] for notice in notices] == [False]


async def test_a_running_daemon_for_another_upstream_is_not_used(person, tmp_path):
    environ = {"XDG_RUNTIME_DIR": person.environ["XDG_RUNTIME_DIR"], "PPMPROXY_UPSTREAM": "http://127.0.0.1:1"}
    async with ppmproxy_run(tmp_path, **environ) as running:
        await wait_until(
            lambda: [*tmp_path.rglob("daemon-*.json")]
        )  # it leaves word right after it says that it listens
        listen = running.url.removeprefix("http://")
        end = await person.runs(*python(ASK), PPMPROXY_LISTEN=listen)

    assert end.code == 0
    assert answer_in(end.output)["status"] == 200
    assert answer_in(end.output)["url"] != running.index_url
    assert "using a free port" in end.output


async def test_exec_in_exec_uses_the_outer_one_s_proxy(person):
    inner = [sys.executable, "-m", "ppmproxy", "exec", *python(ASK)]

    end = await person.runs("--", *inner)

    assert end.code == 0
    assert answer_in(end.output)["url"].startswith(f"http://{person.environ['PPMPROXY_LISTEN']}/")
    assert "free port" not in end.output


async def test_another_program_that_accepts_every_request_is_not_used(person):
    asked = []

    async def yes(request):
        asked.append(request.path)
        return web.Response(text="0" * 64)

    runner = web.ServerRunner(web.Server(yes, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    listen = f"127.0.0.1:{runner.addresses[0][1]}"

    end = await person.runs(*python(ASK), PPMPROXY_LISTEN=listen)

    await runner.cleanup()
    assert answer_in(end.output)["status"] == 200
    assert listen not in answer_in(end.output)["url"]
    assert f"{listen} is taken by" in end.output
    assert set(asked) == {"/-/proof"}


async def test_a_sign_in_is_asked_for_on_stderr(person, server):
    person.environ.pop("PPMPROXY_TOKEN")
    async with person.running(*python(ASK), PPMPROXY_SIGN_IN="always") as process:
        said = b""
        while b"confirm the code" not in said:
            line = await asyncio.wait_for(process.stderr.readline(), DEADLINE)
            assert line, said
            said += line
        flow = await server.next_sign_in()
        server.approve(flow.user_code)
        out, rest = await asyncio.wait_for(process.communicate(), 3 * DEADLINE)

    assert flow.user_code in said.decode()
    assert f"{server.url}/__device__" in said.decode()
    assert answer_in(out.decode())["status"] == 200
    assert flow.user_code not in out.decode()
    assert b"Traceback" not in rest


async def test_a_sign_in_that_a_running_daemon_waits_for_is_asked_for_too(person, server, tmp_path):
    person.environ.pop("PPMPROXY_TOKEN")
    environ = {name: value for name, value in person.environ.items() if name.startswith(("PPMPROXY_", "XDG_"))}
    del environ["PPMPROXY_LISTEN"]
    async with ppmproxy_run(tmp_path, PPMPROXY_SIGN_IN="always", **environ) as running:
        await wait_until(
            lambda: [*tmp_path.rglob("daemon-*.json")]
        )  # it leaves word right after it says that it listens
        async with person.running(*python(ASK)) as process:
            said = (await asyncio.wait_for(process.stderr.readuntil(b"confirm the code"), DEADLINE)).decode()
            flow = await server.next_sign_in()
            server.approve(flow.user_code)
            out, rest = await asyncio.wait_for(process.communicate(), 3 * DEADLINE)

    assert f"open {server.url}/__device__?user_code={flow.user_code}" in said
    assert rest.decode().strip() == flow.user_code
    assert answer_in(out.decode())["url"] == running.index_url
