"""Claims about what doctor finds in files: the shared token file, and lock files."""

from examined_person import SECRET

from ppmproxy.auth.secret import Secret
from ppmproxy.credentials.token_file import TokenFile

OURS = "http://127.0.0.1:7760/pypi/latest/simple/"


async def test_an_entry_that_makes_posit_keyring_drop_others_is_reported(configured, server):
    store = TokenFile(configured.home / ".ppm" / "tokens.toml")
    store.save(server.url, Secret(SECRET))
    store.path.write_text(store.path.read_text() + 'note = "mine"\n')

    report = await configured.doctor()

    assert "posit-keyring will drop" in report.of("tokens-file", "warning")["what"]


async def test_a_lock_file_that_names_the_proxy_is_reported(configured):
    (configured.project / "uv.lock").write_text(f'version = 1\nsource = "{OURS}"\n')

    report = await configured.doctor()

    assert report.of("lock-files", "warning")["what"].startswith("uv.lock, line 2")
    assert report.of("lock-files")["fix"] == "ppmproxy lock canonical uv.lock"
