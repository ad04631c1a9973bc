"""Claims about the hashes of project files in lock files: they follow the URLs; real tools have made those here."""

import pytest

from ppmproxy.clients.lock_hashes import with_project_hash

THEIRS, OURS = "https://pm.example.com/rspm", "http://127.0.0.1:7760"
PIPFILE = (
    '[[source]]\nname = "company"\nurl = "{base}/pypi/latest/simple/"\nverify_ssl = true\n\n[packages]\nhello = "*"\n'
)
PYPROJECT = (
    '[project]\nname = "team"\nversion = "1"\nrequires-python = ">=3.10"\ndependencies = ["hello"]\n\n'
    '[[tool.TOOL.source]]\nname = "company"\nurl = "{base}/pypi/latest/simple"\n'
)
CASES = {  # the project file, and the hashes that the tool itself records for it
    "Pipfile.lock": (
        PIPFILE,
        (
            "fe3a1c27b8b76e01824ed54269e4caacbe96b2736162a74d828d513be5437913",
            "cf917720fd1b0bb38908f2637bd2b5bb883a6e1866faa5bd6b7ecbd627a43d56",
        ),
    ),
    "poetry.lock": (
        PYPROJECT.replace("TOOL", "poetry"),
        (
            "f4c08262a9c0c13d12d4ac2586de743b548b9b108c56b77a52bfececb43d880c",
            "dfdd56d16ccd0b751925973dcf311ceb4b8a8f6d79faea6a38c8ac0b5a32ea4e",
        ),
    ),
    "pdm.lock": (
        PYPROJECT.replace("TOOL", "pdm"),
        (
            "8c1d32e8db2d082d002d239b9df34f1a5985a784b1b14d0c57a89336d40b3c76",
            "53586536f116e9c9f7ce083c5eb179eadc5baa07186b0400e6c01dafb7359897",
        ),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_hash_follows_the_urls_of_the_project_file(name):
    project, (theirs, ours) = CASES[name]
    texts = [project.format(base=base) for base in (THEIRS, OURS)]

    assert with_project_hash(name, f"hash = {theirs}\n", texts[1], texts) == f"hash = {ours}\n"
    assert with_project_hash(name, f"hash = {ours}\n", texts[0], texts) == f"hash = {theirs}\n"
    assert with_project_hash(name, f"hash = {ours}\n", texts[1], texts) == f"hash = {ours}\n"


@pytest.mark.parametrize("project", ["[[source]\n", "x = 2026-01-01\n", "[packages]\nsix = 2026-01-01\n"])
@pytest.mark.parametrize("name", CASES)
def test_a_hash_that_is_not_known_stays(name, project):
    assert with_project_hash(name, "hash = 0a1b\n", project, [project]) == "hash = 0a1b\n"
