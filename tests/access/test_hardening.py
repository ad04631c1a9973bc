"""Claims about the daemon's process: what it holds and writes is for its user alone."""

import asyncio
import json
import os
import shutil
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import real_users
from downloads import skip_or_fail
from processes import START_DEADLINE, plain_environment, ppmproxy_run, run_program

from ppmproxy.access.hardening import WANTED_FILES, open_file_limit

resource = pytest.importorskip("resource", reason="there are no such limits on Windows")
two_users = real_users.two_users


def outcome_of(program, **more):
    """What a program says as JSON; in a process of its own, for all this cannot be undone."""
    command = [sys.executable, "-c", textwrap.dedent(program)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True, timeout=120, **more).stdout)


def test_the_files_that_it_writes_are_for_its_user_alone(tmp_path):
    program = """
        import json, os
        from pathlib import Path
        from ppmproxy.access.hardening import harden
        os.umask(0)
        harden()
        Path("file").touch()
        Path("folder").mkdir()
        print(json.dumps([Path("file").stat().st_mode, Path("folder").stat().st_mode]))
    """

    file, folder = outcome_of(program, cwd=tmp_path)

    assert (stat.S_IMODE(file), stat.S_IMODE(folder)) == (0o600, 0o700)


def test_it_leaves_no_core_file():
    program = """
        import json, resource
        from ppmproxy.access.hardening import harden
        harden()
        print(json.dumps(resource.getrlimit(resource.RLIMIT_CORE)))
    """

    assert outcome_of(program) == [0, 0]


@pytest.mark.skipif(sys.platform != "linux", reason="what is dumpable is Linux's")
def test_it_is_not_dumpable_and_still_knows_who_is_who():
    """The files below /proc/self belong to root from then on; nothing that the daemon needs may depend on that."""
    program = """
        import ctypes, encodings.idna, json, os, socket, stringprep
        from ppmproxy.access.peer_credentials import PeerUids
        from ppmproxy.access.hardening import harden
        os.setuid(12345) if os.geteuid() == 0 else None
        harden()
        peers, listener = PeerUids(), socket.create_server(("127.0.0.1", 0))
        ours, theirs = socket.socketpair()
        dumpable = ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)
        print(json.dumps([dumpable, peers.unavailable_reason([listener]), peers.uid_of(ours) == os.geteuid()]))
    """

    assert outcome_of(program) == [0, "", True]


def test_the_limit_of_open_files_is_raised():
    program = """
        import json, resource
        from ppmproxy.access.hardening import raise_file_limit, open_file_limit
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        before = open_file_limit()
        raise_file_limit()
        print(json.dumps([before, open_file_limit(), hard]))
    """

    before, after, hard = outcome_of(program)

    assert before == 256
    assert after == (WANTED_FILES if hard == resource.RLIM_INFINITY else min(hard, WANTED_FILES))


def test_a_limit_that_is_high_enough_is_left_alone():
    program = """
        import json, resource
        from ppmproxy.access.hardening import raise_file_limit
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        raised = limits[1] if limits[1] != resource.RLIM_INFINITY else 100_000
        resource.setrlimit(resource.RLIMIT_NOFILE, (raised, limits[1]))
        raise_file_limit()
        print(json.dumps([raised, resource.getrlimit(resource.RLIMIT_NOFILE)[0]]))
    """

    before, after = outcome_of(program)

    assert before == after
    assert open_file_limit() <= WANTED_FILES


# --- the daemon's own process -----------------------------------------------------------------------------------------


@pytest.fixture
def unprivileged():
    """What a program is started through so that it has none of the rights of root."""
    if sys.platform != "linux" or shutil.which("setpriv") is None:
        skip_or_fail("what a process may look into cannot be limited", "run this on Linux, with util-linux")
    return ["setpriv", "--bounding-set=-all"] if os.geteuid() == 0 else []


def can_be_looked_into(pid, unprivileged):
    """Whether another process of the same user may read what is in this one."""
    command = [*unprivileged, "cat", f"/proc/{pid}/environ"]
    return subprocess.run(command, check=False, capture_output=True, timeout=120).returncode == 0


@pytest.mark.real
async def test_the_running_daemon_is_closed_to_view(unprivileged, tmp_path):
    async with ppmproxy_run(tmp_path, command=tuple(unprivileged)) as running:
        pid = running.server.process.pid
        limits = Path(f"/proc/{pid}/limits").read_text()
        [umask] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("Umask:")]

        assert not can_be_looked_into(pid, unprivileged)
        assert limits.partition("Max core file size")[2].split()[:2] == ["0", "0"]
        assert umask.split() == ["Umask:", "0077"]


@pytest.mark.real
async def test_so_is_exec_and_its_command_is_as_open_as_it_was_with_the_person_s_own_umask(unprivileged, tmp_path):
    program = "import os; print(os.getpid(), oct(os.umask(0)), flush=True); input()"
    command = [*unprivileged, sys.executable, "-m", "ppmproxy", "exec", "--", sys.executable, "-c", program]
    environ = plain_environment(tmp_path, PPMPROXY_LISTEN="[::1]:0,127.0.0.1:0", PPMPROXY_UPSTREAM="http://127.0.0.1:1")
    process = await asyncio.create_subprocess_exec(
        *command, env=environ, cwd=tmp_path, umask=0o027, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    pid, umask = (await asyncio.wait_for(process.stdout.readline(), START_DEADLINE)).split()

    seen = can_be_looked_into(process.pid, unprivileged), can_be_looked_into(int(pid), unprivileged)

    await asyncio.wait_for(process.communicate(b"\n"), START_DEADLINE)
    assert seen == (False, True)
    assert int(umask, 8) == 0o027


@pytest.mark.real
async def test_the_command_of_exec_cannot_read_the_token_that_exec_was_given(unprivileged, tmp_path):
    program = "import os, pathlib; print(os.environ['PIP_INDEX_URL'], flush=True); "
    program += "print(pathlib.Path(f'/proc/{os.getppid()}/environ').read_bytes())"
    command = [*unprivileged, sys.executable, "-m", "ppmproxy", "exec", "--", sys.executable, "-c", program]
    settings = {"PPMPROXY_UPSTREAM": "http://127.0.0.1:1"}
    async with ppmproxy_run(tmp_path, command=tuple(unprivileged), **settings) as running:
        environ = plain_environment(tmp_path / "home-of-the-proxy", **settings, PPMPROXY_TOKEN="s3cret-token")
        end = await run_program(command, environ, tmp_path)

    assert running.url in end.output  # the daemon that was running already
    assert "PermissionError" in end.output
    assert "s3cret-token" not in end.output


def test_a_command_hides_its_memory_before_the_first_slow_import():
    program = """
        import atexit, ctypes, json, sys
        dumpable = []
        atexit.register(lambda: print(json.dumps(dumpable[:6]), file=sys.__stdout__, flush=True))

        class Finder:
            def find_spec(self, name, path=None, target=None):
                if name == "ppmproxy.cli.main":
                    dumpable.append(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))
                elif name.startswith("ppmproxy."):
                    dumpable.append(name)

        sys.meta_path.insert(0, Finder())
        from ppmproxy.__main__ import main
        sys.argv[1:] = ["--version"]
        sys.stdout = sys.stderr
        main()
    """

    before = ["ppmproxy.__main__", "ppmproxy.cli", "ppmproxy.cli.interrupts", "ppmproxy.access"]
    assert outcome_of(program) == [*before, "ppmproxy.access.hardening", 0]


@pytest.mark.real
def test_not_even_another_process_of_the_same_user_can_read_its_memory(two_users):
    user, _ = two_users
    program = f"""
        import ctypes, json, os
        from ppmproxy.access.hardening import harden
        os.setgid({user.uid}), os.setuid({user.uid})
        ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # as if it had been this user's from its start
        readable = []
        for hardens in (False, True):
            ready, done = os.pipe(), os.pipe()
            child = os.fork()
            if not child:
                if hardens:
                    harden()
                os.write(ready[1], b"x")
                os.read(done[0], 1)
                os._exit(0)
            os.read(ready[0], 1)
            for name in ("mem", "environ"):
                try:
                    open(f"/proc/{{child}}/{{name}}", "rb").close()
                    readable.append(True)
                except PermissionError:
                    readable.append(False)
            os.write(done[1], b"x")
            os.waitpid(child, 0)
        print(json.dumps(readable))
    """

    assert outcome_of(program) == [True, True, False, False]
