"""Simple-index pages of the fake Package Manager, in HTML (PEP 503) and JSON (PEP 691)."""

from __future__ import annotations

import enum
import hashlib
import html
import json
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ppmproxy.testing.package_manager.catalog import Distribution

API_VERSION = "1.1"  # PEP 700: versions, size, upload-time
NAMES_PER_PIECE = 1000


class Form(enum.Enum):
    """The content types of an index page."""

    JSON = "application/vnd.pypi.simple.v1+json"
    HTML = "application/vnd.pypi.simple.v1+html"
    TEXT_HTML = "text/html"

    @property
    def content_type(self) -> str:
        return f"{self.value}; charset=utf-8" if self is Form.TEXT_HTML else self.value


@dataclass(frozen=True)
class ProjectPage:
    """The data of a project's page."""

    project: str
    files: tuple[tuple[str, Distribution], ...]  # link and file
    offers_metadata: bool


def negotiated_form(accept: str | None, *, offers_json: bool) -> Form | None:
    """The form that a client prefers (PEP 691); None when it accepts none of those offered."""
    if not accept:
        return Form.TEXT_HTML
    offered = [Form.TEXT_HTML, Form.HTML] + ([Form.JSON] if offers_json else [])
    qualities = {}
    for part in accept.split(","):
        media_type, *parameters = (piece.strip() for piece in part.split(";"))
        qualities[media_type.lower()] = _quality(parameters)
    accepted = [form for form in offered if _quality_of(form, qualities) > 0]
    return max(accepted, key=lambda form: _quality_of(form, qualities), default=None)


def project_page(page: ProjectPage, form: Form) -> bytes:
    """A project's page before compression."""
    return _project_json(page) if form is Form.JSON else _project_html(page)


def index_pieces(names: Iterable[str], form: Form, link: Callable[[str], str]) -> Iterator[bytes]:
    """The root index in pieces, so that a million projects need no memory."""
    if form is Form.JSON:
        return _index_json(iter(names))
    return _index_html(iter(names), link)


def _quality(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "q":
            return float(value)
    return 1.0


def _quality_of(form: Form, qualities: dict[str, float]) -> float:
    ranges = (form.value, form.value.split("/")[0] + "/*", "*/*")
    return next((qualities[name] for name in ranges if name in qualities), 0.0)


def _project_json(page: ProjectPage) -> bytes:
    document = {
        "meta": {"api-version": API_VERSION},
        "name": page.project,
        "versions": sorted({file.version for _, file in page.files}),
        "files": [_file_json(link, file, offers_metadata=page.offers_metadata) for link, file in page.files],
    }
    return json.dumps(document).encode()


def _file_json(link: str, file: Distribution, *, offers_metadata: bool) -> dict[str, object]:
    entry: dict[str, object] = {
        "filename": file.filename,
        "url": link,
        "hashes": {"sha256": file.sha256} if file.hashed else {},
        "size": file.size,
        "upload-time": file.uploaded.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "yanked": file.yanked,
    }
    if file.requires_python is not None:
        entry["requires-python"] = file.requires_python
    if offers_metadata and file.metadata is not None:
        entry["core-metadata"] = entry["data-dist-info-metadata"] = {"sha256": _digest(file.metadata)}
    return entry | dict(file.extra)


def _project_html(page: ProjectPage) -> bytes:
    title = f"Links for {html.escape(page.project)}"
    links = (_anchor(link, file, offers_metadata=page.offers_metadata) for link, file in page.files)
    return (_head(title) + f"<h1>{title}</h1>\n" + "".join(links) + "</body>\n</html>\n").encode()


def _anchor(link: str, file: Distribution, *, offers_metadata: bool) -> str:
    attributes = {"href": f"{link}#sha256={file.sha256}" if file.hashed else link}
    if file.requires_python is not None:
        attributes["data-requires-python"] = file.requires_python
    if file.yanked is not False:
        attributes["data-yanked"] = "" if file.yanked is True else file.yanked
    if offers_metadata and file.metadata is not None:
        value = f"sha256={_digest(file.metadata)}"
        attributes |= {"data-core-metadata": value, "data-dist-info-metadata": value}
    attributes |= file.extra
    text = " ".join(f'{name}="{html.escape(value)}"' for name, value in attributes.items())
    return f"<a {text}>{html.escape(file.filename)}</a><br />\n"


def _index_html(names: Iterator[str], link: Callable[[str], str]) -> Iterator[bytes]:
    yield _head("Simple index").encode()
    while batch := list(islice(names, NAMES_PER_PIECE)):
        yield "".join(f'<a href="{html.escape(link(name))}">{html.escape(name)}</a>\n' for name in batch).encode()
    yield b"</body>\n</html>\n"


def _index_json(names: Iterator[str]) -> Iterator[bytes]:
    yield json.dumps({"meta": {"api-version": API_VERSION}})[:-1].encode() + b', "projects": ['
    comma = ""
    while batch := list(islice(names, NAMES_PER_PIECE)):
        yield (comma + ", ".join(json.dumps({"name": name}) for name in batch)).encode()
        comma = ", "
    yield b"]}"


def _head(title: str) -> str:
    return (
        "<!DOCTYPE html>\n<html>\n<head>\n"
        f'<meta name="pypi:repository-version" content="{API_VERSION}">\n<title>{title}</title>\n'
        "</head>\n<body>\n"
    )


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
