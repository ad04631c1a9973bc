"""Claims about `/-/metrics`: the numbers of status and log in Prometheus' format, for those who may connect."""

import asyncio
import re
from dataclasses import replace

import pytest
from processes import ppmproxy_run
from prometheus_client.parser import text_string_to_metric_families
from proxy_client import PAGE, PIP, UV, code_of, request_head, status_of, wait_until

from ppmproxy.auth.credential import Claims, Credential
from ppmproxy.auth.secret import Secret
from ppmproxy.config.model import SignIn
from ppmproxy.credentials.lookup import LookupResult, TokenRequest
from ppmproxy.server.admin.metrics import exposition
from ppmproxy.server.request_record import CACHE_RESULTS, RequestRecord
from ppmproxy.server.state import State
from ppmproxy.testing.package_manager import Status, wheel

METRICS = "/-/metrics"
NAMES = {
    "ppmproxy_requests",
    "ppmproxy_request_duration_seconds",
    "ppmproxy_upstream_errors",
    "ppmproxy_cache_requests",
    "ppmproxy_cache_bytes",
    "ppmproxy_sign_ins",
    "ppmproxy_credential_expiry_timestamp_seconds",
    "ppmproxy_connections",
    "ppmproxy_build_info",
}


def samples(text):
    """Each sample's value by its name and labels."""
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def total(values, name, **labels):
    return sum(value for (found, *has), value in values.items() if found == name and set(labels.items()) <= set(has))


async def scraped(running):
    reply = await running.get(METRICS)
    assert (reply.status, reply.headers["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    return samples(reply.text())


@pytest.fixture
async def server(package_manager):
    started = await package_manager()
    started.add(wheel("hello"))
    return started


async def test_the_contract_s_metrics_are_there_and_no_other(server, proxy):
    running = await proxy(server)

    reply = await running.get(METRICS)

    assert {family.name for family in text_string_to_metric_families(reply.text())} == NAMES


async def test_metrics_status_and_log_have_the_same_numbers(server, proxy, logs):
    server.add_fault("*/simple/broken/*", Status(500))
    running = await proxy(server)
    for path, agent in (
        (PAGE, UV),
        (PAGE, PIP),
        ("/pypi/latest/simple/absent/", UV),
        ("/a/../b", UV),
        ("/upload/x", UV),
        ("/-/live", UV),
        ("/-/nothing", UV),
    ):
        await running.get(path, {"User-Agent": agent})
    await running.raw(request_head(PAGE, host="evil.example"))

    values = await scraped(running)
    status = (await running.get("/-/status")).json()["requests"]

    logged = [one for one in logs.requests if not one["path"].startswith("/-/") or one["status"] >= 400]
    assert total(values, "ppmproxy_requests_total") == status["total"] == len(logged) == 7
    assert total(values, "ppmproxy_request_duration_seconds_count") == status["total"]
    for code, count in status["by_status"].items():
        assert total(values, "ppmproxy_requests_total", status=code) == count
        assert len([one for one in logged if one["status"] == int(code)]) == count
    assert status["failed"] == sum(status["errors"].values()) == len([one for one in logged if one.get("code")])
    assert total(values, "ppmproxy_requests_total", upstream="default", kind="index", status="200") == 2


async def test_an_error_of_the_upstream_is_counted_by_its_reason_for_pip_too(server, proxy):
    running = await proxy(server, environ={})
    for agent in (UV, PIP):
        await running.get(PAGE, {"User-Agent": agent})

    values = await scraped(running)

    assert total(values, "ppmproxy_upstream_errors_total", reason="token-missing") == 2
    assert total(values, "ppmproxy_upstream_errors_total") == 2


async def test_a_sign_in_is_counted_by_its_result_also_after_a_reload(server, proxy):
    server.sign_in.device_interval = 0.01
    running = await proxy(server, environ={}, sign_in=SignIn.ALWAYS)
    running.daemon.reload(replace(running.daemon.services.settings, allowed_hosts=("x",)))
    asking = asyncio.create_task(running.get(PAGE, {"User-Agent": UV}))
    server.approve((await server.next_sign_in()).user_code)
    assert (await asking).status == 200

    values = await scraped(running)

    assert total(values, "ppmproxy_sign_ins_total", result="succeeded") == 1
    assert total(values, "ppmproxy_sign_ins_total") == 1


async def test_the_cache_s_results_and_size_are_those_of_status_and_disk(server, proxy, tmp_path):
    running = await proxy(server, cache=True, settings={"cache_dir": tmp_path / "cache"})
    before = await scraped(running)
    for _ in range(3):
        await running.get(PAGE, {"User-Agent": UV})

    values = await scraped(running)
    status = (await running.get("/-/status")).json()["cache"]["requests"]
    again = await proxy(server, cache=True, settings={"cache_dir": tmp_path / "cache"})
    of_the_next = await scraped(again)

    assert total(before, "ppmproxy_cache_bytes") == total(before, "ppmproxy_cache_requests_total") == 0
    assert status == {"hit": 2, "miss": 1}
    for result in CACHE_RESULTS:
        assert total(values, "ppmproxy_cache_requests_total", result=result) == status.get(result, 0)
    size = total(values, "ppmproxy_cache_bytes")
    assert size > 0
    assert total(of_the_next, "ppmproxy_cache_bytes") == size


async def test_without_a_cache_its_size_has_no_value(server, proxy):
    values = await scraped(await proxy(server))

    assert ("ppmproxy_cache_bytes",) not in values


async def test_a_cache_that_cannot_be_used_has_no_size_and_the_scrape_goes_on(server, proxy, tmp_path):
    (tmp_path / "cache").write_text("no folder")
    running = await proxy(server, cache=True, settings={"cache_dir": tmp_path / "cache"})

    values = await scraped(running)

    assert ("ppmproxy_cache_bytes",) not in values
    assert total(values, "ppmproxy_build_info") == 1


async def test_open_connections_are_counted(server, proxy):
    running = await proxy(server)
    async with running.connected(), running.connected():
        await wait_until(lambda: running.daemon._access_control.admission.connections >= 2)
        values = await scraped(running)

    assert total(values, "ppmproxy_connections") == 3  # the scrape's own


def test_the_expiry_is_the_earliest_of_each_source_by_upstream():
    state = State(0.0)
    for upstream, source, expires_at in (("a", "file /t", 900.0), ("a", "file /t", 500.0), ("b", "netrc", None)):
        credential = replace(Credential.of_secret(Secret("s3cr3t"), source), claims=Claims(expires_at=expires_at))
        purpose = TokenRequest("https://pm", str(expires_at))
        state.upstream(upstream).record_lookup(purpose, LookupResult(credential), ())

    values = samples(exposition(state.snapshot(), 0).decode())

    expiries = {key: value for key, value in values.items() if "expiry" in key[0]}
    assert expiries == {
        ("ppmproxy_credential_expiry_timestamp_seconds", ("source", "file /t"), ("upstream", "a")): 500.0
    }


def test_unknown_statuses_and_labels_that_need_escaping_are_written_so_that_prometheus_reads_them():
    state = State(0.0)
    state.record_request(RequestRecord("GET", "/x", 'a"\\\n', "file", 299))

    values = samples(exposition(state.snapshot(), 0).decode())

    assert total(values, "ppmproxy_requests_total", upstream='a"\\\n', status="other") == 1


@pytest.mark.parametrize("header", ["Sec-Fetch-Site: none", "Sec-Fetch-Site: same-origin", "Origin: http://localhost"])
async def test_no_browser_reads_the_metrics(server, proxy, header):
    running = await proxy(server)

    for target in (METRICS, f"{METRICS}?x"):
        received = await running.raw(request_head(target, header))

        assert (status_of(received), code_of(received)) == (403, "forbidden-client")


async def test_the_daemon_imports_prometheus_client_at_the_first_scrape_and_rich_never(tmp_path):
    async with ppmproxy_run(tmp_path, PYTHONPROFILEIMPORTTIME="1") as running:
        before = running.log
        reader, writer = await asyncio.open_connection(*running.url.removeprefix("http://").split(":"))
        writer.write(request_head(METRICS))
        answer = await reader.read()
        writer.close()
        await running.server.line_with(" prometheus_client\n")

    assert status_of(answer) == 200
    assert "prometheus_client" not in before
    assert "structlog" in before
    assert not re.search(r"\| +rich\.", running.log)
