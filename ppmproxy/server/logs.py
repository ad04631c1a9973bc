"""The log: how events are rendered and written, with secrets masked.

Secrets are masked by value: every secret is registered with the `Redactor` when it is found, and from then on each form
of it (raw, percent-encoded, base64, the parts of a JWT) is replaced in every event, in fields, messages and tracebacks,
of the standard library and aiohttp too.
"""

from __future__ import annotations

import contextlib
import enum
import json
import logging
import sys
import threading
from collections.abc import Callable, Mapping, MutableMapping
from types import TracebackType
from typing import Any

import structlog
from structlog.typing import Processor, WrappedLogger

from ppmproxy.auth.redaction import Redactor
from ppmproxy.config.model import LogFormat, LogLevel
from ppmproxy.server.log_stream import LogStream
from ppmproxy.server.terminal_log import TerminalRenderer

_NOTICE = 5
_PRIORITIES = {"critical": 2, "error": 3, "warning": 4, "info": 6, "debug": 7}  # syslog(3)


class _Output:
    """Where rendered events go; one that cannot be written is reported once, and does not stop the daemon."""

    def __init__(self, stream: LogStream) -> None:
        self._stream = stream
        self._has_complained = False

    @property
    def is_closed(self) -> bool:
        """Whether nothing can be written any more."""
        return getattr(self._stream, "closed", False)

    def write(self, line: str) -> None:
        try:
            self._stream.write(f"{line}\n")
            self._stream.flush()
        except ValueError:
            if not self.is_closed:
                raise  # else it is what asyncio reports after the end of a command
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


class LineStyle(enum.Enum):
    """What lines have besides their text."""

    PLAIN = enum.auto()
    COLOURED = enum.auto()  # for people, on a terminal
    JOURNAL = enum.auto()  # their priority in front


def line_style(environ: Mapping[str, str], *, in_journal: bool = False) -> LineStyle:
    """The style that the environment asks for: NO_COLOR (no-color.org) and a dumb terminal want plain lines."""
    if in_journal:
        return LineStyle.JOURNAL
    is_plain = bool(environ.get("NO_COLOR")) or environ.get("TERM") == "dumb"
    return LineStyle.PLAIN if is_plain else LineStyle.COLOURED


def is_for_people(log_format: LogFormat, stream: LogStream) -> bool:
    """Whether the log is written in words, and not in JSON."""
    return log_format is LogFormat.CONSOLE or (log_format is LogFormat.AUTO and stream.isatty())


def set_up_logs(
    redactor: Redactor,
    level: LogLevel,
    log_format: LogFormat,
    stream: LogStream,
    style: LineStyle = LineStyle.COLOURED,
) -> None:
    """Send every event of this process through one chain of processors to `stream`, with secrets masked.

    This includes events of the standard library's loggers, and uncaught exceptions, whose tracebacks are masked too.
    Our own go to the stream without `logging`, which would take a tenth of the time of a request. Lines for the journal
    begin with their priority (sd-daemon(3)), which the journal removes.
    """
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        redactor,
    ]
    rendering = _masked_rendering(
        redactor, _renderer(log_format, stream, style), for_journal=style is LineStyle.JOURNAL
    )
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
    sys.excepthook = _unhandled_in(output)
    threading.excepthook = lambda failed: _crashed(failed.exc_type, failed.exc_value)
    sys.unraisablehook = lambda failed: _crashed(failed.exc_type, failed.exc_value)


def _unhandled_in(output: _Output) -> Callable[[type[BaseException], BaseException, TracebackType | None], None]:
    """Logs an exception that ends the process, or prints it where the log is closed."""

    def unhandled(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        if output.is_closed:
            sys.__excepthook__(kind, error, traceback)
        else:
            _crashed(kind, error)

    return unhandled


def _crashed(kind: type[BaseException], error: BaseException | None) -> None:
    structlog.get_logger("ppmproxy").critical("process_crashed", error=kind.__name__, exc_info=error)


def _renderer(log_format: LogFormat, stream: LogStream, style: LineStyle) -> Callable[..., Any]:
    if is_for_people(log_format, stream):
        return TerminalRenderer(has_colours=style is LineStyle.COLOURED and stream.isatty())
    encode = json.JSONEncoder(default=str).encode  # made once: `json.dumps` makes one for each event
    return lambda _logger, _method, event: encode(event)


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
