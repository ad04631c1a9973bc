"""Claims about README.md and the pages it links to: tests run its commands, and what it names exists."""

import ast
import re
from pathlib import PurePosixPath

import pytest
from readme import LONGEST, PAGES, ROOT, RUN, blocks_in, page, section

MARKED = [block for name in RUN for block in blocks_in(page(name)) if block.test]
LINK = re.compile(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)")


def test_the_readme_is_short():
    assert len(page().splitlines()) <= LONGEST


@pytest.mark.parametrize("name", RUN)
def test_every_block_of_commands_names_the_test_that_runs_it(name):
    blocks = [block for block in blocks_in(page(name)) if block.language == "sh"]

    assert blocks
    assert [block.text for block in blocks if not block.test] == []


@pytest.mark.parametrize("name", sorted({block.test for block in MARKED}))
def test_the_test_that_is_named_is_there(name):
    module, _, test = name.partition("::")
    tree = ast.parse((ROOT / "tests" / f"{module}.py").read_text(encoding="utf-8"))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)

    assert test in {node.name for node in tree.body if isinstance(node, functions)}
    assert f'"{name}"' in (ROOT / "tests" / f"{module}.py").read_text(encoding="utf-8"), "it runs what it is named for"


def anchors_of(name):
    """The anchors of a page's headings, as its host makes them."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", page(name), flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", PAGES)
def test_every_link_leads_to_a_file_and_a_heading_that_exist(name):
    links = [found for found in LINK.findall(page(name)) if not found[0].startswith("http")]
    broken = []
    for path, anchor in links:
        target = (ROOT / PurePosixPath(name).parent / path).resolve() if path else ROOT / name
        if not target.exists() or (anchor and anchor not in anchors_of(target.relative_to(ROOT).as_posix())):
            broken.append(f"{path}#{anchor}")

    assert broken == []


BY_NAME = re.compile(r"\binstall (?:--?\S+ )*[\"']?ppmproxy(?:[\s\"'`\[),;.:]|$)", re.MULTILINE)


def test_nothing_tells_a_person_to_install_the_name_that_is_on_no_public_registry():
    files = [ROOT / "Makefile", *(ROOT / name for name in PAGES)]
    files += [path for room in ("ppmproxy", "docker", "systemd", ".ci") for path in (ROOT / room).rglob("*")]
    texts = {path: path.read_text(encoding="utf-8") for path in files if path.is_file() and path.suffix != ".pyc"}

    assert [str(path.relative_to(ROOT)) for path, text in texts.items() if BY_NAME.search(text)] == []


@pytest.mark.parametrize(
    ("line", "is_by_name"),
    [
        ("pip install ppmproxy", True),
        ("fix: pip install 'ppmproxy[keyring]'", True),
        ("uv tool install --force ppmproxy`", True),
        ("pipx uninstall ppmproxy", False),
        ("pip install ./ppmproxy-0.1.0-py3-none-any.whl", False),
        ("pip install -r requirements.txt  # once ppmproxy is installed", False),
        ("ppmproxy service install", False),
    ],
)
def test_the_pattern_of_the_test_above_knows_such_lines(line, is_by_name):
    assert bool(BY_NAME.search(line)) == is_by_name


def module_exists(name):
    path = ROOT / "ppmproxy" / name.strip("/").replace(".", "/")
    return path.is_dir() or path.with_suffix(".py").exists()


def test_rooms_and_modules_named_in_reading_the_code_exist():
    rows = [line.split("|")[2:4] for line in section("Reading the code").splitlines() if line.startswith("| ")][1:]
    named = [f"{room.strip(' `')}.{module}" for room, modules in rows for module in re.findall(r"`([\w/]+)`", modules)]

    assert len(rows) == 11
    assert [name for name in named if not module_exists(name)] == []


def test_files_that_the_three_changes_name_exist():
    trips = section("Reading the code").partition("Three changes")[2]
    named = re.findall(r"`((?:\w+/)+\w*(?:\.py)?)`", trips)

    assert len(named) > 5
    assert [name for name in named if not any((folder / name).exists() for folder in (ROOT, ROOT / "ppmproxy"))] == []
