"""Claims about doctor's fixes for a token: that is missing, over, refused, or may not do enough.

Each fault is made to appear, what the fix says is done, and then nothing is found.
"""

import pytest
from examined_person import SECRET

from ppmproxy.testing.package_manager import Status, jwt

OVER = jwt({"sub": "kim", "exp": 1_000_000_000})
LOGIN = "run `ppmproxy login`"
FOR_BOTH = '[{from = "env", use = "read"}, {from = "env", variable = "WRITE", use = "upload", repos = ["internal"]}]'


@pytest.fixture
def tokenless(configured):
    """The same person without a token."""
    del configured.environ["PPMPROXY_TOKEN"]
    return configured


# --- none -------------------------------------------------------------------------------------------------------------


async def test_a_missing_token_is_there_after_each_way_of_the_fix(tokenless, server):
    fix = (await tokenless.doctor()).of("token", "failed")["fix"]
    assert fix == f"{LOGIN}, or set PPMPROXY_TOKEN or PPMPROXY_TOKEN_FILE"
    file = tokenless.has("token", server.token)
    file.chmod(0o600)

    by_variable = await tokenless.doctor(PPMPROXY_TOKEN=server.token)
    by_file = await tokenless.doctor(PPMPROXY_TOKEN_FILE=str(file))
    await tokenless.signs_in(server)
    by_sign_in = await tokenless.doctor()

    assert [report.faults() for report in (by_variable, by_file, by_sign_in)] == [set(), set(), set()]


async def test_a_missing_token_of_a_ci_job_is_there_once_it_is_set_in_the_job(tokenless, server):
    fix = (await tokenless.doctor(CI="true")).of("token", "failed")["fix"]
    assert fix == "set PPMPROXY_TOKEN or PPMPROXY_TOKEN_FILE in the job"

    assert (await tokenless.doctor(CI="true", PPMPROXY_TOKEN=server.token)).faults() == set()


async def test_a_file_that_is_not_there_is_mended_by_the_file(tokenless, server):
    file = tokenless.home / "token"
    tokenless.environ["PPMPROXY_TOKEN_FILE"] = str(file)
    found = (await tokenless.doctor()).of("token", "failed")
    assert f"file {file} (PPMPROXY_TOKEN_FILE): no such file" in found["what"]
    assert found["fix"] == f"correct that source, or {LOGIN}"

    file.write_text(server.token)
    file.chmod(0o600)

    assert (await tokenless.doctor()).faults() == set()


async def test_a_source_of_the_settings_without_a_token_is_mended_by_one_there(tokenless, server):
    settings = {"PPMPROXY_CREDENTIALS": '[{from = "env", variable = "MINE"}]'}
    found = (await tokenless.doctor(**settings)).of("token", "failed")
    assert "environment variable MINE: not set" in found["what"]
    assert found["fix"] == "put a token there"

    assert (await tokenless.doctor(**settings, MINE=server.token)).faults() == set()


async def test_a_repository_without_a_source_is_mended_by_one_in_the_settings(tokenless, server):
    other = '[{from = "env", variable = "MINE", repos = ["internal"]}]'
    fix = (await tokenless.doctor(PPMPROXY_CREDENTIALS=other, MINE=server.token)).of("token", "failed")["fix"]
    assert fix == "add a source for this repository to [[upstream.default.credentials]]"

    added = other.replace("]}]", ']}, {from = "env", variable = "MINE"}]')

    assert (await tokenless.doctor(PPMPROXY_CREDENTIALS=added, MINE=server.token)).faults() == set()


async def test_a_second_package_manager_without_a_token_has_one_after_the_fix(tokenless, server, ca_file):
    """It is not the one on which a token is tried."""
    del tokenless.environ["PPMPROXY_UPSTREAM"], tokenless.environ["PPMPROXY_CA_FILE"]
    table = '[upstream.{0}]\nurl = "{1}"\nca_file = "{2}"\ncredentials = [{{ from = "env", variable = "{3}" }}]\n'
    both = [("default", server.url, ca_file, "ONE"), ("second", server.url + "/2", ca_file, "TWO")]
    tokenless.has(".config/ppmproxy/config.toml", "".join(table.format(*one) for one in both))
    tokenless.environ["ONE"] = server.token
    assert (await tokenless.doctor()).of("token", "warning")["fix"] == "put a token there"

    assert "token" not in (await tokenless.doctor(TWO=server.token)).faults()


# --- of no use --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("token", "said", "fix"),
    [
        (OVER, "it has expired", "put a new token there (environment variable PPMPROXY_TOKEN)"),
        (SECRET, "rejects the token", "put a new token there, then try again"),
    ],
)
async def test_a_token_that_is_over_or_refused_is_mended_by_a_new_one_there(configured, server, token, said, fix):
    found = (await configured.doctor(PPMPROXY_TOKEN=token)).of("token", "failed")
    assert said in found["what"]
    assert found["fix"] == fix

    assert (await configured.doctor(PPMPROXY_TOKEN=server.token)).faults() == set()


@pytest.mark.parametrize("token", [OVER, SECRET])
async def test_a_sign_in_s_token_that_is_over_or_refused_is_mended_by_another_sign_in(tokenless, server, token):
    entry = f'[[connections]]\naddress = "{server.url}"\ntoken = "{token}"\nauth_type = "token"\n'
    tokenless.has(".ppm/tokens.toml", entry).chmod(0o600)
    assert (await tokenless.doctor()).of("token", "failed")["fix"] == LOGIN

    await tokenless.signs_in(server)

    assert (await tokenless.doctor()).faults() == set()


async def test_a_token_without_the_scope_is_mended_by_one_of_the_administrator(configured, server):
    without = server.accept_token(jwt({"sub": "kim", "scopes": ["sources:write"]}))
    fix = (await configured.doctor(PPMPROXY_TOKEN=without)).of("token", "failed")["fix"]
    assert fix == "ask the Package Manager's administrator for a token with the scope repos:read"

    assert (await configured.doctor(PPMPROXY_TOKEN=server.issue_token())).faults() == set()


async def test_a_repository_that_is_blocked_is_there_once_the_administrator_allows_it(configured, server):
    server.add_fault("*/simple/*", Status(403, body=b"blocked"))
    found = (await configured.doctor()).of("token", "failed")
    assert "403" in found["what"]
    assert "ask its administrator for access" in found["fix"]

    server.clear_faults()

    assert (await configured.doctor()).faults() == set()


async def test_a_repository_that_is_not_there_is_mended_by_naming_another_one(configured):
    found = (await configured.doctor("--repo", "pipy")).of("token", "warning")
    assert "no index /pipy/latest/simple/ (404)" in found["what"]
    assert found["fix"].startswith("name another repository or snapshot with --repo and --snapshot")

    assert (await configured.doctor("--repo", "pypi", "--snapshot", "latest")).faults() == set()


@pytest.mark.parametrize("scopes", [None, ("repos:read",)])
async def test_a_token_for_uploads_that_is_missing_or_lacks_the_scope_is_mended_by_one_with_it(
    configured, server, scopes
):
    configured.environ |= {"PPMPROXY_UPLOADS": "true", "PPMPROXY_CREDENTIALS": FOR_BOTH}
    environ = {"WRITE": server.issue_token(scopes)} if scopes else {}
    outcome = "failed" if scopes else "warning"
    fix = (await configured.doctor(**environ)).of("upload-token", outcome)["fix"]
    assert "token with the scope sources:write" in fix

    mended = await configured.doctor(WRITE=server.issue_token(("sources:write:internal",)))

    assert mended.faults() == set()


# --- remarks ----------------------------------------------------------------------------------------------------------


async def test_a_token_file_that_all_may_read_is_mended_by_the_command(tokenless, server):
    file = tokenless.has("token", server.token)
    file.chmod(0o644)
    tokenless.environ["PPMPROXY_TOKEN_FILE"] = str(file)
    fix = (await tokenless.doctor()).of("token", "warning")["fix"]
    assert fix == f"{file} can be read by every user of this machine; chmod 600 it"

    file.chmod(0o600)

    assert (await tokenless.doctor()).faults() == set()


async def test_a_netrc_line_that_cannot_be_read_is_mended_by_correcting_it(tokenless, server):
    own = f"machine 127.0.0.1 login __token__ password {server.token}\n"
    file = tokenless.has(".netrc", f'machine other.example login x password "{SECRET}\n{own}')
    file.chmod(0o600)
    fix = (await tokenless.doctor()).of("token", "warning")["fix"]
    assert fix == f"{file}, line 1 cannot be read as netrc; correct or remove it"

    file.write_text(f'machine other.example login x password "{SECRET}"\n{own}')

    assert (await tokenless.doctor()).faults() == {"credentials"}  # the Package Manager is on this machine here
