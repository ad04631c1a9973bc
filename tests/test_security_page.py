"""SECURITY.md names a test for each of its claims; those tests exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROWS = [line for line in (ROOT / "SECURITY.md").read_text().splitlines() if line.startswith("| ")][1:]
NAMED = re.compile(r"`((?:\w+/)*test_\w+)::(test_\w+)`")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[2].strip()[:60])
def test_every_claim_of_the_threat_model_names_tests_that_exist(row):
    named = NAMED.findall(row.split("|")[4])

    assert named
    for file, test in named:
        text = (ROOT / "tests" / f"{file}.py").read_text()
        assert re.search(rf"^\s*(?:async )?def {test}\(", text, re.MULTILINE), f"{file} has no {test}"
