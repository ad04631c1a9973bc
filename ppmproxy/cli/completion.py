"""`ppmproxy completion`: a script that has a shell complete commands, options and their values.

To change what is completed, or to teach it a shell, open this file.

The script is made from the commands' own parsers, and knows nothing that they do not say: it is as good as the version
that printed it, and starts no program when somebody presses Tab. What it does not know is completed as a file name.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ppmproxy.cli.context import Context
from ppmproxy.errors import EXIT_OK

RUNS_ANOTHER = "exec"  # what follows it is another program's command line


@dataclass(frozen=True, slots=True)
class Option:
    """One option: its spellings, what it is for, and its values: None for a switch, empty for any value."""

    names: tuple[str, ...]
    purpose: str
    values: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Completed:
    """One command: what it is for, its options, and the words that may stand at its first place."""

    name: str
    purpose: str
    options: tuple[Option, ...]
    words: tuple[str, ...]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which shell."""
    parser.add_argument("shell", choices=tuple(_SCRIPTS), help="the shell that is to read the script")


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Print the script."""
    from ppmproxy.cli.main import parsers  # noqa: PLC0415 - which imports this module by its name

    commands = [_completed(name, purpose, parser) for name, purpose, parser in parsers()]
    context.say("\n".join(_SCRIPTS[arguments.shell](commands)))
    return EXIT_OK


def _completed(name: str, purpose: str, parser: argparse.ArgumentParser) -> Completed:
    actions = parser._actions  # noqa: SLF001 - argparse has no other way to ask
    options = tuple(_option(action) for action in actions if action.option_strings)
    places = [action for action in actions if not action.option_strings]
    words = tuple(map(str, places[0].choices or ())) if places else ()
    return Completed(name, purpose, options, words)


def _option(action: argparse.Action) -> Option:
    purpose = (action.help or "").partition("%(")[0].replace("%%", "%").partition("\n")[0]
    values = None if action.nargs == 0 else tuple(map(str, action.choices or ()))
    return Option(tuple(action.option_strings), purpose, values)


# --- bash -------------------------------------------------------------------------------------------------------------


def _bash(commands: Sequence[Completed]) -> Iterator[str]:
    yield '# bash: put this into ~/.bashrc:  eval "$(ppmproxy completion bash)"'
    yield "_ppmproxy() {"
    yield '    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} words="" i'
    yield "    COMPREPLY=()"
    yield "    if ((COMP_CWORD == 1)); then"
    yield f'        COMPREPLY=($(compgen -W {_quoted(_names(commands))} -- "$word"))'
    yield "        return"
    yield "    fi"
    yield f"    if [[ ${{COMP_WORDS[1]}} == {RUNS_ANOTHER} ]]; then"
    yield "        for ((i = 2; i < COMP_CWORD; i++)); do"
    yield '            [[ ${COMP_WORDS[i]} == -- ]] && { COMPREPLY=($(compgen -c -f -- "$word")); return; }'
    yield "        done"
    yield "    fi"
    yield '    case "${COMP_WORDS[1]} $before" in'
    for command in commands:
        for option in command.options:
            if option.values is not None:
                cases = "|".join(_quoted(f"{command.name} {name}") for name in option.names)
                yield f"        {cases}) {_bash_values(option.values)} return ;;"
    yield "    esac"
    yield '    case "${COMP_WORDS[1]}" in'
    for command in commands:
        options = " ".join(name for option in command.options for name in option.names)
        yield f"        {command.name}) words={_quoted(options)}"
        if command.words:
            yield f"            ((COMP_CWORD == 2)) && words+={_quoted(' ' + ' '.join(command.words))}"
        yield "            ;;"
    yield "    esac"
    yield '    COMPREPLY=($(compgen -W "$words" -- "$word"))'
    yield "}"
    yield "complete -o default -F _ppmproxy ppmproxy"


def _bash_values(values: Sequence[str]) -> str:
    return f'COMPREPLY=($(compgen -W {_quoted(" ".join(values))} -- "$word"));' if values else ""


def _names(commands: Sequence[Completed]) -> str:
    return " ".join(command.name for command in commands)


def _quoted(text: str) -> str:
    escaped = text.replace("'", "'\\''")
    return f"'{escaped}'"


# --- zsh --------------------------------------------------------------------------------------------------------------


def _zsh(commands: Sequence[Completed]) -> Iterator[str]:
    yield "#compdef ppmproxy"
    yield '# zsh: put this into ~/.zshrc, below compinit:  eval "$(ppmproxy completion zsh)"'
    yield "_ppmproxy() {"
    yield "    local -a commands=("
    for command in commands:
        yield f"        {_quoted(f'{command.name}:{command.purpose}')}"
    yield "    )"
    yield "    if ((CURRENT == 2)); then"
    yield "        _describe command commands"
    yield "        return"
    yield "    fi"
    yield "    local name=${words[2]}"
    yield "    shift words"
    yield "    ((CURRENT--))"
    yield "    case $name in"
    for command in commands:
        yield f"        {command.name})"
        yield "            _arguments \\"
        for option in command.options:
            for name in option.names:
                yield f"                {_quoted(_zsh_option(name, option))} \\"
        yield f"                {_zsh_rest(command)}"
        yield "            ;;"
    yield "    esac"
    yield "}"
    yield "compdef _ppmproxy ppmproxy"


def _zsh_option(name: str, option: Option) -> str:
    told = "".join(f"\\{char}" if char in "[]:\\" else char for char in option.purpose)
    value = "" if option.values is None else f":value:{_zsh_values(option.values)}"
    return f"{name}[{told}]{value}"


def _zsh_values(values: Sequence[str]) -> str:
    return f"({' '.join(values)})" if values else "_files"


def _zsh_rest(command: Completed) -> str:
    if command.name == RUNS_ANOTHER:
        return "'*::command:_normal'"
    first = f"'1:word:{_zsh_values(command.words)}' " if command.words else ""
    return f"{first}'*:file:_files'"


# --- fish -------------------------------------------------------------------------------------------------------------


def _fish(commands: Sequence[Completed]) -> Iterator[str]:
    yield "# fish: ppmproxy completion fish > ~/.config/fish/completions/ppmproxy.fish"
    for command in commands:
        told = f"-a {command.name} -d {_fish_quoted(command.purpose)}"
        yield f"complete -c ppmproxy -n __fish_use_subcommand -f {told}"
    for command in commands:
        within = f"complete -c ppmproxy -n '__fish_seen_subcommand_from {command.name}'"
        if command.words:
            seen = f"__fish_seen_subcommand_from {command.name}; and test (count (commandline -opc)) -eq 2"
            yield f"complete -c ppmproxy -n '{seen}' -f -a {_fish_quoted(' '.join(command.words))}"
        for option in command.options:
            yield f"{within} {_fish_option(option)}"
    runs = f"__fish_seen_subcommand_from {RUNS_ANOTHER}"
    yield f"complete -c ppmproxy -n '{runs}' -a '(__fish_complete_subcommand --fcs-skip=2)'"


def _fish_option(option: Option) -> str:
    names = [f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.names]
    value = [] if option.values is None else ["-r"]
    if option.values:
        value += ["-f", "-a", _fish_quoted(" ".join(option.values))]
    return " ".join([*names, *value, "-d", _fish_quoted(option.purpose)])


def _fish_quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


_SCRIPTS: Mapping[str, Callable[[Sequence[Completed]], Iterator[str]]] = {"bash": _bash, "zsh": _zsh, "fish": _fish}
