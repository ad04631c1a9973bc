"""Claims about clients that show less of an error, or are pointed at the proxy by an option."""

import dataclasses
import io
import zipfile

import pytest
from client_environments import downloaded_wheel
from client_setup import client_setup, on_one_line, what_is_installed
from client_tools import PROJECT, UV
from downloads import MAY_DOWNLOAD
from other_tools import JOHNNYDEP, OLD_UV, PEX, PIPX

from ppmproxy.testing.package_manager import LoginPage, wheel

pytestmark = [pytest.mark.real, MAY_DOWNLOAD]

EXPIRED = ("has expired", "put a new token there")
UNEXPECTED = "the Package Manager answered with a web page instead of an index"


def application():
    """A wheel with a command, which pipx insists on."""
    made = wheel("example-app")
    data = io.BytesIO(made.data)
    with zipfile.ZipFile(data, "a") as archive:
        archive.writestr("example_app-1.0.dist-info/entry_points.txt", "[console_scripts]\nexample-app = os:getpid\n")
    return dataclasses.replace(made, data=data.getvalue())


async def test_uv_before_0_7_20_installs_and_shows_the_status_alone(tmp_path, cell):
    async with client_setup(tmp_path) as here:
        person = here.workspace(OLD_UV)
        end = await person.run(*OLD_UV.install)
        assert end.code == 0, end.output
        assert await person.imported() == what_is_installed().version
    (tmp_path / "later").mkdir()
    async with client_setup(tmp_path / "later", lifetime=-1) as here:
        end = await here.workspace(OLD_UV).run(*OLD_UV.install)

    assert end.code != 0
    assert "407 Proxy Authentication Required" in end.output
    assert [word for word in EXPIRED if word in on_one_line(end.output)] == []
    cell(OLD_UV, "install")
    cell(OLD_UV, "error shown", "only `407`")


async def test_pipx_installs_and_shows_the_reason(tmp_path, cell):
    async with client_setup(tmp_path) as here:
        here.package_manager.add(application())
        here.package_manager.add(downloaded_wheel("pip"))  # pipx has one of its own, which it keeps up to date
        person = here.workspace(PIPX)
        installed = await person.run(*PIPX.install)
        here.package_manager.add_fault("*", LoginPage())

        refused = await person.run(f"install {PROJECT}")

    assert installed.code == 0, installed.output
    assert "installed package example-app" in installed.output
    assert refused.code != 0
    said = on_one_line(refused.output)
    assert "relevant errors from pip install" in said  # of all that pip said
    assert f"text/x-ppmproxy; {UNEXPECTED}" in said, refused.output
    cell(PIPX, "install")
    cell(PIPX, "error shown")


async def test_pex_takes_its_index_from_an_option_alone(tmp_path, cell):
    async with client_setup(tmp_path) as here:
        person = here.workspace(PEX)
        end = await person.run(*PEX.install)
        assert end.code == 0, end.output
        assert (person.project / f"{PROJECT}.pex").is_file()
        here.package_manager.add_fault("*", LoginPage())

        refused = await person.run("--no-pypi -i @INDEX@ idna -o idna.pex")

    assert refused.code != 0
    assert UNEXPECTED in on_one_line(refused.output), refused.output
    cell(PEX, "install", "with `--no-pypi -i URL`")
    cell(PEX, "error shown")


async def test_johnnydep_takes_its_index_from_an_option_and_shows_the_reason(tmp_path, cell):
    async with client_setup(tmp_path) as here:
        person = here.workspace(JOHNNYDEP)
        end = await person.run(*JOHNNYDEP.install)
        assert end.code == 0, end.output
        assert what_is_installed().version in end.output
        here.package_manager.add_fault("*", LoginPage())

        refused = await person.run(*JOHNNYDEP.install)

    assert refused.code != 0
    assert UNEXPECTED in on_one_line(refused.output), refused.output
    cell(JOHNNYDEP, "install", "with `--index-url URL`")
    cell(JOHNNYDEP, "error shown")


async def test_a_tool_of_uv_remembers_the_url_that_it_was_installed_from(tmp_path):
    async with client_setup(tmp_path) as here:
        here.package_manager.add(application())
        person = here.workspace(dataclasses.replace(UV, files={}))

        installing = await person.run("tool install example-app")
        person.environ.pop("UV_DEFAULT_INDEX")
        upgrading = await person.run("tool upgrade --reinstall example-app")

        assert (installing.code, upgrading.code) == (0, 0), installing.output + upgrading.output
        [receipt] = (person.project.parent / "home").rglob("uv-receipt.toml")
        assert f'url = "{here.proxy.index_url}"' in receipt.read_text()
