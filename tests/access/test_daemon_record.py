"""Claims about the record of a daemon: for this user alone, and gone with the daemon."""

import json
import os
import stat
import subprocess
import sys

import pytest

from ppmproxy.access import runtime_dir
from ppmproxy.access.daemon_record import DaemonRecord, list_daemons, remove_stale
from ppmproxy.access.identity_key import ADMIN_HEADER, IdentityKey


def test_a_record_is_for_this_user_alone(folder):
    [file] = folder.glob("daemon-*")

    assert {stat.S_IMODE(left.stat().st_mode) for left in folder.iterdir()} == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert json.loads(file.read_text())["urls"] == ["http://127.0.0.1:7760"]


def test_a_record_that_others_could_have_written_or_read_is_ignored(folder):
    [file] = folder.glob("daemon-*")

    file.chmod(0o644)

    assert list(list_daemons([folder])) == []


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"pid": 1, "urls": [], "key": "zz"}', '{"pid": 1, "urls": [], "key": ""}']
)
def test_a_malformed_record_is_skipped(folder, key, text):
    runtime_dir.write_file(folder / "daemon-0.json", text)

    assert [record.key for record in list_daemons([folder])] == [key]


def test_a_folder_that_cannot_be_read_has_no_records(tmp_path, folder, key):
    closed = tmp_path / ("a" * 300) / "ppmproxy"  # the system refuses to look there, root's processes too

    assert [record.key for record in list_daemons([closed, folder])] == [key]
    remove_stale(closed, closed / "own")


def test_a_link_in_place_of_a_record_is_not_followed(folder, tmp_path):
    [file] = folder.glob("daemon-*")
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")

    assert list(list_daemons([folder])) == []


def test_records_of_daemons_that_were_killed_are_removed(folder, key):
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    DaemonRecord(ended.pid, (), IdentityKey.generate()).publish(folder)
    [own] = [file for file in folder.glob("daemon-*") if f'"pid": {os.getpid()},' in file.read_text()]

    remove_stale(folder, own)

    assert [record.key for record in list_daemons([folder])] == [key]


def test_beside_the_key_the_secret_is_left_as_a_header_named_after_the_port(folder, key):
    assert (folder / "shutdown-7760.header").read_text() == f"{ADMIN_HEADER}: {key.admin_secret}\n"


def test_a_daemon_that_ends_leaves_nothing_and_takes_nothing_of_anothers_away(folder, key):
    [file] = folder.glob("daemon-*")
    other = DaemonRecord(1, ("http://127.0.0.1:7760", "unix:/run/x"), IdentityKey.generate())
    other_file = other.publish(folder)

    DaemonRecord(os.getpid(), ("http://127.0.0.1:7760",), key).withdraw(file)
    kept = {left.name for left in folder.iterdir()}
    other.withdraw(other_file)

    assert kept == {other_file.name, "shutdown-7760.header"}
    assert list(folder.iterdir()) == []


def test_a_daemon_that_cannot_write_all_of_its_record_leaves_none_of_it(tmp_path):
    folder = tmp_path / "run"
    (folder / "shutdown-7760.header").mkdir(parents=True)
    urls = ("http://127.0.0.1:7760", "http://127.0.0.1:7761")

    with pytest.raises(OSError):
        DaemonRecord(os.getpid(), urls, IdentityKey.generate()).publish(folder)

    assert [left.name for left in folder.iterdir()] == ["shutdown-7760.header"]
