"""Claims about pip's own indexes: which settings are in force, and what becomes of a second index."""

import pytest

from ppmproxy.clients.editing.ini import INI
from ppmproxy.clients.index_settings import Role, read_environment, read_pip, settings_in_force
from ppmproxy.clients.local_urls import LocalUrls
from ppmproxy.clients.pip_indexes import extra_indexes, pip_variables, second_indexes
from ppmproxy.config.model import Settings, Upstream
from ppmproxy.environment import Environment

PM, HERE, OTHER = "https://pm.example.com/rspm", "http://127.0.0.1:7760", "https://other.example.com/simple"
URLS = LocalUrls.of_settings(Settings(upstreams=(Upstream(url=PM, configured=True),)))


def settings_of(*files, **environ):
    read = [one for name, text in files for one in read_pip(INI.tree(text), name)]
    return [*read_environment(environ), *read]


def indexes(*files, **environ):
    return [one.value for one in settings_in_force(settings_of(*files, **environ)) if one.role is Role.INDEX]


@pytest.mark.parametrize(
    ("files", "environ", "in_force"),
    [
        ([("a", "[global]\nindex-url = x")], {}, ["x"]),
        ([("a", "[global]\nindex-url = x"), ("b", "[global]\nindex-url = y")], {}, ["y"]),
        ([("a", "[install]\nindex-url = x"), ("b", "[global]\nindex-url = y")], {}, ["x", "y"]),
        ([("a", "[global]\nindex-url = x\n[install]\nindex-url = z")], {"PIP_INDEX_URL": "v"}, ["v"]),
        ([("a", "[global]\nindex-url = x"), ("b", "[global]\nextra-index-url = y")], {}, ["x"]),
    ],
)
def test_a_variable_overrules_files_and_a_file_those_before_it(files, environ, in_force):
    assert indexes(*files, **environ) == in_force


@pytest.mark.parametrize(
    ("extra", "value", "told"),
    [
        (f"{PM}/internal/latest/simple", f"{HERE}/internal/latest/simple", []),
        (f"{PM}/a/latest/simple {OTHER}", f"{HERE}/a/latest/simple {OTHER}", [OTHER]),
        (OTHER, None, [OTHER]),
        (f"{HERE}/pypi/latest/simple/", None, []),
    ],
)
def test_a_second_index_below_the_upstream_leads_here_and_another_one_is_reported(tmp_path, extra, value, told):
    (tmp_path / ".config/pip").mkdir(parents=True)
    (tmp_path / ".config/pip/pip.conf").write_text(f"[global]\nextra-index-url = {extra}\n")
    settings = [one for one in extra_indexes(Environment({}, tmp_path, tmp_path)) if str(tmp_path) in one.where]

    assert pip_variables(settings, URLS).get("PIP_EXTRA_INDEX_URL") == value
    assert [one.value for one in second_indexes(settings, URLS)] == told
