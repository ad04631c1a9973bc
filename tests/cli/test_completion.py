"""Claims about the scripts of `ppmproxy completion`, each made to complete by the shell that it is for."""

import shutil
import subprocess
import sys

import pytest
from command_line import Person
from downloads import skip_or_fail

from ppmproxy.cli.main import COMMANDS
from ppmproxy.errors import EXIT_OK, EXIT_USAGE

NAMES = {command.name for command in COMMANDS}
DEADLINE = 60


@pytest.fixture
def script(tmp_path):
    def printed(shell):
        said = Person(tmp_path).runs("completion", shell)
        assert (said.code, said.err) == (EXIT_OK, "")
        path = tmp_path / f"ppmproxy.{shell}"
        path.write_text(said.out)
        return path

    return printed


def shell(*command, home):
    program = shutil.which(command[0]) or skip_or_fail(
        f"{command[0]} is not installed", f"apt-get install {command[0]}"
    )
    environ = {"HOME": str(home), "PATH": "/usr/bin:/bin", "TERM": "dumb"}
    end = subprocess.run(
        [program, *command[1:]], check=False, capture_output=True, text=True, timeout=DEADLINE, env=environ, cwd=home
    )
    assert end.stderr == ""
    assert end.returncode == 0
    return end.stdout.splitlines()


def by_bash(script, tmp_path, *words):
    program = (
        f"source {script}\n"
        f"COMP_WORDS=({' '.join(repr(word) for word in words)}); COMP_CWORD={len(words) - 1}\n"
        '"$(complete -p ppmproxy | sed "s/.*-F \\([^ ]*\\) .*/\\1/")"\n'
        'printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    return set(shell("bash", "--norc", "-c", program, home=tmp_path))


def by_fish(script, tmp_path, *words):
    lines = shell("fish", "--no-config", "-c", f"source {script}; complete -C '{' '.join(words)}'", home=tmp_path)
    return {line.partition("\t")[0] for line in lines}


BY = {"bash": by_bash, "fish": by_fish}


@pytest.mark.parametrize("name", BY)
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("ppmproxy", ""), NAMES),
        (("ppmproxy", "doc"), {"doctor"}),
        (("ppmproxy", "doctor", "--can"), {"--canary"}),
        (("ppmproxy", "lock", "cano"), {"canonical"}),
        (("ppmproxy", "env", "--shell", "fi"), {"fish"}),
        (("ppmproxy", "configure", "pi"), {"pip", "pipenv"}),
        (("ppmproxy", "exec", "--canonical"), {"--canonical-lock"}),
        (("ppmproxy", "completion", "z"), {"zsh"}),
        (("ppmproxy", "run", "--log-l"), {"--log-level"}),
    ],
)
def test_a_shell_offers_what_the_commands_take(script, tmp_path, name, words, offered):
    assert BY[name](script(name), tmp_path, *words) == offered


@pytest.mark.parametrize("name", BY)
def test_behind_exec_the_other_program_s_name_is_completed(script, tmp_path, name):
    assert "true" in BY[name](script(name), tmp_path, "ppmproxy", "exec", "--", "tru")


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("ppmproxy doctor --can", "--canary"),
        ("ppmproxy lock cano", "canonical"),
        ("ppmproxy exec -- zmodl", "zmodload"),
    ],
)
def test_zsh_completes_at_a_terminal(script, tmp_path, typed, completed):
    program = (
        "zmodload zsh/zpty\n"
        "zpty z 'HOME=. TERM=dumb zsh -f -i'\n"
        "zpty -w z 'PS1=; unsetopt zle_bracketed_paste 2>/dev/null; autoload -Uz compinit; compinit -D -u; '"
        f"'eval \"$(< {script('zsh')})\"; print loaded-now'\n"
        "zpty -r -m z seen '*loaded-now*loaded-now*'\n"
        f"zpty -n -w z $'{typed}\\t'\n"
        f"zpty -r -m z seen '*{completed}*'\n"
        "print -r -- $seen\n"
        "zpty -d z\n"
    )

    assert any(completed in line for line in shell("zsh", "-f", "-c", program, home=tmp_path))


def test_another_shell_is_a_mistake_in_the_use(tmp_path):
    assert Person(tmp_path).runs("completion", "tcsh").code == EXIT_USAGE


def test_a_script_starts_no_program(script):
    for name in ("bash", "zsh", "fish"):
        code = "\n".join(line for line in script(name).read_text().splitlines() if not line.startswith("#"))
        assert "$(ppmproxy" not in code
        assert sys.executable not in code
