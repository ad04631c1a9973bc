"""The vendor's own client: `keyring get` with posit-keyring."""

import asyncio
import subprocess
import sys

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

POSIT_KEYRING = "posit-keyring==0.3.2"


def posit_keyring():
    """A Python with posit-keyring, installed once; without it the test skips, or fails under PPMPROXY_TEST_STRICT=1."""
    from downloads import cached_folder, make_environment

    version = "{}.{}".format(*sys.version_info)
    folder = cached_folder(f"{POSIT_KEYRING}-py{version}", lambda folder: make_environment(folder, POSIT_KEYRING))
    return folder / "bin" / "python"


class VendorClient:
    """It runs in a home of its own and trusts the fake Package Manager's authority."""

    def __init__(self, python, package_manager, home):
        self.python = python
        self.package_manager = package_manager
        self.home = home

    def environment(self, **more):
        ca = str(self.package_manager.write_ca(self.home / "ca.pem"))
        return {
            "HOME": str(self.home),
            "USERPROFILE": str(self.home),
            "PACKAGEMANAGER_ADDRESS": self.package_manager.url,
            "REQUESTS_CA_BUNDLE": ca,
            "BROWSER": "true",
            "PYTHON_KEYRING_BACKEND": "posit_keyring.backends.PackageManagerKeyring",
        } | more

    async def token(self, **more):
        """The token that it prints, "" for none, and its standard error."""
        process = await asyncio.create_subprocess_exec(
            *(self.python, "-m", "keyring", "get", self.package_manager.index_url(), "__token__"),
            env=self.environment(**more),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(process.communicate(), 120)
        return out.decode().strip(), err.decode()

    @property
    def token_file(self):
        return self.home / ".ppm" / "tokens.toml"

    def connections(self):
        """The entries of its token file."""
        return tomllib.loads(self.token_file.read_text())["connections"]


async def approve_next_sign_in(package_manager):
    """Confirm the next sign-in; its user code."""
    flow = await package_manager.next_sign_in()
    package_manager.approve(flow.user_code)
    return flow.user_code
