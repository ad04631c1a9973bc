"""Claims about the house: charters and names. Which room may import which is import-linter's (pyproject.toml)."""

import ast
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "ppmproxy"
ROOMS = {"access", "auth", "cache", "cli", "clients", "config", "credentials", "index", "server", "testing", "upstream"}
SINGLE_MODULES = {"__init__", "__main__", "environment", "errors", "files"}
FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "common", "base", "manager", "core", "misc"}
FIELD_TERMS = {"package_manager"}  # a Package Manager is what this is all about
REVEALING = {  # who may read the value of a Secret: the wire, what masks it, what stores it
    "access.identity_key",
    "auth.credential",
    "auth.policy",
    "auth.redaction",
    "credentials.device_flow",
    "credentials.tokens_toml",
}


@cache
def modules():
    """The file of every module, by its dotted name below the package."""
    paths = sorted(PACKAGE.rglob("*.py"))
    return {".".join(path.relative_to(PACKAGE).with_suffix("").parts): path for path in paths}


@cache
def sources():
    """The syntax tree of every module, by the same name."""
    return {name: ast.parse(path.read_text(encoding="utf-8"), str(path)) for name, path in modules().items()}


def charter(module):
    """The first line of a module's docstring."""
    return (ast.get_docstring(sources()[module]) or "").partition("\n")[0]


def test_the_package_consists_of_its_rooms_and_single_modules():
    found = {path.stem if path.is_file() else path.name for path in PACKAGE.iterdir() if path.name != "__pycache__"}

    assert found - {"py.typed"} == ROOMS | SINGLE_MODULES


@pytest.mark.parametrize("module", [name for name in modules() if name.endswith("__init__")])
def test_a_room_s_own_file_imports_nothing_at_its_top(module):
    imports = [node for node in sources()[module].body if isinstance(node, (ast.Import, ast.ImportFrom))]

    assert [
        node for node in imports if getattr(node, "module", "") != "__future__"
    ] == [] or "package_manager" in module


@pytest.mark.parametrize("module", modules())
def test_a_module_begins_with_its_charter_in_one_sentence_on_one_line(module):
    lines = (ast.get_docstring(sources()[module]) or "").splitlines()

    assert lines
    assert lines[0].endswith(".")
    assert lines[0][0] == "`" or lines[0][0].isupper()
    assert lines[1:2] in ([], [""])


def test_no_two_modules_have_the_same_charter():
    charters = [charter(module) for module in sources()]

    assert len(charters) == len(set(charters))


def test_no_module_is_named_after_nothing_in_particular():
    parts = {part for module in sources() for part in module.split(".")} - FIELD_TERMS
    words = {word for part in parts for word in part.split("_")}

    assert not words & FORBIDDEN_NAMES


def test_no_two_classes_have_the_same_name():
    names = [
        node.name.lstrip("_")
        for tree in sources().values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    ]

    assert sorted(name for name in set(names) if names.count(name) > 1) == []


def test_commands_are_modules_of_the_room_for_commands():
    from ppmproxy.cli.main import COMMANDS

    assert {f"cli.{command.module}" for command in COMMANDS} <= set(sources())


def test_a_secret_is_revealed_in_the_listed_modules_only():
    calls = {
        module
        for module, tree in sources().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr == "reveal"
    }

    assert calls - {"auth.secret"} == REVEALING
