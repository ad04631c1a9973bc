"""Claims about `ppmproxy doctor`: it finds each fault that was planted, says what to do, and never shows a secret."""

import contextlib
import json
import os
import re
import socket
import sys

import pytest
from aiohttp import web
from examined_person import SECRET
from forked_command import forked_ppmproxy
from processes import ppmproxy_run, run_program
from proxy_client import leaked_forms, wait_until

from ppmproxy.auth.secret import Secret
from ppmproxy.cli.doctor.checks import clock_check
from ppmproxy.clients.r_profile import PROFILE
from ppmproxy.config.model import Upstream
from ppmproxy.credentials.token_file import TokenFile
from ppmproxy.testing.package_manager import LoginPage, NoAnswer, Status, jwt, wheel

NOWHERE = "http://127.0.0.1:1"


# --- all is well ------------------------------------------------------------------------------------------------------


async def test_nothing_is_found_where_all_is_well(configured, server, ca_file, tmp_path):
    environ = {name: value for name, value in configured.environ.items() if name.startswith("PPMPROXY_")}
    del environ["PPMPROXY_LISTEN"]
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700)

    async with ppmproxy_run(tmp_path, XDG_RUNTIME_DIR=str(runtime), **environ) as running:
        await wait_until(
            lambda: [*runtime.rglob("daemon-*.json")]
        )  # it leaves word right after it says that it listens
        listen = f"127.0.0.1:{running.url.rpartition(':')[2]},[::1]:{running.url.rpartition(':')[2]}"
        report = await configured.doctor(PPMPROXY_LISTEN=listen, XDG_RUNTIME_DIR=str(runtime))

    assert report.faults() == set()
    assert "proved to be this user's" in report.of("daemon")["what"]
    assert str(ca_file) in report.of("certificate")["what"]
    assert "PPMPROXY_TOKEN" in report.of("token")["what"]
    assert "repos:read" in report.of("token")["what"]
    assert leaked_forms(server.token, report.text) == []


async def test_people_read_one_line_for_each_check_and_one_for_its_fix(configured, server):
    environ = configured.environ | {
        "PIP_INDEX_URL": f"http://{configured.environ['PPMPROXY_LISTEN']}/pypi/latest/simple/"
    }
    end = await run_program([sys.executable, "-m", "ppmproxy", "doctor"], environ, configured.project)

    lines = end.output.splitlines()
    assert end.code == 1
    assert lines[lines.index(next(line for line in lines if line.startswith("failed   daemon:"))) + 1].split()[:2] == [
        "fix:",
        "ppmproxy",
    ]
    assert leaked_forms(server.token, end.output) == []


# --- settings and the daemon ------------------------------------------------------------------------------------------


async def test_broken_settings_are_reported_with_file_and_line(person):
    person.has(".config/ppmproxy/config.toml", "\nlogg_level = 'info'\n")

    report = await person.doctor()

    assert report.of("daemon", "ok")
    assert "upstream" not in {one["check"] for one in report.found}  # it is not known which one would be meant
    assert "config.toml, line 2" in report.of("settings", "failed")["what"]
    assert "log_level" in report.of("settings")["fix"]


async def test_a_daemon_that_is_not_running_is_reported_where_a_client_is_pointed_at_it(configured):
    report = await configured.doctor(
        PIP_INDEX_URL=f"http://{configured.environ['PPMPROXY_LISTEN']}/pypi/latest/simple/"
    )

    assert report.of("daemon", "failed")["fix"] == "ppmproxy run"
    assert report.of("port", "ok")


async def test_an_installed_service_that_does_not_run_is_reported_with_the_command_that_starts_it(configured):
    configured.has(".config/systemd/user/ppmproxy.socket", "[Socket]\n")

    report = await configured.doctor()

    assert report.of("daemon", "failed")["fix"] == "ppmproxy service install"


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
async def test_a_port_held_by_another_program_on_one_family_is_reported_and_its_process_named(configured, family, host):
    with socket.create_server((host, 0), family=family) as listener:
        port = listener.getsockname()[1]

        report = await configured.doctor(PPMPROXY_LISTEN=f"127.0.0.1:{port},[::1]:{port}")

    assert "process " in report.of("port", "failed")["what"]
    assert host in report.of("port", "failed")["what"]
    assert "none is running" in report.of("daemon")["what"]


async def test_a_server_that_says_yes_to_everything_is_not_taken_for_the_daemon(configured):
    async def yes(_request):
        return web.Response(text="0" * 64)

    async with serving_http(yes) as url:
        report = await configured.doctor(PPMPROXY_LISTEN=url.removeprefix("http://"))

    assert report.of("port", "failed")
    assert "none is running" in report.of("daemon")["what"]


@contextlib.asynccontextmanager
async def serving_http(handler):
    runner = web.ServerRunner(web.Server(handler, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def test_a_daemon_elsewhere_and_one_for_another_upstream_are_judged_and_the_shell_s_settings_a_remark(
    configured, tmp_path
):
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700)
    async with ppmproxy_run(tmp_path, XDG_RUNTIME_DIR=str(runtime), PPMPROXY_UPSTREAM=NOWHERE) as running:
        await wait_until(
            lambda: [*runtime.rglob("daemon-*.json")]
        )  # it leaves word right after it says that it listens
        elsewhere = await configured.doctor(XDG_RUNTIME_DIR=str(runtime))
        port = running.url.removeprefix("http://")
        other = await configured.doctor(XDG_RUNTIME_DIR=str(runtime), PPMPROXY_LISTEN=port)

    assert running.url in elsewhere.of("daemon", "ok")["what"]
    assert NOWHERE in elsewhere.of("upstream", "failed")["what"]
    assert f"PPMPROXY_UPSTREAM={NOWHERE} PPMPROXY_LISTEN={port}" in elsewhere.of("shell-settings", "warning")["fix"]
    assert NOWHERE in other.of("upstream", "failed")["what"]
    assert "PPMPROXY_LISTEN" not in other.of("shell-settings", "warning")["fix"]


async def test_a_daemon_that_does_not_trust_an_authority_that_the_shell_names_is_reported(configured, server, tmp_path):
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700)
    settings = {"PPMPROXY_UPSTREAM": server.url, "PPMPROXY_TOKEN": server.token}  # and not the authority
    async with ppmproxy_run(tmp_path, XDG_RUNTIME_DIR=str(runtime), **settings) as running:
        await wait_until(
            lambda: [*runtime.rglob("daemon-*.json")]
        )  # it leaves word right after it says that it listens
        fetch = f"import urllib.request; urllib.request.urlopen('{running.index_url}pip/').read()"
        assert (await run_program([sys.executable, "-c", fetch], configured.environ, tmp_path)).code != 0
        listen = running.url.removeprefix("http://")
        report = await configured.doctor(XDG_RUNTIME_DIR=str(runtime), PPMPROXY_LISTEN=listen)

    assert report.of("certificate", "failed")
    assert "is not trusted" in report.of("daemon", "warning")["what"]


# --- the upstream -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("upstream", "said"),
    [("https://no-such-host.invalid", "the host name is unknown"), (NOWHERE, "cannot connect to")],
)
async def test_an_upstream_that_cannot_be_reached_is_reported(configured, upstream, said):
    report = await configured.doctor(PPMPROXY_UPSTREAM=upstream)

    assert said in report.of("upstream", "failed")["what"]


@pytest.mark.parametrize(
    ("proxy", "check", "outcome", "said"),
    [
        (f"http://me:{SECRET}@127.0.0.1:1", "forward-proxy", "ok", "is reached through http://****@127.0.0.1:1"),
        (f"http://me:{SECRET}@127.0.0.1:1", "upstream", "failed", "cannot connect to the forward proxy"),
        (
            f"http://me:{SECRET}@proxy.invalid:3128",
            "forward-proxy",
            "failed",
            "HTTPS_PROXY names the forward proxy proxy.invalid:3128",
        ),
        ("http:/proxy.invalid:3128", "forward-proxy", "failed", "HTTPS_PROXY cannot be used for no-such-host"),
        (f"http://me:{SECRET}#@127.0.0.1:1", "forward-proxy", "failed", "HTTPS_PROXY cannot be used for no-such-host"),
    ],
)
async def test_the_forward_proxy_that_is_used_is_checked(configured, proxy, check, outcome, said):
    report = await configured.doctor(PPMPROXY_UPSTREAM="https://no-such-host.invalid", HTTPS_PROXY=proxy)

    assert said in report.of(check, outcome)["what"]


async def test_an_upstream_that_speaks_tls_only_is_reported_with_the_scheme_that_is_missing(configured, server):
    report = await configured.doctor(PPMPROXY_UPSTREAM=server.url.replace("https://", "http://"))

    assert "https://" in report.of("upstream", "failed")["fix"]


async def test_a_variable_that_names_unusable_authorities_is_a_warning(configured):
    report = await configured.doctor(SSL_CERT_FILE=str(configured.has("empty.pem", "")))

    assert report.of("certificate", "ok")
    assert "empty.pem, which is empty" in report.of("certificate", "warning")["what"]


async def test_an_upstream_whose_authority_is_unknown_is_reported_with_the_authority_s_name(configured):
    configured.environ.pop("PPMPROXY_CA_FILE")

    report = await configured.doctor()

    finding = report.of("certificate", "failed")
    assert re.search(r'issued by "[^"]*Testing CA[^"]*trustme[^"]*"', finding["what"])
    assert "ca_file" in finding["fix"]


async def test_the_store_that_trusts_the_certificate_is_named(configured, ca_file):
    by_system = await configured.doctor(SSL_CERT_FILE=str(ca_file))
    configured.environ.pop("PPMPROXY_CA_FILE")
    without = await configured.doctor(SSL_CERT_FILE=str(ca_file))

    assert "even without ca_file" in by_system.of("certificate", "ok")["what"]
    assert str(ca_file) in without.of("certificate", "ok")["what"]


@pytest.mark.parametrize("content", [None, "no certificate"])
async def test_a_ca_file_that_cannot_be_used_is_reported(configured, content):
    file = configured.has("ca.pem", content or "")
    if content is None:
        file.unlink()

    report = await configured.doctor(PPMPROXY_CA_FILE=str(file))

    faults = [one["what"] for one in report.found if one["outcome"] == "failed" and one["check"] != "daemon"]
    assert "ca.pem" in faults[0]


async def test_a_server_that_is_no_package_manager_is_reported(configured, server):
    server.add_fault("*", LoginPage())

    report = await configured.doctor()

    assert report.of("upstream", "warning")


@pytest.mark.parametrize("status", [429, 503])
async def test_a_server_that_is_out_of_order_is_no_wrong_url_and_has_not_taken_the_token(configured, server, status):
    server.add_fault("*", Status(status))

    report = await configured.doctor()

    assert "tell its administrator" in report.of("upstream", "warning")["fix"]
    assert "could not be tried" in report.of("upstream", "failed")["what"]


@pytest.mark.timeout(60)
async def test_an_upstream_that_never_answers_is_not_waited_for_in_vain(configured, server):
    server.add_fault("*", NoAnswer())

    report = await configured.doctor(PPMPROXY_READ_TIMEOUT="1s")

    assert "did not answer in time" in report.of("upstream", "failed")["what"]


def test_clocks_may_differ_by_a_minute():
    date, then = "Thu, 01 Jan 2026 00:00:00 GMT", 1767225600
    found = {skew: clock_check(date, then + skew, Upstream()) for skew in (0, 60, -60, 61, -61)}

    assert {skew: finding.outcome.value for skew, finding in found.items()} == {
        0: "ok",
        60: "ok",
        -60: "ok",
        61: "warning",
        -61: "warning",
    }
    assert "61 s ahead of" in found[61].what
    assert "61 s behind" in found[-61].what
    assert clock_check(None, then, Upstream()) is None
    assert clock_check("yesterday", then, Upstream()) is None


async def test_a_clock_that_is_wrong_is_reported(configured):
    async def yesterday(_request):
        return web.json_response({"version": "1"}, headers={"Date": "Thu, 01 Jan 2026 00:00:00 GMT"})

    async with serving_http(yesterday) as url:
        report = await configured.doctor(PPMPROXY_UPSTREAM=url)

    assert report.of("clock", "warning")


# --- the token --------------------------------------------------------------------------------------------------------


async def test_no_token_is_reported_with_what_each_source_said(configured, server):
    configured.environ.pop("PPMPROXY_TOKEN")
    configured.has(".netrc", f"machine elsewhere.example.com login x password {SECRET}\n")

    report = await configured.doctor()

    finding = report.of("token", "failed")
    assert "environment variables PPMPROXY_TOKEN, PPMPROXY_TOKEN_FILE, " in finding["what"]
    assert "no entry for 127.0.0.1" in finding["what"]
    assert "ppmproxy login" in finding["fix"]


async def test_what_the_settings_do_not_look_at_is_no_advice(configured):
    report = await configured.doctor(PPMPROXY_CREDENTIALS='[{from = "env", variable = "MINE"}]')

    finding = report.of("token", "failed")
    assert "environment variable MINE: not set" in finding["what"]
    assert finding["fix"] == "put a token there"


async def test_no_token_is_no_fault_where_none_is_wanted(configured, server, package_manager, ca_file):
    free = await package_manager(open_repos=("pypi",))
    free.add(wheel("pip"))
    configured.environ.pop("PPMPROXY_TOKEN")

    report = await configured.doctor(PPMPROXY_UPSTREAM=free.url)

    assert "wants none" in report.of("token", "ok")["what"]


@pytest.mark.parametrize(
    ("claims", "said"),
    [({"exp": 1_000_000_000}, "it has expired"), ({"scopes": ["sources:write"]}, "repos:read is missing")],
)
async def test_a_token_that_is_over_or_lacks_the_scope_is_reported(configured, server, claims, said):
    token = server.accept_token(jwt({"sub": "kim", **claims}))

    report = await configured.doctor(PPMPROXY_TOKEN=token)

    assert said in report.of("token", "failed")["what"]
    assert leaked_forms(token, report.text) == []


@pytest.mark.parametrize(
    ("scopes", "outcome", "said"),
    [
        (("sources:write:internal",), "ok", "with the scopes sources:write:internal"),
        (("repos:read",), "failed", "the scope sources:write is missing"),
        (None, "warning", "none found"),
    ],
)
async def test_the_token_for_uploads_is_reported_where_they_are_on(configured, server, scopes, outcome, said):
    token = server.issue_token(scopes) if scopes else ""
    specs = '[{from = "env", use = "read"}, {from = "env", variable = "WRITE", use = "upload", repos = ["internal"]}]'
    environ = {"PPMPROXY_CREDENTIALS": specs} | ({"WRITE": token} if token else {})

    report = await configured.doctor(PPMPROXY_UPLOADS="true", **environ)

    assert report.of("token", "ok")
    assert said in report.of("upload-token", outcome)["what"]
    assert server.requests_for("*/upload/*") == []


async def test_where_uploads_are_off_nothing_is_reported_of_their_token(configured):
    report = await configured.doctor()

    assert [one for one in report.found if one["check"] == "upload-token"] == []


async def test_a_token_that_the_server_refuses_is_reported(configured, server):
    report = await configured.doctor(PPMPROXY_TOKEN=SECRET)

    assert "rejects the token" in report.of("token", "failed")["what"]


async def test_a_repository_that_is_not_there_is_no_proof_of_the_token(configured, server):
    finding = (await configured.doctor("--repo", "pipy")).of("token", "warning")

    assert "no index /pipy/latest/simple/ (404)" in finding["what"]
    assert "--repo" in finding["fix"]


async def test_a_repository_without_the_project_that_is_asked_for_is_there(configured, package_manager):
    other = await package_manager(repos=("internal",))
    configured.environ |= {"PPMPROXY_UPSTREAM": other.url, "PPMPROXY_TOKEN": other.token}

    assert "taken for internal" in (await configured.doctor("--repo", "internal")).of("token", "ok")["what"]


async def test_a_token_that_may_not_read_the_repository_is_reported(configured, server):
    server.add_fault("*/simple/*", Status(403, body=b"blocked"))

    report = await configured.doctor()

    assert "403" in report.of("token", "failed")["what"]


async def test_an_entry_that_makes_posit_keyring_drop_others_is_reported(configured, server):
    store = TokenFile(configured.home / ".ppm" / "tokens.toml")
    store.save(server.url, Secret(SECRET))
    store.path.write_text(store.path.read_text() + 'note = "mine"\n')

    report = await configured.doctor()

    assert "posit-keyring will drop" in report.of("tokens-file", "warning")["what"]


# --- clients ----------------------------------------------------------------------------------------------------------


OURS = "http://127.0.0.1:7760/pypi/latest/simple/"
OTHER = f"https://kim:{SECRET}@other.example.com/{SECRET}/simple?key={SECRET}"
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


@pytest.mark.parametrize(
    ("name", "outcome"),
    [("PIP_EXTRA_INDEX_URL", "failed"), ("UV_EXTRA_INDEX_URL", "warning"), ("UV_INDEX", "warning")],
)
async def test_a_second_index_in_the_environment_is_reported(configured, name, outcome):
    report = await configured.doctor(**{name: f"other={OTHER}" if name == "UV_INDEX" else OTHER})

    finding = report.of("second-index", outcome)
    assert name in finding["what"]
    assert "https://other.example.com" in finding["what"]
    assert finding["fix"] == f"unset {name}"


@pytest.mark.parametrize(
    ("path", "text", "outcome"),
    [
        (f"home/{USER_PIP}", f"[global]\nextra_index_url =\n  {OURS}\n  {OTHER}\n", "failed"),
        (f"home/{USER_PIP}", f"[install]\nextra-index-url = {OTHER}\n", "failed"),
        ("home/.config/uv/uv.toml", f'[[index]]\nurl = "{OTHER}"\n', "warning"),
        ("project/uv.toml", f'extra-index-url = ["{OTHER}"]\n', "warning"),
        ("project/pyproject.toml", f'[[tool.uv.index]]\nurl = "{OTHER}"\n', "warning"),
        (
            "project/pyproject.toml",
            f'[[tool.poetry.source]]\nurl = "{OURS}"\n[[tool.poetry.source]]\nurl = "{OTHER}"\n',
            "warning",
        ),
        ("project/Pipfile", f'[[source]]\nurl = "${{PPM_URL}}"\n[[source]]\nurl = "{OTHER}"\n', "warning"),
        ("project/requirements-dev.txt", f"six\n--extra-index-url {OTHER}\n", "failed"),
        ("project/requirements.txt", f"--extra-index-url={OTHER}\n", "failed"),
        ("project/requirements/dev.txt", f"--extra-index-url={OTHER}\n", "failed"),
    ],
)
async def test_a_second_index_in_a_file_is_reported(configured, tmp_path, path, text, outcome):
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / path).write_text(text)

    report = await configured.doctor(PIP_CONFIG_FILE="")

    finding = [one for one in report.found if one["check"] == "second-index" and path in one["what"]]
    assert [one["outcome"] for one in finding] == [outcome]
    assert "https://other.example.com" in finding[0]["what"]


@pytest.mark.parametrize("option", ["-r more/base.txt", "-cmore/base.txt", "--requirement=more/base.txt"])
async def test_a_second_index_in_a_file_that_requirements_include_is_reported_once(configured, option):
    (configured.project / "more").mkdir()
    (configured.project / "requirements.txt").write_text(f"{option}\n{option}\n-r https://a.example/x.txt\n")
    (configured.project / "more" / "base.txt").write_text(f"-r ../requirements.txt\n--extra-index-url {OTHER}\n")

    report = await configured.doctor()

    assert "more/base.txt, line 2" in report.of("second-index", "failed")["what"]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("project/pyproject.toml", f'[[tool.uv.index]]\nurl = "{OTHER}"\nexplicit = true\n'),
        ("project/pyproject.toml", f'[[tool.uv.index]]\nurl = "{OURS}"\n'),
        ("project/requirements.txt", f"# --extra-index-url {OTHER}\n--extra-index-url {OURS}\n"),
    ],
)
async def test_what_leads_to_the_proxy_or_is_asked_for_by_name_is_no_second_index(configured, tmp_path, path, text):
    (tmp_path / path).write_text(text)

    report = await configured.doctor()

    assert report.of("second-index", "ok")


async def test_an_index_with_which_uv_insists_on_a_password_is_reported_until_configure_has_mended_it(
    configured, server, tmp_path
):
    file = tmp_path / "project/pyproject.toml"
    file.write_text(
        f'[[tool.uv.index]]\nname = "company"\nurl = "{server.index_url()}"\nexplicit = true\nauthenticate = "always"\n'
    )

    before = await configured.doctor()
    command = before.of("uv-authenticate", "failed")["fix"].split()
    await run_program([sys.executable, "-m", *command], configured.environ, configured.project)
    after = await configured.doctor()

    assert "authenticate in [[index]] company" in before.of("uv-authenticate", "failed")["what"]
    assert after.of("uv-authenticate", "ok")
    assert after.of("direct-index", "ok")


async def test_an_index_in_a_member_of_the_workspace_is_reported(configured, server, tmp_path):
    project = tmp_path / "project"
    (project / "packages/lib").mkdir(parents=True)
    (project / "pyproject.toml").write_text('[tool.uv.workspace]\nmembers = ["packages/*"]\n')
    (project / "packages/lib/pyproject.toml").write_text(
        f'[[tool.uv.index]]\nname = "company"\nurl = "{server.index_url()}"\nexplicit = true\n'
    )

    report = await configured.doctor()

    assert "packages/lib/pyproject.toml" in report.of("direct-index", "failed")["what"]


@pytest.mark.parametrize(
    ("path", "text", "fix"),
    [
        (f"home/{USER_PIP}", "[global]\nindex-url = URL\n", "ppmproxy configure pip"),
        ("home/.config/uv/uv.toml", '[[index]]\nurl = "URL"\ndefault = true\n', "ppmproxy configure uv"),
        ("project/requirements.txt", "-i URL\nsix\n", "remove that line, and run `ppmproxy configure pip`"),
        ("home/.config/pdm/config.toml", '[pypi]\nurl = "URL"\n', "ppmproxy configure pdm"),
        ("project/uv.toml", '[[index]]\nurl = "URL"\ndefault = true\n', "ppmproxy configure uv --project"),
        (
            "project/pyproject.toml",
            '[[tool.uv.index]]\nurl = "URL"\ndefault = true\n',
            "ppmproxy configure uv --project",
        ),
        (
            "project/pyproject.toml",
            '[[tool.poetry.source]]\nname = "ppm"\nurl = "URL"\n',
            "ppmproxy configure poetry",
        ),
        (
            "project/pyproject.toml",
            '[[tool.poetry.source]]\nname = "company"\nurl = "URL"\npriority = "explicit"\n',
            "ppmproxy configure poetry",
        ),
        (
            "project/pyproject.toml",
            '[[tool.uv.index]]\nname = "company"\nurl = "URL"\nexplicit = true\n',
            "ppmproxy configure uv --project",
        ),
        (
            "project/pyproject.toml",
            '[[tool.pdm.source]]\nname = "pypi"\nurl = "URL"\n',
            "ppmproxy configure pdm --project",
        ),
        ("project/Pipfile", '[[source]]\nname = "x"\nurl = "URL"\nverify_ssl = true\n', "ppmproxy configure pipenv"),
    ],
)
async def test_an_index_that_is_the_package_manager_itself_is_reported(configured, server, tmp_path, path, text, fix):
    url = server.index_url().replace("://", f"://__token__:{SECRET}@")
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / path).write_text(text.replace("URL", url))

    report = await configured.doctor(PIP_CONFIG_FILE="")

    finding = report.of("direct-index", "failed")
    assert path in finding["what"]
    without_a_change = "run commands by `ppmproxy exec --intercept -- …`; or "
    assert finding["fix"] == (without_a_change if path.startswith("project/") else "") + fix
    if fix.startswith("ppmproxy "):
        words = fix.partition(";")[0].split()
        end = await run_program(
            [sys.executable, "-m", *words], configured.environ | {"PIP_CONFIG_FILE": ""}, configured.project
        )
        assert end.code == 0, end.output
        assert (await configured.doctor(PIP_CONFIG_FILE="")).of("direct-index", "ok")


async def test_an_index_that_is_neither_the_proxy_nor_the_package_manager_is_reported(configured):
    report = await configured.doctor(PIP_INDEX_URL=OTHER)

    finding = report.of("direct-index", "warning")
    assert "points pip at https://other.example.com, not at the proxy" in finding["what"]
    assert finding["fix"] == 'eval "$(ppmproxy env)"'


async def test_an_index_variable_that_is_the_package_manager_itself_is_reported(configured, server):
    report = await configured.doctor(UV_DEFAULT_INDEX=server.index_url())

    assert report.of("direct-index", "failed")["fix"] == 'eval "$(ppmproxy env)"'


async def test_a_renv_lock_with_the_package_manager_s_url_is_reported_until_env_covers_it(configured, server):
    lock = {"R": {"Repositories": [{"Name": "CRAN", "URL": f"{server.url}/cran/latest"}]}}
    (configured.project / "renv.lock").write_text(json.dumps(lock))

    finding = (await configured.doctor()).of("direct-index", "failed")
    ours = f"http://{configured.environ['PPMPROXY_LISTEN']}/cran/latest"

    assert "renv.lock, repository CRAN points renv at" in finding["what"]
    assert finding["fix"] == 'run commands by `ppmproxy exec --intercept -- …`; or eval "$(ppmproxy env)"'
    assert (await configured.doctor(RENV_CONFIG_REPOS_OVERRIDE=ours)).of("direct-index", "ok")


@pytest.mark.parametrize("place", ["home", "project"])
async def test_an_rprofile_with_the_package_manager_s_url_is_reported_until_configure_covers_it(
    configured, server, place
):
    path = getattr(configured, place) / ".Rprofile"
    path.write_text(f'options(repos = c(CRAN = "{server.url}/cran/latest"))\n')
    command = ["configure", "r", *(["--project"] if place == "project" else [])]

    finding = (await configured.doctor()).of("direct-index", "failed")
    await forked_ppmproxy(command, configured.environ, configured.project)

    assert finding["what"].startswith(f"{path}, CRAN in line 1 points R at")
    assert finding["fix"].endswith(" ".join(["ppmproxy", *command]))
    assert (await configured.doctor()).of("direct-index", "ok")


@pytest.mark.parametrize(
    ("name", "text", "fix"),
    [
        (".Rprofile", 'options(repos = c(CRAN = "https://cran.example.com"))', "ppmproxy configure r --project"),
        (
            "renv.lock",
            '{"R": {"Repositories": [{"Name": "CRAN", "URL": "https://cran.example.com"}]}}',
            'eval "$(ppmproxy env --r-repo cran)"',
        ),
    ],
)
async def test_repositories_of_r_past_the_proxy_are_reported(configured, name, text, fix):
    (configured.project / name).write_text(text)

    finding = (await configured.doctor()).of("direct-index", "warning")

    assert "at https://cran.example.com, not at the proxy" in finding["what"]
    assert finding["fix"] == fix


async def test_a_renviron_that_goes_before_env_is_reported(configured, server):
    lines = configured.has(".Renviron", f"PKG_CRAN_MIRROR={server.url}/cran/latest\n")
    variable = (await configured.doctor()).of("direct-index", "failed")
    lines.write_text("R_PROFILE_USER=~/my.R\n")
    profile = (await configured.doctor(R_PROFILE_USER=str(PROFILE))).of("direct-index", "warning")

    assert variable["fix"] == f"remove PKG_CRAN_MIRROR from {lines}"
    assert profile["fix"] == "remove R_PROFILE_USER from .Renviron; or ppmproxy configure r"


async def test_an_rprofile_that_is_no_file_is_reported_once_and_not_waited_for(configured):
    os.mkfifo(configured.project / ".Rprofile")

    report = await configured.doctor()

    assert ".Rprofile" in report.of("client-files", "failed")["what"]


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_a_netrc_entry_for_this_machine_is_reported(configured, host):
    configured.has(".netrc", f"machine {host}\n  login kim\n  password {SECRET}\n")

    report = await configured.doctor(PPMPROXY_CREDENTIALS='[{from = "env"}]')

    assert host in report.of("credentials", "warning")["what"]


@pytest.mark.parametrize("has_own", [True, False])
async def test_a_netrc_line_that_cannot_be_read_is_reported(configured, server, has_own):
    del configured.environ["PPMPROXY_TOKEN"]
    own = f"machine 127.0.0.1 login __token__ password {server.token}\n" if has_own else ""
    configured.has(".netrc", f'machine other.example login x password "{SECRET}\n{own}').chmod(0o600)

    token = (await configured.doctor()).of("token")

    assert token["outcome"] == ("warning" if has_own else "failed")
    assert "line 1 cannot be read as netrc" in token["what"] + token["fix"]


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


async def test_a_lock_file_that_names_the_proxy_is_reported(configured):
    (configured.project / "uv.lock").write_text(f'version = 1\nsource = "{OURS}"\n')

    report = await configured.doctor()

    assert report.of("lock-files", "warning")["what"].startswith("uv.lock, line 2")
    assert report.of("lock-files")["fix"] == "ppmproxy lock canonical uv.lock"


# --- the canary -------------------------------------------------------------------------------------------------------


async def test_the_canary_is_flown_when_it_is_asked_for(configured):
    with_canary, without = await configured.doctor("--canary"), await configured.doctor()

    assert with_canary.of("canary", "ok")
    assert "canary" not in {one["check"] for one in without.found}
