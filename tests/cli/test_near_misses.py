"""Claims about names of commands and flags that other programs have: the right one is suggested."""

import pytest
from command_line import Person

from ppmproxy.cli.main import COMMANDS
from ppmproxy.cli.near_misses import meant_command

NAMES = [command.name for command in COMMANDS]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("start", "ppmproxy run"),
        ("stop", "ppmproxy shutdown"),
        ("version", "ppmproxy --version"),
        ("restart", "ppmproxy shutdown && ppmproxy run"),
        ("Status", "ppmproxy status"),
        ("statsu", "ppmproxy status"),
        ("stpo", "ppmproxy shutdown"),
        ("sign-in", "ppmproxy login"),
        ("install", "ppmproxy service install"),
        ("qwertz", ""),
    ],
)
def test_the_command_that_is_meant_is_found(name, meant):
    assert meant_command(name, NAMES) == meant


@pytest.mark.parametrize("name", NAMES)
def test_a_command_in_capitals_is_meant_as_it_is(name):
    assert meant_command(name.upper(), NAMES) == f"ppmproxy {name}"


@pytest.mark.parametrize("words", [("start",), ("stop",), ("version",), ("-v",)])
def test_it_is_suggested_in_two_lines(tmp_path, words):
    said = Person(tmp_path).runs(*words)

    assert said.code == 2
    assert said.err.splitlines()[1].startswith("  did you mean `ppmproxy ")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("flag", ["--version", "-V", "-v"])
def test_a_flag_for_the_version_at_any_command_leads_to_the_right_one(tmp_path, name, flag):
    said = Person(tmp_path).runs(name, flag)

    assert (said.code, said.err.splitlines()[1]) == (2, "  did you mean `ppmproxy --version`?")


@pytest.mark.parametrize(
    ("words", "what", "hint"),
    [
        (["cache"], "cache needs one of these words: info, clear, verify, prefetch", "see `ppmproxy cache --help`"),
        (["configure", "pyp"], "configure: 'pyp' is none of pip, uv, ", "did you mean `ppmproxy configure pip`?"),
        (["config", "shwo"], "config: 'shwo' is none of show, check, example", "did you mean `ppmproxy config show`?"),
        (["config", "qwertz"], "config: 'qwertz' is none of show, check, example", "see `ppmproxy config --help`"),
        (["run", "--verison"], "run: unrecognized arguments: --verison", "did you mean `ppmproxy --version`?"),
        (["env", "--shell", "bsh"], "env: argument --shell: invalid choice: 'bsh'", "see `ppmproxy env --help`"),
    ],
)
def test_a_word_that_a_command_does_not_have_leads_to_the_right_one(tmp_path, words, what, hint):
    said = Person(tmp_path).runs(*words)

    first, second = said.err.splitlines()
    assert said.code == 2
    assert first.startswith(f"ppmproxy: {what}")
    assert second == f"  {hint}"
