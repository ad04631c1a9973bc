"""Runs every cell of the selected rows once, and prints the table of their results."""

from __future__ import annotations

import asyncio

import pytest
from client_environments import Client, program
from downloads import skip_or_fail
from fault_cells import cells_of, nginx, run_cells
from fault_report import table, write

RESULTS = pytest.StashKey[dict]()


def pytest_addoption(parser):
    parser.addoption("--write-table", action="store_true", help="put the table of the faults into README.md")


@pytest.fixture(scope="session")
def results(request, tmp_path_factory):
    """The result of every cell of the rows whose tests are selected."""
    if nginx() is None:
        skip_or_fail("nginx is not installed", "on Debian: apt-get install nginx-light")
    for client in (Client.PIP, Client.UV):
        program(client, "python")  # is downloaded where it is missing
    parameters = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    rows = dict.fromkeys(params["row"] for params in parameters if "row" in params)
    cells = [cell for row in rows for cell in cells_of(row)]
    found = asyncio.run(run_cells(cells, tmp_path_factory.mktemp("cells")))
    request.config.stash[RESULTS] = found
    return found


def pytest_terminal_summary(terminalreporter, config):
    found = config.stash.get(RESULTS, None)
    if found:
        made = table(found)
        terminalreporter.write_line(made)
        if config.getoption("--write-table"):
            write(made)
