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
_PRIORITIES = {"critical": 2, "error": 3, "warning": 4, "info": 6, "debug": 7}  # syslog(3)


class _Output:
    """Where rendered events go; one that cannot be written is reported once, and does not stop the daemon."""

    def __init__(self, stream: LogStream) -> None:
        self._stream = stream
        self._has_complained = False

    def write(self, line: str) -> None:
        try:
            self._stream.write(f"{line}\n")
            self._stream.flush()
        except OSError as error:
            if not self._has_complained and sys.stderr is not None:
                self._has_complained = True
                with contextlib.suppress(OSError):
                    sys.stderr.write(
                        f"ppmproxy: the log cannot be written: {(error.strerror or 'no reason').lower()}\n"
                    )

    debug = info = warning = error = critical = write  # what structlog calls


class _Handler(logging.Handler):
    """Writes events of the standard library's loggers."""

    def __init__(self, output: _Output, formatter: logging.Formatter) -> None:
        super().__init__()
        self._output = output
        self.setFormatter(formatter)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._output.write(self.format(record))
        except Exception:  # noqa: BLE001 - as `logging` has it: an event that cannot be rendered stops nobody
            self.handleError(record)


def set_up_logs(
    redactor: Redactor, level: LogLevel, log_format: LogFormat, stream: LogStream, *, for_journal: bool = False
) -> None:
    """Send every event of this process through one chain of processors to `stream`, with secrets masked.

    This includes events of the standard library's loggers, and uncaught exceptions, whose tracebacks are masked too.
    Our own go to the stream without `logging`, which would take a tenth of the time of a request. Lines for the journal
    begin with their priority (sd-daemon(3)), which the journal removes.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        redactor,
    ]
    rendering = _masked_rendering(redactor, _renderer(log_format, stream), for_journal=for_journal)
    output = _Output(stream)
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *shared],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, rendering],
    )
    root = logging.getLogger()
    root.handlers = [_Handler(output, formatter)]
    root.setLevel(level.value.upper())
    structlog.configure(
        processors=[*shared, rendering],
        logger_factory=lambda *_name: output,
        wrapper_class=structlog.make_filtering_bound_logger(level.value),
        cache_logger_on_first_use=False,
    )
    logging.captureWarnings(capture=True)
    sys.excepthook = _unhandled
    threading.excepthook = lambda failed: _crashed(failed.exc_type, failed.exc_value)
    sys.unraisablehook = lambda failed: _crashed(failed.exc_type, failed.exc_value)


def _unhandled(kind: type[BaseException], error: BaseException, _traceback: object) -> None:
    _crashed(kind, error)


def _crashed(kind: type[BaseException], error: BaseException | None) -> None:
    structlog.get_logger("ppmproxy").critical("process_crashed", error=kind.__name__, exc_info=error)


def _renderer(log_format: LogFormat, stream: LogStream) -> Callable[..., Any]:
    if log_format is LogFormat.AUTO:
        log_format = LogFormat.CONSOLE if stream.isatty() else LogFormat.JSON
    if log_format is LogFormat.CONSOLE:
        return _PrintableRenderer(
            structlog.dev.ConsoleRenderer(
                colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback, pad_event_to=0
            )
        )
    return structlog.processors.JSONRenderer(sort_keys=False, default=str)


class _PrintableRenderer:
    """Renders for a terminal, which would obey control characters in a path that any user of this machine may send."""

    def __init__(self, renderer: Callable[..., str]) -> None:
        self._renderer = renderer

    def __call__(self, logger: WrappedLogger, method: str, event: MutableMapping[str, Any]) -> str:
        shown = {name: _printable(value) if isinstance(value, str) else value for name, value in event.items()}
        return self._renderer(logger, method, shown)


def _printable(text: str) -> str:
    """A text with its control characters, and those that turn the direction of others, written out; lines stay."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or char in "\n\t" else char.encode("unicode_escape").decode() for char in text
    )


def _masked_rendering(redactor: Redactor, renderer: Callable[..., Any], *, for_journal: bool) -> Processor:
    """Renders an event and masks the line: a field's ``repr`` or the renderer may bring in more than the fields had.

    For the journal each line has the priority of the event before it: the journal makes an entry of each line.
    """

    def render(logger: WrappedLogger, method: str, event: MutableMapping[str, Any]) -> str:
        level = event.get("level", "")
        line = redactor.text(str(renderer(logger, method, event)))
        if not for_journal:
            return line
        return "\n".join(f"<{_PRIORITIES.get(level, _NOTICE)}>{part}" for part in line.split("\n"))

    return render
