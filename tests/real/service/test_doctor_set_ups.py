"""Claims about `ppmproxy doctor` where the proxy is a service, a container beside a job, or another user's.

The set-ups without a service manager are in `tests/cli/doctor/test_set_ups.py`.
"""

import contextlib
import json
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from downloads import MAY_DOWNLOAD
from engine import IMAGE
from examined_person import Report
from installations import FAST, python_for_all
from processes import plain_environment, run_program
from readme import blocks_of
from service_person import PAGE, URL

pytestmark = [pytest.mark.real, MAY_DOWNLOAD]

TOKEN = "real/service/test_service_readme::test_the_readme_hands_a_token_file_over"
INDEX = "http://127.0.0.1:7760/pypi/latest/simple/"


def doctor_of(person, *lines, **environ):
    """What doctor finds in a new shell of the person's, after these lines."""
    program = shlex.quote(str(person.command))
    path = f"{person.command.parent}:/usr/local/bin:/usr/bin:/bin"
    script = "\n".join([*lines, f"exec {program} doctor --json"])
    said = person.systemd.runs("sh", "-c", script, PATH=path, **environ)
    report = Report(json.loads(said.out[said.out.index("[\n") :]), said.out)
    assert said.code == int(any(one["outcome"] == "failed" for one in report.found)), said
    return report


# --- the service, with a token file as README.md has it ---------------------------------------------------------------


@pytest.fixture
def served(person):
    """The person, once README's commands for a token file were pasted."""
    script = blocks_of(TOKEN)[0].text.replace("https://packagemanager.example.com", person.package_manager.url)
    words = ["script", "-qec", f"set -eu\n{script}", "/dev/null"]
    environ = {"SHELL": "/bin/bash", "PATH": f"{person.command.parent}:/usr/bin:/bin"}
    ca_file, token = str(person.package_manager.ca_file), person.package_manager.token
    said = person.systemd.runs(*words, PPMPROXY_CA_FILE=ca_file, TOKEN=token, **environ)
    assert said.code == 0, said
    return person


def test_the_service_is_judged_with_its_own_token_and_upstream(served):
    report = doctor_of(served, PIP_INDEX_URL=INDEX, PIP_TRUSTED_HOST="127.0.0.1")

    assert report.faults() == {"shell-settings"}, report.text
    assert "it is running at http://127.0.0.1:7760 (pid " in report.of("daemon", "ok")["what"]
    assert "(systemd credential)" in report.of("token", "ok")["what"]
    assert served.package_manager.url in report.of("upstream", "ok")["what"]
    assert served.package_manager.token not in report.text


def test_the_shell_of_a_service_is_no_remark_once_the_fix_was_pasted(served):
    fix = doctor_of(served).of("shell-settings", "warning")["fix"]

    assert doctor_of(served, fix).faults() == set()


def test_settings_that_a_service_is_to_take_are_taken_after_the_fix(served):
    served.systemd.write(
        ".config/ppmproxy/config.toml", f'upstream = "{served.package_manager.url}/"\nuploads = true\n'
    )
    remark = doctor_of(served).of("shell-settings", "warning")["fix"]
    restart = remark.partition("take those of this shell: ")[2]
    assert restart == "systemctl --user restart ppmproxy.service"

    assert "shell-settings" not in doctor_of(served, restart).faults()


def test_a_service_that_was_stopped_is_started_by_the_fix(served):
    served.systemd.systemctl("stop", "ppmproxy.socket", "ppmproxy.service")
    fix = doctor_of(served).of("daemon", "failed")["fix"]

    mended = doctor_of(served, f"{fix} >/dev/null")

    assert mended.of("daemon", "ok")
    assert {one["outcome"] for one in mended.found if one["check"] == "port"} == {"ok"}


def test_who_starts_a_second_one_reads_how_the_service_is_ended(served):
    said = served.runs("run", **served.settings)

    assert said.code == 4
    assert f"already running at {URL} (pid " in said.err
    assert f"serving {served.package_manager.url}" in said.err
    hint = said.err.rpartition("end it: ")[2].strip()
    assert hint == "systemctl --user stop ppmproxy.socket ppmproxy.service"
    served.systemd.must("sh", "-c", hint)
    assert served.asks(PAGE) == ""


def test_a_service_whose_token_is_refused_is_reported_by_what_the_service_says(served):
    served.systemd.write(".config/ppmproxy/token", "of-no-use")
    served.systemd.systemctl("restart", "ppmproxy.service")

    report = doctor_of(served, PPMPROXY_TOKEN=served.package_manager.token)

    assert report.of("token", "failed")


def test_a_service_that_cannot_start_is_reported_with_the_command_that_says_why(served):
    token = served.systemd.home / ".config/ppmproxy/token"
    token.rename(token.with_name("kept"))
    served.systemd.runs("systemctl", "--user", "restart", "ppmproxy.service")

    fix = doctor_of(served).of("daemon", "failed")["fix"]
    said = served.runs(*fix.split()[1:])
    token.with_name("kept").rename(token)

    assert f"{token} cannot be read" in said.err
    assert doctor_of(served, f"{fix} >/dev/null").of("daemon", "ok")


# --- a second user of the machine -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def programs_for_all(wheels):
    """An environment with ppmproxy and pip, which every user may run, and uv."""
    with tempfile.TemporaryDirectory(prefix="ppm-for-all-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        subprocess.run([python_for_all(), "-m", "venv", folder / "venv"], check=True)
        pip = [folder / "venv" / "bin" / "python", "-m", "pip", "install", *FAST, "--find-links", wheels, "ppmproxy"]
        subprocess.run(pip, check=True)
        yield folder / "venv" / "bin"


@pytest.fixture
def second(person, programs_for_all, wheels):
    """Runs lines in the shell of another user of the person's machine, `daemon`, whose home is new."""
    systemd = person.systemd
    home = "/run/second-user"
    systemd.root_runs("install", "-d", "-m", "700", "-o", "daemon", "-g", "daemon", home)

    def run(*lines):
        variables = [f"HOME={home}", "USER=daemon", f"PATH={programs_for_all}:{wheels}:/usr/bin:/bin", "LANG=C.UTF-8"]
        become = ["setpriv", "--reuid=daemon", "--regid=daemon", "--clear-groups", "env", "-i", *variables]
        return systemd.root_runs(*become, "sh", "-c", "\n".join([f"cd {home}", *lines]))

    yield run
    systemd.root_runs("rm", "-rf", home)


def doctor_of_second(second, *lines):
    said = second(*lines, "ppmproxy doctor --json")
    return Report(json.loads(said.out[said.out.index("[\n") :]), said.out)


@contextlib.contextmanager
def running(second, *lines):
    """A daemon of theirs, which has ended afterwards: another one is to have its port."""
    started = second(
        *lines, "ppmproxy run >log 2>&1 & echo $! >pid; ppmproxy wait --timeout 90 || { cat log; exit 1; }"
    )
    assert started.code == 0, started
    try:
        yield
    finally:
        second("kill $(cat pid); while kill -0 $(cat pid); do sleep 0.1; done")


def test_a_second_user_reads_that_the_port_is_another_user_s_and_has_one_of_their_own_after_the_fix(served, second):
    before = doctor_of_second(second, f"export PIP_INDEX_URL={INDEX}")
    ports = [one for one in before.found if one["check"] == "port"]
    assert all("another user's ppmproxy" in one["what"] for one in ports), before.text
    assert "running" not in {one["what"].partition(" ")[2][:7] for one in before.found if one["check"] == "daemon"}
    [fix] = re.findall(r"PPMPROXY_LISTEN=\w+", ports[0]["fix"])

    settings = [f"export {fix} PPMPROXY_UPSTREAM=https://packagemanager.invalid PPMPROXY_TOKEN=x"]
    with running(second, *settings):
        after = doctor_of_second(second, *settings, 'eval "$(ppmproxy env)"')

    assert "http://127.0.0.1:20001" in after.of("daemon", "ok")["what"]  # daemon's uid is 1
    assert {one["outcome"] for one in after.found if one["check"] in {"port", "direct-index"}} == {"ok"}
    assert "packagemanager.invalid" in after.of("upstream", "failed")["what"]


def test_a_second_user_who_runs_the_proxy_reads_how_to_have_a_port(served, second):
    said = second("ppmproxy run")

    assert said.code == 4
    assert f"(uid {served.systemd.uid})" in said.err
    assert "PPMPROXY_LISTEN=auto" in said.err


def test_a_second_user_s_pip_and_uv_say_whose_proxy_it_is(served, second):
    by_pip = second(f"pip download -q --retries 0 --no-cache-dir -i {INDEX} hello")
    by_uv = second(f"uv pip install -q --no-cache --dry-run --target there --default-index {INDEX} hello")

    assert by_pip.code != 0
    assert by_uv.code != 0
    for said in (by_pip, by_uv):
        assert "user" in said.err  # which one, a service that is shut in cannot know
        assert "PPMPROXY_LISTEN=auto ppmproxy run" in said.err


def test_a_proxy_for_every_user_is_no_remark_for_a_second_one_with_their_own(served, second):
    upstream = served.package_manager.url
    served.systemd.write(".config/ppmproxy/config.toml", f'upstream = "{upstream}"\naccess = "any"\n')
    served.systemd.must("systemctl", "--user", "restart", "ppmproxy.service")
    before = doctor_of_second(second, f"export PIP_INDEX_URL={INDEX} PIP_TRUSTED_HOST=127.0.0.1")
    fix = before.of("daemon", "warning")["fix"]
    own = fix.partition("start one of your own: ")[2].removesuffix(" ppmproxy run")
    assert own == "PPMPROXY_LISTEN=auto"

    settings = [f"export {own} PPMPROXY_UPSTREAM={upstream}"]
    with running(second, *settings):
        after = doctor_of_second(second, *settings, 'eval "$(ppmproxy env)"')

    assert "proved to be this user's" in after.of("daemon", "ok")["what"]
    assert "shell-settings" not in after.faults()


# --- a container beside a job -----------------------------------------------------------------------------------------


def test_doctor_in_the_proxy_s_own_container_finds_nothing(setup):
    with setup.proxy() as name:
        ran = setup.engine.docker("exec", name, "ppmproxy", "doctor", "--json", check=False)

    report = Report(json.loads(ran.out), ran.out)
    assert ran.code == 0, ran.said
    assert report.faults() <= {"token", "cache"}, ran.said  # its file is open to all; nothing can be written here
    assert "it is running" in report.of("daemon", "ok")["what"]
    assert "taken for pypi" in report.of("token")["what"]


def test_doctor_in_a_job_beside_the_proxy_judges_the_proxy_and_says_what_it_cannot_know(setup):
    with setup.proxy() as name:
        flags = [f"--network=container:{name}", "--user=1000", f"--env=PIP_INDEX_URL={INDEX}"]
        flags += ["--env=PIP_TRUSTED_HOST=127.0.0.1"]
        ran = setup.engine.docker("run", "--rm", *flags, IMAGE, "doctor", "--json", check=False)

    report = Report(json.loads(ran.out), ran.out)
    assert ran.code == 0, ran.said
    assert report.faults() == {"cache", "daemon", "shell-settings"}, ran.said
    assert "another container" in report.of("daemon", "warning")["fix"]
    assert "packagemanager.example.com" in report.of("upstream", "ok")["what"]


# --- an authority that the system does not know -----------------------------------------------------------------------

WITH_A_STORE_OF_ITS_OWN = """
set -e
cp -a /etc/ssl "$1/ssl"; mount --bind "$1/ssl" /etc/ssl
mkdir -p /usr/local/share/ca-certificates
mount -t tmpfs tmpfs /usr/local/share/ca-certificates
cd "$1"
{fix}
exec ppmproxy doctor --json
"""


@pytest.mark.skipif("debian" not in Path("/etc/os-release").read_text(), reason="the commands are Debian's")
async def test_an_authority_is_trusted_after_the_fix_for_this_system(package_manager, ca_file, tmp_path):
    server = await package_manager()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "sudo").write_text('#!/bin/sh\nexec "$@"\n')
    (tmp_path / "bin" / "sudo").chmod(0o755)
    path = f"{tmp_path / 'bin'}:{Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin"
    settings = {"PPMPROXY_UPSTREAM": server.url, "PPMPROXY_TOKEN": server.token, "PPMPROXY_LISTEN": "127.0.0.1:7769"}
    environ = plain_environment(tmp_path, PATH=path, PIP_CONFIG_FILE="/dev/null", **settings)

    async def doctor(fix):
        script = WITH_A_STORE_OF_ITS_OWN.replace("{fix}", fix)
        folder = tmp_path / f"store-{len(fix)}"
        folder.mkdir()
        (folder / "CA.crt").write_bytes(ca_file.read_bytes())
        end = await run_program(["unshare", "--mount", "sh", "-c", script, "sh", folder], environ, tmp_path)
        return Report(json.loads(end.output[end.output.rindex("[\n  {") :]), end.output)

    advice = (await doctor(":")).of("certificate", "failed")["fix"]
    mended = await doctor(advice.partition("`")[2].partition("`")[0])

    assert "update-ca-certificates" in advice
    assert mended.of("certificate", "ok")
    assert "taken for pypi" in mended.of("token", "ok")["what"]
