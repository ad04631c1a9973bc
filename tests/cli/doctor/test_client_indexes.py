"""Claims about the indexes that doctor finds in clients' settings: second ones, and those past the proxy."""

import sys

import pytest
from examined_person import SECRET, found_in
from processes import run_program

OURS = "http://127.0.0.1:7760/pypi/latest/simple/"
OTHER = f"https://kim:{SECRET}@other.example.com/{SECRET}/simple?key={SECRET}"
USER_PIP = ".config/pip/pip.conf"


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


async def test_the_real_url_in_a_project_is_no_finding_within_an_interception(shell, configured, server):
    real = f'publish-url = "{server.upload_url()}"\n[[index]]\nurl = "{server.index_url()}"\ndefault = true\n'
    (configured.project / "uv.toml").write_text(real)
    configured.environ |= {"PPMPROXY_UPLOADS": "true", "PPMPROXY_CREDENTIALS": '[{from = "env"}]'}
    configured.environ["PPMPROXY_TOKEN"] = server.issue_token(("repos:read", "sources:write"))

    outside = await shell('ppmproxy exec --intercept -- ppmproxy doctor --json >"$HOME/found" || true')
    inside = found_in(configured.home / "found")

    assert "`ppmproxy exec --intercept -- …`" in outside.of("direct-index", "failed")["fix"]
    assert "`ppmproxy exec --intercept -- ...`" in outside.of("direct-upload", "warning")["fix"]
    assert inside.faults() == set()


@pytest.mark.parametrize("name", ["PIP_INDEX_URL", "UV_DEFAULT_INDEX"])
@pytest.mark.parametrize("path", ["", "/", "/pypi/latest/", "/pypi/latest/index"])
async def test_an_index_of_the_proxy_without_simple_is_reported_with_the_fix(configured, name, path):
    wrong = f"{OURS.removesuffix('/pypi/latest/simple/')}{path}"

    report = await configured.doctor(**{name: wrong})

    finding = report.of("direct-index", "warning")
    assert name in finding["what"]
    assert f"{path or '/'}, which is no index: /simple/ is missing" in finding["what"]
    assert finding["fix"] == 'eval "$(ppmproxy env)"'


@pytest.mark.parametrize("path", ["/pypi/latest/simple", "/pypi/2026-01-01/simple/", "/team/stable/+simple/"])
async def test_an_index_of_the_proxy_with_simple_is_none_to_report(configured, path):
    report = await configured.doctor(PIP_INDEX_URL=f"{OURS.removesuffix('/pypi/latest/simple/')}{path}")

    assert report.of("direct-index", "ok")
