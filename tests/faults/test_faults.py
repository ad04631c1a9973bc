"""Claims about upstream faults: through the proxy no client is worse off than directly, and it shows the reason."""

import pytest
from client_environments import Client
from fault_cells import Cell, Way
from fault_table import LASTING, PAGE, PASSING, ROWS

pytestmark = [pytest.mark.real, pytest.mark.timeout(2400)]  # the first test runs all cells
clients = pytest.mark.parametrize("client", [Client.PIP, Client.UV], ids=lambda client: client.value)

PASSED_ON = {"page: 404", "page: 451"}  # as they come, which the log need not warn about
READ_TIMEOUT = 60.0  # seconds, the default
MARGIN = 20.0  # seconds that the proxy may go on trying where a client alone would have ended: 10, on a busy machine
REASON_WITHIN = 20.0  # seconds: those 10 once, but not twice
TRIES = 4  # of one URL that answers 5xx
SHARE = 1.5  # of the requests that clients alone send


def rows(*tables):
    return pytest.mark.parametrize("row", [row for table in tables for row in table], ids=lambda row: row.name)


def shown(result):
    run = result.client
    return (
        f"exit {run.exit_code} after {run.seconds:.1f} s, {result.requests} requests, log: {result.log}\n{run.output}"
    )


@clients
@rows(PASSING)
def test_a_passing_fault_is_not_seen(results, row, client):
    ours = results[Cell(row, client, Way.PROXY)]

    assert ours.installed, shown(ours)


@clients
@rows(LASTING)
def test_a_lasting_fault_fails_and_its_reason_is_shown(results, row, client):
    ours = results[Cell(row, client, Way.PROXY)].client

    assert ours.exit_code, shown(results[Cell(row, client, Way.PROXY)])
    assert ours.reason_after is not None, ours.output


@rows([row for row in LASTING if not row.is_silent])
def test_pip_shows_the_reason_within_twenty_seconds(results, row):
    ours = results[Cell(row, Client.PIP, Way.PROXY)].client

    assert ours.reason_after is not None, ours.output
    assert ours.reason_after <= REASON_WITHIN, ours.output


@clients
@rows([row for row in LASTING if row.name not in PASSED_ON])
def test_a_lasting_fault_is_in_the_log(results, row, client):
    ours = results[Cell(row, client, Way.PROXY)]

    assert ours.log.startswith("request "), shown(ours)


@clients
@rows([row for row in LASTING if row.is_silent and row.where == PAGE])
def test_a_silent_upstream_is_reported_after_the_read_timeout(results, row, client):
    ours = results[Cell(row, client, Way.PROXY)]

    assert "upstream-timeout" in ours.log
    assert "did not answer" in " ".join(ours.client.output.split()), shown(ours)
    assert ours.client.seconds <= READ_TIMEOUT + MARGIN, shown(ours)


@clients
@rows(ROWS)
def test_no_client_is_worse_off_through_the_proxy(results, row, client):
    ours, direct = results[Cell(row, client, Way.PROXY)], results[Cell(row, client, Way.DIRECT)]

    assert ours.installed >= direct.installed, shown(ours)
    assert (ours.client.reason_after is not None) >= (direct.client.reason_after is not None), shown(ours)
    if ours.installed == direct.installed:
        assert ours.client.seconds <= direct.client.seconds + MARGIN, shown(ours)


@clients
@rows([row for row in ROWS if "50" in row.name])
def test_a_url_that_answers_5xx_is_tried_four_times_at_most(results, row, client):
    ours = results[Cell(row, client, Way.PROXY)]

    assert ours.most_for_one_url <= TRIES, shown(ours)


def test_the_upstream_gets_no_more_than_half_as_many_requests_again(results):
    def total(way):
        return sum(result.requests for cell, result in results.items() if cell.way is way)

    assert total(Way.PROXY) <= SHARE * total(Way.DIRECT)
