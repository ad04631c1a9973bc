"""Claims about drawing on a terminal: only there, cleaned up afterwards, and rich imported for nothing else."""

import sys

import pytest
from processes import plain_environment, run_program
from terminal import at_terminal

STEPS = """
import os, sys
from ppmproxy.cli.rich_terminal import hide_rich, steps_on
hide_rich()
import structlog
assert sys.modules["rich"] is None
if sys.stdin.isatty():
    import tty
    tty.setcbreak(0)
with steps_on(sys.stderr) as show:
    for step in ("reading", "[red]writing"):
        show(step)
        if sys.stdin.isatty():
            os.read(0, 1)
print("done", "rich.console" in sys.modules)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="a terminal is made here as POSIX systems make one")
async def test_each_step_is_shown_on_a_terminal_while_it_lasts(tmp_path):
    async with at_terminal([sys.executable, "-c", STEPS], plain_environment(tmp_path), tmp_path) as terminal:
        await terminal.shows("reading ...")
        terminal.press("x")
        await terminal.shows("[red]writing ...")
        terminal.press("x")

        assert await terminal.ended() == 0
    assert "writing" not in "".join(terminal.lines)
    assert any("done True" in line for line in terminal.lines)


async def test_nothing_is_shown_elsewhere_and_rich_is_not_imported(tmp_path):
    end = await run_program([sys.executable, "-c", STEPS], plain_environment(tmp_path), tmp_path)

    assert (end.code, end.output) == (0, "done False\n")


@pytest.mark.parametrize("command", [["status", "--json"], ["status"], ["env"], ["login", "--help"], ["--help"]])
async def test_a_command_that_draws_nothing_imports_no_rich(tmp_path, command):
    environ = plain_environment(tmp_path, PYTHONPROFILEIMPORTTIME="1", PPMPROXY_LISTEN="127.0.0.1:1")

    end = await run_program([sys.executable, "-m", "ppmproxy", *command], environ, tmp_path)

    assert "ppmproxy.cli.main" in end.output
    assert "rich." not in end.output


BAR = """
import os, sys
from ppmproxy.cli.rich_terminal import bar_on, hide_rich
hide_rich()
with bar_on(sys.stderr, "prefetch", 2) as advance:
    for name in ("[red]a.whl", "b.whl"):
        advance(name)
        if sys.stdin.isatty():
            os.read(0, 2)
print("done", "rich.console" in sys.modules)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="a terminal is made here as POSIX systems make one")
async def test_a_bar_shows_on_a_terminal_how_much_is_done(tmp_path):
    async with at_terminal([sys.executable, "-c", BAR], plain_environment(tmp_path), tmp_path) as terminal:
        await terminal.shows("prefetch [red]a.whl")
        await terminal.shows("1/2")
        terminal.press("\n")
        await terminal.shows("2/2")
        terminal.press("\n")

        assert await terminal.ended() == 0


async def test_a_bar_is_shown_nowhere_else(tmp_path):
    end = await run_program([sys.executable, "-c", BAR], plain_environment(tmp_path), tmp_path)

    assert (end.code, end.output) == (0, "done False\n")
