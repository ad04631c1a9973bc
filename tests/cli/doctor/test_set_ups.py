"""Claims about `ppmproxy doctor` in the set-ups of README.md: the daemon that clients reach is judged, not the shell.

The service with a token file, the container and a second user of the machine are in `tests/real/service`.
"""

import contextlib
import json
import os
import shlex
import sys

import pytest
from aiohttp import web
from forked_command import forked_ppmproxy
from free_ports import free_port
from processes import ppmproxy_run, run_program
from proxy_client import leaked_forms, wait_until

from ppmproxy.access.daemon_record import DaemonRecord
from ppmproxy.access.identity_key import IdentityKey
from ppmproxy.cli.doctor.checks import guarded, ok


@contextlib.asynccontextmanager
async def daemon_of(person, tmp_path, server, ca_file, **environ):
    """A daemon in another terminal of the person's, with what that terminal exports."""
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700)
    person.environ["XDG_RUNTIME_DIR"] = str(runtime)
    exports = {"PPMPROXY_UPSTREAM": server.url, "PPMPROXY_TOKEN": server.token, "PPMPROXY_CA_FILE": str(ca_file)}
    port = free_port()
    listen = f"127.0.0.1:{port},[::1]:{port}"
    exports |= {"PPMPROXY_LISTEN": listen, "XDG_RUNTIME_DIR": str(runtime), "HOME": str(person.home)}
    async with ppmproxy_run(tmp_path, **exports | environ) as running:
        yield running


# --- a daemon with exports in one terminal, doctor in another ---------------------------------------------------------


async def test_a_daemon_with_the_exports_of_another_terminal_is_judged_by_its_own_settings(
    person, server, ca_file, tmp_path
):
    async with daemon_of(person, tmp_path, server, ca_file):
        report = await person.doctor()

    assert report.faults() == {"shell-settings"}
    assert "PPMPROXY_TOKEN" in report.of("token", "ok")["what"]
    assert "taken for pypi" in report.of("token")["what"]
    assert server.url in report.of("upstream", "ok")["what"]
    assert str(ca_file) in report.of("certificate", "ok")["what"]
    assert leaked_forms(server.token, report.text) == []


async def test_the_shell_s_settings_are_no_remark_once_the_fix_was_pasted(person, server, ca_file, tmp_path):
    async with daemon_of(person, tmp_path, server, ca_file):
        fix = (await person.doctor()).of("shell-settings", "warning")["fix"]
        assert fix.startswith("export ")
        exported = dict(word.split("=", 1) for word in shlex.split(fix.removeprefix("export ")))
        report = await person.doctor(**exported)

    assert report.faults() == set()


async def test_a_shell_with_settings_of_its_own_can_have_the_daemon_take_them(person, server, ca_file, tmp_path):
    async with daemon_of(person, tmp_path, server, ca_file) as running:
        address = running.url.removeprefix("http://")
        own = {"PPMPROXY_UPSTREAM": "https://own.example.com", "PPMPROXY_LISTEN": address}
        fix = (await person.doctor(**own)).of("shell-settings", "warning")["fix"]

    assert fix.endswith("ppmproxy shutdown && ppmproxy run")


# --- exec only --------------------------------------------------------------------------------------------------------


async def test_where_exec_is_the_only_use_a_daemon_that_does_not_run_is_no_fault(configured):
    report = await configured.doctor()

    assert report.faults() == set()
    assert "taken for pypi" in report.of("token", "ok")["what"]


async def test_within_exec_its_own_daemon_is_judged(configured, server):
    command = ["exec", "--", sys.executable, "-m", "ppmproxy", "doctor", "--json"]
    end = await forked_ppmproxy(command, configured.environ, configured.project)

    found = {(one["check"], one["outcome"]): one for one in json.loads(end.output)}
    assert end.code == 0
    assert "it is running at" in found["daemon", "ok"]["what"]
    assert server.url in found["upstream", "ok"]["what"]
    assert "PPMPROXY_TOKEN" in found["token", "ok"]["what"]


# --- broken settings of the shell -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "broken",
    [
        {"PPMPROXY_LOGG_LEVEL": "info"},
        {"PPMPROXY_UPSTREAM": "htps://packagemanager.example.com"},
        {"PPMPROXY_CONFIG": "/nonexistent/config.toml"},
    ],
)
async def test_with_broken_settings_in_the_shell_the_daemon_is_judged_all_the_same(
    person, server, ca_file, tmp_path, broken
):
    async with daemon_of(person, tmp_path, server, ca_file):
        report = await person.doctor(**broken)
        mended = await person.doctor()

    assert report.faults() == {"settings"}
    assert server.url in report.of("upstream", "ok")["what"]
    assert report.of("token", "ok")
    assert mended.of("settings", "ok")


# --- a daemon without a folder for its proof, and an older one --------------------------------------------------------


async def test_a_daemon_that_cannot_prove_itself_is_judged_by_its_status(person, server, ca_file, tmp_path):
    hidden = tmp_path / "hidden"
    hidden.mkdir(mode=0o700)
    async with daemon_of(person, tmp_path, server, ca_file, XDG_RUNTIME_DIR=str(hidden)) as running:
        listen = f"{running.url.removeprefix('http://')},[::1]:{running.url.rpartition(':')[2]}"
        report = await person.doctor(PPMPROXY_LISTEN=listen)

    assert report.faults() <= {"shell-settings"}
    assert "as this user" in report.of("daemon", "ok")["what"]
    assert server.url in report.of("upstream", "ok")["what"]


@contextlib.asynccontextmanager
async def older_daemon(runtime, version):
    """A daemon that proves itself and reports a version, and does not know `doctor`'s own request."""
    key = IdentityKey.generate()

    async def answer(request):
        if request.path == "/-/proof":
            place = "{} {}".format(*request.transport.get_extra_info("sockname"))
            return web.Response(text=key.proof(request.query_string.partition("=")[2], place))
        if request.path == "/-/status":
            upstream = {"name": "default", "url": "https://own.example.com", "mount": "/", "passed_over": {"x": "y"}}
            return web.json_response({"version": version, "upstreams": [upstream]})
        return web.Response(status=404, text="no such page")

    runner = web.ServerRunner(web.Server(answer, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    record = DaemonRecord(os.getpid(), (url,), key)
    file = record.publish(runtime / "ppmproxy")
    try:
        yield url
    finally:
        record.withdraw(file)
        await runner.cleanup()


async def test_a_daemon_of_another_version_is_reported_and_judged_by_its_status(person, tmp_path):
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700)
    async with older_daemon(runtime, "0.0.1") as url:
        report = await person.doctor(XDG_RUNTIME_DIR=str(runtime))
        status = await forked_ppmproxy(
            ["status"],
            person.environ | {"XDG_RUNTIME_DIR": str(runtime), "PPMPROXY_LISTEN": url.removeprefix("http://")},
            person.project,
        )

    finding = report.of("daemon", "warning")
    assert "it runs version 0.0.1" in finding["what"]
    assert finding["fix"] == "ppmproxy shutdown && ppmproxy run"
    assert "https://own.example.com" in report.of("upstream")["what"]
    assert "x: y" in report.of("token", "warning")["what"]
    assert "version 0.0.1" in status.output


# --- what nobody foresaw ----------------------------------------------------------------------------------------------


def test_an_unforeseen_exception_is_one_finding_with_its_place_and_the_results_before_it_stay():
    def check():
        yield ok("daemon", "it runs")
        raise RuntimeError("a\nmistake")

    before, crashed = guarded("daemon", check)

    assert before == ok("daemon", "it runs")
    assert (crashed.check, crashed.outcome.value) == ("daemon", "failed")
    assert "ppmproxy/cli/doctor/checks.py, line" in crashed.what
    assert "RuntimeError: a mistake" in crashed.what
    assert "\n" not in crashed.what + crashed.fix


async def test_a_current_folder_that_is_gone_is_a_finding_and_the_other_checks_go_on(configured):
    gone = configured.project / "gone"
    gone.mkdir()
    doctor = [sys.executable, "-m", "ppmproxy", "doctor"]
    script = f"rmdir {shlex.quote(str(gone))}; {shlex.join(doctor)}; code=$?; cd; {shlex.join(doctor)}; exit $code"

    end = await run_program(["/bin/sh", "-c", script], configured.environ | {"PYTHONSAFEPATH": "1"}, gone)

    assert end.code == 1
    assert "failed   folder: the current folder cannot be used" in end.output
    assert "fix: change to another folder: cd\n" in end.output
    assert end.output.count("taken for pypi") == 2
    assert end.output.count("failed") == 1  # the fix was the second line of the script
    assert "Traceback" not in end.output


async def test_the_daemon_s_checks_are_for_its_own_user_s_commands_alone(person, server, ca_file, tmp_path):
    async with daemon_of(person, tmp_path, server, ca_file) as running:
        ask = f"import urllib.request as r; r.urlopen(r.Request('{running.url}/-/doctor', method='POST'))"
        end = await run_program([sys.executable, "-c", ask], person.environ, tmp_path)
        await wait_until(lambda: "forbidden-client" in running.log)

    assert "HTTP Error 403" in end.output
    assert server.requests == []
