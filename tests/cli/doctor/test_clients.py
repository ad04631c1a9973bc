import pytest

from ppmproxy.cli.doctor.checks import Outcome
from ppmproxy.cli.doctor.clients import KnownOrigins, client_checks
from ppmproxy.clients.index_settings import IndexSetting, Role
from ppmproxy.config.model import Settings, Upstream

KNOWN = KnownOrigins.of_settings(Settings(upstreams=(Upstream(url="https://pm.example.com", configured=True),)))
REAL, HERE, OTHER = "https://pm.example.com/simple/", "http://127.0.0.1:7760/simple/", "https://other.example.com/"


def findings(*settings):
    return [one for one in client_checks(settings, (), KNOWN) if one.outcome is not Outcome.OK]


def setting(url, role=Role.INDEX, client="uv", where="a.toml, [[index]]", **more):
    return IndexSetting(client, role, where, url, **more)


def test_the_real_url_in_a_file_for_all_users_may_stay_with_an_interception():
    [found] = findings(setting(REAL, for_all=True))

    assert found.check == "direct-index"
    assert "ppmproxy exec --intercept" in found.fix


def test_the_index_for_all_users_does_not_matter_where_the_user_has_another():
    assert findings(setting(REAL, for_all=True), setting(HERE)) == []


def test_a_second_index_that_is_the_package_manager_is_to_be_pointed_here_and_not_removed():
    [found] = findings(setting(REAL, Role.EXTRA))

    assert (found.check, found.fix) == ("direct-index", "ppmproxy configure uv")


@pytest.mark.parametrize(
    ("where", "fix"),
    [
        ("a.toml, [[index]]", "remove it from a.toml, [[index]], or have the Package Manager serve those packages"),
        ("other.toml, [[index]]", "ppmproxy configure uv"),
    ],
)
def test_an_index_in_a_file_that_leads_here_already_is_to_be_removed(where, fix):
    [found] = findings(setting(HERE, where="a.toml, [[index]] ppm"), setting(OTHER, where=where))

    assert found.fix == fix


def test_the_fix_has_the_flag_for_the_very_file():
    [found] = findings(setting(REAL, client="pip", where="pip.conf, index-url", flag="--user"))

    assert found.fix == "ppmproxy configure pip --user"
