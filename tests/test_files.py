"""Claims about files: read without blocking, replaced atomically, and never by a name that another user can swap."""

import contextlib
import os
import stat
import threading
from pathlib import Path

import pytest
import real_users
from real_users import racer

from ppmproxy.errors import UsageError
from ppmproxy.files import (
    FileChangedError,
    fingerprint_of,
    make_private_folder,
    read,
    read_regular_file,
    replace_file,
)

two_users, open_folder = real_users.two_users, real_users.open_folder

ROUNDS = 60


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def umask():
    """The usual one."""
    before = os.umask(0o022)
    yield
    os.umask(before)


# --- reading ---


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (os.mkfifo, "not a regular file"),
        (Path.mkdir, "directory"),
        (lambda path: path.write_bytes(b"12345"), "larger than"),
    ],
    ids=["pipe", "folder", "too large"],
)
def test_what_is_no_small_file_is_refused_without_blocking(make, why, tmp_path):
    make(tmp_path / "file")

    with pytest.raises(OSError, match=why):
        read_regular_file(tmp_path / "file", 4)


def test_a_link_is_followed_by_default(tmp_path):
    (tmp_path / "real").write_bytes(b"text")
    (tmp_path / "link").symlink_to("real")

    assert read_regular_file(tmp_path / "link", 10)[0] == b"text"
    with pytest.raises(OSError, match="symbolic links"):
        read_regular_file(tmp_path / "link", 10, follow_link=False)


def test_the_fingerprint_changes_when_size_and_time_of_change_are_kept(tmp_path):
    path = tmp_path / "token"
    path.write_text("first-token")
    before = path.stat()

    path.write_text("other-token")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    assert fingerprint_of(path.stat()) != fingerprint_of(before)


# --- replacing ---


@pytest.mark.parametrize(
    ("before", "wanted", "after"),
    [(None, None, 0o644), (None, 0o600, 0o600), (0o640, None, 0o640), (0o666, 0o600, 0o600)],
)
def test_a_replacement_has_the_mode_of_the_file_unless_one_is_wanted(before, wanted, after, tmp_path, umask):
    path = tmp_path / "file"
    if before is not None:
        path.write_text("old")
        path.chmod(before)

    replace_file(path, b"new", mode=wanted)

    assert (path.read_bytes(), mode(path)) == (b"new", after)
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_at_the_name_itself_is_replaced_and_not_followed(tmp_path):
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")

    replace_file(tmp_path / "link", b"new")

    assert ((tmp_path / "link").read_text(), (tmp_path / "real").read_text()) == ("new", "old")


def test_a_file_that_has_changed_since_is_left_alone(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    seen = fingerprint_of(path.stat())
    path.write_text("changed")

    with pytest.raises(FileChangedError):
        replace_file(path, b"new", seen=seen)

    assert path.read_text() == "changed"
    assert list(tmp_path.iterdir()) == [path]


def test_a_snapshot_replaces_what_a_link_leads_to(tmp_path):
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")

    read(tmp_path / "link", UsageError).replace(b"new")

    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"


@pytest.mark.parametrize("swap", [Path.symlink_to, lambda project, elsewhere: elsewhere.rename(project)])
@pytest.mark.parametrize("existed", [True, False])
def test_a_folder_that_was_swapped_since_is_left_alone(swap, existed, tmp_path):
    project, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    project.mkdir()
    elsewhere.mkdir()
    if existed:
        (project / "file").write_text("old")
    snapshot = read(project / "file", UsageError)
    project.rename(tmp_path / "moved")
    swap(project, elsewhere)

    with pytest.raises(UsageError):
        snapshot.replace(b"new")

    assert list(project.iterdir()) == []


def test_a_file_that_has_become_a_link_out_of_its_project_is_not_read(tmp_path):
    project, outside = tmp_path / "project", tmp_path / "outside"
    project.mkdir()
    outside.write_text("private")
    (project / "file").symlink_to(outside)

    with pytest.raises(UsageError, match="has become a link"):
        read(project / "file", UsageError, {project})
    assert read(project / "file", UsageError, {project, tmp_path}).data == b"private"


def test_a_snapshot_of_a_file_in_a_folder_that_cannot_be_listed_is_replaced(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "file").write_text("old")
    snapshot = read(folder / "file", UsageError)
    folder.chmod(0o300)

    snapshot.replace(b"new")

    folder.chmod(0o700)
    assert (folder / "file").read_text() == "new"


@pytest.mark.parametrize("umask_then", [0o000, 0o022, 0o777])
def test_a_private_folder_is_for_its_owner_alone_whatever_the_umask(umask_then, tmp_path):
    before = os.umask(umask_then)
    try:
        make_private_folder(tmp_path / "private")
    finally:
        os.umask(before)

    assert mode(tmp_path / "private") == 0o700


# --- another user who swaps names ---


@pytest.fixture
def secret(open_folder):
    """A file that only its owner may read, outside the folder that everybody may write to."""
    path = open_folder / "secret"
    path.write_text("token")
    path.chmod(0o600)
    return path


@pytest.mark.real
def test_another_user_who_swaps_the_temporary_file_gains_no_right_to_another(two_users, open_folder, secret):
    shared = open_folder / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    target = shared / "uv.lock"
    uid = two_users[0].uid

    with racer(uid, "names", shared, secret):
        for number in range(ROUNDS):
            target.unlink(missing_ok=True)
            target.write_text("old")
            target.chmod(0o666)
            os.chown(target, uid, uid)
            with contextlib.suppress(UsageError, OSError):
                read(target, UsageError).replace(f"new {number}".encode() * 10_000)

    found = secret.stat()
    assert (found.st_uid, stat.S_IMODE(found.st_mode), secret.read_text()) == (0, 0o600, "token")


@pytest.mark.real
def test_another_user_who_swaps_the_folder_has_nothing_written_elsewhere(two_users, open_folder):
    shared, private = open_folder / "shared", open_folder / "private"
    shared.mkdir()
    shared.chmod(0o777)
    private.mkdir(mode=0o700)
    (private / "uv.lock").write_text("private")
    uid = two_users[0].uid

    with racer(uid, "folder", shared, private):
        deadline = threading.Event()
        threading.Timer(2.0, deadline.set).start()
        while not deadline.is_set():
            with contextlib.suppress(UsageError, OSError):
                replace_file(shared / "project" / "uv.lock", b"new", mode=0o666)

    assert (private / "uv.lock").read_text() == "private"
    assert len(list(private.iterdir())) == 1
