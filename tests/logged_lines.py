"""The log of a process, as the tests of logs write and read it."""

import io
import logging
import sys
import threading
from contextlib import contextmanager, suppress

import structlog

from ppmproxy.auth.redaction import Redactor
from ppmproxy.auth.secret import Secret
from ppmproxy.config.model import LogFormat, LogLevel
from ppmproxy.server.logs import LineStyle, set_up_logs

LIBRARY = logging.getLogger("aiohttp.access")  # the standard library's kind of logger


@contextmanager
def log_to(stream, *tokens, log_format=LogFormat.JSON, level=LogLevel.DEBUG, style=LineStyle.COLOURED):
    """The real logs of a process that knows these tokens, for as long as the block lasts."""
    root = logging.getLogger()
    before = root.handlers, root.level
    hooks = sys.excepthook, sys.unraisablehook, threading.excepthook
    redactor = Redactor()
    for token in tokens:
        redactor.add(Secret(token))
    set_up_logs(redactor, level, log_format, stream, style)
    try:
        yield redactor
    finally:
        root.handlers, previous_level = before
        sys.excepthook, sys.unraisablehook, threading.excepthook = hooks
        root.setLevel(previous_level)
        logging.captureWarnings(capture=False)
        structlog.reset_defaults()


def logged(write, *tokens, **options):
    """What is in the log after something was written to it."""
    stream = io.StringIO()
    with log_to(stream, *tokens, **options):
        write()
    return stream.getvalue()


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Odd:
    """An object that shows more than it should."""

    def __init__(self, token):
        self.token = token

    def __repr__(self):
        return f"Odd({self.token!r})"


def raised(token):
    raise KeyError(token) from ValueError(f"the server said {token}")


def with_exception(write, token):
    with suppress(KeyError):
        try:
            raised(token)
        except KeyError as error:
            write(error)
            raise
