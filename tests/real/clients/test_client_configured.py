"""Claims about clients that nobody told where to go but `ppmproxy configure`, or `ppmproxy exec`."""

import sys
from dataclasses import replace

import pytest
from client_environments import shows_token
from client_setup import PARCEL, READS, WRITES, ClientSetup, client_setup, running_package_manager, what_is_installed
from client_tools import FLIT, HATCH, MATURIN, PDM, PIP, PIP_TOOLS, PIPENV, POETRY, PYPROJECT, TWINE, UV, workspace
from downloads import MAY_DOWNLOAD
from processes import run_program

pytestmark = [pytest.mark.real, MAY_DOWNLOAD]

ELSEWHERE = "https://public.example.org/simple"  # nobody's: what a Pipfile names before it is configured
PPMPROXY = (sys.executable, "-m", "ppmproxy")


def untold(tool, *variables, **changes):
    """A client as it was installed: without these variables, and with other files or commands."""
    environ = {name: value for name, value in tool.environ.items() if name not in variables}
    return replace(tool, environ=environ, **changes)


CONFIGURED = {
    "pip": untold(PIP, "PIP_INDEX_URL"),
    "uv": untold(UV, "UV_DEFAULT_INDEX"),
    "poetry": untold(POETRY, files={"pyproject.toml": PYPROJECT}),
    "pdm": untold(PDM, "PDM_PYPI_URL"),
    "pipenv": untold(
        PIPENV,
        files={"Pipfile": f'# mine\n[[source]]\nname = "public"\nurl = "{ELSEWHERE}"\n\n[packages]\nsix = "*"\n'},
    ),
}
IN_EXEC = (
    untold(PIP, "PIP_INDEX_URL"),
    untold(UV, "UV_DEFAULT_INDEX", upload="publish --trusted-publishing never --publish-url @UPLOAD@ @FILE@"),
    untold(PDM, "PDM_PYPI_URL", upload="publish --no-build --repository @UPLOAD@"),
    untold(HATCH, "PIP_INDEX_URL", "UV_DEFAULT_INDEX", upload="publish --no-prompt --repo @UPLOAD@ @FILE@"),
    untold(PIPENV, files={"Pipfile": '[packages]\nsix = "*"\n'}),
    untold(PIP_TOOLS, "PIP_INDEX_URL"),
    untold(TWINE, "TWINE_USERNAME", "TWINE_PASSWORD", "TWINE_NON_INTERACTIVE"),
    untold(FLIT, "FLIT_USERNAME", "FLIT_PASSWORD"),
    untold(MATURIN, "MATURIN_USERNAME", "MATURIN_PASSWORD"),
)


def files_of(person):
    """What the person has, besides what clients keep for themselves."""
    folders = [person.project, person.project.parent / "home" / ".config"]
    paths = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return {path: path.read_bytes() for path in paths if ".venv/lib" not in str(path)}


@pytest.mark.parametrize("flags", [(), ("--project",)], ids=["user", "project"])
@pytest.mark.parametrize("client", CONFIGURED)
async def test_what_configure_writes_is_all_that_a_client_needs(client, flags, tmp_path):
    async with client_setup(tmp_path) as here:
        person = here.workspace(CONFIGURED[client])
        person.environ.pop("PIP_CONFIG_FILE")
        if client == "pip":
            (person.project / "requirements.txt").write_text("six\n")
        environ = person.environ | {
            "PPMPROXY_UPSTREAM": here.package_manager.url,
            "PPMPROXY_LISTEN": here.proxy.url.removeprefix("http://"),
        }
        before = files_of(person)

        done = await run_program([*PPMPROXY, "configure", client, *flags], environ, person.project)
        written = files_of(person)
        end = await person.run(*person.tool.install)
        undone = await run_program([*PPMPROXY, "configure", client, *flags, "--undo"], environ, person.project)

        assert (done.code, end.code, undone.code) == (0, 0, 0), done.output + end.output + undone.output
        assert await person.imported() == what_is_installed().version
    assert all(seen.authorization for seen in here.package_manager.requests)
    [changed] = [path for path in written if written[path] != before.get(path)]
    assert changed.read_bytes() == before[changed] if changed in before else not changed.exists()


async def test_poetry_looks_for_its_own_plugins_where_configure_has_led_it(tmp_path):
    async with client_setup(tmp_path) as here:
        person = here.workspace(replace(POETRY, files={}))
        listen = here.proxy.url.removeprefix("http://")
        environ = person.environ | {"PPMPROXY_UPSTREAM": here.package_manager.url, "PPMPROXY_LISTEN": listen}
        own = person.project.parent / "home/.config/pypoetry/pyproject.toml"

        done = await run_program([*PPMPROXY, "configure", "poetry"], environ, person.project)
        asked = await person.run("self lock")  # Poetry itself and what it needs are not in this index
        kept = own.read_text()
        undone = await run_program([*PPMPROXY, "configure", "poetry", "--undo"], environ, person.project)

        assert (done.code, undone.code) == (0, 0), done.output + undone.output
        assert here.package_manager.requests_for("*/pypi/latest/simple/poetry/"), asked.output
    assert here.proxy.index_url in kept  # Poetry has written all the rest of the file anew
    assert here.proxy.index_url not in own.read_text()
    assert "poetry-instance" in own.read_text()


@pytest.mark.parametrize("tool", [tool for tool in IN_EXEC if tool.install], ids=str)
async def test_exec_is_all_that_a_client_needs_to_install(tool, tmp_path, unused_tcp_port):
    async with running_package_manager() as package_manager:
        person = workspace(tool, tmp_path / "person")
        person.environ.update(way_to(package_manager, tmp_path, unused_tcp_port))

        end = await person.run(*tool.install, through=(*PPMPROXY, "exec", "--"))

        assert end.code == 0, end.output
        assert await person.imported() == what_is_installed().version
    assert all(seen.authorization for seen in package_manager.requests)
    assert not shows_token(person.environ["PPMPROXY_TOKEN"], end.output)


@pytest.mark.parametrize("tool", [tool for tool in IN_EXEC if tool.lock], ids=str)
async def test_with_canonical_locks_everybody_else_reads_the_package_manager_s_urls(tool, tmp_path, unused_tcp_port):
    through = (*PPMPROXY, "exec", "--canonical-lock", "--")
    async with running_package_manager() as package_manager:
        person = workspace(tool, tmp_path / "person")
        person.environ.update(way_to(package_manager, tmp_path, unused_tcp_port))

        locking = await person.run(*tool.lock, through=through)
        assert locking.code == 0, locking.output
        locked = person.lock_file.read_bytes()
        installing = await person.run(*tool.again, through=through)

        assert installing.code == 0, installing.output
        assert await person.imported() == what_is_installed().version
    assert package_manager.url.encode() in locked
    assert f"127.0.0.1:{unused_tcp_port}".encode() not in locked  # the number alone may be a file's size
    assert person.lock_file.read_bytes() == locked


@pytest.mark.parametrize("tool", [tool for tool in IN_EXEC if tool.upload], ids=str)
async def test_exec_is_all_that_a_client_needs_to_upload(tool, tmp_path, unused_tcp_port):
    async with running_package_manager() as package_manager:
        person = workspace(
            tool,
            tmp_path / "person",
            UPLOAD=f"http://127.0.0.1:{unused_tcp_port}/upload/pypi/internal",
            FILE=f"dist/{PARCEL.filename}",
        )
        person.environ.update(way_to(package_manager, tmp_path, unused_tcp_port), PPMPROXY_UPLOADS="true")
        (person.project / "dist").mkdir()
        (person.project / "dist" / PARCEL.filename).write_bytes(PARCEL.data)

        end = await person.run(tool.upload, through=(*PPMPROXY, "exec", "--"))

        assert end.code == 0, end.output
        uploaded = ClientSetup(package_manager, None, tmp_path).uploaded
        assert uploaded.keys() == {PARCEL.filename}
        assert tool.builds or uploaded == {PARCEL.filename: PARCEL.sha256}


def way_to(package_manager, folder, port):
    """The settings of a person who has a token and no daemon."""
    return {
        "PPMPROXY_UPSTREAM": package_manager.url,
        "PPMPROXY_CA_FILE": str(package_manager.write_ca(folder / "ca.pem")),
        "PPMPROXY_TOKEN": package_manager.issue_token((READS, WRITES)),
        "PPMPROXY_LISTEN": f"127.0.0.1:{port}",
    }
