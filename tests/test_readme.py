"""Claims about README.md: tests run its commands, and the modules that it names exist."""

import ast
import re

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


def module_exists(name):
    path = ROOT / "ppmproxy" / name.strip("/").replace(".", "/")
    return path.is_dir() or path.with_suffix(".py").exists()


def test_modules_named_in_how_it_works_exist():
    named = re.findall(r"`(\w+\.\w+)`", section("How it works").replace("`pyproject.toml`", ""))

    assert named
    assert [name for name in named if not module_exists(name)] == []


def test_rooms_and_modules_named_in_how_to_read_the_code_exist():
    rows = [line.split("|")[2:4] for line in section("How to read the code").splitlines() if line.startswith("| ")][1:]
    named = [f"{room.strip(' `')}.{module}" for room, modules in rows for module in re.findall(r"`([\w/]+)`", modules)]

    assert len(rows) == 11
    assert [name for name in named if not module_exists(name)] == []
