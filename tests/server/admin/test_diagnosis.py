"""Claims about the checks of `doctor` on the page: run when its user asks, once at a time, and shown as text."""

import asyncio
import re

import pytest
from page_reader import OWN, PAGE, TYPED, PageReader, acting_headers, page_token
from processes import ppmproxy_run

from ppmproxy.auth.redaction import Redactor
from ppmproxy.config.model import Settings
from ppmproxy.server.admin.diagnosis import Diagnosis, diagnosis_part
from ppmproxy.server.set_up_checks import CheckedFact
from ppmproxy.testing.package_manager import wheel

CHECKS = "/-/page/checks"
FACTS = (
    CheckedFact("token", "failed", "the token <b>expired</b>", "run `ppmproxy login`"),
    CheckedFact("pip", "warning", "pip bypasses the proxy", "unset it"),
    CheckedFact("daemon", "ok", "it is running", ""),
)


def test_what_is_wrong_is_shown_with_its_fix_and_what_is_right_behind_it():
    part = diagnosis_part(FACTS)
    tags = PageReader(part).tags

    assert [given["class"] for tag, given in tags if tag == "li" and given] == ["bad", "warning"]
    assert "1 checks passed" in part
    assert "<code>ppmproxy login</code>" in part
    assert "<b>" not in part


def test_that_nothing_is_wrong_is_said():
    assert "Nothing is wrong." in diagnosis_part(FACTS[2:])


async def test_who_asks_while_the_checks_run_gets_the_same_result():
    runs, may_end = [], asyncio.Event()

    async def diagnose(*_):
        runs.append(1)
        await may_end.wait()
        return FACTS

    diagnosis = Diagnosis(diagnose)
    asking = [asyncio.create_task(diagnosis.facts(Settings(), Redactor())) for _ in range(3)]
    await asyncio.sleep(0)
    may_end.set()

    assert await asyncio.gather(*asking) == [FACTS] * 3
    assert len(runs) == 1


async def test_a_person_who_leaves_does_not_end_the_checks_and_the_end_of_the_daemon_does():
    ended = []

    async def diagnose(*_):
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(1)

    diagnosis = Diagnosis(diagnose)
    asking = asyncio.create_task(diagnosis.facts(Settings(), Redactor()))
    await asyncio.sleep(0.01)
    asking.cancel()
    await asyncio.wait({asking})
    assert ended == []
    await diagnosis.close()

    assert ended == [1]


# --- at a daemon ---


@pytest.fixture
async def server(package_manager):
    server = await package_manager()
    server.add(wheel("hello"))
    return server


async def test_a_daemon_without_the_command_offers_no_checks(server, proxy):
    running = await proxy(server)

    assert CHECKS not in (await running.get(PAGE, TYPED)).text()
    assert (await running.get(CHECKS, await acting_headers(running, Origin=None))).status == 404


async def test_the_checks_are_for_the_user_s_own_page(server, proxy):
    running = await proxy(server)
    asked = []

    async def diagnose(*_):
        asked.append(1)
        return FACTS

    running.daemon._dispatcher.pages = replaced(running, diagnose=diagnose)
    headers = await acting_headers(running, Origin=None)
    shown = await running.get(CHECKS, headers)
    without = [await running.get(CHECKS, given) for given in (OWN, {}, {**headers, "X-Ppmproxy-Page-Token": "0" * 64})]

    assert CHECKS in (await running.get(PAGE, TYPED)).text()
    assert (shown.status, "pip bypasses" in shown.text()) == (200, True)
    assert [reply.status for reply in without] == [403, 403, 403]
    assert asked == [1]


def replaced(running, **changed):
    from dataclasses import replace

    return replace(running.daemon._dispatcher.pages, **changed)


async def test_a_real_daemon_runs_the_checks_of_doctor(server, tmp_path, unused_tcp_port):
    import aiohttp

    environ = {"PPMPROXY_UPSTREAM": server.url, "PPMPROXY_CA_FILE": str(server.write_ca(tmp_path / "ca.pem"))}
    environ |= {"PPMPROXY_TOKEN": server.token, "PPMPROXY_LISTEN": f"127.0.0.1:{unused_tcp_port}"}
    async with ppmproxy_run(tmp_path, **environ) as running, aiohttp.ClientSession() as session:
        async with session.get(running.url + PAGE, headers=TYPED) as response:
            token = page_token(await response.text())
        headers = {**OWN, "X-Ppmproxy-Page-Token": token}
        async with session.get(running.url + CHECKS, headers=headers) as response:
            status, part = response.status, await response.text()

    assert status == 200, part
    assert "checks passed" in part
    assert {"daemon", "upstream", "token"} <= set(re.findall(r"<code>([\w-]+)</code>", part))
    assert server.token not in part + running.log
    assert "Traceback" not in running.log
