"""Claims about `ppmproxy exec --intercept`: real URLs work as they are, and nothing else is touched."""

import asyncio
import json
import shutil
import signal
import sys
from pathlib import Path

import company_setup
import pytest
from client_environments import shows_token
from company_setup import HOST, UV
from downloads import skip_or_fail
from processes import running_server
from yarl import URL

from ppmproxy.testing.package_manager import (
    CertificateAuthority,
    FakePackageManager,
    LinkStyle,
    RedirectTo,
    Status,
)

PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
CURL = shutil.which("curl")
INSTALL = [*PIP, "install", "--no-deps", "--no-cache-dir", "--target", "installed", "--retries", "0"]

pytestmark = pytest.mark.real
company = company_setup.company
needs_curl = pytest.mark.usefixtures("curl")


@pytest.fixture
def curl():
    return CURL or skip_or_fail("curl is not installed", "on Debian: apt-get install curl")


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


# --- projects that name the real URL ----------------------------------------------------------------------------------


async def test_pip_installs_from_the_real_url_of_a_requirements_file(company):
    (company.project / "requirements.txt").write_text(f"-i {company.index}\nhello\n")
    before = files_of(company.project)

    end = await company.exec(*INSTALL, "-r", "requirements.txt")

    assert end.code == 0, end.output
    assert (company.project / "installed" / "hello").exists()
    assert files_of(company.project) == before
    assert company.authorized == {True}


async def test_a_token_that_is_left_in_a_url_goes_no_further(company):
    with_token = company.index.replace("https://", "https://__token__:left-over@")

    end = await company.exec(*INSTALL, "-i", with_token, "hello")

    assert end.code == 0, end.output
    assert {shows_token("left-over", seen.authorization) for seen in company.package_manager.requests} == {False}


@pytest.mark.parametrize("links", list(LinkStyle))
async def test_uv_syncs_a_project_with_an_explicit_index_and_its_lock_names_the_package_manager(company, links):
    company.package_manager.links = links
    (company.project / "pyproject.toml").write_text(
        '[project]\nname = "p"\nversion = "1"\nrequires-python = ">=3.10"\ndependencies = ["hello"]\n'
        f'[[tool.uv.index]]\nname = "company"\nurl = "{company.index}"\nexplicit = true\n'
        '[tool.uv.sources]\nhello = { index = "company" }\n'
    )
    before = files_of(company.project)

    end = await company.exec(UV, "sync", "--no-cache", "--python", sys.executable, UV_HTTP_RETRIES="0")

    assert end.code == 0, end.output
    lock = (company.project / "uv.lock").read_text()
    assert company.index.rstrip("/") in lock
    assert "127.0.0.1" not in lock
    assert {name: data for name, data in files_of(company.project).items() if name != "uv.lock"} == before
    again = await company.exec(UV, "sync", "--no-cache", "--locked", "--reinstall", "--python", sys.executable)
    assert again.code == 0, again.output


async def test_uv_add_writes_what_a_colleague_can_use(company):
    (company.project / "pyproject.toml").write_text(
        '[project]\nname = "p"\nversion = "1"\nrequires-python = ">=3.10"\ndependencies = []\n'
    )

    end = await company.exec(UV, "add", "--no-cache", "--python", sys.executable, "hello")

    assert end.code == 0, end.output
    text = (company.project / "pyproject.toml").read_text() + (company.project / "uv.lock").read_text()
    assert company.index in text
    assert "127.0.0.1" not in text


# --- what a command is given ------------------------------------------------------------------------------------------


async def environment_of(company, *flags, **environ):
    program = "import json, os; print(json.dumps(dict(os.environ)))"
    end = await company.exec(sys.executable, "-c", program, flags=flags, **environ)
    assert end.code == 0, end.output
    return json.loads(next(line for line in end.output.splitlines() if line.startswith("{")))


async def test_neither_token_nor_key_is_in_the_command_s_environment_or_files(company):
    found = await environment_of(company)

    assert not any(shows_token(company.package_manager.token, value) for value in found.values())
    assert "PRIVATE KEY" not in json.dumps(found)
    assert found["HTTPS_PROXY"].startswith("http://ppmproxy:")
    assert not Path(found["SSL_CERT_FILE"]).parent.exists(), "the bundle outlived the command"


async def test_the_bundle_has_the_person_s_authorities_and_the_system_s_too(company, tmp_path):
    theirs = CertificateAuthority().write_pem(tmp_path / "theirs.pem")
    program = "import os; print(open(os.environ['SSL_CERT_FILE']).read().count('BEGIN CERTIFICATE'))"

    with_theirs = await company.exec(sys.executable, "-c", program, REQUESTS_CA_BUNDLE=str(theirs))
    without = await company.exec(sys.executable, "-c", program)

    counts = [int(end.output.split()[0]) for end in (with_theirs, without)]
    assert counts[0] == counts[1] + 1
    assert counts[1] > 2


async def test_a_command_that_asks_nothing_is_reported(company):
    end = await company.exec("true")

    assert end.code == 0
    assert f"the command sent no request to https://{HOST}" in end.output


async def test_the_command_s_exit_code_is_passed_on(company):
    assert (await company.exec("sh", "-c", "exit 7")).code == 7


async def test_a_command_whose_daemon_is_shut_down_goes_on(company):
    program = (
        "import json, os, pathlib, subprocess, sys\n"
        "record, = pathlib.Path(os.environ['XDG_RUNTIME_DIR'], 'ppmproxy').glob('daemon-*.json')\n"
        "address = json.loads(record.read_text())['urls'][0].partition('//')[2]\n"
        "sys.exit(subprocess.call([sys.executable, '-m', 'ppmproxy', 'shutdown', '--listen', address]))\n"
    )

    end = await company.exec(sys.executable, "-c", program)

    assert end.code == 0, end.output
    assert "process_crashed" not in end.output


async def test_it_is_refused_together_with_canonical_lock(company):
    end = await company.exec("true", flags=("--canonical-lock",))

    assert end.code == 2
    assert "--canonical-lock" in end.output


async def test_an_upstream_over_plain_http_cannot_be_intercepted(company):
    end = await company.exec("true", PPMPROXY_UPSTREAM="http://127.0.0.1:9")

    assert end.code == 2
    assert "https" in end.output


# --- what passes untouched --------------------------------------------------------------------------------------------


@needs_curl
async def test_another_server_shows_its_own_certificate(company, tmp_path):
    async with FakePackageManager(certificate_for=("pypi.example.org",), scopes=()) as other:
        url = str(URL(other.url).with_host("pypi.example.org"))
        trusted = other.write_ca(tmp_path / "other.pem")
        ask = (CURL, "-sS", "--cacert", str(trusted), f"{url}/__ping__")
        end = await company.exec(*ask, HTTPS_PROXY=company.forward_proxy.url)

    assert end.code == 0, end.output
    assert [seen.authorization for seen in other.requests] == [None]
    assert f"pypi.example.org:{URL(url).port}" in company.forward_proxy.targets  # through the proxy that was set before


@needs_curl
async def test_what_else_lives_on_the_host_gets_the_client_s_own_headers_and_no_token(company):
    url = company.url.removesuffix("/rspm") + "/git/project"

    end = await company.exec(CURL, "-sS", "-H", "Authorization: Bearer own", "-X", "PUT", "-d", "body", url)

    assert end.code == 0, end.output
    [seen] = company.package_manager.requests_for("/git/*")
    assert (seen.method, seen.authorization) == ("PUT", "Bearer own")


@needs_curl
async def test_what_else_lives_on_the_host_leads_nobody_around_the_proxy(company):
    headers = (("Alt-Svc", 'h3=":443"'), ("X-Own", "1"))
    company.package_manager.add_fault("/git/*", Status(200, body=b"", headers=headers))

    end = await company.exec(CURL, "-sS", "-D", "-", company.url.removesuffix("/rspm") + "/git/project")

    assert "x-own: 1" in end.output.lower()
    assert "alt-svc" not in end.output.lower()


@needs_curl
@pytest.mark.parametrize(
    ("path", "status"),
    [("/rspm/__api__/tokens", 403), ("/rspm/%2e%2e/git", 400), ("/rspm/pypi/latest/simple/missing/", 404)],
)
async def test_the_daemon_s_rules_hold_inside(company, path, status):
    url = company.url.removesuffix("/rspm") + path

    end = await company.exec(CURL, "-sS", "--path-as-is", "-o", "/dev/null", "-w", "%{http_code}", url)

    assert end.output.strip().startswith(str(status)), end.output


PAGES = {
    "its own links as they are": ('<a href="../../packages/1/a-1.whl">a</a><a href="{url}/x-1.whl">x</a>', None),
    "http links to itself over https": (
        '<a href="{plain}/x-1.whl#sha256=0">x</a><a href="http://pypi.example.org/y-1.whl">y</a>',
        '<a href="{url}/x-1.whl#sha256=0">x</a><a href="http://pypi.example.org/y-1.whl">y</a>',
    ),
}


@needs_curl
@pytest.mark.parametrize("name", PAGES)
async def test_a_page_has(company, name):
    sent, seen = PAGES[name]
    names = {"url": company.url, "plain": f"http://{HOST}/rspm"}
    title = "<!DOCTYPE html><title>Links for hello</title>"
    page = title + sent.format(**names)
    headers = (("Content-Type", "text/html"),)
    company.package_manager.add_fault("*/simple/hello/", Status(200, body=page.encode(), headers=headers))

    end = await company.exec(CURL, "-sS", f"{company.index}hello/")

    assert end.output == title + (seen or sent).format(**names)


@needs_curl
async def test_links_of_a_page_that_came_from_elsewhere_lead_there(company):
    company.package_manager.add_fault("*/simple/Hello/", RedirectTo(f"{company.url}/pypi/latest/simple/a/hello/"))
    page = '<!DOCTYPE html><title>Links for hello</title><a href="x-1.whl">x</a>'
    headers = (("Content-Type", "text/html"),)
    company.package_manager.add_fault("*/simple/a/hello/", Status(200, body=page.encode(), headers=headers))

    end = await company.exec(CURL, "-sS", f"{company.index}Hello/")

    assert f'href="{company.index}a/hello/x-1.whl"' in end.output


# --- errors -----------------------------------------------------------------------------------------------------------


async def test_pip_shows_why_a_token_is_not_accepted(company):
    company.package_manager.revoke(company.package_manager.token)

    end = await company.exec(*INSTALL, "-i", company.index, "hello")

    assert end.code != 0
    assert "rejects the token" in end.output


@needs_curl
async def test_a_request_for_another_host_inside_is_misdirected(company):
    end = await company.exec(CURL, "-sS", "-H", "Host: pypi.example.org", "-w", "%{http_code}", company.index)

    assert "421" in end.output


@needs_curl
async def test_a_forward_proxy_that_cannot_be_used_is_reported_for_other_servers_and_does_not_matter_here(company):
    ask = "curl -sS -o /dev/null -w '%{http_connect} %{http_code}\n'"
    both = f"{ask} https://pypi.example.org/; {ask} {company.index}hello/"

    end = await company.exec("sh", "-c", both, HTTPS_PROXY="socks5://127.0.0.1:9")

    assert "502 000" in end.output
    assert "200 200" in end.output


@needs_curl
async def test_plain_http_to_an_upstream_s_host_is_refused(company):
    url = f"http://{HOST}/"

    end = await company.exec("sh", "-c", f'http_proxy=$HTTPS_PROXY {CURL} -sS -o /dev/null -w "%{{http_code}}" {url}')

    assert "403" in end.output
    assert company.package_manager.requests == []


# --- beside a running daemon ------------------------------------------------------------------------------------------


async def test_it_uses_the_running_daemon_which_alone_has_the_token(company):
    async with company.daemon() as running:
        without_token = {"PPMPROXY_LISTEN": running.url.removeprefix("http://"), "PPMPROXY_TOKEN": ""}
        end = await company.exec(*INSTALL, "-i", company.index, "hello", **without_token)

    assert end.code == 0, end.output
    assert company.authorized == {True}
    assert running.log.count('"event": "request"') >= 2


async def test_nothing_but_the_command_s_output_is_printed_when_a_client_does_not_trust_the_certificate(company):
    distrust = (
        "import os, urllib.request\n"
        "del os.environ['SSL_CERT_FILE']\n"
        f"try: urllib.request.urlopen('{company.index}')\n"
        "except OSError as error: print('CERTIFICATE_VERIFY_FAILED' in str(error))\n"
    )
    async with company.daemon() as running:
        listen = {"PPMPROXY_LISTEN": running.url.removeprefix("http://"), "PPMPROXY_TOKEN": ""}
        end = await company.exec(sys.executable, "-c", distrust, **listen)

    assert end.output.splitlines()[0] == "True"
    assert "handshake" not in end.output


async def test_the_request_mode_of_interception_is_for_who_knows_the_daemon_s_key(company):
    async with company.daemon() as running:
        origin = company.url.removesuffix("/rspm")
        headers = [f"X-Ppmproxy-Intercept: {origin} {'0' * 64}", "Connection: close"]
        status = await _status(URL(running.url).port, "/rspm/pypi/latest/simple/hello/", headers)

    assert status == 403
    assert company.package_manager.requests_for("*/simple/*") == []


async def _status(port, path, headers):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write("\r\n".join([f"GET {path} HTTP/1.1", "Host: localhost", *headers, "", ""]).encode())
    line = await reader.readline()
    writer.close()
    return int(line.split()[1])


# --- ends -------------------------------------------------------------------------------------------------------------


async def test_what_a_killed_run_left_is_removed_by_the_next(company):
    program = (
        "import os, time\n"
        "parent = os.getppid()\n"
        "print('bundle', os.environ['SSL_CERT_FILE'], flush=True)\n"
        "while os.getppid() == parent: time.sleep(0.05)\n"
    )
    wait = [sys.executable, "-c", program]
    exec_ = [sys.executable, "-m", "ppmproxy", "exec", "--intercept", "--", *wait]
    async with running_server(exec_, company.environ, company.project) as running:
        bundle = Path((await running.line_with("bundle ")).split()[1])
        running.process.send_signal(signal.SIGKILL)
        await running.process.wait()
        assert bundle.exists()

    await company.exec("true")

    assert not bundle.parent.exists()


async def test_one_within_another_works(company):
    inner = [sys.executable, "-m", "ppmproxy", "exec", "--intercept", "--", *INSTALL, "-i", company.index, "hello"]

    end = await company.exec("env", f"PPMPROXY_TOKEN={company.package_manager.token}", *inner)

    assert end.code == 0, end.output
