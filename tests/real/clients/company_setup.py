"""A company's Package Manager, at a name that nothing but its forward proxy resolves, and a person who works there."""

import shutil
import sys
from pathlib import Path

import pytest
from forward_proxy import ForwardProxy
from processes import plain_environment, ppmproxy_run, run_program
from yarl import URL

from ppmproxy.testing.package_manager import FakePackageManager, wheel

UV = shutil.which("uv", path=str(Path(sys.executable).parent)) or "uv"
HOST = "packagemanager.example.com"  # resolvable nowhere: a request that bypasses the proxy cannot succeed


class Company:
    """A Package Manager at a name that only the company's forward proxy knows, and a person with its token."""

    def __init__(self, package_manager, forward_proxy, folder):
        self.package_manager = package_manager
        self.forward_proxy = forward_proxy
        self.folder = folder
        self.project = folder / "project"
        self.project.mkdir()
        (folder / "home").mkdir()
        (folder / "runtime").mkdir(mode=0o700)
        self.url = str(URL(package_manager.url).with_host(HOST))
        self.index = f"{self.url}/pypi/latest/simple/"
        self.environ = plain_environment(
            folder / "home",
            XDG_RUNTIME_DIR=str(folder / "runtime"),
            PPMPROXY_UPSTREAM=self.url,
            PPMPROXY_CA_FILE=str(package_manager.write_ca(folder / "ca.pem")),
            PPMPROXY_TOKEN=package_manager.token,
            PPMPROXY_PROXY=forward_proxy.url,
            PPMPROXY_LISTEN="127.0.0.1:0",
            NO_PROXY="",
        )

    async def exec(self, *command, flags=(), **environ):
        """Run a command through `exec --intercept` in the project's folder."""
        exec_ = [sys.executable, "-m", "ppmproxy", "exec", "--intercept", *flags, "--", *command]
        end = await run_program(exec_, self.environ | environ, self.project)
        assert "Traceback" not in end.output, end.output
        return end

    def daemon(self):
        """The person's daemon, running: a context."""
        names = ("XDG_RUNTIME_DIR", "PPMPROXY_UPSTREAM", "PPMPROXY_CA_FILE", "PPMPROXY_TOKEN", "PPMPROXY_PROXY")
        return ppmproxy_run(self.folder, **{name: self.environ[name] for name in names})

    @property
    def authorized(self):
        """Whether each request for a page or a file carried the token."""
        return {bool(seen.authorization) for seen in self.package_manager.requests}


@pytest.fixture
async def company(tmp_path):
    async with (
        FakePackageManager(base_path="/rspm", certificate_for=(HOST, "127.0.0.1")) as package_manager,
        ForwardProxy() as forward_proxy,
    ):
        package_manager.add(wheel("hello"))
        yield Company(package_manager, forward_proxy, tmp_path)
