"""How a failure is told, to pip, to uv and to everyone else.

To change the status, the headers or the body of an answer that says what went wrong, open this file; to change the
words, open `errors`.

Every client hides most of what a server says, each something else (measured):

- pip on an index page shows nothing of any error status, but prints the whole Content-Type of a 200 that is no index;
- PDM shows no reason phrase at all; that Content-Type is what `pdm -v` prints, and the log file that it points to has;
- uv shows the reason phrase and the problem document (RFC 9457) of a 4xx other than 401, 403, 404 on pages;
- all show the reason phrase of a 4xx other than 401 and 429 on files; pip retries 5xx for eight seconds and hides it;
- twine posts five times over on a 5xx.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from ppmproxy.errors import (
    CredentialError,
    MethodNotAllowedError,
    NotPermittedError,
    PpmProxyError,
    UpstreamError,
    one_line,
    shortened,
)
from ppmproxy.index.routing import ResourceKind

LONGEST_REASON = 700  # characters; a status line has to fit into clients' limits of 8 KiB with room to spare
LONGEST_DETAIL = 4000
SERVER_ERROR = 500


@dataclass(frozen=True, slots=True)
class ClientContext:
    """What an answer has to suit."""

    kind: ResourceKind | None = None  # None: refused before the path was looked at
    user_agent: str = ""

    @property
    def is_pip_page(self) -> bool:
        """Whether pip or PDM asks for an index page. pip-tools, pipenv and Hatch ask through pip and say so."""
        return self.kind is ResourceKind.INDEX_PAGE and self.user_agent.lower().startswith(("pip/", "pdm/"))


@dataclass(frozen=True, slots=True)
class ErrorResponse:
    """A whole answer: the reason phrase is ASCII, without line breaks."""

    status: int
    reason: str
    headers: Mapping[str, str]
    body: bytes


def render_error(error: PpmProxyError, asked: ClientContext) -> ErrorResponse:
    """The answer that lets a person see `error` through the client that asked."""
    document = {"type": "about:blank", "title": error.title, "status": _status_for(error, asked)}
    detail = _detail_of(error)
    document |= {"detail": shortened(detail, LONGEST_DETAIL), "code": error.code}
    body = json.dumps(document, ensure_ascii=True).encode() + b"\n"
    headers = {"X-Ppmproxy-Error": error.code, "Cache-Control": "no-store", "Content-Type": "application/problem+json"}
    if isinstance(error, MethodNotAllowedError):
        headers["Allow"] = error.allowed  # RFC 9110 section 15.5.6
    reason = header_text(f"{error.title}: {detail}".removesuffix("."))
    if asked.is_pip_page and _is_told_to_pip(error):
        headers["Content-Type"] = f"text/x-ppmproxy; {reason}"
        return ErrorResponse(200, "OK", headers, body)
    return ErrorResponse(_status_for(error, asked), reason, headers, body)


def _detail_of(error: PpmProxyError) -> str:
    """What happened and what to do; which command says more, where that names none."""
    names_a_command = "`ppmproxy " in error.detail or not _is_told_to_pip(error)
    return error.detail if names_a_command else f"{error.detail} `ppmproxy doctor` says more."


def _is_told_to_pip(error: PpmProxyError) -> bool:
    """What the upstream or the credential is at fault for; a request refused for itself gets its plain status."""
    return isinstance(error, (CredentialError, NotPermittedError, UpstreamError))


def _status_for(error: PpmProxyError, asked: ClientContext) -> int:
    if isinstance(error, NotPermittedError) and asked.kind is ResourceKind.INDEX_PAGE:
        return 451  # uv hides what a 403 says on a page, and shows this one
    if error.status >= SERVER_ERROR and asked.kind is ResourceKind.UPLOAD:
        return 424  # twine posts again on any 5xx
    return error.status


def header_text(text: str) -> str:
    """One line of printable ASCII: clients drop a reason phrase with anything else in it as a whole."""
    return shortened(one_line(text).encode("ascii", "replace").decode(), LONGEST_REASON)
