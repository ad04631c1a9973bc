import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import Person
from downloads import skip_or_fail
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ppmproxy.clients.files import CLIENTS
from ppmproxy.errors import EXIT_CONFIGURATION, EXIT_OK, EXIT_USAGE, ConfigError
from ppmproxy.files import FileSnapshot

URL = "http://127.0.0.1:7760/pypi/latest/simple/"
PYPROJECT = '# mine\r\n[project]\r\nname = "x"  # keep\r\nversion = "0"\r\n'
MINE = {
    "pip": "# mine\n[global]\ntimeout=60\n\nindex-url = https://u:s3cret@old.example.com/simple\n",
    "uv": '# mine\n[[index]]\nurl = "https://old.example.com/simple"\ndefault = true\n\n[pip]\nx = "y"',
    "poetry": PYPROJECT,
    "pdm": '[pypi]\nverify_ssl = true\nurl = "https://old.example.com/simple"\n',
    "pipenv": '[[source]]\nurl = "https://public.example.org/simple"\nname = "pypi"\n\n[packages]\nidna = "*"\n',
    "r": 'options(repos = c(CRAN = "https://old.example.com"))',
    "positron": '{\n    // mine\n    "editor.wordWrap": "on",\n}\n',
}
FILES = {
    "pip": ".config/pip/pip.conf",
    "uv": ".config/uv/uv.toml",
    "poetry": "pyproject.toml",
    "pdm": ".config/pdm/config.toml",
    "pipenv": "Pipfile",
    "r": ".Rprofile",
    "positron": ".config/Positron/User/settings.json",
}


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def person(home):
    return Person(home, {"PATH": os.environ["PATH"]})


def written(home, client, data=None):
    """The client's file, with what its owner has in it."""
    path = home / FILES[client]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(MINE[client].encode() if data is None else data)
    path.chmod(0o640)
    return path


def everything(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_every_client_is_tried_here():
    assert FILES.keys() == MINE.keys() == CLIENTS.keys()


# --- there and back ---------------------------------------------------------------------------------------------------


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
    subprocess.run(command, check=True, capture_output=True, timeout=60, env=environ)

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


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
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


# --- real clients -----------------------------------------------------------------------------------------------------


def client_environ(home, **more):
    return {"HOME": str(home), "PATH": os.environ["PATH"], **more}


def test_real_pip_reads_what_was_written(person, home):
    written(home, "pip")
    person.runs("configure", "pip")

    end = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"],
        check=True, capture_output=True, text=True, timeout=60, env=client_environ(home),
    )  # fmt: skip

    assert f"global.index-url='{URL}'" in end.stdout
    assert "global.trusted-host='127.0.0.1'" in end.stdout


@pytest.mark.parametrize("project", [(), ("--project",)], ids=["user", "project"])
def test_real_uv_asks_where_it_was_told_to(person, home, project):
    pytest.importorskip("uv")
    from uv import find_uv_bin

    written(home, "poetry")
    written(home, "uv", b'index-url = "http://127.0.0.1:2/"\n[[index]]\nurl = "http://127.0.0.1:3/"\ndefault = true\n')
    person.runs("configure", "uv", *project, "--listen", "127.0.0.1:1")

    end = subprocess.run(
        [find_uv_bin(), "pip", "compile", "--no-cache", "--python", sys.executable, "-"],
        input="idna", check=False, capture_output=True, text=True, timeout=60, cwd=home,
        env=client_environ(home, UV_HTTP_RETRIES="0"),
    )  # fmt: skip

    assert "http://127.0.0.1:1/pypi/latest/simple/idna/" in end.stderr
    assert "127.0.0.1:2" not in end.stderr
    assert "127.0.0.1:3" not in end.stderr


def test_real_r_has_the_repository_and_spares_it_from_forward_proxies(person, home):
    rscript = shutil.which("Rscript") or skip_or_fail("R is not installed", "apt-get install r-base-core")
    written(home, "r", b'options(repos = c(CRAN = "https://old.example.com", own = "https://own.example.com"))\n')
    person.runs("configure", "r")

    program = 'r <- getOption("repos"); cat(paste(names(r), r), Sys.getenv("no_proxy"), sep = "\\n")'
    end = subprocess.run(
        [rscript, "-e", program],
        check=True, capture_output=True, text=True, timeout=60, cwd=home, env=client_environ(home, NO_PROXY="a,b"),
    )  # fmt: skip

    assert end.stdout.splitlines() == [
        "CRAN http://127.0.0.1:7760/cran/latest",
        "own https://own.example.com",
        "a,b,localhost,127.0.0.1",
    ]


# --- indexes that are the Package Manager itself ----------------------------------------------------------------------

UPSTREAM = "https://pm.example.com/rspm"
COMPANY = {
    "pip": (
        f"[global]\nindex-url = {UPSTREAM}/internal/2026-01-01/simple\nextra-index-url =\n"
        f"    {UPSTREAM}/pypi/latest/simple\n    https://other.example.com/simple\n"
        f"[install]\nindex-url = {UPSTREAM}/x/simple\n"
    ),
    "uv": (
        f'[[tool.uv.index]]\nname = "company"\nurl = "{UPSTREAM}/internal/2026-01-01/simple/"\nexplicit = true\n'
        f'authenticate = "always"\n\n[tool.uv.sources]\nteam = {{ index = "company" }}\n'
    ),
    "poetry": (
        f'[[tool.poetry.source]]\nname = "company"\nurl = "{UPSTREAM}/internal/2026-01-01/simple"\n'
        'priority = "explicit"\n'
    ),
    "pdm": f'[[tool.pdm.source]]\nname = "company"\nurl = "{UPSTREAM}/internal/2026-01-01/simple"\nverify_ssl = true\n',
    "pipenv": (
        '[[source]]\nname = "pytorch"\nurl = "https://torch.example.org/whl"\n\n'
        f'[[source]]\nname = "company"\nurl = "{UPSTREAM}/internal/2026-01-01/simple"\nverify_ssl = true\n'
    ),
}
LOCAL = "http://127.0.0.1:7760"


def company_file(home, client):
    name = {"pip": ".config/pip/pip.conf", "pipenv": "Pipfile"}.get(client, "pyproject.toml")
    path = home / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(COMPANY[client])
    return path


@pytest.mark.parametrize("client", COMPANY)
def test_every_entry_below_the_upstream_leads_here_and_keeps_all_else(person, home, client):
    path = company_file(home, client)
    project = () if client == "pip" else ("--project",)

    done = person.runs("configure", client, *project, PPMPROXY_UPSTREAM=UPSTREAM)
    text = path.read_text()

    assert done.code == EXIT_OK
    assert UPSTREAM not in text
    expected = COMPANY[client].replace(UPSTREAM, LOCAL).replace('"always"', '"never"').splitlines()
    assert [line for line in expected if line not in text.splitlines()] == []
    person.runs("configure", client, *project, "--undo", PPMPROXY_UPSTREAM=UPSTREAM)
    assert path.read_text() == COMPANY[client]


@pytest.mark.parametrize(
    ("client", "text"),
    [
        ("pipenv", f'[[source]]\nname = "company"\nurl = "{UPSTREAM}/internal/latest/simple"\nverify_ssl = true\n'),
        ("poetry", f'[[tool.poetry.source]]\nname = "company"\nurl = "{UPSTREAM}/internal/latest/simple"\n'),
        ("uv", f'[[tool.uv.index]]\nurl = "{UPSTREAM}/internal/latest/simple/"\ndefault = true\n'),
    ],
)
def test_an_entry_that_serves_all_packages_gets_no_rival(person, home, client, text):
    path = home / ("Pipfile" if client == "pipenv" else "pyproject.toml")
    path.write_text(text)

    person.runs("configure", client, "--project", PPMPROXY_UPSTREAM=UPSTREAM)

    assert path.read_text() == text.replace(UPSTREAM, LOCAL)


def test_a_repository_that_is_named_replaces_the_one_that_is_there(person, home):
    path = home / "pyproject.toml"
    path.write_text(f'[[tool.uv.index]]\nurl = "{UPSTREAM}/internal/latest/simple/"\ndefault = true\n')

    person.runs("configure", "uv", "--project", "--repo", "other", PPMPROXY_UPSTREAM=UPSTREAM)

    assert path.read_text() == f'[[tool.uv.index]]\nurl = "{LOCAL}/other/latest/simple/"\ndefault = true\n'


def test_a_variable_in_a_pipfile_stays(person, home):
    text = '[[source]]\nname = "ppm"\nurl = "${PPM_URL}"\nverify_ssl = true\n'
    (home / "Pipfile").write_text(text)

    said = person.runs("configure", "pipenv")

    assert said.out.endswith("says it already\n")
    assert (home / "Pipfile").read_text() == text


def test_a_source_that_is_no_public_index_keeps_its_url_and_ours_goes_first(person, home):
    text = '[[source]]\nname = "pytorch"\nurl = "https://torch.example.org/whl"\n'
    (home / "Pipfile").write_text(text)

    person.runs("configure", "pipenv")

    assert (home / "Pipfile").read_text().startswith(f'[[source]]\nurl = "{URL}"\n')
    assert (home / "Pipfile").read_text().endswith(text)


@pytest.mark.parametrize("uploads", ["true", "false"])
def test_the_url_for_uploads_leads_here_where_uploads_are_on(person, home, uploads):
    path = home / "uv.toml"
    path.write_text(f'publish-url = "{UPSTREAM}/upload/pypi/local"\n')

    person.runs("configure", "uv", "--project", PPMPROXY_UPSTREAM=UPSTREAM, PPMPROXY_UPLOADS=uploads)

    base = LOCAL if uploads == "true" else UPSTREAM
    assert path.read_text().startswith(f'publish-url = "{base}/upload/pypi/local"\n')


@pytest.mark.parametrize(
    ("url", "leads_here"),
    [
        ("https://__token__:s3cret@pm.example.com/rspm/pypi/latest/simple", True),
        ("https://pm.example.com:443/rspm/pypi/latest/simple", True),
        ("https://PM.example.com/rspm/pypi/latest/simple", True),
        ("https://pm.example.com/rspm-other/pypi/latest/simple", False),
        ("http://pm.example.com/rspm/pypi/latest/simple", False),
    ],
)
def test_an_entry_below_the_upstream_is_known_in_every_spelling(person, home, url, leads_here):
    path = home / "pyproject.toml"
    path.write_text(f'[[tool.pdm.source]]\nname = "company"\nurl = "{url}"\n')

    person.runs("configure", "pdm", "--project", PPMPROXY_UPSTREAM=UPSTREAM)

    assert (f'url = "{LOCAL}/pypi/latest/simple"\n' in path.read_text()) is leads_here
    assert (url in path.read_text()) is not leads_here


# --- what still leads past the proxy ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("client", "text", "words"),
    [
        ("pip", "[install]\nindex-url = https://other.example.com/simple\n", "index-url in [install] points pip at"),
        ("pip", "[global]\nextra-index-url = https://other.example.com/simple\n", "names a second index"),
        ("uv", '[[index]]\nurl = "https://other.example.com/simple"\n', "names a second index"),
    ],
)
def test_configure_tells_what_of_this_client_it_leaves_and_how_to_mend_it(person, home, client, text, words):
    path = written(home, client, text.encode())

    said = person.runs("configure", client)

    assert said.code == EXIT_OK
    assert words in said.err
    assert f"fix: remove it from {path}" in said.err


def test_configure_of_a_client_without_faults_tells_none(person, home):
    assert "fix:" not in person.runs("configure", "uv").err


def test_configure_tells_of_a_project_whose_profile_r_reads_instead(person, home, monkeypatch):
    (home / "project").mkdir()
    monkeypatch.chdir(home / "project")
    (home / "project/.Rprofile").write_text('source("renv/activate.R")\n')

    said = person.runs("configure", "r")

    assert f"R reads {home}/project/.Rprofile in this folder, and not {home}/.Rprofile" in said.err
    assert "ppmproxy configure r --project" in said.err


def test_the_profile_that_a_renviron_names_is_the_one_that_configure_writes(person, home):
    (home / ".Renviron").write_text("R_PROFILE_USER=~/my.R\n")

    said = person.runs("configure", "r")

    assert said.out == f"wrote {home}/my.R\n"
    assert not (home / ".Rprofile").exists()
    assert "fix:" not in said.err


def test_configure_of_r_covers_the_repositories_of_a_renv_lock(person, home):
    lock = {"R": {"Repositories": [{"Name": "CRAN", "URL": f"{UPSTREAM}/prod/latest"}]}}
    (home / "renv.lock").write_text(json.dumps(lock))

    assert "fix:" not in person.runs("configure", "r", PPMPROXY_UPSTREAM=UPSTREAM).err


def test_configure_tells_of_a_variable_that_overrules_the_file(person, home):
    said = person.runs("configure", "pip", PIP_INDEX_URL="https://other.example.com/simple")

    assert "environment variable PIP_INDEX_URL points pip at https://other.example.com" in said.err
    assert 'fix: eval "$(ppmproxy env)"' in said.err
