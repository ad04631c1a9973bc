"""Claims about upstreams that are not ours: nginx with TLS and a Bearer token, before static pages and a live index."""

import contextlib
import grp
import hashlib
import os
import pwd
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme
from client_environments import Client, client_environment, real_wheels, shows_token
from downloads import MAY_DOWNLOAD, cached_folder, make_environment, skip_or_fail
from processes import plain_environment, ppmproxy_run, running_server

pytestmark = [pytest.mark.real, MAY_DOWNLOAD]

TOKEN = "head.body-of-a-token.signature"
PROJECTS = ("six", "idna")

CONFIGURATION = """\
daemon off;
user {user} {group};  # who runs the tests; said to a process that is not root it is ignored
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr notice;
events {{ }}
http {{
    log_format seen "$status $request_method $request_uri";
    access_log {folder}/access.log seen;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    gzip on;
    gzip_min_length 1;
    gzip_types application/vnd.pypi.simple.v1+json;
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {folder}/server.pem;
        ssl_certificate_key {folder}/server.key;
        if ($http_authorization != "Bearer {token}") {{ return 401; }}
        root {folder}/pages;
        location /rspm/static/latest/simple/ {{ default_type text/html; }}
        location /rspm/static/latest/packages/ {{ default_type application/octet-stream; }}
        location /rspm/live/latest/ {{ proxy_pass http://127.0.0.1:{index_port}/; }}
    }}
}}
"""


@dataclass(frozen=True)
class Foreign:
    """Servers that nobody made for these tests."""

    folder: Path
    url: str

    @property
    def ca_file(self):
        return self.folder / "ca.pem"

    def statuses(self, path):
        """What nginx answered to requests below a path."""
        lines = [line.split() for line in (self.folder / "access.log").read_text().splitlines()]
        return {status for status, _method, target in lines if target.startswith(path)}


@pytest.fixture
async def foreign(tmp_path):
    """nginx on a port that was open before it started, so that nobody else can have taken it."""
    nginx = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin") or skip_or_fail(
        "nginx is not installed", "install the package nginx-light of your system"
    )
    folder = tmp_path / "nginx"
    folder.mkdir()
    write_identity(folder)
    write_pages(folder / "pages/rspm/static/latest")
    async with live_index(tmp_path / "live") as index_port, contextlib.AsyncExitStack() as stack:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            inherited, port = listener.fileno(), listener.getsockname()[1]
            (folder / "nginx.conf").write_text(configuration(folder, port=port, index_port=index_port))
            environ = plain_environment(folder, NGINX=f"{inherited};")
            command = [nginx, "-p", folder, "-e", "stderr", "-c", folder / "nginx.conf"]
            server = await stack.enter_async_context(running_server(command, environ, folder, pass_fds=(inherited,)))
        await server.line_with("start worker process ")
        yield Foreign(folder, f"https://localhost:{port}/rspm")


def configuration(folder, **ports):
    user, group = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(os.getegid()).gr_name
    return CONFIGURATION.format(folder=folder, user=user, group=group, token=TOKEN, **ports)


def write_identity(folder):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    identity = authority.issue_cert("localhost")
    identity.private_key_pem.write_to_path(folder / "server.key")
    for blob in identity.cert_chain_pems:
        blob.write_to_path(folder / "server.pem", append=True)


def write_pages(root):
    """Pages as simple as PEP 503 allows, and beside each file its metadata (PEP 658)."""
    for project in PROJECTS:
        wheel = real_wheels()[project]
        files, page = root / "packages" / wheel.id, root / "simple" / project / "index.html"
        files.mkdir(parents=True)
        (files / wheel.filename).write_bytes(wheel.data)
        (files / f"{wheel.filename}.metadata").write_bytes(wheel.metadata)
        page.parent.mkdir(parents=True)
        digest = hashlib.sha256(wheel.metadata).hexdigest()
        href = f"../../packages/{wheel.id}/{wheel.filename}#sha256={wheel.sha256}"
        page.write_text(
            f'<!DOCTYPE html>\n<a href="{href}" data-core-metadata="sha256={digest}">{wheel.filename}</a>\n'
        )


@contextlib.asynccontextmanager
async def live_index(folder):
    """The port of simple-repository-server, which makes its pages from a folder of wheels; it knows no token."""
    for project in PROJECTS:
        wheel = real_wheels()[project]
        (folder / "wheels" / project).mkdir(parents=True)
        (folder / "wheels" / project / wheel.filename).write_bytes(wheel.data)
    python = cached_folder("simple-repository-server", make_live_index) / "bin" / "python"
    command = [python, "-m", "simple_repository_server", "--host", "127.0.0.1", "--port", "0", folder / "wheels"]
    async with running_server(command, plain_environment(folder), folder) as server:
        line = await server.line_with("running on http://127.0.0.1:")
        yield int(line.partition("running on http://127.0.0.1:")[2].split()[0])


def make_live_index(folder):
    make_environment(folder, "simple-repository-server")


@pytest.fixture
async def running(foreign, tmp_path):
    settings = {"PPMPROXY_UPSTREAM": foreign.url, "PPMPROXY_CA_FILE": str(foreign.ca_file), "PPMPROXY_TOKEN": TOKEN}
    async with ppmproxy_run(tmp_path, **settings) as proxy:
        yield proxy


@pytest.mark.parametrize("client", Client, ids=lambda client: client.value)
@pytest.mark.parametrize("repo", ["static", "live"])
async def test_pip_and_uv_install_from_servers_of_other_projects(repo, client, foreign, running, tmp_path):
    person = client_environment(client, tmp_path, f"{running.url}/{repo}/latest/simple/")

    end = await person.install(*PROJECTS)

    assert end.code == 0, end.output
    for project in PROJECTS:
        assert await person.imported(project) == real_wheels()[project].version
    assert {"200"} <= foreign.statuses(f"/rspm/{repo}/") <= {"200", "206", "304", "307"}
    assert not shows_token(TOKEN, end.output, running.log)
