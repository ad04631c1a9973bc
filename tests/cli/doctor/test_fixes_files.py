"""Claims about doctor's fixes for files: the settings, tokens, the cache, a project, and the clients' own settings.

Each fault is made to appear, what the fix says is done, and then nothing is found.
"""

import os

import pytest
from examined_person import SECRET

from ppmproxy.files import LARGEST_FILE

PIP, UV = ".config/pip/pip.conf", ".config/uv/uv.toml"
OTHER = "https://other.example.com/simple"
ENTRY = '[[connections]]\naddress = "{0}"\ntoken = "{1}"\nauth_type = "token"\n'


@pytest.fixture
def signed_in(configured, server):
    """The same person with the token in tokens.toml alone."""
    del configured.environ["PPMPROXY_TOKEN"]
    configured.has(".ppm/tokens.toml", ENTRY.format(server.url, server.token)).chmod(0o600)
    return configured


# --- settings ---------------------------------------------------------------------------------------------------------


async def test_a_mistake_in_the_settings_file_is_mended_where_the_finding_says(configured):
    file = configured.has(".config/ppmproxy/config.toml", "\nlogg_level = 'info'\n")
    report = await configured.doctor()
    found = report.of("settings", "failed")
    assert "upstream" not in {one["check"] for one in report.found}  # it is not known which one would be meant
    assert report.of("daemon", "ok")
    assert f"{file}, line 2" in found["what"]
    assert "log_level" in found["fix"]

    file.write_text("\nlog_level = 'info'\n")

    assert (await configured.doctor()).faults() == set()


# --- tokens.toml ------------------------------------------------------------------------------------------------------


async def test_an_entry_that_posit_keyring_does_not_keep_is_mended_by_either_fix(signed_in, server):
    file = signed_in.home / ".ppm" / "tokens.toml"
    good = file.read_text()
    file.write_text(f'{good}note = "mine"\n')
    found = (await signed_in.doctor()).of("tokens-file", "warning")
    assert "posit-keyring will drop" in found["what"]
    assert found["fix"] == "remove that entry, or write it anew with `ppmproxy login`"

    await signed_in.signs_in(server)
    assert (await signed_in.doctor()).faults() == set()

    file.write_text(good)
    assert (await signed_in.doctor()).faults() == set()


async def test_a_token_file_that_is_broken_is_mended_by_each_fix(signed_in, server):
    file = signed_in.home / ".ppm" / "tokens.toml"
    good = file.read_text()
    file.write_text(f"[[connections\n{good}")
    fix = (await signed_in.doctor()).of("tokens-file", "failed")["fix"]
    assert fix.startswith("move it away and run `ppmproxy login`, or correct it: ")

    file.rename(file.with_name("away"))
    await signed_in.signs_in(server)
    assert (await signed_in.doctor()).faults() == set()

    file.write_text(good)
    assert (await signed_in.doctor()).faults() == set()


# --- the cache --------------------------------------------------------------------------------------------------------


@pytest.fixture
def cache(configured):
    """The folder of the person's cache."""
    del configured.environ["PPMPROXY_CACHE"]
    folder = configured.home / ".cache" / "ppmproxy"
    folder.mkdir(parents=True, mode=0o700)
    return folder


async def test_a_cache_in_a_folder_with_something_else_is_mended_by_another_folder_or_none(shell, cache):
    (cache / "blobs").write_text("no folder")
    fix = (await shell()).of("cache", "warning")["fix"]
    assert fix.endswith("name another one with cache_dir, or set cache = false")

    another = await shell("export PPMPROXY_CACHE_DIR=$HOME/another")
    none = await shell("export PPMPROXY_CACHE=false")

    assert [another.faults(), none.faults()] == [set(), set()]


async def test_a_cache_with_a_damaged_database_is_mended_by_the_command(shell, cache):
    (cache / "index.sqlite3").write_text("no database " * 1000)
    fix = (await shell()).of("cache", "warning")["fix"]
    assert fix == "run `ppmproxy cache clear`"

    assert (await shell(fix.split("`")[1])).faults() == set()


async def test_a_shared_cache_without_a_cache_is_mended_by_either_fix(configured, tmp_path):
    configured.environ["PPMPROXY_CACHE_URL"] = f"file://{tmp_path}"
    fix = (await configured.doctor()).of("shared-cache", "warning")["fix"]
    assert fix == "set cache = true, or remove cache_url"

    with_cache = await configured.doctor(PPMPROXY_CACHE="true")
    del configured.environ["PPMPROXY_CACHE_URL"]
    without_url = await configured.doctor()

    assert with_cache.of("shared-cache", "ok")
    assert [with_cache.faults(), without_url.faults()] == [set(), set()]


async def test_a_shared_cache_in_a_folder_that_is_none_is_mended_by_one(configured, tmp_path):
    place = tmp_path / "shared"
    place.write_text("")
    configured.environ |= {"PPMPROXY_CACHE": "true", "PPMPROXY_CACHE_URL": f"file://{place}"}
    fix = (await configured.doctor()).of("shared-cache", "warning")["fix"]
    assert fix == "mount the volume, make the folder this user's, or make room there"

    place.unlink()
    place.mkdir()

    assert (await configured.doctor()).faults() == set()


# --- the project ------------------------------------------------------------------------------------------------------


async def test_a_lock_file_that_cannot_be_read_is_mended_by_one_that_can(configured):
    lock = configured.project / "uv.lock"
    lock.touch()
    os.truncate(lock, LARGEST_FILE + 1)
    found = (await configured.doctor()).of("lock-files", "failed")
    assert "uv.lock cannot be read: larger than 64 mib" in found["what"]
    assert found["fix"].startswith("check the path, and ")

    lock.write_text("version = 1\n")

    assert (await configured.doctor()).faults() == set()


async def test_a_link_out_of_the_project_is_left_alone_until_the_person_has_looked_at_it(configured, tmp_path):
    (configured.project / ".git").mkdir()
    (tmp_path / "uv.lock").write_text("version = 1\n")
    (configured.project / "uv.lock").symlink_to(tmp_path / "uv.lock")
    fix = (await configured.doctor()).of("lock-files", "warning")["fix"]
    assert fix == "look at uv.lock yourself"

    (configured.project / "uv.lock").unlink()
    (tmp_path / "uv.lock").rename(configured.project / "uv.lock")

    assert (await configured.doctor()).faults() == set()


# --- the clients' own files -------------------------------------------------------------------------------------------

PLANTED = [  # a file of the home or the project, what is wrong in it, the check, its fix, and what is right
    (
        ".netrc",
        f"machine localhost login kim password {SECRET}\n",
        "credentials",
        "remove the entry for localhost from .netrc",
        "",
    ),
    (
        PIP,
        "[global]\nproxy = http://10.0.0.1:3128\n",
        "proxy-variables",
        "remove it there, and set HTTPS_PROXY and NO_PROXY instead",
        "",
    ),
    (UV, 'keyring-provider = "subprocess"\n', "credentials", "remove it from FILE, keyring-provider", ""),
    (
        "project/requirements.txt",
        "-i REAL\nsix\n",
        "direct-index",
        "remove that line, and run `ppmproxy configure pip`",
        "six\n",
    ),
    (
        "project/requirements-dev.txt",
        f"--extra-index-url {OTHER}\n",
        "second-index",
        "remove it from FILE, line 1, or have the Package Manager serve those packages",
        "",
    ),
    (".config/pdm/config.toml", "[pypi\n", "client-files", "correct FILE, or move it away", ""),
    (
        ".pypirc",
        "[distutils]\nindex-servers = company\n\n[company]\nrepository = UPLOAD\n",
        "direct-upload",
        "write OURS there, or upload by `ppmproxy exec --intercept -- ...`",
        "[distutils]\nindex-servers = company\n\n[company]\nrepository = OURS\n",
    ),
]


async def test_what_is_wrong_in_the_clients_files_is_mended_there(shell, configured, server):
    ours = f"http://{configured.environ['PPMPROXY_LISTEN']}/upload/pypi/internal"
    configured.environ |= {
        "PIP_CONFIG_FILE": "",
        "PPMPROXY_UPLOADS": "true",
        "PPMPROXY_CREDENTIALS": '[{from = "env"}]',
    }
    configured.environ["PPMPROXY_TOKEN"] = server.issue_token(("repos:read", "sources:write"))

    def planted(text, file):
        words = {"REAL": server.index_url(), "UPLOAD": server.upload_url(), "OURS": ours, "FILE": str(file)}
        for name, value in words.items():
            text = text.replace(name, value)
        return text

    paths = [configured.home.parent / (path if path.startswith("project/") else f"home/{path}") for path, *_ in PLANTED]
    for path, (_, wrong, *_) in zip(paths, PLANTED, strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(planted(wrong, path))
        path.chmod(0o600)
    found = [(one["check"], one["fix"]) for one in (await shell()).found if one["outcome"] != "ok"]
    for path, (_, _, check, fix, _) in zip(paths, PLANTED, strict=True):
        assert any(one[0] == check and planted(fix, path) in one[1] for one in found), found

    for path, (*_, right) in zip(paths, PLANTED, strict=True):
        path.write_text(planted(right, path))
    mended = await shell("ppmproxy configure pip >/dev/null")

    assert mended.faults() == {"daemon"}  # pip leads to the proxy now, so that it has to run
