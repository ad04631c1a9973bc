"""Claims about `ppmproxy exec`: the exit code, and what a command finds around it."""

import asyncio
import json
import sys
from pathlib import Path

import pytest
from exec_person import ASK, answer_in, python
from proxy_client import DEADLINE, leaked_forms

# --- exit codes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (("true",), 0),
        (("--", "sh", "-c", "exit 7"), 7),
        (("--", "sh", "-c", "kill -KILL $$"), 128 + 9),
        (("--", "sh", "-c", "kill -SEGV $$"), 128 + 11),
        (("--", "no-such-program-here"), 127),
        (("--", "/etc"), 126),
        (("--", "/etc/passwd/x"), 126),
    ],
)
async def test_the_exit_code_is_the_command_s(person, command, code):
    end = await person.runs(*command)

    assert end.code == code


async def test_no_command_at_all_is_a_mistake_in_the_use(person):
    end = await person.runs()

    assert end.code == 2
    assert len(end.output.splitlines()) == 2


async def test_the_command_s_own_arguments_are_left_alone(person):
    program = "import sys; print(sys.argv[1:])"

    end = await person.runs(*python(program), "--repo", "x", "--", "--help", "")

    assert end.output.strip() == "['--repo', 'x', '--', '--help', '']"


# --- the daemon -------------------------------------------------------------------------------------------------------


async def test_a_proxy_of_its_own_on_the_fixed_port_serves_the_command(person, server):
    end = await person.runs(*python(ASK))

    said = answer_in(end.output)
    assert end.code == 0
    assert said["status"] == 200
    assert said["url"] == f"http://{person.environ['PPMPROXY_LISTEN']}/pypi/latest/simple/"
    assert len(end.output.splitlines()) == 1
    assert server.requests_for("/rspm/pypi/latest/simple/hello/")


async def test_the_variables_of_env_are_set_and_no_token_is_in_them(person, server):
    end = await person.runs(*python(ASK), PACKAGEMANAGER_TOKEN="other", HTTP_PROXY="http://127.0.0.1:1", NO_PROXY="a.b")

    environ = answer_in(end.output)["environ"]
    url = answer_in(end.output)["url"]
    assert {name: environ[name] for name in ("UV_DEFAULT_INDEX", "PDM_PYPI_URL", "PPM_URL")} == {
        "UV_DEFAULT_INDEX": url,
        "PDM_PYPI_URL": url,
        "PPM_URL": url,
    }
    assert environ["PIP_TRUSTED_HOST"] == "127.0.0.1"
    assert environ["NO_PROXY"] == "a.b,localhost,127.0.0.1,::1"
    assert "PPMPROXY_TOKEN" not in environ
    assert "PACKAGEMANAGER_TOKEN" not in environ
    assert leaked_forms(server.token, end.output) == []


async def test_a_named_repository_of_r_is_that_of_its_clients(person, server):
    end = await person.runs("--r-repo", "prod", *python(ASK))

    environ = answer_in(end.output)["environ"]
    url = f"http://{person.environ['PPMPROXY_LISTEN']}/prod/latest"
    assert environ["RENV_CONFIG_REPOS_OVERRIDE"] == environ["PKG_CRAN_MIRROR"] == environ["_PPMPROXY_R_CRAN"] == url
    assert Path(environ["R_PROFILE_USER"]).is_file()


async def test_the_repositories_of_a_renv_lock_below_the_upstream_lead_here(person, server):
    lock = {"R": {"Repositories": [{"Name": "CRAN", "URL": f"{server.url}/prod/latest"}]}}
    (person.folder / "renv.lock").write_text(json.dumps(lock))

    end = await person.runs(*python(ASK))

    environ = answer_in(end.output)["environ"]
    assert environ["RENV_CONFIG_REPOS_OVERRIDE"] == f"http://{person.environ['PPMPROXY_LISTEN']}/prod/latest"


async def test_a_token_s_variable_that_the_settings_name_is_hidden_too(person, server):
    credentials = '[{from = "env", variable = "MY_TOKEN"}]'

    end = await person.runs(*python(ASK), PPMPROXY_CREDENTIALS=credentials, MY_TOKEN=server.token)

    assert answer_in(end.output)["status"] == 200
    assert "MY_TOKEN" not in answer_in(end.output)["environ"]


@pytest.mark.parametrize(("audience", "is_there"), [("packagemanager", False), ("", True)])
async def test_what_github_hands_to_a_job_is_hidden_where_a_token_is_asked_for_with_it(person, audience, is_there):
    end = await person.runs(*python(ASK), PPMPROXY_AUDIENCE=audience, ACTIONS_ID_TOKEN_REQUEST_TOKEN="of-the-job")

    assert ("ACTIONS_ID_TOKEN_REQUEST_TOKEN" in answer_in(end.output)["environ"]) is is_there


async def test_the_token_is_kept_for_the_command_when_that_is_asked_for(person, server):
    end = await person.runs("--keep-token", *python(ASK))

    assert answer_in(end.output)["environ"]["PPMPROXY_TOKEN"] == server.token


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
async def test_the_token_is_in_no_environment_that_others_may_look_into(person, server):
    async with person.running(*python("import os; print(os.getpid(), flush=True); input()")) as process:
        pid = int(await asyncio.wait_for(process.stdout.readline(), DEADLINE))
        environ = Path(f"/proc/{pid}/environ").read_text()
        process.stdin.write(b"\n")
        assert await asyncio.wait_for(process.wait(), DEADLINE) == 0

    assert "PIP_INDEX_URL=" in environ
    assert leaked_forms(server.token, environ) == []


async def test_a_repository_and_a_snapshot_may_be_chosen(person):
    end = await person.runs(
        "--repo", "other", "--snapshot", "2026-01-01", *python("import os; print(os.environ['PPM_URL'])")
    )

    assert end.output.strip().endswith("/other/2026-01-01/simple/")


async def test_a_second_index_of_pip_is_replaced_or_reported(person, server):
    conf = person.folder / ".config/pip/pip.conf"
    conf.parent.mkdir(parents=True)
    conf.write_text(f"[global]\nextra-index-url = {server.url}/other/latest/simple\n    https://other.example.com/s\n")

    end = await person.runs(*python("import os; print(os.environ['PIP_EXTRA_INDEX_URL'])"), PIP_CONFIG_FILE="")

    listen = person.environ["PPMPROXY_LISTEN"]
    assert f"http://{listen}/other/latest/simple https://other.example.com/s" in end.output
    assert "names a second index, https://other.example.com: pip takes packages from there, too" in end.output


async def test_second_indexes_and_keyrings_of_the_shell_are_dropped_with_one_line(person):
    left = {
        "UV_INDEX": "other=https://other.example.com/simple",
        "PIP_EXTRA_INDEX_URL": "https://other.example.com/simple",
        "UV_KEYRING_PROVIDER": "subprocess",
    }

    end = await person.runs(*python(f"import os; print([one for one in {list(left)} if one in os.environ])"), **left)

    assert "[]" in end.output
    [line] = [line for line in end.output.splitlines() if line.startswith("ppmproxy: ")]
    assert "PIP_EXTRA_INDEX_URL (https://other.example.com), UV_INDEX (https://other.example.com)" in line
    assert "UV_KEYRING_PROVIDER" in line
