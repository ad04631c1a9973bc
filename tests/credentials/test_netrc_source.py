"""Claims about tokens in `.netrc`."""

import asyncio
import base64
import sys

import pytest
from proxy_client import outcome, passed_over
from token_files import BROKEN_FILES

from ppmproxy.auth.policy import Scheme
from ppmproxy.config.model import Upstream
from ppmproxy.testing.package_manager import wheel

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="named pipes and modes are POSIX's")


@pytest.fixture
async def server(package_manager):
    server = await package_manager()
    server.add(wheel("hello"))
    return server


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
