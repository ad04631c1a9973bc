"""Claims about `ppmproxy exec`: which daemon a command gets, what it finds around it, how it ends."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import web
from forked_command import forked_ppmproxy
from free_ports import free_port
from processes import plain_environment, ppmproxy_run, run_program
from proxy_client import DEADLINE, leaked_forms, wait_until

from ppmproxy.testing.package_manager import wheel

pty = pytest.importorskip("pty", reason="signals and terminals as POSIX systems have them")

ASK = (
    "import json, os, sys, urllib.request\n"
    "url = os.environ['PIP_INDEX_URL']\n"
    "with urllib.request.urlopen(url + 'hello/') as answer:\n"
    "    print(json.dumps({'status': answer.status, 'url': url, 'environ': dict(os.environ)}))\n"
)
COUNT_SIGNALS = (
    "import os, select, signal, sys\n"
    "seen = []\n"
    "for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):\n"
    "    signal.signal(number, lambda number, _: (seen.append(number), os.write(1, b'got %d\\n' % number)))\n"
    "print('ready', flush=True)\n"
    "while not select.select([0], [], [], 0.05)[0]: pass\n"  # Python has no eye for a signal just before it blocks
    "sys.stdin.read()\n"
    "print('seen', *map(int, seen), flush=True)\n"
)
WAIT = "print('ready', flush=True); import sys; sys.stdin.read()"


@dataclass
class Person:
    """Somebody who runs `ppmproxy exec` in a folder of their own."""

    folder: object
    environ: dict

    def command(self, *arguments):
        return [sys.executable, "-m", "ppmproxy", "exec", *arguments]

    async def runs(self, *arguments, **environ):
        """Exit code and everything that was said."""
        end = await forked_ppmproxy(["exec", *arguments], {**self.environ, **environ}, self.folder)
        assert "Traceback" not in end.output
        return end

    @contextlib.asynccontextmanager
    async def running(self, *arguments, **environ):
        """The command under way, with pipes to and from it."""
        process = await asyncio.create_subprocess_exec(
            *self.command(*arguments),
            env={**self.environ, **environ},
            cwd=self.folder,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await asyncio.wait_for(process.communicate(), DEADLINE)


@pytest.fixture
async def server(package_manager):
    started = await package_manager(base_path="/rspm", device_interval=1)
    started.add(wheel("hello"))
    return started


@pytest.fixture
def person(server, ca_file, tmp_path):
    """With settings that lead to the fake Package Manager, its token, and a port that is free."""
    (tmp_path / "home").mkdir()
    (tmp_path / "runtime").mkdir(mode=0o700)
    environ = plain_environment(
        tmp_path / "home",
        XDG_RUNTIME_DIR=str(tmp_path / "runtime"),
        PPMPROXY_UPSTREAM=server.url,
        PPMPROXY_CA_FILE=str(ca_file),
        PPMPROXY_TOKEN=server.token,
        PPMPROXY_LISTEN=f"127.0.0.1:{free_port()}",
    )
    return Person(tmp_path / "home", environ)


def python(program):
    return ("--", sys.executable, "-c", program)


def answer_in(output):
    """What `ASK` printed."""
    return json.loads(next(line for line in output.splitlines() if line.startswith("{")))


# --- exit codes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (("true",), 0),
        (("--", "sh", "-c", "exit 7"), 7),
        (("--", "sh", "-c", "kill -KILL $$"), 128 + 9),
        (("--", "sh", "-c", "kill -SEGV $$"), 128 + 11),
        (("--", "no-such-program-here"), 127),
        (("--", "/etc"), 126),
        (("--", "/etc/passwd/x"), 126),
    ],
)
async def test_the_exit_code_is_the_command_s(person, command, code):
    end = await person.runs(*command)

    assert end.code == code


async def test_no_command_at_all_is_a_mistake_in_the_use(person):
    end = await person.runs()

    assert end.code == 2
    assert len(end.output.splitlines()) == 2


async def test_the_command_s_own_arguments_are_left_alone(person):
    program = "import sys; print(sys.argv[1:])"

    end = await person.runs(*python(program), "--repo", "x", "--", "--help", "")

    assert end.output.strip() == "['--repo', 'x', '--', '--help', '']"


# --- the daemon -------------------------------------------------------------------------------------------------------


async def test_a_proxy_of_its_own_on_the_fixed_port_serves_the_command(person, server):
    end = await person.runs(*python(ASK))

    said = answer_in(end.output)
    assert end.code == 0
    assert said["status"] == 200
    assert said["url"] == f"http://{person.environ['PPMPROXY_LISTEN']}/pypi/latest/simple/"
    assert len(end.output.splitlines()) == 1
    assert server.requests_for("/rspm/pypi/latest/simple/hello/")


async def test_the_variables_of_env_are_set_and_no_token_is_in_them(person, server):
    end = await person.runs(*python(ASK), PACKAGEMANAGER_TOKEN="other", HTTP_PROXY="http://127.0.0.1:1", NO_PROXY="a.b")

    environ = answer_in(end.output)["environ"]
    url = answer_in(end.output)["url"]
    assert {name: environ[name] for name in ("UV_DEFAULT_INDEX", "PDM_PYPI_URL", "PPM_URL")} == {
        "UV_DEFAULT_INDEX": url,
        "PDM_PYPI_URL": url,
        "PPM_URL": url,
    }
    assert environ["PIP_TRUSTED_HOST"] == "127.0.0.1"
    assert environ["NO_PROXY"] == "a.b,localhost,127.0.0.1,::1"
    assert "PPMPROXY_TOKEN" not in environ
    assert "PACKAGEMANAGER_TOKEN" not in environ
    assert leaked_forms(server.token, end.output) == []


async def test_a_named_repository_of_r_is_that_of_its_clients(person, server):
    end = await person.runs("--r-repo", "prod", *python(ASK))

    environ = answer_in(end.output)["environ"]
    url = f"http://{person.environ['PPMPROXY_LISTEN']}/prod/latest"
    assert environ["RENV_CONFIG_REPOS_OVERRIDE"] == environ["PKG_CRAN_MIRROR"] == environ["_PPMPROXY_R_CRAN"] == url
    assert Path(environ["R_PROFILE_USER"]).is_file()


async def test_the_repositories_of_a_renv_lock_below_the_upstream_lead_here(person, server):
    lock = {"R": {"Repositories": [{"Name": "CRAN", "URL": f"{server.url}/prod/latest"}]}}
    (person.folder / "renv.lock").write_text(json.dumps(lock))

    end = await person.runs(*python(ASK))

    environ = answer_in(end.output)["environ"]
    assert environ["RENV_CONFIG_REPOS_OVERRIDE"] == f"http://{person.environ['PPMPROXY_LISTEN']}/prod/latest"


async def test_a_token_s_variable_that_the_settings_name_is_hidden_too(person, server):
    credentials = '[{from = "env", variable = "MY_TOKEN"}]'

    end = await person.runs(*python(ASK), PPMPROXY_CREDENTIALS=credentials, MY_TOKEN=server.token)

    assert answer_in(end.output)["status"] == 200
    assert "MY_TOKEN" not in answer_in(end.output)["environ"]


@pytest.mark.parametrize(("audience", "is_there"), [("packagemanager", False), ("", True)])
async def test_what_github_hands_to_a_job_is_hidden_where_a_token_is_asked_for_with_it(person, audience, is_there):
    end = await person.runs(*python(ASK), PPMPROXY_AUDIENCE=audience, ACTIONS_ID_TOKEN_REQUEST_TOKEN="of-the-job")

    assert ("ACTIONS_ID_TOKEN_REQUEST_TOKEN" in answer_in(end.output)["environ"]) is is_there


async def test_the_token_is_kept_for_the_command_when_that_is_asked_for(person, server):
    end = await person.runs("--keep-token", *python(ASK))

    assert answer_in(end.output)["environ"]["PPMPROXY_TOKEN"] == server.token


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
async def test_the_token_is_in_no_environment_that_others_may_look_into(person, server):
    async with person.running(*python("import os; print(os.getpid(), flush=True); input()")) as process:
        pid = int(await asyncio.wait_for(process.stdout.readline(), DEADLINE))
        environ = Path(f"/proc/{pid}/environ").read_text()
        process.stdin.write(b"\n")
        assert await asyncio.wait_for(process.wait(), DEADLINE) == 0

    assert "PIP_INDEX_URL=" in environ
    assert leaked_forms(server.token, environ) == []


async def test_a_repository_and_a_snapshot_may_be_chosen(person):
    end = await person.runs(
        "--repo", "other", "--snapshot", "2026-01-01", *python("import os; print(os.environ['PPM_URL'])")
    )

    assert end.output.strip().endswith("/other/2026-01-01/simple/")


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


async def test_a_second_index_of_pip_is_replaced_or_reported(person, server):
    conf = person.folder / ".config/pip/pip.conf"
    conf.parent.mkdir(parents=True)
    conf.write_text(f"[global]\nextra-index-url = {server.url}/other/latest/simple\n    https://other.example.com/s\n")

    end = await person.runs(*python("import os; print(os.environ['PIP_EXTRA_INDEX_URL'])"), PIP_CONFIG_FILE="")

    listen = person.environ["PPMPROXY_LISTEN"]
    assert f"http://{listen}/other/latest/simple https://other.example.com/s" in end.output
    assert "names a second index, https://other.example.com: pip takes packages from there, too" in end.output


async def test_second_indexes_and_keyrings_of_the_shell_are_dropped_with_one_line(person):
    left = {
        "UV_INDEX": "other=https://other.example.com/simple",
        "PIP_EXTRA_INDEX_URL": "https://other.example.com/simple",
        "UV_KEYRING_PROVIDER": "subprocess",
    }

    end = await person.runs(*python(f"import os; print([one for one in {list(left)} if one in os.environ])"), **left)

    assert "[]" in end.output
    [line] = [line for line in end.output.splitlines() if line.startswith("ppmproxy: ")]
    assert "PIP_EXTRA_INDEX_URL (https://other.example.com), UV_INDEX (https://other.example.com)" in line
    assert "UV_KEYRING_PROVIDER" in line


# --- the project's files ----------------------------------------------------------------------------------------------

UV = Path(sys.executable).with_name("uv")
PROJECT = """\
[project]
name = "team"
version = "1"
requires-python = ">=3.10"

[[tool.uv.index]]
name = "company"
url = "{base}/pypi/latest/simple/"
default = true
"""


@pytest.fixture
def project(person, server):
    """A project with uv whose index is the Package Manager itself."""
    if not UV.exists():
        pytest.skip("uv is not installed: python -m pip install uv")
    (person.folder / ".git").mkdir()
    (person.folder / "pyproject.toml").write_text(PROJECT.format(base=server.url))
    person.environ |= {"UV_PYTHON": sys.executable, "UV_PYTHON_DOWNLOADS": "never", "UV_NO_PROGRESS": "1"}
    return person


def uv(*words):
    return ("--", str(UV), *words, "--no-sync", "--no-cache")


async def test_files_that_the_command_made_name_the_proxy_are_named_on_one_line(project):
    end = await project.runs(*uv("add", "hello"))

    note = [line for line in end.output.splitlines() if line.startswith("ppmproxy:")]
    assert end.code == 0
    assert len(note) == 1
    assert "pyproject.toml, uv.lock now name the proxy" in note[0]
    assert "ppmproxy lock canonical" in note[0]


async def test_a_command_that_leaves_the_project_alone_has_no_such_line(project):
    (project.folder / "uv.lock").write_text(f'url = "http://{project.environ["PPMPROXY_LISTEN"]}/x"\n')

    end = await project.runs("true")

    assert (end.code, end.output) == (0, "")


async def test_canonical_lock_keeps_every_file_of_a_project_the_package_manager_s(project, server):
    end = await project.runs("--canonical-lock", *uv("add", "hello"))

    texts = {name: (project.folder / name).read_text() for name in ("pyproject.toml", "uv.lock")}
    assert end.code == 0
    assert not [line for line in end.output.splitlines() if line.startswith("ppmproxy:")]
    assert f'url = "{server.url}/pypi/latest/simple/"' in texts["pyproject.toml"]
    assert f"{server.url}/pypi/latest/" in texts["uv.lock"]
    assert not any(
        "127.0.0.1:" + project.environ["PPMPROXY_LISTEN"].rpartition(":")[2] in one for one in texts.values()
    )


async def test_canonical_lock_ends_canonical_when_the_command_changes_nothing(project, server):
    file = project.folder / "uv.lock"
    file.write_text(f'url = "http://{project.environ["PPMPROXY_LISTEN"]}/pypi/latest/simple/"\n')

    end = await project.runs("--canonical-lock", "true")

    assert (end.code, end.output) == (0, "")
    assert file.read_text() == f'url = "{server.url}/pypi/latest/simple/"\n'


async def test_an_explicit_index_that_is_the_package_manager_leads_here(project, server):
    """Without the variable uv would ask the Package Manager itself, which refuses it."""
    base = f"{server.url}/pypi/2026-01-01/simple/"
    (project.folder / "pyproject.toml").write_text(
        PROJECT.format(base=server.url).partition("[[")[0]
        + 'dependencies = ["hello"]\n\n[tool.uv.sources]\nhello = { index = "company" }\n\n'
        + f'[[tool.uv.index]]\nname = "company"\nurl = "{base}"\nexplicit = true\n'
    )

    end = await project.runs("--canonical-lock", "--", str(UV), "lock", "--no-cache")
    seen = await project.runs(*python("import os; print(os.environ['UV_INDEX'])"))

    assert end.code == 0
    assert base in (project.folder / "uv.lock").read_text()
    assert seen.output.splitlines()[0] == f"company=http://{project.environ['PPMPROXY_LISTEN']}/pypi/2026-01-01/simple/"


async def test_a_script_that_uv_adds_to_is_named_and_kept_canonical(project, server):
    script = project.folder / "tool.py"
    script.write_text("import hello\n")

    named = await project.runs(*uv("add", "hello", "--script", "tool.py"))
    kept = await project.runs("--canonical-lock", "true")

    assert "tool.py now names the proxy" in named.output
    assert (kept.code, kept.output) == (0, "")
    assert f'url = "{server.url}/pypi/latest/simple/"' in script.read_text()


# --- signals ----------------------------------------------------------------------------------------------------------


async def ready(process):
    assert await asyncio.wait_for(process.stdout.readline(), DEADLINE) == b"ready\n"


@pytest.mark.parametrize("to_group", [False, True], ids=["to exec alone", "to its process group"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_ends_the_command_and_then_exec(person, number, to_group):
    async with person.running(
        *python(f"import signal; signal.signal({int(number)}, signal.SIG_DFL); {WAIT}")
    ) as process:
        await ready(process)
        (os.killpg if to_group else os.kill)(process.pid, number)

        assert await asyncio.wait_for(process.wait(), DEADLINE) == 128 + number

        with socket.create_server(tuple_of(person.environ["PPMPROXY_LISTEN"])):
            pass  # the proxy has ended with it


def tuple_of(listen):
    host, _, port = listen.partition(":")
    return host, int(port)


@pytest.mark.parametrize("to_group", [False, True], ids=["to exec alone", "to its process group"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_a_command_gets_a_signal_once_and_may_go_on(person, number, to_group):
    async with person.running(*python(COUNT_SIGNALS)) as process:
        await ready(process)
        (os.killpg if to_group else os.kill)(process.pid, number)
        assert await asyncio.wait_for(process.stdout.readline(), DEADLINE) == f"got {int(number)}\n".encode()
        process.stdin.close()

        out, err = await asyncio.wait_for(process.communicate(), DEADLINE)

    assert process.returncode == 0
    assert out.decode() == f"seen {int(number)}\n"
    assert err == b""


@contextlib.contextmanager
def at_a_terminal(person, program):
    """The command in the foreground of a terminal of its own: its process, and the terminal's other end."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(person.folder)
        command = person.command(*python(program))
        os.execve(command[0], command, {**person.environ, "PYTHONWARNINGS": "ignore"})
    try:
        yield pid, terminal
    finally:
        with contextlib.suppress(ChildProcessError):  # it has ended, as it should have
            if not os.waitpid(pid, os.WNOHANG)[0]:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
        os.close(terminal)


async def test_ctrl_c_at_a_terminal_ends_the_command_and_the_proxy_with_130(person):
    with at_a_terminal(person, WAIT) as (pid, terminal):
        await until_said(terminal, b"", b"ready")
        os.write(terminal, b"\x03")

        said = await until_gone(terminal)
        _, status = await asyncio.to_thread(os.waitpid, pid, 0)

    assert os.waitstatus_to_exitcode(status) == 130
    assert b"KeyboardInterrupt" in said  # the command's own words: Python got the signal, and not we alone
    assert b"ppmproxy" not in said
    with socket.create_server(tuple_of(person.environ["PPMPROXY_LISTEN"])):
        pass


async def until_gone(terminal):
    """Everything that is said until nobody is at the terminal any more."""
    said = b""
    with contextlib.suppress(OSError):  # EIO: that is how Linux says so
        while piece := await asyncio.wait_for(asyncio.to_thread(os.read, terminal, 4096), DEADLINE):
            said += piece
    return said


async def test_ctrl_c_at_a_terminal_reaches_the_command_once(person):
    """The key itself: the kernel sends the signal to the whole foreground."""
    with at_a_terminal(person, COUNT_SIGNALS) as (pid, terminal):
        said = await until_said(terminal, b"", b"ready")
        os.write(terminal, b"\x03")
        said = await until_said(terminal, said, b"got 2")
        os.write(terminal, b"\x04")
        said = await until_said(terminal, said, b"seen 2\r\n")
        _, status = await asyncio.to_thread(os.waitpid, pid, 0)

    assert os.waitstatus_to_exitcode(status) == 0
    assert said.count(b"got 2") == 1


async def until_said(terminal, said, words):
    while words not in said:
        said += await asyncio.wait_for(asyncio.to_thread(os.read, terminal, 4096), DEADLINE)
    return said


async def test_a_signal_that_is_ignored_stays_so_for_the_command(person):
    program = "import signal; print(signal.getsignal(signal.SIGHUP) == signal.SIG_IGN)"
    command = ["sh", "-c", 'trap "" HUP; exec "$@"', "sh", *person.command(*python(program))]

    end = await run_program(command, person.environ, person.folder)

    assert end.output.strip() == "True"
