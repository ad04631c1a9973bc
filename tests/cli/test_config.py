"""Claims about `ppmproxy config check`: it refuses what `ppmproxy run` would refuse."""

import subprocess

import pytest
from command_line import Person

WRONG = [
    ('ca_file = "ca.pem"', "ca_file", "ca.pem"),
    ('access = ["no-such-user-here"]', "access", "no-such-user-here"),
]


@pytest.mark.parametrize(("line", "key", "named"), WRONG)
def test_what_the_settings_name_and_is_not_there_is_reported_with_the_file(tmp_path, line, key, named):
    file = tmp_path / "config.toml"
    file.write_text(f'upstream = "https://ppm.example.com"\n{line}\n')

    said = Person(tmp_path).runs("config", "check", "--config", file)

    assert said.code == 3
    assert said.err.startswith(f"ppmproxy: file {file}: {key} ")
    assert named in said.err


def test_settings_that_name_nothing_else_are_fine(tmp_path):
    said = Person(tmp_path).runs("config", "check")

    own = tmp_path / ".config/ppmproxy/config.toml"
    assert said.out.splitlines()[:1] == ["the settings are valid"]
    assert f"no settings file: looked at {own} and " in said.out
    assert said.err == ""


def test_the_file_that_is_read_is_named(tmp_path):
    file = tmp_path / ".config/ppmproxy/config.toml"
    file.parent.mkdir(parents=True)
    file.write_text('upstream = "https://ppm.example.com"\n')
    (tmp_path / ".config/ppmproxy.toml").write_text("")

    shown, checked = (Person(tmp_path).runs("config", action) for action in ("show", "check"))

    assert shown.out.startswith(f"# settings file: {file}\n")
    assert checked.out.endswith(f"\nsettings file: {file}\n")
    assert shown.err == checked.err == ""


@pytest.mark.parametrize(
    "misplaced",
    [
        "here/ppmproxy.toml",
        ".config/ppmproxy.toml",
        ".config/ppmproxy/ppmproxy.toml",
        ".config/ppmproxy/config.tml",
        ".config/ppmproxy/Config.TOML",
        ".ppmproxy.toml",
        ".ppmproxy/config.toml",
    ],
)
@pytest.mark.parametrize("action", ["show", "check"])
def test_a_file_that_may_have_been_meant_is_named_with_the_command_that_has_it_read(
    tmp_path, monkeypatch, action, misplaced
):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / misplaced).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / misplaced).write_text('upstream = "https://ppm.example.com"\n')
    person = Person(tmp_path)

    note = person.runs("config", action).err
    subprocess.run(["/bin/sh", "-c", note.partition("to have it read: ")[2]], check=True)
    after = person.runs("config", "show")

    assert note.startswith("note: ")
    assert misplaced.removeprefix("here/") in note
    assert "https://ppm.example.com" in after.out
    assert after.err == ""


def test_files_that_are_no_settings_are_not_named(tmp_path):
    for name in ("token", "config.toml.bak", "ca.pem"):
        file = tmp_path / ".config/ppmproxy" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("")

    assert Person(tmp_path).runs("config", "show").err == ""
