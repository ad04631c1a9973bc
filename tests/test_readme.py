"""Claims about README.md: every command of the section on services is run by a test, and by the one it names."""

import ast

import pytest
from readme import ROOT, SECTION, blocks_in, page, section

MARKED = [block for block in blocks_in(page()) if block.test]


def test_every_block_on_services_names_the_test_that_runs_it():
    blocks = blocks_in(section(SECTION))

    assert blocks
    assert [block.text for block in blocks if not block.test] == []


@pytest.mark.parametrize("name", sorted({block.test for block in MARKED}))
def test_the_test_that_is_named_is_there(name):
    module, _, test = name.partition("::")
    tree = ast.parse((ROOT / "tests" / f"{module}.py").read_text(encoding="utf-8"))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)

    assert test in {node.name for node in tree.body if isinstance(node, functions)}
    assert f'"{name}"' in (ROOT / "tests" / f"{module}.py").read_text(encoding="utf-8"), "it runs what it is named for"
