"""Claims about files that cannot be read or parsed: reported, skipped, and read again when they change."""

import contextlib
import os
import sys
from pathlib import Path

import pytest
from proxy_client import outcome, passed_over
from token_files import BROKEN_FILES, pipe

from ppmproxy.auth.secret import Secret
from ppmproxy.config.model import Access, AccessRule
from ppmproxy.credentials.token_file import TokenFile
from ppmproxy.testing.package_manager import wheel

NOBODY = 65534


FILES_OPEN = Path("/proc/self/fd")


POSIX = pytest.mark.skipif(sys.platform == "win32", reason="named pipes and modes are POSIX's")


@pytest.fixture
async def server(package_manager):
    server = await package_manager()
    server.add(wheel("hello"))
    return server


@pytest.fixture
def token_file(tmp_path):
    return tmp_path / "token"


@contextlib.contextmanager
def as_nobody():
    """Another user than root, because root may read every file."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def held_open():
    """Makes named pipes with a writer that writes nothing."""
    with contextlib.ExitStack() as stack:

        def hold(path):
            pipe(path)
            stack.callback(os.close, os.open(path, os.O_RDWR | os.O_NONBLOCK))

        yield hold


@POSIX
@pytest.mark.parametrize("what", BROKEN_FILES)
async def test_a_file_that_cannot_be_read_is_reported_and_skipped(server, proxy, token_file, what):
    make, why = BROKEN_FILES[what]
    make(token_file)
    environ = {"PPMPROXY_TOKEN_FILE": str(token_file)}
    alone = await proxy(server, environ=environ)
    with_another = await proxy(server, environ={**environ, "PACKAGEMANAGER_TOKEN": server.token})

    status, detail = await outcome(alone)

    assert status == 407
    assert str(token_file) in detail
    assert why in detail.lower()
    assert await outcome(with_another) == (200, "")


@POSIX
@pytest.mark.parametrize("variable", ["PPMPROXY_TOKEN_FILE", "NETRC", "PACKAGEMANAGER_SSO_TOKEN_FILE"])
async def test_a_pipe_without_data_is_reported_and_not_waited_for(server, proxy, token_file, held_open, variable):
    held_open(token_file)
    running = await proxy(server, environ={variable: str(token_file)})

    status, detail = await outcome(running)

    assert status == 407
    assert str(token_file) in detail
    assert "nobody has written yet" in detail


@POSIX
@pytest.mark.parametrize("variable", ["PPMPROXY_TOKEN_FILE", "NETRC"])
async def test_a_file_that_may_not_be_read_is_reported(server, proxy, token_file, variable):
    token_file.write_text("a-token")
    token_file.chmod(0)
    everybody = {"access": Access(AccessRule.ANY)}
    running = await proxy(server, environ={variable: str(token_file)}, settings=everybody)

    with as_nobody():
        status, detail = await outcome(running)

    assert status == 407
    assert "permission denied" in detail


@pytest.mark.skipif(not FILES_OPEN.exists(), reason="only Linux tells a process which files it has open")
@pytest.mark.parametrize("what", ["directory", "binary", "pipe", "missing"])
async def test_a_broken_file_leaves_no_file_open(server, proxy, token_file, what):
    BROKEN_FILES[what][0](token_file)
    running = await proxy(server, environ={"PPMPROXY_TOKEN_FILE": str(token_file)})
    await outcome(running)
    before = len(list(FILES_OPEN.iterdir()))

    for _ in range(20):
        await outcome(running)

    assert len(list(FILES_OPEN.iterdir())) < before + 10


@pytest.fixture
def tokens_file(tmp_path):
    path = tmp_path / ".ppm" / "tokens.toml"
    path.parent.mkdir()
    return path


async def test_a_broken_token_file_is_kept_reported_and_skipped(server, proxy, tmp_path, tokens_file, logs):
    tokens_file.write_text('[[connections]]\naddress = "x"\ntoken =\n')
    alone = await proxy(server, environ={}, home=tmp_path)
    status, detail = await outcome(alone)
    (tmp_path / ".netrc").write_text(f"default login __token__ password {server.token}\n")

    assert await outcome(alone) == (200, "")
    assert (status, f"{tokens_file} gives no token: line 3 is not valid TOML" in detail) == (407, True)
    assert [event["source"] for event in logs.events("credential_source_broken")] == [str(tokens_file)]
    assert tokens_file.read_text().endswith("token =\n")


async def test_a_repaired_token_file_is_read_at_the_next_request(server, proxy, tmp_path, tokens_file):
    tokens_file.write_text("")
    running = await proxy(server, environ={}, home=tmp_path)

    before = await outcome(running), await passed_over(running)
    TokenFile(tokens_file).save(server.url, Secret(server.token))
    after = await outcome(running)
    TokenFile(tokens_file).remove(server.url)

    assert before[0][0] == 407
    assert before[1][str(tokens_file)] == f"no entry for {server.url}"
    assert after == (200, "")
    assert (await outcome(running))[0] == 407
