from ppmproxy.cli.doctor.checks import Outcome
from ppmproxy.cli.doctor.uploads import upload_checks
from ppmproxy.clients.local_urls import LocalUrls
from ppmproxy.config.model import Settings, Upstream
from ppmproxy.environment import Environment

ON = LocalUrls.of_settings(Settings(upstreams=(Upstream(url="https://pm.example.com", uploads=True),)))
OFF = LocalUrls.of_settings(Settings(upstreams=(Upstream(url="https://pm.example.com"),)))
PYPIRC = """\
[distutils]
index-servers = company other

[company]
repository = https://me:s3cret@pm.example.com/upload/pypi/internal

[other]
repository = https://other.example.com/legacy/
"""


def results(folder, urls):
    return list(upload_checks(Environment({}, folder, folder, "linux"), urls))


def test_a_repository_that_is_the_package_manager_itself_is_found_with_the_url_to_write_there(tmp_path):
    (tmp_path / ".pypirc").write_text(PYPIRC)
    (tmp_path / "uv.toml").write_text('publish-url = "https://pm.example.com/upload/pypi/internal"\n')

    found = results(tmp_path, ON)

    assert [one.outcome for one in found] == [Outcome.WARNING] * 2
    assert f"{tmp_path}/.pypirc, [company]" in found[0].what
    assert f"{tmp_path}/uv.toml, publish-url" in found[1].what
    assert all("http://127.0.0.1:7760/upload/pypi/internal" in one.fix for one in found)
    assert "s3cret" not in str(found)


def test_repositories_elsewhere_are_nobody_s_business(tmp_path):
    (tmp_path / "uv.toml").write_text('publish-url = "https://other.example.com/"\n')

    assert [one.outcome for one in results(tmp_path, ON)] == [Outcome.OK]


def test_without_uploads_nothing_is_said_of_them(tmp_path):
    (tmp_path / ".pypirc").write_text(PYPIRC)

    assert results(tmp_path, OFF) == []
