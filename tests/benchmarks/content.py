"""What the upstream serves: one large file, and index pages with absolute links, all to be rewritten."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

LARGE_FILE = "/pypi/latest/packages/1/large-1.0-py3-none-any.whl"
LARGE_SIZE = 500_000_000  # bytes
LARGE_PAGE = "/pypi/latest/simple/large/"  # names its hash
MEDIUM_FILE = "/pypi/latest/packages/1/medium-1.0-py3-none-any.whl"
MEDIUM_SIZE = 50_000_000  # sent with 25 MB/s, as over a network
MEDIUM_PAGE = "/pypi/latest/simple/medium/"
SMALL_FILE = "/pypi/latest/packages/1/small-1.0-py3-none-any.whl"
SMALL_SIZE = 1000
PEER_PAGE = "/pypi/latest/simple/peer/"  # whose files are named after its project, as some peers demand
PAGES = {"large": 3000, "small": 60}  # files on a page, by project

_PIECE = 1 << 20


def page_path(project: str, form: str) -> str:
    """Where a page is found; `form` is html or json."""
    return f"/pypi/latest/simple/{project}-{form}/"


def write_content(root: Path, url: str) -> None:
    """Fill the upstream's folder; `url` is where it will be found, without a trailing slash."""
    for path, size, page in ((LARGE_FILE, LARGE_SIZE, LARGE_PAGE), (MEDIUM_FILE, MEDIUM_SIZE, MEDIUM_PAGE)):
        digest = _write_file(root / path[1:], size)
        anchor = f'<a href="{path}#sha256={digest}">{path.rpartition("/")[2]}</a>'
        _write_page(root / page[1:] / "index.html", f"<!DOCTYPE html><title>Links</title>{anchor}")
    _write_file(root / SMALL_FILE[1:], SMALL_SIZE)
    _write_page(root / PEER_PAGE[1:] / "index.html", html_page("peer", PAGES["small"], url))
    for project, files in PAGES.items():
        for form, page in (("html", html_page(project, files, url)), ("json", json_page(project, files, url))):
            _write_page(root / page_path(project, form)[1:] / f"index.{form}", page)


def _write_page(path: Path, page: str) -> None:
    path.parent.mkdir(parents=True)
    path.write_text(page)


def _write_file(path: Path, size: int) -> str:
    """Write it; returns its hash."""
    digest = hashlib.sha256()
    path.parent.mkdir(parents=True, exist_ok=True)
    piece = os.urandom(_PIECE)
    with path.open("wb") as file:
        for at in range(0, size, _PIECE):
            part = piece[: size - at]
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
