"""Claims about settings of clients that go before the variables of `exec --intercept`."""

import pytest

from ppmproxy.clients.overruling import overruling_settings
from ppmproxy.environment import Environment

FOUND = {
    ".config/uv/uv.toml": ('https-proxy = "http://user:secret@p:1"\n', ["uv heeds https-proxy"]),
    "project/uv.toml": ('no-proxy = ["a"]\n', ["uv heeds no-proxy"]),
    "project/pyproject.toml": ('[tool.uv]\nhttps-proxy = "http://p:1"\n', ["uv heeds tool.uv.https-proxy"]),
    ".config/pypoetry/config.toml": (
        '[certificates.company]\ncert = "/ca.pem"\n',
        ["Poetry heeds certificates.company.cert"],
    ),
    ".config/pdm/config.toml": ('[pypi]\nca_certs = "/ca.pem"\n', ["PDM heeds pypi.ca_certs"]),
    ".curlrc": ("# proxy = no\n-x http://p:1\ncacert=/ca.pem\n", ["curl heeds proxy", "curl heeds cacert"]),
    ".npmrc": ("https-proxy=http://p:1\nregistry=https://r/\n", ["npm heeds https-proxy"]),
    "project/.npmrc": ("noproxy = a\n", ["npm heeds noproxy"]),
    ".gitconfig": (
        '[user]\nproxy = x\n[http "https://a"]\n\tsslVerify = false\n[http]\n\tproxy = http://p:1\n',
        ["git heeds http.sslverify", "git heeds http.proxy"],
    ),
}


def settings_of(tmp_path, **files):
    (tmp_path / "project").mkdir()
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return overruling_settings(Environment({}, tmp_path, tmp_path / "project"))


@pytest.mark.parametrize("name", FOUND)
def test_what_overrules_is_found_and_named_with_its_file(tmp_path, name):
    text, expected = FOUND[name]

    found = settings_of(tmp_path, **{name: text})

    assert [str(one) for one in found] == [f"{one} in {tmp_path / name}" for one in expected]
    assert "secret" not in repr(found)


@pytest.mark.parametrize("name", FOUND)
def test_a_file_that_cannot_be_understood_overrules_nothing(tmp_path, name):
    assert settings_of(tmp_path, **{name: "[[[\x00"}) == []


def test_poetry_s_file_is_found_in_the_folder_that_its_variable_names(tmp_path):
    (tmp_path / "config.toml").write_text(FOUND[".config/pypoetry/config.toml"][0])
    variables = {"POETRY_CONFIG_DIR": str(tmp_path)}

    [found] = overruling_settings(Environment(variables, tmp_path, tmp_path))

    assert found.path == tmp_path / "config.toml"


def test_a_person_without_such_files_has_no_such_setting(tmp_path):
    assert settings_of(tmp_path) == []
