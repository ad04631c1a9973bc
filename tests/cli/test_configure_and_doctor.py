"""Claims about what `configure` leaves: nothing that `doctor` finds for that client, or what it has said itself."""

import json
import os
from dataclasses import dataclass, field

import pytest
from command_line import Person
from forked_command import forked_ppmproxy

from ppmproxy.clients.files import CLIENTS
from ppmproxy.errors import EXIT_OK

UPSTREAM = "https://127.0.0.1:1/rspm"  # nobody is there, which is none of the clients' findings
INTERNAL = f"{UPSTREAM}/internal/2026-01-01/simple/"
OTHER = "https://other.example.com/simple"
UPLOAD = f"{UPSTREAM}/upload/pypi/internal"
OF_CLIENTS = {
    "client-files",
    "second-index",
    "direct-index",
    "uv-authenticate",
    "credentials",
    "pip-cache",
    "direct-upload",
}
PROJECT = {"pyproject.toml": "[project]\nname = 'x'\nversion = '0'\n", "Pipfile": "[packages]\nidna = '*'\n"}


@dataclass(frozen=True)
class Case:
    """A client with its flags, the files that are there, and the checks of which something remains."""

    client: str
    files: dict = field(default_factory=dict)
    flags: tuple = ()
    remains: tuple = ()
    environ: dict = field(default_factory=dict)

    def __str__(self):
        return "-".join([self.client, *self.flags, *self.files, *self.environ, *self.remains])


def source(table, url, **more):
    return "\n".join([f"[[{table}]]", f'url = "{url}"', *(f'{key} = "{value}"' for key, value in more.items()), ""])


def pyproject(text):
    return {"pyproject.toml": PROJECT["pyproject.toml"] + text}


PIP, UV, PDM = ".config/pip/pip.conf", ".config/uv/uv.toml", ".config/pdm/config.toml"
CLEAN = [
    *(Case(client, PROJECT) for client in CLIENTS),
    *(Case(client, PROJECT, ("--project",)) for client in CLIENTS if client != "pip"),
    Case("pip", {".venv/pyvenv.cfg": ""}, ("--project",)),
    Case("poetry", {}, ("--user",)),
]
COMPANY = [
    Case(
        "pip",
        {PIP: f"[global]\nindex-url = {INTERNAL}\nextra-index-url = {INTERNAL}\n[install]\nindex-url = {INTERNAL}\n"},
    ),
    Case("uv", {UV: source("index", INTERNAL, name="company", authenticate="always")}),
    Case("uv", pyproject(source("tool.uv.index", INTERNAL, name="company", authenticate="always")), ("--project",)),
    Case("poetry", pyproject(source("tool.poetry.source", INTERNAL, name="company", priority="explicit"))),
    Case("pdm", {PDM: f'[pypi]\nurl = "{INTERNAL}"\n'}),
    Case("pdm", pyproject(source("tool.pdm.source", INTERNAL, name="company")), ("--project",)),
    Case("pipenv", {"Pipfile": source("source", INTERNAL, name="company")}),
]
FOR_ALL = {"XDG_CONFIG_DIRS": "@HOME@/etc"}
SYSTEM = [
    Case("pip", {"etc/pip/pip.conf": f"[global]\nindex-url = {INTERNAL}\n"}, environ=FOR_ALL),
    Case("uv", {"etc/uv/uv.toml": source("index", INTERNAL).replace("\n", "\ndefault = true\n", 1)}, environ=FOR_ALL),
    Case(
        "pip",
        {"venv/pyvenv.cfg": "", PIP: f"[global]\nindex-url = {INTERNAL}\n"},
        environ={"VIRTUAL_ENV": "@HOME@/venv"},
    ),
]
MESSY = [
    Case("pip", {PIP: f"[global]\nextra-index-url = {OTHER}\n"}, remains=("second-index",)),
    Case("pip", {PIP: f"[install]\nindex-url = {OTHER}\n"}, remains=("direct-index",)),
    Case("pip", {PIP: "[global]\nkeyring-provider = subprocess\n"}, remains=("credentials",)),
    Case("pip", {PIP: "[global]\nproxy = http://10.0.0.1:3128\n"}, remains=("proxy-variables",)),
    Case("pip", {"requirements.txt": f"-i {INTERNAL}\n"}, remains=("direct-index",)),
    Case("pip", environ={"PIP_INDEX_URL": OTHER}, remains=("direct-index",)),
    Case("pip", {".pip/pip.conf": "index-url = x\n"}, remains=("client-files",)),
    Case("uv", {UV: source("index", OTHER)}, remains=("second-index",)),
    Case("uv", pyproject(source("tool.uv.index", INTERNAL, name="company")), remains=("direct-index",)),
    Case("uv", {UV: 'keyring-provider = "subprocess"\n'}, remains=("credentials",)),
    Case("uv", {"uv.toml": "[[index]\n"}, remains=("client-files",)),
    Case("poetry", pyproject(source("tool.poetry.source", OTHER, name="other")), remains=("direct-index",)),
    Case("pdm", pyproject(source("tool.pdm.source", OTHER, name="other")), ("--project",), ("direct-index",)),
    Case("pipenv", {"Pipfile": source("source", OTHER, name="other")}, remains=("second-index",)),
    Case("uv", {UV: f'publish-url = "{UPLOAD}"\n'}, environ={"PPMPROXY_UPLOADS": "true"}),
    Case(
        "uv",
        pyproject(f'[tool.uv]\npublish-url = "{UPLOAD}"\n'),
        remains=("direct-upload",),
        environ={"PPMPROXY_UPLOADS": "true"},
    ),
    Case(
        "pdm", {"pdm.toml": f'[repository.x]\nurl = "{UPLOAD}"\n'}, (), ("direct-upload",), {"PPMPROXY_UPLOADS": "true"}
    ),
]


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_client_is_in_the_table_with_and_without_a_project():
    assert {(case.client, bool(case.flags)) for case in CLEAN} >= {
        (client, flag) for client in CLIENTS for flag in (0, 1)
    }


@pytest.mark.parametrize("case", [*CLEAN, *COMPANY, *SYSTEM, *MESSY], ids=str)
async def test_configure_leaves_no_finding_of_doctor_s_that_it_has_not_told(home, case):
    for name, text in case.files.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(text)
    environ = {"PATH": os.environ["PATH"], "HOME": str(home), "PPMPROXY_UPSTREAM": UPSTREAM}
    environ |= {name: value.replace("@HOME@", str(home)) for name, value in case.environ.items()}

    said = Person(home, environ).runs("configure", case.client, *case.flags)
    doctor = await forked_ppmproxy(["doctor", "--json"], environ, home)

    assert said.code == EXIT_OK, said.err
    found = [one for one in json.loads(doctor.output) if one["check"] in {*OF_CLIENTS, *case.remains}]
    remaining = [one for one in found if one["outcome"] != "ok"]
    assert {one["check"] for one in remaining} == set(case.remains)
    for one in remaining:
        assert one["fix"] != " ".join(["ppmproxy configure", case.client, *case.flags])  # which was of no use
        assert f"{one['check']}: {one['what']}\n" in said.err
        assert f"fix: {one['fix']}\n" in said.err
    assert said.err.count("fix: ") == len(remaining)
