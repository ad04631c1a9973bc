"""Claims about metrics, dashboard and alerts with a real Prometheus, which has scraped a real run."""

import asyncio
import contextlib
import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
from downloads import skip_or_fail
from processes import START_DEADLINE, plain_environment, ppmproxy_run, run_program, running_server
from proxy_client import leaked_forms

from ppmproxy.testing.package_manager import wheel

pytestmark = pytest.mark.real

EXAMPLES = Path(__file__).parents[3] / "docker" / "examples"
ALERTS_TEST = Path(__file__).parent / "alerts.test.yml"
DASHBOARD = json.loads((EXAMPLES / "grafana-dashboard.json").read_text())
QUERIES = [(panel["title"], target["expr"]) for panel in DASHBOARD["panels"] for target in panel["targets"]]
TARGET = "127.0.0.1:7760"  # in the example
VARIABLES = {"$__rate_interval": "1m", "$job": ".*", "$instance": ".*"}  # as Grafana replaces them


def program(name):
    """A program of Prometheus."""
    return shutil.which(name) or skip_or_fail(f"{name} is not installed", "on Debian: apt-get install prometheus")


def promtool(*arguments, stdin="", folder=EXAMPLES):
    """What promtool says; it must be content."""
    command = [program("promtool"), *map(str, arguments)]
    ran = subprocess.run(command, input=stdin, check=False, capture_output=True, text=True, timeout=300, cwd=folder)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


@dataclass(frozen=True)
class Scraped:
    """A Prometheus that has scraped a daemon which was used."""

    prometheus: str
    proxy: str
    token: str

    async def asks(self, path, **query):
        return await asyncio.to_thread(_read, f"{self.prometheus}{path}?{urlencode(query)}")

    async def result(self, expression):
        """The samples of an instant query: labels and value of each."""
        answer = json.loads(await self.asks("/api/v1/query", query=expression))
        assert answer["status"] == "success", answer
        return [(one["metric"], float(one["value"][1])) for one in answer["data"]["result"]]

    async def numbers(self):
        """Responses by status and all requests: as the daemon reports them, and as of the last scrape."""
        status = json.loads(await asyncio.to_thread(_read, f"{self.proxy}/-/status"))["requests"]
        by_status = await self.result("sum by (status) (ppmproxy_requests_total)")
        scraped = {labels["status"]: value for labels, value in by_status}
        total = await self.value("ppmproxy_request_duration_seconds_count")
        return (status["by_status"], status["total"]), (scraped, total)

    async def alerts(self):
        """Health and state of each alert."""
        rules = json.loads(await self.asks("/api/v1/rules"))["data"]["groups"][0]["rules"]
        return [(one["health"], one["state"]) for one in rules]

    async def value(self, expression):
        """The one value of a query; None before there is one."""
        found = await self.result(expression)
        return found[0][1] if found else None


def _read(url):
    with urlopen(url, timeout=30) as answer:
        return answer.read().decode()


@contextlib.asynccontextmanager
async def prometheus(folder, target, port):
    """A Prometheus with the example's configuration, for another daemon and every second; its URL."""
    shutil.copy(EXAMPLES / "prometheus-alerts.yml", folder)
    example = (EXAMPLES / "prometheus.yml").read_text()
    assert TARGET in example
    often = "global: { scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s }\n"
    (folder / "prometheus.yml").write_text(often + example.replace(TARGET, target))
    command = [
        program("prometheus"),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    async with running_server(command, plain_environment(folder), folder) as server:
        await asyncio.wait_for(server.line_with("Server is ready"), START_DEADLINE)
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
async def scraped(package_manager, ca_file, tmp_path, unused_tcp_port):
    server = await package_manager(base_path="/rspm")
    server.add(wheel("hello"))
    token = server.token = server.issue_token(lifetime=3600)
    settings = {"PPMPROXY_UPSTREAM": server.url, "PPMPROXY_CA_FILE": str(ca_file), "PPMPROXY_TOKEN": token}
    settings["PPMPROXY_CACHE"] = "true"
    async with ppmproxy_run(tmp_path, **settings) as running:
        target = running.url.removeprefix("http://")
        async with prometheus(tmp_path, target, unused_tcp_port) as url:
            found = Scraped(url, running.url, token)
            await until(lambda: found.value("ppmproxy_upstream_errors_total"), lambda value: value == 0)
            for project, is_there in (("hello", True), ("absent", False)):
                assert (await installed(running, project, tmp_path)) is is_there
            yield found


async def installed(running, project, folder):
    command = [sys.executable, "-m", "pip", "install", "--no-cache-dir", "--disable-pip-version-check"]
    command += ["--target", folder / "installed", "--index-url", running.index_url, project]
    end = await run_program(command, plain_environment(folder, PIP_CONFIG_FILE="/dev/null"), folder)
    return end.code == 0


async def until(value, is_right, seconds=START_DEADLINE):
    """Wait until a value that has to be asked for is right."""
    clock = asyncio.get_running_loop().time
    end = clock() + seconds
    while not is_right(found := await value()):
        assert clock() < end, f"it is still {found}"
        await asyncio.sleep(0.1)


async def test_prometheus_has_the_numbers_of_the_status_and_each_query_of_the_dashboard_finds_some(scraped):
    """A scrape that took too long is none, and a query finds nothing until the next one."""
    await until(scraped.numbers, lambda found: found[0] == found[1] and found[0][1] > 0)
    left = pytest.approx(3600, abs=600)
    await until(
        lambda: scraped.value("ppmproxy_credential_expiry_timestamp_seconds - time()"), lambda value: value == left
    )
    await until(lambda: scraped.value("ppmproxy_build_info"), lambda value: value == 1)
    for query in [_as_asked(query) for _, query in QUERIES]:
        await until(lambda query=query: scraped.result(query), bool)  # a rate takes two samples
    await until(scraped.alerts, lambda alerts: alerts == [("ok", "inactive")] * 4)

    text = await asyncio.to_thread(_read, f"{scraped.proxy}/-/metrics")
    assert promtool("check", "metrics", stdin=text) == ""
    assert "hello" not in text
    assert leaked_forms(scraped.token, text) == []


def _as_asked(query):
    for name, value in VARIABLES.items():
        query = query.replace(name, value)
    assert "$" not in query
    return query


def test_the_dashboard_names_only_variables_and_metrics_that_there_are():
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(DASHBOARD["panels"])))
    declared = {variable["name"] for variable in DASHBOARD["templating"]["list"]}

    assert used - {"__rate_interval"} == declared
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_the_example_configuration_and_the_alerts_are_valid():
    assert "SUCCESS: 4 rules found" in promtool("check", "config", "prometheus.yml")
    assert "FAILED" not in promtool("check", "rules", "--lint-fatal", "prometheus-alerts.yml")


def test_the_alerts_come_when_a_token_ends_or_is_refused_and_at_no_other_time(tmp_path):
    shutil.copy(EXAMPLES / "prometheus-alerts.yml", tmp_path)
    shutil.copy(ALERTS_TEST, tmp_path)

    assert "SUCCESS" in promtool("test", "rules", ALERTS_TEST.name, folder=tmp_path)
