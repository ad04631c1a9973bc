"""Claims about `ppmproxy doctor` as a command: all is well, its output, broken settings, the canary."""

import sys

from processes import ppmproxy_run, run_program
from proxy_client import leaked_forms, wait_until


async def test_nothing_is_found_where_all_is_well(configured, server, ca_file, tmp_path):
    environ = {name: value for name, value in configured.environ.items() if name.startswith("PPMPROXY_")}
    del environ["PPMPROXY_LISTEN"]
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700)

    async with ppmproxy_run(tmp_path, XDG_RUNTIME_DIR=str(runtime), **environ) as running:
        await wait_until(
            lambda: [*runtime.rglob("daemon-*.json")]
        )  # it leaves word right after it says that it listens
        listen = f"127.0.0.1:{running.url.rpartition(':')[2]},[::1]:{running.url.rpartition(':')[2]}"
        report = await configured.doctor(PPMPROXY_LISTEN=listen, XDG_RUNTIME_DIR=str(runtime))

    assert report.faults() == set()
    assert "proved to be this user's" in report.of("daemon")["what"]
    assert str(ca_file) in report.of("certificate")["what"]
    assert "PPMPROXY_TOKEN" in report.of("token")["what"]
    assert "repos:read" in report.of("token")["what"]
    assert leaked_forms(server.token, report.text) == []


async def test_people_read_one_line_for_each_check_and_one_for_its_fix(configured, server):
    environ = configured.environ | {
        "PIP_INDEX_URL": f"http://{configured.environ['PPMPROXY_LISTEN']}/pypi/latest/simple/"
    }
    end = await run_program([sys.executable, "-m", "ppmproxy", "doctor"], environ, configured.project)

    lines = end.output.splitlines()
    assert end.code == 1
    assert lines[lines.index(next(line for line in lines if line.startswith("failed   daemon:"))) + 1].split()[:2] == [
        "fix:",
        "ppmproxy",
    ]
    assert leaked_forms(server.token, end.output) == []


async def test_the_canary_is_flown_when_it_is_asked_for(configured):
    with_canary, without = await configured.doctor("--canary"), await configured.doctor()

    assert with_canary.of("canary", "ok")
    assert "canary" not in {one["check"] for one in without.found}
