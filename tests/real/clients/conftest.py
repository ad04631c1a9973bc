"""What the tests of the clients share: a network with nothing but the loopback, and the table that they fill."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from client_environments import downloaded_wheel, real_wheels
from client_tools import TOOLS, get_every_tool
from compatibility_table import BEGIN, END, YES, cells, is_whole, table, with_table
from only_loopback import leave_the_network, why_not
from other_tools import NOTEBOOK, OTHERS
from r_clients import renv_library

PAGE = Path(__file__).absolute().parents[3] / "ppmproxy" / "clients" / "README.md"
FOUND = pytest.StashKey[list]()


def pytest_addoption(parser):
    parser.addoption("--write-table", action="store_true", help="write the table into ppmproxy/clients/README.md")


def pytest_configure(config):
    config.stash[FOUND] = []
    config.pluginmanager.register(Recorder(config), "table of the clients")


class Recorder:
    """Keeps what tests found about each client, from all processes."""

    def __init__(self, config):
        self.found = config.stash[FOUND]

    def pytest_runtest_logreport(self, report):
        if report.when == "call" and report.passed:
            self.found += [tuple(value) for name, value in report.user_properties if name == "cell"]


def pytest_sessionfinish(session, exitstatus):
    """Once every cell has a result, ppmproxy/clients/README.md must have this very table."""
    known = cells(session.config.stash[FOUND])
    if hasattr(session.config, "workerinput") or exitstatus != 0 or not is_whole(known):
        return
    text = PAGE.read_text(encoding="utf-8")
    try:
        expected = with_table(text, table(known))
    except ValueError:
        expected = ""  # there is no place for it
    if expected and session.config.getoption("--write-table"):
        PAGE.write_text(expected, encoding="utf-8")
    elif expected != text:
        reporter = session.config.pluginmanager.get_plugin("terminalreporter")
        reporter.write_line(f"\n{PAGE} has no such table between {BEGIN} and {END}:\n{table(known)}")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture
def cell(record_property):
    """Says what goes into a cell of the table: `cell(tool, "install")`; the last thing that a test does."""

    def say(tool, column, words=YES):
        record_property("cell", [str(tool), column, words])

    return say


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session):
    """Get every client before the first test: on a new machine that takes longer than a test may."""
    if session.config.option.collectonly:
        return
    get_every_tool(*TOOLS, *OTHERS, NOTEBOOK)
    for download in (renv_library, real_wheels, lambda: downloaded_wheel("pip")):
        with contextlib.suppress(pytest.skip.Exception, pytest.fail.Exception):
            download()


@pytest.fixture(scope="session", autouse=True)
def nothing_but_the_loopback():
    """Only loopback: the fake Package Manager, the proxy and the clients have no other network."""
    if not why_not():
        with contextlib.suppress(PermissionError):
            leave_the_network()
