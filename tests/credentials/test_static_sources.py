import asyncio
import base64
import contextlib
import os
import sys
from pathlib import Path

import pytest
from proxy_client import outcome, passed_over, tokens_seen

from ppmproxy.auth.policy import Scheme
from ppmproxy.auth.secret import Secret
from ppmproxy.config.model import Access, AccessRule, CredentialSpec, Upstream
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


# --- environment ---


@pytest.mark.parametrize("variable", ["PPMPROXY_TOKEN", "PACKAGEMANAGER_TOKEN"])
async def test_a_variable_of_the_standard_chain(server, proxy, logs, variable):
    running = await proxy(server, environ={variable: server.token})

    assert await outcome(running) == (200, "")
    assert logs.requests[0]["source"] == f"environment variable {variable}"


async def test_a_variable_that_the_settings_name(server, proxy):
    specs = (CredentialSpec("env", variable="MY_TOKEN"),)
    running = await proxy(server, environ={"MY_TOKEN": server.token, "PPMPROXY_TOKEN": "wrong"}, credentials=specs)

    assert await outcome(running) == (200, "")


async def test_blanks_around_a_token_are_ignored(server, proxy):
    running = await proxy(server, environ={"PPMPROXY_TOKEN": f" {server.token}\r\n"})

    assert await outcome(running) == (200, "")


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("", "is empty"),
        ("  ", "is empty"),
        ("one\ntwo", "line break"),
        ("one\r\nX-Injected: two", "line break"),
        ("one two", "space"),
        ("t\u00f6ken", "beyond ASCII"),
        ("to\x00ken", "control character"),
    ],
)
async def test_a_value_that_cannot_be_a_token_is_reported_and_skipped(server, proxy, value, why):
    running = await proxy(server, environ={"PPMPROXY_TOKEN": value, "PACKAGEMANAGER_TOKEN": ""})

    status, detail = await outcome(running)

    assert status == 407
    assert "environment variable PPMPROXY_TOKEN gives no token: the value" in detail
    assert why in detail
    assert set(tokens_seen(server)) <= {None}


# --- file ---


async def test_a_file_named_by_a_variable(server, proxy, token_file, logs):
    token_file.write_text(server.token + "\n")
    running = await proxy(server, environ={"PPMPROXY_TOKEN_FILE": str(token_file)})

    assert await outcome(running) == (200, "")
    assert str(token_file) in logs.requests[0]["source"]


async def test_a_credential_that_systemd_loaded(server, proxy, token_file, logs):
    token_file.write_text(server.token)
    running = await proxy(server, environ={"CREDENTIALS_DIRECTORY": str(token_file.parent)})

    assert await outcome(running) == (200, "")
    assert logs.requests[0]["source"] == f"file {token_file} (systemd credential)"


async def test_a_file_below_home_is_written_with_a_tilde(server, proxy, tmp_path):
    (tmp_path / "token").write_text(server.token)
    running = await proxy(server, environ={"PPMPROXY_TOKEN_FILE": "~/token"}, home=tmp_path)

    assert await outcome(running) == (200, "")


async def test_a_changed_file_is_read_at_the_next_request(server, proxy, token_file):
    token_file.write_text("the-old-one-of-another-length")
    running = await proxy(server, environ={"PPMPROXY_TOKEN_FILE": str(token_file)})

    before = await outcome(running)
    token_file.write_text(server.token)
    after = await outcome(running)

    assert before[0] == 407
    assert after == (200, "")


async def test_a_byte_order_mark_before_a_token_is_skipped(server, proxy, token_file):
    token_file.write_bytes(b"\xef\xbb\xbf" + server.token.encode() + b"\r\n")
    running = await proxy(server, environ={"PPMPROXY_TOKEN_FILE": str(token_file)})

    assert await outcome(running) == (200, "")


async def test_a_file_behind_a_swapped_link_is_read_at_the_next_request(server, proxy, tmp_path):
    for name, token in (("one", "the-old-one"), ("two", server.token)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "token").write_text(token)
    (tmp_path / "..data").symlink_to("one")
    running = await proxy(server, environ={"PPMPROXY_TOKEN_FILE": str(tmp_path / "..data" / "token")})

    before = await outcome(running)
    (tmp_path / "..new").symlink_to("two")
    (tmp_path / "..new").replace(tmp_path / "..data")
    after = await outcome(running)

    assert before[0] == 407
    assert after == (200, "")


async def test_a_new_file_is_read_at_the_next_request(server, proxy, token_file):
    running = await proxy(server, environ={"PPMPROXY_TOKEN_FILE": str(token_file)})

    before = await outcome(running)
    token_file.write_text(server.token)

    assert before[0] == 407
    assert await outcome(running) == (200, "")


def missing(path):
    assert not path.exists()


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


def pipe(path):
    os.mkfifo(path)


@pytest.fixture
def held_open():
    """Makes named pipes with a writer that writes nothing."""
    with contextlib.ExitStack() as stack:

        def hold(path):
            pipe(path)
            stack.callback(os.close, os.open(path, os.O_RDWR | os.O_NONBLOCK))

        yield hold


BROKEN_FILES = {
    "missing": (missing, "no such file"),
    "directory": (Path.mkdir, "directory"),
    "empty": (lambda path: path.write_text(""), "is empty"),
    "binary": (lambda path: path.write_bytes(b"\xff\xfe\x00\x01"), "is not text"),
    "two lines": (lambda path: path.write_text("one\ntwo\n"), "line break"),
    "endless": (lambda path: path.symlink_to("/dev/zero"), "control character"),
    "dangling link": (lambda path: path.symlink_to("nowhere"), "no such file"),
    "link to itself": (lambda path: path.symlink_to(path), "symbolic link"),
    "pipe": (pipe, "is empty"),
}


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


# --- tokens.toml ---


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


# --- .netrc ---


@pytest.mark.parametrize(
    "text",
    [
        "machine 127.0.0.1 login __token__ password {token}\n",
        "machine other.example login x password y\nmachine 127.0.0.1\n  login __token__\n  password {token}\n",
        "# a comment\ndefault login __token__ password {token}\n",
        "machine 127.0.0.1 login __token__ account a password {token}",
    ],
)
async def test_the_entry_for_the_upstreams_host(server, proxy, tmp_path, text):
    (tmp_path / ".netrc").write_text(text.format(token=server.token))
    running = await proxy(server, environ={}, home=tmp_path)

    assert await outcome(running) == (200, "")


@pytest.mark.parametrize(
    "text",
    [
        b"\xef\xbb\xbfmachine 127.0.0.1 login __token__ password %s\n",
        b"machine o.example login m\xfcller password x\nmachine 127.0.0.1 login __token__ password %s\n",
        b"#no blank\nmachine 127.0.0.1 login __token__ password %s\n",
        b"machine 127.0.0.1 login __token__ password %s\nmacdef init\ncd /pub",
    ],
    ids=["byte-order mark", "Latin-1", "comment", "macro"],
)
async def test_an_unusual_netrc_is_read_without_a_warning(server, proxy, tmp_path, logs, text):
    (tmp_path / ".netrc").write_bytes(text.replace(b"%s", server.token.encode()))
    (tmp_path / ".netrc").chmod(0o600)
    running = await proxy(server, environ={}, home=tmp_path)

    assert await outcome(running) == (200, "")
    assert logs.events("credential_warning") == []


async def test_an_entry_that_cannot_be_read_is_skipped_with_a_warning(server, proxy, tmp_path, logs):
    path = tmp_path / ".netrc"
    path.write_text(f'machine o.example login x password "y\nmachine 127.0.0.1 login kim password {server.token}\n')
    path.chmod(0o600)
    running = await proxy(server, environ={}, home=tmp_path)

    assert await outcome(running) == (200, "")
    assert [event["why"] for event in logs.events("credential_warning")] == [
        f"{path}, line 1 cannot be read as netrc; correct or remove it"
    ]


@pytest.mark.parametrize("other", [None, "machine o.example login x password y\n"], ids=["alone", "beside .netrc"])
async def test_the_name_with_an_underscore_is_tried_second(server, proxy, tmp_path, other):
    (tmp_path / "_netrc").write_text(f"machine 127.0.0.1 login __token__ password {server.token}\n")
    if other:
        (tmp_path / ".netrc").write_text(other)
    running = await proxy(server, environ={}, home=tmp_path)

    assert await outcome(running) == (200, "")


async def test_the_name_with_a_dot_is_tried_first(server, proxy, tmp_path):
    (tmp_path / "_netrc").write_text("machine 127.0.0.1 login __token__ password wrong\n")
    (tmp_path / ".netrc").write_text(f"machine 127.0.0.1 login __token__ password {server.token}\n")
    running = await proxy(server, environ={}, home=tmp_path)

    assert await outcome(running) == (200, "")


async def test_host_names_in_netrc_have_no_case(package_manager, proxy, tmp_path):
    server = await package_manager(tls=False)
    server.add(wheel("hello"))
    (tmp_path / ".netrc").write_text(f"machine LocalHost login __token__ password {server.token}\n")
    url = server.url.replace("127.0.0.1", "localhost")
    running = await proxy(Upstream(url=url, configured=True), environ={}, home=tmp_path)

    assert await outcome(running) == (200, "")


async def test_the_variable_netrc_names_the_file(server, proxy, tmp_path):
    (tmp_path / "mine").write_text(f"machine 127.0.0.1 login __token__ password {server.token}\n")
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login __token__ password wrong\n")
    running = await proxy(server, environ={"NETRC": str(tmp_path / "mine")}, home=tmp_path)

    assert await outcome(running) == (200, "")


async def test_the_user_name_of_a_netrc_entry_is_used_for_basic(server, proxy, tmp_path):
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login kim password secret\n")
    running = await proxy(server, environ={}, home=tmp_path, scheme=Scheme.BASIC)

    await outcome(running)

    assert server.requests[0].authorization == "Basic " + base64.b64encode(b"kim:secret").decode()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("machine other.example login x password y\n", "no entry for 127.0.0.1"),
        ("machine 127.0.0.1 login x password\n", "netrc"),
        ("nonsense 127.0.0.1\n", "line 1 cannot be read as netrc"),
    ],
)
async def test_a_netrc_without_a_token_is_reported(server, proxy, tmp_path, text, why):
    (tmp_path / ".netrc").write_text(text)
    running = await proxy(server, environ={}, home=tmp_path)

    status, _detail = await outcome(running)

    assert status == 407
    assert why in (await passed_over(running))[str(tmp_path / ".netrc")]


@POSIX
@pytest.mark.parametrize("what", ["directory", "binary", "pipe", "link to itself"])
async def test_a_netrc_that_cannot_be_read_is_reported_and_skipped(server, proxy, tmp_path, what):
    BROKEN_FILES[what][0](tmp_path / ".netrc")
    running = await proxy(server, environ={}, home=tmp_path)

    status, detail = await asyncio.wait_for(outcome(running), 5)

    assert status == 407
    assert str(tmp_path / ".netrc") in detail
