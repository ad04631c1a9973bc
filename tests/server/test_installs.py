"""Claims about installing with real pip and uv through a real `ppmproxy run`, from a Package Manager over TLS."""

import contextlib
import itertools
from dataclasses import astuple, dataclass

import pytest
from client_environments import LARGE, PROJECTS, Client, client_environment, real_wheels, shows_token
from downloads import MAY_DOWNLOAD
from processes import ppmproxy_run

from ppmproxy.testing.package_manager import Accepts, Cut, FakePackageManager, LinkStyle

pytestmark = [pytest.mark.real, MAY_DOWNLOAD]

BASE_PATHS = ("", "/rspm")


@dataclass(frozen=True)
class Case:
    """One way in which a Package Manager, its administrator and a client may be set up."""

    client: Client
    accepts: Accepts
    links: LinkStyle
    base_path: str
    offers_json: bool
    redirects: bool  # files come from another origin, which refuses any Authorization

    def __str__(self):
        words = [self.client.value, self.accepts.value, self.links.value, self.base_path.strip("/") or "no-base"]
        return "-".join([*words, "json" if self.offers_json else "html", "elsewhere" if self.redirects else "here"])


PIP, OLD_PIP, UV = Client
BASIC, BEARER, EITHER = Accepts
ABSOLUTE, ROOT_RELATIVE, RELATIVE = LinkStyle
CHOICES = (tuple(Client), tuple(Accepts), tuple(LinkStyle), BASE_PATHS, (True, False), (True, False))

# Not every combination, but every pair of values of any two columns.
CASES = (
    Case(PIP, BASIC, ABSOLUTE, "/rspm", offers_json=True, redirects=True),
    Case(PIP, BEARER, ROOT_RELATIVE, "/rspm", offers_json=False, redirects=False),
    Case(PIP, EITHER, RELATIVE, "", offers_json=True, redirects=False),
    Case(OLD_PIP, BASIC, ROOT_RELATIVE, "", offers_json=False, redirects=False),
    Case(OLD_PIP, BEARER, RELATIVE, "/rspm", offers_json=True, redirects=True),
    Case(OLD_PIP, EITHER, ABSOLUTE, "", offers_json=False, redirects=True),
    Case(UV, BASIC, RELATIVE, "/rspm", offers_json=False, redirects=True),
    Case(UV, BEARER, ABSOLUTE, "", offers_json=True, redirects=False),
    Case(UV, EITHER, ROOT_RELATIVE, "/rspm", offers_json=True, redirects=True),
)


@contextlib.asynccontextmanager
async def stocked(**knobs):
    async with FakePackageManager(**knobs) as package_manager:
        for wheel in real_wheels().values():
            package_manager.add(wheel)
        yield package_manager


def suits(case):
    """What the client needs of an index: old pip breaks where JSON offers metadata by its first name (PEP 714)."""
    return {"offers_metadata": not (case.client is OLD_PIP and case.offers_json)}


@contextlib.asynccontextmanager
async def proxied(package_manager, folder, **environ):
    ca_file = str(package_manager.write_ca(folder / "ca.pem"))
    token = {"PPMPROXY_TOKEN": package_manager.token}
    async with ppmproxy_run(
        folder, PPMPROXY_UPSTREAM=package_manager.url, PPMPROXY_CA_FILE=ca_file, **token, **environ
    ) as running:
        yield running


@pytest.fixture
async def manager():
    async with stocked(base_path="/rspm") as server:
        yield server


@pytest.fixture
async def running(manager, tmp_path):
    async with proxied(manager, tmp_path) as proxy:
        yield proxy


def pairs(rows):
    """Every pair of values that any two columns of these rows have."""
    columns = range(len(CHOICES))
    return {(a, row[a], b, row[b]) for row in rows for a, b in itertools.combinations(columns, 2)}


def test_every_pair_of_choices_is_among_the_cases():
    missing = pairs(itertools.product(*CHOICES)) - pairs(astuple(case) for case in CASES)

    assert not missing


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_installs_and_the_token_goes_to_the_package_manager_alone(case, tmp_path):
    async with contextlib.AsyncExitStack() as stack:
        knobs = {"base_path": case.base_path, "accepts": case.accepts, "links": case.links}
        package_manager = await stack.enter_async_context(stocked(**knobs, offers_json=case.offers_json, **suits(case)))
        shared = {
            "base_path": case.base_path,
            "catalog": package_manager.catalog,
            "authority": package_manager.authority,
        }
        storage = await stack.enter_async_context(FakePackageManager(**shared, refuses_authorization=True))
        package_manager.files_redirect_to = storage.origin if case.redirects else None
        running = await stack.enter_async_context(proxied(package_manager, tmp_path))
        person = client_environment(case.client, tmp_path, running.index_url)

        end = await person.install(*PROJECTS)

        assert end.code == 0, end.output
    assert {name: await person.imported(name) for name in PROJECTS} == versions()
    assert package_manager.requests
    assert all(shows_token(package_manager.token, seen.authorization or "") for seen in package_manager.requests)
    assert bool(storage.requests) is case.redirects
    assert not any(seen.authorization for seen in storage.requests)
    assert not shows_token(package_manager.token, end.output, running.log)
    assert package_manager.origin not in end.output


def versions():
    return {project: wheel.version for project, wheel in real_wheels().items()}


# --- beyond a plain install -------------------------------------------------------------------------------------------


def hashed_requirements(folder):
    """A requirements file in which every line has the digest that the registry's own file has."""
    path = folder / "requirements.txt"
    lines = [f"{name}=={file.version} --hash=sha256:{file.sha256}\n" for name, file in real_wheels().items()]
    path.write_text("".join(lines))
    return str(path)


@pytest.mark.parametrize("client", Client, ids=lambda client: client.value)
async def test_hash_checking_mode_installs(client, running, tmp_path):
    person = client_environment(client, tmp_path, running.index_url)

    end = await person.install("--require-hashes", "-r", hashed_requirements(tmp_path))

    assert end.code == 0, end.output
    assert await person.imported("six") == versions()["six"]


@pytest.mark.parametrize("client", [PIP, OLD_PIP], ids=lambda client: client.value)
async def test_pip_download_brings_the_very_bytes_of_the_package_manager(client, manager, running, tmp_path):
    manager.offers_json = client is PIP  # what old pip makes of JSON is above
    person = client_environment(client, tmp_path, running.index_url)

    end = await person.run("download", "--dest", "here", LARGE)

    wheel = real_wheels()[LARGE]
    assert end.code == 0, end.output
    assert (person.folder / "here" / wheel.filename).read_bytes() == wheel.data


async def test_pip_resumes_a_file_that_was_cut_where_it_was_cut(manager, running, tmp_path):
    wheel = real_wheels()[LARGE]
    manager.add_fault(f"*/{wheel.filename}", Cut(3_000_000), times=1)
    person = client_environment(PIP, tmp_path, running.index_url)

    end = await person.install(LARGE)

    assert end.code == 0, end.output
    assert await person.imported(LARGE) == wheel.version
    first, second = manager.requests_for(f"*/{wheel.filename}", "GET")
    assert first.header("Range") is None
    assert second.header("Range") == f"bytes={first.sent}-"
    assert second.header("If-Range") == f'"{wheel.id}"'
    assert second.status == 206


async def test_uv_reads_metadata_from_the_end_of_a_wheel_where_there_is_none_beside_it(manager, running, tmp_path):
    manager.offers_metadata = False
    wheel = real_wheels()[LARGE]
    person = client_environment(UV, tmp_path, running.index_url)

    end = await person.install(LARGE)

    assert end.code == 0, end.output
    heads = manager.requests_for(f"*/{wheel.filename}", "HEAD")
    parts = [seen for seen in manager.requests_for(f"*/{wheel.filename}", "GET") if seen.header("Range")]
    assert [seen.status for seen in heads] == [200]
    assert {seen.status for seen in parts} == {206}


# --- what records where it came from ----------------------------------------------------------------------------------


async def test_uv_lock_records_urls_of_the_proxy_with_the_digests_of_the_package_manager(manager, running, tmp_path):
    person = client_environment(UV, tmp_path, running.index_url)
    (person.folder / "pyproject.toml").write_text(
        '[project]\nname = "mine"\nversion = "1"\nrequires-python = ">=3.10"\ndependencies = ["six"]\n'
    )

    end = await person.run("lock", "--python", str(person.python))

    wheel = real_wheels()["six"]
    lock = (person.folder / "uv.lock").read_text()
    assert end.code == 0, end.output
    assert f'source = {{ registry = "{running.index_url}" }}' in lock
    assert f'{{ url = "{running.url}/pypi/latest/packages/{wheel.id}/{wheel.filename}", ' in lock
    assert f'hash = "sha256:{wheel.sha256}"' in lock
    assert manager.origin not in lock
    assert not shows_token(manager.token, lock, end.output)


async def test_uv_pip_compile_names_the_proxy_only_with_emit_index_url(running, tmp_path):
    person = client_environment(UV, tmp_path, running.index_url)
    (person.folder / "requirements.in").write_text("six\n")
    compile_ = ("pip", "compile", "--python", str(person.python), "--no-header", "--generate-hashes", "requirements.in")

    plain = await person.run(*compile_)
    telling = await person.run(*compile_, "--emit-index-url")

    wheel = real_wheels()["six"]
    assert plain.code == 0, plain.output
    assert f"six=={wheel.version}" in plain.output
    assert f"--hash=sha256:{wheel.sha256}" in plain.output
    assert running.url not in plain.output
    assert running.index_url in telling.output
