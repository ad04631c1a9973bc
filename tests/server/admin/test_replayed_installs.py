"""Claim: page, `status --json`, metrics and log tell the same numbers of the same requests.

The requests are those of a recorded run of pip and uv, with some that are refused; each number is compared.
"""

import asyncio
import json
from collections import Counter
from pathlib import Path

import pytest
from command_line import Person
from page_reader import live_window, read_page
from prometheus_client.parser import text_string_to_metric_families

from ppmproxy.environment import Environment
from ppmproxy.server.counters import REASONS
from ppmproxy.testing.package_manager import Status, wheel

RECORDED = json.loads(Path(__file__).with_name("recorded_installs.json").read_text(encoding="utf-8"))


@pytest.fixture
async def server(package_manager):
    server = await package_manager()
    server.add(wheel("hello", requires=("world",)))
    server.add(wheel("world"))
    server.add_fault("*/simple/blocked/", Status(403, "blocked by policy"))
    return server


@pytest.fixture
def person(tmp_path):
    (tmp_path / "runtime").mkdir(mode=0o700)
    return Person(tmp_path, {"XDG_RUNTIME_DIR": str(tmp_path / "runtime")})


@pytest.fixture
async def replayed(server, proxy, person):
    """A daemon that has answered the recorded requests, and beside them pages that are not to be counted."""
    environ = {**person.environ, "PPMPROXY_TOKEN": server.token}
    running = await proxy(server, environ=environ)
    assert isinstance(running.daemon._wiring.environment, Environment)
    for number, (agent, method, path) in enumerate(RECORDED):
        await running.ask(method, path, {"User-Agent": agent})
        if number % 5 == 0:
            await running.get("/-/live")
            await read_page(running)
    return running


async def status_of(person, running):
    result = await asyncio.to_thread(person.runs, "status", "--json", PPMPROXY_LISTEN=f"127.0.0.1:{running.port}")
    assert result.code == 0, result.err
    return json.loads(result.out)


def forwarded_or_refused(logs):
    return [line for line in logs.requests if not line["path"].startswith("/-/")]


async def test_page_status_and_log_tell_the_same_numbers(replayed, person, logs):
    lines = forwarded_or_refused(logs)
    page, status = await read_page(replayed), (await status_of(person, replayed))["requests"]
    failed = [line for line in lines if line["level"] == "warning"]

    assert len(lines) == len(RECORDED)
    assert status["total"] == page.numbers["total"] == page.numbers["last-hour"] == len(RECORDED)
    assert status["failed"] == page.numbers["failed"] == page.numbers["last-hour-failed"] == len(failed) > 4
    assert status["bytes_sent"] == page.numbers["sent"] == sum(line["sent"] for line in lines) > 1000
    assert status["by_status"] == dict(Counter(str(line["status"]) for line in lines))
    assert status["errors"] == dict(Counter(line["code"] for line in failed))
    assert page.numbers["under-way"] == 0


async def test_the_metrics_tell_the_same_numbers_too(replayed, logs):
    lines = forwarded_or_refused(logs)
    families = text_string_to_metric_families((await replayed.get("/-/metrics")).text())
    samples = [sample for family in families for sample in family.samples]
    counts = {name: Counter() for name in ("requests", "upstream_errors")}
    for sample in samples:
        if sample.name.removesuffix("_total").removeprefix("ppmproxy_") in counts and sample.value:
            key = tuple(value for _, value in sorted(sample.labels.items()))
            counts[sample.name.removesuffix("_total").removeprefix("ppmproxy_")][key] += sample.value
    seconds = {sample.name: sample.value for sample in samples if "bucket" not in sample.name}

    described = ((line.get("kind", "refused"), str(line["status"]), line.get("upstream", "")) for line in lines)
    assert counts["requests"] == Counter(described)
    failed = Counter((line["code"],) for line in lines if line["level"] == "warning" and line["code"] in REASONS)
    assert counts["upstream_errors"] == failed
    assert seconds["ppmproxy_request_duration_seconds_count"] == len(lines)
    total = sum(line["ms"] for line in lines) / 1000
    assert seconds["ppmproxy_request_duration_seconds_sum"] == pytest.approx(total, abs=0.0001 * len(lines))


async def test_each_row_of_the_page_is_a_line_of_the_log(replayed, logs):
    page = await read_page(replayed)
    rows = [(row[3], row[4].split("\n")[0], row[6]) for row in reversed(page.rows)]

    assert [status for status, _, _ in rows] == [str(line["status"]) for line in forwarded_or_refused(logs)]
    for (_, explanation, _), line in zip(rows, forwarded_or_refused(logs), strict=True):
        assert explanation.startswith(line.get("code", ""))
        assert bool(explanation) is ("code" in line)
    assert [row[1] for row in reversed(page.rows)] == [agent.split(" ")[0] for agent, _, _ in RECORDED]


async def test_an_open_window_is_told_the_numbers_of_the_page(replayed):
    page = await read_page(replayed)
    async with live_window(replayed) as next_message:
        told = await next_message()

    for name, number in page.numbers.items():
        assert f'id="requests-{name}" data-number="{number}"' in told["parts"]["traffic"]
    assert told["rows"].count("<tr ") == len(page.rows) == len(RECORDED)
