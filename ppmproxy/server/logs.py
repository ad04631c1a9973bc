"""The log: how events are rendered and written, with secrets masked.

Secrets are masked by value: every secret is registered with the `Redactor` when it is found, and from then on each form
of it (raw, percent-encoded, base64, the parts of a JWT) is replaced in every event, in fields, messages and tracebacks,
of the standard library and aiohttp too.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
from collections.abc import Callable, MutableMapping
from typing import Any

import structlog
from structlog.typing import Processor, WrappedLogger

from ppmproxy.auth.redaction import Redactor
from ppmproxy.config.model import LogFormat, LogLevel
from ppmproxy.server.log_stream import LogStream

_NOTICE = 5
_PRIORITIES = {"CRITICAL": 2, "ERROR": 3, "WARNING": 4, "INFO": 6, "DEBUG": 7}  # syslog(3)


class _Handler(logging.StreamHandler):  # type: ignore[type-arg]  # no generic class in Python 3.10
    """Writes events; a log that cannot be written is reported once, and does not stop the daemon."""

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
    redactor: Redactor, level: LogLevel, log_format: LogFormat, stream: LogStream, *, for_journal: bool = False
) -> None:
    """Send every event of this process through one chain of processors to `stream`, with secrets masked.

    This includes events of the standard library's loggers, and uncaught exceptions, whose tracebacks are masked too.
    Lines for the journal begin with their priority (sd-daemon(3)), which the journal removes.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        redactor,
    ]
    handler = _Handler(stream)
    formatter = _JournalFormatter if for_journal else structlog.stdlib.ProcessorFormatter
    handler.setFormatter(
        formatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _masked_rendering(redactor, _renderer(log_format, stream)),
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
    """Puts the priority of the event before each line: the journal makes an entry of each line."""

    def format(self, record: logging.LogRecord) -> str:
        priority = f"<{_PRIORITIES.get(record.levelname, _NOTICE)}>"
        return "\n".join(priority + line for line in super().format(record).split("\n"))


def _unhandled(kind: type[BaseException], error: BaseException, _traceback: object) -> None:
    _crashed(kind, error)


def _crashed(kind: type[BaseException], error: BaseException | None) -> None:
    structlog.get_logger("ppmproxy").critical("process_crashed", error=kind.__name__, exc_info=error)


def _renderer(log_format: LogFormat, stream: LogStream) -> Callable[..., Any]:
    if log_format is LogFormat.AUTO:
        log_format = LogFormat.CONSOLE if stream.isatty() else LogFormat.JSON
    if log_format is LogFormat.CONSOLE:
        return structlog.dev.ConsoleRenderer(
            colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback, pad_event_to=0
        )
    return structlog.processors.JSONRenderer(sort_keys=False, default=str)


def _masked_rendering(redactor: Redactor, renderer: Callable[..., Any]) -> Processor:
    """Masks the rendered line: a field's ``repr`` or the renderer may bring in more than the fields had."""

    def render(logger: WrappedLogger, method: str, event: MutableMapping[str, Any]) -> str:
        return redactor.text(str(renderer(logger, method, event)))

    return render
