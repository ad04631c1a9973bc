import os
import shutil
import subprocess
import sys

import pytest
from command_line import Person
from hypothesis import example, given, settings
from hypothesis import strategies as st
from processes import plain_environment

from ppmproxy.cli.env import _dotenv, _fish, _github, _powershell, _sh, shell_in_use
from ppmproxy.errors import EXIT_CONFIGURATION, EXIT_OK, EXIT_USAGE

SHELLS = ("sh", "bash", "dash", "zsh", "fish")
PRINT_IT = f"{sys.executable} -c \"import os, sys; sys.stdout.buffer.write(os.environb[b'X'])\""
URL = "http://127.0.0.1:7760/pypi/latest/simple/"
SLOWEST = 0.25  # seconds of its own: on a machine that is busy, it waits for others besides


@pytest.fixture
def person(tmp_path):
    return Person(tmp_path)


def real_shell(name):
    from downloads import skip_or_fail  # not at the top: it takes a POSIX system

    return shutil.which(name) or skip_or_fail(f"{name} is not installed", f"apt-get install {name}")


def evaluated(shell, script, environ=None):
    """What a real shell leaves in X, in its own environment and in that of what it starts."""
    command = [shutil.which(shell), "-c", f"{script}\n{PRINT_IT}"]
    end = subprocess.run(command, capture_output=True, timeout=120, check=True, env={**os.environ, **(environ or {})})
    assert end.stderr == b""
    return end.stdout.decode()


# --- shells -----------------------------------------------------------------------------------------------------------

AWKWARD = "it's \"a\" $HOME `id` \\ \\' \\\\ ${x} $(id) % %PATH% ! * ~ # ; & | é \u2019 '"


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("value", [URL, "", AWKWARD, "'", "\\", "'\\''", "a\\", " a ", "-n", "\\n", "💥"])
def test_a_real_shell_reads_back_what_was_written(shell, value):
    real_shell(shell)
    written = (_fish if shell == "fish" else _sh)("X", value)

    assert evaluated(shell, written) == value


@pytest.mark.parametrize("shell", SHELLS)
def test_eval_of_the_output_sets_every_variable(shell, tmp_path):
    real_shell(shell)
    environ = plain_environment(tmp_path, SHELL=f"/usr/bin/{shell}", NO_PROXY="it's.example.com,b")
    environ.pop("no_proxy", None)
    program = f"{sys.executable} -m ppmproxy env"
    load = f"{program} | source" if shell == "fish" else f'eval "$({program})"'
    script = f"{load}; {sys.executable} -c 'import json, os; print(json.dumps(dict(os.environ)))'"

    command = [shutil.which(shell), "-c", script]
    end = subprocess.run(command, capture_output=True, timeout=120, env=environ, text=True, check=True)

    assert end.stderr == ""
    assert f'"PIP_INDEX_URL": "{URL}"' in end.stdout
    assert '"NO_PROXY": "it\'s.example.com,b,localhost,127.0.0.1,::1"' in end.stdout
    assert '"no_proxy": "it\'s.example.com,b,localhost,127.0.0.1,::1"' in end.stdout


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (URL, f"$env:X = '{URL}'"),
        ("it's", "$env:X = 'it''s'"),
        ("\u2018a\u2019 \u201ab\u201b", "$env:X = '\u2018\u2018a\u2019\u2019 \u201a\u201ab\u201b\u201b'"),
        ('$HOME "`', "$env:X = '$HOME \"`'"),
    ],
)
def test_powershell_takes_every_kind_of_single_quote_for_one(value, written):
    assert _powershell("X", value) == written


def test_cmd_reads_the_output_as_a_batch_file(person):
    said = person.runs("env", "--shell", "cmd", NO_PROXY="100%,a&b")

    assert f'@set "PIP_INDEX_URL={URL}"\n' in said.out
    assert '@set "NO_PROXY=100%%,a&b,localhost,127.0.0.1,::1"\n' in said.out


def test_cmd_cannot_keep_a_double_quote_and_says_so(person):
    said = person.runs("env", "--shell", "cmd", NO_PROXY='a"b')

    assert (said.code, said.out) == (EXIT_USAGE, "")
    assert "the value of NO_PROXY contains a double quote" in said.err


@pytest.mark.parametrize(
    ("environ", "os_name", "shell"),
    [
        ({"SHELL": "/bin/bash"}, "posix", "sh"),
        ({"SHELL": "/usr/bin/zsh"}, "posix", "sh"),
        ({"SHELL": "/opt/bin/fish"}, "posix", "fish"),
        ({"SHELL": "/usr/bin/pwsh"}, "posix", "powershell"),
        ({}, "posix", "sh"),
        ({"SHELL": "/usr/bin/bash.exe", "PROMPT": "$P$G"}, "nt", "sh"),
        ({"PROMPT": "$P$G"}, "nt", "cmd"),
        ({"PSModulePath": "x"}, "nt", "powershell"),
    ],
)
def test_the_shell_is_guessed(environ, os_name, shell):
    assert shell_in_use(environ, os_name) == shell


@pytest.mark.parametrize("bad", ["a\nexport X=1", "a\rb", "\x1b[31m", "a\x00b"])
@pytest.mark.parametrize("how", [("--shell", "sh"), ("--format", "github"), ("--format", "dotenv")])
def test_a_value_with_a_line_break_is_refused_in_every_form(person, bad, how):
    said = person.runs("env", *how, NO_PROXY=bad)

    assert (said.code, said.out) == (EXIT_USAGE, "")
    assert "the present value of NO_PROXY contains a line break" in said.err


# --- files ------------------------------------------------------------------------------------------------------------


def test_github_takes_the_bare_line():
    assert _github("X", AWKWARD) == f"X={AWKWARD}"


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (URL, f"X={URL}"),
        ("localhost,127.0.0.1,::1", "X=localhost,127.0.0.1,::1"),
        ("a b $HOME #", "X='a b $HOME #'"),
        ("it's $HOME \\ \"`", 'X="it\'s \\$HOME \\\\ \\"\\`"'),
    ],
)
def test_dotenv_quotes_only_what_needs_it(value, written):
    assert _dotenv("X", value) == written


@settings(max_examples=30, deadline=None)
@given(st.text(st.characters(exclude_categories=["C", "Zl", "Zp"])))
@example("~")
@example("/a:~/b")
@example(AWKWARD)
def test_dotenv_reads_back_in_a_shell(value):
    if value.isprintable():
        assert evaluated("sh", f"set -a\n{_dotenv('X', value)}") == value


# --- the command ------------------------------------------------------------------------------------------------------


def test_the_settings_and_flags_decide_the_url(person):
    said = person.runs(
        "env", "--listen", "127.0.0.1:9000", "--mount", "/m", "--repo", "internal", "--snapshot", "2026-01-31"
    )

    assert said.code == EXIT_OK
    assert "export PIP_INDEX_URL='http://127.0.0.1:9000/m/internal/2026-01-31/simple/'\n" in said.out
    assert said.err == ""


def test_r_can_be_left_alone_or_sent_elsewhere(person):
    assert "RENV" not in person.runs("env").out
    assert (
        "RENV_CONFIG_REPOS_OVERRIDE='http://127.0.0.1:7760/prod/latest'" in person.runs("env", "--r-repo", "prod").out
    )


def test_r_gets_a_profile_except_in_a_file_that_a_container_may_take(person):
    exported = person.runs("env", "--r-repo", "prod")

    assert "export R_PROFILE_USER='" in exported.out
    assert "export _PPMPROXY_R_CRAN='http://127.0.0.1:7760/prod/latest'" in exported.out
    dotenv = person.runs("env", "--r-repo", "prod", "--format", "dotenv").out
    assert "R_PROFILE" not in dotenv
    assert "PKG_CRAN_MIRROR=http://127.0.0.1:7760/prod/latest" in dotenv


def test_nothing_is_printed_when_there_is_no_url_to_print(person):
    said = person.runs("env", PPMPROXY_LISTEN="unix:/run/x.sock")

    assert (said.code, said.out) == (EXIT_CONFIGURATION, "")
    assert "Unix socket only" in said.err


def test_shell_and_format_exclude_each_other(person):
    assert person.runs("env", "--shell", "sh", "--format", "github").code == EXIT_USAGE


def test_no_token_is_ever_among_the_variables(person):
    said = person.runs("env", PPMPROXY_TOKEN="s3cret", PACKAGEMANAGER_TOKEN="s3cret", PIP_INDEX_URL="https://s3cret@h/")

    assert "s3cret" not in said.out


def test_it_prints_in_a_quarter_of_a_second(tmp_path):
    resource = pytest.importorskip("resource", reason="POSIX systems tell what a program has cost")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)

    command = [sys.executable, "-m", "ppmproxy", "env"]
    subprocess.run(command, check=True, capture_output=True, env=plain_environment(tmp_path), timeout=120)

    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < SLOWEST


def test_it_imports_neither_a_server_nor_a_client(tmp_path):
    program = "import sys; from ppmproxy.cli.main import main; main(['env']); print(*sys.modules, file=sys.stderr)"

    command = [sys.executable, "-c", program]
    end = subprocess.run(command, capture_output=True, env=plain_environment(tmp_path), timeout=120, check=True)

    assert {"aiohttp", "asyncio", "ssl", "structlog", "cryptography", "yarl"}.isdisjoint(end.stderr.decode().split())


LEFT_OVER = {
    "UV_INDEX": "corp=https://packagemanager.example.com/corp/latest/simple other=https://other.example.com/simple",
    "PIP_EXTRA_INDEX_URL": "https://other.example.com/simple",
    "PIP_KEYRING_PROVIDER": "subprocess",
    "UV_KEYRING_PROVIDER": "subprocess",
}


@pytest.mark.parametrize(
    ("how", "lines"),
    [
        (("--shell", "sh"), ["unset PIP_EXTRA_INDEX_URL", "unset PIP_KEYRING_PROVIDER", "unset UV_KEYRING_PROVIDER"]),
        (("--shell", "fish"), ["set -e PIP_EXTRA_INDEX_URL", "set -e UV_KEYRING_PROVIDER"]),
        (("--shell", "powershell"), ["Remove-Item -ErrorAction Ignore Env:PIP_EXTRA_INDEX_URL"]),
        (("--shell", "cmd"), ['@set "PIP_EXTRA_INDEX_URL="', '@set "UV_KEYRING_PROVIDER="']),
        (("--format", "github"), ["PIP_EXTRA_INDEX_URL=", "UV_KEYRING_PROVIDER=disabled"]),
        (("--format", "dotenv"), ["PIP_EXTRA_INDEX_URL=", "PIP_KEYRING_PROVIDER=disabled"]),
    ],
)
def test_second_indexes_and_keyrings_of_the_shell_are_unset(tmp_path, how, lines):
    settings = {"PPMPROXY_UPSTREAM": "https://packagemanager.example.com"}

    said = Person(tmp_path).runs("env", *how, **settings, **LEFT_OVER)

    assert set(lines) <= set(said.out.splitlines())
    assert "other.example.com" not in said.out
    assert "corp=http://127.0.0.1:7760/corp/latest/simple" in said.out


def test_a_port_that_was_chosen_is_what_every_command_names(tmp_path):
    kept = tmp_path / ".local/state/ppmproxy/port"
    kept.parent.mkdir(parents=True)
    kept.write_text("20345\n")
    person = Person(tmp_path, {"PPMPROXY_LISTEN": "auto"})

    assert "http://127.0.0.1:20345/pypi/latest/simple/" in person.runs("env").out
    assert "http://127.0.0.1:20345/" in person.runs("configure", "pip", "--dry-run").out
    assert 'listen = "auto"' in person.runs("config", "show").out
    assert "127.0.0.1:20345, [::1]:20345" in person.runs("config", "show").out
    assert "http://127.0.0.1:20345: nobody listens there" in person.runs("status").out
    if sys.platform == "linux":
        assert "ListenStream=127.0.0.1:20345" in person.runs("service", "install", "--dry-run").out


def test_it_parses_no_project_file_that_does_not_name_the_package_manager(tmp_path):
    (tmp_path / "pyproject.toml").write_text(
        '[[tool.uv.index]]\nname = "pub"\nurl = "https://other.example.com/simple"\n'
    )
    program = "import sys; from ppmproxy.cli.main import main; main(['env']); print(*sys.modules, file=sys.stderr)"

    command = [sys.executable, "-c", program]
    environment = plain_environment(tmp_path)
    end = subprocess.run(command, capture_output=True, env=environment, timeout=120, check=True, cwd=tmp_path)

    assert {"tomllib", "tomli", "difflib"}.isdisjoint(end.stderr.decode().split())
