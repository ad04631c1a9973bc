"""Claims about tokens in variables and files."""

import pytest
from proxy_client import outcome, tokens_seen

from ppmproxy.config.model import CredentialSpec
from ppmproxy.testing.package_manager import wheel


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
