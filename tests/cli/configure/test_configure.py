"""Claims about `ppmproxy configure`: there and back, to the byte."""

import os
import stat
import subprocess
import sys

import pytest
from command_line import Person
from configured_files import FILES, MINE, PYPROJECT, everything, written
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ppmproxy.clients.files import CLIENTS
from ppmproxy.errors import EXIT_CONFIGURATION, EXIT_OK

URL = "http://127.0.0.1:7760/pypi/latest/simple/"


def test_every_client_is_tried_here():
    assert FILES.keys() == MINE.keys() == CLIENTS.keys()


@pytest.mark.parametrize("client", CLIENTS)
def test_undo_brings_back_every_byte_and_the_mode(person, home, client):
    path = written(home, client)

    done = person.runs("configure", client)
    ours = path.read_bytes()
    undone = person.runs("configure", client, "--undo")

    assert (done.code, done.out) == (EXIT_OK, f"wrote {path}\n")
    assert b"127.0.0.1:7760" in ours
    assert (undone.code, undone.out) == (EXIT_OK, f"restored {path}\n")
    assert path.read_bytes() == MINE[client].encode()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.parametrize("client", [name for name in CLIENTS if FILES[name].startswith(".")])
def test_a_file_that_was_not_there_is_gone_again_with_its_folders(person, home, client):
    person.runs("configure", client)
    undone = person.runs("configure", client, "--undo")

    assert undone.out == f"removed {home / FILES[client]}\n"
    assert [name for name in everything(home) if not name.startswith(".local")] == []


@pytest.mark.parametrize("client", CLIENTS)
def test_a_second_time_changes_nothing_and_still_leads_back(person, home, client):
    path = written(home, client)
    person.runs("configure", client)
    before = path.stat()

    again = person.runs("configure", client)

    assert again.out == f"{path} says it already\n"
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    person.runs("configure", client, "--undo")
    assert path.read_bytes() == MINE[client].encode()


@pytest.mark.parametrize("client", CLIENTS)
def test_other_settings_replace_ours_and_still_lead_back(person, home, client):
    path = written(home, client)
    person.runs("configure", client)

    person.runs("configure", client, "--repo", "other", "--listen", "127.0.0.1:9000")

    assert b"http://127.0.0.1:9000/other/latest" in path.read_bytes()
    assert b"7760" not in path.read_bytes()
    person.runs("configure", client, "--undo")
    assert path.read_bytes() == MINE[client].encode()


ADDED = {
    "pip": "\n[install]\nuser = true\n",
    "uv": "\n[extra]\na = 1\n",
    "poetry": "\r\n[tool.ruff]\r\nline-length = 100\r\n",
    "pdm": "\n[repository]\na = 1\n",
    "pipenv": "\n[dev-packages]\nsix = '*'\n",
    "r": "\nlibrary(stats)\n",
    "positron": "// the end\n",
}


@pytest.mark.parametrize("again", [False, True], ids=["", "configured-again"])
@pytest.mark.parametrize("client", CLIENTS)
def test_undo_keeps_lines_that_others_added_since(person, home, client, again):
    path = written(home, client)
    person.runs("configure", client)
    path.write_bytes(path.read_bytes() + ADDED[client].encode())
    if again:
        assert person.runs("configure", client, "--repo", "other").code == EXIT_OK

    undone = person.runs("configure", client, "--undo")

    assert (undone.out, undone.err) == (f"restored {path}\n", "")
    lines = (MINE[client] + "\n" + ADDED[client]).split("\n")
    assert [line.strip() for line in path.read_text().split("\n") if line.strip()] == [
        line.strip() for line in lines if line.strip()
    ]


def test_a_line_of_ours_that_somebody_has_changed_is_theirs_and_reported(person, home):
    path = written(home, "pip")
    person.runs("configure", "pip")
    theirs = path.read_text().replace(URL, "https://new.example.com/")
    path.write_text(theirs)

    undone = person.runs("configure", "pip", "--undo")

    assert path.read_text() == theirs.replace("trusted-host = 127.0.0.1\n", "")
    assert "changed by somebody since, and left as it is: 1 of our lines" in undone.err


def test_a_file_that_pip_itself_has_written_anew_loses_only_our_lines(person, home):
    path = written(home, "pip")
    person.runs("configure", "pip")
    environ = {"HOME": str(home), "PATH": os.environ["PATH"]}
    command = [sys.executable, "-m", "pip", "config", "--user", "set", "global.retries", "3"]
    subprocess.run(command, check=True, capture_output=True, timeout=120, env=environ)

    undone = person.runs("configure", "pip", "--undo")

    assert (undone.code, undone.err) == (EXIT_OK, "")
    assert "127.0.0.1" not in path.read_text()
    for line in ("timeout = 60", "index-url = https://u:s3cret@old.example.com/simple", "retries = 3"):
        assert line in path.read_text()


def test_our_section_stays_for_what_somebody_put_into_it(person, home):
    path = home / FILES["pip"]
    person.runs("configure", "pip")
    path.write_text(path.read_text() + "timeout = 60\n")

    person.runs("configure", "pip", "--undo")

    assert path.read_text() == "[global]\ntimeout = 60\n"


@pytest.mark.parametrize("order", [("uv", "poetry", "pdm"), ("pdm", "poetry", "uv"), ("poetry", "uv", "pdm")])
def test_clients_that_share_a_file_come_and_go_in_any_order(person, home, order):
    path = written(home, "poetry")
    for client in ("uv", "poetry", "pdm"):
        person.runs("configure", client, "--project")
    assert path.read_text().count(URL) == 3

    for client in order:
        assert person.runs("configure", client, "--project", "--undo").err == ""

    assert path.read_bytes() == PYPROJECT.encode()


def test_undo_without_a_configure_or_with_nothing_left_does_nothing(person, home):
    path = written(home, "pip")
    unknown = person.runs("configure", "pip", "--undo")
    person.runs("configure", "pip")
    path.write_text(MINE["pip"])
    by_hand = person.runs("configure", "pip", "--undo")
    person.runs("configure", "pip")
    path.unlink()
    gone = person.runs("configure", "pip", "--undo")

    assert unknown.out == f"nothing to undo: ppmproxy configure pip has not changed {path}\n"
    assert by_hand.out == gone.out == f"nothing to undo: {path} is as it was\n"
    assert {unknown.code, by_hand.code, gone.code} == {EXIT_OK}
    assert not path.exists()


def test_undo_needs_no_settings_that_work(person, home):
    path = written(home, "pip")
    person.runs("configure", "pip")

    undone = person.runs("configure", "pip", "--undo", PPMPROXY_LISTEN="nonsense")

    assert undone.code == EXIT_OK
    assert path.read_text() == MINE["pip"]


PIECES = [piece.encode() for text in MINE.values() for piece in text.splitlines(keepends=True)]


ODD_BYTES = st.lists(
    st.sampled_from([*PIECES, b"\xff", b"\r"]) | st.binary(max_size=4),
    max_size=8,
).map(b"".join)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)
@given(client=st.sampled_from(sorted(CLIENTS)), data=ODD_BYTES)
@example("pip", b"\xef\xbb\xbf[global]\r\nindex-url = x\r\n")
@example("pip", b"[global]\n# caf\xe9\n")
@example("uv", b"\xef\xbb\xbfcache-dir = 'x'\r\n")
def test_configure_and_undo_bring_back_any_file_at_all(home, client, data):
    person, path = Person(home), written(home, client, data)
    here = everything(path.parent)

    done = person.runs("configure", client)

    assert done.code in {EXIT_OK, EXIT_CONFIGURATION}
    if done.code == EXIT_CONFIGURATION:
        assert path.read_bytes() == data
    assert person.runs("configure", client, "--undo").code == EXIT_OK
    assert path.read_bytes() == data
    assert [name for name in everything(path.parent) if not name.startswith(".local")] == [
        name for name in here if not name.startswith(".local")
    ]
