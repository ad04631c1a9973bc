"""Claims about uv's indexes: which of a project and its workspace are found, and what the variables say of them."""

import pytest

from ppmproxy.clients.local_urls import LocalUrls
from ppmproxy.clients.uv_indexes import uv_variables
from ppmproxy.config.model import Settings, Upstream
from ppmproxy.environment import Environment

PM = "https://pm.example.com/rspm"
HERE = "http://127.0.0.1:7760"
URLS = LocalUrls.of_settings(Settings(upstreams=(Upstream(url=PM, configured=True),)))


@pytest.fixture
def home(tmp_path):
    (tmp_path / "home/project/src").mkdir(parents=True)
    return tmp_path / "home"


def variables(home, folder="project", *, named=False, **environ):
    return uv_variables(Environment(environ, home, home / folder), URLS, is_named=named)


def table(kind, **values):
    lines = [
        f"{key} = {str(value).lower() if isinstance(value, bool) else repr(value)}" for key, value in values.items()
    ]
    return "\n".join([f"[[{kind}]]", *lines, ""])


def company(kind="tool.uv.index", url=f"{PM}/internal/latest/simple/", **more):
    return table(kind, name="company", url=url, **({"explicit": True} | more))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("project/pyproject.toml", company()),
        ("project/uv.toml", company("index")),
        (".config/uv/uv.toml", company("index")),
        ("project/pyproject.toml", company(explicit=False)),
        ("project/pyproject.toml", company(url="https://user:s3cret@pm.example.com/rspm/internal/latest/simple/")),
        ("project/pyproject.toml", company(url="https://PM.Example.com/rspm/internal/latest/simple/")),
        (
            "project/pyproject.toml",
            company().replace(f"'{PM}", r'"https://pm\u002eexample.com/rspm').replace("simple/'", 'simple/"'),
        ),
    ],
)
def test_a_named_index_below_the_upstream_is_overridden_by_its_name(home, name, text):
    (home / name).parent.mkdir(parents=True, exist_ok=True)
    (home / name).write_text(text)

    assert variables(home, "project/src") == {"UV_INDEX": f"company={HERE}/internal/latest/simple/"}


@pytest.mark.parametrize(
    "text",
    [
        company(url="https://other.example.com/simple/"),
        company(url=f"{HERE}/pypi/latest/simple/"),
        table("tool.uv.index", url=f"{PM}/internal/latest/simple/"),
        "[[tool.uv.index]\n",
        "",
    ],
)
def test_any_other_index_has_no_variable(home, text):
    (home / "project/pyproject.toml").write_text(text)

    assert variables(home) == {}


def test_the_default_index_keeps_its_repository_unless_another_one_is_named(home):
    (home / "project/pyproject.toml").write_text(company(explicit=False, default=True))
    local = f"{HERE}/internal/latest/simple/"

    assert variables(home) == {"UV_DEFAULT_INDEX": local, "UV_INDEX_URL": local}
    assert variables(home, named=True) == {}


def test_members_of_the_workspace_have_a_say_from_wherever_one_stands(home):
    (home / "project/.git").mkdir()
    (home / "project/pyproject.toml").write_text('[tool.uv.workspace]\nmembers = ["packages/*"]\n')
    for name in ("a", "b"):
        (home / "project/packages" / name).mkdir(parents=True)
        (home / "project/packages" / name / "pyproject.toml").write_text(
            table("tool.uv.index", name=name, url=f"{PM}/{name}/latest/simple/", explicit=True)
        )

    found = variables(home, "project/packages/b")["UV_INDEX"].split()

    assert set(found) == {f"{name}={HERE}/{name}/latest/simple/" for name in ("a", "b")}


def test_indexes_that_the_caller_has_set_come_first_and_lead_here_too(home):
    (home / "project/pyproject.toml").write_text(company())
    mine = "other=https://other.example.com/simple/ company=BASE/mine/latest/simple/ BASE/x/latest/simple/"

    assert variables(home, UV_INDEX=mine.replace("BASE", PM)) == {"UV_INDEX": mine.replace("BASE", HERE)}
