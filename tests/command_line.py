"""A person at a command line: a command, run in this process with surroundings of its own.

To change how a command is run in a test without a process, open this file.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ppmproxy.cli.context import Context
from ppmproxy.cli.main import _dispatch
from ppmproxy.environment import Environment
from ppmproxy.errors import PpmProxyError


@dataclass(frozen=True)
class CommandResult:
    """How a command ended, and what it said where."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Person:
    """Somebody with a home, an environment and a current folder (which the test has to change to)."""

    home: Path
    environ: Mapping[str, str] = field(default_factory=dict)

    def runs(self, *argv: str | Path, **environ: str) -> CommandResult:
        """Run `ppmproxy …` as `main` does; every failure has two lines to say."""
        out, err = io.StringIO(), io.StringIO()
        environment = Context(Environment({**self.environ, **environ}, self.home), out, err)
        try:
            code = _dispatch(list(map(str, argv)), environment)
        except PpmProxyError as error:
            environment.print_error(error)
            code = error.exit_code
            assert len(err.getvalue().splitlines()) == 2, err.getvalue()
        return CommandResult(code, out.getvalue(), err.getvalue())
