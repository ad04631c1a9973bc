"""A command line: commands run in the process of the test, each with an environment of its own."""

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
    """Exit code, standard output and standard error of a command."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Person:
    """A user with a home and an environment; the test changes to the current folder itself."""

    home: Path
    environ: Mapping[str, str] = field(default_factory=dict)

    def runs(self, *argv: str | Path, **environ: str) -> CommandResult:
        """Run `ppmproxy …` as `main` does; every error has two lines."""
        out, err = io.StringIO(), io.StringIO()
        environment = Context(Environment({**self.environ, **environ}, self.home), out, err)
        try:
            code = _dispatch(list(map(str, argv)), environment)
        except PpmProxyError as error:
            environment.print_error(error)
            code = error.exit_code
            assert len(err.getvalue().splitlines()) == 2, err.getvalue()
        return CommandResult(code, out.getvalue(), err.getvalue())
