"""How events are written, and how secrets are kept out of them.

To change what a log line looks like or what is masked in it, open this file.

Secrets are masked by value: whoever finds one tells the `Mask`, and from then on every form in which it could show up
(raw, percent-encoded, base64, the parts of a JWT) is replaced in every event, the standard library's and aiohttp's
included, whatever field, exception or message it hides in.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import threading
from collections.abc import Callable, MutableMapping
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from ppmproxy.credentials import MASK, Secret, encoded_forms
from ppmproxy.settings import LogFormat, LogLevel

SHORTEST_MASKED = 4  # a shorter value would blot out half of every line; no server hands out such tokens
_NOTICE = 5
_PRIORITIES = {"CRITICAL": 2, "ERROR": 3, "WARNING": 4, "INFO": 6, "DEBUG": 7}  # syslog(3)
MOST_MASKED = 100  # secrets: the one unused for longest is forgotten, or a year of hourly tokens would slow every line


class Mask:
    """The secrets known so far, in every form; replaces them in text and in nested values."""

    def __init__(self) -> None:
        self._by_secret: dict[tuple[Secret, str], frozenset[str]] = {}  # the one used last at the end
        self._longest_first: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Mask({len(self._by_secret)} secrets)"

    @property
    def forms(self) -> frozenset[str]:
        """Every form of every secret: for replacing them elsewhere, never for printing."""
        return frozenset(self._longest_first)

    def add(self, secret: Secret, user: str = "__token__") -> None:
        """Mask a secret from now on, as it is and as it goes over the wire."""
        known = self._by_secret.pop((secret, user), None)
        self._by_secret[secret, user] = known or _forms_in_texts(secret.reveal(), user)
        if known is not None:
            return
        if len(self._by_secret) > MOST_MASKED:
            del self._by_secret[next(iter(self._by_secret))]
        forms: frozenset[str] = frozenset().union(*self._by_secret.values())
        self._longest_first = tuple(sorted(forms, key=len, reverse=True))

    def text(self, text: str) -> str:
        """The same text with every known secret masked."""
        for form in self._longest_first:  # one expression for all of them would take long to compile
            if form in text:
                text = text.replace(form, MASK)
        return text

    def value(self, value: object) -> object:
        """The same value, masked at every depth; what is neither text nor a container is turned into text if needed."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(str(key)): self.value(item) for key, item in value.items()}
        if isinstance(value, (list, tuple, set, frozenset)):
            return [self.value(item) for item in value]
        if value is None or isinstance(value, (bool, int, float)):
            return value
        return self.text(str(value))

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        """Processor that masks the fields of an event; the text is masked once more when it is rendered."""
        return {key: item if key == "exc_info" else self.value(item) for key, item in event.items()}


def _forms_in_texts(token: str, user: str) -> frozenset[str]:
    """What a token looks like as it stands, and between the quotes of JSON or of a Python ``repr``."""
    forms = {form for form in encoded_forms(token, user) if len(form) >= SHORTEST_MASKED}
    escaped = {form.replace("\\", r"\\") for form in forms}
    in_single_quotes = {form.replace("'", r"\'") for form in escaped}
    return frozenset(forms | escaped | in_single_quotes | {json.dumps(form)[1:-1] for form in forms})


class _Handler(logging.StreamHandler):  # type: ignore[type-arg]  # no generic class in Python 3.10
    """Writes events as long as that is possible: a full disk is said once, and is no reason to stop serving."""

    has_complained = False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name for it
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
        elif not self.has_complained and sys.stderr is not None:
            self.has_complained = True
            with contextlib.suppress(OSError):
                sys.stderr.write(f"ppmproxy: the log cannot be written: {(error.strerror or 'no reason').lower()}\n")


def set_up_logs(
    mask: Mask, level: LogLevel, log_format: LogFormat, stream: TextIO, *, for_journal: bool = False
) -> None:
    """Send every event of this process through one chain to `stream`, with secrets masked.

    Events of the standard library's loggers take the same way. An exception that nobody caught is an event too, so
    that its traceback is masked. Lines for the journal begin with their priority (sd-daemon(3)), which it takes off.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        mask,
    ]
    handler = _Handler(stream)
    formatter = _JournalFormatter if for_journal else structlog.stdlib.ProcessorFormatter
    handler.setFormatter(
        formatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _masked_rendering(mask, _renderer(log_format, stream)),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.value.upper())
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    logging.captureWarnings(capture=True)
    sys.excepthook = _unhandled
    threading.excepthook = lambda failed: _crashed(failed.exc_type, failed.exc_value)
    sys.unraisablehook = lambda failed: _crashed(failed.exc_type, failed.exc_value)


class _JournalFormatter(structlog.stdlib.ProcessorFormatter):
    """Each line with the priority of its event in front: to the journal, each is an entry of its own."""

    def format(self, record: logging.LogRecord) -> str:
        priority = f"<{_PRIORITIES.get(record.levelname, _NOTICE)}>"
        return "\n".join(priority + line for line in super().format(record).split("\n"))


def _unhandled(kind: type[BaseException], error: BaseException, _traceback: object) -> None:
    _crashed(kind, error)


def _crashed(kind: type[BaseException], error: BaseException | None) -> None:
    structlog.get_logger("ppmproxy").critical("crashed", error=kind.__name__, exc_info=error)


def _renderer(log_format: LogFormat, stream: TextIO) -> Callable[..., Any]:
    if log_format is LogFormat.AUTO:
        log_format = LogFormat.CONSOLE if stream.isatty() else LogFormat.JSON
    if log_format is LogFormat.CONSOLE:
        return structlog.dev.ConsoleRenderer(
            colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback, pad_event_to=0
        )
    return structlog.processors.JSONRenderer(sort_keys=False, default=str)


def _masked_rendering(mask: Mask, renderer: Callable[..., Any]) -> Processor:
    """Masks the finished line: whatever a field's ``repr`` or the renderer brought in."""

    def render(logger: WrappedLogger, method: str, event: MutableMapping[str, Any]) -> str:
        return mask.text(str(renderer(logger, method, event)))

    return render
