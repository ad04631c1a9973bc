"""The table of the results in Markdown, as it is printed and as it stands in README.md of this folder."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from client_environments import Client
from fault_cells import Cell, Result, Way
from fault_table import ROWS

README = Path(__file__).with_name("README.md")
BEGIN, END = "<!-- table:begin -->", "<!-- table:end -->"
NONE = "\N{EN DASH}"
LONGEST = 110  # letters of a log line


def table(results: Mapping[Cell, Result]) -> str:
    """One line for each fault and client: exit code, seconds, when the reason was shown, requests to the upstream."""
    lines = [("fault", "client", *(way.value for way in Way), "the log of ppmproxy"), ("---",) * (len(Way) + 3)]
    for row in ROWS:
        for client in (Client.PIP, Client.UV):
            cells = [results.get(Cell(row, client, way)) for way in Way]
            if any(cells):
                log = cells[0].log if cells[0] else ""
                lines.append((row.name, client.value, *(_words(cell, lasts=row.lasts) for cell in cells), _short(log)))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _words(result: Result | None, *, lasts: bool) -> str:
    if result is None:
        return NONE
    run = result.client
    words = [f"exit {run.exit_code}", f"{run.seconds:.0f} s"]
    if lasts and not result.installed:
        words.append("no reason" if run.reason_after is None else f"reason after {run.reason_after:.0f} s")
    return ", ".join([*words, f"{result.requests} requests"])


def _short(log: str) -> str:
    text = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1", " ".join(log.replace("|", "/").split()))
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def write(made: str) -> None:
    """Put the table into README.md."""
    before, _, rest = README.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    README.write_text(f"{before}{BEGIN}\n{made}\n{END}{after}", encoding="utf-8")
