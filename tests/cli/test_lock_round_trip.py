"""Claims about `exec --canonical-lock`: lock files are local for the command alone, and other people's changes stay."""

import os
import sys
import time
from pathlib import Path

import pytest
from processes import plain_environment, run_program

from ppmproxy.cli.lock_round_trip import LockFileError, Project, with_local_locks
from ppmproxy.config.local_address import TcpAddress
from ppmproxy.config.model import Settings, Upstream

UPSTREAM = "https://pm.example.com/rspm"
OURS = "http://127.0.0.1:7761"
SETTINGS = Settings(listen=(TcpAddress("127.0.0.1", 7761),), upstreams=(Upstream(url=UPSTREAM, configured=True),))
FILES = {
    "uv.lock": 'version = 1\r\nsource = { registry = "BASE/pypi/latest/simple/" }\n',
    "pylock.toml": 'index = "BASE/pypi/latest/simple/"\n',
    "poetry.lock": 'url = "BASE/pypi/latest/simple"\n',
    "pdm.lock": 'url = "BASE/pypi/latest/packages/1/a.whl"\n',
    "Pipfile.lock": '{"url": "BASE/pypi/latest/simple"}\n',
    "requirements.txt": "-i BASE/pypi/latest/simple/\nTRUSTEDsix==1.0\n",
}


def text_of(name, base):
    trusted = "--trusted-host 127.0.0.1\n" if base == OURS else ""
    return FILES[name].replace("BASE", base).replace("TRUSTED", trusted).encode()


class Told(list):
    """What the person was told of."""

    def __call__(self, error):
        self.append(error)


def run(folder, command, told=None, hours=0):
    """With the machine's clock some hours off that of the file system."""
    off = hours * 3_600_000_000_000
    told = Told() if told is None else told
    project = Project(folder, frozenset({os.getuid()}))
    return with_local_locks(SETTINGS, project, command, told, now=lambda: time.time_ns() + off)


@pytest.mark.parametrize(
    ("made", "turned"),
    [
        ((".git/", "a/b/pyproject.toml"), {"", "a", "a/b"}),
        (("a/.git", "pyproject.toml"), {"a", "a/b"}),
        (("a/pyproject.toml", "a/b/pyproject.toml"), {"a", "a/b"}),
        (("Pipfile",), {"", "a", "a/b"}),
        ((), {"a/b"}),
    ],
)
def test_the_project_reaches_up_to_its_repository_or_its_outermost_project_file(tmp_path, made, turned):
    (tmp_path / "a" / "b").mkdir(parents=True)
    for name in made:
        (tmp_path / name).mkdir() if name.endswith("/") else (tmp_path / name).touch()
    files = {place: tmp_path / place / "uv.lock" for place in ("", "a", "a/b")}
    for file in files.values():
        file.write_bytes(text_of("uv.lock", UPSTREAM))
    seen = set()

    def command():
        seen.update(place for place, file in files.items() if OURS.encode() in file.read_bytes())
        return 0

    assert run(tmp_path / "a" / "b", command) == 0

    assert seen == turned
    assert {file.read_bytes() for file in files.values()} == {text_of("uv.lock", UPSTREAM)}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("code", [0, 7, 137])
def test_the_command_sees_the_proxy_and_the_file_comes_back_byte_for_byte(tmp_path, name, code):
    file = tmp_path / name
    file.write_bytes(text_of(name, UPSTREAM))
    seen = []

    def command():
        seen.append(file.read_bytes())
        return code

    assert run(tmp_path, command) == code

    assert seen == [text_of(name, OURS)]
    assert file.read_bytes() == text_of(name, UPSTREAM)


@pytest.mark.parametrize("name", FILES)
def test_files_that_the_command_changed_or_made_become_canonical(tmp_path, name):
    file, other = tmp_path / name, tmp_path / "requirements-new.txt"
    file.write_bytes(text_of(name, UPSTREAM))

    def command():
        file.write_bytes(text_of(name, OURS) + b"\n")
        other.write_text(f"-i {OURS}/pypi/latest/simple/\n")
        return 0

    assert run(tmp_path, command) == 0

    assert file.read_bytes() == text_of(name, UPSTREAM) + b"\n"
    assert other.read_text() == f"-i {UPSTREAM}/pypi/latest/simple/\n"


def test_a_command_that_cannot_be_started_leaves_the_files_as_they_were(tmp_path):
    file = tmp_path / "uv.lock"
    file.write_bytes(text_of("uv.lock", UPSTREAM))

    def command():
        raise FileNotFoundError

    with pytest.raises(FileNotFoundError):
        run(tmp_path, command)

    assert file.read_bytes() == text_of("uv.lock", UPSTREAM)


def test_a_file_that_the_command_removed_stays_removed(tmp_path):
    file = tmp_path / "uv.lock"
    file.write_bytes(text_of("uv.lock", UPSTREAM))

    assert run(tmp_path, lambda: file.unlink() or 0) == 0

    assert not file.exists()


def test_a_file_that_is_half_written_afterwards_is_left_alone(tmp_path):
    file, told = tmp_path / "uv.lock", Told()
    file.write_bytes(text_of("uv.lock", UPSTREAM))
    half = f'source = {{ registry = "{OURS}/pypi/latest/simple/'.encode()

    assert run(tmp_path, lambda: file.write_bytes(half) and 0, told) == 1

    assert file.read_bytes() == half
    assert "cannot be read" in str(told[0])
    assert f"ppmproxy lock canonical {os.path.relpath(file)}" in told[0].hint


def test_a_file_from_before_the_command_that_appeared_meanwhile_is_left_alone(tmp_path):
    """Moved into place while the command ran, but changed last before that: no work of the command's."""
    folder = tmp_path / "project"
    folder.mkdir()
    prepared, told = tmp_path / "prepared", Told()
    prepared.write_bytes(text_of("uv.lock", OURS))

    code = run(folder, lambda: os.link(prepared, folder / "uv.lock") or 0, told, hours=1)

    assert code == 1
    assert "before the command began" in str(told[0])
    assert (folder / "uv.lock").read_bytes() == text_of("uv.lock", OURS)


def test_a_change_after_the_command_is_left_to_the_program_that_made_it(tmp_path):
    file, told = tmp_path / "uv.lock", Told()
    file.write_bytes(text_of("uv.lock", UPSTREAM))

    code = run(tmp_path, lambda: file.write_bytes(text_of("uv.lock", OURS) + b"# more\n") and 0, told, hours=-1)

    assert code == 1
    assert "after the command had ended" in str(told[0])
    assert file.read_bytes() == text_of("uv.lock", OURS) + b"# more\n"


def test_the_command_s_own_failure_is_the_exit_code(tmp_path):
    file, told = tmp_path / "uv.lock", Told()
    file.write_bytes(text_of("uv.lock", UPSTREAM))

    assert run(tmp_path, lambda: file.write_bytes(f'x = "{OURS}/pypi'.encode()) and 7, told) == 7

    assert len(told) == 1


@pytest.mark.parametrize("broken", [f'x = "{UPSTREAM}/pypi', f"x = '{UPSTREAM}/pypi'\0"])
def test_a_lock_file_that_is_broken_before_stops_everything_and_changes_nothing(tmp_path, broken):
    first, second = tmp_path / "pylock.toml", tmp_path / "uv.lock"
    first.write_bytes(text_of("pylock.toml", UPSTREAM))
    second.write_text(broken)
    started = []

    with pytest.raises(LockFileError):
        run(tmp_path, lambda: started.append(1) or 0)

    assert started == []
    assert first.read_bytes() == text_of("pylock.toml", UPSTREAM)
    assert second.read_text() == broken


def test_of_several_files_none_is_turned_when_one_is_read_only(tmp_path):
    first, second = tmp_path / "pylock.toml", tmp_path / "uv.lock"
    first.write_bytes(text_of("pylock.toml", UPSTREAM))
    second.write_bytes(text_of("uv.lock", UPSTREAM))
    second.chmod(0o444)

    with pytest.raises(LockFileError, match="read-only"):
        run(tmp_path, lambda: 0)

    assert first.read_bytes() == text_of("pylock.toml", UPSTREAM)


@pytest.mark.parametrize(
    ("end", "code"),
    [("sys.exit(3)", 3), ("os.kill(os.getpid(), 9)", 137), ("os.kill(os.getppid(), 2); time.sleep(60)", 130)],
)
async def test_through_exec_the_files_are_canonical_however_the_command_ends(tmp_path, end, code):
    file = tmp_path / "uv.lock"
    file.write_bytes(text_of("uv.lock", UPSTREAM))
    program = f"import os, sys, time; print(open('uv.lock').read(), flush=True); {end}"
    environ = plain_environment(tmp_path, PPMPROXY_UPSTREAM=UPSTREAM, PPMPROXY_LISTEN="127.0.0.1:0")

    said = await run_program(
        [sys.executable, "-m", "ppmproxy", "exec", "--canonical-lock", "--", sys.executable, "-c", program],
        environ,
        Path(tmp_path),
    )

    assert said.code == code
    assert "http://127.0.0.1:" in said.output
    assert UPSTREAM not in said.output
    assert file.read_bytes() == text_of("uv.lock", UPSTREAM)


@pytest.mark.skipif(os.geteuid() != 0, reason="files of another user are made by root")
@pytest.mark.parametrize("marker", [".git", "pyproject.toml"])
def test_the_project_does_not_reach_up_to_a_marker_of_another_user(tmp_path, marker):
    private = tmp_path / "pip.conf"
    private.write_bytes(text_of("requirements.txt", UPSTREAM))
    shared, mine = tmp_path / "shared", tmp_path / "shared" / "mine"
    mine.mkdir(parents=True)
    shared.chmod(0o1777)
    (shared / marker).touch()
    os.chown(shared / marker, 54321, 54321)
    (shared / "requirements.txt").symlink_to(private)
    lock = shared / "uv.lock"
    lock.write_bytes(text_of("uv.lock", UPSTREAM))

    def command():
        assert private.read_bytes() == text_of("requirements.txt", UPSTREAM)
        assert lock.read_bytes() == text_of("uv.lock", UPSTREAM)
        return 0

    assert run(mine, command) == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="folders of another user are made by root")
def test_a_working_folder_of_another_user_is_no_project_and_reported_once(tmp_path):
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    lock = theirs / "uv.lock"
    lock.write_bytes(text_of("uv.lock", UPSTREAM))
    os.chown(theirs, 54321, 54321)
    told = Told()

    def command():
        assert lock.read_bytes() == text_of("uv.lock", UPSTREAM)
        return 0

    assert run(theirs, command, told) == 0
    assert lock.read_bytes() == text_of("uv.lock", UPSTREAM)
    assert [str(error) for error in told] == [f"{theirs} belongs to another user, and no file was named: left alone"]


def test_a_link_that_leads_out_of_the_project_is_left_alone_and_reported_once(tmp_path):
    private = tmp_path / "pip.conf"
    private.write_bytes(text_of("requirements.txt", UPSTREAM))
    project = tmp_path / "project"
    project.mkdir()
    (project / "requirements.txt").symlink_to(private)
    told = Told()

    def command():
        assert private.read_bytes() == text_of("requirements.txt", UPSTREAM)
        private.write_bytes(text_of("requirements.txt", OURS))
        return 0

    assert run(project, command, told) == 0

    assert private.read_bytes() == text_of("requirements.txt", OURS)
    assert [str(error) for error in told] == [
        f"{project / 'requirements.txt'} is a link to {private}, outside of the project: left alone"
    ]


def test_the_hash_of_the_project_file_is_right_during_and_after_the_command(tmp_path):
    """Poetry refuses a lock file whose hash is not that of pyproject.toml, which covers the URLs of sources."""
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "team"\nversion = "1"\nrequires-python = ">=3.10"\ndependencies = ["hello"]\n\n'
        f'[[tool.poetry.source]]\nname = "company"\nurl = "{UPSTREAM}/pypi/latest/simple"\n'
    )
    canonical_hash = "f4c08262a9c0c13d12d4ac2586de743b548b9b108c56b77a52bfececb43d880c"
    lock = tmp_path / "poetry.lock"
    lock.write_text(f'url = "{UPSTREAM}/pypi/latest/simple"\ncontent-hash = "{canonical_hash}"\n')
    seen = []

    def command():
        seen.append(lock.read_text())
        lock.write_text(f"{seen[0]}# more\n")
        return 0

    assert run(tmp_path, command) == 0

    assert canonical_hash not in seen[0]
    assert f'content-hash = "{canonical_hash}"\n# more\n' in lock.read_text()
