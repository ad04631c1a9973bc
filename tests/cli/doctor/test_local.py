"""Claims about what doctor finds in files: the shared token file, and lock files."""

OURS = "http://127.0.0.1:7760/pypi/latest/simple/"


async def test_a_lock_file_that_names_the_proxy_is_reported(configured):
    (configured.project / "uv.lock").write_text(f'version = 1\nsource = "{OURS}"\n')

    report = await configured.doctor()

    assert report.of("lock-files", "warning")["what"].startswith("uv.lock, line 2")
    assert report.of("lock-files")["fix"] == "ppmproxy lock canonical uv.lock"
