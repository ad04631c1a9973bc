import asyncio
import os
import shutil
import stat
import sys
import tempfile
from pathlib import Path

import pytest

from ppmproxy.auth.secret import Secret
from ppmproxy.config.model import CredentialSpec, Upstream
from ppmproxy.credentials.token_file import LOCK_TRIES, READ_TRIES, TokenFile, token_file_for, token_file_path
from ppmproxy.credentials.tokens_toml import TokensText
from ppmproxy.environment import Environment
from ppmproxy.errors import EXIT_NO_CREDENTIAL, TokenFileError

fcntl = pytest.importorskip("fcntl", reason="locks and file modes are tested on POSIX systems")

NOBODY = 65534
ADDRESS = "https://pm.example.com/rspm"
TOKEN = Secret("eyJ.our.token")
THEIRS = '# mine\n[[connections]]\naddress = "https://other.example.com"\ntoken = "theirs"\nauth_type = "sso"\n'


class Sleep:
    """A sleep that takes no time and runs a test's actions."""

    def __init__(self, *happenings):
        self.happenings = list(happenings)
        self.times = 0

    def __call__(self, _seconds):
        self.times += 1
        if self.happenings:
            self.happenings.pop(0)()


@pytest.fixture
def path(tmp_path):
    return tmp_path / ".ppm" / "tokens.toml"


@pytest.fixture
def file(path):
    """The file as posit-keyring writes it."""
    path.parent.mkdir()
    path.write_text(THEIRS)
    return path


def entries(path):
    return {entry.address: entry.token.reveal() for entry in TokensText(path.read_text(), str(path)).entries}


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


# Path


@pytest.mark.parametrize(
    ("named", "path"),
    [
        (None, "/home/kim/.ppm/tokens.toml"),
        ("", "/home/kim/.ppm/tokens.toml"),
        ("/run/tokens", "/run/tokens"),
        ("~/t.toml", "/home/kim/t.toml"),
    ],
)
def test_a_variable_moves_the_file(named, path):
    environ = {} if named is None else {"PACKAGEMANAGER_SSO_TOKEN_FILE": named}

    assert token_file_path(Environment(environ, Path("/home/kim"))) == Path(path)


def test_a_new_token_goes_where_the_settings_look_for_it():
    elsewhere = CredentialSpec("tokens", path=Path("/run/tokens.toml"))
    around = Environment({}, Path("/home/kim"))

    assert token_file_for(Upstream(credentials=(CredentialSpec("env"), elsewhere)), around).path == elsewhere.path
    assert token_file_for(Upstream(credentials=(CredentialSpec("tokens"),)), around).path == token_file_path(around)
    assert token_file_for(Upstream(), around).path == token_file_path(around)


# Finding, saving, removing


def test_without_a_file_there_is_no_token_and_none_is_made(path):
    store = TokenFile(path)

    assert store.find(ADDRESS) is None
    assert store.remove(ADDRESS) is False
    assert store.posit_keyring_warning() == ""
    assert not path.parent.exists()


def test_what_was_saved_is_found_and_can_be_removed(path):
    store = TokenFile(path)

    store.save(ADDRESS, Secret("first"))
    store.save(ADDRESS, TOKEN)

    assert store.find(ADDRESS + "/") == TOKEN
    assert entries(path) == {ADDRESS: TOKEN.reveal()}
    assert store.remove(ADDRESS) is True
    assert store.find(ADDRESS) is None


def test_everything_else_in_the_file_stays(file):
    store = TokenFile(file)

    store.save(ADDRESS, TOKEN)
    assert entries(file) == {"https://other.example.com": "theirs", ADDRESS: TOKEN.reveal()}
    store.remove(ADDRESS)

    assert file.read_text() == THEIRS


def test_an_entry_for_which_posit_keyring_drops_all_others_is_a_warning(file):
    file.write_text(THEIRS + "more = 1\n")

    posit_keyring_warning = TokenFile(file).posit_keyring_warning()

    assert posit_keyring_warning.startswith(f"{file}, line 2: ")
    assert "posit-keyring will drop all entries" in posit_keyring_warning


# Mode and owner


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_only_the_owner_can_read_the_file_under_any_umask(path, umask):
    before = os.umask(umask)
    try:
        TokenFile(path).save(ADDRESS, TOKEN)
    finally:
        os.umask(before)

    assert (mode(path.parent), mode(path)) == (0o700, 0o600)


def test_a_file_that_others_could_read_becomes_private(file):
    file.chmod(0o644)

    TokenFile(file).save(ADDRESS, TOKEN)

    assert mode(file) == 0o600


def test_an_existing_folder_keeps_its_mode(tmp_path):
    tmp_path.chmod(0o755)

    TokenFile(tmp_path / "tokens.toml").save(ADDRESS, TOKEN)

    assert mode(tmp_path) == 0o755


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_root_does_not_take_the_file_from_its_owner(file):
    os.chown(file, 12345, 12346)

    TokenFile(file).save(ADDRESS, TOKEN)

    assert (file.stat().st_uid, file.stat().st_gid) == (12345, 12346)


def test_a_link_stays_a_link(file, tmp_path):
    link = tmp_path / "elsewhere" / "tokens.toml"
    link.parent.mkdir()
    link.symlink_to(file)

    TokenFile(link).save(ADDRESS, TOKEN)

    assert link.is_symlink()
    assert ADDRESS in entries(file)


def test_a_link_to_nothing_gets_its_file(path, tmp_path):
    link = tmp_path / "tokens.toml"
    link.symlink_to(path)

    TokenFile(link).save(ADDRESS, TOKEN)

    assert link.is_symlink()
    assert ADDRESS in entries(path)


def test_nothing_but_the_lock_is_left_beside_it(path):
    TokenFile(path).save(ADDRESS, TOKEN)

    assert sorted(file.name for file in path.parent.iterdir()) == [".tokens.toml.lock", "tokens.toml"]
    assert mode(path.parent / ".tokens.toml.lock") == 0o600


# Concurrent writers

WRITER = """
import sys
from pathlib import Path
from ppmproxy.auth.credential import Secret
from ppmproxy.credentials.token_file import TokenFile
for number in range(25):
    TokenFile(Path(sys.argv[1])).save(f"https://{sys.argv[2]}-{number}.example.com", Secret(f"token-{number}"))
"""


async def test_two_processes_that_write_at_once_lose_nothing(file):
    def writer(name):
        return asyncio.create_subprocess_exec(sys.executable, "-c", WRITER, file, name)

    processes = [await writer(name) for name in ("one", "two", "three")]
    codes = await asyncio.wait_for(asyncio.gather(*(process.wait() for process in processes)), 60)

    assert codes == [0, 0, 0]
    assert len(entries(file)) == 1 + 3 * 25
    assert file.read_text().startswith(THEIRS)


def lock(path):
    path.parent.mkdir(exist_ok=True)
    held = (path.parent / f".{path.name}.lock").open("w")
    fcntl.flock(held, fcntl.LOCK_EX)
    return held


def test_a_lock_is_waited_for(path):
    held = lock(path)
    sleep = Sleep(lambda: None, held.close)

    TokenFile(path, sleep).save(ADDRESS, TOKEN)

    assert sleep.times == 2
    assert TokenFile(path).find(ADDRESS) == TOKEN


def test_a_lock_is_not_waited_for_without_end(path):
    sleep = Sleep()
    with lock(path), pytest.raises(TokenFileError, match=r"another process has locked .* for more than 10 s"):
        TokenFile(path, sleep).save(ADDRESS, TOKEN)

    assert sleep.times == LOCK_TRIES
    assert not path.exists()


@pytest.mark.parametrize("half", ["", THEIRS[:40]])
def test_a_file_that_is_being_written_is_read_again(file, half):
    file.write_text(half)
    sleep = Sleep(lambda: None, lambda: file.write_text(THEIRS))

    TokenFile(file, sleep).save(ADDRESS, TOKEN)

    assert sleep.times == 2
    assert entries(file) == {"https://other.example.com": "theirs", ADDRESS: TOKEN.reveal()}


def test_an_empty_file_is_believed_after_a_while(file):
    file.write_text("")
    sleep = Sleep()

    assert TokenFile(file, sleep).find(ADDRESS) is None
    assert sleep.times == READ_TRIES - 1


def test_a_write_between_our_read_and_our_replace_is_kept(file):
    writes = [lambda: file.write_text(THEIRS.replace("other", "another"))]

    def changed(tokens):
        if writes:
            writes.pop()()
        return TokensText(tokens.text, "").with_entry(TokensText(THEIRS.replace("other", "our"), "").entries[0])

    TokenFile(file)._change(changed)

    assert set(entries(file)) == {"https://another.example.com", "https://our.example.com"}


def test_constant_writes_of_another_program_are_an_error(file):
    writes = iter(range(1000))

    def changed(tokens):
        file.write_text(THEIRS + f"# {next(writes)}\n")
        return tokens.text + "# ours\n"

    with pytest.raises(TokenFileError, match="another program keeps changing"):
        TokenFile(file)._change(changed)

    assert "ours" not in file.read_text()
    assert sorted(each.name for each in file.parent.iterdir()) == [".tokens.toml.lock", "tokens.toml"]


# Errors


@pytest.mark.parametrize(
    ("content", "line"),
    [(THEIRS.encode() + b"token = unquoted-secret\n", "line 6"), (b"# fine\n# \xff secret\n", "line 2 is not UTF-8")],
)
def test_a_broken_file_is_kept_and_named_with_its_line(file, content, line):
    file.write_bytes(content)
    store = TokenFile(file, Sleep())

    for use in (lambda: store.find(ADDRESS), lambda: store.save(ADDRESS, TOKEN), lambda: store.remove(ADDRESS)):
        with pytest.raises(TokenFileError) as caught:
            use()

        assert line in str(caught.value)
        assert str(file) in str(caught.value)
        assert "move it away" in caught.value.hint
        assert "secret" not in caught.value.detail
    assert file.read_bytes() == content


def test_a_path_that_cannot_be_written_is_an_error_with_the_reason(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(TokenFileError, match="cannot be written") as caught:
        TokenFile(tmp_path / "file" / "tokens.toml").save(ADDRESS, TOKEN)

    assert "PACKAGEMANAGER_SSO_TOKEN_FILE" in caught.value.hint
    assert (caught.value.status, caught.value.exit_code) == (407, EXIT_NO_CREDENTIAL)


@pytest.fixture
def own_folder():
    """A folder of the acting user; root, who may write everywhere, acts as another user."""
    folder = Path(tempfile.mkdtemp())
    user = os.geteuid()
    if user == 0:
        os.chown(folder, NOBODY, NOBODY)
        os.seteuid(NOBODY)
    yield folder
    os.seteuid(user)
    folder.chmod(0o700)
    shutil.rmtree(folder)


def test_a_folder_that_is_read_only_is_an_error_and_can_still_be_read_from(own_folder):
    file = own_folder / "tokens.toml"
    TokenFile(file).save(ADDRESS, TOKEN)
    own_folder.chmod(0o500)

    with pytest.raises(TokenFileError, match="cannot be written: permission denied"):
        TokenFile(file).save(ADDRESS, Secret("new"))

    assert TokenFile(file).find(ADDRESS) == TOKEN
    assert sorted(each.name for each in own_folder.iterdir()) == [".tokens.toml.lock", "tokens.toml"]


def make_pipe(path):
    os.mkfifo(path)


def make_large(path):
    with path.open("wb") as file:
        file.truncate(1 << 30)


@pytest.mark.parametrize(
    ("make", "why"), [(Path.mkdir, "directory|regular file"), (make_pipe, "not a regular file"), (make_large, "large")]
)
def test_a_path_that_is_no_regular_file_is_refused_without_waiting(tmp_path, make, why):
    path = tmp_path / "tokens.toml"
    make(path)

    with pytest.raises(TokenFileError, match=f"cannot be read: .*({why})"):
        TokenFile(path).find(ADDRESS)


def test_no_token_is_shown_by_a_repr(path):
    store = TokenFile(path)
    store.save(ADDRESS, TOKEN)

    assert TOKEN.reveal() not in repr(store) + repr(store.find(ADDRESS))
