"""Claims about doctor's fixes for the daemon: another version, silence, users that it cannot tell apart, settings.

Each fault is made to appear, what the fix says is done, and then nothing is found. The quick ones are in
`tests/cli/doctor`, those of a service, a second user and a container in `test_doctor_set_ups`.
"""

# ruff: noqa: F811 - the names of fixtures

import contextlib
import os
import shutil
import sys
from pathlib import Path

import pytest
from downloads import skip_or_fail
from examined_person import configured, person, server, shell  # noqa: F401 - fixtures
from free_ports import free_port
from processes import run_program, running_server

import ppmproxy
from ppmproxy.testing.package_manager import Trickle

pytestmark = [pytest.mark.real, pytest.mark.timeout(1800)]  # the life of a token, and waits for a busy machine

RUN = ["ppmproxy", "run"]
ASK = "import sys, urllib.request as r; r.urlopen(sys.argv[1]).read()"
PASS_LISTENERS = """
import os, socket, sys
listeners = [socket.create_server((sys.argv[1], int(sys.argv[2]))), socket.socket(socket.AF_UNIX)]
listeners[1].bind(sys.argv[3])
for number, listener in enumerate(listeners, 3):
    listener.listen()
    os.dup2(os.dup(listener.fileno()), number) if listener.fileno() != number else os.set_inheritable(number, True)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "2"}
os.execvp("unshare", ["unshare", "--net", "ppmproxy", "run"])
"""


@contextlib.asynccontextmanager
async def daemon(person, *command, **environ):
    """A daemon of the person's, with these variables besides; it may be ended meanwhile."""
    async with running_server([*(command or RUN)], person.environ | environ, person.project) as server:
        await server.line_with("daemon_listening")
        yield server


@pytest.fixture
def at_home(configured, shell):
    """The person, with a folder for the daemon's proof."""
    runtime = configured.home.parent / "runtime"
    runtime.mkdir(mode=0o700)
    configured.environ["XDG_RUNTIME_DIR"] = str(runtime)
    return configured


async def pasted(person, line):
    end = await run_program(["/bin/sh", "-c", line], person.environ, person.project)
    assert end.code == 0, end.output


def index_of(person):
    return f"http://{person.environ['PPMPROXY_LISTEN'].partition(',')[0]}/pypi/latest/simple/pip/"


async def asked(person):
    """A client asks for a page, and gets it or not."""
    await run_program([sys.executable, "-c", ASK, index_of(person)], person.environ, person.project)


# --- another version --------------------------------------------------------------------------------------------------


async def test_a_daemon_of_another_version_is_no_remark_after_the_restart(at_home, tmp_path):
    old = tmp_path / "old"
    shutil.copytree(Path(ppmproxy.__file__).parent, old / "ppmproxy", ignore=shutil.ignore_patterns("__pycache__"))
    (old / "ppmproxy-0.0.1.dist-info").mkdir()
    (old / "ppmproxy-0.0.1.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: ppmproxy\nVersion: 0.0.1\n"
    )
    older = [sys.executable, "-m", "ppmproxy", "run"]
    async with daemon(at_home, *older, PYTHONPATH=str(old)):
        found = (await at_home.doctor()).of("daemon", "warning")
        assert found["what"].startswith("it runs version 0.0.1, and this command is version ")
        stop, _, start = found["fix"].partition(" && ")
        await pasted(at_home, stop)

    async with daemon(at_home, *start.split()):
        assert (await at_home.doctor()).faults() == set()


# --- silence ----------------------------------------------------------------------------------------------------------


async def test_a_package_manager_that_was_silent_is_no_remark_once_it_is_tried_again(at_home, server):
    async with daemon(at_home):
        await server.close()
        await asked(at_home)
        fix = (await at_home.doctor()).of("daemon", "warning")["fix"]
        assert fix.startswith("where `upstream` and `certificate` are ok below, try again; ")

        await server.start()
        tried = await at_home.doctor()
        await asked(at_home)
        again = await at_home.doctor()

    assert tried.of("upstream", "ok")
    assert tried.of("certificate", "ok")
    assert again.faults() == set()


async def test_a_daemon_that_lacks_an_authority_is_mended_by_starting_it_anew(at_home, server):
    ca_file = at_home.environ.pop("PPMPROXY_CA_FILE")
    async with daemon(at_home):
        await asked(at_home)
        at_home.environ["PPMPROXY_CA_FILE"] = ca_file
        fix = (await at_home.doctor()).of("daemon", "warning")["fix"]
        stop, _, start = fix.rpartition("start it anew: ")[2].partition(" && ")
        await pasted(at_home, stop)

    async with daemon(at_home, *start.split()):
        await asked(at_home)
        assert (await at_home.doctor()).faults() == set()


async def until(person, check, *outcomes):
    """The finding of a check once a client's requests have brought it to one of these outcomes."""
    while True:
        await asked(person)
        found = [one for one in (await person.doctor()).found if one["check"] == check and one["outcome"] in outcomes]
        if found:
            return found[0]


async def test_a_token_that_was_not_renewed_is_renewed_once_its_source_is_corrected(at_home, server):
    del at_home.environ["PPMPROXY_TOKEN"]
    file = at_home.has("token", server.issue_token(lifetime=90))
    at_home.environ["PPMPROXY_CREDENTIALS"] = f'[{{from = "command", argv = ["cat", "{file}"]}}]'
    async with daemon(at_home):
        await asked(at_home)
        file.unlink()
        while (found := await until(at_home, "token", "warning", "failed"))["outcome"] == "failed":
            file.write_text(server.issue_token(lifetime=90))  # its last 18 seconds went by while the machine was busy
            await until(at_home, "token", "ok")
            file.unlink()
        assert "could not be renewed" in found["what"]
        assert found["fix"] == "correct that; the daemon then tries again by itself, at the latest after a minute"

        file.write_text(server.issue_token(lifetime=3600))
        while "token" in (await at_home.doctor()).faults():
            await asked(at_home)


async def test_a_package_manager_that_takes_too_long_is_found_once_the_network_is_faster(configured, server):
    server.add_fault("*/__api__/status", Trickle(every=2.0))
    fix = (await configured.doctor()).of("upstream", "failed")["fix"]
    assert fix == "check the network, the VPN and the upstream's url"

    server.clear_faults()

    assert (await configured.doctor()).faults() == set()


# --- a daemon that cannot prove whose it is is judged by what it reports ----------------------------------------------


@pytest.fixture
async def unproved(at_home, tmp_path, server):
    """Its proof is in another folder than the commands look into, and they have no settings for the Package Manager."""
    (tmp_path / "hidden").mkdir(mode=0o700)
    own = {"PPMPROXY_UPSTREAM", "PPMPROXY_CA_FILE", "PPMPROXY_TOKEN"}
    settings = {name: at_home.environ.pop(name) for name in own}
    settings |= {"XDG_RUNTIME_DIR": str(tmp_path / "hidden"), "PPMPROXY_SIGN_IN": "never"}
    return settings


async def test_silence_that_a_daemon_reports_is_over_once_the_network_is_there(at_home, server, unproved):
    async with daemon(at_home, **unproved):
        await server.close()
        await asked(at_home)
        fix = (await at_home.doctor()).of("upstream", "failed")["fix"]
        assert fix == "check the network, the VPN and its url"

        await server.start()
        await asked(at_home)

        assert (await at_home.doctor()).faults() == {"shell-settings"}


async def test_a_token_that_a_daemon_reports_as_missing_is_there_after_a_sign_in(at_home, server, unproved):
    del unproved["PPMPROXY_TOKEN"]
    async with daemon(at_home, **unproved):
        await asked(at_home)
        found = await at_home.doctor()
        assert found.of("token", "warning")["fix"] == "ppmproxy login"
        for_it = found.of("shell-settings", "warning")["fix"].removeprefix("export ").split("=", 1)

        at_home.environ |= {for_it[0]: for_it[1], "PPMPROXY_CA_FILE": unproved["PPMPROXY_CA_FILE"]}
        await at_home.signs_in(server)
        await asked(at_home)

        assert (await at_home.doctor()).faults() == set()


# --- other settings ---------------------------------------------------------------------------------------------------


async def test_uploads_of_the_daemon_are_no_remark_after_the_fix(at_home, shell):
    async with daemon(at_home, PPMPROXY_UPLOADS="false"):
        wanted = {"PPMPROXY_UPLOADS": "true", "PPMPROXY_CREDENTIALS": '[{from = "env"}]'}
        fix = (await shell(**wanted)).of("shell-settings", "warning")["fix"].partition("; or ")[0]
        assert fix == "export PPMPROXY_UPLOADS=false"

        assert (await shell(fix, **wanted)).faults() == set()


async def test_several_package_managers_of_the_daemon_are_no_remark_with_its_file(at_home, server, shell):
    upstream = [at_home.environ.pop(name) for name in ("PPMPROXY_UPSTREAM", "PPMPROXY_CA_FILE")]
    table = '[upstream.{0}]\nurl = "{1}"\nca_file = "{2}"\n'
    file = at_home.has("two.toml", table.format("default", *upstream) + table.format("two", upstream[0], upstream[1]))
    async with daemon(at_home, PPMPROXY_CONFIG=str(file)):
        fix = (await shell()).of("shell-settings", "warning")["fix"]
        assert fix == "export PPMPROXY_CONFIG=FILE, with the file that the daemon was started with"

        assert (await shell(f"export PPMPROXY_CONFIG={file}")).faults() == set()


async def test_a_daemon_elsewhere_takes_the_settings_of_the_shell_after_the_fix(at_home, shell):
    elsewhere = f"127.0.0.1:{free_port()}"
    async with daemon(at_home, PPMPROXY_LISTEN=elsewhere, PPMPROXY_UPSTREAM="https://packagemanager.invalid"):
        fix = (await shell()).of("shell-settings", "warning")["fix"]
        kill, _, start = fix.partition("take those of this shell: ")[2].partition(", then ")
        await pasted(at_home, f"{kill}; while {kill.replace('kill', 'kill -0')} 2>/dev/null; do :; done")

    async with daemon(at_home, *start.split()):
        assert (await shell()).faults() == set()


# --- users that cannot be told apart ----------------------------------------------------------------------------------


def needs_namespaces():
    if sys.platform != "linux" or os.geteuid() != 0 or shutil.which("unshare") is None:
        skip_or_fail("no namespace can be made here", "run the tests as root on Linux, with util-linux")


async def test_a_daemon_that_refuses_everybody_is_mended_by_access_for_any(at_home):
    needs_namespaces()
    async with daemon(at_home, "unshare", "--user", *RUN) as server:
        report = await at_home.doctor()
        found = report.of("access", "failed")
        assert "this user's ppmproxy, which cannot tell users apart" in found["what"]
        end, _, start = found["fix"].partition(", then ")
        assert end == f"kill {server.process.pid}"
        assert 'or with access = "any"' in start
        assert "daemon" not in {one["check"] for one in report.found}
        await pasted(at_home, f"{end}; while {end.replace('kill', 'kill -0')} 2>/dev/null; do :; done")

    async with daemon(at_home, "unshare", "--user", *RUN, PPMPROXY_ACCESS="any"):
        assert (await at_home.doctor()).faults() == set()


@pytest.mark.parametrize("fix", ["start it with a Unix socket alone in listen", 'access = "any"'])
async def test_a_daemon_that_sees_users_at_its_unix_socket_alone_is_mended_by_either_fix(at_home, tmp_path, fix):
    """As one of systemd's sockets in a service with a network of its own."""
    needs_namespaces()
    host, _, port = at_home.environ["PPMPROXY_LISTEN"].rpartition(":")
    path = tmp_path / "s"
    both = f"{host}:{port},unix:{path}"
    at_home.environ["PPMPROXY_LISTEN"] = both
    start = [sys.executable, "-c", PASS_LISTENERS, host, port, str(path)]
    async with daemon(at_home, *start):
        found = (await at_home.doctor()).of("access", "warning")
        assert "other users cannot be told apart" in found["what"]
        assert fix in found["fix"]
    path.unlink(missing_ok=True)
    if "Unix" in fix:
        at_home.environ["PPMPROXY_LISTEN"] = f"unix:{path}"
        start = RUN
    else:
        at_home.environ["PPMPROXY_ACCESS"] = "any"

    async with daemon(at_home, *start):
        assert "access" not in (await at_home.doctor()).faults()
