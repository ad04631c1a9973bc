"""Claims about `ppmproxy configure`: what it shows before, its backups, and bad input."""

import os
import stat
from pathlib import Path

import pytest
from configured_files import FILES, MINE, everything, written

from ppmproxy.clients.files import CLIENTS
from ppmproxy.errors import EXIT_CONFIGURATION, EXIT_OK, EXIT_USAGE, ConfigError
from ppmproxy.files import FileSnapshot

URL = "http://127.0.0.1:7760/pypi/latest/simple/"


# --- looking before ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("client", CLIENTS)
def test_dry_run_shows_the_diff_and_writes_nothing(person, home, client):
    path = written(home, client)
    before = everything(home)

    said = person.runs("configure", client, "--dry-run")

    assert said.code == EXIT_OK
    assert said.out.startswith(f"--- {path}\n+++ {path}\n@@ -")
    assert any(line.startswith("+") and "127.0.0.1:7760" in line for line in said.out.splitlines())
    assert "s3cret" not in said.out
    assert (path.read_bytes(), everything(home)) == (MINE[client].encode(), before)


def test_dry_run_of_undo_shows_the_way_back(person, home):
    path = written(home, "pip")
    person.runs("configure", "pip")

    said = person.runs("configure", "pip", "--undo", "--dry-run")

    assert f"-index-url = {URL}\n" in said.out
    assert "+index-url = https://****@old.example.com/simple\n" in said.out
    assert URL in path.read_text()
    assert person.runs("configure", "pip", "--dry-run").out == "nothing would change\n"


@pytest.mark.parametrize("client", CLIENTS)
def test_dry_run_shows_each_line_as_it_would_be_written(person, home, client):
    path = written(home, client)

    shown = person.runs("configure", client, "--dry-run").out
    person.runs("configure", client)

    added = {line[1:] for line in shown.splitlines()[2:] if line.startswith("+")}
    assert added
    assert added <= set(path.read_text().splitlines())


def test_dry_run_of_a_new_file_starts_from_nothing(person, home):
    said = person.runs("configure", "pip", "--dry-run")

    assert said.out.startswith(f"--- /dev/null\n+++ {home / FILES['pip']}\n@@ -0,0 +1,3 @@\n+[global]\n")


# --- the backup -------------------------------------------------------------------------------------------------------


def test_the_backup_is_the_file_as_it_was_for_its_owner_alone_and_goes_with_us(person, home):
    written(home, "pip")

    said = person.runs("configure", "pip")

    backup = home / said.err.splitlines()[0].removeprefix("backup: ")
    assert backup.read_text() == MINE["pip"]
    assert home / ".local/state/ppmproxy/configured" in backup.parents
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    assert stat.S_IMODE(backup.parent.stat().st_mode) == 0o700
    assert said.err.splitlines()[1] == "undo: ppmproxy configure pip --undo"
    person.runs("configure", "pip", "--undo")
    assert not backup.exists()


def test_the_state_folder_may_be_elsewhere(person, home):
    written(home, "pip")

    said = person.runs("configure", "pip", XDG_STATE_HOME=str(home / "state"))

    assert f"backup: {home}/state/ppmproxy/configured/pip-" in said.err


def test_a_backup_that_cannot_be_written_leaves_the_file_alone(person, home):
    path = written(home, "pip")
    (home / "state").write_text("a file")

    said = person.runs("configure", "pip", XDG_STATE_HOME=str(home / "state"))

    assert said.code == EXIT_CONFIGURATION
    assert "XDG_STATE_HOME" in said.err
    assert path.read_text() == MINE["pip"]


def test_a_write_that_fails_leaves_file_and_way_back_as_they_were(person, home, monkeypatch):
    path = written(home, "pip")
    person.runs("configure", "pip")
    ours = path.read_bytes()

    def full(_original, _data):
        raise ConfigError("no space left", "make some")

    with monkeypatch.context() as patch:
        patch.setattr(FileSnapshot, "replace", full)
        assert person.runs("configure", "pip", "--repo", "other").code == EXIT_CONFIGURATION

    assert path.read_bytes() == ours
    person.runs("configure", "pip", "--undo")
    assert path.read_text() == MINE["pip"]


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("client", "data", "words"),
    [
        ("pip", b"index-url = x\n", "line 1 is not valid INI: there is no [section]"),
        ("pip", b"[global]\nx = 1\nx = 2\n", "line 3 is not valid INI: the key x is there twice"),
        ("uv", b"[[index]\n", "line 1 is not valid TOML"),
        ("uv", b"a = '\xff'\n", "line 1 is not valid TOML: it is not UTF-8 text"),
        ("pdm", b"pypi = 1\n", "without changing other settings: a table at pypi"),
        ("positron", b"{\n", "not valid JSON"),
        ("r", b"# >>> ppmproxy >>>\n", "line 1 is not valid R: the markers"),
    ],
)
def test_a_file_that_is_broken_is_reported_with_its_line_and_left_alone(person, home, client, data, words):
    path = written(home, client, data)

    said = person.runs("configure", client)

    assert said.code == EXIT_CONFIGURATION
    assert str(path) in said.err
    assert words in said.err
    assert path.read_bytes() == data
    assert not (home / ".local").exists()


def test_a_read_only_file_stays_as_it_is(person, home):
    path = written(home, "pip")
    path.chmod(0o444)

    said = person.runs("configure", "pip")

    assert said.code == EXIT_CONFIGURATION
    assert "read-only" in said.err
    assert path.read_text() == MINE["pip"]
    assert person.runs("configure", "pip", "--undo").out.startswith("nothing to undo")


def test_a_link_stays_a_link_and_what_it_leads_to_is_written(person, home):
    real = home / "dotfiles" / "pip.conf"
    real.parent.mkdir()
    real.write_text(MINE["pip"])
    link = written(home, "pip")
    link.unlink()
    link.symlink_to(real)

    person.runs("configure", "pip")

    assert link.is_symlink()
    assert URL in real.read_text()
    person.runs("configure", "pip", "--undo")
    assert real.read_text() == MINE["pip"]
    assert link.is_symlink()


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to(path)])
def test_a_path_that_is_no_file_is_reported_in_two_lines(person, home, make):
    make(home / "odd")

    said = person.runs("configure", "pip", PIP_CONFIG_FILE="odd")

    assert said.code == EXIT_CONFIGURATION
    assert "cannot be read" in said.err


def test_a_folder_that_cannot_be_made_is_reported_in_two_lines(person, home):
    (home / ".config").write_text("a file")

    said = person.runs("configure", "pip")

    assert said.code == EXIT_CONFIGURATION
    assert "cannot be written" in said.err


@pytest.mark.parametrize("arguments", [("conda",), (), ("pip", "--repo", "a b"), ("pip", "--snapshot", "../..")])
def test_a_mistake_on_the_command_line_is_one(person, arguments):
    assert person.runs("configure", *arguments).code == EXIT_USAGE
