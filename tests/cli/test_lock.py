import os
import stat

import pytest
import real_users
from command_line import CommandResult, Person
from real_users import racer

from ppmproxy.errors import EXIT_CHECK_FAILED, EXIT_CONFIGURATION, EXIT_OK, EXIT_USAGE, UsageError
from ppmproxy.files import read

OURS = 'url = "http://127.0.0.1:7760/pypi/latest/simple/"\r\nhash = "sha256:0a"\r\n'
THEIRS = OURS.replace("http://127.0.0.1:7760", "https://pm.example.com/rspm")
BINARY = b'url = "http://127.0.0.1:7760/x"\0\xff'


two_users, open_folder = real_users.two_users, real_users.open_folder


@pytest.fixture
def person(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Person(tmp_path, {"PPMPROXY_UPSTREAM": "https://pm.example.com/rspm"})


def write(path, text):
    path.write_bytes(text.encode())
    return path


def test_canonical_and_local_rewrite_a_file_and_change_nothing_else(person, tmp_path):
    file = write(tmp_path / "uv.lock", OURS)
    file.chmod(0o640)

    said = person.runs("lock", "canonical", file)

    assert (said.code, said.err) == (EXIT_OK, "")
    assert said.out == f"{file}: 1 URL rewritten\n"
    assert file.read_bytes() == THEIRS.encode()
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert person.runs("lock", "local", file).code == EXIT_OK
    assert file.read_bytes() == OURS.encode()
    assert [path.name for path in tmp_path.iterdir()] == ["uv.lock"]


@pytest.mark.parametrize("action", ["canonical", "local"])
def test_rewriting_twice_does_not_even_write_twice(person, tmp_path, action):
    file = write(tmp_path / "uv.lock", THEIRS if action == "canonical" else OURS)
    before = file.stat()

    said = person.runs("lock", action, file)

    assert said.out == f"{file}: no URLs rewritten\n"
    assert (file.stat().st_mtime_ns, file.stat().st_ino) == (before.st_mtime_ns, before.st_ino)


def test_check_names_file_line_and_url_and_ends_with_1(person, tmp_path):
    good, bad = (
        write(tmp_path / "uv.lock", THEIRS),
        write(tmp_path / "requirements.txt", "# x\n-i http://[::1]:7760/s/\n"),
    )

    said = person.runs("lock", "check", good, bad)

    assert said.code == EXIT_CHECK_FAILED
    assert said.out == (
        f"{bad}:2: names the proxy: http://[::1]:7760/s/\nlooked at 2 files, of which 1 names the proxy\n"
    )
    assert f"ppmproxy lock canonical {bad}" in said.err
    assert str(good) not in said.err


def test_check_of_clean_files_says_how_many_it_looked_at(person, tmp_path):
    files = [write(tmp_path / name, THEIRS) for name in ("uv.lock", "pylock.toml")]

    said = person.runs("lock", "check", *files)

    assert said == CommandResult(EXIT_OK, "looked at 2 files, of which none names the proxy\n", "")


def test_a_folder_stands_for_the_lock_files_in_it(person, tmp_path):
    for name in ("uv.lock", "requirements-dev.txt", "notes.txt"):
        write(tmp_path / name, OURS)
    (tmp_path / "poetry.lock").mkdir()

    said = person.runs("lock", "canonical", ".")

    assert said.out == "requirements-dev.txt: 1 URL rewritten\nuv.lock: 1 URL rewritten\n"
    assert (tmp_path / "notes.txt").read_bytes() == OURS.encode()


def test_a_folder_without_lock_files_is_fine(person):
    said = person.runs("lock", "check", ".")

    assert (said.code, said.out, said.err) == (EXIT_OK, "looked at no files: none here names an index\n", "")


def test_without_a_file_it_is_about_the_project(person, tmp_path, monkeypatch):
    for name in ("pyproject.toml", "web/requirements/dev.txt", "web/src/tool.py", "web/src/other.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        write(tmp_path / name, OURS)
    write(tmp_path / "web/src/tool.py", "# /// script\n# " + OURS.replace("\r\nhash", "\n# hash") + "# ///\n")
    (tmp_path / ".git").mkdir()
    monkeypatch.chdir(tmp_path / "web")

    checked = person.runs("lock", "check")
    person.runs("lock", "canonical")

    assert checked.code == EXIT_CHECK_FAILED
    assert "../pyproject.toml:1: names the proxy" in checked.out
    assert "looked at 3 files, of which 3 name the proxy" in checked.out
    assert person.runs("lock", "check").code == EXIT_OK
    assert (tmp_path / "web/src/other.py").read_bytes() == OURS.encode()


def test_options_may_stand_before_and_behind_the_files(person, tmp_path):
    file = write(tmp_path / "uv.lock", OURS)

    assert person.runs("lock", "canonical", "--dry-run", file) == person.runs("lock", "canonical", file, "--dry-run")


def test_dry_run_shows_a_diff_without_passwords_and_writes_nothing(person, tmp_path):
    mixed = OURS + '[[x]]\nold = "https://user:s3cret@old.example.com/x"\n'
    file = write(tmp_path / "uv.lock", mixed)

    said = person.runs("lock", "canonical", "--dry-run", file)

    assert said.code == EXIT_OK
    assert said.out.startswith(f"--- {file}\n+++ {file}\n@@ ")
    assert '-url = "http://127.0.0.1:7760/pypi' in said.out
    assert '+url = "https://pm.example.com/rspm/pypi' in said.out
    assert "s3cret" not in said.out
    assert file.read_bytes() == mixed.encode()
    assert person.runs("lock", "local", "--dry-run", file).out == f"{file}: nothing would change\n"


def test_a_lock_file_with_mixed_indexes_keeps_the_others(person, tmp_path):
    mixed = '[[a]]\nx = "https://public.example.org/simple"\n[[a]]\nx = "http://localhost:7760/s/"\n[[a]]\nx = "https://h/rspm"\n'
    file = write(tmp_path / "uv.lock", mixed)

    person.runs("lock", "canonical", file)

    assert file.read_text() == mixed.replace("http://localhost:7760", "https://pm.example.com/rspm")


def test_a_byte_that_is_not_utf_8_survives(person, tmp_path):
    file = tmp_path / "requirements.txt"
    file.write_bytes(b"\xef\xbb\xbf# caf\xe9\r\n-i http://127.0.0.1:7760/s/\n")

    person.runs("lock", "canonical", file)

    assert file.read_bytes() == b"\xef\xbb\xbf# caf\xe9\r\n-i https://pm.example.com/rspm/s/\n"


def test_a_link_stays_a_link_and_a_file_named_twice_is_written_once(person, tmp_path):
    file = write(tmp_path / "real.lock", OURS)
    (tmp_path / "uv.lock").symlink_to("real.lock")

    said = person.runs("lock", "canonical", "uv.lock", file)

    assert said.code == EXIT_OK
    assert (tmp_path / "uv.lock").is_symlink()
    assert file.read_bytes() == THEIRS.encode()


@pytest.mark.parametrize("action", ["canonical", "local", "check"])
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda _path: None, "does not exist"),
        (lambda path: path.write_bytes(BINARY), "is not a text file"),
        (os.mkfifo, "cannot be read: not a regular file"),
        (lambda path: path.symlink_to(path), "cannot be read: too many levels of symbolic links"),
        (lambda path: path.symlink_to("gone"), "does not exist"),
    ],
    ids=["missing", "binary", "pipe", "loop", "dangling"],
)
def test_an_unreadable_file_is_reported_and_no_other_file_is_touched(person, tmp_path, action, make, words):
    good = write(tmp_path / "uv.lock", OURS + THEIRS.replace("url", "x").replace("hash", "y"))
    bad = tmp_path / "bad.lock"
    make(bad)
    before = good.read_bytes()

    said = person.runs("lock", action, good, bad)

    assert said.code == EXIT_USAGE
    assert f"{bad}" in said.err
    assert words in said.err
    assert good.read_bytes() == before


def test_a_read_only_file_stays_as_it_is(person, tmp_path):
    file = write(tmp_path / "uv.lock", OURS)
    file.chmod(0o444)

    said = person.runs("lock", "canonical", file)

    assert said.code == EXIT_USAGE
    assert "read-only" in said.err
    assert file.read_bytes() == OURS.encode()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("uv.lock", OURS + "[[packag"),
        ("pylock.toml", OURS + 'name = "'),
        ("Pipfile.lock", '{"url": "http://127.0.0.1:7760/x", '),
    ],
)
def test_a_file_that_is_only_half_there_is_not_replaced(person, tmp_path, name, text):
    file = write(tmp_path / name, text)

    said = person.runs("lock", "canonical", file)

    assert said.code == EXIT_USAGE
    assert "try again when the program that writes it has finished" in said.err
    assert file.read_bytes() == text.encode()
    assert person.runs("lock", "check", file).code == EXIT_CHECK_FAILED


def test_a_file_that_another_program_writes_meanwhile_is_left_alone(person, tmp_path):
    file = write(tmp_path / "uv.lock", OURS)
    original = read(file, UsageError)
    write(file, OURS + "more = 1\n")

    with pytest.raises(UsageError, match="another program changed"):
        original.replace(b"ours")

    assert file.read_bytes() == (OURS + "more = 1\n").encode()
    assert [path.name for path in tmp_path.iterdir()] == ["uv.lock"]


def test_settings_that_are_wrong_are_reported_before_anything_is_read(person):
    said = person.runs("lock", "check", "gone.lock", PPMPROXY_LISTEN="nowhere")

    assert said.code == EXIT_CONFIGURATION


@pytest.mark.parametrize("action", ["canonical", "local", "check"])
@pytest.mark.parametrize("named", ["requirements-dev.txt", "."])
def test_a_link_that_leads_out_of_the_project_is_left_alone_with_one_line(person, tmp_path, action, named):
    project, outside = tmp_path / "project", write(tmp_path / "pip.conf", OURS + THEIRS)
    project.mkdir()
    link = project / "requirements-dev.txt"
    link.symlink_to(outside)

    said = person.runs("lock", action, project / named)

    assert said.code == EXIT_OK
    assert said.out == ("looked at no files: none here names an index\n" if action == "check" else "")
    assert said.err == f"ppmproxy: {link} is a link to {outside}, outside of the project: left alone\n"
    assert outside.read_bytes() == (OURS + THEIRS).encode()


@pytest.mark.skipif(os.geteuid() != 0, reason="folders of another user are made by root")
@pytest.mark.parametrize(("action", "code"), [("canonical", EXIT_OK), ("local", EXIT_OK), ("check", EXIT_CHECK_FAILED)])
@pytest.mark.parametrize("marker", [None, ".git", "pyproject.toml"])
def test_a_working_folder_of_another_user_is_left_alone_with_one_line(
    person, tmp_path, monkeypatch, action, code, marker
):
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    lock = write(theirs / "uv.lock", OURS)
    if marker:
        (theirs / marker).touch()
    os.chown(theirs, 54321, 54321)
    monkeypatch.chdir(theirs)

    said = person.runs("lock", action)

    assert (said.code, said.out) == (code, "")
    assert said.err == f"ppmproxy: {theirs} belongs to another user, and no file was named: left alone\n"
    assert lock.read_bytes() == OURS.encode()
    assert person.runs("lock", "canonical", "uv.lock").code == EXIT_OK
    assert lock.read_bytes() == THEIRS.encode()


def test_a_link_within_a_repository_is_followed(person, tmp_path):
    (tmp_path / ".git").mkdir()
    (tmp_path / "member").mkdir()
    shared = write(tmp_path / "uv.lock", OURS)
    (tmp_path / "member" / "uv.lock").symlink_to("../uv.lock")

    assert person.runs("lock", "canonical", tmp_path / "member").code == EXIT_OK

    assert shared.read_bytes() == THEIRS.encode()


@pytest.mark.real
def test_another_user_who_swaps_a_file_for_a_link_has_nothing_rewritten_elsewhere(two_users, open_folder, monkeypatch):
    private, shared = open_folder / "pip.conf", open_folder / "shared"
    private.write_bytes(OURS.encode())
    shared.mkdir()
    shared.chmod(0o777)
    monkeypatch.chdir(shared)
    person = Person(open_folder, {"PPMPROXY_UPSTREAM": "https://pm.example.com/rspm"})

    with racer(two_users[0].uid, "file", shared, private):
        ends = {person.runs("lock", "canonical", shared).code for _ in range(300)}

    assert private.read_bytes() == OURS.encode()
    assert ends <= {EXIT_OK, EXIT_USAGE}
