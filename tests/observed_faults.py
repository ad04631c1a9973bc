"""A table of what clients see of each fault: printed at the end, and written into the benchmarks' README on demand."""

import re
from pathlib import Path

import pytest

README = Path(__file__).resolve().parent / "benchmarks" / "README.md"


class ObservedFaults:
    """A plugin of pytest; `marker` names the place in the README."""

    def __init__(self, config, title, heads, marker):
        self._config = config
        self._title = title
        self._heads = heads
        self._begin, self._end = f"<!-- {marker}:begin -->", f"<!-- {marker}:end -->"
        self._rows = {}

    @pytest.fixture
    def observed(self):
        """Records a row: `observed("what was wrong", "what the client saw")`; only tests that pass count."""
        return self._rows.__setitem__

    def pytest_terminal_summary(self, terminalreporter):
        if not self._rows:
            return
        terminalreporter.section(self._title)
        terminalreporter.write_line(self._table())
        if self._config.getoption("--write-table"):
            text = README.read_text(encoding="utf-8")
            written = f"{self._begin}\n{self._table()}\n{self._end}"
            pattern = f"{self._begin}.*{self._end}"
            README.write_text(re.sub(pattern, lambda _: written, text, flags=re.DOTALL), encoding="utf-8")

    def _table(self):
        rows = [self._heads, ("---", "---"), *self._rows.items()]
        return "\n".join(f"| {fault} | {seen} |" for fault, seen in rows)
