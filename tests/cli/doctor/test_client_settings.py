"""Claims about what else doctor finds in clients' settings: forward proxies, passwords, no cache, broken files."""

import os

import pytest
from examined_person import SECRET

OURS = "http://127.0.0.1:7760/pypi/latest/simple/"
USER_PIP = ".config/pip/pip.conf"


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
async def test_a_forward_proxy_that_captures_localhost_is_reported(configured, variable):
    configured.environ.pop("NO_PROXY")
    proxy = f"http://kim:{SECRET}@proxy.invalid:3128"

    captured = await configured.doctor(**{variable: proxy})
    one_spelling = await configured.doctor(**{variable: proxy}, NO_PROXY="localhost,127.0.0.1", no_proxy="a.example")
    spared = await configured.doctor(**{variable: proxy}, no_proxy="a.example, localhost,127.0.0.1")
    by_network = await configured.doctor(**{variable: proxy}, NO_PROXY="127.0.0.0/8,.localhost")

    assert variable in captured.of("proxy-variables", "failed")["what"]
    assert one_spelling.of("proxy-variables", "failed")
    assert spared.of("proxy-variables", "ok")
    assert by_network.of("proxy-variables", "ok")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_a_netrc_entry_for_this_machine_is_reported(configured, host):
    configured.has(".netrc", f"machine {host}\n  login kim\n  password {SECRET}\n")

    report = await configured.doctor(PPMPROXY_CREDENTIALS='[{from = "env"}]')

    assert host in report.of("credentials", "warning")["what"]


async def test_a_netrc_entry_for_every_host_is_one_for_this_machine(configured):
    configured.has(".netrc", f"default login kim password {SECRET}\n")
    for_all = await configured.doctor(PPMPROXY_CREDENTIALS='[{from = "env"}]')
    configured.has(".netrc", f"machine a.example login default password {SECRET}\n")
    by_name = await configured.doctor(PPMPROXY_CREDENTIALS='[{from = "env"}]')

    assert "default" in for_all.of("credentials", "warning")["what"]
    assert by_name.of("credentials", "ok")


@pytest.mark.parametrize("variable", ["UV_KEYRING_PROVIDER", "PIP_KEYRING_PROVIDER"])
async def test_a_keyring_of_a_client_s_own_is_reported(configured, variable):
    report = await configured.doctor(**{variable: "subprocess"})
    off = await configured.doctor(**{variable: "disabled"})

    assert report.of("credentials", "warning")["fix"] == f"unset {variable}"
    assert off.of("credentials", "ok")


async def test_pip_without_a_cache_is_reported(configured):
    configured.has(USER_PIP, f"[global]\nindex-url = {OURS}\n")
    without = await configured.doctor(PIP_CONFIG_FILE="")
    configured.has(USER_PIP, f"[global]\nindex-url = {OURS}\ntrusted-host = a.example\n  127.0.0.1\n")
    trusted = await configured.doctor(PIP_CONFIG_FILE="")
    hidden = await configured.doctor(PIP_CONFIG_FILE="", PIP_TRUSTED_HOST="a.example")

    assert "trusted-host" in without.of("pip-cache", "warning")["what"]
    assert trusted.of("pip-cache", "ok")
    assert hidden.of("pip-cache", "warning")


@pytest.mark.parametrize("path", [USER_PIP, ".config/uv/uv.toml", ".config/pdm/config.toml"])
async def test_a_client_s_file_that_is_broken_is_reported_with_its_line(configured, path):
    configured.has(path, f"\nthis is = = {SECRET}\n")

    report = await configured.doctor(PIP_CONFIG_FILE="")

    assert f"{path}, line 2" in report.of("client-files", "failed")["what"]


async def test_a_client_s_file_that_is_no_file_is_reported_and_not_waited_for(configured):
    file = configured.has(USER_PIP, "")
    file.unlink()
    os.mkfifo(file)

    report = await configured.doctor(PIP_CONFIG_FILE="")

    assert str(file) in report.of("client-files", "failed")["what"]
