"""Claims about all commands alike: each explains itself by an example, and none imports what it does not need."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import Person
from processes import plain_environment

from ppmproxy.cli.main import COMMANDS, overview, parsers

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


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_help_is_whole_in_ascii_and_names_the_settings_after_the_command_s_own_flags(command):
    parser = next(parser for name, _, parser in parsers() if name == command.name)

    text = parser.format_help()
    own, _, settings = text.partition("\nsettings, ")

    assert text.isascii()
    assert ("--log-level" in settings, "--log-level" in own) == (command.takes_settings, False)
    assert "debug" not in settings
    assert all(len(line) <= 90 for line in text.splitlines())


@pytest.mark.parametrize("environ", [{"PYTHONIOENCODING": "ascii"}, {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0"}])
def test_help_and_errors_are_whole_where_there_is_no_unicode(tmp_path, environ):
    shown = through_shell("{ppmproxy} run --help", tmp_path, **environ)
    no_url = "env -u PPMPROXY_UPSTREAM PPMPROXY_CREDENTIALS='[{{from = \"netrc\"}}]'"
    wrong = through_shell(f"{no_url} {{ppmproxy}} config check", tmp_path, **environ)

    assert shown.returncode == 0
    assert "--max-connections" in shown.stdout
    assert "\\u" not in shown.stdout + wrong.stderr
    assert wrong.stderr.splitlines()[1].strip() == 'add url = "https://...", or unset them'


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_the_usage_is_short_and_shows_what_the_command_itself_takes(command):
    parser = next(parser for name, _, parser in parsers() if name == command.name)
    usage = parser.format_usage()

    assert len(usage.splitlines()) <= 4
    assert ("[SETTINGS]" in usage) is command.takes_settings
    assert "--listen" not in usage
    assert command.name != "exec" or usage.endswith("-- COMMAND ...\n")


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("run", "--upstrem", "https://a"), "did you mean --upstream? See `ppmproxy run --help`"),
        (("env", "--repoo=x"), "did you mean --repo? See `ppmproxy env --help`"),
        (("run", "--token", "x"), "see `ppmproxy run --help`"),
        (("run", "-x"), "see `ppmproxy run --help`"),
    ],
)
def test_a_flag_that_is_mistyped_is_reported_with_the_nearest_one(tmp_path, arguments, hint):
    said = Person(tmp_path).runs(*arguments)

    assert said.code == 2
    assert f"  {hint}\n" in said.err


def test_help_for_a_command_is_that_of_the_command(tmp_path):
    end = run_python("-m", "ppmproxy", "help", "wait", home=tmp_path)

    assert end.stdout.startswith("usage: ppmproxy wait")


def test_a_flag_before_the_command_is_reported_where_it_belongs(tmp_path):
    said = Person(tmp_path).runs("--config", "c.toml", "status")

    assert said.err.splitlines() == [
        "ppmproxy: --config is in front of the command",
        "  write the command first, as in `ppmproxy COMMAND --flag`",
    ]


def test_the_flag_of_a_list_may_be_given_again(tmp_path):
    said = Person(tmp_path).runs("config", "show", "--listen", "127.0.0.1:1,127.0.0.1:2", "--listen=127.0.0.1:3")

    assert 'listen = ["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"]' in said.out


def test_the_overview_names_every_command_and_the_version_and_shows_an_example():
    assert all(f"  {command.name} " in overview() for command in COMMANDS)
    assert "ppmproxy --version" in overview()
    assert "example:" in overview()


@pytest.mark.parametrize("arguments", [["env"], ["--help"], ["--version"], ["config", "show"]])
def test_quick_commands_import_no_server(arguments, tmp_path):
    program = (
        "import json, sys\n"
        "from ppmproxy.cli.main import main\n"
        f"code = main({arguments!r})\n"
        "print(json.dumps([code, sorted(sys.modules)]))\n"
    )

    code, modules = json.loads(run_python("-c", program, home=tmp_path).stdout.splitlines()[-1])

    assert code == 0
    assert [name for name in HEAVY if name in modules] == []


def test_a_mistake_in_the_use_is_reported_in_two_lines(tmp_path):
    for words in (["no-such-command"], ["env", "--no-such-flag"], ["lock"], ["completion"]):
        said = Person(tmp_path).runs(*words)

        assert said.code == 2
        assert "--help" in said.err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is always full is Linux's")
def test_output_that_cannot_be_written_is_reported_in_two_lines(tmp_path):
    no_room = through_shell("{ppmproxy} env > /dev/full", tmp_path)
    no_letter = through_shell("{ppmproxy} env > /dev/null", tmp_path, PYTHONIOENCODING="ascii", NO_PROXY="\N{SNOWMAN}")

    for end, reason in ((no_room, "no space left"), (no_letter, "encoding ascii")):
        assert end.returncode == 1
        assert reason in end.stderr
        assert len(end.stderr.splitlines()) == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is always full is Linux's")
def test_a_log_that_cannot_be_written_is_reported_once_and_the_daemon_serves_all_the_same(tmp_path, unused_tcp_port):
    line = "{ppmproxy} run > /dev/full & {ppmproxy} wait && {ppmproxy} status > /dev/null && kill $! && wait $!"

    end = through_shell(line, tmp_path, PPMPROXY_LISTEN=f"127.0.0.1:{unused_tcp_port}", PPMPROXY_LOG_LEVEL="debug")

    assert end.stderr == "ppmproxy: the log cannot be written: no space left on device\n"
    assert end.returncode == 0


def test_a_reader_that_leaves_and_an_output_that_was_never_open_are_no_faults(tmp_path):
    for command in ("{ppmproxy} env | head -n 1 > /dev/null", "{ppmproxy} env >&-", "{ppmproxy} env 2>&- > /dev/null"):
        end = through_shell(command, tmp_path)

        assert (end.returncode, end.stderr) == (0, "")


@pytest.mark.parametrize("words", ["configure uv --project", "exec --canonical-lock -- true"])
def test_a_current_folder_that_was_removed_is_reported_in_two_lines(words, tmp_path, unused_tcp_port):
    listen = f"127.0.0.1:{unused_tcp_port}"

    end = through_shell(
        f"mkdir gone && cd gone && rmdir ../gone && {{ppmproxy}} {words}", tmp_path, PPMPROXY_LISTEN=listen
    )

    assert end.returncode == 2
    assert end.stderr.splitlines()[0] == "ppmproxy: the current folder cannot be used: no such file or directory"
    assert len(end.stderr.splitlines()) == 2


def through_shell(command, home, **environ):
    """What a shell makes of a command; `{ppmproxy}` stands for the program."""
    line = command.format(ppmproxy=f"{sys.executable} -m ppmproxy")
    named = plain_environment(home, PPMPROXY_UPSTREAM="http://127.0.0.1:1", **environ)
    return subprocess.run(
        ["sh", "-c", line], env=named, cwd=home, check=False, capture_output=True, text=True, timeout=120
    )


def run_python(*arguments, home):
    environ = plain_environment(home)
    end = subprocess.run(
        [sys.executable, *arguments], env=environ, cwd=home, check=False, capture_output=True, text=True, timeout=120
    )
    assert end.returncode == 0, end.stderr
    return end


def test_no_command_but_the_demonstration_imports_the_fake_package_manager(tmp_path):
    program = (
        "import sys\n"
        "from ppmproxy.cli.main import parsers\n"
        "import ppmproxy.cli.daemon_thread\n"
        "assert len(list(parsers())) > 10\n"
        "print(sorted(name for name in sys.modules if name.startswith(('ppmproxy.testing', 'trustme'))))\n"
    )

    assert run_python("-c", program, home=tmp_path).stdout == "[]\n"


def test_exec_imports_no_server_before_it_needs_one(tmp_path):
    program = (
        "import sys\n"
        "import ppmproxy.cli.exec\n"
        "print([name for name in ('aiohttp', 'asyncio', 'structlog', 'cryptography') if name in sys.modules])\n"
    )

    assert run_python("-c", program, home=tmp_path).stdout == "[]\n"
