"""Claims about all commands alike: each explains itself by an example, and none imports what it does not need."""

import json
import shlex
import subprocess
import sys

import pytest
from command_line import Person
from processes import plain_environment

from ppmproxy.cli import COMMANDS, overview, parsers

HEAVY = ("aiohttp", "asyncio", "ssl", "structlog", "cryptography", "yarl", "multidict")


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_help_shows_an_example_that_the_command_itself_takes(command):
    parser = next(parser for name, _, parser in parsers() if name == command.name)
    example = parser.format_help().partition("example:\n  ")[2].splitlines()[0]
    words = shlex.split(example.removeprefix('eval "$(').removesuffix(')"'))

    parsed = parser.parse_args(words[2:])

    assert words[:2] == ["ppmproxy", command.name]
    assert parsed is not None


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_help_is_printed_by_the_real_program(command, tmp_path):
    end = run_python("-m", "ppmproxy", command.name, "--help", home=tmp_path)

    assert f"usage: ppmproxy {command.name}" in end.stdout
    assert f"example:\n  {command.example}\n" in end.stdout
    assert end.stderr == ""


def test_the_overview_names_every_command_and_shows_an_example():
    assert all(f"  {command.name} " in overview() for command in COMMANDS)
    assert "example:" in overview()


@pytest.mark.parametrize("arguments", [["env"], ["--help"], ["--version"], ["config", "show"]])
def test_what_is_to_be_quick_imports_no_server(arguments, tmp_path):
    program = (
        "import json, sys\n"
        "from ppmproxy.cli import main\n"
        f"code = main({arguments!r})\n"
        "print(json.dumps([code, sorted(sys.modules)]))\n"
    )

    code, modules = json.loads(run_python("-c", program, home=tmp_path).stdout.splitlines()[-1])

    assert code == 0
    assert [name for name in HEAVY if name in modules] == []


def test_a_mistake_in_the_use_is_told_in_two_lines(tmp_path):
    for words in (["no-such-command"], ["env", "--no-such-flag"], ["lock"], ["completion"]):
        said = Person(tmp_path).runs(*words)

        assert said.code == 2
        assert "--help" in said.err


def run_python(*arguments, home):
    environ = plain_environment(home)
    end = subprocess.run(
        [sys.executable, *arguments], env=environ, cwd=home, check=False, capture_output=True, text=True, timeout=60
    )
    assert end.returncode == 0, end.stderr
    return end
