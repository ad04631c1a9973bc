"""What the upstream serves: one large file, and index pages with absolute links, all to be rewritten."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

LARGE_FILE = "/pypi/latest/packages/1/large-1.0-py3-none-any.whl"
LARGE_SIZE = 500_000_000  # bytes
LARGE_PAGE = "/pypi/latest/simple/large/"  # names its hash
PAGES = {"large": 3000, "small": 60}  # files on a page, by project

_PIECE = 1 << 20


def page_path(project: str, form: str) -> str:
    """Where a page is found; `form` is html or json."""
    return f"/pypi/latest/simple/{project}-{form}/"


def write_content(root: Path, url: str) -> None:
    """Fill the upstream's folder; `url` is where it will be found, without a trailing slash."""
    digest = _write_large_file(root / LARGE_FILE[1:])
    (root / LARGE_PAGE[1:]).mkdir(parents=True)
    anchor = f'<a href="{LARGE_FILE}#sha256={digest}">{LARGE_FILE.rpartition("/")[2]}</a>'
    (root / LARGE_PAGE[1:] / "index.html").write_text(f"<!DOCTYPE html><title>Links for large</title>{anchor}")
    for project, files in PAGES.items():
        for form, page in (("html", html_page(project, files, url)), ("json", json_page(project, files, url))):
            folder = root / page_path(project, form)[1:]
            folder.mkdir(parents=True)
            (folder / f"index.{form}").write_text(page)


def _write_large_file(path: Path) -> str:
    """Write it; returns its hash."""
    digest = hashlib.sha256()
    path.parent.mkdir(parents=True)
    piece = os.urandom(_PIECE)
    with path.open("wb") as file:
        for at in range(0, LARGE_SIZE, _PIECE):
            part = piece[: LARGE_SIZE - at]
            file.write(part)
            digest.update(part)
    return digest.hexdigest()


def html_page(project: str, files: int, url: str) -> str:
    """A page as PEP 503 has it, with hashes, Python versions and metadata (PEP 658)."""
    anchors = [
        f'<a href="{url}/pypi/latest/packages/{number}/{name}#sha256={digest}" data-requires-python="&gt;=3.9"'
        f' data-dist-info-metadata="sha256={digest}">{name}</a><br />\n'
        for number, name, digest in _files(project, files)
    ]
    head = "<!DOCTYPE html>\n<html>\n<head>\n<title>Links</title>\n</head>\n<body>\n"
    return head + "".join(anchors) + "</body>\n</html>\n"


def json_page(project: str, files: int, url: str) -> str:
    """The same as PEP 691 and PEP 700 have it."""
    listed = [
        {
            "filename": name,
            "url": f"{url}/pypi/latest/packages/{number}/{name}",
            "hashes": {"sha256": digest},
            "requires-python": ">=3.9",
            "core-metadata": {"sha256": digest},
            "size": 1000 + number,
            "upload-time": "2025-01-02T03:04:05.678901Z",
            "yanked": False,
        }
        for number, name, digest in _files(project, files)
    ]
    return json.dumps({"meta": {"api-version": "1.1"}, "name": project, "versions": ["1.0"], "files": listed})


def _files(project: str, files: int) -> list[tuple[int, str, str]]:
    names = [f"{project}-1.{number}-cp311-cp311-manylinux_2_28_x86_64.whl" for number in range(files)]
    return [(number, name, hashlib.sha256(name.encode()).hexdigest()) for number, name in enumerate(names)]
