"""Claims about the folder of a daemon's record: no other user can read it, write to it or put another in its place."""

import os
import stat
from pathlib import Path

import pytest

from ppmproxy.access import runtime_dir
from ppmproxy.environment import Environment


def test_the_folder_of_the_session_comes_first(tmp_path):
    session = tmp_path / "session"
    session.mkdir(mode=0o700)

    folders = runtime_dir.runtime_folders(Environment({"XDG_RUNTIME_DIR": str(session)}, tmp_path))

    assert folders == (session / "ppmproxy", tmp_path / ".cache" / f"ppmproxy-{os.geteuid()}")


@pytest.mark.parametrize("named", [None, "", "relative", "/nonexistent/run"])
def test_without_a_session_the_folder_is_in_the_cache(tmp_path, named):
    environ = {} if named is None else {"XDG_RUNTIME_DIR": named}

    folders = runtime_dir.runtime_folders(Environment(environ, tmp_path))

    assert folders == (tmp_path / ".cache" / f"ppmproxy-{os.geteuid()}",)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can give a folder away")
def test_another_users_session_is_not_used_and_another_users_folder_not_written_to(tmp_path):
    session = tmp_path / "session"
    session.mkdir(mode=0o700)
    os.chown(session, 12345, -1)

    assert len(runtime_dir.runtime_folders(Environment({"XDG_RUNTIME_DIR": str(session)}, tmp_path))) == 1
    with pytest.raises(OSError, match="not a folder of this user"):
        runtime_dir.make_folder(session)


def test_a_folder_that_others_could_look_into_is_closed_to_them(tmp_path):
    (tmp_path / "run").mkdir(mode=0o755)

    runtime_dir.make_folder(tmp_path / "run")

    assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o700


def test_a_link_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(OSError, match="not a folder of this user"):
        runtime_dir.make_folder(tmp_path / "run")


def test_a_file_is_written_as_a_whole_or_not_at_all(tmp_path):
    file = tmp_path / "file"
    runtime_dir.write_file(file, "before")

    with pytest.raises(UnicodeEncodeError):
        runtime_dir.write_file(file, "after \udc80")

    assert runtime_dir.read_file(file) == "before"
    assert [found.name for found in Path(tmp_path).iterdir()] == ["file"]
