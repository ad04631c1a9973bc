"""Claims about `ppmproxy config check`: it refuses what `ppmproxy run` would refuse."""

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
    assert Person(tmp_path).runs("config", "check").out == "the settings are valid\n"
